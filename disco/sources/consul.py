"""Consul: the keys of its store, and the passing instances of its services, each followed by one blocking query.

The rules kept are those of Consul's own documentation (API features: blocking queries, consistency modes; KV store).
What needs the client library is in `consul_http`, imported in the source's own process.
"""

from __future__ import annotations

import base64
import binascii
import logging
import os
import random
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from disco.sources import (
    Context,
    InvalidValue,
    KeyTree,
    Option,
    Options,
    Pace,
    Problem,
    Source,
    SourceError,
    deadline,
    is_local,
    is_same,
    limit_blocking_step,
)
from disco.sources.options import at_least, boolean, choice, path, port, seconds, text, words
from disco.sources.pace import JITTER, PAUSE
from disco.text import plural

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# Variables by which Consul's own clients read something else.
UNKNOWN = frozenset({"CONSUL_CAPATH", "CONSUL_PARTITION", "CONSUL_TLS_SERVER_NAME"})

log = logging.getLogger(__name__)


def watch(context: Context) -> Iterator[Mapping[str, Any]]:
    """Yield the interfaces below the prefix, or the one of the service that `context.part` names, after each answer.

    An index is sent only as long as nothing goes wrong: it starts from none with each call. An answer older than one that
    was yielded before, also by an earlier call, is not believed (a server that has restarted gives what it has replayed so
    far): what counts is what the leader then says, older or not (it may have lost or restored its data). An answer without
    news, as Consul may give any time, yields the same object.
    """
    mode = context.options["consistency"]
    token = context.options["token"]
    memory = context.memory
    store = (_locate(context.options), context.options["dc"], token)
    if memory.get("store") != store:
        memory.update(store=store, newest=0)
    query = _Query(context, token)
    try:
        pace = Pace(context.interval)
        index: int | None = None
        data: Mapping[str, Any] | None = None
        while True:
            pace.wait()
            latest, found = query.ask(index, mode, data)
            if query.is_doubtful:
                log.debug("index=%d is doubtful: reading anew", latest)
                pace.wait()
                latest, found = query.ask(None, "default", data)
            if latest < memory["newest"]:
                log.debug("index=%d after %d: reading anew", latest, memory["newest"])
                pace.wait()
                latest, found = query.ask(None, "consistent", data)
            index, data = latest, found
            memory["newest"] = latest
            context.note(query.explain(found))
            yield data
    finally:
        query.close()


