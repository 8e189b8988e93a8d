"""Texts for people."""

from __future__ import annotations

import pytest

from disco.text import duration, escape, plural, redact, shorten


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ü", "plain ü"),
        ("a\nb\t\x1b\0", "a\\nb\\t\\x1b\\x00"),
        ("\u202e\ud800\U000e0001", "\\u202e\\ud800\\U000e0001"),
    ],
)
def test_escape(text: str, shown: str) -> None:
    """What does not print is escaped, and what is too long is cut."""
    assert escape(text, 30) == shown
    assert escape("x" * 21, 20) == "x" * 20 + "…"
    assert escape("x" + "\0" * 6, 20) == "x" + "\\x00" * 4 + "…"  # no escape is cut in the middle


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://u:hunter2@h:1/x", "http://h:1/x"),
        ("at https://u:hun@ter2@h failed, http://h2/a@b", "at https://h failed, http://h2/a@b"),
        ("http://h/x", "http://h/x"),
    ],
)
def test_redact(text: str, shown: str) -> None:
    """The user part of a URL is never shown."""
    assert redact(text) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0 ms"), (0.0421, "42 ms"), (1, "1 s"), (61.26, "61.3 s"), (600, "10 min"), (9000, "2.5 h")],
)
def test_duration(seconds: float, shown: str) -> None:
    """Seconds are shown in the unit that people would use."""
    assert duration(seconds) == shown
    assert (plural(1, "rule"), plural(2, "rule")) == ("1 rule", "2 rules")


@pytest.mark.parametrize(("limit", "shown"), [(0, ", …"), (1, "a, …"), (2, "a, b, …"), (3, "a, b, c"), (4, "a, b, c")])
def test_shorten(limit: int, shown: str) -> None:
    """The first names are shown, and an ellipsis where there are more."""
    assert shorten(("a", "b", "c"), limit) == shown
