"""Who may import whom: the folders that the package docstring lists are the law, and the code keeps to it."""

from __future__ import annotations

import ast
import re
from graphlib import TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import disco

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(disco.__file__).parent
LARGE = 300  # lines
IMPURE = {"os", "signal", "time", "selectors", "socket", "subprocess", "random", "threading"}


def find_modules() -> dict[str, Path]:
    """Return the package's modules by their names below it; the package itself is ""."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = find_modules()
ROOMS = [
    room for floor in re.findall(r"^    \d\. ([a-z_, ]+?)(?:  |$)", disco.__doc__ or "", re.MULTILINE) for room in floor.split(", ")
]


def walk(node: ast.AST, *, types: bool) -> Iterator[ast.AST]:
    """Yield all nodes; without `types` but those that only a type checker sees."""
    yield node
    for child in ast.iter_child_nodes(node):
        if not types and isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test) and child in node.body:
            continue
        yield from walk(child, types=types)


def imports_of(name: str, *, types: bool = False) -> set[str]:
    """Return the full names of what a module imports, in functions too."""
    found = set()
    for node in walk(ast.parse(MODULES[name].read_text()), types=types):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} has a relative import"
            found |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def own_imports_of(name: str, *, types: bool = True) -> set[str]:
    """Return which of disco's modules a module imports; the package itself, which is only a version, does not count.

    Neither does a module's own folder: `from disco.wire import channel` is about the channel.
    """
    below = {full.removeprefix("disco.") for full in imports_of(name, types=types) if full.startswith("disco.")}
    found = below & set(MODULES) - {name}
    return {other for other in found if not any(one.startswith(f"{other}.") for one in found)} - {name.rpartition(".")[0]}


def room_of(name: str) -> str:
    """Return the folder that a module is in, or the module itself if it is in none."""
    return name.partition(".")[0]


def test_the_docstring_lists_every_room() -> None:
    """A new folder, or a module beside them, is given its floor, and none is listed that is not there."""
    assert set(ROOMS) == {room_of(name) for name in MODULES} - {""}


@pytest.mark.parametrize("name", sorted(set(MODULES) - {""}))
def test_imports_go_down(name: str) -> None:
    """A module imports from its own folder, and from what comes after it in the list, for the type checker too."""
    mine = room_of(name)
    assert not {other for other in own_imports_of(name) if room_of(other) not in {mine, *ROOMS[ROOMS.index(mine) + 1 :]}}


def test_there_is_no_cycle() -> None:
    """Within a folder too there is an order, for the type checker too."""
    TopologicalSorter({name: own_imports_of(name) for name in MODULES}).prepare()


@pytest.mark.parametrize("name", [name for name, path in MODULES.items() if len(path.read_text().splitlines()) > LARGE])
def test_a_large_module_says_why_it_is_one(name: str) -> None:
    """What takes long to read has its reason at the top."""
    told = ast.get_docstring(ast.parse(MODULES[name].read_text())) or ""
    assert "It is one module, however long, because" in told


@pytest.mark.parametrize("name", [name for name in sorted(MODULES) if room_of(name) == "core"])
def test_core_is_pure(name: str) -> None:
    """What decides is given time and facts, and asks for none."""
    assert not imports_of(name) & IMPURE


def test_the_package_itself_imports_nothing() -> None:
    """So `import disco` is free of side effects, and every module may name it."""
    assert imports_of("") == set()
