"""disco itself on a real Consul, a real etcd and a file: one interface of all three, late keys, outages, many of one type."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest
from lab.consul_server import ConsulServer
from lab.etcd_server import EtcdServer
from lab.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lab.site import Site

SERVERS: dict[str, type[ConsulServer | EtcdServer]] = {"consul": ConsulServer, "etcd": EtcdServer}
ADDRESS = {"consul": "consul.host", "etcd": "etcd.endpoints"}  # the option that takes host:port
SCHEMA = {
    "type": "object",
    "required": ["host", "port", "password"],
    "properties": {"host": {"type": "string"}, "port": {"type": "integer"}, "password": {"type": "string"}},
}


@pytest.fixture(scope="module")
def consul(consul_program: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsulServer]:
    with ConsulServer(consul_program, tmp_path_factory.mktemp("consul")) as server:
        yield server


@pytest.fixture(scope="module")
def etcd(etcd_program: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdServer]:
    with EtcdServer(etcd_program, tmp_path_factory.mktemp("etcd")) as server:
        yield server


@pytest.fixture
def own(backend: str, request: pytest.FixtureRequest, tmp_path: Path) -> ConsulServer | EtcdServer:
    """Give a server that is not started, for one test alone."""
    return SERVERS[backend](request.getfixturevalue(f"{backend}_program"), tmp_path / "server")


def mysql(site: Site) -> None:
    site.schema("mysql", SCHEMA)
    site.rules({"when": "mysql", "do": "see"})
    site.handler("see")


def test_one_interface_of_file_consul_and_etcd(site: Site, consul: ConsulServer, etcd: EtcdServer) -> None:
    """A file, Consul and etcd complete one interface; text is decoded by the schema, and the later source wins."""
    mysql(site)
    site.flat({"mysql": {"host": "from the file", "port": 1}})
    consul.put("one/mysql/port", "3306")
    consul.put("one/mysql/host", "from consul")
    etcd.put("one/mysql/password", "0123")
    site.cfg |= {"consul.host": consul.address, "consul.prefix": "one"}
    site.cfg |= {"etcd.endpoints": etcd.address, "etcd.prefix": "one"}
    running = site.run()
    assert running.output == "done\n", running.log
    assert site.seen()[-1] == {"mysql": {"host": "from consul", "port": 3306, "password": "0123"}}
    assert "0123" not in running.log


DEFAULTS = {
    "type": "object",
    "required": ["host", "port", "pool"],
    "properties": {
        "host": {"type": "string"},
        "port": {"type": "integer", "default": 3306},
        "pool": {"default": {}, "properties": {"size": {"type": "integer", "default": 10}, "min": {"type": "integer"}}},
    },
}


@pytest.mark.parametrize("order", [("flat", "consul", "etcd"), ("etcd", "consul", "flat")], ids=["file first", "file last"])
def test_a_default_never_wins_over_a_source(site: Site, consul: ConsulServer, etcd: EtcdServer, order: tuple[str, ...]) -> None:
    """What any of three sources has is what the handler gets, in whatever order they come; a default has the rest."""
    site.schema("mysql", DEFAULTS)
    site.rules({"when": "mysql", "do": "see"})
    site.handler("see")
    site.flat({"mysql": {"host": "h"}})
    consul.put("filled/mysql/port", "1")
    etcd.put("filled/mysql/pool/min", "2")
    reading = {
        "flat": {"flat.file": site.cfg.pop("flat.file")},
        "consul": {"consul.host": consul.address, "consul.prefix": "filled"},
        "etcd": {"etcd.endpoints": etcd.address, "etcd.prefix": "filled"},
    }
    for source in order:
        site.cfg |= reading[source]
    running = site.run()
    assert running.output == "done\n", running.log
    assert site.seen()[-1] == {"mysql": {"host": "h", "port": 1, "pool": {"min": 2, "size": 10}}}


@pytest.mark.parametrize("backend", ["consul", "etcd"])
@pytest.mark.parametrize("composed", [False, True], ids=["one source", "two sources"])
def test_a_default_goes_and_comes_with_the_key(
    site: Site, consul: ConsulServer, etcd: EtcdServer, backend: str, *, composed: bool
) -> None:
    """A key that comes takes the default's place, one that goes leaves it to it, and one that says the same runs nothing."""
    prefix = f"comes-{backend}-{composed}"
    site.schema("mysql", DEFAULTS)
    site.schema("late")
    site.rules({"when": "mysql", "do": "see"}, {"when": "late", "do": "true"})
    site.handler("see")
    server: ConsulServer | EtcdServer = consul if backend == "consul" else etcd
    site.cfg |= {ADDRESS[backend]: server.address, f"{backend}.prefix": prefix}
    if composed:
        site.flat({"mysql": {"user": "u"}})
    more = {"user": "u"} if composed else {}

    def wait_for(port: int, host: str) -> None:
        wanted = {"mysql": {"host": host, "port": port, "pool": {"size": 10}} | more}
        eventually(lambda: site.seen()[-1:] == [wanted], f"port {port} of {host}")

    server.put(f"{prefix}/mysql/host", "one")
    running = site.start()
    wait_for(3306, "one")
    server.put(f"{prefix}/mysql/port", "1")
    wait_for(1, "one")
    server.delete(f"{prefix}/mysql/port")
    wait_for(3306, "one")
    runs = len(site.seen())
    server.put(f"{prefix}/mysql/port", "3306")
    server.put(f"{prefix}/late/a", "1")
    assert running.wait(patience=30) == 0, running.log
    assert len(site.seen()) == runs


