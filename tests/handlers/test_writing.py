"""Writing: a target changes whole or not at all, is its owner's before it holds anything, and outlives every failure."""

from __future__ import annotations

import json
import os
import pwd
import re
import signal
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from lab.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

COMMAND = str(Path(sys.executable).with_name("disco-render"))
SECRET = "hunter2"
IN_NAMESPACE = ["unshare", "--mount", "sh", "-ec"]

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def can_mount() -> bool:
    return os.geteuid() == 0 and subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode == 0


with_mounts = pytest.mark.skipif(not can_mount(), reason="no right to make namespaces here")


def start(folder: Path, *words: str, value: Any = "new", before: Sequence[str] = (), **kwargs: Any) -> subprocess.Popen[str]:
    """Start a disco-render that writes `value` into the target."""
    (folder / "t.j2").write_text("{{ app.value }}\n")
    (folder / "input").write_text(json.dumps({"app": {"value": value}}))
    with (folder / "input").open() as stdin:
        return subprocess.Popen(
            [*before, COMMAND, str(folder / "t.j2"), *words],
            cwd=folder,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **kwargs,
        )


def render(folder: Path, *words: str, **kwargs: Any) -> tuple[int, str]:
    """Write `value` into the target; return the exit status, and what was printed. No file is left behind."""
    process = start(folder, *words, **kwargs)
    stdout, stderr = process.communicate(timeout=60)
    assert not [name for name in os.listdir(folder) if name.endswith(".disco")]
    return process.returncode, stdout + stderr


def state(path: Path) -> tuple[str, str, int, int]:
    """Return content, mode, inode and time of a file."""
    status = path.stat()
    return path.read_text(), oct(stat.S_IMODE(status.st_mode)), status.st_ino, status.st_mtime_ns


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """Give a target with an old content."""
    path = tmp_path / "target.conf"
    path.write_text("old\n")
    path.chmod(0o640)
    return path


def test_a_new_target(tmp_path: Path) -> None:
    """A target that was not there gets the mode that the umask makes, or the one that is given."""
    assert render(tmp_path, "a", umask=0o027) == (0, "a: written\n")
    assert render(tmp_path, "b", "--mode", "600", umask=0o027) == (0, "b: written\n")
    assert state(tmp_path / "a")[:2] == ("new\n", "0o640")
    assert state(tmp_path / "b")[:2] == ("new\n", "0o600")


def test_a_target_is_replaced(target: Path) -> None:
    """A target is replaced by a new file with the old one's mode."""
    before = state(target)
    assert render(target.parent, str(target)) == (0, f"{target}: written\n")
    after = state(target)
    assert after[:2] == ("new\n", "0o640")
    assert after[2] != before[2]


def test_an_unchanged_target_is_not_touched(target: Path) -> None:
    """A target that has the content already is not written, and not checked; its mode is corrected."""
    before = state(target)
    assert render(target.parent, str(target), "--check", "false {}", value="old") == (0, f"{target}: unchanged\n")
    assert state(target) == before
    assert render(target.parent, str(target), "--mode", "0600", value="old") == (
        0,
        f"{target}: unchanged but for its mode or owner\n",
    )
    assert state(target) == (before[0], "0o600", *before[2:])


def test_the_check(target: Path) -> None:
    """A check gets the new file, which has the target's mode by then and a name that no pattern of a service finds."""
    script = f'cat "$1"; stat -c %a "$1"; echo "$1" >&2; cat {target}'
    status, output = render(target.parent, str(target), "--mode", "0604", "--check", f"sh -c '{script}' sh {{}}")
    assert status == 0
    lines = output.splitlines()
    assert lines[0] == f"{target}: written"
    assert lines[1:3] == ["new", "604"]
    assert re.fullmatch(rf"{target.parent}/\.target\.conf\.\w+\.disco", lines[3])
    assert lines[4] == "old"


