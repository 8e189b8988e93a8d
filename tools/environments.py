"""Pythons that really run, and virtual environments made of them; for the scripts beside it. Standard library only.

May be imported by any Python 3 that `#!/usr/bin/env python3` finds, also by one that is too old for disco.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VERSIONS = ("3.11", "3.12", "3.13")
TRY_LIMIT = 30.0  # seconds


class EnvironmentsError(Exception):
    """An environment cannot be made; the text says why, and what would help."""


def find_pythons(*, pyenv: bool = True) -> dict[str, Path]:
    """Return the supported Pythons that run here, by version, oldest first.

    Each PATH entry is tried, not only the first: pyenv puts shims there that fail for versions that are not selected.
    With `pyenv` its own folders are looked at too.
    """
    folders = [Path(entry) for entry in os.environ.get("PATH", os.defpath).split(os.pathsep) if entry]
    if pyenv:
        root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
        folders += sorted(root.glob("versions/3.*/bin"))
    found = {}
    for version in VERSIONS:
        for folder in folders:
            program = folder / f"python{version}"
            python = _real(program) if os.access(program, os.X_OK) else None
            if python:
                found[version] = python
                break
    return found


def need_python() -> Path:
    """Return the oldest supported Python that is here."""
    pythons = find_pythons()
    if not pythons:
        raise EnvironmentsError(f"no Python of {', '.join(VERSIONS)} found (on PATH or in pyenv's folder)")
    return next(iter(pythons.values()))


def make(name: str, python: Path, *requirements: str) -> Path:
    """Return the folder of programs of the virtual environment `.tox/NAME`, made anew unless it is there as asked."""
    folder = ROOT / ".tox" / name
    programs, stamp = folder / "bin", folder / "made-of"
    metadata = (ROOT / "pyproject.toml").read_bytes()
    wanted = hashlib.sha256(repr((str(ROOT), str(python), requirements)).encode() + metadata).hexdigest()
    if stamp.is_file() and stamp.read_text() == wanted and _runs(programs / "python"):
        return programs
    if not _runs(python, "import ensurepip, venv"):
        version = subprocess.run([python, "--version"], capture_output=True, text=True, check=False).stdout
        package = f"python{'.'.join(version.split()[1].split('.')[:2])}-venv"
        raise EnvironmentsError(f"{python} cannot make virtual environments: 'apt-get install {package}' helps on Debian")
    print(f"making {folder} (once; takes a minute)", file=sys.stderr, flush=True)
    install = [
        str(programs / "python"),
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        *requirements,
    ]
    for argv in ([str(python), "-m", "venv", "--clear", str(folder)], install):
        done = subprocess.run(argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if done.returncode:
            raise EnvironmentsError(f"{' '.join(argv)} failed:\n{done.stdout}")
    stamp.write_text(wanted)
    return programs


def _real(program: Path) -> Path | None:
    """Return the interpreter behind a program that may be a shim; None if it does not run."""
    try:
        done = subprocess.run(
            [program, "-c", "import sys; print(sys.executable)"],
            capture_output=True, text=True, timeout=TRY_LIMIT, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    return Path(done.stdout.strip()) if done.returncode == 0 and done.stdout.strip() else None


def _runs(python: Path, code: str = "1") -> bool:
    try:
        return subprocess.run([python, "-c", code], capture_output=True, timeout=TRY_LIMIT, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False
