"""Configuration: the types of options, where their values come from, and what is reported of wrong ones."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from disco.errors import ConfigurationError, Problem, SourceError
from disco.site import config
from disco.sources import Context, Source, options
from disco.sources.options import Option
from disco.text import nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from disco.site.config import Settings

SECRET = "hunter2"


def check(options: Mapping[str, Any]) -> Iterator[Problem]:
    if options["host"] == "alone":
        yield Problem("host", "expected a friend")


def watch(_context: Context) -> Iterator[Mapping[str, Any]]:
    yield {}


TYPES = {
    "flat": Source(watch=watch, options=(Option(name="file", type=options.path, help=""),)),
    "consul": Source(
        watch=watch,
        options=(
            Option(name="host", default="127.0.0.1", help="", env="CONSUL_HOST"),
            Option(name="port", type=options.port, default=8500, help="", env="CONSUL_PORT"),
            Option(name="token", default="", help="", env="CONSUL_TOKEN", secret=True),
            Option(name="verify", type=options.boolean, default=True, help=""),
            Option(name="services", type=options.words, default=(), help=""),
            Option(name="mode", type=options.choice("fast", "slow"), default="fast", help=""),
        ),
        check=check,
    ),
    "any": Source(options=(), watch=watch, any_key=True),
}


def load(pairs: str = "", file: Path | None = None, environ: Mapping[str, str] | None = None) -> tuple[Settings, list[str]]:
    settings, problems = config.load(pairs, file, environ or {}, find)
    return settings, list(map(tell, problems))


def find(name: str, place: str) -> Source:
    if name not in TYPES:
        raise ConfigurationError(Problem(place, f"no source type {name!r}", nearest(name, ["disco"], "name one")))
    return TYPES[name]


def tell(problem: Problem) -> str:
    """Return place and message, and the name that may be meant."""
    return f"{problem.place}: {problem.message}" + f"; {problem.remedy}" * problem.remedy.startswith("did you mean")


def values(pairs: str, **more: Any) -> dict[str, Any]:
    """Return what was set, by key."""
    settings, problems = load(pairs, **more)
    assert not problems
    found = {f"{one.name}.{name}": one.options[name] for one in settings.sources for name in one.options.explicit}
    if "disco.path" in pairs:
        found["disco.path"] = ":".join(map(str, settings.path))
    return found


def problem(pairs: str, **more: Any) -> str:
    _, problems = load(pairs, **more)
    assert len(problems) == 1, problems
    return problems[0]


def test_sources_are_ordered_as_first_named() -> None:
    """Sources come in the order in which they were first named, whatever is set later, and have their type's name."""
    settings, problems = load("flat.file=/a:east.type=consul:consul.host=a:flat.required=no:east.host=b")
    assert not problems
    assert [(one.name, one.type) for one in settings.sources] == [
        ("flat", "flat"),
        ("east", "consul"),
        ("consul", "consul"),
    ]
    assert [one.options["required"] for one in settings.sources] == [False, True, True]


# Types


@pytest.mark.parametrize(
    ("type_", "value", "expected"),
    [
        *[(options.seconds, text, number) for text, number in [("1", 1), ("0.5", 0.5), (".5", 0.5), ("3.", 3), ("0", 0)]],
        *[(options.seconds, text, number) for text, number in [("500ms", 0.5), ("7s", 7), ("2m", 120), ("1.5h", 5400)]],
        *[(options.seconds, text, None) for text in ("", "-1", "1e3", "1 s", "1d", "inf", "nan", "m", "1.2.3", "121h", "9" * 400)],
        (options.variables, "A, b.c,", ("A", "b.c")),
        *[(options.variables, text, None) for text in ("", ",", "A=1", "A_*", "A\tB")],
        *[(options.count, text, number) for text, number in [("0", 0), ("12", 12), ("007", 7)]],
        *[(options.count, text, None) for text in ("", "-1", "+1", "1.0", "1_0", "x", "9" * 10, "²")],
        *[(options.boolean, text, True) for text in ("true", "YES", "On", "1")],
        *[(options.boolean, text, False) for text in ("false", "No", "OFF", "0")],
        *[(options.boolean, text, None) for text in ("", "2", "y", "enabled")],
        *[(options.port, text, number) for text, number in [("1", 1), ("8500", 8500), ("65535", 65535), ("00080", 80)]],
        *[(options.port, text, None) for text in ("", "0", "65536", "-1", "x", "0000000080000", "²", "80a")],
        *[(options.path, text, number) for text, number in [("/a", Path("/a")), ("b", Path("b"))]],
        *[(options.path, text, None) for text in ("", "a\0b", "\ud800")],
        *[(options.directories, text, number) for text, number in [("/a::/b:", (Path("/a"), Path("/b")))]],
        *[(options.directories, text, None) for text in ("", ":", "/a:b\0")],
        *[(options.words, text, number) for text, number in [("a", ("a",)), (" a, b=c ,", ("a", "b=c"))]],
        *[(options.words, text, None) for text in ("", " , ")],
        *[(options.choice("a", "b"), text, number) for text, number in [("a", "a"), ("A", None), ("", None)]],
        *[(options.at_least(0.05, options.seconds), text, number) for text, number in [("50ms", 0.05), ("49ms", None)]],
        *[(options.text, text, number) for text, number in [("a", "a"), ("", None)]],
    ],
)
def test_types(type_: Callable[[str], Any], value: str, expected: Any) -> None:
    """Each type takes what it should, and refuses all else by what it expected, without the value."""
    if expected is not None:
        assert type_(value) == expected
        return
    with pytest.raises(ValueError) as caught:  # noqa: PT011 -- looked at below
        type_(value)
    assert not value or len(value) < 4 or value not in str(caught.value)


