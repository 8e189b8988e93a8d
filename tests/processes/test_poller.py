"""The poller and the streams: what a child sends too fast waits, and nothing of it is lost."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest

from disco.core.events import ChildId, Kind, MessageReceived, ProtocolViolated
from disco.processes.poller import Poller
from disco.processes.streams import BURST, MESSAGES_A_SECOND, Messages
from disco.wire.channel import BlockingChannel, Channel
from disco.wire.messages import Heartbeat, Merge

if TYPE_CHECKING:
    from collections.abc import Iterator

CHILD = ChildId(Kind.CHECKER, "checker")


@pytest.fixture
def ends() -> Iterator[tuple[Messages, socket.socket]]:
    """Give a stream of messages, and the other end of its channel."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield Messages(CHILD, Channel(ours), None), theirs


@pytest.fixture
def poller() -> Iterator[Poller]:
    """Give a poller with a pipe that wakes it."""
    reader, writer = os.pipe()
    yield Poller(reader)
    os.close(reader)
    os.close(writer)


def test_a_burst_too_large_pauses_its_stream(ends: tuple[Messages, socket.socket], poller: Poller) -> None:
    """After more than a burst a stream is not waited for, until its pause is over; what it holds then is read."""
    stream, end = ends
    child = BlockingChannel(end)
    poller.update(stream)
    for _ in range(BURST + 1):
        child.send(Heartbeat(answered=True))
    [(ready, mask)] = poller.wait(0)
    assert ready is stream
    assert len(stream.serve(mask, 100.0)) == BURST + 1
    poller.update(stream)
    child.send(Heartbeat(answered=False))
    assert not poller.wait(0)
    until = 100.0 + (BURST + 1) / MESSAGES_A_SECOND
    assert poller.resume_at == until
    poller.resume(until - 0.001)
    assert not poller.wait(0)
    poller.resume(until)
    assert poller.resume_at is None
    [(ready, mask)] = poller.wait(0)
    assert ready.serve(mask, until) == [MessageReceived(CHILD, Heartbeat(answered=False))]


def test_a_burst_costs_no_pause(ends: tuple[Messages, socket.socket], poller: Poller) -> None:
    """A burst is read as it comes."""
    stream, end = ends
    for _ in range(BURST):
        BlockingChannel(end).send(Heartbeat(answered=True))
    stream.serve(1, 100.0)
    poller.update(stream)
    assert poller.resume_at is None


def test_a_paused_stream_is_among_the_unread(ends: tuple[Messages, socket.socket], poller: Poller) -> None:
    """What must be read before a decision is read from paused streams too, once each."""
    stream, end = ends
    poller.update(stream)
    assert poller.find_unread() == []
    stream.resume_at = 5.0
    poller.update(stream)
    BlockingChannel(end).send(Heartbeat(answered=True))
    assert poller.find_unread() == [stream]
    assert stream.read_arrived(1.0) == [MessageReceived(CHILD, Heartbeat(answered=True))]


def test_room_is_waited_for_while_something_is_unsent(ends: tuple[Messages, socket.socket], poller: Poller) -> None:
    """A message that does not fit is sent as the child reads, and after that the poller waits for no room."""
    stream, end = ends
    poller.update(stream)
    stream.channel.send(Merge(1, "a", (b"x" * 1_000_000,)))
    poller.update(stream)
    left = 1_000_000
    while stream.channel.unsent:
        left -= len(end.recv(1 << 20))
        for ready, mask in poller.wait(0):
            ready.serve(mask, 1.0)
            poller.update(ready)
    assert left < 1_000_000
    assert not poller.wait(0)


def test_a_forgotten_stream_is_not_waited_for(ends: tuple[Messages, socket.socket], poller: Poller) -> None:
    """A stream that is to be closed leaves nothing behind, paused or not."""
    stream, end = ends
    poller.update(stream)
    BlockingChannel(end).send(Heartbeat(answered=True))
    stream.resume_at = 5.0
    poller.update(stream)
    poller.forget(stream)
    assert poller.resume_at is None
    assert not poller.wait(0)


def test_what_is_no_message_ends_a_stream(ends: tuple[Messages, socket.socket], poller: Poller) -> None:
    """After a violation of the protocol nothing more is read."""
    stream, end = ends
    BlockingChannel(end).send(Heartbeat(answered=True))
    end.sendall(b"\xff" * 8)
    received, violated = stream.serve(1, 1.0)
    assert received == MessageReceived(CHILD, Heartbeat(answered=True))
    assert isinstance(violated, ProtocolViolated)
    poller.update(stream)
    end.sendall(b"more")
    assert not poller.wait(0)
    assert stream.read_last() == []
