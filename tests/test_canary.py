"""A secret is in no output of disco: what a value, an option or a library's exception holds is never told, in whatever form.

The forms of one canary are put into everything that may hold a secret, and looked for, in these and in other forms, in all
that each way of running disco writes. Names of keys may be told, and so may what handlers and libraries themselves print.
"""

from __future__ import annotations

import base64
import importlib.util
import json
import re
import signal
import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from lab.site import Running, Site
from lab.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

QUICK = "import sys; sys.modules['rfc3987_syntax'] = None"  # its grammar takes a second to load, for formats not used here

HALVES = ("KnrXq7v", "Vgl9wZk")  # looked for one by one: half a secret is too much
CANARY = "".join(HALVES)
NUMBER = 730591826473
DIGITS = "30591826"  # of the number, with or without an exponent
TROUBLE = "(next try in|has never answered)"  # what the log, the report or --dry-run says of a source that cannot be read


def encode(text: str) -> Iterator[str]:
    """Yield a text in each form in which it might be told."""
    raw = text.encode()
    yield text
    yield raw.hex()
    yield raw.hex(" ")
    yield "".join(f"%{byte:02x}" for byte in raw)
    yield "".join(f"\\x{byte:02x}" for byte in raw)
    yield "".join(f"\\u{byte:04x}" for byte in raw)
    yield "".join(f"&#{byte};" for byte in raw)
    yield "".join(f"#{byte};" for byte in raw)  # as Mermaid has it
    yield text[::-1]
    for before in range(3):  # what does not depend on the text around it
        yield base64.b64encode(b"\0" * before + raw)[(before * 8 + 5) // 6 : (before + len(raw)) * 8 // 6].decode()


FORMS = {
    "plain": CANARY,
    "single quotes": f"'{CANARY}'",
    "double quotes": f'"{CANARY}"',
    "lines": f"first\n{CANARY}\nlast",
    "base64": base64.b64encode(CANARY.encode()).decode(),
    "base64 inside": base64.b64encode(f"me:{CANARY}!".encode()).decode(),
    "percent": "".join(f"%{ord(character):02X}" for character in CANARY),
    "hex": CANARY.encode().hex(),
    "JSON": "".join(f"\\u{ord(character):04x}" for character in CANARY),
    "inside": f"postgres://me:{CANARY}@db.example:5432/app?password={CANARY}&x=1",
    "JSON object": json.dumps({"password": CANARY}),
    "PEM": f"-----BEGIN KEY-----\n{CANARY * 4}\n-----END KEY-----\n",
}
ALL = "\n".join(FORMS.values())
NEEDLES = (DIGITS, *(needle.casefold() for half in HALVES for needle in encode(half)))


def leaks(output: str) -> list[str]:
    """Return the lines that hold a form of the canary, however often its backslashes are escaped."""
    lines = (re.sub(r"\\+", r"\\", line) for line in output.splitlines())
    return [line for line in lines if any(needle in line.casefold() for needle in NEEDLES)]


def test_the_search_finds_each_form() -> None:
    """What is looked for would be found: in each form, escaped by JSON or by repr, and cut anywhere behind its first half."""
    for form in (*FORMS.values(), *encode(CANARY), str(NUMBER), str(float(NUMBER)), f"{NUMBER:.12e}"):
        cut = form[: form.index(HALVES[1])] if HALVES[1] in form else form
        for told in (form, json.dumps(form), repr(repr(form)), f"x={form},", cut):
            assert leaks(told), told


# All ways of running disco


def modes(site: Site, *told: str, only: Iterable[str] = (), command: str = "true", patience: str = "60") -> dict[str, str]:
    """Run disco on a site in every way (or in those of these names), at once, and return everything that each wrote.

    The runs that would go on are asked for reports until what is told holds each of the regular expressions, and are ended
    by SIGTERM, after which they tell last words; the last report in disco.report_file belongs to their output. patience is
    how long --dry-run waits for sources.
    """
    debug = ("-l", "DEBUG")
    ways: dict[str, tuple[str, ...]] = {
        "run": debug,
        "run json": debug,
        "dry": (*debug, "--dry-run"),
        "dry json": (*debug, "--dry-run", "--json"),
        "check": ("--check",),
        "check json": ("--check", "--json"),
        "graph": ("--graph",),
    }
    running = {way: _start(site, way, options, command, patience) for way, options in ways.items() if not only or way in only}
    for way, one in running.items():
        if way.startswith("run"):
            _ask_for_reports(one, told)
    outputs = {}
    for way, one in running.items():
        one.wait()
        report = site.folder / way / "report"
        outputs[way] = one.output + one.log + (report.read_text() if report.exists() else "")
    return outputs


def _start(site: Site, way: str, options: tuple[str, ...], command: str, patience: str = "60") -> Running:
    folder = site.folder / way
    folder.mkdir()
    found = dict(site.cfg)
    if way.startswith("run"):
        site.cfg |= {"disco.report_file": str(folder / "report")}
        site.cfg |= {"disco.log": "json"} if way == "run json" else {}
    if way.startswith("dry"):
        site.cfg["disco.timeout"] = patience
    with (folder / "stdout").open("wb") as out, (folder / "stderr").open("wb") as err:
        running = site.start(command, options=options, prologue=QUICK, stdout=out, stderr=err)
    site.cfg = found
    return Running(running.process, folder)


def _ask_for_reports(running: Running, told: Iterable[str]) -> None:
    """Ask for one report after the other until all is told, then stop."""
    eventually(lambda: " on " in running.log or running.process.poll() is not None, "the start")
    wanted, asked = set(told), 0

    def is_told() -> bool:
        nonlocal asked
        log = running.log
        wanted.difference_update([pattern for pattern in wanted if re.search(pattern, log)])
        if wanted and asked <= len(re.findall("is not started yet", log)):
            running.process.send_signal(signal.SIGUSR1)
            asked += 1
        return not wanted or running.process.poll() is not None

    try:
        eventually(is_told, patience=30.0)
    except TimeoutError:
        pass
    assert not wanted, f"{wanted} never came in:\n{running.log}"
    running.process.send_signal(signal.SIGTERM)


def assert_silent(outputs: dict[str, str]) -> None:
    found = {way: lines[:3] for way, output in outputs.items() if (lines := leaks(output))}
    assert found == {}


def need(*modules: str) -> None:
    """Skip the test where an extra's client library is not installed."""
    if missing := [name for name in modules if importlib.util.find_spec(name) is None]:
        pytest.skip(f"{missing} not installed")


READING = ("run", "run json", "dry", "dry json")  # the ways that read sources
TWO = ("run", "dry json")  # of them where the form of the answer is all that differs

# Values


def in_yaml(name: str, form: str) -> str:
    """Return a value of an interface as YAML may have it: quoted, as a block, with anchor, alias and merge key."""
    block = "".join(f"      {line}\n" for line in form.splitlines())
    return (
        f"{name}:\n  quoted: {json.dumps(form)}\n  block: |\n{block}  folded: >-\n{block}"
        f"  items: [1, &it {json.dumps(form)}, *it]\n  deep: &deep {{er: {{key: {json.dumps(form)}}}}}\n"
        f"  merged: {{<<: *deep, x: 1}}\n  number: {NUMBER}\n  like: '{NUMBER}'\n  float: {NUMBER}.5\n  based: {NUMBER:#x}\n"
    )


def test_values_that_are_defaults(site: Site) -> None:
    """No default is told, whatever its form, and neither is what it fills in; handlers get them all."""
    for number, form in enumerate(FORMS.values()):
        one = {"default": form, "type": "string"}
        site.schema(f"app{number}", {"properties": {"value": one, "deep": {"default": {}, "properties": {"er": one}}}})
    names = [f"app{number}" for number in range(len(FORMS))]
    site.schema("bad", {"properties": {"value": {"default": CANARY}}, "required": ["missing"]})
    site.rules(*({"when": name, "do": "see", "name": name} for name in names), {"when": "bad", "do": "see"})
    site.handler("see")
    site.flat({name: {} for name in [*names, "bad"]})
    site.flat({"app0": {"other": 1}, "app1": {"other": 1}}, "second.json", "second")
    outputs = modes(site, *(f"rule {name}: handler succeeded" for name in names), "interface bad is not valid")
    seen = json.dumps(site.seen())
    assert all(json.dumps(form)[1:-1] in seen for form in FORMS.values())
    assert_silent(outputs)


def test_values_that_are_wrong_defaults(site: Site) -> None:
    """What is wrong with a default is told with its place and never shows it."""
    site.simple()
    wrong = [{"default": form, "type": "integer"} for form in FORMS.values()]
    others = [{"default": {"a": form}, "additionalProperties": False} for form in FORMS.values()]
    twice = [{"allOf": [{"default": form}, {"default": [form]}]} for form in FORMS.values()]
    site.schema("app", {"properties": {str(number): one for number, one in enumerate([*wrong, *others, *twice])}})
    outputs = modes(site)
    assert all("the schema refuses this default" in outputs[way] for way in ("run", "check", "dry"))
    assert_silent(outputs)


def test_values_that_are_asked_for(site: Site) -> None:
    """--input prints values on stdout, and on stderr none, whatever their form, also where the rule could not run."""
    names = {f"app{number}": form for number, form in enumerate(FORMS.values())}
    for name in names:
        site.schema(name)
    site.schema("bad", {"required": ["missing"]})
    site.rules({"when": list(names), "do": "see", "name": "good"}, {"when": "bad", "do": "see", "name": "bad"})
    site.handler("see")
    site.flat({name: {"value": form} for name, form in names.items()} | {"bad": {"value": CANARY}})
    good = site.run("--input", "good")
    assert json.loads(good.output) == {name: {"value": form} for name, form in names.items()}
    assert leaks(good.log) == []
    bad = site.run("--input", "bad")
    assert (bad.process.returncode, bad.output) == (75, "")
    assert "/missing is required" in bad.log
    assert leaks(bad.log) == []


def test_values_that_are_valid(site: Site) -> None:
    """No value of a flat file is told, whatever its type and form, by any way of running disco; handlers get them all."""
    names = {f"app{number}": form for number, form in enumerate(FORMS.values())}
    for name in names:
        site.schema(name)
    site.schema("missing")
    site.rules(*({"when": name, "do": "see", "name": name} for name in names), {"when": "missing", "do": "see"})
    site.handler("see")
    yaml = dict(list(names.items())[::2])
    site.flat("".join(in_yaml(name, form) for name, form in yaml.items()))
    rest = {name: {"value": form, "items": [form, {"deep": [form]}]} for name, form in names.items() if name not in yaml}
    site.flat({**rest, "unknown": CANARY, "other": {"key": CANARY}}, "rest.json", "rest")
    outputs = modes(site, *(f"rule {name}: handler succeeded" for name in names), "interface missing is missing")
    seen = json.dumps(site.seen())
    assert all(json.dumps(form)[1:-1] in seen for form in FORMS.values())
    assert str(NUMBER) in seen
    for way in READING:
        assert all(name in outputs[way] for name in (*names, "unknown", "missing")), way
    assert_silent(outputs)


def test_values_that_disco_wait_gets(site: Site) -> None:
    """No value is told by a disco-wait that waits for it, or refuses it, in whatever place of a URL."""
    values = {f"app{number}": form for number, form in enumerate((f"{CANARY}.invalid", *FORMS.values(), NUMBER))}
    urls = [
        "tcp://{/APP/value}:1",
        "tcp://[{/APP/value}]:1",
        "tcp://127.0.0.1:{/APP/value}",
        "http://127.0.0.1:1/{/APP/value}?{/APP/value}",
        "https://{/APP/value}:1",
        "file:/none/{/APP/value}",
        "unix:/none/{/APP/value}",
        "file:{/APP/value/none}",
    ]
    for name in values:
        site.schema(name)
    words = {f"{name}-{number}": (name, url.replace("APP", name)) for name in values for number, url in enumerate(urls)}
    rules = [{"when": name, "do": f"disco-wait '{url}' --timeout 100ms", "name": rule} for rule, (name, url) in words.items()]
    site.rules(*rules)
    site.flat({name: {"value": value} for name, value in values.items()})
    site.cfg |= {"disco.fail_limit": "0", "disco.interval": "1h"}
    outputs = modes(site, *(f"rule {rule}: handler disco-wait (failed|refuses)" for rule in words), only=("run", "dry"))
    assert "the name cannot be resolved" in outputs["run"]
    assert "/none/{/app1/value} (No such file or directory)" in outputs["run"]
    assert_silent(outputs)


T, N = ALL, NUMBER
TEXT, WHOLE, LIST = {"type": "string"}, {"type": "integer"}, {"type": "array"}
# By name: the schema of one property, and data that does not satisfy it.
KEYWORDS: dict[str, tuple[Any, Any]] = {
    "type": (WHOLE, T),
    "types": ({"type": ["integer", "null"]}, T),
    "enum": ({"enum": ["a", "b"]}, T),
    "const": ({"const": "a"}, T),
    "pattern": ({"pattern": "^[a-z]$"}, T),
    "format": ({"format": "ipv4"}, T),
    "minLength": ({"minLength": 10**6}, T),
    "maxLength": ({"maxLength": 1}, T),
    "minimum": ({"type": "number", "minimum": 10**15}, N),
    "maximum": ({"type": "number", "maximum": 1}, N),
    "exclusiveMinimum": ({"type": "number", "exclusiveMinimum": 10**15}, N),
    "exclusiveMaximum": ({"type": "number", "exclusiveMaximum": 1}, N),
    "multipleOf": ({"type": "number", "multipleOf": 10}, N),
    "numberType": ({"type": "boolean"}, N),
    "numberEnum": ({"type": "integer", "enum": [1, 2]}, N),
    "required": ({"required": ["absent"]}, {"key": T}),
    "additionalProperties": ({"properties": {"a": {}}, "additionalProperties": False}, {"key": T}),
    "additionalPropertiesType": ({"additionalProperties": WHOLE}, {"key": T}),
    "propertyNames": ({"propertyNames": {"maxLength": 1}}, {"key": T}),
    "propertyNamesPattern": ({"propertyNames": {"pattern": "^x"}}, {"key": T}),
    "patternProperties": ({"patternProperties": {"^k": WHOLE}}, {"key": T}),
    "properties": ({"properties": {"key": False}}, {"key": T}),
    "minProperties": ({"minProperties": 5}, {"key": T}),
    "maxProperties": ({"maxProperties": 1}, {"key": T, "more": T}),
    "dependentRequired": ({"dependentRequired": {"key": ["absent"]}}, {"key": T}),
    "dependentSchemas": ({"dependentSchemas": {"key": {"required": ["absent"]}}}, {"key": T}),
    "unevaluatedProperties": ({"properties": {"a": {}}, "unevaluatedProperties": False}, {"key": T}),
    "items": ({**LIST, "items": WHOLE}, [T]),
    "noItems": ({**LIST, "items": False}, [T]),
    "prefixItems": ({**LIST, "prefixItems": [WHOLE]}, [T]),
    "contains": ({**LIST, "contains": WHOLE}, [T]),
    "maxContains": ({**LIST, "contains": TEXT, "maxContains": 1}, [T, f"{T}x"]),
    "minContains": ({**LIST, "contains": TEXT, "minContains": 3}, [T, f"{T}x"]),
    "uniqueItems": ({**LIST, "uniqueItems": True}, [T, T]),
    "minItems": ({**LIST, "minItems": 5}, [T]),
    "maxItems": ({**LIST, "maxItems": 1}, [T, f"{T}x"]),
    "unevaluatedItems": ({**LIST, "prefixItems": [{}], "unevaluatedItems": False}, ["x", T]),
    "itemsOfItems": ({**LIST, "items": {"required": ["absent"]}}, [{"key": T}]),
    "anyOf": ({"anyOf": [WHOLE, {"const": "a"}]}, T),
    "anyOfObjects": ({"anyOf": [{"required": ["a"]}, {"properties": {"key": WHOLE}}]}, {"key": T}),
    "oneOf": ({"oneOf": [WHOLE, {"enum": ["a"]}]}, T),
    "oneOfMany": ({"oneOf": [TEXT, {"minLength": 1}]}, T),
    "allOf": ({"allOf": [{"minLength": 1}, {"pattern": "^x$"}]}, T),
    "not": ({"not": TEXT}, T),
    "then": ({"if": TEXT, "then": {"maxLength": 1}}, T),
    "else": ({"if": WHOLE, "else": {"const": "a"}}, T),
    "false": (False, T),
    "ref": ({"$ref": "#/$defs/whole"}, T),
    "deep": ({"properties": {"a": {"properties": {"b": {**LIST, "items": {"$ref": "#/$defs/whole"}}}}}}, {"a": {"b": [T]}}),
}
OLD = {  # of draft 7
    "dependencies": ({"dependencies": {"key": ["absent"]}}, {"key": T}),
    "dependenciesSchema": ({"dependencies": {"key": {"required": ["absent"]}}}, {"key": T}),
    "additionalItems": ({**LIST, "items": [{}], "additionalItems": WHOLE}, ["x", T]),
    "tuple": ({**LIST, "items": [WHOLE]}, [T]),
}
GROUP = 5  # keywords in one interface: so many problems of one are told


def as_texts(data: Any) -> Any:
    """Return data as a key/value store has it: leaves, and whole lists, are text."""
    if isinstance(data, dict):
        return {key: as_texts(value) for key, value in data.items()}
    return data if isinstance(data, str) else json.dumps(data)


def plug_in(site: Site, body: str, more: str = "text=True", name: str = "odd") -> None:
    """Install a source type whose generator's body finds what to yield in `data`, and the canary in `secret`."""
    site.plug_in("pass", name)
    lines = "\n".join("    " + line for line in body.strip("\n").splitlines())
    (site.folder / "plug-ins" / f"{name}.py").write_text(
        "import json, logging, os, threading, time, traceback, warnings\n"
        "from disco.sources import Option, Source, SourceError, InvalidValue, build_tree\n"
        "def read(context):\n"
        "    with open(os.environ['OUT'] + '/plug-in.json') as file:\n"
        "        return json.load(file)\n"
        "def watch(context):\n"
        "    data, kind = read(context), context.options.get('kind')\n"
        "    secret = data.get('secret') if isinstance(data, dict) else None\n"
        f"{lines}\n"
        f"SOURCE = Source(watch=watch, any_key=True, options=(), {more})\n"
    )
    site.cfg[f"{name}.timeout"] = "5"


YIELD = "while True:\n    yield data\n    time.sleep(context.interval)\n"


@pytest.mark.parametrize("way", ["flat", "text", "merged"])
def test_values_that_are_not_valid(site: Site, way: str) -> None:
    """What does not satisfy a keyword of its schema is told by its place alone, be it of one source, of text, or merged."""
    data: dict[str, Any] = {}
    for old, cases in ((False, KEYWORDS), (True, OLD)):
        names = list(cases)
        for start in range(0, len(names), GROUP):
            group = names[start : start + GROUP]
            interface = f"{'old' if old else 'app'}{start}"
            dialect = {"$schema": "http://json-schema.org/draft-07/schema#"} if old else {}
            properties = {name: cases[name][0] for name in group}
            site.schema(interface, {**dialect, "$defs": {"whole": WHOLE}, "properties": properties, "required": group})
            data[interface] = {name: cases[name][1] for name in group}
    site.rules(*({"when": name, "do": "see", "name": name} for name in data))
    site.handler("see")
    if way == "text":
        (site.folder / "plug-in.json").write_text(json.dumps(as_texts(data)))
        plug_in(site, YIELD)
    else:
        site.flat(data)
    if way == "merged":
        site.flat({name: {"more": "x"} for name in data}, "more.yaml", "more")
    patterns = [f"is not valid: /{name}\\b" for name in (*KEYWORDS, *OLD)]
    outputs = modes(site, *patterns, only=READING if way == "flat" else TWO)
    assert not site.seen()
    for output in outputs.values():
        assert not [pattern for pattern in patterns if not re.search(pattern, output)], output
    assert_silent(outputs)


def test_values_below_a_key_that_is_named_like_a_keyword(site: Site) -> None:
    """A key of the schema's own that is called propertyNames does not make a value a name."""
    site.schema(
        "app",
        {
            "patternProperties": {"propertyNames": WHOLE},
            "properties": {"a": {"properties": {"propertyNames": WHOLE}}},
            "$defs": {"propertyNames": WHOLE},
        },
    )
    site.schema("other", {"dependentSchemas": {"propertyNames": {"required": ["absent"], "properties": {"b": WHOLE}}}})
    site.flat({"app": {"my-propertyNames": T, "a": {"propertyNames": T}}, "other": {"propertyNames": T, "b": T}})
    site.rules({"when": "app", "do": "see"}, {"when": "other", "do": "see"})
    site.handler("see")
    outputs = modes(site, "interface app is not valid", "interface other is not valid", only=TWO)
    assert_silent(outputs)


@pytest.mark.parametrize("way", ["store", "env"])
def test_text_that_cannot_be_used(site: Site, way: str) -> None:
    """Text of a key/value store, or of a variable, that the schema does not take, or that is no value, is told by its key alone."""
    kinds = {"integer": "whole", "boolean": "yes", "array": "list", "object": "map", "null": "none", "number": "part"}
    wrong = {
        "broken": f'{{"password": "{CANARY}"',
        "quoted": json.dumps(CANARY),
        "twice": f'{{"a": "{CANARY}", "a": 1}}',
        "nan": f'[NaN, "{CANARY}"]',
        "large": f"{NUMBER}e9999",
        "deep": "[" * 80 + json.dumps(CANARY) + "]" * 80,
        "plain": CANARY,
    }
    texts = {f"{kind}_{name}": text for kind in kinds for name, text in wrong.items()}
    names = list(texts)
    pairs: list[tuple[str, str]] = []
    for start in range(0, len(names), GROUP):
        group = names[start : start + GROUP]
        site.schema(f"app{start}", {"properties": {name: {"type": name.partition("_")[0]} for name in group}})
        pairs += [(f"app{start}/{name}", texts[name]) for name in group]
    special = {"whole": "not a mapping", "bytes": "/key is no UTF-8", "folder": "/key is both", "below": "deeper than"}
    for name in special:
        site.schema(name)
    pairs += [("whole", CANARY), ("bytes/key", CANARY + "\udcff"), ("folder/key", CANARY), ("folder/key/x", CANARY)]
    pairs += [("below" + "/x" * 70, CANARY), ("unknown/key", CANARY)]
    interfaces = sorted({key.partition("/")[0] for key, _ in pairs} - {"unknown"})
    site.handler("see")
    if way == "env":
        site.cfg["env.prefix"] = "SITE_"
        site.environ |= {f"SITE_{key.upper().replace('/', '__')}": text for key, text in pairs}
        # The case of a name does not count, and a name may be no UTF-8.
        site.environ |= {"SITE_TWICE__KEY": CANARY, "SITE_TWICE__key": CANARY, "SITE_NAME__\udcff": CANARY, "SITE_\udcff": CANARY}
        special |= {"twice": "/key is in both SITE_TWICE__KEY and SITE_TWICE__key", "name": "a name that is no UTF-8"}
        interfaces += ["twice", "name"]
        for name in ("twice", "name"):
            site.schema(name)
    else:
        (site.folder / "plug-in.json").write_text(json.dumps(pairs))
        plug_in(site, "data = build_tree((key, text.encode(errors='surrogateescape')) for key, text in data)\n" + YIELD)
    site.rules(*({"when": name, "do": "see", "name": name} for name in interfaces))
    patterns = [f"interface {name} .*{words}" for name, words in special.items()]
    patterns += [f"is not valid: /{name} is text" for name in names]
    outputs = modes(site, *patterns, only=TWO)
    for output in outputs.values():
        assert not [pattern for pattern in patterns if not re.search(pattern, output)], output
    assert_silent(outputs)


# Files that are broken

BROKEN = {
    "quote": 'app:\n  password: "SECRET\n',
    "single quote": "app:\n  password: 'SECRET\n",
    "bracket": "app: {password: SECRET, x: [SECRET\n",
    "JSON": '{"app": {"password": "SECRET" "x": 1}}',
    "cut JSON": '{"app": {"password": "SECRET", "x": "SECR',
    "tab": "app:\n\tpassword: SECRET\n",
    "indent": "app:\n  password: SECRET\n token: SECRET\n",
    "colon": "app:\n  password: SECRET: SECRET\n",
    "item": "app:\n  password: SECRET\n  - SECRET\n",
    "alias": "app:\n  password: *SECRET\n",
    "anchor": "app:\n  password: &SECRET &x SECRET\n",
    "own alias": "app: &SECRET\n  password: *SECRET\n",
    "tag": "app:\n  password: !SECRET SECRET\n",
    "handle": "app:\n  password: !s!SECRET SECRET\n",
    "wrong tag": "app:\n  password: !!int SECRET\n",
    "binary": "app:\n  password: !!binary SECRET\n",
    "escape": 'app:\n  password: "\\qSECRET"\n',
    "hex escape": 'app:\n  password: "\\xSECRET"\n',
    "block": "app:\n  password: |SECRET\n    SECRET\n",
    "at": "app:\n  password: @SECRET\n",
    "directive": "%SECRET SECRET\napp: {}\n%SECRET\n",
    "version": "%YAML SECRET\n---\napp: {}\n",
    "merge": "app:\n  <<: SECRET\n",
    "second document": "app: {}\n---\nSECRET: SECRET\n",
    "key": "app:\n  ? [SECRET]\n  : SECRET\n",
    "number as key": "app:\n  NUMBER: SECRET\n",
    "twice": "app:\n  SECRET: SECRET\n  SECRET: x\n",
    "not finite": "app: [.nan, SECRET]\n",
    "large": "app:\n  password: NUMBERe9999\n",
    "control": "app:\n  password: SECRET\x07SECRET\n",
    "NUL": "app:\n  password: SECRET\0\n",
    "Latin": "app:\n  password: SECRET\udce9SECRET\n",
    "text": "PASSWORD=SECRET\n",
    "list": "- SECRET\n",
    "deep": "app: " + "[" * 80 + "SECRET" + "]" * 80,
}
WITHOUT_PLACE = {"text", "list"}


def test_broken_files(site: Site) -> None:
    """Of a flat file that cannot be read the place and the reason are told, never what stands there."""
    site.schema("app")
    site.rules({"when": "app", "do": "see"})
    site.handler("see")
    patterns = []
    for number, (name, content) in enumerate(BROKEN.items()):
        text = content.replace("SECRET", CANARY).replace("NUMBER", str(NUMBER))
        path = site.folder / f"broken{number}.yaml"
        path.write_bytes(text.encode(errors="surrogateescape"))
        site.cfg |= {f"f{number}.type": "flat", f"f{number}.file": str(path)}
        place = "" if name in WITHOUT_PLACE else r":\d+:\d+"
        patterns.append(f"source f{number}: .*{re.escape(str(path))}{place}: [a-zA-Z]")
    outputs = modes(site, *patterns, only=TWO, patience="3")
    for number, name in enumerate(BROKEN):
        assert f"broken{number}.yaml" in outputs["dry json"], name
    assert_silent(outputs)


EXPORTS = """#!{python}
import json, os, sys
forms = list(json.load(sys.stdin)["app"].values())
rule = os.environ["DISCO_RULE"]
with open(os.environ["DISCO_ENV"], "a") as file:
    for number, form in enumerate(forms):
        if rule == "records":
            file.write(f"OK_{{number}}={{form}}\\0OTHER_{{number}}={{form}}\\0")
        elif rule == "lines":
            file.write(f"OK_{{number}}={{form}}\\n")
        elif rule == "names":
            file.write(f"{{form}}=x\\0")
        elif rule == "last line":
            file.write(f"OK=x\\n{{min(filter(str.isidentifier, forms))}}==\\n")
        elif rule == "cut":
            file.write(f"OK_{{number}}=\\0{{form}}")
        elif rule == "large":
            file.write(f"OK_{{number}}={{form * 100_000}}\\0")
"""


def test_what_rules_export(site: Site) -> None:
    """No value that a handler exports is told: used or not, one that is no environment, or by disco-env; COMMAND gets it."""
    site.schema("app")
    for kind in ("one", "nul", "name", "long"):
        site.schema(kind)
    site.schema("missing")
    site.handler("export", EXPORTS.format(python=sys.executable))
    rules = ("records", "lines", "names", "last line", "cut", "large")
    site.rules(
        *({"when": "app", "do": "export", "name": name, "export": "OK*"} for name in rules),
        *({"when": kind, "do": "disco-env", "name": kind, "export": f"{kind}_*"} for kind in ("one", "nul", "name", "long")),
        {"when": "one", "do": "disco-env", "name": "without"},
        {"when": "missing", "do": "disco-env"},
    )
    forms = {name: form for name, form in FORMS.items() if "\0" not in form}
    data = {"one": {f"a{n}": [form] for n, form in enumerate(FORMS.values())}, "nul": {"a": f"{CANARY}\0"}}
    site.flat({"app": forms, **data, "name": {"a-b": CANARY}, "long": {"a": CANARY * 20_000}})
    site.cfg["disco.fail_limit"] = "0"
    outputs = modes(
        site,
        "rule records: not exported, since 'export' does not name it: OTHER_0",
        "rule records: handler succeeded",
        *(f"rule {name}: .*what it wrote to DISCO_ENV cannot be used" for name in rules if name not in {"records", "last line"}),
        "rule last line: not exported, since 'export' does not name it: line 2",
        "rule one: handler succeeded",
        "disco-env: /nul/a holds a NUL",
        "disco-env: /name/a-b: name_a-b cannot be the name",
        "disco-env: /long/a is longer than",
        "disco-env: the rule has no 'export'",
    )
    assert_silent(outputs)
    both = {"when": "one", "do": "disco-env", "export": "one_*,OK_0"}
    site.rules({"when": "app", "do": "export", "name": "records", "export": "OK*"}, both)
    running = site.start("sh", "-c", 'printenv > "$OUT/environment"')
    assert running.wait() == 0, running.log
    assert all(form in site.read("environment") for form in FORMS.values() if form.isprintable())
    assert re.search("COMMAND gets what rules export: OK_0, ", running.log)
    assert_silent({"run": running.log})


def test_files_of_a_folder(site: Site) -> None:
    """What a mounted folder's files hold is told by their keys alone, be they of use or not, with an interface or without one."""
    names = {f"form{number}": form for number, form in enumerate(FORMS.values())}
    site.schema("app")
    site.schema("bad", {"properties": {name: {"type": "integer"} for name in names}})
    site.schema("odd")
    site.schema("missing")
    site.rules(*({"when": name, "do": "see", "name": name} for name in ("app", "bad", "odd", "missing")))
    site.handler("see")
    folder = site.folder / "data"
    contents = {f"{interface}/{name}": form.encode() for interface in ("app", "bad", "unknown") for name, form in names.items()}
    contents |= {
        "password": ALL.encode(),
        "odd/bytes": CANARY.encode() + b"\xff",
        "odd/both": CANARY.encode(),
        "below": CANARY.encode(),
    }
    for name, content in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    site.cfg |= {"tree.path": str(folder), "tree.map": "below=odd/both/below,nothing=odd/x"}
    patterns = ["bad .*is not valid: /form0 is text", "/bytes is no UTF-8", "/both is both", "directly in the folder", "map names"]
    outputs = modes(site, "rule app: handler succeeded", *patterns, only=READING)
    assert all(json.dumps(form)[1:-1] in json.dumps(site.seen()) for form in FORMS.values() if not form.endswith("\n"))
    assert_silent(outputs)


FAILING = (
    "{{ app.nothing }}",
    "{{ app.a0.nothing }}",
    "{{ app[app.a0] }}",
    "{{ app }}",
    "{{ app.a0 + 1 }}",
    "{{ app.a0|int }}",
    "{{ app.a0|nothing }}",
    "{{ app.a0 is nothing }}",
    "{{ app.all|map(app.a0)|list }}",
    "{{ app.all.index(app.a0 ~ app.a1) }}",
    "{{ app.a0.nothing(app.a1) }}",
    "{{ nothing(app.a0) }}",
    "{{ range(app.a0) }}",
    "{{ '%d'|format(app.a0) }}",
    "{% for x in app.number %}{% endfor %}",
    "{% for x in app.all|sort(attribute=app.a0) %}{{ x.y }}{% endfor %}",
    "{% set x = app.a0 %}{{ x.nothing }}{{ debug() }}",
    "{% include app.a0 %}",
    "{% include 'part' %}",
    "{% import 'part' as part %}{{ part.show(app.a0) }}",
    "{{ app.nul|shell }}",
    "{{ app.nul|ini }}",
    "{{ app.nul|dotenv }}",
    "{{ app.nul|nginx }}",
    "{{ app.a3|dotenv }}",
    "{{ app.null|json }}",
)


def test_what_templates_get(site: Site) -> None:
    """No value that a template gets is told: printed, refused, compared with an old file, or in whatever error."""
    site.schema("app")
    forms = {f"a{n}": form for n, form in enumerate(FORMS.values())}
    more = {"all": [*FORMS.values()], "number": NUMBER, "nul": f"{CANARY}\0", "null": None}
    site.flat({"app": {**forms, **more}})
    (site.etc / "part").write_text("{% macro show(x) %}{{ x.nothing }}{% endmacro %}{{ app.a0.nothing }}")
    rules = {f"t{number}": f"{site.etc}/t{number} {site.folder}/never" for number, source in enumerate(FAILING)}
    for number, source in enumerate((*FAILING, "{% for form in app.all %}{{ form|json }}\n{% endfor %}")):
        (site.etc / f"t{number}").write_text(source)
    good = f"{site.etc}/t{len(FAILING)}"
    rules |= {
        "good": f"{good} {site.folder}/good",
        "refused": f"{good} {site.folder}/never --check 'false {{}}'",
        "dry": f"{good} {site.folder}/old --dry-run",
        "dry yaml": f"--format yaml {site.folder}/old --dry-run",
        **{name: f"--format {name} {site.folder}/never" for name in ("env", "ini", "toml")},
    }
    (site.folder / "old").write_text(ALL)
    site.rules(*({"when": "app", "do": f"disco-render {words}", "name": name} for name, words in rules.items()))
    site.cfg["disco.fail_limit"] = "0"
    told = ("good", "dry", "dry yaml")
    outputs = modes(site, *(f"rule {name}: .*{'succeeded' if name in told else 'exit status'}" for name in rules))
    assert_silent(outputs)
    assert not (site.folder / "never").exists()
    assert site.read("good").splitlines() == [json.dumps(form) for form in FORMS.values()]


# Secrets of the configuration


class Backend(BaseHTTPRequestHandler):
    """Answers with all that it was sent, wherever an answer has room for it."""

    protocol_version = "HTTP/1.1"
    seen: set[str]

    def do_GET(self) -> None:
        secrets = [self.headers[name] for name in ("X-Consul-Token", "Authorization") if self.headers[name]]
        self.seen |= set(secrets)
        said = " ".join(secrets)
        body = f'rpc error: {said} {CANARY} {{"password": "{CANARY}"}}'.encode()
        status = [403, 500, 302, 429, 400, 200][len(self.seen) % 6]
        self.send_response(status, f"no {CANARY}")
        self.send_header("Location", f"http://me:{CANARY}@127.0.0.1:1/{CANARY}?token={CANARY}")
        self.send_header("WWW-Authenticate", f'Basic realm="{CANARY}"')
        self.send_header("Retry-After", CANARY)
        self.send_header("X-Consul-Reason", said)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


@dataclass
class Consul:
    """A server that is no help."""

    address: str
    seen: set[str] = field(default_factory=set)


@pytest.fixture
def consul() -> Iterator[Consul]:
    need("consul")
    seen: set[str] = set()
    kind = type("Handler", (Backend,), {"seen": seen})
    with ThreadingHTTPServer(("127.0.0.1", 0), kind) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield Consul(f"127.0.0.1:{server.server_port}", seen)
        finally:
            server.shutdown()
            thread.join()


def test_secrets_of_the_configuration(site: Site, consul: Consul) -> None:
    """No token is told, nor the user part of a URL, given as a key, in a file or by the environment, in any form."""
    site.schema("app")
    site.rules({"when": "app", "do": f"see {CANARY}"})
    site.handler("see")
    options: dict[str, dict[str, str]] = {"environ": {"host": ""}}  # all else is CONSUL_HTTP_ADDR's and CONSUL_HTTP_TOKEN's
    for number, (name, form) in enumerate(FORMS.items()):
        options[f"token{number}"] = {"token": form, "prefix": name.replace(" ", "-")}
        if name in {"plain", "lines", "JSON object"}:
            path = site.folder / f"file{number}"
            path.write_text(f"{form}\n")
            options[f"file{number}"] = {"token_file": str(path)}
    path.write_bytes(b"\xff" + CANARY.encode())
    users = (f"me:{CANARY}", CANARY, f"{CANARY}:{CANARY}", f"me:{FORMS['percent']}", f"me:{CANARY}@{CANARY}", f"me:x:{CANARY}")
    for number, user in enumerate(users):
        options[f"url{number}"] = {"host": f"http://{user}@{consul.address}"}
        options[f"user{number}"] = {"host": f"{user}@{consul.address}"}
    options["url0"] |= {"services": "app", "kv": "true"}
    options["auth"] = {"auth": f"you:{CANARY}"}
    for name, given in options.items():
        keys = {"type": "consul", "host": consul.address} | given
        site.cfg |= {f"{name}.{key}": value for key, value in keys.items() if value}
    site.environ |= {"CONSUL_HTTP_ADDR": f"http://me:{CANARY}@{consul.address}", "CONSUL_HTTP_TOKEN": CANARY}
    only = ("run", "dry json", "check json", "graph")
    names = [*options, "url0/app"]
    outputs = modes(site, *(f"source {name}: .*{TROUBLE}" for name in names), only=only, command="absent", patience="3")
    assert CANARY in consul.seen
    assert FORMS["JSON object"] in consul.seen
    for name in ("me", "you"):
        assert f"Basic {base64.b64encode(f'{name}:{CANARY}'.encode()).decode()}" in consul.seen
    for way in ("dry json", "graph"):
        assert not [name for name in names if name not in outputs[way]], way
    assert "the secret itself is in the configuration" in outputs["check json"]
    assert_silent(outputs)


@contextmanager
def etcd() -> Iterator[tuple[str, list[bytes]]]:
    """Serve etcd's own names, and answer with all that came, as an error."""
    from concurrent.futures import ThreadPoolExecutor

    import grpc

    seen: list[bytes] = []

    def refuse(request: bytes, context: Any) -> None:
        seen.append(request)
        context.set_trailing_metadata((("reason", CANARY),))
        details = f"etcdserver: {request.decode(errors='replace')!r} {CANARY} {FORMS['inside']}"
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, details)

    login = grpc.method_handlers_generic_handler("etcdserverpb.Auth", {"Authenticate": grpc.unary_unary_rpc_method_handler(refuse)})
    with ThreadPoolExecutor(4) as pool:
        server = grpc.server(pool, handlers=[login])
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield f"127.0.0.1:{port}", seen
        finally:
            server.stop(None).wait()


