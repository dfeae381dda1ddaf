"""Where an error rose, in the user's own code."""

from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

import pytest
import torch

from netwright.errors import inside, users_line
from netwright.graph.tracing import trace
from netwright.nn.zoo import NETWORKS


@pytest.mark.parametrize(
    ("filename", "folder", "expected"),
    [
        (r"C:\site-packages\netwright\graph\tracing.py", PureWindowsPath(r"C:\site-packages\netwright"), True),
        (r"c:\Site-Packages\netwright\errors.py", PureWindowsPath(r"C:\site-packages\netwright"), True),
        (r"C:\work\netwright_mine\net.py", PureWindowsPath(r"C:\work\netwright"), False),
        ("/lib/netwright/graph/tracing.py", PurePosixPath("/lib/netwright"), True),
        ("/lib/netwright2/net.py", PurePosixPath("/lib/netwright"), False),
        ("/home/netwright/net.py", PurePosixPath("/lib/netwright"), False),
    ],
)
def test_a_file_lies_in_a_folder_by_the_rules_of_its_system(filename: str, folder: Any, expected: bool) -> None:
    assert inside(filename, [folder]) == expected


def test_the_line_is_the_users_and_not_pytorchs() -> None:
    class Network(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.linear(x, torch.zeros(3, 5))  # the line

    with pytest.raises(RuntimeError) as caught:
        Network()(torch.zeros(1, 4))
    line = users_line(caught.value)
    assert line.startswith(f"{__file__}:")
    assert line.endswith("# the line")
    with pytest.raises(ValueError) as ours:  # raised inside of netwright, called from here
        trace(torch.nn.Linear(3, 3), "nothing")
    assert users_line(ours.value).endswith('trace(torch.nn.Linear(3, 3), "nothing")')


def test_networks_by_name_are_the_users() -> None:
    network = NETWORKS["lenet5"]((1, 28, 28), 10)
    with pytest.raises(RuntimeError) as caught:
        network(torch.zeros(1, 7, 28, 28))
    assert "lenet.py:" in users_line(caught.value)
    assert users_line(ValueError("never raised")) == ""
