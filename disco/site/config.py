"""DISCO_CFG and the configuration file → frozen settings; every problem is found, and all are reported together.

An option is declared once (name, type, default, help, secret or not); sources declare their own. No error shows a
value: it may be a secret under a mistyped key.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from disco.data import documents
from disco.errors import ConfigurationError, DocumentError, Problem
from disco.sources.options import (
    SOURCE_OPTIONS,
    Option,
    Options,
    SourceType,
    at_least,
    choice,
    count,
    directories,
    path,
    seconds,
)
from disco.text import NAME_LIMIT, escape, nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from disco.sources import Source

_NAME = r"[A-Za-z_][A-Za-z0-9_-]*"
_KEY = re.compile(rf"{_NAME}(?:\.{_NAME})+")
_BETWEEN = re.compile(r"[\s:]+")
_START = re.compile(rf"({_KEY.pattern})\s*=|\Z")  # of a pair, or the end
_OTHER_SEPARATOR = re.compile(rf"[;,\s]({_KEY.pattern})\s*=")


DISCO_OPTIONS = (
    Option(name="path", type=directories, default=(Path("/etc/disco"),), help="where schemas, rules and handlers lie"),
    Option(
        name="rules",
        type=choice("required", "optional"),
        default="required",
        help="whether a site without any rule is refused, or COMMAND is executed at once",
    ),
    Option(
        name="interval",
        type=at_least(0.05, seconds),
        default=1.0,
        help="pause between reads of a polled source, and before a failed handler is tried again",
    ),
    Option(name="fail_limit", type=count, default=5, help="failures in a row before disco gives up; 0: never"),
    Option(name="timeout", type=seconds, default=0.0, help="the whole time until exec; 0: no limit"),
    Option(name="handler_timeout", type=seconds, default=60.0, help="the longest run of a handler; 0: no limit"),
    Option(name="workers", type=at_least(1, count), default=4, help="handlers at a time"),
    Option(
        name="settle",
        type=seconds,
        default=0.1,
        help="how long an interface must be quiet before a change is handed on",
    ),
    Option(name="log", type=choice("text", "json"), default="text", help="form of the log: text for people, json for collectors"),
    Option(name="report_file", type=path, help="a file that always holds the last report, at most 4 KiB of it"),
    Option(name="grace", type=seconds, default=5.0, help="between SIGTERM and SIGKILL, for the whole stop"),
)


class SourceSettings(NamedTuple):
    """A configured source: its namespace, its type's name and its options (those of every source included)."""

    name: str
    type: str
    options: Options


class Settings(NamedTuple):
    """disco's own settings (durations in seconds), and the sources in their order."""

    path: tuple[Path, ...]
    rules: str
    interval: float
    fail_limit: int
    timeout: float
    handler_timeout: float
    workers: int
    grace: float
    settle: float
    log: str
    report_file: Path | None
    sources: tuple[SourceSettings, ...] = ()


class _Entry(NamedTuple):
    """One pair: its value as text, and how messages call it."""

    value: str
    where: str


def load(
    pairs: str,
    file: Path | None,
    environ: Mapping[str, str],
    find_type: Callable[[str], tuple[SourceType | Source | None, Problem | None]],
) -> tuple[Settings, list[Problem]]:
    """Return the settings of DISCO_CFG's `pairs` over those of the file, and every problem found.

    With problems the settings hold defaults in the place of what is wrong: enough to look for problems elsewhere.
    find_type: from a type's name to its declaration if there is one, and why it cannot be used, if so.
    """
    problems: list[Problem] = []
    entries: dict[str, _Entry] = {}
    if file:
        try:
            entries |= _from_file(file, problems)
        except DocumentError as error:
            problems.append(error.problem)
    entries |= _from_pairs(pairs, problems)
    problems += _find_joined(entries, {"disco", *(key.partition(".")[0] for key in entries)})
    spaces: dict[str, dict[str, _Entry]] = {}
    for key, entry in entries.items():
        namespace, _, name = key.partition(".")
        spaces.setdefault(namespace, {})[name] = entry
    own = _take("disco", spaces.pop("disco", {}), SourceType(options=DISCO_OPTIONS), {}, problems)
    sources = []
    for namespace, found in spaces.items():
        kind = found["type"].value if "type" in found else namespace
        declared, unusable = find_type(kind)
        before = len(problems)
        try:
            if declared:
                every = SourceType(options=(*SOURCE_OPTIONS, *declared.options), any_key=declared.any_key)
                options = _take(namespace, found, every, environ, problems)
                sources.append(SourceSettings(name=namespace, type=kind, options=options))
            if unusable:
                where = (found.get("type") or next(iter(found.values()))).where
                problems.append(Problem(where, unusable.message, nearest(namespace, ["disco"], unusable.remedy)))
            if declared and len(problems) == before:
                problems += [problem._replace(place=f"{namespace}.{problem.place}") for problem in declared.check(options)]
        except ConfigurationError as error:  # a plug-in's own code is wrong
            problems += error.problems
    return Settings(**own, sources=tuple(sources)), problems


def _split(pairs: str) -> Iterator[str]:
    """Yield the pairs as they are written: one look at each run of white space and `:`, for there may be very many."""
    start = 0
    for between in _BETWEEN.finditer(pairs):
        escaped = pairs.endswith("\\", 0, between.start())
        colon = pairs.find(":", between.start() + escaped, between.end())
        if colon >= 0 and _START.match(pairs, between.end()):
            yield pairs[start:colon]
            start = between.end()
    yield pairs[start:]


