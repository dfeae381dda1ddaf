"""``netwright.compress``: a run → a smaller run, with what every pass cost and brought.

The passes change a copy; healing, scoring and measuring are the run's own recipe, data and a named runtime. The new
run's directory appears whole, at the end, by one rename; the source run is only read.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import shlex
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import nn

from netwright import exporting, keeping_compressed, runs, workbench
from netwright.comparing.intervals import LEVEL, paired, sign_test
from netwright.compression import budgets as limits
from netwright.compression import passes
from netwright.compression.budgets import Budgets, Point
from netwright.compression.passes import Changed, Step
from netwright.compression.prune import Sensitivity, sensitivity
from netwright.errors import NetwrightError, StoppedError, UsageError
from netwright.files import require_place
from netwright.records import CompressionStep, Latency, Surgery, plural
from netwright.reporting import formatting, ledger
from netwright.training import randomness
from netwright.workbench import Run
from netwright.workshop import RUNTIME, Figures, Said, Workshop, file_bytes, opened

SMALLER = 0.98  # of the file before
FASTER = 0.95  # of the time before: equal networks differ by 3 % here, their weights lie at other places


@dataclasses.dataclass(frozen=True)
class Compressed:
    """The new ``run``, one row a pass, the points that a search tried, and the budgets that were ``missed``.

    Where every pass was taken back, or changed nothing, none was written: ``new`` is False, and ``run`` the source.
    """

    run: Run
    steps: tuple[CompressionStep, ...]
    tried: tuple[Point, ...] = ()
    missed: tuple[str, ...] = ()
    new: bool = True

    @property
    def met(self) -> bool:
        return not self.missed

    def to_dict(self) -> dict[str, Any]:
        return {
            "run": str(self.run.directory) if self.new else None,
            "metrics": self.run.metrics,
            "steps": [step.to_dict() for step in self.steps],
            "tried": [point.to_dict() for point in self.tried],
            "missed": list(self.missed),
        }


def compress(
    subject: Run | Path | str,
    chain: str = "",
    *,
    max_size: str | float | None = None,
    max_latency: str | float | None = None,
    max_drop: float | None = None,
    keep_if_faster: bool = False,
    heal: int | None = None,
    runtime: str = "",
    threads: int = 1,
    batch: int = 1,
    train_data: Any = None,
    validation: Any = None,
    folder: Path | str = runs.DEFAULT_FOLDER,
    trust: bool = False,
    said: Said = lambda text: None,
) -> Compressed:
    """Compress a run by a chain of passes (``prune=channels:macs=0.5 heal=3``), or to budgets alone.

    ``max_size``: of the weights' file, ``500KB``; ``max_latency``: ``12ms@onnxruntime``; ``max_drop``: points of
    validation accuracy. Without a chain the share of MACs is searched for, and healed for ``heal`` epochs (half of
    the run's own). ``keep_if_faster``: a pass that changed the network without making it faster is taken back.
    ``runtime``, ``threads``, ``batch``: of every latency. ``train_data``, ``validation``: again those of a run whose
    data came from Python. ``folder``: where the new run goes, and where ``subject`` is looked up before ``runs``.
    Budgets that are not met are in the result's ``missed``.

    The whole chain is rehearsed without training before it begins, so a name that no layer or run has is said at once.
    Ctrl-C raises ``StoppedError``; the passes that were done by then are kept as a run.
    """
    wanted = limits.budgets_of(max_size, max_latency, max_drop)
    if not chain.strip() and not wanted.any:
        passes.parse(chain)  # says what a chain is
    steps = passes.parse(chain) if chain.strip() else ()
    if heal is not None:
        passes.parse(f"heal={heal}")
    asked = exporting.runtime_of(runtime, "--runtime") if runtime else ""
    if wanted.runtime:
        wanted = dataclasses.replace(wanted, runtime=exporting.runtime_of(wanted.runtime, "--max-latency"))
        if asked not in ("", wanted.runtime):
            raise UsageError("--runtime", asked, f"{wanted.runtime}, as --max-latency has it", "leave --runtime out")
    runtime = asked or wanted.runtime or RUNTIME
    exporting.require_threads(threads)
    run = _source(subject, folder, trust)
    require_place(Path(folder))
    given = (
        ("--max-size", max_size, None), ("--max-latency", max_latency, None), ("--max-drop", max_drop, None),
        ("--keep-if-faster", keep_if_faster, False), ("--heal", heal, None), ("--runtime", asked, ""),
        ("--threads", threads, 1), ("--batch", batch, 1), ("--out", Path(folder), Path(runs.DEFAULT_FOLDER)),
    )  # fmt: skip
    options = [
        word for name, value, usual in given if value != usual
        for word in ((name,) if value is True else (name, str(value)))
    ]  # fmt: skip
    with _said_if_stopped(run, chain, options), opened(run, train_data, validation, said) as shop:
        shop.runtime, shop.threads, shop.batch = runtime, threads, batch
        if wanted.drop is not None and "accuracy" not in shop.before.metrics:
            raise UsageError("--max-drop", "a run without an accuracy", "a classification")
        steps = tuple(_in_order(steps))
        _rehearse(shop, steps)
        tried: list[Point] = []
        made = _Made(copy.deepcopy(run.network).eval(), shop.before)
        try:
            if not steps:
                steps = _searched(shop, wanted, heal, tried)
            for reached in _carried_out(shop, made, steps, keep_if_faster):
                made = reached
        except KeyboardInterrupt as stop:
            raise _stopped(shop, made, steps, tried, Path(folder), options) from stop
        drop = None
        if "accuracy" in made.figures.metrics:
            drop = 100 * (shop.before.metrics["accuracy"] - made.figures.metrics["accuracy"])
        median = None if made.latency is None else made.latency.median_ms
        missed = wanted.missed(made.figures.file_bytes, median, drop)
        kept = run
        if new := not _same(made, run.network):
            kept = Run(_kept(shop, made, tried, Path(folder)), trust=True)
    return Compressed(kept, made.rows, tuple(tried), tuple(missed), new)


def _source(subject: Run | Path | str, folder: Path | str, trust: bool) -> Run:
    """The run to begin with: in ``folder``, where the new one goes, or in the usual one."""
    if isinstance(subject, Run):
        return subject
    try:
        return workbench.load(subject, folder=folder, trust=trust)
    except UsageError as error:
        try:
            return workbench.load(subject, trust=trust)
        except UsageError:
            raise error from None


def layer_sensitivity(
    subject: Run | Path | str, *, folder: Path | str = runs.DEFAULT_FOLDER, trust: bool = False,
    shares: Sequence[float] = (0.25, 0.5, 0.75), said: Said = lambda text: None,
) -> tuple[Sensitivity, ...]:  # fmt: skip
    """What each layer of a run bears to lose, alone and without healing; nothing is written."""
    run = _source(subject, folder, trust)
    with opened(run, None, None, said) as shop:
        return sensitivity(copy.deepcopy(run.network), shop.context, shares)


# --------------------------------------------------------------------------------------------------------------
# Pass by pass


@dataclasses.dataclass(frozen=True)
class _Made:
    """What a chain has come to: the changed copy, its surgeries after the run's own, and a row for each pass."""

    network: nn.Module
    figures: Figures
    latency: Latency | None = None
    surgeries: tuple[Surgery, ...] = ()
    rows: tuple[CompressionStep, ...] = ()


def _rehearse(shop: Workshop, steps: Sequence[Step]) -> None:
    """Do the chain on a copy without its training, so that what cannot be done is said before hours are spent.

    Costs the passes themselves once more, up to the last that is more than healing; nothing where that is the first.
    """
    last = max((number for number, step in enumerate(steps) if step.name != "heal"), default=0)
    network, context = copy.deepcopy(shop.run.network).eval(), dataclasses.replace(shop.context, training=_untrained)
    with randomness.kept():
        for step in steps[: last + 1] if last else ():
            step.apply(network, context)
            network.eval()


def _untrained(network: nn.Module, epochs: int, distil: Any = None, hook: Any = None) -> None:
    """Healing that does nothing."""


def _carried_out(shop: Workshop, made: _Made, steps: Sequence[Step], keep_if_faster: bool) -> Iterator[_Made]:
    """What the chain has come to before it and after each pass."""
    made = dataclasses.replace(made, latency=_timed(shop, {"": made.network}).get(""))
    yield made
    for step in steps:
        shop.said(step.text)
        started, network = time.perf_counter(), copy.deepcopy(made.network)
        changed = step.apply(network, shop.context)
        network.eval()
        after = shop.figures(network)
        found = _timed(shop, {"before": made.network, "after": network}) if changed.surgeries else {}
        was, now = found.get("before", made.latency), found.get("after", None if changed.surgeries else made.latency)
        row = _row(step, changed, (made.figures, after), (was, now), time.perf_counter() - started)
        if keep_if_faster and changed.surgeries and "faster" not in row.gains:
            row = msgspec.structs.replace(row, undone=True, won=False, note=f"{row.note}; not faster, taken back")
            made = dataclasses.replace(made, rows=(*made.rows, row))
        else:
            made = _Made(network, after, now, (*made.surgeries, *changed.surgeries), (*made.rows, row))
        yield made
        shop.said(f"  {row.note}")


def _same(made: _Made, network: nn.Module) -> bool:
    """Whether nothing came of the chain."""
    before, after = network.state_dict(), made.network.state_dict()
    return not made.surgeries and all(torch.equal(before[name], tensor) for name, tensor in after.items())


def _kept(shop: Workshop, made: _Made, tried: Sequence[Point], folder: Path) -> Path:
    chain = " ".join(row.step for row in made.rows)
    return keeping_compressed.keep(shop, made.network, made.surgeries, made.rows, chain, tried, folder)


def _again(subject: Path, words: Sequence[str], options: Sequence[str]) -> str:
    """The command that goes on."""
    return shlex.join(["netwright", "compress", str(subject), *words, *options])


@contextlib.contextmanager
def _said_if_stopped(run: Run, chain: str, options: Sequence[str]) -> Iterator[None]:
    """Ctrl-C while the data are read and the chain is rehearsed, before there is anything to keep."""
    try:
        yield
    except KeyboardInterrupt as stop:
        got = "Ctrl-C before the first pass; nothing was written"
        raise StoppedError("compress", got, "", _again(run.directory, chain.split(), options)) from stop


def _stopped(
    shop: Workshop, made: _Made, steps: Sequence[Step], tried: Sequence[Point], folder: Path, options: Sequence[str]
) -> StoppedError:  # fmt: skip
    """After Ctrl-C: what was done is kept as a run, and the error says how to go on from there."""
    done = len(made.rows)
    name = f"compress: {steps[done].text}" if done < len(steps) else "compress"
    subject, got = shop.run.directory, "Ctrl-C; nothing was written"
    rest = [step.text for step in steps[done:]]
    if not _same(made, shop.run.network):
        shop.said("stopped; keeping the passes that are done (Ctrl-C once more leaves them)")
        subject = _kept(shop, made, tried, folder)
        got = f"Ctrl-C; {done} of {plural(len(steps), 'pass', 'passes')} done and kept as {subject}"
        got += f", what {steps[done].text} had done by then is not" if done < len(steps) else ""
        rest = [step.text for step in _for_all(steps[:done])] + rest
    elif not steps:
        got = f"Ctrl-C while looking for the share of MACs, {len(tried)} tried; nothing was written"
    return StoppedError(name, got, "", _again(subject, rest, options))


def _in_order(steps: Sequence[Step]) -> Iterator[Step]:
    """A teacher without epochs of its own is for all healing, wherever it stands."""
    for_all = _for_all(steps)
    yield from for_all
    yield from (step for step in steps if step not in for_all)


def _for_all(steps: Sequence[Step]) -> list[Step]:
    return [step for step in steps if step.name == "distil" and getattr(step.options, "epochs", 1) == 0]


def _timed(shop: Workshop, networks: dict[str, nn.Module]) -> dict[str, Latency]:
    """Latencies; none, and a line that says why, where the runtime cannot take a network."""
    try:
        return shop.latencies(networks)
    except NetwrightError as error:
        if "" in networks:  # the source run itself: the runtime was asked for in vain
            raise
        shop.said(f"  not measured in {shop.runtime}: {error}")
        return {}


def clearly_faster(before: Latency | None, after: Latency | None) -> bool:
    """Whether more of the rounds are quicker by ``FASTER`` than a coin would make so."""
    if before is None or after is None:
        return False
    quick = [now < FASTER * was for was, now in zip(before.turns, after.turns, strict=True)]
    ahead = sum(quick)
    return 2 * ahead > len(quick) and sign_test(ahead, len(quick) - ahead) < 1 - LEVEL


def _without_turns(latency: Latency | None) -> Latency | None:
    return None if latency is None else msgspec.structs.replace(latency, turns=())


def chance_of(before: Figures, after: Figures) -> float:
    """Of so large a difference on the same examples were both networks alike: by the sign test over those that only one
    has right (McNemar 1947); of losses by Student's t over the differences."""
    if before.each.dtype == torch.bool:
        gained, lost = (int((one.each & ~other.each).sum()) for one, other in ((after, before), (before, after)))
        return sign_test(gained, lost)
    return paired((after.each - before.each).tolist()).p


def _unsure(before: Figures, after: Figures, chance: float) -> str:
    """What a difference that chance would make is called."""
    metric = ledger.telling(before.metrics)
    if chance < 1 - LEVEL or after.metrics.get(metric) == before.metrics.get(metric):
        return ""
    test = "the sign test" if before.each.dtype == torch.bool else "a paired t test of the losses"
    return f"{formatting.metric_name(metric)} not told apart from before (p = {formatting.short(chance, 2)} by {test})"


def _row(
    step: Step, changed: Changed, figures: tuple[Figures, Figures], latency: tuple[Latency | None, Latency | None],
    seconds: float,
) -> CompressionStep:  # fmt: skip
    before, after = figures
    faster = latency[0].median_ms / latency[1].median_ms if changed.surgeries and latency[0] and latency[1] else None
    by, chance = workbench.score(after.metrics) - workbench.score(before.metrics), chance_of(before, after)
    told_apart = chance < 1 - LEVEL
    gains = {
        "smaller": after.file_bytes < SMALLER * before.file_bytes,
        "faster": bool(changed.surgeries) and clearly_faster(*latency),
        "better": told_apart and by > 0,
    }
    won = tuple(name for name, true in gains.items() if true)
    counts = {"parameters": (before.parameters, after.parameters), "MACs": (before.macs, after.macs)}
    worse = [f"more {what}" for what, (old, new) in counts.items() if new > old]
    worse += ["slower"] * (bool(changed.surgeries) and clearly_faster(*latency[::-1]))
    worse += ["worse"] * (told_apart and by < 0)
    notes = [changed.note, f"{', '.join(worse)} than before" if worse else "", _unsure(before, after, chance)]
    notes.append("" if won else "wins nothing: neither smaller nor faster nor better")
    note = "; ".join(filter(None, notes))
    return CompressionStep(
        step=step.text, parameters=(before.parameters, after.parameters), nonzero=(before.nonzero, after.nonzero),
        macs=(before.macs, after.macs), file_bytes=(before.file_bytes, after.file_bytes),
        memory_bytes=(before.memory_bytes, after.memory_bytes), metrics=(before.metrics, after.metrics),
        latency=(_without_turns(latency[0]), _without_turns(latency[1])), faster=faster, won=bool(won), note=note,
        seconds=seconds, gains=won, facts=changed.facts, chance=chance,
    )  # fmt: skip


# --------------------------------------------------------------------------------------------------------------
# Budgets alone


def _searched(shop: Workshop, wanted: Budgets, heal: int | None, points: list[Point]) -> tuple[Step, ...]:
    """The chain that meets the budgets, or comes nearest; what is tried goes into ``points``.

    Empty where the run meets size and latency as it is. Both follow from the channels alone, so the largest share of
    MACs that meets them is looked for without healing. Accuracy alone: the smallest share whose drop is within the
    limit after an epoch of healing.
    """
    epochs = heal if heal is not None else max(1, int(shop.recipe.train.epochs) // 2)
    structural = wanted.size is not None or wanted.latency_ms is not None

    @limits.remembered
    def fits(share: float) -> bool | None:
        network = copy.deepcopy(shop.run.network)
        try:
            passes.parse(f"prune=channels:macs={share:.4f}")[0].apply(network, shop.context)
        except UsageError as error:
            if "macs" not in error.where:
                raise
            return None
        size = file_bytes(network)
        median = None
        if wanted.latency_ms is not None:
            median = shop.latencies({"": network})[""].median_ms
        metrics, drop = {}, 0.0
        if not structural:
            shop.context.heal(network, 1)
            metrics = shop.context.score(network)
            drop = 100 * (shop.before.metrics["accuracy"] - metrics["accuracy"])
        good = not wanted.missed(size, median, drop)
        points.append(Point(macs=share, file_bytes=size, latency_ms=median, metrics=metrics, fits=good))
        shop.said(f"  {share:.0%} of the MACs: " + ("fits" if good else "does not fit"))
        return good

    if structural:
        size, median = shop.before.file_bytes, None
        if wanted.latency_ms is not None:
            median = shop.latencies({"": shop.run.network})[""].median_ms
        if not wanted.missed(size, median, 0.0):
            shop.said("the run meets the budgets as it is")
            return ()
    shop.said("looking for the share of MACs that fits")
    share = limits.largest(fits) if structural else limits.smallest(fits)
    if share is None:  # the nearest that can be made
        possible = [point.macs for point in points]
        if not possible:
            raise UsageError(
                "compress", "a network of which no channel can go", "a chain of other passes", "quantize=int8"
            )
        share = min(possible) if structural else max(possible)
    return passes.parse(f"prune=channels:macs={share:.4f} heal={epochs}")
