"""Fixtures of all tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from tests.harness import Site

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# How long one example takes says something of the machine only.
settings.register_profile("disco", deadline=None)
settings.load_profile("disco")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """Give an empty site in a folder of its own."""
    made = Site(tmp_path)
    yield made
    made.clean_up()
