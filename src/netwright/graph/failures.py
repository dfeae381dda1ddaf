"""A network that does not run on an example: which layer, what came, what it expected, its line, and a way out."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from torch import Tensor, nn

from netwright.errors import NetworkError, nearest, users_line


class Came(NamedTuple):
    """A tensor that a module was given."""

    shape: tuple[int, ...]
    dtype: str

    @property
    def floating(self) -> bool:
        return self.dtype.startswith(("float", "bfloat", "complex"))

    @property
    def text(self) -> str:
        """As ``--input`` has it: without the batch."""
        return "x".join(map(str, self.shape[1:]))

    def __str__(self) -> str:
        text = "x".join(map(str, self.shape)) or "a number"
        return text if self.dtype == "float32" else f"{text} of {self.dtype}"


def came(tensor: Tensor) -> Came:
    return Came(tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."))


class _Need(NamedTuple):
    """What a layer wants of its first input: ``size`` along ``axis``, which ``attribute`` sets."""

    attribute: str
    size: int
    axis: int
    words: str


_NEEDS = (
    ("in_channels", 1, "{} channels in axis 1"),
    ("in_features", -1, "{} values in the last axis"),
    ("num_features", 1, "{} channels in axis 1"),
    ("num_channels", 1, "{} channels in axis 1"),
    ("input_size", -1, "{} values in the last axis"),
    ("embed_dim", -1, "{} values in the last axis"),
)


def explained(
    network: nn.Module, path: str, given: Sequence[Came], inputs: Mapping[str, Came], error: BaseException
) -> NetworkError:
    """``error`` in our words. It rose in the module at ``path``, which was ``given`` these tensors; ``inputs`` are the
    network's own, by name."""
    module = network.get_submodule(path) if path else network
    kind = type(module).__name__
    where = f"{path} ({kind})" if path else kind
    message = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    line = users_line(error)
    got = f"an input of {', '.join(map(str, given))}" if given else "an error"
    got = f"{got} ({type(error).__name__}: {message}{line and f'; at {line}'})"
    expected, advice = _way_out(module, given, inputs, error, message)
    return NetworkError(where, got, expected, advice or "run forward with this input by itself")


def _way_out(
    module: nn.Module, given: Sequence[Came], inputs: Mapping[str, Came], error: BaseException, message: str
) -> tuple[str, str]:
    """What was expected, and what to try; empty where the error does not tell."""
    if isinstance(error, TypeError) and "forward()" in message and "argument" in message:
        return _arguments(module)
    if isinstance(error, NoEntry):
        name = next((one.name for one in inputs_of(module) if one.default is one.empty), "NAME")
        return "a mapping", f"--input {name}.{error.entry}=SHAPE, and so on for each of its entries"
    if isinstance(error, KeyError) and error.args and any("." in name for name in inputs):
        entries = ", ".join(name.rpartition(".")[2] for name in inputs)
        return f"an entry {error.args[0]} beside or instead of {entries}", f"--input {error.args[0]}=SHAPE for it"
    first = given[0] if given else None
    own = first in inputs.values()  # it reads the network's input as it is
    if isinstance(module, nn.Embedding | nn.EmbeddingBag):
        words = f"integers below {module.num_embeddings}"
        return (
            words,
            f"an integer input, such as --input {first.text if first else '16'}:int64" if own or not first else "",
        )
    if "embedding" in message.lower():
        return "", "an integer input, such as --input 16:int64"
    need = _need(module)
    if need is None or first is None:
        return "", ""
    words = need.words.format(need.size)
    rank = len(module.kernel_size) + 2 if isinstance(module, nn.modules.conv._ConvNd) else 0
    fits = len(first.shape) > max(need.axis, 0) and first.shape[need.axis] == need.size
    if not first.floating:
        return f"floating values, {words}", f"--input {first.text}, without a type" if own else ""
    if fits and re.search("kernel size|too small|output size", message.lower()):
        return "a larger map", "a larger --input"
    if fits and (not rank or len(first.shape) in (rank, rank - 1)):
        return "", ""
    if rank and len(first.shape) != rank:
        sides = "x".join(["32"] * (rank - 2))
        return words, f"--input {need.size}x{sides}" if own else "a map for it: (N, channels, *sides)"
    if own and len(first.shape) > max(need.axis, 0):
        shape = list(first.shape)
        shape[need.axis] = need.size
        return words, f"--input {first._replace(shape=tuple(shape)).text}"
    size = first.shape[need.axis] if len(first.shape) > max(need.axis, 0) else need.size
    other = "another --input, or " if need.axis < 0 else ""  # what is flattened depends on the input's size
    return words, f"{other}{need.attribute}={size}"


class NoEntry(TypeError):
    """A tensor was asked for an entry by name, as a mapping is."""

    def __init__(self, entry: str) -> None:
        self.entry = entry
        super().__init__(f"a tensor has no entry {entry!r}")


def inputs_of(network: nn.Module) -> list[inspect.Parameter]:
    """The arguments of its forward, in order; none where they cannot be told."""
    try:
        return list(inspect.signature(network.forward).parameters.values())
    except (TypeError, ValueError):
        return []


def _arguments(module: nn.Module) -> tuple[str, str]:
    fixed = [one for one in inputs_of(module) if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)]
    needed = [one.name for one in fixed if one.default is one.empty]
    expected = f"the inputs {', '.join(one.name for one in fixed)}" if fixed else ""
    return expected, f"one --input for each, in order or as {' '.join(f'--input {name}=SHAPE' for name in needed)}"


def unknown_input(network: nn.Module, names: Sequence[str]) -> NetworkError | None:
    """The error for inputs by names that forward does not take; it offers the nearest."""
    takes = inputs_of(network)
    known = [one.name for one in takes if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)]
    wrong = [name for name in names if name not in known]
    if not wrong or any(one.kind is one.VAR_KEYWORD for one in takes):
        return None
    near = nearest(wrong[0], known) or next((name for name in known if name not in names), "")
    got = f"an input named {wrong[0]}"
    return NetworkError(type(network).__name__, got, f"inputs {', '.join(known)}", near and f"--input {near}=SHAPE")


def needs_values(error: BaseException) -> bool:
    """Whether the error came from having shapes only: such a network is run once with values."""
    text = f"{type(error).__name__} {error}".lower()
    return "meta" in text or isinstance(error, NotImplementedError) or "data-dependent" in text


def _need(module: nn.Module) -> _Need | None:
    for attribute, axis, words in _NEEDS:
        value = getattr(module, attribute, None)
        if isinstance(value, int):
            return _Need(attribute, value, axis, words)
    shape = getattr(module, "normalized_shape", None)
    if isinstance(shape, tuple) and shape:
        return _Need("normalized_shape", shape[-1], -1, f"{'x'.join(map(str, shape))} at the end of the shape")
    return None
