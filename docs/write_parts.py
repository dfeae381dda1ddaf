"""Writes the pages of the parts and their pictures from the catalogue: ``python docs/write_parts.py``; a test holds it.

Pages: ``parts.md`` and one a family. Pictures: ``images/parts/``, drawn from what PyTorch and netwright compute.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from netwright.craft.catalogue import FAMILIES, Part, parts
from netwright.inspecting import inspect
from netwright.nn.activations import ACTIVATIONS
from netwright.nn.layers.convolution import LocallyConnected2d, Tiled2d
from netwright.nn.zoo import PUBLISHED
from netwright.optim import optimizers, schedules
from netwright.optim.closures import Evaluation
from netwright.optim.initializing import initialize
from netwright.recipe.schema import Train
from netwright.reporting.plots import Curve, cells, lines

HERE = Path(__file__).resolve().parent
PICTURES = HERE / "images" / "parts"
DEPTH, WIDTH = 50, 64
AT = {"small_resnet1d": ((1, 8000), 10), **dict.fromkeys(("rnn", "lstm", "gru", "transformer"), ((1, 100), 10))}
LABELS = {
    "formula": "",
    "derivative": "Derivative",
    "range": "Range",
    "saturation": "Saturates",
    "prior": "As a prior",
    "use": "When",
    "recipe": "In a recipe",
    "python": "In Python",
    "source": "Source",
}
LEADS = {
    "layers": "Words of the network `stack`: `network.name: stack`, `network.arguments: {layers: [conv=16, "
    "batch, relu, "
    "max-pool=2, dense=64, relu]}`. In the pictures a row is an output, a column an input, and a colour is one weight.",
    "activations": "`network.activation` puts one behind every hidden layer of any network by name, or of your"
    " own module. "
    "In the pictures the line is the function, the dashes are its derivative.",
    "norms": "`network.norm` makes a network's norms of one kind, or gives a network without norms one "
    "`network.norm_place` "
    "(before or after) each hidden activation. A bias that a norm takes away is left out. The pictures show "
    "two examples "
    "(blocks) of four channels (rows) at six places: what has one colour shares a mean and a deviation.",
    "optimizers": "`train.optimizer`. The pictures show the loss over steps on Rosenbrock's valley from (−1.2,"
    " 1), a step of "
    "the line searches being several evaluations; rates 0.001 for sgd, momentum and nesterov, 0.01 for rprop, "
    "0.05 for the "
    "others, 1 for those that search. Biases and norm scales do not decay.",
    "schedules": "`train.schedule`, after a warm-up of `train.warmup` epochs. In the pictures ten epochs of "
    "one training.",
    "initializers": "`network.init` draws the weights of any network anew; the gain follows the activation. "
    "The pictures show "
    "the mean squares of outputs (line) and gradients (dashes) through 50 ReLU layers of 64 units, against "
    "those of the first "
    "layer and of the last.",
    "objectives": "`objective.loss`. The pictures show the loss over a logit's lead, or over the error.",
    "regularizers": "What keeps weights small, few or sure of little, and what it says about them beforehand. "
    "`train.l1` and "
    "constraints come right after each step; biases and norm scales are free.",
    "networks": "`network.name`, or `--network`. What does not say otherwise takes `network.width` (of a published "
    "network a factor of its channels), `network.depth` and `network.dropout` where it has them, and every switch of "
    "activations, norms and first weights. Sizes are netwright's own counts, at the input of the paper or at what is "
    "said; `netwright inspect NAME --input CxHxW` counts for yours.",
}


def index() -> str:
    """``parts.md``: what there is, by family."""
    rows = [
        f"- [{family}]({family}.md): " + ", ".join(f"[{name}]({family}.md#{name})" for name in parts(family))
        for family in FAMILIES
    ]
    return HEAD + "\n".join(rows) + "\n"


HEAD = """# The parts

Every network, layer, activation, norm, optimiser, schedule, objective, regularisation and way to draw first weights has
one short name: in a recipe, in Python, in lists and here. Written by `docs/write_parts.py` from the catalogue.

