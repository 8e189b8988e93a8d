"""What --check prints of a site, as the installed command on real files."""

from __future__ import annotations

import json
import os
import re
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from lab.site import Site, disco_command

if TYPE_CHECKING:
    from collections.abc import Sequence

CANARY = "canary-7f3a"


def disco(site: Site, *argv: str) -> subprocess.CompletedProcess[str]:
    """Run disco on a site to its end."""
    environ = site.environ | {"DISCO_CFG": ":".join(f"{key}={value}" for key, value in site.cfg.items())}
    return subprocess.run(
        [*disco_command(), *argv], env=environ, cwd=site.folder, capture_output=True, text=True, timeout=60, check=False
    )


def check(site: Site, *command: str) -> tuple[int, list[dict[str, str]], list[dict[str, str]]]:
    """Return the status of --check --json, the errors and the warnings; stderr stays empty, and the text says the same."""
    done = disco(site, "--check", "--json", *command)
    assert not done.stderr
    told = json.loads(done.stdout)
    assert set(told) == {"errors", "warnings"}
    lines = [
        f"{severity}: {one['place']}: {one['message']}; {one['remedy']}"
        for severity, problems in (("error", told["errors"]), ("warning", told["warnings"]))
        for one in problems
    ]
    text = disco(site, "--check", *command)
    assert text.returncode == done.returncode
    assert text.stdout.splitlines()[:-1] == lines
    return done.returncode, told["errors"], told["warnings"]


def told(problems: Sequence[dict[str, str]]) -> list[tuple[str, str]]:
    return [(one["place"], one["message"]) for one in problems]


@pytest.fixture
def simple(site: Site) -> Site:
    site.simple()
    return site


def test_a_variable_that_two_rules_export(simple: Site) -> None:
    """A name that two rules write out in `export` is doubtful; that one pattern stands in two rules is not."""
    one = {"when": "app", "do": "see"}
    simple.rules({**one, "name": "a", "export": "DB_*,URL"}, {**one, "name": "b", "export": "DB_*,URL,DB_X"})
    _, _, warnings = check(simple)
    what = "rule b exports URL, and so does rule a: if both set it, only that of b counts"
    assert [(one["place"], one["message"]) for one in warnings] == [(f"{simple.etc}/site.rules:1:77", what)]


def test_a_site_in_order(simple: Site) -> None:
    """A site without problems gives one line and status 0; nothing runs, and COMMAND is not needed."""
    done = disco(simple, "--check", "touch", "ran")
    assert (done.returncode, done.stdout, done.stderr) == (0, "disco --check: 0 errors, 0 warnings\n", "")
    assert check(simple) == (0, [], [])
    assert not simple.seen()
    assert not (simple.folder / "ran").exists()


def test_all_errors_at_once(simple: Site) -> None:
    """Errors of configuration, schemas and rules are told together, each with place and remedy, with status 78."""
    simple.cfg |= {"disco.worker": "3", "flat.timeout": "soon"}
    (simple.etc / "bad.schema").write_text("type: 7\n")
    (simple.etc / "more.rules").write_text(
        "rules:\n  - {when: ap, do: see}\n  - {when: app, do: absent}\n"
        "  - {when: app, do: see, name: a, after: [b]}\n  - {when: app, do: see, name: b, after: [a]}\n"
    )
    status, errors, warnings = check(simple)
    assert status == 78
    assert not warnings
    assert [(one["place"].removeprefix(f"{simple.etc}/"), one["remedy"]) for one in errors] == [
        ("DISCO_CFG: disco.worker", "did you mean disco.workers?"),
        ("DISCO_CFG: flat.timeout", "correct the value"),
        ("bad.schema:1:7", "correct it"),
        ("more.rules:2:12", "did you mean app?"),
        ("more.rules:3:21", "put it into a directory of disco.path or of PATH"),
        ("more.rules:4:5", "remove one 'after' of the circle"),
    ]
    assert disco(simple, "--check").stdout.splitlines()[-1] == "disco --check: 6 errors, 0 warnings"


def test_what_start_up_refuses_are_the_errors(simple: Site) -> None:
    """--check tells the problems that a start ends with, in the same words."""
    del simple.cfg["flat.file"]
    status, errors, _ = check(simple)
    (only,) = errors
    assert (status, only["place"]) == (78, "DISCO_CFG")
    assert simple.run(options=()).log == f"disco: {only['place']}: {only['message']}; {only['remedy']}\n"


