"""The health of a training on a page: maps of layers and steps that show what they say, pins, and the verdict."""

import json
import math
import re
from pathlib import Path

import pytest
from filled import run_directory
from hypothesis import given
from hypothesis import strategies as st
from test_page import EVIL, LARGEST, Page, assert_self_contained, report

from netwright.diagnosis.judging import Diagnosis
from netwright.errors import UsageError
from netwright.observations import NetworkFacts, Observations, keeping
from netwright.observations.network import LayerFacts
from netwright.records import Evidence, Finding, Measurement
from netwright.reporting import maps
from netwright.runs import RunDirectory

CHECKED = ("leak", "dead-units", "learning-rate-too-high")


def observed(values: dict[str, dict[int, float | None]], probe: str = "gradient-scale") -> Observations:
    """Layers in this order, each with values at steps."""
    seen = Observations(network=NetworkFacts(layers=tuple(LayerFacts(name=name, kind="Linear") for name in values)))
    for name, course in values.items():
        for step, value in course.items():
            seen.series.add(Measurement(probe=probe, step=step, unit="gradient", values=(value,), layer=name))
    return seen


def drawn(table: str) -> list[list[str]]:
    """A map's cells as the classes of their colours, read from its paths."""
    rows = []
    for width, strip in re.findall(r'<td><svg viewBox="0 0 (\d+) 1".*?>(.*?)</svg>', table):
        cells = ["gap"] * int(width)
        for kind, d in re.findall(r'<path class="(\w+)" d="(.*?)">', strip):
            for start, count in re.findall(r"M(\d+) 0h(\d+)", d):
                assert cells[int(start) : int(start) + int(count)] == ["gap"] * int(count), "drawn twice"
                cells[int(start) : int(start) + int(count)] = [kind] * int(count)
        rows.append(cells)
    return rows


def gradient(values: dict[str, dict[int, float | None]], *findings: Finding) -> dict[str, str]:
    (made,) = maps.maps(observed(values), findings)
    assert made["name"] == "gradient"
    return made


# ------------------------------------------------------------------------------------------------ what a shade means


def rank(kind: str) -> int:
    return int(kind[1]) + (100 if kind[0] == "h" else 0)


def test_a_gradient_that_vanishes_fades_towards_the_first_layer() -> None:
    """Ten times less a layer, as in a deep stack of sigmoids: the last layer is full, the first nearly nothing."""
    layers = {f"fc{at}": dict.fromkeys(range(1, 9), 10.0 ** (at - 9)) for at in range(1, 10)}
    rows = drawn(gradient(layers)["table"])
    ranks = [rank(row[0]) for row in rows]
    assert ranks == sorted(ranks)
    assert (ranks[-1], ranks[0]) == (maps.SHADES, 1)
    assert all(len(set(row)) == 1 for row in rows)


def test_a_gradient_that_explodes_turns_hot_when_it_does() -> None:
    layers = {f"fc{at}": {step: 1.0 if step < 8 else 1e4 for step in range(1, 11)} for at in range(3)}
    for row in drawn(gradient(layers)["table"]):
        assert row == ["s8"] * 7 + ["h3"] * 3


def test_a_layer_like_the_others_is_never_pale_or_hot() -> None:
    """Within a factor of three of the strongest there is no more than two shades between layers."""
    layers = {f"fc{at}": dict.fromkeys(range(1, 6), value) for at, value in enumerate((0.4, 1.0, 0.7))}
    assert {kind for row in drawn(gradient(layers)["table"]) for kind in row} <= {"s8", "s7"}


def test_what_is_zero_not_finite_or_not_measured_is_told_apart() -> None:
    layers = {"a": {1: 0.0, 2: None, 3: 1.0}, "b": {1: 1.0, 3: 1.0}}
    assert drawn(gradient(layers)["table"]) == [["s0", "bad", "s8"], ["s8", "gap", "s8"]]


