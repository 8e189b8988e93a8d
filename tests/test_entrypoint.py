"""The process that becomes COMMAND: what it gets from the coordinator, whole or not at all."""

from __future__ import annotations

import subprocess
import sys

import pytest

DELEGATE = """
import os, resource, sys
from disco import entrypoint
from disco.system.signals import Signals

size, limit = map(int, sys.argv[1:])

def work():
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    return b"=\\n" * size

try:
    answer = entrypoint.delegate(work, Signals(os._exit))
except OSError:
    os._exit(71)
print(len(answer) if isinstance(answer, bytes) else f"status {answer}")
"""


@pytest.mark.parametrize(
    ("size", "limit", "answer"),
    [(0, 1 << 30, "0"), (3 << 20, 1 << 30, str(6 << 20)), (3 << 20, 2 << 20, "status 71"), (1, 2, "status 71")],
)
def test_an_answer_is_whole(size: int, limit: int, answer: str) -> None:
    """All that exec needs arrives, however much it is; of what the coordinator could not write as a whole nothing counts."""
    done = subprocess.run([sys.executable, "-c", DELEGATE, str(size), str(limit)], capture_output=True, check=False, text=True)
    assert done.stdout == f"{answer}\n", done.stderr
