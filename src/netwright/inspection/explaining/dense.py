"""A dense layer: forward and backward."""

from __future__ import annotations

from netwright.inspection.explaining.structure import Array, Explanation, Step, array, numbers, products, text


def forward(x: Array, w: Array, b: Array) -> Array:
    """x (N, I), w (O, I), b (O) → y (N, O) = x wᵀ + b."""
    return x @ w.T + b


def backward(dy: Array, x: Array, w: Array) -> tuple[Array, Array, Array]:
    """dy (N, O) → dx (N, I) = dy w, dw (O, I) = dyᵀ x, db (O) = Σ dy."""
    return dy @ w, dy.T @ x, dy.sum(0)


def explanation() -> Explanation:
    x, w, b = array([[1, -2, 3], [0, 1, 2]]), array([[0.5, 1, -1], [2, 0, 1]]), array([0.1, -0.2])
    dy = array([[1, -1], [0.5, 2]])
    y = forward(x, w, b)
    dx, dw, db = backward(dy, x, w)
    return Explanation(
        subject="dense",
        summary="Every output weighs all inputs.",
        steps=(
            Step(
                title="forward, rows are examples",
                formula="y = x·wᵀ + b",
                substituted=f"x = {text(x)}, w = {text(w)}, b = {text(b)}: "
                f"y[0,0] = {products(x[0], w[0])} + 0.1 = {text(y[0, 0])}",
                result=f"y = {text(y)}",
            ),
            Step(
                title="backward: the weights",
                formula="dw = dyᵀ·x",
                substituted=f"dy = {text(dy)}: dw[0,0] = {products(dy[:, 0], x[:, 0])} = {text(dw[0, 0])}",
                result=f"dw = {text(dw)}",
            ),
            Step(
                title="backward: the bias",
                formula="db = Σ dy over the examples",
                substituted=f"db[0] = 1 + 0.5 = {text(db[0])}",
                result=f"db = {text(db)}",
            ),
            Step(
                title="backward: the input",
                formula="dx = dy·w",
                substituted=f"dx[0,0] = {products(dy[0], w[:, 0])} = {text(dx[0, 0])}",
                result=f"dx = {text(dx)}",
            ),
        ),
        source="Rumelhart, Hinton and Williams 1986; Goodfellow et al. 2016, Deep Learning, section 6.5, algorithm 6.4",
        numbers=numbers(x=x, w=w, b=b, y=y, dy=dy, dx=dx, dw=dw, db=db),
    )
