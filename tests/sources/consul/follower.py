"""A Consul source's generator, stepped in the process of a test."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from disco.site import config
from disco.sources import Context, Options, SourceError
from disco.sources.consul import SOURCE

PATIENCE = 30.0  # seconds; what takes longer on a busy machine is taken to hang


SECRET = "s3cr3t-t0k3n"


def load(pairs: str, environ: dict[str, str] | None = None) -> Options:
    settings, problems = config.load(pairs, None, environ or {})
    assert not problems
    return settings.sources[0].options


def problems(pairs: str) -> list[str]:
    """Return what is wrong with options: their types', then the source's own."""
    settings, found = config.load(pairs, None, {})
    return list(map(str, found or SOURCE.check(settings.sources[0].options)))


class Follower:
    """One generator, whose steps are made here in the main thread, as in a source's own process."""

    def __init__(
        self,
        pairs: str,
        *,
        part: str = "",
        interfaces: tuple[str, ...] = ("web", "db"),
        interval: float = 0.05,
        memory: dict[str, Any] | None = None,
        environ: dict[str, str] | None = None,
    ) -> None:
        self.options = load(pairs, environ)
        self.note = ""
        context = Context(
            name="consul",
            part=part,
            options=self.options,
            interval=interval,
            interfaces=frozenset(interfaces),
            memory={} if memory is None else memory,
            note=lambda text: setattr(self, "note", text),
        )
        self.generator = SOURCE.watch(context)

    def step(self, meanwhile: Callable[[], object] = lambda: None) -> dict[str, Any]:
        """Return what the next step yields; meanwhile: what is done beside it, in a thread."""
        with ThreadPoolExecutor(1) as threads:
            done = threads.submit(meanwhile)
            try:
                found = next(self.generator)
            finally:
                done.result()
        return found  # type: ignore[return-value]  # the very object

    def until(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Step until what is yielded is wanted: a store may answer before all of a change is there."""
        deadline = time.monotonic() + PATIENCE
        while not wanted(found := self.step()):
            assert time.monotonic() < deadline, f"never came; last: {found}"
        return found

    def fail(self) -> SourceError:
        """Return the error that the step ends with."""
        with pytest.raises(SourceError) as caught:
            self.step()
        return caught.value

    def close(self) -> None:
        self.generator.close()  # type: ignore[attr-defined]


Follow = Callable[..., Follower]
