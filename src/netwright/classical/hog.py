"""Histograms of oriented gradients (Dalal and Triggs 2005, Histograms of Oriented Gradients for Human Detection).

As their section 6 has it: centred differences without smoothing, of the channel with the strongest gradient; unsigned
orientations in 9 bins; votes of the gradient's length, shared linearly between neighbouring bins and cells; blocks of
2×2 cells that overlap, each normalised, clipped at 0.2 and normalised again (L2-Hys).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

BINS, BLOCK, CLIPPED, TINY = 9, 2, 0.2, 1e-3
CELLS = 8  # along the shorter side
PIECE = 1 << 22  # pixels of pictures at a time


def cell_size(height: int, width: int) -> int:
    """Pixels along a cell's side: eight cells or so along the picture's shorter side, at least two pixels."""
    return max(2, round(min(height, width) / CELLS))


def features(pictures: Array, cell: int = 0) -> Array:
    """Descriptors (N, F) ``float32`` of pictures (N, C, H, W) in 0…1. ``cell``: pixels; 0: ``cell_size``.

    Rows and columns that fill no cell are left out at the far sides. Memory: some 20 times that of 4 million pixels.
    """
    count, _, height, width = pictures.shape
    cell = cell or cell_size(height, width)
    step = max(1, PIECE // (height * width))
    pieces = [_features(pictures[start : start + step].astype(np.float32), cell) for start in range(0, count, step)]
    return np.concatenate(pieces) if pieces else np.zeros((0, 0), np.float32)


def _features(pictures: Array, cell: int) -> Array:
    lengths, angles = _gradients(pictures)
    rows, columns = (_sharing(side, cell) for side in pictures.shape[2:])
    # Of an angle of b + f bins (counted from the middle of bin 0) bin b gets the share 1 - f, the next one f.
    places = angles * (BINS / np.pi) - 0.5
    lower = np.floor(places)
    share = places - lower
    lower = lower.astype(np.int64) % BINS
    cells = np.empty((len(pictures), BINS, len(rows), len(columns)), np.float32)
    for number in range(BINS):
        votes = np.where(lower == number, 1 - share, np.where((lower + 1) % BINS == number, share, 0)) * lengths
        cells[:, number] = rows @ votes @ columns.T
    return _blocks(cells)


def _gradients(pictures: Array) -> tuple[Array, Array]:
    """Length and unsigned angle (0…π) of the gradient (N, H, W), of each pixel's strongest channel; at
    the border nothing changes."""
    down, right = np.zeros_like(pictures), np.zeros_like(pictures)
    down[:, :, 1:-1] = pictures[:, :, 2:] - pictures[:, :, :-2]
    right[..., 1:-1] = pictures[..., 2:] - pictures[..., :-2]
    strength = np.square(down) + np.square(right)
    best = strength.argmax(1)[:, None]
    down, right = (np.take_along_axis(values, best, 1)[:, 0] for values in (down, right))
    return np.hypot(down, right), np.arctan2(down, right) % np.pi


def _sharing(side: int, cell: int) -> Array:
    """(cells, side): how much of each pixel's vote a cell gets along one side, linearly between the two cells whose
    middles are nearest; beyond the outer middles what would go to a cell that is not there is lost."""
    cells = max(1, side // cell)
    middles = (np.arange(cells) + 0.5) * cell - 0.5
    weights: Array = np.maximum(0, 1 - np.abs(np.arange(side)[None] - middles[:, None]) / cell).astype(np.float32)
    return weights


def _blocks(cells: Array) -> Array:
    """(N, bins, rows, columns) → all overlapping blocks, normalised, flat: by block, then by cell, then by bin."""
    block = min(BLOCK, *cells.shape[2:])
    windows = np.lib.stride_tricks.sliding_window_view(cells, (block, block), axis=(2, 3))
    flat = windows.transpose(0, 2, 3, 4, 5, 1).reshape(len(cells), windows.shape[2], windows.shape[3], -1)
    for clip in (CLIPPED, np.inf):
        flat = np.minimum(flat / np.sqrt(np.square(flat).sum(-1, keepdims=True) + TINY**2), clip)
    return flat.reshape(len(cells), -1).astype(np.float32)
