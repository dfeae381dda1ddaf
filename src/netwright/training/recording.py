"""What happens around the loop: losses and metrics written down, checkpoints, progress, stopping.

Nothing here waits for a number more than once a second: losses stay tensors until they are written in one piece.
"""

from __future__ import annotations

import contextlib
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import torch

from netwright import files
from netwright.errors import NetwrightError
from netwright.nn import weights
from netwright.records import EpochRow
from netwright.rows import FLUSH_SECONDS, Log
from netwright.runs import RunDirectory
from netwright.training import state as states
from netwright.training.averaging import Average
from netwright.training.loop import Job
from netwright.training.snapshots import FOLDER, Snapshots
from netwright.training.state import State

TICK_SECONDS = 0.2
MOST_KEPT = 1 << 20  # values of a batch's outputs from which they are counted at once
KEPT_OUTPUTS = 32  # batches whose outputs wait for the training metric; it is cheaper for many at once
COSTLY = 0.04  # the share of the time that checkpoints may take, where writing one is slow


class DivergedError(NetwrightError):
    """The loss is not a number any more; nothing of that was kept."""


class Interrupted(KeyboardInterrupt):
    """Stopped by the user, after saving; its text is the run's directory."""


class Sink(Protocol):
    """Where rows go: the run's database, TensorBoard."""

    def series(self, name: str, first_step: int, values: Sequence[float]) -> None: ...
    def epoch(self, row: EpochRow) -> None: ...
    def flush(self) -> None: ...
    def close(self) -> None: ...


class Shown(Protocol):
    """Where progress is shown."""

    def advance(self, epoch: int, batch: int, loss: float | None, examples_per_second: float) -> None: ...
    def epoch_done(self, epoch: int, rows: list[EpochRow], seconds: float) -> None: ...


