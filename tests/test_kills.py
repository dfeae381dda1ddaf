"""SIGKILL at any moment, then resume: the final weights are bit-identical to an undisturbed run's.

A driver process imports everything once and forks a child a kill, so that twenty kills cost seconds, not minutes.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="the driver forks"),
    pytest.mark.timeout(900),
]

DRIVER = Path(__file__).parent / "kill_driver.py"


def drive(mode: str, folder: Path, count: int) -> dict:  # type: ignore[type-arg]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "NETWRIGHT_CACHE": str(folder / "cache")}
    done = subprocess.run(
        [sys.executable, str(DRIVER), mode, str(folder), str(count)],
        env=environment, capture_output=True, text=True, timeout=880, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])  # type: ignore[no-any-return]


def test_killed_between_every_two_file_operations_of_a_checkpoint(tmp_path: Path) -> None:
    result = drive("operations", tmp_path, 0)
    assert result["killed"] >= 12, "the driver must have killed between the operations of a checkpoint"
    assert result["kinds"] >= 4
    assert result["different"] == []
    assert result["leftovers"] == []


def test_killed_at_random_moments(tmp_path: Path) -> None:
    result = drive("moments", tmp_path, 20)
    assert result["killed"] == 20
    assert result["different"] == []
    assert result["leftovers"] == []


def test_a_full_disk_at_any_operation_is_an_error_that_can_be_resumed(tmp_path: Path) -> None:
    result = drive("full-disk", tmp_path, 0)
    assert result["failed"] >= 8
    assert result["messages"] == ["full disk"]
    assert result["different"] == []
    assert result["leftovers"] == []
