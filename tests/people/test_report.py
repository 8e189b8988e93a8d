"""The report: why COMMAND is not started, as people read it; and the colours of the log."""

from __future__ import annotations

import json
import os
import pty
import re
import socket
from typing import TYPE_CHECKING

import pytest
from lab.site import Running, Site

from disco.core import events
from disco.core.ending import Phase
from disco.core.plan import Plan, SourcePlan
from disco.people import report
from disco.wire import messages
from tests.core.world import KNOWN, World, diff, fragment, rule, who

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from disco.site.rules import Rule

QUICK = "import sys; sys.modules['rfc3987_syntax'] = None"  # its grammar takes a second to load, for formats not used here
ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


def world(*rules: Rule, sources: tuple[str, ...] = ("s",), **more: object) -> World:
    """Start on sources that read from /NAME."""
    plans = tuple(SourcePlan(name=name, lease=60.0, required=True, timeout=10.0, place=f"/{name}") for name in sources)
    return World(Plan(interfaces=KNOWN, sources=plans, rules=rules, **more))  # type: ignore[arg-type]


def told(of: World) -> list[str]:
    return list(report.lines(of.life.status()))


def line(of: World, words: str) -> str:
    """Return the one line of the report that holds the words."""
    (found,) = [one for one in told(of) if words in one]
    return found


def give(of: World, source: str, *interfaces: str, first: bool = True) -> None:
    """Let a source say valid data of interfaces."""
    of.hear(source, diff({name: fragment(f"{source} {name} {of.now}") for name in interfaces}, first=first))


def give_unknown(of: World, source: str, *names: str) -> None:
    """Let a source say that it holds only names that no schema knows."""
    of.hear(source, messages.Diff(first=True, changed={}, removed=(), unknown=names, unknown_count=len(names)))


def test_whole_report() -> None:
    """The report says in this order how long it waits, each cause with its rules, each source's state, and what comes next."""
    of = world(rule("r", "db"), rule("q", "web", "db"), rule("p", "web"), sources=("s", "t"), timeout=30.0)
    of.hear("s", diff({"db": fragment("1", "/port is text, the schema wants integer")}, first=True))
    of.wait(3.0)
    expected = (
        r"\S+ is not started yet: .*\b3 s\b.* 3 of 3 rules are not satisfied",
        r"interface db is not valid: /port is text, the schema wants integer .*/s\b.*",
        r"  rules r \(f:1:1\), q \(f:1:1\) wait for .*",
        r"interface web is missing: .*/s\b.*no answer so far from t",
        r"  rules q \(f:1:1\), p \(f:1:1\) wait for .*",
        r"source s: .*last answered 3 s ago.*/s\b.*",
        r"source t: has never answered.*/t\b.*",
        r"disco continues .*\b27 s\b.*disco.timeout.*next report in 2 s",
    )
    for found, pattern in zip(told(of), expected, strict=True):
        assert re.fullmatch(pattern, found), (pattern, found)


# Causes


def test_no_source_has_answered() -> None:
    """While no source has answered, that is the one cause for all rules, with the sources."""
    of = world(rule("r", "db"), rule("q", "web"), sources=("s", "t"))
    assert line(of, "no source has answered so far").endswith("(s, t)")
    assert "rules r (f:1:1), q (f:1:1) wait for" in line(of, "  rule")
    give(of, "s", "other")
    assert "no answer so far from t" in line(of, "interface db is missing")


def test_missing_interface() -> None:
    """An interface that no source has is missing, with the places where disco looked."""
    of = world(rule("r", "db"), sources=("s", "t"))
    give(of, "s", "other")
    give(of, "t")
    found = line(of, "interface db is missing")
    assert re.search(r"/s\b.*/t\b", found)
    assert "no answer" not in found


def test_missing_interface_with_a_look_alike() -> None:
    """A name that looks like the missing interface's is told with its source; other unknown names are not."""
    of = world(rule("r", "mysql"), rule("q", "web"), sources=("s", "t"))
    give_unknown(of, "s", "color", "size")
    give_unknown(of, "t", "mysq1", "size")
    assert "t has mysq1, which has no schema" in line(of, "interface mysql is missing")
    assert "which has no schema" not in line(of, "interface web is missing")
    assert not any("size" in one for one in told(of) if not one.startswith("source "))


