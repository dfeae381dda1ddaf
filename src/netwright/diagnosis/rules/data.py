"""What the audit of the data shows, and whether it hurts: the split, bad values, classes, order, copies. No torch.

A fact that does no measurable harm is a note.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from netwright.diagnosis.experimenting import answer, change, experiment, proof
from netwright.diagnosis.fitting import facts, misfits
from netwright.diagnosis.registry import rule
from netwright.diagnosis.standing import FINE, LEAST_GAIN, worth_a_finding
from netwright.observations import Experiment, Observations, Outcome
from netwright.observations.data import DataAudit
from netwright.records import Evidence, Finding, Remedy, plural

# Split: a random split's parts agree in rms and mean within some 1/√n; beyond these they were not prepared alike.
ALIKE_SCALE, ALIKE_MEAN = 2.0, 1.0
LEAST_COMPARED = 20  # validation examples
LEAST_SPREAD = 0.1  # validation deviation / training deviation of targets: an error of a tenth makes an R² of 0 there
MOST_APART = 0.9  # Kolmogorov–Smirnov distance of a single feature that has hardly a value in common

# Classes: an imbalance ratio above 9 is called high in the literature (Fernández et al. 2018, 5.2). It is said aloud
# where validation asks for the rare classes five times as often as training shows them, or where they are not learned.
IMBALANCE, OTHER_PRIOR, SURE_PRIOR = 9.0, 5.0, 4.0
WEIGHED = 4.0  # largest class ÷ smallest, examples times weights: as balanced as usual data are

# Values whose mean is so many deviations from 0: from the first on, always saying it is right to a tenth of a percent;
# from the second on, float32 keeps less than three digits of how they differ.
NEARLY_CONSTANT, TOO_FINE = 1e3, 1e5

SORTED = -8.0  # standard deviations of the runs test: a chance of 10⁻¹⁵
RUN = 4.0  # equal labels follow each other so many times longer than by chance
CORRELATED = 0.9  # rank correlation of neighbouring target values
MANY_COPIES, LEAK = 0.5, 0.01
FEW = 30  # examples: an accuracy of 0.9 on so many has a standard error of 0.055
CONFLICTS = 0.05  # share of rows whose inputs occur with another label too
AT_CHANCE = 2.5  # standard deviations within which the best of three learners is no better than permuted labels
# In 71 programs whose labels are equally true, the votes were at most 0.05 and 3.1 standard errors apart.
LESS_TRUE, SURE_LESS = 0.1, 4.0
POWER = 200  # tested examples: an accuracy 8 points above ½ would be at 2.5 deviations


# ------------------------------------------------------------------------------------------------ the split


@rule("split-mismatch")
def split(observations: Observations) -> Iterator[Finding | Experiment]:
    """Validation prepared otherwise than training."""
    audit = observations.data
    if audit is None:
        return
    for what, shift in (("inputs", audit.shift), ("targets", audit.target_shift)):
        if shift is None or shift.examples < LEAST_COMPARED:
            continue
        scaled = not 1 / ALIKE_SCALE <= shift.scale <= ALIKE_SCALE and shift.scale > 0
        one = shift.worst >= MOST_APART
        narrow = shift.spread is not None and shift.spread < LEAST_SPREAD
        if not scaled and shift.moved <= ALIKE_MEAN and not one and not narrow:
            continue
        seen = [Evidence(what="rms of validation / training", value=shift.scale, expected="1")]
        if shift.moved > ALIKE_MEAN:
            seen.append(Evidence(what="difference of means", value=shift.moved, unit="deviations", expected="0"))
        if narrow:
            seen.append(Evidence(what="deviation of validation / training", value=shift.spread, expected="1"))
        if one:
            number = shift.worst_feature
            seen.append(Evidence(what=f"distance of the distributions of feature {number}", value=shift.worst))
        yield Finding(
            code="split-mismatch", severity="warning", where=f"validation {what}", evidence=tuple(seen),
            expected="training and validation of one distribution",
            cause=f"validation {what} hardly differ from each other: R², which divides by their variance, says nothing"
            if narrow
            else f"validation {what} are not prepared as training ones are: what is learned does not hold there",
            remedies=(
                Remedy(code="split-mismatch", text="a validation part drawn at random from the same examples")
                if narrow
                else Remedy(code="split-mismatch", text="the training part's statistics for every part"),
            ),
            confidence=0.95 if scaled or narrow or shift.moved > ALIKE_MEAN else 0.8,
        )  # fmt: skip


# ------------------------------------------------------------------------------------------------ values and labels


@rule("bad-values")
def bad_values(observations: Observations) -> Iterator[Finding | Experiment]:
    """NaN and infinities."""
    audit = observations.data
    if audit is None:
        return
    parts = (
        ("training inputs", audit.inputs), ("training targets", audit.targets),
        ("validation inputs", audit.validation_inputs), ("validation targets", audit.validation_targets),
    )  # fmt: skip
    for name, part in parts:
        if part is None or not part.non_finite:
            continue
        rows = ", ".join(map(str, part.non_finite_rows)) + (
            ", …" if part.non_finite > len(part.non_finite_rows) else ""
        )
        yield Finding(
            code="bad-values", severity="error", where=f"{name}, rows {rows}",
            evidence=(Evidence(what="rows with NaN or infinity", value=part.non_finite, expected="0"),),
            expected="finite numbers",
            cause="one value that is not finite makes a batch's whole gradient so, and then every weight",
            remedies=(Remedy(code="bad-values", text="leave these rows out, or fill the values in"),),
        )  # fmt: skip


@rule("constant-labels")
def constant_labels(observations: Observations) -> Iterator[Finding | Experiment]:
    """Every training label is the same."""
    audit = observations.data
    if audit is None or audit.targets is None or audit.targets.examples < 2:
        return
    targets = audit.targets
    one_class = len([count for count in audit.class_counts if count]) == 1 and audit.task == "classification"
    constant = targets.minimum is not None and targets.minimum == targets.maximum and targets.non_finite == 0
    if not one_class and not constant:
        if audit.task == "regression" and (audit.target_offset or 0.0) > NEARLY_CONSTANT:
            yield _nearly_constant(audit.target_offset or 0.0)
        return
    other = sum(count > 0 for count in audit.validation_class_counts)
    seen = [Evidence(what="classes in training", value=1, expected=str(other) if other > 1 else "2 or more")]
    if targets.mean is not None:
        seen.append(Evidence(what="the only value", value=targets.mean if constant else None))
    yield Finding(
        code="constant-labels", severity="error", where="training targets", evidence=tuple(seen),
        expected="labels that differ", cause="there is nothing to tell apart: any network answers with the one label",
        remedies=(Remedy(code="constant-labels", text="look where the labels are made: were they scaled or cut off?"),),
    )  # fmt: skip


def _nearly_constant(offset: float) -> Finding:
    fine = offset > TOO_FINE
    lost = "float32 keeps less than three digits of how they differ" if fine else "errors look small beside them"
    return Finding(
        code="constant-labels", severity="warning" if fine else "note", where="training targets",
        evidence=(Evidence(what="deviation / mean", value=1 / offset, expected=f"{1 / NEARLY_CONSTANT:g} or more"),),
        expected="targets that differ by more than a thousandth of their size",
        cause=f"the targets are nearly constant: {lost}, and R² is of what is left of them",
        remedies=(Remedy(code="constant-labels", text="subtract what is common to all, and predict the difference"),),
        confidence=0.95 if fine else 0.8,
    )  # fmt: skip


@rule("label-out-of-range")
def label_range(observations: Observations) -> Iterator[Finding | Experiment]:
    """Labels that the loss or the number of units has no place for."""
    known, audit = facts(observations), observations.data
    if known is None or audit is None or audit.targets is None or audit.targets.minimum is None:
        return
    low, high = audit.targets.minimum, audit.targets.maximum or 0.0
    if any(misfit.code == "output-size-mismatch" for misfit in misfits(observations)):
        return
    if known.loss.form in ("softmax", "log-likelihood", "cross-entropy") and known.loss.by_index:
        if 0 <= high < known.units:  # negative ones: PyTorch leaves −100 out, and stops at others
            return
        wanted, told = f"0…{known.units - 1}", plural(known.units, "unit")
    elif known.loss.form in ("sigmoid", "binary-cross-entropy"):
        bottom = known.loss.negative
        if low >= bottom and high <= 1:
            return
        wanted, told = f"{bottom:g}…1", "a loss for probabilities"
    else:
        return
    yield Finding(
        code="label-out-of-range", severity="error", where="training targets",
        evidence=(Evidence(what="smallest label", value=low), Evidence(what="largest label", value=high)),
        expected=f"labels in {wanted}", cause=f"{told} has no place for labels of {low:g}…{high:g}",
        remedies=(Remedy(code="label-out-of-range", text=f"number the labels in {wanted}"),),
    )  # fmt: skip


@rule("class-imbalance")
def imbalance(observations: Observations) -> Iterator[Finding | Experiment]:
    """Classes that hardly occur, where they are asked for later or never learned."""
    audit = observations.data
    if audit is None or audit.task != "classification":
        return
    counts = audit.class_counts
    present = [count for count in counts if count]
    if len(present) < 2:
        return
    total, ratio = sum(counts), max(present) / min(present)
    starved = _starved(counts, audit.validation_class_counts)
    if ratio <= IMBALANCE and not starved:
        return
    majority = max(present) / total
    held_out = [row.metrics.get("score") for row in observations.epochs if row.split == "validation"]
    stuck = bool(held_out) and all(score is not None and abs(score - majority) < 0.01 for score in held_out[-3:])
    rare = min(range(len(counts)), key=lambda number: counts[number] or total)
    seen = [
        Evidence(what="largest class / smallest", value=ratio, expected=f"below {IMBALANCE:g}"),
        Evidence(what=f"examples of class {rare}", value=counts[rare]),
        Evidence(what="share of the largest class", value=majority),
    ]
    weighed = _weighed(observations, counts)
    if weighed:
        cause = "the loss counts rare classes for as much more"
    elif starved:
        cause = f"classes {', '.join(map(str, starved))} are much rarer in training than in validation"
    elif stuck and ratio > IMBALANCE:
        cause = "the network does no better than always naming the largest class"
    else:
        cause = "an accuracy says little of the rare classes"
    loud = not weighed and (starved or (stuck and ratio > IMBALANCE))
    yield Finding(
        code="class-imbalance", severity="warning" if loud else "note",
        where="training targets", evidence=tuple(seen), expected="classes as frequent as they will be asked for",
        cause=cause, confidence=0.9 if starved else 0.6,
        remedies=(
            Remedy(
                code="class-imbalance", text="class weights in the loss",
                change={"objective.class_weights": "balanced"},
            ),
            Remedy(
                code="class-imbalance", text="draw every class as often", change={"train.sampling": "balanced"}
            ),
            Remedy(code="class-imbalance", text="a metric that counts every class alike"),
        ),
    )  # fmt: skip


def _weighed(observations: Observations, counts: tuple[int, ...]) -> bool:
    """Whether the weights of the loss make up for the classes' frequencies."""
    weights = observations.loss.class_weights if observations.loss is not None else ()
    if len(weights) != len(counts):
        return False
    shares = [count * weight for count, weight in zip(counts, weights, strict=True) if count]
    return bool(shares) and max(shares) <= WEIGHED * min(shares)


