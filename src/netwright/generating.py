"""A language model goes on with a text: one unit after another, drawn from what it thinks likely."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from netwright.data.words import decode, encode, units
from netwright.errors import DataError, UsageError
from netwright.preprocess import TextInput
from netwright.training.evaluating import evaluation_mode
from netwright.workbench import Run

LONGEST = 1 << 20  # units of one sample


def generate(
    run: Run, count: int = 500, *, temperature: float = 1.0, prompt: str = "", seed: int = 0, top: int | None = None
) -> str:
    """``count`` units (characters or words) after ``prompt``, which is not repeated.

    ``temperature``: logits are divided by it before the softmax; 0 always takes the most likely unit, above 1 dares
    more. ``top``: only so many of the most likely are drawn from. ``seed``: the same text again. Costs one pass of one
    position a unit in a recurrent network, in others one over the window.
    """
    return decode(stream(run, count, temperature=temperature, prompt=prompt, seed=seed, top=top), text_of(run))


def text_of(run: Run) -> TextInput:
    """The run's vocabulary; raises where it is no language model."""
    text = run.inputs.text
    if text is None or text.length:
        raise UsageError(
            str(run.directory), "a run that does not go on with a text", "a language model",
            "netwright train book.txt, which makes one" if text is None else "netwright predict RUN FILE",
        )  # fmt: skip
    return text


def stream(
    run: Run, count: int, *, temperature: float = 1.0, prompt: str = "", seed: int = 0, top: int | None = None
) -> Iterator[int]:
    """The ids of ``generate``, one at a time."""
    text = text_of(run)
    if not 1 <= count <= LONGEST:
        raise UsageError("--sample", str(count), f"1 to {LONGEST} units", "--sample 500")
    if not 0 <= temperature < float("inf"):
        raise UsageError("--temperature", str(temperature), "0 or more", "--temperature 0.8")
    if top is not None and top < 1:
        raise UsageError("--top", str(top), "a whole number >= 1")
    return _drawn(run, text, count, temperature, _prompted(text, prompt), seed, top)


def _prompted(text: TextInput, prompt: str) -> list[int]:
    """The ids to begin with; without a prompt a line's end, or else the first unit."""
    if prompt:
        unknown = [unit for unit in units(prompt, text.unit) if unit not in text.vocabulary]
        if unknown and text.unknown is None:
            raise DataError(
                "--prompt", f"{unknown[0]!r}, which the training text does not have",
                f"its {len(text.vocabulary)} {text.unit}s", "a prompt without it",
            )  # fmt: skip
        if ids := [int(number) for number in encode(prompt, text)]:
            return ids
    return [text.vocabulary.index("\n") if "\n" in text.vocabulary else 0]


def _drawn(
    run: Run, text: TextInput, count: int, temperature: float, begin: list[int], seed: int, top: int | None
) -> Iterator[int]:
    network = run.network
    window = run.inputs.inputs[0].shape[0]  # type: ignore[union-attr]
    remembers = any(hasattr(module, "memory") for module in network.modules())
    place = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
    draw = torch.Generator().manual_seed(seed)
    seen = begin if remembers else begin[-window:]
    with evaluation_mode(network), torch.inference_mode():
        for _ in range(count):
            logits = network(torch.tensor([seen], dtype=torch.int64, device=place))[-1].double().cpu()
            if text.unknown is not None and len(logits) > 1:
                logits[text.unknown] = -torch.inf
            if top is not None:
                logits[logits < logits.topk(min(top, len(logits))).values[-1]] = -torch.inf
            if temperature == 0:
                chosen = int(logits.argmax())
            else:
                scaled = (logits - logits.max()) / temperature  # a tiny temperature must not overflow
                chosen = int(torch.multinomial(torch.softmax(scaled, 0), 1, generator=draw))
            yield chosen
            seen = [chosen] if remembers else [*seen, chosen][-window:]
