"""Series in a table, one time step a row, as examples of a forecast: the steps before, and the steps to tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Literal

import numpy as np
import numpy.typing as npt

from netwright.data.cells import Table
from netwright.data.delimited import Source
from netwright.data.examples import Array, Examples, Part
from netwright.data.table_files import columns_named, open_table
from netwright.errors import DataError
from netwright.preprocess import ArrayPreprocess, WindowInput
from netwright.recipe.schema import Data
from netwright.records import plural

Floats = npt.NDArray[np.float32]
TIMES, LEAST_WINDOW = 4, 24  # horizons that are looked back, and at least so many steps, where the recipe does not say
SHARES = {"validation": 0.1, "test": 0.2}  # of the steps, at the end, where the recipe does not say


def read(options: Data, path: Path, like: Examples | None = None) -> Examples:
    """The number columns of a table as windows of ``data.window`` steps (N, C, window), and by how much the target
    columns differ from their last value in the ``data.horizon`` steps after each (N, targets · horizon).

    A network that learns changes begins as the naive forecast, whatever the level of the series, which often is another
    one in later parts (the subtraction of the last value in Zeng et al. 2023, section 4).

    The parts follow each other in time: every step that is to be told is in one part only, and what a window sees is
    always before it. Windows are views of the one table, so they take no memory.
    """
    if like is not None:
        raise DataError(
            str(path), "a part of a series in a file of its own", "a share of the steps", "--set data.test=0.2"
        )
    horizon = options.horizon or 1
    window = options.window or max(LEAST_WINDOW, TIMES * horizon)
    table = open_table(Source.of(path), options.header, {}, every=True)
    names = tuple(
        name for name in table.names
        if name in table.cells and table.column(name).kind == "number" and options.types.get(name) != "ignore"
    )  # fmt: skip
    if not names:
        raise DataError(str(path), "no column of numbers", "one or more, a row a time step")
    targets = _targets(options.target, names)
    values = _values(table, names, options.missing)
    parts = _parts(values, [names.index(name) for name in targets], window, horizon, options, path)
    told = tuple(f"{name}+{step} - {name}" for name in targets for step in range(1, horizon + 1))
    return Examples(
        kind="array", task="regression", parts=parts, targets=told,
        preprocess=(ArrayPreprocess(shape=(len(names), window)),),
        window=WindowInput(columns=names, targets=targets, window=window, horizon=horizon),
    )  # fmt: skip


def latest(source: Path | IO[bytes], window: WindowInput, header: bool | Literal["auto"] = "auto") -> Floats:
    """The last window of a table, (1, C, window): what is before the steps that come next."""
    table = open_table(Source.of(source), header, dict.fromkeys(window.columns, "number"))
    values = _values(table, window.columns, "stop", window.window)
    if len(values) < window.window:
        raise DataError(
            table.name,
            plural(len(values), "time step"),
            f"{window.window} or more, which the run looks back",
            "a longer series",
        )
    return np.ascontiguousarray(values[-window.window :].T[None])


def naive(examples: Examples, part: str) -> dict[str, float]:
    """The errors of a forecast that says the last value again, which anything worth its name is below."""
    error = examples.parts[part].part_targets().astype(np.float64)  # the changes, all of which it misses
    return {"naive_mae": float(np.abs(error).mean()), "naive_rmse": float(np.sqrt(np.square(error).mean()))}


def restored(changes: Mapping[str, float], raw: Array, window: WindowInput) -> dict[str, float]:
    """What a network says of one window, raw (C, window), as values: ``OT+1``, ``OT+2``, …"""
    last = {name: float(raw[window.columns.index(name), -1]) for name in window.targets}
    names = [(name, step) for name in window.targets for step in range(1, window.horizon + 1)]
    return {f"{name}+{step}": last[name] + change for (name, step), change in zip(names, changes.values(), strict=True)}


def _targets(wanted: str, names: Sequence[str]) -> tuple[str, ...]:
    """The last column, or those that are named."""
    if wanted == "auto":
        return (names[-1],)
    return columns_named(wanted, names, "data.target")


def _values(table: Table, names: Sequence[str], missing: str, last: int = 0) -> Floats:
    """(steps, columns); a missing one stops, or is as the step before. ``last``: only so many rows are needed."""
    values = np.stack([table.column(name).numbers for name in names], 1)[-last:].astype(np.float32)
    lacking = np.isnan(values)
    if lacking.any():
        row, column = (int(place) for place in np.argwhere(lacking)[0])
        if missing == "stop":
            raise DataError(
                f"{table.name}: column {names[column]!r}, {table.place(row + max(0, table.count - len(values)))}",
                f"no number ({plural(int(lacking.sum()), 'such step')})", "one a time step",
                "--set data.missing=mean, which says the step before again",
            )  # fmt: skip
        known = np.where(lacking, 0, np.arange(len(values))[:, None])
        values = np.nan_to_num(np.take_along_axis(values, np.maximum.accumulate(known, 0), 0))
    return values


def _parts(values: Floats, targets: list[int], window: int, horizon: int, options: Data, path: Path) -> dict[str, Part]:
    """Train, validation and test in the order of time; a part with a share of 0 is not there."""
    count = len(values) - window - horizon + 1
    steps = {"validation": options.validation, "test": options.test}
    sizes = {name: round(_share(name, value) * len(values)) for name, value in steps.items()}
    ends = {"train": len(values) - sum(sizes.values())}
    ends["validation"] = ends["train"] + sizes["validation"]
    ends["test"] = len(values)
    if count < 1 or ends["train"] < window + horizon + 1:
        raise DataError(
            str(path), f"{plural(len(values), 'time step')}, {ends['train']} of them to learn from",
            f"more than {window + horizon}, a window of {window} and a horizon of {horizon}",
            f"--set data.window={max(1, ends['train'] // 4)}",
        )  # fmt: skip
    past = np.lib.stride_tricks.sliding_window_view(values, window, axis=0)[:count]
    future = np.lib.stride_tricks.sliding_window_view(values[:, targets], horizon, axis=0)[window:]
    latest_known = values[window - 1 : window - 1 + count, targets, None]
    whole = Part((past,), (future - latest_known).reshape(count, -1))
    parts, begin = {}, 0
    for name in ("train", "validation", "test"):
        first, last = max(0, begin - window), ends[name] - window - horizon  # rows whose target lies in this part
        begin = ends[name]
        if name != "train" and not sizes[name]:
            continue
        if last < first:
            raise DataError(
                f"data.{name}", f"{sizes[name]} time steps", f"{horizon} or more, as long as the horizon",
                f"--set data.{name}={min(0.5, 2 * horizon / len(values)):.2g}",
            )  # fmt: skip
        parts[name] = whole.take(np.arange(first, last + 1))
    if options.limit:
        parts["train"] = parts["train"].take(
            np.arange(max(0, len(parts["train"]) - options.limit), len(parts["train"]))
        )
    return parts


def _share(name: str, value: float | str) -> float:
    if value == "auto":
        return SHARES[name]
    try:
        share = float(value)
    except ValueError:
        share = -1.0
    if not 0 <= share < 1:
        raise DataError(f"data.{name}", f"{value!r} of a series", "a share of its steps", f"--set data.{name}=0.2")
    return share
