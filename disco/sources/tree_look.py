"""A look at a folder with one file for each key: which files there are, where they lie, in what state. It reads none of them.

kubelet writes each generation of files into a folder of its own, and turns the link `..data` to it; programs see links
through `..data`. A look reads that link once, and takes what is in the folder. So all that it sees is of one generation, and
whole, also while kubelet has still to add and remove links.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING

from disco.data.values import DEPTH_LIMIT, KEY_LIMIT, SIZE_LIMIT
from disco.errors import SourceError
from disco.named import NamedTuple
from disco.sources.keys import InvalidValue
from disco.sources.tree_links import LinkError, Links
from disco.text import PATH_LIMIT, escape

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

GENERATION = "..data"
TRIES = 10  # while generations are exchanged under the look

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})  # ELOOP: now a link is where a folder was
_DENIED = frozenset({errno.EACCES, errno.EPERM})
_KINDS = {stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}


class Layout(NamedTuple):
    """Where keys lie.

    root: the folder. interface: to which all files belong; empty: the first part of a file's name says to which. keys: of the files
    whose key is not their name, by that name. interfaces: the ones that are wanted.
    """

    root: str
    interface: str
    keys: Mapping[str, str]
    interfaces: frozenset[str]


class File(NamedTuple):
    """A regular file. place: below the root, without links. state: what tells it from other files, and from what it was."""

    place: str
    state: tuple[int, ...]


class TreeLook(NamedTuple):
    """What is there.

    files: by key. foreign: names of interfaces that are not wanted. loose: files of such interfaces that lie in the root itself.
    skipped: what is no key, each with the reason. folders: device and inode of each, by its place.
    """

    files: dict[str, File | InvalidValue]
    foreign: set[str]
    loose: list[str]
    skipped: list[str]
    folders: dict[str, tuple[int, int]]


def look_at(layout: Layout) -> TreeLook:
    """Look at a folder.

    Raises:
        SourceError: it is not there, there is too much in it, or it changes too fast.

    """
    shown = escape(layout.root, PATH_LIMIT)
    for _ in range(TRIES):
        try:
            with _opened(layout.root) as root:
                walk = _Walk(layout, root)
                walk.enter(root, "", "", frozenset())
                return walk.look
        except _ChangedError:
            continue
        except OSError as error:
            reason = "not a folder" if error.errno == errno.ENOTDIR else error.strerror
            raise SourceError(f"{shown}: {reason}") from None
    raise SourceError(f"{shown}: {GENERATION} changes faster than it can be read")


def state_of(status: os.stat_result) -> tuple[int, ...]:
    """Return a file's state: device, inode, and what changes when its content does."""
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_ctime_ns, status.st_size


class _ChangedError(Exception):
    """Another generation has taken the place of the one that is looked at."""


