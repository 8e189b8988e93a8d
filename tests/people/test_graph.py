"""What --graph draws of a site, as the installed command on real files."""

from __future__ import annotations

import re
import subprocess

import pytest
from lab.site import Site, disco_command


def disco(site: Site, *argv: str) -> subprocess.CompletedProcess[str]:
    """Run disco on a site to its end."""
    environ = site.environ | {"DISCO_CFG": site.cfg_line()}
    return subprocess.run(
        [*disco_command(), *argv], env=environ, cwd=site.folder, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.fixture
def simple(site: Site) -> Site:
    site.simple()
    return site


def test_graph(simple: Site) -> None:
    """Sources lead to interfaces, these to rules (`any` and `after` marked), to handlers, to COMMAND; services to their own."""
    for name in ("db", "web"):
        simple.schema(name)
    simple.cfg |= {"east.type": "consul", "east.services": "web,mail", "east.kv": "yes"}
    simple.rules(
        {"when": "app", "do": "see one", "name": "first"},
        {"when": "any:db,web", "do": "see two", "name": "second", "after": ["first"]},
    )
    done = disco(simple, "--graph")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == "flowchart LR"
    labels = dict(re.findall(r"^    (\w+)\W+\"(.*)\"\W+$", done.stdout, re.MULTILINE))
    assert len(labels) == len(set(labels.values())) == 12
    box = lines[lines.index("    subgraph interfaces") + 1 : lines.index("    end")]
    assert [labels[line.split("(")[0].strip()] for line in box] == ["app", "db", "web", "mail"]
    edges = [re.fullmatch(r"    (\w+) (-->|-- any -->|-\. after \.->) (\w+)", line) for line in lines[15:]]
    assert all(edges)
    assert sorted((labels[edge[1]], edge[2].strip("->. "), labels.get(edge[3], edge[3])) for edge in edges if edge) == sorted(
        [
            ("flat", "", "interfaces"),
            ("east (consul)", "", "interfaces"),
            ("east/web (consul)", "", "web"),
            ("east/mail (consul)", "", "mail"),
            ("app", "", "first"),
            ("db", "any", "second"),
            ("web", "any", "second"),
            ("first", "after", "second"),
            ("first", "", "see"),
            ("second", "", "see"),
            ("see", "", "COMMAND"),
        ]
    )


def test_graph_of_sources_that_say_what_they_provide(simple: Site) -> None:
    """A source that says what it provides leads to these interfaces alone, of those that rules name."""
    for name in ("db", "web"):
        simple.schema(name)
    simple.rules({"when": "app,db,web", "do": "see"})
    simple.cfg |= {"east.type": "consul", "east.services": "web", "east.kv": "yes", "east.interfaces": "w*,db"}
    simple.cfg |= {"flat.interfaces": "app,other", "west.type": "consul", "west.services": "app", "west.interfaces": "web"}
    done = disco(simple, "--graph")
    labels = dict(re.findall(r"^    (\w+)\W+\"(.*)\"\W+$", done.stdout, re.MULTILINE))
    edges = re.findall(r"^    (s\d+) --> (\w+)$", done.stdout, re.MULTILINE)
    assert [(labels[one], labels.get(other, other)) for one, other in edges] == [
        ("flat", "app"),
        ("east (consul)", "db"),
        ("east (consul)", "web"),
        ("east/web (consul)", "web"),
    ]


def test_graph_of_exports(simple: Site) -> None:
    """The arrow to COMMAND names what the rules of that handler may export, a few names at most."""
    exports = ("DB_*,URL", "URL,A", [f"V{number}" for number in range(6)])
    simple.handler("other")
    simple.rules(*({"when": "app", "do": do, "export": names} for do, names in zip(("see", "see", "other"), exports, strict=True)))
    lines = disco(simple, "--graph").stdout.splitlines()
    assert lines[-2:] == [
        '    h0 -->|"DB#95;#42;, URL, A"| command',
        '    h1 -->|"V0, V1, V2, V3, V4, #8230;"| command',
    ]


def test_graph_of_rules_without_data(simple: Site) -> None:
    """Nothing leads to a rule that needs no data; where no rule needs any there is no box of interfaces, and no arrow to it."""
    simple.rules({"do": "see", "name": "once"})
    done = disco(simple, "--graph")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "flowchart LR",
        '    s0[("flat")]',
        '    r0["once"]',
        '    h0[["see"]]',
        '    command{{"COMMAND"}}',
        "    r0 --> h0",
        "    h0 --> command",
    ]


def test_labels_cannot_break_the_graph(simple: Site) -> None:
    """Quotes, angle brackets, Markdown and Mermaid's own words in names are entities, of which each has its end."""
    simple.rules({"when": "app", "do": "see", "name": '1. style:x "q" <b>`#35; __z__ classDef:y --> end'})
    line = next(line for line in disco(simple, "--graph", 'a"]<b>').stdout.splitlines() if line.startswith("    r0["))
    assert line == ('    r0["1#46; sty#108;e:x #34;q#34; #60;b#62;#96;#35;35#59; #95;#95;z#95;#95; class#68;ef:y --#62; end"]')


def test_graph_of_what_is_wrong(simple: Site) -> None:
    """What start-up refuses is not drawn: the errors are on stderr, with status 78."""
    simple.cfg["disco.worker"] = "1"
    done = disco(simple, "--graph", "echo")
    assert (done.returncode, done.stdout) == (78, "")
    assert done.stderr == "disco: DISCO_CFG: disco.worker: no such option; did you mean disco.workers?\n"
