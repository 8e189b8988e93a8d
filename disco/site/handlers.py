"""Handlers: which program a rule's handler is, and whether the kernel would execute it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from disco.errors import ConfigurationError, Problem
from disco.system import programs
from disco.text import NAME_LIMIT, escape, nearest

if TYPE_CHECKING:
    from collections.abc import Iterable

SCRIPT_LIMIT = 256  # bytes of a #! line that the kernel looks at
SHIPPED_PREFIX = "disco-"  # of the shipped handlers' names
_CORRECT = "install it, or correct the line"


class Handlers:
    """Where handlers are looked up: the directories of disco.path, then the shipped handlers, then the directories of PATH.

    programs: what is run for each handler that was found by its name alone. A shipped handler is run by its name, which is the only
    program without a `/` in it.
    """

    def __init__(self, directories: Iterable[Path], path: str) -> None:
        """Take disco.path, and PATH.

        Raises:
            OSError: the working directory is gone, and a directory is relative to it.

        """
        self.programs: dict[str, str] = {}
        self._path = path
        own = [*map(os.path.abspath, directories)]
        # An empty entry of PATH stands for the working directory, which nobody means.
        self._places = [*own, *filter(None, path.split(os.pathsep))]
        self._own, self._search = os.pathsep.join(own), os.pathsep.join(self._places)

    def find(self, name: str, folder: Path, place: str) -> str:
        """Return what is run for a handler's name; with a `/` in it, it is looked up from the folder of its rules file.

        place: where the rule names it.

        Raises:
            ConfigurationError: nothing can be run.

        """
        if self._is_shipped(name):
            self.programs[name] = name
            return name
        program = programs.find_program(name, self._search, folder)
        if program is None:
            raise ConfigurationError(self._explain_missing(name, folder, place))
        if "/" not in program:  # of a rules file in the working directory
            program = f"./{program}"
        if fault := self._find_fault(program):
            what, remedy = fault
            raise ConfigurationError(Problem(place, f"handler {escape(name, NAME_LIMIT)}: {program}: {what}", remedy))
        if "/" not in name:
            self.programs[name] = program
        return program

    def _is_shipped(self, name: str) -> bool:
        if not name.startswith(SHIPPED_PREFIX):
            return False
        from disco.handlers import SHIPPED  # noqa: PLC0415 -- few sites need it

        return name in SHIPPED and programs.find_program(name, self._own) is None

    def _explain_missing(self, name: str, folder: Path, place: str) -> Problem:
        shown = escape(name, NAME_LIMIT)
        is_path = "/" in name
        for file in (Path(place, name) for place in ([folder] if is_path else self._places)):
            if os.path.isfile(file):  # noqa: PTH113 -- unlike Path's it never raises, whatever may not be looked at
                return Problem(place, f"handler {shown}: {file} is not executable", f"chmod +x {file}")
        looked = "from this file's directory" if is_path else "in disco.path, then PATH"
        remedy = "correct the path" if is_path else "put it into a directory of disco.path or of PATH"
        if name.startswith(SHIPPED_PREFIX):
            from disco.handlers import SHIPPED  # noqa: PLC0415 -- as above

            remedy = nearest(name, SHIPPED, remedy)
        return Problem(place, f"handler {shown} is not found (looked for {looked})", remedy)

    def _find_fault(self, program: str) -> tuple[str, str] | None:
        """Return why the kernel would not execute a script, and the remedy; None if it would, or if that is no script."""
        try:
            descriptor = os.open(program, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
            with open(descriptor, "rb") as file:  # noqa: PTH123 -- a descriptor
                head = file.read(SCRIPT_LIMIT)
        except OSError:  # a program may be executable and not readable
            return None
        if not head.startswith(b"#!"):
            is_binary = b"\0" in head or head.startswith(b"\x7fELF")
            return None if is_binary else ("a script without a #! line", "begin it with one, such as #!/bin/sh")
        line, _, _ = head[2:].partition(b"\n")
        if line.endswith(b"\r"):
            return "its #! line ends with a carriage return (Windows' line ends)", "save it with Unix line ends"
        interpreter, *arguments = os.fsdecode(line).split() or [""]
        if not (os.path.isfile(interpreter) and os.access(interpreter, os.X_OK)):  # noqa: PTH113 -- as above
            return (
                f"{escape(interpreter, NAME_LIMIT) or 'nothing'}, the interpreter of its #! line, is not an executable file",
                _CORRECT,
            )
        if Path(interpreter).name == "env":
            wanted = next((word for word in arguments if not word.startswith("-") and "=" not in word), "")
            if wanted and programs.find_program(wanted, self._path) is None:
                return f"{escape(wanted, NAME_LIMIT)}, the interpreter of its #! line, is not in PATH", _CORRECT
        return None
