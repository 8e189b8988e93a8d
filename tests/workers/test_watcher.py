"""The process around a source, run in this one: what it says of what is yielded; the flat source; keys into trees."""

from __future__ import annotations

import copy
import itertools
import json
import os
import random
import re
import shutil
import threading
import time
import types
import weakref
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from disco.data import schema, verdicts
from disco.data.values import DEPTH_LIMIT, Literal
from disco.errors import ConfigurationError, Problem
from disco.sources import Context, InvalidValue, KeyTree, Options, Source, SourceError, build_tree, deadline, flat, registry
from disco.sources.options import patterns
from disco.wire import frames
from disco.wire.messages import Diff, Heartbeat, Message, ReadFailed
from disco.workers import sender, watcher

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from disco.data.schema import Schema

SECRET = "hunter2"


class Enough(BaseException):
    """Ends what would run for ever."""


@pytest.fixture(scope="module")
def schemas(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Schema]:
    folder = tmp_path_factory.mktemp("schemas")
    contents: dict[str, Any] = {
        "app": {"type": "object"},
        "db": {"properties": {"port": {"type": "integer"}, "hosts": {"type": "array"}}, "required": ["port"]},
        "slow": {"properties": {"a": {"pattern": "^(a+)+$"}}},
        "nested": {"properties": {"port": {"type": "integer"}}, "additionalProperties": {"$ref": "#"}},
    }
    for name, content in contents.items():
        (folder / f"{name}.schema").write_text(json.dumps(content))
    return {name: schema.read(folder / f"{name}.schema") for name in contents}


@pytest.fixture
def publish(schemas: dict[str, Schema]) -> Callable[..., list[Message]]:
    """Return what gives snapshots to a publisher and returns all that it said; an exception is trouble."""

    def give(*snapshots: Any, text: bool = False, quiet: float = 1000.0) -> list[Message]:
        said: list[Message] = []
        source = Source(options=(), watch=iter, text=text)  # type: ignore[arg-type]
        publisher = sender.DiffSender(source, schemas, frozenset(schemas), said.append, quiet)
        for snapshot in snapshots:
            if isinstance(snapshot, str):
                publisher.report_failure(snapshot, 1.0)
            else:
                publisher.publish(snapshot)
        return said

    return give


def context(interval: float = 0.0, **options: Any) -> Context:
    return Context(
        name="fake",
        part="",
        options=Options(options, {}, frozenset(options)),
        interval=interval,
        interfaces=frozenset({"app", "db"}),
        memory={},
    )


def diffs(said: list[Message]) -> list[Diff]:
    assert all(isinstance(message, Diff) for message in said)
    return [message for message in said if isinstance(message, Diff)]


# What is news


def test_first_and_changes(publish: Callable[..., list[Message]]) -> None:
    """First everything is said, even nothing; then what changed, whole; what is gone; and of no change nothing."""
    app = {"app": {"a": 1, "b": 2}}
    said = diffs(publish({}, {}, app, {"app": {"b": 2, "a": 1}}, {"app": {"a": 1}, "db": {"port": 5}}, {"db": {"port": 5}}, {}))
    assert [diff.first for diff in said] == [True, False, False, False, False]
    assert [{name: json.loads(part.body) for name, part in diff.changed.items()} for diff in said] == [
        {},
        app,
        {"app": {"a": 1}, "db": {"port": 5}},
        {},
        {},
    ]
    assert [diff.removed for diff in said] == [(), (), (), ("app",), ("db",)]


def test_return_of_a_removed_interface(publish: Callable[..., list[Message]]) -> None:
    """An interface that comes back is news, also with the same data."""
    said = diffs(publish({"app": {}}, {}, {"app": {}}))
    assert [set(diff.changed) for diff in said] == [{"app"}, set(), {"app"}]


@pytest.mark.parametrize(("before", "after"), [(1, True), (1, 1.0), (0, False), ("", None), ([], {}), ("5", 5)])
def test_equal_in_python_is_not_the_same(publish: Callable[..., list[Message]], before: Any, after: Any) -> None:
    """Data that Python takes as equal, or as nearly nothing, but JSON does not, is news."""
    assert len(publish({"app": {"a": before}}, {"app": {"a": after}})) == 2


def test_same_value_in_another_form(publish: Callable[..., list[Message]]) -> None:
    """Text that decodes to the same data is no news."""
    said = publish({"db": {"hosts": "[1, 2]", "port": "1"}}, {"db": {"hosts": "[1,2]", "port": "1"}}, text=True)
    assert len(said) == 1


def test_verdicts(publish: Callable[..., list[Message]]) -> None:
    """Each interface has its verdict; only what is no mapping has no body."""
    (said,) = diffs(publish({"app": [SECRET], "db": {"port": "5"}, "slow": {}}))
    assert {name: part.problems for name, part in said.changed.items()} == {
        "app": ("the interface is not a mapping",),
        "db": ("/port is text, the schema wants integer",),
        "slow": (),
    }
    assert [part.body for part in said.changed.values()] == [b"", b'{"port":"5"}', b"{}"]
    assert all(part.digest for part in said.changed.values())


def test_text_is_decoded(publish: Callable[..., list[Message]]) -> None:
    """Text is decoded by the schema for a source of text, and never for another."""
    data = {"app": '{"a": 1}', "db": {"port": "5", "name": "0123"}}
    (said,) = diffs(publish(data, text=True))
    assert [part.body for part in said.changed.values()] == [b'{"a":1}', b'{"name":"0123","port":5}']
    assert not any(part.problems for part in said.changed.values())
    (said,) = diffs(publish(data))
    assert all(part.problems for part in said.changed.values())


def test_unusable_values(publish: Callable[..., list[Message]]) -> None:
    """A value that cannot be used makes its interface invalid, by its place, and no other."""
    unusable = {
        "app": {"a/b": [1, InvalidValue("is odd")], "c": InvalidValue("is bad")},
        "db": {"port": 1},
        "slow": InvalidValue("is no use"),
    }
    (said,) = diffs(publish(unusable, text=True))
    assert said.changed["app"].problems == ("/a~1b/1 is odd", "/c is bad")
    assert said.changed["slow"].problems == ("the interface is no use",)
    assert said.changed["app"].body == b""
    assert said.changed["db"].problems == ()
    assert len(publish(unusable, {**unusable, "app": {"c": InvalidValue("is worse")}})) == 2


