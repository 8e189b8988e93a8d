"""Room for frames: at no depth of calls does a loop map and unmap memory each time that it calls a function."""

from __future__ import annotations

import subprocess
import sys

import pytest

DEPTHS, CALLS = 500, 500
PROBE = f"""
import resource
from disco.system.frames import run_with_room

def fault():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def called(a=1, b=2, c=3):
    return a

def measure(depth):
    if depth:
        return measure(depth - 1)
    called()
    before = fault()
    for _ in range({CALLS}):
        called()
    return fault() - before

def work():
    print(max(map(measure, range({DEPTHS}))))
"""


def most_faults(call: str) -> int:
    """Return the most page faults of a loop of calls, over all depths from which it was run."""
    return int(subprocess.run([sys.executable, "-c", f"{PROBE}\n{call}"], capture_output=True, check=True, text=True).stdout)


def test_no_depth_of_calls_is_slow() -> None:
    """With room, a loop of calls causes next to no page faults, however deep it lies."""
    assert most_faults("run_with_room(work)") < CALLS / 10


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="corrected in some of these Pythons")
def test_without_room_some_depth_is_slow() -> None:
    """The proof above can fail: without room some depth costs a page fault for each call."""
    assert most_faults("work()") >= CALLS
