"""Samples (durations, times, …) and the numbers that are made of them."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def quartiles(samples: Sequence[float]) -> tuple[float, float]:
    """Return what a quarter of the samples is below, and what a quarter is above."""
    if len(samples) == 1:
        return samples[0], samples[0]
    low, _, high = statistics.quantiles(samples, n=4, method="inclusive")
    return low, high


def percentiles(samples: Iterable[float]) -> dict[str, float]:
    """Return how many samples there are, their median, 99th percentile and maximum; of none only the number."""
    ordered = sorted(samples)
    if not ordered:
        return {"n": 0}
    shares = {"p50": 0.5, "p99": 0.99, "max": 1.0}
    last = len(ordered) - 1
    return {"n": len(ordered)} | {name: round(ordered[min(last, int(share * (last + 1)))], 3) for name, share in shares.items()}


def most_in_a_second(times: Sequence[float]) -> int:
    """Return how many of some times (seconds) lie within any one second."""
    ordered = sorted(times)
    first = most = 0
    for last, at in enumerate(ordered):
        while ordered[first] <= at - 1:
            first += 1
        most = max(most, last - first + 1)
    return most
