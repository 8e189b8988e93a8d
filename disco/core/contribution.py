"""What one source contributes: its data by interface, and a sudden emptiness that is held.

Invariant: while an emptiness is held, `fragments` is what the source had before it, whatever the source says.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from disco.wire.messages import Diff, Fragment


class Contribution:
    """What a source says, as far as it counts.

    News that everything is gone at once is held back, with all that follows: a new leader, a restarted server or a lost
    permission look like that. It is accepted, as the data is then, when `settle` is over, or dropped as soon as the source has
    all that it had.
    """

    def __init__(self, source: str, settle: float) -> None:
        """Have nothing of a source; settle: seconds for which a sudden total emptiness is held, 0: not at all."""
        self.source = source
        self.fragments: dict[str, Fragment] = {}
        self.unknown: tuple[str, ...] = ()
        self.unknown_count = 0
        self._settle = settle
        self._held: dict[str, Fragment] | None = None  # what the source says since everything was gone
        self._accept_at = math.inf  # while it is held; inf: not before the source can be read again

    @property
    def is_held_empty(self) -> bool:
        """Whether a sudden total emptiness is held back."""
        return self._held is not None

    @property
    def deadline(self) -> float | None:
        """When what is held back is accepted."""
        return self._accept_at if self._held is not None and self._accept_at < math.inf else None

    def newest(self, diff: Diff) -> dict[str, Fragment]:
        """Return all that the source says with its news; a first diff replaces what it said before."""
        newest = {} if diff.first else dict(self.fragments if self._held is None else self._held)
        for interface in diff.removed:
            newest.pop(interface, None)
        return newest | diff.changed

    def apply(self, diff: Diff, now: float) -> list[str]:
        """Take the source's news; return the interfaces that are not what they were."""
        newest = self.newest(diff)
        self.unknown, self.unknown_count = diff.unknown, diff.unknown_count
        if self._held is None:
            if self._settle and self.fragments and not newest and not diff.unknown_count:
                self._held, self._accept_at = newest, now + self._settle
                return []
        elif _digests(newest) != _digests(self.fragments):
            self._held = newest
            return []
        return self._accept(newest)

    def extend_hold(self) -> None:
        """Hold an emptiness for as long as the source cannot be read: it may come back with everything."""
        self._accept_at = math.inf

    def limit_hold(self, now: float) -> None:
        """Hold an emptiness for `settle` from now on, if it was held without an end: the source can be read again."""
        if self._accept_at == math.inf:
            self._accept_at = now + self._settle

    def accept_held(self) -> list[str]:
        """Accept what the source says by now; return the interfaces that are not what they were."""
        return self._accept(self._held or {})

    def _accept(self, newest: dict[str, Fragment]) -> list[str]:
        self._held = None
        before, self.fragments = self.fragments, newest
        old, new = before.get, newest.get
        # Most are the very same object: that is seen at once.
        return sorted(name for name in before.keys() | newest.keys() if old(name) is not new(name) and old(name) != new(name))


def _digests(fragments: Mapping[str, Fragment]) -> dict[str, str]:
    return {interface: fragment.digest for interface, fragment in fragments.items()}
