"""What people are told when something is wrong: the help, and words in the place of a traceback."""

from __future__ import annotations

import os
import re
import subprocess
from typing import TYPE_CHECKING

import pytest
from lab.site import disco_command

from disco.errors import ExitStatus

if TYPE_CHECKING:
    from typing import Any

    from lab.site import Site

# The help


def test_help_is_no_higher_than_a_screen() -> None:
    """-h is at most 24 lines."""
    assert len(get_help().splitlines()) <= 24


def test_help_is_no_wider_than_a_screen() -> None:
    """No line of -h has more than 100 characters."""
    assert [line for line in get_help().splitlines() if len(line) > 100] == []


def test_help_names_every_exit_status() -> None:
    """-h tells what each status means that disco can end with."""
    told = get_help().partition("exit status:")[2]
    names = {int(status): str(int(status)) for status in ExitStatus} | {128: "128+N"}
    assert [name for name in names.values() if not re.search(rf"(?<!\d){re.escape(name)}(?!\d)", told)] == []


def get_help() -> str:
    return subprocess.run([*disco_command(), "-h"], capture_output=True, text=True, check=True).stdout


# A bug in disco

BAD = "def bad(*_, **__): raise RuntimeError('hunt' + 'er2')\n"
BUGS = {
    "in the command line": "from disco import arguments; arguments.parse = bad",
    "before anything is started": "from disco.site import loading; loading.load = bad",
    "while children run": "from disco.core.lifecycle import Lifecycle; Lifecycle.handle = bad",
    "at exec": "from disco.system import programs; programs.execute = bad",
}
BUG = r"disco: a bug in disco: RuntimeError at \S+:\d+ .*report it\n"


@pytest.mark.parametrize("bug", BUGS.values(), ids=BUGS)
def test_a_bug_is_one_line(site: Site, bug: str) -> None:
    """A bug in disco ends it with 71, and one line that says so: no traceback, and not the exception's text."""
    site.simple()
    running = site.run(options=("-l", "ERROR"), prologue=BAD + bug)
    assert running.process.returncode == 71
    assert re.fullmatch(BUG, running.log), running.log


def test_a_bug_is_traced_for_those_who_ask(site: Site) -> None:
    """With -l DEBUG the way to a bug comes first, without the exception's text, and the same line last."""
    site.simple()
    running = site.run(options=("-l", "DEBUG"), prologue=BAD + BUGS["while children run"])
    assert running.process.returncode == 71
    assert re.search(r'File ".*", line \d+, in bad', running.log), running.log
    assert "hunter2" not in running.log
    assert re.fullmatch(BUG, running.log.splitlines(keepends=True)[-1]), running.log


# Everything else that can be wrong

GARBAGE = bytes(range(256))
COMMAND = ("echo", "done")
WRONG = {
    "an unknown option": (64, "--verbos not recognized", ("--verbos", *COMMAND), {}),
    "an option without its value": (64, "-l requires", ("-l",), {}),
    "an unknown level": (64, "-l takes DEBUG", ("-l", "LOUD", *COMMAND), {}),
    "no COMMAND": (64, "no COMMAND to start", (), {}),
    "an option with a newline and an escape": (64, r"--a\nb\x1b[31m not", ("--a\nb\x1b[31m", *COMMAND), {}),
    "an empty -c": (64, "-c needs a FILE", ("-c", "", *COMMAND), {}),
    "a -c that is not there": (78, "disco: -c: nowhere.yaml: No such", ("-c", "nowhere.yaml", *COMMAND), {}),
    "a -c that is a directory": (78, "not a regular file", ("-c", "etc", *COMMAND), {}),
    "a -c of garbage": (78, "etc/garbage", ("-c", "etc/garbage", *COMMAND), {"garbage": GARBAGE}),
    "a schema that is a directory": (78, "interface app has no schema", COMMAND, {"app.schema": None}),
    "a schema of garbage": (78, "app.schema:2:", COMMAND, {"app.schema": GARBAGE}),
    "a schema without end": (78, "app.schema", COMMAND, {"app.schema": b"[" * 100_000}),
    "rules of garbage": (78, "site.rules:2:", COMMAND, {"site.rules": GARBAGE}),
    "rules of UTF-16": (78, "site.rules:1:", COMMAND, {"site.rules": "rules: []".encode("utf-16")}),
    "rules without end": (78, "site.rules", COMMAND, {"site.rules": b"rules: " + b"{" * 100_000}),
    "rules that are a list": (78, "expected 'rules:'", COMMAND, {"site.rules": b"[1, null]"}),
    "a handler without its interpreter": (78, "the interpreter of its #! line", COMMAND, {"see": b"#!/no/such\n"}),
    "a handler of garbage": (70, "handler failed", COMMAND, {"see": GARBAGE}),
    "a COMMAND that is not there": (127, "is not found", ("no-such-command",), {}),
    "an empty COMMAND": (127, "COMMAND (empty) is not found", ("",), {}),
    "a COMMAND with a newline": (127, r"COMMAND no\nsuch is not found", ("no\nsuch",), {}),
    "a COMMAND that is a directory": (126, "not executable", ("./etc",), {}),
    "a COMMAND of garbage": (126, "garbage", ("etc/garbage",), {"garbage": GARBAGE}),
}


