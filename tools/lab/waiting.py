"""Wait for facts of other processes, which tell nobody."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE = 60.0  # seconds; what takes longer on a busy machine is taken to hang


def eventually(look: Callable[[], Any], what: str = "", patience: float = PATIENCE) -> Any:
    """Return the first true result of `look`.

    Raises:
        TimeoutError: it has not come within `patience` seconds; `what` names it.

    """
    deadline = time.monotonic() + patience
    while not (result := look()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"never came: {what or look}")
        time.sleep(0.01)  # the one place that polls
    return result
