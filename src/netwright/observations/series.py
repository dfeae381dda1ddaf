"""Measurements over the steps of a training. No torch."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from netwright.records import Measurement


class Series(NamedTuple):
    """What one probe saw of one layer: ``values[i]`` at ``steps[i]``, ``None`` where it was not finite."""

    steps: array[int]  # packed: an hour of small steps has a million of them
    values: list[float | None]
    unit: str

    @property
    def finite(self) -> list[float]:
        return [value for value in self.values if value is not None and math.isfinite(value)]

    @property
    def last(self) -> float | None:
        return self.values[-1] if self.values else None


class SeriesStore:
    """Every measurement by probe and layer; ``layer`` is ``""`` for the whole training."""

    def __init__(self, measurements: Iterable[Measurement] = ()) -> None:
        self._series: dict[tuple[str, str], Series] = {}
        for measurement in measurements:
            self.add(measurement)

    def add(self, measurement: Measurement) -> None:
        """Append; a measurement of several values (a span of steps) ends at ``measurement.step``."""
        key = measurement.probe, measurement.layer
        series = self._series.get(key)
        if series is None:
            series = self._series[key] = Series(array("q"), [], measurement.unit)
        first = measurement.step - len(measurement.values) + 1
        series.steps.extend(range(first, measurement.step + 1))
        series.values.extend(measurement.values)

    def get(self, probe: str, layer: str = "") -> Series:
        """Empty where nothing was seen."""
        return self._series.get((probe, layer), Series(array("q"), [], ""))

    def layers(self, probe: str) -> list[str]:
        """The layers that the probe saw, in the order in which they were seen first."""
        return [layer for name, layer in self._series if name == probe]

    def __iter__(self) -> Iterator[tuple[str, str, Series]]:
        return ((probe, layer, series) for (probe, layer), series in self._series.items())

    def __len__(self) -> int:
        return len(self._series)
