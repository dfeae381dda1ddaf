"""A folder with one small finished run, trained through the command line, for all tests of verbs."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

from netwright.cli.main import main

UNTRIED = ("--set", "watch.confirm=0")  # what the doctor suspects of so short a training is not tried for seconds
SMALL = ("--network", "mlp", "--epochs", "1", "--limit", "120", "--set", "network.width=16", "--threads", "1", *UNTRIED)


class Said(NamedTuple):
    """What a command line said: its exit code and both streams."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)


Says = Callable[..., Said]


@pytest.fixture
def says(capfd: pytest.CaptureFixture[str]) -> Says:
    def run(*words: object) -> Said:
        capfd.readouterr()
        code = main([str(word) for word in words])
        return Said(code, *capfd.readouterr())

    return run


@pytest.fixture(scope="session")
def runs_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``digits-0001`` (finished) and ``digits-0002`` (finished, another width)."""
    folder = tmp_path_factory.mktemp("runs")
    assert main(["train", "digits", *SMALL, "--out", str(folder), "--quiet"]) == 0
    assert main(["train", "digits", *SMALL, "--set", "train.lr=0.02", "--out", str(folder), "--quiet"]) == 0
    return folder


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with three pictures of digits, one of another size and mode, a text and a hidden file."""
    from sklearn.datasets import load_digits

    folder = tmp_path_factory.mktemp("pictures")
    digits = load_digits()
    for number in range(3):
        picture = Image.fromarray((digits.images[number] * 255 / 16).astype(np.uint8))
        if number == 2:
            picture = picture.resize((40, 32)).convert("RGB")
        picture.save(folder / f"{number}.png")
    (folder / "notes.txt").write_text("not a picture")
    (folder / ".hidden.png").write_text("not a picture")
    return folder
