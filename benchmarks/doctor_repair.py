"""Repairs of the shared faulty programs: does the repaired training come as far as the fixed one?

    python benchmarks/doctor_repair.py                       every case that a change of training can repair
    python benchmarks/doctor_repair.py --only rate-1e-4 --seconds 30
    python benchmarks/doctor_repair.py --json results.json

Held-out rows are halved: one half is handed to the repair (and to the random search) as validation, the other half
judges all four, each trained whole: the faulty and the fixed program as they are, the repair and the search. `share` =
(repaired − faulty) / (fixed − faulty) on the judging half; where nothing is held out, on the training rows. Random
search draws from the same remedies with the same seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import sys
import time
import warnings
from pathlib import Path
from typing import Any

FOLDER = Path(os.environ.get("NETWRIGHT_SHARED", Path(__file__).resolve().parents[2] / "shared")) / "faults"
# What no change of a training repairs: data that say nothing, and a validation that is done wrongly.
NOT_OF_TRAINING = {"label_noise", "constant_labels", "validation_mode", "detached"}
BETTER = 1e-9


def main() -> int:
    if not FOLDER.is_dir():
        sys.exit(f"no faulty programs in {FOLDER}; NETWRIGHT_SHARED names another place")
    sys.path.insert(0, str(FOLDER))
    import dev_cases
    import torch

    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", action="append")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-search", action="store_true")
    parser.add_argument("--json", help="rows are kept here one by one; those that it holds are not run again")
    parser.add_argument("--sample", type=int, help="so many of the cases, drawn evenly at random")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    warnings.simplefilter("ignore")
    kept = Path(options.json) if options.json else None
    rows = json.loads(kept.read_text()) if kept is not None and kept.exists() else []
    done = {row["id"] for row in rows}
    cases = [case for case in dev_cases.CASES if not set(case.labels) & NOT_OF_TRAINING]
    random.Random(0).shuffle(cases)
    for case in cases[: options.sample]:
        if case.id in done or (options.only and case.id not in options.only):
            continue
        rows.append(one(case, options))
        if kept is not None:
            kept.write_text(json.dumps(rows, indent=1))
        row = rows[-1]
        print(
            f"{case.id:24} faulty {row['faulty']:.3f} fixed {row['fixed']:.3f} repaired {row['repaired']:.3f} "
            f"({row['share']:.2f}) random {row['random']:.3f} ({row['random_share']:.2f})  {'; '.join(row['words'])}",
            flush=True,
        )
    if rows:
        summarize(rows)
    return 0


def one(case: Any, options: argparse.Namespace) -> dict[str, Any]:
    """Faulty, fixed, repaired and searched, judged on the same rows."""
    import programs

    from netwright import repairing
    from netwright.repair import mending
    from netwright.repair import replica as replicas

    program = case.faulty
    model, optimizer, loss, train, held_out = programs.prepare(program, options.seed)
    picked, judged = halves(held_out) if held_out[0] is not None else (None, train)
    replica = replicas.of(model, optimizer, loss, train, picked, min(program.batch, len(train[0])), program.epochs)
    began = time.thread_time()
    diagnosis = repairing.diagnose(replica, optimizer, model, repairing.DIAGNOSIS * options.seconds)
    left = options.seconds - (time.thread_time() - began)
    mended = mending.mend(replica, diagnosis.findings, seconds=left)
    searched = None if options.no_search else mending.search(replica, seconds=options.seconds, seed=options.seed)

    def measured(result: Any) -> float:
        if result is None:
            return float("nan")
        outputs = result.predict(judged[0])
        if result.replica.loss is not replica.loss and program.metric in ("accuracy", "elementwise", "exact"):
            name = getattr(result.replica.loss, "__name__", "")
            outputs = outputs.sigmoid() if name == "binary_cross_entropy" else outputs
        return floored(programs.measure(program.metric, outputs, judged[1]))

    faulty = floored(end_of(program, options.seed))
    fixed = floored(end_of(case.fixed, options.seed))
    repaired, drawn = measured(mended), measured(searched)
    gap = max(fixed - faulty, BETTER)
    return {
        "id": case.id, "faulty": faulty, "fixed": fixed, "repaired": repaired, "random": drawn,
        "share": (repaired - faulty) / gap, "random_share": (drawn - faulty) / gap, "words": mended.ledger.words,
        "codes": [finding.code for finding in diagnosis.findings if finding.severity != "note"],
        "steps": len(mended.ledger.steps), "seconds": mended.ledger.seconds,
    }  # fmt: skip


def halves(data: Any) -> tuple[Any, Any]:
    return (data[0][::2], data[1][::2]), (data[0][1::2], data[1][1::2])


def end_of(program: Any, seed: int) -> float:
    """The program's own metric at its end on the rows that judge, in evaluation mode."""
    import programs
    import score
    import torch

    class Keeper(score.Diagnoser):  # type: ignore[misc]
        def start(self, model: Any, *given: Any) -> None:
            self.model, (_, _, train, held_out, *_) = model, given
            self.rows = train if held_out is None else halves(held_out)[1]

    keeper = Keeper()
    programs.train(program, seed, keeper)
    keeper.model.eval()
    with torch.no_grad():
        return float(programs.measure(program.metric, keeper.model(keeper.rows[0]), keeper.rows[1]))


def floored(value: float) -> float:
    """Not finite, or worse than a constant: 0."""
    return max(0.0, value) if value == value else 0.0


def summarize(rows: list[dict[str, Any]]) -> None:
    for name in ("share", "random_share"):
        values = [row[name] for row in rows]
        reached = sum(value >= 0.9 for value in values) / len(values)
        worse = sum(value < -0.02 for value in values)
        print(f"{name:14} median {statistics.median(values):.2f}, ≥ 0.9 in {reached:.0%}, worse than it began: {worse}")


if __name__ == "__main__":
    sys.exit(main())
