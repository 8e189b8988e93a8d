"""The store of the healthy sources: files, and keys of real servers."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

from stress_lab.sources import make_part

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from stress_lab.plan import Key, Namespace, Site


class Store:
    """Where the healthy sources' data is; each write is whole: by a rename, or one transaction."""

    def __init__(self, site: Site, folder: Path, servers: dict[str, Any]) -> None:
        """Write nothing yet."""
        self._folder = folder
        self._servers = servers
        self._namespaces = {namespace.name: namespace for namespace in site.namespaces}
        self._data: dict[str, dict[str, Any]] = defaultdict(dict)
        self._moments: Counter[str] = Counter()  # of a namespace: how often it was written
        self._since: dict[Key, list[int]] = defaultdict(list)  # by number: the moment from which it was there
        self.written: dict[Key, int] = {}

    def path(self, namespace: str) -> Path:
        """Return the file of a namespace."""
        return self._folder / f"{namespace}.json"

    def options(self, namespace: Namespace) -> dict[str, str]:
        """Return how disco is to find a namespace's data."""
        if namespace.type in self._servers:
            server = self._servers[namespace.type]
            return {"prefix": f"{self._folder.name}/{namespace.name}", "port": str(server.port), "timeout": "3", "wait": "20s"}
        return {"file": str(self.path(namespace.name)), "timeout": "2"}

    def begin(self, namespace: Namespace) -> None:
        """Write the first data; nothing of the gate."""
        self.change([(interface, namespace.name) for interface in namespace.interfaces if interface != "gate"], 0, namespace)

    def change(self, keys: Sequence[Key], size: int, namespace: Namespace | None = None) -> None:
        """Write the next data of some interfaces of one namespace, all in one moment."""
        namespace = namespace or self._namespaces[keys[0][1]]
        self._moments[namespace.name] += 1
        for interface, name in keys:
            n = self.written[interface, name] = self.written.get((interface, name), 0) + 1
            self._since[interface, name].append(self._moments[name])
            self._data[name][interface] = {name: make_part(interface, name, n, "x" * size)}
        if namespace.type in self._servers:
            self._put(namespace, [interface for interface, _ in keys])
        else:
            self._rename(namespace.name, json.dumps(self._data[namespace.name]))

    def moments(self, key: Key, n: int) -> tuple[int, float]:
        """Return from which moment of its namespace to which (that one excluded) an interface had this number."""
        since = self._since[key]
        return since[n - 1], since[n] if n < len(since) else float("inf")

    def spoil(self, key: Key, *, tear: bool) -> None:
        """Write what is not valid; tear: half of a file, where it is one."""
        interface, name = key
        namespace = self._namespaces[name]
        if namespace.type in self._servers:
            server = self._servers[namespace.type]
            place = f"{self._folder.name}/{name}/{interface}"
            server.put(place if namespace.whole else f"{place}/{name}/n", "none")
        elif tear and namespace.type == "flat":
            text = json.dumps(self._data[name])
            self._rename(name, text[: len(text) // 2])
        else:
            self._rename(name, json.dumps(self._data[name] | {interface: {name: {"n": "none"}}}))

    def _rename(self, name: str, text: str) -> None:
        new = self.path(name).with_suffix(".new")
        new.write_text(text)
        new.rename(self.path(name))

    def _put(self, namespace: Namespace, interfaces: Iterable[str]) -> None:
        keys: dict[str, str] = {}
        for interface in interfaces:
            data = self._data[namespace.name][interface]
            place = f"{self._folder.name}/{namespace.name}/{interface}"
            if namespace.whole:
                keys[place] = json.dumps(data)
            else:
                keys |= {f"{place}/{namespace.name}/{key}": str(value) for key, value in data[namespace.name].items()}
        self._servers[namespace.type].transact(keys)
