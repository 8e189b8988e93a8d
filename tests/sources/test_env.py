"""The env source: which variables count, what their names mean, and what is wrong with some."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING, Any

import pytest

from disco.data import schema
from disco.data.values import DEPTH_LIMIT
from disco.site import config
from disco.sources import InvalidValue, env
from disco.wire.messages import Diff, Heartbeat
from disco.workers import watcher
from tests.workers.support import SECRET, Enough, make_context

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from lab.site import Site

    from disco.data.schema import Schema
    from disco.wire.messages import Message

PROPERTIES = {
    ("app",): ["host", "max-conns", "minIdle", "pool", "maxSize", "max_size", "X"],
    ("app", "pool"): ["idleTime"],
}


def read(
    environ: dict[str | bytes, str | bytes],
    *,
    prefix: str = "APP_",
    interface: str | None = None,
    known: tuple[str, ...] = ("app", "db"),
) -> dict[str, Any]:
    context = make_context(prefix=prefix, interface=interface)._replace(
        interfaces=frozenset(known), properties=lambda path: PROPERTIES.get(tuple(path), ())
    )
    return env.read({os.fsencode(name): os.fsencode(value) for name, value in environ.items()}, context)


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"APP_DB__HOST": "a", "APP_DB__POOL__SIZE": "3"}, {"db": {"host": "a", "pool": {"size": "3"}}}),
        ({"app_db__host": "a", "XAPP_DB__HOST": "a", "APP_": "x", "APP___": "x"}, {}),
        ({"APP_DB__": "[]", "APP___APP__A": "1", "APP_APP__B____C": ""}, {"db": "[]", "app": {"a": "1", "b": {"c": ""}}}),
        ({"APP_DB": '{"port": 1, "host": "x"}', "APP_DB__PORT": "2"}, {"db": {"port": "2", "host": "x"}}),
        ({"APP_DB__URL": "a=b\nc", "APP_Db__user_name": " x "}, {"db": {"url": "a=b\nc", "user_name": " x "}}),
    ],
)
def test_names_are_paths(environ: dict[str | bytes, str | bytes], expected: dict[str, Any]) -> None:
    """After the prefix, `__` separates the interface from the keys below it, in lower case; values are text as they are."""
    found = read(environ)
    assert json.loads(json.dumps(found, default=lambda literal: literal.text)) == expected


@pytest.mark.parametrize(
    ("variable", "path"),
    [
        ("APP_APP__MAX_CONNS", "max-conns"),
        ("APP_APP__MAXCONNS", "max-conns"),
        ("APP_APP__MIN_IDLE", "minIdle"),
        ("APP_APP__minidle", "minIdle"),
        ("APP_APP__POOL__IDLE_TIME", "pool/idleTime"),
        ("APP_APP__OTHER__IDLE_TIME", "other/idle_time"),
        ("APP_APP__X", "X"),
        ("APP_APP__MAX_SIZE", "max_size"),
        ("APP_APP__maxSize", "maxSize"),
        ("APP_APP__MAXSIZE", "maxsize"),
        ("APP_APP__NEW_KEY", "new_key"),
    ],
)
def test_names_are_those_of_the_schema(variable: str, path: str) -> None:
    """A name means the schema's property that differs in case and separators alone; where several do, the lower case decides."""
    data = read({variable: "1"})["app"]
    for key in path.split("/"):
        assert list(data) == [key]
        data = data[key]


def test_interfaces_are_those_with_a_schema() -> None:
    """An interface is found as a property is, and of an unknown one the name alone is kept."""
    known = ("consul-ui", "web-1", "web1")
    found = read({"APP_CONSUL_UI__A": "1", "APP_WEB1__A": "2", "APP_WEB_1__A": SECRET, "APP_TOP": SECRET}, known=known)
    assert found == {"consul-ui": {"a": "1"}, "web1": {"a": "2"}, "web_1": None, "top": None}


def test_one_interface() -> None:
    """With `interface` all variables are below that one."""
    environ: dict[str | bytes, str | bytes] = {"PGHOST": "a", "PG_POOL__IDLE_TIME": "1", "PG": "x"}
    assert read(environ, prefix="PG", interface="app") == {"app": {"host": "a", "pool": {"idleTime": "1"}}}
    assert read(environ, prefix="PG", interface="none") == {"none": None}


