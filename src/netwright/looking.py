"""The parts of ``netwright inspect`` that need values: weights, filters, activations, effective field, equivariance."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from netwright.errors import UsageError
from netwright.graph.tracing import InputSpec
from netwright.inspecting import Subject
from netwright.records import Section, plural

EXAMPLES = 16  # real inputs, where none are named
SHOWN_LAYERS = 24
PICTURE_SIDE = 480


def sections(
    found: Subject,
    *,
    weights: bool = False,
    effective: str | None = None,
    shifts: bool = False,
    activations: bool = False,
    files: Sequence[Path] = (),
) -> tuple[Section, ...]:
    """What was asked for, in order. ``effective``: a layer's name, empty for the last map. ``files``: examples, as a
    run predicts them; without them a run's validation part, and noise for a network that was not trained.

    Raises ``UsageError`` where the subject has no values, ``NetworkError`` where it does not run.
    """
    if found.network is None:
        raise UsageError(
            found.name, "an .onnx file", "a network by name, file.py:Name or a run", "leave this option out"
        )
    made: list[Section] = []
    if weights:
        made.append(_weights(found))
        made += _filters(found)
    if activations or effective is not None or shifts:
        inputs, what = examples(found, files)
        if activations:
            made.append(_activations(found, inputs[:1], what))
        if effective is not None:
            made.append(_effective(found, inputs, what, effective))
        if shifts:
            made.append(_equivariance(found, inputs, what))
    return tuple(made)


def examples(found: Subject, files: Sequence[Path] = ()) -> tuple[Tensor, str]:
    """(N, …) as the network takes them, and what they are."""
    if found.run is None:
        if files:
            raise UsageError("--examples", f"files for {found.name}", "a run, which knows how to prepare them")
        return _noise(found.example), "noise"
    from netwright import sourcing
    from netwright.data.opening import open_source
    from netwright.predicting import Predictor

    run = found.run
    if files:
        return Predictor(run).prepared(list(files))[:EXAMPLES], ", ".join(path.name for path in files[:3])
    recipe = run.recipe
    material = open_source(recipe.data)
    sources = sourcing.open_batches(recipe, material, torch.device("cpu"))
    batches = sources.validation or sources.train
    batch = next(iter(batches.epoch(0)))
    return batch.inputs[0][:EXAMPLES], f"{plural(min(EXAMPLES, len(batch)), 'example')} of {recipe.data.source}"


def _noise(example: Any) -> Tensor:
    if isinstance(example, Tensor):
        return example
    shape = example.shape if isinstance(example, InputSpec) else tuple(example)
    if not all(isinstance(size, int) for size in shape):
        raise UsageError("several inputs", "a network that takes more than one", "one input")
    if isinstance(example, InputSpec) and not example.dtype.is_floating_point:
        raise UsageError("integer inputs", "noise for them, which says nothing", "a run, whose examples are used")
    return torch.randn((EXAMPLES, *shape), generator=torch.Generator().manual_seed(0))


def _weights(found: Subject) -> Section:
    from netwright.inspection.weights import weight_numbers

    assert found.network is not None
    numbers = weight_numbers(found.network)
    rows = tuple(
        (
            one.name, "×".join(map(str, one.shape)), f"{100 * (1 - one.nonzero_share):.1f} %",
            *(_short(value) for value in (one.l1, one.l2, one.linf, one.mean, one.std, one.spectral_norm)),
            "" if one.rank is None else f"{one.rank}/{one.full_rank}", _short(one.condition),
        )
        for one in numbers
    )  # fmt: skip
    return Section(
        name="weights",
        title="Weights",
        columns=("weight", "shape", "zeros", "L1", "L2", "L∞", "mean", "deviation", "spectral", "rank", "condition"),
        rows=rows,
        lines=tuple(f"{one.name}: {one.note}" for one in numbers if one.note),
        histograms=tuple(
            (one.name, one.histogram.counts, one.histogram.edges) for one in numbers if len(one.shape) > 1
        ),
        data={"parameters": [one.to_dict() for one in numbers]},
    )


def _filters(found: Subject) -> list[Section]:
    from netwright.inspection.weights import first_filters

    assert found.network is not None
    shape = found.example.shape if isinstance(found.example, InputSpec) else ()
    picture = first_filters(found.network, tuple(shape))
    if picture is None:
        return []
    caption = f"{plural(len(picture.channels), 'filter')} of {picture.layer} ({'×'.join(map(str, picture.shape))})"
    return [Section(name="filters", title="First filters", pictures=((caption, png(picture.pixels)),))]


def _activations(found: Subject, inputs: Tensor, what: str) -> Section:
    from netwright.inspection.weights import activation_pictures

    assert found.network is not None
    pictures = activation_pictures(found.network, inputs)
    step = -(-len(pictures) // SHOWN_LAYERS)
    chosen = pictures[:: max(step, 1)]
    return Section(
        name="activations",
        title="Activations",
        lines=(f"of one of {what}, layer by layer; the channels that vary most, each from black to white",),
        pictures=tuple(
            (f"{one.layer} {one.kind} {'×'.join(map(str, one.shape))}", png(one.pixels)) for one in chosen
        ),
    )  # fmt: skip


def _effective(found: Subject, inputs: Tensor, what: str, layer: str) -> Section:
    from netwright.inspection.effective_field import effective_field
    from netwright.inspection.receptive_field import receptive_fields

    assert found.network is not None
    graph = found.trace()
    fields = receptive_fields(graph)
    of_layer = {one.name: fields[one.outputs[0]] for one in graph.operations if one.outputs[0] in fields}
    seen = effective_field(
        found.network, inputs, layer=layer, theoretical=lambda name: of_layer[name].size if name in of_layer else ()
    )
    share = ""
    if seen.share is not None:
        field = of_layer[seen.layer]
        theory = "×".join("all" if whole else str(size) for size, whole in zip(field.size, field.whole, strict=True))
        share = f", {100 * seen.share:.0f} % of the theoretical {theory} a side"
    line = f"{seen.layer}: {seen.size:.1f} pixels a side above {100 * seen.threshold:.2f} % of the largest{share}"
    return Section(
        name="effective_field",
        title="Effective receptive field",
        lines=(line, f"standard deviation {' × '.join(f'{one:.1f}' for one in seen.deviation)} pixels, over {what}"),
        pictures=((f"influence on the middle of {seen.layer}", png(seen.picture())),),
        data=seen.to_dict() | {"values": None},
    )


def _equivariance(found: Subject, inputs: Tensor, what: str) -> Section:
    from netwright.inspection.equivariance import equivariance

    assert found.network is not None
    seen = equivariance(found.network, inputs)
    rows = tuple(
        (
            layer.name, layer.kind, "×".join(f"{stride:g}" for stride in layer.stride), _short(layer.error),
            _short(layer.own),
        )
        for layer in seen.layers
    )  # fmt: skip
    lines = [f"shift-then-apply against apply-then-shift, relative, over {what}"]
    first = seen.first
    if first is None:
        lines.append("every map moves as the input does")
    else:
        why = {
            "stride": "its stride is no divisor of the shift", "position": "it treats positions differently",
            "border": "its padding differs from what lies beyond the border",
        }[first.cause]  # fmt: skip
        lines.append(
            f"broken first by {first.layer} ({first.kind}), {first.error:.3f} at a shift of {first.pixels}: {why}"
        )
    lines += [
        f"output, shift of {one.pixels} along axis {one.axis}: changes by {one.change:.3f}, "
        f"{100 * one.decisions:.0f} % of the decisions with it"
        for one in seen.output
    ]
    return Section(
        name="equivariance",
        title="Equivariance to shifts",
        lines=tuple(lines),
        columns=("layer", "kind", "stride", "largest error", "without borders"),
        rows=rows,
        data=seen.to_dict(),
    )


def _short(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def png(pixels: np.ndarray) -> str:
    """A picture as PNG in base64, small ones enlarged by whole pixels."""
    from PIL import Image

    image = Image.fromarray(np.ascontiguousarray(pixels))
    zoom = max(1, min(8, PICTURE_SIDE // max(image.size)))
    if zoom > 1:
        image = image.resize((image.width * zoom, image.height * zoom), Image.Resampling.NEAREST)
    if image.mode == "RGB" and max(image.size) > PICTURE_SIDE:
        image.thumbnail((2 * PICTURE_SIDE, 2 * PICTURE_SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()
