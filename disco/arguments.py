"""The command line: how disco is called, and what a call asks for."""

from __future__ import annotations

import getopt
from pathlib import Path

from disco import __version__, last_words
from disco.errors import UsageError
from disco.named import NamedTuple
from disco.text import nearest

USAGE = """\
usage: disco [-l LEVEL] [-c FILE] [--] COMMAND [ARG...]
       disco [-l LEVEL] [-c FILE] (--check | --dry-run | --graph) [--json] [--] [COMMAND [ARG...]]
       disco [-l LEVEL] [-c FILE] --input RULE  |  disco --options [SOURCE]

Read data from the sources in DISCO_CFG, check it against schemas, and run handlers by rules.
When all rules are satisfied, exec COMMAND in the place of disco.

  -l, --log-level LEVEL   DEBUG, INFO, WARNING or ERROR [INFO]
  -c, --config FILE       YAML with the same keys as DISCO_CFG, nested; DISCO_CFG wins
  --check                 start nothing: print what is wrong or doubtful
  --dry-run               read the sources, run no handler: print what they hold and what would run
  --input RULE            read the sources, run no handler: print what RULE's would get, values too
  --graph                 start nothing: print sources, rules and handlers as a Mermaid flowchart
  --json                  with --check or --dry-run: print JSON
  --options [SOURCE]      print every option of DISCO_CFG, or those of one type of source
  -h, --help; --version   print this text; print disco's version

DISCO_CFG is key=value pairs joined by ':', such as  disco.path=/etc/disco:flat.file=/etc/mysql.yaml
signals: USR1 prints what disco waits for, HUP reads all sources anew, TERM stops

exit status: COMMAND's own after exec; 64 wrong command line; 69 disco.timeout passed and a source
never answered; 70 a handler failed disco.fail_limit times in a row; 71 a bug in disco, or the
system failed it; 75 disco.timeout passed for another reason; 78 configuration, rules or schemas
are wrong; 126/127 COMMAND is not executable / not found; 128+N signal N stopped disco
"""
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
MODES = ("check", "dry-run", "graph", "input", "options")
_HINT = "'disco -h' shows how it is used"


class Arguments(NamedTuple):
    """What a call asks for.

    level: of the log, empty if it is not given. file: that of -c. mode: one of MODES, or empty: COMMAND is to be run.
    command: COMMAND with its arguments; after --options the type of source. rule: that of --input.
    """

    level: str
    file: Path | None
    mode: str
    as_json: bool
    command: tuple[str, ...]
    rule: str = ""


def parse(argv: list[str]) -> Arguments:
    """Return what a command line asks for; options end at the first word that is none. Answers -h and --version itself.

    Raises:
        UsageError: the command line is wrong.

    """
    known = ["help", "version", "log-level=", "config=", "json", *(f"{mode}=" if mode == "input" else mode for mode in MODES)]
    try:
        options, command = getopt.getopt(argv, "hl:c:", known * 2)  # twice: so no beginning of a name is unique
    except getopt.GetoptError as error:
        reason = error.msg.replace("not a unique prefix", "not recognized")
        near = nearest(f"--{error.opt}", [f"--{name.rstrip('=')}" for name in known], "") if len(error.opt) > 1 else ""
        raise UsageError(f"{reason}{near and '; ' + near}; {_HINT}") from None
    level, file, as_json, rule = "", None, False, ""
    modes = set()
    for option, value in options:
        match option:
            case "-h" | "--help":
                last_words.answer(USAGE)
            case "--version":
                last_words.answer(f"disco {__version__}\n")
            case "-l" | "--log-level":
                level = value.upper()
                if level not in LEVELS:
                    raise UsageError("-l takes DEBUG, INFO, WARNING or ERROR")
            case "-c" | "--config":
                if not value:
                    raise UsageError("-c needs a FILE")
                file = Path(value)
            case "--json":
                as_json = True
            case "--input":
                modes.add("input")
                rule = value
            case _:
                modes.add(option.removeprefix("--"))
    _check_modes(modes, command, as_json=as_json)
    if not command and not modes:
        raise UsageError(f"no COMMAND to start: is the image's CMD empty? {_HINT}")
    return Arguments(level, file, max(modes, default=""), as_json, tuple(command), rule)


def _check_modes(modes: set[str], command: list[str], *, as_json: bool) -> None:
    """Check that modes, COMMAND and --json go together; modes: those that are given.

    Raises:
        UsageError: they do not.

    """
    if as_json and not modes & {"check", "dry-run"}:
        raise UsageError(f"--json goes with --check or --dry-run; {_HINT}")
    if len(modes) > 1:
        raise UsageError(f"--{' and --'.join(sorted(modes))} exclude each other; {_HINT}")
    if "options" in modes and len(command) > 1:
        raise UsageError(f"--options takes one type of source; {_HINT}")
    if "input" in modes and command:
        raise UsageError(f"--input takes one rule, and no COMMAND; {_HINT}")
