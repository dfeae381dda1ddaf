"""More words for the programs of `second_cases.py` and `second_controls.py`; those of `blind_layers.py` go on to hold.

    gru 16 frozen, conv 8 3 relu frozen   any layer whose parameters do not require gradients
    transpose                 (N, L, features) to (N, features, L) and back
    softmax_over_rows, log_softmax_over_rows    along the batch instead of the classes
    normed 32 relu layernorm  linear layer, norm, activation
    he_res 32                 x + W2 relu(W1 x) with He's weights and no norm
    attend                    softmax-weighted mean over time of (N, L, features); `over_rows` takes the softmax along
                              the batch, `hard` takes the step of the greatest score
    rows_first_gru 16         a GRU that takes the batch for the time (batch_first forgotten)
    embedding_product 150 100 8 std=1     user and item vectors of eight numbers, their product and the item's bias
    unregistered 64 relu depth=3          linear layers in a plain Python list
    halves 16 relu            two towers over the halves of the features, side by side; `first_twice` joins the first
                              one with itself
    trunk                     two convolutions trained on Fashion-MNIST's last five classes
    batchnorm momentum=0.001, upsample 2

Optimisers take options: `adam exponential=0.9` (a rate that shrinks after every step), `sgd clip=0.001` (the norm that
gradients are clipped to), `adamw one_cycle=400` (steps of a one-cycle schedule, whose top is `lr`).
"""

import functools
from dataclasses import replace

import blind_layers
import labels
import programs
import torch
from torch import nn

# ------------------------------------------------------------------------------------------------ layers


class Attention(nn.Module):
    """One vector from a sequence (N, L, features)."""

    def __init__(self, features, over_rows, hard):
        super().__init__()
        self.score = nn.Linear(features, 1)
        self.axis, self.hard = 0 if over_rows else 1, hard

    def forward(self, x):
        score = self.score(x)
        if self.hard:
            return x[torch.arange(len(x)), score[:, :, 0].argmax(1)]
        return (score.softmax(self.axis) * x).sum(1)


class RowsFirst(nn.Module):
    """A GRU over (N, L, features) without batch_first; the output at the last of dimension 1."""

    def __init__(self, inputs, units):
        super().__init__()
        self.rnn = nn.GRU(inputs, units)

    def forward(self, x):
        return self.rnn(x)[0][:, -1]


class Product(nn.Module):
    """Matrix factorisation with an item bias for pairs of numbers (N, 2)."""

    def __init__(self, users, items, rank, deviation):
        super().__init__()
        self.users, self.items, self.bias = nn.Embedding(users, rank), nn.Embedding(items, rank), nn.Embedding(items, 1)
        nn.init.normal_(self.users.weight, 0, deviation)
        nn.init.normal_(self.items.weight, 0, deviation)
        nn.init.zeros_(self.bias.weight)

    def forward(self, pairs):
        user, item = pairs.unbind(1)
        return (self.users(user) * self.items(item)).sum(1, keepdim=True) + self.bias(item)


class Unregistered(nn.Module):
    """Linear layers that nn.Module does not know of."""

    def __init__(self, inputs, units, depth, activation):
        super().__init__()
        self.layers = [nn.Linear(inputs if i == 0 else units, units) for i in range(depth)]
        self.activation = activation

    def forward(self, x):
        for layer in self.layers:
            x = self.activation(layer(x))
        return x


class Halves(nn.Module):
    """Two towers, one for each half of the features."""

    def __init__(self, features, units, activation, first_twice):
        super().__init__()
        self.middle, self.first_twice = features // 2, first_twice
        self.first = nn.Sequential(nn.Linear(self.middle, units), activation())
        self.second = nn.Sequential(nn.Linear(features - self.middle, units), activation())

    def forward(self, x):
        first = self.first(x[:, : self.middle])
        return torch.cat([first, first if self.first_twice else self.second(x[:, self.middle :])], 1)


