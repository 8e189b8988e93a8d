"""What README and docs/ tell can be done, and they tell all options and exit statuses that there are."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import pytest

from disco.data.exports import GUARDED
from disco.errors import ExitStatus
from disco.people.options import ANY, Row, list_rows
from disco.site.config import DISCO_OPTIONS
from disco.sources.options import SOURCE_OPTIONS, Option
from disco.sources.registry import BUILT_IN, find
from disco.wire import messages
from tests.page_programs import provide
from tests.pages import PAGES, ROOT, blocks, commands, differs, name_of, run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lab.site import Site

TEXTS = {name_of(page): page.read_text() for page in PAGES}
ELSEWHERE = ("python3 -m venv ", "pip ", "tox", ". .", "docker ", "kubectl ")  # commands that no test runs
LINES_OF_README = 150


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_print_what_a_page_shows(page: Path) -> None:
    """Each command of a page, run in their order in a copy of the examples, prints what stands below it."""
    with tempfile.TemporaryDirectory(prefix="disco-page-") as temporary:
        folder = Path(temporary)
        folder.chmod(0o755)  # for commands that change their user
        (folder / "copy").mkdir()
        with provide(name_of(page), folder) as (environ, ports):
            differences = [difference for typed in run(page, folder / "copy", environ, ports) if (difference := differs(*typed))]
    assert not differences, "\n".join(differences)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_files_are_shown_as_they_are(page: Path) -> None:
    """Where a block says which of the project's files it shows, it is all of that file."""
    for block in blocks(page):
        if (ROOT / block.path).is_file():
            assert block.text == (ROOT / block.path).read_text(), block.path


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_what_no_test_runs_is_for_other_programs(page: Path) -> None:
    """Commands that are shown without being run are none of disco's, and no others are hidden in indented lines."""
    shown = [line for block in blocks(page) if block.language == "sh" for line in block.text.splitlines()]
    assert all(line.startswith(ELSEWHERE) for line in shown)
    assert not re.findall(r"^    \$ ", TEXTS[name_of(page)], re.MULTILINE)


def test_every_example_is_shown_and_run() -> None:
    """Each site in examples/ is in a command of a page that a test runs."""
    typed = " ".join(
        command.text for page in PAGES for block in blocks(page) if block.language == "console" for command in commands(block)
    )
    for site in (ROOT / "examples").iterdir():
        assert f"examples/{site.name}" in typed


def test_the_oldest_example_is_told_word_for_word() -> None:
    """The first command that disco ever had stands in the documents, so that it is run, and prints what it says."""
    shown = 'disco:disco.path=tests disco echo "doit"\n…\ndoit\n'
    assert f"$ env DISCO_CFG=flat.file=tests/mysql.yaml:{shown.partition(':')[2]}" in TEXTS["docs/getting-started.md"]


def test_the_front_page_is_short() -> None:
    """The README is a front page, and names the project's two commands word for word."""
    assert TEXTS["README.md"].count("\n") <= LINES_OF_README
    for tool in ("demo", "test"):
        assert re.search(rf"(?m)^    tools/{tool} +\w", TEXTS["README.md"])
        assert (ROOT / "tools" / tool).is_file()


def test_the_plug_in_works(site: Site) -> None:
    """The example of a source is a plug-in, and the configuration that the page shows for it runs it."""
    page = ROOT / "docs" / "writing-a-source.md"
    (code,) = (block.text for block in blocks(page) if block.path == "counter.py")
    site.plug_in("yield {}", name="counter")  # its metadata; then the page's code takes the place of this one
    (site.folder / "plug-ins" / "counter.py").write_text(code)
    del site.cfg["counter.timeout"]
    (project,) = (tomllib.loads(block.text) for block in blocks(page) if block.language == "toml")
    assert project["project"]["entry-points"] == {"disco.sources": {"counter": "counter:SOURCE"}}
    (key, value) = re.findall(r"`DISCO_CFG=(counter\.\w+)=(\w+)`", page.read_text())[0]
    site.cfg[key] = value
    site.schema("counter")
    site.rules({"when": "counter", "do": "see"})
    site.handler("see")
    running = site.run()
    assert running.process.returncode == 0, running.log
    assert site.seen()[0] == {"counter": {"number": int(value)}}


def test_the_rules_are_rules(site: Site) -> None:
    """The rules that the documents explain are rules, all forms of them."""
    page = ROOT / "docs" / "rules-and-handlers.md"
    (text,) = (block.text for block in blocks(page) if block.language == "yaml")
    (site.etc / "site.rules").write_text(text)
    for interface in ("mysql", "redis", "consul-ui", "grafana"):
        site.schema(interface)
    for name in re.findall(r"do: (\S+)", text):
        site.handler(name)
    site.flat({})
    running = site.run(options=("--check",))
    assert (running.process.returncode, running.output) == (0, "disco --check: 0 errors, 0 warnings\n")


