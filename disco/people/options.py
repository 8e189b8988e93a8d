"""--options: every option that can be set, as people write it."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from disco.named import NamedTuple
from disco.site.config import DISCO_OPTIONS
from disco.sources.options import SOURCE_OPTIONS, name_of
from disco.text import NAME_LIMIT, REASON_LIMIT, escape

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from disco.sources import Source
    from disco.sources.options import Option

WIDTH = 100  # columns
ANY = "NAME"  # stands for the name of any source


class Row(NamedTuple):
    """An option as text: its key, its type, its default (empty: it has none), the environment's variables, and its help."""

    key: str
    type: str
    default: str
    variables: tuple[str, ...]
    is_secret: bool
    help: str


def list_rows(name: str, declared: Iterable[Option]) -> Iterator[Row]:
    """Yield the rows of what is declared for a namespace."""
    for option in declared:
        variables = (option.env, f"{option.env}_FILE") if option.secret else (option.env,)
        yield Row(
            key=f"{name}.{option.name}",
            type=name_of(option.type),
            default="" if option.secret else _as_text(option),
            variables=variables if option.env else (),
            is_secret=option.secret,
            help=option.help,
        )


def describe(types: Mapping[str, Source], *, with_general: bool) -> str:
    """Return the options of these types of sources; with_general: those of disco itself and of every source first."""
    sections = [("disco itself", list_rows("disco", DISCO_OPTIONS)), ("every source", list_rows(ANY, SOURCE_OPTIONS))]
    sections = sections if with_general else []
    sections += [(f"sources of the type {name}", list_rows(name, source.options)) for name, source in types.items()]
    texts = []
    for title, rows in sections:
        lines = [line for row in rows for line in _describe(row)] or ["  (none of its own)"]
        texts.append("\n".join([f"{title}:", *lines, ""]))
    return "\n".join(texts)


def _describe(row: Row) -> Iterator[str]:
    about = [row.type]
    if row.is_secret:
        about.append(f"secret; also {row.key}_file=FILE")
    if row.variables:
        about.append(f"else the variable {' or '.join(row.variables)}")
    if row.default:
        about.append(f"default {row.default}")
    # A plug-in's texts may be anything.
    yield from _wrap(escape(f"{row.key}  ({'; '.join(about)})", REASON_LIMIT), "  ")
    yield from _wrap(escape(row.help, REASON_LIMIT), "      ")


def _wrap(text: str, indent: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=indent, subsequent_indent="      ")


def _as_text(option: Option) -> str:
    """Return an option's default as its type takes it."""
    default = option.default
    match default:
        case None | "" | ():
            return ""
        case bool():
            return "true" if default else "false"
        case float() if name_of(option.type).startswith("duration"):
            return f"{default:g}s" if default else "0"
        case int() if name_of(option.type) == "size":
            return f"{default >> 20}M"
        case tuple():
            return (":" if isinstance(default[0], Path) else ",").join(map(str, default))
    return escape(str(default), NAME_LIMIT)
