"""What Consul says over HTTP: py-consul's client over disco's bounded one, with answers checked before they are used.

Imported in a Consul source's own process only (slow, and large).
"""

from __future__ import annotations

import logging
import os
import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from consul import ConsulException, base
from consul.callback import CB

from disco.errors import SourceError
from disco.sources import http
from disco.text import NAME_LIMIT, PATH_LIMIT, escape, plural

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from disco.data.values import Json
    from disco.sources.consul_options import Address
    from disco.sources.http import Answer
    from disco.sources.options import Options

STALE_LIMIT = 2.0  # seconds that a stale answer may be behind the leader; consul-template's default
HEADER_LIMIT = 20  # characters shown of a header

# What py-consul and a look into its data raise for an answer of the wrong shape.
UNREADABLE = (ConsulException, LookupError, TypeError, ValueError, AttributeError, RecursionError)

log = logging.getLogger(__name__)


class Client(base.Consul):  # type: ignore[misc]
    """py-consul's client, which asks through disco's `HTTP`."""

    def __init__(self, http: HTTP, token: str | None) -> None:
        """Take the transport and the token, which no other place may give."""
        for name in [name for name in os.environ if name.startswith("CONSUL_")]:
            del os.environ[name]  # the library prefers them to its arguments
        if token and not (token.isascii() and token.isprintable()):
            raise SourceError("the token holds a character that no token can have")
        self._transport = http
        super().__init__(token=token)

    def http_connect(self, *_options: object) -> HTTP:
        """Return the transport."""
        return self._transport

    def read_keys(self, prefix: str, index: int | None, wait: str, dc: str | None) -> Json:
        """Return index and items of all keys with a prefix (None: there is none), as `kv.get` does, but values stay base64."""
        params = [("recurse", "1"), *([("index", index), ("wait", wait)] if index else []), *([("dc", dc)] if dc else [])]
        callback = CB.json(index=True, postprocess=_as_list)
        return self.http.get(callback, f"/v1/kv/{prefix}", params, self.prepare_headers())


class HTTP(base.HTTPClient):  # type: ignore[misc]
    """py-consul's transport.

    consistency: the mode of the next request. wait: the seconds that Consul may hold it back. Of the last answer: is_doubtful:
    it is stale and may be out of date; is_filtered: Consul left out what the token has no right to read.
    """

    def __init__(self, address: Address, user: tuple[str, str] | None, options: Options, target: str, dc: str | None) -> None:
        """Connect to nothing yet; user: with password, in Latin-1; target: what is read, for people; dc: where, if that is set."""
        super().__init__(address.host, address.port, address.scheme)
        self.consistency = "default"
        self.wait = 0.0
        self.is_doubtful = False
        self.is_filtered = False
        self._target = escape(target, PATH_LIMIT)
        self._dc = escape(str(dc), NAME_LIMIT)
        self._options = options
        self._has_token = False
        # An older Consul closes a connection too many at once, without a word.
        hint = " without an answer (has this address more than 200 of them to Consul?)"
        remedy = "set scheme to http"
        self._client = http.Client(self.base_uri, options, user=user, plain_remedy=remedy, closed_hint=hint)
        self.where = self._client.where
        log.debug("host=%s port=%d scheme=%s", address.host, address.port, address.scheme)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def get(
        self,
        callback: Callable[[Any], Any],
        path: str,
        params: Sequence[tuple[str, Any]] = (),
        headers: dict[str, str] | None = None,
    ) -> Json:
        """Return what the callback makes of an answer that says something of the data; raise SourceError for any other."""
        self._has_token = "X-Consul-Token" in (headers or {})
        if self.consistency != "default":  # py-consul sends it with a read of keys only
            params = [*params, (self.consistency, "1")]
        if self._options["namespace"]:
            params = [*params, ("ns", self._options["namespace"])]
        answer = self._client.get(self.uri(path, params).removeprefix(self.base_uri), headers, self.wait)
        self._check(answer, path)
        response = base.Response(answer.status, answer.headers, answer.text())
        del answer  # it may be large
        return callback(response)

    def put(self, *_arguments: object) -> None:
        """Refuse: a source only reads."""
        raise NotImplementedError

    delete = post = put

    def _check(self, answer: Answer, path: str) -> None:
        """Raise SourceError for an answer that says nothing of the data, note one that may be out of date."""
        status, headers, body = answer
        shown = escape(headers.get("X-Consul-Index", "none"), HEADER_LIMIT)
        log.debug("answered %d index=%s, %s", status, shown, plural(len(body), "byte"))
        # A prefix that no key has is answered with 404, which is an answer like any other.
        if status != HTTPStatus.OK and not (status == HTTPStatus.NOT_FOUND and path.startswith("/v1/kv/")):
            raise answer.error(self._explain(answer))
        if not re.fullmatch(r"-?\d{1,20}", headers.get("X-Consul-Index", ""), re.ASCII):
            raise SourceError(f"{self.where} is not Consul: it answered {status} without an index")
        is_leaderless = headers.get("X-Consul-KnownLeader", "true").lower() == "false"
        if self.consistency != "stale" and is_leaderless:
            raise SourceError(_NO_LEADER)
        contact = headers.get("X-Consul-LastContact", "0")  # in ms
        is_behind = not re.fullmatch(r"\d{1,20}", contact, re.ASCII) or int(contact) > STALE_LIMIT * 1000
        # A server that has only just joined may know of no key at all: the leader is asked before emptiness is reported.
        is_empty = status == HTTPStatus.NOT_FOUND or body.strip() == b"[]"
        self.is_doubtful = self.consistency == "stale" and (is_leaderless or is_behind or is_empty)
        self.is_filtered = headers.get("X-Consul-Results-Filtered-By-ACLs", "").lower() == "true"

    def _explain(self, answer: Answer) -> str:
        """Return what Consul means by an error, empty if its status says all; of its body only known phrases count."""
        if HTTPStatus.MULTIPLE_CHOICES <= answer.status < HTTPStatus.BAD_REQUEST:
            return ""
        if answer.status == HTTPStatus.FORBIDDEN:
            if b"ACL not found" in answer.body:
                return "403: Consul does not know the token"
            whose = "the token lacks" if self._has_token else "no token is set, and without one there are no"
            return f"403: permission denied ({whose} rights for {self._target})"
        meanings = (
            meaning.format(status=answer.status, dc=self._dc) for phrase, meaning in _PHRASES.items() if phrase in answer.body
        )
        return next(meanings, "")


_NO_LEADER = "Consul has no cluster leader (are enough of its servers up?)"
# What Consul's bodies say → what people read, with {status} and {dc}.
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


def _as_list(items: object) -> object:
    if not isinstance(items, list):  # an empty object is no empty list
        raise TypeError
    return items
