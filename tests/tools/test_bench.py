"""tools/bench in its short form: every row is measured, what it says has its form, and nothing is left of it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from bench_lab.bench import Bench
from bench_lab.build import describe
from lab.processes import processes
from lab.waiting import eventually

from tests.conftest import need_program

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).resolve().parents[2]
TOOL = [sys.executable, str(ROOT / "tools" / "bench"), "--here"]
ALONE = "witness|no rules|shipped|flat|tree|YAML|invalid"
WITH_SERVERS = ("consul|etcd", "idle|after exec|fleet")  # the others
PATIENCE = 240.0  # seconds for one run of the tool
# A child computes for a tenth of a second, and one of its own, which it waits for, as long.
COMPUTE = """
import os, time
def compute():
    while time.process_time() < 0.1:
        pass
if os.fork() == 0:
    if os.fork() == 0:
        compute()
        os._exit(0)
    compute()
os.wait()
"""


def run_tool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*TOOL, *arguments], capture_output=True, text=True, check=False, timeout=PATIENCE)


def measure(pattern: str, folder: Path) -> Sequence[dict[str, Any]]:
    """Measure some rows with tiny sizes, once, and return what was found."""
    file = folder / "found.json"
    done = run_tool("--short", "--repeat", "1", "--only", pattern, "--json", file)
    assert done.returncode == 0, done.stdout + done.stderr
    rows: list[dict[str, Any]] = json.loads(file.read_text())["rows"]
    assert [row["row"] for row in rows] == run_tool("--list", "--only", pattern).stdout.splitlines()
    assert all(row["lines"] for row in rows), done.stdout
    return rows


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may look into the memory of disco's processes")
@pytest.mark.timeout(PATIENCE)
@pytest.mark.parametrize("pattern", [ALONE, *WITH_SERVERS])
def test_every_row_is_measured(pattern: str, tmp_path: Path) -> None:
    """Each row gives its lines, and what does not depend on the machine's speed is as it must be."""
    for program in ("strace", *(("consul", "etcd") if pattern in WITH_SERVERS else ())):
        need_program(program)  # skips without it
    lines = {(row["row"], line["what"]): line for row in measure(pattern, tmp_path) for line in row["lines"]}
    for line in lines.values():
        assert line["samples"]
        assert line["met"] is (None if line["limit"] is None else line["value"] <= line["limit"])
    for (row, what), line in lines.items():
        if row == "after exec" and what != "memory":
            assert line["samples"] == [0], what
        if what in {"connections of each source", "connections of each", "interfaces sent for a change"}:
            assert line["samples"] == [1], row
    for row in {row for row, _ in lines if row.startswith("phases ")}:
        ends = [line["value"] for (name, what), line in lines.items() if name == row and what.startswith("until ")]
        assert len(ends) >= 9
        assert ends == sorted(ends), row


def test_rows_are_listed() -> None:
    """The rows are listed without running any; a pattern that matches none, or is none, is an error."""
    listed = run_tool("--list").stdout.splitlines()
    assert len(listed) == len(set(listed)) > 20
    assert all(re.search("|".join((ALONE, *WITH_SERVERS)), name) for name in listed)
    assert run_tool("--only", "no such row").returncode == 2
    assert run_tool("--only", "(").returncode == 2


def test_missed_targets_are_told_by_strict_only(tmp_path: Path) -> None:
    """A target that is not met is no failure, unless --strict says so."""
    file = tmp_path / "found.json"
    status = run_tool("--short", "--only", "no rules", "--strict", "--json", file).returncode
    [row] = json.loads(file.read_text())["rows"]
    assert status == (0 if row["lines"][0]["met"] else 1)


def test_nothing_is_left_after_a_signal(tmp_path: Path) -> None:
    """SIGTERM ends the tool, everything that it started, and its folder."""
    environ = os.environ | {"TMPDIR": str(tmp_path)}
    output = tmp_path / "output"
    with output.open("wb") as file:
        tool = subprocess.Popen([*TOOL, "--only", "many flat"], env=environ, stdout=file, stderr=file)
    try:
        eventually(lambda: re.search("^many flat ", output.read_text(), re.MULTILINE), "the first line")
        tool.send_signal(signal.SIGTERM)
        assert tool.wait(PATIENCE) == 128 + signal.SIGTERM, output.read_text()
    finally:
        tool.kill()
        tool.wait()
    assert not processes(f"OUT={tmp_path}")
    assert not list(tmp_path.glob("disco-bench-*"))


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """Give what rows are made with."""
    with Bench(tmp_path / "bench", short=True, repeat=None) as made:
        yield made


def test_cpu_time_is_of_all_processes(bench: Bench) -> None:
    """The CPU time of a program is that of its processes together, whoever of them was waited for by whom."""
    cost = bench.measure(bench.site(), [sys.executable, "-c", COMPUTE])
    assert cost.cpu >= 200


def test_one_cpu_is_shared(bench: Bench) -> None:
    """What shares one CPU starts with one, and leaves the others to the tool."""
    before = os.sched_getaffinity(0)
    count = [sys.executable, "-c", "import os, sys; sys.exit(len(os.sched_getaffinity(0)) > 1)"]
    bench.measure(bench.site(), count, one_cpu=True)
    assert os.sched_getaffinity(0) == before


@pytest.mark.parametrize(
    ("configure", "profile", "flags", "found"),
    [
        ("'--enable-optimizations' '--with-lto' '--enable-shared'", "-fprofile-use", "", ("yes", "yes")),
        ("'--with-lto=thin' 'CFLAGS=-O2'", "-fprofile-use -fprofile-correction", "", ("no", "yes")),
        ("'--prefix=/opt' '--with-lto=no'", "-fprofile-use -fprofile-correction", "", ("no", "no")),
        ("'--prefix=/opt'", "-fprofile-use", "-std=c11 -fprofile-use -flto=auto", ("yes", "yes")),
        ("'--prefix=/usr' '--with-dtrace'", "", "-std=c11", ("unknown", "unknown")),
        (None, None, None, ("unknown", "unknown")),
    ],
)
def test_build_of_python_is_told(configure: str | None, profile: str | None, flags: str | None, found: tuple[str, str]) -> None:
    """Whether Python was optimised is told where its variables say so, and is unknown where they were edited."""
    build = describe({"CONFIG_ARGS": configure, "PGO_PROF_USE_FLAG": profile, "PY_CFLAGS_NODIST": flags})
    assert (build["PGO"], build["LTO"]) == found


def test_first_line_tells_of_python() -> None:
    """The first line names Python's version, and how it was built."""
    output = run_tool("--short", "--only", "no rules").stdout
    assert re.search(r"^.*, Python 3\.\d+\.\S+, PGO (yes|no|unknown), LTO (yes|no|unknown), libpython (shared|static), ", output)