def test_what_is_told_of_a_verdict_is_bounded(publish: Callable[..., list[Message]]) -> None:
    """However much is wrong, and however long the names: few problems of each interface are told, each short with its reason."""
    odd = "\0" * 100
    hostile: Any = {odd[:30] + str(number): InvalidValue("is odd") for number in range(40_000)}
    deepest: Any = {"port": "x"}
    for _ in range(DEPTH_LIMIT - 2):
        deepest = {odd: deepest}
    (said,) = diffs(publish({"app": hostile, "nested": deepest, "db": {"port": InvalidValue("r" * 10_000)}}))
    for part in said.changed.values():
        assert part.problems
        assert len(part.problems) <= 21
        assert all(len(problem) <= 301 for problem in part.problems)
    assert said.changed["app"].problems[-1] == "and more"
    (problem,) = said.changed["nested"].problems
    assert problem.startswith("/\\x00")
    assert problem.endswith("/port is text, the schema wants integer")


def test_many_invalid_interfaces(tmp_path: Path) -> None:
    """Of very many invalid interfaces at least one problem each is told, and all together are not many."""
    names = [f"interface-{number:090}" for number in range(2000)]
    for name in names:
        (tmp_path / f"{name}.schema").write_text(json.dumps({"required": ["some"], "additionalProperties": False}))
    known = {name: schema.read(tmp_path / f"{name}.schema") for name in names}
    said: list[Message] = []
    publisher = sender.DiffSender(Source(options=(), watch=iter), known, frozenset(known), said.append, 1000.0)  # type: ignore[arg-type]
    publisher.publish({name: {"\0" * 10 + str(key): 1 for key in range(30)} for name in names})
    (diff,) = diffs(said)
    assert len(diff.changed) == 2000
    assert all(part.problems for part in diff.changed.values())
    assert sum(len(problem) for part in diff.changed.values() for problem in part.problems) < 2 << 20
    assert all(frames.SIZES.unpack_from(parts[0])[0] <= 256 << 10 for parts in frames.split(diff))


def test_unknown_names(publish: Callable[..., list[Message]]) -> None:
    """What no schema knows is not kept; up to 20 names are told, cut and escaped, and how many there are."""
    many = {f"x{number:03}": {"a": 1} for number in range(500)}
    (said,) = diffs(publish({**many, "app": {}}))
    assert (list(said.changed), said.unknown_count, len(said.unknown)) == (["app"], 500, 20)
    (said,) = diffs(publish({"a\nb" + "k" * 200: object(), "b": float("nan")}))
    assert (len(said.unknown[0]), said.unknown[0][:4]) == (81, "a\\nb")
    assert [diff.unknown for diff in diffs(publish({"x": 1}, {"x": 2}, {"y": 1}, {}))] == [("x",), ("y",), ()]


@pytest.mark.parametrize(
    "data",
    [{"port": 5, 7: "x"}, types.MappingProxyType({"port": 5}), {"port": 5, "hosts": ("a", ("b",))}],
    ids=["number as key", "no dict", "tuples"],
)
def test_what_is_judged_is_what_is_sent(publish: Callable[..., list[Message]], data: Any) -> None:
    """Whatever mappings and lists a source has made, the verdict is of what is sent; what cannot be is an error."""
    try:
        (said,) = diffs(publish({"db": data}, text=True))
    except SourceError as error:
        assert error.reason == "the source yielded what JSON cannot hold"  # noqa: PT017 -- of those that json cannot write
        return
    assert said.changed["db"].problems == ()
    assert json.loads(said.changed["db"].body)["port"] == 5


def test_any_mapping_is_a_snapshot(publish: Callable[..., list[Message]]) -> None:
    """A snapshot is any mapping."""
    (said,) = diffs(publish(types.MappingProxyType({"app": {}})))
    assert list(said.changed) == ["app"]


def test_what_a_part_of_a_source_may_provide() -> None:
    """`interfaces` names what a source may provide, with `*` for any characters only; a part provides what it is named by."""
    known = {"db", "db.old", "web-1", "web[1]", "web"}

    def may(wanted: str | None, part: str = "") -> frozenset[str]:
        options = Options({"interfaces": wanted and patterns(wanted)}, {}, frozenset())
        return registry.provided(flat.SOURCE, options, part, known)

    assert may(None) == may("*") == known
    assert may("db,web-*,else") == {"db", "web-1"}
    assert may("web[1]") == {"web[1]"}
    assert may("d.*") == set()
    assert (may(None, "db"), may("d*", "db"), may("web*", "db")) == ({"db"}, {"db"}, set())


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = {"a": value}
    return value


@pytest.mark.parametrize(
    ("snapshot", "reason"),
    [
        ([], "the source yielded no mapping"),
        (None, "the source yielded no mapping"),
        ({"app": {"a": object()}}, "the source yielded what JSON cannot hold"),
        ({"app": {"a": {SECRET}}}, "the source yielded what JSON cannot hold"),
        ({"app": {"a": float("nan")}}, "the source yielded what JSON cannot hold"),
        ({"app": {"a": b"x"}}, "the source yielded what JSON cannot hold"),
        ({"app": {(1, 2): "x"}}, "the source yielded what JSON cannot hold"),
        ({"app": {1: "x", "1": "y"}}, "the source yielded what JSON cannot hold"),
        ({"app": deep(65)}, "data deeper than 64 levels"),
        ({"app": deep(5000)}, "data deeper than 64 levels"),
        ({"app": {str(number): 1 for number in range(100_001)}}, "more than 100000 keys"),
        ({"app": {"a": "x" * (8 << 20)}, "db": {"a": "x" * (8 << 20)}}, "more than 16 MiB of data"),
    ],
)
def test_limits_and_wrong_snapshots(publish: Callable[..., list[Message]], snapshot: Any, reason: str) -> None:
    """What is over a limit, or no data, is an error that says so."""
    with pytest.raises(SourceError) as caught:
        publish(snapshot)
    assert caught.value.reason.startswith(reason)


def test_just_within_limits(publish: Callable[..., list[Message]]) -> None:
    """What is just within the limits is taken, and what no schema knows does not count."""
    data: dict[str, Any] = {
        "app": deep(64),
        "db": {str(number): 1 for number in range(99_900)},
        "unknown": ["x"] * 1_000_000,
    }
    (said,) = diffs(publish(data))
    assert said.changed["app"].problems == ()


def test_exploding_data(publish: Callable[..., list[Message]]) -> None:
    """An interface whose validation takes too long is invalid, and harms no other; meanwhile something is said."""
    said = publish({"slow": {"a": "a" * 60 + "!"}, "zzz": 1, "app": {}}, quiet=0.0)
    assert Heartbeat(answered=False) in said
    last = said[-1]
    assert isinstance(last, Diff)
    assert last.changed["slow"].problems == (verdicts.TOO_SLOW,)
    assert last.changed["slow"].body == b""
    assert last.changed["app"].problems == ()


