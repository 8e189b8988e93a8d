"""Rules: every form that a rules file may have, and every mistake with its place."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from disco.errors import ConfigurationError, Problem
from disco.site import rules

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from disco.site.rules import Rule

DURATION = "a duration like 1, 0.5, 500ms, 2m or 1h, of at most 120h"
PAUSE = "a pause like 5s, or the first and the longest one, like 1s..30s"
NO_SCHEMA = "has no schema: no *.schema file in disco.path is for it"
KNOWN = ("mysql", "redis", "pgsql")


def find(name: str, _folder: Path, place: str) -> str:
    if name.endswith("none"):
        raise ConfigurationError(Problem(place, f"handler {name} is nowhere"))
    return f"/bin/{name}"


def load(folder: Path, *contents: str, **files: str) -> tuple[Rule, ...]:
    """Load rules files of these contents, named a.rules, b.rules and so on."""
    for name, content in {**dict(zip("abc", contents, strict=False)), **files}.items():
        (folder / f"{name}.rules").write_text(content)
    return rules.load([folder], KNOWN, find)


def refusals(folder: Path, *contents: str) -> list[str]:
    """Return the problems, without the folder."""
    with pytest.raises(ConfigurationError) as caught:
        load(folder, *contents)
    return [str(problem._replace(remedy="")).replace(f"{folder}/", "").removesuffix("; ") for problem in caught.value.problems]


# Forms


@pytest.mark.parametrize(
    ("when", "any_", "interfaces"),
    [
        ("mysql", False, ["mysql"]),
        ("mysql,redis", False, ["mysql", "redis"]),
        (" redis ,mysql ", False, ["redis", "mysql"]),
        ("all:mysql,redis", False, ["mysql", "redis"]),
        ("any:mysql,pgsql", True, ["mysql", "pgsql"]),
        (" any : mysql , pgsql", True, ["mysql", "pgsql"]),
        (["mysql", "redis"], False, ["mysql", "redis"]),
        (["mysql"], False, ["mysql"]),
    ],
)
def test_when(tmp_path: Path, when: Any, any_: bool, interfaces: list[str]) -> None:
    """`when` names interfaces, all of which must be valid unless it says `any:`."""
    (rule,) = load(tmp_path, json.dumps({"rules": [{"when": when, "do": "x"}]}))
    assert (rule.any, list(rule.interfaces)) == (any_, interfaces)


def test_without_when(tmp_path: Path) -> None:
    """A rule without `when` needs no data: what it runs on is always there, and always the same."""
    (rule,) = load(tmp_path, "rules: [{do: x}]")
    assert (rule.interfaces, rule.basis({}), rule.basis({"mysql": "1"})) == ((), (), ())


@pytest.mark.parametrize(
    ("key", "value", "limit"),
    [
        ("timeout", "5", 5.0),
        ("timeout", "0.5", 0.5),
        ("timeout", "2m", 120.0),
        ("timeout", "0", 0.0),
        ("fail_limit", "3", 3),
        ("fail_limit", "'3'", 3),
        ("fail_limit", "0", 0),
        ("retry", "5", (5.0, 5.0)),
        ("retry", "500ms", (0.5, 0.5)),
        ("retry", "1s..30s", (1.0, 30.0)),
        ("retry", "0.5 .. 2m", (0.5, 120.0)),
    ],
)
def test_limits_of_one_rule(tmp_path: Path, key: str, value: str, limit: object) -> None:
    """What a rule says of its own runs is a number or a text in the form of disco's options; what it does not say is None."""
    rule, other = load(tmp_path, f"rules: [{{do: x, {key}: {value}}}, {{do: x}}]")
    assert getattr(rule, key) == limit
    assert (other.timeout, other.fail_limit, other.retry) == (None, None, None)


@pytest.mark.parametrize(
    ("do", "argv"),
    [
        ("x", ("/bin/x",)),
        ("x a 'b c' \"d $HOME\" e\\ f", ("/bin/x", "a", "b c", "d $HOME", "e f")),
        ("x 'a;b' | # *", ("/bin/x", "a;b", "|", "#", "*")),
        ("'my program' ''", ("/bin/my program", "")),
    ],
)
def test_do(tmp_path: Path, do: str, argv: tuple[str, ...]) -> None:
    """`do` is split like a shell's line, and no shell ever sees it."""
    (rule,) = load(tmp_path, json.dumps({"rules": [{"when": "mysql", "do": do}]}))
    assert rule.argv == argv


