"""The front of an etcd whose watches fail."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


class EtcdFront:
    """Speaks etcd's gRPC in front of a real etcd: reads are handed on always, watches as long as all is well.

    From `fail` to `heal` a watch is created and then cancelled (`cancels`), or its call fails. Calls are not looked into: the first
    field of each answer is its header, and the others that a WatchResponse needs are written by hand (etcd's rpc.proto).
    """

    CREATED, CANCELLED = b"\x18\x01", b"\x20\x01"

    def __init__(self, upstream: int, *, cancels: bool) -> None:
        """Listen on a loopback port."""
        import grpc

        self.hits = 0  # reads and watches since `fail`
        self.failed_at = self.seconds = 0.0
        self._grpc = grpc
        self._cancels = cancels
        self._is_failing = False
        self._header = b""
        channel = grpc.insecure_channel(f"127.0.0.1:{upstream}")
        self._range: Any = channel.unary_unary("/etcdserverpb.KV/Range")
        self._watch: Any = channel.stream_stream("/etcdserverpb.Watch/Watch")
        self._server = grpc.server(ThreadPoolExecutor(16))
        self._server.add_generic_rpc_handlers(
            (
                grpc.method_handlers_generic_handler("etcdserverpb.KV", {"Range": grpc.unary_unary_rpc_method_handler(self._read)}),
                grpc.method_handlers_generic_handler(
                    "etcdserverpb.Watch", {"Watch": grpc.stream_stream_rpc_method_handler(self._follow)}
                ),
            )
        )
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()

    def fail(self) -> None:
        """Let watches fail, those that are there too."""
        self.failed_at, self._is_failing = time.monotonic(), True

    def heal(self) -> None:
        """Let watches be."""
        self.seconds, self._is_failing = time.monotonic() - self.failed_at, False

    def close(self) -> None:
        """End."""
        self._server.stop(0)

    def _read(self, request: bytes, context: Any) -> bytes:
        self.hits += self._is_failing
        answer: bytes = self._range(request, metadata=(("hasleader", "true"),), timeout=context.time_remaining())
        self._header = answer[: 2 + answer[1]]
        return answer

    def _follow(self, requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
        if self._is_failing:
            self.hits += 1
            next(requests)
            yield self._header + self.CREATED
            if not self._cancels:
                context.abort(self._grpc.StatusCode.UNAVAILABLE, "etcdserver: request timed out")
            yield self._header + self.CANCELLED
            for _ in requests:  # the stream itself stays, until the client ends it
                pass
            return
        answers = self._watch(requests, metadata=(("hasleader", "true"),), timeout=context.time_remaining())
        context.add_callback(answers.cancel)
        try:
            yield from answers
        except self._grpc.RpcError as error:
            context.abort(error.code(), error.details())
