"""The rows of flat files."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from functools import partial
from typing import TYPE_CHECKING

from faults_lab.disco import INTERVAL, MEMORY
from faults_lab.row import Case, Trial
from faults_lab.rows.history import transaction_row

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from lab.site import Running

    from faults_lab.bench import Bench
    from faults_lab.row import Make


def list_faults() -> dict[str, Make]:
    """Return what makes each row, by its fault."""
    return {
        **{fault: _flat_row(what) for fault, what in FILES.items()},
        "no file from the start": _flat_row(lambda _: None, from_start=True),
        "directory swapped while it is read": _swap_row,
        "file rewritten in place": _rewrite_row,
        "transaction after changes of a part": transaction_row("flat"),
    }


def _flat_row(fault: Callable[[Path], object], *, from_start: bool = False) -> Make:
    """Return what makes a row in which another file takes the place of a second flat file, or none."""

    def make(bench: Bench) -> Case:
        files = {side: bench.folder / f"{side}.yaml" for side in ("faulty", "twin")}

        def write(side: str, n: int) -> None:
            new = bench.folder / "new"
            new.write_text(json.dumps({"odd": {"n": n}}))
            new.rename(files[side])

        def begin() -> None:
            new = bench.folder / "new"
            fault(new)
            if os.path.lexists(new):
                new.rename(files["faulty"])
            else:
                files["faulty"].unlink()

        return Case(
            faulty={"odd.type": "flat", "odd.file": str(files["faulty"]), "odd.memory": f"{MEMORY}M"},
            twin={"odd.type": "flat", "odd.file": str(files["twin"])},
            write=partial(write, "faulty"),
            write_twin=partial(write, "twin"),
            begin=begin,
            end=lambda: None,
            is_on=lambda running: re.search("WARNING.*faulty.yaml", running.log),
            while_on=False,
            from_start=from_start,
        )

    return make


def _sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)


FILES: dict[str, Callable[[Path], object]] = {
    "file is gone": lambda _: None,
    "broken YAML": lambda path: path.write_text("odd: {n: [\n"),
    "half of the file": lambda path: path.write_text('{"odd": {"n"'),
    "not a mapping": lambda path: path.write_text("- odd\n"),
    "binary garbage": lambda path: path.write_bytes(bytes(range(256)) * 64),
    "a file of a terabyte": _sparse,
    "alias bomb": lambda path: path.write_text(
        "a: &a [x, x, x, x, x, x, x, x, x]\n"
        + "".join(f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefghi", "bcdefghij", strict=True))
    ),
    "30,000 brackets": lambda path: path.write_text("odd: " + "[" * 30000),
    "a FIFO": os.mkfifo,
    "/dev/zero": lambda path: path.symlink_to("/dev/zero"),
    "a symlink to itself": lambda path: path.symlink_to("faulty.yaml"),
}


def _swap_row(bench: Bench) -> Trial:
    """Make a trial with a directory as Kubernetes mounts it: all its files change in the moment in which a link is renamed."""
    site, mount = bench.site(), bench.folder / "mount"
    pairs, fillers, turns = 12, 20, 3
    names = [*(f"a{n}" for n in range(pairs)), *(f"m{n}" for n in range(fillers)), *(f"z{n}" for n in range(pairs))]
    for name in names:
        site.schema(name)
    site.rules(*({"when": f"a{n},z{n}", "do": "other"} for n in range(pairs)))
    site.cfg |= {"odd.type": "flat", "odd.file": str(mount)}
    mount.mkdir()
    data = dict.fromkeys(names, 0)

    def swap(generation: int) -> None:
        folder = mount / f"..{generation}"
        folder.mkdir()
        for name, n in data.items():
            (folder / f"{name}.yaml").write_text(f"{name}: {{n: {n}}}\n")
        (mount / "..new").symlink_to(folder.name)
        (mount / "..new").rename(mount / "..data")
        shutil.rmtree(mount / f"..{generation - 1}", ignore_errors=True)

    swap(0)
    for name in names:
        (mount / f"{name}.yaml").symlink_to(f"..data/{name}.yaml")

    def play(_running: Running) -> None:
        bench.wait(lambda: len(site.seen("other")) >= pairs, "the first runs")
        for turn in range(pairs * turns):
            pair = (f"a{turn % pairs}", f"z{turn % pairs}")
            data.update(dict.fromkeys(pair, turn // pairs + 1))
            new = {name: {"n": data[name]} for name in pair}
            time.sleep(2 * INTERVAL * (turn * 0.618 % 1))  # at any point of a read
            swap(turn + 1)
            bench.wait(lambda new=new: any(line["in"] == new for line in site.seen("other")), "a change of both")  # type: ignore[misc]
        bench.finish(site)

    def check(_running: Running) -> str:
        torn = [line["in"] for line in site.seen("other") if len({data["n"] for data in line["in"].values()}) > 1]
        return f"{len(torn)} of {pairs * turns} times a handler ran on two generations: {torn[0]}" if torn else ""

    return Trial(site, play, check)


def _rewrite_row(bench: Bench) -> Trial:
    """Make a trial with a file that is written in place, by halves: the first half alone is not what somebody wanted to say."""
    site, file, times, pause, fair_limit = bench.site(), bench.folder / "odd.yaml", 24, 0.02, 0.04
    for name in ("app", "bee"):
        site.schema(name)
    site.rules({"when": "any:app,bee", "do": "other"})
    site.cfg |= {"odd.type": "flat", "odd.file": str(file)}
    fair: set[int] = set()  # where this process itself was fast enough

    def write(n: int) -> None:
        began = time.monotonic()
        with file.open("w", buffering=1) as out:
            print(f"app: {{n: {n}}}", file=out)
            time.sleep(pause)
            print(f"bee: {{n: {n}}}", file=out)
        if time.monotonic() - began < fair_limit:
            fair.add(n)

    write(0)

    def play(_running: Running) -> None:
        bench.wait(lambda: site.seen("other"), "the first run")  # a first read is never delayed, and may be of half a file
        for n in range(1, times + 1):
            new = {"app": {"n": n}, "bee": {"n": n}}
            time.sleep(INTERVAL * (n * 0.618 % 1))  # at any time between two looks
            write(n)
            bench.wait(lambda new=new: any(line["in"] == new for line in site.seen("other")), "the change")  # type: ignore[misc]
        bench.finish(site)

    def check(_running: Running) -> str:
        halves = [line["in"] for line in site.seen("other") if len(line["in"]) == 1 and line["in"].get("app", {}).get("n") in fair]
        return f"{len(halves)} of {len(fair)} times a handler ran on half of the file: {halves[0]}" if halves else ""

    return Trial(site, play, check)
