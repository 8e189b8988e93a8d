"""etcd v3: one read of everything below the prefix, then a watch from the next revision.

Here are the loop and the declaration. `etcd_session` says what is asked, `etcd_channel` how: every call has a deadline, and a
signal can interrupt every wait. What cannot be resumed ends in a new read, so that no change is lost.
"""

from __future__ import annotations

import logging
import re
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

from disco.sources import Context, Option, Options, Pace, Problem, Source, SourceError, is_local, limit_blocking_step
from disco.sources.options import at_least, path, port, seconds, text, words

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from disco.sources.etcd_session import Session

log = logging.getLogger(__name__)


def watch(context: Context) -> Iterator[Mapping[str, Any]]:
    """Yield what is below the prefix whenever the server reports a change, and once in each `wait` without one."""
    from disco.sources.etcd_channel import WatchLostError  # noqa: PLC0415 -- in the source's own process only: slow

    with closing(_connect(context)) as session:
        pace = Pace(context.interval)
        timeout = context.options["timeout"]
        tree = None
        while True:
            pace.wait()
            until = time.monotonic() + timeout
            snapshot = session.read(until)
            tree = snapshot.tree(tree)
            context.note(session.look_elsewhere(snapshot, until))
            yield tree
            has_answered = False
            try:
                while True:
                    pace.wait()
                    with closing(session.follow(snapshot)) as answers:
                        for is_over in answers:
                            has_answered = True
                            before, tree = tree, snapshot.tree(tree)
                            if is_over or tree is not before:  # a flood of events is no flood of requests
                                context.note(session.look_elsewhere(snapshot, time.monotonic() + timeout))
                            yield tree
            except WatchLostError as lost:
                if not has_answered:  # this watch was never of use: another read would change nothing
                    raise
                log.debug("%s; reading anew", lost.reason)


def _connect(context: Context) -> Session:
    """Return a session with the first endpoint that lets the prefix be read; all together may take one `timeout`."""
    from disco.sources import etcd_channel  # noqa: PLC0415 -- as above
    from disco.sources.etcd_session import Session  # noqa: PLC0415 -- as above

    if etcd_channel.loop().is_running():  # a step was interrupted in the loop's own bookkeeping: only another process can go on
        raise SystemExit(1)
    options = context.options
    endpoints = _addresses(options)
    until = time.monotonic() + options["timeout"]
    problems = []
    for number, endpoint in enumerate(endpoints):
        session = Session(context, endpoint)
        try:
            session.open((until - time.monotonic()) / (len(endpoints) - number))
        except SourceError as error:
            session.close()
            problems.append(error.reason)
            log.debug("%s", error.reason)
        except BaseException:
            session.close()
            raise
        else:
            return session
    raise SourceError("; ".join(problems))


def _addresses(options: Options) -> tuple[str, ...]:
    host = f"[{options['host']}]" if ":" in options["host"] else options["host"]
    return options["endpoints"] or (f"{host}:{options['port']}",)


def _endpoints(value: str) -> tuple[str, ...]:
    """Take `host:port` words."""
    endpoints = words(value)
    for endpoint in endpoints:
        match = re.fullmatch(r"(?:\[[0-9A-Fa-f:.]+\]|[^\s:/@\[\]]+):([0-9]+)", endpoint)
        if not match:
            raise ValueError("a list of host:port joined by ','")
        port(match[1])
    return endpoints


def _check(options: Options) -> Iterator[Problem]:
    if "/" in options["host"] or options["host"].count(":") == 1:
        yield Problem("host", "expected a name or an address alone", "its port goes into port")
    if options["cert"] and not options["key"]:
        yield Problem("key", "is not set, but cert is", "set both or neither")
    if options["key"] and not options["cert"]:
        yield Problem("cert", "is not set, but key is", "set both or neither")
    if (options["cert"] or options["key"]) and not options["ca_cert"]:
        yield Problem("ca_cert", "is not set, but cert or key is", "set it, for without it there is no TLS")
    password = bool(options.explicit & {"password", "password_file"})
    if password and not options["user"]:
        yield Problem("user", "is not set, but a password is", "set both or neither")
    if options["user"] and not password:
        yield Problem("password", "is not set, nor password_file, but user is", "set both or neither")


def _doubts(options: Options) -> Iterator[Problem]:
    hosts = [address.rpartition(":")[0] for address in _addresses(options)]
    if options.holds("password") and not options["ca_cert"] and not all(map(is_local, hosts)):
        yield Problem("password", "goes to another host without TLS: anyone on the network path can read it", "set ca_cert")


def _preload() -> None:
    from disco.sources import etcd_session  # noqa: F401, PLC0415 -- imported before the fork, its memory is shared


def _place(options: Options, _part: str) -> str:
    prefix = options["prefix"].rstrip("/")
    return f"{prefix and prefix + '/'}* at {', '.join(_addresses(options))}"


SOURCE = Source(
    watch=watch,
    place=_place,
    options=(
        Option(name="host", type=text, default="127.0.0.1", help="the server's name or address"),
        Option(name="port", type=port, default=2379, help="the server's port for clients"),
        Option(name="endpoints", type=_endpoints, default=(), help="host:port,host:port,... tried in turn"),
        Option(name="user", help="the user to log in as"),
        Option(name="password", secret=True, help="the user's password"),
        Option(name="ca_cert", type=path, help="a PEM file of the authorities to trust; turns TLS on"),
        Option(name="cert", type=path, help="a PEM file of the client's certificate"),
        Option(name="key", type=path, help="a PEM file of the client's key"),
        Option(name="prefix", type=str, default="", help="keys are PREFIX/INTERFACE/NAME; empty: INTERFACE/NAME"),
        Option(name="wait", type=at_least(1, seconds), default=55.0, help="how long one watch lasts without a change"),
    ),
    text=True,
    check=_check,
    doubts=_doubts,
    modules=("etcd3", "grpc"),
    preload=_preload,
    step_limit=limit_blocking_step,
    extra="etcd",
)
