"""``netwright completion``."""

from __future__ import annotations

from typing import Annotated, Literal

from netwright.cli import printing
from netwright.cli.options import option

Shell = Literal["bash", "zsh", "fish"]


def completion(shell: Annotated[Shell, option("the shell", metavar="SHELL")], /) -> int:
    """Print the completion script of a shell.

    The script is static: completing starts no Python. Where it belongs:

      bash   ~/.local/share/bash-completion/completions/netwright
      zsh    _netwright in a folder of $fpath
      fish   ~/.config/fish/completions/netwright.fish
    """
    from netwright.cli.frozen import completions

    printing.line(completions(shell), end="")
    return 0
