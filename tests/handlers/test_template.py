"""Templates: what they give, what they may load, and what is said of one that fails: names and places, never a value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from disco.errors import DataError, HandlerError
from disco.handlers import context
from disco.handlers import template as module
from disco.handlers.difference import HIDDEN, hide
from disco.handlers.template import Template

if TYPE_CHECKING:
    from pathlib import Path

SECRET = "hunter2"
DATA: dict[str, Any] = {
    "app": {
        "host": SECRET,
        "port": 80,
        "on": True,
        "null": None,
        "big": 1 << 100,
        "ratio": 1e22,
        "items": "an item",
        "nul": f"{SECRET}\0",
        "db": {"user": SECRET},
        "servers": [{"name": "a"}, {"name": SECRET, "port": 1}],
    },
    "consul-ui": {"port": 8500},
    "env": {"PATH": "of the interface"},
    "interfaces": {"a": 1},
}
VARIABLES = {"PATH": "/bin", "BROKEN": "\udcff", "TOKEN": SECRET}


def render(folder: Path, source: str, name: str = "app.conf.j2", **kwargs: Any) -> str:
    (folder / name).write_text(source, newline="")
    return Template(folder / name, **kwargs).render(context.check(DATA), VARIABLES)


@pytest.mark.parametrize(
    ("source", "output"),
    [
        ("{{ app.port }} {{ app.on }} {{ app.big }} {{ app.ratio }}", "80 true 1267650600228229401496703205376 1e+22"),
        ("{% for s in app.servers %}{{ loop.index }}{{ s.port|default(80) }} {% endfor %}", "180 21 "),
        ("{{ interfaces['consul-ui'].port }} {{ interfaces.env.PATH }} {{ env.PATH }}", "8500 of the interface /bin"),
        ("{{ interfaces.interfaces.a }}", "1"),
        ("{{ app.items }} {% for key, value in app.db.items() %}{{ key }}{% endfor %}", "an item user"),
        ("{{ app.copy|default('none') }}", "none"),
        ("{% if app.none is defined %}x{% endif %}{{ app.x|default('d') }}", "d"),
        ("{{ 'a&b<c>\"' }}", 'a&b<c>"'),
        ("two\nlines\n", "two\nlines\n"),
        ("windows\r\n", "windows\r\n"),
        ("{% raw %}{{ app.nothing }}{% endraw %}{# {{ app.nothing }} don't #}", "{{ app.nothing }}"),
        ("{{ app.servers|map(attribute='name')|first|shell }}", "'a'"),
        ("{{ app.db|json }}", f'{{"user": "{SECRET}"}}'),
        ("{% set x %}{{ app.port }}{% endset %}{{ x|nginx }}", '"80"'),
        ("{% filter shell %}a b{% endfilter %}", "'a b'"),
    ],
)
def test_output(tmp_path: Path, source: str, output: str) -> None:
    """A template sees the interfaces and the environment; what it prints is written as it is."""
    assert render(tmp_path, source) == output


@pytest.mark.parametrize("name", ["a.yaml.j2", "a.json", "a.html", "a.xml.j2", "a.js"])
def test_no_file_name_changes_what_is_printed(tmp_path: Path, name: str) -> None:
    """Nothing is escaped by itself, whatever the file is called."""
    assert render(tmp_path, '{{ "a&\'b" }}\n', name) == "a&'b\n"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("\n{{ app.hsot }}", "2: app.hsot is undefined"),
        ("{{ app.db.pool.size }}", "1: app.db.pool is undefined"),
        ("{% for s in app.servers %}\n{{ s.port }}{% endfor %}", "2: s.port is undefined"),
        ("{% for s in app.srvs if s.x == app.port %}{% endfor %}", "1: app.srvs is undefined"),
        ("{{ app.hsot|shell }}", "1: app.hsot is undefined"),
        ("{{ app.hsot|json }}", "1: app.hsot is undefined"),
        ("{{ app.servers[7].name }}", "1: app.servers.7 is undefined"),
        ("{{ interfaces['consul-ui'].x }}", "1: interfaces.consul-ui.x is undefined"),
        ("{% set x = app.hsot %}{{ x }}", "1: x is undefined"),
        ("{{ app.copy }}", "1: app.copy is undefined"),
        ("{% if app.x == 'app.y' %}{% endif %}", "1: app.x is undefined"),
        ("{{ app.null }}", "1: {{ app.null }} holds nothing: it is undefined, or null"),
        ("{{ app.db }}", "1: {{ app.db }} holds neither text nor number"),
        ("{{ app.nul|shell }}", "1: {{ app.nul|shell }} holds a NUL"),
        ("{{ app.host + 1 }}", "1: {{ app.host + 1 }} does not work with this data"),
        ("{{ app.servers.index(app.host) }}", "does not work with this data"),
        ("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}", "1: takes more than 10000000 steps"),
        ("{{ 'x' * 1000000000000 }}", "takes more than 10000000 steps"),
        ("{% include 'part' %}", "part:2: app.hsot is undefined"),
        ("{% extends 'base' %}{% block a %}\n{{ app.hsot }}{% endblock %}", "f.j2:2: app.hsot is undefined"),
        ("\n{% include 'loops' %}", "2: takes more than 10000000 steps"),
        ("{% for a, b in app.servers[0].name %}{% endfor %}", "does not work with this data"),
        ("{% import 'macros' as m %}\n{{ m.show(app) }}", "macros:1: a.hsot is undefined"),
    ],
)
def test_what_data_cures(tmp_path: Path, source: str, message: str) -> None:
    """What other data would cure is the data's fault: the message has file, line and name, and no value."""
    (tmp_path / "part").write_text("\n{{ app.hsot }}")
    (tmp_path / "base").write_text("{% block a %}{% endblock %}")
    (tmp_path / "loops").write_text("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}")
    (tmp_path / "macros").write_text("{% macro show(a) %}{{ a.hsot }}{% endmacro %}")
    with pytest.raises(DataError) as caught:
        render(tmp_path, source)
    assert f"{tmp_path}/" in str(caught.value)
    assert message in str(caught.value)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("\n{{ ap.host }}", "2: ap is undefined"),
        ("{{ env.NOTHING }}", "1: env.NOTHING is undefined"),
        ("{{ env.BROKEN }}", "1: env.BROKEN is undefined"),
        ("{{ app.host|quote }}", "1: {{ app.host|quote }} names a filter that does not exist"),
        ("{{ app.servers|map(app.host)|list }}", "names a filter that does not exist"),
        ("{{ app.host is a }}", "names a test that does not exist"),
        ("{{ lookup(app.host) }}", "calls a function that does not exist"),
        ("\n{% if %}", "2: unexpected end of block"),
        ("{{ 'x", "1: unexpected end of string"),
        ("{% include app.host %}", "1: {% include app.host %} needs a name in quotes"),
        ("{% include 'a' ~ app.host %}", "needs a name in quotes"),
        ("{% include 'a' if app.on else 'b' %}", "needs a name in quotes"),
        ("{% set n = 'part' %}{% include n %}", "needs a name in quotes"),
        ("{% extends app.host %}", "needs a name in quotes"),
        ("{% from app.host import x %}", "needs a name in quotes"),
        ("{%- include ['a', app.host] -%}", "needs a name in quotes"),
        ("{% include '../outside' %}", "leads out of the template's folder"),
        ("{% include '/etc/passwd' %}", "leads out of the template's folder"),
        ("{% include 'link' %}", "leads out of the template's folder"),
        ("{% include 'below/link' %}", "leads out of the template's folder"),
        ("{% include 'a\0b' %}", "leads out of the template's folder"),
        ("{% include './part' %}", "leads out of the template's folder"),
        ("{% include 'none' %}", ":1: {% include 'none' %}: "),
        ("{% include 'below' %}", "below is not a regular file"),
        ("{% include 'bad' %}", "bad:1: unexpected end of block"),
    ],
)
def test_what_data_does_not_cure(tmp_path: Path, source: str, message: str) -> None:
    """What no data cures is the template's fault. A template loads files below its folder alone, and data selects none."""
    folder = tmp_path / "templates"
    (folder / "below").mkdir(parents=True)
    (tmp_path / "outside").write_text("outside")
    (folder / "link").symlink_to("../outside")
    (folder / "below" / "link").symlink_to("/etc/passwd")
    (folder / "bad").write_text("{% if %}")
    (folder / "part").write_text("part")
    (folder / SECRET).write_text("selected")
    with pytest.raises(HandlerError) as caught:
        render(folder, source)
    assert message in str(caught.value)
    assert SECRET not in str(caught.value)


