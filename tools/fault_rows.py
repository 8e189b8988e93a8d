"""The rows of tools/faults."""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import signal
import textwrap
import time
import uuid
from functools import partial
from typing import TYPE_CHECKING, Any

import fault_servers as bad
from fault_bench import INTERVAL, MEMORY, SECRET, Bench, Case, Row, Trial
from lab.etcd_server import EtcdCluster
from lab.servers import make_certificates

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from fault_bench import Make
    from lab.site import Running

    Options = Mapping[str, str]

REFUSED = "connection refused"


def list_rows() -> list[Row]:
    """Return all rows, in order."""
    makes = {
        **{(kind, fault): make for kind in ("consul", "etcd") for fault, make in _both(kind).items()},
        **{("consul", fault): make for fault, make in _consul().items()},
        **{("consul services", fault): make for fault, make in _services().items()},
        **{("etcd", fault): make for fault, make in _etcd().items()},
        **{("flat", fault): _flat_row(what) for fault, what in FLAT.items()},
        ("flat", "no file from the start"): _flat_row(lambda _: None, from_start=True),
        ("flat", "directory swapped while it is read"): _swap_row,
        ("flat", "file rewritten in place"): _rewrite_row,
        **{("plug-in", fault): _library_row(body, passes=passes) for fault, (body, passes) in LIBRARIES.items()},
        **{("plug-in", fault): _library_row(LIES + body, passes=True, check=_find_lies) for fault, body in LIARS.items()},
        ("plug-in", "exec while changes lie unread"): _unread_row,
        ("plug-in", "many change without end"): _many_row(0.05),
        ("plug-in", "many change each second"): _many_row(1.0),
        ("plug-in", "one of 60 changes each second"): _slow_row,
        **{(kind, "transaction after changes of a part"): _transaction_row(kind) for kind in ("consul", "etcd", "flat")},
    }
    order = ("consul", "consul services", "etcd", "flat", "plug-in")
    return [Row(*title, make) for title, make in sorted(makes.items(), key=lambda item: order.index(item[0][0]))]


def _both(kind: str) -> dict[str, Make]:
    smallest = {"consul": 1, "etcd": 60}[kind]  # bytes: before its first answer etcd sends HTTP/2's settings
    row = partial(_gate_row, kind)
    return {
        "connection refused": row(says=REFUSED),
        "connection refused from the start": row(says=REFUSED, from_start=True),
        "connection refused to the end": row(says=REFUSED, to_end=True),
        "never there": row(says=REFUSED, options={"disco.timeout": "15"}, from_start=True, to_end=True, status=69),
        "accepts and never answers": row(bad.stay_silent, hold=True),
        "never answers from the start": row(bad.stay_silent, from_start=True),
        "answers half and stops": row(bad.stop_halfway(smallest)),
        "one byte a second": row(bad.drip(1)),
        "connection reset": row(bad.reset),
        "accepts and hangs up": row(bad.hang_up),
        "garbage": row(bad.send_garbage),
        "network cut, packets dropped": _network_row(kind),
        "network cut from the start": _network_row(kind, from_start=True),
        "names are never answered": _name_row(kind),
        "TLS with a wrong name": _tls_row(kind, "DNS:elsewhere.example"),
        "TLS certificate expired": _tls_row(kind, "IP:127.0.0.1", -1),
        "server frozen": _frozen_row(kind),
        "server frozen from the start": _frozen_row(kind, from_start=True),
        "server killed, back with its data": _restart_row(kind, keep_data=True),
        "server killed, back without its data": _restart_row(kind, keep_data=False),
        "server back with older data": _restored_row(kind),
        "empty, keys come back one by one": _refilled_row(kind),
    }


