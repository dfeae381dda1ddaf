"""Int8 files for ONNX Runtime: static QDQ; how the numbers are rounded is chosen by what the file then answers.

Weights have one scale an output channel, activations one range each. Which rule for the ranges is best depends on the
network, and whether eight bits of a weight can be used on the processor: without VNNI instructions the products of
``uint8`` activations and ``int8`` weights are added in sixteen bits, which overflow and saturate (ONNX Runtime,
"Quantize ONNX models", when and why to try U8U8 or ``reduce_range``). So each is tried on the calibration's real
examples, in the runtime itself, and the file whose outputs are nearest to the float file's is kept.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

import numpy as np

from netwright.export.onnx import Runtime, quiet
from netwright.export.target import Array
from netwright.records import plural

if TYPE_CHECKING:
    from netwright.export.package import Package
    from netwright.nn.ranges import Rule, Seen

BATCH = 16  # of calibration
# The first and the last layer stay float where they hold at most this share of the weights: rounded inputs cost the
# most there, and rounded outputs are where labels tie.
SHARE_OF_ENDS = 0.05
MULTIPLY = ("Conv", "Gemm", "MatMul", "ConvTranspose")


class Way(NamedTuple):
    """How a file is rounded: the rule of the activations' ranges, and 8 or 7 bits a weight."""

    rule: Rule
    bits: int


class Tried(NamedTuple):
    """A file and its mean squared difference from the float outputs, as a share of their variance."""

    error: float
    way: Way
    path: Path


def quantize(plain: Path, path: Path, package: Package) -> str:
    """Write the int8 file of the float one; what was chosen, in words.

    Costs five quantisations and runs over the calibration's examples.
    """
    import onnx
    from onnxruntime.quantization import shape_inference

    with tempfile.TemporaryDirectory() as folder, quiet("root"):
        ready = Path(folder) / "ready.onnx"
        shape_inference.quant_pre_process(str(plain), str(ready), skip_symbolic_shape=True)
        model = onnx.load(str(ready))
        session = Runtime(ready)
        batches = list(_batches(package.calibration, 1 if _fixed(model) else BATCH))
        expected = np.concatenate([session.run(*batch) for batch in batches])
        seen = _seen(model, package.names, batches)
        left = ends(model)

        def tried(way: Way) -> Tried:
            made = Path(folder) / f"{way.rule}-{way.bits}.onnx"
            _quantize(ready, made, package.names, batches, way, seen, left)
            rounded = Runtime(made)
            got = np.concatenate([rounded.run(*batch) for batch in batches])
            error = float(np.square(np.subtract(got, expected, dtype=np.float64)).mean())
            return Tried(error / max(float(np.var(expected)), 1e-30), way, made)

        full, reduced = (tried(Way("minmax", bits)) for bits in (8, 7))
        bits = min(full, reduced).way.bits
        others = [tried(Way(rule, bits)) for rule in _rules() if rule != "minmax"]
        best = min([full, reduced, *others])
        onnx.save(compacted(onnx.load(str(best.path))), str(path))
    said = f"ranges by {best.way.rule}, weights of {best.way.bits} bits"
    if best.way.bits == 7:
        said += " (the sums of 8-bit products saturate on this processor)"
    if left:
        said += f"; in float: {', '.join(name.strip('/').replace('/', '.') for name in left)}"
    return f"{said}; the nearest of 5 ways to the float outputs on {plural(len(expected), 'example')}"


def compacted(model: Any) -> Any:
    """The same operators in the same order without what only a reader of the graph needs: shapes between the operators,
    which a runtime infers, names of what rounds, long names of tensors, zero points of biases (in ONNX they are 0), and
    equal tensors twice. In a network of many thin layers that was an eighth of the file. Layers keep their names,
    and so do the inputs and the outputs."""
    graph = model.graph
    del graph.value_info[:]
    if any(attribute.HasField("g") or attribute.graphs for node in graph.node for attribute in node.attribute):
        return model  # graphs within may name the tensors outside
    short = {each.name: each.name for each in (*graph.input, *graph.output)}
    values = {each.name: each for each in graph.initializer}
    for node in graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            node.name = ""
        whole = values.get(node.input[0]) if node.op_type == "DequantizeLinear" else None
        if whole is not None and whole.data_type == whole.INT32:
            del node.input[2:]
    _share(graph)
    lists = [names for node in graph.node for names in (node.input, node.output)]
    for name in (*(name for names in lists for name in names), *(each.name for each in graph.initializer)):
        short.setdefault(name, f"t{len(short)}" if name else "")
    for names in lists:
        names[:] = [short[name] for name in names]
    for each in graph.initializer:
        each.name = short[each.name]
    return model


