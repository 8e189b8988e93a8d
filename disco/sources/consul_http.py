"""HTTP to Consul: py-consul's client over requests that are bounded, with answers checked before they are believed.

Imported in a Consul source's own process only (slow, and large): it may import the client library at once.
"""

from __future__ import annotations

import logging
import os
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from http.client import responses
from socket import gaierror
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import requests
from consul import ConsulException, base
from consul.callback import CB
from urllib3 import disable_warnings
from urllib3 import exceptions as urllib3

from disco.errors import SourceError
from disco.sources.tls import TLS_CLOSED, explain_tls, read_tls_file
from disco.text import duration, escape, plural

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from disco.sources.consul import Address
    from disco.sources.options import Options

BODY_LIMIT = 32 << 20  # bytes; base64 makes 4/3 of the 16 MiB that a source may have
# Objects, lists and what they hold: parsed, one may need 130 bytes, and of honest data each is there with 12 bytes or more.
PART_LIMIT = 2_000_000
ERROR_LIMIT = 4 << 10  # bytes read of an answer that is an error, to recognise its reason
CHUNK = 16 << 10
STALE_LIMIT = 2.0  # seconds that a stale answer may be behind the leader; consul-template's default

# What py-consul and a look into its data raise for an answer of the wrong shape.
UNREADABLE = (ConsulException, LookupError, TypeError, ValueError, AttributeError, RecursionError)

log = logging.getLogger(__name__)


class Client(base.Consul):  # type: ignore[misc]
    """py-consul's client, which asks through our `HTTP`."""

    def __init__(self, http: HTTP, token: str | None) -> None:
        """Take the transport and the token, which no other place may give."""
        for name in [name for name in os.environ if name.startswith("CONSUL_")]:
            del os.environ[name]  # the library prefers them to what it is told
        if token and not (token.isascii() and token.isprintable()):
            raise SourceError("the token holds a character that no token can have")
        self._transport = http
        super().__init__(token=token)

    def http_connect(self, *_options: object) -> HTTP:
        """Return the transport."""
        return self._transport

    def read_keys(self, prefix: str, index: int | None, wait: str, dc: str | None) -> Any:  # noqa: ANN401 -- JSON of Consul's
        """Return index and items of all keys with a prefix (None: there is none), as `kv.get` does, but values stay base64."""
        params = [("recurse", "1"), *([("index", index), ("wait", wait)] if index else []), *([("dc", dc)] if dc else [])]
        callback = CB.json(index=True, postprocess=_as_list)
        return self.http.get(callback, f"/v1/kv/{prefix}", params, self.prepare_headers())


