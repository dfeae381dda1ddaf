"""The plain loop: the same weights as one written out by hand, and nothing of the user's is touched."""

import copy
import math
import random
import time

import pytest
import torch
from torch import nn

from netwright.errors import UsageError
from netwright.repair import replica as replicas
from netwright.repair.replaying import LOOK_EVERY, Copy, replay, scored, steps_of
from netwright.training import randomness
from small_trainings import mlp, spirals, training, waves

cross_entropy = nn.CrossEntropyLoss()


def by_hand(
    network: nn.Module, optimizer: torch.optim.Optimizer, data, batch: int, epochs: int, seed: int
) -> nn.Module:
    order_of = torch.Generator().manual_seed(seed)
    inputs, labels = data
    network.train()
    for _ in range(epochs):
        order = torch.randperm(len(inputs), generator=order_of)
        for start in range(0, len(inputs), batch):
            rows = order[start : start + batch]
            optimizer.zero_grad()
            cross_entropy(network(inputs[rows]), labels[rows]).backward()
            optimizer.step()
    return network


@pytest.mark.parametrize(
    "make",
    [
        lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, nesterov=True, weight_decay=1e-3),
        lambda p: torch.optim.Adam(p, 0.01, betas=(0.8, 0.99)),
        lambda p: torch.optim.RMSprop(p, 0.003),
        lambda p: torch.optim.Adadelta(p, 1.0),
    ],
)
def test_a_copy_makes_the_steps_of_a_loop_written_out(make) -> None:
    data = spirals()
    replica = training(lambda: mlp(2, 3), data, cross_entropy, make, batch_size=30, epochs=3)
    copied = Copy(replica, seed=5)
    assert copied.advance() == steps_of(replica) == 3 * math.ceil(400 / 30)
    own = copy.deepcopy(replica.network)
    by_hand(own, make(own.parameters()), data[0], 30, 3, 5)
    for mine, wanted in zip(copied.network.parameters(), own.parameters()):
        assert torch.equal(mine, wanted)


def test_slices_make_the_same_copy_as_one_piece_with_dropout_and_norms() -> None:
    def make() -> nn.Module:
        return nn.Sequential(nn.Linear(2, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 3))

    replica = training(make, spirals(), cross_entropy, lambda p: torch.optim.SGD(p, 0.1), epochs=4)
    whole, sliced = Copy(replica, 1), Copy(replica, 1)
    whole.advance()
    while sliced.advance(7):
        torch.rand(3)  # what others draw in between
        sliced.score()
    assert sliced.steps == whole.steps
    for one, other in zip(whole.network.state_dict().values(), sliced.network.state_dict().values()):
        assert torch.equal(one, other)


def test_nothing_of_the_user_changes() -> None:
    data = spirals()
    torch.manual_seed(3)
    network = nn.Sequential(nn.Linear(2, 8), nn.Dropout(0.2), nn.ReLU(), nn.Linear(8, 3))
    network[1].eval()
    optimizer = torch.optim.Adam(network.parameters(), 0.01)
    replica = replicas.of(network, optimizer, cross_entropy, *data, 16, 2)
    kept = copy.deepcopy(network.state_dict())
    states = torch.get_rng_state(), randomness.capture()["numpy"][1], random.getstate()
    replay(replica, 0)
    for name, value in network.state_dict().items():
        assert torch.equal(value, kept[name])
    assert [module.training for module in network.modules()] == [True, True, False, True, True]
    assert not optimizer.state
    assert all(parameter.grad is None for parameter in network.parameters())
    assert torch.equal(states[0], torch.get_rng_state())
    assert torch.equal(states[1], randomness.capture()["numpy"][1])
    assert states[2] == random.getstate()
    for name, value in replica.network.state_dict().items():
        assert torch.equal(value, kept[name])


def test_parameters_that_the_optimiser_does_not_know_stay_as_they_are() -> None:
    network = mlp(2, 3)
    optimizer = torch.optim.SGD(network[-1].parameters(), 0.1)
    replica = replicas.of(network, optimizer, cross_entropy, *spirals(), 16, 1)
    copied = Copy(replica)
    copied.advance()
    assert torch.equal(copied.network[0].weight, network[0].weight)
    assert not torch.equal(copied.network[-1].weight, network[-1].weight)