def test_defaults() -> None:
    """Without configuration disco's own options have their documented defaults, and there is no source."""
    settings, problems = load()
    assert not problems
    found = (settings.path, settings.interval, settings.fail_limit, settings.timeout, settings.handler_timeout)
    assert found == ((Path("/etc/disco"),), 1.0, 5, 0.0, 60.0)
    assert (settings.workers, settings.grace, settings.sources) == (4, 5.0, ())
    (source,) = load("consul.host=a")[0].sources
    assert {name: source.options[name] for name in ("timeout", "required", "port")} == {
        "timeout": 10.0,
        "required": True,
        "port": 8500,
    }


# What is wrong


def test_all_problems_at_once() -> None:
    """Every problem is reported, each with its key and what was expected; what is right is still taken."""
    settings, problems = load(
        "oops:disco.interval=0.01:disco.workers=0:disco.grace=2:disco.pth=/x:consul.prot=1:consul.port=x:consul.tokn=y"
        ":consul.token=a:consul.token_file=/b:disko.path=/x:east.type=:flat.file="
    )
    assert problems == [
        "DISCO_CFG: pair 1: expected key=value, with a key like disco.path",
        "DISCO_CFG: disco.interval: expected at least 0.05",
        "DISCO_CFG: disco.workers: expected at least 1",
        "DISCO_CFG: disco.pth: no such option; did you mean disco.path?",
        "DISCO_CFG: consul.prot: no such option; did you mean consul.port?",
        "DISCO_CFG: consul.port: expected a port from 1 to 65535",
        "DISCO_CFG: consul.tokn: no such option; did you mean consul.token?",
        "DISCO_CFG: consul.token_file: consul.token is set too, and only one of them can be",
        "DISCO_CFG: disko.path: no source type 'disko'; did you mean disco?",
        "DISCO_CFG: east.type: no source type ''",
        "DISCO_CFG: flat.file: expected a path",
    ]
    assert (settings.grace, settings.interval, settings.workers) == (2.0, 1.0, 4)


def test_options_judged_together() -> None:
    """A type's own check of its options is asked, once they are all right by themselves."""
    assert problem("consul.host=alone") == "consul.host: expected a friend"
    assert "port" in problem("consul.host=alone:consul.port=x")


def test_any_key() -> None:
    """A type may take any key as text; the options of every source keep their types with it."""
    (source,) = load("any.x.y=1:any.timeout=2s")[0].sources
    assert (source.options["x.y"], source.options["timeout"], "z" in source.options) == ("1", 2.0, False)
    assert problem("any.timeout=0") == "DISCO_CFG: any.timeout: expected at least 0.05"
    assert load("any.interfaces=db, web-*")[0].sources[0].options["interfaces"] == ("db", "web-*")
    assert "names of interfaces" in problem("any.interfaces=a/b")
    assert "a list" in problem("any.interfaces=,")


# Secrets


@pytest.mark.parametrize(
    "pairs",
    [
        f"consul.token={SECRET}",
        f"consul.tokn={SECRET}",
        f"consul.port={SECRET}",
        f"consul.verify={SECRET}:consul.mode={SECRET}:consul.timeout={SECRET}",
        f"{SECRET}",
        f"consul.host=a:={SECRET}",
        f"disco.workers={SECRET}:disco.pat={SECRET}",
    ],
)
def test_values_are_never_shown(pairs: str) -> None:
    """No value, secret or not, is in any problem, nor in what options print as."""
    settings, problems = load(pairs)
    assert SECRET not in repr(settings)
    assert SECRET not in " ".join(problems)


