"""The flat source: files that change, are replaced, and are broken."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from disco.data import schema
from disco.errors import Problem
from disco.sources import Options, SourceError, flat
from disco.wire.messages import Diff, Heartbeat, ReadFailed
from tests.workers.support import SECRET, make_context, run_watcher

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from disco.data.schema import Schema


@pytest.fixture
def schemas(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Schema]:
    file = tmp_path_factory.mktemp("schemas") / "app.schema"
    file.write_text('{"type": "object"}')
    return {"app": schema.read(file)}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Give the time of day, on a kernel whose `stat` tells the same of each file at all times, as its stamps are too coarse."""
    now, real = [1_000_000.0], os.stat
    stamp = int(now[0])

    def stat(*given: Any, **named: Any) -> os.stat_result:
        mode = real(*given, **named).st_mode
        return os.stat_result(
            (mode, 1, 1, 1, 0, 0, 1, stamp, stamp, stamp), {"st_mtime_ns": stamp * 10**9, "st_ctime_ns": stamp * 10**9}
        )

    monkeypatch.setattr(os, "stat", stat)
    monkeypatch.setattr(time, "time", lambda: now[0])
    return now


def write(path: Path, text: str) -> None:
    """Write a file whole, as if it were long ago."""
    new = path.with_suffix(".new")
    new.write_text(text)
    os.utime(new, (1, 1))
    new.rename(path)


def test_flat_change(tmp_path: Path) -> None:
    """A file is read anew when it was changed or replaced, and else not; what only its content tells is seen too."""
    file = tmp_path / "f.yaml"
    write(file, "app: {a: 1}")
    found = flat.watch(make_context(file=file))
    first = next(found)
    assert first == {"app": {"a": 1}}
    assert next(found) is first
    for text, expected in [("app: {a: 2}", 2), ("app: {a: true}", True), ("app: {a: 1.0}", 1.0)]:
        write(file, text)
        assert repr(next(found)["app"]["a"]) == repr(expected)
    file.write_text("app: {a: 1}")
    before = file.stat()
    assert next(found) == first
    file.write_text("app: {a: 3}")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert next(found) == {"app": {"a": 3}}


def test_flat_coarse_time_stamps(tmp_path: Path, clock: list[float]) -> None:
    """A file that was read moments after it changed is read again though its time stamps tell no change; an older one is not."""
    file = tmp_path / "f.yaml"
    file.write_text("app: {a: 1}")
    found = flat.watch(make_context(file=file))
    assert next(found) == {"app": {"a": 1}}
    file.write_text("app: {a: 2}")
    assert next(found) == {"app": {"a": 2}}
    clock[0] += 100.0
    file.write_text("app: {a: 3}")
    assert next(found) == {"app": {"a": 3}}
    file.write_text("app: {a: 4}")
    assert next(found) == {"app": {"a": 3}}


def test_flat_read_moments_after_it_changed(tmp_path: Path, clock: list[float]) -> None:
    """What was read while its time stamp was fresh is read once more, however late the next look is."""
    file = tmp_path / "f.yaml"
    file.write_text("a: {x: 1}")
    found = flat.watch(make_context(file=file))
    assert next(found) == {"a": {"x": 1}}
    clock[0] += 100.0
    file.write_text("a: {x: 2}")
    assert next(found) == {"a": {"x": 2}}


def test_flat_symlink_swap(tmp_path: Path) -> None:
    """A folder's link that is swapped (as Kubernetes does) is a change, for a file and for a directory."""
    for name, value in {"1": "one", "2": "two"}.items():
        (tmp_path / name).mkdir()
        write(tmp_path / name / "f.yaml", f"app: {value}")
    (tmp_path / "..data").symlink_to("1")
    (tmp_path / "f.yaml").symlink_to("..data/f.yaml")
    both = [flat.watch(make_context(file=path)) for path in (tmp_path / "f.yaml", tmp_path, tmp_path / "..data")]
    assert [next(found) for found in both] == [{"app": "one"}] * 3
    (tmp_path / "new").symlink_to("2")
    (tmp_path / "new").rename(tmp_path / "..data")
    assert [next(found) for found in both] == [{"app": "two"}] * 3


def swap(folder: Path, generation: int) -> None:
    """Write a generation of two files as kubelet does: a new folder, to which one link is turned."""
    new = folder / f"..{generation}"
    new.mkdir()
    for name in "ab":
        (new / f"{name}.yaml").write_text(f"{name}: {{of: {generation}}}")
    (folder / "..new").symlink_to(new.name)
    (folder / "..new").rename(folder / "..data")


def test_flat_reads_one_generation(tmp_path: Path) -> None:
    """What is read of a directory is of one generation, however often its link is swapped, and whatever goes meanwhile."""
    swap(tmp_path, 0)
    for name in "ab":
        (tmp_path / f"{name}.yaml").symlink_to(f"..data/{name}.yaml")
    stop = threading.Event()

    def go_on() -> None:
        for generation in itertools.count(1):
            if stop.is_set():
                return
            swap(tmp_path, generation)
            shutil.rmtree(tmp_path / f"..{generation - 1}")

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        read = 0
        for _ in range(2000):
            try:
                found = next(flat.watch(make_context(file=tmp_path)))
            except SourceError as error:
                assert "change faster" in error.reason or "No such file" in error.reason  # noqa: PT017 -- seldom
                continue
            assert found["a"] == found["b"]
            read += 1
        assert read > 100
    finally:
        stop.set()
        thread.join()


