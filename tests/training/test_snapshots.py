"""Cycles of the rate, the weights at their ends, and the same bits after any stop."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import netwright
from netwright import ensembling, runs, workbench
from netwright.errors import RecipeError, UsageError
from netwright.nn import weights
from netwright.optim.schedules import cycle_ends, factor
from netwright.recipe import Recipe, override
from netwright.recipe.schema import Train
from netwright.training import snapshots
from netwright.training.recording import Interrupted, Recorder

SMALL = override(
    Recipe(),
    {
        "data.limit": 120, "network.name": "mlp", "network.width": 8, "train.epochs": 5, "train.snapshots": 2,
        "train.batch_size": 16, "train.layout": "contiguous", "train.threads": 1, "watch.enabled": False,
    },
)  # fmt: skip


@settings(deadline=None, max_examples=30)
@given(epochs=st.integers(1, 60), count=st.integers(1, 20))
def test_cycles_fill_the_epochs_and_are_as_equal_as_can_be(epochs: int, count: int) -> None:
    ends = cycle_ends(epochs, count)
    lengths = [end - begin for begin, end in zip([0, *ends], ends, strict=False)]
    assert ends[-1] == epochs
    assert len(ends) == min(count, epochs)
    assert max(lengths) - min(lengths) <= 1


@settings(deadline=None, max_examples=30)
@given(cycles=st.integers(2, 6), each=st.integers(1, 5), steps=st.integers(2, 9))
def test_the_rate_is_the_papers(cycles: int, each: int, steps: int) -> None:
    """Huang et al. 2017, equation 2, with T = all steps and M cycles, written with its mod and ceiling."""
    total = cycles * each * steps
    at = factor(Train(schedule="cosine", warmup=0.0, snapshots=cycles), total, steps)
    length = math.ceil(total / cycles)
    for step in range(total):
        assert at(step) == pytest.approx((math.cos(math.pi * (step % length) / length) + 1) / 2, abs=1e-12)
    assert at(total) == pytest.approx(0.0)


@settings(deadline=None, max_examples=30)
@given(cycles=st.integers(2, 6), epochs=st.integers(6, 30), warm=st.floats(0, 40))
def test_a_warm_up_leaves_half_of_the_first_cycle(cycles: int, epochs: int, warm: float) -> None:
    at = factor(Train(schedule="cosine", warmup=warm, snapshots=cycles), 10 * epochs, 10)
    first = 10 * cycle_ends(epochs, cycles)[0]
    rates = [at(step) for step in range(10 * epochs)]
    assert all(0 < rate <= 1 for rate in rates)
    assert max(rates[: first // 2 + 1]) == pytest.approx(1.0)
    assert rates[first] == pytest.approx(1.0)  # the second cycle begins at the full rate


def digests(run: workbench.Run) -> dict[int, str]:
    return {epoch: hashlib.sha256(path.read_bytes()).hexdigest() for epoch, path in snapshots.kept(run.files).items()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> workbench.Run:
    return workbench.train(SMALL, folder=tmp_path_factory.mktemp("whole"))


def test_the_weights_of_each_cycles_end_are_kept(whole: workbench.Run) -> None:
    kept = snapshots.kept(whole.files)
    assert list(kept) == [2, 5]
    last = weights.read(whole.files.checkpoint("best") / "weights.safetensors")
    assert {name: tensor.tolist() for name, tensor in weights.read(kept[5]).items()} == {
        name: tensor.tolist() for name, tensor in last.items()
    }  # the run stands for its last cycle's end
    assert (whole.recipe.train.schedule, whole.recipe.train.average, whole.recipe.train.keep) == ("cosine", 0.0, "last")


@pytest.mark.parametrize("at", [3, 16, 17, 33])  # of 40 steps: before the first end, at it, after it, in the second
def test_a_stop_anywhere_ends_at_the_same_bits(
    at: int, whole: workbench.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the process died after a snapshot and before the checkpoint: a later file is written over."""
    real = Recorder.after_step

    def stopping(self: Recorder, state: Any, *rest: Any) -> None:
        if state.step == at:
            self.ask_to_stop()
        real(self, state, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(Recorder, "after_step", stopping)
        with pytest.raises(Interrupted):
            workbench.train(SMALL, folder=tmp_path)
    directory = runs.list_directories(tmp_path)[0]
    (directory / snapshots.FOLDER).mkdir(exist_ok=True)
    (directory / snapshots.FOLDER / "0005.safetensors").write_bytes(b"of a process that was killed")
    (directory / snapshots.FOLDER / ".0002.safetensors").write_bytes(b"half")
    resumed = workbench.resume(directory)
    assert digests(resumed) == digests(whole)
    assert not list((directory / snapshots.FOLDER).glob(".*"))


def test_an_ensemble_of_the_last_snapshots(whole: workbench.Run, tmp_path: Path) -> None:
    run = ensembling.ensemble(whole, snapshots=True, folder=tmp_path)
    found = ensembling.account(run)
    assert [member.name for member in found.members] == [f"{whole.directory.name}@{epoch}" for epoch in (2, 5)]
    assert found.members[1].metrics["test"]["accuracy"] == whole.metrics["test"]["accuracy"]
    assert found.made == "snapshots"
    with pytest.raises(UsageError, match="1 of 2"):
        ensembling.ensemble(whole, snapshots=1, folder=tmp_path)
    with pytest.raises(UsageError, match="2 runs"):
        ensembling.ensemble([whole, whole], snapshots=2, folder=tmp_path)
    plain = netwright.train(override(SMALL, {"train.snapshots": 0, "train.epochs": 1}), folder=tmp_path)
    with pytest.raises(UsageError, match="a run without any"):
        ensembling.ensemble(plain, snapshots=2, folder=tmp_path)


@pytest.mark.parametrize(
    ("key", "changes"),
    [
        ("train.snapshots", {"train.epochs": 1}),
        ("train.snapshots", {"train.snapshots": 1}),
        ("train.schedule", {"train.schedule": "one-cycle"}),
        ("train.patience", {"train.patience": 2}),
    ],
)
def test_contradictions_stop_before_training(key: str, changes: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        workbench.train(override(SMALL, changes), folder=tmp_path)
    assert caught.value.where == key
    assert not runs.list_directories(tmp_path)
