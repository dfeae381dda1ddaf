"""Every command and every piece of Python in README and docs runs.

``sh`` blocks run line by line in a folder that holds what the pages speak of: ``photos/`` with two classes,
``table.csv``, ``instances.json`` and ``detections.json``; ``make`` lines are looked up in the Makefile. ``python``
blocks of a page run one after the other.
"""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
SLOW = {"netwright train photos/": " --epochs 2", "netwright train digits": " --epochs 2"}
BRIEF = " --set watch.confirm=1"  # seconds of experiments after a training


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S)


def commands(page: Path) -> list[str]:
    lines = [line.partition("  #")[0].strip() for block in blocks(page, "sh") for line in block.splitlines()]
    return [line for line in lines if line]


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the pictures, the table and the boxes that the pages speak of."""
    generator = np.random.default_rng(0)
    for name, tint in (("ants", 60), ("bees", 160)):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(1, 21):
            noise = generator.integers(0, 90, (24, 30, 3)) + tint * np.array([1, 1, 0])
            Image.fromarray(noise.clip(0, 255).astype(np.uint8)).save(
                tmp_path / "photos" / name / f"{name[0]}{number:02}.png"
            )
    rows = [f"{age},{'clerk' if age % 3 else 'baker'},{'high' if age > 40 else 'low'}" for age in range(20, 70)]
    (tmp_path / "table.csv").write_text("age,work,income\n" + "\n".join(rows) + "\n")
    box = {"image_id": 1, "category_id": 1, "bbox": [10, 10, 50, 40]}
    boxes = {
        "images": [{"id": 1, "file_name": "one.jpg"}], "categories": [{"id": 1, "name": "ant"}],
        "annotations": [{**box, "id": 1, "area": 1500, "iscrowd": 0}],
    }  # fmt: skip
    (tmp_path / "instances.json").write_text(json.dumps(boxes))
    (tmp_path / "detections.json").write_text(json.dumps([{**box, "score": 0.9}]))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    words = shlex.split(command)
    assert words[0] == "netwright", command
    environment = {**os.environ, "NETWRIGHT_CACHE": str(folder / "cache"), "BROWSER": "true"}
    return subprocess.run(
        [sys.executable, "-m", "netwright", *words[1:]],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=250, check=False,
    )  # fmt: skip


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)], ids=lambda page: page.name)
def test_every_command_of_a_page_runs(page: Path, house: Path) -> None:
    makefile = (ROOT / "Makefile").read_text()
    for command in commands(page):
        if command.startswith("make "):
            assert re.search(rf"^{command.split()[1]}:", makefile, re.M), command
            continue
        if "last" in command.split() or "compare" in command or "--delete" in command or "runs" in command:
            wanted = 1 if "inspect" in command else 2  # inspect looks at the run that the page has trained
            while len(list((house / "runs").glob("digits-*"))) < wanted:
                done = run("netwright train digits --epochs 1 --network mlp" + BRIEF, house)
                assert done.returncode == 0, done.stderr
        if "predict last" in command:
            assert run("netwright train photos/ --epochs 1" + BRIEF, house).returncode == 0
        short = command + next(
            (more for start, more in SLOW.items() if command == start or command == f"{start} --json"), ""
        )
        if command == "netwright train recipe.yaml --set train.lr=0.01":
            assert run("netwright init recipe.yaml", house).returncode == 0
            short += " --epochs 1"
        if command.startswith("netwright train") and "--print-recipe" not in command and "--resume" not in command:
            short += BRIEF
        if command == "netwright init recipe.yaml":
            (house / "recipe.yaml").unlink(missing_ok=True)
        done = run(short, house)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=lambda page: page.name)
def test_the_python_of_a_page_runs(page: Path, house: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(blocks(page, "python"))],
        cwd=house, env={**os.environ, "NETWRIGHT_CACHE": str(house / "cache")}, capture_output=True, text=True,
        timeout=250, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target
