"""The examples do what their first line says."""

from pathlib import Path

import pytest

import warm

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
COMMANDS = {
    "own_network.py": ["-m", "netwright", "train", "digits", "--network", f"{EXAMPLES / 'own_network.py'}:Narrow"],
    "two_inputs.py": [str(EXAMPLES / "two_inputs.py")],
}


def test_every_example_is_run() -> None:
    """Those of findings are run by tests/test_findings.py."""
    assert {path.name for path in EXAMPLES.glob("*.py")} == {*COMMANDS, "findings.py"}


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_an_example_runs(name: str, tmp_path: Path) -> None:
    more = ["--epochs", "2", "--set", "network.arguments.width=4"] if name == "own_network.py" else []
    done = warm.python([*COMMANDS[name], *more], tmp_path, timeout=200, NETWRIGHT_CACHE=str(tmp_path / "cache"))
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "runs").glob("*/report.html"))