def test_texts_of_the_site_s_own_split_nothing(simple: Site) -> None:
    """Place, message and remedy are what disco means by them, whatever is in names of files, rules and schemas."""
    folder = simple.folder / "a; b"
    folder.mkdir()
    file = folder / "x; y: 1.rules"
    file.write_text("rules:\n  - {when: app, do: see, name: 'no; such: file'}\n  - {when: app, do: see, name: 'no; such: file'}\n")
    simple.cfg["disco.path"] += f":{folder}"
    done = disco(simple, "--check", "--json")
    assert json.loads(done.stdout)["errors"] == [
        {
            "place": f"{file}:3:5",
            "message": f"rule no; such: file is defined already: {file}:2:5",
            "remedy": "give one of the rules another name",
        }
    ]


def test_missing_directory(site: Site) -> None:
    """A directory of disco.path that is not there is an error, not a crash."""
    site.cfg["disco.path"] = f"{site.folder}/absent"
    status, errors, _ = check(site)
    assert (status, told(errors)) == (78, [("disco.path", f"{site.folder}/absent: No such file or directory")])


@pytest.mark.parametrize(
    ("schema", "fires"),
    [
        (False, False),
        ({"type": "string"}, False),
        ({"allOf": [{"$ref": "#/$defs/a"}], "$defs": {"a": {"type": ["array", "null"]}}}, False),
        ({"type": ["string", "object"]}, True),
        ({"anyOf": [{"type": "string"}, {"required": ["a"]}]}, True),
        (True, True),
    ],
)
def test_rules_that_can_never_fire(simple: Site, schema: Any, fires: bool) -> None:
    """A schema that admits no mapping keeps its rules from ever firing, and those after them; `any` rules only if all do."""
    simple.schema("app", schema)
    (simple.etc / "app.schema").write_text(json.dumps(schema))
    simple.schema("other")
    simple.rules(
        {"when": "other", "do": "see", "name": "late", "after": ["later"]},
        {"when": "other", "do": "see", "name": "later", "after": ["app"]},
        {"when": "app,other", "do": "see", "name": "app"},
        {"when": "any:app,other", "do": "see", "name": "either"},
    )
    status, errors, warnings = check(simple)
    assert (status, errors) == (0, [])
    found = [re.match(r"rule (\w+) can never run", one["message"]) for one in warnings]
    assert sorted(match[1] for match in found if match) == ([] if fires else ["app", "late", "later"])
    assert all(one["place"].startswith(f"{simple.etc}/site.rules:1:") for one in warnings)


def test_schema_that_no_rule_names(simple: Site) -> None:
    """An interface with a schema that no rule names is a warning at its file."""
    simple.schema("idle")
    assert told(check(simple)[2]) == [(f"{simple.etc}/idle.schema", "no rule names interface idle")]


def test_source_that_no_rule_needs(simple: Site) -> None:
    """A source is told where no rule names an interface; rules without `when` are in order without one."""
    simple.rules({"do": "see"})
    (simple.etc / "app.schema").unlink()
    assert told(check(simple)[2]) == [("flat", "nothing needs this source: no rule names an interface")]
    del simple.cfg["flat.file"]
    assert check(simple) == (0, [], [])


def test_no_rules(simple: Site) -> None:
    """Without rules nothing would configure COMMAND: an error, or a warning where rules are optional."""
    simple.rules()
    (simple.etc / "app.schema").unlink()
    status, errors, _ = check(simple)
    assert (status, told(errors)) == (78, [("disco.path", f"no rules in {simple.etc}, so nothing would configure COMMAND")])
    simple.cfg["disco.rules"] = "optional"
    assert [one["place"] for one in check(simple)[2]] == ["disco.rules", "flat"]


SCRIPTS = {
    "cat\n": "a script without a #! line",
    "": "a script without a #! line",
    "#!/usr/bin/pyhton3\nimport sys\n": "/usr/bin/pyhton3, the interpreter of its #! line, is not an executable file",
    "#!/etc\n": "/etc, the interpreter of its #! line, is not an executable file",
    "#!\n": "nothing, the interpreter of its #! line, is not an executable file",
    "#!/bin/sh\r\ncat\r\n": "its #! line ends with a carriage return (Windows' line ends)",
    "#!/usr/bin/env pyhton3\n": "pyhton3, the interpreter of its #! line, is not in PATH",
    "#! /usr/bin/env -S A=1 pyhton3 -u\n": "pyhton3, the interpreter of its #! line, is not in PATH",
}