def test_password_of_etcd(site: Site) -> None:
    """A password of etcd is not told, be it a key's or a file's, also when the server's error holds it."""
    need("etcd3", "grpc")
    site.schema("app")
    site.rules({"when": "app", "do": "see"})
    site.handler("see")
    path = site.folder / "password"
    path.write_text(FORMS["lines"])
    with etcd() as (address, seen):
        for name, option, secret in (("key", "password", ALL), ("file", "password_file", str(path))):
            site.cfg |= {f"{name}.type": "etcd", f"{name}.endpoints": address, f"{name}.user": "me", f"{name}.{option}": secret}
        patterns = [f"source {name}: not readable .*{address}: FAILED_PRECONDITION" for name in ("key", "file")]
        outputs = modes(site, *patterns, only=("run", "dry json", "check json", "graph"), patience="3")
    assert sum(CANARY.encode() in request for request in seen) > 1
    assert address in outputs["dry json"]
    assert_silent(outputs)


SHAPES = f"""\
disco: {{path: FOLDER, workers: {CANARY}}}
consul:
  port: {NUMBER}
  wait: {CANARY}
  token_file: "{CANARY}\\0"
  token: [{{x: {CANARY}}}]
etcd: {CANARY}
a: {{'x y': {CANARY}}}
"""
VARIABLES = """
disco: {workers: '${SECRET}'}
env: {prefix: '${SECRET} '}
consul:
  tokn: ${SECRET}
  port: ${SECRET}
  host: x/${SECRET}
  dc: ${NONE}${SECRET}
  token: ${SECRET
  services: [web, 'x?${SECRET}=y']
"""
# By name: DISCO_CFG's keys, the content of the file of -c, and what is told.
WRONG: dict[str, tuple[dict[str, str], str, tuple[str, ...]]] = {
    "keys": (
        {
            "consul.tokn": CANARY,
            "etcd.passwort": CANARY,
            "consul.port": CANARY,
            "consul.verify": CANARY,
            "consul.timeout": CANARY,
            "disco.workers": CANARY,
            "a.type": "consul",
            "a.host": f"ftp://me:{CANARY}@host/x",
            "b.type": "consul",
            "b.host": f"http://me:{CANARY}@host/{CANARY}",
            "c.type": "consul",
            "c.host": f"http://me:{CANARY}@host:{NUMBER}",
            "c.token": CANARY,
            "c.token_file": CANARY,
            "d.type": "etcd",
            "d.endpoints": f"me:{CANARY}@host:2379,{CANARY}",
            "e.type": "etcd",
            "e.host": f"me:{CANARY}@host",
            "f.type": "etcd",
            "f.password": CANARY,
        },
        "",
        (
            "consul.tokn", "etcd.passwort", "consul.port", "consul.verify", "consul.timeout", "disco.workers", "a.host",
            "b.host", "c.host", "c.token_file", "d.endpoints", "e.host", "f.user",
        ),
    ),
    "shapes": (
        {},
        SHAPES,
        ("disco.workers", "consul.port", "consul.wait", "consul.token_file", "consul.token", "c.yaml:7:7"),
    ),
    "variables": ({}, VARIABLES, ("disco.workers", "consul.tokn", "consul.port", "consul.host", "c.yaml:8:7: consul.dc",
        "variable NONE is not set", "c.yaml:9:10: consul.token", "'${' begins no", "consul.services", "env.prefix")),
    "broken": ({"disco.path": "FOLDER"}, f'consul:\n  token: "{CANARY}\n', ("c.yaml:3:1",)),
    "list": ({"disco.path": "FOLDER"}, f"[{CANARY}]\n", ("c.yaml:1:1",)),
}  # fmt: skip


