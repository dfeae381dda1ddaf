"""A network and an example, run forward once without values: the graph.

Every call that reaches PyTorch is seen where it is made (``torch.overrides``), so functional calls, operators and
modules are all one kind of thing. Tensors are replaced by twins on the ``meta`` device as they come in, parameters and
buffers too: no memory for weights or activations is taken, nothing is computed, and the network's own tensors are never
touched. A network that must see values (it branches on ``x.sum() > 0``) is run once more with values, on copies of what
it would change; the graph says so in ``executed``.

Cost: some 50 µs an operation beside PyTorch's own shape rules; linear in the operations.
"""

from __future__ import annotations

import contextlib
import itertools
import sys
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakIdKeyDictionary

from netwright.errors import NetworkError
from netwright.graph import kinds, shapes
from netwright.graph import operations as table
from netwright.graph.examples import Example, InputSpec, arguments, held, initialised, registered, unwrapped
from netwright.graph.failures import Came, NoEntry, came, explained, needs_values
from netwright.graph.following import Modules, Named, Place, left_as_found, names_of, tensors
from netwright.graph.opened import opened
from netwright.graph.structure import Graph, Operation, ParameterInfo, TensorInfo

__all__ = ["Example", "InputSpec", "trace"]


def trace(network: nn.Module, example: Example, *, batch: int = 1, training: bool = False) -> Graph:
    """The graph of ``network`` on ``example``.

    ``example`` is a shape without the batch (``(3, 224, 224)``), an ``InputSpec``, a tensor with its batch, or a
    sequence (several inputs) or mapping (by name) of these. ``training`` traces as in training (dropout, batch
    statistics).

    The network is left as it was found, also after an error: modes, attributes, buffers, hooks, random state.

    Raises ``NetworkError`` that names the layer, what came and what it expected, and the line of the network's
    source, where the network does not run on this example.
    """
    if isinstance(network, torch.jit.ScriptModule):
        raise NetworkError(
            type(network).__name__, "a scripted module, which hides its operations", "the Python module",
            "inspect the network before torch.jit.script or torch.jit.trace",
        )  # fmt: skip
    network = unwrapped(network)
    positional, named = arguments(example, batch)
    with left_as_found(network):
        network = initialised(network, positional, named)
        try:
            return _traced(network, positional, named, batch, training, values=False)
        except _Failed as failure:
            if not failure.needs_values or any(parameter.is_meta for parameter in network.parameters()):
                raise failure.error from failure.__cause__
        try:
            return _traced(network, positional, named, batch, training, values=True)
        except _Failed as failure:
            raise failure.error from failure.__cause__


class _Failed(Exception):
    def __init__(self, error: NetworkError, needs_values: bool) -> None:
        self.error, self.needs_values = error, needs_values
        super().__init__(str(error))


def _traced(
    network: nn.Module, positional: list[Any], named: dict[str, Any], batch: int, training: bool, *, values: bool
) -> Graph:
    for module in network.modules():
        module.__dict__["training"] = training
    tracer = _Tracer(network, values=values)
    args = [tracer.enter_input(f"input{place or ''}", item) for place, item in enumerate(positional)]
    kwargs = {name: tracer.enter_input(name, item) for name, item in named.items()}
    try:
        with torch.no_grad(), tracer.following(), tracer:
            result = network(*args, **kwargs)
    except (KeyboardInterrupt, MemoryError):
        raise
    except (Exception, SystemExit) as error:  # a network that exits would end the caller, and with success
        raise _Failed(tracer.explain(error), not values and needs_values(error)) from error
    outputs = [tensor for tensor in tensors(result) if isinstance(tensor, Tensor)]
    if not outputs:
        got = type(result).__name__
        raise _Failed(NetworkError(type(network).__name__, f"{got} from forward", "a tensor, or tensors in it"), False)
    return tracer.graph(outputs, batch, training)


