"""The etcd source against real servers: what it reads, that it loses no change, and that it never hangs."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import random
import re
import select
import socket
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from lab.etcd_server import EtcdCluster, EtcdServer
from lab.servers import ROOT, free_ports, make_certificates
from lab.waiting import eventually

from disco import sources
from disco.site import config
from disco.sources import etcd, etcd_channel, etcd_session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PATIENCE = 30.0  # seconds; less than the 55 that a watch lasts: what comes within it did not wait for the watch's end
HUSH = "hush"  # is in every password, and in values that must not be logged

# Runs the generator as a source's process does (anew after each error) and prints what it gives, a JSON line each.
DRIVER = """
import gc, json, logging, os, sys, time
from disco import sources
from disco.site import config
from disco.system.limits import Overrun, time_limit
from disco.sources import etcd, etcd_channel, etcd_session

pairs, interfaces, limit, constants, hold, once = json.loads(sys.argv[1])
logging.basicConfig(level=logging.DEBUG)
for name, value in constants.items():
    setattr(etcd_session if hasattr(etcd_session, name) else etcd_channel, name, value)
settings, problems = config.load(pairs, None, {})
assert not problems, problems
context = sources.Context(
    name="etcd", part="", options=settings.sources[0].options, interval=1.0, interfaces=frozenset(interfaces), memory={},
    note=lambda text: notes.append(text))
notes = [""]
follow = etcd_session.Session.follow
def late(session, known):
    if os.path.exists(hold):
        tell(held=True)
    while os.path.exists(hold):
        time.sleep(0.01)
    yield from follow(session, known)
etcd_session.Session.follow = late

def tell(**what):
    what["variable"] = os.environ.get("PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION")
    print(json.dumps(what, default=lambda unusable: {"unusable": unusable.reason}), flush=True)

gc.disable()  # as in the watcher: what a try leaves behind is not taken away by chance
while True:
    left = sum(type(one) is etcd_session.Session for one in gc.get_objects())
    before, generator = None, etcd.SOURCE.watch(context)
    while True:
        began = time.monotonic()
        try:
            with time_limit(limit):
                data = next(generator)
        except Overrun:
            tell(overrun=time.monotonic() - began)
            break
        except sources.SourceError as error:
            tell(error=error.reason, retry_after=error.retry_after, left=left)
            break
        tell(data=data, same=data is before, note=notes[-1])
        before = data
        if once:
            break
    generator.close()
    del generator
    time.sleep(0.05)
"""


class Reader:
    """A process that runs the source, and what it printed."""

    def __init__(
        self,
        folder: Path,
        pairs: str,
        *,
        interfaces: tuple[str, ...] = ("mysql",),
        limit: float = 100.0,
        constants: dict[str, Any] | None = None,
        once: bool = False,
        environ: dict[str, str] | None = None,
    ) -> None:
        self._hold = folder / f"hold-{time.monotonic_ns()}"
        argument = json.dumps([pairs, interfaces, limit, constants or {}, str(self._hold), once])
        self._log = folder / f"reader-{time.monotonic_ns()}.log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-W", "error", "-c", DRIVER, argument],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=ROOT,
                env=os.environ | (environ or {}),
            )
        self._lines: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            if line.endswith(b"\n"):  # else the process was killed while it wrote
                self._lines.put(json.loads(line))

    @property
    def log(self) -> str:
        return self._log.read_text()

    def next(self, patience: float = PATIENCE) -> dict[str, Any]:
        """Return the next line."""
        try:
            return self._lines.get(timeout=patience)
        except queue.Empty:
            raise AssertionError(f"nothing came within {patience} s; the log:\n{self.log}") from None

    def until(self, right: Callable[[dict[str, Any]], Any], patience: float = PATIENCE) -> dict[str, Any]:
        """Return the next line that is right."""
        deadline = time.monotonic() + patience
        while not right(line := self.next(max(deadline - time.monotonic(), 0))):
            pass
        return line

    def data(self, patience: float = PATIENCE) -> Any:
        """Return the next data; an error is a failure."""
        line = self.next(patience)
        assert "data" in line, f"{line}\n{self.log}"
        return line["data"]

    def watched(self) -> Any:
        """Return the next data once its changes are watched; before it may be errors."""
        data = self.until(lambda line: "data" in line)["data"]
        eventually(lambda: "watching from" in self.log, "the watch")
        return data

    def until_data(self, data: Any, patience: float = PATIENCE) -> None:
        """Return once this is given; an error before is a failure."""
        while (found := self.data(patience)) != data:
            assert found != data

    @contextlib.contextmanager
    def between_watches(self) -> Iterator[None]:
        """Do what is in the `with` after a watch has ended, and before the next one begins."""
        self._hold.touch()
        self.until(lambda line: "held" in line)
        yield
        self._hold.unlink()

    def error(self, patience: float = PATIENCE) -> str:
        """Return the next error."""
        return str(self.until(lambda line: "error" in line, patience)["error"])

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._thread.join()
        assert self.process.stdout
        self.process.stdout.close()
        told = self.log
        assert HUSH not in told
        assert "Traceback" not in told, told


@pytest.fixture(scope="module")
def server(etcd_program: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdServer]:
    """Give a server that all tests share: each has a prefix of its own, and leaves the server as it was."""
    with EtcdServer(etcd_program, tmp_path_factory.mktemp("etcd")) as started:
        yield started


@pytest.fixture
def start(etcd_program: Path, tmp_path: Path) -> Iterator[Callable[..., EtcdServer]]:
    """Give what starts servers of one's own."""
    with contextlib.ExitStack() as stack:
        yield lambda name="own", **how: stack.enter_context(EtcdServer(etcd_program, tmp_path / name, **how))


@pytest.fixture
def read(tmp_path: Path) -> Iterator[Callable[..., Reader]]:
    """Give what starts readers, from pairs without the namespace."""
    with contextlib.ExitStack() as stack:

        def run(server: EtcdServer | None, pairs: str = "", **how: Any) -> Reader:
            named = [f"etcd.{pair}" for pair in pairs.split() if pair]
            if server:
                named.insert(0, f"etcd.port={server.port}")
            return stack.enter_context(contextlib.closing(Reader(tmp_path, ":".join(named), **how)))

        yield run


