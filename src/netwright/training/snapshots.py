"""The weights at the end of every cycle of a cosine schedule with restarts: one training, several networks.

Where the rate comes down the network falls into a minimum, and where it goes up again it leaves that for another one
(Huang, Li, Pleiss, Liu, Hopcroft and Weinberger 2017). ``netwright ensemble RUN --snapshots`` makes one of them.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from netwright import files
from netwright.nn import weights
from netwright.optim.schedules import cycle_ends
from netwright.runs import RunDirectory

FOLDER = "snapshots"  # in a run: one file an epoch that ended a cycle


class Snapshots:
    """Keeps the weights of a run at the ends of ``count`` cycles; ``network``: those that the run would keep.

    A file is whole or not there, and is written before any checkpoint of that epoch's end: a resume from an earlier one
    comes by again, and writes the same bits.
    """

    def __init__(self, run: RunDirectory, network: nn.Module, epochs: int, count: int) -> None:
        self._folder, self._network = run.path / FOLDER, network
        self._ends = frozenset(cycle_ends(epochs, count))

    def after_epoch(self, epoch: int) -> None:
        if epoch not in self._ends:
            return
        path = _path(self._folder, epoch)
        beside = path.with_name(f".{path.name}")
        with files.explained(path):
            self._folder.mkdir(exist_ok=True)
            weights.save(_state(self._network), beside)
            files.sync_file(beside)
            files.rename(beside, path)
            files.sync_folder(self._folder)


def _state(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.detach() for name, tensor in network.state_dict().items()}


def _path(folder: Path, epoch: int) -> Path:
    return folder / f"{epoch:04d}.safetensors"


def kept(run: RunDirectory) -> dict[int, Path]:
    """Epoch → the file of the weights after it."""
    found = (run.path / FOLDER).glob("[0-9]*.safetensors")
    return {int(path.stem): path for path in sorted(found) if path.stem.isdecimal()}
