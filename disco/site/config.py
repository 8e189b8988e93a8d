"""Configuration: what is configured as text → frozen settings. Every problem is found, and all are reported together.

An option is declared once (name, type, default, help, secret or not); each source declares its own. No message shows a
value: it may be a secret under a mistyped key.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from disco.errors import ConfigurationError, Problem
from disco.named import NamedTuple
from disco.site import pairs
from disco.sources import registry
from disco.sources.options import (
    SOURCE_OPTIONS,
    Option,
    Options,
    at_least,
    boolean,
    choice,
    count,
    directories,
    path,
    seconds,
    variables,
)
from disco.text import nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from disco.site.pairs import Value
    from disco.sources import Source

DISCO_OPTIONS = (
    Option(name="path", type=directories, default=(Path("/etc/disco"),), help="where schemas, rules and handlers lie"),
    Option(
        name="rules",
        type=choice("required", "optional"),
        default="required",
        help="required: a site without rules is refused; optional: COMMAND is executed at once",
    ),
    Option(
        name="interval",
        type=at_least(0.05, seconds),
        default=1.0,
        help="pause between reads of a polled source, and before a failed handler runs again",
    ),
    Option(name="fail_limit", type=count, default=5, help="failures of one handler in a row before disco gives up; 0: never"),
    Option(name="timeout", type=seconds, default=0.0, help="the longest time from start to exec; 0: no limit"),
    Option(name="handler_timeout", type=seconds, default=60.0, help="the longest run of a handler; 0: no limit"),
    Option(name="workers", type=at_least(1, count), default=4, help="how many handlers run at the same time"),
    Option(
        name="settle",
        type=seconds,
        default=0.1,
        help="how long an interface must not change before rules see its new data",
    ),
    Option(
        name="unset",
        type=variables,
        default=(),
        help="variables of the environment that handlers and COMMAND do not get; sources do",
    ),
    Option(
        name="defaults",
        type=boolean,
        default=True,
        help="whether a schema's `default` fills in what data leaves out, before it is validated",
    ),
    Option(name="log", type=choice("text", "json"), default="text", help="form of the log: text for people, json for collectors"),
    Option(name="report_file", type=path, help="a file that always holds the last report, at most 4 KiB of it"),
    Option(name="grace", type=seconds, default=5.0, help="the time from SIGTERM to SIGKILL, once for the whole stop"),
)


class SourceSettings(NamedTuple):
    """A configured source: its namespace, its type's name, that type and its options (those of every source included)."""

    name: str
    type: str
    source: Source
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
    unset: tuple[str, ...]
    defaults: bool
    log: str
    report_file: Path | None
    sources: tuple[SourceSettings, ...] = ()


def load(
    text: str, file: Path | None, environ: Mapping[str, str], find_type: Callable[[str, str], Source] = registry.find
) -> tuple[Settings, list[Problem]]:
    """Return the settings of DISCO_CFG's `text` over those of the file, and every problem with them.

    With problems the settings hold defaults in the place of what is wrong: enough to look for problems elsewhere.
    """
    problems: list[Problem] = []
    spaces: dict[str, dict[str, Value]] = {"disco": {}}
    own_keys = [f"disco.{option.name}" for option in DISCO_OPTIONS]
    for key, value in pairs.read(text, file, environ, own_keys, problems).items():
        namespace, _, name = key.partition(".")
        spaces.setdefault(namespace, {})[name] = value
    own = _Namespace("disco", spaces.pop("disco"), {}, problems).read(DISCO_OPTIONS)
    configured = []
    for name, values in spaces.items():
        try:
            configured.append(_load_source(_Namespace(name, values, environ, problems), find_type))
        except ConfigurationError as error:
            problems += error.problems
    return Settings(**own, sources=tuple(configured)), problems


def _load_source(namespace: _Namespace, find_type: Callable[[str, str], Source]) -> SourceSettings:
    """Return a source's settings.

    Raises:
        ConfigurationError: there is no such type, or a plug-in's own code is wrong.

    """
    values, problems = namespace.values, namespace.problems
    type_ = values["type"].text if "type" in values else namespace.name
    place = (values.get("type") or next(iter(values.values()))).place
    source = find_type(type_, place)
    before = len(problems)
    options = namespace.read((*SOURCE_OPTIONS, *source.options), any_key=source.any_key)
    problems += registry.find_missing(type_, source, place)
    is_right = len(problems) == before and not any(value.is_reported for value in values.values())
    if is_right:  # a source names its option alone, for it does not know its namespace
        problems += (problem._replace(place=f"{namespace.name}.{problem.place}") for problem in source.check(options))
    return SourceSettings(namespace.name, type_, source, options)


class _Namespace:
    """What is set below one name; problems: is appended to."""

    def __init__(self, name: str, values: Mapping[str, Value], environ: Mapping[str, str], problems: list[Problem]) -> None:
        self.name = name
        self.values = values
        self.problems = problems
        self._environ = environ

    def read(self, declared: Sequence[Option], *, any_key: bool = False) -> Options:
        """Return the declared options, each with its value or default; any_key: whatever else is set counts too, as text."""
        options = {option.name: option for option in declared}
        secrets = {f"{option.name}_file": option for option in declared if option.secret}
        known = [f"{self.name}.{name}" for name in (*options, *secrets)]
        chosen: dict[str, Any] = {option.name: option.default for option in declared}
        files: dict[str, Path] = {}
        for option in declared:
            if option.env and option.name not in self.values and f"{option.name}_file" not in self.values:
                self._read_environment(option, chosen, files)
        for name, value in self.values.items():
            if name in options:
                self._convert(options[name], value, chosen)
            elif name in secrets:
                secret = secrets[name]
                if secret.name in self.values:
                    what = f"{self.name}.{secret.name} is set too, and only one of them can be"
                    self.problems.append(Problem(value.place, what, "remove one of the two"))
                self._convert(secret._replace(type=path, secret=False), value, files)
            elif any_key:
                chosen[name] = value.text
            else:
                remedy = nearest(f"{self.name}.{name}", known, f"the options are {', '.join(known)}")
                self.problems.append(Problem(value.place, "no such option", remedy))
        return Options(chosen, files, frozenset(self.values))

    def _read_environment(self, option: Option, chosen: dict[str, Any], files: dict[str, Path]) -> None:
        """Take the default that the environment gives an option which no key sets."""
        if text := self._environ.get(option.env):
            self._convert(option, pairs.Value(text, option.env), chosen)
        elif option.secret and (file := self._environ.get(f"{option.env}_FILE")):
            files[option.name] = Path(file)

    def _convert(self, option: Option, value: Value, chosen: dict[str, Any]) -> None:
        try:
            chosen[option.name] = option.type(value.text)
        except ValueError as error:
            # A type of Python's own, such as int, shows the text.
            expected = "another value" if option.secret else error
            if not value.is_reported:
                self.problems.append(Problem(value.place, f"expected {expected}", "correct the value"))
