"""Convolution, as deep learning has it (cross-correlation): forward and backward."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from netwright.inspection.explaining.structure import Array, Explanation, Step, array, numbers, products, summed, text


def _windows(
    x: Array, kernel: tuple[int, int], stride: int, padding: int, dilation: int
) -> Iterator[tuple[int, int, tuple[slice, slice]]]:
    """For every position (u, v) of the kernel: where in the padded x it reads, for all outputs at once."""
    high, wide = x.shape[-2] + 2 * padding, x.shape[-1] + 2 * padding
    rows = (high - dilation * (kernel[0] - 1) - 1) // stride + 1
    columns = (wide - dilation * (kernel[1] - 1) - 1) // stride + 1
    for u in range(kernel[0]):
        for v in range(kernel[1]):
            top, left = u * dilation, v * dilation
            yield u, v, (
                slice(top, top + (rows - 1) * stride + 1, stride),
                slice(left, left + (columns - 1) * stride + 1, stride),
            )  # fmt: skip


def _padded(x: Array, padding: int) -> Array:
    return np.pad(x, ((0, 0), (padding, padding), (padding, padding)))


def forward(
    x: Array, w: Array, b: Array, *, stride: int = 1, padding: int = 0, dilation: int = 1, groups: int = 1
) -> Array:
    """x (C, H, W), w (O, C / groups, k, k), b (O) → y (O, H', W').

    y[o, i, j] = b[o] + Σ w[o, c, u, v] · x[c, i·s + u·d − p, j·s + v·d − p]
    """
    padded, per, out = _padded(x, padding), w.shape[1], w.shape[0] // groups
    y: Array | None = None
    for u, v, (rows, columns) in _windows(x, (w.shape[2], w.shape[3]), stride, padding, dilation):
        seen = padded[:, rows, columns]
        parts = [
            np.einsum("oc,cij->oij", w[g * out : (g + 1) * out, :, u, v], seen[g * per : (g + 1) * per])
            for g in range(groups)
        ]
        term = np.concatenate(parts)
        y = term if y is None else y + term
    assert y is not None
    return y + b[:, None, None]


def backward(
    dy: Array, x: Array, w: Array, *, stride: int = 1, padding: int = 0, dilation: int = 1, groups: int = 1
) -> tuple[Array, Array, Array]:
    """dy (O, H', W') → dx, dw, db.

    dw[o, c, u, v] = Σ dy[o, i, j] · x[c, i·s + u·d − p, j·s + v·d − p];  db[o] = Σ dy[o, i, j];
    dx[c, i·s + u·d − p, j·s + v·d − p] += dy[o, i, j] · w[o, c, u, v]
    """
    padded, per, out = _padded(x, padding), w.shape[1], w.shape[0] // groups
    dpadded, dw = np.zeros_like(padded), np.zeros_like(w)
    for u, v, (rows, columns) in _windows(x, (w.shape[2], w.shape[3]), stride, padding, dilation):
        for g in range(groups):
            outs, ins = slice(g * out, (g + 1) * out), slice(g * per, (g + 1) * per)
            dw[outs, :, u, v] = np.einsum("oij,cij->oc", dy[outs], padded[ins, rows, columns])
            dpadded[ins, rows, columns] += np.einsum("oij,oc->cij", dy[outs], w[outs, :, u, v])
    inner = slice(padding, -padding) if padding else slice(None)
    return dpadded[:, inner, inner], dw, dy.sum((1, 2))


def explanation() -> Explanation:
    x = array([[[1, 2, 0], [0, 1, 3], [2, 1, 1]]])
    w = array([[[[1, -1], [0.5, 2]]]])
    b, dy = array([0.5]), array([[[1, 0], [-1, 2]]])
    y = forward(x, w, b)
    dx, dw, db = backward(dy, x, w)
    patch, kernel = x[0, :2, :2].ravel(), w[0, 0].ravel()
    return Explanation(
        subject="convolution",
        summary="Every output is the product of the same kernel with another patch of the input.",
        steps=(
            Step(
                title="output size, per axis",
                formula="n' = ⌊(n + 2p − d(k − 1) − 1) / s⌋ + 1",
                substituted="⌊(3 + 2·0 − 1·(2 − 1) − 1) / 1⌋ + 1",
                result="2",
            ),
            Step(
                title="forward",
                formula="y[i,j] = b + Σ w[u,v] · x[i·s + u·d − p, j·s + v·d − p]",
                substituted=f"x = {text(x)}, w = {text(w[0])}, b = {text(b[0])}: "
                f"y[0,0] = 0.5 + {products(kernel, patch)} = {text(y[0, 0, 0])}",
                result=f"y = {text(y)}",
            ),
            Step(
                title="backward: the kernel",
                formula="dw[u,v] = Σ dy[i,j] · x[i·s + u·d − p, j·s + v·d − p]",
                substituted=f"dy = {text(dy)}: dw[0,0] = {products(dy.ravel(), patch)} = {text(dw[0, 0, 0, 0])}",
                result=f"dw = {text(dw[0])}",
            ),
            Step(
                title="backward: the bias",
                formula="db = Σ dy[i,j]",
                substituted=summed(dy.ravel()),
                result=f"db = {text(db[0])}",
            ),
            Step(
                title="backward: the input, a convolution of dy with the flipped kernel",
                formula="dx[a,b] = Σ dy[i,j] · w[a − i·s + p, b − j·s + p]   (d = 1)",
                substituted=f"dx[1,1] = {products(dy.ravel(), kernel[::-1])} = {text(dx[0, 1, 1])}",
                result=f"dx = {text(dx)}",
            ),
        ),
        source="Dumoulin and Visin 2016, A guide to convolution arithmetic, relationship 6; "
        "Goodfellow et al. 2016, Deep Learning, equations 9.6, 9.11 and 9.13",
        numbers=numbers(x=x, w=w, b=b, y=y, dy=dy, dx=dx, dw=dw, db=db),
    )
