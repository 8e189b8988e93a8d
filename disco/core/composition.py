"""What all sources say → interfaces: data by digest, verdicts, who contributed. Pure; data is opaque here.

What the sources say is *composed* (of one source: its verdict counts; of several: the checker's), and then *adopted*: rules see
only what was adopted (`adoption`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from disco.core.adoption import NOTHING, Adoption, View
from disco.wire import messages

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from disco.core.adoption import Combination
    from disco.wire.messages import Diff, Fragment, Merged


@dataclass(eq=False, repr=False)
class _Said:
    fragments: dict[str, Fragment] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()
    unknown_count: int = 0
    held: dict[str, Fragment] | None = None  # what it says since all that it had was gone at once: not believed yet
    believed_at: float = 0.0  # when that will be; inf: not as long as it cannot be read


class Composition:
    """All that is known, by source and by interface; what rules see of it is in `adoption`."""

    def __init__(
        self,
        sources: Mapping[str, float],
        settle: float = 0.0,
        rules: Iterable[tuple[str, ...]] = (),
        withheld: Iterable[str] = (),
    ) -> None:
        """Know nothing of these sources.

        sources: in order of precedence (the later one wins), each with the seconds for which its sudden total emptiness is not
        believed. settle: seconds for which interfaces must be quiet before a change of them is adopted; a source's first full
        read never waits. rules: the interfaces of each. withheld: what no rule may see before it is released.
        """
        self.adoption = Adoption(rules, settle)
        self.withheld = set(withheld)
        self._said = {source: _Said() for source in sources}
        self._patience = dict(sources)
        self._checked: dict[str, View] = {}  # the checker's last verdict
        self._unchecked: dict[str, None] = {}  # in the order of arrival
        self._checking: dict[str, tuple[Combination, tuple[bytes, ...]]] = {}  # what is left of one moment

    # What sources say

    def apply(self, source: str, diff: Diff, now: float) -> None:
        """Take a source's news; a first diff replaces all that it said before.

        Where everything is gone that the source had, that and all that follows is held back: a new leader, a restarted server or a
        lost permission look like that. It is believed, as it is then, when the source's patience is over, or dropped as soon as
        the source has all that it had.
        """
        said = self._said[source]
        newest = self._with(said, diff)
        said.unknown, said.unknown_count = diff.unknown, diff.unknown_count
        if said.held is None:
            if said.fragments and not newest and not diff.unknown_count and self._patience[source]:
                said.held, said.believed_at = newest, now + self._patience[source]
                return
        elif _digests(newest) != _digests(said.fragments):
            said.held = newest
            return
        said.held = None
        self._believe(said, newest, now, at_once=diff.first)

    def size_with(self, source: str, diff: Diff) -> int:
        """Return how many bytes a source's data would have with its news."""
        return sum(len(fragment.body) for fragment in self._with(self._said[source], diff).values())

    @staticmethod
    def _with(said: _Said, diff: Diff) -> dict[str, Fragment]:
        newest = {} if diff.first else dict(said.fragments if said.held is None else said.held)
        for interface in diff.removed:
            newest.pop(interface, None)
        return newest | diff.changed

    def is_emptied(self, source: str) -> bool:
        """Return whether a source's sudden total emptiness is being held back."""
        return self._said[source].held is not None

    def doubt(self, source: str) -> None:
        """Hold back an emptiness for as long as its source cannot be read: it may come back with everything."""
        self._said[source].believed_at = math.inf

    def trust(self, source: str, now: float) -> None:
        """Believe an emptiness when the source's patience is over: it can be read again."""
        said = self._said[source]
        if said.believed_at == math.inf:
            said.believed_at = now + self._patience[source]

    def believe(self, now: float) -> list[str]:
        """Believe what is held back of each source whose time is over; return these sources."""
        believed = []
        for source, said in self._said.items():
            if said.held is not None and said.believed_at <= now:
                newest, said.held = said.held, None
                self._believe(said, newest, now, at_once=True)
                believed.append(source)
        return believed

    def _believe(self, said: _Said, newest: dict[str, Fragment], now: float, *, at_once: bool) -> None:
        before, said.fragments = said.fragments, newest
        old, new = before.get, newest.get
        changed = [name for name in before.keys() | newest.keys() if old(name) is not new(name) and old(name) != new(name)]
        for interface in sorted(changed):
            self._change(interface, now, at_once=at_once)

    def release(self, interface: str, now: float) -> None:
        """Let rules see an interface that was withheld."""
        self.withheld.discard(interface)
        self._change(interface, now, at_once=True)

    def unknown(self, source: str) -> tuple[tuple[str, ...], int]:
        """Return some names that the source holds and no schema knows, and how many there are."""
        return self._said[source].unknown, self._said[source].unknown_count

    def fragments(self, source: str) -> Mapping[str, Fragment]:
        """Return what a source said last, by interface, as far as it is believed."""
        return self._said[source].fragments

    @property
    def deadline(self) -> float | None:
        """When something that waits can be adopted, or is believed."""
        times = [said.believed_at for said in self._said.values() if said.held is not None and said.believed_at < math.inf]
        if self.adoption.deadline is not None:
            times.append(self.adoption.deadline)
        return min(times, default=None)

    # What is merged

    def next_check(self) -> tuple[str, Combination, tuple[bytes, ...]] | None:
        """Return the next interface to merge and validate, the combination that it stands for, and the bodies; None if none is.

        What is adopted together is checked as of one moment, which can be adopted even where newer data comes faster than that.
        It is returned again until its verdict is there.
        """
        if not self._checking and self._unchecked:
            for name, view in self.adoption.open_moment(next(iter(self._unchecked))).items():
                if view.pending:
                    del self._unchecked[name]
                    self._checking[name] = view.combination, tuple(part.body for _, part in self._contributions(name))
        for interface, (combination, bodies) in self._checking.items():
            return interface, combination, bodies
        return None

    def checked(self, interface: str, combination: Combination, answer: Merged, now: float) -> None:
        """Take the checker's answer, which counts if that combination is still the current one."""
        body = b"" if answer.problems else answer.body
        view = View(combination, "" if answer.problems else answer.digest, body, answer.problems)
        self._checked[interface] = view
        self.adoption.judge(interface, view)
        self.adoption.learn(interface, self._compose(interface), now)
        del self._checking[interface]
        if not self._checking:
            self.adoption.close_moment()

    # What is known of an interface

    def view(self, interface: str) -> View:
        """Return the newest that is known of an interface."""
        return self.adoption.newest(interface)

    def _contributions(self, interface: str) -> list[tuple[str, Fragment]]:
        return [(name, said.fragments[interface]) for name, said in self._said.items() if interface in said.fragments]

    def _change(self, interface: str, now: float, *, at_once: bool) -> None:
        self.adoption.change(interface, self._compose(interface), now, at_once=at_once)

    def _compose(self, interface: str) -> View:
        view = NOTHING if interface in self.withheld else self._view(interface, self._contributions(interface))
        if view.pending:
            self._unchecked.setdefault(interface)  # it keeps its place: who changes often must not come last for ever
        else:
            self._unchecked.pop(interface, None)
        return view

    def _view(self, interface: str, parts: list[tuple[str, Fragment]]) -> View:
        combination = tuple((name, part.digest) for name, part in parts)
        several = len(parts) > 1
        unusable = [
            f"{name}: {problem}" if several else problem for name, part in parts if not part.body for problem in part.problems
        ]
        if unusable:
            return View(combination, problems=tuple(unusable))
        if not parts:
            return NOTHING
        if len({part.digest for _, part in parts}) == 1:  # one source, or all say the same
            part = parts[-1][1]  # where one lies about its digest the later one's data counts, as it does else
            return View(combination, "" if part.problems else part.digest, part.body, part.problems)
        if sum(len(part.body) for _, part in parts) > messages.BODY_LIMIT:
            much = f"{len(parts)} sources say more than {messages.BODY_LIMIT >> 20} MiB of it: let fewer of them have it"
            return View(combination, problems=(much,))
        checked = self._checked.get(interface)
        return checked if checked and checked.combination == combination else View(combination, pending=True)


def _digests(fragments: Mapping[str, Fragment]) -> dict[str, str]:
    return {interface: fragment.digest for interface, fragment in fragments.items()}
