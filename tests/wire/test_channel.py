"""Channels: ends that never block, and one that does."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from disco.errors import ProtocolError
from disco.wire.channel import BlockingChannel, Channel
from disco.wire.messages import Diff, Heartbeat, Message, Run
from tests.wire.history import CHECK, HISTORY, diff, frame, wire

if TYPE_CHECKING:
    from collections.abc import Iterator


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
    many = big._replace(env=tuple(b"NAME%d=%d" % (number, number) for number in range(5000)))
    history = [*HISTORY, big, *HISTORY, many, big, Heartbeat(answered=True)]
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


def test_the_blocking_end(ends: tuple[socket.socket, socket.socket]) -> None:
    """The blocking end of a child speaks the same, until the end of file."""
    ends[1].setblocking(False)
    channel, blocking = Channel(ends[0]), BlockingChannel(ends[1])
    assert ends[1].getblocking()
    blocking.send(HISTORY[0])
    assert list(channel.receive()) == HISTORY[:1]
    channel.send(CHECK)
    ends[0].shutdown(socket.SHUT_WR)
    assert list(blocking.receive()) == [CHECK]


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
