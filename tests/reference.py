"""Where the reference data lie, for tests that read it while they are collected."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def shared_folder() -> Path:
    return Path(os.environ.get("NETWRIGHT_SHARED", ROOT.parent / "shared"))
