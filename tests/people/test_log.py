"""The log: what a child can make it say, and what every line keeps to."""

from __future__ import annotations

import json
import logging
import os
import select
from typing import TYPE_CHECKING, Any

import pytest

from disco.people import log
from disco.wire import records
from tests.test_last_words import full_pipe

if TYPE_CHECKING:
    from lab.site import Site

FORGE = """
import json
def say(*record):
    os.write(1, b'\\x1e' + json.dumps(record).encode() + b'\\n')
"""


def tell(site: Site, forged: str) -> list[dict[str, Any]]:
    """Return the log's records of a plug-in that writes such records, from its process."""
    site.simple()
    site.cfg["disco.log"] = "json"
    site.plug_in(f"{FORGE}{forged}\nyield {{}}\ntime.sleep(1000)\n")
    running = site.run()
    assert running.process.returncode == 0, running.log
    assert all(len(line) < select.PIPE_BUF for line in running.log.splitlines())
    found = [json.loads(line) for line in running.log.splitlines()]
    return [record for record in found if "forged" in record["message"]]


def test_what_a_child_says_it_is(site: Site) -> None:
    """A record of a source's process is about that source and no rule, whatever it says, and has no event of disco's own."""
    about = "{'source': 'flat', 'rule': 'app', 'interface': 'app', 'event': EVENT}".replace("EVENT", "event")
    forged = f"for event in ('exec', 'exit', 'report', 'source-answered', 'output'):\n    say(30, 'forged', {about})"
    found = tell(site, forged)
    assert len(found) == 5
    assert {record["source"] for record in found} == {"odd"}
    assert {record["process"] for record in found} == {"odd"}
    assert not any("rule" in record for record in found)
    assert not {record.get("event") for record in found} & {"exec", "exit", "report", "source-answered", "output"}


def test_levels(site: Site) -> None:
    """A record has one of four levels, whatever number a child gives; a line stays within its limit."""
    levels = "(-5, 0, 9, 25, 35, 10**18, 10**3000, True, 2.5, '40')"
    found = tell(site, f"for level in {levels}:\n    say(level, 'forged ' + 'x' * 3000, {{}})")
    assert len(found) >= 8
    assert {record["level"] for record in found} <= {"DEBUG", "INFO", "WARNING", "ERROR"}


def test_levels_are_not_remembered() -> None:
    """Levels that children make up do not fill the logger's memory."""
    reader = records.LineReader()
    for number in range(100, 5000):
        for level, text, fields in reader.feed(b"\x1e" + json.dumps([number, "x", {}]).encode() + b"\n"):
            log.emit(level, "odd", 1, text, fields)
    assert len(logging.getLogger()._cache) < 100  # type: ignore[attr-defined]  # where it would be


WIDE = "\U0001f4a9" * 300


@pytest.mark.parametrize("text", ["x" * 5000, WIDE * 20, "\x01" * 5000, '"' * 5000, "é" * 5000])
def test_lines_are_short_enough_to_be_whole(text: str) -> None:
    """However wide the text, and the names that it is about, a line is one write to a pipe, is JSON, and tells some of it."""
    fields = dict.fromkeys(records.FIELDS, WIDE)
    handler = log.StderrHandler()
    for style in ("text", "json"):
        handler.style = style
        line = handler.line(logging.ERROR, text, fields, WIDE[:255], 5)
        assert len(line) <= records.LINE_LIMIT
        line.decode()
        forms = (text[:10], json.dumps(text[:10])[1:-1], text[:10].encode("unicode_escape").decode())
        assert any(form.encode() in line for form in forms)
    assert json.loads(line)["level"] == "ERROR"
    for names in (fields, dict.fromkeys(records.FIELDS, "\U000e0001" * 300)):
        line = records.encode(logging.ERROR, text, names)
        assert len(line) <= records.LINE_LIMIT
        (found,) = records.LineReader().feed(line)
        assert found[0] == logging.ERROR


def test_long_lines_are_cut_between_characters() -> None:
    """A printed line that is too long for one record is several, and no character falls apart."""
    reader = records.LineReader()
    for shift in range(3):
        found = [text for _, text, _ in reader.feed(b"x" * shift + "€".encode() * 6000 + b"\n")]
        assert "\ufffd" not in "".join(found)


def test_nothing_of_a_terminal_s_language(site: Site) -> None:
    """What the coordinator itself tells has no control character, whatever a child made it tell."""
    site.simple()
    site.plug_in("raise SourceError('a\\x1b[31m\\x07\\x9b\\rb\\nFORGED')\nyield {}\n")
    site.cfg |= {"odd.required": "true", "disco.timeout": "2s"}
    running = site.run()
    assert "FORGED" in running.log
    assert not set("\x1b\x07\x9b\r") & set(running.log)
    assert not any(line.startswith("FORGED") for line in running.log.splitlines())


def test_full_pipe_is_no_error() -> None:
    """A line that nobody reads is not written, and that is no error."""
    reader, writer = full_pipe()
    assert not records.write_if_ready(writer, b"x\n")
    os.close(reader)
    os.close(writer)


def test_processes_have_their_names(site: Site) -> None:
    """Each record names the process that it is of: disco itself until it has forked the coordinator."""
    site.simple()
    site.cfg["disco.log"] = "json"
    running = site.run()
    assert running.process.returncode == 0, running.log
    found = [json.loads(line) for line in running.log.splitlines()]
    first = {record["pid"] for record in found if record["process"] == "disco"}
    assert first == {running.pid}
    assert found[0]["process"] == "disco"
    assert found[-1]["process"] == "coordinator"
