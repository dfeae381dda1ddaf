"""ONNX files, for ONNX Runtime: float, and int8 (``onnx_int8``)."""

from __future__ import annotations

import contextlib
import json
import logging
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from netwright.errors import NetworkError
from netwright.export.target import Array, Lack, Target, package_folder, unknown
from netwright.graph.structure import Graph

if TYPE_CHECKING:
    from netwright.export.package import Package

OPSET = 17
OUTPUT = "output"
# What the exporter has no operator for, beside what it reports itself.
MISSING = {
    "istft": "ONNX has no inverse short-time Fourier transform",
    "fractional_max_pool2d": "its windows are drawn at random",
    "multinomial": "it draws at random",
}


def lacking(graph: Graph) -> list[Lack]:
    return unknown(graph, MISSING)


def write(package: Package, folder: Path) -> Path:
    path = folder / "model.onnx"
    if package.precision == "int8":
        from netwright.export.onnx_int8 import quantize

        with tempfile.TemporaryDirectory() as beside:
            plain = Path(beside) / "float.onnx"
            convert(package, plain)
            package.notes.append(quantize(plain, path, package))
    else:
        convert(package, path)
    return path


def convert(package: Package, path: Path, *, opset: int = OPSET, batch: int = 0) -> None:
    """Write an ONNX file; ``batch`` 0: of any size, where the network lets it. Raises ``NetworkError`` by layer."""
    import torch

    from netwright.export.package import traceable

    axes = {} if batch else {name: {0: "batch"} for name in (*package.names, OUTPUT)}
    with traceable(), warnings.catch_warnings(), quiet("torch.onnx"):
        warnings.simplefilter("ignore")
        try:
            # The exporter by traces: a quarter of a second, where the one by torch.export takes many (docs/log.md).
            torch.onnx.export(
                package.network, package.example(batch or 2), str(path), dynamo=False, opset_version=opset,
                input_names=list(package.names), output_names=[OUTPUT], dynamic_axes=axes,
            )  # fmt: skip
        except torch.onnx.errors.OnnxExporterError as error:
            text = str(error).strip().splitlines()[0]
            raise NetworkError("onnx", text[:200], f"operators of ONNX opset {opset}") from error
    if not batch and not _takes_any_batch(package, path):
        convert(package, path, opset=opset, batch=1)


def _takes_any_batch(package: Package, path: Path) -> bool:
    """Whether one and three examples give what they give by themselves: a size may have become a constant."""
    import torch

    three = tuple(tensor.numpy() for tensor in package.example(3))
    with torch.no_grad():
        expected = package.network(*map(torch.from_numpy, three)).numpy()
    try:
        session = Runtime(path, 1, silent=True)
        return all(
            np.allclose(session.run(*(each[:count] for each in three)), expected[:count], rtol=1e-2, atol=1e-3)
            for count in (1, 3)
        )
    except Exception:  # the runtime's own kinds
        return False


class Runtime:
    """A file in ONNX Runtime, on the processor."""

    def __init__(
        self, path: Path, threads: int = 1, *, content: bytes | None = None, plain: bool = False, silent: bool = False
    ) -> None:
        import onnxruntime

        self.path, self.threads = path, threads
        self._options = onnxruntime.SessionOptions()
        self._options.intra_op_num_threads, self._options.inter_op_num_threads = threads, 1
        self._options.log_severity_level = 4 if silent else 3
        if plain:
            self._options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        self._session = onnxruntime.InferenceSession(
            content or str(path), self._options, providers=["CPUExecutionProvider"]
        )
        self._names = [each.name for each in self._session.get_inputs()]
        size = self._session.get_inputs()[0].shape[0]
        self._batch = size if isinstance(size, int) else None

    def run(self, *inputs: Array) -> Array:
        feeds = dict(zip(self._names, inputs, strict=True))
        if self._batch is None or self._batch == len(inputs[0]):
            return self._session.run(None, feeds)[0]  # type: ignore[no-any-return]
        pieces = [
            self._session.run(None, {name: each[start : start + self._batch] for name, each in feeds.items()})[0]
            for start in range(0, len(inputs[0]), self._batch)
        ]
        return np.concatenate(pieces)

    def outputs(self, names: list[str], *inputs: Array) -> list[Array]:
        """The outputs of these names, for a batch as it is."""
        return [np.asarray(each) for each in self._session.run(names, dict(zip(self._names, inputs, strict=True)))]

    def intermediates(self, *inputs: Array) -> list[Array]:
        import onnx

        model = onnx.load(str(self.path))
        known = {each.name for each in model.graph.output}
        names = [name for node in model.graph.node for name in node.output if name and name not in known]
        model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
        inner = Runtime(self.path, 1, content=model.SerializeToString(), plain=True)
        order = [name for node in model.graph.node for name in node.output if name]
        return inner.outputs(order, *inputs)

    def operators(self, *inputs: Array) -> dict[str, float]:
        import onnxruntime

        with tempfile.TemporaryDirectory() as folder:
            self._options.enable_profiling = True
            self._options.profile_file_prefix = str(Path(folder) / "profile")
            try:
                session = onnxruntime.InferenceSession(
                    str(self.path), self._options, providers=["CPUExecutionProvider"]
                )
            finally:
                self._options.enable_profiling = False
            rounds = 20
            for _ in range(rounds):
                session.run(None, dict(zip(self._names, inputs, strict=True)))
            events = json.loads(Path(session.end_profiling()).read_text())
        spent: dict[str, float] = {}
        for event in events:
            if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
                name = f"{event['args']['op_name']} {event['name'].removesuffix('_kernel_time').strip('/')}"
                spent[name] = spent.get(name, 0.0) + event["dur"] / 1000 / rounds
        return spent


def library_bytes() -> int:
    """Of ONNX Runtime's shared library in its wheel, for this machine's kind of processor."""
    folder = package_folder("onnxruntime") / "capi"
    return max((path.stat().st_size for path in folder.glob("libonnxruntime.*")), default=0) or sum(
        path.stat().st_size for path in folder.glob("onnxruntime*.*d*")
    )


@contextlib.contextmanager
def quiet(name: str) -> Iterator[None]:
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def snippet(package: Package, file_name: str) -> tuple[str, str]:
    from netwright.export.snippets import onnxruntime_cpp

    return "load.cpp", onnxruntime_cpp(package, file_name)


TARGET = Target(
    name="onnx", runtime="onnxruntime", extra="onnx", modules=("onnx", "onnxruntime"), precisions=("float32", "int8"),
    pixels="uint8 NHWC", lacking=lacking, write=write, open=Runtime, library_bytes=library_bytes, snippet=snippet,
)  # fmt: skip