class Recorder:
    """The loop's observer for one run directory."""

    def __init__(
        self,
        run: RunDirectory,
        log: Log,
        job: Job,
        *,
        validate: Callable[[], dict[str, float]] | None,
        score: Callable[[dict[str, float]], float],
        parts: dict[str, Any],
        after_validation: Callable[[dict[str, float]], None] = lambda metrics: None,
        sinks: Sequence[Sink] = (),
        shown: Shown | None = None,
        average: Average | None = None,
        snapshots: Snapshots | None = None,
        keep_last: bool = False,
        patience: int = 0,
        checkpoint_seconds: float = 4.0,
    ) -> None:
        """``validate``: metrics on the validation part, if there is one; ``score``: of them, higher is better.

        ``parts``: what a checkpoint holds beside the weights; ``after_validation`` is told each epoch's metrics (the
        plateau schedule listens). ``average``: the weights that are validated and kept, instead of the trained ones.
        ``snapshots``: keeps weights of some epochs' ends beside. ``keep_last``: those of the last epoch, not of the
        best.
        """
        self._run, self._job, self._sinks, self._shown = run, job, (log, *sinks), shown
        self._validate, self._score, self._after_validation = validate, score, after_validation
        self._parts, self._patience, self._interval = parts, patience, checkpoint_seconds
        self._average, self._snapshots, self._keep_last = average, snapshots, keep_last
        self._judged = job.network if average is None else average.network
        self._losses: list[torch.Tensor] = []
        self._outputs: list[tuple[torch.Tensor, torch.Tensor]] = []
        self._meter = job.objective.light_meter()
        self._best_weights: dict[str, torch.Tensor] | None = None
        self._stop_asked = False
        self._saving: threading.Thread | None = None
        self._not_saved: BaseException | None = None
        now = time.monotonic()
        self._tick, self._flush_at = now + TICK_SECONDS, now + FLUSH_SECONDS
        self._checkpoint_at = now + checkpoint_seconds
        self._clock, self._epoch_started, self._examples, self._rate = now, time.monotonic(), 0, 0.0

    def join(self, sink: Sink) -> None:
        """One more place for rows; it comes last."""
        self._sinks = (*self._sinks, sink)

    # ---- called by the loop

    def after_step(self, state: State, loss: torch.Tensor, outputs: Any, targets: torch.Tensor) -> None:
        self._losses.append(loss)
        self._examples += len(targets)
        if self._average is not None:
            self._average.after_step(state.step)
        if isinstance(outputs, torch.Tensor):
            self._outputs.append((outputs.detach(), targets))
            if len(self._outputs) * max(1, outputs.numel() // MOST_KEPT * KEPT_OUTPUTS) >= KEPT_OUTPUTS:
                self._tally()
        if self._stop_asked:
            self.checkpoint(state)
            raise Interrupted(str(self._run.path))
        if time.monotonic() >= self._tick:
            self._pulse(state)

    def ask_to_stop(self) -> None:
        """Stop after the next step, with a checkpoint."""
        self._stop_asked = True

    def merge(self, sums: Callable[[dict[str, float]], dict[str, float]]) -> None:
        """The running epoch's training metric becomes that of all processes: ``sums`` adds up over them."""
        self._tally()
        self._meter.load_state_dict(sums(self._meter.state_dict()))

    def after_epoch(self, state: State) -> bool:
        self._tally()
        self._write_losses(state)
        row = EpochRow(
            epoch=state.epoch, step=state.step, split="train", seconds=time.monotonic() - self._epoch_started,
            metrics=self._train_metrics(state),
        )  # fmt: skip
        rows = [row]
        started = time.monotonic()
        metrics: dict[str, float] = dict(row.metrics)  # type: ignore[arg-type]
        if self._validate is not None:
            metrics = self._validate()
            rows.append(
                EpochRow(
                    epoch=state.epoch,
                    step=state.step,
                    split="validation",
                    seconds=time.monotonic() - started,
                    metrics=dict(metrics),
                )
            )
        for sink in self._sinks:
            for each in rows:
                sink.epoch(each)
        state.tally = {}
        self._meter = self._job.objective.light_meter()
        self._after_validation(metrics)
        if self._snapshots is not None:
            self._snapshots.after_epoch(state.epoch)
        stop = self._judge(state, self._score(metrics))
        if self._shown is not None:
            self._shown.epoch_done(state.epoch, rows, time.monotonic() - self._epoch_started)
        self._epoch_started = time.monotonic()
        state.stopped = stop
        last = stop or state.epoch >= self._job.epochs
        if last or self._stop_asked or time.monotonic() >= self._checkpoint_at:
            self.checkpoint(state)
        if last:
            self.wait()
        if self._stop_asked and not last:
            raise Interrupted(str(self._run.path))
        return stop

    # ---- keeping

    def checkpoint(self, state: State) -> None:
        """Write everything down and keep a checkpoint; a state that is not finite is refused before.

        The training goes on while the disk is waited for: a failure of it is raised by the next one, or by `wait`."""
        self.wait()
        self._tally()
        self._write_losses(state)
        self._require_finite(state)
        started = time.monotonic()
        state.seconds += started - self._clock
        self._clock = started
        state.tally |= {key: float(value) for key, value in self._meter.state_dict().items()}
        for sink in self._sinks:
            sink.flush()
        network = self._job.network
        writers = {"last": lambda folder: states.save(folder, network, state, self._parts)}
        if self._best_weights is not None:
            best = self._best_weights
            writers["best"] = lambda folder: weights.save(best, folder / "weights.safetensors")
        facts = {"epoch": state.epoch, "seconds": state.seconds, "best_epoch": state.best_epoch}
        finish = self._run.prepare(state.step, writers, **facts)
        self._saving = threading.Thread(target=self._finish, args=(finish,), name="checkpoint")
        self._saving.start()
        self._best_weights = None
        now = time.monotonic()
        self._checkpoint_at = now + max(self._interval - (now - started), (now - started) / COSTLY)

    def wait(self) -> None:
        """Until the last checkpoint is on the disk; raises what kept it from there."""
        if self._saving is not None:
            self._saving.join()
            self._saving = None
        if self._not_saved is not None:
            error, self._not_saved = self._not_saved, None
            raise error

    def _finish(self, finish: Callable[[], None]) -> None:
        try:
            finish()
        except BaseException as error:  # for the training's own thread
            self._not_saved = error

    def _judge(self, state: State, score: float) -> bool:
        """Remember the best epoch and the weights to keep; True when ``patience`` epochs brought nothing better."""
        better = state.best is None or score > state.best
        if better:
            state.best, state.best_epoch = score, state.epoch
        if better or self._keep_last:
            self._best_weights = {name: tensor.detach().clone() for name, tensor in self._judged.state_dict().items()}
        return bool(self._patience) and state.epoch - state.best_epoch >= self._patience

    def _require_finite(self, state: State) -> None:
        tensors = [p for p in self._job.network.parameters() if p.is_floating_point()]
        if tensors and not bool(torch.stack([p.detach().sum().isfinite() for p in tensors]).all()):
            name = next((n for n, p in self._job.network.named_parameters() if not bool(p.isfinite().all())), None)
            if name is not None:
                raise self._diverged(f"weights of {name} that are not finite", state.step)

    def _diverged(self, what: str, step: int) -> DivergedError:
        rate = self._job.optimizer.param_groups[0]["lr"]
        return DivergedError(
            f"step {step}", f"{what} (learning rate {rate:.3g})", "finite numbers; the last finite checkpoint is kept",
            "a smaller train.lr, or train.clip=1",
        )  # fmt: skip

    # ---- numbers

    def _tally(self) -> None:
        if self._outputs:
            outputs, targets = zip(*self._outputs, strict=True)
            self._outputs = []
            with torch.no_grad():
                self._meter.update(torch.cat(outputs), torch.cat(targets))

    def _train_metrics(self, state: State) -> dict[str, float | None]:
        sums = dict(state.tally)
        mean = sums["loss_sum"] / sums["steps"] if sums.get("steps") else math.nan
        return {"loss": mean, **{key: value for key, value in self._meter.compute().items() if key != "loss"}}

    def resume(self, state: State) -> None:
        """Go on with the running epoch's sums."""
        self._meter.load_state_dict({k: v for k, v in state.tally.items() if k not in ("loss_sum", "steps")})

    def _write_losses(self, state: State) -> float | None:
        if not self._losses:
            return None
        values: list[float] = torch.stack(self._losses).float().tolist()
        first = state.step - len(values) + 1
        self._losses = []
        bad = next((position for position, value in enumerate(values) if not math.isfinite(value)), None)
        for sink in self._sinks:
            sink.series("loss", first, values)
            sink.series("lr", first, [self._rate_at(step) for step in range(first - 1, state.step)])
        if bad is not None and self._job.precision.name != "fp16":
            for sink in self._sinks:
                sink.flush()
            raise self._diverged(f"a loss of {values[bad]}", first + bad)
        for value in values:  # one by one, so that a resumed epoch sums in the same order
            state.tally["loss_sum"] = state.tally.get("loss_sum", 0.0) + value
        state.tally["steps"] = state.tally.get("steps", 0) + len(values)
        return values[-1]

    def _rate_at(self, step: int) -> float:
        return float(self._job.optimizer.param_groups[0]["initial_lr"] * self._job.rate(step))

    def _pulse(self, state: State) -> None:
        now = time.monotonic()
        speed = self._examples / max(now - self._tick + TICK_SECONDS, 1e-9)
        self._rate = speed if not self._rate else 0.7 * self._rate + 0.3 * speed
        self._examples = 0
        self._tick = now + TICK_SECONDS
        loss = None
        if now >= self._flush_at:
            loss = self._write_losses(state)
            self._flush_at = now + FLUSH_SECONDS
        if self._shown is not None:
            self._shown.advance(state.epoch + 1, state.batch, loss, self._rate)
        if now >= self._checkpoint_at and (self._saving is None or not self._saving.is_alive()):
            self.checkpoint(state)
            self._tick = time.monotonic() + TICK_SECONDS

    # ---- stopping

    @contextlib.contextmanager
    def stoppable(self) -> Iterator[None]:
        """Ctrl-C and SIGTERM stop after the running step, with a checkpoint; a second one stops at once. However it
        ends, the last checkpoint is waited for."""
        if threading.current_thread() is not threading.main_thread():
            try:
                yield
            finally:
                self.wait()
            return

        def ask(number: int, frame: Any) -> None:
            if self._stop_asked:
                raise KeyboardInterrupt
            self._stop_asked = True

        previous = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            try:
                self.wait()
            finally:
                for number, handler in previous.items():
                    signal.signal(number, handler)


def clean(run: RunDirectory) -> None:
    """Remove what killed processes left half-written."""
    for name in ("checkpoints", FOLDER):
        files.remove_leftovers(run.path / name)
    run.drop_unnamed()
    for path in run.path.glob(".*"):
        if path.is_file():
            path.unlink(missing_ok=True)
