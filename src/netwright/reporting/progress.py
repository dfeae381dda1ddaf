"""Progress of a training: one live bar on a terminal, one plain line an epoch elsewhere; on stderr, never on stdout."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import IO, Any, Self

from netwright.diagnosis import telling
from netwright.records import EpochRow, Finding
from netwright.reporting import formatting

TONES = {"error": "bold red", "warning": "bold yellow", "note": "bold cyan", "good": "bold green", "dim": "dim"}


def epoch_line(rows: Sequence[EpochRow], epochs: int, seconds: float) -> str:
    """``epoch  3/10  train loss 0.2104, accuracy 93.1 %   validation loss 0.1822, accuracy 94.6 %   1.2 s``."""
    if not rows:
        return ""
    width = len(str(epochs))
    parts = [f"epoch {rows[0].epoch:>{width}}/{epochs}"]
    parts += [f"{row.split} {metrics_text(row.metrics)}" for row in rows]
    parts.append(formatting.duration(seconds))
    return "   ".join(parts)


def metrics_text(metrics: Mapping[str, float | None], most: int = 2) -> str:
    """The loss and what counts most: ``loss 0.2104, accuracy 93.1 %``."""
    names = sorted(metrics, key=lambda name: (name != "loss", name != "accuracy"))[:most]
    return ", ".join(f"{formatting.metric_name(name)} {formatting.metric(name, metrics[name])}" for name in names)


class Progress:
    """Shows a training while it runs; the loop calls it, it calls nothing.

    Use it with ``with``, or ``close`` it: a terminal gets its cursor back. ``quiet`` shows nothing but what is said.
    """

    def __init__(self, *, quiet: bool = False, stream: IO[str] | None = None) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._quiet = quiet
        self._epochs = self._batches = 0
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *unused: object) -> None:
        self.close()

    def start(self, epochs: int, batches: int, first_epoch: int) -> None:
        """``batches`` of one epoch; ``first_epoch`` are already behind (0 at a fresh start)."""
        self.close()
        self._epochs, self._batches = epochs, batches
        if self._quiet or not self._is_live():
            return
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        self._bar = Bar(
            TextColumn("{task.fields[epoch]}"),
            BarColumn(bar_width=20),
            TextColumn("{task.percentage:>3.0f} %"),
            TextColumn("{task.fields[loss]}"),
            TextColumn("{task.fields[speed]}", style="dim"),
            TextColumn("left", style="dim"),
            TimeRemainingColumn(compact=True),
            console=Console(file=self._stream, highlight=False),
            refresh_per_second=5,
            transient=True,
        )
        fields = {"epoch": self._epoch(first_epoch + 1), "loss": "", "speed": ""}
        self._task = self._bar.add_task("", total=epochs * batches, completed=first_epoch * batches, **fields)
        self._bar.start()

    def advance(self, epoch: int, batch: int, loss: float | None, examples_per_second: float) -> None:
        """Batch ``batch`` of epoch ``epoch`` (both counted from 1) is done; ``loss`` None: not known now."""
        if self._bar is None:
            return
        fields = {"epoch": self._epoch(epoch), "speed": f"{formatting.count(round(examples_per_second))} examples/s"}
        if loss is not None:
            fields["loss"] = f"loss {formatting.number(loss, 3)}"
        self._bar.update(self._task, completed=(epoch - 1) * self._batches + batch, **fields)

    def epoch_done(self, epoch: int, rows: list[EpochRow], seconds: float) -> None:
        """``rows``: the metrics of each split after epoch ``epoch``."""
        if self._quiet:
            return
        if self._bar is not None:
            self._bar.update(self._task, completed=epoch * self._batches)
        self._write(epoch_line(rows, max(self._epochs, epoch), seconds))

    def say(self, text: str) -> None:
        """A line for the user, also when quiet."""
        self._write(text)

    def findings(self, found: Sequence[Finding]) -> None:
        """What is found while it trains, root causes first."""
        if self._quiet:
            return
        for line in telling.tree(found):
            self._write(line.text, line.tone)

    def remark(self, text: str) -> None:
        """A line that no one misses when it is quiet."""
        if not self._quiet:
            self._write(text, "dim")

    def close(self) -> None:
        """Take the bar away; what was said stays."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    # ----

    def _epoch(self, epoch: int) -> str:
        return f"epoch {min(epoch, self._epochs)}/{self._epochs}"

    def _is_live(self) -> bool:
        return self._stream.isatty() and os.environ.get("TERM", "") != "dumb"

    def _write(self, line: str, tone: str = "") -> None:
        if self._bar is not None:
            self._bar.console.print(line, markup=False, soft_wrap=True, style=TONES.get(tone))
        else:
            print(line, file=self._stream, flush=True)
