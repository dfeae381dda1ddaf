"""Recurrent networks that tell a sequence from one example, against the equations of their cells by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from netwright.errors import NetworkError
from netwright.nn.zoo import NETWORKS
from netwright.nn.zoo.sequence import Unrolled

RECURRENT = ("rnn", "lstm", "gru")
Arrays = dict[str, np.ndarray]


def _network(cell: str, shape: tuple[int, ...], outputs: int, **more: Any) -> Unrolled:
    torch.manual_seed(0)
    network = NETWORKS[cell](shape, outputs, width=5, read="unroll", **more).eval().double()
    with torch.no_grad():
        for parameter in network.parameters():  # biases begin at zero, which would hide where they belong
            parameter.add_(0.3 * torch.randn_like(parameter))
    assert isinstance(network, Unrolled)
    return network


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def _step(cell: str, x: np.ndarray, state: list[np.ndarray], w: Arrays, layer: int) -> list[np.ndarray]:
    """One layer's step by the papers' equations: (N, inputs), [h (, c)] → [h (, c)]."""
    put = x @ w[f"weight_ih_l{layer}"].T + w[f"bias_ih_l{layer}"]
    kept = state[0] @ w[f"weight_hh_l{layer}"].T + w[f"bias_hh_l{layer}"]
    if cell == "rnn":
        return [np.tanh(put + kept)]
    if cell == "gru":
        (r, z, n), (hr, hz, hn) = np.split(put, 3, 1), np.split(kept, 3, 1)
        reset, update = _sigmoid(r + hr), _sigmoid(z + hz)
        return [(1 - update) * np.tanh(n + reset * hn) + update * state[0]]
    i, f, g, o = np.split(put + kept, 4, 1)
    c = _sigmoid(f) * state[1] + _sigmoid(i) * np.tanh(g)
    return [_sigmoid(o) * np.tanh(c), c]


def _arrays(module: torch.nn.Module) -> Arrays:
    return {name: value.detach().numpy() for name, value in module.state_dict().items()}


def _told(network: Unrolled, cell: str, layers: list[list[np.ndarray]], count: int) -> np.ndarray:
    """What the equations say from the layers' states on: (N, channels · steps), one channel behind the other."""
    w, head = _arrays(network.recurrent), _arrays(network.head[1])
    values = np.zeros((count, network.channels))
    said = []
    for _ in range(network.steps):
        x = values
        for layer, state in enumerate(layers):
            layers[layer] = _step(cell, x, state, w, layer)
            x = layers[layer][0]
        values = x @ head["weight"].T + head["bias"]
        said.append(values)
    return np.stack(said, 2).reshape(count, -1)


@settings(max_examples=12, deadline=None)
@given(st.sampled_from(RECURRENT), st.integers(1, 3), st.integers(1, 3), st.integers(1, 5), st.booleans())
def test_a_row_or_a_picture_is_told_as_the_equations_say(
    cell: str, depth: int, channels: int, steps: int, picture: bool
) -> None:
    shape = (2, 3, 2) if picture else (4,)
    network = _network(cell, shape, channels * steps, depth=depth, channels=channels)
    x = torch.randn(3, *shape, dtype=torch.float64)
    begun = _arrays(network.begun)
    flat = x.reshape(3, -1).numpy() @ begun["weight"].T + begun["bias"]
    hidden = np.tanh(flat[:, : 5 * depth])
    layers = [[hidden[:, 5 * at : 5 * at + 5]] for at in range(depth)]
    if cell == "lstm":
        cells = flat[:, 5 * depth :]
        layers = [[h, cells[:, 5 * at : 5 * at + 5]] for at, (h,) in enumerate(layers)]
    with torch.no_grad():
        assert np.allclose(network(x).numpy(), _told(network, cell, layers, 3), atol=1e-12)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("cell", RECURRENT)
