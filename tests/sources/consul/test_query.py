"""The Consul source's queries: indexes, consistency, pace, answers of the wrong shape."""

from __future__ import annotations

import base64
import random
import time
from typing import TYPE_CHECKING, Any

import pytest

from disco.sources import InvalidValue
from tests.sources.consul.fake import Fake, Reply, entry, web
from tests.sources.consul.follower import PATIENCE, SECRET, Follow

if TYPE_CHECKING:
    from lab.consul_server import ConsulServer


def test_a_lower_index_starts_over(follow: Follow) -> None:
    """After an index that went backwards the next request has none, and what it answers is what counts."""
    with Fake(Reply(index=50), Reply(web("81"), index=7), Reply(web("82"), index=8), Reply(web("83"), index=9)) as fake:
        follower = follow(fake.pairs)
        found = [follower.step()["web"]["port"] for _ in range(3)]
    assert found == ["80", "82", "83"]
    assert [request.query.get("index") for request in fake.requests] == [None, "50", None, "8"]


def test_the_index_is_the_headers_and_never_below_one(follow: Follow) -> None:
    """The next index is the header's, not an item's, and 1 where that is 0 or less."""
    with Fake(Reply(index=0), Reply(index=-5), Reply(index=12), Reply(index=12)) as fake:
        follower = follow(fake.pairs)
        for _ in range(4):
            follower.step()
    assert [request.query.get("index") for request in fake.requests] == [None, "1", "1", "12"]


def test_after_an_error_there_is_no_index(follow: Follow) -> None:
    """A generator that is called anew after an error asks without an index."""
    with Fake(Reply(), Reply(status=500), Reply()) as fake:
        follower = follow(fake.pairs)
        follower.step()
        assert str(follower.fail()) == "answered 500 internal server error"
        follow(fake.pairs).step()
    assert [request.query.get("index") for request in fake.requests] == [None, "10", None]


def test_an_answer_older_than_one_before_an_error_is_asked_of_the_leader(follow: Follow) -> None:
    """A server that has restarted and answers with less than was known is asked with `consistent`; what that gives counts."""
    memory: dict[str, Any] = {}
    before = Reply(web("162"), index=162), Reply(status=500)
    restarting = Reply(web("122"), index=122), Reply(web("162"), index=162), Reply(web("163"), index=163)
    restored = Reply(status=500), Reply(web("9"), index=9), Reply(web("8"), index=8), Reply(web("10"), index=10)
    with Fake(*before, *restarting, *restored) as fake:
        follower = follow(fake.pairs, memory=memory)
        found = [follower.step()]
        follower.fail()
        follower = follow(fake.pairs, memory=memory)
        found += [follower.step(), follower.step()]
        follower.fail()
        follower = follow(fake.pairs, memory=memory)
        found += [follower.step(), follower.step()]
    assert [data["web"]["port"] for data in found] == ["162", "162", "163", "8", "10"]
    asked = [(request.query.get("index"), "consistent" in request.query) for request in fake.requests]
    first, again = (None, False), (None, True)
    assert asked == [first, ("162", False), first, again, ("162", False), ("163", False), first, again, ("8", False)]


def test_an_older_answer_without_the_leaders_word_is_trouble(follow: Follow) -> None:
    """Where the consistent read fails the older answer is not published, and the next call asks again."""
    memory: dict[str, Any] = {}
    old = Reply(web("old"), index=122)
    with Fake(Reply(index=162), old, Reply(b"No cluster leader", 500), old, Reply(web("new"), index=162)) as fake:
        follow(fake.pairs, memory=memory).step()
        assert str(follow(fake.pairs, memory=memory).fail()).startswith("Consul has no cluster leader")
        assert follow(fake.pairs, memory=memory).step() == {"web": {"port": "new"}}


@pytest.mark.parametrize("changed", ["consul.token=other", "consul.dc=other", "consul.host=localhost"])
def test_another_store_starts_without_memory(follow: Follow, changed: str) -> None:
    """With another address, datacenter or token the highest index counts no more, also when the former one comes back."""
    memory: dict[str, Any] = {}
    with Fake(Reply(index=162), Reply(index=7), Reply(index=8)) as fake:
        common = f"{fake.pairs}:consul.token=mine"
        for pairs in (common, f"{common}:{changed}", common):
            follow(pairs, memory=memory).step()
    assert not any("consistent" in request.query for request in fake.requests)
    assert len(fake.requests) == 3


