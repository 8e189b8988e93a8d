"""The loop around a generator: its steps, its errors, its pauses."""

from __future__ import annotations

import gc
import time
import types
import weakref
from typing import TYPE_CHECKING, Any

import pytest

from disco.sources import Context, SourceError, deadline
from disco.system import chance
from disco.wire.messages import Diff, Heartbeat, ReadFailed
from disco.workers import watcher
from tests.workers.support import SECRET, only_diffs, run_watcher

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from disco.data.schema import Schema


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
    said = run_watcher(schemas, script([{"app": {}}, SourceError("gone")], [{"app": {}}, {"app": {"a": 1}}, SourceError("x")]), 6)
    assert [type(message) for message in said] == [Heartbeat, Diff, ReadFailed, Heartbeat, Diff, ReadFailed]
    assert said[0] == Heartbeat(answered=False)
    assert said[3] == Heartbeat(answered=True)
    assert [message.first for message in said if isinstance(message, Diff)] == [True, False]
    assert [message.retry_in for message in said if isinstance(message, ReadFailed)][:1] == waits


def test_first_step_works_then_fails(schemas: Mapping[str, Schema], waits: list[float]) -> None:
    """A source whose first step always works, and that then fails, is tried ever more rarely all the same."""
    run_watcher(schemas, script([{"app": {}}, SourceError("gone")]), 2 * 40)
    assert len(waits) == 39
    assert sum(waits[20:]) > 30.0  # full jitter up to 30 s each; of one without backoff it were five seconds at most


def test_a_second_good_step_is_well_again(schemas: Mapping[str, Schema], waits: list[float]) -> None:
    """The second good step in a row ends the backoff, and is told where the first could not be believed yet."""
    acts = [[{"app": {}}, SourceError("gone")]] * 20 + [[{"app": {}}, {"app": {}}, SourceError("gone")]] * 20
    said = run_watcher(schemas, script(*acts), 1 + 2 * 20 + 3 * 19)
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

    run_watcher(schemas, watch, 2 * 20)
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

    said = only_diffs([message for message in run_watcher(schemas, watch, 6) if isinstance(message, Diff)])
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
    said = run_watcher(schemas, script([act]), 4)
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
    trouble = run_watcher(schemas, watch, 2)[1]
    assert isinstance(trouble, ReadFailed)
    assert trouble.reason == reason


@pytest.mark.usefixtures("waits")
def test_the_first_step_is_followed_by_no_garbage_collection(schemas: Mapping[str, Schema]) -> None:
    """A start, which needs one step, does not look for garbage among what a client library's import made."""
    states = []

    def watch(_context: Context) -> Iterator[dict[str, Any]]:
        for _ in range(3):
            states.append(gc.isenabled())
            yield {}
        raise SourceError("x")

    before = gc.isenabled()
    try:
        run_watcher(schemas, watch, 3)
    finally:
        (gc.enable if before else gc.disable)()
    assert states[:3] == [False, False, True]


def test_backoff_grows_and_is_reset(schemas: Mapping[str, Schema], waits: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits double to 30 s, with full jitter; being well again resets them; a server's wish is kept within bounds, and spread."""
    monkeypatch.setattr(chance, "between", lambda _low, high: high)
    monkeypatch.setattr(chance, "share", lambda: 1.0)
    run_watcher(schemas, script(*[[SourceError("x")]] * 9, [{}, {}, SourceError("x")], [SourceError("x")]), 15)
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

    run_watcher(schemas, watch, 6)
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

    said = run_watcher(schemas, watch, 3, step=0.05)
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

    said = run_watcher(schemas, watch, 3, step=0.2)
    assert [type(message) for message in said] == [Heartbeat, Diff, ReadFailed]


def test_a_memory_outlives_a_call(schemas: Mapping[str, Schema]) -> None:
    """What a generator keeps in its memory is there in its next call."""
    remembered = []

    def watch(context: Context) -> Iterator[Any]:
        remembered.append(dict(context.memory))
        context.memory["calls"] = context.memory.get("calls", 0) + 1
        yield 5

    run_watcher(schemas, watch, 4)
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

    said = run_watcher(schemas, watch, 3)
    assert events[:3] == ["open", "closed", "open"]
    assert [message.reason for message in said if isinstance(message, ReadFailed)] == ["the source yielded no mapping"] * 2
    assert not any(SECRET in repr(message) for message in said)
    assert waits
