"""``netwright.ensemble``: several runs, or the snapshots of one → a run whose network says the mean of what theirs say.

The members are only read, and the new run, which holds their weights, appears whole. It is evaluated on the data of the
first member; what another member has trained on must not be among the examples that judge.
"""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
import torch
from torch import nn

from netwright import building, environment, exporting, preparing, runs, sourcing, workbench
from netwright.building import Material
from netwright.data import auditing
from netwright.data.examples import Examples, Part
from netwright.data.handed import from_python
from netwright.data.opening import bootstrapped, finish, open_material
from netwright.ensemble_figures import asked, judged, out_of_bag, rows_of
from netwright.errors import DataError, NetworkError, RunError, StoppedError, UsageError
from netwright.files import require_place
from netwright.nn import keeping, weights
from netwright.nn.ensembling import Ensemble
from netwright.objectives.choosing import FITTING
from netwright.preprocess import InputFile
from netwright.preprocess.bridging import affine, bridge
from netwright.recipe.schema import Network, Objective, Recipe
from netwright.records import EnsembleAccount, EnsembleMember, EnsemblePart, NetworkFile, plural
from netwright.reporting import page
from netwright.runs import RunDirectory
from netwright.training import loop as loops
from netwright.training import randomness
from netwright.training import snapshots as cycles
from netwright.training.evaluating import evaluation_mode
from netwright.training.precision import Precision
from netwright.training.state import State
from netwright.workbench import Run

DETAIL = "ensemble"
ENDING = "-ensemble"
PARTS = ("validation", "test")

Made = Literal["runs", "snapshots", "seeds", "bagging", "boosting"]
Said = Callable[[str], None]


def ensemble(
    subjects: Any,
    *,
    members: int | None = None,
    bagging: bool = False,
    boosting: bool = False,
    snapshots: int | bool | None = None,
    weights: Sequence[float] | None = None,
    changes: dict[str, Any] | None = None,
    name: str = "",
    leaky: bool = False,
    train_data: Any = None,
    validation: Any = None,
    test: Any = None,
    folder: Path | str = runs.DEFAULT_FOLDER,
    trust: bool = False,
    said: Said = lambda text: None,
) -> Run:
    """One run of several: its network holds theirs and gives the logarithm of their mean probability (of values the
    mean, of labels the logit of the mean probability), so that it is evaluated, exported and compressed as any other.

    ``subjects``: runs; or one run with ``snapshots`` (so many of the last, True: all), where its recipe kept them;
    or a recipe (a file, data, a ``Recipe``, with ``changes``) with ``members``: so many are trained over seeds, with
    ``bagging`` each on a bootstrap sample of the training part, with ``boosting`` one after another on what those
    before had wrong. Finished trainings of the same are used again, so a call that was stopped goes on.
    ``weights``: one a member; default: equal, of boosting its own.

    Networks and their parameters may differ, also the mean and deviation by which inputs and targets were normalised:
    each member gets its own. Other classes, targets, shapes, channels, columns, vocabularies or kinds of loss are
    refused. The data are the first member's; where another has trained on examples of its validation or test part,
    that is refused, unless ``leaky``, and then said beside the figures. ``train_data``, ``validation``, ``test``: again
    those of runs whose data came from Python.
    """
    several = list(subjects) if isinstance(subjects, list | tuple) else [subjects]
    folder = Path(folder)
    require_place(folder)
    if members is not None or bagging or boosting:
        from netwright import ensemble_training

        if snapshots:
            raise UsageError("--members", "together with --snapshots", "one or the other")
        if len(several) != 1:
            word = "--bagging" if bagging else "--boosting" if boosting else "--members"
            names = [str(getattr(each, "directory", getattr(each, "name", each))) for each in several]
            again = f"netwright ensemble {names[0] if names else 'digits'} {word}{' 5' * (word == '--members')}"
            raise UsageError(
                word, f"together with {plural(len(several), 'subject')} ({', '.join(names)})",
                "one recipe, data or run, by which the members are trained",
                f"without {word}, which asks these together, or {again}",
            )  # fmt: skip
        _require_members(members)
        run: Run = ensemble_training.trained(
            several[0], members=members or ensemble_training.MEMBERS, bagging=bagging, boosting=boosting,
            weights=weights, changes=changes or {}, name=name, folder=folder, trust=trust, said=said,
        )  # fmt: skip
        return run
    if changes:
        raise UsageError("--set", ", ".join(changes), "a recipe that is trained with it", "--members 5")
    if isinstance(subjects, Recipe):
        raise UsageError("ensemble", "a recipe without a number of members", "how many to train", "members=5")
    opened = [_opened(each, folder, trust) for each in several]
    made: Made = "runs"
    if snapshots:
        if len(opened) != 1:
            raise UsageError("--snapshots", f"{len(opened)} runs", "one whose recipe kept them")
        made, found = "snapshots", _of_snapshots(opened[0], snapshots, trust)
    else:
        found = [of_run(run) for run in opened]
        names = [member.name for member in found]
        found = [  # runs of two folders may share a name
            dataclasses.replace(each, name=str(each.run.directory)) if names.count(each.name) > 1 else each
            for each in found
        ]
    if not weights:
        weights = [1.0] * len(found)
    handed = _Handed(train_data, validation, test)
    return assembled(found, weights, made=made, name=name, leaky=leaky, handed=handed, folder=folder, said=said)


