"""The one query of a Consul source's process: what it asks, what it makes of the answer, what people should know of that.

Imported in the source's own process only: it needs the client library.
"""

from __future__ import annotations

import base64
import binascii
import logging
import time
from typing import TYPE_CHECKING, Any

from disco.sources import InvalidValue, KeyTree, SourceError, consul_http, is_same
from disco.sources.consul_options import describe_filter, describe_target, find_service, find_user, locate
from disco.sources.pace import JITTER, PAUSE
from disco.system import chance
from disco.text import plural

if TYPE_CHECKING:
    from collections.abc import Mapping

    from disco.sources import Context
    from disco.sources.consul_options import Service

log = logging.getLogger(__name__)


class Query:
    """The one query of a process, of keys or of a service, over a connection of its own."""

    def __init__(self, context: Context, token: str | None) -> None:
        """Connect to nothing yet; raise SourceError where a file for TLS cannot be used."""
        options = context.options
        self._context = context
        self._service = find_service(options, context.part)
        self._dc: str | None = (self._service.dc if self._service else "") or options["dc"]
        self._prefix = f"{options['prefix']}/" if options["prefix"] else ""
        target = describe_target(options, context.part)
        self._http = consul_http.HTTP(locate(options), find_user(options), options, target, self._dc)
        self._client = consul_http.Client(self._http, token)
        self._tree = self._plant()
        self._has_token = bool(token)
        self._is_in_step = True  # with other processes, which may have begun at the same moment

    @property
    def is_doubtful(self) -> bool:
        """Whether the last answer may be out of date."""
        return self._http.is_doubtful

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def ask(self, index: int | None, consistency: str, before: Mapping[str, Any] | None) -> tuple[int, Mapping[str, Any]]:
        """Return the new index and the data: at once without an index, else on a change or when `wait` ends.

        before: what was yielded last; what is the same is the very same object. A change reaches a whole fleet at the same
        time. So the next query waits for a random part of `wait`, and the fleet's queries do not all end at once.
        """
        self._http.consistency = consistency
        wait = longest = self._context.options["wait"]
        if self._is_in_step:
            wait = chance.between(min(PAUSE, longest), longest)  # less than the pace allows gains nothing
        asked = time.monotonic()
        common: dict[str, Any] = {"index": index, "wait": f"{wait * 1000:.0f}ms", "dc": self._dc}
        self._http.wait = wait * JITTER if index else 0.0
        try:
            if self._service:
                latest, items = self._client.health.service(
                    self._service.name, passing=True, tag=list(self._service.tags), **common
                )
                data: Mapping[str, Any] = _read_instances(items, self._context.part)
                data = before if before is not None and is_same(data, before) else data
            else:
                latest, items = self._client.read_keys(self._prefix, **common)
                if index is None:
                    self._tree = self._plant()
                data = self._read_keys(items, before)
            if index is not None:
                self._is_in_step = time.monotonic() - asked < wait
            # Consul never means an index below 1; sent back, it would turn the blocking query into a busy loop.
            return max(int(latest), 1), data
        except consul_http.UNREADABLE as error:
            log.debug("%s while an answer was decoded", type(error).__name__)
            reason = f"{self._http.where} is not Consul: its answer is not in Consul's format"
            raise SourceError(reason) from None

    def explain(self, data: Mapping[str, Any]) -> str:
        """Return what people should know of the last answer, empty if there is nothing.

        Consul leaves out what a token has no right to read, and older servers do not say so: the store looks empty.
        """
        filtered = "Consul leaves out what the token has no right to read" if self._http.is_filtered else ""
        if data or len(self._tree):
            return filtered
        token = "the token may lack rights" if self._has_token else "no token is set, and without one rights may be missing"
        if self._service:
            which = f"{self._service.name}{describe_filter(self._service)}"
            count = self._count_instances(self._service) or f"none registered: {token}"
            return f"service {which} has no passing instance ({count})"
        where, question = (f"below '{self._prefix}'", "prefix") if self._prefix else ("at all", "address")
        return f"no key {where} ({filtered or f'is the {question} right? {token}'})"

    def _count_instances(self, service: Service) -> str:
        """Return how many instances a service without a passing one has, or why that is not known; empty if it has none."""
        try:
            self._http.wait = 0.0
            _, items = self._client.health.service(service.name, tag=list(service.tags), dc=self._dc)
            return f"{len(items)} registered, none passing" if items else ""
        except SourceError as error:
            return f"the others cannot be counted: {error.reason}"
        except consul_http.UNREADABLE:
            return "the others cannot be counted"

    def _read_keys(self, items: list[dict[str, Any]] | None, before: Mapping[str, Any] | None) -> Mapping[str, Any]:
        """Return the tree of the keys; of an interface that is not known, the name alone.

        What counts is a value's text, not its ModifyIndex: another store at the same address may repeat indexes.
        """
        self._tree.replace({item["Key"]: "" if item["Value"] is None else item["Value"] for item in items or ()})  # None: 404
        data = self._tree.build_tree(before)
        unknown = len(data.keys() - self._context.interfaces)
        log.debug("read %s, %s unknown", plural(len(self._tree), "key"), plural(unknown, "interface"))
        return data

    def _plant(self) -> KeyTree[str, str]:
        return KeyTree(self._context.interfaces, self._path, _decode, foreign={})

    def _path(self, key: str) -> str:
        if not key.startswith(self._prefix):
            raise ValueError
        return key[len(self._prefix) :]


def _decode(value: str) -> bytes | InvalidValue:
    """Return the bytes of a value; what is not a text at all is an answer of the wrong shape."""
    try:
        return base64.b64decode(value.encode(), validate=True)
    except binascii.Error:
        return InvalidValue("is no base64")


_TYPES = [str, int, list, dict, str, str, int]  # of an instance's values
_OF_FIRST = ("address", "port", "tags", "meta")  # what the interface itself has, of its first instance


def _read_instances(items: list[dict[str, Any]], interface: str) -> dict[str, Any]:
    """Return the interface of a service: its first instance by node, then service id, and all of them in that order.

    What changes by itself (indexes, the outputs of checks) is in none.
    """
    if not isinstance(items, list):  # an empty object is no empty list
        raise TypeError
    items = sorted(items, key=lambda item: (item["Node"]["Node"], item["Service"]["ID"]))
    instances = []
    for node, service in ((item["Node"], item["Service"]) for item in items):
        instance = {
            "address": service["Address"] or node["Address"],
            "port": service["Port"],
            "tags": service["Tags"] or [],
            "meta": service.get("Meta") or {},
            "node": node["Node"],
            "id": service["ID"],
            "weight": (service.get("Weights") or {}).get("Passing", 1),  # an old Consul has none
        }
        if [*map(type, instance.values())] != _TYPES:
            raise TypeError
        instances.append(instance)
    log.debug("read %s", plural(len(instances), "passing instance"))
    return {interface: {**{name: instances[0][name] for name in _OF_FIRST}, "instances": instances}} if instances else {}
