"""disco-env: which variables it makes of a rule's data, by hand and in a rule, and what it refuses."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.test_attack import anybody, open_site  # noqa: F401 -- a fixture

if TYPE_CHECKING:
    from lab.site import Running, Site

COMMAND = str(Path(sys.executable).with_name("disco-env"))
DATA = {
    "db": {"host": "a b", "port": 5432, "opts": ["ü", 1], "none": None, "deep": {"tls": True, "empty": {}, "text": "x'\ny"}},
    "web": {"host": "w"},
}
ALL = "all variables together"
NO_NAME = "cannot be the name of a variable; choose one: NAME="
DB = {"host": "a b", "port": "5432", "opts": '["ü",1]', "deep_tls": "true", "deep_text": "x'\ny"}


def call(*words: str, data: Any = DATA, **environ: str) -> subprocess.CompletedProcess[bytes]:
    """Call it by hand."""
    given = data if isinstance(data, bytes) else json.dumps(data).encode()
    return subprocess.run([COMMAND, *words], input=given, capture_output=True, check=False, env=os.environ | environ)


def make(*words: str, data: Any = DATA) -> dict[str, str]:
    """Return the variables that it makes."""
    done = call(*words, data=data, DISCO_ENV="/dev/stdout")
    assert done.returncode == 0, done.stderr
    assert done.stdout == b"" or done.stdout.endswith(b"\0")
    return dict(record.split("=", 1) for record in done.stdout.decode().split("\0")[:-1])


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), {f"db_{name}": value for name, value in DB.items()} | {"web_host": "w"}),
        (("--interface", "db"), DB),
        (("--interface=db", "--prefix", "DB_"), {f"DB_{name}": value for name, value in DB.items()}),
        (("--interface=db", "--prefix=db_", "--upcase"), {f"DB_{name.upper()}": value for name, value in DB.items()}),
        (("--interface=web", "--interface=web", "PORT=/db/port"), {"host": "w", "PORT": "5432"}),
        (("A.B-c=/db/opts/0", "--prefix=x", "--upcase"), {"A.B-c": "ü"}),
        (("ALL=/db/deep", "NONE=/db/none"), {"ALL": '{"tls":true,"empty":{},"text":"x\'\\ny"}'}),
        (("--interface=web", "MY=/web/host"), {"MY": "w"}),
    ],
)
def test_variables(words: tuple[str, ...], expected: dict[str, str]) -> None:
    """Keys are joined to a name; words choose interfaces and names. Text stays as it is, null is no variable, else it is JSON."""
    assert make(*words) == expected


def test_a_word_names_what_has_no_name() -> None:
    """A value whose keys make no name, or one that is used already, gets one by its pointer."""
    data = {"db": {"max-conn": 5, "a/b~c": 1, "A": 1, "a": 2}}
    words = ("CONN=/db/max-conn", "ODD=/db/a~1b~0c", "SMALL=/db/a")
    assert make("--interface", "db", "--upcase", *words, data=data) == {"CONN": "5", "ODD": "1", "SMALL": "2", "A": "1"}


@pytest.mark.parametrize(
    ("words", "data", "problem"),
    [
        ((), b"[", "stdin is no JSON object"),
        ((), [], "stdin is no JSON object"),
        (("A=/db/none/x",), DATA, "/db/none/x is not in the input"),
        (("--interface", "none"), DATA, "/none is not in the input"),
        ((), {"db": {"max-conn": "hunter2"}}, f"/db/max-conn: db_max-conn {NO_NAME}/db/max-conn"),
        ((), {"db": {"a\nb": "hunter2"}}, f"/db/a\\nb: db_a\\nb {NO_NAME}/db/a\\nb"),
        (("--interface=db",), {"db": {"1": "hunter2"}}, f"/db/1: 1 {NO_NAME}/db/1"),
        ((), {"x" * 300: {"a": "hunter2"}}, f"/{'x' * 199}…: {'x' * 80}… {NO_NAME}/{'x' * 199}…"),
        ((), {"a": {"b_c": "hunter2"}, "a_b": {"c": 1}}, "a_b_c is the name of /a/b_c and of /a_b/c; choose one: NAME=/a_b/c"),
        (("--upcase",), {"a": {"b": "hunter2", "B": 1}}, "A_B is the name of /a/b and of /a/B; choose one: NAME=/a/B"),
        (("a_b=/a/c",), {"a": {"b": "hunter2", "c": "x\0"}}, "/a/c holds a NUL, which no variable can"),
        ((), {"a": {"b": "hunter2\ud800"}}, "/a/b holds what is no Unicode text"),
        ((), {"a": {"b": "hunter2" * 20_000}}, "/a/b is longer than 128 KiB, the system's limit for a variable"),
        ((), {"a": {f"b{n}": "x" * 99_999 for n in range(11)}}, f"{ALL} are larger than 1 MiB; give COMMAND a file instead"),
    ],
)  # fmt: skip
def test_data_that_cannot_be_variables(words: tuple[str, ...], data: Any, problem: str) -> None:
    """What can be no variable is one line that names its place, never its value, and status 65; nothing is printed."""
    done = call(*words, data=data)
    assert (done.returncode, done.stdout) == (65, b"")
    assert done.stderr.decode() == f"disco-env: {problem}\n"


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("hunter2",), "word 1 is not NAME=/POINTER"),
        (("A=/a", "B=hunter2"), "B is not NAME=/POINTER"),
        (("1B=/hunter2",), "word 1 is not NAME=/POINTER"),
        (("A=/a", "A=/b"), "A is given twice"),
        (("--prefix", "1"), "--prefix takes letters, digits and _, and does not begin with a digit"),
        (("--up",), "option --up not recognized"),
        (("--interface",), "option --interface requires argument"),
    ],
)
def test_wrong_words(words: tuple[str, ...], problem: str) -> None:
    """Wrong words are status 64, with a hint; a word itself is not shown."""
    done = call(*words)
    assert (done.returncode, done.stdout) == (64, b"")
    assert done.stderr.decode() == f"disco-env: {problem}; 'disco-env -h' shows how it is used\n"


def test_by_hand_it_prints_for_a_shell() -> None:
    """By hand the variables are printed such that a shell takes them over as they are."""
    script = f'eval "$({COMMAND} --interface db)"; env -0'
    done = subprocess.run(["sh", "-c", script], input=json.dumps(DATA).encode(), capture_output=True, check=True)
    found = dict(entry.split("=", 1) for entry in done.stdout.decode().split("\0")[:-1])
    assert {name: found.get(name) for name in DB} == DB


def test_help() -> None:
    """-h prints how it is used."""
    done = call("-h")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(b"usage: disco-env ")


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    """It appends to what DISCO_ENV names, and makes no file: that is status 1, with a reason."""
    done = call(DISCO_ENV=str(tmp_path / "none"))
    assert (done.returncode, done.stderr.decode()) == (1, f"disco-env: DISCO_ENV: {tmp_path}/none: No such file or directory\n")
    (tmp_path / "there").write_bytes(b"A=1\0")
    assert call("B=/web/host", DISCO_ENV=str(tmp_path / "there")).returncode == 0
    assert (tmp_path / "there").read_bytes() == b"A=1\0B=w\0"


def prepare(site: Site, do: str, *patterns: str) -> None:
    for name in DATA:
        site.schema(name)
    site.flat(DATA)
    site.cfg["disco.fail_limit"] = "1"
    site.rules({"when": "db,web", "do": do, "name": "env"} | ({"export": list(patterns)} if patterns else {}))


def export(site: Site, do: str, *patterns: str, **more: Any) -> Running:
    prepare(site, do, *patterns)
    return site.run("env", "-0", options=(), **more)


def test_in_a_rule(site: Site) -> None:
    """As a rule's handler it gives COMMAND the variables that the rule exports."""
    running = export(site, "disco-env --upcase PASSWORD=/db/host --interface=db", "P*", "OPTS")
    assert running.process.returncode == 0, running.log
    found = dict(entry.split("=", 1) for entry in running.output.split("\0")[:-1])
    assert found == site.environ | {"PASSWORD": "a b", "PORT": "5432", "OPTS": '["ü",1]'}
    assert "not exported, since 'export' does not name it: DEEP_TEXT, DEEP_TLS\n" in running.log