# Reading


def test_prefix(server: EtcdServer, read: Callable[..., Reader]) -> None:
    """Keys below the prefix become nested mappings, `app` does not match `apple`; a foreign name is told alone."""
    server.transact({"app/mysql/host": "db1", "app/mysql/tls/ca": "x", "app/typo/deep/er": HUSH, "app/typo": HUSH})
    server.transact({"apple/mysql/host": "no", "app": "no", "app0/mysql/host": "no", "/app/mysql/host": "no"})
    server.put("app/folder/", "")
    expected = {"mysql": {"host": "db1", "tls": {"ca": "x"}}, "typo": None}
    assert read(server, "prefix=app").data() == expected
    assert read(server, "prefix=app/").data() == expected
    assert read(server, "prefix=/app").data() == {"mysql": {"host": "no"}}


def test_no_prefix(server: EtcdServer, read: Callable[..., Reader]) -> None:
    """Without a prefix every key is read, the first and the last possible too; a leading `/` is no part of a name."""
    server.transact({"/bare/host": "db1", "bare/port": "1"})
    server.put(b"\0", "lowest")
    server.put(b"\xff\xff", "highest")
    reader = read(server, interfaces=("bare",))
    data = reader.data()
    assert data["bare"] == {"host": "db1", "port": "1"}
    assert {"\0", "\\xff\\xff"} <= set(data)
    server.put(b"\xff\xff/more", "x")  # the watch covers it, too
    server.put("/bare/host", "db2")
    reader.until(lambda line: line["data"]["bare"]["host"] == "db2")


def test_other_prefix(server: EtcdServer, read: Callable[..., Reader]) -> None:
    """Where nothing is below the prefix, the keys below it with or without a leading `/` are counted, until it has keys."""
    server.transact({"/slashed/main/mysql/host": "db1", "/slashed/main/mysql/port": "1", "bare/main/mysql/host": "db1"})
    slashed, bare = read(server, "prefix=slashed/main"), read(server, "prefix=/bare/main/")
    later = read(server, "prefix=later wait=1")
    note = "nothing below slashed/main/, but 2 keys below /slashed/main/: set etcd.prefix=/slashed/main"
    assert slashed.until(lambda line: "data" in line)["note"] == note
    assert bare.next()["note"] == "nothing below /bare/main/, but 1 key below bare/main/: set etcd.prefix=bare/main"
    assert read(server, "prefix=neither").next()["note"] == ""
    server.put("slashed/main/mysql/host", "db2")
    assert slashed.next()["note"] == ""
    server.delete("slashed/main/mysql/host")
    assert slashed.next()["note"] == note
    server.put("/later/mysql/host", "db1")
    later.until(lambda line: line["note"] == "nothing below later/, but 1 key below /later/: set etcd.prefix=/later")


def test_same_name_twice(server: EtcdServer, read: Callable[..., Reader]) -> None:
    """Where a name is there with and without a leading `/`, the same one wins whatever was written last."""
    server.put("twice/mysql/host", "plain")
    server.put("twice//mysql/host", "slash")
    reader = read(server, "prefix=twice")
    assert reader.data() == {"mysql": {"host": "plain"}}
    server.put("twice//mysql/host", "slash again")
    server.put("twice/mysql/port", "1")
    reader.until_data({"mysql": {"host": "plain", "port": "1"}})


def test_binary_value(server: EtcdServer, read: Callable[..., Reader]) -> None:
    """A value that is no UTF-8 is unusable, and so is nothing else."""
    server.put("binary/mysql/good", "é")
    server.put("binary/mysql/bad", b"\xff\xfe")
    data = read(server, "prefix=binary").data()
    assert data == {"mysql": {"good": "é", "bad": {"unusable": "is no UTF-8 text"}}}


def test_large(server: EtcdServer, read: Callable[..., Reader]) -> None:
    """More than gRPC's own limit of 4 MiB is read."""
    value = HUSH * (256 << 10)
    for number in range(6):
        server.put(f"large/mysql/{number}", value)
    assert read(server, "prefix=large").data() == {"mysql": dict.fromkeys("012345", value)}


def test_pages(server: EtcdServer, read: Callable[..., Reader]) -> None:
    """An answer of several pages is what was there at one revision, whatever is written meanwhile."""
    server.transact({"pages/mysql/first": "0", "pages/mysql/last": "0"})
    writing = threading.Event()
    writing.set()

    def write() -> None:
        number = 0
        while writing.is_set():
            number += 1
            server.transact({"pages/mysql/first": str(number), "pages/mysql/last": str(number)})

    thread = threading.Thread(target=write)
    thread.start()
    try:
        reader = read(server, "prefix=pages", constants={"PAGE": 1}, once=True)
        for _ in range(20):
            data = reader.data()
            assert data["mysql"]["first"] == data["mysql"]["last"]
    finally:
        writing.clear()
        thread.join()


@pytest.mark.parametrize(("constants", "said"), [({"KEY_LIMIT": 2}, "2 keys"), ({"SIZE_LIMIT": 1 << 20}, "1 MiB")])
def test_limits(server: EtcdServer, read: Callable[..., Reader], constants: dict[str, int], said: str) -> None:
    """Too much data is an error that says the limit and what to set, when it is read and when it comes as a change."""
    prefix = f"limits-{said[0]}{said[2]}"
    server.put(f"{prefix}/mysql/a", "x" * (1 << 19))
    reader = read(server, f"prefix={prefix}", constants=constants)
    reader.watched()
    for letter in "ab":  # what is replaced does not count
        server.put(f"{prefix}/mysql/a", letter * (1 << 19))
        reader.until_data({"mysql": {"a": letter * (1 << 19)}})
    server.transact({f"{prefix}/mysql/b": "x" * (1 << 19), f"{prefix}/mysql/c": "x"})
    for _ in range(2):
        assert reader.error() == f"more than {said} of data: set a longer prefix".replace("keys of data", "keys")


def test_foreign_values_do_not_count(server: EtcdServer, read: Callable[..., Reader]) -> None:
    """Values that belong to no interface are not kept: they do not count for the limit."""
    server.put("foreign/other", "x" * (1 << 20))
    server.put("foreign/mysql/a", "1")
    reader = read(server, "prefix=foreign", constants={"SIZE_LIMIT": 1 << 19})
    assert reader.data() == {"mysql": {"a": "1"}, "other": None}


