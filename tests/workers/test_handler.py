"""Handlers, as real processes: input, surroundings, output, timeout, and what they leave behind."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from lab.memory import Peak, highest_resident
from lab.processes import below, is_alive, name_of, processes
from lab.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lab.site import Running, Site

RACE = 'echo $$ > "$OUT/pid.new" && mv "$OUT/pid.new" "$OUT/pid"\n'  # a pid file that is never half written


def test_input_is_the_valid_interfaces_and_end_of_file(site: Site) -> None:
    """A handler reads one JSON object of its rule's interfaces, then end of file."""
    site.simple({"text": 'ü"\\', "list": [1, None, True], "deep": {"a": {"b": 1.5}}})
    site.run()
    assert site.seen() == [{"app": {"text": 'ü"\\', "list": [1, None, True], "deep": {"a": {"b": 1.5}}}}]


def test_any_gets_those_that_are_valid(site: Site) -> None:
    """An `any` rule's handler gets the valid ones alone."""
    site.schema("app")
    site.schema("bad", {"type": "object", "required": ["x"]})
    site.rules({"when": "any:app,bad", "do": "see"})
    site.handler("see")
    site.flat({"app": {"a": 1}, "bad": {}})
    site.run()
    assert site.seen() == [{"app": {"a": 1}}]


def test_input_of_a_rule_without_when(site: Site) -> None:
    """A handler whose rule names no interface gets an empty object, once."""
    site.simple()
    site.handler("once")
    site.rules({"do": "once"}, {"when": "app", "do": "see"})
    running = site.run()
    assert running.output == "done\n", running.log
    assert site.seen("once") == [{}]


def test_signals_of_a_handler(site: Site) -> None:
    """A handler finds no signal ignored or blocked, those included that Python ignores for itself."""
    site.simple()
    site.handler("see", 'while read -r name value; do echo "$name $value"; done < /proc/self/status > "$OUT/status"\n')
    site.run(before=["sh", "-c", 'trap "" HUP USR2; exec "$@"', "sh"])
    status = dict(line.split(": ", 1) for line in site.read("status").splitlines() if line.startswith("Sig"))
    # The C library keeps the first two real-time signals to itself, and may leave one ignored in what it spawns.
    of_programs = sum(1 << number - 1 for number in signal.valid_signals())
    assert int(status["SigIgn"], 16) & of_programs == 0
    assert int(status["SigBlk"], 16) & of_programs == 0


def test_surroundings(site: Site) -> None:
    """A handler gets its own session, default signals, fds 0-2 alone, the environment less DISCO_CFG, and its words."""
    site.simple()
    site.handler(
        "see",
        f"#!{sys.executable}\n"
        "import json, os, signal, sys\n"
        "status = dict(line.split(':', 1) for line in open('/proc/self/status'))\n"
        "json.dump({'sid': os.getsid(0) == os.getpid() == os.getpgid(0), 'env': dict(os.environ), 'cwd': os.getcwd(),\n"
        "  'mask': int(status['SigBlk'], 16), 'ignored': [s for s in range(1, 32) if s not in (9, 19, 13, 25)\n"
        "   and int(status['SigIgn'], 16) >> (s - 1) & 1], 'args': sys.argv[1:],\n"
        "  'fds': sorted(int(fd) for fd in os.listdir('/proc/self/fd') if int(fd) < 100)},\n"
        "  open(os.environ['OUT'] + '/around', 'w'))\n",
    )
    site.rules({"when": "app", "do": "see 'a b' c", "name": "the rule"})
    site.environ["MINE"] = "1"
    running = site.run(before=["sh", "-c", 'trap "" HUP USR2; exec "$@"', "sh"])
    around = json.loads(site.read("around"))
    assert around["sid"], running.log
    assert around["args"] == ["a b", "c"]
    assert around["mask"] == 0
    assert around["ignored"] == []
    assert around["cwd"] == str(site.folder)
    assert around["fds"][:3] == [0, 1, 2]
    assert len(around["fds"]) <= 4  # the fourth is the listing's own
    env = around["env"]
    assert env["MINE"] == "1"
    assert "DISCO_CFG" not in env
    assert (env["DISCO_RULE"], env["DISCO_INTERFACES"], env["DISCO_ATTEMPT"]) == ("the rule", "app", "1")
    assert env["DISCO_RUN"]
    assert env["PATH"] == site.environ["PATH"]


