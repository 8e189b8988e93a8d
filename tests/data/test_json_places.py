"""The places of JSON's nodes: those that YAML's parser says, found by JSON's own."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from disco.data import documents, yaml_events
from disco.errors import DocumentError

if TYPE_CHECKING:
    from collections.abc import Callable

    from lab.site import Site

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 99999) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda below: st.lists(below, max_size=4) | st.dictionaries(st.text(max_size=4), below, max_size=4),
    max_leaves=12,
)
BLANKS = ("", "", "", " ", "  ", "\n", "\n ", "\r\n  ", "\t")


def write(value: Any, blank: Callable[[], str]) -> str:
    """Return a value as JSON with blanks wherever there may be some."""
    if isinstance(value, dict):
        members = (f"{blank()}{json.dumps(key)}{blank()}:{blank()}{write(item, blank)}{blank()}" for key, item in value.items())
        return "{" + (",".join(members) or blank()) + "}"
    if isinstance(value, list):
        return "[" + (",".join(f"{blank()}{write(item, blank)}{blank()}" for item in value) or blank()) + "]"
    return json.dumps(value)


@given(st.dictionaries(st.text(max_size=4), JSON, max_size=4) | st.lists(JSON, max_size=4), st.integers())
def test_every_place_is_the_one_that_yaml_says(value: Any, seed: int) -> None:
    """Whatever blanks a text has, each node is where YAML's parser sees it, and in whatever order one asks."""
    chance = random.Random(seed)
    text = chance.choice(BLANKS) + write(value, lambda: chance.choice(BLANKS)) + chance.choice(BLANKS)
    try:
        expected = yaml_events.build(text, "f", keep_places=True)
    except DocumentError:  # of tabs
        return
    document = documents.parse(text.encode(), "f")
    assert document.data == expected.data == value
    paths = list(expected.places)
    chance.shuffle(paths)
    for path in paths:
        line, column = expected.places[path]
        assert document.at(*path) == f"f:{line}:{column}"
        assert document.at(*path, "no such key") == f"f:{line}:{column}"


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('{"a": "\\ud83d\\ude00",\n "b": 1}', "f:2:7"),
        ('{"a": "\u2028",\n "b": 1}', "f:2:7"),
        ('\ufeff{"b": 1}', "f:1:7"),
        ('{\r "a": {}, "b": 1}', "f:2:16"),
        ('{\r\n\t\t"b": 1}', "f:2:8"),
        ('{"b": ' + "[" * 60 + "]" * 60 + "}", "f:1:7"),
        ('{"a": "\\"b\\": {}", "b": 1}', "f:1:25"),
    ],
)
def test_what_yaml_cannot_place(text: str, place: str) -> None:
    """JSON that YAML's parser refuses, or reads otherwise, has its places too."""
    assert documents.parse(text.encode(), "f").at("b") == place


def test_a_start_without_yaml(site: Site) -> None:
    """A site of JSON files is started, and its rule is named by file and line, although nobody can import YAML's parser."""
    site.schema("app", {"type": "object", "properties": {"a": {"type": "integer", "default": 5}}})
    site.rules({"when": "app", "do": "see"})
    site.handler("see")
    site.flat({"app": {}})
    prologue = "import sys; sys.modules['yaml'] = None"
    running = site.run(prologue=prologue)
    assert running.wait() == 0
    assert site.read("see.seen") == '{"app":{"a":5}}\n'
    assert "rule site.rules:1: handler succeeded" in running.log


def test_a_start_with_yaml(site: Site) -> None:
    """The proof above can fail: without YAML's parser a site of YAML does not start."""
    site.simple()
    site.flat("app:\n  a: 1\n")
    running = site.start(prologue="import sys; sys.modules['yaml'] = None")
    assert running.wait_for("ModuleNotFoundError")
