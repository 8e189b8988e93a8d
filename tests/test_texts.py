"""Every text that disco can show to a person, in one list; its help; and that nobody ever has to read a traceback.

The list is `texts.txt` beside this file, to be read as somebody would who never saw disco. `python -m tests.test_texts >
tests/texts.txt` renews it: read what changed.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import disco
from disco.errors import Status
from tests.harness import disco_command

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from tests.harness import Site

PACKAGE = Path(disco.__file__).parent
LIST = Path(__file__).with_name("texts.txt")
RENEW = "python -m tests.test_texts > tests/texts.txt"
HEAD = f"""\
Every text in disco that has a blank, by module, in the order of the code. {{…}} is filled in, [this|that] is one of them;
many are parts of a longer line. Renewed by: {RENEW}
"""

# What has a blank and is no text for people, and why.
CALLS = {"re.compile": "a regular expression", "re.search": "a regular expression", "len": "measured only"}
FUNCTIONS = {"draw": "Mermaid's syntax", "_stand_in": "a digest is made of it"}
PAIRS = {"REASONS": "the first of each pair is what etcd says, to be recognised"}
LOGGING = ("debug", "info", "warning", "error", "log")


# The list


class Collector:
    """The texts of one module; `used` are the exclusions that applied."""

    def __init__(self) -> None:
        self.used: set[str] = set()

    def find(self, node: ast.AST) -> Iterator[str]:
        """Yield the texts at and below a node, in order, each whole: what is filled in is not told once more."""
        if isinstance(node, ast.Call) and (logged := show_logged(node)):
            yield logged
            for keyword in node.keywords:
                yield from self.find(keyword.value)
            return
        text = None if isinstance(node, ast.IfExp) else show(node)
        if text and " " in text[1] and not (isinstance(node, ast.Constant) and not any(map(str.isalpha, text[1]))):
            yield text[0]
            return
        for child in self.children(node):
            yield from self.find(child)

    def children(self, node: ast.AST) -> Iterator[ast.AST]:
        """Yield the nodes below one in which there may be texts."""
        match node:
            case ast.Expr(value=ast.Constant()):  # a docstring
                return
            case ast.Call() if (name := ast.unparse(node.func)) in CALLS:
                self.used.add(name)
                return
            case ast.FunctionDef(name=name) if name in FUNCTIONS:
                self.used.add(name)
                return
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Tuple(elts=pairs)) if name in PAIRS:
                self.used.add(name)
                yield from (pair.elts[1] for pair in pairs if isinstance(pair, ast.Tuple))
                return
        for child in ast.iter_child_nodes(node):
            compared = isinstance(node, ast.Compare) or (isinstance(node, ast.Dict) and child in node.keys)
            if not (compared and isinstance(child, ast.Constant)):  # looked for or up, not told
                yield child


def show(node: ast.AST) -> tuple[str, str] | None:
    """Return a text as it is listed, and what of it is literal; None if the node is none."""
    match node:
        case ast.Constant(value=str(value)):
            return value, value
        case ast.JoinedStr(values=values):
            parts = [show_part(value.value if isinstance(value, ast.FormattedValue) else value) for value in values]
        case ast.BinOp(left=left, op=ast.Add(), right=right) if show(left) or show(right):
            parts = [show_part(left), show_part(right)]
        case ast.IfExp(body=body, orelse=other) if show(body) or show(other):
            one, two = show_part(body), show_part(other)
            return f"[{one[0]}|{two[0]}]", one[1] + two[1]
        case _:
            return None
    return "".join(shown for shown, _ in parts), "".join(literal for _, literal in parts)


def show_part(node: ast.AST) -> tuple[str, str]:
    return show(node) or (f"{{{ast.unparse(node)}}}", "")


def show_logged(call: ast.Call) -> str:
    """Return the text of a log call with its arguments put in; empty if it is none, or nothing has to be put in."""
    if not isinstance(call.func, ast.Attribute) or call.func.attr not in LOGGING:
        return ""
    formats = [number for number, one in enumerate(call.args) if isinstance(one, ast.Constant) and isinstance(one.value, str)]
    if not formats:
        return ""
    text = ast.literal_eval(call.args[formats[0]])
    values = iter([show_part(one)[0] for one in call.args[formats[0] + 1 :]])
    shown = re.sub("%[sd]", lambda _: next(values), text)
    return shown if " " in shown else ""


def collect() -> tuple[str, set[str]]:
    """Return the list, and the exclusions that applied."""
    collector = Collector()
    blocks = [HEAD]
    for path in sorted(PACKAGE.rglob("*.py")):
        texts = dict.fromkeys(collector.find(ast.parse(path.read_text())))
        lines = (re.sub("\n(?!\n)", "\n    ", escape(text.strip("\n").rstrip())) for text in texts)
        if texts:
            blocks.append("".join(f"{line}\n" for line in [f"# disco/{path.relative_to(PACKAGE)}", *lines]))
    return "\n".join(blocks), collector.used


def escape(text: str) -> str:
    return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)


def test_the_list_is_up_to_date() -> None:
    """Whoever changes a text sees it in the list, among the others."""
    assert LIST.read_text() == collect()[0], f"renew it from the checkout's root, and read what changed: {RENEW}"


def test_every_exclusion_excludes_something() -> None:
    """What is no text for people is named, with its reason, and no name is left over."""
    assert collect()[1] == {*CALLS, *FUNCTIONS, *PAIRS}


SAMPLE = '''
"""A docstring."""
REASONS = (("their words", "our words"), ("theirs too", f"ours, {1 << 20} too"))
NAME = re.compile("a regular expression")
def f(name: str = "x y") -> str:
    """Do something."""
    """No text either."""
    log.log(level, "rule %s: %d lines", name, 5, extra={"a key": "a value"})
    log.debug("no-blank")
    if "searched for" in name:
        raise ValueError(f"{name}: a {kind!r} of {size:.1f} MiB " "is "
                         f"{'not ' if bad else ''}good")
    problem = "one is missing" if bad else f"{name} is missing"
    return ", ".join(lines) + (f" and {rest} more" if rest else "")
'''


def test_what_the_list_holds() -> None:
    """Texts are whole, in the order of the code, with what is filled in; docstrings and what only the code reads are left out."""
    assert list(Collector().find(ast.parse(SAMPLE))) == [
        "our words",
        "ours, {1 << 20} too",
        "x y",
        "rule {name}: {5} lines",
        "a value",
        "{name}: a {kind} of {size} MiB is [not |]good",
        "one is missing",
        "{name} is missing",
        "{', '.join(lines)}[ and {rest} more|]",
    ]


# The help


def test_help_is_no_higher_than_a_screen() -> None:
    """-h is at most 24 lines."""
    assert len(get_help().splitlines()) <= 24


def test_help_is_no_wider_than_a_screen() -> None:
    """No line of -h has more than 100 characters."""
    assert [line for line in get_help().splitlines() if len(line) > 100] == []


def test_help_names_every_exit_status() -> None:
    """-h tells what each status means that disco can end with."""
    told = get_help().partition("exit status:")[2]
    names = {int(status): str(int(status)) for status in Status} | {128: "128+N"}
    assert [name for name in names.values() if not re.search(rf"(?<!\d){re.escape(name)}(?!\d)", told)] == []


def get_help() -> str:
    return subprocess.run([*disco_command(), "-h"], capture_output=True, text=True, check=True).stdout


# A bug in disco

BAD = "def bad(*_, **__): raise RuntimeError('hunt' + 'er2')\n"
BUGS = {
    "in the command line": "from disco import cli; cli._parse = bad",
    "before anything is started": "from disco import check; check.look = bad",
    "while children run": "from disco.lifecycle import Lifecycle; Lifecycle.handle = bad",
    "at exec": "from disco import process; process.execute = bad",
}
BUG = r"disco: a bug in disco: RuntimeError at \S+:\d+ .*report it\n"


@pytest.mark.parametrize("bug", BUGS.values(), ids=BUGS)
def test_a_bug_is_one_line(site: Site, bug: str) -> None:
    """A bug in disco ends it with 71, and one line that says so: no traceback, and not the exception's text."""
    site.simple()
    running = site.run(options=("-l", "ERROR"), prologue=BAD + bug)
    assert running.process.returncode == 71
    assert re.fullmatch(BUG, running.log), running.log


