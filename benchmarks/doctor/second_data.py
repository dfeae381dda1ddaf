"""Data for the second blind fault set (`second_cases.py`, `second_controls.py`), each with the ways to spoil it.

Importing this module adds the makers below to `datasets.MAKERS`; each takes a seed and returns `(X, y, X_val, y_val)`
as `datasets.py` does. Real ones: sunspots, spoken digits by speaker, windows of English texts, Fashion-MNIST;
the others are generated.
"""

import functools
import io
import lzma
import re
import tarfile
import wave

import datasets
import labels
import numpy as np
from blind_data import DATA, fashion_files, series, tensors, windows
from datasets import bundled, hold_out, standardize

# ------------------------------------------------------------------------------------------------ series and sound


def sunspots(seed, lags=24, validation_by_maximum=False, flat=True):
    """Two years of monthly sunspots and the next month's number; the last fifth is held out.

    `validation_by_maximum`: held-out inputs are divided by their maximum, all else is made standard.
    """
    table = series("monthly-sunspots.csv")
    cut = int(0.8 * len(table))
    train, val = table[:cut], table[cut:]
    mean, deviation = train.mean(), train.std()
    X, y = windows((train - mean) / deviation, lags, 1)
    X_val, y_val = windows((val - mean) / deviation, lags, 1)
    if validation_by_maximum:
        X_val, _ = windows(val / val.max(), lags, 1)
    return tensors(X[:, :, 0] if flat else X, y, X_val[:, :, 0] if flat else X_val, y_val)


@functools.cache
def voice_files():
    """Spoken digits of six speakers: log energies (N, 24 frames, 16 bands), the speaker, which are for training."""
    X, y, training = [], [], []
    names = ["george", "jackson", "lucas", "nicolas", "theo", "yweweler"]
    with tarfile.open(DATA / "fsdd" / "fsdd_recordings.tar.xz") as tar:
        for member in tar:
            name = re.search(r"\d_(\w+)_(\d+)\.wav$", member.name)
            if not name or int(name[2]) >= 25:
                continue
            with wave.open(io.BytesIO(tar.extractfile(member).read())) as sound:
                samples = np.frombuffer(sound.readframes(sound.getnframes()), np.int16)[: 128 * 26] / 32768
            samples = np.pad(samples, (0, 128 * 26 - len(samples)))
            frames = np.lib.stride_tricks.sliding_window_view(samples, 256)[::128][:24] * np.hanning(256)
            power = np.abs(np.fft.rfft(frames)) ** 2
            X.append(np.log(power[:, 1:].reshape(24, 16, 8).mean(2) + 1e-5))
            y.append(names.index(name[1]))
            training.append(int(name[2]) >= 5)
    order = np.random.RandomState(0).permutation(len(y))
    return np.array(X)[order], np.array(y)[order], np.array(training)[order]


def voices(seed):
    """Who of six speaks? (N, 24 frames, 16 bands), standardised over all values."""
    X, y, training = voice_files()
    X = (X - X[training].mean()) / X[training].std()
    return tensors(X[training], y[training], X[~training], y[~training])


def beats(seed, n=1600, shares=(0.25, 0.25, 0.25, 0.25), raw=False, shift=20):
    """Heartbeats (N, 1, 96) of four shapes: normal, early, broad, with an inverted late wave, at a random place.

    `shares` are those of the training rows; held-out rows have all four alike. `raw`: the converter's 0..4095.
    """
    rng = np.random.RandomState(seed)
    t = np.arange(96)

    def wave_of(centre, width, height):
        return height * np.exp(-0.5 * ((t - centre[:, None]) / width[:, None]) ** 2)

    def draw(count, shares):
        y = rng.choice(4, count, p=shares)
        centre = 48 + rng.uniform(-shift, shift, count)
        one = np.ones(count)
        late = np.where(y == 3, -0.35, 0.35)[:, None] * rng.uniform(0.7, 1.3, (count, 1))
        X = wave_of(centre, np.where(y == 2, 4.5, 2.0) * rng.uniform(0.8, 1.25, count), 1.2)
        X += wave_of(centre - np.where(y == 1, 9, 16), 3 * one, 0.25 * rng.uniform(0.7, 1.3, (count, 1)))
        X += wave_of(centre + 22, 5 * one, late) + 0.08 * rng.randn(count, 96)
        X += 0.3 * np.sin(2 * np.pi * (t / 96 + rng.rand(count, 1)))  # breathing moves the base line
        return X[:, None], y

    (X, y), (X_val, y_val) = draw(n, shares), draw(800, (0.25,) * 4)
    if raw:
        return tensors(np.round(2048 + 700 * X), y, np.round(2048 + 700 * X_val), y_val)
    mean, deviation = X.mean(), X.std()
    return tensors((X - mean) / deviation, y, (X_val - mean) / deviation, y_val)


