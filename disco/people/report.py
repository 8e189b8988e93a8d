"""The report: a status → lines for people. What is missing, why, and what comes next. Pure; no value is in a status."""

from __future__ import annotations

from typing import TYPE_CHECKING

from disco.people import wording
from disco.text import NAME_LIMIT, PROBLEM_LIMIT, duration, escape, plural

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from disco.core.status import RuleStatus, SourceStatus, Status
    from disco.site.rules import Rule

# How many are shown; the rest is counted.
CAUSES_SHOWN = 20  # those that most rules wait for first
SOURCES_SHOWN = 10  # one by one, of those in trouble and of the others
NAMES_SHOWN = 5  # rules or sources in one line
PROBLEMS_SHOWN = 5  # of one interface


def lines(status: Status) -> Iterator[str]:
    """Yield why COMMAND is not executed: each cause with the rules that wait for it, then every source, then what comes next."""
    waiting = [rule for rule in status.rules.values() if not rule.is_satisfied]
    command, outcome = status.plan.command, status.outcome
    after = f"{duration(status.now - status.began)} after the start"
    if waiting:
        count = f"{len(waiting)} of {plural(len(status.rules), 'rule')}" if len(status.rules) > 1 else "the only rule"
        what = f"{after}, {count} {'is' if len(waiting) == 1 else 'are'} not satisfied"
    else:
        what = f"{after}, every rule is satisfied"
    if outcome and outcome.status is not None:
        yield f"{command} is not started: {wording.reason(outcome.reason)}; {what}"
    else:
        yield f"{command} is not started yet: {what}"
    causes = _causes(status, [rule for rule in status.rules.values() if not rule.is_satisfied or rule.is_running])
    for cause, rules in causes[:CAUSES_SHOWN]:
        yield from _tell(status, cause, rules)
    if len(causes) > CAUSES_SHOWN:
        rest = {rule.rule.name for _, rules in causes[CAUSES_SHOWN:] for rule in rules}
        verb = "waits" if len(rest) == 1 else "wait"
        yield f"… and {plural(len(causes) - CAUSES_SHOWN, 'further cause')}, for which {plural(len(rest), 'rule')} {verb}"
    if status.frozen:
        meanwhile = f" ({_some(status.behind)} changed meanwhile)" if status.behind else ""
        why = f"because that of rule {status.frozen} keeps changing"
        yield f"the data is frozen, {why}: disco uses new data if a handler fails{meanwhile}"
    yield from _sources(status, awaited=f"; {command} waits for its first good answer" if not waiting else "")
    if not (outcome and outcome.status is not None):
        yield _next(status)


def summary(status: Status) -> str:
    """Return what most of the rules wait for, on one line; empty if none waits."""
    for cause, rules in _causes(status, [rule for rule in status.rules.values() if not rule.is_satisfied]):
        if cause == ("due", ""):  # after the end a run that was stopped looks like one that never began
            return f"{_subject(rules)}: all data is there, but no handler has succeeded on it"
        return next(_tell(status, cause, rules))
    return ""


def health(status: Status, source: SourceStatus) -> str:
    """Return how a source is, in a few words."""
    place = f" ({_place_of(source)})" if source.plan.place else ""
    if source.has_answered:
        answered = f"last answered {duration(status.now - source.answered_at)} ago"
    else:
        answered = f"has never answered: are its options, {source.plan.namespace}.*, right?"
    if source.trouble:
        retry = max(0.0, source.retry_at - status.now)
        again = f"next try in {duration(retry)}" if retry else "disco is trying again"
        again = "" if status.outcome else f"; {again}"
        since = duration(status.now - source.failed_at)
        return f"not readable for {since}: {wording.trouble(source.trouble)}; {answered}{again}{place}"
    if source.is_held_empty:
        return f"{answered}; all its data is gone at once; disco keeps it for now{place}"
    if not source.has_answered:
        return answered + place
    if not source.fragments:
        return f"answers, but holds nothing usable: {source.note or _instead(source)}; {answered}{place}"
    return f"ok, changes are followed, {answered}{place}" + (f"; {source.note}" if source.note else "")