def test_links_lead_somewhere() -> None:
    """Each link to a page, to a heading or to a file of the project has its target."""
    headings = {
        page: {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in re.findall(r"^#+ (.*)$", text, re.MULTILINE)}
        for page, text in TEXTS.items()
    }
    for name in [*TEXTS, "CONTRIBUTING.md", "CHANGELOG.md"]:
        for target in re.findall(r"\]\(([^)\s]+)\)", (ROOT / name).read_text()):
            if "://" in target:
                continue
            path, _, heading = target.partition("#")
            file = (ROOT / name).parent / path if path else ROOT / name
            assert file.exists(), f"{name}: {target}"
            assert not heading or heading in headings[name_of(file.resolve())], f"{name}: {target}"


def test_every_page_can_be_reached() -> None:
    """From the front page every other one is one link away."""
    for name in TEXTS:
        assert name == "README.md" or f"]({name})" in TEXTS["README.md"], name


def test_the_tables_hold_every_option_and_no_other() -> None:
    """Each option of `disco --options` has one row in all documents, with its default and its variables."""
    names = "|".join(("<source>", "disco", *BUILT_IN))
    pattern = re.compile(rf"^\| `((?:{names})\.[a-z_]+)` \| ([^|]*) \| (.*) \|$", re.MULTILINE)
    shown = [found for text in TEXTS.values() for found in pattern.findall(text)]
    known = {row.key.replace(ANY, "<source>"): (option, row) for option, row in declared()}
    assert sorted(key for key, _, _ in shown) == sorted(known)
    for key, type_and_default, meaning in shown:
        option, row = known[key]
        default = re.search(r"[,;] `([^`]+)`$", type_and_default)
        assert (option.type(default[1]) if default else None) == (option.type(row.default) if row.default else None), key
        assert set(row.variables) <= set(re.findall(r"\w+", meaning)), key


def test_the_list_of_guarded_variables_is_complete() -> None:
    """Each name that no pattern exports is told."""
    assert [name for name in GUARDED if f"`{name}`" not in TEXTS["docs/rules-and-handlers.md"]] == []


def test_the_table_of_exit_statuses_is_complete() -> None:
    """Each status of disco's own is explained."""
    shown = re.findall(r"^\| ([\d, N+]+) \|", TEXTS["docs/operations.md"], re.MULTILINE)
    assert set(map(int, re.findall(r"\d+", " ".join(shown)))) == set(map(int, ExitStatus))


def test_the_report_says_what_its_table_explains() -> None:
    """Each phrase that the table of the report explains is one of disco's."""
    modules = [*(ROOT / "disco" / "people").glob("*.py"), *(ROOT / "disco" / "data").glob("*.py")]
    texts = "".join(module.read_text() for module in modules).replace("{verb}", "waits")
    table = TEXTS["docs/operations.md"].partition("| it says |")[2].partition("\n\n")[0]
    phrases = [phrase for row in table.splitlines()[2:] for phrase in re.findall(r"`([^`]+)`", row.split("|")[1])]
    parts = [part.strip(" ,:") for phrase in phrases for part in phrase.split("…")]
    assert len(parts) > len(phrases) > 0
    assert [part for part in parts if part not in texts] == []


def test_the_table_of_messages_is_complete() -> None:
    """The page names each kind of message between disco's processes, and no other."""
    named = set(re.findall(r"`([A-Z]\w+)`", TEXTS["docs/how-it-works.md"].partition("## Messages")[2].partition("##")[0]))
    assert named == {kind.__name__ for kind in get_args(messages.Message)}


def test_the_table_of_faults_names_what_shows_them() -> None:
    """Each pattern for `tools/faults` selects rows, with each of its words, and each test that is named is there."""
    table = TEXTS["docs/operations.md"]
    rows = subprocess.run([sys.executable, ROOT / "tools" / "faults", "--list"], capture_output=True, text=True, check=True).stdout
    words = [word for pattern in re.findall(r"tools/faults --only '?([^`']+)'?`", table) for word in pattern.split(r"\|")]
    assert words
    assert [word for word in words if not re.search(word, rows)] == []
    assert all((ROOT / file).is_file() for file in re.findall(r"tests/test_\w+\.py", table))


def declared() -> Iterator[tuple[Option, Row]]:
    """Yield every option that disco and its own sources declare, and how `disco --options` shows it."""
    types = [(name, find(name, "").options) for name in BUILT_IN]
    for name, options in [("disco", DISCO_OPTIONS), (ANY, SOURCE_OPTIONS), *types]:
        yield from zip(options, list_rows(name, options), strict=True)
