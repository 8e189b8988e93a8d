"""The drawing of tools/bench. Needs matplotlib, which nothing else of disco's does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib as mpl

mpl.use("agg")  # draws into a file, and needs no display

from matplotlib import pyplot as plt

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from bench_lab.line import Line


def draw(rows: Mapping[str, Sequence[Line]], file: Path) -> None:
    """Draw each value that has a target as a share of it, and what was measured of ever more of something by their number."""
    judged = [
        (f"{row}: {line.title}   {line.value / line.limit:.2f}", line.value / line.limit)
        for row, lines in rows.items()
        for line in lines
        if line.limit
    ]
    curves: dict[str, list[tuple[int, float]]] = {}
    for row, lines in rows.items():
        for line in lines:
            if line.count:
                curves.setdefault(f"{row}: {line.what} ({line.unit})", []).append((line.count, line.value))
    figure, (shares, growth) = plt.subplots(2, figsize=(11, 4 + len(judged) * 0.25), layout="constrained")
    names, values = ([*reversed(column)] for column in zip(*judged, strict=True)) if judged else ([], [])
    shares.barh(names, values, color=["tab:green" if value <= 1 else "tab:red" for value in values])
    shares.axvline(1, color="black", linewidth=1)
    shares.set_xlim(0, 3)  # what is longer has its number beside its name
    shares.set_xlabel("value by its target")
    for name, points in curves.items():
        growth.loglog(*zip(*points, strict=True), marker="o", label=name)
    growth.set_xlabel("sources")
    if curves:
        growth.legend()
    figure.savefig(file)
    plt.close(figure)
