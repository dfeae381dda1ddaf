"""The frame of the passes: what one gets and gives, their names, and the language of a chain.

A pass is a module of this room with ``Options`` (frozen, parsed from the text of the chain) and
``apply(network, options, context) -> Changed``. It changes the network in place; the frame hands it a copy. The law of
every pass: a fresh network of the same kind, with all surgeries replayed and the changed network's state loaded
strictly, gives the same bits. What cannot be such a list is an export artefact, not a pass.

A chain is words: ``slim:epochs=5 prune=channels:macs=0.5,criterion=l1 heal=3``. Each is ``NAME``, ``NAME=VALUE`` or
``NAME=VALUE:OPTION=VALUE,OPTION=VALUE``; the value is the first option. Lists are joined by ``+``.
"""

from __future__ import annotations

import dataclasses
import importlib
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Annotated, Any, NamedTuple, Protocol, get_args, get_origin, get_type_hints

import msgspec
import torch
from torch import nn

from netwright.errors import DataError, UsageError, nearest, unknown_name
from netwright.graph.coupling import coupled
from netwright.graph.examples import Example
from netwright.graph.products import total_macs
from netwright.graph.structure import Graph
from netwright.graph.tracing import trace
from netwright.records import Surgery

# Word of a chain → the module that holds the pass; one whose value chooses among several has a module for each value.
PASSES: dict[str, str | dict[str, str]] = {
    "heal": "heal",
    "prune": {"channels": "prune", "weights": "masks"},
    "slim": "slim",
    "group": "group",
    "lowrank": "lowrank",
    "quantize": "quantize",
    "pack": "pack",
    "distil": "distil",
    "rewrite": "rewrite",
}


# --------------------------------------------------------------------------------------------------------------
# What a pass gets and gives


class Batch(Protocol):
    """Examples as the network takes them: by position, or by keyword where ``names`` says so.

    ``index`` are their places in the training part, (N,), where they have any.
    """

    @property
    def inputs(self) -> tuple[torch.Tensor, ...]: ...
    @property
    def targets(self) -> torch.Tensor: ...
    @property
    def index(self) -> torch.Tensor | None: ...
    @property
    def names(self) -> tuple[str, ...]: ...


def call(network: nn.Module, batch: Batch) -> Any:
    """The network on a batch."""
    if batch.names:
        return network(**dict(zip(batch.names, batch.inputs, strict=True)))
    return network(*batch.inputs)


class At(NamedTuple):
    """A place in a healing, after an optimiser's step: ``step`` of ``steps``, from 1; ``rate`` it was made with;
    ``total`` of the rates of all steps."""

    step: int
    steps: int
    rate: float
    total: float


Hook = Callable[[At], None]  # may change the network's weights in place
Distil = Callable[[nn.Module, Batch, Any, torch.Tensor], torch.Tensor]  # network, batch, outputs, loss → loss


class Heal(Protocol):
    """Trains the network in place by the run's own recipe and data; nothing else changes."""

    def __call__(
        self, network: nn.Module, epochs: int, distil: Distil | None = None, hook: Hook | None = None
    ) -> None: ...


