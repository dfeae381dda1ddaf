"""TorchScript files whose trace made a number of examples a constant."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from netwright.export import package, torchscript


class Numbered(nn.Module):
    """What is hidden at the last word of each text, by an index whose length is written down while tracing."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(9, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.embedding(x)[torch.arange(len(x)), (x != 0).sum(1) - 1]


@pytest.mark.parametrize("size", [1, 2, 3, 8])
def test_a_file_of_one_example_answers_each_as_it_is_alone(size: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    texts = np.random.default_rng(0).integers(1, 9, (8, 5))
    texts[2, 3:] = texts[5, 1:] = 0
    made = package.package(Numbered(), [texts])
    session = torchscript.Runtime(torchscript.write(made, tmp_path))
    assert made.notes == [torchscript.ONE]
    with torch.no_grad():
        expected = made.network(torch.from_numpy(texts[:size])).numpy()
    for _ in range(2):  # as it is learned, and as it is known
        assert np.allclose(session.run(texts[:size]), expected)


def test_a_file_of_any_batch_is_asked_for_many_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    made = package.package(nn.Linear(3, 2), [pictures])
    session = torchscript.Runtime(torchscript.write(made, tmp_path))
    asked: list[int] = []
    real = torchscript._asked
    monkeypatch.setattr(torchscript, "_asked", lambda to, inputs: asked.append(len(inputs[0])) or real(to, inputs))
    for _ in range(3):
        session.run(pictures)
    assert asked == [4, 1, 1, 1, 1, 4, 4]
    assert made.notes == []
