"""disco under attack: signals and kills at random moments, and a kernel that refuses what disco asks for."""

from __future__ import annotations

import json
import os
import random
import re
import resource
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from lab.processes import below, processes
from lab.site import Running, Site, disco_command
from lab.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

RUNS = 12  # seeds; more by hand, with the same numbers


def crowd(site: Site) -> None:
    """Several sources and rules, handlers that leave something behind, and data that arrives late."""
    site.cfg |= {"disco.grace": "1s", "disco.fail_limit": "0"}
    site.handler("see", 'setsid -f sleep 1000 < /dev/null > /dev/null 2>&1\nsleep 0.02\ncat > "$OUT/$DISCO_RULE.seen"\n')
    rules = []
    for n in range(4):
        site.schema(f"app{n}")
        rules.append({"when": f"app{n}", "do": "see", "name": f"rule{n}"})
        site.flat({f"app{n}": {"n": 0}}, f"{n}.yaml", f"flat{n}")
    site.schema("last")
    rules.append({"when": "last", "do": "see", "name": "last"})
    site.flat({}, "last.yaml", "latest")
    site.rules(*rules)


def children(running: Running) -> list[int]:
    """Return the coordinator's children."""
    try:
        return [int(word) for word in Path(f"/proc/{running.coordinator}/task/{running.coordinator}/children").read_text().split()]
    except OSError:
        return []


def attack(site: Site, running: Running, chance: random.Random) -> None:
    """One random blow."""
    match chance.choice(["kill", "kill", "kill", "stop", "stop child", "hup", "usr1", "chld", "change"]):
        case "kill":
            victims = children(running)
            if victims:
                _send(chance.choice(victims), signal.SIGKILL)
        case "stop":
            running.send(signal.SIGSTOP)
            time.sleep(chance.random() * 0.05)  # how long it is stopped
            running.send(signal.SIGCONT)
        case "stop child":
            victims = children(running)
            if victims:
                victim = chance.choice(victims)
                _send(victim, signal.SIGSTOP)
                time.sleep(chance.random() * 0.05)  # as above
                _send(victim, signal.SIGCONT)
        case "hup":
            running.send(signal.SIGHUP)
        case "usr1":
            running.send(signal.SIGUSR1)
        case "chld":
            for _ in range(200):
                running.send(signal.SIGCHLD)
        case "change":
            n = chance.randrange(4)
            site.flat({f"app{n}": {"n": chance.randrange(100)}}, f"{n}.yaml", f"flat{n}")


