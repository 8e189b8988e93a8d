"""The contract of a source as tests: what the docstring of `disco.sources` demands of a generator, seen from outside.

It is one module, however long, because an author inherits from one class, and reads there what is tested.
"""

from __future__ import annotations

import copy
import logging
import os
import threading
import time
from collections.abc import Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import count
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import psutil
import pytest

from disco.sources import Context, Options, Problem, Source, SourceError
from disco.sources.options import SOURCE_OPTIONS
from disco.system.limits import Overrun, time_limit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PATIENCE = 30.0  # seconds for what happens soon, also on a busy machine
REASON_LIMIT = 500  # characters of a reason or a note that people read
CALLS = 3  # after which what each call leaves behind is seen
FOREIGN = "foreign"  # an interface that nobody asked for
_VALUES = count()


class Backend(Protocol):
    """What the tests do with the author's backend."""

    @property
    def options(self) -> Mapping[str, str]:
        """The source's options by which it reads this backend, as text."""

    def put(self, interface: str, value: str) -> None:
        """Have the interface there, with the text `value` somewhere in its data."""

    def remove(self, interface: str) -> None:
        """Take the interface away."""

    def fail(self) -> None:
        """Make the backend unreadable."""

    def recover(self) -> None:
        """Make it readable again; its data may be lost."""


