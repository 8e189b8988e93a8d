"""Real etcd servers on loopback ports, for tests and demonstrations; only processes that were started here are ended.

    with EtcdServer(backends() / "etcd", folder) as server:
        server.put("app/mysql/host", "db1")

Requests go through etcd's JSON gateway (/v3/…): this file shares no code with what it helps to test.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

START_LIMIT = 30.0  # seconds until a server must answer
ROOT = Path(__file__).resolve().parent.parent


class BackendsError(Exception):
    """The servers' programs could not be had; the text says why."""


def backends() -> Path:
    """Return the folder with the program `etcd`; raise BackendsError if it cannot be had."""
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "backends", "etcd"], capture_output=True, text=True, check=False, timeout=600
    )
    if done.returncode:
        raise BackendsError(done.stderr.strip())
    return Path(done.stdout.strip())


def free_ports(count: int) -> list[int]:
    """Return loopback ports that were free a moment ago, all different."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [found.getsockname()[1] for found in sockets]
    for found in sockets:
        found.close()
    return ports


def eventually(fact: Callable[[], Any], what: str, limit: float = START_LIMIT) -> Any:
    """Return the first true result of a function asked again and again; raise TimeoutError after `limit` seconds."""
    until = time.monotonic() + limit
    while not (found := fact()):
        if time.monotonic() > until:
            raise TimeoutError(f"{what}: not within {limit:g} s")
        time.sleep(0.02)
    return found


def encode(text: str | bytes) -> str:
    """Return text as the gateway wants it."""
    return base64.b64encode(text.encode() if isinstance(text, str) else text).decode()


class RefusedError(Exception):
    """A server refused a request."""


class EtcdServer:
    """One member, its data in a folder, its log in `<folder>/log`."""

    def __init__(
        self,
        program: Path,
        folder: Path,
        *,
        arguments: Sequence[str] = (),
        certificates: Path | None = None,
        client_certificates: bool = False,
        cluster: tuple[str, str] | None = None,
    ) -> None:
        """Choose the ports; certificates: a folder filled by `make_certificates`; cluster: own name, all members."""
        self.folder = folder
        self.patience = 10.0  # seconds for one request
        self.port, self.peer_port = free_ports(2)
        self.process: subprocess.Popen[bytes] | None = None
        self._program = program
        self._arguments = list(arguments)
        self._certificates = certificates
        self._client_certificates = client_certificates
        self._cluster = cluster
        self._token = ""
        self._http: urllib.request.OpenerDirector | None = None

    @property
    def endpoint(self) -> str:
        """Return `host:port` for clients."""
        return f"127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_exception: object) -> None:
        self.kill()

    def launch(self) -> None:
        """Start the process, and do not wait for it."""
        peer = f"http://127.0.0.1:{self.peer_port}"
        name, members = self._cluster or ("default", f"default={peer}")
        argv = [
            str(self._program), "--name", name, "--data-dir", str(self.folder / "data"),
            "--listen-client-urls", self._url(), "--advertise-client-urls", self._url(),
            "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", members,
            "--log-level", "warn", "--logger", "zap",
            "--heartbeat-interval", "50", "--election-timeout", "500", *self._arguments,
        ]  # fmt: skip
        if self._certificates:
            argv += [f"--cert-file={self._certificates}/server.pem", f"--key-file={self._certificates}/server.key"]
        if self._certificates and self._client_certificates:
            argv += ["--client-cert-auth", f"--trusted-ca-file={self._certificates}/ca.pem"]
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "log").open("ab") as output:
            self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output)

    def wait_until_ready(self) -> None:
        """Return once the server answers with a leader."""

        def answers() -> bool:
            assert self.process
            if self.process.poll() is not None:
                raise OSError(f"etcd ended with {self.process.returncode}: {(self.folder / 'log').read_text()[-2000:]}")
            try:
                with self._opener().open(f"{self._url()}/health", timeout=5) as answer:
                    return bool(json.load(answer)["health"] == "true")
            except OSError:
                return False

        eventually(answers, f"etcd on {self.endpoint}")

    def start(self) -> Self:
        """Start the process and wait for it; with the data that is there."""
        self.launch()
        self.wait_until_ready()
        return self

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
            self._token = ""
        self.start()

    def freeze(self) -> None:
        """Stop the process: its connections stay, and nothing answers."""
        assert self.process
        os.kill(self.process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen process go on."""
        assert self.process
        os.kill(self.process.pid, signal.SIGCONT)

    def put(self, key: str | bytes, value: str | bytes) -> int:
        """Store a value; return the revision."""
        return self._revision(self.request("kv/put", {"key": encode(key), "value": encode(value)}))

    def delete(self, key: str | bytes) -> int:
        """Delete a key; return the revision."""
        return self._revision(self.request("kv/deleterange", {"key": encode(key)}))

    def transact(self, puts: dict[str, str], deletes: Sequence[str] = ()) -> int:
        """Store and delete in one transaction; return the revision."""
        steps: list[dict[str, Any]] = [{"requestPut": {"key": encode(key), "value": encode(value)}} for key, value in puts.items()]
        steps += [{"requestDeleteRange": {"key": encode(key)}} for key in deletes]
        return self._revision(self.request("kv/txn", {"success": steps}))

    def compact(self, revision: int) -> None:
        """Forget the history before a revision."""
        self.request("kv/compaction", {"revision": str(revision), "physical": True})

    def add_user(self, name: str, password: str, *roles: str) -> None:
        """Add a user with roles."""
        self.request("auth/user/add", {"name": name, "password": password})
        for role in roles:
            self.request("auth/user/grant", {"user": name, "role": role})

    def add_role(self, name: str, prefix: str = "") -> None:
        """Add a role that may read what begins with a prefix."""
        self.request("auth/role/add", {"name": name})
        if prefix:
            end = prefix[:-1] + chr(ord(prefix[-1]) + 1)
            permission = {"permType": "READ", "key": encode(prefix), "range_end": encode(end)}
            self.request("auth/role/grant", {"name": name, "perm": permission})

    def revoke_role(self, user: str, role: str) -> None:
        """Take a role from a user."""
        self.request("auth/user/revoke", {"name": user, "role": role})

    def enable_auth(self) -> None:
        """Require a login from now on; what this object asks for is done as root."""
        self.add_role("root")
        self.add_user("root", "root-password", "root")
        self.request("auth/enable", {})
        self._log_in()

    def request(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Ask the gateway; raise RefusedError with the server's words if it refuses."""
        for attempt in range(2):
            url = f"{self._url()}/v3/{path}"
            request = urllib.request.Request(url, json.dumps(body).encode())  # noqa: S310 -- its own, http or https
            if self._token and path != "auth/authenticate":
                request.add_header("Authorization", self._token)
            try:
                with self._opener().open(request, timeout=self.patience) as answer:
                    found: dict[str, Any] = json.load(answer)
                    return found
            except urllib.error.HTTPError as error:
                with error:
                    text = error.read().decode()
                if attempt or "invalid auth token" not in text:
                    raise RefusedError(text) from None
                self._log_in()
        raise AssertionError

    def _log_in(self) -> None:
        self._token = self.request("auth/authenticate", {"name": "root", "password": "root-password"})["token"]

    def _url(self) -> str:
        return f"{'https' if self._certificates else 'http'}://127.0.0.1:{self.port}"

    def _opener(self) -> urllib.request.OpenerDirector:
        """Return what makes requests: with the certificates, without the environment's proxies."""
        if not self._http:
            handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
            if self._certificates:
                context = ssl.create_default_context(cafile=str(self._certificates / "ca.pem"))
                context.check_hostname = False
                context.load_cert_chain(self._certificates / "client.pem", self._certificates / "client.key")
                handlers.append(urllib.request.HTTPSHandler(context=context))
            self._http = urllib.request.build_opener(*handlers)
        return self._http

    @staticmethod
    def _revision(answer: dict[str, Any]) -> int:
        return int(answer["header"]["revision"])


class EtcdCluster:
    """Three members that know each other."""

    def __init__(self, program: Path, folder: Path, *, arguments: Sequence[str] = ()) -> None:
        """Choose the ports."""
        names = ("one", "two", "three")
        self.members = [EtcdServer(program, folder / name, arguments=arguments) for name in names]
        all_members = ",".join(
            f"{name}=http://127.0.0.1:{member.peer_port}" for name, member in zip(names, self.members, strict=True)
        )
        for name, member in zip(names, self.members, strict=True):
            member._cluster = (name, all_members)  # known only once all have their ports

    def __enter__(self) -> Self:
        for member in self.members:
            member.launch()
        for member in self.members:
            member.wait_until_ready()
        return self

    def __exit__(self, *_exception: object) -> None:
        for member in self.members:
            member.kill()


def make_certificates(folder: Path, names: str = "IP:127.0.0.1,DNS:localhost") -> Path:
    """Fill a folder with ca, server and client (each .pem and .key) by the openssl command; names: the server's."""
    folder.mkdir(parents=True, exist_ok=True)

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True, timeout=60)

    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    ca_usage = "keyUsage=critical,keyCertSign,cRLSign"
    openssl("req", "-x509", *curve, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=test authority",
            "-addext", ca_usage)  # fmt: skip
    for name, extensions in {
        "server": f"subjectAltName={names}\nextendedKeyUsage=serverAuth,clientAuth",
        "client": "extendedKeyUsage=clientAuth",
    }.items():
        (folder / f"{name}.ext").write_text(extensions + "\n")
        openssl("req", *curve, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/O={name}")  # the gateway refuses a CN
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                "-out", f"{name}.pem", "-days", "2", "-extfile", f"{name}.ext")  # fmt: skip
    return folder
