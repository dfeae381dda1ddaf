"""Blocks that do not learn, or not yet: frozen means frozen, running statistics and dropout too."""

from __future__ import annotations

from torch import nn

from netwright.errors import RecipeError, nearest
from netwright.nn.depth import blocks
from netwright.recipe.schema import Train


class Freezing:
    """Called with the number of finished epochs, it puts every block into its state: ``freezing(epoch)``.

    A frozen block requires no gradient and is in evaluation mode, so its norms use and keep what they learned before.
    With ``train.unfreeze_every`` blocks come back one by one, from the output to the input (Howard and Ruder 2018,
    section 3.3). Nothing happens where nothing is frozen.
    """

    def __init__(self, network: nn.Module, options: Train) -> None:
        self._units = _units(network, options.freeze)
        self._every = options.unfreeze_every
        if self._every and not self._units:
            raise RecipeError(
                "train.unfreeze_every", f"{self._every} with nothing frozen", "frozen blocks", "--set train.freeze=all"
            )
        self._learning = [
            [p for module in unit for p in _parameters(module) if p.requires_grad] for unit in self._units
        ]

    def __bool__(self) -> bool:
        return bool(self._units)

    def frozen(self, epoch: int) -> int:
        """How many blocks are frozen after ``epoch`` epochs."""
        return max(0, len(self._units) - (epoch // self._every if self._every else 0))

    def __call__(self, epoch: int) -> None:
        still = self.frozen(epoch)
        for number, (unit, parameters) in enumerate(zip(self._units, self._learning, strict=True)):
            for parameter in parameters:
                parameter.requires_grad_(number >= still)
            for module in unit:
                if isinstance(module, nn.Module):
                    module.train(number >= still)


def _parameters(item: nn.Module | nn.Parameter) -> list[nn.Parameter]:
    return [item] if isinstance(item, nn.Parameter) else list(item.parameters())


def _units(network: nn.Module, freeze: int | str) -> list[tuple[nn.Module | nn.Parameter, ...]]:
    """What is frozen, from the input to the output."""
    if not freeze:
        return []
    inner = blocks(network)
    names = ", ".join(block.name for block in inner)
    if freeze == "all":
        freeze = len(inner) - 1
    if isinstance(freeze, int):
        if freeze >= len(inner):
            raise RecipeError(
                "train.freeze", f"{freeze} of the {len(inner)} blocks ({names})", f"at most {max(0, len(inner) - 1)}",
                "--set train.freeze=all, which is all but the last",
            )  # fmt: skip
        return [(*block.modules, *block.own) for block in inner[:freeze]]
    units: list[tuple[nn.Module | nn.Parameter, ...]] = []
    known = {name: module for name, module in network.named_modules() if name}
    for name in (part.strip() for part in str(freeze).split(",")):
        if name not in known:
            near = nearest(name, known)
            raise RecipeError(
                "train.freeze", f"no module {name!r}", f"a number, all, or modules such as {names}", near or ""
            )
        units.append((known[name],))
    if all(any(p is q for unit in units for m in unit for q in _parameters(m)) for p in network.parameters()):
        raise RecipeError("train.freeze", f"{freeze!r}, which is the whole network", "something left to train", names)
    return units
