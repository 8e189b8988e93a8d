"""The rows of Consul alone: its answers, its index, its tokens and permissions."""

from __future__ import annotations

import gzip
import re
import uuid
from functools import partial
from typing import TYPE_CHECKING, Any

from faults_lab import misbehaviour as bad
from faults_lab.gate import Gate, relay
from faults_lab.rows.through_gate import find_hurry, gate_row

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from faults_lab.bench import Bench
    from faults_lab.gate import Serve
    from faults_lab.row import Case, Make


def list_faults() -> dict[str, Make]:
    """Return what makes each row, by its fault."""
    bomb = bad.bomb(1 << 30)
    objects = b"[" + b"{}," * 10_000_000 + b"{}]"
    row = partial(gate_row, "consul")
    answers: dict[str, Serve] = {
        "429 for a while": bad.answer("429 Too Many Requests"),
        "429 with Retry-After: 2": bad.answer("429 Too Many Requests", Retry_After="2"),
        "500 for a while": bad.answer("500 Internal Server Error", b"rpc error"),
        "503 with a strange Retry-After": bad.answer("503 Service Unavailable", Retry_After="soon"),
        "404 of another server": bad.answer("404 Not Found", b"<html>no</html>", X_Consul_Index=""),
        "redirect to itself without end": bad.answer("301 Moved Permanently", Location="/v1/kv/again"),
        "JSON: an object": bad.answer("200 OK", b"{}"),
        "JSON: null": bad.answer("200 OK", b"null"),
        "JSON: a list of numbers": bad.answer("200 OK", b"[1, 2]"),
        "JSON: entries without value": bad.answer("200 OK", b'[{"Key": "x"}]'),
        "JSON: values that are numbers": bad.answer("200 OK", b'[{"Key": "x", "Value": 5}]'),
        "JSON: 100,000 brackets": bad.answer("200 OK", b"[" * 100_000),
        "a page of HTML": bad.answer("200 OK", b"<html>Sign in</html>"),
        "an empty body": bad.answer("200 OK"),
        "endless body": bad.answer("200 OK", bad.Endless(b" " * 65536, b"[")),
        "endless body of an error": bad.answer("500 Internal Server Error", bad.Endless(b"x" * 65536)),
        "endless headers": _send_headers,
        "gzip bomb": bad.answer("200 OK", bomb, Content_Encoding="gzip"),
        "gzip bomb of JSON": bad.answer("200 OK", gzip.compress(objects), Content_Encoding="gzip"),
        "JSON: ten million objects": bad.answer("200 OK", objects),
        "gzip bomb in an error": bad.answer("500 Internal Server Error", bomb, Content_Encoding="gzip"),
    }
    return {
        **{name: row(serve) for name, serve in answers.items()},
        "redirect to another host": _redirect_row,
        "first read drips, with a long wait": _drip_row,
        "reads well, then fails": _half_well_row,
        "index goes backwards": _index_row(lambda count: max(1, 1_000_000 - count)),
        "index is 0": _index_row(lambda _: 0),
        "index jumps, so that nothing blocks": _index_row(lambda count: 1 + count % 2),
        "token deleted": _consul_token_row(),
        "wrong token from the start": _consul_token_row(from_start=True),
        "permission taken away (403)": _consul_permission_row(told=True),
        "permission taken away (looks empty)": _consul_permission_row(told=False),
    }


def _send_headers(gate: Gate, client: socket.socket) -> None:
    """Answer with headers without end."""
    client.recv(65536)
    client.sendall(b"HTTP/1.1 200 OK\r\n")
    while not gate.over.is_set():
        client.sendall(b"X: " + b"x" * 60000 + b"\r\n")