def test_alive(publish: Callable[..., list[Message]]) -> None:
    """Of an answer without news is told when all was quiet for long enough, and of the first two after trouble."""
    data: dict[str, Any] = {"app": {}}
    assert len(publish(data, data, dict(data))) == 1
    assert publish(data, data, dict(data), quiet=0.0)[-2:] == [Heartbeat(answered=True)] * 2
    assert publish(data, "broken", data, data, data)[1:] == [
        ReadFailed(reason="broken", retry_in=1.0),
        *[Heartbeat(answered=True)] * 2,
    ]
    assert [type(message) for message in publish("broken", data, {}, "broken", {"db": {}})] == [
        ReadFailed,
        Diff,
        Diff,
        ReadFailed,
        Diff,
    ]


class Noted(dict[str, Any]):
    """A mapping that counts how often all that it holds is looked at."""

    looks = 0

    def items(self) -> Any:
        self.looks += 1
        return super().items()


def test_the_same_object_is_not_looked_at(publish: Callable[..., list[Message]]) -> None:
    """The very same object again costs nothing."""
    data = Noted(app={"a": 1})
    publish(data)
    once, data.looks = data.looks, 0
    publish(data, data, data)
    assert data.looks == once > 0


def test_the_same_object_of_an_interface_is_not_looked_at(publish: Callable[..., list[Message]]) -> None:
    """The very same object again as one interface's data costs nothing, and only what else changed is said."""
    app = Noted(a=1)
    publish({"app": app})
    once, app.looks = app.looks, 0
    said = diffs(publish({"app": app, "db": {"port": 1}}, {"app": app, "db": {"port": 2}}, {"app": app}, {"app": {"a": 2}}))
    assert app.looks == once > 0
    assert [(set(diff.changed), diff.removed) for diff in said] == [
        ({"app", "db"}, ()),
        ({"db"}, ()),
        (set(), ("db",)),
        ({"app"}, ()),
    ]


DATA = st.sampled_from([{"a": 1}, {"a": True}, {"port": 1}, {"port": "1"}, {}, "text", None, 1, True, InvalidValue("is odd")])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.dictionaries(st.sampled_from(["app", "db", "slow", "foreign"]), st.tuples(DATA, st.booleans()), max_size=4), max_size=6
    )
)
def test_the_same_objects_change_nothing_that_is_said(
    publish: Callable[..., list[Message]], histories: list[dict[str, tuple[Any, bool]]]
) -> None:
    """Whether what is the same comes as the very same object or as another one, the same is said."""
    held: dict[str, Any] = {}
    reused = []
    for snapshot in histories:
        for name, (data, is_new) in snapshot.items():
            if is_new or name not in held or repr(held[name]) != repr(data):
                held[name] = copy.deepcopy(data)
        reused.append({name: held[name] for name in snapshot})
    assert publish(*reused) == publish(*map(copy.deepcopy, reused))


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        ({str(key): 1 for key in range(60_000)}, {str(key): 1 for key in range(40_001)}, "more than 100000 keys"),
        ({"a": "x" * (9 << 20)}, {"a": "x" * (8 << 20)}, "more than 16 MiB"),
    ],
)
def test_limits_count_what_is_the_same(publish: Callable[..., list[Message]], first: Any, second: Any, reason: str) -> None:
    """An interface that is the very same object counts for the limits of all; what was refused is not taken for known."""
    with pytest.raises(SourceError, match=reason):
        publish({"app": first}, {"app": first, "db": second})
    with pytest.raises(SourceError, match=reason):
        publish({"app": first, "db": second})


# The life of a generator


