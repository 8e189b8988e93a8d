"""Quoting: a value of the input as one word of another language, which a reader of that language takes for that value alone.

Each function takes JSON data and returns text. A text is always put into quotes, also where it needs none: so a filter that stands
within quotes of the template's own is seen with the first value, and not with the first hostile one.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from disco.data.values import Json

_NOTHING = "nothing: it is undefined, or null"
_NGINX = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n", "\r": r"\r", "\t": r"\t"})
_YAML_KEY_LIMIT = 1000  # characters of a key on its line, with quotes; YAML's parsers take 1024
_INTEGER_LIMIT = 1 << 63  # TOML's integers have 64 bits


class UnquotableError(Exception):
    """A value cannot be written in a language. The text says why, and does not hold the value."""


def shell(value: Json) -> str:
    """Return a word of a POSIX shell."""
    return "'" + _without_nul(value).replace("'", "'\"'\"'") + "'"


def nginx(value: Json) -> str:
    """Return a whole parameter of an nginx directive: within a longer word nginx takes quotes for text."""
    text = _without_nul(value)
    if "$" in text:
        raise UnquotableError("a $, which nginx takes for a variable whatever the quotes")
    return f'"{text.translate(_NGINX)}"'


def dotenv(value: Json) -> str:
    """Return the value of a variable in a dotenv file, as shells, systemd, Docker Compose, and python-dotenv read it alike."""
    text = scalar(value)
    if not _is_one_line(text):
        raise UnquotableError("a line break or control character, which readers of dotenv files take differently")
    if "${" in text or "\\\\" in text or text.endswith("\\"):
        raise UnquotableError("${, \\\\ or a \\ at the end, which readers of dotenv files take differently")
    if "'" not in text:
        return f"'{text}'"
    if any(c in text for c in '"$`\\'):
        raise UnquotableError("a ' together with \", $, ` or \\, which readers of dotenv files take differently")
    return f'"{text}"'


def ini(value: Json) -> str:
    """Return the value of a key in an INI file. Such files have no quotes, so that much is refused."""
    text = scalar(value)
    if not _is_one_line(text):
        raise UnquotableError("a line break or control character, which an INI file cannot hold")
    if text != text.strip() or text[:1] in ('"', "'", ";", "#") or text.endswith("\\") or re.search(r"\s[;#]", text):
        raise UnquotableError(
            "white space at an end, a quote, ; or # at the start, ; or # after a space, or a \\ at the end: no INI value"
        )
    return text


def to_json(value: Json) -> str:
    """Return JSON in ASCII, on one line."""
    return json.dumps(value, allow_nan=False)


def yaml(value: Json) -> str:
    """Return YAML on one line, which parsers of YAML 1.1 and 1.2 read alike."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{yaml_key(key)}: {yaml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(yaml, value)) + "]"
    if isinstance(value, float):
        text = repr(value)
        return text if "." in text else text.replace("e", ".0e")  # else YAML 1.1 takes it for text
    return "null" if value is None else _quote_text(value)


def yaml_key(key: str) -> str:
    """Return the key of a mapping in YAML."""
    text = _double_quote(key)
    if len(text) > _YAML_KEY_LIMIT:
        raise UnquotableError(f"a key of more than {_YAML_KEY_LIMIT} characters, which parsers of YAML refuse")
    return text


def toml(value: Json) -> str:
    """Return TOML on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_double_quote(key)} = {toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if value is None:
        raise UnquotableError("a null, which TOML does not have")
    if isinstance(value, int) and not -_INTEGER_LIMIT <= value < _INTEGER_LIMIT:
        raise UnquotableError("an integer of more than 64 bits, which TOML does not have")
    return _quote_text(value)


def scalar(value: Json) -> str:
    """Return a text, number or truth value as text.

    Raises:
        UnquotableError: the value is another one.

    """
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        raise UnquotableError(_NOTHING)
    if isinstance(value, (int, float)):
        return repr(value)
    raise UnquotableError("neither text nor number: name an item of it, or write all of it with the filter json, yaml or toml")


def _needs_value(quote: Callable[[Json], str]) -> Callable[[Json], str]:
    """Return a function that refuses null, too: for a filter it is not distinct from what is undefined."""

    def filter_value(value: Json) -> str:
        if value is None:
            raise UnquotableError(_NOTHING)
        return quote(value)

    return filter_value


FILTERS: dict[str, Callable[[Json], str]] = {
    "dotenv": dotenv,
    "ini": ini,
    "json": _needs_value(to_json),
    "nginx": nginx,
    "shell": shell,
    "toml": toml,
    "yaml": _needs_value(yaml),
}


def _quote_text(value: Json) -> str:
    """Return a scalar with a text in double quotes."""
    return _double_quote(value) if isinstance(value, str) else scalar(value)


def _double_quote(text: str) -> str:
    """Return text in double quotes, as YAML and TOML have them both: what does not print is escaped."""
    if not text.isprintable() or "\\" in text or '"' in text:
        text = "".join(_escape(c) for c in text)
    return f'"{text}"'


def _escape(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    if character.isprintable():
        return character
    number = ord(character)
    return f"\\u{number:04x}" if number <= 0xFFFF else f"\\U{number:08x}"  # noqa: PLR2004 -- what four digits hold


def _without_nul(value: Json) -> str:
    text = scalar(value)
    if "\0" in text:
        raise UnquotableError("a NUL, which no program takes")
    return text


def _is_one_line(text: str) -> bool:
    """Return whether text holds no line break, of any kind, and no other control character but tabs."""
    return text.isprintable() or not any((c < " " and c != "\t") or "\x7f" <= c <= "\x9f" or c in "\u2028\u2029" for c in text)
