"""Repairs: a planted fault is repaired, a healthy training is left as it is, and the proof is not the search's own."""

import pytest
import torch
from torch import nn

import netwright
from netwright.errors import UsageError
from netwright.observations.experiments import Change
from netwright.records import Finding
from netwright.repair import mending
from netwright.repair.changes import apply
from netwright.repair.replaying import replay
from small_trainings import mlp, spirals, training, waves

cross_entropy = nn.CrossEntropyLoss()


def slow():
    made = lambda parameters: torch.optim.SGD(parameters, 1e-3)  # noqa: E731
    return training(lambda: mlp(2, 3), spirals(), cross_entropy, made, epochs=15)


def finding(code: str) -> Finding:
    return Finding(code=code, severity="warning", where="optimiser", cause="planted")


def test_the_remedy_of_the_finding_is_tried_first_kept_and_proved() -> None:
    mended = mending.mend(slow(), [finding("learning-rate-too-low")], seconds=3.0)
    first = mended.ledger.steps[0]
    assert first.code == "learning-rate-too-low"
    assert mended.ledger.after > mended.ledger.before + 0.15
    assert any(change.kind in ("learning-rate", "optimizer") for change in mended.ledger.changes)
    again = apply(slow(), *mended.ledger.changes)
    assert (replay(again, 1000).score or 0) == pytest.approx(mended.ledger.after)


def test_a_remedy_that_does_not_win_is_rolled_back() -> None:
    mended = mending.mend(slow(), [finding("learning-rate-too-high")], seconds=1.5, allowed=["learning-rate"])
    tried = [step for step in mended.ledger.steps if step.code == "learning-rate-too-high"]
    assert tried
    assert not any(step.kept for step in tried)
    assert Change(kind="learning-rate", value=0.1) not in mended.ledger.changes


def test_only_kinds_that_are_allowed_are_changed() -> None:
    mended = mending.mend(slow(), [], seconds=1.0, allowed=["clip", "batch-size"])
    assert {change.kind for change in mended.ledger.changes} <= {"clip", "batch-size"}


def test_predictions_are_in_the_users_units() -> None:
    (inputs, targets), (held_out, wanted) = waves()
    raw = (100 * inputs + 300, 50 * targets + 10), (100 * held_out + 300, 50 * wanted + 10)
    made = lambda parameters: torch.optim.Adam(parameters, 0.01)  # noqa: E731
    replica = training(lambda: mlp(5, 1), raw, nn.MSELoss(), made, epochs=20)
    scaled = apply(replica, Change(kind="standardize-inputs"), Change(kind="standardize-targets"))
    from netwright.repair.replaying import Copy

    copied = Copy(scaled)
    copied.advance()
    given = mending.predict(scaled, copied.network, raw[1][0])
    r2 = 1 - float((given - raw[1][1]).square().mean() / raw[1][1].var(correction=0))
    assert r2 == pytest.approx(copied.replay().score, abs=1e-3)


def test_the_verb_names_the_fault_leaves_the_network_and_says_what_to_change() -> None:
    torch.manual_seed(0)
    network = mlp(2, 3)
    kept = [parameter.detach().clone() for parameter in network.parameters()]
    train, held_out = spirals()
    repaired = netwright.repair(
        network, train, held_out, loss=cross_entropy, optimizer=torch.optim.SGD(network.parameters(), 1e-3),
        batch_size=32, epochs=15, seconds=5.0,
    )  # fmt: skip
    assert repaired.ledger.after > repaired.ledger.before + 0.15
    assert repaired.ledger.words
    assert "changed:" in str(repaired)
    assert all(torch.equal(one, other) for one, other in zip(kept, network.parameters()))
    share = float((repaired.predict(held_out[0]).argmax(1) == held_out[1]).float().mean())
    assert share == pytest.approx(repaired.ledger.after, abs=1e-6)


def test_wrong_arguments_are_refused() -> None:
    train, held_out = spirals()
    with pytest.raises(UsageError, match="newton"):
        netwright.repair(mlp(2, 3), train, held_out, optimizer="newton")
    with pytest.raises(UsageError, match="hinges"):
        netwright.repair(mlp(2, 3), train, held_out, loss="hinges")
