"""Batches of a Dataset or DataLoader: as they come, resumable, and nothing of the user's is used up or changed."""

import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from handed_things import Keyed, Pairs, X, Y, source, states
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader, IterableDataset, Subset

from netwright.data.batch_sources import DatasetBatches, LoaderBatches
from netwright.data.handed import from_python
from netwright.data.loading import Batch
from netwright.errors import DataError
from netwright.preprocess import ArrayPreprocess
from netwright.recipe.schema import Data

# ------------------------------------------------------------------------------------------------ datasets


def seen(batches: Iterator[Batch]) -> list[list[int]]:
    return [batch.inputs[0][:, 0].int().tolist() for batch in batches]


@settings(max_examples=35, deadline=None)
@given(st.integers(1, 40), st.integers(1, 12), st.integers(0, 2**31), st.integers(0, 5), st.data())
def test_an_epoch_is_a_permutation_that_resumes(
    count: int, size: int, seed: int, epoch: int, data: st.DataObject
) -> None:
    """Laws: every example once (but a lone last one); the rest of an epoch is the epoch's rest, loading no more."""
    dataset = Pairs(count)
    batches = DatasetBatches(dataset, size, seed, True)
    whole = seen(batches.epoch(epoch))
    assert len(whole) == len(batches)
    flat = [number for batch in whole for number in batch]
    lone = count > size and count % size == 1
    assert len(flat) == len(set(flat)) == count - lone
    assert all(len(batch) == size for batch in whole[:-1])
    start = data.draw(st.integers(0, len(whole)))
    dataset.loaded.clear()
    assert seen(batches.epoch(epoch, start)) == whole[start:]
    assert dataset.loaded == [number for batch in whole[start:] for number in batch]


def test_the_order_is_of_seed_and_epoch_alone() -> None:
    batches = DatasetBatches(Pairs(), 6, 1, True)
    first = seen(batches.epoch(0))
    torch.manual_seed(99)
    assert seen(batches.epoch(0)) == first
    assert seen(batches.epoch(1)) != first
    assert seen(batches.configured(6, 2).epoch(0)) != first
    assert seen(DatasetBatches(Pairs(), 6, 1, False).epoch(3)) == [[*range(i, min(i + 6, 20))] for i in range(0, 20, 6)]


NOISES: tuple[Callable[[], float], ...] = (
    random.random, lambda: float(np.random.rand()), lambda: float(torch.rand(())),  # noqa: NPY002
)  # fmt: skip


@pytest.mark.parametrize("noise", NOISES)
def test_augmentation_of_a_dataset_resumes_to_the_same_bits(noise: Callable[[], float]) -> None:
    batches = DatasetBatches(Pairs(20, noise), 6, 3, True)
    whole = [batch.inputs[0] for batch in batches.epoch(2)]
    torch.manual_seed(5)
    random.seed(5)
    np.random.seed(5)  # noqa: NPY002
    before = states()
    rest = [batch.inputs[0] for batch in batches.epoch(2, 2)]
    assert states() == before
    assert all(torch.equal(one, other) for one, other in zip(whole[2:], rest, strict=True))
    assert not torch.equal(whole[0].frac().sum(), next(batches.epoch(3)).inputs[0].frac().sum())


def test_a_batch_of_a_dataset() -> None:
    batch = next(DatasetBatches(Pairs(), 6, 0, True).epoch(0))
    assert batch.index is not None
    assert batch.inputs[0][:, 0].tolist() == batch.index.tolist()
    assert batch.targets.tolist() == (batch.index % 4).tolist()
    assert batch.names == ()
    keyed = next(DatasetBatches(Keyed(), 6, 0, True).epoch(0))
    assert keyed.names == ("ids", "values")
    assert keyed.inputs[0].tolist() == keyed.inputs[1][:, 0].int().tolist()


