"""The environment of COMMAND: what rules export of it, what disco.unset takes away, and what cannot be exported."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from lab.waiting import eventually

from tests.test_attack import anybody, open_site  # noqa: F401 -- a fixture

if TYPE_CHECKING:
    from lab.site import Running, Site


def variables(running: Running) -> dict[str, str]:
    """Return what COMMAND (`env -0`) printed."""
    assert running.process.returncode == 0, running.log
    return dict(entry.split("=", 1) for entry in running.output.split("\0")[:-1])


def export(site: Site, script: str, *patterns: str) -> Running:
    """Run a site with one rule, whose handler is this script, and `env -0` as COMMAND."""
    site.simple()
    site.rules({"when": "app", "do": "see", "name": "app", "export": list(patterns)})
    site.handler("see", script)
    site.cfg["disco.fail_limit"] = "1"
    return site.run("env", "-0", options=())


def test_command_gets_what_a_rule_exports(site: Site) -> None:
    """What a handler writes to DISCO_ENV is in COMMAND's environment, over the container's own, if the rule names it."""
    site.environ |= {"DB_HOST": "old", "DB_USER": "kept"}
    script = """printf '%s\\0' "DB_HOST=a b" "DB_PASSWORD=ü
two" "PLAIN=1" "OTHER=1" "DB_EMPTY=" > "$DISCO_ENV"
printf 'DB_MORE=1\\0' >> "$DISCO_ENV"
printf 'DB_LAST=1\\0' >&3
"""
    running = export(site, script, "DB_*", "PLAIN")
    assert variables(running) == site.environ | {
        "DB_HOST": "a b",
        "DB_PASSWORD": "ü\ntwo",
        "PLAIN": "1",
        "DB_EMPTY": "",
        "DB_MORE": "1",
        "DB_LAST": "1",
    }
    assert "WARNING runner-1" in running.log
    assert "rule app: not exported, since 'export' does not name it: OTHER\n" in running.log
    assert "COMMAND gets what rules export: DB_HOST, DB_PASSWORD, PLAIN, DB_EMPTY, DB_MORE, DB_LAST\n" in running.log


def test_two_rules(site: Site) -> None:
    """Of two rules that export a name the later in file order counts, whichever ended first, and the log tells the name."""
    site.simple()
    site.handler("first", 'while [ ! -e "$OUT/second" ]; do sleep 0.01; done\nprintf "A=hunter2\\0B=1\\0" > "$DISCO_ENV"\n')
    site.handler("second", 'printf "A=2\\0C=2\\0" > "$DISCO_ENV"\ntouch "$OUT/second"\n')
    both = {"when": "app", "export": "A,B,C"}
    site.rules({"do": "first", "name": "first", **both}, {"do": "second", "name": "second", **both})
    running = site.run("env", "-0", options=())
    found = variables(running)
    assert (found["A"], found["B"], found["C"]) == ("2", "1", "2")
    assert "A is exported by rule second; that of rule first is not used" in running.log
    assert "hunter2" not in running.log


def test_the_last_success_counts(site: Site) -> None:
    """A success replaces all that the rule exported before, on older data; what a failed run wrote counts for nothing."""
    site.simple({"round": 1})
    script = """case $(cat) in
    *1*) printf 'A=1\\0B=1\\0' > "$DISCO_ENV"; touch "$OUT/first" ;;
    *) [ -e "$OUT/again" ] && printf 'B=2\\0' > "$DISCO_ENV" && exit; printf 'C=2\\0' > "$DISCO_ENV"; touch "$OUT/again"; exit 1 ;;
esac
"""
    site.handler("see", script)
    site.handler("hold", 'while [ ! -e "$OUT/again" ]; do sleep 0.01; done\n')
    site.rules({"when": "app", "do": "see", "export": "A,B,C"}, {"when": "app", "do": "hold"})
    running = site.start("env", "-0", options=())
    eventually((site.folder / "first").exists)
    site.flat({"app": {"round": 2}})
    running.wait()
    found = variables(running)
    assert {name: found.get(name) for name in "ABC"} == {"A": None, "B": "2", "C": None}


def test_what_comes_after_the_exit_is_not_read(site: Site) -> None:
    """The file is read once, as the handler exits: what it left running cannot change COMMAND's environment."""
    script = 'printf "A=1\\0" > "$DISCO_ENV"\n(trap "" TERM; exec > /dev/null 2>&1; sleep 0.2; printf "B=1\\0" >> "$DISCO_ENV") &\n'
    found = variables(export(site, script, "A", "B"))
    assert found["A"] == "1"
    assert "B" not in found


