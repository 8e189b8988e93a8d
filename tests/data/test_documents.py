"""Documents: files and texts of people, in YAML and JSON, with places, and no refusal quotes the text."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from disco.data import documents, values
from disco.data.documents import parse
from disco.errors import DocumentError
from tests.data.parsing import JSON, data, nested, refusal

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("text", ["", "# nothing", "---", "\ufeff", "null"])
def test_empty(text: str) -> None:
    """An empty document is null."""
    assert data(text) is None


def test_byte_order_mark() -> None:
    """A byte order mark is no part of the text."""
    assert data("\ufeffa: 1") == {"a": 1} == data('\ufeff{"a": 1}', places=False)
    assert data('\ufeff{"a": "\\ud83d\\ude00"}') == {"a": "\U0001f600"}


def test_limits_are_exact() -> None:
    """What is just within the limits of depth and number is taken, and what is just over is not, from YAML and JSON."""
    assert data(nested(64)) == data(nested(64), places=False) == json.loads(nested(64))
    blocks, rest = divmod(values.NODE_LIMIT - 8, 1000)  # beside the list itself, and the seven of what is within
    block = f"[{', '.join('0' * 999)}]"
    for within, over in [
        ("[0, 1, {}, {a: 1}]", "[0, 1, {}, {a: 1, b: 2}]"),
        ('{"a": [], "b": [0, 0]}', "[0, 0, 0, 0, 0, 0, 0]"),
    ]:
        for repeated in ([f"&block {block}", *["*block"] * (blocks - 1)], [block] * blocks):
            padding = ", ".join([*repeated, *"0" * rest])
            data(f"[{within}, {padding}]", places=False)
            if "*block" in repeated:  # without an alias it takes seconds, and is counted alike
                data(f"[{within}, {padding}]")
                assert f"more than {values.NODE_LIMIT} values" in refusal(f"[{over}, {padding}]")


@pytest.mark.parametrize("places", [True, False])
@given(value=JSON, ascii_=st.booleans(), indent=st.sampled_from([None, 1, "\t"]))
@example(value={"a": "\U0001f600"}, ascii_=True, indent=None)
@example(value={"a": "x\u2028y\x85z\x7f", "k" * 2000: 1}, ascii_=False, indent=None)
@example(value=["\ud800"], ascii_=True, indent=None)
@example(value="x\u2028y\x85z", ascii_=False, indent=None)
@example(value={"a\u2028b": 1, "a b": 2}, ascii_=False, indent=None)
def test_json(value: Any, *, places: bool, ascii_: bool, indent: str | None) -> None:
    """Whatever json.dumps gives of mappings and lists is read back equal, also what libyaml would read otherwise."""
    value = {"value": value}
    text = json.dumps(value, ensure_ascii=ascii_, indent=indent)
    found = data(text.encode(errors="surrogatepass"), places=places)
    assert json.dumps(found) == json.dumps(value)


@pytest.mark.parametrize(
    "hide", ["{0}", '"{0}"', "'{0}", "@{0}", "!{0} x", "*{0}", "%{0}", "[{0}", "{{{0}", "{0}: {0}: {0}", "\x01{0}"]
)
@pytest.mark.parametrize("frame", ["{0}", "a: {0}", "{0}: b", "a: 1\n{0}\na: 1", "a:\n  - {0}\n b"])
def test_errors_never_quote(frame: str, hide: str) -> None:
    """Whatever is wrong, and wherever a secret stands in it, the error does not show it."""
    try:
        data(frame.format(hide.format("hunter2")))
    except DocumentError as error:
        assert "hunter2" not in str(error)  # noqa: PT017 -- not all of these are errors


def test_places() -> None:
    """Each key and item has its place, counted from 1; what has none is where the nearest above it is."""
    document = parse(b"\nrules:\n  - when: a\n    do: {x: 1}\n  - b\n", "f")
    places = [document.at(*path) for path in [(), ("rules",), ("rules", 0), ("rules", 0, "do"), ("rules", 1)]]
    assert places == ["f:2:1", "f:3:3", "f:3:5", "f:4:9", "f:5:5"]
    assert document.at("rules", 0, "do", "x") == "f:4:13"
    assert document.at("rules", 0, "nope", "deeper") == "f:3:5"
    assert document.at("nope") == "f:2:1"


def test_no_places() -> None:
    """Without places a place in YAML is the name alone; those of JSON are found when they are asked for."""
    assert parse(b"a: 1", "f", places=False).at("a") == "f"
    assert parse(b'{"a": 1}', "f", places=False).at("a") == "f:1:7"


def test_read_file_refuses(tmp_path: Path) -> None:
    """A FIFO, a folder, a missing and an unreadable file are refused at once, by name, and no descriptor is lost."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "big").write_bytes(b"x" * 2049)
    before = os.listdir("/proc/self/fd")
    for name, reason in {
        "fifo": "not a regular file",
        ".": "not a regular file",
        "none": "No such file",
        "loop": "symbolic links",
        "big": "larger than 2 KiB",
    }.items():
        with pytest.raises(DocumentError, match=f"{tmp_path / name}: .*{reason}"):
            documents.read_file(tmp_path / name, 2048)
    assert os.listdir("/proc/self/fd") == before
    assert documents.read_file(tmp_path / "big", 2049) == b"x" * 2049


def test_read_file_unreadable(tmp_path: Path) -> None:
    """A file that may not be read is an error that names it."""
    (tmp_path / "f").touch(mode=0)
    root = os.geteuid() == 0
    if root:  # who may read everything
        os.seteuid(65534)
    try:
        with pytest.raises(DocumentError, match=f"{tmp_path}/f: Permission denied"):
            documents.read_file(tmp_path / "f")
    finally:
        if root:
            os.seteuid(0)
