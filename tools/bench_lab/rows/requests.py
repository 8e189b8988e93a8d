"""The requests that servers have had."""

from __future__ import annotations

import re
import urllib.request
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench_lab.bench import Server

ACCESS = re.compile(r"^\s*(\S+) \[DEBUG\]\s+agent\.http: Request finished: method=GET url=/v1/kv/", re.MULTILINE)
CONSUL_TELLS = {"configuration": {"log_level": "debug"}}  # each request, when it is answered


def answers(consul: Server) -> list[float]:
    """Return when Consul answered requests for keys (seconds since the epoch), by its log."""
    return [datetime.fromisoformat(at).timestamp() for at in ACCESS.findall((consul.folder / "log").read_text())]


def etcd_requests(etcd: Server) -> float:
    """Return how many messages etcd has received from its clients."""
    with urllib.request.urlopen(f"{etcd.url}/metrics") as answer:  # noqa: S310 -- loopback
        lines = answer.read().decode().splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("grpc_server_msg_received_total"))
