"""The layout of help: a line of usage, what the verb does, and its options in two columns."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cyclopts.help import HelpEntry, HelpPanel
    from rich.console import Console, ConsoleOptions

LABELS = 26  # columns of an option's name; a longer one has a line of its own
MOST = 100  # columns of a page


class Pages:
    """Renders help without frames, so that it can be piped, searched and read aloud."""

    def __call__(self, console: Console, options: ConsoleOptions, panel: HelpPanel) -> None:
        if not panel.entries:
            return
        lines = [f"{panel.title}:"] if panel.title else []
        for entry in panel.entries:
            lines += self._entry(entry, min(console.width, MOST))
        self._print(console, "\n".join(lines) + "\n")

    def render_usage(self, console: Console, options: ConsoleOptions, usage: Any) -> None:
        text = _plain(usage)
        if text:
            self._print(console, text + "\n")

    def render_description(self, console: Console, options: ConsoleOptions, description: Any) -> None:
        paragraphs = _plain(description).split("\n\n")
        text = "\n\n".join(_wrapped(paragraph, min(console.width, MOST)) for paragraph in paragraphs)
        if text:
            self._print(console, text + "\n")

    def _entry(self, entry: HelpEntry, width: int) -> list[str]:
        label = self._label(entry)
        words = _plain(entry.description)
        if entry.choices and words:
            words += f" ({', '.join(entry.choices)})"
        text = textwrap.wrap(words, max(20, width - LABELS - 4)) or [""]
        if len(label) > LABELS:
            return [f"  {label}", *(f"{'':{LABELS + 4}}{line}" for line in text)]
        first = f"  {label:<{LABELS}}  {text[0]}".rstrip()
        return [first, *(f"{'':{LABELS + 4}}{line}" for line in text[1:])]

    def _label(self, entry: HelpEntry) -> str:
        names = [*entry.positive_names, *entry.positive_shorts]
        if entry.positional_label and not any(name.startswith("-") for name in names):
            return entry.positional_label
        return " ".join(part for part in (", ".join(names), entry.metavar or "") if part)

    def _print(self, console: Console, text: str) -> None:
        console.print(text, highlight=False, markup=False, emoji=False, soft_wrap=True)


def _wrapped(paragraph: str, width: int) -> str:
    """A paragraph at this width; one that is indented is an example, and stays."""
    return paragraph if paragraph.startswith(" ") else textwrap.fill(" ".join(paragraph.split()), width)


def _plain(value: Any) -> str:
    if value is None:
        return ""
    text = getattr(value, "plain", None)
    if text is None and hasattr(value, "primary_renderable"):
        text = _plain(value.primary_renderable)
    return str(text if text is not None else value).rstrip()