class Call:
    """One call of a source's generator."""

    def __init__(self, source: Source, context: Context) -> None:
        """Call it; nothing runs yet."""
        self._limit = source.step_limit(context.options, context.interval)
        self._generator = source.watch(context)

    def step(self, meanwhile: Callable[[], object] = lambda: None) -> Mapping[str, Any]:
        """Return the next snapshot; meanwhile: is done in a thread beside."""
        with ThreadPoolExecutor(1) as threads:
            done = threads.submit(meanwhile)
            try:
                with time_limit(self._limit):
                    snapshot = next(iter(self._generator))
            except StopIteration:
                pytest.fail("the generator ended by itself: it has to yield for ever, or to raise SourceError")
            except Overrun:
                pytest.fail(f"a step took longer than the {self._limit:g} s of step_limit")
            finally:
                done.result()
        assert isinstance(snapshot, Mapping), "a generator yields mappings by interface"
        return snapshot

    def fail(self) -> SourceError:
        """Return the error that one of the next steps raises."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            try:
                self.step()
            except SourceError as error:
                return error
        pytest.fail("the backend fails, and no SourceError is raised")

    def close(self) -> None:
        """End the call, as disco does."""
        if isinstance(self._generator, Generator):
            self._generator.close()


class SourceContract:
    """Tests of one source: a subclass sets `source`, and defines the fixture `backend`.

    part: which of the source's parts is tested. interfaces: the names that it may provide, of which the tests use each.
    interval: seconds, as disco.interval. is_constant: the backend can neither change nor fail while the generator runs (the
    environment of its process, say), so only a new call sees what a test changes.
    """

    source: ClassVar[Source]
    part: ClassVar[str] = ""
    interfaces: ClassVar[tuple[str, ...]] = ("app", "db")
    interval: ClassVar[float] = 0.05
    is_constant: ClassVar[bool] = False

    @pytest.fixture
    def backend(self) -> Backend:
        """Give the backend, empty."""
        raise NotImplementedError("the subclass defines the fixture `backend`")

    @pytest.fixture
    def options(self, backend: Backend) -> Options:
        """Give all options of the source, as disco makes them of the backend's."""
        declared = {option.name: option for option in (*SOURCE_OPTIONS, *self.source.options)}
        values = {name: option.default for name, option in declared.items()}
        for name, text in backend.options.items():
            values[name] = declared[name].type(text) if name in declared else text
        return Options(values, {}, frozenset(backend.options))

    @pytest.fixture
    def notes(self) -> list[str]:
        """Give what the source notes for people."""
        return []

    @pytest.fixture
    def call(self, options: Options, notes: list[str]) -> Iterator[Callable[..., Call]]:
        """Give what calls the generator; each call is closed at the end of the test."""
        calls = []
        memory: dict[str, Any] = {}

        def make(memory: dict[str, Any] = memory) -> Call:
            names = frozenset(self.interfaces)
            context = Context("contract", self.part, options, self.interval, names, memory, notes.append)
            calls.append(Call(self.source, context))
            return calls[-1]

        yield make
        for each in calls:
            each.close()

    def test_declaration(self, options: Options) -> None:
        """The declaration is complete: disco can ask everything that it asks before the process is forked."""
        assert all(option.help for option in self.source.options), "each option says what it is for"
        assert not list(self.source.check(options)), "the options of the test are right"
        assert all(isinstance(problem, Problem) for problem in self.source.doubts(options))
        assert all(isinstance(remark, str) for remark in self.source.remarks(options))
        assert self.part in self.source.parts(options)
        assert isinstance(self.source.place(options, self.part), str)
        assert self.source.step_limit(options, self.interval) > options["timeout"]
        assert set(self.interfaces) <= set(self.source.provides(options, self.part, frozenset(self.interfaces)))

    def test_first_snapshot_is_everything(self, backend: Backend, call: Callable[..., Call]) -> None:
        """The first snapshot holds every interface that the backend has."""
        values = self.put_all(backend)
        self.reach(call(), values)

    def test_nothing_new_is_the_same_object(self, backend: Backend, call: Callable[..., Call]) -> None:
        """While nothing changes the same object is yielded again, after a second look at what has only just changed."""
        values = self.put_all(backend)
        running = call()
        before, snapshot = None, self.reach(running, values)
        end = time.monotonic() + PATIENCE
        while snapshot is not before:
            assert time.monotonic() < end, "nothing changes, and each snapshot is another object"
            before, snapshot = snapshot, running.step()
            self.assert_holds(snapshot, values)

    def test_each_change_is_seen(self, backend: Backend, call: Callable[..., Call]) -> None:
        """An interface that appears, changes or disappears does so in a later snapshot, and the others stay as they are."""
        running = call()
        running.step()
        values: dict[str, str] = {}
        for interface in self.interfaces:
            for _ in ("appears", "changes"):
                values[interface] = make_value()
                backend.put(interface, values[interface])
                running = self.follow(running, call)
                self.reach(running, values)
        for interface in self.interfaces:
            del values[interface]
            backend.remove(interface)
            running = self.follow(running, call)
            self.reach(running, values)

    def test_a_change_is_seen_while_it_waits(self, backend: Backend, call: Callable[..., Call]) -> None:
        """A change that is made while the generator waits is seen as well."""
        values = self.put_all(backend)
        running = call()
        self.reach(running, values)
        changed = self.interfaces[0]
        values[changed] = make_value()
        running.step(lambda: backend.put(changed, values[changed]))
        self.reach(self.follow(running, call), values)

    def test_what_was_yielded_is_not_changed(self, backend: Backend, call: Callable[..., Call]) -> None:
        """A snapshot stays as it was yielded, whatever comes later."""
        values = self.put_all(backend)
        running = call()
        snapshot = self.reach(running, values)
        before = copy.deepcopy(snapshot)
        values = self.put_all(backend)
        self.reach(self.follow(running, call), values)
        assert snapshot == before

    def test_foreign_interfaces_do_no_harm(self, backend: Backend, call: Callable[..., Call]) -> None:
        """An interface that nobody asked for may be yielded, and changes nothing of the others."""
        values = self.put_all(backend)
        running = call()
        self.reach(running, values)
        backend.put(FOREIGN, make_value())
        running = self.follow(running, call)
        self.assert_holds(running.step(), values)
        values = self.put_all(backend)
        self.reach(self.follow(running, call), values)
        backend.remove(FOREIGN)

    def test_a_failure_is_an_error_with_a_reason(
        self, backend: Backend, call: Callable[..., Call], notes: list[str], caplog: pytest.LogCaptureFixture
    ) -> None:
        """A backend that cannot be read is a SourceError with a reason for people, and nothing that is shown holds a value."""
        if self.is_constant:
            return
        caplog.set_level(logging.DEBUG)
        values = self.put_all(backend)
        running = call()
        self.reach(running, values)
        backend.fail()
        try:
            error = running.fail()
            again = call().fail()
        finally:
            backend.recover()
        shown = [error.reason, again.reason]
        assert all(reason and len(reason) <= REASON_LIMIT and reason.isprintable() for reason in shown)
        assert all(isinstance(note, str) for note in notes)
        for text in (*shown, *notes, *(record.getMessage() for record in caplog.records)):
            assert not any(value in text for value in values.values()), "a value is shown to people"

    def test_a_call_after_an_error_reads_anew(self, backend: Backend, call: Callable[..., Call]) -> None:
        """After an error the generator is called again: it yields everything, and follows changes."""
        if self.is_constant:
            return
        values = self.put_all(backend)
        first = call()
        self.reach(first, values)
        backend.fail()
        try:
            first.fail()
        finally:
            backend.recover()
        first.close()
        for _ in ("everything", "a change"):
            values = self.put_all(backend)
            running = call()
            self.reach(running, values)

    def test_memory_is_a_help_and_no_need(self, backend: Backend, call: Callable[..., Call]) -> None:
        """A call with an earlier one's memory, and one with none, as in a new process, both yield everything."""
        for is_new_process in (True, False, False, True):
            values = self.put_all(backend)
            running = call({}) if is_new_process else call()
            self.reach(running, values)
            running.close()

    def test_closing_releases_everything(self, backend: Backend, call: Callable[..., Call]) -> None:
        """A call that is closed leaves no descriptor, thread or process behind."""
        values = self.put_all(backend)

        def complete() -> tuple[int, ...]:
            running = call()
            self.reach(running, values)
            running.close()
            return count_resources()

        allowed = complete()  # what a library makes once for the whole process
        for _ in range(CALLS):
            complete()
        end = time.monotonic() + PATIENCE
        while any(held > before for held, before in zip(count_resources(), allowed, strict=True)):
            assert time.monotonic() < end, f"descriptors, threads, processes: {allowed} at first, {count_resources()} at last"
            threading.Event().wait(0.01)

    # What subclasses need not know.

    def follow(self, running: Call, call: Callable[..., Call]) -> Call:
        """Return the call that sees a change: the one that runs, or a new one where the backend of a running one is constant."""
        if not self.is_constant:
            return running
        running.close()
        return call()

    def put_all(self, backend: Backend) -> dict[str, str]:
        """Give each interface a new value; return them."""
        values = {interface: make_value() for interface in self.interfaces}
        for interface, value in values.items():
            backend.put(interface, value)
        return values

    def holds(self, snapshot: Mapping[str, Any], values: Mapping[str, str]) -> bool:
        """Return whether a snapshot holds these values, and no other of the interfaces."""
        known = {interface: data for interface, data in snapshot.items() if interface in self.interfaces}
        return known.keys() == values.keys() and all(values[interface] in repr(data) for interface, data in known.items())

    def assert_holds(self, snapshot: Mapping[str, Any], values: Mapping[str, str]) -> None:
        """Fail unless a snapshot holds these values."""
        assert self.holds(snapshot, values), f"{snapshot} does not hold {values}"

    def reach(self, running: Call, values: Mapping[str, str]) -> Mapping[str, Any]:
        """Step until a snapshot holds these values, and return it: a backend may answer before a change is there."""
        end = time.monotonic() + PATIENCE
        while not self.holds(snapshot := running.step(), values):
            assert time.monotonic() < end, f"{values} never came; the last snapshot is {snapshot}"
        return snapshot


def make_value() -> str:
    """Return a text that was never used before, and is in no message by chance."""
    return f"value-{os.getpid()}-{next(_VALUES)}-hunter2"


def count_resources() -> tuple[int, ...]:
    """Return the numbers of open descriptors, threads of Python's and child processes of this process."""
    process = psutil.Process()
    children = 0
    with suppress(psutil.Error):
        children = len(process.children())
    return process.num_fds(), threading.active_count(), children
