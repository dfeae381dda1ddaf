"""ncnn files through pnnx: ``model.ncnn.param`` and ``.bin``, weights as float32 or fp16. Examples go one by one."""

from __future__ import annotations

import re
import subprocess
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from netwright.errors import NetworkError
from netwright.export.target import Array, Lack, Target, package_folder, unknown
from netwright.graph.structure import Graph

if TYPE_CHECKING:
    from netwright.export.package import Package

SECONDS = 600  # for pnnx, which may not end on what it does not understand
TYPES = {"float32": "f32", "int64": "i64", "int32": "i32", "uint8": "u8", "float64": "f64"}
MISSING = dict.fromkeys(
    """cumsum cumprod topk sort where index_select gather scatter one_hot eq ne gt ge lt le masked_fill logical_and
    logical_or logical_not bitwise_and bitwise_or bitwise_xor erfinv bilinear cdist roll fmod remainder argmax argmin
    grid_sampler fold max_unpool2d floor_divide nonzero tril triu isnan isfinite fft_fft fft_rfft fft_ifft fft_irfft
    logcumsumexp lerp conv3d_transpose fractional_max_pool2d multinomial searchsorted bucketize unique trapz""".split(),  # noqa: SIM905
    "ncnn has no such layer",
)


def lacking(graph: Graph) -> list[Lack]:
    return unknown(graph, MISSING)


