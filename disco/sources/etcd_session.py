"""A session with one etcd server: log in, read everything below the prefix at one revision, follow what changes from there.

Imported in the source's own process only. The library's Watcher is not used: it burns a core when a server dies, and does not
see a watch that the server cancels.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any

from grpc import StatusCode, aio

from disco.data.values import KEY_LIMIT, SIZE_LIMIT
from disco.errors import SourceError
from disco.sources.etcd_channel import Channel, Message, NoAuthenticationError, WatchLostError, rpc, run
from disco.sources.keys import KeyTree
from disco.system import chance
from disco.text import duration, escape, plural

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from disco.sources import Context

PREFIX_LIMIT = 100  # characters shown of a prefix
PAGE = 1_000  # keys in one answer
DEADLINE_SLACK = 0.2  # seconds by which a watch may end early
TOKEN_LIMIT = 8 << 10  # characters; what a server takes as metadata by default
REVISION_LIMIT = 1 << 62  # no store gets there, and one more must still be a number of its kind

log = logging.getLogger(__name__)


class Snapshot:
    """What is below a prefix at a revision; of what belongs to no interface the keys only."""

    def __init__(self, prefix: bytes, interfaces: frozenset[str], cluster: int, revision: int) -> None:
        """Begin without any key."""
        self.cluster = cluster
        self.revision = revision
        skip = len(prefix)
        self._tree: KeyTree[bytes, bytes] = KeyTree(interfaces, lambda key: _decode(key[skip:]), bytes)
        self._size = 0

    def __len__(self) -> int:
        """Return the number of keys."""
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


class Session:
    """A channel to one endpoint, and a login if there is a user."""

    def __init__(self, context: Context, endpoint: str) -> None:
        """Connect to nothing yet; raise SourceError where a file for TLS cannot be used."""
        self._context = context
        self._options = options = context.options
        prefix: str = options["prefix"]
        self._prefix = (prefix if prefix.endswith("/") or not prefix else prefix + "/").encode(errors="surrogateescape")
        self._range = _make_range(self._prefix)
        # The first watch lasts any part of the whole, so that a fleet's watches do not end all at once.
        self._wait = chance.between(min(options["timeout"], options["wait"]), options["wait"])
        shown = escape(_decode(self._prefix), PREFIX_LIMIT)
        self._channel = Channel(endpoint, options, f"prefix '{shown}'" if shown else "all keys: set a prefix")

    def open(self, patience: float) -> None:
        """Log in, and find out whether the prefix can be read, within so many seconds."""
        until = time.monotonic() + patience
        self._log_in(until)
        self._get_range(until, count_only=True)
        self._channel.has_answered = True
        log.debug("%s: connected%s", self._channel.endpoint, " with TLS" if self._options["ca_cert"] else "")

    def close(self) -> None:
        """Close the channel."""
        self._channel.close()

    def read(self, until: float) -> Snapshot:
        """Return everything below the prefix as it was at one revision."""
        answer = self._get_range(until, limit=PAGE)
        if answer.count > KEY_LIMIT:
            raise SourceError(f"more than {KEY_LIMIT} keys: set a longer prefix")
        header = answer.header
        snapshot = Snapshot(self._prefix, self._context.interfaces, header.cluster_id, header.revision)
        following = self._prefix  # the next key that there can be
        while True:
            for item in answer.kvs:
                if item.key < following or not item.key.startswith(self._prefix):
                    raise self._channel.no_etcd()
                snapshot.put(item.key, item.value)
                following = item.key + b"\0"
            if not answer.more:
                break
            if not answer.kvs:
                raise self._channel.no_etcd()
            answer = self._get_range(until, key=following, limit=PAGE, revision=header.revision)
        log.debug("%s: read revision %d, %d keys", self._channel.endpoint, snapshot.revision, len(snapshot))
        return snapshot

    def look_elsewhere(self, snapshot: Snapshot, until: float) -> str:
        """Return what people should know where nothing is below the prefix: whether it lacks, or should lack, a `/` before it."""
        prefix = self._prefix
        other = prefix.lstrip(b"/") if prefix.startswith(b"/") else b"/" + prefix
        if len(snapshot) or not prefix or not other:
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

    def follow(self, snapshot: Snapshot) -> Generator[bool]:
        """Apply what changes within `wait` seconds; yield after each answer that changed anything, and, true, at the end.

        Raises:
            WatchLostError: everything must be read anew.
            SourceError: anything else.

        """
        timeout = self._options["timeout"]
        wait, self._wait = self._wait, self._options["wait"]
        if not 0 <= snapshot.revision < REVISION_LIMIT:
            raise self._channel.no_etcd()
        create = rpc.WatchCreateRequest(**self._range, start_revision=snapshot.revision + 1, progress_notify=True)
        until = time.monotonic() + wait - DEADLINE_SLACK
        call = self._channel.watch(wait)

        async def begin() -> Message:
            # A frozen server keeps its connections and says nothing: the first answer (`created`) is due within `timeout`.
            async with asyncio.timeout(timeout):
                await call.write(rpc.WatchRequest(create_request=create))
                return await call.read()

        has_answered = False
        try:
            answer = run(begin())
            log.debug("%s: watching from revision %d", self._channel.endpoint, snapshot.revision + 1)
            while answer is not aio.EOF:
                if answer is None:  # it could not be decoded
                    raise self._channel.no_etcd()
                has_answered = True
                if self._apply(snapshot, answer):
                    yield False
                answer = run(call.read())
            raise SourceError(f"{self._channel.endpoint}: the server ended the watch")
        except TimeoutError:
            raise SourceError(f"{self._channel.endpoint}: no answer within {duration(timeout)}") from None
        except aio.AioRpcError as error:
            if not has_answered and error.code() is StatusCode.DEADLINE_EXCEEDED:
                raise SourceError(f"{self._channel.endpoint}: no answer within {duration(wait)}") from None
            # Server and client count the same deadline, and the server's word for it is UNKNOWN, so time decides. If it
            # was anything else, the next watch meets it too.
            if not has_answered or time.monotonic() < until:
                raise self._channel.failure(error, wait, until) from None
        finally:
            call.cancel()
        yield True

    def _apply(self, snapshot: Snapshot, answer: Message) -> bool:
        """Apply a whole WatchResponse, and return whether it changed anything.

        It ends where a revision ends: only who asks for fragments gets any.
        """
        endpoint = self._channel.endpoint
        if answer.compact_revision:
            raise WatchLostError(f"{endpoint}: revision {snapshot.revision + 1} is compacted")
        if answer.canceled:  # also in the answer that says `created`: no rights, or the login has expired
            raise WatchLostError(f"{endpoint}: {self._channel.explain(answer.cancel_reason) or 'the server ended the watch'}")
        if answer.header.cluster_id != snapshot.cluster or answer.header.revision < snapshot.revision:
            raise SourceError(f"{endpoint}: another or a restored cluster answers now")
        news = [event for event in answer.events if event.kv.mod_revision > snapshot.revision]
        for event in news:
            if not event.kv.key.startswith(self._prefix):
                raise self._channel.no_etcd()
            if event.type == event.DELETE:
                snapshot.delete(event.kv.key)
            else:
                snapshot.put(event.kv.key, event.kv.value)
        if news:
            snapshot.revision = news[-1].kv.mod_revision
        elif not answer.created:  # a progress notification: all events up to this revision have come
            snapshot.revision = answer.header.revision
        return bool(news)

    def _log_in(self, until: float) -> None:
        if not self._options["user"]:
            return
        self._channel.metadata = self._channel.metadata[:1]  # without an expired token
        request = rpc.AuthenticateRequest(name=self._options["user"], password=self._options["password"])
        try:
            answer = self._channel.call(rpc.AuthStub, "Authenticate", request, until)
        except NoAuthenticationError as error:  # etcd's own client goes on, too
            log.debug("%s; going on without", error.reason)
            return
        if len(answer.token) > TOKEN_LIMIT or not (answer.token.isascii() and answer.token.isprintable()):
            raise self._channel.no_etcd()
        self._channel.metadata += (("token", answer.token),)  # as metadata: gRPC sends call credentials over TLS only
        log.debug("%s: logged in", self._channel.endpoint)

    def _get_range(self, until: float, **request: Message) -> Message:
        """Return the RangeResponse to a request with these fields."""
        message = rpc.RangeRequest(**(self._range | request))
        try:
            return self._channel.call(rpc.KVStub, "Range", message, until)
        except WatchLostError as lost:  # tokens are never renewed
            log.debug("%s; logging in again", lost.reason)
            self._log_in(until)
            return self._channel.call(rpc.KVStub, "Range", message, until)


def _make_range(prefix: bytes) -> dict[str, bytes]:
    """Return the range of all keys that begin so; empty: of all keys. Its end has one more in the last byte, always a `/`."""
    return {"key": prefix or b"\0", "range_end": prefix[:-1] + b"0" if prefix else b"\0"}


def _decode(key: bytes) -> str:
    return key.decode(errors="backslashreplace")
