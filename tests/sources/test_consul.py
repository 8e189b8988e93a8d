"""The Consul source against real servers, and against one of our own for what a real one cannot be made to do."""

from __future__ import annotations

import base64
import contextlib
import gzip
import json
import logging
import os
import random
import socket
import subprocess
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self

import pytest
from lab.consul_server import ConsulServer
from lab.servers import make_certificates
from lab.waiting import eventually
from requests.adapters import HTTPAdapter

from disco.site import config
from disco.sources import Context, InvalidValue, Options, SourceError
from disco.sources.consul import SOURCE
from disco.sources.consul_options import locate

if TYPE_CHECKING:
    from pathlib import Path

    import requests

PATIENCE = 30.0  # seconds; what takes longer on a busy machine is taken to hang
SECRET = "s3cr3t-t0k3n"


def load(pairs: str, environ: dict[str, str] | None = None) -> Options:
    settings, problems = config.load(pairs, None, environ or {})
    assert not problems
    return settings.sources[0].options


def problems(pairs: str) -> list[str]:
    """Return what is wrong with options: their types', then the source's own."""
    settings, found = config.load(pairs, None, {})
    return list(map(str, found or SOURCE.check(settings.sources[0].options)))


class Follower:
    """One generator, whose steps are made here in the main thread, as in a source's own process."""

    def __init__(
        self,
        pairs: str,
        *,
        part: str = "",
        interfaces: tuple[str, ...] = ("web", "db"),
        interval: float = 0.05,
        memory: dict[str, Any] | None = None,
        environ: dict[str, str] | None = None,
    ) -> None:
        self.options = load(pairs, environ)
        self.note = ""
        context = Context(
            name="consul",
            part=part,
            options=self.options,
            interval=interval,
            interfaces=frozenset(interfaces),
            memory={} if memory is None else memory,
            note=lambda text: setattr(self, "note", text),
        )
        self.generator = SOURCE.watch(context)

    def step(self, meanwhile: Callable[[], object] = lambda: None) -> dict[str, Any]:
        """Return what the next step yields; meanwhile: what is done beside it, in a thread."""
        with ThreadPoolExecutor(1) as threads:
            done = threads.submit(meanwhile)
            try:
                found = next(self.generator)
            finally:
                done.result()
        return found  # type: ignore[return-value]  # the very object

    def until(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Step until what is yielded is wanted: a store may answer before all of a change is there."""
        deadline = time.monotonic() + PATIENCE
        while not wanted(found := self.step()):
            assert time.monotonic() < deadline, f"never came; last: {found}"
        return found

    def fail(self) -> SourceError:
        """Return the error that the step ends with."""
        with pytest.raises(SourceError) as caught:
            self.step()
        return caught.value

    def close(self) -> None:
        self.generator.close()  # type: ignore[attr-defined]


@pytest.fixture
def follow() -> Iterator[Callable[..., Follower]]:
    """Make followers that are closed at the end."""
    made: list[Follower] = []

    def make(pairs: str, **details: Any) -> Follower:
        made.append(Follower(pairs, **details))
        return made[-1]

    yield make
    for follower in made:
        follower.close()


# Real servers.


@pytest.fixture(scope="module")
def shared(consul_program: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsulServer]:
    with ConsulServer(consul_program, tmp_path_factory.mktemp("consul")) as server:
        yield server


@pytest.fixture
def consul(shared: ConsulServer) -> ConsulServer:
    """Give the shared server, with an empty store."""
    shared.delete("", recurse=True)
    return shared


@pytest.fixture(scope="module")
def guarded(consul_program: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsulServer]:
    with ConsulServer(consul_program, tmp_path_factory.mktemp("consul-acl"), acl=True) as server:
        server.put("app/web/port", "80")
        server.register("pg", Port=5432)
        yield server


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_certificates(tmp_path_factory.mktemp("certificates"), "IP:127.0.0.1,DNS:other.test")


@pytest.fixture(scope="module")
def secure(consul_program: Path, certificates: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsulServer]:
    with ConsulServer(consul_program, tmp_path_factory.mktemp("consul-tls"), certificates=certificates) as server:
        server.put("web/port", "80")
        yield server


Follow = Callable[..., Follower]


def test_keys_become_nested_mappings_below_the_prefix(consul: ConsulServer, follow: Follow) -> None:
    """Keys below the prefix become nested mappings of text, and those beside it are not read."""
    consul.transact({"app/web/port": "80", "app/web/tls/on": "true", "app/db/host": "ä b", "apple/web/port": "1", "app": "x"})
    consul.request("PUT", "kv/app/web/empty/", b"")
    assert follow(f"consul.host={consul.address}:consul.prefix=/app/").step() == {
        "web": {"port": "80", "tls": {"on": "true"}},
        "db": {"host": "ä b"},
    }


def test_without_prefix_everything_is_read(consul: ConsulServer, follow: Follow) -> None:
    """An empty prefix reads all keys."""
    consul.put("web/port", "80")
    assert follow(f"consul.host=http\\://{consul.address}").step() == {"web": {"port": "80"}}


def test_bytes_that_are_no_text_make_their_value_unusable(consul: ConsulServer, follow: Follow) -> None:
    """A value that is no UTF-8 is marked, and an empty one is the empty text."""
    consul.put("web/key", b"\xff\xfe")
    consul.put("web/none", "")
    found = follow(f"consul.host={consul.address}").step()["web"]
    assert isinstance(found["key"], InvalidValue)
    assert found["none"] == ""


def test_of_unknown_interfaces_only_the_names_are_kept(consul: ConsulServer, follow: Follow) -> None:
    """An interface without a schema is named, and its values are not kept."""
    consul.transact({"web/port": "80", "wbe/port": "81", "top": "82"})
    assert follow(f"consul.host={consul.address}").step() == {"web": {"port": "80"}, "wbe": {}, "top": {}}


def test_a_change_arrives_while_the_query_waits(consul: ConsulServer, follow: Follow, monkeypatch: pytest.MonkeyPatch) -> None:
    """A change ends the blocking query long before its wait is over, and so does a deletion."""
    waiting = note_blocking(monkeypatch)
    consul.put("app/web/port", "80")
    follower = follow(f"consul.host={consul.address}:consul.prefix=app:consul.wait=9m")
    first = follower.step()

    def then(change: Callable[[], None]) -> None:
        assert waiting.wait(PATIENCE)
        waiting.clear()
        change()

    second = follower.step(lambda: then(lambda: consul.put("app/web/port", "81")))
    assert (first, second) == ({"web": {"port": "80"}}, {"web": {"port": "81"}})
    assert follower.step(lambda: then(lambda: consul.delete("app/web/port"))) == {}


def note_blocking(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Return what is set when a blocking query is about to be sent."""
    waiting = threading.Event()
    send = HTTPAdapter.send

    def noted(adapter: HTTPAdapter, request: requests.PreparedRequest, **more: Any) -> requests.Response:
        if "index=" in str(request.url):
            waiting.set()
        return send(adapter, request, **more)

    monkeypatch.setattr(HTTPAdapter, "send", noted)
    return waiting


def test_nothing_new_yields_the_same_object(consul: ConsulServer, follow: Follow) -> None:
    """When the wait ends without a change, the very same object is yielded; also when other keys or flags changed."""
    consul.put("app/web/port", "80")
    follower = follow(f"consul.host={consul.address}:consul.prefix=app:consul.wait=200ms")
    first = follower.step()
    assert follower.step() is first
    consul.request("PUT", "kv/app/web/port?flags=42", b"80")
    assert follower.step() is first


def test_a_transaction_arrives_whole(consul: ConsulServer, follow: Follow) -> None:
    """What one transaction writes is never seen in part."""
    consul.put("app/web/number", "0")
    follower = follow(f"consul.host={consul.address}:consul.prefix=app:consul.wait=5s", interval=0.01)

    def write() -> None:
        for number in range(1, 40):
            consul.transact({f"app/web/{name}": str(number) for name in ("number", "a", "b", "c")}, ["app/web/z"])

    writer = threading.Thread(target=write)
    writer.start()
    seen = [follower.step()["web"]]
    while seen[-1]["number"] != "39":
        seen.append(follower.step()["web"])
    writer.join()
    assert all(len(set(web.values())) == 1 for web in seen)
    assert len(seen) > 2


def test_passing_instances_become_an_interface(consul: ConsulServer, follow: Follow) -> None:
    """Passing instances come ordered by node, then service id, with the node's address where they have none."""
    consul.register("pg", node="b", name="pg-1", node_address="10.9.0.2", Port=1)
    consul.register("pg", node="a", name="pg-9", Address="10.1.1.9", Port=9, Tags=["x", "y"], Meta={"k": "v"})
    consul.register("pg", node="a", name="pg-3", Address="10.1.1.3", Port=3)
    consul.register("pg", node="a", name="pg-2", Address="10.1.1.2", Port=2, status="critical")
    follower = follow(f"consul.host={consul.address}:consul.services=web,db=pg:consul.wait=9m", part="db")
    instances = [
        {"address": "10.1.1.3", "port": 3, "tags": [], "meta": {}},
        {"address": "10.1.1.9", "port": 9, "tags": ["x", "y"], "meta": {"k": "v"}},
        {"address": "10.9.0.2", "port": 1, "tags": [], "meta": {}},
    ]
    assert follower.step() == {"db": {**instances[0], "instances": instances}}
    consul.register("pg", node="a", name="pg-3", Address="10.1.1.3", Port=3, status="critical")
    found = follower.until(lambda found: len(found["db"]["instances"]) == 2)
    assert found == {"db": {**instances[1], "instances": instances[1:]}}
    consul.deregister("pg-9", "a")
    consul.deregister("pg-1", "b")
    assert follower.until(lambda found: not found) == {}


def test_a_service_without_a_passing_instance_is_absent(consul: ConsulServer, follow: Follow) -> None:
    """A service without a passing instance yields nothing, which is an answer; the note says how many there are."""
    follower = follow(f"consul.host={consul.address}:consul.services=web:consul.wait=9m", part="web")
    assert follower.step() == {}
    unseen = "no token is set, and without one rights may be missing"
    assert follower.note == f"service web has no passing instance (none registered: {unseen})"
    for number in range(3):
        consul.register("web", name=f"web-{number}", status="critical" if number else "warning")
    until = "service web has no passing instance (3 registered, none passing)"
    assert eventually(lambda: follower.step() == {} and follower.note == until)
    consul.register("web", name="web-1", status="passing")
    assert follower.until(lambda found: "web" in found)
    assert follower.note == ""
    for number in range(3):
        consul.deregister(f"web-{number}")


def test_instances_that_cannot_be_counted_hide_no_answer(follow: Follow) -> None:
    """Where only the count of a service's instances fails, its answer counts all the same."""
    with Fake(Reply([]), Reply(status=500), Reply([]), Reply(b"{")) as fake:
        for reason in (": answered 500 internal server error", ""):
            follower = follow(f"{fake.pairs}:consul.services=web", part="web")
            assert follower.step() == {}
            assert follower.note == f"service web has no passing instance (the others cannot be counted{reason})"


@pytest.mark.parametrize("mode", ["default", "stale", "consistent"])
def test_each_consistency_mode_reads(consul: ConsulServer, follow: Follow, mode: str) -> None:
    """Keys and services are read, and followed, in each consistency mode."""
    consul.put("web/port", "80")
    consul.register("pg", node="a", name="pg-1", Port=5432)
    common = f"consul.host={consul.address}:consul.consistency={mode}:consul.wait=200ms"
    keys, service = follow(common), follow(f"{common}:consul.services=db=pg", part="db")
    assert keys.step() is keys.step() == {"web": {"port": "80"}}
    assert service.step()["db"]["port"] == 5432
    consul.put("web/port", "81")
    assert keys.until(lambda found: found["web"]["port"] == "81")
    consul.deregister("pg-1", "a")


def test_an_unknown_datacenter_is_named(consul: ConsulServer, follow: Follow) -> None:
    """A datacenter that Consul does not know is an error that names it."""
    error = follow(f"consul.host={consul.address}:consul.dc=moon").fail()
    assert str(error) == "no path to datacenter moon"
    consul.put("web/port", "80")
    assert follow(f"consul.host={consul.address}:consul.dc=dc1").step() == {"web": {"port": "80"}}


def test_tokens_and_rights_are_told_apart(guarded: ConsulServer, follow: Follow, tmp_path: Path) -> None:
    """A token opens what it may read; none, an unknown one and one without the rights are told apart."""
    right = guarded.make_token(
        'key_prefix "app/" { policy = "list" } service "pg" { policy = "read" } node_prefix "" { policy = "read" }'
    )
    wrong = guarded.make_token('key_prefix "other/" { policy = "list" }')
    common = f"consul.host={guarded.address}:consul.prefix=app:consul.services=db=pg"
    assert follow(f"{common}:consul.token={right}").step() == {"web": {"port": "80"}}
    assert follow(f"{common}:consul.token={right}", part="db").step()["db"]["port"] == 5432
    assert "no token is set" in str(follow(common).fail())
    unknown = "11111111-2222-3333-4444-555555555555"
    assert str(follow(f"{common}:consul.token={unknown}").fail()) == "403: Consul does not know the token"
    reason = "403: permission denied (the token lacks rights for key prefix 'app/')"
    assert str(follow(f"{common}:consul.token={wrong}").fail()) == reason
    assert follow(f"{common}:consul.token={wrong}", part="db").step() == {}  # Consul does not tell it from no instance
    kept = tmp_path / "token"
    kept.write_text(wrong)
    follower = follow(f"{common}:consul.token_file={kept}")
    assert str(follower.fail()) == reason
    kept.write_text(right + "\n")
    again = follow(f"{common}:consul.token_file={kept}")
    assert again.step() == {"web": {"port": "80"}}


def test_an_empty_prefix_is_told_with_what_may_be_wrong(consul_program: Path, tmp_path: Path, follow: Follow) -> None:
    """Where Consul answers without rights as if it were empty, the note names the prefix and the token; keys take it away."""
    hidden = {"acl": {"enabled": True, "default_policy": "deny"}}
    with ConsulServer(consul_program, tmp_path / "consul", acl=True, configuration=hidden) as server:
        server.put("app/web/port", "80")
        token = server.make_token('key_prefix "other/" { policy = "read" }')
        follower = follow(f"consul.host={server.address}:consul.prefix=app")
        assert follower.step() == {}
        assert follower.note == "no key below 'app/' (is the prefix right? no token is set, and without one rights may be missing)"
        follower = follow(f"consul.host={server.address}:consul.token={token}")
        assert follower.step() == {}
        assert follower.note == "no key at all (is the address right? the token may lack rights)"
        follower = follow(f"consul.host={server.address}:consul.prefix=app:consul.token={server.token}")
        follower.step()
        assert follower.note == ""


def test_tls_with_client_certificate(secure: ConsulServer, certificates: Path, follow: Follow) -> None:
    """TLS works with the authority and a client certificate, and each thing that is wrong has its own reason."""
    own = f"consul.host=https\\://{secure.address}:consul.ca_cert={certificates}/ca.pem"
    client = f"consul.cert={certificates}/client.pem:consul.key={certificates}/client.key"
    assert follow(f"{own}:{client}").step() == {"web": {"port": "80"}}
    assert follow(f"consul.host=https\\://{secure.address}:consul.verify=no:{client}").step() == {"web": {"port": "80"}}
    assert "client certificate" in str(follow(own).fail())
    untrusted = follow(f"consul.host=https\\://{secure.address}:{client}").fail()
    assert str(untrusted) == "TLS: certificate is signed by none that is trusted here (ca_cert)"
    named = f"consul.host=localhost:consul.port={secure.port}:consul.scheme=https:consul.ca_cert={certificates}/ca.pem"
    assert str(follow(f"{named}:{client}").fail()) == "TLS: certificate is for another name"
    crossed = f"{own}:consul.cert={certificates}/client.pem:consul.key={certificates}/server.key"
    assert str(follow(crossed).fail()) == "TLS: key does not belong to cert"
    assert str(follow(f"{own}/no").fail()).startswith("ca_cert: ")
    missing = str(follow(f"{own}:consul.cert={certificates}/none").fail())
    assert missing == f"cert: {certificates}/none: No such file or directory"


def test_http_and_https_taken_for_each_other(secure: ConsulServer, consul: ConsulServer, follow: Follow) -> None:
    """Plain HTTP to a TLS port, and TLS to a plain port, are told with what to set."""
    assert str(follow(f"consul.host={secure.address}").fail()) == "this port speaks TLS: set scheme to https"
    error = follow(f"consul.host={consul.address}:consul.scheme=https").fail()
    assert str(error) == "TLS: this port does not speak TLS: set scheme to http"


def test_a_frozen_server_is_an_error_in_time(consul_program: Path, tmp_path: Path, follow: Follow) -> None:
    """A server that keeps its connections and says nothing is given up in time, and read again when it goes on."""
    with ConsulServer(consul_program, tmp_path / "consul") as server:
        server.put("web/port", "80")
        follower = follow(f"consul.host={server.address}:consul.timeout=1s:consul.wait=1s")
        follower.step()
        server.freeze()
        try:
            assert str(follower.fail()) == "no answer within 2.06 s"
            assert str(follow(f"consul.host={server.address}:consul.timeout=200ms").fail()) == "no answer within 200 ms"
        finally:
            server.thaw()
        assert follow(f"consul.host={server.address}").step() == {"web": {"port": "80"}}


def test_a_restart_with_and_without_data(
    consul_program: Path, tmp_path: Path, follow: Follow, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that dies is an error; one that lost its data is read anew, though its index is lower than the last."""
    waiting = note_blocking(monkeypatch)
    with ConsulServer(consul_program, tmp_path / "consul") as server:
        for number in range(200):
            server.put("web/port", str(number))
        common = f"consul.host={server.address}:consul.wait=1s"
        follower = follow(common)
        follower.step()
        waiting.clear()

        def kill() -> None:
            assert waiting.wait(PATIENCE)
            server.kill()

        with pytest.raises(SourceError, match=r"closed the connection|connection refused"):
            follower.step(kill)
        assert str(follow(common).fail()) == f"cannot connect to {server.address}: connection refused"
        server.start()
        follower = follow(common)
        assert follower.step() == {"web": {"port": "199"}}
        server.restart(keep_data=False)
        server.put("web/port", "new")
        caplog.set_level(logging.DEBUG, "disco")
        assert follower.until(lambda found: found["web"]["port"] != "199") == {"web": {"port": "new"}}
        assert "reading anew" in caplog.text


def test_a_restart_gives_nothing_older(consul_program: Path, tmp_path: Path, follow: Follow) -> None:
    """The first answer of a real server that is killed and started again is what it had, however soon it is asked."""
    memory: dict[str, Any] = {}
    with ConsulServer(consul_program, tmp_path / "consul") as server:
        common = f"consul.host={server.address}"
        for written in range(200, 801, 200):
            for number in range(written - 199, written + 1):
                server.put("web/port", str(number))
            follow(common, memory=memory).step()
            server.kill()
            server.launch()

            def ask() -> dict[str, Any] | None:
                try:
                    return follow(common, memory=memory).step()
                except SourceError:
                    return None

            assert eventually(ask) == {"web": {"port": str(written)}}
            server.wait_until_ready()


def test_too_many_connections_are_told(consul_program: Path, tmp_path: Path, follow: Follow) -> None:
    """Consul's limit of connections from one address is told as what it is."""
    limits = {"limits": {"http_max_conns_per_client": 2}}
    with ConsulServer(consul_program, tmp_path / "consul", configuration=limits) as server, contextlib.ExitStack() as held:
        reason, tries = "", 0
        while not reason and tries < 20:  # Consul may still count those of the server's start and refuse these
            tries += 1
            held.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            follower = follow(f"consul.host={server.address}")
            try:
                follower.step()
            except SourceError as error:
                reason = str(error)
            follower.close()
    assert "200" in reason
    assert "address" in reason


def test_nothing_secret_is_logged(consul: ConsulServer, follow: Follow, caplog: pytest.LogCaptureFixture) -> None:
    """At level DEBUG no value, token or password of a URL is logged, by disco or by the libraries."""
    caplog.set_level(logging.DEBUG)
    consul.put("web/password", "hunter2-value")
    pairs = f"consul.host=http\\://joe\\:hunter2-proxy@{consul.address}:consul.token={SECRET}:consul.wait=100ms"
    follower = follow(pairs)
    follower.step()
    follower.step()
    assert "hunter2" not in caplog.text
    assert SECRET not in caplog.text
    assert "answered 200" in caplog.text
    bad = follow(f"consul.host=http\\://joe\\:hunter2-proxy@127.0.0.1\\:1:consul.token={SECRET}").fail()
    assert str(bad) == "cannot connect to 127.0.0.1:1: connection refused"


# A server of our own.


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


def test_a_lower_index_starts_over(follow: Follow) -> None:
    """After an index that went backwards the next request has none, and what it answers is what counts."""
    with Fake(Reply(index=50), Reply(web("81"), index=7), Reply(web("82"), index=8), Reply(web("83"), index=9)) as fake:
        follower = follow(fake.pairs)
        found = [follower.step()["web"]["port"] for _ in range(3)]
    assert found == ["80", "82", "83"]
    assert [request.query.get("index") for request in fake.requests] == [None, "50", None, "8"]


def test_the_index_is_the_headers_and_never_below_one(follow: Follow) -> None:
    """The next index is the header's, not an item's, and 1 where that is 0 or less."""
    with Fake(Reply(index=0), Reply(index=-5), Reply(index=12), Reply(index=12)) as fake:
        follower = follow(fake.pairs)
        for _ in range(4):
            follower.step()
    assert [request.query.get("index") for request in fake.requests] == [None, "1", "1", "12"]


def test_after_an_error_there_is_no_index(follow: Follow) -> None:
    """A generator that is called anew after an error asks without an index."""
    with Fake(Reply(), Reply(status=500), Reply()) as fake:
        follower = follow(fake.pairs)
        follower.step()
        assert str(follower.fail()) == "answered 500 internal server error"
        follow(fake.pairs).step()
    assert [request.query.get("index") for request in fake.requests] == [None, "10", None]


def test_an_answer_older_than_one_before_an_error_is_asked_of_the_leader(follow: Follow) -> None:
    """A server that has restarted and answers with less than was known is asked with `consistent`; what that gives counts."""
    memory: dict[str, Any] = {}
    before = Reply(web("162"), index=162), Reply(status=500)
    restarting = Reply(web("122"), index=122), Reply(web("162"), index=162), Reply(web("163"), index=163)
    restored = Reply(status=500), Reply(web("9"), index=9), Reply(web("8"), index=8), Reply(web("10"), index=10)
    with Fake(*before, *restarting, *restored) as fake:
        follower = follow(fake.pairs, memory=memory)
        found = [follower.step()]
        follower.fail()
        follower = follow(fake.pairs, memory=memory)
        found += [follower.step(), follower.step()]
        follower.fail()
        follower = follow(fake.pairs, memory=memory)
        found += [follower.step(), follower.step()]
    assert [data["web"]["port"] for data in found] == ["162", "162", "163", "8", "10"]
    asked = [(request.query.get("index"), "consistent" in request.query) for request in fake.requests]
    first, again = (None, False), (None, True)
    assert asked == [first, ("162", False), first, again, ("162", False), ("163", False), first, again, ("8", False)]


def test_an_older_answer_without_the_leaders_word_is_trouble(follow: Follow) -> None:
    """Where the consistent read fails the older answer is not published, and the next call asks again."""
    memory: dict[str, Any] = {}
    old = Reply(web("old"), index=122)
    with Fake(Reply(index=162), old, Reply(b"No cluster leader", 500), old, Reply(web("new"), index=162)) as fake:
        follow(fake.pairs, memory=memory).step()
        assert str(follow(fake.pairs, memory=memory).fail()).startswith("Consul has no cluster leader")
        assert follow(fake.pairs, memory=memory).step() == {"web": {"port": "new"}}


@pytest.mark.parametrize("changed", ["consul.token=other", "consul.dc=other", "consul.host=localhost"])
def test_another_store_starts_without_memory(follow: Follow, changed: str) -> None:
    """With another address, datacenter or token the highest index counts no more, also when the former one comes back."""
    memory: dict[str, Any] = {}
    with Fake(Reply(index=162), Reply(index=7), Reply(index=8)) as fake:
        common = f"{fake.pairs}:consul.token=mine"
        for pairs in (common, f"{common}:{changed}", common):
            follow(pairs, memory=memory).step()
    assert not any("consistent" in request.query for request in fake.requests)
    assert len(fake.requests) == 3


def test_retry_after_is_handed_on(follow: Follow) -> None:
    """The server's Retry-After is handed on, as seconds or as a date; nonsense is none."""
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=1000), usegmt=True)
    past = format_datetime(datetime.now(UTC) - timedelta(seconds=1000), usegmt=True)
    replies = [Reply(status=429, headers={"Retry-After": value}) for value in ("7", date, past, "soon")]
    with Fake(*replies, Reply(status=503)) as fake:
        errors = [follow(fake.pairs).fail() for _ in range(5)]
    assert str(errors[0]) == "answered 429 too many requests"
    waits = [error.retry_after for error in errors]
    assert waits[0] == 7
    assert waits[1] is not None
    assert 500 < waits[1] <= 1000
    assert waits[2:] == [0, None, None]


