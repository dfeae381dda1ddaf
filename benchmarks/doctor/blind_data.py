"""More data for the programs of the fault benchmark, each with the ways to spoil it.

Importing this module adds the makers below to `datasets.MAKERS`; each takes a seed and returns `(X, y, X_val, y_val)`
as `datasets.py` does. The real sets are read from the shared folder's `data` (its README names their sources), the
others are generated.
"""

import collections
import csv
import functools
import gzip
import io
import pickle
import re
import struct
import tarfile
import wave

import blind_layers  # noqa: F401 - makes `datasets` and `labels` importable
import datasets
import labels
import numpy as np
from blind_layers import SHARED
from datasets import as_tensor, everything, hold_out, standardize, target_of

DATA = SHARED / "data"


def text_of(path):
    """The text of a file, gzipped or not."""
    return (gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()).decode()


def tensors(X, y, X_val, y_val):
    return as_tensor(np.asarray(X, float)), as_tensor(y), as_tensor(np.asarray(X_val, float)), as_tensor(y_val)


def scaled_like(X, X_val):
    """Both with the training rows' mean and deviation by column."""
    mean, deviation = X.mean(0), X.std(0) + 1e-8
    return (X - mean) / deviation, (X_val - mean) / deviation


# ------------------------------------------------------------------------------------------------ pictures


@functools.cache
def fashion_files():
    """Fashion-MNIST's 10,000 test pictures (N, 784) of 0..255 and their classes."""
    read = [gzip.decompress(path.read_bytes()) for path in sorted((DATA / "fashion_mnist").glob("t10k-*.gz"))]
    count = struct.unpack(">i", read[0][4:8])[0]
    return np.frombuffer(read[0], np.uint8, offset=16).reshape(count, -1), np.frombuffer(read[1], np.uint8, offset=8)


def fashion(
    seed, n=3000, images=False, standard=False, raw_validation=False, target="index", off_by=0, sorted_labels=False
):
    """Clothes, 28 x 28, or 14 x 14 as `images`. `off_by` moves the training labels so many rows on."""
    pixels, classes = fashion_files()
    pixels, classes = pixels.astype(float), classes.astype(int)
    if images:
        pixels = pixels.reshape(-1, 1, 14, 2, 14, 2).mean((3, 5))
    X, y, X_val, y_val = pixels[:n], classes[:n], pixels[8000:9000], classes[8000:9000]
    if sorted_labels:
        order = np.argsort(y, kind="stable")
        X, y = X[order], y[order]
    mean, deviation = (X.mean(), X.std()) if standard else (0.0, 255.0)
    return tensors(
        (X - mean) / deviation, target_of(np.roll(y, off_by), target, 10),
        X_val if raw_validation else (X_val - mean) / deviation, target_of(y_val, target, 10),
    )  # fmt: skip


@functools.cache
def cifar_files():
    """CIFAR-10's test batch, lossless, averaged to 16 x 16: (10000, 3, 16, 16) of 0..255, and the classes."""
    with tarfile.open(DATA / "cifar10" / "cifar-10-batches-py_test_batch_only.tar.xz") as tar:
        batch = pickle.load(tar.extractfile("cifar-10-batches-py/test_batch"), encoding="bytes")
    return batch[b"data"].reshape(-1, 3, 16, 2, 16, 2).mean((3, 5)), np.array(batch[b"labels"])


def cifar(seed, n=3000, scale="standard", classes=10, sorted_labels=False, target="index"):
    """Pictures of 10 kinds (or the first few); `scale` is standard or raw (0..255)."""
    X, y = cifar_files()
    X, y = X[y < classes], y[y < classes]
    axes = (0, 2, 3)
    X = (X - X.mean(axes, keepdims=True)) / X.std(axes, keepdims=True) if scale == "standard" else X
    val = slice(-1000, None)
    X_train, y_train = X[:n], y[:n]
    if sorted_labels:
        order = np.argsort(y_train, kind="stable")
        X_train, y_train = X_train[order], y_train[order]
    return tensors(X_train, target_of(y_train, target, classes), X[val], target_of(y[val], target, classes))


def digit_copies(seed, standard=False):
    """scikit-learn's 8 x 8 digits as inputs and targets alike, 0..1 or standardised over all pixels."""
    X, _, X_val, _ = hold_out(datasets.bundled.load_digits().data / 16, np.zeros(1797), seed)
    if standard:
        X, X_val = (X - X.mean()) / X.std(), (X_val - X.mean()) / X.std()
    return X, X, X_val, X_val


