"""Measure what disco costs, and tell how far that is from what it may cost.

    tools/bench                       all rows (some ten minutes, on a machine that does nothing else)
    tools/bench --only 'cold start'   those whose name matches a regular expression
    tools/bench --list                the rows alone
    tools/bench --short               tiny sizes: shows that it works, and the numbers say little
    tools/bench --repeat N            so many samples of whatever is measured several times
    tools/bench --json FILE           write all samples, and what is known of the machine, there too
    tools/bench --plot FILE           draw the values by their targets, and how disco grows with the number of its sources
    tools/bench --extras all          with other extras of disco's than consul,etcd,render (see below)
    tools/bench --here                with the Python, and the disco, of the environment that this runs in

What is compared is measured in turns, after a run of each that does not count: the ratio is of the medians. Latencies go
from the write's return, as the backend's client sees it, to the time that a handler or COMMAND tells; the row `witness` says
what telling it takes, which is not taken off. Memory is proportional (PSS): pages shared with other processes count in part.
CPU time is that of all processes of a start. Lines of something `bare` have no target: they tell, measured once, what a program
without any of disco's promises pays for the same (bench_lab/bare.py). Nor have the rows `YAML`, of a site whose files are not JSON,
and `phases`, which say where the time of a start goes.

The first line says how this Python was built: one that is optimised (PGO, LTO) makes all figures smaller.

disco is installed into .tox/bench-EXTRAS, as from a wheel; without `formats`, for which jsonschema alone would keep the bare
program that disco is compared with busy for a second. Consul and etcd are real servers (tools/backends). Everything started is
ended again, on SIGINT and SIGTERM too; everything else that is written goes to a temporary folder.

Exit status: 0 all rows were measured (1 with --strict if a target is not met); 1 some could not be; 2 nothing could be set up;
128+N signal N stopped it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import environments

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench_lab.line import Line
    from bench_lab.rows import Row

TOOL = environments.ROOT / "tools" / "bench"
HEAD = f"{'ROW':18} {'WHAT':52} {'MEDIAN':>15}  {'QUARTILES':16} {'BESIDE':>7} {'RATIO':>6} {'TARGET':>7}"


def main(argv: Sequence[str]) -> int:
    """Measure what was asked for, and print the table and its summary."""
    options = parse(argv)
    try:
        if not options.here:
            enter_environment(options.extras, argv)
        check_environment("disco", *(["matplotlib"] if options.plot else []))
    except environments.EnvironmentsError as error:
        print(f"tools/bench: {error}", file=sys.stderr)
        return 2
    from bench_lab.rows import list_rows

    rows = [row for row in list_rows() if options.only.search(row.name)]
    if options.list or not rows:
        print("\n".join(row.name for row in rows) or f"no row matches {options.only.pattern!r}")
        return 0 if rows else 2
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    facts = look_at_machine()
    print(", ".join(f"{name} {value}" for name, value in facts.items()))
    print(HEAD, flush=True)
    results: list[Result] = []
    stopped = 0
    with tempfile.TemporaryDirectory(prefix="disco-bench-") as folder:
        try:
            for row in rows:
                results.append(Result(row))
                results[-1].measure(Path(folder) / f"row{len(results)}", options)
        except SystemExit as error:
            stopped = int(error.code or 0)
    facts["load at the end"] = load()
    conclude(options, facts, results)
    lines = [line for result in results for line in result.lines]
    is_missed = options.strict and any(line.is_met is False for line in lines)
    return stopped or int(is_missed or any(result.problem for result in results))


class Result:
    """A row's lines, or the problem that kept it from being measured."""

    def __init__(self, row: Row) -> None:
        """Measure nothing yet."""
        self.row = row.name
        self.lines: list[Line] = []
        self.problem = ""
        self.seconds = 0.0
        self._measure = row.measure

    def measure(self, folder: Path, options: argparse.Namespace) -> None:
        """Measure, and print each line at once."""
        from bench_lab.bench import Bench

        began = time.monotonic()
        try:
            with Bench(folder, short=options.short, repeat=options.repeat) as bench:
                for line in self._measure(bench):
                    self.lines.append(line)
                    print(show(self.row, line), flush=True)
        except Exception as error:  # noqa: BLE001 -- the other rows can be measured all the same
            self.problem = f"{type(error).__name__}: {error}"
            print(f"{self.row:18} NOT MEASURED: {self.problem}", flush=True)
        self.seconds = time.monotonic() - began
        shutil.rmtree(folder, ignore_errors=True)

    def as_json(self) -> dict[str, Any]:
        """Return all that was found."""
        lines = [asdict(line) | {"ratio": line.ratio, "value": line.value, "met": line.is_met} for line in self.lines]
        return {"row": self.row, "problem": self.problem, "seconds": round(self.seconds, 1), "lines": lines}


