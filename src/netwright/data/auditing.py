"""What arrays are like before anything is trained on them: scale, bad values, classes, order, copies, relation.

NumPy alone, in seconds: every value is looked at once for NaN and infinities, every row is hashed, and everything else
is measured on a seeded sample that touches no global generator.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from netwright.data import relating
from netwright.data.contradicting import agreement
from netwright.data.revealing import revealing
from netwright.observations.data import ArrayFacts, DataAudit, Order, Shift

Array = npt.NDArray[Any]
Task = Literal["classification", "multi-label", "regression", "unknown"]
Form = Literal["index", "column", "one-hot", "multi-hot", "soft", "values", "unknown"]

SAMPLED = 8192  # examples for statistics: the error of a mean is a hundredth of a deviation
SAMPLED_VALUES = 1 << 21  # numbers in the sample at most
HASHED = 200_000  # rows of each part that are compared for copies
COMPARED = 2000  # rows a part whose distributions are compared
COMPARED_FEATURES = 512
PIECE = 1 << 18  # numbers that are in double precision at once
SHOWN_ROWS = 10
MOST_DISTINCT = 1000
APART = 0.5  # Kolmogorov–Smirnov distance of distributions that are called apart: half of one lies beyond the other
KS_FACTOR = 3.0  # × √((n + m) / nm): by chance beyond it in 2·exp(−2·9) = 3 features of 10⁸ (Smirnov's limit law)
MOST_CLASSES = 1000  # whole numbers with more distinct values than this are quantities
ROWS_A_CLASS = 5  # class numbers occur at least so often on average; whole numbers that hardly repeat are quantities


def audit(
    inputs: Array,
    targets: Array | None = None,
    validation_inputs: Array | None = None,
    validation_targets: Array | None = None,
    *,
    relation: bool = True,
    seed: int = 0,
) -> DataAudit:
    """Examples (N, …) and targets (N, …) of training and, where there is one, of validation.

    ``relation``: also train simple learners, to see whether labels have to do with inputs (about a second). 60,000
    pictures of 28 × 28 take about two seconds without it.
    """
    started = time.perf_counter()
    inputs = np.asarray(inputs)
    chosen = _sample(inputs, seed)
    sampled = inputs[chosen]
    facts: dict[str, Any] = {"inputs": _facts(inputs, sampled)}
    if validation_inputs is not None and len(validation_inputs):
        validation_inputs = np.asarray(validation_inputs)
        validation_sampled = validation_inputs[_sample(validation_inputs, seed)]
        facts["validation_inputs"] = _facts(validation_inputs, validation_sampled)
        facts["shift"] = _shift(sampled, validation_sampled)
    else:
        validation_inputs = None
    facts |= _copies(inputs, targets, validation_inputs)
    if targets is not None and len(targets):
        targets = np.asarray(targets)
        meaning = label_meaning(targets)
        facts |= {"task": meaning.task, "label_form": meaning.form, "targets": _facts(targets, targets)}
        facts |= {"class_counts": meaning.counts, "label_names": meaning.names, "order": _order(targets, meaning)}
        if meaning.task == "regression":
            facts["target_offset"] = target_offset(targets)
        if validation_targets is not None and len(validation_targets):
            validation_targets = np.asarray(validation_targets)
            facts["validation_targets"] = _facts(validation_targets, validation_targets)
            facts["validation_class_counts"] = _counts(validation_targets, meaning)
            if meaning.task == "regression":
                facts["target_shift"] = _target_shift(targets, validation_targets)
            facts |= _beside_validation(inputs, targets, validation_inputs, validation_targets, meaning, relation)
        if relation:
            facts["relation"] = relating.relation(inputs, targets, meaning.task, meaning.form, seed=seed)
    return DataAudit(**facts, seconds=time.perf_counter() - started)


# ------------------------------------------------------------------------------------------------ what the labels are


class Meaning(NamedTuple):
    """``names``: what stands for each class, where that is not its number."""

    task: Task
    form: Form
    counts: tuple[int, ...] = ()
    names: tuple[float, ...] = ()


def label_meaning(targets: Array) -> Meaning:
    """What targets (N, …) look like, by their values alone; a loss may know better."""
    values = targets.reshape(len(targets), -1)
    if targets.dtype.kind not in "biuf" or values.size == 0:
        return Meaning("unknown", "unknown")
    finite = values if targets.dtype.kind != "f" else values[np.isfinite(values).all(1)]
    if finite.size == 0:
        return Meaning("unknown", "unknown")
    if values.shape[1] == 1:
        return _one_column(targets, finite[:, 0])
    zero_one = bool(np.isin(finite, (0, 1)).all())
    if targets.ndim == 2 and zero_one and (finite.sum(1) == 1).all():
        return Meaning("classification", "one-hot", tuple(int(n) for n in finite.sum(0)))
    if zero_one:
        return Meaning("multi-label", "multi-hot", tuple(int(n) for n in finite.sum(0)) if targets.ndim == 2 else ())
    if targets.dtype.kind in "iu" and _few_whole(np.unique(finite), finite.size):
        return Meaning("classification", "index", _bincount(finite))  # a class for every pixel or step
    if targets.ndim == 2 and (finite >= 0).all() and np.allclose(finite.sum(1), 1, atol=1e-4):
        return Meaning("classification", "soft", tuple(int(n) for n in np.bincount(finite.argmax(1))))
    return Meaning("regression", "values")


def _one_column(targets: Array, values: Array) -> Meaning:
    form: Form = "index" if targets.ndim == 1 else "column"
    distinct = np.unique(values)
    whole = targets.dtype.kind in "biu"
    if set(distinct.tolist()) <= {0, 1}:
        return Meaning("classification", form, _bincount(values))
    if set(distinct.tolist()) <= {-1, 1}:
        return Meaning("classification", form, tuple(int((values == c).sum()) for c in (-1, 1)), (-1.0, 1.0))
    if whole and len(distinct) == 1 and targets.ndim == 1:
        return Meaning("classification", form, _bincount(values))
    if not _few_whole(distinct, len(values)):
        return Meaning("regression", "values")
    if not whole and not np.array_equal(distinct, np.arange(len(distinct))):
        return Meaning("regression", "values")  # floats that are whole by chance: counts, ratings, years
    return Meaning("classification", form, _bincount(values))


def _few_whole(distinct: Array, count: int) -> bool:
    return bool(
        len(distinct) <= MOST_CLASSES
        and count >= ROWS_A_CLASS * len(distinct) >= 2 * ROWS_A_CLASS
        and (distinct == np.round(distinct)).all()
    )


def _bincount(values: Array) -> tuple[int, ...]:
    """By class number; labels below 0 (as those that a loss leaves out) are in no class."""
    labels = values[values >= 0].astype(np.int64).reshape(-1)
    return tuple(int(n) for n in np.bincount(labels)) if labels.size and labels.max() < 100 * MOST_CLASSES else ()


def _counts(targets: Array, like: Meaning) -> tuple[int, ...]:
    """The classes of another part, in the meaning that the training labels have."""
    values = targets.reshape(len(targets), -1)
    if like.task == "regression" or (targets.dtype.kind == "f" and not np.isfinite(values).all()):
        return ()
    if like.form in ("one-hot", "multi-hot"):
        return tuple(int(n) for n in values.sum(0)) if like.counts else ()
    if like.form == "soft":
        return tuple(int(n) for n in np.bincount(values.argmax(1)))
    if like.names:
        return tuple(int((values == name).sum()) for name in like.names)
    return _bincount(values)


def class_labels(targets: Array, form: Form) -> Array | None:
    """Class numbers (N,), where there is one an example."""
    if form in ("one-hot", "soft"):
        labels: Array = targets.argmax(1)
        return labels
    if form in ("index", "column") and targets.size == len(targets):
        flat: Array = targets.reshape(-1)
        return flat
    return None


# ------------------------------------------------------------------------------------------------ numbers


def _sample(array: Array, seed: int) -> Array:
    """Rows for statistics, in rising order."""
    most = max(64, min(SAMPLED, SAMPLED_VALUES // max(1, array[:1].size)))
    if len(array) <= most:
        return np.arange(len(array))
    return np.sort(np.random.default_rng(seed).choice(len(array), most, replace=False))


def by_feature(array: Array) -> Array:
    """(rows, features): one column a feature; positions of a picture or steps of a sequence become rows."""
    if array.ndim <= 2:
        return array.reshape(len(array), -1)
    if array.ndim == 3:
        return array.reshape(-1, array.shape[-1])
    return np.moveaxis(array, 1, -1).reshape(-1, array.shape[1])


def _facts(array: Array, sampled: Array) -> ArrayFacts:
    about: dict[str, Any] = {
        "examples": len(array), "sampled": len(sampled), "shape": tuple(array.shape[1:]), "dtype": str(array.dtype),
    }  # fmt: skip
    if array.dtype.kind not in "biufc" or array.size == 0:
        return ArrayFacts(**about)
    bad = _non_finite(array)
    about |= {"non_finite": len(bad), "non_finite_rows": tuple(int(row) for row in bad[:SHOWN_ROWS])}
    seen = _moments(sampled)
    some = seen.counted > 0
    if not some.any():
        return ArrayFacts(**about)
    count, mean, deviation, rms = (values[some] for values in (seen.counted, seen.mean, seen.deviation, seen.rms))
    constant = deviation <= 1e-9 * np.maximum(np.abs(mean), 1e-30)
    share = count / count.sum()
    middle = float(share @ mean)
    few = np.unique(_few_values(sampled))
    return ArrayFacts(
        **about,
        minimum=float(seen.minimum[some].min()), maximum=float(seen.maximum[some].max()), mean=middle,
        deviation=float(np.sqrt(share @ (deviation**2 + (mean - middle) ** 2))), rms=float(np.sqrt(share @ rms**2)),
        feature_mean=_three(mean), feature_deviation=_three(deviation), feature_rms=_three(rms),
        features=len(mean), constant_features=int(constant.sum()),
        offset=float(np.linalg.norm(mean) / np.linalg.norm(deviation)) if not constant.all() else None,
        distinct=min(len(few), MOST_DISTINCT), whole=bool((few == np.round(few)).all()),
    )  # fmt: skip


class Moments(NamedTuple):
    """Of every feature's finite values; NaN where there is none."""

    counted: Array
    mean: Array
    deviation: Array
    rms: Array
    minimum: Array
    maximum: Array


