"""A server that does one thing wrong, with a watch or with an answer, and all else right."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from lab.servers import ROOT, free_ports

from tests.sources.etcd.reader import HUSH, Reader
from tests.sources.etcd.servers import serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lab.etcd_server import EtcdServer

# A server that does one thing wrong, with a watch or with an answer, and all else right: gRPC's own pings, too.
FAKE = r"""
import sys, threading
from concurrent.futures import ThreadPoolExecutor
from disco.sources.etcd_channel import rpc
import grpc

how = sys.argv[1]

class KV(rpc.KVServicer):
    def Range(self, request, context):
        answer = rpc.RangeResponse(header=rpc.ResponseHeader(cluster_id=1, revision=1))
        if how == "no end":
            answer.header.revision = 2**63 - 1
        if request.count_only:
            return answer
        if how in ("more of nothing", "more of the same"):
            answer.more = True
        if how in ("more of the same", "other keys"):
            answer.kvs.add().key = b"app/mysql/host" if how == "more of the same" else b"other/mysql/host"
        return answer

class Auth(rpc.AuthServicer):
    def Authenticate(self, request, context):
        return rpc.AuthenticateResponse(token={"token": "a\r\nb", "long token": "a" * (1 << 20)}.get(how, ""))

class Watch(rpc.WatchServicer):
    def Watch(self, requests, context):
        header = rpc.ResponseHeader(cluster_id=1, revision=1)
        if how == "other change":
            answer = rpc.WatchResponse(header=header)
            answer.events.add().kv.mod_revision = 2
            yield answer
        if how == "refuse":
            reason = "etcdserver: permission denied"
            yield rpc.WatchResponse(created=True, canceled=True, cancel_reason=reason)
        if how == "cancel":
            yield rpc.WatchResponse(header=header, created=True)
            yield rpc.WatchResponse(header=header)
            yield rpc.WatchResponse(header=header, canceled=True)
        if how == "change and cancel":
            revision = next(requests).create_request.start_revision
            answer = rpc.WatchResponse(header=rpc.ResponseHeader(cluster_id=1, revision=revision), created=True)
            kv = answer.events.add().kv
            kv.key, kv.value, kv.mod_revision = b"app/mysql/host", b"db1", revision
            yield answer
            yield rpc.WatchResponse(header=header, canceled=True)
        threading.Event().wait()

server = grpc.server(ThreadPoolExecutor(20))
if how in ("no message", "compressed"):
    answer = b"\xff" if how == "no message" else bytes(60 << 20)
    def say(request, context):
        context.set_compression(grpc.Compression.Gzip)
        return answer
    handlers = {"Range": grpc.unary_unary_rpc_method_handler(say)}
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("etcdserverpb.KV", handlers)])
if how == "no watch":
    def watch(requests, context):
        next(requests)
        yield b"\xff"
        threading.Event().wait()
    handlers = {"Watch": grpc.stream_stream_rpc_method_handler(watch)}
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("etcdserverpb.Watch", handlers)])
rpc.add_AuthServicer_to_server(Auth(), server)
rpc.add_KVServicer_to_server(KV(), server)
rpc.add_WatchServicer_to_server(Watch(), server)
print(server.add_insecure_port("127.0.0.1:0"), flush=True)
server.start()
server.wait_for_termination()
"""


def test_proxy(server: EtcdServer, etcd_program: Path, tmp_path: Path, read: Callable[..., Reader]) -> None:
    """Through etcd's own proxy, which ends a watch when its requests end, a change arrives all the same."""
    server.put("proxy/mysql/host", "db1")
    (port,) = free_ports(1)
    argv = [str(etcd_program), "grpc-proxy", "start", f"--endpoints={server.address}", f"--listen-addr=127.0.0.1:{port}"]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=tmp_path) as process:
        try:
            reader = read(None, f"port={port} prefix=proxy")
            reader.watched()
            server.put("proxy/mysql/host", "db2")
            assert reader.data() == {"mysql": {"host": "db2"}}
        finally:
            process.kill()


@contextlib.contextmanager
def fake(how: str) -> Iterator[str]:
    """Give the address of such a server."""
    argv = [sys.executable, "-c", FAKE, how]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=ROOT) as process:
        try:
            assert process.stdout
            yield f"127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("refuse", "permission denied for prefix 'app/'"),
        ("cancel", "the server ended the watch"),
        ("ignore", "no answer within 1 s"),
    ],
)
def test_watch_not_to_be_had(read: Callable[..., Reader], how: str, said: str) -> None:
    """A watch that is refused or ended before it was of use, or never answered, is an error in time and not a circle."""
    with fake(how) as at:
        reader = read(None, f"endpoints={at} timeout=1 prefix=app")
        for _ in range(2):
            assert reader.data() == {}
            assert reader.next().get("error") == f"{at}: {said}"


@pytest.mark.parametrize(
    "how",
    [
        "more of nothing",
        "more of the same",
        "other keys",
        "other change",
        "no end",
        "no message",
        "compressed",
        "no watch",
        "token",
        "long token",
    ],
)
def test_wrong_shape(read: Callable[..., Reader], how: str) -> None:
    """An answer that no etcd gives is told as such, whatever is wrong with it, and costs no memory."""
    with fake(how) as at:
        reader = read(None, f"endpoints={at} prefix=app" + (f" user=ann password={HUSH}" if "token" in how else ""))
        for _ in range(2):
            assert reader.error() == f"{at}: this is not etcd of version 3"
        status = Path(f"/proc/{reader.process.pid}/status").read_text()
        assert int(status.partition("VmHWM:")[2].split()[0]) < 150 << 10


def test_no_http2(read: Callable[..., Reader]) -> None:
    """A server of another kind is told as such."""
    with serving(lambda connection, _: connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as port:
        reader = read(None, f"port={port} timeout=2")
        assert reader.error() == f"cannot connect to 127.0.0.1:{port}: this is not etcd of version 3"


def test_pace(read: Callable[..., Reader]) -> None:
    """A server that ends each watch after a change is read anew at a bounded pace, without an error."""
    with fake("change and cancel") as at:
        reader = read(None, f"endpoints={at} prefix=app")
        assert reader.data() == {}
        began = time.monotonic()
        for _ in range(2):
            assert reader.data() == {"mysql": {"host": "db1"}}
            assert reader.data() == {}
        assert time.monotonic() - began > 2.5  # of the four requests each had to wait for a second, but for the first