@pytest.mark.parametrize(
    ("check", "status", "message"),
    [
        ("sh -c 'exit 3' {}", 65, "{target} stays as it was: sh refused the new one with exit status 3"),
        ("sh -c 'kill $$' {}", 1, "--check: sh was killed by signal 15"),
        ("/none/program {}", 1, "--check: /none/program cannot be started: No such file or directory"),
        ("/dev/null {}", 1, "--check: /dev/null cannot be started: Permission denied"),
    ],
)
def test_a_check_that_fails(target: Path, check: str, status: int, message: str) -> None:
    """What a check refuses is the data's fault (65), and a check that cannot judge is none (1); the target stays as it was."""
    before = state(target)
    done = render(target.parent, str(target), "--check", check, value=SECRET)
    assert done[0] == status
    assert done[1].startswith(f"disco-render: {message.replace('{target}', str(target))}")
    assert done[1].count("\n") == 1
    assert SECRET not in done[1]
    assert state(target) == before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_leaves_nothing_behind(target: Path, number: signal.Signals) -> None:
    """A signal during the check ends disco-render and the check, and leaves the target and no other file."""
    before = state(target)
    process = start(target.parent, str(target), "--check", f"sh -c 'echo $$ > {target}.pid; exec sleep 1000' {{}}")
    pid = Path(f"{target}.pid")
    eventually(lambda: pid.exists() and pid.read_text().endswith("\n"), "the check")
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == -number
    assert not Path(f"/proc/{pid.read_text().strip()}").exists()
    assert state(target) == before
    assert not [name for name in os.listdir(target.parent) if name.endswith(".disco")]


def test_what_a_killed_call_has_left(target: Path) -> None:
    """A call that is killed leaves its new file, and the next one removes it; the file of a call that still runs stays."""

    def start_check(name: str) -> subprocess.Popen[str]:
        os.mkfifo(target.parent / name)
        process = start(target.parent, str(target), "--check", f"sh -c 'echo $$ > {name}.pid; read line < {name}' {{}}", value=name)
        eventually(lambda: bool(Path(f"{target.parent}/{name}.pid").exists()), "the check")
        return process

    def new_files() -> int:
        return len([name for name in os.listdir(target.parent) if name.endswith(".disco")])

    killed, running = start_check("killed"), start_check("running")
    killed.kill()
    (target.parent / "killed").write_text("\n")  # ends the check
    killed.communicate(timeout=60)
    assert new_files() == 2
    assert start(target.parent, str(target)).communicate(timeout=60) == (f"{target}: written\n", "")
    assert new_files() == 1
    (target.parent / "running").write_text("\n")
    assert running.communicate(timeout=60) == (f"{target}: written\n", "")
    assert new_files() == 0
    assert target.read_text() == "running\n"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        ("mkdir x", "x is not a regular file"),
        ("mkfifo x", "x is not a regular file"),
        ("ln -s x x", "x: too many links"),
        ("ln -s none/y x", "no file can be written in none: No such file or directory"),
        ("truncate -s 65M x", "x is larger than 64 MiB"),
    ],
)
def test_what_is_no_target(tmp_path: Path, make: str, message: str) -> None:
    """What is no regular file is not replaced; one line says why."""
    subprocess.run(["sh", "-c", make], cwd=tmp_path, check=True)
    assert render(tmp_path, "x") == (1, f"disco-render: {message}\n")


def test_a_folder_that_is_missing(tmp_path: Path) -> None:
    """Where the target's folder is missing, one line names it."""
    assert render(tmp_path, "none/x") == (1, "disco-render: no file can be written in none: No such file or directory\n")


def test_a_link_is_followed(target: Path) -> None:
    """A link stays, and the file at its end is written, beside itself; so is one that is not there yet."""
    folder = target.parent / "links"
    folder.mkdir()
    (folder / "a").symlink_to("b")
    (folder / "b").symlink_to("../target.conf")
    (folder / "c").symlink_to("../new.conf")
    assert render(target.parent, "links/a") == (0, "links/a: written\n")
    assert (folder / "a").is_symlink()
    assert target.read_text() == "new\n"
    assert render(target.parent, "links/c") == (0, "links/c: written\n")
    assert (target.parent / "new.conf").read_text() == "new\n"


@as_root
def test_another_users_link_is_not_followed(target: Path) -> None:
    """A link that another user made could lead anywhere."""
    (target.parent / "link").symlink_to(target)
    os.chown(target.parent / "link", 1, 1, follow_symlinks=False)
    assert render(target.parent, "link") == (1, "disco-render: link is another user's link: it could lead anywhere\n")
    assert target.read_text() == "old\n"


@as_root
@pytest.mark.parametrize(
    ("words", "owner"),
    [("daemon", (1, 0)), ("daemon:bin", (1, 2)), (":bin", (0, 2)), ("12345:54321", (12345, 54321))],
)
def test_owner(tmp_path: Path, words: str, owner: tuple[int, int]) -> None:
    """The owner is given by names or numbers; what is not given is as it is."""
    assert pwd.getpwnam("daemon").pw_uid == 1
    assert render(tmp_path, "x", "--owner", words, "--mode", "0400") == (0, "x: written\n")
    status = (tmp_path / "x").stat()
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (*owner, 0o400)


