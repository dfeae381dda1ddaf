"""Examples as a report shows them: small pictures, waves and cells, each with its label and what the network said.

Cards are made from the raw arrays while training, kept with ``Log.detail("examples" or "mistakes", step, cards)``,
and read back by the report, which then needs neither the data nor torch.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import numpy.typing as npt

from netwright.data.words import decode
from netwright.preprocess.records import ArrayPreprocess, Column, Preprocess, TablePreprocess, TextInput
from netwright.records import Record
from netwright.reporting import formatting

if TYPE_CHECKING:
    from netwright.data.examples import Examples

Array = npt.NDArray[np.generic]

COUNT = 24  # cards of one kind that a report shows
PICTURE_SIDE = 96  # pixels
PALETTE = 128  # colours of a picture larger than TRUE_COLOUR_SIDE
TRUE_COLOUR_SIDE = 40
WAVE_POINTS = 160
CELLS, CELL_LENGTH = 16, 40
NAME_LENGTH = 80


class ExampleCard(Record, frozen=True, kw_only=True):
    """One example: ``png`` is base64 (empty: no picture), ``wave`` at most 160 points, ``cells`` column → text."""

    name: str
    label: str = ""
    predicted: str = ""
    probability: float | None = None  # of what was predicted
    loss: float | None = None
    png: str = ""
    cells: dict[str, str] = msgspec.field(default_factory=dict)
    wave: tuple[float, ...] = ()


def cards(
    examples: Examples,
    part: str,
    positions: Sequence[int] | Array,
    *,
    decisions: Any = None,
    probabilities: Any = None,
    losses: Any = None,
    target_names: Sequence[str] = (),
) -> list[ExampleCard]:
    """One card for each of ``positions`` of a part.

    ``decisions``, ``probabilities`` and ``losses`` are of the whole part and are read at ``positions``. Decisions:
    classes (N,), 0/1 labels (N, C) or target values (N, K) in the units of the data. Probabilities: of what was
    decided (N,), of the second of two classes (N, 1), or of every class (N, C).
    """
    chosen = examples.parts[part]
    places = np.asarray(positions, np.int64)
    names = tuple(target_names) or examples.targets
    made = []
    for position, row in zip(places.tolist(), chosen.array_rows(places).tolist()):
        decision = None if decisions is None else np.asarray(decisions[position])
        inputs = tuple(array[row] for array in chosen.inputs)
        made.append(
            ExampleCard(
                name=formatting.clipped(chosen.name(position), NAME_LENGTH),
                label=_answer(examples, names, np.asarray(chosen.targets[row])),
                predicted="" if decision is None else _answer(examples, names, decision),
                probability=_probability(examples, decision, probabilities, position),
                loss=None if losses is None else _finite(losses[position]),
                **_shown(examples, inputs),
            )
        )
    return made


def spread(examples: Examples, part: str, count: int = COUNT) -> npt.NDArray[np.int64]:
    """Positions of a part that show it: the same number of each class, evenly spaced; always the same ones."""
    chosen = examples.parts[part]
    total = len(chosen)
    if examples.task == "classification" and total:
        targets = chosen.part_targets()
        labels = targets if targets.ndim == 1 else targets.argmax(1)
        groups = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    else:
        groups = [np.arange(total)]
    if len(groups) > count:
        groups = [groups[at] for at in np.linspace(0, len(groups) - 1, count).astype(int)]
    each = -(-count // max(1, len(groups)))
    groups = [group for group in groups if len(group)]
    picked = [group[np.linspace(0, len(group) - 1, min(each, len(group))).astype(int)] for group in groups]
    rounds = [group[turn] for turn in range(each) for group in picked if turn < len(group)]
    return np.asarray(rounds[:count], np.int64)


# ------------------------------------------------------------------------------------------------ answers


def _answer(examples: Examples, target_names: Sequence[str], value: Array) -> str:
    """A target or a decision in words; a class may be given as the share of each."""
    if examples.task == "classification":
        index = int(value.argmax()) if value.size > 1 else int(value.reshape(-1)[0])
        known = 0 <= index < len(examples.classes)
        return formatting.clipped(examples.classes[index] if known else f"class {index}", NAME_LENGTH)
    values = value.reshape(-1).astype(np.float64).tolist()
    if examples.task == "multi-label":
        labels = [name for name, share in zip(examples.classes, values) if share >= 0.5]
        return formatting.clipped(", ".join(labels) or "none", NAME_LENGTH)
    if len(values) == 1 or len(target_names) != len(values):
        return formatting.clipped(", ".join(formatting.short(item) for item in values), NAME_LENGTH)
    named = (f"{name} {formatting.short(item)}" for name, item in zip(target_names, values))
    return formatting.clipped(", ".join(named), NAME_LENGTH)


def _probability(examples: Examples, decision: Array | None, probabilities: Any, position: int) -> float | None:
    """Of what was decided, where the task has such a thing."""
    if probabilities is None or decision is None or examples.task != "classification":
        return None
    values = np.asarray(probabilities[position])
    index = int(decision.reshape(-1)[0])
    if values.ndim == 0:
        value = _finite(values)
    elif values.size == 1:
        value = _finite(values[0] if index else 1 - values[0])
    else:
        value = _finite(values[index]) if 0 <= index < values.size else None
    return value if value is not None and 0 <= value <= 1 else None  # a user's own loss may have no probabilities


def _finite(value: Any) -> float | None:
    return float(value) if value is not None and np.isfinite(value) else None


# ------------------------------------------------------------------------------------------------ looks


def _look(records: tuple[Preprocess, ...], inputs: tuple[Array, ...]) -> dict[str, Any]:
    """Picture, wave and cells: each from the first input that has such a thing to show."""
    look: dict[str, Any] = {}
    for record, raw in zip(records, inputs):
        for key, value in _look_of(record, raw).items():
            look.setdefault(key, value)
    return look


def _shown(examples: Examples, inputs: tuple[Array, ...]) -> dict[str, Any]:
    if examples.text is not None:
        return _text(examples.text, inputs[0])
    if examples.window is not None:  # the past of what is told
        return {"wave": wave(inputs[0][examples.window.columns.index(examples.window.targets[0])])}
    return _look(examples.preprocess, inputs)


def _text(record: TextInput, ids: Array) -> dict[str, Any]:
    """The beginning of a text, as the network reads it."""
    length = int(np.count_nonzero(ids))
    return {"cells": {"text": formatting.clipped(decode(ids[:length].tolist(), record), 4 * CELL_LENGTH)}}


def _look_of(record: Preprocess, raw: Array) -> dict[str, Any]:
    if isinstance(record, TablePreprocess):
        return {"cells": _cells(record.columns, raw)}
    if isinstance(record, ArrayPreprocess) and record.scale is None:
        return {"cells": {"values": formatting.clipped(" ".join(str(item) for item in raw.ravel()[:24]), CELL_LENGTH)}}
    raw = np.asarray(raw)
    if raw.ndim == 4:  # a film or a volume: the middle of it
        raw = raw[:, raw.shape[1] // 2]
    if raw.ndim == 3 and raw.shape[0] not in (1, 3):
        raw = raw[0]
    if raw.ndim == 3 or (raw.ndim == 2 and min(raw.shape) > 4):
        return {"png": picture(raw)}
    return {"wave": wave(raw)}


def _cells(columns: tuple[Column, ...], row: Array) -> dict[str, str]:
    cells = {}
    for column, value in list(zip(columns, row.astype(np.float64)))[:CELLS]:
        if not np.isfinite(value):
            text = "missing"
        elif column.kind == "category":
            code = int(value)
            text = column.categories[code] if 0 <= code < len(column.categories) else "unseen"
        else:
            text = f"{value:.6g}"
        cells[formatting.clipped(column.name, CELL_LENGTH)] = formatting.clipped(text, CELL_LENGTH)
    return cells


def picture(raw: Array, side: int = PICTURE_SIDE) -> str:
    """A raw picture (H, W), (1, H, W) or (3, H, W) as a PNG in base64 whose sides are at most ``side``; others than
    ``uint8`` are stretched."""
    from PIL import Image

    if raw.dtype != np.uint8:
        values = np.nan_to_num(raw.astype(np.float64), posinf=0.0, neginf=0.0)
        low, high = values.min(), values.max()
        raw = ((values - low) * (255 / (high - low) if high > low else 0)).astype(np.uint8)
    pixels = raw if raw.ndim == 2 else raw[0] if raw.shape[0] == 1 else raw.transpose(1, 2, 0)
    image = Image.fromarray(np.ascontiguousarray(pixels))
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    if image.mode == "RGB" and max(image.size) > TRUE_COLOUR_SIDE:
        image = image.quantize(PALETTE, Image.Quantize.FASTOCTREE)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()


def wave(raw: Array) -> tuple[float, ...]:
    """A sound or a series (L) or (C, L) as at most 160 points: the lowest and the highest of each stretch."""
    values = np.asarray(raw).astype(np.float64)
    values = values.mean(0) if values.ndim > 1 else values.reshape(-1)
    values = np.nan_to_num(values, posinf=0.0, neginf=0.0)
    if len(values) > WAVE_POINTS:
        stretches = np.array_split(values, WAVE_POINTS // 2)
        values = np.asarray([end for stretch in stretches for end in (stretch.min(), stretch.max())])
    return tuple(float(f"{value:.4g}") for value in values)