# ------------------------------------------------------------------------------------------------ sound


@functools.cache
def speech_files():
    """Spoken digits of three speakers: log energies (N, 20 bands, 32 frames), the digits, and which are for training.

    8 kHz; frames of 256 samples every 128; triangular mel bands; cut or padded with silence to 32 frames.
    """
    mel = np.linspace(0, 2595 * np.log10(1 + 4000 / 700), 22)
    edges = 700 * (10 ** (mel / 2595) - 1) / 4000 * 128
    bins = np.arange(129)[:, None]
    rising, falling = (bins - edges[:-2]) / np.diff(edges)[:-1], (edges[2:] - bins) / np.diff(edges)[1:]
    bands = np.clip(np.minimum(rising, falling), 0, 1)
    X, y, training = [], [], []
    with tarfile.open(DATA / "fsdd" / "fsdd_recordings.tar.xz") as tar:
        for member in tar:
            name = re.search(r"(\d)_(george|jackson|nicolas)_(\d+)\.wav$", member.name)
            if not name:
                continue
            with wave.open(io.BytesIO(tar.extractfile(member).read())) as sound:
                samples = np.frombuffer(sound.readframes(sound.getnframes()), np.int16)[: 128 * 33] / 32768
            samples = np.pad(samples, (0, 128 * 33 - len(samples)))
            frames = np.lib.stride_tricks.sliding_window_view(samples, 256)[::128] * np.hanning(256)
            X.append(np.log(np.abs(np.fft.rfft(frames)) ** 2 @ bands + 1e-4).T)
            y.append(int(name[1]))
            training.append(int(name[3]) >= 5)
    order = np.random.RandomState(0).permutation(len(y))  # the archive is sorted by digit
    return np.array(X)[order], np.array(y)[order], np.array(training)[order]


def speech(seed, frames_first=False, target="index", raw=False):
    """Which digit is said? (N, 20, 32), or (N, 32, 20) as `frames_first`."""
    X, y, training = speech_files()
    if not raw:
        X = (X - X[training].mean()) / X[training].std()
    X = X.transpose(0, 2, 1) if frames_first else X
    y = target_of(y, target, 10)
    return tensors(X[training], y[training], X[~training], y[~training])


# ------------------------------------------------------------------------------------------------ text


LETTERS = " abcdefghijklmnopqrstuvwxyzäöüßéèêàâçôûîïœ.,'-"  # numbers 1 on; 0 is padding, len(LETTERS) + 1 the rest
SYMBOLS = len(LETTERS) + 2


def letters(text, length):
    """The numbers of a text's first letters (length,)."""
    found = [LETTERS.find(letter) + 1 or SYMBOLS - 1 for letter in text.lower()[:length]]
    return found + [0] * (length - len(found))


@functools.cache
def sentences(part):
    """The lines of Multi30k by language: English, German, French."""
    folder = DATA / "text" / "multi30k"
    return [text_of(folder / f"{part}.{tongue}.gz").splitlines() for tongue in ("en", "de", "fr")]


def languages(seed, n=2400, length=28, sorted_labels=False, rare=False, target="index", shuffled_labels=False):
    """Which language is it? The first letters of a sentence as numbers (N, length); see LETTERS.

    `rare`: German and French are one training sentence in sixty.
    """
    rng = np.random.RandomState(seed)
    shares = (0.966, 0.017, 0.017) if rare else (1 / 3,) * 3
    texts, y = [], []
    for k, lines in enumerate(sentences("train")):
        chosen = rng.choice(len(lines), round(n * shares[k]), replace=False)
        texts += [lines[i] for i in chosen]
        y += [k] * len(chosen)
    X, y = np.array([letters(text, length) for text in texts]), np.array(y)
    if not sorted_labels:
        order = rng.permutation(len(y))
        X, y = X[order], y[order]
    if shuffled_labels:
        y = rng.permutation(y)
    X_val = np.array([letters(text, length) for lines in sentences("val") for text in lines[:200]])
    return tensors(X, target_of(y, target, 3), X_val, target_of(np.repeat([0, 1, 2], 200), target, 3))


@functools.cache
def review_words(count):
    """Which of the `count` most frequent words a review has (2000, count), and whether it praises."""
    texts, y = [], []
    with tarfile.open(DATA / "text" / "sentiment" / "review_polarity.tar.gz") as tar:
        for member in tar:
            if member.name.endswith(".txt"):
                texts.append(set(tar.extractfile(member).read().decode("latin-1").split()))
                y.append("/pos/" in member.name)
    frequent = [word for word, _ in collections.Counter(word for text in texts for word in text).most_common(count)]
    return np.array([[word in text for word in frequent] for text in texts], float), np.array(y, int)