# Watching


def test_change(server: EtcdServer, read: Callable[..., Reader]) -> None:
    """A change, a new key, a deletion and the last deletion arrive by themselves, long before the watch ends."""
    server.put("change/mysql/host", "db1")
    reader = read(server, "prefix=change")
    reader.watched()
    server.put("change/mysql/host", "db2")
    assert reader.data() == {"mysql": {"host": "db2"}}
    server.put("change/mysql/port", "1")
    assert reader.data() == {"mysql": {"host": "db2", "port": "1"}}
    server.delete("change/mysql/host")
    assert reader.data() == {"mysql": {"port": "1"}}
    server.delete("change/mysql/port")
    assert reader.data() == {}


def test_nothing_new(server: EtcdServer, read: Callable[..., Reader]) -> None:
    """When a watch ends without a change, or only a foreign or the same value came, the very same object is given."""
    server.put("same/mysql/host", "db1")
    server.put("same/other", "1")
    reader = read(server, "prefix=same wait=1")
    assert not reader.next()["same"]
    for _ in range(3):
        assert reader.next()["same"]
    quiet = read(server, "prefix=same")
    assert quiet.watched() == {"mysql": {"host": "db1"}, "other": None}
    server.put("same/other", "2")
    assert quiet.next()["same"]
    server.put("same/mysql/host", "db1")
    assert quiet.next()["same"]


def test_transaction(server: EtcdServer, read: Callable[..., Reader]) -> None:
    """What was written in one transaction arrives whole."""
    server.transact({"whole/mysql/a": "0", "whole/mysql/b": "0"})
    reader = read(server, "prefix=whole wait=1")
    reader.watched()
    for number in range(1, 51):
        server.transact({"whole/mysql/a": str(number), "whole/mysql/b": str(number)})
    while (data := reader.data()["mysql"])["a"] != "50":
        assert data["a"] == data["b"]


def test_nothing_lost_between_watches(server: EtcdServer, read: Callable[..., Reader]) -> None:
    """A change between the end of a watch and the start of the next is not lost."""
    server.put("between/mysql/host", "db1")
    server.put("between/mysql/old", "1")
    reader = read(server, "prefix=between wait=1")
    for number in "23":
        with reader.between_watches():
            server.put("between/mysql/host", f"db{number}")
            server.delete("between/mysql/old")
        reader.until_data({"mysql": {"host": f"db{number}"}})
    assert reader.log.count("read revision") == 1


def test_compaction(server: EtcdServer, read: Callable[..., Reader]) -> None:
    """When what happened between two watches is compacted, everything is read anew at once, without an error."""
    server.put("compact/mysql/host", "db1")
    server.put("compact/mysql/old", "1")
    reader = read(server, "prefix=compact wait=1")
    for number in "23":
        reader.until(lambda line: line.get("same"))
        with reader.between_watches():
            server.delete("compact/mysql/old")
            server.put("compact/mysql/host", f"db{number}")
            server.compact(server.put("elsewhere", number))
        reader.until_data({"mysql": {"host": f"db{number}"}})
    assert reader.log.count("compacted; reading anew") == 2


def test_other_data_between_watches(start: Callable[..., EtcdServer], read: Callable[..., Reader]) -> None:
    """A server that lost its data between two watches is not taken for one where nothing happened."""
    server = start()
    for number in range(5):
        server.put(f"mysql/{number}", "x")
    reader = read(server, "wait=1")
    with reader.between_watches():
        server.restart(keep_data=False)
    assert "another or a restored cluster answers now" in reader.error()
    assert reader.next()["data"] == {}


def test_events_as_documented() -> None:
    """An answer's special cases are those of etcd's documentation, whatever else is in the answer."""
    session: Any = object.__new__(etcd_session.Session)
    session._prefix, session._channel = b"p/", object.__new__(etcd_channel.Channel)
    session._channel.endpoint, session._channel._target = "e:1", "prefix 'p/'"
    known = etcd_session.Snapshot(b"p/", frozenset({"mysql"}), 7, 10)
    known.put(b"p/mysql/a", b"1")

    def answer(revision: int = 10, cluster: int = 7, **more: Any) -> Any:
        plain = {"created": False, "canceled": False, "compact_revision": 0, "cancel_reason": "", "events": []}
        return SimpleNamespace(header=SimpleNamespace(cluster_id=cluster, revision=revision), **(plain | more))

    def event(revision: int, value: bytes | None) -> Any:
        kv = SimpleNamespace(key=b"p/mysql/a", value=value or b"", mod_revision=revision)
        return SimpleNamespace(kv=kv, type=int(value is None), DELETE=1)

    with pytest.raises(etcd_channel.WatchLostError, match="compacted"):  # its header says revision 0
        session._apply(known, answer(0, 0, compact_revision=9, canceled=True))
    with pytest.raises(etcd_channel.WatchLostError, match="permission denied for prefix 'p/'"):
        session._apply(known, answer(created=True, canceled=True, cancel_reason="etcdserver: permission denied"))
    with pytest.raises(etcd_channel.WatchLostError, match="the server ended the watch"):
        session._apply(known, answer(canceled=True, cancel_reason=HUSH))
    for wrong in (answer(cluster=8), answer(9, created=True)):
        with pytest.raises(sources.SourceError, match="another or a restored cluster") as caught:
            session._apply(known, wrong)
        assert not isinstance(caught.value, etcd_channel.WatchLostError)
    assert not session._apply(known, answer(20, created=True))
    assert known.revision == 10  # `created` says nothing of what was told
    assert not session._apply(known, answer(events=[event(10, b"old"), event(9, None)]))
    assert known.tree(None) == {"mysql": {"a": "1"}}
    assert session._apply(known, answer(30, events=[event(11, None), event(12, b"2")]))
    assert known.tree(None) == {"mysql": {"a": "2"}}
    assert known.revision == 12  # the header may be ahead of the events
    assert not session._apply(known, answer(15))
    assert known.revision == 15  # a progress notification


