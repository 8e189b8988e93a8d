"""How long to wait before something that failed is tried again. Pure: randomness is given."""

from __future__ import annotations

FIRST, LAST = 0.25, 30.0  # seconds


def backoff(failures: int, share: float) -> float:
    """Return seconds to wait after so many earlier failures in a row: exponential from FIRST to LAST, with full jitter.

    share: a random number from 0 to 1, the part of the longest wait. No wait is shorter than a tenth of FIRST.
    """
    return max(min(LAST, FIRST * 2.0 ** min(failures, 10)) * share, FIRST / 10)