def test_a_series_is_told_on_from_the_state_at_its_end(cell: str, bidirectional: bool) -> None:
    """The encoder's end by the same equations, step by step, in one direction or joined from both."""
    network = _network(cell, (3, 6), 8, channels=2, bidirectional=bidirectional)
    x = torch.randn(4, 3, 6, dtype=torch.float64)
    w = _arrays(network.encoder.recurrent)
    ends = []
    for suffix, order in (("", range(6)), ("_reverse", reversed(range(6))))[: 1 + bidirectional]:
        own = {
            name.removesuffix(suffix): value for name, value in w.items() if name.endswith("_reverse") == bool(suffix)
        }
        state = [np.zeros((4, 5))] * (2 if cell == "lstm" else 1)
        for at in order:
            state = _step(cell, x[:, :, at].numpy(), state, own, 0)
        ends.append(state)
    begin = ends[0]
    if bidirectional:
        begun = _arrays(network.begun)
        joined = [np.concatenate(both, 1) @ begun["weight"].T + begun["bias"] for both in zip(*ends, strict=True)]
        begin = [np.tanh(joined[0]), *joined[1:]]
    with torch.no_grad():
        assert np.allclose(network(x).numpy(), _told(network, cell, [begin], 4), atol=1e-12)


@pytest.mark.parametrize("more", [{}, {"bidirectional": True, "depth": 2}])
@pytest.mark.parametrize("cell", RECURRENT)
def test_what_stands_behind_the_end_of_a_text_changes_nothing(cell: str, more: dict[str, Any]) -> None:
    network = _network(cell, (6,), 4, vocabulary=9, padded=True, **more)
    ids = torch.tensor([[3, 4, 5, 0, 0, 0], [1, 2, 8, 7, 6, 5]])
    with torch.no_grad():
        told = network(ids)
        assert torch.allclose(network(torch.nn.functional.pad(ids, (0, 4))), told)
        assert torch.allclose(network(ids[:1, :3]), told[:1])


@pytest.mark.parametrize("cell", RECURRENT)
def test_fewer_steps_are_the_beginning_of_more(cell: str) -> None:
    """Nothing later is seen: cutting the sequence leaves what comes before the cut as it is."""
    network = _network(cell, (4,), 12, channels=2, depth=2)
    x = torch.randn(3, 4, dtype=torch.float64)
    with torch.no_grad():
        whole = network(x).view(3, 2, 6)
        network.steps = 4
        assert torch.equal(network(x).view(3, 2, 4), whole[:, :, :4])


@pytest.mark.parametrize("cell", RECURRENT)
def test_the_gradient_goes_back_through_what_was_said(cell: str) -> None:
    """Against central differences: the last step's loss moves with the first bias of all also by way of the answers."""
    network = _network(cell, (4,), 5)
    x = torch.randn(2, 4, dtype=torch.float64)
    bias = network.head[1].bias
    (gradient,) = torch.autograd.grad(network(x)[:, -1].sum(), bias)
    sides = []
    with torch.no_grad():
        for change in (1e-6, -2e-6):
            bias.add_(change)
            sides.append(float(network(x)[:, -1].sum()))
    assert float(gradient) == pytest.approx((sides[0] - sides[1]) / 2e-6, rel=1e-6)
    assert abs(float(gradient) - 2) > 1e-3  # 2 would be the direct way of two examples alone


@pytest.mark.parametrize(
    ("name", "shape", "arguments", "key"),
    [("gru", (4,), {"read": "unroll", "channels": 2}, "channels"),
     ("gru", (4,), {"read": "unroll", "channels": 0}, "channels"),
     ("lstm", (4,), {"read": "unroll", "bidirectional": True}, "bidirectional"),
     ("rnn", (2, 9), {"channels": 3}, "channels"), ("transformer", (2, 9), {"read": "unroll"}, "read"),
     ("gru", (4,), {}, "gru")],
)  # fmt: skip
def test_contradictions_stop(name: str, shape: tuple[int, ...], arguments: dict[str, Any], key: str) -> None:
    with pytest.raises(NetworkError, match=key):
        NETWORKS[name](shape, 3, **arguments)
