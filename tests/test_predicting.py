"""A run applied to new examples: one answer, however they are handed over."""

import io
import json
import wave
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import netwright
from netwright import workbench
from netwright.errors import DataError, NetworkError, UsageError
from netwright.predicting import Prediction, Predictor, predict
from netwright.preprocess import apply
from netwright.recipe import Recipe, override
from netwright.reporting.progress import Progress
from netwright.workbench import Run


def trained(folder: Path, source: str, **settings: Any) -> Run:
    """A small run; settings with ``__`` for the dot."""
    small = {"train.epochs": 2, "network.name": "mlp", "network.width": 8, "train.threads": 1, "data.source": source}
    small["watch.confirm"] = 0
    recipe = override(Recipe(), small | {key.replace("__", "."): value for key, value in settings.items()})
    return workbench.train(recipe, folder=folder, shown=Progress(quiet=True))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def digits(folder: Path) -> Run:
    return trained(folder, "digits", data__limit=150)


@pytest.fixture(scope="module")
def pictures() -> Any:
    """(40, 8, 8) ``uint8``"""
    from sklearn.datasets import load_digits

    return (load_digits().images[:40] * 255 / 16).astype(np.uint8)


def table_text(rows: int, seed: int = 0, target: bool = True) -> str:
    """Two numbers and a category; the target is near 1000, with a deviation of some hundreds."""
    random = np.random.default_rng(seed)
    lines = ["area,colour,age" + (",price" if target else "")]
    for _ in range(rows):
        area, age = random.uniform(10, 90), random.integers(0, 50)
        colour = random.choice(["red", "green", "blue"])
        price = 1000 + 10 * area - 5 * age + (100 if colour == "red" else 0)
        lines.append(f"{area:.3f},{colour},{age}" + (f",{price:.2f}" if target else ""))
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def prices(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    path = tmp_path_factory.mktemp("table") / "houses.csv"
    path.write_text(table_text(300))
    return trained(folder, str(path), train__epochs=15, train__lr=0.02, train__batch_size=16)


def same(one: list[Prediction], other: list[Prediction]) -> None:
    """Equal but for their names and the last bits (another batch size sums in another order)."""
    assert len(one) == len(other)
    for first, second in zip(one, other, strict=True):
        assert first.label == second.label
        for field in ("probabilities", "values"):
            left, right = getattr(first, field), getattr(second, field)
            assert (left is None) == (right is None)
            if left is not None:
                assert left == pytest.approx(right, abs=1e-5, rel=1e-5)


# ------------------------------------------------------------------------------------------------ what is said


def test_a_prediction_is_what_the_network_says_of_the_prepared_example(digits: Run, pictures: Any) -> None:
    """Derived on another way: the NumPy twin, the network by hand, a softmax by hand."""
    prepared = apply(digits.inputs.inputs[0], pictures[:, None])
    with torch.no_grad():
        outputs = digits.network(torch.from_numpy(np.asarray(prepared, np.float32))).numpy().astype(np.float64)
    expected = np.exp(outputs - outputs.max(1, keepdims=True))
    expected /= expected.sum(1, keepdims=True)
    for row, said in zip(expected, predict(digits, pictures), strict=True):
        assert said.label == digits.inputs.classes[int(row.argmax())]
        assert said.probability == pytest.approx(row.max(), abs=1e-5)
        assert said.probabilities == pytest.approx(dict(zip(digits.inputs.classes, row, strict=True)), abs=1e-5)
        assert list(said.probabilities.values()) == sorted(said.probabilities.values(), reverse=True)


def test_top_classes(digits: Run, pictures: Any) -> None:
    full, short = predict(digits, pictures), predict(digits, pictures, top=3)
    for one, other in zip(full, short, strict=True):
        assert list(one.probabilities.items())[:3] == list(other.probabilities.items())
    assert len(predict(digits, pictures, top=99)[0].probabilities) == 10


def test_records_say_only_what_belongs_to_the_task(digits: Run, prices: Run, pictures: Any) -> None:
    assert set(predict(digits, pictures[:1])[0].to_dict()) == {"name", "label", "probability", "probabilities"}
    assert set(predict(prices, io.StringIO(table_text(1)))[0].to_dict()) == {"name", "values"}
    said = predict(digits, pictures[:1])[0]
    assert Prediction.from_json(said.to_json()) == said


@pytest.mark.parametrize("size", [1, 7, 39, 40, 1000])
def test_the_size_of_a_batch_changes_nothing(digits: Run, pictures: Any, size: int) -> None:
    same(predict(digits, pictures, batch_size=size), predict(digits, pictures))


def test_the_network_and_the_random_state_stay_as_they_were(digits: Run, pictures: Any) -> None:
    network = digits.network
    modes = {}
    for number, module in enumerate(network.modules()):
        module.training = bool(number % 2)
        modes[module] = module.training
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    state = torch.get_rng_state()
    predict(digits, pictures)
    assert {module: module.training for module in network.modules()} == modes
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert all(parameter.grad is None for parameter in network.parameters())
    network.eval()


def test_a_run_that_was_just_trained_and_one_that_was_loaded_agree(digits: Run, pictures: Any) -> None:
    same(predict(workbench.load(digits.directory), pictures), predict(digits, pictures))
    same(digits.predict(pictures[:3]), predict(digits, pictures[:3]))
    same(netwright.predict(digits, pictures[:3]), predict(digits, pictures[:3]))


# ------------------------------------------------------------------------------------------------ pictures


def test_pictures_in_every_form(digits: Run, pictures: Any, tmp_path: Path) -> None:
    expected = predict(digits, pictures)
    assert [said.name for said in expected[:2]] == ["#0", "#1"]
    same(predict(digits, pictures[:, None]), expected)
    same(predict(digits, pictures[..., None]), expected)
    same(predict(digits, np.repeat(pictures[..., None], 3, axis=3)), expected)
    same(predict(digits, torch.from_numpy(pictures)), expected)
    same(predict(digits, pictures[5]), expected[5:6])
    same(predict(digits, Image.fromarray(pictures[5])), expected[5:6])
    np.save(tmp_path / "many.npy", pictures)
    same(predict(digits, tmp_path / "many.npy"), expected)
    same(predict(digits, str(tmp_path / "many.npy"), batch_size=9), expected)
    assert predict(digits, tmp_path / "many.npy")[3].name == f"{tmp_path / 'many.npy'}: #3"
    paths = []
    for number, picture in enumerate(pictures):
        paths.append(tmp_path / f"{number:02}.png")
        Image.fromarray(picture).save(paths[-1])
    from_files = predict(digits, paths)
    same(from_files, expected)
    assert [said.name for said in from_files] == [str(path) for path in paths]
    same(predict(digits, paths[7].read_bytes()), expected[7:8])
    with paths[7].open("rb") as file:
        same(predict(digits, file), expected[7:8])
    for path in (tmp_path / "many.npy", *paths[20:]):
        path.unlink()
    same(predict(digits, tmp_path), expected[:20])
    same(predict(digits, [tmp_path, paths[3]]), [*expected[:20], expected[3]])


def test_a_folder_is_searched_for_what_the_run_can_read(digits: Run, pictures: Any, tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    Image.fromarray(pictures[0]).save(tmp_path / "deep" / "a.png")
    Image.fromarray(pictures[1]).save(tmp_path / "b.PNG")
    (tmp_path / "notes.txt").write_text("text")
    (tmp_path / ".thumbs.png").write_text("hidden")
    predictor = Predictor(digits)
    assert [said.name for said in predictor(tmp_path)] == [str(tmp_path / "b.PNG"), str(tmp_path / "deep" / "a.png")]
    assert predictor.skipped == [f"{tmp_path}: 1 file of other kinds"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"files ending in .*\.png"):
        predict(digits, tmp_path / "empty")


def test_a_broken_file_among_good_ones(digits: Run, pictures: Any, tmp_path: Path) -> None:
    for number in range(3):
        Image.fromarray(pictures[number]).save(tmp_path / f"{number}.png")
    content = (tmp_path / "1.png").read_bytes()
    (tmp_path / "1.png").write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError) as caught:
        predict(digits, tmp_path)
    assert caught.value.where == str(tmp_path / "1.png")
    assert "skip_broken" in caught.value.suggestion
    predictor = Predictor(digits, skip_broken=True)
    said = list(predictor(tmp_path))
    assert [Path(each.name).name for each in said] == ["0.png", "2.png"]
    assert len(predictor.skipped) == 1
    assert predictor.skipped[0].startswith(str(tmp_path / "1.png"))
    with pytest.raises(DataError, match="no such file"):  # a name that was mistyped is no broken file
        predict(digits, [tmp_path / "0.png", tmp_path / "absent.png"], skip_broken=True)


@pytest.mark.parametrize(
    "inputs",
    [
        np.zeros((3, 8, 8), np.float32), np.zeros((0, 8, 8), np.uint8), np.zeros((2, 5, 8, 8), np.uint8), "absent.png",
        [], object(), "", [""], b"", 3, None, {"x": np.zeros((1, 8, 8), np.uint8)}, io.StringIO("text"),
        np.array(["a"]),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_what_is_no_picture_is_refused(digits: Run, inputs: Any) -> None:
    with pytest.raises(UsageError):
        predict(digits, inputs)


@pytest.mark.parametrize("wrong", [{"batch_size": 0}, {"top": 0}, {"top": -1}])
def test_wrong_options(digits: Run, pictures: Any, wrong: dict[str, int]) -> None:
    with pytest.raises(UsageError):
        predict(digits, pictures, **wrong)


# ------------------------------------------------------------------------------------------------ tables, labels


def test_values_come_in_their_own_unit(prices: Run) -> None:
    text = table_text(50, seed=1)
    said = predict(prices, io.StringIO(text))
    true = [float(line.rpartition(",")[2]) for line in text.splitlines()[1:]]
    assert [list(each.values) for each in said] == [["price"]] * 50
    guessed = [each.values["price"] for each in said]
    assert 1000 < np.mean(guessed) < 1800
    assert np.corrcoef(true, guessed)[0, 1] > 0.8


def test_tables_in_every_form(prices: Run, tmp_path: Path) -> None:
    text = table_text(20, seed=2)
    expected = predict(prices, io.StringIO(text))
    assert [said.name for said in expected[:2]] == ["line 2", "line 3"]
    path = tmp_path / "new.csv"
    path.write_text(text)
    same(predict(prices, path), expected)
    assert predict(prices, path)[0].name == "line 2"
    same(predict(prices, text.encode()), expected)
    same(predict(prices, io.BytesIO(text.encode())), expected)
    same(predict(prices, io.StringIO(table_text(20, seed=2, target=False))), expected)
    rows = [line.split(",") for line in text.splitlines()]
    moved = "\n".join(",".join([row[2], "x", row[1], row[0]]) for row in rows).replace("x", "other", 1)
    same(predict(prices, io.StringIO(moved)), expected)
    twice = predict(prices, [path, path])
    same(twice, expected * 2)
    assert twice[0].name == f"{path}: line 2"
    cells = Predictor(prices)._file.inputs[0]
    assert len(cells.columns) == 3
    pandas = pytest.importorskip("pandas")
    same(predict(prices, pandas.read_csv(path)), expected)
    same(predict(prices, pandas.read_csv(path)[["age", "area", "colour"]]), expected)


def test_a_category_that_was_never_seen_counts_as_none_and_is_told_with_its_rows(prices: Run, tmp_path: Path) -> None:
    cells = [line.split(",") for line in table_text(6, seed=3).splitlines()]
    known = "\n".join(map(",".join, cells))
    for row in (2, 5):
        cells[row][1] = "ultraviolet"
    (tmp_path / "rows.csv").write_text("\n".join(map(",".join, cells)))
    predictor = Predictor(prices)
    assert all(np.isfinite(said.values["price"]) for said in predictor(tmp_path / "rows.csv"))
    assert [note.partition(",")[0] for note in predictor.notes] == [
        "column 'colour': 2 rows with a category that training has not (the first: line 3)"
    ]
    list(predictor(io.StringIO(known)))
    assert (len(predictor.notes), predictor.skipped) == (1, [])


@pytest.mark.parametrize(
    "text", ["area,colour\n50,red\n", "area,colour,age\n50,red,\n", "area,colour,age\nx,red,3\n", ""]
)
def test_a_table_that_lacks_something(prices: Run, text: str) -> None:
    with pytest.raises(UsageError):
        predict(prices, io.StringIO(text))


def test_several_labels(folder: Path, pictures: Any) -> None:
    run = trained(folder, "digits", data__limit=150, data__task="multi-label", train__epochs=4)
    for said in predict(run, pictures):
        assert set(said.to_dict()) == {"name", "labels", "probabilities"}
        assert set(said.labels) == {name for name, share in said.probabilities.items() if share > 0.5}
        assert all(0 <= share <= 1 for share in said.probabilities.values())


# ------------------------------------------------------------------------------------------------ sounds and arrays


def write_sound(path: Path, hertz: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    time = np.arange(800) / 4000
    samples = (8000 * np.sin(2 * np.pi * hertz * time + random.uniform(0, 6)) + 300 * random.normal(size=800)).astype(
        "<i2"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 4000, 0, "NONE", ""))
        file.writeframes(samples.tobytes())


def test_sounds(folder: Path, tmp_path: Path) -> None:
    for number in range(30):
        write_sound(
            tmp_path / "sounds" / ("low" if number % 2 else "high") / f"{number}.wav",
            200 + 600 * (number % 2 == 0),
            number,
        )
    run = trained(folder, str(tmp_path / "sounds"), train__batch_size=8)
    write_sound(tmp_path / "new" / "a.wav", 210, 99)
    write_sound(tmp_path / "new" / "b.wav", 790, 98)
    said = predict(run, tmp_path / "new")
    assert [Path(each.name).name for each in said] == ["a.wav", "b.wav"]
    assert {each.label for each in said} <= {"low", "high"}
    same(predict(run, (tmp_path / "new" / "a.wav").read_bytes()), said[:1])
    from netwright.data.sounds import decode

    raw = decode(tmp_path / "new" / "a.wav", run.inputs.inputs[0])
    same(predict(run, raw), said[:1])
    same(predict(run, raw[None]), said[:1])
    (tmp_path / "new" / "b.wav").write_bytes(b"RIFF\x00\x00")
    with pytest.raises(DataError, match=r"b\.wav"):
        predict(run, tmp_path / "new")


def test_arrays(folder: Path, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    x = random.normal(5, 3, (200, 4)).astype(np.float32)
    np.savez(tmp_path / "data.npz", x=x, y=(x.sum(1) > 20).astype(np.int64))
    run = trained(folder, str(tmp_path / "data.npz"))
    expected = predict(run, x)
    np.save(tmp_path / "x.npy", x)
    same(predict(run, tmp_path / "x.npy"), expected)
    same(predict(run, tmp_path / "x.npy", batch_size=64), expected)
    same(predict(run, tmp_path / "data.npz"), expected)
    same(predict(run, (tmp_path / "x.npy").read_bytes()), expected)
    same(predict(run, x.astype(np.float64)), expected)
    same(predict(run, x[3]), expected[3:4])
    same(predict(run, x.tolist()), expected)
    for wrong in (np.full((2, 4), np.nan, np.float32), np.zeros((2, 5), np.float32), np.zeros((2, 4), complex)):
        with pytest.raises(DataError):
            predict(run, wrong)
    (tmp_path / "x.npy").write_bytes((tmp_path / "x.npy").read_bytes()[:100])
    with pytest.raises(DataError, match=r"x\.npy"):
        predict(run, tmp_path / "x.npy")
    (tmp_path / "x.csv").write_text("1,2,3,4\n")
    with pytest.raises(DataError, match="npz"):
        predict(run, tmp_path / "x.csv")


@pytest.fixture(scope="module")
def others(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Run]:
    """A run on sounds and one on arrays."""
    place = tmp_path_factory.mktemp("others")
    for number in range(20):
        (place / "wav" / "ab"[number % 2]).mkdir(parents=True, exist_ok=True)
        write_sound(place / "wav" / "ab"[number % 2] / f"{number}.wav", 300 + 400 * (number % 2), number)
    random = np.random.default_rng(0)
    np.savez(place / "arrays.npz", x=random.normal(size=(40, 5)).astype(np.float32), y=np.arange(40) % 2)
    return trained(folder, str(place / "wav")), trained(folder, str(place / "arrays.npz"))


@pytest.mark.parametrize("taken", ["picture", "table", "sound", "array"])
@pytest.mark.parametrize(
    "given", ["picture", "table", "parquet", "sound", "text", "page", "archive", "nothing", "array"]
)
def test_a_file_of_another_kind_is_named(
    taken: str, given: str, digits: Run, prices: Run, others: tuple[Run, Run], pictures: Any, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """By what is in it: the name tells nothing, and standard input has none."""
    run = {"picture": digits, "table": prices, "sound": others[0], "array": others[1]}[taken]
    takes = {"picture": "a picture", "table": "a table", "sound": "a WAV file", "array": "an array (.npy or .npz)"}
    file = tmp_path / "file.bin"
    match given:
        case "picture":
            Image.fromarray(pictures[0]).save(file, "PNG")
        case "table":
            file.write_text(table_text(3))
        case "parquet":
            pytest.importorskip("pyarrow")
            pandas = pytest.importorskip("pandas")
            pandas.read_csv(io.StringIO(table_text(3, target=False))).to_parquet(file)
        case "sound":
            write_sound(file, 300, 0)
        case "text" | "page":
            file.write_text("some words" if given == "text" else "<html><body>404</body></html>")
        case "archive":
            with zipfile.ZipFile(file, "w") as archive:
                archive.writestr("a.png", "")
        case "nothing":
            file.touch()
        case "array":
            with file.open("wb") as sink:
                np.save(sink, np.zeros((2, 3), np.float32))
    names = {
        "picture": "a PNG picture", "table": "a table", "parquet": "a Parquet table", "sound": "a WAV file",
        "text": "text", "page": "a web page", "archive": "a zip archive", "nothing": "an empty file",
        "array": "a NumPy array",
    }  # fmt: skip
    if (given, taken) == ("array", "array"):
        with pytest.raises(DataError, match="shape"):  # read, although its name does not end in .npy
            predict(run, file)
        return
    if (given == taken and given in ("picture", "table", "sound")) or (given, taken) == ("parquet", "table"):
        same(predict(run, file), predict(run, file.read_bytes()))
        return
    if (given, taken) == ("text", "table"):  # a table of one column, which lacks the others
        with pytest.raises(DataError, match=r"area|colour|column"):
            predict(run, file)
        return
    with pytest.raises(DataError) as caught:
        predict(run, file)
    problem = caught.value
    assert (problem.where, problem.got) == (str(file), names[given])
    assert problem.expected == f"{takes[taken]}, as this run takes"
    assert problem.suggestion
    if given not in ("nothing", "array"):
        with pytest.raises(DataError) as caught:
            predict(run, file.read_bytes())
        assert (caught.value.got, caught.value.expected) == (names[given], problem.expected)
    with pytest.raises(DataError, match=r"a folder without an? .*s, as this run takes"):
        predict(run, tmp_path)


def test_the_nearest_name_of_a_file(digits: Run, pictures: Any, tmp_path: Path) -> None:
    Image.fromarray(pictures[0]).save(tmp_path / "portrait.png")
    for wrong, near in (("portriat.png", str(tmp_path / "portrait.png")), ("quite-other.png", f"ls {tmp_path}")):
        with pytest.raises(DataError) as caught:
            predict(digits, tmp_path / wrong)
        assert caught.value.expected == "pictures, or a folder of them"
        assert caught.value.suggestion == near


def test_a_pickle_in_an_array_is_not_run(folder: Path, digits: Run, tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "sprung",))

    np.save(tmp_path / "trap.npy", np.array([Trap()], dtype=object), allow_pickle=True)
    with pytest.raises(DataError):
        predict(digits, tmp_path / "trap.npy")
    with pytest.raises(DataError):
        predict(digits, (tmp_path / "trap.npy").read_bytes())
    assert not (tmp_path / "sprung").exists()


# ------------------------------------------------------------------------------------------------ networks from Python


class Two(torch.nn.Module):
    """Two inputs, by keyword."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = torch.nn.Linear(3, 2), torch.nn.Linear(5, 2)

    def forward(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        return self.one(left) + self.other(right)


def test_several_inputs(folder: Path) -> None:
    random = np.random.default_rng(0)
    left, right = random.normal(size=(80, 3)).astype(np.float32), random.normal(size=(80, 5)).astype(np.float32)
    labels = (left.sum(1) + right.sum(1) > 0).astype(np.int64)
    run = netwright.fit(
        Two(), ({"left": left, "right": right}, labels), loss="cross-entropy", epochs=1, folder=folder, quiet=True
    )
    said = predict(run, {"right": right, "left": left, "ignored": 3})
    assert len(said) == 80
    same(predict(run, (left, right)), said)
    for wrong in (left, (left,), (left, right[:5]), {"left": left}, "file.npy"):
        with pytest.raises(UsageError):
            predict(run, wrong)


def test_a_loss_of_ones_own(folder: Path) -> None:
    """Only that loss knows what the outputs mean: there is a label, but no probability."""
    random = np.random.default_rng(0)
    x, y = random.normal(size=(60, 4)).astype(np.float32), random.integers(0, 3, 60)
    network = torch.nn.Linear(4, 3)
    run = netwright.fit(network, (x, y), loss=torch.nn.functional.cross_entropy, epochs=1, folder=folder, quiet=True)
    said = predict(run, x[:5])
    assert [set(each.to_dict()) for each in said] == [{"name", "label"}] * 5


def test_a_network_of_ones_own_whose_source_changed(folder: Path, tmp_path: Path, pictures: Any) -> None:
    source = tmp_path / "own.py"
    source.write_text(
        "import torch\n\nclass Own(torch.nn.Sequential):\n    def __init__(self):\n"
        "        super().__init__(torch.nn.Flatten(), torch.nn.Linear(64, 10))\n"
    )
    run = trained(folder, "digits", network__name=f"{source}:Own", data__limit=100, network__width="auto")
    expected = predict(workbench.load(run.directory), pictures)
    source.write_text(source.read_text() + "\n# changed\n")
    with pytest.raises(NetworkError, match="changed"):
        predict(workbench.load(run.directory), pictures)
    same(predict(workbench.load(run.directory, trust=True), pictures), expected)


# ------------------------------------------------------------------------------------------------ command line


@pytest.fixture
def says(capfd: pytest.CaptureFixture[str]) -> Any:
    from netwright.cli.main import main

    def run(*words: object) -> tuple[int, str, str]:
        capfd.readouterr()
        code = main(["predict", *map(str, words)])
        return (code, *capfd.readouterr())

    return run


def feed(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    class Stdin:
        buffer = io.BytesIO(content)

    monkeypatch.setattr("sys.stdin", Stdin())


def test_the_three_forms_of_output(says: Any, digits: Run, pictures: Any, tmp_path: Path) -> None:
    paths = [tmp_path / "a, b.png", tmp_path / "c.png"]
    for path, picture in zip(paths, pictures, strict=False):
        Image.fromarray(picture).save(path)
    expected = predict(digits, paths)
    code, out, _ = says(digits.directory, *paths)
    assert code == 0
    assert [line.split()[-3] for line in out.splitlines()[1:]] == [said.label for said in expected]
    code, out, _ = says(digits.directory, *paths, "--csv")
    assert code == 0
    assert out.splitlines()[0] == "file,label,probability"
    assert out.splitlines()[1] == f'"{paths[0]}",{expected[0].label},{expected[0].probability:.6f}'
    code, out, _ = says(digits.directory, paths[0], "--csv", "--top", "2", paths[1])  # options may stand anywhere
    assert len(out.splitlines()) == 3
    assert out.splitlines()[0] == "file,label,probability,label_2,probability_2"
    code, out, err = says(digits.directory, *paths, "--json", "--top", "2")
    assert (code, err) == (0, "")
    document = json.loads(out)
    assert [each["label"] for each in document["predictions"]] == [said.label for said in expected]
    assert [len(each["probabilities"]) for each in document["predictions"]] == [2, 2]
    assert document["skipped"] == []


def test_standard_input(says: Any, digits: Run, prices: Run, pictures: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    content = io.BytesIO()
    Image.fromarray(pictures[4]).save(content, "PNG")
    feed(monkeypatch, content.getvalue())
    code, out, _ = says(digits.directory, "-", "--json")
    said = json.loads(out)["predictions"]
    assert code == 0
    assert [each["name"] for each in said] == ["-"]
    assert said[0]["label"] == predict(digits, pictures[4])[0].label
    text = table_text(3, seed=4, target=False)
    feed(monkeypatch, text.encode())
    code, out, _ = says(prices.directory, "-", "--csv")
    assert code == 0
    lines = out.splitlines()
    assert lines[0] == "file,price"
    expected = predict(prices, io.StringIO(text))
    assert [float(line.split(",")[1]) for line in lines[1:]] == pytest.approx([e.values["price"] for e in expected])
    feed(monkeypatch, b"")
    code, out, _ = says(digits.directory, "-", "--json")
    assert code == 2
    assert json.loads(out)["error"]["got"] == "nothing"


def test_broken_files_on_the_command_line(says: Any, digits: Run, pictures: Any, tmp_path: Path) -> None:
    """The good ones are said and the exit code is 0, because leaving out was asked for; nothing left is a failure."""
    Image.fromarray(pictures[0]).save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes(b"no picture")
    code, out, err = says(digits.directory, tmp_path)
    assert (code, out) == (2, "")
    assert "bad.png" in err
    assert "--skip-broken" in err
    code, out, err = says(digits.directory, tmp_path, "--skip-broken", "--json")
    assert code == 0
    assert "bad.png" in json.loads(out)["skipped"][0]
    assert "left out" in err
    assert len(json.loads(out)["predictions"]) == 1
    code, out, err = says(digits.directory, tmp_path / "bad.png", "--skip-broken", "--csv")
    assert (code, out) == (1, "")
    assert "none of 1 could be read" in err


def test_texts_of_a_table_are_judged_alike_however_they_come(folder: Path, tmp_path: Path) -> None:
    """A file, a stream, a pandas table and each text by itself; a table without the texts is named."""
    pandas = pytest.importorskip("pandas")

    texts = [f"{('lovely', 'awful')[n % 2]} film,\nI said when it was over: number {n}" for n in range(60)]
    table = pandas.DataFrame({"review": texts, "mood": [("good", "bad")[n % 2] for n in range(60)]})
    table.to_csv(tmp_path / "reviews.csv", index=False)
    run = trained(folder, str(tmp_path / "reviews.csv"), network__name="gru", train__epochs=1)
    said = predict(run, tmp_path / "reviews.csv")
    assert [each.name for each in said[:2]] == ["line 3", "line 5"]  # where a row ends
    same(predict(run, (tmp_path / "reviews.csv").open("rb")), said)
    same(predict(run, table[["review"]]), said)
    same([predict(run, text.encode())[0] for text in texts[:3]], said[:3])
    with pytest.raises(DataError, match="review"):
        predict(run, table[["mood"]].assign(more=1))


def test_a_run_of_files_does_not_take_a_table_for_one_text(folder: Path, tmp_path: Path) -> None:
    for number in range(20):
        place = tmp_path / "set" / ("good", "bad")[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{number}.txt").write_text(f"a text of number {number}")
    run = trained(folder, str(tmp_path / "set"), network__name="gru", train__epochs=1)
    (tmp_path / "t.csv").write_text("review,mood\na text,good\n")
    with pytest.raises(DataError, match="a table"):
        predict(run, tmp_path / "t.csv")