@pytest.mark.parametrize(
    ("export", "names"),
    [("DB_*", ("DB_*",)), (" DB_*, REDIS_URL ", ("DB_*", "REDIS_URL")), (["DB_*", "PATH"], ("DB_*", "PATH")), (None, ())],
)
def test_export(tmp_path: Path, export: Any, names: tuple[str, ...]) -> None:
    """`export` takes names of variables, with a star each or without, as a list or joined by commas."""
    entry = {"when": "mysql", "do": "x"} | ({"export": export} if export else {})
    (rule,) = load(tmp_path, json.dumps({"rules": [entry]}))
    assert rule.export == names


def test_names_and_after(tmp_path: Path) -> None:
    """A rule is called by its name, else by FILE:LINE, and `after` takes one name or several, of any file."""
    found = load(
        tmp_path,
        "rules:\n- {when: mysql, do: x}\n- {when: mysql, do: x, name: 'the first', after: a.rules:2}\n",
        "rules:\n  - do: x\n    when: redis\n    after: [the first, a.rules:2]",
    )
    assert [(rule.name, rule.after) for rule in found] == [
        ("a.rules:2", ()),
        ("the first", ("a.rules:2",)),
        ("b.rules:2", ("the first", "a.rules:2")),
    ]
    assert found[2].where == f"{tmp_path}/b.rules:2:5"


@pytest.mark.parametrize("surplus", ["", "\U0001f600"])
def test_rules_in_one_line(tmp_path: Path, surplus: str) -> None:
    """Rules without a name in one line, or in JSON that has no places, have names of their own."""
    rule = {"when": "mysql", "do": f"x {surplus}"}
    assert len({one.name for one in load(tmp_path, json.dumps({"rules": [rule, rule, rule]}))}) == 3


def test_same_file_name_in_two_directories(tmp_path: Path) -> None:
    """Files of the same name in two directories both count, and their rules have names of their own."""
    folders = [tmp_path / "b", tmp_path / "a"]
    for folder in folders:
        folder.mkdir()
        (folder / "site.rules").write_text("rules: [{when: mysql, do: x}]")
    found = rules.load(folders, KNOWN, find)
    assert [rule.name for rule in found] == [f"{folder}/site.rules:1" for folder in folders]


def test_order(tmp_path: Path) -> None:
    """Rules come in the order of directory, file name and place in the file."""
    folders = [tmp_path / "z", tmp_path / "y"]
    for folder in folders:
        folder.mkdir()
        for name in ("2", "10"):
            entries = [{"when": "mysql", "do": "x", "name": f"{folder.name}{name}{at}"} for at in "ba"]
            (folder / f"{name}.rules").write_text(json.dumps({"rules": entries}))
    found = [rule.name for rule in rules.load(folders, KNOWN, find)]
    assert found == ["z10b", "z10a", "z2b", "z2a", "y10b", "y10a", "y2b", "y2a"]


@pytest.mark.parametrize("content", ["rules: []", None])
def test_no_rules(tmp_path: Path, content: str | None) -> None:
    """No rules file, and one with an empty list, are no rules."""
    assert load(tmp_path, *([content] if content else [])) == ()


