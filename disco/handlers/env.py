"""`disco-env`: give COMMAND the rule's data as variables of its environment, without a handler of one's own."""

from __future__ import annotations

import json
import os
import re
import sys
from typing import TYPE_CHECKING

from disco.data import exports
from disco.errors import DataError, HandlerError, UsageError
from disco.handlers import Finding, inputs, words
from disco.named import NamedTuple
from disco.system.programs import VARIABLE_LIMIT
from disco.text import NAME_LIMIT, PATH_LIMIT, escape
from disco.wire.messages import EXPORT_LIMIT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from disco.data.values import Json

USAGE = """\
usage: disco-env [--interface NAME]... [--prefix PREFIX] [--upcase] [NAME=/POINTER]...

Make variables for COMMAND of the JSON object on stdin. Each value becomes one. Its name is made of the keys that lead to it, the
interface first, joined by _.

  --interface NAME   use the values of this interface only, without its name in front
  --prefix PREFIX    put this in front of each name
  --upcase           turn each name into upper case
  NAME=/POINTER      give the value of a JSON pointer exactly this name; then no other value is used, but those of --interface

Text stays as it is. Numbers, booleans and lists are JSON. null makes no variable. In a rule the variables go to COMMAND, if the
rule's 'export' names them; by hand they are printed for a shell: eval "$(disco-env < input.json)".

exit status: 0 done; 1 DISCO_ENV cannot be written; 64 wrong words; 65 a value cannot be a variable
"""
_NAME = "[A-Za-z_][A-Za-z0-9_]*"  # what a shell can name too


class EnvOptions(NamedTuple):
    """What the command line asks for. pointers: by the names of variables."""

    interfaces: tuple[str, ...]
    prefix: str
    upcase: bool
    pointers: Mapping[str, str]


def main(argv: list[str]) -> int:
    """Give COMMAND the variables, or print them; return the exit status.

    Raises:
        UsageError: the words are wrong, or the rule may not export anything.
        DataError: a value cannot be a variable.
        HandlerError: the variables cannot be written.

    """
    asked = parse(argv)
    place = os.environ.get("DISCO_ENV", "")
    if not place and "DISCO_RULE" in os.environ:
        raise UsageError("the rule has no 'export': say there which variables it may give to COMMAND")
    variables = make_variables(asked, inputs.read())
    if place:
        _write(place, b"".join(f"{name}={value}\0".encode() for name, value in variables.items()))
    else:
        from shlex import quote  # noqa: PLC0415 -- by hand only

        sys.stdout.buffer.write("".join(f"export {name}={quote(value)}\n" for name, value in variables.items()).encode())
    return 0


def parse(argv: list[str]) -> EnvOptions:
    """Return what a command line asks for.

    Raises:
        UsageError: it is wrong.

    """
    options, given = words.split("disco-env", argv, ("interface=", "prefix=", "upcase"))
    pointers: dict[str, str] = {}
    for number, word in enumerate(given, 1):
        name, equals, pointer = word.partition("=")
        if not (equals and exports.is_name(name) and pointer.startswith("/")):  # not shown: it may be a secret
            raise UsageError(
                f"{name if exports.is_name(name) and equals else f'word {number}'} is not NAME=/POINTER; {words.hint('disco-env')}"
            )
        if name in pointers:
            raise UsageError(f"{name} is given twice; {words.hint('disco-env')}")
        pointers[name] = pointer
    prefix = ([value for option, value in options if option == "--prefix"] or [""])[-1]
    if not re.fullmatch(_NAME, f"{prefix}_"):
        raise UsageError(f"--prefix takes letters, digits and _, and does not begin with a digit; {words.hint('disco-env')}")
    return EnvOptions(
        interfaces=tuple(dict.fromkeys(value for option, value in options if option == "--interface")),
        prefix=prefix,
        upcase=("--upcase", "") in options,
        pointers=pointers,
    )


