"""LiteRT (TensorFlow Lite) files: float by litert-torch, int8 by ai-edge-quantizer with ranges of real examples.

Both converters ask for versions of common packages that not every environment can have (``litert-torch`` forces
typing_extensions 4.12), so they are an extra of their own; running a file needs ``ai-edge-litert`` alone.
"""

from __future__ import annotations

import contextlib
import copy
import importlib.util
import io
import os
import re
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from netwright.errors import MissingExtraError, NetworkError
from netwright.export.onnx import quiet
from netwright.export.onnx_int8 import SHARE_OF_ENDS
from netwright.export.target import Array, Lack, Target, as_alone, package_folder, unknown
from netwright.graph.structure import Graph
from netwright.records import plural

if TYPE_CHECKING:
    from netwright.export.package import Package
    from netwright.nn.ranges import Seen

MULTIPLY = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "CONV_2D_TRANSPOSE")
CONVERTER_EXTRA = "litert-convert"
MISSING = {
    "fractional_max_pool2d": "its windows are drawn at random",
    "multinomial": "it draws at random",
    "istft": "there is no such operator",
    "nonzero": "the size of its result depends on values",
    "masked_select": "the size of its result depends on values",
    "unique": "the size of its result depends on values",
}


def lacking(graph: Graph) -> list[Lack]:
    return unknown(graph, MISSING)


def write(package: Package, folder: Path) -> Path:
    _require("litert_torch")
    path = folder / "model.tflite"
    if package.precision == "int8":
        _require("ai_edge_quantizer")
        with tempfile.TemporaryDirectory() as beside:
            plain = Path(beside) / "float.tflite"
            convert(package, plain)
            package.notes.append(quantize(plain, path, package))
    else:
        convert(package, path)
    return path


def _require(module: str) -> None:
    if importlib.util.find_spec(module) is None:
        raise MissingExtraError("litert", extra=CONVERTER_EXTRA)


