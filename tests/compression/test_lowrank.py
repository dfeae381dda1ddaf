"""Low rank: bounds that theorems give, exactness at full rank, published parameter formulae, the law of passes."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from compression_law import context, holds
from netwright.compression import decomposing, lowrank, passes
from netwright.compression.decomposing import relative_error
from netwright.errors import UsageError
from netwright.nn.lowrank import BTLinear, TTLinear


def rng(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


KERNELS = st.tuples(st.integers(1, 7), st.integers(1, 7), st.integers(1, 4), st.integers(1, 4))


def kernel(shape: tuple[int, ...], seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=rng(seed), dtype=torch.float64)


# ---- decompositions


@settings(max_examples=12, deadline=None)
@given(KERNELS, st.integers(0, 99))
def test_every_decomposition_is_exact_at_full_rank(shape: tuple[int, int, int, int], seed: int) -> None:
    w = kernel(shape, seed)
    matrix = w.flatten(1)
    b, a = decomposing.svd(matrix, min(matrix.shape))
    assert relative_error(matrix, b @ a) < 1e-9
    assert relative_error(w, decomposing.tucker(w, (shape[0], shape[1], None, None)).composed()) < 1e-9
    assert relative_error(w, decomposing.cp_composed(decomposing.cp(w, decomposing.cp_full_rank(shape)))) < 1e-9
    full = [min(one.shape) for one in decomposing.train_unfoldings(w)]
    assert relative_error(w, decomposing.train_composed(decomposing.train(w, full))) < 1e-9
    terms = decomposing.block_term(w, 2, (shape[0], shape[1], None, None))
    assert relative_error(w, torch.stack([term.composed() for term in terms]).sum(0)) < 1e-9


@settings(max_examples=12, deadline=None)
@given(KERNELS, st.integers(0, 99), st.data())
def test_the_error_is_between_the_theorems_bounds(
    shape: tuple[int, int, int, int], seed: int, data: st.DataObject
) -> None:
    """Below by the best rank of any one unfolding (Eckart and Young), above by the root of the sum of all tails."""
    w = kernel(shape, seed)

    def tails(matrices: list[torch.Tensor], ranks: list[int]) -> list[float]:
        return [float(torch.linalg.svdvals(one)[rank:].square().sum()) for one, rank in zip(matrices, ranks)]

    unfoldings = [decomposing.unfolded(w, 0), decomposing.unfolded(w, 1)]
    ranks = [data.draw(st.integers(1, size)) for size in shape[:2]]
    lost = tails(unfoldings, ranks)
    found = float((w - decomposing.tucker(w, (*ranks, None, None)).composed()).square().sum())
    assert max(lost) - 1e-9 <= found <= sum(lost) + 1e-9
    unfoldings = decomposing.train_unfoldings(w)
    ranks = [data.draw(st.integers(1, min(one.shape))) for one in unfoldings]
    lost = tails(unfoldings, ranks)
    found = float((w - decomposing.train_composed(decomposing.train(w, ranks))).square().sum())
    assert max(lost) - 1e-9 <= found <= sum(lost) + 1e-9


@settings(max_examples=6, deadline=None)
@given(st.integers(1, 3), st.integers(0, 50))
def test_cp_finds_planted_terms(rank: int, seed: int) -> None:
    factors = [
        torch.randn(size, rank, generator=rng(seed + place), dtype=torch.float64)
        for place, size in enumerate((6, 5, 3, 3))
    ]
    w = torch.einsum("or,ir,hr,wr->oihw", *factors)
    assert relative_error(w, decomposing.cp_composed(decomposing.cp(w, rank + 1, sweeps=150))) < 0.05


def test_more_blocks_never_fit_worse() -> None:
    w = kernel((12, 10, 3, 3), 0)
    errors = []
    for blocks in (1, 2, 4):
        terms = decomposing.block_term(w, blocks, (3, 3, None, None))
        errors.append(relative_error(w, torch.stack([term.composed() for term in terms]).sum(0)))
    assert errors == sorted(errors, reverse=True)
    assert errors[2] < errors[0] - 0.1


@settings(max_examples=12, deadline=None)
@given(st.integers(30, 60), st.integers(30, 120), st.integers(0, 6), st.integers(0, 99))
def test_vbmf_finds_the_rank_that_was_planted_in_noise(rows: int, columns: int, rank: int, seed: int) -> None:
    """Signal well above the noise's largest singular value √n + √m, noise of unknown size; rank 0 is pure noise."""
    noise = torch.randn(rows, columns, generator=rng(seed), dtype=torch.float64)
    u = torch.linalg.qr(torch.randn(rows, max(rank, 1), generator=rng(seed + 1), dtype=torch.float64))[0]
    v = torch.linalg.qr(torch.randn(columns, max(rank, 1), generator=rng(seed + 2), dtype=torch.float64))[0]
    signal = 3 * (math.sqrt(rows) + math.sqrt(columns)) * (u @ v.T) * (rank > 0)
    scale = 10.0 ** (seed % 7 - 3)
    assert decomposing.vbmf_rank(scale * (signal + noise)) == rank
    assert decomposing.vbmf_rank(scale * (signal + noise).T) == rank


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0, 10), min_size=1, max_size=12), st.floats(0.05, 1))
def test_an_energy_share_keeps_the_fewest_values_that_reach_it(values: list[float], share: float) -> None:
    singular = torch.tensor(sorted(values, reverse=True), dtype=torch.float64)
    total = float(singular.square().sum())
    kept = decomposing.kept_by_energy(singular, share)
    assert float(singular[:kept].square().sum()) >= share * total * (1 - 1e-9)
    assert kept == 1 or float(singular[: kept - 1].square().sum()) <= share * total * (1 + 1e-9)


