"""Several processes: the batch is divided without loss, gradients and trainings are one process's, ends are clean."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import warm
from netwright import runs, workbench
from netwright.data.loading import Share
from netwright.environment import torchrun
from netwright.runs import RunDirectory
from netwright.training.distribution import LostProcessError, Processes
from netwright.training.recording import Interrupted
from training import in_two

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parent.parent)}


@given(size=st.integers(1, 300), count=st.integers(2, 9), more=st.integers(0, 1))
def test_shares_are_the_batch_and_weigh_as_its_rows(size: int, count: int, more: int) -> None:
    seen: list[int] = []
    weights = []
    for rank in range(count):
        share = Share(rank, count)
        rows = share.rows(size, more).tolist()
        own = rows[: len(rows) - more]
        assert len(own) >= min(2, size)
        assert rows[len(own) :] == [(own[-1] + 1) % size] * more
        if share.weight:
            assert share.weight == pytest.approx(len(own) * count / size)
            seen += own
        weights.append(share.weight)
    assert seen == list(range(size))
    assert sum(weights) / count == pytest.approx(1)


def test_only_torchrun_makes_several_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR"):
        monkeypatch.delenv(name, raising=False)
    assert torchrun() is None
    for name, value in {"RANK": "1", "LOCAL_RANK": "0", "MASTER_ADDR": "here", "WORLD_SIZE": "1"}.items():
        monkeypatch.setenv(name, value)
    assert torchrun() is None  # one process is alone, under torchrun too
    monkeypatch.setenv("WORLD_SIZE", "3")
    assert torchrun() == (1, 3, 0)


def test_only_what_a_lost_process_leaves_is_explained_as_that() -> None:
    processes = object.__new__(Processes)
    processes.rank, processes.count, processes.again, processes._lost = 0, 2, "torchrun … --resume here", False
    with pytest.raises(RuntimeError, match="mat1 and mat2"), processes.explained():
        torch.zeros(2, 3) @ torch.zeros(2, 3)
    before = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(LostProcessError) as caught, processes.explained():
            raise RuntimeError("[gloo/transport/tcp/pair.cc:537] Connection closed by peer [127.0.0.1]:1")
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN  # torchrun's comes before the message otherwise
    finally:
        signal.signal(signal.SIGTERM, before)
    assert caught.value.suggestion == "torchrun … --resume here"


def curve(directory: Path) -> list[float]:
    reader = RunDirectory(directory).reader()
    _, values = reader.series("loss")
    reader.close()
    return values


class Stop:
    """A sink that asks for a stop after the first epoch, once."""

    def series(self, name: str, first_step: int, values: Any) -> None: ...
    def epoch(self, row: Any) -> None:
        if row.split == "validation":
            os.kill(os.getpid(), signal.SIGINT)

    def flush(self) -> None: ...
    def close(self) -> None: ...


@pytest.mark.timeout(300)
def test_two_processes_train_as_one_and_go_on_with_what_one_began(tmp_path: Path) -> None:
    """Gradients within 1e-6 for even and uneven batches; a whole training and one begun alone reach the same losses."""
    whole = workbench.train(in_two.recipe(), folder=tmp_path / "one")
    with pytest.raises(Interrupted) as stop:
        workbench.train(in_two.recipe(), folder=tmp_path / "half", sinks=[Stop()])
    half = Path(str(stop.value))
    assert 0 < RunDirectory(half).current()["step"] < len(curve(whole.directory))
    script = Path(in_two.__file__)
    # As torchrun starts them, which the next test does itself, but of one that has PyTorch already.
    known = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(warm.free_port()), **ENVIRONMENT}
    words = [str(script), str(tmp_path / "two"), str(half)]
    ranks = [warm.Running(words, tmp_path, RANK=rank, LOCAL_RANK=rank, **known) for rank in ("0", "1")]
    first, second = [rank.finish(280) for rank in ranks]
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert (first.stdout + second.stdout).count("equal:") == 2 * len(in_two.SIZES)
    (two,) = runs.list_directories(tmp_path / "two")
    expected = curve(whole.directory)
    for directory in (two, half):
        assert curve(directory) == pytest.approx(expected, rel=2e-4)
        summary = RunDirectory(directory).summary()
        assert summary.state == "finished"
        for part, metrics in whole.metrics.items():  # of all examples: a half of them would differ
            assert summary.metrics[part]["loss"] == pytest.approx(metrics["loss"], rel=1e-3)
    rows = [RunDirectory(each).reader().epochs() for each in (whole.directory, two)]
    for one, other in zip(*rows, strict=True):
        assert other.metrics["accuracy"] == pytest.approx(one.metrics["accuracy"], abs=0.005)


def started(child: int) -> dict[str, int]:
    """Rank → process of what torchrun started."""
    children = Path(f"/proc/{child}/task/{child}/children").read_text().split()
    ranks = {}
    for pid in children:
        words = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        ranks |= {word[5:].decode(): int(pid) for word in words if word.startswith(b"RANK=")}
    return ranks


@pytest.mark.timeout(300)
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="processes are found in /proc")
@pytest.mark.parametrize("how", ["ctrl-c", "killed"])
def test_however_it_ends_both_end_and_say_how_to_go_on(how: str, tmp_path: Path) -> None:
    command = "train digits --network mlp --epochs 4000 --set watch.enabled=false --set train.checkpoint_seconds=0.5"
    child = subprocess.Popen(
        [*TORCHRUN, "-m", "netwright", *command.split()], cwd=tmp_path, env={**os.environ, **ENVIRONMENT},
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    directory = RunDirectory(tmp_path / "runs" / "digits-0001")
    ends = time.monotonic() + 200
    while not (directory.path / "current.json").exists() and child.poll() is None and time.monotonic() < ends:
        time.sleep(0.1)
    ranks = started(child.pid)
    if how == "ctrl-c":
        os.killpg(child.pid, signal.SIGINT)  # as a terminal does it: to torchrun and to both
    else:
        os.kill(ranks["1"], signal.SIGKILL)
    _, told = child.communicate(timeout=90)
    assert "torchrun --nproc-per-node 2 -m netwright train --resume digits-0001" in told
    assert ("Stopped and saved" in told) == (how == "ctrl-c")
    assert ("no answer from another" in told) == (how == "killed")
    for pid in ranks.values():
        assert not Path(f"/proc/{pid}").exists()
    assert directory.summary().state == "interrupted"
    assert directory.current()["step"] > 0
    assert not directory.is_locked()
