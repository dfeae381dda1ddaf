"""Whether weights look drawn at random or learned, from their values alone.

A frozen layer is a fault where its weights are those of an initialisation, and a design where they were learned before.
Fresh are: constants; values that fill a uniform distribution to a sharp edge or a normal one, as the rules of
initialisation draw them (Glorot & Bengio 2010; He et al. 2015), independent of each other: no singular value stands out
of the bulk that independent entries have (Marchenko & Pastur 1967; trained layers have such: Martin & Mahoney 2021);
or an orthogonal matrix (Saxe et al. 2014).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

FEWEST = 48  # below, a learned matrix passes for a drawn one too often
DRAWN = 4096  # entries that are looked at; a shift of 3 % in the distribution is seen with these
KOLMOGOROV = 1.95  # √n × largest distance of the distributions: exceeded once in 1000 draws (Smirnov 1948)
ESTIMATED = 1.15  # the same for a normal distribution with its own deviation (Lilliefors 1967, p < 0.01)
EDGE = 1.1  # largest singular value ÷ that of independent entries; Tracy-Widom deviations are 1 % at 64 units and more
SMALL_EDGE = 1.3  # for fewer than 16 units, where they are 10 %


@torch.no_grad()
def fresh(weight: Tensor) -> bool | None:
    """Whether ``weight`` (units, …) looks drawn; None for fewer than ``FEWEST`` entries that are not constant.

    Costs a sort of at most ``DRAWN`` entries and the singular values of a matrix of at most 256 × 256 of them.
    """
    values = weight.detach().reshape(-1).double().cpu()
    if not len(values) or not bool(torch.isfinite(values).all()):
        return None
    if bool((values == values[0]).all()):
        return True
    if len(values) < FEWEST:
        return None
    matrix = weight.detach().reshape(len(weight), -1).double().cpu()[:256, :256] if weight.ndim > 1 else None
    if matrix is not None and min(matrix.shape) > 1 and _orthogonal(weight):
        return True
    if len(values) > DRAWN:
        values = values[torch.linspace(0, len(values) - 1, DRAWN).long()]
    return (_uniform(values) or _normal(values)) and (matrix is None or _independent(matrix))


def _uniform(values: Tensor) -> bool:
    """From −a to a with a sharp edge: the largest of n draws is a (n − 1) / n and more in two of three cases."""
    count = len(values)
    edge = float(values.abs().max()) * (count + 1) / count
    return _distance((values + edge) / (2 * edge)) < KOLMOGOROV


def _normal(values: Tensor) -> bool:
    """Normal or cut off at two deviations, with mean 0."""
    deviation = float(values.std())
    if abs(float(values.mean())) > 4 * deviation / math.sqrt(len(values)):
        return False
    scaled = (values - values.mean()) / deviation
    if _distance(torch.special.ndtr(scaled)) < ESTIMATED:
        return True
    truncated = scaled * 0.8796  # deviation of a normal distribution cut off at ±2
    tail = float(torch.special.ndtr(torch.tensor(-2.0)))
    return float(truncated.abs().max()) <= 2.1 and (
        _distance(((torch.special.ndtr(truncated) - tail) / (1 - 2 * tail)).clamp(0, 1)) < ESTIMATED
    )


def _distance(probabilities: Tensor) -> float:
    """Kolmogorov's √n × largest distance of sorted probabilities from the uniform distribution."""
    ordered = probabilities.sort().values
    count = len(ordered)
    steps = torch.arange(1, count + 1, dtype=ordered.dtype) / count
    largest = torch.maximum((steps - ordered).abs().max(), (ordered - steps + 1 / count).abs().max())
    return math.sqrt(count) * float(largest)


def _independent(matrix: Tensor) -> bool:
    rows, columns = matrix.shape
    bulk = float(matrix.std()) * (math.sqrt(rows) + math.sqrt(columns))
    edge = EDGE if min(rows, columns) >= 16 else SMALL_EDGE
    return float(torch.linalg.matrix_norm(matrix, 2)) <= edge * bulk


def _orthogonal(weight: Tensor) -> bool:
    matrix = weight.detach().reshape(len(weight), -1).double().cpu()
    matrix = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    if len(matrix) > 256:
        return False
    gram = matrix @ matrix.T
    scale = gram.diagonal().mean()
    return bool((gram / scale - torch.eye(len(gram), dtype=gram.dtype)).abs().max() < 1e-4)
