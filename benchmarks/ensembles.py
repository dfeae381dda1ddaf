"""Ensembles beside their mean member, and beside one training of as many epochs.

    python benchmarks/ensembles.py [digits fashion] [--repeats 1]

Members over seeds, with bagging and with SAMME, snapshots of one training, five short trainings; each repeated from
other seeds, on one split. Goes on where it stopped: trainings of before are used again.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from typing import Any

import common

import netwright
from netwright import ensembling
from netwright.recipe import from_dict
from netwright.recipe.schema import Recipe

MEMBERS = 5
PLAIN: dict[str, Any] = {
    "objective.label_smoothing": 0.0, "train.threads": 1, "train.average": 0.0, "train.schedule": "cosine",
    "train.layout": "contiguous", "watch.enabled": False,
}  # fmt: skip
CASES: dict[str, dict[str, Any]] = {
    "digits": {"data.source": "digits", "network.name": "mlp", "network.width": 64, "train.epochs": 20},
    "fashion": {
        "data.source": "fashion_mnist", "data.limit": 1000, "data.validation": 0.01, "network.name": "mlp",
        "network.width": 64, "train.epochs": 10, "train.batch_size": 32,
    },
}  # fmt: skip
WEAK = {"network.width": 8, "train.epochs": 2}  # a perceptron that leaves something to boost


def made(kind: str, recipe: Recipe, epochs: int, folder: Any) -> netwright.Run:
    """The ensemble of one kind."""
    how: dict[str, Any] = {"folder": folder, "said": lambda text: print(" ", text, file=sys.stderr, flush=True)}
    short = {"train.epochs": epochs // MEMBERS}
    match kind:
        case "seeds":
            return ensembling.ensemble(recipe, members=MEMBERS, **how)
        case "bagging":
            return ensembling.ensemble(recipe, members=MEMBERS, bagging=True, **how)
        case "short trainings":
            return ensembling.ensemble(recipe, members=MEMBERS, changes=short, **how)
        case "snapshots":
            changed = netwright.recipe.override(recipe, {"train.snapshots": MEMBERS})
            return ensembling.ensemble(netwright.train(changed, folder=folder), snapshots=True, **how)
        case "boosting, weak":
            weak = {"network.name": "mlp", **WEAK}
            return ensembling.ensemble(recipe, members=2 * MEMBERS, boosting=True, changes=weak, **how)
        case _:
            weak = {"network.name": "mlp", **WEAK}
            return ensembling.ensemble(recipe, members=2 * MEMBERS, changes=weak, **how)


KINDS = ("seeds", "bagging", "short trainings", "snapshots", "boosting, weak", "seeds, weak")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*", default=list(CASES))
    parser.add_argument("--repeats", type=int, default=1)
    options = parser.parse_args()
    rows = []
    for case in options.cases:
        keys = dict(CASES[case])
        epochs = int(keys["train.epochs"])
        if case != "digits":
            keys["data.source"] = str(common.shared() / keys["data.source"])
        folder = common.work_folder() / "ensembles" / case
        for kind in KINDS:
            seen = []
            for repeat in range(options.repeats):
                recipe = from_dict({}, PLAIN | keys | {"seed": 100 * repeat, "data.split_seed": repeat})
                found = ensembling.account(made(kind, recipe, epochs, folder))
                test = next(part for part in found.parts if part.part == "test")
                seen.append(
                    {
                        "member_accuracy": test.mean["accuracy"], "accuracy": test.ensemble["accuracy"],
                        "member_loss": test.mean["loss"], "loss": test.ensemble["loss"], "vote": test.vote,
                        "best_member": max(member.metrics["test"]["accuracy"] or 0 for member in found.members),
                        "first_member": found.members[0].metrics["test"]["accuracy"],
                        "disagreement": test.disagreement, "members": len(found.members),
                        "out_of_bag": (found.out_of_bag or {}).get("accuracy"),
                    }
                )  # fmt: skip
                print(case, kind, repeat, common.rounded(seen[-1]), file=sys.stderr, flush=True)
            entry = {key: [each[key] for each in seen] for key in seen[0]}
            common.write_result("ensembles", f"{case}: {kind}", entry | {"epochs": epochs})
            mean = {key: statistics.fmean(values) for key, values in entry.items() if None not in values}
            rows.append(
                [
                    case, kind, f"{100 * mean['member_accuracy']:.2f}", f"{100 * mean['accuracy']:.2f}",
                    f"{100 * mean['vote']:.2f}", f"{mean['member_loss']:.3f}", f"{mean['loss']:.3f}",
                    f"{100 * mean['disagreement']:.1f}",
                ]
            )  # fmt: skip
    common.table(
        ("data", "ensemble", "mean member %", "together %", "votes %", "member loss", "loss", "differ %"), rows
    )


if __name__ == "__main__":
    main()
