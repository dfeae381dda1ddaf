"""netwright check: data, recipes, and a network's gradients."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

Says = Callable[..., Any]

MODULES = """
import torch
from torch import nn


class Faulty(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.sigmoid()

    @staticmethod
    def backward(ctx, dy):
        (x,) = ctx.saved_tensors
        return dy * x.sigmoid()  # the factor 1 - sigmoid(x) is forgotten


class Right(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(4, 3), nn.Linear(3, 2)

    def forward(self, x):
        return self.second(self.first(x).sigmoid())


class Wrong(Right):
    def forward(self, x):
        return self.second(Faulty.apply(self.first(x)))


class Words(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(10, 4)

    def forward(self, words, x):
        return self.table(words).sum(1) * x
"""


@pytest.fixture
def own(tmp_path: Path) -> str:
    (tmp_path / "own.py").write_text(MODULES)
    return str(tmp_path / "own.py")


def test_a_right_module_exits_with_0(says: Says, own: str) -> None:
    said = says("check", f"{own}:Right", "--gradients", "--input", "4")
    assert (said.code, said.err) == (0, "")
    assert "Right: 5 tensors" in said.out
    assert "wrong" not in said.out


def test_a_wrong_backward_exits_with_3_and_names_what_lies_before_it(says: Says, own: str) -> None:
    said = says("check", f"{own}:Wrong", "--gradients", "--input", "4")
    assert said.code == 3
    assert "Wrong: the gradient of input, first.weight, first.bias" in said.out
    document = says("check", f"{own}:Wrong", "--gradients", "--input", "4", "--json").document
    assert document["ok"] is False
    assert document["error"] > 0.1
    assert {row["name"]: row["wrong"] for row in document["rows"]} == {
        "input": True, "first.weight": True, "first.bias": True, "second.weight": False, "second.bias": False,
    }  # fmt: skip


def test_several_inputs_and_types(says: Says, own: str) -> None:
    said = says("check", f"{own}:Words", "--gradients", "--input", "3:int64", "--input", "4", "--json")
    assert said.code == 0
    assert [row["name"] for row in said.document["rows"]] == ["input1", "table.weight"]
    assert said.document["skipped"] == ["input: int64"]


def test_a_network_by_name_knows_its_input(says: Says) -> None:
    said = says("check", "caffe_lenet", "--gradients", "--entries", "2", "--eval", "--seed", "3", "--json")
    assert said.code == 0
    found = said.document
    assert (found["network"], found["training"], found["seed"], found["ok"]) == ("caffe_lenet", False, 3, True)
    assert found["rows"][0]["shape"] == [4, 1, 28, 28]
    assert {row["checked"] for row in found["rows"]} == {2}


def test_a_run_knows_its_input(says: Says, runs_folder: Path) -> None:
    said = says("check", "last", "--gradients", "--out", runs_folder, "--entries", "3", "--json")
    assert said.code == 0
    assert said.document["rows"][0]["shape"][1:] == [1, 8, 8]


@pytest.mark.parametrize(
    ("words", "got", "suggestion"),
    [
        (["lenet5"], "'lenet5', which does not exist", "netwright check lenet5 --gradients"),
        (["digit"], "'digit', which does not exist", "digits"),
        ([], "nothing to check", "netwright check digits"),
        (["digits", "--entries", "3"], "--entries", "netwright check digits --gradients"),
        (["lenet5", "--gradients", "--baseline"], "--baseline", "netwright check lenet5 without --gradients"),
        (["--gradients"], "no network", "netwright check lenet5 --gradients"),
        (["own.py:Right", "--gradients"], "no input", "--input 3x224x224"),
        (["net.onnx", "--gradients"], "no such file", ""),
        (["lenet6", "--gradients"], "'lenet6'", "lenet5"),
        (["lenet5", "--gradients", "--input", "1x-2"], "no shape", "3x224x224, ids=16:int64"),
        (["lenet5", "--gradients", "--input", "3:int46"], "'int46'", "int64"),
        (["lenet5", "--gradients", "--input", "1x28x28", "--entries", "0"], "0", "--entries 20"),
        (["lenet5", "--gradient"], "--gradient", "--gradients"),
        (["run-12345", "--gradients"], "'run-12345'", ""),
    ],
)
def test_wrong_usage(
    words: list[str], got: str, suggestion: str, says: Says, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = says("check", *words)
    assert (said.code, said.out) == (2, "")
    assert got in said.err
    tries = [line.strip().removeprefix("try").strip() for line in said.err.splitlines() if line.startswith("  try")]
    assert tries == ([suggestion] if suggestion else [])


def test_a_network_that_does_not_run_says_so(says: Says, own: str) -> None:
    said = says("check", f"{own}:Right", "--gradients", "--input", "5")
    assert said.code == 2
    assert "mat1 and mat2" in said.err


# ------------------------------------------------------------------------------------------------ data and recipes


def _written(folder: Path, x: np.ndarray, y: np.ndarray) -> Path:
    folder.mkdir()
    np.save(folder / "x.npy", x)
    np.save(folder / "y.npy", y)
    return folder


def test_healthy_data_passes_and_everything_is_one_document(says: Says) -> None:
    said = says("check", "digits", "--set", "data.limit=300", "--fail-on", "warning", "--json")
    assert (said.code, said.err) == (0, "")
    found = said.document
    assert found["diagnosis"]["healthy"] is True
    assert (found["audit"]["task"], len(found["audit"]["class_counts"])) == ("classification", 10)
    assert found["loss"]["expects"] == "logits"
    assert abs(found["preflight"]["expected_loss"] - np.log(10)) < 1e-4


def test_a_planted_fault_fails_the_gate(says: Says, tmp_path: Path) -> None:
    """Labels that were mixed up have nothing to do with the inputs."""
    make = np.random.default_rng(0)
    data = _written(tmp_path / "bad", make.standard_normal((900, 6)).astype(np.float32), make.integers(0, 3, 900))
    said = says("check", data, "--fail-on", "warning")
    assert said.code == 3
    assert "label-noise" in said.out
    assert says("check", data, "--fail-on", "error").code == 0


def test_targets_are_judged_as_they_were_given_and_not_as_they_are_learned(says: Says, tmp_path: Path) -> None:
    make = np.random.default_rng(0)
    x = make.standard_normal((300, 3)).astype(np.float32)
    data = _written(tmp_path / "near", x, (1000 + 0.1 * x[:, :1]).astype(np.float64))
    found = says("check", data, "--json").document["diagnosis"]["findings"]
    assert [(one["code"], one["severity"]) for one in found if one["code"] == "constant-labels"] == [
        ("constant-labels", "note")
    ]
    run = says("train", data, "--epochs", "1", "--out", tmp_path / "runs", "--set", "watch.confirm=0", "--json")
    assert "constant-labels" in [one["code"] for one in run.document["findings"]]


def test_what_a_network_has_to_beat(says: Says, tmp_path: Path) -> None:
    make = np.random.default_rng(1)
    x = make.standard_normal((240, 8)).astype(np.float32)
    y = (x[:, 0] + x[:, 1] > 0).astype(np.int64)
    found = says("check", _written(tmp_path / "table", x, y), "--baseline", "--locality", "--json").document["audit"]
    scores = {one["learner"]: one["score"] for one in found["baselines"]}
    assert scores["always the same"] < 0.75
    assert scores["logistic regression"] > 0.85
    assert found["locality"]["drop"] < 3 * found["locality"]["noise"]
