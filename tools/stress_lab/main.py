"""Run a real disco on many sources, of which a share misbehaves, under random changes and kills; check what it promises.

    tools/stress                                                   200 sources, a quarter faulty, for a minute
    tools/stress --sources 1000 --seconds 1200 --seed 7 --json result.json
    tools/stress --seed 7                                          the same decisions as every run with seed 7

First a calibration with the healthy sources alone, then the same with the faulty ones among them; each ends with newest
data everywhere, an end of all faults, the data of a rule that was held back, and, while more changes come, the exec of COMMAND.
What handlers and COMMAND saw and wrote down is the witness, never disco's own log (that only gives the children's names, and
says whether disco gave up waiting for the newest). A source's interfaces change together, too, in one transaction: whatever a
rule sees of a source has to have been there at one moment, and so has all that COMMAND starts on. Broken promises are printed
one by one. Everything started is ended again, all traffic is on loopback.

Exit status: 0 nothing was broken; 1 something was (the site and the log are kept, the folder is named); 2 could not be run.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import resource
import shutil
import signal
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import environments

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stress_lab.witness import Result

TOOL = environments.ROOT / "tools" / "stress"
PATIENCE = 240.0  # seconds for the end: a hung child is replaced, a change that waited longest is taken over, a backoff ends


def main(argv: Sequence[str]) -> int:
    """Run the phases and say what came of them."""
    options = parse(argv)
    try:
        environments.enter_disco(TOOL, argv)
    except environments.EnvironmentsError as error:
        print(f"tools/stress: {error}", file=sys.stderr)
        return 2
    from stress_lab.phase import Phase
    from stress_lab.plan import make_site

    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # disco holds two descriptors for each source
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # clean up then, too
    folder = Path(tempfile.mkdtemp(prefix="disco-stress-"))
    results: dict[str, Result] = {}
    keep = False
    try:
        with contextlib.ExitStack() as stack:
            servers = {} if options.no_servers else start_servers(folder / "servers", stack)
            types = ["flat", "steady", *servers]
            phases = {"calm": (options.calibrate, False), "faulty": (options.seconds, True)}
            for name, (seconds, faulty) in phases.items():
                if seconds:
                    site = make_site(options, types, seconds, faulty=faulty)
                    kinds = Counter(namespace.type for namespace in site.namespaces)
                    print(
                        f"{name}: {len(site.rules)} rules on {len(site.contributors)} interfaces of"
                        f" {len(site.namespaces)} sources: "
                        + ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items())),
                        flush=True,
                    )
                    results[name] = Phase(options, site, folder / name, servers).run(seconds, name)
        keep = any(result.broken for result in results.values())
    except BaseException:
        keep = True
        raise
    finally:
        if keep or options.keep:
            print(f"kept: {folder}", file=sys.stderr)
        else:
            shutil.rmtree(folder)
    return conclude(options, results)


def conclude(options: argparse.Namespace, results: dict[str, Result]) -> int:
    """Print and write down what came of it; return the exit status."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    for name, result in results.items():
        print(f"\n{name}:")
        for what, value in result.numbers.items():
            print(f"  {what}: {json.dumps(value) if isinstance(value, dict) else value}")
        shown = result.broken if len(result.broken) <= 50 else [*result.broken[:25], "…", *result.broken[-25:]]
        for text in shown:
            print(f"  BROKEN: {text}")
    broken = sum(len(result.broken) for result in results.values())
    print(f"\nseed {options.seed}, the tool's own CPU time {usage.ru_utime + usage.ru_stime:.0f} s: ", end="")
    print(f"{broken} BROKEN PROMISES" if broken else "every promise was kept")
    if options.json:
        content = {
            "options": {name: value for name, value in vars(options).items() if name != "json"},
            "phases": {name: {"broken": result.broken, **result.numbers} for name, result in results.items()},
        }
        options.json.write_text(json.dumps(content, indent=1) + "\n")
    return 1 if broken else 0


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Return the options."""
    first, _, rest = (__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser(
        prog="tools/stress", description=first, epilog=rest, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sources", type=int, default=200, help="number of sources, faulty ones included [200]")
    parser.add_argument("--faulty", type=float, default=0.25, help="share of them that misbehaves [0.25]")
    parser.add_argument("--rate", type=float, default=5.0, help="changes a second at healthy sources, besides the probes' [5]")
    parser.add_argument("--kills", type=float, default=1.0, help="kills, stops and signals a second [1]")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long changes and faults last [60]")
    parser.add_argument("--calibrate", type=float, default=20.0, help="how long the calibration's changes last; 0: none [20]")
    parser.add_argument("--patience", type=float, default=PATIENCE, help=f"seconds for the end [{PATIENCE:g}]")
    parser.add_argument("--workers", type=int, default=4, help="disco.workers [4]")
    parser.add_argument("--interval", type=float, default=1.0, help="disco.interval [1]")
    parser.add_argument("--seed", type=int, default=None, help="decides everything that is random [a new one]")
    parser.add_argument("--log-level", default="DEBUG", help="disco's; below DEBUG the children have no names here [DEBUG]")
    parser.add_argument("--no-servers", action="store_true", help="without Consul and etcd")
    parser.add_argument("--keep", action="store_true", help="keep the site and the log in any case")
    parser.add_argument("--json", type=Path, help="write the result there, too")
    options = parser.parse_args(argv)
    if options.seed is None:
        options.seed = random.randrange(1 << 20)
    return options


def start_servers(folder: Path, stack: contextlib.ExitStack) -> dict[str, Any]:
    """Start a Consul and an etcd; leave out what cannot be had."""
    from lab.consul_server import ConsulServer
    from lab.etcd_server import EtcdServer
    from lab.servers import BackendsError, find_program

    servers: dict[str, Any] = {}
    for name, kind in {"consul": ConsulServer, "etcd": EtcdServer}.items():
        try:
            servers[name] = stack.enter_context(kind(find_program(name), folder / name))
        except (BackendsError, OSError) as error:
            print(f"tools/stress: without {name}: {error}", file=sys.stderr)
    return servers
