"""What the tree source makes of files, links, and all else that may lie in a folder."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

from disco.data.values import DEPTH_LIMIT, KEY_LIMIT
from disco.sources import InvalidValue, SourceError, tree
from tests.sources.tree.reader import make_options, note_of, read_once, write
from tests.workers.support import SECRET

if TYPE_CHECKING:
    from pathlib import Path

TOO_MANY = f"more than {KEY_LIMIT} files and folders"


def test_a_folder_is_an_interface(tmp_path: Path) -> None:
    """The first folder of a file's name is its interface, the rest its key; others are names alone."""
    write(tmp_path, {"app/password": SECRET, "app/pool/size": "4", "db/host": "db1", "other/host": SECRET, "more": SECRET})
    assert read_once(tmp_path) == {
        "app": {"password": SECRET, "pool": {"size": "4"}}, "db": {"host": "db1"}, "other": None, "more": None,
    }  # fmt: skip


def test_interface_of_all_files(tmp_path: Path) -> None:
    """With `interface` all files are keys of that one, those in folders too."""
    write(tmp_path, {"password": "x", "pool/size": "4"})
    assert read_once(tmp_path, interface="app") == {"app": {"password": "x", "pool": {"size": "4"}}}


def test_map(tmp_path: Path) -> None:
    """With `map` a file has another key, of whatever interface; the others stay what they are."""
    write(tmp_path, {"db_password": "x", "folder/api key": "y", "port": "1", "whole": '{"a": 1}'})
    mapping = "db_password=db/auth/password, folder/api key = db/key ,whole=app,port=elsewhere/port"
    assert read_once(tmp_path, map=mapping) == {
        "db": {"auth": {"password": "x"}, "key": "y"}, "app": '{"a": 1}', "elsewhere": None
    }  # fmt: skip
    assert read_once(tmp_path, map="db_password=db/password", interface="app") == {
        "db": {"password": "x"}, "app": {"folder": {"api key": "y"}, "port": "1", "whole": '{"a": 1}'},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("content", "value"),
    [
        ("x", "x"),
        ("x\n", "x"),
        ("x\n\n", "x\n"),
        ("\n", ""),
        ("", ""),
        (" x\r\n", " x\r"),
        ("a\nb\n", "a\nb"),
        ("\0", "\0"),
        ("ü", "ü"),
    ],
)
def test_one_newline_at_the_end_is_none_of_the_value(tmp_path: Path, content: str, value: str) -> None:
    """Of what a file holds one newline at its end is dropped, and nothing else."""
    write(tmp_path, {"app/a": content})
    assert read_once(tmp_path) == {"app": {"a": value}}


def test_hidden_entries(tmp_path: Path) -> None:
    """Names that begin with two dots are kubelet's own; a name with one dot is a key, as in a Secret for a registry."""
    write(tmp_path, {"app/.dockerconfigjson": "x", "app/..hidden": "y", "app/..2026/z": "z", "..more/z": "z"})
    assert read_once(tmp_path) == {"app": {".dockerconfigjson": "x"}}


def test_file_and_folder(tmp_path: Path) -> None:
    """A key that is a value and a folder is merged if it is a JSON object; else it, and what has two files, is of no use."""
    write(tmp_path, {"a": "x", "b": "y", "c": '{"n": 1}', "app/same": "z"})
    assert read_once(tmp_path, map="a=db/x,b=db/x/y,c=app/x,app/same=app/x/m") == {
        "db": {"x": InvalidValue("is both a value and a folder; only a JSON object can be both")},
        "app": {"x": {"n": 1, "m": "z"}},
    }
    assert read_once(tmp_path, map="a=app/same,b=other/b,c=other/c")["app"] == {"same": InvalidValue("is in two files")}


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (os.mkfifo, "is a FIFO, not a regular file"),
        (lambda path: os.mknod(path, stat.S_IFSOCK), "is a socket, not a regular file"),
        (lambda path: path.symlink_to("/dev/zero"), "is a link out of the folder"),
        (lambda path: path.symlink_to("../../../etc/passwd"), "is a link out of the folder"),
        (lambda path: path.symlink_to("/etc/passwd"), "is a link out of the folder"),
        (lambda path: path.symlink_to("odd"), "is a link that leads to itself"),
        (lambda path: path.symlink_to("."), "is a link to a folder that it is in"),
        (lambda path: path.symlink_to(".."), "is a link to a folder that it is in"),
        (lambda path: path.write_bytes(b"\xff" + SECRET.encode()), "is no UTF-8 text"),
        (lambda path: os.truncate(path, path.touch() or 1 << 30), "is larger than 16 MiB"),
    ],
)
def test_an_entry_that_is_of_no_use(tmp_path: Path, make: object, reason: str) -> None:
    """What cannot be a value makes its own interface invalid, with the reason, and no other."""
    write(tmp_path, {"app/a": "x", "db/a": "y"})
    make(tmp_path / "app" / "odd")  # type: ignore[operator]
    assert read_once(tmp_path) == {"app": {"a": "x", "odd": InvalidValue(reason)}, "db": {"a": "y"}}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes devices")