def test_random_changes(server: EtcdServer, read: Callable[..., Reader]) -> None:
    """After each of many random transactions what is given is what all keys make when they are nested anew."""
    chance = random.Random(5)
    interfaces = ("mysql", "redis")
    names = [f"{name}/{key}" for name in (*interfaces, "other") for key in ("a", "b", "b/c", "b/")] + [*interfaces]
    reader = read(server, "prefix=random", interfaces=interfaces)
    reader.data()
    held: dict[str, str] = {}
    for number in range(60):
        keys = chance.sample(names, chance.randint(1, 5))
        gone = chance.randint(0, len(keys))
        values = {key: chance.choice(("", "1", "2", "{}", '{"c": 1, "d": {"e": 1}}')) for key in keys[gone:]}
        held = {key: value for key, value in held.items() if key not in keys[:gone]} | values | {"mysql/number": str(number)}
        server.transact({f"random/{key}": held[key] for key in (*values, "mysql/number")}, [f"random/{key}" for key in keys[:gone]])
        expected = sources.build_tree((key, held[key].encode()) for key in sorted(held))
        expected |= {"other": None} if "other" in expected else {}
        reader.until_data(json.loads(json.dumps(expected, default=lambda unusable: {"unusable": unusable.reason})))


def test_waiting_costs_nothing(server: EtcdServer, read: Callable[..., Reader]) -> None:
    """While nothing changes the source's main thread is never woken."""
    server.put("quiet/mysql/host", "db1")

    def count_switches(wait: int) -> int:
        """Return how often a source was woken from the end of one watch to that of the next."""
        reader = read(server, f"prefix=quiet wait={wait}")
        status = Path(f"/proc/{reader.process.pid}/status")
        reader.watched()
        counts = []
        for _ in range(2):
            assert reader.next()["same"]
            counts.append(int(status.read_text().partition("\nvoluntary_ctxt_switches:")[2].split()[0]))
        return counts[1] - counts[0]

    assert abs(count_switches(3) - count_switches(1)) < 10  # however long it waits


def test_broken_loop_ends_the_process() -> None:
    """An event loop that an interruption has left as if it ran is never used again: the process ends, and is replaced."""
    context: Any = SimpleNamespace(options=config.load("etcd.host=127.0.0.1", None, {})[0].sources[0].options)

    async def watch() -> None:
        with pytest.raises(SystemExit):
            next(iter(etcd.SOURCE.watch(context)))

    etcd_channel.loop().run_until_complete(watch())
    etcd_channel.loop().close()
    etcd_channel.loop.cache_clear()


WAITS = """
import json
from types import SimpleNamespace
from disco.sources import etcd_session
waits = []
for number in range(100):
    options = {"prefix": "", "timeout": 10.0, "wait": 55.0, "ca_cert": None}
    session = etcd_session.Session(SimpleNamespace(options=options), "127.0.0.1:1")
    waits.append(session._wait)
    session.close()
print(json.dumps(waits))
"""


def test_watches_of_a_fleet_are_spread() -> None:
    """The first watch of a source lasts any part of `wait`, but not less than an answer may take."""
    waits = json.loads(subprocess.check_output([sys.executable, "-W", "error", "-c", WAITS], cwd=ROOT, timeout=PATIENCE))
    assert 10 <= min(waits) < 20
    assert 45 < max(waits) <= 55


# Logging in


def secure(server: EtcdServer) -> None:
    server.transact({"app/mysql/host": "db1", "other/mysql/host": HUSH})
    server.add_role("app", "app/")
    server.add_user("ann", f"{HUSH}-ann", "app")
    server.enable_auth()


def test_login(start: Callable[..., EtcdServer], read: Callable[..., Reader], tmp_path: Path) -> None:
    """User and password work without TLS; a wrong one, none, and missing rights each say so, and never the password."""
    server = start()
    secure(server)
    login = f"user=ann password={HUSH}-ann"
    at = server.address
    assert read(server, f"prefix=app {login}").data() == {"mysql": {"host": "db1"}}
    assert read(server, "prefix=app").error() == f"{at}: the server wants a user and a password"
    assert read(server, f"prefix=other {login}").error() == f"{at}: permission denied for prefix 'other/'"
    assert read(server, login).error() == f"{at}: permission denied for all keys: set a prefix"
    secret = tmp_path / "password"
    reader = read(server, f"prefix=app user=ann password_file={secret}")
    assert reader.error() == f"password_file: {secret}: No such file or directory"
    secret.write_text(f"{HUSH}-wrong\n")
    reader.until(lambda line: line["error"] == f"{at}: wrong user or password")
    secret.write_text(f"{HUSH}-ann\n")
    assert reader.until(lambda line: "data" in line)["data"] == {"mysql": {"host": "db1"}}


def test_other_prefix_that_may_not_be_read(start: Callable[..., EtcdServer], read: Callable[..., Reader]) -> None:
    """Without the right to read below the other prefix nothing is said of it, and the source goes on."""
    server = start()
    secure(server)
    server.add_role("empty", "/app/")
    server.request("auth/user/grant", {"user": "ann", "role": "empty"})
    server.revoke_role("ann", "app")
    reader = read(server, f"prefix=/app user=ann password={HUSH}-ann")
    line = reader.next()
    assert (line.get("data"), line.get("note")) == ({}, "")
    server.put("/app/mysql/host", "db2")
    assert reader.data() == {"mysql": {"host": "db2"}}


def test_login_not_needed(server: EtcdServer, read: Callable[..., Reader]) -> None:
    """A user for a server without authentication does no harm, as with etcd's own client."""
    server.put("open/mysql/host", "db1")
    assert read(server, f"prefix=open user=ann password={HUSH}").data() == {"mysql": {"host": "db1"}}


def test_login_expires(start: Callable[..., EtcdServer], read: Callable[..., Reader]) -> None:
    """When the login has expired a new one is made at once, without an error, and no change is lost."""
    server = start(arguments=["--auth-token-ttl", "1"])
    secure(server)
    reader = read(server, f"prefix=app wait=2 user=ann password={HUSH}-ann")
    reader.watched()
    eventually(lambda: "logging in again" in reader.log, "the second login")
    server.put("app/mysql/host", "db2")
    reader.until_data({"mysql": {"host": "db2"}})
    assert reader.log.count("logged in") >= 2