# Mistakes


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "a.rules: expected 'rules:' with a list below it"),
        ("- x", "a.rules:1:1: expected 'rules:' with a list below it"),
        ("rules: {a: b}", "a.rules:1:1: expected 'rules:' with a list below it"),
        ("rules:", "a.rules:1:1: expected 'rules:' with a list below it"),
        ("rules: [", "a.rules:2:1: did not find expected node content"),
        ("rules: []\nrule: 1", "a.rules:2:7: unknown key 'rule'"),
        ("rules:\n  - x", "a.rules:2:5: a rule must be a mapping with 'do'"),
        ("{when: mysql}", "2:5: 'do' is missing"),
        ("{when: mysql, do: x, wenn: y}", "2:32: unknown key 'wenn'"),
        ('{when: mysql, do: x, "a\\nb": y}', "2:34: unknown key 'a\\nb'"),
        ("{when: '', do: x}", "2:12: 'when' must name at least one interface"),
        ("{when: 'any:', do: x}", "2:12: 'when' must name at least one interface"),
        ("{when: 'mysql,,redis', do: x}", "2:12: 'when' must name at least one interface"),
        ("{when: [], do: x}", "2:12: 'when' must name at least one interface"),
        ("{when: [mysql, 5], do: x}", "2:12: 'when' must name at least one interface"),
        ("{when: {any: mysql}, do: x}", "2:12: 'when' must name at least one interface"),
        ("{when: null, do: x}", "2:12: 'when' must name at least one interface"),
        ("{when: 'some:mysql', do: x}", "2:12: 'when' takes any: or all:, not 'some'"),
        ("{when: [mysql, mysql], do: x}", "2:12: 'when' names an interface twice"),
        ("{when: mysqll, do: x}", f"2:12: interface mysqll {NO_SCHEMA}"),
        ('{when: "a\\nb", do: x}', f"2:12: interface a\\nb {NO_SCHEMA}"),
        ("{when: mysql, do: none}", "2:23: handler none is nowhere"),
        ("{when: mysql, do: /none}", "2:23: handler /none is nowhere"),
        ("{when: mysql, do: ''}", "2:23: 'do' must name a handler"),
        ("{when: mysql, do: ' '}", "2:23: 'do' must name a handler"),
        ("{when: mysql, do: [x]}", "2:23: 'do' must name a handler"),
        ("{when: mysql, do: x 'y}", "2:23: 'do': No closing quotation"),
        ("{when: mysql, do: x, name: 5}", "2:32: a rule's name must be text"),
        ("{when: mysql, do: x, name: ''}", "2:32: a rule's name must be text"),
        ('{when: mysql, do: x, name: "a\\nb"}', "2:32: a rule's name must be text"),
        ("{when: mysql, do: x, name: null}", "2:32: a rule's name must be text"),
        *[
            (f"{{when: mysql, do: x, export: {value}}}", "2:34: 'export' takes names of variables, such as [DB_*, REDIS_URL]")
            for value in ("5", "[]", "''", "'A,,B'", "[A, 5]", "{A: B}", "null")
        ],
        (
            "{when: mysql, do: x, export: [A, 1B]}",
            "2:34: 'export': 1B is no name of a variable, nor one with a single * for any characters",
        ),
        (
            "{when: mysql, do: x, export: '*'}",
            "2:34: 'export': * would let the data choose any name: write the names, or how they begin, such as APP_*",
        ),
        (
            "{when: mysql, do: x, export: LD_*}",
            "2:34: 'export': LD_* matches only names that change which code runs, or where data goes: write each of them without *",
        ),
        ("{when: mysql, do: x, after: 5}", "2:33: 'after' takes the names of rules"),
        ("{when: mysql, do: x, after: [a, 5]}", "2:33: 'after' takes the names of rules"),
        ("{when: mysql, do: x, after: m, name: n}", "2:5: after: no rule is named m"),
        ("{when: mysql, do: x, after: nn, name: nnn}", "2:5: after: no rule is named nn"),
        ("{when: mysql, do: x, after: n, name: n}", "2:5: after: the rule waits for itself (n → n)"),
        ("{do: x, timeout: soon}", f"2:22: 'timeout' takes {DURATION}"),
        ("{do: x, timeout: -1}", f"2:22: 'timeout' takes {DURATION}"),
        ("{do: x, timeout: 121h}", f"2:22: 'timeout' takes {DURATION}"),
        ("{do: x, timeout: null}", f"2:22: 'timeout' takes {DURATION}"),
        ("{do: x, timeout: true}", f"2:22: 'timeout' takes {DURATION}"),
        ("{do: x, timeout: [1]}", f"2:22: 'timeout' takes {DURATION}"),
        ("{do: x, fail_limit: 1.5}", "2:25: 'fail_limit' takes a whole number from 0"),
        ("{do: x, fail_limit: -1}", "2:25: 'fail_limit' takes a whole number from 0"),
        ("{do: x, fail_limit: never}", "2:25: 'fail_limit' takes a whole number from 0"),
        ("{do: x, fail_limit: false}", "2:25: 'fail_limit' takes a whole number from 0"),
        ("{do: x, retry: often}", f"2:20: 'retry' takes {PAUSE}"),
        ("{do: x, retry: 1s..}", f"2:20: 'retry' takes {PAUSE}"),
        ("{do: x, retry: 1s..2s..3s}", f"2:20: 'retry' takes {PAUSE}"),
        ("{do: x, retry: [1, 2]}", f"2:20: 'retry' takes {PAUSE}"),
        ("{do: x, retry: 0}", "2:20: 'retry' takes pauses of at least 0.05 s, the shorter one first"),
        ("{do: x, retry: 2s..1s}", "2:20: 'retry' takes pauses of at least 0.05 s, the shorter one first"),
    ],
)
def test_mistakes(tmp_path: Path, content: str, problem: str) -> None:
    """Each mistake is told with file, line and column."""
    if content.startswith("{"):
        content, problem = f"rules:\n  - {content}", f"a.rules:{problem}"
    assert refusals(tmp_path, content) == [problem]


