"""The learners without a network: neighbours by brute force, choices by the held-out rows, values and classes."""

from __future__ import annotations

import numpy as np
import pytest

from netwright.classical import learners


def rows(seed: int, count: int, kinds: int = 3) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    y = generator.integers(0, kinds, count)
    return (generator.standard_normal((count, 5)) + 2.5 * np.eye(5)[y]).astype(np.float32), y


def test_neighbours_are_those_of_all_distances() -> None:
    (x, y), (held, asked), (test, _) = rows(0, 150), rows(1, 80), rows(2, 60)
    learnt = learners.neighbours(x, y, held, asked, "classification")
    apart = np.linalg.norm(test[:, None] - x[None], axis=2)

    def told(distances: np.ndarray, k: int) -> list[int]:
        answers = []
        for row in distances:
            near = y[np.argsort(row, kind="stable")[:k]].tolist()
            answers.append(max(near, key=lambda label: (near.count(label), -near.index(label))))
        return answers

    wrong = {
        k: float(np.mean(np.array(told(np.linalg.norm(held[:, None] - x[None], axis=2), k)) != asked))
        for k in learners.NEIGHBOURS
    }
    k = min(learners.NEIGHBOURS, key=lambda each: wrong[each])
    assert learnt.choice == f"k = {k}"
    assert learnt.predict(test).tolist() == told(apart, k)


@pytest.mark.parametrize("learner", [learners.linear, learners.neighbours, learners.trees])
def test_values_and_classes_are_learned(learner: object) -> None:
    (x, y), (held, asked), (test, truth) = rows(0, 400), rows(1, 100), rows(2, 200)
    learnt = learner(x, y, held, asked, "classification")  # type: ignore[operator]
    assert (learnt.predict(test) != truth).mean() < 0.2
    values = [each @ np.arange(10.0).reshape(5, 2) + 1 for each in (x, held, test)]
    learnt = learner(x, values[0], held, values[1], "regression")  # type: ignore[operator]
    left = np.square(learnt.predict(test) - values[2]).mean() / values[2].var(0).mean()
    assert learnt.predict(test).shape == (200, 2)
    assert left < 0.3


@pytest.mark.parametrize("learner", [learners.linear, learners.neighbours, learners.trees])
def test_one_class_and_nothing_held_out_are_no_trouble(learner: object) -> None:
    x, _ = rows(0, 20)
    learnt = learner(x, np.full(20, 2), x[:0], np.zeros(0, np.int64), "classification")  # type: ignore[operator]
    assert set(learnt.predict(x).tolist()) == {2}


def test_pictures_get_features_of_pictures_and_small_ones_do_not() -> None:
    assert next(iter(learners.learners((1, 28, 28), True))).name.startswith("HOG")
    assert not any(each.name.startswith("HOG") for each in learners.learners((1, 4, 4), True))
    assert not any(each.name.startswith("HOG") for each in learners.learners((12,), False))
