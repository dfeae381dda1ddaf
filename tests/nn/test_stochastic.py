"""Dropout that stays on: the mean of many draws, with norms and the random state as they were."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import netwright
from netwright.errors import UsageError
from netwright.nn.stochastic import dropping, drops
from netwright.workbench import Run


def test_only_what_drops_is_in_training_mode_and_all_comes_back() -> None:
    network = nn.Sequential(
        nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.LSTM(8, 4, 2, dropout=0.3), nn.Dropout(0)
    )
    network[0].train(False)
    modes = [module.training for module in network.modules()]
    state, counter = torch.get_rng_state(), network[1].num_batches_tracked.clone()
    with dropping(network, 3):
        assert [module.training for module in network] == [False, False, True, True, False]
        assert [drops(module) for module in network] == [False, False, True, True, False]
        network[1](torch.randn(5, 8))
    assert [module.training for module in network.modules()] == modes
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(network[1].num_batches_tracked, counter)


@pytest.fixture(scope="module")
def data() -> tuple[np.ndarray, np.ndarray]:
    x = np.random.default_rng(0).normal(size=(120, 4)).astype(np.float32)
    return x, (x[:, 0] > 0).astype(np.int64)


def _run(folder: Path, data: tuple[np.ndarray, np.ndarray], dropout: float, **options: object) -> Run:
    return netwright.fit(
        "mlp", data, epochs=3, quiet=True, folder=folder,
        settings={"watch.enabled": False, "network.dropout": dropout, "network.width": 16}, **options,
    )  # fmt: skip


def test_the_mean_and_the_spread_are_those_of_the_passes(tmp_path: Path, data: tuple[np.ndarray, np.ndarray]) -> None:
    run = _run(tmp_path, data, 0.5)
    said = run.predict(data[0][:6], passes=40)
    network, inputs = run.network, run.inputs
    from netwright.preprocess.with_torch import apply

    x = apply(inputs.inputs[0], torch.from_numpy(data[0][:6]))
    with dropping(network, 0), torch.no_grad():
        draws = torch.stack([torch.softmax(network(x).double(), 1) for _ in range(40)])
    for place, each in enumerate(said):
        for number, name in enumerate(inputs.classes):
            assert each.probabilities[name] == pytest.approx(float(draws[:, place, number].mean()), abs=1e-6)
            assert each.spread[name] == pytest.approx(float(draws[:, place, number].std()), abs=1e-6)
    assert [one.to_dict() for one in said] == [one.to_dict() for one in run.predict(data[0][:6], passes=40)]
    assert max(one.spread[one.label] for one in said) > 0.001


def test_values_spread_too(tmp_path: Path, data: tuple[np.ndarray, np.ndarray]) -> None:
    run = _run(tmp_path, (data[0], data[0][:, :1] * 3), 0.5)
    for one in run.predict(data[0][:3], passes=20):
        assert one.spread.keys() == one.values.keys()
        assert all(value > 0 for value in one.spread.values())


def test_without_dropout_or_with_one_pass_it_stops(tmp_path: Path, data: tuple[np.ndarray, np.ndarray]) -> None:
    with pytest.raises(UsageError, match="without dropout"):
        _run(tmp_path, data, 0.0).predict(data[0][:3], passes=20)
    with pytest.raises(UsageError, match="2 or more"):
        _run(tmp_path, data, 0.5).predict(data[0][:3], passes=1)