@pytest.mark.parametrize(("content", "reason"), SCRIPTS.items())
def test_handlers_that_the_kernel_does_not_execute(simple: Site, content: str, reason: str) -> None:
    """A handler without a #! line that leads to a program is told with its file, and refused at the start."""
    (simple.etc / "see").write_bytes(content.encode())
    status, errors, _ = check(simple)
    assert (status, [message for _, message in told(errors)]) == (78, [f"handler see: {simple.etc / 'see'}: {reason}"])
    assert simple.run(options=()).process.returncode == 78


@pytest.mark.parametrize("content", [b"#!/bin/sh", b"#! /usr/bin/env -S sh -e\n", b"\x7fELF", b"MZ\0", b"#!/bin/sh -e\ncat\r\n"])
def test_handlers_that_it_may_execute(simple: Site, content: bytes) -> None:
    """What leads to a program, and what is no script, is fine."""
    (simple.etc / "see").write_bytes(content)
    assert check(simple) == (0, [], [])


def test_mistyped_keywords(simple: Site) -> None:
    """A schema's unknown keyword that is like a known one is a warning with its place; one of somebody's own is none."""
    (simple.etc / "app.schema").write_text(
        "type: object\nrequierd: [a]\nx-order: 5\nunits: m\nproperties:\n  requierd: {}\n  b: {minimun: 5, title: x}\n"
    )
    _, errors, warnings = check(simple)
    assert (errors, [(*one, warnings[n]["remedy"]) for n, one in enumerate(told(warnings))]) == (
        [],
        [
            (f"{simple.etc}/app.schema:2:11", "requierd is not a keyword of JSON Schema", "did you mean required?"),
            (f"{simple.etc}/app.schema:7:16", "minimun is not a keyword of JSON Schema", "did you mean minimum?"),
        ],
    )


@pytest.mark.parametrize(
    ("name", "suffix"),
    [
        *[(name, "rules") for name in ("web.rules.yml", "rules.yaml", "WEB.RULES", "web.rule", "web_rules.json", "rules")],
        *[(name, "schema") for name in ("web.schema.json", "web.schemas", "schema.yml", "web-schema.txt")],
    ],
)
def test_files_that_are_not_read(simple: Site, name: str, suffix: str) -> None:
    """A file that looks like one of rules or a schema, and has another name, is a warning."""
    (simple.etc / name).write_text("{}")
    (simple.etc / "load-schema").write_text("#!/bin/sh\n")
    (simple.etc / "load-schema").chmod(0o755)  # a handler
    (simple.etc / "rules.d").mkdir()
    assert told(check(simple)[2]) == [(f"{simple.etc}/{name}", f"is not read: only files named *.{suffix} are")]


def test_sources_that_do_not_say_what_they_provide(simple: Site) -> None:
    """Where several sources may provide an interface that a rule names, and not all of them say so, that is a warning."""
    for name in ("db", "web"):
        simple.schema(name)
    simple.rules({"when": "app,db", "do": "see"}, {"when": "web", "do": "see"})
    simple.cfg |= {"late.type": "flat", "late.file": "late.yaml"}
    both = "may all provide {}: a rule may run before this source has answered"
    for says, warnings in [
        ({}, [("flat.interfaces", f"flat, late {both.format('app, db, web')}", "set flat.interfaces and late.interfaces")]),
        ({"late": "db"}, [("flat.interfaces", f"flat, late {both.format('db')}", "set flat.interfaces")]),
        ({"late": "db", "flat": "*"}, [("flat.interfaces", "with * every rule waits until flat has answered", "name what")]),
        ({"late": "db", "flat": "app,w*b,d*"}, []),
        ({"flat": "app", "late": "w*"}, []),
        ({"flat": "app", "late": "webb,no*"}, [
            ("late.interfaces", "webb is the name of no interface that has a schema", "did you mean web?"),
            ("late.interfaces", "no* is the name of no interface that has a schema", "write its schema, or remove it"),
        ]),
    ]:  # fmt: skip
        cfg = {f"{name}.interfaces": value for name, value in says.items()}
        simple.cfg |= cfg
        status, errors, found = check(simple)
        assert (status, errors) == (0, [])
        assert told(found) == [(place, message) for place, message, _ in warnings]
        assert all(remedy in one["remedy"] for one, (_, _, remedy) in zip(found, warnings, strict=True))
        for key in cfg:
            del simple.cfg[key]


