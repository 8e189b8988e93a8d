"""The etcd source against a real server: what it reads and follows, and that it loses no change."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from lab.servers import ROOT

from disco import sources
from disco.site import config
from disco.sources import etcd, etcd_channel, etcd_session
from tests.sources.etcd.reader import HUSH, PATIENCE, Reader

if TYPE_CHECKING:
    from collections.abc import Callable

    from lab.etcd_server import EtcdServer


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
