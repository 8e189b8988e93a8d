"""Quoting: what real readers of each language get is the value, whatever it holds; what they would get wrong is refused."""

from __future__ import annotations

import io
import json
import subprocess
import tomllib
import urllib.request
from configparser import ConfigParser
from typing import TYPE_CHECKING, Any

import dotenv
import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from lab.servers import free_ports
from lab.waiting import eventually

from disco.handlers import quoting
from disco.handlers.quoting import FILTERS, UnquotableError
from tests.conftest import need_program

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

HOSTILE = "'\"\\$`;#{}()<>|&!*?~%=:,.[]@ \t\n\r\v\f\0\x1b\x1c\x7f\x85\xa0\u2028\u2029\ufeffaNé€\U0001f600"
TEXTS = st.text() | st.text(HOSTILE)
SCALARS = TEXTS | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(SCALARS | st.none(), lambda below: st.lists(below) | st.dictionaries(TEXTS, below), max_leaves=10)
REMARKABLE = ["", "a", "no", "0123", "0o14", "1e3", "~", "null", "22:22", "<<", "a b", "it's", 'say "x"', "\\n", "-", "#x", "%x"]


def as_text(value: Any) -> str:
    """Return a scalar as a file without types holds it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def quote_all(name: str, values: list[Any]) -> list[tuple[str, str]]:
    """Return those of the values that a filter takes, as text, each with what the filter makes of it."""
    quoted = []
    for value in values:
        try:
            quoted.append((as_text(value), FILTERS[name](value)))
        except UnquotableError:
            continue
    return quoted


@pytest.mark.parametrize("program", ["sh", "bash"])
def test_shell(program: str) -> None:
    """A shell takes each word for the value; only a NUL is refused."""

    @given(st.lists(SCALARS, min_size=1))
    @settings(max_examples=60)
    def check(values: list[Any]) -> None:
        words = quote_all("shell", values)
        assert len(words) == sum("\0" not in as_text(value) for value in values)
        script = "".join(f"printf '%s\\0' {word}\n" for _, word in words)
        done = subprocess.run([program, "-s"], input=script.encode(), capture_output=True, check=True)
        assert done.stdout.decode().split("\0")[:-1] == [text for text, _ in words]

    check()


@given(st.lists(SCALARS, min_size=1))
@settings(max_examples=60)
def test_dotenv(values: list[Any]) -> None:
    """A shell and python-dotenv read the same value from a dotenv file, and no variable more."""
    words = quote_all("dotenv", [*values, *REMARKABLE])
    assert len(words) >= len(REMARKABLE)
    content = "".join(f"V{number}={word}\n" for number, (_, word) in enumerate(words))
    expected = {f"V{number}": text for number, (text, _) in enumerate(words)}
    assert dotenv.dotenv_values(stream=io.StringIO(content)) == expected
    script = content + "".join(f"printf '%s\\0' \"$V{number}\"\n" for number in range(len(words)))
    done = subprocess.run(["sh", "-s"], input=script.encode(), capture_output=True, check=True)
    assert done.stdout.decode().split("\0")[:-1] == list(expected.values())


@given(st.lists(SCALARS, min_size=1))
def test_ini(values: list[Any]) -> None:
    """A parser of INI files reads the value, also with inline comments switched on."""
    words = quote_all("ini", [*values, "a#b", "a=b", "50%"])
    content = "[s]\n" + "".join(f"v{number} = {word}\n" for number, (_, word) in enumerate(words)) + "end = 1\n"
    for comments in (None, ("#", ";")):
        parser = ConfigParser(interpolation=None, inline_comment_prefixes=comments)
        parser.read_file(io.StringIO(content, newline="\n"))
        assert dict(parser["s"]) == {f"v{number}": text for number, (text, _) in enumerate(words)} | {"end": "1"}


@given(VALUES)
def test_json(value: Any) -> None:
    """JSON is the value, in ASCII, on one line; null is refused, since what is undefined looks the same."""
    if value is None:
        with pytest.raises(UnquotableError, match="undefined, or null"):
            FILTERS["json"](value)
        return
    text = FILTERS["json"](value)
    assert json.loads(text) == value
    assert text.isascii()
    assert text.isprintable()


@given(VALUES.filter(lambda value: value is not None))
@example(1e22)
@example({"a": [1e-7, "1e3"]})
def test_yaml(value: Any) -> None:
    """YAML is the value on one line, at any place in a block, and no text becomes a number, a truth value or a date."""
    text = FILTERS["yaml"](value)
    assert text.isprintable()
    block = f"a:\n  - b: {text}\n    c: 1\n"
    assert yaml.safe_load(block) == yaml.load(block, yaml.CSafeLoader) == {"a": [{"b": value, "c": 1}]}


@pytest.mark.parametrize("text", REMARKABLE)
def test_texts_stay_texts(text: str) -> None:
    """What a language would take for something else stays a text there."""
    assert yaml.safe_load(FILTERS["yaml"](text)) == text
    assert tomllib.loads(f"a = {FILTERS['toml'](text)}")["a"] == text
    assert quoting.yaml(text).startswith('"')


def holds_what_toml_lacks(value: Any) -> bool:
    below = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return value is None or (isinstance(value, int) and not -1 << 63 <= value < 1 << 63) or any(map(holds_what_toml_lacks, below))


@given(VALUES)
def test_toml(value: Any) -> None:
    """TOML is the value on one line; it has no null, and no integers of more than 64 bits."""
    if holds_what_toml_lacks(value):
        with pytest.raises(UnquotableError, match=r"which TOML does not have|undefined, or null"):
            FILTERS["toml"](value)
        return
    text = FILTERS["toml"](value)
    assert text.isprintable()
    assert tomllib.loads(f"a = {text}\nb = 1\n") == {"a": value, "b": 1}


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("shell", "a\0b", "a NUL"),
        ("shell", None, "undefined, or null"),
        ("shell", ["a"], "neither text nor number"),
        ("nginx", "a$b", r"a \$"),
        ("nginx", "\0", "a NUL"),
        ("dotenv", "a\nLD_PRELOAD=x", "a line break"),
        ("dotenv", "a\u2028b", "a line break"),
        ("dotenv", "${HOME}", r"\$\{"),
        ("dotenv", "a\\\\b", "at the end"),
        ("dotenv", "it's $5", "a ' together"),
        ("ini", "a\n[admin]", "a line break"),
        ("ini", "a\rb", "a line break"),
        ("ini", " a", "white space"),
        ("ini", "a ; b", "after a space"),
        ("toml", 1 << 63, "64 bits"),
        ("toml", {"a": None}, "a null"),
        ("yaml", {"k" * 1100: 1}, "more than 1000 characters"),
        ("yaml", None, "undefined, or null"),
    ],
)
def test_refusals(name: str, value: Any, why: str) -> None:
    """What cannot be quoted is refused with a reason."""
    with pytest.raises(UnquotableError, match=why):
        FILTERS[name](value)


@pytest.fixture(scope="module")
def nginx(tmp_path_factory: pytest.TempPathFactory) -> Callable[[list[str]], list[str]]:
    """Give what lets a real nginx answer with each of these parameters, and returns the answers."""
    program = need_program("nginx")
    folder = tmp_path_factory.mktemp("nginx")

    def ask(parameters: list[str]) -> list[str]:
        return _serve(str(program), folder, parameters)

    return ask


def _serve(program: str, folder: Path, parameters: list[str]) -> list[str]:
    port = free_ports(1)[0]
    locations = "".join(f"location = /{number} {{ return 200 {word}; }}\n" for number, word in enumerate(parameters))
    temporary = "".join(f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    (folder / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {folder}/pid; error_log {folder}/error; events {{}}\n"
        f"http {{ access_log off; default_type text/plain; {temporary}\nserver {{ listen 127.0.0.1:{port};\n{locations}}} }}\n"
    )
    process = subprocess.Popen([program, "-p", str(folder), "-c", str(folder / "nginx.conf")], stderr=subprocess.DEVNULL)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def get(number: int) -> str:
        assert process.poll() is None, (folder / "error").read_text()
        with opener.open(f"http://127.0.0.1:{port}/{number}", timeout=10) as answer:
            content: bytes = answer.read()
            return content.decode()

    def is_up() -> bool:
        try:
            return get(0) is not None
        except OSError:
            return False

    try:
        eventually(is_up, "nginx")
        return [get(number) for number in range(len(parameters))]
    finally:
        process.terminate()
        process.wait()


def test_nginx(nginx: Callable[[list[str]], list[str]]) -> None:
    """A real nginx takes each parameter for the value; a NUL or a $ is refused."""

    @given(st.lists(TEXTS.filter(lambda text: len(text) < 500), min_size=30))
    @settings(max_examples=5)
    def check(values: list[Any]) -> None:
        words = quote_all("nginx", ["a", "", "x; } server {", "a\\", '"', "a\\n\n\t\r", *values])
        assert nginx([word for _, word in words]) == [text for text, _ in words]

    check()
