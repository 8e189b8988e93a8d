"""The rows of Consul's services."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from faults_lab import misbehaviour as bad
from faults_lab.rows.through_gate import REFUSED

if TYPE_CHECKING:
    from faults_lab.bench import Bench
    from faults_lab.gate import Serve
    from faults_lab.row import Case, Make


def list_faults() -> dict[str, Make]:
    """Return what makes each row, by its fault."""
    return {
        "connection refused": _service_row(),
        "accepts and never answers": _service_row(bad.stay_silent, hold=True),
        "500 for a while": _service_row(bad.answer("500 Internal Server Error")),
        "JSON: an object": _service_row(bad.answer("200 OK", b"{}")),
        "server killed, back with its data": _service_restart_row,
    }


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


def _service_row(serve: Serve | None = None, *, hold: bool = False) -> Make:
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
