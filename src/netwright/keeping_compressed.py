"""A compressed network as an ordinary run: recipe, network with its surgeries, packed weights, metrics, ledger, report.

It is written under a hidden name, whole, and appears under its own by one rename.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from torch import nn

from netwright import environment, runs, workbench
from netwright.compression.budgets import Point
from netwright.nn import weights
from netwright.recipe import override
from netwright.records import CompressionStep, Surgery, to_builtin
from netwright.reporting import page
from netwright.runs import RunDirectory
from netwright.training import loop as loops
from netwright.training.state import State

if TYPE_CHECKING:
    from netwright.workshop import Workshop

DETAIL = "compression"
ENDING = "-small"


def keep(
    shop: Workshop, network: nn.Module, surgeries: Sequence[Surgery], rows: Sequence[CompressionStep], chain: str,
    tried: Sequence[Point], folder: Path,
) -> Path:  # fmt: skip
    """Write the run; its directory."""
    name = re.sub(rf"(-\d+|{ENDING})*$", "", shop.run.files.name) + ENDING
    return runs.written_whole(folder, name, lambda run: _write(run, shop, network, surgeries, rows, chain, tried))


def _write(
    run: RunDirectory, shop: Workshop, network: nn.Module, surgeries: Sequence[Surgery],
    rows: Sequence[CompressionStep], chain: str, tried: Sequence[Point],
) -> None:  # fmt: skip
    source, current = shop.run.files, shop.run.files.current()
    step, epoch = int(current.get("step", 0)), int(current.get("epoch") or 0)
    about = {
        "started": datetime.datetime.now().isoformat(timespec="seconds"),
        "data": source.environment().get("data", {}), "measured": {}, "exact_resume": False, "skipped": [],
        "parent": {"run": source.name, "weights_sha256": shop.weights_sha256},
        "compressed": chain,
    }  # fmt: skip
    run.write_json("environment.json", environment.snapshot() | about)
    record = msgspec.structs.replace(shop.record, surgeries=(*shop.record.surgeries, *surgeries))
    run.write_record("network.json", record)
    run.write_record("preprocess.json", shop.inputs)
    state = dict(network.state_dict())
    folder_name = f"{step:09d}"
    run.commit(
        step, {"best": lambda folder: weights.save(state, folder / "weights.safetensors", packed=True)},
        last=folder_name, epoch=epoch, seconds=float(current.get("seconds", 0.0)), best_epoch=epoch,
    )  # fmt: skip
    log = run.open_log()
    try:
        log.detail(DETAIL, step, ledger(shop, rows, chain, tried))
        job: Any = loops.Job(
            network=network, objective=shop.objective, optimizer=None, rate=lambda step: 1.0,  # type: ignore[arg-type]
            batches=shop.sources.train, precision=shop.precision, epochs=epoch,
        )  # fmt: skip
        counted = State(epoch=epoch, step=step, best_epoch=epoch, seconds=float(current.get("seconds", 0.0)))
        workbench.finish_run(run, shop.recipe, job, shop.sources, log, counted)
    finally:
        log.close()
    run.write_recipe(override(shop.recipe, {"name": re.sub(r"-\d+$", "", run.name)}), shop.run.files.requested())
    page.write_report(run.path)


def ledger(shop: Workshop, rows: Sequence[CompressionStep], chain: str, tried: Sequence[Point]) -> dict[str, Any]:
    """What the run's database keeps of its making."""
    about = {
        "parent": shop.run.files.name, "chain": chain, "runtime": shop.runtime, "threads": shop.threads,
        "batch": shop.batch, "steps": list(rows), "tried": list(tried),
    }  # fmt: skip
    found: dict[str, Any] = to_builtin(about)
    return found
