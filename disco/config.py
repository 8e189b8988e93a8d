"""DISCO_CFG and the configuration file → frozen settings; every problem is found, and all are reported together.

An option is declared once (name, type, default, help, secret or not); sources declare their own. No error shows a
value: it may be a secret under a mistyped key.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from disco import documents
from disco.errors import ConfigurationError, DocumentError, Problem, SourceError
from disco.text import escape, nearest

if TYPE_CHECKING:
    from disco.sources import Source

_NAME = r"[A-Za-z_][A-Za-z0-9_-]*"
_KEY = re.compile(rf"{_NAME}(?:\.{_NAME})+")
_BETWEEN = re.compile(r"[\s:]+")
_START = re.compile(rf"({_KEY.pattern})\s*=|\Z")  # of a pair, or the end
_OTHER_SEPARATOR = re.compile(rf"[;,\s]({_KEY.pattern})\s*=")
_SECONDS = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ms|s|m|h)?")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, None: 1.0}
# Go's strconv.ParseBool, by which Consul's variables are read, takes t and f too.
_WORDS = dict.fromkeys(("true", "t", "yes", "on", "1"), True) | dict.fromkeys(("false", "f", "no", "off", "0"), False)
_SECRET_LIMIT = 64 << 10
_SECONDS_LIMIT = 120 * 3600.0  # sums of a few still fit the milliseconds that the kernel waits at most


# The types of options: text in, value out, or a ValueError that says what was expected.


def text(value: str) -> str:
    """Take any text that is not empty."""
    if not value:
        raise ValueError("a text")
    return value


def seconds(value: str) -> float:
    """Take a duration."""
    match = _SECONDS.fullmatch(value)
    number = float(match[1]) * _UNITS[match[2]] if match else -1.0
    if not 0 <= number <= _SECONDS_LIMIT:
        raise ValueError("a duration like 1, 0.5, 500ms, 2m or 1h, of at most 120h")
    return number


def count(value: str) -> int:
    """Take a whole number from 0."""
    if not re.fullmatch(r"[0-9]{1,9}", value):
        raise ValueError("a whole number from 0")
    return int(value)


def size(value: str) -> int:
    """Take a size in bytes."""
    match = re.fullmatch(r"([0-9]{1,12})([KMG]?)", value.upper().removesuffix("B").removesuffix("I"))
    if not match or not int(match[1]):
        raise ValueError("a size like 512M or 2G")
    return int(match[1]) << {"": 0, "K": 10, "M": 20, "G": 30}[match[2]]


def boolean(value: str) -> bool:
    """Take a boolean."""
    if value.lower() not in _WORDS:
        raise ValueError("true or false (or yes/no, on/off, 1/0)")
    return _WORDS[value.lower()]


def port(value: str) -> int:
    """Take a TCP port."""
    if not re.fullmatch(r"[0-9]{1,5}", value) or not 0 < int(value) < 1 << 16:
        raise ValueError("a port from 1 to 65535")
    return int(value)


def path(value: str) -> Path:
    """Take the path of a file or a folder."""
    try:
        usable = b"\0" not in os.fsencode(value)
    except UnicodeEncodeError:
        usable = False
    return Path(value) if value and usable else _expect("a path")


def directories(value: str) -> tuple[Path, ...]:
    """Take directories joined by `:`."""
    return tuple(path(part) for part in value.split(":") if part) or _expect("directories joined by ':'")


def words(value: str) -> tuple[str, ...]:
    """Take a list joined by commas."""
    return tuple(part.strip() for part in value.split(",") if part.strip()) or _expect("a list joined by ','")


def patterns(value: str) -> tuple[str, ...]:
    """Take a list of interfaces' names joined by commas, with `*` for any characters."""
    found = words(value)
    if not all(re.fullmatch(r"[^\s:/]+", word) for word in found):
        raise ValueError("names of interfaces joined by ',', with * for any characters")
    return found