def _redirect_row(bench: Bench) -> Case:
    """Make a redirect to another host: neither the token nor any request may go there."""
    elsewhere = bench.gate(bench.servers.shared("consul"))
    elsewhere.fail(bad.answer("200 OK", b"[]"))
    redirect = bad.answer("302 Found", Location=f"http://localhost:{elsewhere.port}/v1/kv/")
    case = gate_row("consul", redirect)(bench)
    case.check = lambda: f"{elsewhere.hits} requests followed to the other host" if elsewhere.hits else ""
    return case


def _index_row(value: Callable[[int], int]) -> Make:
    """Return what makes a row in which Consul's index is another one: a function of how many answers there were."""
    count = 0

    def change(data: bytes) -> bytes:
        nonlocal count
        count += 1
        return re.sub(rb"X-Consul-Index: \d+", b"X-Consul-Index: %d" % value(count), data)

    return gate_row("consul", bad.changed(change), passes=True)


def _drip_row(bench: Bench) -> Case:
    """Make a row in which the first answer drips: whatever a blocking query may take, a first read has its timeout."""
    server = bench.servers.shared("consul")
    gate = bench.gate(server)
    return bench.case(
        "consul", server, gate.port, options={"consul.wait": "55s"}, from_start=True, lasts=15,
        begin=lambda: gate.fail(bad.drip(0.5)), end=gate.heal, is_on=lambda _: gate.hits,
        check=lambda: f"a request was kept for {gate.held:.0f} s" if gate.held > 10 else "",
    )  # fmt: skip


def _half_well_row(bench: Bench) -> Case:
    """Make a row in which a full read is answered, and each blocking query is an error."""
    server = bench.servers.shared("consul")
    gate = bench.gate(server)
    return bench.case(
        "consul", server, gate.port, lasts=10, passes=True,
        begin=lambda: gate.fail(partial(relay, refused=b"index=")), end=gate.heal, is_on=lambda _: gate.hits,
        check=lambda: find_hurry(gate),
    )  # fmt: skip


READ = 'key_prefix "" { policy = "list" }'


def _consul_rights(bench: Bench, *, told: bool) -> tuple[Any, str, dict[str, Any]]:
    """Return a server with ACLs, its policy's id, and a token with that policy; told: missing rights are an error there."""
    acl = {"enabled": True, "default_policy": "deny", "enable_key_list_policy": told}
    server = bench.own("consul", acl=True, configuration={"acl": acl})
    policy = server.request("PUT", "acl/policy", {"Name": "reader", "Rules": READ})["ID"]
    return server, policy, server.request("PUT", "acl/token", {"Policies": [{"ID": policy}]})


def _consul_permission_row(*, told: bool) -> Make:
    """Return what makes a row in which the token's policy allows nothing for a while."""

    def make(bench: Bench) -> Case:
        server, policy, token = _consul_rights(bench, told=told)

        def allow(rules: str) -> None:
            server.request("PUT", f"acl/policy/{policy}", {"Name": "reader", "Rules": rules})

        return bench.case(
            "consul",
            server,
            server.port,
            options={"consul.token": token["SecretID"], "consul.settle": "30"},
            begin=lambda: allow('key_prefix "other" { policy = "read" }'),
            end=lambda: allow(READ),
            is_on=lambda running: ("permission denied" if told else "is gone at once") in running.log,
        )

    return make


def _consul_token_row(*, from_start: bool = False) -> Make:
    """Return what makes a row in which the token is deleted, or wrong from the start; the next one comes in its file."""

    def make(bench: Bench) -> Case:
        server, policy, token = _consul_rights(bench, told=True)
        file = bench.folder / "token"
        file.write_text(str(uuid.uuid4()) if from_start else token["SecretID"])

        def end() -> None:
            file.write_text(server.request("PUT", "acl/token", {"Policies": [{"ID": policy}]})["SecretID"])

        return bench.case(
            "consul",
            server,
            server.port,
            options={"consul.token_file": str(file)},
            begin=lambda: server.request("DELETE", f"acl/token/{token['AccessorID']}"),
            end=end,
            is_on=lambda running: "does not know the token" in running.log,
            from_start=from_start,
        )

    return make
