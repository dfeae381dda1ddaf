"""The product of signs on packed words against PyTorch's float product, in turns, on one thread.

    python benchmarks/xnor.py [--size 1024] [--rounds 40]

Packing of the activations is inside the time, packing of the weights is not (they lie packed on disk). Needs the extra
``binary``. It ships only where it is 1.5 times as fast at 1024³ (docs/log.md).
"""

from __future__ import annotations

import argparse
import json
import statistics

import torch
from common import HERE

from netwright.export import timing
from netwright.nn import bitcount
from netwright.nn.lowbit import Xnor


def compared(calls: dict, rounds: int) -> dict[str, float]:
    """Medians in ms and the median of the ratios of each round, with the ratios' lower and upper tenth."""
    (one, first), (other, second) = timing.times(calls, rounds=rounds, seconds=120).items()
    ratios = sorted(b / a for a, b in zip(first, second, strict=True))
    return {
        one: statistics.median(first), other: statistics.median(second), f"least {one}": min(first),
        f"least {other}": min(second), "ratio": statistics.median(ratios),
        "low": ratios[len(ratios) // 10], "high": ratios[-1 - len(ratios) // 10], "rounds": len(ratios),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=40)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    size = options.size
    x, w = torch.randn(size, size), torch.randn(size, size)
    words = bitcount.laid_out(bitcount.packed(w), w.shape)
    signs = torch.where(x >= 0, 1.0, -1.0), torch.where(w >= 0, 1.0, -1.0)
    assert torch.equal(bitcount.product(x, words, size), signs[0] @ signs[1].T)
    found = {
        f"product {size}³": compared(
            {"packed": lambda: bitcount.product(x, words, size), "float": lambda: torch.mm(x, w.T)}, options.rounds
        )
    }
    images = torch.randn(8, 128, 16, 16)
    geometry = {"stride": [1, 1], "padding": [1, 1], "dilation": [1, 1], "groups": 1}
    layer = Xnor("conv2d", (128, 128, 3, 3), geometry=geometry, packed=True).eval()
    layer.words.copy_(bitcount.packed(torch.randn(128, 128 * 9)))
    plain = torch.nn.Conv2d(128, 128, 3, padding=1).eval()
    with torch.inference_mode():
        calls = {"packed": lambda: layer(images), "float": lambda: plain(images)}
        found["layer 128→128, 3×3, 16×16, batch 8"] = compared(calls, options.rounds)
    for name, row in found.items():
        print(f"{name}: " + ", ".join(f"{key} {value:.3g}" for key, value in row.items()))
    (HERE / "results").mkdir(exist_ok=True)
    (HERE / "results" / "xnor.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
