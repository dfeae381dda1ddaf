"""ReLU, dropout and the residual sum: forward and backward."""

from __future__ import annotations

import numpy as np

from netwright.inspection.explaining.structure import Array, Explanation, Step, array, numbers, text


def relu(x: Array) -> Array:
    return np.maximum(x, 0)


def relu_backward(dy: Array, x: Array) -> Array:
    """At 0, where there is no derivative, 0 is taken."""
    return dy * (x > 0)


def dropout(x: Array, kept: Array, p: float) -> Array:
    """``kept`` is 0 or 1 an entry; what stays is scaled, so that the expectation is x."""
    return x * kept / (1 - p)


def residual(x: Array, a: Array) -> Array:
    """y = x + relu(a x), for x (I) and a (I, I)."""
    return x + relu(a @ x)


def residual_backward(dy: Array, x: Array, a: Array) -> tuple[Array, Array]:
    """dx, and the part of it that came through the branch."""
    branch = a.T @ relu_backward(dy, a @ x)
    return dy + branch, branch


def explain_relu() -> Explanation:
    x, dy = array([-2, -0.5, 0, 1.5, 3]), array([1, 2, 3, -1, 0.5])
    y, dx = relu(x), relu_backward(dy, x)
    return Explanation(
        subject="relu",
        summary="Negative values become zero; the gradient passes where the value did.",
        steps=(
            Step(title="forward", formula="y = max(0, x)", substituted=f"x = {text(x)}", result=f"y = {text(y)}"),
            Step(
                title="backward",
                formula="dx = dy·1[x > 0]; at 0 there is no derivative, and 0 is taken",
                substituted=f"dy = {text(dy)}",
                result=f"dx = {text(dx)}",
            ),
        ),
        source="Nair and Hinton 2010; Glorot, Bordes and Bengio 2011, section 3",
        numbers=numbers(x=x, y=y, dy=dy, dx=dx),
    )


def explain_dropout() -> Explanation:
    x, kept, p, dy = array([2, -1, 4, 3]), array([1, 0, 1, 1]), 0.25, array([1, 1, -1, 2])
    y, dx = dropout(x, kept, p), dropout(dy, kept, p)
    return Explanation(
        subject="dropout",
        summary="In training each entry is zeroed with probability p; in evaluation nothing happens.",
        steps=(
            Step(
                title="forward, in training",
                formula="y = m·x / (1 − p), where m is 0 with probability p and else 1",
                substituted=f"p = 0.25, x = {text(x)}, m = {text(kept)}: y[0] = 1·2 / 0.75",
                result=f"y = {text(y)}",
            ),
            Step(
                title="why 1 − p",
                formula="E[y] = (1 − p)·x / (1 − p) + p·0 = x",
                substituted="0.75·2 / 0.75 + 0.25·0",
                result="2 = x[0]: evaluation needs no scale of its own",
            ),
            Step(
                title="backward",
                formula="dx = m·dy / (1 − p)",
                substituted=f"dy = {text(dy)}",
                result=f"dx = {text(dx)}",
            ),
        ),
        source="Srivastava et al. 2014, section 4; scaled in training as torch.nn.Dropout has it",
        numbers=numbers(x=x, kept=kept, p=p, y=y, dy=dy, dx=dx),
    )


def explain_residual() -> Explanation:
    x, a, dy = array([1, -2]), array([[0.5, 0.1], [-0.2, 0.4]]), array([1, 3])
    y = residual(x, a)
    dx, branch = residual_backward(dy, x, a)
    return Explanation(
        subject="residual",
        summary="A branch adds to its input; the gradient has a way past it.",
        steps=(
            Step(
                title="forward",
                formula="y = x + F(x), here F(x) = relu(a·x)",
                substituted=f"x = {text(x)}, a = {text(a)}: a·x = {text(a @ x)}, F(x) = {text(relu(a @ x))}",
                result=f"y = {text(y)}",
            ),
            Step(
                title="backward",
                formula="dx = dy + Jᵀ·dy, where J is the derivative of F",
                substituted=f"dy = {text(dy)}: {text(dy)} + {text(branch)}",
                result=f"dx = {text(dx)}: dy arrives whole even where F gives nothing",
            ),
        ),
        source="He et al. 2016, Deep Residual Learning, equation 1; "
        "He et al. 2016, Identity Mappings in Deep Residual Networks, equation 5",
        numbers=numbers(x=x, a=a, y=y, dy=dy, dx=dx),
    )