def test_loading(tmp_path: Path) -> None:
    """A template includes, imports and extends what lies below its folder, as Kubernetes mounts it: through links in there."""
    (tmp_path / "..data").mkdir()
    (tmp_path / "..data" / "part").write_text("{{ app.port }}")
    (tmp_path / "part").symlink_to("..data/part")
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "base").write_text("<{% block a %}{% endblock %}>")
    (tmp_path / "macros").write_text("{% macro m(x) %}({{ x }}){% endmacro %}")
    source = (
        '{% extends "below/base" %}{% from "macros" import m %}{% block a %}{% include "part" %}{{ m(1) }}'
        '{% include "none" ignore missing %}{% include ["none", "part"] %}{% endblock %}'
    )
    assert render(tmp_path, source) == "<80(1)80>"


def test_a_template_that_is_no_text(tmp_path: Path) -> None:
    """A template that is not there, no regular file, or no UTF-8, is an error with its path."""
    with pytest.raises(HandlerError, match=r"none\.j2: No such file"):
        Template(tmp_path / "none.j2").compile()
    with pytest.raises(HandlerError, match="not a regular file"):
        Template(tmp_path).compile()
    (tmp_path / "latin").write_bytes(b"\xff")
    with pytest.raises(HandlerError, match="latin: no UTF-8 text"):
        Template(tmp_path / "latin").compile()


