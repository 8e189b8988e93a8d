"""Formats: all of the input written as one file, without a template."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from disco.data.values import pointer
from disco.errors import DataError
from disco.handlers import quoting
from disco.handlers.quoting import UnquotableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from disco.data.values import Json

_SAFE_IN_ENV = r"[\w.,:/@%+=-]*"  # what no reader of a dotenv file takes for anything else
_INI_NAME = r"[\w.-]+"
_TOML_BARE = r"[\w-]+"
_YAML_PLAIN = r"[A-Za-z_][\w-]{,99}"
_YAML_WORDS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})  # no text in YAML 1.1, in any case


def write(name: str, data: dict[str, Json]) -> str:
    """Return data in a format. Whatever line a value is on, it is the same for other values in its place.

    Raises:
        DataError: the format cannot hold the data.

    """
    return "".join(f"{line}\n" for line in FORMATS[name](data))


def name_variable(path: tuple[str | int, ...]) -> str:
    """Return the name of a value's environment variable: its keys in upper case, joined by `_`."""
    name = re.sub(r"\W", "_", "_".join(map(str, path)), flags=re.ASCII).upper()
    return f"_{name}" if name[:1].isdigit() else name


def _write_env(data: dict[str, Json]) -> Iterator[str]:
    """Yield one variable for each value, a dotenv file. A list is JSON; null, and a mapping without content, make none."""
    places: dict[str, str] = {}
    for path, value in _find_values(data):
        if value is None or isinstance(value, dict):
            continue
        name, place = name_variable(path), pointer(path)
        if name in places:
            raise DataError(f"{places[name]} and {place} are both the variable {name}")
        places[name] = place
        text = quoting.to_json(value) if isinstance(value, list) else value
        yield f"{name}={_refer(place, _quote_for_env, text)}"


def _quote_for_env(value: Json) -> str:
    text = quoting.scalar(value)
    return text if re.fullmatch(_SAFE_IN_ENV, text, re.ASCII) else quoting.dotenv(text)


def _find_values(data: Json, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Json]]:
    """Yield each value that is no mapping, and each empty mapping, with its path."""
    if isinstance(data, dict) and data:
        for key, value in data.items():
            yield from _find_values(value, (*path, key))
    elif path:
        yield path, data


def _write_ini(data: dict[str, Json]) -> Iterator[str]:
    """Yield a section for each mapping that holds values; one below another is called `outer.inner`."""
    sections: dict[str, dict[str, str]] = {}
    for path, value in _find_values(data):
        place = pointer(path)
        if isinstance(value, (dict, list)):
            raise DataError(f"{place} is a list, or empty: an INI file holds texts and numbers")
        *above, key = path
        if not above:
            raise DataError(f"{place} is in no section: an INI file holds mappings of values")
        section = ".".join(above)
        if not re.fullmatch(_INI_NAME, section, re.ASCII) or not re.fullmatch(_INI_NAME, key, re.ASCII):
            raise DataError(f"{place}: an INI file's names hold letters, digits, _, - and . only")
        values = sections.setdefault(section.lower(), {"": section})
        if values[""] != section or key.lower() in values:
            raise DataError(f"{place} is there twice, for an INI file's names have no case")
        values[key.lower()] = f"{key} = {_refer(place, quoting.ini, value)}"
    for number, values in enumerate(sections.values()):
        if number:
            yield ""
        yield f"[{values.pop('')}]"
        yield from values.values()


def _write_json(data: dict[str, Json]) -> Iterator[str]:
    yield json.dumps(data, indent=2, allow_nan=False)


def _write_yaml(data: Json, indent: str = "") -> Iterator[str]:
    """Yield a mapping or a list in block style. Texts are in quotes: whatever they look like, they stay texts."""
    if not data:
        yield indent + quoting.yaml(data)
        return
    items = data.items() if isinstance(data, dict) else ((None, value) for value in data)
    for key, value in items:
        head = f"{indent}-" if key is None else f"{indent}{_name_in_yaml(key)}:"
        if isinstance(value, (dict, list)) and value:
            yield head
            yield from _write_yaml(value, indent + "  ")
        else:
            yield f"{head} {quoting.yaml(value)}"


def _name_in_yaml(key: str) -> str:
    if re.fullmatch(_YAML_PLAIN, key, re.ASCII) and key.lower() not in _YAML_WORDS:
        return key
    return _refer(pointer((key,)), quoting.yaml_key, key)


def _write_toml(data: dict[str, Json], path: tuple[str, ...] = ()) -> Iterator[str]:
    """Yield the values of a table, and then the tables in it; lists of mappings are inline."""
    tables = {key: value for key, value in data.items() if isinstance(value, dict)}
    for key, value in data.items():
        if key not in tables:
            yield f"{_name_in_toml(key)} = {_refer(pointer((*path, key)), quoting.toml, value)}"
    for key, table in tables.items():
        below = (*path, key)
        yield f"[{'.'.join(map(_name_in_toml, below))}]"
        yield from _write_toml(table, below)


def _name_in_toml(key: str) -> str:
    return key if re.fullmatch(_TOML_BARE, key, re.ASCII) else quoting.toml(key)


def _refer(place: str, quote: Callable[[Json], str], value: Json) -> str:
    """Return a quoted value.

    Raises:
        DataError: that is refused; it says where the value is.

    """
    try:
        return quote(value)
    except UnquotableError as refusal:
        raise DataError(f"{place} holds {refusal}") from None


FORMATS: dict[str, Callable[[dict[str, Json]], Iterator[str]]] = {
    "env": _write_env,
    "ini": _write_ini,
    "json": _write_json,
    "toml": _write_toml,
    "yaml": _write_yaml,
}
