"""A source that runs in the process of a test: its context, the watcher around it, the messages that it sends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from disco.sources import Context, Options, Source
from disco.wire.messages import Diff, Message
from disco.workers import watcher

if TYPE_CHECKING:
    from collections.abc import Mapping

    from disco.data.schema import Schema


SECRET = "hunter2"


class Enough(BaseException):
    """Ends what would run for ever."""


def make_context(interval: float = 0.0, **options: Any) -> Context:
    return Context(
        name="fake",
        part="",
        options=Options(options, {}, frozenset(options)),
        interval=interval,
        interfaces=frozenset({"app", "db"}),
        memory={},
    )


def only_diffs(said: list[Message]) -> list[Diff]:
    assert all(isinstance(message, Diff) for message in said)
    return [message for message in said if isinstance(message, Diff)]


def run_watcher(schemas: Mapping[str, Schema], watch: Any, count: int, step: float = 1.0, **options: Any) -> list[Message]:
    """Run the watcher around a generator until it has said so much."""
    said: list[Message] = []

    def send(message: Message) -> None:
        said.append(message)
        if len(said) == count:
            raise Enough

    with pytest.raises(Enough):
        watcher.run(Source(options=(), watch=watch), make_context(memory=0, **options), schemas, send, (step, 1000.0))
    return said
