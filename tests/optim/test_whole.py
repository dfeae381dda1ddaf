"""Methods of the whole training part: against SciPy, by their laws, resumed to the same bits, and from a recipe."""

from __future__ import annotations

import copy
import io
import itertools
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import optimize
from torch import nn

from netwright import workbench
from netwright.errors import RecipeError, UsageError
from netwright.optim import optimizers
from netwright.optim.closures import Evaluation
from netwright.optim.conjugate_gradient import ConjugateGradient
from netwright.optim.line_search import strong_wolfe
from netwright.optim.newton_cg import NewtonCG
from netwright.recipe import from_dict
from netwright.recipe.schema import FULL_BATCH, Train
from netwright.records import EpochRow
from netwright.training.recording import Interrupted

SEARCHING = [name for name in FULL_BATCH if name != "rprop"]


def build(name: str, parameter: nn.Parameter) -> torch.optim.Optimizer:
    holder = nn.Module()
    holder.weight = parameter
    return optimizers.build(holder, Train(optimizer=name, lr=0.01 if name == "rprop" else 1.0))  # type: ignore[arg-type]


def rosenbrock(x: torch.Tensor) -> torch.Tensor:
    return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


def descend(  # type: ignore[no-untyped-def]
    name: str, loss, start: list[float], steps: int, enough: float = -np.inf
) -> tuple[torch.Tensor, int]:
    """Where the method is after ``steps`` or at a loss of ``enough``, and how often it asked for the loss."""
    x = nn.Parameter(torch.tensor(start, dtype=torch.float64))
    optimizer, asked = build(name, x), 0

    def part() -> torch.Tensor:
        nonlocal asked
        asked += 1
        return loss(x)  # type: ignore[no-any-return]

    for _ in range(steps):
        if float(loss(x.detach())) <= enough:
            break
        closure = Evaluation([part], [x])
        if name == "rprop":
            closure()
            optimizer.step()
        else:
            optimizer.step(closure)
    return x.detach(), asked


@pytest.mark.parametrize(
    ("name", "theirs", "steps", "close"),
    [
        ("cg", "CG", 60, 1e-5),
        ("cg-hs", "CG", 60, 1e-5),
        ("newton-cg", "Newton-CG", 60, 1e-8),
        ("lbfgs", "L-BFGS-B", 5, 1e-4),
    ],
)
def test_rosenbrock_as_scipy_solves_it(name: str, theirs: str, steps: int, close: float) -> None:
    """From Rosenbrock's own start, in two and in four dimensions; at no more than three times SciPy's evaluations.

    L-BFGS is PyTorch's and stops by its own tolerances.
    """
    for start in ([-1.2, 1.0], [-1.2, 1.0, 0.8, 1.1]):
        hessian = optimize.rosen_hess if theirs == "Newton-CG" else None
        scipys = optimize.minimize(optimize.rosen, start, jac=optimize.rosen_der, method=theirs, hess=hessian)
        enough = scipys.fun + close**2  # in four dimensions all end in the other minimum
        found, asked = descend(name, rosenbrock, start, 2 * steps, enough)
        assert float(rosenbrock(found)) <= enough
        assert asked <= 3 * (scipys.nfev + getattr(scipys, "nhev", 0) * len(start)), (asked, scipys.nfev)


def test_rprop_goes_down_the_valley_too() -> None:
    found, _ = descend("rprop", rosenbrock, [-1.2, 1.0], 300)
    assert float(rosenbrock(found)) < 0.1  # of 24.2


def test_on_a_quadratic_conjugate_directions_end_after_as_many_steps_as_dimensions() -> None:
    """With exact searches; at c₂ = 0.1 a few more. Newton-CG solves its equation to a tenth, then ever better."""
    rng = np.random.default_rng(0)
    basis, _ = np.linalg.qr(rng.normal(size=(8, 8)))
    matrix = torch.from_numpy(basis @ np.diag(np.geomspace(1, 100, 8)) @ basis.T)

    def quadratic(x: torch.Tensor) -> torch.Tensor:
        return 0.5 * x @ matrix @ x

    start = rng.normal(size=8).tolist()
    first = float(quadratic(torch.tensor(start, dtype=torch.float64)))
    for name, steps in (("cg", 24), ("cg-hs", 24), ("newton-cg", 9)):
        found, _ = descend(name, quadratic, start, steps)
        assert float(quadratic(found)) < 1e-8 * first, name


@pytest.mark.parametrize("name", SEARCHING)
def test_logistic_regression_as_scipy_solves_it(name: str) -> None:
    torch.manual_seed(0)
    x, truth = torch.randn(200, 5, dtype=torch.float64), torch.randn(5, dtype=torch.float64)
    y = (x @ truth + torch.randn(200, dtype=torch.float64) > 0).double()

    def loss(w: torch.Tensor) -> torch.Tensor:
        return nn.functional.binary_cross_entropy_with_logits(x @ w, y) + 0.005 * w @ w

    def both(w: np.ndarray) -> tuple[float, np.ndarray]:
        at = torch.tensor(w, requires_grad=True)
        value = loss(at)
        value.backward()
        assert at.grad is not None
        return float(value.detach()), at.grad.numpy()

    theirs = optimize.minimize(both, np.zeros(5), jac=True, method="BFGS", options={"gtol": 1e-9})
    found, _ = descend(name, loss, [0.0] * 5, 30 if name.startswith("cg") else 8)
    close = 1e-4 if name == "lbfgs" else 1e-6  # PyTorch's ends where the loss changes by less than 1e-9
    np.testing.assert_allclose(found.numpy(), theirs.x, rtol=1e-5, atol=close)


