"""Ensembles that are trained: over seeds, on bootstrap samples, or one member after another on what was wrong so far.

Members are ordinary runs beside those of ``compare``, found again by their recipe, data and versions: an ensemble that
was stopped or killed goes on with the same call, and trains no finished member twice.
"""

from __future__ import annotations

import dataclasses
import io
import math
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from netwright import building, preparing
from netwright.building import Material
from netwright.comparing.arms import Arm, digest
from netwright.data.examples import Examples
from netwright.ensemble_figures import decisions
from netwright.ensembling import Made, Member, assembled, of_run
from netwright.errors import NetwrightError, StoppedError, UsageError
from netwright.files import replace_file
from netwright.recipe import override
from netwright.recipe.schema import Recipe
from netwright.records import plural
from netwright.replicating import FOLDER, Shop, named
from netwright.training.precision import Precision
from netwright.training.recording import Interrupted
from netwright.workbench import Run

MEMBERS = 5
BOOSTED = "boosted"  # in the folder of members: the weights of examples, by recipe

Said = Callable[[str], None]
Floats = npt.NDArray[np.float64]


def trained(
    subject: Any, *, members: int, bagging: bool = False, boosting: bool = False,
    weights: Sequence[float] | None = None, changes: dict[str, Any], name: str = "", folder: Path, trust: bool = False,
    said: Said = lambda text: None,
) -> Run:  # fmt: skip
    """Train ``members`` of a recipe, with its seed and those that follow, and make one run of them.

    ``bagging``: each on as many examples as the training part has, drawn from it with replacement (Breiman 1996);
    those that it did not see judge it, without any held-out part. ``boosting``: SAMME (Zhu, Zou, Rosset and Hastie
    2009), each on a sample in which examples are as likely as those before had them wrong; see ``_boosted``.
    """
    if bagging and boosting:
        raise UsageError("--boosting", "together with --bagging", "one of the two")
    if boosting and weights:
        raise UsageError("--weights", "together with --boosting, which has its own", "one of the two")
    stem, recipe = named([subject], folder, changes)[0]
    for key in ("bootstrap_seed", "bootstrap_weights") if bagging or boosting else ():
        if getattr(recipe.data, key):
            raise UsageError(f"data.{key}", str(getattr(recipe.data, key)), "the whole training part", "leave it out")
    shop = Shop(folder, trust, said, members)
    made: Made = "boosting" if boosting else "bagging" if bagging else "seeds"
    material = shop.material(recipe)[0]
    if boosting:
        _require_classes(material)
    if bagging and not isinstance(material, Examples):
        raise UsageError("--bagging", "a running text, or batches", "examples that can be drawn one by one")
    if weights and len(weights) != members:
        raise UsageError("--weights", plural(len(weights), "number"), f"{members}, one a member", "leave them out")
    found: list[Member] = []
    given: list[float] = []
    notes: list[str] = []
    try:
        for member, weight, note in (_boosted if boosting else _alike)(shop, stem, recipe, members, material, bagging):
            found.append(member)
            given.append(weight)
            notes += [note] if note else []
    except (Interrupted, KeyboardInterrupt) as stop:
        raise StoppedError(
            "ensemble", f"Ctrl-C after {len(found)} of {members} members",
            "those are kept, and the running one from its last step", "the same command goes on",
        ) from stop  # fmt: skip
    return assembled(
        found, weights or given, made=made, name=name or f"{stem}-{made}", folder=folder, said=said,
        material=material, notes=notes,
    )  # fmt: skip


def _alike(
    shop: Shop, stem: str, recipe: Recipe, members: int, material: Material, bagging: bool
) -> Iterator[tuple[Member, float, str]]:  # fmt: skip
    """Members that differ in their seed, and with ``bagging`` in the sample that they learn."""
    for number in range(members):
        yield _member(shop, stem, recipe, number, {"data.bootstrap_seed": number + 1} if bagging else {}), 1.0, ""


