"""What --dry-run tells of a site, as a real process on real files: nothing is run, nothing is executed, no value is told."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from lab.processes import processes
from lab.site import Site, disco_command
from lab.waiting import eventually

from disco.people.dry_run import DEFAULTS_SHOWN, LEAVES_SHOWN

if TYPE_CHECKING:
    from collections.abc import Iterator

QUICK = "import sys; sys.modules['rfc3987_syntax'] = None"  # its grammar takes a second to load, for formats not used here
NEVER = "1h"  # a disco.timeout that no test waits for


@contextmanager
def begin(site: Site, *argv: str) -> Iterator[subprocess.Popen[str]]:
    """Start disco with these arguments, without any of the lab's own; at the end it is gone."""
    plug_ins = f"sys.path.append({str(site.folder / 'plug-ins')!r})"
    start = [sys.executable, "-c", f"{QUICK}; {plug_ins}; from disco.cli import main; main()"]
    with subprocess.Popen(
        [*start, *argv],
        env=site.environ | {"DISCO_CFG": site.cfg_line()},
        cwd=site.folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as run:
        try:
            yield run
        finally:
            run.kill()


def finish(run: subprocess.Popen[str], patience: float = 60.0) -> tuple[int, str, str]:
    """Return a run's status, stdout and stderr."""
    answer, complaint = run.communicate(timeout=patience)
    return run.returncode, answer, complaint


def dry(site: Site, *command: str, patience: float = 60.0) -> tuple[int, str, dict[str, Any]]:
    """Return the status of --dry-run, its text and its JSON, which say the same; nothing is on stderr, and nothing is left."""
    with begin(site, "--dry-run", *command) as first, begin(site, "--dry-run", "--json", *command) as second:
        status, text, complaint = finish(first, patience)
        same_status, answer, no_complaint = finish(second, patience)
    assert (complaint, no_complaint) == ("", "")
    assert status == same_status
    assert answer.count("\n") == 1
    assert not processes(f"OUT={site.folder}")
    told = json.loads(answer)
    assert_same(text, told)
    return status, text, told


def assert_same(text: str, told: dict[str, Any]) -> None:
    """Compare the text with what JSON's answer amounts to; only ages and delays of sources are in the text alone."""
    lines = text.splitlines()
    expected: list[str] = []
    for source in told["sources"]:
        health = lines[len(expected)]
        assert health.startswith(f"source {source['name']}: ")
        assert ("has never answered" in health) == (not source["answered"])
        assert source["trouble"] in health
        assert source["trouble"] or (source["place"] in health and source["note"] in health)
        expected.append(health)
        assert ("answers, but" in health) == (source["answered"] and not source["interfaces"])
        for name, one in source["interfaces"].items():
            leaves = [f"    {leaf} {type_}" for leaf, type_ in one["leaves"].items()]
            count = f"{len(leaves)} value{'s' * (len(leaves) != 1)}" if leaves else "no data that can be used"
            rest = [f"    … and {len(leaves) - LEAVES_SHOWN} more"] if len(leaves) > LEAVES_SHOWN else []
            expected += [f"  {name}: {count}", *leaves[:LEAVES_SHOWN], *rest]
        if source["unknown_count"] and source["interfaces"]:
            count = f"{source['unknown_count']} name{'s' * (source['unknown_count'] != 1)}"
            more = ", …" if source["unknown_count"] > len(source["unknown"]) else ""
            expected.append(f"  {count} without a schema, ignored: {', '.join(source['unknown'])}{more}")
    for one in told["interfaces"]:
        assert one["valid"] == (not one["reasons"])
        if one["valid"]:
            givers = ", ".join(source["name"] for source in told["sources"] if one["name"] in source["interfaces"])
            assert re.search(rf"^interface {one['name']} is valid \(.*{givers}", lines[len(expected)])
        expected += [lines[len(expected)]] if one["valid"] else one["reasons"]
        if filled := one["defaults"]:
            expected.append(f"  filled in by default: {', '.join(filled[:DEFAULTS_SHOWN])}{', …' * (len(filled) > DEFAULTS_SHOWN)}")
    for rule in told["rules"]:
        start = f"rule {rule['name']} ({rule['where']}) would "
        line = lines[len(expected)]
        assert line.startswith(start + ("run " if rule["would_run"] else "not run ") + rule["handler"])
        names = [*rule["interfaces"], *rule["after"], *rule["export"][:10]] if rule["would_run"] else rule["waits_for"]
        assert all(name in line for name in names)
        expected.append(line)
    line = lines[len(expected)]
    assert re.search(" would be executed" if told["exec"] else " would not be executed", line)
    assert line.endswith(told["reason"])
    expected.append(line)
    if told["command"] and not told["command"]["found"]:
        line = lines[len(expected)]
        assert f"{told['command']['name']} is not found" in line
        expected.append(line)
    assert lines == expected


def rules_of(told: dict[str, Any]) -> dict[str, Any]:
    return {rule["name"]: rule for rule in told["rules"]}


def test_site_in_order(site: Site) -> None:
    """It tells what the source gave, by name and type, and what would run; nothing is run, executed or left, no value is told."""
    values = {"text": "secret-1", "whole": 4711471147, "part": 0.4711, "yes": True, "none": None}
    site.simple({**values, "list": ["secret-2", "secret-3"], "deep": {"er": {"key": "secret-4"}}, "empty": {}, "bare": []})
    site.handler("see", f"touch {site.folder}/handled\n")
    site.cfg["disco.report_file"] = str(site.folder / "report")
    status, text, told = dry(site, "touch", str(site.folder / "ran"))
    assert status == 0
    (source,) = told["sources"]
    assert (source["name"], source["place"], source["answered"]) == ("flat", site.cfg["flat.file"], True)
    assert source["interfaces"]["app"]["leaves"] == {
        "/text": "string",
        "/whole": "integer",
        "/part": "number",
        "/yes": "boolean",
        "/none": "null",
        "/list/*": "string",
        "/deep/er/key": "string",
        "/empty": "object",
        "/bare": "array",
    }
    assert (told["exec"], told["command"]) == (True, {"name": "touch", "found": True})
    assert rules_of(told)["app"]["interfaces"] == ["app"]
    assert not any(value in text + json.dumps(told) for value in ("secret-", "4711"))
    assert not [name for name in ("ran", "handled", "report") if (site.folder / name).exists()]


def test_answer_beside_the_log(site: Site) -> None:
    """The installed command's stdout holds nothing but the answer, its log is on stderr; what follows COMMAND is COMMAND's."""
    site.simple()
    site.cfg["disco.log"] = "json"
    environ = site.environ | {"DISCO_CFG": site.cfg_line()}
    argv = [*disco_command(), "--json", "-l", "debug", "--dry-run", "--", "echo", "--check"]
    done = subprocess.run(argv, env=environ, capture_output=True, text=True, timeout=60, check=True)
    assert json.loads(done.stdout)["command"] == {"name": "echo", "found": True}
    assert any(json.loads(line)["message"] == "source flat: first answer" for line in done.stderr.splitlines())


def test_data_that_is_wrong(site: Site) -> None:
    """Where data is missing or wrong the reasons are told with the source, and the status is 75."""
    site.simple()
    site.schema("app", {"required": ["host"], "properties": {"port": {"type": "integer"}}})
    site.schema("other")
    site.schema("list")
    site.flat({"app": {"port": "8080", "hidden": "secret-1"}, "list": ["secret-3"]})
    site.rules({"when": "app", "do": "see secret-2", "name": "one"}, {"when": "app,other", "do": "see", "name": "two"})
    status, text, told = dry(site)
    assert told["command"] is None
    assert (status, told["exec"], told["reason"]) == (75, False, "2 rules would wait for data")
    reasons = {one["name"]: "\n".join(one["reasons"]) for one in told["interfaces"]}
    assert "interface app is not valid: /host is required (" in reasons["app"]
    assert "interface app is not valid: /port is text, the schema wants integer (" in reasons["app"]
    assert "interface other is missing: " in reasons["other"]
    assert all(site.cfg["flat.file"] in reasons[name] for name in ("app", "other"))
    assert {name: rule["waits_for"] for name, rule in rules_of(told).items()} == {"one": ["app"], "two": ["app", "other"]}
    assert "would not run see: it waits for app, other" in text
    assert "list: no data that can be used" in text
    assert told["sources"][0]["interfaces"]["list"] == {"leaves": {}, "problems": ["the interface is not a mapping"]}
    assert "secret" not in text + json.dumps(told)


def test_names(site: Site) -> None:
    """Names that no schema knows are told, and the one that looks like a missing interface; no name can break or fill a line."""
    site.simple()
    site.schema("web")
    odd = {"a\nb\x1b[31m": 1, "k" * 10_000: 1, "sl/ash": 1}
    site.flat({"apps": {"a": 1}, "web": odd, "un\nknown": 1, "u" * 10_000: 1, **{f"x{n:02}": 1 for n in range(30)}})
    status, text, told = dry(site)
    assert status == 75
    (source,) = told["sources"]
    assert (source["unknown_count"], source["unknown"][:2]) == (33, ["apps", "un\\nknown"])
    assert "flat has apps, which has no schema" in text
    assert "    /a\\nb\\x1b[31m integer\n" in text
    assert "    /sl~1ash integer\n" in text
    assert max(map(len, text.splitlines())) < 500


def test_two_sources_that_are_merged(site: Site) -> None:
    """An interface that two sources give is merged and judged as a whole; the leaves are told of each source."""
    site.simple()
    for name in ("good", "bad"):
        site.schema(name, {"required": ["host", "port"], "properties": {"port": {"type": "integer"}}})
    site.rules({"when": "good", "do": "see"}, {"when": "bad", "do": "see"})
    site.flat({"good": {"host": "h"}, "bad": {"host": "h"}})
    site.flat({"good": {"port": 1}, "bad": {"port": "x"}}, "more.yaml", "more")
    status, text, told = dry(site, "echo")
    assert (status, told["reason"]) == (75, "1 rule would wait for data")
    assert [one["interfaces"]["good"]["leaves"] for one in told["sources"]] == [{"/host": "string"}, {"/port": "integer"}]
    assert "interface good is valid (from flat, more)" in text
    (reason,) = [reason for one in told["interfaces"] for reason in one["reasons"]]
    assert re.match(r"interface bad is not valid: /port is text, the schema wants integer .*\bflat\b.*\bmore\b", reason)


def test_any_and_after(site: Site) -> None:
    """A rule of `any` would run on those of its interfaces that are valid, or waits for any of them; `after` is told."""
    for name in ("db", "web", "mail"):
        site.schema(name)
    site.simple()
    site.rules(
        {"when": "any:app,db", "do": "see", "name": "some", "after": ["one"]},
        {"when": "any:web,mail", "do": "see", "name": "none"},
        {"when": "app,db", "do": "see", "name": "all"},
        {"when": "app", "do": "see", "name": "one"},
    )
    status, text, told = dry(site, "echo")
    rules = rules_of(told)
    assert (status, told["reason"]) == (75, "2 rules would wait for data")
    assert (rules["some"]["would_run"], rules["some"]["interfaces"], rules["some"]["after"]) == (True, ["app"], ["one"])
    assert (rules["none"]["would_run"], rules["none"]["waits_for"]) == (False, ["web", "mail"])
    assert (rules["all"]["would_run"], rules["all"]["waits_for"]) == (False, ["db"])
    assert "would run see on app, after one" in text
    assert "it waits for any of web, mail" in text


def test_exports(site: Site) -> None:
    """The variables that a rule may set for COMMAND are told by the names in its `export`; of very many some, and JSON has all."""
    site.simple()
    many = [f"V{number}" for number in range(11)]
    site.rules({"when": "app", "do": "see", "name": "few", "export": "DB_*,URL"}, {"when": "app", "do": "see", "export": many})
    _, text, told = dry(site, "echo")
    assert "would run see on app; it may set DB_*, URL for echo\n" in text
    assert "V8, V9, … for echo\n" in text
    assert [rule["export"] for rule in told["rules"]] == [["DB_*", "URL"], many]


def test_a_rule_without_data(site: Site) -> None:
    """It would run once, whatever the sources hold, and needs none."""
    site.handler("see")
    site.rules({"do": "see", "name": "once"})
    status, text, told = dry(site)
    assert status == 0
    assert f"rule once ({site.etc}/site.rules:1:12) would run see once, without data\n" in text
    assert (rules_of(told)["once"]["would_run"], rules_of(told)["once"]["interfaces"]) == (True, [])


def test_after_a_rule_that_would_wait(site: Site) -> None:
    """A rule after one that would not run would not run either."""
    site.simple()
    site.schema("db")
    site.rules({"when": "app", "do": "see", "name": "late", "after": ["early"]}, {"when": "db", "do": "see", "name": "early"})
    status, text, told = dry(site, "echo")
    assert status == 75
    assert "(from flat)" in text
    assert {name: rule["would_run"] for name, rule in rules_of(told).items()} == {"late": False, "early": False}


def test_source_that_never_answers(site: Site) -> None:
    """A required source without an answer within disco.timeout is status 69, with its reason; what the others gave is told."""
    site.simple()
    site.flat({}, "gone.yaml", "gone").unlink()
    site.cfg["disco.timeout"] = "300ms"
    status, text, told = dry(site, "echo")
    assert (status, told["exec"]) == (69, False)
    assert told["reason"].startswith("no good answer came from gone (")
    assert [one["answered"] for one in told["sources"]] == [True, False]
    assert f"{site.folder}/gone.yaml: No such file or directory" in told["sources"][1]["trouble"]
    assert "interface app is valid (from flat); gone may change it, and did not answer so far\n" in text
    assert told["interfaces"][0]["may_change"] == ["gone"]
    site.cfg["gone.interfaces"] = "other"
    _, text, told = dry(site, "echo")
    assert "interface app is valid (from flat)\n" in text
    assert told["interfaces"][0]["may_change"] == []


def test_source_with_a_note(site: Site) -> None:
    """What a source wants people to know is told with it."""
    site.simple()
    site.plug_in("context.note('nothing below a/, but 2 keys below b/')\nyield {}\ntime.sleep(60)")
    _, text, told = dry(site, "echo")
    assert [one["note"] for one in told["sources"]] == ["", "nothing below a/, but 2 keys below b/"]
    assert ": answers, but holds nothing usable: nothing below a/, but 2 keys below b/; " in text


def test_source_that_need_not_answer(site: Site) -> None:
    """A silent source with required=false is told, and changes nothing."""
    site.simple()
    site.flat({}, "gone.yaml", "gone").unlink()
    site.cfg |= {"disco.timeout": "300ms", "gone.required": "false"}
    status, text, told = dry(site, "echo")
    assert (status, told["exec"]) == (0, True)
    assert "source gone: not readable" in text


def test_many_leaves(site: Site) -> None:
    """Of more than 100 leaves the text tells 100 and counts the rest; JSON holds them all."""
    site.simple({f"k{n:03}": "v" for n in range(250)})
    _, text, told = dry(site, "echo")
    assert len(told["sources"][0]["interfaces"]["app"]["leaves"]) == 250
    assert [line for line in text.splitlines() if "more" in line] == ["    … and 150 more"]
    assert len([line for line in text.splitlines() if line.startswith("    /k")]) == 100


def test_list_of_several_types(site: Site) -> None:
    """Items of a list are told as one, with all of their types."""
    site.simple({"list": [1, "a", {"b": 1}, None]})
    _, _, told = dry(site)
    leaves = told["sources"][0]["interfaces"]["app"]["leaves"]
    assert leaves["/list/*/b"] == "integer"
    assert all(type_ in leaves["/list/*"] for type_ in ("integer", "string", "null"))


# The end


def test_signal_while_it_waits(site: Site) -> None:
    """A signal that comes while it waits for a source ends it with 128+N and without an answer."""
    site.simple()
    site.cfg |= {"flat.file": str(site.folder / "gone.yaml"), "disco.timeout": NEVER}
    running = site.start(options=("-l", "info", "--dry-run"), prologue=QUICK)
    running.wait_for("No such file")
    running.send(signal.SIGTERM)
    assert running.wait() == 128 + signal.SIGTERM
    assert running.output == ""
    assert "SIGTERM" in running.log.splitlines()[-1]


def test_source_that_hangs(site: Site) -> None:
    """A source that hangs, and what it started, are gone when --dry-run ends."""
    site.simple()
    site.plug_in("subprocess.Popen(['sleep', '1000'])\nopen(os.environ['OUT'] + '/up', 'w').close()\ntime.sleep(1000)\nyield {}\n")
    site.cfg |= {"odd.timeout": "100s", "disco.timeout": NEVER}
    with begin(site, "--dry-run", "--json") as run:
        eventually((site.folder / "up").exists)
        assert len(processes(f"OUT={site.folder}")) > 3
        run.send_signal(signal.SIGTERM)
        status, answer, complaint = finish(run)
    assert (status, answer) == (128 + signal.SIGTERM, "")
    assert "SIGTERM" in complaint
    assert not processes(f"OUT={site.folder}")


def test_wrong_configuration(site: Site) -> None:
    """What start-up refuses is on stderr, with status 78; stdout stays empty."""
    site.simple()
    site.cfg["disco.worker"] = "1"
    site.rules({"when": "ap", "do": "see"})
    for argv in (["--dry-run"], ["--dry-run", "--json", "echo"]):
        with begin(site, *argv) as run:
            status, answer, complaint = finish(run)
        assert (status, answer) == (78, "")
        assert "did you mean disco.workers?" in complaint
        assert "did you mean app?" in complaint


def test_wrong_command_line(site: Site) -> None:
    """Two modes at once, --json without a mode and unknown options are status 64, with a hint; stdout stays empty."""
    for argv in (
        ["--dry-run", "--check"],
        ["--graph", "--dry-run", "echo"],
        ["--json", "echo"],
        ["--dry-run=x"],
        ["--dry-run", "--jsn"],
    ):
        with begin(site, *argv) as run:
            status, answer, complaint = finish(run)
        assert (status, answer) == (64, ""), argv
        assert "'disco -h' shows how it is used" in complaint


def test_command_that_is_not_there(site: Site) -> None:
    """A COMMAND that is not there is told, and no error: a handler may bring it; its arguments are not told."""
    site.simple()
    status, text, told = dry(site, "no-such-command", "secret-1")
    assert (status, told["command"]) == (0, {"name": "no-such-command", "found": False})
    assert "COMMAND no-such-command is not found" in text.splitlines()[-1]
    assert "secret" not in text + json.dumps(told)


# No rules


def test_no_rules(site: Site) -> None:
    """Without rules the sources are told all the same, and COMMAND would be executed."""
    site.cfg["disco.rules"] = "optional"
    site.schema("app")
    site.flat({"app": {"a": 1}})
    status, text, told = dry(site, "echo")
    assert (status, told["exec"], told["rules"]) == (0, True, [])
    assert "interface app is valid (from flat)" in text


def test_no_rules_and_no_source(site: Site) -> None:
    """Without rules and sources there is nothing to wait for."""
    site.cfg["disco.rules"] = "optional"
    site.cfg["disco.timeout"] = NEVER
    status, _, told = dry(site, "echo", patience=10)
    assert (status, told["exec"], told["sources"]) == (0, True, [])


def test_no_rules_and_a_source_that_never_answers(site: Site) -> None:
    """Without rules disco executes COMMAND at once, whatever the sources do: --dry-run says so."""
    site.cfg["disco.rules"] = "optional"
    site.cfg |= {"flat.file": str(site.folder / "gone.yaml"), "disco.timeout": "300ms"}
    assert site.run(options=(), prologue=QUICK).output == "done\n"
    status, _, told = dry(site, "echo")
    assert (status, told["exec"]) == (0, True)


def test_a_reader_that_hangs(site: Site) -> None:
    """Who does not read the answer does not keep disco from being stopped."""
    site.simple({f"a key that is long enough {n}": n for n in range(5000)})
    reader, writer = os.pipe()
    running = site.start("echo", options=("--dry-run", "--json"), stdout=writer)
    os.close(writer)
    eventually(lambda: select.select([reader], [], [], 0)[0], "the answer's beginning")
    running.send(signal.SIGTERM)
    assert running.wait() == 128 + signal.SIGTERM
    os.close(reader)


def test_a_source_is_named_once(site: Site) -> None:
    """Where one source alone gives what cannot be used its name is told once, with its place."""
    site.simple()
    path = site.flat({"app": ["no", "mapping"]})
    _, text, _ = dry(site, "echo")
    assert f"interface app is not valid: the interface is not a mapping (flat: {path})" in text.splitlines()


def test_nothing_of_a_terminal_s_language(site: Site) -> None:
    """What a source or a name says reaches no terminal raw: neither escapes, nor bells, nor lines of its own."""
    site.simple()
    (site.etc / "site.rules").rename(site.etc / "a\x1b[31m\x07\nFORGED.rules")
    site.flat({"app": {}}, "b\x1b[31m\x07\nFORGED.yaml")
    site.plug_in(
        "if context.name == 'odd':\n"
        "    raise SourceError('a\\x1b[31m\\x07b\\nFORGED')\n"
        "yield {'app': {'k\\x1b]0;x\\x07\\nFORGED': 1}, 'un\\x1bknown\\nFORGED': {}}\n"
    )
    site.cfg |= {"other.type": "odd", "odd.required": "no", "odd.timeout": "1s"}
    with begin(site, "--dry-run", "echo") as run:
        status, text, _ = finish(run)
    assert status == 0
    assert text.count("FORGED") > 2
    assert not any(line.startswith("FORGED") for line in text.splitlines())
    assert not set("\x1b\x07") & set(text)


def test_what_defaults_fill_in_is_told(site: Site) -> None:
    """The keys that defaults fill in are told, of one source as of a merge, and neither a default nor a value; items are one."""
    filled = {"properties": {"a": {"default": "hidden-1"}, "b": {"default": "hidden-2"}}}
    lists = {"properties": {"l": {"items": filled, "default": [{}]}}}
    names = {f"k{number:02}": {"default": "hidden-3"} for number in range(DEFAULTS_SHOWN + 5)}
    site.schema("one", filled)
    site.schema("two", {"allOf": [filled, lists], "properties": {"m": {"default": {}, **filled}}})
    site.schema("many", {"properties": names})
    site.schema("bad", {**filled, "required": ["c"]})
    site.rules({"when": "one, two, many", "do": "see"}, {"when": "bad", "do": "see"})
    site.handler("see")
    site.flat({"one": {"a": "secret"}, "two": {"a": "secret", "l": [{}, {}]}, "many": {}, "bad": {}})
    site.flat({"two": {"b": "secret"}}, "second.yaml", "second")
    _, text, told = dry(site)
    defaults = {one["name"]: one["defaults"] for one in told["interfaces"]}
    assert defaults == {
        "one": ["/b"],
        "two": ["/l/*/a", "/l/*/b", "/m"],
        "many": [f"/{name}" for name in names],
        "bad": [],
    }
    assert not any(word in text + json.dumps(told) for word in ("hidden", "secret"))
    site.cfg["disco.defaults"] = "false"
    _, text, told = dry(site)
    assert not any(one["defaults"] for one in told["interfaces"])
    assert "by default" not in text
