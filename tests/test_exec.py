"""Life cycle: exec and what COMMAND finds, exit statuses, signals, as PID 1 and not."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from lab.processes import below, is_alive, name_of, processes
from lab.site import Site, disco_command
from lab.waiting import eventually

# Reports everything that a process inherits.
PROBE = """
import json, os, resource, signal
status = dict(line.rstrip("\\n").split(":\\t", 1) for line in open("/proc/self/status") if ":\\t" in line)
subreaper = __import__("ctypes").c_int(-1)
__import__("ctypes").CDLL(None).prctl(37, __import__("ctypes").byref(subreaper), 0, 0, 0)
children = []
for thread in os.listdir("/proc/self/task"):
    children += open(f"/proc/self/task/{thread}/children").read().split()
fds = {}
for fd in os.listdir("/proc/self/fd"):
    try:
        fds[fd] = os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        pass
print(json.dumps({
    "blocked": status["SigBlk"], "ignored": f"{int(status['SigIgn'], 16) & ~(1 << 12 | 1 << 24):x}", "umask": status["Umask"],
    "pgrp": os.getpgrp(), "sid": os.getsid(0), "cwd": os.getcwd(), "subreaper": subreaper.value, "pid": os.getpid(),
    "ppid": os.getppid(), "nnp": status["NoNewPrivs"], "dumpable": __import__("ctypes").CDLL(None).prctl(3, 0, 0, 0, 0),
    "nofile": resource.getrlimit(resource.RLIMIT_NOFILE), "core": resource.getrlimit(resource.RLIMIT_CORE),
    "fds": fds, "children": [open(f"/proc/{pid}/comm").read().strip() for pid in children],
    "oom": open("/proc/self/oom_score_adj").read(),
    "env": sorted(entry for entry in open("/proc/self/environ").read().split("\\0") if not entry.startswith(("DISCO_CFG", "_="))),
}))
"""

ODD = (
    "import ctypes, os, resource, signal, sys\n"
    "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
    "signal.signal(signal.SIGINT, signal.SIG_DFL)\n"
    "signal.signal(signal.SIGPIPE, signal.SIG_DFL); signal.signal(signal.SIGXFSZ, signal.SIG_DFL)\n"
    "os.umask(0o27)\n"
    "resource.setrlimit(resource.RLIMIT_NOFILE, (200, 300))\n"
    "if os.fork() == 0:\n    os.execvp('sleep', ['sleep', '50'])\n"
    "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2, signal.SIGTERM])\n"
    "os.dup2(os.open('/dev/null', os.O_RDONLY), 7, inheritable=True)\n"
    "os.set_inheritable(7, True)\n"
    "os.execvp(sys.argv[1], sys.argv[1:])\n"
)


def test_command_finds_everything_as_disco_did(site: Site) -> None:
    """COMMAND gets dispositions, mask, umask, limits, fds, cwd, environment and children as disco found them, in a C locale too."""
    site.simple()
    site.handler("see", "setsid -f sleep 1000\ncat > /dev/null\n")
    site.environ |= {"LC_ALL": "C", "EMPTY": "", "ODD": "a=b"}
    del site.environ["HOME"]
    odd, probe = site.folder / "odd.py", site.folder / "probe.py"
    odd.write_text(ODD)
    probe.write_text(PROBE)
    reports = []
    for disco in (True, False):
        python = os.path.realpath(sys.executable)
        if disco:
            running = site.start(python, "-I", str(probe), before=[python, str(odd)], stdin=subprocess.PIPE)
        else:
            argv = [python, str(odd), python, "-I", str(probe)]
            with (site.folder / "stdout").open("wb") as out, (site.folder / "stderr").open("wb") as err:
                environ = site.environ | {"DISCO_CFG": "x"}
                process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=out, stderr=err, env=environ, cwd=site.folder)
                process.wait(60)
            assert process.stdin
            process.stdin.close()
        if disco:
            assert running.wait() == 0, running.log
            assert running.process.stdin
            running.process.stdin.close()
        report = json.loads((site.folder / "stdout").read_text())
        assert report.pop("pid") == (running.pid if disco else process.pid)
        report["fds"].pop("0")  # the two pipes differ
        reports.append(report)
    assert reports[0] == reports[1]
    assert reports[0]["children"] == ["sleep"]
    assert reports[0]["subreaper"] == 0


def test_closed_standard_descriptors(site: Site) -> None:
    """disco works with fds 0 to 2 closed, and COMMAND finds them closed."""
    site.simple()
    out = site.folder / "fds"
    script = f"import os; open({str(out)!r}, 'w').write(' '.join(os.listdir('/proc/self/fd')))"
    running = site.run(sys.executable, "-c", script, before=["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh"])
    assert running.process.returncode == 0
    assert site.seen() == [{"app": {"a": 1}}]
    # Python itself opened one for its listing, one for the file: the lowest free ones.
    assert out.read_text().split() == ["0", "1"]


def test_stdin_and_stdout_are_the_command_s(site: Site) -> None:
    """stdin and stdout are not touched before exec: COMMAND reads what was written for it."""
    site.simple()
    site.handler("see", 'echo noise\ncat >> "$OUT/see.seen"\ncat\n')
    running = site.start("cat", stdin=subprocess.PIPE)
    assert running.process.stdin
    running.process.stdin.write(b"for the command\n")
    running.process.stdin.close()
    assert running.wait() == 0
    assert running.output == "for the command\n"


def test_foreign_pythonpath(site: Site) -> None:
    """An application's PYTHONPATH shadows none of disco's imports, and reaches COMMAND."""
    site.simple()
    foreign = site.folder / "foreign"
    foreign.mkdir()
    for name in ("yaml", "json", "logging", "signal", "psutil", "jsonschema"):
        (foreign / f"{name}.py").write_text("raise SystemExit('foreign module')\n")
    site.environ["PYTHONPATH"] = str(foreign)
    running = site.run("sh", "-c", "echo $PYTHONPATH")
    assert running.output.strip() == str(foreign), running.log


# Exit statuses


@pytest.mark.parametrize(
    ("command", "status", "words"),
    [
        (["/no/such"], 127, "is not found"),
        (["no-such-program"], 127, "is not found"),
        (["/etc/passwd"], 126, "not executable"),
        (["./data"], 126, "without a #! line"),
        (["./bad"], 127, "interpreter"),
        (["sh", "-c", "exit 5"], 5, "executing sh"),
    ],
)
def test_status_of_command(site: Site, command: list[str], status: int, words: str) -> None:
    """COMMAND's own status after exec; 126 and 127 with a reason when it cannot be executed."""
    site.simple()
    for name, content in (("data", "echo no"), ("bad", "#!/no/such/interpreter\n")):
        (site.folder / name).write_text(content)
        (site.folder / name).chmod(0o755)
    running = site.run(*command, options=())
    assert running.process.returncode == status, running.log
    assert words in running.log


