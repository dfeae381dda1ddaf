"""A recipe over amounts of data or sizes of the network → curves, what they say, and what classical methods reach.

Every training is one of the store of ``replicating``: one that was there is used again, so that the same command goes
on after Ctrl-C or a kill. What a finished one says of the held-out examples is kept beside it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import json
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import torch

from netwright import building, files, replicating, runs, sourcing
from netwright.classical import gabor, learners
from netwright.comparing.arms import Arm, Trained, digest
from netwright.data.examples import Examples, Part
from netwright.data.opening import open_material
from netwright.data.splitting import sample
from netwright.errors import DataError, NetwrightError, StoppedError, UsageError
from netwright.preprocess import ArrayPreprocess, ImagePreprocess, apply
from netwright.recipe import Recipe, defaults, override
from netwright.recipe.comparing import flat
from netwright.recipe.schema import Data
from netwright.reporting import cards, formatting
from netwright.reporting import curves as telling
from netwright.scaling import concluding, decomposing, fitting
from netwright.scaling.records import CurvePoint, Curves, FilterFit, LearnerCurve
from netwright.training.evaluating import examine
from netwright.training.precision import Precision
from netwright.training.recording import Interrupted
from netwright.workbench import Run

TESTED, CHECKED = 5000, 2000  # held-out and training examples on which errors are counted, at most
POINTS, FEWEST = 6, 24  # amounts of data, each half of the next; examples of the least, at least
SHARE = 2  # of capacity: each training sees another one in so many of the examples
SAID_FILE = "said.npz"  # in a run's directory
KEPT = "curves"  # in the folder of runs
OVER = {"data": "data.limit", "width": "network.width", "depth": "network.depth", "batch-size": "train.batch_size"}
MOST_FILTERS, WIDEST = 16, 1000  # filters that are shown; pixels of their picture
VERSION = 1  # of what is kept

Array = npt.NDArray[Any]
Said = Callable[[str], None]


def curves(
    subject: replicating.Subject,
    *,
    over: str = "data",
    sizes: Sequence[int] = (),
    seeds: int = 3,
    seconds: float | None = None,
    classical: bool = True,
    changes: dict[str, Any] | None = None,
    folder: Path | str = runs.DEFAULT_FOLDER,
    page: Path | str | None = None,
    trust: bool = False,
    said: Said = lambda text: None,
    **regime: Any,
) -> Any:
    """Errors of ``subject`` (a recipe, data, a run) over ``data``, ``width``, ``depth``, ``capacity`` (the first of the
    two that the network has) or ``batch-size``; for the last, which takes ``target``, ``within`` and ``rates`` too, see
    ``regimes``.

    Over data: nested, stratified subsets, other ones with each seed, on the same held-out examples, with a power law.
    Over capacity: each training sees another half of the training part, and the error is divided into bias and
    variance. ``sizes``: amounts of data, widths or depths; chosen if left out. ``seconds``: no training begins that
    would end later. ``classical``: the same subsets for methods without a network. ``page``: where the HTML page goes;
    default: beside the runs. Raises ``StoppedError`` at Ctrl-C; the same call then goes on.
    """
    folder = Path(folder)
    if over not in (*OVER, "capacity"):
        raise UsageError("--over", repr(over), ", ".join((*OVER, "capacity")), "--over data")
    if not 1 <= seeds <= replicating.MOST_SEEDS:
        raise UsageError("--seeds", str(seeds), f"from 1 to {replicating.MOST_SEEDS}", "--seeds 3")
    if any(size < 1 for size in sizes) or len(set(sizes)) < len(sizes):
        raise UsageError("--sizes", ",".join(map(str, sizes)), "different numbers of at least 1", "--sizes 100,200,400")
    files.require_place(folder)
    ((name, recipe),) = replicating.named((subject,), folder, changes or {})
    if page:
        files.require_place(Path(page).parent)
    asked = digest(Arm(name, recipe).seeded(0, False)), over, sorted(sizes), seeds, classical, sorted(regime.items())
    place = Path(page) if page else folder / KEPT / replicating.page_name((name, over), asked)
    if over == "batch-size":
        from netwright import regimes

        return regimes.regimes(
            recipe, name=name, sizes=sizes, seeds=seeds, seconds=seconds, folder=folder, page=place, trust=trust,
            said=said, **regime,
        )  # fmt: skip
    if regime:
        raise UsageError(f"--over {over}", ", ".join(regime), "options of --over batch-size only")
    survey = Survey(recipe, name, over, folder, trust, said, seconds)
    found = survey.carry_out(survey.planned(sizes, seeds), seeds, classical)
    found = msgspec.structs.replace(found, page=str(place))
    telling.write_page(place, found, name)
    return found


@dataclasses.dataclass(frozen=True)
class Answers:
    """What a learner says: ``held_out`` (N,) class indices, (N, K) values or labels; ``probabilities`` (N, C) where a
    network has them; its error on examples that it was trained on; seconds."""

    held_out: Array
    train_error: float
    seconds: float
    probabilities: Array | None = None
    parameters: int | None = None
    run: str = ""
    choice: str = ""


def judged(data: Data, order: Sequence[str], most: int) -> tuple[Examples, str, Array]:
    """The examples, the first part of ``order`` that there is, and at most ``most`` of its positions: on those errors
    are counted, the same ones for every training."""
    material = open_material(data)
    if not isinstance(material, Examples):
        raise DataError(data.source, "a running text", "examples that can be counted", "netwright train")
    part = next((part for part in order if part in material.parts), "")
    if not part:
        raise UsageError(
            "curves", "no held-out examples", f"a {' or '.join(order)} part", f"--set data.{order[0]}=0.2"
        )  # fmt: skip
    return material, part, sample(material.parts[part].part_targets(), material.task, most, 0)


class Survey:
    """The trainings and fits of one picture."""

    def __init__(
        self, recipe: Recipe, name: str, over: str, folder: Path, trust: bool, said: Said, seconds: float | None
    ) -> None:  # fmt: skip
        material, self.part, self.rows = judged(recipe.data, ("test", "validation"), TESTED)
        if recipe.data.limit and over == "data":
            raise UsageError("data.limit", str(recipe.data.limit), "the amounts as --sizes", "--set data.limit=0")
        self.recipe, self.name, self.folder, self.trust, self.said = recipe, name, folder, trust, said
        self.material, self.seconds, self.began = material, seconds, time.monotonic()
        self.examples = len(material.parts["train"])
        self.truth = _answer(material.parts[self.part].take(self.rows), material)
        self.over = self._capacity() if over == "capacity" else over
        self.key = OVER[self.over]
        self.notes: list[str] = []
        if material.window is not None:
            self.notes.append("Of a series the newest examples are kept: subsets do not differ between seeds.")
        self.reused = 0

    # ---- plan

    def _capacity(self) -> str:
        """Width where the network has one that a recipe sets, else depth."""
        known = flat(defaults.resolve(self.recipe, sourcing.facts(self.material, None)))
        arguments = building.network_file(override(self.recipe, self._named(known)), self.material).arguments
        return "depth" if "depth" in arguments and "width" not in arguments else "width"

    @staticmethod
    def _named(known: dict[str, Any]) -> dict[str, Any]:
        return {key: known[key] for key in ("network.name", "network.width", "network.depth", "network.dropout")}

    def planned(self, sizes: Sequence[int], seeds: int) -> list[int]:
        """The sizes in rising order: those that were asked for, or halves and doubles of what there is."""
        if self.over == "data":
            least = max(FEWEST, 2 * self.material.outputs if self.material.task == "classification" else 0)
            if any(size > self.examples for size in sizes):
                raise UsageError("--sizes", str(max(sizes)), f"at most the {self.examples} training examples", "")
            halved = [round(self.examples / 2**turn) for turn in range(POINTS)]
            return sorted(sizes) or sorted(size for size in halved if size >= least) or [self.examples]
        known = flat(defaults.resolve(self.recipe, sourcing.facts(self.material, None)))
        record = building.network_file(override(self.recipe, self._named(known)), self.material)
        own = record.arguments.get(self.over)
        if own is None:
            raise UsageError(f"--over {self.over}", f"{record.name}, which has no {self.over} that a recipe sets",
                             "a network with one", "--network mlp")  # fmt: skip
        if sizes:
            return sorted(sizes)
        if self.over == "depth":
            return [1, 2, 3, 4]
        base = own if isinstance(own, int) else 16
        return sorted({max(1, round(base * factor)) for factor in (0.125, 0.25, 0.5, 1.0, 2.0)})

    def changed(self, size: int, seed: int) -> Recipe:
        """The recipe at a size. Of all examples there is one set; of less, another one with every seed."""
        if self.over == "data":
            limit = {} if size >= self.examples else {"data.limit": size, "data.limit_seed": seed}
        else:
            limit = {"data.limit": max(2, (self.recipe.data.limit or self.examples) // SHARE), "data.limit_seed": seed,
                     self.key: size}  # fmt: skip
        return override(self.recipe, limit)

    # ---- carry out

    def carry_out(self, sizes: list[int], seeds: int, classical: bool) -> Curves:
        rivals = self._rivals() if classical else []
        planned = len(sizes) * seeds
        self.said(
            f"{formatting.plural(planned, 'training')}: {self.over} {', '.join(map(str, sizes))}, "
            f"{formatting.plural(seeds, 'seed')}"
            + (f"; beside them {', '.join(rival.name for rival in rivals)}" if rivals else "")
            + (f"; at most about {formatting.duration(self.seconds)}" if self.seconds else "")
        )
        shop = replicating.Shop(self.folder, self.trust, self.said, planned)
        found: dict[str, dict[int, list[Answers]]] = {name: {} for name in ("network", *(r.name for r in rivals))}
        took: dict[int, float] = {}
        left_out = done = 0
        try:
            for seed in range(seeds):
                for size in sizes:
                    if self._too_long(took, size):
                        left_out += 1
                        continue
                    answers = self._trained(shop, size, seed)
                    done += 1
                    if answers is None:
                        continue
                    took[size] = answers.seconds
                    found["network"].setdefault(size, []).append(answers)
                    left = sum(_guess(took, other) for other in sizes) * (seeds - seed - 1)
                    left += sum(_guess(took, other) for other in sizes if other > size)
                    text = f", about {formatting.duration(left)} of training left" if left > 1 else ""
                    error = formatting.percent(self.error(answers.held_out))
                    self.said(f"{done:>3}/{planned}  {self.over} {size}, seed {seed}: error {error}{text}")
                for size in sizes if self.over == "data" else sizes[:1]:
                    if classical and any(len(each) > seed for each in found["network"].values()):
                        for rival in rivals:
                            found[rival.name].setdefault(size, []).append(self._fitted(rival, size, seed))
        except (Interrupted, KeyboardInterrupt) as stop:
            raise StoppedError(
                "curves", f"Ctrl-C after {done} of {planned} trainings",
                "those are kept, and the running one from its last step", "the same command goes on",
            ) from stop  # fmt: skip
        if not found["network"]:
            raise UsageError(
                "curves", "no training that ended" if done else f"--time {formatting.duration(self.seconds)}",
                "at least one", "; ".join(self.notes) or "a longer --time",
            )  # fmt: skip
        if left_out:
            self.notes.append(
                not_in_time(left_out, planned, self.over, [s for s in sizes if not found["network"].get(s)])
            )
        return self._concluded(found, sizes, seeds, left_out)

    def _too_long(self, took: dict[int, float], size: int) -> bool:
        if self.seconds is None or not took:
            return False
        return time.monotonic() - self.began + _guess(took, size) > self.seconds

    def _trained(self, shop: replicating.Shop, size: int, seed: int) -> Answers | None:
        recipe = self.changed(size, seed)
        arm = Arm(f"{self.name}-{size}", recipe)
        trained: Trained = shop.trained(arm, arm.seeded(seed, False))
        self.reused += trained.reused
        if trained.failed:
            self.notes.append(f"{self.over} {size}, seed {seed} failed: {trained.failed}")
            return None
        material, _ = shop.material(recipe)
        assert isinstance(material, Examples)
        return self._asked(Run(Path(trained.run), trust=True), material, trained.seconds)

    def _asked(self, run: Run, material: Examples, seconds: float) -> Answers:
        """What a run says of the held-out rows and of training ones; kept beside it."""
        key = json.dumps([VERSION, self.part, len(self.rows), run.files.current().get("best")], default=str)
        known = _read(run.directory / SAID_FILE, key)
        if known is None:
            checked = sample(material.parts["train"].part_targets(), material.task, CHECKED, 0)
            parts = {
                "train": material.parts["train"].take(checked), "held": material.parts[self.part].take(self.rows)
            }  # fmt: skip
            place = building.device(run.recipe)
            objective = building.objective(run.recipe, run.inputs, None)
            network = run.network.to(place)
            asked = dataclasses.replace(material, parts=parts)
            held, train = (
                examine(network, objective, building.batches(run.recipe, asked, part, place),
                        Precision(run.recipe.train.precision, place))
                for part in ("held", "train")
            )  # fmt: skip
            known = {
                "held": held.decisions.numpy(), "probabilities": held.probabilities.numpy().astype(np.float32),
                "train_error": np.array(_error(train.decisions.numpy(), _answer(parts["train"], material), material)),
                "parameters": np.array(sum(p.numel() for p in network.parameters())),
            }  # fmt: skip
            _write(run.directory / SAID_FILE, key, known)
        probabilities = known["probabilities"] if self.material.task == "classification" else None
        return Answers(
            known["held"], float(known["train_error"]), seconds, probabilities, int(known["parameters"]),
            str(run.directory),
        )  # fmt: skip

    # ---- classical

    def _rivals(self) -> list[learners.Learner]:
        if self.material.task == "multi-label" or self.material.text is not None or len(self.material.preprocess) > 1:
            self.notes.append("Classical methods are compared for pictures, tables and arrays with one answer only.")
            return []
        record = self.material.preprocess[0]
        arrays = isinstance(record, ArrayPreprocess) and len(record.shape) == 3 and record.shape[0] in (1, 3)
        shape = tuple(self._inputs(self.material.parts["train"].take(np.arange(1))).shape[1:])
        return learners.learners(shape, isinstance(record, ImagePreprocess) or arrays)

    def _inputs(self, part: Part) -> Array:
        """Rows as classical methods see them: pixels in 0…1, else the numbers that the network gets."""
        raw = part.inputs[0][part.array_rows(np.arange(len(part)))]
        if isinstance(self.material.preprocess[0], ImagePreprocess):
            return raw.astype(np.float32) / np.float32(255)
        return np.nan_to_num(apply(self.material.preprocess[0], raw))

    def _fitted(self, rival: learners.Learner, size: int, seed: int) -> Answers:
        recipe = self.changed(size, seed)
        told = {k: v for k, v in flat(recipe).items() if k.startswith("data.")}
        about = [VERSION, rival.name, told, sourcing.fingerprint(self.material), self.part, len(self.rows)]
        key = json.dumps(about, sort_keys=True, default=str)
        path = self.folder / KEPT / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.npz"
        known = _read(path, key)
        if known is None:
            material = open_material(recipe.data)
            assert isinstance(material, Examples)
            train = material.parts["train"]
            checked = sample(train.part_targets(), material.task, CHECKED, 0)
            began = time.perf_counter()
            x, y = rival.features(self._inputs(train)), _answer(train, material)
            held = material.parts.get("validation", train.take(np.arange(0)))
            held = held.take(sample(held.part_targets(), material.task, CHECKED, 0))
            task: Any = material.task
            learnt = rival.learn(x, y, rival.features(self._inputs(held)) if len(held) else x[:0],
                                 _answer(held, material), task)  # fmt: skip
            test = learnt.predict(rival.features(self._inputs(material.parts[self.part].take(self.rows))))
            seconds = time.perf_counter() - began
            wrong = _error(learnt.predict(x[checked]), y[checked], material)
            known = {"held": test, "train_error": np.array(wrong), "seconds": np.array(seconds),
                     "choice": np.array(learnt.choice)}  # fmt: skip
            path.parent.mkdir(parents=True, exist_ok=True)
            _write(path, key, known)
        return Answers(
            known["held"], float(known["train_error"]), float(known["seconds"]), choice=str(known["choice"])
        )  # fmt: skip

    # ---- conclude

    def error(self, answers: Array) -> float:
        return _error(answers, self.truth, self.material)

    def _concluded(
        self, found: dict[str, dict[int, list[Answers]]], sizes: list[int], seeds: int, left_out: int
    ) -> Curves:  # fmt: skip
        made = []
        for name, by_size in found.items():
            points = [self._point(size, by_size[size]) for size in sizes if by_size.get(size)]
            if points:
                last = by_size[points[-1].size][0]
                title = self._network_name() if name == "network" else name
                kind: Any = "network" if name == "network" else "classical"
                made.append(LearnerCurve(name=title, kind=kind, points=tuple(points), choices=last.choice))
        law = None
        if self.over == "data":
            errors = {p.size: p.held_out.values for p in made[0].points}
            share = self.material.task != "regression"
            law = fitting.fit(errors, tested=self.truth.size if share else 0, saturated=self._constant())
        result = Curves(
            over=self.over, key=self.key, part=self.part, tested=len(self.rows), examples=self.examples,
            measure="unexplained variance" if self.material.task == "regression" else "error",
            seeds=tuple(range(seeds)), learners=tuple(made), law=law, left_out=left_out, reused=self.reused,
            filters=self._filters(found["network"]),
        )  # fmt: skip
        if self.recipe.train.keep != "last" and self.part == "validation":
            self.notes.append("There is no test part: errors are those of the validation part, which chooses too.")
        told = concluding.conclude(result)
        return msgspec.structs.replace(result, conclusions=tuple(told), notes=tuple(self.notes))

    def _network_name(self) -> str:
        return str(flat(defaults.resolve(self.recipe, sourcing.facts(self.material, None)))["network.name"])

    def _constant(self) -> float:
        """The error of always saying the same."""
        train = _answer(self.material.parts["train"], self.material)
        if self.material.task == "regression":
            return 1.0
        if train.ndim == 2:
            return self.error(np.broadcast_to(train.mean(0) > 0.5, self.truth.shape))
        return self.error(np.full(len(self.truth), np.bincount(train).argmax()))

    def _point(self, size: int, answers: list[Answers]) -> CurvePoint:
        decomposition = None
        if self.over != "data" and len(answers) > 1:
            stacked = np.stack([each.held_out for each in answers])
            if self.material.task == "regression":
                decomposition = decomposing.of_values(stacked, self.truth, _scale(self.truth))
            elif self.truth.ndim == 1:
                told = [each.probabilities for each in answers]
                known = None if any(each is None for each in told) else np.stack([e for e in told if e is not None])
                decomposition = decomposing.of_classes(stacked, self.truth, self.material.outputs, known)
        return CurvePoint(
            size=size, parameters=answers[0].parameters,
            held_out=concluding.spread([self.error(each.held_out) for each in answers]),
            train=concluding.spread([each.train_error for each in answers]),
            seconds=float(np.median([each.seconds for each in answers])), decomposition=decomposition,
            runs=tuple(each.run for each in answers if each.run),
        )  # fmt: skip

    def _filters(self, by_size: dict[int, list[Answers]]) -> FilterFit | None:
        """The first layer of the network at the largest size beside Gabor filters; None where it has no filters."""
        record = self.material.preprocess[0]
        if not isinstance(record, ImagePreprocess):
            return None
        with contextlib.suppress(NetwrightError):
            network = Run(Path(by_size[max(by_size)][0].run), trust=True).network
            return filter_fit(network)
        return None


def filter_fit(network: torch.nn.Module) -> FilterFit | None:
    """How near the first convolution's filters (at least 3×3) are to Gabor filters; None where there is none."""
    for name, module in network.named_modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
            if not isinstance(module, torch.nn.Conv2d) or min(module.kernel_size) < 3:
                return None
            planes = gabor.single_plane(module.weight.detach().cpu().numpy())
            fitted, explained = gabor.nearest(planes)
            drawn = gabor.random_fits(*planes.shape[1:])
            high = float(np.percentile(drawn, 95))
            order = np.argsort(-np.square(planes).sum((1, 2)), kind="stable")[:MOST_FILTERS]
            return FilterFit(
                layer=name, size=(planes.shape[1], planes.shape[2]), filters=len(planes), fit=float(explained.mean()),
                random=float(drawn.mean()), random_high=high, beyond=float((explained > high).mean()),
                picture=cards.picture(_sheet(planes[order], fitted[order]), WIDEST),
            )  # fmt: skip
    return None


