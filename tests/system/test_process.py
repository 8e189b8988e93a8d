"""Processes: what the system is asked for, seen from a process of its own."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

SIZE = 24 << 20  # bytes
PASS_LARGE_BLOCKS = f"""
import os
import sys
from disco.system import process

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

if "return" in sys.argv:
    process.return_memory()
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


FORK_WITH_DESCRIPTORS = """
import ctypes
import os
import sys
from disco.system import process

class Refusing:
    def __getattr__(self, name):
        if name == "close_range" and "no symbol" in sys.argv:
            raise AttributeError(name)
        return (lambda *given: -1) if name == "close_range" else getattr(libc, name)

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

libc = process._libc
if len(sys.argv) > 1:
    process._libc = Refusing()
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


CHASE = """
import os
import signal
import sys
from disco.system import children, process

def start():
    if os.fork() == 0:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        while True:  # each generation lives for a moment, in a session of its own
            if os.fork():
                os._exit(0)
            os.setsid()

def is_clean(own=()):
    for _ in children.reap(own):
        pass
    return not children.exist() or not children.kill_orphans(own)

process.adopt_orphans()
for _ in range(100):
    start()
    while not is_clean():
        pass
    if children.exist():
        print("alive")
        children.kill_all()
"""


def test_nothing_is_below_a_process_that_found_no_orphan() -> None:
    """However fast what is killed is born again: when no orphan is told of, there is none."""
    done = subprocess.run([sys.executable, "-c", CHASE], capture_output=True, text=True, check=True)
    assert not done.stdout
