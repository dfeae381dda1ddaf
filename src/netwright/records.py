"""The records: typed facts that one stage hands to the next. No torch.

Every record is an immutable ``msgspec`` structure with a JSON form. ``SCHEMA_VERSION`` is written beside records
that outlive a process; a reader of an unknown version says so instead of guessing. NaN and infinities are ``null``
in JSON (JSON has none), and come back as ``None``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, Literal, Self

import msgspec

SCHEMA_VERSION = 1

Severity = Literal["note", "warning", "error"]


def to_builtin(value: Any) -> Any:
    """``value`` as plain dicts, lists, numbers and strings; non-finite numbers become ``None``."""
    return _finite(msgspec.to_builtins(value, enc_hook=_encode_other))


def _encode_other(value: Any) -> Any:
    if hasattr(value, "item") and getattr(value, "size", None) == 1:
        return value.item()
    if hasattr(value, "tolist"):
        return value.tolist()
    return str(value)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all records: prints, converts and shows in a notebook."""

    def to_dict(self) -> dict[str, Any]:
        return dict(to_builtin(self))

    def to_json(self, indent: int | None = None) -> str:
        encoded = msgspec.json.encode(to_builtin(self))
        return (msgspec.json.format(encoded, indent=indent) if indent else encoded).decode()

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Self:
        return msgspec.convert(fields, cls)

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        return msgspec.json.decode(text, type=cls)


def to_frame(records: Iterable[Record]) -> Any:
    """The records as a pandas ``DataFrame``, one row each (pandas is optional)."""
    try:
        import pandas
    except ImportError as error:
        from netwright.errors import MissingExtraError

        raise MissingExtraError("to_frame", "pandas is not installed", "pandas", "pip install pandas") from error
    return pandas.DataFrame([record.to_dict() for record in records])


# -------------------------------------------------------------------------------------- data


class DataFacts(Record, frozen=True, kw_only=True):
    """What a default recipe may depend on: type, shape, number of examples and classes. No names."""

    kind: Literal["image", "table", "series", "array", "text", "language"]  # texts to judge; a text to go on with
    task: Literal["classification", "multi-label", "regression"]
    input_shape: tuple[int, ...]  # of one example as the network sees it, (C, H, W), (C, L) or (F,)
    examples: int  # in the training part
    outputs: int  # classes, labels or target values


# -------------------------------------------------------------------------------- inspection


class LayerRow(Record, frozen=True, kw_only=True):
    """One operation of a network before it is trained, for the batch that was traced.

    ``inputs`` are the rows (or inputs of the network) that it reads. Bytes are of the types that were traced.
    ``bytes_moved`` is read and written, ``intensity`` FLOPs a byte moved. ``receptive_field`` has ``size``, ``stride``,
    ``offset``, ``center``, … in pixels, a value for each of its ``axes``; None where nothing is said. ``followed`` is
    False for what could not be seen into. Shares are of the network's total.
    """

    name: str
    kind: str
    module: str = ""
    inputs: tuple[str, ...] = ()
    output_shape: tuple[int, ...]
    parameters: int = 0
    trainable: int = 0
    macs: int = 0
    flops: int = 0
    elementwise: int = 0
    weight_bytes: int = 0
    output_bytes: int = 0
    bytes_moved: int = 0
    intensity: float = 0.0
    share_macs: float = 0.0
    share_parameters: float = 0.0
    share_memory: float = 0.0
    receptive_field: dict[str, Any] | None = None
    attributes: dict[str, Any] = {}
    followed: bool = True


class Advice(Record, frozen=True, kw_only=True):
    """What could be built otherwise: ``layers`` that it concerns, and figures ``before`` and ``after`` of them."""

    code: str
    layers: tuple[str, ...] = ()
    seen: str
    advice: str
    before: dict[str, float] = {}
    after: dict[str, float] = {}


