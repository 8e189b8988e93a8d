"""Coordination: what the coordinator does once its first children are forked, and how it answers, for each thing asked of disco."""

from __future__ import annotations

import gc
import logging
import os
from typing import TYPE_CHECKING, NoReturn

from disco import last_words, planning
from disco.core.goals import DryRun, Exec, Input
from disco.core.reasons import TimedOut
from disco.data import values
from disco.errors import ExitStatus
from disco.people import wording
from disco.system import programs
from disco.text import NAME_LIMIT, PATH_LIMIT, escape, shorten

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from disco.coordinator import Coordinator
    from disco.core.reasons import Outcome
    from disco.core.status import Status
    from disco.launching import Launched
    from disco.site.loading import Site
    from disco.system.signals import Signals

NAMES_SHOWN = 10  # variables in one line

log = logging.getLogger(__name__)


def satisfy_rules(
    site: Site, command: Sequence[str], environment: Mapping[bytes, bytes], signals: Signals, launched: Launched
) -> bytes:
    """Return when every rule has succeeded and nothing is left of what disco started; exit if that does not come about.

    environment: whole entries by name. What is returned are those of the variables that rules export, joined by NUL.
    """
    coordinator = planning.prepare(site, command, environment, signals, launched, Exec())
    outcome = _run(coordinator, launched)
    if outcome.status is not None:
        _give_up(outcome, coordinator.lifecycle.status())
    entries = _merge_exports(coordinator.lifecycle.core.schedule.exported())
    reason, name = wording.reason(outcome.reason), escape(command[0], PATH_LIMIT)
    log.info("%s: executing %s", reason, name, extra={"fields": {"event": "exec"}})
    return b"\0".join(entries.values())


def _merge_exports(exported: Sequence[tuple[str, bytes]]) -> dict[bytes, bytes]:
    """Return the whole entries of what rules export, by name, and log the names; nothing else of disco runs any more."""
    if not exported:
        return {}
    from disco.data import exports  # noqa: PLC0415 -- few sites export anything

    entries, rules = exports.merge(exported)
    about = {"fields": {"event": "exports"}}
    for name in [name for name, several in rules.items() if len(several) > 1][:NAMES_SHOWN]:
        *others, last = rules[name]
        log.info("%s is exported by rule %s; that of rule %s is not used", name, last, ", ".join(others), extra=about)
    log.info("COMMAND gets what rules export: %s", shorten(list(rules), NAMES_SHOWN), extra=about)
    return entries


def _give_up(outcome: Outcome, status: Status) -> NoReturn:
    """Exit with the last words: why, what is still missing where that does not say it, and the exit status."""
    number = outcome.status or 0
    names_rules = isinstance(outcome.reason, TimedOut) and bool(outcome.reason.refused)
    says_all = names_rules or number in {ExitStatus.UNAVAILABLE, ExitStatus.HANDLER, ExitStatus.SYSTEM}
    from disco.people import report  # noqa: PLC0415 -- most starts of disco report nothing

    missing = "" if says_all else report.summary(status)
    why = wording.reason(outcome.reason)
    last_words.leave(number, f"{why}; {status.plan.command} was not started{missing and f': {missing}'} (exit status {number})")


def rehearse(site: Site, command: Sequence[str], signals: Signals, launched: Launched, *, as_json: bool) -> NoReturn:
    """Read the sources, print what they hold and what would run, and exit as a start would; command: empty if it is not known."""
    coordinator = planning.prepare(site, command, {}, signals, launched, DryRun())
    outcome = _run(coordinator, launched)
    signals.stop_listening(last_words.leave_at_end)  # a reader of stdout that hangs must not keep disco from being stopped
    if outcome.status not in {None, ExitStatus.UNAVAILABLE, ExitStatus.TIMEOUT}:  # a signal, or the system
        last_words.leave(outcome.status or 0, wording.reason(outcome.reason))
    from disco.people import dry_run  # noqa: PLC0415 -- only these two print that

    name = command[0] if command else ""
    is_executable = not name or programs.find_program(name, os.environ.get("PATH", os.defpath)) is not None
    show = dry_run.as_json if as_json else dry_run.as_text
    last_words.answer(show(coordinator.lifecycle.status(), name, is_executable=is_executable), outcome.status or 0)


def show_input(site: Site, name: str, signals: Signals, launched: Launched) -> NoReturn:
    """Read the sources, print the input of a rule's handler, and exit; nothing on stdout if the rule could not run."""
    coordinator = planning.prepare(site, (), {}, signals, launched, Input(name))
    outcome = _run(coordinator, launched)
    signals.stop_listening(last_words.leave_at_end)
    from disco.people import dry_run  # noqa: PLC0415 -- as above

    core, status = coordinator.lifecycle.core, coordinator.lifecycle.status()
    if outcome.status in {ExitStatus.UNAVAILABLE, ExitStatus.TIMEOUT}:
        last_words.leave(outcome.status, *dry_run.explain(status, name))
    if outcome.status is not None:
        last_words.leave(outcome.status, wording.reason(outcome.reason))
    basis = status.rules[name].basis or ()
    stdin = core.schedule.inputs.stdin(basis)
    for (interface, _), body in zip(basis, stdin[1::2], strict=bool(basis)):
        try:
            values.check_body(body)
        except ValueError:  # a source lies
            what = f"a source's data of interface {escape(interface, NAME_LIMIT)} is not a JSON object"
            last_words.leave(ExitStatus.TIMEOUT, f"rule {name} would not run: {what}")
    last_words.note(f"--input shows values, which may be secret: what the handler of rule {name} would get")
    last_words.answer(b"".join(stdin))


def _run(coordinator: Coordinator, launched: Launched) -> Outcome:
    """Run the coordinator's loop until it is over."""
    gc.freeze()  # the later children share what was imported since the first ones were forked
    gc.enable()
    return coordinator.run(launched.children)
