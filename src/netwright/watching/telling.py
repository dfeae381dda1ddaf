"""Findings in the terminal as they arise, in someone else's loop."""

from __future__ import annotations

import sys

from netwright.diagnosis import telling
from netwright.diagnosis.judging import Diagnosis

FIRST = 25  # the step after which is looked whether anything is to be told; then after twice as many, and so on


class Teller:
    """Prints what is new at warning or above, on stderr, once each; a root cause first, what follows from it below."""

    def __init__(self) -> None:
        self.next = FIRST
        self._told: set[tuple[str, str]] = set()

    def tell(self, diagnosis: Diagnosis) -> None:
        found = [
            finding for finding in telling.at_least(diagnosis.findings, "warning")
            if (finding.code, finding.where) not in self._told
        ]  # fmt: skip
        self._told |= {(finding.code, finding.where) for finding in found}
        for line in telling.tree(found):
            print(line.text, file=sys.stderr)