def interface_lines(status: Status, name: str) -> Iterator[str]:
    """Yield why an interface is not valid: nothing if it is."""
    interface = status.interfaces[name]
    newest = interface.newest
    if not interface.is_lacking:
        return
    if interface.awaited:
        options = ", ".join(dict.fromkeys(f"{source.partition('/')[0]}.interfaces" for source in interface.awaited[:NAMES_SHOWN]))
        names = "names" if len(interface.awaited) == 1 else "name"
        yield f"interface {name} waits for the first answer of {_some(interface.awaited)} ({options} {names} it)"
    elif newest.pending:
        yield f"interface {name} {'is being merged and validated' if len(newest.combination) > 1 else 'is being validated'}"
    elif newest.problems:
        from_ = f" ({'; '.join(_place(status, source, name) for source, _ in newest.combination)})"
        for problem in newest.problems[:PROBLEMS_SHOWN]:
            yield f"interface {name} is not valid: {escape(problem, PROBLEM_LIMIT)}{from_}"
        if len(newest.problems) > PROBLEMS_SHOWN:
            yield f"interface {name}: and {plural(len(newest.problems) - PROBLEMS_SHOWN, 'more problem')}"
    elif newest.digest:
        yield f"interface {name} has just changed, and waits until it is quiet"
    else:
        yield f"interface {name} is missing: " + _looked(status, name) + "".join(_similar(status, name))


def _sources(status: Status, awaited: str) -> Iterator[str]:
    """Yield each source's health; of many that are ill, or well, the rest is counted."""
    sources = status.sources
    ill = [name for name, source in sources.items() if not _is_readable(source)]
    ill += [name for name, source in sources.items() if _is_readable(source) and (source.note or not source.fragments)]
    known_ill = set(ill)
    well = [name for name in sources if name not in known_ill]
    shown = {*ill[:SOURCES_SHOWN], *(well if len(well) <= SOURCES_SHOWN else ())}
    for name, source in sources.items():
        if name in shown:
            yield f"source {name}: {health(status, source)}{awaited if source.is_awaited else ''}"
    if len(ill) > SOURCES_SHOWN:
        rest = ill[SOURCES_SHOWN:]
        yield f"… and {plural(len(rest), 'more source')} not readable, silent, empty or with a note: {_some(rest)}"
    if len(well) > SOURCES_SHOWN:
        yield f"{plural(len(well), 'source')} ok: {_some(well)}"


def _is_readable(source: SourceStatus) -> bool:
    return source.has_answered and not source.trouble and not source.is_held_empty


def _instead(source: SourceStatus) -> str:
    """Return what a source holds that has no interface."""
    count = source.unknown_count
    if not count:
        return "it is empty (wrong place or prefix, or no rights?)"
    more = ", …" if count > len(source.unknown[:NAMES_SHOWN]) else ""
    shown = ", ".join(escape(name, NAME_LIMIT) for name in source.unknown[:NAMES_SHOWN])
    return f"{plural(count, 'name')} {wording.ignored(source.plan)}: {shown}{more} (wrong place or prefix, or no schema?)"


def _place_of(source: SourceStatus) -> str:
    place = source.plan.place
    return f"all keys{place[1:]}" if place.startswith("* ") else place


def _place(status: Status, name: str, interface: str) -> str:
    """Return where a source has an interface, or would have it; if it has none else, with what is to be known of that."""
    source = status.sources[name]
    place = source.plan.place.replace("*", interface)
    return ": ".join(filter(None, (name, place, source.note if source.plan.part == interface else "")))


def _looked(status: Status, interface: str) -> str:
    """Return which sources do not have an interface that none has."""
    silent = [name for name, source in status.sources.items() if not source.has_answered]
    looked = [_place(status, name, interface) for name, source in status.sources.items() if source.has_answered]
    had = f"no source has it ({_some(looked)})" if looked else "no source has it yet"
    return had + (f"; no answer so far from {_some(silent)}" if silent else "")


def _similar(status: Status, interface: str) -> Iterator[str]:
    """Yield the names in the sources that are an interface which they may not provide, or look like a mistyped one."""
    import difflib  # noqa: PLC0415 -- only where something is missing

    for name, source in status.sources.items():
        if source.plan.interfaces is not None and interface in source.unknown:
            yield f"; {name} has it, but {source.plan.namespace}.interfaces does not name it"
            continue
        for near in difflib.get_close_matches(interface, source.unknown, n=1):
            yield f"; {name} has {escape(near, NAME_LIMIT)}, which has no schema: a typing error?"


def _causes(status: Status, waiting: list[RuleStatus]) -> list[tuple[tuple[str, str], list[RuleStatus]]]:
    """Return each cause, a kind and a name, with the rules that wait for it: those of most rules first."""
    causes: dict[tuple[str, str], list[RuleStatus]] = {}
    for rule in waiting:
        for cause in _causes_of(status, rule):
            causes.setdefault(cause, []).append(rule)
    return sorted(causes.items(), key=lambda item: -len(item[1]))


