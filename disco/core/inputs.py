"""What handlers get: their input, their environment, and whether that can be sent to a runner."""

from __future__ import annotations

from typing import TYPE_CHECKING

from disco.core.facts import RunFailure
from disco.wire import messages

if TYPE_CHECKING:
    from disco.core.adoption import Adoption
    from disco.core.plan import Plan
    from disco.site.rules import Basis, Rule

_QUOTED = {ord(character): f"\\u{ord(character):04x}" for character in '"\\\x7f'} | {n: f"\\u{n:04x}" for n in range(32)}


class Inputs:
    """Makes the message that runs a handler. Invariant: data is put together, never parsed, nor copied."""

    def __init__(self, plan: Plan, adoption: Adoption) -> None:
        """Take where the data is."""
        self._plan = plan
        self._adoption = adoption

    def stdin(self, basis: Basis) -> tuple[bytes, ...]:
        """Return a handler's input, in parts of which every second one is an interface's body."""
        if not basis:
            return (b"{}\n",)
        parts: list[bytes] = []
        for name, _ in basis:
            parts += (
                (b',"' if parts else b'{"') + name.translate(_QUOTED).encode() + b'":',
                self._adoption.effective(name).body,
            )
        return (*parts, b"}\n")

    def find_excess(self, stdin: tuple[bytes, ...]) -> RunFailure | None:
        """Return why an input cannot be sent to a runner; None if it can."""
        size, limit = sum(map(len, stdin)), self._plan.input_limit
        return RunFailure(size=size, limit=limit) if size > limit else None

    def run(self, task: int, rule: Rule, basis: Basis, attempt: int, stdin: tuple[bytes, ...]) -> messages.Run:
        """Return the message; task: the run's number."""
        variables = {
            "DISCO_RULE": rule.name,
            "DISCO_INTERFACES": ",".join(name for name, _ in basis),
            "DISCO_ATTEMPT": str(attempt),
            "DISCO_RUN": f"{self._plan.run_id}-{task}",
        }
        own = (f"{name}={value}".encode(errors="surrogateescape") for name, value in variables.items())
        return messages.Run(
            task=task,
            rule=rule.name,
            argv=rule.argv,
            env=(*self._plan.environment, *own),
            stdin=stdin,
            timeout=self._plan.timeout_of(rule),
            timeout_name="disco.handler_timeout" if rule.timeout is None else "the rule's timeout",
            export=rule.export,
        )