def test_a_device(tmp_path: Path) -> None:
    """A device is not opened."""
    write(tmp_path, {"db/a": "y"})
    try:
        os.mknod(tmp_path / "db" / "tty", 0o20666, os.makedev(5, 0))
    except PermissionError:
        pytest.skip("no devices can be made here")
    assert read_once(tmp_path)["db"]["tty"] == InvalidValue("is a device, not a regular file")


def test_what_may_not_be_read(open_folder: Path) -> None:
    """A file and a folder that this user may not read make their interfaces invalid; the folder itself is an error."""
    write(open_folder, {"app/secret": SECRET, "app/a": "x", "db/folder/a": "y"})
    (open_folder / "app" / "secret").chmod(0)
    (open_folder / "db" / "folder").chmod(0)
    denied = InvalidValue("cannot be read: Permission denied")
    user = os.geteuid()
    if user == 0:
        os.seteuid(54321)
    try:
        assert read_once(open_folder) == {"app": {"a": "x", "secret": denied}, "db": {"folder": denied}}
        if user == 0:
            os.seteuid(0)
        open_folder.chmod(0)
        if user == 0:
            os.seteuid(54321)
        with pytest.raises(SourceError, match=": Permission denied"):
            read_once(open_folder)
    finally:
        os.seteuid(user)
        open_folder.chmod(0o755)
        (open_folder / "db" / "folder").chmod(0o755)


def test_links_inside(tmp_path: Path) -> None:
    """Links that stay in the folder are followed: to files and folders, through others, relative and absolute."""
    write(tmp_path, {"db/a": "y", "store/deep/a": "x"})
    (tmp_path / "hop").symlink_to("store/../store/./deep")
    (tmp_path / "app").symlink_to("hop")
    (tmp_path / "db" / "b").symlink_to(tmp_path / "hop" / "a")
    assert read_once(tmp_path) == {"app": {"a": "x"}, "db": {"a": "y", "b": "x"}, "hop": None, "store": None}
    (tmp_path / "mount").symlink_to(".")
    assert read_once(tmp_path / "mount")["app"] == {"a": "x"}


def test_links_that_multiply(tmp_path: Path) -> None:
    """Folders with links to one another that make ever more names cost no more than the limit."""
    for level in range(20):
        (tmp_path / "app" / f"{level}").mkdir(parents=True)
        for name in "ab":
            (tmp_path / "app" / f"{level}" / name).symlink_to(f"../{level + 1}")
    with pytest.raises(SourceError, match=rf"more than {KEY_LIMIT} files and folders"):
        read_once(tmp_path)


def test_names(tmp_path: Path) -> None:
    """What is no key is told in a note, its name escaped and cut, with the reason; the rest goes on."""
    write(tmp_path, {"app/a": "x", "app/new\nline": "y"})
    (tmp_path / "app" / os.fsdecode(b"\xff" + b"x" * 200)).touch()
    (tmp_path / "app" / "nowhere").symlink_to("no-such-file")
    (tmp_path / os.fsdecode(b"\xfe")).mkdir()
    assert read_once(tmp_path) == {"app": {"a": "x", "new\nline": "y"}}
    told = note_of(tmp_path)
    assert told.startswith("3 names left out: app/nowhere (a link to nothing), app/\\udcffxxx")
    assert told.endswith("…, \\udcfe (its name is no UTF-8)")