```sh
netwright list activations
netwright explain elu
netwright train digits --network lenet5 --set network.activation=elu --set network.init=orthogonal --epochs 2
```

From Python, for any module:

```python
import torch
from netwright.nn.refitting import refit
from netwright.nn.surgery import replay
from netwright.optim.initializing import initialize

network = torch.nn.Sequential(torch.nn.Conv2d(1, 8, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(288, 10))
replay(network, refit(network, (1, 8, 8), activation="elu", norm="batch"))  # the bias before the norm is gone
initialize(network, "lsuv", torch.randn(64, 1, 8, 8))
```

Rprop, L-BFGS, conjugate gradients and Newton-CG follow one fixed function: a step takes the whole training part (in
pieces, if it is large), and `train.mini_batches=true` is the way to have it otherwise.

```sh
netwright train digits --network mlp --optimizer lbfgs --epochs 3
```

"""


def page(family: str) -> str:
    """A family's page."""
    known = parts(family)
    title = {"initializers": "Initial values", "regularizers": "Regularisation", "optimizers": "Optimisers"}
    names = ", ".join(f"[{name}](#{name})" for name in known)
    head = f"# {title.get(family, family.capitalize())}\n\n{LEADS[family]}\n\n{names}\n"
    return "\n".join([head, *(_entry(part) for part in known.values())])


def _size(name: str) -> str:
    """Parameters and MACs of a network, counted without values."""
    shape, outputs = AT.get(name, ((3, 32, 32), 10))
    if name in PUBLISHED:
        shape, outputs = PUBLISHED[name].input_shape, PUBLISHED[name].outputs
    totals = inspect(name, shape, outputs=outputs, fields=False).totals
    size = "×".join(map(str, shape))
    parameters, macs = totals["parameters"], totals["macs"]
    return f"{parameters:,} parameters, {macs:,} MACs at {size} with {outputs:,} outputs"


def _entry(part: Part) -> str:
    rows = [f"## {part.name}\n", f"**{part.title}.** `{part.formula}`\n"]
    if part.family == "networks":
        rows.append(f"- *Size:* {_size(part.name)}")
    if (PICTURES / f"{part.family}-{part.name}.svg").is_file():
        rows.append(f"![{part.name}: {part.title}](images/parts/{part.family}-{part.name}.svg)\n")
    for field, label in LABELS.items():
        value = getattr(part, field)
        if label and value:
            code = field in ("recipe", "python")
            rows.append(f"- *{label}:* " + (f"`{value}`" if code else value))
    return "\n".join(rows) + "\n"


def pictures(family: str) -> dict[str, str]:
    """Name → picture, for the parts of a family that have one."""
    made = {
        "activations": _activations,
        "norms": _norms,
        "schedules": _schedules,
        "initializers": _initializers,
        "objectives": _objectives,
        "optimizers": _optimizers,
        "layers": _layers,
    }
    return made[family]() if family in made else {}


def _activations() -> dict[str, str]:
    x = torch.linspace(-6, 6, 241, dtype=torch.float64)
    found = {}
    for name, build in ACTIVATIONS.items():
        at = x.clone().requires_grad_()
        given, title = at, name
        if name in ("softmax", "maxout"):  # over two channels, the second one 0
            given, title = torch.stack([at, torch.zeros_like(at)], 1), f"{name} of (x, 0), first output"
        values = build().double()(given)
        values = values[:, 0] if values.ndim > 1 else values
        (slope,) = torch.autograd.grad(values.sum(), at)
        curves = [Curve("f", x.tolist(), values.tolist()), Curve("f′", x.tolist(), slope.tolist(), dashed=True)]
        found[name] = lines(title, curves, x_title="x", y=(-2.0, 4.0))
    return found


def _norms() -> dict[str, str]:
    def shared(rule: Any) -> list[tuple[str, list[list[int]]]]:
        return [
            (f"example {example + 1}", [[rule(example, channel) for _ in range(6)] for channel in range(4)])
            for example in (0, 1)
        ]

    rules = {
        "batch": lambda example, channel: channel,
        "layer": lambda example, channel: example,
        "group": lambda example, channel: 2 * example + channel // 2,
        "instance": lambda example, channel: 4 * example + channel,
    }
    return {name: cells(f"{name}: one colour, one mean and deviation", shared(rule)) for name, rule in rules.items()}


