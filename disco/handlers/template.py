"""Templates in the language of Jinja2, rendered by minijinja, with whatever that leaves open set: limits, names, errors.

A template is its author's, and data is hostile: data selects no file, and no message holds a value.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import TYPE_CHECKING, NoReturn

from disco.errors import DataError, DiscoError, HandlerError
from disco.handlers import context, tags
from disco.handlers.destination import read_regular
from disco.handlers.quoting import FILTERS, UnquotableError, scalar
from disco.system.limits import memory_limit
from disco.text import PATH_LIMIT, escape

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping
    from pathlib import Path

    from minijinja import Environment
    from minijinja._lowlevel import State

    from disco.data.values import Json
    from disco.handlers.context import Object
    from disco.handlers.tags import Tag

STEPS_LIMIT = 10_000_000  # of the template's program: a second or less
OUTPUT_LIMIT = 64 << 20  # characters
MEMORY_LIMIT = 512 << 20  # bytes that rendering takes at most: the text between tags is counted by nothing else
_TAG_LIMIT = 100  # characters of a tag in a message
_MARK = "__mark"
_OUT_OF_FUEL, _UNDEFINED = "engine ran out of fuel", "undefined value"
# How minijinja's errors begin: what they mean, and whether other data cures them.
_MEANINGS = {
    "cannot unpack": ("does not work with this data", True),
    _OUT_OF_FUEL: (f"takes more than {STEPS_LIMIT} steps", True),
    "invalid operation": ("does not work with this data", True),
    "unknown filter": ("names a filter that does not exist", False),
    "unknown function": ("calls a function that does not exist", False),
    "unknown method": ("calls a method that does not exist", False),
    "unknown test": ("names a test that does not exist", False),
    _UNDEFINED: ("uses what is undefined", True),
}
_CAUSE = "caused by: "
_OTHER_MEANING = ("cannot be rendered", False)


class Template:
    """A template's file, with those that it includes or imports: they lie below its folder."""

    def __init__(self, path: Path, show: Callable[[str], str] = str) -> None:
        """Take the path of the template's file. show: makes of each printed value what is printed of it."""
        self._path = path
        self._show = show
        self._sources: dict[str, str] = {}

    def compile(self) -> Environment:
        """Read and compile the template, and all that it includes or imports; return what renders it.

        Raises:
            HandlerError: one of them cannot be read, or is none.

        """
        self._sources = {}
        self._load(self._path.name, self._path)
        environment = _make_environment(self._sources.get, self._show)
        for name in self._sources:
            _compile(environment, name, self._place_of(name))
        return environment

    def check_words(self) -> None:
        """Look at the filters and tests in all tags, whether or not a run comes by.

        Raises:
            HandlerError: as for `compile`; or one of them does not exist.

        """
        from minijinja import TemplateError  # noqa: PLC0415 -- as below

        environment = self.compile()
        for name, source in self._sources.items():
            for tag in tags.find(source):
                for expression in tags.expressions_of(tag):
                    try:
                        environment.eval_expr(expression)
                    except TemplateError as error:
                        if error.kind in {"UnknownFilter", "UnknownTest"}:
                            raise HandlerError(f"{self._place_of(name)}:{tag.line}: {_show(tag)} {_explain(error)[0]}") from None

    def find_unknown_names(self, interfaces: Iterable[str]) -> list[str]:
        """Return the names in the template that stand for nothing where these interfaces are given.

        Raises:
            HandlerError: as for `compile`.

        """
        environment = self.compile()
        known = {*interfaces, context.ENVIRONMENT, context.INTERFACES, *environment.globals}
        return sorted(environment.undeclared_variables_in_template(self._path.name) - known)

    def render(self, data: Object, variables: Mapping[str, str]) -> str:
        """Return the template's output. data: of the interfaces. variables: of the environment.

        Raises:
            DataError: it would work with other data.
            HandlerError: it works with no data.

        """
        environment = self.compile()
        names = context.make(data, variables)
        try:
            with memory_limit(MEMORY_LIMIT):
                output = environment.render_template(self._path.name, **names)
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 -- minijinja's, or whatever a method of the data raised
            self._diagnose(error, names)
        if len(output) > OUTPUT_LIMIT:
            raise DataError(f"{self._path}: makes more than {OUTPUT_LIMIT >> 20} Mi characters")
        return output

    def _place_of(self, name: str) -> str:
        return str(self._path.parent / name)

    def _load(self, name: str, path: Path, place: str = "") -> None:
        """Read a template, and then those that it names. place: where another one names it."""
        try:
            source = read_regular(os.path.realpath(path))[0].decode()
        except OSError as error:
            raise HandlerError(f"{place}{self._place_of(name)}: {os.strerror(error.errno or 0)}") from None
        except UnicodeDecodeError:
            raise HandlerError(f"{place}{self._place_of(name)}: no UTF-8 text") from None
        self._sources[name] = source
        for tag in tags.find(source):
            place = f"{self._place_of(name)}:{tag.line}: {_show(tag)}"
            others = tags.loaded_names(tag)
            if others is None:
                raise HandlerError(f"{place} needs a name in quotes: data selects no template")
            for other in others:
                file = self._find(other)
                if file is None:
                    raise HandlerError(f"{place} leads out of the template's folder")
                if other not in self._sources and (file.exists() or not tags.may_be_missing(tag)):
                    self._load(other, file, f"{place}: ")

    def _find(self, name: str) -> Path | None:
        """Return the file of an included template; None if that is not below the template's folder."""
        folder, parts = self._path.parent, name.split("/")
        if "" in parts or "." in parts or ".." in parts or "\0" in name:
            return None
        file = folder / name
        return file if file.resolve().is_relative_to(folder.resolve()) else None

    def _diagnose(self, error: Exception, names: Mapping[str, Json]) -> NoReturn:
        """Raise what is wrong with which tag: render again with marks, of which the last one counts."""
        from minijinja import TemplateError, pass_state  # noqa: PLC0415 -- as below

        if isinstance(error, TemplateError) and _explain(error) == _MEANINGS[_OUT_OF_FUEL]:  # marks would take some, too
            place = f"{self._place_of(error.name or self._path.name)}:{error.line}"
            raise DataError(f"{place}: {_MEANINGS[_OUT_OF_FUEL][0]}") from None
        marked = {name: tags.mark(source, _MARK) for name, source in self._sources.items()}
        last: list[tuple[str, Tag, dict[str, Json]]] = []

        def remember(state: State, index: int) -> None:
            tag = marked[state.name][1][index]
            last[:] = [(state.name, tag, {name: state.lookup(name) for name in tags.names_in(tag)})]

        environment = _make_environment(lambda name: marked[name][0] if name in marked else None, self._show, steps=2 * STEPS_LIMIT)
        environment.add_global(_MARK, pass_state(remember))
        try:
            with memory_limit(MEMORY_LIMIT):
                environment.render_template(self._path.name, **names)
        except Exception as second:  # noqa: BLE001 -- as above
            error = second
        if not last:
            raise HandlerError(f"{self._path}: {_OTHER_MEANING[0]}") from None
        name, tag, values = last[0]
        unknown = environment.undeclared_variables_in_template(name) - names.keys()
        raise _make_error(f"{self._place_of(name)}:{tag.line}", tag, error, values, unknown) from None


