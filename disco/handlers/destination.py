"""Destinations: the file that is to be written, what it is to be, and what it is now."""

from __future__ import annotations

import os
import re
import stat

from disco.errors import HandlerError
from disco.named import NamedTuple
from disco.text import NAME_LIMIT, PATH_LIMIT, escape

SIZE_LIMIT = 64 << 20  # bytes of a file, which is kept in memory
LINKS_LIMIT = 40  # as the kernel's
NUMBER_LIMIT = (1 << 32) - 1  # of users and groups


class Owner(NamedTuple):
    """A user's and a group's number; -1: as it is."""

    user: int = -1
    group: int = -1


class Destination(NamedTuple):
    """What a target is to be, the file that a call writes.

    path: of the file itself, no link. mode: its permissions, None: as they are, or as the umask makes them. check: the
    words of a program that refuses a bad file; none if empty.
    """

    path: str
    mode: int | None = None
    owner: Owner = Owner()
    check: tuple[str, ...] = ()


class Old(NamedTuple):
    """The target's file as it is now."""

    content: bytes
    mode: int
    owner: Owner


def parse_owner(words: str) -> Owner:
    """Return the owner that USER, USER:GROUP or :GROUP names; names or numbers.

    Raises:
        HandlerError: there is no such user or group.

    """
    import grp  # noqa: PLC0415 -- few calls name an owner
    import pwd  # noqa: PLC0415 -- as above

    user, _, group = words.partition(":")
    try:
        owner = Owner(
            -1 if not user else int(user) if user.isdecimal() else pwd.getpwnam(user).pw_uid,
            -1 if not group else int(group) if group.isdecimal() else grp.getgrnam(group).gr_gid,
        )
    except (KeyError, ValueError):
        owner = Owner(NUMBER_LIMIT)
    if max(owner) >= NUMBER_LIMIT:
        raise HandlerError(f"--owner {escape(words, NAME_LIMIT)}: there is no such user or group")
    return owner


def follow(path: str) -> str:
    """Return the file at the end of a path's links.

    Raises:
        HandlerError: a link is another user's, who could lead anywhere with it; or there are too many.
        OSError: a link cannot be read.

    """
    for _ in range(LINKS_LIMIT):
        try:
            status = os.lstat(path)
        except FileNotFoundError:
            return path
        if not stat.S_ISLNK(status.st_mode):
            return path
        if status.st_uid not in {0, os.geteuid()}:
            raise HandlerError(f"{path} is another user's link: it could lead anywhere")
        path = os.path.join(os.path.dirname(path), os.readlink(path))  # noqa: PTH115, PTH118, PTH120 -- as text, never normalized
    raise HandlerError(f"{path}: too many links")


def read_old(path: str) -> Old | None:
    """Return what a target is now, None if it is not there.

    Raises:
        HandlerError: it is no regular file, or too large.
        OSError: it cannot be read.

    """
    try:
        content, status = read_regular(path)
    except FileNotFoundError:
        return None
    return Old(content, stat.S_IMODE(status.st_mode), Owner(status.st_uid, status.st_gid))


def read_regular(path: str) -> tuple[bytes, os.stat_result]:
    """Return the content of a regular file, which no link leads to, and its status.

    Raises:
        HandlerError: it is no regular file, or larger than SIZE_LIMIT.
        OSError: it cannot be read.

    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise HandlerError(f"{escape(path, PATH_LIMIT)} is not a regular file")
    with os.fdopen(descriptor, "rb") as file:
        content = file.read(SIZE_LIMIT + 1)
    if len(content) > SIZE_LIMIT:
        raise HandlerError(f"{escape(path, PATH_LIMIT)} is larger than {SIZE_LIMIT >> 20} MiB")
    return content, status


def has_other_owner_or_mode(target: Destination, old: Old) -> bool:
    """Return whether a target's mode or owner is another one than it is to have."""
    owner = (wanted if wanted >= 0 else now for wanted, now in zip(target.owner, old.owner, strict=True))
    return target.mode not in {None, old.mode} or (*owner,) != tuple(old.owner)


def explain_folder(path: str) -> str:
    """Return why no file can be written beside a target, for people; empty if nothing is known."""
    folder = folder_of(path)
    if not os.path.isdir(folder):  # noqa: PTH112 -- paths stay text here
        return f"there is no folder {folder}"
    if os.access(folder, os.W_OK | os.X_OK) or (is_mounted(path) and os.access(path, os.W_OK)):
        return ""
    return f"{folder} is not writable"


def folder_of(path: str) -> str:
    """Return the folder that a path's file is in."""
    return os.path.dirname(path) or "."  # noqa: PTH120 -- as above


def is_mounted(path: str) -> bool:
    """Return whether a file is a mount of its own; without /proc nothing is known to be one."""
    real = os.fsencode(os.path.realpath(path))
    try:
        with open("/proc/self/mountinfo", "rb") as file:  # noqa: PTH123 -- bytes
            points = [line.split()[4] for line in file]
    except OSError:
        return False
    return real in (re.sub(rb"\\(\d{3})", lambda found: bytes([int(found[1], 8)]), point) for point in points)