def test_wrong_configuration(site: Site) -> None:
    """A configuration, or a rule's handler, that is wrong is told by key and place, never with a value."""
    need("consul", "etcd3", "grpc")
    site.schema("app")
    site.rules({"when": "app", "do": f"see '{CANARY}"}, {"when": "app", "do": f"absent {CANARY}"}, {"when": "app", "do": [CANARY]})
    for name, (keys, content, told) in WRONG.items():
        of = Site(site.folder / name)
        of.cfg = {key: value.replace("FOLDER", str(site.etc)) for key, value in keys.items()} or {"flat.file": "x"}
        of.cfg.setdefault("disco.path", str(site.etc))
        of.environ["SECRET"] = CANARY
        config = of.folder / "c.yaml"
        config.write_text(content.replace("FOLDER", str(site.etc)))
        ways = {"run": ("-l", "DEBUG"), "check": ("--check", "--json")}
        running = {way: _start(of, way, ("-c", str(config), *options), "true") for way, options in ways.items()}
        assert [one.wait() for one in running.values()] == [78, 78], name
        outputs = {way: one.output + one.log for way, one in running.items()}
        for output in outputs.values():
            assert not [words for words in (*told, "site.rules:1:") if words not in output], (name, output)
        assert_silent(outputs)


def test_secret_of_a_wrong_type(site: Site) -> None:
    """A secret option's own type may quote the value in its ValueError, as int does: that is not told."""
    site.simple()
    (site.folder / "plug-in.json").write_text("{}")
    options = "Option(name='pin', type=int, secret=True, help=''), Option(name='key', type=bytes.fromhex, secret=True, help='')"
    plug_in(site, YIELD)
    module = site.folder / "plug-ins" / "odd.py"
    module.write_text(module.read_text().replace("options=()", f"options=({options})"))
    site.cfg |= {"odd.pin": CANARY, "odd.key": CANARY}
    outputs = modes(site, only=("run", "dry", "check", "check json", "graph"))
    assert all("odd.pin" in output for output in outputs.values())
    assert_silent(outputs)