def _send(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


@pytest.mark.parametrize("seed", range(RUNS))
def test_random_blows(site: Site, seed: int) -> None:
    """Whatever is killed, stopped or signalled: exec on the newest data or the documented status, and nothing is left."""
    chance = random.Random(seed)
    crowd(site)
    running = site.start("sh", "-c", "echo done", options=())
    running.wait_for("rules on")
    for _ in range(chance.randrange(5, 40)):
        attack(site, running, chance)
        time.sleep(chance.random() * 0.03)  # the moments of the blows are what is random
    if seed % 3 == 0:
        running.send(signal.SIGTERM)
        for _ in range(3):
            running.send(signal.SIGHUP)
        assert running.wait() == 128 + signal.SIGTERM, running.log
        assert running.output == ""
    else:
        newest = {f"rule{n}.seen": (site.folder / f"{n}.yaml").read_text().replace(" ", "") for n in range(4)}
        # Each source looks at its file in its own time: exec stands on what they have seen, and that is only then the newest.
        eventually(lambda: all(site.read(name).strip() == text for name, text in newest.items()), "the newest data")
        site.flat({"last": {}}, "last.yaml", "latest")
        assert running.wait() == 0, running.log
        assert running.output == "done\n"
        assert {name: site.read(name).strip() for name in newest} == newest
    eventually(lambda: not processes(f"OUT={site.folder}"), "the end of everything", patience=10)


def test_pause_of_the_whole_tree(site: Site, tmp_path: Path) -> None:
    """A pause of all of disco's processes for longer than any lease costs nobody a lease."""
    crowd(site)
    for n in range(4):
        site.cfg[f"flat{n}.timeout"] = "50ms"
    other = Site(tmp_path / "other")
    crowd(other)
    other.cfg |= {name: value for name, value in site.cfg.items() if name.endswith(".timeout")}
    witness = other.start()
    witness.wait_for("rule rule3: handler succeeded")
    running = site.start()
    running.wait_for("rule rule3: handler succeeded")
    tree = [running.pid, *below(running.pid)]
    for pid in tree:
        _send(pid, signal.SIGSTOP)
    _send(witness.child("flat0"), signal.SIGSTOP)
    witness.wait_for("source flat0: its process hung")  # so a lease is over, of another disco's source that was stopped later
    other.clean_up()
    for pid in tree:
        _send(pid, signal.SIGCONT)
    site.flat({"last": {}}, "last.yaml", "latest")
    assert running.wait() == 0
    assert "hung" not in running.log


def test_storm_of_signals(site: Site) -> None:
    """Thousands of SIGHUP and SIGUSR1 neither end disco nor lose the SIGTERM behind them."""
    site.simple()
    site.schema("never")
    site.rules({"when": "never", "do": "see"})
    running = site.start(options=())
    running.wait_for("first answer")
    for _ in range(3000):
        running.send(signal.SIGUSR1)
        running.send(signal.SIGHUP)
    running.send(signal.SIGTERM)
    assert running.wait() == 128 + signal.SIGTERM


def anybody() -> list[str]:
    return ["setpriv", "--reuid=54321", "--regid=54321", "--clear-groups"]


@pytest.fixture
def open_site() -> Iterator[Site]:
    """Give a site that any user can read and write."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        if subprocess.run([*anybody(), *disco_command(), "-h"], capture_output=True, check=False).returncode:
            pytest.skip("other users may not run the Python that runs this test, or we may not become one")
        site = Site(Path(folder))
        yield site
        site.clean_up()


@pytest.mark.parametrize("allowed", [1, 2])  # disco itself, the coordinator
def test_fork_is_refused(open_site: Site, allowed: int) -> None:
    """When the system gives no process disco tries again for a while, then ends with 71 and says so."""
    open_site.simple()
    running = open_site.run(
        before=["prlimit", f"--nproc={allowed}", "setpriv", "--reuid=54322", "--regid=54322", "--clear-groups"], options=()
    )
    assert running.process.returncode == 71, running.log
    assert "cannot be started" in running.log
    assert "Resource temporarily unavailable" in running.log


SPY = """
report = {}
def ask(name, what):
    try:
        what()
        report[name] = "open"
    except PermissionError:
        report[name] = "refused"
libc = ctypes.CDLL(None, use_errno=True)
def take_descriptor(pid):
    handle = os.pidfd_open(pid)
    if libc.syscall(438, handle, 2, 0) < 0:  # pidfd_getfd(2)
        raise OSError(ctypes.get_errno(), "pidfd_getfd")
parent = os.getppid()
with open(f"/proc/{parent}/stat") as file:
    first = int(file.read().rpartition(")")[2].split()[1])
for pid in (parent, first):
    ask(f"environ of {pid}", lambda: open(f"/proc/{pid}/environ").read())
    ask(f"memory of {pid}", lambda: open(f"/proc/{pid}/mem", "rb"))
    ask(f"descriptor of {pid}", lambda: take_descriptor(pid))
report["own descriptors"] = "0" in os.listdir("/proc/self/fd")
status = dict(line.split(":\\t") for line in open("/proc/self/status").read().splitlines())
import json, resource
report["no new privileges"] = status["NoNewPrivs"]
report["core"] = resource.getrlimit(resource.RLIMIT_CORE)
with open(os.environ["OUT"] + "/report.new", "w") as file:
    json.dump(report, file)
os.rename(os.environ["OUT"] + "/report.new", os.environ["OUT"] + "/report")
yield {"app": {}}
"""


def test_a_source_cannot_look_into_disco(open_site: Site) -> None:
    """What runs in a source has the user's rights, and still sees neither disco's secrets nor its descriptors, nor gains rights."""
    open_site.simple()
    open_site.handler("see", 'grep NoNewPrivs /proc/self/status > "$OUT/handler"\nulimit -c >> "$OUT/handler"\n')
    open_site.plug_in(SPY)
    del open_site.cfg["flat.file"]
    running = open_site.run(
        "sh", "-c", "ulimit -c; grep NoNewPrivs /proc/self/status", before=["prlimit", "--core=1024", *anybody()]
    )
    report = json.loads(open_site.read("report"))
    assert report.pop("own descriptors"), "etcd's source has to see which there are"
    assert report.pop("core") == [0, 0]
    assert report.pop("no new privileges") == "1"
    assert set(report.values()) == {"refused"}, report
    assert running.output == "2\nNoNewPrivs:\t0\n", running.log
    assert open_site.read("handler") == "NoNewPrivs:\t0\n2\n"


def test_a_handler_cannot_look_into_a_shipped_one(open_site: Site) -> None:
    """A shipped handler is forked with disco's memory; another handler of the same user sees neither that nor its environment."""
    open_site.simple()
    open_site.rules({"when": "app", "do": "disco-wait file:looked"}, {"when": "app", "do": "look"})
    open_site.handler(
        "look",
        'until pid=$(pgrep -x -u "$(id -u)" disco-wait); do sleep 0.01; done\n'
        'exec > "$OUT/open" 2> "$OUT/errors"\n'
        'for name in environ maps fd/0; do cat "/proc/$pid/$name" > /dev/null && echo "$name is open"; done\n'
        "touch looked\n",
    )
    running = open_site.run(before=anybody())
    assert running.process.returncode == 0, running.log
    assert open_site.read("open") == ""
    assert open_site.read("errors").count("Permission denied") == 3


def test_many_sources_under_a_low_limit(site: Site) -> None:
    """A low soft limit of descriptors does not keep disco from many sources; handlers and COMMAND find the limit as it was."""
    site.schema("app")
    site.rules({"when": "app", "do": "see"})
    site.handler("see", 'ulimit -n > "$OUT/limit"\n')
    for n in range(30):
        site.flat({f"k{n}": {}} if n else {"app": {}}, f"{n}.yaml", f"flat{n}")
    running = site.run("sh", "-c", "ulimit -n", before=["prlimit", "--nofile=40:4096"], options=())
    assert running.output == "40\n", running.log
    assert site.read("limit") == "40\n"


def test_few_descriptors(site: Site) -> None:
    """With too few descriptors for its sources disco tells which cannot be started, and ends with a status of its own."""
    crowd(site)
    site.cfg["disco.timeout"] = "2s"
    few = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (14, 14))  # noqa: E731 -- for the child alone
    running = site.start(options=(), preexec_fn=few)
    assert running.wait() in (69, 71), running.log
    assert "Too many open files" in running.log
    assert not processes(f"OUT={site.folder}")