def _share(graph: Any) -> None:
    """Tensors of equal content, such as zero points, once; and only those that are read."""
    first: dict[bytes, str] = {}
    same: dict[str, str] = {}
    for each in graph.initializer:
        name, each.name = each.name, ""
        same[name] = first.setdefault(each.SerializeToString(deterministic=True), name)
        each.name = name
    for node in graph.node:
        node.input[:] = [same.get(name, name) for name in node.input]
    read = {name for node in graph.node for name in node.input} | {each.name for each in graph.output}
    kept = [each for each in graph.initializer if each.name in read and same[each.name] == each.name]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def _rules() -> tuple[Rule, ...]:
    from netwright.nn.ranges import Rule

    return get_args(Rule)


def _fixed(model: Any) -> bool:
    return not model.graph.input[0].type.tensor_type.shape.dim[0].dim_param


def _batches(arrays: Sequence[Array], size: int) -> Iterator[tuple[Array, ...]]:
    """Whole batches only: a file may know no other size."""
    for start in range(0, len(arrays[0]) // size * size, size):
        yield tuple(each[start : start + size] for each in arrays)


def ends(model: Any) -> list[str]:
    """The nodes of the first and the last layer, if they hold few of the weights."""
    sizes = {each.name: int(np.prod(each.dims)) for each in model.graph.initializer}
    layers = [node for node in model.graph.node if node.op_type in MULTIPLY and set(node.input) & set(sizes)]
    count = {node.name: sum(sizes.get(name, 0) for name in node.input) for node in layers}
    total = sum(count.values())
    outer = list(dict.fromkeys([node.name for node in (*layers[:1], *layers[-1:])]))
    return [name for name in outer if len(layers) > 2 and count[name] <= SHARE_OF_ENDS * total]


def _seen(model: Any, names: Sequence[str], batches: Sequence[tuple[Array, ...]]) -> dict[str, Seen]:
    """What every float tensor between the operators holds on the examples. Costs two runs over them."""
    import onnx
    import torch

    from netwright.nn.ranges import Seen

    whole = onnx.ModelProto()
    whole.CopyFrom(model)
    known = {each.name for each in whole.graph.output}
    inner = [name for node in whole.graph.node for name in node.output if name]
    whole.graph.output.extend(onnx.ValueInfoProto(name=name) for name in inner if name not in known)
    session = Runtime(Path(), content=whole.SerializeToString(), plain=True)
    found: dict[str, Seen] = {}
    for look in (Seen.extend, Seen.count):
        for batch in batches:
            for name, value in zip((*names, *inner), (*batch, *session.outputs(inner, *batch)), strict=True):
                if value.dtype == np.float32 and value.size:
                    tensor = torch.from_numpy(np.ascontiguousarray(value))
                    look(found.setdefault(name, Seen()), tensor)
    return found


def _quantize(
    ready: Path, path: Path, names: Sequence[str], batches: Sequence[tuple[Array, ...]], way: Way,
    seen: dict[str, Seen], left: list[str],
) -> None:  # fmt: skip
    from onnxruntime import quantization

    from netwright.nn.ranges import chosen

    feeds = iter([dict(zip(names, batches[0], strict=True))])  # its own look at the ranges, which ours rule over

    class Reader(quantization.CalibrationDataReader):
        def get_next(self) -> Any:
            return next(feeds, None)

    ranges = {name: chosen(each, way.rule) for name, each in seen.items()}
    overrides = {
        name: [{"rmin": np.float32(low), "rmax": np.float32(high)}] for name, (low, high) in ranges.items()
    }  # fmt: skip
    quantization.quantize_static(
        str(ready), str(path), Reader(), quant_format=quantization.QuantFormat.QDQ, per_channel=True,
        activation_type=quantization.QuantType.QUInt8, weight_type=quantization.QuantType.QInt8,
        reduce_range=way.bits == 7, nodes_to_exclude=left, calibrate_method=quantization.CalibrationMethod.MinMax,
        extra_options={"ActivationSymmetric": False, "TensorQuantOverrides": overrides},
    )  # fmt: skip
