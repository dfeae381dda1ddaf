"""Weights in safetensors: shared tensors once, any memory layout, loaded strictly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from netwright.errors import NetworkError, RunError
from netwright.nn import packing


def save(state: dict[str, torch.Tensor], path: Path, *, packed: bool = False) -> None:
    """Write a ``state_dict``; names that share memory are kept once, with their aliases in the file's metadata.

    ``packed``: zeros and masks take little space (``nn/packing.py``); it is read back to the same bits.
    """
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
    notes: dict[str, Any] = {}
    if packed:
        kept, notes = packing.pack(kept)
    layout = {"layout": json.dumps({"aliases": aliases, "packed": notes}, sort_keys=True)}
    save_file(kept, path, metadata=layout if notes else {"aliases": json.dumps(aliases, sort_keys=True)})


def read(path: Path) -> dict[str, torch.Tensor]:
    """The ``state_dict`` in a file."""
    try:
        with safe_open(path, framework="pt") as file:
            about = file.metadata() or {}
            layout = (
                json.loads(about["layout"])
                if "layout" in about
                else {"aliases": json.loads(about.get("aliases", "{}"))}
            )
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        state = packing.unpack(state, layout["packed"]) if "packed" in layout else state
        state |= {name: state[owner] for name, owner in layout["aliases"].items()}
    except FileNotFoundError as error:
        raise RunError(str(path), "no such file", "saved weights") from error
    except (SafetensorError, ValueError, OSError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise RunError(
            str(path), f"a damaged file ({error})", "weights in safetensors", "an older checkpoint, or train anew"
        ) from error
    return state


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