def test_a_body_that_is_an_error_is_not_shown(follow: Follow) -> None:
    """Of an error's body only known phrases are told, in disco's own words."""
    with Fake(Reply(b"No cluster leader", 500), Reply(b"hunter2", 500), Reply(b"hunter2", 418), Reply(b"", 599)) as fake:
        reasons = [str(follow(fake.pairs).fail()) for _ in range(4)]
    assert reasons == [
        "Consul has no cluster leader (are enough of its servers up?)",
        "answered 500 internal server error",
        "answered 418 i'm a teapot",
        "answered 599",
    ]


def test_newer_servers_say_that_there_are_too_many_connections(follow: Follow) -> None:
    """Newer servers answer a connection too many, and what they mean is told."""
    body = b"Your IP is issuing too many concurrent connections, please rate limit your calls\n"
    with Fake(Reply(body, 429, index=None)) as fake:
        assert "http_max_conns_per_client" in str(follow(fake.pairs).fail())


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(follow: Follow, status: int) -> None:
    """A redirect is an error that names the other host alone, which never sees the token."""
    with Fake() as other:
        target = f"http://joe:hunter2@localhost:{other.server_port}/hunter2?hunter2"
        with Fake(Reply(b"", status, headers={"Location": target})) as fake:
            reason = str(follow(f"{fake.pairs}:consul.token={SECRET}").fail())
    assert reason == f"answered {status}, a redirect to localhost, which is not followed"
    assert not other.requests
    assert len(fake.requests) == 1