def test_command_made_by_a_handler(site: Site) -> None:
    """A COMMAND that is not there at start is a warning: a handler may make it."""
    site.simple()
    site.handler("see", 'printf "#!/bin/sh\\necho made\\n" > "$OUT/made"\nchmod +x "$OUT/made"\n')
    running = site.run("./made", options=())
    assert running.output == "made\n"
    assert "not found or not executable yet" in running.log


@pytest.mark.parametrize("argv", [[], ["-x", "true"], ["-l", "LOUD", "true"], ["-l"], ["--"], ["--confg=x", "true"]])
def test_wrong_command_line(site: Site, argv: list[str]) -> None:
    """A wrong command line is status 64 and says how to get help."""
    done = subprocess.run([*disco_command(), *argv], capture_output=True, text=True, env=site.environ, check=False)
    assert done.returncode == 64
    assert "disco:" in done.stderr
    assert not done.stdout


def test_options_end_at_the_command(site: Site) -> None:
    """What follows COMMAND is its own, dashes included."""
    site.simple()
    assert site.run("echo", "-n", "-l", "x", "--", options=()).output == "-l x --"
    assert site.run("--", "echo", "y", options=("-l", "warning")).output == "y\n"


def test_help_and_version(site: Site) -> None:
    """-h fits a screen and names the exit statuses; --version tells it."""
    done = subprocess.run([*disco_command(), "-h"], capture_output=True, text=True, env=site.environ, check=True)
    assert len(done.stdout.splitlines()) <= 24
    assert all(status in done.stdout for status in ("64", "69", "70", "71", "75", "78", "126", "127", "128+N"))
    done = subprocess.run([*disco_command(), "--version"], capture_output=True, text=True, env=site.environ, check=True)
    assert done.stdout.startswith("disco ")


