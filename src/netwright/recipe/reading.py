"""Reading recipes: YAML, ``--set`` overrides, unknown keys with the nearest name, versions."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import yaml

from netwright.errors import RecipeError, nearest
from netwright.recipe.schema import VERSION, Recipe, Section

# How a recipe of version n becomes one of version n + 1; empty while there is only one version.
UPGRADES: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}

_FREE = {"data.types", "network.arguments", "ignore"}  # dictionaries with the user's own keys


class _Loader(yaml.SafeLoader):
    """YAML 1.2's numbers: ``1e-3`` is a number (YAML 1.1 reads a string), ``on`` and ``no`` are strings."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in ("tag:yaml.org,2002:float", "tag:yaml.org,2002:bool")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:[0-9]+\.[0-9]*(?:[eE][-+]?[0-9]+)?|\.[0-9]+(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+|\.inf|\.nan)$"),
    list("-+0123456789."),
)
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF"))


def parse_yaml(text: str, where: str) -> Any:
    try:
        return yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{where}, line {mark.line + 1}" if mark else where
        raise RecipeError(place, getattr(error, "problem", None) or "text that is not YAML", "YAML") from error


def keys() -> dict[str, Any]:
    """Every recipe key with its default, ``{"train.epochs": "auto", ...}``."""
    flat: dict[str, Any] = {}
    defaults = Recipe()
    for field in Recipe.__struct_fields__:
        value = getattr(defaults, field)
        if isinstance(value, Section):
            flat.update({f"{field}.{name}": getattr(value, name) for name in type(value).__struct_fields__})
        else:
            flat[field] = value
    return flat


def load(path: Path | str, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """The recipe in a YAML file, with overrides (``{"train.epochs": 12}``) on top."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise RecipeError(str(path), "no such file", "a recipe", "netwright init") from error
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(str(path), f"a file that cannot be read ({error})", "a recipe in YAML") from error
    fields = parse_yaml(text, str(path))
    if fields is None:
        fields = {}
    if not isinstance(fields, dict):
        raise RecipeError(str(path), f"a {type(fields).__name__}", "keys such as train: {epochs: 5}", "netwright init")
    return from_dict(fields, overrides, where=str(path))


def from_dict(fields: Mapping[str, Any], overrides: Mapping[str, Any] | None = None, where: str = "recipe") -> Recipe:
    """A recipe from nested fields and dotted overrides; every key is checked before anything is allocated."""
    nested = _upgraded(_nested(fields, where), where)
    for key, value in (overrides or {}).items():
        _put(nested, key, value, where="--set")
    try:
        return msgspec.convert(nested, Recipe)
    except msgspec.ValidationError as error:
        raise _readable(error, nested) from error


def override(recipe: Recipe, changes: Mapping[str, Any]) -> Recipe:
    """The recipe with ``changes`` (dotted keys)."""
    return from_dict(to_dict(recipe), changes)


def to_dict(recipe: Recipe) -> dict[str, Any]:
    return dict(msgspec.to_builtins(recipe))


def parse_assignments(assignments: Iterable[str]) -> dict[str, Any]:
    """``["train.epochs=12", ...]`` as ``{"train.epochs": 12}``; values are YAML."""
    changes: dict[str, Any] = {}
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        if not equals or not key.strip():
            raise RecipeError("--set", repr(assignment), "key=value", "--set train.epochs=12")
        changes[key.strip()] = parse_yaml(value, f"--set {key}") if value.strip() else ""
    return changes


def _upgraded(nested: dict[str, Any], where: str) -> dict[str, Any]:
    version = nested.get("version", VERSION)
    if not isinstance(version, int) or isinstance(version, bool) or version < 1 or version > VERSION:
        raise RecipeError(
            f"{where}: version", repr(version), f"1 to {VERSION}",
            "a newer netwright" if isinstance(version, int) and version > VERSION else f"version: {VERSION}",
        )  # fmt: skip
    while version < VERSION:
        if version not in UPGRADES:
            raise RecipeError(f"{where}: version", str(version), f"{VERSION}; nothing converts it", "netwright init")
        nested = UPGRADES[version](nested)
        version += 1
    return {**nested, "version": VERSION}


def _nested(fields: Mapping[str, Any], where: str) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for key, value in fields.items():
        if isinstance(value, Mapping) and key in Recipe.__struct_fields__ and key not in _FREE:
            if not value:
                nested.setdefault(key, {})
            for name, item in value.items():
                _put(nested, f"{key}.{name}", item, where)
        else:
            _put(nested, str(key), value, where)
    return nested


def _put(nested: dict[str, Any], key: str, value: Any, where: str) -> None:
    known = keys()
    free = next((prefix for prefix in _FREE if key.startswith(prefix + ".")), None)
    if key not in known and free is None:
        near = nearest(key, known)
        raise RecipeError(f"{where}: {key}", "an unknown key", "a recipe key", f"{near}" if near else "netwright init")
    parts = [*free.split("."), key[len(free) + 1 :]] if free else key.split(".")
    for part in parts[:-1]:
        nested = nested.setdefault(part, {})
        if not isinstance(nested, dict):
            raise RecipeError(f"{where}: {key}", f"{part} = {nested!r}", "a section")
    nested[parts[-1]] = value


def _readable(error: msgspec.ValidationError, nested: dict[str, Any]) -> RecipeError:
    """msgspec's ``Expected `int`... - at `$.train.epochs``` in the grammar of errors."""
    text, _, path = str(error).partition(" - at `$")
    key = path.rstrip("`").lstrip(".")
    value: Any = nested
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    choices = keys_choices(key)
    if choices and isinstance(value, str):
        near = nearest(value, choices)
        return RecipeError(key, repr(value), f"one of {', '.join(choices)}", f"{key}={near}" if near else "")
    expected = re.sub(r", got `\w+`$", "", text.removeprefix("Expected ")).replace("`", "").replace(" | str", " or auto")
    return RecipeError(key or "recipe", repr(value), expected, f"{key}={keys().get(key)}" if key in keys() else "")


def keys_choices(key: str) -> list[str]:
    """The words that a key takes, if it takes words."""
    section, _, name = key.partition(".")
    struct = type(getattr(Recipe(), section, None))
    if not name or not issubclass(struct, Section):
        return []
    field = next((field for field in msgspec.inspect.type_info(struct).fields if field.name == name), None)  # type: ignore[attr-defined]
    if field is None:
        return []
    options = getattr(field.type, "types", (field.type,))
    if any(isinstance(option, msgspec.inspect.StrType) for option in options):
        return []
    return [str(value) for option in options if isinstance(option, msgspec.inspect.LiteralType) for value in option.values]