def _member(shop: Shop, stem: str, recipe: Recipe, number: int, changes: dict[str, Any]) -> Member:
    arm = Arm(stem, override(recipe, changes))
    seed = recipe.seed + number
    result = shop.trained(arm, arm.seeded(seed, splits=False))
    shop.tell(arm, seed, result)
    if result.failed:
        raise NetwrightError(
            f"member {number + 1}, seed {seed}", f"a training that failed: {result.failed}",
            "trainings that come to their end", "a smaller train.lr, or train.clip=1",
        )  # fmt: skip
    # By its place among the runs, since a run of the user's may have the same name; every verb finds it by that.
    return dataclasses.replace(
        of_run(Run(Path(result.run), shop.trust)), name=os.path.relpath(result.run, shop.folder)
    )  # fmt: skip


# ------------------------------------------------------------------------------------------------ boosting


def _require_classes(material: Material) -> None:
    if not isinstance(material, Examples) or material.task != "classification":
        task = material.task if isinstance(material, Examples) else "a running text, or batches"
        raise UsageError("--boosting", task, "a classification of examples", "--bagging, which takes any task")
    if material.parts["train"].targets.ndim != 1:
        raise UsageError("--boosting", "soft labels", "one class an example", "--bagging")


def _boosted(
    shop: Shop, stem: str, recipe: Recipe, members: int, examples: Material, _: bool
) -> Iterator[tuple[Member, float, str]]:  # fmt: skip
    """Members with their weights, by SAMME: error ε = Σ wᵢ over those that are wrong, weight α = log((1 - ε) / ε) +
    log(K - 1), and wᵢ ← wᵢ exp(α) where wrong (algorithm 2). A network has no weighted error to learn by here: from the
    second on each learns from a sample that is drawn by wᵢ, as Freund and Schapire (1996) do.

    It ends before ``members`` where one has nothing wrong on the training part, or is no better than guessing by the
    weights of its round; that one is left out.
    """
    assert isinstance(examples, Examples)
    labels = examples.parts["train"].part_targets().astype(np.int64)
    likely: Floats = np.full(len(labels), 1 / len(labels))
    place = shop.folder / FOLDER / BOOSTED / digest(recipe)
    for number in range(members):
        changes: dict[str, Any] = {}
        if number:
            file = place / f"{number + 1:03d}.npy"
            _keep(likely, file)
            changes = {"data.bootstrap_seed": number, "data.bootstrap_weights": str(file.resolve())}
        member = _member(shop, stem, recipe, number, changes)
        wrong = _decided(member, examples) != labels
        error = float(likely[wrong].sum())
        guessing = 1 - 1 / len(examples.classes)
        if error >= guessing:
            if number < 2:
                raise NetwrightError(
                    f"member {number + 1}", f"{error:.1%} of the weighted examples wrong", f"less than {guessing:.1%}, "
                    "which guessing has", "more epochs, a larger network, or --bagging",
                )  # fmt: skip
            shop.said(f"     member {number + 1} is no better than guessing here, and is left out")
            return
        weight = _weight(max(error, 0.5 / len(labels)), len(examples.classes))
        note = f"member {number + 1}: weighted error {error:.2%}, weight {weight:.3f}"
        shop.said(f"     {note}")
        yield member, weight, note
        if not wrong.any():
            if number == 0:
                raise NetwrightError(
                    "boosting", "a first member that has nothing wrong on the training part", "some mistakes to go on "
                    "with", "a smaller network, fewer epochs, or --bagging",
                )  # fmt: skip
            return
        likely = _reweighted(likely, wrong, weight)


def _weight(error: float, classes: int) -> float:
    return math.log((1 - error) / error) + math.log(classes - 1)


def _reweighted(likely: Floats, wrong: npt.NDArray[np.bool_], weight: float) -> Floats:
    grown = np.where(wrong, likely * math.exp(weight), likely)
    scaled: Floats = grown / grown.sum()
    return scaled


def _keep(likely: Floats, file: Path) -> None:
    content = io.BytesIO()
    np.save(content, likely)
    file.parent.mkdir(parents=True, exist_ok=True)
    replace_file(file, content.getvalue())


def _decided(member: Member, examples: Examples) -> npt.NDArray[np.int64]:
    """The member's class for every example of the whole training part, without augmentation."""
    recipe = member.recipe
    place = building.device(recipe)
    with preparing.global_state(recipe):
        batches = building.batches(recipe, examples, "train", place)
        objective = building.objective(recipe, member.inputs, None)
        network = member.network.to(place)
        return decisions(network, objective, batches, Precision(recipe.train.precision, place))
