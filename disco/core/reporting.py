"""When people are told what disco waits for, without being asked: ever more rarely."""

from __future__ import annotations

PAUSES = (5.0, 10.0, 20.0, 40.0, 60.0)  # seconds between reports of what is missing; the last one goes on


class Reporting:
    """The time of the next report."""

    def __init__(self) -> None:
        """Have none to make."""
        self.at: float | None = None
        self._reports = 0

    def begin(self, now: float) -> None:
        """Make the first report after the first pause."""
        self.at = now + PAUSES[0]

    def expire(self, now: float) -> bool:
        """Return whether a report is due, and put off the next one."""
        if self.at is None or self.at > now:
            return False
        self._reports += 1
        self.at = now + PAUSES[min(self._reports, len(PAUSES) - 1)]
        return True
