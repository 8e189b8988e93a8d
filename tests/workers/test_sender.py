"""What of a source's snapshots is news, and what is sent of it."""

from __future__ import annotations

import copy
import json
import types
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from disco.data import schema, verdicts
from disco.data.values import DEPTH_LIMIT
from disco.sources import InvalidValue, Source, SourceError, build_tree
from disco.wire import frames, messages
from disco.wire.messages import Diff, Heartbeat, Message, ReadFailed
from disco.workers import sender
from tests.workers.support import SECRET, only_diffs

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


DRAFT7 = "http://json-schema.org/draft-07/schema#"  # which is judged by the source's own process


def test_first_and_changes(publish: Callable[..., list[Message]]) -> None:
    """First everything is said, even nothing; then what changed, whole; what is gone; and of no change nothing."""
    app = {"app": {"a": 1, "b": 2}}
    said = only_diffs(
        publish({}, {}, app, {"app": {"b": 2, "a": 1}}, {"app": {"a": 1}, "db": {"port": 5}}, {"db": {"port": 5}}, {})
    )
    assert [diff.first for diff in said] == [True, False, False, False, False]
    assert [{name: json.loads(part.body) for name, part in diff.changed.items()} for diff in said] == [
        {},
        app,
        {"app": {"a": 1}, "db": {"port": 5}},
        {},
        {},
    ]
    assert [diff.removed for diff in said] == [(), (), (), ("app",), ("db",)]


def test_return_of_a_removed_interface(publish: Callable[..., list[Message]]) -> None:
    """An interface that comes back is news, also with the same data."""
    said = only_diffs(publish({"app": {}}, {}, {"app": {}}))
    assert [set(diff.changed) for diff in said] == [{"app"}, set(), {"app"}]


@pytest.mark.parametrize(("before", "after"), [(1, True), (1, 1.0), (0, False), ("", None), ([], {}), ("5", 5)])
def test_equal_in_python_is_not_the_same(publish: Callable[..., list[Message]], before: Any, after: Any) -> None:
    """Data that Python takes as equal, or as nearly nothing, but JSON does not, is news."""
    assert len(publish({"app": {"a": before}}, {"app": {"a": after}})) == 2


def test_same_value_in_another_form(publish: Callable[..., list[Message]]) -> None:
    """Text that decodes to the same data is no news."""
    said = publish({"db": {"hosts": "[1, 2]", "port": "1"}}, {"db": {"hosts": "[1,2]", "port": "1"}}, text=True)
    assert len(said) == 1


def test_verdicts(publish: Callable[..., list[Message]]) -> None:
    """Each interface has its verdict; only what is no mapping has no body."""
    (said,) = only_diffs(publish({"app": [SECRET], "db": {"port": "5"}, "slow": {}}))
    assert {name: part.problems for name, part in said.changed.items()} == {
        "app": ("the interface is not a mapping",),
        "db": ("/port is text, the schema wants integer",),
        "slow": (),
    }
    assert [part.body for part in said.changed.values()] == [b"", b'{"port":"5"}', b"{}"]
    assert all(part.digest for part in said.changed.values())


def test_what_only_the_checker_can_judge(tmp_path: Path) -> None:
    """Data of a plain schema that is wrong, not merely incomplete, is sent without a verdict, decoded and without defaults."""
    content = {"properties": {"port": {"type": "integer", "maximum": 9}, "host": {"default": "h"}}, "required": ["port"]}
    for name, more in (("plain", {}), ("other", {"$schema": DRAFT7})):
        (tmp_path / f"{name}.schema").write_text(json.dumps(content | more))
    known = {name: schema.read(tmp_path / f"{name}.schema") for name in ("plain", "other")}
    said: list[Message] = []
    source = Source(options=(), watch=iter, text=True)  # type: ignore[arg-type]
    publisher = sender.DiffSender(source, known, frozenset(known), said.append, 1000.0)
    for data in ({"port": "10"}, {"host": "a"}, {"port": "9"}):
        publisher.publish(dict.fromkeys(known, data))
    plain, other = zip(*((diff.changed["plain"], diff.changed["other"]) for diff in only_diffs(said)), strict=True)
    assert [(part.is_judged, part.problems, part.body, part.filled) for part in plain] == [
        (False, (), b'{"port":10}', b""),
        (True, ("/port is required",), b'{"host":"a"}', b""),
        (True, (), b'{"port":9}', b'{"host":"h","port":9}'),
    ]
    verdict = ("/port does not satisfy maximum 9",)
    assert other == (plain[0]._replace(is_judged=True, problems=verdict), *plain[1:])


