"""`disco-wait`: wait until servers, sockets and files are there.

Each target has a thread, since the resolution of a name or a look at a file can hang in the C library. The main thread alone prints
and decides: it gets the results through one queue. The process ends without the other threads.
"""

from __future__ import annotations

import math
import sys
import threading
import time
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from disco.errors import HandlerError, HandlerStatus, UsageError
from disco.handlers import Finding, inputs, target, words
from disco.handlers.attempt import TIME_LIMIT, attempt
from disco.named import NamedTuple
from disco.sources import options
from disco.text import LINE_LIMIT, duration, escape

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

USAGE = """\
usage: disco-wait URL... [--timeout DURATION]

Wait until every URL is there. What was there once is not looked at again.

  tcp://HOST:PORT                          accepts connections
  http://HOST[:PORT][/PATH][#STATUS,...]   answers with such a status [2xx,3xx]; https:// likewise
  unix:PATH                                a socket that accepts connections
  file:PATH                                a file, or anything else of that name

In {/postgres/host} stands a JSON pointer: the value is taken from the JSON object on stdin.

  --timeout DURATION                       give up after 30s, 2m or 1h [never]

exit status: 0 all are there; 1 the timeout has passed; 64 wrong words; 65 the input lacks a value, or has a wrong one
"""
FIRST_PAUSE, PAUSE = 0.05, 1.0  # seconds between two attempts: doubling from the first
HANG_LIMIT = TIME_LIMIT + 1  # seconds after which an attempt that has not ended is reported
QUIET = 30.0  # seconds for which a state that has been printed is not printed again
NO_RESULT = "no answer yet"


class WaitOptions(NamedTuple):
    """What the command line asks for; timeout: in seconds, 0 for none."""

    templates: tuple[target.UrlTemplate, ...]
    timeout: float


def main(argv: list[str]) -> int:
    """Wait; return the exit status.

    Raises:
        UsageError: the words are wrong.
        DataError: the input lacks a value, or has a wrong one.

    """
    asked = parse(argv)
    data = inputs.read() if any(template.pointers() for template in asked.templates) else {}
    return Wait([target.fill(template, data) for template in asked.templates], asked.timeout).run()


def parse(argv: list[str]) -> WaitOptions:
    """Return what a command line asks for.

    Raises:
        UsageError: it is wrong.

    """
    given, urls = words.split("disco-wait", argv, ("timeout=",))
    try:
        timeout = options.seconds(given[-1][1]) if given else 0.0
    except ValueError as error:
        raise UsageError(f"--timeout takes {error}") from None
    if not urls:
        raise UsageError(f"no URL to wait for; {words.hint('disco-wait')}")
    return WaitOptions(tuple(map(target.parse, urls)), timeout)


def find_problems(argv: list[str], interfaces: Sequence[str], timeout: float) -> Iterator[Finding]:
    """Yield what is wrong or doubtful with the words in a rule; see `disco.handlers`."""
    asked = parse(argv)
    for template in asked.templates:
        for pointer in template.pointers():
            name = inputs.tokens(pointer)[0]
            if name not in interfaces:
                yield Finding(f"{template.url}: the rule names no interface {name}", "add it to the rule's 'when'", is_error=True)
    if timeout and asked.timeout >= timeout:
        what = f"--timeout is {duration(asked.timeout)}, and the rule's run is killed after {duration(timeout)}"
        yield Finding(what, "lower it, or give the rule more time")


class Wait:
    """What is not there yet, and why. Only the main thread uses it, but for `_try`."""

    def __init__(self, targets: Sequence[target.Target], timeout: float) -> None:
        """Take what to wait for; timeout: in seconds, 0 for none."""
        self._targets = targets
        self._timeout = timeout
        self._missing = dict.fromkeys(range(len(targets)), NO_RESULT)  # the state of each, by its number
        self._results: SimpleQueue[tuple[int, str | BaseException]] = SimpleQueue()
        self._begins = [time.monotonic()] * len(targets)  # the attempt at each that is made, or is made next
        self._hanging: set[int] = set()
        self._printed: dict[tuple[int, str], float] = {}  # when each state was printed

    def run(self) -> int:
        """Wait until all is there, or the timeout has passed; return the exit status.

        Raises:
            HandlerError: the system has no thread left.

        """
        deadline = time.monotonic() + self._timeout if self._timeout else math.inf
        try:
            for number in self._missing:
                threading.Thread(target=self._try, args=(number,), daemon=True).start()
        except RuntimeError:
            raise HandlerError("the system has no thread left: raise the container's limits") from None
        while self._missing:
            if time.monotonic() >= deadline:
                states = ", ".join(f"{self._targets[number].url} ({state})" for number, state in self._missing.items())
                _say(f"gave up after {duration(self._timeout)}: {states}")
                return HandlerStatus.FAILURE
            try:
                number, result = self._results.get(timeout=self._time_left(deadline))
            except Empty:
                self._note_hanging()
                continue
            if isinstance(result, BaseException):
                raise result
            self._hanging.discard(number)
            self._note(number, result)
        return 0

    def _try(self, number: int) -> None:
        """Try one target until it is there, and send the main thread each result."""
        result, pause = NO_RESULT, FIRST_PAUSE
        try:
            while result:
                result = attempt(self._targets[number])
                self._begins[number] = time.monotonic() + pause
                self._results.put((number, result))
                time.sleep(pause)
                pause = min(PAUSE, 2 * pause)
        except BaseException as error:  # noqa: BLE001 -- raised in the main thread
            self._results.put((number, error))

    def _time_left(self, deadline: float) -> float | None:
        """Return the seconds until the deadline, or until an attempt counts as hanging; None if neither comes."""
        hangs = [self._begins[number] + HANG_LIMIT for number in self._missing if number not in self._hanging]
        nearest = min([deadline, *hangs])
        return None if nearest == math.inf else max(0.0, nearest - time.monotonic())

    def _note_hanging(self) -> None:
        now = time.monotonic()
        for number in [number for number in self._missing if number not in self._hanging]:
            if now >= self._begins[number] + HANG_LIMIT:
                self._hanging.add(number)
                has_path = self._targets[number].scheme in {"file", "unix"}
                self._note(number, f"the {'file system' if has_path else 'name service'} does not answer")

    def _note(self, number: int, state: str) -> None:
        """Keep a target's state, and print it if it has changed."""
        if state == self._missing[number]:
            return
        self._missing[number] = state
        if not state:
            del self._missing[number]
        now = time.monotonic()
        if now >= self._printed.get((number, state), -math.inf) + QUIET:
            self._printed[number, state] = now
            _say(f"{self._targets[number].url}: {state or 'is there'}")


def _say(line: str) -> None:
    sys.stderr.write(escape(f"disco-wait: {line}", LINE_LIMIT) + "\n")
