"""What stands between disco and its sources' servers in tools/faults, and misbehaves: a gate, a resolver, a network.

All of it is on loopback, or between this machine and a network namespace made for it; `close` closes or removes it.
"""

from __future__ import annotations

import contextlib
import gzip
import os
import select
import socket
import ssl
import struct
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from lab.servers import sign_certificate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    Serve = Callable[["Gate", socket.socket], None]  # what is done with a client's connection
    Change = Callable[["Gate", bytes], Iterable[bytes]]  # what is made of a server's bytes on their way to the client

PATIENCE = 60.0  # seconds that a connection may be waited for
CHUNK = 64 << 10


class MissingError(Exception):
    """What a row needs cannot be had on this machine; the text says why."""


class Gate:
    """A port through which a server is reached as long as all is well, and which does what it is told from `fail` to `heal`."""

    def __init__(self, upstream: int, tls: ssl.SSLContext | None = None) -> None:
        """Listen on a loopback port; with `tls` the gate speaks TLS to its clients."""
        self.upstream = upstream
        self.tls = tls
        self.hits = 0  # connections since `fail`
        self.heads: list[bytes] = []  # of requests that were not handed on
        self.failures = 0
        self.hold = False
        self.over = threading.Event()
        self.failed_at = 0.0
        self.seconds = 0.0  # from `fail` to `heal`
        self._fault: Serve | None = None
        self._open: dict[socket.socket, float] = {}  # since when, of the connections made while it fails
        self._held = 0.0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def is_failing(self) -> bool:
        """Whether it was told to fail, and not yet to heal."""
        return self._fault is not None

    @property
    def held(self) -> float:
        """How many seconds the longest of the connections since `fail` was kept, up to now."""
        return max([self._held, *(time.monotonic() - began for began in [*self._open.values()])])

    def fail(self, fault: Serve | None = None, *, hold: bool = False) -> None:
        """Do this with each new connection (None: refuse it); those that are there are held without a word, or else reset."""
        self.hold = hold
        self._fault = fault or reset
        self.failures += 1
        self.failed_at = time.monotonic()
        if fault is None:  # bound, and so nobody else's, but not listening
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = socket.socket()
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._listener.bind(("127.0.0.1", self.port))

    def heal(self) -> None:
        """Serve new connections again; those made while it failed stay as bad as they are."""
        self._fault = None
        self.seconds = time.monotonic() - self.failed_at
        self._listener.listen(100)

    def close(self) -> None:
        """End."""
        self.over.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while not self.over.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:  # it does not listen now
                self.over.wait(0.02)
                continue
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        fault = self._fault
        self.hits += fault is not None
        began = time.monotonic()
        if fault:
            self._open[client] = began
        client.settimeout(PATIENCE)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        spoken = client
        with contextlib.suppress(OSError):
            if self.tls:
                spoken = self.tls.wrap_socket(client, server_side=True)
            (fault or relay)(self, spoken)
        spoken.close()
        if self._open.pop(client, None):
            self._held = max(self._held, time.monotonic() - began)


# What can be done with a connection