def _sheet(learned: Array, fitted: Array) -> Array:
    """Pairs in columns, the learned one over its nearest; each pair has its own scale, zero is mid-grey."""
    largest = np.maximum(np.abs(learned).max((1, 2)), 1e-12)[:, None, None]
    rows = []
    for pictures in (learned, fitted):
        grey = np.clip(127.5 + 127.5 * pictures / largest, 0, 255).astype(np.uint8)
        enlarged = grey.repeat(max(1, 24 // grey.shape[1]), 1).repeat(max(1, 24 // grey.shape[2]), 2)
        rows.append(np.concatenate([np.pad(each, 2, constant_values=255) for each in enlarged], 1))
    return np.concatenate(rows, 0)


def _guess(took: dict[int, float], size: int) -> float:
    """Seconds of a training at ``size``, as its own or the nearest known one tells: by the power of the size that the
    known ones show, or in proportion to it."""
    if not took:
        return 0.0
    near, low, high = min(took, key=lambda known: abs(math.log(known / size))), min(took), max(took)
    power = math.log(took[high] / took[low]) / math.log(high / low) if high > low and took[low] else 1.0
    return float(took[near] * (size / near) ** min(max(power, 0.0), 2.0))


def not_in_time(count: int, planned: int, over: str, untouched: Sequence[int]) -> str:
    """What ``--time`` did not allow; sizes without any training are named."""
    never = f", all of those with {over} {', '.join(map(str, untouched))} among them" if untouched else ""
    return f"{count} of {formatting.plural(planned, 'training')} would have ended after --time{never}."


def _answer(part: Part, material: Examples) -> Array:
    """True answers: class indices (N,), labels or values (N, K)."""
    targets = part.part_targets()
    if material.task == "classification":
        return (targets.argmax(1) if targets.ndim == 2 else targets).astype(np.int64)
    found: Array = targets.astype(np.float64)
    return found.reshape(len(found), -1)


def _scale(truth: Array) -> float:
    return max(float(truth.var(0).mean()), 1e-30)


def _error(answers: Array, truth: Array, material: Examples) -> float:
    """The share of wrong answers, or of values the unexplained share of their variance."""
    if material.task == "regression":
        return float(np.square(answers.reshape(truth.shape) - truth).mean()) / _scale(truth)
    return float((answers.reshape(truth.shape) != truth).mean())


def _read(path: Path, key: str) -> dict[str, Array] | None:
    """What was kept under this key; None: nothing, or something else or damaged."""
    try:
        with np.load(path, allow_pickle=False) as kept:
            return dict(kept) if str(kept["key"]) == key else None
    except (OSError, ValueError, KeyError, EOFError):
        return None
    except Exception:  # a zip file that is cut raises what it likes
        return None


def _write(path: Path, key: str, values: dict[str, Array]) -> None:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, key=np.array(key), **values)  # type: ignore[arg-type]
    files.replace_file(path, buffer.getvalue())
