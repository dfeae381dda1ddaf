"""Packed weights: the same bits again, in as few bytes as is promised, and damage is said."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from netwright.errors import RunError
from netwright.nn import packing, weights


def same(one: torch.Tensor, other: torch.Tensor) -> bool:
    """To the bit: -0 is not 0, and no number is equal to itself."""
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    kinds = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    return torch.equal(one.view(kinds[one.element_size()]), other.view(kinds[other.element_size()]))


@given(
    st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)), min_size=1, max_size=3),
    st.sampled_from([torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.bool, torch.int64]),
    st.floats(0, 1), st.integers(0, 1000),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_any_state_comes_back_to_the_bit(
    shapes: list[tuple[int, int]], dtype: torch.dtype, share: float, seed: int
) -> None:
    drawn = torch.Generator().manual_seed(seed)
    state = {}
    for number, shape in enumerate(shapes):
        values = torch.randn(shape, generator=drawn) * (torch.rand(shape, generator=drawn) < share)
        values.view(-1)[0] = -0.0
        state[f"a{number}.parametrizations.weight.original"] = values.to(dtype)
        state[f"a{number}.parametrizations.weight.0.mask"] = values != 0
    parts, notes = packing.pack(state)
    found = packing.unpack(parts, notes)
    assert found.keys() == state.keys()
    assert all(same(found[name], tensor) for name, tensor in state.items())


@pytest.mark.parametrize("gap", [0, 1, 253, 254, 255, 256, 509, 510, 511, 765, 70_000])
def test_long_gaps(gap: int) -> None:
    values = torch.zeros(gap + 3 + 2 * gap)
    values[gap], values[2 * gap + 1] = 1.5, -2.0
    parts, notes = packing.pack({"a": values})
    assert same(packing.unpack(parts, notes)["a"], values)


def test_masked_weights_make_the_file_as_small_as_is_promised(tmp_path: Path) -> None:
    """One weight in twelve: 5 bytes for it instead of 4 bytes for each of twelve, and no byte for the mask: 9.6 times
    smaller; gaps above 254 and the file's head cost a little."""
    drawn = torch.Generator().manual_seed(0)
    weight = torch.randn(300, 784, generator=drawn)
    mask = torch.rand(weight.shape, generator=drawn) < 1 / 12
    state = {
        "w.parametrizations.weight.original": weight.masked_fill(~mask, 0),
        "w.parametrizations.weight.0.mask": mask,
    }
    weights.save(state, tmp_path / "packed", packed=True)
    weights.save({"w.weight": weight}, tmp_path / "plain")
    assert (tmp_path / "plain").stat().st_size > 9.4 * (tmp_path / "packed").stat().st_size
    again = weights.read(tmp_path / "packed")
    assert again.keys() == state.keys()
    assert all(same(again[name], tensor) for name, tensor in state.items())


def test_plain_weights_stay_plain(tmp_path: Path) -> None:
    state = {"w": torch.randn(30, 20), "tied": torch.randn(5)}
    state["again"] = state["tied"]
    for packed in (False, True):
        weights.save(state, tmp_path / str(packed), packed=packed)
    assert (tmp_path / "True").read_bytes() == (tmp_path / "False").read_bytes()


@pytest.mark.parametrize(
    ("part", "value"),
    [("a#gaps", torch.full((9,), 255, dtype=torch.uint8)), ("a#values", torch.ones(3)), ("a#gaps", torch.ones(50)),
     ("a#gaps", None)],
)  # fmt: skip
def test_damage_is_said(part: str, value: torch.Tensor | None, tmp_path: Path) -> None:
    tensor = torch.zeros(400)
    tensor[[3, 300]] = 1
    parts, notes = packing.pack({"a": tensor})
    for wrong in ({}, {"shape": [2]}, {"shape": [-400]}, {"how": "guess"}, {"how": "support", "of": "b"}):
        if wrong:
            with pytest.raises(ValueError, match=r"."):
                packing.unpack(parts, {"a": notes["a"] | wrong})
    parts = {name: each for name, each in (parts | {part: value}).items() if each is not None}
    with pytest.raises(ValueError, match=r"."):
        packing.unpack(parts, notes)
    (tmp_path / "w").write_bytes(b"not safetensors")
    with pytest.raises(RunError):
        weights.read(tmp_path / "w")
