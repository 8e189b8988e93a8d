"""The environment: variables whose names begin with a prefix. They are read once, for they never change."""

from __future__ import annotations

import os
import re
import time
from typing import TYPE_CHECKING, Any

from disco.data.values import DEPTH_LIMIT
from disco.sources import Context, InvalidValue, Option, Options, Problem, Source, build_tree
from disco.sources.options import interface
from disco.text import NAME_LIMIT, escape

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

SEPARATOR = "__"  # of the names in a variable's name
CONFIGURATION = b"DISCO_CFG"  # never data, whatever the prefix is


def watch(context: Context) -> Iterator[Mapping[str, Any]]:
    """Yield what the variables hold; from then on the same object again."""
    data = read(os.environb, context)
    context.note("" if data else f"no variable's name begins with {context.options['prefix']}")
    while True:
        yield data
        time.sleep(context.options["timeout"])


def read(environ: Mapping[bytes, bytes], context: Context) -> dict[str, Any]:
    """Return the interfaces in an environment; of those that nobody asked for, the names alone."""
    prefix, interface = os.fsencode(context.options["prefix"]), context.options["interface"]
    names = _Names(context)
    variables: dict[str, bytes] = {}  # by the path of what they hold
    values: dict[str, bytes | InvalidValue] = {}  # by path
    foreign: dict[str, Any] = {}
    for variable in sorted(environ):
        if not variable.startswith(prefix) or variable == CONFIGURATION:
            continue
        rest = variable[len(prefix) :].decode(errors="backslashreplace")
        parts = [part for part in rest.split(SEPARATOR, DEPTH_LIMIT + 1) if part]
        if not parts:
            continue
        path = names.find([interface, *parts] if interface else parts)
        if path[0] not in context.interfaces:
            foreign[path[0]] = None
            continue
        key = "/".join(path)
        first = variables.setdefault(key, variable)
        values[key] = environ[variable]
        if first is not variable:
            values[key] = InvalidValue(f"is in both {_show(first)} and {_show(variable)}")
        elif not _is_text(variable):
            values[key] = InvalidValue(f"is in {_show(variable)}, a name that is no UTF-8 text")
    return foreign | build_tree(values.items())


class _Names:
    """Names of interfaces and properties, found by their parts of variables' names."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._known: dict[tuple[str, ...], dict[str, list[str]]] = {}  # by path, the names that are the same when folded

    def find(self, parts: Sequence[str]) -> tuple[str, ...]:
        """Return the path that the parts stand for."""
        path: tuple[str, ...] = ()
        for part in parts:
            path = (*path, self._match(path, part))
        return path

    def _match(self, path: tuple[str, ...], part: str) -> str:
        """Return the name at a path that a part means: the part itself, or the only one alike, else the part in lower case."""
        if path not in self._known:
            folded = self._known.setdefault(path, {})
            for name in self._context.properties(path) if path else self._context.interfaces:
                folded.setdefault(_fold(name), []).append(name)
        alike = self._known[path].get(_fold(part), [])
        exact = [name for name in (part, part.lower()) if name in alike]
        return exact[0] if exact else alike[0] if len(alike) == 1 else part.lower()


def _fold(name: str) -> str:
    """Return a name without what tells camelCase, snake_case and kebab-case apart."""
    return "".join(filter(str.isalnum, name.lower()))


def _show(name: bytes) -> str:
    return escape(os.fsdecode(name), NAME_LIMIT)


def _is_text(name: bytes) -> bool:
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return True


def take_prefix(value: str) -> str:
    """Take the beginning of variables' names."""
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", value):
        raise ValueError("the beginning of variables' names, such as APP_")
    return value


def _check(options: Options) -> Iterator[Problem]:
    prefix = options["prefix"]
    if not prefix:
        yield Problem("prefix", "expected the beginning of variables' names, such as APP_", "set it")
    elif not options["interface"] and not prefix.endswith("_"):
        yield Problem("prefix", "does not end in _, and no interface is set", "add the _, or set interface")


SOURCE = Source(
    watch=watch,
    place=lambda options, _part: f"variables {options['prefix']}…",
    text=True,
    check=_check,
    provides=lambda options, _part, interfaces: interfaces & {options["interface"]} if options["interface"] else interfaces,
    options=(
        Option(name="prefix", type=take_prefix, help="how the variables' names begin, such as APP_"),
        Option(
            name="interface",
            type=interface,
            help="the interface that all of them are of; not set: the first part of the name after the prefix",
        ),
    ),
)