def test_secret_file(tmp_path: Path) -> None:
    """A secret's file is read each time it is asked for, less the end of its line; what is wrong is told then."""
    file = tmp_path / "token"
    settings, problems = load(f"consul.token_file={file}")
    assert not problems
    options = settings.sources[0].options
    assert options.explicit == {"token_file"}
    with pytest.raises(SourceError, match=r"token_file: .*No such file"):
        options["token"]
    for content, expected in [(b"one\n", "one"), (b" two \r\n", " two ")]:
        file.write_bytes(content)
        assert options["token"] == expected
    for content, reason in [(b"\xff", "no UTF-8"), (b"x" * (65 << 10), "larger than 64 KiB")]:
        file.write_bytes(content)
        with pytest.raises(SourceError, match=reason):
            options["token"]


# The environment's own variables


@pytest.mark.parametrize(
    ("pairs", "environ", "expected"),
    [
        ("consul.verify=1", {"CONSUL_PORT": "1", "CONSUL_HOST": ""}, (1, "127.0.0.1", "")),
        ("consul.port=2", {"CONSUL_PORT": "x", "CONSUL_HOST": "h"}, (2, "h", "")),
        ("consul.verify=1", {"CONSUL_TOKEN": "t", "CONSUL_TOKEN_FILE": "/none"}, (8500, "127.0.0.1", "t")),
        ("consul.verify=1", {"CONSUL_TOKEN_FILE": "FILE"}, (8500, "127.0.0.1", "filed")),
        ("consul.token=k", {"CONSUL_TOKEN_FILE": "/none"}, (8500, "127.0.0.1", "k")),
        ("consul.token_file=FILE", {"CONSUL_TOKEN": "t"}, (8500, "127.0.0.1", "filed")),
    ],
)
def test_environment_gives_defaults(tmp_path: Path, pairs: str, environ: dict[str, str], expected: Any) -> None:
    """A variable that is set gives an option's default; a key wins over it, and then it is not even looked at."""
    (tmp_path / "f").write_text("filed\n")
    environ = {name: value.replace("FILE", str(tmp_path / "f")) for name, value in environ.items()}
    settings, problems = load(pairs.replace("=FILE", f"={tmp_path / 'f'}"), environ=environ)
    assert not problems
    options = settings.sources[0].options
    assert (options["port"], options["host"], options["token"]) == expected
    assert options.explicit == {pairs.partition("=")[0].partition(".")[2]}


def test_wrong_environment() -> None:
    """A variable with a value of the wrong type is told by its own name."""
    assert problem("consul.verify=1", environ={"CONSUL_PORT": "x"}) == "CONSUL_PORT: expected a port from 1 to 65535"


# The file


def test_file_is_merged(tmp_path: Path) -> None:
    """The file has the same keys, nested; its sources come first, and DISCO_CFG wins key by key."""
    file = tmp_path / "disco.yaml"
    file.write_text(
        "disco: {path: [/a, /b], interval: 500ms, workers: 2}\n"
        "consul: {host: 'http://h:1', port: 1, verify: no, services: [web, db=pg]}\n"
        "any.a.b: x\nany: {c: {d: true}}\nflat:\n"
    )
    settings, problems = load("flat.file=/f:consul.port=2:disco.workers=3:late.type=any", file)
    assert not problems
    assert (settings.path, settings.interval, settings.workers) == ((Path("/a"), Path("/b")), 0.5, 3)
    assert [one.name for one in settings.sources] == ["consul", "any", "flat", "late"]
    consul, any_, flat, _ = (one.options for one in settings.sources)
    assert [consul[name] for name in ("host", "port", "verify", "services")] == [
        "http://h:1",
        2,
        False,
        ("web", "db=pg"),
    ]
    assert (any_["a.b"], any_["c.d"], flat["file"]) == ("x", "true", Path("/f"))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("consul:\n  prot: 1", "2:9: consul.prot: no such option; did you mean consul.port?"),
        ("consul:\n  port: hunter2", "2:9: consul.port: expected a port from 1 to 65535"),
        ("consul: {}\nnope: {}", "2:7: nope: no source type 'nope'"),
    ],
)
def test_wrong_options_in_a_file(tmp_path: Path, content: str, expected: str) -> None:
    """A wrong option of the file is reported with file, line and column."""
    file = tmp_path / "disco.yaml"
    file.write_text(content)
    assert problem("", file=file) == f"{file}:{expected}"


@pytest.mark.parametrize("content", ["", "{}", "disco:", "disco: {}"])
def test_empty_file(tmp_path: Path, content: str) -> None:
    """A file without anything in it is fine."""
    file = tmp_path / "disco.yaml"
    file.write_text(content)
    assert load("", file) == load("")


def test_missing_file(tmp_path: Path) -> None:
    """A file that is not there is a problem beside the others."""
    _, problems = load("disco.workers=0", tmp_path / "none")
    assert problems == [f"-c: {tmp_path}/none: No such file or directory", "DISCO_CFG: disco.workers: expected at least 1"]
