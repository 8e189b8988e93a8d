"""Handlers: where they are looked up, and what is said of one that is not found."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from disco.errors import ConfigurationError
from disco.site.handlers import Handlers


@pytest.mark.parametrize(
    ("do", "found"),
    [
        ("both", "site/both"),
        ("onpath", "bin/onpath"),
        ("sub/rel", "site/sub/rel"),
        ("./both", "site/both"),
        ("../bin/both", "bin/both"),
        ("flat", "flat: SITE/flat is not executable; chmod +x SITE/flat"),
        ("./flat", "./flat: SITE/flat is not executable; chmod +x SITE/flat"),
        ("sub", "sub is not found (looked for in disco.path, then PATH); put"),
        ("./sub", "./sub is not found (looked for from this file's directory); correct"),
        ("sub/none", "sub/none is not found (looked for from this file's directory)"),
        ("rel", "rel is not found (looked for in disco.path, then PATH)"),
    ],
)
def test_handlers_are_found(tmp_path: Path, do: str, found: str) -> None:
    """A handler is sought in the directories, then in PATH; with a `/` beside its rules file; one without its x bit is reported."""
    for name, mode in {
        "site/both": 0o755,
        "bin/both": 0o755,
        "bin/onpath": 0o755,
        "site/sub/rel": 0o755,
        "site/flat": 0o644,
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(mode)
    handlers = Handlers([tmp_path / "site"], str(tmp_path / "bin"))
    if " " in found:
        with pytest.raises(ConfigurationError) as caught:
            handlers.find(do, tmp_path / "site", "x.rules:1:1")
        assert str(caught.value).startswith(f"x.rules:1:1: handler {found}".replace("SITE", str(tmp_path / "site")))
    else:
        assert os.path.realpath(handlers.find(do, tmp_path / "site", "")) == str(tmp_path / found)
        assert ("/" in do) == (do not in handlers.programs)


def test_shipped_handlers_come_after_the_sites_own(tmp_path: Path) -> None:
    """A shipped handler is found after disco.path and before PATH, by its name alone; a path is always a file."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "site").mkdir()
    for folder in ("bin", "site"):
        (tmp_path / folder / "disco-wait").write_text("#!/bin/sh\n")
    (tmp_path / "bin" / "disco-wait").chmod(0o755)
    handlers = Handlers([tmp_path / "site"], str(tmp_path / "bin"))
    assert handlers.find("disco-wait", tmp_path, "") == "disco-wait" == handlers.programs["disco-wait"]
    assert handlers.find("bin/disco-wait", tmp_path, "") == str(tmp_path / "bin" / "disco-wait")
    (tmp_path / "site" / "disco-wait").chmod(0o755)
    assert handlers.find("disco-wait", tmp_path, "") == str(tmp_path / "site" / "disco-wait")
    with pytest.raises(ConfigurationError, match=r"handler disco-wat is not found .*; did you mean disco-wait\?"):
        handlers.find("disco-wat", tmp_path, "")


def test_a_path_is_never_a_shipped_handlers_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of the working directory that is named by a path stays a path."""
    monkeypatch.chdir(tmp_path)
    Path("disco-wait").write_text("#!/bin/sh\n")
    Path("disco-wait").chmod(0o755)
    assert Handlers([Path()], "").find("./disco-wait", Path(), "") == "./disco-wait"


def test_a_directory_that_cannot_be_looked_into(tmp_path: Path) -> None:
    """A directory that cannot be looked into has no handler: that is the problem which is reported."""
    with pytest.raises(ConfigurationError, match="handler x is not found"):
        Handlers([tmp_path / ("long" * 100)], str(tmp_path / "none")).find("x", tmp_path, "")
