"""The health of sources: who is awaited, who is well again, and what people are told of it."""

from __future__ import annotations

import pytest

from disco.core import facts
from disco.core.actions import Log, Outbox
from disco.core.children import Children
from disco.core.composition import Composition
from disco.core.facts import Fact, ForkRefused
from disco.core.health import WELL_AFTER, Health
from disco.core.plan import Plan, SourcePlan
from disco.system.backoff import FIRST
from tests.core.world import KNOWN, diff, fragment, rule

NOW = 1000.0


class Ward:
    """Three sources: s and t name interface a, o is optional."""

    def __init__(self) -> None:
        named = frozenset("a")
        plan = Plan(
            sources=(
                SourcePlan("s", lease=20.0, required=True, timeout=10.0, interfaces=named, settle=5.0),
                SourcePlan("t", lease=20.0, required=True, timeout=10.0, interfaces=named),
                SourcePlan("o", lease=20.0, required=False, timeout=10.0),
            ),
            rules=(rule("r", "a"),),
            interfaces=KNOWN,
        )
        self.outbox = Outbox()
        self.children = Children(plan.sources, self.outbox, lambda: 1.0)
        self.composition = Composition(plan, withheld=named)
        self.health = Health(plan, self.children, self.composition, self.outbox)
        self.s, self.t, self.o = self.children.sources.values()
        for source in (self.s, self.t, self.o):
            self.children.start(source, NOW)
        self.health.begin(NOW)
        self.outbox.empty()

    def facts(self) -> list[Fact]:
        return [action.fact for action in self.outbox.empty() if isinstance(action, Log)]


@pytest.fixture
def ward() -> Ward:
    return Ward()


def test_who_is_awaited(ward: Ward) -> None:
    """A required source is awaited until it answers, an optional one for its timeout at most."""
    assert [ward.health.is_awaited(one, NOW) for one in (ward.s, ward.o)] == [True, True]
    ward.health.answered(ward.s, NOW)
    assert ward.health.deadline == NOW + 10.0
    ward.health.expire(NOW + 10.0)
    assert [ward.health.is_awaited(one, NOW + 10.0) for one in (ward.s, ward.t, ward.o)] == [False, True, False]


def test_an_interface_is_withheld_until_all_that_name_it_answered(ward: Ward) -> None:
    """It is released with the last of them, once and for all."""
    ward.health.changed(ward.s, diff({"a": fragment("1")}, first=True), NOW)
    assert ward.composition.adoption.newest("a").digest == ""
    assert ward.health.awaited_for("a", NOW) == [ward.t]
    ward.health.answered(ward.t, NOW)
    assert ward.composition.adoption.newest("a").digest == fragment("1").digest
    assert ward.health.awaited_for("a", NOW) == []


@pytest.mark.parametrize("by", ["a second answer", "time"])
def test_well_after_two_answers_or_a_while(ward: Ward, by: str) -> None:
    """One good answer ends no trouble that people were told of: the second does, or time without a further error."""
    ward.health.answered(ward.s, NOW)
    ward.facts()
    ward.health.failed(ward.s, "refused", 1.0, NOW + 1.0)
    ward.health.failed(ward.s, "refused", 1.0, NOW + 2.0)
    ward.health.answered(ward.s, NOW + 3.0)
    assert [type(fact) for fact in ward.facts()] == [facts.SourceFailed]
    if by == "time":
        ward.health.expire(NOW + 3.0 + WELL_AFTER)
    else:
        ward.health.answered(ward.s, NOW + 4.0)
    assert [type(fact) for fact in ward.facts()] == [facts.SourceRecovered]


def test_an_error_in_between_counts(ward: Ward) -> None:
    """Answer, error, answer is not well."""
    ward.health.answered(ward.s, NOW)
    ward.health.failed(ward.s, "refused", 1.0, NOW)
    ward.health.answered(ward.s, NOW)
    ward.health.failed(ward.s, "refused", 1.0, NOW)
    ward.health.answered(ward.s, NOW)
    assert facts.SourceRecovered not in [type(fact) for fact in ward.facts()]


def test_renewal_is_awaited_once(ward: Ward) -> None:
    """After SIGHUP exec waits for the next process's first word, for the timeout at most, whatever else comes."""
    ward.health.answered(ward.s, NOW)
    ward.health.renew(ward.s, NOW)
    ward.children.renew(ward.s, NOW)
    ward.health.answered(ward.s, NOW)  # the old process's last word
    assert ward.health.is_awaited(ward.s, NOW)
    ward.health.renew(ward.s, NOW + 8.0)
    assert not ward.health.is_awaited(ward.s, NOW + 10.0)
    ward.children.bury(ward.s, -9)
    ward.children.start(ward.s, NOW)
    ward.health.failed(ward.s, "refused", 1.0, NOW + 1.0)
    assert not ward.health.is_awaited(ward.s, NOW + 1.0)


def test_a_renewed_source_has_not_failed_yet(ward: Ward) -> None:
    """After SIGHUP the pause after a death is as short as at first."""
    for _ in range(5):
        ward.children.bury(ward.s, -9)
        ward.children.back_off(ward.s, NOW)
        ward.children.start(ward.s, NOW)
    ward.health.renew(ward.s, NOW)
    ward.children.bury(ward.s, -9)
    assert ward.children.back_off(ward.s, NOW) == FIRST


def test_a_refused_fork_is_trouble(ward: Ward) -> None:
    """A source whose process cannot be started cannot be read; why it could not before that is kept."""
    ward.health.fork_failed(ward.s, "no memory", 2.0, NOW)
    assert (ward.s.trouble, ward.s.retry_at) == (ForkRefused("no memory"), NOW + 2.0)
    ward.health.failed(ward.t, "refused", 1.0, NOW)
    ward.health.fork_failed(ward.t, "no memory", 2.0, NOW)
    assert ward.t.trouble == "refused"
    assert ward.health.silent() == (("s", ForkRefused("no memory")), ("t", "refused"))


def test_what_a_source_may_not_say(ward: Ward) -> None:
    """An interface that the configuration does not let it provide, and more data than is kept of one."""
    assert ward.health.find_excess(ward.s, diff({"b": fragment("1")}, first=True))
    assert not ward.health.find_excess(ward.s, diff({"a": fragment("1")}, first=True))


def test_emptiness_keeps_exec_waiting_while_it_can_end(ward: Ward) -> None:
    """What is gone at once may come back, unless its source cannot be read."""
    for source in (ward.s, ward.t, ward.o):
        ward.health.answered(source, NOW)
    ward.health.changed(ward.s, diff({"a": fragment("1")}, first=True), NOW)
    assert not ward.health.keeps_waiting(NOW)
    ward.health.changed(ward.s, diff(removed=("a",)), NOW)
    assert ward.health.keeps_waiting(NOW)
    ward.health.failed(ward.s, "refused", 1.0, NOW)
    assert not ward.health.keeps_waiting(NOW)


def test_a_source_that_cannot_be_forked_is_not_well(ward: Ward) -> None:
    """Time without an error makes a source well only while it has a process."""
    ward.health.answered(ward.s, NOW)
    ward.health.failed(ward.s, "refused", 1.0, NOW)
    ward.health.answered(ward.s, NOW)
    ward.health.fork_failed(ward.s, "no memory", 1.0, NOW + 1.0)
    ward.facts()
    ward.health.expire(NOW + 1.0 + WELL_AFTER)
    assert ward.facts() == []