@pytest.mark.parametrize("script", ["exit 0\n", "exec <&-\nexit 0\n", "head -c 10 > /dev/null\n"])
def test_handler_that_does_not_read(site: Site, script: str) -> None:
    """A handler that never reads, closes or half reads 10 MB of input succeeds like any other."""
    site.simple({"big": "x" * 10_000_000})
    site.handler("see", script)
    running = site.run()
    assert running.process.returncode == 0
    assert running.output == "done\n"


def test_ten_megabytes_arrive_whole(site: Site) -> None:
    """10 MB of input arrive whole."""
    site.simple({"big": "x" * 10_000_000})
    site.handler("see", 'wc -c > "$OUT/size"\n')
    site.run()
    assert int(site.read("size")) == len(json.dumps({"app": {"big": "x" * 10_000_000}}, separators=(",", ":"))) + 1


def test_failure_is_retried_and_told(site: Site) -> None:
    """A failed handler is tried again, with the number of the attempt; the log has rule, status and its last lines."""
    site.simple()
    site.handler("see", 'echo $DISCO_ATTEMPT >> "$OUT/tries"\necho this is why >&2\n[ $DISCO_ATTEMPT = 3 ]\n')
    running = site.run(options=())
    assert running.process.returncode == 0
    assert site.read("tries").split() == ["1", "2", "3"]
    assert "rule app" in running.log
    assert "exit status 1" in running.log
    assert "failure 2 of 5" in running.log
    assert "this is why" in running.log


def test_fail_limit(site: Site) -> None:
    """After disco.fail_limit failures in a row disco stops with 70, and its last words name the rule."""
    site.simple()
    site.cfg["disco.fail_limit"] = "2"
    site.handler("see", 'echo x >> "$OUT/tries"\nkill -SEGV $$\n')
    running = site.run(options=())
    assert running.process.returncode == 70
    assert site.read("tries").split() == ["x", "x"]
    assert "SIGSEGV" in running.log
    assert "rule app: its handler failed 2 times in a row" in running.log
    assert running.output == ""


@pytest.mark.parametrize("level", ["DEBUG", "INFO", "WARNING"])
def test_output_of_a_failed_handler_is_told_once(site: Site, level: str) -> None:
    """What a failed handler said is in the log once at any level that shows the failure, on whichever output it said it."""
    site.simple()
    site.cfg["disco.fail_limit"] = "1"
    site.handler("see", "echo to-stdout; echo to-stderr >&2; echo '{}'\necho the-last >&2\nexit 1\n")
    running = site.run(options=("-l", level))
    assert running.process.returncode == 70
    lines = running.log.splitlines()
    assert [sum(word in line for line in lines) for word in ("to-stdout", "to-stderr")] == [1, 1]
    assert [line for line in lines if "the-last" in line and "last:" not in line][1:] == []


def test_handler_without_interpreter(site: Site) -> None:
    """A handler that cannot be started is a failure that says why."""
    site.simple()
    site.cfg["disco.fail_limit"] = "1"
    running = start_without_data(site)
    site.handler("see", "#!/no/such/interpreter\n")
    site.flat({"app": {}})
    assert running.wait() == 70
    assert "cannot be started: No such file or directory" in running.log


def test_input_over_the_limit_of_a_file(site: Site) -> None:
    """An input that is larger than a file may be fails the run, with the reason and the remedy, and costs no runner."""
    site.simple({"text": "x" * 300_000})
    site.cfg["disco.fail_limit"] = "2"
    running = site.run(before=["prlimit", "--fsize=100000"], options=())
    assert running.process.returncode == 70
    assert "cannot be started: its input is larger than a file may be (ulimit -f) (failure 2 of 2)" in running.log
    assert "runner-1" not in running.log


def test_as_many_names_as_a_variable_holds(site: Site) -> None:
    """A rule with as many interfaces as one environment variable can name runs; its handler sees all of them."""
    names = [f"interface-{number:055}" for number in range(1900)]
    for name in names:
        site.schema(name)
    site.rules({"when": names, "do": "see"})
    site.handler("see", 'echo "$DISCO_INTERFACES" > "$OUT/names"\n')
    site.flat({name: {} for name in names})
    assert site.run(options=()).process.returncode == 0
    assert site.read("names").strip().split(",") == names


def start_without_data(site: Site) -> Running:
    """Start disco, and return when all that it looks at before it starts anything has been looked at."""
    Path(site.cfg["flat.file"]).unlink()
    running = site.start()
    running.wait_for("No such file or directory")
    return running


