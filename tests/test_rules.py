"""What a rule says of its runs, with real handlers: its own limits, no data at all, and data that its handler refuses."""

from __future__ import annotations

import json
import signal
import time
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from lab.waiting import eventually

from disco.errors import ExitStatus

if TYPE_CHECKING:
    from lab.site import Site

STAMP = 'date +%s.%N >> "$OUT/stamps"\n'
REFUSE = 'cat > "$OUT/input"; grep -q good "$OUT/input" || { echo no host of this name >&2; exit 65; }\n'


def stamps(site: Site) -> list[float]:
    """Return when a handler ran."""
    return [float(line) for line in site.read("stamps").split()]


# Limits


def test_the_timeout_of_a_rule(site: Site) -> None:
    """A rule's timeout ends its run, and wins over disco.handler_timeout: also where that would be longer, or shorter."""
    site.simple()
    site.handler("slow", "sleep 100\n")
    site.handler("quick", f"sleep 0.5\n{STAMP}")
    site.cfg["disco.handler_timeout"] = "0.2"
    site.rules(
        {"when": "app", "do": "quick", "name": "quick", "timeout": 60},
        {"when": "app", "do": "slow", "name": "slow", "timeout": "300ms", "fail_limit": 1, "after": "quick"},
    )
    running = site.run()
    assert running.process.returncode == ExitStatus.HANDLER
    assert len(stamps(site)) == 1
    assert "rule slow: handler" in running.log
    assert "killed: it ran longer than 0.3 s (the rule's timeout)" in running.log


def test_the_fail_limit_of_a_rule(site: Site) -> None:
    """After so many failures of its own disco gives up, and the last line says whose limit that was."""
    site.simple()
    site.handler("bad", f"{STAMP}exit 3\n")
    site.cfg["disco.fail_limit"] = "50"
    site.rules({"when": "app", "do": "bad", "name": "bad", "fail_limit": "2"})
    running = site.run()
    assert running.process.returncode == ExitStatus.HANDLER
    assert len(stamps(site)) == 2
    assert "rule bad: its handler failed 2 times in a row (the rule's fail_limit), last: exit status 3" in running.log


def test_a_rule_without_a_fail_limit(site: Site) -> None:
    """With fail_limit 0 a rule may fail for ever, whatever disco.fail_limit says."""
    site.simple()
    site.handler("bad", f'{STAMP}[ $(wc -l < "$OUT/stamps") -gt 4 ]\n')
    site.cfg["disco.fail_limit"] = "2"
    site.rules({"when": "app", "do": "bad", "fail_limit": 0})
    assert site.run().process.returncode == 0
    assert len(stamps(site)) == 5


def test_the_pauses_of_a_rule(site: Site) -> None:
    """The pause after a failure doubles from the first one to the longest, and the log says how long the next one is."""
    site.simple()
    site.handler("bad", f"{STAMP}exit 1\n")
    site.cfg["disco.interval"] = "30"
    site.rules({"when": "app", "do": "bad", "name": "bad", "retry": "0.1..0.3", "fail_limit": 5})
    running = site.run()
    assert running.process.returncode == ExitStatus.HANDLER
    pauses = [after - before for before, after in pairwise(stamps(site))]
    assert len(pauses) == 4
    assert all(pause >= least for pause, least in zip(pauses, (0.1, 0.2, 0.3, 0.3), strict=True)), pauses
    for number, pause in enumerate(("100 ms", "200 ms", "300 ms", "300 ms")):
        assert f"(failure {number + 1} of 5, next try in {pause})" in running.log


# No data


def test_a_rule_without_when(site: Site) -> None:
    """It runs once, on `{}`, before any source has answered; its variables name no interface."""
    site.simple()
    site.handler("prepare", 'cat > "$OUT/input"; printenv DISCO_INTERFACES > "$OUT/interfaces"; echo run >> "$OUT/prepared"\n')
    site.rules({"do": "prepare", "name": "prepare"}, {"when": "app", "do": "see", "after": "prepare"})
    data = site.flat("")  # no mapping: the source cannot be read
    running = site.start()
    running.wait_for("rule prepare: handler succeeded")
    assert site.seen() == []
    data.write_text('{"app": {"a": 1}}')
    assert running.wait() == 0, running.log
    assert (site.read("input"), site.read("interfaces"), site.read("prepared")) == ("{}\n", "\n", "run\n")
    assert site.seen() == [{"app": {"a": 1}}]
    assert "rule prepare: running /" in running.log


