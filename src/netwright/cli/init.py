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
        raise UsageError(str(file), "a name with another ending", " or ".join(RECIPE_ENDINGS), f"{file}.yaml")
    if file.exists() and not force:
        raise UsageError(str(file), "a file that exists", "a new one", "--force, which writes over it")
    with files.explained(file):
        file.parent.mkdir(parents=True, exist_ok=True)
    files.replace_file(file, writing.commented())
    if json:
        printing.document({"recipe": str(file)})
    else:
        printing.line(f"wrote {file}; next: netwright train {file}")
    return 0