def run(schemas: Mapping[str, Schema], watch: Any, count: int, step: float = 1.0, **options: Any) -> list[Message]:
    """Run the watcher around a generator until it has said so much."""
    said: list[Message] = []

    def send(message: Message) -> None:
        said.append(message)
        if len(said) == count:
            raise Enough

    with pytest.raises(Enough):
        watcher.run(Source(options=(), watch=watch), context(memory=0, **options), schemas, send, (step, 1000.0))
    return said


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Give the seconds that are waited, which are not."""
    waited: list[float] = []
    monkeypatch.setattr(time, "sleep", waited.append)
    return waited


def script(*acts: Any) -> Callable[[Context], Iterator[Any]]:
    """Return a source each of whose calls follows one act: snapshots and exceptions; the last one is repeated."""
    calls = iter(acts)
    last: list[Any] = []

    def watch(_context: Context) -> Iterator[Any]:
        nonlocal last
        last = next(calls, last)
        for act in last:
            if isinstance(act, BaseException):
                raise act
            yield act

    return watch


def test_life(schemas: Mapping[str, Schema], waits: list[float]) -> None:
    """It says that it lives, then its news; after an error it is called anew, and no news then is an answer too."""
    said = run(schemas, script([{"app": {}}, SourceError("gone")], [{"app": {}}, {"app": {"a": 1}}, SourceError("x")]), 6)
    assert [type(message) for message in said] == [Heartbeat, Diff, ReadFailed, Heartbeat, Diff, ReadFailed]
    assert said[0] == Heartbeat(answered=False)
    assert said[3] == Heartbeat(answered=True)
    assert [message.first for message in said if isinstance(message, Diff)] == [True, False]
    assert [message.retry_in for message in said if isinstance(message, ReadFailed)][:1] == waits


def test_first_step_works_then_fails(schemas: Mapping[str, Schema], waits: list[float]) -> None:
    """A source whose first step always works, and that then fails, is tried ever more rarely all the same."""
    run(schemas, script([{"app": {}}, SourceError("gone")]), 2 * 40)
    assert len(waits) == 39
    assert sum(waits[20:]) > 30.0  # full jitter up to 30 s each; of one without backoff it were five seconds at most


def test_a_second_good_step_is_well_again(schemas: Mapping[str, Schema], waits: list[float]) -> None:
    """The second good step in a row ends the backoff, and is told where the first could not be believed yet."""
    acts = [[{"app": {}}, SourceError("gone")]] * 20 + [[{"app": {}}, {"app": {}}, SourceError("gone")]] * 20
    said = run(schemas, script(*acts), 1 + 2 * 20 + 3 * 19)
    assert sum(waits[20:]) < 0.25 * 19
    assert [type(message) for message in said[-6:]] == [Heartbeat, Heartbeat, ReadFailed] * 2
    assert Heartbeat(answered=False) not in said[1:]


def test_a_long_time_without_an_error_is_well_again(schemas: Mapping[str, Schema], monkeypatch: pytest.MonkeyPatch) -> None:
    """A source whose first step works, and whose second fails only after longer than any backoff, is well in between."""
    waits: list[float] = []
    now = [1000.0]
    clock = types.SimpleNamespace(monotonic=lambda: now[0], sleep=waits.append)
    monkeypatch.setattr(watcher, "time", clock)  # for it alone: alarms go by the real clock

    def watch(_context: Context) -> Iterator[Any]:
        yield {"app": {}}
        now[0] += 31.0
        raise SourceError("gone")

    run(schemas, watch, 2 * 20)
    assert max(waits) <= 0.25


@pytest.mark.usefixtures("waits")
def test_notes(schemas: Mapping[str, Schema]) -> None:
    """A note goes with the next snapshot, also one that is the same; it is made harmless, and ends with its call."""
    calls = []

    def watch(context: Context) -> Iterator[Any]:
        calls.append(context)
        data: dict[str, Any] = {"app": {}}
        if len(calls) == 1:
            context.note(f"nothing at http://me:{SECRET}@host/\n" + "x" * 1000)
            yield data
            yield data
            context.note("few")
            yield data
        yield data

    said = diffs([message for message in run(schemas, watch, 6) if isinstance(message, Diff)])
    assert [(diff.first, set(diff.changed)) for diff in said] == [(True, {"app"}), (False, set()), (False, set())]
    assert said[0].note.startswith("nothing at http://host/\\nx")
    assert len(said[0].note) < 600
    assert [diff.note for diff in said[1:]] == ["few", ""]


@pytest.mark.parametrize(
    ("act", "reason"),
    [
        (SourceError("no such server"), "no such server"),
        (SourceError(f"cannot reach http://me:{SECRET}@host:1/x\n"), "cannot reach http://host:1/x\\n"),
        (ValueError(SECRET), "the client library raised ValueError (-l DEBUG shows where)"),
        (RecursionError(SECRET), "the client library raised RecursionError (-l DEBUG shows where)"),
        (StopIteration(SECRET), "the client library raised RuntimeError (-l DEBUG shows where)"),
        ([SECRET], "the source yielded no mapping"),
        ({"app": {SECRET}}, "the source yielded what JSON cannot hold"),
        (5, "the source yielded no mapping"),
    ],
)
def test_errors(schemas: Mapping[str, Schema], waits: list[float], act: Any, reason: str) -> None:
    """Whatever a source raises or yields is trouble with a reason for people, without a secret; it is tried again."""
    said = run(schemas, script([act]), 4)
    assert [message.reason for message in said if isinstance(message, ReadFailed)] == [reason] * 3
    assert len(waits) == 2


@pytest.mark.parametrize(
    ("watch", "reason"),
    [
        (lambda _: iter([]), "the source ended by itself"),
        (lambda _: iter([5]), "the source yielded no mapping"),
        (lambda _: [{}], "the client library raised TypeError (-l DEBUG shows where)"),
        (lambda _: None, "the client library raised TypeError (-l DEBUG shows where)"),
        (lambda: iter([]), "the client library raised TypeError (-l DEBUG shows where)"),
    ],
)
@pytest.mark.usefixtures("waits")
def test_no_generators(schemas: Mapping[str, Schema], watch: Any, reason: str) -> None:
    """A source that ends, or gives no generator at all, is trouble."""
    trouble = run(schemas, watch, 2)[1]
    assert isinstance(trouble, ReadFailed)
    assert trouble.reason == reason


def test_backoff_grows_and_is_reset(schemas: Mapping[str, Schema], waits: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits double to 30 s, with full jitter; being well again resets them; a server's wish is kept within bounds, and spread."""
    monkeypatch.setattr(random, "uniform", lambda _low, high: high)
    monkeypatch.setattr(random, "random", lambda: 1.0)
    run(schemas, script(*[[SourceError("x")]] * 9, [{}, {}, SourceError("x")], [SourceError("x")]), 15)
    assert waits == [0.25, 0.5, 1, 2, 4, 8, 16, 30, 30, 0.25, 0.5]
    assert [watcher.choose_pause(3, asked) for asked in (0.0, 8.0, 1000.0)] == [0.3125, 10.0, 75.0]
    monkeypatch.undo()
    fleet = [watcher.choose_pause(0, 8.0) for _ in range(200)]  # all of which the server has sent away until the same moment
    assert 8.0 <= min(fleet) < 8.5
    assert 9.5 < max(fleet) <= 10.0
    found = [watcher.choose_pause(10_000, None) for _ in range(200)]
    assert 0.025 <= min(found) < 10
    assert 20 < max(found) <= 30


@pytest.mark.usefixtures("waits")
def test_nothing_is_left_of_a_failed_call(schemas: Mapping[str, Schema]) -> None:
    """A client that its call has left in a circle, with its connection, is gone before the next call."""
    clients: list[weakref.ref[Any]] = []
    left: list[bool] = []

    class Client:
        def __init__(self) -> None:
            self.itself = self

    def watch(_context: Context) -> Iterator[Any]:
        left.append(any(client() for client in clients))
        client = Client()
        clients.append(weakref.ref(client))
        yield {}
        raise SourceError("x")

    run(schemas, watch, 6)
    assert left == [False] * 3


@pytest.mark.parametrize("stubborn", [False, True])
def test_a_step_is_interrupted(schemas: Mapping[str, Schema], stubborn: bool) -> None:
    """A step that takes too long is interrupted, also where a library swallows exceptions; its generator is closed."""
    closed = []

    def watch(_context: Context) -> Iterator[Mapping[str, Any]]:
        try:
            yield {}
            if stubborn:
                try:
                    time.sleep(60)
                except Exception:  # noqa: BLE001, S110 -- as libraries do
                    pass
            time.sleep(60)
        finally:
            closed.append(True)

    said = run(schemas, watch, 3, step=0.05)
    assert isinstance(said[2], ReadFailed)
    assert said[2].reason == "no complete answer within 50 ms"
    assert closed == [True]