# --------------------------------------------------------------------------------------------------------------
# The tracer


class _Draft:
    """An operation before it has its name."""

    __slots__ = ("attributes", "followed", "inputs", "kind", "outputs", "parameters", "place")

    def __init__(self, kind: str, attributes: dict[str, Any], followed: bool, place: Place) -> None:
        self.kind, self.attributes, self.followed, self.place = kind, attributes, followed, place
        self.inputs: list[str] = []
        self.outputs: list[str] = []
        self.parameters: list[str] = []


class _Tracer(TorchFunctionMode):
    """Sees every call, swaps tensors for their twins, and writes drafts of operations."""

    def __init__(self, network: nn.Module, *, values: bool) -> None:
        super().__init__()
        self.network, self.values = network, values
        self.drafts: list[_Draft] = []
        self.tensors: dict[str, TensorInfo] = {}
        self.input_names: list[str] = []
        self.registered: dict[int, str] = {}  # id of a parameter or buffer → its first name
        self.infos: dict[str, ParameterInfo] = {}
        self.twins: dict[int, tuple[Tensor, Tensor]] = {}  # id of a tensor of the network → (it, its twin)
        self.copies: dict[int, tuple[Tensor, Tensor]] = {}  # id of a tensor of the network → (it, what is written into)
        self.owners: dict[int, str] = {}  # id of a twin → the name of its parameter or buffer
        self.lodging: dict[int, str] = {}  # storage → the parameter or buffer that lies in it
        self.known: dict[int, tuple[weakref.ref[Tensor], str]] = {}  # id of a traced tensor → its name in the graph
        self.sharing: dict[int, list[weakref.ref[Tensor]]] = {}  # storage → traced tensors in it
        self.stale: dict[int, str] = {}  # id of a tensor that changed through another view → the writer's output
        self.modules = Modules(network)
        self.kinds = {name: type(module).__name__ for name, module in network.named_modules()}
        self.serial = itertools.count(1)
        self.constants = itertools.count(1)
        self.running: list[tuple[str, list[Came]]] = []  # modules being run: (path, what came in)
        self.buffers = {id(buffer) for buffer in network.buffers()}
        for name, value in registered(network):
            self._register(name, value)
        self.belonging = {*self.registered, *map(id, held(network))}
        self.left: dict[tuple[str, str], bool] = {}  # a traced tensor whose values Python has, the call that gave them
        self.made_here: Any = WeakIdKeyDictionary()  # constants

    def _register(self, name: str, value: Tensor) -> None:
        first = self.registered.setdefault(id(value), name)
        if first != name:
            info = self.infos[first]
            self.infos[first] = msgspec.structs.replace(info, aliases=(*info.aliases, name))
            return
        self.infos[name] = ParameterInfo(
            name=name,
            shape=tuple(value.shape),
            dtype=str(value.dtype).removeprefix("torch."),
            trainable=value.requires_grad,
            kind="buffer" if id(value) in self.buffers else "parameter",
        )
        if self.values:
            self._lodge(value, name)

    def _lodge(self, tensor: Tensor, name: str) -> None:
        with contextlib.suppress(NotImplementedError, RuntimeError):  # no storage: sparse and the like
            self.lodging.setdefault(tensor.untyped_storage()._cdata, name)

    # ---- the calls

    def __torch_function__(
        self, function: Callable[..., Any], _types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        short = getattr(function, "__name__", "")
        if short == "__get__" and getattr(function.__self__, "__name__", "") in kinds.PLAIN:  # type: ignore[attr-defined]
            return function(*args, **kwargs)
        if short == "__set__":
            return self._set(function, args)
        if short in kinds.QUESTIONS:
            if short in kinds.LEAVING and self.values and args and id(args[0]) in self.known:
                self.left[self._name_of(args[0]), short.strip("_")] = True
            return function(*self._mapped(args), **self._mapped(kwargs))
        inside = opened(function)
        if inside is not None:
            with self:
                return inside(*args, **kwargs)
        return self._call(function, args, kwargs)

    def _set(self, function: Callable[..., Any], args: Sequence[Any]) -> Any:
        """``x.data = y`` and the like: the network's own tensors are spared, others take the value."""
        if args and id(args[0]) in self.registered:
            name = getattr(getattr(function, "__self__", None), "__name__", "")
            if name == "data" and len(args) > 1 and isinstance(args[1], Tensor):
                self.twins[id(args[0])] = (args[0], self._mapped(args[1]))
            return None
        return function(*args)

    def _call(self, function: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        name, in_place = table.canonical(function)
        out = kwargs.get("out")
        given = list(tensors((args, kwargs)))
        if self.left:
            self._recognise(given)
        traced = any(id(tensor) in self.known or id(tensor) in self.registered for tensor in given)
        if not traced:  # constants among themselves have values: they are computed
            if in_place and given:
                self._spare(given[0])
            result = function(*self._copied(args), **self._copied(kwargs))
            if self.left and name in kinds.RETURNING:
                self._recognise([result])
            elif self.values:
                self.made_here.update((tensor, True) for tensor in tensors(result))
            return result
        if self.left and name == "new_tensor":
            result = function(*self._copied(args), **self._copied(kwargs))
            self._recognise([result])
            return result
        if name == "getitem" and isinstance(args[-1], str):
            raise NoEntry(args[-1])
        if self.values and (in_place or name in ("batch_norm", "instance_norm")):
            for tensor in given[:1] if in_place else given:  # the two norms write their running averages
                self._spare(tensor)
        mapped, mapped_kwargs = self._mapped(args), self._mapped(kwargs)
        if name in kinds.CASTS and not self.values:
            mapped, mapped_kwargs = _without_device(name, mapped, mapped_kwargs)
            if mapped is None:  # .cpu(), .cuda()
                return given[0]
        elif not self.values and "device" in mapped_kwargs:
            mapped_kwargs = {**mapped_kwargs, "device": torch.device("meta")}
        if name in shapes.KEEPS_SHAPE:
            in_place = in_place or table.bind(function, name, mapped, mapped_kwargs).get("inplace") is True
        result = None if self.values else shapes.result(name, mapped, mapped_kwargs, in_place=in_place)
        if result is None:
            shapes.refuse(name, mapped, mapped_kwargs)
            result = function(*mapped, **mapped_kwargs)
        if result is NotImplemented:
            return result
        outputs = [tensor for tensor in tensors(result) if isinstance(tensor, Tensor)]
        if name == "assign" and args:
            outputs = [mapped[0]]
        if not outputs:
            return result
        if name in ("cast", "to", "contiguous", *kinds.CASTS) and len(outputs) == 1 and outputs[0] is mapped[0]:
            return result
        if out is not None:
            in_place = True
        self._write(function, name, given, mapped, mapped_kwargs, outputs, in_place)
        return result

    def _write(
        self,
        function: Callable[..., Any],
        name: str,
        given: list[Tensor],
        mapped: Sequence[Any],
        kwargs: dict[str, Any],
        outputs: list[Tensor],
        in_place: bool,
    ) -> None:
        try:
            kind, attributes, followed = table.describe(function, name, mapped, kwargs, outputs)
        except (KeyError, IndexError, ValueError, TypeError, AttributeError):
            kind, attributes, followed = name, {}, False  # an unusual call: named, not guessed
        inputs, parameters = [], []
        for tensor in given:
            owner = self.registered.get(id(tensor))
            if owner is None or id(tensor) in self.known:  # a buffer that was written into carries data
                inputs.append(self._name_of(tensor))
            elif owner not in parameters:
                parameters.append(owner)
        for role, tensor in _roles(function, name, mapped, kwargs):
            attributes[role] = self._owner(tensor) or self._name_of(tensor)
        draft = self._draft(kind, attributes, followed)
        draft.inputs, draft.parameters = inputs, parameters
        for tensor in outputs:
            draft.outputs.append(self._made(tensor, changed=in_place))
        if in_place and given and given[0] is not outputs[0]:  # the caller holds what was swapped for its twin
            self._know(given[0], draft.outputs[0])

    def _recognise(self, given: Sequence[Tensor]) -> None:
        """Tensors that no call and no module made come from Python: of the values that left, for all we know."""
        for tensor in given:
            key = id(tensor)
            if key in self.known or key in self.belonging or tensor in self.made_here:
                continue
            names, ways = zip(*self.left, strict=True)
            draft = self._draft("outside", {"through": tuple(dict.fromkeys(ways))}, False)
            draft.inputs += dict.fromkeys(names)
            draft.outputs.append(self._made(tensor, changed=False))

    def _draft(self, kind: str, attributes: dict[str, Any], followed: bool) -> _Draft:
        draft = _Draft(kind, attributes, followed, self.modules.place)
        self.drafts.append(draft)
        return draft

    # ---- tensors

    def enter_input(self, name: str, value: Any) -> Any:
        """The twin of an input; values that are no tensors pass as they are, tensors inside containers too."""
        if isinstance(value, Tensor):
            if self.values:
                twin = torch.zeros(value.shape, dtype=value.dtype) if value.is_meta else value.detach().clone()
                if value.is_meta and value.is_floating_point():
                    twin = torch.randn(value.shape, dtype=torch.float32, generator=torch.Generator().manual_seed(0))
                    twin = twin.to(value.dtype)
                place = next((parameter.device for parameter in self.network.parameters()), twin.device)
                twin = twin.to(place)
            else:
                twin = _meta(value)
            number = len(self.input_names)
            unique = name if name not in self.tensors else f"{name}.{number}"
            self._know(twin, unique)
            self.tensors[unique] = _info(unique, twin)
            self.input_names.append(unique)
            return twin
        if isinstance(value, Mapping):
            return {key: self.enter_input(f"{name}.{key}", item) for key, item in value.items()}
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            return type(value)(*(self.enter_input(f"{name}.{place}", item) for place, item in enumerate(value)))
        if isinstance(value, list | tuple):
            return type(value)(self.enter_input(f"{name}.{place}", item) for place, item in enumerate(value))
        return value

    def _mapped(self, value: Any) -> Any:
        """``value`` with every tensor replaced by its twin."""
        kind = type(value)
        if kind is tuple or kind is list:
            return kind(self._mapped(item) for item in value)
        if kind is dict:
            return {key: self._mapped(item) for key, item in value.items()}
        if isinstance(value, Tensor):
            return self._twin(value)
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            return kind(*(self._mapped(item) for item in value))
        return value

    def _twin(self, tensor: Tensor) -> Tensor:
        key = id(tensor)
        if self.values:
            return self.copies[key][1] if key in self.copies else tensor
        if key in self.twins:
            return self.twins[key][1]
        if tensor.is_meta:
            return tensor
        if key not in self.registered and tensor.dim() == 0:
            return tensor  # numbers may stay real beside meta tensors, and keep their value
        twin = _meta(tensor)
        self.twins[key] = (tensor, twin)
        if key in self.registered:
            self.owners[id(twin)] = self.registered[key]
            self._lodge(twin, self.registered[key])
        return twin

    def _owner(self, tensor: Tensor) -> str | None:
        """The parameter or buffer that ``tensor`` is, or stands for."""
        return self.registered.get(id(tensor)) or self.owners.get(id(tensor))

    def _spare(self, tensor: Tensor) -> None:
        """Before a write: what belongs to the network gets a copy, which takes its place from now on."""
        if id(tensor) in self.belonging and id(tensor) not in self.copies:
            self.copies[id(tensor)] = (tensor, tensor.detach().clone())

    def _copied(self, value: Any) -> Any:
        """``value`` with every tensor replaced by its copy, if it has one."""
        if not self.copies:
            return value
        if isinstance(value, Tensor):
            return self.copies[id(value)][1] if id(value) in self.copies else value
        if type(value) in (tuple, list):
            return type(value)(self._copied(item) for item in value)
        return {key: self._copied(item) for key, item in value.items()} if type(value) is dict else value

    def _know(self, tensor: Tensor, name: str) -> None:
        key = id(tensor)
        known, sharing = self.known, self.sharing
        known[key] = (weakref.ref(tensor, lambda _, key=key: known.pop(key, None)), name)  # type: ignore[misc]
        self.stale.pop(key, None)
        with contextlib.suppress(NotImplementedError, RuntimeError):  # no storage: sparse and the like
            sharing.setdefault(tensor.untyped_storage()._cdata, []).append(weakref.ref(tensor))

    def _name_of(self, tensor: Tensor) -> str:
        key = id(tensor)
        entry = self.known.get(key)
        if entry is not None and entry[0]() is tensor:
            name = entry[1]
            writer = self.stale.pop(key, None)
            if writer is None:
                return name
            draft = self._draft("assign", {"through": "a view"}, True)
            draft.inputs += [name, writer]
            draft.outputs.append(self._made(tensor, changed=False))
            return draft.outputs[0]
        name = f"constant{next(self.constants)}"
        self.tensors[name] = _info(name, tensor)
        self._know(tensor, name)
        return name

    def _made(self, tensor: Tensor, *, changed: bool) -> str:
        """Gives an operation's output its name; what shares its memory is stale if it was written into."""
        name = f"%{next(self.serial)}"
        storage = self._landlord(tensor)
        self._know(tensor, name)
        self.tensors[name] = msgspec.structs.replace(_info(name, tensor), storage=storage)
        if changed:
            with contextlib.suppress(NotImplementedError, RuntimeError):
                storage = tensor.untyped_storage()._cdata
                alive = [reference for reference in self.sharing.get(storage, []) if reference() is not None]
                self.sharing[storage] = alive
                for reference in alive:
                    other = reference()
                    if other is not None and other is not tensor:
                        self.stale[id(other)] = name
        return name

    def _landlord(self, tensor: Tensor) -> str:
        """The first tensor, parameter or buffer in the memory of ``tensor``; empty where that memory is new."""
        with contextlib.suppress(NotImplementedError, RuntimeError):
            storage = tensor.untyped_storage()._cdata
            if storage in self.lodging:
                return self.lodging[storage]
            alive = [reference for reference in self.sharing.pop(storage, ()) if reference() is not None]
            if alive:
                self.sharing[storage] = alive
                name = self.known[id(alive[0]())][1]
                return self.tensors[name].storage or name
        return ""

    # ---- modules

    def following(self) -> contextlib.AbstractContextManager[None]:
        """``running`` keeps what ended with an error."""

        def entered(args: Any) -> None:
            self.running.append((self.modules.place.module, [came(tensor) for tensor in tensors(args)]))

        def left(_: str, output: Any) -> None:
            if output is not None or sys.exc_info()[0] is None:
                self.running.pop()

        return self.modules.followed(entered, left)

    # ---- the end

    def graph(self, outputs: Sequence[Tensor], batch: int, training: bool) -> Graph:
        if self.left:
            self._recognise(outputs)
        self._forget_bookkeeping(outputs)
        calls = [Named(draft.place, draft.kind, bool(draft.parameters)) for draft in self.drafts]
        names = names_of(calls, self.modules.leaves, set(self.tensors))
        renamed: dict[str, str] = {}
        for draft, name in zip(self.drafts, names, strict=True):
            for place, output in enumerate(draft.outputs):
                renamed[output] = name if len(draft.outputs) == 1 else f"{name}:{place}"
        output_names = tuple(dict.fromkeys(self._name_of(tensor) for tensor in outputs))
        producers = {output: name for draft, name in zip(self.drafts, names, strict=True) for output in draft.outputs}

        def final(name: str) -> str:
            return renamed.get(name, name)

        tensors = {
            final(name): msgspec.structs.replace(
                info, name=final(name), producer=producers.get(name, ""), storage=final(info.storage)
            )
            for name, info in self.tensors.items()
        }
        operations = tuple(
            Operation(
                name=name,
                kind=draft.kind,
                inputs=tuple(map(final, draft.inputs)),
                outputs=tuple(map(final, draft.outputs)),
                module=draft.place.module,
                parameters=tuple(draft.parameters),
                attributes={
                    key: final(value) if isinstance(value, str) and value.startswith("%") else value
                    for key, value in draft.attributes.items()
                },
                followed=draft.followed,
            )
            for draft, name in zip(self.drafts, names, strict=True)
        )
        return Graph(
            inputs=tuple(self.input_names),
            outputs=tuple(map(final, output_names)),
            tensors=tensors,
            operations=operations,
            parameters=tuple(self.infos.values()),
            modules=self.kinds,
            batch=batch,
            training=training,
            executed="values" if self.values else "shapes",
        )

    def _forget_bookkeeping(self, outputs: Sequence[Tensor]) -> None:
        """Drops what neither comes from an input nor reaches an output, such as a counter of batches."""
        fed = set(self.input_names)
        for draft in self.drafts:
            if fed.intersection(draft.inputs):
                fed.update(draft.outputs)
        wanted = {self._name_of(tensor) for tensor in outputs}
        kept = []
        for draft in reversed(self.drafts):
            if wanted.intersection(draft.outputs) or fed.intersection(draft.outputs):
                wanted.update(draft.inputs)
                kept.append(draft)
            else:
                for output in draft.outputs:
                    self.tensors.pop(output)
        self.drafts = kept[::-1]

    def explain(self, error: BaseException) -> NetworkError:
        path, given = self.running[-1] if self.running else ("", [])
        inputs = {name: Came(self.tensors[name].shape, self.tensors[name].dtype) for name in self.input_names}
        return explained(self.network, path, given, inputs, error)


def _info(name: str, tensor: Tensor) -> TensorInfo:
    return TensorInfo(name=name, shape=tuple(tensor.shape), dtype=str(tensor.dtype).removeprefix("torch."))


def _meta(tensor: Tensor) -> Tensor:
    if tensor.layout != torch.strided:
        return torch.empty(tensor.shape, dtype=tensor.dtype, device="meta")
    return torch.empty_strided(tensor.size(), tensor.stride(), dtype=tensor.dtype, device="meta")


def _roles(
    function: Callable[..., Any], name: str, args: Sequence[Any], kwargs: dict[str, Any]
) -> Iterator[tuple[str, Tensor]]:
    """Weight and bias of a call, for those who change them."""
    base = name.removesuffix("_with_indices")
    if not (
        base.startswith(("conv", "linear", "bilinear")) or base.endswith("_norm") or base in ("embedding", "prelu")
    ):
        return
    call = table.bind(function, name, args, kwargs)
    if base == "prelu":
        call = {"weight": call.get("1", call.get("weight"))}
    for role in ("weight", "bias", "running_mean", "running_var"):
        if isinstance(call.get(role), Tensor):
            yield role, call[role]


def _without_device(name: str, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """``x.to("cuda")``, ``x.cpu()``: shapes have no device, so only the change of type remains."""
    if name in ("cpu", "cuda"):
        return None, kwargs
    kept = [item for item in args[1:] if not isinstance(item, str | torch.device | int) or isinstance(item, bool)]
    return (args[0], *kept), {key: value for key, value in kwargs.items() if key not in ("device", "non_blocking")}