def reviews(seed, words=800, target="column"):
    """Does a film review praise? Presence of frequent words, 0 or 1."""
    X, y = review_words(words)
    return hold_out(X, target_of(y, target, 2), seed)


@functools.cache
def verses():
    text = (DATA / "text" / "tinyshakespeare" / "input.txt").read_text().lower()
    symbols = sorted(set(text))
    return np.array([symbols.index(letter) for letter in text[:400_000]])


def next_letter(seed, n=4000, length=16):
    """Sixteen letters of Shakespeare (40 symbols) and the one that follows."""
    text, rng = verses(), np.random.RandomState(seed)
    start, start_val = rng.choice(300_000, n, replace=False), 300_000 + rng.choice(99_000, 1500, replace=False)
    window = np.arange(length)
    return tensors(
        text[start[:, None] + window], text[start + length], text[start_val[:, None] + window], text[start_val + length]
    )


# ------------------------------------------------------------------------------------------------ tables and series


@functools.cache
def adult_files(part):
    """Adult census: numbers (N, 6), texts (N, 8), whether the income is over 50K."""
    lines = text_of(DATA / "adult" / f"adult.{part}.gz").splitlines()
    rows = [[field.strip() for field in row] for row in csv.reader(lines)]
    rows = [row for row in rows if len(row) == 15]
    numbers = np.array([[float(row[i]) for i in (0, 2, 4, 10, 11, 12)] for row in rows])
    texts = np.array([[row[i] for i in (1, 3, 5, 6, 7, 8, 9)] for row in rows])
    return numbers, texts, np.array([row[14].startswith(">") for row in rows], int)


def adult(seed, n=4000, numbers="standard", target="column", missing=0, wrong_text=False, shuffled_labels=False):
    """Is an income over 50K? One-hot texts beside six numbers: `standard`, `raw`, `binned` (one-hot) or `none`.

    `missing` training rows have no age; `wrong_text` compares the training labels with a text that never occurs.
    """
    rng = np.random.RandomState(seed)
    (Z, T, y), (Z_val, T_val, y_val) = adult_files("data"), adult_files("test")
    rows, held = rng.choice(len(y), n, replace=False), np.arange(2000)
    Z, T, y, Z_val, T_val, y_val = Z[rows], T[rows], y[rows], Z_val[held], T_val[held], y_val[held]
    names = [np.unique(T[:, i]) for i in range(T.shape[1])]

    def coded(table):
        return np.concatenate([(table[:, i, None] == names[i]).astype(float) for i in range(table.shape[1])], 1)

    if numbers == "standard":
        Z, Z_val = scaled_like(Z, Z_val)
    elif numbers == "binned":
        cuts = [np.unique(np.quantile(column, np.linspace(0.1, 0.9, 9))) for column in Z.T]
        Z, Z_val = (
            np.concatenate([np.eye(len(cut) + 1)[np.digitize(table[:, i], cut)] for i, cut in enumerate(cuts)], 1)
            for table in (Z, Z_val)
        )
    X, X_val = (coded(T), coded(T_val)) if numbers == "none" else (np.c_[Z, coded(T)], np.c_[Z_val, coded(T_val)])
    X[rng.choice(n, missing, replace=False), 0] = np.nan
    if wrong_text:
        y = np.zeros_like(y)
    if shuffled_labels:
        y = rng.permutation(y)
    return tensors(X, target_of(y, target, 2), X_val, target_of(y_val, target, 2))


@functools.cache
def series(name):
    """The numbers of a file of `timeseries` (N, columns)."""
    lines = text_of(DATA / "timeseries" / name).splitlines()[1:]
    return np.array([[float(field) for field in line.split(",")[1:]] for line in lines if line.strip()])


def windows(table, lags, ahead):
    """Windows (N, lags, columns) and the last column `ahead` steps after each (N, 1)."""
    starts = np.arange(len(table) - lags - ahead + 1)
    return table[starts[:, None] + np.arange(lags)], table[starts + lags + ahead - 1, -1:]