def test_hostile_look_alike() -> None:
    """A look-alike's name cannot break the lines of the report."""
    of = world(rule("r", "interface"))
    give_unknown(of, "s", "interface\nCOMMAND is started")
    give_unknown(of, "s", "interface\n\x1b[31m")
    assert "s has interface\\n\\x1b[31m" in line(of, "is missing")


@pytest.mark.parametrize("count", [1, 5, 6, 20])
def test_interface_that_is_not_valid(count: int) -> None:
    """Up to five problems of an interface are told, each with its source; the rest are counted."""
    of = world(rule("r", "db"))
    of.hear("s", diff({"db": fragment("1", *(f"/k{n} is required" for n in range(count)))}, first=True))
    found = [one for one in told(of) if "is not valid" in one]
    for number, one in enumerate(found):
        assert re.fullmatch(rf"interface db is not valid: /k{number} is required .*\bs\b.*", one)
    assert len(found) == min(count, 5)
    more = [one for one in told(of) if "more problem" in one]
    assert more == ([f"interface db: and {count - 5} more problem{'s' * (count > 6)}"] if count > 5 else [])


def test_interface_of_several_sources() -> None:
    """An interface that several sources give is told as being merged, then with the verdict and all of these sources."""
    of = world(rule("r", "db"), sources=("s", "t", "u"))
    of.hear("s", diff({"db": fragment("1", "/port is required")}, first=True))
    of.hear("u", diff({"db": fragment("2", "/host is required")}, first=True))
    assert "is being merged" in told(of)[1]
    of.checked("/port is required")
    assert re.match(r"interface db is not valid: /port is required .*/s\b.*/u\b", told(of)[1])
    assert not re.search(r"/t\b", told(of)[1])


def test_data_that_cannot_be_used() -> None:
    """What a source gave and cannot be merged is told with that source."""
    of = world(rule("r", "db"), sources=("s", "t"))
    of.hear("s", diff({"db": fragment("1", "/port is required")}, first=True))
    unusable = messages.Fragment(digest="x", problems=("/cert is no UTF-8 text",), body=b"")
    of.hear("t", diff({"db": unusable}, first=True))
    assert "t: /cert is no UTF-8 text" in line(of, "interface db is not valid")


def test_change_that_settles() -> None:
    """An interface that has just changed is told so: it is there, and disco waits until it is quiet."""
    of = world(rule("r", "db"), rule("q", "never"), settle=1.0)
    give(of, "s", "db")
    of.ran("runner-1")
    of.wait(2.0)
    give(of, "s", "db", first=False)
    assert "just changed" in told(of)[1]


@pytest.mark.parametrize("limit", [0, 4])
def test_handler_that_fails(limit: int) -> None:
    """A handler that fails is told with how often, when disco gives up, its status and its last line."""
    of = world(rule("r", "db"), fail_limit=limit)
    give(of, "s", "db")
    for _ in range(3):
        of.ran("runner-1", 7, tail=("connecting", "access denied for root"))
        of.wait(0.5)
        found = line(of, "its handler failed")
        of.wait(0.5)
    assert found.startswith("rule r (f:1:1): its handler failed 3 times in a row")
    assert found.endswith("last: exit status 7 (access denied for root)")
    assert bool(re.search(r"\b4\b", found)) == bool(limit), "when disco gives up"


def test_handler_that_fails_by_the_limit_of_its_rule() -> None:
    """The limit that is told is the rule's own, where it has one."""
    of = world(rule("r", "db", fail_limit=7), fail_limit=4)
    give(of, "s", "db")
    of.ran("runner-1", 1)
    assert "failed 1 time in a row (the rule's fail_limit is 7)" in line(of, "its handler failed")


