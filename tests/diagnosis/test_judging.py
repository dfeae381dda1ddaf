"""Laws of all rules together, and of the order in which findings are told."""

import dataclasses
import math
import types
import typing
from collections.abc import Iterator
from typing import Any, Literal

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from netwright.codes import CODES
from netwright.diagnosis import judging, telling
from netwright.diagnosis.registry import RULES
from netwright.observations import Experiment, Observations, Outcome, SeriesStore
from netwright.observations.experiments import Replay
from netwright.observations.network import LayerFacts
from netwright.probes import __doc__ as table_of_probes
from netwright.records import EpochRow, Finding, Measurement

judging.load_rules()

LAYERS = ("a", "b", "c", "d", "input", "")
KINDS = ("Linear", "Conv2d", "ReLU", "Softmax", "Sigmoid", "Tanh", "BatchNorm1d", "Dropout", "GRU", "add", "Mine")
ACTIVATIONS = ("relu", "softmax", "sigmoid", "tanh", "exponential", "identity", "log_softmax", "")
PROBES = tuple(
    name.strip(", ")
    for line in str(table_of_probes).splitlines()
    for name in line.split("  ")[0].split(", ")
    if name and name[0].islower() and " " not in name.strip(", ")
)
usual = st.sampled_from([0.0, 1.0, 0.5, 0.9, 2.0, 1e-9, 1e9])
strange = st.one_of(st.floats(), st.sampled_from([-1.0, math.nan, math.inf, -math.inf]))
numbers = st.integers(0, 4).flatmap(lambda draw: usual if draw else strange)


