"""Memory of a training step, found without taking it: the step runs on fake tensors and every byte is written down.

Forward, loss, backward and the optimiser's step run as they are, on tensors that have a shape but no values
(``FakeTensorMode``); a ``TorchDispatchMode`` notes when each storage is born and when it dies. What autograd keeps,
what Python variables hold on to and in which order the backward frees is PyTorch's own doing, not a model of it.

What kernels take inside for themselves is added for the two where it weighs: convolutions (oneDNN's copies in its own
layout, or the columns of the plain kernel) and oneDNN's LSTM. Cost: some ten times a trace of the graph.
"""

from __future__ import annotations

import contextlib
import weakref
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from netwright.errors import NetworkError, UsageError, unknown_name
from netwright.graph.examples import Example, arguments, initialised, mapped, unwrapped
from netwright.graph.following import Modules, left_as_found, tensors
from netwright.records import Record

Optimizer = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]
Loss = Callable[[Any, Any], Tensor]

# As training builds them: fused where PyTorch has it, `foreach` where not.
OPTIMIZERS: dict[str, Optimizer] = {
    "sgd": partial(torch.optim.SGD, lr=1e-3, fused=True),
    "momentum": partial(torch.optim.SGD, lr=1e-3, momentum=0.9, fused=True),
    "nesterov": partial(torch.optim.SGD, lr=1e-3, momentum=0.9, nesterov=True, fused=True),
    "adagrad": partial(torch.optim.Adagrad, lr=1e-3, fused=True),
    "rmsprop": partial(torch.optim.RMSprop, lr=1e-3, foreach=True),
    "adam": partial(torch.optim.Adam, lr=1e-3, fused=True),
    "adamw": partial(torch.optim.AdamW, lr=1e-3, fused=True),
    "adadelta": partial(torch.optim.Adadelta, lr=1e-3, foreach=True),
}
LOSSES = ("cross-entropy", "squared")
PARTS = ("weights", "buffers", "inputs", "gradients", "optimizer_state", "activations", "temporaries")


class TrainingMemory(Record, frozen=True, kw_only=True):
    """Live bytes of a training step that is not the first, so that the optimiser has its state already.

    ``peak`` is the highest sum of live bytes, ``at`` the phase that reaches it (``forward``, ``loss``, ``backward``,
    ``step``) and ``where`` the module that ran then (an operation where it is none), ``at_peak`` its parts; they
    sum to ``peak``. ``weights``, ``buffers``, ``gradients`` and ``optimizer_state`` are whole sizes; ``inputs`` are the
    batch and its targets; ``activations`` is what the forward leaves alive for the backward, outputs and loss with it;
    ``temporaries`` the most that backward and step have alive beside all that at one time.
    """

    batch: int
    optimizer: str
    peak: int
    at: str
    where: str
    weights: int
    buffers: int
    inputs: int
    gradients: int
    optimizer_state: int
    activations: int
    temporaries: int
    at_peak: dict[str, int]


def training_memory(
    network: nn.Module,
    example: Example,
    *,
    batch: int = 1,
    optimizer: str | Optimizer = "adam",
    loss: str | Loss = "cross-entropy",
    target: Any = None,
) -> TrainingMemory:
    """The memory that one training step of ``network`` takes, for ``batch`` examples, in the network's own types.

    ``example`` is what ``trace`` takes: a shape without the batch, or tensors (their first axis becomes ``batch``).
    ``optimizer`` is a recipe's name or a function from parameters to an optimiser. ``loss`` is ``cross-entropy``,
    ``squared`` or a function of outputs and ``target``; a target that is not given is made to fit the first output.
    The gradients of the step before are gone (``zero_grad(set_to_none=True)``); only parameters that require gradients
    have one. No precision but the network's own, no accumulation.

    The network is left as it was found and no memory of its size is taken. Raises ``NetworkError`` where it does not
    run on this example, must see values, or has nothing to train; ``UsageError`` for unknown names.
    """
    if batch < 1:
        raise UsageError("batch", f"{batch}", "at least 1 example")
    build = _optimizer(optimizer)
    name = optimizer if isinstance(optimizer, str) else getattr(optimizer, "__name__", type(optimizer).__name__)
    network = unwrapped(network)
    positional, named = arguments(example, batch)
    with left_as_found(network):
        network = initialised(network, positional, named)
        for module in network.modules():
            module.__dict__["training"] = True
        with FakeTensorMode(allow_non_fake_inputs=True):
            state = _twins(network)
            parameters = [value for value in state.values() if isinstance(value, nn.Parameter) and value.requires_grad]
            if not parameters:
                raise NetworkError(type(network).__name__, "no trainable parameter", "at least one", "unfreeze a layer")
            args, kwargs = tuple(_fake(positional, batch)), _fake(named, batch)
            ledger = _Ledger(network)
            ledger.own("weights", (value for value in state.values() if isinstance(value, nn.Parameter)))
            ledger.own("buffers", (value for value in state.values() if not isinstance(value, nn.Parameter)))
            target = _fake(target, batch)
            ledger.own("inputs", tensors((args, kwargs, target)))
            _step(network, state, parameters, args, kwargs, build, loss, target, ledger)
    return ledger.record(batch, name)


