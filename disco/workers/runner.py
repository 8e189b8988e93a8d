"""The process around handlers: runs one at a time, logs what it prints, kills its group at the timeout, adopts what it leaves.

It waits in one place, for: the coordinator, the handler's output, a child's end, the timeout. End of file from the coordinator
means that it is dead: all below is killed at once. SIGTERM means: tell all below to end, and end after them.
"""

from __future__ import annotations

import codecs
import json
import logging
import os
import selectors
import signal
import time
from collections import deque
from contextlib import ExitStack
from typing import TYPE_CHECKING, NoReturn

from disco.data import values
from disco.errors import ProtocolError, explain_exec
from disco.system import leftovers, process, reaping
from disco.system.signals import Wakeup, blocked, kill, kill_group, reset
from disco.text import NAME_LIMIT, escape
from disco.wire.messages import Run, RunFinished, Started

if TYPE_CHECKING:
    from disco.wire.channel import Channel
    from disco.wire.messages import Part

OUTPUT_CHUNK = 64 << 10
LINE_LIMIT = 2000  # bytes of one line of output that are logged
LINES_A_SECOND, LINE_BURST = 200, 1000  # lines of one output that are logged
TAIL_LINES = 5  # lines of output told with a failure
DRAIN_LIMIT = 1 << 20  # bytes read of a handler's output once it has ended

log = logging.getLogger(__name__)


def run(channel: Channel) -> None:
    """Serve until the end of file or SIGTERM."""
    Runner(channel).serve()


class Output:
    """A handler's stdout or stderr: logged line by line; of too long a line the start, of too many lines some and their number."""

    def __init__(self, descriptor: int, rule: str, level: int, tail: deque[tuple[str, bool]]) -> None:
        """Own the descriptor."""
        os.set_blocking(descriptor, False)
        self.descriptor = descriptor
        self._rule = rule
        self._about = {"fields": {"rule": rule, "event": "output"}}
        self._level = level
        self._tail = tail
        self._line = b""
        self._cut = False  # the start of this line is logged already
        self._budget = float(LINE_BURST)
        self._filled = time.monotonic()
        self._dropped = 0

    def read(self, limit: int = OUTPUT_CHUNK) -> bool:
        """Read what is there, up to a limit; return False at the end of file, when the descriptor is closed."""
        while limit > 0:
            try:
                data = os.read(self.descriptor, min(limit, OUTPUT_CHUNK))
            except BlockingIOError:
                return True
            except OSError:
                data = b""
            if not data:
                self._log([] if self._cut else [self._line])
                self._tell_dropped()
                os.close(self.descriptor)
                return False
            limit -= len(data)
            self._split(data)
        return True

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
            self._tell_dropped()
        for line in lines[:fit]:
            if line.strip():
                log.log(self._level, "rule %s: %s", self._rule, _show(line), extra=self._about)
        self._dropped += len(lines[fit:])
        told = fit if log.isEnabledFor(self._level) else 0
        last = list(enumerate(lines))[-TAIL_LINES:]
        self._tail.extend((_show(line), number < told) for number, line in last if line.strip())

    def _tell_dropped(self) -> None:
        if self._dropped:
            log.log(self._level, "rule %s: %d lines of its output were dropped", self._rule, self._dropped, extra=self._about)
            self._dropped = 0


def _show(line: bytes) -> str:
    text, _ = codecs.utf_8_decode(line[: LINE_LIMIT + 1], "replace", len(line) <= LINE_LIMIT)  # a cut is no fault of the text's
    return escape(text.rstrip(), LINE_LIMIT)


