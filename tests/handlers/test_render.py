"""disco-render as a command, as a rule's handler, and as `disco --check` judges its words."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from disco.errors import UsageError
from disco.handlers import render as module
from tests.conftest import need_program

if TYPE_CHECKING:
    from lab.site import Site

COMMAND = str(Path(sys.executable).with_name("disco-render"))
SECRET = "hunter2"
DATA = {"app": {"host": SECRET, "port": 80}, "db": {"name": "x y"}}


def run(folder: Path, *words: str, data: Any = None, text: str = "") -> tuple[int, str, str]:
    """Run disco-render on data, or on a text; return its status, and what it printed."""
    done = subprocess.run(
        [COMMAND, *words],
        input=text or json.dumps(data or DATA),
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "a TEMPLATE and a TARGET are needed, and nothing else; 'disco-render -h' shows how it is used"),
        (["t"], "a TEMPLATE and a TARGET are needed"),
        (["t", "x", "y"], "a TEMPLATE and a TARGET are needed"),
        (["--format", "json", "t", "x"], "a TARGET is needed, and nothing else"),
        (["--format", "xml", "x"], "--format takes env, ini, json, toml, yaml"),
        (["t", "x", "--mode", "rw"], "--mode takes permissions in octal digits"),
        (["t", "x", "--mode", "4755"], "--mode takes permissions in octal digits"),
        (["t", "x", "--mode", "-1"], "--mode takes permissions in octal digits"),
        (["t", "x", "--check", "nginx -t"], "--check takes a command in which {} stands for the file"),
        (["t", "x", "--check", "{}"], "--check takes a command in which {} stands for the file"),
        (["t", "x", "--check", "nginx '{}"], "--check takes a command in which {} stands for the file"),
        (["t", "x", "--check", ""], "--check takes a command in which {} stands for the file"),
        (["t", "x", "--dry"], "option --dry not recognized"),
        (["t", "x", "--none"], "option --none not recognized"),
        (["t", "x", "--owner", ":"], "--owner takes USER, USER:GROUP or :GROUP"),
        (["t", "x\0y"], "a NUL is in no path"),
        (["t", ""], "TARGET is the path of a file"),
        (["t", "folder/"], "TARGET is the path of a file"),
        (["t", "-", "--mode", "600"], "TARGET - goes with no other option than --format"),
        (["t", "-", "--dry-run"], "TARGET - goes with no other option than --format"),
    ],
)
def test_wrong_words(tmp_path: Path, words: list[str], message: str) -> None:
    """Wrong words are refused before anything is read, with status 64 and one line."""
    with pytest.raises(UsageError) as caught:
        module.parse(words)
    assert str(caught.value).startswith(message)
    if words in ([], ["t", "x", "--none"]):
        assert run(tmp_path, *words) == (64, "", f"disco-render: {caught.value}\n")


def test_help(tmp_path: Path) -> None:
    """The help is on stdout, fits a screen, and names every option."""
    status, output, _ = run(tmp_path, "-h")
    assert (status, output) == (0, module.USAGE)
    assert all(f"--{option.rstrip('=')}" in output for option in module._OPTIONS)
    assert max(map(len, output.splitlines())) <= 110


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"x"', "[" * 100_000])
def test_input_that_is_no_object(tmp_path: Path, text: str) -> None:
    """An input that is no JSON object is wrong data."""
    (tmp_path / "t").write_text("x")
    assert run(tmp_path, "t", "x", text=text or " ") == (65, "", "disco-render: stdin is no JSON object\n")


def test_closed_descriptors(tmp_path: Path) -> None:
    """Closed descriptors are as /dev/null: the target does not become one of them, and a missing input is wrong data."""
    (tmp_path / "t").write_text("new")
    for redirections, status in (("<&-", 65), (">&- 2>&-", 0), ("2>&-", 0)):
        done = subprocess.run(
            ["sh", "-c", f"exec {COMMAND} t x {redirections}"],
            cwd=tmp_path,
            input="{}",
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, "bug" in done.stderr) == (status, False)
    assert (tmp_path / "x").read_text() == "new"


def test_another_encoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is printed is UTF-8, as what is written is, whatever encoding Python was given."""
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    (tmp_path / "t").write_text("é")
    assert run(tmp_path, "t", "-") == (0, "é", "")
    assert run(tmp_path, "t", "é") == (0, "é: written\n", "")


