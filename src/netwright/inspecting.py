"""``netwright inspect``: a subject (a name, a file, a run, a module) → its graph and its sheet."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import torch
from torch import nn

from netwright import runs
from netwright.errors import NetworkError, UsageError, unknown_name
from netwright.graph.examples import InputSpec, as_taken
from netwright.graph.structure import Graph
from netwright.graph.tracing import trace
from netwright.inspection.sheet import sheet
from netwright.nn import keeping
from netwright.nn.zoo import NETWORKS, PUBLISHED
from netwright.preprocess import ArrayPreprocess, Preprocess, input_shape
from netwright.records import Sheet

if TYPE_CHECKING:
    from netwright.workbench import Run

# What the small networks are looked at with, if nothing else is asked.
SMALL_INPUT, SERIES_INPUT, SMALL_OUTPUTS = (1, 28, 28), (1, 1024), 10
DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (
        torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8,
        torch.uint8, torch.bool,
    )
}  # fmt: skip
DTYPES |= {"float": torch.float32, "half": torch.float16, "int": torch.int64, "long": torch.int64}


@dataclasses.dataclass
class Subject:
    """What is inspected: ``trace`` gives its graph; ``network`` its module, with weights where they matter."""

    name: str
    example: Any
    network: nn.Module | None
    trace: Callable[..., Graph]
    run: Run | None = None


def inspect(
    subject: nn.Module | str | Path,
    example: Any = None,
    *,
    batch: int = 1,
    training: bool = False,
    optimizer: str = "",
    loss: str = "cross-entropy",
    object_size: int = 0,
    fields: bool = True,
    arguments: Mapping[str, Any] | None = None,
    outputs: int | None = None,
    folder: Path | str = runs.DEFAULT_FOLDER,
    trust: bool = False,
) -> Sheet:
    """Everything that can be known about a network before it is trained.

    ``subject``: a module, a network's name, ``file.py:Name``, a run or an ``.onnx`` file. ``example``: a shape without
    the batch, ``(3, 224, 224)``, an ``InputSpec``, tensors with a batch, or a sequence or mapping of these; a network
    by name and a run know theirs. ``training`` follows it as it is trained; ``optimizer`` adds the memory of a training
    step with it and ``loss``. ``object_size``: pixels of what must be seen as a whole. ``arguments`` and ``outputs`` go
    to a network by name, ``arguments`` to one from a file too.

    No weight is allocated for a network by name, and the module is left as it was found. Raises ``NetworkError`` where
    the network does not run on this input, ``UsageError`` for a wrong request.
    """
    found = find(subject, example, arguments=arguments, outputs=outputs, folder=folder, trust=trust)
    return sheet_of(
        found, batch=batch, training=training, optimizer=optimizer, loss=loss, object_size=object_size, fields=fields
    )


def sheet_of(
    found: Subject, *, batch: int = 1, training: bool = False, optimizer: str = "", loss: str = "cross-entropy",
    object_size: int = 0, fields: bool = True,
) -> Sheet:  # fmt: skip
    """The sheet of a subject that was found; the arguments are those of ``inspect``."""
    made = sheet(found.trace(batch=batch, training=training), found.name, fields=fields, object_size=object_size)
    if not optimizer:
        return made
    if found.network is None:
        raise UsageError("--optimizer", "for an .onnx file, which is not trained", "a network that is", "leave it out")
    from netwright.inspection.memory import training_memory  # brings PyTorch's symbolic shapes: a second

    memory = training_memory(found.network, found.example, batch=batch, optimizer=optimizer, loss=loss)
    return msgspec.structs.replace(made, training=memory.to_dict())


def find(
    subject: nn.Module | str | Path,
    example: Any = None,
    *,
    arguments: Mapping[str, Any] | None = None,
    outputs: int | None = None,
    folder: Path | str = runs.DEFAULT_FOLDER,
    trust: bool = False,
    weights: bool = False,
) -> Subject:
    """The network that ``subject`` names. ``weights``: with values, freshly initialised if nothing trained them."""
    if outputs is not None and outputs < 1:
        raise UsageError("outputs", str(outputs), "at least 1")
    if isinstance(subject, nn.Module):
        return _module(type(subject).__name__, subject, example)
    name = str(subject)
    chosen = dict(arguments or {})
    if name.endswith(".onnx"):
        if chosen or outputs is not None:
            raise UsageError(name, "arguments for an .onnx file", "none: it is built already")
        return _onnx(name, example)
    if (":" in name and not Path(name).exists()) or name.endswith(".py"):
        if outputs is not None:
            raise UsageError("--outputs", f"{outputs} for {name}", "a network by name", "--set KEY=VALUE")
        if example is None and not name.endswith(".py"):
            raise UsageError(name, "no input", "the shape of one example", "--input 3x224x224")
        record = keeping.describe(
            name, _single_shape(example) or (), 0, width="auto", depth="auto", dropout="auto", arguments=chosen
        )  # its class alone knows what it takes
        return _module(name, keeping.build(record, trust=trust), example)
    if name in NETWORKS:
        return _by_name(name, example, chosen, outputs, weights)
    try:
        directory = runs.find(name, folder)
    except UsageError:
        if "/" in name or name == "last" or (Path(folder) / name).exists():
            raise
        raise unknown_name(
            "network", name, [*NETWORKS, "a run", "last", "file.py:Name", "file.onnx"], NetworkError
        ) from None
    return _of_run(directory, example, chosen, outputs, trust)


def _module(name: str, network: nn.Module, example: Any) -> Subject:
    if example is None:
        raise UsageError(name, "no input", "a shape such as (3, 224, 224), or tensors with their batch")
    example = as_taken(network, example)
    return Subject(name, example, network, lambda **options: trace(network, example, **options))


def _by_name(name: str, example: Any, arguments: dict[str, Any], outputs: int | None, weights: bool) -> Subject:
    known = PUBLISHED.get(name)
    shape = known.input_shape if known else SERIES_INPUT if name.endswith("1d") else SMALL_INPUT
    if example is None:
        example = shape
    single = _single_shape(example)
    if single is None:
        raise UsageError(name, f"{len(example)} inputs", "one input of channels, height, width", "one --input CxHxW")
    count = outputs if outputs is not None else known.outputs if known else SMALL_OUTPUTS
    record = keeping.describe(name, single, count, width="auto", depth="auto", dropout="auto", arguments=arguments)
    try:
        network = keeping.build(record) if weights else keeping.build_without_values(record)
    except NetworkError as error:
        if error.suggestion not in NETWORKS:
            raise
        # Who trains changes the network for the data; who looks at this network changes the input.
        raise NetworkError(error.where, error.got, error.expected, f"--input {'x'.join(map(str, shape))}") from None
    return _module(name, network, example)


def _single_shape(example: Any) -> tuple[int, ...] | None:
    if isinstance(example, InputSpec):
        return example.shape if example.batched else example.shape[1:]
    if isinstance(example, torch.Tensor):
        return tuple(example.shape[1:])
    if isinstance(example, Sequence) and example and all(isinstance(size, int) for size in example):
        return tuple(example)
    if isinstance(example, Sequence) and len(example) == 1:
        return _single_shape(example[0])
    return None


def _onnx(name: str, example: Any) -> Subject:
    from netwright.graph.onnx_reading import read_onnx

    if not Path(name).is_file():
        raise UsageError(name, "no such file", "an .onnx file, a network's name, file.py:Name or a run")
    shapes = {key: tuple(value.shape) for key, value in example.items()} if isinstance(example, Mapping) else None
    single = _single_shape(example) if example is not None and shapes is None else None

    def read(*, batch: int = 1, training: bool = False) -> Graph:
        if training:
            raise UsageError("--training", "for an .onnx file", "a network that is trained")
        return read_onnx(name, shapes or ({"": single} if single else None), batch)

    return Subject(name, example, None, read)


def _of_run(directory: Path, example: Any, arguments: dict[str, Any], outputs: int | None, trust: bool) -> Subject:
    from netwright import workbench

    if arguments or outputs is not None:
        raise UsageError(str(directory), "arguments for a run's network", "none: it is what was trained")
    run = workbench.load(directory, trust=trust)
    if example is None:
        specs = [InputSpec(input_shape(one), _dtype_of(one)) for one in run.inputs.inputs]
        names = run.inputs.input_names
        example = dict(zip(names, specs, strict=True)) if names else specs[0] if len(specs) == 1 else specs
    found = _module(directory.name, run.network, example)
    return dataclasses.replace(found, run=run)


def _dtype_of(record: Preprocess) -> torch.dtype:
    """Integers that are not scaled, such as tokens, stay integers."""
    if isinstance(record, ArrayPreprocess) and record.scale is None:
        return DTYPES.get(record.dtype, torch.float32)
    return torch.float32


# ------------------------------------------------------------------------------------------------ inputs as text

_SHAPE = re.compile(r"^(?:(?P<name>[A-Za-z_][\w.]*)=)?(?P<sizes>\d+(?:[x×,]\d+)*|)(?::(?P<dtype>\w+))?$")


def parse_inputs(texts: Sequence[str]) -> Any:
    """``3x224x224``, ``ids=16:int64``: one example's shapes without the batch → what ``inspect`` takes; None if empty.

    Raises ``UsageError`` that names the text.
    """
    found: list[tuple[str, InputSpec]] = []
    for text in texts:
        match = _SHAPE.match(text.strip())
        if match is None or not (match["sizes"] or match["dtype"]):
            raise UsageError(
                f"--input {text}", "no shape", "sizes without the batch, NAME= before and :TYPE after where needed",
                "3x224x224, ids=16:int64",
            )  # fmt: skip
        dtype = match["dtype"] or "float32"
        if dtype not in DTYPES:
            raise unknown_name(f"--input {text}", dtype, DTYPES)
        shape = tuple(int(size) for size in re.split("[x×,]", match["sizes"])) if match["sizes"] else ()
        if 0 in shape:
            raise UsageError(f"--input {text}", "a size of 0", "sizes of at least 1")
        found.append((match["name"] or "", InputSpec(shape, DTYPES[dtype])))
    if not found:
        return None
    names = [name for name, _ in found]
    if any(names):
        if not all(names) or len(set(names)) < len(names):
            raise UsageError("--input", ", ".join(texts), "a name for every input, each once, or for none")
        return dict(found)
    return found[0][1] if len(found) == 1 else [spec for _, spec in found]