def test_timeout_kills_the_group(site: Site) -> None:
    """A handler over disco.handler_timeout is killed with its whole group, and that is a failure."""
    site.simple()
    site.cfg |= {"disco.handler_timeout": "300ms", "disco.fail_limit": "1"}
    site.handler("see", 'trap "" TERM\nsleep 1000 &\necho $! > "$OUT/child"\necho $$ > "$OUT/self"\nwait\n')
    running = site.run(options=())
    assert running.process.returncode == 70
    assert "longer than 0.3 s" in running.log
    for name in ("child", "self"):
        assert not is_alive(int(site.read(name)))


def test_output_line_by_line(site: Site) -> None:
    """What a handler prints is logged line by line with the rule's name, control characters escaped; stdout only at DEBUG."""
    site.simple()
    site.handler("see", "printf 'to out\\n'\nprintf 'to err \\033[31m\\nlast without end' >&2\n")
    running = site.run(options=())
    assert "to out" not in running.log
    assert "rule app: to err \\x1b[31m\n" in running.log
    assert "rule app: last without end\n" in running.log
    assert "\033" not in running.log
    running = site.run()
    assert "rule app: to out rule=app\n" in running.log


def test_output_without_end(site: Site) -> None:
    """A handler that prints hundreds of megabytes, lines without an end among them, costs no memory and fails nothing."""
    site.simple()
    site.handler("see", "head -c 200000000 /dev/zero\nyes | head -c 100000000 >&2\ntrue\n")
    site.environ["PYTHONMALLOC"] = "malloc"
    running = site.start("sh", "-c", "echo done", options=())
    with Peak(lambda: max(map(highest_resident, processes(f"OUT={site.folder}")), default=0), 0.1) as peak:
        assert running.wait() == 0
    assert 0 < peak.highest < 150 << 20


def test_two_rules_at_a_time_but_one_run_of_each(site: Site) -> None:
    """Rules run beside each other: two handlers that wait for each other both succeed."""
    site.schema("app")
    site.rules({"when": "app", "do": "one"}, {"when": "app", "do": "two"})
    meet = 'touch "$OUT/{mine}"\nwhile [ ! -e "$OUT/{other}" ]; do sleep 0.01; done\n'
    site.handler("one", meet.format(mine="a", other="b"))
    site.handler("two", meet.format(mine="b", other="a"))
    site.flat({"app": {}})
    assert site.run().process.returncode == 0


def test_one_worker_runs_in_order(site: Site) -> None:
    """With disco.workers=1 due rules run in order of directory, file name and place."""
    site.schema("app")
    for file in ("b.rules", "a.rules"):
        site.rules(*({"when": "app", "do": f"note {file}{n}"} for n in (1, 2)), file=file)
    site.handler("note", 'echo $1 >> "$OUT/order"\n')
    site.flat({"app": {}})
    site.cfg["disco.workers"] = "1"
    site.run()
    assert site.read("order").split() == ["a.rules1", "a.rules2", "b.rules1", "b.rules2"]


LEFT = {
    "holding the pipe": '"$OUT/sleeper" 1000 &\n',
    "ignoring TERM": "(trap '' TERM; echo started >&2; while :; do \"$OUT/sleeper\" 1000; done) &\n",
    "in its own session": 'setsid -f "$OUT/sleeper" 1000 < /dev/null > /dev/null 2>&1\n',
    "with an empty environment": 'env -i setsid -f "$OUT/sleeper" 1000 < /dev/null > /dev/null 2>&1\n',
}


@pytest.mark.parametrize("left", LEFT.values(), ids=LEFT)
def test_leftovers_are_gone_before_exec(site: Site, left: str) -> None:
    """A run ends when the handler does, whatever it leaves behind; and none of that is there after exec."""
    site.simple()
    site.cfg["disco.grace"] = "300ms"
    site.handler("see", f'{left}echo seen > "$OUT/ran"\n')
    (site.folder / "sleeper").symlink_to(str(shutil.which("sleep")))
    running = site.run("sh", "-c", "ps -eo pid,ppid,args > $OUT/ps; echo done")
    assert running.output == "done\n", running.log
    assert site.read("ran")
    assert "sleeper 1000" not in site.read("ps")
    assert not processes(f"{site.folder}/sleeper")


def test_leftovers_of_a_failed_disco_are_gone(site: Site) -> None:
    """What handlers left is gone too when disco ends with a status of its own."""
    site.simple()
    site.cfg |= {"disco.fail_limit": "1", "disco.grace": "300ms"}
    site.handler("see", LEFT["with an empty environment"] + "exit 3\n")
    (site.folder / "sleeper").symlink_to(str(shutil.which("sleep")))
    assert site.run().process.returncode == 70
    assert not processes(f"{site.folder}/sleeper")


