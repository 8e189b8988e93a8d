"""What the tests of documents and values share."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import strategies as st

from disco.data.documents import parse
from disco.errors import DocumentError

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda below: st.lists(below, max_size=4) | st.dictionaries(st.text(), below, max_size=4),
    max_leaves=12,
)


def data(text: str | bytes, *, places: bool = True) -> Any:
    return parse(text.encode() if isinstance(text, str) else text, "f", places=places).data


def refusal(text: str | bytes) -> str:
    with pytest.raises(DocumentError) as caught:
        data(text)
    return str(caught.value)


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth
