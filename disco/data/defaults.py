"""Defaults: what a schema puts where data leaves a key out.

The places that have defaults are found once, when a schema is read, and filling looks at these alone. There is an end to them,
since no default may be below a recursive $ref.
"""

from __future__ import annotations

from itertools import chain, repeat
from typing import TYPE_CHECKING

from disco.data import subschemas, values
from disco.data.values import TooLargeError
from disco.errors import Problem
from disco.named import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from disco.data.subschemas import Targets
    from disco.data.values import Json

    Content = Mapping[str, Json]  # of a schema

# The limits of one default, with the defaults below it: bytes, and keys, values and items. Each start validates it.
SIZE_LIMIT, NODE_LIMIT = 1 << 20, 10_000


class Place(NamedTuple):
    """A place of the data at or below which keys have defaults.

    origin: the part of the schema that has the first of these defaults. missing: by key, its default (filled in itself), and the
    bytes that this adds. keys: the places below, of all keys that the schema names; other_keys: of each other key. first_items,
    other_items: of the items of a list.
    """

    origin: Content
    missing: Mapping[str, tuple[Json, int]]
    keys: Mapping[str, Place | None]
    other_keys: Place | None
    first_items: Sequence[Place | None]
    other_items: Place | None


def fill(data: Json, place: Place, size: int) -> Json:
    """Return data with the defaults of the keys that it leaves out; the very same object if it leaves out none.

    size: of the data as canonical JSON, in bytes. A default is one object in all data that it fills: nobody may change it.

    Raises:
        TooLargeError: data exceeds a limit with its defaults.

    """
    filled = _Filling(values.SIZE_LIMIT - size).fill(data, place)
    if filled is not data:
        nodes, depth = values.measure(filled)
        if nodes > values.NODE_LIMIT or depth > values.DEPTH_LIMIT:
            raise TooLargeError
    return filled


class Defaults(NamedTuple):
    """The defaults of a schema; where: the first of them, for people."""

    place: Place
    where: str

    def fill(self, data: Json, size: int) -> Json:
        """Fill in what data leaves out; see `fill`."""
        return fill(data, self.place, size)


class _Filling:
    """One run over data. room: how many bytes defaults may add."""

    def __init__(self, room: int) -> None:
        self._room = room

    def fill(self, data: Json, place: Place | None) -> Json:
        if place is not None and isinstance(data, dict):
            return self._fill_mapping(data, place)
        if place is not None and isinstance(data, list):
            return self._fill_list(data, place)
        return data

    def _fill_mapping(self, data: dict[str, Json], place: Place) -> dict[str, Json]:
        changed = {}
        for key, value in data.items():
            filled = self.fill(value, place.keys.get(key, place.other_keys))
            if filled is not value:
                changed[key] = filled
        for key, (default, size) in place.missing.items():
            if key not in data:
                changed[key] = default
                self._room -= size
                if self._room < 0:
                    raise TooLargeError
        return data | changed if changed else data

    def _fill_list(self, data: list[Json], place: Place) -> list[Json]:
        places = chain(place.first_items, repeat(place.other_items))
        filled = [self.fill(item, below) for item, below in zip(data, places, strict=False)]
        return filled if any(new is not old for new, old in zip(filled, data, strict=True)) else data


