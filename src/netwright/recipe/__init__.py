"""The recipe: schema, reading, overrides, comparing, defaults, writing. No torch."""

from netwright.recipe.comparing import difference, flat
from netwright.recipe.reading import from_dict, keys, load, override, parse_assignments, to_dict
from netwright.recipe.reading import load as load_recipe
from netwright.recipe.schema import Recipe

__all__ = [
    "Recipe",
    "difference",
    "flat",
    "from_dict",
    "keys",
    "load",
    "load_recipe",
    "override",
    "parse_assignments",
    "to_dict",
]
