"""Real Consul servers: requests go to Consul's HTTP API (/v1/…)."""

from __future__ import annotations

import base64
import json
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from lab.servers import RefusedError, Server
from lab.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


class ConsulServer(Server):
    """One server that is its own leader: its configuration is in its folder, too."""

    token_header = "X-Consul-Token"

    def __init__(
        self,
        program: Path,
        folder: Path,
        *,
        certificates: Path | None = None,
        acl: bool = False,
        datacenter: str = "",
        configuration: Mapping[str, Any] | None = None,
    ) -> None:
        """Choose the ports.

        certificates: a folder filled by `make_certificates`; clients need one then. acl: deny what no token allows.
        datacenter: its name, so that it can be joined with servers of others. configuration: more of Consul's own, merged over.
        """
        super().__init__(program, folder, ports=4, certificates=certificates)
        serf, server, self._wan_port = self.other_ports
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
                **dict.fromkeys(("dns", "grpc"), -1),
                "serf_lan": serf,
                "serf_wan": self._wan_port if datacenter else -1,
                "server": server,
            },
            "performance": {"raft_multiplier": 1},
            "datacenter": datacenter or "dc1",
            "disable_update_check": True,
            "log_level": "warn",
            # With it, listing keys without the right to is refused; else it looks like an empty store.
            "acl": {"enabled": acl, "default_policy": "deny" if acl else "allow", "enable_key_list_policy": acl},
            **tls,
            **(configuration or {}),
        }

    def join(self, other: ConsulServer) -> None:
        """Join the server of another datacenter, and return once requests are forwarded to it."""
        self.request("PUT", f"agent/join/127.0.0.1:{other._wan_port}?wan=1")
        name = other._configuration["datacenter"]

        def forwards() -> bool:
            try:
                return bool(self.request("GET", f"health/node/server?dc={name}"))
            except RefusedError:
                return False

        eventually(forwards, f"datacenter {name}")

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
        return self.ask(method, f"v1/{path}", body)

    def _prepare(self) -> list[str]:
        file = self.folder / "server.json"
        file.write_text(json.dumps(self._configuration))
        return [str(self._program), "agent", "-config-file", str(file)]

    def _is_ready(self) -> bool:
        """Return whether it leads, and has stored its own node and its first token: only then does it take requests."""
        if not self.request("GET", "status/leader"):
            return False
        if self._acl and not self.token:
            self.token = self.request("PUT", "acl/bootstrap")["SecretID"]
        return bool(self.request("GET", "health/node/server?consistent"))  # its log replayed, after a restart
