"""What a run says in one sentence: which network learned what, how well, in what time. No torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import PurePath

from netwright.records import RunSummary
from netwright.reporting import formatting

Metrics = Mapping[str, float | None]

HELD_OUT = ("test", "validation")
ERRORS = ("mae", "rmse", "mse")  # of a regression, the most telling first
SURE = 2.0  # standard deviations above guessing from which a share is more than guessing (one-sided 2.3 % false)
LEARNED = 0.5  # share of the way from guessing (of the mean, for values) to all right from which "learned" is said


def headline(
    run: RunSummary, *, epochs: int = 0, examples: int = 0, guessing: float | None = None, target: str = "",
    unit: str = "",
) -> str:  # fmt: skip
    """``small_resnet learned digits: 98.6 % of the held-out examples are right (validation), in 8 s``.

    ``epochs`` planned; ``examples`` held out; ``guessing``: the share that is right when the most frequent class is
    always said; ``target``: the name of what a regression predicts; ``unit``: what a language model tells, a character
    or a word. "Learned" needs evidence: see ``verdict``.
    """
    network, source = network_name(run.network) or "The network", source_name(run.source) or "its data"
    part, metrics = spoken_for(run.metrics)
    time = f", in {formatting.duration(run.seconds)}" if run.seconds else ""
    if run.state == "damaged":
        return f"{run.name} is damaged: {formatting.clipped(run.source, 160)}"
    if run.state == "empty" or not metrics:
        done = "has not finished an epoch" if run.state != "finished" else "finished, but left no metrics"
        return f"{network} on {source} {done}"
    said = surprise(part, metrics["loss"], unit) if unit and metrics.get("loss") else quality(part, metrics)
    if run.state in ("running", "interrupted"):
        of = f" of {epochs}" if epochs else ""
        verb = "is still learning" if run.state == "running" else "was stopped while learning"
        return f"{network} {verb} {source}: after epoch {run.epochs}{of}, {said}{time}"
    what = f"to predict {formatting.clipped(target, 40)} from {source}" if target else source
    against = f", guessing gives {formatting.percent(guessing)}" if guessing is not None else ""
    match verdict(metrics, guessing, examples):
        case "learned":
            return f"{network} learned {what}: {said}{time}"
        case "not learned":
            return f"{network} has not learned {what}: {said}{against or ', always saying the mean is no worse'}"
        case _:
            return f"{network} trained on {source}: {said}{against}{time}"


def verdict(metrics: Metrics, guessing: float | None, examples: int) -> str:
    """``learned`` or ``not learned`` where the numbers say so, else ``trained``."""
    accuracy, explained = metrics.get("accuracy"), metrics.get("r2")
    if accuracy is not None and guessing is not None:
        spread = math.sqrt(max(guessing * (1 - guessing), 1e-12) / max(1, examples))
        far = accuracy - guessing >= LEARNED * (1 - guessing)
        if accuracy <= guessing + SURE * spread:  # all of a handful may be right by luck: nothing is said then
            return "trained" if far else "not learned"
        return "learned" if far else "trained"
    if explained is not None and accuracy is None:
        return "not learned" if explained <= 0 else "learned" if explained >= LEARNED else "trained"
    return "trained"


def quality(part: str, metrics: Metrics) -> str:
    """How well, on which part: ``98.6 % of the held-out examples are right (validation)``."""
    whose, note = ("held-out", f"({part})") if part in HELD_OUT else ("training", "(nothing was held out)")
    accuracy = metrics.get("accuracy")
    if accuracy is not None and math.isfinite(accuracy):
        return f"{formatting.percent(accuracy)} of the {whose} examples are right {note}"
    name = telling(metrics)
    if not name:
        return "no metrics"
    if name == "mae":
        return f"{whose} values are off by {formatting.metric(name, metrics[name], 3)} on average {note}"
    return f"{formatting.metric_name(name)} {formatting.metric(name, metrics[name], 3)} on the {whose} examples {note}"


def surprise(part: str, loss: float | None, unit: str) -> str:
    """What a language model makes of a text: ``1.543 nats a character (2.226 bits, perplexity 4.68) on …``."""
    nats = math.nan if loss is None else loss
    of = "held-out" if part in HELD_OUT else "training"
    perplexity = formatting.number(math.exp(min(nats, 700.0)), 3)
    return f"{nats:.3f} nats a {unit} ({nats / math.log(2):.3f} bits, perplexity {perplexity}) on the {of} text"


def telling(metrics: Metrics) -> str:
    """The metric that says most: accuracy, another share, then an error, then the loss."""
    known = [name for name, value in metrics.items() if value is not None and math.isfinite(value)]
    shares = [name for name in known if formatting.is_share(name) and not name.startswith("top") and "loss" not in name]
    order = ["accuracy", *shares, *(name for name in ERRORS if name in known), *known]
    return next((name for name in order if name in known), "")


def spoken_for(metrics: Mapping[str, Metrics]) -> tuple[str, Metrics]:
    """The part of the data that speaks for a run, and its metrics: test, else validation, else training."""
    for part in (*HELD_OUT, "train"):
        if metrics.get(part):
            return part, metrics[part]
    return "", {}


def source_name(source: str) -> str:
    """A built-in name as it is, a path by its last part."""
    return formatting.clipped(PurePath(source.replace("\\", "/")).name or source, 60)


def network_name(name: str) -> str:
    """``file.py:Name`` and ``package.module:Name`` by the name."""
    return formatting.clipped(name.rsplit(":", 1)[-1], 60)
