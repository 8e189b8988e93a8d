"""Servers that are away, frozen, flooding or restarted: the etcd source never hangs, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import re
import select
import socket
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from lab.etcd_server import EtcdCluster, EtcdServer
from lab.servers import free_ports
from lab.waiting import eventually

from tests.sources.etcd.reader import PATIENCE, Reader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def test_endpoints(server: EtcdServer, read: Callable[..., Reader]) -> None:
    """Endpoints are tried in turn, whether one refuses or says nothing; host is not used then."""
    server.put("turn/mysql/host", "db1")
    (closed,) = free_ports(1)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # the kernel accepts, and nobody answers
        dead = f"127.0.0.1:{closed},127.0.0.1:{silent.getsockname()[1]}"
        reader = read(None, f"host=nowhere.invalid timeout=3 prefix=turn endpoints={dead},{server.address}")
        assert reader.data() == {"mysql": {"host": "db1"}}
        assert re.search(r"no answer within 1(\.[0-9])? s", reader.log)  # half of what was left for two, not all
        refused, unanswered = read(None, f"timeout=2 endpoints={dead}").error().split("; ")
        assert refused == f"cannot connect to 127.0.0.1:{closed}: connection refused"
        assert unanswered.startswith(f"127.0.0.1:{silent.getsockname()[1]}: no answer within ")


def test_unreachable(read: Callable[..., Reader]) -> None:
    """An unknown host is told as such."""
    assert read(None, "host=nowhere.invalid").error() in {
        "cannot connect to nowhere.invalid:2379: unknown host name",
        "cannot connect to nowhere.invalid:2379: the host name cannot be resolved",
    }


def test_frozen(start: Callable[..., EtcdServer], read: Callable[..., Reader]) -> None:
    """A server that is frozen is noticed while the watch still has long to go, and read again when it goes on."""
    server = start()
    server.put("mysql/host", "db1")
    long = read(server, "timeout=1", constants={"KEEPALIVE": 5.5})  # least time that etcd allows is 5
    long.watched()
    short = read(server, "timeout=1 wait=1")
    for _ in range(3):  # so that nothing is under way on the long one's connection any more: only a ping can tell
        short.until(lambda line: line["same"])
    server.freeze()
    for reader in (short, long):
        assert reader.error().split(": ")[1] in {"it no longer answers", "no answer within 1 s"}
        # What connecting took is taken off the second.
        assert re.fullmatch(rf"{re.escape(server.address)}: no answer within (1 s|\d00 ms)", reader.error())
    server.thaw()
    for reader in (short, long):
        assert reader.until(lambda line: "data" in line)["data"] == {"mysql": {"host": "db1"}}


def test_flooded(read: Callable[..., Reader]) -> None:
    """The connection to a server that never stops to send is closed in time, and the next try makes another one."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(PATIENCE)
        reader = read(None, f"port={listener.getsockname()[1]} timeout=1")
        for _ in range(3):
            with listener.accept()[0] as client:
                flood(client)
            assert "no answer within 1 s" in reader.error()


@contextlib.contextmanager
def greeter(greeting: bytes, *, closes: bool) -> Iterator[tuple[int, list[socket.socket]]]:
    """Serve a greeting on each connection, and close it or keep it open and silent; give the port and the connections."""
    accepted: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):  # the listener is shut down
                while True:
                    accepted.append(listener.accept()[0])
                    with contextlib.suppress(ConnectionError):
                        accepted[-1].sendall(greeting)
                    if closes:
                        accepted[-1].close()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1], accepted
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            for connection in accepted:
                connection.close()


def test_refused_by_goaway(read: Callable[..., Reader]) -> None:
    """A server that takes connections and sends each away again costs no memory."""
    goaway = bytes.fromhex("000000 04 00 00000000 000008 07 00 00000000 00000000 00000000")  # RFC 9113, 6.5 and 6.8
    with greeter(goaway, closes=True) as (port, accepted):
        reader = read(None, f"port={port} timeout=3")
        for _ in range(3):
            reader.error()
        status = Path(f"/proc/{reader.process.pid}/status").read_text()
        assert int(status.partition("VmHWM:")[2].split()[0]) < 150 << 10
        assert accepted


WITHOUT_PROC = """
import os
plain = os.listdir
def listdir(path="."):
    if str(path).startswith("/proc"):
        raise FileNotFoundError(path)
    return plain(path)
os.listdir = listdir
"""