def test_rights_taken_away(start: Callable[..., EtcdServer], read: Callable[..., Reader]) -> None:
    """Rights that are taken away while it watches are an error, not an empty answer; given back, it goes on."""
    server = start()
    secure(server)
    reader = read(server, f"prefix=app wait=1 user=ann password={HUSH}-ann")
    reader.watched()
    server.revoke_role("ann", "app")
    line = reader.until(lambda line: not line.get("same"))
    assert line.get("error") == f"{server.address}: permission denied for prefix 'app/'"
    server.request("auth/user/grant", {"user": "ann", "role": "app"})
    assert reader.until(lambda line: "data" in line)["data"] == {"mysql": {"host": "db1"}}


# TLS


def test_tls(start: Callable[..., EtcdServer], read: Callable[..., Reader], tmp_path: Path) -> None:
    """TLS with a CA and a client's certificate works, with a login too; whatever is wrong with it is told."""
    good, other = make_certificates(tmp_path / "good"), make_certificates(tmp_path / "other", "DNS:elsewhere.example")
    server = start(certificates=good, client_certificates=True)
    secure(server)
    client = f"cert={good}/client.pem key={good}/client.key"
    login = f"user=ann password={HUSH}-ann"
    reader = read(server, f"prefix=app ca_cert={good}/ca.pem {client} {login}")
    assert reader.watched() == {"mysql": {"host": "db1"}}
    server.put("app/mysql/host", "db2")
    assert reader.data() == {"mysql": {"host": "db2"}}
    named = read(server, f"host=localhost prefix=app ca_cert={good}/ca.pem {client} {login}")
    assert named.data() == {"mysql": {"host": "db2"}}
    start_of = f"cannot connect to {server.address}: "
    wrongs = {
        f"ca_cert={good}/ca.pem": "TLS: the server does not accept the client certificate, or asks for one (cert, key)",
        f"ca_cert={good}/ca.pem cert={other}/client.pem key={other}/client.key": "TLS: the server does not accept the client",
        f"ca_cert={other}/ca.pem {client}": "TLS: certificate is signed by none that is trusted here (ca_cert)",
        f"ca_cert={good}/ca.pem cert={good}/client.pem key={other}/client.key": "TLS: key does not belong to cert",
        f"ca_cert={good}/ca.key {client}": "TLS: ca_cert holds no certificate",
        f"ca_cert={good}/ca.pem cert={good}/client.key key={good}/client.key": "TLS: cert or key is no PEM file",
        "": "the connection was closed (if the server wants TLS, set ca_cert)",
    }
    readers = {read(server, f"prefix=app {pairs}"): reason for pairs, reason in wrongs.items()}
    for wrong, reason in readers.items():
        assert wrong.error().startswith(start_of + reason)


def test_tls_files(read: Callable[..., Reader], tmp_path: Path) -> None:
    """A file for TLS that is missing, no regular file, too large or encrypted is told at once, with its option."""
    make_certificates(tmp_path)
    encrypt = ["openssl", "pkcs8", "-topk8", "-in", "client.key", "-out", "locked.key", "-passout", "pass:x"]
    subprocess.run(encrypt, cwd=tmp_path, check=True, capture_output=True, timeout=60)
    client = f"ca_cert={tmp_path}/ca.pem cert={tmp_path}/client.pem key={tmp_path}/locked.key"
    reason = "is encrypted, and nobody can be asked for its password: keep it without one"
    assert read(None, client).error() == f"key: {tmp_path}/locked.key: {reason}"
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "large").write_bytes(b"\n" * ((1 << 20) + 1))
    for name, reason in (
        ("nope", "No such file or directory"),
        ("fifo", "not a regular file"),
        ("large", "larger than 1024 KiB"),
    ):
        path = tmp_path / name
        assert read(None, f"ca_cert={path}").error() == f"ca_cert: {path}: {reason}"


@contextlib.contextmanager
def serving(answer: Callable[[socket.socket, int], None]) -> Iterator[int]:
    """Answer each connection, by its number, in a thread of its own, which ends with the test; give the port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threads = []
        accepted = []

        def serve(connection: socket.socket, number: int) -> None:
            with contextlib.suppress(OSError), connection:
                answer(connection, number)

        def accept() -> None:
            with contextlib.suppress(OSError):  # the listener is shut down
                while True:
                    accepted.append(listener.accept()[0])
                    threads.append(threading.Thread(target=serve, args=(accepted[-1], len(accepted))))
                    threads[-1].start()

        threads.append(threading.Thread(target=accept))
        threads[-1].start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            for connection in accepted:
                with contextlib.suppress(OSError):  # closed already
                    connection.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=str)
def test_tls_refused_certificate(read: Callable[..., Reader], tmp_path: Path, version: ssl.TLSVersion) -> None:
    """A client's certificate of an authority that the server does not trust, and none at all, are told as refused."""
    good, other = make_certificates(tmp_path / "good"), make_certificates(tmp_path / "other")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=f"{good}/ca.pem")
    tls.load_cert_chain(f"{good}/server.pem", f"{good}/server.key")
    tls.verify_mode = ssl.CERT_REQUIRED
    tls.minimum_version = tls.maximum_version = version
    tls.set_alpn_protocols(["h2"])

    def answer(connection: socket.socket, _number: int) -> None:
        with tls.wrap_socket(connection, server_side=True):
            pass

    with serving(answer) as port:
        # With TLS 1.2 OpenSSL's word for a missing one has other meanings, too.
        none = [""] if version is ssl.TLSVersion.TLSv1_3 else []
        for pairs in (f"cert={other}/client.pem key={other}/client.key", *none):
            reason = read(None, f"port={port} ca_cert={good}/ca.pem {pairs}").error()
            assert reason.endswith("TLS: the server does not accept the client certificate, or asks for one (cert, key)")


def drip(connection: socket.socket, start: str) -> None:
    """Send bytes of hexadecimal form, then for ever a zero now and then."""
    connection.sendall(bytes.fromhex(start))
    connection.settimeout(0.2)
    while True:
        with contextlib.suppress(TimeoutError):
            while connection.recv(1 << 16):
                pass
        connection.sendall(b"\0")


