"""Fine-tuning: what a training begins with, and that it goes on to the same bits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import netwright
from netwright.errors import NetworkError, NetwrightError, RunError
from netwright.nn import weights
from netwright.nn.zoo.mlp import MLP
from netwright.records import StartRecord
from netwright.training import recording
from netwright.workbench import Run

QUIET: dict[str, Any] = {
    "watch.enabled": False, "train.average": 0.0, "train.layout": "contiguous", "augment.shift": 0.0,
    "augment.rotate": 0.0, "augment.crop": 0.0,
}  # fmt: skip


def _pictures(classes: int, count: int = 64, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Bright squares in one of several places: what tells them apart is the same for two and for four classes."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, count)
    pictures = random.integers(0, 60, (count, 1, 12, 12)).astype(np.uint8)
    for picture, label in zip(pictures, labels, strict=True):
        row, column = divmod(int(label), 2)
        picture[0, 6 * row : 6 * row + 6, 6 * column : 6 * column + 6] += 150
    return pictures, labels.astype(np.int64)


def _fit(folder: Path, network: nn.Module | str = "small_resnet", *, classes: int = 4, **options: Any) -> Run:
    settings = QUIET | options.pop("settings", {})
    data = options.pop("data", None) or _pictures(classes)
    return netwright.fit(
        network, data, options.pop("validation", _pictures(classes, 32, 1)), batch_size=16, quiet=True, folder=folder,
        settings=settings, **{"epochs": 2, **options},
    )  # fmt: skip


def _state(run: Run) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in run.network.state_dict().items()}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return _fit(tmp_path_factory.mktemp("source"), epochs=4)


def _account(run: Run) -> StartRecord:
    return StartRecord.from_dict(run.files.environment()["start"])


def test_a_run_gives_its_network_and_all_but_the_last_layer(source: Run, tmp_path: Path) -> None:
    run = _fit(tmp_path, "auto", classes=2, start=source, settings={"train.freeze": "all"})
    assert run.recipe.network.name == "small_resnet"
    account = _account(run)
    assert account.new == ("head.3.weight", "head.3.bias")
    assert account.parameters == sum(t.numel() for n, t in _state(source).items() if not n.startswith("head.3"))
    before, after = _state(source), _state(run)
    for name, tensor in after.items():
        if not name.startswith("head.3"):
            assert torch.equal(tensor, before[name]), name
    assert after["head.3.weight"].shape == (2, before["head.3.weight"].shape[1])


def test_classes_of_other_names_get_a_last_layer_of_their_own_although_it_would_fit(
    source: Run, tmp_path: Path
) -> None:
    import dataclasses

    from netwright.data.handed import from_python
    from netwright.recipe import Recipe

    material = from_python(_pictures(4), _pictures(4, 32, 1), None, Recipe().data, targets_as_given=False)
    renamed = dataclasses.replace(material, classes=("a", "b", "c", "d"))
    recipe = netwright.Recipe()
    from netwright.recipe import override

    recipe = override(recipe, QUIET | {
        "data.source": "python", "data.format": "python", "network.weights": str(source.directory), "train.epochs": 1,
    })  # fmt: skip
    assert set(_account(netwright.train(recipe, folder=tmp_path, material=renamed)).new) == {
        "head.3.weight",
        "head.3.bias",
    }
    assert _account(netwright.train(recipe, folder=tmp_path, material=material)).new == ()


@pytest.mark.parametrize("kind", ["run", "safetensors", "state_dict", "mapping"])
def test_all_that_can_be_started_from_gives_the_same_bits(source: Run, tmp_path: Path, kind: str) -> None:
    starts: dict[str, Any] = {"run": source, "mapping": _state(source)}
    if kind == "safetensors":
        starts[kind] = tmp_path / "w.safetensors"
        weights.save(_state(source), starts[kind])
    elif kind == "state_dict":
        starts[kind] = tmp_path / "state.pt"
        torch.save({"model": _state(source)}, starts[kind])
    run = _fit(tmp_path, start=starts[kind], epochs=1)
    expected = _fit(tmp_path, start=source.directory, epochs=1)
    assert _account(run).sha256 == _account(expected).sha256
    assert all(torch.equal(a, b) for a, b in zip(_state(run).values(), _state(expected).values(), strict=True))


def test_it_begins_where_the_source_ended(source: Run, tmp_path: Path) -> None:
    """With a rate that changes nothing, the metrics are those of the source."""
    run = _fit(tmp_path, start=source, epochs=1, settings={"train.freeze": "all", "train.lr": 1e-12})
    assert run.metrics["validation"]["accuracy"] == source.metrics["validation"]["accuracy"]
    assert run.metrics["validation"]["loss"] == pytest.approx(source.metrics["validation"]["loss"], rel=1e-5)


def test_a_network_of_ones_own_takes_what_fits(tmp_path: Path) -> None:
    torch.manual_seed(0)
    first = MLP((144,), 4, width=16)
    wide = _fit(tmp_path, nn.Sequential(nn.Flatten(), first))
    torch.manual_seed(5)
    second = nn.Sequential(nn.Flatten(), MLP((144,), 2, width=16))
    run = _fit(tmp_path, second, classes=2, start=_state(wide), settings={"train.freeze": 1}, epochs=1)
    assert torch.equal(run.network[1].layers[1].weight, wide.network[1].layers[1].weight)
    assert _account(run).source == "python"


def test_code_of_ones_own_gets_a_last_layer_that_fits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a published network of 1000 classes does for two."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(
        "from torch import nn\n"
        "def Net(classes=1000):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(144, 8), nn.ReLU(), nn.Linear(8, classes))\n"
    )
    big = nn.Sequential(nn.Flatten(), nn.Linear(144, 8), nn.ReLU(), nn.Linear(8, 1000))
    torch.save(big.state_dict(), tmp_path / "big.pt")
    run = _fit(tmp_path, "own.py:Net", classes=2, start=tmp_path / "big.pt", settings={"train.freeze": 1}, epochs=1)
    again = netwright.load(run.directory)
    assert again.network[3].weight.shape == (2, 8)
    assert torch.equal(again.network[1].weight, big[1].weight)
    assert _account(run).new == ("3.weight", "3.bias")
    assert [surgery["module"] for surgery in json.loads((run.directory / "network.json").read_text())["surgeries"]] == [
        "3"
    ]


def test_another_network_stops_before_anything_is_written(source: Run, tmp_path: Path) -> None:
    with pytest.raises(NetworkError):
        _fit(tmp_path / "runs", "lenet5", start=source)
    assert not list((tmp_path / "runs").glob("*/recipe.yaml"))


def test_a_start_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(NetwrightError, match="missing"):
        _fit(tmp_path, start=tmp_path / "missing.pt")


class _Stop(Exception):
    pass


def _stopped(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """A process that dies at a step; what was kept before is all there is."""
    whole = recording.Recorder.after_step

    def after_step(self: Any, state: Any, *rest: Any) -> None:
        whole(self, state, *rest)
        if state.step == step - 1:
            self.checkpoint(state)
        if state.step == step:
            raise _Stop

    monkeypatch.setattr(recording.Recorder, "after_step", after_step)


@pytest.mark.parametrize("step", [3, 6, 9])
def test_a_resume_goes_on_to_the_same_bits_while_blocks_come_back(
    source: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """Four steps an epoch: the steps are before, between and after blocks that come back."""
    options: dict[str, Any] = {
        "start": source, "epochs": 3,
        "settings": {"train.freeze": "all", "train.unfreeze_every": 1, "train.depth_rate": 0.7},
    }  # fmt: skip
    whole = _fit(tmp_path / "whole", **options)
    with monkeypatch.context() as patched:
        _stopped(patched, step)
        with pytest.raises(_Stop):
            _fit(tmp_path / "parts", **options)
    (directory,) = [path for path in (tmp_path / "parts").iterdir() if path.is_dir()]
    again = _fit(tmp_path / "parts", **options, resume_from=directory)
    assert all(torch.equal(a, b) for a, b in zip(_state(whole).values(), _state(again).values(), strict=True))


def test_a_resume_before_the_first_checkpoint_needs_the_same_weights(
    source: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "start.pt"
    torch.save(_state(source), path)
    with monkeypatch.context() as patched:
        patched.setattr(recording.Recorder, "after_step", lambda *rest: (_ for _ in ()).throw(_Stop()))
        with pytest.raises(_Stop):
            _fit(tmp_path / "runs", start=path)
    (directory,) = [each for each in (tmp_path / "runs").iterdir() if each.is_dir()]
    other = {name: tensor + 1 if tensor.is_floating_point() else tensor for name, tensor in _state(source).items()}
    torch.save(other, path)
    with pytest.raises(RunError, match="other weights"):
        _fit(tmp_path / "runs", start=path, resume_from=directory)
    path.unlink()
    with pytest.raises(NetwrightError):
        _fit(tmp_path / "runs", start=path, resume_from=directory)
    torch.save(_state(source), path)
    again, whole = _fit(tmp_path / "runs", start=path, resume_from=directory), _fit(tmp_path, start=path)
    assert all(torch.equal(a, b) for a, b in zip(_state(whole).values(), _state(again).values(), strict=True))


def test_the_watch_does_not_call_frozen_blocks_a_fault(source: Run, tmp_path: Path) -> None:
    run = _fit(
        tmp_path, start=source, epochs=2,
        settings={"watch.enabled": True, "watch.confirm": 0.0, "train.freeze": "all", "train.unfreeze_every": 1},
    )  # fmt: skip
    blamed = {finding.code for finding in run.findings}
    assert not blamed & {"frozen-parameters", "missing-from-optimizer", "no-gradient", "unused-parameters"}


def test_torchvision_weights_fit_the_network_of_that_name(tmp_path: Path) -> None:
    models = pytest.importorskip("torchvision.models", reason="torchvision is not installed")
    from netwright.nn import keeping, matching
    from netwright.records import NetworkFile

    ours = keeping.build(NetworkFile(kind="zoo", name="resnet18", input_shape=(3, 224, 224), outputs=2))
    matching.match(models.resnet18(num_classes=1000).state_dict(), ours, "resnet18")