def test_timeout_without_an_answer(site: Site) -> None:
    """disco.timeout with a required source that never answered is 69, and the last words say which."""
    site.simple()
    site.cfg |= {"disco.timeout": "700ms", "flat.file": str(site.folder / "missing.yaml")}
    running = site.run(options=())
    assert running.process.returncode == 69
    assert "flat" in running.log.splitlines()[-1]
    assert "No such file" in running.log


def test_timeout_otherwise(site: Site) -> None:
    """disco.timeout otherwise is 75, and the last words say what is missing, with its pointer and never its value."""
    site.simple({"password": {"secret": "hunter2"}})
    site.schema("app", {"required": ["host"], "properties": {"password": {"type": "string"}}})
    site.cfg["disco.timeout"] = "700ms"
    running = site.run()
    assert running.process.returncode == 75
    assert "/host is required" in running.log
    assert "/password is a mapping" in running.log
    assert "hunter2" not in running.log


def test_configuration_errors_come_all_together(site: Site) -> None:
    """Errors of options, schemas and rules are told together, each with its place; nothing is started; status 78."""
    site.simple()
    site.cfg |= {"disco.intervall": "1", "disco.workers": "0", "flat.flie": "x", "nope.a": "b"}
    site.schema("broken", {"type": "strin"})
    site.rules({"when": "ap", "do": "se"}, {"wen": "app", "do": "see"})
    running = site.run(options=())
    assert running.process.returncode == 78
    for words in (
        "disco.interval?",
        "at least 1",
        "flat.file?",
        "nope",
        "broken.schema:1:",
        "did you mean app",
        "handler se",
    ):
        assert words in running.log, running.log
    assert not site.seen()


def test_missing_directory_and_no_source(site: Site) -> None:
    """A disco.path that is missing is 78; so are rules without any source."""
    site.simple()
    path = site.cfg["disco.path"]
    site.cfg["disco.path"] = "/no/such/place"
    running = site.run(options=())
    assert running.process.returncode == 78
    assert "/no/such/place" in running.log
    site.cfg = {"disco.path": path}
    running = site.run(options=())
    assert running.process.returncode == 78
    assert "no source" in running.log


def test_no_rule_at_all(site: Site) -> None:
    """Without a rule nothing would configure COMMAND: 78; where rules are optional it is executed at once, with a warning."""
    running = site.run(options=())
    assert (running.process.returncode, running.output) == (78, "")
    assert f"disco.path: no rules in {site.etc}, so nothing would configure COMMAND; " in running.log
    assert "disco.rules=optional" in running.log
    site.cfg["disco.rules"] = "optional"
    running = site.run(options=())
    assert running.output == "done\n"
    assert re.search(r"WARNING .* no rules in ", running.log)


def test_config_file(site: Site) -> None:
    """-c reads the same keys nested; DISCO_CFG wins key by key."""
    site.simple()
    config = site.folder / "disco.yaml"
    config.write_text(f"disco: {{path: {site.etc}, fail_limit: 0}}\nflat: {{file: {site.folder}/missing}}\n")
    site.cfg = {"flat.file": site.cfg["flat.file"]}
    assert site.run(options=("-c", str(config))).output == "done\n"


# Signals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_stop_signals(site: Site, number: int) -> None:
    """SIGTERM, SIGINT and SIGQUIT stop disco with 128+N; handlers get SIGTERM and their time to end."""
    site.simple()
    site.handler("see", 'trap \'echo bye > "$OUT/bye"; exit 0\' TERM\ntouch "$OUT/up"\nwhile :; do sleep 0.05; done\n')
    running = site.start()
    eventually((site.folder / "up").exists)
    running.send(number)
    assert running.wait() == 128 + number
    assert site.read("bye") == "bye\n"
    assert running.output == ""
    assert not processes(f"OUT={site.folder}")


