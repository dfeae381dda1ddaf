"""``netwright list``."""

from __future__ import annotations

from typing import Annotated, Literal

from netwright.cli import printing
from netwright.cli.options import Json, option
from netwright.recipe import keys
from netwright.recipe.reading import takes
from netwright.recipe.writing import meanings

What = Literal["networks", "sources", "losses", "optimizers", "schedules", "findings", "keys"]

SOURCES = {
    "digits": "1,797 handwritten digits of 8×8 pixels, built in",
    "idx": "a folder with idx files, as MNIST has them, also .gz",
    "cifar": "CIFAR-10 or CIFAR-100, Python or binary batches",
    "folder": "pictures in a folder a class, also below train/, val/ and test/, also in a .zip or .tar",
    "array": "a .npz with x and y, or .npy files side by side",
    "table": "a .csv, .tsv or .parquet table with a target column",
    "sound": "WAV files in a folder a class",
    "python": "arrays, a Dataset or a DataLoader, handed to netwright.fit",
}
LOSSES = {
    "cross-entropy": "classification: softmax with cross-entropy",
    "binary-cross-entropy": "labels that may hold together, or two classes by one unit",
    "squared": "regression: the mean squared error",
    "absolute": "regression: the mean absolute error, less led by outliers",
    "huber": "regression: squared near the target, absolute far from it (objective.huber_delta)",
    "hinge": "classification by margins",
    "focal": "cross-entropy that leaves easy examples be (objective.focal_gamma)",
    "kl": "soft labels: the Kullback-Leibler divergence from them",
}
OPTIMIZERS = {
    "sgd": "plain gradient descent",
    "momentum": "gradient descent with momentum",
    "nesterov": "momentum that looks ahead",
    "adagrad": "a rate for each weight that only falls",
    "rmsprop": "a rate for each weight by its recent gradients",
    "adam": "RMSProp with momentum",
    "adamw": "Adam with weight decay that is not scaled",
    "adadelta": "RMSProp in the units of the weights",
}
SCHEDULES = {
    "constant": "the same rate to the end",
    "step": "times train.gamma every train.step_epochs epochs",
    "exponential": "times train.gamma every epoch",
    "cosine": "down to zero along a cosine",
    "one-cycle": "up, then down to nearly zero",
    "plateau": "times train.gamma when validation has not become better for train.step_epochs epochs",
}


def listing(
    what: Annotated[What, option("what to list", metavar="WHAT")],
    /,
    *,
    json: Json = False,
) -> int:
    """List networks, sources, losses, optimizers, schedules, findings or recipe keys."""
    if what == "keys":
        return _keys(json)
    rows = _networks() if what == "networks" else _findings() if what == "findings" else _TABLES[what]
    if json:
        printing.document({what: [{"name": name, "meaning": meaning} for name, meaning in rows.items()]})
        return 0

    table = printing.table("name", "")
    for name, meaning in rows.items():
        table.add_row(printing.cell(name, "bold"), printing.cell(meaning))
    printing.show(table)
    return 0


_TABLES: dict[str, dict[str, str]] = {
    "sources": SOURCES, "losses": LOSSES, "optimizers": OPTIMIZERS, "schedules": SCHEDULES,
}  # fmt: skip


def _networks() -> dict[str, str]:
    from netwright.nn.zoo import NETWORKS

    rows = {
        name: (network.__doc__ or "").strip().partition("\n")[0].replace("``", "") for name, network in NETWORKS.items()
    }
    return rows | {"file.py:Name": "a torch.nn.Module of yours in a file", "package.module:Name": "one in a package"}


def _findings() -> dict[str, str]:
    from netwright.diagnosis import catalogue

    return {code: f"{entry.title} ({entry.kind}, {entry.family})" for code, entry in catalogue.entries().items()}


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