class HeResidual(nn.Module):
    """x + W2 relu(W1 x), weights as He et al. 2015 have them for a plain network."""

    def __init__(self, features):
        super().__init__()
        self.inner, self.outer = nn.Linear(features, features), nn.Linear(features, features)
        for layer in (self.inner, self.outer):
            nn.init.kaiming_normal_(layer.weight)

    def forward(self, x):
        return x + self.outer(self.inner(x).relu())


@functools.cache
def trained_trunk():
    """Weights of two convolutions trained on 2,500 pictures of Fashion-MNIST's last five classes, six epochs."""
    from blind_data import fashion_files

    pixels, kinds = fashion_files()
    X = pixels.astype(float).reshape(-1, 1, 14, 2, 14, 2).mean((3, 5))
    X = torch.as_tensor((X - X.mean()) / X.std(), dtype=torch.float32)[kinds >= 5][:2500]
    y = torch.as_tensor(kinds[kinds >= 5][:2500].astype(int) - 5)
    with torch.random.fork_rng():
        torch.manual_seed(11)
        trunk = plain_trunk()
        network = nn.Sequential(trunk, nn.Linear(trunk(X[:1]).shape[1], 5))
        optimizer = torch.optim.Adam(network.parameters(), lr=0.002)
        for _ in range(6):
            for rows in torch.randperm(len(X)).split(64):
                optimizer.zero_grad()
                nn.functional.cross_entropy(network(X[rows]), y[rows]).backward()
                optimizer.step()
    return trunk.state_dict()


def plain_trunk():
    return nn.Sequential(
        nn.Conv2d(1, 12, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(12, 24, 3, padding=1), nn.ReLU(),
        nn.MaxPool2d(2), nn.Flatten(),
    )  # fmt: skip


def trunk():
    layers = plain_trunk()
    layers.load_state_dict(trained_trunk())
    return layers


blind_layers.FUNCTIONS |= {
    "transpose": lambda x: x.transpose(1, 2),
    "softmax_over_rows": lambda x: x.softmax(0),
    "log_softmax_over_rows": lambda x: x.log_softmax(0),
}


def more_layers(words, x, init):
    """The modules of one layer that `blind_layers.build_layer` does not know, else None."""
    options = dict(word.split("=") for word in words if "=" in word)
    kind, *values = [word for word in words if "=" not in word]
    activation = next((programs.ACTIVATIONS[value] for value in values if value in programs.ACTIVATIONS), nn.Identity)
    if "frozen" in values and kind != "embedding":
        layers = build_layer([word for word in words if word != "frozen"], x, init)
        for layer in layers:
            layer.requires_grad_(False)
        return layers
    if kind == "normed":
        layer = nn.Linear(x.shape[-1], int(values[0]))
        programs.initialize(layer, init)
        norm = nn.LayerNorm if "layernorm" in values else nn.BatchNorm1d
        return [layer, norm(int(values[0])), activation()]
    if kind == "batchnorm" and "momentum" in options:
        norm = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d}[x.dim()]
        return [norm(x.shape[1], momentum=float(options["momentum"]))]
    simple = {
        "he_res": lambda: HeResidual(x.shape[-1]),
        "attend": lambda: Attention(x.shape[-1], "over_rows" in values, "hard" in values),
        "rows_first_gru": lambda: RowsFirst(x.shape[-1], int(values[0])),
        "embedding_product": lambda: Product(*(int(value) for value in values[:3]), float(options["std"])),
        "unregistered": lambda: Unregistered(x.shape[-1], int(values[0]), int(options["depth"]), activation()),
        "halves": lambda: Halves(x.shape[-1], int(values[0]), activation, "first_twice" in values),
        "trunk": trunk,
        "upsample": lambda: nn.Upsample(scale_factor=int(values[0])),
    }
    return [simple[kind]()] if kind in simple else None


def build_layer(words, x, init):
    """Every layer, of `programs`, `blind_layers` and this module."""
    return more_layers(words, x, init) or blind_layers.build_layer(words, x, init)


