"""Repairs: a planted fault is repaired, a healthy training is left as it is, and the proof is not the search's own."""

import time

import pytest
import torch
from torch import nn

import netwright
from netwright.errors import UsageError
from netwright.observations.experiments import Change, Replay
from netwright.records import Finding
from netwright.repair import confirm, mending
from netwright.repair.changes import apply
from netwright.repair.replaying import replay
from small_trainings import mlp, spirals, training, waves

cross_entropy = nn.CrossEntropyLoss()


@pytest.fixture(autouse=True)
def a_busy_machine_decides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confirm, "WALL", 1e6)


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
    mended = mending.mend(slow(), [finding("learning-rate-too-low")], seconds=1.0, allowed=["clip", "batch-size"])
    assert {change.kind for change in mended.ledger.changes} <= {"clip", "batch-size"}


def test_nothing_is_tried_where_nothing_was_found() -> None:
    note = Finding(code="learning-rate-too-low", severity="note", where="optimiser", cause="a hint")
    for found in ([], [note]):
        mended = mending.mend(slow(), found, seconds=3.0)
        assert not mended.ledger.steps
        assert not mended.ledger.changes
        assert mended.ledger.before == mended.ledger.after


def test_the_proof_is_within_the_seconds() -> None:
    """Remedies stop when what is left is just enough for two whole trainings; one remedy may run over by a little."""
    began = time.thread_time()
    mended = mending.mend(slow(), [finding("learning-rate-too-low")], seconds=4.0)
    assert time.thread_time() - began <= 1.5 * 4.0
    assert mended.ledger.after is not None


def pair(before: float, after: float, error: float) -> confirm.Pair:
    made = [Replay(steps=9, losses=(), score=score, chance=0.1) for score in (before, after)]
    return confirm.Pair(*made, error)


def test_a_small_gain_that_every_seed_shows_is_believed_and_one_that_some_show_is_not() -> None:
    """The paired t test, beside the scores' own scatter, which is ten times the gain."""
    starts = (0.50, 0.70, 0.60, 0.80)
    every = [pair(start, start + gain, 0.01) for start, gain in zip(starts, (0.02, 0.025, 0.018, 0.022))]
    some = [pair(start, start + gain, 0.01) for start, gain in zip(starts, (0.06, -0.03, 0.05, -0.01))]
    few = [pair(start, start + 0.02, 0.02) for start in starts]  # as much as the examples scored leave open
    assert confirm.consistent(every)
    assert not confirm.consistent(some)
    assert not confirm.consistent(few)
    assert not confirm.consistent(every[:1])


@pytest.mark.parametrize("count", [3, 5])
def test_the_level_of_the_paired_test_is_kept(count: int) -> None:
    """Differences of mean 0 are believed in 5 % of all cases at most."""
    draws = torch.randn(2000, count, generator=torch.Generator().manual_seed(count)) * 0.02
    believed = sum(confirm.consistent([pair(0.5, 0.5 + float(gain), 1e-9) for gain in row]) for row in draws)
    assert believed / len(draws) == pytest.approx(0.05, abs=0.015)


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
        batch_size=32, epochs=15, seconds=12.0,
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
