"""Break each kind of source in every way that is known, and look what that costs the others.

    tools/faults                        all rows (some ten minutes)
    tools/faults --only 'consul .*TLS'  those whose "SOURCE FAULT" matches a regular expression
    tools/faults --list                 the rows alone
    tools/faults --json FILE            write everything that was found there too

Most rows run two discos side by side on the same site, a healthy flat file and the source in question: one meets the fault, the
other does not. Flat's data is changed again and again, a rule holds both back from exec until the end. It tells

    ratio      how long a change in the healthy file takes to its handler (median) beside the fault, by the same without it
    back       seconds from the fault's end until the handler of the faulty source's next change ran
    status     how disco ended
    left       processes that were there after the end
    memory     the most that one process of disco's had

and is green if the ratio is below 1.5, the change came (and one more after it), the status is the expected one, nothing is
left, the coordinator was idle for most of the time, no process grew over the limit, the log was not flooded, COMMAND found
everything (environment, signals, descriptors, limits, umask) as without the fault, and no secret is in the log.

The other rows are of data that is there, and yet may be used wrongly: a transaction, keys that come back, a directory that is
swapped, changes that nobody has read. There one disco goes through a history, and its handlers and COMMAND have to see no
mixture, no part, and nothing old.

Real Consul and etcd servers stand behind a gate that misbehaves, or misbehave themselves. Everything is on loopback or in
network namespaces made for it; everything started is ended, on SIGINT and SIGTERM too.

Exit status: 0 every row that could be run is green; 1 some are not; 2 nothing could be run; 128+N signal N stopped it.
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
import shutil
import signal
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import environments

if TYPE_CHECKING:
    from faults_lab.row import Result

TOOL = environments.ROOT / "tools" / "faults"
JOBS = 2  # rows at a time
HEAD = (
    f"{'SOURCE':15} {'FAULT':38} {'RATIO':>5} {'BESIDE':>7} {'ALONE':>7} {'BACK':>7} {'STATUS':>6} {'LEFT':>4} {'MEMORY':>8}"
    "  VERDICT"
)


def main(argv: list[str]) -> int:
    """Run the rows that were asked for, and print the table and its summary."""
    parser = argparse.ArgumentParser(prog="tools/faults", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", metavar="PATTERN", default="", help='rows whose "SOURCE FAULT" matches')
    parser.add_argument("--list", action="store_true", help="list the rows alone")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write everything that was found there too")
    options = parser.parse_args(argv)
    try:
        only = re.compile(options.only, re.IGNORECASE)
    except re.error as error:
        parser.error(f"--only: {error}")
    try:
        environments.enter_disco(TOOL, argv)
    except environments.EnvironmentsError as error:
        print(f"tools/faults: {error}", file=sys.stderr)
        return 2
    from faults_lab.bench import Servers
    from faults_lab.rows import list_rows
    from faults_lab.run import run_row
    from faults_lab.waiting import stopping

    rows = [row for row in list_rows() if only.search(row.title)]
    if options.list or not rows:
        print("\n".join(row.title for row in rows) or f"no row matches {shlex.quote(options.only)}")
        return 0 if rows else 2
    received: list[int] = []

    def stop(number: int, _frame: object) -> None:
        received.append(number)
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    began = time.monotonic()
    print(HEAD, flush=True)
    results: list[Result] = []
    with tempfile.TemporaryDirectory(prefix="disco-faults-") as folder:
        servers = Servers(Path(folder))
        try:
            with ThreadPoolExecutor(JOBS) as pool:
                running = [pool.submit(run_row, row, number, Path(folder), servers) for number, row in enumerate(rows)]
                for future in running:
                    results.append(future.result())
                    print(show(results[-1]), flush=True)
                    shutil.rmtree(Path(folder) / f"row{len(results) - 1}", ignore_errors=True)
        finally:
            stopping.set()
            servers.close()
    if options.json:
        options.json.write_text(json.dumps([asdict(result) for result in results], indent=1) + "\n")
    counts = {verdict: sum(result.verdict == verdict for result in results) for verdict in ("green", "red", "skipped")}
    worst = max((result for result in results if result.ratio), key=lambda result: result.ratio or 0, default=None)
    print(
        f"{len(results)} rows in {time.monotonic() - began:.0f} s: "
        + ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
        + (f"; worst ratio {worst.ratio:.2f} ({worst.source}: {worst.fault})" if worst else "")
    )
    if received:
        return 128 + received[0]
    return 2 if not counts["green"] + counts["red"] else 1 if counts["red"] else 0


def show(result: Result) -> str:
    """Return a line of the table."""

    def text(value: float | None, form: str, unit: str = "") -> str:
        return "-" if value is None else format(value, form) + unit

    ms = [text(value and value * 1000, ".0f", " ms") for value in (result.beside, result.alone)]
    size = text(result.memory, "d", " MiB")
    back = "at once" if result.back is not None and result.back <= 0 else text(result.back, ".1f", " s")
    reasons = "; ".join(result.reasons)
    return (
        f"{result.source:15} {result.fault:38} {text(result.ratio, '.2f'):>5} {ms[0]:>7} {ms[1]:>7} "
        f"{back:>7} {text(result.status, 'd'):>6} {text(result.left, 'd'):>4} {size:>8}  "
        f"{result.verdict}{': ' + reasons if reasons else ''}"
    )
