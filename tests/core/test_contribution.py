"""Contributions: what a source says, and a sudden emptiness that is held."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from disco.core.contribution import Contribution
from tests.core.world import data_of, diff, fragment

NOW = 1000.0


@pytest.fixture
def full() -> Contribution:
    """Return what a source contributes that has two interfaces."""
    contribution = Contribution("s", settle=5.0)
    contribution.apply(diff({"a": fragment("1"), "b": fragment("1")}, first=True), NOW)
    return contribution


def test_what_changed_is_named(full: Contribution) -> None:
    """Only interfaces are named whose data is another one, or gone."""
    assert full.apply(diff({"a": fragment("2"), "b": fragment("1")}), NOW) == ["a"]
    assert full.apply(diff(removed=("b",)), NOW) == ["b"]
    assert full.apply(diff({"a": fragment("2")}, first=True), NOW) == []


def test_an_emptiness_is_held_until_it_is_accepted(full: Contribution) -> None:
    """What the source had counts until then; afterwards what it says by then."""
    assert full.apply(diff(removed=("a", "b")), NOW) == []
    assert full.apply(diff({"a": fragment("3")}), NOW) == []
    assert set(full.fragments) == {"a", "b"}
    assert full.deadline == NOW + 5.0
    assert full.accept_held() == ["a", "b"]
    assert full.fragments == {"a": fragment("3")}
    assert not full.is_held_empty


def test_an_emptiness_is_dropped_when_all_is_back(full: Contribution) -> None:
    """Nothing has changed then."""
    full.apply(diff(first=True), NOW)
    full.apply(diff({"a": fragment("1")}), NOW)
    assert full.is_held_empty
    assert full.apply(diff({"b": fragment("1")}), NOW) == []
    assert not full.is_held_empty


def test_a_hold_has_no_end_while_the_source_cannot_be_read(full: Contribution) -> None:
    """Its time begins anew when the source can be read again."""
    full.apply(diff(first=True), NOW)
    full.extend_hold()
    assert full.deadline is None
    full.limit_hold(NOW + 60.0)
    full.limit_hold(NOW + 62.0)
    assert full.deadline == NOW + 65.0


def test_names_that_are_unknown_are_something() -> None:
    """A source that holds names which nobody knows is not empty; nor is one held that has no patience."""
    contribution = Contribution("s", settle=5.0)
    contribution.apply(diff({"a": fragment("1")}, first=True), NOW)
    assert contribution.apply(diff(removed=("a",))._replace(unknown=("x",), unknown_count=1), NOW) == ["a"]
    impatient = Contribution("s", settle=0.0)
    impatient.apply(diff({"a": fragment("1")}, first=True), NOW)
    assert impatient.apply(diff(removed=("a",)), NOW) == ["a"]


@given(st.lists(st.dictionaries(st.sampled_from("abc"), st.sampled_from("12")), max_size=20), st.booleans())
def test_the_invariant(states: list[dict[str, str]], first: bool) -> None:
    """While an emptiness is held the source's data is what it was before; else it is what the source said last."""
    contribution = Contribution("s", settle=5.0)
    believed: dict[str, str] = {}
    said: dict[str, str] = {}
    for state in states:
        removed = () if first else tuple(said.keys() - state.keys())
        contribution.apply(diff({name: fragment(value) for name, value in state.items()}, removed, first=first), NOW)
        said = state
        if not contribution.is_held_empty:
            believed = said
        assert {name: data_of(one) for name, one in contribution.fragments.items()} == believed
        assert contribution.is_held_empty == (said != believed)
