"""The tree source in the process of a test."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from disco.sources import Options, tree
from disco.sources.options import SOURCE_OPTIONS
from tests.workers.support import make_context

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

OPTIONS = {option.name: option for option in (*SOURCE_OPTIONS, *tree.SOURCE.options)}


def make_options(**texts: str) -> Options:
    """Return the options as disco makes them of text."""
    values = {name: option.default for name, option in OPTIONS.items()}
    return Options(values | {name: OPTIONS[name].type(text) for name, text in texts.items()}, {}, frozenset(texts))


class Reader:
    """One call of the generator: what it yields, and the notes that it gives."""

    def __init__(self, folder: Path, *, interval: float = 0.01, **texts: str) -> None:
        self.notes: list[str] = []
        self._last: Mapping[str, Any] = {}
        options = make_options(path=str(folder), **texts)
        self._steps = tree.watch(make_context(interval)._replace(options=options, note=self.notes.append))

    def step(self) -> Mapping[str, Any]:
        self._last = next(self._steps)
        return self._last

    def read_news(self) -> Mapping[str, Any]:
        """Return the next snapshot that is another object than the one before."""
        before = self._last
        while self.step() is before:
            pass
        return self._last

    def close(self) -> None:
        self._steps.close()  # type: ignore[attr-defined]


def read_once(folder: Path, **texts: str) -> Mapping[str, Any]:
    """Return what a first look yields."""
    reader = Reader(folder, interval=0.01, **texts)
    try:
        return reader.step()
    finally:
        reader.close()


def note_of(folder: Path, **texts: str) -> str:
    """Return the note that comes with a first look."""
    reader = Reader(folder, interval=0.01, **texts)
    try:
        reader.step()
        return reader.notes[-1]
    finally:
        reader.close()


def write(folder: Path, files: Mapping[str, str | bytes]) -> Path:
    """Write files below a folder; return it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def count_watches(pid: int | str = "self") -> int:
    """Return how many folders a process watches."""
    count = 0
    for number in os.listdir(f"/proc/{pid}/fdinfo"):
        try:
            with open(f"/proc/{pid}/fdinfo/{number}") as file:
                count += file.read().count("inotify wd:")
        except OSError:  # closed since
            continue
    return count