def test_output_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too long an output ends the render, whether values or the template's own text make it long."""
    monkeypatch.setattr(module, "OUTPUT_LIMIT", 1000)
    for source, message in {
        "{% for i in range(99) %}{{ app.big }}{% endfor %}": "{{ app.big }} holds too much",
        "{% for i in range(99) %}0123456789abc{% endfor %}": "makes more than 0 Mi characters",
    }.items():
        with pytest.raises(DataError, match=message):
            render(tmp_path, source)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ({"a": "\ud800"}, "/x/a is no text"),
        ({"\ud800": 1}, "/x has a key that is no text"),
        ([1 << 127], "/x/0 is a number of more than 128 bits"),
        ([float("nan")], "/x/0 is no number"),
    ],
)
def test_data_that_no_file_holds(value: Any, why: str) -> None:
    """What minijinja would change without a word is refused."""
    with pytest.raises(DataError, match=why):
        context.check({"x": value})


def test_too_deep_data() -> None:
    """Data that is deeper than Python can follow is refused."""
    value: Any = 1
    for _ in range(100_000):
        value = [value]
    with pytest.raises(DataError, match="too deep"):
        context.check({"x": value})


def test_hidden_values(tmp_path: Path) -> None:
    """With hidden values the output has the same lines, and the template's own text."""
    assert render(tmp_path, "host={{ app.host }}:{{ app.port }}\n", show=hide) == f"host={HIDDEN}:{HIDDEN}\n"
    assert hide("two\nlines\n") == f"{HIDDEN}\n{HIDDEN}\n"


def test_names_that_a_rule_does_not_give(tmp_path: Path) -> None:
    """A name that is neither an interface nor one of the language's own is found without data."""
    (tmp_path / "t").write_text("{% for a in app.x %}{{ a }}{{ db.host }}{{ range(3) }}{{ env.X }}{{ interfaces.y.z }}{% endfor %}")
    assert Template(tmp_path / "t").find_unknown_names(["app"]) == ["db"]


