"""The names of findings, by family: stable, used in records, recipes, ``--fail-on``, docs and tests. No torch."""

from __future__ import annotations

FAMILIES: dict[str, tuple[str, ...]] = {
    "data": (
        "input-not-normalized", "target-not-normalized", "split-mismatch", "bad-values", "constant-labels",
        "class-imbalance", "label-out-of-range", "labels-not-shuffled", "leak", "duplicates", "too-little-data",
        "no-local-structure", "label-noise",
    ),
    "network": (
        "wrong-output-activation", "output-size-mismatch", "loss-mismatch", "shape-broadcast",
        "wrong-hidden-activation", "missing-nonlinearity", "bias-before-norm", "bad-initialization",
        "symmetric-weights", "frozen-parameters", "unused-parameters", "too-small", "too-deep",
        "receptive-field-too-small", "final-map-size",
    ),
    "optimisation": (
        "learning-rate-too-high", "learning-rate-too-low", "batch-too-large", "batch-too-small",
        "missing-from-optimizer", "gradients-not-zeroed", "weight-decay-too-high", "over-regularized",
        "loss-maximized", "wrong-optimizer-for-batch", "too-few-epochs",
    ),
    "training": (
        "vanishing-gradient", "exploding-gradient", "no-gradient", "dead-units", "saturated-units", "non-finite",
        "not-learning", "slow-convergence", "oscillating-loss", "plateau", "overfitting", "underfitting",
        "train-eval-gap", "norm-batch-too-small", "ill-conditioned", "saddle-point", "edge-of-stability",
    ),
}  # fmt: skip
CODES = tuple(code for family in FAMILIES.values() for code in family)
