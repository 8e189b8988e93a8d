"""The contract finds what a source does wrong: each of these sources breaks one rule, and one test of the contract fails for it."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

SOURCES = '''
import logging
import os
import time
from contextlib import suppress

import pytest

from disco.sources import Option, Source, SourceError
from disco.testing import SourceContract

DATA = {}
STATE = {"fails": False}
KEPT = []


class Memory:
    """A backend in this process."""

    options = {"timeout": "200ms"}

    def put(self, interface, value):
        DATA[interface] = {"password": value}

    def remove(self, interface):
        del DATA[interface]

    def fail(self):
        STATE["fails"] = True

    def recover(self):
        STATE["fails"] = False


class Base(SourceContract):
    @pytest.fixture
    def backend(self):
        DATA.clear()
        return Memory()


def read():
    if STATE["fails"]:
        raise SourceError("the memory cannot be read")
    return {name: dict(data) for name, data in DATA.items()}


def watch(context):
    data = None
    while True:
        news = read()
        data = data if data == news else news
        yield data
        time.sleep(0.01)


def of(watch, **details):
    return Source(watch=watch, options=(Option(name="x", help="an option"),), **details)


class TestGood(Base):
    source = of(watch)


def constant(context):
    data = read()
    while True:
        yield data
        time.sleep(0.01)


class TestGoodConstant(Base):
    source = of(constant)
    is_constant = True


def petrified(context):
    if not context.memory:
        context.memory.update(read())
    while True:
        yield context.memory
        time.sleep(0.01)


class TestPetrified(Base):
    source = of(petrified)
    is_constant = True


class TestWithoutHelp(Base):
    source = Source(watch=watch, options=(Option(name="x", help=""),))


def incomplete(context):
    for data in watch(context):
        yield {name: data[name] for name in sorted(data)[1:]}


class TestIncomplete(Base):
    source = of(incomplete)


def renewing(context):
    for data in watch(context):
        yield dict(data)


class TestRenewing(Base):
    source = of(renewing)


def mutable(context):
    data = {}
    while True:
        news = read()
        data.clear()
        data.update(news)
        yield data
        time.sleep(0.01)


class TestMutable(Base):
    source = of(mutable)


def deaf(context):
    data = read()
    while True:
        read()
        yield data
        time.sleep(0.01)


class TestDeaf(Base):
    source = of(deaf)


def strict(context):
    for data in watch(context):
        if data.keys() - context.interfaces:
            raise SourceError("what is that?")
        yield data


class TestStrict(Base):
    source = of(strict)


def talkative(context):
    data = {}
    try:
        for data in watch(context):
            yield data
    except SourceError:
        raise SourceError(f"nothing after {data}") from None


class TestTalkative(Base):
    source = of(talkative)


def logging_values(context):
    for data in watch(context):
        logging.getLogger("source").debug("read %s", data)
        yield data


class TestLoggingValues(Base):
    source = of(logging_values)


def silent(context):
    data = read()
    while True:
        with suppress(SourceError):
            data = read()
        yield data
        time.sleep(0.01)


class TestSilent(Base):
    source = of(silent)


def caching(context):
    if "data" in context.memory:
        yield context.memory["data"]
        time.sleep(60)
    for data in watch(context):
        context.memory["data"] = data
        yield data


class TestCaching(Base):
    source = of(caching)


def leaking(context):
    KEPT.append(os.open("/dev/null", os.O_RDONLY))
    yield from watch(context)


class TestLeaking(Base):
    source = of(leaking)


def slow(context):
    for data in watch(context):
        yield data
        time.sleep(1)


class TestSlow(Base):
    source = of(slow, step_limit=lambda options, interval: 0.5)
'''

# Each source, and a test of the contract that must fail for it. Others may.
EXPECTED = {
    "WithoutHelp": "declaration",
    "Incomplete": "first_snapshot_is_everything",
    "Renewing": "nothing_new_is_the_same_object",
    "Mutable": "what_was_yielded_is_not_changed",
    "Deaf": "each_change_is_seen",
    "Strict": "foreign_interfaces_do_no_harm",
    "Talkative": "a_failure_is_an_error_with_a_reason",
    "LoggingValues": "a_failure_is_an_error_with_a_reason",
    "Petrified": "each_change_is_seen",
    "Silent": "a_call_after_an_error_reads_anew",
    "Caching": "memory_is_a_help_and_no_need",
    "Leaking": "closing_releases_everything",
    "Slow": "a_change_is_seen_while_it_waits",
}


def test_each_broken_rule_is_found(tmp_path: Path) -> None:
    """A source that breaks a rule fails the rule's test, and a source that keeps them all passes."""
    (tmp_path / "test_sources.py").write_text(SOURCES)
    patience = "import disco.testing.contract as contract\ncontract.PATIENCE = 0.5\n"  # what never comes need not be waited for
    (tmp_path / "conftest.py").write_text(f"import disco.testing\n{patience}")
    argv = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--tb=no",
        "-rf",
        "--rootdir",
        str(tmp_path),
        str(tmp_path),
    ]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False)
    failed = set(re.findall(r"^FAILED \S+::Test(\w+)::test_(\w+)", done.stdout, re.MULTILINE))
    assert set(EXPECTED.items()) <= failed, done.stdout
    assert not {"Good", "GoodConstant"} & {name for name, _ in failed}, done.stdout
