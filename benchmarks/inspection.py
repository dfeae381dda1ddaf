"""Looking at a network, beside torchinfo, fvcore, ptflops and thop: who is right, how long, how much memory.

``tools``: for every network and tool a process of its own: parameters, multiply-accumulates in that tool's convention,
processor seconds from a network that is built to the numbers, peak memory of the process. Exact are the products of
convolutions, dense layers and attention, no bias, no norm. A tool that reports more, by no more than biases, norms,
activations and poolings could be counted for, has its own convention; any other difference is wrong.
``cold``: a shell's time for ``netwright inspect`` as a ratio to a bare ``import torch``, in turns, and its peak memory.
``growth``: seconds to trace and cost networks of 1,000 and 10,000 operations.

The tools are no dependency of netwright: install them into an environment of their own, with this netwright. A tool
that cannot be imported is skipped with the reason.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import common

COLD_TARGET, COLD_MB, THOUSAND_SECONDS = 2.5, 700.0, 2.0
# Input shape, outputs, and MACs to the unit: key integers of the reference data, from none of these programs.
EXACT: dict[str, tuple[tuple[int, ...], int, int]] = {
    "vgg16": ((3, 224, 224), 1000, 15_470_264_320),
    "resnet18": ((3, 224, 224), 1000, 1_814_073_344),
    "resnet50": ((3, 224, 224), 1000, 4_089_184_256),
    "mobilenet_v2": ((3, 224, 224), 1000, 300_774_272),
    "erfnet": ((3, 512, 1024), 20, 26_612_727_808),
    "unet": ((1, 572, 572), 2, 150_428_424_448),
    "vit_b_16": ((3, 224, 224), 1000, 17_563_828_224),
}
# The highest that a tool charges for a value that netwright calls elementwise work of 2 is 4 (thop, batch norm).
OWN_CONVENTION = 2
TOOLS = ("netwright", "torchinfo", "fvcore", "ptflops", "thop")

Counted = tuple[int | None, int]  # parameters, MACs
EXTRAS: dict[str, int] = {}  # what netwright counts beside MACs, for the verdict on others


def with_netwright(network: Any, shape: tuple[int, ...]) -> Counted:
    from netwright.graph.tracing import trace
    from netwright.inspection.cost import totals

    found = totals(trace(network, shape))
    EXTRAS["elementwise"] = found.elementwise
    return found.parameters, found.macs


def with_torchinfo(network: Any, shape: tuple[int, ...]) -> Counted:
    import torchinfo

    found = torchinfo.summary(network, (1, *shape), verbose=0)
    return found.total_params, found.total_mult_adds


def with_fvcore(network: Any, shape: tuple[int, ...]) -> Counted:
    import torch
    from fvcore.nn import FlopCountAnalysis, parameter_count

    analysis = FlopCountAnalysis(network, torch.zeros(1, *shape)).unsupported_ops_warnings(False)
    return parameter_count(network)[""], int(analysis.total())


def with_ptflops(network: Any, shape: tuple[int, ...]) -> Counted:
    import ptflops

    macs, parameters = ptflops.get_model_complexity_info(
        network, shape, as_strings=False, print_per_layer_stat=False, verbose=False
    )
    return parameters, int(macs or 0)


def with_thop(network: Any, shape: tuple[int, ...]) -> Counted:
    import thop
    import torch

    macs, parameters = thop.profile(network, (torch.zeros(1, *shape),), verbose=False)
    return int(parameters), int(macs)


ASK: dict[str, Callable[[Any, tuple[int, ...]], Counted]] = {
    "netwright": with_netwright, "torchinfo": with_torchinfo, "fvcore": with_fvcore, "ptflops": with_ptflops,
    "thop": with_thop,
}  # fmt: skip


def one(tool: str, name: str) -> dict[str, Any]:
    """One tool on one network, in this process."""
    import torch

    from netwright.nn.zoo import NETWORKS

    shape, outputs, _ = EXACT[name]
    with torch.device("meta") if tool == "netwright" else contextlib.nullcontext():  # it needs no weights; others do
        network = NETWORKS[name](shape, outputs).eval()
    built_mb = common.peak_mb()
    try:
        started = time.process_time()
        with torch.no_grad(), contextlib.redirect_stdout(io.StringIO()):
            parameters, macs = ASK[tool](network, shape)
        seconds = time.process_time() - started
    except ImportError as error:
        return {"skipped": f"{type(error).__name__}: {error}"}
    except Exception as error:  # a tool that fails on a network says so in the table
        return {"skipped": f"{type(error).__name__}: {str(error).splitlines()[0][:80]}"}
    return {
        "parameters": parameters, "macs": macs, "seconds": seconds, "built_mb": built_mb, "peak_mb": common.peak_mb(),
        **EXTRAS,
    }  # fmt: skip


def verdict(macs: int, exact: int, elementwise: int) -> str:
    if macs == exact:
        return "exact"
    own = 0 < macs - exact <= OWN_CONVENTION * elementwise
    return f"{macs / exact - 1:+.2%}" + (", own convention" if own else ", wrong")


def tools(names: list[str]) -> None:
    rows, kept = [], {}
    for name in names:
        exact, elementwise = EXACT[name][2], 0
        for tool in TOOLS:
            found = common.in_own_process(__file__, "--one", tool, name)
            kept[f"{name} {tool}"] = found
            if "skipped" in found:
                rows.append((name, tool, found["skipped"], "", "", "", ""))
                continue
            elementwise = found.get("elementwise", elementwise)  # netwright comes first
            found["verdict"] = verdict(found["macs"], exact, elementwise)
            rows.append((
                name, tool, found["verdict"], f"{found['macs']:,}", f"{found['parameters']:,}",
                f"{found['seconds']:.2f}", f"{found['peak_mb']:.0f}",
            ))  # fmt: skip
            print("  ", *rows[-1], file=sys.stderr, flush=True)
    common.table(("network", "tool", "MACs are", "MACs", "parameters", "processor s", "peak MB"), rows)
    versions = {tool: common.version(tool) for tool in TOOLS}
    common.write_result("inspection", "tools", {"networks": kept, "tools": versions})


# --------------------------------------------------------------------------------------------------- cold start


INSPECT = """
import torch
from netwright.graph.tracing import trace
from netwright.inspection.cost import totals
from netwright.nn.zoo import PUBLISHED
network = PUBLISHED["{name}"]
with torch.device("meta"):
    built = network.build(network.input_shape, network.outputs)
