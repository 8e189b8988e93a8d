"""Rules: which handler runs on which interfaces. Pure but for reading the files.

`load` reads all rules files and checks them as a whole. `Rule.basis` says for which data a run of a rule would stand.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from disco.data import documents
from disco.errors import ConfigurationError, DocumentError, Problem, raise_problems
from disco.named import NamedTuple
from disco.site import files
from disco.sources.options import count, seconds
from disco.system.programs import VARIABLE_LIMIT
from disco.text import NAME_LIMIT, escape, nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from disco.data.values import Json

CIRCLE_LIMIT = 10  # rules that are shown of one circle, besides the first
CIRCLES_LIMIT = 20  # circles that are reported one by one
RETRY_MINIMUM = 0.05  # seconds, as of disco.interval
_KEYS = ("when", "do", "name", "after", "export", "timeout", "fail_limit", "retry")

Basis = tuple[tuple[str, str], ...]
"""The interfaces that a rule's handler gets, each with the digest of its data."""


class Rule(NamedTuple):
    """A rule: run argv when all of the interfaces are valid, or `any` of them, and the rules in `after` are satisfied.

    where: file, line and column. interfaces: none if it needs no data. export: the names of variables that its handler may give to
    COMMAND, each with one `*` at most. timeout: seconds that a run may take, 0 for no limit. fail_limit: failures in a row, 0 for
    no limit. retry: the first and the longest pause (seconds) after a failure. These three are None where disco's options decide.
    """

    name: str
    where: str
    interfaces: tuple[str, ...]
    any: bool
    argv: tuple[str, ...]
    after: tuple[str, ...]
    export: tuple[str, ...] = ()
    timeout: float | None = None
    fail_limit: int | None = None
    retry: tuple[float, float] | None = None

    def basis(self, valid: Mapping[str, str]) -> Basis | None:
        """Return for which data a run of this rule would stand now, None while too little is valid.

        valid: the digest of each interface that is valid.
        """
        if not self.interfaces:
            return ()
        basis = tuple((name, valid[name]) for name in self.interfaces if name in valid)
        if not basis or (not self.any and len(basis) < len(self.interfaces)):
            return None
        return basis


def load(
    directories: Sequence[Path], interfaces: Collection[str], find_program: Callable[[str, Path, str], str]
) -> tuple[Rule, ...]:
    """Load all rules in the directories, in order of directory, file name and place in the file.

    interfaces: those that have a schema. find_program: as `Handlers.find`.

    Raises:
        ConfigurationError: every problem, with file, line and column.

    """
    rules: list[Rule] = []
    problems: list[Problem] = []
    refused: set[str] = set()
    paths = files.list_files(directories, files.RULES_SUFFIX)
    names = [path.name for path in paths]
    for path in paths:
        try:
            document = documents.parse(documents.read_file(path), str(path))
        except DocumentError as error:
            problems.append(error.problem)
            continue
        label = path.name if names.count(path.name) == 1 else str(path)
        reader = _Reader(document, path, label, interfaces, find_program)
        rules += reader.rules()
        problems += reader.problems
        refused |= reader.refused
    by_name: dict[str, Rule] = {}
    for rule in rules:
        if rule.name in by_name:
            what = f"rule {rule.name} is defined already: {by_name[rule.name].where}"
            problems.append(Problem(rule.where, what, "give one of the rules another name"))
        by_name.setdefault(rule.name, rule)
    problems += _check_after(rules, by_name, refused)
    raise_problems(problems)
    return tuple(rules)