@pytest.mark.parametrize(("status", "told", "argv", "files"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_told_in_words(
    site: Site, status: int, told: str, argv: tuple[str, ...], files: dict[str, bytes | None]
) -> None:
    """Whatever people or files give: a status of its own, words that name it, no traceback."""
    site.simple()
    site.cfg["disco.fail_limit"] = "1"
    for name, content in files.items():
        path = site.etc / name
        path.unlink(missing_ok=True)
        if content is None:
            path.mkdir()
        else:
            path.write_bytes(content)
            path.chmod(0o755)
    check(site, status, told, *argv)


PATHS = {
    "a file": "etc/see",
    "a symlink to itself": "loop",
    "too long": "x" * 5000,
    "no text": "\udcff\x01\x1b[31m",
}


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_directories_that_cannot_be_read(site: Site, path: str) -> None:
    """What disco.path names and cannot be listed is named in turn."""
    site.simple()
    (site.folder / "loop").symlink_to("loop")
    site.cfg["disco.path"] = path
    check(site, 78, "disco.path: ", *COMMAND)


PAIRS_OF_GARBAGE = {
    "no UTF-8": "\udcff\udcfe=\udc80:a.b",
    "controls": "\x01\x02.\x03=\x04\r\n:\x7f",
    "keys only": "disco.path:disco.path:=:::",
    "an unknown source": "nowhere.host=\udcff",
    "values of other types": "disco.timeout=\udcff:disco.workers=1e9:disco.report_file=:consul.host=[::consul.port=0",
}


@pytest.mark.parametrize("pairs", PAIRS_OF_GARBAGE.values(), ids=PAIRS_OF_GARBAGE)
def test_a_configuration_of_garbage(site: Site, pairs: str) -> None:
    """DISCO_CFG may hold any bytes."""
    check(site, 78, "disco: DISCO_CFG: ", *COMMAND, env=site.environ | {"DISCO_CFG": pairs})


def test_data_of_garbage(site: Site) -> None:
    """A flat file may hold any bytes too."""
    site.simple()
    (site.folder / "flat.yaml").write_bytes(GARBAGE)
    site.cfg["disco.timeout"] = "300ms"
    check(site, 69, "flat.yaml:2:", *COMMAND)


def test_a_working_directory_that_is_gone(site: Site) -> None:
    """Where the working directory was removed disco works all the same, if no path is relative."""
    site.simple()
    gone = ("sh", "-c", 'mkdir gone && cd gone && rmdir ../gone && exec "$@"', "sh")
    for path in ("", "/nowhere"):  # with a relative one there the interpreter itself does not start
        site.environ["PYTHONPATH"] = path
        running = site.run(before=gone, options=("-l", "ERROR"))
        assert (running.process.returncode, running.output, running.log) == (0, "done\n", "")
    site.cfg["disco.path"] = "etc"
    running = site.run(before=gone, options=("-l", "ERROR"))
    assert running.process.returncode == 78
    assert running.log.startswith("disco: disco.path: the working directory: No such file or directory; it must name")


@pytest.mark.parametrize("option", ["-h", "--version"])
def test_nowhere_to_print(site: Site, option: str) -> None:
    """A full disk is told as what it is, a closed stdout is none's business."""
    with open("/dev/full", "w") as full:
        running = site.run(options=(option,), stdout=full)
    assert (running.process.returncode, running.log) == (71, "disco: cannot write to stdout: No space left on device\n")
    running = site.run(options=(option,), preexec_fn=lambda: os.close(1))
    assert (running.process.returncode, running.log) == (0, "")


@pytest.mark.parametrize("limit", [5, 6, 7])
def test_no_descriptor_for_disco(site: Site, limit: int) -> None:
    """Where disco itself gets no descriptor, one of its processes says so, and calls it no bug."""
    site.simple()
    running = site.run(options=("-l", "ERROR"), before=("prlimit", f"--nofile={limit}"))
    assert running.process.returncode == 71
    assert re.fullmatch(r"disco: the system failed disco: Too many open files \(\S+:\d+\); raise .*\n", running.log), running.log


EXHAUSTED = {"MemoryError('hunter2')": "out of memory", "OSError(11, 'hunter2')": "the system failed disco: Resource temporarily"}


@pytest.mark.parametrize(("error", "told"), EXHAUSTED.items())
def test_a_system_without_room(site: Site, error: str, told: str) -> None:
    """What the system has no more of is told in its own words, and called no bug."""
    site.simple()
    bad = f"def bad(*_, **__): raise {error}\n"
    running = site.run(options=(), prologue=bad + BUGS["before anything is started"])
    assert running.process.returncode == 71
    assert re.fullmatch(f"disco: {told}.*\n", running.log), running.log
    assert "hunter2" not in running.log


CHILDREN = {
    "source": ("source flat", "from disco.workers import watcher; watcher.run = bad"),
    "runner": ("runner-1", "from disco.workers import runner; runner.run = bad"),
}


@pytest.mark.parametrize(("name", "bug"), CHILDREN.values(), ids=CHILDREN)
def test_a_bug_in_a_child_is_one_line(site: Site, name: str, bug: str) -> None:
    """A bug in a process of disco's own is told at ERROR each time that it ends one, by class and place."""
    site.simple()
    site.cfg["disco.timeout"] = "1s"
    running = site.run(options=("-l", "INFO"), prologue=BAD + bug)
    told = [line for line in running.log.splitlines() if "a bug in disco" in line]
    ended = [line for line in running.log.splitlines() if f"{name}" in line and "its process ended (exit status 1)" in line]
    assert told, running.log
    assert ended, running.log
    for line in told:
        assert re.search(r"ERROR .* a bug in disco: RuntimeError at \S+:\d+ .*report it$", line), line
    assert "hunter2" not in running.log


def test_arguments_of_a_handler_are_not_told(site: Site) -> None:
    """A handler is told by its program alone, at any level: an argument may be a secret."""
    site.simple()
    site.cfg["disco.fail_limit"] = "2"
    site.rules({"when": "app", "do": "see --password=hunter2", "name": "app"})
    site.handler("see", "exit 7\n")
    running = site.run()
    assert running.process.returncode == 70
    assert f"handler {site.etc / 'see'} failed: exit status 7" in running.log
    assert "hunter2" not in running.log


def test_no_stderr(site: Site) -> None:
    """Where stderr is closed there is still a status."""
    site.simple()
    site.cfg["disco.timeout"] = "nonsense"
    running = site.run(options=(), preexec_fn=lambda: os.close(2))
    assert (running.process.returncode, running.log, running.output) == (78, "", "")


def check(site: Site, status: int, told: str, *argv: str, **popen: Any) -> None:
    """Run disco with the words of a command line, and look at how it ends."""
    running = site.run(*argv[-1:], options=argv[:-1], **popen) if argv else site.run("--", options=())
    log = running.log
    assert running.process.returncode == status, log
    assert told in log
    assert "Traceback" not in log
    assert "a bug in disco" not in log