print(totals(trace(built, network.input_shape)).macs)
"""


def seconds_and_mb(command: list[str]) -> tuple[float, float]:
    """Processor and wall time say different things on a busy machine: this is the processor's, children's only."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(f"{' '.join(command)[:80]} failed ({status})")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6


def has_verb() -> bool:
    """Whether this netwright has ``inspect`` on its command line already."""
    done = subprocess.run([sys.executable, "-m", "netwright", "inspect", "--help"], capture_output=True, text=True)
    return done.returncode == 0 and "input" in done.stdout


def cold(names: list[str], pairs: int) -> None:
    verb = has_verb()
    commands = {"import torch": [sys.executable, "-c", "import torch"]}
    for name in names:
        own = [sys.executable, "-m", "netwright", "inspect", name]
        commands[name] = own if verb else [sys.executable, "-c", INSPECT.format(name=name)]
    peaks: dict[str, float] = dict.fromkeys(commands, 0.0)

    def run(which: str) -> float:
        seconds, mb = seconds_and_mb(commands[which])
        peaks[which] = max(peaks[which], mb)
        return seconds

    seen = common.rounds({which: (lambda which=which: run(which)) for which in commands}, pairs)
    rows, kept = [], {}
    for name in names:
        ratio = common.ratio(seen[name], seen["import torch"])
        kept[name] = {"ratio": ratio, "peak_mb": peaks[name], "target": COLD_TARGET, "verb": verb}
        rows.append((name, common.ratio_text(ratio), COLD_TARGET, f"{peaks[name]:.0f}", COLD_MB))
    common.table(("cold", "processor time ÷ import torch", "target", "peak MB", "target"), rows)
    common.write_result("inspection", "cold", kept)


# -------------------------------------------------------------------------------------------------------- growth


def growth(rounds: int) -> None:
    """Blocks of convolution, norm, ReLU and a sum: four operations each."""
    import torch
    from torch import nn

    from netwright.graph.tracing import trace
    from netwright.inspection.cost import totals

    class Blocks(nn.Module):
        def __init__(self, count: int) -> None:
            super().__init__()
            layers = (nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()) for _ in range(count))
            self.blocks = nn.ModuleList(layers)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for block in self.blocks:
                x = x + block(x)
            return x

    def seconds(operations: int) -> float:
        with torch.device("meta"):
            network = Blocks(operations // 4)
        started = time.process_time()
        graph = trace(network, (8, 16, 16))
        totals(graph)
        assert len(graph.operations) == operations
        return time.process_time() - started

    seen = common.rounds({str(count): (lambda count=count: seconds(count)) for count in (1_000, 10_000)}, rounds)
    thousand, ten = (common.interval(seen[count]) for count in ("1000", "10000"))
    ratio = common.ratio(seen["10000"], seen["1000"])
    common.table(
        ("operations", "processor s", "target"),
        [("1,000", common.ratio_text(thousand), THOUSAND_SECONDS), ("10,000", common.ratio_text(ten), ""),
         ("10,000 ÷ 1,000", common.ratio_text(ratio), "10: linear")],
    )  # fmt: skip
    common.write_result("inspection", "growth", {"1000": thousand, "10000": ten, "ratio": ratio})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=["tools", "cold", "growth"], help="tools, cold, growth")
    parser.add_argument("--networks", nargs="*", default=list(EXACT), choices=list(EXACT), metavar="NAME")
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--one", nargs=2, metavar=("TOOL", "NETWORK"), help="one tool in this process, print its JSON")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(one(*options.one)))
        return
    for part in options.parts:
        if part == "tools":
            tools(options.networks)
        elif part == "cold":
            cold(["vgg16", "resnet50"], options.pairs)
        elif part == "growth":
            growth(max(3, options.pairs // 5))
        else:
            parser.error(f"{part}: tools, cold or growth")


if __name__ == "__main__":
    main()