@pytest.mark.parametrize("backend", ["consul", "etcd"])
def test_late_key(site: Site, consul: ConsulServer, etcd: EtcdServer, backend: str) -> None:
    """A key that arrives late arrives as an event, long before the blocking query's wait is over; a transaction arrives whole."""
    mysql(site)
    server: ConsulServer | EtcdServer = consul if backend == "consul" else etcd
    site.cfg[ADDRESS[backend]] = server.address
    site.cfg[f"{backend}.prefix"] = f"late-{backend}"
    server.put(f"late-{backend}/mysql/host", "h")
    running = site.start()
    running.wait_for("first answer")
    running.send(signal.SIGUSR1)
    running.wait_for(rf"/port is required \({backend}: late-{backend}/mysql at ")
    server.transact({f"late-{backend}/mysql/port": "1", f"late-{backend}/mysql/password": "p"})
    assert running.wait(patience=30) == 0, running.log
    assert site.seen() == [{"mysql": {"host": "h", "port": 1, "password": "p"}}]


@pytest.mark.parametrize("backend", ["consul", "etcd"])
def test_server_that_is_not_there_yet(site: Site, own: ConsulServer | EtcdServer, backend: str) -> None:
    """A server that is started after disco is found; until then the log says where nobody answers."""
    mysql(site)
    site.cfg[ADDRESS[backend]] = own.address
    running = site.start(options=())
    running.wait_for(f"source {backend}: .*refused")
    with own as server:
        server.transact({"mysql/host": "h", "mysql/port": "1", "mysql/password": "p"})
        assert running.wait() == 0, running.log
    assert site.seen() == [{"mysql": {"host": "h", "port": 1, "password": "p"}}]


def test_services(site: Site, consul: ConsulServer) -> None:
    """A healthy service is an interface, composed with the keys of that name."""
    site.schema("web", {"required": ["address", "port", "path"], "properties": {"meta": {"properties": {"w": {"type": "number"}}}}})
    site.rules({"when": "web", "do": "see"})
    site.handler("see")
    site.cfg |= {"consul.host": consul.address, "consul.services": "web=shop", "consul.prefix": "svc"}
    consul.put("svc/web/path", "/cart")
    running = site.start()
    running.wait_for("source consul/web: first answer")
    consul.register("shop", address="10.1.1.1", port=80, meta={"w": "1.5"})
    assert running.wait() == 0, running.log
    web = site.seen()[-1]["web"]
    assert (web["address"], web["port"], web["path"], web["meta"]) == ("10.1.1.1", 80, "/cart", {"w": 1.5})


def test_services_alone(site: Site, consul: ConsulServer) -> None:
    """With services and without a prefix no key is read, which is logged once with why; a service that is down is told as that."""
    site.schema("web", {"required": ["port"]})
    site.rules({"when": "web", "do": "see"})
    site.handler("see")
    site.cfg |= {"consul.host": consul.address, "consul.services": "web=alone", "consul.wait": "1s"}
    consul.put("web/port", "1")
    consul.register("alone", port=81, status="critical")
    running = site.start()
    running.wait_for(r"source consul/web: service alone has no passing instance \(1 registered, none passing\)")
    running.send(signal.SIGUSR1)
    running.wait_for(r"interface web is missing: no source has it \(consul/web: .*: service alone has no passing instance \(1 reg")
    consul.register("alone", port=81)
    assert running.wait() == 0, running.log
    assert site.seen()[-1]["web"]["port"] == 81
    reason = "keys are not read, since services is set and prefix is not; kv=true reads them"
    assert running.log.count(f"source consul: {reason}") == 1
    assert "source consul: first answer" not in running.log


