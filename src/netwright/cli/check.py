"""``netwright check``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Group

from netwright.cli import printing
from netwright.cli.diagnose import missed, show
from netwright.cli.options import FailOn, Json, Set, Trust, option, recipe_of
from netwright.errors import UsageError, nearest
from netwright.records import plural
from netwright.runs import DEFAULT_FOLDER

if TYPE_CHECKING:
    from netwright.checking import Check
    from netwright.inspection.gradients import GradientCheck, GradientRow
    from netwright.observations import DataAudit
    from netwright.recipe import Recipe
    from netwright.records import Severity

GRADIENTS = Group("With --gradients", sort_key=1)
LABELS = Group("With --labels", sort_key=1)
WRONG = 3  # the exit code where a check finds something
SHOWN = 20  # tensors in the table: those with the largest errors


def check(
    subject: Annotated[
        str | None, option("data, or a recipe (.yaml); for --gradients a network by name, file.py:Name, or a run")
    ] = None,
    /,
    *,
    set_: Set = None,
    baseline: Annotated[
        bool, option("also train a linear model, nearest neighbours and boosted trees: what a network has to beat")
    ] = False,
    locality: Annotated[
        bool, option("also permute the positions of the features: where nothing is lost, a convolution has no use")
    ] = False,
    batch_size: Annotated[
        bool, option("recommend one, from the gradient's noise and memory, checked by three short trainings")
    ] = False,
    fail_on: FailOn = None,
    gradients: Annotated[
        bool, option("compare autograd with finite differences in double precision", group=GRADIENTS)
    ] = False,
    input_: Annotated[
        list[str] | None,
        option(
            "shape of one input without the batch: 3x224x224, ids=16:int64; once for each input. A network by "
            "name and a run know theirs",
            name="--input",
            metavar="SHAPE",
            group=GRADIENTS,
        ),
    ] = None,
    entries: Annotated[
        int | None, option("so many entries of each tensor, drawn at random; 20", metavar="N", group=GRADIENTS)
    ] = None,
    evaluation: Annotated[
        bool, option("in evaluation mode instead of training", name="--eval", group=GRADIENTS)
    ] = False,
    seed: Annotated[
        int | None, option("of the inputs and of the entries that are drawn; 0", metavar="N", group=GRADIENTS)
    ] = None,
    labels: Annotated[
        bool, option("list labels that contradict what is predicted out of sample, as a page too", group=LABELS)
    ] = False,
    folds: Annotated[
        int | None, option("train so many networks, each on the others' parts; 5", metavar="N", group=LABELS)
    ] = None,
    quick: Annotated[bool, option("train nothing: a run judges the examples that it held out", group=LABELS)] = False,
    csv: Annotated[bool, option("print the list as CSV, as data.leave_out reads it", group=LABELS)] = False,
    trust: Trust = False,
    json: Json = False,
    out: Annotated[Path | None, option(f"the folder of runs; {DEFAULT_FOLDER} if left out", metavar="FOLDER")] = None,
) -> int:
    """Check data and a recipe before anything is trained.

    The data is audited (bad values, scale, classes, copies between its parts, whether labels have to do with inputs),
    and one batch goes through the untrained network: shapes, loss against what it should be, output against loss.

    With --batch-size a size is recommended: from the gradient noise scale and the memory, checked by short trainings of
    half, the same and double the size with adapted rates.

    With --gradients a network's derivatives are checked instead: every parameter and input is moved up and down, a
    sample of entries each, and the change compared with what autograd says. Points without a derivative, as of a ReLU
    at zero, are told apart from errors. Exits with 3 if a gradient is wrong.

    With --labels, of data, a recipe or a run, networks that did not learn an example judge its label (confident
    learning): which labels are suspicious, what they may be, how many are wrong. Nothing is changed; to train without
    them, set data.leave_out to the list. Ctrl-C keeps what was judged, and the same command goes on.
    """  # fmt: skip
    of_labels = {"--folds": folds is not None, "--quick": quick, "--csv": csv}
    if labels:
        others = {
            "--gradients": gradients, "--batch-size": batch_size, "--baseline": baseline, "--locality": locality,
            "--fail-on": fail_on, "--input": input_, "--entries": entries is not None, "--eval": evaluation,
            "--seed": seed is not None,
        }  # fmt: skip
        _refuse("with --labels", others, f"netwright check {subject or 'SUBJECT'} --labels")
        from netwright.cli.labels import check_labels

        return check_labels(subject, set_, folds, quick, csv, Path(out or DEFAULT_FOLDER), trust, json)
    _refuse("without --labels", of_labels, f"netwright check {subject or 'SUBJECT'} --labels")
    of_gradients = {
        "--input": input_, "--entries": entries is not None, "--eval": evaluation, "--seed": seed is not None,
        "--out": out is not None,
    }  # fmt: skip
    if not gradients:
        _refuse("without --gradients", of_gradients, f"netwright check {subject or 'SUBJECT'} --gradients")
        if batch_size:
            others = {"--baseline": baseline, "--locality": locality, "--fail-on": fail_on}
            _refuse("with --batch-size", others, f"netwright check {subject or 'SUBJECT'} --batch-size")
            return _recommend(subject, set_, trust, json)
        return _check_data(subject, set_, baseline, locality, fail_on, trust, json)
    of_data = {
        "--batch-size": batch_size, "--set": set_, "--baseline": baseline, "--locality": locality, "--fail-on": fail_on,
    }  # fmt: skip
    _refuse("with --gradients", of_data, f"netwright check {subject or 'SUBJECT'} without --gradients")
    if subject is None:
        raise UsageError(
            "netwright check --gradients", "no network", "a network by name, file.py:Name, or a run",
            "netwright check lenet5 --gradients",
        )  # fmt: skip
    if entries is not None and entries < 1:
        raise UsageError("netwright check --entries", str(entries), "a number of at least 1", "--entries 20")
    from netwright import inspecting
    from netwright.inspection.gradients import ENTRIES, check_gradients

    folder = Path(DEFAULT_FOLDER) if out is None else out
    known = inspecting.find(subject, inspecting.parse_inputs(input_ or []), folder=folder, trust=trust, weights=True)
    if known.network is None:
        raise UsageError("netwright check --gradients", "an .onnx file", "a network by name, file.py:Name, or a run")
    found = check_gradients(
        known.network, known.example, entries=ENTRIES if entries is None else entries, seed=seed or 0,
        training=not evaluation, **({} if entries is None else {"most": 10**9}),
    )  # fmt: skip
    if json:
        printing.document(found.to_dict() | {"network": subject, "error": found.error, "ok": not found.wrong})
    else:
        _show(found)
    return WRONG if found.wrong else 0


def _refuse(when: str, others: dict[str, Any], instead: str) -> None:
    given = [name for name, value in others.items() if value]
    if given:
        raise UsageError(f"netwright check {when}", ", ".join(given), "options of the other check", instead)


# ------------------------------------------------------------------------------------------------ data and recipes


def _check_data(
    subject: str | None, assignments: list[str] | None, baseline: bool, locality: bool, fail_on: Severity | None,
    trust: bool, json: bool,
) -> int:  # fmt: skip
    recipe = _recipe(subject, assignments)
    from netwright import checking

    found = checking.check(recipe, baseline=baseline, local=locality, trust=trust)
    if json:
        printing.document(found.to_dict())
    else:
        _show_data(found)
    return missed(found.diagnosis, fail_on)


def _recipe(subject: str | None, assignments: list[str] | None) -> Recipe:
    if subject is None:
        raise UsageError(
            "netwright check", "nothing to check", "data, a recipe, or a network with --gradients",
            "netwright check digits",
        )  # fmt: skip
    recipe = recipe_of(subject, assignments, None)
    from netwright.data.opening import BUILT_IN

    if subject not in BUILT_IN and not Path(subject).exists():
        near = nearest(subject, BUILT_IN) or nearest(subject, [path.name for path in Path().iterdir()])
        raise UsageError(
            "netwright check", f"{subject!r}, which does not exist", "data, a recipe, or a network with --gradients",
            near or f"netwright check {subject} --gradients",
        )  # fmt: skip
    return recipe


def _recommend(subject: str | None, assignments: list[str] | None, trust: bool, json: bool) -> int:
    recipe = _recipe(subject, assignments)
    from netwright import sizing

    found = sizing.recommend(recipe, trust=trust, said=printing.note)
    if json:
        printing.document(found.to_dict())
        return 0
    from netwright.reporting import formatting

    columns = ("batch size", "learning rate", "loss", "accuracy", "a run", "memory of a step")
    table = printing.table(*columns, right=columns)
    for one in found.trials:
        table.add_row(*map(printing.cell, (
            str(one.batch_size), f"{one.lr:.3g}", "did not end" if one.loss is None else f"{one.loss:.4g}",
            formatting.metric("accuracy", one.accuracy), formatting.duration(one.seconds),
            formatting.size(one.memory_bytes),
        )))  # fmt: skip
    printing.show(table)
    for line in found.reason:
        printing.line(line)
    printing.line(f"recommended: --set train.batch_size={found.batch_size} --set train.lr={found.lr:.3g}")
    return 0


def _show_data(found: Check) -> None:
    table = printing.table("", "training", "validation", right=("training", "validation"))
    for name, *values in _rows(found):
        table.add_row(*map(printing.cell, (name, *values)))
    printing.show(table)
    for text in found.skipped:
        printing.note(f"left out: {text}")
    flight, loss = found.preflight, found.loss
    if flight is not None and loss is not None:
        expected = "" if flight.expected_loss is None else f"; one that knows nothing has {flight.expected_loss:.4g}"
        value = "–" if flight.loss is None else f"{flight.loss:.4g}"
        shapes = " → ".join("×".join(map(str, shape)) for shape in (flight.output_shape, flight.target_shape))
        printing.line(f"{found.network}: loss {value} before the first step{expected} (outputs → targets {shapes})")
    _show_learners(found.audit)
    printing.line()
    show(found.diagnosis)


def _rows(found: Check) -> Iterator[tuple[str, str, str]]:
    audit = found.audit
    parts = (audit.inputs, audit.validation_inputs), (audit.targets, audit.validation_targets)

    def row(name: str, pair: tuple[Any, Any], text: Callable[[Any], str]) -> tuple[str, str, str]:
        first, second = ("" if part is None else text(part) for part in pair)
        return name, first, second

    yield row("examples", parts[1] if parts[0][0] is None else parts[0], lambda part: f"{part.examples:,}")
    yield row("one input", parts[0], lambda part: f"{'×'.join(map(str, part.shape)) or 'a number'} {part.dtype}")
    yield row("inputs: mean ± deviation", parts[0], _spread)
    yield row("inputs: smallest … largest", parts[0], lambda part: _span(part.minimum, part.maximum))
    yield row("inputs: not finite", parts[0], lambda part: plural(part.non_finite, "row"))
    if audit.class_counts:
        yield "classes", _counts(audit.class_counts), _counts(audit.validation_class_counts)
    elif audit.targets is not None:
        yield row("targets: mean ± deviation", parts[1], _spread)
    shared = f"{plural(audit.leaked, 'row')} of training" if audit.validation_hashed else ""
    yield "copies", plural(audit.duplicates, "row") + (f" of {audit.hashed:,}" if audit.duplicates else ""), shared
    if audit.relation is not None:
        text = f"{audit.relation.score:.3f} ({audit.relation.learner}); permuted {audit.relation.chance:.3f}"
        yield "labels from inputs", text, ""


def _spread(part: Any) -> str:
    return "–" if part.mean is None else f"{part.mean:.4g} ± {part.deviation:.4g}"


def _span(low: float | None, high: float | None) -> str:
    return "–" if low is None or high is None else f"{low:.4g} … {high:.4g}"


def _counts(counts: tuple[int, ...]) -> str:
    present = [count for count in counts if count]
    return f"{len(present)}, of {min(present):,} to {max(present):,} examples" if present else ""


def _show_learners(audit: DataAudit) -> None:
    if audit.baselines:
        measure = audit.baselines[0].measure
        table = printing.table("without a network", measure, "trained on", right=(measure, "trained on"))
        for one in audit.baselines:
            table.add_row(*map(printing.cell, (one.learner, f"{one.score:.3f}", f"{one.trained:,}")))
        printing.show(table)
    if audit.locality is not None:
        found = audit.locality
        printing.line(
            f"Neighbours: {found.learner} reach {found.score:.3f}, with permuted positions {found.permuted:.3f} "
            f"(drop {found.drop:+.3f} ± {found.noise:.3f})"
        )


# ------------------------------------------------------------------------------------------------ gradients


def _show(found: GradientCheck) -> None:
    ranked = sorted(found.rows, key=lambda row: -row.error)
    shown = [row for row in ranked if row.wrong] + [row for row in ranked if not row.wrong][:SHOWN]
    columns = ("tensor", "shape", "entries", "largest error", "where", "autograd", "differences", "")
    table = printing.table(*columns, right=("entries", "largest error", "autograd", "differences"))
    for row in shown:
        table.add_row(
            *map(printing.cell, (
                row.name, "×".join(map(str, row.shape)) or "a number", str(row.checked), f"{row.error:.1e}",
                str(list(row.where)) if row.where else "all together", f"{row.autograd:.6g}", f"{row.numeric:.6g}",
            )),
            printing.cell(*_judgement(row)),
        )  # fmt: skip
    printing.show(table)
    if len(found.rows) > len(shown):
        printing.line(f"… and {len(found.rows) - len(shown)} more, all with smaller errors")
    entries = sum(row.checked for row in found.rows)
    printing.line()
    if found.wrong:
        names = ", ".join(row.name for row in found.wrong[:5]) + (", …" if len(found.wrong) > 5 else "")
        printing.line(f"Wrong: the gradient of {names} (relative error above {found.tolerance:g})")
    else:
        printing.line(
            f"Right: {plural(len(found.rows), 'tensor')}, {entries:,} entries; largest relative error beyond rounding "
            f"{found.error:.1e} (limit {found.tolerance:g})"
        )
    for text in found.skipped:
        printing.note(f"not checked: {text}")


def _judgement(row: GradientRow) -> tuple[str, str]:
    if row.wrong:
        return "wrong", "red"
    parts = [f"{count} {word}" for count, word in ((row.kinks, "at a kink"), (row.unclear, "unclear")) if count]
    return ", ".join(parts), "yellow" if row.unclear else ""
