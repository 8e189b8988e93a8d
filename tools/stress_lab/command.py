"""The check of COMMAND: what disco leaves to it, and what is left of disco."""

from __future__ import annotations

import re
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

from lab.processes import parents_below, processes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lab.site import Running

STATUS = 42  # COMMAND's own
PATIENCE = 20.0  # seconds for COMMAND's end
SHORT_LIVED = 0.3  # seconds after which a program that COMMAND itself ran is gone


def check_command(folder: Path, running: Running) -> Iterator[str]:
    """Compare what COMMAND found with what the same one found without disco, end it, and yield each broken promise."""
    if (folder / "command.pid").read_text().strip() != str(running.pid):
        yield "COMMAND does not have disco's pid"
    for what in ("fds", "status", "limits", "environ"):
        lines, lines_of_control = (_read(folder / f"{who}.{what}") for who in ("command", "control"))
        if different := sorted(lines ^ lines_of_control):
            yield f"COMMAND's {what} are not those that disco found: {different}"
    yield from _check_processes(folder, running.pid)
    (folder / "go").touch()
    try:
        status = running.process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        yield "COMMAND does not end"
        return
    if status != STATUS:
        yield f"the exit status is {status}, not COMMAND's {STATUS}"


def _read(file: Path) -> set[str]:
    lines = file.read_text().splitlines()
    return {line for line in lines if not (file.suffix == ".environ" and line.startswith(("PWD=", "_=")))}


def _check_processes(folder: Path, pid: int) -> Iterator[str]:
    children = [int(word) for word in (folder / "command.children").read_text().split()]
    time.sleep(SHORT_LIVED)  # its own `cat` is among them
    below = parents_below(pid)
    if left := [child for child in children if child in below]:
        yield f"COMMAND has children: {[_describe(child) for child in left]}"
    own = {pid, *below, *parents_below(pid)}  # what it does itself
    strangers = [stranger for stranger in processes(f"OUT={folder}") if stranger not in own]
    time.sleep(SHORT_LIVED if strangers else 0.0)  # what COMMAND's loop itself runs
    if left := [stranger for stranger in strangers if stranger in processes(f"OUT={folder}")]:
        yield f"processes are left after exec: {[_describe(stranger) for stranger in left]}"


def _describe(pid: int) -> str:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")[:80]
        environ = re.findall(rb"DISCO_\w+=[^\0]*", Path(f"/proc/{pid}/environ").read_bytes())
        state = dict(re.findall(r"^(State|PPid|NSpid):\s*(.*)$", status, re.MULTILINE))
    except OSError:
        return f"{pid} (gone since)"
    return f"{pid} {words} {state} {[word[:60] for word in environ if not word.startswith(b'DISCO_CFG')]}"
