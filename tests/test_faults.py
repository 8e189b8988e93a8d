"""Faults of sources and of the checker: nothing that one does wedges the others, and its replacement's data arrives."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from lab.processes import below, is_alive, name_of, processes
from lab.waiting import eventually

if TYPE_CHECKING:
    from lab.site import Site

# What the first process of the source does; the one that replaces it gives the data.
FAULTS = {
    "spins in C": "hashlib.pbkdf2_hmac('sha256', b'', b'', 1 << 31 - 1)",
    "is stopped": "os.kill(os.getpid(), signal.SIGSTOP)",
    "crashes": "ctypes.string_at(0)",
    "exits": "os._exit(3)",
    "sleeps for ever": "time.sleep(1e6)",
    "blocks all signals and sleeps": "signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65)); time.sleep(1e6)",
    "ends its generator": "return",
    "raises": "raise RuntimeError('the secret')",
    "yields nonsense": "yield 5",
    "yields what JSON cannot hold": "yield {'odd': {'x': object()}}",
    "closes its descriptors": "os.closerange(0, 100)",
    "writes garbage into its channel": "os.write(3, b'x' * 5000); time.sleep(1e6)",
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_faulty_source_is_replaced(site: Site, fault: str) -> None:
    """Whatever a source's process does, the healthy source's rule runs meanwhile, and its replacement's data arrives."""
    site.simple()
    site.schema("odd")
    site.rules({"when": "app", "do": "see"}, {"when": "odd", "do": "other"})
    site.handler("other", '[ -e "$OUT/see.seen" ] && cat > "$OUT/other.seen"\n')
    site.plug_in(f"if first:\n    {fault}\nwhile True:\n    yield {{'odd': {{'a': 1}}}}\n    time.sleep(0.1)")
    running = site.run()
    assert running.process.returncode == 0, running.log
    assert site.seen("other") == [{"odd": {"a": 1}}]
    assert "the secret" not in running.log


OUTSIDE = {
    "import": "sys.exit(0)",
    "import raises": "raise KeyError('the secret')",
    "options": "SOURCE = Source(watch=watch, options=[1])",
    "check": "SOURCE = Source(watch=watch, any_key=True, options=(), check=lambda options: sys.exit(0))",
    "check yields": "def check(options):\n    yield 5\nSOURCE = Source(watch=watch, any_key=True, options=(), check=check)",
    "place": "SOURCE = Source(watch=watch, any_key=True, options=(), place=lambda options, part: options['the secret'])",
    "place gives": "SOURCE = Source(watch=watch, any_key=True, options=(), place=lambda options, part: 5)",
    "parts": "SOURCE = Source(watch=watch, any_key=True, options=(), parts=lambda options: sys.exit(0))",
    "parts gives": "SOURCE = Source(watch=watch, any_key=True, options=(), parts=lambda options: 5)",
    "remarks": "SOURCE = Source(watch=watch, any_key=True, options=(), remarks=lambda options: sys.exit(0))",
    "preload": (
        "SOURCE = Source(watch=watch, any_key=True, options=(), parts=lambda options: ('', 'a'), preload=lambda: sys.exit(0))"
    ),
    "type": "SOURCE = Source(watch=watch, options=(Option(name='x', type=lambda text: sys.exit(0), help=''),))",
}


@pytest.mark.parametrize("fault", OUTSIDE.values(), ids=OUTSIDE)
def test_a_plug_in_that_is_wrong_is_named(site: Site, fault: str) -> None:
    """Whatever a plug-in's code in disco's own process raises, a call of sys.exit too, is its mistake, and nothing is started."""
    site.simple()
    site.plug_in("yield {}")
    file = site.folder / "plug-ins" / "odd.py"
    file.write_text(f"{file.read_text()}{fault}\n")
    site.cfg["odd.x"] = "1"
    modes = [("--check",), ()] if "preload" not in fault else [()]
    for options in modes:
        running = site.run(options=options)
        told = running.output if options else running.log
        assert running.process.returncode == 78, told
        assert "source type 'odd'" in told
        assert "correct the plug-in, or remove the source" in told
        assert "a bug in disco" not in told
        assert "the secret" not in told


