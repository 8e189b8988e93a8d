"""What is configured, as text: the pairs of DISCO_CFG and those of the file of -c, by key, each with its place.

Nothing here knows which options there are, but for a hint at disco's own. No message shows a value: it may be a secret.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from disco.data import documents
from disco.errors import DocumentError, Problem
from disco.named import NamedTuple
from disco.text import NAME_LIMIT, escape, nearest

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from pathlib import Path

    from disco.data.documents import Document
    from disco.data.values import Json

_NAME = r"[A-Za-z_][A-Za-z0-9_-]*"
_KEY = re.compile(rf"{_NAME}(?:\.{_NAME})+")
_BETWEEN = re.compile(r"[\s:]+")
_START = re.compile(rf"({_KEY.pattern})\s*=|\Z")  # of a pair, or the end
_OTHER_SEPARATOR = re.compile(rf"[;,\s]({_KEY.pattern})\s*=")


class Value(NamedTuple):
    """What a key is set to, as text.

    place: the key, and where it is set. is_reported: something is wrong with the text, and reported already.
    """

    text: str
    place: str
    is_reported: bool = False


def read(
    pairs: str, file: Path | None, environ: Mapping[str, str], own: Collection[str], problems: list[Problem]
) -> dict[str, Value]:
    """Return all that is configured by key: DISCO_CFG's `pairs` over those of the file, which come first.

    environ: gives the variables in the file's values. own: the keys of disco's own options. problems: is appended to.
    """
    values = _read_file(file, environ, problems) if file else {}
    values |= _read_pairs(pairs, own, problems)
    namespaces = {"disco", *(key.partition(".")[0] for key in values)}
    problems += _find_joined(values, namespaces)
    return values


def _read_pairs(pairs: str, own: Collection[str], problems: list[Problem]) -> dict[str, Value]:
    values: dict[str, Value] = {}
    for number, pair in enumerate(_split(pairs), 1):
        key, equals, value = (half.strip() for half in pair.partition("="))
        if not pair.strip():
            continue
        if equals and re.fullmatch(_NAME, key):
            shown = escape(key, NAME_LIMIT)
            remedy = nearest(f"disco.{key}", own, f"write NAMESPACE.{shown}, such as flat.file", 0.9)
            problems.append(Problem(f"DISCO_CFG: {shown}", "the key has no namespace", remedy))
        elif not equals or not _KEY.fullmatch(key):
            after = f" after {list(values)[-1]}" if values else ""
            problems.append(Problem(f"DISCO_CFG: pair {number}{after}", "expected key=value, with a key like disco.path"))
        else:
            values[key] = Value(value.replace("\\:", ":"), f"DISCO_CFG: {key}")
    return values


def _split(pairs: str) -> Iterator[str]:
    """Yield the pairs as they are written; each run of white space and `:` is looked at once, for there may be very many."""
    start = 0
    for between in _BETWEEN.finditer(pairs):
        is_escaped = pairs.endswith("\\", 0, between.start())
        colon = pairs.find(":", between.start() + is_escaped, between.end())
        if colon >= 0 and _START.match(pairs, between.end()):
            yield pairs[start:colon]
            start = between.end()
    yield pairs[start:]


def _find_joined(values: Mapping[str, Value], namespaces: Collection[str]) -> Iterator[Problem]:
    """Yield the values that seem to hold a further pair, joined by something else than `:`."""
    for value in values.values():
        for match in _OTHER_SEPARATOR.finditer(value.text):
            if match[1].partition(".")[0] in namespaces:
                what = f"the value seems to hold another pair, {escape(match[1], NAME_LIMIT)}="
                yield Problem(value.place, what, "join pairs with ':'")
                break


def _read_file(file: Path, environ: Mapping[str, str], problems: list[Problem]) -> dict[str, Value]:
    try:
        content = documents.read_file(file)
    except DocumentError as error:
        problems.append(Problem(f"-c: {file}", error.problem.message, error.problem.remedy))
        return {}
    try:
        document = documents.parse(content, str(file))
    except DocumentError as error:
        problems.append(error.problem)
        return {}
    if document.data is not None and not isinstance(document.data, dict):
        problems.append(Problem(document.at(), "expected a mapping like 'disco: {path: ...}'"))
        return {}
    values: dict[str, Value] = {}
    waiting: list[tuple[tuple[str, ...], Json]] = [((name,), below) for name, below in (document.data or {}).items()]
    while waiting:
        at, data = waiting.pop(0)
        key = ".".join(at)
        place = _place(document, at)
        if isinstance(data, dict) and data:
            waiting = [((*at, name), below) for name, below in data.items()] + waiting
        elif data in (None, {}) and re.fullmatch(_NAME, key):
            if key != "disco":  # a source with every option's default
                values[f"{key}.type"] = Value(key, place)
        elif not _KEY.fullmatch(key):
            problems.append(Problem(place, "expected a key in a namespace, like disco.path"))
        elif _is_scalar(data) or (isinstance(data, list) and all(map(_is_scalar, data))):
            before = len(problems)
            data = _resolve(data, document, at, environ, problems)
            values[key] = Value(_as_text(key, data), place, is_reported=len(problems) > before)
        else:
            problems.append(Problem(place, "expected a text, a number, a boolean or a list of texts"))
    return values


def _is_scalar(data: object) -> bool:
    return isinstance(data, (str, int, float))


def _place(document: Document, at: tuple[str | int, ...]) -> str:
    key = ".".join(name for name in at if isinstance(name, str))
    return f"{document.at(*at)}: {escape(key, NAME_LIMIT)}"


def _resolve(
    data: Json, document: Document, at: tuple[str | int, ...], environ: Mapping[str, str], problems: list[Problem]
) -> Json:
    """Return a scalar, or a list of scalars, with the variables that its texts refer to; at: its path in the document."""
    if isinstance(data, list):
        return [_resolve(item, document, (*at, index), environ, problems) for index, item in enumerate(data)]
    if not isinstance(data, str) or "${" not in data:
        return data
    from disco.site.variables import substitute  # noqa: PLC0415 -- few files refer to variables

    return substitute(data, _place(document, at), environ, problems)


def _as_text(key: str, data: object) -> str:
    """Return a scalar, or a list of scalars, as DISCO_CFG would have it."""
    if isinstance(data, bool):
        return "true" if data else "false"
    if isinstance(data, list):
        return (":" if key == "disco.path" else ",").join(_as_text(key, item) for item in data)
    return str(data)