@pytest.mark.parametrize("stubborn", [False, True])
def test_a_request_has_a_deadline_of_its_own(schemas: Mapping[str, Schema], stubborn: bool) -> None:
    """A request ends at its deadline, also where a library swallows exceptions; what is left of the step's time goes on."""

    def ask() -> None:
        with deadline(0.05):
            if stubborn:
                try:
                    time.sleep(60)
                except Exception:  # noqa: BLE001, S110 -- as libraries do
                    pass
            time.sleep(60)

    def watch(_context: Context) -> Iterator[Mapping[str, Any]]:
        with pytest.raises(SourceError, match=r"^no answer within 50 ms$"):
            ask()
        yield {}
        with deadline(0.01):
            pass
        with deadline(60):
            time.sleep(60)
        yield {}

    said = run(schemas, watch, 3, step=0.2)
    assert [type(message) for message in said] == [Heartbeat, Diff, ReadFailed]


def test_a_memory_outlives_a_call(schemas: Mapping[str, Schema]) -> None:
    """What a generator keeps in its memory is there in its next call."""
    remembered = []

    def watch(context: Context) -> Iterator[Any]:
        remembered.append(dict(context.memory))
        context.memory["calls"] = context.memory.get("calls", 0) + 1
        yield 5

    run(schemas, watch, 4)
    assert remembered == [{}, {"calls": 1}, {"calls": 2}]


def test_a_generator_is_closed_on_wrong_data(schemas: Mapping[str, Schema], waits: list[float]) -> None:
    """A generator that yielded what is wrong is closed before it is called anew, whatever it does then."""
    events: list[str] = []

    def watch(_context: Context) -> Iterator[Any]:
        events.append("open")
        try:
            yield 5
        finally:
            events.append("closed")
            raise ValueError(SECRET)

    said = run(schemas, watch, 3)
    assert events[:3] == ["open", "closed", "open"]
    assert [message.reason for message in said if isinstance(message, ReadFailed)] == ["the source yielded no mapping"] * 2
    assert not any(SECRET in repr(message) for message in said)
    assert waits


# The flat source


def write(path: Path, text: str) -> None:
    """Write a file whole, as if it were long ago."""
    new = path.with_suffix(".new")
    new.write_text(text)
    os.utime(new, (1, 1))
    new.rename(path)


def test_flat_change(tmp_path: Path) -> None:
    """A file is read anew when it was changed or replaced, and else not; what only its content tells is seen too."""
    file = tmp_path / "f.yaml"
    write(file, "app: {a: 1}")
    found = flat.watch(context(file=file))
    first = next(found)
    assert first == {"app": {"a": 1}}
    assert next(found) is first
    for text, expected in [("app: {a: 2}", 2), ("app: {a: true}", True), ("app: {a: 1.0}", 1.0)]:
        write(file, text)
        assert repr(next(found)["app"]["a"]) == repr(expected)
    file.write_text("app: {a: 1}")
    before = file.stat()
    assert next(found) == first
    file.write_text("app: {a: 3}")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert next(found) == {"app": {"a": 3}}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Give the time of day, on a kernel whose `stat` tells the same of each file at all times, as its stamps are too coarse."""
    now, real = [1_000_000.0], os.stat
    stamp = int(now[0])

    def stat(*given: Any, **named: Any) -> os.stat_result:
        mode = real(*given, **named).st_mode
        return os.stat_result(
            (mode, 1, 1, 1, 0, 0, 1, stamp, stamp, stamp), {"st_mtime_ns": stamp * 10**9, "st_ctime_ns": stamp * 10**9}
        )

    monkeypatch.setattr(os, "stat", stat)
    monkeypatch.setattr(time, "time", lambda: now[0])
    return now


def test_flat_coarse_time_stamps(tmp_path: Path, clock: list[float]) -> None:
    """A file that was read moments after it changed is read again though its time stamps tell no change; an older one is not."""
    file = tmp_path / "f.yaml"
    file.write_text("app: {a: 1}")
    found = flat.watch(context(file=file))
    assert next(found) == {"app": {"a": 1}}
    file.write_text("app: {a: 2}")
    assert next(found) == {"app": {"a": 2}}
    clock[0] += 100.0
    file.write_text("app: {a: 3}")
    assert next(found) == {"app": {"a": 3}}
    file.write_text("app: {a: 4}")
    assert next(found) == {"app": {"a": 3}}


def test_flat_read_moments_after_it_changed(tmp_path: Path, clock: list[float]) -> None:
    """What was read while its time stamp was fresh is read once more, however late the next look is."""
    file = tmp_path / "f.yaml"
    file.write_text("a: {x: 1}")
    found = flat.watch(context(file=file))
    assert next(found) == {"a": {"x": 1}}
    clock[0] += 100.0
    file.write_text("a: {x: 2}")
    assert next(found) == {"a": {"x": 2}}


def test_flat_symlink_swap(tmp_path: Path) -> None:
    """A folder's link that is swapped (as Kubernetes does) is a change, for a file and for a directory."""
    for name, value in {"1": "one", "2": "two"}.items():
        (tmp_path / name).mkdir()
        write(tmp_path / name / "f.yaml", f"app: {value}")
    (tmp_path / "..data").symlink_to("1")
    (tmp_path / "f.yaml").symlink_to("..data/f.yaml")
    both = [flat.watch(context(file=path)) for path in (tmp_path / "f.yaml", tmp_path, tmp_path / "..data")]
    assert [next(found) for found in both] == [{"app": "one"}] * 3
    (tmp_path / "new").symlink_to("2")
    (tmp_path / "new").rename(tmp_path / "..data")
    assert [next(found) for found in both] == [{"app": "two"}] * 3


def swap(folder: Path, generation: int) -> None:
    """Write a generation of two files as kubelet does: a new folder, to which one link is turned."""
    new = folder / f"..{generation}"
    new.mkdir()
    for name in "ab":
        (new / f"{name}.yaml").write_text(f"{name}: {{of: {generation}}}")
    (folder / "..new").symlink_to(new.name)
    (folder / "..new").rename(folder / "..data")


def test_flat_reads_one_generation(tmp_path: Path) -> None:
    """What is read of a directory is of one generation, however often its link is swapped, and whatever goes meanwhile."""
    swap(tmp_path, 0)
    for name in "ab":
        (tmp_path / f"{name}.yaml").symlink_to(f"..data/{name}.yaml")
    stop = threading.Event()

    def go_on() -> None:
        for generation in itertools.count(1):
            if stop.is_set():
                return
            swap(tmp_path, generation)
            shutil.rmtree(tmp_path / f"..{generation - 1}")

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        read = 0
        for _ in range(2000):
            try:
                found = next(flat.watch(context(file=tmp_path)))
            except SourceError as error:
                assert "change faster" in error.reason or "No such file" in error.reason  # noqa: PT017 -- seldom
                continue
            assert found["a"] == found["b"]
            read += 1
        assert read > 100
    finally:
        stop.set()
        thread.join()


