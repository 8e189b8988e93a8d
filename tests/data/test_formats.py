"""Formats: what is checked, what only a warning is given of, and what checking costs a start."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from disco.data import schema

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from disco.data.schema import Schema

    Make = Callable[..., Schema]


def test_formats(make: Make, tmp_path: Path) -> None:
    """A format that can be checked is asserted; one that cannot gives a warning, wherever it stands."""
    known = make(properties={"a": {"format": "ipv4"}, "b": {"format": "date"}})
    assert known.problems({"a": "10.0.0.1", "b": "2020-02-29"}) == ()
    assert known.problems({"a": "10.0.0.256", "b": "2021-02-29"}) == (
        "/a does not satisfy format ipv4",
        "/b does not satisfy format date",
    )
    (tmp_path / "x.schema").write_text("items: {not: {format: bogus}}\n$ref: '#/x'\nx: {format: 'new\\nline'}\nformat: ipv4")
    warnings = schema.read(tmp_path / "x.schema").warnings
    assert len(warnings) == 2
    assert str(warnings[0]).startswith(f"{tmp_path}/x.schema: format bogus is not checked: no installed package can")


def test_grammar_of_iri_is_imported_only_for_a_schema_that_names_it(tmp_path: Path) -> None:
    """The format iri is checked, and its grammar, which takes a second, is imported by a schema that names it alone."""
    pytest.importorskip("rfc3987_syntax")
    (tmp_path / "a.schema").write_text('{"properties": {"x": {"format": "iri"}}}')
    program = (
        "import sys, pathlib; from disco.data import schema; early = 'rfc3987_syntax' in sys.modules; "
        "found = schema.read(pathlib.Path(sys.argv[1]) / 'a.schema'); "
        "print(early, 'rfc3987_syntax' in sys.modules, found.warnings, found.problems({'x': 'no iri'}), found.problems({'x': 'http://a/ü'}))"
    )
    done = subprocess.run([sys.executable, "-c", program, tmp_path], capture_output=True, text=True, check=True)
    assert done.stdout == "False True () ('/x does not satisfy format iri',) ()\n"