def test_a_flood_of_text(tmp_path: Path) -> None:
    """Text of the template's own, repeated without end, takes bounded memory: the process is ended, and the target stays."""
    (tmp_path / "t").write_text(f"{{% for i in range(99999) %}}{'x' * 50_000}{{% endfor %}}")
    (tmp_path / "x").write_text("old")
    status, _, message = run(tmp_path, "t", "x")
    assert (status, message) == (-signal.SIGABRT, message)
    assert re.match(r"memory allocation of \d+ bytes failed", message)
    assert (tmp_path / "x").read_text() == "old"


def test_stdout(tmp_path: Path) -> None:
    """With the target `-` the output is printed, and so a template is written in a minute."""
    (tmp_path / "t").write_text("{{ app.port }}\n")
    assert run(tmp_path, "t", "-") == (0, "80\n", "")
    assert run(tmp_path, "--format", "env", "-") == (0, f"APP_HOST={SECRET}\nAPP_PORT=80\nDB_NAME='x y'\n", "")
    assert os.listdir(tmp_path) == ["t"]


def test_a_template_error(tmp_path: Path) -> None:
    """A template's error is one line with file, line and name, and no value; nothing is written."""
    (tmp_path / "t").write_text("{{ app.host }}\n{{ app.prot }}\n")
    assert run(tmp_path, "t", "x") == (65, "", "disco-render: t:2: app.prot is undefined\n")
    (tmp_path / "t").write_text("{{ apps.host }}\n")
    assert run(tmp_path, "t", "x") == (1, "", "disco-render: t:1: apps is undefined\n")
    assert os.listdir(tmp_path) == ["t"]


def test_dry_run(tmp_path: Path) -> None:
    """A dry run writes nothing. It prints which lines would be others, with the template's own text and without a value."""
    (tmp_path / "t").write_text("# app\nserver {{ app.host }}:{{ app.port }};\nname {{ db.name }};\n")
    new = "x: would be written: 3 lines\n+1 # app\n+2 server ...:...;\n+3 name ...;\n"
    assert run(tmp_path, "t", "x", "--dry-run") == (0, new, "")
    assert not (tmp_path / "x").exists()
    assert run(tmp_path, "t", "x")[0] == 0
    assert run(tmp_path, "t", "x", "--dry-run") == (0, "x: unchanged\n", "")
    dressed = "x: unchanged; its mode or owner would change\n"
    assert run(tmp_path, "t", "x", "--dry-run", "--mode", "0600") == (0, dressed, "")
    other = {"app": {"host": SECRET, "port": 81}, "db": {"name": "x y"}}
    assert run(tmp_path, "t", "x", "--dry-run", data=other) == (0, "x: would be changed: 3 lines\n-2\n+2 server ...:...;\n", "")
    assert run(tmp_path, "--format", "ini", "x", "--dry-run")[1].splitlines()[-1] == "+6 name = ..."


def test_a_dry_run_of_a_template_that_needs_its_values(tmp_path: Path) -> None:
    """Where a template computes with what it has printed, or decides by it, only the lines' numbers are shown."""
    (tmp_path / "t").write_text("{% set n %}{{ app.port }}{% endset %}{{ n|int + 1 }}\n")
    assert run(tmp_path, "t", "x", "--dry-run") == (0, "x: would be written: 1 line\n+1 ...\n", "")
    (tmp_path / "t").write_text("{% set n %}{{ app.port }}{% endset %}{% if n == '80' %}a\nb{% else %}c{% endif %}\n")
    assert run(tmp_path, "t", "x", "--dry-run") == (0, "x: would be written: 2 lines\n+1 ...\n+2 ...\n", "")


def test_a_dry_run_of_a_long_file(tmp_path: Path) -> None:
    """Lines are compared only where that takes no time."""
    (tmp_path / "t").write_text("{{ app.port }}\n" * 6000)
    assert run(tmp_path, "t", "x", "--dry-run") == (0, "x: would be written: 6000 lines\n", "")


def test_a_site(site: Site) -> None:
    """As a rule's handler it writes the file before COMMAND starts; its input is the rule's."""
    site.schema("app")
    site.flat({"app": {"host": "a b", "port": 80}})
    (site.etc / "t.j2").write_text("{{ app.host|shell }} {{ env.HOME }} {{ app.port }}\n")
    site.rules({"when": "app", "do": f"disco-render {site.etc}/t.j2 {site.folder}/out --mode 0640"})
    running = site.run("cat", f"{site.folder}/out")
    assert running.output == f"'a b' {site.folder} 80\n", running.log
    assert "out: written" in running.log  # the handler's stdout, at DEBUG