def test_handler_that_refuses_its_data() -> None:
    """It is told with the interfaces, its last line and when it runs again; a failure before that is not, and nor is other data."""
    of = world(rule("r", "db", "web"), rule("q", "db", after=("r",)))
    give(of, "s", "db", "web")
    of.ran("runner-1", 1)
    of.wait(1.0)
    of.ran("runner-1", 65, tail=("connecting", "no host of this name"))
    of.wait(4.0)
    why = "refuses the data of interfaces db, web as wrong: exit status 65 (no host of this name)"
    assert line(of, "refuses") == f"rule r (f:1:1): its handler {why}; it runs again when that changes, or in 6 s"
    assert line(of, "to succeed first") == "rule q (f:1:1) waits for rule r to succeed first"
    assert not any("its handler failed" in one for one in told(of))
    give(of, "s", "web", first=False)
    assert line(of, "which is running").startswith("rule r (f:1:1) waits")
    of.ran("runner-1")
    assert not any("refuses" in one for one in told(of))


def test_handler_that_refuses_its_data_until_the_end() -> None:
    """After disco.timeout nothing says that it runs again after a while."""
    of = world(rule("r", "db"), timeout=5.0)
    give(of, "s", "db")
    of.ran("runner-1", 65)
    of.wait(5.0)
    assert line(of, "refuses the").endswith("exit status 65; it runs again when that changes")


def test_handler_of_a_rule_without_data() -> None:
    """A rule that needs no data does not wait for sources: its own failures are told."""
    of = world(rule("r"))
    of.ran("runner-1", 65, tail=("no disk",))
    assert "rule r (f:1:1): its handler failed 1 time in a row" in line(of, "failed")
    assert not any("no source has answered" in one for one in told(of))


def test_last_line_of_a_handler_is_bounded() -> None:
    """A handler's last line is cut, and cannot break the report's."""
    of = world(rule("r", "db"))
    give(of, "s", "db")
    of.ran("runner-1", -9, tail=("x\n\x1b" + "y" * 10_000,))
    found = line(of, "its handler failed")
    assert "killed by SIGKILL, not by disco: out of memory? (x\\n\\x1byyy" in found
    assert len(found) < 500


def test_handler_that_runs() -> None:
    """Rules whose handlers run are told as one cause."""
    of = world(rule("r", "db"), rule("q", "db"))
    give(of, "s", "db")
    of.wait(1.0)
    assert line(of, "which are running").startswith("rules r (f:1:1), q (f:1:1) wait")
    of.ran("runner-2")
    assert line(of, "which is running").endswith("see disco.handler_timeout)")
    assert line(of, "which is running").startswith("rule r (f:1:1) waits")
    of = world(rule("r", "db", timeout=3.0))
    give(of, "s", "db")
    assert line(of, "which is running").endswith("see the rule's timeout)")


def test_handler_that_the_end_has_stopped() -> None:
    """After the end nothing says that a rule waits for a runner: its handler may have been running until then."""
    of = world(rule("r", "db"), timeout=3.0)
    give(of, "s", "db")
    of.wait(3.0)
    of.ran("runner-1", -15, tail=("",))
    assert report.summary(of.life.status()) == "rule r (f:1:1): all data is there, but no handler has succeeded on it"


def test_handler_that_runs_on_data_that_is_gone() -> None:
    """A handler that still runs is the cause also where its rule is satisfied: the data is again as it was at its success."""
    of = world(rule("r", "db"), sources=("s", "t"))
    of.hear("s", diff({"db": fragment("1")}, first=True))
    of.ran("runner-1")
    of.hear("s", diff({"db": fragment("2")}))
    of.hear("s", diff({"db": fragment("1")}))
    give(of, "t")
    assert (of.life.phase, [*of.busy]) == (Phase.GATHERING, ["runner-1"])
    assert any("rule r" in one and "running" in one for one in told(of))


def test_rule_that_comes_after_others() -> None:
    """A rule whose data is there waits for each of the rules before it that is not satisfied, by name."""
    of = world(rule("last", "db", after=("r", "q", "p")), rule("r", "db"), rule("q", "db"), rule("p", "db"))
    give(of, "s", "db")
    done = next(name for name, run in of.busy.items() if run.rule == "p")
    of.ran(done)
    assert [one for one in told(of) if one.startswith("rule last")] == [
        f"rule last (f:1:1) waits for rule {name} to succeed first" for name in ("r", "q")
    ]


def test_rules_that_wait_for_a_runner() -> None:
    """Rules that only lack a free runner are told so, with how many there are."""
    of = world(rule("r", "db"), rule("q", "db"), rule("p", "db"), workers=1)
    give(of, "s", "db")
    found = line(of, "free runner")
    assert found.startswith("rules q (f:1:1), p (f:1:1) wait")
    assert "disco.workers is 1" in found


