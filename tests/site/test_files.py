"""The files of a site: which there are, in which order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from disco.site import files

if TYPE_CHECKING:
    from pathlib import Path


def test_list_files(tmp_path: Path) -> None:
    """Files with a suffix are listed by directory, then name; hidden ones and folders are not; none hides another."""
    for name in ("b/2.x", "b/10.x", "b/a.y", "b/.h.x", "b/.x", "a/2.x", "a/sub.x/3.x"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = files.list_files([tmp_path / "b", tmp_path / "a"], ".x")
    assert [str(path.relative_to(tmp_path)) for path in found] == ["b/10.x", "b/2.x", "a/2.x"]
    with pytest.raises(FileNotFoundError):
        files.list_files([tmp_path / "none"], ".x")
