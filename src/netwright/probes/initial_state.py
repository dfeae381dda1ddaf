"""What an untrained network does with one batch: scales over depth, weights beside the usual ones, who gets a gradient.

Unit: that of the values; shares for ``varied`` and ``dead``. Cost: one forward and backward pass over the batch, one
forward pass for each module without a gradient (at most `MOST_TRIED`), three for `affine`, and the statistics of all
weights. It runs on a private copy, which it changes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from netwright.observations.initial import InitialState, LayerStart, ParameterStart, WeightStart
from netwright.probes import readings
from netwright.probes.freshness import fresh
from netwright.probes.recurrences import Recurrences

MOST_TRIED = 16  # modules without a gradient that are shaken
NUDGE = 0.5  # how far a parameter is moved to see whether the loss follows, in its own scale (of 1 where it is zero)
SAME = 1e-5  # relative, in single precision over many layers: the same result, but for rounding
DROPOUT = (nn.modules.dropout._DropoutNd, nn.AlphaDropout)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def measure(
    network: nn.Module,
    layers: Mapping[str, nn.Module],
    inputs: Tensor,
    targets: Any = None,
    loss: Callable[[Any, Any], Tensor] | None = None,
    keep: dict[str, Tensor] | None = None,
) -> InitialState:
    """The state of ``network``, a copy that nobody else uses, on ``inputs`` (N, …); ``layers``: its leaves by name.

    Without a loss that fits, gradients are those of a random direction of the output: who gets one is the same.
    ``keep``: with a loss that fits, gets `readings.entries` of every parameter's gradient, by name.
    Raises whatever the network's forward raises.
    """
    began = time.monotonic()
    network.train()
    for module in network.modules():
        if isinstance(module, DROPOUT):
            module.eval()
    trainable = {name: parameter.requires_grad for name, parameter in network.named_parameters()}
    looked = _Looked(layers)
    batch = inputs.detach().clone()
    recurrences = Recurrences(network, layers)
    with looked.hooked(), _Hooks(recurrences.handles):
        outputs = network(batch)
    for parameter in network.parameters():  # lazy ones have a shape now
        parameter.grad = None
    value = _loss_of(outputs, targets, loss)
    if value.requires_grad:
        value.backward()
    gradients = {name: parameter.grad for name, parameter in network.named_parameters()}
    if keep is not None and _fits(outputs, targets, loss):
        keep.update((name, readings.entries(g)) for name, g in gradients.items() if g is not None and not g.is_sparse)
    starts = [looked.start(name, _weight_start(layers[name])) for name in looked.order]
    known = {name: _norm(gradient) for name, gradient in gradients.items() if gradient is not None}
    moved = _moved(network, batch, targets, loss, [name for name in gradients if not known.get(name)])
    parameters = tuple(
        ParameterStart(
            name=name, size=parameter.numel(), trainable=trainable.get(name, True),
            gradient=known.get(name) if math.isfinite(known.get(name, 0.0)) else None,
            finite=math.isfinite(known.get(name, 0.0)), moves_loss=moved.get(name), called=looked.called(name),
            fresh=fresh(parameter) if parameter.ndim > 1 and not is_lazy(parameter) else None,
        )
        for name, parameter in network.named_parameters()
    )  # fmt: skip
    total = math.sqrt(sum(norm**2 for norm in known.values()))
    return InitialState(
        layers=tuple(starts), parameters=parameters, examples=len(batch), affine=_affine(network, looked, batch),
        loss=_number(value) if loss is not None else None, gradient=total if known and math.isfinite(total) else None,
        recurrent=recurrences.found, seconds=time.monotonic() - began,
    )  # fmt: skip


class _Looked:
    """What the hooks of one pass saw of each leaf: numbers of its first call, names in order."""

    def __init__(self, layers: Mapping[str, nn.Module]) -> None:
        self.layers = layers
        self.order: list[str] = []
        self.numbers: dict[str, dict[str, Any]] = {}
        self.gradients: dict[str, float] = {}
        self.weighted: list[str] = []

    def hooked(self) -> _Hooks:
        return _Hooks([module.register_forward_hook(self._hook(name)) for name, module in self.layers.items()])

    def _hook(self, name: str) -> Callable[..., None]:
        def look(module: nn.Module, given: Any, result: Any) -> None:
            output = result[0] if isinstance(result, tuple) and result else result
            if name in self.numbers or not isinstance(output, Tensor) or not output.is_floating_point():
                return
            self.order.append(name)
            if next(module.parameters(), None) is not None:
                self.weighted.append(name)
            self.numbers[name] = _numbers(output.detach(), module)
            if output.requires_grad:
                output.register_hook(lambda gradient: self._keep(name, gradient))

        return look

    def _keep(self, name: str, gradient: Tensor) -> None:
        rows = gradient.detach().double()  # squares of 1e-20 are zero in single precision
        rows = rows.reshape(len(rows), -1) if rows.ndim else rows.reshape(1, 1)
        norm = float(rows.square().sum(1).mean().sqrt())
        if math.isfinite(norm):
            self.gradients[name] = norm

    def start(self, name: str, weight: WeightStart | None) -> LayerStart:
        gradient = self.gradients.get(name)
        kind = type(self.layers[name]).__name__
        return LayerStart(name=name, kind=kind, gradient_norm=gradient, weight=weight, **self.numbers[name])

    def called(self, parameter: str) -> bool:
        """Whether the parameter's module, one around it or one in it was called."""
        path = parameter.rpartition(".")[0]
        return any(f"{path}.".startswith(f"{name}.") or f"{name}.".startswith(f"{path}.") for name in self.order)