def test_the_body_of_a_redirect_is_not_read(follow: Follow) -> None:
    """A redirect, or an error, with an endless body ends at once."""
    for status in (302, 500, 404):
        with Fake(Reply(status=status, headers={"Location": "/x"}, chunks=endless(b"x" * 4096), index=None)) as fake:
            assert f"answered {status}" in str(follow(fake.pairs).fail())


def endless(chunk: bytes) -> Iterator[bytes]:
    while True:
        yield chunk


def test_an_endless_body_is_refused(follow: Follow) -> None:
    """A body without end is given up at the limit, which the error names."""
    with Fake(Reply(chunks=endless(b" " * (1 << 20)))) as fake:
        assert str(follow(fake.pairs).fail()).startswith("answered with more than 32 MiB: ")


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "deflate", "gzip, gzip", "GZIP", "hunter2" * 50])
def test_compression_that_nobody_asked_for_is_refused(follow: Follow, encoding: str) -> None:
    """Nothing is ever decompressed: identity was asked for, and 32 KB may be 800 MB."""
    bomb = gzip.compress(gzip.compress(b"[" + b" " * (1 << 20) + b"]"))
    with Fake(Reply(bomb, headers={"Content-Encoding": encoding}), Reply(headers={"Content-Encoding": "identity"})) as fake:
        reason = str(follow(fake.pairs).fail())
        assert follow(fake.pairs).step() == {"web": {"port": "80"}}
    shown = encoding if len(encoding) < 20 else encoding[:20] + "…"
    assert reason == f"answered with Content-Encoding {shown}, which was not asked for: is a proxy in between?"
    with Fake(Reply(bomb, 503, headers={"Content-Encoding": encoding})) as fake:
        assert str(follow(fake.pairs).fail()) == "answered 503 service unavailable"


