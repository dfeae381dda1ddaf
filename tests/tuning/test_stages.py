"""The staged search: the order of keys, no recipe twice, narrower in the end, and better than it began."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from netwright.recipe import override
from netwright.tuning.spaces import parse
from netwright.tuning.stages import Tried, propose, stage_at, stages
from tuning_fakes import RECIPE, SPACE, quality

FULL = parse([*SPACE, "train.weight_decay=1e-6..0.1@log"], RECIPE)


def search(space_texts: list[str], trials: int, seed: int, score) -> list[Tried]:  # type: ignore[no-untyped-def]
    space = parse(space_texts, RECIPE)
    tried: list[Tried] = []
    for number in range(trials):
        values = propose(space, tried, number / trials, random.Random(f"{seed} {number}"))
        if values is None:
            break
        tried.append(Tried(values, score(values, space), True))
    return tried


def test_the_stages_are_those_of_the_textbook() -> None:
    found = stages(FULL)
    assert [stage.keys for stage in found] == [
        ("train.lr",), ("train.momentum", "train.batch_size"), ("network.depth",), ("train.weight_decay",),
    ]  # fmt: skip
    assert found[0].start == 0
    assert found[-1].end == 1
    assert [stage_at(FULL, progress) for progress in (0.0, 0.3, 0.7, 0.9, 1.0)] == [0, 1, 2, 3, 4]


def test_the_first_stage_moves_the_rate_alone() -> None:
    draw = random.Random(0)
    own = FULL.complete({})
    for _ in range(50):
        values = propose(FULL, [], 0.05, draw)
        assert values is not None
        assert {key: value for key, value in values.items() if key != "train.lr"} == {
            key: value for key, value in own.items() if key != "train.lr"
        }


@settings(deadline=None, max_examples=30)
@given(
    seed=st.integers(0, 10**6),
    texts=st.lists(
        st.sampled_from([*SPACE, "train.schedule=cosine,constant,step"]), min_size=1, max_size=5, unique=True
    ),
    progress=st.floats(0, 1.2),
)
def test_no_recipe_is_proposed_twice_and_all_belong_to_the_space(seed: int, texts: list[str], progress: float) -> None:
    space = parse(texts, RECIPE)
    tried: list[Tried] = []
    draw = random.Random(seed)
    for _ in range(30):
        values = propose(space, tried, progress, draw)
        if values is None:
            assert len(tried) == space.size
            break
        assert all(each.holds(values[each.key]) for each in space)
        assert values not in [each.values for each in tried]
        tried.append(Tried(values, draw.random(), True))


def test_a_small_space_is_tried_whole_and_then_over() -> None:
    tried = search(["network.depth=1..3", "train.batch_size=16,32"], 30, 0, lambda values, space: 0.0)
    assert len(tried) == 6


def test_a_stage_ends_narrower_than_it_begins() -> None:
    space = parse(["train.lr=1e-4..1@log"], RECIPE)
    best = Tried({"train.lr": 0.1}, 1.0, True)
    draw = random.Random(0)

    def spread(progress: float) -> float:
        units = [space.ranges[0].unit(propose(space, [best], progress, draw)["train.lr"]) for _ in range(200)]  # type: ignore[index]
        return max(units) - min(units)

    assert spread(0.1) > 0.9
    assert spread(0.7) < 0.5
    assert spread(0.98) < 0.2


def test_it_finds_the_planted_best_better_than_random_draws() -> None:
    """Over 20 studies of 40 trials on a function whose best is known."""
    wins = 0
    for seed in range(20):
        staged = search(list(SPACE), 40, seed, lambda values, space: quality(override(RECIPE, values), space))
        draw = random.Random(seed)
        space = parse(SPACE, RECIPE)
        at_random = [{each.key: each.value(draw.random()) for each in space} for _ in range(40)]
        wins += max(each.score or 0 for each in staged) >= max(quality(override(RECIPE, v), space) for v in at_random)
    assert wins >= 15  # by luck alone with probability 0.02
