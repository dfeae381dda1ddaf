"""Histograms of gradients against a derivation pixel by pixel, and laws of pictures."""

from __future__ import annotations

import math

import numpy as np
import pytest

from netwright.classical import hog


def by_hand(picture: np.ndarray, cell: int) -> np.ndarray:
    """Dalal and Triggs with plain loops: every pixel votes for 2 bins × 2 × 2 cells (trilinear interpolation)."""
    _, height, width = picture.shape
    rows, columns = height // cell, width // cell
    cells = np.zeros((rows, columns, 9))
    for y in range(height):
        for x in range(width):
            best = (0.0, 0.0, 0.0)
            for plane in picture:
                down = plane[y + 1, x] - plane[y - 1, x] if 0 < y < height - 1 else 0.0
                right = plane[y, x + 1] - plane[y, x - 1] if 0 < x < width - 1 else 0.0
                if down**2 + right**2 > best[0]:
                    best = (down**2 + right**2, down, right)
            length = math.sqrt(best[0])
            place = math.degrees(math.atan2(best[1], best[2])) % 180 / 20 - 0.5
            for bin_, share in ((math.floor(place), 1 - place % 1), (math.floor(place) + 1, place % 1)):
                for row in range(rows):
                    for column in range(columns):
                        down_share = 1 - abs(y - ((row + 0.5) * cell - 0.5)) / cell
                        right_share = 1 - abs(x - ((column + 0.5) * cell - 0.5)) / cell
                        if down_share > 0 and right_share > 0:
                            cells[row, column, bin_ % 9] += length * share * down_share * right_share
    blocks = []
    for row in range(rows - 1):
        for column in range(columns - 1):
            block = cells[row : row + 2, column : column + 2].reshape(-1)
            block = np.minimum(block / math.sqrt((block**2).sum() + hog.TINY**2), 0.2)
            blocks.append(block / math.sqrt((block**2).sum() + hog.TINY**2))
    return np.concatenate(blocks)


@pytest.mark.parametrize(("shape", "cell"), [((1, 12, 15), 3), ((3, 9, 8), 2), ((1, 16, 17), 4)])
def test_features_are_those_of_a_derivation_by_hand(shape: tuple[int, int, int], cell: int) -> None:
    pictures = np.random.default_rng(0).random((3, *shape)).astype(np.float32)
    found = hog.features(pictures, cell)
    for picture, told in zip(pictures, found, strict=True):
        np.testing.assert_allclose(told, by_hand(picture, cell), atol=2e-5)


def test_light_and_contrast_change_nothing() -> None:
    pictures = np.random.default_rng(1).random((4, 1, 16, 16)).astype(np.float32)
    first, second = hog.features(pictures), hog.features(0.3 * pictures + 0.2)
    np.testing.assert_allclose(first, second, atol=1e-4)
    np.testing.assert_allclose(first, hog.features(1 - pictures), atol=1e-4)  # unsigned: dark on light is light on dark


def test_an_edge_votes_for_its_own_direction() -> None:
    y, x = np.mgrid[:32, :32]
    for degrees in (10, 50, 90, 130, 170):  # the middles of bins
        angle = math.radians(degrees)
        ramp = (x * math.cos(angle) + y * math.sin(angle)).astype(np.float32)[None, None]
        votes = hog.features(ramp, 8).reshape(3, 3, 4, 9)[1, 1].sum(0)  # away from the border
        assert votes.argmax() == degrees // 20
        assert votes.max() > 0.99 * votes.sum()


def test_pictures_are_taken_in_pieces_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = np.random.default_rng(2).random((7, 1, 16, 16)).astype(np.float32)
    whole = hog.features(pictures)
    monkeypatch.setattr(hog, "PIECE", 600)
    np.testing.assert_array_equal(whole, hog.features(pictures))
    assert hog.features(pictures[:0]).shape[0] == 0
