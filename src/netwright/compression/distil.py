"""A smaller network learns from a larger one's answers: soft targets, features, attention.

A teacher is a run or several joined by ``+``. Without epochs of its own it is there for all healing of the chain.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any, Literal

import msgspec
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from netwright.compression.passes import Batch, Changed, Context, EpochsOrNone, PassOptions, call
from netwright.errors import NetworkError, UsageError, nearest

FORGETTING = 0.98  # of the running products that a hint's regressor is solved from
RIDGE = 1e-3  # of their mean diagonal
SAME = 1e-5  # relative difference of fingerprints up to which an example counts as unchanged
TRY = "a teacher that was trained on the same data"


class Options(PassOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``distil=RUN:temperature=4,epochs=3``. ``weight``: the share of the soft targets, the rest is the labels'.

    ``hints``: ``features`` (FitNets) or ``attention`` at the modules ``at``, joined by ``+``: one name where both
    networks have it, else ``STUDENT>TEACHER``; ``hint-weight`` times their loss is added.
    """

    teacher: str
    temperature: Annotated[float, msgspec.Meta(gt=0)] = 4.0
    weight: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.7
    epochs: EpochsOrNone = 0
    hints: Literal["none", "features", "attention"] = "none"
    at: tuple[str, ...] = ()
    hint_weight: Annotated[float, msgspec.Meta(ge=0)] = 1.0

    def __post_init__(self) -> None:
        if (self.hints == "none") != (not self.at):
            raise ValueError("hints and at go together: hints=attention,at=LAYER")


def apply(network: nn.Module, options: Options, context: Context) -> Changed:
    """Heal with the teacher for ``epochs``, or give it to all healing of the chain. No surgery."""
    if context.teachers is None:
        raise UsageError("compress: distil", "no runs to choose a teacher from", "a teacher", "a run's name or path")
    teachers = [teacher.eval() for teacher in context.teachers(options.teacher)]
    task = str(getattr(context.objective, "task", "classification"))
    distilled = Distilled(
        teachers, task, options.temperature, options.weight, options.hints, options.at, options.hint_weight
    )
    distilled.check(network, context.first_batch())
    many = f" ({len(teachers)} networks)" * (len(teachers) > 1)
    if not options.epochs:
        context.distil = distilled
        return Changed((), f"all healing learns from {options.teacher}{many} at temperature {options.temperature:g}")
    context.heal(network, options.epochs, distil=distilled)
    note = f"{options.epochs} epoch{'s' * (options.epochs > 1)} with {options.teacher}{many} at temperature"
    return Changed((), f"{note} {options.temperature:g}", {"teacher_examples": distilled.cache.asked})


# --------------------------------------------------------------------------------------------------------------
# Soft targets


def softened(outputs: Tensor, task: str, temperature: float) -> Tensor:
    """Logarithms of probabilities at a temperature: (N, K); for each label on its own (N, K, 2); values stay (N, K).

    One logit of two classes becomes the two that it stands for.
    """
    if task == "regression":
        return outputs
    if task == "multi-label" or outputs.shape[1] == 1:
        pairs = torch.stack([torch.zeros_like(outputs), outputs / temperature], -1)
        return F.log_softmax(pairs, -1)
    return F.log_softmax(outputs / temperature, 1)


def soft_loss(outputs: Tensor, targets: Tensor, task: str, temperature: float) -> Tensor:
    """T² KL(teacher ‖ student), the mean over the examples (and labels); T² keeps gradients comparable between
    temperatures (Hinton, Vinyals, Dean 2015, section 2.1). Values: the mean squared difference.

    ``targets``: the teacher's probabilities (or values), as ``Distilled`` makes them.
    """
    found = softened(outputs, task, temperature)
    if task == "regression":
        return F.mse_loss(found, targets)
    divergence = F.kl_div(found, targets, reduction="none").sum(-1)
    return temperature**2 * divergence.mean()


