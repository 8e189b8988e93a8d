"""Pairs: the grammar of DISCO_CFG, and the file of -c that holds the same."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from disco.site import pairs as grammar

if TYPE_CHECKING:
    from pathlib import Path

    from disco.errors import Problem


def read(text: str, file: Path | None = None) -> tuple[dict[str, str], list[str]]:
    """Return what is configured, and the problems with the name that may be meant."""
    problems: list[Problem] = []
    values = grammar.read(text, file, {}, ["disco.path", "disco.timeout"], problems)
    shown = [f"{one.place}: {one.message}" + f"; {one.remedy}" * one.remedy.startswith("did you mean") for one in problems]
    return {key: value.text for key, value in values.items()}, shown


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        (" : :: ", {}),
        ("any.x=1", {"any.x": "1"}),
        ("any.x=1:any.y=2", {"any.x": "1", "any.y": "2"}),
        ("any.x=1:::any.y=2::", {"any.x": "1", "any.y": "2"}),
        ("  ::any.x = 1 \n: : \t any.y\t=  2  :\n", {"any.x": "1", "any.y": "2"}),
        ("any.x=1:any.y=2:any.x=3", {"any.x": "3", "any.y": "2"}),
        (
            "any.host=http://10.0.0.1:8500:disco.path=/etc/disco:/opt/site",
            {"any.host": "http://10.0.0.1:8500", "disco.path": "/etc/disco:/opt/site"},
        ),
        ("any.host=10.0.0.1:8500:any.x=1", {"any.host": "10.0.0.1:8500", "any.x": "1"}),
        ("any.host=[fe80::1]:8500:any.x=1", {"any.host": "[fe80::1]:8500", "any.x": "1"}),
        ("any.host=fe80::1%eth0::any.x=1", {"any.host": "fe80::1%eth0", "any.x": "1"}),
        ("any.host=::1:any.x=1", {"any.host": "::1", "any.x": "1"}),
        ("any.url=http://u:p@h:1/x?a=b:c=d:any.x=1", {"any.url": "http://u:p@h:1/x?a=b:c=d", "any.x": "1"}),
        ("any.x=a=b==", {"any.x": "a=b=="}),
        ("any.x=a: b : c:any.y=1", {"any.x": "a: b : c", "any.y": "1"}),
        (r"any.x=a\:any.y=b:any.z=c", {"any.x": "a:any.y=b", "any.z": "c"}),
        (r"any.x=a\:", {"any.x": "a:"}),
        (r"any.x=a\::any.y=b", {"any.x": "a:", "any.y": "b"}),
        (r"any.x=a:\:any.y=b", {"any.x": "a::any.y=b"}),
        (r"any.x=C:\dir\n\\:any.y=b", {"any.x": "C:\\dir\\n\\:any.y=b"}),
        (r"any.x=C:\dir :any.y=b", {"any.x": "C:\\dir", "any.y": "b"}),
        ("any.a-b.c_1.D=x", {"any.a-b.c_1.D": "x"}),
        ("any.x=:any.y=1", {"any.x": "", "any.y": "1"}),
        ("any.x=1:9a.b=c:any.é=d", {"any.x": "1:9a.b=c:any.é=d"}),
        ("disco.path=/a::/b", {"disco.path": "/a::/b"}),
    ],
)
def test_grammar(text: str, expected: dict[str, str]) -> None:
    """A `:` separates where a key and `=`, or the end, follow; every other one, and an escaped one, is the value's."""
    assert read(text) == (expected, [])


KEYS: st.SearchStrategy[str] = st.from_regex(r"any(\.[A-Za-z_][A-Za-z0-9_-]{0,3}){1,2}", fullmatch=True)


@given(st.dictionaries(KEYS, st.text(alphabet="ab:/. =\\0[]", max_size=12)))
def test_escaped_values_survive(pairs: dict[str, str]) -> None:
    """Whatever a value is, with each `:` escaped it arrives, but for white space around it."""
    pairs = {key: value.rstrip("\\") for key, value in pairs.items()}  # which would escape the separator
    values, problems = read(":".join(f"{key}={value.replace(':', chr(92) + ':')}" for key, value in pairs.items()))
    assert (values, problems) == ({key: value.strip() for key, value in pairs.items()}, [])


