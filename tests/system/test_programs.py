"""Programs: where they are, and the environment that they get."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from disco.system import programs

if TYPE_CHECKING:
    from pathlib import Path


def test_find_program(tmp_path: Path) -> None:
    """A name is looked up in the path; with a slash in it, it is a file below the folder; what cannot be executed is none."""
    program, text = tmp_path / "program", tmp_path / "text"
    program.touch(mode=0o755)
    text.touch(mode=0o644)
    assert programs.find_program("program", str(tmp_path)) == str(program)
    assert programs.find_program("./program", "/nowhere", tmp_path) == str(program)
    assert programs.find_program(str(program), "/nowhere") == str(program)
    for name in ("text", "./text", "missing", "./missing", "/"):
        assert programs.find_program(name, str(tmp_path), tmp_path) is None


EXECUTE = """
import sys
from disco.system import programs
entries = programs.environment()
if b"AGAIN" in entries:
    print(entries)
else:
    argv = [sys.executable, "-c", sys.argv[1], sys.argv[1]]
    programs.execute(sys.executable, argv, [b"AGAIN=1", b"A=1", b"A=2", b"odd", b"E=x=y", b"F="])
"""


def test_an_environment_of_any_form_arrives() -> None:
    """What is no variable, or there twice, reaches a program as it is, and is found again; of two the first counts."""
    done = subprocess.run([sys.executable, "-c", EXECUTE, EXECUTE], capture_output=True, check=True, text=True)
    entries = {b"AGAIN": b"AGAIN=1", b"A": b"A=1", b"odd": b"odd", b"E": b"E=x=y", b"F": b"F="}
    assert done.stdout == f"{entries}\n"