class _Hooks:
    def __init__(self, handles: list[Any]) -> None:
        self.handles = handles

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        for handle in self.handles:
            handle.remove()


def _numbers(output: Tensor, module: nn.Module) -> dict[str, Any]:
    """Units are on axis 1 of maps (N, C, …) and last elsewhere; places of one unit count as examples for ``dead``."""
    values = output.float()
    maps = values.ndim > 3 or (values.ndim == 3 and isinstance(module, nn.modules.conv._ConvNd))
    unit_axis = 1 if maps else -1
    finite = bool(torch.isfinite(values).all())
    units = values.shape[unit_axis] if values.ndim > 1 else 1
    found: dict[str, Any] = {"units": int(units), "finite": finite}
    if not finite or not values.numel():
        return found
    power = float(values.square().mean())
    found["output_scale"] = math.sqrt(power)
    if len(values) > 1 and power > 0:
        found["varied"] = math.sqrt(float(values.var(0, correction=0).mean()) / power)
    if values.ndim > 1:
        others = [axis for axis in range(values.ndim) if axis != unit_axis % values.ndim]
        found["dead"] = float((values == 0).all(dim=others[0]).float().mean()) if len(others) == 1 else float(
            (values.abs().amax(others) == 0).float().mean()
        )  # fmt: skip
    return found


def _weight_start(module: nn.Module) -> WeightStart | None:
    """Of the weight of a dense or convolutional layer, with the gradient that lies in it."""
    if not isinstance(module, nn.Linear | nn.modules.conv._ConvNd) or is_lazy(module.weight):
        return None
    weight = module.weight.detach()
    gradient = module.weight.grad if isinstance(module.weight, nn.Parameter) else None
    if isinstance(module, TRANSPOSED):
        weight = weight.transpose(0, 1)
        gradient = gradient.transpose(0, 1) if gradient is not None else None
    if weight.numel() < 1 or not bool(torch.isfinite(weight).all()):
        return None
    rows = weight.reshape(len(weight), -1).float()
    places = weight[0, 0].numel() if weight.ndim > 2 else 1
    fan_in, fan_out = rows.shape[1], len(rows) * places
    deviation = float(rows.std(correction=0))
    # PyTorch's default U(±1/√n); Glorot's, He's and LeCun's deviation, those of kernels by fan-out too, times √fan-in.
    usual = [math.sqrt(1 / 3), math.sqrt(2 * fan_in / (fan_in + fan_out)), math.sqrt(2), 1.0]
    usual += [math.sqrt(2 * fan_in / fan_out)] if places > 1 else []
    alike = len(rows) > 1 and bool((rows == rows[0]).all())
    equal = None
    if alike and gradient is not None:
        slopes = gradient.detach().reshape(len(rows), -1).float()
        spread = float((slopes - slopes.mean(0)).norm())
        equal = spread <= 1e-4 * float(slopes.norm())
    return WeightStart(
        fan_in=fan_in, fan_out=fan_out, mean=float(rows.mean()), deviation=deviation,
        gain=deviation * math.sqrt(fan_in), lowest_gain=min(usual), highest_gain=max(usual), equal_rows=alike,
        equal_gradients=equal, constant=bool((rows == rows[0, 0]).all()), fresh=fresh(weight),
    )  # fmt: skip