def test_dripping(read: Callable[..., Reader], tmp_path: Path) -> None:
    """Servers whose answer, or whose handshake, drips in byte by byte are given up in time, and do not add up."""
    certificates = make_certificates(tmp_path)

    def answer(connection: socket.socket, number: int) -> None:
        if number % 2:  # gRPC's own connection, after which disco looks into TLS
            return
        drip(connection, "16 0303 4000 02 003ffc 0303")  # a handshake's longest record (RFC 8446, 5.1 and 4.1.3)

    with serving(answer) as port:
        endpoints = ",".join([f"127.0.0.1:{port}"] * 6)
        reader = read(None, f"endpoints={endpoints} timeout=3 ca_cert={certificates}/ca.pem", limit=9)
        reasons = reader.next()["error"].split("; ")  # not the step's limit, which is for three such
        assert reasons == [f"cannot connect to 127.0.0.1:{port}: the connection was closed"] * 6
    with serving(lambda connection, _: drip(connection, "000000 04 00 00000000 003fff 00 00 00000001")) as port:
        reader = read(None, f"port={port} timeout=1")
        assert re.search("no answer within 1 s|it no longer answers", reader.error())


def test_tls_wrong_name(start: Callable[..., EtcdServer], read: Callable[..., Reader], tmp_path: Path) -> None:
    """A certificate for another name is refused, and TLS with a server that has none ends with a reason."""
    certificates = make_certificates(tmp_path / "certificates", "DNS:elsewhere.example")
    server = start("tls", certificates=certificates)
    reason = f"cannot connect to {server.address}: TLS: certificate is for another name"
    assert read(server, f"ca_cert={certificates}/ca.pem").error() == reason
    plain = start("plain")
    reason = f"cannot connect to {plain.address}: TLS: the connection was closed (if the server does not want TLS, set no ca_cert)"
    assert read(plain, f"ca_cert={certificates}/ca.pem").error() == reason


# Failures


def test_endpoints(server: EtcdServer, read: Callable[..., Reader]) -> None:
    """Endpoints are tried in turn, whether one refuses or says nothing; host is not used then."""
    server.put("turn/mysql/host", "db1")
    (closed,) = free_ports(1)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # the kernel accepts, and nobody answers
        dead = f"127.0.0.1:{closed},127.0.0.1:{silent.getsockname()[1]}"
        reader = read(None, f"host=nowhere.invalid timeout=3 prefix=turn endpoints={dead},{server.address}")
        assert reader.data() == {"mysql": {"host": "db1"}}
        assert re.search(r"no answer within 1(\.[0-9])? s", reader.log)  # half of what was left for two, not all
        refused, unanswered = read(None, f"timeout=2 endpoints={dead}").error().split("; ")
        assert refused == f"cannot connect to 127.0.0.1:{closed}: connection refused"
        assert unanswered.startswith(f"127.0.0.1:{silent.getsockname()[1]}: no answer within ")


def test_unreachable(read: Callable[..., Reader]) -> None:
    """An unknown host is told as such."""
    assert read(None, "host=nowhere.invalid").error() in {
        "cannot connect to nowhere.invalid:2379: unknown host name",
        "cannot connect to nowhere.invalid:2379: the host name cannot be resolved",
    }


def test_frozen(start: Callable[..., EtcdServer], read: Callable[..., Reader]) -> None:
    """A server that is frozen is noticed while the watch still has long to go, and read again when it goes on."""
    server = start()
    server.put("mysql/host", "db1")
    long = read(server, "timeout=1", constants={"KEEPALIVE": 5.5})  # least time that etcd allows is 5
    long.watched()
    short = read(server, "timeout=1 wait=1")
    for _ in range(3):  # so that nothing is under way on the long one's connection any more: only a ping can tell
        short.until(lambda line: line["same"])
    server.freeze()
    for reader in (short, long):
        assert reader.error().split(": ")[1] in {"it no longer answers", "no answer within 1 s"}
        assert reader.error() == f"{server.address}: no answer within 1 s"
    server.thaw()
    for reader in (short, long):
        assert reader.until(lambda line: "data" in line)["data"] == {"mysql": {"host": "db1"}}


def test_flooded(read: Callable[..., Reader]) -> None:
    """The connection to a server that never stops to send is closed in time, and the next try makes another one."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(PATIENCE)
        reader = read(None, f"port={listener.getsockname()[1]} timeout=1")
        for _ in range(3):
            with listener.accept()[0] as client:
                flood(client)
            assert "no answer within 1 s" in reader.error()


@contextlib.contextmanager
def greeter(greeting: bytes, *, closes: bool) -> Iterator[tuple[int, list[socket.socket]]]:
    """Serve a greeting on each connection, and close it or keep it open and silent; give the port and the connections."""
    accepted: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):  # the listener is shut down
                while True:
                    accepted.append(listener.accept()[0])
                    with contextlib.suppress(ConnectionError):
                        accepted[-1].sendall(greeting)
                    if closes:
                        accepted[-1].close()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1], accepted
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            for connection in accepted:
                connection.close()


def test_refused_by_goaway(read: Callable[..., Reader]) -> None:
    """A server that takes connections and sends each away again costs no memory."""
    goaway = bytes.fromhex("000000 04 00 00000000 000008 07 00 00000000 00000000 00000000")  # RFC 9113, 6.5 and 6.8
    with greeter(goaway, closes=True) as (port, accepted):
        reader = read(None, f"port={port} timeout=3")
        for _ in range(3):
            reader.error()
        status = Path(f"/proc/{reader.process.pid}/status").read_text()
        assert int(status.partition("VmHWM:")[2].split()[0]) < 150 << 10
        assert accepted


WITHOUT_PROC = """
import os
plain = os.listdir
def listdir(path="."):
    if str(path).startswith("/proc"):
        raise FileNotFoundError(path)
    return plain(path)
