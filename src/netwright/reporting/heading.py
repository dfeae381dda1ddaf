"""The beginning of a report: the headline, the facts below it, and the findings. No torch."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup, escape

from netwright.diagnosis import catalogue, telling
from netwright.diagnosis.judging import in_order
from netwright.diagnosis.telling import depths, title
from netwright.records import Finding
from netwright.reporting import formatting, sentences
from netwright.reporting.contents import Confusion, Contents
from netwright.reporting.pieces import SPLIT_NAMES, SPLITS, Section, count_for, example_counts, key_entry

FINDINGS_SHOWN, EVIDENCE_SHOWN, REMEDIES_SHOWN = 24, 8, 6
STATES = {
    "finished": "finished",
    "running": "still training",
    "interrupted": "interrupted",
    "empty": "no epoch finished yet",
    "damaged": "damaged",
}
DEEPEST = 3  # levels by which a consequence is moved in


def head(contents: Contents) -> Section:
    """The sentence and the key numbers."""
    run, sentence = contents.summary, headline(contents)
    part, metrics = sentences.spoken_for(run.metrics)
    telling = "loss" if contents.unit else sentences.telling(metrics)
    number = formatting.metric(telling, metrics.get(telling), 3)
    if contents.unit and (loss := metrics.get("loss")):
        number = f"{loss:.3f}"
    return {
        "name": contents.directory.name,
        "state": run.state,
        "state_text": STATES[run.state],
        "started": formatting.clipped(run.started.replace("T", " ")[:16], 40),
        "headline": sentence,
        "headline_html": _emphasised(sentence, number),
        "facts": _facts(contents, part, metrics),
    }


def headline(contents: Contents) -> str:
    """What the run says in one sentence."""
    spoken = _spoken(contents)
    targets = contents.inputs.targets if contents.inputs else ()
    return sentences.headline(
        contents.summary,
        epochs=contents.planned_epochs,
        examples=spoken.total if spoken else 0,
        guessing=spoken.guessing if spoken else None,
        target=targets[0] if len(targets) == 1 and contents.task == "regression" else "",
        unit=contents.unit,
    )


def _spoken(contents: Contents) -> Confusion | None:
    """The confusions, if they are of the part of the data that speaks for the run."""
    part, _ = sentences.spoken_for(contents.summary.metrics)
    return contents.confusion if contents.confusion and contents.confusion.split == part else None


def _emphasised(sentence: str, number: str) -> Markup:
    before, found, after = sentence.partition(f" {number} ")
    marked = Markup("{} <em>{}</em> {}").format(before, number, after) if found else escape(sentence)
    return marked.replace("held-out", Markup('<span class="whole">held-out</span>'))


def _fact(value: str, label: str, note: str = "") -> Section:
    value, note = (text.replace(" %", "\u00a0%") for text in (value, note))
    return {"value": value, "label": label, "note": note}


def _facts(contents: Contents, part: str, metrics: sentences.Metrics) -> list[Section]:
    run, spoken = contents.summary, _spoken(contents)
    facts = []
    shown = [name for name in ("accuracy", sentences.telling(metrics), "r2", "mae", "loss") if name in metrics]
    if contents.unit and metrics.get("loss"):
        facts += _of_language(metrics["loss"], contents.unit, part)
        shown = ["accuracy"]
    for name in list(dict.fromkeys(shown))[:3]:
        notes = []
        if name == "accuracy" and spoken and spoken.total:
            low, high = wilson(spoken.right, spoken.total)
            notes.append(f"{formatting.count(spoken.total - spoken.right)} of {formatting.count(spoken.total)} wrong")
            notes.append(f"95 % interval {100 * low:.1f} – {100 * high:.1f} %")
        if part == "test" and (other := run.metrics.get("validation", {}).get(name)) is not None:
            notes.append(f"validation {formatting.metric(name, other, 3)}")
        label = "right" if name == "accuracy" else formatting.metric_name(name)
        value = formatting.metric(name, metrics[name], 3)
        facts.append(_fact(value, f"{label}, {SPLIT_NAMES[part]}", "; ".join(notes)))
    if spoken and spoken.guessing is not None:
        facts.append(_fact(formatting.percent(spoken.guessing), "by guessing", "always saying the most frequent class"))
    if run.seconds:
        counted = [formatting.plural(run.epochs, "epoch"), formatting.plural(run.step, "step")]
        facts.append(_fact(formatting.duration(run.seconds), "of training", ", ".join(counted)))
    counts = example_counts(contents)
    if counts.get("train"):
        held_out = [count_for(counts, split) for split in SPLITS[1:] if counts.get(split)]
        facts.append(_fact(formatting.count(counts["train"]), "training examples", ", ".join(held_out)))
    return facts


def _of_language(loss: float | None, unit: str, part: str) -> list[Section]:
    """A language model's loss in the three units that people speak of."""
    nats = 0.0 if loss is None else loss
    perplexity = formatting.number(math.exp(min(nats, 700.0)), 3)
    return [
        _fact(f"{nats:.3f}", f"nats a {unit}, {SPLIT_NAMES[part]}", f"{nats / math.log(2):.3f} bits"),
        _fact(perplexity, "perplexity", f"as unsure as a choice among so many {unit}s"),
    ]


