"""Real etcd servers, and readers of them."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pytest
from lab.etcd_server import EtcdServer

from tests.sources.etcd.reader import Reader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def server(etcd_program: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdServer]:
    """Give a server that all tests share: each has a prefix of its own, and leaves the server as it was."""
    with EtcdServer(etcd_program, tmp_path_factory.mktemp("etcd")) as started:
        yield started


@pytest.fixture
def start(etcd_program: Path, tmp_path: Path) -> Iterator[Callable[..., EtcdServer]]:
    """Give what starts servers of one's own."""
    with contextlib.ExitStack() as stack:
        yield lambda name="own", **how: stack.enter_context(EtcdServer(etcd_program, tmp_path / name, **how))


@pytest.fixture
def read(tmp_path: Path) -> Iterator[Callable[..., Reader]]:
    """Give what starts readers, from pairs without the namespace."""
    with contextlib.ExitStack() as stack:

        def run(server: EtcdServer | None, pairs: str = "", **how: Any) -> Reader:
            named = [f"etcd.{pair}" for pair in pairs.split() if pair]
            if server:
                named.insert(0, f"etcd.port={server.port}")
            return stack.enter_context(contextlib.closing(Reader(tmp_path, ":".join(named), **how)))

        yield run
