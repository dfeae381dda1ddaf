"""netwright carries one neural network through its whole life, from first look to phone.

Every verb of the command line is a function of the same name here. Importing this package imports no PyTorch; the
first use of a verb does.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# Public name → the module that holds it.
_HOMES = {
    "NetworkClassifier": "netwright.adapters.scikit",
    "NetworkRegressor": "netwright.adapters.scikit",
    "NetwrightError": "netwright.errors",
    "Recipe": "netwright.recipe",
    "Run": "netwright.workbench",
    "bench": "netwright.benching",
    "compare": "netwright.replicating",
    "compress": "netwright.compressing",
    "curves": "netwright.curving",
    "tune": "netwright.studying",
    "diagnose": "netwright.diagnosing",
    "ensemble": "netwright.ensembling",
    "export": "netwright.exporting",
    "fit": "netwright.workbench",
    "inspect": "netwright.inspecting",
    "load": "netwright.workbench",
    "load_recipe": "netwright.recipe",
    "predict": "netwright.predicting",
    "repair": "netwright.repairing",
    "report": "netwright.workbench",
    "resume": "netwright.workbench",
    "suspects": "netwright.suspecting",
    "train": "netwright.workbench",
    "watch": "netwright.watching",
}
_ROOMS = ("boxes",)  # that are used whole

if TYPE_CHECKING:
    from netwright import boxes
    from netwright.adapters.scikit import NetworkClassifier, NetworkRegressor
    from netwright.benching import bench
    from netwright.compressing import compress
    from netwright.curving import curves
    from netwright.diagnosing import diagnose
    from netwright.ensembling import ensemble
    from netwright.errors import NetwrightError
    from netwright.exporting import export
    from netwright.inspecting import inspect
    from netwright.predicting import predict
    from netwright.recipe import Recipe, load_recipe
    from netwright.repairing import repair
    from netwright.replicating import compare
    from netwright.studying import tune
    from netwright.suspecting import suspects
    from netwright.watching import watch  # type: ignore[no-redef] # a module of this name is in its package
    from netwright.workbench import Run, fit, load, report, resume, train

__all__ = [
    "NetworkClassifier",
    "NetworkRegressor",
    "NetwrightError",
    "Recipe",
    "Run",
    "__version__",
    "bench",
    "boxes",
    "compare",
    "compress",
    "curves",
    "diagnose",
    "ensemble",
    "export",
    "fit",
    "inspect",
    "load",
    "load_recipe",
    "predict",
    "repair",
    "report",
    "resume",
    "suspects",
    "train",
    "tune",
    "watch",
]


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return importlib.import_module(f"netwright.{name}")
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'netwright' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