def _fits(outputs: Any, targets: Any, loss: Callable[[Any, Any], Tensor] | None) -> bool:
    if loss is None or targets is None:
        return False
    try:
        return bool(torch.isfinite(loss(outputs, targets)).all())
    except Exception:  # whatever a user's loss raises
        return False


def _loss_of(outputs: Any, targets: Any, loss: Callable[[Any, Any], Tensor] | None) -> Tensor:
    if loss is not None and targets is not None:
        try:
            value: Tensor = loss(outputs, targets)
            return value.float().sum() if value.ndim else value
        except Exception:  # whatever a user's loss raises: it is called otherwise in the training
            pass
    made = _first_tensor(outputs)
    generator = torch.Generator().manual_seed(0)
    return (made.float() * torch.randn(made.shape, generator=generator).to(made.device)).sum() / len(made)


def _first_tensor(value: Any) -> Tensor:
    if isinstance(value, Tensor):
        return value
    items = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    for item in items:
        return _first_tensor(item)
    if hasattr(value, "__dataclass_fields__"):
        return _first_tensor([getattr(value, field) for field in value.__dataclass_fields__])
    raise TypeError(f"an output of type {type(value).__name__} holds no tensor")


@torch.no_grad()
def _moved(
    network: nn.Module, batch: Tensor, targets: Any, loss: Callable[[Any, Any], Tensor] | None, names: list[str]
) -> dict[str, bool]:
    """Of parameters that got no gradient or one of zero: whether another value changes output or loss.

    Parameters of one module are moved together, and all at once first: where nothing changes, none of them does.
    """
    own = dict(network.named_parameters())
    groups: dict[str, list[str]] = {}
    for name in names:
        if not is_lazy(own[name]) and own[name].is_floating_point():
            groups.setdefault(name.rpartition(".")[0], []).append(name)
    before = _seen(network, batch, targets, loss)
    if not groups or not _same(before, _seen(network, batch, targets, loss)):
        return {}
    found: dict[str, bool] = {}
    for _, members in list(groups.items())[:MOST_TRIED]:
        kept = [own[name].clone() for name in members]
        for name in members:
            scale = float(own[name].float().square().mean().sqrt()) or 1.0
            noise = torch.randn(own[name].shape, generator=torch.Generator().manual_seed(1))
            own[name].add_((NUDGE * scale * noise).to(own[name]))
        moves = not _same(before, _seen(network, batch, targets, loss))
        for name, value in zip(members, kept, strict=True):
            own[name].copy_(value)
            found[name] = moves
    return found


def _seen(network: nn.Module, batch: Tensor, targets: Any, loss: Any) -> Tensor:
    torch.manual_seed(0)
    outputs = network(batch)
    made = _first_tensor(outputs).double().reshape(-1)
    return torch.cat([made, _loss_of(outputs, targets, loss).double().reshape(1).to(made.device)])


def _same(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.allclose(a, b, rtol=SAME, atol=SAME * float(a.abs().max()), equal_nan=True)


@torch.no_grad()
def _affine(network: nn.Module, looked: _Looked, batch: Tensor) -> bool | None:
    """Whether the output of the last layer with weights is an affine function of the network's input.

    f((x + y) / 2) = (f(x) + f(y)) / 2 for inputs from far apart, in evaluation mode; a rectifier between them fails it
    unless it is on one side of zero for all three. None where the input is no number that can be halved.
    """
    if not batch.is_floating_point() or len(looked.weighted) < 2 or len(batch) < 2:
        return None
    network.eval()
    ends: list[Tensor] = []
    last = looked.layers[looked.weighted[-1]]

    def keep(module: nn.Module, given: Any, result: Any) -> None:
        ends.append(_first_tensor(result).double())

    scale = float(batch.float().std()) or 1.0
    far = torch.randn(batch.shape, generator=torch.Generator().manual_seed(2)).to(batch) * 10 * scale
    handle = last.register_forward_hook(keep)
    try:
        for given in (batch, far, (batch + far) / 2):
            network(given)
    finally:
        handle.remove()
        network.train()
    if len(ends) != 3 or ends[0].shape != ends[1].shape:
        return None
    middle = (ends[0] + ends[1]) / 2
    size = float((ends[0] - ends[1]).abs().max())
    if not size > 0 or not math.isfinite(size):
        return None
    return bool(float((ends[2] - middle).abs().max()) <= 1e-3 * size)


def _norm(gradient: Tensor) -> float:
    values = gradient.coalesce().values() if gradient.is_sparse else gradient
    return float(values.detach().double().norm())


def _number(value: Tensor) -> float | None:
    number = float(value.detach())
    return number if math.isfinite(number) else None
