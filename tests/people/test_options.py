"""What --options prints: every option, as people write it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from disco.people import options
from disco.site.config import DISCO_OPTIONS
from disco.sources import registry
from disco.sources.options import SOURCE_OPTIONS, Option, at_least, choice, count, directories, name_of, path, seconds, size, words

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from lab.site import Site

PLUG_IN = """
def take_colour(text):
    return text
SOURCE = Source(
    watch=watch,
    options=(
        Option(name="shade", type=take_colour, default="red", env="SHADE", help="what it " + "looks " * 30 + "like"),
        Option(name="key", help="what opens it", default="none", env="KEY", secret=True),
        Option(name="depth", type=int, default=3, help="how deep\\x1b[31m"),
        Option(name="any", type=lambda text: text, help="what you like"),
    ),
)
"""


def ask(site: Site, *argv: str) -> tuple[int, str, str]:
    """Return status, stdout and stderr of `disco --options ARGV`."""
    running = site.run("--options", *argv, options=())
    return running.process.returncode, running.output, running.log


def test_every_option_is_printed(site: Site) -> None:
    """disco's own options, those of every source and those of each type are printed with all that is declared of them."""
    status, printed, complaint = ask(site)
    assert (status, complaint) == (0, "")
    text = " ".join(printed.split())
    spaces = {"disco": DISCO_OPTIONS, "NAME": SOURCE_OPTIONS}
    spaces |= {name: registry.find(name, "").options for name in registry.BUILT_IN}
    for name, declared in spaces.items():
        for option in declared:
            head, _, rest = text.partition(f" {name}.{option.name} (")[2].partition(") ")
            assert head.startswith(name_of(option.type)), (name, option.name)
            assert rest.startswith(" ".join(option.help.split()))
            assert option.env in head
            assert (f"secret; also {name}.{option.name}_file=FILE" in head) == option.secret


def test_no_line_is_wider_than_a_screen(site: Site) -> None:
    """Whatever a plug-in says, no line has more than 100 characters, and each is printable."""
    site.plug_in("yield {}")
    add_options(site)
    lines = ask(site)[1].splitlines()
    assert [line for line in lines if len(line) > 100 or not line.isprintable()] == []


def test_a_plug_in_s_options(site: Site) -> None:
    """With the name of a type its own options are printed and no other, a plug-in's too; no secret has a default."""
    site.plug_in("yield {}")
    add_options(site)
    status, printed, complaint = ask(site, "odd")
    assert (status, complaint) == (0, "")
    first, *lines = printed.splitlines()
    assert first == "sources of the type odd:"
    assert [line for line in lines if line.startswith("  odd.")] == [
        "  odd.shade  (colour; else the variable SHADE; default red)",
        "  odd.key  (text; secret; also odd.key_file=FILE; else the variable KEY or KEY_FILE)",
        "  odd.depth  (number; default 3)",
        "  odd.any  (text)",
    ]
    assert "      how deep\\x1b[31m" in lines


def add_options(site: Site) -> None:
    with (site.folder / "plug-ins" / "odd.py").open("a") as file:
        file.write(PLUG_IN)


def test_a_type_without_options_of_its_own(site: Site) -> None:
    """A type that declares none says so."""
    site.plug_in("yield {}")
    assert ask(site, "odd")[1] == "sources of the type odd:\n  (none of its own)\n"


@pytest.mark.parametrize(
    ("argv", "complaint"),
    [
        (("consl",), "disco: --options: no source type consl; did you mean consul?\n"),
        (("\x1b[31m",), f"disco: --options: no source type \\x1b[31m; there are {', '.join(sorted(registry.BUILT_IN))}\n"),
        (("flat", "etcd"), "disco: --options takes one type of source; 'disco -h' shows how it is used\n"),
    ],
)
def test_unknown_types(site: Site, argv: tuple[str, ...], complaint: str) -> None:
    """A type that there is not is a wrong command line, and the near one is named; so are several types."""
    assert ask(site, *argv) == (64, "", complaint)


def test_a_broken_plug_in(site: Site) -> None:
    """Of a plug-in that cannot be loaded no option can be printed: that is told, with 78."""
    site.plug_in("yield {}")
    (site.folder / "plug-ins" / "odd.py").write_text("raise RuntimeError('hunter2')")
    status, printed, complaint = ask(site, "odd")
    assert (status, printed) == (78, "")
    assert complaint.startswith("disco: --options: source type 'odd' cannot be loaded: RuntimeError; ")


@pytest.mark.parametrize("argv", [("--options", "--check"), ("--options", "--json")])
def test_wrong_combinations(site: Site, argv: tuple[str, ...]) -> None:
    """--options excludes the other modes, and answers in text only."""
    running = site.run(*argv, options=())
    assert (running.process.returncode, running.output) == (64, "")


@pytest.mark.parametrize(
    ("type_", "default", "name", "shown"),
    [
        (seconds, 0.1, "duration", "0.1s"),
        (seconds, 0.0, "duration", "0"),
        (at_least(0.05, seconds), 10.0, "duration of at least 0.05", "10s"),
        (at_least(1, count), 4, "number of at least 1", "4"),
        (size, 512 << 20, "size", "512M"),
        (path, None, "path", ""),
        (directories, (Path("/a"), Path("/b")), "directories joined by ':'", "/a:/b"),
        (words, ("a", "b"), "list joined by ','", "a,b"),
        (words, (), "list joined by ','", ""),
        (choice("text", "json"), "text", "text or json", "text"),
        (bool, True, "bool", "true"),
    ],
)
def test_types_and_defaults(type_: Callable[[str], Any], default: Any, name: str, shown: str) -> None:
    """Each type has a short name for people, and a default is shown as its type takes it."""
    (row,) = options.list_rows("x", [Option(name="y", help="", type=type_, default=default)])
    assert (row.type, row.default) == (name, shown)
    if shown and type_ is not bool:
        assert type_(shown) == default
