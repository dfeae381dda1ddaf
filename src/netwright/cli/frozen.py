"""The frozen texts of help and completion: ``python -m netwright.cli.frozen`` writes ``cli/pages`` anew.

``netwright --help`` then costs as much as starting Python; a test compares the pages with what they are made from.
"""

from __future__ import annotations

import functools
import io
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from netwright.cli.main import PAGE_WIDTH, VERBS, application

if TYPE_CHECKING:
    from cyclopts import App

PAGES = Path(__file__).parent / "pages"
ZSH_END = """

if [ "$funcstack[1]" = "_netwright" ]; then
  _netwright "$@"
else
  compdef _netwright netwright
fi
"""
SHELLS: tuple[Literal["bash", "zsh", "fish"], ...] = ("bash", "zsh", "fish")


def pages() -> dict[str, str]:
    """Each page's name and text."""
    texts = {"netwright.txt": help_of()} | {f"{verb}.txt": help_of(verb) for verb in VERBS}
    return texts | {f"completion.{shell}": completions(shell) for shell in SHELLS}


@functools.cache
def _all_verbs() -> App:
    app = application()
    for name in VERBS:
        app[name]  # imports the verb, whose docstring says what it does
    return app


def help_of(verb: str = "", width: int = PAGE_WIDTH) -> str:
    from rich.console import Console

    stream = io.StringIO()
    console = Console(file=stream, width=width, no_color=True, highlight=False)
    _all_verbs().help_print([verb] if verb else [], console=console)
    text = "\n".join(line.rstrip() for line in stream.getvalue().splitlines()).strip() + "\n"
    while "\n\n\n" in text:
        text = text.replace("\n\n\n", "\n\n")
    return text


def completions(shell: Literal["bash", "zsh", "fish"]) -> str:
    script = _all_verbs().generate_completion(shell=shell)
    if shell == "bash":  # where an option or argument takes a file, bash's own completion of files steps in
        script = script.replace("complete -F", "complete -o default -F")
    if shell == "zsh":  # works from a folder of $fpath under the usual name, and when it is sourced
        script = script.replace("_cyclopts_netwright", "_netwright").rstrip() + ZSH_END
    return "\n".join(line.rstrip() for line in script.splitlines()).strip() + "\n"


def write(folder: Path = PAGES) -> None:
    folder.mkdir(exist_ok=True)
    for name, text in pages().items():
        (folder / name).write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    write()
