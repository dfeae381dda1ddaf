"""The main path: the same recipe gives the same bits, a resume continues to them, and what goes wrong is said."""

import errno
import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

import netwright
from netwright import files, runs, workbench
from netwright.errors import DataError, NetworkError, NetwrightError, RecipeError, RunError, UsageError
from netwright.nn import weights
from netwright.recipe import Recipe, override
from netwright.recipe.comparing import flat
from netwright.recipe.schema import FULL_BATCH, OPTIMIZERS, SCHEDULES
from netwright.runs import RunDirectory
from netwright.training.recording import DivergedError, Interrupted, Recorder
from netwright.training.state import State

SMALL = override(
    Recipe(),
    {
        "data.limit": 300, "network.name": "mlp", "network.width": 16, "network.dropout": 0.1, "train.epochs": 2,
        "train.batch_size": 32, "watch.confirm": 0,
    },
)  # fmt: skip


def train(folder: Path, **changes: Any) -> workbench.Run:
    return workbench.train(
        override(SMALL, {key.replace("__", "."): value for key, value in changes.items()}), folder=folder
    )


def final(run: workbench.Run) -> dict[str, torch.Tensor]:
    return weights.read(run.files.checkpoint("last") / "weights.safetensors")


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


def test_a_run_leaves_what_it_promises(tmp_path: Path) -> None:
    run = train(tmp_path)
    names = {path.name for path in run.directory.iterdir()}
    assert {"recipe.yaml", "request.yaml", "environment.json", "network.json", "preprocess.json", "run.sqlite"} <= names
    assert {"checkpoints", "current.json", "report.html"} <= names
    open_still = {key for key, value in flat(run.recipe).items() if value == "auto"}
    assert open_still <= {"data.format", "data.validation", "data.test", "data.target", "data.header", "data.unit"}
    assert run.recipe.network.depth == 2  # the network's own, where the rule would have named another network
    assert run.files.requested() == SMALL
    assert set(run.metrics) == {"validation", "test"}
    steps, losses = run.files.reader().series("loss")
    assert steps == list(range(1, len(losses) + 1))
    rows = run.files.reader().epochs()
    assert [(row.epoch, row.split) for row in rows] == [(e, s) for e in (1, 2) for s in ("train", "validation")]
    assert np.mean(losses[: len(losses) // 2]) == pytest.approx(rows[0].metrics["loss"], rel=1e-6)
    json.loads(json.dumps(run.to_dict(), allow_nan=False))


def test_metrics_are_those_of_the_kept_weights(tmp_path: Path) -> None:
    """Computed again by hand: the run's network on its own test part."""
    from netwright.data.opening import open_source
    from netwright.preprocess import apply

    run = train(tmp_path)
    examples = open_source(run.recipe.data)
    part = examples.parts["test"]
    inputs = apply(run.inputs.inputs[0], part.inputs[0][part.rows])
    with torch.inference_mode():
        decided = workbench.load(run.directory).network(torch.from_numpy(inputs)).argmax(1).numpy()
    assert (decided == part.part_targets()).mean() == pytest.approx(run.metrics["test"]["accuracy"])


def test_the_same_recipe_gives_the_same_bits_and_another_seed_does_not(tmp_path: Path) -> None:
    state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    first, second, other = train(tmp_path), train(tmp_path), train(tmp_path, seed=1)
    assert same(final(first), final(second))
    assert not same(final(first), final(other))
    assert torch.equal(state[0], torch.get_rng_state())
    assert np.array_equal(state[1], np.random.get_state()[1])  # noqa: NPY002


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_a_resume_ends_at_the_same_bits(
    tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes: dict[str, Any] = {"train__epochs": 8, "augment__noise": 0.1, "train__optimizer": "adam"}
    whole = train(tmp_path / "whole", **changes)
    real, steps = Recorder.after_step, whole.files.current()["step"]

    def interrupt(recorder: Recorder, state: State, *others: Any) -> None:
        if state.step == steps // 8 * 3 + 2:  # in the middle of an epoch
            signal.raise_signal(number)
        real(recorder, state, *others)

    monkeypatch.setattr(Recorder, "after_step", interrupt)
    with pytest.raises(Interrupted):
        train(tmp_path / "cut", **changes)
    monkeypatch.undo()
    directory = runs.find("last", tmp_path / "cut")
    assert RunDirectory(directory).summary().state == "interrupted"
    assert not RunDirectory(directory).is_locked()
    resumed = workbench.resume(directory)
    assert same(final(whole), final(resumed))
    assert whole.files.reader().series("loss") == resumed.files.reader().series("loss")
    assert whole.metrics == resumed.metrics
    assert [r.metrics for r in whole.files.reader().epochs()] == [r.metrics for r in resumed.files.reader().epochs()]


def test_a_disk_that_fills_up_stops_the_training_and_a_resume_ends_at_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Checkpoints wait for the disk while the training goes on; what goes wrong there is told all the same."""
    changes: dict[str, Any] = {"train__epochs": 12, "train__checkpoint_seconds": 1e-3}
    whole = train(tmp_path / "whole", **changes)
    real = files.sync_folder

    def fills_up(path: Path) -> None:
        if list((tmp_path / "cut").glob("*/current.json")):  # after the first checkpoint, however fast they follow
            raise OSError(errno.ENOSPC, "planted")
        real(path)

    monkeypatch.setattr(files, "sync_folder", fills_up)
    with pytest.raises(RunError, match="a full disk"):
        train(tmp_path / "cut", **changes)
    monkeypatch.undo()
    directory = runs.find("last", tmp_path / "cut")
    assert RunDirectory(directory).current()["step"] < whole.files.current()["step"]
    assert same(final(whole), final(workbench.resume(directory)))


def test_resuming_a_finished_run_changes_nothing(tmp_path: Path) -> None:
    run = train(tmp_path)
    before = {
        path: path.read_bytes() for path in run.directory.rglob("*") if path.is_file() and "sqlite" not in path.name
    }
    assert workbench.resume(run.directory).metrics == run.metrics
    assert {path: path.read_bytes() for path in before} == before


def test_a_report_that_a_kill_cut_short_is_written_by_resuming(tmp_path: Path) -> None:
    run = train(tmp_path)
    page, half = run.directory / "report.html", run.directory / ".report.html.4711"
    page.rename(half)  # as a process leaves it that dies while it writes
    assert workbench.resume(run.directory).metrics == run.metrics
    assert page.is_file()
    assert not half.exists()
    page.unlink()
    busy = RunDirectory(run.directory).lock()
    workbench.resume(run.directory)  # whoever is at it writes its own
    busy.unlock()
    assert not page.exists()


def test_a_resume_on_other_data_is_refused(tmp_path: Path) -> None:
    x, y = np.random.default_rng(0).normal(size=(60, 4)).astype("f4"), np.arange(60) % 2
    np.savez(tmp_path / "data.npz", x=x, y=y)
    run = train(tmp_path / "runs", data__source=str(tmp_path / "data.npz"), data__limit=0)
    run.files.mark(finished=False)
    np.savez(tmp_path / "data.npz", x=x + 1, y=y)
    with pytest.raises(DataError, match="other data"):
        workbench.resume(run.directory)


def test_accumulated_batches_are_one_large_batch(tmp_path: Path) -> None:
    """Without dropout and norms, three batches of 32 make the gradient of one of 96, also in the short last group."""

    def network() -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3))

    x, y = torch.randn(96 * 2 + 64, 5, generator=torch.Generator().manual_seed(1)), torch.arange(256) % 3
    options: dict[str, Any] = {"optimizer": "sgd", "lr": 0.5, "epochs": 2, "folder": tmp_path, "quiet": True}
    steady = {"train.schedule": "constant", "train.warmup": 0, "data.validation": 0, "objective.label_smoothing": 0}
    one, many = network(), network()
    netwright.fit(one, (x, y), batch_size=96, settings=steady, **options)
    run = netwright.fit(many, (x, y), batch_size=32, settings=steady | {"train.accumulate": 3}, **options)
    for first, second in zip(one.parameters(), many.parameters(), strict=True):
        torch.testing.assert_close(first, second, rtol=1e-5, atol=1e-6)
    assert run.files.reader().series("loss")[0] == list(range(1, 7))


def test_early_stopping_gives_back_the_best_weights(tmp_path: Path) -> None:
    run = train(
        tmp_path, train__epochs=60, train__patience=3, train__schedule="constant", train__lr=0.3, train__optimizer="sgd"
    )
    rows = [row for row in run.files.reader().epochs() if row.split == "validation"]
    best = max(rows, key=lambda row: workbench.score(row.metrics))  # type: ignore[arg-type]
    assert len(rows) == best.epoch + 3 < 60
    assert run.metrics["validation"]["accuracy"] == best.metrics["accuracy"]
    assert run.files.current()["best_epoch"] == best.epoch


def test_a_diverging_loss_stops_with_the_last_finite_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(DivergedError, match=r"train\.lr"):
        train(
            tmp_path, train__lr=1e20, train__schedule="constant", train__warmup=0, train__optimizer="sgd",
            train__epochs=50, train__checkpoint_seconds=0.001, network__name="lenet5",
        )  # fmt: skip
    run = RunDirectory(runs.find("last", tmp_path))
    assert not run.current().get("finished")
    assert not run.is_locked()
    if run.current().get("last"):
        saved = weights.read(run.checkpoint("last") / "weights.safetensors")
        assert all(bool(tensor.isfinite().all()) for tensor in saved.values() if tensor.is_floating_point())


@pytest.mark.parametrize(
    ("optimizer", "schedule"),
    [(name, "one-cycle") for name in OPTIMIZERS if name not in FULL_BATCH]
    + [("nesterov", schedule) for schedule in SCHEDULES if schedule != "one-cycle"],
)
def test_every_optimizer_and_every_schedule(tmp_path: Path, schedule: str, optimizer: str) -> None:
    run = train(tmp_path, train__schedule=schedule, train__optimizer=optimizer, train__lr=0.01, train__clip=1.0)
    assert np.isfinite(run.metrics["test"]["loss"])


def test_bf16_trains_and_fp16_says_where_it_can(tmp_path: Path) -> None:
    assert train(tmp_path, train__precision="bf16", train__epochs=4).metrics["test"]["accuracy"] > 0.3
    with pytest.raises(RecipeError, match="bf16"):
        train(tmp_path, train__precision="fp16")


def test_a_range_test_chooses_the_rate_and_says_so(tmp_path: Path) -> None:
    run = train(tmp_path, train__lr="range-test")
    measured = run.files.environment()["measured"]["range_test"]
    assert run.recipe.train.lr == measured["suggestion"]
    assert 1e-6 < float(run.recipe.train.lr) < 10


def test_the_layout_is_measured_and_remembered(tmp_path: Path) -> None:
    changes: dict[str, Any] = {
        "network__name": "small_vgg",
        "network__width": 4,
        "data__channels": "rgb",
        "train__epochs": 1,
    }
    first, second = train(tmp_path, **changes), train(tmp_path, **changes)
    one, other = (run.files.environment()["measured"]["layout"] for run in (first, second))
    assert one["contiguous_ms"] > 0
    assert other == one | {"remembered": True}
    assert first.recipe == second.recipe
    assert same(final(first), final(second))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"train__batch_size": 5000}, "training examples"),
        ({"train__device": "cuda:7"}, "device"),
        ({"train__device": "toaster"}, "device"),
        ({"network__name": "lenet4"}, "lenet5"),
        ({"objective__loss": "huber"}, "huber"),
        ({"data__source": "digit"}, "digits"),
        ({"train__optimizer": "python"}, "fit"),
    ],
)
def test_what_cannot_be_run_stops_before_a_directory_is_made(
    tmp_path: Path, changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(NetwrightError, match=says) as caught:
        train(tmp_path / "runs", **changes)
    assert caught.value.exit_code == 2
    assert not (tmp_path / "runs").exists()


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises((RunError, OSError)):
        train(tmp_path / "file" / "runs")
    if os.geteuid() != 0:  # the superuser may write anywhere
        (tmp_path / "locked").mkdir(mode=0o500)
        with pytest.raises(RunError, match="--out"):
            train(tmp_path / "locked")


# ------------------------------------------------------------------------------------------------ from Python


class Pair(nn.Module):
    """Two inputs by keyword."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(7, 2)

    def forward(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        return self.head(torch.cat([left, right], 1))  # type: ignore[no-any-return]


class Dicts(Dataset[Any]):
    def __init__(self, count: int = 64) -> None:
        self.x = torch.randn(count, 7, generator=torch.Generator().manual_seed(0))

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, position: int) -> dict[str, Any]:
        x = self.x[position]
        return {"left": x[:3], "right": x[3:], "label": int(x.sum() > 0)}


def pair_data(kind: str) -> Any:
    data = Dicts()
    y = (data.x.sum(1) > 0).long()
    match kind:
        case "arrays by name":
            return {"left": data.x[:, :3].numpy(), "right": data.x[:, 3:].numpy()}, y.numpy()
        case "tensors in order":
            return (data.x[:, :3], data.x[:, 3:]), y
        case "a dataset of dicts":
            return data
        case "a loader of dicts":
            return DataLoader(data, batch_size=16, shuffle=True)
        case "a loader of tuples":
            return DataLoader(TensorDataset(data.x[:, :3], data.x[:, 3:], y), batch_size=16)
    raise AssertionError(kind)


@pytest.mark.parametrize(
    "kind", ["arrays by name", "tensors in order", "a dataset of dicts", "a loader of dicts", "a loader of tuples"]
)
def test_several_inputs_in_every_form(tmp_path: Path, kind: str) -> None:
    network = Pair()
    run = netwright.fit(
        network, pair_data(kind), pair_data(kind), epochs=15, batch_size=16, lr=0.05, folder=tmp_path, quiet=True
    )
    assert run.metrics["validation"]["accuracy"] > 0.9
    again = netwright.load(run.directory, network=Pair())
    assert all(torch.equal(a, b) for a, b in zip(again.network.parameters(), network.parameters(), strict=True))
    with pytest.raises(NetworkError, match=r"netwright\.load"):
        _ = netwright.load(run.directory).network


def test_a_loss_and_an_optimizer_of_ones_own(tmp_path: Path) -> None:
    x = torch.randn(80, 4, generator=torch.Generator().manual_seed(0))
    network = nn.Linear(4, 1)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    run = netwright.fit(
        network, (x, x.sum(1, keepdim=True)), loss=nn.MSELoss(), optimizer=optimizer, epochs=20, batch_size=20,
        folder=tmp_path, quiet=True,
    )  # fmt: skip
    assert run.metrics["validation"]["loss"] < 1e-3
    torch.testing.assert_close(network.weight, torch.ones(1, 4), atol=0.05, rtol=0)
    assert np.allclose(run.files.reader().series("lr")[1], 0.1)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"batch_size": 8}, "train.batch_size"),
        ({"lr": 0.5}, "train.lr"),
        ({"settings": {"augment.noise": 0.1}}, "augment.noise"),
        ({"settings": {"objective.label_smoothing": 0.1}}, "objective.label_smoothing"),
    ],
)
def test_a_key_that_an_object_would_make_idle_is_refused(tmp_path: Path, options: dict[str, Any], says: str) -> None:
    network = Pair()
    objects = {"optimizer": torch.optim.SGD(network.parameters(), lr=0.1), "loss": nn.CrossEntropyLoss()}
    loader = pair_data("a loader of tuples")
    with pytest.raises(RecipeError, match=says):
        netwright.fit(network, loader, folder=tmp_path, epochs=1, quiet=True, **objects, **options)
    run = netwright.fit(network, loader, folder=tmp_path, epochs=1, quiet=True, **objects)
    assert (run.recipe.train.batch_size, run.recipe.train.lr) == (16, 0.1)


