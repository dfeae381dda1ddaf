"""Batch normalisation: forward, backward, the bias before it, the running averages and the fold at inference."""

from __future__ import annotations

import numpy as np

from netwright.inspection.explaining.structure import (
    Array,
    Explanation,
    Step,
    array,
    bracketed,
    numbers,
    products,
    summed,
    text,
)

EPS = 1e-5
MOMENTUM = 0.1  # PyTorch's: the share of the new batch


def forward(z: Array, gamma: Array, beta: Array, eps: float = EPS) -> tuple[Array, Array, Array, Array]:
    """z (N, C) → y, ẑ (N, C) and the batch's μ, σ² (C); σ² is divided by N.

    Of maps, N counts examples and positions together.
    """
    mean, variance = z.mean(0), z.var(0)
    normalised = (z - mean) / np.sqrt(variance + eps)
    return gamma * normalised + beta, normalised, mean, variance


def backward(dy: Array, z: Array, gamma: Array, eps: float = EPS) -> tuple[Array, Array, Array]:
    """dy (N, C) → dz (N, C), dγ (C), dβ (C).

    dβ = Σ dy;  dγ = Σ dy·ẑ;  dz = γ / (N √(σ² + ε)) · (N·dy − dβ − ẑ·dγ)
    """
    _, normalised, _, variance = forward(z, gamma, np.zeros_like(gamma), eps)
    dbeta, dgamma = dy.sum(0), (dy * normalised).sum(0)
    dz = gamma / (len(z) * np.sqrt(variance + eps)) * (len(z) * dy - dbeta - normalised * dgamma)
    return dz, dgamma, dbeta


def updated(running_mean: Array, running_variance: Array, z: Array, momentum: float = MOMENTUM) -> tuple[Array, Array]:
    """The running averages after a batch z (N, C); the variance enters divided by N − 1, as PyTorch has it."""
    return (
        (1 - momentum) * running_mean + momentum * z.mean(0),
        (1 - momentum) * running_variance + momentum * z.var(0, ddof=1),
    )


def explanation() -> Explanation:
    z, gamma, beta = array([[1], [3], [4], [8]]), array([2]), array([0.5])
    dy, bias = array([[1], [0], [-1], [2]]), 10.0
    y, normalised, mean, variance = forward(z, gamma, beta)
    dz, dgamma, dbeta = backward(dy, z, gamma)
    shifted = forward(z + bias, gamma, beta)[0]
    running_mean, running_variance = updated(array([0]), array([1]), z)
    scale = gamma / np.sqrt(running_variance + EPS)
    offset = beta - scale * running_mean
    column = z[:, 0]
    root = float(np.sqrt(variance[0] + EPS))
    return Explanation(
        subject="batch-norm",
        summary="Each channel is brought to mean 0 and variance 1 over the batch, then to a learned scale and offset.",
        steps=(
            Step(
                title="mean of the batch",
                formula="μ = 1/N · Σ z",
                substituted=f"z = {text(column)}: ({summed(column)}) / 4",
                result=f"μ = {text(mean[0])}",
            ),
            Step(
                title="variance of the batch",
                formula="σ² = 1/N · Σ (z − μ)²",
                substituted=f"({' + '.join(f'{text(value)}²' for value in np.abs(column - mean[0]))}) / 4",
                result=f"σ² = {text(variance[0])}",
            ),
            Step(
                title="normalise",
                formula="ẑ = (z − μ) / √(σ² + ε)",
                substituted=f"ε = 0.00001: (z − {text(mean[0])}) / {text(root)}",
                result=f"ẑ = {text(normalised[:, 0])}",
            ),
            Step(
                title="scale and shift",
                formula="y = γ·ẑ + β",
                substituted=f"γ = {text(gamma[0])}, β = {text(beta[0])}",
                result=f"y = {text(y[:, 0])}",
            ),
            Step(
                title="backward: the offset",
                formula="dβ = Σ dy",
                substituted=f"dy = {text(dy[:, 0])}: {summed(dy[:, 0])}",
                result=f"dβ = {text(dbeta[0])}",
            ),
            Step(
                title="backward: the scale",
                formula="dγ = Σ dy·ẑ",
                substituted=products(dy[:, 0], normalised[:, 0]),
                result=f"dγ = {text(dgamma[0])}",
            ),
            Step(
                title="backward: the input, through μ and σ² too",
                formula="dz = γ / (N·√(σ² + ε)) · (N·dy − dβ − ẑ·dγ)",
                substituted=f"2 / (4·{text(root)}) · (4·dy − {text(dbeta[0])} − {text(dgamma[0])}·ẑ)",
                result=f"dz = {text(dz[:, 0])}",
            ),
            Step(
                title="a bias before it is redundant",
                formula="(z + b) − mean(z + b) = z − μ, so y does not depend on b, and db = Σ dz = 0",
                substituted=f"b = 10: y = {text(shifted[:, 0])}, largest change {text(np.abs(shifted - y).max())}; "
                f"Σ dz = {summed(dz[:, 0])}",
                result=f"db = {text(round(float(dz.sum()), 12))}: leave the bias out, β does its work",
            ),
            Step(
                title="running averages, for evaluation",
                formula="m ← (1 − a)·m + a·μ,  v ← (1 − a)·v + a·σ²·N / (N − 1)",
                substituted=f"a = 0.1, m = 0, v = 1: 0.9·0 + 0.1·{text(mean[0])},  "
                f"0.9·1 + 0.1·{text(variance[0])}·4/3",
                result=f"m = {text(running_mean[0])}, v = {text(running_variance[0])}",
            ),
            Step(
                title="in evaluation it is a scale and an offset, and can be folded into the layer before it",
                formula="y = z·γ / √(v + ε) + (β − m·γ / √(v + ε))",
                substituted=f"γ / √(v + ε) = 2 / √{text(running_variance[0])}",
                result=f"y = {text(scale[0])}·z + {bracketed(offset[0])}",
            ),
        ),
        source="Ioffe and Szegedy 2015, Batch Normalization, algorithms 1 and 2 and the equations of section 3; "
        "the running averages as torch.nn.BatchNorm2d has them",
        numbers=numbers(
            z=z, gamma=gamma, beta=beta, eps=EPS, momentum=MOMENTUM, mean=mean, variance=variance,
            normalised=normalised, y=y, dy=dy, dz=dz, dgamma=dgamma, dbeta=dbeta, y_with_bias=shifted,
            running_mean=running_mean, running_variance=running_variance, scale=scale, offset=offset,
        ),
    )  # fmt: skip