def test_a_dataset_tells_what_a_run_must_know() -> None:
    dataset = Keyed()
    dataset.classes = ["a", "b", "c", "d"]  # type: ignore[attr-defined]
    given = source(Subset(dataset, range(10)), dataset)
    assert (given.exact, given.examples, given.task, given.classes, given.outputs) == (
        True, 10, "classification", ("a", "b", "c", "d"), 4,
    )  # fmt: skip
    assert given.input_names == ("ids", "values")
    assert given.preprocess == (
        ArrayPreprocess(shape=(), dtype="int64", scale=None),
        ArrayPreprocess(shape=(3,), dtype="float32", scale=1.0),
    )
    assert given.validation is not None
    other = given.configured(5, 0)
    assert (len(given), len(other)) == (1, 2)
    assert other.validation is not None
    assert len(other.validation) == 4


def test_shares_are_held_out_of_a_dataset() -> None:
    given = source(Pairs(), options=Data(validation=0.2, test=0.25)).configured(100, 0)
    assert given.validation is not None
    assert given.test is not None
    parts = [seen(part.epoch(0))[0] for part in (given, given.validation, given.test)]
    assert [len(part) for part in parts] == [12, 3, 5]  # of all for the test, of the rest for the validation
    assert sorted(sum(parts, [])) == list(range(20))  # noqa: RUF017
    with pytest.raises(DataError, match=r"data\.validation: got 0\.2 of a DataLoader"):
        from_python(DataLoader(Pairs(), 5), options=Data(validation=0.2))


def test_arrays_are_held_out_beside_a_dataset() -> None:
    given = source(Pairs(), (X[:5], Y[:5]))
    assert given.validation is not None
    (batch,) = given.validation.epoch(0)
    assert np.array_equal(batch.inputs[0].numpy(), X[:5])
    assert batch.targets.tolist() == Y[:5].tolist()


# ------------------------------------------------------------------------------------------------ loaders


def test_a_loader_is_taken_as_it_is() -> None:
    """Against the plain loop with the same seed: the same batches, and the same global state behind it."""
    loader = DataLoader(Pairs(), 6, shuffle=True)
    torch.manual_seed(7)
    plain = [(x, y) for x, y in loader]
    behind = states()
    given = source(loader)
    torch.manual_seed(7)
    ours = list(given.epoch(0))
    assert states() == behind
    assert (given.exact, len(given), given.examples, given.outputs) == (False, 4, 20, None)
    for batch, (x, y) in zip(ours, plain, strict=True):
        assert torch.equal(batch.inputs[0], x)
        assert torch.equal(batch.targets, y)
        assert batch.index is None


@pytest.mark.parametrize("generator", [None, torch.Generator()])
def test_looking_uses_nothing_up(generator: torch.Generator | None) -> None:
    loader = DataLoader(Pairs(20, NOISES[1]), 6, shuffle=True, generator=generator)
    before = states(), generator.get_state().tolist() if generator else None
    given = source(loader, loader)
    assert (given.task, len(given.first)) == ("classification", 6)
    assert (states(), generator.get_state().tolist() if generator else None) == before


def collated(form: Callable[[torch.Tensor, torch.Tensor], Any]) -> DataLoader[Any]:
    def collate(items: list[Any]) -> Any:
        return form(torch.stack([x for x, _ in items]), torch.tensor([y for _, y in items]))

    return DataLoader(Pairs(), 5, collate_fn=collate)


@pytest.mark.parametrize(
    ("form", "names", "inputs"),
    [
        (lambda x, y: (x, y), (), 1),
        (lambda x, y: [x, y.numpy()], (), 1),
        (lambda x, y: (x, x, y), (), 2),
        (lambda x, y: ((x, x), y), (), 2),
        (lambda x, y: ({"a": x, "b": x}, y), ("a", "b"), 2),
        (lambda x, y: {"b": x, "labels": y, "a": x}, ("b", "a"), 2),
        (lambda x, y: {"x": x, "Y": y.tolist()}, ("x",), 1),
    ],
)
def test_forms_of_batches(form: Callable[..., Any], names: tuple[str, ...], inputs: int) -> None:
    batch = source(collated(form)).first
    assert batch.names == names
    assert len(batch.inputs) == inputs
    assert all(torch.equal(tensor[:, 0], torch.arange(5.0)) for tensor in batch.inputs)
    assert batch.targets.tolist() == [0, 1, 2, 3, 0]


