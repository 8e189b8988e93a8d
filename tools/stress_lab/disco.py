"""The disco under stress: its site, its handlers and its COMMAND as files, and its start."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

from lab.site import Site as Folder

from stress_lab import sources
from stress_lab.log import Log

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from pathlib import Path

    from lab.site import Running

    from stress_lab.plan import Site
    from stress_lab.store import Store

HANDLER_TIMEOUT = 10.0
# A run writes one file: who it is, its input, how it ends; nothing of that where a kill hits one of its programs. The lock is
# the kernel's, and goes with its last holder; who that is, is told with an overlap.
HANDLER = """\
#!/bin/sh
exec 9>> "$OUT/locks/$DISCO_RULE"
flock -n -E 99 9
case $? in
0) ;;
99)
    {{
        echo "$DISCO_RULE $DISCO_RUN $$ while"
        for other in /proc/[0-9]*; do
            [ $other != /proc/$$ ] && [ $other/fd/9 -ef "$OUT/locks/$DISCO_RULE" ] || continue
            echo "$other $(tr '\\0' ' ' < $other/cmdline) $(grep -E '^(State|PPid)' $other/status)"
            tr '\\0' '\\n' < $other/environ | grep ^DISCO_RUN=
        done
    }} >> "$OUT/overlaps" 2> /dev/null ;;
*) exit 1 ;;
esac
{{ echo "$DISCO_RULE $$ $DISCO_ATTEMPT"; cat || exit 1; {work}; }} > "$OUT/runs/$DISCO_RUN"
[ $end = end ]
"""
WORK = {  # of each handler, after it has read its input
    "see": "end=end; echo $end",
    "flaky": 'end=end; [ "$DISCO_ATTEMPT" -gt 1 ] || end=fail; echo $end',
    "slow": "sleep 0.3; end=end; echo $end",
    "talk": "end=end; echo a line >&2; echo $end",
    # Leaves a process behind the first time, in a session of its own.
    "daemon": '[ -e "$OUT/left-$DISCO_RULE" ] || { : > "$OUT/left-$DISCO_RULE";'
    " setsid -f sleep 3000 < /dev/null > /dev/null 2>&1 9>&-; }; end=end; echo $end",
}
# Run by disco, and once without it: what it finds must be the same.
COMMAND = """\
cd / || exit
ls /proc/$$/fd > "$OUT/$0.fds"
grep -E '^(Sig|Shd|Umask|NoNewPrivs|Seccomp)' /proc/$$/status | grep -v SigQ > "$OUT/$0.status"
cat /proc/$$/limits > "$OUT/$0.limits"
tr '\\0' '\\n' < /proc/$$/environ | grep -v ^DISCO_CFG= | sort > "$OUT/$0.environ"
cat /proc/$$/task/$$/children > "$OUT/$0.children"
echo $$ > "$OUT/$0.pid"
while [ ! -e "$OUT/go" ]; do sleep 0.05; done
exit 42
"""


class Disco:
    """One disco on a site: its folder, its process and its log."""

    def __init__(self, options: argparse.Namespace, site: Site, folder: Path, store: Store) -> None:
        """Write the site and the first data, let COMMAND run once without disco, and start disco.

        folder: has the folders etc, runs, locks, data and steps.
        """
        made = Folder(folder)
        _write_site(made, site)
        _install_plug_ins(folder / "plug-ins")
        _write_configuration(folder, site, store)
        made.cfg |= {
            "disco.interval": f"{options.interval:g}",
            "disco.workers": str(options.workers),
            "disco.handler_timeout": f"{HANDLER_TIMEOUT:g}",
            "disco.fail_limit": "0",  # handlers are killed at random
        }
        _run_control(made)
        reader, writer = os.pipe2(os.O_CLOEXEC)
        fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, 1 << 20)
        self.log = Log(reader)
        try:
            words = ("-l", options.log_level, "-c", str(folder / "disco.yaml"))
            self.running: Running = made.start("sh", "-c", COMMAND, "command", options=words, stderr=writer)
        finally:
            os.close(writer)


def _write_site(made: Folder, site: Site) -> None:
    for interface, namespaces in site.contributors.items():
        made.schema(interface, _schema(namespaces))
    for name, work in WORK.items():
        made.handler(name, HANDLER.format(work=work))
    made.rules(
        *(
            {"when": f"{rule.mode}:{','.join(rule.interfaces)}", "do": rule.handler, "name": rule.name}
            | ({"after": list(rule.after)} if rule.after else {})
            for rule in site.rules
        )
    )


def _install_plug_ins(folder: Path) -> None:
    info = folder / "stress-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stress\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[disco.sources]\nsteady = stress_sources:STEADY\nchaos = stress_sources:CHAOS\n")
    shutil.copy(sources.__file__, folder / "stress_sources.py")


def _write_configuration(folder: Path, site: Site, store: Store) -> None:
    """Write the first data of all sources, and how disco is to find it."""
    configuration: dict[str, dict[str, str]] = {}
    for namespace in site.namespaces:
        store.begin(namespace)
        options = {"type": namespace.type, **store.options(namespace), **namespace.options}
        if namespace.faulty:
            options |= {"calm": str(folder / "calm"), "steps": str(folder / "steps" / namespace.name)}
        configuration[namespace.name] = options
    (folder / "disco.yaml").write_text(json.dumps(configuration))


def _run_control(made: Folder) -> None:
    """Run COMMAND without disco, so that it notes what it finds then."""
    control = subprocess.Popen(
        ["sh", "-c", COMMAND, "control"],
        env=made.environ, cwd=made.folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    (made.folder / "go").touch()
    control.wait(60)
    (made.folder / "go").unlink()


def _schema(namespaces: Sequence[str]) -> dict[str, Any]:
    part = {
        "type": "object",
        "required": ["n", "digest", "payload"],
        "additionalProperties": False,
        "properties": {
            "n": {"type": "integer", "minimum": 0},
            "digest": {"type": "string", "pattern": "^[0-9a-f]{16}$"},
            "payload": {"type": "string"},
        },
    }
    return {
        "type": "object",
        "required": [*namespaces],
        "additionalProperties": False,
        "properties": dict.fromkeys(namespaces, part),
    }
