"""Wording: facts → sentences. The texts of everything that the log says of the core's decisions.

It is one module, however long, because it is the list of these texts.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from disco.core import facts, reasons
from disco.core.ending import KILL_WAIT
from disco.core.facts import Cause, Exit, ForkRefused
from disco.errors import HandlerStatus
from disco.named import NamedTuple
from disco.system.signals import KILL, name_of
from disco.text import PATH_LIMIT, duration, escape, plural, shorten

if TYPE_CHECKING:
    from collections.abc import Callable

    from disco.core.events import ChildId
    from disco.core.facts import Fact, RunFailure, Trouble
    from disco.core.plan import SourcePlan
    from disco.core.reasons import Reason

NAMES_SHOWN = 10


class Sentence(NamedTuple):
    """What is logged: level, an event's stable name, the text for people, and what it is about."""

    level: int
    event: str
    text: str
    source: str = ""
    rule: str = ""


def say(fact: Fact) -> Sentence:
    """Return a fact as it is logged."""
    return _SAY[type(fact)](fact)


def reason(why: Reason) -> str:
    """Return why disco ends as it does."""
    return _REASONS[type(why)](why)


def trouble(why: Trouble) -> str:
    """Return why a source cannot be read; empty if it can."""
    match why:
        case Exit():
            return exit_(why)
        case ForkRefused():
            return f"its process cannot be started: {why.reason}"
        case _:
            return why


def failure(why: RunFailure) -> str:
    """Return why a run failed, with the last line of the handler's output."""
    return _without_tail(why) + (f" ({why.tail})" if why.tail else "")


def refusal(rule: str, why: RunFailure) -> str:
    """Return that a rule's handler refuses its data, with the last line of its output."""
    return f"the handler of rule {rule} refuses its data: {failure(why)}"


def fail_limit(*, is_own: bool) -> str:
    """Return the name of the limit of a rule's failures; is_own: the rule itself has it."""
    return "the rule's fail_limit" if is_own else "disco.fail_limit"


def exit_(why: Exit) -> str:
    """Return how a child's process ended."""
    match why.cause:
        case Cause.EXITED:
            return f"its process ended ({status(int(why.detail))})"
        case Cause.STOPPED:
            return "it was stopped"
        case Cause.RENEWED:
            return "it was renewed"
        case Cause.HUNG:
            return "its process hung (no message in time), and was killed"
        case Cause.VIOLATION:
            return f"it sent {why.detail}, and was killed"
        case Cause.MEMORY:
            return f"its process had more than {int(why.detail) >> 20} MiB of memory, and was killed"


def status(number: int) -> str:
    """Return how a process ended."""
    if number >= 0:
        return f"exit status {number}"
    return f"killed by {name_of(-number)}" + (", not by disco: out of memory?" if -number == KILL else "")


def ignored(source: SourcePlan) -> str:
    """Return which names that a source holds are not used."""
    return "without a schema" + ("" if source.interfaces is None else f", or not named by {source.namespace}.interfaces")


def left(survived: facts.Survived) -> str:
    """Return what is still there, by name and by pid."""
    return ", ".join([*survived.children, *(f"process {pid}" for pid in survived.pids)])


def _child(child: ChildId) -> str:
    return child.kind.value.label.format(name=child.name)


def _source_of(child: ChildId) -> str:
    return child.name if child.kind.value.has_backend else ""


def _without_tail(why: RunFailure) -> str:
    if why.is_export:
        size, limit = -(-why.size >> 10), max(0, why.limit >> 10)
        return f"the variables that rules export need {size} KiB, and COMMAND can be given {limit} KiB (ulimit -s)"
    if why.size:
        return f"cannot be started: {_excess(why)}"
    if why.lost:
        runner, end = why.lost
        return f"{runner.name}, which ran it: {exit_(end)}"
    return why.problem or status(why.status)


def _excess(why: RunFailure) -> str:
    size = f"{-(-why.size >> 20)} MiB is over the limit of {why.limit >> 20} MiB"
    return f"its input of {size} (let the rule name fewer interfaces)"


def _silent(silent: tuple[tuple[str, Trouble], ...]) -> str:
    return ", ".join(name + (f" ({trouble(why)})" if why else "") for name, why in silent)


# What is logged


def _child_violated(fact: facts.ChildViolated) -> Sentence:
    text = (
        f"{_child(fact.child)} violated disco's protocol ({fact.reason}) and is replaced: "
        "a bug in disco or in a plug-in; please report it"
    )
    return Sentence(logging.ERROR, "child-broken", text, source=_source_of(fact.child))


def _child_grew(fact: facts.ChildGrew) -> Sentence:
    much = f"more than {fact.limit >> 20} MiB of memory"
    remedy = f"raise {fact.child.name.partition('/')[0]}.memory if it needs more"
    text = f"{_child(fact.child)}: its process had {much} and is replaced ({remedy})"
    return Sentence(logging.ERROR, "source-outgrown", text, source=_source_of(fact.child))