@pytest.mark.parametrize(
    ("form", "words"),
    [
        (lambda x, y: x, "a Tensor as a batch"),
        (lambda x, y: (x,), "a tuple of 1 as a batch"),
        (lambda x, y: {"a": x, "b": y}, "the keys 'a', 'b', none of them a target"),
        (lambda x, y: {"y": y}, "without inputs"),
        (lambda x, y: (["a"] * 5, y), "input 0: got a str"),
        (lambda x, y: (x, y[0]), "target: got a single number"),
    ],
)
def test_batches_of_other_forms_are_refused_at_once(form: Callable[..., Any], words: str) -> None:
    with pytest.raises(DataError, match=words) as caught:
        from_python(collated(form))
    assert caught.value.where.startswith("train")


@pytest.mark.parametrize(
    ("target", "task", "dtype"),
    [
        (lambda y: y.double(), "regression", torch.float32),
        (lambda y: (y > 1).float(), "multi-label", torch.float32),
        (lambda y: y.int(), "classification", torch.int64),
        (lambda y: y > 1, "classification", torch.int64),
        (lambda y: torch.eye(4)[y], "classification", torch.float32),
        (lambda y: torch.rand(len(y), 2, 3), "regression", torch.float32),
        (lambda y: torch.zeros(len(y), 7, dtype=torch.long) + 5, "classification", torch.int64),
    ],
)
def test_the_task_of_a_loader(target: Callable[[torch.Tensor], torch.Tensor], task: str, dtype: torch.dtype) -> None:
    given = source(collated(lambda x, y: (x, target(y))))
    assert given.task == task
    assert given.first.targets.dtype == dtype
    assert source(collated(lambda x, y: (x, y)), options=Data(task="regression")).task == "regression"


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        return iter([(torch.zeros(3), 0)] * 4)


class Told(Stream):
    def __len__(self) -> int:
        return 4


@pytest.mark.parametrize(
    ("handed", "words"),
    [
        (lambda: Stream(), r"an iterable dataset.*DataLoader\(dataset"),
        (lambda: DataLoader(Stream(), 2), "without a length"),
        (lambda: DataLoader(Pairs(3), 5, drop_last=True), "an empty DataLoader.*drop_last=False"),
        (lambda: Subset(Pairs(), []), "an empty Subset"),
        (lambda: DataLoader(Subset(Pairs(), []), 5), "an empty DataLoader"),
    ],
)
def test_sources_that_are_refused(handed: Callable[[], Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        from_python(handed())


def test_a_stream_with_a_length_and_a_loader_of_ones_own() -> None:
    assert len(list(source(DataLoader(Told(), 2)).epoch(0))) == 2

    class Own:
        def __len__(self) -> int:
            return 2

        def __iter__(self) -> Iterator[Any]:
            return iter([(torch.zeros(4, 3), torch.zeros(4).long())] * 2)

    given = source(Own())
    assert isinstance(given, LoaderBatches)
    assert len(list(given.epoch(0, 1))) == 1
    assert given.examples is None


def test_a_sampler_is_told_the_epoch() -> None:
    told: list[int] = []

    class Sampler(torch.utils.data.Sampler[int]):
        def set_epoch(self, epoch: int) -> None:
            told.append(epoch)

        def __iter__(self) -> Iterator[int]:
            return iter(range(20))

        def __len__(self) -> int:
            return 20

    given = source(DataLoader(Pairs(), 5, sampler=Sampler()))
    for epoch in (0, 3):
        list(given.epoch(epoch))
    assert told == [0, 3]


@pytest.mark.parametrize("options", [Data(limit=5), Data(size=8), Data(channels="grey"), Data(normalize=True)])
def test_options_that_a_loader_cannot_follow_are_refused(options: Data) -> None:
    with pytest.raises(DataError, match="taken as it is"):
        from_python(DataLoader(Pairs(), 5), options=options)


def test_examples_that_make_no_batch() -> None:
    class Odd(Pairs):
        def __getitem__(self, position: int) -> Any:
            return torch.zeros(position + 1), 0

    with pytest.raises(DataError, match="train: Odd: got examples that make no batch"):
        from_python(Odd())
