"""Processes: what a forked child holds."""

from __future__ import annotations

import subprocess
import sys

import pytest

FORK_WITH_DESCRIPTORS = """
import ctypes
import os
import sys
from disco.system import libc, process

class Refusing:
    def __getattr__(self, name):
        if name == "close_range" and "no symbol" in sys.argv:
            raise AttributeError(name)
        return (lambda *given: -1) if name == "close_range" else getattr(library, name)

def look(end):
    print([number for number in range(4, 1000) if is_open(number)], flush=True)

def is_open(number):
    try:
        os.fstat(number)
    except OSError:
        return False
    return True

def no_listing(path):
    raise FileNotFoundError(path)

library = libc._library
if len(sys.argv) > 1:
    libc._library = Refusing()
if "no proc" in sys.argv:
    os.listdir = no_listing
for number in (50, 51, 777):
    os.dup2(0, number)
    os.set_inheritable(number, True)
child = process.fork("child", look)
os.waitpid(child.pid, 0)
print(os.read(child.log, 1000).decode(), end="")
print([number for number in (50, 51, 777) if is_open(number)])
"""


@pytest.mark.parametrize("lacking", [(), ("no symbol",), ("refused",), ("refused", "no proc")], ids=" and ".join)
def test_a_child_holds_nothing_but_its_own(lacking: tuple[str, ...]) -> None:
    """A child closes whatever its parent has open, however little the system helps; its parent keeps it."""
    argv = [sys.executable, "-c", FORK_WITH_DESCRIPTORS, *lacking]
    assert subprocess.run(argv, capture_output=True, text=True, check=True).stdout == "[]\n[50, 51, 777]\n"
