"""Who may import whom: the package docstring's table is the law, and what the code does."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import disco

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(disco.__file__).parent
RANKS = {
    "errors": 0,
    "text": 0,
    "messages": 1,
    "signals": 1,
    "documents": 1,
    "records": 1,
    "report_file": 1,
    "adoption": 1,
    "children": 2,
    "events": 2,
    "channel": 2,
    "config": 2,
    "schema": 2,
    "knowledge": 2,
    "pipe_log": 2,
    "sources.tls": 2,
    "log": 3,
    "rules": 3,
    "process": 3,
    "lifecycle": 3,
    "report": 3,
    "sources": 3,
    "sources.consul_http": 3,
    "check": 4,
    "dry_run": 4,
    "sources.watcher": 4,
    "sources.flat": 4,
    "sources.consul": 4,
    "sources.etcd": 4,
    "workers": 4,
    "workers.runner": 4,
    "workers.checker": 4,
    "entrypoint": 4,
    "coordinator": 5,
    "cli": 6,
    "__main__": 7,
}
PURE = ("adoption", "events", "rules", "knowledge", "lifecycle", "report")
IMPURE_IMPORTS = {"os", "signal", "time", "selectors", "socket", "subprocess"}
CLOSED_TO_CHILDREN = {"coordinator", "lifecycle", "process"}


def find_modules() -> dict[str, Path]:
    """Return the package's modules by their names below it; the package itself is ""."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = find_modules()


def walk(node: ast.AST) -> Iterator[ast.AST]:
    """Yield all nodes but those that only a type checker sees."""
    yield node
    for child in ast.iter_child_nodes(node):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test) and child in node.body:
            continue
        yield from walk(child)


def imports_of(name: str) -> set[str]:
    """Return the full names of what a module imports, in functions too."""
    found = set()
    for node in walk(ast.parse(MODULES[name].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} has a relative import"
            found |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def own_imports_of(name: str) -> set[str]:
    """Return which of disco's modules a module imports; the package itself, which is only a version, does not count."""
    below = {full.removeprefix("disco.") for full in imports_of(name) if full.startswith("disco.")}
    return below & set(MODULES) - {name}


def test_every_module_has_a_rank() -> None:
    """A new module is given its place, and none is listed that is not there."""
    assert set(RANKS) == set(MODULES) - {""}


@pytest.mark.parametrize("name", sorted(set(MODULES) - {""}))
def test_a_module_imports_lower_ranks_only(name: str) -> None:
    """Imports go down, so there is no cycle either."""
    wrong = {other for other in own_imports_of(name) if RANKS[other] >= RANKS[name]}
    assert not wrong, f"{name} (rank {RANKS[name]}) imports " + ", ".join(f"{other} ({RANKS[other]})" for other in wrong)


@pytest.mark.parametrize("name", PURE)
def test_pure_modules_do_not_touch_the_system(name: str) -> None:
    """What decides is given time and facts, and asks for none."""
    assert not imports_of(name) & IMPURE_IMPORTS


@pytest.mark.parametrize("name", [name for name in sorted(MODULES) if name.startswith(("sources", "workers"))])
def test_what_runs_in_children_does_not_know_the_coordinator(name: str) -> None:
    """Sources and workers talk to the coordinator by messages alone."""
    assert not own_imports_of(name) & CLOSED_TO_CHILDREN


def test_the_docstring_tells_these_ranks() -> None:
    """The architecture's home is the package docstring."""
    assert disco.__doc__
    told = {
        name: int(rank)
        for rank, names in re.findall(r"^ *rank (\d): (.+)$", disco.__doc__, re.MULTILINE)
        for name in names.split(", ")
    }
    assert told == RANKS


def test_the_package_itself_imports_nothing() -> None:
    """So `import disco` is free of side effects, and every module may name it."""
    assert imports_of("") == set()
