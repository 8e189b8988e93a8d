"""A folder that changes as kubelet changes a mounted ConfigMap or Secret: a generation of files at a time."""

from __future__ import annotations

import contextlib
import itertools
import shutil
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path


class Mount:
    """A mounted folder, in the steps of kubelet's AtomicWriter. With `links_first` in those that it took until Kubernetes 1.19."""

    def __init__(self, folder: Path, *, links_first: bool = False) -> None:
        self.folder = folder
        self._numbers = itertools.count()
        self._links_first = links_first
        folder.mkdir(parents=True, exist_ok=True)

    def write(self, files: Mapping[str, str | bytes], *, keep: bool = False) -> Path:
        """Write a generation, and remove the one before unless that is to be kept; return its folder."""
        data = self.folder / "..data"
        before = data.resolve() if data.is_symlink() else None
        generation = self.folder / f"..2026_11_25_00_00_00.{next(self._numbers)}"
        for name, content in files.items():
            path = generation / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        generation.mkdir(exist_ok=True)
        names = {path.name for path in generation.iterdir()}
        if self._links_first:
            self._add_links(names)
        self.turn(generation)
        self._add_links(names)
        if before:
            for path in before.iterdir():
                if path.name not in names:
                    (self.folder / path.name).unlink(missing_ok=True)
            if not keep:
                shutil.rmtree(before)
        return generation

    def turn(self, generation: Path) -> None:
        """Turn the link to a generation that is there."""
        new = self.folder / "..data_tmp"
        new.symlink_to(generation.name)
        new.rename(self.folder / "..data")

    def _add_links(self, names: set[str]) -> None:
        for name in names:
            with contextlib.suppress(FileExistsError):
                (self.folder / name).symlink_to(f"..data/{name}")


@contextlib.contextmanager
def meanwhile(act: Callable[[], object]) -> Iterator[None]:
    """Call a function again and again, in a thread beside the body of a `with`."""
    stop = threading.Event()

    def go_on() -> None:
        while not stop.is_set():
            act()

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