def write(package: Package, folder: Path) -> Path:
    import torch

    from netwright.export.package import traceable

    examples = package.example(1)
    with tempfile.TemporaryDirectory() as beside:
        with traceable(), _strides_as_pooling(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.jit.trace(package.network, examples, check_trace=False).save(str(Path(beside) / "model.pt"))
        shapes = ",".join(
            f"[{','.join(map(str, each.shape))}]{TYPES[str(each.dtype).removeprefix('torch.')]}" for each in examples
        )
        half = int(package.precision == "fp16")
        command = [str(_converter()), "model.pt", f"inputshape={shapes}", f"fp16={half}"]
        try:
            done = subprocess.run(command, cwd=beside, capture_output=True, text=True, timeout=SECONDS, check=False)
        except subprocess.TimeoutExpired as error:
            raise NetworkError("pnnx", f"no end within {SECONDS} s", "a converted network") from error
        param, weights = (Path(beside) / f"model.ncnn.{ending}" for ending in ("param", "bin"))
        if done.returncode or not param.exists():
            said = (done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}").splitlines()
            raise NetworkError("pnnx", said[-1][:200] if said else "nothing", "a converted network")
        left = _left(param.read_text(), done.stdout + done.stderr)
        if left:
            raise NetworkError("ncnn", f"what pnnx could not convert: {left}", "layers of ncnn")
        (folder / param.name).write_bytes(param.read_bytes())
        (folder / weights.name).write_bytes(weights.read_bytes())
    return folder / "model.ncnn.param"


def _strides_as_pooling() -> Any:
    """A context in which every k-th row and column of (N, C, H, W) is taken by a pooling over one place each.

    It gives the same values, and ncnn has it; its slices take every place.
    """
    import torch
    from torch.overrides import TorchFunctionMode

    class Mode(TorchFunctionMode):
        def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if function is torch.Tensor.__getitem__ and args[0].ndim == 4 and args[0].is_floating_point():
                index = args[1] if isinstance(args[1], tuple) else (args[1],)
                steps = tuple((part.step or 1) if isinstance(part, slice) else 0 for part in _all_four(index))
                if steps[:2] == (1, 1) and min(steps) > 0 and max(steps) > 1:
                    plain = tuple(slice(part.start, part.stop) for part in _all_four(index))
                    return torch.nn.functional.max_pool2d(function(args[0], plain), 1, steps[2:])
            return function(*args, **(kwargs or {}))

    return Mode()


def _all_four(index: tuple[Any, ...]) -> tuple[Any, ...]:
    """An index of four axes with what it leaves out."""
    left = (slice(None),) * (4 - sum(part is not Ellipsis for part in index))
    if Ellipsis not in index:
        return (*index, *left)
    place = index.index(Ellipsis)
    return (*index[:place], *left, *index[place + 1 :])


def _converter() -> Path:
    folder = package_folder("pnnx")
    return next(path for path in (folder / "pnnx", folder / "pnnx.exe") if path.exists())


def _left(param: str, said: str) -> str:
    """The operators that pnnx wrote down as PyTorch's own, each with its name in the file."""
    lines = [line.split() for line in param.splitlines()[2:]]
    found = [f"{words[0]} ({words[1]})" for words in lines if words and re.search(r"[.:]", words[0])]
    return ", ".join(found)


class Runtime:
    """A file in ncnn, on the processor, in its own precision: no fp16 or bf16 where the file has float32."""

    def __init__(self, path: Path, threads: int = 1) -> None:
        import ncnn

        self._ncnn, self.path, self.threads = ncnn, path, threads
        self._net = self._open(light=True)
        lines = [line.split() for line in path.read_text().splitlines()[2:]]
        self._inputs = [words[1] for words in lines if words[0] == "Input"]
        self._tops = [name for words in lines if words[0] != "Input" for name in _tops(words)]
        read = {name for words in lines for name in _bottoms(words)}
        self._output = next(name for name in reversed(self._tops) if name not in read)

    def _open(self, *, light: bool) -> Any:
        net = self._ncnn.Net()
        net.opt.use_vulkan_compute, net.opt.num_threads, net.opt.lightmode = False, self.threads, light
        for name in ("fp16_packed", "fp16_storage", "fp16_arithmetic", "bf16_storage"):
            setattr(net.opt, f"use_{name}", False)
        if net.load_param(str(self.path)) or net.load_model(str(self.path.with_suffix(".bin"))):
            raise NetworkError(
                str(self.path), "a file that ncnn does not load", "layers of this ncnn", "pip install -U ncnn"
            )
        return net

    def run(self, *inputs: Array) -> Array:
        rows = [self._extracted(self._net, inputs, row, [self._output])[0] for row in range(len(inputs[0]))]
        return rows[0][None] if len(rows) == 1 else np.stack(rows)

    def intermediates(self, *inputs: Array) -> list[Array]:
        return self._extracted(self._open(light=False), inputs, 0, self._tops)

    def operators(self, *inputs: Array) -> dict[str, float]:
        return {}  # needs a build of ncnn with NCNN_BENCHMARK

    def _extracted(self, net: Any, inputs: tuple[Array, ...], row: int, names: list[str]) -> list[Array]:
        extractor = net.create_extractor()
        mats = []
        for name, each in zip(self._inputs, inputs, strict=True):
            example = each[row]
            if example.dtype == np.int64:
                example = example.astype(np.int32)
            example = np.ascontiguousarray(example)  # a Mat points into it, and keeps nothing alive
            mats.append(self._ncnn.Mat(example).clone())
            extractor.input(name, mats[-1])
        found = []
        for name in names:
            code, mat = extractor.extract(name)
            if code:
                raise NetworkError(str(self.path), f"no result {name} (code {code})", "a result of the network")
            found.append(np.array(mat))
        return found


def _bottoms(words: list[str]) -> list[str]:
    return words[4 : 4 + int(words[2])]


def _tops(words: list[str]) -> list[str]:
    start = 4 + int(words[2])
    return words[start : start + int(words[3])]


def library_bytes() -> int:
    """Of the Python module, which has all of ncnn in it (Vulkan too), for this machine's kind of processor."""
    return max((path.stat().st_size for path in package_folder("ncnn").glob("ncnn*.*d*")), default=0) or max(
        (path.stat().st_size for path in package_folder("ncnn").glob("ncnn*.so")), default=0
    )


def snippet(package: Package, file_name: str) -> tuple[str, str]:
    from netwright.export.snippets import ncnn_cpp

    return "load.cpp", ncnn_cpp(package, file_name)


TARGET = Target(
    name="ncnn", runtime="ncnn", extra="ncnn", modules=("pnnx", "ncnn"), precisions=("float32", "fp16"),
    pixels="float NCHW", lacking=lacking, write=write, open=Runtime, library_bytes=library_bytes, snippet=snippet,
)  # fmt: skip
