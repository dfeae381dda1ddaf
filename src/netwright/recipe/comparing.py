"""Comparing recipes: a variant is a recipe plus a visible difference."""

from __future__ import annotations

from typing import Any

from netwright.recipe.reading import keys
from netwright.recipe.schema import Recipe, Section


def flat(recipe: Recipe) -> dict[str, Any]:
    """``{"train.epochs": 12, ...}`` in the order of the schema."""
    values: dict[str, Any] = {}
    for key in keys():
        section, _, name = key.partition(".")
        value = getattr(recipe, section)
        values[key] = getattr(value, name) if isinstance(value, Section) else value
    return values


def difference(first: Recipe, second: Recipe) -> dict[str, tuple[Any, Any]]:
    """The keys in which two recipes differ, each with both values."""
    one, other = flat(first), flat(second)
    return {key: (one[key], other[key]) for key in one if one[key] != other[key]}


def differences(*recipes: Recipe) -> dict[str, tuple[Any, ...]]:
    """The keys in which not all of several recipes are equal, each with the value of every recipe."""
    known = [flat(recipe) for recipe in recipes]
    return {
        key: tuple(values[key] for values in known)
        for key in known[0]
        if any(values[key] != known[0][key] for values in known)
    }
