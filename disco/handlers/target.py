"""Targets of disco-wait: what a URL stands for. Pure.

A URL is taken apart before values of the input are put in: so a value fills its own place, and can add no port, path or host.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from disco.errors import DataError, UsageError
from disco.handlers import inputs
from disco.named import NamedTuple
from disco.text import PATH_LIMIT, escape, redact

if TYPE_CHECKING:
    from collections.abc import Iterable

    from disco.data.values import Json

DEFAULT_PORTS = {"tcp": "", "http": "80", "https": "443"}
REQUEST_LIMIT = 8000  # bytes of an HTTP request's path; servers take as much
SOCKET_LIMIT = 107  # bytes of a socket's path
PATH_BYTES = 4095
GOOD = "2xx,3xx"  # statuses, if the URL does not say

_POINTER = re.compile(r"(\{/[^{}]*\})")
_HIDDEN = re.compile(r"\0(\d+)\0")
_PARTS = re.compile(r"//([^/?#]*)([^#]*)(?:#(.*))?", re.DOTALL)
_HOST = re.compile(r"[A-Za-z0-9._%:-]{1,253}")
_PORT = re.compile(r"[0-9]{1,5}")
_PRINTABLE = re.compile(r"[!-~]*")
_STATUSES = re.compile(r"[1-5](?:xx|[0-9]{2})(?:,[1-5](?:xx|[0-9]{2}))*")
FORMS = "tcp://HOST:PORT, http://HOST[:PORT][/PATH][#STATUS], https://…, unix:PATH or file:PATH"


class UrlTemplate(NamedTuple):
    """A URL with places for values, taken apart.

    url: for people. scheme: tcp, http, https, unix or file. host, port: as they stand in the URL. path: of a file or socket,
    or of an HTTP request, with its query. statuses: those that are good.
    """

    url: str
    scheme: str
    host: str = ""
    port: str = ""
    path: str = ""
    statuses: str = ""

    def pointers(self) -> list[str]:
        """Return the JSON pointers in it."""
        return [piece[1:-1] for part in (self.host, self.port, self.path) for piece in _POINTER.split(part)[1::2]]


class Target(NamedTuple):
    """What is waited for: a host and its port, or a path. url: the template's, for people."""

    url: str
    scheme: str
    host: str
    port: int
    path: str
    statuses: str

    def is_good(self, status: int) -> bool:
        """Return whether an HTTP status is one of the good ones."""
        return any(word in {str(status), f"{status // 100}xx"} for word in self.statuses.split(","))


def parse(url: str) -> UrlTemplate:
    """Take a URL apart.

    Raises:
        UsageError: it is none that can be waited for.

    """
    shown = escape(redact(url), PATH_LIMIT)
    pieces = _POINTER.split(url)
    if re.search("[{}\0]", "".join(pieces[::2])):
        raise UsageError(f"{shown}: braces hold a JSON pointer, such as {{/postgres/host}}")
    # Pointers hold slashes: the URL is split where they stand for something else.
    hidden = "".join(f"\0{number}\0" if number % 2 else piece for number, piece in enumerate(pieces))

    def reveal(part: str) -> str:
        return _HIDDEN.sub(lambda match: pieces[int(match[1])], part)

    scheme, _, rest = hidden.partition(":")
    if scheme in {"unix", "file"}:
        return _parse_path(shown, scheme, reveal(rest))
    if scheme not in DEFAULT_PORTS or not rest.startswith("//"):
        raise UsageError(f"{shown} is none of {FORMS}")
    authority, request, fragment = _PARTS.fullmatch(rest).groups()  # type: ignore[union-attr]  # it matches any text
    host, port = _split_authority(authority)
    if "@" in authority:
        raise UsageError(f"{shown}: a user or password is not sent; remove it")
    if scheme == "tcp" and (request or fragment is not None):
        raise UsageError(f"{shown}: tcp:// takes HOST:PORT alone")
    if not host or not (port or DEFAULT_PORTS[scheme]):
        raise UsageError(f"{shown}: the {'port' if host else 'host'} is missing")
    if port and not (_PORT.fullmatch(port) or _HIDDEN.fullmatch(port)):
        raise UsageError(f"{shown}: a port is one number or one pointer, and a path after it begins with /")
    if fragment is not None and not _STATUSES.fullmatch(fragment):
        raise UsageError(f"{shown}: after # stand the good statuses, such as #200 or #2xx,401")
    if not _PRINTABLE.fullmatch(_HIDDEN.sub("", request)):
        raise UsageError(f"{shown}: the path holds what a URL cannot; write it as %XX")
    template = UrlTemplate(
        url=shown,
        scheme=scheme,
        host=reveal(host),
        port=reveal(port) or DEFAULT_PORTS[scheme],
        path=reveal(request if request.startswith("/") else f"/{request}") if scheme != "tcp" else "",
        statuses=fragment or GOOD,
    )
    _check_constants(template)
    return template


