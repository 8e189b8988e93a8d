"""How disco ends where nobody reads what it says: the exit status arrives, whatever is printed."""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
from typing import TYPE_CHECKING

import pytest
from lab.processes import below, processes
from lab.waiting import eventually

from tests.test_exec import needs_unshare, unshare

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lab.site import Running, Site

HANG = 20.0  # seconds; whoever waits for a reader waits for ever


def full_pipe() -> tuple[int, int]:
    """Return a pipe that nobody reads, and that takes nothing more."""
    reader, writer = os.pipe()
    fill(writer)
    return reader, writer


def unread_terminal() -> tuple[int, int]:
    """Return a terminal that shows nothing any more (as after Ctrl-S, or whose window hangs)."""
    master, terminal = os.openpty()
    fill(terminal)
    return master, terminal


def fill(descriptor: int) -> None:
    os.set_blocking(descriptor, False)
    while select.select([], [descriptor], [], 0.2)[1]:  # a terminal's buffer is emptied into another one, now and then
        for size in (4096, 1):
            with contextlib.suppress(BlockingIOError):
                while True:
                    os.write(descriptor, b"x" * size)
    os.set_blocking(descriptor, True)


@pytest.fixture(params=[full_pipe, unread_terminal])
def unread(request: pytest.FixtureRequest) -> Iterator[int]:
    """Give a descriptor to write to that nobody reads."""
    make: Callable[[], tuple[int, int]] = request.param
    ends = make()
    yield ends[1]
    for end in ends:
        os.close(end)


@pytest.mark.parametrize("form", ["text", "json"])
def test_handler_that_fails(site: Site, unread: int, form: str) -> None:
    """A handler that reaches disco.fail_limit ends disco with 70."""
    site.simple()
    site.handler("see", "exit 1\n")
    site.cfg |= {"disco.fail_limit": "1", "disco.log": form}
    assert site.start(options=(), stderr=unread).wait(HANG) == 70


def test_timeout(site: Site, unread: int) -> None:
    """disco.timeout ends it with 75."""
    site.simple()
    site.flat({})
    site.cfg["disco.timeout"] = "300ms"
    assert site.start(options=(), stderr=unread).wait(HANG) == 75


def test_signal(site: Site, unread: int) -> None:
    """SIGTERM ends it with 143."""
    site.simple()
    site.handler("see", 'touch "$OUT/up"\nexec sleep 1000\n')
    running = site.start(options=(), stderr=unread)
    eventually((site.folder / "up").exists)
    running.send(signal.SIGTERM)
    assert running.wait(HANG) == 143


def test_wrong_configuration(site: Site, unread: int) -> None:
    """A wrong configuration ends it with 78, however much there is to say."""
    site.cfg |= {f"disco.no-such-{number}": "x" for number in range(500)}
    assert site.start(options=(), stderr=unread).wait(HANG) == 78


def test_wrong_command_line(site: Site, unread: int) -> None:
    """A wrong command line ends it with 64."""
    assert site.start(options=("--no-such-option",), stderr=unread).wait(HANG) == 64


def test_bug(site: Site, unread: int) -> None:
    """A bug ends it with 71, at DEBUG too, where the way to it is printed."""
    site.simple()
    bug = "from disco.core.lifecycle import Lifecycle; Lifecycle.handle = lambda *_: 1 / 0"
    assert site.start(prologue=bug, stderr=unread).wait(HANG) == 71


def test_no_command(site: Site, unread: int) -> None:
    """A COMMAND that is not there at exec ends it with 127."""
    site.simple()
    assert site.start("no-such-command", options=(), stderr=unread).wait(HANG) == 127


def test_reader_that_is_slow(site: Site) -> None:
    """Whoever reads gets the last words, although there is no room for them at first."""
    reader, writer = full_pipe()
    site.cfg["disco.worker"] = "1"
    running = site.start(options=(), stderr=writer)
    os.close(writer)
    with open(reader, "rb") as file:
        assert b"did you mean disco.workers?" in file.read()
    assert running.wait() == 78


def is_writing(pid: int) -> bool:
    """Return whether a process waits for the reader of a pipe."""
    try:
        with open(f"/proc/{pid}/wchan") as file:
            return "pipe_write" in file.read()
    except OSError:
        return False


ANSWERS = [("--check",), ("--check", "--json"), ("--graph",), ("--dry-run",), ("--help",), ("--version",)]


@needs_unshare
@pytest.mark.parametrize("options", ANSWERS, ids=" ".join)
def test_answer_that_nobody_reads(site: Site, options: tuple[str, ...]) -> None:
    """Whoever does not read an answer on stdout does not keep disco from being stopped, as pid 1 too."""
    site.simple()
    reader, writer = full_pipe()
    running = site.start("echo", options=options, stdout=writer, stderr=writer, before=unshare("--kill-child"))
    wait_for_the_write(site, running)
    os.kill(below(running.pid)[0], signal.SIGTERM)
    assert running.wait(HANG) == 143
    os.close(reader)
    os.close(writer)


def wait_for_the_write(site: Site, running: Running) -> int:
    """Return the pid of the disco below `unshare` once it hangs in its answer."""

    def find() -> int:
        assert running.process.poll() is None
        return next((pid for pid in processes(f"OUT={site.folder}") if is_writing(pid)), 0)

    found = eventually(find, "a disco that writes")
    assert isinstance(found, int)
    return found


def test_signal_just_before_exec(site: Site) -> None:
    """Who is stopped after all handlers have run, and before exec, is not told that nothing was started."""
    site.simple()
    late = (
        "import os, signal; from disco import entrypoint\n"
        "wait = entrypoint._wait_for\n"
        "entrypoint._wait_for = lambda *given: (wait(*given), os.kill(os.getpid(), signal.SIGTERM))[0]"
    )
    running = site.run(options=(), prologue=late)  # when the coordinator has ended
    assert (running.process.returncode, running.output) == (143, "")
    assert running.log.splitlines()[-1] == "disco: SIGTERM received: COMMAND was not started"


@pytest.mark.parametrize("option", ["--che", "--dry", "--js", "--confi=x"])
def test_options_are_not_abbreviated(site: Site, option: str) -> None:
    """An option's beginning is no option: what it stands for could be another one in the next version."""
    running = site.run(options=(option,))
    assert running.process.returncode == 64
    name = option.partition("=")[0]
    assert re.fullmatch(rf"disco: option {name} not recognized; did you mean {name}[a-z-]+\?; 'disco -h' .*\n", running.log)
