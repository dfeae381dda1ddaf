"""The rules by the codes that they may tell."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from netwright.observations import Experiment, Observations
from netwright.records import Finding

Rule = Callable[[Observations], Iterator[Finding | Experiment]]

RULES: dict[Rule, tuple[str, ...]] = {}


def rule(*codes: str) -> Callable[[Rule], Rule]:
    """Register a function that reads observations and yields findings with these ``codes``.

    Where a cause does not follow from a fact, it yields the `Experiment` that would tell as long as its outcome is not
    among the observations, and a finding only with the outcome (``confirmed_by``), or, where the experiment failed or
    there is no copy to try it on (``outcome.failed``), a finding that says so and is less sure.
    """

    def register(function: Rule) -> Rule:
        RULES[function] = codes
        return function

    return register
