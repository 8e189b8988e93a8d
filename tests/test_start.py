"""What a start imports: nothing that it does not need."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from lab.site import Site

HEAVY = (
    "disco.gathering",
    "disco.coordinator",
    "disco.core",
    "disco.people.check",
    "jsonschema",
    "psutil",
    "importlib.metadata",
    "consul",
    "disco.handlers",
)
SHOW = f"""
import os, sys
def show(*_):
    print(*(name for name in {HEAVY} if name in sys.modules), flush=True)
    leave(0)
leave = os._exit
"""


def test_a_site_without_rules(site: Site) -> None:
    """Without rules COMMAND is executed without a coordinator, and without what reads schemas."""
    site.cfg["disco.rules"] = "optional"
    running = site.run(options=(), prologue=SHOW + "from disco.system import programs; programs.execute = show")
    assert running.output.splitlines() == [""]


@pytest.mark.parametrize(
    ("option", "imported"),
    [("--check", "disco.people.check disco.handlers"), ("--graph", ""), ("-h", ""), ("--version", "")],
)
def test_an_answer(site: Site, option: str, imported: str) -> None:
    """What an image's build may ask needs neither psutil nor the coordinator, nor a client library."""
    site.simple()
    site.cfg["consul.host"] = "127.0.0.1"
    running = site.run(options=(option,), prologue=SHOW + "os._exit = show")
    assert running.output.splitlines()[-1] == imported


def test_rules_are_satisfied_by_a_coordinator(site: Site) -> None:
    """The proofs above can fail: with rules another process is waited for. What that one imports, this one does not."""
    site.simple()
    running = site.run(options=(), prologue=SHOW + "from disco.system import programs; programs.execute = show")
    assert "disco.gathering" in running.output.split()
    assert "disco.coordinator" not in running.output.split()
    assert "disco.handlers" not in running.output.split()
    site.rules({"when": "app", "do": "disco-wait file:/"})
    running = site.run(options=(), prologue=SHOW + "from disco.system import programs; programs.execute = show")
    assert "disco.handlers" in running.output.split()


NOTE_FORKS = """
import os, sys
fork = os.fork
def noting():
    with open(os.environ["OUT"] + "/forks", "a") as file:
        print("disco.core.lifecycle" in sys.modules, file=file)
    return fork()
os.fork = noting
"""


def test_children_are_forked_before_the_lifecycle_is_imported(site: Site) -> None:
    """While a source imports its client the coordinator imports its own: neither waits for the other."""
    site.simple()
    running = site.run(options=(), prologue=NOTE_FORKS)
    assert running.wait() == 0
    coordinator, source, runner, *handlers = site.read("forks").split()
    assert (coordinator, source, runner) == ("False", "False", "False")
    assert handlers


REFUSE_FORKS = """
import errno, os
fork, forks = os.fork, []
def refusing():
    forks.append(len(forks))
    if len(forks) in (2, 3):
        raise OSError(errno.EAGAIN, "no more processes")
    return fork()
os.fork = refusing
"""


def test_what_could_not_be_forked_at_first_is_forked_by_the_lifecycle(site: Site) -> None:
    """The first forks of the coordinator are no more than a head start."""
    site.simple()
    running = site.run(prologue=REFUSE_FORKS)
    assert running.wait() == 0
    assert running.output == "done\n"