def test_a_bug_is_traced_for_those_who_ask(site: Site) -> None:
    """With -l DEBUG the way to a bug comes first, without the exception's text, and the same line last."""
    site.simple()
    running = site.run(options=("-l", "DEBUG"), prologue=BAD + BUGS["while children run"])
    assert running.process.returncode == 71
    assert re.search(r'File ".*", line \d+, in bad', running.log), running.log
    assert "hunter2" not in running.log
    assert re.fullmatch(BUG, running.log.splitlines(keepends=True)[-1]), running.log


# Everything else that can be wrong

GARBAGE = bytes(range(256))
COMMAND = ("echo", "done")
WRONG = {
    "an unknown option": (64, "--verbos not recognized", ("--verbos", *COMMAND), {}),
    "an option without its value": (64, "-l requires", ("-l",), {}),
    "an unknown level": (64, "-l takes DEBUG", ("-l", "LOUD", *COMMAND), {}),
    "no COMMAND": (64, "no COMMAND to start", (), {}),
    "an option with a newline and an escape": (64, r"--a\nb\x1b[31m not", ("--a\nb\x1b[31m", *COMMAND), {}),
    "an empty -c": (64, "-c needs a FILE", ("-c", "", *COMMAND), {}),
    "a -c that is not there": (78, "disco: -c: nowhere.yaml: No such", ("-c", "nowhere.yaml", *COMMAND), {}),
    "a -c that is a directory": (78, "not a regular file", ("-c", "etc", *COMMAND), {}),
    "a -c of garbage": (78, "etc/garbage", ("-c", "etc/garbage", *COMMAND), {"garbage": GARBAGE}),
    "a schema that is a directory": (78, "interface app has no schema", COMMAND, {"app.schema": None}),
    "a schema of garbage": (78, "app.schema:2:", COMMAND, {"app.schema": GARBAGE}),
    "a schema without end": (78, "app.schema", COMMAND, {"app.schema": b"[" * 100_000}),
    "rules of garbage": (78, "site.rules:2:", COMMAND, {"site.rules": GARBAGE}),
    "rules of UTF-16": (78, "site.rules:1:", COMMAND, {"site.rules": "rules: []".encode("utf-16")}),
    "rules without end": (78, "site.rules", COMMAND, {"site.rules": b"rules: " + b"{" * 100_000}),
    "rules that are a list": (78, "expected 'rules:'", COMMAND, {"site.rules": b"[1, null]"}),
    "a handler without its interpreter": (70, "the interpreter of its #! line", COMMAND, {"see": b"#!/no/such\n"}),
    "a handler of garbage": (70, "handler failed", COMMAND, {"see": GARBAGE}),
    "a COMMAND that is not there": (127, "is not there", ("no-such-command",), {}),
    "an empty COMMAND": (127, "COMMAND (empty) is not there", ("",), {}),
    "a COMMAND with a newline": (127, r"COMMAND no\nsuch is not there", ("no\nsuch",), {}),
    "a COMMAND that is a directory": (126, "not executable", ("./etc",), {}),
    "a COMMAND of garbage": (126, "garbage", ("etc/garbage",), {"garbage": GARBAGE}),
}


