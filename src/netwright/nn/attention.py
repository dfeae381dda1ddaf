"""Attention: which positions of a sequence matter for a question, by a small network or by an inner product."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class AdditiveAttention(nn.Module):
    """score(q, k) = v · tanh(W q + U k) (Bahdanau et al. 2015, appendix A.1.2).

    Queries (N, Q, ``queries``) and keys (N, T, ``keys``) → mixtures of the values (N, Q, F), and the weights (N, Q, T).
    Costs Q · T · ``width`` tanh an example.
    """

    def __init__(self, queries: int, keys: int, width: int) -> None:
        super().__init__()
        self.of_query = nn.Linear(queries, width, bias=False)
        self.of_key = nn.Linear(keys, width)
        self.score = nn.Linear(width, 1, bias=False)

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor | None = None, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """``value``: (N, T, F); the keys if left out. ``mask`` (N, T): True where there is something to look at."""
        hidden = torch.tanh(self.of_query(query)[:, :, None] + self.of_key(key)[:, None])
        weights = _weights(self.score(hidden)[..., 0], mask)
        return weights @ (key if value is None else value), weights


class DotProductAttention(nn.Module):
    """softmax(q kᵀ / √d) v over ``heads`` parts of ``width`` features (Vaswani et al. 2017, section 3.2).

    (N, T, width) → (N, T, width). ``causal``: no position sees a later one.
    """

    def __init__(self, width: int, heads: int = 4, *, causal: bool = False, dropout: float = 0.0) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"a width of {width} is not divided by {heads} heads")
        self.heads, self.causal, self.dropout = heads, causal, dropout
        self.project = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """``mask`` (N, T): True where there is something to look at."""
        n, t, width = x.shape
        query, key, value = self.project(x).view(n, t, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(
            query, key, value, attn_mask=None if mask is None else mask[:, None, None],
            dropout_p=self.dropout if self.training else 0.0, is_causal=self.causal,
        )  # fmt: skip
        return self.out(mixed.transpose(1, 2).reshape(n, t, width))  # type: ignore[no-any-return]


def dot_product(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """One head without projections, and its weights: queries (N, Q, D), keys (N, T, D), values (N, T, F)."""
    weights = _weights(query @ key.transpose(1, 2) / math.sqrt(query.shape[-1]), mask)
    return weights @ value, weights


def _weights(scores: Tensor, mask: Tensor | None) -> Tensor:
    """(N, Q, T) that sum to 1 over what is not masked."""
    return torch.softmax(scores if mask is None else scores.masked_fill(~mask[:, None], -math.inf), -1)