def test_signal_to_all_processes(site: Site) -> None:
    """A SIGTERM to all of disco's processes at once, as systemd sends it, is one: handlers have their grace."""
    site.simple()
    site.cfg["disco.grace"] = "1h"
    site.handler("see", 'trap \'sleep 0.3; echo bye > "$OUT/bye"; exit 0\' TERM\ntouch "$OUT/up"\nwhile :; do sleep 0.05; done\n')
    running = site.start()
    eventually((site.folder / "up").exists)
    for pid in (running.coordinator, running.pid):
        os.kill(pid, signal.SIGTERM)
    assert running.wait() == 128 + signal.SIGTERM
    assert site.read("bye") == "bye\n"
    assert "stopping at once" not in running.log


def test_grace_and_second_signal(site: Site) -> None:
    """A handler that ignores SIGTERM is killed after disco.grace, or at once by a second signal."""
    site.simple()
    site.handler("see", 'trap "" TERM\ntouch "$OUT/up"\nwhile :; do sleep 0.05; done\n')
    for grace, twice in (("200ms", False), ("1h", True)):
        site.cfg["disco.grace"] = grace
        (site.folder / "up").unlink(missing_ok=True)
        running = site.start()
        eventually((site.folder / "up").exists)
        running.send(signal.SIGTERM)
        running.wait_for("SIGTERM received: stopping")
        if twice:
            running.send(signal.SIGTERM)
        assert running.wait() == 128 + signal.SIGTERM
        assert not processes(f"OUT={site.folder}")


def test_signal_while_files_are_loaded(site: Site) -> None:
    """A stop signal that arrives before anything is started ends disco at once with 128+N, at whatever moment."""
    site.simple()
    draft = "http://json-schema.org/draft-07/schema#"  # not plain: jsonschema takes its time
    for n in range(300):
        site.schema(f"s{n}", {"$schema": draft, "properties": {f"p{m}": {"type": "string"} for m in range(20)}})
    for delay in (0.05, 0.1, 0.2):
        running = site.start("sleep", "1000", options=())
        time.sleep(delay)  # a moment in the start: which one is not asserted
        eventually(lambda pid=running.pid: b"disco" in _cmdline(pid) and _catches_term(pid))  # type: ignore[misc]  # as mypy has it
        running.send(signal.SIGTERM)
        assert running.wait() in (128 + signal.SIGTERM, -signal.SIGTERM)


def _cmdline(pid: int) -> bytes:
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        return file.read()


def _catches_term(pid: int) -> bool:
    with open(f"/proc/{pid}/status") as file:
        return any(line.startswith("SigCgt") and int(line.split()[1], 16) >> 14 & 1 for line in file)


def test_usr1_reports(site: Site) -> None:
    """SIGUSR1 tells what is missing, and changes nothing."""
    site.simple()
    site.flat({"ap": {"a": 1}})
    running = site.start(options=())
    running.wait_for("first answer")
    running.send(signal.SIGUSR1)
    running.wait_for("the only rule is not satisfied")
    running.wait_for("flat has ap, which has no schema: a typing error?")
    site.flat({"app": {"a": 1}})
    assert running.wait() == 0


def test_a_source_provides_what_it_names_only(site: Site) -> None:
    """Names outside of a source's `interfaces` are not taken from it, told like unknown names, and named where one is missing."""
    site.simple()
    site.schema("db")
    site.rules({"when": "db", "do": "see"})
    site.flat({"app": {}, "db": {"host": "dev-db"}}, "base.yaml", source="base")
    site.flat({})
    site.cfg["base.interfaces"] = "a*,other"
    running = site.start(options=())
    running.wait_for("source base: 1 name without a schema, or not named by base.interfaces, ignored: db")
    running.report_until("interface db is missing")
    running.report_until("base has it, but base.interfaces does not name it")
    site.flat({"db": {"host": "prod-db"}})
    assert running.wait() == 0
    assert site.seen() == [{"db": {"host": "prod-db"}}]


# PID 1


def unshare(*more: str) -> list[str]:
    return ["unshare", "--pid", "--fork", "--mount-proc", *more]


needs_unshare = pytest.mark.skipif(
    not shutil.which("unshare") or subprocess.run(unshare("true"), capture_output=True, check=False).returncode != 0,
    reason="no right to make a PID namespace here",
)