def test_flat_written_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is rewritten in place is taken when two looks see the same; one that was renamed there, at once."""
    file = tmp_path / "f.yaml"
    write(file, "app: {a: 1, b: 1}")
    waits: list[float] = []
    texts = iter(["", "app:\n  a: 2\n  b:", "app:\n  a: 2\n  b: 2\n"])

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if text := next(texts, None):
            file.write_text(text)

    found = flat.watch(context(interval=1.0, file=file))
    assert next(found) == {"app": {"a": 1, "b": 1}}
    monkeypatch.setattr(time, "sleep", sleep)
    assert next(found) == {"app": {"a": 1, "b": 1}}
    assert next(found) == {"app": {"a": 2, "b": 2}}
    assert waits == [1.0, 1.0, *[flat.NEXT_LOOK] * 2]
    write(file, "app: {a: 3}")
    waits.clear()
    assert next(found) == {"app": {"a": 3}}
    assert waits == [1.0]


def test_flat_never_quiet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is rewritten all the time is taken after some looks, if it can be read."""
    file = tmp_path / "f.yaml"
    write(file, "app: {a: 0}")
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        file.write_text(f"app: {{a: {'1' * len(waits)}}}")

    found = flat.watch(context(interval=1.0, file=file))
    next(found)
    monkeypatch.setattr(time, "sleep", sleep)
    assert next(found) == {"app": {"a": int("1" * flat.LOOKS)}}
    assert waits == [1.0, *[flat.NEXT_LOOK] * (flat.LOOKS - 1)]


def test_flat_tells_what_it_does_not_read(tmp_path: Path) -> None:
    """Files of a directory that have another suffix are named in a note, escaped and bounded, and gone from it with them."""
    notes: list[str] = []
    found = flat.watch(context(file=tmp_path)._replace(note=notes.append))
    write(tmp_path / "db_password", SECRET)
    write(tmp_path / "app.yaml", "app: {}")
    (tmp_path / "folder").mkdir()
    (tmp_path / ".hidden").touch()
    (tmp_path / "nowhere").symlink_to("no-such-file")
    assert next(found) == {"app": {}}
    assert notes[-1] == "2 files in the directory not read, for only *.yaml, *.yml, *.json are: db_password, nowhere"
    for number in range(9):
        write(tmp_path / f"{number}\n", SECRET)
    next(found)
    assert notes[-1].startswith("11 files in the directory not read, for only *.yaml, *.yml, *.json are: 0\\n, 1\\n")
    assert notes[-1].endswith("4\\n, …")
    for path in tmp_path.iterdir():
        if not path.is_dir() and path.suffix != ".yaml":
            path.unlink()
    next(found)
    assert notes[-1] == ""


@pytest.mark.parametrize(
    ("text", "look"),
    [
        (SECRET, "a single value (a secret's file?)"),
        (f"PASSWORD={SECRET}\nHOST=b", "NAME=VALUE lines"),
        (f"export PASSWORD = {SECRET}", "NAME=VALUE lines"),
        (f"- {SECRET}", "a list"),
        ("12", "a single value"),
    ],
)
def test_flat_says_what_a_file_looks_like(tmp_path: Path, text: str, look: str) -> None:
    """A file that holds no mapping is told with what it looks like, and nothing of what it holds."""
    write(tmp_path / "f", text)
    with pytest.raises(
        SourceError, match=f"expected a mapping of interfaces at the top level, but it holds {re.escape(look)}"
    ) as told:
        next(flat.watch(context(file=tmp_path / "f")))
    assert SECRET not in told.value.reason


