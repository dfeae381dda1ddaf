"""Parameters that are not trained, and loops that step wrongly, beside trainings that mean it so."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional
from trainings import CLASSES, Training, accuracy, mlp, spirals, told

from netwright.diagnosis.rules import parameters
from netwright.observations import InitialState, NetworkFacts, Observations, OptimizerFacts
from netwright.observations.initial import ParameterStart
from netwright.observations.network import LayerFacts
from netwright.records import EpochRow, Finding, Measurement

MINE = {
    "missing-from-optimizer", "frozen-parameters", "no-gradient", "unused-parameters", "gradients-not-zeroed",
    "loss-maximized",
}  # fmt: skip


def test_a_training_without_these_faults_is_told_none() -> None:
    assert not MINE & set(told(Training(mlp()).diagnosis(), notes=True))


def frozen(network: nn.Sequential) -> nn.Sequential:
    for layer in (network[0], network[2]):
        layer.requires_grad_(False)
    return network


def pretrained() -> nn.Sequential:
    """Hidden layers that were trained on the same inputs before."""
    network = mlp()
    x, y = spirals()
    for _ in range(80):
        loss = functional.cross_entropy(network(x), y)
        gradients = torch.autograd.grad(loss, list(network.parameters()))
        with torch.no_grad():
            for parameter, gradient in zip(network.parameters(), gradients, strict=True):
                parameter -= 0.5 * gradient.sign() * gradient.abs().clamp_min(1e-2)
    return network


def test_drawn_weights_that_are_frozen_are_a_fault_and_learned_ones_are_not() -> None:
    planted = told(Training(frozen(mlp(width=10)), families=("parameters",)).diagnosis())
    assert "every parameter is trained" in planted["frozen-parameters"].confirmed_by
    kept = told(Training(frozen(pretrained()), families=("parameters",)).diagnosis(), notes=True)
    assert kept["frozen-parameters"].severity == "note"
    assert "learned" in kept["frozen-parameters"].cause


def test_layers_that_the_optimizer_does_not_know() -> None:
    first = Training(
        mlp(width=10), optimizer=lambda n: torch.optim.Adam(n[4].parameters(), 0.01), families=("parameters",)
    )
    last = told(first.diagnosis())
    assert last["missing-from-optimizer"].where == "0, 2"
    other = copy.deepcopy(mlp())
    second = Training(mlp(), optimizer=lambda n: torch.optim.Adam(other.parameters(), 0.01), families=("parameters",))
    copied = told(second.diagnosis())
    assert copied["missing-from-optimizer"].severity == "error"
    assert "another network" in copied["missing-from-optimizer"].cause
    assert "gradients-not-zeroed" not in copied  # nothing clears them, because nothing knows them


class Detach(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.detach()


def test_a_gradient_that_is_cut_names_where() -> None:
    network = mlp()
    network.insert(4, Detach())
    found = told(Training(network, confirm=0.0).diagnosis())
    assert found["no-gradient"].where == "4"
    assert found["no-gradient"].evidence[0].value == sum(p.numel() for p in network[:4].parameters())


class Rounded(nn.Module):
    """A network whose hidden values are rounded; ``how``: plainly, with a straight-through estimate, or by a function
    of the forward method that no module is."""

    def __init__(self, how: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last, self.how = nn.Linear(6, 24), nn.Linear(24, CLASSES), how

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = 3 * self.first(x)
        values = hidden.round()
        if self.how == "straight through":
            values = hidden + (values - hidden).detach()
        result: torch.Tensor = self.last(values + 0.1 * hidden if self.how == "a way around" else values)
        return result


@pytest.mark.parametrize("how", ["plain", "straight through", "a way around"])
def test_rounding_cuts_the_gradient_unless_something_hands_it_on(how: str) -> None:
    found = told(Training(Rounded(how), confirm=0.0).diagnosis())
    assert ("no-gradient" in found) is (how == "plain")
    if how == "plain":
        assert found["no-gradient"].evidence[0].value == 6 * 24 + 24
        assert "round" in found["no-gradient"].where


class WithSpare(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.used, self.spare = mlp(), nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.used(x)
        return result


def test_a_small_layer_that_is_not_called_is_a_note() -> None:
    found = told(Training(WithSpare(), confirm=0.0).diagnosis(), notes=True)
    assert (found["unused-parameters"].severity, found["unused-parameters"].where) == ("note", "spare")
    assert found["unused-parameters"].evidence[0].value == 20


# ------------------------------------------------------------------------------------------------ the loop


@pytest.mark.parametrize(("clears", "gathers", "kept"), [(False, 1, True), (True, 1, False), (True, 4, False)])
def test_gradients_that_stay_and_gradients_that_are_gathered(clears: bool, gathers: int, kept: bool) -> None:
    training = Training(mlp(), clears=clears, gathers=gathers, batch=32 // gathers, optimizer=sgd, confirm=0.0)
    assert ("gradients-not-zeroed" in told(training.diagnosis())) is kept


def sgd(network: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(network.parameters(), 0.1)


def climbing(network: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(network.parameters(), 0.1, maximize=True)


def reward(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """A score that is to be high."""
    return functional.log_softmax(outputs, 1).gather(1, targets[:, None]).mean()


@pytest.mark.parametrize(
    ("loss", "sign", "optimizer", "fault"),
    [
        (nn.CrossEntropyLoss(), -1.0, sgd, True),
        (nn.CrossEntropyLoss(), 1.0, climbing, True),
        (nn.CrossEntropyLoss(), -1.0, climbing, False),
        (reward, 1.0, climbing, False),
        (reward, 1.0, sgd, True),
        (reward, -1.0, sgd, False),
        (nn.CrossEntropyLoss(), 1.0, sgd, False),
    ],
    ids=["minus", "maximize", "both", "a reward", "a minus that is missing", "a reward with a minus", "plain"],
)
def test_steps_up_the_loss(loss: object, sign: float, optimizer: object, fault: bool) -> None:
    training = Training(mlp(), loss=loss, sign=sign, optimizer=optimizer, confirm=0.0)  # type: ignore[arg-type]
    assert ("loss-maximized" in told(training.diagnosis())) is fault


@pytest.mark.parametrize(("norm", "fault"), [(1e-3, True), (0.5, False), (None, False)])
def test_gradients_that_are_all_clipped_to_nothing(norm: float | None, fault: bool) -> None:
    def clipped(network: nn.Module) -> torch.optim.Optimizer:
        optimizer = torch.optim.SGD(network.parameters(), 0.2)
        if norm is not None:
            own = list(network.parameters())
            optimizer.register_step_pre_hook(lambda *_: nn.utils.clip_grad_norm_(own, norm) and None)
        return optimizer

    found = told(Training(mlp(), optimizer=clipped, epochs=10, families=("parameters",)).diagnosis())
    assert ("learning-rate-too-low" in found) is fault
    if fault:
        assert found["learning-rate-too-low"].evidence[0].value == pytest.approx(norm, rel=1e-3)


# ------------------------------------------------------------------------------------------------ facts alone


def seen(moves: float | None, fresh: bool | None) -> Observations:
    """A layer outside the optimiser; ``moves``: its update ratio."""
    layers = (
        LayerFacts(name="body", kind="Linear", parameters={"weight": (9, 9)}, trainable=("weight",)),
        LayerFacts(name="head", kind="Linear", parameters={"weight": (2, 9)}, trainable=("weight",),
                   in_optimizer=("weight",)),
    )  # fmt: skip
    start = ParameterStart(name="body.weight", size=81, trainable=True, gradient=1.0, fresh=fresh)
    found = Observations(
        network=NetworkFacts(layers=layers, parameters=99), optimizer=OptimizerFacts(kind="SGD"),
        initial=InitialState(parameters=(start,)),
    )  # fmt: skip
    if moves is not None:
        told = Measurement(probe="update-ratio", step=1, unit="share", values=(moves,), layer="body")
        found.series.add(told)
    return found


def test_what_somebody_else_steps_is_not_missing() -> None:
    assert not list(parameters.missing_from_optimizer(seen(1e-3, fresh=True)))


def test_an_optimizer_that_is_not_known_is_told_nothing() -> None:
    class Plain:
        """Steps, and has no groups and no hooks."""

        def __init__(self, network: nn.Module) -> None:
            self.parameters = list(network.parameters())

        def zero_grad(self) -> None:
            for parameter in self.parameters:
                parameter.grad = None

        def step(self) -> None:
            with torch.no_grad():
                for parameter in self.parameters:
                    parameter -= 0.1 * parameter.grad  # type: ignore[operator]

    diagnosis = Training(mlp(), optimizer=Plain, confirm=0.0, epochs=2).diagnosis()  # type: ignore[arg-type]
    assert "Plain" in diagnosis.unseen["optimizer"]
    assert not MINE & set(told(diagnosis, notes=True))


def test_learned_weights_outside_the_optimizer_are_kept_on_purpose() -> None:
    told = list(parameters.missing_from_optimizer(seen(0.0, fresh=False)))
    assert [one.severity for one in told if isinstance(one, Finding)] == ["note"]


def test_a_gradient_from_another_loss_is_one() -> None:
    """Preflight saw none, the training itself does: a second loss reaches it."""
    found = Observations()
    start = ParameterStart(name="body.weight", size=9, trainable=True, gradient=None, moves_loss=True)
    found.initial = InitialState(parameters=(start,))
    assert [one.code for one in parameters.without_gradient(found) if isinstance(one, Finding)] == ["no-gradient"]
    found.series.add(Measurement(probe="gradient-norm", step=1, unit="gradient", values=(0.5,), layer="body"))
    assert not list(parameters.without_gradient(found))


def test_the_zero_gradient_of_a_perfect_fit_is_no_fault() -> None:
    found = Observations()
    found.series.add(Measurement(probe="gradient-norm", step=40, unit="gradient", values=(1.0,) * 20 + (0.0,) * 20))
    found.series.add(Measurement(probe="loss", step=40, unit="loss", values=(1.0,) * 20 + (0.0,) * 20))
    assert not list(parameters.without_gradient(found))
    stuck = Observations()
    stuck.series.add(Measurement(probe="gradient-norm", step=40, unit="gradient", values=(1.0,) * 20 + (0.0,) * 20))
    stuck.series.add(Measurement(probe="loss", step=40, unit="loss", values=(1.0,) * 40))
    assert [one.code for one in parameters.without_gradient(stuck) if isinstance(one, Finding)] == ["no-gradient"]


def test_a_score_that_is_maximised_and_rises_is_no_fault() -> None:
    found = Observations(optimizer=OptimizerFacts(kind="SGD", groups=({"maximize": True},)))
    found.series.add(Measurement(probe="loss", step=30, unit="loss", values=tuple(float(i) for i in range(30))))
    assert [one.code for one in parameters.maximized(found) if isinstance(one, Finding)] == ["loss-maximized"]
    found.epochs = [
        EpochRow(epoch=i, step=i, split="validation", metrics={"score": score}) for i, score in enumerate((0.3, 0.8))
    ]
    assert not list(parameters.maximized(found))


def test_the_helper_of_these_tests_scores_right() -> None:
    assert accuracy(torch.eye(CLASSES), torch.arange(CLASSES)) == 1.0
