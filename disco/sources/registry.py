"""The types of sources by name: disco's own, and those of plug-ins, which are guarded."""

from __future__ import annotations

from collections.abc import Iterable
from functools import wraps
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from disco.errors import ConfigurationError, Problem, place_of
from disco.sources import Source
from disco.sources.options import Option, match_names
from disco.text import nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from importlib.metadata import EntryPoint

    from disco.sources.options import Options

BUILT_IN = ("flat", "tree", "env", "consul", "etcd")
GROUP = "disco.sources"
_REMEDY = "correct the plug-in, or remove the source"


def find_names() -> list[str]:
    """Return the names of all types that there are, plug-ins included."""
    return sorted({*BUILT_IN, *_find_plug_ins()})


def _find_plug_ins() -> dict[str, EntryPoint]:
    from importlib.metadata import entry_points  # noqa: PLC0415 -- slow, and only plug-ins need it

    return {entry.name: entry for entry in entry_points(group=GROUP)}


def find(name: str, place: str) -> Source:
    """Return the source of a type; place: where the configuration names it.

    Raises:
        ConfigurationError: there is no such type, or the plug-in that brings it is broken.

    """
    if name in BUILT_IN:
        source: Source = import_module(f"disco.sources.{name}").SOURCE
        return source
    entries = _find_plug_ins()
    if name not in entries:
        known = sorted({*BUILT_IN, *entries})
        # A namespace's type is its name: `disko` is meant for disco's own options.
        remedy = nearest(name, [*known, "disco"], "for a source of any other name set NAME.type")
        raise ConfigurationError(Problem(place, f"no source type {name!r} (known: {', '.join(known)})", remedy))
    try:
        plug_in = entries[name].load()
    except (Exception, SystemExit) as error:  # noqa: BLE001 -- a plug-in's import may raise anything; its class is named
        what = f"source type {name!r} cannot be loaded: {type(error).__name__}"
        raise ConfigurationError(Problem(place, what, _REMEDY)) from None
    if not isinstance(plug_in, Source) or not _are(plug_in.options, Option):
        what = f"source type {name!r}: its entry point is no disco.sources.Source"
        raise ConfigurationError(Problem(place, what, _REMEDY))
    return _guard(name, plug_in)


def find_missing(name: str, source: Source, place: str) -> Iterator[Problem]:
    """Yield that a source of this type needs Python modules that are not installed."""
    if missing := [module for module in source.modules if not _importable(module)]:
        remedy = f"pip install 'disco-entrypoint[{source.extra}]'" if source.extra else "install it beside disco"
        yield Problem(place, f"source type {name!r} needs the Python module {', '.join(missing)}, which is not installed", remedy)


def provided(source: Source, options: Options, part: str, interfaces: Iterable[str]) -> frozenset[str]:
    """Return which of these interfaces a part of a source may provide: by its type, and by its option `interfaces`."""
    known = frozenset(interfaces)
    able = known.intersection(source.provides(options, part, known))
    able = known if len(able) == len(known) else able  # one set for all that may provide everything
    patterns = options["interfaces"]
    return able if patterns is None else match_names(patterns, able)


def _guard(name: str, source: Source) -> Source:
    """Return a plug-in's source of which whatever is called in disco's own process raises ConfigurationError alone.

    The error names the class of what the plug-in raised (a call of sys.exit too), or the type that its answer lacks.
    """

    def guard(what: str, call: Callable[..., Any], kind: type, *, many: bool = False) -> Callable[..., Any]:
        @wraps(call)
        def ask(*given: Any) -> Any:  # noqa: ANN401 -- whatever the plug-in's function takes and gives
            try:
                answer = call(*given)
                if many and isinstance(answer, Iterable) and not isinstance(answer, str):
                    answer = tuple(answer)  # a generator's body runs here, and nowhere else
                if _are(answer, kind) if many else isinstance(answer, kind):
                    return answer
                reason = f"gave what is no {kind.__name__}"
            except (Exception, SystemExit) as error:
                if what == "type" and isinstance(error, ValueError):
                    raise  # how the type of an option says what it expected
                reason = f"raised {type(error).__name__} at {place_of(error)}"
            raise ConfigurationError(Problem(f"source type {name!r}", f"its '{what}' {reason}", _REMEDY))

        return ask

    return source._replace(
        options=tuple(option._replace(type=guard("type", option.type, object)) for option in source.options),
        check=guard("check", source.check, Problem, many=True),
        place=guard("place", source.place, str),
        remarks=guard("remarks", source.remarks, str, many=True),
        doubts=guard("doubts", source.doubts, Problem, many=True),
        parts=guard("parts", source.parts, str, many=True),
        provides=guard("provides", source.provides, str, many=True),
        step_limit=guard("step_limit", source.step_limit, float),
        preload=guard("preload", source.preload, object),
    )


def _are(values: object, kind: type) -> bool:
    return isinstance(values, tuple) and all(isinstance(value, kind) for value in values)


def _importable(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):
        return False
