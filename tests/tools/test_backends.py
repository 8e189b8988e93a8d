"""tools/backends: each program that it provides runs, wherever it came from."""

from __future__ import annotations

import runpy
import subprocess

import pytest
from lab.servers import ROOT

from tests.conftest import need_program

PROGRAMS = sorted(runpy.run_path(str(ROOT / "tools" / "backends"))["PACKAGES"])
VERSION_WORD = {"consul": "version", "haproxy": "-v", "nginx": "-v"}  # of those that do not know --version


@pytest.mark.parametrize("name", PROGRAMS)
def test_program_runs(name: str) -> None:
    """A program from PATH or from a package finds its libraries, and says its version."""
    argv = [str(need_program(name)), VERSION_WORD.get(name, "--version")]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
