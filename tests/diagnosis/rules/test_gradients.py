"""Gradients over depth against products of matrices, and the ways to a number that is not finite told apart."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional
from trainings import CLASSES, FEATURES, Training, mlp, standing, told

from netwright.diagnosis.rules import gradients
from netwright.observations import DataAudit, InitialState, Observations, SeriesStore
from netwright.observations.data import ArrayFacts
from netwright.observations.initial import LayerStart
from netwright.probes import initial_state
from netwright.records import Finding, Measurement
from netwright.watching.calls import layers_of


def findings(told: object) -> dict[str, Finding]:
    return {one.code: one for one in told if isinstance(one, Finding)}  # type: ignore[attr-defined]


# ------------------------------------------------------------------------------------------------ over depth

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {"sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "relu": nn.ReLU}


@given(
    activation=st.sampled_from(sorted(ACTIVATIONS)), depth=st.integers(2, 14), gain=st.sampled_from([0.1, 0.58, 1.4]),
    seed=st.integers(0, 99), suffers=st.booleans(),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_vanishing_is_told_exactly_where_a_thousandth_arrives_and_the_training_suffers(
    activation: str, depth: int, gain: float, seed: int, suffers: bool
) -> None:
    torch.manual_seed(seed)
    network = mlp(width=16, depth=depth, activation=ACTIVATIONS[activation], seed=seed)
    for layer in network:
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, 0, gain * layer.in_features**-0.5)
    x, y = torch.randn(40, FEATURES), torch.randint(0, CLASSES, (40,))
    ratio = by_hand(network, x, y)
    seen = Observations(initial=initial_state.measure(network, layers_of(network), x, y, functional.cross_entropy))
    found = findings(gradients.vanishing(standing(seen, 0.1 if suffers else 0.9, 0.9)))
    if ratio is None or 0.99e-3 < ratio < 1.01e-3:
        return
    assert bool(found) is (ratio <= gradients.VANISHED)
    if found:
        assert found["vanishing-gradient"].evidence[0].value == pytest.approx(ratio, rel=1e-3)
        assert (found["vanishing-gradient"].severity == "warning") is suffers


def by_hand(network: nn.Sequential, x: Tensor, y: Tensor) -> float | None:
    """Norms of the loss' derivatives by the outputs of the first and the last layer, in double precision."""
    h, outputs = x.double(), []
    for layer in network:
        if isinstance(layer, nn.Linear):
            h = h @ layer.weight.detach().double().T + layer.bias.detach().double()
            h.requires_grad_(True)
            outputs.append(h)
        else:
            h = layer(h)
    first, last = torch.autograd.grad(functional.cross_entropy(h, y), [outputs[0], outputs[-1]])
    return float(first.norm() / last.norm()) if first.norm() > 1e-30 else None


def test_a_healthy_network_of_ten_layers_is_told_nothing() -> None:
    found = told(Training(mlp(width=32, depth=5), rate=0.003, epochs=16).diagnosis(), notes=True)
    assert not {"vanishing-gradient", "exploding-gradient", "non-finite"} & set(found)


# ------------------------------------------------------------------------------------------------ three explosions


def sgd(network: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(network.parameters(), 0.1)


def test_growth_over_depth_is_there_before_any_step() -> None:
    network = mlp(width=32, depth=6)
    for layer in network:
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, 0, 2)
    found = told(Training(network, optimizer=sgd, families=("gradients", "initialization")).diagnosis())
    assert found["exploding-gradient"].because_of == "bad-initialization"
    assert found["exploding-gradient"].evidence[0].step == 0


def test_a_rate_too_high_grows_with_the_steps() -> None:
    """Half the squared error of a linear function grows by (1 − rate · curvature)² a step."""

    def squares(outputs: Tensor, targets: Tensor) -> Tensor:
        return 0.5 * (outputs - targets.float()[:, None]).square().mean()

    training = Training(nn.Sequential(nn.Linear(FEATURES, 1)), loss=squares, epochs=4, confirm=0.0)
    training.optimizer = lambda network: torch.optim.SGD(network.parameters(), 20.0)
    found = told(training.diagnosis())
    assert found["exploding-gradient"].because_of == "learning-rate-too-high"
    assert (found["exploding-gradient"].evidence[0].step or 0) > 1
    assert found["non-finite"].because_of == "learning-rate-too-high"


