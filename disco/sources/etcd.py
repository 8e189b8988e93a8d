"""etcd v3: one read of everything below the prefix, then a watch from the next revision.

The client library gives the generated stubs. Its Watcher is not used: that one burns a core when a server dies, and does
not see a watch that the server cancels. The channel is gRPC's own for asyncio: the other one, which the library would
make, wakes up fifteen times a second while nothing happens. Every call has a deadline, a signal can interrupt every wait,
and what cannot be resumed ends in a new read, so that no change is lost.

The library is imported when it is first needed, and channels are made in the generator only: one that crosses a fork is
broken on both sides.
"""

from __future__ import annotations

import functools
import logging
import os
import random
import re
import socket
import ssl
import stat
import time
import warnings
from contextlib import closing
from typing import TYPE_CHECKING, Any

from disco.data.documents import SIZE_LIMIT
from disco.sources import Context, KeyTree, Option, Options, Pace, Problem, Source, SourceError, is_local, limit_blocking_step
from disco.sources.options import at_least, path, port, seconds, text, words
from disco.sources.tls import TLS_CLOSED, explain_tls, read_tls_file
from disco.text import duration, escape, plural

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Coroutine, Generator, Iterator, Mapping

KEY_LIMIT = 100_000
PREFIX_LIMIT = 100  # characters told of a prefix
PAGE = 1_000  # keys in one answer
ANSWER_LIMIT = 64 << 20  # bytes of one answer; gRPC's own limit is 4 MiB
NEVER = 86_400_000  # milliseconds; longer than any channel lives
KEEPALIVE = 8.0  # seconds; etcd closes a connection that is pinged more often than each 5 s (--grpc-keepalive-min-time)
DEADLINE_SLACK = 0.2  # seconds by which a watch may end early
DESCRIPTOR_LIMIT = 1024  # the lowest is given first, and a source has few
TOKEN_LIMIT = 8 << 10  # characters; what a server takes as metadata by default
REVISION_LIMIT = 1 << 62  # no store gets there, and one more must still be a number of its kind
PROBE_LIMIT = 2.0  # seconds for finding out why TLS fails

NO_ETCD = "this is no etcd of version 3"
# What gRPC and etcd (its rpctypes/error.go) say, and how it is told here: their own words may hold keys and addresses.
REASONS = (
    ("connection refused", "connection refused"),
    ("no route to host", "no route to this host"),
    ("network is unreachable", "the network is unreachable"),
    ("name or service not known", "unknown host name"),
    ("domain name not found", "unknown host name"),
    ("dns", "the host name cannot be resolved"),
    ("leader", "etcd has no leader (are enough of its members up?)"),
    ("invalid user id or password", "wrong user or password"),
    ("user name is empty", "the server wants a user and a password"),
    ("invalid auth token", "the login has expired"),
    ("compacted", "the data was compacted while it was read"),
    ("larger than max", f"an answer larger than {ANSWER_LIMIT >> 20} MiB: set a longer prefix"),
    ("too many requests", "the server is overloaded"),
    ("failed parsing http/2", NO_ETCD),
    ("ping timeout", "it no longer answers"),
    ("keepalive", "it no longer answers"),
    ("timed out", "no answer"),
    ("closed", "the connection was closed"),
    ("reset", "the connection was closed"),
    ("handshake", "TLS failed"),
)

log = logging.getLogger(__name__)


class _Refused(SourceError):  # noqa: N818 -- what happened
    """A watch was ended, or cannot be resumed, or the login was forgotten: everything must be read anew."""


class _Unneeded(SourceError):  # noqa: N818 -- what happened
    """A login was tried with a server that has none."""