# What libraries raise

RAISED = {
    "text": "raise ValueError(secret)",
    "args": "raise ValueError('x', {'password': secret}, secret.encode())",
    "chained": "try:\n    raise KeyError(secret)\nexcept KeyError as error:\n    raise RuntimeError(secret) from error",
    "in handling": "try:\n    raise KeyError(secret)\nexcept KeyError:\n    raise RuntimeError(secret)",
    "note": "error = ValueError('x')\nerror.add_note(secret)\nraise error",
    "group": "raise ExceptionGroup(secret, [ValueError(secret), OSError(5, secret, secret)])",
    "OSError": "raise FileNotFoundError(2, secret, '/' + secret)",
    "decoding": "(secret + '\\udcff').encode()",
    "parsing": "json.loads('{\"password\": \"' + secret)",
    "text that raises": "class Odd(Exception):\n    def __str__(self):\n        raise ValueError(secret)\nraise Odd(secret)",
    "traceback": "raise SyntaxError(secret, ('file', 1, 1, secret))",
    "exit": "raise SystemExit(secret)",
    "interrupt": "raise KeyboardInterrupt(secret)",
    "no exception": "raise BaseException(secret)",
    "end": "raise StopIteration(secret)",
    "closing": "try:\n    yield {'app': {'a': object()}}\nfinally:\n    raise ValueError(secret)",
    "set": "yield {'app': {'a': {secret}}}",
    "object": "class Odd(str):\n    def __repr__(self):\n        raise ValueError(secret)\nyield {'app': {'a': Odd}}",
    "no mapping": "yield [secret]",
    "not finite": "yield {'app': {secret: float('nan')}}",
    "URL": f"raise SourceError('cannot read http://me:{CANARY}@host/x')",
    "cause": "raise SourceError('no answer') from ValueError(secret)",
    "log": "try:\n    raise OSError(secret)\nexcept OSError:\n    logging.getLogger('lib').exception('failed')\nraise OSError",
    "del": "class Odd:\n    def __del__(self):\n        raise ValueError(secret)\nOdd()\nraise OSError",
    "generator": "def odd():\n    try:\n        yield\n    finally:\n        raise ValueError(secret)\nnext(odd())\nraise OSError",
}  # fmt: skip