@needs_unshare
def test_as_pid_1(site: Site) -> None:
    """As PID 1: strays are reaped, leftovers are gone, exec keeps the pid, nothing else is left in the namespace."""
    site.simple()
    site.cfg["disco.grace"] = "300ms"
    site.handler("see", "env -i setsid -f sleep 1000\nsetsid -f sleep 0.01\n(trap '' TERM; sleep 1000) &\nexit 0\n")
    running = site.run("sh", "-c", "echo $$; ps -A -o pid,stat,comm", before=unshare())
    assert running.process.returncode == 0, running.log
    lines = [line.split() for line in running.output.splitlines()]
    assert lines[0] == ["1"]
    assert [line[2] for line in lines[2:]] == ["sh", "ps"]


@needs_unshare
def test_pid_1_takes_sigterm(site: Site) -> None:
    """As PID 1 disco ends on SIGTERM, with 128+N."""
    site.simple()
    site.handler("see", 'touch "$OUT/up"\nexec sleep 1000\n')
    running = site.start(before=unshare("--kill-child"))
    eventually((site.folder / "up").exists)
    inner = next(pid for pid in processes(f"OUT={site.folder}") if _is_namespace_init(pid))
    os.kill(inner, signal.SIGTERM)
    assert running.wait() == 128 + signal.SIGTERM, running.log


def _is_namespace_init(pid: int) -> bool:
    with open(f"/proc/{pid}/status") as file:
        return any(line.startswith("NSpid") and line.split()[-1] == "1" for line in file)


@needs_unshare
def test_processes_that_are_not_ours_are_left_alone(site: Site) -> None:
    """What disco did not start (a daemon before it, an orphan of somebody else's) is there after exec."""
    site.simple()
    running = site.run(
        "sh", "-c", "ps -A -o pid,args", before=unshare("sh", "-c", 'sleep 999 & sh -c "sleep 998 &"; exec "$@"', "sh")
    )
    assert "sleep 999" in running.output
    assert "sleep 998" in running.output


@needs_unshare
def test_orphans_of_others_are_left_alone_when_a_runner_dies(site: Site) -> None:
    """As PID 1: an orphan of a `docker exec` is there after exec, also if it came when a runner with leftovers was killed."""
    site.simple()
    site.handler("see", '[ $DISCO_ATTEMPT = 1 ] || exit 0\nenv -i setsid -f sleep 996\ntouch "$OUT/up"\nexec sleep 995\n')
    running = site.start("sh", "-c", "ps -A -o pid,args", before=unshare("--kill-child"))
    eventually((site.folder / "up").exists)
    first = next(pid for pid in below(running.pid) if _is_namespace_init(pid))
    runner = next(pid for pid in below(first) if name_of(pid) == "disco:runner-1")
    inside = ["nsenter", "--pid", "--mount", "--target", str(first)]
    subprocess.run([*inside, "sh", "-c", "sleep 997 & exit"], check=True)
    os.kill(runner, signal.SIGKILL)
    subprocess.run([*inside, "sh", "-c", "sleep 998 & exit"], check=False)  # disco may be at its end by now
    assert running.wait() == 0, running.log
    assert "sleep 997" in running.output
    assert "sleep 996" not in running.output
    assert "sleep 995" not in running.output


def test_coordinator_that_is_killed(site: Site) -> None:
    """When its coordinator is killed disco says so and ends with 71, and so does everything that it started."""
    site.simple()
    site.handler("see", 'env -i setsid -f "$OUT/sleeper" 1000 < /dev/null > /dev/null 2>&1\ntouch "$OUT/up"\nexec sleep 1000\n')
    (site.folder / "sleeper").symlink_to(str(shutil.which("sleep")))
    running = site.start()
    eventually((site.folder / "up").exists)
    os.kill(running.coordinator, signal.SIGKILL)
    assert running.wait() == 71
    assert running.log.splitlines()[-1] == "disco: the coordinator was killed by SIGKILL: out of memory? (give the container more)"
    eventually(lambda: not processes(str(site.folder)), "the end of everything", patience=10)


def test_any_uid() -> None:
    """disco runs as a uid without a passwd entry and without HOME."""
    anybody = ["setpriv", "--reuid=54321", "--regid=54321", "--clear-groups"]
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o777)
        site = Site(Path(folder))
        if subprocess.run([*anybody, *disco_command(), "-h"], capture_output=True, check=False).returncode:
            pytest.skip("other users may not run the Python that runs this test, or we may not become one")
        site.simple()
        del site.environ["HOME"]
        running = site.run("id", "-u", before=anybody)
        assert running.output == "54321\n", running.log


