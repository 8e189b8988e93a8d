"""Pythons that really run, and virtual environments made of them; for the scripts beside it. Standard library only.

May be imported by any Python 3 that `#!/usr/bin/env python3` finds, also by one that is too old for disco.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).resolve().parent.parent
VERSIONS = ("3.11", "3.12", "3.13")
CONSTRAINTS = ROOT / "constraints.txt"  # the versions that everything here is checked with
PACKAGES = {"ip": "iproute2", "openssl": "openssl", "ps": "procps"}  # programs that tests use, and their packages on Debian
TRY_LIMIT = 30.0  # seconds
LOCK_LIMIT = 120  # seconds for another apt-get to end


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
    """Return the oldest supported Python that is here, of those that can make virtual environments if there is one."""
    pythons = [*find_pythons().values()]
    if not pythons:
        raise EnvironmentsError(f"no Python of {', '.join(VERSIONS)} found (on PATH or in pyenv's folder)")
    return next((python for python in pythons if _makes_environments(python)), pythons[0])


def need(python: Path, *programs: str) -> None:
    """Install what is missing of the system's: what a Python needs to make virtual environments, and programs of PACKAGES.

    Raises:
        EnvironmentsError: it cannot be installed from here; the text names the command that does it.

    """
    missing = [PACKAGES[program] for program in programs if not shutil.which(program)]
    if not _makes_environments(python):
        major, minor = _output(python, "import sys; print(*sys.version_info[:2])").split()
        missing.append(f"python{major}.{minor}-venv")
    if not missing:
        return
    command = f"apt-get install --yes --no-install-recommends {' '.join(missing)}"
    apt = shutil.which("apt-get")
    if not apt or os.geteuid() != 0:
        raise EnvironmentsError(f"this system lacks {', '.join(missing)}; as root on Debian or Ubuntu: apt-get update && {command}")
    print(f"installing what this system lacks: {command}", file=sys.stderr, flush=True)
    for argv in ([apt, "update"], [apt, *command.split()[1:]]):
        _run([*argv, "--quiet", f"-oDPkg::Lock::Timeout={LOCK_LIMIT}"], DEBIAN_FRONTEND="noninteractive")
    if not _makes_environments(python):
        raise EnvironmentsError(f"{python} cannot make virtual environments, also with {missing[-1]}")


def make(name: str, python: Path, *requirements: str) -> Path:
    """Return the folder of programs of the virtual environment `.tox/NAME`, made anew unless it is there as asked."""
    folder = ROOT / ".tox" / name
    programs, stamp = folder / "bin", folder / "made-of"
    metadata = (ROOT / "pyproject.toml").read_bytes() + CONSTRAINTS.read_bytes()
    wanted = hashlib.sha256(repr((str(ROOT), str(python), requirements)).encode() + metadata).hexdigest()
    if stamp.is_file() and stamp.read_text() == wanted and _runs(programs / "python"):
        return programs
    need(python)
    print(f"making {folder} (once; takes a minute)", file=sys.stderr, flush=True)
    _run([str(python), "-m", "venv", "--clear", str(folder)])
    pip = [str(programs / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _run([*pip, *requirements], PIP_CONSTRAINT=str(CONSTRAINTS))
    stamp.write_text(wanted)
    return programs


def enter_disco(tool: Path, argv: Sequence[str]) -> None:
    """Run a tool again with a Python that has disco and the clients of its backends, unless this one is such a Python.

    That is tox's, if it has been made, else that of an environment made for it.

    Raises:
        EnvironmentsError: it cannot be made.

    """
    if Path(sys.executable).with_name("disco").exists() and all(map(find_spec, ("consul", "etcd3"))):
        return
    programs = ROOT / ".tox" / "py311" / "bin"
    if not (programs / "disco").exists() or Path(sys.prefix).resolve() == programs.parent.resolve():
        programs = make("demo", need_python(), "--editable", ".[all]")
    os.execv(programs / "python", [str(programs / "python"), str(tool), *argv])


def _run(argv: list[str], **variables: str) -> None:
    """Run a program of the set-up with more in its environment; raise EnvironmentsError with all that it said if it fails."""
    done = subprocess.run(
        argv, cwd=ROOT, env=os.environ | variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode:
        raise EnvironmentsError(f"{' '.join(argv)} failed:\n{done.stdout}")


def _real(program: Path) -> Path | None:
    """Return the interpreter behind a program that may be a shim; None if it does not run."""
    found = _output(program, "import sys; print(sys.executable)")
    return Path(found) if found else None


def _makes_environments(python: Path) -> bool:
    """Return whether a Python has all that `python -m venv` needs: Debian keeps a part of it in another package."""
    return _runs(python, "import ensurepip, venv")


def _runs(python: Path, code: str = "") -> bool:
    return bool(_output(python, f"{code}\nprint(1)"))


def _output(python: Path, code: str) -> str:
    """Return what a Python prints when it runs some code; empty if it fails."""
    try:
        done = subprocess.run([python, "-c", code], capture_output=True, text=True, timeout=TRY_LIMIT, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return "" if done.returncode else done.stdout.strip()
