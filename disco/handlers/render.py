"""`disco-render`: write a file from a template, or all of the input in a format."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from disco.errors import DiscoError, HandlerError, UsageError
from disco.handlers import Finding, context, destination, difference, formats, inputs, words, writing
from disco.handlers.destination import Destination
from disco.named import NamedTuple
from disco.system import programs
from disco.text import NAME_LIMIT, PATH_LIMIT, escape

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from disco.handlers.context import Object

USAGE = """\
usage: disco-render TEMPLATE TARGET [OPTION...] < INPUT
       disco-render --format FORMAT TARGET [OPTION...] < INPUT

Write TARGET from a template in the language of Jinja2, or INPUT itself in a format. INPUT is a JSON object
of interfaces. TARGET - is stdout.

  --format FORMAT         env, ini, json, toml or yaml
  --mode MODE             the target's permissions, such as 0640 [as they are]
  --owner USER[:GROUP]    the target's owner, by names or numbers [as it is]
  --check COMMAND         a program that refuses a bad file; {} stands for the file, as in 'nginx -t -c {}'
  --dry-run               write nothing: print which lines would be others, without values
  -h, --help              print this text

exit status: 65 the input is wrong, or the check refused the file; 64 wrong command line; 1 any other failure
"""
STDOUT = "-"
_MODES = 0o777
_OPTIONS = ["format=", "mode=", "owner=", "check=", "dry-run"]


class Task(NamedTuple):
    """What the words ask for. template: None with a format. owner: as the words name it."""

    target: str
    template: Path | None
    format: str = ""
    mode: int | None = None
    owner: str = ""
    check: tuple[str, ...] = ()
    is_dry: bool = False


def main(argv: list[str]) -> int:
    """Write the target that the words name, from the input on stdin; return the exit status.

    Raises:
        UsageError: the words are wrong.
        DataError: the input is wrong, or the check refused the file.
        HandlerError: the target cannot be written for another reason.

    """
    task = parse(argv)
    owner = destination.parse_owner(task.owner)
    data = context.check(inputs.read())
    output = _make_output(task, data)
    if task.target == STDOUT:
        sys.stdout.write(output)
        return 0
    try:
        target = Destination(destination.follow(task.target), task.mode, owner, task.check)
        if task.is_dry:
            _print_difference(task, data, output, target)
        else:
            sys.stdout.write(f"{escape(task.target, PATH_LIMIT)}: {writing.write(target, output.encode())}\n")
    except OSError as error:
        raise HandlerError(f"{escape(task.target, PATH_LIMIT)}: {os.strerror(error.errno or 0)}") from None
    return 0


def parse(argv: list[str]) -> Task:
    """Return what the words ask for.

    Raises:
        UsageError: they are wrong.

    """
    options, others = words.split("disco-render", argv, _OPTIONS)
    given = dict(options)
    name = given.get("--format", "")
    if name and name not in formats.FORMATS:
        raise UsageError(f"--format takes {', '.join(formats.FORMATS)}")
    if len(others) != (1 if name else 2):
        raise UsageError(
            f"{'a TARGET is' if name else 'a TEMPLATE and a TARGET are'} needed, and nothing else; {words.hint('disco-render')}"
        )
    task = Task(
        others[-1],
        None if name else Path(others[0]),
        name,
        _parse_mode(given["--mode"]) if "--mode" in given else None,
        given.get("--owner", ""),
        _parse_check(given["--check"]) if "--check" in given else (),
        "--dry-run" in given,
    )
    if "--owner" in given and not task.owner.strip(":"):
        raise UsageError("--owner takes USER, USER:GROUP or :GROUP, names or numbers")
    if any("\0" in word for word in argv):
        raise UsageError("a NUL is in no path, name or command")
    if not task.target or task.target.endswith("/"):
        raise UsageError("TARGET is the path of a file")
    if task.target == STDOUT and given.keys() - {"--format"}:
        raise UsageError("TARGET - goes with no other option than --format")
    return task


def find_problems(argv: list[str], interfaces: Sequence[str], _timeout: float) -> Iterator[Finding]:
    """Yield what is wrong or doubtful with the words in a rule; see `disco.handlers`."""
    task = parse(argv)
    if task.template:
        yield from _find_template_problems(task.template, interfaces)
    try:
        destination.parse_owner(task.owner)
    except HandlerError as error:
        yield Finding(str(error), "make the user or the group in the image, or correct the rule", is_error=True)
    if task.check and programs.find_program(task.check[0], os.environ.get("PATH", os.defpath)) is None:
        shown = escape(task.check[0], NAME_LIMIT)
        yield Finding(f"--check: {shown} is not found or not executable", "install it, or correct the rule", is_error=True)
    if task.target != STDOUT and (why := destination.explain_folder(task.target)):
        yield Finding(f"{why}, for {escape(task.target, PATH_LIMIT)}", "make it, or let the user that disco runs as write there")


def _find_template_problems(path: Path, interfaces: Sequence[str]) -> Iterator[Finding]:
    from disco.handlers.template import Template, is_installed  # noqa: PLC0415 -- a format needs none

    if not is_installed():
        yield Finding("templates need minijinja", "pip install 'disco-entrypoint[render]'", is_error=True)
        return
    try:
        template = Template(path)
        template.check_words()
        unknown = template.find_unknown_names(interfaces)
    except HandlerError as error:
        yield Finding(str(error), "correct the template", is_error=True)
        return
    for name in unknown:
        yield Finding(f"{path} uses {name}, which is no interface of the rule", "add it to the rule's 'when', or correct it")


def _parse_mode(text: str) -> int:
    try:
        mode = int(text, 8)
    except ValueError:
        mode = -1
    if not 0 <= mode <= _MODES:
        raise UsageError("--mode takes permissions in octal digits, such as 0640")
    return mode


def _parse_check(text: str) -> tuple[str, ...]:
    try:
        words = tuple(shlex.split(text))
    except ValueError:
        words = ()
    if not any(writing.FILE in word for word in words[1:]):
        raise UsageError("--check takes a command in which {} stands for the file, such as 'nginx -t -c {}'")
    return words


def _make_output(task: Task, data: Object, *, is_hidden: bool = False) -> str:
    """Return the target's new content; is_hidden: without a value."""
    if task.template is None:
        return formats.write(task.format, difference.hide_all(data) if is_hidden else data)
    from disco.handlers.template import Template  # noqa: PLC0415 -- as above

    template = Template(task.template, difference.hide if is_hidden else str)
    return template.render(data, os.environ)


def _print_difference(task: Task, data: Object, output: str, target: Destination) -> None:
    """Print how the target would change."""
    old = destination.read_old(target.path)
    try:
        shown = _make_output(task, data, is_hidden=True)
    except DiscoError:  # the template needs the values that it prints
        shown = difference.hide(output)
    before = old.content.decode(errors="replace") if old else None
    lines = [*difference.compare(before, output, shown)]
    if old and destination.has_other_owner_or_mode(target, old):
        lines[0] += "; its mode or owner would change"
    sys.stdout.write("\n".join([f"{escape(task.target, PATH_LIMIT)}: {lines[0]}", *lines[1:], ""]))
