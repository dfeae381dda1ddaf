"""Trees in a process of their own say what they say here, and leave no scikit-learn behind."""

import subprocess
import sys

import numpy as np
import pytest

from netwright.repair import trees

PROGRAM = """
import sys
import numpy as np
from netwright.repair import trees

make = np.random.default_rng(0)
inputs, asked = make.normal(size=(80, 5)).astype("f4"), make.normal(size=(40, 5)).astype("f4")
found = trees.predictions(inputs, inputs[:, 0] > 0, asked, classes=True)
print(float((found == (asked[:, 0] > 0)).mean()), "sklearn" in sys.modules)
"""


def test_a_child_learns_and_nothing_of_it_stays() -> None:
    said = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True).stdout.split()
    assert float(said[0]) > 0.8
    assert said[1] == "False"


@pytest.mark.parametrize("classes", [True, False])
def test_a_child_says_what_is_said_here(classes: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    make = np.random.default_rng(1)
    inputs, asked = make.normal(size=(60, 4)).astype("f4"), make.normal(size=(30, 4)).astype("f4")
    targets = (inputs[:, 0] > 0).astype("i8") if classes else inputs[:, :2] ** 2
    here = trees._learned(inputs, targets, asked, classes)
    modules = {name: module for name, module in sys.modules.items() if name.split(".")[0] != "sklearn"}
    monkeypatch.setattr(trees.sys, "modules", modules)
    np.testing.assert_array_equal(trees.predictions(inputs, targets, asked, classes=classes), here)


def test_where_no_child_can_be_started_it_is_learned_here(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object, **__: object) -> None:
        raise OSError("planted")

    monkeypatch.setattr(trees.subprocess, "run", none)
    inputs = np.arange(20, dtype="f4").reshape(-1, 1)
    found = trees.predictions(inputs, (inputs[:, 0] > 9).astype("i8"), inputs, classes=True)
    assert (found == (inputs[:, 0] > 9)).all()
