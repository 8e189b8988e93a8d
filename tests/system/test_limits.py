"""Limits, seen from a process of its own."""

from __future__ import annotations

import ctypes
import resource
import subprocess
import sys

import pytest

from disco.system.limits import memory_limit

SIZE = 24 << 20  # bytes
PASS_LARGE_BLOCKS = f"""
import os
import sys
from disco.system import limits

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

if "return" in sys.argv:
    limits.return_memory()
before = resident()
kept = []
for _ in range(3):
    block = b"x" * {SIZE}
    kept.append(block[:1000])
    del block
print(resident() - before)
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="this C library has nothing to set")
def test_large_blocks_are_given_back() -> None:
    """What passed through a process once does not stay in it, as it does without being asked for."""

    def left(*argv: str) -> int:
        return int(subprocess.run([sys.executable, "-c", PASS_LARGE_BLOCKS, *argv], capture_output=True, check=True).stdout)

    assert left() > SIZE / 2
    assert left("return") < SIZE / 10


def test_memory_is_limited_for_a_while() -> None:
    """In its body memory_limit refuses what is too much, and afterwards the process may take memory as before."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    with memory_limit(64 << 20):
        bytearray(16 << 20)
        with pytest.raises(MemoryError):
            bytearray(256 << 20)
    with memory_limit(64 << 20), memory_limit(1 << 40), pytest.raises(MemoryError):  # a larger one within changes nothing
        bytearray(256 << 20)
    assert resource.getrlimit(resource.RLIMIT_AS) == before
    bytearray(256 << 20)
