"""A line of the table: samples, and what they are compared with."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class Line:
    """What a line of the table tells.

    samples: in `unit`. beside: those of what it is compared with, in the same unit and taken in turns with them. limit: what the
    value may be at most, if there is a target. count: how many there were of what the row has ever more of.
    """

    what: str
    unit: str
    samples: Sequence[float]
    beside: Sequence[float] = ()
    limit: float | None = None
    count: int | None = None

    @property
    def title(self) -> str:
        """Return what was measured, of how many."""
        return self.what + (f", n = {self.count}" if self.count else "")

    @property
    def ratio(self) -> float | None:
        """Return the ratio of the medians, if it is compared with something."""
        return statistics.median(self.samples) / statistics.median(self.beside) if self.beside else None

    @property
    def value(self) -> float:
        """Return what has a target: the ratio, else the median."""
        return statistics.median(self.samples) if self.ratio is None else self.ratio

    @property
    def is_met(self) -> bool | None:
        """Whether the target is met; None without one."""
        return None if self.limit is None else self.value <= self.limit