def test_newer_servers_say_that_there_are_too_many_connections(follow: Follow) -> None:
    """Newer servers answer a connection too many, and what they mean is told."""
    body = b"Your IP is issuing too many concurrent connections, please rate limit your calls\n"
    with Fake(Reply(body, 429, index=None)) as fake:
        assert "http_max_conns_per_client" in str(follow(fake.pairs).fail())


GARBAGE: dict[str, Any] = {
    "no JSON": b"<html>hunter2</html>",
    "cut": b'[{"Key": "web/port", "Val',
    "nothing": b"",
    "no UTF-8": b'["\xff"]',
    "too deep": b"[" * 100_000,
    "null": None,
    "an object": {},
    "false": False,
    "a text": "hunter2",
    "numbers": [1, 2],
    "lists": [[]],
    "no key": [{"Value": None}],
    "no value": [{"Key": "web/port"}],
    "a key that is no text": [{"Key": 5, "Value": None}],
    "a value that is no text": [{"Key": "web/port", "Value": {}}],
}


@pytest.mark.parametrize("name", GARBAGE)
@pytest.mark.parametrize("part", ["", "web"])
def test_garbage_is_an_error_and_never_empty(follow: Follow, name: str, part: str) -> None:
    """What is no data of Consul's is an error, never an empty store, and nothing of it is shown."""
    with Fake(Reply(GARBAGE[name])) as fake:
        error = follow(f"{fake.pairs}:consul.services=web", part=part).fail()
    assert str(error) == f"127.0.0.1:{fake.server_port} is not Consul: its answer is not in Consul's format"


INSTANCE: dict[str, Any] = {
    "Node": {"Node": "n", "Address": "a"},
    "Service": {"ID": "i", "Address": "b", "Port": 1, "Tags": None, "Meta": None, "Weights": None},
}


@pytest.mark.parametrize(
    "wrong",
    [
        *[{"Port": "1"}, {"Port": True}, {"Tags": "x"}, {"Meta": ["x"]}, {"Address": 5}, {"ID": None}, {"ID": ["i"]}],
        *[{"Weights": 5}, {"Weights": ["x"]}, {"Weights": {"Passing": "1"}}, {"Weights": {"Passing": None}}],
    ],
)
def test_instances_of_the_wrong_shape_are_an_error(follow: Follow, wrong: dict[str, Any]) -> None:
    """An instance with a field of the wrong type is an error, not data."""
    broken = {**INSTANCE, "Service": {**INSTANCE["Service"], **wrong}}
    with Fake(Reply([INSTANCE]), Reply([INSTANCE, broken])) as fake:
        pairs = f"{fake.pairs}:consul.services=web"
        (instance,) = follow(pairs, part="web").step()["web"]["instances"]
        assert instance == {"address": "b", "port": 1, "tags": [], "meta": {}, "node": "n", "id": "i", "weight": 1}
        assert "not in Consul's format" in str(follow(pairs, part="web").fail())


def test_keys_outside_the_prefix_are_an_error(follow: Follow) -> None:
    """A server that answers with other keys than those asked for is not believed."""
    with Fake(Reply([entry("other/web/port", "80")])) as fake:
        assert "not in Consul's format" in str(follow(f"{fake.pairs}:consul.prefix=app").fail())


@pytest.mark.parametrize("index", [None, "", "x", "1.5", "٣", "9" * 30])
def test_an_answer_without_index_is_not_consul(follow: Follow, index: str | None) -> None:
    """An answer without an index, a 404 among them, is some other server's."""
    header = index.encode().decode("latin-1") if index else index
    with Fake(Reply(index=header), Reply(b"", 404, index=header)) as fake:
        for status in (200, 404):
            reason = str(follow(fake.pairs).fail())
            assert reason == f"127.0.0.1:{fake.server_port} is not Consul: it answered {status} without an index"


def test_404_means_no_keys_but_only_for_keys(follow: Follow) -> None:
    """A prefix that no key has is an empty store; a service is never answered with 404."""
    with Fake(Reply(b"", 404)) as fake:
        assert follow(fake.pairs).step() == {}
        pairs = f"{fake.pairs}:consul.services=web"
        assert str(follow(pairs, part="web").fail()) == "answered 404 not found"