@given(st.lists(st.floats(1e-12, 1e12), min_size=2, max_size=8), st.floats(1e-6, 1e6))
def test_shades_follow_the_values_and_not_their_unit(values: list[float], unit: float) -> None:
    """A larger value is never paler, and a gradient in other units (another loss scale) looks the same."""
    quantity = maps.QUANTITIES[0]
    level = maps._levels(quantity, {str(at): [value] for at, value in enumerate(values)})
    ordered = [rank(level(value)) for value in sorted(values)]
    assert ordered == sorted(ordered)
    scaled = maps._levels(quantity, {str(at): [value * unit] for at, value in enumerate(values)})
    for value in values:
        assert abs(rank(scaled(value * unit)) - rank(level(value))) <= 1 or {level(value)[0], scaled(value)[0]} == {
            "s",
            "h",
        }


def test_an_update_is_judged_against_a_thousandth_of_the_weights() -> None:
    (made,) = maps.maps(observed({"a": {1: 1e-3, 2: 1e-6, 3: 0.5}}, "update-ratio"), ())
    assert drawn(made["table"]) == [["s8", "s4", "h3"]]
    (made,) = maps.maps(observed({"a": {1: 0.0, 2: 0.5, 3: 1.0}}, "dead-units"), ())
    assert drawn(made["table"]) == [["w0", "w4", "w8"]]


def test_a_long_and_deep_training_keeps_its_first_and_last_step_and_layer() -> None:
    deep = {f"block{at}.conv": dict.fromkeys(range(1, 301), 1.0) for at in range(400)}
    made = gradient(deep)
    rows = drawn(made["table"])
    assert (len(rows), {len(row) for row in rows}) == (maps.LAYERS, {maps.STEPS})
    _, _, steps, layers, numbers = json.loads(Page(made["table"]).all("table")[0]["data-map"])
    assert (steps[0], steps[-1], layers[0], layers[-1]) == (1, 300, "block0.conv", "block399.conv")
    assert (len(numbers), len(numbers[0])) == (maps.LAYERS, maps.STEPS)


# ------------------------------------------------------------------------------------------------ pins


def test_findings_are_pinned_where_and_when_they_were_seen() -> None:
    """At the third of four steps: five eighths of the width. An activation is pinned on the layer before it."""
    seen = observed({"fc1": dict.fromkeys((1, 2, 5, 9), 1.0), "fc2": dict.fromkeys((1, 2, 5, 9), 1.0)})
    seen.network = NetworkFacts(
        layers=tuple(LayerFacts(name=name, kind="x") for name in ("fc1", "act", "fc2"))
    )  # fmt: skip
    at_five = Evidence(what="dead", value=1.0, step=7)
    found = [
        Finding(code="not-learning", severity="error", where="training"),
        Finding(code="dead-units", severity="warning", where="act", layer="act", evidence=(at_five,)),
        Finding(code="no-gradient", severity="error", where="fc2", layer="fc2"),
    ]
    (made,) = maps.maps(seen, found)
    pins = {pin["class"]: pin for pin in Page(made["table"]).all("span") if pin.get("class", "").startswith("pin")}
    assert set(pins) == {"pin warning", "pin error"}
    assert "left:calc(62.50% " in pins["pin warning"]["style"]
    assert "left:calc(87.50% " in pins["pin error"]["style"]
    first, second = (row for row in made["table"].split("<tr")[1:3])
    assert ">2</span>" in first
    assert ">3</span>" in second


# ------------------------------------------------------------------------------------------------ the page


ROOT = Finding(
    code="wrong-hidden-activation", severity="error", where="twelve layers", layer="fc1", cause="a sigmoid saturates",
    confirmed_by="with ReLU 0.9 instead of 0.1",
)  # fmt: skip
SYMPTOM = Finding(
    code="vanishing-gradient", severity="warning", where="fc1", layer="fc1", because_of="wrong-hidden-activation"
)


def with_health(folder: Path, diagnosis: Diagnosis, seen: Observations) -> Path:
    directory = run_directory(folder)
    log = RunDirectory(directory).open_log()
    keeper = keeping.Keeper(log)
    keeper.facts(seen)
    keeper.series(seen)
    log.detail(keeping.DIAGNOSIS, 20, diagnosis.to_dict())
    log.detail("watched", 0, {"preflight_seconds": 1.25})
    log.close()
    return directory