def raising(site: Site, cases: dict[str, str]) -> list[str]:
    """Let a source of each case run; return the sources' names."""
    site.schema("app")
    site.rules({"when": "app", "do": "see"})
    site.handler("see")
    (site.folder / "plug-in.json").write_text(json.dumps({"secret": ALL}))
    body = ""
    for name, script in cases.items():
        lines = "\n".join("    " + line for line in script.splitlines())
        body += f"if kind == {name!r}:\n{lines}\n"
    plug_in(site, f"{body}yield {{}}\n", more="text=False")
    del site.cfg["odd.timeout"]
    names = []
    for number, name in enumerate(cases):
        names.append(f"s{number}")
        site.cfg |= {f"s{number}.type": "odd", f"s{number}.kind": name}
    return names


def test_exceptions_of_a_library(site: Site) -> None:
    """What a client library raises is told by its class, wherever it is raised and whatever it holds."""
    names = raising(site, RAISED)
    outputs = modes(site, *(f"source {name}: .*{TROUBLE}" for name in names), only=TWO, patience="3")
    log = outputs["run"]
    for words in (
        r"raised ValueError", "raised RuntimeError", "raised ExceptionGroup", "raised FileNotFoundError", "raised Odd",
        "raised UnicodeEncodeError", "raised JSONDecodeError", "raised SyntaxError", "raised SystemExit",
        "KeyboardInterrupt ended this", "BaseException ended this", "what JSON cannot hold", "yielded no mapping",
        "cannot read http://host/x", "no answer", r"lib|failed", "ValueError was raised where nobody could catch it",
    ):  # fmt: skip
        assert re.search(words, log), (words, log)
    assert_silent(outputs)


