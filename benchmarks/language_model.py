"""A character language model of tiny-shakespeare with the default recipe: nats a character on held-out text.

    python benchmarks/language_model.py [--threads 1] [--epochs N] [--set KEY=VALUE …]

The last tenth of the text is held out, as in Karpathy's char-rnn and nanoGPT. Prints the loss after every epoch beside
the processor time so far, and a sample. The figure to reach: 1.65 nats a character in 15 minutes of two cores.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time

import common

import netwright
from netwright.generating import generate
from netwright.recipe import from_dict, parse_assignments


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--set", action="append", default=[])
    options = parser.parse_args()
    text = common.shared() / "text" / "tinyshakespeare" / "input.txt"
    recipe = from_dict(
        {}, {"data.source": str(text), "train.threads": options.threads, **parse_assignments(options.set)}
    )
    wall, processor = time.perf_counter(), time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        run = netwright.train(recipe, folder=folder)
        reader = run.files.reader()
        losses = [row.metrics["loss"] for row in reader.epochs() if row.split == "validation"]
        reader.close()
        print(json.dumps({
            "nats": run.metrics["validation"]["loss"], "by_epoch": losses,
            "processor_minutes": (time.process_time() - processor) / 60,
            "wall_minutes": (time.perf_counter() - wall) / 60, "threads": options.threads,
            "parameters": sum(p.numel() for p in run.network.parameters()),
        }, indent=1))  # fmt: skip
        print(generate(run, 500, temperature=0.8, prompt="ROMEO:\n", seed=0))


if __name__ == "__main__":
    main()
