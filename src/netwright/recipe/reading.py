"""Reading recipes: YAML, ``--set`` overrides, unknown keys with the nearest name, versions."""

from __future__ import annotations

import copy
import functools
import math
import re
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import yaml

from netwright.codes import CODES
from netwright.errors import RecipeError, nearest, nearest_key, setting
from netwright.recipe.schema import VERSION, Recipe, Section

# How a recipe of version n becomes one of version n + 1; empty while there is only one version.
UPGRADES: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}

_FREE = {"data.types", "network.arguments", "train.decay_layers", "ignore"}  # dictionaries with the user's own keys
_SECTIONS = {name for name in Recipe.__struct_fields__ if isinstance(getattr(Recipe(), name), Section)}


DEEPEST = 100  # lists and sections within each other
_Fastest: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the same safe loader, fifteen times as fast in C


class Loader(_Fastest):
    """YAML as people mean it: ``1e-3`` is a number; ``on``, ``010``, ``1_000`` and ``2024-05-01`` are text.

    (YAML 1.1, which PyYAML reads, takes these for text, a truth value, 8, 1000 and a date.) A key given twice stops.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(None, None, f"the key {key.value} twice", key.start_mark)
                seen.add(key.value)
        return dict(super().construct_mapping(node, deep))


FLOAT = re.compile(
    r"^[-+]?(?:[0-9]+\.[0-9]*(?:[eE][-+]?[0-9]+)?|\.[0-9]+(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+|\.inf|\.nan)$"
)
_OWN = {"float", "bool", "int", "timestamp"}
Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag.rpartition(":")[2] not in _OWN]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
Loader.add_implicit_resolver("tag:yaml.org,2002:float", FLOAT, list("-+0123456789."))
Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^[-+]?(?:0|[1-9][0-9]*)$"), list("-+0123456789"))
Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)


def parse_yaml(text: str, where: str) -> Any:
    try:
        _require_tree(text, where)
        return yaml.load(text, Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{where}, line {mark.line + 1}" if mark else where
        raise RecipeError(place, getattr(error, "problem", None) or "text that is not YAML", "YAML") from error
    except RecipeError:
        raise
    except (RecursionError, ValueError) as error:
        raise RecipeError(where, f"text that cannot be read ({error})", "YAML") from error


def _require_tree(text: str, where: str) -> None:
    """Stops at what no recipe has and a reader can choke on: deep nesting, and values that refer to others."""
    depth = 0
    for event in yaml.parse(text, _Fastest):
        if isinstance(event, yaml.AliasEvent):
            line = f", line {event.start_mark.line + 1}" if event.start_mark else ""
            raise RecipeError(where + line, f"a reference to another value (*{event.anchor})", "the value itself")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise RecipeError(where, f"values nested more than {DEEPEST} deep", "a recipe", "netwright init")


class Place(NamedTuple):
    """Where values are given: how an error names one, and how another one is written there."""

    named: Callable[[str], str]
    written: Callable[[str, Any], str]


SET = Place(lambda key: f"--set {key}", setting)
ASSIGNED = Place(lambda key: key, lambda key, value: f"{key}={_word(value)}")
PYTHON = Place(lambda key: key, lambda key, value: f"settings={{{key!r}: {value!r}}}")


def in_file(path: str) -> Place:
    return Place(lambda key: f"{path}: {key}", lambda key, value: f"{key.rpartition('.')[2]}: {_word(value)}")


def flag(name: str) -> Place:
    return Place(lambda key: name, lambda key, value: f"{name} {_word(value)}")


def _word(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def keys() -> dict[str, Any]:
    """Every recipe key with its default, ``{"train.epochs": "auto", ...}``."""
    return dict(_keys())


@functools.cache
def _keys() -> dict[str, Any]:
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
        reason = getattr(error, "strerror", None) or error
        got = "a folder" if path.is_dir() else f"a file that cannot be read ({reason})"
        raise RecipeError(str(path), got, "a recipe in YAML", "netwright init") from error
    fields = parse_yaml(text, str(path))
    if fields is None:
        fields = {}
    if not isinstance(fields, dict):
        raise RecipeError(str(path), f"a {type(fields).__name__}", "keys such as train: {epochs: 5}", "netwright init")
    return from_dict(fields, overrides, where=str(path))


def from_dict(
    fields: Mapping[str, Any],
    overrides: Mapping[str, Any] | None = None,
    where: str = "recipe",
    *,
    changes: Place = SET,
) -> Recipe:
    """A recipe from nested fields and dotted overrides; every key is checked before anything is allocated.

    ``where`` and ``changes`` say in an error where the fields and the overrides came from. A field is checked although
    an override rules over it: what is wrong is said when it is seen.
    """
    given = in_file(where)
    nested = _upgraded(_nested(fields, given), where)
    recipe = _converted(nested, given)
    if not overrides:
        return recipe
    for key, value in overrides.items():
        _put(nested, key, value, changes)
    return _converted(nested, changes)


def override(recipe: Recipe, changes: Mapping[str, Any]) -> Recipe:
    """The recipe with ``changes`` (dotted keys)."""
    return from_dict(to_dict(recipe), changes, changes=PYTHON)


def to_dict(recipe: Recipe) -> dict[str, Any]:
    return dict(msgspec.to_builtins(recipe))


def parse_assignments(assignments: Iterable[str]) -> dict[str, Any]:
    """``["train.epochs=12", ...]`` as ``{"train.epochs": 12}``; one key with two values is a conflict."""
    changes: dict[str, Any] = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        key = key.strip()
        if not equals or not key:
            raise RecipeError("--set", repr(assignment), "key=value", "--set train.epochs=12")
        value = parse_value(key, text, f"--set {key}")
        if key in changes and changes[key] != value:
            raise RecipeError(f"--set {key}", f"{changes[key]!r} and {value!r}", "one value", f"--set {assignment}")
        changes[key] = value
    return changes


def parse_value(key: str, text: str, where: str) -> Any:
    """A value from the command line: YAML, but for keys that take nothing else, the text itself (a folder ``2024``)."""
    only_text = [hint for hint in _alternatives(key) if hint is not None] == [str]
    if only_text and text.lstrip().startswith("*"):  # YAML would look for an anchor: a pattern of columns
        return text.strip()
    value = parse_yaml(text, where) if text.strip() else ""
    return text.strip() if only_text and not isinstance(value, str) else value


def _upgraded(nested: dict[str, Any], where: str) -> dict[str, Any]:
    version = nested.get("version", VERSION)
    if not isinstance(version, int) or isinstance(version, bool) or version < 1 or version > VERSION:
        raise RecipeError(
            f"{where}: version", repr(version), f"1 to {VERSION}" if VERSION > 1 else "1",
            "a newer netwright" if isinstance(version, int) and version > VERSION else f"version: {VERSION}",
        )  # fmt: skip
    while version < VERSION:
        if version not in UPGRADES:
            raise RecipeError(f"{where}: version", str(version), f"{VERSION}; nothing converts it", "netwright init")
        nested = UPGRADES[version](nested)
        version += 1
    return {**nested, "version": VERSION}


def _nested(fields: Mapping[str, Any], place: Place) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    seen: set[str] = set()
    for key, value in _dotted(fields, place):
        if key in seen:
            raise RecipeError(place.named(key), "the key twice", "one value")
        seen.add(key)
        _put(nested, key, value, place)
    return nested


def _dotted(fields: Mapping[str, Any], place: Place) -> Iterator[tuple[str, Any]]:
    """``(dotted key, value)``; a section whose keys are all commented out (``train:``) is an empty one."""
    for key, value in fields.items():
        if key not in _SECTIONS:
            yield str(key), ({} if value is None and key in _FREE else value)
            continue
        if value is not None and not isinstance(value, Mapping):
            first = next(name for name in _keys() if name.startswith(f"{key}."))
            raise RecipeError(place.named(key), repr(value), "a section of keys", place.written(first, _keys()[first]))
        for name, item in (value or {}).items():
            dotted = f"{key}.{name}"
            yield dotted, ({} if item is None and dotted in _FREE else item)


def _put(nested: dict[str, Any], key: str, value: Any, place: Place) -> None:
    known = _keys()
    free = next((prefix for prefix in _FREE if key.startswith(prefix + ".")), None)
    if key not in known and free is None:
        inside = [name for name in known if name.startswith(f"{key}.")]
        near = inside[0] if inside else nearest_key(key, known)
        hint = "netwright list keys"
        if near in _FREE:
            hint = place.written(f"{near}.NAME", value)
        elif near:
            hint = place.written(near, known[near] if inside or isinstance(value, dict) else value)
        raise RecipeError(
            place.named(key), "an unknown key", f"a recipe key such as {near}" if near else "a recipe key", hint
        )
    parts = [*free.split("."), key[len(free) + 1 :]] if free else key.split(".")
    for part in parts[:-1]:
        nested = nested.setdefault(part, {})
        if not isinstance(nested, dict):
            raise RecipeError(place.named(key), f"{part} = {nested!r}", "a section")
    nested[parts[-1]] = copy.deepcopy(value)


# ------------------------------------------------------------------------------------------------ what a key takes


def _converted(nested: dict[str, Any], place: Place) -> Recipe:
    _require_finite(nested, place)
    try:
        recipe = msgspec.convert(nested, Recipe)
    except msgspec.ValidationError as error:
        raise _readable(error, nested, place) from error
    _require_codes(recipe, place)
    return recipe


def _require_codes(recipe: Recipe, place: Place) -> None:
    """Only findings that there are can be silenced, and only for a reason."""
    for code, reason in recipe.ignore.items():
        key = f"ignore.{code}"
        if code not in CODES:
            near = nearest(code, CODES)
            hint = place.written(f"ignore.{near}", reason or "REASON") if near else "netwright list findings"
            raise RecipeError(place.named(key), "an unknown finding", "the code of a finding", hint)
        if not reason.strip():
            raise RecipeError(place.named(key), "no reason", "why it is silenced", place.written(key, "REASON"))


def _require_finite(value: Any, place: Place, key: str = "") -> None:
    if isinstance(value, dict):
        for name, item in value.items():
            _require_finite(item, place, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list | tuple):
        for item in value:
            _require_finite(item, place, key)
    elif isinstance(value, float) and not math.isfinite(value):
        default = _keys().get(key)
        hint = "" if default in (None, {}) else place.written(key, default)
        raise RecipeError(place.named(key), str(value), "a finite number", hint)


def _readable(error: msgspec.ValidationError, nested: dict[str, Any], place: Place) -> RecipeError:
    """msgspec's ``Expected `int`... - at `$.train.epochs``` in the grammar of errors."""
    path = str(error).partition(" - at `")[2].rstrip("`").removeprefix("$").lstrip(".")
    key = re.sub(r"\[.*", "", path)
    value: Any = nested
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    if key in _FREE and isinstance(value, dict):
        return _bad_entry(key, value, place)
    default = _keys().get(key)
    near = nearest(value, choices(key)) if isinstance(value, str) else None
    suggestion = place.written(key, near or default) if near or default not in (None, "", {}) else ""
    return RecipeError(place.named(key), repr(value), takes(key) if key in _keys() else str(error), suggestion)