def account(run: Run | Path | str, folder: Path | str = runs.DEFAULT_FOLDER) -> EnsembleAccount:
    """What an ensemble's run is made of and what that brought. Raises ``RunError`` for another run."""
    files = run.files if isinstance(run, Run) else RunDirectory(runs.find(run, folder))
    reader = files.reader()
    try:
        kept = reader.detail(DETAIL)
    finally:
        reader.close()
    if not kept:
        raise RunError(str(files.path), "no ensemble", "a run that netwright ensemble made", "netwright runs")
    return EnsembleAccount.from_dict(kept)


def _require_members(members: int | None) -> None:
    if members is not None and not 2 <= members <= 1000:
        raise UsageError("--members", str(members), "from 2 to 1000", "--members 5")


# ------------------------------------------------------------------------------------------------ members


@dataclasses.dataclass(frozen=True)
class Member:
    """One network, with all that it was trained by."""

    name: str
    run: Run
    network: nn.Module
    record: NetworkFile
    inputs: InputFile
    recipe: Recipe
    weights_sha256: str


def _opened(subject: Any, folder: Path, trust: bool) -> Run:
    if isinstance(subject, Run):
        return subject
    if not isinstance(subject, str | Path):
        raise UsageError("ensemble", f"a {type(subject).__name__}", "runs, or a recipe with members=5")
    if str(subject).lower().endswith((".yaml", ".yml")) and Path(subject).is_file():
        raise UsageError(str(subject), "a recipe without a number of members", "how many to train", "--members 5")
    return workbench.load(subject, folder=folder, trust=trust)


def of_run(run: Run) -> Member:
    """A finished run as a member; what is damaged or unfinished is said with its place."""
    files = run.files
    if not files.current().get("finished"):
        got = "a run that is not finished" if files.current() else "an untrained network"
        raise RunError(str(files.path), got, "a trained run", f"netwright train --resume {files.path}")
    record = files.read_record("network.json", NetworkFile)
    if record.kind == "instance":
        raise NetworkError(
            str(files.path), "a network that was built in Python, which nothing can build again",
            "a network by name, or file.py:Name", "netwright.fit('file.py:Name', ...)",
        )  # fmt: skip
    return Member(files.name, run, run.network, record, run.inputs, run.recipe, exporting.weights_digest(run))


def _of_snapshots(run: Run, wanted: int | bool, trust: bool) -> list[Member]:
    whole = of_run(run)
    kept = cycles.kept(run.files)
    if not kept:
        raise UsageError(
            "--snapshots", f"{run.directory}, a run without any", "one that kept some",
            f"netwright train {run.directory / 'request.yaml'} --set train.snapshots=5",
        )  # fmt: skip
    count = len(kept) if wanted is True else int(wanted)
    if not 2 <= count <= len(kept):
        raise UsageError("--snapshots", f"{count} of {len(kept)}", f"from 2 to {len(kept)}", f"--snapshots {len(kept)}")
    found = []
    for epoch in sorted(kept)[-count:]:
        network = keeping.build(whole.record, trust=trust or run.trust)
        weights.load(network, weights.read(kept[epoch]), str(kept[epoch]))
        digest = hashlib.sha256(kept[epoch].read_bytes()).hexdigest()
        found.append(
            dataclasses.replace(
                whole, name=f"{whole.name}@{epoch}", network=network.eval(), weights_sha256=digest
            )
        )  # fmt: skip
    return found


def _how(member: Member) -> Literal["probability", "label", "value"]:
    """What of a member's outputs a mean is taken of."""
    loss, task = member.recipe.objective.loss, member.inputs.task
    if loss == "python":
        raise UsageError(
            member.name, "a loss that came from Python, by which nobody knows what the outputs mean",
            f"one of {', '.join(FITTING[task])}",
        )  # fmt: skip
    if task == "regression" or loss == "hinge":
        return "value"
    return "label" if task == "multi-label" or loss == "binary-cross-entropy" else "probability"


