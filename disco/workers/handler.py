"""One run of a handler: its process, what it prints and how much of that is kept, its timeout, and how it ended."""

from __future__ import annotations

import codecs
import json
import logging
import os
import time
from collections import deque
from contextlib import ExitStack
from selectors import EVENT_READ
from typing import TYPE_CHECKING, NoReturn

from disco.data import values
from disco.errors import explain_exec
from disco.system import process, reaping
from disco.system.signals import blocked, kill_group, reset
from disco.text import NAME_LIMIT, escape
from disco.wire.messages import RunFinished

if TYPE_CHECKING:
    from collections.abc import Sequence
    from selectors import BaseSelector

    from disco.wire.messages import Part, Run
    from disco.workers.exporting import ExportFile

OUTPUT_CHUNK = 64 << 10  # bytes of output read at a time
LAST_OUTPUT_LIMIT = 1 << 20  # bytes of each output read once the handler has ended
LINE_LIMIT = 2000  # bytes of one line that are logged
LINES_A_SECOND, LINE_BURST = 200, 1000  # lines of one output that are logged
TAIL_LINES = 5  # lines that go with a failure
# The file for exported variables is descriptor 3. Its path below /proc/PID could not be opened by a handler that changes its user.
EXPORT_PATH = b"/proc/self/fd/3"
REASON_SIZE = 1000  # bytes read of why a program could not be executed

log = logging.getLogger(__name__)


class HandlerRun:
    """A handler's process from its fork to its end. Its outputs may last longer: what it started can hold them open."""

    def __init__(self, task: Run, selector: BaseSelector) -> None:
        """Prepare; the selector waits for the outputs."""
        self._task = task
        self._selector = selector
        self._began = time.monotonic()
        self._outputs: list[Output] = []
        self._tail: deque[tuple[str, bool]] = deque(maxlen=TAIL_LINES)  # each line, and whether the log has it
        self._exec_report = -1  # why the program cannot be executed is read here
        self._exports: ExportFile | None = None
        self._is_overdue = False
        self.pid = 0  # also its process group

    def start(self) -> RunFinished | None:
        """Fork the handler; return how the run ended if that was not possible."""
        if unusable := _find_unusable(self._task):
            shown = escape(unusable, NAME_LIMIT)
            return self._finish(0, f"cannot be started: a source's data of interface {shown} is not a JSON object", unusable)
        with ExitStack() as kept, ExitStack() as lent:
            try:
                stdin = _file_of(self._task.stdin)
                lent.callback(os.close, stdin)
                self._task = self._task._replace(stdin=())  # it may be large, and is in that file now
                readers, writers = zip(*(process.open_pipe(kept, lent) for _ in range(3)), strict=True)
                given = [stdin, *writers[:2]]
                if self._task.export:
                    from disco.workers.exporting import ExportFile  # noqa: PLC0415 -- few rules export anything

                    self._exports = ExportFile(self._task.rule, self._task.export)
                    kept.callback(self._exports.close)
                    given.append(self._exports.descriptor)
                with blocked():
                    self.pid = os.fork()
                    if not self.pid:
                        _execute(self._task, given, writers[2])
            except OSError as error:
                return self._finish(0, f"cannot be started: {explain_exec(error)}")
            kept.pop_all()
        stdout, stderr, self._exec_report = readers
        self._outputs = [
            Output(stdout, self._task.rule, logging.DEBUG, self._tail, self._selector),
            Output(stderr, self._task.rule, logging.INFO, self._tail, self._selector),
        ]
        return None

    @property
    def deadline(self) -> float | None:
        """When it is to be killed, if ever."""
        return self._began + self._task.timeout if self._task.timeout and not self._is_overdue else None

    def enforce_timeout(self) -> None:
        """Kill it, with its group, if it runs for too long."""
        if self.deadline is not None and time.monotonic() >= self.deadline:
            self._is_overdue = True
            kill_group(self.pid)

    def kill_rest_of_group(self, ended: os.waitid_result) -> None:
        """Let what else is in the handler's group die with its failure; the handler has ended and is not reaped."""
        if ended.si_code != os.CLD_EXITED or ended.si_status:
            kill_group(self.pid)

    def finish(self, status: int) -> RunFinished:
        """Log what is left of the output; return how the run ended. status: as os.waitstatus_to_exitcode gives it."""
        for output in self._outputs:
            output.read(LAST_OUTPUT_LIMIT)
        failure = os.read(self._exec_report, REASON_SIZE)  # nothing where the program was executed: exec closed the other end
        os.close(self._exec_report)
        if self._is_overdue:
            problem = f"killed: it ran longer than {self._task.timeout:g} s ({self._task.timeout_name})"
        else:
            problem = f"cannot be started: {failure.decode(errors='replace')}" if failure else ""
        exported = b""
        if self._exports:
            if not (status or problem):
                exported, problem = self._exports.read()
            self._exports.close()
        return self._finish(status, problem, exported=exported)

    def _finish(self, status: int, problem: str, unusable: str = "", exported: bytes = b"") -> RunFinished:
        if status or problem:
            about = {"fields": {"rule": self._task.rule, "event": "output"}}
            for line in (line for line, is_logged in self._tail if not is_logged):
                log.warning("rule %s: %s", self._task.rule, line, extra=about)
        return RunFinished(
            task=self._task.task,
            status=status,
            problem=problem,
            tail=tuple(line for line, _ in self._tail),
            seconds=time.monotonic() - self._began,
            children=reaping.has_children(),
            unusable=unusable,
            exported=exported,
        )