def watch(context: Context) -> Iterator[Mapping[str, Any]]:
    """Yield what is below the prefix whenever the server tells a change, and once in each `wait` without one."""
    with closing(_connect(context)) as session:
        pace = Pace(context.interval)
        timeout = context.options["timeout"]
        tree = None
        while True:
            pace.wait()
            until = time.monotonic() + timeout
            known = session.read(until)
            tree = known.tree(tree)
            context.note(session.look_elsewhere(known, until))
            yield tree
            heard = False
            try:
                while True:
                    pace.wait()
                    with closing(session.follow(known)) as news:
                        for is_over in news:
                            heard = True
                            before, tree = tree, known.tree(tree)
                            if is_over or tree is not before:  # a flood of events is no flood of requests
                                context.note(session.look_elsewhere(known, time.monotonic() + timeout))
                            yield tree
            except _Refused as refusal:
                if not heard:  # this watch was never of use: another read would change nothing
                    raise
                log.debug("%s; reading anew", refusal.reason)


@functools.cache
def load_client() -> Any:  # noqa: ANN401 -- the library has no types
    """Import the client library and return it; the environment is left as it was found."""
    # Its generated code is of 2018: today's protobuf takes that in its pure Python form only. It is read once.
    variable = "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION"
    found = os.environ.get(variable)
    os.environ[variable] = "python"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import etcd3  # noqa: PLC0415 -- see above
    finally:
        del os.environ[variable]
        if found is not None:
            os.environ[variable] = found
    logging.getLogger("grpc._common").disabled = True  # it writes a traceback for an answer that cannot be decoded
    return etcd3


@functools.cache
def _loop() -> asyncio.AbstractEventLoop:
    """Return the event loop in which all calls of this process wait."""
    import asyncio  # noqa: PLC0415 -- slow, and imported by gRPC

    def note(_loop: object, about: dict[str, Any]) -> None:  # what a step's interruption may leave behind
        log.debug("%s while waiting", type(about.get("exception")).__name__)

    loop = asyncio.new_event_loop()
    loop.set_exception_handler(note)
    return loop


def _run(waiting: Coroutine[Any, Any, Any]) -> Any:  # noqa: ANN401 -- a stub's answer
    errors: list[Exception] = []

    async def settle() -> Any:  # noqa: ANN401 -- as above
        try:
            return await waiting
        except Exception as error:  # noqa: BLE001 -- it is raised again
            errors.append(error)

    # An error's traceback leads to the loop's frames, which hold the task. Were it the task's own, or its result, the channel
    # would stay in that circle until the garbage is collected.
    answer = _loop().run_until_complete(settle())
    if errors:
        raise errors.pop()
    return answer


def _connect(context: Context) -> _Session:
    """Return a session with the first endpoint that lets the prefix be read; all together may take one `timeout`."""
    load_client()  # may take a while that is not the server's
    if _loop().is_running():  # a step was interrupted in the loop's own bookkeeping: only another process can go on
        raise SystemExit(1)
    options = context.options
    endpoints = _addresses(options)
    until = time.monotonic() + options["timeout"]
    problems = []
    for number, endpoint in enumerate(endpoints):
        session = _Session(context, endpoint)
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


class _Known:
    """What is known below a prefix at a revision; of what belongs to no interface the keys only."""

    def __init__(self, prefix: bytes, interfaces: frozenset[str], cluster: int, revision: int) -> None:
        self.cluster = cluster
        self.revision = revision
        skip = len(prefix)
        self._tree: KeyTree[bytes, bytes] = KeyTree(interfaces, lambda key: _decode(key[skip:]), bytes)
        self._size = 0

    def __len__(self) -> int:
        return len(self._tree)

    def put(self, key: bytes, value: bytes) -> None:
        """Take a key's value; raise SourceError over a limit."""
        self.delete(key)
        self._size += len(key) + len(self._tree.put(key, value) or b"")
        if len(self._tree) > KEY_LIMIT:
            raise SourceError(f"more than {KEY_LIMIT} keys: set a longer prefix")
        if self._size > SIZE_LIMIT:
            raise SourceError(f"more than {SIZE_LIMIT >> 20} MiB of data: set a longer prefix")

    def delete(self, key: bytes) -> None:
        """Forget a key."""
        if key in self._tree:
            self._size -= len(key) + len(self._tree.delete(key) or b"")

    def tree(self, before: Mapping[str, Any] | None) -> Mapping[str, Any]:
        """Return all as nested mappings, a foreign name with None; of the tree from before what is the same."""
        return self._tree.build_tree(before)


