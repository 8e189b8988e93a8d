"""What a row is: its case or its trial, and its result."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lab.site import Running, Site

    from faults_lab.bench import Bench

    Make = Callable[[Bench], "Case | Trial"]


@dataclass
class Case:
    """What a row does to one of two discos; `twin` and `write_twin` are of the other one, whose source is healthy.

    faulty: configuration. write: gives the source its change of a number, while the fault is on if `while_on`, else after it.
    begin, end: of the fault. is_on: whether it was met. passes: changes may come through it. to_end: it never ends. lasts: seconds
    for which it stays at least. status: how disco is to end. before: words before its command. plug_in: the source's generator, if
    it is one of our own. check: says what else is wrong at the end.
    """

    faulty: dict[str, str]
    twin: dict[str, str]
    write: Callable[[int], object]
    write_twin: Callable[[int], object]
    begin: Callable[[], object]
    end: Callable[[], object]
    is_on: Callable[[Running], object]
    while_on: bool = True
    passes: bool = False
    from_start: bool = False
    to_end: bool = False
    status: int = 0
    before: Sequence[str] = ()
    lasts: float = 0.0
    plug_in: str = ""
    check: Callable[[], str] = str


@dataclass
class Trial:
    """A history of one disco alone; play: goes through it, up to where disco is to exec. check: says what is wrong at the end."""

    site: Site
    play: Callable[[Running], object]
    check: Callable[[Running], str]


@dataclass
class Row:
    """A line of the table, and what makes its case or its trial."""

    source: str
    fault: str
    make: Make

    @property
    def title(self) -> str:
        """Return what `--only` is compared with."""
        return f"{self.source} {self.fault}"


@dataclass
class Result:
    """What a row found; times in seconds, `back` is negative if the change came while the fault was on; memory in MiB."""

    source: str
    fault: str
    verdict: str = "green"
    reasons: list[str] = field(default_factory=list)
    ratio: float | None = None
    beside: float | None = None
    alone: float | None = None
    slowest: float | None = None
    changes: int = 0
    coordinator_cpu: float | None = None
    back: float | None = None
    status: int | None = None
    left: int | None = None
    memory: int | None = None
    told: str = ""
    seconds: float = 0.0
