"""Where a training begins: the weights of a run or a file, and what of the network and the data goes with them."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import nn

from netwright import runs
from netwright.errors import NetworkError
from netwright.nn import matching, surgery, weights
from netwright.nn.depth import blocks
from netwright.preprocess import ImagePreprocess, InputFile
from netwright.recipe import override
from netwright.recipe.schema import Recipe
from netwright.records import NetworkFile, StartRecord, Surgery, plural
from netwright.runs import RunDirectory

HANDED = "python"  # network.weights of tensors that came from Python


@dataclasses.dataclass
class Start:
    """``state``: the weights, from ``source``; of a run also how its network is built and what it learned to tell."""

    source: str
    state: dict[str, torch.Tensor]
    network: NetworkFile | None = None
    inputs: InputFile | None = None

    def recipe(self, recipe: Recipe, *, data: bool = True) -> Recipe:
        """The recipe with what a run decides where nothing else was asked for: the network, and how pictures are
        seen (``data``: they are still to be read)."""
        changes: dict[str, Any] = {}
        if data and self.inputs is not None and isinstance(first := self.inputs.inputs[0], ImagePreprocess):
            seen = {"channels": "+".join(first.channels), "size": f"{first.size[0]}x{first.size[1]}"}
            changes = {f"data.{key}": value for key, value in seen.items() if getattr(recipe.data, key) == "auto"}
        if data and self.inputs is not None and self.inputs.text is not None and recipe.data.unit == "auto":
            changes["data.unit"] = self.inputs.text.unit
        if self.network is not None and self.network.kind != "instance" and recipe.network.name == "auto":
            asked = recipe.network
            known = {
                key: value for key, value in self.network.arguments.items() if getattr(asked, key, "auto") == "auto"
            }
            changes |= {"network.name": self.network.name, "network.arguments": known | asked.arguments}
        return override(recipe, changes)

    def record(self, record: NetworkFile) -> NetworkFile:
        """``record``, of the same network as the run's, with the run's surgeries and the code that it trusted."""
        own = self.network
        if own is None or own.kind != record.kind or own.name != record.name:
            return record
        return msgspec.structs.replace(record, surgeries=own.surgeries, source_sha256=own.source_sha256)

    def begin(
        self, network: nn.Module, record: NetworkFile, classes: tuple[str, ...], targets: tuple[str, ...]
    ) -> tuple[NetworkFile, StartRecord]:
        """Put the weights into the freshly built ``network``; its record, with a last layer of the right width where
        it came with another, and the account. A last layer that told other things keeps its initial values."""
        if record.kind == "import" or record.surgeries:
            record = _fitted(network, record)
        other = self.inputs is not None and (self.inputs.classes, self.inputs.targets) != (classes, targets)
        found = matching.match(self.state, network, self.source, new_head=other)
        matching.load(network, found)
        account = StartRecord(
            source=self.source, sha256=_digest(self.state), how=found.how, tensors=len(found.state),
            parameters=found.parameters, new=found.new, left=found.left,
        )  # fmt: skip
        return record, account


def open_start(recipe: Recipe, folder: Path | str, handed: Mapping[str, torch.Tensor] | None = None) -> Start | None:
    """What ``network.weights`` names: a run (also by its name in ``folder``), or a file; ``handed`` is from Python."""
    source = recipe.network.weights
    if not source:
        return None
    if source == HANDED:
        if handed is None:
            raise NetworkError(
                "network.weights", "weights that came from Python", "those again", "netwright.fit(..., start=...)"
            )
        return Start(HANDED, matching.tensors(handed, "start"))
    path = Path(source).expanduser()
    if path.is_file():
        return Start(str(path), matching.read(path))
    run = RunDirectory(runs.find(source, folder))
    best = run.checkpoint("best" if run.current().get("best") else "last")
    return Start(
        str(run.path), weights.read(best / "weights.safetensors"), run.read_record("network.json", NetworkFile),
        run.read_record("preprocess.json", InputFile),
    )  # fmt: skip


def sentences(account: StartRecord) -> list[str]:
    """The account in words."""
    by = "by name" if account.how == "name" else "in their order, because no name is the network's"
    what = f"{account.parameters:,} values in {plural(account.tensors, 'tensor')}"
    lines = [f"starts from {account.source}: {what}, matched {by}"]
    if account.new:
        lines.append(f"new, with initial values: {', '.join(account.new)}")
    unused = [name for name in account.left if name not in account.new]
    if unused:
        lines.append(f"not used: {', '.join(unused[:6])}" + (f" and {len(unused) - 6} more" if len(unused) > 6 else ""))
    return lines


def _fitted(network: nn.Module, record: NetworkFile) -> NetworkFile:
    """A network of someone's own code ends with as many units as its code says; a dense last layer gets ours."""
    inner = blocks(network)
    dense = [
        module
        for part in inner[-1:]
        for top in part.modules
        for module in top.modules()
        if isinstance(module, nn.Linear)
    ]
    if not dense or dense[-1].out_features == record.outputs:
        return record
    last = dense[-1]
    name = next(name for name, module in network.named_modules() if module is last)
    shapes: dict[str, tuple[int, ...]] = {"weight": (record.outputs, last.in_features)} | (
        {} if last.bias is None else {"bias": (record.outputs,)}
    )
    change = Surgery(operation="resize", module=name, shapes=shapes)
    surgery.operate(network, change)
    last.reset_parameters()
    return msgspec.structs.replace(record, surgeries=(*record.surgeries, change))


def _digest(state: Mapping[str, torch.Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