def _check_after(rules: list[Rule], by_name: Mapping[str, Rule], refused: Collection[str]) -> Iterator[Problem]:
    for rule in rules:
        for name in rule.after:
            if name not in by_name and name not in refused:
                shown = escape(name, NAME_LIMIT)
                yield Problem(rule.where, f"after: no rule is named {shown}", nearest(name, by_name, "name an existing rule"))
    after = {name: [other for other in rule.after if other in by_name] for name, rule in by_name.items()}
    if not any(after.values()):
        return
    from disco.site import circles  # noqa: PLC0415 -- few sites use 'after'

    found, has_more = circles.find_circles(after, CIRCLES_LIMIT)
    for first, *others in found:
        way = [first, *others[:CIRCLE_LIMIT], *(["…"] if len(others) > CIRCLE_LIMIT else []), first]
        what = f"after: the rule waits for itself ({' → '.join(way)})"
        yield Problem(by_name[first].where, what, "remove one 'after' of the circle")
    if has_more:
        what = "after: the rule waits for itself, and others may do so too"
        yield Problem(by_name[found[0][0]].where, what, "remove one 'after' of each circle")


class _Reader:
    """One rules file."""

    def __init__(
        self,
        document: documents.Document,
        path: Path,
        label: str,
        interfaces: Collection[str],
        find_program: Callable[[str, Path, str], str],
    ) -> None:
        self.problems: list[Problem] = []
        self.refused: set[str] = set()  # names of rules that have problems
        self._default_names: set[str] = set()
        self._document = document
        self._path = path
        self._label = label
        self._interfaces = interfaces
        self._find_program = find_program

    def rules(self) -> list[Rule]:
        data = self._document.data
        if not isinstance(data, dict) or not isinstance(data.get("rules"), list):
            self._problem("expected 'rules:' with a list below it")
            return []
        for key in data:
            if key != "rules":
                self._problem(f"unknown key {key!r}", key, remedy="remove it: only 'rules' is known here")
        rules = (self._rule(index, entry) for index, entry in enumerate(data["rules"]))
        return [rule for rule in rules if rule]

    def _problem(self, reason: str, *at: str | int, remedy: str = "correct it") -> None:
        self.problems.append(Problem(self._document.at(*at), reason, remedy))

    def _rule(self, index: int, entry: Json) -> Rule | None:
        at = ("rules", index)
        if not isinstance(entry, dict):
            self._problem("a rule must be a mapping with 'do'", *at)
            return None
        before = len(self.problems)
        for key in entry:
            if key not in _KEYS:
                known = f"a rule's keys are {', '.join(_KEYS)}"
                near = nearest(key, _KEYS, "")
                self._problem(f"unknown key {key!r}", *at, key, remedy=f"{near} {known}" if near else f"remove it: {known}")
        any_, interfaces = self._when(entry, at)
        argv = self._do(entry, at)
        where = self._document.at(*at)
        name = entry["name"] if "name" in entry else self._default_name(index)
        if not isinstance(name, str) or not name or not name.isprintable():
            self._problem("a rule's name must be text", *at, "name")
        after = entry.get("after", [])
        after = [after] if isinstance(after, str) else after
        if not isinstance(after, list) or not all(isinstance(item, str) for item in after):
            self._problem("'after' takes the names of rules", *at, "after")
        export = self._export(entry["export"], at) if "export" in entry else ()
        limits = {
            "timeout": self._limit(entry, at, "timeout", seconds),
            "fail_limit": self._limit(entry, at, "fail_limit", count),
            "retry": self._limit(entry, at, "retry", _take_pauses),
        }
        if len(self.problems) > before:
            self.refused.add(str(name))
            return None
        return Rule(name=name, where=where, interfaces=interfaces, any=any_, argv=argv, after=tuple(after), export=export, **limits)

    def _default_name(self, index: int) -> str:
        """Return FILE:LINE, with the column too if a rule before it begins in the same line."""
        line, column = self._document.find("rules", index) or (0, 0)
        name = f"{self._label}:{line}"
        if name in self._default_names:
            name = f"{name}:{column}"
        self._default_names.add(name)
        return name

    def _limit(self, entry: dict[str, Json], at: tuple[str | int, ...], key: str, type_: Callable[[str], Any]) -> Any:  # noqa: ANN401 -- the type's
        """Return what a key says in the place of one of disco's options; None if it is absent."""
        if key not in entry:
            return None
        value = entry[key]
        try:
            return type_("" if value is None or isinstance(value, bool) else str(value))
        except ValueError as error:
            self._problem(f"{key!r} takes {error}", *at, key)
            return None

    def _when(self, entry: dict[str, Json], at: tuple[str | int, ...]) -> tuple[bool, tuple[str, ...]]:
        if "when" not in entry:
            return False, ()
        when, any_ = entry["when"], False
        if isinstance(when, str):
            mode, colon, rest = when.partition(":")
            if colon and mode.strip() not in ("any", "all"):
                self._problem(f"'when' takes any: or all:, not {mode.strip()!r}", *at, "when")
            if colon:
                any_, when = mode.strip() == "any", rest
            when = [name.strip() for name in when.split(",")]
        if not isinstance(when, list) or not when or not all(isinstance(name, str) and name for name in when):
            remedy = "name one, or leave 'when' out: the rule then runs once, without data"
            self._problem("'when' must name at least one interface", *at, "when", remedy=remedy)
            return False, ()
        for name in when:
            if name not in self._interfaces:
                reason = f"interface {escape(name, NAME_LIMIT)} has no schema: no *.schema file in disco.path is for it"
                remedy = nearest(name, self._interfaces, "write a schema for it, or correct the name")
                self._problem(reason, *at, "when", remedy=remedy)
        if len(set(when)) < len(when):
            self._problem("'when' names an interface twice", *at, "when")
        if _is_too_long(",".join(when)):
            reason = f"names more than {VARIABLE_LIMIT >> 10} KiB of interfaces, which DISCO_INTERFACES cannot hold: split the rule"
            self._problem(f"'when' {reason}", *at, "when")
        return any_, tuple(when)

    def _export(self, export: Json, at: tuple[str | int, ...]) -> tuple[str, ...]:
        from disco.data import exports  # noqa: PLC0415 -- few sites need it

        names = [name.strip() for name in export.split(",")] if isinstance(export, str) else export
        if not isinstance(names, list) or not names or not all(isinstance(name, str) and name for name in names):
            self._problem("'export' takes names of variables, such as [DB_*, REDIS_URL]", *at, "export")
            return ()
        for name in names:
            if fault := exports.find_fault(name):
                self._problem(f"'export': {escape(name, NAME_LIMIT)} {fault}", *at, "export")
        return tuple(names)

    def _do(self, entry: dict[str, Json], at: tuple[str | int, ...]) -> tuple[str, ...]:
        do = entry.get("do")
        try:
            argv = shlex.split(do) if isinstance(do, str) else []
        except ValueError as error:
            self._problem(f"'do': {error}", *at, "do")
            return ()
        if not argv:
            self._problem("'do' must name a handler" if "do" in entry else "'do' is missing", *at, "do")
            return ()
        if any(map(_is_too_long, argv)):
            self._problem(f"'do' has a word of more than {VARIABLE_LIMIT >> 10} KiB, the system's limit for an argument", *at, "do")
            return ()
        try:
            program = self._find_program(argv[0], self._path.parent, self._document.at(*at, "do"))
        except ConfigurationError as error:
            self.problems += error.problems
            return ()
        return (program, *argv[1:])


def _take_pauses(value: str) -> tuple[float, float]:
    """Take the first and the longest pause: one duration, or two joined by `..`."""
    first, dots, longest = value.partition("..")
    try:
        pauses = seconds(first.strip()), seconds((longest if dots else first).strip())
    except ValueError:
        raise ValueError("a pause like 5s, or the first and the longest one, like 1s..30s") from None
    if not RETRY_MINIMUM <= pauses[0] <= pauses[1]:
        raise ValueError(f"pauses of at least {RETRY_MINIMUM:g} s, the shorter one first")
    return pauses


def _is_too_long(text: str) -> bool:
    return len(text.encode(errors="surrogateescape")) > VARIABLE_LIMIT - len("DISCO_INTERFACES=\0")