def convert(package: Package, path: Path) -> None:
    """Write the float file, for one example at a time. Raises ``NetworkError`` with what the converter said."""
    from netwright.export.package import traceable

    with _silent(), traceable(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import litert_torch

        try:
            litert_torch.convert(package.network, package.example(1)).export(str(path))
        except Exception as error:  # of any of four libraries
            text = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise NetworkError("litert-torch", text[:200], "a network that it converts") from error


def quantize(plain: Path, path: Path, package: Package) -> str:
    """Write the int8 file of the float one: weights per channel, activations by ranges of real examples; inputs and
    outputs stay float. What was chosen, in words.

    The converter's own ranges are moving averages of each example's extremes, which cut what is large. Here a rule is
    chosen as for ONNX files: by what the file then answers on the calibration's examples. Costs four quantisations.
    """
    from netwright.nn.ranges import Rule, chosen

    session = Runtime(plain, 1)
    expected = session.run(*package.calibration)
    names = [each["name"] for each in session.signature_inputs()]
    one = {name: each[:1] for name, each in zip(names, package.calibration, strict=True)}
    left = _ends(session)
    with _silent():
        needed = _converter(plain, left).calibrate({"serving_default": [one]})  # says which tensors need a range
    seen = _seen(session, package, {name for name, each in needed.items() if np.size(each.get("min")) == 1})
    tried = []
    for rule in get_args(Rule):
        ranges = copy.deepcopy(needed)
        for name, each in seen.items():
            for end, value in zip(("min", "max"), chosen(each, rule), strict=True):
                ranges[name][end] = np.full_like(ranges[name][end], value)
        made = path.with_suffix(f".{rule}")
        with _silent():
            _converter(plain, left).quantize(ranges).export_model(str(made), overwrite=True)
        error = float(np.square(np.subtract(Runtime(made, 1).run(*package.calibration), expected)).mean())
        tried.append((error, rule, made))
    best = min(tried)
    _without_names(best[2], path)
    for _, _, made in tried:
        made.unlink()
    count = plural(len(expected), "example")
    ends = f"; in float: {plural(len(left), 'layer')} at the ends" if left else ""
    return f"ranges by {best[1]}{ends}; the nearest of {len(tried)} ways to the float outputs on {count}"


def _without_names(plain: Path, path: Path) -> None:
    """The same file without the tensors' names, which only a reader needs: the converter calls each by its whole way
    through the modules, in a network of many thin layers a fifth of the file. A signature names inputs and outputs."""
    with _silent():
        from ai_edge_litert.tools import flatbuffer_utils

        model = flatbuffer_utils.read_model(str(plain))
        for subgraph in model.subgraphs:
            for tensor in subgraph.tensors:
                tensor.name = b""
        flatbuffer_utils.write_model(model, str(path))


def _ends(session: Runtime) -> list[str]:
    """The results of the first and the last layer, if those hold few of the weights; see ``onnx_int8``."""
    whole = session.preserving()
    tensors = {each["index"]: each for each in whole.get_tensor_details()}
    layers = [each for each in whole._get_ops_details() if each["op_name"] in MULTIPLY]
    count = {each["index"]: int(np.prod(tensors[each["inputs"][1]]["shape"])) for each in layers}
    outer = {each["index"]: each for each in (*layers[:1], *layers[-1:]) if len(layers) > 2}
    few = [each for place, each in outer.items() if count[place] <= SHARE_OF_ENDS * sum(count.values())]
    return [tensors[each["outputs"][0]]["name"] for each in few]


def _seen(session: Runtime, package: Package, names: set[str]) -> dict[str, Seen]:
    """What the tensors of these names hold on the calibration's examples. Costs two runs over them."""
    import torch

    from netwright.nn.ranges import Seen

    whole = session.preserving()
    details = [each for each in whole.get_tensor_details() if each["name"] in names]
    found: dict[str, Seen] = {}
    for look in (Seen.extend, Seen.count):
        for row in range(len(package.calibration[0])):
            session.invoked(whole, tuple(each[row : row + 1] for each in package.calibration))
            for each in details:
                with contextlib.suppress(ValueError):  # one without data
                    look(found.setdefault(each["name"], Seen()), torch.from_numpy(whole.get_tensor(each["index"])))
    return found


def _converter(plain: Path, left: Sequence[str]) -> Any:
    """The quantiser of a float file, which leaves the layers of these results in float."""
    from ai_edge_quantizer import qtyping, quantizer, recipe

    made = quantizer.Quantizer(str(plain))
    made.load_quantization_recipe(recipe.static_wi8_ai8())
    for end in (qtyping.TFLOperationName.INPUT, qtyping.TFLOperationName.OUTPUT):
        made.update_quantization_recipe(".*", end, algorithm_key=quantizer.AlgorithmName.NO_QUANTIZE)
    for name in left:
        for kind in MULTIPLY:
            made.update_quantization_recipe(
                re.escape(name), qtyping.TFLOperationName[kind], algorithm_key=quantizer.AlgorithmName.NO_QUANTIZE
            )
    return made


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """The converters tell their progress on every stream there is."""
    saved = os.dup(2)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()), quiet("root"):
            yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(null)


