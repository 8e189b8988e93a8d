"""The schemas of a site: which there are, and all that is wrong with them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from disco.site import schemas

if TYPE_CHECKING:
    from pathlib import Path


def test_load(tmp_path: Path) -> None:
    """All schemas of all directories are loaded; all that is wrong is told together, two for one interface too."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    for name, content in {"a/x.schema": "{}", "b/y.schema": "type: object", "b/z.txt": "["}.items():
        (tmp_path / name).write_text(content)
    loaded = schemas.load([tmp_path / "a", tmp_path / "b"])
    assert (list(loaded.by_interface), loaded.names, loaded.errors, loaded.warnings) == (["x", "y"], {"x", "y"}, (), ())
    for name, content in {
        "b/x.schema": "{}",
        "a/w.schema": "name: y",
        "a/v.schema": "[",
        "b/u.schema": "type: 5",
    }.items():
        (tmp_path / name).write_text(content)
    loaded = schemas.load([tmp_path / "a", tmp_path / "b"])
    assert [str(problem).replace(str(tmp_path), "")[:18] for problem in loaded.errors] == [
        "/a/v.schema:2:1: d",
        "/b/u.schema:1:7: '",
        "/b/x.schema: inter",
        "/b/y.schema: inter",
    ]
    assert f"interface x has a schema already: {tmp_path}/a/x.schema" in str(loaded.errors[2])


def test_names_of_broken_schemas(tmp_path: Path) -> None:
    """A broken schema's interface is known, by its file or its `name`: rules that name it are not wrong too."""
    for name, content in {"a": "[", "b": "{name: c, type: 5}", "d": "{name: e}"}.items():
        (tmp_path / f"{name}.schema").write_text(content)
    loaded = schemas.load([tmp_path])
    assert (list(loaded.by_interface), loaded.names, len(loaded.errors)) == (["e"], {"a", "c", "e"}, 2)


def test_doubts_are_warnings(tmp_path: Path) -> None:
    """What is doubtful in the schemas is found with them, in their order."""
    for name in ("a", "b"):
        (tmp_path / f"{name}.schema").write_text("propertis: {}")
    assert [problem.place for problem in schemas.load([tmp_path]).warnings] == [f"{tmp_path}/{name}.schema:1:12" for name in "ab"]
