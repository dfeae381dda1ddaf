"""Gabor features against sums over pixels, and how near filters are to Gabor filters, with planted ones."""

from __future__ import annotations

import numpy as np
import pytest

from netwright.classical import gabor


def test_features_are_sums_over_pixels() -> None:
    picture = np.random.default_rng(0).random((1, 1, 12, 14)).astype(np.float32)
    found = gabor.features(picture)[0]
    bank = [(w, np.pi * k / gabor.ORIENTATIONS) for w in gabor.wavelengths(12) for k in range(gabor.ORIENTATIONS)]
    size = max(2 * int(np.ceil(2 * gabor.BANDWIDTH * wave)) + 1 for wave, _ in bank)
    padded = np.pad(picture[0, 0], size // 2, mode="edge")
    expected = []
    for wave, angle in bank:
        kernel = gabor.kernel(wave, angle, size)
        windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size))
        energy = np.abs((windows * np.conj(kernel)[::-1, ::-1]).sum((2, 3)))
        for row in range(6):
            for column in range(6):
                rows, columns = np.arange(12) * 6 // 12 == row, np.arange(14) * 6 // 14 == column
                expected.append(energy[rows][:, columns].mean())
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_a_wave_answers_to_the_filter_of_its_direction_and_length() -> None:
    y, x = np.mgrid[:56, :56]
    waves = gabor.wavelengths(56)
    for scale, wave in enumerate(waves):
        for turn in range(gabor.ORIENTATIONS):
            angle = np.pi * turn / gabor.ORIENTATIONS
            picture = 0.5 + 0.5 * np.cos(2 * np.pi * (x * np.cos(angle) + y * np.sin(angle)) / wave)
            energy = gabor.features(picture[None, None].astype(np.float32)).reshape(len(waves), gabor.ORIENTATIONS, -1)
            assert np.unravel_index(energy[..., 14:22].mean(-1).argmax(), energy.shape[:2]) == (scale, turn)


def test_an_even_picture_gives_nothing() -> None:
    assert np.abs(gabor.features(np.full((1, 1, 20, 20), 0.7, np.float32))).max() < 1e-6


def test_planted_gabor_filters_are_found_and_random_ones_are_not() -> None:
    generator = np.random.default_rng(0)
    y, x = np.mgrid[:7, :7] - 3.0
    planted = []
    for _ in range(20):
        angle, phase, wave = generator.uniform(0, np.pi), generator.uniform(0, 2 * np.pi), generator.uniform(3, 9)
        along, across = x * np.cos(angle) + y * np.sin(angle), -x * np.sin(angle) + y * np.cos(angle)
        planted.append(np.exp(-(along**2 + (0.7 * across) ** 2) / 8) * np.cos(2 * np.pi * along / wave + phase))
    fitted, explained = gabor.nearest(np.stack(planted))
    assert explained.min() > 0.75
    apart = np.square(np.stack(planted) - fitted).sum((1, 2)) / np.square(planted).sum((1, 2))
    np.testing.assert_allclose(apart, 1 - explained, atol=1e-9)  # what is explained is what is not left
    drawn = gabor.random_fits(7, 7)
    assert drawn.mean() < 0.4
    assert np.percentile(drawn, 95) < explained.min()


def test_small_filters_are_always_near_one() -> None:
    assert gabor.random_fits(3, 3).mean() > 0.7


def test_the_shared_pattern_of_the_channels() -> None:
    pattern = np.random.default_rng(3).standard_normal((5, 5))
    filters = np.stack([weight * pattern for weight in (1.0, -0.5, 2.0)])[None]
    found = gabor.single_plane(filters)[0]
    assert np.abs(np.sum(found * pattern)) == pytest.approx(np.linalg.norm(found) * np.linalg.norm(pattern))
    assert np.linalg.norm(found) == pytest.approx(np.linalg.norm(filters))