UNCAUGHT = {
    "thread": "def fail():\n    raise ValueError(secret)\n"
    "thread = threading.Thread(target=fail)\nthread.start()\nthread.join()\nraise OSError",
    "warning": "warnings.warn(secret)\nwarnings.warn(ResourceWarning(secret))\nraise OSError",
}


@pytest.mark.parametrize("kind", UNCAUGHT)
def test_what_nobody_catches(site: Site, kind: str) -> None:
    """What a library's thread or warning says through the interpreter is not told with its text, at any level."""
    (name,) = raising(site, {kind: UNCAUGHT[kind]})
    outputs = modes(site, f"source {name}: not readable.*OSError", only=("run",))
    assert_silent(outputs)


TASK = (
    "import asyncio\nasync def fail():\n    raise ValueError(secret)\n"
    "async def main():\n    task = asyncio.ensure_future(fail())\n    await asyncio.sleep(0)\n    await asyncio.sleep(0)\n"
    "asyncio.run(main())\nraise OSError"
)


def test_what_a_library_logs(site: Site) -> None:
    """What a library logs itself, at whatever level, is told with DEBUG only, as what it prints is."""
    (name,) = raising(site, {"task": TASK})
    running = site.start(options=())
    running.wait_for(f"source {name}: .*OSError")
    running.send(signal.SIGTERM)
    running.wait()
    assert_silent({"run": running.log})


IN_THE_COORDINATOR = {
    "place": "place=lambda options, part: options[options['kind']],",
    "check": "check=lambda options: options[options['kind']],",
    "parts": "parts=lambda options: options[options['kind']],",
}


@pytest.mark.parametrize("kind", IN_THE_COORDINATOR)
def test_exceptions_of_a_plug_in_s_declaration(site: Site, kind: str) -> None:
    """What a plug-in's declaration raises in disco's own process is told by class and place, at DEBUG too."""
    site.simple()
    (site.folder / "plug-in.json").write_text("{}")
    plug_in(site, YIELD, more=IN_THE_COORDINATOR[kind])
    site.cfg |= {"odd.kind": CANARY}
    outputs = modes(site, only=("run",))
    assert "KeyError" in outputs["run"]
    assert_silent(outputs)