class Runner:
    """The runner's state: the run that it is busy with, and the outputs that are still open."""

    def __init__(self, channel: Channel) -> None:
        """Serve this channel."""
        self._channel = channel
        self._selector = selectors.DefaultSelector()
        self._task: Run | None = None
        self._handler = 0
        self._failure = -1  # what cannot be executed says why here
        self._began = 0.0
        self._timed_out = False
        self._outputs: list[Output] = []
        self._tail: deque[tuple[str, bool]] = deque(maxlen=TAIL_LINES)  # each line, and whether the log has it
        self._stopping = False
        self._terminated = False
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self._note_terminate)
        self._wakeup = Wakeup()
        self._selector.register(channel, selectors.EVENT_READ)
        self._selector.register(self._wakeup, selectors.EVENT_READ)

    def _note_terminate(self, *_: object) -> None:
        self._terminated = True

    def serve(self) -> None:
        """Wait and act until there is nothing left to do."""
        while not (self._stopping and not self._handler and not reaping.has_children()):
            ready = {key.fd for key, _ in self._selector.select(self._timeout())}
            self._wakeup.drain()
            self._serve_channel(self._channel.fileno() in ready)
            for output in [output for output in self._outputs if output.descriptor in ready]:
                self._read(output, OUTPUT_CHUNK)
            if self._terminated and not self._stopping:
                self._stopping = True
                self._terminate()
            self._reap()
            self._enforce_timeout()

    def _terminate(self) -> None:
        """Tell all below to end, each of them once."""
        below = leftovers.find_below()
        if self._handler and self._handler not in below:  # /proc does not show it
            below.append(-self._handler)
        for pid in below:
            kill(pid, signal.SIGTERM)

    def _timeout(self) -> float | None:
        if not self._task or not self._task.timeout or self._timed_out:
            return None
        return max(0.0, self._began + self._task.timeout - time.monotonic())

    def _serve_channel(self, readable: bool) -> None:  # noqa: FBT001 -- a fact
        if readable:
            try:
                for message in self._channel.receive():
                    if isinstance(message, Run) and not self._stopping:
                        self._start(message)
            except ProtocolError:
                self._channel.eof = True
            if self._channel.eof:
                if self._handler:
                    kill_group(self._handler)  # at once, even where the others are hard to find
                leftovers.kill_all()
                os._exit(0)
        self._channel.flush()
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._channel.unsent else 0)
        if self._selector.get_key(self._channel).events != wanted:
            self._selector.modify(self._channel, wanted)

    def _start(self, task: Run) -> None:
        self._task, self._handler, self._timed_out, self._began = task, 0, False, time.monotonic()
        self._tail = deque(maxlen=TAIL_LINES)
        if unusable := _find_unusable(task):
            shown = escape(unusable, NAME_LIMIT)
            self._finish(0, f"cannot be started: what a source said of interface {shown} is no JSON object", unusable)
            return
        with ExitStack() as kept, ExitStack() as lent:
            try:
                stdin = _file_of(task.stdin)
                lent.callback(os.close, stdin)
                self._task = task._replace(stdin=())  # it may be large, and is in that file now
                readers, writers = zip(*(process.open_pipe(kept, lent) for _ in range(3)), strict=True)
                with blocked():
                    self._handler = os.fork()
                    if not self._handler:
                        _execute(task, (stdin, *writers))
            except OSError as error:
                self._finish(0, f"cannot be started: {explain_exec(error)}")
                return
            kept.pop_all()
        for descriptor, level in zip(readers, (logging.DEBUG, logging.INFO), strict=False):
            output = Output(descriptor, task.rule, level, self._tail)
            self._outputs.append(output)
            self._selector.register(descriptor, selectors.EVENT_READ)
        self._failure = readers[2]
        self._channel.send(Started(task=task.task, pid=self._handler))

    def _read(self, output: Output, limit: int) -> None:
        try:
            key = self._selector.get_key(output.descriptor)
        except KeyError:
            return
        if not output.read(limit):
            self._selector.unregister(key.fileobj)
            self._outputs.remove(output)

    def _reap(self) -> None:
        for pid, status in reaping.reap(self._kill_rest_of_group):
            if pid == self._handler:
                self._ended(status)

    def _kill_rest_of_group(self, ended: os.waitid_result) -> None:
        """Let what else is in a handler's group die with its failure."""
        if ended.si_pid == self._handler and (ended.si_code != os.CLD_EXITED or ended.si_status):
            kill_group(self._handler)

    def _ended(self, status: int) -> None:
        for output in list(self._outputs):
            self._read(output, DRAIN_LIMIT)
        self._handler = 0
        assert self._task  # noqa: S101 -- a handler has its task
        failure = os.read(self._failure, 1000)  # the end of file when the program was executed, or what kept it from that
        os.close(self._failure)
        if self._timed_out:
            problem = f"killed: it ran longer than {self._task.timeout:g} s (disco.handler_timeout)"
        else:
            problem = f"cannot be started: {failure.decode(errors='replace')}" if failure else ""
        self._finish(status, problem)

    def _finish(self, status: int, problem: str, unusable: str = "") -> None:
        assert self._task  # noqa: S101 -- as above
        if status or problem:
            about = {"fields": {"rule": self._task.rule, "event": "output"}}
            for line in (line for line, is_told in self._tail if not is_told):
                log.warning("rule %s: %s", self._task.rule, line, extra=about)
        self._channel.send(
            RunFinished(
                task=self._task.task,
                status=status,
                problem=problem,
                tail=tuple(line for line, _ in self._tail),
                seconds=time.monotonic() - self._began,
                children=reaping.has_children(),
                unusable=unusable,
            )
        )
        self._task = None

    def _enforce_timeout(self) -> None:
        if self._timeout() == 0.0 and self._handler:
            self._timed_out = True
            kill_group(self._handler)


def _execute(task: Run, given: tuple[int, int, int, int]) -> NoReturn:
    """Become a handler, in a forked child; given: the descriptors of its three standard ones, and where to say why it cannot.

    The exec may hang (on a file system that does not answer): so it is not the runner that waits for it.
    """
    try:
        os.setsid()
        for target, descriptor in enumerate(given[:3]):
            os.dup2(descriptor, target)
        reset()
        os.execve(task.argv[0], task.argv, dict(variable.split(b"=", 1) for variable in task.env))  # noqa: S606 -- from the rules
    except (OSError, ValueError) as error:
        os.write(given[3], explain_exec(error).encode())
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