class HTTP(base.HTTPClient):  # type: ignore[misc]
    """One connection to one server: it follows no redirect and takes no proxy, so a token goes nowhere else.

    Who asks bounds the request as a whole (`sources.deadline`); here only connecting has a limit of its own.

    consistency: the mode of the next request. Of the last answer: is_doubtful: it is stale and may be out of date,
    is_filtered: Consul left out what the token has no right to read.
    """

    def __init__(self, address: Address, user: tuple[str, str] | None, options: Options, what: str) -> None:
        """Connect to nothing yet; user: with password, in Latin-1; `what` says for people what is read."""
        super().__init__(address.host, address.port, address.scheme)
        self.consistency = "default"
        self.is_doubtful = False
        self.where = f"{address.host}:{address.port}"
        self._what = escape(what, 200)
        self._options = options
        self.is_filtered = False
        self._has_token = False
        self._has_served = False
        for name in ("ca_cert", "cert", "key"):
            if options[name]:
                read_tls_file(name, options[name])
        self.verify = str(options["ca_cert"]) if options["verify"] and options["ca_cert"] else options["verify"]
        # The key's file is always named: an encrypted key is an error then, not a question on the terminal.
        self.cert = (str(options["cert"]), str(options["key"] or options["cert"])) if options["cert"] else None
        if not options["verify"]:
            disable_warnings(urllib3.InsecureRequestWarning)
        self._session = requests.Session()
        self._session.trust_env = False
        # Compressing costs the server twice the CPU time of the whole answer, for each client: networks are faster than that.
        self._session.headers.update({"User-Agent": "disco", "Accept-Encoding": "identity"})
        self._session.auth = user
        log.debug("host=%s port=%d scheme=%s", address.host, address.port, address.scheme)

    def close(self) -> None:
        """Close the connection."""
        self._session.close()

    def get(
        self,
        callback: Callable[[Any], Any],
        path: str,
        params: Sequence[tuple[str, Any]] = (),
        headers: dict[str, str] | None = None,
    ) -> Any:  # noqa: ANN401 -- what py-consul's callback makes of the answer
        """Return what the callback makes of an answer that can be believed; raise SourceError for any other."""
        self._has_token = "X-Consul-Token" in (headers or {})
        connecting = self._options["timeout"] / 2  # a name's second address has its turn within the request's deadline
        if self.consistency != "default":  # py-consul sends it with a read of keys only
            params = [*params, (self.consistency, "1")]
        if self._options["namespace"]:
            params = [*params, ("ns", self._options["namespace"])]
        url = self.uri(path, params)
        try:
            request = self._session.prepare_request(requests.Request("GET", url, headers=headers))
            # Past Session.send, which reads all of a redirect's body, however long, even to follow none.
            with self._session.get_adapter(url).send(
                request, stream=True, timeout=(connecting, None), verify=self.verify, cert=self.cert
            ) as response:
                self._has_served = True
                status, answered, body = response.status_code, response.headers, _read_body(response)
            del response  # urllib3 closes a connection when nothing refers to it: an error's traceback would
        except (requests.RequestException, urllib3.HTTPError, OSError) as error:
            raise SourceError(self._explain_failure(error, connecting)) from None
        self._check(status, answered, body, path)
        answer = base.Response(status, answered, body.decode())
        del body  # it may be large
        return callback(answer)

    def put(self, *_arguments: object) -> None:
        """Refuse: a source only reads."""
        raise NotImplementedError

    delete = post = put

    def _check(self, status: int, headers: Mapping[str, str], body: bytearray, path: str) -> None:
        """Raise SourceError for an answer that says nothing of the data, note one that may be out of date."""
        log.debug("answered %d index=%s, %s", status, _shown(headers, "X-Consul-Index"), plural(len(body), "byte"))
        # A prefix that no key has is answered with 404, which is an answer like any other.
        if status != HTTPStatus.OK and not (status == HTTPStatus.NOT_FOUND and path.startswith("/v1/kv/")):
            reason = self._explain_status(status, headers, body)
            raise SourceError(reason, retry_after=_retry_after(headers.get("Retry-After", "")))
        if not re.fullmatch(r"-?\d{1,20}", headers.get("X-Consul-Index", ""), re.ASCII):
            raise SourceError(f"{self.where} is no Consul: it answered {status} without an index")
        leaderless = headers.get("X-Consul-KnownLeader", "true").lower() == "false"
        if self.consistency != "stale" and leaderless:
            raise SourceError(_NO_LEADER)
        contact = headers.get("X-Consul-LastContact", "0")  # in ms
        late = not re.fullmatch(r"\d{1,20}", contact, re.ASCII) or int(contact) > STALE_LIMIT * 1000
        # A server that has only just joined may know of no key at all: the leader is asked before that is said.
        empty = status == HTTPStatus.NOT_FOUND or body.strip() == b"[]"
        self.is_doubtful = self.consistency == "stale" and (leaderless or late or empty)
        self.is_filtered = headers.get("X-Consul-Results-Filtered-By-ACLs", "").lower() == "true"

    def _explain_status(self, status: int, headers: Mapping[str, str], body: bytearray) -> str:
        """Return what an answer means that is no data; of its body only known phrases count."""
        if 300 <= status < 400:  # noqa: PLR2004 -- HTTP's redirects
            return f"answered {status}, a redirect to {_redirect_host(headers)}, which is not followed"
        if status == HTTPStatus.FORBIDDEN:
            if b"ACL not found" in body:
                return "403: Consul does not know the token"
            whose = "the token lacks" if self._has_token else "no token is set, and without one there are no"
            return f"403: permission denied ({whose} rights for {self._what})"
        for phrase, meaning in _PHRASES.items():
            if phrase in body:
                return meaning.format(status=status, dc=escape(str(self._options["dc"]), 80))
        return f"answered {status} {responses.get(status, '').lower()}".rstrip()

    def _explain_failure(self, error: BaseException, connecting: float) -> str:
        """Return why there was no answer, from the exceptions' types and codes: their texts may hold URL and headers.

        connecting: the seconds that it might take to connect.
        """
        causes = _causes(error)
        if reason := next(filter(None, (explain_tls(cause, "set scheme to http") for cause in causes)), ""):
            return f"TLS: {reason}"
        number = next((cause.errno for cause in causes if isinstance(cause, OSError) and cause.errno), 0)
        cannot = f"cannot connect to {self.where}"
        # An older Consul closes a connection too many at once, without a word; one that has had an answer is none of these.
        excess = "" if self._has_served else " without an answer (has this address more than 200 of them to Consul?)"
        # In this order: to urllib3 a connection that is refused, or a name that is not found, is a timeout too.
        meanings: tuple[tuple[tuple[type[BaseException], ...], str], ...] = (
            ((requests.exceptions.InvalidURL, urllib3.LocationParseError), f"{self.where} is no address"),
            ((gaierror,), f"{cannot}: its name does not resolve"),
            ((urllib3.NewConnectionError,), f"{cannot}: {os.strerror(number).lower()}"),
            ((urllib3.ConnectTimeoutError,), f"{cannot}: no answer within {duration(connecting)}"),
            ((TimeoutError, urllib3.TimeoutError), f"{cannot}: no TLS handshake within {duration(connecting)}"),
            ((ConnectionError, *TLS_CLOSED), f"{self.where} closed the connection{excess}"),
            ((urllib3.ProtocolError,), "answered with what is no complete HTTP"),
        )
        return next(
            (text for kinds, text in meanings if any(isinstance(cause, kinds) for cause in causes)),
            f"the request failed ({type(error).__name__})",
        )