# Sources


def test_source_whose_process_cannot_be_started() -> None:
    """A source that could not even be forked is told as not readable since then."""
    of = world(rule("r", "db"))
    of.wait(3.0)
    of.feed(events.ForkFailed(who("s"), "no memory"))
    assert "not readable for 0 ms: its process cannot be started: no memory" in line(of, "source s:")


def test_source_that_cannot_be_read() -> None:
    """A source's trouble is told with since when, why, its last answer and its next try."""
    of = world(rule("r", "db"))
    give(of, "s")
    of.wait(4.0)
    of.hear("s", messages.ReadFailed(reason="cannot connect to 10.0.0.1:8500", retry_in=5.0))
    of.wait(2.0)
    words = r"not readable for 2 s.*cannot connect to 10\.0\.0\.1:8500.*last answered 6 s ago.*next try in 3 s.*/s\b"
    assert re.match(f"source s: {words}", line(of, "source s"))
    of.wait(4.0)
    assert "disco is trying again" in line(of, "source s")


def test_source_with_a_note() -> None:
    """A note of a source is in its line, harmless, until the source takes it back; it is logged when it is new."""
    of = world(rule("r", "db"))
    for _ in range(2):
        of.hear("s", diff()._replace(note="nothing below a/\n" + "x" * 1000))
    assert re.search(r": answers, .*: nothing below a/\\nx+…; .*\(/s\)$", line(of, "source s:"))
    give(of, "s", "db")
    of.hear("s", diff()._replace(note="nothing below a/\n" + "x" * 1000))
    assert re.search(r": ok, .*\(/s\); nothing below a/\\nx+…$", line(of, "source s:"))
    assert [one.partition("x")[0] for one in of.told if "nothing below" in one] == ["source s: nothing below a/\\n"] * 2
    of.hear("s", diff())
    assert "nothing below" not in line(of, "source s:")


def test_source_with_nothing_usable() -> None:
    """A source that answered and has no interface is not ok: what it has instead is told, else what may be wrong."""
    of = world(rule("r", "db"))
    give(of, "s")
    start = "source s: answers, but holds nothing usable: "
    assert re.fullmatch(rf"{start}it is empty \(wrong place or prefix, or no rights\?\); last .* ago \(/s\)", line(of, "source s:"))
    of.hear("s", diff()._replace(unknown=("app", "a\nb"), unknown_count=3))
    names = r"3 names without a schema: app, a\\nb, … \(wrong place or prefix, or no schema\?\)"
    assert re.match(f"{start}{names}; last ", line(of, "source s:"))


def test_missing_interface_of_a_service() -> None:
    """Where a source has the missing interface for its own, its note says why it is missing."""
    of = world(rule("r", "db"), sources=("s", "s/db"))
    of.hear("s", diff()._replace(note="no key below a/"))
    of.hear("s/db", diff()._replace(note="service db has no passing instance"))
    found = line(of, "interface db is missing")
    assert found.endswith("no source has it (s: /s, s/db: /s/db: service db has no passing instance)")


def test_sources_with_nothing_usable_are_told_first() -> None:
    """Of many sources those that hold nothing usable are told one by one."""
    of = world(rule("r", "db"), sources=tuple(f"s{n}" for n in range(40)))
    for n in range(40):
        give(of, f"s{n}", *([] if n == 33 else ["web"]))
    assert [one.split(":")[0] for one in told(of) if one.startswith("source ")] == ["source s33"]
    assert "39 sources ok" in line(of, "sources ok")


def test_source_that_was_emptied() -> None:
    """A source from which everything is gone at once is told, with that disco keeps its data."""
    plan = SourcePlan(name="s", lease=60.0, required=True, timeout=10.0, settle=5.0)
    of = World(Plan(interfaces=KNOWN, sources=(plan,), rules=(rule("r", "db"), rule("q", "web"))))
    give(of, "s", "db")
    of.ran("runner-1")
    of.hear("s", diff(removed=("db",)))
    assert "gone at once; disco keeps it for now" in line(of, "source s")


