"""The gate: a port in front of a server, which does what it is told."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import struct
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Serve = Callable[["Gate", socket.socket], None]  # what is done with a client's connection
    Change = Callable[["Gate", bytes], Iterable[bytes]]  # what is made of a server's bytes on their way to the client

PATIENCE = 60.0  # seconds that a connection may be waited for
CHUNK = 64 << 10


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
