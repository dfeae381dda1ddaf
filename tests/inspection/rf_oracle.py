"""Random small networks of one axis as a value, read in two ways: as a PyTorch module, and as explicit sets of pixels.

The sets are propagated naively from each operator's definition, element by element (a transposed convolution scatters,
a resizing is asked from PyTorch with unit vectors): nothing here knows of periods, laws or masks.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from hypothesis import strategies as st
from torch import Tensor, nn

NOISE = 1e-9  # weights that rounding leaves where a resizing falls on a pixel

Sets = list[frozenset[int]]
Step = tuple[Any, ...]  # ("conv", k, s, p, d) and the like; ("add" | "concat", steps, steps)


def conv(k: int = 1, s: int = 1, p: int = 0, d: int = 1) -> Step:
    return ("conv", k, s, p, d)


def pool(k: int, s: int, p: int = 0, ceil: bool = False) -> Step:
    return ("pool", k, s, p, ceil)


def deconv(k: int, s: int, p: int = 0, o: int = 0, d: int = 1) -> Step:
    return ("deconv", k, s, p, o, d)


def add(*branches: tuple[Step, ...]) -> Step:
    return ("add", *branches)


def concat(*branches: tuple[Step, ...]) -> Step:
    return ("concat", *branches)


class Chain(nn.Module):
    """(N, 2, L) → (N, 2, L'): positive weights and mean pooling, so that no gradient cancels or vanishes."""

    def __init__(self, steps: tuple[Step, ...]) -> None:
        super().__init__()
        self.steps = steps
        self.weights = nn.ParameterList()
        self.branches = nn.ModuleList()
        self.places: list[int] = []
        for step in steps:
            if step[0] in ("conv", "deconv"):
                self._weigh(step[1])
            elif step[0] in ("add", "concat"):
                self.places.append(len(self.branches))
                self.branches.extend(Chain(branch) for branch in step[1:])
                if step[0] == "concat":
                    self.weights.append(torch.rand(2, 2 * len(step[1:]), 1, dtype=torch.float64) + 0.5)
                continue
            self.places.append(-1)

    def _weigh(self, kernel: int) -> None:
        self.weights.append(torch.rand(2, 2, kernel, dtype=torch.float64) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        weights = iter(self.weights)
        for step, place in zip(self.steps, self.places, strict=True):
            kind = step[0]
            if kind in ("add", "concat"):
                made = [self.branches[place + number](x) for number in range(len(step) - 1)]
                length = min(part.shape[2] for part in made)
                cut = [part[:, :, :length] for part in made]
                x = torch.stack(cut).sum(0) if kind == "add" else F.conv1d(torch.cat(cut, 1), next(weights))
            elif kind == "conv":
                x = F.conv1d(x, next(weights), None, *step[2:])
            elif kind == "deconv":
                x = F.conv_transpose1d(x, next(weights), None, step[2], step[3], step[4], 1, step[5])
            elif kind == "pool":
                x = F.avg_pool1d(x, *step[1:])
            else:
                x = LINEAR[kind](x, step)
        return x


def _fold(x: Tensor) -> Tensor:
    """Positions to channels and back, with the odd ones first: what pixel unshuffle and shuffle are made of."""
    n, channels, length = x.shape
    even = x[:, :, : length // 2 * 2].reshape(n, channels, length // 2, 2)
    return even.permute(0, 1, 3, 2).reshape(n, channels * 2, length // 2).unflatten(1, (channels, 2)).sum(2)


def _spread(x: Tensor) -> Tensor:
    """(N, C, L) → (N, C, 2 L): every position twice, by a new axis."""
    return x.unsqueeze(3).expand(-1, -1, -1, 2).flatten(2)


LINEAR: dict[str, Callable[[Tensor, Step], Tensor]] = {
    "resize": lambda x, step: F.interpolate(
        x.unsqueeze(3) if step[1] == "bicubic" else x,
        **({"size": (step[2], 1)} if step[1] == "bicubic" else {"size": step[2]}),
        mode=step[1], **({} if step[3] is None else {"align_corners": step[3]}),
    ).reshape(*x.shape[:2], -1),
    "scale": lambda x, step: F.interpolate(x, scale_factor=step[2], mode=step[1]),
    "adaptive": lambda x, step: F.adaptive_avg_pool1d(x, step[1]),
    "pad": lambda x, step: F.pad(x, step[1:3], step[3]),
    "slice": lambda x, step: x[:, :, step[1] :: step[2]],
    "flip": lambda x, step: x.flip(2),
    "roll": lambda x, step: x.roll(step[1], 2),
    "mean": lambda x, step: x + x.mean(2, keepdim=True),
    "cumsum": lambda x, step: x.cumsum(2),
    "fold": lambda x, step: _fold(x),
    "spread": lambda x, step: _spread(x),
    "turn": lambda x, step: x.transpose(1, 2).contiguous().flip(2).transpose(1, 2),
}  # fmt: skip


def propagate(steps: tuple[Step, ...], read: Sets) -> Sets:
    """What the positions behind ``steps`` read, where those before them read ``read``."""
    for step in steps:
        kind = step[0]
        if kind in ("add", "concat"):
            made = [propagate(branch, read) for branch in step[1:]]
            read = [frozenset().union(*together) for together in zip(*made, strict=False)]
        elif kind == "conv":
            _, k, s, p, d = step
            padded = dict(enumerate(read, p))
            length = (len(read) + 2 * p - d * (k - 1) - 1) // s + 1
            read = [_together(padded, range(o * s, o * s + d * k, d)) for o in range(length)]
        elif kind == "pool":
            _, k, s, p, ceil = step
            length = F.avg_pool1d(torch.zeros(1, 1, len(read)), k, s, p, ceil).shape[2]
            padded = dict(enumerate(read, p))
            read = [_together(padded, range(o * s, o * s + k)) for o in range(length)]
        elif kind == "deconv":
            _, k, s, p, more, d = step
            written: dict[int, set[int]] = {}
            for i, pixels in enumerate(read):
                for t in range(k):
                    written.setdefault(i * s + d * t - p, set()).update(pixels)
            length = (len(read) - 1) * s - 2 * p + d * (k - 1) + more + 1
            read = [frozenset(written.get(o, ())) for o in range(length)]
        else:  # what positions a linear operator reads, by unit vectors
            units = torch.eye(len(read), dtype=torch.float64).unsqueeze(1)
            response = LINEAR[kind](units, step)[:, 0]
            read = [
                frozenset().union(*(read[i] for i in response[:, o].abs().gt(NOISE).nonzero().flatten().tolist()))
                for o in range(response.shape[1])
            ]
    return read


def _together(read: dict[int, frozenset[int]], positions: range) -> frozenset[int]:
    return frozenset().union(*(read.get(position, frozenset()) for position in positions))


def pixels(steps: tuple[Step, ...], length: int) -> Sets:
    """What every output position of a chain reads of an input of ``length`` pixels."""
    return propagate(steps, [frozenset({pixel}) for pixel in range(length)])


# ---- random networks

small = st.integers(1, 3)
_plain = st.one_of(
    st.builds(conv, st.integers(1, 4), small, st.integers(0, 2), st.integers(1, 2)),
    st.builds(pool, st.integers(2, 3), small, st.integers(0, 1), st.booleans()),
)
_up = st.one_of(
    st.builds(deconv, st.integers(1, 4), small, st.integers(0, 1), st.just(0), st.integers(1, 2)),
    st.builds(lambda mode, factor: ("scale", mode, factor), st.sampled_from(["nearest", "linear"]),
              st.sampled_from([2.0, 3.0, 1.5])),
    st.just(("spread",)),
)  # fmt: skip
_moves = st.one_of(
    st.builds(lambda start, step: ("slice", start, step), st.integers(0, 2), small),
    st.builds(lambda before, after: ("pad", before, after, "constant"), st.integers(0, 2), st.integers(-1, 2)),
    st.just(("fold",)),
    st.just(("turn",)),
)
_bordered = st.one_of(
    st.builds(lambda b, a, mode: ("pad", b, a, mode), st.integers(0, 2), st.integers(0, 2),
              st.sampled_from(["reflect", "replicate", "circular"])),
    st.builds(lambda size: ("adaptive", size), st.integers(2, 9)),
    st.builds(lambda mode, size, align: ("resize", mode, size, align), st.sampled_from(["linear", "bicubic"]),
              st.integers(3, 20), st.booleans()),
    st.builds(lambda size: ("resize", "nearest", size, None), st.integers(3, 20)),
    st.builds(lambda by: ("roll", by), st.integers(-3, 3)),
    st.just(("flip",)),
    st.just(("mean",)),
    st.just(("cumsum",)),
)  # fmt: skip


def chains(*, borders: bool, longest: int = 5) -> st.SearchStrategy[tuple[Step, ...]]:
    """Chains with sums and concatenations of chains in them; with ``borders`` also what is no law of the position."""
    step = st.one_of(_plain, _plain, _up, _moves, _bordered) if borders else st.one_of(_plain, _plain, _up, _moves)
    short = st.lists(step, min_size=0, max_size=2).map(tuple)
    branch = st.builds(lambda join, a, b: (join, a, b), st.sampled_from(["add", "concat"]), short, short)
    return st.lists(st.one_of(step, step, step, branch), min_size=1, max_size=longest).map(tuple)