def test_the_configuration_is_no_data() -> None:
    """DISCO_CFG is never data; other variables of that prefix are, if they are asked for."""
    environ: dict[str | bytes, str | bytes] = {"DISCO_CFG": SECRET, "DISCO_CFG__A": "1", "DISCO_CFGS": "2"}
    assert read(environ, prefix="DISCO_", known=("cfg", "cfgs")) == {"cfg": {"a": "1"}, "cfgs": "2"}
    assert read({"DISCO_CFG": SECRET}, prefix="DISCO_CFG", interface="app") == {}


def test_what_cannot_be_used() -> None:
    """A value or a name that is no UTF-8, and a key that two variables give, are marked by name; the rest is data."""
    found = read(
        {
            "APP_APP__HOST": b"\xff" + SECRET.encode(),
            b"APP_APP__\xff": SECRET,
            "APP_APP__MIN_IDLE": SECRET,
            "APP_APP__MINIDLE": SECRET,
            "APP_APP__minIdle": SECRET,
            "APP_APP__DEEP" + "__X" * 100: SECRET,
            "APP_DB__A": "1",
            b"APP_\xff__A": SECRET,
        }
    )
    assert found["db"] == {"a": "1"}
    assert found.keys() == {"app", "db", "\\xff"}
    app = found["app"]
    deep = app.pop("deep")
    while isinstance(deep, dict):
        (deep,) = deep.values()
    assert deep == InvalidValue("is deeper than 64 levels")
    assert app == {
        "host": InvalidValue("is no UTF-8 text"),
        "\\xff": InvalidValue("is in APP_APP__\\udcff, a name that is no UTF-8 text"),
        "minIdle": InvalidValue("is in both APP_APP__MINIDLE and APP_APP__minIdle"),
    }


def test_many_names_cost_little() -> None:
    """The schemas are asked once for each mapping, whatever is in it, and for no more levels than data may have."""
    environ = {f"APP_APP__K{number}".encode(): b"1" for number in range(100_000)}
    environ[b"APP_DB" + b"__X" * 40_000] = b"1"
    asked: list[Sequence[str]] = []

    def properties(path: Sequence[str]) -> tuple[str, ...]:
        asked.append(path)
        return ()

    context = make_context(prefix="APP_", interface=None)._replace(properties=properties)
    assert len(env.read(environ, context)["app"]) == 100_000
    assert len(asked) <= 1 + DEPTH_LIMIT + 1
    assert max(map(len, asked)) <= DEPTH_LIMIT + 1


@pytest.fixture
def schemas(tmp_path: Path) -> dict[str, Schema]:
    (tmp_path / "app.schema").write_text(
        json.dumps(
            {
                "type": "object",
                "properties": {"maxConns": {"type": "integer"}, "pool": {"$ref": "#/$defs/pool"}, "on": {"type": "boolean"}},
                "patternProperties": {"^x": {"properties": {"keepAlive": {}}}},
                "additionalProperties": {"allOf": [{"properties": {"idle-time": {}}}]},
                "$defs": {"pool": {"properties": {"idleTime": {"type": "number"}}}},
            }
        )
    )
    return {"app": schema.read(tmp_path / "app.schema")}


def test_schema_declares_names(schemas: dict[str, Schema]) -> None:
    """The names at a path are those that the schemas which apply there declare, through $ref, allOf, patterns and the rest."""
    app = schemas["app"]
    assert app.properties([]) == {"maxConns", "pool", "on"}
    assert app.properties(["pool"]) == {"idleTime"}
    assert app.properties(["xy"]) == {"keepAlive"}
    assert app.properties(["other"]) == {"idle-time"}
    assert app.properties(["pool", "idleTime", "x"]) == frozenset()


