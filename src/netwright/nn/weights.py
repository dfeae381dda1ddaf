"""Weights in safetensors: shared tensors once, any memory layout, loaded strictly."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from netwright.errors import NetworkError, RunError


def save(state: dict[str, torch.Tensor], path: Path) -> None:
    """Write a ``state_dict``; names that share memory are kept once, with their aliases in the file's metadata."""
    kept: dict[str, torch.Tensor] = {}
    owners: dict[tuple[object, ...], str] = {}
    aliases: dict[str, str] = {}
    for name, tensor in state.items():
        identity = (tensor.untyped_storage().data_ptr(), tensor.storage_offset(), tuple(tensor.shape))
        if tensor.numel() and identity in owners:
            aliases[name] = owners[identity]
        else:
            owners[identity] = name
            kept[name] = tensor.detach().to("cpu").contiguous()
    # One entry only: the library writes several in a random order, and equal weights should make equal files.
    save_file(kept, path, metadata={"aliases": json.dumps(aliases, sort_keys=True)})


def read(path: Path) -> dict[str, torch.Tensor]:
    """The ``state_dict`` in a file."""
    try:
        with safe_open(path, framework="pt") as file:
            aliases = json.loads((file.metadata() or {}).get("aliases", "{}"))
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except FileNotFoundError as error:
        raise RunError(str(path), "no such file", "saved weights") from error
    except (SafetensorError, ValueError, OSError) as error:
        raise RunError(
            str(path), f"a damaged file ({error})", "weights in safetensors", "an older checkpoint, or train anew"
        ) from error
    return state | {name: state[owner] for name, owner in aliases.items()}


def load(network: nn.Module, state: dict[str, torch.Tensor], where: str) -> None:
    """Put ``state`` into the network; every name and shape has to fit."""
    expected = network.state_dict()
    for name, tensor in expected.items():
        if name not in state:
            raise NetworkError(where, f"no weights for {name}", "the weights of this very network")
        if tuple(state[name].shape) != tuple(tensor.shape):
            raise NetworkError(f"{where}: {name}", f"shape {tuple(state[name].shape)}", str(tuple(tensor.shape)))
    surplus = [name for name in state if name not in expected]
    if surplus:
        raise NetworkError(
            where, f"weights for {surplus[0]}, which the network does not have", "the weights of this very network"
        )
    network.load_state_dict(state)
