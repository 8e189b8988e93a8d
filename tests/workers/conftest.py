"""Schemas, and a sender, for tests of what a source's process sends."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from disco.data import schema
from disco.sources import Source
from disco.workers import sender

if TYPE_CHECKING:
    from collections.abc import Callable

    from disco.data.schema import Schema
    from disco.wire.messages import Message


@pytest.fixture(scope="module")
def schemas(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Schema]:
    folder = tmp_path_factory.mktemp("schemas")
    contents: dict[str, Any] = {
        "app": {"type": "object"},
        "db": {"properties": {"port": {"type": "integer"}, "hosts": {"type": "array"}}, "required": ["port"]},
        "slow": {"properties": {"a": {"pattern": "^(a+)+$"}}},
        "nested": {"properties": {"port": {"type": "integer"}}, "additionalProperties": {"$ref": "#"}},
    }
    for name, content in contents.items():
        (folder / f"{name}.schema").write_text(json.dumps(content))
    return {name: schema.read(folder / f"{name}.schema") for name in contents}


@pytest.fixture
def publish(schemas: dict[str, Schema]) -> Callable[..., list[Message]]:
    """Return what gives snapshots to a publisher and returns all that it said; an exception is trouble."""

    def give(*snapshots: Any, text: bool = False, quiet: float = 1000.0) -> list[Message]:
        said: list[Message] = []
        source = Source(options=(), watch=iter, text=text)  # type: ignore[arg-type]
        publisher = sender.DiffSender(source, schemas, frozenset(schemas), said.append, quiet)
        for snapshot in snapshots:
            if isinstance(snapshot, str):
                publisher.report_failure(snapshot, 1.0)
            else:
                publisher.publish(snapshot)
        return said

    return give
