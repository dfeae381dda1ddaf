"""Which layers a pass may exchange, and a surgery done with the values that go with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from netwright.compression.decomposing import relative_error
from netwright.compression.passes import MOST_NAMED, Changed, Context
from netwright.errors import NetworkError, UsageError, nearest
from netwright.nn import lowbit
from netwright.nn.surgery import Masked, operate
from netwright.records import Surgery

EIGHT = (lowbit.QuantizedLinear, lowbit.QuantizedConv1d, lowbit.QuantizedConv2d)


class Proposal(NamedTuple):
    """A layer's surgery and the values that go with it; ``stands_for``: the weight that these amount to;
    ``parameters``: of them, without bias; ``facts``: whatever else is worth writing down."""

    surgery: Surgery
    values: dict[str, Tensor]
    stands_for: Tensor
    parameters: int
    facts: dict[str, Any] = {}


def exchanged(
    where: str, network: nn.Module, context: Context, names: Sequence[str],
    propose: Callable[[str, nn.Module], Proposal | str | None],
) -> Changed:  # fmt: skip
    """Exchange every dense layer and convolution that gets smaller by it, or those that are named.

    ``propose``: None where it does not apply, a text where it would bring nothing. The note says how many, how far
    their weights are off, and why others stay; facts hold figures a layer.
    """
    done: list[Surgery] = []
    facts: dict[str, Any] = {}
    stay: list[str] = []
    for name, layer in chosen(where, network, (nn.Linear, nn.Conv2d), names):
        made = propose(name, layer)
        if made is None:
            stay += [f"{name} stays: it does not apply to it"] * (name in names)
            continue
        weight: Tensor = layer.weight.detach()  # type: ignore[operator]
        if not isinstance(made, str) and not names and made.parameters >= weight.numel():
            made = "it would not get smaller"
        if isinstance(made, str):
            stay.append(f"{name} stays: {made}")
            continue
        reason = attempted(network, context, made.surgery, made.values)
        if reason:
            stay.append(reason)
            continue
        done.append(made.surgery)
        error = relative_error(weight.cpu(), made.stands_for.cpu())
        facts[name] = {"parameters": [weight.numel(), made.parameters], "error": error, **made.facts}
    if not done:
        return Changed((), "; ".join(["nothing was exchanged", *stay[:3]]), {"stay": stay})
    worst = max(facts, key=lambda name: float(facts[name]["error"]))
    note = f"{counted(len(done), 'layer')}, weights off by up to {facts[worst]['error']:.3f} ({worst})"
    return Changed(tuple(done), note, {"layers": facts, "stay": stay})


def exchangeable(network: nn.Module, kinds: Sequence[type[nn.Module]]) -> Iterator[tuple[str, nn.Module]]:
    """Layers of exactly these kinds that stand in one place alone and share no parameter.

    A subclass may do anything with its weight, and so may a module that reads another's (the projection of PyTorch's
    attention is such a subclass).
    """
    places: dict[int, int] = {}
    for _, module in network.named_modules(remove_duplicate=False):
        places[id(module)] = places.get(id(module), 0) + 1
    owners: dict[int, int] = {}
    for module in network.modules():
        for parameter in module.parameters(recurse=False):
            owners[id(parameter)] = owners.get(id(parameter), 0) + 1
    for name, module in network.named_modules():
        if name and type(module) in kinds and places[id(module)] == 1:
            padded = getattr(module, "padding_mode", "zeros") == "zeros"
            if padded and all(owners[id(each)] == 1 for each in module.parameters(recurse=False)):
                yield name, module


def chosen(
    where: str, network: nn.Module, kinds: Sequence[type[nn.Module]], names: Sequence[str]
) -> list[tuple[str, nn.Module]]:
    """The exchangeable layers, or those of them that are named. Raises ``UsageError`` for a name that is none."""
    known = dict(exchangeable(network, kinds))
    bound = computed(network)
    if bound and not known:
        raise not_free(where, bound)
    for name in names:
        if name in bound:
            raise not_free(where, {name: bound[name]})
        if name not in known:
            some = ", ".join(list(known)[:MOST_NAMED]) + ", …" * (len(known) > MOST_NAMED)
            raise UsageError(
                f"compress: {where}: layers", repr(name), f"a layer that can be exchanged ({some})",
                nearest(name, known) or next(iter(known), ""),
            )  # fmt: skip
    return [(name, module) for name, module in known.items() if not names or name in names]


def computed(network: nn.Module) -> dict[str, str]:
    """Layers whose weights follow from other values, so that no channel of theirs can be cut: how each is kept."""
    found: dict[str, str] = {}
    for name, module in network.named_modules():
        if isinstance(module, lowbit.Packed | lowbit.Xnor):
            found[name] = "signs" if isinstance(module, lowbit.Xnor) and not module.packed else "packed"
        elif isinstance(module, EIGHT):
            found[name] = "rounded to 8 bits"
        elif parametrize.is_parametrized(module):
            masked = any(isinstance(step, Masked) for each in module.parametrizations.values() for step in each)
            found[name] = "masked" if masked else "few bits"
    return found


def not_free(where: str, layers: Mapping[str, str]) -> UsageError:
    """The error for a pass that comes after one which fixed the weights that it would change."""
    return UsageError(
        f"compress: {where}", f"layers whose weights are computed: {told(layers)}", "weights that are free",
        f"{where} before the pass that changed them",
    )  # fmt: skip


def told(layers: Mapping[str, str]) -> str:
    """``conv2, conv3 (packed); fc (masked)``, the first few."""
    kinds = dict.fromkeys(layers.values())
    lists = {kind: [name for name, own in layers.items() if own == kind] for kind in kinds}
    return "; ".join(
        f"{', '.join(names[:MOST_NAMED])}{f' and {len(names) - MOST_NAMED} more' * (len(names) > MOST_NAMED)} ({kind})"
        for kind, names in lists.items()
    )


def in_order(network: nn.Module, context: Context, kinds: tuple[type[nn.Module], ...]) -> list[str]:
    """Names of the modules of these kinds in the order they run; those that never run are left out."""
    names = (operation.module for operation in context.graph(network).operations)
    return [name for name in dict.fromkeys(names) if name and isinstance(network.get_submodule(name), kinds)]


def operated(network: nn.Module, surgery: Surgery, values: Mapping[str, Tensor]) -> None:
    """Do the surgery and give the module that comes of it its values, in the type and place of the old one's."""
    old = network.get_submodule(surgery.module)
    like = next(iter(old.parameters()), None)
    training = old.training
    operate(network, surgery)
    new = network.get_submodule(surgery.module)
    if like is not None:
        new.to(device=like.device)
        if like.dtype != torch.float32:
            new.to(dtype=like.dtype)
    state = new.state_dict()
    with torch.no_grad():
        for name, tensor in values.items():
            state[name].copy_(tensor.reshape(state[name].shape))
    new.train(training)


def attempted(network: nn.Module, context: Context, surgery: Surgery, values: Mapping[str, Tensor]) -> str:
    """Do the surgery; where the network does not run afterwards the old module is put back. Why, or nothing."""
    parent, _, last = surgery.module.rpartition(".")
    holder = network.get_submodule(parent)
    old = getattr(holder, last)
    try:
        operated(network, surgery, values)
        context.graph(network)
    except (NetworkError, AttributeError, TypeError, RuntimeError) as error:
        setattr(holder, last, old)
        return f"{surgery.module} stays: the network does not run without it ({str(error).splitlines()[0]})"
    return ""


def counted(many: int, what: str) -> str:
    """``1 layer``, ``2 layers``."""
    return f"{many} {what}{'s' * (many != 1)}"