def test_flat_written_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is rewritten in place is taken when two looks see the same; one that was renamed there, at once."""
    file = tmp_path / "f.yaml"
    write(file, "app: {a: 1, b: 1}")
    waits: list[float] = []
    texts = iter(["", "app:\n  a: 2\n  b:", "app:\n  a: 2\n  b: 2\n"])

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if text := next(texts, None):
            file.write_text(text)

    found = flat.watch(make_context(interval=1.0, file=file))
    assert next(found) == {"app": {"a": 1, "b": 1}}
    monkeypatch.setattr(time, "sleep", sleep)
    assert next(found) == {"app": {"a": 1, "b": 1}}
    assert next(found) == {"app": {"a": 2, "b": 2}}
    assert waits == [1.0, 1.0, *[flat.NEXT_LOOK] * 2]
    write(file, "app: {a: 3}")
    waits.clear()
    assert next(found) == {"app": {"a": 3}}
    assert waits == [1.0]


def test_flat_never_quiet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is rewritten all the time is taken after some looks, if it can be read."""
    file = tmp_path / "f.yaml"
    write(file, "app: {a: 0}")
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        file.write_text(f"app: {{a: {'1' * len(waits)}}}")

    found = flat.watch(make_context(interval=1.0, file=file))
    next(found)
    monkeypatch.setattr(time, "sleep", sleep)
    assert next(found) == {"app": {"a": int("1" * flat.LOOKS)}}
    assert waits == [1.0, *[flat.NEXT_LOOK] * (flat.LOOKS - 1)]


def test_flat_tells_what_it_does_not_read(tmp_path: Path) -> None:
    """Files of a directory that have another suffix are named in a note, escaped and bounded, and gone from it with them."""
    notes: list[str] = []
    found = flat.watch(make_context(file=tmp_path)._replace(note=notes.append))
    write(tmp_path / "db_password", SECRET)
    write(tmp_path / "app.yaml", "app: {}")
    (tmp_path / "folder").mkdir()
    (tmp_path / ".hidden").touch()
    (tmp_path / "nowhere").symlink_to("no-such-file")
    assert next(found) == {"app": {}}
    assert notes[-1] == "2 files in the directory not read, for only *.yaml, *.yml, *.json are: db_password, nowhere"
    for number in range(9):
        write(tmp_path / f"{number}\n", SECRET)
    next(found)
    assert notes[-1].startswith("11 files in the directory not read, for only *.yaml, *.yml, *.json are: 0\\n, 1\\n")
    assert notes[-1].endswith("4\\n, …")
    for path in tmp_path.iterdir():
        if not path.is_dir() and path.suffix != ".yaml":
            path.unlink()
    next(found)
    assert notes[-1] == ""


@pytest.mark.parametrize(
    ("text", "look"),
    [
        (SECRET, "a single value (a secret's file?)"),
        (f"PASSWORD={SECRET}\nHOST=b", "NAME=VALUE lines"),
        (f"export PASSWORD = {SECRET}", "NAME=VALUE lines"),
        (f"- {SECRET}", "a list"),
        ("12", "a single value"),
    ],
)
def test_flat_says_what_a_file_looks_like(tmp_path: Path, text: str, look: str) -> None:
    """A file that holds no mapping is told with what it looks like, and nothing of what it holds."""
    write(tmp_path / "f", text)
    with pytest.raises(
        SourceError, match=f"expected a mapping of interfaces at the top level, but it holds {re.escape(look)}"
    ) as told:
        next(flat.watch(make_context(file=tmp_path / "f")))
    assert SECRET not in told.value.reason


