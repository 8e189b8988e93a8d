"""Followers, and real Consul servers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from lab.consul_server import ConsulServer
from lab.servers import make_certificates

from tests.sources.consul.follower import Follower

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


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
