"""A server of our own in Consul's place, for what a real one cannot be made to do."""

from __future__ import annotations

import base64
import contextlib
import json
import socket
import threading
import time
import urllib.parse
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Iterator


def entry(key: str, value: str | None) -> dict[str, Any]:
    """Return an item of Consul's answer."""
    return {
        "Key": key,
        "Value": value and base64.b64encode(value.encode()).decode(),
        "Flags": 0,
        "ModifyIndex": 1 << 40,
    }


@dataclass
class Reply:
    """An answer: data as JSON, or bytes as they are; with status 0 the connection is closed instead."""

    data: Any = field(default_factory=lambda: [entry("web/port", "80")])
    status: int = 200
    index: int | str | None = 10
    headers: dict[str, str] = field(default_factory=dict)
    chunks: Iterator[bytes] | None = None
    before: Iterator[bytes] | None = None  # sent before all else
    hold: bool = False  # answer a blocking query only when its wait is over


@dataclass
class Request:
    """What a fake server was asked."""

    path: str
    query: dict[str, str]
    headers: dict[str, str]
    client: tuple[str, int]


class Fake(ThreadingHTTPServer):
    """A server that gives the replies in turn, the last one again and again, and notes what it was asked."""

    daemon_threads = True

    def __init__(self, *replies: Reply, family: socket.AddressFamily = socket.AF_INET) -> None:
        self.address_family = family
        self.replies = replies
        self.requests: list[Request] = []
        self.connections = 0
        self.ended = threading.Semaphore(0)
        super().__init__(("::1" if family == socket.AF_INET6 else "127.0.0.1", 0), FakeHandler)
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,))

    @property
    def pairs(self) -> str:
        return f"consul.host=127.0.0.1:consul.port={self.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients go away as they like."""


class FakeHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Fake

    def setup(self) -> None:
        super().setup()
        self.server.connections += 1

    def finish(self) -> None:
        with contextlib.suppress(OSError):
            super().finish()
        self.server.ended.release()

    def do_GET(self) -> None:
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        fake = self.server
        reply = fake.replies[min(len(fake.requests), len(fake.replies) - 1)]
        fake.requests.append(Request(url.path, query, dict(self.headers), self.client_address))
        if reply.hold and "index" in query:
            time.sleep(float(query["wait"].removesuffix("ms")) / 1000)
        for chunk in reply.before or ():
            self.wfile.write(chunk)
        body = reply.data if isinstance(reply.data, bytes) else json.dumps(reply.data).encode()
        headers = {"X-Consul-KnownLeader": "true", "X-Consul-LastContact": "0", "Content-Type": "application/json"}
        if reply.index is not None:
            headers["X-Consul-Index"] = str(reply.index)
        if reply.chunks is None:
            headers["Content-Length"] = str(len(body))
        else:
            self.close_connection = True
        if not reply.status:
            self.close_connection = True
            return
        self.send_response(reply.status)
        for name, value in {**headers, **reply.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        for chunk in reply.chunks if reply.chunks is not None else [body]:
            self.wfile.write(chunk)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def web(port: str) -> list[dict[str, Any]]:
    return [entry("web/port", port)]
