"""Deadlines: the first of many that are put off, brought forward and taken back."""

from __future__ import annotations

from operator import attrgetter

from hypothesis import given
from hypothesis import strategies as st

from disco.core.deadlines import Deadlines


class Thing:
    def __init__(self) -> None:
        self.until: float | None = None


TIMES = st.one_of(st.none(), st.floats(0, 100))


@given(st.lists(st.tuples(st.integers(0, 5), TIMES), max_size=60))
def test_the_first_is_the_earliest(steps: list[tuple[int, float | None]]) -> None:
    """Whatever happens to the deadlines, the first is the earliest of those that there are."""
    things = [Thing() for _ in range(6)]
    deadlines: Deadlines[Thing] = Deadlines(attrgetter("until"))
    for number, time in steps:
        things[number].until = time
        deadlines.note(things[number])
        assert deadlines.first == min((thing.until for thing in things if thing.until is not None), default=None)


@given(st.lists(TIMES, max_size=20), st.floats(0, 100))
def test_all_that_is_due(times: list[float | None], now: float) -> None:
    """What is due comes in the order of its time, each once, if it gets another deadline."""
    deadlines: Deadlines[Thing] = Deadlines(attrgetter("until"))
    things = []
    for time in times:
        things.append(Thing())
        things[-1].until = time
        deadlines.note(things[-1])
    found = []
    for thing in deadlines.due(now):
        found.append(thing.until)
        thing.until = None
    assert found == sorted(time for time in times if time is not None and time <= now)


def test_putting_off_costs_nothing() -> None:
    """A deadline that is put off a thousand times is kept once."""
    thing = Thing()
    deadlines: Deadlines[Thing] = Deadlines(attrgetter("until"))
    for time in range(1000):
        thing.until = float(time)
        deadlines.note(thing)
    assert len(deadlines._heap) == 1
    assert deadlines.first == 999.0
