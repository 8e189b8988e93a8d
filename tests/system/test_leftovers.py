"""Leftovers: whatever is below a process is found and killed."""

from __future__ import annotations

import subprocess
import sys

CHASE = """
import os
import signal
import sys
from disco.system import leftovers, process, reaping

def start():
    if os.fork() == 0:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        while True:  # each generation lives for a moment, in a session of its own
            if os.fork():
                os._exit(0)
            os.setsid()

def is_clean(own=()):
    for _ in reaping.reap(lambda ended: leftovers.kill_group_of(ended.si_pid, own)):
        pass
    return not reaping.has_children() or not leftovers.kill_orphans(own)

process.adopt_orphans()
for _ in range(100):
    start()
    while not is_clean():
        pass
    if reaping.has_children():
        print("alive")
        leftovers.kill_all()
"""


def test_nothing_is_below_a_process_that_found_no_orphan() -> None:
    """However fast what is killed is born again: when no orphan is told of, there is none."""
    done = subprocess.run([sys.executable, "-c", CHASE], capture_output=True, text=True, check=True)
    assert not done.stdout