def values_of(hint: Any, name: str) -> st.SearchStrategy[Any]:
    """Anything of the type, of a field called ``name``."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return st.one_of([values_of(one, name) for one in arguments])
    if origin is Literal:
        return st.sampled_from(arguments)
    if origin is tuple:
        if len(arguments) == 2 and arguments[1] is ...:
            return st.lists(values_of(arguments[0], name), max_size=4).map(tuple)
        return st.tuples(*(values_of(one, name) for one in arguments))
    if origin is dict or hint is dict:
        return options if name in ("options", "groups") else st.dictionaries(names, shapes, max_size=2)
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return records(hint)
    simple = {
        bool: st.booleans(), int: st.integers(-1, 2000), float: numbers, type(None): st.none(), Any: numbers,
        str: st.sampled_from(KINDS if name == "kind" else ACTIVATIONS if "activation" in name else LAYERS),
    }  # fmt: skip
    return simple[hint]


names = st.sampled_from(["weight", "bias", "weight_ih_l0"])
shapes = st.lists(st.integers(0, 64), max_size=4).map(tuple)
options = st.fixed_dictionaries(
    {},
    optional={
        "activation": st.sampled_from(ACTIVATIONS), "p": st.floats(0, 1), "kernel_size": st.integers(0, 9),
        "stride": shapes, "padding": st.sampled_from([0, 1, "same", (1, 1)]), "cuts_gradient": st.just(True),
        "lr": numbers, "momentum": st.floats(0, 1), "weight_decay": numbers, "maximize": st.booleans(),
        "groups": st.integers(1, 4), "lower": numbers, "upper": numbers,
    },
)  # fmt: skip


def later(hint: Any, name: str) -> st.SearchStrategy[Any]:
    return st.deferred(lambda: values_of(hint, name))


def records(kind: type[Any]) -> st.SearchStrategy[Any]:
    """Records of the kind; fields with a default are there or not."""
    hints = typing.get_type_hints(kind)
    required: dict[str, st.SearchStrategy[Any]] = {}
    optional: dict[str, st.SearchStrategy[Any]] = {}
    for field in msgspec.structs.fields(kind):
        needed = field.default is msgspec.NODEFAULT and field.default_factory is msgspec.NODEFAULT
        (required if needed else optional)[field.name] = later(hints[field.name], field.name)
    return st.fixed_dictionaries(required, optional=optional).map(lambda fields: kind(**fields))


@st.composite
def observations(draw: st.DrawFn) -> Observations:
    """Partly filled, with whatever numbers, and layers that read each other."""
    made = Observations()
    hints = typing.get_type_hints(Observations)
    for field in dataclasses.fields(Observations):
        kind = next((one for one in typing.get_args(hints[field.name]) if one is not type(None)), None)
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct) and draw(st.integers(0, 3)):
            setattr(made, field.name, draw(records(kind)))
    if made.network is not None and draw(st.booleans()):
        chain = draw(st.lists(records(LayerFacts), min_size=2, max_size=5))
        before = "input"
        layers = []
        for number, layer in enumerate(chain):
            layers.append(msgspec.structs.replace(layer, name=f"l{number}", inputs=(before,), calls=1))
            before = f"l{number}"
        made.network = msgspec.structs.replace(made.network, layers=tuple(layers), executed=True)
    if made.initial is not None:
        starts = [msgspec.structs.replace(one, name=f"l{i}") for i, one in enumerate(made.initial.layers)]
        made.initial = msgspec.structs.replace(made.initial, layers=tuple(starts))
    series = SeriesStore()
    length = draw(st.sampled_from([0, 1, 3, 40]))
    for probe in draw(st.lists(st.sampled_from(PROBES), max_size=12, unique=True)):
        values = draw(st.lists(st.one_of(numbers, st.none()), min_size=1, max_size=6)) * max(1, length // 4)
        for layer in draw(st.lists(st.sampled_from((*LAYERS, "l0", "l1")), min_size=1, max_size=3, unique=True)):
            series.add(Measurement(probe=probe, step=len(values), unit="", values=tuple(values), layer=layer))
    if length:
        losses = tuple(draw(st.lists(st.one_of(numbers, st.none()), min_size=1, max_size=4)) * length)
        series.add(Measurement(probe="loss", step=len(losses), unit="loss", values=losses))
    made.series = series
    made.epochs = draw(st.lists(records(EpochRow), max_size=4))
    made.epochs = [msgspec.structs.replace(row, metrics={"score": draw(st.none() | numbers)}) for row in made.epochs]
    made.finished = draw(st.booleans())
    return made


@given(observations(), st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_rule_raises_on_whatever_was_or_was_not_seen(seen: Observations, data: st.DataObject) -> None:
    """And every rule comes to an end: what it wants to know is answered, anyhow, and not asked again."""
    for _ in range(60):
        diagnosis = judging.judge(seen)
        failed = {what: why for what, why in diagnosis.unseen.items() if what.startswith("rule ")}
        assert not failed
        for finding in diagnosis.findings:
            assert finding.code in CODES
            assert 0 <= finding.confidence <= 1
            finding.to_json()
        if not diagnosis.wanted:
            break
        asked = diagnosis.wanted[0]
        seen.outcomes[asked.name] = data.draw(outcomes(asked))
    else:
        pytest.fail(f"still wanted after sixty answers: {[asked.name for asked in diagnosis.wanted]}")


@st.composite
def outcomes(draw: st.DrawFn, asked: Experiment) -> Outcome:
    if draw(st.booleans()):
        return Outcome(experiment=asked, failed="no")
    made: Outcome = draw(records(Outcome))
    return msgspec.structs.replace(made, experiment=asked)


def test_nothing_seen_is_nothing_said() -> None:
    """No finding, and no experiment but the ones that every training is asked."""
    diagnosis = judging.judge(Observations())
    assert diagnosis.findings == ()
    assert diagnosis.healthy


def test_every_rule_tells_known_codes_and_says_which() -> None:
    for rule, codes in RULES.items():
        assert codes, rule
        assert set(codes) <= set(CODES), rule


# ------------------------------------------------------------------------------------------------ order


def finding(code: str, severity: str = "warning", because_of: str = "", confidence: float = 0.9) -> Finding:
    return Finding(code=code, severity=severity, where="x", because_of=because_of, confidence=confidence)  # type: ignore[arg-type]


findings = st.lists(
    st.builds(
        finding, st.sampled_from(CODES[:6]), st.sampled_from(["note", "warning", "error"]),
        st.sampled_from(["", *CODES[:8]]), st.floats(0, 1),
    ),
    max_size=8, unique_by=lambda one: one.code,
)  # fmt: skip


@given(findings)
def test_nothing_is_lost_or_told_twice_and_causes_come_first(found: list[Finding]) -> None:
    ordered = judging.in_order(found)
    assert sorted(one.code for one in ordered) == sorted(one.code for one in found)
    place = {one.code: number for number, one in enumerate(ordered)}
    for one in ordered:
        if one.because_of in place and not _in_a_circle(one, ordered):
            assert place[one.because_of] < place[one.code]


def _in_a_circle(one: Finding, all_of_them: list[Finding]) -> bool:
    causes = {other.code: other.because_of for other in all_of_them}
    seen, code = set(), one.code
    while causes.get(code):
        if code in seen:
            return True
        seen.add(code)
        code = causes[code]
    return False


def test_the_worst_root_leads_and_its_consequences_follow_it() -> None:
    told = judging.in_order(
        [
            finding("dead-units", "error", because_of="bad-initialization"),
            finding("duplicates", "note"),
            finding("bad-initialization"),
            finding("leak", "error"),
        ]
    )
    assert [one.code for one in told] == ["leak", "bad-initialization", "dead-units", "duplicates"]


# ------------------------------------------------------------------------------------------------ silencing, unseen


@pytest.fixture
def one_rule(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The registry holds a single rule that always finds, and one that asks."""

    def finds(seen: Observations) -> Iterator[Finding | Experiment]:
        yield finding("leak", "error")

    def asks(seen: Observations) -> Iterator[Finding | Experiment]:
        yield Experiment(name="less", worth=1.0)
        yield Experiment(name="more", worth=2.0)
        if "more" in seen.outcomes:
            yield finding("plateau", "note")

    monkeypatch.setattr(judging, "load_rules", lambda: None)
    kept = dict(RULES)
    RULES.clear()
    RULES.update({finds: ("leak", "duplicates"), asks: ("plateau",)})
    yield
    RULES.clear()
    RULES.update(kept)


