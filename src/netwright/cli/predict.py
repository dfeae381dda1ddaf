"""``netwright predict``."""

from __future__ import annotations

import contextlib
import csv
import shlex
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from netwright.cli import main, printing
from netwright.cli.options import OUTPUT, Json, Out, Trust, option
from netwright.errors import DataError, UsageError
from netwright.records import plural
from netwright.runs import DEFAULT_FOLDER

if TYPE_CHECKING:
    from netwright.predicting import Prediction, Predictor

STANDARD_INPUT = Path(main.STANDARD_INPUT)
SHOWN = 5  # classes of a multi-label prediction in the table


def predict(
    run: Annotated[str, option("a run: its directory, its name, or last")],
    /,
    *files: Annotated[
        Path, option("pictures, WAV files, tables, texts, .npy arrays or folders of them; - reads standard input")
    ],
    top: Annotated[int | None, option("so many of the most probable classes", metavar="K", group=OUTPUT)] = None,
    csv: Annotated[bool, option("print CSV: file,label,probability", name="--csv", group=OUTPUT)] = False,
    json: Json = False,
    passes: Annotated[
        int | None, option("predict so often with dropout on; the mean, and how far it spreads", metavar="N")
    ] = None,
    sample: Annotated[int | None, option("go on with a text: so many characters or words", metavar="N")] = None,
    prompt: Annotated[str | None, option("what --sample goes on from", metavar="TEXT")] = None,
    temperature: Annotated[
        float | None, option("of --sample: 0 takes the most likely, 1 as learned, above dares more", metavar="T")
    ] = None,
    seed: Annotated[int | None, option("of --sample: the same text again", metavar="N")] = None,
    skip_broken: Annotated[bool, option("leave unreadable files out, name them on stderr, and exit with 0")] = False,
    trust: Trust = False,
    out: Out = Path(DEFAULT_FOLDER),
) -> int:
    """Apply a run to pictures, tables, sounds, texts or arrays; let a language model write.

    The examples are prepared as in training. A file that cannot be read stops everything with its name, unless
    --skip-broken is given; if nothing is left then, that is an error too. JSON has the probabilities of all classes,
    or of the --top ones.
    """
    asked = {"--prompt": prompt, "--temperature": temperature, "--seed": seed}
    if sample is not None:
        return _sample(run, sample, prompt, temperature, seed, top, files, csv, skip_broken, passes, json, trust, out)
    if given := [name for name, value in asked.items() if value is not None]:
        raise UsageError(given[0], "without --sample", "--sample N, which lets a language model write", "--sample 500")
    if not files:
        raise UsageError(
            "netwright predict",
            "no file",
            "pictures, tables, sounds, arrays, folders, or -",
            "netwright predict --help",
        )
    if Path(run).is_file():
        better = f"netwright predict last {shlex.quote(run)}"
        raise UsageError(run, "a file where the run belongs", "the run, then the files", better)
    if csv and json:
        raise UsageError("--csv", "together with --json", "one of them")
    if STANDARD_INPUT in files and len(files) > 1:
        raise UsageError("-", f"standard input and {plural(len(files) - 1, 'file')}", "one or the other")
    from netwright import workbench
    from netwright.predicting import Predictor

    loaded = workbench.load(run, folder=out, trust=trust)
    predictor = Predictor(loaded, top=top, skip_broken=skip_broken, passes=passes or 0)
    with _hints_for_a_run():
        found = _counted(
            predictor.standard_input(sys.stdin.buffer) if files == (STANDARD_INPUT,) else predictor(list(files))
        )
        if json:
            told = list(found)
            about = {"skipped": predictor.skipped, "notes": predictor.notes}
            printing.document({"run": str(predictor.directory), "predictions": told, **about})
        elif csv:
            _as_csv(found, top or 1)
        else:
            _as_table(list(found), top or 1)
    for note in predictor.notes:
        printing.note(f"note: {note}")
    for reason in predictor.skipped:
        printing.note(f"left out: {reason}")
    return _judge(found, predictor)


def _sample(
    subject: str, count: int, prompt: str | None, temperature: float | None, seed: int | None, top: int | None,
    files: tuple[Path, ...], csv: bool, skip_broken: bool, passes: int | None, json: bool, trust: bool, out: Path,
) -> int:  # fmt: skip
    """Print what a language model writes, as it is written."""
    others = {"files": files, "--csv": csv, "--skip-broken": skip_broken, "--passes": passes}
    if given := [name for name, value in others.items() if value]:
        raise UsageError("--sample", f"together with {given[0]}", "one or the other", "leave one out")
    from netwright import generating, workbench
    from netwright.data.words import decode

    run = workbench.load(subject, folder=out, trust=trust)
    text = generating.text_of(run)
    degree, number = 1.0 if temperature is None else temperature, seed or 0
    ids = generating.stream(run, count, temperature=degree, prompt=prompt or "", seed=number, top=top)
    if json:
        printing.document({
            "run": str(run.directory), "prompt": prompt or "", "temperature": degree, "seed": number,
            "text": decode(ids, text),
        })  # fmt: skip
    elif text.unit == "character":
        printing.line(prompt or "", end="")
        for each in ids:
            printing.line(text.vocabulary[each], end="")
        printing.line("")
    else:
        printing.line(" ".join(part for part in (prompt or "", decode(ids, text)) if part))
    return 0