class _Session:
    """A channel to one endpoint, and a login if there is a user."""

    def __init__(self, context: Context, endpoint: str) -> None:
        self._context = context
        self._options = options = context.options
        self._endpoint = endpoint
        self._answered = False
        self._metadata: tuple[tuple[str, str], ...] = (("hasleader", "true"),)  # else a member cut off stays silent
        prefix: str = options["prefix"]
        self._prefix = (prefix if prefix.endswith("/") or not prefix else prefix + "/").encode(errors="surrogateescape")
        self._range = _make_range(self._prefix)
        self._rpc = load_client().etcdrpc
        # The first watch lasts any part of the whole, so that a fleet's watches do not end all at once.
        self._wait = random.uniform(min(options["timeout"], options["wait"]), options["wait"])  # noqa: S311 -- no secret
        self._channel = _run(self._make_channel())

    async def _make_channel(self) -> Any:  # noqa: ANN401 -- gRPC's types are loose
        from grpc import aio, ssl_channel_credentials  # noqa: PLC0415 -- slow, and only after load_client

        options, settings = self._options, _channel_options(self._options["timeout"])
        if not options["ca_cert"]:
            return aio.insecure_channel(self._endpoint, settings)
        files = [options[name] and read_tls_file(name, options[name]) for name in ("ca_cert", "key", "cert")]
        return aio.secure_channel(self._endpoint, ssl_channel_credentials(*files), settings)

    def open(self, patience: float) -> None:
        """Log in, and find out whether the prefix can be read, within so many seconds."""
        until = time.monotonic() + patience
        self._log_in(until)
        self._get_range(until, count_only=True)
        self._answered = True
        log.debug("%s: connected%s", self._endpoint, " with TLS" if self._options["ca_cert"] else "")

    def close(self) -> None:
        """Close the channel, and so end what runs on it."""
        import asyncio  # noqa: PLC0415 -- as above

        async def end() -> None:
            await self._channel.close()
            tasks = asyncio.all_tasks() - {asyncio.current_task()}  # of a step that was interrupted
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        try:
            _run(end())
        finally:
            _hang_up()

    def read(self, until: float) -> _Known:
        """Return everything below the prefix as it was at one revision."""
        answer = self._get_range(until, limit=PAGE)
        if answer.count > KEY_LIMIT:
            raise SourceError(f"more than {KEY_LIMIT} keys: set a longer prefix")
        header = answer.header
        known = _Known(self._prefix, self._context.interfaces, header.cluster_id, header.revision)
        following = self._prefix  # the next key that there can be
        while True:
            for item in answer.kvs:
                if item.key < following or not item.key.startswith(self._prefix):
                    raise self._no_etcd()
                known.put(item.key, item.value)
                following = item.key + b"\0"
            if not answer.more:
                break
            if not answer.kvs:
                raise self._no_etcd()
            answer = self._get_range(until, key=following, limit=PAGE, revision=header.revision)
        log.debug("%s: read revision %d, %d keys", self._endpoint, known.revision, len(known))
        return known

    def look_elsewhere(self, known: _Known, until: float) -> str:
        """Return what people should know where nothing is below the prefix: whether it lacks, or should lack, a `/` before it."""
        prefix = self._prefix
        other = prefix.lstrip(b"/") if prefix.startswith(b"/") else b"/" + prefix
        if len(known) or not prefix or not other:
            return ""
        try:
            answer = self._get_range(until, **_make_range(other), count_only=True)
        except SourceError as error:  # it need not be readable
            log.debug("%s", error.reason)
            return ""
        if not answer.count:
            return ""
        here, there = (escape(_decode(name), PREFIX_LIMIT) for name in (prefix, other))
        remedy = f"set {self._context.name}.prefix={there[:-1]}"
        return f"nothing below {here}, but {plural(answer.count, 'key')} below {there}: {remedy}"

    def follow(self, known: _Known) -> Generator[bool]:
        """Apply what changes within `wait` seconds; yield after each answer that changed anything, and, true, at the end.

        Raises:
            _Refused: what is known must be read anew.
            SourceError: anything else.

        """
        import asyncio  # noqa: PLC0415 -- as above

        import grpc  # noqa: PLC0415 -- as above

        timeout = self._options["timeout"]
        wait, self._wait = self._wait, self._options["wait"]
        if not 0 <= known.revision < REVISION_LIMIT:
            raise self._no_etcd()
        create = self._rpc.WatchCreateRequest(**self._range, start_revision=known.revision + 1, progress_notify=True)
        until = time.monotonic() + wait - DEADLINE_SLACK
        call = self._rpc.WatchStub(self._channel).Watch(timeout=wait, metadata=self._metadata)

        async def begin() -> Any:  # noqa: ANN401 -- a WatchResponse
            # A frozen server keeps its connections and says nothing: the first answer (`created`) is due within `timeout`.
            async with asyncio.timeout(timeout):
                await call.write(self._rpc.WatchRequest(create_request=create))
                return await call.read()

        heard = False
        try:
            answer = _run(begin())
            log.debug("%s: watching from revision %d", self._endpoint, known.revision + 1)
            while answer is not grpc.aio.EOF:
                if answer is None:  # it could not be decoded
                    raise self._no_etcd()
                heard = True
                if self._apply(known, answer):
                    yield False
                answer = _run(call.read())
            raise SourceError(f"{self._endpoint}: the server ended the watch")
        except TimeoutError:
            raise SourceError(f"{self._endpoint}: no answer within {duration(timeout)}") from None
        except grpc.RpcError as error:
            if not heard and error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                raise SourceError(f"{self._endpoint}: no answer within {duration(wait)}") from None
            # Server and client count the same deadline, and the server's word for it is UNKNOWN, so time decides. If it
            # was anything else, the next watch meets it too.
            if not heard or time.monotonic() < until:
                raise self._failure(error, wait, until) from None
        finally:
            call.cancel()
        yield True

    def _apply(self, known: _Known, answer: Any) -> bool:  # noqa: ANN401 -- a WatchResponse
        """Apply a whole answer, and return whether it changed anything.

        It ends where a revision ends: only who asks for fragments gets any.
        """
        if answer.compact_revision:
            raise _Refused(f"{self._endpoint}: revision {known.revision + 1} is compacted")
        if answer.canceled:  # also in the answer that says `created`: no rights, or the login has expired
            raise _Refused(f"{self._endpoint}: {self._translate(answer.cancel_reason) or 'the server ended the watch'}")
        if answer.header.cluster_id != known.cluster or answer.header.revision < known.revision:
            raise SourceError(f"{self._endpoint}: another or a restored cluster answers now")
        news = [event for event in answer.events if event.kv.mod_revision > known.revision]
        for event in news:
            if not event.kv.key.startswith(self._prefix):
                raise self._no_etcd()
            if event.type == event.DELETE:
                known.delete(event.kv.key)
            else:
                known.put(event.kv.key, event.kv.value)
        if news:
            known.revision = news[-1].kv.mod_revision
        elif not answer.created:  # a progress notification: all up to this revision was told
            known.revision = answer.header.revision
        return bool(news)

    def _log_in(self, until: float) -> None:
        if not self._options["user"]:
            return
        self._metadata = self._metadata[:1]  # without an expired token
        request = self._rpc.AuthenticateRequest(name=self._options["user"], password=self._options["password"])
        try:
            answer = self._call(self._rpc.AuthStub(self._channel).Authenticate, request, until)
        except _Unneeded as error:  # etcd's own client goes on, too
            log.debug("%s; going on without", error.reason)
            return
        if len(answer.token) > TOKEN_LIMIT or not (answer.token.isascii() and answer.token.isprintable()):
            raise self._no_etcd()
        self._metadata += (("token", answer.token),)  # as metadata: gRPC sends call credentials over TLS only
        log.debug("%s: logged in", self._endpoint)

    def _get_range(self, until: float, **request: Any) -> Any:  # noqa: ANN401 -- a RangeRequest's fields, a RangeResponse
        message = self._rpc.RangeRequest(**(self._range | request))
        method = self._rpc.KVStub(self._channel).Range
        try:
            return self._call(method, message, until)
        except _Refused as refusal:  # tokens are never renewed
            log.debug("%s; logging in again", refusal.reason)
            self._log_in(until)
            return self._call(method, message, until)

    def _call(self, method: Any, request: object, until: float) -> Any:  # noqa: ANN401 -- a stub's method, its answer
        import grpc  # noqa: PLC0415 -- as above

        left = max(until - time.monotonic(), 0.001)

        async def ask() -> Any:  # noqa: ANN401 -- as above
            return await method(request, timeout=left, metadata=self._metadata)

        try:
            answer = _run(ask())
        except grpc.RpcError as error:
            raise self._failure(error, left, until) from None
        if answer is None:  # it could not be decoded
            raise self._no_etcd()
        return answer

    def _failure(self, error: Any, limit: float, until: float) -> SourceError:  # noqa: ANN401 -- an RpcError, which is also its call
        """Return what a failed call is told as; limit: the seconds that it was allowed, until: when they end."""
        code, details = error.code().name, (error.details() or "").lower()
        if "authentication is not enabled" in details:
            return _Unneeded(f"{self._endpoint}: the server has no authentication")
        reason = self._translate(details) or code
        if "deadline exceeded" in details:
            reason = f"no answer within {duration(round(limit, 1) or limit)}"
        elif code == "UNIMPLEMENTED":
            reason = NO_ETCD
        elif code == "UNAVAILABLE" and not self._answered and not details.startswith("etcdserver"):
            if self._options["ca_cert"]:
                reason = self._find_tls_problem(until) or reason
            elif "closed" in reason:
                reason += " (if the server wants TLS, set ca_cert)"
            return SourceError(f"cannot connect to {self._endpoint}: {reason}")
        # "Old": users or roles were changed since the login.
        kind = _Refused if code == "UNAUTHENTICATED" or "auth store is old" in details else SourceError
        return kind(f"{self._endpoint}: {reason}")

    def _no_etcd(self) -> SourceError:
        return SourceError(f"{self._endpoint}: {NO_ETCD}")

    def _translate(self, details: str) -> str:
        """Return what gRPC or etcd said in disco's words, empty if it is not known."""
        if "permission denied" in details:
            prefix = escape(_decode(self._prefix), PREFIX_LIMIT)
            return "permission denied for " + (f"prefix '{prefix}'" if prefix else "all keys: set a prefix")
        return next((told for phrase, told in REASONS if phrase in details), "")

    def _find_tls_problem(self, until: float) -> str:
        """Return why TLS fails, which gRPC does not tell; empty if it is not seen in time."""
        host, _, number = self._endpoint.rpartition(":")
        host = host.strip("[]")
        end = min(until, time.monotonic() + PROBE_LIMIT)

        def left() -> float:
            return max(end - time.monotonic(), 0.001)

        try:
            trust = ssl.create_default_context(cafile=self._options["ca_cert"])
            trust.verify_flags &= ~ssl.VERIFY_X509_STRICT  # gRPC is not as strict
            trust.set_alpn_protocols(["h2"])
            if self._options["cert"]:
                trust.load_cert_chain(self._options["cert"], self._options["key"], password=str)  # never ask the terminal
            with socket.create_connection((host, int(number)), left()) as plain:
                plain.settimeout(left())  # of the handshake as a whole
                with trust.wrap_socket(plain, server_hostname=host) as probe:
                    probe.settimeout(left())
                    probe.recv(1)  # with TLS 1.3 a client's certificate is refused after the handshake only
        except (ConnectionResetError, BrokenPipeError, *TLS_CLOSED):
            return "TLS: the connection was closed (if the server does not want TLS, set no ca_cert)"
        except ssl.SSLError as error:
            return f"TLS: {explain_tls(error, 'set no ca_cert')}"
        except OSError:
            pass  # gRPC's own words will do
        return ""


