"""Real etcd servers: requests go through etcd's JSON gateway (/v3/…)."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, Self

from lab.servers import RefusedError, Server

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def encode(text: str | bytes) -> str:
    """Return text as the gateway wants it."""
    return base64.b64encode(text.encode() if isinstance(text, str) else text).decode()


class EtcdServer(Server):
    """One member."""

    token_header = "Authorization"

    def __init__(
        self,
        program: Path,
        folder: Path,
        *,
        arguments: Sequence[str] = (),
        certificates: Path | None = None,
        client_certificates: bool = False,
    ) -> None:
        """Choose the ports; certificates: a folder filled by `make_certificates`."""
        super().__init__(program, folder, ports=2, certificates=certificates)
        self.peer = f"http://127.0.0.1:{self.other_ports[0]}"
        self._arguments = list(arguments)
        self._client_certificates = client_certificates
        self._cluster = ("default", f"default={self.peer}")  # its own name, and all members

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

    def request(self, path: str, body: dict[str, Any]) -> Any:
        """Ask the gateway; raise RefusedError with the server's words if it refuses."""
        try:
            return self.ask("POST", f"v3/{path}", body)
        except RefusedError as error:
            if "invalid auth token" not in str(error):
                raise
        self._log_in()
        return self.ask("POST", f"v3/{path}", body)

    def _log_in(self) -> None:
        self.token = ""
        self.token = self.ask("POST", "v3/auth/authenticate", {"name": "root", "password": "root-password"})["token"]

    def _prepare(self) -> list[str]:
        name, members = self._cluster
        argv = [
            str(self._program), "--name", name, "--data-dir", str(self.folder / "data"),
            "--listen-client-urls", self.url, "--advertise-client-urls", self.url,
            "--listen-peer-urls", self.peer, "--initial-advertise-peer-urls", self.peer, "--initial-cluster", members,
            "--log-level", "warn", "--logger", "zap",
            "--heartbeat-interval", "50", "--election-timeout", "500", *self._arguments,
        ]  # fmt: skip
        if self._certificates:
            argv += [f"--cert-file={self._certificates}/server.pem", f"--key-file={self._certificates}/server.key"]
        if self._certificates and self._client_certificates:
            argv += ["--client-cert-auth", f"--trusted-ca-file={self._certificates}/ca.pem"]
        return argv

    def _is_ready(self) -> bool:
        """Return whether it answers with a leader."""
        return bool(self.ask("GET", "health")["health"] == "true")

    @staticmethod
    def _revision(answer: dict[str, Any]) -> int:
        return int(answer["header"]["revision"])


class EtcdCluster:
    """Three members that know each other."""

    def __init__(self, program: Path, folder: Path) -> None:
        """Choose the ports."""
        names = ("one", "two", "three")
        self.members = [EtcdServer(program, folder / name) for name in names]
        all_members = ",".join(f"{name}={member.peer}" for name, member in zip(names, self.members, strict=True))
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