def require_alike(members: Sequence[Member]) -> None:
    """Members that cannot be asked about the same example, or answer something else, are named."""
    first = members[0]
    for other in members[1:]:
        mine, its = first.inputs, other.inputs
        pairs: list[tuple[str, Any, Any]] = [
            ("task", mine.task, its.task),
            ("classes", mine.classes, its.classes),
            ("targets", mine.targets, its.targets),
            ("inputs", mine.input_names or len(mine.inputs), its.input_names or len(its.inputs)),
            ("vocabulary", _text_of(mine), _text_of(its)),
            ("window", _window_of(mine), _window_of(its)),
            ("kind of loss", _how(first), _how(other)),
        ]
        for what, one, two in pairs:
            if one != two:
                raise UsageError(
                    f"{other.name}: {what}", _shown(two, one), f"as of {first.name}: {_shown(one, two)}",
                    "members that were trained on the same data",
                )  # fmt: skip
        for number, (one, two) in enumerate(zip(mine.inputs, its.inputs, strict=True)):
            try:
                bridge(one, two)
            except ValueError as error:
                where = mine.input_names[number] if mine.input_names else "input"
                raise UsageError(
                    f"{other.name}: {where}", str(error),
                    f"the preprocessing of {first.name}, up to mean and deviation",
                    "members that see the same example alike",
                ) from error  # fmt: skip


def _text_of(file: InputFile) -> Any:
    return None if file.text is None else (file.text.unit, len(file.text.vocabulary), hash(file.text))


def _window_of(file: InputFile) -> Any:
    window = file.window
    return None if window is None else (window.window, window.horizon, window.columns, window.targets)


def _shown(value: Any, other: Any) -> str:
    """A value of a pair that differs; of long lists what the other has not."""
    if not isinstance(value, tuple):
        return str(value) if value not in (None, ()) else "none"
    if len(value) <= 6:
        return ", ".join(map(str, value)) or "none"
    new = [str(each) for each in value if each not in (other or ())]
    return f"{len(value)}" + (f", among them {', '.join(new[:4])}" if new else "")


# ------------------------------------------------------------------------------------------------ one network of them


@dataclasses.dataclass(frozen=True)
class _Handed:
    """Data that came from Python."""

    train: Any = None
    validation: Any = None
    test: Any = None


def assembled(
    members: Sequence[Member], weights: Sequence[float], *, made: Made, name: str = "", leaky: bool = False,
    handed: _Handed = _Handed(), folder: Path, said: Said, material: Material | None = None,
    notes: Sequence[str] = (),
) -> Run:  # fmt: skip
    """The new run of members that are trained. ``material``: the first one's data, where they are open already."""
    _require_several(members)
    if len(weights) != len(members) or not all(0 < weight < math.inf for weight in weights):
        given = ", ".join(f"{weight:g}" for weight in weights)
        raise UsageError("--weights", given, f"{len(members)} numbers above 0, one a member", "leave them out")
    require_alike(members)
    recipe = _recipe(members)
    try:
        material = _material(recipe, handed) if material is None else material
        leaks = _leaks(members, recipe, material, handed, leaky)
        with preparing.global_state(recipe):
            return _made(members, weights, recipe, material, leaks, made, name, folder, said, tuple(notes))
    except KeyboardInterrupt as stop:
        raise StoppedError("ensemble", "Ctrl-C; nothing was written", "", "the same command again") from stop


def _require_several(members: Sequence[Member]) -> None:
    if len(members) < 2:
        one = members[0].name if members else "none"
        raise UsageError(
            "netwright ensemble", f"one member, {one}", "two runs or more",
            "netwright ensemble RUN RUN, RUN --snapshots, or a recipe with --members 5",
        )  # fmt: skip
    known: dict[str, str] = {}
    for member in members:
        if member.weights_sha256 in known:
            raise UsageError(
                member.name, f"the same weights as {known[member.weights_sha256]}", "members that differ",
                "leave one out; --weights 2,1 lets a member count twice",
            )  # fmt: skip
        known[member.weights_sha256] = member.name


