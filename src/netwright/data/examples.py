"""What a source hands over: raw arrays in their small type, targets, and what is known about them."""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np
import numpy.typing as npt

from netwright.preprocess import Preprocess, TextInput, WindowInput
from netwright.records import DataFacts

Array = npt.NDArray[np.generic]
Rows = npt.NDArray[np.int64]
Kind = Literal["image", "table", "series", "array"]
Task = Literal["classification", "multi-label", "regression"]


@dataclasses.dataclass(frozen=True)
class Part:
    """One split: rows of shared arrays, so that splitting copies nothing.

    ``inputs``: one array an input of the network, raw and in its small type, each (N, ...), possibly memory-mapped.
    ``targets``: ``int64`` (N,) class indices; ``float32`` (N, C) soft labels; ``float32`` (N, K) 0/1 labels or values.
    ``rows``: which rows of the arrays belong to this part (all, if None). ``names``: one an array row (a file's path).
    """

    inputs: tuple[Array, ...]
    targets: Array
    rows: Rows | None = None
    names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.targets) if self.rows is None else len(self.rows)

    def take(self, positions: Rows) -> Part:
        """The part of this part at ``positions``."""
        return dataclasses.replace(self, rows=positions if self.rows is None else self.rows[positions])

    def array_rows(self, positions: Rows) -> Rows:
        """Rows of the shared arrays at ``positions`` of this part."""
        return positions if self.rows is None else self.rows[positions]

    def part_targets(self) -> Array:
        return self.targets if self.rows is None else self.targets[self.rows]

    def name(self, position: int) -> str:
        row = position if self.rows is None else int(self.rows[position])
        return self.names[row] if self.names else f"#{row}"


@dataclasses.dataclass(frozen=True)
class Examples:
    """A source, read: its parts (``train`` always, ``validation`` and ``test`` where it has them) and its meaning.

    ``preprocess``: one record an input, without statistics until they are measured on the training part.
    ``skipped``: files that were left out because the user asked for it, each with the reason.
    """

    kind: Kind
    task: Task
    parts: dict[str, Part]
    preprocess: tuple[Preprocess, ...]
    classes: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    input_names: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    text: TextInput | None = None
    window: WindowInput | None = None

    @property
    def outputs(self) -> int:
        """How many numbers the network puts out: classes, labels or target values."""
        return len(self.targets) if self.task == "regression" else len(self.classes)


def facts(examples: Examples) -> DataFacts:
    """What a default recipe may know."""
    from netwright.preprocess import input_shape

    return DataFacts(
        kind="text" if examples.text is not None else examples.kind,
        task=examples.task,
        input_shape=input_shape(examples.preprocess[0]),
        examples=len(examples.parts["train"]),
        outputs=examples.outputs,
    )
