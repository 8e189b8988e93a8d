"""The schemas of a site: every `*.schema` file in disco.path, by its interface, and all that is wrong or doubtful in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from disco.data import documents
from disco.errors import ConfigurationError, DocumentError, Problem
from disco.named import NamedTuple
from disco.site import files

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from disco.data.schema import Schema
    from disco.data.values import Json


class Schemas(NamedTuple):
    """What schema files hold: the schemas by interface, the names of all interfaces, those of broken schemas included."""

    by_interface: Mapping[str, Schema]
    names: frozenset[str]
    errors: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()


def load(directories: Sequence[Path], *, with_defaults: bool = True) -> Schemas:
    """Load every schema in the directories, with its defaults or without.

    Raises:
        OSError: a directory cannot be listed.

    """
    paths = files.list_files(directories, files.SCHEMA_SUFFIX)
    if not paths:
        return Schemas({}, frozenset())
    from disco.data import schema  # noqa: PLC0415 -- takes a tenth of a second, which a site without schemas need not wait

    loaded: dict[str, Schema] = {}
    names: set[str] = set()
    errors: list[Problem] = []
    for path in paths:
        try:
            new = schema.read(path, with_defaults=with_defaults)
        except (DocumentError, ConfigurationError) as error:
            errors += error.problems if isinstance(error, ConfigurationError) else [error.problem]
            names.add(_find_name(path))
            continue
        if new.interface in loaded:
            what = f"interface {new.interface} has a schema already: {loaded[new.interface].where}"
            errors.append(Problem(str(path), what, "remove one of the two, or give it another 'name'"))
        else:
            loaded[new.interface] = new
    warnings = (warning for schema in loaded.values() for warning in schema.warnings)
    return Schemas(loaded, frozenset(names | loaded.keys()), tuple(errors), tuple(warnings))


def _find_name(path: Path) -> str:
    """Return the interface that a broken schema is of, so that rules which name it are not wrong too."""
    name: Json = path.stem
    try:
        content = documents.parse(documents.read_file(path), str(path), places=False).data
        name = content.get("name", name) if isinstance(content, dict) else name
    except DocumentError:
        pass
    return str(name)