_NO_LEADER = "Consul has no cluster leader (are enough of its servers up?)"
# What Consul's bodies say → what is told, with {status} and {dc}.
_PHRASES = {
    b"No cluster leader": _NO_LEADER,
    b"No path to datacenter": "no path to datacenter {dc}",
    b"too many concurrent connections": "answered {status} too many requests: too many connections from this address "
    "(limits.http_max_conns_per_client in Consul's configuration, 200 by default)",
    b"HTTP request to an HTTPS server": "this port speaks TLS: set scheme to https",
    b"Consul Enterprise feature": "answered {status}: namespaces need Consul Enterprise; this one takes no namespace "
    "(CONSUL_NAMESPACE)",
    b"ACL support disabled": "answered {status}: ACLs are disabled in Consul, and a token is set",
}


def _causes(error: BaseException) -> list[BaseException]:
    """Return an exception with all that it wraps, in whichever way."""
    found: list[BaseException] = []
    waiting: list[object] = [error]
    while waiting:
        cause = waiting.pop(0)
        if isinstance(cause, BaseException) and not any(cause is known for known in found):
            found.append(cause)
            waiting += [*cause.args, getattr(cause, "reason", None), cause.__cause__, cause.__context__]
    return found


def _read_body(response: requests.Response) -> bytearray:
    """Return an answer's body as it is; of an error no more than is needed to recognise it.

    Nothing is decompressed: identity was asked for, and a few KB may stand for any number of MB.
    """
    succeeded = response.status_code == HTTPStatus.OK
    limit = BODY_LIMIT if succeeded else ERROR_LIMIT
    encoding = response.headers.get("Content-Encoding", "identity")
    if succeeded and encoding.strip().lower() != "identity":
        shown = escape(encoding, 20)
        raise SourceError(f"answered with Content-Encoding {shown}, which was not asked for: is a proxy in between?")
    body = bytearray()
    for chunk in response.raw.stream(CHUNK, decode_content=False):
        body += chunk
        if len(body) > limit and succeeded:
            raise SourceError(f"answered with more than {limit >> 20} MiB: narrow what is read (a longer prefix)")
        if len(body) > limit:
            break
    if sum(map(body.count, (b"{", b"[", b","))) > PART_LIMIT:
        raise SourceError(f"answered with JSON of more than {PART_LIMIT} parts: narrow what is read (a longer prefix)")
    return body


def _as_list(items: object) -> object:
    if not isinstance(items, list):  # an empty object is no empty list
        raise TypeError
    return items


def _shown(headers: Mapping[str, str], name: str) -> str:
    return escape(headers.get(name, "none"), 20)


def _redirect_host(headers: Mapping[str, str]) -> str:
    try:
        host = urlsplit(headers.get("Location", "")).hostname
    except ValueError:
        host = None
    return escape(host or "itself", 80)


def _retry_after(value: str) -> float | None:
    """Return the seconds of a Retry-After header, which is a number or a date (RFC 9110, 10.2.3)."""
    if re.fullmatch(r"\d{1,9}", value.strip(), re.ASCII):
        return float(value)
    try:
        when = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, (when.replace(tzinfo=when.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