class _Walk:
    """One look: what it has seen so far."""

    def __init__(self, layout: Layout, root: int) -> None:
        self.look = TreeLook({}, set(), [], [], {})
        self._layout = layout
        self._links = Links(layout.root, root)
        self._left = KEY_LIMIT

    def enter(self, folder: int, place: str, name: str, above: frozenset[tuple[int, int]]) -> None:
        """Look at all that is in a folder.

        folder: its descriptor. place: its real one. name: what it is called, which is another place if a link leads to it.
        above: the folders on the way to it.
        """
        identity = _identity(folder)
        if identity in above:
            self._put(name, InvalidValue("is a link to a folder that it is in"))
            return
        if len(_join(self._layout.interface, name).split("/")) >= DEPTH_LIMIT:
            self._put(name, InvalidValue(f"is deeper than {DEPTH_LIMIT} levels"))
            return
        self.look.folders[place] = identity
        above |= {identity}
        names = self._list(folder)
        own = frozenset(entry for entry in names if not entry.startswith(".."))
        link = _join(place, GENERATION)
        if GENERATION in names and self._read_link(link):
            own = frozenset(entry for entry in own if self._read_link(_join(place, entry)) != f"{GENERATION}/{entry}")
            self._enter_generation(link, name, above, own)
        else:
            link = ""
        for entry in sorted(own):
            self._meet(folder, _join(place, entry), _join(name, entry), above)
        if link and not self._links.is_current(link):
            raise _ChangedError

    def _enter_generation(self, link: str, name: str, above: frozenset[tuple[int, int]], hidden: frozenset[str]) -> None:
        """Look at all that is in the folder that `..data` leads to, but for the names that are hidden by others."""
        try:
            real = self._links.follow(link)
            with self._links.open_folder(real) as folder:
                self.look.folders[real] = _identity(folder)
                for entry in sorted(self._list(folder)):
                    if not entry.startswith("..") and entry not in hidden:
                        self._meet(folder, _join(real, entry), _join(name, entry), above)
        except LinkError as error:
            raise SourceError(f"{self._show(link)} {error}") from None
        except OSError as error:
            if not self._links.is_current(link):
                raise _ChangedError from None
            reason = "leads to no folder" if error.errno in _GONE else error.strerror
            raise SourceError(f"{self._show(link)}: {reason}") from None

    def _meet(self, folder: int, place: str, name: str, above: frozenset[tuple[int, int]]) -> None:
        """Look at an entry of a folder."""
        if not _is_text(name):
            self.look.skipped.append(f"{name} (its name is no UTF-8)")
            return
        is_link = False
        try:
            status = _stat(folder, place)
            is_link = stat.S_ISLNK(status.st_mode)
            if not is_link:
                self._take(folder, place, name, status, above)
                return
            real = self._links.follow(place)
            with self._links.open_folder(real.rpartition("/")[0]) as parent:
                self._take(parent, real, name, _stat(parent, real), above)
        except LinkError as error:
            self._put(name, InvalidValue(str(error)))
        except OSError as error:
            if error.errno in _DENIED:
                self._put(name, InvalidValue(f"cannot be read: {error.strerror}"))
            elif error.errno not in _GONE:
                raise SourceError(f"{self._show(place)}: {error.strerror}") from None
            elif is_link:  # what is gone else was removed a moment ago
                self.look.skipped.append(f"{name} (a link to nothing)")

    def _take(self, folder: int, place: str, name: str, status: os.stat_result, above: frozenset[tuple[int, int]]) -> None:
        """Take a file for a key, or look into a folder."""
        if stat.S_ISDIR(status.st_mode):
            if self._may_hold_keys(name):
                with _opened(_last(place), folder) as inner:
                    self.enter(inner, place, name, above)
            else:
                self.look.foreign.add(name)
        elif not stat.S_ISREG(status.st_mode):
            kind = _KINDS.get(stat.S_IFMT(status.st_mode), "of an unknown kind")
            self._put(name, InvalidValue(f"is {kind}, not a regular file"))
        elif status.st_size > SIZE_LIMIT:
            self._put(name, InvalidValue(f"is larger than {SIZE_LIMIT >> 20} MiB"))
        else:
            self._put(name, File(place, state_of(status)))

    def _may_hold_keys(self, name: str) -> bool:
        """Return whether a folder may hold files of an interface that is wanted."""
        if self._layout.interface or "/" in name or name in self._layout.interfaces:
            return True
        return any(file.startswith(f"{name}/") for file in self._layout.keys)

    def _put(self, name: str, file: File | InvalidValue) -> None:
        key = self._layout.keys.get(name) or _join(self._layout.interface, name)
        interface = key.partition("/")[0]
        if interface not in self._layout.interfaces:
            self.look.foreign.add(interface)
            if key == name == interface and isinstance(file, File):
                self.look.loose.append(name)
        elif key in self.look.files:
            self.look.files[key] = InvalidValue("is in two files")
        else:
            self.look.files[key] = file

    def _list(self, folder: int) -> list[str]:
        names = []
        with os.scandir(folder) as entries:
            for entry in entries:
                self._left -= 1
                if self._left < 0:
                    raise SourceError(f"{self._show('')}: more than {KEY_LIMIT} files and folders: mount fewer")
                names.append(entry.name)
        return names

    def _read_link(self, place: str) -> str | None:
        try:
            return self._links.read(place)
        except OSError:
            return None

    def _show(self, place: str) -> str:
        return escape(_join(self._layout.root, place), PATH_LIMIT)


@contextmanager
def _opened(name: str, folder: int | None = None) -> Iterator[int]:
    """Open a folder; no link, if it is in a given one."""
    descriptor = os.open(name, _FOLDER if folder is None else _FOLDER | os.O_NOFOLLOW, dir_fd=folder)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _stat(folder: int, place: str) -> os.stat_result:
    return os.stat(_last(place), dir_fd=folder, follow_symlinks=False)


def _identity(folder: int) -> tuple[int, int]:
    status = os.fstat(folder)
    return status.st_dev, status.st_ino


def _last(place: str) -> str:
    return place.rpartition("/")[2] or "."


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder and name else folder or name


def _is_text(name: str) -> bool:
    try:
        return name.isascii() or bool(name.encode())
    except UnicodeEncodeError:
        return False