@pytest.mark.parametrize("item", ["{},", "[],", '{"a":{"b":[]}},'])
def test_many_tiny_things_are_refused(follow: Follow, item: str) -> None:
    """A body within its limit does not become many times as large when it is parsed."""
    with Fake(Reply(b"[" + item.encode() * (1 << 20) + b"0]")) as fake:
        assert str(follow(fake.pairs).fail()) == (
            "answered with JSON of more than 2000000 parts: narrow what is read (a longer prefix)"
        )


GARBAGE: dict[str, Any] = {
    "no JSON": b"<html>hunter2</html>",
    "cut": b'[{"Key": "web/port", "Val',
    "nothing": b"",
    "no UTF-8": b'["\xff"]',
    "too deep": b"[" * 100_000,
    "null": None,
    "an object": {},
    "false": False,
    "a text": "hunter2",
    "numbers": [1, 2],
    "lists": [[]],
    "no key": [{"Value": None}],
    "no value": [{"Key": "web/port"}],
    "a key that is no text": [{"Key": 5, "Value": None}],
    "a value that is no text": [{"Key": "web/port", "Value": {}}],
}


@pytest.mark.parametrize("name", GARBAGE)
@pytest.mark.parametrize("part", ["", "web"])
def test_garbage_is_an_error_and_never_empty(follow: Follow, name: str, part: str) -> None:
    """What is no data of Consul's is an error, never an empty store, and nothing of it is shown."""
    with Fake(Reply(GARBAGE[name])) as fake:
        error = follow(f"{fake.pairs}:consul.services=web", part=part).fail()
    assert str(error) == f"127.0.0.1:{fake.server_port} is no Consul: it answered with what is no data of Consul's"


