"""Real servers on loopback ports for tests and demonstrations: what Consul's and etcd's have in common.

    with EtcdServer(find_program("etcd"), folder) as server:
        server.put("app/mysql/host", "db1")

Only processes that were started here are ended. Requests are made with urllib: no code is shared with what this helps to test.
"""

from __future__ import annotations

import functools
import json
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, ClassVar, Self

from lab.waiting import eventually

ROOT = Path(__file__).resolve().parents[2]


class BackendsError(Exception):
    """A server's program could not be had; the text says why."""


class RefusedError(Exception):
    """A server refused a request; the text is the HTTP status and the server's words."""


def find_program(name: str) -> Path:
    """Return the program `consul` or `etcd`; raise BackendsError if it cannot be had."""
    argv = [sys.executable, str(ROOT / "tools" / "backends"), name]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=600)
    if done.returncode:
        raise BackendsError(done.stderr.strip())
    return Path(done.stdout.strip(), name)


def free_ports(count: int) -> list[int]:
    """Return loopback ports that were free a moment ago, all different."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [listener.getsockname()[1] for listener in sockets]
    for listener in sockets:
        listener.close()
    return ports


class Server:
    """One process, its data in `<folder>/data`, its log in `<folder>/log`; a subclass says how it is started and asked."""

    token_header: ClassVar[str]

    def __init__(self, program: Path, folder: Path, *, ports: int, certificates: Path | None = None) -> None:
        """Choose so many ports; certificates: a folder filled by `make_certificates`."""
        self.folder = folder
        self.port, *self.other_ports = free_ports(ports)
        self.patience = 10.0  # seconds for one request
        self.token = ""  # of all requests, if there is one
        self.process: subprocess.Popen[bytes] | None = None
        self._program = program
        self._certificates = certificates

    @property
    def address(self) -> str:
        """Return `host:port` for clients."""
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """Return the address with its scheme."""
        return f"{'https' if self._certificates else 'http'}://{self.address}"

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_exception: object) -> None:
        self.kill()

    def start(self) -> Self:
        """Start the process with the data that is there, and return once it takes requests; end it if that fails."""
        try:
            self.launch()
            self.wait_until_ready()
        except BaseException:
            self.kill()
            raise
        return self

    def launch(self) -> None:
        """Start the process, and do not wait for it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        argv = self._prepare()
        with (self.folder / "log").open("ab") as output:
            self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output)

    def wait_until_ready(self) -> None:
        """Return once it takes requests; raise OSError if it has ended, or does not in time."""
        name = self._program.name

        def answers() -> bool:
            assert self.process
            if self.process.poll() is not None:
                raise OSError(f"{name} ended with {self.process.returncode}: {(self.folder / 'log').read_text()[-2000:]}")
            try:
                return self._is_ready()
            except (OSError, RefusedError):
                return False

        eventually(answers, f"{name} on {self.address}")

    def kill(self) -> None:
        """End the process at once, as a crash would; its data stays."""
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None

    def restart(self, *, keep_data: bool = True) -> None:
        """Kill, and start again on the same ports."""
        self.kill()
        if not keep_data:
            (self.folder / "data").rename(self.folder / f"data-{time.monotonic_ns()}")
            self.token = ""
        self.start()

    def freeze(self) -> None:
        """Stop the process: its connections stay, and nothing answers."""
        assert self.process
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen process go on."""
        assert self.process
        self.process.send_signal(signal.SIGCONT)

    def ask(self, method: str, path: str, body: Any = b"") -> Any:
        """Return the answer to an HTTP request, both bytes or JSON; raise RefusedError if the server refuses."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/{path}", data or None, method=method)  # noqa: S310 -- loopback
        if self.token:
            request.add_header(self.token_header, self.token)
        try:
            with self._opener.open(request, timeout=self.patience) as answer:
                return json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            with error:
                raise RefusedError(f"{error.code}: {error.read().decode()}") from None

    @functools.cached_property
    def _opener(self) -> urllib.request.OpenerDirector:
        """Return what makes requests: with the certificates, without the environment's proxies."""
        handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
        if self._certificates:
            context = ssl.create_default_context(cafile=str(self._certificates / "ca.pem"))
            context.check_hostname = False
            context.load_cert_chain(self._certificates / "client.pem", self._certificates / "client.key")
            handlers.append(urllib.request.HTTPSHandler(context=context))
        return urllib.request.build_opener(*handlers)

    def _prepare(self) -> list[str]:
        """Write what the program needs into the folder, and return its command line."""
        raise NotImplementedError

    def _is_ready(self) -> bool:
        """Return whether it takes requests by now; OSError and RefusedError are a no."""
        raise NotImplementedError


def make_certificates(folder: Path, names: str = "IP:127.0.0.1,DNS:localhost") -> Path:
    """Fill a folder with ca, server and client (each .pem and .key) by the openssl command; names: the server's."""
    folder.mkdir(parents=True, exist_ok=True)
    _request_certificate(folder, "ca", "ca.pem", "/CN=test authority", "-x509", "-days", "2",
                         "-addext", "keyUsage=critical,keyCertSign,cRLSign")  # fmt: skip
    sign_certificate(folder, "server", f"subjectAltName={names}\nextendedKeyUsage=serverAuth,clientAuth")
    sign_certificate(folder, "client", "extendedKeyUsage=clientAuth")
    return folder


def sign_certificate(folder: Path, name: str, extensions: str, days: int = 2) -> None:
    """Make `<name>.pem` and `<name>.key`, by the authority in a folder of `make_certificates`; days: negative if expired."""
    (folder / f"{name}.ext").write_text(extensions + "\n")
    _request_certificate(folder, name, f"{name}.csr", f"/O={name}")  # etcd's gateway refuses a CN
    _openssl(folder, "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
             "-out", f"{name}.pem", "-days", str(days), "-extfile", f"{name}.ext")  # fmt: skip


def _request_certificate(folder: Path, name: str, output: str, subject: str, *more: str) -> None:
    _openssl(folder, "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
             "-keyout", f"{name}.key", "-out", output, "-subj", subject, *more)  # fmt: skip


def _openssl(folder: Path, *words: str) -> None:
    subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True, text=True, timeout=60)