@as_root
def test_the_owner_comes_before_the_content(tmp_path: Path) -> None:
    """From its first byte on the new file has its owner and its mode: the kernel says in which order they came."""
    trace = subprocess.run(["sh", "-c", "command -v strace"], capture_output=True, check=False)
    if trace.returncode:
        pytest.skip("no strace here")
    render(tmp_path, "x", "--owner", "daemon:bin", "--mode", "0640", before=["strace", "-f", "-o", str(tmp_path / "trace")])
    calls = re.findall(r" (openat|fchown|fchmod|pwrite64|fsync|rename)\(", (tmp_path / "trace").read_text().split(".disco", 1)[1])
    assert [call for call in calls if call != "openat"][:6] == ["fchown", "fchmod", "pwrite64", "fsync", "rename", "fsync"]


@as_root
def test_the_owner_is_kept(target: Path) -> None:
    """Without --owner a target keeps its owner, and an unchanged one gets the owner that is given."""
    os.chown(target, 1, 2)
    assert render(target.parent, "target.conf") == (0, "target.conf: written\n")
    assert (target.stat().st_uid, target.stat().st_gid) == (1, 2)
    assert render(target.parent, "target.conf", "--owner", "bin") == (0, "target.conf: unchanged but for its mode or owner\n")
    assert (target.stat().st_uid, target.stat().st_gid) == (2, 2)


@as_root
def test_an_owner_that_is_not_there(target: Path) -> None:
    """A user or group that nobody knows is one line, and nothing is written."""
    for owner in ("nobody-of-that-name", "daemon:none", "\x1b[31m", "4294967295", ":99999999999", "²"):
        status, output = render(target.parent, "target.conf", "--owner", owner)
        assert status == 1
        assert re.fullmatch(r"disco-render: --owner \S+: there is no such user or group\n", output)
    assert target.read_text() == "old\n"


@pytest.fixture
def open_target() -> Iterator[Path]:
    """Give a target in a folder that other users may look into. Those of pytest are closed, and closed again by each pytest."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        path = Path(name, "target.conf")
        path.write_text("old\n")
        path.chmod(0o640)
        yield path


@pytest.fixture
def as_other() -> list[str]:
    """Give the words that make a program that of another user, who has a second group."""
    words = ["setpriv", "--reuid=12345", "--regid=12345", "--groups=12346"]
    done = subprocess.run([*words, COMMAND, "-h"], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"another user finds no Python here: {done.stderr}")
    return words


@as_root
def test_the_group_is_kept_where_the_user_cannot_be(open_target: Path, as_other: list[str]) -> None:
    """Another user who may not give the new file to the old one's user gives it to its group, if he is in that."""
    target = open_target
    folder = target.parent / "theirs"
    folder.mkdir()
    target.rename(folder / "x")
    os.chown(folder, 12345, 12345)
    os.chown(folder / "x", 0, 12346)
    (folder / "x").chmod(0o644)
    assert render(target.parent, "theirs/x", before=as_other) == (0, "theirs/x: written\n")
    status = (folder / "x").stat()
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (12345, 12346, 0o644)


@as_root
def test_a_user_without_rights(open_target: Path, as_other: list[str]) -> None:
    """Another user gets one line, whether the folder is closed or the owner cannot be given; the target stays."""
    target = open_target
    target.chmod(0o644)
    done = render(target.parent, "target.conf", before=as_other)
    assert done == (1, "disco-render: no file can be written in .: Permission denied\n")
    folder = target.parent / "theirs"
    folder.mkdir()
    os.chown(folder, 12345, 12345)
    done = render(target.parent, "theirs/x", "--owner", "root", before=as_other)
    assert done == (1, "disco-render: theirs/x: --owner: Operation not permitted\n")
    assert not list(folder.iterdir())
    assert target.read_text() == "old\n"


def mounted(folder: Path, script: str, *words: str, **kwargs: Any) -> tuple[int, str]:
    """Run disco-render where `target.conf` is a mount of the file `outside`, after more of a shell's script."""
    mount = f"mount --bind outside target.conf; {script}"
    return render(folder, *words, before=[*IN_NAMESPACE, f'{mount} exec "$@"', "sh"], **kwargs)