def test_an_optimiser_of_another_copy_moves_nothing() -> None:
    network = mlp(2, 3)
    optimizer = torch.optim.SGD(copy.deepcopy(network).parameters(), 0.1)
    copied = Copy(replicas.of(network, optimizer, cross_entropy, *spirals(), 16, 1))
    assert copied.advance() > 0
    assert torch.equal(copied.network[0].weight, network[0].weight)


def test_a_deadline_stops_between_two_looks_and_the_replay_says_how_far_it_came() -> None:
    replica = training(lambda: mlp(2, 3), spirals(), cross_entropy, lambda p: torch.optim.SGD(p, 0.1), epochs=100_000)
    copied = Copy(replica)
    copied.advance(deadline=time.thread_time() + 0.05)
    result = copied.replay()
    assert 0 < result.steps < result.planned == steps_of(replica)
    assert result.steps % LOOK_EVERY == 0
    assert Copy(replica).advance(deadline=time.thread_time()) == 0


def test_a_loss_that_is_not_a_number_ends_it_without_a_score() -> None:
    replica = training(lambda: mlp(5, 1), waves(), nn.MSELoss(), lambda p: torch.optim.SGD(p, 1e6), epochs=50)
    result = replay(replica)
    assert result.score is None
    assert result.steps < result.planned


def test_a_rest_of_one_example_is_left_out_under_batch_norm() -> None:
    data = spirals(count=50)  # 33 to train: 32 and 1
    replica = training(
        lambda: nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Linear(4, 3)), data, cross_entropy,
        lambda p: torch.optim.SGD(p, 0.1), batch_size=32, epochs=3,
    )  # fmt: skip
    assert replay(replica).score is not None


def test_what_is_frozen_on_purpose_rests_in_copies_too() -> None:
    def make() -> nn.Module:
        network = nn.Sequential(nn.Linear(2, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 3), nn.BatchNorm1d(3))
        network.train()
        network[1].eval().requires_grad_(False)
        return network

    replica = training(make, spirals(), cross_entropy, lambda p: torch.optim.SGD(p, 0.1), epochs=2)
    copied = Copy(replica)
    copied.advance()
    copied.score()
    copied.advance(1)
    frozen, learning = copied.network[1], copied.network[4]
    assert torch.equal(frozen.running_mean, torch.zeros(16))
    assert not torch.equal(learning.running_mean, torch.zeros(3))
    assert learning.num_batches_tracked == copied.steps


def test_lbfgs_gets_its_closure_and_a_healthy_training_its_score() -> None:
    replica = training(lambda: mlp(5, 1), waves(), nn.MSELoss(), lambda p: torch.optim.LBFGS(p, 0.5), 400, 10)
    assert (replay(replica).score or 0) > 0.5


def test_the_score_is_taken_in_evaluation_mode() -> None:
    def make() -> nn.Module:
        return nn.Sequential(nn.Linear(2, 64), nn.ReLU(), nn.Dropout(0.9), nn.Linear(64, 3))

    replica = training(make, spirals(), cross_entropy, lambda p: torch.optim.Adam(p, 0.02), epochs=30)
    copied = Copy(replica)
    copied.advance()
    first = copied.score()
    again = scored(copied.network.eval(), replica, replica.validation)
    assert first.value == copied.score().value == again.value


@pytest.mark.parametrize(
    ("train", "said"),
    [
        ((torch.zeros(3, 2), torch.zeros(4)), "as many of both"),
        ((torch.zeros(0, 2), torch.zeros(0)), "at least one"),
        ([("a", "b"), ("c", "d")], "tensors or arrays of numbers"),
        (object(), r"\(inputs, targets\)"),
    ],
)
def test_data_that_cannot_be_copied_are_refused_with_the_reason(train, said: str) -> None:
    network = mlp(2, 3)
    with pytest.raises(UsageError, match=said):
        replicas.of(network, torch.optim.SGD(network.parameters(), 0.1), cross_entropy, train, None, 4, 1)


def test_several_optimisers_and_lazy_modules_are_refused() -> None:
    network = mlp(2, 3)
    pair = [torch.optim.SGD(network.parameters(), 0.1)] * 2
    with pytest.raises(UsageError, match=r"one torch\.optim\.Optimizer"):
        replicas.of(network, pair, cross_entropy, *spirals(), 4, 1)  # type: ignore[arg-type]
    lazy = nn.Sequential(nn.LazyLinear(3))
    with pytest.raises(UsageError, match="lazy"):
        replicas.of(lazy, torch.optim.SGD(lazy.parameters(), 0.1), cross_entropy, *spirals(), 4, 1)
