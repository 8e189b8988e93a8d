"""Programs: find their files, know the environment, execute them."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, NoReturn

from disco.system import libc

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


def find_program(name: str, path: str, folder: Path | None = None) -> str | None:
    """Return the file to execute for a name, or None if there is none.

    A name with a `/` is relative to the folder; any other is looked up in `path`.
    """
    if "/" in name:
        name = str(folder / name) if folder else name
        return name if os.path.isfile(name) and os.access(name, os.X_OK) else None  # noqa: PTH113 -- before pathlib is needed
    return shutil.which(name, path=path)


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


def execute(program: str, argv: list[str], entries: Iterable[bytes]) -> NoReturn:
    """Replace this process by a program. entries: of the environment, in any form.

    Raises:
        OSError: that is not possible.

    """
    libc.execve(program, argv, list(entries))