def _starved(counts: tuple[int, ...], asked: tuple[int, ...]) -> list[int]:
    """Classes that validation shows `OTHER_PRIOR` times as often as training, beyond chance."""
    total, asked_total = sum(counts), sum(asked)
    if not asked_total or not total:
        return []
    found = []
    for number, count in enumerate(asked):
        own = (counts[number] if number < len(counts) else 0) / total
        there = count / asked_total
        noise = math.sqrt(max(own * (1 - own), 1 / total) * (1 / total + 1 / asked_total))
        if there > OTHER_PRIOR * own and there - own > SURE_PRIOR * noise:
            found.append(number)
    return found


# ------------------------------------------------------------------------------------------------ order and copies


@rule("labels-not-shuffled")
def order(observations: Observations) -> Iterator[Finding | Experiment]:
    """Rows sorted by label and fed as they lie: every batch shows one class, and the last one is remembered best."""
    audit, plan = observations.data, observations.plan
    if audit is None or audit.order is None or plan is None or audit.order.z > SORTED:
        return
    lies = audit.order
    together = lies.run > RUN * lies.expected_run if lies.correlation is None else lies.correlation > CORRELATED
    if not together:
        return
    seen = (
        Evidence(what="equal labels in a row", value=lies.run, expected=f"{lies.expected_run:.1f} by chance")
        if lies.correlation is None
        else Evidence(what="rank correlation of neighbouring targets", value=lies.correlation, expected="0")
    )
    remedy = Remedy(code="labels-not-shuffled", text="draw the examples in another order every epoch (shuffle=True)")
    if plan.order == "other" or (plan.batch_size and plan.batch_size >= (plan.examples or 0) > 0):
        return  # fed otherwise, or all at once
    if plan.order != "given":
        yield Finding(
            code="labels-not-shuffled", severity="note", where="training data", evidence=(seen,),
            expected="batches of all classes", confidence=0.9, remedies=(remedy,),
            cause="the rows are sorted by label; whether they are fed so was not seen",
        )  # fmt: skip
        return
    asked = experiment(change("shuffle", False), worth=60.0, question="the rows as they lie instead of drawn")
    outcome = answer(observations, asked)
    if outcome is None:
        yield asked
        return
    hurts = _costs(outcome)
    if not outcome.failed and not hurts:
        return
    yield Finding(
        code="labels-not-shuffled", severity="warning", where="training data", evidence=(seen,),
        expected="batches of all classes",
        cause="the rows are sorted by label and fed as they lie: every batch teaches one class and undoes the others",
        remedies=(remedy,), confidence=0.95 if hurts else 0.7, confirmed_by=proof(outcome),
    )  # fmt: skip


