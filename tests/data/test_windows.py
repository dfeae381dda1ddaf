"""Series: windows that see the past alone, parts in the order of time."""

from __future__ import annotations

import gzip
import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netwright.data import windows
from netwright.data.opening import open_source
from netwright.errors import DataError
from netwright.preprocess import WindowInput
from netwright.recipe.schema import Data
from reference import shared_folder

ETTH1 = shared_folder() / "data" / "timeseries" / "ETTh1.csv.gz"


def _table(path: Path, steps: int) -> Path:
    rows = [f"2020-01-01 {n % 24:02d}:00,{n},{1000 + 2 * n},word" for n in range(steps)]
    path.write_text("\n".join(["time,a,b,c", *rows]))
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("series")


@settings(max_examples=25, deadline=None)
@given(
    st.integers(60, 150), st.integers(1, 9), st.integers(1, 5), st.sampled_from(["a", "b", "a,b"]),
    st.sampled_from([0.0, 0.1, 0.2]), st.sampled_from([0.1, 0.3]),
)  # fmt: skip
def test_what_is_told_comes_after_what_is_seen(
    folder: Path, steps: int, window: int, horizon: int, target: str, validation: float, test: float
) -> None:
    """In column a every value is its step's number, in b it is 1000 + 2 times that."""
    data = Data(
        source=str(_table(folder / "t.csv", steps)), horizon=horizon, window=window, target=target,
        validation=validation, test=test,
    )  # fmt: skip
    try:
        examples = open_source(data)
    except DataError:
        assert min(part for part in (validation, test) if part) * steps < horizon + 1
        return
    told: dict[str, set[int]] = {}
    for name, part in examples.parts.items():
        rows = part.array_rows(np.arange(len(part)))
        seen, values = part.inputs[0][rows], part.part_targets().reshape(len(rows), -1, horizon)
        assert seen.shape[1:] == (2, window)
        assert (np.diff(seen[:, 0]) == 1).all()
        assert (seen[:, 1] == 1000 + 2 * seen[:, 0]).all()
        last = seen[:, 0, -1][:, None]
        steps_told = values[:, 0] + last if target != "b" else values[:, 0] / 2 + last
        assert (steps_told[:, 0] == seen[:, 0, -1] + 1).all()
        assert (np.diff(steps_told, axis=1) == 1).all()
        told[name] = set(steps_told.astype(int).ravel().tolist())
    names = [name for name in ("train", "validation", "test") if name in told]
    assert names == ["train", *(["validation"] if validation else []), "test"]
    for earlier, later in itertools.pairwise(names):
        assert max(told[earlier]) < min(told[later])
    assert max(told["test"]) == steps - 1


def test_the_naive_forecast_is_the_last_value_again(folder: Path) -> None:
    examples = open_source(Data(source=str(_table(folder / "n.csv", 100)), horizon=3, window=8, target="b"))
    errors = windows.naive(examples, "test")  # the series rises by 2 a step
    assert errors == {"naive_mae": pytest.approx(4.0), "naive_rmse": pytest.approx(((4 + 16 + 36) / 3) ** 0.5)}


def test_the_latest_window_is_the_end_of_the_file(folder: Path) -> None:
    record = WindowInput(columns=("b", "a"), targets=("a",), window=4, horizon=1)
    found = windows.latest(_table(folder / "l.csv", 30), record)
    assert found.tolist() == [[[1052.0, 1054.0, 1056.0, 1058.0], [26.0, 27.0, 28.0, 29.0]]]
    with pytest.raises(DataError, match="3 time steps"):
        windows.latest(_table(folder / "l.csv", 3), record)


