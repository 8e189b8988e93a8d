"""Keys of a key/value store as nested mappings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from disco.data.values import DEPTH_LIMIT, Literal
from disco.sources import InvalidValue, KeyTree, build_tree
from disco.workers import sender

if TYPE_CHECKING:
    from collections.abc import Mapping


BOTH = InvalidValue("is both a value and a folder; only a JSON object can be both")


@pytest.mark.parametrize(
    ("pairs", "tree"),
    [
        ({}, {}),
        ({"app": b"1"}, {"app": "1"}),
        ({"app/a": b"1", "app/b/c": b"2"}, {"app": {"a": "1", "b": {"c": "2"}}}),
        ({"/app//a": b"1"}, {"app": {"a": "1"}}),
        ({"app/": b"x", "app/b/": None, "/": b"", "": b"x"}, {}),
        ({"app/a": None, "app/b": b""}, {"app": {"a": "", "b": ""}}),
        ({"app/a": b"\xff", "db/a": "ü".encode()}, {"app": {"a": InvalidValue("is no UTF-8 text")}, "db": {"a": "ü"}}),
        ({"app": b'{"a": 1, "b": 2}', "app/a": b"x"}, {"app": {"a": "x", "b": 2}}),
        ({"app": b'{"a": 1}', "app/a/b": b"x"}, {"app": {"a": {"b": "x"}}}),
        ({"app": b'{"a": {"b": 1, "c": 1}}', "app/a/b": b"x"}, {"app": {"a": {"b": "x", "c": 1}}}),
        (
            {"app": b'{"a": {"c": 1}}', "app/a": b'{"d": 2}', "app/a/b": b"x"},
            {"app": {"a": {"b": "x", "c": 1, "d": 2}}},
        ),
        ({"app": b'{"a": {"c": 1}}', "app/a": b"x"}, {"app": {"a": "x"}}),
        ({"app": b" ", "app/a": b"x"}, {"app": {"a": "x"}}),
        ({"app": b"x", "app/a": b"x", "app/b/c": b"x"}, {"app": BOTH}),
        ({"app": b"[1]", "app/a": b"x"}, {"app": BOTH}),
        ({"app": b"\xff", "app/a": b"x"}, {"app": InvalidValue("is no UTF-8 text")}),
        ({"app/a": b"x", "app/a/b/c": b"x", "app/d": b"y"}, {"app": {"a": BOTH, "d": "y"}}),
        ({"app": b'{"a": "1", "b": ["2"]}', "app/c": b"3"}, {"app": {"a": Literal("1"), "b": [Literal("2")], "c": "3"}}),
        ({"app": b'{"a": "\\ud800"}', "app/c": b"3"}, {"app": InvalidValue("holds half of a character (a lone surrogate)")}),
        ({"app/a": b"x", "app/a-b": b"y", "app/a/b": b"z"}, {"app": {"a": BOTH, "a-b": "y"}}),
    ],
)
def test_nest(pairs: dict[str, bytes | None], tree: dict[str, Any]) -> None:
    """Keys become nested mappings in any order; value and folder in one is an object with the folder in it, or no use."""
    assert build_tree(pairs.items()) == tree
    assert build_tree(reversed(pairs.items())) == tree


def test_nest_deep() -> None:
    """A key that is too deep costs no more than its own interface."""
    tree = build_tree([("app/" + "a/" * 500_000 + "a", b"x"), ("db/a", b"x")])
    assert tree["db"] == {"a": "x"}
    (reason,) = sender._find_invalid(tree["app"])
    assert reason == "/a" * (DEPTH_LIMIT - 1) + " is deeper than 64 levels"


PARTS = st.lists(st.sampled_from(["a", "b", "", "ü"]), min_size=1, max_size=4).map("/".join)


VALUES = st.sampled_from([b"x", b"", b"{}", b'{"a": 1}', b'{"a": {"b": 1}}', b"[]", b"\xff", None])


@given(st.dictionaries(PARTS, VALUES, max_size=8))
@example({"a": b'{"a": 1}', "a/a/b": b"x"})
def test_nest_loses_nothing(pairs: dict[str, bytes | None]) -> None:
    """Each key's value is at its place in the tree, below something that is no use, or itself the folder there."""
    tree = build_tree(pairs.items())
    names: dict[tuple[str, ...], set[bytes]] = {}
    for key, value in pairs.items():
        parts = tuple(filter(None, key.split("/")))
        if parts and not key.endswith("/"):
            names.setdefault(parts, set()).add(value or b"")
    for parts, candidates in names.items():
        node: Any = tree
        for part in parts:
            if isinstance(node, InvalidValue):
                break
            node = node[part]
        assert isinstance(node, (InvalidValue, dict)) or node.encode() in candidates


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), PARTS, VALUES.filter(lambda value: value is not None)),
        st.tuples(st.just("delete"), PARTS),
        st.tuples(st.just("replace"), st.dictionaries(PARTS, VALUES.filter(lambda value: value is not None), max_size=6)),
        st.tuples(st.just("restart")),
    ),
    max_size=12,
)


@given(STEPS)
@example([("put", "a/x", b"1"), ("put", "b/x", b"1"), ("delete", "a/x")])
@example([("put", "c/x", b"1"), ("put", "c/x/", b"1"), ("delete", "c/x")])
def test_tree_is_what_all_of_it_would_be(steps: list[tuple[Any, ...]]) -> None:
    """After any changes a tree is what its keys make when they are nested anew, and what is the same is the same object."""
    interfaces = frozenset({"a", "b"})

    def plant() -> KeyTree[str, bytes]:
        return KeyTree(interfaces, lambda key: key, bytes, foreign="foreign")

    tree, pairs = plant(), dict[str, bytes]()
    before: Mapping[str, Any] | None = None
    for act, *given_ in steps:
        if act == "put":
            pairs[given_[0]] = given_[1]
            tree.put(*given_)
        elif act == "delete" and given_[0] in pairs:
            assert given_[0] in tree
            del pairs[given_[0]]
            tree.delete(*given_)
        elif act == "replace":
            pairs = given_[0]
            tree.replace(pairs)
            pairs = dict(pairs)
        elif act == "restart":
            tree = plant()
            tree.replace(pairs)
        found = tree.build_tree(before)
        whole = build_tree(sorted(pairs.items()))
        expected = {name: data if name in interfaces else "foreign" for name, data in whole.items()}
        assert repr(found) == repr(expected)
        assert len(tree) == len(pairs)
        for name in found:
            if before and name in before and repr(before[name]) == repr(found[name]):
                assert found[name] is before[name]
        assert (found is before) == (before is not None and repr(before) == repr(found))
        before = found


def test_tree_looks_only_into_what_changed() -> None:
    """The values of interfaces in which no key changed are not looked into, nor those of foreign ones."""
    looked = []

    def content(value: str) -> bytes:
        looked.append(value)
        return value.encode()

    tree: KeyTree[str, str] = KeyTree(frozenset({"a", "b"}), lambda key: key, content)
    first = tree.build_tree(None)
    tree.replace({"a/x": "1", "a/y": "2", "b/x": "3", "c/x": "4"})
    second = tree.build_tree(first)
    assert second == {"a": {"x": "1", "y": "2"}, "b": {"x": "3"}, "c": None}
    looked.clear()
    tree.replace({"a/x": "1", "a/y": "2", "b/x": "5", "c/x": "6"})
    third = tree.build_tree(second)
    assert third == {**second, "b": {"x": "5"}}
    assert third["a"] is second["a"]
    assert looked == ["5"]
