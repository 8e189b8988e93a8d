"""The Consul source's options: where Consul is, who asks, what is read."""

from __future__ import annotations

import base64
import subprocess
from typing import TYPE_CHECKING

import pytest

from disco.site import config
from disco.sources.consul import SOURCE
from disco.sources.consul_options import Service, locate
from tests.sources.consul.fake import Fake, Reply
from tests.sources.consul.follower import Follow, load, problems

if TYPE_CHECKING:
    from lab.consul_server import ConsulServer


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
        ("consul.services=we?tag=a,we", "services: expected services like web,db=pg"),
        ("consul.services=web?tag=a?b=c,web=a/b?tag=x", "services: expected services like web,db=pg"),
        ("consul.services=db,web=app?x", "services: expected no parameter but tag and dc after the ? of service 2; correct"),
        ("consul.services=web=app?tga=a", "expected no parameter but tag and dc after the ? of service 1 (did you mean tag?)"),
        ("consul.services=web=app?tag=a&dcs=b", "after the ? of service 1 (did you mean dc?)"),
        ("consul.services=web=app?Tag=a", "after the ? of service 1 (did you mean tag?)"),
        ("consul.services=web=app?", "no parameter but tag and dc after the ? of service 1"),
        ("consul.services=web=app?tag=a&", "no parameter but tag and dc after the ? of service 1"),
        ("consul.services=web=app?tag", "parameters like tag=http&dc=dc2 after the ? of service 1, dc once at most"),
        ("consul.services=web=app?tag=", "parameters like tag=http&dc=dc2 after the ? of service 1, dc once at most"),
        ("consul.services=web=app?tag=a&dc=", "parameters like tag=http&dc=dc2 after the ? of service 1, dc once at most"),
        ("consul.services=web=app?dc=a&dc=a", "parameters like tag=http&dc=dc2 after the ? of service 1, dc once at most"),
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
        ("consul.services=web?tag=a,db=web?dc=b&tag=c&tag=d", ("web", "db")),
    ],
)
def test_what_is_read(pairs: str, parts: tuple[str, ...]) -> None:
    """Keys are read unless services is set and prefix is not; `kv` says otherwise."""
    assert SOURCE.parts(load(pairs)) == parts


def test_services_have_filters() -> None:
    """After a `?` a service has tags, several of them and with any characters, and a datacenter; places show them."""
    options = load("consul.services=web, db = pg ? tag = a%2Cb & dc=west&tag=k=v?+%C3%A4,c?dc=x")
    assert options["services"] == (
        Service("web", "web"),
        Service("db", "pg", ("a,b", "k=v?+ä"), "west"),
        Service("c", "c", (), "x"),
    )
    places = [SOURCE.place(options, part) for part in SOURCE.parts(options)]
    assert places == [
        "service 'web' at http://127.0.0.1:8500",
        "service 'pg' with tags 'a,b', 'k=v?+ä' in datacenter 'west' at http://127.0.0.1:8500",
        "service 'c' in datacenter 'x' at http://127.0.0.1:8500",
    ]


@pytest.mark.parametrize(
    ("pairs", "reason"),
    [
        ("consul.services=web:consul.kv=false", "kv is false"),
        ("consul.services=web", "services is set and prefix is not; kv=true reads them"),
        ("consul.services=web:consul.kv=true", ""),
    ],
)
def test_that_keys_are_not_read_is_told(pairs: str, reason: str) -> None:
    """Where keys are not read, one remark at the start says so, and why."""
    assert list(SOURCE.remarks(load(pairs))) == [f"keys are not read, since {reason}"] * bool(reason)


def test_declaring_the_source_imports_no_client_library() -> None:
    """The coordinator, which only reads the declaration, does not import the client library."""
    import sys

    code = "import sys, disco.sources.consul; print({'consul', 'requests', 'urllib3', 'ssl'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
