"""A folder that kubelet writes: whatever it does, and however often, what is read is one generation, whole."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import shutil
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lab.kubelet import Mount, meanwhile

from disco.sources import SourceError
from tests.sources.tree.reader import Reader, read_once, write

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

SECONDS = 3.0  # for which reads are made in a storm
PATIENCE = 60.0  # for what is seen in one sooner or later


@pytest.fixture(params=["disk", "tmpfs"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """Give an empty folder: of a disk, and in memory, where Kubernetes keeps Secrets."""
    if request.param == "disk":
        yield tmp_path
        return
    if not Path("/dev/shm").is_dir():
        pytest.skip("no tmpfs at /dev/shm")
    made = Path(tempfile.mkdtemp(dir="/dev/shm"))
    yield made
    shutil.rmtree(made)


def test_a_generation(folder: Path) -> None:
    """Each generation is read as it is: keys that are new, changed and gone, in folders too."""
    mount = Mount(folder)
    mount.write({"app/a": "1", "app/b/c": "1", "app/x": "1", "db/a": "1"})
    reader = Reader(folder)
    first = reader.step()
    assert first == {"app": {"a": "1", "b": {"c": "1"}, "x": "1"}, "db": {"a": "1"}}
    mount.write({"app/a": "2", "app/b/d": "2", "db/a": "1"})
    second = reader.step()
    assert second == {"app": {"a": "2", "b": {"d": "2"}}, "db": {"a": "1"}}
    assert second["db"] is first["db"]
    mount.write({})
    assert reader.step() == {}
    reader.close()


def test_several_mounts(folder: Path) -> None:
    """Folders below the one that is read may each be a mount."""
    for name in ("app", "db"):
        Mount(folder / name).write({"a": name, "deep/b": name})
    assert read_once(folder) == {name: {"a": name, "deep": {"b": name}} for name in ("app", "db")}


def test_links_are_not_waited_for(folder: Path) -> None:
    """A generation is whole before kubelet has added its links, and after it has turned the link to it; aliases follow it too."""
    mount = Mount(folder)
    first = mount.write({"app/a": "1", "old": "1"}, keep=True)
    (folder / "db").symlink_to("..data/app")
    new = write(folder / "..new", {"app/a": "2", "app/b": "2"})
    assert read_once(folder) == {"app": {"a": "1"}, "db": {"a": "1"}, "old": None}
    mount.turn(new)
    assert read_once(folder) == {"app": {"a": "2", "b": "2"}, "db": {"a": "2", "b": "2"}}
    (folder / "more").symlink_to("..data/more")  # as before Kubernetes 1.20: the link comes first
    mount.turn(first)
    assert read_once(folder) == {"app": {"a": "1"}, "db": {"a": "1"}, "old": None}


def test_a_generation_that_is_none(folder: Path) -> None:
    """A `..data` that leads to nothing, to a file or out of the folder is an error: what was read before stays."""
    write(folder, {"..file": "x", "app/a": "1"})
    for target, reason in [
        ("..none", "leads to no folder"),
        ("..file", "leads to no folder"),
        ("../..", "is a link out of the folder"),
    ]:
        (folder / "..data").unlink(missing_ok=True)
        (folder / "..data").symlink_to(target)
        with pytest.raises(SourceError, match=f"data:? {reason}"):
            read_once(folder)
    (folder / "..data").unlink()
    (folder / "..data").mkdir()
    assert read_once(folder) == {"app": {"a": "1"}}


def read_often(folder: Path, look: Callable[[Mapping[str, Any]], object], is_enough: Callable[[], object]) -> None:
    """Read again and again, for a while and until it is enough; a read in vain is an error that says why."""
    began = time.monotonic()
    while time.monotonic() < began + SECONDS or not is_enough():
        assert time.monotonic() < began + PATIENCE
        try:
            found = read_once(folder)
        except SourceError as error:
            assert "faster than" in error.reason  # noqa: PT017 -- seldom
        else:
            look(found)


def assert_whole(found: Mapping[str, Any]) -> int:
    """Return the number of a generation that `files_of` made; fail if it is not all of one."""
    number = int(found["app"]["number"])
    assert found == nested(files_of(number))
    return number


def files_of(number: int) -> dict[str, str]:
    """Return a generation's files: which there are, and what is in them, follows from its number."""
    chance = random.Random(number)
    names = [f"{interface}/{key}" for interface in ("app", "db") for key in "abcdefgh"]
    return {"app/number": str(number), "db/number": str(number)} | {
        name: f"{number} {name}" for name in names if chance.random() < 0.7
    }