def _child_replaced(fact: facts.ChildReplaced) -> Sentence:
    return Sentence(logging.WARNING, "child-ended", f"{_child(fact.child)}: {exit_(fact.exit)}; it is replaced")


def _child_not_started(fact: facts.ChildNotStarted) -> Sentence:
    text = f"{_child(fact.child)}: cannot be started: {fact.reason} (next try in {duration(fact.retry_in)})"
    return Sentence(logging.ERROR, "child-not-started", text, source=_source_of(fact.child))


def _source_answered(fact: facts.SourceAnswered) -> Sentence:
    return Sentence(logging.INFO, "source-answered", f"source {fact.source}: first answer", source=fact.source)


def _source_recovered(fact: facts.SourceRecovered) -> Sentence:
    text = f"source {fact.source}: answers again after {duration(fact.seconds)}"
    return Sentence(logging.INFO, "source-recovered", text, source=fact.source)


def _source_noted(fact: facts.SourceNoted) -> Sentence:
    return Sentence(logging.WARNING, "source-note", f"source {fact.source}: {fact.note}", source=fact.source)


def _source_failed(fact: facts.SourceFailed) -> Sentence:
    kept = "; its last data is kept" if fact.has_answered else ""
    text = f"source {fact.source}: {trouble(fact.trouble)}{kept} (next try in {duration(fact.retry_in)})"
    return Sentence(logging.WARNING if fact.is_required else logging.INFO, "source-failed", text, source=fact.source)


def _source_emptied(fact: facts.SourceEmptied) -> Sentence:
    text = (
        f"source {fact.source}: all its data is gone at once; disco accepts that in {duration(fact.settle)} if nothing "
        "comes back (a server that restarts, has no leader, or denies the right to read looks like this)"
    )
    return Sentence(logging.WARNING, "source-emptied", text, source=fact.source)


def _source_refilled(fact: facts.SourceRefilled) -> Sentence:
    return Sentence(logging.INFO, "source-refilled", f"source {fact.source}: what was gone is back", source=fact.source)


def _source_withdrawn(fact: facts.SourceWithdrawn) -> Sentence:
    gone = "not everything" if fact.has_data else "nothing"
    option = f"{fact.source.partition('/')[0]}.settle"
    text = f"source {fact.source}: {gone} came back: what is still gone counts as deleted now ({option})"
    return Sentence(logging.WARNING, "source-withdrawn", text, source=fact.source)


def _names_ignored(fact: facts.NamesIgnored) -> Sentence:
    more = ", …" if fact.count > len(fact.names) else ""
    names = f"{plural(fact.count, 'name')} {ignored(fact.source)}, ignored: {', '.join(fact.names)}{more}"
    return Sentence(logging.INFO, "unknown-names", f"source {fact.source.name}: {names}", source=fact.source.name)


def _rule_started(fact: facts.RuleStarted) -> Sentence:
    attempt = f" (attempt {fact.attempt})" if fact.attempt > 1 else ""
    on = f" on {', '.join(fact.interfaces)}" if fact.interfaces else ""
    text = f"rule {fact.rule}: running {_handler(fact.handler)}{on}{attempt}"
    return Sentence(logging.INFO, "rule-started", text, rule=fact.rule)


def _rule_succeeded(fact: facts.RuleSucceeded) -> Sentence:
    return Sentence(
        logging.INFO, "rule-succeeded", f"rule {fact.rule}: handler succeeded ({duration(fact.seconds)})", rule=fact.rule
    )


def _rule_failed(fact: facts.RuleFailed) -> Sentence:
    times = f"failure {fact.failures} of {fact.limit}" if fact.limit else f"failure {fact.failures}"
    again = "" if fact.retry_in is None else f", next try in {duration(fact.retry_in)}"
    text = f"rule {fact.rule}: handler {_handler(fact.handler)} failed: {_without_tail(fact.failure)} ({times}{again})"
    return Sentence(logging.WARNING, "rule-failed", text, rule=fact.rule)


def _rule_refused(fact: facts.RuleRefused) -> Sentence:
    data = f"the data of {', '.join(fact.interfaces)} (exit status {HandlerStatus.DATA:d}, which is not counted as a failure)"
    again = f"it runs again when that changes, or in {duration(fact.retry_in)}"
    text = f"rule {fact.rule}: handler {_handler(fact.handler)} refuses {data}: {again}"
    return Sentence(logging.WARNING, "rule-refused", text, rule=fact.rule)


def _data_frozen(fact: facts.DataFrozen) -> Sentence:
    changed = shorten(fact.interfaces, NAMES_SHOWN)
    if fact.runs:
        why = f"has run {fact.runs} times in a row, because its data keeps changing ({changed})"
    else:
        why = f"has succeeded, but its data changes faster than it is validated ({changed})"
    until = "every rule has succeeded, or one has failed"
    text = f"rule {fact.rule} {why}: disco uses no further change before {until}"
    return Sentence(logging.WARNING, "data-frozen", text, rule=fact.rule)


