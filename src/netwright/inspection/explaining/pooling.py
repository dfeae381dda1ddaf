"""Maximum and average pooling: forward, backward, and the two ways to count windows."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from netwright.inspection.explaining.structure import Array, Explanation, Step, array, numbers, summed, text


def outputs(
    size: int, kernel: int, stride: int, before: int = 0, after: int = 0, dilation: int = 1, ceil: bool = False
) -> int:
    """Windows along one axis. With ``ceil`` the last one must begin inside of the input or the padding before it."""
    reach = size + before + after - dilation * (kernel - 1) - 1
    if not ceil:
        return reach // stride + 1
    count = -(-reach // stride) + 1
    return count - 1 if (count - 1) * stride >= size + before else count


def _windows(x: Array, kernel: int, stride: int) -> Iterator[tuple[int, int, slice, slice]]:
    for i in range(outputs(x.shape[0], kernel, stride)):
        for j in range(outputs(x.shape[1], kernel, stride)):
            yield i, j, slice(i * stride, i * stride + kernel), slice(j * stride, j * stride + kernel)


def forward(x: Array, kernel: int, stride: int, *, average: bool = False) -> Array:
    """x (H, W) → y (H', W'), without padding."""
    y = np.zeros((outputs(x.shape[0], kernel, stride), outputs(x.shape[1], kernel, stride)))
    for i, j, rows, columns in _windows(x, kernel, stride):
        y[i, j] = x[rows, columns].mean() if average else x[rows, columns].max()
    return y


def backward(dy: Array, x: Array, kernel: int, stride: int, *, average: bool = False) -> Array:
    """dy (H', W') → dx (H, W): to the largest of each window (the first of equals), or to all alike."""
    dx = np.zeros_like(x)
    for i, j, rows, columns in _windows(x, kernel, stride):
        if average:
            dx[rows, columns] += dy[i, j] / kernel**2
        else:
            u, v = np.unravel_index(int(x[rows, columns].argmax()), (kernel, kernel))
            dx[rows.start + u, columns.start + v] += dy[i, j]
    return dx


def explanation() -> Explanation:
    x = array([[1, 3, 2, 0], [4, 2, 1, 1], [0, 1, 5, 6], [2, 2, 7, 3]])
    dy = array([[1, -1], [0.5, 2]])
    largest, mean = forward(x, 2, 2), forward(x, 2, 2, average=True)
    dlargest, dmean = backward(dy, x, 2, 2), backward(dy, x, 2, 2, average=True)
    return Explanation(
        subject="pooling",
        summary="A window becomes one number: its largest, or its mean.",
        steps=(
            Step(
                title="output size, per axis",
                formula="floor: ⌊(n + 2p − d(k − 1) − 1) / s⌋ + 1;  ceil: ⌈…⌉ + 1, one less if the last window "
                "would begin behind the input: (n' − 1)·s ≥ n + p",
                substituted="n = 112, k = 3, s = 2, p = 0: ⌊109 / 2⌋ + 1 and ⌈109 / 2⌉ + 1",
                result=f"floor {outputs(112, 3, 2)} (PyTorch's default), ceil {outputs(112, 3, 2, ceil=True)} (Caffe)",
            ),
            Step(
                title="maximum, forward (k = 2, s = 2)",
                formula="y[i,j] = max x[i·s + u, j·s + v]",
                substituted=f"x = {text(x)}: y[0,0] = max(1, 3, 4, 2)",
                result=f"y = {text(largest)}",
            ),
            Step(
                title="maximum, backward",
                formula="dx at the largest of the window += dy[i,j], elsewhere 0; the first of equals",
                substituted=f"dy = {text(dy)}: dy[0,0] = 1 goes to x[1,0] = 4",
                result=f"dx = {text(dlargest)}",
            ),
            Step(
                title="average, forward",
                formula="y[i,j] = 1/k² · Σ x[i·s + u, j·s + v]",
                substituted=f"y[0,0] = ({summed(x[:2, :2].ravel())}) / 4",
                result=f"y = {text(mean)}",
            ),
            Step(
                title="average, backward",
                formula="dx[a,b] = Σ dy[i,j] / k² over the windows that see (a, b)",
                substituted="dx[0,0] = 1 / 4",
                result=f"dx = {text(dmean)}",
            ),
        ),
        source="Goodfellow et al. 2016, Deep Learning, section 9.3; Dumoulin and Visin 2016, relationship 7; "
        "torch.nn.MaxPool2d (ceil_mode), BVLC/caffe pooling_layer.cpp",
        numbers=numbers(x=x, dy=dy, y_max=largest, dx_max=dlargest, y_mean=mean, dx_mean=dmean),
    )