def _costs(outcome: Outcome) -> bool:
    """The change is worse beyond the noise, by as much as a finding is worth."""
    if outcome.skills is None or outcome.gain is None or outcome.noise is None:
        return False
    before, after = outcome.skills
    return outcome.gain < -3 * outcome.noise and worth_a_finding(after, before)


@rule("leak", "duplicates")
def copies(observations: Observations) -> Iterator[Finding | Experiment]:
    """Validation rows that are training rows, and rows that repeat others.

    Where inputs take few values (boards, tokens, bits) equal rows are no leak: a part drawn anew would hold as many.
    """
    audit = observations.data
    if audit is None:
        return
    repeated = audit.duplicates / audit.hashed if audit.hashed else 0.0
    leaked = audit.leaked / audit.validation_hashed if audit.validation_hashed else 0.0
    if leaked > LEAK:
        natural = leaked <= max(LEAK, 2 * repeated)
        yield Finding(
            code="leak", severity="note" if natural else "warning", where="validation inputs",
            evidence=(Evidence(what="share of validation rows that are training rows", value=leaked, expected="0"),),
            expected="no row in two parts",
            cause="equal rows are frequent in training itself" if natural
            else "the score on validation counts what was learned by heart",
            remedies=(Remedy(code="leak", text="leave these rows out of one part"),), confidence=0.9,
        )  # fmt: skip
    if repeated > LEAK:
        yield Finding(
            code="duplicates", severity="note", where="training inputs",
            evidence=(Evidence(what="rows that repeat an earlier one", value=repeated, unit="share"),),
            expected="each example once", cause="fewer different examples than there are rows",
            remedies=(Remedy(code="duplicates", text="keep the first of equal rows"),),
        )  # fmt: skip


