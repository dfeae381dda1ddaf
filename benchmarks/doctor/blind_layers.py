"""More words for the programs of the fault benchmark: layers, activations, losses and a metric.

Importing this module makes the shared folder's `programs`, `datasets` and `labels` importable and adds to their
tables; the notation of `programs.py` goes on to hold. The words added here:

    res 64 relu, res 64 gelu layernorm    x + W2 act(W1 x), with a norm layer (`batchnorm`, `layernorm`) before W1
    resconv 16 relu          a residual block of two 3 x 3 convolutions with batch norm; 1 x 1 shortcut where needed
    conv1d 16 3 relu         over (N, channels, length); `pad=1`, `stride=2`
    rnn 32, rnn 32 relu      a plain recurrent layer (tanh or ReLU), last output; with `all` the whole sequence
    bigru 16                 both directions, the two last outputs beside each other
    positions, transformer 4 64    learned positions; a pre-norm encoder layer of 4 heads and 64 hidden units
    layernorm, groupnorm 4, avgpool 2, gap, mean, last, squeeze, round
    dense 64 relu bias=-4    a linear layer whose biases all start at -4
    embedding 40 16 frozen   an embedding that does not require gradients
"""

import os
import sys
from pathlib import Path

import torch
from torch import nn

SHARED = Path(os.environ.get("NETWRIGHT_SHARED", Path(__file__).resolve().parents[2].parent / "shared"))
if not (SHARED / "faults").is_dir():
    sys.exit(f"no fault benchmark in {SHARED / 'faults'}; NETWRIGHT_SHARED names another place")
sys.path.insert(0, str(SHARED / "faults"))

import programs  # noqa: E402 - the path comes first

CLASSES_OF_ONE_UNIT = 0.5  # as programs.measure decides


# ------------------------------------------------------------------------------------------------ layers


class Residual(nn.Module):
    """x + W2 act(W1 norm(x)) for x of shape (..., features)."""

    def __init__(self, features, hidden, activation, norm):
        super().__init__()
        kinds = {"batchnorm": nn.BatchNorm1d, "layernorm": nn.LayerNorm, None: lambda _: nn.Identity()}
        self.norm = kinds[norm](features)
        self.inner = nn.Linear(features, hidden)
        self.activation = programs.ACTIVATIONS[activation]()
        self.outer = nn.Linear(hidden, features)

    def forward(self, x):
        return x + self.outer(self.activation(self.inner(self.norm(x))))


class ResidualConvolution(nn.Module):
    """Two 3 x 3 convolutions with batch norm beside a shortcut; (N, C, H, W)."""

    def __init__(self, inputs, channels, activation):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels),
            programs.ACTIVATIONS[activation](),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels),
        )  # fmt: skip
        self.shortcut = nn.Identity() if inputs == channels else nn.Conv2d(inputs, channels, 1)
        self.activation = programs.ACTIVATIONS[activation]()

    def forward(self, x):
        return self.activation(self.shortcut(x) + self.body(x))


class Positions(nn.Module):
    """Adds a learned vector to every place of a sequence (N, L, features)."""

    def __init__(self, length, features):
        super().__init__()
        self.table = nn.Parameter(0.1 * torch.randn(length, features))

    def forward(self, x):
        return x + self.table


class PlainRecurrent(nn.Module):
    """nn.RNN; its last output, or the whole sequence."""

    def __init__(self, inputs, units, nonlinearity, whole):
        super().__init__()
        self.rnn = nn.RNN(inputs, units, nonlinearity=nonlinearity, batch_first=True)
        self.whole = whole

    def forward(self, x):
        output, _ = self.rnn(x)
        return output if self.whole else output[:, -1]


class BothWays(nn.Module):
    """A bidirectional GRU; its last state of either direction."""

    def __init__(self, inputs, units):
        super().__init__()
        self.rnn = nn.GRU(inputs, units, batch_first=True, bidirectional=True)

    def forward(self, x):
        return self.rnn(x)[1].transpose(0, 1).flatten(1)


class Function(nn.Module):
    """A function of a tensor as a layer."""

    def __init__(self, name, function):
        super().__init__()
        self.name, self.function = name, function

    def forward(self, x):
        return self.function(x)

    def extra_repr(self):
        return self.name