class Sheet(Record, frozen=True, kw_only=True):
    """All that is known of a network before it is trained: ``netwright inspect``.

    ``totals``: ``parameters``, ``trainable``, ``macs``, ``flops``, ``weight_bytes``, ``activation_bytes`` (the most
    that is alive at once when it runs), ``inference_bytes``, …, for ``batch`` examples. ``executed`` is ``values``
    where the network had to see values to be followed. ``training``: memory of a training step, by part, if asked for.
    """

    version: int = SCHEMA_VERSION
    network: str
    inputs: dict[str, tuple[int, ...]]
    outputs: dict[str, tuple[int, ...]]
    batch: int
    totals: dict[str, Any]
    layers: tuple[LayerRow, ...]
    advice: tuple[Advice, ...] = ()
    executed: str = "shapes"
    unfollowed: tuple[str, ...] = ()
    training: dict[str, Any] | None = None
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Layers and totals as plain text; ``netwright inspect`` prints more."""
        width = max([len(row.name) for row in self.layers], default=0)
        lines = [
            f"{row.name:{width}}  {row.kind:18} {shape_text(row.output_shape):>18} {row.parameters:>12,} "
            f"{row.macs:>16,}"
            for row in self.layers
        ]
        head = f"{'layer':{width}}  {'kind':18} {'output':>18} {'parameters':>12} {'MACs':>16}"
        totals = f"{'':{width}}  {'':18} {'':>18} {self.totals['parameters']:>12,} {self.totals['macs']:>16,}"
        return "\n".join([self.network, head, *lines, totals])


class Section(Record, frozen=True, kw_only=True):
    """A closer look at a network: ``lines``, a table, ``pictures`` (caption, PNG in base64), ``histograms`` (caption,
    counts, edges). ``data`` has the numbers for programs."""

    name: str
    title: str
    lines: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    pictures: tuple[tuple[str, str], ...] = ()
    histograms: tuple[tuple[str, tuple[int, ...], tuple[float, ...]], ...] = ()
    data: dict[str, Any] = {}


# ---------------------------------------------------------------------------------- training


class EpochRow(Record, frozen=True, kw_only=True):
    """The metrics of one split after one epoch; ``step`` counts optimiser steps from the start."""

    epoch: int
    step: int
    split: Literal["train", "validation", "test"]
    metrics: dict[str, float | None]
    seconds: float = 0.0


class Measurement(Record, frozen=True, kw_only=True):
    """What one probe saw at one step: ``values`` one number a unit of ``layer`` (or one for the whole)."""

    probe: str
    step: int
    unit: str
    values: tuple[float | None, ...]
    layer: str = ""


# ---------------------------------------------------------------------- diagnosis and repair


class Remedy(Record, frozen=True, kw_only=True):
    """A change to a recipe (``key`` = ``value``) or, where no key can say it, to the module, in words."""

    code: str
    text: str
    change: dict[str, Any] = {}


class Evidence(Record, frozen=True, kw_only=True):
    """One number that was seen, with what was expected of it."""

    what: str
    value: float | None
    unit: str = ""
    step: int | None = None
    expected: str = ""


class Finding(Record, frozen=True, kw_only=True):
    """Where, what was seen, what was expected, cause, remedies."""

    code: str
    severity: Severity
    where: str
    evidence: tuple[Evidence, ...] = ()
    expected: str = ""
    cause: str = ""
    remedies: tuple[Remedy, ...] = ()
    layer: str = ""
    confidence: float = 1.0
    confirmed_by: str = ""
    because_of: str = ""  # the code of the finding that is its root cause
    ignored: str = ""  # the reason, where the recipe silences it


# --------------------------------------------------------------- tuning, compression, export


class Trial(Record, frozen=True, kw_only=True):
    """One recipe that a search tried.

    ``value``: its score, higher is better; of a stopped one that of its last epoch. ``curve``: the score after each
    epoch. ``reason``: why it was stopped or failed. ``run``: the directory of its run, where that was kept.
    """

    number: int
    change: dict[str, Any]
    state: Literal["waiting", "running", "finished", "stopped", "failed"]
    value: float | None = None
    seconds: float = 0.0
    reason: str = ""
    curve: tuple[float | None, ...] = ()
    metrics: dict[str, float | None] = {}
    run: str = ""


class KeyImportance(Record, frozen=True, kw_only=True):
    """How much one key decides; shares of 1 over the keys: median and the 10 % and 90 % points of bootstrap samples.

    ``fanova`` is None for a key that does not count in all trials.
    """

    key: str
    fanova: tuple[float, float, float] | None = None
    pedanova: tuple[float, float, float] | None = None


class Importance(Record, frozen=True, kw_only=True):
    """``keys`` from the most important, by fANOVA; ``trials`` are behind it. ``note``: what is compared, or why not.

    ``told_apart``: whether the first key is first beyond the spread.
    """

    keys: tuple[KeyImportance, ...] = ()
    trials: int = 0
    note: str = ""
    told_apart: bool = False


class Contestant(Record, frozen=True, kw_only=True):
    """One of the best few of a search, over seeds: ``scores`` by seed, higher is better.

    ``number``: of the trial; −1: the recipe itself. ``behind``: how far its mean is behind the winner's, by pairs of
    the same seed, with the ends of a 95 % interval; None for the winner, and with fewer than two pairs.
    """

    number: int
    change: dict[str, Any]
    scores: dict[int, float]
    mean: float | None = None
    behind: tuple[float, float, float] | None = None
    failed: int = 0


class Verdict(Record, frozen=True, kw_only=True):
    """The best few in order, the winner first. ``clear``: the second is worse beyond the noise between seeds.

    ``better_than_default``: the same of the recipe itself; None: it was not trained.
    """

    contestants: tuple[Contestant, ...] = ()
    seeds: int = 0
    clear: bool = False
    better_than_default: bool | None = None


class Latency(Record, frozen=True, kw_only=True):
    """A latency always names runtime, processor, threads and batch. ``turns``: milliseconds of each call, in the order
    of the rounds in which candidates took turns, for as long as they are compared; they are not kept."""

    runtime: str
    processor: str
    threads: int
    batch: int
    median_ms: float
    low_ms: float
    high_ms: float
    turns: tuple[float, ...] = ()


class CompressionStep(Record, frozen=True, kw_only=True):
    """One pass: what it was, and the network before and after it in figures.

    ``parameters`` are those of the network, ``nonzero`` how many of its trained values are not zero; ``file_bytes`` of
    the weights as they are written; ``memory_bytes`` what a forward pass of one example takes, by the graph.
    ``metrics`` are the validation part's. ``won``: something became clearly smaller, faster or better; ``undone``: it
    did not become faster, and was taken back. ``chance``: of so large a difference in accuracy (without one, in
    loss) on the same examples were both networks alike; from 0.05 on it counts neither as better nor as worse.
    """

    step: str
    parameters: tuple[int, int]
    macs: tuple[int, int]
    file_bytes: tuple[int, int]
    metrics: tuple[dict[str, float], dict[str, float]]
    latency: tuple[Latency | None, Latency | None] = (None, None)
    won: bool | None = None
    note: str = ""
    nonzero: tuple[int, int] = (0, 0)
    memory_bytes: tuple[int, int] = (0, 0)
    faster: float | None = None  # how many times, by calls in turns
    seconds: float = 0.0
    undone: bool = False
    gains: tuple[str, ...] = ()  # smaller, faster, better
    facts: dict[str, Any] = {}
    chance: float | None = None


class ExportResult(Record, frozen=True, kw_only=True):
    """A written file, and how far its output is from PyTorch's on real inputs."""

    target: str
    path: str
    file_bytes: int
    largest_difference: float | None = None
    labels_equal: float | None = None  # share of inputs with the same label
    inputs: int = 0
    first_layer_that_differs: str = ""
    refused: str = ""
    runtime: str = ""  # that it was run in
    precision: str = "float32"
    preprocessing: Literal["beside", "inside"] = "beside"
    mean_difference: float | None = None
    tolerance: float | None = None  # of the largest difference; None: the numbers are meant to differ
    agrees: bool | None = None
    right: tuple[float, float] | None = None  # share of right labels, PyTorch's and the file's, where they are known
    weights_sha256: str = ""  # of the weights that it was made of
    runtime_bytes: int = 0  # what the runtime's library adds, as it is installed here; 0: not here
    notes: tuple[str, ...] = ()