def test_only_a_source_is_awaited() -> None:
    """When every rule is satisfied, each source is named for whose first answer COMMAND waits, and no other."""
    awaited = [SourcePlan(name=name, lease=60.0, required=name == "t", timeout=10.0) for name in "stu"]
    of = World(Plan(interfaces=KNOWN, sources=tuple(awaited), rules=(rule("r", "db"),)))
    give(of, "s", "db")
    of.ran("runner-1")
    of.hear("t", messages.ReadFailed(reason="refused", retry_in=30.0))
    assert "is not started yet" in told(of)[0]
    assert "every rule is satisfied" in told(of)[0]
    waits = "waits for its first good answer"
    assert [one.split(":")[0] for one in told(of) if waits in one] == ["source t", "source u"]
    of.wait(12.0)
    assert [one.split(":")[0] for one in told(of) if waits in one] == ["source t"]


# Many at once


def test_many_rules_that_wait_for_few_interfaces() -> None:
    """Three hundred rules that wait for two interfaces are told in a handful of lines, some by name and the rest counted."""
    of = world(*(rule(f"r{n}", "db" if n % 3 else "web") for n in range(300)))
    give(of, "s")
    assert len(told(of)) <= 8
    assert "300 of 300 rules" in told(of)[0]
    first, second = (number for number, one in enumerate(told(of)) if " is missing" in one)
    assert "interface db is missing" in told(of)[first], "what most rules wait for comes first"
    named = ", ".join(f"r{n} (f:1:1)" for n in (1, 2, 4, 5, 7))
    assert told(of)[first + 1].startswith(f"  rules {named} and 195 more wait for ")
    assert "and 95 more wait for " in told(of)[second + 1]


@pytest.mark.parametrize(("count", "further"), [(20, None), (21, "1 further cause"), (50, "30 further causes")])
def test_many_causes(count: int, further: str | None) -> None:
    """More causes than the limit are counted, with the rules that wait for them; the sources are told all the same."""
    of = world(*(rule(f"r{n}", f"i{n}") for n in range(count)))
    give(of, "s")
    assert len([one for one in told(of) if " is missing" in one]) == min(count, report.CAUSES_SHOWN)
    rest = [one for one in told(of) if "further cause" in one]
    assert len(rest) == (further is not None)
    assert not rest or f"{further}," in rest[0]
    assert not rest or f"{count - 20} rule" in rest[0]
    assert line(of, "source s")


def test_many_sources() -> None:
    """Of many sources those in trouble are told first, then empty ones, up to a limit; the rest is counted by how they are."""
    of = world(rule("r", "db"), sources=tuple(f"s{n}" for n in range(100)))
    for n in range(60):
        give(of, f"s{n}", *["web"] * (n > 1))
    sources = [one for one in told(of) if "source" in one.partition(":")[0]]
    assert [one.partition(":")[0] for one in sources[:10]] == [f"source s{n}" for n in range(60, 70)]
    assert re.fullmatch(r"… and 32 more sources .*: s70, s71, s72, s73, s74 and 27 more", sources[10])
    assert sources[11:] == ["58 sources ok: s2, s3, s4, s5, s6 and 53 more"]


def test_rule_of_any() -> None:
    """A rule that any one of its interfaces satisfies is told as such, with all of them; one of a single interface is not."""
    of = world(rule("either", "db", "web", any_=True), rule("one", "db", any_=True), rule("both", "db", "web"))
    give(of, "s")
    found = "\n".join(told(of))
    assert re.search(r"\beither \(f:1:1, any of db, web\)", found)
    assert re.search(r"\bone \(f:1:1\)", found)
    assert re.search(r"\bboth \(f:1:1\)", found)


# What comes next


@pytest.mark.parametrize("timeout", [0.0, 8.0])
def test_what_comes_next(timeout: float) -> None:
    """The last line says that disco continues, until when if there is a limit, and when it reports again if that comes before."""
    of = world(rule("r", "db"), timeout=timeout)
    give(of, "s")
    of.wait(2.0)
    assert "continues" in told(of)[-1]
    assert bool(re.search(r"\b6 s\b.*disco\.timeout", told(of)[-1])) == bool(timeout)
    assert told(of)[-1].endswith("next report in 3 s")
    of.wait(3.5)  # the first report is over
    assert told(of)[-1].endswith("next report in 10 s") == (not timeout)


