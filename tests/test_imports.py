"""Imports point one way: the rooms of the house, read from the source."""

import ast
import functools
from pathlib import Path

import pytest

import netwright

SOURCE = Path(netwright.__file__).parent

# Room → the rooms it may import (itself is allowed). A room that is not here is unknown to the plan, and fails.
BASE = {"errors", "records"}
ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "records": {"errors"},
    "codes": set(),
    "files": {"errors"},
    "environment": {"__init__"},
    "recipe": BASE | {"codes"},
    "preprocess": BASE,
    "rows": BASE,
    "runs": BASE | {"files", "recipe", "rows"},
    "graph": BASE,
    "inspection": BASE | {"graph"},
    "observations": BASE | {"rows", "runs"},
    "diagnosing": BASE | {"runs", "recipe", "observations", "diagnosis", "workbench"},
    "diagnosis": BASE | {"observations", "codes"},
    "probes": BASE | {"observations"},
    "repair": BASE | {"observations", "diagnosis", "recipe", "objectives", "nn", "training"},
    "watching": BASE
    | {"observations", "probes", "diagnosis", "repair", "runs", "data", "training", "nn", "reporting", "codes"},
    "boxes": BASE,
    "craft": BASE,
    "classical": BASE,
    "scaling": BASE | {"comparing"},
    "data": BASE | {"preprocess", "recipe", "files", "observations"},
    "nn": BASE,
    "objectives": BASE | {"recipe"},
    "compression": BASE | {"graph", "nn", "objectives"},
    "tuning": BASE | {"files", "recipe"},
    "studying": {"*"},
    "trialling": {"*"},
    "compressing": {"*"},
    "keeping_compressed": {"*"},
    "workshop": {"*"},
    "ensembling": {"*"},
    "ensemble_figures": {"*"},
    "ensemble_training": {"*"},
    "optim": BASE | {"recipe", "nn"},
    "comparing": BASE | {"recipe"},
    "starting": BASE | {"runs", "recipe", "preprocess", "nn"},
    "sourcing": BASE | {"recipe", "preprocess", "data", "building", "training"},
    "overseeing": BASE
    | {"repair"}
    | {
        "watching",
        "training",
        "building",
        "sourcing",
        "data",
        "recipe",
        "preprocess",
        "observations",
        "diagnosis",
        "rows",
        "runs",
    },
    "building": BASE | {"recipe", "preprocess", "data", "nn", "objectives", "optim"},
    "training": BASE
    | {"files", "recipe", "rows", "runs", "preprocess", "data", "nn", "objectives", "optim", "building"},
    "reporting": BASE
    | {
        "observations",
        "diagnosis",
        "recipe",
        "rows",
        "runs",
        "preprocess",
        "data",
        "files",
        "__init__",
        "codes",
        "scaling",
    },
    "export": BASE | {"graph", "nn", "preprocess", "files", "environment"},
    "exporting": {"*"},
    "benching": {"*"},
    "inspecting": BASE | {"graph", "inspection", "nn", "preprocess", "runs", "workbench"},
    "looking": BASE | {"graph", "inspection", "inspecting", "sourcing", "data", "workbench", "predicting"},
    "checking": BASE
    | {
        "recipe",
        "preprocess",
        "data",
        "observations",
        "diagnosis",
        "building",
        "sourcing",
        "training",
        "nn",
        "overseeing",
    },
    "predicting": BASE | {"preprocess", "data", "building", "nn", "workbench"},
    "generating": BASE | {"preprocess", "data", "training", "workbench"},
    "repairing": {"*"},
    "replicating": {"*"},
    "curving": {"*"},
    "regimes": {"*"},
    "sizing": {"*"},
    "suspecting": {"*"},
    "workbench": {"*"},
    "preparing": BASE
    | {"building", "environment", "runs", "sourcing", "starting", "nn", "optim", "preprocess", "recipe", "training"},
    "conducting": BASE
    | {
        "preparing",
        "overseeing",
        "rows",
        "runs",
        "building",
        "sourcing",
        "data",
        "nn",
        "observations",
        "preprocess",
        "recipe",
        "reporting",
        "training",
        "watching",
    },
    "adapters": {"*"},
    "cli": {"*"},
    "__init__": {"*"},
    "__main__": {"cli"},
}
WITHOUT_TORCH = (
    "errors", "records", "codes", "files", "recipe", "rows", "runs", "reporting", "observations", "diagnosis",
    "diagnosing", "boxes", "tuning", "comparing", "scaling", "classical", "preprocess/records", "preprocess/with_numpy",
    "graph/structure", "graph/kinds", "inspection/cost", "inspection/receptive_field", "inspection/sizes",
    "inspection/sheet", "inspection/advice",
)  # fmt: skip


def modules() -> list[tuple[str, Path]]:
    return [(path.relative_to(SOURCE).with_suffix("").as_posix(), path) for path in sorted(SOURCE.rglob("*.py"))]


@functools.cache
def imports(path: Path, *, top_level_only: bool = False) -> set[str]:
    """Every module that the file imports by an absolute import."""
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_level_only else list(ast.walk(tree))
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            base = node.module or ""
            found.update(f"{base}.{alias.name}" for alias in node.names)
    return found


def room(module: str) -> str:
    return module.split("/")[0]


@pytest.mark.parametrize(("module", "path"), modules(), ids=lambda value: value if isinstance(value, str) else "")
def test_a_room_imports_only_what_the_plan_allows(module: str, path: Path) -> None:
    here = room(module)
    assert here in ALLOWED, f"{module} is in no room of the plan"
    allowed = ALLOWED[here] | {here}
    for name in imports(path):
        if not name.startswith("netwright."):
            continue
        target = name.split(".")[1]
        if not ((SOURCE / target).exists() or (SOURCE / f"{target}.py").exists()):
            target = "__init__"
        assert "*" in allowed or target in allowed, f"{module} imports {name}"


@pytest.mark.parametrize(("module", "path"), modules(), ids=lambda value: value if isinstance(value, str) else "")
def test_rooms_without_torch(module: str, path: Path) -> None:
    if module.startswith(WITHOUT_TORCH):
        assert not any(name.split(".")[0] == "torch" for name in imports(path)), module


def test_no_module_is_named_like_one_of_the_standard_library() -> None:
    import sys

    names = {path.stem for _, path in modules()} - {"__init__", "__main__"}
    assert not names & (sys.stdlib_module_names), names & sys.stdlib_module_names


def test_the_plan_is_checked_for_real(tmp_path: Path) -> None:
    """A planted fault: the reader of imports sees each form of them."""
    planted = tmp_path / "planted.py"
    planted.write_text("def f():\n    from netwright import workbench\n    import netwright.cli.main as m\n")
    assert imports(planted) == {"netwright.workbench", "netwright.cli.main"}
