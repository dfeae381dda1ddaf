"""What curves are, as records. No torch."""

from __future__ import annotations

from typing import Literal

from netwright.records import Record


class Spread(Record, frozen=True, kw_only=True):
    """``values`` of the seeds, their mean, and a 95 % interval of it (Student's t; None with fewer than three, because
    that of two is 13 times as wide as their spread)."""

    mean: float | None = None
    low: float | None = None
    high: float | None = None
    values: tuple[float, ...] = ()


class Decomposition(Record, frozen=True, kw_only=True):
    """Where the mean error of several trainings comes from; for how it is estimated see ``scaling.decomposing``.

    ``error`` is ``bias + variance - helpful``: ``helpful`` is what deviating from the main prediction does good where
    that is wrong (0-1 loss only). ``squared_bias`` and ``squared_variance``: of the probabilities' squared loss, or of
    the values as shares of their variance; ``kohavi_bias`` and ``kohavi_variance``: by Kohavi and Wolpert.
    """

    trainings: int
    error: float
    bias: float
    variance: float
    helpful: float = 0.0
    squared_bias: float | None = None
    squared_variance: float | None = None
    kohavi_bias: float | None = None
    kohavi_variance: float | None = None


class CurvePoint(Record, frozen=True, kw_only=True):
    """``size``: training examples, or the value of ``key``. Errors on ``held_out`` and on training examples, as the
    finished learner makes them; ``seconds`` to train (of classical learners: all of it), a median."""

    size: int
    parameters: int | None = None
    held_out: Spread
    train: Spread
    seconds: float | None = None
    decomposition: Decomposition | None = None
    runs: tuple[str, ...] = ()


class LearnerCurve(Record, frozen=True, kw_only=True):
    """One learner over all sizes. ``choices``: what it chose by the validation part, at its largest size."""

    name: str
    kind: Literal["network", "classical"]
    points: tuple[CurvePoint, ...]
    choices: str = ""


class PowerLaw(Record, frozen=True, kw_only=True):
    """error(n) = floor + a·n^(-exponent): medians with 95 % intervals. ``twice``, ``tenfold``: the error at twice and
    ten times the data of the last point; ``ratio``: of that at twice to that at the last point. ``said``: empty, or why
    nothing is said, and the numbers are None then."""

    exponent: tuple[float, float, float] | None = None
    floor: tuple[float, float, float] | None = None
    last: tuple[float, float, float] | None = None
    twice: tuple[float, float, float] | None = None
    tenfold: tuple[float, float, float] | None = None
    ratio: tuple[float, float, float] | None = None
    sizes: tuple[int, ...] = ()
    curve: tuple[tuple[float, float, float, float], ...] = ()  # size, median, low, high
    said: str = ""


class FilterFit(Record, frozen=True, kw_only=True):
    """A first layer's filters beside Gabor filters: the share of a filter's energy that the nearest one explains.

    ``fit``: the mean over ``filters``; ``random``: that of random filters of the same size, ``random_high`` the value
    that 95 % of them stay below; ``beyond``: share of the learned ones above it. ``picture``: learned filters over
    their nearest ones, PNG in base64.
    """

    layer: str
    size: tuple[int, int]
    filters: int
    fit: float
    random: float
    random_high: float
    beyond: float
    picture: str = ""


class Curves(Record, frozen=True, kw_only=True):
    """``netwright curves --over data`` and ``--over width|depth``. ``measure``: ``error`` (share of wrong answers) or
    ``unexplained variance`` (1 - R²), on ``tested`` examples of ``part``. ``left_out``: trainings that the time did
    not allow. ``examples``: of the training part."""

    over: str
    key: str
    measure: Literal["error", "unexplained variance"]
    part: str
    tested: int
    examples: int
    seeds: tuple[int, ...]
    learners: tuple[LearnerCurve, ...]
    law: PowerLaw | None = None
    filters: FilterFit | None = None
    conclusions: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    left_out: int = 0
    reused: int = 0
    page: str = ""


class BatchTrial(Record, frozen=True, kw_only=True):
    """One training of a batch regime with one seed: what it took to reach the target, as it was first seen; None: not
    within ``trained`` seconds. ``best``: the lowest error seen; ``noise``: the gradient noise scale (examples) at the
    end. ``curve``: (seconds, steps, examples, error) of every look."""

    seed: int
    seconds: float | None = None
    steps: int | None = None
    examples: int | None = None
    trained: float = 0.0
    best: float | None = None
    noise: float | None = None
    resident_bytes: int | None = None
    step_ms: float | None = None
    curve: tuple[tuple[float, int, int, float], ...] = ()
    failed: str = ""
    reused: bool = False


class BatchPoint(Record, frozen=True, kw_only=True):
    """One batch size: its rate (None: not trained), what a step takes of memory (by the graph; ``resident_bytes``: the
    process's highest, as measured), medians over the trials that reached the target (None where fewer than half did).
    ``ratio``: noise scale by batch size, the squared noise of a step's gradient by its squared length."""

    batch_size: int
    lr: float | None = None
    seconds: float | None = None
    steps: float | None = None
    examples: float | None = None
    step_ms: float | None = None
    memory_bytes: int | None = None
    resident_bytes: int | None = None
    noise: float | None = None
    ratio: float | None = None
    trials: tuple[BatchTrial, ...] = ()
    left_out: str = ""


class BatchRegimes(Record, frozen=True, kw_only=True):
    """``netwright curves --over batch-size``: ``target`` is the error that is to be reached on ``part``, ``within``
    seconds; ``rule``: where the rates come from; ``noise``: the noise scale, a median over all trials."""

    over: str = "batch-size"
    measure: Literal["error", "unexplained variance"]
    part: str
    tested: int
    examples: int
    target: float
    how: str
    within: float
    rule: str
    seeds: tuple[int, ...]
    points: tuple[BatchPoint, ...]
    noise: float | None = None
    free_bytes: int | None = None
    conclusions: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    reused: int = 0
    page: str = ""