# ---- layers


@settings(max_examples=10, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4)), min_size=1, max_size=4),
    st.integers(1, 3),
    st.integers(0, 9),
)
def test_a_train_multiplies_as_its_matrix(sizes: list[tuple[int, int]], rank: int, seed: int) -> None:
    torch.manual_seed(seed)
    inputs, outputs = zip(*sizes)
    layer = TTLinear(inputs, outputs, [rank] * (len(sizes) - 1)).double()
    x = torch.randn(2, 3, math.prod(inputs), dtype=torch.float64)
    torch.testing.assert_close(layer(x), x @ layer.matrix().T + layer.bias)


@settings(max_examples=10, deadline=None)
@given(st.tuples(*[st.integers(1, 4)] * 4), st.tuples(*[st.integers(1, 3)] * 4), st.integers(1, 3))
def test_block_terms_multiply_as_their_matrix(sizes: tuple[int, ...], ranks: tuple[int, ...], blocks: int) -> None:
    torch.manual_seed(0)
    layer = BTLinear(sizes[:2], sizes[2:], ranks, blocks).double()
    x = torch.randn(5, sizes[0] * sizes[1], dtype=torch.float64)
    torch.testing.assert_close(layer(x), x @ layer.matrix().T + layer.bias)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 5000), st.integers(1, 4))
def test_a_size_is_split_into_its_factors(number: int, many: int) -> None:
    found = lowrank.split(number, many)
    assert len(found) == many
    assert math.prod(found) == number


# ---- the pass


def convolutions() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 20, (3, 5), stride=(2, 1), padding=(1, 2), bias=False),
        nn.BatchNorm2d(20), nn.ReLU(), nn.Conv2d(20, 24, 3, padding="same", dilation=2), nn.ReLU(),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(96, 48), nn.ReLU(), nn.Linear(48, 10),
    )  # fmt: skip


def residual() -> nn.Module:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.conv = nn.Conv2d(3, 12, 3, padding=1), nn.Conv2d(12, 12, 3, padding=1)
            self.head = nn.Linear(12, 10)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.stem(x).relu()
            return self.head((x + self.conv(x)).mean((2, 3)))

    return Block()


FAMILIES = ("svd", "tucker", "cp", "train", "block")


@pytest.mark.parametrize("build", [convolutions, residual])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_law_holds(family: str, build: type) -> None:
    rule = "rank=3" if family == "cp" else "parameters=0.5"
    network, done = holds(build, f"lowrank={family}:{rule} heal=1 lowrank=svd:rank=2", context((3, 9, 8)))
    assert done[0].surgeries
    before, after = (sum(one["parameters"][i] for one in done[0].facts["layers"].values()) for i in (0, 1))
    assert after < before
    saved = sum(each.numel() for each in build().parameters()) - sum(each.numel() for each in network.parameters())
    assert saved >= before - after  # the second pass may save more


@pytest.mark.parametrize("family", FAMILIES)
def test_full_rank_keeps_the_function(family: str) -> None:
    torch.manual_seed(0)
    network = convolutions().eval()
    given = context((3, 9, 8))
    names = "2+5" if family in ("tucker", "cp") else "0+2+5+9+11"
    x = given.first_batch().inputs[0]
    before = network(x)
    blocks = ",blocks=2" if family == "block" else ""
    (step,) = passes.parse(f"lowrank={family}:rank=999,layers={names}{blocks}")
    changed = step.apply(network, given)
    assert set(changed.facts["layers"]) == set(names.split("+"))
    assert not changed.facts["stay"]
    torch.testing.assert_close(network(x), before, atol=1e-5, rtol=1e-5)


# Parameters without bias; the formulae of the papers, ranks (out, in), in the order in which ``facts`` has them.
FORMULAE = {
    "svd": lambda o, i, h, w, r: r[0] * (o + i * h * w),
    "tucker": lambda o, i, h, w, r: i * r[1] + r[0] * r[1] * h * w + o * r[0],
    "cp": lambda o, i, h, w, r: r[0] * (i + h + w + o),
    "train": lambda o, i, h, w, r: i * r[0] + r[0] * h * r[1] + r[1] * w * r[2] + r[2] * o,
    "block": lambda o, i, h, w, r: 4 * (i * r[1] + r[0] * r[1] * h * w + o * r[0]),
}