class Cache:
    """The teacher's answers by place in the training part, asked for once an example that comes unchanged.

    An example's fingerprint, a product of its inputs with fixed random numbers, says whether it came as before: an
    augmented one is asked anew. ``asked`` counts examples that the teacher had to look at.
    """

    def __init__(self) -> None:
        self.asked = 0
        self._rows: Tensor | None = None
        self._prints = torch.full((0,), torch.nan)
        self._probes: list[Tensor] = []

    def answers(self, batch: Batch, ask: Callable[[], Tensor]) -> Tensor:
        """(N, …), from memory where every example of the batch is known."""
        if batch.index is None:
            self.asked += len(batch.targets)
            return ask()
        index, prints = batch.index.cpu(), self._fingerprints(batch)
        if self._rows is not None and int(index.max()) < len(self._prints):
            near = (self._prints[index] - prints).abs() <= SAME * prints.abs().clamp(min=1)
            if bool(near.all()):
                return self._rows[index].to(batch.targets.device)
        found = ask()
        self.asked += len(index)
        self._grow(int(index.max()) + 1, found)
        assert self._rows is not None
        self._rows[index], self._prints[index] = found.cpu(), prints
        return found

    def _grow(self, size: int, like: Tensor) -> None:
        if self._rows is None:
            self._rows = torch.zeros(0, *like.shape[1:], dtype=like.dtype)
        more = size - len(self._prints)
        if more > 0:
            more = max(more, len(self._prints))  # doubling: few copies
            self._rows = torch.cat([self._rows, torch.zeros(more, *self._rows.shape[1:], dtype=self._rows.dtype)])
            self._prints = torch.cat([self._prints, torch.full((more,), torch.nan)])

    def _fingerprints(self, batch: Batch) -> Tensor:
        flat = [tensor.detach().flatten(1).float() for tensor in batch.inputs]
        if not self._probes:
            drawn = torch.Generator().manual_seed(0)
            self._probes = [torch.randn(each.shape[1], generator=drawn).to(each.device) for each in flat]
        total: Tensor = sum((each @ probe).cpu() for each, probe in zip(flat, self._probes, strict=True))  # type: ignore[assignment]
        return total


class Distilled:
    """A loss for healing: (1 − w) the run's own + w the soft targets', + the hints'.

    Several teachers: the mean of their probabilities. Hints cost another forward pass of the student and one of the
    first teacher a batch.
    """

    def __init__(
        self, teachers: Sequence[nn.Module], task: str = "classification", temperature: float = 4.0,
        weight: float = 0.7, hints: str = "none", at: Sequence[str] = (), hint_weight: float = 1.0,
    ) -> None:  # fmt: skip
        self.teachers, self.task, self.temperature, self.weight = list(teachers), task, temperature, weight
        self.hints, self.hint_weight = hints, hint_weight
        self.pairs = [(name.partition(">")[0], name.partition(">")[2] or name) for name in at]
        self.cache = Cache()
        self._regressors: dict[str, Regressor] = {}

    def __call__(self, network: nn.Module, batch: Batch, outputs: Any, loss: Tensor) -> Tensor:
        targets = self.cache.answers(batch, lambda: self._answers(batch))
        total = (1 - self.weight) * loss
        if self.weight:
            total = total + self.weight * soft_loss(outputs.float(), targets, self.task, self.temperature)
        if self.hints != "none" and self.hint_weight:
            total = total + self.hint_weight * self._hinted(network, batch)
        return total

    def _answers(self, batch: Batch) -> Tensor:
        with torch.no_grad():
            found = []
            for teacher in self.teachers:
                teacher.to(batch.targets.device).eval()
                made = softened(call(teacher, batch).float(), self.task, self.temperature)
                found.append(made if self.task == "regression" else made.exp())
        return torch.stack(found).mean(0)

    def check(self, network: nn.Module, batch: Batch) -> None:
        """Raise where teacher and student do not answer the same question, or a hint's module is missing."""
        mode = network.training
        with torch.no_grad():
            own = tuple(call(network.eval(), batch).shape)
            for teacher in self.teachers:
                try:
                    theirs = tuple(call(teacher.to(batch.targets.device).eval(), batch).shape)
                except Exception as error:  # whatever a network says of inputs that are not its own
                    raise NetworkError(
                        "compress: distil", f"a teacher that cannot read the student's examples ({error})",
                        f"inputs {tuple(batch.inputs[0].shape[1:])}", TRY,
                    ) from error  # fmt: skip
                if theirs != own:
                    got = f"a teacher with outputs {theirs[1:]}"
                    raise NetworkError("compress: distil", got, f"{own[1:]}, the student's", TRY)
        network.train(mode)
        for names, subject, who in ((0, network, "student"), (1, self.teachers[0], "teacher")):
            known = dict(subject.named_modules())
            for pair in self.pairs:
                if pair[names] not in known:
                    raise UsageError(
                        "compress: distil: at", f"{pair[names]!r}", f"a module of the {who}",
                        nearest(pair[names], known) or "",
                    )  # fmt: skip

    def _hinted(self, network: nn.Module, batch: Batch) -> Tensor:
        with torch.no_grad(), _seen(self.teachers[0], [name for _, name in self.pairs]) as theirs:
            call(self.teachers[0], batch)
        with _still_norms(network), _seen(network, [name for name, _ in self.pairs]) as own:
            call(network, batch)
        losses = []
        for student, teacher in self.pairs:
            if self.hints == "attention":
                losses.append(attention_loss(own[student], theirs[teacher]))
            else:
                regressor = self._regressors.setdefault(student, Regressor())
                losses.append(regressor.loss(own[student], theirs[teacher]))
        return torch.stack(losses).sum()