@pytest.mark.parametrize(("status", "told", "argv", "files"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_told_in_words(
    site: Site, status: int, told: str, argv: tuple[str, ...], files: dict[str, bytes | None]
) -> None:
    """Whatever people or files give: a status of its own, words that name it, no traceback."""
    site.simple()
    site.cfg["disco.fail_limit"] = "1"
    for name, content in files.items():
        path = site.etc / name
        path.unlink(missing_ok=True)
        if content is None:
            path.mkdir()
        else:
            path.write_bytes(content)
            path.chmod(0o755)
    check(site, status, told, *argv)


PATHS = {
    "a file": "etc/see",
    "a symlink to itself": "loop",
    "too long": "x" * 5000,
    "no text": "\udcff\x01\x1b[31m",
}


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_directories_that_cannot_be_read(site: Site, path: str) -> None:
    """What disco.path names and cannot be listed is named in turn."""
    site.simple()
    (site.folder / "loop").symlink_to("loop")
    site.cfg["disco.path"] = path
    check(site, 78, "disco.path: ", *COMMAND)


PAIRS_OF_GARBAGE = {
    "no UTF-8": "\udcff\udcfe=\udc80:a.b",
    "controls": "\x01\x02.\x03=\x04\r\n:\x7f",
    "keys only": "disco.path:disco.path:=:::",
    "an unknown source": "nowhere.host=\udcff",
    "values of other types": "disco.timeout=\udcff:disco.workers=1e9:disco.report_file=:consul.host=[::consul.port=0",
}


@pytest.mark.parametrize("pairs", PAIRS_OF_GARBAGE.values(), ids=PAIRS_OF_GARBAGE)
def test_a_configuration_of_garbage(site: Site, pairs: str) -> None:
    """DISCO_CFG may hold any bytes."""
    check(site, 78, "disco: DISCO_CFG: ", *COMMAND, env=site.environ | {"DISCO_CFG": pairs})


def test_data_of_garbage(site: Site) -> None:
    """A flat file may hold any bytes too."""
    site.simple()
    (site.folder / "flat.yaml").write_bytes(GARBAGE)
    site.cfg["disco.timeout"] = "300ms"
    check(site, 69, "flat.yaml:2:", *COMMAND)


def test_a_working_directory_that_is_gone(site: Site) -> None:
    """Where the working directory was removed disco works all the same, if no path is relative."""
    site.simple()
    gone = ("sh", "-c", 'mkdir gone && cd gone && rmdir ../gone && exec "$@"', "sh")
    for path in ("", "/nowhere"):  # with a relative one there the interpreter itself does not start
        site.environ["PYTHONPATH"] = path
        running = site.run(before=gone, options=("-l", "ERROR"))
        assert (running.process.returncode, running.output, running.log) == (0, "done\n", "")
    site.cfg["disco.path"] = "etc"
    running = site.run(before=gone, options=("-l", "ERROR"))
    assert running.process.returncode == 78
    assert running.log.startswith("disco: disco.path: the working directory: No such file or directory; it must name")


@pytest.mark.parametrize("option", ["-h", "--version"])
def test_nowhere_to_print(site: Site, option: str) -> None:
    """A full disk is told as what it is, a closed stdout is none's business."""
    with open("/dev/full", "w") as full:
        running = site.run(options=(option,), stdout=full)
    assert (running.process.returncode, running.log) == (71, "disco: cannot write to stdout: No space left on device\n")
    running = site.run(options=(option,), preexec_fn=lambda: os.close(1))
    assert (running.process.returncode, running.log) == (0, "")


def test_no_descriptor_for_disco(site: Site) -> None:
    """Where disco itself gets no descriptor, that is told, and called no bug."""
    site.simple()
    running = site.run(options=("-l", "ERROR"), before=("prlimit", "--nofile=5"))
    assert running.process.returncode == 71
    assert re.fullmatch(r"disco: the system failed disco: Too many open files \(\S+:\d+\); raise .*\n", running.log), running.log


EXHAUSTED = {"MemoryError('hunter2')": "out of memory", "OSError(11, 'hunter2')": "the system failed disco: Resource temporarily"}


@pytest.mark.parametrize(("error", "told"), EXHAUSTED.items())
def test_a_system_without_room(site: Site, error: str, told: str) -> None:
    """What the system has no more of is told in its own words, and called no bug."""
    site.simple()
    bad = f"def bad(*_, **__): raise {error}\n"
    running = site.run(options=(), prologue=bad + BUGS["before anything is started"])
    assert running.process.returncode == 71
    assert re.fullmatch(f"disco: {told}.*\n", running.log), running.log
    assert "hunter2" not in running.log


CHILDREN = {
    "source": ("source flat", "from disco.sources import watcher; watcher.run = bad"),
    "runner": ("runner-1", "from disco.workers import runner; runner.run = bad"),
}


@pytest.mark.parametrize(("name", "bug"), CHILDREN.values(), ids=CHILDREN)
def test_a_bug_in_a_child_is_one_line(site: Site, name: str, bug: str) -> None:
    """A bug in a process of disco's own is told at ERROR each time that it ends one, by class and place."""
    site.simple()
    site.cfg["disco.timeout"] = "1s"
    running = site.run(options=("-l", "INFO"), prologue=BAD + bug)
    told = [line for line in running.log.splitlines() if "a bug in disco" in line]
    ended = [line for line in running.log.splitlines() if f"{name}" in line and "its process ended (exit status 1)" in line]
    assert told, running.log
    assert ended, running.log
    for line in told:
        assert re.search(r"ERROR .* a bug in disco: RuntimeError at \S+:\d+ .*report it$", line), line
    assert "hunter2" not in running.log


def test_arguments_of_a_handler_are_not_told(site: Site) -> None:
    """A handler is told by its program alone, at any level: an argument may be a secret."""
    site.simple()
    site.cfg["disco.fail_limit"] = "2"
    site.rules({"when": "app", "do": "see --password=hunter2", "name": "app"})
    site.handler("see", "exit 7\n")
    running = site.run()
    assert running.process.returncode == 70
    assert f"handler {site.etc / 'see'} failed: exit status 7" in running.log
    assert "hunter2" not in running.log


def test_no_stderr(site: Site) -> None:
    """Where stderr is closed there is still a status."""
    site.simple()
    site.cfg["disco.timeout"] = "nonsense"
    running = site.run(options=(), preexec_fn=lambda: os.close(2))
    assert (running.process.returncode, running.log, running.output) == (78, "", "")


def check(site: Site, status: int, told: str, *argv: str, **popen: Any) -> None:
    """Run disco with the words of a command line, and look at how it ends."""
    running = site.run(*argv[-1:], options=argv[:-1], **popen) if argv else site.run("--", options=())
    log = running.log
    assert running.process.returncode == status, log
    assert told in log
    assert "Traceback" not in log
    assert "a bug in disco" not in log


if __name__ == "__main__":
    sys.stdout.write(collect()[0])
