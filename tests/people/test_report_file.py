"""disco.report_file: where the last report stays, and what nobody can make disco do with it."""

from __future__ import annotations

import os
import select
from typing import TYPE_CHECKING

import pytest

from tests.people.test_check import check, told
from tests.test_exec import needs_unshare

if TYPE_CHECKING:
    from lab.site import Site

BEGIN = "echo is not started: disco.timeout passed; "


@pytest.fixture
def failing(site: Site) -> Site:
    """Give a site whose disco ends with a report in FOLDER/place/report; what is there else is to be left alone."""
    site.simple()
    site.flat({})
    (site.folder / "place").mkdir()
    (site.folder / "victim").write_text("precious")
    site.cfg |= {"disco.report_file": str(site.folder / "place/report"), "disco.timeout": "300ms"}
    return site


def run(site: Site, **more: object) -> str:
    """Return the log of a disco that ends with its report, and has left nothing beside the file."""
    running = site.run(options=(), **more)
    assert running.process.returncode in {69, 75}, running.log  # under load nothing has answered by then
    assert set(os.listdir(site.folder / "place")) <= {"report", "report.new"}
    assert (site.folder / "victim").read_text() == "precious"
    return running.log


def test_absent_and_regular_files(failing: Site) -> None:
    """A file that is not there is made, and one that is there is replaced as a whole: whoever has it open sees the old one."""
    path = failing.folder / "place/report"
    run(failing)
    assert path.read_text().startswith(BEGIN)
    path.write_text("x" * 10_000)
    path.chmod(0o666)
    with path.open() as old:
        run(failing)
        assert old.read() == "x" * 10_000
    assert path.read_text().startswith(BEGIN)
    assert path.stat().st_mode & 0o777 == 0o644


def test_the_next_name_is_not_known(failing: Site) -> None:
    """Nothing that somebody laid out beside the file under a name of disco's leads it elsewhere."""
    (failing.folder / "place/report.new").symlink_to(failing.folder / "victim")
    run(failing)
    assert (failing.folder / "place/report").read_text().startswith(BEGIN)
    assert (failing.folder / "place/report.new").is_symlink()


@pytest.mark.parametrize("mode", [0o755, 0o777])
def test_links(failing: Site, mode: int) -> None:
    """A link to a file is neither followed nor replaced, and the log says so."""
    path = failing.folder / "place/report"
    path.symlink_to(failing.folder / "victim")
    path.parent.chmod(mode)
    assert f"disco.report_file: {path}: " in run(failing)
    assert path.is_symlink()


def test_fifo(failing: Site) -> None:
    """A FIFO keeps disco waiting for no reader, and gets nothing; it stays."""
    path = failing.folder / "place/report"
    os.mkfifo(path)
    assert f"disco.report_file: {path}: " in run(failing)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    assert "neither a regular file nor a device" in run(failing)
    assert os.read(reader, 10) == b""
    os.close(reader)
    assert path.is_fifo()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes devices")
def test_device(failing: Site) -> None:
    """A device is written to, and stays what it is."""
    path = failing.folder / "place/report"
    os.mknod(path, 0o666 | 0o020000, os.makedev(1, 3))  # as /dev/null
    assert "disco.report_file" not in run(failing)
    assert path.is_char_device()


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_standard_output(failing: Site, name: str) -> None:
    """A link such as /dev/stdout leads to where that goes, a file or a pipe, and stays; what is there already stays too."""
    path = failing.folder / "place/report"
    path.symlink_to(f"/proc/self/fd/{1 if name == 'stdout' else 2}")
    run(failing)
    assert BEGIN in (failing.folder / name).read_text()
    assert path.is_symlink()
    reader, writer = os.pipe()
    (failing.start(options=(), stdout=writer) if name == "stdout" else failing.start(options=(), stderr=writer)).wait()
    os.close(writer)
    with open(reader, "rb") as pipe:
        assert BEGIN.encode() in pipe.read()


def test_pipe_that_nobody_reads(failing: Site) -> None:
    """A full pipe keeps disco from nothing."""
    (failing.folder / "place/report").symlink_to("/proc/self/fd/1")
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    while select.select([], [writer], [], 0)[1]:
        os.write(writer, b"x" * 4096)
    os.set_blocking(writer, True)
    run(failing, stdout=writer)
    os.close(reader)
    os.close(writer)


@needs_unshare
def test_mounted_file(failing: Site) -> None:
    """A file that is mounted, as a termination log is, is written in place, also in a folder that is read-only."""
    path = failing.folder / "place/report"
    log = failing.folder / "log"
    for text in ("", "x" * 10_000):
        path.touch()
        log.write_text(text)
        mount = f"mount --bind {log} {path} && mount --bind {path.parent} {path.parent} && mount -o remount,ro,bind {path.parent}"
        for script in (
            f"mount --bind {log} {path}",
            mount.replace(f"mount --bind {log} {path} && ", "") + f" && mount --bind {log} {path}",
        ):
            log.write_text(text)
            assert "disco.report_file" not in run(
                failing, before=("unshare", "--mount", "sh", "-c", f'{script} && exec "$@"', "sh")
            )
            assert log.read_text().startswith(BEGIN)
            assert len(log.read_text()) < 4097


def test_text_is_cut_between_characters(failing: Site) -> None:
    """The file has at most 4 KiB, and no half of a character."""
    for number in range(20):
        failing.schema(f"app{number}")
    failing.rules(*({"when": f"app{number}", "do": "see", "name": f"{'€' * 70}{number}"} for number in range(20)))
    for shift in range(3):
        running = failing.run("echo" + "x" * shift, options=())
        assert running.process.returncode in {69, 75}
        content = (failing.folder / "place/report").read_bytes()
        assert 4090 < len(content) <= 4096
        assert content.decode().startswith("echo")


def test_folder_of_others(failing: Site) -> None:
    """--check warns of a folder that others may write to."""
    assert check(failing) == (0, [], [])
    folder = failing.folder / "place"
    folder.chmod(0o1777)
    assert told(check(failing)[2]) == [("disco.report_file", f"others may write to {folder}, and put anything in the file's place")]


def test_folder_that_is_not_there(failing: Site) -> None:
    """A folder that is not there is told in the log, and by --check nothing: it may come with the container."""
    failing.cfg["disco.report_file"] = str(failing.folder / "absent/report")
    assert f"disco.report_file: {failing.folder}/absent/report: No such file" in run(failing)
    assert check(failing) == (0, [], [])