# --------------------------------------------------------------------------------------------------------------
# Hints


@contextlib.contextmanager
def _seen(network: nn.Module, names: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """What the named modules give during the ``with``."""
    found: dict[str, Tensor] = {}
    handles = [
        network.get_submodule(name).register_forward_hook(
            lambda module, inputs, output, name=name: found.__setitem__(name, output)
        )
        for name in set(names)
    ]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


@contextlib.contextmanager
def _still_norms(network: nn.Module) -> Iterator[None]:
    """Running statistics see a batch once, though it passes twice."""
    norms = [each for each in network.modules() if isinstance(each, nn.modules.batchnorm._BatchNorm)]
    kept = [(norm, norm.momentum, norm.num_batches_tracked) for norm in norms]
    try:
        for norm in norms:
            norm.momentum = 0.0
            norm.num_batches_tracked = None if norm.num_batches_tracked is None else norm.num_batches_tracked.clone()
        yield
    finally:
        for norm, momentum, tracked in kept:
            norm.momentum, norm.num_batches_tracked = momentum, tracked


def attention_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference of maps Σ_c A_c², each scaled to length 1 (Zagoruyko and Komodakis 2017, equation 2),
    times the positions; the larger map (N, C, H, W) is averaged down to the smaller."""

    def attended(features: Tensor) -> Tensor:
        energy = features.square().sum(1, keepdim=True)
        return F.normalize(_at_size(energy, size).flatten(1), dim=1)

    if student.ndim != 4 or teacher.ndim != 4:
        raise UsageError("compress: distil: hints=attention", f"features {tuple(student.shape)}", "maps (N, C, H, W)")
    size = _smaller(student, teacher)
    return (attended(student) - attended(teacher)).square().sum(1).mean()


def _smaller(one: Tensor, other: Tensor) -> tuple[int, int]:
    return min(one.shape[2], other.shape[2]), min(one.shape[3], other.shape[3])


def _at_size(maps: Tensor, size: tuple[int, int]) -> Tensor:
    return maps if tuple(maps.shape[2:]) == size else F.adaptive_avg_pool2d(maps, size)


class Regressor:
    """From the student's features to the teacher's, at each position (FitNets: Romero et al. 2015, equation 3).

    Instead of being trained beside the student it is the ridge solution of the products seen so far, which fade; the
    gradient goes to the student's features alone.
    """

    def __init__(self) -> None:
        self._own: Tensor | None = None
        self._both: Tensor | None = None

    def loss(self, student: Tensor, teacher: Tensor) -> Tensor:
        """The squared difference as a share of the teacher's variance."""
        if student.ndim == 4 and teacher.ndim == 4:
            size = _smaller(student, teacher)
            student, teacher = (_at_size(each, size).movedim(1, -1) for each in (student, teacher))
        rows = student.reshape(-1, student.shape[-1]).float()
        wanted = teacher.reshape(-1, teacher.shape[-1]).float()
        rows = torch.cat([rows, torch.ones_like(rows[:, :1])], 1)
        fixed = rows.detach()
        own, both = fixed.T @ fixed / len(fixed), fixed.T @ wanted / len(fixed)
        if self._own is not None and self._both is not None:
            own = FORGETTING * self._own.to(own) + own
            both = FORGETTING * self._both.to(both) + both
        self._own, self._both = own, both
        ridge = RIDGE * own.diagonal().mean()
        matrix = torch.linalg.solve(own + ridge * torch.eye(len(own), device=own.device), both)
        share: Tensor = (rows @ matrix - wanted).square().mean() / wanted.var().clamp(min=1e-12)
        return share
