"""Where a training stands, and how that is written down and read again, to the same bits."""

from __future__ import annotations

import dataclasses
import io
import pickle
from pathlib import Path
from typing import Any

import torch
from torch import nn

from netwright import files
from netwright.errors import RunError
from netwright.nn import weights
from netwright.training import randomness


@dataclasses.dataclass
class State:
    """Position in the training, always at a step's boundary.

    ``epoch`` counts finished epochs, ``batch`` the batches used of the running one, ``step`` optimiser steps from the
    start. ``best`` is the best score so far (higher is better) and ``best_epoch`` the epoch it came after.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    best: float | None = None
    best_epoch: int = 0
    stopped: bool = False
    seconds: float = 0.0
    tally: dict[str, float] = dataclasses.field(default_factory=dict)  # sums of the running epoch's training metrics
    pending: torch.Tensor | float = 0.0  # losses of an unfinished accumulation; never saved


def save(folder: Path, network: nn.Module, state: State, parts: dict[str, Any]) -> None:
    """Write a checkpoint's files into ``folder``: weights, and everything else that decides the next step.

    ``parts``: things with ``state_dict`` (optimizer, precision, schedule).
    """
    weights.save(network.state_dict(), folder / "weights.safetensors")
    fields = {field.name: getattr(state, field.name) for field in dataclasses.fields(state) if field.name != "pending"}
    content = {
        "state": fields,
        "random": randomness.capture(),
        "parts": {name: part.state_dict() for name, part in parts.items()},
        "modes": [module.training for module in network.modules()],
    }
    buffer = io.BytesIO()
    torch.save(content, buffer)
    files.write_bytes(folder / "training.pt", buffer.getvalue())


def load(folder: Path, network: nn.Module, parts: dict[str, Any]) -> State:
    """Read a checkpoint into the pieces; the state says where to go on. Code in the file cannot run."""
    weights.load(network, weights.read(folder / "weights.safetensors"), str(folder))
    path = folder / "training.pt"
    try:
        content = torch.load(path, weights_only=True, map_location="cpu")
        state = State(**content["state"])
        for name, part in parts.items():
            part.load_state_dict(content["parts"][name])
        for module, mode in zip(network.modules(), content["modes"], strict=True):
            module.training = mode
    except FileNotFoundError as error:
        raise RunError(str(path), "no such file", "a checkpoint to resume from", "train anew") from error
    except (pickle.UnpicklingError, RuntimeError, KeyError, ValueError, TypeError, EOFError) as error:
        raise RunError(
            str(path), f"a damaged checkpoint ({type(error).__name__})", "a file of netwright's", "train anew"
        ) from error
    randomness.restore(content["random"])
    return state
