"""Wording: every fact has its sentence, whatever is in it."""

from __future__ import annotations

from typing import get_args

import pytest

from disco.core import facts, reasons
from disco.core.events import ChildId, Kind
from disco.core.facts import Cause, Exit, Fact, ForkRefused, RunFailure
from disco.core.plan import SourcePlan
from disco.people import wording

SOURCE = ChildId(Kind.SOURCE, "east/web")
PLAN = SourcePlan("east/web", lease=1.0, required=True, timeout=1.0)
VALUES = {
    "ChildId": SOURCE,
    "Exit": Exit(Cause.HUNG),
    "SourcePlan": PLAN,
    "str": "a-name",
    "int": 3,
    "float": 2.0,
    "bool": True,
    "float | None": 2.0,
    "Trouble": "refused",
    "RunFailure": RunFailure(status=1, tail="no such file"),
    "tuple[str, ...]": ("a", "b"),
    "tuple[int, ...]": (7, 8),
    "tuple[tuple[str, Trouble], ...]": (("east", "refused"), ("west", "")),
    "tuple[tuple[str, RunFailure], ...]": (("a-rule", RunFailure(status=65, tail="no such host")),),
}
NO_FACTS = {Fact, Exit, ForkRefused, RunFailure, reasons.Outcome}
ALL: set[type[Fact]] = {
    kind
    for module in (facts, reasons)
    for kind in vars(module).values()
    if isinstance(kind, type) and issubclass(kind, Fact) and kind not in NO_FACTS
}


def make(kind: type[Fact]) -> Fact:
    """Return a fact of this kind with something in each field."""
    return kind(**{name: VALUES[type_] for name, type_ in kind.__annotations__.items()})


@pytest.mark.parametrize("kind", sorted(ALL, key=str), ids=lambda kind: kind.__name__)
def test_every_fact_has_a_sentence(kind: type[Fact]) -> None:
    """It is one line, in words, whether it is logged or why disco ends."""
    fact = make(kind)
    texts = [wording.say(fact).text] if kind in wording._SAY else []
    texts += [wording.reason(fact)] if kind in get_args(reasons.Reason) else []  # type: ignore[arg-type]
    assert texts, "nobody can read it"
    for text in texts:
        assert "\n" not in text
        assert " " in text
        assert "<" not in text
        assert "None" not in text


def test_the_list_of_sentences_is_whole() -> None:
    """Each reason has its words, and no words are for a fact that is not there."""
    assert set(wording._REASONS) == set(get_args(reasons.Reason))
    assert set(wording._SAY) <= ALL


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        ("refused", "refused"),
        ("", ""),
        (ForkRefused("no memory"), "its process cannot be started: no memory"),
        (Exit(Cause.EXITED, 3), "its process ended (exit status 3)"),
        (Exit(Cause.EXITED, -9), "its process ended (killed by SIGKILL, not by disco: out of memory?)"),
        (Exit(Cause.VIOLATION, "garbage"), "it sent garbage, and was killed"),
        (Exit(Cause.MEMORY, 200 << 20), "its process had more than 200 MiB of memory, and was killed"),
    ],
)
def test_trouble(trouble: facts.Trouble, words: str) -> None:
    """Why a source cannot be read is its own words, or what became of its process."""
    assert wording.trouble(trouble) == words


def test_why_a_run_failed() -> None:
    """The status, the runner's words, the runner's end or the size, and then the handler's last line."""
    runner = ChildId(Kind.RUNNER, "runner-1")
    assert wording.failure(RunFailure(status=7, tail="denied")) == "exit status 7 (denied)"
    assert wording.failure(RunFailure(problem="took longer than 60 s")) == "took longer than 60 s"
    assert wording.failure(RunFailure(lost=(runner, Exit(Cause.HUNG)))).startswith("runner-1, which ran it: its process hung")
    assert "input of 2 MiB is over the limit of 1 MiB" in wording.failure(RunFailure(size=(1 << 20) + 1, limit=1 << 20))
