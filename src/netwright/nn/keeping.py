"""How a network is kept: ``network.json`` says how to build it again, weights lie in safetensors beside it."""

from __future__ import annotations

import ast
import contextlib
import hashlib
import importlib
import importlib.util
import inspect
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter
from torch.overrides import TorchFunctionMode

from netwright.errors import NetworkError, NetwrightError, nearest, unknown_name, users_line
from netwright.nn import ensembling
from netwright.nn.surgery import replay
from netwright.nn.zoo import NETWORKS
from netwright.records import NetworkFile

ENSEMBLE = "ensemble"  # what stands for the network's name in the recipe of such a run


def describe(
    name: str,
    input_shape: tuple[int, ...],
    outputs: int,
    *,
    width: Any,
    depth: Any,
    dropout: Any,
    arguments: dict[str, Any],
) -> NetworkFile:
    """The record of a network by name: of the zoo, or ``file.py:Name`` or ``package.module:Name``.

    The recipe's width, depth and dropout go to those builders that take them; ``arguments`` go to all and rule.
    """
    if ":" in name and not name.startswith(":"):
        source = _source_of(name)
        return NetworkFile(
            kind="import", name=name, arguments=arguments, input_shape=input_shape, outputs=outputs,
            source_sha256=_digest(source),
        )  # fmt: skip
    if name.endswith(".py"):
        names = [f"{name}:{each}" for each in networks_in(Path(name)) or ["Name"]]
        got = "a file without the name of its network" if Path(name).is_file() else "no such file"
        raise NetworkError(name, got, ", ".join(names), names[-1])
    if name == ENSEMBLE:
        raise NetworkError(
            "network.name", "an ensemble, which is made of trained runs", "a network", "netwright ensemble RUN RUN"
        )
    if name not in NETWORKS:
        raise unknown_name("network.name", name, NETWORKS, NetworkError)
    takes = inspect.signature(NETWORKS[name]).parameters
    chosen = {"width": width, "depth": depth, "dropout": dropout}
    chosen = {
        key: takes[key].default if value == "auto" else value for key, value in chosen.items() if key in takes
    } | arguments
    for key in chosen:
        if key not in takes or key in ("input_shape", "outputs"):
            near = nearest(key, takes)
            raise NetworkError(
                f"network.arguments.{key}",
                f"an argument that {name} does not take",
                ", ".join(list(takes)[2:]),
                near or "",
            )
    return NetworkFile(kind="zoo", name=name, arguments=chosen, input_shape=input_shape, outputs=outputs)


def build(record: NetworkFile, *, trust: bool = False, network: nn.Module | None = None) -> nn.Module:
    """The network that the record describes, freshly initialised, with its surgeries replayed.

    Code is imported for ``kind="import"`` only: a file that is not the user's own, or whose content is not what the
    run was made with, needs ``trust``. An ``instance`` can only be handed in again as ``network``.
    """
    match record.kind:
        case "zoo":
            if record.name not in NETWORKS:
                raise unknown_name("network.json: name", record.name, NETWORKS, NetworkError)
            with _saying_where(f"{record.name}: arguments", "arguments of its types", (TypeError,)):
                built = NETWORKS[record.name](record.input_shape, record.outputs, **record.arguments)
        case "import":
            built = _imported(record, trust)
        case "instance":
            if network is None:
                raise NetworkError(
                    record.name, "a run whose network was built in Python", "that network",
                    "netwright.load(RUN, network=...)",
                )  # fmt: skip
            built = network
        case "ensemble":
            built = ensembling.build(record, lambda member: build(member, trust=trust))
    _materialize(built, record)
    return replay(built, record.surgeries)


def build_without_values(record: NetworkFile) -> nn.Module:
    """The network on the ``meta`` device: shapes without memory. Initial values are not drawn, as there are none."""
    with torch.device("meta"), _NothingDrawn():
        return build(record)


class _NothingDrawn(TorchFunctionMode):
    """Leaves out what would fill tensors without values (PyTorch's way to do nothing imports its compiler)."""

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        named = {} if kwargs is None else kwargs
        first = args[0] if args else named.get("tensor")
        if getattr(function, "__name__", "") in _FILLING and isinstance(first, torch.Tensor) and first.is_meta:
            return first
        return function(*args, **named)


_FILLING = frozenset(
    """normal_ uniform_ trunc_normal_ kaiming_normal_ kaiming_uniform_ xavier_normal_ xavier_uniform_ fill_ zero_
    constant_ ones_ zeros_ orthogonal_ bernoulli_ exponential_ copy_ mul_""".split()  # noqa: SIM905
)


