"""The health of a training as a section of a report: the root cause in a sentence, the maps, findings, what is fine."""

from __future__ import annotations

from netwright.codes import FAMILIES
from netwright.diagnosis import catalogue, telling
from netwright.diagnosis.judging import Diagnosis, in_order
from netwright.observations import Observations
from netwright.records import Finding
from netwright.reporting import formatting, maps
from netwright.reporting.pieces import Section

CAUSE, UNCHECKED = 400, 60
NOWHERE = ("", "training", "network", "data", "model")  # places that say no more than the title does


def health(diagnosis: Diagnosis, observations: Observations | None, seconds: dict[str, float]) -> Section:
    """``seconds``: of ``preflight`` and of ``experiments``, where they are known."""
    ordered = in_order(list(diagnosis.findings))  # as the list below the maps: pins have its numbers
    alarms = telling.at_least(ordered, "warning")
    root = alarms[0] if alarms else None
    drawn = maps.maps(observations, ordered) if observations else []
    return {
        "lead": _lead(diagnosis, alarms, seconds),
        "sentence": _sentence(diagnosis, root),
        "tone": root.severity if root else "good" if diagnosis.checked and not telling.undecided(diagnosis) else "note",
        "cause": telling.ended(formatting.clipped(root.cause[:1].upper() + root.cause[1:], CAUSE)) if root else "",
        "maps": drawn,
        "shown": drawn[0]["name"] if drawn else "",
        "fine": _fine(diagnosis),
        "unchecked": [
            {"code": code, "lacks": ", ".join(lacks)} for code, lacks in list(diagnosis.unchecked.items())[:UNCHECKED]
        ],
        "unseen": [
            {"what": formatting.clipped(what, 60), "why": formatting.clipped(why, 240)}
            for what, why in diagnosis.unseen.items()
        ],
    }


def _sentence(diagnosis: Diagnosis, root: Finding | None) -> str:
    if root is not None:
        where = "" if root.where in NOWHERE else f": {formatting.clipped(root.where, 120)}"
        return telling.ended(f"{telling.title(root)}{where}")
    if not diagnosis.checked:
        return "Nothing was checked."
    return "Nothing was found, but not all could be tried." if telling.undecided(diagnosis) else "Healthy."


def _lead(diagnosis: Diagnosis, alarms: list[Finding], seconds: dict[str, float]) -> list[str]:
    checked = len(diagnosis.checked)
    lines = []
    if alarms:
        lines.append(f"{formatting.plural(len(alarms), 'finding')}, the root cause first.")
        proved, causes = telling.confirmed(diagnosis.findings)
        if causes:
            lines.append(f"{proved} of {formatting.plural(causes, 'cause')} confirmed on a copy of the training.")
    if checked:
        lines.append(f"{formatting.plural(checked, 'kind')} of faults checked and not found.")
    spent = [f"{what} {formatting.duration(value)}" for what, value in seconds.items() if value >= 0.05]
    if spent:
        lines.append(f"Beside the training: {', '.join(spent)}.")
    return lines


def _fine(diagnosis: Diagnosis) -> list[Section]:
    """What was checked and not found, by family; the tip says what it means."""
    entries = catalogue.entries()
    checked = set(diagnosis.checked)
    return [
        {"family": family, "codes": [{"code": code, "title": entries[code].title} for code in codes if code in checked]}
        for family, codes in FAMILIES.items()
        if checked & set(codes)
    ]
