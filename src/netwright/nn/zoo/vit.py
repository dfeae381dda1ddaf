"""The vision transformer (Dosovitskiy et al. 2021)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from netwright.errors import NetworkError
from netwright.nn.zoo.blocks import fit, named


class Attention(nn.Module):
    """(N, T, D) → (N, T, D): softmax(Q Kᵀ / √d) V in ``heads`` heads of d = D / heads (Vaswani et al. 2017, eq. 1)."""

    def __init__(self, size: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(size, 3 * size)
        self.project = nn.Linear(size, size)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        query, key, value = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        seen = nn.functional.scaled_dot_product_attention(query, key, value)
        return self.project(seen.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


class EncoderLayer(nn.Module):
    """(N, T, D) → (N, T, D): attention and a perceptron, each after a norm and beside its input (figure 1)."""

    def __init__(self, size: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(size, eps=1e-6)
        self.attention = Attention(size, heads)
        self.dropout = nn.Dropout(dropout)
        self.norm2 = nn.LayerNorm(size, eps=1e-6)
        self.mlp = nn.Sequential(
            nn.Linear(size, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, size), nn.Dropout(dropout)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.dropout(self.attention(self.norm1(x)))
        return x + self.mlp(self.norm2(x))  # type: ignore[no-any-return]


class Tokens(nn.Module):
    """(N, D, H, W) → (N, 1 + H · W, D): the class token, then the map's pixels, with learned positions added."""

    def __init__(self, size: int, patches: int) -> None:
        super().__init__()
        self.class_token = nn.Parameter(torch.zeros(1, 1, size))
        self.positions = nn.Parameter(torch.empty(1, 1 + patches, size).normal_(std=0.02))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pixels = x.flatten(2).transpose(1, 2)
        return torch.cat([self.class_token.expand(len(x), -1, -1), pixels], 1) + self.positions


class ViT(nn.Module):
    """(N, C, H, W) → (N, outputs): a transformer's encoder over patches; Dosovitskiy et al. 2021, Table 1.

    "An image is worth 16x16 words: transformers for image recognition at scale", ICLR 2021. Sides are multiples of
    ``patch``; every size has positions of its own. ``width`` scales the heads, each of 64.
    """

    def __init__(
        self, input_shape: Sequence[int], outputs: int, width: float = 1.0, depth: int = 12, patch: int = 16,
        dropout: float = 0.0,
    ) -> None:  # fmt: skip
        super().__init__()
        inputs, heads = fit("vit_b_16", input_shape, patch, width), max(1, round(12 * width))
        if any(side % patch for side in input_shape[1:]):
            raise NetworkError("vit_b_16", f"an input of shape {tuple(input_shape)}", f"sides of {patch} · n")
        size = 64 * heads
        self.patches = nn.Conv2d(inputs, size, patch, patch)
        self.tokens = Tokens(size, input_shape[1] // patch * (input_shape[2] // patch))
        self.dropout = nn.Dropout(dropout)
        layers = [(f"layer{number}", EncoderLayer(size, heads, 4 * size, dropout)) for number in range(depth)]
        self.encoder = named(*layers, ("norm", nn.LayerNorm(size, eps=1e-6)))
        self.head = nn.Linear(size, outputs)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.encoder(self.dropout(self.tokens(self.patches(x))))
        return self.head(x[:, 0])  # type: ignore[no-any-return]
