"""Facts: what people are to know. Names and numbers, no sentences: `people.wording` makes those. Durations in seconds."""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING, Any, dataclass_transform

if TYPE_CHECKING:
    from disco.core.events import ChildId
    from disco.core.plan import SourcePlan


@dataclass_transform(frozen_default=True)
class Fact:
    """What a dataclass is to its reader and the type checker; but each of its classes costs a start a tenth of the time."""

    def __init__(self, *values: Any, **named: Any) -> None:  # noqa: ANN401 -- the type checker knows them from the annotations
        """Take the fields, in their order or by name."""
        self.__dict__ = dict(zip(type(self).__annotations__, values), **named)  # noqa: B905 -- as above: they are as many

    def __eq__(self, other: object) -> bool:
        """Return whether all fields are the same."""
        return type(self) is type(other) and self.__dict__ == other.__dict__

    def __hash__(self) -> int:
        """Return the hash of the fields."""
        return hash(tuple(self.__dict__.values()))

    def __repr__(self) -> str:
        """Show the fields."""
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.__dict__.items())})"


class Cause(Enum):
    """Why a child's process ended, or is about to."""

    EXITED = auto()  # by itself; the detail is its status, as os.waitstatus_to_exitcode gives it
    STOPPED = auto()  # disco ends
    RENEWED = auto()  # SIGHUP
    HUNG = auto()  # nothing was received in time
    VIOLATION = auto()  # the detail is what it sent
    MEMORY = auto()  # the detail is its limit in bytes


class Exit(Fact):
    """How a child ended."""

    cause: Cause
    detail: str | int = ""


class ForkRefused(Fact):
    """A source's process cannot be started."""

    reason: str


Trouble = str | Exit | ForkRefused
"""Why a source cannot be read: in its own words, or what became of its process. Empty: it can."""


class RunFailure(Fact):
    """Why a run failed.

    status: the handler's, where nothing else is given. problem: in the runner's words. lost: the runner that ran it, and how
    that ended. size: bytes of an input over the limit, or of what all rules export (is_export). tail: the last line of the
    handler's output.
    """

    status: int = 0
    problem: str = ""
    lost: tuple[ChildId, Exit] | None = None
    size: int = 0
    limit: int = 0
    is_export: bool = False
    tail: str = ""


# Children


class ChildViolated(Fact):
    """A child sent what is no message, or what it may not say, and is replaced."""

    child: ChildId
    reason: str


class ChildGrew(Fact):
    """A source's process has more memory than its limit (bytes), and is replaced."""

    child: ChildId
    limit: int


class ChildReplaced(Fact):
    """A runner or the checker has ended, and is replaced."""

    child: ChildId
    exit: Exit


class ChildNotStarted(Fact):
    """A child could not be forked."""

    child: ChildId
    reason: str
    retry_in: float


# Sources


class SourceAnswered(Fact):
    """A source gave its first good answer."""

    source: str


class SourceRecovered(Fact):
    """A source that could not be read is well again."""

    source: str
    seconds: float


class SourceNoted(Fact):
    """A source answered, and has something to say about that."""

    source: str
    note: str


class SourceFailed(Fact):
    """A source cannot be read. has_answered: its last data is kept."""

    source: str
    trouble: Trouble
    retry_in: float
    is_required: bool
    has_answered: bool


class SourceEmptied(Fact):
    """All that a source had is gone at once, and is kept for so many seconds."""

    source: str
    settle: float


class SourceRefilled(Fact):
    """What was gone at once is back."""

    source: str


class SourceWithdrawn(Fact):
    """What was gone at once counts as deleted now. has_data: some of it came back."""

    source: str
    has_data: bool


class NamesIgnored(Fact):
    """A source holds so many names, of which some are given, that disco does not use."""

    source: SourcePlan
    names: tuple[str, ...]
    count: int


# Rules


class RuleStarted(Fact):
    """A rule's handler is being run."""

    rule: str
    handler: str
    interfaces: tuple[str, ...]
    attempt: int


class RuleSucceeded(Fact):
    """A rule's handler has succeeded."""

    rule: str
    seconds: float


class RuleFailed(Fact):
    """A run of a rule failed, the so-manieth in a row (limit 0: there is none); retry_in None: it is not tried again."""

    rule: str
    handler: str
    failure: RunFailure
    failures: int
    limit: int
    retry_in: float | None


class RuleRefused(Fact):
    """A rule's handler says that the data of these interfaces is wrong; the same data is tried again in so many seconds."""

    rule: str
    handler: str
    interfaces: tuple[str, ...]
    retry_in: float


class DataFrozen(Fact):
    """No more data is adopted because of a rule: its handler ran so often in a row on changes of these interfaces.

    runs 0: it has succeeded, but these change faster than they are validated.
    """

    rule: str
    interfaces: tuple[str, ...]
    runs: int


# The end


class ReadingAnew(Fact):
    """SIGHUP has come: every source is read anew."""


class Stopping(Fact):
    """A signal stops disco; again: for the second time."""

    signal: int
    again: bool


class GracePassed(Fact):
    """disco.grace has passed: what is left is killed."""


class StartsFrozen(Fact):
    """COMMAND starts on the data of some time ago; these interfaces changed since."""

    command: str
    seconds: float
    interfaces: tuple[str, ...]


class StartsOnOldData(Fact):
    """COMMAND starts although a source cannot be read; age of its data, None: it never answered."""

    command: str
    source: str
    trouble: Trouble
    age: float | None


class Survived(Fact):
    """These did not end after SIGKILL: children by their names, orphans by their pids; rule: whose run they are of."""

    rule: str
    children: tuple[str, ...]
    pids: tuple[int, ...]