def count_sockets(pid: int) -> int:
    """Return how many sockets a process has open."""
    found = 0
    for name in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            found += "socket:" in str(name.readlink())
    return found


@pytest.mark.parametrize(("closes", "tries"), [(True, 40), (False, 5)], ids=["closed", "silent"])
def test_one_connection_for_each_try(read: Callable[..., Reader], tmp_path: Path, closes: bool, tries: int) -> None:
    """Each try makes one connection, and leaves none, nor anything that only a collection would take away, also without /proc."""
    (tmp_path / "sitecustomize.py").write_text(WITHOUT_PROC)
    with greeter(b"", closes=closes) as (port, accepted):
        reader = read(None, f"port={port} timeout=1", environ={"PYTHONPATH": str(tmp_path)})
        for _ in range(tries):
            assert reader.next()["left"] == 0
        assert tries <= len(accepted) <= tries + 1
        assert count_sockets(reader.process.pid) <= 5  # the loop's own two, and what the next try has made by now


def flood(client: socket.socket) -> None:
    """Speak HTTP/2 so far that gRPC believes it, then send pings (RFC 9113, 6.7) until it hangs up."""
    client.settimeout(PATIENCE)
    client.sendall(bytes.fromhex("000000 04 00 00000000 000000 04 01 00000000"))
    pings = bytes.fromhex("000008 06 00 00000000 0123456789abcdef") * 500
    deadline = time.monotonic() + PATIENCE
    with contextlib.suppress(ConnectionError):
        while not select.select([client], [], [], 0)[0] or client.recv(1 << 16):
            assert time.monotonic() < deadline, "it never hangs up"
            if select.select([], [client], [], 0.1)[1]:
                client.sendall(pings)


def test_interrupted(start: Callable[..., EtcdServer], read: Callable[..., Reader]) -> None:
    """The signal that ends a step which takes too long is heard at once, in a watch and in a request."""
    server = start()
    server.put("mysql/host", "db1")
    reader = read(server, "timeout=25", limit=0.5)
    reader.watched()
    server.freeze()
    for _ in range(3):  # the first in the watch, the others in the request that a new session begins with
        assert reader.until(lambda line: "data" not in line).get("overrun", 99) < 10


def test_restart(start: Callable[..., EtcdServer], read: Callable[..., Reader]) -> None:
    """A server that dies is an error, not an empty answer; back with its data all is read, back without, nothing."""
    server = start()
    server.put("mysql/host", "db1")
    reader = read(server)
    reader.watched()
    server.kill()
    assert reader.error() in {f"{server.address}: the connection was closed", f"{server.address}: UNAVAILABLE"}
    assert reader.error() == f"cannot connect to {server.address}: connection refused"
    server.start()
    server.put("mysql/host", "db2")
    reader.until(lambda line: line.get("data") == {"mysql": {"host": "db2"}})
    server.restart(keep_data=False)
    assert reader.until(lambda line: "data" in line and not line["same"])["data"] == {}
    server.put("mysql/host", "db3")
    reader.until(lambda line: line.get("data") == {"mysql": {"host": "db3"}})


def test_cluster(etcd_program: Path, tmp_path: Path, read: Callable[..., Reader]) -> None:
    """When the member that is watched dies another one is watched; without a majority it is an error that says so."""
    with EtcdCluster(etcd_program, tmp_path / "cluster") as cluster:
        one, two, three = cluster.members
        one.put("mysql/host", "db1")
        reader = read(None, f"timeout=3 wait=2 endpoints={','.join(member.address for member in cluster.members)}")
        reader.watched()
        one.kill()
        reader.error()
        two.patience = 0.5  # what is asked during an election may hang
        eventually(lambda: _put(two, "db2"), "a new leader")
        reader.until(lambda line: line.get("data") == {"mysql": {"host": "db2"}})
        three.kill()
        reader.until(lambda line: f"{two.address}: etcd has no leader" in line.get("error", ""))
        three.start()
        reader.until(lambda line: line.get("data") == {"mysql": {"host": "db2"}})


def _put(server: EtcdServer, value: str) -> int:
    try:
        return server.put("mysql/host", value)
    except Exception:  # noqa: BLE001 -- an election is under way
        return 0