class BoxFigures(Record, frozen=True, kw_only=True):
    """How well boxes were found: the ``figures`` of a method, from 0 to 1, and the average precision of each class.

    ``coco``: ``AP``, ``AP50``, ``AP75``, ``APsmall``, ``APmedium``, ``APlarge``, ``AR1``, ``AR10``, ``AR100``,
    ``ARsmall``, ``ARmedium``, ``ARlarge``; ``voc`` and ``voc2007``: ``mAP`` at the overlap ``iou``. NaN: no truth.
    """

    method: Literal["coco", "voc", "voc2007"]
    iou: float | None = None
    figures: dict[str, float | None]
    classes: dict[str, float | None]
    images: int
    truths: int
    detections: int
    notes: tuple[str, ...] = ()


# ------------------------------------------------------------------------------------------------ comparisons


class PairedDifference(Record, frozen=True, kw_only=True):
    """``second`` minus ``first`` over ``pairs`` of runs with the same seed, in the metric's own unit.

    ``low``, ``high``: the interval, which on the metric that is ``decisive`` holds for all pairs of recipes at once.
    ``verdict``: ``better`` names the one that is; ``small``: it is, by less than matters; ``equal``: whatever
    difference there is is less than matters; ``unclear``: zero is within the interval; ``failed``: trainings of one
    of them did not end; ``too few`` pairs. ``needed``: seeds that find a difference of this size (or of that which
    matters) four times of five; ``detectable``: the size that these seeds find as often.
    """

    first: str
    second: str
    part: str
    metric: str
    decisive: bool
    pairs: int
    mean: float | None = None
    deviation: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    better: str = ""
    verdict: Literal["better", "small", "equal", "unclear", "failed", "too few"]
    needed: int | None = None
    detectable: float | None = None