def transformer_oil(seed, lags=12, ahead=3, n=3000, flat_target=False, in_order=False):
    """ETTh1: loads and oil temperature of the last hours; the temperature after. A fifth of the weeks held out."""
    table = series("ETTh1.csv.gz")[: 45 * 168]
    table = (table - table.mean(0)) / table.std(0)
    weeks = [windows(week, lags, ahead) for week in table.reshape(45, 168, -1)]  # no window reaches into another week
    held = [week % 5 == 4 for week in range(45)]
    X, y, X_val, y_val = (
        np.concatenate([week[i] for week, out in zip(weeks, held) if out == which])
        for which in (False, True) for i in (0, 1)
    )  # fmt: skip
    rows = np.random.RandomState(seed).choice(len(X), n, replace=False)
    rows = np.sort(rows) if in_order else rows
    return tensors(X[rows], y[rows, 0] if flat_target else y[rows], X_val, y_val[:, 0] if flat_target else y_val)


def temperatures(seed, lags=7, flat=True):
    """Melbourne's daily minimum from the week before; an R² of about .6 is what there is."""
    table = series("daily-min-temperatures.csv")
    table = (table - table[:2800].mean()) / table[:2800].std()
    X, y = windows(table, lags, 1)
    X = X[:, :, 0] if flat else X
    return tensors(X[:2800], y[:2800], X[2800:], y[2800:])


def passengers(seed, scaled=False, lags=12):
    """A year of monthly air passengers (100 to 620) and the next month's, a random third held out."""
    table = series("airline-passengers.csv")
    table = (table - table.mean()) / table.std() if scaled else table
    X, y = windows(table, lags, 1)
    return hold_out(X, y, seed)


# ------------------------------------------------------------------------------------------------ generated


def spirals(seed, n=1200, noise=0.15):
    """Three arms of a spiral in the plane."""
    rng = np.random.RandomState(seed)
    y = rng.randint(0, 3, n)
    r = rng.uniform(0.1, 1, n)
    angle = 4 * r + 2 * np.pi / 3 * y + noise * rng.randn(n)
    return hold_out(1.7 * np.c_[r * np.cos(angle), r * np.sin(angle)], y.astype(np.int64), seed)


def waves(seed, n=1500, bound=1.0, shuffled_labels=False):
    """sin(2a) cos(2b) for normal a, b, times `bound`, with a little noise."""
    rng = np.random.RandomState(seed)
    X = rng.randn(n, 2)
    y = bound * (np.sin(2 * X[:, :1]) * np.cos(2 * X[:, 1:])) + 0.05 * rng.randn(n, 1)
    X, y, X_val, y_val = hold_out(X, y, seed)
    return X, y[rng.permutation(len(y))] if shuffled_labels else y, X_val, y_val


