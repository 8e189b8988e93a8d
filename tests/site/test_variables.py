"""Variables in the file of -c: where they are replaced, by what, and what is reported of those that cannot be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from disco.errors import Problem
from disco.site import config, pairs
from disco.site.variables import substitute

if TYPE_CHECKING:
    from pathlib import Path

    from lab.site import Site

SECRET = "hunter2"
ENVIRON = {"HOST": "db1", "EMPTY": "", "NESTED": "${HOST} $${HOST}", "PATHS": "/a:/b", "PORT": "81", "KEY": "host", "ITEMS": "a,b"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("${HOST}", "db1"),
        ("a${HOST}b${PORT}c", "adb1b81c"),
        ("${EMPTY}", ""),
        ("${NESTED}", "${HOST} $${HOST}"),
        ("${NONE:-x y}", "x y"),
        ("${NONE:-}", ""),
        ("${EMPTY:-x}", "x"),
        ("${HOST:-x}", "db1"),
        ("${NONE:-http://h:1/$HOST}", "http://h:1/$HOST"),
        ("${NONE:-${HOST}", "${HOST"),
        ("$${HOST}", "${HOST}"),
        ("$$${HOST}", "$${HOST}"),
        ("$HOST $ $$ $(HOST) {HOST}", "$HOST $ $$ $(HOST) {HOST}"),
    ],
)
def test_references(text: str, expected: str) -> None:
    """A reference is replaced once by its variable, or by its default; `$${` is the text of its beginning, other `$` stay."""
    problems: list[Problem] = []
    assert (substitute(text, "place", ENVIRON, problems), problems) == (expected, [])


@pytest.mark.parametrize(
    "text", ["${", "${}", "${HOST", "${HO ST}", "${1}", "${HOST-x}", "${HOST:x}", "${HOST:?x}", "${-x}", "${Ä}"]
)
def test_what_is_no_reference(text: str) -> None:
    """What begins as a reference and is none is wrong, for the shell's other forms would do something else in silence."""
    problems: list[Problem] = []
    substitute(text, "place", ENVIRON, problems)
    remedy = "correct it, or write $${ for the text ${"
    assert problems == [Problem("place", "'${' begins no ${NAME} or ${NAME:-TEXT}", remedy)]


def test_where_variables_count(tmp_path: Path) -> None:
    """Texts and items of lists have them, in JSON too; keys, DISCO_CFG and what a variable holds have none."""
    file = tmp_path / "disco.yaml"
    file.write_text(
        "disco: {path: ['${PATHS}', '/c${EMPTY}'], workers: '${PORT}'}\n"
        "consul:\n  host: ${HOST}\n  services: [web, '${ITEMS}']\n  port: ${PORT}\n  token: $${HOST}\n"
    )
    problems: list[Problem] = []
    values = pairs.read("consul.dc=${HOST}", file, ENVIRON, [], problems)
    assert not problems
    assert {key: value.text for key, value in values.items()} == {
        "disco.path": "/a:/b:/c",
        "disco.workers": "81",
        "consul.host": "db1",
        "consul.services": "web,a,b",
        "consul.port": "81",
        "consul.token": "${HOST}",
        "consul.dc": "${HOST}",
    }
    file.write_text('{"consul": {"host": "${HOST}", "dc": "\\u0024{PORT}"}}')
    assert pairs.read("", file, ENVIRON, [], problems)["consul.host"].text == "db1"
    assert pairs.read("", file, ENVIRON, [], problems)["consul.dc"].text == "81"  # what counts is the text after parsing
    file.write_text("consul: {'${KEY}': a}\n")
    pairs.read("", file, ENVIRON, [], problems)
    assert [problem.message for problem in problems] == ["expected a key in a namespace, like disco.path"]


def test_every_missing_variable_is_reported(tmp_path: Path) -> None:
    """Each variable that is not set is reported by file, line, column, key and name; nothing else is said of its key."""
    file = tmp_path / "disco.yaml"
    file.write_text(
        "consul:\n  port: ${NO_PORT}\n  services: [web, '${A}${B}']\n  dc: '${'\n  token: ${NO_TOKEN}\nflat: {file: '${F}'}\n"
    )
    _, problems = config.load("", file, {"A": SECRET})
    found = [f"{problem.place}: {problem.message}; {problem.remedy}" for problem in problems]
    assert found == [
        f"{file}:2:9: consul.port: variable NO_PORT is not set; set it, or give a default: ${{NO_PORT:-TEXT}}",
        f"{file}:3:19: consul.services: variable B is not set; set it, or give a default: ${{B:-TEXT}}",
        f"{file}:4:7: consul.dc: '${{' begins no ${{NAME}} or ${{NAME:-TEXT}}; correct it, or write $${{ for the text ${{",
        f"{file}:5:10: consul.token: variable NO_TOKEN is not set; set it, or give a default: ${{NO_TOKEN:-TEXT}}",
        f"{file}:6:14: flat.file: variable F is not set; set it, or give a default: ${{F:-TEXT}}",
    ]


def test_a_wrong_value_of_a_variable_is_not_shown(tmp_path: Path) -> None:
    """What a variable holds is judged as if it stood in the file, and shown nowhere."""
    file = tmp_path / "disco.yaml"
    file.write_text("consul: {port: '${P}'}\n")
    _, problems = config.load("", file, {"P": SECRET})
    assert [str(problem) for problem in problems] == [
        f"{file}:1:16: consul.port: expected a port from 1 to 65535; correct the value"
    ]


@pytest.mark.parametrize("given", [{}, {"DATA": "flat.yaml"}])
def test_a_start_with_variables(site: Site, given: dict[str, Any]) -> None:
    """disco starts with what variables say, and without one of them it starts nothing (78)."""
    site.simple({"literal": "${DATA}"})
    del site.cfg["flat.file"]
    (site.folder / "disco.yaml").write_text('flat: {file: "${OUT}/${DATA}"}\n')
    site.environ |= given
    running = site.run(options=("-c", "disco.yaml"))
    if given:
        assert (running.process.returncode, site.seen()) == (0, [{"app": {"literal": "${DATA}"}}]), running.log
    else:
        assert running.process.returncode == 78
        assert "disco: disco.yaml:1:14: flat.file: variable DATA is not set; set it" in running.log