def test_reader_that_stops_reading(site: Site) -> None:
    """A log reader that stops reading never stops disco."""
    site.simple()
    site.handler("see", 'yes | head -n 20000 >&2\ncat >> "$OUT/see.seen"\n')
    reader, writer = os.pipe()
    running = site.start(stderr=writer)
    os.close(writer)
    assert running.wait() == 0
    assert running.output == "done\n"
    os.close(reader)


def test_nothing_of_disco_is_left_after_exec(site: Site) -> None:
    """After exec the process has COMMAND's memory, no child, and no descriptor of disco's."""
    site.simple()
    running = site.start("sleep", "1000")
    eventually(lambda: _cmdline(running.pid).startswith(b"sleep\x00"))
    assert [pid for pid in processes(f"OUT={site.folder}") if pid != running.pid] == []
    assert sorted(os.listdir(f"/proc/{running.pid}/fd")) == ["0", "1", "2"]
    running.process.kill()
    running.process.wait()
    assert not is_alive(running.pid)


# Telling people


def test_json_log(site: Site) -> None:
    """With disco.log=json each line is one object with stable names, whatever a handler prints, the last words included."""
    site.simple()
    site.cfg |= {"disco.log": "json", "disco.fail_limit": "1"}
    site.handler("see", 'printf \'"quoted\\\\" \\\\303\\\\251 {"a": 1}\\n\' >&2\nexit 3\n')
    running = site.run()
    assert running.process.returncode == 70
    records = [json.loads(line) for line in running.log.splitlines()]
    assert all({"time", "level", "process", "pid", "message"} <= set(record) for record in records)
    known = {"time", "level", "process", "pid", "message", "source", "rule", "interface", "event"}
    assert all(set(record) <= known for record in records)
    events = {record.get("event"): record for record in records}
    assert events["source-answered"]["source"] == "flat"
    assert events["rule-failed"]["rule"] == "app"
    assert events["output"]["message"].endswith('{"a": 1}')
    assert events["validated"]["interface"] == "app"
    assert events["exit"] is records[-1]


def test_debug_log_can_be_searched(site: Site) -> None:
    """At DEBUG `grep source=NAME` and `grep rule=NAME` give one source's and one rule's whole story."""
    site.simple()
    running = site.run()
    flat = [line for line in running.log.splitlines() if "source=flat" in line]
    assert any("valid" in line for line in flat)
    assert any("first answer" in line for line in flat)
    rule = [line for line in running.log.splitlines() if "rule=app" in line]
    assert any("running" in line for line in rule)
    assert any("succeeded" in line for line in rule)


# Neighbours


def test_two_discos_leave_each_other_alone(tmp_path: Path) -> None:
    """A disco that runs below another one as a process of somebody else's is not touched when that one goes to exec."""
    first, second = Site(tmp_path / "first"), Site(tmp_path / "second")
    for site in (first, second):
        site.simple()
    first.handler("see", 'touch "$OUT/up"\nwhile [ ! -e "$OUT/go" ]; do sleep 0.02; done\n')
    second.handler("see", f"while [ ! -e {first.folder}/up ]; do sleep 0.02; done\n")
    background = (
        f"OUT={first.folder} DISCO_CFG={first.cfg_line()} {disco_command()[0]} -l DEBUG echo first 2> {first.folder}/stderr &"
    )
    running = second.start("sh", "-c", "echo second; sleep 1000", before=["sh", "-c", f'{background} exec "$@"', "sh"])
    try:
        eventually(lambda: running.output == "second\n")
        (first.folder / "go").touch()
        eventually(lambda: "all rules are satisfied" in first.read("stderr"))
        assert "killed" not in first.read("stderr")
        assert "ended" not in first.read("stderr")
    finally:
        (first.folder / "go").touch()
        running.process.kill()
        running.process.wait()


def test_command_in_path_that_is_not_executable(site: Site) -> None:
    """A COMMAND that is found in PATH, and may not be executed, is 126."""
    site.simple()
    (site.folder / "bin").mkdir()
    (site.folder / "bin" / "app").write_text("#!/bin/sh\n")
    site.environ["PATH"] = f"{site.folder}/bin:{site.environ['PATH']}"
    running = site.run("app", options=())
    assert running.process.returncode == 126
    assert "in PATH, and not executable" in running.log