@rule("leak")
def told_by_a_column(observations: Observations) -> Iterator[Finding | Experiment]:
    """A column that tells the target alone in training and says next to nothing in validation."""
    found = observations.data.revealing if observations.data is not None else None
    if found is None:
        return
    others = f" and {plural(found.columns - 1, 'other')}" if found.columns > 1 else ""
    yield Finding(
        code="leak", severity="warning", where=f"training inputs, feature {found.feature}{others}",
        evidence=(
            Evidence(what="what this feature tells alone, training (1: all)", value=found.training),
            Evidence(what="the same in validation", value=found.validation, expected="about as much"),
        ),
        expected="features that are known before the answer is, and say the same of other rows",
        cause="the feature gives the answer away in training: it was filled after the event, or from the target; "
        "nothing else has to be learned, and elsewhere it says nothing",
        remedies=(Remedy(code="leak", text="leave the feature out, or fill it with what was known beforehand"),),
        confidence=0.95,
    )  # fmt: skip


@rule("too-little-data")
def amount(observations: Observations) -> Iterator[Finding | Experiment]:
    """So few examples that nothing can be said of others."""
    audit = observations.data
    if audit is None or audit.inputs is None or audit.inputs.examples >= FEW:
        return
    yield Finding(
        code="too-little-data", severity="note", where="training data",
        evidence=(Evidence(what="training examples", value=audit.inputs.examples, expected=f"{FEW} or more"),),
        expected="enough examples to learn from and to test on",
        cause="a network can learn so few by heart, and no score tells whether it did",
        remedies=(Remedy(code="too-little-data", text="more examples, augmentation, or a simpler model"),),
    )  # fmt: skip


# ------------------------------------------------------------------------------------------------ what labels mean


