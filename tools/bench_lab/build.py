"""How the Python that runs here was built: that makes a difference to everything that is measured."""

from __future__ import annotations

import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


def describe(variables: Mapping[str, Any] | None = None) -> dict[str, str]:
    """Return whether it was optimised by a profile (PGO) and at link time (LTO), and whether it uses libpython as a library.

    variables: those of sysconfig, which tell what `configure` and `make` were given. `configure` writes the flags for a profile
    there whether they are used or not. Where they are missing, as in Debian's Python, the variables were edited and tell nothing.
    """
    known = sysconfig.get_config_vars() if variables is None else variables
    words = str(known.get("CONFIG_ARGS") or "").replace("'", " ").split()
    flags = " ".join(str(known.get(name) or "") for name in ("PY_CFLAGS", "PY_CFLAGS_NODIST", "PY_LDFLAGS_NODIST")).split()
    is_recorded = bool(known.get("PGO_PROF_USE_FLAG"))

    def tell(option: str, *prefixes: str) -> str:
        if _is_given(option, words) or any(flag.startswith(prefixes) for flag in flags):
            return "yes"
        return "no" if is_recorded else "unknown"

    return {
        "PGO": tell("--enable-optimizations", "-fprofile-use", "-fprofile-instr-use"),
        "LTO": tell("--with-lto", "-flto"),
        # Not by Py_ENABLE_SHARED: Debian builds both, and its program is the static one.
        "libpython": "shared" if "/libpython3" in Path("/proc/self/maps").read_text() else "static",
    }


def _is_given(option: str, words: list[str]) -> bool:
    return any(word == option or (word.startswith(f"{option}=") and word != f"{option}=no") for word in words)
