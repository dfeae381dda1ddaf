"""The command ``netwright``, also as ``python -m netwright``."""

import gc
import sys

from netwright.cli.main import main


def command() -> int:
    """Run the command line of this process, which ends afterwards."""
    code = main()
    gc.freeze()  # the end of Python looks for cycles several times over: a second and more with PyTorch's objects
    return code


if __name__ == "__main__":
    sys.exit(command())