def _moments(array: Array) -> Moments:
    """In two passes over pieces in double precision: the whole in doubles would be eight times a picture's memory."""

    def pieces() -> Iterator[Array]:
        step = max(1, PIECE // max(1, array[:1].size))
        for start in range(0, len(array), step):
            piece = by_feature(array[start : start + step]).astype(np.float64)
            yield np.where(np.isfinite(piece), piece, np.nan) if array.dtype.kind in "fc" else piece

    features = by_feature(array[:1]).shape[1]
    counted, total, squares, apart = (np.zeros(features) for _ in range(4))
    low, high = np.full(features, np.inf), np.full(features, -np.inf)
    with np.errstate(all="ignore"):
        for piece in pieces():
            counted += (piece == piece).sum(0)
            total += np.nansum(piece, 0)
            squares += np.nansum(piece**2, 0)
            low, high = np.fmin(low, np.fmin.reduce(piece, 0)), np.fmax(high, np.fmax.reduce(piece, 0))
        mean = total / counted
        for piece in pieces():
            apart += np.nansum((piece - mean) ** 2, 0)
        return Moments(counted, mean, np.sqrt(apart / counted), np.sqrt(squares / counted), low, high)


def _few_values(array: Array) -> Array:
    """At most about 100,000 finite values from all over the array."""
    flat = array.reshape(-1)
    some: Array = flat[:: max(1, flat.size // 100_000)].astype(np.float64)
    return some[np.isfinite(some)]


def _three(values: Array) -> tuple[float, float, float]:
    return float(values.min()), float(np.median(values)), float(values.max())


def _non_finite(array: Array) -> Array:
    """The rows of an array of any size that hold a NaN or an infinity."""
    if array.dtype.kind not in "fc":
        return np.zeros(0, np.int64)
    step = max(1, (1 << 22) // max(1, array[:1].size))
    found = []
    for start in range(0, len(array), step):
        finite = np.isfinite(array[start : start + step])
        found.append(start + np.flatnonzero(~finite.reshape(len(finite), -1).all(1)))
    return np.concatenate(found)


def _shift(train: Array, validation: Array) -> Shift | None:
    """How unlike the distributions of two parts are, from samples of their rows."""
    a, b = by_feature(train), by_feature(validation)
    if a.shape[1] != b.shape[1] or a.dtype.kind not in "biuf" or b.dtype.kind not in "biuf":
        return None
    a, b = (_finite_rows(_thinned(part, COMPARED).astype(np.float64)) for part in (a, b))
    if len(a) < 2 or len(b) < 2:
        return None
    examples = min(len(b), len(validation))
    scale = float(np.sqrt((b**2).mean()) / max(np.sqrt((a**2).mean()), 1e-300))
    deviation = a.std(0)
    varying = np.flatnonzero(_varying(a))
    if not len(varying):
        return Shift(scale=scale, examples=examples)
    moved = float(np.median(np.abs(b.mean(0) - a.mean(0))[varying] / deviation[varying]))
    some = varying[:: max(1, len(varying) // COMPARED_FEATURES)]
    distances = np.array([_ks(a[:, column], b[:, column]) for column in some])
    independent = min(len(train), len(a)), min(len(validation), len(b))  # pixels of one picture are not
    limit = max(APART, KS_FACTOR * np.sqrt(sum(independent) / (independent[0] * independent[1])))
    worst = int(distances.argmax())
    return Shift(
        scale=scale, moved=moved, apart=float((distances >= limit).mean()), worst=float(distances[worst]),
        worst_feature=int(some[worst]), examples=examples,
    )  # fmt: skip


def _target_shift(train: Array, validation: Array) -> Shift | None:
    """As `_shift`; their deviations are those of all values, because few extreme ones may be most of it. Of several
    columns the median one tells: of many pixels one seldom varies."""
    shift = _shift(train, validation)
    if shift is None:
        return None
    rows, held_out = (_finite_rows(by_feature(part).astype(np.float64)) for part in (train, validation))
    deviation, varying = rows.std(0), _varying(rows)
    spread = float(np.median(held_out.std(0)[varying] / deviation[varying])) if varying.any() else None
    return msgspec.structs.replace(shift, spread=spread)


def _beside_validation(
    inputs: Array, targets: Array, held_out: Array | None, held_out_targets: Array, meaning: Meaning, relation: bool
) -> dict[str, Any]:
    """What inputs tell of the target in either part, where there is one target an example."""
    if held_out is None or held_out_targets.shape[1:] != targets.shape[1:] or len(held_out) != len(held_out_targets):
        return {}
    if meaning.task == "classification":
        labels, others = (class_labels(part, meaning.form) for part in (targets, held_out_targets))
        if labels is None or others is None or len(labels) != len(inputs):
            return {}
        found = {"revealing": revealing(inputs, labels, held_out, others, classes=True)}
        return found | ({"agreement": agreement(inputs, labels, held_out, others)} if relation else {})
    if meaning.task != "regression" or targets.size != len(targets) or len(targets) != len(inputs):
        return {}
    return {"revealing": revealing(inputs, targets.reshape(-1), held_out, held_out_targets.reshape(-1), classes=False)}


def target_offset(targets: Array) -> float | None:
    """The largest |mean| / deviation of a column of values; None where every one is constant."""
    values = _finite_rows(by_feature(targets).astype(np.float64))
    if not len(values):
        return None
    varying = _varying(values)
    return float((np.abs(values.mean(0))[varying] / values.std(0)[varying]).max()) if varying.any() else None


def _varying(values: Array) -> npt.NDArray[np.bool_]:
    """The columns that are more than one value and its rounding."""
    found: npt.NDArray[np.bool_] = values.std(0) > 1e-9 * np.maximum(np.abs(values.mean(0)), 1e-30)
    return found


def _thinned(rows: Array, most: int) -> Array:
    return rows if len(rows) <= most else rows[np.linspace(0, len(rows) - 1, most).astype(np.int64)]


def _finite_rows(rows: Array) -> Array:
    kept: Array = rows[np.isfinite(rows).all(1)]
    return kept


def _ks(a: Array, b: Array) -> float:
    """The largest distance between two empirical distribution functions."""
    a, b = np.sort(a), np.sort(b)
    both = np.concatenate([a, b])
    distance = np.searchsorted(a, both, "right") / len(a) - np.searchsorted(b, both, "right") / len(b)
    return float(np.abs(distance).max())


# ------------------------------------------------------------------------------------------------ copies and order


def _copies(inputs: Array, targets: Array | None, validation: Array | None) -> dict[str, int]:
    """Rows that occur twice, by a 128-bit hash of their bytes."""
    seen: dict[bytes, bytes] = {}
    duplicates = conflicting = 0
    labels = None if targets is None or len(targets) != len(inputs) else np.ascontiguousarray(targets)
    count = min(len(inputs), HASHED)
    for row in range(count):
        key, label = _hash(inputs[row]), b"" if labels is None else labels[row].tobytes()
        first = seen.setdefault(key, label)
        if first is not label:
            duplicates += 1
            conflicting += first != label
    found = {"hashed": count, "duplicates": duplicates, "conflicting": conflicting}
    if validation is not None and validation.shape[1:] == inputs.shape[1:]:
        checked = min(len(validation), HASHED)
        same = validation[:checked] if validation.dtype == inputs.dtype else validation[:checked].astype(inputs.dtype)
        found |= {"validation_hashed": checked, "leaked": sum(_hash(row) in seen for row in same)}
    return found


def hashes(inputs: Sequence[Array], rows: Iterable[int]) -> list[bytes]:
    """One a row of the arrays, over the bytes of all inputs: 128 bits."""
    return [b"".join(_hash(array[row]) for array in inputs) for row in rows]


def _hash(row: Array) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(row).data, digest_size=16).digest()


def _order(targets: Array, meaning: Meaning) -> Order | None:
    """Whether equal labels lie together; None where too few or where there is more than one an example."""
    count = len(targets)
    if count < 20:
        return None
    labels = class_labels(targets, meaning.form)
    if labels is not None:
        return class_order(labels)
    if meaning.task == "regression" and targets.size == count:
        return value_order(targets.reshape(-1))
    return None


def class_order(labels: Array) -> Order | None:
    """The runs test for several classes; None if there is one class only."""
    n = len(labels)
    counts = np.unique(labels, return_counts=True)[1].astype(np.float64)
    squares, cubes = float((counts**2).sum()), float((counts**3).sum())
    mean = (n * (n + 1) - squares) / n
    variance = (squares * (squares + n * (n + 1)) - 2 * n * cubes - float(n) ** 3) / (float(n) ** 2 * (n - 1))
    if len(counts) < 2 or variance <= 0:
        return None
    runs = 1 + int((labels[1:] != labels[:-1]).sum())
    return Order(z=(runs - mean) / float(np.sqrt(variance)), run=n / runs, expected_run=n / mean)


def value_order(values: Array) -> Order | None:
    """The rank von Neumann ratio; None for a constant."""
    if not np.isfinite(values).all():
        return None
    distinct, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    if len(distinct) < 2:
        return None
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]  # ties share the mean of their ranks
    centred = ranks - ranks.mean()
    ratio = float(((ranks[1:] - ranks[:-1]) ** 2).sum() / (centred**2).sum())
    return Order(z=(ratio - 2) / (2 / len(values) ** 0.5), correlation=1 - ratio / 2)
