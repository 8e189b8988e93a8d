"""The process that merges what several sources say of an interface, fills in defaults, and validates that.

It also validates what one source says and cannot judge itself. So jsonschema is imported here, once for all. It works under a
deadline, away from everybody.
"""

from __future__ import annotations

import logging
from functools import reduce
from typing import TYPE_CHECKING

from disco.data import values, verdicts
from disco.data.values import TooLargeError
from disco.system.limits import Overrun, cpu_limit
from disco.wire.messages import Merge, Merged, digest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from disco.data.schema import Schema
    from disco.data.values import Json
    from disco.wire.channel import BlockingChannel

log = logging.getLogger(__name__)


def run(channel: BlockingChannel, schemas: Mapping[str, Schema]) -> None:
    """Answer each Merge until the end of file."""
    for task in channel.receive():
        if isinstance(task, Merge):
            channel.send(check(task, schemas[task.interface]))


def check(task: Merge, known: Schema) -> Merged:
    """Merge, fill in and validate; an overrun is a verdict too, and so is a body that is no JSON object."""
    body, has_overrun = b"", False
    size = sum(map(len, task.bodies))
    try:
        with cpu_limit(verdicts.time_allowed(size)):
            bare = reduce(values.merge, map(values.read_body, task.bodies))
            data = known.fill(bare, len(values.canonical(bare))) if known.defaults else bare
            body = values.canonical(data)
        problems = _judge(known, data, verdicts.time_allowed(max(size, len(body))))  # there may be much more of it
    except Overrun:
        problems, has_overrun = (verdicts.TOO_SLOW,), True
    except TooLargeError:
        problems = (verdicts.TOO_LARGE,)
    except ValueError:
        problems = ("what one of its sources sent cannot be merged: it is no JSON object, or too deep (a plug-in's fault?)",)
    verdict = "invalid" if problems else "valid"
    about = {"fields": {"interface": task.interface, "event": "merged"}}
    log.debug("interface %s: made of %d, %s", task.interface, len(task.bodies), verdict, extra=about)
    sent = b"" if problems else body
    return Merged(task=task.task, digest=digest(body), problems=problems, body=sent, has_overrun=has_overrun)


def _judge(known: Schema, data: Json, seconds: float) -> tuple[str, ...]:
    """Return why data is not valid, within so many seconds of CPU time; jsonschema's import is not the data's fault."""
    with cpu_limit(seconds):
        problems = known.judge(data)
    if problems is None:
        known.load()
        with cpu_limit(seconds):
            problems = known.problems(data)
    return problems