def _recipe(members: Sequence[Member]) -> Recipe:
    """The first member's recipe, with an ensemble in its network's place. Where the members' losses differ, the plain
    loss of their kind judges."""
    recipe = members[0].recipe
    objective = recipe.objective
    if any(member.recipe.objective != objective for member in members):
        plain = {"probability": "cross-entropy", "label": "binary-cross-entropy", "value": "hinge"}[_how(members[0])]
        loss: Any = "squared" if members[0].inputs.task == "regression" else plain
        objective = Objective(loss=loss, label_smoothing=0.0, top_k=objective.top_k)
    data = msgspec.structs.replace(recipe.data, bootstrap_seed=0, bootstrap_weights="")
    train = msgspec.structs.replace(recipe.train, snapshots=0)
    network = Network(name=keeping.ENSEMBLE, width=1, depth=1, dropout=0.0)
    return msgspec.structs.replace(recipe, data=data, objective=objective, network=network, train=train)


def _material(recipe: Recipe, handed: _Handed) -> Material:
    if recipe.data.format != "python":
        return open_material(recipe.data)
    if handed.train is None:
        raise DataError(
            "ensemble", "runs whose data came from Python", "the same data again",
            "netwright.ensemble([...], train_data=(X, y), validation=(Xv, yv))",
        )  # fmt: skip
    material = from_python(handed.train, handed.validation, handed.test, recipe.data)
    return finish(material, recipe.data) if isinstance(material, Examples) else material


def _network(members: Sequence[Member], weights: Sequence[float], place: torch.device) -> tuple[Ensemble, NetworkFile]:
    """The members as one network, and how it is built again."""
    first = members[0].inputs
    inputs, outputs = [], []
    for member in members:
        its = member.inputs
        inputs.append([bridge(one, other) for one, other in zip(first.inputs, its.inputs, strict=True)])
        outputs.append(affine(its.target_mean, its.target_std, first.target_mean, first.target_std))
    arguments: dict[str, Any] = {"how": _how(members[0]), "weights": [float(weight) for weight in weights]}
    if any(step is not None for each in inputs for step in each):
        arguments["inputs"] = inputs
    if any(step is not None for step in outputs):
        arguments["outputs"] = outputs
    record = NetworkFile(
        kind="ensemble", name=keeping.ENSEMBLE, arguments=msgspec.to_builtins(arguments),
        input_shape=members[0].record.input_shape, outputs=members[0].record.outputs,
        members=tuple(member.record for member in members),
    )  # fmt: skip
    network = Ensemble(
        [member.network for member in members], arguments["how"], arguments["weights"],
        inputs=arguments.get("inputs", ()), outputs=arguments.get("outputs", ()),
    )  # fmt: skip
    return network.to(place).eval(), record


def _made(
    members: Sequence[Member], weights: Sequence[float], recipe: Recipe, material: Material,
    leaks: dict[str, dict[str, int]], made: Made, name: str, folder: Path, said: Said, notes: tuple[str, ...],
) -> Run:  # fmt: skip
    randomness.seed(recipe.seed)
    place = building.device(recipe)
    inputs = members[0].inputs
    network, record = _network(members, weights, place)
    sources = sourcing.open_batches(recipe, material, place)
    objective, precision = building.objective(recipe, inputs, material), Precision(recipe.train.precision, place)
    _require_outputs(members, network, next(iter((sources.validation or sources.train).epoch(0))))
    said(f"{len(members)} members are asked, alone and together")
    parts = [
        judged(network, objective, batches, precision, part, leaks.get(part, {}), [member.name for member in members])
        for part in PARTS
        if (batches := getattr(sources, part)) is not None
    ]
    seen = sources.examples
    bag = None
    if seen is not None and made == "bagging":
        drawn = [member.recipe.data for member in members]
        bag = out_of_bag(drawn, network, objective, recipe, seen, place, precision)
    found = EnsembleAccount(
        how=network.how, made=made, members=tuple(_rows(members, network, parts)),
        parts=tuple(part for part, _ in parts), out_of_bag=bag, notes=notes,
    )  # fmt: skip
    stem = name or re.sub(rf"(-\d+|{ENDING})*$", "", members[0].run.directory.name) + ENDING
    path = runs.written_whole(
        folder, stem,
        lambda run: _write(run, members, network, record, recipe, found, sources, objective, precision, material),
    )  # fmt: skip
    return Run(path, trust=True, _network=network)


def _rows(
    members: Sequence[Member], network: Ensemble, parts: Sequence[tuple[EnsemblePart, list[dict[str, float | None]]]]
) -> list[EnsembleMember]:
    return [
        EnsembleMember(
            name=member.name, run=str(member.run.directory), network=member.recipe.network.name,
            weight=network.weights[number], parameters=sum(p.numel() for p in member.network.parameters()),
            metrics={part.part: alone[number] for part, alone in parts},
        )
        for number, member in enumerate(members)
    ]  # fmt: skip


