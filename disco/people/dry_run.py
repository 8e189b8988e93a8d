"""What --dry-run tells: what each source gave, what is valid, which rules would run, and whether COMMAND would be executed.

Names and types only: no value is ever told. Data is parsed here, after all children have ended: the coordinator itself
never does that.
"""

from __future__ import annotations

import json
from functools import reduce
from itertools import islice
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from disco.core.reasons import Silent
from disco.data import values
from disco.people import report, wording
from disco.text import LINE_LIMIT, PATH_LIMIT, escape, plural, shorten

if TYPE_CHECKING:
    from collections.abc import Iterator

    from disco.core.status import RuleStatus, SourceStatus, Status

VARIABLES_SHOWN = 10  # of one rule, as text
LEAVES_SHOWN = 100  # of one interface, as text; JSON holds them all
DEFAULTS_SHOWN = 20  # of one interface, as text
_TYPES = {str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null", dict: "object", list: "array"}


def as_text(status: Status, command: str, *, is_executable: bool) -> str:
    """Return lines for people; is_executable: COMMAND is there and executable now."""
    lines = [*_lines(status)]
    if not is_executable:
        lines.append(f"COMMAND {escape(command, PATH_LIMIT)} is not found or not executable now: a handler has to install it")
    return "".join(f"{escape(line, LINE_LIMIT)}\n" for line in lines)  # sources' texts and names are in them


def as_json(status: Status, command: str, *, is_executable: bool) -> str:
    """Return the same as one JSON object on one line."""
    outcome = status.outcome
    assert outcome  # noqa: S101 -- it is over
    running = _find_running(status)
    answer = {
        "exec": outcome.status is None,
        "reason": wording.reason(outcome.reason),
        "command": {"name": command, "found": is_executable} if command else None,
        "sources": [_source(source) for source in status.sources.values()],
        "interfaces": [
            {
                "name": name,
                "valid": not status.interfaces[name].is_lacking,
                "reasons": list(report.interface_lines(status, name)),
                "may_change": _find_silent(status, name),
                "defaults": _find_filled(status, name),
            }
            for name in status.interfaces
        ],
        "rules": [
            {
                "name": rule.rule.name,
                "where": rule.rule.where,
                "handler": PurePath(rule.rule.argv[0]).name,
                "would_run": rule.rule.name in running,
                "any": rule.rule.any,
                "interfaces": [name for name, _ in rule.basis or ()],
                "waits_for": _lacking(status, rule) if rule.basis is None else [],
                "after": list(rule.rule.after),
                "export": list(rule.rule.export),
            }
            for rule in status.rules.values()
        ],
    }
    return json.dumps(answer) + "\n"


def explain(status: Status, name: str) -> Iterator[str]:
    """Yield why a rule could not run: what it waits for, why that is not there, and the sources that did not answer."""
    outcome = status.outcome
    assert outcome  # noqa: S101 -- it is over
    rule = status.rules[name]
    yield _rule(status, rule, set())
    for interface in _lacking(status, rule):
        yield from report.interface_lines(status, interface)
    if isinstance(outcome.reason, Silent):
        yield wording.reason(outcome.reason)


def _lines(status: Status) -> Iterator[str]:
    outcome = status.outcome
    assert outcome  # noqa: S101 -- it is over
    for source in status.sources.values():
        yield f"source {source.plan.name}: {report.health(status, source)}"
        given = source.fragments
        for interface, fragment in given.items():
            leaves = _leaves(fragment.body)
            yield f"  {interface}: " + (plural(len(leaves), "value") if leaves else "no data that can be used")
            yield from (f"    {name} {type_}" for name, type_ in islice(leaves.items(), LEAVES_SHOWN))
            if len(leaves) > LEAVES_SHOWN:
                yield f"    … and {len(leaves) - LEAVES_SHOWN} more"
        names, count = source.unknown, source.unknown_count
        if count and given:  # else they are told with the source
            more = ", …" if count > len(names) else ""
            yield f"  {plural(count, 'name')} {wording.ignored(source.plan)}, ignored: {', '.join(names)}{more}"
    for name in status.interfaces:
        if status.interfaces[name].is_lacking:
            yield from report.interface_lines(status, name)
        else:
            givers = ", ".join(source for source, _ in status.interfaces[name].newest.combination)
            silent = _find_silent(status, name)
            may_change = f"; {', '.join(silent)} may change it, and did not answer so far" if silent else ""
            yield f"interface {name} is valid (from {givers}){may_change}"
            if filled := _find_filled(status, name):
                yield f"  filled in by default: {shorten(filled, DEFAULTS_SHOWN)}"
    running = _find_running(status)
    for rule in status.rules.values():
        yield _rule(status, rule, running)
    when = ", once every handler has succeeded" if status.rules else ", at once"
    would = f"be executed{when}" if outcome.status is None else "not be executed"
    yield f"{status.plan.command} would {would}: {wording.reason(outcome.reason)}"


def _find_silent(status: Status, interface: str) -> list[str]:
    """Return the sources that have not answered and may provide an interface: what they say may change it."""
    return [name for name, source in status.sources.items() if not source.has_answered and source.plan.may_provide(interface)]


def _find_filled(status: Status, interface: str) -> list[str]:
    """Return the places of a valid interface that its schema's defaults filled in, as `_leaves` names them."""
    view = status.interfaces[interface].newest
    parts = [status.sources[source].fragments[interface] for source, _ in view.combination]
    if not view.digest or not (len(parts) > 1 or any(part.filled for part in parts)):
        return []
    try:
        bare = reduce(values.merge, (values.read_body(part.body) for part in parts))
        return list(dict.fromkeys(_show_place(path) for path in values.find_added(bare, values.read_body(view.body))))
    except ValueError:  # a source lies
        return []


def _find_running(status: Status) -> set[str]:
    """Return the names of the rules that would run: their data is there, and those that they come after would run."""
    running: set[str] = set()
    open_ = [rule.rule for rule in status.rules.values() if rule.basis is not None]
    while more := {rule.name for rule in open_ if running.issuperset(rule.after)}:
        running |= more
        open_ = [rule for rule in open_ if rule.name not in more]
    return running


def _rule(status: Status, rule: RuleStatus, running: set[str]) -> str:
    named = rule.rule
    handler = escape(PurePath(named.argv[0]).name, PATH_LIMIT)  # its arguments may hold a secret
    if rule.basis is None:
        lacking = ", ".join(_lacking(status, rule))
        return f"rule {named.name} ({named.where}) would not run {handler}: it waits for {'any of ' if named.any else ''}{lacking}"
    if named.name not in running:
        held = ", ".join(name for name in named.after if name not in running)
        return f"rule {named.name} ({named.where}) would not run {handler}: it comes after {held}"
    after = f", after {', '.join(named.after)}" if named.after else ""
    on = f" on {', '.join(name for name, _ in rule.basis)}" if rule.basis else " once, without data"
    export = f"; it may set {shorten(named.export, VARIABLES_SHOWN)} for {status.plan.command}" if named.export else ""
    return f"rule {named.name} ({named.where}) would run {handler}{on}{after}{export}"


def _lacking(status: Status, rule: RuleStatus) -> list[str]:
    return [name for name in rule.rule.interfaces if status.interfaces[name].is_lacking]


def _source(source: SourceStatus) -> dict[str, Any]:
    return {
        "name": source.plan.name,
        "place": source.plan.place,
        "answered": source.has_answered,
        "trouble": wording.trouble(source.trouble),
        "note": source.note,
        "interfaces": {
            interface: {"leaves": _leaves(fragment.body), "problems": list(fragment.problems)}
            for interface, fragment in source.fragments.items()
        },
        "unknown": list(source.unknown),
        "unknown_count": source.unknown_count,
    }


def _leaves(body: bytes) -> dict[str, str]:
    """Return the JSON pointer of each leaf, escaped and cut, with its type; items of a list are told as one."""
    try:
        data = values.read_body(body)
    except ValueError:  # empty, or a source lies
        return {}
    types: dict[str, dict[str, None]] = {}
    for path, leaf in values.find_leaves(data):
        types.setdefault(_show_place(path) or "(itself)", {})[_TYPES[type(leaf)]] = None
    return {name: " or ".join(several) for name, several in types.items()}


def _show_place(path: values.NodePath) -> str:
    return escape(values.pointer(["*" if isinstance(part, int) else part for part in path]), PATH_LIMIT)
