"""Waits of rows: in vain they make a row red, and they end when the tool is to stop."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from lab.waiting import eventually

from faults_lab.errors import RedError, StoppedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from lab.site import Running

PATIENCE = 60.0  # seconds for any one thing to come
stopping = threading.Event()


def await_fact(look: Callable[[], Any], what: str) -> Any:
    """Wait for a fact, and return it.

    Raises:
        RedError: it does not come in time.
        StoppedError: the tool was told to stop.

    """

    def look_unless_stopped() -> Any:
        check_stopping()
        return look()

    try:
        return eventually(look_unless_stopped, patience=PATIENCE)
    except TimeoutError:
        raise RedError(f"not within {PATIENCE:g} s: {what}") from None


def wait_for_end(running: Running) -> int:
    """Wait for the end of disco, and return its exit status."""
    await_fact(lambda: running.process.poll() is not None, "the end of disco")
    return running.process.wait()


def check_stopping() -> None:
    """Raise StoppedError if the tool is to stop."""
    if stopping.is_set():
        raise StoppedError