def test_a_source_that_exits(site: Site) -> None:
    """A source whose library calls sys.exit is told by that, and tried again."""
    site.simple()
    site.schema("odd")
    site.rules({"when": "odd", "do": "see"})
    site.plug_in("if first:\n    sys.exit(0)\nwhile True:\n    yield {'odd': {}}\n    time.sleep(0.1)")
    running = site.run(options=())
    assert running.process.returncode == 0, running.log
    assert "source odd: the client library raised SystemExit" in running.log


def test_healthy_rule_runs_while_another_source_hangs(site: Site) -> None:
    """The rule of a healthy source runs at once while another source has not said a word."""
    site.simple()
    site.schema("odd")
    site.rules({"when": "app", "do": "see"}, {"when": "odd", "do": "see"})
    site.plug_in("os.kill(os.getpid(), signal.SIGSTOP)\nyield {}")
    running = site.start()
    eventually(lambda: site.seen() == [{"app": {"a": 1}}])
    assert running.process.poll() is None
    running.send(signal.SIGTERM)
    assert running.wait() == 128 + signal.SIGTERM


def test_stopped_in_the_middle_of_a_message(site: Site) -> None:
    """A source that is stopped in the middle of a long message does not keep the coordinator from anything."""
    site.simple()
    site.schema("odd")
    site.rules({"when": "app", "do": "see"}, {"when": "odd", "do": "other"})
    site.handler("other", "exit 0\n")
    site.plug_in(
        "if first:\n"
        "    import struct\n"
        "    os.write(3, struct.pack('!II', 100, 500000) + b'x' * 50000)\n"
        "    os.kill(os.getpid(), signal.SIGSTOP)\n"
        "while True:\n"
        "    yield {'odd': {}}\n"
        "    time.sleep(0.1)"
    )
    running = site.run()
    assert running.process.returncode == 0, running.log
    assert site.seen() == [{"app": {"a": 1}}]


def test_withdrawn_interface_and_source_that_fails(site: Site) -> None:
    """An interface that a source successfully reads as gone is withdrawn; a source that fails keeps its last good data."""
    site.simple()
    site.schema("late")
    site.schema("odd")
    site.rules({"when": "odd", "do": "see", "name": "odd"}, {"when": "app", "do": "see"}, {"when": "late", "do": "see"})
    site.plug_in(
        "yield {'odd': {'a': 1}}\n"
        "while not os.path.exists(os.environ['OUT'] + '/fail'): time.sleep(0.01)\n"
        "raise SourceError('it is broken')"
    )
    site.cfg["flat.settle"] = "0"
    running = site.start()
    eventually(lambda: len(site.seen()) == 2)
    site.flat({})
    (site.folder / "fail").touch()
    running.wait_for("it is broken")
    running.wait_for("sending 0 interfaces changed, 1 removed")
    running.report_until("interface app is missing: no source has it (flat: ")
    assert "rule odd" not in running.log.rpartition("are not satisfied")[2]
    site.flat({"app": {"a": 1}, "late": {}})
    assert running.wait() == 0, running.log
    assert len(site.seen()) == 3, "equal data that came back ran its rule again"


@pytest.mark.parametrize("sources", [2, 3])
def test_one_interface_of_several_sources(site: Site, sources: int) -> None:
    """Several sources complete one interface; where they differ the later one wins."""
    keys = "abc"[:sources]
    site.schema("app", {"type": "object", "required": list(keys)})
    site.rules({"when": "app", "do": "see"})
    site.handler("see")
    for n, key in enumerate(keys):
        site.flat({"app": {key: n, "last": n, "deep": {key: n}}}, f"{key}.yaml", key)
    site.run()
    expected = {key: n for n, key in enumerate(keys)}
    assert site.seen()[-1] == {"app": expected | {"last": sources - 1, "deep": expected}}


