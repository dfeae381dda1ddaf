"""Decompositions of a matrix or a convolution's kernel, and where to cut them. All in ``float64``, all deterministic.

A kernel is (O, I, kh, kw). Each function returns factors; ``composed`` ones give the approximation back. Costs are of
one singular value decomposition of the unfoldings (Tucker-2, trains) or of some dozens of small least-squares problems
(CP, block-term).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

SWEEPS = 40  # of alternating least squares
SETTLED = 1e-7  # relative change of the error at which they stop


def relative_error(tensor: Tensor, approximation: Tensor) -> float:
    """‖W − Ŵ‖ / ‖W‖ (Frobenius); 0 for a tensor of zeros that is met."""
    norm = float(tensor.double().norm())
    difference = float((tensor.double() - approximation.double()).norm())
    return difference / norm if norm else difference


# --------------------------------------------------------------------------------------------------------------
# Where to cut


def kept_by_energy(singular: Tensor, share: float) -> int:
    """The fewest singular values whose squares sum up to ``share`` of all (at least one)."""
    squares = singular.double().square()
    lost = squares.flip(0).cumsum(0).flip(0)  # what is lost where the cut is before each
    allowed = (1 - share) * float(squares.sum())
    return max(1, int((lost > allowed * (1 + 1e-12)).sum()))


def vbmf_rank(matrix: Tensor) -> int:
    """How many singular values are signal rather than noise: the global analytic solution of empirical variational
    Bayesian matrix factorisation (Nakajima, Sugiyama, Babacan, Tomioka, JMLR 14 (2013), theorems 2 and 3), with the
    noise's variance estimated by the free energy's minimum. May be 0. One SVD and a search on a line."""
    singular = torch.linalg.svdvals(matrix.double())
    small, large = sorted(matrix.shape)
    alpha = small / large
    tau_bar = 2.5129 * math.sqrt(alpha)
    x_bar = (1 + tau_bar) * (1 + alpha / tau_bar)
    squares = singular.square()
    if float(squares.sum()) == 0:
        return 0
    beyond = min(math.ceil(small / (1 + alpha)) - 1, small - 1)
    upper = float(squares.sum()) / (small * large)
    lower = max(float(squares[beyond]) / (large * x_bar), float(squares[beyond:].mean()) / large, 1e-12 * upper)

    def free_energy(variances: Tensor) -> Tensor:
        x = squares[None] / (large * variances[:, None])
        signal = x > x_bar
        inside = (x - (1 + alpha)).square() - 4 * alpha
        tau = 0.5 * (x - (1 + alpha) + inside.clamp(min=0).sqrt())
        of_signal = x - tau + ((tau + 1) / x).log() + alpha * (tau / alpha + 1).log()
        return torch.where(signal, of_signal, x - x.clamp(min=1e-300).log()).sum(1)

    low, high = math.log(lower), math.log(max(upper, lower * (1 + 1e-9)))
    for _ in range(4):  # the energy may have several minima: a grid, then finer ones around the best
        grid = torch.linspace(low, high, 200, dtype=torch.float64)
        best = int(free_energy(grid.exp()).argmin())
        low, high = float(grid[max(best - 1, 0)]), float(grid[min(best + 1, 199)])
    variance = math.exp((low + high) / 2)
    return int((singular > math.sqrt(large * variance * x_bar)).sum())


# --------------------------------------------------------------------------------------------------------------
# Singular values and Tucker


def svd(matrix: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """W (O, I) ≈ B A with B (O, r), A (r, I): the best of that rank (Eckart and Young 1936)."""
    u, s, v = torch.linalg.svd(matrix.double(), full_matrices=False)
    root = s[:rank].sqrt()
    return u[:, :rank] * root, root[:, None] * v[:rank]


def unfolded(kernel: Tensor, axis: int) -> Tensor:
    """The matrix whose rows are slices along ``axis``."""
    return kernel.movedim(axis, 0).flatten(1)


def _leading(matrix: Tensor, rank: int) -> Tensor:
    found: Tensor = torch.linalg.svd(matrix, full_matrices=False)[0][:, :rank]
    return found


class Tucker(NamedTuple):
    """``core`` ×₀ ``factors[0]`` ×₁ ``factors[1]`` …; a factor (n, r) has orthonormal columns, None is the identity."""

    core: Tensor
    factors: tuple[Tensor | None, ...]

    def composed(self) -> Tensor:
        found = self.core
        for axis, factor in enumerate(self.factors):
            if factor is not None:
                found = _times(found, factor, axis)
        return found


def _times(tensor: Tensor, matrix: Tensor, axis: int) -> Tensor:
    """The mode product: ``matrix`` (m, n) on an axis of n."""
    product: Tensor = torch.tensordot(matrix, tensor, dims=([1], [axis]))
    return product.movedim(0, axis)


def tucker(tensor: Tensor, ranks: Sequence[int | None], sweeps: int = SWEEPS) -> Tucker:
    """The Tucker decomposition with a rank for each axis (None: left as it is; Tucker-2 of a kernel has two ranks).

    Higher-order orthogonal iteration (De Lathauwer 2000): the first guess is the truncated HOSVD, whose squared error
    is at most the sum of the unfoldings' tails; sweeps only lower it. Ranks beyond what an unfolding has are cut.
    """
    tensor = tensor.double()
    factors = [None if rank is None else _leading(unfolded(tensor, axis), rank) for axis, rank in enumerate(ranks)]

    def projected(without: int | None = None) -> Tensor:
        found = tensor
        for axis, factor in enumerate(factors):
            if factor is not None and axis != without:
                found = _times(found, factor.T, axis)
        return found

    last = 0.0
    for _ in range(sweeps):
        for axis, rank in enumerate(ranks):
            if rank is not None:
                factors[axis] = _leading(unfolded(projected(without=axis), axis), rank)
        held = float(projected().norm())
        if held - last <= SETTLED * held:
            break
        last = held
    return Tucker(projected(), tuple(factors))


# --------------------------------------------------------------------------------------------------------------
# CP


def cp_full_rank(shape: Sequence[int]) -> int:
    """A rank at which CP is exact for every kernel of that shape: kh kw min(O, I), singular pairs of each position."""
    out, inner, high, wide = shape
    return high * wide * min(out, inner)


def cp(kernel: Tensor, rank: int, sweeps: int = SWEEPS, seed: int = 0) -> list[Tensor]:
    """W_oihw ≈ Σ_r B_or A_ir H_hr V_wr: factors (O, R), (I, R), (kh, R), (kw, R) (Lebedev et al. 2015).

    Alternating least squares (Carroll and Chang 1970) from the largest singular pairs of every position's slice and
    from one random start; the better is kept. Exact from ``cp_full_rank`` on. A little ridge keeps terms from growing
    against each other (CP at a given rank may have no best approximation; de Silva and Lim 2008).
    """
    kernel = kernel.double()
    exact = _cp_exact(kernel)
    full = exact[0].shape[1]
    if rank >= full:
        return [torch.nn.functional.pad(factor, (0, rank - full)) for factor in exact]
    drawn = torch.Generator().manual_seed(seed)
    random = [torch.randn(size, rank, generator=drawn, dtype=torch.float64) for size in kernel.shape]
    tried = [_alternate(kernel, start, sweeps) for start in ([factor[:, :rank] for factor in exact], random)]
    return min(tried, key=lambda factors: relative_error(kernel, cp_composed(factors)))


def cp_composed(factors: Sequence[Tensor]) -> Tensor:
    return torch.einsum("or,ir,hr,wr->oihw", *factors)


def _cp_exact(kernel: Tensor) -> list[Tensor]:
    """CP with ``cp_full_rank`` terms, largest first."""
    out, inner, high, wide = kernel.shape
    u, s, v = torch.linalg.svd(kernel.permute(2, 3, 0, 1), full_matrices=False)  # (kh, kw, O, m), (kh, kw, m), …
    many = s.shape[-1]
    order = s.flatten().argsort(descending=True, stable=True)
    b = (u * s[:, :, None]).permute(2, 0, 1, 3).reshape(out, -1)
    a = v.permute(3, 0, 1, 2).reshape(inner, -1)
    rows = torch.eye(high, dtype=torch.float64)[:, :, None, None].expand(-1, -1, wide, many).reshape(high, -1)
    columns = torch.eye(wide, dtype=torch.float64)[:, None, :, None].expand(-1, high, -1, many).reshape(wide, -1)
    return [factor[:, order] for factor in (b, a, rows, columns)]


def _alternate(kernel: Tensor, factors: list[Tensor], sweeps: int) -> list[Tensor]:
    factors = [factor.clone() for factor in factors]
    letters = "oihw"
    norm = float(kernel.norm()) or 1.0
    last = math.inf
    for _ in range(sweeps):
        for axis in range(4):
            others = [place for place in range(4) if place != axis]
            gram = torch.stack([factors[place].T @ factors[place] for place in others]).prod(0)
            spec = ",".join(["oihw", *(f"{letters[place]}r" for place in others)]) + f"->{letters[axis]}r"
            product = torch.einsum(spec, kernel, *(factors[place] for place in others))
            ridge = 1e-9 * float(gram.diagonal().mean()) + 1e-300
            factors[axis] = torch.linalg.solve(gram + ridge * torch.eye(len(gram), dtype=gram.dtype), product.T).T
            if axis < 3:  # the last factor carries the size
                factors[axis] = factors[axis] / factors[axis].norm(dim=0).clamp(min=1e-300)
        error = float((kernel - cp_composed(factors)).norm()) / norm
        if last - error <= SETTLED * max(error, SETTLED):
            break
        last = error
    size = factors[3].norm(dim=0).clamp(min=1e-300).pow(0.25)
    factors[3] = factors[3] / size.pow(3)
    return [*(factor * size for factor in factors[:3]), factors[3]]


# --------------------------------------------------------------------------------------------------------------
# Tensor trains


def train(tensor: Tensor, ranks: Sequence[int]) -> list[Tensor]:
    """Cores (r_{k−1}, n_k, r_k), r_0 = r_d = 1: TT-SVD (Oseledets 2011, algorithm 1), of those ranks at most.

    The squared error is at most the sum of the unfoldings' tails.
    """
    sizes = tensor.shape
    rest = tensor.double().reshape(1, -1)
    cores: list[Tensor] = []
    for size, rank in zip(sizes[:-1], ranks, strict=True):
        before = rest.shape[0]
        u, s, v = torch.linalg.svd(rest.reshape(before * size, -1), full_matrices=False)
        cut = min(rank, len(s))
        cores.append(u[:, :cut].reshape(before, size, cut))
        rest = s[:cut, None] * v[:cut]
    cores.append(rest.reshape(rest.shape[0], sizes[-1], 1))
    return cores


def train_composed(cores: Sequence[Tensor]) -> Tensor:
    found = cores[0]
    for core in cores[1:]:
        found = torch.tensordot(found, core, dims=([-1], [0]))
    return found.squeeze(0).squeeze(-1)


def train_unfoldings(tensor: Tensor) -> list[Tensor]:
    """The d − 1 matrices whose ranks are the train's: rows run over the first k axes."""
    return [tensor.reshape(math.prod(tensor.shape[:cut]), -1) for cut in range(1, tensor.ndim)]


# --------------------------------------------------------------------------------------------------------------
# Block-term


def block_term(tensor: Tensor, blocks: int, ranks: Sequence[int | None], sweeps: int = 10) -> list[Tucker]:
    """W ≈ Σ_b Tucker of those ranks (De Lathauwer 2008; as convolutions: Chen et al. 2018; dense: Ye et al. 2018).

    Each block in turn is fitted to what the others leave (block coordinate descent), so the error never rises. One
    block is Tucker itself.
    """
    tensor = tensor.double()
    found: list[Tucker] = []
    rest = tensor
    for _ in range(blocks):
        found.append(tucker(rest, ranks))
        rest = rest - found[-1].composed()
    last = float(rest.norm())
    for _ in range(sweeps if blocks > 1 else 0):
        for number in range(blocks):
            rest = rest + found[number].composed()
            found[number] = tucker(rest, ranks, sweeps=4)
            rest = rest - found[number].composed()
        error = float(rest.norm())
        if last - error <= 1e-4 * last:
            break
        last = error
    return found
