"""Flat files: YAML or JSON read from the container's own file system."""

from __future__ import annotations

import os
import stat
import time
from typing import TYPE_CHECKING, Any

from disco import documents
from disco.config import path
from disco.errors import DocumentError, Problem
from disco.sources import Context, Option, Options, Source, SourceError
from disco.text import escape

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

SUFFIXES = (".yaml", ".yml", ".json")


def watch(context: Context) -> Iterator[Mapping[str, Any]]:
    """Yield the content of the file, or of all files in the directory, looked at every `interval`."""
    file = str(context.options["file"])  # a look is little more than its system calls: no Path is made
    # While nothing changes a step is many looks: what is around a step costs as much as the rest of a look.
    patience = context.options.get("timeout", 0.0)
    seen, data, due, was_recent = None, {}, 0.0, False
    while True:
        try:
            files = look_at(file)
            state = [(name, _identity(found)) for name, found in files.items()]
            # What was read moments after it changed may have changed again since, without its time stamp showing it.
            is_news = state != seen or was_recent
            if is_news:
                was_recent = _is_recent(files.values())
                data, seen = load(files), state
        except SourceError as error:  # a look costs nothing: no need to wait ever longer for a file
            raise SourceError(error.reason, retry_after=context.interval) from None
        now = time.monotonic()
        if is_news or now >= due:
            yield data
            due = now if is_news else now + patience  # a second good look ends an earlier trouble
        time.sleep(context.interval)


def look_at(file: str) -> dict[str, os.stat_result]:
    """Return the status of each file to read, sorted by name; raise SourceError if there is none, or one has none."""
    name = file
    try:
        found = os.stat(file)  # noqa: PTH116 -- as above
        if not stat.S_ISDIR(found.st_mode):
            return {file: found}
        files = {}
        for entry in sorted(os.listdir(file)):  # noqa: PTH208 -- as above
            if entry.endswith(SUFFIXES) and not entry.startswith("."):
                name = f"{file}/{entry}"
                found = os.stat(name)  # noqa: PTH116 -- as above
                if not stat.S_ISDIR(found.st_mode):
                    files[name] = found
    except OSError as error:
        raise SourceError(f"{name}: {error.strerror}") from None
    return files


def load(files: Iterable[str]) -> dict[str, Any]:
    """Return the interfaces in the files; raise SourceError with the place for anything that is wrong."""
    data: dict[str, Any] = {}
    size = 0
    for file in files:
        try:
            content = documents.read_file(file)
            size += len(content)
            if size > documents.SIZE_LIMIT:
                raise SourceError(f"{file}: all files together are larger than {documents.SIZE_LIMIT >> 20} MiB")
            found = documents.parse(content, file, places=False).data
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


def _identity(found: os.stat_result) -> tuple[int, ...]:
    """Return what changes when a file's content does, or a symlink's target (Kubernetes swaps one for all files)."""
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size


def _is_recent(files: Iterable[os.stat_result]) -> bool:
    """Return whether a file changed so lately that its time stamp may not tell a further change (2 s: FAT, old NFS)."""
    now = time.time()
    return any(abs(now - found.st_mtime) < 2 for found in files)  # noqa: PLR2004


def _check(options: Options) -> Iterator[Problem]:
    if not options["file"]:
        yield Problem("file", "expected the path of a file or a directory", "set it")


SOURCE = Source(
    watch=watch,
    place=lambda options, _part: str(options["file"]),
    options=(Option(name="file", type=path, help="a YAML or JSON file, or a directory of them"),),
    check=_check,
)