def choice(*names: str) -> Callable[[str], str]:
    """Return the type of an option that takes one of these names."""

    def take(value: str) -> str:
        return value if value in names else _expect("one of " + ", ".join(names))

    return take


def at_least(minimum: float, kind: Callable[[str], Any]) -> Callable[[str], Any]:
    """Return a numeric type with a minimum."""

    def take(value: str) -> Any:  # noqa: ANN401 -- the kind's type
        number = kind(value)
        return number if number >= minimum else _expect(f"at least {minimum:g}")

    return take


def _expect(what: str) -> Any:  # noqa: ANN401 -- never returns
    raise ValueError(what)


class Option(NamedTuple):
    """A declared option.

    type: a function from text to the value, which raises ValueError with what was expected. default: a value, as the
    type gives it. env: an environment variable that gives the default if it is set and not empty (with `_FILE`
    appended: a secret's file). secret: never shown; also readable from a file, as `<name>_file`.
    """

    name: str
    help: str
    type: Callable[[str], Any] = text
    default: Any = None
    env: str = ""
    secret: bool = False


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
SOURCE_OPTIONS = (
    Option(name="type", default="", help="the source's type, if it is not its name"),
    Option(name="timeout", type=at_least(0.05, seconds), default=10.0, help="the longest that one request may take"),
    Option(name="settle", type=seconds, default=5.0, help="how long a sudden total emptiness is held before it is believed"),
    Option(name="memory", type=size, default=512 << 20, help="resident memory at which the source's process is replaced"),
    Option(name="required", type=boolean, default=True, help="whether exec waits for this source's first good answer"),
    Option(name="interfaces", type=patterns, help="what it may provide, with * for any characters; if it is not set: all"),
)


class Options(Mapping[str, Any]):
    """A source's options by name, every declared one present; a secret's file is read each time it is asked for."""

    def __init__(self, values: Mapping[str, Any], secret_files: Mapping[str, Path], explicit: frozenset[str]) -> None:
        """Take the values, the files of those that are kept in one, and the names that the configuration has set."""
        self._values = dict(values)
        self.secret_files = dict(secret_files)
        self.explicit = explicit

    def __getitem__(self, name: str) -> Any:  # noqa: ANN401 -- the option's type
        """Return an option's value; raise SourceError where its file cannot be read now."""
        if name not in self.secret_files:
            return self._values[name]
        try:
            return documents.read_file(self.secret_files[name], _SECRET_LIMIT).decode().rstrip("\r\n")
        except DocumentError as error:
            raise SourceError(f"{name}_file: {error}") from None
        except UnicodeDecodeError:
            raise SourceError(f"{name}_file: {self.secret_files[name]}: no UTF-8 text") from None

    def holds(self, name: str) -> bool:
        """Return whether a secret is given, without reading its file."""
        return name in self.secret_files or bool(self._values[name])

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names."""
        return iter(self._values)

    def __len__(self) -> int:
        """Return the number of options."""
        return len(self._values)

    def __repr__(self) -> str:
        """Show the names alone."""
        return f"Options({', '.join(self._values)})"


class SourceType(NamedTuple):
    """What configuration must know of a type of source (`sources.Source` has it, too).

    options: those it declares. any_key: it takes any other key too, as text. check: yields what is wrong with options
    that can only be judged together, each with an option's name as its place.
    """

    options: tuple[Option, ...]
    any_key: bool = False
    check: Callable[[Options], Iterable[Problem]] = lambda _options: ()


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
                what = f"the value holds what looks like a further pair, {escape(found[1], 80)}="
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
            remedy = nearest(f"disco.{key}", known, f"write NAMESPACE.{escape(key, 80)}, such as flat.file", 0.9)
            problems.append(Problem(f"DISCO_CFG: {escape(key, 80)}", "a key has a namespace", remedy))
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
        where = f"{document.at(*at)}: {escape(key, 80)}"
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
