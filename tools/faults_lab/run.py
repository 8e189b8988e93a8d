"""The run of a row: the fault begins, changes are measured, it ends, what was changed comes."""

from __future__ import annotations

import contextlib
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from statistics import median
from typing import TYPE_CHECKING

from lab.processes import cpu_of
from lab.site import Running, Site

from faults_lab.bench import Bench
from faults_lab.disco import (
    CHANGES_EACH,
    COMMAND,
    INTERFACES,
    INTERVAL,
    await_first,
    change_healthy,
    end_disco,
    faulty_changes,
    find_run,
    furnish,
    furnish_pair,
)
from faults_lab.errors import MissingError, RedError, StoppedError
from faults_lab.judge import Meter, count_lines, judge_pair, judge_process, last_warning
from faults_lab.row import Result, Trial
from faults_lab.waiting import await_fact, check_stopping, wait_for_end

if TYPE_CHECKING:
    from pathlib import Path

    from faults_lab.bench import Servers
    from faults_lab.row import Case, Row

CHANGES = 36  # measured; all that there can be where the first say that something is slower
DOUBT = 1.2  # the ratio from which more is measured
LIMIT = 1.5  # the ratio that is red
CPU_LIMIT = 0.3  # of a core, used by the coordinator while the fault is on
LINES_A_SECOND, LINES = 3.0, 40  # of the log, without DEBUG, about the faulty source: more than so many in the time are a flood


def run_row(row: Row, number: int, folder: Path, servers: Servers) -> Result:
    """Run a row, and clean up after it."""
    result = Result(row.source, row.fault)
    began = time.monotonic()
    folder = folder / f"row{number}"
    try:
        check_stopping()
        with contextlib.ExitStack() as stack:
            folder.mkdir()
            made = row.make(Bench(number, folder, servers, stack))
            if isinstance(made, Trial):
                _try(result, made)
            else:
                _run(result, made, folder, stack)
    except MissingError as error:
        result.verdict, result.reasons = "skipped", [str(error)]
    except StoppedError:
        result.verdict, result.reasons = "skipped", ["interrupted"]
    except RedError as error:
        result.reasons.append(str(error))
    except Exception as error:  # noqa: BLE001 -- a row that cannot be run is red, and the others go on
        result.reasons.append(f"the row itself failed: {type(error).__name__}: {error}")
    if result.reasons and result.verdict == "green":
        result.verdict = "red"
    result.seconds = round(time.monotonic() - began, 1)
    return result


def _try(result: Result, trial: Trial) -> None:
    site = trial.site
    running = site.start("sh", "-c", COMMAND, options=("-l", "DEBUG"), cwd="/")
    with Meter(running.coordinator, result):
        try:
            trial.play(running)
            result.status = wait_for_end(running)
        finally:
            result.told = last_warning(running.log)
    judge_process(result, site, running, 0)
    if problem := trial.check(running):
        result.reasons.append(problem)


def _run(result: Result, case: Case, folder: Path, stack: contextlib.ExitStack) -> None:
    faulty, twin = Site(folder / "faulty-disco"), Site(folder / "twin-disco")
    for site, cfg in ((faulty, case.faulty), (twin, case.twin)):
        stack.callback(end_disco, site)
        furnish(site, case.plug_in)
        furnish_pair(site)
        site.cfg |= cfg
    case.write(1)
    case.write_twin(1)
    if case.from_start:
        case.begin()
    start = partial(Site.start, options=("-l", "DEBUG"), cwd="/")
    running, other = start(faulty, "sh", "-c", COMMAND, before=case.before), start(twin, "sh", "-c", COMMAND)
    with Meter(running.coordinator, result):
        await_first(twin, "see", INTERFACES)
        await_first(twin, "other", 1)
        await_first(faulty, "see", INTERFACES)
        await_first(faulty, "other", not case.from_start)
        try:
            _break(result, case, faulty, twin, running)
        finally:
            result.told = last_warning(running.log)
        for site in (faulty, twin):
            change_healthy(site, "end", 1)
        result.status = wait_for_end(running)
    if wait_for_end(other):
        result.reasons.append("the disco without the fault ended badly, too")
    judge_process(result, faulty, running, case.status)
    judge_pair(result, case, (faulty, running), (twin, other))


def _break(result: Result, case: Case, faulty: Site, twin: Site, running: Running) -> None:
    """Let the fault begin, measure, let it end, and wait for what was changed."""
    if not case.from_start:
        case.begin()
    since, cpu, lines = time.monotonic(), cpu_of(running.coordinator), count_lines(running.log)
    await_fact(lambda: case.is_on(running), "the fault to be met")
    _measure(result, faulty, twin)
    await_fact(lambda: time.monotonic() > since + case.lasts, "the end of the fault's time")
    seconds = time.monotonic() - since
    if (lines := count_lines(running.log) - lines) > LINES + LINES_A_SECOND * seconds:
        result.reasons.append(f"{lines} lines of the log about the faulty source in {seconds:.0f} s")
    result.coordinator_cpu = round((cpu_of(running.coordinator) - cpu) / seconds, 3)
    if result.coordinator_cpu > CPU_LIMIT:
        result.reasons.append(f"the coordinator is busy for {result.coordinator_cpu:.0%} of the time")
    if case.to_end:
        return
    if case.while_on:
        case.write(2)
        time.sleep(2 * INTERVAL)  # in which it could come through
    ending = time.time()
    case.end()
    ended = time.time()
    if not case.while_on:
        case.write(2)
    seen = await_fact(lambda: faulty_changes(faulty, 2), "the faulty source's change")
    result.back = round(seen[0] - ended, 2)
    if seen[0] < ending and not case.passes:
        result.reasons.append("the change came while the fault was on: there was none")
    case.write(3)
    await_fact(lambda: faulty_changes(faulty, 3), "the faulty source's next change")


def _measure(result: Result, faulty: Site, twin: Site) -> None:
    """Take the medians of both, at the same time; more of them where the first ones differ."""
    times: dict[Path, list[float]] = {faulty.folder: [], twin.folder: []}
    for first, last in ((0, CHANGES), (CHANGES, INTERFACES * CHANGES_EACH)):
        with ThreadPoolExecutor(len(times)) as pool:
            for site, future in [(site, pool.submit(_latencies, site, first, last)) for site in (faulty, twin)]:
                times[site.folder] += future.result()
        beside, alone = (median(times[site.folder]) for site in (faulty, twin))
        ratio = beside / alone
        result.beside, result.alone, result.ratio = round(beside, 4), round(alone, 4), round(ratio, 2)
        result.slowest, result.changes = round(max(times[faulty.folder]), 3), len(times[faulty.folder])
        if ratio < DOUBT:
            break
    if ratio >= LIMIT:
        result.reasons.append(f"the healthy source is {ratio:.1f} times as slow")


def _latencies(site: Site, first: int, last: int) -> list[float]:
    """Return how long each of some changes took from the write to its handler."""
    durations = []
    for change in range(first, last):
        # The phase of the file's polling decides much: it is gone through evenly, and so is equal on both sides.
        time.sleep(INTERVAL * (change * 0.618 % 1))
        interface, n = f"app{change % INTERFACES}", change // INTERFACES + 1
        at = change_healthy(site, interface, n)
        ran_at = await_fact(partial(find_run, site, {interface: {"n": n}}), "a change of the healthy source")
        durations.append(ran_at - at)
    return durations
