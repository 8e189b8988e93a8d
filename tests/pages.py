"""The documents as tests see them: pages, their blocks, and a shell that runs what a page tells to type.

A page is one session in a copy of `examples/` and of what the oldest example needs. Its blocks, in their order:

- `console`: lines after `$ ` are run by a shell, and what stands below each is its output (stdout and stderr). A line `…` stands
  for any lines. Durations, process numbers and dates may differ; so may the heads of log lines, where the page shows none.
- any language and a path: that file. It is one of the project's with this content, or it is written into the session's folder.
- `mermaid`: the output of the last command.
- `sh`: commands for elsewhere, which only programs outside of disco understand (docker, pip); they are not run.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "examples").glob("*/README.md"))]
SHOWN_ROOT = "/disco"  # what a page calls the folder in which it is read
PATIENCE = 100.0  # seconds for all commands of a page

_FENCE = re.compile(r"^( *)```(\S*) ?(\S*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_END = "\x1e"  # after each command's output; disco escapes it in whatever it prints
_HEAD = re.compile(r"(?m)^\d{4}-\d\d-\d\dT\S+Z [A-Z]+ +\S+\] ")
_VARIES = {r"\d{4}-\d\d-\d\dT[\d:.]+Z": "DATE", r"\[\d+\]": "[PID]", r"\b[\d.]+ m?s\b": "DURATION"}


class Block(NamedTuple):
    """A fenced block: language, the path that stands beside it, text, and the number of its first line."""

    language: str
    path: str
    text: str
    line: int


class Command(NamedTuple):
    """What is typed, the output that the page shows, and where."""

    text: str
    output: str
    line: int


def name_of(page: Path) -> str:
    """Return a page's path in the project."""
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path) -> Iterator[Block]:
    """Yield the blocks of a page."""
    content = page.read_text()
    for found in _FENCE.finditer(content):
        indent, language, path, text = found.groups()
        text = re.sub(f"(?m)^{indent}", "", text)
        yield Block(language, path, text, content.count("\n", 0, found.start()) + 1)


def commands(block: Block) -> list[Command]:
    """Return the commands of a console block."""
    found: list[Command] = []
    for number, line in enumerate(block.text.splitlines(keepends=True), block.line + 1):
        if line.startswith("$ "):
            found.append(Command(line[2:], "", number))
        elif found[-1].text.endswith("\\\n"):
            found[-1] = found[-1]._replace(text=found[-1].text + line)
        else:
            found[-1] = found[-1]._replace(output=found[-1].output + line)
    return found


def run(page: Path, folder: Path, environ: Mapping[str, str], ports: Mapping[int, int]) -> list[tuple[Command, str]]:
    """Return a page's commands, each with its output, after a shell has run all of them in a folder. What they started is ended.

    environ: more of the environment. ports: each that the page names, with the real one.
    """
    shutil.copytree(ROOT / "examples", folder / "examples")
    (folder / "tests").mkdir()
    for file in (ROOT / "tests").glob("mysql*"):
        shutil.copy(file, folder / "tests")
    script, typed = _script(page)
    script = _exchange(script, ports)
    for path in folder.rglob("*"):
        path.chmod(path.stat().st_mode & ~0o022)  # whatever the umask was when the project was fetched: --check looks
        if page.parent.name == path.parent.name and path.is_file():
            path.write_text(_exchange(path.read_text(), ports))
    programs = f"{Path(sys.executable).parent}{os.pathsep}{environ.get('PATH', os.environ['PATH'])}"
    with tempfile.TemporaryFile() as printed:
        process = subprocess.Popen(
            ["sh", "-c", script],
            cwd=folder,
            env={**environ, "PATH": programs, "HOME": str(folder), "LC_ALL": "C.UTF-8"},
            stdin=subprocess.DEVNULL,
            stdout=printed,
            stderr=printed,
            start_new_session=True,
        )
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        printed.seek(0)
        output = printed.read().decode(errors="replace")
    output = _exchange(output.replace(str(folder), SHOWN_ROOT), {real: shown for shown, real in ports.items()})
    parts = output.split(_END)
    assert len(parts) == len(typed) + 1, f"{name_of(page)}: a command ended the shell, or did not end:\n{output}"
    return list(zip(typed, parts, strict=False))


def differs(command: Command, output: str) -> str:
    """Return how a command's output is another one than the page shows; empty if it is as shown."""
    shown = _steady(command.output)
    printed = _steady(output if _HEAD.search(command.output) else _HEAD.sub("", output))
    pattern = "".join(r"(?:.*\n)*?" if line == "…" else re.escape(line) + r"\n" for line in shown.splitlines())
    if re.fullmatch(pattern, printed if printed.endswith("\n") or not printed else printed + "\n"):
        return ""
    return f"line {command.line}: $ {command.text}shows\n{shown}prints\n{printed}"


def _script(page: Path) -> tuple[str, list[Command]]:
    """Return a page's files and commands as a shell's script, and the commands whose outputs it separates."""
    script: list[str] = []
    typed: list[Command] = []
    for block in blocks(page):
        if block.language == "console":
            for command in commands(block):
                script.append(f"{command.text}__status=$?; printf '\\036'; (exit $__status)\n")
                typed.append(command)
        elif block.language == "mermaid":
            typed[-1] = typed[-1]._replace(output=block.text)
        elif block.path and not (ROOT / block.path).exists():
            script.append(f"cat > {block.path} <<'{_END}'\n{block.text}{_END}\n")
    return "".join(script), typed


def _exchange(text: str, numbers: Mapping[int, int]) -> str:
    """Return text with some numbers exchanged for others."""
    return re.sub(r"\b\d{4,5}\b", lambda found: str(numbers.get(int(found[0]), found[0])), text) if numbers else text


def _steady(text: str) -> str:
    """Return text without what differs from run to run."""
    for pattern, name in _VARIES.items():
        text = re.sub(pattern, name, text)
    return text
