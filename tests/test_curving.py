"""``curves`` over data and capacity end to end: the same subsets for all, reuse, going on, what is refused."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import netwright
from netwright import curving, replicating, runs, workbench
from netwright.cli.main import main
from netwright.data.opening import open_source
from netwright.errors import DataError, StoppedError, UsageError
from netwright.recipe import Recipe, override
from netwright.scaling.records import Curves
from netwright.training.recording import Interrupted

SMALL: dict[str, Any] = {
    "data.source": "digits", "data.validation": 0.2, "network.name": "mlp", "network.width": 8, "train.epochs": 1,
    "train.layout": "contiguous", "train.threads": 1, "name": "digits",
}  # fmt: skip
DIGITS = override(Recipe(), SMALL)
SIZES = (40, 80, 160, 320)
CONCLUDED = Curves(
    over="data", key="data.limit", part="test", tested=1, examples=1, measure="error", seeds=(0,), learners=()
)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Curves]:
    folder = tmp_path_factory.mktemp("curves")
    return folder, netwright.curves(DIGITS, sizes=SIZES, seeds=2, folder=folder)


def test_errors_are_those_of_the_runs_and_every_learner_sees_all_sizes(drawn: tuple[Path, Curves]) -> None:
    _, found = drawn
    network, *others = found.learners
    assert [each.name for each in others] == ["HOG + linear SVM", "Gabor + linear SVM", "nearest neighbours"]
    for learner in found.learners:
        assert [point.size for point in learner.points] == list(SIZES)
        assert all(len(point.held_out.values) == 2 for point in learner.points)
    for point in network.points:
        for path, error in zip(point.runs, point.held_out.values, strict=True):
            run = netwright.load(path)
            assert 1 - run.metrics["test"]["accuracy"] == pytest.approx(error)  # as the training itself counted
            assert run.recipe.data.limit == point.size
    assert found.law is not None
    assert found.tested == 359
    assert found.conclusions
    assert Curves.from_dict(found.to_dict()).conclusions == found.conclusions
    page = Path(found.page).read_text()
    for word in (*(each.name for each in found.learners), "Error over training examples", "training examples"):
        assert word in page


def test_classical_learners_get_the_examples_of_the_network(
    drawn: tuple[Path, Curves], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A learner that only remembers its rows: they are those of the network's recipe, nested within a seed."""
    seen: dict[tuple[int, int], set[bytes]] = {}

    def remember(x: Any, y: Any, x_held: Any, y_held: Any, task: Any) -> Any:
        seen[len(x), len(seen)] = {row.tobytes() for row in x}
        return curving.learners.Learnt(lambda rows: np.zeros(len(rows), np.int64))

    monkeypatch.setattr(
        curving.learners, "learners",
        lambda shape, picture: [curving.learners.Learner("memory", curving.learners.flat, remember)],
    )  # fmt: skip
    folder, _ = drawn
    monkeypatch.setattr(curving, "KEPT", "others")
    netwright.curves(DIGITS, sizes=SIZES, seeds=2, folder=folder)
    kept = [rows for _, rows in sorted(seen.items(), key=lambda pair: pair[0][1])]
    for seed in range(2):
        subsets = kept[4 * seed : 4 * seed + 4]
        assert all(small < large for small, large in pairwise(subsets))
        recipe = override(DIGITS, {"data.limit": SIZES[0], "data.limit_seed": seed})
        part = open_source(recipe.data).parts["train"]
        rows = part.inputs[0][part.array_rows(np.arange(len(part)))].astype(np.float32) / np.float32(255)
        assert {row.tobytes() for row in rows.reshape(len(rows), -1)} == subsets[0]
    assert kept[0] != kept[4]  # another subset with another seed


def test_what_was_trained_and_fitted_is_used_again(drawn: tuple[Path, Curves], monkeypatch: pytest.MonkeyPatch) -> None:
    folder, found = drawn
    damaged = Path(found.learners[0].points[0].runs[0]) / curving.SAID_FILE
    damaged.write_bytes(damaged.read_bytes()[:100])  # half-written by something else: it is asked again
    monkeypatch.setattr(workbench, "train", lambda *a, **k: pytest.fail("trained again"))
    monkeypatch.setattr(curving.learners, "linear", lambda *a: pytest.fail("fitted again"))
    again = netwright.curves(DIGITS, sizes=SIZES, seeds=2, folder=folder)
    assert again.reused == 8
    assert [each.points for each in again.learners] == [each.points for each in found.learners]
    assert again.law == found.law