def test_text_is_decoded(publish: Callable[..., list[Message]]) -> None:
    """Text is decoded by the schema for a source of text, and never for another."""
    data = {"app": '{"a": 1}', "db": {"port": "5", "name": "0123"}}
    (said,) = only_diffs(publish(data, text=True))
    assert [part.body for part in said.changed.values()] == [b'{"a":1}', b'{"name":"0123","port":5}']
    assert not any(part.problems for part in said.changed.values())
    (said,) = only_diffs(publish(data))
    assert all(part.problems for part in said.changed.values())


def test_unusable_values(publish: Callable[..., list[Message]]) -> None:
    """A value that cannot be used makes its interface invalid, by its place, and no other."""
    unusable = {
        "app": {"a/b": [1, InvalidValue("is odd")], "c": InvalidValue("is bad")},
        "db": {"port": 1},
        "slow": InvalidValue("is no use"),
    }
    (said,) = only_diffs(publish(unusable, text=True))
    assert said.changed["app"].problems == ("/a~1b/1 is odd", "/c is bad")
    assert said.changed["slow"].problems == ("the interface is no use",)
    assert said.changed["app"].body == b""
    assert said.changed["db"].problems == ()
    assert len(publish(unusable, {**unusable, "app": {"c": InvalidValue("is worse")}})) == 2


def test_what_is_told_of_a_verdict_is_bounded(publish: Callable[..., list[Message]]) -> None:
    """However much is wrong, and however long the names: few problems of each interface are told, each short with its reason."""
    odd = "\0" * 100
    hostile: Any = {odd[:30] + str(number): InvalidValue("is odd") for number in range(40_000)}
    deepest: Any = {"port": "x"}
    for _ in range(DEPTH_LIMIT - 2):
        deepest = {odd: deepest}
    (said,) = only_diffs(publish({"app": hostile, "nested": deepest, "db": {"port": InvalidValue("r" * 10_000)}}))
    for part in said.changed.values():
        assert part.problems
        assert len(part.problems) <= 21
        assert all(len(problem) <= 301 for problem in part.problems)
    assert said.changed["app"].problems[-1] == "and more"
    (problem,) = said.changed["nested"].problems
    assert problem.startswith("/\\x00")
    assert problem.endswith("/port is text, the schema wants integer")


def test_many_invalid_interfaces(tmp_path: Path) -> None:
    """Of very many invalid interfaces at least one problem each is told, and all together are not many."""
    names = [f"interface-{number:090}" for number in range(2000)]
    for name in names:
        (tmp_path / f"{name}.schema").write_text(
            json.dumps({"$schema": DRAFT7, "required": ["some"], "additionalProperties": False})
        )
    known = {name: schema.read(tmp_path / f"{name}.schema") for name in names}
    said: list[Message] = []
    publisher = sender.DiffSender(Source(options=(), watch=iter), known, frozenset(known), said.append, 1000.0)  # type: ignore[arg-type]
    publisher.publish({name: {"\0" * 10 + str(key): 1 for key in range(30)} for name in names})
    (diff,) = only_diffs(said)
    assert len(diff.changed) == 2000
    assert all(part.problems for part in diff.changed.values())
    assert sum(len(problem) for part in diff.changed.values() for problem in part.problems) < 2 << 20
    assert all(frames.SIZES.unpack_from(parts[0])[0] <= 256 << 10 for parts in frames.split(diff))


def test_unknown_names(publish: Callable[..., list[Message]]) -> None:
    """What no schema knows is not kept; up to 20 names are told, cut and escaped, and how many there are."""
    many = {f"x{number:03}": {"a": 1} for number in range(500)}
    (said,) = only_diffs(publish({**many, "app": {}}))
    assert (list(said.changed), said.unknown_count, len(said.unknown)) == (["app"], 500, 20)
    (said,) = only_diffs(publish({"a\nb" + "k" * 200: object(), "b": float("nan")}))
    assert (len(said.unknown[0]), said.unknown[0][:4]) == (81, "a\\nb")
    assert [diff.unknown for diff in only_diffs(publish({"x": 1}, {"x": 2}, {"y": 1}, {}))] == [("x",), ("y",), ()]


