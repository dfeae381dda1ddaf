"""A user's own script under watch: unmodified, in this process, its networks found through their optimisers."""

from __future__ import annotations

import contextlib
import gc
import runpy
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from netwright.errors import UsageError
from netwright.watching import networks
from netwright.watching.watch import Watch

MOST = 8  # networks that are watched in one script; a search over hundreds shows its first ones


class Found:
    """The watches over the networks of a script, in the order in which their optimisers were built."""

    def __init__(self, budget: float = 0.03) -> None:
        self.watches: list[Watch] = []
        self.unwatched = 0
        self._budget = budget
        self._networks: list[tuple[nn.Module, set[int]]] = []  # with their parameters' ids

    def built(self, optimizer: Any) -> None:
        """An optimiser was built: its network is watched from now on, if it is found."""
        stepped = networks.parameters_of(optimizer)
        own = {id(p) for p in stepped}
        for watch, (_, known) in zip(self.watches, self._networks, strict=True):
            if own and own <= known:
                watch.adopt(optimizer)
                return
        network = owner_of(stepped)
        if network is None or len(self.watches) >= MOST:
            self.unwatched += 1
            return
        self._networks.append((network, {id(p) for p in network.parameters()}))
        self.watches.append(Watch(network, optimizer, budget=self._budget, confirm=0))


def owner_of(stepped: Sequence[Tensor]) -> nn.Module | None:
    """The smallest module that has all these parameters, of all that are alive; several of them in a list, if no single
    one has all. None where no module has any. Costs one walk over all objects of the process."""
    wanted = {id(p) for p in stepped}
    alive = [thing for thing in gc.get_objects() if issubclass(type(thing), nn.Module)]
    holding = [m for m in alive if any(id(p) in wanted for p in m.__dict__.get("_parameters", {}).values())]
    parents: dict[int, list[nn.Module]] = {}
    for module in alive:
        for child in module.__dict__.get("_modules", {}).values():
            parents.setdefault(id(child), []).append(module)
    candidates: dict[int, nn.Module] = {}
    waiting = list(holding)
    while waiting:
        module = waiting.pop()
        if id(module) not in candidates:
            candidates[id(module)] = module
            waiting += parents.get(id(module), [])
    covers = {key: {id(p) for p in module.parameters()} & wanted for key, module in candidates.items()}
    whole = [candidates[key] for key, covered in covers.items() if covered == wanted]
    if whole:
        return min(whole, key=lambda module: sum(1 for _ in module.modules()))
    roots = [module for key, module in candidates.items() if not parents.get(key)]
    return nn.ModuleList(roots) if len(roots) > 1 else roots[0] if roots else None


def run(path: Path | str, arguments: Sequence[str] = (), *, budget: float = 0.03) -> tuple[int, Found]:
    """Run the script as ``python path arguments…`` would, in this process; its exit code and what was watched.

    An error in it is printed as Python does, and its code is 1. Raises ``UsageError`` if there is no such file, and
    ``KeyboardInterrupt`` as the script does (what was seen until then is in its ``found``).
    """
    path = Path(path)
    if not path.is_file():
        raise UsageError("netwright watch", str(path), "a Python file", "netwright watch train.py")
    found = Found(budget)
    with _as_script(path, arguments), _optimizers_noticed(found):
        try:
            runpy.run_path(str(path), run_name="__main__")
        except SystemExit as stop:
            return _code_of(stop), found
        except KeyboardInterrupt as interrupt:
            interrupt.found = found  # type: ignore[attr-defined]
            raise
        except BaseException as error:
            _print_error(error, path)
            return 1, found
    return 0, found


def _code_of(stop: SystemExit) -> int:
    if stop.code is None:
        return 0
    if isinstance(stop.code, int):
        return stop.code
    print(stop.code, file=sys.stderr)
    return 1


def _print_error(error: BaseException, path: Path) -> None:
    """As Python prints it: from the script's first line on."""
    lines = error.__traceback__
    while lines is not None and Path(lines.tb_frame.f_code.co_filename).resolve() != path.resolve():
        lines = lines.tb_next
    traceback.print_exception(type(error), error, lines or error.__traceback__)


@contextlib.contextmanager
def _as_script(path: Path, arguments: Sequence[str]) -> Iterator[None]:
    before = sys.argv, list(sys.path)
    sys.argv = [str(path), *arguments]
    sys.path.insert(0, str(path.resolve().parent))
    try:
        yield
    finally:
        sys.argv, sys.path[:] = before[0], before[1]


@contextlib.contextmanager
def _optimizers_noticed(found: Found) -> Iterator[None]:
    """Every optimiser that is built is shown to ``found``, once its groups are there."""
    original = torch.optim.Optimizer.__init__

    def noticed(self: Any, *arguments: Any, **options: Any) -> None:
        original(self, *arguments, **options)
        try:
            found.built(self)
        except Exception as error:  # the script goes on
            print(f"netwright watch: a network is not watched: {type(error).__name__}: {error}", file=sys.stderr)

    torch.optim.Optimizer.__init__ = noticed  # type: ignore[method-assign]
    try:
        yield
    finally:
        torch.optim.Optimizer.__init__ = original  # type: ignore[method-assign]
