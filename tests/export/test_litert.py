"""LiteRT files of one example, asked for several at once."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from netwright.export import litert


class Planted:
    """LiteRT's interpreter with a file of one example: ``answer`` gets all rows that were handed in."""

    def __init__(self, answer: Any) -> None:
        self.answer, self.batch, self.asked = answer, 1, []

    def get_signature_list(self) -> dict[str, Any]:
        return {"serving_default": {"inputs": ["args_0"]}}

    def get_signature_runner(self, name: str) -> Any:
        class Runner:
            def get_input_details(self) -> dict[str, Any]:
                return {"args_0": {"index": 0}}

        return Runner()

    def get_input_details(self) -> list[dict[str, Any]]:
        return [{"index": 0, "shape": np.array([self.batch, 3]), "quantization": (0.0, 0), "dtype": np.float32}]

    def get_output_details(self) -> list[dict[str, Any]]:
        return [{"index": 1, "shape": self.answer(np.zeros((self.batch, 3))).shape, "quantization": (0.0, 0)}]

    def resize_tensor_input(self, index: int, shape: list[int]) -> None:
        self.batch = shape[0]

    def allocate_tensors(self) -> None: ...

    def set_tensor(self, index: int, value: Any) -> None:
        assert len(value) == self.batch
        self.value = value
        self.asked.append(len(value))

    def invoke(self) -> None: ...

    def get_tensor(self, index: int) -> Any:
        return self.answer(self.value)


# What the file does, by whether it says of many what it says of each. The second is a residual block whose shortcut is
# a slice that was written for one example; the third answers one example only.
FILES = [(lambda x: 2 * x, True), (lambda x: x + x[:1], False), (lambda x: 2 * x[:1], False)]


@pytest.mark.parametrize(("answer", "widens"), FILES)
def test_many_examples_at_once_are_what_each_is_alone(
    answer: Any, widens: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Planted] = []

    def planted(self: litert.Runtime, **_: Any) -> Planted:
        opened.append(Planted(answer))
        return opened[-1]

    monkeypatch.setattr(litert.Runtime, "_open", planted)
    session = litert.Runtime(Path("model.tflite"))
    examples = np.random.default_rng(0).normal(size=(12, 3)).astype(np.float32)
    for start, stop in ((0, 8), (8, 12), (0, 1)):
        expected = np.concatenate([answer(row[None]) for row in examples[start:stop]])
        assert np.array_equal(session.run(examples[start:stop]), expected)
    asked = [size for each in opened for size in each.asked]
    assert (4 in asked) is widens  # once it is known to be right, many are asked at once, and not otherwise
