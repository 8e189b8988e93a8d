"""Chance: random numbers that the kernel gives.

To import the standard library's `random` costs each process 0.7 ms, and a state that each fork has to seed anew.
"""

from __future__ import annotations

import os

_BITS = 53  # of a float


def share() -> float:
    """Return a random number from 0 up to 1."""
    return (int.from_bytes(os.urandom(8), "big") >> (64 - _BITS)) / (1 << _BITS)


def between(least: float, most: float) -> float:
    """Return a random number between two others."""
    return least + (most - least) * share()
