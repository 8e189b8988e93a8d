"""What a start imports: nothing that it does not need."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from lab.site import Site

HEAVY = (
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
    [("--check", "disco.people.check jsonschema disco.handlers"), ("--graph", "jsonschema"), ("-h", ""), ("--version", "")],
)
def test_an_answer(site: Site, option: str, imported: str) -> None:
    """What an image's build may ask needs neither psutil nor the coordinator, nor a client library."""
    site.simple()
    site.cfg["consul.host"] = "127.0.0.1"
    running = site.run(options=(option,), prologue=SHOW + "os._exit = show")
    assert running.output.splitlines()[-1] == imported


def test_rules_are_satisfied_by_a_coordinator(site: Site) -> None:
    """The proofs above can fail: with rules there is a coordinator, and with shipped handlers in them their table."""
    site.simple()
    running = site.run(options=(), prologue=SHOW + "from disco.system import programs; programs.execute = show")
    assert {"disco.coordinator", "disco.core", "jsonschema"} <= set(running.output.split())
    assert "disco.handlers" not in running.output.split()
    site.rules({"when": "app", "do": "disco-wait file:/"})
    running = site.run(options=(), prologue=SHOW + "from disco.system import programs; programs.execute = show")
    assert "disco.handlers" in running.output.split()