def _time_out(of: World) -> None:
    of.wait(8.0)


def _terminate(of: World) -> None:
    of.feed(events.SignalReceived(15))


def _fail(of: World) -> None:
    give(of, "s", "db")
    of.ran("runner-1", 1, tail=("no such database",))


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        (_time_out, "disco.timeout passed"),
        (_terminate, "SIGTERM"),
        (_fail, "rule r: its handler failed 1 time in a row (disco.fail_limit), last: exit status 1 (no such database)"),
    ],
)
def test_last_words(end: Callable[[World], None], reason: str) -> None:
    """After the end the report starts with the reason, holds what is still missing, and announces nothing more."""
    of = world(rule("r", "db"), rule("q", "web"), timeout=8.0, fail_limit=1)
    give(of, "s")
    end(of)
    assert of.reports
    assert re.search(f" is not started: .*{re.escape(reason)}", told(of)[0])
    assert "interface web is missing" in "\n".join(told(of))
    assert told(of)[-1].startswith("source s: ")
    assert not any(word in one for one in told(of) for word in ("continues", "next report", "not started yet"))


def test_report_while_disco_stops_for_exec() -> None:
    """While disco only waits for what handlers left behind, the report does not say that it waits for changes."""
    of = world(rule("r", "db"), grace=30.0)
    give(of, "s", "db")
    run = of.busy.pop("runner-1")
    ran = messages.RunFinished(task=run.task, status=0, problem="", tail=(), seconds=0.1, children=True)
    of.witness.ended(run, 0, of.now)
    of.stop(events.MessageReceived(who("runner-1"), ran))
    assert not any(words in one for one in told(of) for words in ("continues", "waiting for changes"))


# Whole sites


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[str], Site]]:
    """Make sites by name, which end with the test."""
    made: list[Site] = []

    def make(name: str) -> Site:
        made.append(Site(tmp_path / name))
        return made[-1]

    yield make
    for site in made:
        site.clean_up()


def first_report(running: Running) -> str:
    """Return the lines of the first report, without their heads."""
    running.wait_for(r" is not started(.*\n)+.*source \S+: .*\n(.*continues |disco: )")
    lines = [one.split("] ", 1)[-1] for one in running.log.splitlines()]
    return "\n".join(lines[next(n for n, one in enumerate(lines) if " is not started" in one) :])


def test_broken_sites(start: Callable[[str], Site]) -> None:
    """At the default level the first report names cause, place and remedy of what is commonly wrong."""
    wanted = {"type": "object", "required": ["host"], "properties": {"port": {"type": "integer"}}}
    names = ("missing key", "wrong type", "no backend", "failing handler", "mistyped name")
    sites = {name: start(name) for name in names}
    for site in sites.values():
        site.simple({"host": "h", "port": 1})
        site.schema("app", wanted)
    sites["missing key"].flat({"app": {"port": 1}})
    sites["wrong type"].flat({"app": {"host": "h", "port": "1"}})
    sites["mistyped name"].flat({"apps": {"host": "h"}})
    sites["failing handler"].handler("see", "echo 'cannot write /etc/app.conf' >&2\nexit 1\n")
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # taken, and not listening
        where = f"127.0.0.1:{nobody.getsockname()[1]}"
        del sites["no backend"].cfg["flat.file"]
        sites["no backend"].cfg["consul.host"] = where
        running = {name: site.start(options=(), prologue=QUICK) for name, site in sites.items()}
        found = {name: first_report(one) for name, one in running.items()}
    for name, words in {
        "missing key": "interface app is not valid: /host is required .*FOLDER/flat.yaml",
        "wrong type": "interface app is not valid: /port is text, the schema wants integer .*FOLDER/flat.yaml",
        "no backend": f"no source has answered .*consul(.*\n)*source consul: .*cannot connect to {where}.*has never answered"
        r".*consul\.\*",
        "failing handler": "its handler failed 5 times .*exit status 1 .*cannot write /etc/app.conf",
        "mistyped name": "interface app is missing: .*FOLDER/flat.yaml.*flat has apps, which has no schema",
    }.items():
        for part in (words, "rule app .FOLDER/etc/site.rules:1:12"):
            assert re.search(part.replace("FOLDER", str(sites[name].folder)), found[name]), (name, part, found[name])
    assert running["failing handler"].wait() == 70
    for name in ("missing key", "wrong type", "no backend", "mistyped name"):
        assert re.search("continues .*next report in", found[name])
        assert running[name].process.poll() is None


