"""Curvature beside curvlinops: the largest and smallest eigenvalue of the loss's Hessian, on digits.

curvlinops is asked through SciPy's Lanczos. It is no dependency of netwright: `pip install curvlinops-for-pytorch`.

    python benchmarks/curvature.py
"""

from __future__ import annotations

import common
import torch
from sklearn.datasets import load_digits
from torch import nn

from netwright.probes import curvature

NETWORKS = {
    "mlp": lambda: nn.Sequential(nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 10)),
    "cnn": lambda: nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Flatten(),
        nn.Linear(128, 10),
    ),
}  # fmt: skip
TARGET = 0.02  # of the largest


def main() -> None:
    import curvlinops
    from scipy.sparse.linalg import eigsh

    torch.set_num_threads(1)
    data = load_digits()
    inputs, targets = torch.tensor(data.data[:512] / 16, dtype=torch.float32), torch.tensor(data.target[:512])
    loss = nn.CrossEntropyLoss()
    for name, build in NETWORKS.items():
        torch.manual_seed(0)
        network = build()
        optimizer = torch.optim.SGD(network.parameters(), 0.1, momentum=0.9)
        for steps in (0, 100):
            for _ in range(steps):
                optimizer.zero_grad()
                loss(network(inputs), targets).backward()
                optimizer.step()
            own = curvature.measure(network, loss, inputs, targets)
            operator = curvlinops.HessianLinearOperator(network, loss, list(network.parameters()), [(inputs, targets)])
            operator = operator.to_scipy() if hasattr(operator, "to_scipy") else operator
            largest, smallest = (float(eigsh(operator, k=1, which=which)[0][0]) for which in ("LA", "SA"))
            off = {"largest": own.sharpness / largest - 1, "smallest": (own.smallest - smallest) / largest}
            told = ", ".join(f"{end} {value:+.1e}" for end, value in off.items())
            print(f"{name} after {steps} steps: {own.sharpness:.6g} (curvlinops {largest:.6g}); off by {told} of it")
            common.write_result("curvature", f"{name} {steps}", {**off, "products": own.products, "target": TARGET})


if __name__ == "__main__":
    main()
