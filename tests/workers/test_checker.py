"""What the checker makes of what several sources say: merged, filled in, validated, whatever it is."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from disco.data import schema, verdicts
from disco.wire import messages
from disco.wire.messages import Merge
from disco.workers import checker

if TYPE_CHECKING:
    from pathlib import Path

    from disco.data.schema import Schema

SCHEMA = {
    "properties": {
        "port": {"type": "integer", "default": 1},
        "list": {"items": {"properties": {"a": {"default": "x" * 1000}}}},
        "slow": {"pattern": "^(a+)+$"},
    },
    "required": ["host", "port"],
}


@pytest.fixture
def known(tmp_path: Path) -> Schema:
    path = tmp_path / "db.schema"
    path.write_text(json.dumps(SCHEMA))
    return schema.read(path)


def check(known: Schema, *bodies: Any) -> messages.Merged:
    given = tuple(body if isinstance(body, bytes) else json.dumps(body).encode() for body in bodies)
    return checker.check(Merge(task=1, interface="db", bodies=given), known)


def test_what_is_merged_is_filled_in_and_validated(known: Schema) -> None:
    """A default fills in what no source has, and only then; what comes back is what handlers get, and its digest."""
    for said, port in (([{"host": "h"}, {"x": 1}], 1), ([{"port": 5}, {"host": "h"}], 5), ([{"host": "h", "port": 5}, {}], 5)):
        for order in (said, said[::-1]):
            merged = check(known, *order)
            assert merged.problems == ()
            assert json.loads(merged.body)["port"] == port
            assert merged.digest == messages.digest(merged.body)


@pytest.mark.parametrize(
    ("bodies", "problem"),
    [
        (({}, {"port": 1}), "/host is required"),
        (({"host": "h"}, {"port": "x"}), "/port is text, the schema wants integer"),
        (({"host": "h"}, {"list": [{}] * 20_000}), verdicts.TOO_LARGE),
        (({"host": "h" * (9 << 20)}, {"list": [{}] * 9_000}), verdicts.TOO_LARGE),
        (({"host": "h"}, {"slow": "a" * 60 + "!"}), verdicts.TOO_SLOW),
        (({"host": "h"}, b"[]"), "what one of its sources sent cannot be merged"),
        (({"host": "h"}, b'{"a":' * 100 + b"1" + b"}" * 100), "what one of its sources sent cannot be merged"),
    ],
    ids=["required", "type", "large", "large together", "slow", "no object", "deep"],
)
def test_each_verdict(known: Schema, bodies: tuple[Any, ...], problem: str) -> None:
    """Whatever is wrong with it is a verdict without a body, and none ends the checker."""
    merged = check(known, *bodies)
    assert [each[: len(problem)] for each in merged.problems] == [problem]
    assert merged.body == b""
