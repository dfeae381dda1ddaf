"""SIGKILL at any moment, then resume: the final weights are bit-identical to an undisturbed run's.

A driver process forks a child a kill, so that twenty kills cost seconds, not minutes. The operations and the moments
are divided among drivers, for processes that test side by side.
"""

import json
import os
from pathlib import Path

import pytest

import warm

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="the driver forks"),
    pytest.mark.timeout(900),
]

DRIVER = Path(__file__).parent / "kill_driver.py"


def drive(mode: str, folder: Path, number: int) -> dict:  # type: ignore[type-arg]
    own = {"OMP_NUM_THREADS": "1", "NETWRIGHT_CACHE": str(folder / "cache")}
    done = warm.python([str(DRIVER), mode, str(folder), str(number)], folder, timeout=880, **own)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])  # type: ignore[no-any-return]


@pytest.mark.parametrize("half", [0, 1])
def test_killed_between_every_two_file_operations_of_a_checkpoint(half: int, tmp_path: Path) -> None:
    result = drive("operations", tmp_path, half)
    assert result["killed"] >= 6, "the driver must have killed between the operations of a checkpoint"
    assert result["kinds"] >= 4
    assert result["different"] == []
    assert result["leftovers"] == []


@pytest.mark.parametrize("seed", [0, 1])
def test_killed_at_random_moments(seed: int, tmp_path: Path) -> None:
    result = drive("moments", tmp_path, seed)
    assert result["killed"] == 10
    assert result["different"] == []
    assert result["leftovers"] == []


def test_a_full_disk_at_any_operation_is_an_error_that_can_be_resumed(tmp_path: Path) -> None:
    result = drive("full-disk", tmp_path, 0)
    assert result["failed"] >= 8
    assert result["messages"] == ["full disk"]
    assert result["different"] == []
    assert result["leftovers"] == []
