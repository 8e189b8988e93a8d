"""The words after a shipped handler's name: options, and the others."""

from __future__ import annotations

import getopt
from typing import TYPE_CHECKING

from disco.errors import UsageError
from disco.text import REASON_LIMIT, escape

if TYPE_CHECKING:
    from collections.abc import Sequence


def hint(handler: str) -> str:
    """Return where people find how a handler is used."""
    return f"'{handler} -h' shows how it is used"


def split(handler: str, argv: Sequence[str], options: Sequence[str]) -> tuple[list[tuple[str, str]], list[str]]:
    """Return the options that are given, with their values, and the other words, in whatever order they stand.

    options: those that the handler has, as getopt names them. None of them can be abbreviated.

    Raises:
        UsageError: an option is unknown, or lacks its value.

    """
    try:
        return getopt.gnu_getopt(list(argv), "", [*options] * 2)  # twice: so no beginning of a name is unique
    except getopt.GetoptError as error:
        reason = error.msg.replace("not a unique prefix", "not recognized")
        raise UsageError(f"{escape(reason, REASON_LIMIT)}; {hint(handler)}") from None
