"""A process that runs the etcd source as disco does, and prints what it yields."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from lab.servers import ROOT
from lab.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PATIENCE = 30.0  # seconds; less than the 55 that a watch lasts: what comes within it did not wait for the watch's end


HUSH = "hush"  # is in every password, and in values that must not be logged


# Runs the generator as a source's process does (anew after each error) and prints what it gives, a JSON line each.
DRIVER = """
import gc, json, logging, os, sys, time
from disco import sources
from disco.site import config
from disco.system.limits import Overrun, time_limit
from disco.sources import etcd, etcd_channel, etcd_session

pairs, interfaces, limit, constants, hold, once = json.loads(sys.argv[1])
logging.basicConfig(level=logging.DEBUG)
for name, value in constants.items():
    setattr(etcd_session if hasattr(etcd_session, name) else etcd_channel, name, value)
settings, problems = config.load(pairs, None, {})
assert not problems, problems
context = sources.Context(
    name="etcd", part="", options=settings.sources[0].options, interval=1.0, interfaces=frozenset(interfaces), memory={},
    note=lambda text: notes.append(text))
notes = [""]
follow = etcd_session.Session.follow
def late(session, known):
    if os.path.exists(hold):
        tell(held=True)
    while os.path.exists(hold):
        time.sleep(0.01)
    yield from follow(session, known)
etcd_session.Session.follow = late

def tell(**what):
    what["variable"] = os.environ.get("PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION")
    print(json.dumps(what, default=lambda unusable: {"unusable": unusable.reason}), flush=True)

gc.disable()  # as in the watcher: what a try leaves behind is not taken away by chance
while True:
    left = sum(type(one) is etcd_session.Session for one in gc.get_objects())
    before, generator = None, etcd.SOURCE.watch(context)
    while True:
        began = time.monotonic()
        try:
            with time_limit(limit):
                data = next(generator)
        except Overrun:
            tell(overrun=time.monotonic() - began)
            break
        except sources.SourceError as error:
            tell(error=error.reason, retry_after=error.retry_after, left=left)
            break
        tell(data=data, same=data is before, note=notes[-1])
        before = data
        if once:
            break
    generator.close()
    del generator
    time.sleep(0.05)
"""


class Reader:
    """A process that runs the source, and what it printed."""

    def __init__(
        self,
        folder: Path,
        pairs: str,
        *,
        interfaces: tuple[str, ...] = ("mysql",),
        limit: float = 100.0,
        constants: dict[str, Any] | None = None,
        once: bool = False,
        environ: dict[str, str] | None = None,
    ) -> None:
        self._hold = folder / f"hold-{time.monotonic_ns()}"
        argument = json.dumps([pairs, interfaces, limit, constants or {}, str(self._hold), once])
        self._log = folder / f"reader-{time.monotonic_ns()}.log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-W", "error", "-c", DRIVER, argument],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=ROOT,
                env=os.environ | (environ or {}),
            )
        self._lines: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            if line.endswith(b"\n"):  # else the process was killed while it wrote
                self._lines.put(json.loads(line))

    @property
    def log(self) -> str:
        return self._log.read_text()

    def next(self, patience: float = PATIENCE) -> dict[str, Any]:
        """Return the next line."""
        try:
            return self._lines.get(timeout=patience)
        except queue.Empty:
            raise AssertionError(f"nothing came within {patience} s; the log:\n{self.log}") from None

    def until(self, right: Callable[[dict[str, Any]], Any], patience: float = PATIENCE) -> dict[str, Any]:
        """Return the next line that is right."""
        deadline = time.monotonic() + patience
        while not right(line := self.next(max(deadline - time.monotonic(), 0))):
            pass
        return line

    def data(self, patience: float = PATIENCE) -> Any:
        """Return the next data; an error is a failure."""
        line = self.next(patience)
        assert "data" in line, f"{line}\n{self.log}"
        return line["data"]

    def watched(self) -> Any:
        """Return the next data once its changes are watched; before it may be errors."""
        data = self.until(lambda line: "data" in line)["data"]
        eventually(lambda: "watching from" in self.log, "the watch")
        return data

    def until_data(self, data: Any, patience: float = PATIENCE) -> None:
        """Return once this is given; an error before is a failure."""
        while (found := self.data(patience)) != data:
            assert found != data

    @contextlib.contextmanager
    def between_watches(self) -> Iterator[None]:
        """Do what is in the `with` after a watch has ended, and before the next one begins."""
        self._hold.touch()
        self.until(lambda line: "held" in line)
        yield
        self._hold.unlink()

    def error(self, patience: float = PATIENCE) -> str:
        """Return the next error."""
        return str(self.until(lambda line: "error" in line, patience)["error"])

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._thread.join()
        assert self.process.stdout
        self.process.stdout.close()
        told = self.log
        assert HUSH not in told
        assert "Traceback" not in told, told
