"""Actions: what the lifecycle answers, to be done in this order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from disco.named import NamedTuple

if TYPE_CHECKING:
    from disco.core.events import ChildId
    from disco.core.facts import Fact
    from disco.core.status import Status
    from disco.wire import messages


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
    """Read each channel once, paused or not, up to what lies in it now, and answer with `events.AllRead`.

    What has happened comes before what is due: before that no data is adopted, nothing ends and no time is up.
    """


class Report(NamedTuple):
    """Report what is missing and why, as of the moment of the decision to do so."""

    status: Status


class Log(NamedTuple):
    """Log a fact."""

    fact: Fact


Action = Start | Send | Kill | ReadAll | Report | Log


class Outbox:
    """Where the machines of the core put their actions."""

    def __init__(self) -> None:
        """Hold nothing yet."""
        self._actions: list[Action] = []

    def emit(self, action: Action) -> None:
        """Add an action."""
        self._actions.append(action)

    def log(self, fact: Fact) -> None:
        """Add a fact to be logged."""
        self._actions.append(Log(fact))

    def empty(self) -> list[Action]:
        """Return the actions since the last time."""
        actions, self._actions = self._actions, []
        return actions
