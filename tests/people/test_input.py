"""What --input prints of a rule, as a real process: what its handler would get, and nothing else."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

import pytest
from lab.processes import processes
from lab.site import disco_command

from disco.errors import ExitStatus

if TYPE_CHECKING:
    from lab.site import Site

WARNING = "disco: --input shows values, which may be secret: what the handler of rule app would get\n"


def show(site: Site, *argv: str) -> tuple[int, str, str]:
    """Return the status of a call, its stdout and its stderr; nothing of it is left, and no handler has run."""
    done = subprocess.run(
        [*disco_command(), *argv],
        env=site.environ | {"DISCO_CFG": site.cfg_line()},
        cwd=site.folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert not processes(f"OUT={site.folder}")
    assert site.read("see.seen") == ""
    return done.returncode, done.stdout, done.stderr


def test_it_is_what_the_handler_gets(site: Site) -> None:
    """Byte for byte, the data of several sources merged; stderr says that values are shown, and shows none."""
    site.simple({"host": "hunter2\u2028\x7f", "ports": [1, 2.5]})
    site.schema('odd"name')
    site.rules({"when": 'app,odd"name', "do": "see", "name": "app"})
    site.flat({"app": {"user": "hunter3"}, 'odd"name': {}}, name="more.yaml", source="more")
    status, answer, warning = show(site, "--input", "app")
    assert (status, warning) == (0, WARNING)
    assert json.loads(answer)["app"] == {"host": "hunter2\u2028\x7f", "ports": [1, 2.5], "user": "hunter3"}
    assert site.run().process.returncode == 0
    assert site.read("see.seen") == answer


def test_without_data(site: Site) -> None:
    """A rule without `when` gets an empty object, and needs no source for that."""
    site.handler("see")
    site.rules({"do": "see", "name": "app"})
    assert show(site, "--input", "app") == (0, "{}\n", WARNING)


def test_only_this_rule_counts(site: Site) -> None:
    """What other rules and sources lack does not matter, once the time of --dry-run has passed."""
    site.simple({"a": 1})
    site.schema("db")
    site.rules({"when": "app", "do": "see", "name": "app"}, {"when": "db", "do": "see", "name": "db"})
    site.cfg |= {"disco.timeout": "1", "late.type": "flat", "late.file": "/none"}
    assert show(site, "--input", "app") == (0, '{"app":{"a":1}}\n', WARNING)


def test_a_rule_that_could_not_run(site: Site) -> None:
    """Nothing is on stdout; stderr says what is missing, without a value, and the status is that of a start."""
    site.simple({"host": "hunter2"})
    site.schema("app", {"type": "object", "required": ["port"]})
    status, answer, complaint = show(site, "--input", "app")
    assert (status, answer) == (ExitStatus.TIMEOUT, "")
    assert f"disco: rule app ({site.etc}/site.rules:1:12) would not run see: it waits for app\n" in complaint
    assert "disco: interface app is not valid: /port is required" in complaint
    assert "hunter2" not in complaint
    site.cfg |= {"disco.timeout": "1", "flat.file": "/none"}
    status, answer, complaint = show(site, "--input", "app")
    assert (status, answer) == (ExitStatus.UNAVAILABLE, "")
    assert "it waits for app\n" in complaint
    assert "disco: no good answer came from flat (/none: No such file or directory)\n" in complaint


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (("ap",), "--input: no rule is named ap; did you mean app?"),
        (("",), "--input: no rule is named (empty); there are app"),
        (("app", "true"), "--input takes one rule, and no COMMAND"),
        (("app", "--json"), "--json goes with --check or --dry-run"),
        (("app", "--dry-run"), "--dry-run and --input exclude each other"),
        ((), "option --input requires argument"),
    ],
)
def test_wrong_words(site: Site, argv: tuple[str, ...], words: str) -> None:
    """It takes the name of one rule and goes with nothing else; what is wrong with the words is told, with status 64."""
    site.simple()
    status, answer, complaint = show(site, "--input", *argv)
    assert (status, answer) == (ExitStatus.USAGE, "")
    assert complaint.startswith(f"disco: {words}")
