"""What is missing, and why: the lifecycle's state → lines for people. Pure; no value is in that state to be shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from disco.text import duration, escape, plural

if TYPE_CHECKING:
    from collections.abc import Iterator

    from disco.core.lifecycle import Lifecycle, RuleState, SourceState
    from disco.site.rules import Rule

CAUSE_LIMIT = 20  # causes told, those that most rules wait for first
SOURCE_LIMIT = 10  # sources told one by one, of those in trouble and of the others
NAME_LIMIT = 5  # rules or sources told by name in one line
PROBLEM_LIMIT = 5  # problems told of one interface


def lines(state: Lifecycle) -> Iterator[str]:
    """Yield why COMMAND is not executed: each cause with the rules that wait for it, then every source, then what comes next."""
    waiting = [rule for rule in state.rules if not state.is_satisfied(rule)]
    command = state.plan.command
    after = f"{duration(state.now - state.began)} after the start"
    if waiting:
        count = f"{len(waiting)} of {plural(len(state.rules), 'rule')}" if len(state.rules) > 1 else "the only rule"
        what = f"{after}, {count} {'is' if len(waiting) == 1 else 'are'} not satisfied"
    else:
        what = f"{after}, every rule is satisfied"
    ends = state.outcome is not None and state.outcome.status is not None
    if ends:
        yield f"{command} is not started: {state.outcome.reason if state.outcome else ''}; {what}"
    else:
        yield f"{command} is not started yet: {what}"
    causes = _causes(state, [rule for rule in state.rules if not state.is_satisfied(rule) or rule.running_on])
    for cause, rules in causes[:CAUSE_LIMIT]:
        yield from _tell(state, cause, rules)
    if len(causes) > CAUSE_LIMIT:
        rest = {rule.rule.name for _, rules in causes[CAUSE_LIMIT:] for rule in rules}
        verb = "waits" if len(rest) == 1 else "wait"
        yield f"… and {plural(len(causes) - CAUSE_LIMIT, 'further cause')}, for which {plural(len(rest), 'rule')} {verb}"
    if state.frozen:
        changed = state.knowledge.adoption.behind
        meanwhile = f" ({_some(changed)} changed meanwhile)" if changed else ""
        yield f"the data is frozen, as that of rule {state.frozen} keeps changing: new data is used if a handler fails{meanwhile}"
    yield from _sources(state, awaited=f"; {command} waits for its first good answer" if not waiting else "")
    if not ends:
        yield _next(state)


def summary(state: Lifecycle) -> str:
    """Return what most of the rules wait for, on one line; empty if none waits."""
    for cause, rules in _causes(state, [rule for rule in state.rules if not state.is_satisfied(rule)]):
        return next(_tell(state, cause, rules))
    return ""


def health(state: Lifecycle, source: SourceState) -> str:
    """Return how a source is, in a few words."""
    place = f" ({_place_of(source)})" if source.place else ""
    if source.answered:
        answered = f"last answered {duration(state.now - source.heard_at)} ago"
    else:
        answered = f"has never answered: are its options, {source.name.partition('/')[0]}.*, right?"
    if source.trouble:
        retry = max(0.0, source.retry_at - state.now)
        again = f"next try in {duration(retry)}" if retry else "it is being tried again"
        again = "" if state.outcome else f"; {again}"
        return f"not readable for {duration(state.now - source.trouble_since)}: {source.trouble}; {answered}{again}{place}"
    if state.knowledge.is_emptied(source.name):
        return f"{answered}; all that it had is gone at once, which is not believed yet{place}"
    if not source.answered:
        return answered + place
    if not state.knowledge.fragments(source.name):
        return f"answers, but holds nothing usable: {source.note or _instead(state, source)}; {answered}{place}"
    return f"ok, changes are followed, {answered}{place}" + (f"; {source.note}" if source.note else "")


def interface_lines(state: Lifecycle, interface: str) -> Iterator[str]:
    """Yield why an interface is not valid: nothing if it is."""
    view = state.knowledge.view(interface)
    if not state.lacks(interface):
        return
    if awaited := [source.name for source in state.awaited_for(interface)]:
        options = ", ".join(dict.fromkeys(f"{name.partition('/')[0]}.interfaces" for name in awaited[:NAME_LIMIT]))
        names = "names" if len(awaited) == 1 else "name"
        yield f"interface {interface} waits for the first answer of {_some(awaited)} ({options} {names} it)"
    elif view.pending:
        yield f"interface {interface} is being merged and validated"
    elif view.problems:
        from_ = f" ({'; '.join(_place(state, name, interface) for name, _ in view.combination)})"
        for problem in view.problems[:PROBLEM_LIMIT]:
            yield f"interface {interface} is not valid: {escape(problem, 300)}{from_}"
        if len(view.problems) > PROBLEM_LIMIT:
            yield f"interface {interface}: and {plural(len(view.problems) - PROBLEM_LIMIT, 'more problem')}"
    elif view.digest:
        yield f"interface {interface} has just changed, and waits until it is quiet"
    else:
        yield f"interface {interface} is missing: " + _looked(state, interface) + "".join(_similar(state, interface))


def _sources(state: Lifecycle, awaited: str) -> Iterator[str]:
    """Yield each source's health; of many that are ill, or well, the rest is counted."""
    sources = state.sources.values()
    ill = [one.name for one in sources if not _is_readable(state, one)]
    ill += [one.name for one in sources if _is_readable(state, one) and (one.note or not state.knowledge.fragments(one.name))]
    known_ill = set(ill)
    well = [name for name in state.sources if name not in known_ill]
    shown = {*ill[:SOURCE_LIMIT], *(well if len(well) <= SOURCE_LIMIT else ())}
    for source in sources:
        if source.name in shown:
            yield f"source {source.name}: {health(state, source)}{awaited if state.is_awaited(source) else ''}"
    if len(ill) > SOURCE_LIMIT:
        rest = ill[SOURCE_LIMIT:]
        yield f"… and {plural(len(rest), 'more source')} not readable, silent, empty or with a note: {_some(rest)}"
    if len(well) > SOURCE_LIMIT:
        yield f"{plural(len(well), 'source')} ok: {_some(well)}"


