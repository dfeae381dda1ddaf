"""Scaled dot-product attention: forward and backward."""

from __future__ import annotations

import numpy as np

from netwright.inspection.explaining.softmax_cross_entropy import softmax
from netwright.inspection.explaining.structure import Array, Explanation, Step, array, numbers, products, text


def forward(q: Array, k: Array, v: Array) -> tuple[Array, Array]:
    """q (T, d), k (S, d), v (S, e) → o (T, e) and the weights p (T, S)."""
    p = softmax(q @ k.T / np.sqrt(q.shape[1]))
    return p @ v, p


def backward(do: Array, q: Array, k: Array, v: Array) -> tuple[Array, Array, Array]:
    """do (T, e) → dq, dk, dv.

    dv = pᵀ do;  dp = do vᵀ;  ds = p ∘ (dp − Σ dp ∘ p);  dq = ds k / √d;  dk = dsᵀ q / √d
    """
    _, p = forward(q, k, v)
    dp = do @ v.T
    ds = p * (dp - (dp * p).sum(1, keepdims=True)) / np.sqrt(q.shape[1])
    return ds @ k, ds.T @ q, p.T @ do


def explanation() -> Explanation:
    q, k, v = array([[1, 0, 2, -1]]), array([[1, 1, 1, 1], [0, 2, -1, 1]]), array([[1, 2], [-1, 3]])
    do = array([[1, -2]])
    o, p = forward(q, k, v)
    dq, dk, dv = backward(do, q, k, v)
    scores = q @ k.T / 2
    return Explanation(
        subject="attention",
        summary="Each query takes a mean of the values, weighted by how well their keys match.",
        steps=(
            Step(
                title="scores",
                formula="s = q·kᵀ / √d",
                substituted=f"q = {text(q)}, k = {text(k)}, d = 4: s[0] = ({products(q[0], k[0])}) / 2",
                result=f"s = {text(scores)}",
            ),
            Step(
                title="weights, along the keys",
                formula="p = softmax(s)",
                substituted=f"softmax{text(scores[0])}",
                result=f"p = {text(p)}",
            ),
            Step(
                title="output",
                formula="o = p·v",
                substituted=f"v = {text(v)}: o[0] = {products(p[0], v[:, 0])}",
                result=f"o = {text(o)}",
            ),
            Step(
                title="backward: the values",
                formula="dv = pᵀ·do",
                substituted=f"do = {text(do)}",
                result=f"dv = {text(dv)}",
            ),
            Step(
                title="backward: the scores, through the softmax",
                formula="dp = do·vᵀ,  ds = p·(dp − Σ dp·p)",
                substituted=f"dp = {text(do @ v.T)}, Σ dp·p = {text((do @ v.T * p).sum())}",
                result=f"ds = {text(p * (do @ v.T - (do @ v.T * p).sum()))}",
            ),
            Step(
                title="backward: queries and keys",
                formula="dq = ds·k / √d,  dk = dsᵀ·q / √d",
                substituted="√d = 2",
                result=f"dq = {text(dq)}, dk = {text(dk)}",
            ),
            Step(
                title="cost of T queries, S keys, h heads of width d",
                formula="MACs = h·T·S·d for q·kᵀ, and as many for p·v",
                substituted="1·1·2·4 + 1·1·2·2",
                result="12, and T·S weights a head in memory",
            ),
        ),
        source="Vaswani et al. 2017, Attention Is All You Need, equation 1; "
        "Dao et al. 2022, FlashAttention, appendix B.2",
        numbers=numbers(q=q, k=k, v=v, p=p, o=o, do=do, dq=dq, dk=dk, dv=dv),
    )
