"""Gathering: have the coordinator work in a process of its own, for COMMAND or for what is to be printed.

The process that waits for it imports nothing of what the coordinator needs: that would be memory twice.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, NoReturn

from disco import entrypoint, launching
from disco.text import plural, shorten

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from disco.people.log import StderrHandler
    from disco.site.loading import Site
    from disco.system.signals import Signals

NAMES_LIMIT = 10  # interfaces, or sources, in one line

log = logging.getLogger(__name__)


def satisfy_rules(
    site: Site, command: Sequence[str], environment: Mapping[bytes, bytes], signals: Signals, handler: StderrHandler
) -> dict[bytes, bytes]:
    """Return when every rule has succeeded and nothing is left of what disco started; exit if that does not come about.

    environment: whole entries by name; so is what is returned, of the variables that rules export.
    """
    _log_overview(site)

    def work() -> bytes:
        handler.process = "coordinator"
        with launching.launch(site, signals, runs_handlers=True) as children:
            from disco import coordination  # noqa: PLC0415 -- children are forked before that is imported

            return coordination.satisfy_rules(site, command, environment, signals, children)

    answer = entrypoint.delegate(work, signals)
    if isinstance(answer, int):
        os._exit(answer)
    return {entry.partition(b"=")[0]: entry for entry in answer.split(b"\0") if entry}


def rehearse(site: Site, command: Sequence[str], signals: Signals, handler: StderrHandler, *, as_json: bool) -> NoReturn:
    """Read the sources, print what they hold and what would run, and exit as a start would; command: empty if it is not known."""
    _log_overview(site)

    def work() -> NoReturn:
        handler.process = "coordinator"
        with launching.launch(site, signals, runs_handlers=False) as children:
            from disco import coordination  # noqa: PLC0415 -- as above

            coordination.rehearse(site, command, signals, children, as_json=as_json)

    answer = entrypoint.delegate(work, signals)
    os._exit(answer if isinstance(answer, int) else 0)


def show_input(site: Site, name: str, signals: Signals, handler: StderrHandler) -> NoReturn:
    """Read the sources, print the input of a rule's handler, and exit; nothing on stdout if the rule could not run."""
    _log_overview(site)

    def work() -> NoReturn:
        handler.process = "coordinator"
        with launching.launch(site, signals, runs_handlers=False) as children:
            from disco import coordination  # noqa: PLC0415 -- as above

            coordination.show_input(site, name, signals, children)

    answer = entrypoint.delegate(work, signals)
    os._exit(answer if isinstance(answer, int) else 0)


def _log_overview(site: Site) -> None:
    """Log what was loaded, and what sources remark on their options."""
    for settings in site.settings.sources:
        for remark in settings.source.remarks(settings.options):
            about = {"event": "remark", "source": settings.name}
            log.info("source %s: %s", settings.name, remark, extra={"fields": about})
    interfaces = sorted(site.named_interfaces())
    sources = [f"{process.name} ({process.place})" if process.place else process.name for process in site.processes]
    on = f" on {plural(len(interfaces), 'interface')} ({shorten(interfaces, NAMES_LIMIT)})" if interfaces else ""
    from_ = f": {shorten(sources, NAMES_LIMIT)}" if sources else ""
    log.info("%s%s, %s%s", plural(len(site.rules), "rule"), on, plural(len(sources), "source"), from_)