@pytest.mark.parametrize(
    "data",
    [{"port": 5, 7: "x"}, types.MappingProxyType({"port": 5}), {"port": 5, "hosts": ("a", ("b",))}],
    ids=["number as key", "no dict", "tuples"],
)
def test_what_is_judged_is_what_is_sent(publish: Callable[..., list[Message]], data: Any) -> None:
    """Whatever mappings and lists a source has made, the verdict is of what is sent; what cannot be is an error."""
    try:
        (said,) = only_diffs(publish({"db": data}, text=True))
    except SourceError as error:
        assert error.reason == "the source yielded what JSON cannot hold"  # noqa: PT017 -- of those that json cannot write
        return
    assert said.changed["db"].problems == ()
    assert json.loads(said.changed["db"].body)["port"] == 5


def test_any_mapping_is_a_snapshot(publish: Callable[..., list[Message]]) -> None:
    """A snapshot is any mapping."""
    (said,) = only_diffs(publish(types.MappingProxyType({"app": {}})))
    assert list(said.changed) == ["app"]


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = {"a": value}
    return value


@pytest.mark.parametrize(
    ("snapshot", "reason"),
    [
        ([], "the source yielded no mapping"),
        (None, "the source yielded no mapping"),
        ({"app": {"a": object()}}, "the source yielded what JSON cannot hold"),
        ({"app": {"a": {SECRET}}}, "the source yielded what JSON cannot hold"),
        ({"app": {"a": float("nan")}}, "the source yielded what JSON cannot hold"),
        ({"app": {"a": b"x"}}, "the source yielded what JSON cannot hold"),
        ({"app": {(1, 2): "x"}}, "the source yielded what JSON cannot hold"),
        ({"app": {1: "x", "1": "y"}}, "the source yielded what JSON cannot hold"),
        ({"app": deep(65)}, "data deeper than 64 levels"),
        ({"app": deep(5000)}, "data deeper than 64 levels"),
        ({"app": {str(number): 1 for number in range(100_001)}}, "more than 100000 keys"),
        ({"app": {"a": "x" * (8 << 20)}, "db": {"a": "x" * (8 << 20)}}, "more than 16 MiB of data"),
    ],
)
def test_limits_and_wrong_snapshots(publish: Callable[..., list[Message]], snapshot: Any, reason: str) -> None:
    """What is over a limit, or no data, is an error that says so."""
    with pytest.raises(SourceError) as caught:
        publish(snapshot)
    assert caught.value.reason.startswith(reason)


def test_just_within_limits(publish: Callable[..., list[Message]]) -> None:
    """What is just within the limits is taken, and what no schema knows does not count."""
    data: dict[str, Any] = {
        "app": deep(64),
        "db": {str(number): 1 for number in range(99_900)},
        "unknown": ["x"] * 1_000_000,
    }
    (said,) = only_diffs(publish(data))
    assert said.changed["app"].problems == ()


def test_exploding_data(publish: Callable[..., list[Message]]) -> None:
    """An interface whose validation takes too long is invalid, and harms no other; meanwhile something is said."""
    said = publish({"slow": {"a": "a" * 60 + "!"}, "zzz": 1, "app": {}}, quiet=0.0)
    assert Heartbeat(answered=False) in said
    last = said[-1]
    assert isinstance(last, Diff)
    assert last.changed["slow"].problems == (verdicts.TOO_SLOW,)
    assert last.changed["slow"].body == b""
    assert last.changed["app"].problems == ()


def test_alive(publish: Callable[..., list[Message]]) -> None:
    """Of an answer without news is told when all was quiet for long enough, and of the first two after trouble."""
    data: dict[str, Any] = {"app": {}}
    assert len(publish(data, data, dict(data))) == 1
    assert publish(data, data, dict(data), quiet=0.0)[-2:] == [Heartbeat(answered=True)] * 2
    assert publish(data, "broken", data, data, data)[1:] == [
        ReadFailed(reason="broken", retry_in=1.0),
        *[Heartbeat(answered=True)] * 2,
    ]
    assert [type(message) for message in publish("broken", data, {}, "broken", {"db": {}})] == [
        ReadFailed,
        Diff,
        Diff,
        ReadFailed,
        Diff,
    ]