INSTANCE: dict[str, Any] = {
    "Node": {"Node": "n", "Address": "a"},
    "Service": {"ID": "i", "Address": "b", "Port": 1, "Tags": None, "Meta": None},
}


@pytest.mark.parametrize("wrong", [{"Port": "1"}, {"Tags": "x"}, {"Meta": ["x"]}, {"Address": 5}, {"ID": None}])
def test_instances_of_the_wrong_shape_are_an_error(follow: Follow, wrong: dict[str, Any]) -> None:
    """An instance with a field of the wrong type is an error, not data."""
    broken = {**INSTANCE, "Service": {**INSTANCE["Service"], **wrong}}
    with Fake(Reply([INSTANCE]), Reply([INSTANCE, broken])) as fake:
        pairs = f"{fake.pairs}:consul.services=web"
        assert follow(pairs, part="web").step()["web"]["address"] == "b"
        assert "no data of Consul's" in str(follow(pairs, part="web").fail())


def test_keys_outside_the_prefix_are_an_error(follow: Follow) -> None:
    """A server that answers with other keys than those asked for is not believed."""
    with Fake(Reply([entry("other/web/port", "80")])) as fake:
        assert "no data of Consul's" in str(follow(f"{fake.pairs}:consul.prefix=app").fail())


@pytest.mark.parametrize("index", [None, "", "x", "1.5", "٣", "9" * 30])
def test_an_answer_without_index_is_not_consul(follow: Follow, index: str | None) -> None:
    """An answer without an index, a 404 among them, is some other server's."""
    header = index.encode().decode("latin-1") if index else index
    with Fake(Reply(index=header), Reply(b"", 404, index=header)) as fake:
        for status in (200, 404):
            reason = str(follow(fake.pairs).fail())
            assert reason == f"127.0.0.1:{fake.server_port} is no Consul: it answered {status} without an index"


def test_404_means_no_keys_but_only_for_keys(follow: Follow) -> None:
    """A prefix that no key has is an empty store; a service is never answered with 404."""
    with Fake(Reply(b"", 404)) as fake:
        assert follow(fake.pairs).step() == {}
        pairs = f"{fake.pairs}:consul.services=web"
        assert str(follow(pairs, part="web").fail()) == "answered 404 not found"


@pytest.mark.parametrize("value", ["a", "YQ", "Y!Q==", "YQ==\n", "ä"])
def test_a_corrupt_value_is_unusable(follow: Follow, value: str) -> None:
    """A value that is no base64 makes its interface invalid, and no other."""
    broken = {**entry("web/port", "80"), "Value": value}
    with Fake(Reply([broken, entry("db/host", "h")])) as fake:
        assert follow(fake.pairs).step() == {"web": {"port": InvalidValue("is no base64")}, "db": {"host": "h"}}


def test_null_values_are_empty_text(follow: Follow) -> None:
    """A value may be null, and is the empty text."""
    with Fake(Reply([entry("web/none", None)])) as fake:
        assert follow(fake.pairs).step() == {"web": {"none": ""}}


@pytest.mark.parametrize("where", ["body", "headers", "blocking"])
def test_one_request_has_one_deadline(follow: Follow, where: str) -> None:
    """A request ends after `timeout`, a blocking one after its wait besides, though each byte of the answer drips in in time."""

    def drip() -> Iterator[bytes]:
        while True:
            time.sleep(0.05)
            yield b" "

    answered = [Reply()] if where == "blocking" else []
    dripping = Reply(before=drip()) if where == "headers" else Reply(chunks=drip())
    with Fake(*answered, dripping) as fake:
        follower = follow(f"{fake.pairs}:consul.timeout=500ms:consul.wait=1s")
        for _ in answered:
            follower.step()
        assert str(follower.fail()) == f"no answer within {'1.56 s' if answered else '500 ms'}"
        assert fake.ended.acquire(timeout=PATIENCE)  # the connection was closed