@pytest.mark.parametrize("text", ["flat", "=x", "/etc/disco", "1.2=3", ".a=b", "any.x", "a..b=c"])
def test_no_pair(text: str) -> None:
    """What is no pair is told by its number, and the pair that it follows."""
    assert read(text) == ({}, ["DISCO_CFG: pair 1: expected key=value, with a key like disco.path"])


@pytest.mark.parametrize("unit", [":", " :", "a:", ": ", "a.b:", "a.b=:", " ", "\\:", "a.b ", "a."])
def test_length_costs_no_more_than_it_is(unit: str) -> None:
    """Splitting takes a time in proportion to the length, whatever it is made of."""
    times = []
    for count in (20_000, 200_000):
        began = time.process_time()
        read("any.x=a" + unit * count + "x")
        times.append(time.process_time() - began)
    assert times[1] < 40 * max(times[0], 0.02)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "flat.file=/a.yaml;disco.timeout=5",
            "DISCO_CFG: flat.file: the value seems to hold another pair, disco.timeout=",
        ),
        ("flat.file=/a.yaml,consul.host=h:consul.port=5", "another pair, consul.host="),
        ("flat.file=/a.yaml\ndisco.path=/x", "another pair, disco.path="),
        ("flat.file=/a.yaml; flat.required=no", "another pair, flat.required="),
        ("timeout=5", "DISCO_CFG: timeout: the key has no namespace; did you mean disco.timeout?"),
        ("hots=5:disco.path=/x", "DISCO_CFG: hots: the key has no namespace"),
    ],
)
def test_pairs_joined_otherwise(text: str, expected: str) -> None:
    """A key without its namespace, and a pair that hides in another one's value, are told by their names."""
    problems = read(text)[1]
    assert any(expected in problem for problem in problems), problems


def test_values_that_only_look_like_pairs() -> None:
    """What looks like a pair of a namespace that there is not belongs to the value."""
    assert read("any.x=http://h/?a.b=c;d.e=f g.h=i") == ({"any.x": "http://h/?a.b=c;d.e=f g.h=i"}, [])


# The file


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("- a", "1:1: expected a mapping like 'disco: {path: ...}'"),
        ("disco:\n  path: {}\n", "2:9: disco.path: expected a text, a number, a boolean or a list of texts"),
        ("disco:\n  grace: null\n", "2:10: disco.grace: expected a text, a number, a boolean or a list of texts"),
        (
            "consul:\n  services: [[a]]",
            "2:13: consul.services: expected a text, a number, a boolean or a list of texts",
        ),
        ("host: x", "1:7: host: expected a key in a namespace, like disco.path"),
        ("consul:\n  'a b': x", "2:10: consul.a b: expected a key in a namespace, like disco.path"),
        ('consul:\n  "a\\nb": x', "2:11: consul.a\\nb: expected a key in a namespace, like disco.path"),
        ("consul:\n port: [", "3:1: did not find expected node content"),
    ],
)
def test_wrong_file(tmp_path: Path, content: str, expected: str) -> None:
    """What is wrong in the file is reported with file, line and column."""
    file = tmp_path / "disco.yaml"
    file.write_text(content)
    assert read("", file) == ({}, [f"{file}:{expected}"])


def test_places(tmp_path: Path) -> None:
    """Each value knows its key, and where it is set: the file's are overridden by those of DISCO_CFG, and keep their order."""
    file = tmp_path / "disco.yaml"
    file.write_text("any:\n  x: 1\n  y: 2\nflat:\n")
    values = grammar.read("late.z=3:any.x=4", file, {}, [], [])
    assert [(key, value.text, value.place) for key, value in values.items()] == [
        ("any.x", "4", "DISCO_CFG: any.x"),
        ("any.y", "2", f"{file}:3:6: any.y"),
        ("flat.type", "flat", f"{file}:4:6: flat"),
        ("late.z", "3", "DISCO_CFG: late.z"),
    ]


def test_any_name_is_a_source_in_a_file(tmp_path: Path) -> None:
    """JSON is a configuration file too, and what it sets is what DISCO_CFG would set."""
    file = tmp_path / "disco.json"
    file.write_text(json.dumps({"any": {"x": "\U0001f600", "y": 1.5, "z": False}}))
    assert read("", file) == ({"any.x": "\U0001f600", "any.y": "1.5", "any.z": "false"}, [])