def test_a_failing_render_in_a_site(site: Site) -> None:
    """What disco's log has of a failing render is the one line, and no value at any level."""
    site.schema("app")
    site.flat({"app": {"host": SECRET}})
    site.cfg |= {"disco.timeout": "3", "disco.fail_limit": "1"}
    (site.etc / "t.j2").write_text("{{ app.host }}\n{{ other }}\n")
    site.rules({"when": "app", "do": f"disco-render {site.etc}/t.j2 {site.folder}/out"})
    running = site.run("true")
    assert running.process.returncode == 70
    assert f"exit status 1 (disco-render: {site.etc}/t.j2:2: other is undefined)" in running.log
    assert SECRET not in running.log


def test_nginx_refuses_a_bad_file(site: Site) -> None:
    """A real nginx judges the new file before it replaces the old one; its words are in the log."""
    nginx = need_program("nginx")
    site.schema("web")
    site.cfg |= {"disco.fail_limit": "1", "disco.timeout": "3"}
    temporary = "".join(f"{kind}_temp_path {site.folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    template = (
        f"pid {site.folder}/pid; error_log stderr; events {{}}\nhttp {{ access_log off; {temporary}\n"
        "server { listen {{ web.listen }}; server_name {{ web.name|nginx }}; } }\n"
    )
    (site.etc / "nginx.conf.j2").write_text(template)
    target = site.folder / "nginx.conf"
    check = f"{nginx} -t -p {site.folder} -c {{}}"
    site.rules({"when": "web", "do": f"disco-render {site.etc}/nginx.conf.j2 {target} --check '{check}'"})
    site.flat({"web": {"listen": "127.0.0.1:8080", "name": "a; } evil {"}})
    running = site.run("true")
    assert running.process.returncode == 0, running.log
    good = target.read_text()
    assert 'server_name "a; } evil {";' in good
    site.flat({"web": {"listen": "nowhere:x", "name": "a"}})
    running = site.run("true")
    assert running.process.returncode != 0
    assert f"{target} stays as it was: {nginx} refused the new one with exit status 1" in running.log
    assert 'invalid port in "nowhere:x"' in running.log
    assert target.read_text() == good


def check(site: Site, words: str) -> tuple[list[str], list[str]]:
    """Return the errors and the warnings of `disco --check` about a rule's words."""
    site.schema("app")
    site.flat({"app": {}})
    (site.etc / "good.j2").write_text("{{ app.host }} {{ env.HOME }}\n")
    (site.etc / "bad.j2").write_text("\n{% if %}\n")
    (site.etc / "other.j2").write_text("{{ app.host }} {{ db.host }}\n")
    site.rules({"when": "app", "do": f"disco-render {words.replace('ETC', str(site.etc))}"})
    running = site.run("true", options=("--check", "--json"))
    told = json.loads(running.output)
    assert running.process.returncode == (78 if told["errors"] else 0)
    errors, warnings = (
        [f"{one['message']}; {one['remedy']}".replace(str(site.etc), "ETC") for one in told[kind]]
        for kind in ("errors", "warnings")
    )
    return errors, warnings


@pytest.mark.parametrize(
    ("words", "errors", "warnings"),
    [
        ("ETC/good.j2 out --mode 600 --owner root --check 'cat {}'", [], []),
        ("ETC/good.j2", ["a TEMPLATE and a TARGET are needed, and nothing else; 'disco-render -h' shows how it is used"], []),
        ("ETC/bad.j2 out", ["ETC/bad.j2:2: unexpected end of block; correct the template"], []),
        ("ETC/none.j2 out", ["ETC/none.j2: No such file or directory; correct the template"], []),
        (
            "ETC/other.j2 out",
            [],
            ["ETC/other.j2 uses db, which is no interface of the rule; add it to the rule's 'when', or correct it"],
        ),
        (
            "--format json out --owner nobody-of-that-name",
            ["--owner nobody-of-that-name: there is no such user or group; make the user or the group in the image"],
            [],
        ),
        ("--format json out --check 'no-program {}'", ["--check: no-program is not found or not executable; install it"], []),
        ("--format json none/out", [], ["there is no folder none, for none/out; make it"]),
    ],
)
def test_check(site: Site, words: str, errors: list[str], warnings: list[str]) -> None:
    """`disco --check` finds what can be found without data."""
    found = check(site, words)
    assert [len(messages) for messages in found] == [len(errors), len(warnings)], found
    for message, expected in zip([*found[0], *found[1]], [*errors, *warnings], strict=True):
        assert expected.removeprefix("disco-render: ") in message


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_check_of_a_closed_folder(site: Site) -> None:
    """`disco --check` warns of a folder that this user may not write to."""
    (site.folder / "closed").mkdir(mode=0o555)
    assert "closed is not writable" in check(site, "--format json closed/out")[1][0]
