"""HTTP for sources: one connection to one server, each answer bounded, each failure explained without a secret.

For example, a source that polls a JSON document (`timeout` has every source, the options of TLS it declares itself):

    import time
    from contextlib import closing

    from disco.sources import Context, Option, Source, is_same
    from disco.sources.options import path

    def watch(context: Context) -> Iterator[Mapping[str, Any]]:
        from disco.sources.http import Client            # in the source's own process only: slow

        headers = {"Authorization": f"Bearer {context.options['token']}"}
        with closing(Client("https://config.example:8443", context.options)) as client:
            data = None
            while True:
                answer = client.get("/v1/config", headers)
                if answer.status != 200:
                    raise answer.error()                 # with the status, and with Retry-After if the server sent it
                news = answer.json()
                data = data if is_same(data, news) else news
                yield data
                time.sleep(context.interval)

    SOURCE = Source(watch=watch, options=(
        Option(name="token", secret=True, help="..."),
        Option(name="ca_cert", type=path, help="PEM file of the authorities that are trusted"),
    ), modules=("requests",))

The client follows no redirect, and takes no proxy and no ~/.netrc: a token goes to this server only. It asks for no
compression and refuses it, since a few KB may stand for any number of MB. A blocking query passes its own length as `wait`.
"""

from __future__ import annotations

import json
import os
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from http.client import responses
from socket import gaierror
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import requests
from urllib3 import disable_warnings
from urllib3 import exceptions as urllib3

from disco.errors import SourceError
from disco.named import NamedTuple
from disco.sources.pace import deadline
from disco.sources.tls import TLS_CLOSED, explain_tls, read_tls_file
from disco.text import NAME_LIMIT, duration, escape

if TYPE_CHECKING:
    from collections.abc import Mapping

    from disco.data.values import Json
    from disco.sources.options import Options

BODY_LIMIT = 32 << 20  # bytes; base64 makes 4/3 of the 16 MiB that a source may have
# Objects, lists and what they hold: parsed, one may need 130 bytes, and of honest data each is there with 12 bytes or more.
PART_LIMIT = 2_000_000
ERROR_LIMIT = 4 << 10  # bytes read of an answer that is an error, to recognise its reason
CHUNK = 16 << 10
ENCODING_LIMIT = 20  # characters shown of a content encoding

_NARROW = "narrow what is read (a longer prefix)"


class Answer(NamedTuple):
    """What the server answered: of an error (any other status than 200) at most the first ERROR_LIMIT bytes."""

    status: int
    headers: Mapping[str, str]
    body: bytearray

    def text(self) -> str:
        """Return the body as text that may be parsed as JSON.

        Raises:
            SourceError: parsed, it might need too much memory.
            UnicodeDecodeError: it is no UTF-8.

        """
        if sum(map(self.body.count, (b"{", b"[", b","))) > PART_LIMIT:
            raise SourceError(f"answered with JSON of more than {PART_LIMIT} parts: {_NARROW}")
        return self.body.decode()

    def json(self) -> Json:
        """Return the body's JSON data; raise SourceError if it is none, or too much."""
        try:
            return json.loads(self.text())
        except (ValueError, RecursionError):
            raise SourceError("answered with invalid JSON") from None

    def error(self, reason: str = "") -> SourceError:
        """Return what to raise for an answer that is of no use; reason: what is wrong with it, else its status."""
        return SourceError(reason or self._explain(), retry_after=_read_retry_after(self.headers.get("Retry-After", "")))

    def _explain(self) -> str:
        if 300 <= self.status < 400:  # noqa: PLR2004 -- HTTP's redirects
            return f"answered {self.status}, a redirect to {self._redirect_host()}, which is not followed"
        return f"answered {self.status} {responses.get(self.status, '').lower()}".rstrip()

    def _redirect_host(self) -> str:
        try:
            host = urlsplit(self.headers.get("Location", "")).hostname
        except ValueError:
            host = None
        return escape(host or "itself", NAME_LIMIT)