def test_a_source_without_a_schema(simple: Site) -> None:
    """A source whose options name an interface that has no schema is a warning."""
    simple.cfg |= {"env.prefix": "APP_", "env.interface": "ap", "flat.interfaces": "app"}
    assert told(check(simple)[2]) == [("env", "no interface that it may provide has a schema")]
    simple.cfg["env.interface"] = "app"
    assert ("env", "no interface that it may provide has a schema") not in told(check(simple)[2])


def test_services_that_nothing_needs(simple: Site) -> None:
    """A Consul service whose interface has no schema, or no rule, or is dropped, is a warning."""
    simple.schema("db")
    simple.cfg |= {"east.type": "consul", "east.services": "app,db=pg,web"}
    simple.cfg |= {"east.interfaces": "d*,web", "flat.interfaces": "app"}
    assert told(check(simple)[2])[1:] == [
        ("east.services", "the service's interface app is dropped: east.interfaces does not name it"),
        ("east.services", "nothing needs the service's interface db: no rule names it"),
        ("east.services", "nothing needs the service's interface web: it has no schema"),
        ("east.interfaces", "web is the name of no interface that has a schema"),
    ]


def test_files_of_the_same_name(simple: Site) -> None:
    """The first executable file of a handler's name runs, others are told; schemas and rules files all count."""
    first, second = simple.folder / "first", simple.folder / "second"
    for folder in (first, second):
        folder.mkdir()
        (folder / "see").write_text("#!/bin/sh\n")
    (second / "see").chmod(0o755)
    (second / "site.rules").write_text("rules: []")
    simple.cfg["disco.path"] = f"{first}:{simple.etc}:{second}"
    see = simple.etc / "see"
    assert told(check(simple)[2]) == [
        (f"{second}/site.rules", f"has the same name as {simple.etc}/site.rules; both are loaded, neither replaces the other"),
        (f"{first}/see", f"is not executable, so {see} runs in its place"),
        (f"{second}/see", f"is never run: {see} comes first"),
    ]


def test_handler_in_path_instead(simple: Site) -> None:
    """A handler that lacks its x bit while PATH has one of that name is told: the other one would run."""
    simple.rules({"when": "app", "do": "true"})
    (simple.etc / "true").write_text("#!/bin/sh\n")
    ((place, message),) = told(check(simple)[2])
    assert place == f"{simple.etc}/true"
    assert re.fullmatch("is not executable, so /.*/true runs in its place", message)


@pytest.mark.parametrize(
    ("words", "severity", "message"),
    [
        ("disco-wait tcp://{/app/host}:1 --timeout 59s", "", ""),
        ("disco-wait tcp://db:1 --timeout 1m", "warning", "--timeout is 60 s, and the rule's run is killed after 60 s"),
        ("disco-wait db:1", "error", "db:1 is none of tcp://HOST:PORT"),
        ("disco-wait", "error", "no URL to wait for"),
        ("disco-wait tcp://{/ap/host}:1", "error", "tcp://{/ap/host}:1: the rule names no interface ap"),
    ],
)
def test_words_of_shipped_handlers(simple: Site, words: str, severity: str, message: str) -> None:
    """What a shipped handler will refuse is an error before anything is started; what it can tell to be doubtful is a warning."""
    simple.rules({"when": "app", "do": words})
    status, errors, warnings = check(simple)
    assert status == (78 if severity == "error" else 0)
    found = [("error", *one) for one in told(errors)] + [("warning", *one) for one in told(warnings)]
    assert len(found) == bool(severity)
    if severity == "warning":
        simple.rules({"when": "app", "do": words, "timeout": "2m"})
        assert check(simple) == (0, [], [])
    if severity:
        assert found[0][:2] == (severity, f"{simple.etc}/site.rules:1:12")
        assert found[0][2].startswith(f"disco-wait: {message}")


