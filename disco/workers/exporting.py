"""The file in memory in which a handler writes variables for COMMAND. It is read once, when the handler has succeeded."""

from __future__ import annotations

import fcntl
import logging
import os
from typing import TYPE_CHECKING

from disco.data import exports
from disco.errors import explain_exec
from disco.text import NAME_LIMIT, escape, shorten
from disco.wire.messages import EXPORT_LIMIT

if TYPE_CHECKING:
    from collections.abc import Sequence

NAMES_SHOWN = 10

log = logging.getLogger(__name__)


class ExportFile:
    """The file of one run. What the handler left running may write on, and nobody reads that."""

    def __init__(self, rule: str, patterns: Sequence[str]) -> None:
        """Make it.

        Raises:
            OSError: that is not possible.

        """
        self.descriptor = os.memfd_create("exports", os.MFD_CLOEXEC)
        self._rule = rule
        self._patterns = patterns
        # What is written to the descriptor itself must not replace what was appended by its path.
        fcntl.fcntl(self.descriptor, fcntl.F_SETFL, os.O_APPEND)

    def read(self) -> tuple[bytes, str]:
        """Return the variables for COMMAND, NAME=value each and ended by NUL; or why they cannot be used."""
        try:
            content = os.pread(self.descriptor, EXPORT_LIMIT + 1, 0)
            accepted, refused = exports.accept(content, self._patterns)
        except OSError as error:
            return b"", f"DISCO_ENV: {explain_exec(error)}"
        except ValueError as error:
            return b"", f"what it wrote to DISCO_ENV cannot be used: {error}"
        if refused:
            names = shorten([escape(name, NAME_LIMIT) for name in refused], NAMES_SHOWN)
            about = {"fields": {"rule": self._rule, "event": "output"}}
            log.warning("rule %s: not exported, since 'export' does not name it: %s", self._rule, names, extra=about)
        return accepted, ""

    def close(self) -> None:
        """Give up this process's descriptor of it."""
        os.close(self.descriptor)
