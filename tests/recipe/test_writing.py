"""What is written reads back to the same value, whatever it holds; the commented recipe says every key."""

import typing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from netwright.codes import CODES
from netwright.recipe import Recipe, difference, flat, from_dict, keys, load, override, reading, writing
from netwright.recipe.defaults import resolve
from netwright.records import DataFacts
from netwright.runs import dump_recipe

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
# Texts that some reader of YAML takes for something else.
TRAPS = [
    "1e-3",
    "010",
    "1_0",
    "12:30",
    "on",
    "no",
    "~",
    "null",
    "2024-05-01",
    "0x1f",
    ".5",
    "- a",
    "a: b",
    "#",
    "'",
    "!x",
    "=",
    "<<",
    "1e5",
    "",
    "\x85",
    "a\u2028b",
    "a\r\nb",
    " x ",
]
TEXT = st.text() | st.sampled_from(TRAPS)


def values(hint: Any) -> st.SearchStrategy[Any]:
    """Every value of a key's type."""
    meta = None
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        hint, meta = arguments
        origin = typing.get_origin(hint)
    if origin is typing.Literal:
        return st.sampled_from(arguments)
    if origin is list:
        return st.lists(values(arguments[0]), max_size=3)
    if origin is dict:
        return st.dictionaries(TEXT, PLAIN if arguments[1] is Any else values(arguments[1]), max_size=3)
    if hint is bool:
        return st.booleans()
    if hint is str:
        return TEXT
    meta = meta or msgspec.Meta()
    low = meta.ge if meta.ge is not None else meta.gt
    high = meta.le if meta.le is not None else meta.lt
    if hint is int:
        return st.integers(-(2**53) if low is None else int(low), 2**53 if high is None else int(high))
    limits = {"exclude_min": meta.gt is not None, "exclude_max": meta.lt is not None}
    return st.floats(low, high, allow_nan=False, allow_infinity=False, **limits)


SILENCED = st.dictionaries(st.sampled_from(CODES), TEXT.filter(str.strip), max_size=3)
RECIPES = st.fixed_dictionaries(
    {},
    optional={key: st.one_of(*map(values, reading._alternatives(key))) for key in keys() if key != "version"}
    | {"ignore": SILENCED},
).map(lambda changes: override(Recipe(), changes))


SLOW = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@SLOW
@given(recipe=RECIPES)
def test_reading_undoes_writing(tmp_path: Path, recipe: Recipe) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(writing.dump(recipe), encoding="utf-8")
    again = load(path)
    assert again == recipe
    assert difference(recipe, again) == {}
    assert writing.dump(again) == writing.dump(recipe)


@pytest.mark.parametrize("text", TRAPS)
def test_a_run_keeps_texts_that_look_like_something_else(text: str) -> None:
    recipe = override(Recipe(), {"name": text, "network.arguments": {"k": text, text: 1}})
    assert from_dict(reading.parse_yaml(dump_recipe(recipe), "")) == recipe


@SLOW
@given(recipe=RECIPES)
def test_the_commented_recipe_reads_back_too(tmp_path: Path, recipe: Recipe) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(writing.commented(recipe), encoding="utf-8")
    assert load(path) == recipe


@settings(max_examples=40, deadline=None)
@given(
    task=st.sampled_from(["classification", "multi-label", "regression"]),
    kind=st.sampled_from(["image", "table", "series", "array"]),
    examples=st.integers(1, 10**6),
    outputs=st.integers(1, 1000),
)
def test_a_resolved_recipe_is_fixed(task: Any, kind: Any, examples: int, outputs: int) -> None:
    """Resolving twice changes nothing, and what facts decide is decided."""
    shape = {"image": (3, 32, 32), "table": (12,), "series": (1, 8000), "array": (5, 6)}[kind]
    facts = DataFacts(kind=kind, task=task, input_shape=shape, examples=examples, outputs=outputs)
    resolved = resolve(Recipe(), facts)
    assert resolve(resolved, facts) == resolved
    measured_or_read = {"train.layout", "train.device"} | {key for key in keys() if key.startswith("data.")}
    assert {key for key, value in flat(resolved).items() if value == "auto"} <= measured_or_read
    assert reading.from_dict(reading.parse_yaml(writing.dump(resolved), "")) == resolved


def test_a_written_recipe_means_the_same_to_other_readers() -> None:
    """Texts stay texts for a YAML 1.1 reader as well."""
    import yaml

    for text in TRAPS:
        assert yaml.safe_load(writing.dump(override(Recipe(), {"name": text})))["name"] == text


def test_every_key_has_a_meaning_and_a_type_in_words() -> None:
    assert set(writing.meanings()) == set(keys())
    assert [key for key, meaning in writing.meanings().items() if not meaning] == []
    for key in keys():
        assert "typing" not in reading.takes(key), key
        assert "<" not in reading.takes(key).replace("< 1", "").replace("<= ", ""), key


def test_the_commented_recipe_is_the_default(tmp_path: Path) -> None:
    text = writing.commented()
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    assert load(path) == Recipe()
    for key, meaning in writing.meanings().items():
        name = key.rpartition(".")[2]
        assert any(line.strip().startswith(f"{name}:") for line in text.splitlines()), key
        assert meaning in text


def test_a_recipe_is_a_value() -> None:
    recipe = Recipe()
    for target, name in ((recipe, "seed"), (recipe.train, "epochs"), (recipe.data, "source")):
        with pytest.raises(AttributeError):
            setattr(target, name, 3)
    with pytest.raises(AttributeError):
        recipe.train.epoch = 3  # type: ignore[attr-defined]
    changed = override(recipe, {"train.epochs": 3})
    assert recipe.train.epochs == "auto"
    assert changed != recipe
    assert override(changed, {"train.epochs": "auto"}) == recipe
    assert "epochs=3" in repr(changed)
    assert msgspec.structs.asdict(Recipe()).keys() == msgspec.structs.asdict(recipe).keys()


def test_difference_shows_both_values_in_the_order_of_the_schema() -> None:
    one = override(Recipe(), {"train.lr": 0.1, "seed": 1})
    other = override(Recipe(), {"train.lr": 0.2, "network.arguments": {"k": 1}})
    assert difference(one, other) == {"seed": (1, 0), "network.arguments": ({}, {"k": 1}), "train.lr": (0.1, 0.2)}
    assert list(difference(one, other)) == ["seed", "network.arguments", "train.lr"]
    assert difference(one, one) == {}
