"""Findings as text: roots first, what follows from them below, and the verdict."""

from netwright.diagnosis import telling
from netwright.diagnosis.judging import Diagnosis, in_order
from netwright.records import Evidence, Finding, Remedy


def finding(code: str, because: str = "", severity: str = "error", **more: object) -> Finding:
    return Finding(code=code, severity=severity, where="fc1", because_of=because, **more)  # type: ignore[arg-type]


ROOT = finding(
    "wrong-hidden-activation", cause="sigmoids", remedies=(Remedy(code="swap", text="ReLU", change={"train.lr": 0.1}),),
    evidence=(Evidence(what="slope", value=0.25, unit="share", step=7, expected="near 1"),),
    confirmed_by="with ReLU 0.9 instead of 0.1",
)  # fmt: skip
CHAIN = [finding("not-learning", "vanishing-gradient"), finding("vanishing-gradient", ROOT.code), ROOT]


def test_consequences_stand_below_their_cause_and_deeper() -> None:
    told = [line.text for line in telling.tree(in_order(CHAIN))]
    heads = [line for line in told if "error:" in line]
    assert heads == [
        "error: wrong-hidden-activation  fc1",
        "    error: vanishing-gradient  fc1  (because of wrong-hidden-activation)",
        "        error: not-learning  fc1  (because of vanishing-gradient)",
    ]
    assert told[1:5] == [
        "  saw slope 0.25 share at step 7 (expected near 1)", "  because sigmoids",
        "  confirmed: with ReLU 0.9 instead of 0.1", "  try ReLU  --set train.lr=0.1",
    ]  # fmt: skip


def test_a_cause_leads_before_symptoms_of_which_none_is_explained() -> None:
    found = [
        finding("not-learning"), finding("duplicates", severity="note"), finding("dead-units", severity="warning"),
        finding("leak", severity="warning", confidence=0.9), finding("bad-values", severity="warning"),
        finding("overfitting", "leak", "note"),
    ]  # fmt: skip
    ordered = [each.code for each in in_order(found)]
    assert ordered == ["bad-values", "leak", "overfitting", "not-learning", "dead-units", "duplicates"]


def test_a_circle_of_causes_is_told_once_each() -> None:
    circle = [finding("plateau", "saddle-point"), finding("saddle-point", "plateau"), finding("leak", "leak")]
    ordered = in_order(circle)
    assert sorted(each.code for each in ordered) == ["leak", "plateau", "saddle-point"]
    assert telling.depths(ordered) == [0, 0, 0]


def test_the_verdict() -> None:
    assert telling.verdict(Diagnosis(checked=("leak", "plateau"))).text.startswith("Healthy: 2 kinds of faults")
    note = finding("duplicates", severity="note")
    assert "1 note" in telling.verdict(Diagnosis(checked=("leak",), findings=(note,))).text
    assert telling.verdict(Diagnosis()).text == "Nothing was found, and nothing was checked."
    bad = Diagnosis(findings=(*in_order(CHAIN), finding("plateau", severity="warning")), healthy=False)
    assert telling.verdict(bad).text == "3 errors and 1 warning. An activation inside the network hinders it: fc1."
    assert telling.confirmed(bad.findings) == (1, 1)
    untried = Finding.from_dict(ROOT.to_dict() | {"confirmed_by": "not tried: the time was over"})
    assert telling.confirmed([untried]) == (0, 1)
    assert "  not tried: the time was over" in [line.text for line in telling.lines(untried)]
    assert "1 of 1 causes confirmed" in str(bad)
    strange = Diagnosis(findings=(finding("of-another-version"),), healthy=False)
    assert "of-another-version" in telling.verdict(strange).text


def test_what_was_silenced_and_not_seen_is_said() -> None:
    silenced = Finding.from_dict(ROOT.to_dict() | {"ignored": "on purpose"})
    told = str(Diagnosis(silenced=(silenced,), checked=("leak",), unseen={"activation": "compiled"}))
    assert "silenced: wrong-hidden-activation  fc1 (on purpose)" in told
    assert "not seen: activation (compiled)" in told


def test_severities_are_ordered() -> None:
    found = [finding("leak", severity=severity) for severity in telling.LEVELS]
    assert [len(telling.at_least(found, level)) for level in telling.LEVELS] == [3, 2, 1]