class Client:
    """A connection to one server, made when it is first needed, and anew when it was closed."""

    def __init__(
        self,
        server: str,
        options: Options,
        *,
        user: tuple[str, str] | None = None,
        plain_remedy: str = "use http",
        closed_hint: str = "",
    ) -> None:
        """Connect to nothing yet.

        server: SCHEME://HOST:PORT. options: the source's, of which `timeout` counts, and `verify`, `ca_cert`, `cert` and `key`
        where it declares them. user: with password, for basic authentication. For people: plain_remedy, what to do if the
        server does not speak TLS; closed_hint: what it may mean that a server closes the first connection without an answer.

        Raises:
            SourceError: a file for TLS cannot be used.

        """
        self.where = server.partition("://")[2]
        self._server = server
        self._timeout: float = options["timeout"]
        self._plain_remedy = plain_remedy
        self._closed_hint = closed_hint
        self._has_served = False
        ca_cert, cert, key = (options.get(name) for name in ("ca_cert", "cert", "key"))
        for name, file in (("ca_cert", ca_cert), ("cert", cert), ("key", key)):
            if file:
                read_tls_file(name, file)
        is_verified = options.get("verify", True)
        self._verify = str(ca_cert) if is_verified and ca_cert else is_verified
        # The key's file is always named: an encrypted key is an error then, not a question on the terminal.
        self._cert = (str(cert), str(key or cert)) if cert else None
        if not is_verified:
            disable_warnings(urllib3.InsecureRequestWarning)
        self._session = requests.Session()
        self._session.trust_env = False
        # Compressing costs the server twice the CPU time of the whole answer, for each client: networks are faster than that.
        self._session.headers.update({"User-Agent": "disco", "Accept-Encoding": "identity"})
        self._session.auth = user

    def close(self) -> None:
        """Close the connection."""
        self._session.close()

    def get(self, path: str, headers: Mapping[str, str] | None = None, wait: float = 0.0) -> Answer:
        """Return the answer, whatever its status, within `timeout` and `wait`, the seconds that a blocking query may last.

        path: with its query, both quoted.

        Raises:
            SourceError: there was no answer, or none of a size or an encoding that can be taken.

        """
        connecting = self._timeout / 2  # a name's second address has its turn within the request's deadline
        url = self._server + path
        try:
            request = self._session.prepare_request(requests.Request("GET", url, headers=headers))
            # Past Session.send, which reads all of a redirect's body, however long, even to follow none.
            with (
                deadline(self._timeout + wait),
                self._session.get_adapter(url).send(
                    request, stream=True, timeout=(connecting, None), verify=self._verify, cert=self._cert
                ) as response,
            ):
                self._has_served = True
                answer = Answer(response.status_code, response.headers, _read_body(response))
            del response  # urllib3 closes a connection when nothing refers to it: an error's traceback would
        except (requests.RequestException, urllib3.HTTPError, OSError) as error:
            raise SourceError(self._explain_failure(error, connecting)) from None
        return answer

    def _explain_failure(self, error: BaseException, connecting: float) -> str:
        """Return why there was no answer, from the exceptions' types and codes: their texts may hold URL and headers.

        connecting: the seconds that it might take to connect.
        """
        causes = _list_causes(error)
        if reason := next(filter(None, (explain_tls(cause, self._plain_remedy) for cause in causes)), ""):
            return f"TLS: {reason}"
        number = next((cause.errno for cause in causes if isinstance(cause, OSError) and cause.errno), 0)
        cannot = f"cannot connect to {self.where}"
        hint = "" if self._has_served else self._closed_hint
        # In this order: to urllib3 a connection that is refused, or a name that is not found, is a timeout too.
        meanings: tuple[tuple[tuple[type[BaseException], ...], str], ...] = (
            ((requests.exceptions.InvalidURL, urllib3.LocationParseError), f"{self.where} is not a valid address"),
            ((gaierror,), f"{cannot}: its name does not resolve"),
            ((urllib3.NewConnectionError,), f"{cannot}: {os.strerror(number).lower()}"),
            ((urllib3.ConnectTimeoutError,), f"{cannot}: no answer within {duration(connecting)}"),
            ((TimeoutError, urllib3.TimeoutError), f"{cannot}: no TLS handshake within {duration(connecting)}"),
            ((ConnectionError, *TLS_CLOSED), f"{self.where} closed the connection{hint}"),
            ((urllib3.ProtocolError,), "answered with incomplete or invalid HTTP"),
        )
        return next(
            (text for kinds, text in meanings if any(isinstance(cause, kinds) for cause in causes)),
            f"the request failed ({type(error).__name__})",
        )


def _list_causes(error: BaseException) -> list[BaseException]:
    """Return an exception with all that it wraps, in whichever way."""
    causes: list[BaseException] = []
    waiting: list[object] = [error]
    while waiting:
        cause = waiting.pop(0)
        if isinstance(cause, BaseException) and not any(cause is known for known in causes):
            causes.append(cause)
            waiting += [*cause.args, getattr(cause, "reason", None), cause.__cause__, cause.__context__]
    return causes


def _read_body(response: requests.Response) -> bytearray:
    """Return an answer's body as it is; of an error no more than is needed to recognise it."""
    succeeded = response.status_code == HTTPStatus.OK
    limit = BODY_LIMIT if succeeded else ERROR_LIMIT
    encoding = response.headers.get("Content-Encoding", "identity")
    if succeeded and encoding.strip().lower() != "identity":
        shown = escape(encoding, ENCODING_LIMIT)
        raise SourceError(f"answered with Content-Encoding {shown}, which was not asked for: is a proxy in between?")
    body = bytearray()
    for chunk in response.raw.stream(CHUNK, decode_content=False):
        body += chunk
        if len(body) > limit and succeeded:
            raise SourceError(f"answered with more than {limit >> 20} MiB: {_NARROW}")
        if len(body) > limit:
            break
    return body


def _read_retry_after(value: str) -> float | None:
    """Return the seconds of a Retry-After header, which is a number or a date (RFC 9110, 10.2.3)."""
    if re.fullmatch(r"\d{1,9}", value.strip(), re.ASCII):
        return float(value)
    try:
        when = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, (when.replace(tzinfo=when.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
