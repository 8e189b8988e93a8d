"""A phase: one disco from its start to COMMAND's end, what is done to it, and what came of that."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from typing import TYPE_CHECKING, Any

from lab.processes import parents_below, processes

from stress_lab.attack import Attack
from stress_lab.command import check_command
from stress_lab.disco import Disco
from stress_lab.loop import Loop
from stress_lab.measures import Measures, Write
from stress_lab.store import Store
from stress_lab.witness import Result, Witness, short

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable
    from pathlib import Path

    from stress_lab.plan import Key, Namespace, Site, Step

SCAN, PROGRESS = 0.25, 5.0  # seconds between looks at what was seen, and between progress lines
SPRINT, SPRINT_SIZE = 150.0, 4000  # changes a second of one source while disco is to exec, and their size
SPRINT_PAUSE = 3.0  # seconds for which disco is stopped then
FROZEN = b" starts with the data of "  # disco: it did not wait for the newest any more
CHANGES = ("change", "probe", "transaction")
SHOWN = 20  # rules that are named one by one


class Phase:
    """One disco on a site."""

    def __init__(self, options: argparse.Namespace, site: Site, folder: Path, servers: dict[str, Any]) -> None:
        """Write the site, and start disco."""
        self.folder = folder
        self.result = Result()
        self._patience: float = options.patience
        self._site = site
        self._interfaces = {namespace.name: namespace.interfaces for namespace in site.namespaces}
        for name in ("etc", "runs", "locks", "data", "steps"):
            (folder / name).mkdir(parents=True)
        self._store = Store(site, folder / "data", servers)
        self._witness = Witness(site, folder, self._store, self.result)
        self._began = time.monotonic()
        self._disco = Disco(options, site, folder, self._store)
        self._running = self._disco.running
        self._loop = Loop(self._running.process)
        self._attack = Attack(self._running, self._disco.log, self._loop)
        self._measures = Measures(site, self._disco, self._witness, self._attack, self.result)

    def run(self, seconds: float, label: str) -> Result:
        """Do the steps, end, check."""
        try:
            self._repeat(label)
            self._await_first_runs()
            self._began = time.monotonic()
            self._plan_steps(self._site.steps)
            for at in (seconds * 0.5, seconds * 0.9):
                self._loop.after(at, self._measures.look_at_memory)
            self._loop.wait(lambda: False, seconds)
            if self._running.process.poll() is None:
                self._end(label)
            else:
                self.result.breaks(f"disco ended before its time, with {self._running.process.returncode}")
            self._check()
        finally:
            self._clean_up()
        return self.result

    def _repeat(self, label: str) -> None:
        """Collect what was seen, and print progress, from now on."""

        def progress() -> None:
            print(f"{label} {time.monotonic() - self._began:5.0f} s: {self._measures.progress()}", flush=True)

        self._loop.every(SCAN, self._witness.collect)
        self._loop.every(PROGRESS, progress)

    def _await_first_runs(self) -> None:
        rules = [rule.name for rule in self._site.rules if rule.name != "gate" and not self._site.depends_on_faulty(rule)]
        if not self._loop.wait(lambda: all(name in self._witness.last for name in rules), self._patience):
            missing = [name for name in rules if name not in self._witness.last]
            self.result.breaks(f"these rules never ran, though their data was there from the start: {missing[:30]}")
        self.result.numbers["every healthy rule had run after"] = round(time.monotonic() - self._began, 1)

    def _plan_steps(self, steps: tuple[Step, ...]) -> None:
        def later(step: Step) -> Callable[[], None]:
            return lambda: self._do(step)

        for step in steps:
            self._loop.after(step.at, later(step))

    def _do(self, step: Step) -> None:
        if step.what in CHANGES:
            self._change(step.key, step.size, step.what)
        elif step.what in ("spoil", "tear"):
            self._store.spoil(step.key, tear=step.what == "tear")
            self._attack.count[step.what] += 1
        else:
            self._attack.do(step)

    def _change(self, key: Key, size: int, what: str) -> None:
        interface, name = key
        keys = [(other, name) for other in (self._interfaces[name] if what == "transaction" else (interface,))]
        self._store.change(keys, size)
        now = time.time_ns()
        self._measures.writes += (Write(now, key, self._store.written[key], what == "probe") for key in keys)

    # The end

    def _end(self, label: str) -> None:
        """End all faults, wait for the newest data everywhere, give the gate's data, and wait for exec."""
        self._attack.send(signal.SIGCONT)
        self._loop.clear()
        self._attack.close()  # what is stopped now stays so: disco has to deal with it
        self._repeat(f"{label} end")
        for namespace in self._site.namespaces:
            for interface in namespace.interfaces:
                if interface != "gate":
                    self._store.change([(interface, namespace.name)], 5)
        (self.folder / "calm").touch()
        self._await_newest()
        if (self.folder / "command.pid").exists():
            self.result.breaks("COMMAND runs though a rule's data is not there")
        self._measures.look_at_memory()
        began = time.monotonic()
        self._churn()
        self._store.change([("gate", "gate")], 0)
        has_execed = self._loop.wait((self.folder / "command.pid").exists, self._patience)
        self.result.numbers["exec after"] = round(time.monotonic() - began, 2)
        self._loop.clear()
        self._attack.send(signal.SIGCONT)
        if has_execed:
            self._check_exec()
        else:
            self.result.breaks(f"disco did not exec within {self._patience:g} s (exit status {self._running.process.poll()})")
            self._running.process.send_signal(signal.SIGUSR1)  # the report goes to the log
            self._loop.wait(lambda: False, 2)

    def _await_newest(self) -> None:
        rules = [rule for rule in self._site.rules if rule.name != "gate"]
        began = time.monotonic()
        if not self._loop.wait(lambda: all(map(self._witness.is_newest, rules)), self._patience):
            missing = [rule for rule in rules if not self._witness.is_newest(rule)]
            for rule in missing[:SHOWN]:
                last = short(self._witness.last.get(rule.name, {}))
                self.result.breaks(f"rule {rule.name} ({rule.mode} {rule.interfaces}) has not seen the newest data: {last}")
            if len(missing) > SHOWN:
                self.result.breaks(f"… nor have {len(missing) - SHOWN} more rules")
        self.result.numbers["newest data everywhere after"] = round(time.monotonic() - began, 1)

    def _churn(self) -> None:
        """Change data as before, and one source's as fast as can be, while disco is to exec; stop disco in the middle of it."""
        self._plan_steps(tuple(step for step in self._site.steps if step.what in ("change", "transaction")))
        sprinters = [namespace for namespace in self._site.namespaces if namespace.type == "etcd"]
        if sprinters:
            self._sprint(sprinters[-1])

    def _sprint(self, namespace: Namespace) -> None:
        until = 0.0

        def step() -> None:
            nonlocal until
            now = time.monotonic()
            if not until and "gate" in self._witness.last:  # nothing but the changes is in exec's way
                self._attack.pause(SPRINT_PAUSE)
                until = now + SPRINT_PAUSE + 0.1
            if not until or now < until:
                self._change(("", namespace.name), SPRINT_SIZE, "transaction")
                self._loop.after(1 / SPRINT, step)

        step()

    def _check_exec(self) -> None:
        for broken in check_command(self.folder, self._running):
            self.result.breaks(broken)
        self._witness.collect(final=True)
        is_frozen = FROZEN in self._disco.log.tail
        self.result.numbers["exec on"] = "what was frozen" if is_frozen else "the newest"
        if not is_frozen:
            self._witness.check_exec(self._measures.writes)

    def _check(self) -> None:
        self._witness.collect(final=True)
        if not all(self._witness.is_newest(rule) for rule in self._site.rules if rule.name == "gate"):
            self.result.breaks("the gate's rule has not seen its data")
        overlaps = self.folder / "overlaps"
        if overlaps.exists():
            text = overlaps.read_text()
            self.result.breaks(f"{text.count(' while')} runs began while another of the same rule ran: {text[:2000]}")
        self._measures.check_quiet()
        self._measures.sum_up(self._loop.late)

    def _clean_up(self) -> None:
        """End what is left, by handles that were opened while it was seen to be this phase's: its folder's name is random."""
        process = self._running.process

        def look() -> set[int]:
            below = parents_below(self._running.pid) if process.poll() is None else {}
            return {*below, *processes(f"OUT={self.folder}")}

        handles: dict[int, int] = {}
        for pid in look():
            with contextlib.suppress(OSError):
                handles[pid] = os.pidfd_open(pid)
        still = look()
        if process.poll() is None:
            process.kill()
            process.wait()
        for pid, handle in handles.items():
            if pid in still:
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(handle, signal.SIGKILL)
            os.close(handle)
        self._attack.close()
        self._disco.log.join(10)
        if self.result.broken:
            (self.folder / "log").write_bytes(self._disco.log.tail)