def clean_beats(seed, n=1200, flat_target=False):
    """Noisy heartbeats (N, 1, 96) and the clean ones, (N, 1, 96) or (N, 96)."""
    rng = np.random.RandomState(seed)
    t = np.arange(96)
    centre, width = 48 + rng.uniform(-20, 20, (n, 1)), rng.uniform(2, 5, (n, 1))
    y = 2 * np.exp(-0.5 * ((t - centre) / width) ** 2) - 0.6 * np.exp(-0.5 * ((t - centre - 18) / 5) ** 2)
    X = y + 0.6 * rng.randn(n, 96)
    return hold_out(X[:, None], y if flat_target else y[:, None], seed)


def marked(seed, n=2000, length=20):
    """Sequences (N, length, 2) of uniform numbers and a mark on one of them; the target is the marked number."""
    rng = np.random.RandomState(seed)
    X = np.stack([rng.uniform(-1.7, 1.7, (n, length)), np.zeros((n, length))], 2)
    at = rng.randint(0, length, n)
    X[np.arange(n), at, 1] = 1
    return hold_out(X, X[np.arange(n), at, :1], seed)


def adding(seed, n=2400, length=12):
    """The adding problem (Hochreiter and Schmidhuber 1997): the sum of two marked numbers, made standard."""
    rng = np.random.RandomState(seed)
    X = np.stack([rng.uniform(-1, 1, (n, length)), np.zeros((n, length))], 2)
    rows = np.arange(n)
    first, second = rng.randint(0, length // 2, n), rng.randint(length // 2, length, n)
    X[rows, first, 1] = X[rows, second, 1] = 1
    return hold_out(X, 1.22 * (X[rows, first, :1] + X[rows, second, :1]), seed)


def trend(seed, n=1500, length=15):
    """Sequences (N, length, 1): do more of the steps rise than fall? Nothing in the last step alone tells."""
    rng = np.random.RandomState(seed)
    steps = rng.choice([-1.0, 1.0], (n, length)) * rng.uniform(0.5, 1.5, (n, length))
    y = (np.sign(steps).sum(1) > 0).astype(np.int64)
    return hold_out(steps[:, :, None], y, seed)


# ------------------------------------------------------------------------------------------------ text


ALPHABET = " abcdefghijklmnopqrstuvwxyz"  # numbers 1 on; 0 is padding


@functools.cache
def texts():
    """Numbers of the letters of three English sources: speeches, verses, an encyclopedia."""
    folder = DATA / "text"
    read = [
        lzma.decompress((folder / "corpus" / "us_speeches.txt.xz").read_bytes()).decode()[:1_000_000],
        (folder / "tinyshakespeare" / "input.txt").read_text()[:1_000_000],
        (folder / "wikitext-2" / "valid.txt").read_text()[:1_000_000],
    ]
    plain = [re.sub(" +", " ", re.sub("[^a-z]", " ", text.lower().replace("<unk>", " "))) for text in read]
    return [np.array([ALPHABET.find(letter) + 1 for letter in text], np.uint8) for text in plain]


def sources(seed, n=2400, length=64, padding=0, pad_front=False):
    """Which of three sources is a passage from? Letters as numbers (N, length + padding); the ends are held out.

    `padding`: zeros behind the passage (or before it).
    """
    rng = np.random.RandomState(seed)

    def draw(count, low, high):
        X, y = [], np.arange(count) % 3
        for k in y:
            start = int(rng.uniform(low, high) * (len(texts()[k]) - length))
            X.append(texts()[k][start : start + length])
        pad = ((0, 0), (padding, 0) if pad_front else (0, padding))
        order = rng.permutation(count)
        return np.pad(np.array(X), pad)[order], y[order]

    return tensors(*draw(n, 0, 0.8), *draw(1000, 0.82, 1))


@functools.cache
def word_counts(count=400, length=1200):
    """Counts of frequent words in passages of the three sources (N, count), and the source."""
    passages = []
    for k, text in enumerate(texts()):
        letters = "".join(("?" + ALPHABET)[i] for i in text)
        passages += [(letters[i : i + length].split()[1:-1], k) for i in range(0, 600_000, length)]
    counted = {}
    for words, _ in passages:
        for word in words:
            counted[word] = counted.get(word, 0) + 1
    number = {word: i for i, word in enumerate(sorted(counted, key=counted.get, reverse=True)[:count])}
    X = np.zeros((len(passages), count))
    for row, (words, _) in enumerate(passages):
        for word in words:
            if word in number:
                X[row, number[word]] += 1
    return X, np.array([k for _, k in passages])


def bags(seed):
    """Which source? Logarithms of word counts."""
    X, y = word_counts()
    return hold_out(np.log1p(X), y, seed)


# ------------------------------------------------------------------------------------------------ pictures


def weaves(seed, n=1600, side=14, scattered=False):
    """Stripes in four directions at random places (N, 1, 14, 14), with noise; `scattered`: all pixels stand in
    another, fixed order."""
    rng = np.random.RandomState(seed)
    rows, columns = np.mgrid[:side, :side].reshape(2, 1, -1)
    y = rng.randint(0, 4, n)
    angle = (y * np.pi / 4 + rng.uniform(-0.2, 0.2, n))[:, None]
    wave = rng.uniform(0.9, 1.5, (n, 1)) * (rows * np.cos(angle) + columns * np.sin(angle))
    X = 1.3 * np.sin(wave + rng.uniform(0, 2 * np.pi, (n, 1))) + 0.4 * rng.randn(n, side * side)
    X = X[:, np.random.RandomState(5).permutation(side * side)] if scattered else X
    return hold_out(X.reshape(-1, 1, side, side), y.astype(np.int64), seed)


def two_dots(seed, n=2000, side=20):
    """Two dots in a noisy picture (N, 1, 20, 20): are they ten or more apart?"""
    rng = np.random.RandomState(seed)
    y = rng.randint(0, 2, n)
    X = 0.1 * rng.randn(n, 1, side, side)
    for row in range(n):
        while True:
            a, b = rng.randint(1, side - 1, 2), rng.randint(1, side - 1, 2)
            apart = np.abs(a - b).max()
            if (y[row] and apart >= 10) or (not y[row] and 4 <= apart <= 7):
                break
        for i, j in (a, b):
            X[row, 0, i - 1 : i + 2, j - 1 : j + 2] += 1.0
    return hold_out(X * 3, y.astype(np.int64), seed)


def discs(seed, n=1000, side=16):
    """Noisy pictures of bright discs on squares of the same brightness, and the discs' pixels (N, 1, 16, 16)."""
    rng = np.random.RandomState(seed)
    rows, columns = np.mgrid[:side, :side]
    X, y = rng.randn(n, 1, side, side) * 0.5, np.zeros((n, 1, side, side))
    for k in range(n):
        centre, radius = rng.uniform(3, side - 3, 2), rng.uniform(2, 3.2)
        disc = (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 < radius**2
        corner = rng.randint(0, side - 3, 2)
        X[k, 0, corner[0] : corner[0] + 2, corner[1] : corner[1] + 2] = 2.0
        X[k, 0][disc] += 2.0
        y[k, 0][disc] = 1
    return hold_out(X, y, seed)


def noisy_clothes(seed, n=1500):
    """Clothes 14 x 14 of 0..1 with noise of .3, and without."""
    pixels, _ = fashion_files()
    y = pixels[: n + 500].reshape(-1, 1, 14, 2, 14, 2).mean((3, 5)) / 255
    X = y + 0.3 * np.random.RandomState(seed).randn(*y.shape)
    return tensors(X[:n], y[:n], X[n:], y[n:])


def new_clothes(seed, n=200, raw=False, classes=5):
    """Few pictures of the first five kinds of clothes, for the trunk of `second_layers.py` that saw the others.

    `raw`: 0..255 where the trunk was trained on standardised pixels.
    """
    pixels, kinds = fashion_files()
    X = pixels.astype(float).reshape(-1, 1, 14, 2, 14, 2).mean((3, 5))
    X = X if raw else (X - X.mean()) / X.std()
    X, y = X[kinds < classes], kinds[kinds < classes].astype(int)
    rows = np.random.RandomState(seed).permutation(3000)[:n]
    return tensors(X[rows], y[rows], X[4000:5000], y[4000:5000])


# ------------------------------------------------------------------------------------------------ tables


def chords(seed, n=2000, notes=10):
    """Which of ten notes sound? Two to four at once; spectra of 40 bands with overtones."""
    rng = np.random.RandomState(seed)
    y = np.zeros((n, notes))
    for row, count in enumerate(rng.randint(2, 5, n)):
        y[row, rng.choice(notes, count, replace=False)] = 1
    bands = np.arange(40)
    tones = sum(np.exp(-0.5 * ((bands - (3 + 1.7 * k + shift)[:, None]) / 0.9) ** 2) * loud
                for k in [np.arange(notes)] for shift, loud in ((0, 1.0), (7, 0.6), (13, 0.4)))  # fmt: skip
    X = np.sqrt((y * rng.uniform(0.5, 1.5, y.shape)) @ tones + 0.1 * rng.rand(n, 40))
    return hold_out(standardize(X), y, seed)


def counts(seed, n=1800):
    """Events an hour (Poisson, mean 4, up to 30) from six features."""
    rng = np.random.RandomState(seed)
    Z = rng.randn(n, 6)
    rate = np.exp(1.1 + 0.6 * Z[:, :1] - 0.5 * np.abs(Z[:, 1:2]) + 0.3 * Z[:, 2:3])
    return hold_out(Z, rng.poisson(rate).astype(float), seed)


def plus_minus(seed, n=1600, low=-1.0):
    """Two classes in ten features, +1 and `low`; the larger part of the border is curved."""
    rng = np.random.RandomState(seed)
    Z = rng.randn(n, 10)
    margin = Z[:, 0] + Z[:, 1] * Z[:, 2] + 0.5 * Z[:, 3] ** 2 - 0.5 + 0.3 * rng.randn(n)
    return hold_out(Z, np.where(margin > 0, 1.0, low)[:, None], seed)


def ovens(seed, n=1500, raw=False, columns=slice(0, 3)):
    """Temperature (deviation 60), pressure (deviation 9000) and share of waste (deviation .04) from seven settings."""
    rng = np.random.RandomState(seed)
    Z = rng.randn(n, 7)
    y = np.stack([Z[:, 0] + 0.5 * Z[:, 1] * Z[:, 2], Z[:, 3] - np.abs(Z[:, 4]) + 0.8, np.tanh(Z[:, 5]) * Z[:, 6]], 1)
    y = y + 0.1 * rng.randn(n, 3)
    y = y * [60, 9000, 0.04] + [350, 101_000, 0.1] if raw else standardize(y)
    return hold_out(Z, y[:, columns], seed)


def machines(seed, n=2000, timestamp=False, sentinel=False, after_the_event=False):
    """Does a machine fail within the week? Eight standardised readings; about four in ten do.

    `timestamp`: a ninth column holds the second of the reading since 1970. `sentinel`: -999 stands for readings that
    are missing (a tenth of all), else 0. `after_the_event`: a ninth column holds the hours of repair, which the
    held-out rows, from before the week, do not have yet (0).
    """
    rng = np.random.RandomState(seed)
    Z = rng.randn(n, 8)
    y = (Z[:, 0] + Z[:, 1] * Z[:, 2] - 0.7 * np.abs(Z[:, 3]) + 0.5 * rng.randn(n) > -0.2).astype(np.int64)
    missing = rng.rand(n, 8) < 0.1
    if sentinel is not None:
        Z[missing] = -999.0 if sentinel else 0.0
    if timestamp:
        Z = np.c_[Z, 1.6e9 + rng.uniform(0, 3e7, n)]
    if after_the_event:
        Z = np.c_[Z, y * rng.uniform(1, 3, n)]
    X, y, X_val, y_val = hold_out(Z, y, seed)
    if after_the_event:
        X_val[:, 8] = 0
    return X, y, X_val, y_val


def genes(seed, rows=60, features=400):
    """Two kinds of tissue from 400 genes, ten of which tell a little; `rows` for training, 600 held out."""
    rng = np.random.RandomState(seed)
    y = rng.randint(0, 2, rows + 600)
    Z = rng.randn(rows + 600, features)
    Z[:, :10] += 0.45 * (2 * y[:, None] - 1)
    return tensors(Z[:rows], y[:rows], Z[rows:], y[rows:])


def rings(seed, n=900, flipped=0.0):
    """A disc and a ring around it; a share of the training labels is `flipped`."""
    X, y = bundled.make_circles(n, noise=0.12, factor=0.5, random_state=seed)
    X, y, X_val, y_val = hold_out(1.4 * X, y.astype(np.int64), seed)
    wrong = np.random.RandomState(seed + 1).rand(len(y)) < flipped
    y[wrong] = 1 - y[wrong]
    return X, y, X_val, y_val


def checkers(seed, n=2000, fields=3):
    """Fields of a 3 x 3 board, black or white."""
    X = np.random.RandomState(seed).uniform(-1.7, 1.7, (n, 2))
    y = np.floor((X + 1.7) / 3.4 * fields).clip(0, fields - 1).sum(1) % 2
    return hold_out(X, y.astype(float)[:, None], seed)


def yields(seed, n=1600, whole=False, by_target=False):
    """A harvest's share of the best one, 0..1, from six features; `whole`: the training targets were cast to integers.

    `by_target`: training rows stand in the order of their target.
    """
    rng = np.random.RandomState(seed)
    Z = rng.randn(n, 6)
    share = 1 / (1 + np.exp(-(1.2 * Z[:, 0] - Z[:, 1] * Z[:, 2] + 0.5 * Z[:, 3])))
    X, y, X_val, y_val = hold_out(Z, np.clip(share + 0.02 * rng.randn(n), 0, 0.999)[:, None], seed)
    if by_target:
        order = y[:, 0].argsort()
        X, y = X[order], y[order]
    return X, y.floor() if whole else y, X_val, y_val


def gusts(seed, n=1500):
    """A standardised target from six features: smooth, with a tenth of noise."""
    rng = np.random.RandomState(seed)
    Z = rng.randn(n, 6)
    y = Z[:, :1] + 0.8 * np.sin(1.5 * Z[:, 1:2]) + 0.6 * Z[:, 2:3] * Z[:, 3:4] + 0.3 * rng.randn(n, 1)
    return hold_out(Z, standardize(y), seed)


def second_largest(seed, n=3000):
    """Six numbers and the second largest of them."""
    X = np.random.RandomState(seed).randn(n, 6)
    return hold_out(X, np.sort(X, 1)[:, -2:-1], seed)


def ratings(seed, users=150, items=100, n=6000):
    """Stars (about -2..2, mean 0) that a user gives an item: pairs of numbers (N, 2), rank four, a fifth noise."""
    rng = np.random.RandomState(seed)
    pairs = rng.choice(users * items, n, replace=False)
    U, V = rng.randn(users, 4) / 2, rng.randn(items, 4)
    user, item = pairs // items, pairs % items
    y = (U[user] * V[item]).sum(1) + 0.6 * rng.randn(items)[item] + 0.4 * rng.randn(n)
    return hold_out(np.c_[user, item], y[:, None], seed)


def returns(seed, n=3000):
    """A target of which a tenth can be told from eight features."""
    rng = np.random.RandomState(seed)
    Z = rng.randn(n, 8)
    signal = (Z[:, 0] - Z[:, 1] + Z[:, 2]) / np.sqrt(3)
    return hold_out(Z, (np.sqrt(0.15) * signal + np.sqrt(0.85) * rng.randn(n))[:, None], seed)


def few_rows(seed, n=90):
    """Ninety rows, five features, a nearly linear target."""
    rng = np.random.RandomState(seed)
    Z = rng.randn(n, 5)
    y = Z @ [[1.0], [-0.7], [0.5], [0.0], [0.3]] + 0.2 * np.tanh(Z[:, :1]) + 0.2 * rng.randn(n, 1)
    return hold_out(Z, standardize(y), seed)


def alarms(seed, n=3000, share=0.05, balanced=False):
    """Break-ins, 5 % of the training rows and half of the held-out ones, from eight features; (N, 1)."""
    rng = np.random.RandomState(seed)

    def draw(count, positives):
        y = (rng.rand(count) < positives).astype(float)
        Z = rng.randn(count, 8)
        Z[:, 0] += 1.1 * y
        Z[:, 1] += np.where(y > 0, np.sign(Z[:, 2]), 0)
        return Z, y[:, None]

    return tensors(*draw(n, 0.5 if balanced else share), *draw(1200, 0.5))


def plots(seed, n=1500):
    """Twelve features in two halves; the class is told by both halves together."""
    rng = np.random.RandomState(seed)
    Z = rng.randn(n, 12)
    return hold_out(Z, (Z[:, 0] + np.tanh(Z[:, 1]) + 1.5 * Z[:, 7] * np.sign(Z[:, 8]) > 0).astype(np.int64), seed)


datasets.MAKERS |= {
    function.__name__: function
    for function in (
        sunspots, voices, beats, clean_beats, marked, adding, trend, sources, bags, weaves,
        two_dots, discs, noisy_clothes, new_clothes, chords, counts, plus_minus, ovens, machines, genes,
        rings, checkers, yields, gusts, second_largest, ratings, returns, few_rows, alarms, plots,
    )
}  # fmt: skip

labels.DATA_FACTS |= {
    "few_rows": {"too-little-data"},
    "new_clothes": {"too-little-data"},
    "sources": {"duplicates"},
}