class Finder:
    """Finds the places of a schema that have defaults, and what is wrong with these."""

    def __init__(
        self, targets: Targets, explain: Callable[[Content, Json], Sequence[str]], where: Callable[[Content], str]
    ) -> None:
        """Find nothing yet. explain: why a value violates a part of the schema. where: where a part's default is, for people."""
        self.problems: dict[Problem, None] = {}  # an ordered set: one part may be at several places
        self.used: set[int] = set()  # the ids of the parts whose default can be filled in
        self._targets = targets
        self._explain = explain
        self._where = where
        self._places: dict[frozenset[int], Place | None] = {}  # by the ids of the schemas that apply
        self._open: set[frozenset[int]] = set()  # these places are being made
        self._recursive: set[frozenset[int]] = set()  # and these are below themselves

    def find(self, schemas: Sequence[Json]) -> Place | None:
        """Return the place at which all these schemas must hold; None if nothing has a default there."""
        applying = list(subschemas.find_applying(schemas, self._targets))
        if not applying:
            return None
        if len(self._open) > values.DEPTH_LIMIT:
            self._refuse(applying[0], f"deeper than {values.DEPTH_LIMIT} levels, which no data is", "remove what is never used")
            return None
        mark = frozenset(map(id, applying))
        if mark in self._open:
            self._recursive.add(mark)
            return None
        if mark not in self._places:
            self._open.add(mark)
            place = self._make_place(applying)
            self._open.discard(mark)
            if place and mark in self._recursive:
                what = "a default below a recursive $ref, one that leads back to itself: disco cannot fill it in"
                self._refuse(place.origin, what, "remove the default, or write out the levels that data has")
            self._places[mark] = place
        return self._places[mark]

    def _make_place(self, applying: Sequence[Content]) -> Place | None:
        origins: list[Content] = []
        missing: dict[str, tuple[Json, int]] = {}
        keys: dict[str, Place | None] = {}
        for key in dict.fromkeys(key for content in applying for key in content.get("properties", ())):
            schemas = list(subschemas.of_key(applying, key))
            keys[key] = below = self.find(schemas)
            if origin := self._find_default(schemas):
                default = self._make_default(origin, schemas, below)
                missing[key] = default, len(values.canonical({key: default})) - 1  # two braces less, and a comma
                origins.append(origin)
        # Beside patternProperties only the data's keys can tell which schemas apply, and so whether their defaults agree.
        others = [
            content["additionalProperties"]
            for content in applying
            if "additionalProperties" in content and not content.get("patternProperties")
        ]
        first = range(max((len(subschemas.first_items(content)) for content in applying), default=0))
        place = Place(
            origin={},
            missing=missing,
            keys=keys,
            other_keys=self.find(others),
            first_items=[self.find(list(subschemas.of_item(applying, index))) for index in first],
            other_items=self.find(list(subschemas.of_item(applying, len(first)))),
        )
        below_it = [*keys.values(), place.other_keys, *place.first_items, place.other_items]
        origins += (below.origin for below in below_it if below)
        return place._replace(origin=origins[0]) if origins else None

    def _find_default(self, schemas: Sequence[Json]) -> Content | None:
        """Return the first of the schemas that has a default, with which all others have to agree; None if none has one."""
        having = [content for content in subschemas.find_applying(schemas, self._targets) if "default" in content]
        for content in having:
            self.used.add(id(content))
            if values.canonical(content["default"]) != values.canonical(having[0]["default"]):
                what = f"the same place has another default: {self._where(having[0])}"
                self._refuse(content, what, "remove one of the two")
        return having[0] if having else None

    def _make_default(self, origin: Content, schemas: Sequence[Json], place: Place | None) -> Json:
        """Return a default with all that it leaves out itself, as it is filled in."""
        default = origin["default"]
        room = SIZE_LIMIT - len(values.canonical(default))
        try:
            default = _Filling(room).fill(default, place)
        except TooLargeError:
            room = -1
        nodes, depth = values.measure(default)
        if room < 0 or nodes > NODE_LIMIT or depth > values.DEPTH_LIMIT:
            what = f"a default of more than {SIZE_LIMIT >> 20} MiB, {NODE_LIMIT} values or {values.DEPTH_LIMIT} levels"
            self._refuse(origin, f"{what}, with the defaults below it", "make it smaller")
            return default
        for content in schemas:
            if content is False:
                self._refuse(origin, "the schema refuses this default: it allows nothing there", "remove it")
            elif isinstance(content, dict):
                for problem in self._explain(content, default):
                    self._refuse(origin, f"the schema refuses this default: {problem}", "correct it")
        return default

    def _refuse(self, part: Content, what: str, remedy: str) -> None:
        self.problems.setdefault(Problem(self._where(part), what, remedy))
