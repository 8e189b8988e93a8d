"""Named tuples are what `typing` calls so, and Python compiles nothing for them."""

from __future__ import annotations

import copy
import pickle
import types
from itertools import permutations, product
from typing import Any, NamedTuple

import pytest

from disco import named


class Ours(named.NamedTuple):
    """A named tuple of disco's, with a method."""

    first: int
    second: Any
    third: int = 3
    fourth: int = 4

    def total(self) -> int:
        """Return something of all fields."""
        return self.first + int(self.second) + self.third + self.fourth


class Theirs(NamedTuple):
    """The same as the standard library has it."""

    first: int
    second: Any
    third: int = 3
    fourth: int = 4


FIELDS = ("first", "second", "third", "fourth", "fifth")
CALLS = [(tuple(range(count)), names) for count, size in product(range(6), range(6)) for names in permutations(FIELDS, size)]


def make(kind: Any, values: tuple[int, ...], names: tuple[str, ...]) -> tuple[int, ...] | None:
    """Return what a call gives, as a plain tuple; None if it is refused."""
    try:
        return tuple(kind(*values, **{name: 10 + number for number, name in enumerate(names)}))
    except TypeError:
        return None


def test_every_call() -> None:
    """Fields are given by place, by name in any order, or by default, and any other call is refused."""
    assert [make(Ours, *call) for call in CALLS] == [make(Theirs, *call) for call in CALLS]
    assert any(make(Ours, *call) for call in CALLS)


def test_what_a_named_tuple_can_do() -> None:
    """It is a tuple with names: compared, hashed, matched, shown, copied, changed."""
    ours, theirs = Ours(1, second=2), Theirs(1, 2)
    assert ours == theirs
    assert hash(ours) == hash(theirs)
    assert (ours.first, ours.second, ours.third, ours.total()) == (1, 2, 3, 10)
    assert repr(ours) == repr(theirs).replace("Theirs", "Ours")
    assert ours._asdict() == theirs._asdict()
    assert type(ours._replace(third=7)) is Ours
    assert ours._replace(third=7) == theirs._replace(third=7)
    assert copy.deepcopy(ours) == pickle.loads(pickle.dumps(ours)) == ours  # noqa: S301 -- our own
    match ours:
        case Ours(first, second, third, fourth=four):
            assert (first, second, third, four) == (1, 2, 3, 4)
    assert not hasattr(ours, "__dict__")
    with pytest.raises(AttributeError):
        ours.first = 2  # type: ignore[misc]
    with pytest.raises((TypeError, ValueError)):
        ours._replace(fifth=5)  # type: ignore[call-arg]


def test_a_default_before_a_field_without_one() -> None:
    """Which default stands for which field is never a question."""
    with pytest.raises(TypeError, match=r"^Wrong: a field without a default follows"):
        types.new_class(
            "Wrong", (named.NamedTuple,), {}, lambda body: body.update({"__annotations__": {"a": "int", "b": "int"}, "a": 1})
        )
