"""What was seen of a training: facts, measurements, metrics, experiments. The rules read nothing else. No torch.

`Observations` is filled by preflight and probes, kept in the run's database, and read by `diagnosis`; a finished run is
judged again from it without PyTorch. What is None or empty was not seen, and a rule that needs it says nothing.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import msgspec

from netwright.observations.data import DataAudit
from netwright.observations.experiments import Experiment, Outcome
from netwright.observations.initial import InitialState
from netwright.observations.network import LossFacts, NetworkFacts, OptimizerFacts, Plan, Preflight
from netwright.observations.series import Series, SeriesStore
from netwright.records import EpochRow, Record

__all__ = [
    "DataAudit", "Experiment", "InitialState", "LossFacts", "NetworkFacts", "Observations", "OptimizerFacts", "Outcome",
    "Plan", "Preflight", "Series", "SeriesStore",
]  # fmt: skip

_FACTS: dict[str, type[Record]] = {
    "data": DataAudit, "network": NetworkFacts, "loss": LossFacts, "optimizer": OptimizerFacts, "plan": Plan,
    "preflight": Preflight, "initial": InitialState,
}  # fmt: skip


@dataclasses.dataclass
class Observations:
    """Everything that the rules may know of one training."""

    data: DataAudit | None = None
    network: NetworkFacts | None = None
    loss: LossFacts | None = None
    optimizer: OptimizerFacts | None = None
    plan: Plan | None = None
    preflight: Preflight | None = None
    initial: InitialState | None = None
    series: SeriesStore = dataclasses.field(default_factory=SeriesStore)
    epochs: list[EpochRow] = dataclasses.field(default_factory=list)
    outcomes: dict[str, Outcome] = dataclasses.field(default_factory=dict)  # by the experiment's name
    unseen: dict[str, str] = dataclasses.field(default_factory=dict)  # what could not be seen → why
    finished: bool = False

    def facts_to_json(self) -> bytes:
        """Facts, outcomes and what was not seen; series and epochs have tables of their own in a run."""
        values: dict[str, Any] = {name: getattr(self, name) for name in _FACTS if getattr(self, name) is not None}
        values |= {"outcomes": list(self.outcomes.values()), "unseen": self.unseen, "finished": self.finished}
        return msgspec.json.encode(values)

    def read_facts(self, text: bytes) -> None:
        """The inverse of `facts_to_json`; raises `msgspec.ValidationError` for what it does not know."""
        values: dict[str, Any] = msgspec.json.decode(text)
        for name, kind in _FACTS.items():
            if name in values:
                setattr(self, name, msgspec.convert(values[name], kind))
        outcomes = msgspec.convert(values.get("outcomes", []), list[Outcome])
        self.outcomes |= {outcome.experiment.name: outcome for outcome in outcomes}
        self.unseen |= values.get("unseen", {})
        self.finished = values.get("finished", False)
