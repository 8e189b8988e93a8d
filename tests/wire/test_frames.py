"""Frames: round trips, and hostile bytes."""

from __future__ import annotations

from typing import Any, get_args, get_type_hints

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from disco.errors import ProtocolError
from disco.wire import frames, messages
from disco.wire.frames import SIZES, FrameReader
from disco.wire.messages import Diff, Fragment, Merged, Message, Run, RunFinished, digest
from tests.wire.history import CHECK, HISTORY, diff, fragment, frame, wire

st.register_type_strategy(float, st.floats(-1e14, 1e14, allow_nan=False))


PROBLEMS = st.lists(st.text(max_size=20), max_size=messages.PROBLEM_COUNT).map(tuple)
st.register_type_strategy(
    Fragment,
    st.builds(lambda body, problems, filled: fragment(body, *problems, filled=filled), st.binary(), PROBLEMS, st.binary())
    | st.binary(min_size=1).map(lambda body: fragment(body)._replace(is_judged=False)),
)
st.register_type_strategy(
    Merged,
    st.builds(lambda task, one: Merged(task, *one[:3]), st.integers(0, 1 << 60), st.from_type(Fragment)),
)
st.register_type_strategy(int, st.integers(-(1 << 60), 1 << 60))
st.register_type_strategy(
    Diff,
    st.builds(
        Diff,
        st.booleans(),
        st.dictionaries(st.text(), st.from_type(Fragment)),
        st.lists(st.text(), max_size=5).map(tuple),
        st.lists(st.text(), max_size=messages.UNKNOWN_LIMIT).map(tuple),
        st.integers(0, 1 << 60),
        st.text(),
        st.just(False),
    ),
)
MESSAGES = st.one_of(
    st.from_type(Diff),
    st.from_type(Merged),
    *[
        st.builds(kind, **{name: st.from_type(hint) for name, hint in get_type_hints(kind).items()})
        for kind in get_args(Message)
        if kind not in {Diff, Merged}
    ],
)


@given(MESSAGES)
def test_round_trip(message: Message) -> None:
    """Every message arrives as it was sent."""
    assert frames.decode(wire(message)) == message
    assert frames.frame_size(wire(message)) == len(wire(message))


def test_large_bodies_that_do_not_last_are_views() -> None:
    """What a runner hands on is not copied out of its frame; what the coordinator keeps does not hold a whole frame."""
    content = bytearray(wire(Run(task=1, rule="r", argv=("true",), env=(), stdin=(b"one", b"two"), timeout=0.0)))
    views = frames.decode(content).stdin  # type: ignore[union-attr]
    assert [(view.obj, bytes(view), view.readonly) for view in views] == [(content, b"one", True), (content, b"two", True)]  # type: ignore[union-attr]
    (kept,) = frames.decode(wire(Diff(True, {"a": fragment(b"one")}, (), (), 0))).changed.values()  # type: ignore[union-attr]
    assert type(kept.body) is bytes


def test_every_split() -> None:
    """However the bytes are split, each message comes out once, in order, and as soon as it is whole."""
    data = b"".join(map(wire, HISTORY))
    ends = [sum(len(wire(message)) for message in HISTORY[: number + 1]) for number in range(len(HISTORY))]
    for at in range(len(data) + 1):
        reader = FrameReader()
        first = list(reader.feed(data[:at]))
        assert len(first) == sum(end <= at for end in ends)
        assert first + list(reader.feed(data[at:])) == HISTORY
    reader = FrameReader()
    assert [message for byte in data for message in reader.feed(bytes([byte]))] == HISTORY


@given(st.lists(MESSAGES, max_size=5), st.lists(st.integers(1, 50), min_size=1))
def test_any_split(history: list[Message], sizes: list[int]) -> None:
    """Any messages in pieces of any sizes arrive."""
    data, reader = b"".join(map(wire, history)), FrameReader()
    found: list[Message] = []
    while data:
        for size in sizes:
            found += reader.feed(data[:size])
            data = data[size:]
    assert found == history


def test_exported_variables_are_bounded() -> None:
    """A runner that reports more variables than a run may export violates the protocol; received, they are in no repr."""
    result = RunFinished(task=1, status=0, problem="", tail=(), seconds=1.0, children=False, exported=b"x" * (1 << 20))
    assert frames.decode(wire(result)) == result
    assert "xx" not in repr(frames.decode(wire(result)))
    with pytest.raises(ProtocolError, match="exported variables"):
        frames.decode(wire(result._replace(exported=b"x" * (1 + (1 << 20)))))


@given(st.binary(max_size=60))
@example(b"")
@example(SIZES.pack(2, 0) + b"[]")
@example(SIZES.pack(0, 0))
def test_garbage(data: bytes) -> None:
    """Of any bytes nothing else than messages and ProtocolError comes."""
    try:
        assert all(isinstance(message, get_args(Message)) for message in FrameReader().feed(data))
    except ProtocolError:
        pass
    try:
        assert isinstance(frames.decode(data), get_args(Message))
    except ProtocolError:
        pass


WORDS = st.sampled_from(["Diff", "Heartbeat", "Merge", "Run", "ReadFailed", "RunFinished", "", "a"])
NEARLY = st.recursive(
    WORDS | st.none() | st.booleans() | st.integers(-3, 10**400) | st.floats(),
    lambda below: st.lists(below, max_size=6) | st.dictionaries(WORDS, below, max_size=3),
)


