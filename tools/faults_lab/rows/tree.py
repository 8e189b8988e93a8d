"""The rows of folders with one file for each key."""

from __future__ import annotations

import os
import re
import shutil
import stat
import threading
import time
from functools import partial
from typing import TYPE_CHECKING

from lab.kubelet import Mount

from faults_lab.disco import INTERVAL, MEMORY
from faults_lab.row import Case, Trial

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from lab.site import Running

    from faults_lab.bench import Bench
    from faults_lab.row import Make

ENTRIES = 100_001  # one more than disco reads


def list_faults() -> dict[str, Make]:
    """Return what makes each row, by its fault."""
    return {
        **{fault: _file_row(fault_of) for fault, fault_of in FILES.items()},
        **{fault: _folder_row(fault_of) for fault, fault_of in FOLDERS.items()},
        "no folder from the start": _folder_row(shutil.rmtree, from_start=True),
        "generations swapped while they are read": _swap_row,
        "generations in a storm": _storm_row,
    }


def _sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)


FILES: dict[str, Callable[[Path], object]] = {
    "file is gone": lambda _: None,
    "no UTF-8": lambda path: path.write_bytes(bytes(range(256)) * 64),
    "a file of a terabyte": _sparse,
    "a FIFO": os.mkfifo,
    "a socket": lambda path: os.mknod(path, stat.S_IFSOCK),
    "/dev/zero": lambda path: path.symlink_to("/dev/zero"),
    "a link out of the folder": lambda path: path.symlink_to("../../../../../../../../etc/passwd"),
    "a link to itself": lambda path: path.symlink_to("n"),
    "a link to the folder that it is in": lambda path: path.symlink_to("."),
    "a folder in a file's place": lambda path: (path / "deep").mkdir(parents=True),
}


def _fill(folder: Path) -> None:
    for number in range(ENTRIES):
        (folder / "odd" / f"{number}").symlink_to("n")


def _multiply(folder: Path) -> None:
    for level in range(20):
        (folder / "odd" / f"{level}").mkdir()
        for name in "ab":
            (folder / "odd" / f"{level}" / name).symlink_to(f"../{level + 1}")


def _replace(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.touch()


FOLDERS: dict[str, Callable[[Path], object]] = {
    "folder is gone": shutil.rmtree,
    "folder is a file": _replace,
    "too many files": _fill,
    "links that multiply": _multiply,
}


def _write(folder: Path, n: int) -> None:
    """Write the key, whatever is there."""
    if not folder.is_dir():
        folder.unlink(missing_ok=True)
    path, new = folder / "odd" / "n", folder / "odd" / "..new"
    path.parent.mkdir(parents=True, exist_ok=True)
    new.write_text(f"{n}\n")
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    new.rename(path)


def _case(bench: Bench, begin: Callable[[], object], is_on: Callable[[Running], object], *, from_start: bool = False) -> Case:
    folders = {side: bench.folder / f"{side}-tree" for side in ("faulty", "twin")}
    return Case(
        faulty={"odd.type": "tree", "odd.path": str(folders["faulty"]), "odd.memory": f"{MEMORY}M"},
        twin={"odd.type": "tree", "odd.path": str(folders["twin"])},
        write=partial(_write, folders["faulty"]),
        write_twin=partial(_write, folders["twin"]),
        begin=begin,
        end=lambda: None,
        is_on=is_on,
        while_on=False,
        from_start=from_start,
    )


def _file_row(fault: Callable[[Path], object]) -> Make:
    """Return what makes a row in which something else takes the place of a key's file, or nothing."""

    def make(bench: Bench) -> Case:
        path = bench.folder / "faulty-tree" / "odd" / "n"

        def begin() -> None:
            new = path.with_name("..fault")
            fault(new)
            if new.is_dir() and not new.is_symlink():
                path.unlink()
            if os.path.lexists(new):
                new.rename(path)
            else:
                path.unlink()

        return _case(bench, begin, lambda running: len(re.findall(r"odd\[\d+\] sending", running.log)) > 1)

    return make


def _folder_row(fault: Callable[[Path], object], *, from_start: bool = False) -> Make:
    """Return what makes a row in which the whole folder cannot be read."""

    def make(bench: Bench) -> Case:
        folder = bench.folder / "faulty-tree"
        case = _case(
            bench, partial(fault, folder), lambda running: re.search("WARNING.*faulty-tree: ", running.log), from_start=from_start
        )
        case.end = partial(_remove, folder)
        return case

    return make


def _remove(folder: Path) -> None:
    if folder.is_dir():
        shutil.rmtree(folder)


def _swap_row(bench: Bench) -> Trial:
    """Make a trial with a mounted folder: two interfaces change in each generation, and no handler may see two of them."""
    site, folder = bench.site(), bench.folder / "mount"
    pairs, turns = 12, 3
    names = [f"{side}{n}" for side in "az" for n in range(pairs)]
    for name in names:
        site.schema(name, {"type": "object", "properties": {"n": {"type": "integer"}}})
    site.rules(*({"when": f"a{n},z{n}", "do": "other"} for n in range(pairs)))
    site.cfg |= {"odd.type": "tree", "odd.path": str(folder)}
    mount, data = Mount(folder), dict.fromkeys(names, 0)

    def swap() -> None:
        mount.write({f"{name}/n": f"{n}\n" for name, n in data.items()})

    swap()

    def play(_running: Running) -> None:
        bench.wait(lambda: len(site.seen("other")) >= pairs, "the first runs")
        for turn in range(pairs * turns):
            pair = (f"a{turn % pairs}", f"z{turn % pairs}")
            data.update(dict.fromkeys(pair, turn // pairs + 1))
            new = {name: {"n": data[name]} for name in pair}
            time.sleep(2 * INTERVAL * (turn * 0.618 % 1))  # at any point of a read
            swap()
            bench.wait(lambda new=new: any(line["in"] == new for line in site.seen("other")), "a change of both")  # type: ignore[misc]
        bench.finish(site)

    def check(_running: Running) -> str:
        torn = [line["in"] for line in site.seen("other") if len({data["n"] for data in line["in"].values()}) > 1]
        return f"{len(torn)} of {pairs * turns} times a handler ran on two generations: {torn[0]}" if torn else ""

    return Trial(site, play, check)


def _storm_row(bench: Bench) -> Case:
    """Make a row in which generation follows generation as fast as they can be written, all of the same content."""
    folder, is_over = bench.folder / "faulty-tree", threading.Event()
    mount = Mount(folder)

    def storm() -> None:
        while not is_over.is_set():
            mount.write({"odd/n": "1\n"})

    thread = threading.Thread(target=storm)

    def end() -> None:
        is_over.set()
        thread.join()
        shutil.rmtree(folder)

    bench.stack.callback(is_over.set)
    case = _case(bench, thread.start, lambda _running: thread.is_alive())
    case.write = lambda n: mount.write({"odd/n": f"{n}\n"}) if n == 1 else _write(folder, n)
    case.end, case.lasts = end, 3.0
    return case
