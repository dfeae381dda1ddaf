"""A small program for each finding: python examples/findings.py vanishing-gradient

Each one trains in a plain loop under `netwright.watch`, with one thing wrong, and prints what is found.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F

import netwright

EXAMPLES: dict[str, Callable[[], Any]] = {}
LIMIT = 20.0  # seconds for trying suspicions on a copy


def digits() -> tuple[Tensor, Tensor]:
    """1,797 handwritten digits, as rows of 64 values of mean 0 and deviation 1, in an order drawn at random."""
    x, y = (torch.as_tensor(part) for part in load_digits(return_X_y=True))
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    return ((x - x.mean()) / x.std())[order].float(), y[order].long()


def wave(count: int = 400) -> tuple[Tensor, Tensor]:
    """A noisy sine to be predicted."""
    x = torch.linspace(-3, 3, count)[torch.randperm(count, generator=torch.Generator().manual_seed(0))].unsqueeze(1)
    return x, torch.sin(2 * x) + 0.05 * torch.randn(x.shape, generator=torch.Generator().manual_seed(1))


X, Y = digits()
TRAIN, HELD_OUT = (X[:1200], Y[:1200]), (X[1200:], Y[1200:])


def mlp(*hidden: int, activation: Callable[[], nn.Module] = nn.ReLU, inputs: int = 64, outputs: int = 10) -> nn.Module:
    torch.manual_seed(0)
    sizes, layers = [inputs, *hidden], []
    for before, after in zip(sizes, hidden):
        layers += [nn.Linear(before, after), activation()]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], outputs))


def train(
    network: nn.Module,
    data: tuple[Tensor, Tensor] = TRAIN,
    held_out: tuple[Tensor, Tensor] | None = HELD_OUT,
    *,
    loss: Callable[..., Tensor] = F.cross_entropy,
    optimizer: torch.optim.Optimizer | None = None,
    epochs: int = 5,
    batch_size: int = 32,
    shuffle: bool = True,
    clear: bool = True,
    evaluate: bool = True,
    look: bool = False,
) -> Any:
    """The loop that everyone writes, watched; returns what is found."""
    optimizer = optimizer or torch.optim.Adam(network.parameters(), 1e-3)
    watch = netwright.watch(
        network, optimizer, loss=loss, train_data=data, val_data=held_out, batch_size=batch_size, epochs=epochs,
        confirm=LIMIT, tell=False,
    )  # fmt: skip
    torch.manual_seed(1)
    for _ in range(epochs):
        network.train()
        rows = torch.randperm(len(data[0])) if shuffle else torch.arange(len(data[0]))
        for part in rows.split(batch_size):
            if clear:
                optimizer.zero_grad()

            def closure(part: Tensor = part) -> Tensor:
                value = loss(network(data[0][part]), data[1][part])
                if value.requires_grad:
                    value.backward()
                return value

            watch.step(optimizer.step(closure))
        if evaluate:
            network.eval()
        watch.epoch(train=score(network, data), val=score(network, held_out))
    if look:
        watch.look_closer()  # at the loss's curvature
    return watch.diagnosis()


@torch.no_grad()
def score(network: nn.Module, data: tuple[Tensor, Tensor] | None) -> float | None:
    """Accuracy of classes, R² of values."""
    if data is None:
        return None
    outputs, targets = network(data[0]), data[1]
    if targets.dtype == torch.int64 or (targets.ndim > 1 and targets.shape[1] > 1):
        classes = targets if targets.ndim == 1 else targets.argmax(1)
        return float((outputs.argmax(1) == classes).float().mean())
    return float(1 - ((outputs - targets) ** 2).mean() / targets.var())


def example(code: str) -> Callable[[Callable[[], Any]], Callable[[], Any]]:
    def keep(function: Callable[[], Any]) -> Callable[[], Any]:
        EXAMPLES[code] = function
        return function

    return keep


def sgd(network: nn.Module, lr: float, **options: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(network.parameters(), lr, **options)


# ---------------------------------------------------------------------------------------------------------------- data


@example("input-not-normalized")
def input_not_normalized() -> Any:
    network = mlp(64, 32)
    raw = [(1000 * x + 5000, y) for x, y in (TRAIN, HELD_OUT)]
    return train(network, *raw, optimizer=sgd(network, 0.1))


@example("target-not-normalized")
def target_not_normalized() -> Any:
    x, y = wave()
    network = mlp(32, 32, inputs=1, outputs=1)
    return train(network, (x, 1000 * y + 20000), None, loss=F.mse_loss, epochs=20)


@example("split-mismatch")
def split_mismatch() -> Any:
    return train(mlp(64), TRAIN, (HELD_OUT[0] * 6 + 5, HELD_OUT[1]))


@example("bad-values")
def bad_values() -> Any:
    x = TRAIN[0].clone()
    x[7, 3] = float("nan")
    return train(mlp(64), (x, TRAIN[1]))


@example("constant-labels")
def constant_labels() -> Any:
    return train(mlp(64), (TRAIN[0], torch.zeros_like(TRAIN[1])), None)


@example("class-imbalance")
def class_imbalance() -> Any:
    rare = (TRAIN[1] == 0) & (torch.arange(1200) % 6 > 0)
    labels = (TRAIN[1] == 0).long()
    return train(mlp(64, outputs=2), (TRAIN[0][~rare], labels[~rare]), None)


@example("label-out-of-range")
def label_out_of_range() -> Any:
    return train(mlp(64), (TRAIN[0], TRAIN[1] + 1), None, epochs=0)


@example("labels-not-shuffled")
def labels_not_shuffled() -> Any:
    order = TRAIN[1].argsort(stable=True)
    network = mlp(64)
    return train(network, (TRAIN[0][order], TRAIN[1][order]), shuffle=False, optimizer=sgd(network, 0.1))


@example("leak")
def leak() -> Any:
    return train(mlp(64), TRAIN, (TRAIN[0][:300], TRAIN[1][:300]))


@example("duplicates")
def duplicates() -> Any:
    return train(mlp(64), (TRAIN[0].repeat(3, 1), TRAIN[1].repeat(3)), epochs=2)


@example("too-little-data")
def too_little_data() -> Any:
    return train(mlp(64), (TRAIN[0][:12], TRAIN[1][:12]), None, batch_size=4)


@example("label-noise")
def label_noise() -> Any:
    random = torch.randint(0, 10, (1797,), generator=torch.Generator().manual_seed(3))
    return train(mlp(64), (TRAIN[0], random[:1200]), (HELD_OUT[0], random[1200:]))


# ------------------------------------------------------------------------------------------------------------- network


@example("wrong-output-activation")
def wrong_output_activation() -> Any:
    network = nn.Sequential(mlp(64), nn.Softmax(1))  # the loss applies another one
    return train(network)


@example("output-size-mismatch")
def output_size_mismatch() -> Any:
    return train(mlp(64, outputs=5), epochs=0)  # ten classes; the first batch would stop with an index error


@example("loss-mismatch")
def loss_mismatch() -> Any:
    one_hot = [(x, F.one_hot(y, 10).float()) for x, y in (TRAIN, HELD_OUT)]
    return train(nn.Sequential(mlp(64), nn.Softmax(1)), *one_hot, loss=F.l1_loss)


@example("shape-broadcast")
def shape_broadcast() -> Any:
    x, y = wave()
    with warnings.catch_warnings():  # PyTorch warns of it, too
        warnings.simplefilter("ignore")
        return train(mlp(32, inputs=1, outputs=1), (x, y.squeeze(1)), None, loss=F.mse_loss)


@example("wrong-hidden-activation")
def wrong_hidden_activation() -> Any:
    return train(mlp(64, 64, 64, activation=lambda: nn.Softmax(1)))


@example("missing-nonlinearity")
def missing_nonlinearity() -> Any:
    return train(mlp(64, 64, activation=nn.Identity))


@example("bias-before-norm")
def bias_before_norm() -> Any:
    torch.manual_seed(0)
    return train(nn.Sequential(nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 10)))


@example("bad-initialization")
def bad_initialization() -> Any:
    network = mlp(64, 64, 64, activation=nn.Tanh)
    for layer in network:
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=3.0)
    return train(network)


@example("symmetric-weights")
def symmetric_weights() -> Any:
    network = mlp(64, 32)
    for parameter in network.parameters():
        nn.init.constant_(parameter, 0.05)
    return train(network)


@example("frozen-parameters")
def frozen_parameters() -> Any:
    network = mlp(64, 64)
    for parameter in network[:-1].parameters():
        parameter.requires_grad_(False)
    return train(network)


@example("unused-parameters")
def unused_parameters() -> Any:
    class Forgetful(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.extra = mlp(64), nn.Linear(10, 10)

        def forward(self, x: Tensor) -> Tensor:
            return self.body(x)

    return train(Forgetful())


@example("too-small")
def too_small() -> Any:
    return train(mlp(2), epochs=20)


@example("too-deep")
def too_deep() -> Any:
    return train(mlp(*[32] * 30), epochs=5)


@example("receptive-field-too-small")
def receptive_field_too_small() -> Any:
    pictures = [(x.reshape(-1, 1, 8, 8), y) for x, y in (TRAIN, HELD_OUT)]
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 16, 1), nn.ReLU(), nn.Conv2d(16, 16, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return train(nn.Sequential(*layers, nn.Linear(16, 10)), *pictures)


@example("final-map-size")
def final_map_size() -> Any:
    pictures = [(x.reshape(-1, 1, 8, 8), y) for x, y in (TRAIN, HELD_OUT)]
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for before in (1, 16, 16, 16, 16):
        layers += [nn.Conv2d(before, 16, 3, stride=2, padding=1), nn.ReLU()]
    return train(nn.Sequential(*layers, nn.Flatten(), nn.Linear(16, 10)), *pictures)


# -------------------------------------------------------------------------------------------------------- optimisation


@example("learning-rate-too-high")
def learning_rate_too_high() -> Any:
    network = mlp(64, 64)
    return train(network, optimizer=sgd(network, 5.0))


@example("learning-rate-too-low")
def learning_rate_too_low() -> Any:
    network = mlp(64, 64)
    return train(network, optimizer=sgd(network, 1e-4))


@example("batch-too-large")
def batch_too_large() -> Any:
    network = mlp(64, 64)
    return train(network, batch_size=1200, epochs=10, optimizer=sgd(network, 0.05))


@example("batch-too-small")
def batch_too_small() -> Any:
    network = mlp(64, 64)
    return train(network, batch_size=1, epochs=2, optimizer=sgd(network, 0.15))


@example("missing-from-optimizer")
def missing_from_optimizer() -> Any:
    network = mlp(64, 64)
    return train(network, optimizer=torch.optim.Adam(network[-1].parameters(), 1e-3))


@example("gradients-not-zeroed")
def gradients_not_zeroed() -> Any:
    network = mlp(64, 64)
    return train(network, clear=False, optimizer=sgd(network, 0.05))


@example("weight-decay-too-high")
def weight_decay_too_high() -> Any:
    network = mlp(64, 64)
    return train(network, optimizer=sgd(network, 0.1, weight_decay=0.5))


@example("over-regularized")
def over_regularized() -> Any:
    torch.manual_seed(0)
    return train(nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Dropout(0.95), nn.Linear(32, 10)))


@example("loss-maximized")
def loss_maximized() -> Any:
    network = mlp(64)
    return train(network, optimizer=sgd(network, 0.05, maximize=True))


@example("wrong-optimizer-for-batch")
def wrong_optimizer_for_batch() -> Any:
    network = mlp(64, 64)
    return train(network, batch_size=8, optimizer=torch.optim.Rprop(network.parameters(), 0.01))


@example("too-few-epochs")
def too_few_epochs() -> Any:
    network = mlp(64, 64)
    return train(network, epochs=1, optimizer=torch.optim.Adam(network.parameters(), 3e-4))


# ------------------------------------------------------------------------------------------------------------ training


@example("vanishing-gradient")
def vanishing_gradient() -> Any:
    network = mlp(*[40] * 10, activation=nn.Sigmoid)
    return train(network, optimizer=sgd(network, 0.1))


@example("exploding-gradient")
def exploding_gradient() -> Any:
    network = mlp(*[64] * 12)
    for layer in network:
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=0.5)
    return train(network, optimizer=sgd(network, 0.01))


@example("no-gradient")
def no_gradient() -> Any:
    class Cut(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.detach()

    return train(nn.Sequential(nn.Linear(64, 64), nn.ReLU(), Cut(), nn.Linear(64, 10)))


@example("dead-units")
def dead_units() -> Any:
    network = mlp(64, 64)
    nn.init.constant_(network[2].bias, -20.0)
    return train(network)


@example("saturated-units")
def saturated_units() -> Any:
    scaled = [(40 * x, y) for x, y in (TRAIN, HELD_OUT)]
    return train(mlp(64, 64, activation=nn.Tanh), *scaled)


@example("non-finite")
def non_finite() -> Any:
    def likelihood(outputs: Tensor, targets: Tensor) -> Tensor:
        return F.nll_loss(torch.log(torch.softmax(200 * outputs, 1)), targets)

    return train(mlp(64), loss=likelihood)


@example("not-learning")
def not_learning() -> Any:
    network = mlp(64, 64)
    return train(network, optimizer=sgd(network, 1e-5))


@example("slow-convergence")
def slow_convergence() -> Any:
    network = mlp(64, 64)
    return train(network, epochs=2, optimizer=torch.optim.Adam(network.parameters(), 1e-4))


@example("oscillating-loss")
def oscillating_loss() -> Any:
    x, _ = wave()
    network = nn.Linear(1, 1)  # with next to no friction it swings through the valley like a pendulum
    return train(
        network,
        (x, 3 * x),
        None,
        loss=F.mse_loss,
        batch_size=400,
        epochs=60,
        optimizer=sgd(network, 0.01, momentum=0.999),
    )


@example("plateau")
def plateau() -> Any:
    network = mlp(64, 64, 64, activation=nn.Sigmoid)
    return train(network, epochs=10, optimizer=sgd(network, 0.05))


@example("saddle-point")
def saddle_point() -> Any:
    network = mlp(64, 64, activation=nn.Tanh)
    for parameter in network.parameters():
        nn.init.normal_(parameter, 0, 1e-3)  # so small that no layer pushes the next one anywhere
    return train(network, optimizer=sgd(network, 0.02), look=True)


@example("edge-of-stability")
def edge_of_stability() -> Any:
    x, y = wave()
    network = mlp(32, 32, activation=nn.Tanh, inputs=1, outputs=1)
    optimizer = sgd(network, 0.2)  # a constant rate, and the whole training part in every step
    return train(network, (x, y), None, loss=F.mse_loss, batch_size=400, epochs=600, optimizer=optimizer, look=True)


@example("overfitting")
def overfitting() -> Any:
    wrong = torch.rand(300, generator=torch.Generator().manual_seed(0)) < 0.4
    labels = torch.where(wrong, torch.randint(0, 10, (300,), generator=torch.Generator().manual_seed(1)), Y[:300])
    return train(mlp(256, 256), (X[:300], labels), HELD_OUT, epochs=60)


@example("train-eval-gap")
def train_eval_gap() -> Any:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Dropout(0.5), nn.Linear(64, 10))
    return train(network, evaluate=False)  # network.eval() is forgotten


@example("norm-batch-too-small")
def norm_batch_too_small() -> Any:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 10))
    return train(network, batch_size=2, epochs=2)


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in EXAMPLES:
        sys.exit(f"one of: {', '.join(EXAMPLES)}")
    print(EXAMPLES[sys.argv[1]]())
