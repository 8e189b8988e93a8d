"""The rows of a gate that misbehaves in front of a healthy server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from faults_lab.disco import INTERVAL, SECRET

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from faults_lab.bench import Bench
    from faults_lab.etcd_front import EtcdFront
    from faults_lab.gate import Gate, Serve
    from faults_lab.row import Case

    Options = Mapping[str, str]

REFUSED = "connection refused"


def gate_row(
    kind: str,
    serve: Serve | None = None,
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


def find_hurry(gate: Gate | EtcdFront) -> str:
    """Return what is wrong with how often a failing server was asked: that is to be ever more rarely."""
    most = 20 + gate.seconds / INTERVAL / 5
    return f"asked {gate.hits} times in {gate.seconds:.0f} s" if gate.hits > most else ""
