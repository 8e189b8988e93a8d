"""The etcd source logs in, and says what rights it lacks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lab.waiting import eventually

from tests.sources.etcd.reader import HUSH, Reader
from tests.sources.etcd.servers import secure

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from lab.etcd_server import EtcdServer


def test_login(start: Callable[..., EtcdServer], read: Callable[..., Reader], tmp_path: Path) -> None:
    """User and password work without TLS; a wrong one, none, and missing rights each say so, and never the password."""
    server = start()
    secure(server)
    login = f"user=ann password={HUSH}-ann"
    at = server.address
    assert read(server, f"prefix=app {login}").data() == {"mysql": {"host": "db1"}}
    assert read(server, "prefix=app").error() == f"{at}: the server wants a user and a password"
    assert read(server, f"prefix=other {login}").error() == f"{at}: permission denied for prefix 'other/'"
    assert read(server, login).error() == f"{at}: permission denied for all keys: set a prefix"
    secret = tmp_path / "password"
    reader = read(server, f"prefix=app user=ann password_file={secret}")
    assert reader.error() == f"password_file: {secret}: No such file or directory"
    secret.write_text(f"{HUSH}-wrong\n")
    reader.until(lambda line: line["error"] == f"{at}: wrong user or password")
    secret.write_text(f"{HUSH}-ann\n")
    assert reader.until(lambda line: "data" in line)["data"] == {"mysql": {"host": "db1"}}


def test_other_prefix_that_may_not_be_read(start: Callable[..., EtcdServer], read: Callable[..., Reader]) -> None:
    """Without the right to read below the other prefix nothing is said of it, and the source goes on."""
    server = start()
    secure(server)
    server.add_role("empty", "/app/")
    server.request("auth/user/grant", {"user": "ann", "role": "empty"})
    server.revoke_role("ann", "app")
    reader = read(server, f"prefix=/app user=ann password={HUSH}-ann")
    line = reader.next()
    assert (line.get("data"), line.get("note")) == ({}, "")
    server.put("/app/mysql/host", "db2")
    assert reader.data() == {"mysql": {"host": "db2"}}


def test_login_not_needed(server: EtcdServer, read: Callable[..., Reader]) -> None:
    """A user for a server without authentication does no harm, as with etcd's own client."""
    server.put("open/mysql/host", "db1")
    assert read(server, f"prefix=open user=ann password={HUSH}").data() == {"mysql": {"host": "db1"}}


def test_login_expires(start: Callable[..., EtcdServer], read: Callable[..., Reader]) -> None:
    """When the login has expired a new one is made at once, without an error, and no change is lost."""
    server = start(arguments=["--auth-token-ttl", "1"])
    secure(server)
    reader = read(server, f"prefix=app wait=2 user=ann password={HUSH}-ann")
    reader.watched()
    eventually(lambda: "logging in again" in reader.log, "the second login")
    server.put("app/mysql/host", "db2")
    reader.until_data({"mysql": {"host": "db2"}})
    assert reader.log.count("logged in") >= 2


def test_rights_taken_away(start: Callable[..., EtcdServer], read: Callable[..., Reader]) -> None:
    """Rights that are taken away while it watches are an error, not an empty answer; given back, it goes on."""
    server = start()
    secure(server)
    reader = read(server, f"prefix=app wait=1 user=ann password={HUSH}-ann")
    reader.watched()
    server.revoke_role("ann", "app")
    line = reader.until(lambda line: not line.get("same"))
    assert line.get("error") == f"{server.address}: permission denied for prefix 'app/'"
    server.request("auth/user/grant", {"user": "ann", "role": "app"})
    assert reader.until(lambda line: "data" in line)["data"] == {"mysql": {"host": "db1"}}