def _is_readable(state: Lifecycle, source: SourceState) -> bool:
    return source.answered and not source.trouble and not state.knowledge.is_emptied(source.name)


def _instead(state: Lifecycle, source: SourceState) -> str:
    """Return what a source holds that has no interface."""
    names, count = state.knowledge.unknown(source.name)
    if not count:
        return "it is empty (wrong place or prefix, or no rights?)"
    more = ", …" if count > len(names[:NAME_LIMIT]) else ""
    shown = ", ".join(escape(name, 80) for name in names[:NAME_LIMIT])
    return f"{plural(count, 'name')} {source.ignored}: {shown}{more} (wrong place or prefix, or no schema?)"


def _place_of(source: SourceState) -> str:
    return f"all keys{source.place[1:]}" if source.place.startswith("* ") else source.place


def _place(state: Lifecycle, source: str, interface: str) -> str:
    """Return where a source has an interface, or would have it; if it has none else, with what is to be known of that."""
    place, note = state.sources[source].place.replace("*", interface), state.sources[source].note
    return ": ".join(filter(None, (source, place, note if source.partition("/")[2] == interface else "")))


def _looked(state: Lifecycle, interface: str) -> str:
    """Return which sources do not have an interface that none has."""
    silent = [source.name for source in state.sources.values() if not source.answered]
    looked = [_place(state, one.name, interface) for one in state.sources.values() if one.answered]
    had = f"no source has it ({_some(looked)})" if looked else "no source has it yet"
    return had + (f"; no answer so far from {_some(silent)}" if silent else "")