def losses(*values: float | None) -> Observations:
    seen = Observations()
    seen.series.add(Measurement(probe="loss", step=len(values), unit="loss", values=values))
    return seen


def test_one_batch_that_the_training_gets_over_is_a_note() -> None:
    usual = [1.0 / (1 + step / 50) for step in range(100)]
    found = findings(gradients.exploding(losses(*usual[:60], 40.0, *usual[60:])))
    assert (found["exploding-gradient"].severity, found["exploding-gradient"].where) == ("note", "one batch")
    assert found["exploding-gradient"].evidence[0].step == 61
    assert findings(gradients.exploding(losses(*usual))) == {}


# ------------------------------------------------------------------------------------------------ not finite


def with_data(seen: Observations, bad: int) -> Observations:
    facts = ArrayFacts(examples=9, sampled=9, shape=(3,), dtype="float32", non_finite=bad)
    seen.data = DataAudit(inputs=facts)
    return seen


def with_updates(seen: Observations, *ratios: float) -> Observations:
    seen.series.add(Measurement(probe="update-ratio", step=len(ratios), unit="share", values=ratios))
    return seen


def with_start(seen: Observations, *, finite: bool) -> Observations:
    seen.initial = InitialState(
        layers=(LayerStart(name="0", kind="Linear"), LayerStart(name="1", kind="Linear", finite=finite))
    )
    return seen


@pytest.mark.parametrize(
    ("seen", "root"),
    [
        (with_data(losses(1.0, None), 3), "bad-values"),
        (with_start(losses(None), finite=False), "exploding-gradient"),
        (with_updates(losses(1.0, 30.0, 900.0, None), 0.1, 0.2, 0.2), "learning-rate-too-high"),
        (with_updates(losses(1.0, 1.0, 1.0, None), 0.1, 4.0), "learning-rate-too-high"),
        (with_updates(losses(*[1.0] * 30, None), *[1e-3] * 30), "loss-mismatch"),
    ],
    ids=["bad input", "growth over depth", "a rate, by the loss", "a rate, by the step", "a logarithm of zero"],
)
def test_the_way_to_a_number_that_is_none_is_told_apart(seen: Observations, root: str) -> None:
    found = findings(gradients.non_finite(seen))
    assert (found["non-finite"].severity, found["non-finite"].because_of) == ("error", root)


def test_a_loop_that_climbs_is_the_root_before_a_rate() -> None:
    seen = losses(1.0, 30.0, 900.0, None)
    seen.series.add(Measurement(probe="loss-gradient", step=3, unit="ratio", values=(-1.0, -1.0, -1.0)))
    assert findings(gradients.non_finite(seen))["non-finite"].because_of == "loss-maximized"


class Logarithm(nn.Module):
    """Of what becomes negative as soon as the weights have moved: all was of usual scale before."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(FEATURES, 8), nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.second(torch.log(self.first(x) + 1.5))
        return result


def test_the_first_layer_and_step_are_named() -> None:
    torch.manual_seed(0)
    network = Logarithm()
    with torch.no_grad():
        network.first.weight *= 0.1
    found = told(Training(network, rate=0.2, epochs=2, confirm=0.0).diagnosis())
    assert found["non-finite"].where == "add_1 → log_1 → second"


def test_a_layer_is_not_named_by_a_look_after_the_fact() -> None:
    """The loss was none at step 3; a look at step 9 finds the first layer full of what came of it."""
    seen = losses(1.0, 1.0, None)
    seen.series.add(Measurement(probe="activation-non-finite", step=9, unit="share", values=(1.0,), layer="first"))
    assert findings(gradients.non_finite(seen))["non-finite"].layer == ""


def test_one_step_without_a_number_from_which_the_training_recovers_is_no_error() -> None:
    assert findings(gradients.non_finite(losses(1.0, None, 0.9, 0.8)))["non-finite"].severity == "warning"
    assert findings(gradients.non_finite(losses(1.0, 0.9, 0.8))) == {}


def test_series_of_nothing_say_nothing() -> None:
    assert list(gradients.non_finite(Observations(series=SeriesStore()))) == []