# Colour


def read_terminal(terminal: int) -> str:
    """Return what is written to a terminal until nobody has it open any more."""
    content = b""
    try:
        while data := os.read(terminal, 1 << 16):
            content += data
    except OSError:  # how Linux says that the other end is closed
        pass
    os.close(terminal)
    return content.decode().replace("\r\n", "\n")


def plain(log: str) -> list[str]:
    """Return the lines without escapes, and without what differs from run to run: times, durations and process ids."""
    return re.sub(r"(?m)^\S+Z |\[\d+\]|[\d.]+ m?s\b", "", ESCAPES.sub("", log)).splitlines()


def test_colour(start: Callable[[str], Site]) -> None:
    """On a terminal lines have colours by level; a pipe, NO_COLOR or TERM=dumb takes the colours away, and nothing else."""
    surroundings: dict[str, tuple[bool, dict[str, str]]] = {
        "terminal": (True, {"TERM": "xterm"}),
        "empty NO_COLOR": (True, {"TERM": "xterm", "NO_COLOR": ""}),
        "NO_COLOR": (True, {"TERM": "xterm", "NO_COLOR": "1"}),
        "dumb": (True, {"TERM": "dumb"}),
        "no TERM": (True, {}),
        "file": (False, {"TERM": "xterm"}),
        "json": (True, {"TERM": "xterm"}),
    }
    running, terminals = {}, {}
    for name, (terminal, environ) in surroundings.items():
        site = start(name)
        site.simple()
        site.environ |= environ
        site.cfg |= {"disco.path": "etc", "flat.file": "flat.yaml"} | ({"disco.log": "json"} if name == "json" else {})
        if terminal:
            terminals[name], theirs = pty.openpty()
            running[name] = site.start("no-such-command", options=(), prologue=QUICK, stderr=theirs)
            os.close(theirs)
        else:
            running[name] = site.start("no-such-command", options=(), prologue=QUICK)
    logs = {name: read_terminal(terminal) for name, terminal in terminals.items()}
    assert [one.wait() for one in running.values()] == [127] * len(running)
    logs["file"] = running["file"].log
    expected = plain(logs["file"].replace("/file/", "/SITE/"))
    assert len(expected) > 5
    for name, log in logs.items():
        assert bool(ESCAPES.search(log)) == (name in {"terminal", "empty NO_COLOR"}), name
        assert "\x1b" not in ESCAPES.sub("", log)
        if name == "json":
            assert [json.loads(one)["level"] for one in log.splitlines() if one.startswith("{")]
        else:
            assert plain(log.replace(f"/{name}/", "/SITE/")) == expected, name
    colours = dict(re.findall(r"\x1b\[([0-9;]+)m(INFO|WARNING) *\x1b\[0m ", logs["terminal"]))
    assert sorted(colours.values()) == ["INFO", "WARNING"], "each level has a colour of its own, and it ends"


def test_json_log_to_its_end(start: Callable[[str], Site]) -> None:
    """With disco.log=json the last words of a COMMAND that is not there are an object like all others."""
    site = start("json")
    site.simple()
    site.cfg["disco.log"] = "json"
    running = site.run("no-such-command", options=(), prologue=QUICK)
    assert running.process.returncode == 127
    assert [one for one in running.log.splitlines() if not one.startswith("{")] == []
    assert "no-such-command is not found" in json.loads(running.log.splitlines()[-1])["message"]


def test_frozen_data() -> None:
    """Where data keeps changing until it is frozen the report says so, and what has changed since."""
    of = world(rule("r", "db"))
    give(of, "s", "db")
    while not of.life.core.schedule.freeze.rule:
        of.now += 1.0
        give(of, "s", "db", first=False)
        of.ran("runner-1")
    of.now += 1.0
    give(of, "s", "db", first=False)
    assert "that of rule r keeps changing: disco uses new data if a handler fails (db changed meanwhile)" in line(of, "frozen")
