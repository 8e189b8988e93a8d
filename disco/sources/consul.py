"""Consul: the keys of its store, and the passing instances of its services, each followed by one blocking query.

The rules kept are those of Consul's own documentation (API features: blocking queries, consistency modes; KV store).
Here are the loop and the declaration. What needs the client library is in `consul_query`.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any

from disco.sources import Context, Option, Options, Pace, Problem, Source, is_local, limit_blocking_step
from disco.sources.consul_options import (
    describe_target,
    locate,
    split_host,
    take_host,
    take_prefix,
    take_scheme,
    take_services,
)
from disco.sources.options import at_least, boolean, choice, path, port, seconds, text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# Variables by which Consul's own clients read something else.
UNKNOWN = frozenset({"CONSUL_CAPATH", "CONSUL_PARTITION", "CONSUL_TLS_SERVER_NAME"})

log = logging.getLogger(__name__)


def watch(context: Context) -> Iterator[Mapping[str, Any]]:
    """Yield the interfaces below the prefix, or the one of the service that `context.part` names, after each answer.

    Each call starts without an index, so after an error everything is read anew. An answer older than one that was yielded
    before, also by an earlier call, may come from a server that has restarted and replays its data. So the leader is asked, and
    its answer counts, older or not: it may have lost or restored its data. An answer without news yields the same object.
    """
    from disco.sources.consul_query import Query  # noqa: PLC0415 -- in the source's own process only: slow

    mode = context.options["consistency"]
    token = context.options["token"]
    memory = context.memory
    store = (locate(context.options), context.options["dc"], token)
    if memory.get("store") != store:
        memory.update(store=store, newest=0)
    query = Query(context, token)
    try:
        pace = Pace(context.interval)
        index: int | None = None
        data: Mapping[str, Any] | None = None
        while True:
            pace.wait()
            latest, answer = query.ask(index, mode, data)
            if query.is_doubtful:
                log.debug("index=%d is doubtful: reading anew", latest)
                pace.wait()
                latest, answer = query.ask(None, "default", data)
            if latest < memory["newest"]:
                log.debug("index=%d after %d: reading anew", latest, memory["newest"])
                pace.wait()
                latest, answer = query.ask(None, "consistent", data)
            index, data = latest, answer
            memory["newest"] = latest
            context.note(query.explain(data))
            yield data
    finally:
        query.close()


def _check(options: Options) -> Iterator[Problem]:
    scheme, _, number, user = split_host(options["host"])
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
    if locate(options).scheme == "http":
        for name in sorted({"ca_cert", "cert", "key"} & options.explicit):
            yield Problem(name, "is set, but the scheme is http", "set scheme to https")


def _doubts(options: Options) -> Iterator[Problem]:
    address = locate(options)
    for name in ("token", "auth"):
        if options.holds(name) and address.scheme == "http" and not is_local(address.host):
            yield Problem(name, "goes to another host over http: anyone on the network path can read it", "set scheme to https")
    if not options["verify"]:
        what = "is false: anyone on the network path can pose as the server"
        yield Problem("verify", what, "remove it, and set ca_cert to the certificate of the server's authority")


def _reads_keys(options: Options) -> bool:
    if options["kv"] is not None:
        return bool(options["kv"])
    return not options["services"] or "prefix" in options.explicit


def _parts(options: Options) -> tuple[str, ...]:
    keys = ("",) if _reads_keys(options) else ()
    return (*keys, *(service.interface for service in options["services"]))


def _remarks(options: Options) -> Iterator[str]:
    for name in sorted(UNKNOWN & os.environ.keys()):
        yield f"{name} is set, and disco does not look at it"
    if not _reads_keys(options):
        implied = "services is set and prefix is not; kv=true reads them"
        yield f"keys are not read, since {implied if options['kv'] is None else 'kv is false'}"


def _preload() -> None:
    from disco.sources import consul_query  # noqa: F401, PLC0415 -- imported before the fork, its memory is shared


def _place(options: Options, part: str) -> str:
    address = locate(options)
    keys = f"{options['prefix']}/*" if options["prefix"] else "*"
    return f"{describe_target(options, part) if part else keys} at {address.scheme}://{address.host}:{address.port}"


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
            type=take_host,
            default="127.0.0.1",
            env="CONSUL_HTTP_ADDR",
            help="where Consul's HTTP interface is: a host, host:port or a URL",
        ),
        Option(name="port", type=port, default=8500, help="Consul's port, unless host has one"),
        Option(
            name="scheme",
            type=take_scheme,
            default="",
            env="CONSUL_HTTP_SSL",
            help="http or https; not set: as in host, else http",
        ),
        Option(name="token", env="CONSUL_HTTP_TOKEN", secret=True, help="the ACL token"),
        Option(
            name="auth",
            env="CONSUL_HTTP_AUTH",
            secret=True,
            help="user:password for a proxy in front of Consul, unless host has them",
        ),
        Option(name="namespace", type=text, env="CONSUL_NAMESPACE", help="the namespace to read (Consul Enterprise)"),
        Option(name="dc", type=text, help="the datacenter to read; the agent's own if it is not set"),
        Option(name="prefix", type=take_prefix, default="", help="read the keys below it; all if it is empty"),
        Option(
            name="kv", type=boolean, help="whether keys are read; not set: true, but false if services is set and prefix is not"
        ),
        Option(
            name="services",
            type=take_services,
            default=(),
            help="services whose passing instances become interfaces, like web,db=pg (interface db from service pg); "
            "db=pg?tag=main&dc=dc2 takes those with the tag, of the datacenter",
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
            help="how long one blocking query may last; a connection that is cut off silently is noticed after that",
        ),
    ),
)