def test_rules_that_need_no_source(site: Site) -> None:
    """Where no rule needs data there need be no source: the rules run at once, in their order, and COMMAND starts."""
    site.handler("one", 'echo one >> "$OUT/order"\n')
    site.handler("two", 'echo two >> "$OUT/order"\n')
    site.rules({"do": "two", "name": "two", "after": "one"}, {"do": "one", "name": "one"})
    running = site.run(options=())  # what children log would be an event
    assert (running.process.returncode, running.output) == (0, "done\n"), running.log
    assert site.read("order") == "one\ntwo\n"
    assert "2 rules, 0 sources\n" in running.log
    assert "is not started yet" not in running.log


# Exit status 65


@pytest.fixture
def picky(site: Site) -> Site:
    """Give a site whose handler refuses data that is not good, and where one failure would be too many."""
    site.schema("app")
    site.handler("picky", STAMP + REFUSE)
    site.rules({"when": "app", "do": "picky", "name": "picky", "fail_limit": 1})
    site.flat({"app": {"host": "bad"}})
    return site


def test_other_data_is_tried_at_once(picky: Site) -> None:
    """Refused data is no failure, and is not tried again at once; other data is, and COMMAND starts on what is good."""
    running = picky.start()
    running.wait_for("rule picky: .*refuses the data of app .*, or in 10 s")
    began = time.monotonic()
    for number in range(3):
        picky.flat({"app": {"host": f"worse {number}"}})
        eventually(lambda: running.log.count("refuses the data of app") == number + 2, "the next refusal")  # noqa: B023 -- in this turn
    picky.flat({"app": {"host": "good"}})
    assert running.wait() == 0, running.log
    if time.monotonic() - began < 10:  # else a pause was over
        assert len(stamps(picky)) == 5
    assert json.loads(picky.read("input")) == {"app": {"host": "good"}}
    assert "next try" not in running.log


def test_the_report_on_refused_data(picky: Site) -> None:
    """It names the rule, says that the handler refuses the data of which interface, its last line, and when it runs again."""
    running = picky.start()
    running.wait_for("refuses the data")
    running.report_until("no host of this name);")
    [line] = [line for line in running.log.splitlines() if "no host of this name);" in line][:1]
    assert "rule picky (" in line
    assert "its handler refuses the data of interface app as wrong: exit status 65 (no host of this name)" in line
    assert "it runs again when that changes, or in " in line
    running.send(signal.SIGTERM)
    assert running.wait() == ExitStatus.SIGNALLED + signal.SIGTERM
    assert "bad" not in running.log.replace("bad.rules", "")


def test_refused_data_at_the_timeout(picky: Site) -> None:
    """When disco.timeout passes the status is 75, and the reason names the rule and says that its handler refuses the data."""
    picky.cfg["disco.timeout"] = "2"
    running = picky.run()
    assert running.process.returncode == ExitStatus.TIMEOUT
    why = "disco.timeout passed, and the handler of rule picky refuses its data: exit status 65 (no host of this name)"
    assert running.log.splitlines()[-1] == f"disco: {why}; echo was not started (exit status 75)"
    assert len(stamps(picky)) == 1


def test_status_65_without_data(site: Site) -> None:
    """Where a rule gets no data there is none to refuse: the status is a failure like any other."""
    site.handler("bad", "exit 65\n")
    site.rules({"do": "bad", "name": "bad", "fail_limit": 2})
    running = site.run()
    assert running.process.returncode == ExitStatus.HANDLER
    assert "failed 2 times in a row (the rule's fail_limit), last: exit status 65" in running.log
