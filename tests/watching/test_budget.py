"""The budget keeps its share whatever a step and a look cost, and shows short trainings whole."""

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from netwright.watching.budget import DENSE, PAIR, Budget


def simulated(budget: Budget, steps: int, step: float, look: float, slower: float = 0.0) -> tuple[list[int], float]:
    """Steps that were sampled, and the time that all looking took; a clock without noise."""
    now, spent, sampled = 0.0, 0.0, []
    for done in range(steps):
        look_now = budget.next <= done
        if look_now:
            budget.begin(now, done)
            now += look + slower
            spent += look + slower
            sampled.append(done + 1)
        elif budget.wake <= done:
            budget.passed(now, done)
        now += step
        if look_now:
            budget.end(now, done + 1, look)
    return sampled, spent


@given(
    step=st.floats(1e-4, 10), cost=st.floats(1e-3, 50), slower=st.floats(0, 2), share=st.sampled_from([0.01, 0.03, 0.2])
)
@settings(max_examples=60, deadline=None)
def test_a_long_training_pays_no_more_than_the_share(step: float, cost: float, slower: float, share: float) -> None:
    """``cost`` and ``slower``: of a look, in steps. Beyond the dense beginning and a pair at every doubling."""
    steps = 20_000
    sampled, spent = simulated(Budget(share, 0.0), steps, step, cost * step, slower * step)
    beginning = (DENSE + PAIR * 11) * (cost + slower) * step  # log₂(20,000 ÷ 20) doublings
    assert spent <= 1.02 * share * steps * step + beginning
    assert sampled[:DENSE] == list(range(1, DENSE + 1))


@given(steps=st.integers(1, 400), cost=st.floats(0.01, 1000))
@settings(max_examples=60, deadline=None)
def test_a_short_training_is_seen_from_its_begin_to_its_end(steps: int, cost: float) -> None:
    sampled, _ = simulated(Budget(0.03, 0.0, planned=steps), steps, 1.0, cost)
    assert sampled[:DENSE] == list(range(1, min(steps, DENSE) + 1))
    for last, number in itertools.pairwise(sampled):  # twice as far at most; the last pair waits for the end instead
        assert number <= 2 * last + 1 + (PAIR - 1) * (number == steps - PAIR + 1)
    if steps > DENSE + PAIR:
        assert sampled[-1] == steps
        later = sampled[DENSE:]
        assert all(number + 1 in later or number - 1 in later for number in later)  # pairs


def test_the_first_looks_alone_do_not_decide() -> None:
    """The first three warm up and cost a thousand times more; what is sampled later does not suffer from it."""
    plain, warming = Budget(0.03, 0.0), Budget(0.03, 0.0)
    assert len(simulated(plain, 3000, 1.0, 0.5)[0]) > 0
    now = 0.0
    for done in range(3):
        warming.begin(now, done)
        now += 1 + 500
        warming.end(now, done + 1, 500.0)
    for done in range(3, 3000):
        if warming.next <= done:
            warming.begin(now, done)
            now += 1.5
            warming.end(now, done + 1, 0.5)
        else:
            if warming.wake <= done:
                warming.passed(now, done)
            now += 1
    assert warming.cost == plain.cost


def test_pauses_between_steps_do_not_make_looking_cheap() -> None:
    """Every hundredth step is followed by a validation as long as a hundred: a step still counts as one."""
    budget, now = Budget(0.03, 0.0), 0.0
    for done in range(5000):
        look = budget.next <= done
        if look:
            budget.begin(now, done)
        elif budget.wake <= done:
            budget.passed(now, done)
        now += 1.0 + 5.0 * look
        if look:
            budget.end(now, done + 1, 5.0)
        now += 100.0 * (done % 100 == 99)
    assert budget.step_seconds < 1.5


def test_nothing_is_looked_at_without_a_budget() -> None:
    assert simulated(Budget(0.0, 0.0), 100, 1.0, 1.0) == ([], 0.0)


def test_a_look_that_costs_nothing_is_not_taken_at_every_step() -> None:
    """Steps that are looked at grow with the logarithm of their number: there is memory to think of."""
    sampled, _ = simulated(Budget(0.03, 0.0), 20_000, 1.0, 1e-6)
    assert len(sampled) < 1000