def is_installed() -> bool:
    """Return whether templates can be rendered here."""
    return find_spec("minijinja") is not None


class _Writer:
    """Writes each value that a template prints: a truth value as JSON has it, and no list, mapping or null."""

    def __init__(self, show: Callable[[str], str]) -> None:
        self._show = show
        self._size = 0

    def __call__(self, value: Json) -> str:
        text = scalar(value)
        self._size += len(text)
        if self._size > OUTPUT_LIMIT:
            raise UnquotableError(f"too much: the output has more than {OUTPUT_LIMIT >> 20} Mi characters")
        return self._show(text)


def _make_environment(load: Callable[[str], str | None], show: Callable[[str], str] = str, steps: int = STEPS_LIMIT) -> Environment:
    """Return minijinja's environment.

    Raises:
        HandlerError: minijinja is not installed.

    """
    try:
        import minijinja  # noqa: PLC0415 -- an extra
    except ImportError:
        raise HandlerError("templates need minijinja: pip install 'disco-entrypoint[render]'") from None
    return minijinja.Environment(
        loader=load,
        filters=FILTERS,
        debug=False,  # else an error holds the values around it
        fuel=steps,
        undefined_behavior="strict",
        auto_escape_callback=_never_escape,  # else the file's name decides
        keep_trailing_newline=True,
        finalizer=_Writer(show),
    )


def _never_escape(_name: str) -> bool:
    return False


def _compile(environment: Environment, name: str, place: str) -> None:
    from minijinja import TemplateError  # noqa: PLC0415 -- as above

    try:
        environment.undeclared_variables_in_template(name)
    except TemplateError as error:  # it quotes the template alone
        raise HandlerError(f"{place}:{error.line}: {escape(error.detail or error.kind, PATH_LIMIT)}") from None


def _explain(error: Exception) -> tuple[str, bool]:
    """Return what is wrong with a tag, and whether other data cures it."""
    from minijinja import TemplateError  # noqa: PLC0415 -- as above

    if isinstance(error, UnquotableError):
        return f"holds {error}", True
    if not isinstance(error, TemplateError):  # what a method raised, or a filter with wrong arguments
        return _MEANINGS["invalid operation"]
    lines = str(error).splitlines()  # they may hold values
    causes = [line.removeprefix(_CAUSE) for line in lines if line.startswith(_CAUSE)]  # of an error in an included template
    cause = [*lines[:1], *causes][-1]
    return next((meaning for start, meaning in _MEANINGS.items() if cause.startswith(start)), _OTHER_MEANING)


def _make_error(place: str, tag: Tag, error: Exception, values: Mapping[str, Json], unknown: Collection[str]) -> DiscoError:
    """Return what is wrong with a tag. values: of the names in it. unknown: names that stand for nothing, whatever the data."""
    meaning, is_curable = _explain(error)
    path = tags.find_undefined(tag, values.get) if isinstance(error, UnquotableError) or meaning == _MEANINGS[_UNDEFINED][0] else ()
    if path:
        is_curable = path[0] not in {context.ENVIRONMENT, *unknown}
        meaning = "is undefined"
    return (DataError if is_curable else HandlerError)(f"{place}: {escape('.'.join(path), PATH_LIMIT) or _show(tag)} {meaning}")


def _show(tag: Tag) -> str:
    return escape(" ".join(tag.text.split()), _TAG_LIMIT)
