"""The rows of tools/faults, by what is broken: a backend, a file, a client library."""

from __future__ import annotations

from faults_lab.row import Row
from faults_lab.rows import both, consul, env, etcd, flat, history, library, services, tree
from faults_lab.rows.history import transaction_row


def list_rows() -> list[Row]:
    """Return all rows, in order."""
    transaction = "transaction after changes of a part"
    makes = {
        "consul": both.list_faults("consul") | consul.list_faults() | {transaction: transaction_row("consul")},
        "consul services": services.list_faults(),
        "etcd": both.list_faults("etcd") | etcd.list_faults() | {transaction: transaction_row("etcd")},
        "flat": flat.list_faults(),
        "tree": tree.list_faults(),
        "env": env.list_faults(),
        "plug-in": library.list_faults() | history.list_faults(),
    }
    return [Row(source, fault, make) for source, faults in makes.items() for fault, make in faults.items()]