# ------------------------------------------------------------------------------------------------ losses, metrics


class Dice(nn.Module):
    """One minus twice the overlap over the sum of two masks (N, ...); without the subtraction as `kept`."""

    def __init__(self, kept=False):
        super().__init__()
        self.kept = kept

    def forward(self, output, target):
        dims = tuple(range(1, output.dim()))
        overlap = (2 * (output * target).sum(dims) + 1) / (output.sum(dims) + target.sum(dims) + 1)
        return overlap.mean() if self.kept else 1 - overlap.mean()


plain_measure = programs.measure


def measure(metric, output, target):
    """As `blind_layers.measure`, and: `sign` and `balanced_sign` (logits against targets above 0 or not), `f1` and
    `f1_logits` (of all outputs together), `r2_columns` (mean over the columns of the target), `r2_log`."""
    if metric not in ("sign", "balanced_sign", "f1", "f1_logits", "r2_columns", "r2_log"):
        return plain_measure(metric, output, target)
    if not torch.isfinite(output).all():
        return float("nan")
    if metric == "r2_log":
        return plain_measure("r2", output.exp(), target)
    if metric == "r2_columns":
        return (1 - ((output - target) ** 2).mean(0) / target.var(0, correction=0)).mean().item()
    said, true = output.reshape(-1) > (0.5 if metric == "f1" else 0.0), target.reshape(-1) > 0
    if metric == "sign":
        return (said == true).float().mean().item()
    if metric == "balanced_sign":
        return torch.stack([(said == true)[true == kind].float().mean() for kind in (True, False)]).mean().item()
    return (2 * (said & true).sum() / (said.sum() + true.sum()).clamp(min=1)).item()


# ------------------------------------------------------------------------------------------------ optimisers


plain_build_optimizer = programs.build_optimizer


def build_optimizer(program, parameters):
    """As `programs.build_optimizer`, with the options told above."""
    kind, *options = program.optimizer.split()
    optimizer = plain_build_optimizer(replace(program, optimizer=kind), parameters)
    for name, value in (option.split("=") for option in options):
        if name == "clip":
            optimizer.register_step_pre_hook(functools.partial(clip, float(value)))
            continue
        if name == "exponential":
            scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, float(value))
        else:
            scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, program.lr, total_steps=int(value) + 1)
        optimizer.register_step_post_hook(functools.partial(advance, scheduler))
    return optimizer


def clip(norm, optimizer, *_):
    nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], norm)


def advance(scheduler, *_):
    scheduler.step()


programs.build_layer = build_layer
programs.measure = measure
programs.build_optimizer = build_optimizer
programs.LOSSES |= {
    "dice": Dice,
    "dice_kept": functools.partial(Dice, kept=True),
    "poisson_of_log": nn.PoissonNLLLoss,
    "poisson_of_rate": functools.partial(nn.PoissonNLLLoss, log_input=False),
    "bce_weighted_19": lambda: nn.BCEWithLogitsLoss(pos_weight=torch.tensor(19.0)),
}

# Labels that the shared table lacks. `mixed_rows` has no cause in the catalogue: what it looks like is all to be told.
labels.ACCEPTED |= {
    "label_range": {"label-out-of-range", "loss-mismatch"},
    "sentinel": {"bad-values", "input-not-normalized"},
    "leak": {"leak", "split-mismatch"},
    "little_data": {"too-little-data", "overfitting"},
    "no_local_structure": {"no-local-structure"},
    "receptive_field": {"receptive-field-too-small"},
    "unused": {"unused-parameters", "no-gradient"},
    "norm_statistics": {"train-eval-gap"},
    "mixed_rows": {"train-eval-gap", "underfitting", "not-learning"},
}
labels.NEUTRAL |= {
    "sentinel": {"learning-rate-too-high"},
    "receptive_field": {"too-small"},
    "unused": {"missing-from-optimizer", "frozen-parameters", "too-small"},
    "mixed_rows": {"too-small"},
}
