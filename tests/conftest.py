"""Fixtures of all tests."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from lab.servers import BackendsError, find_program
from lab.site import Site

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


@pytest.fixture(scope="session")
def consul_program() -> Path:
    return need_program("consul")


@pytest.fixture(scope="session")
def etcd_program() -> Path:
    return need_program("etcd")


def need_program(name: str) -> Path:
    """Return a server's program; where it cannot be had, skip the test, but fail in CI."""
    try:
        return find_program(name)
    except BackendsError as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(error))