@pytest.mark.parametrize("value", ["a", "YQ", "Y!Q==", "YQ==\n", "ä"])
def test_a_corrupt_value_is_unusable(follow: Follow, value: str) -> None:
    """A value that is no base64 makes its interface invalid, and no other."""
    broken = {**entry("web/port", "80"), "Value": value}
    with Fake(Reply([broken, entry("db/host", "h")])) as fake:
        assert follow(fake.pairs).step() == {"web": {"port": InvalidValue("is no base64")}, "db": {"host": "h"}}


def test_null_values_are_empty_text(follow: Follow) -> None:
    """A value may be null, and is the empty text."""
    with Fake(Reply([entry("web/none", None)])) as fake:
        assert follow(fake.pairs).step() == {"web": {"none": ""}}


def test_an_answer_without_leader_is_not_believed(follow: Follow) -> None:
    """A server that knows no leader is not believed, whatever the mode; a stale read asks the leader then."""
    leaderless = {"X-Consul-KnownLeader": "false"}
    with Fake(Reply(headers=leaderless)) as fake:
        for mode in ("default", "consistent", "stale"):
            assert str(follow(f"{fake.pairs}:consul.consistency={mode}").fail()).startswith("Consul has no cluster leader")
    assert ["stale" in request.query for request in fake.requests] == [False, False, True, False]
    assert ["consistent" in request.query for request in fake.requests] == [False, True, False, False]


@pytest.mark.parametrize(
    "doubtful",
    [
        Reply(web("old"), headers={"X-Consul-LastContact": "2001"}),
        Reply(web("old"), headers={"X-Consul-LastContact": "never"}),
        Reply(web("old"), headers={"X-Consul-KnownLeader": "false"}),
        Reply(b"", 404),
    ],
)
def test_a_doubtful_stale_answer_is_asked_of_the_leader(follow: Follow, doubtful: Reply) -> None:
    """A stale answer that is too old, leaderless or empty is read again without `stale`, at once, without an index."""
    with Fake(Reply(), doubtful, Reply(web("new"), index=20), Reply(web("newer"), index=21)) as fake:
        follower = follow(f"{fake.pairs}:consul.consistency=stale")
        assert [follower.step()["web"]["port"] for _ in range(3)] == ["80", "new", "newer"]
    asked = [("stale" in request.query, request.query.get("index")) for request in fake.requests]
    assert asked == [(True, None), (True, "10"), (False, None), (True, "20")]


def test_an_empty_stale_service_is_asked_of_the_leader(follow: Follow) -> None:
    """The mode holds for services too."""
    with Fake(Reply([]), Reply([INSTANCE])) as fake:
        pairs = f"{fake.pairs}:consul.consistency=stale:consul.services=web:consul.dc=dc1"
        assert follow(pairs, part="web").step()["web"]["port"] == 1
    assert ["stale" in request.query for request in fake.requests] == [True, False]
    assert {request.query["dc"] for request in fake.requests} == {"dc1"}
    assert {request.path for request in fake.requests} == {"/v1/health/service/web"}
    assert {request.query["passing"] for request in fake.requests} == {"1"}


def test_a_server_that_does_not_block_is_asked_at_a_limited_rate(follow: Follow) -> None:
    """After a burst of two requests each further one waits for its turn."""
    with Fake(*(Reply(index=number) for number in range(1, 50))) as fake:
        follower = follow(fake.pairs, interval=0.2)
        began = time.monotonic()
        for _ in range(2):
            follower.step()
        burst = time.monotonic() - began
        for _ in range(4):
            follower.step()
        took = time.monotonic() - began
    assert took >= 4 * 0.2
    assert burst < PATIENCE
    assert len(fake.requests) == 6


def test_a_single_change_is_not_delayed_by_the_rate(follow: Follow) -> None:
    """The limit is a burst, not a pause: two answers in a row come without waiting, however long the interval."""
    with Fake(Reply(), Reply(index=11)) as fake:
        follower = follow(fake.pairs, interval=3600)
        began = time.monotonic()
        follower.step()
        follower.step()
        assert time.monotonic() - began < 0.9
        follower.step()  # the pause is a second at most
        assert time.monotonic() - began >= 0.9


