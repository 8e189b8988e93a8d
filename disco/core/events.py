"""What the lifecycle is told (events), and what it answers (actions): named tuples, without methods.

A dataclass would be as good, but Python takes five times as long to make one, at each start of a container.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from disco.wire import messages


class Kind(Enum):
    """What a child is for."""

    SOURCE = auto()
    RUNNER = auto()
    CHECKER = auto()


class ChildId(NamedTuple):
    """Which child: a source may have the name of a runner or of the checker."""

    kind: Kind
    name: str


# Events


class MessageReceived(NamedTuple):
    """A child said something."""

    child: ChildId
    message: messages.Message


class ProtocolViolated(NamedTuple):
    """A child sent what is no message."""

    child: ChildId
    reason: str


class ChildExited(NamedTuple):
    """A child is dead, all that it said was heard before, and it is reaped."""

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
    """Something that disco started has died: all orphans got SIGKILL, and these pids of them are still alive.

    Comes before the `ChildExited` of the children that died with it.
    """

    left: tuple[int, ...]


class AllRead(NamedTuple):
    """Everything was heard that lay in a channel when that was asked for (`ReadAll`)."""


class BatchEnded(NamedTuple):
    """Time has passed; ends each batch of events."""


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


# Actions


class Start(NamedTuple):
    """Fork a child."""

    child: ChildId


class Send(NamedTuple):
    """Send a child a message."""

    child: ChildId
    message: messages.Message


class Kill(NamedTuple):
    """Signal a child; for SIGKILL its whole process group."""

    child: ChildId
    number: int


class ReadAll(NamedTuple):
    """Read each channel once, paused or not, up to what lies in it now, and answer with AllRead.

    What has happened comes before what is due: no data is adopted, nothing ends and no time is up before that.
    """


class Report(NamedTuple):
    """Tell people what is missing and why."""


class Log(NamedTuple):
    """Log a line: an event's stable name, what it is about, and the text for people."""

    level: int
    event: str
    text: str
    source: str = ""
    rule: str = ""
    interface: str = ""


Action = Start | Send | Kill | ReadAll | Report | Log
