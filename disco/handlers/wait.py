"""`disco-wait`: wait until servers, sockets and files are there."""

from __future__ import annotations

from disco.errors import UsageError


def main(argv: list[str]) -> int:
    """Wait for what the words name; return the exit status.

    Raises:
        UsageError: the words are wrong.

    """
    raise UsageError(f"{len(argv)} words: not built yet")