def _hang_up() -> None:
    """Shut down all connections of this process: one whose handshake has not ended outlives its channel, and is read on."""
    for descriptor in range(DESCRIPTOR_LIMIT):
        try:
            if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                with socket.socket(fileno=os.dup(descriptor)) as connection:
                    if connection.family in (socket.AF_INET, socket.AF_INET6):
                        connection.shutdown(socket.SHUT_RDWR)
        except OSError:  # there is none, or it was never connected
            continue


def _make_range(prefix: bytes) -> dict[str, bytes]:
    """Return the range of all keys that begin so; empty: of all keys. Its end has one more in the last byte, always a `/`."""
    return {"key": prefix or b"\0", "range_end": prefix[:-1] + b"0" if prefix else b"\0"}


def _decode(key: bytes) -> str:
    return key.decode(errors="backslashreplace")


def _addresses(options: Options) -> tuple[str, ...]:
    host = f"[{options['host']}]" if ":" in options["host"] else options["host"]
    return options["endpoints"] or (f"{host}:{options['port']}",)


def _channel_options(timeout: float) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", ANSWER_LIMIT),
        ("grpc.keepalive_time_ms", int(KEEPALIVE * 1000)),
        ("grpc.keepalive_timeout_ms", int(timeout * 1000)),
        ("grpc.http2.ping_timeout_ms", int(timeout * 1000)),  # else a frozen server is noticed after 70 s or never
        ("grpc.http2.max_pings_without_data", 0),  # no limit: a watch may be quiet for long
        ("grpc.enable_http_proxy", 0),
        ("grpc.per_message_decompression", 0),  # which was not asked for
        # What fails is tried again by the watcher alone. gRPC repeats a call that the server did not process without end and
        # without a pause, hundreds of MiB each second.
        ("grpc.enable_retries", 0),
        ("grpc.initial_reconnect_backoff_ms", NEVER),
        ("grpc.max_reconnect_backoff_ms", NEVER),
        # Else channels to one address share their connection, also with one that was closed because of it.
        ("grpc.use_local_subchannel_pool", 1),
    ]