def wilson(right: int, total: int, deviations: float = 1.96) -> tuple[float, float]:
    """Wilson's interval of a share (E. B. Wilson, 1927); 1.96 deviations: 95 %."""
    if not total:
        return 0.0, 1.0
    share, square = right / total, deviations**2
    middle = (share + square / (2 * total)) / (1 + square / total)
    half = deviations / (1 + square / total) * math.sqrt(share * (1 - share) / total + square / (4 * total**2))
    return max(0.0, middle - half), min(1.0, middle + half)


# ------------------------------------------------------------------------------------------------ findings


def findings(contents: Contents) -> Section | None:
    """What was judged last, or else what was found while it trained."""
    return list_findings(contents.findings, numbered=contents.diagnosis is not None)


def list_findings(found: Sequence[Finding], *, numbered: bool) -> Section | None:
    """Root causes first, each followed by what it explains; silenced ones by their names. ``numbered``: as pins are."""
    if not found:
        return None
    latest = list({(each.code, each.layer, each.where): each for each in found}.values())
    active = in_order([finding for finding in latest if not finding.ignored])
    codes = {finding.code for finding in active}
    deep = depths(active)
    silenced = [f"{each.code} ({formatting.clipped(each.ignored, 120)})" for each in latest if each.ignored]
    roots = sum(each.because_of not in codes for each in active)
    lead = f"{formatting.plural(len(active), 'finding')}." if active else "Nothing beyond what the recipe silences."
    if active and roots < len(active):
        lead = f"{formatting.plural(len(active), 'finding')}; root causes ({roots}) come first."
    return {
        "lead": lead,
        "shown": [
            _finding(each) | {"depth": min(depth, DEEPEST), "number": number if numbered else 0}
            for number, (each, depth) in enumerate(zip(active[:FINDINGS_SHOWN], deep, strict=False), 1)
        ],
        "more": max(0, len(active) - FINDINGS_SHOWN),
        "silenced": silenced[:FINDINGS_SHOWN],
    }


def _finding(finding: Finding) -> Section:
    seen = []
    for evidence in finding.evidence[:EVIDENCE_SHOWN]:
        at = f", step {formatting.count(evidence.step)}" if evidence.step is not None else ""
        value = f"{formatting.short(evidence.value)} {formatting.clipped(evidence.unit, 40)}".rstrip()
        expected = formatting.clipped(evidence.expected, 200)
        seen.append({"what": formatting.clipped(evidence.what, 200) + at, "value": value, "expected": expected})
    remedies = []
    for remedy in finding.remedies[:REMEDIES_SHOWN]:
        entries = [key_entry(key, value) for key, value in list(remedy.change.items())[:REMEDIES_SHOWN]]
        changes = [f"{entry['key']} = {entry['value']}" for entry in entries]
        remedies.append({"text": formatting.clipped(remedy.text, 400), "changes": changes})
    return {
        "code": formatting.clipped(finding.code, 80),
        "title": formatting.clipped(title(finding), 120),
        "more": _explained(finding.code),
        "severity": finding.severity,
        "where": formatting.clipped(finding.where, 200),
        "layer": formatting.clipped(finding.layer, 120) if finding.layer != finding.where else "",
        "seen": seen,
        "expected": formatting.clipped(finding.expected, 300),
        "cause": formatting.clipped(finding.cause, 600),
        "because_of": finding.because_of,
        "remedies": remedies,
        "proved": telling.is_confirmed(finding),
        "confirmed": formatting.clipped(finding.confirmed_by, 300),
    }


def _explained(code: str) -> Section | None:
    """What the catalogue says of a code, beside what was seen here."""
    entry = catalogue.entries().get(code)
    return entry.to_dict() if entry else None