def test_catastrophic_pattern_in_the_checker(site: Site) -> None:
    """A pattern that explodes on merged data makes its interface invalid, with a reason; other rules do not wait for it."""
    site.simple()
    site.schema("evil", {"properties": {"x": {"pattern": "^(a+)+$"}}, "required": ["x", "y"]})
    site.rules({"when": "app", "do": "see"}, {"when": "evil", "do": "see"})
    site.flat({"app": {"a": 1}, "evil": {"x": 1}}, "one.yaml", "one")
    site.flat({"evil": {"x": "a" * 40 + "b", "y": 1}}, "two.yaml", "two")
    running = site.start()
    eventually(lambda: site.seen() == [{"app": {"a": 1}}])
    running.report_until("validation takes too long")
    running.send(signal.SIGTERM)
    running.wait()


def test_catastrophic_pattern_in_a_source(site: Site) -> None:
    """A pattern that explodes in a source's process makes that interface invalid alone."""
    site.simple()
    site.schema("evil", {"properties": {"x": {"pattern": "^(a+)+$"}}})
    site.rules({"when": "app", "do": "see"}, {"when": "evil", "do": "see"})
    site.flat({"app": {"a": 1}, "evil": {"x": "a" * 40 + "b"}})
    running = site.start()
    eventually(lambda: site.seen() == [{"app": {"a": 1}}])
    running.report_until("validation takes too long")
    running.send(signal.SIGTERM)
    running.wait()


def test_a_pattern_that_explodes_in_refused_data(site: Site) -> None:
    """Data that is refused for another reason first goes to the checker. What explodes there keeps no other from its verdict."""
    site.simple()
    site.schema("evil", {"properties": {"port": {"maximum": 9}, "x": {"pattern": "^(a+)+$"}}})
    site.schema("other", {"properties": {"port": {"maximum": 9}}})
    site.rules({"when": "app", "do": "see"}, {"when": "evil", "do": "see"}, {"when": "other", "do": "see"})
    site.flat({"evil": {"port": 10, "x": "a" * 40 + "b"}}, "evil.yaml", "evil")
    site.flat({"app": {"a": 1}, "other": {"port": 10}})
    running = site.start()
    eventually(lambda: site.seen() == [{"app": {"a": 1}}])
    running.report_until("interface other is not valid: /port does not satisfy maximum 9 (flat")
    running.report_until("interface evil is not valid: validation takes too long")
    site.flat({"app": {"a": 1}, "other": {"port": 9}})
    site.flat({"evil": {"port": 9}}, "evil.yaml", "evil")
    assert running.wait() == 0
    assert {"evil": {"port": 9}} in site.seen()
    assert {"other": {"port": 9}} in site.seen()


def test_the_checker_alone_loads_jsonschema(site: Site) -> None:
    """Of many sources with data that jsonschema has to refuse none imports it; without such data nobody does."""
    site.simple()
    site.schema("late", {"required": ["host"], "properties": {"port": {"type": "integer", "maximum": 9}}})
    site.rules({"when": "app", "do": "see"}, {"when": "late", "do": "see"})
    for name in ("one", "two", "three"):
        site.flat({"late": {"port": "9"}}, f"{name}.yaml", name)
    running = site.start()
    running.wait_for("source one: first answer")
    running.report_until("/host is required")
    assert having_jsonschema(running.coordinator) == []
    for name in ("one", "two", "three"):
        site.flat({"late": {"host": name, "port": 10}}, f"{name}.yaml", name)
    running.report_until("interface late is not valid: /port does not satisfy maximum 9")
    assert having_jsonschema(running.coordinator) == ["disco:checker"]
    running.send(signal.SIGTERM)
    running.wait()


def having_jsonschema(coordinator: int) -> list[str]:
    """Return which of disco's processes hold a library that only jsonschema needs."""
    pids = [coordinator, *below(coordinator)]
    return [name_of(pid) for pid in pids if "rpds" in Path(f"/proc/{pid}/maps").read_text()]


def test_hup_reads_anew(site: Site) -> None:
    """SIGHUP replaces every source by a fresh process; equal data runs nothing again."""
    site.simple()
    site.schema("never")
    site.rules({"when": "app", "do": "see"}, {"when": "never", "do": "see"})
    running = site.start()
    eventually(lambda: site.seen() == [{"app": {"a": 1}}])
    first = running.child("flat")
    running.send(signal.SIGHUP)
    eventually(lambda: running.child("flat") != first)
    assert not is_alive(first)
    site.flat({"app": {"a": 1}, "never": {}})
    assert running.wait() == 0
    assert site.seen() == [{"app": {"a": 1}}, {"never": {}}]


