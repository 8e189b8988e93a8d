"""Plug-in sources for tools/stress, copied beside the site: `steady` is healthy, `chaos` does what its script says.

Both end by giving what is in their file: `chaos` from the moment that the file named by `calm` exists.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from disco.sources import Source, SourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from disco.sources import Context

LOOK = 0.1  # seconds between looks at a file
FLOOD = 1.0  # seconds that a flood lasts
LARGE = 300_000  # characters of a large, valid payload


def make_part(interface: str, namespace: str, n: int, payload: str) -> dict[str, Any]:
    """Return what one namespace says of an interface: no half of two of these has a matching digest."""
    text = f"{interface}/{namespace}/{n}/{payload}"
    return {"n": n, "digest": hashlib.blake2b(text.encode(), digest_size=8).hexdigest(), "payload": payload}


def steady(context: Context) -> Iterator[dict[str, Any]]:
    """Yield the content of a JSON file, each time that it may have changed."""
    file = Path(context.options["file"])
    seen, data = 0, {}
    while True:
        changed = file.stat().st_mtime_ns
        if changed != seen:
            data, seen = json.loads(file.read_text()), changed
        yield data
        time.sleep(LOOK)


class Faults:
    """What a faulty source may do in one step of its script; each method is a generator, or ends its process."""

    def __init__(self, context: Context, step: int) -> None:
        """Prepare for a step of the script (all processes of the source counted)."""
        self._name = context.name
        self._interfaces = str(context.options["names"]).split(",")
        self._n = step * 1000

    def sound(self, payload: str = "") -> dict[str, Any]:
        """Return the next valid data."""
        self._n += 1
        return {name: {self._name: make_part(name, self._name, self._n, payload)} for name in self._interfaces}

    def good(self) -> Iterator[Any]:
        yield self.sound()
        time.sleep(1)

    def large(self) -> Iterator[Any]:
        yield self.sound("x" * LARGE)

    def hang(self) -> Iterator[Any]:
        yield self.sound()
        time.sleep(1e6)

    def hang_deaf(self) -> Iterator[Any]:
        signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
        time.sleep(1e6)
        yield {}

    def hang_in_close(self) -> Iterator[Any]:
        try:
            yield self.sound()
            yield 5
        finally:
            time.sleep(1e6)

    def spin(self) -> Iterator[Any]:
        while True:
            pass
        yield {}

    def spin_in_c(self) -> Iterator[Any]:
        hashlib.pbkdf2_hmac("sha256", b"", b"", 1 << 31 - 1)
        yield {}

    def swallow(self) -> Iterator[Any]:
        """Catch whatever interrupts it, for some time."""
        until = time.monotonic() + 20
        while time.monotonic() < until:
            try:
                time.sleep(1)
            except BaseException:  # noqa: BLE001, S110 -- that is the fault
                pass
        yield self.sound()

    def segfault(self) -> Iterator[Any]:
        yield self.sound()
        ctypes.string_at(0)

    def abort(self) -> Iterator[Any]:
        os.abort()
        yield {}

    def leave(self) -> Iterator[Any]:
        yield self.sound()
        os._exit(3)

    def leave_well(self) -> Iterator[Any]:
        os._exit(0)
        yield {}

    def stop(self) -> Iterator[Any]:
        yield self.sound()
        os.kill(os.getpid(), signal.SIGSTOP)

    def stop_in_a_message(self) -> Iterator[Any]:
        """Write half of a frame into the channel."""
        os.write(3, (100).to_bytes(4, "big") + (50_000).to_bytes(4, "big") + b"x" * 20_000)
        os.kill(os.getpid(), signal.SIGSTOP)
        yield {}

    def garbage(self) -> Iterator[Any]:
        os.write(3, os.urandom(5000))
        time.sleep(1)
        yield {}

    def close_all(self) -> Iterator[Any]:
        os.closerange(0, 100)
        yield self.sound()

    def flood(self) -> Iterator[Any]:
        until = time.monotonic() + FLOOD
        while time.monotonic() < until:
            yield self.sound()

    def flood_prints(self) -> Iterator[Any]:
        until = time.monotonic() + FLOOD
        while time.monotonic() < until:
            os.write(2, b"a line of a client library in C that talks too much\n")
        yield self.sound()

    def print_binary(self) -> Iterator[Any]:
        os.write(1, os.urandom(20_000) + b"\x1b[2J\n" + b"y" * 100_000)
        yield self.sound()

    def leak(self) -> Iterator[Any]:
        held = []
        while True:
            held.append(b"x" * (4 << 20))
            time.sleep(0.002)
        yield {}

    def fork(self) -> Iterator[Any]:
        """Leave children behind: one in a session of its own, one that deserts its parent."""
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        subprocess.Popen(["sleep", "100"], start_new_session=True, **quiet)  # type: ignore[call-overload]
        if os.fork() == 0:
            if os.fork() == 0:
                time.sleep(100)
            os._exit(0)
        yield self.sound()
        time.sleep(1)

    def refuse(self) -> Iterator[Any]:
        yield self.sound()
        raise SourceError("the server refused", retry_after=0.3)

    def fail(self) -> Iterator[Any]:
        raise RuntimeError("whatever a library says")
        yield {}

    def interrupt(self) -> Iterator[Any]:
        raise KeyboardInterrupt
        yield {}

    def exit(self) -> Iterator[Any]:
        sys.exit(0)
        yield {}

    def end(self) -> Iterator[Any]:
        yield self.sound()

    def nonsense(self) -> Iterator[Any]:
        yield (5, None, [], {1: 2}, {"": 0}, "text")[self._n // 1000 % 6]

    def no_json(self) -> Iterator[Any]:
        yield {name: {self._name: object()} for name in self._interfaces}

    def not_a_number(self) -> Iterator[Any]:
        yield {name: {self._name: {"n": float("nan")}} for name in self._interfaces}

    def deep(self) -> Iterator[Any]:
        data: dict[str, Any] = {}
        for _ in range(5000):
            data = {"x": data}
        yield dict.fromkeys(self._interfaces, data)

    def half(self) -> Iterator[Any]:
        data = self.sound()
        for said in data.values():
            del said[self._name]["digest"]
        yield data
        time.sleep(0.5)

    def wrong(self) -> Iterator[Any]:
        data = self.sound()
        for said in data.values():
            said[self._name] |= {"n": "1", "digest": "none"}
        yield data
        time.sleep(0.5)

    def flap(self) -> Iterator[Any]:
        until = time.monotonic() + 2
        while time.monotonic() < until:
            yield self.sound()
            time.sleep(0.05)
            yield {}
            time.sleep(0.05)

    def unknown(self) -> Iterator[Any]:
        yield self.sound() | {f"unknown-{n}\n\x1b": n for n in range(500)}

    def vanish(self) -> Iterator[Any]:
        yield {}
        time.sleep(1)


def chaos(context: Context) -> Iterator[Any]:
    """Take step after step of the script until `calm`; the next process goes on with the step after the one that it died in."""
    script = str(context.options["script"]).split(",")
    calm = Path(context.options["calm"])
    steps = os.open(context.options["steps"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    while not calm.exists():
        step = os.fstat(steps).st_size
        os.write(steps, b".")
        fault: Callable[[], Iterator[Any]] = getattr(Faults(context, step + 1), script[step % len(script)])
        yield from fault()
        time.sleep(LOOK)
    yield from steady(context)


STEADY = Source(watch=steady, any_key=True, options=())
CHAOS = Source(watch=chaos, any_key=True, options=())