def test_a_server_that_shakes_no_hands(follow: Follow) -> None:
    """A port that accepts connections and says nothing is told as that, with TLS and without."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        where = f"127.0.0.1:{server.getsockname()[1]}"
        common = f"consul.host={where}:consul.timeout=200ms"
        assert str(follow(common).fail()) == "no answer within 200 ms"
        secure = f"{common}:consul.scheme=https"
        assert str(follow(secure).fail()) == f"cannot connect to {where}: no TLS handshake within 100 ms"


def test_an_answer_without_leader_is_not_believed(follow: Follow) -> None:
    """A server that knows no leader is not believed, whatever the mode; a stale read asks the leader then."""
    leaderless = {"X-Consul-KnownLeader": "false"}
    with Fake(Reply(headers=leaderless)) as fake:
        for mode in ("default", "consistent", "stale"):
            assert str(follow(f"{fake.pairs}:consul.consistency={mode}").fail()).startswith("Consul has no cluster leader")
    assert ["stale" in request.query for request in fake.requests] == [False, False, True, False]
    assert ["consistent" in request.query for request in fake.requests] == [False, True, False, False]


@pytest.mark.parametrize(
    "doubtful",
    [
        Reply(web("old"), headers={"X-Consul-LastContact": "2001"}),
        Reply(web("old"), headers={"X-Consul-LastContact": "never"}),
        Reply(web("old"), headers={"X-Consul-KnownLeader": "false"}),
        Reply(b"", 404),
    ],
)
def test_a_doubtful_stale_answer_is_asked_of_the_leader(follow: Follow, doubtful: Reply) -> None:
    """A stale answer that is too old, leaderless or empty is read again without `stale`, at once, without an index."""
    with Fake(Reply(), doubtful, Reply(web("new"), index=20), Reply(web("newer"), index=21)) as fake:
        follower = follow(f"{fake.pairs}:consul.consistency=stale")
        assert [follower.step()["web"]["port"] for _ in range(3)] == ["80", "new", "newer"]
    asked = [("stale" in request.query, request.query.get("index")) for request in fake.requests]
    assert asked == [(True, None), (True, "10"), (False, None), (True, "20")]


def test_an_empty_stale_service_is_asked_of_the_leader(follow: Follow) -> None:
    """The mode holds for services too."""
    with Fake(Reply([]), Reply([INSTANCE])) as fake:
        pairs = f"{fake.pairs}:consul.consistency=stale:consul.services=web:consul.dc=dc1"
        assert follow(pairs, part="web").step()["web"]["port"] == 1
    assert ["stale" in request.query for request in fake.requests] == [True, False]
    assert {request.query["dc"] for request in fake.requests} == {"dc1"}
    assert {request.path for request in fake.requests} == {"/v1/health/service/web"}
    assert {request.query["passing"] for request in fake.requests} == {"1"}


def test_a_server_that_does_not_block_is_asked_at_a_limited_rate(follow: Follow) -> None:
    """After a burst of two requests each further one waits for its turn."""
    with Fake(*(Reply(index=number) for number in range(1, 50))) as fake:
        follower = follow(fake.pairs, interval=0.2)
        began = time.monotonic()
        for _ in range(2):
            follower.step()
        burst = time.monotonic() - began
        for _ in range(4):
            follower.step()
        took = time.monotonic() - began
    assert took >= 4 * 0.2
    assert burst < PATIENCE
    assert len(fake.requests) == 6


def test_a_single_change_is_not_delayed_by_the_rate(follow: Follow) -> None:
    """The limit is a burst, not a pause: two answers in a row come without waiting, however long the interval."""
    with Fake(Reply(), Reply(index=11)) as fake:
        follower = follow(fake.pairs, interval=3600)
        began = time.monotonic()
        follower.step()
        follower.step()
        assert time.monotonic() - began < 0.9
        follower.step()  # the pause is a second at most
        assert time.monotonic() - began >= 0.9


def test_idle_costs_one_request_per_wait_on_one_connection(follow: Follow) -> None:
    """While nothing changes there is one request per wait, all over one connection, with the same object each time."""
    with Fake(Reply(hold=True)) as fake:
        follower = follow(f"{fake.pairs}:consul.wait=150ms")
        first = follower.step()
        assert all(follower.step() is first for _ in range(4))
        assert len(fake.requests) == 5
        assert fake.connections == 1
    assert {request.query["wait"] for request in fake.requests[1:]} == {"150ms"}
    assert "recurse" in fake.requests[0].query


def test_waits_of_a_fleet_are_spread(follow: Follow, monkeypatch: pytest.MonkeyPatch) -> None:
    """The query after an answer that came at once waits for a part of `wait`, those after it for the whole."""
    monkeypatch.setattr("random.uniform", lambda low, high: low + (high - low) / 4)
    with Fake(Reply(), Reply(hold=True), Reply(hold=True), Reply(index=11), Reply(index=11, hold=True)) as fake:
        follower = follow(f"{fake.pairs}:consul.wait=1.2s")
        for _ in range(6):
            follower.step()
    assert [request.query.get("wait") for request in fake.requests] == [None, "1050ms", "1200ms", "1200ms", "1050ms", "1200ms"]


def test_another_store_with_the_same_indexes_is_seen(follow: Follow, monkeypatch: pytest.MonkeyPatch) -> None:
    """What counts is the values, whatever indexes another store has; only what changed is decoded, but all without an index."""
    one = [{**entry("db/host", "a"), "ModifyIndex": 7}, {**entry("web/port", "80"), "ModifyIndex": 7}]
    other = [one[0], {**entry("web/port", "81"), "ModifyIndex": 7}]
    decoded: list[int] = []
    decode = base64.b64decode

    def note(value: bytes, *, validate: bool) -> bytes:
        decoded[-1] += 1
        return decode(value, validate=validate)

    monkeypatch.setattr(base64, "b64decode", note)
    found = []
    with Fake(Reply(one), Reply(other, index=11), Reply(one[:1], index=12), Reply(one, index=9), Reply(one, index=9)) as fake:
        follower = follow(fake.pairs)
        for _ in range(4):
            decoded.append(0)
            found.append(follower.step())
        assert "index" not in fake.requests[4].query
    assert found == [
        {"db": {"host": "a"}, "web": {"port": "80"}},
        {"db": {"host": "a"}, "web": {"port": "81"}},
        {"db": {"host": "a"}},
        {"db": {"host": "a"}, "web": {"port": "80"}},
    ]
    assert all(one["db"] is found[0]["db"] for one in found)
    assert decoded == [2, 1, 0, 3]  # at last one by the answer whose index is lower, and both by the one without


def test_random_changes_are_what_a_full_read_gives(consul: ConsulServer, follow: Follow) -> None:
    """After each of many random transactions the follower has what a new one reads."""
    chance = random.Random(5)
    names = [f"app/{name}/{key}" for name in ("web", "db", "other") for key in ("a", "b", "b/c", "b/")] + ["app/web", "app/db"]
    values = ("", "1", "2", "{}", '{"c": 1, "d": {"e": 1}}')
    follower = follow(f"consul.host={consul.address}:consul.prefix=app:consul.wait=1s", interval=0.01)
    for _ in range(40):
        keys = chance.sample(names, chance.randint(1, 4))
        gone = chance.randint(0, len(keys))
        consul.transact({key: chance.choice(values) for key in keys[gone:]}, keys[:gone])
        expected = follow(f"consul.host={consul.address}:consul.prefix=app").step()
        found = follower.until(lambda found, expected=expected: found == expected)  # type: ignore[misc]
        assert repr(sorted(found.items())) == repr(sorted(expected.items()))


def test_closing_closes_the_connection(follow: Follow) -> None:
    """A generator that is closed, or failed, leaves no connection behind."""
    with Fake(Reply(), Reply(), Reply(status=500)) as fake:
        follower = follow(fake.pairs)
        follower.step()
        follower.close()
        assert fake.ended.acquire(timeout=PATIENCE)
        follower = follow(fake.pairs)
        follower.step()
        follower.fail()
        assert fake.ended.acquire(timeout=PATIENCE)


def test_the_environment_of_the_process_is_not_seen(follow: Follow, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The token goes in its header alone; no proxy, no netrc, no CONSUL_ variable of the process has a say."""
    (tmp_path / ".netrc").write_text("default login joe password hunter2\n")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setenv("CONSUL_HTTP_TOKEN", "wrong")
    monkeypatch.setenv("CONSUL_HTTP_ADDR", "127.0.0.1:1")
    monkeypatch.setenv("CONSUL_HTTP_SSL", "true")
    with Fake(Reply()) as fake:
        follow(f"{fake.pairs}:consul.token={SECRET}").step()
        follow(fake.pairs).step()
    first, second = fake.requests
    assert first.headers["X-Consul-Token"] == SECRET
    assert SECRET not in repr(first.query) + first.path
    assert "Authorization" not in first.headers
    assert "X-Consul-Token" not in second.headers


