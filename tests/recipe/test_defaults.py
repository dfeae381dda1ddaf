"""What becomes of ``auto``, and what contradicts itself before anything is allocated."""

from __future__ import annotations

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from netwright.errors import RecipeError
from netwright.recipe import Recipe, override
from netwright.recipe.defaults import AVERAGE, resolve
from netwright.records import DataFacts


@settings(deadline=None)
@given(
    st.floats(0.5, 0.9999), st.integers(16, 5000), st.integers(1, 20), st.integers(2, 16), st.integers(1, 3)
)  # fmt: skip
def test_an_average_is_within_the_run_or_stops(
    decay: float, examples: int, epochs: int, size: int, accumulate: int
) -> None:
    """Against the steps counted one by one: an update of share 1 - decay every fifth step remembers 5 / (1 - decay)."""
    assume(decay != AVERAGE)  # the rule's own, which is for runs of any length
    facts = DataFacts(kind="table", task="regression", input_shape=(4,), examples=examples, outputs=1)
    asked = {"train.epochs": epochs, "train.batch_size": size, "train.accumulate": accumulate}
    recipe = override(Recipe(), asked | {"train.average": decay})
    steps = sum(1 for _ in range(epochs) for _ in range(0, examples, size * accumulate))
    if 5 / (1 - decay) <= steps:
        assert resolve(recipe, facts).train.average == decay
        return
    with pytest.raises(RecipeError, match=rf"run of {steps}") as stopped:
        resolve(recipe, facts)
    better = float(stopped.value.suggestion.rpartition("=")[2])
    resolve(override(recipe, {"train.average": better}), facts)  # what is offered is taken


def test_the_rules_own_average_may_be_longer_than_a_short_run() -> None:
    """It forgets the first weights by itself; nobody asked for that window."""
    facts = DataFacts(kind="table", task="regression", input_shape=(4,), examples=20, outputs=1)
    resolved = resolve(override(Recipe(), {"train.epochs": 1}), facts)
    assert resolve(resolved, facts).train.average == resolved.train.average > 0
