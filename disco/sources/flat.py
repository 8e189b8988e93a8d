"""Flat files: YAML or JSON read from the container's own file system."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

from disco import documents
from disco.config import path
from disco.errors import DocumentError
from disco.sources import Context, Option, Options, Source, SourceError
from disco.text import escape

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

SUFFIXES = (".yaml", ".yml", ".json")


def watch(context: Context) -> Iterator[Mapping[str, Any]]:
    """Yield the content of the file, or of all files in the directory, looked at every `interval`."""
    file: Path = context.options["file"]
    seen, data = None, {}
    while True:
        try:
            files = list_files(file)
            state = [(name, _identity(name)) for name in files]
            # A file changed within the last moments may change again without its time stamp showing it.
            if state != seen or _is_recent(files):
                data, seen = load(files), state
        except SourceError as error:  # a look costs nothing: no need to wait ever longer for a file
            raise SourceError(error.reason, retry_after=context.interval) from None
        yield data
        time.sleep(context.interval)


def list_files(file: Path) -> list[Path]:
    """Return the files to read, sorted by name; raise SourceError if there is none."""
    try:
        if not file.is_dir():
            return [file]
        found = sorted(entry for entry in file.iterdir() if entry.suffix in SUFFIXES and not entry.name.startswith("."))
        return [entry for entry in found if not entry.is_dir()]
    except OSError as error:
        raise SourceError(f"{file}: {error.strerror}") from None


def load(files: Iterable[Path]) -> dict[str, Any]:
    """Return the interfaces in the files; raise SourceError with the place for anything that is wrong."""
    data: dict[str, Any] = {}
    size = 0
    for file in files:
        try:
            content = documents.read_file(file)
            size += len(content)
            if size > documents.SIZE_LIMIT:
                raise SourceError(f"{file}: all files together are larger than {documents.SIZE_LIMIT >> 20} MiB")
            found = documents.parse(content, str(file), places=False).data
        except DocumentError as error:
            raise SourceError(str(error)) from None
        if found is None:
            continue
        if not isinstance(found, dict):
            raise SourceError(f"{file}: expected a mapping of interfaces at the top level")
        for interface, value in found.items():
            if interface in data:
                raise SourceError(f"{file}: {escape(interface, 80)} is in an earlier file of the directory too")
            data[interface] = value
    return data


def _identity(file: Path) -> tuple[int, ...]:
    """Return what changes when a file's content does, or a symlink's target (Kubernetes swaps one for all files)."""
    try:
        found = os.stat(file)  # noqa: PTH116 -- as the rest of the line's names
    except OSError as error:
        raise SourceError(f"{file}: {error.strerror}") from None
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size


def _is_recent(files: Iterable[Path]) -> bool:
    """Return whether a file changed so lately that its time stamp may not tell a further change (2 s: FAT, old NFS)."""
    now = time.time()
    try:
        return any(abs(now - os.stat(file).st_mtime) < 2 for file in files)  # noqa: PTH116, PLR2004
    except OSError:
        return True


def _check(options: Options) -> Iterator[str]:
    if not options["file"]:
        yield "file: expected the path of a file or a directory"


SOURCE = Source(
    watch=watch,
    place=lambda options, _part: str(options["file"]),
    options=(Option(name="file", type=path, help="a YAML or JSON file, or a directory of them"),),
    check=_check,
)
