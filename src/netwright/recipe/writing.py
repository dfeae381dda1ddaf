"""Writing recipes: YAML that reads back to the same value, and the commented recipe of ``netwright init``. No torch.

What a key means is said once, in the comment beside it in ``recipe/schema.py``; everything that explains keys
(``init``, ``list keys``, the help of flags) reads it from there.
"""

from __future__ import annotations

import ast
import functools
import io
import tokenize
from pathlib import Path
from typing import Any

import yaml

from netwright.recipe import schema
from netwright.recipe.comparing import flat
from netwright.recipe.reading import FLOAT, choices, to_dict
from netwright.recipe.schema import Recipe, Section

WIDTH = 120
_COLUMN = 30  # where comments begin


class Dumper(yaml.SafeDumper):
    """Quotes every text that some reader of YAML would take for something else (a run named ``1e-3``)."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_str(self, data: str) -> yaml.ScalarNode:
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=None if data.isprintable() else '"')


Dumper.add_representer(str, Dumper.represent_str)
Dumper.yaml_implicit_resolvers = {
    first: list(pairs) for first, pairs in yaml.SafeDumper.yaml_implicit_resolvers.items()
}
Dumper.add_implicit_resolver("tag:yaml.org,2002:float", FLOAT, list("-+0123456789."))


def dump(recipe: Recipe) -> str:
    """The recipe as YAML; ``reading.load`` gives an equal one back."""
    text = yaml.dump(
        to_dict(recipe), Dumper=Dumper, sort_keys=False, allow_unicode=True, default_flow_style=False, width=WIDTH
    )
    return str(text)


# ------------------------------------------------------------------------------------------------ explaining


@functools.cache
def meanings() -> dict[str, str]:
    """Each key's one-line meaning, ``{"train.clip": "largest gradient norm; 0: not clipped", ...}``."""
    source = Path(schema.__file__).read_text(encoding="utf-8")
    comments = {
        token.start[0]: token.string.lstrip("# ").rstrip()
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    sections = {type(value).__name__: name for name, value in _sections().items()} | {"Recipe": ""}
    found: dict[str, str] = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef) and node.name in sections:
            prefix = f"{sections[node.name]}." if sections[node.name] else ""
            for field in node.body:
                if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                    found[prefix + field.target.id] = comments.get(field.end_lineno or 0, "")
    return {key: found.get(key, "") for key in flat(Recipe())}


def _sections() -> dict[str, Section]:
    defaults = Recipe()
    values = {name: getattr(defaults, name) for name in Recipe.__struct_fields__}
    return {name: value for name, value in values.items() if isinstance(value, Section)}


def commented(recipe: Recipe | None = None) -> str:
    """Every key with its value (its default, if no recipe is given), its meaning and the words that it takes."""
    values = flat(recipe or Recipe())
    lines = [
        "# A recipe of netwright: everything that decides a run. Train it with:  netwright train THIS-FILE",
        "# Keys may be left out; `auto` is chosen from the data's type, shape, number of examples and classes.",
        "",
    ]
    here = ""
    for key, value in values.items():
        section, _, name = key.rpartition(".")
        if section != here:
            lines += ["", *([f"{section}:  # {_first_line(section)}"] if section else [])]
            here = section
        lines += _entry(name, value, _explained(key), "  " if section else "")
    return "\n".join(lines) + "\n"


def _first_line(section: str) -> str:
    return str(type(_sections()[section]).__doc__).splitlines()[0]


def _explained(key: str) -> str:
    words = [word for word in choices(key) if word not in ("true", "false", "python")]
    return meanings()[key] + (f" ({', '.join(words)})" if len(words) > 1 else "")


def _entry(name: str, value: Any, comment: str, indent: str) -> list[str]:
    text = yaml.dump(
        {name: value}, Dumper=Dumper, allow_unicode=True, default_flow_style=True, sort_keys=False, width=10**9
    )
    entry = indent + text.rstrip("\n")[1:-1]
    line = f"{entry.ljust(_COLUMN)}  # {comment}"
    return [line] if len(line) <= WIDTH else [f"{indent}# {comment}", entry]
