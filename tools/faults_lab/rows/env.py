"""The rows of the environment: what a container may be started with. Nothing of it changes, so each row is a trial."""

from __future__ import annotations

import re
import signal
from itertools import islice, product
from string import ascii_uppercase, digits
from typing import TYPE_CHECKING, Any

from faults_lab.disco import MEMORY, SECRET, read_seen
from faults_lab.row import Trial

if TYPE_CHECKING:
    from lab.site import Running

    from faults_lab.bench import Bench
    from faults_lab.row import Make

CHANGES = 3  # of the healthy source; the handler's shell alone needs seconds for each where the environment is very large
MANY = 100_000  # more than the limit with the one below; with short names and no values the kernel takes as many by default
NO_TEXT = "\udcff"  # stands for a byte that is no UTF-8
EXPLODING = {"patternProperties": {"^(a+)+$": {"type": "object"}}}


def list_faults() -> dict[str, Make]:
    """Return what makes each row, by its fault."""
    names = ("".join(letters) for letters in product(digits + ascii_uppercase, repeat=4))
    many = {f"E{name}": "" for name in islice(names, MANY)}
    of_one, of_all = {"interface": "odd"}, {"prefix": "E_"}
    exploding = f"E_ODD__{'a' * 40}!__KEY"
    return {
        "100,000 variables of one interface": _row(many, of_one, "more than 100000 keys"),
        "100,000 variables without a schema": _row(
            {f"E_{name[1:]}": "" for name in islice(many, MANY * 9 // 10)}, of_all, "90000 names without a schema"
        ),
        "a value of 128 KiB": _row({"E_ODD__N": SECRET * 9_000}, of_all, "source env: first answer"),
        "values and names that are no text": _row(
            {"E_ODD__N": NO_TEXT + SECRET, f"E_ODD__{NO_TEXT}": SECRET, f"E_{NO_TEXT}__N": SECRET},
            of_all,
            "interface odd is not valid: .* no UTF-8 text",
        ),
        "a name of 30,000 parts": _row({"E_ODD" + "__N" * 30_000: SECRET}, of_all, "interface odd is not valid: .* deeper than 64"),
        "a schema's pattern explodes on a name": _row(
            {exploding: SECRET}, of_all, "source env: .*no complete answer within", EXPLODING
        ),
    }


def _row(environ: dict[str, str], options: dict[str, str], fact: str, schema: dict[str, Any] | None = None) -> Make:
    """Return what makes a row with these variables and options of the source; fact: what the log or the report says of them."""

    def make(bench: Bench) -> Trial:
        site = bench.site()
        site.schema("app")
        site.schema("odd", schema)
        site.rules({"when": "app", "do": "other"}, {"when": "any:odd,end", "do": "see"})
        settings = {"prefix": "E", "required": "no", "timeout": "2", "memory": f"{MEMORY}M"} | options
        site.cfg |= {f"env.{name}": value for name, value in settings.items()}
        site.environ |= environ
        site.flat({"app": {"n": 0}})

        def play(running: Running) -> None:
            def is_met() -> object:
                running.send(signal.SIGUSR1)
                return re.search(fact, running.log)

            bench.wait(lambda: running.log, "the start")  # from then on the signal asks for a report
            bench.wait(is_met, "the fault to be met")
            for n in range(1, CHANGES + 1):
                data = {"app": {"n": n}}
                site.flat(data)
                bench.wait(lambda data=data: any(line["in"] == data for line in read_seen(site, "other")), "a healthy change")  # type: ignore[misc]
            site.flat({"app": {"n": CHANGES}, "end": {}})

        return Trial(site, play, lambda _running: "")

    return make