def test_after_a_stop_only_the_rest_is_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, done = workbench.train, []

    def train(recipe: Recipe, **options: Any) -> Any:
        if len(done) == 2 and stopping:
            raise Interrupted
        done.append((recipe.data.limit, recipe.seed))
        return real(recipe, **options)

    stopping = True
    monkeypatch.setattr(workbench, "train", train)
    with pytest.raises(StoppedError, match="2 of 4"):
        netwright.curves(DIGITS, sizes=(40, 80), seeds=2, folder=tmp_path, classical=False)
    stopping = False
    found = netwright.curves(DIGITS, sizes=(40, 80), seeds=2, folder=tmp_path, classical=False)
    assert done == [(40, 0), (80, 0), (40, 1), (80, 1)]
    assert found.reused == 2
    assert found.law is not None
    assert "too few points" in found.law.said
    assert any("cannot be told" in line for line in found.conclusions)


def test_no_training_begins_that_would_end_after_the_time(tmp_path: Path) -> None:
    found = netwright.curves(DIGITS, sizes=(40, 80), seeds=2, seconds=1e-3, folder=tmp_path, classical=False)
    assert found.left_out == 3  # one is needed to know how long they take
    assert any("data 80 among them" in note for note in found.notes)  # a size that is not in the picture is named
    assert any("3 of 4" in note for note in found.notes)


