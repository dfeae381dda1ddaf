"""Weights of elsewhere for a network of ours: files of any of the usual kinds, matched by name and shape.

A ``state_dict`` is read with ``weights_only=True``: code in it does not run.
"""

from __future__ import annotations

import dataclasses
import pickle
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from netwright.errors import NetworkError, nearest
from netwright.nn import weights
from netwright.nn.depth import blocks
from netwright.records import shape_text

# Where the checkpoints of common training programs keep the weights, and what wrappers put before their names.
INSIDE = ("state_dict", "model_state_dict", "model", "network", "net", "weights", "params")
WRAPPERS = ("module.", "_orig_mod.", "model.", "network.", "net.")
TRY = "network.name, network.width or network.arguments as the weights were made with"


@dataclasses.dataclass(frozen=True)
class Match:
    """``state``: by the network's own names. ``how``: by ``name``, or by ``order`` where the names have nothing in
    common. ``new``: tensors of the network that keep their initial values; ``left``: those of the file that are not
    used; ``parameters``: how many values were taken over."""

    state: dict[str, Tensor]
    how: str
    new: tuple[str, ...]
    left: tuple[str, ...]

    @property
    def parameters(self) -> int:
        return sum(tensor.numel() for tensor in self.state.values())


def read(path: Path) -> dict[str, Tensor]:
    """The weights in a safetensors or ``state_dict`` file, in its order."""
    try:
        with path.open("rb") as file:
            start = file.read(16)
    except OSError as error:
        raise NetworkError(
            str(path), error.strerror or str(error), "a run, or a file of weights (.safetensors, .pt, .pth)",
            "netwright runs",
        ) from error  # fmt: skip
    if start[8:9] == b"{" or path.suffix == ".safetensors":
        return weights.read(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of other versions of pickle, which are read or refused below
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        coded = start[:2] in (b"PK", b"\x80\x02") and "weights" in str(error).lower()
        got = "a file with objects that only code can build" if coded else "a file that PyTorch does not read"
        raise NetworkError(
            str(path), got, "a state_dict", "torch.save(network.state_dict(), 'state.pt') where the network is at hand"
        ) from error
    return tensors(content, str(path))


def tensors(content: Any, where: str) -> dict[str, Tensor]:
    """The ``state_dict`` in what a checkpoint holds: as it is, or under one of the usual keys."""
    if isinstance(content, Mapping):
        found = {str(name): value.detach() for name, value in content.items() if isinstance(value, Tensor)}
        if found and len(found) >= len(content) / 2:
            return _unwrapped(found)
        for key in INSIDE:
            if isinstance(content.get(key), Mapping):
                return tensors(content[key], f"{where}: {key}")
    got = f"a {type(content).__name__}"
    if isinstance(content, Mapping):
        got += f" of {', '.join(map(str, list(content)[:5])) or 'nothing'}"
    raise NetworkError(where, got, "names with tensors", "torch.save(network.state_dict(), 'state.pt')")


def _unwrapped(state: dict[str, Tensor]) -> dict[str, Tensor]:
    for prefix in WRAPPERS:
        if all(name.startswith(prefix) for name in state):
            return _unwrapped({name.removeprefix(prefix): tensor for name, tensor in state.items()})
    return state


def match(state: Mapping[str, Tensor], network: nn.Module, where: str, *, new_head: bool = False) -> Match:
    """Which tensors of ``state`` go where in ``network``; ``new_head``: the last layer keeps its initial values.

    Everything below the last layer has to fit, by name and shape; where no name is known, by order and shape. Only
    the last layer may be new, and only one layer of the file may be left over: anything else is another network, and
    raises ``NetworkError``.
    """
    own = network.state_dict()
    head = head_names(network)
    given = {name: tensor for name, tensor in state.items() if name in own}
    how = "name"
    if not given:
        given, how = _by_order(state, own, head), "order"
    fits = {
        name: tensor for name, tensor in given.items()
        if tuple(tensor.shape) == tuple(own[name].shape) and not (new_head and name in head)
    }  # fmt: skip
    _require_body(fits, given, state, own, head, where)
    taken = {id(tensor) for tensor in fits.values()}
    left = tuple(name for name, tensor in state.items() if id(tensor) not in taken)
    surplus = [name for name in left if name not in head and state[name].ndim > 1]
    if len(surplus) > (0 if any(name in state for name in head) else 1):
        raise NetworkError(
            f"{where}: {surplus[0]}",
            f"weights {shape_text(state[surplus[0]].shape)} that the network has no place for",
            f"the weights of a network of {len(own)} tensors, not of one of {len(state)}", TRY,
        )  # fmt: skip
    new = tuple(name for name in own if name not in fits)
    return Match(fits, how, new, left)


def head_names(network: nn.Module) -> frozenset[str]:
    """The tensors of the last layer with weights, in the network's ``state_dict``."""
    layers = [name for name, p in network.named_parameters() if p.ndim > 1]
    inner = blocks(network)
    if not layers or not inner:
        return frozenset()
    last = {id(p) for p in inner[-1].parameters()}
    final = next((name for name in reversed(layers) if id(network.get_parameter(name)) in last), layers[-1])
    module = final.rpartition(".")[0]
    return frozenset(name for name in network.state_dict() if name.rpartition(".")[0] == module)


def load(network: nn.Module, found: Match) -> None:
    """Put what was matched into the network; everything else keeps its values."""
    network.load_state_dict({**network.state_dict(), **found.state})


def _counted(name: str) -> bool:
    return name.endswith("num_batches_tracked")


def _by_order(state: Mapping[str, Tensor], own: Mapping[str, Tensor], head: frozenset[str]) -> dict[str, Tensor]:
    """The tensors in order, as far as their shapes are the network's; counters of norms may be missing."""
    theirs = [tensor for tensor in state.values() if tensor.ndim]
    ours = [name for name, tensor in own.items() if tensor.ndim]
    found: dict[str, Tensor] = {}
    for name, tensor in zip(ours, theirs, strict=False):
        if tuple(tensor.shape) != tuple(own[name].shape):
            break
        found[name] = tensor
    return found if all(name in found or name in head for name in ours) else {}


def _require_body(
    fits: Mapping[str, Tensor], given: Mapping[str, Tensor], state: Mapping[str, Tensor], own: Mapping[str, Tensor],
    head: frozenset[str], where: str,
) -> None:  # fmt: skip
    missing = [name for name in own if name not in fits and name not in head and not _counted(name)]
    if fits and not missing:
        return
    if not missing:
        raise NetworkError(where, "nothing below the last layer", "weights to start from", "leave --from out")
    name = missing[0]
    wanted = shape_text(own[name].shape)
    if name in given:
        raise NetworkError(f"{where}: {name}", f"shape {shape_text(given[name].shape)}", wanted, _advice(name, own))
    if not given:
        raise NetworkError(
            where,
            f"weights of another network ({_listed(list(state))})",
            f"those of this one ({_listed(list(own))})",
            TRY,
        )
    near = nearest(name, state)
    raise NetworkError(where, f"no weights for {name}", f"{wanted}{f', which {near} is not' if near else ''}", TRY)


def _advice(name: str, own: Mapping[str, Tensor]) -> str:
    first = next(iter(own))
    return "examples of the same shape: data.channels, data.size, the same columns" if name == first else TRY


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