def _consul() -> dict[str, Make]:
    bomb = bad.bomb(1 << 30)
    objects = b"[" + b"{}," * 10_000_000 + b"{}]"
    row = partial(_gate_row, "consul")
    answers: dict[str, bad.Serve] = {
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


def _services() -> dict[str, Make]:
    return {
        "connection refused": _service_row(),
        "accepts and never answers": _service_row(bad.stay_silent, hold=True),
        "500 for a while": _service_row(bad.answer("500 Internal Server Error")),
        "JSON: an object": _service_row(bad.answer("200 OK", b"{}")),
        "server killed, back with its data": _service_restart_row,
    }


def _etcd() -> dict[str, Make]:
    return {
        "speaks HTTP/1.1": _gate_row("etcd", bad.answer("400 Bad Request", b"no")),
        "endless HTTP/2 pings": _gate_row("etcd", bad.flood_http2),
        "greets with GOAWAY": _gate_row("etcd", bad.say_goaway, options={"etcd.timeout": "4"}),
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


# Through a gate


def _gate_row(
    kind: str,
    serve: bad.Serve | None = None,
    *,
    hold: bool = False,
    says: str = "",
    options: Options | None = None,
    **details: Any,
) -> Callable[[Bench], Case]:
    """Return what makes a row in which a gate does something (None: refuse); says: what the log holds once it was met."""

    def make(bench: Bench) -> Case:
        server = bench.servers.shared(kind)
        gate = bench.gate(server)
        secret = {"consul.token": SECRET} if kind == "consul" else {}
        return bench.case(
            kind,
            server,
            gate.port,
            options={**secret, **(options or {})},
            twin_options=secret,
            begin=lambda: gate.fail(serve, hold=hold),
            end=gate.heal,
            is_on=lambda running: says in running.log if says else gate.hits,
            **details,
        )

    return make


def _service_case(bench: Bench, server: Any, port: int, **details: Any) -> Case:
    """Return a case in which a service of Consul gives the data, with the number as its port."""
    shared = bench.servers.shared("consul")
    names = {side: f"odd-{bench.number}-{side}" for side in "ft"}
    return bench.case(
        "consul",
        server,
        port,
        options={"consul.services": f"odd={names['f']}"},
        twin_options={"consul.services": f"odd={names['t']}"},
        write=lambda n: server.register(names["f"], Address="10.9.0.1", Port=n),
        write_twin=lambda n: shared.register(names["t"], Address="10.9.0.1", Port=n),
        **details,
    )


def _service_row(serve: bad.Serve | None = None, *, hold: bool = False) -> Make:
    """Return what makes a row in which a gate fails in front of Consul's services."""

    def make(bench: Bench) -> Case:
        server = bench.servers.shared("consul")
        gate = bench.gate(server)
        return _service_case(
            bench,
            server,
            gate.port,
            begin=lambda: gate.fail(serve, hold=hold),
            end=gate.heal,
            is_on=lambda running: gate.hits if serve else REFUSED in running.log,
        )

    return make


def _service_restart_row(bench: Bench) -> Case:
    server = bench.own("consul")
    return _service_case(
        bench,
        server,
        server.port,
        begin=server.kill,
        end=server.start,
        while_on=False,
        is_on=lambda running: REFUSED in running.log,
    )


def _send_headers(gate: bad.Gate, client: socket.socket) -> None:
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
    case = _gate_row("consul", redirect)(bench)
    case.check = lambda: f"{elsewhere.hits} requests followed to the other host" if elsewhere.hits else ""
    return case


def _tls_row(kind: str, host: str, days: int = 2) -> Make:
    """Return what makes a row in which the server's certificate becomes one for this host, or one that has expired."""

    def make(bench: Bench) -> Case:
        folder = make_certificates(bench.folder / "tls")
        good, wrong = bad.sign(folder, "good", "IP:127.0.0.1"), bad.sign(folder, "wrong", host, days)
        server = bench.servers.shared(kind)
        gate = bench.gate(server, good)

        def begin() -> None:
            gate.tls = wrong
            gate.fail(bad.relay)

        def end() -> None:
            gate.tls = good
            gate.heal()

        return bench.case(
            kind,
            server,
            gate.port,
            options={f"{kind}.ca_cert": str(folder / "ca.pem")} | ({"consul.scheme": "https"} if kind == "consul" else {}),
            begin=begin,
            end=end,
            is_on=lambda running: re.search(r"TLS: .*certificate", running.log),
        )

    return make


def _name_row(kind: str) -> Make:
    """Return what makes a row in which names are no longer answered, and connections lost."""

    def make(bench: Bench) -> Case:
        resolver = bad.Resolver()
        bench.stack.callback(resolver.close)
        file = bench.folder / "resolv.conf"
        file.write_text(f"nameserver {resolver.address}\n")
        server = bench.servers.shared(kind)
        gate = bench.gate(server)

        def begin() -> None:
            resolver.is_silent = True
            gate.fail(bad.reset)

        def end() -> None:
            gate.heal()
            resolver.is_silent = False

        return bench.case(
            kind,
            server,
            gate.port,
            options={f"{kind}.host": "backend.test"},
            begin=begin,
            end=end,
            is_on=lambda _running: resolver.hits,
            before=bad.with_resolver(file),
        )

    return make


def _index_row(value: Callable[[int], int]) -> Make:
    """Return what makes a row in which Consul's index is another one: a function of how many answers there were."""
    count = 0

    def change(data: bytes) -> bytes:
        nonlocal count
        count += 1
        return re.sub(rb"X-Consul-Index: \d+", b"X-Consul-Index: %d" % value(count), data)

    return _gate_row("consul", bad.changed(change), passes=True)


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
        begin=lambda: gate.fail(partial(bad.relay, refused=b"index=")), end=gate.heal, is_on=lambda _: gate.hits,
        check=lambda: _find_hurry(gate),
    )  # fmt: skip


def _watch_row(*, cancels: bool) -> Make:
    """Return what makes a row in which etcd is read, and no watch of it lasts."""

    def make(bench: Bench) -> Case:
        front = bench.etcd_front(cancels=cancels)
        return bench.case(
            "etcd", bench.servers.shared("etcd"), front.port, lasts=10, passes=True,
            begin=front.fail, end=front.heal, is_on=lambda _: front.hits, check=lambda: _find_hurry(front),
        )  # fmt: skip

    return make


def _find_hurry(gate: bad.Gate | bad.EtcdFront) -> str:
    """Return what is wrong with how often a failing server was asked: that is to be ever more rarely."""
    most = 20 + gate.seconds / INTERVAL / 5
    return f"asked {gate.hits} times in {gate.seconds:.0f} s" if gate.hits > most else ""


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


# Real servers that misbehave themselves


def _frozen_row(kind: str, *, from_start: bool = False) -> Make:
    """Return what makes a row in which the server is stopped by a signal; its connections stay."""

    def make(bench: Bench) -> Case:
        server = bench.own(kind)
        bench.stack.callback(lambda: server.process and server.thaw())
        return bench.case(
            kind, server, server.port, begin=server.freeze, end=server.thaw, while_on=False, from_start=from_start,
            is_on=lambda running: re.search(r"no answer|no longer answers|no complete answer", running.log),
        )  # fmt: skip

    return make


def _restart_row(kind: str, *, keep_data: bool) -> Make:
    """Return what makes a row in which the server is killed, and comes back."""

    def make(bench: Bench) -> Case:
        server = bench.own(kind)

        def end() -> None:
            if not keep_data:
                (server.folder / "data").rename(server.folder / "lost")
            server.start()

        return bench.case(
            kind, server, server.port, begin=server.kill, end=end, while_on=False,
            is_on=lambda running: REFUSED in running.log,
        )  # fmt: skip

    return make


def _restored_row(kind: str) -> Make:
    """Return what makes a row in which a server comes back with older data, and so with a lower index or revision."""

    def make(bench: Bench) -> Case:
        server = bench.own(kind)
        server.put("old", "1")
        server.kill()
        shutil.copytree(server.folder / "data", server.folder / "backup")
        server.start()
        for n in range(50):
            server.put("new", str(n))

        def end() -> None:
            (server.folder / "data").rename(server.folder / "lost")
            (server.folder / "backup").rename(server.folder / "data")
            server.start()

        return bench.case(
            kind, server, server.port, begin=server.kill, end=end, while_on=False,
            is_on=lambda running: REFUSED in running.log,
        )  # fmt: skip

    return make


def _refilled_row(kind: str) -> Make:
    """Return what makes a trial in which a server lost all its data, and the same is written back one by one."""
    names = ("app", "bee", "cat")

    def make(bench: Bench) -> Trial:
        server, site = bench.own(kind), bench.site()
        for name in names:
            site.schema(name)
        site.rules({"when": f"any:{','.join(names)}", "do": "other"})
        site.cfg |= {f"{kind}.port": str(server.port), f"{kind}.settle": "30", f"{kind}.timeout": "2", f"{kind}.wait": "1"}
        server.transact({f"{name}/n": "1" for name in names})

        def play(running: Running) -> None:
            bench.wait(lambda: site.seen("other"), "the first run")
            server.restart(keep_data=False)
            bench.wait(lambda: "is gone at once" in running.log, "the emptiness to be told")
            for name in names:
                server.put(f"{name}/n", "1")
                time.sleep(10 * INTERVAL)  # in which what is there alone could be used
            bench.finish(site)

        def check(_running: Running) -> str:
            parts = [[*line["in"]] for line in site.seen("other") if line["in"].keys() != {*names}]
            return f"the handler ran on {parts[0]} alone, while the rest was on its way back" if parts else ""

        return Trial(site, play, check)

    return make


def _network_row(kind: str, *, from_start: bool = False) -> Make:
    """Return what makes a row in which disco is in a network of its own, and its packets are dropped."""

    def make(bench: Bench) -> Case:
        network = bad.Network()
        bench.stack.callback(network.close)
        if kind == "consul":
            server = bench.own(kind, configuration={"client_addr": f"127.0.0.1 {network.host}"})
        else:
            server = bench.servers.make(kind, bench.folder / "server")
            bench.stack.callback(server.kill)
            urls = ",".join(f"http://{host}:{server.port}" for host in ("127.0.0.1", network.host))
            server._arguments = ["--listen-client-urls", urls]
            server.start()
        return bench.case(
            kind, server, server.port, options={f"{kind}.host": network.host}, begin=network.cut, end=network.mend,
            is_on=lambda running: re.search(r"no (complete )?answer|no longer answers|cannot connect", running.log),
            before=network.inside, from_start=from_start,
        )  # fmt: skip

    return make


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
    one, *others = cluster.members

    def begin() -> None:
        for member in others:
            member.freeze()

    def end() -> None:
        for member in others:
            member.thaw()  # done to one that runs it does nothing
        one.wait_until_ready()

    bench.stack.callback(end)
    return bench.case(
        "etcd", one, one.port, begin=begin, end=end, while_on=False,
        is_on=lambda running: re.search(r"no leader|no answer", running.log),
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


# Files


def _flat_row(fault: Callable[[Path], object], *, from_start: bool = False) -> Make:
    """Return what makes a row in which another file takes the place of a second flat file, or none."""

    def make(bench: Bench) -> Case:
        files = {side: bench.folder / f"{side}.yaml" for side in ("faulty", "twin")}

        def write(side: str, n: int) -> None:
            new = bench.folder / "new"
            new.write_text(json.dumps({"odd": {"n": n}}))
            new.rename(files[side])

        def begin() -> None:
            new = bench.folder / "new"
            fault(new)
            if os.path.lexists(new):
                new.rename(files["faulty"])
            else:
                files["faulty"].unlink()

        return Case(
            faulty={"odd.type": "flat", "odd.file": str(files["faulty"]), "odd.memory": f"{MEMORY}M"},
            twin={"odd.type": "flat", "odd.file": str(files["twin"])},
            write=partial(write, "faulty"),
            write_twin=partial(write, "twin"),
            begin=begin,
            end=lambda: None,
            is_on=lambda running: re.search("WARNING.*faulty.yaml", running.log),
            while_on=False,
            from_start=from_start,
        )

    return make


def _sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)


FLAT: dict[str, Callable[[Path], object]] = {
    "file is gone": lambda _: None,
    "broken YAML": lambda path: path.write_text("odd: {n: [\n"),
    "half of the file": lambda path: path.write_text('{"odd": {"n"'),
    "not a mapping": lambda path: path.write_text("- odd\n"),
    "binary garbage": lambda path: path.write_bytes(bytes(range(256)) * 64),
    "a file of a terabyte": _sparse,
    "alias bomb": lambda path: path.write_text(
        "a: &a [x, x, x, x, x, x, x, x, x]\n"
        + "".join(f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefghi", "bcdefghij", strict=True))
    ),
    "30,000 brackets": lambda path: path.write_text("odd: " + "[" * 30000),
    "a FIFO": os.mkfifo,
    "/dev/zero": lambda path: path.symlink_to("/dev/zero"),
    "a symlink to itself": lambda path: path.symlink_to("faulty.yaml"),
}


def _swap_row(bench: Bench) -> Trial:
    """Make a trial with a directory as Kubernetes mounts it: all its files change in the moment in which a link is renamed."""
    site, mount = bench.site(), bench.folder / "mount"
    pairs, fillers, turns = 12, 20, 3
    names = [*(f"a{n}" for n in range(pairs)), *(f"m{n}" for n in range(fillers)), *(f"z{n}" for n in range(pairs))]
    for name in names:
        site.schema(name)
    site.rules(*({"when": f"a{n},z{n}", "do": "other"} for n in range(pairs)))
    site.cfg |= {"odd.type": "flat", "odd.file": str(mount)}
    mount.mkdir()
    data = dict.fromkeys(names, 0)

    def swap(generation: int) -> None:
        folder = mount / f"..{generation}"
        folder.mkdir()
        for name, n in data.items():
            (folder / f"{name}.yaml").write_text(f"{name}: {{n: {n}}}\n")
        (mount / "..new").symlink_to(folder.name)
        (mount / "..new").rename(mount / "..data")
        shutil.rmtree(mount / f"..{generation - 1}", ignore_errors=True)

    swap(0)
    for name in names:
        (mount / f"{name}.yaml").symlink_to(f"..data/{name}.yaml")

    def play(_running: Running) -> None:
        bench.wait(lambda: len(site.seen("other")) >= pairs, "the first runs")
        for turn in range(pairs * turns):
            pair = (f"a{turn % pairs}", f"z{turn % pairs}")
            data.update(dict.fromkeys(pair, turn // pairs + 1))
            new = {name: {"n": data[name]} for name in pair}
            time.sleep(2 * INTERVAL * (turn * 0.618 % 1))  # at any point of a read
            swap(turn + 1)
            bench.wait(lambda new=new: any(line["in"] == new for line in site.seen("other")), "a change of both")  # type: ignore[misc]
        bench.finish(site)

    def check(_running: Running) -> str:
        torn = [line["in"] for line in site.seen("other") if len({found["n"] for found in line["in"].values()}) > 1]
        return f"{len(torn)} of {pairs * turns} times a handler ran on two generations: {torn[0]}" if torn else ""

    return Trial(site, play, check)


def _rewrite_row(bench: Bench) -> Trial:
    """Make a trial with a file that is written in place, by halves: the first half alone is not what somebody wanted to say."""
    site, file, times, pause, fair_limit = bench.site(), bench.folder / "odd.yaml", 24, 0.02, 0.04
    for name in ("app", "bee"):
        site.schema(name)
    site.rules({"when": "any:app,bee", "do": "other"})
    site.cfg |= {"odd.type": "flat", "odd.file": str(file)}
    fair: set[int] = set()  # where this process itself was fast enough

    def write(n: int) -> None:
        began = time.monotonic()
        with file.open("w", buffering=1) as out:
            print(f"app: {{n: {n}}}", file=out)
            time.sleep(pause)
            print(f"bee: {{n: {n}}}", file=out)
        if time.monotonic() - began < fair_limit:
            fair.add(n)

    write(0)

    def play(_running: Running) -> None:
        bench.wait(lambda: site.seen("other"), "the first run")  # a first read is never delayed, and may be of half a file
        for n in range(1, times + 1):
            new = {"app": {"n": n}, "bee": {"n": n}}
            time.sleep(INTERVAL * (n * 0.618 % 1))  # at any time between two looks
            write(n)
            bench.wait(lambda new=new: any(line["in"] == new for line in site.seen("other")), "the change")  # type: ignore[misc]
        bench.finish(site)

    def check(_running: Running) -> str:
        halves = [line["in"] for line in site.seen("other") if len(line["in"]) == 1 and line["in"].get("app", {}).get("n") in fair]
        return f"{len(halves)} of {len(fair)} times a handler ran on half of the file: {halves[0]}" if halves else ""

    return Trial(site, play, check)


# Many interfaces, one truth


def _transaction_row(kind: str) -> Make:
    """Return what makes a trial in which one of two interfaces changed often, and then both do in one transaction."""

    def make(bench: Bench) -> Trial:
        site = bench.site()
        for name in ("app", "bee"):
            site.schema(name, {"type": "object", "properties": {"n": {"type": "integer"}}})
        site.rules({"when": "app,bee", "do": "other"})
        held = {"app": 0, "bee": 0}
        if kind == "flat":
            site.flat({}, "data.yaml", source="data")
        else:
            server = bench.servers.shared(kind)
            prefix = f"{bench.number}/t"
            site.cfg |= {f"{kind}.port": str(server.port), f"{kind}.prefix": prefix}

        def write(**new: int) -> None:
            held.update(new)
            if kind == "flat":
                site.flat({name: {"n": n} for name, n in held.items()}, "data.yaml", source="data")
            else:
                server.transact({f"{prefix}/{name}/n": str(n) for name, n in new.items()})

        write(**held)

        def play(_running: Running) -> None:
            for n in range(6):
                write(app=n)
                seen = {"app": {"n": n}, "bee": {"n": 0}}
                bench.wait(lambda seen=seen: any(line["in"] == seen for line in site.seen("other")), "a change")  # type: ignore[misc]
            write(app=100, bee=100)
            bench.finish(site)

        def check(_running: Running) -> str:
            runs = [{name: found["n"] for name, found in line["in"].items()} for line in site.seen("other")]
            torn = [run for run in runs if (run["app"] == 100) != (run["bee"] == 100)]
            how = " and disco did exec on it" if torn and torn[-1] == runs[-1] else ""
            return f"the handler ran on half of a transaction: {torn[0]}{how}" if torn else ""

        return Trial(site, play, check)

    return make


CHANGES, RATE = 140, 200  # of a source, and how many of them a second


def _unread_row(bench: Bench) -> Trial:
    """Make a trial in which disco is stopped for a while, and has a lot to read then: it execs on all of it, or not yet."""
    site = bench.site(f"""
with open(os.environ['OUT'] + '/sent', 'w', buffering=1) as sent:
    for n in range({CHANGES}):
        yield {{'odd': {{'n': n}}}}
        print(time.time(), n, file=sent)
        time.sleep({1 / RATE})
while True:
    yield {{'odd': {{'n': n}}}}
    time.sleep(0.1)
""")
    site.schema("odd")
    site.rules({"when": "odd", "do": "other"})
    site.cfg["disco.settle"] = "0.1"
    bench.finish(site)

    def sent() -> list[tuple[float, int]]:
        """Return when each change was in disco's hands."""
        lines = [line.split() for line in site.read("sent").splitlines()]
        return [(float(words[0]), int(words[1])) for words in lines if len(words) > 1]

    def play(running: Running) -> None:
        bench.wait(lambda: len(sent()) > CHANGES // 10, "the first changes")
        running.send(signal.SIGSTOP)
        time.sleep(0.6)
        running.send(signal.SIGCONT)

    def check(running: Running) -> str:
        last = site.seen("other")[-1]
        n, newest = last["in"]["odd"]["n"], max(n for at, n in sent() if at < last["at"])
        if n >= newest or " starts with the data of " in running.log:  # on a slow machine: it changed for too long
            return ""
        return f"exec on change {n}, though change {newest} lay there before its handler began"

    return Trial(site, play, check)


def _many_row(pause: float) -> Make:
    """Return what makes a trial with more changes than runners can serve: each rule gets its turn, and exec comes."""

    def make(bench: Bench) -> Trial:
        site = bench.site(f"""
n = 0
while True:
    n += 1
    yield {{context.name: {{'n': n}}}}
    time.sleep({pause})
""")
        names = [f"odd{number:02}" for number in range(30)]
        for name in names:
            site.schema(name)
            site.cfg |= {f"{name}.type": "odd", f"{name}.timeout": "2"}
        site.rules(*({"when": name, "do": "slow", "name": name} for name in names))
        site.handler("slow", 'sleep 0.5; echo "$DISCO_RULE" >> "$OUT/turns"\n')
        site.cfg["disco.settle"] = "0.1"

        def has_had(name: str, turns: int) -> bool:
            return site.read("turns").split().count(name) >= turns

        def play(_running: Running) -> None:
            for turns in (1, 2):
                for name in names:
                    bench.wait(partial(has_had, name, turns), f"turn {turns} of rule {name}")
            bench.finish(site)

        return Trial(site, play, lambda _running: "")

    return make


def _slow_row(bench: Bench) -> Trial:
    """Make a trial in which a handler is slower than the changes of all that it names: exec comes all the same."""
    site = bench.site("""
data = {f'i{number}': {'n': 0} for number in range(60)}
number = 0
while True:
    yield data
    number = (number + 1) % 60
    data = data | {f'i{number}': {'n': data[f'i{number}']['n'] + 1}}
    time.sleep(1.1)
""")
    names = [f"i{number}" for number in range(60)]
    for name in names:
        site.schema(name)
    site.rules({"when": f"any:{','.join(names)}", "do": "slow"})
    site.handler("slow", "sleep 1.3\n")
    site.cfg |= {"disco.settle": "0.1", "odd.timeout": "5"}
    return Trial(site, lambda _running: bench.finish(site), lambda _running: "")


# Client libraries


PLUG_IN = """
import itertools, json, logging, resource, socket, threading
out = os.environ['OUT']
done = False
def note(pid):
    with open(out + '/pids', 'a') as file: file.write(f'{pid}\\n')
while True:
    if os.path.exists(out + '/fault') and not done:
        done = True
        open(out + '/hit', 'w').close()
FAULT
    with open(out + '/odd.json') as file: data = json.load(file)
    yield {'odd': data}
    time.sleep(0.1)
"""

# What a source's process does once while the fault is on, and whether its changes come all the same.
LIBRARIES: dict[str, tuple[str, bool]] = {
    "segmentation fault": ("ctypes.string_at(0)", False),
    "spins, holding the interpreter's lock": ("sum(itertools.repeat(0))", False),
    "sleeps, holding the interpreter's lock": ("ctypes.PyDLL(None).sleep(1000)", False),
    "sleeps for ever": ("time.sleep(1e6)", False),
    "blocks all signals and sleeps": ("signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65)); time.sleep(1e6)", False),
    "stops itself": ("os.kill(os.getpid(), signal.SIGSTOP)", False),
    "leaks memory": ("leak = []\nwhile True: leak.append(b'x' * (1 << 20))", False),
    "exits with 0": ("os._exit(0)", False),
    "calls sys.exit": ("sys.exit('no more')", False),
    "aborts": ("os.abort()", False),
    "kills its process group": ("os.killpg(0, signal.SIGKILL)", False),
    "becomes another program": ("note(os.getpid()); os.execvp('sleep', ['sleep', '1000'])", False),
    "raises": (f"raise RuntimeError('{SECRET}')", False),
    "ends": ("return", False),
    "yields nonsense": ("yield 5", False),
    "forks children of its own": (
        """
for _ in range(5):
    note(subprocess.Popen(['setsid', 'sleep', '1000']).pid)
    note(subprocess.Popen(['env', '-i', 'sleep', '1000'], start_new_session=True).pid)
    pid = os.fork()
    if pid == 0:
        os.setsid()
        signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
        time.sleep(1000)
    note(pid)
""",
        True,
    ),
    "forks, and both go on": ("note(os.fork() or os.getpid())", True),
    "prints without end": ("while True: os.write(1, b'x' * 100 + b'\\n')", False),
    "prints long lines without end": ("while True: os.write(1, b'x' * 900 + b'\\n')", False),
    "prints without end or line": ("while True: os.write(2, b'x' * 4096)", False),
    "logs without end": ("while True: logging.getLogger('odd').error('x' * 100)", False),
    "changes without end": (
        "n = 0\nwhile os.path.exists(out + '/fault'):\n    n += 1\n    yield {'odd': {'n': 1, 'x': n}}",
        False,
    ),
    "a large change without end": (
        "n = 0\nwhile os.path.exists(out + '/fault'):\n    n += 1\n    yield {'odd': {'n': 1, 'x': str(n) * 1000000}}",
        False,
    ),
    "handles all signals itself": (
        """
for number in range(1, 65):
    try: signal.signal(number, lambda *_: None)
    except (OSError, ValueError): pass
""",
        True,
    ),
    "ignores all signals, then hangs": (
        """
for number in range(1, 65):
    try: signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError): pass
while True: time.sleep(1000)
""",
        False,
    ),
    "changes umask and working directory": ("os.umask(0o777); os.chdir('/proc')", True),
    "changes limits and priority": (
        """
os.nice(19)
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
""",
        True,
    ),
    "opens descriptors without end": ("keep = []\nwhile True: keep.append(socket.socket())", False),
    "closes all descriptors": ("os.closerange(0, 1000)", False),
    "writes garbage into its channel": ("os.write(3, os.urandom(5000)); time.sleep(1e6)", False),
    "starts 100 threads that spin": (
        """
def spin():
    while True: pass
for _ in range(100): threading.Thread(target=spin, daemon=True).start()
time.sleep(1e6)
""",
        False,
    ),
    "takes sys.stdout and logging away": (
        "sys.stdout = sys.stderr = None; logging.disable(); logging.getLogger().handlers.clear(); print('x')",
        True,
    ),
}


# A source that was taken over speaks the protocol itself. `tell` sends a Diff with these fragments, whatever else a Diff may hold.
LIES = """
from typing import get_origin, get_type_hints
from disco.wire.frames import encode
from disco.wire.messages import Diff, Fragment
from disco.schema import canonical, digest
def blank(kind): return kind(*((get_origin(hint) or hint)() for hint in get_type_hints(kind).values()))
def tell(fragments, **fields):
    changed = {name: blank(Fragment)._replace(digest=mark, body=body) for name, (mark, body) in fragments.items()}
    for part in encode(blank(Diff)._replace(changed=changed, **fields)): channel.sendall(part)
channel = socket.socket(fileno=os.dup(3))
channel.setblocking(True)
"""
LIE = 666
LIARS = {
    "lies: a body with another interface": f"""tell({{'odd': ('0' * 32, b'{{"n":2}},"end":{{"n":{LIE}}}')}})""",
    "lies: a body that is no JSON": f"""tell({{'odd': ('0' * 32, b'{{"n":{LIE}')}})""",
    "lies: a name twice in a body": f"""tell({{'odd': ('0' * 32, b'{{"n":1,"n":{LIE}}}')}})""",
    "lies: a body under another's digest": f"""tell({{'app0': (digest(canonical({{'n': 1}})), b'{{"n":{LIE}}}')}})""",
    "lies: new names with 150 MiB each": """
import mmap
body = memoryview(mmap.mmap(-1, 150 << 20, mmap.MAP_PRIVATE))
for n in itertools.count(): tell({f'new{n}': ('0' * 32, body)})
""",
    "lies: a message of 5 million names": """
import disco.wire.messages
frame = b''.join(encode(blank(Diff)._replace(removed=('',) * 5_000_000)))
while True: channel.sendall(frame)
""",
}


def _find_lies(folder: Path) -> str:
    """Return which lie a handler has seen; empty if none has."""
    texts = ((folder / f"{handler}.seen").read_text() for handler in ("see", "other", "last"))
    found = re.search(rf'.*"n": ?{LIE}.*', "".join(texts))
    return f"a handler saw the lie: {found[0]}" if found else ""


def _library_row(fault: str, *, passes: bool, check: Callable[[Path], str] = lambda _: "") -> Make:
    """Return what makes a row in which a source of our own does something.

    passes: its changes come all the same. check: says what else is wrong, seen in disco's folder.
    """
    lines = textwrap.indent(fault.strip("\n"), " " * 8)

    def make(bench: Bench) -> Case:
        folders = {side: bench.folder / f"{side}-disco" for side in ("faulty", "twin")}

        def write(side: str, n: int) -> None:
            new = folders[side] / "odd.new"
            new.write_text(json.dumps({"n": n}))
            new.rename(folders[side] / "odd.json")

        switch = folders["faulty"] / "fault"
        return Case(
            faulty={},
            twin={},
            write=partial(write, "faulty"),
            write_twin=partial(write, "twin"),
            begin=switch.touch,
            end=switch.unlink,
            is_on=lambda _: (folders["faulty"] / "hit").exists(),
            plug_in=PLUG_IN.replace("FAULT", lines),
            passes=passes,
            check=lambda: check(folders["faulty"]),
        )

    return make
