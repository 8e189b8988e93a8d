"""What the README tells can be done, and it tells all options and exit statuses that there are."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from disco.errors import ExitStatus
from disco.site.config import DISCO_OPTIONS
from disco.sources import Source
from disco.sources.options import SOURCE_OPTIONS, Option
from disco.sources.registry import BUILT_IN, find

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
PATH = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"


def declared() -> Iterator[tuple[str, Option]]:
    """Yield every option that disco and its own sources declare, by the key that the README uses."""
    yield from ((f"disco.{option.name}", option) for option in DISCO_OPTIONS)
    yield from ((f"<source>.{option.name}", option) for option in SOURCE_OPTIONS)
    for name in BUILT_IN:
        yield from ((f"{name}.{option.name}", option) for option in find(name, "").options)


def run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Return what a shell makes of a command in a folder."""
    return subprocess.run(
        ["sh", "-c", command], cwd=folder, env={"PATH": PATH}, capture_output=True, text=True, timeout=60, check=False
    )


def block(start: str) -> str:
    """Return the indented lines of the README that start so, without their indentation, up to the next empty line."""
    (rest,) = README.split(f"\n{start}")[1:]
    return re.sub("(?m)^    ", "", f"{start}{rest}".partition("\n\n")[0]) + "\n"


def timeless(text: str) -> str:
    """Return text without durations, which differ from run to run."""
    return re.sub(r"\b[\d.]+ m?s\b", "TIME", text)


def test_the_example_works_word_for_word() -> None:
    """After the steps that the README gives, its command prints what it says."""
    command = re.search(r"^ +\$ (env DISCO_CFG=.*)$", README, re.MULTILINE)
    assert command
    assert command[1] == 'env DISCO_CFG=flat.file=tests/mysql.yaml:disco.path=tests disco echo "doit"'
    done = run(command[1], ROOT)
    assert (done.returncode, done.stdout) == (0, "doit\n"), done.stderr


def test_the_broken_example_says_what_is_told(tmp_path: Path) -> None:
    """What the README shows of report, last words and --dry-run is what its commands print, but for times and heads of lines."""
    (tmp_path / "tests").mkdir()
    for file in (ROOT / "tests").glob("mysql*"):
        shutil.copy(file, tmp_path / "tests")
    start, dry_run = re.findall(r"^    \$ (env .*broken.*)$", README, re.MULTILINE)
    (prepare,) = re.findall(r"^    \$ (sed .*)$", README, re.MULTILINE)
    assert run(prepare, tmp_path).returncode == 0
    done = run(start, tmp_path)
    assert (done.returncode, done.stdout) == (75, "")
    told = timeless(re.sub(r"(?m)^\S+Z (?:INFO|WARNING|ERROR) +\S+\] ", "", done.stderr))
    assert timeless(block("    echo is not started yet: ")) in told
    assert told.endswith(block("    disco: disco.timeout passed; ")), told
    done = run(dry_run, tmp_path)
    assert (done.returncode, done.stderr) == (75, "")
    assert timeless(block(f"    $ {dry_run}\n").partition("\n")[2]) == timeless(done.stdout)


def test_the_usage_is_that_of_the_command(tmp_path: Path) -> None:
    """The synopsis and the options are those of `disco -h`, word for word."""
    told = run("disco -h", tmp_path).stdout
    assert told.startswith(block("    usage: "))
    assert "\n" + block("      -l, --log-level ") + "\n" in told


def test_the_plug_in_is_a_source() -> None:
    """The example of a source is Python that declares a source with the option that the README then uses."""
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    scope: dict[str, object] = {}
    exec(code, scope)  # noqa: S102 -- our own README
    source = scope["SOURCE"]
    assert isinstance(source, Source)
    assert [option.name for option in source.options] == ["start"]


def test_links_lead_somewhere() -> None:
    """Each link to a heading or to a file of the project has its target."""
    headings = {re.sub(r"[^\w -]", "", one).lower().replace(" ", "-") for one in re.findall(r"^#+ (.*)$", README, re.MULTILINE)}
    for target in re.findall(r"\]\(([^)]+)\)", README):
        if target.startswith("#"):
            assert target[1:] in headings
        elif "://" not in target:
            assert (ROOT / target).is_file()


def test_the_tables_hold_every_option_and_no_other() -> None:
    """Each option has a row, and the default that it names is the one in the code."""
    rows = re.findall(r"^\| `((?:<source>|disco|flat|consul|etcd)\.[a-z_]+)` \| ([^|]*) \|", README, re.MULTILINE)
    known = dict(declared())
    assert sorted(key for key, _ in rows) == sorted(known)
    for key, type_and_default in rows:
        option = known[key]
        told = re.search(r"[,;] `([^`]+)`$", type_and_default)
        if told:
            assert option.type(told[1]) == option.default, key
        else:
            assert not isinstance(option.default, (int, float)), key


def test_the_table_of_exit_statuses_is_complete() -> None:
    """Each status of disco's own is explained."""
    told = set(map(int, re.findall(r"\d+", " ".join(re.findall(r"^\| ([\d, N+]+) \|", README, re.MULTILINE)))))
    assert told == set(map(int, ExitStatus))