@given(st.tuples(WORDS, NEARLY) | NEARLY, st.binary(max_size=9))
@example(["ReadFailed", ["r", 10**400]], b"")
def test_nearly_messages(content: Any, bodies: bytes) -> None:
    """Of any JSON in a frame comes a message that is whole, or ProtocolError."""
    try:
        message = frames.decode(frame(content, bodies))
    except ProtocolError:
        return
    assert frames.decode(wire(message)) == message


@pytest.mark.parametrize(
    "data",
    [
        *[wire(CHECK)[:at] for at in range(len(wire(CHECK)))],
        wire(CHECK) + b"x",
        frame(["Nope", []]),
        frame(["Fragment", ["", [], 0]]),
        frame(["Heartbeat", [True], 1]),
        frame(["Heartbeat", {"answered": True}]),
        frame(["Heartbeat", [1]]),
        frame(["Heartbeat", []]),
        frame(["Heartbeat", [True, True]]),
        frame(["Heartbeat", [True]], b"x"),
        frame(["Merge", [True, "a", []]]),
        frame(["Merge", [1, "a", [-1]]]),
        frame(["Merge", [1, "a", [3]]], b"xx"),
        frame(["Merge", [1, "a", [2, -1, 1]]], b"xx"),
        frame(["Merge", [1, "a", "xyz"]]),
        frame(["Merge", [1.0, "a", []]]),
        *[
            frame(b'["ReadFailed",["r",%s]]' % number)
            for number in (b"NaN", b"Infinity", b"1e300", b"1" + b"0" * 400, b"true", b'"1"')
        ],
        frame([["Heartbeat"], [True]]),
        frame({"Heartbeat": 1, "b": 2}),
        frame(b"\xff"),
        frame(b"[" * 100_000),
        frame(b"9" * 5000),
        frame(b""),
        SIZES.pack(0xFFFFFFFF, 0xFFFFFFFF),
    ],
)
def test_no_message(data: bytes) -> None:
    """What is cut short, too long, of other types or out of range raises ProtocolError, and nothing else."""
    with pytest.raises(ProtocolError):
        frames.decode(data)


@pytest.mark.parametrize("sizes", [(messages.HEADER_LIMIT + 1, 0), (0, messages.BODY_LIMIT + 1), (0xFFFFFFFF, 0xFFFFFFFF)])
def test_oversized(sizes: tuple[int, int]) -> None:
    """A frame over a limit is refused by its first eight bytes, before anything of it is kept."""
    with pytest.raises(ProtocolError, match="over the limit"):
        list(FrameReader().feed(SIZES.pack(*sizes)))
    assert frames.frame_size(SIZES.pack(messages.HEADER_LIMIT, messages.BODY_LIMIT)) is not None


@pytest.mark.parametrize("message", [CHECK, Run(1, "r", ("a",), (), (), 0.0)])
def test_children_give_no_orders(message: Message) -> None:
    """What only the coordinator may say is no message where a child says it, however much there is in it."""
    with pytest.raises(ProtocolError, match="an unexpected"):
        list(FrameReader(messages.FROM_CHILDREN).feed(wire(message)))
    assert list(FrameReader(messages.FROM_CHILDREN).feed(wire(HISTORY[0]))) == HISTORY[:1]


@pytest.mark.parametrize(
    ("news", "reason"),
    [
        (diff(1, body=b"{}" * 3)._replace(changed={"a": Fragment("d", (), b"{}")}), "digest"),
        (diff(1)._replace(changed={"a": Fragment(digest(b"{}"), ("p",), b"{}", is_judged=False)}), "verdict"),
        (diff(1)._replace(changed={"a": Fragment(digest(b"{}"), (), b"{}", b"{}", is_judged=False)}), "verdict"),
        (diff(1)._replace(changed={"a": Fragment("d", (), b"", is_judged=False)}), "nothing to judge"),
        (Merged(1, "d", (), b"{}"), "digest"),
        (diff(1, *["p"] * 22), "problems"),
        (diff(1, "p" * 302), "problem"),
        (Merged(1, "d", ("p",) * 22, b""), "problems"),
        (diff(1)._replace(unknown=("a",) * 21), "unknown names"),
    ],
)
def test_what_a_diff_may_not_say(news: Message, reason: str) -> None:
    """A digest is its body's, and of problems and unknown names there are few and short ones: else it is no message."""
    with pytest.raises(ProtocolError, match=reason):
        frames.decode(wire(news))


@pytest.mark.parametrize(
    "parts",
    [
        [diff(0)._replace(more=True)],
        [Diff(True, {f"{n}-{m}": fragment(b"{}") for m in range(4000)}, (), (), 0, more=True) for n in range(11)],
        [Diff(True, {}, tuple(str(m) for m in range(10_000)), (), 0, more=True)] * 5,
        [Diff(True, {str(n): fragment(b"x" * (20 << 20))}, (), (), 0, more=True) for n in range(4)],
        [Diff(True, {str(n): fragment(b"{}", filled=b"x" * (20 << 20))}, (), (), 0, more=True) for n in range(4)],
    ],
    ids=["empty", "interfaces", "removed", "bodies", "filled bodies"],
)
def test_a_diff_without_end(parts: list[Diff]) -> None:
    """Parts of a diff for ever are no message as soon as they are too much."""
    reader = FrameReader()
    fed = (list(reader.feed(wire(part))) for part in parts)
    with pytest.raises(ProtocolError, match=r"part of a diff|over the limit"):
        assert not any(fed)


def test_what_crosses_is_frozen() -> None:
    """A message cannot be changed."""
    with pytest.raises(AttributeError):
        HISTORY[0].answered = False  # type: ignore[misc, union-attr]
