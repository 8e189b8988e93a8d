"""Exports: the variables that handlers give to COMMAND. What they may be called, and the form in which a handler writes them.

What a handler writes may come from a backend. So it is bounded, and an error shows nothing of it but a name.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from disco.system.programs import VARIABLE_LIMIT
from disco.wire.messages import EXPORT_LIMIT

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

NAME_LENGTH = 255  # characters of a variable's name
# A program that gets one of these may load other code, run another program, or send data elsewhere. Upper and lower case are the
# same here, for programs read http_proxy too.
GUARDED = (
    *("PATH", "LD_*", "DISCO_*", "GCONV_PATH", "GLIBC_TUNABLES", "LOCPATH", "NLSPATH"),
    *("BASH_ENV", "BASHOPTS", "ENV", "IFS", "PROMPT_COMMAND", "PS4", "SHELLOPTS"),
    *("PYTHON*", "PERL*", "RUBY*", "LUA_*", "PHPRC", "PHP_INI_SCAN_DIR", "NODE_*"),
    *("CLASSPATH", "JAVA_*", "_JAVA_*", "JDK_*", "DOTNET_*", "CORECLR_*"),
    *("GIT_*", "OPENSSL_*", "SSL_*", "HOSTALIASES", "*_PROXY"),
)
_FORM = 'end each with NUL: printf \'%s\\0\' "NAME=$value" >> "$DISCO_ENV"'


def find_fault(pattern: str) -> str | None:
    """Return why a rule's `export` cannot hold this; None if it can: a name, or one with a single `*` for any characters."""
    head, star, tail = pattern.partition("*")
    if "*" in tail or not is_name((head or "_" if star else head) + tail):
        return "is no name of a variable, nor one with a single * for any characters"
    if pattern == "*":
        return "would let the data choose any name: write the names, or how they begin, such as APP_*"
    # Every name that it can match is guarded.
    if star and any(_fits(guarded, head, tail) for guarded in GUARDED):
        return "matches only names that change which code runs, or where data goes: write each of them without *"
    return None


def _fits(guarded: str, head: str, tail: str) -> bool:
    before, star, after = guarded.partition("*")
    return bool(star) and head.upper().startswith(before) and tail.upper().endswith(after)


def is_name(name: str) -> bool:
    """Return whether a variable may be called so."""
    return len(name) <= NAME_LENGTH and bool(re.fullmatch(r"[A-Za-z_.-][A-Za-z0-9_.-]*", name))


def is_guarded(name: str) -> bool:
    """Return whether only an exact name, no pattern, lets this variable be exported."""
    return any(_match(pattern, name.upper()) for pattern in GUARDED)


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Return whether a rule's `export` lets this variable through."""
    return any(pattern == name or ("*" in pattern and _match(pattern, name) and not is_guarded(name)) for pattern in patterns)


def _match(pattern: str, name: str) -> bool:
    head, star, tail = pattern.partition("*")
    if not star:
        return name == pattern
    return len(name) >= len(head) + len(tail) and name.startswith(head) and name.endswith(tail)


def accept(content: bytes, patterns: Sequence[str]) -> tuple[bytes, list[str]]:
    """Return what a handler may export of what it wrote: records that end with NUL; and what to call those that it may not.

    Without any NUL each line is a record. Of a name that is there twice the last one counts.

    Raises:
        ValueError: why nothing of it can be used.

    """
    if len(content) > EXPORT_LIMIT:
        raise ValueError(f"more than {EXPORT_LIMIT >> 20} MiB")
    accepted: dict[str, bytes] = {}
    refused: dict[str, None] = {}
    of_lines = b"\0" not in content
    for number, record in _split(content, of_lines=of_lines):
        place = f"{'line' if of_lines else 'record'} {number}"
        name = record.partition(b"=")[0].decode("ascii", "replace") if b"=" in record else ""
        if not is_name(name):
            raise ValueError(f"{place} is not NAME=value ({_FORM})")
        if len(record) >= VARIABLE_LIMIT:
            raise ValueError(f"{place} is longer than {VARIABLE_LIMIT >> 10} KiB, the system's limit for a variable")
        if matches(name, patterns):
            accepted[name] = record
        else:
            # What looks like a name in a line may be the rest of a value, such as the last line of a certificate.
            refused[place if of_lines else name] = None
    return b"".join(record + b"\0" for record in accepted.values()), list(refused)


def _split(content: bytes, *, of_lines: bool) -> Iterator[tuple[int, bytes]]:
    """Yield the records with their numbers, which begin with 1."""
    *records, rest = content.split(b"\n" if of_lines else b"\0")
    if rest and not of_lines:
        raise ValueError(f"its last record is not complete ({_FORM})")
    if rest:
        records.append(rest)
    for number, record in enumerate(records, 1):
        if record or of_lines:  # printf '%s\0' without words writes an empty one
            yield number, record


def merge(exported: Iterable[tuple[str, bytes]]) -> tuple[dict[bytes, bytes], dict[str, list[str]]]:
    """Return the whole entries of all rules by name, where the later rule wins, and for each name the rules that export it.

    exported: each rule with its records, in the order of the files.
    """
    entries: dict[bytes, bytes] = {}
    rules: dict[str, list[str]] = {}
    for rule, content in exported:
        for record in content.split(b"\0")[:-1]:
            name = record.partition(b"=")[0]
            entries[name] = record
            rules.setdefault(name.decode("ascii", "replace"), []).append(rule)
    return entries, rules
