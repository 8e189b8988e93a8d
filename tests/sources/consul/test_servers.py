"""The Consul source against real servers."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest
from lab.consul_server import ConsulServer
from lab.waiting import eventually
from requests.adapters import HTTPAdapter

from disco.sources import InvalidValue, SourceError
from tests.sources.consul.fake import Fake, Reply
from tests.sources.consul.follower import PATIENCE, SECRET, Follow

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import requests


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
    consul.register("pg", node="a", name="pg-3", Address="10.1.1.3", Port=3, Weights={"Passing": 10, "Warning": 2})
    consul.register("pg", node="a", name="pg-2", Address="10.1.1.2", Port=2, status="critical")
    follower = follow(f"consul.host={consul.address}:consul.services=web,db=pg:consul.wait=9m", part="db")
    instances = [
        {"address": "10.1.1.3", "port": 3, "tags": [], "meta": {}, "node": "a", "id": "pg-3", "weight": 10},
        {"address": "10.1.1.9", "port": 9, "tags": ["x", "y"], "meta": {"k": "v"}, "node": "a", "id": "pg-9", "weight": 1},
        {"address": "10.9.0.2", "port": 1, "tags": [], "meta": {}, "node": "b", "id": "pg-1", "weight": 1},
    ]

    def of_first(instance: dict[str, Any]) -> dict[str, Any]:
        return {name: instance[name] for name in ("address", "port", "tags", "meta")}

    assert follower.step() == {"db": {**of_first(instances[0]), "instances": instances}}
    consul.register("pg", node="a", name="pg-3", Address="10.1.1.3", Port=3, status="critical")
    found = follower.until(lambda found: len(found["db"]["instances"]) == 2)
    assert found == {"db": {**of_first(instances[1]), "instances": instances[1:]}}
    consul.deregister("pg-9", "a")
    consul.deregister("pg-1", "b")
    assert follower.until(lambda found: not found) == {}


def test_what_changes_by_itself_is_no_change(consul: ConsulServer, follow: Follow) -> None:
    """A check's new output, and a registration without news, change an index and no data; a weight is data."""
    consul.register("churn", node="a", name="c-1", Address="10.1.1.1", Port=1)
    follower = follow(f"consul.host={consul.address}:consul.services=churn:consul.wait=9m", part="churn", interfaces=("churn",))
    first = follower.step()
    check = {"Name": "alive", "CheckID": "check-c-1", "Status": "passing", "ServiceID": "c-1"}
    for output in ("0.1 ms", "0.2 ms"):
        new = {"Node": "a", "Address": "10.9.0.1", "SkipNodeUpdate": True, "Check": {**check, "Output": output}}
        assert follower.step(lambda new=new: consul.request("PUT", "catalog/register", new)) is first  # type: ignore[misc]
    consul.register("churn", node="a", name="c-1", Address="10.1.1.1", Port=1, Weights={"Passing": 7, "Warning": 1})
    assert follower.until(lambda found: found["churn"]["instances"][0]["weight"] == 7)
    consul.deregister("c-1", "a")


def test_instances_with_tags(consul: ConsulServer, follow: Follow) -> None:
    """A service with tags is of the instances that have them all, whatever else a tag looks like; it follows their changes."""
    odd = "a.b/c=d&e,f%g+h i:j"
    for number, tags in enumerate((["http"], ["http", "main", odd], ["main"])):
        consul.register("tagged", name=f"t-{number}", Port=number, Tags=tags)
    encoded = odd.replace("%", "%25").replace("&", "%26").replace(",", "%2C")
    services = f"one=tagged?tag=http,two=tagged?tag=http&tag=main,tagged?tag={encoded},none=tagged?tag=no&tag=http"
    names = ("one", "two", "tagged", "none")
    pairs = f"consul.host={consul.address}:consul.wait=9m:consul.services={services}"
    followers = {name: follow(pairs, part=name, interfaces=names) for name in names}
    ids = {name: [one["id"] for one in follower.step().get(name, {}).get("instances", ())] for name, follower in followers.items()}
    assert ids == {"one": ["t-0", "t-1"], "two": ["t-1"], "tagged": ["t-1"], "none": []}
    unseen = "none registered: no token is set, and without one rights may be missing"
    assert followers["none"].note == f"service tagged with tags 'no', 'http' has no passing instance ({unseen})"
    consul.register("tagged", name="t-2", Port=2, Tags=["main", "http"])
    assert followers["two"].until(lambda found: [one["port"] for one in found["two"]["instances"]] == [1, 2])
    consul.register("tagged", name="t-1", Port=1, Tags=["http", odd], status="critical")
    assert followers["tagged"].until(lambda found: not found) == {}
    assert "(1 registered, none passing)" in followers["tagged"].note
    for number in range(3):
        consul.deregister(f"t-{number}")


def test_instances_of_another_datacenter(consul_program: Path, tmp_path: Path, follow: Follow) -> None:
    """A service's datacenter wins over the option `dc`, and its instances are followed; one that is not known is named."""
    with (
        ConsulServer(consul_program, tmp_path / "east", datacenter="east") as east,
        ConsulServer(consul_program, tmp_path / "west", datacenter="west") as west,
    ):
        east.join(west)
        for server, port in ((east, 1), (west, 2)):
            server.register("app", Address="10.0.0.1", Port=port)
        services = "here=app,there=app?dc=west,nowhere=app?tag=x&dc=moon"
        names = ("here", "there", "nowhere")
        pairs = f"consul.host={east.address}:consul.wait=1s:consul.services={services}"
        here, there, nowhere = (follow(pairs, part=name, interfaces=names) for name in names)
        assert here.step()["here"]["port"] == 1
        assert there.step()["there"]["port"] == 2
        assert str(nowhere.fail()) == "no path to datacenter moon"
        west.register("app", Address="10.0.0.1", Port=3)
        assert there.until(lambda found: found["there"]["port"] == 3)
        turned = follow(f"{pairs}:consul.dc=west".replace("dc=west,", "dc=east,"), part="there", interfaces=names)
        assert turned.step()["there"]["port"] == 1
        elsewhere = follow(f"{pairs}:consul.dc=west", part="here", interfaces=names)
        assert elsewhere.step()["here"]["port"] == 3


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
    assert str(untrusted) == "TLS: certificate is not signed by a trusted authority (ca_cert)"
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
