"""A space of recipes: keys with ranges, as they are written on the command line, and as numbers from 0 to 1.

::

    train.lr=1e-4..1@log                                  a range, on a logarithmic scale
    train.momentum=0.5..0.99@log1m                        logarithmic in 1 − value, for values near 1
    network.depth=1..4                                    whole numbers, where the key takes them
    train.batch_size=16,32,64                             a choice
    train.schedule=cosine                                 a constant
    "train.gamma=0.1..0.9 if train.schedule=step"         a key that counts only where another has one of these values
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

from netwright.errors import RecipeError, UsageError
from netwright.recipe import flat, from_dict, keys, to_dict
from netwright.recipe.reading import Place, choices, parse_value, takes, whole_numbers
from netwright.recipe.schema import Recipe
from netwright.records import Record

Scale = Literal["linear", "log", "log1m"]
SCALES = ("log", "log1m")
DIGITS = 4  # of a value that is drawn: a recipe that people can read, and two that differ beyond noise
FORM = "KEY=LOW..HIGH, KEY=LOW..HIGH@log, KEY=A,B,C or KEY=VALUE"
EXAMPLE = "train.lr=1e-4..1@log"
PLACE = Place(lambda key: f"--space {key}", lambda key, value: f"--space {key}={_form(key)}")


class Range(Record, frozen=True, kw_only=True):
    """What one key may be. ``choices``: these values alone (one: a constant); else from ``low`` to ``high``.

    ``condition``: a key and the values of it for which this one counts.
    """

    key: str
    low: float = 0.0
    high: float = 0.0
    choices: tuple[Any, ...] = ()
    integer: bool = False
    scale: Scale = "linear"
    condition: tuple[str, tuple[Any, ...]] | None = None

    @property
    def constant(self) -> bool:
        return len(self.choices) == 1 or (not self.choices and self.low == self.high)

    @property
    def ordered(self) -> bool:
        """Whether neighbours are alike: numbers are, names are not."""
        return all(isinstance(value, int | float) and not isinstance(value, bool) for value in self.choices)

    @property
    def text(self) -> str:
        """As it is written."""
        if self.choices:
            spec = ",".join(_word(value) for value in self.choices)
        else:
            spec = f"{self.low:.15g}..{self.high:.15g}" + (f"@{self.scale}" if self.scale != "linear" else "")
        if self.condition is None:
            return f"{self.key}={spec}"
        return f"{self.key}={spec} if {self.condition[0]}={','.join(_word(value) for value in self.condition[1])}"

    def value(self, unit: float) -> Any:
        """The value at ``unit`` in 0…1; equal lengths of it are equally much of the range on its scale."""
        unit = min(max(unit, 0.0), 1.0)
        if self.choices:
            return self.choices[min(int(unit * len(self.choices)), len(self.choices) - 1)]
        low, high = (self._scaled(edge) for edge in self._edges())
        plain = self._unscaled(low + unit * (high - low))
        return self.tidy(plain)

    def unit(self, value: Any) -> float:
        """Where ``value`` lies in 0…1; the middle of its own share for a choice."""
        if self.choices:
            place = self.choices.index(value) if value in self.choices else 0
            return (place + 0.5) / len(self.choices)
        low, high = (self._scaled(edge) for edge in self._edges())
        share = (self._scaled(float(value)) - low) / (high - low) if high > low else 0.5
        return min(max(share, 0.0), 1.0)

    def tidy(self, value: float) -> Any:
        """A drawn number, rounded to what a recipe shows, inside the range."""
        if self.integer:
            return int(min(max(round(value), self.low), self.high))
        rounded = 1 - float(f"{1 - value:.{DIGITS}g}") if self.scale == "log1m" else float(f"{value:.{DIGITS}g}")
        return float(f"{min(max(rounded, self.low), self.high):.12g}")

    def holds(self, value: Any) -> bool:
        if self.choices:
            return value in self.choices
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and self.low <= value <= self.high and (not self.integer or value == int(value))

    def _edges(self) -> tuple[float, float]:
        """Whole numbers get half a step to either side, so that each has its share."""
        if not self.integer:
            return self.low, self.high
        return self.low - 0.5, self.high + 0.5

    def _scaled(self, value: float) -> float:
        match self.scale:
            case "log":
                return math.log(max(value, 1e-300))
            case "log1m":
                return -math.log(max(1 - value, 1e-300))
            case _:
                return value

    def _unscaled(self, value: float) -> float:
        match self.scale:
            case "log":
                return math.exp(value)
            case "log1m":
                return 1 - math.exp(-value)
            case _:
                return value


class Space:
    """Ranges of keys over a recipe; those that others depend on come first."""

    def __init__(self, ranges: Iterable[Range], resolved: Recipe) -> None:
        """``resolved``: what the keys that are not in the space are."""
        self.base = flat(resolved)
        self.ranges = _in_order(list(ranges))
        self.named = {each.key: each for each in self.ranges}
        _require_possible(self)

    @property
    def searched(self) -> list[Range]:
        """Those with more than one value."""
        return [each for each in self.ranges if not each.constant]

    @property
    def texts(self) -> list[str]:
        return [each.text for each in self.ranges]

    @property
    def size(self) -> float:
        """How many recipes there are; ∞ where a range is continuous. Conditions are not counted."""
        total = 1.0
        for each in self.searched:
            if not each.choices and not each.integer:
                return math.inf
            total *= len(each.choices) or each.high - each.low + 1
        return total

    def active(self, each: Range, values: Mapping[str, Any]) -> bool:
        """Whether a key counts, given the values of those before it."""
        if each.condition is None:
            return True
        key, wanted = each.condition
        if key in self.named:
            return key in values and values[key] in wanted
        return self.base.get(key) in wanted

    def complete(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """The values of every key that counts: those of ``wanted``, else the recipe's own, else the middle."""
        values: dict[str, Any] = {}
        for each in self.ranges:
            if self.active(each, values):
                value = wanted.get(each.key, self.base.get(each.key))
                if not each.holds(value):
                    numeric = isinstance(value, int | float) and not each.choices and not isinstance(value, bool)
                    value = each.value(each.unit(value) if numeric else 0.5)
                values[each.key] = value
        return values

    def of_recipe(self) -> dict[str, Any] | None:
        """The recipe itself as a member of the space; None where it is none."""
        values = self.complete({})
        mine = all(values[key] == self.base.get(key) for key in values)
        return values if mine else None

    def __iter__(self) -> Iterator[Range]:
        return iter(self.ranges)


