"""Trained ensembles: no member twice, samples that judge, and SAMME against its paper."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from netwright import ensemble_training, ensembling, runs, workbench
from netwright.comparing.arms import digest
from netwright.data.opening import bootstrapped, open_source
from netwright.errors import DataError, NetwrightError, StoppedError, UsageError
from netwright.recipe import Recipe, override
from netwright.replicating import FOLDER, Shop
from netwright.training.recording import Interrupted

SMALL: dict[str, Any] = {
    "data.source": "digits", "data.limit": 150, "network.name": "mlp", "network.width": 6, "train.epochs": 1,
    "train.layout": "contiguous", "train.threads": 1, "objective.label_smoothing": 0.0, "network.dropout": 0.0,
    "train.average": 0.0,
}  # fmt: skip
RECIPE = override(Recipe(), SMALL)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """(seed, seed of the sample) of every training that takes place."""
    done: list[tuple[int, int]] = []
    real = workbench.train

    def train(recipe: Recipe, **options: Any) -> Any:
        done.append((recipe.seed, recipe.data.bootstrap_seed))
        return real(recipe, **options)

    monkeypatch.setattr(workbench, "train", train)
    return done


def test_a_stop_trains_no_finished_member_twice(
    tmp_path: Path, counted: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    real, seen = Shop.trained, []

    def stopping(self: Shop, arm: Any, recipe: Recipe) -> Any:
        seen.append(recipe.seed)
        if len(seen) == 3:
            raise Interrupted("stopped")
        return real(self, arm, recipe)

    with monkeypatch.context() as patched:
        patched.setattr(Shop, "trained", stopping)
        with pytest.raises(StoppedError, match="2 of 3 members"):
            ensembling.ensemble(RECIPE, members=3, folder=tmp_path)
    assert [seed for seed, _ in counted] == [0, 1]
    run = ensembling.ensemble(RECIPE, members=3, folder=tmp_path)
    assert [seed for seed, _ in counted] == [0, 1, 2]
    members = ensembling.account(run).members
    assert all(each.name.startswith(f"{FOLDER}/") for each in members)
    assert all(runs.find(each.name, tmp_path) == Path(each.run) for each in members)
    ensembling.ensemble(override(RECIPE, {"seed": 1}), members=2, folder=tmp_path)
    assert len(counted) == 3  # the members of another ensemble, as they are


def test_samples_judge_what_they_do_not_hold(tmp_path: Path, counted: list[Any]) -> None:
    """The out-of-bag accuracy by hand: every example by the members whose sample lacks it."""
    run = ensembling.ensemble(RECIPE, members=3, bagging=True, folder=tmp_path)
    assert counted == [(0, 1), (1, 2), (2, 3)]
    found = ensembling.account(run)
    examples = open_source(run.recipe.data)
    train = examples.parts["train"]
    right = judged = 0
    members = [workbench.load(member.run) for member in found.members]
    raw = train.inputs[0][train.rows]
    from netwright.preprocess import apply

    with torch.inference_mode():
        said = [torch.softmax(each.network(torch.from_numpy(apply(each.inputs.inputs[0], raw))), 1) for each in members]
    bags = [set(bootstrapped(examples, each.recipe.data).parts["train"].rows.tolist()) for each in members]  # type: ignore[union-attr]
    for place, row in enumerate(train.rows.tolist()):  # type: ignore[union-attr]
        asked = [probabilities[place] for probabilities, bag in zip(said, bags, strict=True) if row not in bag]
        if asked:
            judged += 1
            right += int(torch.stack(asked).mean(0).argmax()) == train.targets[row]
    assert found.out_of_bag is not None
    assert found.out_of_bag["examples"] == judged
    assert found.out_of_bag["accuracy"] == pytest.approx(right / judged)
    assert found.parts[0].leaked == {}


def test_samme_is_the_papers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Algorithm 2 of Zhu et al. 2009, example by example, over decisions that are given."""
    examples = open_source(RECIPE.data)
    labels = examples.parts["train"].part_targets().astype(int)
    generator = np.random.default_rng(0)
    decided = [
        np.where(generator.random(len(labels)) < 0.6, labels, generator.integers(0, 10, len(labels))) for _ in "abc"
    ]
    asked: list[dict[str, Any]] = []

    def member(shop: Any, stem: str, recipe: Recipe, number: int, changes: dict[str, Any]) -> int:
        asked.append(changes)
        return number

    monkeypatch.setattr(ensemble_training, "_member", member)
    monkeypatch.setattr(ensemble_training, "_decided", lambda number, examples: decided[number])
    shop = Shop(tmp_path, False, lambda text: None, 3)
    got = list(ensemble_training._boosted(shop, "x", RECIPE, 3, examples, False))
    weights, alphas, drawn = [1 / len(labels)] * len(labels), [], []
    for said in decided:
        wrong = [a != b for a, b in zip(said, labels, strict=True)]
        error = sum(w for w, bad in zip(weights, wrong, strict=True) if bad) / sum(weights)
        alpha = math.log((1 - error) / error) + math.log(10 - 1)
        weights = [w * math.exp(alpha * bad) for w, bad in zip(weights, wrong, strict=True)]
        weights = [w / sum(weights) for w in weights]
        alphas.append(alpha)
        drawn.append(weights)
    assert [weight for _, weight, _ in got] == pytest.approx(alphas)
    place = tmp_path / FOLDER / ensemble_training.BOOSTED / digest(RECIPE)
    for number, expected in zip((2, 3), drawn, strict=False):
        np.testing.assert_allclose(np.load(place / f"{number:03d}.npy"), expected, rtol=1e-9)
    assert asked[0] == {}
    assert [changes["data.bootstrap_seed"] for changes in asked[1:]] == [1, 2]