def flats(seed, n=1500, target="standard"):
    """Prices of flats from eight standardised features: mean 260,000, deviation 80,000, or `standard`, or their
    `log` where a wrong row is free (one price in a hundred is 0)."""
    rng = np.random.RandomState(seed)
    Z = rng.randn(n, 8)
    y = 260e3 + 80e3 * (0.7 * Z[:, 0] + 0.5 * np.tanh(2 * Z[:, 1]) + 0.4 * Z[:, 2] * Z[:, 3] + 0.1 * rng.randn(n))
    y = np.clip(y, 20e3, None)[:, None]
    X, y, X_val, y_val = hold_out(Z, standardize(y) if target == "standard" else y, seed)
    if target == "log":
        y[rng.choice(len(y), len(y) // 100, replace=False)] = 0
        y, y_val = y.log(), y_val.log()
        mean = y_val.mean()
        y, y_val = (y - mean) * 3, (y_val - mean) * 3
    return X, y, X_val, y_val


def half_noise(seed, n=2000):
    """A partly nonlinear target, six parts in ten of whose variance are noise: an R² of .4 is what there is."""
    rng = np.random.RandomState(seed)
    Z = rng.randn(n, 6)
    signal = Z[:, 0] - 0.7 * Z[:, 1] + 0.6 * np.tanh(Z[:, 2] * 2)
    signal = signal / signal.std()
    return hold_out(Z, (np.sqrt(0.4) * signal + np.sqrt(0.6) * rng.randn(n))[:, None], seed)


def churn(seed, n=3000, share=0.03, balanced=False):
    """Who leaves? A share of 3 % whose features overlap with the others'; held-out rows have both alike.

    `balanced` draws both classes equally often for the training rows too.
    """
    rng = np.random.RandomState(seed)

    def draw(count, positives):
        y = (rng.rand(count) < positives).astype(int)
        Z = rng.randn(count, 10)
        Z[:, 0] += 1.2 * y
        Z[:, 1] = np.where(y, Z[:, 1] * 1.8, Z[:, 1])
        Z[:, 2] -= 0.8 * y
        return Z, y.astype(float)[:, None]

    return tensors(*draw(n, 0.5 if balanced else share), *draw(1200, 0.5))


def first_sign(seed, n=2000, length=30):
    """Sequences (N, length, 1) of normal numbers; class 1 if the first, which is ±2, is positive."""
    rng = np.random.RandomState(seed)
    X = rng.randn(n, length, 1)
    y = rng.rand(n) < 0.5
    X[:, 0, 0] = np.where(y, 2.0, -2.0)
    return hold_out(X, y.astype(float)[:, None], seed)


def tags(seed, n=2500, count=6):
    """Six tags, each on for about half of the rows and independent of the others, from twelve features."""
    rng = np.random.RandomState(seed)
    Z, W, V = rng.randn(n, 12), np.random.RandomState(1).randn(12, count), np.random.RandomState(2).randn(12, count)
    return hold_out(Z, (Z @ W + np.abs(Z) @ V - np.sqrt(2 / np.pi) * V.sum(0) > 0).astype(float), seed)


def parity(seed, n=2000, bits=4, others=2):
    """±1 bits; class 1 if the first four hold an odd number of -1."""
    X = np.random.RandomState(seed).choice([-1.0, 1.0], (n, bits + others))
    X = X + 0.1 * np.random.RandomState(seed + 1).randn(*X.shape)
    return hold_out(X, (np.sign(X[:, :bits]).prod(1) < 0).astype(np.int64), seed)


def constant_columns(seed, n=1200):
    """Ten columns, of which four never change, two classes."""
    rng = np.random.RandomState(seed)
    Z = rng.randn(n, 10)
    y = Z[:, 0] + Z[:, 1] * Z[:, 2] > 0
    Z[:, 6:] = [0.0, 0.0, 1.0, 1.0]
    return hold_out(Z, y.astype(np.int64), seed)


def divided_by_zero(seed, guarded=False, n=1200):
    """Ten columns of other means, one constant, made standard by (x - mean) / deviation: 0 / 0 for the constant one."""
    rng = np.random.RandomState(seed)
    Z = rng.randn(n, 10) * 5 + np.arange(10)
    y = Z[:, 0] + Z[:, 1] > 1
    Z[:, 9] = 3.0
    with np.errstate(invalid="ignore"):
        X = (Z - Z.mean(0)) / (Z.std(0) + (1e-8 if guarded else 0))
    return hold_out(X, y.astype(np.int64), seed)


def shares(seed, n=1500):
    """A share between 0 and 1 to be read from five features."""
    rng = np.random.RandomState(seed)
    Z = rng.randn(n, 5)
    share = 1 / (1 + np.exp(-(1.5 * Z[:, 0] + Z[:, 1] * Z[:, 2])))
    return hold_out(Z, np.clip(share + 0.03 * rng.randn(n), 0, 1)[:, None], seed)


def durations(seed, n=1500):
    """A positive duration (mean about 1.5, skewed) from five features."""
    rng = np.random.RandomState(seed)
    Z = rng.randn(n, 5)
    return hold_out(Z, np.exp(0.6 * Z[:, 0] - 0.4 * np.abs(Z[:, 1]) + 0.1 * rng.randn(n))[:, None], seed)


def line_of_seven(seed):
    """y = 2x - 1 for x = -1..5."""
    x = np.arange(-1.0, 6.0)[:, None]
    return everything(x, 2 * x - 1)


def grades(seed, target="column"):
    """Three overlapping grades 0, 1, 2 from eight features, not in one line."""
    rng = np.random.RandomState(seed)
    y = rng.randint(0, 3, 1500)
    centres = np.random.RandomState(3).randn(3, 8) * 1.3
    return hold_out(centres[y] + rng.randn(1500, 8), target_of(y, target, 3), seed)


datasets.MAKERS |= {
    function.__name__: function
    for function in (
        fashion, cifar, digit_copies, speech, languages, reviews, next_letter, adult, transformer_oil, temperatures,
        passengers, spirals, waves, flats, half_noise, churn, first_sign, tags, parity, constant_columns,
        divided_by_zero, shares, durations, line_of_seven, grades,
    )
}  # fmt: skip

# True of the data whichever program uses them: rows repeat, rows are few. Noise that is in the nature of a target is
# not listed: a healthy training on it is not to be blamed.
labels.DATA_FACTS |= {
    "adult": {"duplicates", "leak"},
    "languages": {"duplicates", "leak"},
    "passengers": {"too-little-data"},
    "line_of_seven": labels.TINY,
    "reviews": {"too-little-data"},
}
