"""Examples of a batch that are not kept apart. No torch."""

from __future__ import annotations

from collections.abc import Iterator

from netwright.diagnosis.registry import rule
from netwright.observations import Experiment, Observations
from netwright.records import Evidence, Finding, Remedy

MIXED = 0.01  # of the distance between outputs of different examples; rounding is 1e-6, and is left out


@rule("train-eval-gap")
def mixed_rows(observations: Observations) -> Iterator[Finding | Experiment]:
    """An example's output depends on who else is in the batch, in evaluation mode, where each stands for itself."""
    flight = observations.preflight
    if flight is None or flight.mixing is None or flight.mixing <= MIXED:
        return
    fed = bool(observations.series.get("loss").values)  # batches of the training looked as the data does
    yield Finding(
        code="train-eval-gap", severity="warning" if fed else "note", where="network",
        evidence=(
            Evidence(
                what="how far outputs move when the other half of the batch is replaced, ÷ their deviation",
                value=flight.mixing, unit="share", expected="0",
            ),
        ),
        expected="outputs in evaluation mode that depend on the example alone",
        cause="the network mixes the examples of a batch: with other neighbours, or one by one, the same example gets "
        "another answer. A softmax or a mean along the batch, a reshape that moves values from row to row, or a "
        "recurrence or attention that takes the batch for time (batch_first)",
        remedies=(
            Remedy(code="axis", text="look at every dim=, view, reshape and transpose in forward; batch_first=True"),
        ),
        confidence=0.95,
    )  # fmt: skip