def test_a_users_name_in_the_url_is_basic_authentication(follow: Follow) -> None:
    """A user and password in the URL are those of a proxy in front of Consul."""
    with Fake(Reply()) as fake:
        follow(f"consul.host=http\\://joe\\:p%40ss-ä@127.0.0.1\\:{fake.server_port}").step()
    expected = "Basic " + base64.b64encode("joe:p@ss-ä".encode()).decode()
    assert fake.requests[0].headers["Authorization"] == expected


@pytest.mark.parametrize("token", ["hunter2\nX-Evil: 1", "hunter2-ä", "hunter2\x00"])
def test_a_token_that_no_header_can_hold_is_not_shown(follow: Follow, tmp_path: Path, token: str) -> None:
    """A token with characters that a header cannot hold is an error that does not show it."""
    (tmp_path / "token").write_text(token)
    reason = str(follow(f"consul.token_file={tmp_path}/token").fail())
    assert reason == "the token holds a character that no token can have"


def test_results_filtered_by_acls_are_told(follow: Follow) -> None:
    """That Consul left something out for want of rights is in the note, as long as it does."""
    filtered = {"X-Consul-Results-Filtered-By-ACLs": "true"}
    with Fake(Reply(headers=filtered), Reply([], headers=filtered), Reply()) as fake:
        follower = follow(f"{fake.pairs}:consul.token={SECRET}")
        follower.step()
        assert follower.note == "Consul leaves out what the token has no right to read"
        follower.step()
        assert follower.note == "no key at all (Consul leaves out what the token has no right to read)"
        follower.step()
        assert follower.note == ""


CLOSED_BY_TLS = b"\x15\x03\x03\x00\x02\x01\x00"  # the alert close_notify


@contextlib.contextmanager
def hanging_up(*words: bytes) -> Iterator[str]:
    """Give the address of a server that says one of the words to each client, and closes the connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(PATIENCE)

        def hang_up() -> None:
            for word in words:
                connection, _ = server.accept()
                with connection:
                    connection.recv(4096)
                    connection.sendall(word)

        with ThreadPoolExecutor(1) as threads:
            done = threads.submit(hang_up)
            yield f"127.0.0.1:{server.getsockname()[1]}"
            done.result()


def test_a_connection_that_ends_without_an_answer(follow: Follow) -> None:
    """A connection that is closed before anything was answered is told with what the reason may be."""
    with hanging_up(b"", b"", CLOSED_BY_TLS) as where:
        reason = f"{where} closed the connection without an answer (has this address more than 200 of them to Consul?)"
        assert str(follow(f"consul.host={where}").fail()) == reason
        for _ in range(2):
            assert str(follow(f"consul.host={where}:consul.scheme=https").fail()) == reason


def test_a_connection_that_ends_later(follow: Follow) -> None:
    """A connection that had served before is closed for other reasons than its being one too many."""
    with Fake(Reply(), Reply(status=0)) as fake:
        follower = follow(fake.pairs)
        follower.step()
        assert str(follower.fail()) == f"127.0.0.1:{fake.server_port} closed the connection"
    with Fake(Reply(headers={"Content-Length": "100"}, chunks=iter([b"[]"]))) as fake:
        assert str(follow(fake.pairs).fail()) == "answered with what is no complete HTTP"


def test_files_for_tls_that_cannot_be_used(certificates: Path, follow: Follow, tmp_path: Path) -> None:
    """An encrypted key, a file that is none and one without end are told by option and file, without a connection."""
    key = tmp_path / "locked.key"
    command = ["openssl", "pkey", "-in", f"{certificates}/client.key", "-aes256", "-passout", "pass:hunter2", "-out", str(key)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    os.mkfifo(tmp_path / "fifo")
    common = f"consul.host=https\\://127.0.0.1\\:1:consul.cert={certificates}/client.pem"
    locked = f"key: {key}: is encrypted, and nobody can be asked for its password: keep it without one"
    assert str(follow(f"{common}:consul.key={key}").fail()) == locked
    assert str(follow(f"{common}:consul.key={tmp_path}/fifo").fail()) == f"key: {tmp_path}/fifo: not a regular file"
    assert str(follow(f"{common}:consul.ca_cert=/dev/zero").fail()) == "ca_cert: /dev/zero: not a regular file"
    both = tmp_path / "both.pem"
    both.write_bytes((certificates / "client.pem").read_bytes() + key.read_bytes())
    assert str(follow(f"consul.host=https\\://127.0.0.1\\:1:consul.cert={both}").fail()) == locked.replace(
        f"key: {key}", f"cert: {both}"
    )
    (tmp_path / "text.pem").write_text("hunter2")
    error = str(follow(f"{common}:consul.key={tmp_path}/text.pem").fail())
    assert error == "cannot connect to 127.0.0.1:1: connection refused"


def test_ipv6(follow: Follow) -> None:
    """IPv6 hosts work, with and without brackets, and are named in brackets."""
    try:
        fake = Fake(Reply(), family=socket.AF_INET6)
    except OSError:
        pytest.skip("no IPv6 here")
    with fake:
        port = fake.server_port
        for pairs in (f"consul.host=\\:\\:1:consul.port={port}", f"consul.host=[\\:\\:1]\\:{port}"):
            assert follow(pairs).step() == {"web": {"port": "80"}}
    assert str(follow(f"consul.host=http\\://[\\:\\:1]\\:{port}").fail()).startswith(f"cannot connect to [::1]:{port}: ")


def test_a_name_that_does_not_resolve(follow: Follow) -> None:
    """A name that does not resolve is told as that."""
    assert str(follow("consul.host=a..b").fail()) == "a..b:8500 is no address"
    reason = str(follow("consul.host=no-such-host.invalid").fail())
    assert reason == "cannot connect to no-such-host.invalid:8500: its name does not resolve"


# Options.


@pytest.mark.parametrize(
    ("pairs", "environ", "expected"),
    [
        ("consul.dc=x", {}, "http 127.0.0.1 8500"),
        ("consul.host=c", {}, "http c 8500"),
        ("consul.host=c:9", {}, "http c 9"),
        ("consul.host=https://c.example:9/", {}, "https c.example 9"),
        ("consul.host=::1", {}, "http [::1] 8500"),
        ("consul.host=[::1]:9", {}, "http [::1] 9"),
        ("consul.host=c:consul.port=9:consul.scheme=https", {}, "https c 9"),
        ("consul.dc=x", {"CONSUL_HTTP_ADDR": "https://e:7"}, "https e 7"),
        ("consul.dc=x", {"CONSUL_HTTP_ADDR": "e:7", "CONSUL_HTTP_SSL": "true"}, "https e 7"),
        ("consul.dc=x", {"CONSUL_HTTP_ADDR": "e:7", "CONSUL_HTTP_SSL": "false"}, "http e 7"),
        ("consul.port=9", {"CONSUL_HTTP_ADDR": "https://e:7"}, "https e 9"),
        ("consul.scheme=http", {"CONSUL_HTTP_ADDR": "https://e:7", "CONSUL_HTTP_SSL": "true"}, "http e 7"),
        ("consul.host=c", {"CONSUL_HTTP_ADDR": "https://e:7"}, "http c 8500"),
        ("consul.host=http://c", {"CONSUL_HTTP_SSL": "true"}, "http c 8500"),
        *[("consul.host=c", {"CONSUL_HTTP_SSL": value}, "https c 8500") for value in ("1", "t", "T", "TRUE", "true", "True")],
        *[("consul.host=c", {"CONSUL_HTTP_SSL": value}, "http c 8500") for value in ("0", "f", "F", "FALSE", "false", "False")],
    ],
)
def test_where_consul_is(pairs: str, environ: dict[str, str], expected: str) -> None:
    """An explicit option wins over the environment, `port` and `scheme` over what the environment's address says."""
    found = locate(load(pairs, environ))
    assert f"{found.scheme} {found.host} {found.port}" == expected


