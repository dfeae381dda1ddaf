"""``netwright init``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from netwright import files
from netwright.cli import printing
from netwright.cli.options import RECIPE_ENDINGS, Json, is_recipe, option
from netwright.errors import UsageError
from netwright.recipe import writing


def init(
    file: Annotated[Path, option("where to write it; recipe.yaml if left out")] = Path("recipe.yaml"),
    /,
    *,
    force: Annotated[bool, option("write over a file that exists")] = False,
    json: Json = False,
) -> int:
    """Write a recipe with every key, its default and its meaning."""
    if not is_recipe(str(file)):
        better = f"{file}.yaml" if file.name else str(file / "recipe.yaml")
        raise UsageError(str(file), "a name with another ending", " or ".join(RECIPE_ENDINGS), better)
    if file.is_file() and not force:
        raise UsageError(str(file), "a file that exists", "a new one", "--force, which writes over it")
    if file.is_dir():
        raise UsageError(str(file), "a folder", "the name of a file", str(file / "recipe.yaml"))
    hint = "netwright init recipe.yaml, in a folder of yours"
    with files.explained(file, hint):
        file.parent.mkdir(parents=True, exist_ok=True)
    files.replace_file(file, writing.commented(), hint)
    if json:
        printing.document({"recipe": str(file)})
    else:
        printing.line(f"wrote {file}; next: netwright train {file}")
    return 0
