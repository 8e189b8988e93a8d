"""Programs: find their files, know the environment, execute them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NoReturn

from disco.system import libc

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

# The kernel's limits of an exec, in bytes.
VARIABLE_LIMIT = 128 << 10  # of one argument or variable, its name and end included: MAX_ARG_STRLEN
EXEC_LIMITS = (128 << 10, 6 << 20)  # of all of them: a quarter of the stack's limit, within these
EXEC_MARGIN = 16 << 10  # for what exec adds: the program's path, and the words of a script's #! line
POINTER = 8


def find_program(name: str, path: str, folder: Path | None = None) -> str | None:
    """Return the file to execute for a name, or None if there is none.

    A name with a `/` is relative to the folder; any other is looked up in `path`.
    """
    if "/" in name:
        name = str(folder / name) if folder else name
        return name if is_executable(name) else None
    # As shutil.which does it, whose module takes 1.5 ms of a start. An empty entry is the working directory, an empty path is none.
    files = (os.path.join(place, name) for place in path.split(os.pathsep) if path)  # noqa: PTH118 -- before pathlib is needed
    return next((file for file in files if is_executable(file)), None)


def is_executable(file: str) -> bool:
    """Return whether a file is one that this process may execute."""
    return os.path.isfile(file) and os.access(file, os.X_OK)  # noqa: PTH113 -- before pathlib is needed


def environment() -> dict[bytes, bytes]:
    """Return the whole entries of the environment that this process was given, by name.

    It is the kernel's copy, to which nobody adds anything. Of a name that is there twice the first counts, as for the C
    library. An entry without `=` is its own name.
    """
    try:
        with open("/proc/self/environ", "rb") as file:  # noqa: PTH123 -- before pathlib is needed
            entries = file.read().split(b"\0")
    except OSError:
        entries = [name + b"=" + value for name, value in os.environb.items()]
    by_name: dict[bytes, bytes] = {}
    for entry in filter(None, entries):
        by_name.setdefault(entry.partition(b"=")[0] if b"=" in entry else entry, entry)
    return by_name


def exec_size(content: bytes) -> int:
    """Return the bytes that strings, each ended by NUL, take of what an exec may be given."""
    return len(content) + POINTER * content.count(b"\0")


def exec_room(argv: Iterable[bytes], entries: Iterable[bytes]) -> int:
    """Return how many bytes an exec with these arguments and this environment has left (as `exec_size` counts them)."""
    import resource  # noqa: PLC0415 -- few sites ask

    least, most = EXEC_LIMITS
    stack, _ = resource.getrlimit(resource.RLIMIT_STACK)
    limit = most if stack == resource.RLIM_INFINITY else min(max(stack // 4, least), most)  # sysconf of musl knows the least alone
    return limit - EXEC_MARGIN - exec_size(b"".join(text + b"\0" for text in (*argv, *entries)))


def execute(program: str, argv: list[str], entries: Iterable[bytes]) -> NoReturn:
    """Replace this process by a program. entries: of the environment, in any form.

    Raises:
        OSError: that is not possible.

    """
    libc.execve(program, argv, list(entries))