class _Query:
    """The one query of a process, of keys or of a service, over a connection of its own."""

    def __init__(self, context: Context, token: str | None) -> None:
        from disco.sources import consul_http  # noqa: PLC0415 -- in this process only, and slow

        options = context.options
        self._context = context
        self._service = dict(options["services"]).get(context.part, "")
        self._prefix = f"{options['prefix']}/" if options["prefix"] else ""
        self._http = consul_http.HTTP(_locate(options), _find_user(options), options, _name(options, context.part))
        self._unreadable = consul_http.UNREADABLE
        self._client = consul_http.Client(self._http, token)
        self._tree = self._plant()
        self._has_token = bool(token)
        self._is_in_step = True  # with other processes, which may have begun at the same moment

    @property
    def is_doubtful(self) -> bool:
        """Whether the last answer may be out of date."""
        return self._http.is_doubtful

    def close(self) -> None:
        self._http.close()

    def ask(self, index: int | None, consistency: str, before: Mapping[str, Any] | None) -> tuple[int, Mapping[str, Any]]:
        """Return the new index and the data: at once without an index, else on a change or when `wait` ends.

        before: what was yielded last; what is the same is the very same object. Where something happened, it happened to
        others at the same time: of such an answer's next query the wait is any part of the whole, so that a fleet's queries do
        not come back all at once.
        """
        self._http.consistency = consistency
        wait = longest = self._context.options["wait"]
        if self._is_in_step:
            wait = random.uniform(min(PAUSE, longest), longest)  # noqa: S311 -- no secret; less than the pace allows gains nothing
        asked = time.monotonic()
        common = {"index": index, "wait": f"{wait * 1000:.0f}ms", "dc": self._context.options["dc"]}
        limit = deadline(self._context.options["timeout"] + (wait * JITTER if index else 0.0))
        try:
            if self._service:
                with limit:
                    latest, items = self._client.health.service(self._service, passing=True, **common)
                found = _read_instances(items, self._context.part)
                data = before if before is not None and is_same(found, before) else found
            else:
                with limit:
                    latest, items = self._client.read_keys(self._prefix, **common)
                if index is None:
                    self._tree = self._plant()
                data = self._read_keys(items, before)
            if index is not None:
                self._is_in_step = time.monotonic() - asked < wait
            # Consul never means an index below 1; sent back, it would turn the blocking query into a busy loop.
            return max(int(latest), 1), data
        except self._unreadable as error:
            log.debug("%s while an answer was decoded", type(error).__name__)
            reason = f"{self._http.where} is no Consul: it answered with what is no data of Consul's"
            raise SourceError(reason) from None

    def explain(self, found: Mapping[str, Any]) -> str:
        """Return what people should know of the last answer, empty if there is nothing.

        What a token has no right to read is left out by Consul, and older servers do not say so: the store looks empty.
        """
        filtered = "Consul leaves out what the token has no right to read" if self._http.is_filtered else ""
        if found or len(self._tree):
            return filtered
        token = "the token may lack rights" if self._has_token else "no token is set, and without one rights may be missing"
        if self._service:
            return f"service {self._service} has no passing instance ({self._count_instances() or f'none registered: {token}'})"
        where, question = (f"below '{self._prefix}'", "prefix") if self._prefix else ("at all", "address")
        return f"no key {where} ({filtered or f'is the {question} right? {token}'})"

    def _count_instances(self) -> str:
        """Return how many instances a service without a passing one has, or why that is not known; empty if it has none."""
        options = self._context.options
        try:
            with deadline(options["timeout"]):
                _, items = self._client.health.service(self._service, dc=options["dc"])
            return f"{len(items)} registered, none passing" if items else ""
        except SourceError as error:
            return f"the others cannot be counted: {error.reason}"
        except self._unreadable:
            return "the others cannot be counted"

    def _read_keys(self, items: list[dict[str, Any]] | None, before: Mapping[str, Any] | None) -> Mapping[str, Any]:
        """Return the tree of the keys; of an interface that is not known, the name alone.

        What counts is a value's text, not its ModifyIndex: another store at the same address may repeat indexes.
        """
        self._tree.replace({item["Key"]: "" if item["Value"] is None else item["Value"] for item in items or ()})  # None: 404
        data = self._tree.build_tree(before)
        unknown = len(data.keys() - self._context.interfaces)
        log.debug("read %s, %s unknown", plural(len(self._tree), "key"), plural(unknown, "interface"))
        return data

    def _plant(self) -> KeyTree[str, str]:
        return KeyTree(self._context.interfaces, self._path, _decode, foreign={})

    def _path(self, key: str) -> str:
        if not key.startswith(self._prefix):
            raise ValueError
        return key[len(self._prefix) :]


def _decode(value: str) -> bytes | InvalidValue:
    """Return the bytes of a value; what is not a text at all is an answer of the wrong shape."""
    try:
        return base64.b64decode(value.encode(), validate=True)
    except binascii.Error:
        return InvalidValue("is no base64")


def _read_instances(items: list[dict[str, Any]], interface: str) -> dict[str, Any]:
    """Return the interface of a service: its first instance by node, then service id, and all of them in that order."""
    if not isinstance(items, list):  # an empty object is no empty list
        raise TypeError
    items = sorted(items, key=lambda item: (item["Node"]["Node"], item["Service"]["ID"]))
    instances = []
    for node, service in ((item["Node"], item["Service"]) for item in items):
        instance = {
            "address": service["Address"] or node["Address"],
            "port": service["Port"],
            "tags": service["Tags"] or [],
            "meta": service.get("Meta") or {},
        }
        for value, kind in zip(instance.values(), (str, int, list, dict), strict=True):
            if not isinstance(value, kind):
                raise TypeError
        instances.append(instance)
    log.debug("read %s", plural(len(instances), "passing instance"))
    return {interface: {**instances[0], "instances": instances}} if instances else {}


# The options.


@dataclass(frozen=True, slots=True)
class Address:
    """Where Consul is: an IPv6 host in brackets, as URLs want it."""

    scheme: str
    host: str
    port: int


