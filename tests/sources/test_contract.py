"""The contract of a source, kept by each that disco has against real servers, and by the example for authors of plug-ins."""

from __future__ import annotations
import __future__

import json
import textwrap
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest
from lab.consul_server import ConsulServer
from lab.etcd_server import EtcdServer
from lab.kubelet import Mount

from disco.sources import http, registry
from disco.testing import SourceContract

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

NAMES = count()  # of prefixes and services: each test has its own


class Files:
    """A file, replaced by each change; it fails by not being there."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "data.json"
        self._data: dict[str, Any] = {}
        self._write()
        self.options = {"file": str(self._file)}

    def put(self, interface: str, value: str) -> None:
        self._data[interface] = {"password": value}
        self._write()

    def remove(self, interface: str) -> None:
        del self._data[interface]
        self._write()

    def fail(self) -> None:
        self._file.unlink()

    def recover(self) -> None:
        self._write()

    def _write(self) -> None:
        new = self._file.with_suffix(".new")
        new.write_text(json.dumps(self._data))
        new.replace(self._file)


class Folder:
    """A folder with one file for each key, replaced by each change; it fails by not being there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "tree"
        self._folder.mkdir()
        self._away = folder / "away"
        self.options = {"path": str(self._folder)}

    def put(self, interface: str, value: str) -> None:
        path = self._folder / interface / "password"
        path.parent.mkdir(exist_ok=True)
        new = path.with_name("..new")
        new.write_text(value)
        new.rename(path)

    def remove(self, interface: str) -> None:
        (self._folder / interface / "password").unlink()

    def fail(self) -> None:
        self._folder.rename(self._away)

    def recover(self) -> None:
        self._away.rename(self._folder)


class Mounted:
    """A mounted Secret, of which each change is a new generation."""

    def __init__(self, folder: Path) -> None:
        self._mount = Mount(folder / "tree")
        self._away = folder / "away"
        self._data: dict[str, str] = {}
        self._mount.write({})
        self.options = {"path": str(self._mount.folder), "map": "app-password=app/password,db-password=db/password"}

    def put(self, interface: str, value: str) -> None:
        self._data[f"{interface}-password"] = value
        self._mount.write(self._data)

    def remove(self, interface: str) -> None:
        del self._data[f"{interface}-password"]
        self._mount.write(self._data)

    def fail(self) -> None:
        self._mount.folder.rename(self._away)

    def recover(self) -> None:
        self._away.rename(self._mount.folder)


class Variables:
    """Variables of this process, with a prefix of their own; while one call runs they do not count."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self._prefix = f"CONTRACT_{next(NAMES)}_"
        self.options = {"prefix": self._prefix, "timeout": "50ms"}

    def put(self, interface: str, value: str) -> None:
        self._monkeypatch.setenv(f"{self._prefix}{interface.upper()}__PASSWORD", value)

    def remove(self, interface: str) -> None:
        self._monkeypatch.delenv(f"{self._prefix}{interface.upper()}__PASSWORD")

    def fail(self) -> None:
        raise AssertionError("the environment never fails")

    recover = fail


class Keys:
    """Keys below a prefix of their own, on a server that fails by not answering."""

    def __init__(self, server: ConsulServer | EtcdServer, options: Mapping[str, str]) -> None:
        self._server = server
        self._prefix = f"contract-{next(NAMES)}"
        self.options = {"prefix": self._prefix, "timeout": "2s", "wait": "1s", **options}
        self.fail, self.recover = server.freeze, server.thaw

    def put(self, interface: str, value: str) -> None:
        self._server.put(f"{self._prefix}/{interface}/password", value)

    def remove(self, interface: str) -> None:
        self._server.delete(f"{self._prefix}/{interface}/password")


class Services:
    """An instance of a service for each interface."""

    def __init__(self, server: ConsulServer) -> None:
        self._server = server
        self._suffix = f"-{next(NAMES)}"
        self.options = {"host": server.address, "services": f"app=app{self._suffix}", "timeout": "2s", "wait": "1s"}
        self.fail, self.recover = server.freeze, server.thaw

    def put(self, interface: str, value: str) -> None:
        self._server.register(interface + self._suffix, Port=80, Meta={"password": value})

    def remove(self, interface: str) -> None:
        self._server.deregister(interface + self._suffix)


class Document(ThreadingHTTPServer):
    """A JSON document over HTTP, which fails by answering 503."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), DocumentHandler)
        self.data: dict[str, Any] = {}
        self.status = 200
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.options = {"token": "t0k3n"}

    def put(self, interface: str, value: str) -> None:
        self.data[interface] = {"password": value}

    def remove(self, interface: str) -> None:
        del self.data[interface]

    def fail(self) -> None:
        self.status = 503

    def recover(self) -> None:
        self.status = 200


class DocumentHandler(BaseHTTPRequestHandler):
    server: Document
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        assert self.headers["Authorization"] == "Bearer t0k3n"
        body = json.dumps(self.server.data).encode()
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_what: object) -> None:
        pass


@pytest.fixture(scope="module")
def consul(consul_program: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsulServer]:
    with ConsulServer(consul_program, tmp_path_factory.mktemp("consul")) as server:
        yield server


@pytest.fixture(scope="module")
def etcd(etcd_program: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdServer]:
    with EtcdServer(etcd_program, tmp_path_factory.mktemp("etcd")) as server:
        yield server


class TestFlat(SourceContract):
    """The flat source."""

    source = registry.find("flat", "")

    @pytest.fixture
    def backend(self, tmp_path: Path) -> Files:
        return Files(tmp_path)


class TestTree(SourceContract):
    """The tree source."""

    source = registry.find("tree", "")

    @pytest.fixture(params=[Folder, Mounted])
    def backend(self, request: pytest.FixtureRequest, tmp_path: Path) -> Folder | Mounted:
        made: Folder | Mounted = request.param(tmp_path)
        return made


class TestEnv(SourceContract):
    """The env source."""

    source = registry.find("env", "")
    is_constant = True

    @pytest.fixture
    def backend(self, monkeypatch: pytest.MonkeyPatch) -> Variables:
        return Variables(monkeypatch)


class TestConsulKeys(SourceContract):
    """The Consul source's own process."""

    source = registry.find("consul", "")

    @pytest.fixture
    def backend(self, consul: ConsulServer) -> Keys:
        return Keys(consul, {"host": consul.address})


class TestConsulService(SourceContract):
    """A process of the Consul source for one service."""

    source = registry.find("consul", "")
    part = "app"
    interfaces = ("app",)

    @pytest.fixture
    def backend(self, consul: ConsulServer) -> Services:
        return Services(consul)


class TestEtcd(SourceContract):
    """The etcd source."""

    source = registry.find("etcd", "")

    @pytest.fixture
    def backend(self, etcd: EtcdServer) -> Keys:
        return Keys(etcd, {"endpoints": etcd.address})


class TestExample(SourceContract):
    """The source that the HTTP client's docstring shows to authors."""

    @pytest.fixture
    def backend(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[Document]:
        with Document() as server:
            thread = threading.Thread(target=server.serve_forever, args=(0.01,))
            thread.start()
            example = "".join(
                line for line in str(http.__doc__).splitlines(keepends=True) if line.startswith("    ") or line == "\n"
            )
            code = textwrap.dedent(example).replace("https://config.example:8443", server.url)
            names: dict[str, Any] = {}
            exec(compile(code, "example", "exec", __future__.annotations.compiler_flag), names)  # noqa: S102 -- our own docstring
            monkeypatch.setattr(type(self), "source", names["SOURCE"], raising=False)
            yield server
            server.shutdown()
            thread.join()