@contextlib.contextmanager
def _hints_for_a_run() -> Iterator[None]:
    """A run reads as it was trained: keys of the recipe are for another training."""
    try:
        yield
    except DataError as error:
        if not error.suggestion.startswith("--set "):
            raise
        hint = f"mend the file, or train with {error.suggestion}"
        raise DataError(error.where, error.got, error.expected, hint) from error


class _counted(Iterator["Prediction"]):
    """An iterator that knows how many it has given."""

    def __init__(self, items: Iterable[Prediction]) -> None:
        self._items, self.count = iter(items), 0

    def __next__(self) -> Prediction:
        item = next(self._items)
        self.count += 1
        return item


def _judge(found: _counted, predictor: Predictor) -> int:
    if found.count == 0:
        printing.note(f"none of {len(predictor.skipped)} could be read")
        return 1
    return 0


def _as_csv(predictions: Iterable[Prediction], top: int) -> None:
    """A row an example, printed as it is known; regression has one column a target, several labels one a label."""
    writer = csv.writer(printing.stdout(), lineterminator="\n")
    first = True
    for prediction in predictions:
        row = _row(prediction, top)
        if first:
            writer.writerow(row)
            first = False
        writer.writerow(row.values())


def _row(prediction: Prediction, top: int) -> dict[str, str]:
    row = {"file": prediction.name}
    spread = {} if prediction.spread is None else {f"{n}_spread": f"{v:.7g}" for n, v in prediction.spread.items()}
    if prediction.values is not None:
        return row | {name: f"{value:.7g}" for name, value in prediction.values.items()} | spread
    probabilities = prediction.probabilities or {}
    if prediction.labels is not None:
        row["labels"] = ";".join(prediction.labels)
        return row | {name: f"{value:.6f}" for name, value in sorted(probabilities.items())} | spread
    ranked: list[tuple[str, float | None]] = [*probabilities.items()]
    ranked = ranked or [(prediction.label or "", prediction.probability)]
    for place, (name, value) in enumerate(ranked[:top], start=1):
        ending = "" if place == 1 else f"_{place}"
        row[f"label{ending}"] = name
        row[f"probability{ending}"] = "" if value is None else f"{value:.6f}"
        if prediction.spread is not None:
            row[f"spread{ending}"] = f"{prediction.spread[name]:.6f}"
    return row


def _wide(prediction: Prediction, name: str, text: str) -> str:
    """A number with its spread behind it, where it was drawn more than once."""
    from netwright.records import percent
    from netwright.reporting import formatting

    if prediction.spread is None or name not in prediction.spread:
        return text
    spread = prediction.spread[name]
    return f"{text} ± {formatting.number(spread, 2) if prediction.values is not None else percent(spread)}"


def _as_table(predictions: list[Prediction], top: int) -> None:
    from netwright.records import percent
    from netwright.reporting import formatting

    if not predictions:
        return
    first = predictions[0]
    if first.values is not None:
        table = printing.table("file", *first.values, right=list(first.values))
        for each in predictions:
            table.add_row(
                printing.cell(each.name),
                *(_wide(each, name, formatting.number(value)) for name, value in (each.values or {}).items()),
            )
    elif first.labels is not None:
        table = printing.table("file", "labels", "probabilities")
        for each in predictions:
            ranked = list((each.probabilities or {}).items())[: max(top, SHOWN)]
            sure = ", ".join(f"{name} {_wide(each, name, percent(value))}" for name, value in ranked)
            labels = ", ".join(each.labels or ()) or "–"
            table.add_row(*map(printing.cell, (each.name, labels, sure)))
    else:
        more = ["then"] if top > 1 else []
        table = printing.table("file", "label", "probability", *more, right=["probability"])
        for each in predictions:
            others = list((each.probabilities or {}).items())[1:top]
            words = [", ".join(f"{name} {percent(value)}" for name, value in others)] if more else []
            table.add_row(
                printing.cell(each.name), printing.cell(each.label or "", "bold"),
                _wide(each, each.label or "", percent(each.probability)),
                *map(printing.cell, words),
            )  # fmt: skip
    printing.show(table)
