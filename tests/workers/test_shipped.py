"""Shipped handlers, as a runner forks them: they find what a program finds that is executed, and end as one."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import disco
from disco.errors import ExitStatus

if TYPE_CHECKING:
    from lab.site import Running, Site

# What a process can see of itself. disco's table gets it as one more shipped handler; as a file of the site it is executed.
PROBE = """
import json, os, resource, signal, subprocess, sys, threading

def read(name):
    try:
        with open(f"/proc/self/{name}") as file:
            return file.read()
    except FileNotFoundError:  # a sandbox's kernel
        return ""

def links():
    numbers = os.listdir("/proc/self/fd")  # the listing's own descriptor is among them
    return {n: os.readlink(f"/proc/self/fd/{n}").partition(":")[0] for n in numbers if os.path.exists(f"/proc/self/fd/{n}")}

def main(argv):
    status = dict(line.split(":\\t") for line in read("status").splitlines())
    limits = {name: resource.getrlimit(getattr(resource, name)) for name in dir(resource) if name.startswith("RLIMIT_")}
    of_kernel = ("Umask", "SigBlk", "SigIgn", "SigCgt", "NoNewPrivs", "Threads", "Uid", "Gid", "Groups", "CapEff", "Cpus_allowed")
    seen = {
        "argv": sys.argv[1:], "given": argv, "name": os.path.basename(sys.argv[0]), "comm": read("comm"),
        "environment": {k: v for k, v in os.environ.items() if k not in ("DISCO_RULE", "DISCO_RUN")},
        "of programs": subprocess.run(["env", "-0"], capture_output=True, text=True).stdout.split("\\0")[:-1],
        "status": {key: status[key] for key in of_kernel if key in status},
        "descriptors": links(),
        "cwd": os.getcwd(), "leads": [os.getpid() == os.getpgid(0), os.getpid() == os.getsid(0)], "tty": os.isatty(0),
        "limits": limits, "nice": os.nice(0), "oom": read("oom_score_adj"),
        "timers": [signal.getitimer(which) for which in (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)],
        "dispositions": {int(n): str(signal.getsignal(n)) for n in signal.valid_signals()},
        "wakeup": signal.set_wakeup_fd(-1),
        "threads": threading.active_count(),
        "loggers": [len(__import__("logging").root.handlers), __import__("logging").root.level],
        "random": __import__("random").random(),
        "stdin": json.load(sys.stdin), "again": sys.stdin.read(),
        "buffering": [sys.stdout.line_buffering, sys.stderr.line_buffering],
    }
    seen["environment"].pop("_", None)
    seen["of programs"] = sorted(e for e in seen["of programs"] if not e.startswith(("DISCO_RULE=", "DISCO_RUN=", "_=")))
    with open(f"{os.environ['OUT']}/{os.environ['DISCO_RULE']}.json", "w") as file:
        json.dump(seen, file)
    return 0
"""
ADD = "import sys; sys.path.append({folder!r}); from disco import handlers; handlers.SHIPPED['disco-probe'] = 'probe'"
# Executes its words with one more entry in the environment, which has no `=`.
ODD = """
import os, sys
from disco.system import libc
libc.execve(sys.argv[1], sys.argv[1:], [b"ODD", *(name + b"=" + value for name, value in os.environb.items())])
"""


def start_with(site: Site, module: str) -> str:
    """Write a shipped handler `disco-probe`; return the prologue that puts it into disco's table."""
    folder = site.folder / "probe"
    folder.mkdir()
    (folder / "probe.py").write_text(module)
    site.schema("app")
    site.flat({"app": {"a": "ü"}})
    site.environ |= {"LC_ALL": "C.UTF-8", "OWN": "a=b"}
    return ADD.format(folder=str(folder))


def fork_handler(site: Site, module: str) -> Running:
    """Run a site whose one rule has this module as its shipped handler."""
    prologue = start_with(site, module)
    site.cfg["disco.fail_limit"] = "1"
    site.rules({"when": "app", "do": "disco-probe", "name": "forked"})
    return site.run(prologue=prologue, options=())