def _similar(state: Lifecycle, interface: str) -> Iterator[str]:
    """Yield the names in the sources that are an interface which they may not provide, or look like a mistyped one."""
    import difflib  # noqa: PLC0415 -- only where something is missing

    for source, one in state.sources.items():
        names, _ = state.knowledge.unknown(source)
        if one.interfaces is not None and interface in names:
            yield f"; {source} has it, but {source.partition('/')[0]}.interfaces does not name it"
            continue
        for name in difflib.get_close_matches(interface, names, n=1):
            yield f"; {source} has {escape(name, 80)}, which no schema knows: a typing error?"


def _causes(state: Lifecycle, waiting: list[RuleState]) -> list[tuple[tuple[str, str], list[RuleState]]]:
    """Return each cause, a kind and a name, with the rules that wait for it: those of most rules first."""
    causes: dict[tuple[str, str], list[RuleState]] = {}
    for rule in waiting:
        for cause in _causes_of(state, rule):
            causes.setdefault(cause, []).append(rule)
    return sorted(causes.items(), key=lambda one: -len(one[1]))


def _causes_of(state: Lifecycle, rule: RuleState) -> Iterator[tuple[str, str]]:
    lacks_data = state.basis(rule) in {None, rule.succeeded_on}  # newer data included, which is not adopted yet
    if rule.running_on:
        yield "running", ""
        if lacks_data:
            yield from (("interface", name) for name in rule.rule.interfaces if state.lacks(name))
    elif not any(source.answered for source in state.sources.values()):
        yield "silent", ""
    elif lacks_data:
        yield from (("interface", name) for name in rule.rule.interfaces if state.lacks(name))
    elif rule.failures:
        yield "failed", rule.rule.name
    elif open_ := [name for name in rule.rule.after if not state.is_satisfied(state.named(name))]:
        yield from (("after", name) for name in open_)
    else:
        yield "due", ""


def _tell(state: Lifecycle, cause: tuple[str, str], rules: list[RuleState]) -> Iterator[str]:
    kind, name = cause
    some = ("rule " if len(rules) == 1 else "rules ") + _some([_label(rule.rule) for rule in rules])
    verb = "waits" if len(rules) == 1 else "wait"
    match kind:
        case "interface":
            yield from interface_lines(state, name)
            yield f"  {some} {verb} for interface {name}"
        case "silent":
            yield f"nothing is known yet: no source has answered so far ({_some(list(state.sources))})"
            yield f"  {some} {verb} for data"
        case "failed":
            rule = state.named(name)
            limit = state.plan.fail_limit
            of = f" (disco.fail_limit is {limit})" if limit else ""
            yield f"{some}: its handler failed {plural(rule.failures, 'time')} in a row{of}, last: {rule.last_failure}"
        case "after":
            yield f"{some} {verb} for rule {name} to succeed first"
        case "running":
            handlers = "its handler" if len(rules) == 1 else "their handlers"
            yield f"{some} {verb} for what is running now: {handlers} (slow, or does it hang? disco.handler_timeout)"
        case _:
            limit = state.plan.workers
            why = f"all data is there, but no more handlers may run at a time (disco.workers is {limit})"
            yield f"{some} {verb} for a free runner: {why}"


def _label(rule: Rule) -> str:
    any_ = f", any of {_some(list(rule.interfaces))}" if rule.any and len(rule.interfaces) > 1 else ""
    return f"{rule.name} ({rule.where}{any_})"


def _next(state: Lifecycle) -> str:
    if not state.is_gathering:
        return f"disco ends what it started ({_some(state.still_there())}), then it executes {state.plan.command}"
    end, report = state.due_at("timeout"), state.due_at("report")
    limit = f"; disco gives up in {duration(end - state.now)} (disco.timeout)" if end is not None else ""
    again = f"; next report in {duration(report - state.now)}" if report is not None and (end is None or report < end) else ""
    return f"disco goes on by itself as soon as that is mended{limit}{again}"


def _some(names: list[str]) -> str:
    """Return the first names, and how many more there are."""
    shown = ", ".join(names[:NAME_LIMIT])
    return shown + (f" and {len(names) - NAME_LIMIT} more" if len(names) > NAME_LIMIT else "")
