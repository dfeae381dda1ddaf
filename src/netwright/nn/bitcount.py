"""Signs as bits, and products of signs by XOR and popcount.

For rows x, w of n signs: x · w = n − 2 popcount(x XOR w) (Rastegari et al. 2016, section 3.2). Bits lie lowest first in
``uint8`` words; a row is padded with zeros on both sides, which XOR to nothing.
"""

from __future__ import annotations

import functools
import importlib.util
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor


def packed(signs: Tensor) -> Tensor:
    """(rows, n), bits where it is ≥ 0 → (rows, ⌈n / 8⌉) ``uint8``."""
    bits = (signs >= 0).cpu().numpy()
    return torch.from_numpy(np.packbits(bits, axis=-1, bitorder="little")).to(signs.device)


def unpacked(words: Tensor, count: int) -> Tensor:
    """(rows, ⌈n / 8⌉) → ±1 ``int8`` (rows, n)."""
    bits = torch.arange(8, dtype=torch.uint8, device=words.device)
    found = torch.bitwise_and(torch.bitwise_right_shift(words[..., None], bits), 1).flatten(-2)[..., :count]
    return found.to(torch.int8) * 2 - 1


@functools.cache
def available() -> bool:
    """Whether the compiler of the extra ``binary`` is there."""
    return importlib.util.find_spec("numba") is not None


def laid_out(words: Tensor, shape: Sequence[int]) -> Any:
    """The words of a weight (O, n) or kernel (O, C, kh, kw) as the kernel reads them: ``uint64`` (words of a row, O),
    O padded to whole blocks. A kernel's bits go along its channels at each position."""
    from netwright.nn.bitcount_kernels import COLUMNS

    narrow = words
    if len(shape) == 4:
        signs = unpacked(words, math.prod(shape[1:])).view(*shape).permute(0, 2, 3, 1)
        narrow = packed(signs.contiguous())
    rows = _wide(narrow.numpy()).reshape(shape[0], -1)
    padded = np.zeros((rows.shape[1], -(-shape[0] // COLUMNS) * COLUMNS), np.uint64)
    padded[:, : shape[0]] = rows.T
    return padded


def product(x: Tensor, weight: Any, outputs: int) -> Tensor:
    """sign(x) (rows, n) · signs (O, n), given ``laid_out`` → ``float32`` (rows, O). Packs ``x`` first; one thread."""
    from netwright.nn import bitcount_kernels as kernels

    rows, count = x.shape
    left = np.zeros((rows, -(-count // 64)), np.uint64)
    kernels.pack(np.ascontiguousarray(x.numpy()), left)
    return _multiplied(left, weight, count, outputs)


def convolved(x: Tensor, weight: Any, shape: Sequence[int], stride: Sequence[int], dilation: Sequence[int]) -> Tensor:
    """sign(x) (N, C, H, W), already padded, convolved with signs ``laid_out`` → ``float32`` (N, O, H', W').

    Bits are packed along the channels once a pixel; windows are gathered as words.
    """
    pixels = _wide(packed(x.permute(0, 2, 3, 1).contiguous()).numpy())  # (N, H, W, ⌈C / 64⌉)
    reach = [spread * (size - 1) + 1 for spread, size in zip(dilation, shape[2:], strict=True)]
    windows = np.lib.stride_tricks.sliding_window_view(pixels, reach, axis=(1, 2))  # (N, H', W', words, kh, kw)
    windows = windows[:, :: stride[0], :: stride[1], :, :: dilation[0], :: dilation[1]].transpose(0, 1, 2, 4, 5, 3)
    many, high, wide = windows.shape[:3]
    rows = np.ascontiguousarray(windows).reshape(many * high * wide, -1)
    found = _multiplied(rows, weight, math.prod(shape[1:]), shape[0])
    return found.view(many, high, wide, shape[0]).permute(0, 3, 1, 2).contiguous()


def _multiplied(left: Any, weight: Any, count: int, outputs: int) -> Tensor:
    from netwright.nn import bitcount_kernels as kernels

    found = np.empty((len(left), weight.shape[1]), np.float32)
    kernels.multiply(left, weight, count, found)
    return torch.from_numpy(found if outputs == weight.shape[1] else np.ascontiguousarray(found[:, :outputs]))


def _wide(narrow: Any) -> Any:
    """``uint8`` (…, n) as ``uint64`` (…, ⌈n / 8⌉), zeros behind."""
    wide = np.zeros((*narrow.shape[:-1], -(-narrow.shape[-1] // 8) * 8), np.uint8)
    wide[..., : narrow.shape[-1]] = narrow
    return wide.view(np.uint64)
