"""A gRPC channel to one etcd server: calls with a deadline that signals can interrupt, and failures explained.

Imported in the source's own process, or before the fork: it imports the client library, of which the generated stubs are used.
The channel is gRPC's own for asyncio: the library's wakes up fifteen times a second while nothing happens. Channels are made in
the generator only: one that crosses a fork is broken on both sides.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import socket
import stat
import time
import warnings
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import grpc
from grpc import aio

from disco.errors import SourceError
from disco.sources.tls import find_tls_problem, read_tls_file
from disco.text import duration

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from disco.sources.options import Options

ANSWER_LIMIT = 64 << 20  # bytes of one answer; gRPC's own limit is 4 MiB
NEVER = 86_400_000  # milliseconds; longer than any channel lives
KEEPALIVE = 8.0  # seconds; etcd closes a connection that is pinged more often than each 5 s (--grpc-keepalive-min-time)
DESCRIPTOR_LIMIT = 1024  # the lowest is given first, and a source has few

NO_ETCD = "this is not etcd of version 3"
# What gRPC and etcd (its rpctypes/error.go) say → what people read: their own words may hold keys and addresses.
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

Message: TypeAlias = Any  # generated code has no types
Result = TypeVar("Result")

log = logging.getLogger(__name__)


class WatchLostError(SourceError):
    """A watch was ended, or cannot be resumed, or the server no longer knows the login: everything must be read anew."""


class NoAuthenticationError(SourceError):
    """A login was tried with a server that has none."""


class Channel:
    """A channel to one endpoint. metadata: goes with each call. has_answered: whether the endpoint ever did."""

    def __init__(self, endpoint: str, options: Options, target: str) -> None:
        """Connect to nothing yet; raise SourceError where a file for TLS cannot be used. target: what is read, for people."""
        self.endpoint = endpoint
        self.metadata: tuple[tuple[str, str], ...] = (("hasleader", "true"),)  # else a member cut off stays silent
        self.has_answered = False
        self._options = options
        self._target = target
        self._channel = run(self._connect())

    async def _connect(self) -> aio.Channel:
        settings = _channel_options(self._options["timeout"])
        if not self._options["ca_cert"]:
            return aio.insecure_channel(self.endpoint, settings)
        files = [self._options[name] and read_tls_file(name, self._options[name]) for name in ("ca_cert", "key", "cert")]
        return aio.secure_channel(self.endpoint, grpc.ssl_channel_credentials(*files), settings)

    def close(self) -> None:
        """Close the channel, and so end what runs on it."""

        async def end() -> None:
            await self._channel.close()
            tasks = asyncio.all_tasks() - {asyncio.current_task()}  # of a step that was interrupted
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        try:
            run(end())
        finally:
            _shut_down_connections()

    def call(self, stub: Message, method: str, request: Message, until: float) -> Message:
        """Return the answer to a request; until: when (monotonic seconds) it must be there.

        Raises:
            WatchLostError: the server no longer knows the login.
            NoAuthenticationError: it was a login, and the server needs none.
            SourceError: anything else.

        """
        left = max(until - time.monotonic(), 0.001)

        async def ask() -> Message:
            return await getattr(stub(self._channel), method)(request, timeout=left, metadata=self.metadata)

        try:
            answer = run(ask())
        except aio.AioRpcError as error:
            raise self.failure(error, left, until) from None
        if answer is None:  # it could not be decoded
            raise self.no_etcd()
        return answer

    def watch(self, wait: float) -> aio.StreamStreamCall[Message, Message]:
        """Return a stream of a watch, which the server ends after so many seconds."""
        call: aio.StreamStreamCall[Message, Message] = rpc.WatchStub(self._channel).Watch(timeout=wait, metadata=self.metadata)
        return call

    def failure(self, error: aio.AioRpcError, limit: float, until: float) -> SourceError:
        """Return the error to raise for a failed call; limit: the seconds that it was allowed, until: when they end."""
        code, details = error.code().name, (error.details() or "").lower()
        if "authentication is not enabled" in details:
            return NoAuthenticationError(f"{self.endpoint}: the server has no authentication")
        reason = self.explain(details) or code
        if "deadline exceeded" in details:
            reason = f"no answer within {duration(round(limit, 1) or limit)}"
        elif code == "UNIMPLEMENTED":
            reason = NO_ETCD
        elif code == "UNAVAILABLE" and not self.has_answered and not details.startswith("etcdserver"):
            if self._options["ca_cert"]:  # gRPC does not say why TLS failed
                reason = find_tls_problem(self.endpoint, self._options, until) or reason
            elif "closed" in reason:
                reason += " (if the server wants TLS, set ca_cert)"
            return SourceError(f"cannot connect to {self.endpoint}: {reason}")
        # "Old": users or roles were changed since the login.
        kind = WatchLostError if code == "UNAUTHENTICATED" or "auth store is old" in details else SourceError
        return kind(f"{self.endpoint}: {reason}")

    def explain(self, details: str) -> str:
        """Return in disco's words what gRPC or etcd said, empty if it is not known."""
        if "permission denied" in details:
            return f"permission denied for {self._target}"
        return next((meaning for phrase, meaning in REASONS if phrase in details), "")

    def no_etcd(self) -> SourceError:
        """Return the error to raise for an answer that no etcd gives."""
        return SourceError(f"{self.endpoint}: {NO_ETCD}")