def test_places_of_mistakes(tmp_path: Path) -> None:
    """The place is the value's that is wrong, else the rule's."""
    content = "rules:\n  - when: mysqll\n    do: none\n    after: x\n    nme: y\n  - when: redis\n    name: z"
    assert [problem.partition(": ")[0] for problem in refusals(tmp_path, content)] == [
        "a.rules:5:10",
        "a.rules:2:11",
        "a.rules:3:9",
        "a.rules:6:5",
    ]


def test_what_no_variable_can_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More names than the kernel lets one variable hold, or a word that it takes as no argument, are refused at the start."""
    names = tuple(f"interface-{number:055}" for number in range(2000))
    monkeypatch.setattr("tests.site.test_rules.KNOWN", names)
    [problem] = refusals(tmp_path, json.dumps({"rules": [{"when": list(names), "do": "x"}]}))
    assert ":21: 'when' names more than 128 KiB of interfaces, which DISCO_INTERFACES cannot hold: split the rule" in problem
    [problem] = refusals(tmp_path, json.dumps({"rules": [{"when": names[0], "do": "x " + "y" * (128 << 10)}]}))
    assert "'do' has a word of more than 128 KiB" in problem


def test_double_names(tmp_path: Path) -> None:
    """Two rules of one name are told with both places, also in two files."""
    one = "rules: [{when: mysql, do: x, name: n}]"
    assert refusals(tmp_path, one, one) == ["b.rules:1:9: rule n is defined already: a.rules:1:9"]


def test_all_mistakes_at_once(tmp_path: Path) -> None:
    """All mistakes of all files are told together; that a rule is after one with a mistake is none."""
    found = refusals(
        tmp_path,
        "rules:\n  - {when: x1, do: x, name: bad}\n  - {when: mysql, do: x, after: bad}\n  - {when: mysql, do: none}",
        "rules: {",
        "rules: [{when: mysql, do: x, after: nope}]",
    )
    assert [problem.partition(": ")[2][:24] for problem in found] == [
        "interface x1 has no sche",
        "handler none is nowhere",
        "did not find expected no",
        "after: no rule is named ",
    ]


def test_circles(tmp_path: Path) -> None:
    """Each circle of rules that wait for themselves is told once, with the way around; what only waits for one is not."""
    after = {"d": "a", "b": "c", "c": "a", "a": "b", "e": "d f", "f": "", "g": "g", "i": "h j", "h": "i b", "j": "i i"}
    entries = [{"when": "mysql", "do": "x", "name": name, "after": names.split()} for name, names in after.items()]
    found = refusals(tmp_path, json.dumps({"rules": entries}))
    assert [problem.partition("itself ")[2] for problem in found] == [
        "(b → c → a → b)",
        "(g → g)",
        "(i → h → i)",
        "(i → j → i)",
    ]


def test_a_long_circle(tmp_path: Path) -> None:
    """Of a long way around only the start is told."""
    entries = [{"when": "mysql", "do": "x", "name": f"r{n}", "after": f"r{(n + 1) % 2000}"} for n in range(2000)]
    [found] = refusals(tmp_path, json.dumps({"rules": entries}))
    assert found.endswith("itself (r0 → r1 → r2 → r3 → r4 → r5 → r6 → r7 → r8 → r9 → r10 → … → r0)")


def test_many_circles(tmp_path: Path) -> None:
    """Of very many circles some are told, and that there may be more; it takes about as long as without any."""

    def site(after: Callable[[int], int]) -> str:
        entries = [{"when": "mysql", "do": "x", "name": f"r{n}", "after": f"r{after(n)}" if n else []} for n in range(6000)]
        return json.dumps({"rules": entries})

    began = time.process_time()
    load(tmp_path, site(lambda n: n - 1))
    least = time.process_time() - began
    *found, last = refusals(tmp_path, site(lambda n: n - 1 if n % 2 else n + 1))
    assert len(found) == 20
    assert all("itself (r" in problem for problem in found)
    assert "and others may do so too" in last
    assert time.process_time() - began < 20 * least


# Basis


@pytest.mark.parametrize(
    ("any_", "valid", "basis"),
    [
        (False, {"a": "1", "b": "2", "c": "3"}, (("b", "2"), ("a", "1"))),
        (False, {"a": "1"}, None),
        (False, {}, None),
        (True, {"a": "1", "b": "2"}, (("b", "2"), ("a", "1"))),
        (True, {"b": "2"}, (("b", "2"),)),
        (True, {"c": "3"}, None),
    ],
)
def test_basis(any_: bool, valid: dict[str, str], basis: Any) -> None:
    """A run stands for the valid interfaces among the rule's, in its order: all, or with `any` at least one."""
    rule = rules.Rule(name="r", where="", interfaces=("b", "a"), any=any_, argv=(), after=())
    assert rule.basis(valid) == basis