@pytest.mark.parametrize(("value", "verified"), [("f", False), ("0", False), ("False", False), ("T", True), ("1", True)])
def test_the_environment_says_whether_to_verify(value: str, verified: bool) -> None:
    """CONSUL_HTTP_SSL_VERIFY takes what Consul takes."""
    assert load("consul.dc=x", {"CONSUL_HTTP_SSL_VERIFY": value})["verify"] is verified


def test_a_socket_in_the_environment_is_refused_by_its_name() -> None:
    """A unix socket in CONSUL_HTTP_ADDR is not taken for a host."""
    _, (found,) = config.load("consul.dc=x", None, {"CONSUL_HTTP_ADDR": "unix:///run/consul.sock"})
    assert found.place == "CONSUL_HTTP_ADDR"
    assert "(a socket, unix://, cannot be used)" in found.message


def test_the_environment_gives_a_user(follow: Follow) -> None:
    """CONSUL_HTTP_AUTH is basic authentication, unless host has a user; the option wins over both."""
    environ = {"CONSUL_HTTP_AUTH": "joe:p:q"}
    with Fake(Reply()) as fake:
        follow(fake.pairs, environ=environ).step()
        follow(fake.pairs, environ={"CONSUL_HTTP_AUTH": "joe"}).step()
        own = f"consul.host=http\\://eve\\:z@127.0.0.1\\:{fake.server_port}"
        follow(own, environ=environ).step()
        environ["CONSUL_HTTP_ADDR"] = f"http://eve:z@127.0.0.1:{fake.server_port}"
        follow("consul.auth=me\\:p", environ=environ).step()
    given = [base64.b64decode(request.headers["Authorization"].removeprefix("Basic ")).decode() for request in fake.requests]
    assert given == ["joe:p:q", "joe:", "eve:z", "me:p"]


def test_the_environment_gives_a_namespace(consul: ConsulServer, follow: Follow) -> None:
    """CONSUL_NAMESPACE goes with each request; a Consul that has none says so."""
    with Fake(Reply()) as fake:
        follow(fake.pairs, environ={"CONSUL_NAMESPACE": "team"}).step()
        follow(f"{fake.pairs}:consul.namespace=mine:consul.services=web", environ={"CONSUL_NAMESPACE": "team"}).step()
    assert [request.query["ns"] for request in fake.requests] == ["team", "mine"]
    error = follow(f"consul.host={consul.address}:consul.namespace=team").fail()
    assert str(error) == "answered 400: namespaces need Consul Enterprise; this one takes no namespace (CONSUL_NAMESPACE)"


def test_variables_that_are_not_looked_at_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables of Consul's clients that change where it is read, and disco does not know, are told at the start."""
    assert list(SOURCE.remarks(load("consul.dc=x"))) == []
    monkeypatch.setenv("CONSUL_PARTITION", "hunter2")
    (found,) = SOURCE.remarks(load("consul.dc=x"))
    assert found == "CONSUL_PARTITION is set, and disco does not look at it"


def test_the_environment_gives_token_and_certificates() -> None:
    """Consul's usual variables are defaults, and an explicit option wins."""
    environ = {"CONSUL_HTTP_TOKEN": "e", "CONSUL_CACERT": "/ca", "CONSUL_CLIENT_CERT": "/c", "CONSUL_CLIENT_KEY": "/k"}
    options = load("consul.cert=/mine:consul.scheme=https", environ)
    found = options["token"], *(str(options[name]) for name in ("ca_cert", "cert", "key"))
    assert found == ("e", "/ca", "/mine", "/k")
    assert load("consul.token=mine", environ)["token"] == "mine"


@pytest.mark.parametrize(
    ("pairs", "problem"),
    [
        ("consul.host=unix:///run/consul", "(a socket, unix://, cannot be used)"),
        ("consul.host=http\\://joe@c:consul.auth=joe\\:p", "auth: is set, and host has a user; remove one of the two"),
        ("consul.host=c d", "host: expected a host"),
        ("consul.host=c/v1", "host: expected a host"),
        ("consul.host=c\\:0", "host: expected a host"),
        ("consul.host=c\\:99999", "host: expected a host"),
        ("consul.host=[\\:\\:1", "host: expected a host"),
        ("consul.scheme=ftp", "scheme: expected http or https"),
        ("consul.prefix=a/../b", "prefix: expected a prefix without . and .."),
        ("consul.services=a,a=b", "services: expected services like web,db=pg"),
        ("consul.services=a/b", "services: expected services like web,db=pg"),
        ("consul.services==b", "services: expected services like web,db=pg"),
        ("consul.services=web=app|any", "services: expected services like web,db=pg"),
        ("consul.services=web=app@dc1", "services: expected services like web,db=pg"),
        ("consul.services=web=app?x", "services: expected services like web,db=pg"),
        ("consul.services=we b", "services: expected services like web,db=pg"),
        ("consul.kv=false", "kv: is false, and services is not set"),
        ("consul.kv=false:consul.services=web:consul.prefix=a", "prefix: is set, but kv is false"),
        ("consul.wait=0", "wait: expected at least"),
        ("consul.consistency=none", "consistency: expected one of default, stale, consistent"),
        ("consul.host=c\\:1:consul.port=2", "port: differs from the one in host"),
        ("consul.host=http\\://c:consul.scheme=https", "scheme: differs from the one in host"),
        ("consul.scheme=https:consul.key=/k", "key: is set without cert"),
        ("consul.ca_cert=/ca", "ca_cert: is set, but the scheme is http"),
    ],
)
def test_wrong_options_are_told(pairs: str, problem: str) -> None:
    """Each wrong option is a problem that names it."""
    (found,) = problems(pairs)
    assert problem in found


@pytest.mark.parametrize(
    ("pairs", "parts"),
    [
        ("consul.dc=x", ("",)),
        ("consul.prefix=a:consul.kv=true", ("",)),
        ("consul.services=web", ("web",)),
        ("consul.services=web,db=pg-1.main_2:consul.kv=true", ("", "web", "db")),
        ("consul.services=web:consul.prefix=a", ("", "web")),
        ("consul.services=web:consul.prefix=", ("", "web")),
        ("consul.services=web:consul.kv=no", ("web",)),
    ],
)
def test_what_is_read(pairs: str, parts: tuple[str, ...]) -> None:
    """Keys are read unless services is set and prefix is not; `kv` says otherwise."""
    assert SOURCE.parts(load(pairs)) == parts


def test_declaring_the_source_imports_no_client_library() -> None:
    """The coordinator, which only reads the declaration, does not import the client library."""
    import sys

    code = "import sys, disco.sources.consul; print({'consul', 'requests', 'urllib3', 'ssl'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