def test_one_answer_then_quiet(schemas: dict[str, Schema], monkeypatch: pytest.MonkeyPatch) -> None:
    """The schema's names and types make data of the variables, once; then there are heartbeats, one for each long silence."""
    for name in [name for name in os.environ if name.startswith("APP_")]:
        monkeypatch.delenv(name)
    for name, value in {"MAX_CONNS": "7", "POOL__IDLE_TIME": "1.5", "ON": "true", "NEW": "007"}.items():
        monkeypatch.setenv(f"APP_APP__{name}", value)
    now, said = 1000.0, []

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    def send(message: Message) -> None:
        said.append((now, message))
        if len(said) == 5:
            raise Enough

    monkeypatch.setattr(time, "sleep", sleep)
    monkeypatch.setattr(time, "monotonic", lambda: now)
    context = make_context(prefix="APP_", interface=None, timeout=10.0)
    with pytest.raises(Enough):
        watcher.run(env.SOURCE, context, schemas, send, (20.0, 25.0))
    first = said[1][1]
    assert isinstance(first, Diff)
    assert json.loads(first.changed["app"].body) == {"maxConns": 7, "pool": {"idleTime": 1.5}, "on": True, "new": "007"}
    assert [(at, type(message)) for at, message in said[2:]] == [(at, Heartbeat) for at in (1030.0, 1060.0, 1090.0)]


def test_nothing_at_the_prefix_is_noted() -> None:
    """Where no variable has the prefix, a note says so."""
    notes: list[str] = []
    context = make_context(prefix="NO_SUCH_PREFIX_", interface=None)._replace(note=notes.append)
    assert next(env.watch(context)) == {}
    assert notes == ["no variable's name begins with NO_SUCH_PREFIX_"]


@pytest.mark.parametrize(
    ("pairs", "problem"),
    [
        ("env.interface=app", "env.prefix: expected the beginning of variables' names, such as APP_; set it"),
        ("env.prefix=", "DISCO_CFG: env.prefix: expected the beginning of variables' names, such as APP_; correct the value"),
        ("env.prefix=APP-", "DISCO_CFG: env.prefix: expected the beginning of variables' names, such as APP_; correct the value"),
        ("env.prefix=APP", "env.prefix: does not end in _, and no interface is set; add the _, or set interface"),
        ("env.prefix=APP_:env.interface=a/b", "DISCO_CFG: env.interface: expected the name of an interface; correct the value"),
        ("env.prefix=APP_:env.prefx=A", "DISCO_CFG: env.prefx: no such option; did you mean env.prefix?"),
    ],
)
def test_wrong_options(pairs: str, problem: str) -> None:
    """Each wrong option is a problem that names it."""
    _, problems = config.load(pairs, None, {})
    assert list(map(str, problems)) == [problem]


def test_a_start(site: Site) -> None:
    """A real start: a handler gets what variables hold over what a file says, and is told of names that have no schema."""
    site.simple({"host": "default", "port": 80})
    site.schema("app", {"type": "object", "properties": {"port": {"type": "integer"}, "logLevel": {}}})
    site.cfg |= {"env.prefix": "SITE_"}
    site.environ |= {"SITE_APP__PORT": "81", "SITE_APP__LOG_LEVEL": "debug", "SITE_AP__PORT": SECRET, "SITE_APP__NONE": ""}
    running = site.run()
    assert running.process.returncode == 0, running.log
    assert site.seen()[-1] == {"app": {"host": "default", "port": 81, "logLevel": "debug", "none": ""}}
    assert "source env: 1 name without a schema, ignored: ap" in running.log
    assert SECRET not in running.log


def test_a_value_that_is_no_text(site: Site) -> None:
    """A real start with bytes that are no UTF-8: the interface is invalid, the report says where, and others are data."""
    for name in ("app", "db"):
        site.schema(name)
    site.handler("see")
    site.rules({"when": "app", "do": "see"}, {"when": "db", "do": "see"})
    site.cfg |= {"env.prefix": "SITE_", "disco.timeout": "1"}
    environ = {os.fsencode(name): os.fsencode(value) for name, value in site.environ.items()}
    environ |= {b"SITE_APP__HOST": b"\xff" + SECRET.encode(), b"SITE_DB__HOST": b"a", b"DISCO_CFG": site.cfg_line().encode()}
    running = site.run(env=environ, options=())
    assert running.process.returncode == 75
    assert site.seen() == [{"db": {"host": "a"}}]
    assert "interface app is not valid: /host is no UTF-8 text (env: variables SITE_…)" in running.log
    assert SECRET not in running.log
