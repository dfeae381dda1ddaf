"""The choice of a memory layout: what slows both layouts, or one pair of turns, does not decide it."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy

from netwright.data.loading import Batch
from netwright.training import layout
from netwright.training.precision import Precision

times = st.floats(0.01, 1e3)
pairs = st.lists(st.tuples(times, times), min_size=1, max_size=25)


def ratio(measured: list[tuple[float, float]]) -> float:
    plain, last = (list(each) for each in zip(*measured, strict=True))
    return layout._ratio({"contiguous": plain, "channels_last": last})


@given(pairs, st.data())
def test_what_slows_a_pair_of_turns_slows_both(measured: list[tuple[float, float]], data: st.DataObject) -> None:
    loads = data.draw(st.lists(st.floats(0.5, 50), min_size=len(measured), max_size=len(measured)))
    slowed = [(plain * load, last * load) for (plain, last), load in zip(measured, loads, strict=True)]
    assert ratio(slowed) == pytest.approx(ratio(measured))
    assert ratio([(last, plain) for plain, last in measured[:1]]) == pytest.approx(1 / ratio(measured[:1]))


@given(st.floats(0.5, 2.0), st.floats(0.01, 1e3), st.integers(3, 25), st.data())
def test_fewer_than_half_of_the_pairs_do_not_decide(true: float, step: float, count: int, data: st.DataObject) -> None:
    """A pair in which something else ran during one of its two turns, by any factor."""
    disturbed = data.draw(st.lists(st.tuples(times, times), max_size=(count - 1) // 2))
    measured = [*disturbed, *[(step, true * step)] * (count - len(disturbed))]
    assert ratio(measured) == pytest.approx(true)


def test_a_machine_that_becomes_slower_meanwhile_does_not_decide() -> None:
    """It slows to a third after one turn of the fourth pair: a ratio of medians would be off by half."""
    measured = [(1.0, 0.9)] * 3 + [(1.0, 2.7)] + [(3.0, 2.7)] * 3
    plain, last = (statistics.median(each) for each in zip(*measured, strict=True))
    assert last / plain == pytest.approx(2.7)
    assert ratio(measured) == pytest.approx(0.9)


def test_the_answer_of_a_machine_is_remembered_and_a_network_without_maps_is_not_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NETWRIGHT_CACHE", str(tmp_path))
    asked: list[Any] = []

    def measure(*about: Any) -> dict[str, Any]:
        asked.append(about)
        return {"layout": "channels_last", "measured": True}

    monkeypatch.setattr(layout, "_measure", measure)
    objective, precision = SimpleNamespace(loss=cross_entropy), Precision("fp32", torch.device("cpu"))
    flat = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 2))
    maps = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 2), torch.nn.Flatten(), torch.nn.Linear(4, 2))
    batch = Batch((torch.zeros(5, 3, 2, 2),), torch.zeros(5, dtype=torch.int64))
    assert layout.choose(flat, objective, batch, precision) == {"layout": "contiguous", "measured": False}
    assert not asked
    assert layout.choose(maps, objective, batch, precision)["layout"] == "channels_last"
    assert layout.choose(maps, objective, batch, precision)["remembered"]
    assert len(asked) == 1
    larger = Batch((torch.zeros(6, 3, 2, 2),), torch.zeros(6, dtype=torch.int64))
    assert "remembered" not in layout.choose(maps, objective, larger, precision)  # another batch is another question
    (tmp_path / "layouts.json").write_text(json.dumps({})[:1])  # damaged: measured again
    assert "remembered" not in layout.choose(maps, objective, batch, precision)
    assert len(asked) == 3