os.listdir = listdir
"""


def count_sockets(pid: int) -> int:
    """Return how many sockets a process has open."""
    found = 0
    for name in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            found += "socket:" in str(name.readlink())
    return found


@pytest.mark.parametrize(("closes", "tries"), [(True, 40), (False, 5)], ids=["closed", "silent"])
def test_one_connection_for_each_try(read: Callable[..., Reader], tmp_path: Path, closes: bool, tries: int) -> None:
    """Each try makes one connection, and leaves none, nor anything that only a collection would take away, also without /proc."""
    (tmp_path / "sitecustomize.py").write_text(WITHOUT_PROC)
    with greeter(b"", closes=closes) as (port, accepted):
        reader = read(None, f"port={port} timeout=1", environ={"PYTHONPATH": str(tmp_path)})
        for _ in range(tries):
            assert reader.next()["left"] == 0
        assert tries <= len(accepted) <= tries + 1
        assert count_sockets(reader.process.pid) <= 5  # the loop's own two, and what the next try has made by now


def flood(client: socket.socket) -> None:
    """Speak HTTP/2 so far that gRPC believes it, then send pings (RFC 9113, 6.7) until it hangs up."""
    client.settimeout(PATIENCE)
    client.sendall(bytes.fromhex("000000 04 00 00000000 000000 04 01 00000000"))
    pings = bytes.fromhex("000008 06 00 00000000 0123456789abcdef") * 500
    deadline = time.monotonic() + PATIENCE
    with contextlib.suppress(ConnectionError):
        while not select.select([client], [], [], 0)[0] or client.recv(1 << 16):
            assert time.monotonic() < deadline, "it never hangs up"
            if select.select([], [client], [], 0.1)[1]:
                client.sendall(pings)


def test_interrupted(start: Callable[..., EtcdServer], read: Callable[..., Reader]) -> None:
    """The signal that ends a step which takes too long is heard at once, in a watch and in a request."""
    server = start()
    server.put("mysql/host", "db1")
    reader = read(server, "timeout=25", limit=0.5)
    reader.watched()
    server.freeze()
    for _ in range(3):  # the first in the watch, the others in the request that a new session begins with
        assert reader.until(lambda line: "data" not in line).get("overrun", 99) < 10


def test_restart(start: Callable[..., EtcdServer], read: Callable[..., Reader]) -> None:
    """A server that dies is an error, not an empty answer; back with its data all is read, back without, nothing."""
    server = start()
    server.put("mysql/host", "db1")
    reader = read(server)
    reader.watched()
    server.kill()
    assert reader.error() in {f"{server.address}: the connection was closed", f"{server.address}: UNAVAILABLE"}
    assert reader.error() == f"cannot connect to {server.address}: connection refused"
    server.start()
    server.put("mysql/host", "db2")
    reader.until(lambda line: line.get("data") == {"mysql": {"host": "db2"}})
    server.restart(keep_data=False)
    assert reader.until(lambda line: "data" in line and not line["same"])["data"] == {}
    server.put("mysql/host", "db3")
    reader.until(lambda line: line.get("data") == {"mysql": {"host": "db3"}})


def test_cluster(etcd_program: Path, tmp_path: Path, read: Callable[..., Reader]) -> None:
    """When the member that is watched dies another one is watched; without a majority it is an error that says so."""
    with EtcdCluster(etcd_program, tmp_path / "cluster") as cluster:
        one, two, three = cluster.members
        one.put("mysql/host", "db1")
        reader = read(None, f"timeout=3 wait=2 endpoints={','.join(member.address for member in cluster.members)}")
        reader.watched()
        one.kill()
        reader.error()
        two.patience = 0.5  # what is asked during an election may hang
        eventually(lambda: _put(two, "db2"), "a new leader")
        reader.until(lambda line: line.get("data") == {"mysql": {"host": "db2"}})
        three.kill()
        reader.until(lambda line: f"{two.address}: etcd has no leader" in line.get("error", ""))
        three.start()
        reader.until(lambda line: line.get("data") == {"mysql": {"host": "db2"}})


def _put(server: EtcdServer, value: str) -> int:
    try:
        return server.put("mysql/host", value)
    except Exception:  # noqa: BLE001 -- an election is under way
        return 0


# A server that does one thing wrong, with a watch or with an answer, and all else right: gRPC's own pings, too.
FAKE = r"""
import sys, threading
from concurrent.futures import ThreadPoolExecutor
from disco.sources.etcd_channel import rpc
import grpc

how = sys.argv[1]

class KV(rpc.KVServicer):
    def Range(self, request, context):
        answer = rpc.RangeResponse(header=rpc.ResponseHeader(cluster_id=1, revision=1))
        if how == "no end":
            answer.header.revision = 2**63 - 1
        if request.count_only:
            return answer
        if how in ("more of nothing", "more of the same"):
            answer.more = True
        if how in ("more of the same", "other keys"):
            answer.kvs.add().key = b"app/mysql/host" if how == "more of the same" else b"other/mysql/host"
        return answer

class Auth(rpc.AuthServicer):
    def Authenticate(self, request, context):
        return rpc.AuthenticateResponse(token={"token": "a\r\nb", "long token": "a" * (1 << 20)}.get(how, ""))

class Watch(rpc.WatchServicer):
    def Watch(self, requests, context):
        header = rpc.ResponseHeader(cluster_id=1, revision=1)
        if how == "other change":
            answer = rpc.WatchResponse(header=header)
            answer.events.add().kv.mod_revision = 2
            yield answer
        if how == "refuse":
            reason = "etcdserver: permission denied"
            yield rpc.WatchResponse(created=True, canceled=True, cancel_reason=reason)
        if how == "cancel":
            yield rpc.WatchResponse(header=header, created=True)
            yield rpc.WatchResponse(header=header)
            yield rpc.WatchResponse(header=header, canceled=True)
        if how == "change and cancel":
            revision = next(requests).create_request.start_revision
            answer = rpc.WatchResponse(header=rpc.ResponseHeader(cluster_id=1, revision=revision), created=True)
            kv = answer.events.add().kv
            kv.key, kv.value, kv.mod_revision = b"app/mysql/host", b"db1", revision
            yield answer
            yield rpc.WatchResponse(header=header, canceled=True)
        threading.Event().wait()

