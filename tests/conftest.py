"""Fixtures of all tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.harness import Site

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """Give an empty site in a folder of its own."""
    made = Site(tmp_path)
    yield made
    made.clean_up()