@pytest.mark.parametrize("export", [[], ["GIVEN"]])
def test_the_forked_handler_finds_what_exec_gives(site: Site, export: list[str]) -> None:
    """All that a forked handler sees of its process is what the same program sees that is executed."""
    prologue = start_with(site, PROBE)
    package = str(Path(disco.__file__).parents[1])
    lines = (
        f"#!{sys.executable} -s",
        f"import sys; sys.path[:0] = [{package!r}]; {prologue}",
        "import os; os.environ['SEEN'] = '1'; del os.environ['SEEN']",
        "handlers.run('disco-probe', sys.argv[1:])",
    )
    (site.etc / "other").mkdir()
    path = site.etc / "other" / "disco-probe"
    path.write_text("\n".join(lines))
    path.chmod(0o755)
    programs = {"forked": "disco-probe", "executed": "./other/disco-probe"}
    more = {"export": export} if export else {}
    site.rules(*({"when": "app", "do": f"{program} 'a b' c", "name": name, **more} for name, program in programs.items()))
    unusual = ["sh", "-c", 'umask 027; ulimit -n 400; trap "" HUP USR2 WINCH; exec "$@" <&- >&-', "sh", sys.executable, "-c", ODD]
    running = site.run("true", prologue=prologue, before=unusual, options=())
    assert running.process.returncode == 0, running.log
    forked, executed = (json.loads(site.read(f"{name}.json")) for name in ("forked", "executed"))
    assert forked.pop("random") != executed.pop("random")
    assert forked == executed
    assert sorted(forked["descriptors"]) == ["0", "1", "2", "3"][: 4 if export else 3]
    assert forked["status"]["Umask"] == "0027"


def fork_failing(site: Site, body: str, status: int = ExitStatus.HANDLER) -> Running:
    """Run a shipped handler whose function has this body; it fails, and disco ends with this status."""
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    running = fork_handler(
        site, f"import os, signal, sys\nfrom disco.errors import DataError, UsageError\ndef main(argv):\n{lines}"
    )
    assert running.process.returncode == status, running.log
    return running


@pytest.mark.parametrize(
    ("body", "how"),
    [
        ("return 3", "exit status 3"),
        ("print('printed')\nraise UsageError('a')", r"rule forked: printed\n"),
        ("raise UsageError('a', 'b')", r"disco-probe: a\n.*\n?.*disco-probe: b\n(.*\n)*.*exit status 64 \(disco-probe: b\)"),
        (
            "raise KeyError('hunter2')",
            r"exit status 1 \(disco-probe: a bug in disco: KeyError at \S+probe.py:4; please report it\)",
        ),
        ("open('/none/hunter2')", r"exit status 1 \(disco-probe: No such file or directory \(\S+probe.py:4\)\)"),
        ("sys.exit('hunter2')", r"exit status 1 \(disco-probe: a bug in disco: SystemExit at \S+probe.py:4; please report it\)"),
        ("os.kill(os.getpid(), signal.SIGTERM)", "killed by SIGTERM"),
        ("os.kill(os.getpid(), signal.SIGINT)", "killed by SIGINT"),
        ("os.close(1)\nprint('x')", r"exit status 1 \(disco-probe: Bad file descriptor \(\S+\)\)"),
    ],
)
def test_how_it_ends(site: Site, body: str, how: str) -> None:
    """A forked handler ends with its function's status; an exception is one line without its text, and a signal kills it."""
    running = fork_failing(site, body)
    assert re.search(how, running.log), running.log
    assert "hunter2" not in running.log
    assert "Traceback" not in running.log


def test_it_refuses_its_data(site: Site) -> None:
    """A forked handler that raises DataError exits with 65: its data is wrong, and disco waits for other data."""
    site.cfg["disco.timeout"] = "2"
    running = fork_failing(site, "raise DataError('/a is no number')", ExitStatus.TIMEOUT)
    assert "refuses its data: exit status 65 (disco-probe: /a is no number)" in running.log.splitlines()[-1]


def test_a_file_of_the_same_name_wins(site: Site) -> None:
    """A program of disco.path with a shipped handler's name is executed in its place; PATH comes after the shipped one."""
    site.handler("disco-probe", 'echo theirs > "$OUT/which"\n')
    running = fork_handler(site, "def main(argv):\n    return 3\n")
    assert running.process.returncode == 0, running.log
    assert site.read("which") == "theirs\n"
    (site.etc / "disco-probe").rename(site.folder / "disco-probe")
    site.environ["PATH"] = f"{site.folder}:{site.environ['PATH']}"
    assert site.run(prologue=ADD.format(folder=str(site.folder / "probe")), options=()).process.returncode == 70
