"""A child's log: its records, and what else it prints."""

from __future__ import annotations

import json
import logging
import subprocess
import sys

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from disco.wire import records

MARK = records.MARK


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (f'{MARK}[20, "hello", {{}}]\n', [(20, "hello")]),
        ("printed\n", [(10, "printed")]),
        (f'printed{MARK}[30, "x", {{}}]\n', [(10, "printed"), (30, "x")]),
        (f'{MARK}[20, "a", {{}}]\n\n  \nb\n{MARK}[20, "c", {{}}]\n', [(20, "a"), (10, "b"), (20, "c")]),
        ("no end", [(10, "no end")]),
        ("\x1b[31mred\r\x07\n", [(10, "\\x1b[31mred\\r\\x07")]),
        (f'{MARK}[20, "a\\nb\\u001b\\ud800", {{}}]\n', [(20, "a\\nb\\x1b\\ud800")]),
        (f"{MARK}nonsense\n", [(10, "nonsense")]),
        (f'{MARK}["20", "x", {{}}]\n', [(10, '["20", "x", {}]')]),
        (f'{MARK}[20, "x", {{"level": "y"}}]\n', [(10, '[20, "x", {"level": "y"}]')]),
        (f'{MARK}[true, "x", {{}}]\n', [(10, '[true, "x", {}]')]),
        (f"{MARK}[20, 5]\n{MARK}{{}}\n{MARK}5\n", [(10, "[20, 5]"), (10, "{}"), (10, "5")]),
        ("", []),
    ],
)
def test_log_lines(data: str, expected: list[tuple[int, str]]) -> None:
    """Records and what was printed come out line by line, however they were split; nothing of them is raw."""
    content = data.encode()
    for at in range(len(content) + 1):
        reader = records.LineReader()
        pieces = [piece for piece in (content[:at], content[at:]) if piece]
        found = [line[:2] for piece in [*pieces, b""] for line in reader.feed(piece)]
        assert found == expected


@given(st.lists(st.binary(max_size=30)))
@example([MARK.encode() + b"[" * 100_000, b"\n"])
def test_log_garbage(pieces: list[bytes]) -> None:
    """Any bytes give printable lines only."""
    reader = records.LineReader()
    for piece in [*filter(None, pieces), b""]:
        assert all(text.isprintable() and type(level) is int for level, text, _ in reader.feed(piece))


def test_log_fields() -> None:
    """A record's fields are the known ones, printable and bounded."""
    record = json.dumps([20, "x", {"rule": "a\nb", "event": "e" * 1000}])
    [(level, text, fields)] = records.LineReader().feed(f"{MARK}{record}\n".encode())
    assert (level, text) == (20, "x")
    assert fields == {"rule": "a\\nb", "event": "e" * records.FIELD_LIMIT + "…"}


def test_a_log_line_without_end() -> None:
    """A line that never ends is cut, and not kept."""
    reader = records.LineReader()
    found = [line for _ in range(1000) for line in reader.feed(b"x" * 1000)]
    assert 10 < len(found) < 1000
    assert all(len(text) <= records.TEXT_LIMIT + 1 for _, text, _ in found)


CHILD_WITHOUT_DESCRIPTORS = """
import logging, resource, sys
from disco.workers import entry
entry.log_to(1)
resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
logging.getLogger("disco.test").warning("told")
sys.exit("disco.wire.pipe_log" in sys.modules)
"""


def test_a_child_that_cannot_import_its_log_handler() -> None:
    """Where nothing is left to import the handler with, a record is written all the same, and is never an error."""
    child = subprocess.run([sys.executable, "-c", CHILD_WITHOUT_DESCRIPTORS], capture_output=True, check=True, timeout=60)
    assert [line[:2] for line in records.LineReader().feed(child.stdout)] == [(logging.WARNING, "told")]
    assert child.stderr == b""