def _causes_of(status: Status, rule: RuleStatus) -> Iterator[tuple[str, str]]:
    # A rule without new data to run on waits for what it lacks, or for a change that is not adopted yet.
    lacking = [name for name in rule.rule.interfaces if status.interfaces[name].is_lacking] if not rule.has_new_data else []
    if rule.is_running:
        yield "running", ""
        yield from (("interface", name) for name in lacking)
    elif rule.rule.interfaces and not any(source.has_answered for source in status.sources.values()):
        yield "silent", ""
    elif not rule.has_new_data:
        yield from (("interface", name) for name in lacking)
    elif rule.refusal:
        yield "refused", rule.rule.name
    elif rule.failures:
        yield "failed", rule.rule.name
    elif open_ := [name for name in rule.rule.after if not status.rules[name].is_satisfied]:
        yield from (("after", name) for name in open_)
    else:
        yield "due", ""


def _tell(status: Status, cause: tuple[str, str], rules: list[RuleStatus]) -> Iterator[str]:
    kind, name = cause
    some = _subject(rules)
    verb = "waits" if len(rules) == 1 else "wait"
    match kind:
        case "interface":
            yield from interface_lines(status, name)
            yield f"  {some} {verb} for interface {name}"
        case "silent":
            yield f"nothing is known yet: no source has answered so far ({_some(status.sources)})"
            yield f"  {some} {verb} for data"
        case "refused":
            yield f"{some}: {_refusal(status, status.rules[name])}"
        case "failed":
            rule = status.rules[name]
            limit = status.plan.fail_limit_of(rule.rule)
            of = f" ({wording.fail_limit(is_own=rule.rule.fail_limit is not None)} is {limit})" if limit else ""
            last = wording.failure(rule.last_failure) if rule.last_failure else ""
            yield f"{some}: its handler failed {plural(rule.failures, 'time')} in a row{of}, last: {last}"
        case "after":
            yield f"{some} {verb} for rule {name} to succeed first"
        case "running":
            handlers = "its handler, which is running" if len(rules) == 1 else "their handlers, which are running"
            option = "disco.handler_timeout" if any(rule.rule.timeout is None for rule in rules) else "the rule's timeout"
            yield f"{some} {verb} for {handlers} (slow, or does it hang? see {option})"
        case _:
            limit = status.plan.workers
            why = f"all data is there, but no more handlers may run at a time (disco.workers is {limit})"
            yield f"{some} {verb} for a free runner: {why}"


def _refusal(status: Status, rule: RuleStatus) -> str:
    """Return what data a rule's handler refuses, why, and when it runs again."""
    refusal = rule.refusal
    assert refusal  # noqa: S101 -- this is its cause
    names = [name for name, _ in refusal.basis]
    until = refusal.until
    again = "" if until is None or status.outcome else f", or in {duration(max(0.0, until - status.now))}"
    what = f"the data of {'interface' if len(names) == 1 else 'interfaces'} {_some(names)} as wrong"
    return f"its handler refuses {what}: {wording.failure(refusal.failure)}; it runs again when that changes{again}"


def _subject(rules: list[RuleStatus]) -> str:
    return ("rule " if len(rules) == 1 else "rules ") + _some([_label(rule.rule) for rule in rules])


def _label(rule: Rule) -> str:
    any_ = f", any of {_some(rule.interfaces)}" if rule.any and len(rule.interfaces) > 1 else ""
    return f"{rule.name} ({rule.where}{any_})"


def _next(status: Status) -> str:
    if not status.is_gathering:
        return f"disco ends what it started ({_some_left(status)}), then it executes {status.plan.command}"
    end, report = status.timeout_at, status.report_at
    limit = f"; disco gives up in {duration(end - status.now)} (disco.timeout)" if end is not None else ""
    again = f"; next report in {duration(report - status.now)}" if report is not None and (end is None or report < end) else ""
    return f"disco continues by itself as soon as this is fixed{limit}{again}"


def _some_left(status: Status) -> str:
    return _some([*status.left.children, *(f"process {pid}" for pid in status.left.pids)])


def _some(names: Iterable[str]) -> str:
    """Return the first names, and how many more there are."""
    listed = list(names)
    return ", ".join(listed[:NAMES_SHOWN]) + (f" and {len(listed) - NAMES_SHOWN} more" if len(listed) > NAMES_SHOWN else "")
