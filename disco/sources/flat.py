"""Flat files: YAML or JSON read from the container's own file system."""

from __future__ import annotations

import errno
import os
import re
import stat
import time
from typing import TYPE_CHECKING, Any

from disco.data import documents, values
from disco.errors import DocumentError, Problem
from disco.named import NamedTuple
from disco.sources import Context, Option, Options, Source, SourceError
from disco.sources.options import boolean, path
from disco.text import NAME_LIMIT, escape, plural, shorten

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from disco.data.values import Json

SUFFIXES = (".yaml", ".yml", ".json")
LOOKS, NEXT_LOOK = 10, 0.05  # at what is changing: how often at most, and seconds in between
STAMP_UNIT = 2.0  # seconds; the coarsest time stamps (FAT, old NFS)
UNREAD_LIMIT = 5  # names shown of files that are not read


def watch(context: Context) -> Iterator[Mapping[str, Any]]:
    """Yield the content of the file, or of all files in the directory, looked at every `interval`.

    An optional file that is not there has no content.
    """
    file = str(context.options["file"])  # no Path is made: a look costs little more than its system calls
    # While nothing changes a step is many looks: what is around a step costs as much as the rest of a look.
    patience = context.options.get("timeout", 0.0)
    is_optional = context.options.get("optional", False)
    seen: Look | None = None
    data: dict[str, Any] = {}
    due, was_recent = 0.0, False
    while True:
        try:
            look = look_at(file, is_optional=is_optional)
            # What was read moments after it changed may have changed again since, without its time stamp showing it.
            is_news = seen is None or not _is_same(look, seen) or was_recent
            if is_news:
                seen, data = read(file, look, seen, is_optional=is_optional)
                was_recent = _is_recent(seen.files.values())
                context.note(f"{file} is not there, which optional allows" if seen.is_missing else _describe_unread(seen.unread))
        except SourceError as error:  # a look costs nothing: no need to wait ever longer for a file
            raise SourceError(error.reason, retry_after=context.interval) from None
        now = time.monotonic()
        if is_news or now >= due:
            yield data
            due = now if is_news else now + patience  # a second good look ends an earlier trouble
        time.sleep(context.interval)


class Look(NamedTuple):
    """The files to read, sorted by name, each with its status; and the names of those in the directory that are not read.

    is_missing: there is neither the file nor the directory.
    """

    files: dict[str, os.stat_result]
    unread: list[str]
    is_missing: bool = False


def look_at(file: str, *, is_optional: bool = False) -> Look:
    """Look at a file or a directory.

    Raises:
        SourceError: it is not there and not optional, it cannot be looked at, or a file in it that is to be read is not there.

    """
    name = file
    try:
        status = os.stat(file)  # noqa: PTH116 -- as in watch
        if not stat.S_ISDIR(status.st_mode):
            return Look({file: status}, [])
        look = Look({}, [])
        for entry in sorted(os.listdir(file)):  # noqa: PTH208 -- as in watch
            name = f"{file}/{entry}"
            if entry.startswith("."):
                continue
            if entry.endswith(SUFFIXES):
                status = os.stat(name)  # noqa: PTH116 -- as in watch
                if not stat.S_ISDIR(status.st_mode):
                    look.files[name] = status
            elif not os.path.isdir(name):  # noqa: PTH112 -- as in watch
                look.unread.append(entry)
    except OSError as error:
        if is_optional and name == file and error.errno == errno.ENOENT:
            return Look({}, [], is_missing=True)
        raise SourceError(f"{name}: {error.strerror}") from None
    return look


