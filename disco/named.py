"""Named tuples as `typing` has them, at a quarter of the price to a start. All that they are is defined here.

`typing` compiles the annotation of each field, for a forward reference that nobody here resolves, and `collections` compiles a
`__new__` for each class: 8 ms and 0.6 MB for disco's sixty classes. These have their `__new__` in common.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing import NamedTuple as NamedTuple  # noqa: PLC0414 -- the type checker knows that one
else:
    from _collections import _tuplegetter  # what `collections.namedtuple` makes fields of; nothing else in Python is as fast

    class _Maker(type):
        """Makes a class's annotations its fields."""

        def __new__(cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> type:
            """Return the class; a field without a default after one with a default is an error of its author."""
            fields = tuple(namespace.get("__annotations__", ()))
            defaults = {field: namespace[field] for field in fields if field in namespace}
            if tuple(defaults) != fields[len(fields) - len(defaults) :]:
                raise TypeError(f"{name}: a field without a default follows one with a default")
            namespace |= {field: _tuplegetter(index, None) for index, field in enumerate(fields)}
            namespace |= {"__slots__": (), "__match_args__": fields, "_fields": fields, "_defaults": tuple(defaults.values())}
            return super().__new__(cls, name, bases, namespace)

    class NamedTuple(tuple, metaclass=_Maker):  # noqa: SLOT001 -- the metaclass does
        """The base of a named tuple."""

        def __new__(cls, *values: Any, **named: Any) -> tuple[Any, ...]:  # noqa: ANN401 -- the fields' types
            """Return one that has each field, by its place, by its name, or by default."""
            if named:
                values += _pick(cls, cls._fields[len(values) :], named)
            elif (missing := len(cls._fields) - len(values)) and 0 < missing <= len(cls._defaults):
                values += cls._defaults[-missing:]
            if len(values) != len(cls._fields):
                raise TypeError(f"{cls.__name__} takes the fields {', '.join(cls._fields)}")
            return _make(cls, values)

        def _replace(self, **named: Any) -> tuple[Any, ...]:  # noqa: ANN401 -- the fields' types
            """Return a copy with other values in some fields."""
            copy = _make(type(self), map(named.pop, self._fields, self))
            if named:
                raise TypeError(f"{type(self).__name__} has no field {', '.join(named)}")
            return copy

        def _asdict(self) -> dict[str, Any]:
            """Return the fields by their names."""
            return dict(zip(self._fields, self, strict=True))

        def __repr__(self) -> str:
            """Return how it would be made."""
            return f"{type(self).__name__}({', '.join(f'{field}={value!r}' for field, value in self._asdict().items())})"

        def __getnewargs__(self) -> tuple[Any, ...]:
            """Return what a copy is made of."""
            return tuple(self)

    _make = tuple.__new__

    def _pick(cls: type, wanted: tuple[str, ...], named: dict[str, Any]) -> tuple[Any, ...]:
        """Return the values of the wanted fields."""
        missing = len(wanted) - len(named)
        if missing <= len(cls._defaults) and tuple(named) == wanted[: len(named)]:  # in order, as most are
            return (*named.values(), *cls._defaults[len(cls._defaults) - missing :])
        known = dict(zip(reversed(cls._fields), reversed(cls._defaults), strict=False)) | named
        try:
            picked = tuple(known.pop(field) for field in wanted)
        except KeyError as missing:
            raise TypeError(f"{cls.__name__} needs the field {missing}") from None
        if not named.keys() <= set(wanted):
            raise TypeError(f"{cls.__name__} takes the fields {', '.join(cls._fields)}, each once")
        return picked
