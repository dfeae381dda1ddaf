"""Catalogue, code, schema and pages say the same."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch  # noqa: F401 - what "In Python" names
from torch import nn  # noqa: F401

from netwright.craft import catalogue
from netwright.craft.catalogue import FAMILIES, parts
from netwright.nn.zoo import NETWORKS
from netwright.nn.zoo.stack import Stack
from netwright.recipe import from_dict, schema
from netwright.recipe.reading import parse_assignments

DOCS = Path(__file__).resolve().parents[2] / "docs"
EVERY = [(family, name) for family in FAMILIES for name in parts(family)]


@pytest.fixture(scope="module")
def writer() -> ModuleType:
    spec = importlib.util.spec_from_file_location("write_parts", DOCS / "write_parts.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("family", "names"),
    [("activations", schema.ACTIVATIONS), ("norms", schema.NORMS), ("optimizers", schema.OPTIMIZERS),
     ("schedules", schema.SCHEDULES), ("initializers", schema.INITIALIZERS), ("objectives", schema.LOSSES),
     ("networks", tuple(NETWORKS))],
)  # fmt: skip
def test_the_catalogue_names_what_a_recipe_takes(family: str, names: tuple[str, ...]) -> None:
    assert tuple(parts(family)) == names


@pytest.mark.parametrize(("family", "name"), EVERY)
def test_the_recipe_of_a_page_is_one(family: str, name: str) -> None:
    setting = parts(family)[name].recipe
    if family == "layers":
        word = re.sub(r"[A-Z]+", "6", setting)
        Stack((4, 8, 8), 2, [word])
        return
    for assignment in setting.split(", "):
        from_dict({}, parse_assignments([assignment]))
    value = setting.partition("=")[2]
    assert family == "regularizers" or value == name


@pytest.mark.parametrize(("family", "name"), EVERY)
def test_what_a_page_names_in_python_is_there(family: str, name: str) -> None:
    for expression in re.findall(r"(?:torch|netwright)(?:\.\w+)+", parts(family)[name].python):
        module, _, attribute = expression.rpartition(".")
        assert hasattr(importlib.import_module(module), attribute), expression


def test_names_are_found_in_every_family() -> None:
    assert {part.family for part in catalogue.named("cosine")} == {"norms", "schedules"}
    assert catalogue.named("nothing") == ()


@pytest.mark.parametrize("family", FAMILIES)
def test_pages_are_as_they_are_written(family: str, writer: ModuleType) -> None:
    again = "python docs/write_parts.py"
    assert (DOCS / f"{family}.md").read_text(encoding="utf-8") == writer.page(family), again
    assert (DOCS / "parts.md").read_text(encoding="utf-8") == writer.index(), again
    if family not in ("regularizers", "networks"):
        pictures = {
            path.stem.removeprefix(f"{family}-") for path in (DOCS / "images" / "parts").glob(f"{family}-*.svg")
        }
        missing = {"norms": {"weight", "cosine"}}.get(family, set())
        assert pictures <= set(parts(family))
        assert family == "layers" or pictures == set(parts(family)) - missing


@pytest.mark.parametrize("family", ["activations", "norms", "schedules", "layers"])
def test_pictures_are_as_they_are_drawn(family: str, writer: ModuleType) -> None:
    for name, picture in writer.pictures(family).items():
        kept = (DOCS / "images" / "parts" / f"{family}-{name}.svg").read_text(encoding="utf-8")
        assert kept == picture, f"{name}: python docs/write_parts.py"


def test_it_needs_no_torch() -> None:
    import subprocess

    code = (
        "import sys; from netwright.craft import catalogue; catalogue.named('elu'); assert 'torch' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
