"""What the lifecycle is told (events), and what it answers (actions): frozen, without methods."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from disco import messages


class Kind(Enum):
    """What a child is for."""

    SOURCE = auto()
    RUNNER = auto()
    CHECKER = auto()


# Events


@dataclass(frozen=True, slots=True)
class Heard:
    """A child said something."""

    name: str
    message: messages.Message


@dataclass(frozen=True, slots=True)
class Broken:
    """A child sent what is no message."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Ended:
    """A child is dead, all that it said was heard before, and it is reaped."""

    name: str
    status: int


@dataclass(frozen=True, slots=True)
class NotStarted:
    """A child could not be forked."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Stray:
    """A process that is no child of disco's making ended and is reaped: an orphan, perhaps a handler's."""

    pid: int


@dataclass(frozen=True, slots=True)
class Signalled:
    """A signal arrived."""

    number: int


@dataclass(frozen=True, slots=True)
class Swept:
    """What handlers left behind has been signalled; these pids are still alive."""

    left: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Elapsed:
    """Time has passed; ends each batch of events."""


Event = Heard | Broken | Ended | NotStarted | Stray | Signalled | Swept | Elapsed


# Actions


@dataclass(frozen=True, slots=True)
class Start:
    """Fork a child."""

    name: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class Send:
    """Send a child a message."""

    name: str
    message: messages.Message


@dataclass(frozen=True, slots=True)
class Kill:
    """Signal a child; for SIGKILL its whole process group."""

    name: str
    number: int


@dataclass(frozen=True, slots=True)
class KillGroup:
    """Kill the process group of a handler whose runner is dead."""

    pid: int


@dataclass(frozen=True, slots=True)
class Sweep:
    """Signal what handlers left behind (and answer with Swept). run: only what one run left."""

    number: int
    run: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """Tell people what is missing and why."""


@dataclass(frozen=True, slots=True)
class Tell:
    """Log a line: an event's stable name, what it is about, and the text for people."""

    level: int
    event: str
    text: str
    source: str = ""
    rule: str = ""
    interface: str = ""


Action = Start | Send | Kill | KillGroup | Sweep | Report | Tell
