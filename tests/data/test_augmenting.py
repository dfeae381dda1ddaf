"""Augmentation: the same example gets the same bits whatever the batch, and each change is what it says."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
import torch

from netwright.data.augmenting import TABLE, Augmenter, Draws
from netwright.data.augmenting import _beta_table as beta_table
from netwright.data.augmenting import _gauss_table as gauss_table
from netwright.errors import RecipeError
from netwright.preprocess import ArrayPreprocess, Column, ImagePreprocess, SeriesPreprocess, TablePreprocess
from netwright.preprocess.with_numpy import planes
from netwright.recipe.schema import Augment

N = 64
OFF = dict.fromkeys(("shift", "rotate", "crop", "cutout", "color", "noise", "mixup"), 0.0) | {"flip": "none"}


def options(**keys):
    return Augment(**(OFF | keys))


def picture(channels=("rgb",), size=(10, 12), mean=None, std=None):
    count = sum({"grey": 1, "binary": 1}.get(name, 3) for name in channels)
    mean = tuple(0.3 + 0.1 * i for i in range(count)) if mean is None else mean
    return ImagePreprocess(channels=channels, size=size, mean=mean, std=std or (0.25,) * len(mean))


def batch(shape=(3, 10, 12), n=N, last=False):
    inputs = torch.randn(n, *shape, generator=torch.Generator().manual_seed(0))
    targets = torch.randint(4, (n,), generator=torch.Generator().manual_seed(1))
    if last:
        inputs = inputs.contiguous(memory_format=torch.channels_last)
    return inputs, targets, torch.arange(n) * 37 + 5


def build(keys, preprocess=None, **arguments):
    return Augmenter(options(**keys), 11, preprocess or picture(), **({"classes": 4} | arguments))


CHANGES = [
    {"shift": 0.25},
    {"shift": 0.25, "flip": "both"},
    {"flip": "horizontal"},
    {"flip": "vertical"},
    {"shift": 0.05},
    {"rotate": 30.0},
    {"crop": 0.4},
    {"rotate": 10.0, "crop": 0.2, "shift": 0.2, "flip": "horizontal"},
    {"cutout": 0.4},
    {"color": 0.5},
    {"noise": 0.3},
    {"shift": 0.2, "flip": "horizontal", "cutout": 0.3, "color": 0.2, "noise": 0.1},
]


# ------------------------------------------------------------------------------------------------ the law


@pytest.mark.parametrize(
    ("keys", "border"),
    [(keys, border) for keys in CHANGES for border in ("auto", "black", "edge") if border == "auto" or "shift" in keys],
    ids=str,
)
@pytest.mark.parametrize("last", [False, True], ids=["contiguous", "channels_last"])
def test_an_example_gets_the_same_bits_in_every_batch(keys, last, border):
    inputs, targets, index = batch((3, 30, 31), last=last)  # large enough for several threads
    augment = build(keys, picture(size=(30, 31)), border=border)
    whole, _ = augment(inputs, targets, index, 3)
    assert not torch.equal(whole, inputs)
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        assert torch.equal(build(keys, picture(size=(30, 31)), border=border)(inputs, targets, index, 3)[0], whole)
    finally:
        torch.set_num_threads(threads)
    order = torch.randperm(N, generator=torch.Generator().manual_seed(5))
    for rows in (order, order[:7], order[:1], torch.tensor([9, 9, 2])):
        part, _ = augment(inputs[rows], targets[rows], index[rows], 3)
        assert torch.equal(part, whole[rows])


@pytest.mark.parametrize("keys", CHANGES, ids=str)
def test_layouts_get_the_same_values(keys):
    inputs, targets, index = batch(last=True)
    plain = build(keys)(inputs.contiguous(), targets, index, 0)[0]
    last = build(keys)(inputs, targets, index, 0)[0]
    assert plain.is_contiguous()
    assert last.is_contiguous(memory_format=torch.channels_last)
    assert torch.allclose(plain, last, atol=1e-6)


@pytest.mark.parametrize("keys", [*CHANGES, {"mixup": 0.4}], ids=str)
def test_what_is_handed_in_is_left_alone(keys):
    inputs, targets, index = batch()
    before = inputs.clone(), targets.clone()
    state = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    augment = build(keys)
    first = augment(inputs, targets, index, 0)[0].clone()
    kept = augment(inputs, targets, index, 0)[0]
    augment(inputs, targets, index, 1)
    assert torch.equal(inputs, before[0])
    assert torch.equal(targets, before[1])
    assert torch.equal(kept, first), "a later call wrote into an earlier result"
    assert torch.equal(torch.get_rng_state(), state[0])
    assert np.array_equal(np.random.get_state()[1], state[1])  # noqa: NPY002
    assert random.getstate() == state[2]


@pytest.mark.parametrize("keys", [*CHANGES, {"mixup": 0.4}], ids=str)
def test_seed_epoch_and_example_each_matter(keys):
    inputs, targets, index = batch()
    results = [
        build(keys)(inputs, targets, index, 0)[0],
        build(keys)(inputs, targets, index, 1)[0],
        Augmenter(options(**keys), 12, picture(), classes=4)(inputs, targets, index, 0)[0],
        build(keys)(inputs, targets, index + 1, 0)[0],
    ]
    assert all(not torch.equal(a, b) for a, b in itertools.combinations(results, 2))


def test_other_changes_do_not_alter_the_numbers_of_one():
    inputs, targets, index = batch()
    moved = build({"shift": 0.25})(inputs, targets, index, 0)[0]
    noise = build({"noise": 0.5})(torch.zeros_like(inputs), targets, index, 0)[0]
    both = build({"shift": 0.25, "noise": 0.5})(inputs, targets, index, 0)[0]
    assert torch.allclose(both, moved + noise)


def test_without_an_active_option_the_same_tensors_come_back():
    inputs, targets, index = batch()
    for chosen in (options(), Augment()):
        augment = Augmenter(chosen, 0, picture())
        assert not augment.active
        got = augment(inputs, targets, index, 0)
        assert got[0] is inputs
        assert got[1] is targets
    assert build({"noise": 0.1}).active


@pytest.mark.parametrize("keys", CHANGES, ids=str)
def test_labels_shapes_and_types_stay(keys):
    inputs, targets, index = batch()
    got, same = build(keys)(inputs, targets, index, 0)
    assert same is targets
    assert (got.shape, got.dtype) == (inputs.shape, inputs.dtype)
    assert got.isfinite().all()
    assert build(keys)(inputs[:0], targets[:0], index[:0], 0)[0].shape == (0, 3, 10, 12)


# ------------------------------------------------------------------------------------------------ random numbers


def test_the_numbers_are_uniform_and_unrelated():
    index = torch.arange(4000)
    columns = [
        Draws(seed, epoch, index).uniform(draw) for seed, epoch, draw in itertools.product((0, 1), (0, 1), (0, 1))
    ]
    columns.append(Draws(0, 0, index + 1).uniform(0))
    matrix = np.array(columns)
    assert ((matrix >= 0) & (matrix < 1)).all()
    assert np.abs(matrix.mean(1) - 0.5).max() < 4 / np.sqrt(12 * 4000)
    assert np.abs(np.histogram(matrix, 20)[0] / matrix.size - 0.05).max() < 0.005
    related = np.corrcoef(matrix[:8])
    assert np.abs(related - np.eye(8)).max() < 4.5 / np.sqrt(4000)
    assert np.abs(np.corrcoef(matrix[0][1:], matrix[0][:-1])[0, 1]) < 4.5 / np.sqrt(4000)
    assert np.array_equal(matrix[8][:-1], matrix[0][1:])


def test_tables_are_their_distributions():
    from scipy import stats

    gauss = gauss_table().double().numpy()
    assert gauss.mean() == pytest.approx(0, abs=1e-6)
    assert gauss.std() == pytest.approx(1, abs=1e-6)
    assert stats.kstest(gauss, "norm").statistic < 1e-4
    for alpha in (0.2, 1.0, 3.0):
        table = beta_table(alpha)
        assert len(table) == TABLE
        assert stats.kstest(table, stats.beta(alpha, alpha).cdf).statistic < 5e-4  # near 1 several share a number


# ------------------------------------------------------------------------------------------------ moving


def moved_slowly(image, shift_y, shift_x, flip_y, flip_x, border, fill):
    """One (C, H, W) picture, by padding and slicing: out[o] = in[flip(o) + shift]."""
    if flip_y:
        shift_y = -shift_y
    if flip_x:
        shift_x = -shift_x
    image = image[:, :: -1 if flip_y else 1, :: -1 if flip_x else 1]
    h, w = image.shape[1:]
    pad = ((0, 0), (h, h), (w, w))
    if border in ("edge", "reflect"):
        wide = np.pad(image, pad, mode="edge" if border == "edge" else "symmetric")
    else:
        wide = np.stack([np.pad(plane, pad[1:], constant_values=value) for plane, value in zip(image, fill)])
    return wide[:, h + shift_y : 2 * h + shift_y, w + shift_x : 2 * w + shift_x]


@pytest.mark.parametrize("border", ["black", "white", "edge", "reflect"])
@pytest.mark.parametrize("last", [False, True], ids=["contiguous", "channels_last"])
@pytest.mark.parametrize("flip", ["none", "horizontal", "vertical", "both"])
@pytest.mark.parametrize("shift", [0.0, 0.3, 1.0])
def test_whole_pixels_move_as_a_slow_loop_moves_them(border, last, flip, shift):
    preprocess = picture()
    inputs, targets, index = batch(last=last)
    got = build({"shift": shift, "flip": flip}, preprocess, border=border)(inputs, targets, index, 2)[0]
    draws = Draws(11, 2, index)
    most_y, most_x = int(shift * 10), int(shift * 12)
    dy = np.floor(draws.uniform(0) * (2 * most_y + 1)).astype(int) - most_y
    dx = np.floor(draws.uniform(1) * (2 * most_x + 1)).astype(int) - most_x
    assert {abs(dy).max() <= most_y, abs(dx).max() <= most_x} == {True}
    fy = draws.coin(2) if flip in ("vertical", "both") else np.zeros(N, bool)
    fx = draws.coin(3) if flip in ("horizontal", "both") else np.zeros(N, bool)
    raw = 1.0 if border == "white" else 0.0
    fill = np.array([(raw - m) / s for m, s in zip(preprocess.mean, preprocess.std)], np.float32)
    for row in range(N):
        expected = moved_slowly(inputs[row].numpy(), dy[row], dx[row], fy[row], fx[row], border, fill)
        assert np.array_equal(got[row].numpy(), expected)


def test_a_shift_reaches_its_limit_and_never_goes_beyond():
    inputs = torch.zeros(600, 1, 21, 21)
    inputs[:, 0, 10, 10] = 1
    got = build({"shift": 0.2}, picture(("grey",), (21, 21), ()), border="edge")(
        inputs, torch.zeros(600), torch.arange(600), 0
    )[0]
    _, _, y, x = got.nonzero(as_tuple=True)
    assert len(y) == 600, "every point is still there"
    for place in (y - 10, x - 10):
        assert sorted(set(place.tolist())) == list(range(-4, 5))
        assert torch.bincount(place + 4).min() > 600 / 9 / 2, "every shift is about as likely"
    assert abs(np.corrcoef(y, x)[0, 1]) < 0.2


def test_half_of_the_examples_are_flipped():
    inputs = torch.arange(5.0).expand(1000, 1, 5, 5)
    got = build({"flip": "horizontal"}, picture(("grey",), (5, 5), ()))(
        inputs, torch.zeros(1000), torch.arange(1000), 0
    )[0]
    flipped = got[:, 0, 0, 0] == 4
    assert 400 < int(flipped.sum()) < 600
    assert torch.equal(got[flipped], inputs[flipped].flip(3))
    assert torch.equal(got[~flipped], inputs[~flipped])


def sampled_slowly(image, matrix, offset, border):
    """One (C, H, W) picture, bilinear, pixel by pixel: the place that an output pixel looks at, off the centre."""
    h, w = image.shape[1:]
    result = np.zeros(image.shape)
    for y, x in itertools.product(range(h), range(w)):
        px, py = matrix @ [x - (w - 1) / 2, y - (h - 1) / 2] + offset + [(w - 1) / 2, (h - 1) / 2]
        if border == "edge":
            px, py = np.clip(px, 0, w - 1), np.clip(py, 0, h - 1)
        if border == "reflect":  # around the outer edges of the border pixels
            px, py = ((abs((p + 0.5 + 2 * s) % (2 * s) - s) - s) * -1 - 0.5 for p, s in ((px, w), (py, h)))
            px, py = np.clip(px, 0, w - 1), np.clip(py, 0, h - 1)
        x0, y0 = int(np.floor(px)), int(np.floor(py))
        for yy, xx in itertools.product((y0, y0 + 1), (x0, x0 + 1)):
            if 0 <= yy < h and 0 <= xx < w:
                result[:, y, x] += image[:, yy, xx] * (1 - abs(px - xx)) * (1 - abs(py - yy))
    return result


@pytest.mark.parametrize("border", ["black", "edge", "reflect"])
@pytest.mark.parametrize(
    "keys",
    [{"rotate": 40.0}, {"crop": 0.5}, {"shift": 0.08}, {"rotate": 25.0, "crop": 0.3, "shift": 0.2, "flip": "both"}],
    ids=str,
)
def test_rotation_and_zoom_are_those_of_a_slow_loop(keys, border):
    preprocess = picture(("grey",), mean=(0.4,))
    inputs, targets, index = batch((1, 10, 12), 6)
    got = build(keys, preprocess, border=border)(inputs, targets, index, 1)[0]
    draws, background = Draws(11, 1, index), -0.4 / 0.25
    shift, crop, rotate = (keys.get(name, 0.0) for name in ("shift", "crop", "rotate"))
    angle = np.radians(rotate * (2 * (draws.entries(4) + 0.5) / TABLE - 1))
    part = 1 - crop * draws.uniform(5)
    for row in range(6):
        rotation = np.array([[np.cos(angle[row]), -np.sin(angle[row])], [np.sin(angle[row]), np.cos(angle[row])]])
        signs = [-1 if "flip" in keys and draws.coin(draw)[row] else 1 for draw in (3, 2)]
        offset = [
            (1 - part[row]) * (size - 1) / 2 * (2 * draws.uniform(c)[row] - 1)
            + shift * size * (2 * draws.uniform(s)[row] - 1)
            for size, c, s in ((12, 7, 1), (10, 6, 0))
        ]
        image = inputs[row].double().numpy() - (background if border == "black" else 0)
        expected = sampled_slowly(image, part[row] * rotation @ np.diag(signs), np.array(offset), border)
        assert np.abs(got[row].numpy() - expected - (background if border == "black" else 0)).max() < 1e-4
    if rotate:
        assert np.abs(np.degrees(angle)).max() <= rotate


def test_a_zoom_stays_inside_the_picture():
    inputs = torch.ones(200, 1, 16, 16)
    got = build({"crop": 0.9}, picture(("grey",), (16, 16), ()), border="black")(
        inputs, torch.zeros(200), torch.arange(200), 0
    )[0]
    assert torch.allclose(got, inputs, atol=1e-4)


@pytest.mark.parametrize(
    ("channels", "mean", "expected"),
    [
        (("grey",), (0.1,), [-0.4]),
        (("grey",), (0.9,), [0.4]),
        (("binary",), (0.2,), [-0.8]),
        (("grey",), (), [0.0]),
        (("rgb",), (0.1, 0.1, 0.1), None),
        (("grey", "rgb"), (0.1,) * 4, None),
    ],
)
def test_the_background_is_that_of_the_pictures(channels, mean, expected):
    preprocess = picture(channels, mean=mean)
    inputs = torch.full((N, len(mean) or 1, 10, 12), 7.0)
    got = build({"shift": 1.0}, preprocess)(inputs, torch.zeros(N), torch.arange(N), 0)[0]
    if expected is None:  # colour: a mirror image
        assert (got == 7).all()
    else:
        assert got.unique().tolist() == pytest.approx([*expected, 7.0])


def test_less_than_a_pixel_moves_between_pixels():
    inputs = torch.zeros(50, 1, 8, 8)
    inputs[:, 0, 4, 4] = 1
    got = build({"shift": 0.1}, picture(("grey",), (8, 8), ()))(inputs, torch.zeros(50), torch.arange(50), 0)[0]
    assert got.sum((1, 2, 3)).tolist() == pytest.approx([1.0] * 50, abs=1e-5)
    _, _, y, x = got.nonzero(as_tuple=True)
    assert {int(y.min()), int(y.max()), int(x.min()), int(x.max())} == {3, 5}


# ------------------------------------------------------------------------------------------------ colour, holes, noise


def coloured_slowly(raw, bright, contrast, saturation):
    """RGB (3, H, W) in 0…1: three steps, one after the other, without clipping."""

    def luma(colours):
        return (colours * np.array([0.299, 0.587, 0.114])[:, None, None]).sum(0, keepdims=True)

    raw = raw * bright
    raw = contrast * raw + (1 - contrast) * luma(raw).mean()
    return saturation * raw + (1 - saturation) * luma(raw)


@pytest.mark.parametrize("channels", [("rgb",), ("yuv",), ("grey",), ("rgb", "yuv", "grey"), ("grey", "rgb")])
def test_color_is_brightness_then_contrast_then_saturation(channels):
    rgb = np.random.default_rng(0).uniform(0.3, 0.6, (8, 3, 6, 5)).astype(np.float32)
    preprocess = picture(channels, (6, 5))
    mean, std = (np.array(values, np.float32).reshape(-1, 1, 1) for values in (preprocess.mean, preprocess.std))
    index = torch.arange(8)
    inputs = torch.from_numpy((planes(channels, rgb) - mean) / std)
    got = build({"color": 0.3}, preprocess)(inputs, torch.zeros(8), index, 4)[0].numpy() * std + mean
    draws = Draws(11, 4, index)
    factors = np.array([1 + 0.3 * (2 * draws.uniform(draw) - 1) for draw in (10, 11, 12)]).T
    assert factors.min() >= 0.7
    assert factors.max() <= 1.3
    for row in range(8):
        changed = coloured_slowly(rgb[row].astype(np.float64), *factors[row])
        expected = planes(channels, changed[None].astype(np.float32))[0]
        assert np.abs(got[row] - expected).max() < 2e-6


def test_color_stays_in_the_range_of_pictures():
    rgb = np.random.default_rng(0).uniform(0, 1, (N, 3, 6, 5)).astype(np.float32)
    preprocess = picture(("rgb",), (6, 5))
    mean, std = (np.array(values, np.float32).reshape(-1, 1, 1) for values in (preprocess.mean, preprocess.std))
    got = build({"color": 1.0}, preprocess)(torch.from_numpy((rgb - mean) / std), torch.zeros(N), torch.arange(N), 0)[0]
    raw = got.numpy() * std + mean
    assert raw.min() > -1e-6
    assert raw.max() < 1 + 1e-6
    assert raw.min() < 0.01
    assert raw.max() > 0.99


def test_cutout_is_one_hole_of_the_mean():
    inputs = torch.ones(400, 2, 20, 10)
    got = build({"cutout": 0.3}, ArrayPreprocess(shape=(2, 20, 10)))(inputs, torch.zeros(400), torch.arange(400), 0)[0]
    hole = got == 0
    assert ((got == 1) | hole).all()
    assert torch.equal(hole[:, 0], hole[:, 1]), "in all channels"
    tall, wide = hole[:, 0].any(2).sum(1), hole[:, 0].any(1).sum(1)
    assert torch.equal(hole[:, 0].sum((1, 2)), tall * wide), "a rectangle"
    assert (int(tall.max()), int(wide.max())) == (6, 3)
    assert tall.min() >= 3
    assert wide.min() >= 2
    assert hole[:, 0].any(0).all(), "anywhere"


@pytest.mark.parametrize("shape", [(1, 7, 9), (3, 8, 8), (5,)])
def test_noise_is_gaussian(shape):
    n = 3000 if len(shape) == 1 else 200
    inputs = torch.full((n, *shape), 2.0)
    got = build({"noise": 0.5}, ArrayPreprocess(shape=shape))(inputs, torch.zeros(n), torch.arange(n), 0)[0]
    noise = ((got - 2) / 0.5).double().reshape(n, -1)
    count = noise.numel()
    assert abs(float(noise.mean())) < 4 / count**0.5
    assert abs(float(noise.var()) - 1) < 4 * (2 / count) ** 0.5
    assert abs(float((noise**4).mean()) - 3) < 4 * (96 / count) ** 0.5
    related = np.corrcoef(noise.numpy().T)
    assert np.abs(related - np.eye(len(related))).max() < 5.5 / n**0.5
    neighbours = (noise[1:] * noise[:-1]).mean()
    assert abs(float(neighbours)) < 4.5 / count**0.5


def test_noise_leaves_categories_alone():
    table = TablePreprocess(
        columns=(
            Column(name="a", kind="number"),
            Column(name="b", kind="category", categories=("x", "y", "z")),
            Column(name="c", kind="date"),
        )
    )
    inputs = torch.zeros(50, 5)
    got = build({"noise": 0.5}, table)(inputs, torch.zeros(50), torch.arange(50), 0)[0]
    assert (got[:, [0, 4]] != 0).all()
    assert (got[:, 1:4] == 0).all()


# ------------------------------------------------------------------------------------------------ mixup


def test_mixup_mixes_inputs_and_labels_alike():
    inputs, targets, index = batch()
    mixed, labels = build({"mixup": 0.4})(inputs, targets, index, 0)
    share = torch.from_numpy(beta_table(0.4)[Draws(11, 0, index).entries(14)]).float()
    one_hot = torch.nn.functional.one_hot(targets, 4).float()
    assert torch.allclose(labels, share[:, None] * one_hot + (1 - share[:, None]) * one_hot.roll(-1, 0), atol=1e-6)
    share = share.view(-1, 1, 1, 1)
    assert torch.allclose(mixed, share * inputs + (1 - share) * inputs.roll(-1, 0), atol=1e-6)
    assert labels.sum(1).tolist() == pytest.approx([1.0] * N, abs=1e-6)
    assert labels.min() >= 0
    assert labels.dtype == torch.float32


def test_mixup_of_one_example_is_that_example():
    inputs, targets, index = batch(n=1)
    mixed, labels = build({"mixup": 0.4})(inputs, targets, index, 0)
    assert torch.allclose(mixed, inputs, atol=1e-6)
    assert labels.argmax(1).equal(targets)


def test_mixup_of_values_and_soft_labels():
    inputs, _, index = batch()
    values = torch.randn(N, 2)
    got = build({"mixup": 1.0}, classes=None)(inputs, values, index, 0)[1]
    low, high = torch.minimum(values, values.roll(-1, 0)), torch.maximum(values, values.roll(-1, 0))
    assert ((got >= low - 1e-6) & (got <= high + 1e-6)).all()
    with pytest.raises(RecipeError, match="mixup"):
        build({"mixup": 1.0}, classes=None)(inputs, torch.zeros(N, dtype=torch.int64), index, 0)


# ------------------------------------------------------------------------------------------------ kinds of input


def test_sounds_shift_and_lose_pieces():
    inputs = torch.arange(1.0, 41.0).expand(N, 2, 40).clone()
    sound = SeriesPreprocess(sample_rate=8000, samples=40, sounds=2, mean=(0.5, 0.5), std=(2.0, 2.0))
    got = build({"shift": 0.25}, sound)(inputs, torch.zeros(N), torch.arange(N), 0)[0]
    assert got.shape == inputs.shape
    for row in got[:, 0].numpy():
        heard = row[row != -0.25]  # silence is (0 - mean) / deviation
        assert len(heard) >= 30
        assert np.array_equal(np.diff(heard), np.ones(len(heard) - 1))
        assert abs(heard[0] - 1 - int(np.flatnonzero(row == heard[0])[0])) <= 10
    holes = build({"cutout": 0.25}, sound)(inputs, torch.zeros(N), torch.arange(N), 0)[0]
    assert int((holes == 0).sum((1, 2)).max()) == 20


@pytest.mark.parametrize(
    ("preprocess", "keys", "key"),
    [
        (TablePreprocess(columns=(Column(name="a", kind="number"),)), {"shift": 0.1}, "augment.shift"),
        (TablePreprocess(columns=(Column(name="a", kind="number"),)), {"flip": "horizontal"}, "augment.flip"),
        (SeriesPreprocess(sample_rate=8000, samples=40), {"rotate": 5.0}, "augment.rotate"),
        (ArrayPreprocess(shape=(7,), dtype="int64", scale=None), {"noise": 0.1}, "augment.noise"),
        (ArrayPreprocess(shape=(1, 8, 8)), {"color": 0.1}, "augment.color"),
        (ArrayPreprocess(shape=(1, 4, 8, 8)), {"crop": 0.1}, "augment.crop"),
        (picture(("rgb", "hsv")), {"color": 0.1}, "augment.color"),
    ],
)
def test_what_an_input_does_not_have_is_refused(preprocess, keys, key):
    with pytest.raises(RecipeError, match=f"{key}.*Try: --set {key}="):
        build(keys, preprocess)