class ArmResult(Record, frozen=True, kw_only=True):
    """One recipe of a comparison: ``changes`` from the first, ``values`` by part, metric and seed, and what a run
    cost: ``seconds`` of training and the process's highest memory, as medians. ``reused``: runs that were there."""

    name: str
    changes: dict[str, tuple[Any, Any]] = {}
    runs: tuple[str, ...] = ()
    values: dict[str, dict[str, dict[int, float]]] = {}
    failed: dict[int, str] = {}
    seconds: float | None = None
    memory_bytes: int | None = None
    reused: int = 0


class Comparison(Record, frozen=True, kw_only=True):
    """``netwright compare --seeds``. ``metric``: part and name of what decides; ``splits``: every seed also held out
    other examples; ``level``: of all intervals of the ``comparisons`` on it together."""

    metric: str
    seeds: tuple[int, ...]
    splits: bool
    level: float
    comparisons: int
    arms: tuple[ArmResult, ...]
    differences: tuple[PairedDifference, ...]
    smallest: float = 0.0
    page: str = ""


# ------------------------------------------------------------------------------------------------- ensembles


class EnsembleMember(Record, frozen=True, kw_only=True):
    """One network of an ensemble: its ``weight`` (of 1), and its ``metrics`` alone, by part, by the ensemble's loss."""

    name: str
    run: str
    network: str
    weight: float
    parameters: int
    metrics: dict[str, dict[str, float | None]] = {}


class EnsemblePart(Record, frozen=True, kw_only=True):
    """The ensemble and its members on one part of the data.

    ``mean``: of the members' metrics, by their weights. ``disagreement``: of two members, the share of decisions in
    which they differ, on average over pairs. ``vote``: the share that the members' weighted votes have right.
    ``ambiguity``, for values: the members' mean squared deviation from the ensemble, by their weights, in the
    targets' own unit squared; the ensemble's squared error is the members' mean squared error less that (Krogh and
    Vedelsby 1995, equation 6). For probabilities: the mean of the members' losses less the ensemble's.
    ``error`` and ``members_error`` are the two sides' squared errors, of values alone.
    ``leaked``: examples of this part that a member has trained on, by member.
    ``best``: the member that is best by ``metric`` on this part; ``gain``: by how much the ensemble is better (below 0:
    worse); ``chance``: of classes, the chance of that were both alike, by the sign test.
    """

    part: str
    ensemble: dict[str, float | None]
    mean: dict[str, float | None]
    metric: str = ""
    best: str = ""
    gain: float | None = None
    chance: float | None = None
    disagreement: float | None = None
    vote: float | None = None
    ambiguity: float | None = None
    error: float | None = None
    members_error: float | None = None
    leaked: dict[str, int] = {}


class EnsembleAccount(Record, frozen=True, kw_only=True):
    """What an ensemble is made of and what it brings. ``how``: what the mean is taken of: probabilities of classes or
    labels, or values. ``made``: from runs, snapshots, seeds, bagging or boosting. ``out_of_bag``: metrics over the
    training examples, each said by the members that did not learn it, and how many (``examples``)."""

    how: Literal["probability", "label", "value"]
    made: Literal["runs", "snapshots", "seeds", "bagging", "boosting"]
    members: tuple[EnsembleMember, ...]
    parts: tuple[EnsemblePart, ...]
    out_of_bag: dict[str, float | None] | None = None
    notes: tuple[str, ...] = ()


# ----------------------------------------------------------------------- labels that contradict predictions


