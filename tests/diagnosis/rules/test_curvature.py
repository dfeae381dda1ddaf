"""What the curvature at a training's end says, on trainings whose end is known; curvature itself has its own tests."""

import pytest
import torch
from torch import nn
from torch.nn import functional
from trainings import CLASSES, ROWS, Training, mlp, only, spirals, standing, told

from netwright.diagnosis import judging
from netwright.diagnosis.experimenting import REPLAY
from netwright.diagnosis.rules import curvature
from netwright.observations import Observations, Outcome, Plan
from netwright.observations.network import OptimizerFacts
from netwright.records import Measurement
from netwright.watching import Watch


def descended(rate: float, steps: int) -> Watch:
    """Full-batch gradient descent on squared errors, which sharpens the loss until the rate is just stable."""
    torch.manual_seed(0)
    x, y = spirals()
    hot = functional.one_hot(y, CLASSES).float()[:ROWS]
    network = mlp(activation=nn.Tanh)
    optimizer = torch.optim.SGD(network.parameters(), rate)
    watch = Watch(
        network, optimizer, loss=nn.MSELoss(), train_data=(x[:ROWS], hot), batch_size=ROWS, epochs=steps, confirm=0
    )
    for _ in range(steps):
        optimizer.zero_grad()
        loss = functional.mse_loss(network(x[:ROWS]), hot)
        loss.backward()
        optimizer.step()
        watch.step(loss)
    watch.look_closer()
    return watch


def test_full_batch_descent_comes_to_the_edge_and_is_no_fault() -> None:
    with only(("curvature",)):
        at_edge, far_below = (descended(rate, 600).diagnosis() for rate in (0.3, 0.01))
    found = told(at_edge, notes=True)["edge-of-stability"]
    assert found.severity == "note"
    assert found.evidence[0].value == pytest.approx(1, abs=0.2)
    assert at_edge.healthy
    assert not told(far_below, notes=True)


def test_weights_of_nearly_zero_stay_at_a_saddle() -> None:
    def watched(scale: float | None, rate: float) -> Observations:
        network = mlp(activation=nn.Tanh)
        for parameter in network.parameters():
            if scale is not None:
                nn.init.normal_(parameter, 0, scale)
        training = Training(network, optimizer=lambda n: torch.optim.SGD(n.parameters(), rate), confirm=0)
        watch = training.run()
        watch.look_closer()
        return standing(watch.observations, skill=0.0, possible=0.9)

    with only(("curvature",)):
        small, usual = (judging.judge(watched(*given)) for given in ((1e-3, 0.05), (None, 0.3)))
    assert list(told(small, notes=True)) == ["saddle-point"]
    assert not told(usual, notes=True)


@pytest.mark.parametrize(
    ("condition", "limit", "repaired", "momentum", "named"),
    [
        (1e5, 0.5, True, 0.0, True),
        (1e5, 0.5, False, 0.0, False),  # a rate for each weight does not help
        (1e2, 0.5, True, 0.0, False),  # no direction is flat
        (1e5, 0.01, True, 0.0, False),  # the rate could be higher
        (1e5, 0.5, True, 0.9, False),
    ],
)
def test_ill_conditioning_needs_a_rate_at_its_limit_and_a_repair(
    condition: float, limit: float, repaired: bool, momentum: float, named: bool
) -> None:
    observations = standing(Observations(), skill=0.2, possible=0.9)
    observations.plan = Plan(batch_size=32, epochs=3, examples=320)
    observations.optimizer = OptimizerFacts(kind="SGD", groups=({"lr": 0.1, "momentum": momentum},))
    for probe, value in (("condition-number", condition), ("rate-times-sharpness", 2 * (1 + momentum) * limit)):
        observations.series.add(Measurement(probe=probe, step=100, unit="ratio", values=(value,)))
    with only(("curvature",)):
        assert (curvature.EACH_ITS_RATE in judging.judge(observations).wanted) == (
            condition > curvature.FAR_APART and limit > curvature.NEAR_LIMIT and not momentum
        )
        replay = observations.outcomes[REPLAY.name].baseline
        observations.outcomes[curvature.EACH_ITS_RATE.name] = Outcome(
            experiment=curvature.EACH_ITS_RATE, baseline=replay, changed=replay, gain=0.6, noise=0.01, better=repaired,
            skills=(0.2, 0.8),
        )  # fmt: skip
        assert ("ill-conditioned" in told(judging.judge(observations), notes=True)) == named


def test_curvature_is_measured_where_the_loss_stands_still_and_nowhere_else() -> None:
    slow = Training(mlp(), optimizer=lambda n: torch.optim.SGD(n.parameters(), 1e-5), confirm=6)
    for training, looked in ((slow, True), (Training(mlp(), confirm=6), False)):
        watch = training.run()
        watch.diagnosis()
        assert bool(watch.observations.series.get("sharpness").steps) == looked
