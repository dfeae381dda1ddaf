"""What is said of an ensemble's figures: ties between votes, and whether it is better than its best member."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from netwright.comparing.intervals import sign_test
from netwright.data.loading import Batch
from netwright.ensemble_figures import judged, voted
from netwright.nn.ensembling import Ensemble
from netwright.objectives.classification import Classification, cross_entropy
from netwright.records import EnsembleAccount, EnsembleMember, EnsemblePart
from netwright.reporting import ensembles
from netwright.training.precision import Precision


@given(st.lists(st.sampled_from([1, 2, 3, 5, 7]), min_size=1, max_size=6), st.integers(2, 5), st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_equal_votes_are_decided_by_the_mean_probability_and_by_nothing_else(
    weights: list[int], classes: int, seed: int
) -> None:
    """The same in exact fractions, an example at a time; members are asked in another order, classes renamed."""
    generator = np.random.default_rng(seed)
    decided = generator.integers(0, classes, (len(weights), 40))
    probabilities = generator.dirichlet(np.ones(classes), 40)
    shares = torch.tensor(weights, dtype=torch.float32) / sum(weights)
    votes = sum(w * torch.nn.functional.one_hot(torch.tensor(d), classes) for w, d in zip(shares, decided, strict=True))
    assert isinstance(votes, torch.Tensor)
    found = voted(votes, torch.tensor(probabilities)).tolist()
    for example, elected in enumerate(found):
        exact = [
            sum((Fraction(w, sum(weights)) for w, d in zip(weights, decided[:, example], strict=True) if d == c),
                Fraction(0))
            for c in range(classes)
        ]  # fmt: skip
        first = max(range(classes), key=lambda c: (exact[c], probabilities[example, c]))
        assert elected == first


@given(st.integers(0, 40), st.integers(0, 40))
@settings(max_examples=40, deadline=None)
def test_the_sign_test_is_the_binomial_one(ahead: int, behind: int) -> None:
    expected = stats.binomtest(ahead, ahead + behind).pvalue if ahead + behind else 1.0
    assert sign_test(ahead, behind) == pytest.approx(expected)


class Fixed(torch.nn.Module):
    """Says the same of example 0, 1, 2, … whatever it is asked."""

    def __init__(self, said: list[int]) -> None:
        super().__init__()
        self.said = torch.nn.functional.one_hot(torch.tensor(said), 3) * 6.0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.said[x.long()[:, 0]]


class Once:
    """One batch of examples 0, 1, 2, …, with their labels."""

    exact = True

    def __init__(self, labels: list[int]) -> None:
        self.batch = Batch((torch.arange(len(labels)).float()[:, None],), torch.tensor(labels))

    def __len__(self) -> int:
        return 1

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        yield self.batch


@pytest.mark.parametrize(
    ("said", "best", "gain", "chance", "told"),
    [
        # the first is never wrong, the two others are wrong together on two of ten: asked together they outvote it
        ([[0] * 10, [0] * 8 + [1, 1], [0] * 8 + [1, 1]], "a", -0.2, 0.5, "nothing won: a alone has accuracy 100.0 %"),
        ([[0] * 10, [0] * 10, [1] * 10], "a", 0.0, 1.0, "nothing won: a alone has accuracy 100.0 %"),
        # each wrong on another example: together on none
        ([[1] + [0] * 9, [0, 1] + [0] * 8, [0, 0, 1] + [0] * 7], "a", 0.1, 1.0, "above every member: accuracy"),
    ],
)
def test_the_best_member_is_the_measure(said: Any, best: str, gain: float, chance: float, told: str) -> None:
    network = Ensemble([Fixed(each) for each in said], "probability")
    objective = Classification("cross-entropy", 3, cross_entropy())
    names = ["a", "b", "c"]
    batches, precision = Once([0] * 10), Precision("fp32", torch.device("cpu"))
    part, alone = judged(network, objective, batches, precision, "test", {}, names)
    assert (part.metric, part.best) == ("accuracy", best)
    assert part.gain == pytest.approx(gain)
    assert part.chance == pytest.approx(chance)
    rows = tuple(
        EnsembleMember(name=name, run="", network="mlp", weight=1 / 3, parameters=1, metrics={"test": metrics})
        for name, metrics in zip(names, alone, strict=True)
    )
    line, *_ = ensembles.lines(EnsembleAccount(how="probability", made="runs", members=rows, parts=(part,)))
    assert line.startswith(f"test: {told}")
    assert line.endswith(f"(not told apart, p = {chance:g} by the sign test)")


def test_values_are_better_where_their_error_is_lower() -> None:
    members = [
        EnsembleMember(name=name, run="", network="mlp", weight=0.5, parameters=1, metrics={"test": {"rmse": rmse}})
        for name, rmse in (("a", 2.0), ("b", 3.0))
    ]
    for rmse, told in ((1.5, "better than every member: RMSE 1.500"), (2.5, "nothing won: a alone has RMSE 2.000")):
        part = EnsemblePart(
            part="test", ensemble={"rmse": rmse}, mean={"rmse": 2.5}, metric="rmse", best="a", gain=2.0 - rmse
        )
        account = EnsembleAccount(how="value", made="runs", members=tuple(members), parts=(part,))
        assert told in ensembles.lines(account)[0]
        assert "p =" not in ensembles.lines(account)[0]