def _step(
    network: nn.Module,
    state: dict[str, Tensor],
    parameters: list[nn.Parameter],
    args: Any,
    kwargs: Any,
    build: Optimizer,
    loss: str | Loss,
    target: Any,
    ledger: _Ledger,
) -> None:
    """The step itself. The optimiser steps twice: its state is born in the first, later ones are like the second."""
    try:
        with torch.enable_grad(), ledger:
            with ledger.following_modules():
                outputs = torch.func.functional_call(network, state, args, kwargs)
            ledger.enter("loss")
            if target is None and isinstance(loss, str):
                target = _target(loss, outputs, network)
                ledger.own("inputs", [target])
            value = _loss(loss, outputs, target)
            if not value.requires_grad:
                raise NetworkError(
                    type(network).__name__, "a loss without gradient", "outputs that depend on parameters"
                )
            ledger.enter("backward")
            value.backward()
            ledger.enter("prepare")
            ledger.own("gradients", [p.grad for p in parameters if p.grad is not None])
            optimizer = build(parameters)
            optimizer.step()
            ledger.own("optimizer_state", [v for entry in optimizer.state.values() for v in tensors(entry)])
            ledger.enter("step")
            optimizer.step()
            ledger.enter("after")
            del outputs
    except (NetworkError, UsageError, KeyboardInterrupt, MemoryError):
        raise
    except Exception as error:
        where = ledger.where or type(network).__name__
        message = (str(error).strip().splitlines() or [""])[0]
        needs_values = "data-dependent" in str(error).lower() or "DataDependent" in type(error).__name__
        raise NetworkError(
            f"training memory: {where}",
            f"{type(error).__name__}: {message}",
            "a step that runs on shapes alone" if needs_values else "a training step that runs",
            "measure it by training one step" if needs_values else "another --input, loss or target",
        ) from error


def _optimizer(optimizer: str | Optimizer) -> Optimizer:
    if not isinstance(optimizer, str):
        return optimizer
    if optimizer not in OPTIMIZERS:
        raise unknown_name("optimizer", optimizer, OPTIMIZERS)
    return OPTIMIZERS[optimizer]


def _twins(network: nn.Module) -> dict[str, Tensor]:
    """Fake parameters and buffers by name, of the same layout; a shared one is one twin under its first name."""
    twins: dict[str, Tensor] = {}
    for name, parameter in network.named_parameters():
        fake = torch.empty_strided(parameter.size(), parameter.stride(), dtype=parameter.dtype)
        twins[name] = nn.Parameter(fake, requires_grad=parameter.requires_grad)
    for name, buffer in network.named_buffers():
        twins[name] = torch.empty_strided(buffer.size(), buffer.stride(), dtype=buffer.dtype)
    return twins


def _fake(value: Any, batch: int) -> Any:
    """``value`` with fake tensors of ``batch`` examples in place of its tensors."""
    return mapped(value, lambda one: torch.empty((batch, *one.shape[1:]) if one.dim() else (), dtype=one.dtype))


def _target(loss: str, outputs: Any, network: nn.Module) -> Tensor:
    first = next(tensors(outputs), None)
    if first is None or not first.is_floating_point():
        raise NetworkError(type(network).__name__, "no floating output", "outputs that a loss takes", "give loss")
    if loss == "cross-entropy":
        return torch.empty((*first.shape[:1], *first.shape[2:]), dtype=torch.int64)
    return torch.empty_like(first)


def _loss(loss: str | Loss, outputs: Any, target: Any) -> Tensor:
    if callable(loss):
        return loss(outputs, target)
    first = next(tensors(outputs))
    if loss == "cross-entropy":
        return functional.cross_entropy(first, target)
    if loss == "squared":
        return functional.mse_loss(first, target)
    raise unknown_name("loss", loss, LOSSES)


