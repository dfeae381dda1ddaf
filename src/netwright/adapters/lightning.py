"""A callback for Lightning's Trainer: the training is watched. Needs lightning (or pytorch-lightning)."""

from __future__ import annotations

import importlib
from typing import Any

from netwright.errors import MissingExtraError
from netwright.watching import Watch

PACKAGES = ("lightning.pytorch", "pytorch_lightning")


def callback(score: str = "", **options: Any) -> Any:
    """``Trainer(callbacks=[callback()])``; afterwards ``.watch.findings()`` tells what was found.

    ``score``: the name of a logged metric, higher is better, that is read after every validation. ``options`` are those
    of `netwright.watch`. Raises ``MissingExtraError`` where Lightning is not installed.
    """
    base = _base()

    class WatchCallback(base):  # type: ignore[misc, valid-type]
        def __init__(self) -> None:
            super().__init__()
            self.watch: Watch | None = None
            self._steps = 0

        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            self._steps = trainer.global_step
            optimizers = [getattr(one, "optimizer", one) for one in trainer.optimizers]
            self.watch = Watch(pl_module, optimizers, **options)

        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            if self.watch is not None and trainer.global_step > self._steps:  # else gradients are still gathered
                self._steps = trainer.global_step
                self.watch.step(outputs.get("loss") if isinstance(outputs, dict) else outputs)

        def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
            found = trainer.callback_metrics.get(score)
            if self.watch is not None and found is not None and not getattr(trainer, "sanity_checking", False):
                self.watch.epoch(val=float(found))

        def on_train_end(self, trainer: Any, pl_module: Any) -> None:
            if self.watch is not None:
                self.watch.close()

    return WatchCallback()


def _base() -> Any:
    for name in PACKAGES:
        try:
            return importlib.import_module(name).Callback
        except ImportError as error:
            missing = error
    raise MissingExtraError(
        "netwright.adapters.lightning", "lightning, which is not installed", "lightning or pytorch-lightning",
        "pip install lightning",
    ) from missing  # fmt: skip