WEDGED = {
    "idle": "time.sleep(1e6)",
    "spins in C": "hashlib.pbkdf2_hmac('sha256', b'', b'', 1 << 31 - 1)",
    "is stopped": "os.kill(os.getpid(), signal.SIGSTOP)",
}


@pytest.mark.parametrize("source", WEDGED.values(), ids=WEDGED)
def test_nobody_outlives_a_killed_coordinator(site: Site, source: str) -> None:
    """SIGKILL to the coordinator: no child and no handler is there a moment later, whatever state it is in."""
    site.simple()
    site.schema("odd")
    site.rules({"when": "app", "do": "see"}, {"when": "odd", "do": "see"})
    site.handler("see", 'setsid -f sleep 1000 < /dev/null\nsleep 1000 &\ntouch "$OUT/up"\nwait\n')
    site.plug_in(f"open(os.environ['OUT'] + '/wedged', 'w')\n{source}\nyield {{}}")
    running = site.start()
    eventually(lambda: site.read("up") == "" and (site.folder / "up").exists() and (site.folder / "wedged").exists())
    mark = f"OUT={site.folder}"
    assert len(processes(mark)) > 4
    running.send(signal.SIGKILL)
    running.wait()
    eventually(lambda: not processes(mark), f"{processes(mark)} to end", patience=10)


def test_client_library_s_own_children_go_with_it(site: Site) -> None:
    """What a client library forked and forgot is gone after exec, even in a session of its own and without our environment."""
    site.simple()
    site.plug_in(
        "subprocess.Popen(['env', '-i', 'setsid', os.environ['OUT'] + '/sleeper', '1000'])\n"
        "if os.fork() == 0:\n    os.setsid()\n    time.sleep(1e6)\n"
        "while True:\n    yield {}\n    time.sleep(0.1)"
    )
    site.cfg["disco.grace"] = "300ms"
    (site.folder / "sleeper").symlink_to(str(shutil.which("sleep")))
    running = site.run("sh", "-c", "ps -A -o pid,ppid,args > $OUT/ps; echo done")
    assert running.output == "done\n", running.log
    assert f"{site.folder}/sleeper" not in site.read("ps")
    assert f"{site.folder}/plug-ins" not in site.read("ps")


def test_growing_source_is_replaced(site: Site) -> None:
    """A source whose process grows over its memory limit is replaced, the log says so, and its data arrives."""
    site.simple()
    site.schema("odd")
    site.rules({"when": "app", "do": "see"}, {"when": "odd", "do": "see"})
    site.plug_in("leak = []\nwhile first: leak.append(b'x' * (1 << 20))\nwhile True:\n    yield {'odd': {}}\n    time.sleep(0.1)")
    site.cfg |= {"odd.memory": "200M", "odd.timeout": "60"}  # it is the memory that ends it, not the time
    running = site.run()
    assert running.process.returncode == 0, running.log
    assert "more than 200 MiB of memory and is replaced (raise odd.memory if it needs more)" in running.log


# What grows in one call into C, which never comes back to the interpreter: no handler of a signal can run.
GROWS = "list(itertools.chain(itertools.islice(itertools.count(1 << 40), 15_000_000), filter(None, itertools.repeat(0))))"
BLINDFOLD = "signal.signal(signal.SIGPROF, signal.SIG_IGN)\nsignal.set_wakeup_fd(-1)\n"


