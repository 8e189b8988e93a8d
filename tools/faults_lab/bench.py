"""The bench: what rows are made with."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from lab.consul_server import ConsulServer
from lab.etcd_server import EtcdServer
from lab.servers import BackendsError, find_program
from lab.site import Site

from faults_lab.disco import MEMORY, end_disco, furnish
from faults_lab.errors import MissingError
from faults_lab.etcd_front import EtcdFront
from faults_lab.gate import Gate
from faults_lab.row import Case
from faults_lab.waiting import await_fact

if TYPE_CHECKING:
    import contextlib
    import ssl
    from collections.abc import Callable
    from pathlib import Path


class Servers:
    """The real servers that rows share, each started when it is needed first."""

    def __init__(self, folder: Path) -> None:
        """Start nothing yet."""
        self._folder = folder
        self._locks = {"consul": threading.Lock(), "etcd": threading.Lock()}
        self._running: dict[str, Any] = {}

    @staticmethod
    def program(kind: str) -> Path:
        """Return a server's program; raise MissingError without it."""
        try:
            return find_program(kind)
        except BackendsError as error:
            raise MissingError(str(error).splitlines()[-1]) from None

    def make(self, kind: str, folder: Path, **options: Any) -> Any:
        """Return a server that is not started."""
        server = ConsulServer if kind == "consul" else EtcdServer
        return server(self.program(kind), folder, **options)

    def shared(self, kind: str) -> Any:
        """Return the server of a kind that all may use, and nobody may harm."""
        with self._locks[kind]:
            if kind not in self._running:
                self._running[kind] = server = self.make(kind, self._folder / kind)
                server.start()
            return self._running[kind]

    def close(self) -> None:
        """End them."""
        for server in self._running.values():
            server.kill()


class Bench:
    """What a row is made with: its number, its folder, the servers, and the stack of what is undone at its end."""

    def __init__(self, number: int, folder: Path, servers: Servers, stack: contextlib.ExitStack) -> None:
        """Take all that."""
        self.number = number
        self.folder = folder
        self.servers = servers
        self.stack = stack

    def own(self, kind: str, **options: Any) -> Any:
        """Start a server for this row alone."""
        server = self.servers.make(kind, self.folder / "server", **options)
        self.stack.callback(server.kill)
        server.start()
        return server

    def gate(self, server: Any, tls: ssl.SSLContext | None = None) -> Gate:
        """Open a gate in front of a server."""
        gate = Gate(server.port, tls)
        self.stack.callback(gate.close)
        return gate

    def site(self, plug_in: str = "") -> Site:
        """Return an empty site for a trial, in which a rule waits for the interface `end` until `finish`."""
        site = Site(self.folder / "faulty-disco")
        self.stack.callback(end_disco, site)
        furnish(site, plug_in)
        site.flat({})
        return site

    @staticmethod
    def finish(site: Site) -> None:
        """Give a trial's disco what it waits for."""
        site.flat({"end": {}})

    @staticmethod
    def wait(fact: Callable[[], Any], what: str) -> Any:
        """Wait for a fact, and return it; the row is red if it does not come."""
        return await_fact(fact, what)

    def etcd_front(self, *, cancels: bool) -> EtcdFront:
        """Open what fails watches in front of the shared etcd."""
        front = EtcdFront(self.servers.shared("etcd").port, cancels=cancels)
        self.stack.callback(front.close)
        return front

    def case(self, kind: str, server: Any, port: int, **details: Any) -> Case:
        """Return a case in which one disco has `server` through `port`, and its twin the shared server."""
        shared = self.servers.shared(kind)
        values: dict[str, Any] = {
            "faulty": self._options(kind, port, "f") | details.pop("options", {}),
            "twin": self._options(kind, shared.port, "t") | details.pop("twin_options", {}),
            "write": self._writer(server, "f"),
            "write_twin": self._writer(shared, "t"),
        }
        return Case(**(values | details))

    def _options(self, kind: str, port: int, side: str) -> dict[str, str]:
        named = {"host": "127.0.0.1", "port": str(port), "prefix": f"{self.number}/{side}", "timeout": "1", "wait": "1"}
        return {f"{kind}.{name}": value for name, value in (named | {"memory": f"{MEMORY}M"}).items()}

    def _writer(self, server: Any, side: str) -> Callable[[int], object]:
        return lambda n: server.put(f"{self.number}/{side}/odd/n", str(n))
