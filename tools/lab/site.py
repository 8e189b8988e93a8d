"""A site (schemas, rules, handlers, a flat file) in a folder, and disco running on it as a real process.

Handlers and COMMAND write what they saw into the folder: that is the witness, never disco's own log.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab.processes import below, name_of
from lab.waiting import PATIENCE, eventually

if TYPE_CHECKING:
    from collections.abc import Sequence


class Running:
    """A disco that runs; its stderr goes to a file, so that it never waits for the test."""

    def __init__(self, process: subprocess.Popen[bytes], folder: Path) -> None:
        self.process = process
        self.pid = process.pid
        self._folder = folder

    @property
    def log(self) -> str:
        return (self._folder / "stderr").read_text(errors="replace")

    @property
    def output(self) -> str:
        return (self._folder / "stdout").read_text(errors="replace")

    def wait_for(self, pattern: str, patience: float = PATIENCE) -> re.Match[str]:
        """Wait until the log holds a line that matches."""
        try:
            line = eventually(lambda: re.search(pattern, self.log), pattern, patience)
        except TimeoutError:
            raise AssertionError(f"{pattern!r} never came in:\n{self.log}") from None
        assert isinstance(line, re.Match)
        return line

    def wait(self, patience: float = PATIENCE) -> int:
        """Wait for the end and return the status (negative: killed by that signal)."""
        try:
            return self.process.wait(patience)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"disco does not end:\n{self.log}") from None

    @property
    def coordinator(self) -> int:
        """The process below this one that does disco's work."""
        pids = eventually(lambda: [pid for pid in below(self.pid) if name_of(pid).startswith("disco:coord")], "the coordinator")
        assert isinstance(pids, list)
        return int(pids[0])

    def send(self, number: int) -> None:
        """Send disco a signal; it is stopped and continued as a whole, as `docker pause` does it."""
        if number in {signal.SIGSTOP, signal.SIGCONT}:
            os.kill(self.coordinator, number)
        os.kill(self.pid, number)

    def report_until(self, words: str) -> None:
        """Ask for reports (SIGUSR1) until one holds the words."""

        def told() -> bool:
            self.send(signal.SIGUSR1)
            return words in self.log

        eventually(told, words)

    def child(self, name: str) -> int:
        """Return the pid of a child by its name, as the newest log line of that child tells it (needs -l DEBUG)."""
        pids = eventually(lambda: re.findall(rf" {re.escape(name)}\[(\d+)\] ", self.log), f"a line of {name}")
        return int(pids[-1])