def find_problems(argv: list[str], interfaces: Sequence[str], _timeout: float) -> Iterator[Finding]:
    """Yield what is wrong or doubtful with the words in a rule; see `disco.handlers`."""
    asked = parse(argv)
    of_pointers = (inputs.tokens(pointer)[0] for pointer in asked.pointers.values())
    for name in dict.fromkeys((*asked.interfaces, *of_pointers)):
        if name not in interfaces:
            yield Finding(f"the rule names no interface {name}", "add it to the rule's 'when'", is_error=True)


def make_variables(asked: EnvOptions, data: dict[str, Json]) -> dict[str, str]:
    """Return the variables by their names.

    Raises:
        DataError: a value cannot be one.

    """
    variables: dict[str, str] = {}
    size = 0
    for name, pointer, value in _choose(asked, data):
        if value is None:
            continue
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        variables[name] = text
        size += _size(name, text, escape(pointer, PATH_LIMIT))
    if size > EXPORT_LIMIT:
        raise DataError(f"all variables together are larger than {EXPORT_LIMIT >> 20} MiB; give COMMAND a file instead")
    return variables


def _choose(asked: EnvOptions, data: dict[str, Json]) -> Iterator[tuple[str, str, Json]]:
    """Yield the name of each variable, with the pointer of its value and that value."""
    used: dict[str, str] = {}  # the pointers, by the names of variables
    for name, pointer in asked.pointers.items():
        used[name] = pointer
        yield name, pointer, inputs.find(data, pointer)
    if asked.interfaces:
        trees: list[tuple[tuple[str, ...], Json]] = [
            ((interface,), inputs.find(data, _pointer([interface]))) for interface in asked.interfaces
        ]
    else:
        trees = [] if asked.pointers else [((), data)]
    named = set(asked.pointers.values())
    for start, tree in trees:
        for path, value in _find_leaves(tree):
            pointer = _pointer((*start, *path))
            if pointer in named:
                continue
            name = asked.prefix + "_".join(path)
            shown = escape(pointer, PATH_LIMIT)
            if len(name) > exports.NAME_LENGTH or not re.fullmatch(_NAME, name):
                raise DataError(f"{shown}: {escape(name, NAME_LIMIT)} cannot be the name of a variable; choose one: NAME={shown}")
            name = name.upper() if asked.upcase else name
            if name in used:
                raise DataError(f"{name} is the name of {escape(used[name], PATH_LIMIT)} and of {shown}; choose one: NAME={shown}")
            used[name] = pointer
            yield name, pointer, value


def _pointer(path: Sequence[str]) -> str:
    return "".join("/" + key.replace("~", "~0").replace("/", "~1") for key in path)


def _find_leaves(data: Json) -> Iterator[tuple[tuple[str, ...], Json]]:
    """Yield all that is no mapping, in its order, with the keys that lead there."""
    waiting: list[tuple[tuple[str, ...], Json]] = [((), data)]
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, dict):
            waiting += reversed([((*path, key), below) for key, below in value.items()])
        else:
            yield path, value


def _size(name: str, text: str, pointer: str) -> int:
    """Return the bytes of a variable.

    Raises:
        DataError: it cannot be one.

    """
    if "\0" in text:
        raise DataError(f"{pointer} holds a NUL, which no variable can")
    try:
        size = len(f"{name}={text}\0".encode())
    except UnicodeEncodeError:
        raise DataError(f"{pointer} holds what is no Unicode text") from None
    if size > VARIABLE_LIMIT:
        raise DataError(f"{pointer} is longer than {VARIABLE_LIMIT >> 10} KiB, the system's limit for a variable")
    return size


def _write(place: str, content: bytes) -> None:
    try:
        with open(os.open(place, os.O_WRONLY | os.O_APPEND), "wb") as file:  # noqa: PTH123 -- a descriptor
            file.write(content)
    except OSError as error:
        raise HandlerError(f"DISCO_ENV: {escape(place, PATH_LIMIT)}: {error.strerror}") from None