def test_killed_runner_is_a_failure_and_its_handler_is_killed_first(site: Site) -> None:
    """A runner that is killed counts as its handler's failure; the handler is dead before it is run again."""
    site.simple()
    site.handler("see", 'echo $$ >> "$OUT/pids"\nfor p in $(cat "$OUT/pids"); do [ $p = $$ ] || ! kill -0 $p || '
                 'echo $p >> "$OUT/overlap"; done\n[ $DISCO_ATTEMPT = 2 ] || exec sleep 1000\n')  # fmt: skip
    running = site.start()
    eventually(lambda: site.read("pids").endswith("\n"))
    os.kill(running.child("runner-1"), signal.SIGKILL)
    assert running.wait() == 0, running.log
    assert len(site.read("pids").split()) == 2
    assert not site.read("overlap")
    assert "failure 1 of 5" in running.log


def test_stopped_runner_is_replaced(site: Site) -> None:
    """A runner that is stopped is replaced when its handler's time is long over, and the handler dies first."""
    site.simple()
    site.cfg |= {"disco.handler_timeout": "1s", "disco.grace": "100ms"}
    # The handler stops its runner itself, before its time is over; one that is too slow for that has not happened.
    site.handler("see", '[ ! -e "$OUT/pid" ] || exit 0\nkill -STOP $PPID\n' + RACE + "exec sleep 1000\n")
    running = site.run()
    assert running.process.returncode == 0, running.log
    assert not is_alive(int(site.read("pid")))
    assert "its process hung" in running.log


def test_handler_twice_on_newer_data(site: Site) -> None:
    """Data that changes while the handler runs makes it run again before exec, on the newest."""
    site.simple({"n": 1})
    site.handler("see", 'cat >> "$OUT/see.seen"\nwhile [ ! -e "$OUT/go" ]; do sleep 0.01; done\n')
    running = site.start()
    eventually(lambda: site.seen() == [{"app": {"n": 1}}])
    site.flat({"app": {"n": 2}})
    running.wait_for("sending 1 interface changed.*\n(.*\n)*.*sending 1 interface changed")
    (site.folder / "go").touch()
    assert running.wait() == 0
    assert site.seen() == [{"app": {"n": 1}}, {"app": {"n": 2}}]


# A daemon whose every generation has a session of its own, ignores SIGTERM and lives for a moment only. All hold one lock.
CHAIN = """#!{python} -S
import fcntl, os, signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
lock = os.open({lock!r}, os.O_RDWR | os.O_CREAT)
fcntl.flock(lock, fcntl.LOCK_EX)
os.open({lock!r} + ".up", os.O_CREAT)
while True:
    if os.fork():
        os._exit(0)
    os.setsid()
"""


def chain(site: Site) -> str:
    """Install that daemon; return the shell command that starts it with an empty environment, and waits until it is up."""
    lock = f"{site.folder}/lock"
    site.handler("chain", CHAIN.format(python=os.path.realpath(sys.executable), lock=lock))
    return f'env -i setsid -f "{site.etc}/chain" < /dev/null > /dev/null 2>&1\nwhile [ ! -e "{lock}.up" ]; do sleep 0.01; done\n'


# COMMAND: whether any process still holds the lock.
UNLOCKED = ("flock", "-n", "lock", "echo", "done")


@pytest.mark.parametrize("run", range(3))
def test_daemon_that_forks_and_exits_in_a_loop_is_gone_before_exec(site: Site, run: int) -> None:  # noqa: ARG001
    """A leftover that is another process each moment, ignores SIGTERM and has an empty environment is gone before exec."""
    site.simple()
    site.cfg["disco.grace"] = "100ms"
    site.handler("see", chain(site))
    running = site.run(*UNLOCKED)
    assert running.output == "done\n", running.log


def test_leftovers_of_a_killed_runner_are_gone_before_exec(site: Site) -> None:
    """What was below a runner that is killed is gone before exec, without disco's environment and in its own session too."""
    site.simple()
    site.cfg["disco.grace"] = "100ms"
    site.handler("see", "[ $DISCO_ATTEMPT = 1 ] || exit 0\n" + LEFT["with an empty environment"] + RACE + "exec sleep 1000\n")
    (site.folder / "sleeper").symlink_to(str(shutil.which("sleep")))
    running = site.start()
    eventually(lambda: site.read("pid"))
    os.kill(running.child("runner-1"), signal.SIGKILL)
    assert running.wait() == 0, running.log
    assert running.output == "done\n"
    assert not processes(f"{site.folder}/sleeper")


MANY = f"""#!{sys.executable} -S
import os, signal
name = "many-sleepers-" + os.environ["OUT"]
signal.signal(signal.SIGTERM, signal.SIG_IGN)
for _ in range(3000):
    if os.fork() == 0:
        os.setsid()
        os.execve("/bin/sleep", [name, "1000"], {{}})
"""