@settings(max_examples=15, deadline=None)
@given(
    st.sampled_from(FAMILIES),
    st.integers(4, 12),
    st.integers(4, 12),
    st.sampled_from([(3, 3), (1, 5), (3, 2)]),
    st.floats(0.2, 0.9),
)
def test_parameters_are_those_of_the_formula(
    family: str, out: int, inner: int, size: tuple[int, int], share: float
) -> None:
    network = nn.Sequential(nn.Conv2d(inner, out, size))
    given = context((inner, 6, 6), batches=None)
    (step,) = passes.parse(f"lowrank={family}:layers=0,rank={share if family != 'cp' else 4}")
    facts = step.apply(network, given).facts["layers"]["0"]
    counted = sum(each.numel() for name, each in network.named_parameters() if "bias" not in name)
    assert facts["parameters"] == [out * inner * math.prod(size), counted]
    assert counted == FORMULAE[family](out, inner, *size, facts["ranks"])


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("rule", ["error=0.4", "energy=0.84"])
def test_the_bound_on_the_error_is_kept(family: str, rule: str) -> None:
    """error² = 1 − energy, so both rules bound the same; the effective weight is read off the network itself."""
    torch.manual_seed(3)
    network = nn.Sequential(nn.Conv2d(8, 10, 3, bias=False))
    smooth = torch.randn(10, 3) @ torch.randn(3, 72) + 0.05 * torch.randn(10, 72)
    network[0].weight.data = smooth.view(10, 8, 3, 3)
    given = context((8, 3, 3), batches=None)
    (step,) = passes.parse(f"lowrank={family}:{rule},layers=0,blocks=2")
    changed = step.apply(network, given)
    with torch.no_grad():
        effective = network(torch.eye(72).view(72, 8, 3, 3))[:, :, 0, 0].T
    error = float((effective - smooth).norm() / smooth.norm())
    assert error <= 0.4 + 1e-5
    assert changed.facts["layers"]["0"]["error"] == pytest.approx(error, abs=1e-5)


def test_a_dense_layer_of_planted_rank_is_seen_by_vbmf() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(40, 60))
    network[0].weight.data = torch.randn(60, 5) @ torch.randn(5, 40) + 0.1 * torch.randn(60, 40)
    (step,) = passes.parse("lowrank=svd:vbmf=true")
    assert step.apply(network, context((40,), batches=None)).facts["layers"]["0"]["ranks"] == [5]


def test_what_reads_a_layers_weight_keeps_its_layer() -> None:
    """PyTorch's attention and a tied weight: neither may be exchanged; a layer read by hand is put back."""

    class Reader(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.free = nn.Linear(12, 12), nn.Linear(12, 12)
            self.attention = nn.MultiheadAttention(12, 2, batch_first=True)
            self.tied = nn.Linear(12, 12)
            self.other = nn.Linear(12, 12)
            self.other.weight = self.tied.weight

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.other(self.tied(self.free(x) + x @ self.inner.weight))
            return self.attention(x, x, x)[0]

    network = Reader()
    (step,) = passes.parse("lowrank=svd:rank=2")
    changed = step.apply(network, context((4, 12), batches=None))
    assert [surgery.module for surgery in changed.surgeries] == ["free"]
    assert "inner stays" in changed.facts["stay"][0]
    network(torch.zeros(1, 4, 12))


def test_a_named_layer_may_grow() -> None:
    network = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1))
    (step,) = passes.parse("lowrank=tucker:rank=9,layers=0")
    changed = step.apply(network, context((4, 6, 6)))
    assert changed.facts["layers"]["0"]["parameters"] == [4 * 4 * 9, 16 + 144 + 16]
    assert "1 layer" in changed.note


@pytest.mark.parametrize("chain", ["lowrank=svd:error=0.1,rank=3", "lowrank=svd:layers=fc9", "lowrank=qr", "lowrank"])
def test_wrong_options_are_named(chain: str) -> None:
    with pytest.raises(UsageError):
        passes.parse(chain)[0].apply(copy.deepcopy(nn.Sequential(nn.Linear(3, 3))), context((3,)))


def test_tensorly_agrees() -> None:
    tensorly = pytest.importorskip("tensorly", reason="tensorly, an oracle only, is not installed")
    from tensorly.decomposition import partial_tucker, tensor_train

    tensorly.set_backend("pytorch")
    w = kernel((8, 7, 3, 3), 5)
    (core, factors), _ = partial_tucker(w, rank=[3, 4], modes=[0, 1])
    theirs = torch.einsum("rshw,or,is->oihw", core, *factors)
    ours = decomposing.tucker(w, (3, 4, None, None)).composed()
    assert relative_error(w, ours) == pytest.approx(relative_error(w, theirs), rel=1e-3)
    train = tensorly.tt_to_tensor(tensor_train(w, [1, 3, 4, 2, 1]))
    assert relative_error(w, decomposing.train_composed(decomposing.train(w, [3, 4, 2]))) == pytest.approx(
        relative_error(w, train)
    )
