"""Findings are printed as they arise, once each, the root cause first."""

from collections.abc import Iterator

import pytest
import torch
from torch import nn

import netwright
from netwright.diagnosis import judging, registry
from netwright.observations import Observations
from netwright.records import Finding
from netwright.watching import Watch

NOTE = Finding(code="duplicates", severity="note", where="training")
FACT = Finding(code="leak", severity="warning", where="validation")
LATER = Finding(code="overfitting", severity="error", where="training", because_of="leak")


def rule(observations: Observations) -> Iterator[Finding]:
    yield NOTE
    yield FACT
    if len(observations.series.get("loss").values) >= 30:
        yield LATER


def loop(watch: Watch, network: nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> None:
    for _ in range(steps):
        optimizer.zero_grad()
        loss = (network(torch.ones(4, 2)) ** 2).mean()
        loss.backward()
        optimizer.step()
        watch.step(loss)


@pytest.mark.parametrize("tell", [True, False])
def test_told_when_they_arise_and_once(
    tell: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    judging.load_rules()  # before, because a module registers its rules once
    own: dict[registry.Rule, tuple[str, ...]] = {rule: ("duplicates", "leak", "overfitting")}
    monkeypatch.setattr("netwright.diagnosis.judging.RULES", own)
    network = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(network.parameters(), 0.01)
    watch = netwright.watch(network, optimizer, tell=tell)
    said = [capsys.readouterr().err]
    for steps in (26, 30):  # looked at after steps 25 and 50
        loop(watch, network, optimizer, steps)
        said.append(capsys.readouterr().err)
    watch.epoch(train=0.5)
    assert [finding.code for finding in watch.findings()] == ["leak", "overfitting", "duplicates"]
    said.append(capsys.readouterr().err)
    expected = ["warning: leak  validation\n", "", "error: overfitting  training  (because of leak)\n", ""]
    assert said == (expected if tell else [""] * 4)
