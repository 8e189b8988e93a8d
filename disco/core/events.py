"""Events: what the lifecycle hears. Named tuples: Python makes their classes faster than dataclasses, at each start."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from disco.named import NamedTuple

if TYPE_CHECKING:
    from disco.wire import messages


class Traits(NamedTuple):
    """How the children of a kind are treated.

    label: what it is called where people read it. start_lease: seconds from the fork until its first message; 0: none is due.
    dies_with_parent: the kernel kills it with the coordinator. has_backend: it talks to one, which may make it grow and hang.
    may_name, may_tell: which fields and events its log records may have.
    """

    label: str
    start_lease: float
    dies_with_parent: bool
    has_backend: bool
    may_name: tuple[str, ...]
    may_tell: tuple[str, ...]


class Kind(Enum):
    """What a child is for."""

    SOURCE = Traits(
        "source {name}",
        start_lease=30.0,
        dies_with_parent=True,
        has_backend=True,
        may_name=("interface",),
        may_tell=("printed", "validated"),
    )
    RUNNER = Traits(
        "{name} (which runs handlers)",
        start_lease=0.0,
        dies_with_parent=False,  # it sees the end of its channel, and has its handler to kill first
        has_backend=False,
        may_name=("rule",),
        may_tell=("printed", "output"),
    )
    CHECKER = Traits(
        "{name} (which merges and validates what sources cannot)",
        start_lease=0.0,
        dies_with_parent=True,
        has_backend=False,
        may_name=("interface",),
        may_tell=("printed", "merged"),
    )


class ChildId(NamedTuple):
    """Which child: a source may have the name of a runner or of the checker."""

    kind: Kind
    name: str


def runner(number: int) -> ChildId:
    """Return the runner of a number, from 1."""
    return ChildId(Kind.RUNNER, f"runner-{number}")


class MessageReceived(NamedTuple):
    """A child sent a message."""

    child: ChildId
    message: messages.Message


class ProtocolViolated(NamedTuple):
    """A child sent what is no message."""

    child: ChildId
    reason: str


class ChildExited(NamedTuple):
    """A child is dead and reaped; all its messages came before this."""

    child: ChildId
    status: int


class MemoryExceeded(NamedTuple):
    """A source's process has more than its limit (bytes) of memory."""

    child: ChildId
    limit: int


class ForkFailed(NamedTuple):
    """A child could not be forked."""

    child: ChildId
    reason: str


class SignalReceived(NamedTuple):
    """A signal arrived."""

    number: int


class LeftoversFound(NamedTuple):
    """A child or an orphan has died: every orphan got SIGKILL, and these pids of them are still alive.

    Comes before the `ChildExited` of the children that died with it.
    """

    pids: tuple[int, ...]


class AllRead(NamedTuple):
    """Everything was received that lay in a channel when the lifecycle asked for that (`ReadAll`)."""


class BatchEnded(NamedTuple):
    """A batch of events ends, and time has passed."""


Event = (
    MessageReceived
    | ProtocolViolated
    | ChildExited
    | MemoryExceeded
    | ForkFailed
    | SignalReceived
    | LeftoversFound
    | AllRead
    | BatchEnded
)
