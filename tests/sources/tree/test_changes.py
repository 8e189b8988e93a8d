"""How the tree source sees changes: by inotify and by looking, settled, and where files are written in place."""

from __future__ import annotations

import ctypes
import errno
import itertools
import os
import subprocess
import sys
import textwrap
import threading
import time
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from lab.kubelet import Mount

from disco.sources import InvalidValue, SourceError
from disco.sources.tree_changes import LIMIT
from disco.sources.tree_read import LOOKS, SETTLE
from disco.system import inotify
from tests.sources.tree.reader import Reader, count_watches, read_once, write
from tests.workers.support import SECRET

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FIFO = InvalidValue("is a FIFO, not a regular file")
STAMPS = {"st_mtime_ns": 10**15, "st_ctime_ns": 10**15}  # all that a file system says, whatever is written
HOURS = 7200.0  # an interval in which nobody looks


def follow(reader: Reader, act: Callable[[], object]) -> Any:
    """Do something while the reader waits; return what news it yields for that."""
    timer = threading.Timer(0.05, act)
    timer.start()
    try:
        return reader.read_news()
    finally:
        timer.join()


def test_inotify_wakes_it(tmp_path: Path) -> None:
    """Each change of a file is seen though nobody looks for hours: also what comes and what goes, and in new folders."""
    write(tmp_path, {"app/a": "1"})
    reader = Reader(tmp_path, interval=HOURS)
    assert reader.step() == {"app": {"a": "1"}}
    assert follow(reader, lambda: write(tmp_path, {"app/a": "2"})) == {"app": {"a": "2"}}
    assert follow(reader, lambda: write(tmp_path, {"db/deep/b": "1"})) == {"app": {"a": "2"}, "db": {"deep": {"b": "1"}}}
    assert follow(reader, lambda: write(tmp_path, {"db/deep/b": "2"})) == {"app": {"a": "2"}, "db": {"deep": {"b": "2"}}}
    assert follow(reader, (tmp_path / "app" / "a").unlink) == {"db": {"deep": {"b": "2"}}}
    reader.close()


def test_inotify_of_a_mount(tmp_path: Path) -> None:
    """Each generation is seen though nobody looks, and one that is no longer read is watched no more, removed or not."""
    mount = Mount(tmp_path)
    mount.write({"app/a": "0"})
    reader = Reader(tmp_path, interval=HOURS)
    reader.step()
    for number in range(1, 6):
        found = follow(reader, lambda number=number: mount.write({"app/a": f"{number}"}, keep=number % 2 == 0))  # type: ignore[misc]
        assert found == {"app": {"a": f"{number}"}}
    assert count_watches() <= 3
    reader.close()


def test_the_folder_goes(tmp_path: Path) -> None:
    """A folder that goes while it is waited for is an error at once; the next call begins anew when it is back."""
    folder = write(tmp_path / "folder", {"app/a": "1"})
    reader = Reader(folder, interval=HOURS)
    reader.step()
    with pytest.raises(SourceError, match="No such file or directory"):
        follow(reader, lambda: folder.rename(tmp_path / "away"))
    with pytest.raises(SourceError, match="No such file or directory"):
        Reader(folder).step()
    (tmp_path / "away").rename(folder)
    assert Reader(folder).step() == {"app": {"a": "1"}}


def refuse(library: Any, call: str, number: int) -> Any:
    """Return the C library with one call that the kernel refuses."""

    def fail(*_given: Any) -> int:
        ctypes.set_errno(number)
        return -1

    calls = {name: getattr(library, name) for name in ("inotify_init1", "inotify_add_watch", "inotify_rm_watch")}
    return SimpleNamespace(**calls | {call: fail})


@pytest.mark.parametrize(
    ("call", "number", "limit"),
    [
        ("inotify_init1", errno.EMFILE, " (raise fs.inotify.max_user_instances)"),
        ("inotify_init1", errno.ENOSYS, ""),
        ("inotify_add_watch", errno.ENOSPC, " (raise fs.inotify.max_user_watches)"),
    ],
)
def test_without_inotify(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int, limit: str) -> None:
    """Where the kernel refuses to tell changes, they are seen at each look all the same, and people are told once."""
    monkeypatch.setattr(inotify, "_library", refuse(inotify._library, call, number))
    write(tmp_path, {"app/a": "1"})
    reader = Reader(tmp_path)
    reader.step()
    for text in ("2", "3"):
        write(tmp_path, {"app/a": text})
        while reader.step() != {"app": {"a": text}}:
            pass
    reader.close()
    told = f"the system tells no changes: {os.strerror(number)}{limit}; they are seen at each disco.interval only"
    assert [note for note, _ in itertools.groupby(reader.notes)] == ["", told]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can use up the allowance of a user who does nothing else")