class Site:
    """A folder with a site, and the configuration to start disco with."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.etc = folder / "etc"
        self.etc.mkdir(parents=True, exist_ok=True)
        self.cfg: dict[str, str] = {"disco.path": str(self.etc), "disco.interval": "0.05"}
        self.environ = {"PATH": os.environ["PATH"], "HOME": str(folder), "OUT": str(folder)}
        self.running: list[Running] = []

    # What the site consists of

    def schema(self, name: str, content: dict[str, Any] | None = None) -> None:
        """Write a schema; by default any mapping is valid."""
        (self.etc / f"{name}.schema").write_text(json.dumps(content if content is not None else {"type": "object"}))

    def rules(self, *rules: dict[str, Any], file: str = "site.rules") -> None:
        (self.etc / file).write_text(json.dumps({"rules": list(rules)}))

    def handler(self, name: str, script: str = "") -> Path:
        """Write a handler; without a script it appends its input as one line to the file NAME.seen."""
        path = self.etc / name
        body = script or f'cat >> "$OUT/{name}.seen"\n'
        path.write_text(body if body.startswith("#!") else "#!/bin/sh\n" + body)
        path.chmod(0o755)
        return path

    def flat(self, data: Any, name: str = "flat.yaml", source: str = "flat") -> Path:
        """Write a flat file (whole, by a rename) and let a source read it."""
        path = self.folder / name
        new = path.with_suffix(".new")
        new.write_text(data if isinstance(data, str) else json.dumps(data))
        new.rename(path)
        self.cfg[f"{source}.file"] = str(path)
        if source != "flat":
            self.cfg[f"{source}.type"] = "flat"
        return path

    def simple(self, data: dict[str, Any] | None = None) -> None:
        """One schema, one rule, one handler that writes down what it sees, one flat file."""
        self.schema("app")
        self.rules({"when": "app", "do": "see", "name": "app"})
        self.handler("see")
        self.flat({"app": data if data is not None else {"a": 1}})

    def plug_in(self, body: str, name: str = "odd") -> None:
        """Install a source type of our own beside disco: `body` is its generator's, with `context` and `first` (time) at hand."""
        folder = self.folder / "plug-ins"
        info = folder / f"{name}-1.dist-info"
        info.mkdir(parents=True, exist_ok=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
        (info / "entry_points.txt").write_text(f"[disco.sources]\n{name} = {name}:SOURCE\n")
        lines = "\n".join("    " + line for line in textwrap.dedent(body).strip().splitlines())
        (folder / f"{name}.py").write_text(
            "import ctypes, hashlib, os, signal, subprocess, sys, time\n"
            "from disco.sources import Option, Source, SourceError\n"
            "def watch(context):\n"
            "    mark = os.environ['OUT'] + '/' + context.name + '.was-here'\n"
            "    first = not os.path.exists(mark)\n"
            "    open(mark, 'w').close()\n"
            f"{lines}\n"
            "SOURCE = Source(watch=watch, any_key=True, options=())\n"
        )
        self.cfg[f"{name}.timeout"] = "0.2"

    # What it saw

    def seen(self, name: str = "see") -> list[Any]:
        """Return the inputs that a handler wrote down."""
        path = self.folder / f"{name}.seen"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def read(self, name: str) -> str:
        """Return a file that a handler or COMMAND wrote, empty if it did not."""
        path = self.folder / name
        return path.read_text() if path.exists() else ""

    # Running

    def start(
        self,
        *command: str,
        options: Sequence[str] = ("-l", "DEBUG"),
        before: Sequence[str] = (),
        prologue: str = "",
        disco: Sequence[str] = (),
        **popen: Any,
    ) -> Running:
        """Start disco with a COMMAND (by default one that prints `done`), after a prologue in its own interpreter if need be."""
        environ = self.environ | {"DISCO_CFG": self.cfg_line()}
        argv = [*before, *(disco or self._disco(prologue)), *options, *(command or ("echo", "done"))]
        with (self.folder / "stdout").open("wb") as out, (self.folder / "stderr").open("wb") as err:
            given: dict[str, Any] = {
                "stdin": subprocess.DEVNULL,
                "stdout": out,
                "stderr": err,
                "env": environ,
                "cwd": self.folder,
            } | popen
            process = subprocess.Popen(argv, **given)
        self.running.append(Running(process, self.folder))
        return self.running[-1]

    def cfg_line(self) -> str:
        """Return the configuration as DISCO_CFG has it."""
        return ":".join(f"{key}={value}" for key, value in self.cfg.items())

    def run(self, *command: str, **more: Any) -> Running:
        """Run disco to its end (`returncode` is in `process`)."""
        running = self.start(*command, **more)
        running.wait()
        return running

    def _disco(self, prologue: str) -> list[str]:
        if not prologue and not (self.folder / "plug-ins").exists():
            return disco_command()
        plug_ins = f"import sys; sys.path.append({str(self.folder / 'plug-ins')!r})"
        return [sys.executable, "-c", f"{prologue}\n{plug_ins}; from disco.cli import main; main()"]

    def clean_up(self) -> None:
        """End what a failed test left running."""
        for running in self.running:
            if running.process.poll() is None:
                running.process.kill()
                running.process.wait()


def disco_command() -> list[str]:
    """Return the installed command."""
    program = Path(sys.executable).with_name("disco")
    return [str(program) if program.exists() else str(shutil.which("disco"))]
