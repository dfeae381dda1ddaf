"""Units that are dead or saturated, batch norms on few examples, networks that are others in evaluation."""

import pytest
import torch
from torch import nn
from trainings import CLASSES, FEATURES, Training, mlp, spirals, standing, told

from netwright.diagnosis.rules import norms, units
from netwright.observations import Experiment, NetworkFacts, Observations, Plan
from netwright.observations.network import LayerFacts
from netwright.records import EpochRow, Finding, Measurement


def with_biases(value: float) -> nn.Sequential:
    network = mlp()
    nn.init.constant_(network[2].bias, value)
    return network


def test_units_below_zero_for_all_inputs_are_dead_and_a_healthy_layer_has_some() -> None:
    found = told(Training(with_biases(-30.0), families=("units",)).diagnosis())
    assert found["dead-units"].layer == "3"
    assert found["dead-units"].evidence[0].value == 1.0
    assert "dead-units" not in told(Training(mlp()).diagnosis(), notes=True)


def test_inputs_out_of_scale_saturate_and_are_named_as_the_root() -> None:
    x, y = spirals()
    loud = Training(mlp(activation=nn.Tanh), data=(300 * x, y), rate=1e-3, families=("units", "scales")).diagnosis()
    found = told(loud)
    assert found["saturated-units"].because_of == "input-not-normalized"
    assert "saturated-units" not in told(Training(mlp(activation=nn.Tanh)).diagnosis())


def test_an_output_that_is_sure_of_its_answer_is_not_saturated() -> None:
    layers = (
        LayerFacts(name="0", kind="Linear", parameters={"weight": (3, 3)}, inputs=("input",)),
        LayerFacts(name="1", kind="Softmax", options={"activation": "softmax"}, inputs=("0",)),
    )
    seen = Observations(network=NetworkFacts(layers=layers, outputs=("1",), executed=True))
    seen.series.add(Measurement(probe="activation-saturated", step=3, unit="share", values=(0.9,) * 3, layer="1"))
    assert list(units.saturated(seen)) == []


@pytest.mark.parametrize(
    ("begins", "skill", "severity"), [(0.05, 0.8, "note"), (0.05, 0.2, "warning"), (0.7, 0.8, "warning")]
)
def test_units_that_became_decided_while_learning_are_a_note(begins: float, skill: float, severity: str) -> None:
    layers = (
        LayerFacts(name="0", kind="Linear", parameters={"weight": (9, 3)}, inputs=("input",)),
        LayerFacts(name="1", kind="Sigmoid", options={"activation": "sigmoid"}, inputs=("0",)),
        LayerFacts(name="2", kind="Linear", parameters={"weight": (2, 9)}, inputs=("1",)),
    )
    seen = Observations(network=NetworkFacts(layers=layers, outputs=("2",), executed=True))
    shares = Measurement(probe="activation-saturated", step=3, unit="share", values=(begins, 0.8, 0.8), layer="1")
    seen.series.add(shares)
    found = [one for one in units.saturated(standing(seen, skill, 0.99)) if isinstance(one, Finding)]
    assert [one.severity for one in found] == [severity]


# ------------------------------------------------------------------------------------------------ batch norm


@pytest.mark.parametrize(("momentum", "fault"), [(1e-3, True), (0.1, False)])
def test_running_statistics_that_stay_where_they_began(momentum: float, fault: bool) -> None:
    x, y = spirals()
    network = normed()
    for layer in (network[1], network[4]):
        layer.momentum = momentum
    found = told(Training(network, data=(x + 3, y), epochs=12, confirm=0.0, families=("norms",)).diagnosis())
    assert ("train-eval-gap" in found) is fault
    if fault:
        seen = found["train-eval-gap"].evidence[0]
        assert seen.value == pytest.approx((1 - momentum) ** 120, rel=1e-3)


def normed() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(FEATURES, 24), nn.BatchNorm1d(24), nn.ReLU(), nn.Linear(24, 24), nn.BatchNorm1d(24), nn.ReLU(),
        nn.Linear(24, CLASSES),
    )  # fmt: skip


@pytest.mark.parametrize(("batch", "fault"), [(2, True), (32, False)])
def test_batch_norm_over_two_examples(batch: int, fault: bool) -> None:
    """Only this rule's own experiments are made, all of them."""
    watch = Training(normed(), batch=batch, epochs=5 if fault else 8).run()
    assert watch.laboratory is not None
    for _ in range(5):
        told = list(norms.norm_batch(watch.observations))
        asked = [one for one in told if isinstance(one, Experiment)]
        for one in asked:
            watch.observations.outcomes[one.name] = watch.laboratory.run(one, 30.0)
        if not asked:
            break
    loud = [one for one in told if isinstance(one, Finding) and one.severity != "note"]
    assert [one.code for one in loud] == ["norm-batch-too-small"] * fault
    assert all("single examples" in one.confirmed_by for one in loud)


# ------------------------------------------------------------------------------------------------ two networks


def dropped() -> nn.Sequential:
    network = mlp(width=48)
    network.insert(4, nn.Dropout(0.5))
    return network


@pytest.mark.parametrize("evaluates", [True, False])
def test_validation_with_dropout_switched_on(evaluates: bool) -> None:
    found = told(Training(dropped(), evaluates=evaluates, confirm=0.0).diagnosis())
    assert ("train-eval-gap" in found) is not evaluates
    if not evaluates:
        assert found["train-eval-gap"].where == "validation"


def test_a_network_without_dropout_and_batch_norm_is_the_same_in_both_modes() -> None:
    assert "train-eval-gap" not in told(Training(mlp(), evaluates=False, confirm=0.0).diagnosis(), notes=True)


def modes(training: float, *, fits: bool) -> Observations:
    """A batch norm trained in this mode, with running statistics that fit the batches or do not."""
    layers = (LayerFacts(name="norm", kind="BatchNorm1d", parameters={"weight": (4,)}),)
    seen = Observations(network=NetworkFacts(layers=layers), plan=Plan(batch_size=32))
    seen.series.add(Measurement(probe="training-mode", step=4, unit="share", values=(training,) * 4))
    gap = Measurement(probe="norm-mean-gap", step=4, unit="", values=(0.1 if fits else 3.0,) * 4, layer="norm")
    seen.series.add(gap)
    return seen


@pytest.mark.parametrize(
    ("training", "fits", "severity"), [(1.0, False, None), (0.0, False, "warning"), (0.0, True, "note")],
    ids=["training mode", "evaluation mode", "fine-tuned with kept statistics"],
)  # fmt: skip
def test_trained_in_evaluation_mode(training: float, fits: bool, severity: str | None) -> None:
    found = [one for one in norms.train_eval(modes(training, fits=fits)) if isinstance(one, Finding)]
    assert [one.severity for one in found] == ([severity] if severity else [])


def test_one_validation_pass_in_evaluation_mode_is_enough_to_say_nothing() -> None:
    seen = modes(1.0, fits=True)
    seen.epochs = [EpochRow(epoch=1, step=4, split="validation", metrics={"score": 0.5})]
    seen.series.add(Measurement(probe="validation-training-mode", step=9, unit="share", values=(1.0, 0.0)))
    assert list(norms.train_eval(seen)) == []