def test_flat_looks_more_often_than_it_yields(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unchanged it is looked at each `interval`, and yielded twice, then once in a `timeout`; a change is yielded at once."""
    file = tmp_path / "f.yaml"
    write(file, "app: {a: 1}")
    now = 100.0
    slept = []

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds
        slept.append(seconds)
        if len(slept) == 13:
            write(file, "app: {a: 2}")

    monkeypatch.setattr(time, "sleep", sleep)
    monkeypatch.setattr(time, "monotonic", lambda: now)
    found = flat.watch(context(interval=1.0, file=file, timeout=10.0))
    first = next(found)
    assert next(found) is first
    assert slept == [1.0]  # a second good look: an earlier trouble is over
    assert next(found) is first
    assert slept == [1.0] * 11
    assert next(found) == {"app": {"a": 2}}
    assert slept == [1.0] * 13


def test_flat_directory(tmp_path: Path) -> None:
    """Of a directory all files with the right suffix are read, and looked for anew each time."""
    for name, text in {
        "b.yaml": "app: {}",
        "a.yml": "# nothing",
        "c.json": '{"db": {}}',
        ".d.yaml": "[",
        "e.txt": "[",
    }.items():
        write(tmp_path / name, text)
    (tmp_path / "f.yaml").mkdir()
    found = flat.watch(context(file=tmp_path))
    assert list(next(found)) == ["app", "db"]
    write(tmp_path / "a.yml", "slow: {}")
    assert list(next(found)) == ["slow", "app", "db"]
    (tmp_path / "c.json").unlink()
    assert list(next(found)) == ["slow", "app"]
    write(tmp_path / "z.yaml", "app: {}")
    with pytest.raises(SourceError, match=r"z\.yaml: app is in an earlier file"):
        next(found)


def test_flat_empty(tmp_path: Path) -> None:
    """An empty file and an empty directory are good answers: there is nothing."""
    assert next(flat.watch(context(file=tmp_path))) == {}
    write(tmp_path / "f", "")
    assert next(flat.watch(context(file=tmp_path / "f"))) == {}


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (None, "No such file or directory"),
        (f"app: [{SECRET}", "f.yaml:2:1: did not find"),
        ("app: 1\napp: 2", "f.yaml:2:1: a duplicate key"),
        ("- app", "f.yaml: expected a mapping of interfaces"),
        ("app: .nan", "f.yaml:1:6: JSON has no such number"),
        ("FIFO", "not a regular file"),
    ],
)
def test_flat_broken_then_mended(
    schemas: Mapping[str, Schema], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str | None, reason: str
) -> None:
    """What is missing or broken is trouble, looked at again after `interval`; what was said stays until it is good."""
    file = tmp_path / "f.yaml"
    write(file, "app: {a: 1}")

    def act() -> Iterator[None]:
        yield
        file.unlink()
        if broken == "FIFO":
            os.mkfifo(file)
        elif broken is not None:
            write(file, broken)
        yield
        yield
        file.unlink(missing_ok=True)
        write(file, "app: {a: 2}")
        yield

    acts = act()
    next(acts)
    # A new file may get the number of the one that was removed, and is looked at twice then.
    monkeypatch.setattr(time, "sleep", lambda seconds: None if seconds == flat.NEXT_LOOK else next(acts))
    said = run(schemas, flat.watch, 5, file=file, interval=0.5)
    assert [type(message) for message in said] == [Heartbeat, Diff, ReadFailed, ReadFailed, Diff]
    for trouble in said[2:4]:
        assert isinstance(trouble, ReadFailed)
        assert reason in trouble.reason
        assert SECRET not in trouble.reason
        assert 0.5 <= trouble.retry_in <= 0.5 * 1.25


def test_flat_limit(tmp_path: Path) -> None:
    """A file, and all files of a directory together, are limited in size."""
    for name in "ab":
        (tmp_path / f"{name}.yaml").write_text(f"{name}: " + "x" * (9 << 20))
    with pytest.raises(SourceError, match="together are larger than 16 MiB"):
        next(flat.watch(context(file=tmp_path)))
    (tmp_path / "a.yaml").write_text("a: " + "x" * (17 << 20))
    with pytest.raises(SourceError, match="larger than 16384 KiB"):
        next(flat.watch(context(file=tmp_path / "a.yaml")))


def test_flat_needs_its_file() -> None:
    """The flat source without a file is a mistake in configuration."""
    assert list(flat.SOURCE.check(Options({"file": None}, {}, frozenset()))) == [
        Problem("file", "expected the path of a file or a directory", "set it")
    ]


# Keys into trees


BOTH = InvalidValue("is both a value and a folder; only a JSON object can be both")


@pytest.mark.parametrize(
    ("pairs", "tree"),
    [
        ({}, {}),
        ({"app": b"1"}, {"app": "1"}),
        ({"app/a": b"1", "app/b/c": b"2"}, {"app": {"a": "1", "b": {"c": "2"}}}),
        ({"/app//a": b"1"}, {"app": {"a": "1"}}),
        ({"app/": b"x", "app/b/": None, "/": b"", "": b"x"}, {}),
        ({"app/a": None, "app/b": b""}, {"app": {"a": "", "b": ""}}),
        ({"app/a": b"\xff", "db/a": "ü".encode()}, {"app": {"a": InvalidValue("is no UTF-8 text")}, "db": {"a": "ü"}}),
        ({"app": b'{"a": 1, "b": 2}', "app/a": b"x"}, {"app": {"a": "x", "b": 2}}),
        ({"app": b'{"a": 1}', "app/a/b": b"x"}, {"app": {"a": {"b": "x"}}}),
        ({"app": b'{"a": {"b": 1, "c": 1}}', "app/a/b": b"x"}, {"app": {"a": {"b": "x", "c": 1}}}),
        (
            {"app": b'{"a": {"c": 1}}', "app/a": b'{"d": 2}', "app/a/b": b"x"},
            {"app": {"a": {"b": "x", "c": 1, "d": 2}}},
        ),
        ({"app": b'{"a": {"c": 1}}', "app/a": b"x"}, {"app": {"a": "x"}}),
        ({"app": b" ", "app/a": b"x"}, {"app": {"a": "x"}}),
        ({"app": b"x", "app/a": b"x", "app/b/c": b"x"}, {"app": BOTH}),
        ({"app": b"[1]", "app/a": b"x"}, {"app": BOTH}),
        ({"app": b"\xff", "app/a": b"x"}, {"app": InvalidValue("is no UTF-8 text")}),
        ({"app/a": b"x", "app/a/b/c": b"x", "app/d": b"y"}, {"app": {"a": BOTH, "d": "y"}}),
        ({"app": b'{"a": "1", "b": ["2"]}', "app/c": b"3"}, {"app": {"a": Literal("1"), "b": [Literal("2")], "c": "3"}}),
        ({"app": b'{"a": "\\ud800"}', "app/c": b"3"}, {"app": InvalidValue("holds half of a character (a lone surrogate)")}),
        ({"app/a": b"x", "app/a-b": b"y", "app/a/b": b"z"}, {"app": {"a": BOTH, "a-b": "y"}}),
    ],
)
def test_nest(pairs: dict[str, bytes | None], tree: dict[str, Any]) -> None:
    """Keys become nested mappings in any order; value and folder in one is an object with the folder in it, or no use."""
    assert build_tree(pairs.items()) == tree
    assert build_tree(reversed(pairs.items())) == tree


def test_nest_deep() -> None:
    """A key that is too deep costs no more than its own interface."""
    tree = build_tree([("app/" + "a/" * 500_000 + "a", b"x"), ("db/a", b"x")])
    assert tree["db"] == {"a": "x"}
    (reason,) = sender._find_invalid(tree["app"])
    assert reason == "/a" * (DEPTH_LIMIT - 1) + " is deeper than 64 levels"


def test_json_beside_a_folder_is_decoded_once(publish: Callable[..., list[Message]]) -> None:
    """A text in the JSON of a key stays text, whether or not the key is a folder too; what is a key of its own is decoded."""

    def tree(**pairs: str) -> dict[str, Any]:
        return build_tree((key.replace("_", "/"), value.encode()) for key, value in pairs.items())

    snapshots = (
        tree(db='{"port": "80", "hosts": ["1"]}', db_name="x"),  # of the type string, as without the folder
        tree(db='{"port": 80, "hosts": ["1"]}', db_name="x"),
        tree(db="{}", db_port="80", db_hosts='["1"]', db_name="x"),
        tree(db='{"port": "80", "hosts": ["1"]}', db_name="x"),
    )
    bodies = [diff.changed["db"] for diff in diffs(publish(*snapshots, text=True))]
    assert [fragment.problems for fragment in bodies] == [
        ("/port is text, the schema wants integer",),
        (),
        ("/port is text, the schema wants integer",),
    ]
    assert json.loads(bodies[1].body) == {"port": 80, "hosts": ["1"], "name": "x"}
    assert json.loads(bodies[2].body) == {"port": "80", "hosts": ["1"], "name": "x"}


PARTS = st.lists(st.sampled_from(["a", "b", "", "ü"]), min_size=1, max_size=4).map("/".join)
VALUES = st.sampled_from([b"x", b"", b"{}", b'{"a": 1}', b'{"a": {"b": 1}}', b"[]", b"\xff", None])


@given(st.dictionaries(PARTS, VALUES, max_size=8))
@example({"a": b'{"a": 1}', "a/a/b": b"x"})
def test_nest_loses_nothing(pairs: dict[str, bytes | None]) -> None:
    """Each key's value is at its place in the tree, below something that is no use, or itself the folder there."""
    tree = build_tree(pairs.items())
    names: dict[tuple[str, ...], set[bytes]] = {}
    for key, value in pairs.items():
        parts = tuple(filter(None, key.split("/")))
        if parts and not key.endswith("/"):
            names.setdefault(parts, set()).add(value or b"")
    for parts, candidates in names.items():
        node: Any = tree
        for part in parts:
            if isinstance(node, InvalidValue):
                break
            node = node[part]
        assert isinstance(node, (InvalidValue, dict)) or node.encode() in candidates


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), PARTS, VALUES.filter(lambda value: value is not None)),
        st.tuples(st.just("delete"), PARTS),
        st.tuples(st.just("replace"), st.dictionaries(PARTS, VALUES.filter(lambda value: value is not None), max_size=6)),
        st.tuples(st.just("restart")),
    ),
    max_size=12,
)