def test_a_file_with_a_shipped_handlers_name(simple: Site) -> None:
    """A file of disco.path that has a shipped handler's name, and no x bit, is told: the shipped one runs in its place."""
    simple.rules({"when": "app", "do": "disco-wait file:/"})
    (simple.etc / "disco-wait").write_text("#!/bin/sh\n")
    _, _, warnings = check(simple)
    assert told(warnings) == [(f"{simple.etc}/disco-wait", "is not executable, so disco-wait runs in its place")]


def test_secrets(simple: Site) -> None:
    """A secret in the configuration, or in a file that all may read, is a warning with its key."""
    closed, open_ = simple.folder / "closed", simple.folder / "open"
    for file, mode in ((closed, 0o600), (open_, 0o644)):
        file.write_text(CANARY)
        file.chmod(mode)
    simple.cfg |= {"consul.token": CANARY, "a.type": "consul", "a.token_file": str(open_), "etcd.user": "u"}
    simple.cfg |= {"etcd.password_file": str(closed), "b.type": "consul", "b.token_file": "/no/such/file"}
    _, errors, warnings = check(simple)
    assert (errors, sorted(one for one in told(warnings) if one[0] != "flat.interfaces")) == (
        [],
        [
            ("a.token_file", f"every user may read {open_}"),
            ("consul.token", "the secret itself is in the configuration or the environment, and shows wherever that does"),
        ],
    )


def test_files_that_others_may_write(simple: Site) -> None:
    """A file of -c, a handler and a directory of disco.path that others may write to are warnings, a sticky one too."""
    config = simple.folder / "c.yaml"
    config.write_text("{}")
    config.chmod(0o666)
    (simple.etc / "see").chmod(0o757)
    simple.etc.chmod(0o1777)
    done = disco(simple, "-c", str(config), "--check", "--json")
    assert [(one["place"], one["remedy"]) for one in json.loads(done.stdout)["warnings"]] == [
        ("disco.path", f"chmod o-w {simple.etc}"),
        (f"{simple.etc}/site.rules:1:12", f"chmod o-w {simple.etc / 'see'}"),
        ("-c", f"chmod o-w {config}"),
    ]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"consul.host": "10.0.0.1", "consul.token_file": "/t"}, "consul.token"),
        ({"consul.host": "http://consul", "consul.auth_file": "/t"}, "consul.auth"),
        ({"consul.host": "https://consul", "consul.token_file": "/t"}, None),
        ({"consul.host": "127.0.0.1", "consul.token_file": "/t"}, None),
        ({"consul.host": "https://consul", "consul.verify": "no"}, "consul.verify"),
        ({"consul.host": "10.0.0.1"}, None),
        ({"etcd.host": "10.0.0.1", "etcd.user": "u", "etcd.password_file": "/t"}, "etcd.password"),
        ({"etcd.host": "10.0.0.1", "etcd.user": "u", "etcd.password_file": "/t", "etcd.ca_cert": "/c"}, None),
        ({"etcd.endpoints": "127.0.0.1:1,[::1]:2", "etcd.user": "u", "etcd.password_file": "/t"}, None),
    ],
)
def test_secrets_on_their_way(simple: Site, options: dict[str, str], expected: str | None) -> None:
    """A secret that goes to another host in the clear, and a server that anybody can pass for, are warnings."""
    simple.cfg |= options | {"consul.interfaces": "app"} if "consul.host" in options else options | {"etcd.interfaces": "app"}
    simple.cfg["flat.interfaces"] = "app"
    places = [place for place, _ in told(check(simple)[2])]
    assert places == ([expected] if expected else [])


def test_command_not_found(simple: Site) -> None:
    """A COMMAND that is not there is a warning, since a handler may bring it."""
    status, _, warnings = check(simple, "no-such-program", "x")
    assert (status, told(warnings)) == (0, [("COMMAND", "no-such-program is not found or not executable")])


def test_config_file_and_its_places(simple: Site) -> None:
    """Problems of the file of -c have line and column."""
    config = simple.folder / "c.yaml"
    config.write_text("disco:\n  fail_limt: 3\n")
    done = disco(simple, "-c", str(config), "--check")
    assert done.returncode == 78
    assert done.stdout.startswith(f"error: {config}:2:14: disco.fail_limt: no such option; did you mean disco.fail_limit?\n")


