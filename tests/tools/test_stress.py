"""tools/stress, in a short form: it keeps working, and disco keeps its promises while sources fail and children are killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SHORT = "--no-servers --sources 16 --faulty 0.3 --rate 8 --kills 3 --seconds 5 --calibrate 0 --interval 0.2 --patience 60 --seed 33"


def test_promises_are_kept_under_stress(tmp_path: Path) -> None:
    """Under changes, transactions, faulty sources and kills nothing is lost, torn, old, run twice at a time, or left behind."""
    result = tmp_path / "result.json"
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "stress", *SHORT.split(), "--json", result],
        capture_output=True, text=True, check=False, timeout=110,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    phase = json.loads(result.read_text())["phases"]["faulty"]
    assert phase["broken"] == []
    assert phase["changes"] > 0  # how many there are in the time is the machine's affair
    assert phase["runs"] > 0
    assert sum(phase["kills"].values()) > 0


def test_plan_is_the_seed_s() -> None:
    """The same seed decides the same, another one something else."""
    code = (
        "import sys\n"
        "from stress_lab.main import parse\n"
        "from stress_lab.plan import make_site\n"
        "print(make_site(parse(['--seed', sys.argv[1]]), ['flat', 'steady'], 30.0, faulty=True))\n"
    )
    environ = os.environ | {"PYTHONPATH": str(ROOT / "tools")}

    def plan(seed: str) -> str:
        argv = [sys.executable, "-c", code, seed]
        return subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60, env=environ).stdout

    assert plan("1") == plan("1")
    assert plan("1") != plan("2")
