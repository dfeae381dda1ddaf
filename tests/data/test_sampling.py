"""Class sampling: how often each class is drawn, that the order is one of (seed, epoch), and what it refuses."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from netwright import building, workbench
from netwright.data.augmenting import Augmenter
from netwright.data.examples import Part
from netwright.data.loading import ArrayBatches, Share
from netwright.data.opening import open_source
from netwright.data.sampling import POWERS, ClassSampling
from netwright.errors import RecipeError
from netwright.preprocess import ImagePreprocess
from netwright.recipe import from_dict
from netwright.recipe.schema import Augment

LONG_TAIL = np.repeat(np.arange(4), (200, 60, 12, 3))


@given(labels=st.lists(st.integers(0, 6), min_size=1, max_size=60), power=st.sampled_from([0.0, 0.5, 0.8, 1.0]))
def test_each_class_is_drawn_in_its_proportion_and_evenly_within(labels: list[int], power: float) -> None:
    """By the definition: n^q / Σ n^q of the draws up to rounding, and no example twice more than a fellow."""
    y = np.asarray(labels)
    order, times = ClassSampling.of(y, power).order(seed=3, epoch=5)
    assert len(order) == len(y)
    sizes = np.bincount(y)
    present = sizes > 0
    share = np.where(present, np.maximum(sizes, 1) ** power, 0)
    wanted = len(y) * share / share.sum()
    drawn = np.bincount(y[order.numpy()], minlength=len(sizes))
    assert (drawn[~present] == 0).all()
    assert (drawn[present] >= 1).all()
    moved = np.maximum(1 - wanted[present], 0).sum()  # what classes below one draw took from others
    assert (np.abs(drawn - wanted)[present] <= 1 + moved).all()
    each = np.bincount(order.numpy(), minlength=len(y))
    for label in np.flatnonzero(present):
        mine = each[y == label]
        assert mine.max() - mine.min() <= 1
    seen: dict[int, list[int]] = {}
    for example, time in zip(order.tolist(), times.tolist(), strict=True):
        seen.setdefault(example, []).append(time)
    assert all(sorted(found) == list(range(len(found))) for found in seen.values())
    if power == 1.0:
        assert sorted(order.tolist()) == list(range(len(y)))


def test_an_order_is_one_of_seed_and_epoch() -> None:
    sampling = ClassSampling.of(LONG_TAIL, 0.0)
    first = sampling.order(0, 0)[0]
    assert torch.equal(first, ClassSampling.of(LONG_TAIL, 0.0).order(0, 0)[0])
    assert not torch.equal(first, sampling.order(0, 1)[0])
    assert not torch.equal(first, sampling.order(1, 0)[0])
    large = LONG_TAIL == 0  # over some epochs all of the largest class come
    seen = torch.cat([sampling.order(0, epoch)[0] for epoch in range(20)])
    assert len(set(seen.tolist()) & set(np.flatnonzero(large).tolist())) == large.sum()


def batches(**options: object) -> ArrayBatches:
    inputs = np.arange(len(LONG_TAIL), dtype=np.float32)[:, None]
    return ArrayBatches(
        Part((inputs,), LONG_TAIL), (lambda raw: raw,), 32, seed=1, sampling=ClassSampling.of(LONG_TAIL, 0.0), **options
    )  # type: ignore[arg-type]


def test_an_epoch_goes_on_from_any_batch() -> None:
    whole = list(batches().epoch(2))
    for start in (1, 4, len(whole) - 1):
        rest = list(batches().epoch(2, start))
        assert len(rest) == len(whole) - start
        assert all(torch.equal(a.inputs[0], b.inputs[0]) for a, b in zip(rest, whole[start:], strict=True))


def test_processes_divide_the_rows_of_the_same_order() -> None:
    whole = list(batches().epoch(0))
    shared = [list(batches(share=Share(rank, 2)).epoch(0)) for rank in range(2)]
    for batch, *parts in zip(whole, *shared, strict=True):
        assert torch.equal(torch.cat([part.targets for part in parts]), batch.targets)


def test_an_example_that_comes_again_is_augmented_otherwise() -> None:
    """Three examples of the rare class are drawn about 23 times each: as many pictures as there are draws."""
    picture = np.full((len(LONG_TAIL), 1, 8, 8), 100, np.uint8)
    record = ImagePreprocess(channels=("grey",), size=(8, 8))
    augmenter = Augmenter(Augment(shift=0.0, rotate=0.0, crop=0.0, noise=0.5, flip="none"), 0, record, classes=4)
    loader = ArrayBatches(
        Part((picture,), LONG_TAIL), (lambda raw: raw.float(),), 32, seed=0, augment=augmenter,
        sampling=ClassSampling.of(LONG_TAIL, 0.0),
    )  # fmt: skip
    rare = torch.cat([batch.inputs[0][batch.targets == 3] for batch in loader.epoch(0)])
    assert len(rare) > 60
    assert len(torch.unique(rare.flatten(1), dim=0)) == len(rare)


def test_what_is_counted_for_weights_is_what_is_drawn() -> None:
    """Square-root draws and balanced weights together: every class has the same weight in an epoch's loss."""
    recipe = from_dict({}, {"train.sampling": "square-root", "objective.class_weights": "balanced", "data.limit": 200})
    material = open_source(recipe.data)
    counts, total = building._counted(material, 10, building._sampling(recipe, material))
    assert sum(counts) == total == 200
    assert POWERS["balanced"] == 0 < POWERS["square-root"] < 1


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"objective.class_weights": "balanced"}, "train.sampling"),
        ({"data.task": "regression"}, "train.sampling"),
        ({"data.task": "multi-label"}, "train.sampling"),
        ({"train.optimizer": "lbfgs"}, "train.sampling"),
    ],
)
def test_contradictions_stop_before_training(changes: dict[str, object], where: str, tmp_path: object) -> None:
    recipe = from_dict({}, {"train.sampling": "balanced", "network.name": "mlp", "data.limit": 100, **changes})
    with pytest.raises(RecipeError) as error:
        workbench.train(recipe, folder=str(tmp_path))
    assert error.value.where == where


def test_a_rare_class_is_learned_from_balanced_draws(tmp_path: object) -> None:
    """Two overlapping classes, 300 to 6: one optimum of plain cross-entropy is to say the first, that of balanced
    draws is the line between their means. The recall of the rare one tells which was learned."""
    generator = np.random.default_rng(0)

    def part(counts: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        y = np.repeat([0, 1], counts)
        return (generator.normal(size=(len(y), 2)) + 1.6 * y[:, None]).astype(np.float32), y

    train, test = part((300, 6)), part((300, 300))
    recall = {}
    for sampling in ("shuffled", "balanced"):
        run = workbench.fit(
            "mlp", train, validation=test, epochs=6, quiet=True, folder=str(tmp_path),
            settings={
                "train.sampling": sampling, "watch.enabled": False, "network.depth": 1, "network.width": 8,
                "network.dropout": 0.0, "train.batch_size": 32,
            },
        )  # fmt: skip
        recall[sampling] = run.metrics["validation"]["balanced_accuracy"]
    assert recall["balanced"] > recall["shuffled"] + 0.1
    assert recall["balanced"] > 0.75
