"""``check --labels``: planted wrong labels are listed, what was judged is kept, and nothing is trained in secret."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score

from netwright import suspecting, workbench
from netwright.cli.main import main
from netwright.data.opening import open_source
from netwright.errors import NetwrightError, StoppedError, UsageError
from netwright.recipe import Recipe, from_dict, override
from netwright.records import LabelCheck
from netwright.training.recording import Interrupted

WRONG = 0.06
SETTINGS = {
    "network.name": "mlp", "network.width": 48, "network.depth": 1, "network.dropout": 0.0, "train.epochs": 12,
    "train.layout": "contiguous", "data.validation": 0, "data.test": 0.2, "watch.enabled": False,
}  # fmt: skip


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """900 digits, 6 % of their labels wrong; which ones."""
    folder = tmp_path_factory.mktemp("planted")
    x, y = (each[:900] for each in load_digits(return_X_y=True))
    draw = np.random.default_rng(11)
    wrong = draw.random(len(y)) < WRONG
    given = np.where(wrong, (y + draw.integers(1, 10, len(y))) % 10, y)
    np.savez(folder / "digits.npz", x=(x.reshape(-1, 1, 8, 8) * 15).astype(np.uint8), y=given)
    return folder, wrong


def recipe_for(folder: Path) -> Recipe:
    return from_dict({}, {**SETTINGS, "data.source": str(folder / "digits.npz")})


@pytest.fixture(scope="module")
def judged(planted: tuple[Path, np.ndarray]) -> tuple[LabelCheck, list[str]]:
    """The check, stopped in its second training and called again; and the names of the trainings that were begun."""
    folder, _ = planted
    begun: list[str] = []
    real = workbench.train

    def train(recipe: Recipe, **options: Any) -> Any:
        begun.append(recipe.name)
        if len(begun) == 2:
            raise Interrupted
        return real(recipe, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workbench, "train", train)
        with pytest.raises(StoppedError):
            suspecting.suspects(recipe_for(folder), folds=3, folder=folder)
        found = suspecting.suspects(recipe_for(folder), folds=3, folder=folder)
    return found, begun


def test_planted_labels_are_listed(planted: tuple[Path, np.ndarray], judged: tuple[LabelCheck, list[str]]) -> None:
    _, wrong = planted
    found, _ = judged
    listed = {int(each.name[1:]) for each in found.suspects}
    true = set(np.flatnonzero(wrong).tolist())
    assert found.judged == {"train": 720, "test": 180}  # the held-out part is judged too
    assert len(listed & true) / len(listed) > 0.8
    assert len(listed & true) / len(true) > 0.6
    assert found.noise[1] <= wrong.mean() <= found.noise[2]
    right = load_digits().target[:900]
    assert np.mean([str(right[int(each.name[1:])]) == each.suggested for each in found.suspects]) > 0.8


def test_what_was_judged_is_kept(planted: tuple[Path, np.ndarray], judged: tuple[LabelCheck, list[str]]) -> None:
    folder, _ = planted
    found, begun = judged
    assert begun == ["fold-0", "fold-1", "fold-1", "fold-2"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workbench, "train", lambda *_, **__: pytest.fail("trained again"))
        assert suspecting.suspects(recipe_for(folder), folds=3, folder=folder) == found
    place = Path(found.file).parent
    assert not list(place.rglob("run.sqlite"))  # the networks of the folds are gone, their answers stay
    kept = next(place.rglob("fold-1.npz"))
    kept.write_bytes(b"damaged")
    again = suspecting.suspects(recipe_for(folder), folds=3, folder=folder)  # that fold alone is trained, to the same
    assert again == found


def test_the_list_is_what_training_leaves_out(planted: tuple[Path, np.ndarray], judged: Any) -> None:
    folder, wrong = planted
    found, _ = judged
    with Path(found.file).open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["name"] for line in lines] == [each.name for each in found.suspects]
    whole = recipe_for(folder)
    less = override(whole, {"data.leave_out": found.file})
    before, after = (open_source(each.data).parts for each in (whole, less))
    out = sum(line["part"] == "train" for line in lines)
    assert len(before["train"]) - len(after["train"]) == out > 0
    assert (before["test"].rows == after["test"].rows).all()
    assert wrong[after["train"].rows].mean() < 0.5 * wrong[before["train"].rows].mean()
    page = Path(found.page).read_text(encoding="utf-8")
    assert page.count("data:image/png") == min(len(found.suspects), 120)
    assert all(each.name in page for each in found.suspects[:10])


def test_the_score_ranks_all_examples(planted: tuple[Path, np.ndarray], judged: Any) -> None:
    """Beyond the list: the area under the curve over every training example, from what the folds left."""
    folder, wrong = planted
    material = open_source(recipe_for(folder).data)
    labels = suspecting._given(material.parts["train"])
    own = np.zeros((len(labels), 10))
    fold = suspecting.confident.folds(labels, 3, 0)
    for number in range(3):
        own[fold == number] = np.load(next(Path(judged[0].file).parent.rglob(f"fold-{number}.npz")))["train"]
    score = suspecting.confident.learn(labels, own).score
    assert roc_auc_score(wrong[material.parts["train"].rows], score) > 0.93


def test_a_run_judges_what_it_held_out(
    planted: tuple[Path, np.ndarray], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    folder, wrong = planted
    run = workbench.train(recipe_for(folder), folder=tmp_path)
    monkeypatch.setattr(workbench, "train", lambda *_, **__: pytest.fail("trained"))
    name = run.directory.name
    assert main(["check", name, "--labels", "--quick", "--json", "--out", str(tmp_path)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["judged"] == {"test": 180}
    assert told["folds"] == 0
    listed = [int(each["name"][1:]) for each in told["suspects"]]
    assert wrong[listed].mean() > 0.8
    assert main(["check", name, "--labels", "--quick", "--csv", "--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out == Path(told["file"]).read_text(encoding="utf-8")
    assert main(["check", name, "--labels", "--quick", "--out", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "The training part was not judged" in " ".join(said.split())
    np.savez(folder / "other.npz", x=np.zeros((20, 1, 8, 8), np.uint8), y=np.arange(20) % 2)
    text = (run.directory / "recipe.yaml").read_text(encoding="utf-8").replace("digits.npz", "other.npz")
    (run.directory / "recipe.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(NetwrightError, match="other data"):  # labels of data that are no longer the run's
        suspecting.suspects(run.directory, quick=True)


@pytest.mark.parametrize(
    ("changes", "options", "got"),
    [
        ({"data.task": "regression"}, {}, "data of regression"),
        ({"objective.loss": "python"}, {}, "objective.loss from Python"),
        ({"data.format": "python"}, {}, "came from Python"),
        ({}, {"folds": 1}, "1"),
        ({}, {"quick": True}, "no run"),
        ({"data.limit": 12}, {"folds": 10}, "in 10 folds"),
    ],
)
def test_refusals(changes: dict[str, Any], options: dict[str, Any], got: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as error:
        suspecting.suspects(override(Recipe(), changes), folder=tmp_path, **options)
    assert got in error.value.got


@pytest.mark.parametrize(
    "words",
    [["--quick"], ["--labels", "--gradients"], ["--labels", "--csv", "--json"], ["--folds", "3"],
     ["--labels", "--quick", "--folds", "3"]],
)  # fmt: skip
def test_options_that_do_not_go_together(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "digits", *words]) == 2
    assert "try" in capsys.readouterr().err + capsys.readouterr().out or "--json" in words


def test_networks_that_know_too_little_blame_no_label(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two folds of one step each; a fold's file that was cut is made again."""
    words = [
        "check", "digits", "--labels", "--folds", "2", "--out", str(tmp_path), "--set", "data.limit=120",
        "--set", "network.name=mlp", "--set", "network.width=4", "--set", "train.epochs=1",
        "--set", "train.batch_size=60", "--set", "train.lr=1e-5", "--set", "watch.enabled=false",
    ]  # fmt: skip
    assert main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["agreement"] < 0.5
    assert not found["judges"]
    assert found["suspects"] == []
    (fold,) = tmp_path.glob("labels/*/folds-*/fold-0.npz")
    fold.write_bytes(fold.read_bytes()[:200])
    assert main(words) == 0
    told = capsys.readouterr().out
    assert "know too little" in told
    assert "to train without them" not in told
    assert np.load(fold)["train"].shape[0] == 60