def test_flat_looks_more_often_than_it_yields(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unchanged it is looked at each `interval`, and yielded twice, then once in a `timeout`; a change is yielded at once."""
    file = tmp_path / "f.yaml"
    write(file, "app: {a: 1}")
    now = 100.0
    slept = []

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds
        slept.append(seconds)
        if len(slept) == 13:
            write(file, "app: {a: 2}")

    monkeypatch.setattr(time, "sleep", sleep)
    monkeypatch.setattr(time, "monotonic", lambda: now)
    found = flat.watch(make_context(interval=1.0, file=file, timeout=10.0))
    first = next(found)
    assert next(found) is first
    assert slept == [1.0]  # a second good look: an earlier trouble is over
    assert next(found) is first
    assert slept == [1.0] * 11
    assert next(found) == {"app": {"a": 2}}
    assert slept == [1.0] * 13


def test_flat_directory(tmp_path: Path) -> None:
    """Of a directory all files with the right suffix are read, and looked for anew each time."""
    for name, text in {
        "b.yaml": "app: {}",
        "a.yml": "# nothing",
        "c.json": '{"db": {}}',
        ".d.yaml": "[",
        "e.txt": "[",
    }.items():
        write(tmp_path / name, text)
    (tmp_path / "f.yaml").mkdir()
    found = flat.watch(make_context(file=tmp_path))
    assert list(next(found)) == ["app", "db"]
    write(tmp_path / "a.yml", "slow: {}")
    assert list(next(found)) == ["slow", "app", "db"]
    (tmp_path / "c.json").unlink()
    assert list(next(found)) == ["slow", "app"]
    write(tmp_path / "z.yaml", "app: {}")
    with pytest.raises(SourceError, match=r"z\.yaml: app is in an earlier file"):
        next(found)


def test_flat_empty(tmp_path: Path) -> None:
    """An empty file and an empty directory are good answers: there is nothing."""
    assert next(flat.watch(make_context(file=tmp_path))) == {}
    write(tmp_path / "f", "")
    assert next(flat.watch(make_context(file=tmp_path / "f"))) == {}


@pytest.mark.parametrize("kind", ["file", "directory", "link"])
def test_flat_optional(tmp_path: Path, kind: str) -> None:
    """An optional file or directory that is not there is empty, with a note; that it appears, or disappears, is a change."""
    notes: list[str] = []
    path = tmp_path / "data"
    file = path / "f.yaml" if kind == "directory" else path
    if kind == "link":
        path.symlink_to("target")
        file = tmp_path / "target"
    found = flat.watch(make_context(file=path, optional=True)._replace(note=notes.append))
    assert (next(found), notes[-1]) == ({}, f"{path} is not there, which optional allows")
    file.parent.mkdir(exist_ok=True)
    write(file, "app: {a: 1}")
    assert (next(found), notes[-1]) == ({"app": {"a": 1}}, "")
    file.unlink()
    if kind == "directory":
        path.rmdir()
    assert (next(found), notes[-1]) == ({}, f"{path} is not there, which optional allows")


def test_flat_optional_is_of_what_is_missing(tmp_path: Path) -> None:
    """Only what is not there is optional: not what cannot be looked at, read or parsed, nor a file of a directory."""
    (tmp_path / "file").write_text("[")
    (tmp_path / "circle").symlink_to("circle")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "gone.yaml").symlink_to("nowhere")
    for name, reason in {
        "file": "expected a mapping|did not find",
        "file/below": "Not a directory",
        "circle": "Too many levels",
        "folder": "gone.yaml: No such file",
        "x" * 300: "name too long",
    }.items():
        with pytest.raises(SourceError, match=reason):
            next(flat.watch(make_context(file=tmp_path / name, optional=True)))


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (None, "No such file or directory"),
        (f"app: [{SECRET}", "f.yaml:2:1: did not find"),
        ("app: 1\napp: 2", "f.yaml:2:1: a duplicate key"),
        ("- app", "f.yaml: expected a mapping of interfaces"),
        ("app: .nan", "f.yaml:1:6: JSON has no such number"),
        ("FIFO", "not a regular file"),
    ],
)
def test_flat_broken_then_mended(
    schemas: Mapping[str, Schema], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str | None, reason: str
) -> None:
    """What is missing or broken is trouble, looked at again after `interval`; what was said stays until it is good."""
    file = tmp_path / "f.yaml"
    write(file, "app: {a: 1}")

    def act() -> Iterator[None]:
        yield
        file.unlink()
        if broken == "FIFO":
            os.mkfifo(file)
        elif broken is not None:
            write(file, broken)
        yield
        yield
        file.unlink(missing_ok=True)
        write(file, "app: {a: 2}")
        yield

    acts = act()
    next(acts)
    # A new file may get the number of the one that was removed, and is looked at twice then.
    monkeypatch.setattr(time, "sleep", lambda seconds: None if seconds == flat.NEXT_LOOK else next(acts))
    said = run_watcher(schemas, flat.watch, 5, file=file, interval=0.5)
    assert [type(message) for message in said] == [Heartbeat, Diff, ReadFailed, ReadFailed, Diff]
    for trouble in said[2:4]:
        assert isinstance(trouble, ReadFailed)
        assert reason in trouble.reason
        assert SECRET not in trouble.reason
        assert 0.5 <= trouble.retry_in <= 0.5 * 1.25


def test_flat_limit(tmp_path: Path) -> None:
    """A file, and all files of a directory together, are limited in size."""
    for name in "ab":
        (tmp_path / f"{name}.yaml").write_text(f"{name}: " + "x" * (9 << 20))
    with pytest.raises(SourceError, match="together are larger than 16 MiB"):
        next(flat.watch(make_context(file=tmp_path)))
    (tmp_path / "a.yaml").write_text("a: " + "x" * (17 << 20))
    with pytest.raises(SourceError, match="larger than 16384 KiB"):
        next(flat.watch(make_context(file=tmp_path / "a.yaml")))


def test_flat_needs_its_file() -> None:
    """The flat source without a file is a mistake in configuration."""
    assert list(flat.SOURCE.check(Options({"file": None}, {}, frozenset()))) == [
        Problem("file", "expected the path of a file or a directory", "set it")
    ]
