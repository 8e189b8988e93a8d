"""A key/value store's keys as nested mappings, one for each interface."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

from disco.data.values import DEPTH_LIMIT, Literal, is_plain, merge, strict_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from disco.data.values import Json

Key = TypeVar("Key", str, bytes)
Value = TypeVar("Value")


class InvalidValue:
    """Stands in yielded data for a value that cannot be used: its interface is invalid, for this reason."""

    __slots__ = ("reason",)

    def __init__(self, reason: str) -> None:
        """Take the reason, which goes on from the value's name: "is no UTF-8 text"."""
        self.reason = reason

    def __eq__(self, other: object) -> bool:
        """Return whether the other is one for the same reason."""
        return isinstance(other, InvalidValue) and other.reason == self.reason

    def __hash__(self) -> int:
        """Return the reason's hash."""
        return hash(self.reason)

    def __repr__(self) -> str:
        """Show the reason: `is_same` compares by it."""
        return f"InvalidValue({self.reason!r})"


class KeyTree(Generic[Key, Value]):
    """The keys of a key/value store as `build_tree` makes mappings of them, by interface: made anew where a key changed only.

    interfaces: the known ones; of the others the keys are kept without their values, and `foreign` stands for their data.
    path: what a key is called below the prefix. content: the bytes of a value as it is kept, which is looked into only when
    its interface is made.
    """

    def __init__(
        self,
        interfaces: frozenset[str],
        path: Callable[[Key], str],
        content: Callable[[Value], bytes | InvalidValue],
        foreign: Json = None,
    ) -> None:
        """Begin without any key."""
        self._interfaces = interfaces
        self._path: Callable[[Key], str] = path
        self._content: Callable[[Value], bytes | InvalidValue] = content
        self._foreign = foreign
        self._values: dict[Key, Value | None] = {}
        self._keys: dict[str, set[Key]] = {}  # by interface
        self._changed: set[str] = set()  # interfaces

    def __len__(self) -> int:
        """Return the number of keys."""
        return len(self._values)

    def put(self, key: Key, value: Value) -> Value | None:
        """Set a key's value; return it if it is kept."""
        interface = self._interface(key)
        kept = self._values[key] = value if interface in self._interfaces else None
        self._keys.setdefault(interface, set()).add(key)
        self._changed.add(interface)
        return kept

    def delete(self, key: Key) -> Value | None:
        """Forget a key that is there; return its value if that was kept."""
        interface = self._interface(key)
        self._keys[interface].remove(key)
        if not self._keys[interface]:
            del self._keys[interface]
        self._changed.add(interface)
        return self._values.pop(key)

    def __contains__(self, key: Key) -> bool:
        """Return whether a key is there."""
        return key in self._values

    def replace(self, values: Mapping[Key, Value]) -> None:
        """Set all keys: delete those that are missing, and put those whose value is new."""
        kept = self._values
        deleted = [key for key in kept if key not in values]
        changed = [key for key, value in values.items() if kept.get(key, _ABSENT) != value]
        for key in deleted:
            self.delete(key)
        for key in changed:
            if kept.get(key, _ABSENT) is not None:  # a foreign key that is there (None) has nothing that could change
                self.put(key, values[key])

    def build_tree(self, before: Mapping[str, Any] | None) -> Mapping[str, Any]:
        """Return all interfaces; what is the same as in `before` is the very same object, `before` itself too.

        before: what this tree returned last, or the one that it replaces.
        """
        known = before or {}
        tree = {}
        for interface in sorted(self._keys):
            if interface in known and interface not in self._changed:
                tree[interface] = known[interface]
            else:
                for name, data in self._make(interface).items():
                    tree[name] = known[name] if name in known and is_same(data, known[name]) else data
        self._changed.clear()
        if before is not None and before.keys() == tree.keys() and all(before[name] is tree[name] for name in tree):
            return before
        return tree

    def _make(self, interface: str) -> dict[str, Any]:
        """Return an interface under its name; nothing if it has only folders."""
        # Sorted: where a name is there twice, with and without a further `/`, the same one wins whatever came last.
        keys = sorted(self._keys[interface])
        if interface in self._interfaces:
            values = ((key, self._values[key]) for key in keys)
            return build_tree((self._path(key), None if value is None else self._content(value)) for key, value in values)
        return {interface: self._foreign} if interface and any(not self._path(key).endswith("/") for key in keys) else {}

    def _interface(self, key: Key) -> str:
        return self._path(key).lstrip("/").partition("/")[0]


def build_tree(pairs: Iterable[tuple[str, bytes | InvalidValue | None]]) -> dict[str, Any]:
    """Return the nested mappings of a key/value store's keys (relative to the prefix, parts joined by `/`).

    A leading `/` and empty parts are not part of a name. A key that ends in `/` is a folder. Where a key is both a value and a
    folder, a JSON object is merged under the folder's keys, its texts as they are (Literal). Any other value there is an
    InvalidValue. So is a value that is no UTF-8, and whatever lies too deep.
    """
    values: dict[tuple[str, ...], str | InvalidValue] = {}
    for key, value in pairs:
        parts = tuple(part for part in key.split("/") if part)
        if not parts or key.endswith("/"):
            continue
        try:
            values[parts[:DEPTH_LIMIT]] = value if isinstance(value, InvalidValue) else (value or b"").decode()
        except UnicodeDecodeError:
            values[parts[:DEPTH_LIMIT]] = InvalidValue("is no UTF-8 text")
        if len(parts) > DEPTH_LIMIT:
            values[parts[:DEPTH_LIMIT]] = InvalidValue(f"is deeper than {DEPTH_LIMIT} levels")
    folders = {parts[:end] for parts in values for end in range(1, len(parts))}
    tree: dict[str, Any] = {}
    for parts, leaf in sorted(values.items()):  # a key sorts before what is below it
        node = tree
        for part in parts[:-1]:
            if isinstance(node.get(part), InvalidValue):
                break  # and so is all below it
            if not isinstance(node.get(part), dict):  # not there, or in a JSON object: the folder's keys win
                node[part] = {}
            node = node[part]
        else:
            node[parts[-1]] = merge(node.get(parts[-1]), _as_folder(leaf)) if parts in folders else leaf
    return tree


def is_same(data: Json, other: Json) -> bool:
    """Return whether two snapshots, or two interfaces' data, hold the same; unlike `==` it tells 1, 1.0 and true apart."""
    return data == other and repr(data) == repr(other)


_ABSENT = object()


def _as_folder(leaf: str | InvalidValue) -> dict[str, Any] | InvalidValue:
    if isinstance(leaf, InvalidValue):
        return leaf
    if not leaf.strip():
        return {}
    try:
        data = strict_json(leaf)
    except ValueError:
        data = None
    if not isinstance(data, dict):
        return InvalidValue("is both a value and a folder; only a JSON object can be both")
    return _literally(data) if is_plain(data) else InvalidValue("holds half of a character (a lone surrogate)")


def _literally(data: Json) -> Json:
    """Return data from JSON among texts that are decoded later: its own are what they are."""
    if isinstance(data, dict):
        return {key: _literally(value) for key, value in data.items()}
    if isinstance(data, list):
        return [_literally(value) for value in data]
    return Literal(data) if isinstance(data, str) else data