def test_what_is_predicted_are_values_again(folder: Path) -> None:
    """A line that rises by 2 a step: the change that is learned is 2, the value that is told is the next one."""
    import netwright
    from netwright.recipe import Recipe, override

    path = _table(folder / "p.csv", 120)
    run = netwright.train(override(Recipe(), {
        "data.source": str(path), "data.horizon": 2, "data.window": 8, "data.target": "b", "network.name": "gru",
        "network.width": 8, "train.epochs": 2, "watch.enabled": False,
    }), folder=folder)  # fmt: skip
    (said,) = run.predict(path)
    assert said.values == {"b+1": pytest.approx(1240, abs=0.9), "b+2": pytest.approx(1242, abs=0.9)}


def test_an_unrolled_forecast_tells_all_targets_step_by_step(folder: Path) -> None:
    """Both columns rise steadily, so their steps are in order; the network knows how many it tells at once."""
    import netwright
    from netwright.errors import RecipeError
    from netwright.recipe import Recipe, override

    path = _table(folder / "u.csv", 120)
    asked = override(Recipe(), {
        "data.source": str(path), "data.horizon": 3, "data.window": 8, "data.target": "*", "network.name": "gru",
        "network.width": 8, "network.arguments.read": "unroll", "train.epochs": 2, "watch.enabled": False,
    })  # fmt: skip
    run = netwright.train(asked, folder=folder)
    assert isinstance(run.network.channels, int)
    assert (run.network.channels, run.network.steps) == (len(run.inputs.window.targets), 3)
    values = run.predict(path)[0].values
    assert list(values) == [f"{name}+{step}" for name in run.inputs.window.targets for step in (1, 2, 3)]
    assert values["b+1"] == pytest.approx(1240, abs=2)
    assert values["b+3"] == pytest.approx(1244, abs=2)
    with pytest.raises(RecipeError, match="one class"):
        netwright.train(
            override(asked, {"data.source": "digits", "data.target": "auto", "data.horizon": 0}), folder=folder
        )


def test_a_missing_step_stops_or_is_as_the_one_before(folder: Path) -> None:
    path = folder / "m.csv"
    path.write_text("\n".join(["a", *(str(n) if n != 20 else "" for n in range(80))]).replace("\n\n", "\nNA\n"))
    with pytest.raises(DataError, match="line 22"):
        open_source(Data(source=str(path), horizon=1, window=4))
    examples = open_source(Data(source=str(path), horizon=1, window=4, missing="mean"))
    assert examples.parts["train"].inputs[0][17, 0].tolist() == [17, 18, 19, 19]


@pytest.mark.parametrize(
    ("changes", "where"),
    [({"window": 90}, "time steps"), ({"target": "z"}, "data.target"), ({"test": 0.01, "horizon": 5}, "data.test"),
     ({"test": "other.csv"}, "data.test")],
)  # fmt: skip
def test_what_does_not_fit_stops(folder: Path, changes: dict[str, object], where: str) -> None:
    source = _table(folder / "w.csv", 100)
    (folder / "other.csv").write_text("a\n1\n")
    if "other.csv" in changes.values():
        changes = {"test": str(folder / "other.csv")}
    with pytest.raises(DataError) as caught:
        open_source(Data(source=str(source), **({"horizon": 1, "window": 4} | changes)))
    assert where in str(caught.value) or "file of its own" in str(caught.value)


@pytest.mark.skipif(not ETTH1.exists(), reason=f"no {ETTH1}")
def test_etth1_has_its_columns_and_takes_no_memory_for_windows() -> None:
    examples = open_source(Data(source=str(ETTH1), horizon=24, window=96))
    assert examples.window is not None
    assert examples.window.columns == ("HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL", "OT")
    assert examples.targets[:2] == ("OT+1 - OT", "OT+2 - OT")
    raw = examples.parts["train"].inputs[0]
    assert raw.base is not None
    assert raw.shape == (17420 - 96 - 24 + 1, 7, 96)
    with gzip.open(ETTH1, "rt") as file:
        lines = file.read().splitlines()
    oil = [np.float32(line.split(",")[7]) for line in lines[1:122]]
    assert raw[0, 6].tolist() == oil[:96]
    assert np.allclose(examples.parts["train"].part_targets()[0], np.array(oil[96:120]) - oil[95], atol=1e-5)