@pytest.mark.parametrize(
    "growth",
    [
        f"if first: {GROWS}\nwhile True:\n    yield {{'odd': {{}}}}\n    time.sleep(0.1)",
        (
            f"{BLINDFOLD}leak = []\nwhile first:\n    leak.append(os.urandom(4 << 20))\n    yield {{f'x{{len(leak)}}': {{}}}}\n"
            "while True:\n    yield {'odd': {}}\n    time.sleep(0.1)"
        ),
    ],
    ids=["in C", "while the library uses the timer's signal itself"],
)
def test_growth_is_seen_from_outside(site: Site, growth: str) -> None:
    """A source that grows is replaced wherever it does so, long before its lease is over; others are not in its way."""
    site.simple()
    site.schema("odd")
    site.rules({"when": "app", "do": "see"}, {"when": "odd", "do": "see"})
    site.plug_in("import itertools\n" + growth)
    site.cfg |= {"odd.memory": "200M", "odd.timeout": "1h", "odd.settle": "0"}
    running = site.start(options=())
    peak = 0

    def is_over() -> bool:
        nonlocal peak
        peak = max([peak, *(_resident(pid) for pid in below(running.pid))])
        return running.process.poll() is not None

    eventually(is_over, "the end")
    assert running.wait() == 0, running.log
    assert "source odd: its process had more than 200 MiB of memory" in running.log
    assert peak < 450  # without a limit it would be 600, and not end