@pytest.mark.parametrize("wrong", [False, True])
def test_no_secret_is_told(simple: Site, wrong: bool) -> None:
    """Neither an option's value nor an argument of a handler or of COMMAND is in any output, whether right or wrong."""
    file = simple.folder / "secret"
    file.write_text(CANARY)
    file.chmod(0o644)
    simple.flat({"app": {"password": CANARY}})
    simple.cfg |= {"consul.token": CANARY, "etcd.user": CANARY, "etcd.password_file": str(file), "consul.host": CANARY}
    simple.environ |= {"CONSUL_HTTP_TOKEN": CANARY}
    simple.rules({"when": "app", "do": f"see {CANARY}"})
    if wrong:
        simple.cfg |= {"consul.tokn": CANARY, "consul.port": CANARY, "etcd.password": CANARY, "disco.timeout": CANARY}
    for mode in (["--check"], ["--check", "--json"], ["--graph"]):
        done = disco(simple, *mode, "no-such-program", CANARY)
        assert done.returncode == (78 if wrong else 0)
        assert done.stdout or (wrong and done.stderr)
        assert CANARY not in done.stdout + done.stderr


@pytest.mark.parametrize("argv", [["--json"], ["--json", "--graph"], ["--check", "--graph"], ["--json", "echo"]])
def test_wrong_combinations(simple: Site, argv: list[str]) -> None:
    """--json goes with --check alone, and the two modes exclude each other: status 64."""
    done = disco(simple, *argv)
    assert (done.returncode, done.stdout) == (64, "")


def test_stdout_that_cannot_be_written(simple: Site) -> None:
    """A reader that has gone is no problem, a full disk is one."""
    reader, writer = os.pipe()
    os.close(reader)
    assert simple.run(options=("--check",), stdout=writer).process.returncode == 0
    os.close(writer)
    with open("/dev/full", "w") as full:
        running = simple.run(options=("--graph",), stdout=full)
    assert (running.process.returncode, running.log) == (71, "disco: cannot write to stdout: No space left on device\n")


def test_doubtful_defaults(simple: Site) -> None:
    """A default is doubtful where several sources may give the interface and none says so, or where nothing ever uses it."""
    place = simple.etc / "app.schema"
    place.write_text("properties:\n  a: {default: 1}\n  b: {anyOf: [{default: hidden}]}\n")
    simple.schema("web", {"properties": {"a": {"default": 1}}})
    simple.schema("none", {"properties": {"a": {"default": 1}}})
    simple.rules({"when": "app", "do": "see"}, {"when": "web", "do": "see"})

    def doubts() -> list[tuple[str, str]]:
        _, errors, warnings = check(simple)
        assert not errors
        return [one for one in told(warnings) if "default" in one[1]]

    unused = (f"{place}:3:25", "this default is never used: it is not that of a key below")
    (found,) = doubts()
    assert (found[0], found[1][: len(unused[1])]) == unused
    simple.flat({}, "second.yaml", "second")
    _, *many = doubts()
    assert [(where, what.partition(":")[0]) for where, what in many] == [
        (f"{place}:2:16", "interface app has defaults, and each of flat, second may give it"),
        (f"{simple.etc}/web.schema:1:34", "interface web has defaults, and each of flat, second may give it"),
    ]
    simple.cfg["second.interfaces"] = "app"
    assert [what.split()[1] for _, what in doubts()] == ["default"]
    simple.cfg["disco.defaults"] = "false"
    assert not doubts()


def test_wrong_defaults(simple: Site) -> None:
    """A default that its own schema refuses is an error with its place, without the default; a start refuses the site (78)."""
    place = simple.etc / "app.schema"
    place.write_text("properties:\n  a: {type: integer, default: hidden}\n")
    status, errors, _ = check(simple)
    assert (status, told(errors)) == (
        78,
        [(f"{place}:2:31", "the schema refuses this default: it is text, the schema wants integer")],
    )
    done = disco(simple, "true")
    assert done.returncode == 78
    assert f"{place}:2:31" in done.stderr
    assert "hidden" not in done.stderr
    simple.cfg["disco.defaults"] = "false"
    assert disco(simple, "true").returncode == 0