def _find_joined(entries: Mapping[str, _Entry], namespaces: Collection[str]) -> Iterator[Problem]:
    """Yield the values in which a further pair seems to stand, joined by something else than `:`."""
    for entry in entries.values():
        for found in _OTHER_SEPARATOR.finditer(entry.value):
            if found[1].partition(".")[0] in namespaces:
                what = f"the value holds what looks like a further pair, {escape(found[1], NAME_LIMIT)}="
                yield Problem(entry.where, what, "join pairs with ':'")
                break


def _from_pairs(pairs: str, problems: list[Problem]) -> dict[str, _Entry]:
    entries: dict[str, _Entry] = {}
    for number, part in enumerate(_split(pairs), 1):
        key, equals, value = (half.strip() for half in part.partition("="))
        if not part.strip():
            continue
        if equals and re.fullmatch(_NAME, key):
            known = [f"disco.{option.name}" for option in DISCO_OPTIONS]
            remedy = nearest(f"disco.{key}", known, f"write NAMESPACE.{escape(key, NAME_LIMIT)}, such as flat.file", 0.9)
            problems.append(Problem(f"DISCO_CFG: {escape(key, NAME_LIMIT)}", "a key has a namespace", remedy))
            continue
        if not equals or not _KEY.fullmatch(key):
            shown = f" after {list(entries)[-1]}" if entries else ""
            problems.append(Problem(f"DISCO_CFG: pair {number}{shown}", "expected key=value, with a key like disco.path"))
            continue
        entries[key] = _Entry(value.replace("\\:", ":"), f"DISCO_CFG: {key}")
    return entries


def _from_file(file: Path, problems: list[Problem]) -> dict[str, _Entry]:
    try:
        content = documents.read_file(file)
    except DocumentError as error:
        raise DocumentError(f"-c: {error.problem.place}", *error.problem[1:]) from None
    document = documents.parse(content, str(file))
    entries: dict[str, _Entry] = {}
    if document.data in (None, {}):
        return entries
    if not isinstance(document.data, dict):
        problems.append(Problem(document.at(), "expected a mapping like 'disco: {path: ...}'"))
        return entries
    waiting: list[tuple[tuple[str, ...], Any]] = [((), document.data)]
    while waiting:
        at, value = waiting.pop(0)
        key = ".".join(at)
        where = f"{document.at(*at)}: {escape(key, NAME_LIMIT)}"
        if isinstance(value, dict) and value:
            waiting = [((*at, name), below) for name, below in value.items()] + waiting
        elif value in (None, {}) and re.fullmatch(_NAME, key):
            if key != "disco":  # a source with every option's default
                entries[f"{key}.type"] = _Entry(key, where)
        elif not _KEY.fullmatch(key):
            problems.append(Problem(where, "expected a key in a namespace, like disco.path"))
        elif not isinstance(value, (str, int, float)) and not _is_list(value):
            problems.append(Problem(where, "expected a text, a number, a boolean or a list of texts"))
        else:
            entries[key] = _Entry(_as_text(key, value), where)
    return entries


def _is_list(value: Any) -> bool:  # noqa: ANN401 -- what the file holds
    return isinstance(value, list) and all(isinstance(item, (str, int, float)) for item in value)


def _as_text(key: str, value: Any) -> str:  # noqa: ANN401 -- a scalar or a list of them
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return (":" if key == "disco.path" else ",").join(_as_text(key, item) for item in value)
    return str(value)


def _take(
    namespace: str,
    found: Mapping[str, _Entry],
    declared: SourceType | Source,
    environ: Mapping[str, str],
    problems: list[Problem],
) -> Options:
    options = {option.name: option for option in declared.options}
    secrets = {f"{option.name}_file": option.name for option in declared.options if option.secret}
    values: dict[str, Any] = {}
    files: dict[str, Path] = {}
    for option in declared.options:
        values[option.name] = option.default
        if not option.env or option.name in found or f"{option.name}_file" in found:
            continue  # what is set by a key is not looked at in the environment
        if environ.get(option.env):
            _convert(option, environ[option.env], option.env, values, problems)
        elif option.secret and environ.get(f"{option.env}_FILE"):
            files[option.name] = Path(environ[f"{option.env}_FILE"])
    for name, entry in found.items():
        if name in options:
            _convert(options[name], entry.value, entry.where, values, problems)
        elif name in secrets:
            if secrets[name] in found:
                what = f"{namespace}.{secrets[name]} is set too, and only one of them can be"
                problems.append(Problem(entry.where, what, "remove one of the two"))
            _convert(Option(name=secrets[name], type=path, help=""), entry.value, entry.where, files, problems)
        elif declared.any_key:
            values[name] = entry.value
        else:
            known = [f"{namespace}.{known}" for known in (*options, *secrets)]
            otherwise = f"the options are {', '.join(known)}"
            problems.append(Problem(entry.where, "no such option", nearest(f"{namespace}.{name}", known, otherwise)))
    return Options(values, files, frozenset(found))


def _convert(option: Option, value: str, where: str, values: dict[str, Any], problems: list[Problem]) -> None:
    try:
        values[option.name] = option.type(value)
    except ValueError as error:
        # A type of Python's own, such as int, says what it was given.
        problems.append(Problem(where, f"expected {'another value' if option.secret else error}", "correct the value"))