def _resident(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20
    except OSError:
        return 0


@pytest.mark.parametrize("flood", ["messages", "prints", "log"])
def test_flooding_source_costs_nobody_else(site: Site, flood: str) -> None:
    """A source that floods disco with changes, prints or log lines keeps the healthy source's changes from nothing."""
    site.schema("app")
    site.schema("odd")
    site.schema("never")
    site.rules({"when": "app", "do": "see"}, {"when": "never", "do": "see"})
    site.handler("see")
    site.flat({"app": {"n": 0}})
    body = {
        "messages": "n = 0\nwhile True:\n    n += 1\n    yield {'odd': {'n': n}}",
        "prints": "while True: os.write(1, b'x' * 100 + b'\\n')\nyield {}",
        "log": "import logging\nwhile True: logging.getLogger().error('x' * 100)\nyield {}",
    }[flood]
    site.plug_in("open(os.environ['OUT'] + '/up', 'w')\n" + body)
    site.cfg["odd.timeout"] = "1h"
    running = site.start(options=())
    eventually((site.folder / "up").exists)
    for n in range(1, 4):
        eventually(lambda n=n: len(site.seen()) == n)  # type: ignore[misc]  # mypy cannot infer a lambda's default
        site.flat({"app": {"n": n}})
    eventually(lambda: len(site.seen()) == 4)
    with open(f"/proc/{running.coordinator}/stat") as file:
        ticks = sum(map(int, file.read().rpartition(")")[2].split()[11:13]))
    running.send(signal.SIGTERM)
    assert running.wait() == 128 + signal.SIGTERM
    assert ticks / os.sysconf("SC_CLK_TCK") < 5  # of the seconds that this took: it waits instead of reading on and on


@pytest.mark.parametrize("death", ["os.kill(os.getpid(), signal.SIGKILL)", "ctypes.string_at(0)"])
def test_forks_of_a_source_that_died(site: Site, death: str) -> None:
    """What a source forked before it died unexpectedly is gone after exec, in sessions of its own too, executed or not."""
    site.simple()
    site.schema("odd")
    site.rules({"when": "app", "do": "see"}, {"when": "odd", "do": "see"})
    site.plug_in(
        "if first:\n"
        "    for session in (True, False):\n"
        "        if os.fork() == 0:\n"
        "            if session: os.setsid()\n"
        "            time.sleep(1e6)\n"
        "    subprocess.Popen(['setsid', os.environ['OUT'] + '/sleeper', '1000'])\n"
        f"    {death}\n"
        "while True:\n    yield {'odd': {}}\n    time.sleep(0.1)"
    )
    site.cfg["disco.grace"] = "300ms"
    (site.folder / "sleeper").symlink_to(str(shutil.which("sleep")))
    running = site.run("sh", "-c", "ps -A -o pid,ppid,args > $OUT/ps; echo done")
    assert running.output == "done\n", running.log
    assert f"{site.folder}/sleeper" not in site.read("ps")
    assert f"{site.folder}/plug-ins" not in site.read("ps")


@pytest.mark.parametrize("name", ["runner-1", "checker"])
def test_source_with_the_name_of_another_child(site: Site, name: str) -> None:
    """A source may be called like a runner or the checker: children are told apart by what they are, too."""
    site.simple({"a": 1})
    site.flat({"app": {"b": 2}}, name="more.yaml", source=name)
    running = site.run()
    assert (running.process.returncode, site.seen()[-1:]) == (0, [{"app": {"a": 1, "b": 2}}]), running.log


def test_many_problems_with_long_names(site: Site) -> None:
    """A source with very many problems, in places with long and odd names, is heard all the same: what is valid arrives."""
    site.simple({"a": 1})
    problems = {"properties": {"port": {"type": "integer"}}, "additionalProperties": {"$ref": "#"}}
    data: dict[str, Any] = {"app": {"a": 1}}
    for number in range(40):
        site.schema(f"bad{number}", problems)
        below: Any = {f"{n}": {"port": "x"} for n in range(20)}
        for _ in range(30):
            below = {"\U000e0001" * 80: below}
        data[f"bad{number}"] = below
    site.flat(data)
    assert site.run().process.returncode == 0
    assert site.seen() == [{"app": {"a": 1}}]


def test_exec_on_what_lies_unread_in_the_channel(site: Site) -> None:
    """A source that says so much that it is not read for a while keeps exec waiting for its newest, all the same."""
    site.simple()
    site.plug_in(
        """
        yield {"app": {"n": 0}}
        while not os.path.exists(os.environ["OUT"] + "/first"):
            time.sleep(0.01)
        for n in range(1, 141):
            yield {"app": {"n": n}}
        open(os.environ["OUT"] + "/sent", "w").close()
        while True:
            time.sleep(1)
        """
    )
    del site.cfg["flat.file"]
    site.handler("see", 'cat >> "$OUT/see.seen"; touch "$OUT/first"; while [ ! -e "$OUT/sent" ]; do sleep 0.01; done\n')
    running = site.run()
    assert (running.process.returncode, site.seen()[-1:]) == (0, [{"app": {"n": 140}}]), running.log


def test_daemon_of_a_living_source_is_gone_before_exec(site: Site) -> None:
    """A daemon that a client library started (two forks, its own session, another program, no environment) is gone before exec."""
    site.simple()
    site.plug_in(
        "if first:\n"
        "    if os.fork() == 0:\n"
        "        os.setsid()\n"
        "        if os.fork() == 0:\n"
        "            program = os.environ['OUT'] + '/sleeper'\n"
        "            os.execve(program, [program, '1000'], {})\n"
        "        os._exit(0)\n"
        "    os.wait()\n"
        "yield {}\n"
        "open(os.environ['OUT'] + '/daemon-is-up', 'w')\n"
        "time.sleep(1e6)"
    )
    site.cfg["odd.timeout"] = "1h"
    (site.folder / "sleeper").symlink_to(str(shutil.which("sleep")))
    running = site.run("sh", "-c", "ps -A -o pid,args > $OUT/ps; echo done")
    assert running.output == "done\n", running.log
    assert (site.folder / "odd.was-here").exists()
    assert f"{site.folder}/sleeper" not in site.read("ps")


TELL = """
import socket
from disco.wire import frames, messages
def tell(filled=b"", **bodies):
    changed = {name: messages.Fragment(messages.digest(body), (), body, filled) for name, body in bodies.items()}
    for parts in frames.split(messages.Diff(True, changed, (), (), 0)):
        for part in parts: os.write(3, part)
"""

LIES = {
    "another interface": b'{"n":1},"app":{"host":"evil"}',
    "the same interface again": b'{"n":1},"odd":{"host":"evil"}',
    "the end of the object": b'{"n":1}}{"host":"evil"',
    "a name twice": b'{"n":{"host":"good","host":"evil"}}',
    "no object": b'["evil"]',
    "no JSON": b"evil",
    "not finite": b'{"evil":NaN}',
    "another encoding": '{"n":"evil"}'.encode("utf-16"),
    "too deep": b'{"evil":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "a line more": b'{"n":1}\n{"host":"evil"}',
}


@pytest.mark.parametrize(
    "said",
    [*[f"odd={body!r}" for body in LIES.values()], f"odd=b'{{}}', filled={LIES['another interface']!r}"],
    ids=[*LIES, "in what has defaults"],
)
def test_a_body_that_is_no_object_reaches_no_handler(site: Site, said: str) -> None:
    """What a source that was taken over says as an interface's data reaches a handler only if it is one JSON object."""
    site.simple({"host": "good"})
    site.schema("odd")
    site.rules({"when": "odd,app", "do": "other", "name": "both", "after": ["good"]}, {"when": "app", "do": "see", "name": "good"})
    site.handler("other", 'cat >> "$OUT/other.seen"\n')
    site.plug_in(f"{TELL}\ntell({said})\ntime.sleep(1000)\nyield")
    site.cfg |= {"odd.timeout": "100", "disco.fail_limit": "2"}
    running = site.run(options=())
    assert site.read("other.seen") == ""
    assert running.process.returncode == 70, running.log
    running.wait_for("rule both: handler .*other failed: .*interface odd.* JSON object")
    assert site.seen() == [{"app": {"host": "good"}}]


def test_a_lie_costs_its_source_alone(site: Site) -> None:
    """A source whose data no handler can be given is replaced, and the rule runs on what its next process says."""
    site.simple({"host": "good"})
    site.schema("odd")
    site.rules({"when": "odd,app", "do": "see"})
    lie = LIES["another interface"]
    site.plug_in(f"{TELL}\nif first:\n    tell(odd={lie!r})\n    time.sleep(1000)\nyield {{'odd': {{}}}}\ntime.sleep(1000)")
    site.cfg["odd.timeout"] = "100"
    site.cfg["disco.interval"] = "1"
    running = site.run(options=())
    assert running.process.returncode == 0, running.log
    assert "source odd violated disco's protocol (data of interface odd that is no JSON object)" in running.log
    assert "source flat sent" not in running.log
    assert site.seen() == [{"odd": {}, "app": {"host": "good"}}]


@pytest.mark.parametrize("body", [b"evil", b'["evil"]', b'{"a":1,"a":2}', b'{"evil":' + b"[" * 100_000 + b"]" * 100_000 + b"}"])
def test_a_body_that_cannot_be_merged(site: Site, body: bytes) -> None:
    """What cannot be merged makes its interface invalid, with the reason: the checker goes on, and others do not wait."""
    site.simple()
    for name in ("odd", "fine"):
        site.schema(name)
    site.rules({"when": "odd", "do": "see"}, {"when": "fine", "do": "other"}, {"when": "app", "do": "see"})
    site.handler("other")
    site.flat({"odd": {"a": 1}, "fine": {"b": 1}, "app": {}})
    site.plug_in(f"{TELL}\ntell(odd={body!r}, fine=b'{{}}')\ntime.sleep(1000)\nyield")
    site.cfg["odd.timeout"] = "100"
    running = site.start(options=())
    running.wait_for("source odd: first answer")
    running.report_until("interface odd is not valid: ")
    eventually(lambda: site.seen("other")[-1:] == [{"fine": {"b": 1}}], "the other merge")  # it may run on either part before
    assert "checker" not in running.log
    eventually(lambda: {"app": {}} in site.seen(), "the rule of one source")
    assert "evil" not in site.read("see.seen")


@pytest.mark.parametrize("mode", [[], ["--json"]])
@pytest.mark.parametrize("body", [b"evil", b'{"evil":' + b"[" * 900 + b"]" * 900 + b"}"])
def test_a_body_that_is_no_object_in_a_dry_run(site: Site, body: bytes, mode: list[str]) -> None:
    """A dry run tells that what a source said cannot be used."""
    site.simple()
    site.schema("odd")
    site.plug_in(f"{TELL}\ntell(odd={body!r})\ntime.sleep(1000)\nyield")
    site.cfg["odd.timeout"] = "100"
    running = site.run(options=("--dry-run", *mode))
    assert running.process.returncode == 0, running.log
    assert '"odd": {"leaves": {}, "problems": []}' in running.output if mode else "odd: no data that can be used" in running.output
