"""Several networks as one: the logarithm of their mean probability, or the mean of their values."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from netwright.errors import NetworkError
from netwright.records import NetworkFile

How = Literal["probability", "label", "value"]
HOW: tuple[How, ...] = ("probability", "label", "value")

Affine = tuple[Sequence[float], Sequence[float]]  # scale and shift, one a channel


class Ensemble(nn.Module):
    """The members' outputs (N, K), combined by weights that sum to 1.

    ``probability``: log Σ wₘ softmax(zₘ), so that the softmax of the output is the mean probability; ``label``: the
    logit of Σ wₘ σ(zₘ); ``value``: Σ wₘ zₘ. The first two add up in logarithms, relative to the most probable member,
    and lose nothing where every member says almost 0 or 1.

    ``inputs``: of each member and input, how the ensemble's input becomes the member's (x · scale + shift by channel),
    or None where it is that already; ``outputs``: the same of each member's output. They are part of how the network
    is built, not weights.
    """

    def __init__(
        self, members: Sequence[nn.Module], how: How, weights: Sequence[float] = (), *,
        inputs: Sequence[Sequence[Affine | None]] = (), outputs: Sequence[Affine | None] = (),
    ) -> None:  # fmt: skip
        super().__init__()
        given = list(weights) or [1.0] * len(members)
        _require(how in HOW, "how", repr(how), ", ".join(HOW))
        _require(len(members) > 0, "members", "none", "at least one")
        for name, several in (("weights", given), ("inputs", inputs), ("outputs", outputs)):
            _require(len(several) in (0, len(members)), name, str(len(several)), f"{len(members)}, one a member")
        _require(all(0 < weight < float("inf") for weight in given), "weights", f"{given}", "numbers above 0")
        self.members, self.how = nn.ModuleList(members), how
        self.weights = tuple(weight / sum(given) for weight in given)
        self.before = nn.ModuleList(nn.ModuleList(map(_step, each)) for each in inputs or [()] * len(members))
        self.after = nn.ModuleList(map(_step, outputs or [None] * len(members)))

    def forward(self, *inputs: Tensor, **named: Tensor) -> Tensor:
        return self.combined(self.each(*inputs, **named))

    def each(self, *inputs: Tensor, **named: Tensor) -> list[Tensor]:
        """What every member says alone, in the form of the ensemble's own output."""
        said = []
        for member, before, after in zip(self.members, self.before, self.after, strict=True):
            steps: Any = list(before.children()) or [nn.Identity()] * (len(inputs) + len(named))
            given = [step(one) for step, one in zip(steps, (*inputs, *named.values()), strict=True)]
            by_name = dict(zip(named, given[len(inputs) :], strict=True))
            output = after(member(*given[: len(inputs)], **by_name))
            said.append(_log_softmax(output) if self.how == "probability" else output)
        return said

    def combined(self, said: Sequence[Tensor], asked: Tensor | None = None) -> Tensor:
        """The ensemble's output of what ``each`` gave. ``asked`` (members, N), true or false: by which of the members
        an example is judged; NaN where by none."""
        shares: Sequence[float] | Tensor = self.weights
        if asked is not None:
            shares = asked * said[0].new_tensor(self.weights)[:, None]
            shares = (shares / shares.sum(0)).view(*asked.shape, *[1] * (said[0].ndim - 1))
        match self.how:
            case "probability":
                return _log_mean_exp(said, shares)
            case "label":
                yes = _log_mean_exp([_log_sigmoid(each) for each in said], shares)
                return yes - _log_mean_exp([_log_sigmoid(-each) for each in said], shares)
            case _:
                return _sum(said, shares)


def _log_mean_exp(logs: Sequence[Tensor], shares: Sequence[float] | Tensor) -> Tensor:
    """log Σ wₘ exp(lₘ), by operators that every runtime has."""
    if isinstance(shares, Tensor):  # who is not asked must not set the scale
        logs = [torch.where(share > 0, each, -torch.inf) for share, each in zip(shares, logs, strict=True)]
    highest = functools.reduce(torch.maximum, logs)
    return highest + torch.log(_sum([torch.exp(each - highest) for each in logs], shares))


def _sum(terms: Sequence[Tensor], shares: Sequence[float] | Tensor) -> Tensor:
    weighted: list[Tensor] = [share * term for share, term in zip(shares, terms, strict=True)]
    return functools.reduce(torch.add, weighted)


# PyTorch's own of these two become a logarithm of what may be 0 in ncnn; the steps below stay finite in every runtime.


def _log_softmax(logits: Tensor) -> Tensor:
    shifted = logits - logits.amax(1, keepdim=True)
    return shifted - torch.log(torch.exp(shifted).sum(1, keepdim=True))


def _log_sigmoid(logits: Tensor) -> Tensor:
    """Within 1e-7 of log σ(z)."""
    return -torch.relu(-logits) - torch.log(1 + torch.exp(-torch.abs(logits)))


class _Shifted(nn.Module):
    """x · scale + shift along axis 1."""

    scale: Tensor
    shift: Tensor

    def __init__(self, scale: Sequence[float], shift: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("scale", torch.tensor(scale, dtype=torch.float32), persistent=False)
        self.register_buffer("shift", torch.tensor(shift, dtype=torch.float32), persistent=False)

    def forward(self, values: Tensor) -> Tensor:
        shape = (-1,) + (1,) * (values.ndim - 2) if values.ndim > 1 else (-1,)
        return values * self.scale.view(shape) + self.shift.view(shape)


def _step(affine: Affine | None) -> nn.Module:
    return nn.Identity() if affine is None else _Shifted(*affine)


def _require(true: bool, what: str, got: str, expected: str) -> None:
    if not true:
        raise NetworkError(f"ensemble: {what}", got, expected)


def build(record: NetworkFile, member: Callable[[NetworkFile], nn.Module]) -> Ensemble:
    """The ensemble that ``record`` describes; ``member`` builds one of its members."""
    about: dict[str, Any] = record.arguments
    return Ensemble(
        [member(each) for each in record.members], about.get("how", ""), about.get("weights", ()),
        inputs=about.get("inputs", ()), outputs=about.get("outputs", ()),
    )  # fmt: skip
