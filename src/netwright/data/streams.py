"""A running text for a language model: lanes that go on from batch to batch, cut where the gradient ends."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from netwright.data.batch_sources import BatchSource
from netwright.data.words import UNKNOWN, Ids, characters, encode, frequent, units
from netwright.errors import DataError
from netwright.preprocess import ArrayPreprocess, Preprocess, TextInput
from netwright.recipe.schema import Data
from netwright.records import plural

if TYPE_CHECKING:
    from netwright.data.loading import Batch

WORDS = 10_000  # most words of a vocabulary, where the recipe does not say
LENGTH = 128  # positions of a batch, where the recipe does not say
EVALUATED = 32  # lanes of a text that is only judged
FEWEST = 100  # units that a text needs to be learned from


class TextStream(BatchSource):
    """``ids`` (n,) as batches of inputs (lanes, length) and targets (lanes · length,), each the unit after its input.

    Lane after lane is a stretch of the text, and every batch goes on where the one before ended; so a network that
    remembers sees the text in order. In training the stretches begin at another unit every epoch, a function of (seed,
    epoch), so that the cuts are elsewhere; what is behind the last whole batch is left out. A text that is only judged
    is read once, all of it.
    """

    exact = True
    kind: Literal["language"] = "language"

    def __init__(self, ids: Ids, text: TextInput, *, where: str = "train") -> None:
        super().__init__(where, "classification")
        self.ids, self.text = ids, text
        self.lanes, self.length, self.seed = EVALUATED, LENGTH, 0

    # ---- what a source tells

    @property
    def dataset(self) -> None:
        return None

    @property
    def examples(self) -> int:
        return len(self.ids)

    @property
    def classes(self) -> tuple[str, ...]:
        return self.text.vocabulary

    @property
    def outputs(self) -> int:
        return len(self.text.vocabulary)

    @property
    def task(self) -> Literal["classification"]:
        return "classification"

    @cached_property
    def preprocess(self) -> tuple[Preprocess, ...]:
        return (ArrayPreprocess(shape=(self.length,), dtype=str(self.ids.dtype), scale=None),)

    # ---- batches

    def configured(self, batch_size: int, seed: int, length: int | None = None) -> TextStream:
        other = copy.copy(self)
        other.__dict__.pop("preprocess", None)
        other.__dict__.pop("first", None)
        other.length = length or self.length
        other.seed, other.lanes = seed, batch_size if self.where == "train" else self._judged_lanes(other.length)
        other.validation = self.validation and self.validation.configured(batch_size, seed, length)  # type: ignore[call-arg]
        other.test = self.test and self.test.configured(batch_size, seed, length)  # type: ignore[call-arg]
        if self.where == "train" and len(other) < 1:
            most = max(1, (len(self.ids) - other.length) // other.length)
            raise DataError(
                "train.batch_size", f"{batch_size} lanes of {other.length} in a text of {len(self.ids)} units",
                "a whole batch", f"--set train.batch_size={min(most, 16)}, or a smaller train.bptt",
            )  # fmt: skip
        return other

    def _judged_lanes(self, length: int) -> int:
        return max(1, min(EVALUATED, (len(self.ids) - 1) // length))

    @property
    def _stretch(self) -> int:
        """Inputs of a lane."""
        room = len(self.ids) - 1 - (self.length - 1 if self.where == "train" else 0)
        return room // self.lanes if self.where != "train" else room // self.lanes // self.length * self.length

    def __len__(self) -> int:
        return -(-self._stretch // self.length)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        import torch

        from netwright.data.loading import Batch, mixed

        first = mixed(self.seed, epoch) % self.length if self.where == "train" else 0
        stretch = self._stretch
        piece = torch.from_numpy(self.ids[first : first + self.lanes * stretch + 1])
        inputs, targets = piece[:-1].view(self.lanes, stretch), piece[1:].view(self.lanes, stretch)
        for at in range(start * self.length, stretch, self.length):
            columns = slice(at, at + self.length)
            yield Batch((inputs[:, columns].contiguous(),), targets[:, columns].reshape(-1).long())

    def _look(self) -> Batch:
        return next(self.epoch(0))


def read(options: Data, path: Path, held_out: Mapping[str, Path], known: TextInput | None = None) -> TextStream:
    """A plain file as a language model's text: its last tenth is validation, and before that what ``data.test`` says
    is left for the end; ``held_out``: files of their own for these parts. ``known``: the vocabulary of a run."""
    if known is not None and (known.length or options.unit not in ("auto", known.unit)):
        raise DataError(
            "network.weights", f"a run that {'judges' if known.length else 'goes on with'} texts in {known.unit}s",
            f"one that goes on with a text in {'characters' if options.unit == 'auto' else f'{options.unit}s'}",
            "leave --from out",
        )  # fmt: skip
    text = read_text(path)
    parts = {"train": text}
    for name, share in (("test", options.test), ("validation", options.validation)):
        if name in held_out:
            parts[name] = read_text(held_out[name])
            continue
        wanted = (0.1 if name == "validation" else 0.0) if share == "auto" else float(share)
        if wanted:
            cut = len(parts["train"]) - round(wanted * len(text))
            parts["train"], parts[name] = parts["train"][:cut], parts["train"][cut:]
    if options.limit:
        parts["train"] = parts["train"][: options.limit]
    record = known or _record(options, parts["train"])
    streams = {name: TextStream(_ids(part, record, path), record, where=name) for name, part in parts.items()}
    whole = streams["train"]
    if len(whole.ids) < FEWEST:
        raise DataError(
            str(path), f"a text of {plural(len(whole.ids), 'unit')} to learn from", f"{FEWEST} or more", "a longer text"
        )
    whole.validation, whole.test = streams.get("validation"), streams.get("test")
    return whole


def _record(options: Data, text: str) -> TextInput:
    """The vocabulary of the training part alone."""
    if options.unit != "word":
        return TextInput(unit="character", vocabulary=characters(text))
    counts = Counter(units(text, "word"))
    return TextInput(unit="word", vocabulary=(UNKNOWN, *frequent(counts, (options.vocabulary or WORDS) - 1)), unknown=0)


def _ids(text: str, record: TextInput, path: Path) -> Ids:
    """Held-out characters that the training part does not have cannot be told; they are left out."""
    ids = encode(text, record)
    if len(ids) < 2:
        raise DataError(str(path), "a part of less than two known units", "a longer text", "--set data.validation=0.2")
    return ids


def read_text(path: Path) -> str:
    """The whole of a text file (also .gz, .bz2, .xz), UTF-8, with line ends as ``\\n``."""
    from netwright.data.texts import content_of, text_of

    return text_of(content_of(path), str(path))
