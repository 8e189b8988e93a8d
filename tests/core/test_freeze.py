"""The freeze: when data that changes all the time is no longer adopted."""

from __future__ import annotations

import pytest

from disco.core.actions import Outbox
from disco.core.adoption import Adoption
from disco.core.freeze import Freeze
from disco.core.schedule import RuleState
from tests.core.world import rule

NOW = 1000.0


class Scene:
    """One rule, which may run twice in a row on nothing but other data."""

    def __init__(self) -> None:
        self.outbox = Outbox()
        self.adoption = Adoption([("a",)], 0.0)
        self.freeze = Freeze(2, self.adoption, self.outbox)
        self.state = RuleState(rule("r", "a"), 0)
        self.turn = 0

    def run(self, *, is_calm: bool = True) -> bool:
        self.turn += 1
        basis = (("a", str(self.turn)),)
        frozen = self.freeze.count_run(self.state, basis, NOW, is_calm=is_calm)
        self.state.started_on = basis
        return frozen


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_the_third_rerun_in_a_row_freezes(scene: Scene) -> None:
    """The first run is none; then nothing is adopted, and that is told once."""
    assert [scene.run() for _ in range(6)] == [False, False, False, True, False, False]
    assert scene.adoption.frozen
    assert scene.freeze.rule == "r"
    assert len(scene.outbox.empty()) == 1


def test_other_reasons_to_wait_end_the_row(scene: Scene) -> None:
    """Where exec waits for more than this rule, its reruns keep nobody waiting."""
    assert [scene.run(is_calm=number % 3 != 0) for number in range(20)] == [False] * 20


def test_the_same_data_again_is_no_rerun(scene: Scene) -> None:
    """A run after a failure, on the same data, is not counted."""
    scene.run()
    basis = scene.state.started_on
    assert basis
    assert not any(scene.freeze.count_run(scene.state, basis, NOW, is_calm=True) for _ in range(10))


def test_thaw_begins_anew(scene: Scene) -> None:
    """After a failure all is as it was at first."""
    for _ in range(4):
        scene.run()
    scene.freeze.thaw()
    assert (scene.freeze.rule, scene.adoption.frozen) == ("", False)
    assert [scene.run() for _ in range(3)] == [False, False, True]
