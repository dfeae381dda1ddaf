"""Facts about training data, of the whole or of a stated sample. No torch."""

from __future__ import annotations

from typing import Literal

from netwright.records import Record


class ArrayFacts(Record, frozen=True, kw_only=True):
    """Inputs or targets of one part; numbers are over the finite values of ``sampled`` examples.

    A feature is a column of rows, a channel of pictures (C, H, W), the last axis of sequences (T, F).
    ``feature_mean``, ``feature_deviation`` and ``feature_rms`` (root mean square) are (smallest, median, largest) over
    the features; ``offset`` is the length of the vector of means over that of deviations: how far the cloud of examples
    lies from 0, in its own size.
    """

    examples: int
    sampled: int
    shape: tuple[int, ...]  # of one example
    dtype: str
    minimum: float | None = None
    maximum: float | None = None
    mean: float | None = None
    deviation: float | None = None
    rms: float | None = None
    feature_mean: tuple[float, float, float] | None = None
    feature_deviation: tuple[float, float, float] | None = None
    feature_rms: tuple[float, float, float] | None = None
    offset: float | None = None
    non_finite: int = 0  # of all examples, those that hold a NaN or an infinity
    non_finite_rows: tuple[int, ...] = ()  # the first of them
    features: int = 0
    constant_features: int = 0
    distinct: int = 0  # distinct values in the sample, at most 1,000
    whole: bool = False  # whole numbers only


class Shift(Record, frozen=True, kw_only=True):
    """Validation against training inputs (or targets), over the features that vary.

    ``scale``: rms of validation / rms of training, of all values. ``apart``: the share of features whose distributions
    barely overlap (Kolmogorov–Smirnov distance of `auditing.APART` or more, beyond chance). ``worst``: the largest such
    distance, of feature ``worst_feature``. ``moved``: median |difference of means| / training deviation. ``spread``, of
    targets: the smallest ratio of deviations, validation / training.
    """

    scale: float
    apart: float = 0.0
    worst: float = 0.0
    worst_feature: int = -1
    moved: float = 0.0
    spread: float | None = None
    examples: int = 0  # validation examples that were compared


class Order(Record, frozen=True, kw_only=True):
    """The order of the labels as they lie in the data.

    ``z``: the runs test (classes: Barton & David 1957) or the rank von Neumann ratio (values: Bartels 1982), standard
    normal where the order is random, far below 0 where equal labels lie together. ``run``: how many equal labels follow
    each other on average, ``expected_run`` by chance. For values ``correlation`` of neighbours' ranks.
    """

    z: float
    run: float = 0.0
    expected_run: float = 0.0
    correlation: float | None = None


class Relation(Record, frozen=True, kw_only=True):
    """Whether labels have to do with inputs at all: simple learners, trained on some rows and tested on others.

    ``score``: accuracy, or correlation of prediction and target; ``chance``: what the same predictions score against
    permuted labels; ``z``: their difference in standard deviations of the permuted scores. ``moved``: by so many rows
    moved on, the labels have to do with the inputs (``moved_score``), and as they lie they hardly have; 0 where not.
    """

    learner: str  # the best of them
    score: float
    chance: float
    z: float
    trained: int
    tested: int
    learners: tuple[str, ...] = ()
    moved: int = 0
    moved_score: float = 0.0


class Locality(Record, frozen=True, kw_only=True):
    """A learner that sees neighbourhoods, on the inputs as they are and with their positions permuted consistently.

    ``drop``: score as it is − permuted, ``noise`` its standard error; ``best``: it is better than under each of the
    permutations. Where nothing drops, there is no local structure for a convolution to use.
    """

    learner: str
    score: float
    permuted: float
    drop: float
    noise: float
    best: bool = False
    measure: str = "accuracy"


class Revealing(Record, frozen=True, kw_only=True):
    """A column that tells the target among training rows and not among validation rows: Youden's J of the best
    threshold, or |correlation|, from 0 to 1. ``columns``: how many are so; ``feature`` is the worst."""

    feature: int
    training: float
    validation: float
    columns: int = 1


class Agreement(Record, frozen=True, kw_only=True):
    """How often a vote of the nearest training rows names the label of a training row (left out of its own vote) and of
    a validation row: means over ``classes`` classes; ``noise``: one standard error of their difference."""

    training: float
    validation: float
    noise: float
    classes: int


class Baseline(Record, frozen=True, kw_only=True):
    """What a learner without a network scores on held-out rows (accuracy or R²)."""

    learner: str
    score: float
    measure: str = "accuracy"
    trained: int = 0
    tested: int = 0
    seconds: float = 0.0


class DataAudit(Record, frozen=True, kw_only=True):
    """What the data is like before anything is trained.

    ``task``: what the targets alone look like. ``label_form``: class numbers (``index`` (N,), ``column`` (N, 1)),
    ``one-hot`` rows, ``multi-hot`` rows of 0 and 1, ``soft`` rows that sum to one, or ``values``.
    ``target_offset``: of values, the largest |mean| / deviation of a column as it was given, before it is normalised.
    ``duplicates``: training rows that repeat an earlier one, ``conflicting`` of them with another label; ``leaked``:
    validation rows that occur among the training rows; all of ``hashed`` and ``validation_hashed`` rows.
    """

    task: Literal["classification", "multi-label", "regression", "unknown"] = "unknown"
    label_form: Literal["index", "column", "one-hot", "multi-hot", "soft", "values", "unknown"] = "unknown"
    inputs: ArrayFacts | None = None
    targets: ArrayFacts | None = None
    validation_inputs: ArrayFacts | None = None
    validation_targets: ArrayFacts | None = None
    class_counts: tuple[int, ...] = ()  # by class number; of multi-hot rows, the positives of each label
    validation_class_counts: tuple[int, ...] = ()
    label_names: tuple[float, ...] = ()  # where the labels are not 0, 1, 2, …: what stands for each class
    hashed: int = 0
    duplicates: int = 0
    conflicting: int = 0
    validation_hashed: int = 0
    leaked: int = 0
    shift: Shift | None = None
    target_shift: Shift | None = None
    target_offset: float | None = None
    order: Order | None = None
    relation: Relation | None = None
    locality: Locality | None = None
    revealing: Revealing | None = None
    agreement: Agreement | None = None
    baselines: tuple[Baseline, ...] = ()
    seconds: float = 0.0