NAMES = st.sampled_from(
    [
        "app.host",
        "app.hsot",
        "app",
        "app.servers",
        "app.servers[1].name",
        "app.null",
        "app.port",
        "s",
        "s.name",
        "env.TOKEN",
        "1",
        "'x'",
    ]
)
FILTERS_AND_METHODS = """
|upper |shell |json |int |list |first |nothing |map(app.host) |join(app.host) |nginx(1) |round |default(app.x) |dictsort |tojson
|sort(attribute=app.host) |format(app.host) .split() .nothing() .index(app.host) [app.host] [0] [1:] |groupby(app.host)|list
|batch(app.host)|list |replace(1,2) |pprint
"""
EXPRESSIONS = st.recursive(
    NAMES | st.builds("{}{}".format, NAMES, st.sampled_from(FILTERS_AND_METHODS.split())),
    lambda below: st.builds(
        "({} {} {})".format, below, st.sampled_from(["+", "~", "*", "==", "<", "in", "and", "is", "//"]), below
    ),
    max_leaves=3,
)
TEMPLATES = st.lists(
    st.one_of(
        st.builds("{{{{ {} }}}}\n".format, EXPRESSIONS),
        st.builds("{{% for s in {} %}}{{{{ s }}}}{{% endfor %}}".format, EXPRESSIONS),
        st.builds("{{% if {} %}}a\n{{% endif %}}".format, EXPRESSIONS),
        st.builds("{{% set s = {} %}}".format, EXPRESSIONS),
        st.builds("{{% set s %}}{{{{ {} }}}}{{% endset %}}".format, EXPRESSIONS),
        st.builds("{{% filter shell %}}{{{{ {} }}}}{{% endfilter %}}".format, EXPRESSIONS),
        st.builds("{{% for a, b in {} %}}{{{{ a }}}}{{% endfor %}}".format, EXPRESSIONS),
        st.builds("{{% include {} %}}".format, EXPRESSIONS),
        st.builds("{{# {} #}}".format, EXPRESSIONS),
    ),
    min_size=1,
    max_size=4,
).map("".join)


@given(TEMPLATES)
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_error_holds_a_value(tmp_path: Path, source: str) -> None:
    """Whatever a template does, it gives an output, or one of two errors with its place and without a value."""
    message = f"{tmp_path}/app.conf.j2:"
    try:
        render(tmp_path, source)
    except (DataError, HandlerError) as error:
        message = str(error)
    assert SECRET not in message
    assert message.startswith(f"{tmp_path}/app.conf.j2:")
    assert message.isprintable()


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("{% if false %}{{ app.name|sehll }}{% endif %}", "{{ app.name|sehll }} names a filter that does not exist"),
        ("{{ app.name | upper |nope('|x') }}", "{{ app.name | upper |nope('|x') }} names a filter that does not exist"),
        ("{%- filter nope %}x{% endfilter %}", "{%- filter nope %} names a filter that does not exist"),
        ("{{ 1 if app.name is not nope }}", "{{ 1 if app.name is not nope }} names a test that does not exist"),
        ('{{ \'a|nope\' ~ "it is nope \\" |nope" }}{{ app|json }}{% raw %}{{ x|nope }}{% endraw %}', ""),
        ("{{ 1 is even }}{{ app.list|map(attribute='x')|list|tojson }}{{ app.x is defined and app is mapping }}", ""),
        ("{% if app.name is in ['x'] %}{% endif %}{{ 3 is sameas 3 or app.name is not none }}", ""),
    ],
)
def test_words_that_do_not_exist(tmp_path: Path, source: str, problem: str) -> None:
    """A filter or test that does not exist is an error before a start, also where no run comes by; quoted text is none."""
    (tmp_path / "t.j2").write_text(source)
    if not problem:
        Template(tmp_path / "t.j2").check_words()
        return
    with pytest.raises(HandlerError) as caught:
        Template(tmp_path / "t.j2").check_words()
    assert str(caught.value) == f"{tmp_path}/t.j2:1: {problem}"
