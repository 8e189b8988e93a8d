"""What all sources say, composed: of one source its verdict counts, if it has one, else the checker's. Data is opaque here.

What sources say is compared and merged as they say it, without the defaults of schemas.

Invariant: an interface's view is what follows from its sources' contributions of now, or pending until the checker has spoken.
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING

from disco.core.adoption import NOTHING, Adoption, View
from disco.core.contribution import Contribution
from disco.core.deadlines import Deadlines
from disco.core.turns import Turns
from disco.wire import messages

if TYPE_CHECKING:
    from collections.abc import Iterable

    from disco.core.adoption import Combination
    from disco.core.plan import Plan
    from disco.wire.messages import Diff, Fragment, Merged


class Composition:
    """All that is known, by source and by interface; what rules see of it is in `adoption`."""

    def __init__(self, plan: Plan, withheld: Iterable[str] = ()) -> None:
        """Know nothing; withheld: interfaces that no rule may see before they are released."""
        self.adoption = Adoption([rule.interfaces for rule in plan.rules], plan.settle)
        self.withheld = set(withheld)
        self._limit = plan.input_limit
        self._contributions = {one.name: Contribution(one.name, one.settle) for one in plan.sources}  # the later one wins
        self._givers: dict[str, tuple[str, ...]] = {}  # by interface: the sources that contribute to it, in their order
        self._order = {source: place for place, source in enumerate(self._contributions)}
        self._holds: Deadlines[Contribution] = Deadlines(attrgetter("deadline"))
        self._verdicts: dict[str, View] = {}  # the checker's last ones
        self.turns = Turns()  # at the checker
        self._moment: dict[str, tuple[Combination, tuple[bytes, ...]]] = {}  # what is still to be merged of one moment

    # What sources say

    def contribution(self, source: str) -> Contribution:
        """Return what a source contributes."""
        return self._contributions[source]

    def apply(self, source: str, diff: Diff, now: float) -> None:
        """Take a source's news; what its process says first need not become quiet."""
        contribution = self._contributions[source]
        self._change(contribution, contribution.apply(diff, now), now, at_once=diff.first)
        self._holds.note(contribution)

    def extend_hold(self, source: str) -> None:
        """Hold a source's emptiness for as long as it cannot be read."""
        self._contributions[source].extend_hold()

    def limit_hold(self, source: str, now: float) -> None:
        """Hold a source's emptiness for its time from now on: it can be read again."""
        contribution = self._contributions[source]
        contribution.limit_hold(now)
        self._holds.note(contribution)

    def accept_held(self, now: float) -> list[str]:
        """Accept the emptiness of each source whose time is over; return these sources."""
        accepted = []
        for contribution in self._holds.due(now):
            self._change(contribution, contribution.accept_held(), now, at_once=True)
            accepted.append(contribution.source)
        return accepted

    def release(self, interface: str, now: float) -> None:
        """Let rules see an interface that was withheld."""
        self.withheld.discard(interface)
        self.adoption.change(interface, self._compose(interface), now, at_once=True)

    @property
    def hold_deadline(self) -> float | None:
        """When the first emptiness that is held is accepted."""
        return self._holds.first

    # What is merged

    def next_merge(self, now: float) -> tuple[str, Combination, tuple[bytes, ...]] | None:
        """Return an interface to merge and validate, the combination that it stands for, and the bodies; None if there is none.

        What is adopted together is merged as of one moment, which can be adopted even where newer data comes faster than that.
        The interface is returned again until its verdict is there.
        """
        if not self._moment:
            self._open_moment(now)
        for interface, (combination, bodies) in self._moment.items():
            return interface, combination, bodies
        return None

    def _open_moment(self, now: float) -> None:
        for candidate in self.turns.candidates(now):
            moment = self.adoption.find_moment(candidate)
            if all(map(self.turns.may_have_turn, moment)):  # what is adopted together waits together
                self.adoption.open_moment(moment)
                for name in [name for name, view in moment.items() if view.pending]:
                    self.turns.end_turn(name)
                    self._moment[name] = moment[name].combination, self._bodies(name)
                return

    def judge(self, interface: str, combination: Combination, merged: Merged, now: float) -> None:
        """Take the checker's verdict, which counts if that combination is still the current one."""
        view = View(
            combination,
            digest="" if merged.problems else merged.digest,
            body=b"" if merged.problems else merged.body,
            problems=merged.problems,
        )
        self._verdicts[interface] = view
        self.adoption.judge(interface, view)
        self.adoption.learn(interface, self._compose(interface), now)
        del self._moment[interface]
        if not self._moment:
            self.adoption.close_moment()

    # Views

    def _bodies(self, interface: str) -> tuple[bytes, ...]:
        """Return what is to be merged: only one body if all sources say the same."""
        parts = [part for _, part in self._parts(interface)]
        return tuple(part.body for part in (parts if len({part.digest for part in parts}) > 1 else parts[-1:]))

    def _parts(self, interface: str) -> list[tuple[str, Fragment]]:
        return [(name, self._contributions[name].fragments[interface]) for name in self._givers.get(interface, ())]

    def _change(self, contribution: Contribution, interfaces: list[str], now: float, *, at_once: bool) -> None:
        for interface in interfaces:
            givers = self._givers.get(interface, ())
            if (contribution.source in givers) != (interface in contribution.fragments):
                self._givers[interface] = tuple(sorted({*givers} ^ {contribution.source}, key=self._order.__getitem__))
            self.adoption.change(interface, self._compose(interface), now, at_once=at_once)

    def _compose(self, interface: str) -> View:
        view = NOTHING if interface in self.withheld else self._view(interface, self._parts(interface))
        if view.pending:
            self.turns.add(interface, self._givers[interface])
        else:
            self.turns.discard(interface)
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
        part = parts[-1][1]  # the later source wins, also where one lies about its digest
        if part.is_judged and len({part.digest for _, part in parts}) == 1:  # one source, or all say the same
            # A run's basis is what its handler gets: a value that a source now has, and that was the default before, is no news.
            digest = messages.digest(part.filled) if part.filled else part.digest
            return View(combination, "" if part.problems else digest, part.filled or part.body, part.problems)
        if sum(len(part.body) for _, part in parts) > self._limit:
            much = f"{len(parts)} sources say more than {self._limit >> 20} MiB of it: let fewer of them have it"
            return View(combination, problems=(much,))
        verdict = self._verdicts.get(interface)
        return verdict if verdict and verdict.combination == combination else View(combination, pending=True)
