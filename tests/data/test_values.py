"""Values: strict JSON, plain and canonical data, merges, limits."""

from __future__ import annotations

import json
from collections import OrderedDict
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from disco.data import values
from disco.wire import messages
from tests.data.parsing import JSON, nested


class Text(str):
    """Text that is more than text."""

    __slots__ = ()


@given(JSON)
def test_what_json_makes_is_plain(value: Any) -> None:
    """Whatever JSON can hold and gives back is plain."""
    assert values.is_plain(value)
    assert values.is_plain(json.loads(json.dumps(value)))


@pytest.mark.parametrize(
    "value", [(), "\ud83d\ude00", {"\udfff": 1}, Text(), {1: 2}, {Text(): 1}, OrderedDict(), b"", object(), Decimal(1), Ellipsis]
)
def test_what_json_does_not_make_is_not_plain(value: object) -> None:
    """Anything else is not, however deep it lies."""
    for wrapped in (value, [value], {"a": value}, {"a": [{"b": [1, value]}]}):
        assert not values.is_plain(wrapped)


@pytest.mark.parametrize(("depth", "expected"), [(1, 1), (64, 64), (65, 65), (66, 66), (5000, 66)])
def test_measure_depth(depth: int, expected: int) -> None:
    """Depth is measured without recursion, of lists, tuples and mappings, until it is clear that it is too much."""
    value: Any = []
    for level in range(depth - 1):
        value = ([value], (value,), {"a": value})[level % 3]
    assert values.measure(value)[1] == expected


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1e400", '{"a": 1, "a": 2}', "", "[", nested(65), "[" * 30_000])
def test_strict_json(text: str) -> None:
    """What json.loads takes beyond JSON, double keys, and what is too deep, raise ValueError alone."""
    with pytest.raises(ValueError):  # noqa: PT011 -- any
        values.strict_json(text)


@given(st.dictionaries(st.text(), st.integers() | st.text() | st.booleans(), max_size=5))
def test_canonical(data: dict[str, Any]) -> None:
    """Equal data has one form, whatever its order; the form is JSON in ASCII and comes back as the data."""
    form = values.canonical(data)
    assert form == values.canonical(dict(reversed(data.items())))
    assert form.isascii()
    assert json.loads(form) == data
    assert len(messages.digest(form)) == 32


@pytest.mark.parametrize("data", [float("nan"), float("inf"), b"x", {1, 2}, {"a": object()}, {(1,): 2}, {"a": 1, 2: 3}])
def test_not_canonical(data: Any) -> None:
    """What JSON cannot hold is refused."""
    with pytest.raises((TypeError, ValueError)):
        values.canonical(data)


@pytest.mark.parametrize(
    ("base", "over", "merged"),
    [
        ({"a": 1, "b": {"c": 1, "d": 1}}, {"b": {"c": 2, "e": 2}}, {"a": 1, "b": {"c": 2, "d": 1, "e": 2}}),
        ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
        ({"a": {"b": 1}}, {"a": None}, {"a": None}),
        ({"a": 1}, {"a": {"b": 1}}, {"a": {"b": 1}}),
        ({}, {"a": 1}, {"a": 1}),
    ],
)
def test_merge(base: Any, over: Any, merged: Any) -> None:
    """Mappings merge key by key; of anything else the second is taken; neither is changed."""
    before = json.dumps([base, over])
    assert values.merge(base, over) == merged
    assert json.dumps([base, over]) == before


@given(JSON)
def test_leaves(value: Any) -> None:
    """Each leaf is found once, where its path leads, and holds nothing."""

    def count(node: Any) -> int:
        below = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
        return sum(map(count, below)) or 1

    leaves = list(values.find_leaves(value))
    for path, leaf in leaves:
        found = value
        for part in path:
            found = found[part]
        assert found is leaf
        assert not (leaf and isinstance(leaf, (dict, list)))
    assert len({path for path, _ in leaves}) == len(leaves) == count(value)