def test_nothing_written(site: Site) -> None:
    """A handler that writes nothing, and closes the file, has succeeded like any other."""
    assert variables(export(site, "exec 3>&-\n", "A*")) == site.environ


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        (
            "echo 'A=first'; echo hunter2",
            'line 2 is not NAME=value (end each with NUL: printf \'%s\\0\' "NAME=$value" >> "$DISCO_ENV")',
        ),
        ("printf 'A=1\\0B=hunter2'", "its last record is not complete"),
        (
            "printf 'A=hunter2'; head -c 131072 /dev/zero | tr '\\0' x",
            "line 1 is longer than 128 KiB, the system's limit for a variable",
        ),
        ("head -c 2000000 /dev/zero | tr '\\0' x", "more than 1 MiB"),
    ],
)
def test_what_cannot_be_used_fails_the_run(site: Site, script: str, problem: str) -> None:
    """What cannot be an environment fails the run, with its place and without its text; so COMMAND never runs without it."""
    running = export(site, f'{{ {script}; }} > "$DISCO_ENV"\n', "A", "B")
    assert running.process.returncode == 70
    assert f"failed: what it wrote to DISCO_ENV cannot be used: {problem}" in running.log
    assert "hunter2" not in running.log


def test_more_than_exec_takes(site: Site) -> None:
    """Variables that are too much for exec, with the environment and COMMAND's words, fail the run that brings them."""
    site.simple()
    write = "file.write(os.environ['DISCO_RULE'] + f'{n}=' + 'x' * 100_000 + '\\0')"
    site.handler("see", f"#!{sys.executable}\nimport os\nfile = open(3, 'w')\nfor n in range(8): {write}\n")
    site.rules(*({"when": "app", "do": "see", "name": name, "export": f"{name}*"} for name in ("A", "B")))
    site.cfg |= {"disco.fail_limit": "1", "disco.workers": "1"}
    stack = lambda: resource.setrlimit(resource.RLIMIT_STACK, (4 << 20, resource.RLIM_INFINITY))  # noqa: E731
    running = site.run("sh", "-c", "echo ${#A7} $#", "x" * 100_000, options=(), preexec_fn=stack)
    assert running.process.returncode == 70
    assert "rule B: handler " in running.log
    assert "the variables that rules export need 1563 KiB, and COMMAND can be given " in running.log
    site.rules({"when": "app", "do": "see", "name": "A", "export": "A*"})
    running = site.run("sh", "-c", "echo ${#A7} $#", "x" * 100_000, options=(), preexec_fn=stack)
    assert running.output == "100000 0\n", running.log


def test_a_whole_mebibyte_arrives(site: Site) -> None:
    """As much as a run may export arrives in COMMAND, which may be more than a pipe takes."""
    script = f"#!{sys.executable}\nfile = open(3, 'w')\nfor n in range(1024): file.write(f'A{{n:04}}=' + 'x' * 1017 + '\\0')\n"
    running = export(site, script, "A*")
    found = variables(running)
    assert all(found[f"A{n:04}"] == "x" * 1017 for n in range(1024))


def test_the_path_for_command(site: Site) -> None:
    """A PATH that a rule exports, which it has to write out, is where COMMAND is looked up."""
    site.simple()
    site.handler("see", 'printf "PATH=$OUT/bin:$PATH\\0" > "$DISCO_ENV"\n')
    (site.folder / "bin").mkdir()
    shutil.copy(site.handler("own", "echo found\n"), site.folder / "bin" / "program")
    site.rules({"when": "app", "do": "see", "export": "P*"})
    assert site.run("program", options=()).process.returncode == 127
    site.rules({"when": "app", "do": "see", "export": "PATH"})
    assert site.run("program", options=()).output == "found\n"


def test_a_handler_that_gives_up_its_rights(open_site: Site) -> None:  # noqa: F811 -- the fixture
    """The file is there for a handler that becomes another user, and for its child processes."""
    site = open_site
    script = f'exec {" ".join(anybody())} sh -c \'sh -c "printf \\"A=$(id -u)\\\\0\\" > $DISCO_ENV"\'\n'
    assert variables(export(site, script, "A"))["A"] == "54321"