def test_the_page_leads_with_the_root_cause(tmp_path: Path) -> None:
    layers = {f"fc{at}": dict.fromkeys(range(1, 9), 10.0 ** (at - 9)) for at in range(1, 10)}
    diagnosis = Diagnosis(findings=(ROOT, SYMPTOM), healthy=False, checked=CHECKED, unseen={"loss": "no module"})
    text, page = report(with_health(tmp_path, diagnosis, observed(layers)))
    assert page.sections()[0] == "health"
    assert "findings" not in page.sections()
    words = page.text
    assert "An activation inside the network hinders it: twelve layers." in words
    places = [words.index("hinders it: twelve layers"), words.index("Root mean square"), words.index("1 error")]
    assert places == sorted(places)
    assert "2 findings, the root cause first." in words
    assert "1 of 1 cause confirmed on a copy of the training." in words
    assert "3 kinds of faults checked and not found." in words
    assert "preflight 1.2 s" in words
    assert "loss : no module" in words
    assert [row["class"] for row in page.all("article")] == ["finding error", "finding warning deep1"]
    assert len(drawn(text)) == 9
    assert "netwright explain vanishing-gradient" in words


def test_a_healthy_run_says_so_and_what_was_checked(tmp_path: Path) -> None:
    _, page = report(with_health(tmp_path, Diagnosis(checked=CHECKED), observed({"fc": {1: 1.0}})))
    assert "Health 3 kinds of faults checked and not found." in page.text
    assert "Healthy." in page.text
    for code in CHECKED:
        assert code in page.text
    assert not page.all("article")


def test_names_are_only_text_and_a_large_network_stays_small(tmp_path: Path) -> None:
    layers = {f"{EVIL}.{at}": {step: math.pi ** (at - step) for step in range(1, 200)} for at in range(200)}
    seen = observed(layers)
    for probe in ("update-ratio", "activation-scale", "dead-units"):
        for name, series in [(layer, series) for _, layer, series in list(seen.series)]:
            for step, value in zip(series.steps, series.values, strict=True):
                seen.series.add(Measurement(probe=probe, step=step, unit="", values=(value,), layer=name))
        break
    strange = Finding(code="of-another-version", severity="error", where=EVIL, layer=f"{EVIL}.0", cause=EVIL)
    diagnosis = Diagnosis(findings=(strange,), healthy=False, checked=("leak", "unheard-of"), unseen={EVIL: EVIL})
    text, page = report(with_health(tmp_path, diagnosis, seen))
    assert len(text.encode()) < LARGEST
    assert text.count("<script") == 1
    assert len(page.all("input")) == 2


def test_damaged_health_leaves_the_rest(tmp_path: Path) -> None:
    directory = run_directory(tmp_path)
    log = RunDirectory(directory).open_log()
    log.detail(keeping.DIAGNOSIS, 1, {"findings": 3})
    log.close()
    _, page = report(directory)
    assert "health" not in page.sections()
    assert "learning" in page.sections()
    assert "health : " in page.text


def test_a_finding_is_silenced_by_its_name_alone() -> None:
    import torch

    import netwright

    with pytest.raises(UsageError, match="dead-units"):
        netwright.watch(torch.nn.Linear(1, 1), ignore={"dead-unit": "as wished"})


@pytest.mark.filterwarnings("error")
def test_a_training_of_ones_own_has_a_page_too(tmp_path: Path) -> None:
    import torch
    from torch import nn

    import netwright

    network = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 1))
    optimizer = torch.optim.SGD(network.parameters(), 0.1)
    watch = netwright.watch(network, optimizer)
    for _ in range(5):
        optimizer.zero_grad()
        loss = (network(torch.ones(8, 4)) ** 2).mean()
        loss.backward()
        optimizer.step()
        watch.step(loss)
    path = watch.report(tmp_path / "mine.html")
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    assert_self_contained(text, page)
    assert page.sections() == ["health"]
    assert "Sequential" in page.text
    assert "steps seen 5" in page.text
    assert "leak: needs data, validation" in page.text
    assert {each["id"] for each in page.all("input")} >= {"map-gradient", "map-update", "map-activation"}
