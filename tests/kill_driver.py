"""Trains in forked children, kills or starves them, resumes them, and compares the final weights. See test_kills.py."""

import errno
import hashlib
import json
import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import torch

from netwright import files, workbench
from netwright.data.opening import open_source
from netwright.diagnosis import judging
from netwright.errors import RunError
from netwright.recipe import Recipe, override
from netwright.reporting import page
from netwright.runs import RunDirectory

torch.set_num_threads(1)
OPERATIONS = ("write_bytes", "sync_file", "sync_folder", "rename", "remove_tree")
RECIPE = override(
    Recipe(),
    {
        "data.source": "digits", "data.limit": 320, "network.name": "mlp", "network.width": 16, "network.dropout": 0.2,
        "network.depth": 1, "train.epochs": 3, "train.batch_size": 16, "augment.shift": 0.1, "augment.noise": 0.1,
        "train.layout": "contiguous", "watch.confirm": 0,
        "train.threads": 1, "train.checkpoint_seconds": 0.03,
    },
)  # fmt: skip


def warm_up() -> None:
    """Import what a training imports on its way, so that every fork has it; no backward pass before a fork."""
    open_source(RECIPE.data)
    page._template(page.REPORT)
    judging.load_rules()
    layer = torch.nn.Linear(1, 1)
    layer.weight.grad = torch.zeros(1, 1)
    torch.optim.AdamW(layer.parameters()).step()


def child(work: Callable[[], None]) -> int:
    """Run ``work`` in a fork; its exit code, or minus the signal that ended it."""
    pid = os.fork()
    if pid == 0:
        code = 70
        try:
            work()
            code = 0
        except RunError as error:
            sys.stderr.write(f"RunError {error}\n")
            code = 11 if "full disk" in str(error) else 12
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    return -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


UNWATCHED = override(RECIPE, {"watch.enabled": False})


def train(folder: Path, recipe: Recipe = RECIPE) -> None:
    workbench.train(recipe, folder=folder)


def resume(folder: Path) -> None:
    """Go on as a user would: resume the run, or train anew where it was killed before there was one."""
    known = sorted(folder.glob("digits-*/recipe.yaml"))
    if known:
        workbench.resume(known[-1].parent)
    else:
        train(folder)


def weights_of(folder: Path) -> str:
    directory = sorted(folder.glob("digits-*/recipe.yaml"))[-1].parent
    run = RunDirectory(directory)
    assert run.current()["finished"]
    digest = hashlib.sha256()
    for role in ("last", "best"):
        digest.update((run.checkpoint(role) / "weights.safetensors").read_bytes())
    steps, values = run.reader().series("loss")
    digest.update(json.dumps([steps, values]).encode())
    digest.update(json.dumps([(row.epoch, row.split, row.metrics) for row in run.reader().epochs()]).encode())
    return digest.hexdigest()


def leftovers_of(folder: Path) -> list[str]:
    directory = sorted(folder.glob("digits-*/recipe.yaml"))[-1].parent
    hidden = [str(path.relative_to(folder)) for path in directory.rglob(".*")]
    return hidden + [
        str(path)
        for path in (directory / "checkpoints").iterdir()
        if path.name not in RunDirectory(directory).current().values()
    ]


def counted(at: int, act: Callable[[str, Path], None], log: Path) -> None:
    """Patch the file operations: before the ``at``-th, ``act`` happens. Writes may also be torn in the middle."""
    seen = 0

    def wrap(name: str, original: Callable[..., None]) -> Callable[..., None]:
        def operation(*arguments: Path) -> None:
            nonlocal seen
            seen += 1
            if seen == at:
                with log.open("a") as file:
                    file.write(name + "\n")
                if name == "write_bytes" and isinstance(arguments[1], bytes):
                    original(arguments[0], arguments[1][: len(arguments[1]) // 2])
                act(name, arguments[0])
            original(*arguments)

        return operation

    for name in OPERATIONS:
        setattr(files, name, wrap(name, getattr(files, name)))


def kill_now(name: str, path: Path) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def starve(name: str, path: Path) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def main() -> None:
    mode, root, part = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    warm_up()
    assert child(lambda: train(root / "undisturbed")) == 0
    truth = weights_of(root / "undisturbed")
    different, leftovers, messages = [], [], set()
    stopped = 0
    log = root / "operations"

    def compare(folder: Path, number: object) -> None:
        code = child(lambda: resume(folder))
        if code != 0 or weights_of(folder) != truth:
            different.append([str(number), code])
        elif leftovers_of(folder):
            leftovers.append(leftovers_of(folder))

    if mode in ("operations", "full-disk"):
        # The first ten operations make the directory; from there on a whole checkpoint is walked through.
        numbers = [*range(1, 16, 5), *range(20, 40, 1 if mode == "operations" else 3)]
        for number in numbers[12 * part :][:12]:
            folder = root / f"{mode}-{number}"

            def work(folder: Path = folder, number: int = number) -> None:
                counted(number, kill_now if mode == "operations" else starve, log)
                train(folder, RECIPE if mode == "operations" else UNWATCHED)

            code = child(work)
            if code in (-signal.SIGKILL, 11, 12):
                stopped += 1
                if code != -signal.SIGKILL:
                    messages.add("full disk" if code == 11 else "another")
                compare(folder, number)
            elif code != 0:
                different.append([f"operation {number}", code])
    else:
        started = time.monotonic()
        assert child(lambda: train(root / "again")) == 0
        length = time.monotonic() - started
        assert weights_of(root / "again") == truth, "two undisturbed runs differ"
        generator = random.Random(part)
        for number in range(30):  # on a machine whose pace changes some finish before their moment
            if stopped == 10:
                break
            folder = root / f"moment-{number}"
            started = time.monotonic()
            pid = os.fork()
            if pid == 0:
                try:
                    train(folder, UNWATCHED if number % 2 else RECIPE)  # watched or not, the bits are the same
                finally:
                    os._exit(0)
            time.sleep(generator.uniform(0.05, 0.95) * length)
            os.kill(pid, signal.SIGKILL)
            _, status = os.waitpid(pid, 0)
            if os.WIFSIGNALED(status):
                stopped += 1
            else:
                length = min(length, time.monotonic() - started)
            compare(folder, number)
    kinds = len(set(log.read_text().split())) if log.exists() else 0
    print(json.dumps({
        "killed": stopped, "failed": stopped, "kinds": kinds, "different": different, "leftovers": leftovers,
        "messages": sorted(messages),
    }))  # fmt: skip


if __name__ == "__main__":
    main()