def parse(texts: Iterable[str], resolved: Recipe, default: Iterable[Range] = ()) -> Space:
    """The space of ``--space``; the word ``default`` stands for the ranges of ``default``, over which others rule."""
    ranges: dict[str, Range] = {}
    given: set[str] = set()
    for text in texts:
        if text.strip() == "default":
            ranges = {each.key: each for each in default} | ranges
            continue
        made = _parsed(text.strip(), resolved)
        if made.key in given:
            raise UsageError(f"--space {made.key}", "the key twice", "one range", made.text)
        given.add(made.key)
        ranges[made.key] = made
    return Space(ranges.values(), resolved)


# ------------------------------------------------------------------------------------------------ reading


def _parsed(text: str, resolved: Recipe) -> Range:
    body, _, condition = text.partition(" if ")
    key, equals, spec = (part.strip() for part in body.partition("="))
    if not equals or not key or not spec:
        raise UsageError("--space", repr(text), FORM, EXAMPLE)
    _require_key(key)
    bounds = re.fullmatch(r"(.+?)\.\.(.+?)(?:@(.+))?", spec)
    if bounds is None:
        if "@" in spec and takes(key) != "text":
            raise UsageError(f"--space {key}", repr(spec), "a scale behind a range, LOW..HIGH@log", EXAMPLE)
        made = Range(key=key, choices=_choices(key, spec))
    else:
        made = _bounded(key, *bounds.groups())
    for value in made.choices or (made.low, made.high):
        _require_allowed(key, int(value) if made.integer and not made.choices else value, resolved)
    if condition:
        other, equals, wanted = (part.strip() for part in condition.partition("="))
        if not equals:
            raise UsageError(f"--space {key}", f"if {condition}", "KEY=RANGE if OTHER=VALUE,VALUE")
        _require_key(other)
        values = _choices(other, wanted)
        for value in values:
            _require_allowed(other, value, resolved)
        made = Range(**{**{name: getattr(made, name) for name in made.__struct_fields__}, "condition": (other, values)})
    return made