def _materialize(network: nn.Module, record: NetworkFile) -> None:
    """Give lazy layers their shapes by one example of zeros; every sub-module keeps its mode."""
    tensors = [*network.parameters(), *network.buffers()]
    if not any(isinstance(each, UninitializedParameter | UninitializedBuffer) for each in tensors):
        return
    modes = [(module, module.training) for module in network.modules()]
    try:
        with torch.no_grad():
            network.eval()(torch.zeros(1, *record.input_shape))
    except Exception as error:
        raise NetworkError(
            record.name, f"lazy layers that an example of shape {record.input_shape} does not initialise ({error})",
            "a network that runs on it", "layers with their sizes, or one call before",
        ) from error  # fmt: skip
    finally:
        for module, mode in modes:
            module.training = mode


def _imported(record: NetworkFile, trust: bool) -> nn.Module:
    source = _source_of(record.name)
    if not trust:
        _check_trust(record, source)
    module_name, _, attribute = record.name.rpartition(":")
    if source.suffix == ".py" and module_name.endswith(".py"):
        module = _load_file(source)
    else:
        with _saying_where(str(source), "a module that can be imported"):
            module = importlib.import_module(module_name)
    found: Any = getattr(module, attribute, None)
    if isinstance(found, nn.Module):
        return found
    if not callable(found):
        near = nearest(attribute, [name for name, value in vars(module).items() if callable(value)])
        got = f"{type(found).__name__} {attribute}" if attribute in vars(module) else f"no {attribute}"
        raise NetworkError(
            record.name, f"{got} in {source}", "a module class, a function that returns a module, or a module",
            near or ", ".join(networks_in(source)),
        )  # fmt: skip
    _check_arguments(record, found)
    with _saying_where(record.name, "a network that can be built"):
        network = found(**record.arguments)
    if not isinstance(network, nn.Module):
        raise NetworkError(record.name, f"{type(network).__name__} from {attribute}", "a torch.nn.Module")
    return network


def _check_arguments(record: NetworkFile, build: Callable[..., Any]) -> None:
    try:
        signature = inspect.signature(build)
        signature.bind(**record.arguments)
    except ValueError:  # no signature
        return
    except TypeError as error:
        takes = [name for name, one in signature.parameters.items() if one.kind != one.VAR_KEYWORD]
        wrong = next((key for key in record.arguments if key not in takes), "")
        needed = [name for name in takes if signature.parameters[name].default is inspect.Parameter.empty]
        key = nearest(wrong, takes) or next((name for name in needed if name not in record.arguments), "KEY")
        raise NetworkError(
            record.name, str(error), f"arguments that it takes ({', '.join(takes) or 'none'})",
            f"--set network.arguments.{key}=VALUE" if takes else "leave the arguments out",
        ) from error  # fmt: skip


@contextlib.contextmanager
def _saying_where(
    where: str, expected: str, kinds: tuple[type[BaseException], ...] = (Exception, SystemExit)
) -> Iterator[None]:
    """What goes wrong in the user's own code, with its line; a program that exits would end the caller as well."""
    try:
        yield
    except (NetwrightError, KeyboardInterrupt, MemoryError):
        raise
    except kinds as error:
        message = (str(error).strip().splitlines() or [""])[0]
        line = users_line(error)
        got = f"{type(error).__name__}{message and f': {message}'}{line and f'; at {line}'}"
        raise NetworkError(where, got, expected, "the same in Python by itself, for the whole traceback") from error


def networks_in(source: Path) -> list[str]:
    """The classes of a file that look like modules, read without running it: by their base classes' names."""
    try:
        tree = ast.parse(source.read_bytes())
    except (SyntaxError, ValueError, OSError):
        return []
    found: list[str] = []
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            bases = [ast.unparse(base) for base in node.bases]
            if any("nn." in base or base.endswith("Module") or base in ("Sequential", *found) for base in bases):
                found.append(node.name)
    return found


def _source_of(name: str) -> Path:
    module_name, _, attribute = name.rpartition(":")
    if not attribute.isidentifier():
        raise NetworkError(name, repr(attribute), "file.py:Name or package.module:Name")
    if module_name.endswith(".py"):
        path = Path(module_name)
        if not path.is_file():
            raise NetworkError(name, f"no file {path}", "file.py:Name")
        return path
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        found = importlib.util.find_spec(module_name)
    except (ImportError, ValueError):
        found = None
    if found is None or found.origin is None:
        raise NetworkError(name, f"no module {module_name}", "an importable module", "file.py:Name")
    return Path(found.origin)


def _load_file(path: Path) -> ModuleType:
    name = f"netwright_user_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickles of the user's look themselves up there
    folder = str(path.resolve().parent)
    sys.path.insert(0, folder)
    try:
        with _saying_where(str(path), "a file that can be imported"):
            spec.loader.exec_module(module)
    finally:
        sys.path.remove(folder)
    return module


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _check_trust(record: NetworkFile, source: Path) -> None:
    if _digest(source) != record.source_sha256:  # none recorded is none that the run was made with
        raise NetworkError(
            str(source), "a source that changed since the run", "the code that the run was made with", "--trust"
        )
    if hasattr(os, "getuid") and source.stat().st_uid not in (os.getuid(), 0):
        raise NetworkError(str(source), "a file of another user", "your own file", "--trust, if you know what is in it")