@functools.cache
def loop() -> asyncio.AbstractEventLoop:
    """Return the event loop in which all calls of this process wait."""

    def note(_loop: object, about: dict[str, Any]) -> None:  # what a step's interruption may leave behind
        log.debug("%s while waiting", type(about.get("exception")).__name__)

    new = asyncio.new_event_loop()
    new.set_exception_handler(note)
    return new


def run(waiting: Coroutine[Any, Any, Result]) -> Result:
    """Return what a coroutine gives; a signal's handler that raises interrupts it."""
    results: list[Result] = []
    errors: list[Exception] = []

    async def settle() -> None:
        try:
            results.append(await waiting)
        except Exception as error:  # noqa: BLE001 -- it is raised again
            errors.append(error)

    # An error's traceback leads to the loop's frames, which hold the task. Were it the task's own, or its result, the channel
    # would stay in that circle until the garbage is collected.
    loop().run_until_complete(settle())
    if errors:
        raise errors.pop()
    return results.pop()


def _load_stubs() -> Message:
    """Import the client library and return its stubs; the environment is left as it was found."""
    # Its generated code is of 2018: today's protobuf takes that in its pure Python form only. It reads the variable once.
    variable = "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION"
    before = os.environ.get(variable)
    os.environ[variable] = "python"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from etcd3 import etcdrpc  # noqa: PLC0415 -- it needs the variable
    finally:
        del os.environ[variable]
        if before is not None:
            os.environ[variable] = before
    logging.getLogger("grpc._common").disabled = True  # it writes a traceback for an answer that cannot be decoded
    return etcdrpc


rpc = _load_stubs()


def _shut_down_connections() -> None:
    """Shut down all connections of this process: one whose handshake has not ended outlives its channel, and is read on."""
    for descriptor in range(DESCRIPTOR_LIMIT):
        try:
            if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                with socket.socket(fileno=os.dup(descriptor)) as connection:
                    if connection.family in (socket.AF_INET, socket.AF_INET6):
                        connection.shutdown(socket.SHUT_RDWR)
        except OSError:  # there is none, or it was never connected
            continue


def _channel_options(timeout: float) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", ANSWER_LIMIT),
        ("grpc.keepalive_time_ms", int(KEEPALIVE * 1000)),
        ("grpc.keepalive_timeout_ms", int(timeout * 1000)),
        ("grpc.http2.ping_timeout_ms", int(timeout * 1000)),  # else a frozen server is noticed after 70 s or never
        ("grpc.http2.max_pings_without_data", 0),  # no limit: a watch may be quiet for long
        ("grpc.enable_http_proxy", 0),
        ("grpc.per_message_decompression", 0),  # which was not asked for
        # The watcher alone tries again after a failure. gRPC repeats a call that the server did not process without end and
        # without a pause, hundreds of MiB each second.
        ("grpc.enable_retries", 0),
        ("grpc.initial_reconnect_backoff_ms", NEVER),
        ("grpc.max_reconnect_backoff_ms", NEVER),
        # Else channels to one address share their connection, also with one that was closed because of it.
        ("grpc.use_local_subchannel_pool", 1),
    ]
