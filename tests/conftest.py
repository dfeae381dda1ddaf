"""Shared by all tests: where the reference data lies, and a cache folder of the tests' own."""

import gc
import os
import sys
from pathlib import Path

import pytest

from reference import shared_folder

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: spinning threads on shared cores cost seconds
# Where the environment forbids bytecode, each of a hundred processes would compile the same files, a second each.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False


@pytest.fixture
def shared() -> Path:
    """The folder of reference data sets; tests that need it skip where it is absent."""
    folder = shared_folder()
    if not (folder / "data").is_dir():
        pytest.skip(f"no reference data in {folder} (NETWRIGHT_SHARED names another place)")
    return folder / "data"


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    os.environ["NETWRIGHT_CACHE"] = str(tmp_path_factory.mktemp("cache"))


def pytest_collection_finish() -> None:
    """Modules and thousands of tests stay to the end: a collection that walks through them takes a quarter second."""
    gc.collect()
    gc.freeze()


def pytest_make_parametrize_id(config: pytest.Config, val: object, argname: str) -> str | None:
    """Packed bytes hold the time at which they were packed: two processes would name such a test differently."""
    return "bytes" if isinstance(val, bytes) else None