def test_services_with_tags(site: Site, consul: ConsulServer) -> None:
    """One service gives two interfaces by tags, each by a process of its own; checks with new outputs make no rule run again."""
    for name in ("main", "all", "end"):
        site.schema(name)
        site.rules({"when": name, "do": name}, file=f"{name}.rules")
        site.handler(name)
    site.flat({})
    site.cfg |= {
        "consul.host": consul.address,
        "consul.services": "main=mixed?tag=main&tag=v2,all=mixed?dc=dc1",
        "disco.settle": "0",
    }
    for number, tags in enumerate((["main", "v2"], ["main"])):
        consul.register("mixed", name=f"m-{number}", Port=number, Tags=tags)
    running = site.start()
    eventually(lambda: site.seen("main") and site.seen("all"), "both interfaces")
    assert running.child("consul/main") != running.child("consul/all")
    check = {"Name": "alive", "CheckID": "check-m-0", "Status": "passing", "ServiceID": "m-0"}
    for number in range(3):
        new = {"Node": "node-1", "Address": "10.9.0.1", "SkipNodeUpdate": True, "Check": {**check, "Output": str(number)}}
        read = running.log.count("read 1 passing instance")
        consul.request("PUT", "catalog/register", new)
        eventually(lambda read=read: running.log.count("read 1 passing instance") > read, "an answer")  # type: ignore[misc]
    consul.register("mixed", name="m-0", Port=0, Tags=["main", "v2"], Weights={"Passing": 3, "Warning": 1})
    eventually(lambda: len(site.seen("main")) > 1 and len(site.seen("all")) > 1, "the weight")
    site.flat({"end": {}})
    assert running.wait() == 0, running.log
    found = {name: [[one["weight"] for one in data[name]["instances"]] for data in site.seen(name)] for name in ("main", "all")}
    assert found == {"main": [[1], [3]], "all": [[1, 1], [3, 1]]}


def test_several_of_one_type(site: Site, consul: ConsulServer) -> None:
    """One type serves several namespaces by `<ns>.type`, each with its options."""
    mysql(site)
    for name in ("east", "west"):
        site.cfg |= {f"{name}.type": "consul", f"{name}.host": consul.address, f"{name}.prefix": name}
    consul.transact({"east/mysql/host": "east", "east/mysql/port": "1", "west/mysql/host": "west", "west/mysql/password": "p"})
    running = site.run()
    assert running.process.returncode == 0, running.log
    assert site.seen()[-1] == {"mysql": {"host": "west", "port": 1, "password": "p"}}


@pytest.mark.parametrize("backend", ["consul", "etcd"])
def test_frozen_server(site: Site, own: ConsulServer | EtcdServer, backend: str) -> None:
    """A server that freezes keeps nobody else from anything; what is written after it thaws arrives."""
    mysql(site)
    site.schema("app")
    site.rules({"when": "mysql", "do": "see"}, {"when": "app", "do": "other"})
    site.handler("other")
    site.cfg[ADDRESS[backend]] = own.address
    site.cfg |= {f"{backend}.wait": "1s", f"{backend}.timeout": "1s"}
    site.flat({})
    with own as server:
        server.put("mysql/host", "h")
        running = site.start()
        running.wait_for(f"source {backend}: first answer")
        server.freeze()
        running.wait_for(rf"source {backend}: .*its last data is kept")
        site.flat({"app": {"n": 1}})
        eventually(lambda: site.seen("other") == [{"app": {"n": 1}}])
        server.thaw()
        server.transact({"mysql/port": "1", "mysql/password": "p"})
        assert running.wait() == 0, running.log
    assert site.seen()[-1] == {"mysql": {"host": "h", "port": 1, "password": "p"}}


@pytest.mark.parametrize("backend", ["consul", "etcd"])
def test_missing_library(site: Site, backend: str) -> None:
    """A source whose client library is not installed says which command installs it, after a typing error; status 78."""
    mysql(site)
    site.cfg[f"{backend}.host"] = "127.0.0.1"
    module = {"consul": "consul", "etcd": "etcd3"}[backend]
    hide = (
        "import sys, importlib.util as u\n"
        "find = u.find_spec\n"
        f"u.find_spec = lambda name, package=None: None if name == {module!r} else find(name, package)\n"
    )
    site.cfg[f"{backend}.hots"] = "127.0.0.1"
    running = site.start(options=(), prologue=hide)
    assert running.wait() == 78
    assert f"did you mean {backend}.host?" in running.log.splitlines()[0]
    assert f"pip install 'disco-entrypoint[{backend}]'" in running.log
