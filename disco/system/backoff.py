"""How long to wait before something that failed is tried again. Pure: randomness is given."""

from __future__ import annotations

FIRST, LAST = 0.25, 30.0  # seconds
DOUBLINGS = 30  # of a pause at most: what fits no float is longer than any pause may be


def double(first: float, longest: float, failures: int) -> float:
    """Return seconds to wait after so many earlier failures in a row: the first pause, doubled each time up to the longest."""
    return float(min(longest, first * 2.0 ** min(failures, DOUBLINGS)))


def backoff(failures: int, share: float) -> float:
    """Return seconds to wait after so many earlier failures in a row: exponential from FIRST to LAST, with full jitter.

    share: a random number from 0 to 1, the part of the longest wait. No wait is shorter than a tenth of FIRST.
    """
    return max(double(FIRST, LAST, failures) * share, FIRST / 10)
