"""Named tuples as `typing` has them, at half the price to a start: annotations stay text, and nobody compiles them.

With `from __future__ import annotations` `typing.NamedTuple` compiles the annotation of each field, for a forward reference
that nobody here resolves: 4 ms and 0.4 MB for disco's two hundred fields.
"""

from __future__ import annotations

from collections import namedtuple
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing import NamedTuple as NamedTuple  # noqa: PLC0414 -- the type checker knows that one
else:

    class _Maker(type):
        """Makes a named tuple of a class's annotations, as the metaclass in `typing` does."""

        def __new__(cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> type:
            """Return the named tuple with all that the class's body defines."""
            if not bases:
                return super().__new__(cls, name, bases, namespace)
            fields = namespace.get("__annotations__", {})
            defaults = [namespace.pop(field) for field in fields if field in namespace]
            made = namedtuple(name, fields, defaults=defaults, module=namespace["__module__"])  # noqa: PYI024 -- that is it
            for key, value in namespace.items():
                setattr(made, key, value)
            return made

    class NamedTuple(metaclass=_Maker):
        """The base of a named tuple. A field without a default after one with a default is an error of its author."""
