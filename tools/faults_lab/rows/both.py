"""The rows of Consul and etcd alike: connections, names, networks, certificates, and servers that stop or forget."""

from __future__ import annotations

import re
import shutil
import time
from functools import partial
from typing import TYPE_CHECKING

from lab.servers import make_certificates

from faults_lab import misbehaviour as bad
from faults_lab.disco import INTERVAL
from faults_lab.gate import relay, reset
from faults_lab.network import Network, Resolver, sign, with_resolver
from faults_lab.row import Case, Trial
from faults_lab.rows.through_gate import REFUSED, gate_row

if TYPE_CHECKING:
    from lab.site import Running

    from faults_lab.bench import Bench
    from faults_lab.row import Make


def list_faults(kind: str) -> dict[str, Make]:
    """Return what makes each row, by its fault; kind: consul or etcd."""
    smallest = {"consul": 1, "etcd": 60}[kind]  # bytes: before its first answer etcd sends HTTP/2's settings
    row = partial(gate_row, kind)
    return {
        "connection refused": row(says=REFUSED),
        "connection refused from the start": row(says=REFUSED, from_start=True),
        "connection refused to the end": row(says=REFUSED, to_end=True),
        "never there": row(says=REFUSED, options={"disco.timeout": "15"}, from_start=True, to_end=True, status=69),
        "accepts and never answers": row(bad.stay_silent, hold=True),
        "never answers from the start": row(bad.stay_silent, from_start=True),
        "answers half and stops": row(bad.stop_halfway(smallest)),
        "one byte a second": row(bad.drip(1)),
        "connection reset": row(reset),
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


def _tls_row(kind: str, host: str, days: int = 2) -> Make:
    """Return what makes a row in which the server's certificate becomes one for this host, or one that has expired."""

    def make(bench: Bench) -> Case:
        folder = make_certificates(bench.folder / "tls")
        good, wrong = sign(folder, "good", "IP:127.0.0.1"), sign(folder, "wrong", host, days)
        server = bench.servers.shared(kind)
        gate = bench.gate(server, good)

        def begin() -> None:
            gate.tls = wrong
            gate.fail(relay)

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
        resolver = Resolver()
        bench.stack.callback(resolver.close)
        file = bench.folder / "resolv.conf"
        file.write_text(f"nameserver {resolver.address}\n")
        server = bench.servers.shared(kind)
        gate = bench.gate(server)

        def begin() -> None:
            resolver.is_silent = True
            gate.fail(reset)

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
            before=with_resolver(file),
        )

    return make


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
        network = Network()
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