def _bad_entry(key: str, entries: dict[str, Any], place: Place) -> RecipeError:
    """Which of a user's own keys has a value that is not allowed."""
    hint = typing.get_args(_hint(key))[1]
    for name, value in entries.items():
        try:
            msgspec.convert(value, hint)
        except msgspec.ValidationError:
            words = list(typing.get_args(hint))
            near = nearest(value, words) if words and isinstance(value, str) else None
            name = f"{key}.{name}"
            return RecipeError(
                place.named(name), repr(value), _phrase([hint]), place.written(name, near) if near else ""
            )
    return RecipeError(place.named(key), repr(entries), "text as keys")


def takes(key: str) -> str:
    """What a key accepts, in words: ``a whole number >= 1, or auto``."""
    return _phrase(_alternatives(key))


def whole_numbers(key: str) -> bool:
    """Whether a key takes whole numbers as such, or anything (an argument of a network)."""
    hints = _alternatives(key)
    bases = [typing.get_args(hint)[0] if typing.get_origin(hint) is typing.Annotated else hint for hint in hints]
    return int in bases or bases == [None]


def choices(key: str) -> list[str]:
    """The words that a key takes, if it takes words but not any text."""
    alternatives = _alternatives(key)
    if str in alternatives:
        return []
    words = [
        word for hint in alternatives if typing.get_origin(hint) is typing.Literal for word in typing.get_args(hint)
    ]
    return [*words, *(("true", "false") if bool in alternatives else ())]