class Noted(dict[str, Any]):
    """A mapping that counts how often all that it holds is looked at."""

    looks = 0

    def items(self) -> Any:
        self.looks += 1
        return super().items()


def test_the_same_object_is_not_looked_at(publish: Callable[..., list[Message]]) -> None:
    """The very same object again costs nothing."""
    data = Noted(app={"a": 1})
    publish(data)
    once, data.looks = data.looks, 0
    publish(data, data, data)
    assert data.looks == once > 0


def test_the_same_object_of_an_interface_is_not_looked_at(publish: Callable[..., list[Message]]) -> None:
    """The very same object again as one interface's data costs nothing, and only what else changed is said."""
    app = Noted(a=1)
    publish({"app": app})
    once, app.looks = app.looks, 0
    said = only_diffs(publish({"app": app, "db": {"port": 1}}, {"app": app, "db": {"port": 2}}, {"app": app}, {"app": {"a": 2}}))
    assert app.looks == once > 0
    assert [(set(diff.changed), diff.removed) for diff in said] == [
        ({"app", "db"}, ()),
        ({"db"}, ()),
        (set(), ("db",)),
        ({"app"}, ()),
    ]


DATA = st.sampled_from([{"a": 1}, {"a": True}, {"port": 1}, {"port": "1"}, {}, "text", None, 1, True, InvalidValue("is odd")])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.dictionaries(st.sampled_from(["app", "db", "slow", "foreign"]), st.tuples(DATA, st.booleans()), max_size=4), max_size=6
    )
)
def test_the_same_objects_change_nothing_that_is_said(
    publish: Callable[..., list[Message]], histories: list[dict[str, tuple[Any, bool]]]
) -> None:
    """Whether what is the same comes as the very same object or as another one, the same is said."""
    held: dict[str, Any] = {}
    reused = []
    for snapshot in histories:
        for name, (data, is_new) in snapshot.items():
            if is_new or name not in held or repr(held[name]) != repr(data):
                held[name] = copy.deepcopy(data)
        reused.append({name: held[name] for name in snapshot})
    assert publish(*reused) == publish(*map(copy.deepcopy, reused))


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        ({str(key): 1 for key in range(60_000)}, {str(key): 1 for key in range(40_001)}, "more than 100000 keys"),
        ({"a": "x" * (9 << 20)}, {"a": "x" * (8 << 20)}, "more than 16 MiB"),
    ],
)
def test_limits_count_what_is_the_same(publish: Callable[..., list[Message]], first: Any, second: Any, reason: str) -> None:
    """An interface that is the very same object counts for the limits of all; what was refused is not taken for known."""
    with pytest.raises(SourceError, match=reason):
        publish({"app": first}, {"app": first, "db": second})
    with pytest.raises(SourceError, match=reason):
        publish({"app": first, "db": second})


def test_json_beside_a_folder_is_decoded_once(publish: Callable[..., list[Message]]) -> None:
    """A text in the JSON of a key stays text, whether or not the key is a folder too; what is a key of its own is decoded."""

    def tree(**pairs: str) -> dict[str, Any]:
        return build_tree((key.replace("_", "/"), value.encode()) for key, value in pairs.items())

    snapshots = (
        tree(db='{"port": "80", "hosts": ["1"]}', db_name="x"),  # of the type string, as without the folder
        tree(db='{"port": 80, "hosts": ["1"]}', db_name="x"),
        tree(db="{}", db_port="80", db_hosts='["1"]', db_name="x"),
        tree(db='{"port": "80", "hosts": ["1"]}', db_name="x"),
    )
    bodies = [diff.changed["db"] for diff in only_diffs(publish(*snapshots, text=True))]
    assert [fragment.problems for fragment in bodies] == [
        ("/port is text, the schema wants integer",),
        (),
        ("/port is text, the schema wants integer",),
    ]
    assert json.loads(bodies[1].body) == {"port": 80, "hosts": ["1"], "name": "x"}
    assert json.loads(bodies[2].body) == {"port": "80", "hosts": ["1"], "name": "x"}


