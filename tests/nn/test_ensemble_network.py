"""Several networks as one, against the mean of what they say in double precision."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from netwright.errors import NetworkError
from netwright.nn.ensembling import HOW, Ensemble, How

few = settings(deadline=None, max_examples=30)
logits = st.lists(
    st.lists(st.floats(-300, 300, width=32), min_size=3, max_size=3), min_size=1, max_size=4
)  # (members, classes)  # fmt: skip


class Says(nn.Module):
    """A network that always says the same."""

    def __init__(self, values: Any) -> None:
        super().__init__()
        self.register_buffer("values", torch.from_numpy(np.asarray(values, np.float32)[None]))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.values.expand(len(inputs), -1)  # type: ignore[operator]


def ensemble(said: Any, how: How, weights: Any) -> Ensemble:
    return Ensemble([Says(each) for each in said], how, weights).eval()


def log_mean(logs: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """log Σ w exp(l) over the first axis, in float64, one by one."""
    total = np.full(logs.shape[1:], -np.inf)
    for weight, log in zip(weights / weights.sum(), logs, strict=True):
        total = np.logaddexp(total, np.log(weight) + log)
    return total


@few
@given(said=logits, data=st.data())
def test_the_output_is_the_logarithm_of_the_mean_probability(said: Any, data: st.DataObject) -> None:
    weights = np.array(data.draw(st.lists(st.floats(0.1, 10), min_size=len(said), max_size=len(said))))
    z = np.array(said, np.float64)
    log_p = z - np.logaddexp.reduce(z, axis=1, keepdims=True)
    got = ensemble(said, "probability", weights.tolist())(torch.zeros(1, 1))[0].double().numpy()
    np.testing.assert_allclose(got, log_mean(log_p, weights), rtol=2e-6, atol=2e-6)
    mean = (weights[:, None] / weights.sum() * np.exp(log_p)).sum(0)
    np.testing.assert_allclose(torch.softmax(torch.from_numpy(got), 0).numpy(), mean, atol=1e-5)


@few
@given(said=logits, data=st.data())
def test_labels_get_the_logit_of_their_mean_probability(said: Any, data: st.DataObject) -> None:
    weights = np.array(data.draw(st.lists(st.floats(0.1, 10), min_size=len(said), max_size=len(said))))
    z = np.array(said, np.float64)
    yes, no = log_mean(-np.logaddexp(0, -z), weights), log_mean(-np.logaddexp(0, z), weights)
    got = ensemble(said, "label", weights.tolist())(torch.zeros(1, 1))[0].double().numpy()
    np.testing.assert_allclose(got, yes - no, rtol=2e-6, atol=1e-5)


def test_what_every_member_takes_for_impossible_stays_finite() -> None:
    """The obvious formula gives -inf there, with a loss and a gradient that are no numbers."""
    said = [[0.0, 200.0, 0.0], [0.0, 250.0, 1.0]]
    naive = torch.log(torch.softmax(torch.tensor(said), 1).mean(0))
    assert naive[0] == -torch.inf
    got = ensemble(said, "probability", [1, 1])(torch.zeros(1, 1))
    assert got[0, 0].item() == pytest.approx(-200 - np.log(2), rel=1e-6)


@few
@given(data=st.data())
def test_who_is_not_asked_changes_nothing(data: st.DataObject) -> None:
    """The law of out-of-bag figures: as an ensemble of those alone that are asked."""
    how: How = data.draw(st.sampled_from(HOW))
    said = np.array(
        data.draw(st.lists(st.lists(st.floats(-200, 200, width=32), min_size=3, max_size=3), min_size=3, max_size=3))
    )
    weights = data.draw(st.lists(st.floats(0.1, 10), min_size=3, max_size=3))
    asked = data.draw(st.lists(st.booleans(), min_size=3, max_size=3).filter(any))
    whole = ensemble(said, how, weights)
    got = whole.combined(whole.each(torch.zeros(2, 1)), torch.tensor([[each, True] for each in asked]))
    few = [place for place in range(3) if asked[place]]
    alone = ensemble(said[few], how, [weights[place] for place in few])(torch.zeros(1, 1))[0]
    torch.testing.assert_close(got[0], alone, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(got[1], whole(torch.zeros(1, 1))[0], rtol=1e-5, atol=1e-4)


def test_the_order_of_members_does_not_matter_and_equal_members_say_what_one_does() -> None:
    said = np.random.default_rng(0).normal(0, 5, (3, 4))
    one = ensemble(said, "probability", [1, 2, 3])(torch.zeros(1, 1))
    other = ensemble(said[::-1].copy(), "probability", [3, 2, 1])(torch.zeros(1, 1))
    torch.testing.assert_close(one, other)
    same = ensemble([said[0]] * 3, "probability", [1, 2, 3])(torch.zeros(1, 1))
    torch.testing.assert_close(same, torch.log_softmax(torch.tensor(said[:1], dtype=torch.float32), 1))


def test_inputs_and_outputs_reach_each_member_in_its_own_unit() -> None:
    first, second = nn.Linear(2, 1), nn.Linear(2, 1)
    both = Ensemble(
        [first, second], "value", inputs=[[None], [((2.0, 0.5), (1.0, -1.0))]], outputs=[None, ((10.0,), (3.0,))]
    )
    x = torch.randn(5, 2)
    expected = (first(x) + second(x * torch.tensor([2.0, 0.5]) + torch.tensor([1.0, -1.0])) * 10 + 3) / 2
    torch.testing.assert_close(both(x), expected)
    assert set(both.state_dict()) == {f"members.{m}.{name}" for m in (0, 1) for name in ("weight", "bias")}


@pytest.mark.parametrize(
    ("count", "options"),
    [(0, {}), (2, {"weights": [1]}), (2, {"weights": [1, 0]}), (2, {"weights": [1, float("inf")]}),
     (2, {"inputs": [[None]]}), (2, {"how": "votes"})],
)  # fmt: skip
def test_what_is_no_ensemble_is_refused(count: int, options: dict[str, Any]) -> None:
    with pytest.raises(NetworkError):
        Ensemble([nn.Linear(1, 2) for _ in range(count)], **{"how": "probability", **options})