@given(STEPS)
@example([("put", "a/x", b"1"), ("put", "b/x", b"1"), ("delete", "a/x")])
@example([("put", "c/x", b"1"), ("put", "c/x/", b"1"), ("delete", "c/x")])
def test_tree_is_what_all_of_it_would_be(steps: list[tuple[Any, ...]]) -> None:
    """After any changes a tree is what its keys make when they are nested anew, and what is the same is the same object."""
    interfaces = frozenset({"a", "b"})

    def plant() -> KeyTree[str, bytes]:
        return KeyTree(interfaces, lambda key: key, bytes, foreign="foreign")

    tree, pairs = plant(), dict[str, bytes]()
    before: Mapping[str, Any] | None = None
    for act, *given_ in steps:
        if act == "put":
            pairs[given_[0]] = given_[1]
            tree.put(*given_)
        elif act == "delete" and given_[0] in pairs:
            assert given_[0] in tree
            del pairs[given_[0]]
            tree.delete(*given_)
        elif act == "replace":
            pairs = given_[0]
            tree.replace(pairs)
            pairs = dict(pairs)
        elif act == "restart":
            tree = plant()
            tree.replace(pairs)
        found = tree.build_tree(before)
        whole = build_tree(sorted(pairs.items()))
        expected = {name: data if name in interfaces else "foreign" for name, data in whole.items()}
        assert repr(found) == repr(expected)
        assert len(tree) == len(pairs)
        for name in found:
            if before and name in before and repr(before[name]) == repr(found[name]):
                assert found[name] is before[name]
        assert (found is before) == (before is not None and repr(before) == repr(found))
        before = found


def test_tree_looks_only_into_what_changed() -> None:
    """The values of interfaces in which no key changed are not looked into, nor those of foreign ones."""
    looked = []

    def content(value: str) -> bytes:
        looked.append(value)
        return value.encode()

    tree: KeyTree[str, str] = KeyTree(frozenset({"a", "b"}), lambda key: key, content)
    first = tree.build_tree(None)
    tree.replace({"a/x": "1", "a/y": "2", "b/x": "3", "c/x": "4"})
    second = tree.build_tree(first)
    assert second == {"a": {"x": "1", "y": "2"}, "b": {"x": "3"}, "c": None}
    looked.clear()
    tree.replace({"a/x": "1", "a/y": "2", "b/x": "5", "c/x": "6"})
    third = tree.build_tree(second)
    assert third == {**second, "b": {"x": "5"}}
    assert third["a"] is second["a"]
    assert looked == ["5"]


# Finding sources


def test_find() -> None:
    """Built-in types are found by name, and an unknown one is told with what is known."""
    assert registry.find("flat", "somewhere") is flat.SOURCE
    problem = refusal("flatt")
    assert problem.place == "somewhere"
    assert problem.message.startswith("no source type 'flatt' (known: consul, etcd, flat")
    assert problem.remedy == "did you mean flat?"


def test_plug_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plug-in is found by its entry point; one that cannot be loaded, is no source or lacks a module is told."""
    good = Source(options=(), watch=flat.watch)

    def fail() -> object:
        raise RuntimeError(SECRET)

    loads: dict[str, Callable[[], object]] = {
        "good": lambda: good,
        "bad": fail,
        "odd": lambda: 5,
        "bare": lambda: Source(options=(), watch=flat.watch, modules=("json", "no_such_module"), extra="x"),
    }
    entries = [types.SimpleNamespace(name=name, load=load) for name, load in loads.items()]
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: entries if group == registry.GROUP else [])
    source = registry.find("good", "")
    assert (source.watch, source.parts(Options({}, {}, frozenset()))) == (flat.watch, ("",))
    assert refusal("bad").message == "source type 'bad' cannot be loaded: RuntimeError"
    assert refusal("odd").message == "source type 'odd': its entry point is no disco.sources.Source"
    (missing,) = registry.find_missing("bare", registry.find("bare", ""), "somewhere")
    what = "source type 'bare' needs the Python module no_such_module, which is not installed"
    assert missing == Problem("somewhere", what, "pip install 'disco-entrypoint[x]'")


def refusal(name: str) -> Problem:
    """Return why there is no source of a type."""
    with pytest.raises(ConfigurationError) as caught:
        registry.find(name, "somewhere")
    (problem,) = caught.value.problems
    return problem


def test_step_limit() -> None:
    """A step may take two requests and one pause; that of a source with blocking queries, one of these too."""
    options = Options({"timeout": 1.0, "wait": 16.0}, {}, frozenset())
    assert Source(options=(), watch=flat.watch).step_limit(options, 1.0) == 3.0
    assert {registry.find(name, "").step_limit(options, 1.0) for name in ("consul", "etcd")} == {20.0}


def test_what_a_type_provides() -> None:
    """A type may say itself what it provides; the option `interfaces` narrows that all the same."""
    source = Source(
        options=(), watch=flat.watch, provides=lambda options, _part, known: [name for name in known if name in options["of"]]
    )
    options = Options({"of": ("db", "web"), "interfaces": None}, {}, frozenset())
    assert registry.provided(source, options, "", {"db", "app"}) == {"db"}
    assert registry.provided(
        source, Options({**options, "interfaces": ("app", "w*")}, {}, frozenset()), "", {"db", "web", "app"}
    ) == {"web"}