def _bounded(key: str, first: str, last: str, scale: str | None) -> Range:
    where = f"--space {key}"
    if scale is not None and scale not in SCALES:
        raise UsageError(
            where, f"the scale {scale!r}", "log, or log1m (logarithmic in 1 − value)", f"{key}={first}..{last}@log"
        )
    low, high = (parse_value(key, word, where) for word in (first, last))
    for word, value in ((first, low), (last, high)):
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise UsageError(where, repr(word), "a number at either end of a range, or a choice: A,B,C")
    if low > high:
        raise UsageError(
            where, f"{first}..{last}, which is empty", "the smaller number first", f"{key}={last}..{first}"
        )
    integer = whole_numbers(key) and isinstance(low, int) and isinstance(high, int)
    if scale == "log" and low <= 0:
        raise UsageError(where, f"{first} on a logarithmic scale", "a lower end above 0", f"{key}=1e-6..{last}@log")
    if scale == "log1m" and high >= 1:
        raise UsageError(
            where, f"{last} on a scale of 1 − value", "an upper end below 1", f"{key}={first}..0.999@log1m"
        )
    return Range(key=key, low=low, high=high, integer=integer, scale=scale or "linear")  # type: ignore[arg-type]


def _choices(key: str, spec: str) -> tuple[Any, ...]:
    values = [parse_value(key, word.strip(), f"--space {key}") for word in spec.split(",")]
    if any(value == "" or value is None for value in values):
        raise UsageError(f"--space {key}", repr(spec), "values with commas between them", EXAMPLE)
    return tuple(dict.fromkeys(values))


def _require_key(key: str) -> None:
    if key not in keys() and not key.startswith("network.arguments."):
        from_dict({}, {key: 0}, changes=PLACE)  # says what it says of any unknown key
    if key in ("version", "seed", "name", "ignore") or key.startswith(("watch.", "data.")):
        raise UsageError(
            f"--space {key}", "a key that two trials have to share to be compared", "another key",
            f"--set {key}=VALUE, for all of them",
        )  # fmt: skip


def _require_allowed(key: str, value: Any, resolved: Recipe) -> None:
    if value == "auto":
        raise RecipeError(f"--space {key}", "auto", "values to choose from", f"--space {_around(key, resolved)}")
    from_dict(to_dict(resolved), {key: value}, changes=PLACE)


def _form(key: str) -> str:
    """What a range of a key looks like, where no value of it is known."""
    words = [word for word in choices(key) if word != "auto"] if key in keys() else []
    return "LOW..HIGH" if "number" in takes(key) or not words else ",".join(words)


def _around(key: str, resolved: Recipe) -> str:
    """A range around what the recipe has, for a hint."""
    now = flat(resolved).get(key)
    if isinstance(now, bool) or not isinstance(now, int | float) or now <= 0:
        return f"{key}={','.join(word for word in choices(key) if word != 'auto') or _word(now)}"
    if isinstance(now, int):
        return f"{key}={max(1, now // 2)}..{2 * now}"
    if now < 0.1:
        return f"{key}={now / 10:.3g}..{now * 10:.3g}@log"
    return f"{key}={now / 2:.3g}..{min(2 * now, 0.99):.3g}"


def _word(value: Any) -> str:
    return (
        str(value).lower() if isinstance(value, bool) else f"{value:.15g}" if isinstance(value, float) else str(value)
    )


# ------------------------------------------------------------------------------------------------ judging


def _in_order(ranges: list[Range]) -> list[Range]:
    """Keys behind those that they depend on."""
    left = {each.key: each for each in ranges}
    done: list[Range] = []
    while left:
        free = [each for each in left.values() if each.condition is None or each.condition[0] not in left]
        if not free:
            raise UsageError(
                "--space", f"{' and '.join(left)}, which depend on each other", "conditions without a circle"
            )
        done += free
        for each in free:
            del left[each.key]
    return done


def _require_possible(space: Space) -> None:
    """A space has something to search, and no key that never counts."""
    for each in space.ranges:
        if each.condition is None:
            continue
        key, wanted = each.condition
        other = space.named.get(key)
        possible = other is None and space.base.get(key) in wanted
        if other is not None:
            possible = any(other.holds(value) for value in wanted)
        if not possible:
            is_now = f"is {_word(space.base.get(key))}" if other is None else f"is searched in {other.text}"
            raise UsageError(
                f"--space {each.key}", f"if {key}={','.join(map(_word, wanted))}, and {key} {is_now}",
                "a condition that can hold", f"--space {key}={','.join(map(_word, wanted))}",
            )  # fmt: skip
    if not space.searched:
        got = "a space of one recipe" if space.ranges else "an empty space"
        raise UsageError("--space", got, "at least one key with more than one value", f"--space {EXAMPLE}")
