"""Which memory layout is faster for this network here: measured once in a short run on a copy, and remembered.

The same machine, network, batch and threads get the same answer again (from a small file in the user's cache folder),
because another layout may give other last bits.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import platform
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn

from netwright import files
from netwright.data.loading import Batch
from netwright.errors import NetwrightError
from netwright.training import randomness
from netwright.training.evaluating import call

PAIRS = 5
MOST_PAIRS, MOST_SECONDS = 25, 2.0  # where the two are close, so that what a busy machine does meanwhile matters less
CLEARLY = 0.985  # channels_last must be faster by more than what repeated measurements differ by
CLOSE = (0.8, 1.1)


def cache_folder() -> Path:
    """Where netwright keeps what can be made again (``NETWRIGHT_CACHE`` puts it elsewhere)."""
    if os.environ.get("NETWRIGHT_CACHE"):
        return Path(os.environ["NETWRIGHT_CACHE"])
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home())) / "netwright"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "netwright"
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "netwright"


def choose(network: nn.Module, objective: Any, batch: Batch, precision: Any) -> dict[str, Any]:
    """``{"layout": ..., "contiguous_ms": ..., "channels_last_ms": ...}`` for training steps on ``batch``.

    Costs a dozen steps on a copy, up to fifty where the two are close; the network, its gradients and the random state
    stay as they were.
    """
    if not any(tensor.ndim == 4 for tensor in batch.inputs) or not any(p.ndim == 4 for p in network.parameters()):
        return {"layout": "contiguous", "measured": False}
    path = cache_folder() / "layouts.json"
    key = _key(network, batch, precision.name)
    known = _read(path)
    if key in known:
        return dict(known[key]) | {"remembered": True}
    try:
        with randomness.kept():
            chosen = _measure(network, objective, batch, precision)
    except RuntimeError:  # a network that cannot run twice, or not in this layout: it trains as it is
        return {"layout": "contiguous", "measured": False}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        files.replace_file(path, json.dumps(_read(path) | {key: chosen}, indent=1))
    except (OSError, NetwrightError):
        pass  # it is measured again the next time
    return chosen


def _measure(network: nn.Module, objective: Any, batch: Batch, precision: Any) -> dict[str, Any]:
    formats = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
    candidates = {
        name: (
            copy.deepcopy(network).to(memory_format=form).train(),  # type: ignore[call-overload]
            tuple(x.contiguous(memory_format=form) if x.ndim == 4 else x for x in batch.inputs),
        )
        for name, form in formats.items()
    }
    times: dict[str, list[float]] = {name: [] for name in formats}
    # One thread's own time does not see what else the machine does.
    alone = batch.inputs[0].device.type == "cpu" and torch.get_num_threads() == 1
    clock = time.thread_time if alone else time.perf_counter
    began = time.perf_counter()
    for turn in range(MOST_PAIRS + 1):
        if turn > PAIRS and (not CLOSE[0] < _ratio(times) < CLOSE[1] or time.perf_counter() - began > MOST_SECONDS):
            break
        for name in sorted(candidates, reverse=bool(turn % 2)):
            candidate, inputs = candidates[name]
            started = clock()
            with precision.cast():
                loss = objective.loss(call(candidate, Batch(inputs, batch.targets, names=batch.names)), batch.targets)
            loss.backward()
            if inputs[0].is_cuda:
                torch.cuda.synchronize()
            if turn:  # the first is a warm-up
                times[name].append(1000 * (clock() - started))
    faster = _ratio(times) < CLEARLY
    return {
        "layout": "channels_last" if faster else "contiguous",
        "measured": True,
        **{f"{name}_ms": round(statistics.median(values), 3) for name, values in times.items()},
    }


def _ratio(times: dict[str, list[float]]) -> float:
    """Of channels_last to contiguous, the median over pairs of turns: what slows one pair slows both."""
    pairs = zip(times["channels_last"], times["contiguous"], strict=True)
    return statistics.median(last / max(plain, 1e-9) for last, plain in pairs)


def _key(network: nn.Module, batch: Batch, precision: str) -> str:
    shapes = [(name, tuple(p.shape)) for name, p in network.named_parameters()]
    inputs = [(tuple(x.shape), str(x.device.type)) for x in batch.inputs]
    here = torch.get_num_threads(), torch.__version__, platform.processor(), platform.machine()
    facts = str(network), shapes, inputs, precision, here
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:24]


def _read(path: Path) -> dict[str, Any]:
    try:
        known = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}
