"""Files for other runtimes, one target a file of this room; timing; how a file's outputs are compared with PyTorch's.

The package is also the verb: ``netwright.export(run, "ncnn")`` is `netwright.exporting.export`. An imported sub-package
takes its name in ``netwright``, so it has to answer the call itself.
"""

from __future__ import annotations

import sys
import types
from typing import Any


class _Verb(types.ModuleType):
    def __call__(self, *arguments: Any, **options: Any) -> Any:
        import importlib

        return importlib.import_module("netwright.exporting").export(*arguments, **options)


sys.modules[__name__].__class__ = _Verb
