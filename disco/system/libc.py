"""The C library's calls for which Python has no function of its own."""

from __future__ import annotations

import ctypes
import os
from typing import TYPE_CHECKING, NoReturn

from disco.errors import SystemFailure

if TYPE_CHECKING:
    from collections.abc import Sequence

PR_SET_NAME = 15
M_MMAP_THRESHOLD = -3

_library = ctypes.CDLL(None, use_errno=True)


def prctl(option: int, value: int) -> None:
    """Set an attribute of this process.

    Raises:
        SystemFailure: the kernel refuses.

    """
    if _library.prctl(option, *map(ctypes.c_ulong, (value, 0, 0, 0))):
        reason = os.strerror(ctypes.get_errno())
        raise SystemFailure(f"the kernel refuses prctl({option}): {reason} (a sandbox or seccomp profile?)")


def set_name(name: str) -> None:
    """Set the kernel's name of this process, of which it keeps 15 bytes."""
    _library.prctl(PR_SET_NAME, name.encode()[:15], 0, 0, 0)


def close_from(first: int) -> bool:
    """Close every descriptor from this number on; return whether kernel and library can (Linux 5.9)."""
    close_range = getattr(_library, "close_range", None)
    return close_range is not None and close_range(ctypes.c_uint(first), ctypes.c_uint(-1), 0) == 0


def set_mmap_threshold(size: int) -> None:
    """Have blocks of at least so many bytes given back when they are freed (mallopt(3), if the library has it)."""
    if mallopt := getattr(_library, "mallopt", None):
        mallopt(M_MMAP_THRESHOLD, size)


def clear_environment() -> None:
    """Empty the C library's environment, where os.environ lacks what has no `=`."""
    _library.clearenv()


def execve(program: str, argv: Sequence[str], entries: Sequence[bytes]) -> NoReturn:
    """Replace this process. entries: of the environment, in any form (os.execve takes NAME=VALUE only).

    Raises:
        OSError: that is not possible.

    """
    _library.execve(os.fsencode(program), _array([os.fsencode(word) for word in argv]), _array(entries))
    number = ctypes.get_errno()
    raise OSError(number, os.strerror(number), program)


def _array(words: Sequence[bytes]) -> ctypes.Array[ctypes.c_char_p]:
    return (ctypes.c_char_p * (len(words) + 1))(*words, None)
