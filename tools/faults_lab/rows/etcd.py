"""The rows of etcd alone: HTTP/2, watches, compaction, majorities, logins."""

from __future__ import annotations

import os
import re
import signal
from typing import TYPE_CHECKING, Any

from lab.etcd_server import EtcdCluster

from faults_lab import misbehaviour as bad
from faults_lab.disco import SECRET
from faults_lab.rows.through_gate import find_hurry, gate_row

if TYPE_CHECKING:
    from pathlib import Path

    from faults_lab.bench import Bench
    from faults_lab.row import Case, Make


def list_faults() -> dict[str, Make]:
    """Return what makes each row, by its fault."""
    return {
        "speaks HTTP/1.1": gate_row("etcd", bad.answer("400 Bad Request", b"no")),
        "endless HTTP/2 pings": gate_row("etcd", bad.flood_http2),
        "greets with GOAWAY": gate_row("etcd", bad.say_goaway, options={"etcd.timeout": "4"}),
        "one connection for each try": _tries_row,
        "reads well, then each watch fails": _watch_row(cancels=False),
        "each watch is accepted and cancelled": _watch_row(cancels=True),
        "compaction while its source is stopped": _compaction_row,
        "two of three members frozen": _majority_row,
        "password changed": _etcd_password_row(),
        "wrong password from the start": _etcd_password_row(from_start=True),
        "login expires each second": _etcd_expiry_row,
        "permission taken away": _etcd_permission_row,
    }


def _watch_row(*, cancels: bool) -> Make:
    """Return what makes a row in which etcd is read, and no watch of it lasts."""

    def make(bench: Bench) -> Case:
        front = bench.etcd_front(cancels=cancels)
        return bench.case(
            "etcd", bench.servers.shared("etcd"), front.port, lasts=10, passes=True,
            begin=front.fail, end=front.heal, is_on=lambda _: front.hits, check=lambda: find_hurry(front),
        )  # fmt: skip

    return make


def _tries_row(bench: Bench) -> Case:
    """Make a row in which an etcd hangs up: each try of disco's is one connection, and none is made behind its back."""
    server = bench.servers.shared("etcd")
    gate = bench.gate(server)
    log = bench.folder / "faulty-disco" / "stderr"

    def check() -> str:
        tries = len(re.findall(r" DEBUG +etcd\[.*connection was closed", log.read_text()))
        return f"{gate.hits} connections for {tries} tries" if gate.hits > 2 + 1.5 * tries else ""

    return bench.case(
        "etcd", server, gate.port, lasts=15,
        begin=lambda: gate.fail(bad.hang_up), end=gate.heal, is_on=lambda _: gate.hits, check=check,
    )  # fmt: skip


def _compaction_row(bench: Bench) -> Case:
    """Make a row in which disco's source is stopped for longer than its watch lasts, and what it missed is compacted."""
    server = bench.own("etcd")
    log = bench.folder / "faulty-disco" / "stderr"

    def source() -> int:
        return int(re.findall(r" etcd\[(\d+)\] ", log.read_text())[-1])

    def end() -> None:
        for n in range(20):
            server.put("other", str(n))
        server.compact(server.put("other", "last"))
        os.kill(source(), signal.SIGCONT)

    return bench.case(
        "etcd", server, server.port, options={"etcd.timeout": "3"}, begin=lambda: os.kill(source(), signal.SIGSTOP), end=end,
        is_on=lambda _: True, check=lambda: "" if "compacted" in log.read_text() else "no compaction was met",
    )  # fmt: skip


def _majority_row(bench: Bench) -> Case:
    """Make a row in which two of three members do not answer."""
    cluster = EtcdCluster(bench.servers.program("etcd"), bench.folder / "cluster")
    bench.stack.enter_context(cluster)
    first, *others = cluster.members

    def begin() -> None:
        for member in others:
            member.freeze()

    def end() -> None:
        for member in others:
            member.thaw()  # done to one that runs it does nothing
        first.wait_until_ready()

    bench.stack.callback(end)
    return bench.case(
        "etcd", first, first.port, begin=begin, end=end, while_on=False,
        is_on=lambda running: re.search(r"no leader|no answer", running.log),
    )  # fmt: skip


def _etcd_login(bench: Bench, *arguments: str) -> tuple[Any, Path, dict[str, str]]:
    """Return a server that wants a login, the password's file, and the options."""
    server = bench.own("etcd", arguments=arguments)
    server.add_role("reader", f"{bench.number}/")
    server.add_user("ann", SECRET, "reader")
    server.enable_auth()
    file = bench.folder / "password"
    file.write_text(SECRET)
    return server, file, {"etcd.user": "ann", "etcd.password_file": str(file)}


def _etcd_password_row(*, from_start: bool = False) -> Make:
    """Return what makes a row in which the password is changed; the next one comes in its file."""

    def make(bench: Bench) -> Case:
        server, file, options = _etcd_login(bench)
        return bench.case(
            "etcd", server, server.port, options=options, from_start=from_start,
            begin=lambda: server.request("auth/user/changepw", {"name": "ann", "password": f"{SECRET}-2"}),
            end=lambda: file.write_text(f"{SECRET}-2"), is_on=lambda running: "wrong user or password" in running.log,
        )  # fmt: skip

    return make


def _etcd_expiry_row(bench: Bench) -> Case:
    """Make a row in which each login expires after a second; that is no error at all, and no change is lost."""
    server, _, options = _etcd_login(bench, "--auth-token-ttl", "1")
    options |= {"etcd.wait": "3"}  # a login that is used more often lives on
    return bench.case(
        "etcd", server, server.port, options=options, begin=lambda: None, end=lambda: None,
        passes=True, is_on=lambda running: "logging in again" in running.log,
    )  # fmt: skip


def _etcd_permission_row(bench: Bench) -> Case:
    """Make a row in which the role is taken from the user."""
    server, _, options = _etcd_login(bench)
    return bench.case(
        "etcd", server, server.port, options=options, begin=lambda: server.revoke_role("ann", "reader"),
        end=lambda: server.request("auth/user/grant", {"user": "ann", "role": "reader"}),
        is_on=lambda running: "permission denied" in running.log,
    )  # fmt: skip
