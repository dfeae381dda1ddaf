"""Observations in a run's database: written while it trains, read back without torch."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping

import msgspec

from netwright.errors import RunError
from netwright.observations import Observations
from netwright.records import EpochRow, Measurement
from netwright.rows import Log
from netwright.runs import RESTORE, RunDirectory

FACTS = "observations"  # the detail that holds facts, outcomes of experiments and what was not seen
DIAGNOSIS = "diagnosis"  # the detail that holds what was judged last
IN_SERIES = ("loss",)  # what a run keeps as a series of every step anyway
SCORES = ("accuracy", "subset_accuracy", "r2")  # what rules mean by a score: higher is better, 1 is perfect


class Keeper:
    """Writes what is new among observations; the log buffers it and writes about once a second."""

    def __init__(self, log: Log, known: Observations | None = None) -> None:
        """``known``: observations that the log holds already, where a training goes on."""
        self._log = log
        self._until: dict[tuple[str, str], int] = {}
        for probe, layer, series in known.series if known else ():
            self._until[probe, layer] = series.steps[-1] if series.steps else 0

    def facts(self, observations: Observations) -> None:
        """They are of the start, so a training that goes on from any step keeps them."""
        self._log.detail(FACTS, 0, msgspec.json.decode(observations.facts_to_json()))

    def series(self, observations: Observations) -> None:
        """Every measurement since the last call; costs a look at each series."""
        fresh: list[Measurement] = []
        for probe, layer, series in observations.series:
            if probe in IN_SERIES or not series.steps or series.steps[-1] <= self._until.get((probe, layer), -1):
                continue
            start = bisect_right(series.steps, self._until.get((probe, layer), -1))
            fresh += [
                Measurement(probe=probe, layer=layer, step=step, unit=series.unit, values=(value,))
                for step, value in zip(series.steps[start:], series.values[start:], strict=True)
            ]
            self._until[probe, layer] = series.steps[-1]
        self._log.measurements(fresh)


def score(metrics: Mapping[str, float | None]) -> float | None:
    """What rules call the score of an epoch: a metric that is better when higher, with 1 for all right."""
    return next((metrics[name] for name in SCORES if metrics.get(name) is not None), None)


def read(run: RunDirectory) -> Observations:
    """What was observed in a run; raises ``RunError`` for one that was not watched, or whose record is damaged."""
    reader = run.reader()
    try:
        facts = reader.detail(FACTS)
        if facts is None:
            raise RunError(
                str(run.path), "a run that was not watched", "one trained with watch.enabled=true", "train it anew"
            )
        observations = Observations()
        try:
            observations.read_facts(msgspec.json.encode(facts))
        except (msgspec.ValidationError, AttributeError, TypeError) as error:
            raise RunError(
                str(run.path), f"damaged observations ({error})", "what a watched training leaves", RESTORE
            ) from error
        for measurement in reader.measurements():
            observations.series.add(measurement)
        for name in IN_SERIES:
            steps, values = reader.series(name)
            for first, last in _spans(steps):
                part = tuple(values[first:last])
                observations.series.add(Measurement(probe=name, step=steps[last - 1], unit=name, values=part))
        observations.epochs = [scored for row in reader.epochs() if (scored := scored_row(row))]
    finally:
        reader.close()
    return observations


def scored_row(row: EpochRow) -> EpochRow | None:
    """An epoch's row as rules read it; None where no metric is a score."""
    value = score(row.metrics)
    if value is None:
        return None
    return EpochRow(epoch=row.epoch, step=row.step, split=row.split, metrics={"score": value}, seconds=row.seconds)


def _spans(steps: list[int]) -> list[tuple[int, int]]:
    """Stretches of consecutive steps, as first place and the place after the last."""
    ends = [place for place in range(1, len(steps)) if steps[place] != steps[place - 1] + 1] + [len(steps)]
    return [(first, last) for first, last in zip([0, *ends], ends, strict=False) if last > first]