def _split(value: str) -> tuple[str, str, int | None, tuple[str, str] | None]:
    """Return scheme, host, port and user of a host, `host:port` or a URL: empty or None what is not in it."""
    scheme, _, rest = value.rpartition("://")
    why = " (a socket, unix://, cannot be used)" if scheme.lower() == "unix" else ""
    expected = ValueError(f"a host, host:port or a URL like http://host:port{why}")
    if rest.count(":") > 1 and "[" not in rest and "@" not in rest:
        rest = f"[{rest}]"  # a bare IPv6 address
    try:
        url = urlsplit(f"//{rest}")
        host, number = url.hostname or "", url.port
    except ValueError:
        raise expected from None
    named = re.fullmatch(r"[\w.-]+", host)
    if not named and not re.fullmatch(r"[0-9a-f:.]*:[0-9a-f:.]*(%[\w.-]+)?", host):
        raise expected
    if scheme.lower() not in {"", "http", "https"} or url.path.strip("/") or url.query or url.fragment or number == 0:
        raise expected
    user = None
    if url.username is not None:
        user = (_encode(unquote(url.username)), _encode(unquote(url.password or "")))
    return scheme.lower(), host if named else f"[{host}]", number, user


def _locate(options: Options) -> Address:
    """Return where Consul is: explicit options before the environment, `port` and `scheme` before what `host` says."""
    scheme, host, number, _ = _split(options["host"])
    if "port" in options.explicit or number is None:
        number = options["port"]
    if "scheme" in options.explicit or not (scheme and "host" in options.explicit):
        scheme = options["scheme"] or scheme or "http"
    return Address(scheme, host, number)


def _find_user(options: Options) -> tuple[str, str] | None:
    """Return user and password for a proxy in front of Consul: of `auth`, of `host`, or of the environment's, in this order."""
    *_, user = _split(options["host"])
    auth = options["auth"]
    if not auth or (user and not {"auth", "auth_file"} & options.explicit):
        return user
    name, _, password = auth.partition(":")
    return _encode(name), _encode(password)


def _encode(text: str) -> str:
    """Return what requests, which sends text as Latin-1, makes UTF-8 of: servers expect that."""
    return text.encode().decode("latin-1")


def _take_host(value: str) -> str:
    _split(value)
    return value


def _take_scheme(value: str) -> str:
    """Take a scheme, or the boolean of CONSUL_HTTP_SSL."""
    if value in {"http", "https"}:
        return value
    try:
        return "https" if boolean(value) else ""
    except ValueError:
        raise ValueError("http or https") from None


def _take_prefix(value: str) -> str:
    """Take a prefix of keys, without the slashes around it."""
    if {".", ".."} & set(value.split("/")):  # they would be taken out of the URL, and another prefix be read
        raise ValueError("a prefix without . and .. between its slashes")
    return value.strip("/")


def _take_services(value: str) -> tuple[tuple[str, str], ...]:
    """Take `web,db=pg`: interfaces, each with its service if that has another name."""
    pairs = []
    for word in words(value):
        interface, _, service = (part.strip() for part in word.partition("="))
        pairs.append((interface, service or interface))
    # A service's name becomes a part of a URL; nothing else that Consul's templates and DNS know (tag, datacenter) is in it.
    good = all(interface and re.fullmatch(r"[\w-][\w.-]*", service) for interface, service in pairs)
    if not good or len(dict(pairs)) < len(pairs):
        raise ValueError("services like web,db=pg, each interface once, of letters, digits, '_', '.' and '-'")
    return tuple(pairs)


def _check(options: Options) -> Iterator[Problem]:
    scheme, _, number, user = _split(options["host"])
    if {"host", "port"} <= options.explicit and number not in {None, options["port"]}:
        yield Problem("port", "differs from the one in host", "remove one of the two")
    if {"host", "scheme"} <= options.explicit and scheme not in {"", options["scheme"]}:
        yield Problem("scheme", "differs from the one in host", "remove one of the two")
    if "host" in options.explicit and user and {"auth", "auth_file"} & options.explicit:
        yield Problem("auth", "is set, and host has a user", "remove one of the two")
    if not _reads_keys(options) and not options["services"]:
        yield Problem("kv", "is false, and services is not set, so nothing would be read", "set services, or remove kv")
    if not _reads_keys(options) and options["prefix"]:
        yield Problem("prefix", "is set, but kv is false", "remove one of the two")
    if options["key"] and not options["cert"]:
        yield Problem("key", "is set without cert", "set cert too")
    if _locate(options).scheme == "http":
        for name in sorted({"ca_cert", "cert", "key"} & options.explicit):
            yield Problem(name, "is set, but the scheme is http", "set scheme to https")


