"""What a gate does with a connection, and no server should."""

from __future__ import annotations

import gzip
import os
import select
import struct
from typing import TYPE_CHECKING

from faults_lab.gate import CHUNK, relay

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterable, Iterator

    from faults_lab.gate import Gate, Serve


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