def test_over_capacity_of_values_error_is_bias_and_variance(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    x = generator.standard_normal((200, 3))
    rows = [",".join(f"{value:.4f}" for value in (*row, np.sin(2 * row[0]) + row[1])) for row in x]
    table = tmp_path / "table.csv"
    table.write_text("a,b,c,y\n" + "\n".join(rows))
    recipe = override(DIGITS, {"data.source": str(table), "data.test": 0.3, "name": "table", "train.epochs": 2})
    found = netwright.curves(recipe, over="capacity", sizes=(2, 16), seeds=3, folder=tmp_path / "runs")
    assert (found.over, found.key, found.measure) == ("width", "network.width", "unexplained variance")
    assert [each.name for each in found.learners[1:]] == ["linear model", "nearest neighbours", "boosted trees"]
    truth = curving._answer(open_source(recipe.data).parts["test"], open_source(recipe.data))
    for point in (each for learner in found.learners for each in learner.points):
        parts = point.decomposition
        assert parts is not None
        assert parts.error == pytest.approx(point.held_out.mean)
        assert parts.bias + parts.variance == pytest.approx(parts.error)
        for path, error in zip(point.runs, point.held_out.values):
            assert netwright.load(path).metrics["test"]["rmse"] ** 2 / truth.var() == pytest.approx(error, rel=1e-4)
    small, large = found.learners[0].points
    assert (small.parameters or 0) < (large.parameters or 0)
    assert "bias" in Path(found.page).read_text()


def test_depths_and_networks_without_them(tmp_path: Path) -> None:
    assert curving.Survey(DIGITS, "d", "depth", tmp_path, False, str, None).planned((), 3) == [1, 2, 3, 4]
    assert curving.Survey(DIGITS, "d", "width", tmp_path, False, str, None).planned((), 3) == [1, 2, 4, 8, 16]
    fixed = override(DIGITS, {"network.name": "lenet5", "network.width": "auto"})
    with pytest.raises(UsageError, match="no depth"):
        curving.Survey(fixed, "d", "depth", tmp_path, False, str, None).planned((), 3)


def test_sizes_are_halves_down_to_a_few_of_each_class(tmp_path: Path) -> None:
    sizes = curving.Survey(DIGITS, "d", "data", tmp_path, False, str, None).planned((), 3)
    assert sizes[-1] == 1150
    assert sizes[0] >= 24
    assert all(large / small == pytest.approx(2, rel=0.02) for small, large in pairwise(sizes))


def test_wrong_usage_is_told_before_anything_is_trained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(workbench, "train", lambda *a, **k: pytest.fail("trained"))
    Path("book.txt").write_text("The cat sat on the mat.\nAnd the dog sat on the cat.\n" * 80)
    for wrong, word in (
        (["digits", "--over", "time"], "data"), (["digits", "--sizes", "1,x"], "--sizes"),
        (["digits", "--sizes", "100,100"], "different"), (["digits", "--sizes", "99999"], "1294"),
        (["digits", "--seeds", "0"], "--seeds"), (["digits", "--time", "soon"], "--time"),
        (["digits", "--limit", "100"], "data.limit=0"), (["digits", "--reach", "0.1"], "--over batch-size"),
        (["book.txt"], "text"), (["nothing.csv"], "nothing.csv"),
        (["digits", "--test", "0", "--validation", "0"], "held-out"),
        (["digits", "--over", "depth", "--network", "lenet5"], "depth"),
        (["digits", "--over", "batch-size", "--networks-only"], "--networks-only"),
        (["digits", "--over", "batch-size", "--reach", "2"], "--reach"),
        (["digits", "--over", "batch-size", "--optimizer", "lbfgs"], "mini-batches"),
        (["digits", "--set", "train.rate=1"], "train.rate"),
    ):  # fmt: skip
        assert main(["curves", *wrong]) == 2, wrong
        assert word in capsys.readouterr().err, wrong
    assert not list(tmp_path.glob("runs/compared/*"))


def test_from_the_command_line(drawn: tuple[Path, Curves], capsys: pytest.CaptureFixture[str]) -> None:
    folder, found = drawn
    flags = [
        "--network", "mlp", "--epochs", "1", "--validation", "0.2", "--threads", "1", "--set", "network.width=8",
        "--set", "train.layout=contiguous", "--seeds", "2", "--sizes", "40,80,160,320", "--out", str(folder),
    ]  # fmt: skip
    assert main(["curves", "digits", *flags, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["reused"] == 8
    assert told["conclusions"] == list(found.conclusions)
    assert main(["curves", "digits", *flags, "--quiet"]) == 0
    out = capsys.readouterr().out
    assert "HOG + linear SVM" in out
    assert "page:" in out


def test_a_training_that_failed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = replicating.Trained({}, 0.0, failed="a loss of nan")
    monkeypatch.setattr(replicating.Shop, "trained", lambda self, arm, recipe: failed)
    with pytest.raises(UsageError, match="nan"):
        netwright.curves(DIGITS, sizes=(40,), seeds=1, folder=tmp_path)


def test_a_running_text_is_refused(tmp_path: Path) -> None:
    book = tmp_path / "book.txt"
    book.write_text("The cat sat on the mat.\nAnd the dog sat on the cat.\n" * 80)
    with pytest.raises(DataError, match="running text"):
        netwright.curves(override(Recipe(), {"data.source": str(book)}), folder=tmp_path)
    assert not runs.list_directories(tmp_path)


def test_planted_gabor_filters_of_a_first_layer_are_seen() -> None:
    import torch

    y, x = np.mgrid[:7, :7] - 3.0
    layer = torch.nn.Conv2d(1, 8, 7)
    for number in range(8):
        along = x * np.cos(number) + y * np.sin(number)
        layer.weight.data[number, 0] = torch.tensor(np.exp(-(x**2 + y**2) / 8) * np.cos(along + number))
    planted, random = curving.filter_fit(torch.nn.Sequential(layer)), curving.filter_fit(torch.nn.Conv2d(1, 50, 7))
    assert planted is not None
    assert random is not None
    assert planted.beyond == 1.0
    assert planted.fit > 0.8 > 0.4 > random.fit
    assert random.beyond < 0.2
    assert curving.filter_fit(torch.nn.Linear(3, 3)) is None


def test_another_question_has_another_page_and_the_same_one_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Path] = []
    monkeypatch.setattr(curving.telling, "write_page", lambda place, found, name: drawn.append(place))
    monkeypatch.setattr(curving.Survey, "carry_out", lambda self, sizes, seeds, classical: CONCLUDED)
    questions: list[tuple[Recipe, dict[str, Any]]] = [
        (DIGITS, {}), (DIGITS, {"sizes": SIZES}), (DIGITS, {"seeds": 2}), (DIGITS, {"classical": False}),
        (override(DIGITS, {"train.epochs": 2}), {}), (DIGITS, {"over": "width"}),
    ]  # fmt: skip
    for recipe, asked in 2 * questions:
        netwright.curves(recipe, folder=tmp_path, **asked)
    netwright.curves(DIGITS, folder=tmp_path, sizes=SIZES[::-1], seconds=60.0)  # how long it may take is no question
    assert len(set(drawn)) == len(questions)
    assert drawn == [*drawn[:6], *drawn[:6], drawn[1]]
