"""Watching a network run: the names of what is seen are those of the graph, and the network does not notice."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from graph.test_tracing import FAMILY, Branches, state_of
from netwright.graph.following import Named, Place, left_as_found, names_of
from netwright.graph.tracing import trace
from netwright.inspection.observing import Calls
from netwright.nn.zoo import NETWORKS

SMALL: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    name: (lambda name=name: NETWORKS[name]((3, 64, 64), 5), (3, 64, 64))  # type: ignore[misc]
    for name in ("googlenet", "shufflenet_v2", "resnet20_cifar", "densenet121")
}


@pytest.mark.parametrize("name", [*FAMILY, *SMALL])
def test_a_watched_run_has_the_names_of_the_graph(name: str) -> None:
    """Two ways to run a network, with values and without, tell the same calls by the same names in the same order."""
    build, shape = (FAMILY | SMALL)[name]
    network = build()
    x = torch.randn(2, *shape)
    watched = Calls(network, [x], lambda call: None)
    with left_as_found(network, training=False, buffers=True), torch.no_grad(), watched.watching():
        network(x)
    assert watched.names() == [operation.name for operation in trace(network, shape, batch=2).operations]


@pytest.mark.parametrize("fails", [False, True])
def test_within_the_block_anything_may_change(fails: bool) -> None:
    network = Branches()
    network.norm.eval()
    network.history = []  # type: ignore[assignment]
    before, values = state_of(network), {key: value.clone() for key, value in network.state_dict().items()}
    dice = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()  # noqa: NPY002 - the global state
    try:
        with left_as_found(network, training=True, buffers=True), torch.no_grad():
            assert all(module.training for module in network.modules())
            network(torch.randn(4, 3, 8, 8) + random.random() + float(np.random.rand()))  # noqa: NPY002
            network.history.append(1)  # type: ignore[union-attr,operator]
            network.extra = 1  # type: ignore[assignment]
            del network._modules["head"]
            if fails:
                raise KeyError
    except KeyError:
        assert fails
    assert network.history == []
    assert [entry[:-2] if isinstance(entry[0], int) else entry for entry in state_of(network)] == [
        entry[:-2] if isinstance(entry[0], int) else entry for entry in before
    ]  # but for the counters of writes
    assert all(torch.equal(value, values[key]) for key, value in network.state_dict().items())
    assert (random.getstate(), np.random.get_state()[1].tolist()) == dice[:2]  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), dice[2])
    assert torch.backends.mha.get_fastpath_enabled()


def test_names_are_given_once() -> None:
    once, again, root = Place("a", 1), Place("a", 2), Place("", 1)
    calls = [
        Named(once, "pad", False), Named(once, "conv1d", True), Named(again, "pad", False),
        Named(again, "conv1d", True), Named(root, "add", False), Named(root, "add", False),
    ]  # fmt: skip
    assert names_of(calls, {"a"}) == ["a.pad_1", "a", "a.pad_2", "a#2", "add_1", "add_2"]
    assert names_of(calls, {"a"}, {"a", "add_1"}) == ["a.pad_1", "a'", "a.pad_2", "a#2", "add_1'", "add_2"]


def test_a_tensor_in_another_thread_belongs_to_no_module_here() -> None:
    import threading

    network = nn.Sequential(nn.Linear(3, 3), nn.ReLU())
    other = nn.Linear(3, 3)

    class Beside(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            thread = threading.Thread(target=lambda: other(torch.zeros(1, 3)))
            thread.start()
            thread.join()
            return x + 1

    network.append(Beside())
    x = torch.zeros(1, 3)
    watched = Calls(network, [x], lambda call: None)
    with torch.no_grad(), watched.watching():
        network(x)
    assert watched.names() == ["0", "1", "2"]