def test_boosting_ends_where_it_cannot_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    examples = open_source(RECIPE.data)
    labels = examples.parts["train"].part_targets().astype(int)
    monkeypatch.setattr(ensemble_training, "_member", lambda shop, stem, recipe, number, changes: number)
    shop = Shop(tmp_path, False, lambda text: None, 4)

    def boosted(*decided: Any) -> list[Any]:
        monkeypatch.setattr(ensemble_training, "_decided", lambda number, _: decided[number])
        return list(ensemble_training._boosted(shop, "x", RECIPE, 4, examples, False))

    with pytest.raises(NetwrightError, match="nothing wrong"):
        boosted(labels)
    with pytest.raises(NetwrightError, match="which guessing has"):
        boosted((labels + 1) % 10)
    half = np.where(np.arange(len(labels)) % 2, labels, (labels + 1) % 10)
    assert len(boosted(half, labels, labels)) == 2  # the second has nothing wrong: there is nothing to go on with
    assert len(boosted(half, np.where(half == labels, (labels + 1) % 10, labels), (labels + 1) % 10)) == 2


def test_weak_members_become_strong_and_the_same_again(tmp_path: Path, counted: list[Any]) -> None:
    run = ensembling.ensemble(RECIPE, members=4, boosting=True, folder=tmp_path)
    found = ensembling.account(run)
    test = next(part for part in found.parts if part.part == "test")
    assert test.ensemble["accuracy"] > test.mean["accuracy"] + 0.1  # type: ignore[operator]
    assert found.made == "boosting"
    assert len(counted) == 4
    again = ensembling.ensemble(RECIPE, members=4, boosting=True, folder=tmp_path)
    assert len(counted) == 4  # the same weights lead to the same samples, and those to the same members
    assert again.metrics == run.metrics


@pytest.mark.parametrize(
    ("options", "changes", "said"),
    [
        ({"members": 1}, {}, "from 2"),
        ({"boosting": True, "bagging": True}, {}, "one of the two"),
        ({"boosting": True}, {"data.task": "regression"}, "a classification"),
        ({"boosting": True, "weights": [1, 2]}, {}, "its own"),
        ({"members": 3, "weights": [1, 2]}, {}, "3, one a member"),
        ({"bagging": True}, {"data.bootstrap_seed": 3}, "whole training part"),
        ({"members": 2, "snapshots": 2}, {}, "one or the other"),
        ({}, {}, "how many to train"),
    ],
)
def test_wrong_usage_is_said_before_training(
    options: Any, changes: Any, said: str, tmp_path: Path, counted: list[Any]
) -> None:
    with pytest.raises(UsageError, match=said):
        ensembling.ensemble(override(RECIPE, changes), folder=tmp_path, **options)
    assert not counted


def test_weights_of_examples_that_do_not_fit_are_named(tmp_path: Path) -> None:
    file = tmp_path / "w.npy"
    for content, said in (
        (np.ones(3), "150 numbers"), (np.full(150, -1.0), "0 or more"), (np.zeros(150), "no likelihoods"),
        (np.full(150, np.nan), "no likelihoods"), (np.array(["a"] * 150), "150 numbers"),
    ):  # fmt: skip
        np.save(file, content)
        with pytest.raises(DataError, match=said):
            open_source(override(RECIPE, {"data.bootstrap_seed": 1, "data.bootstrap_weights": str(file)}).data)
    with pytest.raises(DataError, match="cannot be read"):
        open_source(override(RECIPE, {"data.bootstrap_seed": 1, "data.bootstrap_weights": "/nowhere.npy"}).data)
    with pytest.raises(DataError, match="a seed"):
        open_source(override(RECIPE, {"data.bootstrap_weights": str(file)}).data)
