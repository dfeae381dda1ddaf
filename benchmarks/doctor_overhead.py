"""What it costs to be watched: step time and memory of a training with and without `netwright.watch`, once it runs.

Two processes train the same network on the same batches and take turns, one watched and one not; a turn is as many
steps as take about a second, and the ratio of every pair of turns counts. The first steps, which are sampled
densely, are not counted; what comes before the first step, with training data to audit (preflight), is given apart.
Afterwards the weights of both are compared: they have to be the same bits. Memory is the most that each process had.

    python benchmarks/doctor_overhead.py [mlp lenet resnet] --seconds 60 --clock processor
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
from multiprocessing.connection import Connection
from typing import Any

import common
import torch
from torch import nn

from netwright.nn.zoo import NETWORKS

TARGETS = {"mlp": 1.10, "lenet": 1.03, "resnet": 1.03}
MEMORY = 1.05
WARM_UP = {"mlp": 200, "lenet": 60, "resnet": 24}  # steps that are not counted: the dense beginning, and some after it
TRIAL = {"mlp": 20, "lenet": 5, "resnet": 1}  # steps that tell how many a turn has
CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}


def training(task: str) -> tuple[nn.Module, torch.optim.Optimizer, Any, Any, int]:
    """Network, optimiser, inputs, targets, batch size."""
    torch.manual_seed(0)
    if task == "mlp":
        network: nn.Module = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 2))
        inputs = torch.randn(1024, 8)
        return network, torch.optim.SGD(network.parameters(), 0.01), inputs, (inputs.sum(1) > 0).long(), 16
    images, labels = common.mnist() if task == "lenet" else common.cifar10_test()
    scaled = torch.from_numpy(images[:10_000]).float() / 255
    inputs = (scaled - scaled.mean((0, 2, 3), keepdim=True)) / scaled.std((0, 2, 3), keepdim=True)
    name = "lenet5" if task == "lenet" else "resnet20_cifar"
    network = NETWORKS[name](tuple(inputs.shape[1:]), 10)
    optimizer = torch.optim.SGD(network.parameters(), 0.01, momentum=0.9)
    return network, optimizer, inputs, torch.from_numpy(labels[:10_000]), 128


def contestant(pipe: Connection, task: str, watched: bool, clock: str, budget: float) -> None:
    """Trains as many steps as the pipe asks for, and answers with the seconds; asked for 0, tells what is left."""
    torch.set_num_threads(1)
    network, optimizer, inputs, targets, batch = training(task)
    criterion = nn.CrossEntropyLoss()
    now, watch = CLOCKS[clock], None
    from netwright.watching import Watch

    if watched:
        watch = Watch(network, optimizer, loss=criterion, confirm=0, budget=budget)
    position = 0
    while steps := pipe.recv():
        before = now()
        for _ in range(steps):
            rows = slice(position, position + batch)
            position = (position + batch) % (len(inputs) - batch + 1)
            optimizer.zero_grad()
            loss = criterion(network(inputs[rows]), targets[rows])
            loss.backward()
            optimizer.step()
            if watch is not None:
                watch.step(loss)
        pipe.send(now() - before)
    peak = common.peak_mb()
    values = [value.flatten() for value in network.state_dict().values()]
    samples = len(watch.observations.series.get("gradient-norm").steps) if watch is not None else 0
    pipe.send((peak, torch.cat([value.double() for value in values]).numpy().tobytes(), samples))


def preflight(task: str) -> float:
    """Seconds of `netwright.watch` with the training data, from a second call on: the first imports libraries."""
    from netwright.watching import Watch

    torch.set_num_threads(1)
    network, optimizer, inputs, targets, batch = training(task)
    for _ in range(2):
        started = time.perf_counter()
        Watch(
            network, optimizer, loss=nn.CrossEntropyLoss(), train_data=(inputs, targets), batch_size=batch, epochs=2,
            confirm=0,
        ).close()  # fmt: skip
    return time.perf_counter() - started


def measure(task: str, seconds: float, clock: str, budget: float = 0.03) -> dict[str, Any]:
    context = multiprocessing.get_context("spawn")
    pipes, processes = {}, []
    for watched in (False, True):
        pipes[watched], other = context.Pipe()
        processes.append(context.Process(target=contestant, args=(other, task, watched, clock, budget), daemon=True))
        processes[-1].start()

    def turn(watched: bool, steps: int) -> float:
        pipes[watched].send(steps)
        return float(pipes[watched].recv())

    for watched in (False, True):
        turn(watched, WARM_UP[task])
    steps = max(1, round(TRIAL[task] / turn(False, TRIAL[task])))
    turn(True, TRIAL[task])
    seen: dict[bool, list[float]] = {False: [], True: []}
    while sum(seen[False]) < seconds or len(seen[False]) < 15:
        order = (False, True) if len(seen[False]) % 2 else (True, False)
        for watched in order:
            seen[watched].append(turn(watched, steps) / steps)
        print(
            f"  {task} pair {len(seen[False])}: {1e6 * seen[False][-1]:.0f} µs, {seen[True][-1] / seen[False][-1]:.3f}",
            file=sys.stderr, flush=True,
        )  # fmt: skip
        if len(seen[False]) * 2 > 15 + seconds * 2:
            break
    left = {}
    for watched in (False, True):
        pipes[watched].send(0)
        left[watched] = pipes[watched].recv()
    for process in processes:
        process.join()
    total = WARM_UP[task] + TRIAL[task] + steps * len(seen[True])
    return {
        "ratio": common.ratio(seen[True], seen[False]),
        "whole": sum(seen[True]) / sum(seen[False]),
        "step_us": common.interval([1e6 * value for value in seen[False]]),
        "memory": left[True][0] / left[False][0],
        "memory_mb": (left[False][0], left[True][0]),
        "same_bits": left[True][1] == left[False][1],
        "preflight_seconds": preflight(task),
        "steps": total,
        "sampled": left[True][2],
        "target": TARGETS[task],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", help=f"of {', '.join(TARGETS)}; all")
    parser.add_argument("--seconds", type=float, default=60.0, help="of the steady state, of each side")
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--budget", type=float, default=0.03, help="the share of the step time that looking may cost")
    asked = parser.parse_args()
    for task in asked.tasks or list(TARGETS):
        one = measure(task, asked.seconds, asked.clock, asked.budget)
        print(
            f"{task}: step {one['step_us']['median']:.0f} µs, ratio {common.ratio_text(one['ratio'])} "
            f"(all turns together {one['whole']:.3f}; target {one['target']}), memory {one['memory']:.3f}, "
            f"{one['sampled']} of {one['steps']} steps sampled, preflight {one['preflight_seconds']:.1f} s, "
            f"weights {'the same bits' if one['same_bits'] else 'DIFFER'}"
        )
        if asked.budget != 0.03:
            continue
        common.write_result("doctor_overhead", f"{task} {asked.clock}", one)


if __name__ == "__main__":
    main()
