"""Data from Python: every form means the same examples."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from handed_things import PICTURES, Pairs, X, Y, examples
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader, Subset, TensorDataset, random_split

from netwright.data.handed import from_python
from netwright.errors import DataError
from netwright.preprocess import ArrayPreprocess, ImagePreprocess

FORMS: dict[str, Callable[[], Any]] = {
    "arrays": lambda: (X, Y),
    "a list": lambda: [X, Y],
    "tensors": lambda: (torch.from_numpy(X), torch.from_numpy(Y)),
    "lists": lambda: (X.tolist(), Y.tolist()),
    "rows": lambda: (list(X), list(Y)),
    "double precision": lambda: (X.astype(np.float64), Y.astype(np.int32)),
    "a tensor that needs a gradient": lambda: (torch.from_numpy(X).requires_grad_(), torch.from_numpy(Y)),
    "TensorDataset": lambda: TensorDataset(torch.from_numpy(X), torch.from_numpy(Y)),
    "a subset of all": lambda: Subset(TensorDataset(torch.from_numpy(X), torch.from_numpy(Y)), range(20)),
    "pairs": lambda: list(zip(torch.from_numpy(X), Y.tolist(), strict=True)),
    "one-hot": lambda: (X, np.eye(4)[Y]),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_means_the_same_examples(form: str) -> None:
    given = examples(FORMS[form]())
    part = given.parts["train"]
    assert (given.kind, given.task, given.classes) == ("array", "classification", ("0", "1", "2", "3"))
    assert given.preprocess == (ArrayPreprocess(shape=(3,)),)
    assert part.inputs[0].dtype == np.float32
    assert np.array_equal(part.inputs[0], X)
    assert part.part_targets().dtype == np.int64
    assert np.array_equal(part.part_targets(), Y)


def test_tensors_are_not_copied() -> None:
    x = torch.from_numpy(X.copy())
    assert np.shares_memory(examples((x, Y)).parts["train"].inputs[0], x.numpy())


def test_subsets_are_rows_of_their_tensors() -> None:
    whole = TensorDataset(torch.from_numpy(X), torch.from_numpy(Y))
    train, held = random_split(whole, [12, 8], torch.Generator().manual_seed(0))
    given = examples(Subset(train, [5, 0, 3]), held)
    wanted = [train.indices[i] for i in (5, 0, 3)]
    assert given.parts["train"].part_targets().tolist() == Y[wanted].tolist()
    assert given.parts["validation"].part_targets().tolist() == Y[held.indices].tolist()
    assert np.shares_memory(given.parts["train"].inputs[0], X)


@pytest.mark.parametrize("shape", [(20, 8, 8), (20, 1, 8, 8), (20, 8, 8, 3), (20, 3, 8, 8)])
def test_bytes_are_pictures(shape: tuple[int, ...]) -> None:
    given = examples((np.zeros(shape, np.uint8), Y))
    assert given.kind == "image"
    channels = ("rgb",) if 3 in shape else ("grey",)
    assert given.preprocess == (ImagePreprocess(channels=channels, size=(8, 8)),)


def test_large_pictures_keep_their_size() -> None:
    given = examples((np.zeros((4, 3, 100, 90), np.uint8), Y[:4]))
    assert given.parts["train"].inputs[0].shape == (4, 3, 100, 90)


@pytest.mark.parametrize(
    ("x", "dtype", "scale"),
    [
        (np.arange(60).reshape(20, 3), "int64", None),
        (np.arange(60, dtype=np.int32).reshape(20, 3), "int32", None),
        (np.arange(60, dtype=np.uint16).reshape(20, 3), "int64", None),
        (np.ones((20, 3), bool), "bool", None),
        (np.ones((20, 6, 6, 3)), "float32", 1.0),
        (np.ones(20), "float32", 1.0),
    ],
)
def test_other_inputs_stay_what_they_are(x: np.ndarray, dtype: str, scale: float | None) -> None:
    (record,) = examples((x, Y)).preprocess
    assert record == ArrayPreprocess(shape=x.shape[1:], dtype=dtype, scale=scale)


def test_several_inputs_by_place_and_by_name() -> None:
    for handed in (((X, PICTURES), Y), (X, PICTURES, Y), ([X, PICTURES], Y),
                   TensorDataset(torch.from_numpy(X), torch.from_numpy(PICTURES), torch.from_numpy(Y))):  # fmt: skip
        given = examples(handed)
        assert given.input_names == ()
        assert [array.shape for array in given.parts["train"].inputs] == [(20, 3), (20, 1, 8, 8)]
    for named in (({"a": X, "b": PICTURES}, Y), {"a": X, "label": Y, "b": PICTURES}):
        given = examples(named, named)
        assert given.input_names == ("a", "b")
        assert np.array_equal(given.parts["validation"].inputs[0], X)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 30), min_size=1, max_size=30), st.lists(st.integers(0, 30), min_size=1, max_size=30))
def test_output_i_is_label_i(train: list[int], validation: list[int]) -> None:
    """Law: labels keep their value in every part, and the classes reach the largest of all."""
    given = examples((np.zeros((len(train), 1)), train), (np.zeros((len(validation), 1)), validation))
    assert given.parts["train"].targets.tolist() == train
    assert given.parts["validation"].targets.tolist() == validation
    assert given.classes == tuple(map(str, range(max(train + validation) + 1)))


def test_other_labels_are_mapped_alike_in_every_part() -> None:
    given = examples((X, np.where(Y > 1, 1, -1)), (X[:2], np.array([1, -1])), (X[:1], [1]))
    assert given.classes == ("-1", "1")
    assert given.parts["validation"].targets.tolist() == [1, 0]
    assert given.parts["test"].targets.tolist() == [1]


def test_targets_as_given_keep_their_shape() -> None:
    one_hot = np.eye(4)[Y]
    given = examples((X, one_hot), targets_as_given=True)
    assert given.task == "classification"
    assert given.parts["train"].targets.dtype == np.float32
    assert np.array_equal(given.parts["train"].targets, one_hot)
    assert examples((X, Y * 0.3), targets_as_given=True).parts["train"].targets.shape == (20,)
    assert examples((PICTURES, PICTURES / 255), targets_as_given=True).parts["train"].targets.shape == (20, 8, 8)


def test_a_validation_dataset_beside_arrays_is_collected() -> None:
    given = examples((X, Y), Pairs(5), DataLoader(Pairs(7), 3))
    assert given.parts["validation"].inputs[0][:, 0].tolist() == [0, 1, 2, 3, 4]
    assert given.parts["test"].targets.tolist() == [0, 1, 2, 3, 0, 1, 2]


@pytest.mark.parametrize(
    ("handed", "words"),
    [
        ((None,), "train: got nothing"),
        (("mnist",), r"a str, expected \(X, y\), a Dataset or a DataLoader"),
        ((X,), "a ndarray"),
        (((X,),), "a tuple of 1"),
        (((X, Y[:19]),), "train: X: got 20 examples, expected 19"),
        (((X[:0], Y[:0]),), "shape"),
        (([[1, [2]], [0, 1]],), "make no array"),
        (((np.array([object()] * 20), Y),), "Python objects"),
        (((X, Y), (X[:, :2], Y)), r"validation: X: got float32 of shape \(2,\)"),
        (((PICTURES, Y), (PICTURES / 255, Y)), "uint8 pictures"),
        (((X, ["a", "b"] * 10), (X, ["a", "c"] * 10)), "classes that the training part has not: 'c'"),
        ((({"a": X}, Y), ({"b": X}, Y)), "inputs b, expected a as in train"),
        (({"a": X, "b": Y},), "the keys 'a', 'b', none of them a target"),
        (({"y": Y, "label": Y, "x": X},), "2 targets among the keys"),
        ((TensorDataset(torch.zeros(3)),), r"TensorDataset\(X, y\)"),
        ((Subset(TensorDataset(torch.zeros(3, 1), torch.zeros(3)), []),), "an empty subset"),
        ((3,), "a int"),
    ],
)
def test_what_is_refused(handed: tuple[Any, ...], words: str) -> None:
    with pytest.raises(DataError, match=words):
        from_python(*handed)
