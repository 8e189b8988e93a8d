"""The rows in which one disco goes through a history: transactions, changes unread, and changes without end."""

from __future__ import annotations

import signal
import time
from functools import partial
from typing import TYPE_CHECKING

from faults_lab.row import Trial

if TYPE_CHECKING:
    from lab.site import Running

    from faults_lab.bench import Bench
    from faults_lab.row import Make


def list_faults() -> dict[str, Make]:
    """Return what makes each row, by its fault."""
    return {
        "exec while changes lie unread": _unread_row,
        "many change without end": _many_row(0.05),
        "many change each second": _many_row(1.0),
        "one of 60 changes each second": _slow_row,
    }


def transaction_row(kind: str) -> Make:
    """Return what makes a trial in which one of two interfaces changed often, and then both do in one transaction."""

    def make(bench: Bench) -> Trial:
        site = bench.site()
        for name in ("app", "bee"):
            site.schema(name, {"type": "object", "properties": {"n": {"type": "integer"}}})
        site.rules({"when": "app,bee", "do": "other"})
        held = {"app": 0, "bee": 0}
        if kind == "flat":
            site.flat({}, "data.yaml", source="data")
        else:
            server = bench.servers.shared(kind)
            prefix = f"{bench.number}/t"
            site.cfg |= {f"{kind}.port": str(server.port), f"{kind}.prefix": prefix}

        def write(**new: int) -> None:
            held.update(new)
            if kind == "flat":
                site.flat({name: {"n": n} for name, n in held.items()}, "data.yaml", source="data")
            else:
                server.transact({f"{prefix}/{name}/n": str(n) for name, n in new.items()})

        write(**held)

        def play(_running: Running) -> None:
            for n in range(6):
                write(app=n)
                seen = {"app": {"n": n}, "bee": {"n": 0}}
                bench.wait(lambda seen=seen: any(line["in"] == seen for line in site.seen("other")), "a change")  # type: ignore[misc]
            write(app=100, bee=100)
            bench.finish(site)

        def check(_running: Running) -> str:
            runs = [{name: data["n"] for name, data in line["in"].items()} for line in site.seen("other")]
            torn = [run for run in runs if (run["app"] == 100) != (run["bee"] == 100)]
            how = " and disco did exec on it" if torn and torn[-1] == runs[-1] else ""
            return f"the handler ran on half of a transaction: {torn[0]}{how}" if torn else ""

        return Trial(site, play, check)

    return make


CHANGES, RATE = 140, 200  # of a source, and how many of them a second


def _unread_row(bench: Bench) -> Trial:
    """Make a trial in which disco is stopped for a while, and has a lot to read then: it execs on all of it, or not yet."""
    site = bench.site(f"""
with open(os.environ['OUT'] + '/sent', 'w', buffering=1) as sent:
    for n in range({CHANGES}):
        yield {{'odd': {{'n': n}}}}
        print(time.time(), n, file=sent)
        time.sleep({1 / RATE})
while True:
    yield {{'odd': {{'n': n}}}}
    time.sleep(0.1)
""")
    site.schema("odd")
    site.rules({"when": "odd", "do": "other"})
    site.cfg["disco.settle"] = "0.1"
    bench.finish(site)

    def sent() -> list[tuple[float, int]]:
        """Return when each change was in disco's hands."""
        lines = [line.split() for line in site.read("sent").splitlines()]
        return [(float(words[0]), int(words[1])) for words in lines if len(words) > 1]

    def play(running: Running) -> None:
        bench.wait(lambda: len(sent()) > CHANGES // 10, "the first changes")
        running.send(signal.SIGSTOP)
        time.sleep(0.6)
        running.send(signal.SIGCONT)

    def check(running: Running) -> str:
        last = site.seen("other")[-1]
        n, newest = last["in"]["odd"]["n"], max(n for at, n in sent() if at < last["at"])
        if n >= newest or " starts with the data of " in running.log:  # on a slow machine: it changed for too long
            return ""
        return f"exec on change {n}, though change {newest} lay there before its handler began"

    return Trial(site, play, check)


def _many_row(pause: float) -> Make:
    """Return what makes a trial with more changes than runners can serve: each rule gets its turn, and exec comes."""

    def make(bench: Bench) -> Trial:
        site = bench.site(f"""
n = 0
while True:
    n += 1
    yield {{context.name: {{'n': n}}}}
    time.sleep({pause})
""")
        names = [f"odd{number:02}" for number in range(30)]
        for name in names:
            site.schema(name)
            site.cfg |= {f"{name}.type": "odd", f"{name}.timeout": "2"}
        site.rules(*({"when": name, "do": "slow", "name": name} for name in names))
        site.handler("slow", 'sleep 0.5; echo "$DISCO_RULE" >> "$OUT/turns"\n')
        site.cfg["disco.settle"] = "0.1"

        def has_had(name: str, turns: int) -> bool:
            return site.read("turns").split().count(name) >= turns

        def play(_running: Running) -> None:
            for turns in (1, 2):
                for name in names:
                    bench.wait(partial(has_had, name, turns), f"turn {turns} of rule {name}")
            bench.finish(site)

        return Trial(site, play, lambda _running: "")

    return make


def _slow_row(bench: Bench) -> Trial:
    """Make a trial in which a handler is slower than the changes of all that it names: exec comes all the same."""
    site = bench.site("""
data = {f'i{number}': {'n': 0} for number in range(60)}
number = 0
while True:
    yield data
    number = (number + 1) % 60
    data = data | {f'i{number}': {'n': data[f'i{number}']['n'] + 1}}
    time.sleep(1.1)
""")
    names = [f"i{number}" for number in range(60)]
    for name in names:
        site.schema(name)
    site.rules({"when": f"any:{','.join(names)}", "do": "slow"})
    site.handler("slow", "sleep 1.3\n")
    site.cfg |= {"disco.settle": "0.1", "odd.timeout": "5"}
    return Trial(site, lambda _running: bench.finish(site), lambda _running: "")