@pytest.mark.usefixtures("one_rule")
def test_a_silenced_finding_is_shown_with_its_reason_and_no_alarm() -> None:
    loud = judging.judge(Observations())
    silent = judging.judge(Observations(), ignore={"leak": "known copies", "plateau": "not here"})
    assert not loud.healthy
    assert silent.healthy
    assert silent.findings == ()
    assert [(one.code, one.ignored) for one in silent.silenced] == [("leak", "known copies")]


def test_a_rule_that_fails_is_named_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(seen: Observations) -> Iterator[Finding | Experiment]:
        yield finding("plateau")
        raise ZeroDivisionError("planted")

    def finds(seen: Observations) -> Iterator[Finding | Experiment]:
        yield finding("leak")

    monkeypatch.setattr(judging, "RULES", {fails: ("plateau",), finds: ("leak",)})
    with pytest.warns(UserWarning, match="planted"):
        diagnosis = judging.judge(Observations())
    assert [one.code for one in diagnosis.findings] == ["leak"]
    assert any(what.startswith("rule ") and "planted" in why for what, why in diagnosis.unseen.items())


@pytest.mark.usefixtures("one_rule")
def test_what_was_checked_wanted_and_unseen_is_told() -> None:
    seen = Observations(unseen={"activation": "compiled"})
    first = judging.judge(seen)
    assert set(first.checked) | set(first.unchecked) == {"duplicates", "plateau"}
    assert first.unchecked["duplicates"] == ("data",)
    assert [asked.name for asked in first.wanted] == ["more", "less"]
    assert first.unseen == {"activation": "compiled"}
    replay = Replay(steps=1, losses=(), score=0.0)
    seen.outcomes["more"] = Outcome(experiment=first.wanted[0], baseline=replay)
    second = judging.judge(seen)
    assert [asked.name for asked in second.wanted] == ["less"]
    assert [one.code for one in second.findings] == ["leak", "plateau"]


def test_what_was_suspected_and_could_not_be_tried_is_not_ruled_out(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Experiment(name="rate", worth=1.0)

    def suspects(seen: Observations) -> Iterator[Finding | Experiment]:
        if "rate" not in seen.outcomes:
            yield asked

    def rests(seen: Observations) -> Iterator[Finding | Experiment]:
        yield from ()

    monkeypatch.setattr(judging, "load_rules", lambda: None)
    monkeypatch.setattr(judging, "RULES", {suspects: ("oscillating-loss",), rests: ("plateau",)})
    monkeypatch.setattr(judging, "seen", lambda observations: {"steps", "loss", "epochs", "experiments"})
    tried = judging.judge(Observations(outcomes={"rate": Outcome(experiment=asked)}))
    untried = judging.judge(Observations(outcomes={"rate": Outcome(experiment=asked, failed="no time was left")}))
    assert set(tried.checked) == {"oscillating-loss", "plateau"}
    assert telling.verdict(tried).text.startswith("Healthy: 2 ")
    assert untried.checked == ("plateau",)
    assert untried.unchecked == {"oscillating-loss": (telling.UNMADE,)}
    assert "Healthy" not in telling.verdict(untried).text
    assert "1 more need" in telling.verdict(untried).text
