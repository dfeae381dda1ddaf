"""Copies of a training, changed: experiments that confirm causes, and repairs that are proved.

The package is also the verb: ``netwright.repair(network, train, validation, …)`` is `netwright.repairing.repair`. An
imported sub-package takes its name in ``netwright``, so it has to answer the call itself.
"""

from __future__ import annotations

import sys
import types
from typing import Any


class _Verb(types.ModuleType):
    def __call__(self, *arguments: Any, **options: Any) -> Any:
        import importlib

        return importlib.import_module("netwright.repairing").repair(*arguments, **options)


sys.modules[__name__].__class__ = _Verb