def test_notes_for_people_who_forgot_something(tmp_path: Path) -> None:
    """Nothing there, files without an interface, and files in `map` that are not there, are told with what to set."""
    assert note_of(tmp_path) == "no file there: is it mounted?"
    write(tmp_path, {"user": "x", "password": SECRET})
    assert note_of(tmp_path) == (
        "2 files directly in the folder, where they have no interface: password, user; set fake.interface or fake.map"
    )
    assert note_of(tmp_path, interface="app") == ""
    assert (
        note_of(tmp_path, interface="app", map="pasword=db/password,x=other/y") == "fake.map names what is no file there: pasword"
    )


def test_depth(tmp_path: Path) -> None:
    """What lies too deep makes its interface invalid, and costs nothing more."""
    write(tmp_path, {"app/" + "d/" * (DEPTH_LIMIT - 2) + "a": "x", "db/" + "d/" * 200 + "a": "x"})
    found = read_once(tmp_path)
    assert "InvalidValue" not in repr(found["app"])
    assert repr(found["db"]).count("d") > DEPTH_LIMIT - 2
    assert "InvalidValue('is deeper than 64 levels')" in repr(found["db"])


def test_many_files(tmp_path: Path) -> None:
    """A folder with more entries than the limit is an error; one that belongs to no interface is not even looked into."""
    folder = tmp_path / "foreign"
    folder.mkdir()
    for number in range(KEY_LIMIT + 1):
        os.symlink("x", folder / f"{number}")
    write(tmp_path, {"app/a": "x"})
    assert read_once(tmp_path) == {"app": {"a": "x"}, "foreign": None}
    folder.rename(tmp_path / "db")
    with pytest.raises(SourceError, match=rf"more than {KEY_LIMIT} files and folders"):
        read_once(tmp_path)


def test_size_of_all_files(tmp_path: Path) -> None:
    """All files together are limited."""
    write(tmp_path, {"app/a": b"x" * (9 << 20), "db/a": b"x" * (9 << 20)})
    with pytest.raises(SourceError, match="all files together are larger than 16 MiB"):
        read_once(tmp_path)
    write(tmp_path, {"db/a": b"x" * (7 << 20)})
    assert len(read_once(tmp_path)["db"]["a"]) == 7 << 20


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda _path: None, "No such file or directory"),
        (lambda path: path.write_text(SECRET), "not a folder"),
        (os.mkfifo, "not a folder"),
        (lambda path: path.symlink_to(path), "Too many levels of symbolic links"),
    ],
)
def test_no_folder(tmp_path: Path, make: object, reason: str) -> None:
    """A folder that is not there, or is something else, is an error with its name, tried again after `interval`."""
    folder = tmp_path / "new\nline"
    make(folder)  # type: ignore[operator]
    with pytest.raises(SourceError) as error:
        read_once(folder)
    assert error.value.reason == f"{tmp_path}/new\\nline: {reason}"
    assert error.value.retry_after == 0.01


def test_options() -> None:
    """Options that are wrong, or contradict one another, are told."""
    assert [problem.place for problem in tree.SOURCE.check(make_options())] == ["path"]
    doubled = make_options(path="/x", map="a=db/x,b=db/x,a=db/y")
    assert [problem.message for problem in tree.SOURCE.check(doubled)] == ["names the file a twice", "names the key db/x twice"]
    for name, wrong in [
        ("interface", "a/b"),
        ("interface", ""),
        *(("map", text) for text in ("a", "a=", "=b", "../a=b", "a//b=c", ",")),
    ]:
        with pytest.raises(ValueError, match=r"a list|interface"):
            make_options(path="/x", **{name: wrong})


def test_what_it_provides() -> None:
    """With `interface` it can provide that one, and those in `map`; else any."""
    names = frozenset({"app", "db", "web"})
    for texts, expected in [
        ({}, names),
        ({"interface": "app"}, {"app"}),
        ({"interface": "app", "map": "x=db/x"}, {"app", "db"}),
        ({"map": "x=db/x"}, names),
    ]:
        assert tree.SOURCE.provides(make_options(path="/x", **texts), "", names) == expected
    assert tree.SOURCE.place(make_options(path="/x"), "") == "/x/*"
    assert tree.SOURCE.place(make_options(path="/x", interface="app"), "") == "/x"