def _schedules() -> dict[str, str]:
    found, steps = {}, 100
    for name in parts("schedules"):
        options = Train(schedule=name, gamma=0.5, step_epochs=3, warmup="auto")  # type: ignore[arg-type]
        at = schedules.factor(options, steps, steps // 10)
        ys = [at(step) for step in range(steps + 1)]
        if name == "plateau":
            listening = schedules.Plateau(options)
            scores = [0.5, 0.6, 0.7, 0.7, 0.7, 0.7, 0.71, 0.71, 0.71, 0.71]
            factors = [1.0, *(listening.after_epoch(score) for score in scores)]
            ys = [factors[step // 10] for step in range(steps + 1)]
        found[name] = lines(
            f"{name}, γ = 0.5, k = 3",
            [Curve("factor of the rate", [s / 10 for s in range(steps + 1)], ys)],
            x_title="epoch",
            y=(0.0, 1.05),
        )
    return found


def _initializers() -> dict[str, str]:
    found = {}
    for name in parts("initializers"):
        torch.manual_seed(0)
        network = nn.Sequential(
            *(each for _ in range(DEPTH) for each in (nn.Linear(WIDTH, WIDTH), nn.ReLU())), nn.Linear(WIDTH, 10)
        )
        x = torch.randn(256, WIDTH)
        initialize(network, name, x)
        outputs = []
        for module in network:
            x = module(x)
            if isinstance(module, nn.Linear):
                x.retain_grad()
                outputs.append(x)
        (x * torch.randn_like(x)).sum().backward()
        forward = [float((o.square().mean() / outputs[0].square().mean()).detach()) for o in outputs[:-1]]
        last = outputs[-2].grad.square().mean()
        backward = [float(o.grad.square().mean() / last) for o in outputs[:-1]]
        layers = list(range(1, DEPTH + 1))
        floor = [max(value, 1e-30) for value in forward], [max(value, 1e-30) for value in backward]
        found[name] = lines(
            f"{name}: mean squares through {DEPTH} layers",
            [Curve("outputs", layers, floor[0]), Curve("gradients", layers, floor[1], dashed=True)],
            x_title="layer",
            log=True,
        )
    return found


def _objectives() -> dict[str, str]:
    z = torch.linspace(-4, 4, 161, dtype=torch.float64)
    p = torch.sigmoid(z)
    by_lead = {
        "cross-entropy": -torch.log(p),
        "binary-cross-entropy": torch.nn.functional.softplus(-z),
        "hinge": (1 - z).clamp_min(0),
        "focal": -((1 - p) ** 2) * torch.log(p),
        "kl": 0.8 * (0.8 / p).log() + 0.2 * (0.2 / (1 - p)).log(),
    }
    by_error = {
        "squared": z**2,
        "absolute": z.abs(),
        "huber": torch.nn.functional.huber_loss(z, 0 * z, reduction="none"),
    }
    found = {
        name: lines(name, [Curve("loss", z.tolist(), y.tolist())], x_title="lead of the right logit", y=(0.0, 5.0))
        for name, y in by_lead.items()
    }
    return found | {
        name: lines(name, [Curve("loss", z.tolist(), y.tolist())], x_title="error", y=(0.0, 5.0))
        for name, y in by_error.items()
    }


def _optimizers() -> dict[str, str]:
    found = {}
    for name in parts("optimizers"):
        x = nn.Parameter(torch.tensor([[-1.2, 1.0]], dtype=torch.float64))
        holder = nn.Module()
        holder.weight = x
        slow, searching = ("sgd", "momentum", "nesterov"), ("lbfgs", "cg", "cg-hs", "newton-cg")
        rate = 0.001 if name in slow else 0.01 if name == "rprop" else 1.0 if name in searching else 0.05
        optimizer = optimizers.build(holder, Train(optimizer=name, lr=rate, weight_decay=0.0))  # type: ignore[arg-type]

        def part(x: torch.Tensor = x) -> torch.Tensor:
            return 100 * (x[0, 1] - x[0, 0] ** 2) ** 2 + (1 - x[0, 0]) ** 2

        steps, losses = (40 if name in searching else 2000), []
        for _ in range(steps):
            closure = Evaluation([part], [x])
            if name in searching:
                losses.append(float(optimizer.step(closure)))
            else:
                losses.append(float(closure()))
                optimizer.step()
        losses.append(float(part().detach()))
        thin = range(0, len(losses), max(1, len(losses) // 200))
        found[name] = lines(
            f"{name}: Rosenbrock's valley",
            [Curve("loss", [s + 1 for s in thin], [max(losses[s], 1e-16) for s in thin])],
            x_title="step",
            log=True,
            log_x=True,
        )
    return found


def _layers() -> dict[str, str]:
    """Which input each output reads, on a row of eight places, and which weights are the same."""
    size, channels = 8, {"depthwise": 2, "conv": 1}

    def map_of(layer: nn.Module, inputs: int) -> list[list[int]]:
        """Weights as numbers: the layer's response to one input at a time; the same response is the same weight."""
        numbers: dict[float, int] = {}
        eye = torch.eye(inputs * size).reshape(inputs * size, inputs, 1, size)
        with torch.no_grad():
            response = layer(eye).reshape(inputs * size, -1).T
        return [
            [-1 if abs(v) < 1e-9 else numbers.setdefault(round(float(v), 5), len(numbers)) for v in row]
            for row in response
        ]

    torch.manual_seed(0)
    pool: Any = nn.AvgPool2d((1, 2))
    shown: dict[str, tuple[nn.Module, int]] = {
        "dense": (nn.Sequential(nn.Flatten(), nn.Linear(size, 6, bias=False)), 1),
        "conv": (nn.Conv2d(1, 1, (1, 3), padding=(0, 1), bias=False), 1),
        "depthwise": (nn.Conv2d(2, 2, (1, 3), padding=(0, 1), groups=2, bias=False), 2),
        "transposed": (nn.ConvTranspose2d(1, 1, (1, 2), (1, 2), bias=False), 1),
        "avg-pool": (pool, 1),
        "global-avg": (nn.AdaptiveAvgPool2d(1), 1),
        "flatten": (nn.Flatten(), 1),
    }
    found = {
        name: cells(f"{name}: outputs (rows) of inputs", [("", map_of(layer, inputs))])
        for name, (layer, inputs) in shown.items()
    }
    local, tiled = LocallyConnected2d(1, 1, (1, size), 3, bias=False), Tiled2d(1, 1, 3, tile=2, bias=False)
    found["local"] = cells("local: outputs (rows) of inputs", [("", map_of(local, 1))])
    found["tiled"] = cells("tiled, tile 2: outputs (rows) of inputs", [("", map_of(tiled, 1))])
    dilated = nn.Conv2d(1, 1, (1, 3), padding=(0, 2), dilation=(1, 2), bias=False)
    grouped = nn.Conv2d(4, 4, 1, groups=2, bias=False)
    with torch.no_grad():
        joint = grouped(torch.eye(4).reshape(4, 4, 1, 1)).reshape(4, 4).T
    numbers = [
        [-1 if abs(v) < 1e-9 else at * 4 + c for c, v in enumerate(row)] for at, row in enumerate(joint.tolist())
    ]
    plain = map_of(shown["conv"][0], channels["conv"])
    found["conv"] = cells(
        "conv: outputs (rows) of inputs",
        [("kernel 3", plain), ("dilation 2", map_of(dilated, 1)), ("groups 2, channels", numbers)],
    )
    return found


def main() -> None:
    PICTURES.mkdir(parents=True, exist_ok=True)
    for family in FAMILIES:
        for name, picture in pictures(family).items():
            (PICTURES / f"{family}-{name}.svg").write_text(picture, encoding="utf-8", newline="\n")
        (HERE / f"{family}.md").write_text(page(family), encoding="utf-8", newline="\n")
    (HERE / "parts.md").write_text(index(), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
