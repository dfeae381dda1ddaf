"""What is installed here, what can be used, and why not."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
from pathlib import Path
from typing import Any

from netwright import __version__

# Extra → the modules it needs, and what it is for.
EXTRAS: dict[str, tuple[tuple[str, ...], str]] = {
    "parquet": (("pyarrow",), "Parquet tables"),
    "tensorboard": (("tensorboard",), "TensorBoard logging"),
    "onnx": (("onnx", "onnxscript", "onnxruntime"), "ONNX files and ONNX Runtime"),
    "ncnn": (("pnnx", "ncnn"), "ncnn files and their runtime"),
    "litert": (("ai_edge_litert",), "the LiteRT runtime"),
    "litert-convert": (("litert_torch", "ai_edge_quantizer"), "writing LiteRT files"),
    "binary": (("numba",), "products of binary numbers by counting bits"),
    "tune": (("optuna",), "studies: netwright tune"),
    "postgres": (("optuna", "psycopg"), "studies that several machines share"),
}
CORE = ("torch", "numpy", "pillow", "safetensors", "scikit-learn", "msgspec", "PyYAML", "rich", "cyclopts", "Jinja2")
_DISTRIBUTIONS = {
    "ai_edge_litert": "ai-edge-litert",
    "litert_torch": "litert-torch",
    "ai_edge_quantizer": "ai-edge-quantizer",
}


def torchrun() -> tuple[int, int, int] | None:
    """Rank, number of processes and rank on this machine, where torchrun started more than one; else None."""
    known = [os.environ.get(name, "") for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")]
    if not all(text.isdigit() for text in known) or "MASTER_ADDR" not in os.environ or int(known[1]) < 2:
        return None
    return int(known[0]), int(known[1]), int(known[2])


def version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def processor() -> str:
    """The processor's name."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.lower().startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def extras() -> dict[str, dict[str, Any]]:
    """Each extra: whether it can be used, the versions found, and the command that installs it where it cannot."""
    found = {}
    for name, (modules, purpose) in EXTRAS.items():
        missing = [module for module in modules if importlib.util.find_spec(module) is None]
        found[name] = {
            "purpose": purpose,
            "usable": not missing,
            "versions": {
                module: version(_DISTRIBUTIONS.get(module, module)) for module in modules if module not in missing
            },
            "missing": missing,
            "install": f'pip install "netwright[{name}]"' if missing else "",
        }
    return found


def snapshot() -> dict[str, Any]:
    """What a run writes down of where it ran. No host or user name."""
    import torch

    return {
        "netwright": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "versions": {name: version(name) for name in CORE},
    }


def devices() -> dict[str, dict[str, Any]]:
    """Where PyTorch can compute here, and why not elsewhere."""
    import torch

    gpu = torch.cuda.is_available()
    built = torch.version.cuda is not None or torch.version.hip is not None
    capability = torch.backends.cpu.get_cpu_capability()
    native_bf16 = bool(getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)())
    return {
        "cpu": {
            "usable": True,
            "detail": f"{processor()}, {capability}, {torch.get_num_threads()} threads",
            "bf16": "native" if native_bf16 else "emulated: slower than fp32 here",
        },
        "cuda": {
            "usable": gpu,
            "detail": torch.cuda.get_device_name(0) if gpu
            else "no GPU was found" if built else "this PyTorch was built without CUDA",
        },
        "mps": {"usable": torch.backends.mps.is_available(), "detail": "Apple's GPU, on a Mac"},
    }  # fmt: skip


def report() -> dict[str, Any]:
    """``netwright env``."""
    return {**snapshot(), "devices": devices(), "extras": extras()}
