"""Tests that hold for every source, for the author of one: subclass `SourceContract`. The only part of disco that needs pytest.

    # test_mine.py
    from disco.testing import SourceContract
    from mine import SOURCE

    class Backend:
        options = {"host": "127.0.0.1:8500"}     # as text, as in DISCO_CFG
        def __init__(self, server): ...
        def put(self, interface, value): ...     # the interface is there, and holds the text `value` wherever it likes
        def remove(self, interface): ...         # it is gone
        def fail(self): ...                      # from now on the backend cannot be read
        def recover(self): ...                   # it can, and may have lost its data

    class TestMine(SourceContract):
        source = SOURCE

        @pytest.fixture
        def backend(self):
            with start_server() as server:       # empty, and of this test alone (or emptied before it)
                yield Backend(server)

pytest then collects the contract's tests in `TestMine`. Use a real server, and options by which it waits and fails soon (`timeout`
and `wait` of a second): the tests step the generator in the main thread, as disco does, each step within `Source.step_limit`.
"""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("disco.testing.contract")

from disco.testing.contract import Backend, SourceContract  # noqa: E402 -- only then pytest says what an assertion compared

__all__ = ["Backend", "SourceContract"]
