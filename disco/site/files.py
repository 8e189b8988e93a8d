"""The files of a site: what they are called, and which of them lie in disco.path."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

SCHEMA_SUFFIX = ".schema"
RULES_SUFFIX = ".rules"


def list_files(directories: Iterable[Path], *suffixes: str) -> list[Path]:
    """Return the files directly in the directories, sorted by name in each.

    Raises:
        OSError: a directory cannot be listed.

    """
    return [
        path
        for directory in directories
        for path in sorted(directory.iterdir())
        if path.suffix in suffixes and not path.name.startswith(".") and not path.is_dir()
    ]