@pytest.mark.parametrize("first", [1e-6, 0.01, 1.0, 50.0])
def test_the_step_found_satisfies_the_strong_wolfe_conditions(first: float) -> None:
    """On functions that are hard for line searches: Moré and Thuente 1994, (5.1) to (5.3)."""
    functions = [
        lambda t: -t / (t * t + 2),
        lambda t: (t + 0.004) ** 5 - 2 * (t + 0.004) ** 4,
        lambda t: (
            (1 - t if t <= 0.99 else t - 1 if t >= 1.01 else 50 * (t - 1) ** 2 + 0.005)
            + 2 * 0.99 / (39 * np.pi) * np.sin(39 * np.pi / 2 * t)
        ),
    ]
    for f in functions:

        def at(t: float, f=f) -> tuple[float, float]:  # type: ignore[no-untyped-def]
            return float(f(t)), float((f(t + 1e-7) - f(t - 1e-7)) / 2e-7)

        loss, slope = at(0.0)
        found = strong_wolfe(at, loss, slope, first, 1e-4, 0.1)
        assert found.loss <= loss + 1e-4 * found.step * slope + 1e-12
        assert abs(found.slope) <= 0.1 * abs(slope) + 1e-6


def test_a_product_is_the_hessians_column() -> None:
    torch.manual_seed(0)
    network, x, y = (
        nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double(),
        torch.randn(6, 3).double(),
        torch.randn(6, 2),
    )
    parameters = list(network.parameters())
    evaluation = Evaluation([lambda: (network(x) - y).square().mean()], parameters)
    sizes = [p.numel() for p in parameters]

    def of_vector(flat: torch.Tensor) -> torch.Tensor:
        named = {name: piece.view(p.shape) for (name, p), piece in zip(network.named_parameters(), flat.split(sizes))}
        return (torch.func.functional_call(network, named, (x,)) - y).square().mean()

    hessian = torch.autograd.functional.hessian(of_vector, torch.cat([p.detach().reshape(-1) for p in parameters]))
    v = torch.randn(sum(sizes)).double()
    made = evaluation.product([piece.view(p.shape) for piece, p in zip(v.split(sizes), parameters)])
    torch.testing.assert_close(torch.cat([each.reshape(-1) for each in made]), hessian @ v)


def test_every_evaluation_of_a_step_draws_the_same_dropout() -> None:
    network = nn.Sequential(nn.Linear(50, 50), nn.Dropout(0.5), nn.Linear(50, 1))
    x = torch.randn(9, 50)
    evaluation = Evaluation([lambda: network(x).square().mean()], list(network.parameters()))
    state = torch.get_rng_state()
    assert torch.equal(evaluation(), evaluation())
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("name", SEARCHING)
def test_resumed_to_the_same_bits(name: str) -> None:
    x, y = torch.randn(40, 6), torch.randint(3, (40,))

    def steps(net: nn.Module, optimizer: torch.optim.Optimizer, count: int) -> None:
        for _ in range(count):
            parts = [lambda: nn.functional.cross_entropy(net(x), y)]
            optimizer.step(Evaluation(parts, list(net.parameters())))

    torch.manual_seed(0)
    one = nn.Sequential(nn.Linear(6, 9), nn.Tanh(), nn.Linear(9, 3))
    two = copy.deepcopy(one)
    options = Train(optimizer=name, lr=1.0)  # type: ignore[arg-type]
    steps(one, optimizers.build(one, options), 6)
    half = optimizers.build(two, options)
    steps(two, half, 3)
    buffer = io.BytesIO()
    torch.save(half.state_dict(), buffer)
    again = optimizers.build(two, options)
    again.load_state_dict(torch.load(io.BytesIO(buffer.getvalue()), weights_only=True))
    steps(two, again, 3)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters()))


def test_wrong_use_says_how() -> None:
    p = [nn.Parameter(torch.ones(2))]
    with pytest.raises(UsageError, match="closure"):
        ConjugateGradient(p).step()
    with pytest.raises(UsageError, match="Evaluation"):
        NewtonCG(p).step(lambda: p[0].sum())
    with pytest.raises(UsageError, match="fletcher"):
        ConjugateGradient(p, beta="fletcher")
    with pytest.raises(UsageError, match="2 groups"):
        ConjugateGradient([{"params": p}, {"params": [nn.Parameter(torch.ones(1))]}])


# ---- from a recipe

