"""Findings as lines of text, for terminals, logs and ``print``: root causes first, consequences indented. No torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from netwright.diagnosis import catalogue
from netwright.records import Finding, Severity

if TYPE_CHECKING:
    from netwright.diagnosis.judging import Diagnosis

INDENT = "    "
LEVELS: tuple[Severity, ...] = ("note", "warning", "error")  # from the mildest on
SHOWN_CODES = 60
NOT_TRIED = "not tried"
UNMADE = "an experiment that was not made"


class Line(NamedTuple):
    """A line and how it is meant: ``error``, ``warning``, ``note``, ``good``, ``dim`` or plain."""

    text: str
    tone: str = ""


def at_least(found: Iterable[Finding], level: Severity) -> list[Finding]:
    """Those that are as severe as ``level`` or more."""
    return [finding for finding in found if LEVELS.index(finding.severity) >= LEVELS.index(level)]


def depths(found: Sequence[Finding]) -> list[int]:
    """How many findings lie between each finding and its root cause; 0 for a root, or where they go in a circle."""
    parents = {finding.code: finding.because_of for finding in found}

    def depth(code: str) -> int:
        passed = [code]
        while (parent := parents.get(passed[-1], "")) in parents and parent != passed[-1]:
            if parent in passed:
                return 0
            passed.append(parent)
        return len(passed) - 1

    return [depth(finding.code) for finding in found]


def lines(finding: Finding, depth: int = 0) -> list[Line]:
    """What, where, what was seen, why, how it is known, what to do; of a consequence only what and what was seen."""
    start = INDENT * depth
    whose = f"  (because of {finding.because_of})" if finding.because_of not in ("", finding.code) else ""
    told = [Line(f"{start}{finding.severity}: {finding.code}  {finding.where}{whose}", finding.severity)]
    for evidence in finding.evidence:
        at = f" at step {evidence.step}" if evidence.step is not None else ""
        value = "–" if evidence.value is None else f"{evidence.value:.4g}"
        wanted = f" (expected {evidence.expected})" if evidence.expected else ""
        told.append(Line(f"{start}  saw {evidence.what} {value} {evidence.unit}".rstrip() + at + wanted))
    if finding.expected:
        told.append(Line(f"{start}  expected {finding.expected}"))
    if finding.cause:
        told.append(Line(f"{start}  because {finding.cause}"))
    if finding.confirmed_by:
        told.append(Line(f"{start}  {'confirmed: ' if is_confirmed(finding) else ''}{finding.confirmed_by}"))
    for remedy in finding.remedies if not depth else ():
        change = " ".join(f"--set {key}={value}" for key, value in remedy.change.items() if "." in key)  # recipe keys
        told.append(Line(f"{start}  try {remedy.text}{f'  {change}' if change else ''}"))
    return told


def tree(found: Sequence[Finding]) -> list[Line]:
    """All of them, in the order in which they are given (`judging.in_order` puts roots first)."""
    return [line for finding, depth in zip(found, depths(found), strict=True) for line in lines(finding, depth)]


def verdict(diagnosis: Diagnosis) -> Line:
    """One sentence: healthy, or how much was found and what the root is."""
    alarms = at_least(diagnosis.findings, "warning")
    if not alarms:
        notes = len(diagnosis.findings)
        more = f", {notes} note{'s' * (notes != 1)}" if notes else ""
        if not diagnosis.checked:
            return Line(f"Nothing was found, and nothing was checked{more}.", "dim")
        if open_questions := undecided(diagnosis):
            known = f"{len(diagnosis.checked)} kinds of faults were checked and not found{more}"
            needs = "needs" if open_questions == 1 else "need"
            return Line(f"{known}; {open_questions} more {needs} experiments that were not made.", "dim")
        return Line(f"Healthy: {len(diagnosis.checked)} kinds of faults were checked and not found{more}.", "good")
    counts = [(level, sum(finding.severity == level for finding in alarms)) for level in ("error", "warning")]
    counted = " and ".join(f"{count} {level}{'s' * (count != 1)}" for level, count in counts if count)
    root = alarms[0]
    return Line(ended(f"{counted}. {title(root)}: {root.where}"), root.severity)


def undecided(diagnosis: Diagnosis) -> int:
    """How many codes were suspected and neither found nor ruled out, for want of an experiment."""
    return sum(UNMADE in lacks for lacks in diagnosis.unchecked.values())


def ended(sentence: str) -> str:
    """With a full stop, unless it ends already."""
    return sentence if not sentence or sentence[-1] in ".…!?" else f"{sentence}."


def title(finding: Finding) -> str:
    """What the catalogue calls it, or its code, where a rule of another version told it."""
    known = catalogue.entries().get(finding.code)
    return known.title if known else finding.code


def confirmed(found: Iterable[Finding]) -> tuple[int, int]:
    """Of the causes at warning or above, how many were confirmed by an experiment, and how many there are."""
    entries = catalogue.entries()
    causes = [
        finding for finding in at_least(found, "warning")
        if finding.code in entries and entries[finding.code].kind == "cause"
    ]  # fmt: skip
    return sum(is_confirmed(finding) for finding in causes), len(causes)


def is_confirmed(finding: Finding) -> bool:
    """Whether an experiment says so, and not why there was none (`experimenting.proof`)."""
    return bool(finding.confirmed_by) and not finding.confirmed_by.startswith(NOT_TRIED)


def whole(diagnosis: Diagnosis) -> list[Line]:
    """The diagnosis as it is printed: verdict, findings, what is silenced, found fine, and could not be seen."""
    told = [verdict(diagnosis), *tree(diagnosis.findings)]
    proved, causes = confirmed(diagnosis.findings)
    if causes:
        told.append(Line(f"{proved} of {causes} causes confirmed by an experiment on a copy of the training.", "dim"))
    told += [
        Line(f"silenced: {finding.code}  {finding.where} ({finding.ignored})", "dim") for finding in diagnosis.silenced
    ]
    if diagnosis.checked:
        told.append(Line("checked and not found: " + ", ".join(diagnosis.checked[:SHOWN_CODES]), "dim"))
    if diagnosis.unchecked:
        reasons = sorted({need for lacks in diagnosis.unchecked.values() for need in lacks})
        told.append(Line(f"not checked, for want of {', '.join(reasons)}: {', '.join(diagnosis.unchecked)}", "dim"))
    told += [Line(f"not seen: {what} ({why})", "dim") for what, why in diagnosis.unseen.items()]
    return told
