"""One watch over one training."""

from __future__ import annotations

import contextlib
import functools
import time
import warnings
import weakref
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from torch import nn

from netwright.diagnosis.judging import Diagnosis, judge
from netwright.errors import NetwrightError
from netwright.observations import Observations
from netwright.records import EpochRow, Finding, Measurement
from netwright.repair import confirm as confirming
from netwright.repair import replica as replicas
from netwright.watching import closer, networks, order, preflight
from netwright.watching.calls import unwrapped
from netwright.watching.course import Course
from netwright.watching.telling import Teller
from netwright.watching.undisturbed import undisturbed

STANDING_STILL = {"plateau", "slow-convergence", "not-learning"}  # what curvature may explain
LONGEST_LOOK = 10.0  # seconds of computing

Method = TypeVar("Method", bound=Callable[..., Any])


def _harmless(method: Method) -> Method:
    """A failure of the doctor is one warning in the user's training, never an exception."""

    @functools.wraps(method)
    def guarded(self: Watch, *arguments: Any, **options: Any) -> Any:
        if not self._broken:
            with self.harmless(method.__name__):
                return method(self, *arguments, **options)
        return None

    return guarded  # type: ignore[return-value]


class Watch:
    """See `netwright.watch`."""

    def __init__(
        self,
        model: Any,
        optimizer: Any = None,
        *,
        loss: Any = None,
        train_data: Any = None,
        val_data: Any = None,
        batch_size: int | None = None,
        epochs: int | None = None,
        ignore: Mapping[str, str] | None = None,
        budget: float = 0.03,
        confirm: float = 30.0,
        tell: bool = True,
    ) -> None:
        self.observations = Observations()
        self._teller = Teller() if tell else None
        self._broken = False
        self._model, self._ignore, self.confirm = model, dict(ignore or {}), confirm
        self._loss, self._train_data = loss, train_data
        optimizers = list(optimizer) if isinstance(optimizer, list | tuple) else [optimizer] if optimizer else []
        self._course: Course | None = None
        self.laboratory: confirming.Laboratory | None = None
        self._diagnosis: tuple[tuple[int, int], Diagnosis] | None = None
        self._started = time.monotonic()
        gradient: dict[str, Any] = {}
        with self.harmless("preflight"), undisturbed():
            networks.examine(self.observations, model, optimizers, train_data)
            gradient = preflight.examine(
                self.observations, model, optimizer, loss=loss, train_data=train_data, val_data=val_data,
                batch_size=batch_size, epochs=epochs,
            )  # fmt: skip
            if confirm:
                self.laboratory = self._copied(model, optimizer, loss, train_data, val_data, batch_size, epochs)
        if not self._broken and isinstance(model, nn.Module):
            with self.harmless("hooks"):
                own = weakref.ref(self)  # hooks must not keep the watch alive
                self._course = Course(
                    model,
                    optimizers,
                    self.observations,
                    functools.partial(_failed, own),
                    loss=loss,
                    share=budget,
                    expected=gradient,
                )
                weakref.finalize(self, self._course.close)
                self._order = order.follow(model, train_data, self.observations)
                order.compare_shapes(model, train_data, self.observations)
        self._tell()

    @property
    def steps(self) -> int:
        """Steps of the optimiser so far."""
        return self._course.steps if self._course is not None else 0

    @property
    def network(self) -> Any:
        """What is watched, without the wrappers of `torch.compile` and of several processes."""
        return unwrapped(self._model)

    @_harmless
    def adopt(self, optimizer: Any) -> None:
        """One more optimiser steps the network."""
        if self._course is not None:
            self._course.sampler.adopt(optimizer)

    def close(self) -> None:
        """Look no longer; what was seen is kept."""
        if self._course is not None:
            with self.harmless("close"):
                self._course.read()
                self._course.close()

    def _copied(
        self, model: Any, optimizer: Any, loss: Any, train: Any, validation: Any, batch_size: Any, epochs: Any
    ) -> confirming.Laboratory | None:
        """A copy to try suspicions on, where all of the training is known and can be copied."""
        if optimizer is None or loss is None or any(part is None for part in (train, batch_size, epochs)):
            self.observations.unseen["experiments"] = "loss, training data, batch size or epochs were not given"
            return None
        task = self.observations.data.task if self.observations.data else "unknown"
        try:
            return confirming.Laboratory(
                replicas.of(model, optimizer, loss, train, validation, batch_size, epochs, task)
            )
        except NetwrightError as error:
            self.observations.unseen["experiments"] = str(error)
            return None

    @contextlib.contextmanager
    def harmless(self, where: str) -> Iterator[None]:
        """What goes wrong inside is one warning; afterwards the watch is silent."""
        try:
            yield
        except Exception as error:
            self._fail(where, error)

    def _fail(self, where: str, error: Exception) -> None:
        if not self._broken:
            self._broken = True
            self.observations.unseen["watch"] = f"{where}: {type(error).__name__}: {error}"
            if self._course is not None:
                with contextlib.suppress(Exception):
                    self._course.close()
            warnings.warn(f"netwright.watch stopped in {where}: {type(error).__name__}: {error}", stacklevel=4)

    def step(self, loss: Any = None) -> None:
        """After the optimiser's step; ``loss`` of this step, detached or not. Nothing here waits for its value."""
        if self._course is not None and not self._broken:
            try:  # as `harmless`, which would cost more than all the rest
                self._course.step(loss)
            except Exception as error:
                self._fail("step", error)
            if self._teller is not None and self._course.steps >= self._teller.next:
                self._teller.next = 2 * self._course.steps
                self._tell()

    @_harmless
    def look_closer(self) -> None:
        """Measure the loss's curvature and the gradient's noise at the weights of now: ``sharpness``,
        ``condition-number``, ``gradient-noise-scale``, … Needs ``loss`` and ``train_data``; seconds, on a copy."""
        if self._course is not None and self._loss is not None and self._train_data is not None:
            self._course.read()
            self._course.pause()
            closer.look(self.observations, self.network, self._loss, self._train_data, self.steps)
            self._diagnosis = None

    @_harmless
    def epoch(self, train: float | None = None, val: float | None = None) -> None:
        """After an epoch; higher is better."""
        if self._course is not None:
            self._course.read()
        number = len({row.epoch for row in self.observations.epochs}) + 1
        for split, value in (("train", train), ("validation", val)):
            if value is not None:
                self.observations.epochs.append(
                    EpochRow(epoch=number, step=self.steps, split=split, metrics={"score": float(value)})  # type: ignore[arg-type]
                )

        self._tell()

    def _tell(self) -> None:
        if self._teller is not None:
            self._teller.tell(self.glance())

    @_harmless
    def go_on(self, seen: Observations, step: int) -> None:
        """The training goes on from ``step``: what was seen before it is taken over, facts are those of now."""
        own, self.observations.series = self.observations.series, seen.series
        for probe, layer, series in own:  # what preflight measured
            if not self.observations.series.get(probe, layer).steps:
                for at, value in zip(series.steps, series.values, strict=True):
                    found = Measurement(probe=probe, layer=layer, step=at, unit=series.unit, values=(value,))
                    self.observations.series.add(found)
        self.observations.epochs, self.observations.outcomes = seen.epochs, seen.outcomes
        if self._course is not None:
            self._course.start_at(step)

    def glance(self) -> Diagnosis:
        """What is found by now without trying anything on a copy; milliseconds."""
        return self._glanced() or Diagnosis(unseen=dict(self.observations.unseen))

    @_harmless
    def _glanced(self) -> Diagnosis | None:
        if self._course is not None:
            self._course.read()
        return judge(self.observations, self._ignore)

    def _stands_still(self, diagnosis: Diagnosis) -> bool:
        """Whether the loss's curvature may tell more, it was not measured yet, and seconds suffice."""
        known = bool(self.observations.series.get("sharpness").steps)
        told = {finding.code for finding in diagnosis.findings} & STANDING_STILL
        if known or not told or self.laboratory is None or not self.steps:
            return False
        batch = max(1, self.laboratory.replica.batch_size)
        seconds = closer.STEPS * max(1.0, closer.CURVED / batch) * self.laboratory.step_seconds
        if seconds > LONGEST_LOOK:
            self.observations.unseen["curvature"] = f"it would take {seconds:.0f} s; watch.look_closer() measures it"
        return 0 < seconds <= LONGEST_LOOK

    def findings(self) -> tuple[Finding, ...]:
        """What is found by now, root causes first; suspicions are tried on a copy within the time for it."""
        return self.diagnosis().findings

    def report(self, path: Path | str = "report.html") -> Path:
        """Write what was found and seen as one HTML file that needs nothing else; returns its path."""
        from netwright.reporting import page

        return page.write_watch_report(path, self.diagnosis(), self.observations, type(self._model).__name__)

    def diagnosis(self) -> Diagnosis:
        """The findings and everything around them."""
        state = (self.steps, len(self.observations.epochs))
        if self._diagnosis is None or self._diagnosis[0] != state:
            diagnosis = Diagnosis(unseen=dict(self.observations.unseen))
            with self.harmless("diagnosis"), undisturbed():
                if self._course is not None:
                    self._course.read()
                    self._course.pause()  # experiments run networks of their own
                    if self.steps:
                        closer.compare_modes(
                            self.observations, self.network, self._loss, self._train_data, self.steps,
                            self._course.sampler.modes,
                        )  # fmt: skip
                if self.laboratory is not None:
                    rates = self.observations.series.get("learning-rate")
                    known = zip(rates.steps, rates.values, strict=True)
                    self.laboratory.follow([(step, rate) for step, rate in known if rate is not None])
                diagnosis = confirming.judge_and_confirm(
                    self.observations, self.laboratory, ignore=self._ignore, seconds=self.confirm
                )
                if self._stands_still(diagnosis):
                    closer.look(self.observations, self.network, self._loss, self._train_data, self.steps)
                    diagnosis = confirming.judge_and_confirm(
                        self.observations, self.laboratory, ignore=self._ignore, seconds=self.confirm
                    )
            self._diagnosis = (state, diagnosis)
            if self._teller is not None:
                self._teller.tell(diagnosis)
        return self._diagnosis[1]


def _failed(own: weakref.ref[Watch], error: Exception) -> None:
    watch = own()
    if watch is not None:
        watch._fail("hooks", error)
