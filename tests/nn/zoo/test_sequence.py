"""Sequence networks: laws that every one of them keeps."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from netwright.errors import NetworkError
from netwright.nn.zoo import NETWORKS
from netwright.nn.zoo.sequence import READS, positions

RECURRENT = ("rnn", "lstm", "gru")
ALL = (*RECURRENT, "transformer")


def _texts(lengths: list[int], size: int) -> torch.Tensor:
    ids = torch.zeros(len(lengths), size, dtype=torch.int32)
    generator = torch.Generator().manual_seed(0)
    for row, length in zip(ids, lengths, strict=True):
        row[:length] = torch.randint(1, 20, (length,), generator=generator)
    return ids


@pytest.mark.parametrize("read", [read for read in READS if read != "every"])
@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("more", [{}, {"bidirectional": True, "depth": 2}])
def test_what_stands_behind_the_end_of_a_text_changes_nothing(name: str, read: str, more: dict[str, object]) -> None:
    """The same texts with more room behind them, and alone, get the same answers: packed, masked."""
    if name == "transformer":
        more = {key: value for key, value in more.items() if key != "bidirectional"}
    torch.manual_seed(0)
    network = NETWORKS[name]((9,), 3, width=8, vocabulary=20, padded=True, read=read, **more).eval()
    ids = _texts([9, 4, 1, 6], 9)
    with torch.no_grad():
        expected = network(ids)
        wider = network(torch.nn.functional.pad(ids, (0, 5)))
        alone = torch.cat([network(row[None, : int((row != 0).sum())]) for row in ids])
    assert torch.allclose(wider, expected, atol=1e-5)
    assert torch.allclose(alone, expected, atol=1e-5)


@pytest.mark.parametrize("read", [read for read in READS if read != "every"])
@pytest.mark.parametrize("name", RECURRENT)
def test_texts_are_read_as_they_lie_and_told_as_packed_ones(name: str, read: str) -> None:
    """Answers and gradients without packing are those of every text by itself, also of an empty one."""
    torch.manual_seed(0)
    network = NETWORKS[name]((9,), 3, width=8, depth=2, vocabulary=20, padded=True, read=read).eval()
    ids = _texts([9, 4, 0, 6], 9)
    hidden, state, mask = network.encoded(ids, whole=True)
    last = (state[0] if isinstance(state, tuple) else state)[-1]
    told = network(ids)
    packed = network.head(last if network.reading is None else network.reading(hidden, mask))
    assert torch.allclose(told, packed, atol=1e-6)
    weights = torch.randn_like(told)
    together = torch.autograd.grad((told * weights).sum(), list(network.parameters()))
    network.padded = False  # then every position of what is handed over counts
    alone = torch.cat([network(row[None, : max(1, int((row != 0).sum()))]) for row in ids])
    assert torch.allclose(alone, told, atol=1e-6)
    apart = torch.autograd.grad((alone * weights).sum(), list(network.parameters()))
    assert all(torch.allclose(one, other, atol=1e-5) for one, other in zip(together, apart, strict=True))


@pytest.mark.parametrize("name", ALL)
def test_an_empty_text_has_an_answer(name: str) -> None:
    network = NETWORKS[name]((4,), 2, width=8, vocabulary=9, padded=True, read="mean").eval()
    assert torch.isfinite(network(torch.zeros(2, 4, dtype=torch.int32))).all()


@pytest.mark.parametrize("name", ALL)
def test_every_position_is_told_from_what_was_before_it(name: str) -> None:
    network = NETWORKS[name]((8,), 5, width=8, vocabulary=5, read="every").eval()
    ids = torch.randint(0, 5, (2, 8))
    changed = ids.clone()
    changed[:, 5:] = (changed[:, 5:] + 1) % 5

    def told(x: torch.Tensor) -> torch.Tensor:
        for module in network.modules():
            if hasattr(module, "memory"):
                module.memory = None
        with torch.no_grad():
            return network(x).view(2, 8, 5)

    assert torch.allclose(told(ids)[:, :5], told(changed)[:, :5], atol=1e-6)
    assert not torch.allclose(told(ids)[:, 5:], told(changed)[:, 5:])


@pytest.mark.parametrize("name", RECURRENT)
def test_a_text_in_pieces_is_told_as_the_whole(name: str) -> None:
    """Carrying the hidden state over makes the cuts invisible in the forward pass; the gradient ends at them."""
    torch.manual_seed(0)
    network = NETWORKS[name]((4,), 5, width=8, depth=2, vocabulary=5, read="every").eval()
    ids = torch.randint(0, 5, (3, 12))
    whole = network(ids).view(3, 12, 5)
    network.memory = None
    pieces = [network(ids[:, at : at + 4]).view(3, 4, 5) for at in (0, 4, 8)]
    assert torch.allclose(torch.cat(pieces, 1), whole, atol=1e-6)
    embedding = network.embedding.weight
    (gradient,) = torch.autograd.grad(pieces[2].square().sum(), embedding)
    network.memory = None
    with torch.no_grad():
        network(ids[:, :8])
    (alone,) = torch.autograd.grad(network(ids[:, 8:]).square().sum(), embedding)
    assert torch.allclose(gradient, alone, atol=1e-6)


@pytest.mark.parametrize("name", RECURRENT)
def test_other_numbers_of_lanes_begin_anew(name: str) -> None:
    network = NETWORKS[name]((4,), 5, width=8, vocabulary=5, read="every").eval()
    ids = torch.randint(0, 5, (2, 4))
    fresh = network(ids)
    network(torch.randint(0, 5, (3, 4)))
    assert torch.equal(network(ids), fresh)


@pytest.mark.parametrize("name", RECURRENT)
def test_both_directions_see_the_series_from_both_ends(name: str) -> None:
    torch.manual_seed(0)
    network = NETWORKS[name]((3, 7), 2, width=6, bidirectional=True).eval()
    inner: nn.RNNBase = network.recurrent
    forward, backward = type(inner)(3, 6, batch_first=True), type(inner)(3, 6, batch_first=True)
    forward.load_state_dict({k: v for k, v in inner.state_dict().items() if not k.endswith("reverse")})
    backward.load_state_dict(
        {k.removesuffix("_reverse"): v for k, v in inner.state_dict().items() if k.endswith("reverse")}
    )
    x = torch.randn(4, 3, 7)
    ends = [one(x.transpose(1, 2).flip(1) if flip else x.transpose(1, 2))[0][:, -1] for one, flip in
            ((forward, False), (backward, True))]  # fmt: skip
    assert torch.allclose(network(x), network.head(torch.cat(ends, 1)), atol=1e-6)


@pytest.mark.parametrize("shape", [(6,), (3, 8), (1, 8, 8)])
@pytest.mark.parametrize("name", ALL)
def test_a_misspelt_reading_gets_the_nearest_name_whatever_the_shape(name: str, shape: tuple[int, ...]) -> None:
    more = {"unrol": "unroll"} if name in RECURRENT else {}
    for wrong, meant in {"men": "mean", "atention": "attention", **more}.items():
        with pytest.raises(NetworkError) as caught:
            NETWORKS[name](shape, 3, read=wrong)
        assert (caught.value.where, caught.value.suggestion) == ("network.arguments.read", meant)


def test_recurrent_weights_begin_orthogonal_and_forget_gates_open() -> None:
    network = NETWORKS["lstm"]((3, 7), 2, width=6)
    for gate in network.recurrent.weight_hh_l0.split(6):
        assert torch.allclose(gate @ gate.T, torch.eye(6), atol=1e-5)
    bias = network.recurrent.bias_ih_l0 + network.recurrent.bias_hh_l0
    assert bias.tolist() == [0.0] * 6 + [1.0] * 6 + [0.0] * 12


def test_positions_are_told_apart() -> None:
    table = positions(300, 16)
    distances = torch.cdist(table, table) + torch.eye(300)
    assert float(distances.min()) > 1e-3


@pytest.mark.parametrize(
    ("name", "arguments", "shape"),
    [("lstm", {"read": "first"}, (2, 9)), ("gru", {"read": "every", "bidirectional": True}, (2, 9)),
     ("rnn", {}, (3, 8, 8)),
     ("transformer", {"width": 30}, (2, 9)), ("lstm", {"vocabulary": 9}, (2, 9))],
)  # fmt: skip
def test_contradictions_stop(name: str, arguments: dict[str, object], shape: tuple[int, ...]) -> None:
    with pytest.raises(NetworkError):
        NETWORKS[name](shape, 2, **arguments)
