"""``netwright list``."""

from __future__ import annotations

from typing import Annotated, Literal

from netwright.cli import printing
from netwright.cli.options import Json, option
from netwright.craft import catalogue
from netwright.recipe import keys
from netwright.recipe.reading import takes
from netwright.recipe.writing import meanings

What = Literal[
    "networks", "layers", "activations", "norms", "initializers", "objectives", "optimizers", "schedules",
    "regularizers",
    "sources", "losses", "findings", "keys",
]  # fmt: skip

WHAT: dict[What, str] = {
    "networks": "by name, from LeNet-5 to transformers; and how to name one of yours",
    "layers": "words of the network stack, which builds one from a list",
    "activations": "for any network: network.activation",
    "norms": "for any network: network.norm",
    "initializers": "how first weights are drawn: network.init",
    "objectives": "losses with their formulas: objective.loss",
    "optimizers": "train.optimizer",
    "schedules": "of the learning rate: train.schedule",
    "regularizers": "what keeps weights small or few",
    "sources": "formats of data: data.format",
    "losses": "the same as objectives",
    "findings": "what the doctor may find",
    "keys": "of the recipe, with defaults and what they take",
}

SOURCES = {
    "digits": "1,797 handwritten digits of 8×8 pixels, built in",
    "idx": "a folder with idx files, as MNIST has them, also .gz",
    "cifar": "CIFAR-10 or CIFAR-100, Python or binary batches",
    "folder": "pictures in a folder a class, also below train/, val/ and test/, also in a .zip or .tar",
    "array": "a .npz with x and y, or .npy files side by side",
    "table": "a .csv, .tsv or .parquet table with a target column",
    "sound": "WAV files in a folder a class",
    "text": "a plain text, for a language model; or .txt files in a folder a class, also in an archive",
    "series": "a table with data.horizon above 0, one time step a row",
    "python": "arrays, a Dataset or a DataLoader, handed to netwright.fit",
}


def listing(
    what: Annotated[What | None, option("what to list; left out: what can be listed", metavar="WHAT")] = None,
    /,
    *,
    json: Json = False,
) -> int:
    """List networks, sources, findings, recipe keys, or the parts of the craft: layers, activations, norms, …

    `netwright explain NAME` says what a part is: its formula, its range, when to use it, the source.
    """
    if what == "keys":
        return _keys(json)
    rows: dict[str, str] = {str(name): text for name, text in WHAT.items()} if what is None else _rows(what)
    if json:
        printing.document({what or "what": [{"name": name, "meaning": meaning} for name, meaning in rows.items()]})
        return 0

    table = printing.table("name", "")
    for name, meaning in rows.items():
        table.add_row(printing.cell(name, "bold"), printing.cell(meaning))
    printing.show(table)
    return 0


def _rows(what: What) -> dict[str, str]:
    if what == "sources":
        return SOURCES
    if what == "networks":
        return _networks()
    if what == "findings":
        return _findings()
    return {name: part.title for name, part in catalogue.parts("objectives" if what == "losses" else what).items()}


def _networks() -> dict[str, str]:
    rows = {name: f"{part.title}: {part.source}" for name, part in catalogue.parts("networks").items()}
    return rows | {"file.py:Name": "a torch.nn.Module of yours in a file", "package.module:Name": "one in a package"}


def _findings() -> dict[str, str]:
    from netwright.diagnosis.catalogue import entries

    return {code: f"{entry.title} ({entry.kind}, {entry.family})" for code, entry in entries().items()}


def _keys(json: bool) -> int:
    rows = [
        {"key": key, "default": default, "takes": takes(key), "meaning": meanings()[key]}
        for key, default in keys().items()
    ]
    if json:
        printing.document({"keys": rows})
        return 0
    from netwright.reporting import formatting

    table = printing.table("key", "default", "takes", "meaning")
    for row in rows:
        table.add_row(
            printing.cell(row["key"], "bold"), printing.cell(formatting.value_text(row["default"])),
            printing.cell(row["takes"]), printing.cell(row["meaning"]),
        )  # fmt: skip
    printing.show(table)
    return 0
