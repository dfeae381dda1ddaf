"""Softmax with cross-entropy: forward and backward."""

from __future__ import annotations

import numpy as np

from netwright.inspection.explaining.structure import Array, Explanation, Step, array, numbers, summed, text


def softmax(z: Array) -> Array:
    """z (…, K) → p (…, K); the largest is taken off first, which changes nothing and cannot overflow."""
    raised: Array = np.exp(z - z.max(-1, keepdims=True))
    return np.asarray(raised / raised.sum(-1, keepdims=True))


def forward(z: Array, target: int) -> float:
    """The loss −log p[target] of one example z (K), as log Σ exp(z) − z[target]."""
    largest = z.max()
    return float(largest + np.log(np.exp(z - largest).sum()) - z[target])


def backward(z: Array, target: int) -> Array:
    """dz (K) = p − 1[k = target]."""
    dz = softmax(z)
    dz[target] -= 1
    return dz


def explanation() -> Explanation:
    z, target = array([2, 1, -1]), 1
    p, loss, dz = softmax(z), forward(z, target), backward(z, target)
    raised = np.exp(z - z.max())
    dp = np.zeros(3)
    dp[target] = -1 / p[target]
    jacobian = np.diag(p) - np.outer(p, p)
    return Explanation(
        subject="softmax-cross-entropy",
        summary="Scores become probabilities; the loss is the surprise at the right class.",
        steps=(
            Step(
                title="softmax",
                formula="p[k] = exp(z[k] − max z) / Σ exp(z[j] − max z)",
                substituted=f"z = {text(z)}: exp(z − 2) = {text(raised)}, their sum {text(raised.sum())}",
                result=f"p = {text(p)}",
            ),
            Step(
                title="cross-entropy of the right class t",
                formula="L = −log p[t]",
                substituted=f"t = {target}: −log {text(p[target])}",
                result=f"L = {text(loss)}",
            ),
            Step(
                title="backward through the logarithm",
                formula="dp[t] = −1 / p[t], all others 0",
                substituted=f"−1 / {text(p[target])}",
                result=f"dp = {text(dp)}",
            ),
            Step(
                title="backward through the softmax",
                formula="∂p[k] / ∂z[j] = p[k]·(1[k = j] − p[j])",
                substituted=f"J = {text(jacobian)}",
                result=f"dz = J·dp = {text(jacobian @ dp)}",
            ),
            Step(
                title="both together: what is computed",
                formula="dz[k] = p[k] − 1[k = t]",
                substituted=f"{text(p)} − (0, 1, 0)",
                result=f"dz = {text(dz)}, whose sum is {text(round(float(dz.sum()), 12))} ({summed(dz)})",
            ),
        ),
        source="Bridle 1990; Goodfellow et al. 2016, Deep Learning, section 6.2.2.3",
        numbers=numbers(z=z, target=target, p=p, loss=loss, dp=dp, dz=dz),
    )
