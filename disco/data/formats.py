"""The formats of JSON Schema: which of them can be checked here. This module is the one that imports jsonschema.

jsonschema imports what checks `iri` and `iri-reference` (of the extra `formats`), which compiles a grammar for a second.
During its import a stand-in takes the grammar's place; the real one is imported when it is needed.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jsonschema.protocols import Validator

__all__ = ["jsonschema", "load", "unchecked"]

_SLOW, _SLOW_FORMATS = "rfc3987_syntax", {"iri", "iri-reference"}


@contextmanager
def _stand_in() -> Iterator[None]:
    """Keep the slow package from being imported, where it is installed and not imported yet."""
    if find_spec(_SLOW) is None or _SLOW in sys.modules:
        yield
        return
    module = ModuleType(_SLOW)
    module.is_valid_syntax = lambda *given: import_module(_SLOW).is_valid_syntax(*given)  # type: ignore[attr-defined]
    sys.modules[_SLOW] = module
    try:
        yield
    finally:
        del sys.modules[_SLOW]


with _stand_in():
    import jsonschema


def unchecked(formats: set[str], kind: type[Validator]) -> list[str]:
    """Return which of the formats a dialect's validator does not check, sorted."""
    return sorted(formats - set(kind.FORMAT_CHECKER.checkers))


def load(formats: set[str]) -> None:
    """Import what checks the formats: before children are forked, and outside of the time that a verdict may take."""
    if formats & _SLOW_FORMATS and find_spec(_SLOW):
        import_module(_SLOW)