@pytest.mark.parametrize("limit", [9, 12, 13])
def test_no_descriptor_for_a_child(site: Site, limit: int) -> None:
    """Where there are not enough descriptors for a child its start is given up after some attempts, with a remedy."""
    crowd(site)
    running = site.run(before=["prlimit", f"--nofile={limit}"], options=())
    assert running.process.returncode == 71, running.log
    told = r"disco: .* cannot be started \(7 attempts\): .*Too many open files; raise the container's limits"
    assert re.match(told, running.log.splitlines()[-1]), running.log
    assert "a bug in disco" not in running.log
    assert "its process ended" not in running.log


@pytest.mark.parametrize("place", ["/dev/full", "closed pipe"])
def test_nowhere_to_log(site: Site, place: str) -> None:
    """A full disk, or a reader of the log that is gone, changes nothing else."""
    site.simple()
    if place == "closed pipe":
        reader, writer = os.pipe()
        os.close(reader)
    else:
        writer = os.open(place, os.O_WRONLY)
    running = site.start(stderr=writer)
    os.close(writer)
    assert running.wait() == 0
    assert running.output == "done\n"


SURROUNDINGS = {
    "read-only root": "mount --bind / /mnt && mount -o remount,ro,bind /mnt && mount --rbind /proc /mnt/proc && "
    'mount --rbind /dev /mnt/dev && mount --bind "$OUT" "/mnt$OUT" && exec chroot /mnt "$@"',
    "no /dev/shm": 'mount -t tmpfs -o ro none /dev/shm && exec "$@"',
    "no /proc": 'mount -t tmpfs none /proc && exec "$@"',
    "hidepid": 'mount -t proc -o hidepid=2 proc /proc && exec "$@"',
}


@pytest.mark.parametrize("surroundings", SURROUNDINGS.values(), ids=SURROUNDINGS)
def test_bare_surroundings(site: Site, surroundings: str) -> None:
    """Without a writable root, /dev/shm, all of /proc or the sight of other processes, handlers run and exec happens."""
    site.simple()
    unshare = ["unshare", "--mount", "--pid", "--fork"]
    probe = subprocess.run([*unshare, "true"], capture_output=True, check=False)
    if probe.returncode:
        pytest.skip("no right to make namespaces here")
    running = site.run("sh", "-c", "echo done", before=[*unshare, "sh", "-ec", surroundings, "sh"])
    assert running.output == "done\n", running.log
    assert site.seen() == [{"app": {"a": 1}}]


def test_what_proc_hides_is_gone_before_exec(open_site: Site) -> None:
    """A daemon that no /proc shows to disco's user (it forked, and executed nothing) is gone before exec all the same."""
    hiding = ["unshare", "--mount", "--pid", "--fork", "sh", "-ec", 'mount -t proc -o hidepid=2 proc /proc && exec "$@"', "sh"]
    before = [*hiding, *anybody()]
    if subprocess.run([*before, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no right to make namespaces here")
    open_site.simple()
    open_site.plug_in(
        "import fcntl\n"
        "lock = os.open(os.environ['OUT'] + '/lock', os.O_RDWR | os.O_CREAT)\n"
        "if first and os.fork() == 0:\n"
        "    os.setsid()\n"
        "    if os.fork():\n"
        "        os._exit(0)\n"
        "    fcntl.flock(lock, fcntl.LOCK_EX)\n"
        "    open(os.environ['OUT'] + '/locked', 'w')\n"
        "    time.sleep(1e6)\n"
        "os.close(lock)\n"
        "while not os.path.exists(os.environ['OUT'] + '/locked'): time.sleep(0.01)\n"
        "while True:\n"
        "    yield {}\n"
        "    time.sleep(0.1)"
    )
    running = open_site.run("flock", "-n", "lock", "echo", "done", before=before)
    assert running.output == "done\n", running.log
