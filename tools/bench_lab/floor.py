"""The floor of tools/bench: what disco does in a start without trouble, as one bare program without any of its promises.

    python bench_lab/floor.py flat FILE SCHEMA HANDLER COMMAND [ARG...]
    python bench_lab/floor.py consul|etcd HOST:PORT/PREFIX SCHEMA HANDLER COMMAND [ARG...]

Reads the interfaces once, validates the one that the schema is named after, runs the handler with it on stdin, and executes
COMMAND. Beside the standard library it imports what anybody would: a YAML parser, a validator, the backend's client.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import jsonschema
import yaml

if TYPE_CHECKING:
    from collections.abc import Iterable


def read(kind: str, place: str) -> Any:
    """Return all interfaces."""
    if kind == "flat":
        with open(place, "rb") as file:
            return yaml.safe_load(file)
    address, _, prefix = place.partition("/")
    host, _, port = address.partition(":")
    if kind == "consul":
        import consul

        _, items = consul.Consul(host, int(port)).kv.get(f"{prefix}/", recurse=True)
        return build_tree(prefix, ((item["Key"], item["Value"]) for item in items))
    os.environ["PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION"] = "python"  # etcd3's generated code works with no other
    import etcd3

    pairs = etcd3.client(host, int(port)).get_prefix(f"{prefix}/")
    return build_tree(prefix, ((meta.key.decode(), value) for value, meta in pairs))


def build_tree(prefix: str, pairs: Iterable[tuple[str, bytes]]) -> dict[str, dict[str, str]]:
    """Return the values of `PREFIX/INTERFACE/KEY`, by interface and key."""
    interfaces: dict[str, dict[str, str]] = {}
    for path, value in pairs:
        interface, _, key = path.removeprefix(f"{prefix}/").partition("/")
        interfaces.setdefault(interface, {})[key] = value.decode()
    return interfaces


def main(kind: str, place: str, schema: str, handler: str, *command: str) -> None:
    """Do it."""
    name = os.path.basename(schema).removesuffix(".schema")
    data = read(kind, place)[name]
    with open(schema, "rb") as file:
        jsonschema.validate(data, yaml.safe_load(file))
    subprocess.run([handler], input=json.dumps({name: data}).encode(), check=True)
    os.execvp(command[0], command)


main(*sys.argv[1:])