def read(file: str, look: Look, seen: Look | None, *, is_optional: bool = False) -> tuple[Look, dict[str, Any]]:
    """Return what is in the files, all of one moment, and the look at that moment.

    A read during a change may be of two moments: half of a file that is being written, or one file from before and one from
    after the swap of a link. So a file that is being written (the same inode, changed since the look before) is waited for. What
    has changed while it was read is read again, whether it could be read or not.

    Raises:
        SourceError: a file is wrong, or they change faster than they can be read.

    """
    for left in reversed(range(LOOKS)):
        if left and seen and _is_written(look, seen):
            time.sleep(NEXT_LOOK)
            seen, look = look, look_at(file, is_optional=is_optional)
            continue
        problem: SourceError | None = None
        data: dict[str, Any] = {}
        try:
            data = load(look.files)
        except SourceError as error:
            problem = error
        seen, look = look, look_at(file, is_optional=is_optional)
        if _is_same(look, seen) or (not left and _is_written(look, seen)):  # a file that is never quiet has to do as it is
            if problem:
                raise problem
            return seen, data
    raise SourceError(f"{file}: its files change faster than they can be read")


def load(files: Iterable[str]) -> dict[str, Any]:
    """Return the interfaces in the files; raise SourceError with the place for anything that is wrong."""
    data: dict[str, Any] = {}
    size = 0
    for file in files:
        try:
            content = documents.read_file(file)
            size += len(content)
            if size > values.SIZE_LIMIT:
                raise SourceError(f"{file}: all files together are larger than {values.SIZE_LIMIT >> 20} MiB")
            interfaces = documents.parse(content, file, places=False).data
        except DocumentError as error:
            raise SourceError(str(error)) from None
        if interfaces is None:
            continue
        if not isinstance(interfaces, dict):
            raise SourceError(
                f"{file}: expected a mapping of interfaces at the top level, but it holds {_describe(content, interfaces)}"
            )
        for interface, value in interfaces.items():
            if interface in data:
                raise SourceError(f"{file}: {escape(interface, NAME_LIMIT)} is in an earlier file of the directory too")
            data[interface] = value
    return data


def _describe(content: bytes, data: Json) -> str:
    """Return what a file looks like that holds no mapping: nothing of its content."""
    if isinstance(data, list):
        return "a list"
    first = content.lstrip().split(b"\n", 1)[0]
    if re.match(rb"(export\s+)?\w+\s*=", first):
        return "NAME=VALUE lines; write YAML or JSON, such as 'interface: {name: value}'"
    return "a single value (a secret's file?); write YAML or JSON, such as 'interface: {name: value}'"


def _describe_unread(names: list[str]) -> str:
    """Return which files of a directory are not read, for people; empty if there is none."""
    if not names:
        return ""
    shown = shorten([escape(name, NAME_LIMIT) for name in names], UNREAD_LIMIT)
    return f"{plural(len(names), 'file')} in the directory not read, for only *{', *'.join(SUFFIXES)} are: {shown}"


def _identity(status: os.stat_result) -> tuple[int, ...]:
    """Return what changes when a file's content does, or a symlink's target (Kubernetes swaps one for all files)."""
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_ctime_ns, status.st_size


def _is_same(look: Look, other: Look) -> bool:
    """Return whether two looks saw the same."""
    return look.is_missing == other.is_missing and look.unread == other.unread and _identities(look) == _identities(other)


def _is_written(look: Look, before: Look) -> bool:
    """Return whether a file is the same one as in the look before, and has another content."""
    return any(
        os.path.samestat(status, before.files[name]) and _identity(status) != _identity(before.files[name])
        for name, status in look.files.items()
        if name in before.files
    )


def _identities(look: Look) -> list[tuple[str, tuple[int, ...]]]:
    return [(name, _identity(status)) for name, status in look.files.items()]


def _is_recent(files: Iterable[os.stat_result]) -> bool:
    """Return whether a file changed so lately that its time stamp may not show a further change."""
    now = time.time()
    return any(abs(now - status.st_mtime) < STAMP_UNIT for status in files)


def _check(options: Options) -> Iterator[Problem]:
    if not options["file"]:
        yield Problem("file", "expected the path of a file or a directory", "set it")


SOURCE = Source(
    watch=watch,
    place=lambda options, _part: str(options["file"]),
    options=(
        Option(name="file", type=path, help="a YAML or JSON file, or a directory of them"),
        Option(name="optional", type=boolean, default=False, help="whether a file or directory that is not there counts as empty"),
    ),
    check=_check,
)
