"""Real Consul servers on loopback ports for tests and demonstrations; only processes that were started here are ended.

    with ConsulServer(backends() / "consul", folder) as server:
        server.put("app/mysql/host", "db1")

Requests are made with urllib: this file shares no code with what it helps to test.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote

from tests.etcd_server import BackendsError, RefusedError, eventually, free_ports, make_certificates

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROOT = Path(__file__).resolve().parent.parent

__all__ = ["BackendsError", "ConsulServer", "RefusedError", "backends", "make_certificates"]


def backends() -> Path:
    """Return the folder with the program `consul`; raise BackendsError if it cannot be had."""
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "backends", "consul"],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    if done.returncode:
        raise BackendsError(done.stderr.strip())
    return Path(done.stdout.strip())


class ConsulServer:
    """One server that is its own leader: its configuration, data and log in a folder."""

    def __init__(
        self,
        program: Path,
        folder: Path,
        *,
        certificates: Path | None = None,
        acl: bool = False,
        configuration: Mapping[str, Any] | None = None,
    ) -> None:
        """Choose the ports.

        certificates: a folder filled by `make_certificates`; clients need one then. acl: deny what no token allows.
        configuration: more of Consul's own, merged over.
        """
        self.folder = folder
        self.port, serf, server = free_ports(3)
        self.token = ""
        self.process: subprocess.Popen[bytes] | None = None
        self._program = program
        self._certificates = certificates
        self._acl = acl
        tls: dict[str, Any] = {}
        if certificates:
            tls = {
                "ca_file": str(certificates / "ca.pem"),
                "cert_file": str(certificates / "server.pem"),
                "key_file": str(certificates / "server.key"),
                "verify_incoming_https": True,
            }
        self._configuration = {
            "server": True,
            "bootstrap_expect": 1,
            "data_dir": str(folder / "data"),
            "node_name": "server",
            "bind_addr": "127.0.0.1",
            "client_addr": "127.0.0.1",
            "ports": {
                "http": -1 if certificates else self.port,
                "https": self.port if certificates else -1,
                **dict.fromkeys(("dns", "grpc", "serf_wan"), -1),
                "serf_lan": serf,
                "server": server,
            },
            "performance": {"raft_multiplier": 1},
            "disable_update_check": True,
            "log_level": "warn",
            # With it, listing keys without the right to is refused; else it looks like an empty store.
            "acl": {"enabled": acl, "default_policy": "deny" if acl else "allow", "enable_key_list_policy": acl},
            **tls,
            **(configuration or {}),
        }

    @property
    def address(self) -> str:
        """Return `host:port` for clients."""
        return f"127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_exception: object) -> None:
        self.kill()

    def start(self) -> Self:
        """Start the process, and return once it can store a key; with the data that is there."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "server.json").write_text(json.dumps(self._configuration))
        argv = [str(self._program), "agent", "-config-file", str(self.folder / "server.json")]
        with (self.folder / "log").open("ab") as output:
            self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        eventually(self._is_ready, f"consul on {self.address}", 60.0)
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
            self.token = ""
        self.start()

    def freeze(self) -> None:
        """Stop the process: its connections stay, and nothing answers."""
        assert self.process
        os.kill(self.process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen process go on."""
        assert self.process
        os.kill(self.process.pid, signal.SIGCONT)

    def put(self, key: str, value: str | bytes) -> None:
        """Store a value."""
        assert self.request("PUT", f"kv/{quote(key)}", value.encode() if isinstance(value, str) else value) is True

    def delete(self, key: str, *, recurse: bool = False) -> None:
        """Delete a key, or all that have it as their prefix."""
        self.request("DELETE", f"kv/{quote(key)}{'?recurse' if recurse else ''}")

    def transact(self, puts: Mapping[str, str], deletes: Sequence[str] = ()) -> None:
        """Store and delete in one transaction."""
        steps = [
            {"KV": {"Verb": "set", "Key": key, "Value": base64.b64encode(value.encode()).decode()}} for key, value in puts.items()
        ]
        self.request("PUT", "txn", [*steps, *({"KV": {"Verb": "delete", "Key": key}} for key in deletes)])

    def register(
        self,
        service: str,
        *,
        node: str = "node-1",
        name: str = "",
        status: str = "passing",
        node_address: str = "10.9.0.1",
        **details: Any,  # Consul's own words: Address, Port, Tags, Meta
    ) -> None:
        """Register an instance of a service (name: its id) on a node, with a check in this status; or change it."""
        check = {"Name": "alive", "CheckID": f"check-{name or service}", "Status": status, "ServiceID": name or service}
        self.request(
            "PUT",
            "catalog/register",
            {
                "Node": node,
                "Address": node_address,
                "Service": {"Service": service, "ID": name or service, **details},
                "Check": check,
            },
        )

    def deregister(self, name: str, node: str = "node-1") -> None:
        """Take an instance away by its id."""
        self.request("PUT", "catalog/deregister", {"Node": node, "ServiceID": name})

    def make_token(self, rules: str) -> str:
        """Make a token with a policy of its own, and return its secret."""
        name = f"policy-{time.monotonic_ns()}"
        self.request("PUT", "acl/policy", {"Name": name, "Rules": rules})
        token: str = self.request("PUT", "acl/token", {"Policies": [{"Name": name}]})["SecretID"]
        return token

    def request(self, method: str, path: str, body: Any = b"") -> Any:
        """Ask the HTTP API below /v1/ with the management token; raise RefusedError with its words if it refuses."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        scheme = "https" if self._certificates else "http"
        request = urllib.request.Request(f"{scheme}://{self.address}/v1/{path}", data or None, method=method)  # noqa: S310 -- loopback
        if self.token:
            request.add_header("X-Consul-Token", self.token)
        handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
        if self._certificates:
            context = ssl.create_default_context(cafile=str(self._certificates / "ca.pem"))
            context.check_hostname = False
            context.load_cert_chain(self._certificates / "client.pem", self._certificates / "client.key")
            handlers.append(urllib.request.HTTPSHandler(context=context))
        try:
            with urllib.request.build_opener(*handlers).open(request, timeout=10) as answer:
                return json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            with error:
                raise RefusedError(f"{error.code}: {error.read().decode()}") from None

    def _is_ready(self) -> bool:
        """Return whether it leads, and has stored its own node and its first token: only then does it take requests."""
        assert self.process
        if self.process.poll() is not None:
            raise OSError(f"consul ended with {self.process.returncode}: {(self.folder / 'log').read_text()[-2000:]}")
        try:
            if not self.request("GET", "status/leader"):
                return False
            if self._acl and not self.token:
                self.token = self.request("PUT", "acl/bootstrap")["SecretID"]
            return bool(self.request("GET", "health/node/server?consistent"))  # its log replayed, after a restart
        except (OSError, RefusedError):
            return False