def _hint(key: str) -> Any:
    section, _, name = key.partition(".")
    holder: type = Recipe
    if name:
        holder = type(getattr(Recipe(), section, None))
    else:
        name = section
    return _hints(holder).get(name) if issubclass(holder, msgspec.Struct) else None


@functools.cache
def _hints(holder: type) -> dict[str, Any]:
    return typing.get_type_hints(holder, include_extras=True)


def _alternatives(key: str) -> list[Any]:
    hint = _hint(key)
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return list(typing.get_args(hint))
    return [hint]


def _phrase(alternatives: list[Any]) -> str:
    words: list[str] = []
    phrases: list[str] = []
    for hint in alternatives:
        if typing.get_origin(hint) is typing.Literal:
            words.extend(map(str, typing.get_args(hint)))
        elif hint is bool:
            words.extend(("true", "false"))
        else:
            phrases.append(_one(hint))
    if not phrases and len(words) > 2:
        return f"one of {', '.join(words)}"
    parts = [*phrases, *words]
    separator = ", or " if phrases else " or "
    return separator.join(part for part in (", ".join(parts[:-1]), parts[-1]) if part)


def _one(hint: Any) -> str:
    meta = None
    if typing.get_origin(hint) is typing.Annotated:
        hint, meta = typing.get_args(hint)
    origin = typing.get_origin(hint)
    if origin is list:
        return "a list of " + _one(typing.get_args(hint)[0]).removeprefix("a ").replace("number", "numbers")
    if origin is dict:
        entry = typing.get_args(hint)[1]
        return "keys with values" if entry is Any else f"keys with values, each {_phrase([entry])}"
    if hint is str:
        return "text"
    return {int: "a whole number", float: "a number"}.get(hint, str(hint)) + _range(meta)


def _range(meta: msgspec.Meta | None) -> str:
    if meta is None:
        return ""
    if meta.ge is not None and meta.le is not None and meta.le < 2**31:
        return f" from {meta.ge:g} to {meta.le:g}"
    signs = ((">=", meta.ge), (">", meta.gt), ("<=", meta.le), ("<", meta.lt))
    limits = [f"{sign} {limit:g}" for sign, limit in signs if limit is not None and abs(limit) < 2**31]
    return f" {' and '.join(limits)}" if limits else ""
