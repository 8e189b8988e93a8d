"""What the lifecycle goes by: one plan for each source, and one for everything else. Durations in seconds, 0 for no limit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from disco.named import NamedTuple
from disco.system.backoff import double
from disco.wire.messages import BODY_LIMIT, EXPORT_LIMIT

if TYPE_CHECKING:
    from disco.site.rules import Rule


class SourcePlan(NamedTuple):
    """A source's process: its name, its lease (seconds within which it must be heard of), and what exec waits for.

    required: exec waits for its first answer; for one that is not, at most `timeout`. settle: how long its sudden total
    emptiness is held. place: where it reads, for people. interfaces: those that its option `interfaces` names; None: not set.
    """

    name: str
    lease: float
    required: bool
    timeout: float
    settle: float = 0.0
    place: str = ""
    interfaces: frozenset[str] | None = None

    @property
    def namespace(self) -> str:
        """The configuration's name for it: what its options begin with."""
        return self.name.partition("/")[0]

    @property
    def part(self) -> str:
        """The one interface that it provides, where its namespace has several processes; empty: it is not limited to one."""
        return self.name.partition("/")[2]

    def may_provide(self, interface: str) -> bool:
        """Return whether the configuration lets it provide an interface."""
        return self.part in {"", interface} and (self.interfaces is None or interface in self.interfaces)


class Plan(NamedTuple):
    """All that the lifecycle goes by.

    interfaces: those that have a schema. command: its name, for people. run_id: what the handlers' DISCO_RUN begins with.
    environment: what each handler gets besides, NAME=VALUE each. input_limit: bytes of a handler's input, and of all that is
    merged into one interface. export_room: bytes of an exec that are left for the variables of all rules (as `programs.exec_size`
    counts them). free_reruns: how often a rule runs again in a row, on nothing but other data, before all data is frozen.
    """

    sources: tuple[SourcePlan, ...]
    rules: tuple[Rule, ...]
    interfaces: frozenset[str] = frozenset()
    command: str = "COMMAND"
    interval: float = 1.0
    fail_limit: int = 5
    timeout: float = 0.0
    handler_timeout: float = 60.0
    workers: int = 4
    grace: float = 5.0
    settle: float = 0.0
    run_id: str = "disco"
    environment: tuple[bytes, ...] = ()
    input_limit: int = BODY_LIMIT
    export_room: int = EXPORT_LIMIT
    free_reruns: int = 3

    def timeout_of(self, rule: Rule) -> float:
        """Return how long (seconds) one run of a rule may take; 0: no limit."""
        return self.handler_timeout if rule.timeout is None else rule.timeout

    def fail_limit_of(self, rule: Rule) -> int:
        """Return after how many failures in a row of a rule disco gives up; 0: never."""
        return self.fail_limit if rule.fail_limit is None else rule.fail_limit

    def pause_of(self, rule: Rule, failures: int) -> float:
        """Return how long (seconds) a rule waits after so many failures in a row: its first pause doubles up to the longest."""
        first, longest = rule.retry or (self.interval, self.interval)
        return double(first, longest, failures - 1)