def test_the_real_limit_of_inotify(open_folder: Path) -> None:
    """Where this user has no inotify left, changes are seen at each look, and people are told."""
    write(open_folder, {"app/a": "1"})
    program = """
        import ctypes, os, sys, time
        from pathlib import Path
        from tests.sources.tree.reader import Reader
        library = ctypes.CDLL(None)
        os.setuid(54399)
        while library.inotify_init1(0) >= 0:
            pass
        reader = Reader(Path(sys.argv[1]))
        print(reader.step(), flush=True)
        sys.stdin.readline()
        while reader.step() != {"app": {"a": "2"}}:
            pass
        print(reader.notes[-1])
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program), str(open_folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin
        assert process.stdout
        assert process.stdout.readline() == "{'app': {'a': '1'}}\n"
        write(open_folder, {"app/a": "2"})
        process.stdin.write("\n")
        process.stdin.flush()
        assert "the system tells no changes: Too many open files" in process.stdout.readline()


def test_watches_are_bounded(tmp_path: Path) -> None:
    """Of many folders only some are watched: the allowance may be that of a whole machine."""
    for number in range(LIMIT):
        write(tmp_path, {f"app/{number}/a": "1"})
    before = count_watches()
    reader = Reader(tmp_path)
    reader.step()
    reader.step()
    assert count_watches() - before == LIMIT
    last = max(map(str, range(LIMIT)))  # the folder that is looked at last
    write(tmp_path, {f"app/{last}/a": "2"})
    while reader.step()["app"][last]["a"] != "2":
        pass
    reader.close()
    assert count_watches() == before


def test_written_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is written by parts is read when two looks see the same; the first look is not delayed."""
    write(tmp_path, {"app/a": "old"})
    parts, slept = iter(["n", "ne", "new"]), []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if part := next(parts, ""):
            write(tmp_path, {"app/a": part})

    reader = Reader(tmp_path, interval=0.0)
    monkeypatch.setattr(time, "sleep", sleep)
    assert reader.step() == {"app": {"a": "old"}}
    assert slept == []
    write(tmp_path, {"app/a": ""})
    assert reader.step() == {"app": {"a": "new"}}
    assert slept == [SETTLE] * 4
    reader.close()


def test_never_quiet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is rewritten all the time is read as it is in the end, and keeps no other from being read."""
    write(tmp_path, {"app/a": "0", "db/a": "0"})
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        write(tmp_path, {"app/a": "x" * len(slept)})

    reader = Reader(tmp_path, interval=0.0)
    reader.step()
    monkeypatch.setattr(time, "sleep", sleep)
    write(tmp_path, {"app/a": "", "db/a": "1"})
    assert reader.step() == {"app": {"a": "x" * (LOOKS - 1)}, "db": {"a": "1"}}
    assert slept == [SETTLE] * (LOOKS - 1)
    reader.close()


def test_a_name_for_a_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A temporary name beside a file that is replaced is no key."""
    write(tmp_path, {"app/a": "1"})
    reader = Reader(tmp_path, interval=0.0)
    reader.step()
    write(tmp_path, {"app/.a.tmp": "2"})
    acts = iter([lambda: (tmp_path / "app" / ".a.tmp").rename(tmp_path / "app" / "a")])
    monkeypatch.setattr(time, "sleep", lambda _seconds: next(acts, lambda: None)())
    assert reader.step() == {"app": {"a": "2"}}
    reader.close()


def test_names_and_values_are_of_one_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a writer did between the listing of a folder and the read of a file in it is seen whole, or not at all."""
    write(tmp_path, {"app/a": "1"})
    real, is_done = os.stat, False

    def stat(name: Any, *given: Any, **named: Any) -> os.stat_result:
        nonlocal is_done
        if name == "a" and not is_done:
            is_done = True
            write(tmp_path, {"app/b": "2", "app/a": "2"})
        return real(name, *given, **named)

    monkeypatch.setattr(os, "stat", stat)
    reader = Reader(tmp_path)
    assert reader.step() == {"app": {"a": "2", "b": "2"}}
    reader.close()


def test_replaced_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes the place of a file that was seen is not read for it: nothing from outside, and no FIFO is waited for."""
    folder = write(tmp_path / "folder", {"app/deep/a": "1"}) / "app" / "deep"
    write(tmp_path / "outside", {"a": SECRET})
    real = os.open

    def link() -> None:
        folder.rename(tmp_path / "away")
        folder.symlink_to(tmp_path / "outside")

    def make_fifo() -> None:
        (folder / "a").unlink()
        os.mkfifo(folder / "a")

    def open_(name: Any, *given: Any, **named: Any) -> int:
        if name == "app/deep/a" and (act := next(acts, None)):
            act()
        return real(name, *given, **named)

    monkeypatch.setattr(os, "open", open_)
    for act, expected in ((link, {"deep": InvalidValue("is a link out of the folder")}), (make_fifo, {"deep": {"a": FIFO}})):
        acts = iter([act])
        assert read_once(tmp_path / "folder") == {"app": expected}
        if act is link:
            folder.unlink()
            (tmp_path / "away").rename(folder)