@with_mounts
def test_a_mount_is_written_in_place(target: Path) -> None:
    """A file that is a mount is written in place, with mode and check; so it is where its folder is read-only."""
    outside = target.parent / "outside"
    for number, script in enumerate(
        ["", "mkdir ro; mount --bind . ro; mount -o remount,ro,bind ro; mount --bind outside ro/target.conf; cd ro;"]
    ):
        outside.write_text("a longer old content\n")
        inode = outside.stat().st_ino
        done = mounted(target.parent, script, "target.conf", "--mode", "0600", "--check", "grep -q new {}", value=f"new{number}")
        assert done == (0, "target.conf: written\n")
        assert state(outside)[:3] == (f"new{number}\n", "0o600", inode)
    assert target.read_text() == "old\n"


@with_mounts
def test_a_mount_of_another_users_file(open_target: Path, as_other: list[str]) -> None:
    """Another user writes a mount that everybody may write, and keeps its mode; another mode is refused, and nothing written."""
    target, script = open_target, f'set -- {" ".join(as_other)} "$@";'
    outside = target.parent / "outside"
    outside.write_text("old\n")
    outside.chmod(0o666)
    before = state(outside)
    done = mounted(target.parent, script, "target.conf", "--mode", "0600")
    assert done == (1, "disco-render: target.conf: --mode: Operation not permitted\n")
    assert state(outside)[:3] == before[:3]
    assert mounted(target.parent, script, "target.conf") == (0, "target.conf: written\n")
    assert state(outside)[:3] == ("new\n", *before[1:3])


@with_mounts
def test_a_check_refuses_a_mount(target: Path) -> None:
    """A file that is a mount stays as it was where the check refuses the new one."""
    outside = target.parent / "outside"
    outside.write_text("outside\n")
    before = state(outside)
    assert mounted(target.parent, "", "target.conf", "--check", "false {}")[0] == 65
    assert state(outside) == before


@with_mounts
def test_a_full_disk(tmp_path: Path) -> None:
    """On a full disk the target stays as it was, whether it is renamed over or written in place."""
    (tmp_path / "disk").mkdir()
    script = (
        "mount -t tmpfs -o size=64k none disk; echo old > disk/target; echo old > disk/inside; touch mounted; "
        "mount --bind disk/inside mounted; head -c 40000 /dev/zero > disk/filler; "
    )
    show = "; status=$?; cat disk/target disk/inside; ls -A disk | wc -l; exit $status"
    for target in ("disk/target", "mounted"):
        run = f'{script} set +e; "$@" {show}'
        status, output = render(tmp_path, target, value="x" * 40_000, before=[*IN_NAMESPACE, run, "sh"])
        assert status == 1
        assert sorted(output.splitlines()) == sorted([f"disco-render: {target}: No space left on device", "old", "old", "3"])


def test_the_old_content_is_written_back(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where writing in place fails half way, the old content, mode and length come back."""
    from disco.handlers import writing
    from disco.handlers.destination import Destination, read_old

    old = read_old(str(target))
    assert old
    calls = []

    def fail_once(descriptor: int, data: bytes, offset: int) -> int:
        calls.append(offset)
        if len(calls) == 2:
            raise OSError(5, "Input/output error")
        return pwrite(descriptor, data[:3], offset)

    pwrite = os.pwrite
    monkeypatch.setattr(os, "pwrite", fail_once)
    with pytest.raises(OSError, match="Input/output"):
        writing._overwrite(Destination(str(target), 0o600), b"a longer new content\n", old)
    assert state(target)[:2] == ("old\n", "0o640")


def test_room_is_reserved_before_the_old_content_goes(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no room for a longer content, nothing of it is written in place."""
    from disco.handlers import writing
    from disco.handlers.destination import Destination, read_old

    old = read_old(str(target))
    assert old
    written: list[bytes] = []

    def fail(_descriptor: int, _offset: int, _size: int) -> None:
        raise OSError(28, "No space left on device")

    def record(descriptor: int, data: bytes, offset: int) -> int:
        written.append(bytes(data))
        return pwrite(descriptor, data, offset)

    pwrite = os.pwrite
    monkeypatch.setattr(os, "posix_fallocate", fail)
    monkeypatch.setattr(os, "pwrite", record)
    with pytest.raises(OSError, match="No space"):
        writing._overwrite(Destination(str(target)), b"a longer new content\n", old)
    assert written == [b"old\n"]
    assert target.read_text() == "old\n"
