"""Exports: which names of variables a rule lets through, and what counts of that which a handler wrote."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from disco.data import exports

KIB = 1 << 10


@pytest.mark.parametrize("pattern", ["A", "_", "a.b-c", "DB_*", "*_URL", "A*Z", "PATH", "LD_PRELOAD", "http_proxy"])
def test_a_name_or_one_star(pattern: str) -> None:
    """A name counts as it is, the most dangerous one too; a pattern is a name with a star in it."""
    assert exports.find_fault(pattern) is None


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("*", "would let the data choose any name"),
        ("**", "no name of a variable"),
        ("A*B*", "no name of a variable"),
        ("", "no name of a variable"),
        ("1A", "no name of a variable"),
        ("1*", "no name of a variable"),
        ("A=B", "no name of a variable"),
        ("A B", "no name of a variable"),
        ("A\n", "no name of a variable"),
        ("Ä", "no name of a variable"),
        ("A?", "no name of a variable"),
        ("A" * 256, "no name of a variable"),
        *[(p, "matches only names") for p in ("LD_*", "ld_p*", "DISCO_*", "PYTHONX*", "NODE_*", "GIT_*", "*_PROXY", "*s_proxy")],
    ],
)
def test_what_no_rule_can_export(pattern: str, words: str) -> None:
    """Everything, what is no name, and a pattern that only dangerous names match are refused, each with its reason."""
    assert words in str(exports.find_fault(pattern))


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("DB_*", "DB_ DB_HOST"),
        ("*_URL", "_URL X_URL"),
        ("A*A", "AA AxA"),
        ("A", "A"),
    ],
)
def test_a_pattern_matches(pattern: str, names: str) -> None:
    """A star stands for any characters, and for none; without one the name is exactly that."""
    assert all(exports.matches(name, [pattern]) for name in names.split())
    assert not any(exports.matches(name, [pattern]) for name in ("A_", "xA", "DB", "db_host", "URL", "X_URLS", "", "a"))


DANGEROUS = [
    "PATH",
    "LD_PRELOAD",
    "DISCO_CFG",
    "BASH_ENV",
    "ENV",
    "IFS",
    "PYTHONPATH",
    "NODE_OPTIONS",
    "PERL5LIB",
    "PERLLIB",
    "RUBYOPT",
    "JAVA_TOOL_OPTIONS",
    "_JAVA_OPTIONS",
    "JDK_JAVA_OPTIONS",
    "GCONV_PATH",
    "GLIBC_TUNABLES",
    "GIT_SSH",
    "SSL_CERT_FILE",
    "HTTP_PROXY",
    "https_proxy",
    "No_Proxy",
]


@pytest.mark.parametrize("name", DANGEROUS)
def test_no_pattern_matches_what_is_dangerous(name: str) -> None:
    """A name that makes programs load code or send data elsewhere is exported if a rule writes it out, and else never."""
    assert not any(exports.matches(name, [name[:at] + "*" + name[at + size :]]) for at in range(len(name)) for size in (0, 1, 9))
    assert exports.matches(name, ["X", name])


ONE = b"A=1\0"


@pytest.mark.parametrize(
    ("content", "accepted"),
    [
        (b"", b""),
        (b"\0", b""),
        (b"A=1\0", ONE),
        (b"A=1\0\0B=2\0", b"A=1\0B=2\0"),
        (b"A=\0", b"A=\0"),
        (b"A=1\n2\0", b"A=1\n2\0"),
        (b"A=\xff=\0", b"A=\xff=\0"),
        (b"A=0\0A=1\0", ONE),
        (b"A=1", ONE),
        (b"A=1\n", ONE),
        (b"A=1\nB=2\n", b"A=1\0B=2\0"),
        (b"A=1\r\n", b"A=1\r\0"),
        (b"A=" + b"x" * (128 * KIB - 3) + b"\0", b"A=" + b"x" * (128 * KIB - 3) + b"\0"),
    ],
)
def test_records(content: bytes, accepted: bytes) -> None:
    """Records end with NUL, and hold anything else; without any NUL each line is one. Of a name twice the last one counts."""
    assert exports.accept(content, ["A", "B"]) == (accepted, [])


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"A=1\0B=hunter2", "its last record is not complete"),
        (b"A=1\0B=hunter2\n", "its last record is not complete"),
        (b"hunter2\0", "record 1 is not NAME=value"),
        (b"A=1\0\0=hunter2\0", "record 3 is not NAME=value"),
        (b"hunter 2=x\0", "record 1 is not NAME=value"),
        (b"export A=hunter2\n", "line 1 is not NAME=value"),
        (b"A=first\nhunter2\n", "line 2 is not NAME=value"),
        (b"A=1\n\nB=2\n", "line 2 is not NAME=value"),
        (b"A=1\n\xff=2\n", "line 2 is not NAME=value"),
        (b"hunter2" * 99 + b"=\0", "record 1 is not NAME=value"),
        (b"A=" + b"x" * (128 * KIB - 2) + b"\0", "record 1 is longer than 128 KiB"),
        (b"A=\0" * (1 << 20), "more than 1 MiB"),
    ],
)
def test_what_cannot_be_used(content: bytes, problem: str) -> None:
    """One record that is none makes all of them useless: it may be the rest of a value. Why says where, and shows nothing of it."""
    with pytest.raises(ValueError, match=problem) as caught:
        exports.accept(content, ["A", "B"])
    assert "hunter" not in str(caught.value)


def test_what_is_not_exported() -> None:
    """A name that the rule does not let through is told; in lines only its place, for it may be a piece of a value."""
    assert exports.accept(b"A=1\0C=1\0PATH=x\0C=2\0", ["A", "P*"]) == (ONE, ["C", "PATH"])
    assert exports.accept(b"A=1\nBBBB==\n", ["A"]) == (ONE, ["line 2"])


@given(st.binary(max_size=60) | st.text("A=\0\nB*", max_size=20).map(str.encode))
@example(b"A=1\n\0")
def test_whatever_is_written(content: bytes) -> None:
    """Whatever a handler writes, what is exported are records of the names that the rule lets through, each once."""
    try:
        accepted, _ = exports.accept(content, ["A*"])
    except ValueError:
        return
    assert not accepted or accepted.endswith(b"\0")
    names = [record.partition(b"=")[0] for record in accepted.split(b"\0")[:-1]]
    assert all(name.startswith(b"A") for name in names)
    assert len(set(names)) == len(names)


def test_the_later_rule_wins() -> None:
    """Of two rules that export one name the later one counts, and the names are told with all their rules."""
    entries, rules = exports.merge([("first", b"A=1\0B=x=y\n\0"), ("second", b"A=2\0")])
    assert entries == {b"A": b"A=2", b"B": b"B=x=y\n"}
    assert rules == {"A": ["first", "second"], "B": ["first"]}
