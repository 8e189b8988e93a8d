"""Programs: where they are, and the environment that they get."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

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


FILL = """
import errno, os, resource, sys
from disco.system import programs
stack, size, more = map(int, sys.argv[1:4])
resource.setrlimit(resource.RLIMIT_STACK, (stack, resource.RLIM_INFINITY))
argv, entries = [sys.argv[4], "word"], [b"A=1"]
room = programs.exec_room(map(os.fsencode, argv), entries) + more
filling = []
while room > (cost := size + 1 + programs.POINTER):
    filling.append(b"%08d=" % len(filling) + b"x" * (size - 9))
    room -= cost
try:
    programs.execute(argv[0], argv, entries + filling)
except OSError as error:
    sys.exit(errno.errorcode[error.errno])
"""


@pytest.mark.parametrize("stack", [256 << 10, 2 << 20, 8 << 20, 64 << 20, -1])
@pytest.mark.parametrize("size", [12, 100_000])
def test_the_room_of_an_exec(tmp_path: Path, stack: int, size: int) -> None:
    """As much as `exec_room` says can be given to a script, whatever the stack's limit and the variables' size; not much more."""
    script = tmp_path / ("long" * 60) / "script"
    script.parent.mkdir()
    script.write_text("#!/bin/sh -e\nexit 7\n")
    script.chmod(0o755)
    for more, end in ((0, 7), (256 << 10, 1)):
        argv = [sys.executable, "-c", FILL, str(stack), str(size), str(more), str(script)]
        done = subprocess.run(argv, capture_output=True, check=False, text=True)
        assert (done.returncode, done.stderr) == (end, "E2BIG\n" if more else "")
