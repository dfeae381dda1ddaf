"""Gabor filters: a wave under a bell. As fixed features, and as what a network's first filters are compared with.

g(x, y) = exp(-(x'² + γ²y'²) / 2σ²) · cos(2πx'/λ + ψ), with x', y' turned by θ. Sources: Daugman 1985, Uncertainty
relation for resolution in space, spatial frequency, and orientation (simple cells of the visual cortex); Jain and
Farrokhnia 1991, Unsupervised texture segmentation using Gabor filters (banks of them as features).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

ORIENTATIONS, WAVES = 6, (3.0, 4.5, 6.75)  # of the features; wavelengths in pixels of a picture of NOMINAL pixels
NOMINAL = 28
BANDWIDTH, ASPECT = 0.56, 0.5  # σ/λ of a band of one octave; γ
POOLED = 6  # places along each side at which the energies are averaged
PIECE = 1 << 23  # pixels times filters of pictures at a time
RANDOM = 400  # filters that say how well anything of this size is fitted


def wavelengths(side: int) -> list[float]:
    """For pictures whose shorter side is ``side``: at least 2.5 pixels a wave, which is nearly as fine as can be."""
    return sorted({max(2.5, wave * max(1.0, side / NOMINAL)) for wave in WAVES if wave <= max(side / 2, WAVES[0])})


def kernel(wave: float, angle: float, size: int) -> Array:
    """The complex filter (size, size): its real part is even, its imaginary part odd; mean zero, length one."""
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    along, across = x * np.cos(angle) + y * np.sin(angle), -x * np.sin(angle) + y * np.cos(angle)
    bell = np.exp(-(np.square(along) + ASPECT**2 * np.square(across)) / (2 * (BANDWIDTH * wave) ** 2))
    wave_part = np.exp(2j * np.pi * along / wave)
    found = bell * (wave_part - (bell * wave_part).sum() / bell.sum())
    unit: Array = found / np.linalg.norm(found)
    return unit


def features(pictures: Array) -> Array:
    """Energies (N, F) of pictures (N, C, H, W) in 0…1: the length of each filter's even and odd answer to the mean of
    the channels, averaged over ``POOLED``² places. Filtering is by Fourier transforms, as if the border went on."""
    grey = pictures.mean(1)
    height, width = grey.shape[1:]
    angles = [np.pi * turn / ORIENTATIONS for turn in range(ORIENTATIONS)]
    bank = [(wave, angle) for wave in wavelengths(min(height, width)) for angle in angles]
    size = max(2 * int(np.ceil(2 * BANDWIDTH * wave)) + 1 for wave, _ in bank)
    pad = size // 2
    shape = (height + 2 * pad, width + 2 * pad)
    filters = np.stack([np.fft.fft2(np.conj(kernel(wave, angle, size)), shape) for wave, angle in bank])
    # The filter's middle is at (pad, pad) of its own grid: the answer at a pixel comes out at twice that.
    pools = [_pooling(side) for side in (height, width)]
    step = max(1, PIECE // (shape[0] * shape[1] * len(bank)))
    found = []
    for start in range(0, len(grey), step):
        padded = np.pad(grey[start : start + step].astype(np.float32), ((0, 0), (pad, pad), (pad, pad)), mode="edge")
        answers = np.fft.ifft2(np.fft.fft2(padded)[:, None] * filters)[..., 2 * pad :, 2 * pad :]
        found.append((pools[0] @ np.abs(answers) @ pools[1].T).reshape(len(padded), -1).astype(np.float32))
    return np.concatenate(found) if found else np.zeros((0, 0), np.float32)


def _pooling(side: int) -> Array:
    """(places, side): the mean over each of as many stretches."""
    places = min(POOLED, side)
    pool = (np.arange(side) * places // side)[None] == np.arange(places)[:, None]
    means: Array = pool / pool.sum(1, keepdims=True)
    return means


# ------------------------------------------------------------------------------------------------ learned filters


def nearest(filters: Array) -> tuple[Array, Array]:
    """The nearest Gabor filter of each of ``filters`` (n, h, w), and the share of its energy that it explains (n,).

    Place, direction, wavelength (2 to 4 sides), width and aspect are those of a grid; phase and size are best, since
    an even and an odd filter span them all. Cost: n × some 10,000 products of h·w numbers.
    """
    height, width = filters.shape[1:]
    even, odd = _grid(height, width)  # orthonormal pairs (grid, h·w)
    flat = filters.reshape(len(filters), -1).astype(np.float64)
    ones, others = flat @ even.T, flat @ odd.T
    energy = np.square(flat).sum(1)
    explained = (np.square(ones) + np.square(others)) / np.where(energy > 0, energy, 1)[:, None]
    best = explained.argmax(1)
    row = np.arange(len(flat))
    fitted = ones[row, best, None] * even[best] + others[row, best, None] * odd[best]
    return fitted.reshape(filters.shape), explained[row, best]


def _grid(height: int, width: int) -> tuple[Array, Array]:
    side = min(height, width)
    y, x = np.mgrid[:height, :width].reshape(2, 1, -1).astype(np.float64)
    places = [np.linspace(0.2, 0.8, 5) * (n - 1) for n in (height, width)]
    options = np.stack(np.meshgrid(
        *places, np.arange(12) * np.pi / 12, np.geomspace(2.0, 4.0 * side, 7), side * np.array([0.15, 0.25, 0.45]),
        np.array([0.5, 1.0]), indexing="ij",
    ), -1).reshape(-1, 6, 1)  # fmt: skip
    top, left, angle, wave, sigma, aspect = (options[:, number] for number in range(6))
    along = (x - left) * np.cos(angle) + (y - top) * np.sin(angle)
    across = -(x - left) * np.sin(angle) + (y - top) * np.cos(angle)
    bell = np.exp(-(np.square(along) + np.square(aspect * across)) / (2 * np.square(sigma)))
    even, odd = bell * np.cos(2 * np.pi * along / wave), bell * np.sin(2 * np.pi * along / wave)
    even /= np.linalg.norm(even, axis=1, keepdims=True)
    odd -= (odd * even).sum(1, keepdims=True) * even
    length = np.linalg.norm(odd, axis=1, keepdims=True)
    return even, np.where(length > 1e-6, odd / np.where(length > 1e-6, length, 1), 0)


def random_fits(height: int, width: int, count: int = RANDOM, seed: int = 0) -> Array:
    """How much is explained of filters of independent normal weights: what a fit is worth is what it is above this."""
    return nearest(np.random.default_rng(seed).standard_normal((count, height, width)))[1]


def single_plane(filters: Array) -> Array:
    """(n, C, h, w) → (n, h, w): of each filter the pattern that its channels share most (the first singular vector)."""
    count, channels, height, width = filters.shape
    flat = filters.reshape(count, channels, height * width).astype(np.float64)
    _, values, patterns = np.linalg.svd(flat, full_matrices=False)
    shared: Array = values[:, :1] * patterns[:, 0]
    return shared.reshape(count, height, width)