class Suspect(Record, frozen=True, kw_only=True):
    """An example whose label contradicts what was predicted out of sample. ``name``: a file, or ``#row`` of an array;
    ``position``: in its part. ``score``: from 0 to 1, by how much another class leads; 1 is a full contradiction."""

    part: str
    position: int
    name: str
    given: str
    suggested: str
    score: float
    given_probability: float
    suggested_probability: float


class LabelCheck(Record, frozen=True, kw_only=True):
    """``netwright check --labels``: ``judged`` examples by part; ``folds`` trainings (0: the run judged its held-out
    parts). ``noise``: the estimated share of wrong labels with the ends of its 95 % interval. ``joint``: examples given
    one class (row) that are confidently another (column); ``thresholds`` of the classes, None where one was given to
    nothing. ``suspects``: the most suspicious first, which ``file`` lists and ``page`` shows. ``agreement``: the share
    predicted as labelled, as a mean over classes, ``chance`` that of guessing; where ``judges`` is false the networks
    know too little, and nothing is listed."""

    subject: str
    classes: tuple[str, ...]
    judged: dict[str, int]
    folds: int
    noise: tuple[float, float, float]
    thresholds: tuple[float | None, ...]
    joint: tuple[tuple[int, ...], ...]
    suspects: tuple[Suspect, ...]
    file: str
    page: str
    notes: tuple[str, ...] = ()
    agreement: float = 1.0
    chance: float = 0.0
    judges: bool = True


# ----------------------------------------------------------------- networks as they are kept


class Surgery(Record, frozen=True, kw_only=True):
    """One small operation on a named module; ``shapes`` are its parameters' final shapes.

    The list of operations is closed: ``resize`` (other widths), ``replace`` (another module of a known kind),
    ``factorize`` (a layer into a product), ``fold`` (a norm into its layer), ``mask`` (fixed zeros),
    ``parametrize`` (weights computed from others).
    """

    operation: Literal["resize", "replace", "factorize", "fold", "mask", "parametrize"]
    module: str
    shapes: dict[str, tuple[int, ...]] = {}
    arguments: dict[str, Any] = {}


class NetworkFile(Record, frozen=True, kw_only=True):
    """``network.json``: how to build the network again, never pickled code.

    ``zoo``: ``name`` and ``arguments``; ``import``: ``name`` is ``module:Name`` or ``file.py:Name`` and
    ``source_sha256`` the hash of that source; ``instance``: built in Python, ``name`` is its class; ``ensemble``: of
    ``members``, combined as ``arguments`` say.
    """

    version: int = SCHEMA_VERSION
    kind: Literal["zoo", "import", "instance", "ensemble"]
    name: str
    arguments: dict[str, Any] = {}
    source_sha256: str = ""
    input_shape: tuple[int, ...] = ()
    outputs: int = 0
    surgeries: tuple[Surgery, ...] = ()
    members: tuple[NetworkFile, ...] = ()


class StartRecord(Record, frozen=True, kw_only=True):
    """Which weights a training began with: from where, what was matched, what is new and what was not used."""

    source: str
    sha256: str  # of names, shapes and values
    how: str  # matched by name, or by order where no name is known
    tensors: int
    parameters: int  # values, those of buffers included
    new: tuple[str, ...] = ()
    left: tuple[str, ...] = ()


class RunSummary(Record, frozen=True, kw_only=True):
    """One line of ``netwright runs``. Of one that ``compress`` made: ``parent``, the run before, and ``chain``, the
    passes. ``weights_bytes``: of the file of the kept weights."""

    name: str
    directory: str
    state: Literal["running", "finished", "interrupted", "empty", "damaged"]
    source: str = ""
    network: str = ""
    epochs: int = 0
    step: int = 0
    metrics: dict[str, dict[str, float | None]] = {}
    seconds: float = 0.0
    started: str = ""
    bytes: int = 0
    weights_bytes: int = 0
    parent: str = ""
    chain: str = ""


def percent(value: float | None, digits: int = 1) -> str:
    return "–" if value is None or not math.isfinite(value) else f"{100 * value:.{digits}f} %"


def count(value: int) -> str:
    """With thin spaces between thousands: ``48 842``."""
    return f"{value:,}".replace(",", "\u202f")


def plural(value: int, one: str, many: str = "") -> str:
    """``1 seed``, ``2 seeds``."""
    return f"{count(value)} {one if value == 1 else many or one + 's'}"


def shape_text(shape: Sequence[int]) -> str:
    """``(3, 32, 32)`` as ``3×32×32``."""
    return "×".join(str(size) for size in shape)
