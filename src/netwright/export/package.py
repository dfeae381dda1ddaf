"""What is exported: a network made ready for other runtimes, with real inputs."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from netwright.errors import NetworkError
from netwright.export.target import Array, Pixels, Precision
from netwright.graph.examples import InputSpec, unwrapped
from netwright.graph.structure import Graph
from netwright.graph.tracing import trace
from netwright.preprocess import ArrayPreprocess, ImagePreprocess, Preprocess, SeriesPreprocess
from netwright.preprocess.with_torch import Prepared, planes


@dataclasses.dataclass(frozen=True)
class Package:
    """``network`` takes ``inputs`` by position: in evaluation mode, on the processor, ``float32``, plain weights.

    ``inputs``: real examples, (N, …) each, as the file takes them. ``graph``: of one example. ``calibration``: real
    examples that ranges may be measured on, other ones than ``inputs`` where there are enough. ``notes``: what the
    target has to say of the file that it wrote.
    """

    network: nn.Module
    graph: Graph
    inputs: tuple[Array, ...]
    names: tuple[str, ...]
    precision: Precision = "float32"
    calibration: tuple[Array, ...] = ()
    notes: list[str] = dataclasses.field(default_factory=list)

    def example(self, batch: int = 1) -> tuple[Tensor, ...]:
        """The first real examples, repeated where there are fewer than ``batch``."""
        return tuple(torch.from_numpy(np.resize(array[:batch], (batch, *array.shape[1:]))) for array in self.inputs)


def package(
    network: nn.Module,
    inputs: Sequence[Array],
    *,
    names: Sequence[str] = (),
    precision: Precision = "float32",
    calibration: Sequence[Array] = (),
) -> Package:
    """A copy of ``network``, which stays as it is, ready for export. ``names``: it takes its inputs by keyword.

    Raises ``NetworkError`` where its result is not one tensor with the examples along the first axis.
    """
    plain = _plain(network)
    if names:
        plain = _ByName(plain, tuple(names))
    taken = tuple(np.ascontiguousarray(array) for array in inputs)
    with torch.no_grad():
        result = plain.eval()(*(torch.from_numpy(array[:1]) for array in taken))
    if not isinstance(result, Tensor) or result.ndim == 0 or len(result) != 1:
        got = f"{type(result).__name__}{tuple(result.shape) if isinstance(result, Tensor) else ''} for one example"
        raise NetworkError(type(network).__name__, got, "one tensor (N, …)", "a wrapper that returns its main output")
    specs = [InputSpec(array.shape[1:], torch.from_numpy(array[:1]).dtype) for array in taken]
    graph = trace(plain, specs if len(specs) > 1 else specs[0])
    called = tuple(names) or (("input",) if len(taken) == 1 else tuple(f"input{place}" for place in range(len(taken))))
    return Package(plain, graph, taken, called, precision, tuple(np.ascontiguousarray(each) for each in calibration))


def _plain(network: nn.Module) -> nn.Module:
    """A copy on the processor, whose computed weights (weight norm, masks) are plain tensors."""
    copied: nn.Module = copy.deepcopy(unwrapped(network)).cpu().float().eval()
    with torch.no_grad():
        for module in copied.modules():
            if parametrize.is_parametrized(module):
                kind = type(module)  # shared with the original, from which it would be removed as well
                own = {name: value for name, value in vars(kind).items() if name not in ("__dict__", "__weakref__")}
                module.__class__ = type(kind.__name__, kind.__bases__, own)
                for tensor in list(module.parametrizations):  # type: ignore[arg-type]
                    parametrize.remove_parametrizations(module, tensor, leave_parametrized=True)
        for parameter in copied.parameters():  # channels-last weights would be kept so in a trace
            parameter.data = parameter.data.contiguous()
            parameter.requires_grad_(False)
    return copied


class _ByName(nn.Module):
    """Inputs by position to a network that takes them by keyword."""

    def __init__(self, network: nn.Module, names: tuple[str, ...]) -> None:
        super().__init__()
        self.network, self.names = network, names

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.network(**dict(zip(self.names, inputs, strict=True)))  # type: ignore[no-any-return]


# ------------------------------------------------------------------------------------- preprocessing inside


class Inside(nn.Module):
    """Raw examples in, probabilities out: preprocessing, the network, and what its outputs mean, as one module.

    Pictures come as ``uint8`` (N, H, W, C), or as ``float32`` (N, C, H, W) in 0…255 where ``pixels`` says so.
    """

    def __init__(
        self, network: nn.Module, records: Sequence[Preprocess], finish: Callable[[Tensor], Tensor], pixels: Pixels
    ) -> None:
        super().__init__()
        self.steps = nn.ModuleList(_Step(record, pixels) for record in records)
        self.network, self.finish = network, finish

    def forward(self, *raws: Tensor) -> Tensor:
        return self.finish(self.network(*(step(raw) for step, raw in zip(self.steps, raws, strict=True))))


class _Step(nn.Module):
    """One input's preprocessing out of operators that every runtime has."""

    factor: Tensor
    offset: Tensor

    def __init__(self, record: Preprocess, pixels: Pixels) -> None:
        super().__init__()
        match record:
            case ImagePreprocess():
                scale, ndim = 1 / 255, 4
            case SeriesPreprocess():
                scale, ndim = 1 / 32768, 3
            case ArrayPreprocess(scale=number) if number is not None:
                scale, ndim = number, 1 + len(record.shape)
            case ArrayPreprocess():
                scale, ndim = 1.0, 1 + len(record.shape)
            case _:
                raise NetworkError(
                    "preprocessing inside", "a table, whose cells are text", "pictures, sound or arrays",
                    "leave --inside out: the preprocessing lies beside the file",
                )  # fmt: skip
        self.record, self.pixels = record, pixels
        same = not isinstance(record, ImagePreprocess) or record.channels in (("grey",), ("rgb",))
        self.mixes = not same
        shape = (1, -1) + (1,) * (ndim - 2)
        std = torch.tensor(record.std or (1.0,), dtype=torch.float64)
        mean = torch.tensor(record.mean or (0.0,), dtype=torch.float64)
        self.register_buffer("factor", ((scale if same else 1.0) / std).float().view(shape))
        self.register_buffer("offset", (-mean / std).float().view(shape))
        self.idle = isinstance(record, ArrayPreprocess) and record.scale is None

    def forward(self, raw: Tensor) -> Tensor:
        if self.idle:
            return raw
        if isinstance(self.record, ImagePreprocess) and self.pixels == "uint8 NHWC":
            raw = raw.permute(0, 3, 1, 2)
        values = raw.float()
        if self.mixes:
            assert isinstance(self.record, ImagePreprocess)
            values = planes(self.record.channels, values / 255)
        return values * self.factor + self.offset


def prepared(records: Sequence[Preprocess], raws: Sequence[Array]) -> tuple[Array, ...]:
    """Raw examples as the network takes them."""
    return tuple(
        Prepared(record)(torch.from_numpy(np.ascontiguousarray(raw))).numpy()
        for record, raw in zip(records, raws, strict=True)
    )


def as_handed_in(records: Sequence[Preprocess], raws: Sequence[Array], pixels: Pixels) -> tuple[Array, ...]:
    """Raw examples as a file with its preprocessing inside takes them."""
    made = []
    for record, raw in zip(records, raws, strict=True):
        if isinstance(record, ImagePreprocess):
            raw = raw.transpose(0, 2, 3, 1) if pixels == "uint8 NHWC" else raw.astype(np.float32)
        elif pixels == "float NCHW" and not (isinstance(record, ArrayPreprocess) and record.scale is None):
            raw = raw.astype(np.float32)
        made.append(np.ascontiguousarray(raw))
    return tuple(made)


@contextlib.contextmanager
def traceable() -> Iterator[None]:
    """While a network is traced: attention by its plain operators, which converters know, and no gradient."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad():
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
