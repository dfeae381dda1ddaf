"""``netwright watch SCRIPT``: the script runs as alone, and what was found is told beside its own output."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import warm
from netwright.cli.main import _passed_on
from netwright.watching import script as scripts

SCRIPT = """
import argparse, sys
import torch, torch.nn as nn, torch.nn.functional as F

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, x):
        return self.second(F.relu(self.first(x)))

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", default="no")
    parser.add_argument("--kept", action="store_true")
    parser.add_argument("--end", default="")
    asked = parser.parse_args()
    torch.manual_seed(0)
    network = Net()
    optimizer = torch.optim.SGD(network.parameters(), 0.05)
    inputs = torch.randn(64, 6)
    targets = inputs[:, :3].argmax(1)
    for step in range(40):
        if not asked.kept:
            optimizer.zero_grad()
        loss = F.cross_entropy(network(inputs), targets)
        loss.backward()
        optimizer.step()
    print(repr(sum(p.double().sum().item() for p in network.parameters())), asked.json, sys.argv[1:])
    if asked.end == "error":
        raise ValueError("planted")
    if asked.end:
        sys.exit(int(asked.end))
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "train.py"
    path.write_text(SCRIPT)
    return path


def command(*words: str) -> subprocess.CompletedProcess[str]:
    return warm.python(words, Path.cwd(), timeout=120, OMP_NUM_THREADS="1")


def test_output_and_exit_code_are_the_scripts(script: Path) -> None:
    alone = command(str(script), "--json", "yes", "--end", "7")
    watched = command("-m", "netwright", "watch", str(script), "--json", "yes", "--end", "7")
    assert watched.stdout == alone.stdout
    assert "--json" in alone.stdout  # its arguments are its own
    assert (alone.returncode, watched.returncode) == (7, 7)
    assert "Net, 40 steps" in watched.stderr


def test_json_is_one_document_and_the_script_speaks_on_stderr(script: Path) -> None:
    watched = command("-m", "netwright", "watch", "--json", str(script), "--kept")
    found = json.loads(watched.stdout)
    assert found["networks"][0]["steps"] == 40
    assert found["exit_code"] == watched.returncode == 0
    assert "['--kept']" in watched.stderr


def test_an_error_in_the_script_is_printed_as_python_does(script: Path) -> None:
    watched = command("-m", "netwright", "watch", str(script), "--end", "error")
    assert watched.returncode == 1
    assert "ValueError: planted" in watched.stderr
    assert "runpy" not in watched.stderr
    assert "Net, 40 steps" in watched.stderr


def test_what_was_seen_of_a_script(script: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = scripts.run(script, ["--kept"])
    assert code == 0
    assert sys.argv[0] != str(script)
    (watch,) = found.watches
    watch.diagnosis()
    seen = watch.observations
    assert seen.network is not None
    assert [layer.name for layer in seen.network.layers] == ["first", "relu_1", "second"]
    assert min(seen.series.get("gradients-kept").finite) == 1
    assert seen.optimizer is not None
    assert seen.optimizer.kind == "SGD"
    assert torch.optim.Optimizer.__init__.__name__ == "__init__"


@pytest.mark.parametrize(
    ("given", "passed"),
    [
        (["watch", "a.py", "--json"], ["watch", "--", "a.py", "--json"]),
        (["watch", "--json", "a.py", "-h"], ["watch", "--json", "--", "a.py", "-h"]),
        (["watch", "--fail-on", "error", "a.py", "x"], ["watch", "--fail-on", "error", "--", "a.py", "x"]),
        (["watch", "--help"], ["watch", "--help"]),
        (["train", "digits", "--json"], ["train", "digits", "--json"]),
    ],
)
def test_what_follows_the_script_is_its_own(given: list[str], passed: list[str]) -> None:
    assert _passed_on(given) == passed


def test_owners_of_parameters() -> None:
    inner = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    outer = nn.Sequential(inner, nn.Linear(3, 1))
    assert scripts.owner_of(list(inner.parameters())) is inner[0]  # the smallest that has them all
    assert scripts.owner_of(list(outer.parameters())) is outer
    other = nn.Linear(2, 2)
    both = scripts.owner_of([*outer.parameters(), *other.parameters()])
    assert isinstance(both, nn.ModuleList)
    assert {id(module) for module in both} == {id(outer), id(other)}
    assert scripts.owner_of([torch.zeros(1, requires_grad=True)]) is None


def test_no_such_script(tmp_path: Path) -> None:
    watched = command("-m", "netwright", "watch", str(tmp_path / "none.py"))
    assert watched.returncode == 2
    assert "none.py" in watched.stderr
