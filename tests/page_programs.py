"""What a page needs of the machine: servers that run beside it, programs that its commands start, free ports."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING, NamedTuple

import pytest
from lab.consul_server import ConsulServer
from lab.etcd_server import EtcdServer
from lab.postgres_server import PostgresServer
from lab.servers import free_ports

from tests.conftest import need_program
from tests.pages import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from lab.servers import Server

SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"
POSTGRES_PASSWORD = "correct-horse"  # of the database `app`, and of its owner, as pages tell to make them
ETCDCTL = """\
#!{python}
import sys
sys.path[:0] = ["{tools}"]
from lab.etcd_server import EtcdServer
server = EtcdServer("etcd", None)
server.port = {port}
_, command, key, value = sys.argv
assert command == "put"
server.put(key, value)
print("OK")
"""  # the distribution's server comes without its client


class Needs(NamedTuple):
    """What a page needs. servers: by their usual ports. ports: others that its commands listen on."""

    servers: Sequence[int] = ()
    programs: Sequence[str] = ()
    ports: Sequence[int] = ()
    root: bool = False


CONSUL, ETCD, POSTGRES = 8500, 2379, 5432
NEEDS = {
    "docs/sources/consul.md": Needs([CONSUL]),
    "docs/sources/etcd.md": Needs([ETCD]),
    "examples/haproxy/README.md": Needs([CONSUL], ["haproxy", "curl"], [8080]),
    "examples/kubernetes/README.md": Needs([], ["curl"], [8080]),
    "examples/migrate/README.md": Needs([POSTGRES]),
    "examples/nginx/README.md": Needs([ETCD], ["nginx", "curl"], [8080]),
    "examples/pgbouncer/README.md": Needs([ETCD, POSTGRES], ["pgbouncer"], [6432], root=True),
    "examples/secret-file/README.md": Needs([CONSUL, POSTGRES], root=True),
    "examples/twelve-factor/README.md": Needs([CONSUL], ["curl"], [8080]),
}


@contextlib.contextmanager
def provide(page: str, folder: Path) -> Iterator[tuple[Mapping[str, str], Mapping[int, int]]]:
    """Start what a page needs; give the environment of its commands, and each port as the page says with the real one.

    A program that cannot be had skips the test, but fails in CI.
    """
    needs = NEEDS.get(page, Needs())
    if needs.root and os.geteuid() != 0:
        pytest.skip("its commands change their user, which root alone may")
    ports = dict(zip(needs.ports, free_ports(len(needs.ports)), strict=True))
    environ = {}
    clients = folder / "clients"
    clients.mkdir()
    for name in needs.programs:
        (clients / name).symlink_to(need_program(name))
    with contextlib.ExitStack() as stack:
        for usual in needs.servers:
            server: Server
            if usual == CONSUL:
                server = stack.enter_context(ConsulServer(need_program("consul"), folder / "consul"))
                (clients / "consul").symlink_to(need_program("consul"))
                environ["CONSUL_HTTP_ADDR"] = server.address
            elif usual == ETCD:
                server = stack.enter_context(EtcdServer(need_program("etcd"), folder / "etcd"))
                (clients / "etcdctl").write_text(ETCDCTL.format(python=sys.executable, tools=ROOT / "tools", port=server.port))
                (clients / "etcdctl").chmod(0o755)
            else:
                need_program("initdb")
                (clients / "psql").symlink_to(need_program("psql"))
                server = stack.enter_context(PostgresServer(need_program("postgres")))
                server.add_database("app", POSTGRES_PASSWORD)
            ports[usual] = server.port
        yield environ | {"PATH": f"{clients}:{SYSTEM_PATH}"}, ports
