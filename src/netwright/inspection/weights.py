"""The numbers of a network's weights, its first filters and its activations as pictures.

A convolution's kernel (out, in / groups, k, k) is read as the matrix (out, in · k · k) that multiplies a patch (Miyato
et al. 2018, 3). With groups that matrix is block-diagonal, so its singular values are those of the groups' blocks
(out / groups, in / groups · k · k) taken together. Its spectral norm is not that of the convolution as a map between
whole feature maps, which is at most √(k · k) times larger (Tsuzuku et al. 2018, appendix).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import msgspec
import numpy as np
import torch
from torch import Tensor, nn

from netwright.errors import unknown_name
from netwright.graph.following import left_as_found
from netwright.inspection.observing import Call, Calls, grid_of, picture_of, place_of, saying_where
from netwright.records import Record

PIECE = 1 << 21  # values that are looked at in float64 at a time: 16 MiB
BINS = 64
LARGE = 3 * 10**10  # multiply-adds from which the ends of a spectrum are looked for before the whole: seconds
PRECISION, STEPS = (1e-3, 1e-2), 100  # relative, of largest and smallest; steps until all of it is computed after all
MOST_TILES = 64  # tiles of a picture of filters
MOST_CHANNELS = 16  # channels of a layer in a picture of activations


class Histogram(Record, frozen=True, kw_only=True):
    """``counts[i]`` values lie in [``edges[i]``, ``edges[i + 1]``), the last bin has its right edge too."""

    counts: tuple[int, ...]
    edges: tuple[float, ...]


class WeightNumbers(Record, frozen=True, kw_only=True):
    """One parameter in numbers. Norms are of its finite entries; ``l2`` and ``frobenius`` are the same by definition.

    ``spectral_norm``, ``rank`` and ``condition`` are of the matrix ``matrix`` (rows, columns; ``groups`` blocks of
    it), None for vectors and where entries are not finite. ``rank`` counts singular values above largest · max(rows,
    columns) · ε of the weights' type, as numpy does; ``condition`` is largest / smallest, infinite below full rank.
    ``note`` says where they are not from a whole decomposition.
    """

    name: str
    layer: str
    kind: str  # the layer's class
    shape: tuple[int, ...]
    dtype: str
    trainable: bool
    count: int
    l0: int  # entries that are not zero
    nonzero_share: float
    l1: float
    l2: float
    linf: float
    frobenius: float
    mean: float
    std: float  # of the population
    minimum: float
    maximum: float
    histogram: Histogram
    groups: int = 1
    matrix: tuple[int, int] | None = None
    spectral_norm: float | None = None
    rank: int | None = None
    full_rank: int | None = None
    condition: float | None = None
    nan: int = 0
    infinite: int = 0
    note: str = ""


class Picture(NamedTuple):
    """``pixels`` is ``uint8`` (H, W) or (H, W, 3); ``channels`` are those that its tiles show, in order."""

    layer: str
    kind: str
    shape: tuple[int, ...]  # of what is shown: the kernel, or the activation without its batch
    channels: tuple[int, ...]
    pixels: np.ndarray


def weight_numbers(network: nn.Module, *, spectrum: bool = True, bins: int = BINS) -> tuple[WeightNumbers, ...]:
    """The numbers of every parameter with a value, shared ones once, in the order of registration.

    Cost: a pass over the weights and, with ``spectrum``, rows · columns · min(rows, columns) multiply-adds in float64
    a matrix, beside the eigenvalues of a min × min one: well under a second for most convolutions, some seven for a
    dense layer of 4,096 × 4,096. Of matrices beyond ``LARGE`` that are twice as long as wide the ends of the spectrum
    are found first (``spectrum_ends``, seconds for VGG-16's first dense layer), and all of it where they do not tell
    the rank; ``note`` says so.
    """
    owners = {
        f"{path}.{name}" if path else name: (path, module)
        for path, module in network.named_modules()
        for name, _ in module.named_parameters(recurse=False)
    }
    found = []
    for name, parameter in network.named_parameters():
        if nn.parameter.is_lazy(parameter) or parameter.is_meta:
            continue
        path, module = owners[name]
        found.append(_numbers(name, path, module, parameter, spectrum, bins))
    return tuple(found)


def _numbers(
    name: str, path: str, module: nn.Module, parameter: nn.Parameter, spectrum: bool, bins: int
) -> WeightNumbers:
    values = parameter.detach()
    values = values.to_dense() if values.layout != torch.strided else values
    notes = []
    if values.is_complex():
        values = values.abs()
        notes.append("complex: the numbers are of magnitudes")
    values = values.cpu()
    flat = values.reshape(-1)
    nan, infinite = int(flat.isnan().sum()), int(flat.isinf().sum())
    if nan or infinite:
        flat = flat[flat.isfinite()]
        words = [f"{count} {word}" for count, word in ((nan, "NaN"), (infinite, "infinite")) if count]
        notes.append(f"{' and '.join(words)} of {values.numel()} entries: the numbers are of the others")
    l0, l1, squares, total, low, high = 0, 0.0, 0.0, 0.0, math.inf, -math.inf
    for piece in _pieces(flat):
        l0 += int(np.count_nonzero(piece))
        l1 += float(np.abs(piece).sum())
        squares += float(np.square(piece).sum())
        total += float(piece.sum())
        low, high = min(low, float(piece.min())), max(high, float(piece.max()))
    count = flat.numel()
    low, high, mean = (low, high, total / count) if count else (0.0, 0.0, 0.0)
    deviations = 0.0
    counts, edges = np.zeros(bins, np.int64), np.histogram_bin_edges(np.array([low, high]), bins)
    for piece in _pieces(flat):
        deviations += float(np.square(piece - mean).sum())
        counts += np.histogram(piece, edges)[0]
    scale = max(abs(low), abs(high))
    l2 = math.sqrt(squares) if 1e-300 < squares < math.inf else scale * _scaled_norm(flat, scale)
    groups = module.groups if isinstance(module, nn.modules.conv._ConvNd) and values.dim() > 2 else 1
    found = WeightNumbers(
        name=name, layer=path, kind=type(module).__name__, shape=tuple(values.shape),
        dtype=str(parameter.dtype).removeprefix("torch."), trainable=parameter.requires_grad, count=values.numel(),
        l0=l0, nonzero_share=l0 / count if count else 0.0, l1=l1, l2=l2, linf=scale, frobenius=l2, mean=mean,
        std=math.sqrt(deviations / count) if count else 0.0, minimum=low, maximum=high,
        histogram=Histogram(counts=tuple(counts.tolist()), edges=tuple(edges.tolist())), groups=groups, nan=nan,
        infinite=infinite, note="; ".join(notes),
    )  # fmt: skip
    if values.dim() < 2 or not values.numel():
        return found
    blocks = values.reshape(groups, values.shape[0] // groups, -1)
    rows, columns = int(blocks.shape[1]), int(blocks.shape[2])
    fields: dict[str, object] = {"matrix": (rows, columns), "full_rank": groups * min(rows, columns)}
    if spectrum and not (nan or infinite or parameter.is_complex()):
        smallest = max(rows, columns) * float(torch.finfo(_resolution(values.dtype)).eps)  # of the largest, that counts
        full = groups * min(rows, columns)
        wide = rows * columns * min(rows, columns) > LARGE and 2 * min(rows, columns) <= max(rows, columns)
        alone = groups == 1 and values.dtype != torch.float64 and smallest < 1
        ends = spectrum_ends(blocks[0]) if wide and alone else None
        if ends is not None and ends[1] > ends[0] * smallest:
            fields |= {"spectral_norm": ends[0], "rank": full, "condition": ends[0] / ends[1]}
            largest, least = (f"{100 * share:g} %" for share in PRECISION)
            notes.append(f"full rank; the largest singular value is within {largest}, the smallest within {least}")
        else:
            singular = singular_values(blocks)
            rank = int(np.count_nonzero(singular > singular[0] * smallest))
            condition = float(singular[0] / singular[-1]) if rank == full and singular[-1] > 0 else math.inf
            fields |= {"spectral_norm": float(singular[0]), "rank": rank, "condition": condition}
    fields["note"] = "; ".join(notes)
    return msgspec.structs.replace(found, **fields)


def _pieces(flat: Tensor) -> Iterator[np.ndarray]:
    for piece in flat.split(PIECE):
        if piece.numel():
            yield piece.double().numpy()


def _scaled_norm(flat: Tensor, scale: float) -> float:
    """The L2 norm in units of the largest entry, where squares under- or overflow."""
    return math.sqrt(sum(float(np.square(piece / scale).sum()) for piece in _pieces(flat))) if scale else 0.0


def _resolution(dtype: torch.dtype) -> torch.dtype:
    return dtype if dtype.is_floating_point else torch.float64


def singular_values(blocks: Tensor) -> np.ndarray:
    """The singular values of a block-diagonal matrix, blocks (G, rows, columns), in falling order, as float64.

    Of weights in 32 bits or fewer, from the eigenvalues of the smaller Gram matrix in float64. Its rounding hides
    singular values below about √(N · ε₆₄) of the largest, N = max(rows, columns), while the rank's tolerance for such
    weights is N · ε₃₂ of it, which is larger for every N: ranks agree with those of a full decomposition, and condition
    numbers within 2 % / N even at the edge of that tolerance. Of float64 weights by a full decomposition.
    """
    if blocks.dtype == torch.float64:
        return np.sort(np.linalg.svd(blocks.numpy(), compute_uv=False).reshape(-1))[::-1]
    found = []
    for block in blocks:
        scale = float(block.abs().max()) or 1.0
        matrix = (block.double() / scale).numpy()  # so that squares neither under- nor overflow
        gram = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
        eigenvalues = torch.linalg.eigvalsh(torch.from_numpy(gram)).numpy()  # three times as fast as NumPy's
        found.append(scale * np.sqrt(eigenvalues.clip(min=0.0)))
    return np.sort(np.concatenate(found))[::-1]


def spectrum_ends(matrix: Tensor) -> tuple[float, float] | None:
    """The largest and the smallest singular value of a matrix (rows, columns) in 32 bits or fewer, each within its
    ``PRECISION`` of a true one; None where ``STEPS`` steps do not tell both, as of matrices that lack rank.

    Golub and Kahan 1965, section 3: bidiagonal matrices of growing size whose singular values approach those at both
    ends from within. A value σ is taken when its residual ‖A v − σ u‖, which bounds the distance to a true one, is
    small enough; its error is of the order of the residual's square. Vectors along the shorter side are orthogonalised
    against all before them, twice, which keeps the others orthogonal (Simon and Zha 2000). The start is random, so that
    it has a part along every singular vector: of a matrix without full rank also one that is mapped to 0, and the
    smallest value found tends to it.

    Cost: two passes over the matrix a step.
    """
    matrix = matrix.float() if matrix.shape[0] <= matrix.shape[1] else matrix.float().T
    rows = matrix.shape[0]
    steps = min(STEPS, rows)
    lefts = torch.zeros(steps + 1, rows, dtype=torch.float64)
    lefts[0] = torch.randn(rows, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    lefts[0] /= lefts[0].norm()
    right, size = torch.zeros(matrix.shape[1]), 0.0
    diagonal: list[float] = []
    below: list[float] = []
    for step in range(1, steps + 1):
        right = matrix.T @ lefts[step - 1].float() - size * right
        length = float(right.double().norm())
        if not length > 0:
            return None
        right /= length
        diagonal.append(length)
        left = (matrix @ right).double()
        for _ in range(2):
            left -= lefts[:step].T @ (lefts[:step] @ left)
        size = float(left.norm())
        if step % 10 == 0 or step == steps:
            _, found, turned = np.linalg.svd(np.diag(diagonal) + np.diag(below, -1))
            ends = found[[0, -1]]
            if np.all(size * np.abs(turned[[0, -1], -1]) <= np.array(PRECISION) * ends):
                return float(ends[0]), float(ends[1])
        if not size > 1e-6 * length:  # what is left is rounding: the vectors so far lead to no others
            return None
        lefts[step] = left / size
        below.append(size)
    return None


# --------------------------------------------------------------------------------------------------------------
# Pictures


def first_filters(network: nn.Module, input_shape: tuple[int, ...] = (), layer: str = "") -> Picture | None:
    """The filters of the first convolution (or of ``layer``) as one picture; None where there is nothing to see.

    Each filter by itself from −largest (black) over zero (grey) to +largest (white). Three input channels are shown
    as red, green and blue, others as tiles beside one another, at most 64 in all. A dense layer that reads pictures
    of ``input_shape`` (C, H, W) has its rows shown as such. Raises ``NetworkError`` for an unknown ``layer``.
    """
    modules = dict(network.named_modules())
    if layer and layer not in modules:
        raise unknown_name("layer", layer, [name for name in modules if name])
    chosen = [(layer, modules[layer])] if layer else list(modules.items())
    for name, module in chosen:
        weight = getattr(module, "weight", None)
        if not isinstance(weight, Tensor) or weight.is_meta:
            continue
        if isinstance(module, nn.modules.conv._ConvNd):
            kernel = weight.detach().float().cpu()
            kernel = kernel.transpose(0, 1) if module.transposed and module.groups == 1 else kernel
            return _filters(name, type(module).__name__, kernel)
        if isinstance(module, nn.Linear):
            maps = len(input_shape) == 3 and math.prod(input_shape) == module.in_features
            if maps:
                kernel = weight.detach().float().cpu().reshape(-1, *input_shape)
                return _filters(name, type(module).__name__, kernel)
            return None
    return None


def _filters(name: str, kind: str, kernel: Tensor) -> Picture | None:
    shape = tuple(kernel.shape)
    if kernel[0, 0].numel() == 1:
        return None  # 1×1: one value is no picture
    if kernel.dim() == 3:
        kernel = kernel[:, None]  # along one axis: a row a channel
    elif kernel.dim() == 5:
        kernel = kernel.movedim(2, 3).flatten(3)  # slices beside one another
    colour = kernel.shape[1] == 3 and kernel.dim() == 4 and len(shape) == 4
    tiles: list[np.ndarray] = []
    channels = []
    for number, filter_ in enumerate(kernel.numpy()):
        largest = float(np.abs(np.nan_to_num(filter_)).max()) or 1.0
        pixels = np.rint(127.5 + 127.5 * np.nan_to_num(filter_) / largest).clip(0, 255).astype(np.uint8)
        found = [pixels.transpose(1, 2, 0)] if colour else list(pixels)
        if len(tiles) + len(found) > MOST_TILES and tiles:
            break
        tiles += found[:MOST_TILES]
        channels.append(number)
    columns = 0 if colour or kernel.shape[1] == 1 else min(int(kernel.shape[1]), MOST_TILES)
    return Picture(name, kind, shape, tuple(channels), grid_of(tiles, columns=columns))


def activation_pictures(
    network: nn.Module, example: Tensor, *, layers: tuple[str, ...] = (), channels: int = MOST_CHANNELS
) -> tuple[Picture, ...]:
    """The maps that ``network`` makes of one example (C, *size), or of the first of a batch (N, C, *size), layer by
    layer in the order of execution.

    Every layer and functional call that makes a map, or those named in ``layers`` (names of the graph). Of each the
    ``channels`` that vary most over the map, each scaled from its smallest (black) to its largest value (white); a
    vector is shown as a square, a map along one axis as a strip. Cost: one pass in evaluation mode. The network is
    left as found. Raises ``NetworkError`` where it does not run, ``UsageError`` for an unknown layer.
    """
    device, dtype = place_of(network)
    example = example.to(device)
    example = example.to(dtype) if example.is_floating_point() else example
    kept: dict[int, tuple[str, tuple[int, ...], tuple[int, ...], np.ndarray]] = {}
    batched = example if example.dim() not in (2, 3) or not _one_example(network, example) else example[None]

    def seen(call: Call) -> None:
        output = call.outputs[0]
        if output.dim() < 2 or not output.is_floating_point() or call.kind in ("alias", "cast", "dropout"):
            return
        maps = output[0].detach().float().cpu().numpy()
        if maps.size <= 1 or maps.size > 1 << 28:
            return
        chosen, pixels = _activation(maps, channels)
        kept[call.number] = (call.kind, tuple(maps.shape), chosen, pixels)

    one = batched[:1]
    watched = Calls(network, [one], seen)
    with (
        left_as_found(network, training=False, buffers=True),
        saying_where(network),
        torch.no_grad(),
        watched.watching(),
    ):
        network(one)
    names = watched.names()
    for name in layers:
        if name not in names:
            raise unknown_name("layer", name, names)
    return tuple(
        Picture(names[number], kind, shape, chosen, pixels)
        for number, (kind, shape, chosen, pixels) in kept.items()
        if not layers or names[number] in layers
    )


def _one_example(network: nn.Module, example: Tensor) -> bool:
    """Whether (A, B, C) is one picture rather than a batch of series: the first convolution knows."""
    for module in network.modules():
        if isinstance(module, nn.modules.conv._ConvNd):
            return example.dim() == len(module.kernel_size) + 1
    return False


def _activation(maps: np.ndarray, most: int) -> tuple[tuple[int, ...], np.ndarray]:
    if maps.ndim == 1:  # a vector as a square, the rest of which is white
        side = math.ceil(math.sqrt(maps.size))
        square = np.full(side * side, 255, np.uint8)
        square[: maps.size] = picture_of(maps)
        return tuple(range(min(maps.size, 1))), grid_of([square.reshape(side, side)])
    if maps.ndim == 2:  # channels along one axis
        order = np.argsort(-np.nan_to_num(maps).std(axis=1), kind="stable")[:most]
        return tuple(order.tolist()), grid_of([picture_of(row[None]) for row in maps[order]], columns=1, zoom=4)
    flat = maps.reshape(maps.shape[0], -1)
    order = np.argsort(-np.nan_to_num(flat).std(axis=1), kind="stable")[:most]
    chosen = maps[order] if maps.ndim == 3 else maps[order][:, maps.shape[1] // 2]
    return tuple(order.tolist()), grid_of([picture_of(channel) for channel in chosen])
