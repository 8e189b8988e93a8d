"""Plain schemas: what is said without jsonschema is what jsonschema says."""

from __future__ import annotations

import copy
import json
import os
from collections import Counter
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from disco.data import plain, validation
from tests.data.making import fit, schemas

PAIRS = int(os.environ.get("PAIRS", "20000"))  # of a plain schema and data; CONTRIBUTING says when there are more
DATA = 20  # for each schema


def examine(content: Any) -> validation.Examined:
    """Return what jsonschema says of a schema."""
    return validation.examine(content, "FILE", lambda *path: "/".join(map(str, path)), dict)


def is_explained(problem: str) -> bool:
    """Return whether a problem is of those that need no jsonschema."""
    return problem.endswith("is required") or ", the schema wants " in problem


@pytest.mark.timeout(120 + PAIRS / 100)
def test_agreement() -> None:
    """jsonschema finds nothing to say of a plain schema, and has the same verdict wherever one is given without it."""
    seen: Counter[str] = Counter()

    @settings(max_examples=2 * PAIRS // DATA, suppress_health_check=list(HealthCheck))
    @given(schemas(), st.integers(0, 1 << 64))
    def compare(content: Any, seed: int) -> None:
        original = copy.deepcopy(content)
        examined = plain.examine(content)
        seen["schemas"] += 1
        if examined is None:
            return
        seen["plain"] += 1
        note(f"{content!r}")
        assert not examine(original).warnings
        assert json.dumps(original) == json.dumps(content)  # `false` is replaced in both
        library = examine(content)
        assert examined.targets == library.targets
        assert all(library.targets[part][0] is target for part, (target, _) in examined.targets.items())
        assert set(map(id, examined.having_defaults)) == set(map(id, library.having_defaults))
        chance = Random(seed)
        for _ in range(DATA):
            data = fit(content, content, chance)
            verdict = plain.find_violations(content, data, examined.targets, "it")
            wanted = validation.find_violations(library.validator, data, "it")
            note(f"{data!r}\n{verdict!r}\n{wanted!r}")
            assert verdict in (None, wanted)
            seen["pairs"] += 1
            kind = "valid" if not wanted else "explained" if all(map(is_explained, wanted)) else "other"
            seen[f"{kind}, judged" if verdict is not None else f"{kind}, not judged"] += 1

    compare()
    print(dict(seen))  # noqa: T201 -- pytest shows it with -s
    assert seen["pairs"] > 0.8 * PAIRS
    assert seen["valid, judged"] > max(0.3 * PAIRS, 15 * seen["valid, not judged"])
    assert seen["explained, judged"] > max(0.05 * PAIRS, 5 * seen["explained, not judged"])