class Output:
    """A handler's stdout or stderr: logged line by line; of too long a line the start, of too many lines some and their number."""

    def __init__(self, descriptor: int, rule: str, level: int, tail: deque[tuple[str, bool]], selector: BaseSelector) -> None:
        """Own the descriptor, and be what the selector has for it until the end of file.

        tail: gets the last lines, each with whether the log has it.
        """
        os.set_blocking(descriptor, False)
        selector.register(descriptor, EVENT_READ, self)
        self._selector = selector
        self._descriptor = descriptor
        self._is_open = True
        self._rule = rule
        self._about = {"fields": {"rule": rule, "event": "output"}}
        self._level = level
        self._tail = tail
        self._line = b""
        self._cut = False  # the start of this line is logged already
        self._budget = float(LINE_BURST)
        self._filled = time.monotonic()
        self._dropped = 0

    def read(self, limit: int = OUTPUT_CHUNK) -> None:
        """Log what is there, up to so many bytes; close the descriptor at the end of file."""
        while limit > 0 and self._is_open:
            try:
                data = os.read(self._descriptor, min(limit, OUTPUT_CHUNK))
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self._log([] if self._cut else [self._line])
                self._log_dropped()
                self._selector.unregister(self._descriptor)
                os.close(self._descriptor)
                self._is_open = False
                return
            limit -= len(data)
            self._split(data)

    def _split(self, data: bytes) -> None:
        *lines, rest = (self._line + data).split(b"\n")
        if lines and self._cut:
            del lines[0]
            self._cut = False
        if len(rest) > LINE_LIMIT:
            if not self._cut:
                lines.append(rest)
            self._cut, rest = True, b""
        self._line = b"" if self._cut else rest
        self._log(lines)

    def _log(self, lines: list[bytes]) -> None:
        now = time.monotonic()
        self._budget = min(LINE_BURST, self._budget + (now - self._filled) * LINES_A_SECOND)
        self._filled = now
        fit = int(self._budget)
        self._budget -= min(fit, len(lines))
        if fit and lines:
            self._log_dropped()
        for line in lines[:fit]:
            if line.strip():
                log.log(self._level, "rule %s: %s", self._rule, _show(line), extra=self._about)
        self._dropped += len(lines[fit:])
        logged = fit if log.isEnabledFor(self._level) else 0
        last = list(enumerate(lines))[-TAIL_LINES:]
        self._tail.extend((_show(line), number < logged) for number, line in last if line.strip())

    def _log_dropped(self) -> None:
        if self._dropped:
            log.log(self._level, "rule %s: %d lines of its output were dropped", self._rule, self._dropped, extra=self._about)
            self._dropped = 0


def _show(line: bytes) -> str:
    text, _ = codecs.utf_8_decode(line[: LINE_LIMIT + 1], "replace", len(line) <= LINE_LIMIT)  # a cut is no fault of the text's
    return escape(text.rstrip(), LINE_LIMIT)


def _execute(task: Run, given: Sequence[int], report: int) -> NoReturn:
    """Become a handler, in a forked child. given: what its descriptors 0, 1 and so on are to be. report: for why that failed.

    The exec may hang (on a file system that does not answer): so the runner does not wait for it.
    """
    try:
        os.setsid()
        for target, descriptor in enumerate(given):  # none of them is one of the targets: 0 to 3 are the runner's own
            os.dup2(descriptor, target)
        environment = dict(variable.split(b"=", 1) for variable in task.env)
        environment.pop(b"DISCO_ENV", None)  # of a disco around this one
        if task.export:
            environment[b"DISCO_ENV"] = EXPORT_PATH
        if "/" not in task.argv[0]:  # a shipped handler
            from disco.workers import shipped  # noqa: PLC0415 -- in its own process only

            shipped.become(task.argv, environment, last=len(given) - 1)
        reset()
        os.execve(task.argv[0], task.argv, environment)  # noqa: S606 -- from the rules
    except (OSError, ValueError) as error:
        os.write(report, explain_exec(error).encode())
    finally:
        os._exit(127)


def _find_unusable(task: Run) -> str:
    """Return the interface whose body in a handler's input is no JSON object; empty if each is one.

    They come from sources unread, and are put between names: what is more or less than an object could say something of
    another interface. Only a process that may take its time for data can look.
    """
    for name, body in zip(task.stdin[::2], task.stdin[1::2], strict=False):
        try:
            values.check_body(body)
        except ValueError:
            return str(json.loads(bytes(name[1:-1])))  # between a brace or comma, and a colon
    return ""


def _file_of(parts: tuple[Part, ...]) -> int:
    """Return a descriptor from which a handler reads the parts, then end of file.

    A file in memory: a handler that never reads it keeps nobody waiting.
    """
    descriptor = os.memfd_create("stdin", os.MFD_CLOEXEC)
    try:
        for part in parts:
            view = memoryview(part)
            while view:
                view = view[os.write(descriptor, view) :]
        os.lseek(descriptor, 0, os.SEEK_SET)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
