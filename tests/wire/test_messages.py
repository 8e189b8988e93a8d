"""Messages and their way: round trips, hostile bytes, and ends of a channel that never block."""

from __future__ import annotations

import json
import logging
import os
import socket
import sys
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from disco.errors import ProtocolError
from disco.people import log
from disco.text import duration, escape, plural, redact
from disco.wire import messages, records
from disco.wire.channel import Channel, Frames, Line
from disco.wire.messages import SIZES, Diff, Fragment, Heartbeat, Merge, Merged, Message, ReadFailed, Run

if TYPE_CHECKING:
    from collections.abc import Iterator

st.register_type_strategy(float, st.floats(-1e14, 1e14, allow_nan=False))


def fragment(body: bytes, *problems: str) -> Fragment:
    return Fragment(digest=messages.digest(body) if body else "d", problems=problems, body=body)


PROBLEMS = st.lists(st.text(max_size=20), max_size=messages.PROBLEM_LIMIT).map(tuple)
st.register_type_strategy(Fragment, st.builds(lambda body, problems: fragment(body, *problems), st.binary(), PROBLEMS))
st.register_type_strategy(
    Merged,
    st.builds(lambda task, one: Merged(task, *one), st.integers(0, 1 << 60), st.from_type(Fragment)),
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
CHECK = Merge(task=7, interface="a", bodies=(b"", b"one", b"\0\xff" * 9))
HISTORY: list[Message] = [Heartbeat(answered=True), CHECK, ReadFailed(reason="r\n\ud800", retry_in=0.5), Heartbeat(answered=False)]


def wire(message: Message) -> bytes:
    return b"".join(messages.encode(message))


def frame(content: Any, bodies: bytes = b"") -> bytes:
    header = content if isinstance(content, bytes) else json.dumps(content).encode()
    return SIZES.pack(len(header), len(bodies)) + header + bodies


# Frames


@given(MESSAGES)
def test_round_trip(message: Message) -> None:
    """Every message arrives as it was sent."""
    assert messages.decode(wire(message)) == message
    assert messages.frame_size(wire(message)) == len(wire(message))


def test_large_bodies_that_do_not_last_are_views() -> None:
    """What a runner hands on is not copied out of its frame; what the coordinator keeps does not hold a whole frame."""
    frame = bytearray(wire(Run(task=1, rule="r", argv=("true",), env=(), stdin=(b"one", b"two"), timeout=0.0)))
    views = messages.decode(frame).stdin  # type: ignore[union-attr]
    assert [(view.obj, bytes(view), view.readonly) for view in views] == [(frame, b"one", True), (frame, b"two", True)]  # type: ignore[union-attr]
    (kept,) = messages.decode(wire(Diff(True, {"a": fragment(b"one")}, (), (), 0))).changed.values()  # type: ignore[union-attr]
    assert type(kept.body) is bytes


def test_every_split() -> None:
    """However the bytes are split, each message comes out once, in order, and as soon as it is whole."""
    data = b"".join(map(wire, HISTORY))
    ends = [sum(len(wire(message)) for message in HISTORY[: number + 1]) for number in range(len(HISTORY))]
    for at in range(len(data) + 1):
        frames = Frames()
        first = list(frames.feed(data[:at]))
        assert len(first) == sum(end <= at for end in ends)
        assert first + list(frames.feed(data[at:])) == HISTORY
    frames = Frames()
    assert [message for byte in data for message in frames.feed(bytes([byte]))] == HISTORY


@given(st.lists(MESSAGES, max_size=5), st.lists(st.integers(1, 50), min_size=1))
def test_any_split(history: list[Message], sizes: list[int]) -> None:
    """Any messages in pieces of any sizes arrive."""
    data, frames = b"".join(map(wire, history)), Frames()
    found: list[Message] = []
    while data:
        for size in sizes:
            found += frames.feed(data[:size])
            data = data[size:]
    assert found == history


@given(st.binary(max_size=60))
@example(b"")
@example(SIZES.pack(2, 0) + b"[]")
@example(SIZES.pack(0, 0))
def test_garbage(data: bytes) -> None:
    """Of any bytes nothing else than messages and ProtocolError comes."""
    try:
        assert all(isinstance(message, get_args(Message)) for message in Frames().feed(data))
    except ProtocolError:
        pass
    try:
        assert isinstance(messages.decode(data), get_args(Message))
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
        message = messages.decode(frame(content, bodies))
    except ProtocolError:
        return
    assert messages.decode(wire(message)) == message


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
        messages.decode(data)


@pytest.mark.parametrize("sizes", [(messages.HEADER_LIMIT + 1, 0), (0, messages.BODY_LIMIT + 1), (0xFFFFFFFF, 0xFFFFFFFF)])
def test_oversized(sizes: tuple[int, int]) -> None:
    """A frame over a limit is refused by its first eight bytes, before anything of it is kept."""
    with pytest.raises(ProtocolError, match="over the limit"):
        list(Frames().feed(SIZES.pack(*sizes)))
    assert messages.frame_size(SIZES.pack(messages.HEADER_LIMIT, messages.BODY_LIMIT)) is not None


def diff(count: int, *problems: str, body: bytes = b"{}", removed: int = 0) -> Diff:
    """Return a diff of so many interfaces with names of 100 characters."""
    names = (f"{number:0100}" for number in range(removed))
    return Diff(True, {f"{n:x>100}": fragment(body, *problems) for n in range(count)}, tuple(names), ("a",), 1, "note")


@pytest.mark.parametrize("message", [CHECK, Run(1, "r", ("a",), (), (), 0.0)])
def test_children_give_no_orders(message: Message) -> None:
    """What only the coordinator may say is no message where a child says it, however much there is in it."""
    with pytest.raises(ProtocolError, match="an unexpected"):
        list(Frames(messages.FROM_CHILDREN).feed(wire(message)))
    assert list(Frames(messages.FROM_CHILDREN).feed(wire(HISTORY[0]))) == HISTORY[:1]


@pytest.mark.parametrize(
    "news",
    [diff(2000, "/a is required"), diff(2000, *["p" * 300] * 21), diff(1, removed=5000), diff(3, removed=1), diff(0, removed=4000)],
)
def test_a_large_diff_is_several_frames(news: Diff, ends: tuple[socket.socket, socket.socket]) -> None:
    """However many interfaces a diff has, no header is over the limit, and the coordinator has it at once and whole."""
    receiver, sender = map(Channel, ends)
    sender.send(news)
    sender.send(HISTORY[0])
    found: list[Message] = []
    while len(found) < 2:
        found += receiver.receive(1 << 20)
        sender.flush()
    assert found == [news, HISTORY[0]]


@pytest.mark.parametrize(
    ("news", "reason"),
    [
        (diff(1, body=b"{}" * 3)._replace(changed={"a": Fragment("d", (), b"{}")}), "digest"),
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
        messages.decode(wire(news))


@pytest.mark.parametrize(
    "parts",
    [
        [diff(0)._replace(more=True)],
        [Diff(True, {f"{n}-{m}": fragment(b"{}") for m in range(4000)}, (), (), 0, more=True) for n in range(11)],
        [Diff(True, {}, tuple(str(m) for m in range(10_000)), (), 0, more=True)] * 5,
        [Diff(True, {str(n): fragment(b"x" * (20 << 20))}, (), (), 0, more=True) for n in range(4)],
    ],
    ids=["empty", "interfaces", "removed", "bodies"],
)
def test_a_diff_without_end(parts: list[Diff]) -> None:
    """Parts of a diff for ever are no message as soon as they are too much."""
    frames = Frames()
    fed = (list(frames.feed(wire(part))) for part in parts)
    with pytest.raises(ProtocolError, match=r"part of a diff|over the limit"):
        assert not any(fed)


# Channels


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Give a pair of sockets with buffers as small as the system allows."""
    pair = socket.socketpair()
    for end in pair:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    with pair[0], pair[1]:
        yield pair


def test_a_channel_never_blocks(ends: tuple[socket.socket, socket.socket]) -> None:
    """Whatever is sent to a peer that does not read is queued, never waited for; it arrives whole and in order."""
    sender, receiver = map(Channel, ends)
    big = Run(task=1, rule="r", argv=("a",), env=(b"b=c",), stdin=(b"x" * 1_000_000,), timeout=0.0)
    history = [*HISTORY, big, *HISTORY, big, Heartbeat(answered=True)]
    assert list(receiver.receive()) == []
    for message in history:
        sender.send(message)
    assert sender.unsent
    found: list[Message] = []
    while sender.unsent:
        found += receiver.receive(1000)
        sender.flush()
    assert found + list(receiver.receive(1 << 30)) == history


def test_a_budget_is_kept(ends: tuple[socket.socket, socket.socket]) -> None:
    """No more is read at a time than asked."""
    sender, receiver = map(Channel, ends)
    size = len(wire(HISTORY[0]))
    for _ in range(10):
        sender.send(HISTORY[0])
    found = []
    for _ in range(5):
        found.append(len(list(receiver.receive(size * 3))))
        sender.flush()
    assert sum(found) == 10
    assert max(found) == 3


@pytest.mark.parametrize("unread", [b"", b"x"])
def test_end_of_file(ends: tuple[socket.socket, socket.socket], unread: bytes) -> None:
    """A dead peer is an end of file after what it said last, also with bytes unread; writing to it harms nobody."""
    channel, peer = Channel(ends[0]), ends[1]
    peer.sendall(wire(HISTORY[0]) + wire(HISTORY[1])[:5])
    if unread:
        channel.send(HISTORY[0])
    peer.close()
    found = list(channel.receive())
    while not channel.eof:
        found += channel.receive()
    assert found in (HISTORY[:1], [])  # a reset may take what it said with it
    assert found or unread
    channel.send(CHECK)
    assert not channel.unsent
    assert list(channel.receive()) == []


def test_garbage_on_a_channel(ends: tuple[socket.socket, socket.socket]) -> None:
    """What is no message raises ProtocolError after the messages before it."""
    channel = Channel(ends[0])
    ends[1].sendall(wire(HISTORY[0]) + frame(["Nope", []]))
    found = channel.receive()
    assert next(found) == HISTORY[0]
    with pytest.raises(ProtocolError):
        next(found)


def test_a_line(ends: tuple[socket.socket, socket.socket]) -> None:
    """The blocking end of a child speaks the same, until the end of file."""
    ends[1].setblocking(False)
    channel, line = Channel(ends[0]), Line(ends[1])
    assert ends[1].getblocking()
    line.send(HISTORY[0])
    assert list(channel.receive()) == HISTORY[:1]
    channel.send(CHECK)
    ends[0].shutdown(socket.SHUT_WR)
    assert list(line.receive()) == [CHECK]


def test_what_crosses_is_frozen() -> None:
    """A message cannot be changed."""
    with pytest.raises(AttributeError):
        HISTORY[0].answered = False  # type: ignore[misc, union-attr]


# A child's log


MARK = records.MARK


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (f'{MARK}[20, "hello", {{}}]\n', [(20, "hello")]),
        ("printed\n", [(10, "printed")]),
        (f'printed{MARK}[30, "x", {{}}]\n', [(10, "printed"), (30, "x")]),
        (f'{MARK}[20, "a", {{}}]\n\n  \nb\n{MARK}[20, "c", {{}}]\n', [(20, "a"), (10, "b"), (20, "c")]),
        ("no end", [(10, "no end")]),
        ("\x1b[31mred\r\x07\n", [(10, "\\x1b[31mred\\r\\x07")]),
        (f'{MARK}[20, "a\\nb\\u001b\\ud800", {{}}]\n', [(20, "a\\nb\\x1b\\ud800")]),
        (f"{MARK}nonsense\n", [(10, "nonsense")]),
        (f'{MARK}["20", "x", {{}}]\n', [(10, '["20", "x", {}]')]),
        (f'{MARK}[20, "x", {{"level": "y"}}]\n', [(10, '[20, "x", {"level": "y"}]')]),
        (f'{MARK}[true, "x", {{}}]\n', [(10, '[true, "x", {}]')]),
        (f"{MARK}[20, 5]\n{MARK}{{}}\n{MARK}5\n", [(10, "[20, 5]"), (10, "{}"), (10, "5")]),
        ("", []),
    ],
)
def test_log_lines(data: str, expected: list[tuple[int, str]]) -> None:
    """Records and what was printed come out line by line, however they were split; nothing of them is raw."""
    content = data.encode()
    for at in range(len(content) + 1):
        reader = records.LineReader()
        pieces = [piece for piece in (content[:at], content[at:]) if piece]
        found = [line[:2] for piece in [*pieces, b""] for line in reader.feed(piece)]
        assert found == expected


@given(st.lists(st.binary(max_size=30)))
@example([MARK.encode() + b"[" * 100_000, b"\n"])
def test_log_garbage(pieces: list[bytes]) -> None:
    """Any bytes give printable lines only."""
    reader = records.LineReader()
    for piece in [*filter(None, pieces), b""]:
        assert all(text.isprintable() and type(level) is int for level, text, _ in reader.feed(piece))


def test_log_fields() -> None:
    """A record's fields are the known ones, printable and bounded."""
    record = json.dumps([20, "x", {"rule": "a\nb", "event": "e" * 1000}])
    [(level, text, fields)] = records.LineReader().feed(f"{MARK}{record}\n".encode())
    assert (level, text) == (20, "x")
    assert fields == {"rule": "a\\nb", "event": "e" * records.FIELD_LIMIT + "…"}


def test_a_log_line_without_end() -> None:
    """A line that never ends is cut, and not kept."""
    reader = records.LineReader()
    found = [line for _ in range(1000) for line in reader.feed(b"x" * 1000)]
    assert 10 < len(found) < 1000
    assert all(len(text) <= records.TEXT_LIMIT + 1 for _, text, _ in found)


def test_a_child_that_cannot_import_its_log_handler(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing is left to import the handler with, a record is written all the same, and is never an error."""
    reader, writer = os.pipe()
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    monkeypatch.setitem(sys.modules, "disco.wire.pipe_log", None)
    log.enter_child(writer)
    logging.getLogger("disco.test").warning("told")
    os.close(writer)
    assert [line[:2] for line in records.LineReader().feed(os.read(reader, 1000))] == [(logging.WARNING, "told")]
    os.close(reader)


# Text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ü", "plain ü"),
        ("a\nb\t\x1b\0", "a\\nb\\t\\x1b\\x00"),
        ("\u202e\ud800\U000e0001", "\\u202e\\ud800\\U000e0001"),
    ],
)
def test_escape(text: str, shown: str) -> None:
    """What does not print is escaped, and what is too long is cut."""
    assert escape(text, 30) == shown
    assert escape("x" * 21, 20) == "x" * 20 + "…"
    assert escape("x" + "\0" * 6, 20) == "x" + "\\x00" * 4 + "…"  # no escape is cut in the middle


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://u:hunter2@h:1/x", "http://h:1/x"),
        ("at https://u:hun@ter2@h failed, http://h2/a@b", "at https://h failed, http://h2/a@b"),
        ("http://h/x", "http://h/x"),
    ],
)
def test_redact(text: str, shown: str) -> None:
    """The user part of a URL is never shown."""
    assert redact(text) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0 ms"), (0.0421, "42 ms"), (1, "1 s"), (61.26, "61.3 s"), (600, "10 min"), (9000, "2.5 h")],
)
def test_duration(seconds: float, shown: str) -> None:
    """Seconds are shown in the unit that people would use."""
    assert duration(seconds) == shown
    assert (plural(1, "rule"), plural(2, "rule")) == ("1 rule", "2 rules")
