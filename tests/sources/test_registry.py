"""Types of sources by name, and what they declare."""

from __future__ import annotations

import types
from typing import TYPE_CHECKING

import pytest

from disco.errors import ConfigurationError, Problem
from disco.sources import Options, Source, flat, registry
from disco.sources.options import patterns
from tests.workers.support import SECRET

if TYPE_CHECKING:
    from collections.abc import Callable


def test_what_a_part_of_a_source_may_provide() -> None:
    """`interfaces` names what a source may provide, with `*` for any characters only; a part provides what it is named by."""
    known = {"db", "db.old", "web-1", "web[1]", "web"}

    def may(wanted: str | None, part: str = "") -> frozenset[str]:
        options = Options({"interfaces": wanted and patterns(wanted)}, {}, frozenset())
        return registry.provided(flat.SOURCE, options, part, known)

    assert may(None) == may("*") == known
    assert may("db,web-*,else") == {"db", "web-1"}
    assert may("web[1]") == {"web[1]"}
    assert may("d.*") == set()
    assert (may(None, "db"), may("d*", "db"), may("web*", "db")) == ({"db"}, {"db"}, set())


def test_find() -> None:
    """Built-in types are found by name, and an unknown one is told with what is known."""
    assert registry.find("flat", "somewhere") is flat.SOURCE
    problem = refusal("flatt")
    assert problem.place == "somewhere"
    assert problem.message.startswith(f"no source type 'flatt' (known: {', '.join(sorted(registry.BUILT_IN))}")
    assert problem.remedy == "did you mean flat?"


def test_plug_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plug-in is found by its entry point; one that cannot be loaded, is no source or lacks a module is told."""
    good = Source(options=(), watch=flat.watch)

    def fail() -> object:
        raise RuntimeError(SECRET)

    loads: dict[str, Callable[[], object]] = {
        "good": lambda: good,
        "bad": fail,
        "odd": lambda: 5,
        "bare": lambda: Source(options=(), watch=flat.watch, modules=("json", "no_such_module"), extra="x"),
    }
    entries = [types.SimpleNamespace(name=name, load=load) for name, load in loads.items()]
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: entries if group == registry.GROUP else [])
    source = registry.find("good", "")
    assert (source.watch, source.parts(Options({}, {}, frozenset()))) == (flat.watch, ("",))
    assert refusal("bad").message == "source type 'bad' cannot be loaded: RuntimeError"
    assert refusal("odd").message == "source type 'odd': its entry point is no disco.sources.Source"
    (missing,) = registry.find_missing("bare", registry.find("bare", ""), "somewhere")
    what = "source type 'bare' needs the Python module no_such_module, which is not installed"
    assert missing == Problem("somewhere", what, "pip install 'disco-entrypoint[x]'")


def refusal(name: str) -> Problem:
    """Return why there is no source of a type."""
    with pytest.raises(ConfigurationError) as caught:
        registry.find(name, "somewhere")
    (problem,) = caught.value.problems
    return problem


def test_step_limit() -> None:
    """A step may take two requests and one pause; that of a source with blocking queries, one of these too."""
    options = Options({"timeout": 1.0, "wait": 16.0}, {}, frozenset())
    assert Source(options=(), watch=flat.watch).step_limit(options, 1.0) == 3.0
    assert {registry.find(name, "").step_limit(options, 1.0) for name in ("consul", "etcd")} == {20.0}


def test_what_a_type_provides() -> None:
    """A type may say itself what it provides; the option `interfaces` narrows that all the same."""
    source = Source(
        options=(), watch=flat.watch, provides=lambda options, _part, known: [name for name in known if name in options["of"]]
    )
    options = Options({"of": ("db", "web"), "interfaces": None}, {}, frozenset())
    assert registry.provided(source, options, "", {"db", "app"}) == {"db"}
    assert registry.provided(
        source, Options({**options, "interfaces": ("app", "w*")}, {}, frozenset()), "", {"db", "web", "app"}
    ) == {"web"}
