"""Attention against its formulas, written out."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from netwright.nn.attention import AdditiveAttention, DotProductAttention, dot_product


def test_additive_scores_are_the_formula() -> None:
    torch.manual_seed(0)
    layer = AdditiveAttention(3, 5, 4)
    query, key = torch.randn(2, 2, 3), torch.randn(2, 6, 5)
    mixed, weights = layer(query, key)
    for n in range(2):
        for q in range(2):
            scores = torch.stack([
                layer.score.weight[0] @ torch.tanh(
                    layer.of_query.weight @ query[n, q] + layer.of_key.weight @ key[n, t] + layer.of_key.bias
                ) for t in range(6)
            ])  # fmt: skip
            expected = scores.exp() / scores.exp().sum()
            assert torch.allclose(weights[n, q], expected, atol=1e-6)
            assert torch.allclose(mixed[n, q], sum(w * k for w, k in zip(expected, key[n], strict=True)), atol=1e-6)


def test_dot_product_is_the_formula_and_looks_past_what_is_masked() -> None:
    torch.manual_seed(1)
    query, key, value = torch.randn(1, 2, 4), torch.randn(1, 3, 4), torch.randn(1, 3, 5)
    mask = torch.tensor([[True, False, True]])
    mixed, weights = dot_product(query, key, value, mask)
    for q in range(2):
        exps = [math.exp(float(query[0, q] @ key[0, t]) / 2) if mask[0, t] else 0.0 for t in range(3)]
        for t in range(3):
            assert float(weights[0, q, t]) == pytest.approx(exps[t] / sum(exps), abs=1e-6)
    assert torch.allclose(mixed, weights @ value)


def test_heads_are_pytorchs_own() -> None:
    torch.manual_seed(2)
    ours, theirs = DotProductAttention(8, 2), nn.MultiheadAttention(8, 2, batch_first=True)
    theirs.in_proj_weight.data, theirs.in_proj_bias.data = ours.project.weight.data, ours.project.bias.data
    theirs.out_proj.weight.data, theirs.out_proj.bias.data = ours.out.weight.data, ours.out.bias.data
    x = torch.randn(3, 5, 8)
    mask = torch.tensor([[True] * 5, [True, True, False, False, False], [True, True, True, True, False]])
    expected, _ = theirs(x, x, x, key_padding_mask=~mask)
    assert torch.allclose(ours(x, mask), expected, atol=1e-6)


def test_causal_attention_does_not_see_what_comes() -> None:
    torch.manual_seed(3)
    layer = DotProductAttention(8, 2, causal=True).eval()
    x = torch.randn(1, 6, 8)
    changed = x.clone()
    changed[:, 4:] += 1
    assert torch.equal(layer(x)[:, :4], layer(changed)[:, :4])
    assert not torch.allclose(layer(x)[:, 4:], layer(changed)[:, 4:])
