"""Every command and every piece of Python in README and docs runs.

``sh`` blocks of a page, of README those under one heading, run line by line in a folder that holds what the
pages speak of: ``photos/`` with two classes, ``table.csv``, ``instances.json``, ``detections.json``, ``book.txt``,
``reviews/``, ``sales.csv`` and short runs; ``make`` lines are looked up in the Makefile.
``python`` blocks of a page run one after the other.
"""

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import warm

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
TINY = " --set network.name=mlp --set data.limit=99 --set train.epochs=1"
SLOW = {
    "netwright train photos/": " --epochs 2",
    "netwright train digits": " --epochs 2 --limit 300",
    "netwright compare digits train.lr=0.002 --seeds 8": TINY,
    "netwright check digits --batch-size": TINY,
}
BRIEF = " --set watch.confirm=0"  # seconds of experiments after a training
# These leave nothing that a later command reads: what one of them says at its first place it says at every other.
ANSWERS = tuple(f"netwright {verb} " for verb in ("boxes", "check", "compare", "curves", "explain", "list"))


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.M | re.S)


def sessions() -> dict[str, list[str]]:
    """The commands of each page, of each heading of README; an answer only where it is asked first."""
    texts = {page.name: page.read_text(encoding="utf-8") for page in PAGES}
    readme = re.split(r"^##+ ", texts.pop("README.md"), flags=re.M)
    found: dict[str, list[str]] = {}
    asked: set[str] = set()
    for name, text in {**{f"README, {part.splitlines()[0]}": part for part in readme}, **texts}.items():
        lines = [line.partition("  #")[0].strip() for block in blocks(text, "sh") for line in block.splitlines()]
        commands = [line for line in lines if line and not (line in asked and line.startswith(ANSWERS))]
        asked.update(commands)
        if commands:
            found[name] = commands
    return found


@pytest.fixture(scope="session")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the pictures, the table and the boxes that the pages speak of, and three runs."""
    folder = tmp_path_factory.mktemp("house")
    generator = np.random.default_rng(0)
    for name, tint in (("ants", 60), ("bees", 160)):
        (folder / "photos" / name).mkdir(parents=True)
        for number in range(1, 21):
            noise = generator.integers(0, 90, (24, 30, 3)) + tint * np.array([1, 1, 0])
            Image.fromarray(noise.clip(0, 255).astype(np.uint8)).save(
                folder / "photos" / name / f"{name[0]}{number:02}.png"
            )
    rows = [f"{age},{'clerk' if age % 3 else 'baker'},{'high' if age > 40 else 'low'}" for age in range(20, 70)]
    (folder / "table.csv").write_text("age,work,income\n" + "\n".join(rows) + "\n")
    box = {"image_id": 1, "category_id": 1, "bbox": [10, 10, 50, 40]}
    boxes = {
        "images": [{"id": 1, "file_name": "one.jpg"}], "categories": [{"id": 1, "name": "ant"}],
        "annotations": [{**box, "id": 1, "area": 1500, "iscrowd": 0}],
    }  # fmt: skip
    (folder / "instances.json").write_text(json.dumps(boxes))
    (folder / "detections.json").write_text(json.dumps([{**box, "score": 0.9}]))
    (folder / "book.txt").write_text("The cat sat on the mat.\nAnd the dog, so it seems, sat on the cat.\n" * 80)
    for label, word in (("good", "lovely"), ("bad", "awful")):
        (folder / "reviews" / label).mkdir(parents=True)
        for number in range(20):
            (folder / "reviews" / label / f"{number}.txt").write_text(f"a {word} film, number {number}")
    judged = "".join(f'"a {("lovely", "awful")[n % 2]} film, said {n}",{("good", "bad")[n % 2]}\n' for n in range(60))
    (folder / "reviews.csv").write_text("review,mood\n" + judged)
    curves = np.column_stack((ones := np.linspace(1, 2, 60), *(ones * np.sin(step) for step in range(6))))
    header = "size," + ",".join(f"y{step}" for step in range(6))
    np.savetxt(folder / "curves.csv", curves, "%.3f", ",", header=header, comments="")
    (folder / "sales.csv").write_text("day,sold\n" + "\n".join(f"{day},{day % 7 * 10}" for day in range(200)) + "\n")
    for subject in ("digits", "digits", "photos/"):
        done = run(f"netwright train {subject} --epochs 1 --network mlp --set watch.confirm=0", folder)
        assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def house(furnished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "house"
    shutil.copytree(furnished, folder)
    monkeypatch.chdir(folder)
    return folder


def run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    words = shlex.split(command)
    assert words[0] == "netwright", command
    cache = str(folder / "cache")
    return warm.python(["-m", *words], folder, timeout=250, NETWRIGHT_CACHE=cache, BROWSER="true")


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("commands", sessions().values(), ids=sessions())
def test_every_command_of_a_page_runs(commands: list[str], house: Path) -> None:
    makefile = (ROOT / "Makefile").read_text()
    for command in commands:
        if command.startswith("make "):
            assert re.search(rf"^{command.split()[1]}:", makefile, re.M), command
            continue
        short = command + next(
            (more for start, more in SLOW.items() if command == start or command == f"{start} --json"), ""
        )
        if command == "netwright train recipe.yaml --set train.lr=0.01":
            assert run("netwright init recipe.yaml", house).returncode == 0
            short += " --epochs 1"
        if command.startswith("netwright tune digits") and "watch." not in command:
            short += BRIEF
        if command.startswith("netwright train") and "--print-recipe" not in command and "--resume" not in command:
            short += BRIEF
            default = command in ("netwright train digits", "netwright train photos/")
            if not default and "--network" not in command and "--from" not in command:
                short += " --network mlp"  # the default of pictures costs ten seconds each time
        if command == "netwright init recipe.yaml":
            (house / "recipe.yaml").unlink(missing_ok=True)
        done = run(short, house)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"


PYTHON = {page.name: "\n".join(blocks(page.read_text(encoding="utf-8"), "python")) for page in PAGES}


@pytest.mark.parametrize("page", [page for page, code in PYTHON.items() if code])
def test_the_python_of_a_page_runs(page: str, house: Path) -> None:
    done = warm.python(["-c", PYTHON[page]], house, timeout=250, NETWRIGHT_CACHE=str(house / "cache"))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target