def test_only_rules_with_export_have_the_file(site: Site) -> None:
    """A rule without `export` gets neither the file nor a DISCO_ENV of whoever started disco, and cannot export anything."""
    site.environ["DISCO_ENV"] = str(site.folder / "outer")
    site.simple()
    site.handler("see", 'printf "%s" "$DISCO_ENV" > "$OUT/variable"\nls /proc/self/fd > "$OUT/descriptors"\n')
    assert variables(site.run("env", "-0", options=())) == site.environ
    assert site.read("variable") == ""
    assert len(site.read("descriptors").split()) == 4  # the fourth is the listing's own


def test_unset(site: Site) -> None:
    """disco.unset takes variables away from handlers and COMMAND, not from sources; a rule may export one of them anew."""
    site.environ |= {"TOKEN": "secret", "OTHER": "x"}
    site.cfg["disco.unset"] = "TOKEN, OTHER,NONE"
    site.schema("app")
    site.plug_in("yield {'app': {'token': os.environ['TOKEN']}}\ntime.sleep(1e6)")
    site.handler("see", 'env > "$OUT/handler"\ncat > "$OUT/input"\nprintf "OTHER=new\\0" > "$DISCO_ENV"\n')
    site.rules({"when": "app", "do": "see", "export": "OTHER"})
    running = site.run("env", "-0", options=())
    assert variables(running) == {name: value for name, value in site.environ.items() if name != "TOKEN"} | {"OTHER": "new"}
    assert json.loads(site.read("input")) == {"app": {"token": "secret"}}
    assert not {"TOKEN=secret", "OTHER=x"} & set(site.read("handler").splitlines())


def test_unset_without_rules(site: Site) -> None:
    """disco.unset holds for a COMMAND that is executed at once."""
    site.environ["TOKEN"] = "secret"
    site.cfg |= {"disco.unset": "TOKEN", "disco.rules": "optional"}
    assert "TOKEN" not in variables(site.run("env", "-0", options=()))


def test_later_handlers_get_no_exports(site: Site) -> None:
    """What a rule exports is for COMMAND alone: the handlers of later rules do not get it."""
    site.simple()
    site.handler("see", 'env > "$OUT/$DISCO_RULE"\n[ -z "$DISCO_ENV" ] || printf "A=1\\0" > "$DISCO_ENV"\n')
    site.rules(
        {"when": "app", "do": "see", "name": "first", "export": "A"},
        {"when": "app", "do": "see", "name": "second", "after": "first"},
    )
    assert variables(site.run("env", "-0", options=()))["A"] == "1"
    assert "A=1" not in site.read("second").splitlines()


def test_a_stop_ends_without_command(site: Site) -> None:
    """Where disco is stopped after a rule has exported, its status says so, and nothing of that is printed."""
    site.simple()
    site.schema("missing")
    site.handler("see", 'printf "A=hunter2\\0" > "$DISCO_ENV"\n')
    site.rules({"when": "app", "do": "see", "export": "A"}, {"when": "missing", "do": "see"})
    running = site.start()
    running.wait_for("handler succeeded")
    running.send(signal.SIGUSR1)
    running.wait_for("is not satisfied|is not started yet")
    running.send(signal.SIGTERM)
    assert running.wait() == 128 + signal.SIGTERM
    assert "hunter2" not in running.log


def test_without_proc(site: Site) -> None:
    """Where no /proc is mounted no handler can open the file: a site with `export` is refused."""
    hiding = ["unshare", "--mount", "sh", "-ec", 'mount -t tmpfs none /proc && exec "$@"', "sh"]
    if subprocess.run([*hiding, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no right to make namespaces here")
    site.simple()
    site.rules({"when": "app", "do": "see", "export": "A"})
    running = site.run(before=hiding, options=())
    assert running.process.returncode == 78
    assert f"{site.etc}/site.rules:1:12: 'export' needs /proc, which is not there; mount it, or remove 'export'" in running.log


def test_it_is_never_on_disk(site: Site) -> None:
    """No file, nor the words of any process, holds what is exported: DISCO_ENV is a file in memory."""
    script = f"#!{sys.executable}\nimport os\nopen(os.environ['OUT'] + '/link', 'w').write(os.readlink(os.environ['DISCO_ENV']))\n"
    assert variables(export(site, script, "A")) == site.environ
    assert site.read("link").startswith("/memfd:")
    assert not os.path.exists(site.read("link"))