@pytest.fixture
def publish_filled(tmp_path: Path) -> Callable[..., list[Message]]:
    """Return what gives snapshots of interfaces that have defaults to a publisher."""
    contents = {
        "db": {"properties": {"port": {"type": "integer", "default": 1}}, "required": ["host", "port"]},
        "large": {"additionalProperties": {"properties": {"a": {"default": "x" * 1000}}}},
        "larger": {"additionalProperties": {"properties": {"a": {"default": "x" * 1000}}}},
        "slow": {"properties": {"a": {"pattern": "^(a+)+$", "default": "a"}}, "additionalProperties": {"pattern": "^(a+)+$"}},
        "plain": {},
    }
    for name, content in contents.items():
        (tmp_path / f"{name}.schema").write_text(json.dumps(content))
    known = {name: schema.read(tmp_path / f"{name}.schema") for name in contents}

    def give(*snapshots: Any, text: bool = False) -> list[Message]:
        said: list[Message] = []
        source = Source(options=(), watch=iter, text=text)  # type: ignore[arg-type]
        publisher = sender.DiffSender(source, known, frozenset(known), said.append, 1000.0)
        for snapshot in snapshots:
            publisher.publish(snapshot)
        return said

    return give


def test_defaults_are_beside_what_a_source_says(publish_filled: Callable[..., list[Message]]) -> None:
    """The verdict is about data with its defaults; that is sent besides where it is valid and not the same, and never merged."""
    for text, port in ((False, 5), (True, "5")):
        (first, second, third, fourth) = only_diffs(
            publish_filled(
                {"db": {"host": "h"}, "plain": {}},
                {"db": {"host": "h", "port": port}},
                {"db": {}},
                {"db": {"host": "i"}},
                text=text,
            )
        )
        parts = [diff.changed["db"] for diff in (first, second, third, fourth)]
        assert [json.loads(part.body) for part in parts] == [{"host": "h"}, {"host": "h", "port": 5}, {}, {"host": "i"}]
        assert [part.filled for part in parts] == [b'{"host":"h","port":1}', b"", b"", b'{"host":"i","port":1}']
        assert [part.problems for part in parts] == [(), (), ("/host is required",), ()]
        assert [part.digest for part in parts] == [messages.digest(part.body) for part in parts]
        assert first.changed["plain"].filled == b""


def test_a_value_that_is_the_default_is_news_of_the_source(publish_filled: Callable[..., list[Message]]) -> None:
    """What a source says is compared without defaults: that it now says the default itself may matter to a merge."""
    said = only_diffs(publish_filled({"db": {"host": "h"}}, {"db": {"host": "h", "port": 1}}, {"db": {"host": "h"}}))
    assert [set(diff.changed) for diff in said] == [{"db"}] * 3


def test_defaults_of_one_interface_are_limited(publish_filled: Callable[..., list[Message]]) -> None:
    """What defaults would blow up over the limit is invalid, and can be merged with what other sources say all the same."""
    many: Any = {str(key): {} for key in range(17_000)}
    (said,) = only_diffs(publish_filled({"large": many, "db": {"host": "h"}}))
    assert said.changed["large"].problems == (verdicts.TOO_LARGE,)
    assert (json.loads(said.changed["large"].body), said.changed["large"].filled) == (many, b"")
    assert said.changed["db"].problems == ()


def test_defaults_of_a_source_are_limited(publish_filled: Callable[..., list[Message]]) -> None:
    """All that one source has is limited with defaults too, also where it comes bit by bit; what went makes room again."""
    half: Any = {str(key): {} for key in range(9_000)}
    for snapshots in ([{"large": half, "larger": half}], [{"large": half}, {"large": half, "larger": half}]):
        with pytest.raises(SourceError, match="more than 16 MiB of data with defaults"):
            publish_filled(*snapshots)
    said = only_diffs(publish_filled({"large": half}, {"larger": half}, {"large": half}, {"large": {**half, "more": {}}}))
    assert [set(diff.changed) for diff in said] == [{"large"}, {"larger"}, {"large"}, {"large"}]
    assert all(not part.problems for diff in said for part in diff.changed.values())


def test_filling_in_does_not_lift_the_limit_of_time(publish_filled: Callable[..., list[Message]]) -> None:
    """Data with defaults is validated in limited time too."""
    (said,) = only_diffs(publish_filled({"slow": {"b": "a" * 60 + "!"}}))
    assert said.changed["slow"] == said.changed["slow"]._replace(problems=(verdicts.TOO_SLOW,), body=b"", filled=b"")