def _reading_anew(_fact: facts.ReadingAnew) -> Sentence:
    return Sentence(logging.INFO, "reading-anew", "SIGHUP received: every source is read anew")


def _stopping(fact: facts.Stopping) -> Sentence:
    return Sentence(logging.INFO, "stopping", f"{name_of(fact.signal)} received: stopping" + (" at once" if fact.again else ""))


def _grace_passed(_fact: facts.GracePassed) -> Sentence:
    return Sentence(logging.WARNING, "grace-passed", "disco.grace passed: what is left is killed")


def _survived(fact: facts.Survived) -> Sentence:
    return Sentence(logging.ERROR, "unkillable", reason(fact), rule=fact.rule)


def _starts_frozen(fact: facts.StartsFrozen) -> Sentence:
    changed = shorten(fact.interfaces, NAMES_SHOWN)
    text = f"{fact.command} starts with the data of {duration(fact.seconds)} ago: meanwhile {changed} changed"
    return Sentence(logging.WARNING, "frozen-data", text)


def _starts_on_old_data(fact: facts.StartsOnOldData) -> Sentence:
    data = "missing: it never answered" if fact.age is None else f"as of {duration(fact.age)} ago"
    text = f"source {fact.source}: {fact.command} starts with its data {data} ({trouble(fact.trouble)})"
    return Sentence(logging.WARNING, "old-data", text, source=fact.source)


def _handler(program: str) -> str:
    """Return what a rule runs: without its arguments, which may hold a secret."""
    return escape(program, PATH_LIMIT)


# Why disco ends


def _why_gave_up(why: reasons.GaveUp) -> str:
    times = f"{plural(why.failures, 'time')} in a row ({fail_limit(is_own=why.is_own_limit)})"
    return f"rule {why.rule}: its handler failed {times}, last: {failure(why.last)}"


def _why_timed_out(why: reasons.TimedOut) -> str:
    reasons_ = [f"no good answer ever came from {_silent(why.silent)}"] if why.silent else []
    reasons_ += [refusal(rule, how) for rule, how in why.refused[:NAMES_SHOWN]]
    more = f" and {len(why.refused) - NAMES_SHOWN} more" if len(why.refused) > NAMES_SHOWN else ""
    return ", and ".join(["disco.timeout passed", *reasons_]) + more


def _why_forks_refused(why: reasons.ForksRefused) -> str:
    remedy = "raise the container's limits (processes, open files, memory)"
    return f"{_child(why.child)} cannot be started ({why.attempts} attempts): {why.reason}; {remedy}"


def _why_survived(why: facts.Survived) -> str:
    what = f"rule {why.rule}: processes of its killed run are" if why.rule else "processes are"
    return f"{what} still there {KILL_WAIT:g} s after SIGKILL (a hanging disk or NFS?): {left(why)}"


_SAY: dict[type, Callable[[Any], Sentence]] = {
    facts.ChildViolated: _child_violated,
    facts.ChildGrew: _child_grew,
    facts.ChildReplaced: _child_replaced,
    facts.ChildNotStarted: _child_not_started,
    facts.SourceAnswered: _source_answered,
    facts.SourceRecovered: _source_recovered,
    facts.SourceNoted: _source_noted,
    facts.SourceFailed: _source_failed,
    facts.SourceEmptied: _source_emptied,
    facts.SourceRefilled: _source_refilled,
    facts.SourceWithdrawn: _source_withdrawn,
    facts.NamesIgnored: _names_ignored,
    facts.RuleStarted: _rule_started,
    facts.RuleSucceeded: _rule_succeeded,
    facts.RuleFailed: _rule_failed,
    facts.RuleRefused: _rule_refused,
    facts.DataFrozen: _data_frozen,
    facts.ReadingAnew: _reading_anew,
    facts.Stopping: _stopping,
    facts.GracePassed: _grace_passed,
    facts.Survived: _survived,
    facts.StartsFrozen: _starts_frozen,
    facts.StartsOnOldData: _starts_on_old_data,
}
_REASONS: dict[type, Callable[[Any], str]] = {
    reasons.Satisfied: lambda _: "all rules are satisfied",
    reasons.GaveUp: _why_gave_up,
    reasons.TimedOut: _why_timed_out,
    reasons.Signalled: lambda why: f"stopped by {name_of(why.signal)}",
    reasons.ForksRefused: _why_forks_refused,
    facts.Survived: _why_survived,
    reasons.NoRules: lambda _: "there is no rule",
    reasons.WouldRun: lambda _: "every rule would run",
    reasons.Silent: lambda why: f"no good answer came from {_silent(why.silent)}",
    reasons.WouldWait: lambda why: f"{plural(why.rules, 'rule')} would wait for data",
    reasons.WouldFail: lambda why: f"rule {why.rule}: its handler could not be started: {_excess(why.failure)}",
}
