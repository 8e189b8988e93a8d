"""tools/lab: numbers made of samples, and what is measured while something else goes on."""

from __future__ import annotations

import itertools
import subprocess
from typing import TYPE_CHECKING

import pytest
from lab.memory import Peak, highest_resident, proportional, resident
from lab.processes import below, end_all, is_alive, parents_below
from lab.samples import most_in_a_second, percentiles, quartiles
from lab.waiting import eventually

if TYPE_CHECKING:
    from pathlib import Path


def test_samples() -> None:
    """Percentiles are samples themselves, quartiles lie between them, and a second has no more than one end."""
    assert percentiles([]) == {"n": 0}
    assert percentiles(range(100, 0, -1)) == {"n": 100, "p50": 51, "p99": 100, "max": 100}
    assert quartiles([4.0]) == (4.0, 4.0)
    assert quartiles([1, 2, 3, 4, 5]) == (2, 4)
    assert most_in_a_second([0.0, 0.5, 1.0, 1.4, 9.0]) == 3


def test_what_never_comes() -> None:
    """A fact that does not come in time is named."""
    with pytest.raises(TimeoutError, match="the flood"):
        eventually(lambda: False, "the flood", patience=0.0)


def test_processes(tmp_path: Path) -> None:
    """What is below a process is found with its parents and its memory, and ended by a mark in its environment."""
    mark = f"LAB_TEST={tmp_path}"
    with subprocess.Popen(["env", mark, "sh", "-c", "sleep 1000 & wait"]) as shell:
        [sleep] = eventually(lambda: below(shell.pid), "the shell's child")
        assert parents_below(shell.pid) == {sleep: shell.pid}
        eventually(lambda: 0 < proportional(sleep) <= resident(sleep) <= highest_resident(sleep), "its memory")
        end_all(mark)
    assert not is_alive(sleep)
    assert not below(shell.pid)
    assert proportional(sleep) == resident(sleep) == highest_resident(sleep) == 0


def test_peak() -> None:
    """The highest of all values that a measurement had counts, not the last one."""
    values = itertools.chain([1, 7, 3], itertools.repeat(0))
    measured: list[float] = []

    def measure() -> float:
        measured.append(next(values))
        return measured[-1]

    with Peak(measure, 0.0) as peak:
        eventually(lambda: len(measured) > 3, "four measurements")
    assert peak.highest == 7