@rule("label-noise")
def noise(observations: Observations) -> Iterator[Finding | Experiment]:
    """Labels that have nothing to do with the inputs, or that contradict each other."""
    audit = observations.data
    if audit is None:
        return
    remedy = Remedy(
        code="label-noise",
        text="look at some examples and their labels (netwright check RUN --labels): were the rows mixed up?",
    )
    conflicts = audit.conflicting / audit.hashed if audit.hashed else 0.0
    if conflicts > CONFLICTS and audit.task == "classification":
        yield Finding(
            code="label-noise", severity="note", where="training targets",
            evidence=(Evidence(what="rows whose inputs occur with another label", value=conflicts, unit="share"),),
            expected="one label for equal inputs", cause="no network can be right on all of them", remedies=(remedy,),
        )  # fmt: skip
    found = audit.relation
    if found is not None and found.moved:
        yield Finding(
            code="label-noise", severity="warning", where="training targets",
            evidence=(
                Evidence(what="score of a simple learner", value=found.score, expected=f"above {found.chance:.3f}"),
                Evidence(what=f"the same with the targets moved by {found.moved} rows", value=found.moved_score),
            ),
            expected="targets that belong to their row",
            cause=f"the targets lie {plural(abs(found.moved), 'row')} {'before' if found.moved > 0 else 'behind'} "
            "their inputs: a line is missing in one of two files, or a header was read as one",
            remedies=(Remedy(code="label-noise", text="read inputs and targets by the same rows"),), confidence=0.95,
        )  # fmt: skip
        return
    if found is None or found.tested < POWER or found.z > AT_CHANCE or _learns(observations, audit):
        return
    yield Finding(
        code="label-noise", severity="warning", where="training targets",
        evidence=(
            Evidence(what=f"score of the best simple learner ({found.learner})", value=found.score,
                     expected=f"above {found.chance:.3f}, that of permuted labels"),
            Evidence(what="standard deviations above permuted labels", value=found.z, expected="5 or more"),
        ),
        expected="labels that the inputs say something about",
        cause=f"{', '.join(found.learners)}: none does better on other rows than with permuted labels",
        remedies=(remedy,), confidence=0.9,
    )  # fmt: skip


@rule("label-noise")
def flipped(observations: Observations) -> Iterator[Finding | Experiment]:
    """A vote of training rows agrees with validation labels clearly more often than with training labels."""
    found = observations.data.agreement if observations.data is not None else None
    if found is None:
        return
    excess = found.validation - found.training
    if excess < LESS_TRUE or excess < SURE_LESS * found.noise:
        return
    yield Finding(
        code="label-noise", severity="warning", where="training targets",
        evidence=(
            Evidence(what="training labels that the nearest training rows name", value=found.training, unit="share",
                     expected=f"{found.validation:.3f}, as of validation"),
            Evidence(what="validation labels that they name", value=found.validation, unit="share"),
        ),
        expected="training labels as true as validation labels",
        cause="training rows contradict each other's labels and agree on those of validation: many training labels are "
        "wrong",
        remedies=(
            Remedy(code="label-noise", text="look at the rows whose neighbours say otherwise (netwright check RUN "
                   "--labels), and label them anew or leave them out"),
            Remedy(code="label-noise", text="stop early; fewer units or more weight decay, as noise is learned last"),
        ),
        confidence=0.85,
    )  # fmt: skip


def _learns(observations: Observations, audit: DataAudit) -> bool:
    """Whether the network itself has found a relation that simple learners do not see."""
    held_out = [row.metrics.get("score") for row in observations.epochs if row.split == "validation"]
    scores = [score for score in held_out if score is not None]
    if not scores or audit.task not in ("classification", "regression"):
        return False
    counts = audit.validation_class_counts or audit.class_counts
    chance = max(counts) / sum(counts) if counts and sum(counts) else 0.0
    return max(scores) > chance + LEAST_GAIN * (1 - chance)


@rule("no-local-structure")
def locality(observations: Observations) -> Iterator[Finding | Experiment]:
    """Features whose order means nothing: a learner of neighbourhoods does as well on permuted ones."""
    audit = observations.data
    if audit is None or audit.locality is None:
        return
    found = audit.locality
    if found.best or found.drop > 3 * found.noise or not 0 < found.permuted < FINE:
        return  # where both are near perfect, nothing can drop
    layers = observations.network.layers if observations.network is not None else ()
    convolves = any(max(layer.parameters.get("weight", (0,))[2:], default=1) > 1 for layer in layers)
    yield Finding(
        code="no-local-structure", severity="warning" if convolves else "note", where="inputs",
        evidence=(
            Evidence(what=f"{found.measure} of {found.learner}", value=found.score),
            Evidence(what="with positions permuted", value=found.permuted, expected="clearly less"),
        ),
        expected="neighbouring features that belong together, where convolutions are used",
        cause="neighbouring features have no more to do with each other than distant ones",
        remedies=(Remedy(code="no-local-structure", text="dense layers, or trees on tables, instead of convolutions"),),
        confidence=0.8,
    )  # fmt: skip
