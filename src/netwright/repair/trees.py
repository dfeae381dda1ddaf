"""Extremely randomised trees (Geurts et al. 2006) over arrays, in a process of their own: scikit-learn takes 110 to
180 MB that would stay with the training that asks. No torch; imported by `reference`, and run as a module."""

from __future__ import annotations

import io
import subprocess
import sys
from typing import Any

import numpy as np
import numpy.typing as npt

TREES = 50
SECONDS = 60.0  # after which the child is given up


def predictions(
    inputs: npt.NDArray[Any], targets: npt.NDArray[Any], asked: npt.NDArray[Any], *, classes: bool
) -> npt.NDArray[Any]:
    """What trees that learned ``inputs`` (N, F) and ``targets`` (N,) or (N, K) say of ``asked`` (M, F).

    Where scikit-learn is imported already, here; else in a child, which takes a second or two longer. The random state
    is not touched.
    """
    if "sklearn" not in sys.modules:
        sent = io.BytesIO()
        np.savez(sent, inputs=inputs, targets=targets, asked=asked, classes=np.array(classes))
        command = [sys.executable, "-P", "-m", __name__]  # nothing of the folder where it happens to run
        try:
            child = subprocess.run(command, input=sent.getvalue(), capture_output=True, timeout=SECONDS, check=True)
            found: npt.NDArray[Any] = np.load(io.BytesIO(child.stdout), allow_pickle=False)
            return found
        except (OSError, ValueError, subprocess.SubprocessError):  # no child may be started here
            pass
    return _learned(inputs, targets, asked, classes)


def _learned(
    inputs: npt.NDArray[Any], targets: npt.NDArray[Any], asked: npt.NDArray[Any], classes: bool
) -> npt.NDArray[Any]:
    from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor

    settings: dict[str, Any] = {"n_estimators": TREES, "random_state": 0, "n_jobs": 1}
    if classes:
        learner = ExtraTreesClassifier(max_features="sqrt", **settings)
    else:
        learner = ExtraTreesRegressor(max_features=1.0 if inputs.shape[1] < 64 else "sqrt", **settings)
    return np.asarray(learner.fit(inputs, targets).predict(asked))


if __name__ == "__main__":
    given = np.load(io.BytesIO(sys.stdin.buffer.read()), allow_pickle=False)
    answer = _learned(given["inputs"], given["targets"], given["asked"], bool(given["classes"]))
    np.save(sys.stdout.buffer, answer, allow_pickle=False)
