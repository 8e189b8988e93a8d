"""What reads a schema from its content."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from disco.data import schema

if TYPE_CHECKING:
    from collections.abc import Callable

    from disco.data.schema import Schema


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Schema]:
    """Return what reads a schema from its content."""
    folder = tmp_path_factory.mktemp("schemas")

    def read(content: Any = None, name: str = "app.schema", **keywords: Any) -> Schema:
        path = folder / name
        path.write_text(content if isinstance(content, str) else json.dumps(keywords if content is None else content))
        return schema.read(path)

    return read