def relay(gate: Gate, client: socket.socket, change: Change | None = None, refused: bytes = b"") -> None:
    """Hand on both ways until one end closes, or until the gate fails.

    change: sees what the server sends. refused: a request that holds this is an error of the server's.
    """
    failures = gate.failures
    with socket.create_connection(("127.0.0.1", gate.upstream), PATIENCE) as server:
        server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while not gate.over.is_set():
            ready = select.select([client, server], [], [], 0.1)[0]
            if gate.failures != failures:
                if gate.hold:
                    gate.over.wait()
                reset(gate, client)
                return
            for source in ready:
                data = _receive(source)
                if not data:
                    return
                if source is client and refused and refused in data:
                    client.sendall(b"HTTP/1.1 500 Internal Server Error\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
                    return
                if source is client:
                    server.sendall(data)
                elif change:
                    for part in change(gate, data):
                        client.sendall(part)
                else:
                    client.sendall(data)


def _receive(source: socket.socket) -> bytes:
    data = source.recv(CHUNK)
    while isinstance(source, ssl.SSLSocket) and source.pending():  # `select` does not see it
        data += source.recv(CHUNK)
    return data


def reset(_gate: Gate, client: socket.socket) -> None:
    """Answer with a TCP reset."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def stay_silent(gate: Gate, _client: socket.socket) -> None:
    """Keep the connection, and say nothing."""
    gate.over.wait()


def hang_up(_gate: Gate, client: socket.socket) -> None:
    """Take the request, and close."""
    client.recv(CHUNK)


def send_garbage(_gate: Gate, client: socket.socket) -> None:
    """Answer with what is no protocol."""
    client.recv(CHUNK)
    client.sendall(os.urandom(1 << 16))


def stop_halfway(smallest: int) -> Serve:
    """Hand on half of the first answer that has at least so many bytes, and then nothing more."""

    def change(gate: Gate, data: bytes) -> Iterator[bytes]:
        if len(data) < smallest:
            yield data
        else:
            yield data[: len(data) // 2]
            gate.over.wait()

    return lambda gate, client: relay(gate, client, change)


def drip(seconds: float) -> Serve:
    """Hand on the server's bytes one by one, with so many seconds between them."""

    def change(gate: Gate, data: bytes) -> Iterator[bytes]:
        for byte in data:
            yield bytes([byte])
            if gate.over.wait(seconds):
                return

    return lambda gate, client: relay(gate, client, change)


def changed(change: Callable[[bytes], bytes]) -> Serve:
    """Hand on, with the server's bytes changed while the gate fails."""
    return lambda gate, client: relay(gate, client, lambda gate, data: [change(data) if gate.is_failing else data])


def answer(status: str, body: bytes | Iterable[bytes] = b"", **headers: str) -> Serve:
    """Answer an HTTP request; a body in parts is sent without its length, up to its end or for ever."""

    def serve(gate: Gate, client: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head and (data := client.recv(CHUNK)):
            head += data
        gate.heads.append(head)
        lines = {"Connection": "close", "X_Consul_Index": "7", **headers}
        if isinstance(body, bytes):
            lines["Content_Length"] = str(len(body))
        text = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in lines.items() if value)
        client.sendall(f"HTTP/1.1 {status}\r\n{text}\r\n".encode())
        for part in [body] if isinstance(body, bytes) else body:
            if gate.over.is_set():
                break
            client.sendall(part)

    return serve


class Endless:
    """The same bytes again and again, each time from the start."""

    def __init__(self, part: bytes, first: bytes = b"") -> None:
        self._part = part
        self._first = first

    def __iter__(self) -> Iterator[bytes]:
        yield self._first
        while True:
            yield self._part


def bomb(size: int) -> bytes:
    """Return so many bytes of blanks, compressed: a member of 1 MiB again and again (RFC 1952, 2.2)."""
    return gzip.compress(b" " * (1 << 20)) * (size >> 20)


def _http2(kind: int, payload: bytes = b"", flags: int = 0) -> bytes:
    """Return a frame of the connection itself (RFC 9113, 4.1)."""
    return struct.pack(">BHBBL", 0, len(payload), kind, flags, 0) + payload


SETTINGS, PING, GOAWAY, ACK = 4, 6, 7, 1


def say_goaway(_gate: Gate, client: socket.socket) -> None:
    """Greet with GOAWAY: no stream was or will be looked at, and there is no error (RFC 9113, 6.8); close."""
    client.sendall(_http2(SETTINGS) + _http2(GOAWAY, bytes(8)))


def flood_http2(gate: Gate, client: socket.socket) -> None:
    """Speak HTTP/2 so far that a client believes it, then send PING frames without end (RFC 9113, 6.7)."""
    client.sendall(_http2(SETTINGS) + _http2(SETTINGS, flags=ACK))
    pings = _http2(PING, b"flooding") * 500
    while not gate.over.is_set():
        if select.select([client], [], [], 0)[0] and not client.recv(CHUNK):
            return
        if select.select([], [client], [], 0.1)[1]:
            client.sendall(pings)


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


# Names


class Resolver:
    """A name server on a loopback address that says 127.0.0.1 to every question, or nothing."""

    def __init__(self) -> None:
        """Listen; raise MissingError where port 53 may not be taken."""
        self.is_silent = False
        self.hits = 0  # questions that were not answered
        self.address = f"127.53.{os.getpid() >> 8 & 255}.{os.getpid() & 255 or 1}"
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self._socket.bind((self.address, 53))
        except OSError as error:
            self._socket.close()
            raise MissingError(f"port 53 on loopback: {error.strerror}") from None
        self._socket.settimeout(0.2)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End."""
        self._over.set()
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        while not self._over.is_set():
            try:
                question, client = self._socket.recvfrom(4096)
            except OSError:
                continue
            if self.is_silent:
                self.hits += 1
            else:
                self._socket.sendto(self._answer(question), client)

    @staticmethod
    def _answer(question: bytes) -> bytes:
        """Return the answer (RFC 1035, 4.1): an address to a question for one of IPv4, nothing to any other."""
        end = question.index(b"\0", 12) + 5
        kind, a_record = struct.unpack(">H", question[end - 4 : end - 2])[0], 1
        records = struct.pack(">HHHLH", 0xC00C, a_record, 1, 1, 4) + bytes([127, 0, 0, 1]) if kind == a_record else b""
        return question[:2] + struct.pack(">HHHHH", 0x8180, 1, bool(records), 0, 0) + question[12:end] + records


def with_resolver(file: Path) -> list[str]:
    """Return the words before a command by which it sees this file as /etc/resolv.conf; raise MissingError if that cannot be."""
    script = f'mount --bind "{file}" /etc/resolv.conf && exec "$@"'
    for words in (["unshare", "-m"], ["unshare", "-r", "-m"]):
        command = [*words, "sh", "-c", script, "sh"]
        with contextlib.suppress(OSError):
            if subprocess.run([*command, "true"], capture_output=True, timeout=10, check=False).returncode == 0:
                return command
    raise MissingError("no mount namespace with an own /etc/resolv.conf (needs root or user namespaces)")


# A network that can be cut


class Network:
    """A network namespace, and a cable to it: `inside` are the words before a command that is to run there."""

    _count = 0

    def __init__(self) -> None:
        """Make both; raise MissingError where that is not allowed."""
        Network._count += 1
        number = (os.getpid() + Network._count) % 16384  # in 198.18.0.0/16, which is for such tests (RFC 2544)
        net = f"198.18.{number >> 6}.{(number & 63) << 2}"
        self.host, self._guest = (f"{net.rpartition('.')[0]}.{int(net.rpartition('.')[2]) + n}" for n in (1, 2))
        self._name = f"faults-{os.getpid()}-{Network._count}"
        self._cable = f"df{os.getpid()}x{Network._count}"[-15:]
        self.inside = ["ip", "netns", "exec", self._name]
        try:
            _ip("netns", "add", self._name)
            _ip("link", "add", self._cable, "type", "veth", "peer", "name", "disco0", "netns", self._name)
            _ip("addr", "add", f"{self.host}/30", "dev", self._cable)
            _ip("link", "set", self._cable, "up")
            _ip("-n", self._name, "addr", "add", f"{self._guest}/30", "dev", "disco0")
            _ip("-n", self._name, "link", "set", "disco0", "up")
            _ip("-n", self._name, "link", "set", "lo", "up")
        except (OSError, subprocess.SubprocessError) as error:
            self.close()
            words = getattr(error, "stderr", "") or str(error)
            raise MissingError(f"no network namespace: {words.strip().splitlines()[0]}") from None

    def cut(self) -> None:
        """Drop all packets, both ways: they are sent to an Ethernet address that nobody has."""
        nobody = ("lladdr", "02:00:00:00:00:fe", "nud", "permanent")
        _ip("neigh", "replace", self._guest, *nobody, "dev", self._cable)
        _ip("-n", self._name, "neigh", "replace", self.host, *nobody, "dev", "disco0")

    def mend(self) -> None:
        """Deliver packets again."""
        _ip("neigh", "del", self._guest, "dev", self._cable)
        _ip("-n", self._name, "neigh", "del", self.host, "dev", "disco0")

    def close(self) -> None:
        """Remove the namespace, and with it the cable."""
        for words in (("link", "del", self._cable), ("netns", "del", self._name)):
            with contextlib.suppress(OSError, subprocess.SubprocessError):
                _ip(*words)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], capture_output=True, text=True, timeout=10, check=True)


# Certificates


def sign(folder: Path, name: str, host: str, days: int = 2) -> ssl.SSLContext:
    """Return a server's TLS with a certificate for this host by the authority in `folder` (see `make_certificates`)."""
    try:
        sign_certificate(folder, name, f"subjectAltName={host}", days)
    except subprocess.CalledProcessError as error:
        raise MissingError(f"openssl {error.cmd[1]}: {error.stderr.strip().splitlines()[-1]}") from None
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(folder / f"{name}.pem", folder / f"{name}.key")
    tls.set_alpn_protocols(["h2", "http/1.1"])  # gRPC insists on it
    return tls


def wait_for(fact: Callable[[], object], patience: float) -> bool:
    """Return whether a fact has become true within so many seconds."""
    until = time.monotonic() + patience
    while not fact():
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True