SMALL = {
    "data.source": "digits",
    "data.limit": 200,
    "network.name": "stack",
    "network.arguments": {"layers": ["dense=16", "tanh"]},
    "watch.enabled": False,
    "train.epochs": 8,
}


@pytest.mark.parametrize("name", FULL_BATCH)
def test_a_recipe_takes_the_whole_training_part_and_the_loss_falls(name: str, tmp_path: Path) -> None:
    run = workbench.train(from_dict({}, SMALL | {"train.optimizer": name}), folder=tmp_path)
    _, losses = run.files.reader().series("loss")
    assert len(losses) == 8
    if name != "rprop":
        assert all(after <= before for before, after in itertools.pairwise(losses))
    assert losses[-1] < 0.7 * losses[0]


def test_accumulated_pieces_are_the_whole(tmp_path: Path) -> None:
    settings = SMALL | {"train.optimizer": "cg", "data.limit": 150, "data.validation": 0, "data.test": 0}
    one = workbench.train(from_dict({}, settings), folder=tmp_path)
    many = workbench.train(from_dict({}, settings | {"train.batch_size": 50, "train.accumulate": 3}), folder=tmp_path)
    (_, first), (_, second) = (run.files.reader().series("loss") for run in (one, many))
    np.testing.assert_allclose(first, second, rtol=2e-2)
    assert len(first) == len(second) == 8


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"train.batch_size": 20}, "whole training part"),
        ({"train.lr": "range-test"}, "range-test"),
        ({"train.weight_decay": 0.1}, "weight_decay"),
        ({"train.clip": 1.0}, "line search"),
        ({"train.precision": "bf16"}, "fp32"),
        ({"train.l1": 0.1}, "line search"),
    ],
    ids=str,
)
def test_what_contradicts_stops_before_training(changes: dict[str, object], says: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=says):
        workbench.train(from_dict({}, SMALL | {"train.optimizer": "cg"} | changes), folder=tmp_path)
    assert not list(tmp_path.iterdir())


def test_mini_batches_are_taken_when_told(tmp_path: Path) -> None:
    told = {"train.optimizer": "rprop", "train.batch_size": 20, "train.mini_batches": True, "train.epochs": 1}
    assert workbench.train(from_dict({}, SMALL | told), folder=tmp_path).metrics


class Stop:
    """A sink that asks for an end, as Ctrl-C does, after an epoch."""

    def __init__(self, after: int) -> None:
        self.after = after

    def series(self, name: str, first_step: int, values: object) -> None: ...
    def flush(self) -> None: ...
    def close(self) -> None: ...
    def epoch(self, row: EpochRow) -> None:
        if row.epoch == self.after and row.split == "train":
            signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("name", ["lbfgs", "cg", "newton-cg"])
def test_an_interrupted_run_goes_on_to_the_same_bits(name: str, tmp_path: Path) -> None:
    """With parts of every kind: other norms, dropout and noise, drawn weights, pieces of the whole."""
    settings = SMALL | {
        "train.optimizer": name, "network.norm": "batch", "network.drop_hidden": 0.1,
        "network.noise_weights": 0.05, "network.init": "lsuv", "train.epochs": 4, "train.batch_size": 80,
        "train.accumulate": 3, "network.arguments": {"layers": ["dense=12", "tanh", "dense=12", "relu"]},
    }  # fmt: skip
    whole = workbench.train(from_dict({}, settings), folder=tmp_path / "whole")
    with pytest.raises(Interrupted):
        workbench.train(from_dict({}, settings), folder=tmp_path / "cut", sinks=[Stop(2)])
    (cut,) = (tmp_path / "cut").iterdir()
    resumed = workbench.resume(cut)
    assert whole.files.reader().series("loss") == resumed.files.reader().series("loss")
    states = [run.network.state_dict() for run in (whole, resumed)]
    assert all(torch.equal(a, b) for a, b in zip(states[0].values(), states[1].values()))


@pytest.mark.parametrize("name", FULL_BATCH)
def test_the_memory_layout_changes_nothing(name: str) -> None:
    """Channels-last weights have channels-last gradients, which cannot be viewed as a vector."""
    ends = []
    for layout in (torch.contiguous_format, torch.channels_last):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Conv2d(4, 2, 3), nn.Flatten())
        network = network.double().to(memory_format=layout)
        x = torch.randn(8, 3, 6, 6, dtype=torch.float64).to(memory_format=layout)
        optimizer = optimizers.build(network, Train(optimizer=name, lr=0.01 if name == "rprop" else 1.0))  # type: ignore[arg-type]

        def part(network: nn.Module = network, x: torch.Tensor = x) -> torch.Tensor:
            return network(x).square().mean()

        closure = Evaluation([part], list(network.parameters()))
        for _ in range(3):
            optimizer.zero_grad()
            closure()
            optimizer.step(closure) if optimizers.needs_closure(optimizer) else optimizer.step()
        ends.append(torch.cat([p.detach().reshape(-1) for p in network.parameters()]))
    assert torch.allclose(*ends, rtol=1e-6, atol=1e-9)