def fill(template: UrlTemplate, data: Json) -> Target:
    """Put values in.

    Raises:
        DataError: one is missing, or is not what its place takes.

    """
    path = ""
    if template.scheme in {"unix", "file"}:
        path = _fill_path(template, data)
    elif template.path:
        path = _fill_request(template, data)
    host = _fill(template.host, data)
    if host and not _HOST.fullmatch(host):
        raise DataError(_complain(template.host, "no host name or address"))
    port = _fill(template.port, data)
    if port and not (_PORT.fullmatch(port) and 0 < int(port) < 1 << 16):
        raise DataError(_complain(template.port, "no port from 1 to 65535"))
    return Target(template.url, template.scheme, host, int(port or 0), path, template.statuses)


def _parse_path(shown: str, scheme: str, rest: str) -> UrlTemplate:
    if rest.startswith("//"):
        rest = rest[2:]
        if not rest.startswith(("/", "{")):
            raise UsageError(f"{shown}: the path after {scheme}:// must begin with /")
    if not rest:
        raise UsageError(f"{shown}: the path is missing")
    template = UrlTemplate(url=shown, scheme=scheme, path=rest)
    _check_constants(template)
    return template


def _check_constants(template: UrlTemplate) -> None:
    """Check the parts without values: what is wrong with them is known before there is any input.

    Raises:
        UsageError: one is wrong.

    """
    constant = template._replace(
        host="" if _POINTER.search(template.host) else template.host,
        port="" if _POINTER.search(template.port) else template.port,
        path="" if _POINTER.search(template.path) else template.path,
    )
    try:
        fill(constant, {})
    except DataError as error:
        raise UsageError(f"{template.url}: {error.problems[0]}") from None


def _split_authority(authority: str) -> tuple[str, str]:
    """Return host and port; the port is empty if there is none. An IPv6 address stands in brackets."""
    if authority.startswith("["):
        host, bracket, rest = authority[1:].partition("]")
        return (host if bracket and (not rest or rest.startswith(":")) else ""), rest[1:]
    host, colon, port = authority.rpartition(":")
    return (host, port) if colon else (authority, "")


def _fill(text: str, data: Json) -> str:
    """Return text with the values that its pointers lead to.

    Raises:
        DataError: one is missing, or is neither text nor a whole number.

    """
    return "".join(_substitute(text, data))


def _substitute(text: str, data: Json) -> Iterable[str]:
    for number, piece in enumerate(_POINTER.split(text)):
        if number % 2 == 0:
            yield piece
            continue
        value = inputs.find(data, piece[1:-1])
        if isinstance(value, bool) or not isinstance(value, (str, int)) or value == "":
            raise DataError(_complain(piece, "neither text nor a whole number"))
        yield str(value)


def _fill_path(template: UrlTemplate, data: Json) -> str:
    path = _fill(template.path, data)
    limit = SOCKET_LIMIT if template.scheme == "unix" else PATH_BYTES
    try:
        size = len(os.fsencode(path))
    except UnicodeEncodeError:  # a lone surrogate
        size = limit + 1
    if "\0" in path or size > limit:
        raise DataError(_complain(template.path, f"no path of at most {limit} bytes"))
    return path


def _fill_request(template: UrlTemplate, data: Json) -> str:
    """Return the path and query of a request. Values are quoted, but for the slashes in a path."""
    pieces = list(_substitute(template.path, data))
    if len(pieces) > 1:
        from urllib.parse import quote  # noqa: PLC0415 -- few URLs need it

        try:
            for number in range(1, len(pieces), 2):
                is_query = "?" in "".join(pieces[:number:2])
                pieces[number] = quote(pieces[number], safe="" if is_query else "/")
        except UnicodeEncodeError:  # a lone surrogate
            raise DataError(_complain(template.path, "no text")) from None
    request = "".join(pieces)
    if len(request) > REQUEST_LIMIT:
        raise DataError(_complain(template.path, f"more than {REQUEST_LIMIT} bytes"))
    return request


def _complain(part: str, what: str) -> str:
    """Return what is wrong with a part of a URL, without any value of the input."""
    return f"{escape(part, PATH_LIMIT)} is {what}"
