"""Other activations, norms, dropout and noise for a network that exists, as surgeries: one switch for any network.

What reads what is seen in one forward of zeros, by the tensors that modules hand on; functions in a network's own
``forward`` are no modules and stay as they are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from netwright.errors import NetworkError, unknown_name
from netwright.nn import activations, norms
from netwright.nn.zoo.lenet import Squash
from netwright.records import Surgery

LAYERS = (nn.Linear, nn.modules.conv._ConvNd)
WEIGHTED = (*LAYERS, nn.Bilinear, nn.RNNBase, nn.RNNCellBase, nn.Embedding, nn.MultiheadAttention)
ACTING = (*activations.KINDS, Squash)
PASSING = (nn.Identity, nn.modules.dropout._DropoutNd)
ITSELF: dict[str, Any] = {"kind": "itself"}


class Call(NamedTuple):
    """A call of a leaf module: shapes with the batch in front, and the tensors that it reads and makes by number."""

    name: str
    module: nn.Module
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    reads: int
    makes: int


class _Functions(TorchFunctionMode):
    """Which tensors functions read outside of leaf modules."""

    def __init__(self) -> None:
        super().__init__()
        self.depth = 0
        self.read: set[int] = set()

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not self.depth and getattr(function, "__name__", "") != "__get__":
            for value in args:
                for each in value if isinstance(value, list | tuple) else (value,):
                    if isinstance(each, torch.Tensor):
                        self.read.add(id(each))
        return function(*args, **(kwargs or {}))


class Calls(NamedTuple):
    """The calls in their order, and the tensors that functions read between them."""

    calls: list[Call]
    functions: set[int]

    def maker(self, place: int) -> Call | None:
        """What made the tensor that the call at ``place`` reads; dropout and identities are looked through."""
        wanted = self.calls[place].reads
        for call in reversed(self.calls[:place]):
            if call.makes == wanted:
                if not isinstance(call.module, PASSING):
                    return call
                wanted = call.reads
        return None


def calls(network: nn.Module, input_shape: Sequence[int], batch: int = 1) -> Calls:
    """One forward of zeros in evaluation; modes and the random state stay. Raises ``NetworkError`` where it fails."""
    found: list[Call] = []
    kept: list[torch.Tensor] = []  # as long as they live, no other tensor has their number
    functions, handles = _Functions(), []

    def enter(module: nn.Module, given: Any) -> None:
        functions.depth += 1

    def leave(name: str) -> Any:
        def hook(module: nn.Module, given: tuple[Any, ...], result: Any) -> None:
            functions.depth -= 1
            made = result[0] if isinstance(result, tuple) else result
            if given and isinstance(given[0], torch.Tensor) and isinstance(made, torch.Tensor):
                kept.extend((given[0], made))
                found.append(Call(name, module, tuple(given[0].shape), tuple(made.shape), id(given[0]), id(made)))

        return hook

    leaves: list[str] = []
    for name, module in network.named_modules():
        inside = any(name.startswith(f"{leaf}.") for leaf in leaves)
        if (
            name
            and not inside
            and (isinstance(module, (*WEIGHTED, *norms.KINDS)) or next(module.children(), None) is None)
        ):
            leaves.append(name)
            handles += [module.register_forward_pre_hook(enter), module.register_forward_hook(leave(name))]
    modes = [(module, module.training) for module in network.modules()]
    parameter = next(network.parameters(), torch.empty(0))
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]), functions:
            network.eval()(torch.zeros(batch, *input_shape, device=parameter.device))
    except Exception as error:
        raise NetworkError(
            type(network).__name__, f"a forward of zeros {tuple(input_shape)} that fails ({error})",
            "a network that runs on one example of its input shape",
        ) from error  # fmt: skip
    finally:
        for handle in handles:
            handle.remove()
        for module, mode in modes:
            module.training = mode
    return Calls(found, functions.read)


def refit(
    network: nn.Module,
    input_shape: Sequence[int],
    *,
    activation: str = "own",
    norm: str = "own",
    place: str = "before",
    groups: int = 0,
    drop_input: float = 0.0,
    drop_hidden: float = 0.0,
    noise_hidden: float = 0.0,
    noise_weights: float = 0.0,
) -> tuple[Surgery, ...]:
    """The surgeries that give a network other parts; nothing is changed yet (``surgery.replay`` does it).

    ``activation``: a name of ``activations``, for every hidden one (those before the last layer with weights).
    ``norm``: ``none``, or a name of ``norms``. A network's own norms become of that kind, one by one; a network
    without any gets one ``place`` (before or after) each hidden activation that follows a layer. ``after`` moves a
    norm that stands directly before an activation. ``weight`` and ``cosine`` take the norms away and change the hidden
    layers themselves. A bias whose norm takes it away is left out, and comes back, as zeros, where the norm goes.
    ``groups``: of group norm, 0 for up to 32. ``drop_input``, ``drop_hidden``: the share that dropout leaves out before
    the first layer and behind each hidden activation; ``noise_hidden``, ``noise_weights``: deviations of Gaussian noise
    there and on the weights (as a share of their root mean square). Weights and norm scales keep their values.

    Raises ``NetworkError`` where a part does not fit, naming the module.
    """
    for name, given, known in (("activation", activation, activations.ACTIVATIONS), ("norm", norm, norms.NORMS)):
        if given != "own" and given not in known and not (name == "norm" and given == "none"):
            raise unknown_name(
                f"network.{name}", given, ["own", *(["none"] if name == "norm" else []), *known], NetworkError
            )
    if (activation, norm) == ("own", "own") and not (drop_input or drop_hidden or noise_hidden or noise_weights):
        return ()
    plan = _Plan(network, calls(network, input_shape))
    if norm != "own":
        plan.norm(norm, place, groups)
    if activation != "own":
        plan.activation(activation)
    plan.behind(drop_hidden, noise_hidden)
    if drop_input:
        plan.before_first(drop_input)
    return plan.surgeries(noise_weights)


class _Plan:
    """What stands in each module's place, as steps of a ``replace``."""

    def __init__(self, network: nn.Module, seen: Calls) -> None:
        self.network, self.seen = network, seen
        self.steps: dict[str, list[dict[str, Any]]] = {}
        self.weighted = [place for place, call in enumerate(seen.calls) if isinstance(call.module, WEIGHTED)]
        if not self.weighted:
            raise NetworkError(type(network).__name__, "no layer with weights that is a module", "at least one")
        self.hidden = self._once(
            place for place, call in enumerate(seen.calls[: self.weighted[-1]]) if isinstance(call.module, ACTING)
        )
        self.parametrized: list[str] = []

    def _once(self, places: Any) -> list[int]:
        firsts: dict[str, int] = {}
        for place in places:
            firsts.setdefault(self.seen.calls[place].name, place)
        return list(firsts.values())

    def _tokens(self, place: int) -> bool:
        """Whether channels come last: behind a dense layer or a layer norm that saw more than (N, C)."""
        call = self.seen.calls[place]
        made = call if isinstance(call.module, norms.KINDS) else self.seen.maker(place)
        while made is not None and isinstance(made.module, ACTING):
            made = self.seen.maker(self.seen.calls.index(made))
        last = made is not None and isinstance(made.module, nn.Linear | nn.LayerNorm | nn.RMSNorm | norms.TokenNorm)
        return last and len(call.input_shape) > 2

    # ---- norms

    def norm(self, kind: str, place: str, groups: int) -> None:
        own = self._once(i for i, call in enumerate(self.seen.calls) if isinstance(call.module, norms.KINDS))
        per_example = kind in norms.NORMS[:4]
        moved: set[str] = set()
        for at in own:
            call = self.seen.calls[at]
            follower = next((i for i in self.hidden if self.seen.maker(i) == call), None)
            if not per_example:
                self._put(call.name, [{"kind": "Identity"}])
                self._bias(at, back=True)
            elif place == "after" and follower is not None:
                self._put(call.name, [{"kind": "Identity"}])
                self._bias(at, back=True)
                activation = self.seen.calls[follower]
                self._put(activation.name, [ITSELF, self._made(kind, follower, groups)])
                moved.add(activation.name)
            else:
                if norms.name_of(call.module) != kind or (kind == "group" and groups):
                    self._put(call.name, [self._made(kind, at, groups) | {"keep": True}])
                self._bias(at, back=False)
        if not own and per_example:
            for at in self.hidden:
                self._insert(at, kind, place, groups)
        if kind in ("weight", "cosine"):
            self._layers(kind)

    def _insert(self, at: int, kind: str, place: str, groups: int) -> None:
        call = self.seen.calls[at]
        maker = self.seen.maker(at)
        if maker is None or not isinstance(maker.module, LAYERS):
            return
        shapes = {other.input_shape[1:] for other in self.seen.calls if other.name == call.name}
        if len(shapes) > 1:
            raise NetworkError(
                call.name, "one activation for several layers", "one each where a norm is put in", "network.norm=own"
            )
        made = self._made(kind, at, groups)
        self._put(call.name, [made, ITSELF] if place == "before" else [ITSELF, made])
        if place == "before":
            self._bias(at, back=False)

    def _made(self, kind: str, at: int, groups: int) -> dict[str, Any]:
        call, tokens = self.seen.calls[at], self._tokens(at)
        eps = getattr(call.module, "eps", 1e-5) or 1e-5
        name, arguments = norms.fitting(
            kind, call.input_shape, tokens=tokens, groups=groups, eps=eps, where=f"network.norm at {call.name}"
        )
        return {"kind": name, "arguments": arguments}

    def _bias(self, at: int, *, back: bool) -> None:
        """Leave the bias out of the layer whose output only the norm at ``at`` reads, or give it back, as zeros."""
        maker = self.seen.maker(at)
        if maker is None or not isinstance(maker.module, LAYERS) or (maker.module.bias is None) != back:
            return
        if not back and (
            maker.makes in self.seen.functions or sum(c.reads == maker.makes for c in self.seen.calls) > 1
        ):
            return  # somebody else reads it, bias and all
        if sum(call.name == maker.name for call in self.seen.calls) == 1:
            self._put(maker.name, [_like(maker.module, bias=back) | {"keep": True}])

    def _layers(self, kind: str) -> None:
        last = self.seen.calls[self.weighted[-1]].name
        for at in self._once(place for place in self.weighted if isinstance(self.seen.calls[place].module, LAYERS)):
            call = self.seen.calls[at]
            if call.name == last:
                continue
            if kind == "weight":
                self.parametrized.append(call.name)
                continue
            made = _like(call.module, bias=False)
            made["kind"] = f"Cosine{made['kind']}"
            made["arguments"].pop("bias")
            if made["kind"] not in ("CosineLinear", "CosineConv1d", "CosineConv2d"):
                raise NetworkError(
                    f"network.norm at {call.name}", f"cosine norm of a {type(call.module).__name__}",
                    "dense layers and convolutions of one or two axes", "--set network.norm=weight",
                )  # fmt: skip
            self.steps[call.name] = [made | {"keep": True}]

    # ---- activations, dropout, noise

    def activation(self, name: str) -> None:
        if not self.hidden:
            raise NetworkError(
                "network.activation", "no hidden activation that is a module", "activations as modules",
                "nn.ReLU() instead of functional.relu",
            )  # fmt: skip
        for at in self.hidden:
            call = self.seen.calls[at]
            if name == "maxout":
                self._maxout(at)
                made: dict[str, Any] = {"kind": "Identity"}
            elif name == "softmax":
                made = {"kind": "Softmax", "arguments": {"dim": -1 if self._tokens(at) else 1}}
            else:
                made = {"kind": type(activations.ACTIVATIONS[name]()).__name__}
            self._put(call.name, [made])

    def _maxout(self, at: int) -> None:
        maker = self.seen.maker(at)
        while maker is not None and isinstance(maker.module, norms.KINDS):
            maker = self.seen.maker(self.seen.calls.index(maker))
        kinds = {"Linear", "Conv1d", "Conv2d"}
        if maker is None or type(maker.module).__name__ not in kinds:
            raise NetworkError(
                f"network.activation at {self.seen.calls[at].name}",
                "maxout behind something else than a layer (a sum)",
                "a dense layer or a convolution right before", "--set network.activation=elu",
            )  # fmt: skip
        previous = self.steps.get(maker.name)
        bias = bool(previous[0]["arguments"]["bias"]) if previous else maker.module.bias is not None
        made = _like(maker.module, bias=bias)
        self.steps[maker.name] = [made | {"kind": f"Maxout{made['kind']}"}]

    def behind(self, dropout: float, noise: float) -> None:
        if (dropout or noise) and not self.hidden:
            raise NetworkError("network.drop_hidden", "no hidden activation that is a module", "activations as modules")
        more: list[dict[str, Any]] = [{"kind": "GaussianNoise", "arguments": {"deviation": noise}}] if noise else []
        more += [{"kind": "Dropout", "arguments": {"p": dropout}}] if dropout else []
        for at in self.hidden if more else ():
            name = self.seen.calls[at].name
            self.steps[name] = [*self.steps.get(name, [ITSELF]), *more]

    def before_first(self, dropout: float) -> None:
        name = self.seen.calls[self.weighted[0]].name
        self.steps[name] = [{"kind": "Dropout", "arguments": {"p": dropout}}, *self.steps.get(name, [ITSELF])]

    def _put(self, name: str, steps: list[dict[str, Any]]) -> None:
        """Put ``steps`` in the place of what is ``itself`` there so far."""
        now = self.steps.get(name, [ITSELF])
        if ITSELF not in now:
            self.steps[name] = steps
            return
        place = now.index(ITSELF)
        self.steps[name] = [*now[:place], *steps, *now[place + 1 :]]

    def surgeries(self, noise: float) -> tuple[Surgery, ...]:
        done = [
            Surgery(operation="replace", module=name, arguments=steps[0] if len(steps) == 1 else {"sequence": steps})
            for name, steps in self.steps.items()
            if steps != [ITSELF]
        ]

        def now(name: str) -> str:
            """Where the layer is when the replacements are done."""
            steps = self.steps.get(name, [ITSELF])
            return name if len(steps) == 1 else f"{name}.{len(steps) - 1}"

        done += [
            Surgery(operation="parametrize", module=now(name), arguments={"kind": "weight_norm"})
            for name in self.parametrized
        ]
        for name in dict.fromkeys(self.seen.calls[at].name for at in self.weighted) if noise else ():
            if isinstance(self.network.get_submodule(name), LAYERS):
                arguments = {"kind": "noise", "arguments": {"deviation": noise}}
                done.append(Surgery(operation="parametrize", module=now(name), arguments=arguments))
        return tuple(done)


def _like(module: Any, *, bias: bool) -> dict[str, Any]:
    """The step that makes a dense layer or convolution of the same sizes."""
    if isinstance(module, nn.Linear):
        arguments = {"in_features": module.in_features, "out_features": module.out_features, "bias": bias}
        return {"kind": "Linear", "arguments": arguments}
    keys = ["in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups", "padding_mode"]
    transposed = isinstance(module, nn.modules.conv._ConvTransposeNd)
    keys += ["output_padding"] if transposed else []
    kept = {key: getattr(module, key) for key in keys}
    kept = {key: list(value) if isinstance(value, tuple) else value for key, value in kept.items()}
    kind = next(each.__name__ for each in type(module).__mro__ if each.__module__.startswith("torch."))
    return {"kind": kind, "arguments": kept | {"bias": bias}}


def one_value(network: nn.Module, input_shape: Sequence[int]) -> str:
    """The first batch norm that sees one value a channel for a single example; empty for none."""
    for call in calls(network, input_shape).calls:
        if norms.name_of(call.module) == "batch":
            channels = call.input_shape[-1] if isinstance(call.module, norms.TokenNorm) else call.input_shape[1]
            if math.prod(call.input_shape[1:]) == channels:
                return call.name
    return ""
