"""A callback for the Trainer of Hugging Face's transformers: the training is watched. Needs transformers."""

from __future__ import annotations

import importlib
from typing import Any

from netwright.errors import MissingExtraError
from netwright.records import Measurement
from netwright.watching import Watch


def callback(score: str = "", **options: Any) -> Any:
    """``Trainer(callbacks=[callback()])``; afterwards ``.watch.findings()`` tells what was found.

    ``score``: the name of an evaluation metric, higher is better (``eval_accuracy``). ``options`` are those of
    `netwright.watch`. The loss is what the Trainer logs. Raises ``MissingExtraError`` where transformers is missing.
    """
    try:
        base = importlib.import_module("transformers").TrainerCallback
    except ImportError as error:
        raise MissingExtraError(
            "netwright.adapters.transformers", "transformers, which is not installed", "transformers",
            "pip install transformers",
        ) from error  # fmt: skip

    class WatchCallback(base):  # type: ignore[misc, valid-type]
        def __init__(self) -> None:
            super().__init__()
            self.watch: Watch | None = None

        def on_train_begin(self, args: Any, state: Any, control: Any, **others: Any) -> None:
            optimizer = others.get("optimizer")
            optimizer = getattr(optimizer, "optimizer", optimizer)  # within accelerate's wrapper
            self.watch = Watch(others["model"], optimizer, **options)

        def on_step_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
            if self.watch is not None:
                self.watch.step()

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **others: Any) -> None:
            loss = (logs or {}).get("loss")
            if self.watch is not None and isinstance(loss, int | float):
                told = Measurement(probe="loss", step=state.global_step, unit="loss", values=(float(loss),))
                self.watch.observations.series.add(told)

        def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any = None, **others: Any) -> None:
            found = (metrics or {}).get(score)
            if self.watch is not None and found is not None:
                self.watch.epoch(val=float(found))

        def on_train_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
            if self.watch is not None:
                self.watch.close()

    return WatchCallback()
