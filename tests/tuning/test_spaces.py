"""Spaces: the notation reads back, units and values are each other's inverse, contradictions stop."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netwright.errors import RecipeError, UsageError
from netwright.recipe import Recipe, defaults, flat, override
from netwright.records import DataFacts
from netwright.tuning.defaults import default_ranges
from netwright.tuning.spaces import Range, Space, parse

EVERY = (
    "train.lr=1e-4..1@log", "train.momentum=0.5..0.99@log1m", "network.dropout=0..0.5", "network.depth=1..6",
    "network.width=8..64@log", "train.batch_size=16,32,64", "train.schedule=constant,cosine", "train.clip=1.0",
)  # fmt: skip


def test_the_notation_is_read_and_written() -> None:
    texts = [*EVERY, "train.gamma=0.1..0.9 if train.schedule=cosine"]
    space = parse(texts, Recipe())
    assert sorted(space.texts) == sorted(parse(space.texts, Recipe()).texts)
    assert space.named["network.depth"].integer
    assert not space.named["train.lr"].integer
    assert space.named["train.clip"].constant
    assert space.named["train.gamma"].condition == ("train.schedule", ("cosine",))
    assert [each.key for each in space].index("train.gamma") > [each.key for each in space].index("train.schedule")


@given(text=st.sampled_from(EVERY), unit=st.floats(0, 1))
def test_a_value_lies_in_its_range_and_its_unit_gives_it_back(text: str, unit: float) -> None:
    made = Range(key="train.clip", choices=(1.0,)) if text == EVERY[-1] else parse([text], Recipe()).ranges[0]
    value = made.value(unit)
    assert made.holds(value)
    assert (
        made.value(made.unit(value)) == pytest.approx(value)
        if isinstance(value, float)
        else made.value(made.unit(value)) == value
    )


@given(units=st.lists(st.floats(0, 1), min_size=2, max_size=2), text=st.sampled_from(EVERY[:5]))
def test_units_keep_the_order(units: list[float], text: str) -> None:
    made = parse([text], Recipe()).ranges[0]
    low, high = sorted(units)
    assert made.value(low) <= made.value(high)


def test_equal_lengths_are_equal_shares_of_the_scale() -> None:
    rate = parse(["train.lr=1e-4..1@log"], Recipe()).ranges[0]
    assert [rate.value(unit) for unit in (0, 0.25, 0.5, 1)] == pytest.approx([1e-4, 1e-3, 1e-2, 1])
    near_one = parse(["train.momentum=0.9..0.999@log1m"], Recipe()).ranges[0]
    assert near_one.value(0.5) == pytest.approx(0.99)
    depth = parse(["network.depth=1..4"], Recipe()).ranges[0]
    counts = [sum(depth.value((place + 0.5) / 4000) == value for place in range(4000)) for value in range(1, 5)]
    assert max(counts) - min(counts) <= 2  # every whole number has the same share


@pytest.mark.parametrize(
    ("texts", "word"),
    [
        ([], "an empty space"),
        (["train.lr=0.1"], "a space of one recipe"),
        (["train.lr=1..0.1"], "empty"),
        (["train.lr=0..1@log"], "above 0"),
        (["train.momentum=0.5..1@log1m"], "below 1"),
        (["train.lr=1e-4..1@cubic"], "cubic"),
        (["train.lr"], "KEY="),
        (["train.lr="], "KEY="),
        (["train.lr=a..b"], "number"),
        (["train.rate=1..2"], "unknown key"),
        (["train.momentum=0.5..2"], "train.momentum"),
        (["train.batch_size=0..8"], "train.batch_size"),
        (["train.optimizer=sgd,adamm"], "adam"),
        (["train.lr=0.1,0.2", "train.lr=0.3,0.4"], "twice"),
        (["seed=1..4"], "share"),
        (["data.limit=10,20"], "share"),
        (["train.gamma=0.1..0.9 if train.schedule=step"], "can hold"),
        (["train.gamma=0.1..0.9 if train.schedule=step", "train.schedule=cosine,constant"], "can hold"),
        (["train.gamma=0.1..0.9 if train.clip=1", "train.clip=0,1 if train.gamma=0.5"], "depend on each other"),
        (["train.batch_size=16,,32"], "commas"),
        (["train.lr=auto,0.1"], "auto"),
    ],
)
def test_empty_and_contradictory_spaces_say_what_is_wrong(texts: list[str], word: str) -> None:
    recipe = override(Recipe(), {"train.schedule": "cosine"})
    with pytest.raises((UsageError, RecipeError)) as caught:
        parse(texts, recipe)
    assert word in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_conditional_key_counts_only_where_it_should() -> None:
    space = parse(
        ["train.schedule=cosine,step", "train.gamma=0.1..0.9 if train.schedule=step"],
        override(Recipe(), {"train.gamma": 0.5}),
    )
    assert "train.gamma" not in space.complete({"train.schedule": "cosine", "train.gamma": 0.3})
    assert space.complete({"train.schedule": "step", "train.gamma": 0.3})["train.gamma"] == 0.3


def test_default_stands_for_the_default_ranges_and_others_rule_over_it() -> None:
    plain = Range(key="train.lr", low=1e-3, high=1.0, scale="log")
    space = parse(["default", "train.lr=0.1", "network.depth=1..3"], Recipe(), [plain])
    assert space.named["train.lr"].constant
    assert {each.key for each in space.searched} == {"network.depth"}


SHAPES = st.sampled_from([("image", (1, 28, 28)), ("image", (3, 32, 32)), ("table", (14,)), ("series", (1, 4000))])


@given(shape=SHAPES, examples=st.integers(200, 100_000), outputs=st.integers(2, 20), regression=st.booleans())
def test_every_recipe_has_a_default_space_that_holds_it(
    shape: tuple[str, tuple[int, ...]], examples: int, outputs: int, regression: bool
) -> None:
    facts = DataFacts(
        kind=shape[0], task="regression" if regression else "classification", input_shape=shape[1], examples=examples,  # type: ignore[arg-type]
        outputs=outputs,
    )  # fmt: skip
    resolved = defaults.resolve(Recipe(), facts)
    space = Space(default_ranges(resolved, examples), resolved)
    assert "train.lr" in space.named
    values = flat(resolved)
    assert all(each.holds(values[each.key]) for each in space), [each.text for each in space]
    assert space.of_recipe() is not None
    for unit in (0.0, 0.3, 1.0):
        override(resolved, {each.key: each.value(unit) for each in space})  # every corner is a recipe


def test_the_number_of_recipes() -> None:
    assert parse(["network.depth=1..4", "train.batch_size=16,32"], Recipe()).size == 8
    assert parse(EVERY, Recipe()).size == math.inf