def _doubts(options: Options) -> Iterator[Problem]:
    address = _locate(options)
    for name in ("token", "auth"):
        if options.holds(name) and address.scheme == "http" and not is_local(address.host):
            yield Problem(name, "goes to another host over http: whoever is on the way can read it", "set scheme to https")
    if not options["verify"]:
        what = "is false: whoever is on the way can pass for the server"
        yield Problem("verify", what, "remove it, and set ca_cert to the certificate of the server's authority")


def _reads_keys(options: Options) -> bool:
    if options["kv"] is not None:
        return bool(options["kv"])
    return not options["services"] or "prefix" in options.explicit


def _parts(options: Options) -> tuple[str, ...]:
    keys = ("",) if _reads_keys(options) else ()
    return (*keys, *(interface for interface, _ in options["services"]))


def _remarks(options: Options) -> Iterator[str]:
    for name in sorted(UNKNOWN & os.environ.keys()):
        yield f"{name} is set, and disco does not look at it"
    if not _reads_keys(options):
        implied = "services is set and prefix is not; kv=true reads them"
        yield f"keys are not read, since {implied if options['kv'] is None else 'kv is false'}"


def _preload() -> None:
    from disco.sources import consul_http  # noqa: F401, PLC0415 -- imported before the fork, its memory is shared


def _name(options: Options, part: str) -> str:
    """Return what a process reads, for people."""
    if part:
        return f"service {dict(options['services'])[part]!r}"
    return f"key prefix {options['prefix'] + '/'!r}" if options["prefix"] else "all keys"


def _place(options: Options, part: str) -> str:
    address = _locate(options)
    keys = f"{options['prefix']}/*" if options["prefix"] else "*"
    return f"{_name(options, part) if part else keys} at {address.scheme}://{address.host}:{address.port}"


SOURCE = Source(
    watch=watch,
    place=_place,
    text=True,
    parts=_parts,
    part_option="services",
    step_limit=limit_blocking_step,
    check=_check,
    remarks=_remarks,
    doubts=_doubts,
    modules=("consul",),
    preload=_preload,
    extra="consul",
    options=(
        Option(
            name="host",
            type=_take_host,
            default="127.0.0.1",
            env="CONSUL_HTTP_ADDR",
            help="where Consul's HTTP interface is: a host, host:port or a URL",
        ),
        Option(name="port", type=port, default=8500, help="its port, unless host has one"),
        Option(
            name="scheme",
            type=_take_scheme,
            default="",
            env="CONSUL_HTTP_SSL",
            help="http or https; if it is not set, what host says, else http",
        ),
        Option(name="token", env="CONSUL_HTTP_TOKEN", secret=True, help="the ACL token"),
        Option(
            name="auth",
            env="CONSUL_HTTP_AUTH",
            secret=True,
            help="user:password for a proxy in front of Consul; a user in host is one, too",
        ),
        Option(name="namespace", type=text, env="CONSUL_NAMESPACE", help="the namespace to read (Consul Enterprise)"),
        Option(name="dc", type=text, help="the datacenter to read; the agent's own if it is not set"),
        Option(name="prefix", type=_take_prefix, default="", help="read the keys below it; all if it is empty"),
        Option(name="kv", type=boolean, help="whether keys are read; if it is not set: unless services is set and prefix is not"),
        Option(
            name="services",
            type=_take_services,
            default=(),
            help="services whose passing instances become interfaces, like web,db=pg (interface db from service pg)",
        ),
        Option(
            name="verify",
            type=boolean,
            default=True,
            env="CONSUL_HTTP_SSL_VERIFY",
            help="whether the server's certificate is verified",
        ),
        Option(name="ca_cert", type=path, env="CONSUL_CACERT", help="PEM file of the authorities that are trusted"),
        Option(name="cert", type=path, env="CONSUL_CLIENT_CERT", help="PEM file of the client certificate"),
        Option(name="key", type=path, env="CONSUL_CLIENT_KEY", help="PEM file of its key, if that is not in cert"),
        Option(
            name="consistency",
            type=choice("default", "stale", "consistent"),
            default="default",
            help="default, stale (any server may answer) or consistent (the leader asks the others first)",
        ),
        Option(
            name="wait",
            type=at_least(0.1, seconds),
            default=55.0,
            help="how long one blocking query may last; what is cut off silently is noticed after that",
        ),
    ),
)