def _endpoints(value: str) -> tuple[str, ...]:
    """Take `host:port` words."""
    found = words(value)
    for endpoint in found:
        match = re.fullmatch(r"(?:\[[0-9A-Fa-f:.]+\]|[^\s:/@\[\]]+):([0-9]+)", endpoint)
        if not match:
            raise ValueError("a list of host:port joined by ','")
        port(match[1])
    return found


def _check(options: Options) -> Iterator[Problem]:
    if "/" in options["host"] or options["host"].count(":") == 1:
        yield Problem("host", "expected a name or an address alone", "its port goes into port")
    if options["cert"] and not options["key"]:
        yield Problem("key", "is not set, and cert is", "set both or neither")
    if options["key"] and not options["cert"]:
        yield Problem("cert", "is not set, and key is", "set both or neither")
    if (options["cert"] or options["key"]) and not options["ca_cert"]:
        yield Problem("ca_cert", "is not set, and cert or key is", "set it, for without it there is no TLS")
    password = bool(options.explicit & {"password", "password_file"})
    if password and not options["user"]:
        yield Problem("user", "is not set, and a password is", "set both or neither")
    if options["user"] and not password:
        yield Problem("password", "is not set, nor password_file, and user is", "set both or neither")


def _doubts(options: Options) -> Iterator[Problem]:
    hosts = [address.rpartition(":")[0] for address in _addresses(options)]
    if options.holds("password") and not options["ca_cert"] and not all(map(is_local, hosts)):
        yield Problem("password", "goes to another host without TLS: whoever is on the way can read it", "set ca_cert")


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
    preload=load_client,
    step_limit=limit_blocking_step,
    extra="etcd",
)
