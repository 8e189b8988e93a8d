"""What rules see of all that is known: it is adopted in cuts.

Interfaces that changed and that a rule names together wait for each other, until all of them are quiet and merged. So what came
in one message is adopted at once or not at all. Where data changes faster than it is merged, an older moment is adopted that is
wholly known. While the data is frozen nothing is adopted.

Invariant: a rule sees all its interfaces as of one moment, and never a moment before one that it has seen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from disco.named import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

SETTLE_AT_MOST = 10  # times `settle` that interfaces which never become quiet are waited for
LATE_AFTER = 1.0  # seconds of changes faster than the checker, after which an older moment is better than none

Combination = tuple[tuple[str, str], ...]
"""The sources that contribute to an interface, in order, each with its digest."""


class View(NamedTuple):
    """An interface as it is known: who contributes; digest and body if it is valid, else the problems; or still to be merged."""

    combination: Combination
    digest: str = ""
    body: bytes = b""
    problems: tuple[str, ...] = ()
    pending: bool = False


NOTHING = View(())


class _Group:
    """What is adopted together: of all that changed, what a rule names together, and what is named together with that."""

    def __init__(self, names: set[str], missing: set[str]) -> None:
        self.names = names
        self.missing = missing  # those that are still to be merged


class _Interface:
    def __init__(self) -> None:
        self.newest = NOTHING
        self.effective = NOTHING
        self.changing_since = 0.0  # the first change that is not adopted yet
        self.settled_at = 0.0  # when what changed has been quiet for long enough
        self.pending_since = 0.0  # when the newest verdict began to be missing
        self.group: _Group | None = None  # since the last look


class Moment(dict[str, View]):
    """Interfaces that are adopted together, as they were known at one moment."""


class Adoption:
    """The newest of each interface, and what of it rules see: `valid`, `pending` and `stale` are what they are judged by."""

    def __init__(self, rules: Iterable[tuple[str, ...]], settle: float) -> None:
        """Know nothing yet.

        rules: the interfaces of each rule. settle: seconds for which interfaces must be quiet before a change is adopted.
        """
        self._settle = settle
        self._rules = list(rules)
        self._joined: dict[str, list[int]] = {}  # by interface: the rules that name it
        for number, names in enumerate(self._rules):
            for name in names:
                self._joined.setdefault(name, []).append(number)
        self._interfaces: dict[str, _Interface] = {}
        self._changed: set[str] = set()  # the newest is not what was adopted
        self._older: dict[str, Moment] = {}  # by interface: a moment that is wholly known, while newer data is not
        self._open: Moment | None = None  # the moment whose interfaces are being checked
        self._due: list[Moment] = []
        # With thousands of interfaces only those are looked at again which something happened to.
        self._touched: set[str] = set()
        self._waiting: dict[_Group, float] = {}  # the groups that time makes due, and when
        self.frozen = False
        self.valid: dict[str, str] = {}  # digests
        self.pending: set[str] = set()  # a change of these is known and not adopted: exec waits for it
        self.stale: set[str] = set()  # adopted as of an older moment, as the newest is not known in time: exec waits for that, too

    def newest(self, interface: str) -> View:
        """Return the newest of an interface."""
        known = self._interfaces.get(interface)
        return known.newest if known else NOTHING

    def effective(self, interface: str) -> View:
        """Return an interface as rules see it."""
        known = self._interfaces.get(interface)
        return known.effective if known else NOTHING

    @property
    def behind(self) -> list[str]:
        """The interfaces of rules whose newest data is not adopted."""
        return sorted(self._changed & self._joined.keys())

    # What is new

    def change(self, interface: str, newest: View, now: float, *, at_once: bool) -> None:
        """Take the newest of an interface; `at_once`: it need not be quiet before it is adopted."""
        known = self._interfaces.setdefault(interface, _Interface())
        if interface not in self._changed:
            known.changing_since = now
        known.settled_at = now if at_once else now + self._settle
        self.learn(interface, newest, now)

    def learn(self, interface: str, newest: View, now: float) -> None:
        """Take what is known by now of data that has not changed."""
        known = self._interfaces.setdefault(interface, _Interface())
        if newest.pending and not known.newest.pending:
            known.pending_since = now
        known.newest = newest
        if newest.pending or newest.digest != known.effective.digest:
            self._changed.add(interface)
        else:
            known.effective = newest
            self._changed.discard(interface)
        self._touched.add(interface)

    def judge(self, interface: str, view: View) -> None:
        """Take a verdict on an interface of the moment that is being checked."""
        if self._open and interface in self._open and self._open[interface].combination == view.combination:
            self._open[interface] = view

    def find_moment(self, interface: str) -> Moment:
        """Return an interface that has to be checked, with all that is adopted together with it, as of now."""
        return self._newest_of(self._find_joined(interface))

    def open_moment(self, moment: Moment) -> None:
        """Have the interfaces of a moment checked."""
        self._open = moment

    def close_moment(self) -> None:
        """End the moment that was opened: if all of it is known by now, it can be adopted even though newer data is not known."""
        moment, self._open = self._open, None
        if moment is None:
            return
        self._touched |= moment.keys()
        if any(view.pending for view in moment.values()):
            return
        for name in moment:
            for other in self._older.pop(name, ()):
                self._older.pop(other, None)
                self._touched.add(other)
        if any(self._interfaces[name].newest.pending for name in moment):
            self._older |= dict.fromkeys(moment, moment)

    # What is adopted

    def look(self, now: float) -> set[str]:
        """Find out what is due; return the interfaces that began or ceased to be pending."""
        if not self._touched and (self.deadline is None or now < self.deadline):
            return set()
        groups, changed = self._regroup()
        groups |= {group for group, at in self._waiting.items() if at <= now}
        self._due = []
        for group in groups:
            at = self._find_time(group)
            if at is None:
                self._waiting.pop(group, None)
                continue
            self._waiting[group] = at
            if at <= now:
                self._due.append(self._find_older(group) if group.missing else self._newest_of(group.names))
        return changed

    @property
    def deadline(self) -> float | None:
        """When something that waits can be adopted."""
        return min(self._waiting.values(), default=None)

    @property
    def is_due(self) -> bool:
        """Whether the last look found something to adopt."""
        return bool(self._due)

    def adopt(self, now: float) -> set[str]:
        """Let rules see what is due; return the interfaces that they have to be judged by anew."""
        changed: set[str] = set()
        due, self._due = self._due, []
        for moment in due:
            is_stale = any(self._interfaces[name].newest.pending for name in moment)
            if not is_stale and self._open and not self._open.keys().isdisjoint(moment):
                self._touched |= self._open.keys()
                self._open = None  # it is older than this
            for name, view in moment.items():
                self._adopt(name, view)
                self._older.pop(name, None)
                known = self._interfaces[name]
                known.changing_since = known.pending_since = now
                if known.newest.pending or known.newest.digest != view.digest:
                    self._changed.add(name)
                else:
                    self._changed.discard(name)
                (self.stale.add if is_stale and name in self._joined else self.stale.discard)(name)
            self._dissolve(moment)
            changed.update(moment)
        return changed | self.look(now) if due else changed

    def freeze(self, *, wanted: bool) -> None:
        """Adopt nothing any more: what rules see by now is what counts; or go on."""
        self.frozen = wanted
        self._dissolve({*self._changed, *self._older, *(self._open or ())})

    def _adopt(self, name: str, view: View) -> None:
        self._interfaces[name].effective = view
        if view.digest:
            self.valid[name] = view.digest
        else:
            self.valid.pop(name, None)

    # What is adopted together

    def _moves(self, name: str) -> bool:
        """Return whether an interface is not what was adopted, or belongs to a moment that may be."""
        return name in self._changed or name in self._older or (self._open is not None and name in self._open)

    def _find_joined(self, interface: str) -> set[str]:
        """Return all that is adopted together with an interface."""
        joined: set[str] = set()
        seen: set[int] = set()
        reached = {interface}
        while reached:
            name = reached.pop()
            joined.add(name)
            for number in self._joined.get(name, ()):
                if number not in seen:
                    seen.add(number)
                    reached.update(other for other in self._rules[number] if other not in joined and self._moves(other))
        return joined

    def _regroup(self) -> tuple[set[_Group], set[str]]:
        """Return the groups that something happened to, and the interfaces that began or ceased to be pending."""
        groups: set[_Group] = set()
        left: set[str] = set()
        for name in self._touched:
            known = self._interfaces[name]
            if known.group is None:
                left.add(name)
            elif self._moves(name):
                (known.group.missing.add if known.newest.pending else known.group.missing.discard)(name)
                groups.add(known.group)
            else:
                left |= known.group.names
        self._touched = set()
        before = {name: name in self.pending for name in left}
        while left:
            name = left.pop()
            group = None
            names = {name}
            if self._moves(name):
                names = self._find_joined(name)
                group = _Group(names, {member for member in names if self._interfaces[member].newest.pending})
                groups.add(group)
                left -= names
            is_stale = group is not None and not self.frozen and not self.stale.isdisjoint(names)
            for member in names:
                before.setdefault(member, member in self.pending)
                if old := self._interfaces[member].group:
                    self._waiting.pop(old, None)
                    groups.discard(old)
                self._interfaces[member].group = group
                (self.stale.add if is_stale and member in self._joined else self.stale.discard)(member)
                (self.pending.add if group and not is_stale and not self.frozen else self.pending.discard)(member)
        return groups, {name for name, was in before.items() if was != (name in self.pending)}

    def _dissolve(self, names: Iterable[str]) -> None:
        """Let the groups of these interfaces be made anew at the next look."""
        for name in names:
            self._touched.add(name)
            if group := self._interfaces[name].group:
                self._waiting.pop(group, None)
                self._touched |= group.names
                for member in group.names:
                    self._interfaces[member].group = None

    def _newest_of(self, names: Iterable[str]) -> Moment:
        return Moment({name: self._interfaces[name].newest for name in names})

    def _find_older(self, group: _Group) -> Moment:
        return next(self._older[name] for name in group.names if name in self._older)

    def _find_time(self, group: _Group) -> float | None:
        """Return when something of a group can be adopted; None: not as long as nothing else happens."""
        if self.frozen:
            return None
        if group.missing:
            if self._older.keys().isdisjoint(group.names):
                return None
            return min(self._interfaces[name].pending_since for name in group.missing) + LATE_AFTER
        members = [self._interfaces[name] for name in group.names]
        quiet = max(member.settled_at for member in members)
        return min(quiet, min(member.changing_since for member in members) + SETTLE_AT_MOST * self._settle)