def show(row: str, line: Line) -> str:
    """Return a line of the table."""
    from lab.samples import quartiles

    spread = " … ".join(map(number_text, quartiles(line.samples))) if len(line.samples) > 1 else ""
    beside = number_text(median(line.beside)) if line.beside else ""
    ratio = f"{line.ratio:.2f}" if line.ratio is not None else ""
    target = f"≤ {line.limit:g}" if line.limit is not None else ""
    verdict = {None: "", True: "met", False: "NOT MET"}[line.is_met]
    value = f"{number_text(median(line.samples))} {line.unit:6}"
    return f"{row:18} {line.title:52} {value:>15}  {spread:16} {beside:>7} {ratio:>6} {target:>7}  {verdict}".rstrip()


def number_text(number: float) -> str:
    """Return a number with as many digits as say something."""
    return (
        f"{number:.0f}"
        if abs(number) >= 100 or number == int(number)
        else f"{number:.1f}"
        if abs(number) >= 10
        else f"{number:.2f}"
    )


def conclude(options: argparse.Namespace, facts: dict[str, Any], results: Sequence[Result]) -> None:
    """Print the summary; write and draw what was asked for."""
    verdicts = [line.is_met for result in results for line in result.lines]
    failed = [result.row for result in results if result.problem]
    print(
        f"{len(results)} rows in {sum(result.seconds for result in results):.0f} s: {verdicts.count(True)} targets met, "
        f"{verdicts.count(False)} not met"
        + (f", NOT MEASURED: {', '.join(failed)}" if failed else "")
        + f"; load at the end {facts['load at the end']}"
    )
    if options.json:
        content = {"facts": facts, "short": options.short, "rows": [result.as_json() for result in results]}
        options.json.write_text(json.dumps(content, indent=1) + "\n")
    if options.plot:
        from bench_lab.plot import draw

        draw({result.row: result.lines for result in results}, options.plot)


def look_at_machine() -> dict[str, Any]:
    """Return what numbers depend on."""
    from bench_lab.build import describe

    return {
        "CPUs": len(os.sched_getaffinity(0)),
        "memory": f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 1e9:.0f} GB",
        "Linux": platform.release(),
        "Python": platform.python_version(),
        **describe(),
        "load": load(),
    }


def load() -> str:
    """Return how many processes ran or wanted to, on average of one minute."""
    return f"{os.getloadavg()[0]:.2f}"


def stop(number: int, _frame: object) -> None:
    """End as after an exception, so that everything is cleaned up; a further signal does not disturb that."""
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, signal.SIG_IGN)
    sys.exit(128 + number)


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Return the options."""
    first, _, rest = (__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser(
        prog="tools/bench", description=first, epilog=rest, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", metavar="REGEX", type=pattern, default="", help="the rows whose name matches")
    parser.add_argument("--list", action="store_true", help="list the rows alone")
    parser.add_argument("--short", action="store_true", help="tiny sizes")
    parser.add_argument("--repeat", metavar="N", type=int, help="samples of what is measured several times")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write everything there")
    parser.add_argument("--plot", metavar="FILE", type=Path, help="draw it, as PNG or what the name's end says")
    parser.add_argument("--strict", action="store_true", help="a target that is not met is exit status 1")
    parser.add_argument(
        "--extras",
        metavar="LIST",
        default="consul,etcd,render",
        help="with which of disco's extras its environment is made [consul,etcd,render]",
    )
    parser.add_argument("--here", action="store_true", help="use the Python and the disco of this environment")
    options = parser.parse_args(argv)
    if options.repeat is not None and options.repeat < 1:
        parser.error("--repeat: expected a number from 1")
    return options


def pattern(text: str) -> re.Pattern[str]:
    """Take a regular expression."""
    try:
        return re.compile(text, re.IGNORECASE)
    except re.error as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {error}") from None


def enter_environment(extras: str, argv: Sequence[str]) -> None:
    """Go on with the Python of an environment made for this; raise EnvironmentsError if there can be none."""
    programs = environments.make(f"bench-{extras}", environments.need_python(), f".[{extras}]", "matplotlib")
    if Path(sys.prefix).resolve() == programs.parent.resolve():
        return
    refresh(programs.parent)
    os.execv(programs / "python", [str(programs / "python"), str(TOOL), *argv])


def check_environment(*modules: str) -> None:
    """Raise EnvironmentsError if something is missing here."""
    if missing := [module for module in modules if not find_spec(module)]:
        raise environments.EnvironmentsError(f"{', '.join(missing)} is not in this Python's environment: leave out --here")


def refresh(environment: Path) -> None:
    """Let the installed package be the checkout's: the environment is made anew when pyproject.toml has changed, and not else."""
    [installed] = environment.glob("lib/python*/site-packages/disco")
    installed_files, wanted = (
        {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"}
        for folder in (installed, environments.ROOT / "disco")
    )
    if installed_files != wanted:
        shutil.rmtree(installed)
        shutil.copytree(environments.ROOT / "disco", installed, ignore=shutil.ignore_patterns("__pycache__"))
        subprocess.run([environment / "bin" / "python", "-m", "compileall", "-q", installed], check=True)  # as pip does
