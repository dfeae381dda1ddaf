"""Rows as TensorBoard events, beside the run's own database. Needs the extra ``tensorboard``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from netwright.errors import MissingExtraError
from netwright.records import EpochRow

MOST_POINTS = 20  # of a per-step series, a second: more than the eye sees


class TensorBoardLog:
    """A sink for the recorder: ``loss`` and ``lr`` a step, each split's metrics an epoch."""

    def __init__(self, folder: Path | str) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise MissingExtraError("--tensorboard", extra="tensorboard") from error
        self._writer = SummaryWriter(log_dir=str(folder))

    def series(self, name: str, first_step: int, values: Sequence[float]) -> None:
        stride = max(1, len(values) // MOST_POINTS)
        for position in range(0, len(values), stride):
            self._writer.add_scalar(f"step/{name}", values[position], first_step + position)

    def epoch(self, row: EpochRow) -> None:
        for name, value in row.metrics.items():
            if value is not None:
                self._writer.add_scalar(f"{name}/{row.split}", value, row.epoch)

    def flush(self) -> None:
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()