def test_as_any_user(open_site: Site) -> None:  # noqa: F811 -- the fixture
    """Forked by a runner without rights it can open its file, although its process is still hidden."""
    running = export(open_site, "disco-env", "db_*", "web_*", before=anybody())
    assert running.process.returncode == 0, running.log
    assert "db_deep_tls=true\0" in running.output


def test_a_rule_without_export(site: Site) -> None:
    """In a rule that exports nothing it fails rather than print values, and `--check` says so."""
    running = export(site, "disco-env --interface web")
    assert running.process.returncode == 70
    assert "disco-env: the rule has no 'export': say there which variables it may give to COMMAND" in running.log
    assert "a b" not in running.log
    checked = site.run(options=("--check",))
    assert re.search(r"error: \S+site.rules:1:12: disco-env: the rule has no 'export'", checked.output)


def test_check_knows_its_words(site: Site) -> None:
    """`--check` tells wrong words, and interfaces that the rule does not have."""
    prepare(site, "disco-env --nope", "A")
    assert ": disco-env: option --nope not recognized; " in site.run(options=("--check",)).output
    prepare(site, "disco-env --interface=x A=/y~1/b B=/db/host", "A")
    output = site.run(options=("--check",)).output
    assert output.count(": disco-env: the rule names no interface ") == 2
    assert all(f"names no interface {name}; add it to the rule's 'when'" in output for name in ("x", "y/"))
