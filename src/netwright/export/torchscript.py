"""TorchScript files: a frozen trace, for programs with libtorch."""

from __future__ import annotations

import json
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from netwright.export.target import Array, Lack, Target, as_alone, package_folder, unknown
from netwright.graph.structure import Graph

if TYPE_CHECKING:
    from netwright.export.package import Package


ONE = "the file takes one example at a time: a number of examples became a constant in it"


def lacking(graph: Graph) -> list[Lack]:
    return unknown(graph, {})


def write(package: Package, folder: Path) -> Path:
    import torch

    from netwright.export.package import traceable

    path = folder / "model.pt"
    with traceable(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(package.network, package.example(2), check_trace=False)
        if not _takes_any_batch(traced, package):
            traced = torch.jit.trace(package.network, package.example(1), check_trace=False)
            package.notes.append(ONE)
        torch.jit.freeze(traced.eval()).save(str(path))
    return path


def _takes_any_batch(traced: Any, package: Package) -> bool:
    """Whether three examples give what each gives by itself: a size may have become a constant."""
    three = [each.numpy() for each in package.example(3)]
    try:
        return as_alone(_asked(traced, three), lambda *one: _asked(package.network, one), three)
    except RuntimeError:
        return False


def _asked(network: Any, inputs: Sequence[Array]) -> Array:
    import torch

    return network(*(torch.from_numpy(each) for each in inputs)).numpy()  # type: ignore[no-any-return]


class Runtime:
    """A file in PyTorch's own interpreter; a batch that it does not take goes one by one. The number of threads is the
    process's; it is set for each call."""

    def __init__(self, path: Path, threads: int = 1) -> None:
        import torch

        self._torch, self.path, self.threads = torch, path, threads
        self._module = torch.jit.load(str(path), map_location="cpu").eval()
        self._many: bool | None = None  # whether several examples may be asked at once; not tried yet

    def run(self, *inputs: Array) -> Array:
        torch = self._torch
        before = torch.get_num_threads()
        if before != self.threads:
            torch.set_num_threads(self.threads)
        try:
            with torch.inference_mode():
                if len(inputs[0]) == 1:
                    return _asked(self._module, inputs)
                if self._many is not False:
                    try:
                        together = _asked(self._module, inputs)
                        if self._many is None:
                            self._many = as_alone(together, lambda *one: _asked(self._module, one), inputs)
                        if self._many:
                            return together
                    except RuntimeError:
                        self._many = False
                return np.concatenate(
                    [_asked(self._module, [each[row : row + 1] for each in inputs]) for row in range(len(inputs[0]))]
                )
        finally:
            if before != self.threads:
                torch.set_num_threads(before)

    def intermediates(self, *inputs: Array) -> list[Array]:
        graph = self._module.graph.copy()
        values = [
            output
            for node in graph.nodes()
            for output in node.outputs()
            if output.type().isSubtypeOf(self._torch._C.TensorType.get()) and node.kind() != "prim::Constant"
        ]
        graph.eraseOutput(0)
        for value in values:
            graph.registerOutput(value)
        graph.makeMultiOutputIntoTuple()
        made = self._torch._C._create_function_from_graph("forward", graph)
        with self._torch.inference_mode():
            found = made(self._module._c, *map(self._torch.from_numpy, inputs))
        return [np.asarray(each.numpy()) for each in found if isinstance(each, self._torch.Tensor)]

    def operators(self, *inputs: Array) -> dict[str, float]:
        torch: Any = self._torch
        rounds = 20
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
            for _ in range(rounds):
                self.run(*inputs)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "trace.json"
            profile.export_chrome_trace(str(path))
            json.loads(path.read_text())
        return {
            event.key: event.self_cpu_time_total / 1000 / rounds
            for event in profile.key_averages()
            if event.self_cpu_time_total > 0
        }


def library_bytes() -> int:
    """Of libtorch's shared libraries in the wheel, for this machine's kind of processor."""
    folder = package_folder("torch") / "lib"
    return sum(
        path.stat().st_size
        for path in folder.glob("lib*")
        if path.name.startswith(("libtorch_cpu", "libc10", "libtorch."))
    )


def snippet(package: Package, file_name: str) -> tuple[str, str]:
    from netwright.export.snippets import libtorch_cpp

    return "load.cpp", libtorch_cpp(package, file_name)


TARGET = Target(
    name="torchscript", runtime="torchscript", extra="", modules=("torch",), precisions=("float32",),
    pixels="uint8 NHWC", lacking=lacking, write=write, open=Runtime, library_bytes=library_bytes, snippet=snippet,
)  # fmt: skip
