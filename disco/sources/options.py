"""Options: how one is declared, the types that they have, and those that every source has.

A type is a function from text to a value.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

from disco.data import documents
from disco.errors import DocumentError, SourceError
from disco.named import NamedTuple

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


def interface(value: str) -> str:
    """Take an interface's name."""
    if not re.fullmatch(r"[^\s:,/]{1,255}", value):
        raise ValueError("the name of an interface")
    return value


def patterns(value: str) -> tuple[str, ...]:
    """Take a list of interfaces' names joined by commas, with `*` for any characters."""
    names = words(value)
    if not all(re.fullmatch(r"[^\s:/]+", name) for name in names):
        raise ValueError("names of interfaces joined by ',', with * for any characters")
    return names


def variables(value: str) -> tuple[str, ...]:
    """Take a list of variables of the environment, joined by commas."""
    names = words(value)
    if any("=" in name or "*" in name or not name.isprintable() for name in names):
        raise ValueError("whole names of variables joined by ','")
    return names


def match_names(patterns: Iterable[str], names: Iterable[str]) -> frozenset[str]:
    """Return those of the names that a pattern of such a list matches."""
    joined = re.compile("|".join(re.escape(pattern).replace(r"\*", ".*") for pattern in patterns))
    return frozenset(name for name in names if joined.fullmatch(name))


def name_of(type_: Callable[[str], Any]) -> str:
    """Return a type's short name for people, such as duration; a source's own type is called as its function, less `take`."""
    name = str(getattr(type_, "__name__", "<lambda>"))
    return _NAMES.get(name) or name.strip("_").removeprefix("take_").replace("_", " ")


_NAMES = {
    "seconds": "duration",
    "count": "number",
    "directories": "directories joined by ':'",
    "words": "list joined by ','",
    "variables": "list joined by ','",
    "patterns": "list joined by ',', with *",
    "int": "number",
    "float": "number",
    "str": "text",
    "<lambda>": "text",
}


def choice(*names: str) -> Callable[[str], str]:
    """Return the type of an option that takes one of these names."""

    def take(value: str) -> str:
        return value if value in names else _expect("one of " + ", ".join(names))

    take.__name__ = " or ".join(names)
    return take


def at_least(minimum: float, kind: Callable[[str], Any]) -> Callable[[str], Any]:
    """Return a numeric type with a minimum."""

    def take(value: str) -> Any:  # noqa: ANN401 -- the kind's type
        number = kind(value)
        return number if number >= minimum else _expect(f"at least {minimum:g}")

    take.__name__ = f"{name_of(kind)} of at least {minimum:g}"
    return take


def _expect(what: str) -> NoReturn:
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


SOURCE_OPTIONS = (
    Option(name="type", default="", help="the source's type, if it is not its name"),
    Option(name="timeout", type=at_least(0.05, seconds), default=10.0, help="the longest that one request may take"),
    Option(name="settle", type=seconds, default=5.0, help="how long disco keeps a source's data when all of it is gone at once"),
    Option(name="memory", type=size, default=512 << 20, help="resident memory at which the source's process is replaced"),
    Option(name="required", type=boolean, default=True, help="whether exec waits for this source's first good answer"),
    Option(name="interfaces", type=patterns, help="the interfaces that it may provide (* for any characters); not set: all"),
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
