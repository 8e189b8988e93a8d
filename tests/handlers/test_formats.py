"""Formats: a parser of each reads the input from what is written, and what a format cannot hold is refused with its place."""

from __future__ import annotations

import io
import json
import tomllib
from configparser import ConfigParser
from typing import Any

import dotenv
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from disco.errors import DataError
from disco.handlers import formats
from disco.handlers.difference import HIDDEN, hide_all
from tests.handlers.test_quoting import TEXTS, VALUES, holds_what_toml_lacks

INTERFACES = st.dictionaries(TEXTS, st.dictionaries(TEXTS, VALUES))
PLAIN: dict[str, Any] = {
    "app": {
        "name": "Ünï code",
        "port": 80,
        "ratio": 1e22,
        "debug": False,
        "version": "1.10",
        "db": {"host": "10.0.0.1", "pass": "a b#c"},
        "empty": {},
    },
    "consul-ui": {"no": "yes", "hosts": [{"name": "a", "tags": ["x", "y"]}, {"name": "b", "tags": []}]},
}


def read_json(text: str) -> Any:
    return json.loads(text)


def read_yaml(text: str) -> Any:
    data = yaml.safe_load(text)
    assert data == yaml.load(text, yaml.CSafeLoader)
    return data


def read_toml(text: str) -> Any:
    return tomllib.loads(text)


READERS = {"json": read_json, "yaml": read_yaml, "toml": read_toml}


@pytest.mark.parametrize("name", READERS)
def test_whatever_is_written_is_read(name: str) -> None:
    """JSON, YAML and TOML hold all that the input holds, with its types."""

    @given(INTERFACES)
    @settings(max_examples=30)
    def check(data: Any) -> None:
        try:
            text = formats.write(name, data)
        except DataError:
            assert name == "toml"
            assert any(map(holds_what_toml_lacks, data.values()))
            return
        assert READERS[name](text) == data

    check()
    assert READERS[name](formats.write(name, PLAIN)) == PLAIN


ENV = """\
APP_NAME='Ünï code'
APP_PORT=80
APP_RATIO=1e+22
APP_DEBUG=false
APP_VERSION=1.10
APP_DB_HOST=10.0.0.1
APP_DB_PASS='a b#c'
CONSUL_UI_NO=yes
CONSUL_UI_HOSTS='[{"name": "a", "tags": ["x", "y"]}, {"name": "b", "tags": []}]'
"""
YAML = """\
app:
  name: "Ünï code"
  port: 80
  ratio: 1.0e+22
  debug: false
  version: "1.10"
  db:
    host: "10.0.0.1"
    pass: "a b#c"
  empty: {}
consul-ui:
  "no": "yes"
  hosts:
    -
      name: "a"
      tags:
        - "x"
        - "y"
    -
      name: "b"
      tags: []
"""
TOML = """\
[app]
name = "Ünï code"
port = 80
ratio = 1e+22
debug = false
version = "1.10"
[app.db]
host = "10.0.0.1"
pass = "a b#c"
[app.empty]
[consul-ui]
no = "yes"
hosts = [{"name" = "a", "tags" = ["x", "y"]}, {"name" = "b", "tags" = []}]
"""


@pytest.mark.parametrize(("name", "shown"), [("env", ENV), ("yaml", YAML), ("toml", TOML)])
def test_what_is_written(name: str, shown: str) -> None:
    """The files are those that a person would write."""
    assert formats.write(name, PLAIN) == shown


def test_null_makes_no_variable() -> None:
    """As in disco-env, null and a mapping without content make no variable."""
    assert formats.write("env", {"a": {"b": None, "c": {}, "d": ""}}) == "A_D=\n"


def test_env() -> None:
    """A reader of dotenv files finds one variable for each value."""
    read = dotenv.dotenv_values(stream=io.StringIO(formats.write("env", PLAIN)), interpolate=True)
    assert read["APP_DB_PASS"] == "a b#c"
    assert json.loads(str(read["CONSUL_UI_HOSTS"])) == PLAIN["consul-ui"]["hosts"]
    assert len(read) == 9


def test_ini() -> None:
    """A mapping is a section, one within another is called by both names."""
    data = {"web": {"name": "a b", "port": 80}, "db": {"pool": {"size": 5}, "host": "h"}}
    text = formats.write("ini", data)
    assert text == "[web]\nname = a b\nport = 80\n\n[db.pool]\nsize = 5\n\n[db]\nhost = h\n"
    parser = ConfigParser(interpolation=None)
    parser.read_string(text)
    assert {name: dict(parser[name]) for name in parser.sections()} == {
        "web": {"name": "a b", "port": "80"},
        "db.pool": {"size": "5"},
        "db": {"host": "h"},
    }


@pytest.mark.parametrize(
    ("name", "data", "why"),
    [
        ("env", {"a": {"b": "x\ny"}}, "/a/b holds a line break"),
        ("env", {"a": {"b-c": 1, "b_c": 2}}, "/a/b-c and /a/b_c are both the variable A_B_C"),
        ("ini", {"a": {"b": "x\ny"}}, "/a/b holds a line break"),
        ("ini", {"a": {"b": [1]}}, "/a/b is a list"),
        ("ini", {"a": {"b": {}}}, "/a/b is a list, or empty"),
        ("ini", {"a": {"b]\n[admin": 1}}, r"an INI file's names hold letters"),
        ("ini", {"a": {"b = 1": 1}}, r"an INI file's names hold letters"),
        ("ini", {"a": {"b": 1, "B": 2}}, "/a/B is there twice"),
        ("ini", {"a": {"b": 1}, "A": {"c": 2}}, "/A/c is there twice"),
        ("ini", {"a": 1}, "/a is in no section"),
        ("toml", {"a": {"b": None}}, "/a/b holds a null"),
        ("toml", {"a": {"b": [{"c": 1 << 64}]}}, "/a/b holds an integer"),
        ("yaml", {"a": {"k" * 1100: 1}}, r"/k+….* holds a key"),
    ],
)
def test_refusals(name: str, data: Any, why: str) -> None:
    """What a format cannot hold is refused, with a pointer and without the value."""
    with pytest.raises(DataError, match=why):
        formats.write(name, data)


@given(st.sampled_from(sorted(formats.FORMATS)), INTERFACES)
@settings(max_examples=50)
def test_hidden_data_has_the_same_lines(name: str, data: Any) -> None:
    """With hidden values a file has the same lines, and no value in them."""
    try:
        text = formats.write(name, data)
    except DataError:
        return
    hidden = formats.write(name, hide_all(data))
    assert hidden.count("\n") == text.count("\n")


def test_hidden_data_is_hidden() -> None:
    """Names are shown, and values are not."""
    assert formats.write("env", hide_all({"a": {"b": "hunter2"}})) == f"A_B={HIDDEN}\n"