server = grpc.server(ThreadPoolExecutor(20))
if how in ("no message", "compressed"):
    answer = b"\xff" if how == "no message" else bytes(60 << 20)
    def say(request, context):
        context.set_compression(grpc.Compression.Gzip)
        return answer
    handlers = {"Range": grpc.unary_unary_rpc_method_handler(say)}
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("etcdserverpb.KV", handlers)])
if how == "no watch":
    def watch(requests, context):
        next(requests)
        yield b"\xff"
        threading.Event().wait()
    handlers = {"Watch": grpc.stream_stream_rpc_method_handler(watch)}
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("etcdserverpb.Watch", handlers)])
rpc.add_AuthServicer_to_server(Auth(), server)
rpc.add_KVServicer_to_server(KV(), server)
rpc.add_WatchServicer_to_server(Watch(), server)
print(server.add_insecure_port("127.0.0.1:0"), flush=True)
server.start()
server.wait_for_termination()
"""


def test_proxy(server: EtcdServer, etcd_program: Path, tmp_path: Path, read: Callable[..., Reader]) -> None:
    """Through etcd's own proxy, which ends a watch when its requests end, a change arrives all the same."""
    server.put("proxy/mysql/host", "db1")
    (port,) = free_ports(1)
    argv = [str(etcd_program), "grpc-proxy", "start", f"--endpoints={server.address}", f"--listen-addr=127.0.0.1:{port}"]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=tmp_path) as process:
        try:
            reader = read(None, f"port={port} prefix=proxy")
            reader.watched()
            server.put("proxy/mysql/host", "db2")
            assert reader.data() == {"mysql": {"host": "db2"}}
        finally:
            process.kill()


@contextlib.contextmanager
def fake(how: str) -> Iterator[str]:
    """Give the address of such a server."""
    argv = [sys.executable, "-c", FAKE, how]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=ROOT) as process:
        try:
            assert process.stdout
            yield f"127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("refuse", "permission denied for prefix 'app/'"),
        ("cancel", "the server ended the watch"),
        ("ignore", "no answer within 1 s"),
    ],
)
def test_watch_not_to_be_had(read: Callable[..., Reader], how: str, said: str) -> None:
    """A watch that is refused or ended before it was of use, or never answered, is an error in time and not a circle."""
    with fake(how) as at:
        reader = read(None, f"endpoints={at} timeout=1 prefix=app")
        for _ in range(2):
            assert reader.data() == {}
            assert reader.next().get("error") == f"{at}: {said}"


@pytest.mark.parametrize(
    "how",
    [
        "more of nothing",
        "more of the same",
        "other keys",
        "other change",
        "no end",
        "no message",
        "compressed",
        "no watch",
        "token",
        "long token",
    ],
)
def test_wrong_shape(read: Callable[..., Reader], how: str) -> None:
    """An answer that no etcd gives is told as such, whatever is wrong with it, and costs no memory."""
    with fake(how) as at:
        reader = read(None, f"endpoints={at} prefix=app" + (f" user=ann password={HUSH}" if "token" in how else ""))
        for _ in range(2):
            assert reader.error() == f"{at}: this is no etcd of version 3"
        status = Path(f"/proc/{reader.process.pid}/status").read_text()
        assert int(status.partition("VmHWM:")[2].split()[0]) < 150 << 10


def test_no_http2(read: Callable[..., Reader]) -> None:
    """A server of another kind is told as such."""
    with serving(lambda connection, _: connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as port:
        reader = read(None, f"port={port} timeout=2")
        assert reader.error() == f"cannot connect to 127.0.0.1:{port}: this is no etcd of version 3"


def test_pace(read: Callable[..., Reader]) -> None:
    """A server that ends each watch after a change is read anew at a bounded pace, without an error."""
    with fake("change and cancel") as at:
        reader = read(None, f"endpoints={at} prefix=app")
        assert reader.data() == {}
        began = time.monotonic()
        for _ in range(2):
            assert reader.data() == {"mysql": {"host": "db1"}}
            assert reader.data() == {}
        assert time.monotonic() - began > 2.5  # of the four requests each had to wait for a second, but for the first


# Around it


def test_environment(server: EtcdServer, read: Callable[..., Reader]) -> None:
    """What the client library needs in the environment is there for its import only."""
    server.put("variable/mysql/host", "db1")
    assert read(server, "prefix=variable").next()["variable"] is None
    environ = {"PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": "upb"}
    line = read(server, "prefix=variable", environ=environ).next()
    assert (line["data"], line["variable"]) == ({"mysql": {"host": "db1"}}, "upb")


def test_imported_late() -> None:
    """The module can be imported, and its options read, without the client library."""
    script = "import sys, disco.sources.etcd; sys.exit(bool({'grpc', 'etcd3', 'google'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=False).returncode == 0


@pytest.mark.parametrize(
    ("pairs", "problem"),
    [
        ("etcd.host=10.0.0.1:2379", "etcd.host: expected a name or an address alone"),
        ("etcd.host=http://10.0.0.1", "etcd.host: expected a name or an address alone"),
        ("etcd.endpoints=a:1,b", "expected a list of host:port joined by ','"),
        ("etcd.endpoints=http://a:1", "expected a list of host:port joined by ','"),
        ("etcd.endpoints=a:70000", "expected a port from 1 to 65535"),
        ("etcd.user=ann", "etcd.password: is not set, nor password_file, and user is"),
        (f"etcd.password={HUSH}", "etcd.user: is not set, "),
        ("etcd.password_file=/x", "etcd.user: is not set, "),
        ("etcd.ca_cert=/c:etcd.cert=/x", "etcd.key: is not set, "),
        ("etcd.ca_cert=/c:etcd.key=/x", "etcd.cert: is not set, "),
        ("etcd.cert=/x:etcd.key=/x", "etcd.ca_cert: is not set, "),
        ("etcd.wait=0.5", "expected at least 1"),
    ],
)
def test_wrong_options(pairs: str, problem: str) -> None:
    """What is wrong with the options is told before anything is started."""
    _settings, problems = config.load(pairs, None, {})
    assert len(problems) == 1
    assert problem in str(problems[0])
    assert HUSH not in str(problems[0])


def test_right_options() -> None:
    """The options may be all left out, a prefix may be empty, and addresses may be of IPv6."""
    for pairs in (
        "etcd.prefix=",
        "etcd.host=::1",
        "etcd.endpoints=[::1]:2379,db.example:1",
        "etcd.user=a:etcd.password_file=/x",
    ):
        assert config.load(pairs, None, {})[1] == []