FUNCTIONS = {
    "gap": lambda x: x.flatten(2).mean(-1),  # (N, C, ...) -> (N, C)
    "last": lambda x: x[:, -1],  # (N, L, features) -> (N, features)
    "mean": lambda x: x.mean(1),  # (N, L, features) -> (N, features)
    "squeeze": lambda x: x.squeeze(-1),
    "round": torch.round,  # its derivative is zero everywhere
}


def more_layers(words, x, init):
    """The modules of one layer that `programs.build_layer` does not know, else None."""
    options = dict(word.split("=") for word in words if "=" in word)
    kind, *values = [word for word in words if "=" not in word]
    activation = next((value for value in values if value in programs.ACTIVATIONS), None)
    if kind == "dense" and "bias" in options:
        layers = plain_build_layer([word for word in words if not word.startswith("bias=")], x, init)
        nn.init.constant_(layers[0].bias, float(options["bias"]))
        return layers
    if kind == "res":
        norm = next((value for value in values if value.endswith("norm")), None)
        return [Residual(x.shape[-1], int(values[0]), activation, norm)]
    if kind == "conv1d":
        padding, stride = int(options.get("pad", 0)), int(options.get("stride", 1))
        layer = nn.Conv1d(x.shape[1], int(values[0]), int(values[1]), stride=stride, padding=padding)
        programs.initialize(layer, options.get("init", init))
        return [layer, *([programs.ACTIVATIONS[activation]()] if activation else [])]
    if kind == "embedding" and "frozen" in values:
        layer = nn.Embedding(int(values[0]), int(values[1]))
        layer.weight.requires_grad_(False)
        return [layer]
    if kind == "batchnorm" and x.dim() == 3:
        return [nn.BatchNorm1d(x.shape[1])]
    simple = {
        "resconv": lambda: ResidualConvolution(x.shape[1], int(values[0]), activation),
        "rnn": lambda: PlainRecurrent(x.shape[-1], int(values[0]), activation or "tanh", "all" in values),
        "bigru": lambda: BothWays(x.shape[-1], int(values[0])),
        "positions": lambda: Positions(x.shape[1], x.shape[2]),
        "transformer": lambda: nn.TransformerEncoderLayer(
            x.shape[-1], int(values[0]), int(values[1]), dropout=0.0, batch_first=True, norm_first=True
        ),
        "layernorm": lambda: nn.LayerNorm(x.shape[-1]),
        "groupnorm": lambda: nn.GroupNorm(int(values[0]), x.shape[1]),
        "avgpool": lambda: nn.AvgPool2d(int(values[0])),
    }
    if kind in simple:
        return [simple[kind]()]
    return [Function(kind, FUNCTIONS[kind])] if kind in FUNCTIONS else None


plain_build_layer = programs.build_layer


def build_layer(words, x, init):
    """Every layer, of `programs` and of this module."""
    return more_layers(words, x, init) or plain_build_layer(words, x, init)


# ------------------------------------------------------------------------------------------------ losses and metric


class ForgottenMinus(nn.Module):
    """The mean log-likelihood of log-probabilities (N, classes), without the minus that makes it a loss."""

    def forward(self, output, target):
        return output.gather(1, target.view(-1, 1)).mean()


plain_measure = programs.measure


def measure(metric, output, target):
    """As `programs.measure`; `balanced` is the mean recall of the classes, 1 / classes for a constant answer."""
    if metric != "balanced":
        return plain_measure(metric, output, target)
    if not torch.isfinite(output).all():
        return float("nan")
    answer = output.argmax(-1) if output.shape[-1] > 1 else (output.view(-1) > CLASSES_OF_ONE_UNIT).long()
    truth = target.view(-1).long()
    return torch.stack([(answer[truth == k] == k).float().mean() for k in truth.unique()]).mean().item()


programs.build_layer = build_layer
programs.measure = measure
programs.ACTIVATIONS |= {
    "gelu": nn.GELU, "selu": nn.SELU, "silu": nn.SiLU, "leaky_relu": nn.LeakyReLU, "softplus": nn.Softplus,
}  # fmt: skip
programs.LOSSES |= {
    "cross_entropy_sum": lambda: nn.CrossEntropyLoss(reduction="sum"),
    "smoothed_cross_entropy": lambda: nn.CrossEntropyLoss(label_smoothing=0.1),
    "huber": nn.SmoothL1Loss,
    "forgotten_minus": ForgottenMinus,
}