class _Ledger(TorchDispatchMode):
    """Birth and death of every storage, with phase and module."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.modules = Modules(network)
        self.phase, self.where = "forward", ""
        self.entries: list[tuple[int, int, str, str]] = []  # (storage's number, ± bytes, phase, where)
        self.part: list[str] = []  # of each storage
        self.numbers: dict[int, int] = {}  # address of a live storage → its number
        self._watched: dict[int, weakref.ref[Any]] = {}

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if self.phase in ("backward", "step"):
            self.where = _running(function)
        result = function(*args, **kwargs or {})
        if function is torch.ops.aten.mkldnn_rnn_layer.default:
            result = (*result[:3], torch.empty(_recurrent_workspace(args), dtype=torch.uint8))
        for tensor in tensors(result):
            self._note(tensor)
        inside = _workspace(function, args, result)
        if inside:
            self.part.append("temporaries")
            self.entries += [(len(self.part) - 1, size, self.phase, self.where) for size in (inside, -inside)]
        return result

    def _note(self, tensor: Tensor) -> int:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key not in self.numbers:
            number, size = len(self.part), storage.nbytes()
            self.part.append("activations" if self.phase in ("forward", "loss") else "temporaries")
            self.numbers[key] = number
            self.entries.append((number, size, self.phase, self.where))

            def dead(_: Any, key: int = key, number: int = number, size: int = size) -> None:
                if self.numbers.get(key) == number:
                    del self.numbers[key]
                self._watched.pop(number, None)
                self.entries.append((number, -size, self.phase, self.where))

            self._watched[number] = weakref.ref(storage, dead)
        return self.numbers[key]

    def own(self, part: str, owned: Iterable[Tensor]) -> None:
        """These tensors are a known part of the memory; what is new lives from the start."""
        for tensor in owned:
            self.part[self._note(tensor)] = part

    def enter(self, phase: str) -> None:
        self.phase, self.where = phase, ""

    def following_modules(self) -> contextlib.AbstractContextManager[None]:
        """Knows the module that runs, and writes it on the graph that the backward will follow."""

        def entered(_: Any) -> None:
            self.where = self.modules.place.module

        def left(path: str, output: Any) -> None:
            self.where = self.modules.place.module
            for tensor in tensors(output):
                if tensor.grad_fn is not None:
                    _notes(tensor.grad_fn).setdefault("module", path)

        return self.modules.followed(entered, left)

    def record(self, batch: int, optimizer: str) -> TrainingMemory:
        """Reads the entries twice: once for the highest sum, once for what it is made of."""
        fixed = {"weights", "buffers", "inputs", "optimizer_state"}
        whole: Counter[str] = Counter()
        for number, change, _, _ in self.entries:
            if change > 0:
                whole[self.part[number]] += change
        # What is fixed is there throughout; the optimiser's first step, which made its state, is left out.
        now: Counter[str] = Counter({part: whole[part] for part in fixed})
        peak, at, where, at_peak, temporaries, kept = 0, "forward", "", dict(now), 0, 0
        for number, change, phase, place in self.entries:
            part = self.part[number]
            if part in fixed or phase == "after":
                continue
            now[part] += change
            if phase in ("forward", "loss"):
                kept = now["activations"]
            if phase == "prepare":
                continue
            temporaries = max(temporaries, now["temporaries"])
            total = sum(now.values())
            if total > peak:
                peak, at, where, at_peak = total, phase, place, dict(now)
        return TrainingMemory(
            batch=batch, optimizer=optimizer, peak=peak, at=at, where=where,
            weights=whole["weights"], buffers=whole["buffers"], inputs=whole["inputs"], gradients=whole["gradients"],
            optimizer_state=whole["optimizer_state"], activations=kept, temporaries=temporaries,
            at_peak={part: at_peak.get(part, 0) for part in PARTS},
        )  # fmt: skip


# --------------------------------------------------------------------------------------------------------------
# Inside of kernels


def _workspace(function: Any, args: tuple[Any, ...], result: Any) -> int:
    """Bytes that a kernel has alive beside its inputs and outputs at its worst moment; 0 where it is not known."""
    aten = torch.ops.aten
    if function is aten.convolution.default:
        source, weight, bias, *how = args[:9]
        return _convolution_forward(source, weight, result, _kernel(source, weight, bias, how))
    if function is aten.convolution_backward.default:
        gradient, source, weight, _, *how = args[:10]
        return _convolution_backward(source, weight, gradient, _kernel(source, weight, None, how))
    if function in (aten.mkldnn_rnn_layer.default, aten.mkldnn_rnn_layer_backward.default):
        source, first, second = args[:3]  # both matrices in oneDNN's layout, and one set of gates for all steps
        gates = source[..., 0].numel() * first.shape[0]
        copied = args[7].numel() if function is aten.mkldnn_rnn_layer_backward.default else 0  # the output's gradient
        return int((first.numel() + second.numel() + gates + copied) * source.element_size())
    return 0


def _kernel(source: Tensor, weight: Tensor, bias: Tensor | None, how: list[Any]) -> str:
    """Which of PyTorch's kernels convolves these on this machine: ``Mkldnn``, ``Slow2d``, …"""
    stride, padding, dilation, transposed, output_padding, groups = how
    try:
        chosen = torch._C._select_conv_backend(
            source, weight, bias, stride, padding, dilation, transposed, output_padding, groups, [weight.shape[0]]
        )
    except (RuntimeError, TypeError):
        return ""
    return str(chosen).rpartition(".")[2]


