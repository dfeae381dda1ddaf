"""The built-in digits."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from netwright.data import digits
from netwright.preprocess import ImagePreprocess
from netwright.recipe.schema import Data


def test_values_fill_the_range_of_a_byte():
    examples = digits.read(Data())
    part = examples.parts["train"]
    given = load_digits()
    assert part.inputs[0].shape == (1797, 1, 8, 8)
    assert part.inputs[0].dtype == np.uint8
    assert (part.inputs[0].min(), part.inputs[0].max()) == (0, 255)
    assert np.array_equal(np.round(part.inputs[0][:, 0] * (16 / 255)), given.images)  # nothing is lost
    assert np.array_equal(part.targets, given.target)
    assert examples.preprocess == (ImagePreprocess(channels=("grey",), size=(8, 8)),)
    assert examples.classes == tuple("0123456789")


@pytest.mark.parametrize(("channels", "planes"), [("binary", 1), ("rgb", 3), ("grey+hsv", 3)])
def test_raw_planes_follow_the_channels(channels, planes):
    part = digits.read(Data(channels=channels, size=10)).parts["train"]
    assert part.inputs[0].shape == (1797, planes, 10, 10)