@pytest.mark.parametrize("wrong", ["network", "loss", "optimizer"])
def test_a_class_where_an_object_belongs(tmp_path: Path, wrong: str) -> None:
    given: dict[str, Any] = {"network": nn.Linear(3, 2), "train_data": (np.zeros((8, 3), np.float32), np.arange(8) % 2)}
    given[wrong] = {"network": nn.ReLU, "loss": nn.CrossEntropyLoss, "optimizer": torch.optim.SGD}[wrong]
    with pytest.raises(UsageError, match=rf"{wrong}: got the class \w+, expected an object of it"):
        netwright.fit(**given, folder=tmp_path, quiet=True)
    assert not any(tmp_path.iterdir())


def test_frozen_and_evaluating_parts_stay_as_they_are(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    network[0].weight.requires_grad_(False)
    before = network[0].weight.clone()
    x = torch.randn(40, 4)
    netwright.fit(network, (x, (x[:, 0] > 0).long()), epochs=2, folder=tmp_path, quiet=True)
    assert torch.equal(before, network[0].weight)
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    with pytest.raises(NetwrightError, match="trainable"):
        netwright.fit(network, (x, (x[:, 0] > 0).long()), epochs=2, folder=tmp_path, quiet=True)


def test_fit_resumes_with_the_same_objects(tmp_path: Path) -> None:
    x = torch.randn(64, 4, generator=torch.Generator().manual_seed(0))
    data = x, (x[:, 0] > 0).long()

    def network() -> nn.Module:
        torch.manual_seed(0)
        return nn.Linear(4, 2)

    whole = netwright.fit(network(), data, epochs=3, folder=tmp_path / "whole", quiet=True)

    broken = network()
    calls = []
    handle = broken.register_forward_pre_hook(lambda *_: calls.append(1) if len(calls) < 9 else 1 / 0)
    with pytest.raises(ZeroDivisionError):
        netwright.fit(
            broken, data, epochs=3, folder=tmp_path / "cut", quiet=True, settings={"train.checkpoint_seconds": 1e-3}
        )
    handle.remove()
    resumed = netwright.fit(network(), data, resume_from=runs.find("last", tmp_path / "cut"), quiet=True)
    assert same(final(whole), final(resumed))
    resumed.files.mark(finished=False)
    with pytest.raises(RunError, match="resume_from"):
        workbench.resume(resumed.directory)