def test_idle_costs_one_request_per_wait_on_one_connection(follow: Follow) -> None:
    """While nothing changes there is one request per wait, all over one connection, with the same object each time."""
    with Fake(Reply(hold=True)) as fake:
        follower = follow(f"{fake.pairs}:consul.wait=150ms")
        first = follower.step()
        assert all(follower.step() is first for _ in range(4))
        assert len(fake.requests) == 5
        assert fake.connections == 1
    assert {request.query["wait"] for request in fake.requests[1:]} == {"150ms"}
    assert "recurse" in fake.requests[0].query


def test_waits_of_a_fleet_are_spread(follow: Follow, monkeypatch: pytest.MonkeyPatch) -> None:
    """The query after an answer that came at once waits for a part of `wait`, those after it for the whole."""
    monkeypatch.setattr("disco.system.chance.between", lambda low, high: low + (high - low) / 4)
    with Fake(Reply(), Reply(hold=True), Reply(hold=True), Reply(index=11), Reply(index=11, hold=True)) as fake:
        follower = follow(f"{fake.pairs}:consul.wait=1.2s")
        for _ in range(6):
            follower.step()
    assert [request.query.get("wait") for request in fake.requests] == [None, "1050ms", "1200ms", "1200ms", "1050ms", "1200ms"]


def test_another_store_with_the_same_indexes_is_seen(follow: Follow, monkeypatch: pytest.MonkeyPatch) -> None:
    """What counts is the values, whatever indexes another store has; only what changed is decoded, but all without an index."""
    one = [{**entry("db/host", "a"), "ModifyIndex": 7}, {**entry("web/port", "80"), "ModifyIndex": 7}]
    other = [one[0], {**entry("web/port", "81"), "ModifyIndex": 7}]
    decoded: list[int] = []
    decode = base64.b64decode

    def note(value: bytes, *, validate: bool) -> bytes:
        decoded[-1] += 1
        return decode(value, validate=validate)

    monkeypatch.setattr(base64, "b64decode", note)
    found = []
    with Fake(Reply(one), Reply(other, index=11), Reply(one[:1], index=12), Reply(one, index=9), Reply(one, index=9)) as fake:
        follower = follow(fake.pairs)
        for _ in range(4):
            decoded.append(0)
            found.append(follower.step())
        assert "index" not in fake.requests[4].query
    assert found == [
        {"db": {"host": "a"}, "web": {"port": "80"}},
        {"db": {"host": "a"}, "web": {"port": "81"}},
        {"db": {"host": "a"}},
        {"db": {"host": "a"}, "web": {"port": "80"}},
    ]
    assert all(one["db"] is found[0]["db"] for one in found)
    assert decoded == [2, 1, 0, 3]  # at last one by the answer whose index is lower, and both by the one without


def test_random_changes_are_what_a_full_read_gives(consul: ConsulServer, follow: Follow) -> None:
    """After each of many random transactions the follower has what a new one reads."""
    chance = random.Random(5)
    names = [f"app/{name}/{key}" for name in ("web", "db", "other") for key in ("a", "b", "b/c", "b/")] + ["app/web", "app/db"]
    values = ("", "1", "2", "{}", '{"c": 1, "d": {"e": 1}}')
    follower = follow(f"consul.host={consul.address}:consul.prefix=app:consul.wait=1s", interval=0.01)
    for _ in range(40):
        keys = chance.sample(names, chance.randint(1, 4))
        gone = chance.randint(0, len(keys))
        consul.transact({key: chance.choice(values) for key in keys[gone:]}, keys[:gone])
        expected = follow(f"consul.host={consul.address}:consul.prefix=app").step()
        found = follower.until(lambda found, expected=expected: found == expected)  # type: ignore[misc]
        assert repr(sorted(found.items())) == repr(sorted(expected.items()))


def test_results_filtered_by_acls_are_told(follow: Follow) -> None:
    """That Consul left something out for want of rights is in the note, as long as it does."""
    filtered = {"X-Consul-Results-Filtered-By-ACLs": "true"}
    with Fake(Reply(headers=filtered), Reply([], headers=filtered), Reply()) as fake:
        follower = follow(f"{fake.pairs}:consul.token={SECRET}")
        follower.step()
        assert follower.note == "Consul leaves out what the token has no right to read"
        follower.step()
        assert follower.note == "no key at all (Consul leaves out what the token has no right to read)"
        follower.step()
        assert follower.note == ""
