"""Reaping: each child that has ended comes once, and while it is looked at its pid is still its own."""

from __future__ import annotations

import subprocess
import sys

REAP = """
import os
from disco.system import reaping

def fork(status):
    pid = os.fork()
    if not pid:
        os._exit(status)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    return pid

def look(ended):
    os.kill(ended.si_pid, 0)  # raises where the pid is nobody's
    looked.append(ended.si_pid)

looked = []
assert not reaping.has_children()
children = {fork(status): status for status in (0, 3, 77)}
assert reaping.has_children() and reaping.find_ended() in children
assert dict(reaping.reap(look)) == children
assert sorted(looked) == sorted(children)
assert not reaping.has_children() and not list(reaping.reap())
reader, writer = os.pipe()
living = os.fork()
if not living:
    os.read(reader, 1)
    os._exit(0)
assert reaping.is_living_child(living) and not reaping.is_living_child(os.getpid())
assert not list(reaping.reap()) and reaping.find_ended() == 0
os.write(writer, b"x")
os.waitid(os.P_PID, living, os.WEXITED | os.WNOWAIT)
assert not reaping.is_living_child(living)
assert list(reaping.reap()) == [(living, 0)]
"""


def test_each_child_is_reaped_once() -> None:
    """Who has ended is yielded with its status, who lives is not, and each is there until it was looked at."""
    subprocess.run([sys.executable, "-c", REAP], check=True)