@pytest.mark.parametrize("names", [{"app/deep/a"}, {"deep", "app/deep/a"}])
def test_exchanged_for_the_moment_in_which_it_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: set[str]) -> None:
    """Nothing is read from outside though a link is there only while a folder or a file in it is opened."""
    folder = write(tmp_path / "folder", {"app/deep/a": "1"}) / "app" / "deep"
    write(tmp_path / "outside", {"a": SECRET})
    real = os.open

    def open_(name: Any, *given: Any, **named: Any) -> int:
        if name not in names:
            return real(name, *given, **named)
        folder.rename(tmp_path / "away")
        folder.symlink_to(tmp_path / "outside")
        try:
            return real(name, *given, **named)
        finally:
            folder.unlink()
            (tmp_path / "away").rename(folder)

    monkeypatch.setattr(os, "open", open_)
    monkeypatch.setattr(time, "sleep", lambda _seconds: None)
    (folder.parent / "link").symlink_to("deep/a")
    try:
        assert SECRET not in repr(read_once(tmp_path / "folder"))
    except SourceError as error:
        assert "change faster" in error.reason  # noqa: PT017 -- as well


def stat_coarsely(call: Callable[..., os.stat_result], *given: Any, **named: Any) -> os.stat_result:
    status = call(*given, **named)
    return os.stat_result((status.st_mode, status.st_ino, status.st_dev, 1, 0, 0, 1, 1, 1, 1), dict(STAMPS))


def test_coarse_time_stamps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was read moments after it changed is read again though its state says nothing of a change; what is older is not."""
    now = STAMPS["st_mtime_ns"] / 1e9
    for call in (os.stat, os.fstat):
        monkeypatch.setattr(os, call.__name__, partial(stat_coarsely, call))
    monkeypatch.setattr(time, "time", lambda: now)
    write(tmp_path, {"app/a": "1"})
    reader = Reader(tmp_path, interval=0.0, timeout="50ms")
    assert reader.step() == {"app": {"a": "1"}}
    now += 100.0
    write(tmp_path, {"app/a": "2"})
    assert reader.step() == {"app": {"a": "2"}}
    write(tmp_path, {"app/a": "3"})
    assert [reader.step() for _ in range(3)] == [{"app": {"a": "2"}}] * 3
    reader.close()


def test_the_pace_of_looks_in_a_storm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a look that was woken for nothing there is a pause."""
    write(tmp_path, {"app/a": "1"})
    reader = Reader(tmp_path, interval=HOURS, timeout="2h")
    reader.step()
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) < 5:
            (tmp_path / f"..{len(slept)}").touch()
        elif len(slept) == 5:
            write(tmp_path, {"app/a": "2"})

    threading.Timer(0.05, (tmp_path / "..0").touch).start()
    monkeypatch.setattr(time, "sleep", sleep)
    assert reader.read_news() == {"app": {"a": "2"}}
    assert slept == [SETTLE] * 6  # the last one is between two looks at the change
    reader.close()


def test_a_look_that_takes_long_is_not_taken_at_once_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between looks at a large folder there is four times as long as one takes, but no more than `timeout`."""
    write(tmp_path, {"app/a": "1"})
    os.utime(tmp_path / "app" / "a", (1, 1))
    waits: list[float] = []
    now = 0.0
    monkeypatch.setattr(inotify, "_library", refuse(inotify._library, "inotify_init1", errno.ENOSYS))
    monkeypatch.setattr(time, "sleep", waits.append)
    monkeypatch.setattr(time, "monotonic", lambda: now)
    real = os.scandir

    def scandir(*given: Any) -> Any:
        nonlocal now
        now += 0.5
        return real(*given)

    monkeypatch.setattr(os, "scandir", scandir)
    reader = Reader(tmp_path, interval=1.0, timeout="3s")
    reader.step()
    while len(waits) < 4:
        reader.step()
    assert waits[:4] == [1.0, 3.0, 3.0, 3.0]
    reader.close()