def test_many_stubborn_leftovers_beside_a_stranger(site: Site) -> None:
    """Thousands of leftovers that ignore SIGTERM are killed in no time, and a process of somebody else's is left alone."""
    site.simple()
    site.cfg["disco.grace"] = "100ms"
    site.handler("see", MANY)
    running = site.start("sh", "-c", "ps -A -o args; exit 0", before=["sh", "-c", 'sleep 61 & exec "$@"', "sh"], options=())
    assert running.wait() == 0, running.log
    assert "sleep 61" in running.output
    assert f"many-sleepers-{site.folder}" not in running.output
    assert "still there" not in running.log


@contextmanager
def hanging(program: Path) -> Iterator[None]:
    """Let each exec of a program hang for the body of a `with`, as on a disk that does not answer: we hold a lease on it."""
    before = signal.signal(signal.SIGIO, signal.SIG_IGN)  # the kernel asks us to give it back
    with program.open("r+") as file:
        try:
            fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        except OSError:
            pytest.skip("no leases on this file system")
        try:
            yield
        finally:
            fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    signal.signal(signal.SIGIO, before)


def test_exec_that_hangs_has_the_handler_s_time(site: Site) -> None:
    """The exec of a handler that hangs is a run that is over its time, like any other: its runner goes on."""
    site.simple()
    site.cfg["disco.handler_timeout"] = "1s"
    running = start_without_data(site)
    with hanging(site.etc / "see"):
        site.flat({"app": {"a": 1}})
        running.wait_for("it ran longer than 1 s")
    assert running.wait() == 0, running.log
    assert site.seen() == [{"app": {"a": 1}}]
    assert "runner-1 (which runs handlers)" not in running.log


def test_killed_runner_whose_handler_s_exec_hangs(site: Site) -> None:
    """A runner is killed while the exec of its handler hangs: what hangs is gone before the rule is run again."""
    site.simple()
    running = start_without_data(site)
    with hanging(site.etc / "see"):
        site.flat({"app": {"a": 1}})
        runner = running.child("runner-1")
        [hangs] = eventually(lambda: below(runner), "a handler that hangs")
        os.kill(runner, signal.SIGKILL)
        running.wait_for(r"running .* \(attempt 2\)")
        assert not is_alive(hangs)
    assert running.wait() == 0, running.log
    assert site.seen() == [{"app": {"a": 1}}]


BLIND = {
    "no /proc": ["unshare", "--mount", "sh", "-ec", 'mount -t tmpfs none /proc && exec "$@"', "sh"],
    "another namespace's /proc": ["unshare", "--pid", "--fork", "--kill-child", "--mount"],
}


def skip_unless_it_runs(before: list[str]) -> None:
    if subprocess.run([*before, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no right to make namespaces here")


@pytest.mark.parametrize("before", BLIND.values(), ids=BLIND)
def test_term_without_the_sight_of_processes(site: Site, before: list[str]) -> None:
    """Where /proc tells nothing a handler gets SIGTERM too, and nobody waits for the whole grace."""
    skip_unless_it_runs(before)
    site.simple()
    site.cfg["disco.grace"] = "1h"
    site.handler("see", 'trap \'echo bye > "$OUT/bye"; exit 0\' TERM\ntouch "$OUT/up"\nwhile :; do sleep 0.05; done\n')
    running = site.start(before=before)
    eventually((site.folder / "up").exists)
    os.kill(next(pid for pid in (running.pid, *below(running.pid)) if name_of(pid) == "disco"), signal.SIGTERM)
    assert running.wait() == 128 + signal.SIGTERM
    assert site.read("bye") == "bye\n"


@pytest.mark.parametrize("before", BLIND.values(), ids=BLIND)
def test_sigkill_without_the_sight_of_processes(site: Site, before: list[str]) -> None:
    """Where /proc tells nothing, no handler outlives the coordinator, nor anything that it left behind."""
    skip_unless_it_runs(before)
    site.simple()
    site.handler("see", 'env -i setsid -f "$OUT/sleeper" 1000 < /dev/null > /dev/null 2>&1\ntouch "$OUT/up"\nsleep 1000\n')
    (site.folder / "sleeper").symlink_to(str(shutil.which("sleep")))
    running = site.start(before=before)
    eventually((site.folder / "up").exists)
    os.kill(running.coordinator, signal.SIGKILL)
    eventually(lambda: not processes(str(site.folder)), "the end of everything", patience=10)
