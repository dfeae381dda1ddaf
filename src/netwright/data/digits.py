"""The built-in source: 1797 handwritten digits of 8x8 pixels (UCI, as scikit-learn ships them)."""

from __future__ import annotations

import numpy as np

from netwright.data.examples import Examples, Part
from netwright.data.pictures import Look, conform, plan_of, preprocess_for
from netwright.recipe.schema import Data

WHITE = 16  # the largest value in the set


def read(options: Data, like: Examples | None = None) -> Examples:
    """All 1797 as one training part; values 0…16 become 0…255."""
    from sklearn.datasets import load_digits

    values, labels = load_digits(return_X_y=True)
    pixels = np.rint(values.reshape(-1, 1, 8, 8) * (255 / WHITE)).astype(np.uint8)
    record = preprocess_for(options, [Look(8, 8, True)], like)
    part = Part((conform(pixels, plan_of(record)),), labels.astype(np.int64))
    classes = tuple(str(digit) for digit in range(10))
    return Examples(kind="image", task="classification", parts={"train": part}, preprocess=(record,), classes=classes)
