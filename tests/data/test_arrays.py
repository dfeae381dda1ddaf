"""NumPy files and arrays: roles by name, meaning by type and shape, and nothing is ever executed."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netwright.data import arrays
from netwright.data.arrays import raw_like, read, targets_from_array
from netwright.errors import DataError, NetwrightError
from netwright.preprocess import ArrayPreprocess, ImagePreprocess, apply, raw_shape
from netwright.recipe.schema import Data

RANDOM = np.random.default_rng(0)
PIXELS = RANDOM.integers(0, 256, (6, 5, 4), dtype=np.uint8)
LABELS = np.array([0, 1, 2, 0, 1, 2])


def saved(folder: Path, name: str = "set.npz", **arrays_by_key: np.ndarray) -> Path:
    np.savez(folder / name, **arrays_by_key)
    return folder / name


# ------------------------------------------------------------------------------------------------ where they are found


@pytest.mark.parametrize(
    ("x", "y"),
    [("x", "y"), ("X", "Y"), ("inputs", "targets"), ("images", "labels"), ("x_train", "y_train"),
     ("train_images", "train_labels"), ("data", "target"), ("xtrain", "ytrain")],
)  # fmt: skip
def test_keys_of_an_archive(tmp_path: Path, x: str, y: str) -> None:
    examples = read(Data(), saved(tmp_path, **{x: PIXELS, y: LABELS}))
    assert list(examples.parts) == ["train"]
    assert np.array_equal(examples.parts["train"].inputs[0][:, 0], PIXELS)
    assert np.array_equal(examples.parts["train"].targets, LABELS)


def test_parts_of_an_archive_share_shape_and_classes(tmp_path: Path) -> None:
    path = saved(
        tmp_path, x_train=PIXELS, y_train=LABELS + 10, x_val=PIXELS[:2], y_val=np.array([12, 10]),
        test_x=PIXELS[:1], test_y=np.array([11]), ids=np.arange(6),
    )  # fmt: skip
    examples = read(Data(), path)
    assert list(examples.parts) == ["train", "validation", "test"]
    assert examples.classes == ("10", "11", "12")
    assert examples.parts["validation"].targets.tolist() == [2, 0]
    assert examples.parts["test"].targets.tolist() == [1]
    assert "ids" in examples.skipped[0]


@pytest.mark.parametrize(
    ("x", "y"),
    [("x.npy", "y.npy"), ("X_train.npy", "y_train.npy"), ("digits.npy", "digits_labels.npy"),
     ("mnist-images.npy", "mnist-labels.npy"), ("set.npy", "y_set.npy")],
)  # fmt: skip
def test_the_partner_of_a_file(tmp_path: Path, x: str, y: str) -> None:
    np.save(tmp_path / x, PIXELS)
    np.save(tmp_path / y, LABELS)
    np.save(tmp_path / "unrelated.npy", LABELS)
    examples = read(Data(), tmp_path / x)
    assert isinstance(examples.parts["train"].inputs[0], np.memmap)
    assert np.array_equal(examples.parts["train"].inputs[0][:, 0], PIXELS)


def test_a_folder_of_files(tmp_path: Path) -> None:
    for name, array in {"X_train": PIXELS, "y_train": LABELS, "X_test": PIXELS[:2], "y_test": LABELS[:2]}.items():
        np.save(tmp_path / f"{name}.npy", array)
    assert {name: len(part) for name, part in read(Data(), tmp_path).parts.items()} == {"train": 6, "test": 2}


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"x": PIXELS}, "x without its targets"),
        ({"x": PIXELS, "images": PIXELS, "y": LABELS}, "both x and images"),
        ({"a": PIXELS, "b": LABELS}, "the names a, b"),
        ({"x_test": PIXELS, "y_test": LABELS}, "a training part"),
        ({"x": PIXELS, "y": LABELS[:5]}, "5 targets, expected 6"),
        ({"x": PIXELS[:0], "y": LABELS[:0]}, "empty"),
        ({"x": PIXELS.astype(complex), "y": LABELS}, "complex"),
    ],
)
def test_what_an_archive_lacks(tmp_path: Path, keys: dict[str, np.ndarray], words: str) -> None:
    with pytest.raises(DataError, match=words):
        read(Data(), saved(tmp_path, **keys))


def test_a_file_without_or_with_two_partners(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", PIXELS)
    with pytest.raises(DataError, match="no targets beside it"):
        read(Data(), tmp_path / "a.npy")
    np.save(tmp_path / "a_labels.npy", LABELS)
    np.save(tmp_path / "a_y.npy", LABELS)
    with pytest.raises(DataError, match=r"a_labels\.npy, a_y\.npy"):
        read(Data(), tmp_path / "a.npy")
    with pytest.raises(DataError, match="targets, by its name"):
        read(Data(), tmp_path / "a_labels.npy")


@pytest.mark.parametrize("dtype", [">f8", ">i4", "<f8", ">u2"])
def test_bytes_of_either_order_can_be_gathered(tmp_path: Path, dtype: str) -> None:
    values = np.arange(24).reshape(6, 4)
    np.save(tmp_path / "x.npy", values.astype(dtype))
    np.save(tmp_path / "y.npy", LABELS.astype(">i8"))
    part = read(Data(), tmp_path / "x.npy").parts["train"]
    assert part.inputs[0].dtype.isnative
    assert np.array_equal(part.inputs[0], values)
    assert np.array_equal(part.targets, LABELS)


class Bomb:
    def __reduce__(self) -> tuple[object, ...]:
        return pytest.fail, ("a pickle was executed",)


@pytest.mark.parametrize("name", ["x.npz", "x.npy"])
def test_pickled_objects_are_refused_and_not_run(tmp_path: Path, name: str) -> None:
    objects = np.array([Bomb()] * 6, dtype=object)
    if name == "x.npz":
        saved(tmp_path, name, x=objects, y=LABELS)
    else:
        np.save(tmp_path / name, objects, allow_pickle=True)
        np.save(tmp_path / "y.npy", LABELS)
    with pytest.raises(DataError, match="Python objects"):
        read(Data(), tmp_path / name)
    (tmp_path / name).write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(DataError):
        read(Data(), tmp_path / name)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_a_damaged_file_is_an_error_with_its_name(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    path = saved(folder, x=PIXELS, y=LABELS)
    content = bytearray(path.read_bytes())
    keep = data.draw(st.integers(0, len(content) - 1))
    flips = data.draw(st.lists(st.tuples(st.integers(0, len(content) - 1), st.integers(1, 255)), max_size=3))
    for place, mask in flips:
        content[place] ^= mask
    path.write_bytes(content[:keep])
    with pytest.raises(NetwrightError) as caught:
        read(Data(), path)
    assert "set.npz" in str(caught.value)
    np.save(folder / "x.npy", PIXELS)
    np.save(folder / "y.npy", LABELS)
    whole = (folder / "x.npy").read_bytes()
    (folder / "x.npy").write_bytes(whole[: keep % len(whole)])
    with pytest.raises(DataError, match=r"x\.npy"):
        read(Data(), folder / "x.npy")


def test_bad_values_are_counted_and_placed(tmp_path: Path) -> None:
    x = RANDOM.normal(size=(50, 3))
    x[7, 2], x[30, 0], x[31, 1] = np.nan, np.inf, 1e300
    with pytest.raises(DataError, match=r"3 values .* the first in example 7"):
        read(Data(), saved(tmp_path, x=x, y=np.arange(50) % 2))
    with pytest.raises(DataError, match=r"1 target .* the first in example 3"):
        read(Data(), saved(tmp_path, x=np.ones((5, 1)), y=np.array([1, 2, 3, np.nan, 5])))


def test_bad_values_are_placed_beyond_the_first_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "PIECE_BYTES", 64)
    x = np.zeros((1000, 3), np.float32)
    x[[777, 900]] = np.nan
    with pytest.raises(DataError, match=r"6 values .* the first in example 777"):
        arrays.check_finite(x, "x")


# ------------------------------------------------------------------------------------------------ inputs


@pytest.mark.parametrize(
    ("shape", "raw"),
    [((6, 8, 9), (1, 8, 9)), ((6, 8, 9, 3), (3, 8, 9)), ((6, 3, 8, 9), (3, 8, 9)), ((6, 1, 8, 9), (1, 8, 9)),
     ((6, 8, 9, 1), (1, 8, 9))],
)  # fmt: skip
def test_bytes_are_pictures(shape: tuple[int, ...], raw: tuple[int, ...]) -> None:
    x = RANDOM.integers(0, 256, shape, dtype=np.uint8)
    given = arrays.input_from_array(x, Data(), "x")
    assert isinstance(given.record, ImagePreprocess)
    assert given.raw.shape[1:] == raw == raw_shape(given.record)
    planes = x[:, None] if x.ndim == 3 else x if shape[1] in (1, 3) else x.transpose(0, 3, 1, 2)
    assert np.array_equal(given.raw, planes)
    assert given.raw.flags.c_contiguous
    assert np.allclose(apply(given.record, given.raw), planes / 255, atol=1e-6)


def test_channels_and_size_of_pictures_are_the_recipes(tmp_path: Path) -> None:
    x = RANDOM.integers(0, 256, (4, 10, 12, 3), dtype=np.uint8)
    examples = read(Data(channels="grey", size="5x6"), saved(tmp_path, x=x, y=np.arange(4) % 2))
    assert examples.parts["train"].inputs[0].shape == (4, 1, 5, 6)
    with pytest.raises(DataError, match=r"data\.size=5"):
        read(Data(size=5), saved(tmp_path, x=x.astype(float), y=np.arange(4) % 2))


@pytest.mark.parametrize(
    ("x", "shape", "scale", "dtype"),
    [
        (np.zeros((6, 7)), (7,), 1.0, "float32"),
        (np.zeros(6), (1,), 1.0, "float32"),
        (np.zeros((6, 2, 8, 9), ">f4"), (2, 8, 9), 1.0, "float32"),
        (np.zeros((6, 8, 9, 3)), (3, 8, 9), 1.0, "float32"),
        (np.zeros((6, 3, 8, 3)), (3, 8, 3), 1.0, "float32"),
        (np.zeros((6, 9), np.int32), (9,), 1.0, "int32"),
        (np.zeros((6, 9), np.int16), (9,), 1.0, "int64"),
        (np.zeros((6, 9), np.uint8), (9,), 1 / 255, "uint8"),
        (np.zeros((6, 9), bool), (9,), 1.0, "bool"),
    ],
)
def test_other_arrays(tmp_path: Path, x: np.ndarray, shape: tuple[int, ...], scale: float, dtype: str) -> None:
    examples = read(Data(), saved(tmp_path, x=x, y=LABELS))
    assert examples.kind == "array"
    assert examples.preprocess == (ArrayPreprocess(shape=shape, scale=scale, dtype=dtype),)
    assert apply(examples.preprocess[0], examples.parts["train"].inputs[0]).shape == (6, *shape)


def test_integers_that_are_not_normalised_are_tokens() -> None:
    x = np.arange(12, dtype=np.int32).reshape(3, 4)
    record = arrays.input_from_array(x, Data(normalize=False), "x").record
    assert apply(record, x).dtype == np.int32


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(["grey", "rgb", "float"]), st.booleans(), st.integers(4, 9), st.integers(4, 9))
def test_prediction_takes_what_training_took(kind: str, last: bool, height: int, width: int) -> None:
    """Law: the raw form of an array is a fixed point, and one example is a batch of one."""
    shape = {"grey": (1, height, width), "rgb": (3, height, width), "float": (3, height, width)}[kind]
    x = np.random.default_rng(height * width).integers(0, 256, (2, *shape), dtype=np.uint8)
    x = np.moveaxis(x, 1, 3) if last else x
    x = x.astype(np.float32) if kind == "float" else x
    given = arrays.input_from_array(x, Data(), "x")
    assert np.array_equal(raw_like(x, given.record, "x"), given.raw)
    assert np.array_equal(raw_like(given.raw, given.record, "x"), given.raw)
    assert np.array_equal(raw_like(given.raw[0], given.record, "x"), given.raw[:1])


def test_prediction_refuses_another_shape_or_type() -> None:
    record = ArrayPreprocess(shape=(4,), dtype="float32")
    with pytest.raises(DataError, match=r"\(2, 5\)"):
        raw_like(np.zeros((2, 5)), record, "x")
    with pytest.raises(DataError, match="float64"):
        raw_like(np.zeros((2, 4)), ArrayPreprocess(shape=(4,), dtype="int64", scale=None), "x")
    with pytest.raises(DataError, match="uint8 pixels"):
        raw_like(np.zeros((2, 8, 8)), ImagePreprocess(channels=("grey",), size=(8, 8)), "x")


def test_another_file_must_be_like_training(tmp_path: Path) -> None:
    examples = read(Data(), saved(tmp_path, x=np.ones((6, 4)), y=np.array(list("abcabc"))))
    other = read(Data(), saved(tmp_path, "o.npz", x_test=np.ones((2, 4)), y_test=np.array(["c", "a"])), examples)
    assert other.parts["train"].targets.tolist() == [2, 0]
    both = saved(tmp_path, "p.npz", **{f"{key}_{part}": array for part in ("val", "test") for key, array in
                                        (("x", np.ones((2, 4))), ("y", np.array(["c", "a"])))})  # fmt: skip
    assert list(read(Data(), both, examples).parts) == ["validation", "test"]
    with pytest.raises(DataError, match=r"expected .*4"):
        read(Data(), saved(tmp_path, "o.npz", x=np.ones((2, 5)), y=np.array(["c", "a"])), examples)
    with pytest.raises(DataError, match=r"'d' \(1 example\)"):
        read(Data(), saved(tmp_path, "o.npz", x=np.ones((2, 4)), y=np.array(["d", "a"])), examples)


# ------------------------------------------------------------------------------------------------ targets


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(-(2**40), 2**40), min_size=1, max_size=60))
def test_integer_labels_map_to_their_names(labels: list[int]) -> None:
    """Law: the class named by an index is the label, whatever gaps and signs the labels have."""
    targets = targets_from_array(np.array(labels), "classification", "y")
    assert [int(targets.classes[place]) for place in targets.values] == labels
    assert sorted(set(targets.values.tolist())) == list(range(len(targets.classes)))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 6), min_size=1, max_size=40), st.sampled_from([np.int64, np.float32, bool, np.uint8]))
def test_one_hot_rows_are_their_labels(labels: list[int], dtype: type) -> None:
    rows = np.eye(7, dtype=dtype)[labels]
    targets = targets_from_array(rows, "auto", "y")
    assert targets.task == "classification"
    assert targets.values.tolist() == labels
    assert len(targets.classes) == 7


def test_rows_that_sum_to_one_stay_soft() -> None:
    rows = RANDOM.dirichlet(np.ones(4), 10)
    targets = targets_from_array(rows, "auto", "y")
    assert targets.task == "classification"
    assert targets.values.dtype == np.float32
    assert np.allclose(targets.values, rows)
    assert targets_from_array(rows.astype(np.float16), "auto", "y").task == "classification"


@pytest.mark.parametrize(
    ("y", "task", "shape", "outputs"),
    [
        (np.array([[1, 0, 1], [0, 0, 0]]), "multi-label", (2, 3), 3),
        (np.array([0.0, 1.0, 1.0]), "multi-label", (3, 1), 1),
        (np.array([[0.0], [1.0]]), "multi-label", (2, 1), 1),
        (np.array([1.0, 1.0]), "regression", (2, 1), 1),
        (np.array([0.5, 2.0]), "regression", (2, 1), 1),
        (np.array([[0.5, 2.0]]), "regression", (1, 2), 2),
        (np.array([[3], [5]]), "classification", (2,), 2),
        (np.array([True, False]), "classification", (2,), 2),
        (np.array([b"x", b"y"]), "classification", (2,), 2),
    ],
)
def test_what_targets_mean(y: np.ndarray, task: str, shape: tuple[int, ...], outputs: int) -> None:
    targets = targets_from_array(y, "auto", "y")
    assert targets.task == task
    assert targets.values.shape == shape
    assert len(targets.names if task == "regression" else targets.classes) == outputs


def test_the_recipe_overrules() -> None:
    assert targets_from_array(np.array([1, 2, 3]), "regression", "y").values.tolist() == [[1], [2], [3]]
    assert targets_from_array(np.array([1.0, 2.0]), "classification", "y").classes == ("1", "2")
    assert targets_from_array(np.eye(2), "multi-label", "y").task == "multi-label"


@pytest.mark.parametrize(
    ("y", "task", "words"),
    [
        (np.array([0.5, 1.0]), "classification", "whole numbers"),
        (np.array(["a", "b"]), "regression", "texts such as 'a'"),
        (np.array([0, 2]), "multi-label", "0 or 1"),
        (np.array([[2, 3], [4, 5]]), "auto", "data.task=regression"),
        (np.arange(500), "auto", "500 distinct integers"),
        (np.zeros((2, 2, 2)), "auto", "shape"),
        (np.array([[0.2, 0.2], [0.5, 0.5]]), "classification", "neither one-hot"),
    ],
)
def test_targets_that_are_refused(y: np.ndarray, task: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        targets_from_array(y, task, "y")  # type: ignore[arg-type]


def test_integers_may_keep_their_value() -> None:
    kept = targets_from_array(np.array([1, 3]), "auto", "y", keep_integers=True)
    assert kept.values.tolist() == [1, 3]
    assert kept.classes == ("0", "1", "2", "3")
    assert targets_from_array(np.array([-1, 1]), "auto", "y", keep_integers=True).classes == ("-1", "1")
    with pytest.raises(DataError, match="labels below"):
        targets_from_array(np.array([0, 10**9]), "auto", "y", keep_integers=True)