def _require_outputs(members: Sequence[Member], network: Ensemble, first: Any) -> None:
    """One batch through every member, before hours of them: outputs of other shapes are no mean."""
    with evaluation_mode(network), torch.inference_mode():
        said = asked(network, first)
    for member, output in zip(members[1:], said[1:], strict=True):
        if output.shape != said[0].shape:
            raise NetworkError(
                member.name, f"outputs of shape {tuple(output.shape)}", f"{tuple(said[0].shape)}, as {members[0].name}"
            )


def _write(
    run: RunDirectory, members: Sequence[Member], network: Ensemble, record: NetworkFile, recipe: Recipe,
    found: EnsembleAccount, sources: sourcing.Sources, objective: Any, precision: Precision, material: Material,
) -> None:  # fmt: skip
    states = {member.run.directory: member.run.files.current() for member in members}
    step, epoch = (max(int(each.get(key) or 0) for each in states.values()) for key in ("step", "epoch"))
    seconds = sum(float(each.get("seconds", 0.0)) for each in states.values())
    about = {
        "started": datetime.datetime.now().isoformat(timespec="seconds"),
        "data": sourcing.fingerprint(material), "measured": {}, "exact_resume": False,
        "skipped": list(getattr(material, "skipped", ())),
        "members": [
            {"run": each.name, "weight": weight, "weights_sha256": each.weights_sha256}
            for each, weight in zip(members, network.weights, strict=True)
        ],
    }  # fmt: skip
    run.write_json("environment.json", environment.snapshot() | about)
    run.write_record("network.json", record)
    run.write_record("preprocess.json", members[0].inputs)
    state = dict(network.state_dict())
    run.commit(
        step, {"best": lambda folder: weights.save(state, folder / "weights.safetensors", packed=True)},
        last=f"{step:09d}", epoch=epoch, seconds=seconds, best_epoch=epoch,
    )  # fmt: skip
    log = run.open_log()
    try:
        log.detail(DETAIL, step, found)
        job: Any = loops.Job(
            network=network, objective=objective, optimizer=None, rate=lambda step: 1.0,  # type: ignore[arg-type]
            batches=sources.train, precision=precision, epochs=epoch,
        )  # fmt: skip
        counted = State(epoch=epoch, step=step, best_epoch=epoch, seconds=seconds)
        workbench.finish_run(run, recipe, job, sources, log, counted)
    finally:
        log.close()
    resolved = msgspec.structs.replace(recipe, name=re.sub(r"-\d+$", "", run.name))
    run.write_recipe(resolved, resolved)
    page.write_report(run.path)


# ------------------------------------------------------------------------------------------------ who saw what


def _leaks(
    members: Sequence[Member], recipe: Recipe, material: Material, handed: _Handed, leaky: bool
) -> dict[str, dict[str, int]]:
    """Part → member → how many of its examples that member has trained on, which the ensemble's own training part
    does not hold (copies within the data are no leak of the split). Examples are the same where their bytes are.

    Every member's data are read again, and have to be those of its run.
    """
    opened: list[tuple[Any, Material]] = [(recipe.data, material)]
    own: set[bytes] | None = None
    judging: dict[str, list[bytes]] = {}
    found: dict[str, dict[str, int]] = {}
    for member in members:
        asked = msgspec.structs.replace(member.recipe.data, bootstrap_seed=0, bootstrap_weights="")
        known = next((held for data, held in opened if data == asked), None)
        if known is None:
            known = _material(msgspec.structs.replace(member.recipe, data=asked), handed)
            opened.append((asked, known))
        drawn = bootstrapped(known, member.recipe.data) if isinstance(known, Examples) else known
        sourcing.require_same(member.run.directory, member.run.files.environment().get("data", {}), drawn)
        if known is material or not isinstance(known, Examples) or not isinstance(material, Examples):
            continue
        if own is None:
            own = set(_hashes(material.parts["train"]))
            judging = {part: _hashes(material.parts[part]) for part in PARTS if part in material.parts}
        seen = set(_hashes(drawn.parts["train"])) - own  # type: ignore[union-attr] # drawn from Examples
        for part, examples in judging.items():
            count = sum(each in seen for each in examples)
            if count:
                found.setdefault(part, {})[member.name] = count
    if found and not leaky:
        told = "; ".join(
            f"{name} has trained on {count:,} of the {len(judging[part]):,} {part} examples"
            for part, several in found.items() for name, count in several.items()
        )  # fmt: skip
        raise DataError(
            "ensemble: the split", told, "examples that no member has learned",
            "members with one data.split_seed (and --bagging to make them differ), or --leaky, which says so",
        )  # fmt: skip
    return found


def _hashes(part: Part) -> list[bytes]:
    return auditing.hashes(part.inputs, rows_of(part).tolist())