@dataclasses.dataclass
class Context:
    """What a pass may use. Data, training and scoring come in as functions.

    ``example``: what ``graph.tracing.trace`` takes. ``batches``: an epoch of real, unaugmented training batches, the
    same ones each time. ``objective``: ``loss(outputs, targets)``. ``metrics``: of the validation part.
    ``training``: the run's healing. ``teachers``: networks in evaluation mode by what a chain calls them.
    ``distil``: set by a teacher that all healing is to learn from. ``initial``: the state dict that the run's network
    had before its first step, for rewinding.
    """

    example: Example
    seed: int = 0
    batches: Callable[[], Iterator[Batch]] | None = None
    objective: Any = None
    metrics: Callable[[nn.Module], dict[str, float]] | None = None
    training: Heal | None = None
    teachers: Callable[[str], Sequence[nn.Module]] | None = None
    initial: Callable[[], dict[str, torch.Tensor]] | None = None
    labels: tuple[str, ...] = ()
    distil: Distil | None = None

    def graph(self, network: nn.Module, *, couplings: bool = False) -> Graph:
        """The network's graph for one example, with couplings where they are asked for."""
        graph = trace(network, self.example)
        return coupled(graph) if couplings else graph

    def macs(self, network: nn.Module) -> int:
        """Multiply-accumulates for one example."""
        return total_macs(self.graph(network))

    def calibration(self) -> Iterator[Batch]:
        """Real batches of the training part, unaugmented. Raises ``DataError`` where there are none."""
        if self.batches is None:
            raise DataError(
                "calibration", "no data", "the run's training data (random numbers would not do)",
                "make the run's source readable again",
            )  # fmt: skip
        return self.batches()

    def first_batch(self) -> Batch:
        """The first of the calibration's batches."""
        for batch in self.calibration():
            return batch
        raise DataError("calibration", "an empty training part", "at least one example")

    def loss(self, outputs: Any, targets: torch.Tensor) -> torch.Tensor:
        """The run's own."""
        if self.objective is None:
            raise DataError("loss", "no objective", "the run's own")
        found: torch.Tensor = self.objective.loss(outputs, targets)
        return found

    def heal(self, network: nn.Module, epochs: int, distil: Distil | None = None, hook: Hook | None = None) -> None:
        """Train the network in place for some epochs by the run's recipe; ``distil`` rules over the chain's own."""
        if self.training is None:
            raise UsageError("heal", "no training data", "a run whose source can be read", "leave healing out")
        self.training(network, epochs, distil or self.distil, hook)

    def score(self, network: nn.Module) -> dict[str, float]:
        """Metrics of the validation part."""
        if self.metrics is None:
            raise DataError(
                "validation", "no data", "the run's validation part", "make the run's source readable again"
            )
        return self.metrics(network)


class Changed(NamedTuple):
    """What a pass did: its surgeries in order, one sentence for the ledger, and figures for programs."""

    surgeries: tuple[Surgery, ...] = ()
    note: str = ""
    facts: dict[str, Any] = {}


MOST_NAMED = 6  # layers in a message
MOST_EPOCHS = 10_000  # of a pass: more is a slip of the finger
Epochs = Annotated[int, msgspec.Meta(ge=1, le=MOST_EPOCHS)]
EpochsOrNone = Annotated[int, msgspec.Meta(ge=0, le=MOST_EPOCHS)]


class PassOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of a pass's options. The first field is what stands behind ``NAME=``; every field has a default or must be
    given."""


# --------------------------------------------------------------------------------------------------------------
# The language


class Step(NamedTuple):
    """One word of a chain."""

    name: str
    text: str
    options: Any
    module: str

    def apply(self, network: nn.Module, context: Context) -> Changed:
        changed: Changed = _module(self.module).apply(network, self.options, context)
        return changed


def parse(chain: str) -> tuple[Step, ...]:
    """The steps of a chain. Raises ``UsageError`` with the nearest name for a word that is not known."""
    words = chain.split()
    if not words:
        raise UsageError(
            "compress", "an empty chain", f"passes ({', '.join(PASSES)})", "prune=channels:macs=0.5 heal=1"
        )
    return tuple(_step(word) for word in words)


def _step(word: str) -> Step:
    start = re.search(r":(?=[\w-]+=)", word)
    head, listed = (word[: start.start()], word[start.end() :]) if start else (word, "")
    name, equals, value = head.partition("=")
    if name not in PASSES:
        raise unknown_name("compress", name, PASSES)
    if equals and not value:
        raise UsageError(f"compress: {word}", "nothing behind =", f"a value, or {name} alone")
    home = PASSES[name]
    if isinstance(home, dict):
        kind, _, more = value.partition(":")
        if kind not in home:
            raise UsageError(
                f"compress: {name}", repr(kind) if kind else "no kind", f"one of {', '.join(home)}",
                f"{name}={nearest(kind, home) or next(iter(home))}",
            )  # fmt: skip
        if more:
            raise UsageError(f"compress: {name}={kind}", repr(more), "OPTION=VALUE", _example(name, kind, home[kind]))
        return Step(name, word, _options(f"{name}={kind}", _module(home[kind]).Options, "", listed), home[kind])
    return Step(name, word, _options(name, _module(home).Options, value, listed), home)


def _module(name: str) -> Any:
    return importlib.import_module(f"netwright.compression.{name}")


def _example(name: str, kind: str, module: str) -> str:
    first = next(iter(_module(module).Options.__struct_fields__), "")
    return f"{name}={kind}:{first.replace('_', '-')}=VALUE"


def _options(where: str, kind: type[PassOptions], value: str, listed: str) -> PassOptions:
    fields = kind.__struct_fields__
    hints = get_type_hints(kind, include_extras=True)
    given: dict[str, Any] = {}
    if value:
        if not fields:
            raise UsageError(f"compress: {where}", repr(value), "no value")
        given[fields[0]] = value
    for item in filter(None, listed.split(",")):
        key, equals, text = item.partition("=")
        field = key.replace("-", "_")
        if field not in fields or not equals:
            known = [each.replace("_", "-") for each in fields]
            got = f"option {key!r}" + ("" if equals else " without a value")
            expected = f"one of {', '.join(known)}" if known else "no option"
            hint = f"{nearest(key, known) or known[0]}=VALUE" if known else ""
            raise UsageError(f"compress: {where}", got, expected, hint)
        if field in given:
            raise UsageError(f"compress: {where}", f"{key} twice", "once")
        given[field] = text
    for field, text in given.items():
        given[field] = _converted(f"compress: {where}: {field.replace('_', '-')}", text, hints[field])
    try:
        return msgspec.convert(given, kind)
    except msgspec.ValidationError as error:
        missing = re.search(r"required field `(\w+)`", str(error))
        if missing:
            key = missing[1].replace("_", "-")
            example = f"{where}=VALUE" if missing[1] == fields[0] and "=" not in where else f"{where}:{key}=VALUE"
            raise UsageError(f"compress: {where}", f"no {key}", f"{key}, which has no default", example) from error
        hint = f"{where}:{fields[0]}=VALUE" if fields and fields[0] not in given else ""
        raise UsageError(f"compress: {where}", str(error), "its options", hint) from error
    except (ValueError, TypeError) as error:  # a check of the options' own
        raise UsageError(f"compress: {where}", str(error), "options that go together") from error


def _converted(where: str, text: str, hint: Any) -> Any:
    plain = next((each for each in get_args(hint) if get_origin(each) is tuple), hint)
    raw: Any = text.split("+") if get_origin(plain) is tuple else text
    try:
        found = msgspec.convert(raw, hint, strict=False)
        if isinstance(found, float) and not math.isfinite(found):
            raise UsageError(where, repr(text), f"{_asked(hint)} (finite)")
        return found
    except msgspec.ValidationError as error:
        words = _words(hint)
        near = nearest(text, words) if words else ""
        expected = f"one of {', '.join(words)}" if words else _asked(hint)
        raise UsageError(where, repr(text), expected, near or "") from error


def _asked(hint: Any) -> str:
    """What an option takes, in words: ``a whole number, at least 1 and at most 10000``."""
    meta = next((each for each in getattr(hint, "__metadata__", ()) if isinstance(each, msgspec.Meta)), None)
    if meta is None and (inner := [each for each in get_args(hint) if each is not type(None)]):
        return _asked(inner[0])
    kind = get_args(hint)[0] if meta is not None else hint
    what = {int: "a whole number", float: "a number", bool: "true or false"}.get(kind, "text")
    limits = (("at least", meta and meta.ge), ("more than", meta and meta.gt), ("at most", meta and meta.le),
              ("less than", meta and meta.lt))  # fmt: skip
    return ", ".join(filter(None, [what, " and ".join(f"{word} {at:g}" for word, at in limits if at is not None)]))


def _words(hint: Any) -> list[str]:
    """The texts that a literal type takes."""
    found: list[str] = [each for each in get_args(hint) if isinstance(each, str)]
    for each in get_args(hint):
        found += _words(each) if not isinstance(each, str) else []
    return found


def written(steps: Iterable[Step]) -> str:
    """The chain as it was given."""
    return " ".join(step.text for step in steps)
