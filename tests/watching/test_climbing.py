"""A loss that no module makes, and that is climbed: seen from the way that the first steps made."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from netwright.probes import parameters
from netwright.watching import Watch


def run(sign: float, *, maximize: bool = False, adam: bool = False) -> Watch:
    make = torch.Generator().manual_seed(0)
    x = torch.randn(240, 6, generator=make)
    y = (x[:, :2].sum(1) > 0).long()
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 2))
    kind = torch.optim.Adam if adam else torch.optim.SGD
    optimizer = kind(network.parameters(), 0.01 if adam else 0.1, maximize=maximize)
    watch = Watch(
        network, optimizer, loss=functional.cross_entropy, train_data=(x, y), batch_size=16, epochs=2, confirm=0,
        tell=False,
    )  # fmt: skip
    for rows in (*torch.arange(240).split(16),) * 2:
        loss = functional.cross_entropy(network(x[rows]), y[rows])
        optimizer.zero_grad()
        (sign * loss).backward()
        optimizer.step()
        watch.step(loss.detach())
    return watch


@pytest.mark.parametrize("adam", [False, True])
@pytest.mark.parametrize(("sign", "maximize"), [(1.0, False), (-1.0, False), (1.0, True), (-1.0, True)])
def test_a_loss_without_a_module_is_climbed_or_not(sign: float, maximize: bool, adam: bool) -> None:
    """Two minuses cancel: the way made is what counts, whatever made it."""
    watch = run(sign, maximize=maximize, adam=adam)
    climbs = (sign < 0) != maximize
    told = {finding.code for finding in watch.glance().findings}
    assert ("loss-maximized" in told) == climbs
    ways = watch.observations.series.get("first-descent").finite
    assert len(ways) >= 10
    assert all((way < 0) == climbs for way in ways[3:])


@settings(max_examples=25, deadline=None)
@given(st.floats(0.01, 10.0), st.integers(0, 1000))
def test_the_way_down_is_one_and_up_is_minus_one(length: float, seed: int) -> None:
    make = torch.Generator().manual_seed(seed)
    network = nn.Linear(5, 3)
    gradient = {name: torch.randn(p.numel(), generator=make) for name, p in network.named_parameters()}
    own = [parameters.Parameter(name, "", p) for name, p in network.named_parameters()]
    began = parameters.weights(own)
    for sign in (1.0, -1.0):
        moved = torch.cat(
            [began.flat.split(began.sizes)[n] - sign * length * gradient[p.name] for n, p in enumerate(own)]
        )
        now = parameters.Parts(moved, began.sizes, began.present)
        found = parameters.descent(own, began, now, gradient)
        assert found is not None
        assert float(found) == pytest.approx(sign, abs=1e-3)
    assert parameters.descent(own, began, began, {}) is None