class Runtime:
    """A file in LiteRT's interpreter, on the processor (XNNPACK). ``run`` widens the file to the batch that it gets."""

    def __init__(self, path: Path, threads: int = 1) -> None:
        self.path, self.threads = path, threads
        self._interpreter = self._open()
        self._batch = 1
        self._widens: bool | None = None  # not tried yet

    def _open(self, **options: Any) -> Any:
        with _silent():
            from ai_edge_litert.interpreter import Interpreter

            made = Interpreter(model_path=str(self.path), num_threads=self.threads, **options)
            made.allocate_tensors()
        return made

    def signature_inputs(self) -> list[dict[str, Any]]:
        """Of each input its ``name`` in the signature and its ``index``, in the network's order."""
        names = self._interpreter.get_signature_list()["serving_default"]["inputs"]
        details = self._interpreter.get_signature_runner("serving_default").get_input_details()
        ordered = sorted(names, key=lambda name: int(name.rpartition("_")[2]))
        return [{"name": name, "index": details[name]["index"]} for name in ordered]

    def run(self, *inputs: Array) -> Array:
        count = len(inputs[0])
        if count > 1 and not self._widened(inputs):
            return np.concatenate([self.run(*(each[row : row + 1] for each in inputs)) for row in range(count)])
        if count == 1:
            self._widened(inputs)
        return self.invoked(self._interpreter, inputs)

    def _widened(self, inputs: tuple[Array, ...]) -> bool:
        """Whether the interpreter takes so many examples at once now; a shape written into the file forbids it.

        It may do so without an error: a slice that was written for one example takes the first of them, and a sum gives
        that to all others. So the first time the examples are asked one by one as well.
        """
        batch = len(inputs[0])
        if batch == self._batch:
            return True
        if self._widens is False:
            return False
        try:
            for each in self._interpreter.get_input_details():
                self._interpreter.resize_tensor_input(each["index"], [batch, *each["shape"][1:]])
            with _silent():
                self._interpreter.allocate_tensors()
            self._batch = batch
            shape = self._interpreter.get_output_details()[0]["shape"]
            if shape[0] == batch and (self._widens or self._sound(inputs)):
                self._widens = True
                return True
        except (RuntimeError, ValueError):
            pass
        self._widens, self._batch, self._interpreter = False, 1, self._open()
        return False

    def _sound(self, inputs: tuple[Array, ...]) -> bool:
        alone = self._open()
        return as_alone(self.invoked(self._interpreter, inputs), lambda *one: self.invoked(alone, one), inputs)

    def preserving(self) -> Any:
        """An interpreter that keeps every result in between."""
        from ai_edge_litert.interpreter import OpResolverType

        return self._open(
            experimental_preserve_all_tensors=True,
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        )

    def invoked(self, interpreter: Any, inputs: tuple[Array, ...]) -> Array:
        """The output of an interpreter of this file for inputs of the size that it has now."""
        details = {each["index"]: each for each in interpreter.get_input_details()}
        for each, value in zip(self.signature_inputs(), inputs, strict=True):
            interpreter.set_tensor(each["index"], _quantized(value, details[each["index"]]))
        interpreter.invoke()
        (output,) = interpreter.get_output_details()
        return _dequantized(interpreter.get_tensor(output["index"]), output)

    def intermediates(self, *inputs: Array) -> list[Array]:
        whole = self.preserving()
        self.invoked(whole, inputs)
        found = []
        for operator in whole._get_ops_details():
            for index in operator["outputs"]:
                with contextlib.suppress(ValueError):  # one without data
                    found.append(np.array(whole.get_tensor(index)))
        return found

    def operators(self, *inputs: Array) -> dict[str, float]:
        return {}  # its profiler is in the benchmark program alone


def _quantized(value: Array, detail: dict[str, Any]) -> Array:
    """Numbers as the integers that the file takes, where it does (scale and zero point are in it)."""
    scale, zero = detail["quantization"]
    if not scale or value.dtype == detail["dtype"]:
        return value
    kind = np.iinfo(detail["dtype"])
    whole = np.round(np.divide(value, scale, dtype=np.float32)) + zero
    return np.asarray(np.clip(whole, kind.min, kind.max), detail["dtype"])


def _dequantized(value: Array, detail: dict[str, Any]) -> Array:
    scale, zero = detail["quantization"]
    if not scale:
        return value
    widened: Array = np.multiply(np.subtract(value, np.float32(zero), dtype=np.float32), np.float32(scale))
    return widened


def library_bytes() -> int:
    """Of LiteRT's shared library in its wheel, for this machine's kind of processor, without its GPU part."""
    return sum(path.stat().st_size for path in package_folder("ai_edge_litert").glob("libLiteRt.*"))


def snippet(package: Package, file_name: str) -> tuple[str, str]:
    from netwright.export.snippets import litert_kotlin

    return "Load.kt", litert_kotlin(package, file_name)


TARGET = Target(
    name="litert", runtime="litert", extra="litert", modules=("ai_edge_litert",), precisions=("float32", "int8"),
    pixels="uint8 NHWC", lacking=lacking, write=write, open=Runtime, library_bytes=library_bytes, snippet=snippet,
)  # fmt: skip