def _blocked(tensor: Tensor) -> int:
    """Bytes in oneDNN's layout, which pads channels to whole vector registers."""
    lanes = 16 if "512" in torch.backends.cpu.get_cpu_capability() else 8
    channels = -(-tensor.shape[1] // lanes) * lanes
    return tensor.numel() // tensor.shape[1] * channels * tensor.element_size()


def _columns(source: Tensor, weight: Tensor, made: Tensor) -> int:
    """Bytes of the unfolded input (im2col), which a 1×1 kernel does without."""
    window = weight[0, 0].numel()
    positions = made.numel() // made.shape[1]
    return 0 if window == 1 else source.shape[1] * window * positions * source.element_size()


def _convolution_forward(source: Tensor, weight: Tensor, made: Tensor, kernel: str) -> int:
    """Measured with PyTorch 2.13: input (not below 16 channels), weights and output are reordered; while the output is
    put back, only its copy is left."""
    if kernel in ("Slow2d", "SlowDilated2d", "Slow3d", "SlowDilated3d"):
        return _columns(source, weight, made)
    if not kernel.startswith("Mkldnn"):
        return 0
    copies = _blocked(made) + (_blocked(source) if source.shape[1] >= 16 else 0) + weight.nbytes
    return max(_blocked(made), copies - made.nbytes)


def _convolution_backward(source: Tensor, weight: Tensor, gradient: Tensor, kernel: str) -> int:
    """The gradient of the weights comes last: copies of input (not of up to 4 channels) and output's gradient."""
    if kernel in ("Slow2d", "SlowDilated2d", "Slow3d", "SlowDilated3d"):
        return _columns(source, weight, gradient)
    if not kernel.startswith("Mkldnn"):
        return 0
    return _blocked(gradient) + (_blocked(source) if source.shape[1] > 4 else 0)


def _recurrent_workspace(args: tuple[Any, ...]) -> int:
    """Bytes that oneDNN's recurrent layer keeps for its backward. They grow linearly in steps and examples, each padded
    in its own way, so that one step of one example, and two of them, tell: four runs on a layer of this width."""
    source, *weights = args[:5]
    hidden, rest = args[5:7], args[7:]
    steps, examples, width = source.shape

    def kept(steps: int, examples: int) -> int:
        with _disable_current_modes():
            zeros = [torch.zeros(weight.shape, dtype=weight.dtype) for weight in weights]
            states = [
                torch.zeros((*state.shape[:-2], examples, state.shape[-1]), dtype=state.dtype) for state in hidden
            ]
            found = torch.ops.aten.mkldnn_rnn_layer(
                torch.zeros(steps, examples, width, dtype=source.dtype), *zeros, *states, *rest
            )
            return int(found[3].nbytes)

    one, longer, wider, both = kept(1, 1), kept(2, 1), kept(1, 2), kept(2, 2)
    more, wide = int(steps) - 1, int(examples) - 1
    return one + more * (longer - one) + wide * (wider - one) + more * wide * (both - longer - wider + one)


def _notes(node: Any) -> dict[str, Any]:
    """What may be written on a node of autograd's graph."""
    return node.metadata  # type: ignore[no-any-return]


def _running(function: Any) -> str:
    """The module whose backward runs, or the operation where it is not known."""
    node = torch._C._current_autograd_node()
    module = _notes(node).get("module") if node is not None else None
    return str(module) if module else str(function).removeprefix("aten.").partition(".")[0]
