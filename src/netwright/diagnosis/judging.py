"""All rules over one training's observations: findings, the root cause first, and what was found fine."""

from __future__ import annotations

import copy
import importlib
import pkgutil
import warnings
from collections.abc import Mapping

from netwright.diagnosis import catalogue, telling
from netwright.diagnosis import rules as families
from netwright.diagnosis.registry import RULES, Rule
from netwright.observations import Experiment, Observations
from netwright.records import Finding, Record

_WARNED: set[str] = set()  # rules that failed in this process
# What a run comes to, whatever the cause.
OUTCOMES = ("not-learning", "slow-convergence", "plateau", "saddle-point", "ill-conditioned")
SEVERITIES = {"error": 0, "warning": 1, "note": 2}


class Diagnosis(Record, frozen=True, kw_only=True):
    """``findings``: root causes first, each before what follows from it. ``healthy``: nothing at warning or above.

    ``checked``: the codes whose rules had what they need and said nothing; ``unchecked``: what the others lacked, be it
    an experiment that a rule asked for.
    ``silenced``: findings that ``ignore`` names.
    ``wanted``: experiments that would tell more, the most telling first. ``unseen``: what could not be seen, and why.
    """

    findings: tuple[Finding, ...] = ()
    healthy: bool = True
    checked: tuple[str, ...] = ()
    unchecked: dict[str, tuple[str, ...]] = {}
    silenced: tuple[Finding, ...] = ()
    wanted: tuple[Experiment, ...] = ()
    unseen: dict[str, str] = {}

    def __str__(self) -> str:
        return "\n".join(line.text for line in telling.whole(self))


def load_rules() -> None:
    """Import every family of rules."""
    for module in pkgutil.iter_modules(families.__path__):
        importlib.import_module(f"{families.__name__}.{module.name}")


def judge(observations: Observations, ignore: Mapping[str, str] | None = None) -> Diagnosis:
    """Ask every rule. ``ignore``: code → reason, those findings are shown as silenced."""
    load_rules()
    found: list[Finding] = []
    wanted: dict[str, Experiment] = {}
    checked: list[str] = []
    failed: dict[str, str] = {}
    for rule, codes in RULES.items():
        told = set()
        for answer in _answers(rule, observations, failed):
            if isinstance(answer, Experiment):
                if answer.name not in observations.outcomes:
                    kept = wanted.setdefault(answer.name, answer)
                    wanted[answer.name] = max(kept, answer, key=lambda experiment: experiment.worth)
            else:
                found.append(answer)
                told.add(answer.code)
        checked += [code for code in codes if code not in told and _name(rule) not in failed]
    found = [_rooted(finding, found) for finding in found]
    there = seen(observations)
    needs = {code: entry.needs for code, entry in catalogue.entries().items()}
    lacking = {code: tuple(need for need in needs.get(code, ()) if need not in there) for code in checked}
    lacking |= {code: (telling.UNMADE,) for code in _unsettled(observations) if lacking.get(code) == ()}
    silenced = [_silenced(finding, ignore[finding.code]) for finding in found if ignore and finding.code in ignore]
    open_findings = [finding for finding in found if not (ignore and finding.code in ignore)]
    return Diagnosis(
        findings=tuple(in_order(open_findings)),
        healthy=not any(finding.severity != "note" for finding in open_findings),
        checked=tuple(code for code, lacks in lacking.items() if not lacks),
        unchecked={code: lacks for code, lacks in lacking.items() if lacks},
        silenced=tuple(silenced),
        wanted=tuple(sorted(wanted.values(), key=lambda experiment: -experiment.worth)),
        unseen={**observations.unseen, **failed},
    )


def _unsettled(observations: Observations) -> set[str]:
    """The codes of rules that asked for an experiment which was not made."""
    made = {name: outcome for name, outcome in observations.outcomes.items() if not outcome.failed}
    if len(made) == len(observations.outcomes):
        return set()
    before = copy.copy(observations)
    before.outcomes = made
    failed: dict[str, str] = {}
    asking = [
        codes for rule, codes in RULES.items()
        if any(isinstance(answer, Experiment) for answer in _answers(rule, before, failed))
    ]  # fmt: skip
    return {code for codes in asking for code in codes}


def seen(observations: Observations) -> set[str]:
    """What there is to judge by, in the words of the catalogue's ``needs``."""
    data, network = observations.data, observations.network
    parts = {
        "data": data is not None and data.inputs is not None,
        "validation": data is not None and data.validation_inputs is not None,
        "network": network is not None and bool(network.layers),
        "loss": observations.loss is not None,
        "optimizer": observations.optimizer is not None,
        "initial": observations.initial is not None,
        "steps": any(series.steps for _, _, series in observations.series),
        "epochs": bool(observations.epochs),
        "experiments": any(not outcome.failed for outcome in observations.outcomes.values()),
        "curvature": bool(observations.series.get("sharpness").steps),
    }
    return {name for name, there in parts.items() if there}


def _name(rule: Rule) -> str:
    return f"rule {rule.__module__.rpartition('.')[2]}.{rule.__name__}"


def _answers(rule: Rule, observations: Observations, failed: dict[str, str]) -> list[Finding | Experiment]:
    """What a rule says; one that fails is named among what could not be seen, with one warning, and says nothing."""
    try:
        return list(rule(observations))
    except Exception as error:
        name = _name(rule)
        failed[name] = f"{type(error).__name__}: {error}"
        if name not in _WARNED:
            _WARNED.add(name)
            warnings.warn(f"netwright: {name} failed: {failed[name]}", stacklevel=2)
        return []


def _rooted(finding: Finding, found: list[Finding]) -> Finding:
    """How a run looks as a whole follows from the surest cause that was found, if its own rule names none."""
    if finding.because_of or finding.code not in OUTCOMES:
        return finding
    entries = catalogue.entries()
    causes = [
        other for other in found
        if other.severity != "note" and not other.because_of and other.code in entries
        and entries[other.code].kind == "cause"
    ]  # fmt: skip
    if not causes:
        return finding
    root = min(
        causes, key=lambda other: (not telling.is_confirmed(other), SEVERITIES[other.severity], -other.confidence)
    )
    return Finding.from_dict(finding.to_dict() | {"because_of": root.code})


def _silenced(finding: Finding, reason: str) -> Finding:
    return Finding.from_dict(finding.to_dict() | {"ignored": reason})


def in_order(findings: list[Finding]) -> list[Finding]:
    """Roots, each followed by what it explains (``because_of``): those that are more than notes first, of these what is
    known to be a cause before symptoms without one, then by severity and confidence."""
    known = catalogue.entries()

    def rank(finding: Finding) -> tuple[bool, bool, int, float]:
        entry = known.get(finding.code)
        symptom = entry is not None and entry.kind == "symptom"
        return finding.severity == "note", symptom, SEVERITIES[finding.severity], -finding.confidence

    codes = {finding.code for finding in findings}
    roots = [finding for finding in findings if finding.because_of not in codes or finding.because_of == finding.code]
    roots.sort(key=rank)
    ordered: list[Finding] = []

    def add(finding: Finding) -> None:
        if finding in ordered:
            return
        ordered.append(finding)
        for other in findings:
            if other.because_of == finding.code:
                add(other)

    for finding in roots:
        add(finding)
    return ordered + [finding for finding in findings if finding not in ordered]  # a circle of causes loses nothing
