"""Circles: rules that wait for themselves, because each comes after the next one. Pure; names and a graph of them."""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def find_circles(after: Mapping[str, Sequence[str]], limit: int) -> tuple[list[list[str]], bool]:
    """Return up to `limit` circles in the order of their first names, and whether there are more.

    after: by name, in order: the names that it waits for, each of them a key too. A circle begins with the first of its names.
    """
    graph = {name: list(dict.fromkeys(others)) for name, others in after.items()}
    order = {name: number for number, name in enumerate(graph)}
    circles: list[list[str]] = []
    while (circle := _find_circle(graph)) and len(circles) < limit:
        start = circle.index(min(circle, key=order.__getitem__))
        circles.append([*circle[start:], *circle[:start]])
        graph[circles[-1][0]].remove(circles[-1][1 % len(circle)])  # opened, so that the next circle can be found
    return sorted(circles, key=lambda circle: order[circle[0]]), bool(circle)


def _find_circle(graph: Mapping[str, list[str]]) -> list[str]:
    """Return the names of one circle, each before the one that it waits for; empty without a circle."""
    sorter = TopologicalSorter(graph)
    try:
        sorter.prepare()
    except CycleError as error:
        return list(reversed(error.args[1][1:]))  # graphlib's order is the opposite, and repeats the first name at the end
    return []
