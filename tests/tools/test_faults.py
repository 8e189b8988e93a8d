"""tools/faults in its short form: a few of its rows, and that it says what it must."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 100.0  # seconds for one run of the tool


def run_tool(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, ROOT / "tools" / "faults", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )


def test_rows_are_green(tmp_path: Path) -> None:
    """Beside a fault the healthy source is as fast as ever, the faulty one comes back, disco execs, and nothing is left."""
    file = tmp_path / "found.json"
    done = run_tool("--only", "flat broken YAML|plug-in (segmentation fault|forks children)", "--json", str(file))
    results: list[dict[str, Any]] = json.loads(file.read_text())
    assert len(results) == 3, done.stdout + done.stderr
    for result in results:
        # How fast it is cannot be told to within a half on a machine that runs other tests at the same time.
        reasons = [reason for reason in result["reasons"] if "times as slow" not in reason]
        assert not reasons, done.stdout
        assert result["ratio"] < 4, done.stdout
        assert (result["status"], result["left"]) == (0, 0)
        assert result["back"] is not None
    assert done.stdout.splitlines()[-1].startswith("3 rows in ")


def test_one_disco_goes_through_a_history() -> None:
    """A transaction is never torn, and exec waits for changes that nobody has read: one disco's handlers are the witness."""
    done = run_tool("--only", "flat transaction|plug-in exec")
    lines = done.stdout.splitlines()[1:-1]
    assert len(lines) == 2, done.stdout + done.stderr
    for line in lines:
        assert re.search(r" +- +- +- +- +0 +0 +\d+ MiB  green$", line), done.stdout


def test_rows_are_listed() -> None:
    """The rows are listed without running any, and a pattern that matches none is an error."""
    listed = run_tool("--list").stdout.splitlines()
    assert len(listed) == len(set(listed)) > 100
    assert {line.split()[0] for line in listed} == {"consul", "env", "etcd", "flat", "tree", "plug-in"}
    assert run_tool("--only", "no such row").returncode == 2
