"""A language model: trained, resumed to the same bits, and let write."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

import netwright
from netwright import generating
from netwright.errors import DataError, NetwrightError, UsageError
from netwright.recipe import Recipe, override
from netwright.training import recording
from netwright.workbench import Run

PERIOD = "abcdefgh\n"


def _train(folder: Path, text: Path, **changes: Any) -> Run:
    return netwright.train(_recipe(text, **changes), folder=folder)


def _recipe(text: Path, **changes: Any) -> Recipe:
    return override(Recipe(), {
        "data.source": str(text), "data.format": "text", "watch.enabled": False, "network.width": 32,
        "train.batch_size": 4, "train.bptt": 16, "train.epochs": 6, "train.lr": 0.02, "train.average": 0.0,
        "network.dropout": 0.0,
    } | changes)  # fmt: skip


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "book.txt"
    path.write_text(PERIOD * 300)
    return path


@pytest.fixture(scope="module")
def model(text: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return _train(tmp_path_factory.mktemp("runs"), text)


def test_what_repeats_is_learned_and_gone_on_with(model: Run) -> None:
    assert model.metrics["validation"]["loss"] < 0.05
    written = generating.generate(model, 40, temperature=0, prompt="abc")
    assert ("abc" + written)[:36] == (PERIOD * 5)[:36]


def test_the_loss_is_nats_a_character_of_the_whole_held_out_text(model: Run, text: Path) -> None:
    """By one pass over each lane, outside of all batching."""
    whole = text.read_text()
    held = whole[len(whole) - round(0.1 * len(whole)) :]
    vocabulary = model.inputs.text.vocabulary
    ids = torch.tensor([vocabulary.index(each) for each in held])
    lanes = max(1, min(32, (len(ids) - 1) // 16))
    stretch = (len(ids) - 1) // lanes
    network, total = model.network, 0.0
    with torch.no_grad():
        for lane in range(lanes):
            network.memory = None
            piece = ids[lane * stretch : (lane + 1) * stretch + 1]
            logits = network(piece[None, :-1])
            total += float(-torch.log_softmax(logits.double(), 1).gather(1, piece[1:, None]).sum())
    network.memory = None
    assert model.metrics["validation"]["loss"] == pytest.approx(total / (lanes * stretch), rel=1e-4)


def test_a_seed_is_a_text_and_a_low_temperature_dares_little(model: Run) -> None:
    samples = [generating.generate(model, 60, temperature=6.0, seed=seed) for seed in (0, 0, 1)]
    assert samples[0] == samples[1] != samples[2]
    assert generating.generate(model, 60, temperature=1e-9) == generating.generate(model, 60, temperature=0)
    assert generating.generate(model, 60, temperature=9, top=1) == generating.generate(model, 60, temperature=0)


def test_temperature_divides_the_logits(model: Run) -> None:
    """Frequencies of the unit after one prompt against the softmax of what the network says."""
    network, vocabulary = model.network, model.inputs.text.vocabulary
    network.memory = None
    with torch.no_grad():
        logits = network(torch.tensor([[vocabulary.index("c")]]))[-1]
    network.memory = None
    expected = torch.softmax(logits / 4, 0)
    drawn = [
        vocabulary.index(generating.generate(model, 1, temperature=4.0, prompt="c", seed=seed)) for seed in range(400)
    ]
    counts = torch.bincount(torch.tensor(drawn), minlength=len(vocabulary)) / 400
    assert torch.allclose(counts, expected, atol=4 * math.sqrt(0.25 / 400))


@pytest.mark.parametrize(
    ("options", "error"),
    [({"count": 0}, UsageError), ({"count": 5, "temperature": -1.0}, UsageError),
     ({"count": 5, "temperature": math.nan}, UsageError), ({"count": 5, "prompt": "Ω"}, DataError),
     ({"count": 5, "top": 0}, UsageError)],
)  # fmt: skip
def test_wrong_wishes_stop(model: Run, options: dict[str, Any], error: type[NetwrightError]) -> None:
    with pytest.raises(error):
        generating.generate(model, options.pop("count"), **options)


class _Stop(Exception):
    pass


@pytest.mark.parametrize("network", ["lstm", "transformer"])
def test_a_resume_in_mid_epoch_remembers_the_text(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, network: str
) -> None:
    changes = {"network.name": network, "train.epochs": 2, "network.dropout": 0.1}
    whole = _train(tmp_path / "whole", text, **changes)
    with monkeypatch.context() as patched:
        kept = recording.Recorder.after_step

        def after_step(self: Any, state: Any, *rest: Any) -> None:
            kept(self, state, *rest)
            if state.step == 50:
                self.checkpoint(state)
            if state.step == 52:
                raise _Stop

        patched.setattr(recording.Recorder, "after_step", after_step)
        with pytest.raises(_Stop):
            _train(tmp_path / "parts", text, **changes)
    (directory,) = [path for path in (tmp_path / "parts").iterdir() if path.is_dir()]
    again = netwright.resume(directory)
    for one, other in zip(whole.network.state_dict().values(), again.network.state_dict().values(), strict=True):
        assert torch.equal(one, other)


def test_another_text_is_gone_on_with_in_the_vocabulary_of_the_first(model: Run, tmp_path: Path) -> None:
    other = tmp_path / "other.txt"
    other.write_text("hgfedcba\nzz\n" * 200)
    run = _train(tmp_path, other, **{"network.weights": str(model.directory), "train.epochs": 1})
    assert run.inputs.text == model.inputs.text
    assert run.files.environment()["start"]["new"] == []


def test_vocabularies_of_texts_to_judge_and_to_go_on_with_are_not_mixed(model: Run, tmp_path: Path) -> None:
    for label in ("a", "b"):
        (tmp_path / "set" / label).mkdir(parents=True)
        for number in range(8):
            (tmp_path / "set" / label / f"{number}.txt").write_text(f"{label}{label} some words")
    judge = override(Recipe(), {
        "data.source": str(tmp_path / "set"), "watch.enabled": False, "train.epochs": 1, "network.width": 8,
    })  # fmt: skip
    with pytest.raises(DataError, match=r"network\.weights"):
        netwright.train(override(judge, {"network.weights": str(model.directory)}), folder=tmp_path)
    first = netwright.train(judge, folder=tmp_path)
    with pytest.raises(DataError, match=r"network\.weights"):
        _train(
            tmp_path, Path(model.recipe.data.source), **{"network.weights": str(first.directory), "network.name": "gru"}
        )
    again = netwright.train(override(judge, {"network.weights": str(first.directory)}), folder=tmp_path)
    assert again.inputs.text == first.inputs.text
    assert again.files.environment()["start"]["new"] == []


def test_what_makes_no_sense_for_a_text_stops(text: Path, tmp_path: Path) -> None:
    with pytest.raises(NetwrightError, match=r"train\.accumulate"):
        _train(tmp_path, text, **{"train.accumulate": 2})
    with pytest.raises(NetwrightError, match=r"train\.bptt"):
        netwright.train(override(Recipe(), {"data.source": "digits", "train.bptt": 5}), folder=tmp_path)
    with pytest.raises(NetwrightError, match=r"network\.name"):
        _train(tmp_path, text, **{"network.name": "mlp"})


def test_a_run_that_is_no_language_model_does_not_write(tmp_path: Path) -> None:
    import numpy as np

    run = netwright.fit(
        "mlp", (np.random.default_rng(0).random((40, 3), np.float32), np.arange(40) % 2), epochs=1, quiet=True,
        folder=tmp_path, settings={"watch.enabled": False},
    )  # fmt: skip
    with pytest.raises(UsageError, match="language model"):
        generating.generate(run, 5)