def nested(files: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, content in files.items():
        node = found
        *folders, last = name.split("/")
        for part in folders:
            node = node.setdefault(part, {})
        node[last] = content
    return found


@pytest.mark.parametrize("links_first", [False, True])
def test_a_storm_of_generations(folder: Path, links_first: bool) -> None:
    """Under a storm of generations, each removed when the next one is there, no read is of two, or of a part of one."""
    mount, numbers = Mount(folder, links_first=links_first), itertools.count(1)
    mount.write(files_of(0))
    seen: set[int] = set()
    with meanwhile(lambda: mount.write(files_of(next(numbers)))):
        read_often(folder, lambda found: seen.add(assert_whole(found)), lambda: len(seen) > 5)


def test_a_storm_of_two_generations(folder: Path) -> None:
    """A link that is turned to and fro between two generations, so that all is as it was before, tears no read."""
    mount = Mount(folder)
    both = [mount.write(files_of(number), keep=True) for number in (1, 2)]
    turns = itertools.cycle(both)
    seen: set[int] = set()
    with meanwhile(lambda: mount.turn(next(turns))):
        read_often(folder, lambda found: seen.add(assert_whole(found)), lambda: seen == {1, 2})


def test_links_of_ones_own_through_a_generation(folder: Path) -> None:
    """Links that somebody made through `..data` lead to the same generation, all that one look sees."""
    mount = Mount(folder)
    both = [mount.write({"key-a": f"{number}", "key-b": f"{number}"}, keep=True) for number in (1, 2)]
    (folder / "app").mkdir()
    for name in "abcdefgh":
        (folder / "app" / name).symlink_to(f"../..data/key-{'ab'[ord(name) % 2]}")
    turns, seen = itertools.cycle(both), set[str]()

    def look(found: Mapping[str, Any]) -> None:
        assert len(found["app"]) == 8
        assert len({*found["app"].values()}) == 1
        seen.update(found["app"].values())

    with meanwhile(lambda: mount.turn(next(turns))):
        read_often(folder, look, lambda: seen == {"1", "2"})


def test_one_look_reads_the_link_to_a_generation_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Links lead to one generation however it is exchanged between them to and fro, alike in each look."""
    mount = Mount(tmp_path)
    one, two = (mount.write({"key-a": f"{number}", "key-b": f"{number}"}, keep=True) for number in (1, 2))
    (tmp_path / "app").mkdir()
    for name in "abcd":
        (tmp_path / "app" / name).symlink_to(f"../..data/key-{'ab'[ord(name) % 2]}")
    real, whole = os.readlink, 0

    def readlink(place: Any, **named: Any) -> str:
        if place == "..data":
            return next(turns).name
        return str(real(place, **named))

    monkeypatch.setattr(os, "readlink", readlink)
    monkeypatch.setattr(time, "sleep", lambda _seconds: None)
    for every in range(2, 16):
        turns = itertools.cycle([one, *[two] * (every - 1)])
        with contextlib.suppress(SourceError):
            assert len({*read_once(tmp_path)["app"].values()}) == 1
            whole += 1
    assert whole


def test_the_newest_generation_comes(folder: Path) -> None:
    """A source that follows a storm sees whole generations only, ever newer ones, and in the end the last."""
    mount, numbers = Mount(folder), itertools.count(1)
    mount.write(files_of(0))
    last = 0

    def change() -> None:
        nonlocal last
        last = next(numbers)
        mount.write(files_of(last))
        time.sleep(0.05)  # kubelet's pace is a minute; this is as fast as a settled look can follow now and then

    reader, seen = Reader(folder), [0]
    end = time.monotonic() + 2

    def follow() -> None:
        nonlocal reader
        try:
            seen.append(assert_whole(reader.step()))
        except SourceError as error:
            assert "faster than" in error.reason  # noqa: PT017 -- a storm
            reader.close()
            reader = Reader(folder)

    with meanwhile(change):
        while time.monotonic() < end:
            follow()
    end = time.monotonic() + PATIENCE
    while seen[-1] != last:
        assert time.monotonic() < end
        follow()
    reader.close()
    assert seen == sorted(seen)


FILES = st.dictionaries(
    st.sampled_from(["app/a", "app/b", "app/c/d", "db/a", "db/b"]), st.sampled_from(["1", "2", "3"]), min_size=1, max_size=5
)


@settings(max_examples=50)
@given(
    st.lists(FILES, min_size=2, max_size=8), st.integers(0, 2**32), st.sampled_from([0.1, 0.3, 0.6]), st.booleans(), st.booleans()
)
def test_any_change_at_any_moment(
    generations: list[dict[str, str]], seed: int, often: float, links_first: bool, by_alias: bool
) -> None:
    """Whatever kubelet changes before any system call of a read, what is read is one of the generations."""
    expected = [nested(files) for files in generations]
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        folder = Path(name)
        mount = Mount(folder, links_first=links_first)
        if by_alias:  # what is read are somebody's own links
            generations = [{f"my-{name}": content for name, content in files.items()} for files in generations]
            expected = [{**data, **{f"my-{name}": None for name in data}} for data in expected]
            for interface in ("app", "db"):
                (folder / interface).symlink_to(f"..data/my-{interface}")
        mount.write(generations[0])
        pending = iter(generations[1:])
        chance = random.Random(seed)
        is_inside = threading.local()

        def before(call: Any) -> Any:
            def interrupted(*given: Any, **named: Any) -> Any:
                if chance.random() < often and not getattr(is_inside, "now", False):
                    is_inside.now = True
                    try:
                        if files := next(pending, None):
                            mount.write(files)
                    finally:
                        is_inside.now = False
                return call(*given, **named)

            return interrupted

        patch.setattr(time, "sleep", lambda _seconds: None)
        for call in ("stat", "open", "readlink", "scandir"):
            patch.setattr(os, call, before(getattr(os, call)))
        reader = Reader(folder, interval=0.0, timeout="50ms")
        try:
            for _ in generations:
                assert reader.step() in expected
        finally:
            reader.close()
