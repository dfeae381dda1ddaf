"""Weights of elsewhere: what fits is taken, what is of another network stops."""

from __future__ import annotations

import pickle
import re
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from torch import nn

from netwright.errors import NetworkError, NetwrightError
from netwright.nn import keeping, matching, weights
from netwright.records import NetworkFile

FAMILIES = {
    "mlp": (8,), "lenet5": (1, 28, 28), "small_resnet": (1, 16, 16), "small_resnet1d": (2, 64), "lstm": (2, 9),
    "gru": (2, 9), "transformer": (2, 9), "resnet20_cifar": (3, 32, 32),
}  # fmt: skip


def _built(name: str, outputs: int, **arguments: object) -> nn.Module:
    record = NetworkFile(kind="zoo", name=name, arguments=arguments, input_shape=FAMILIES[name], outputs=outputs)
    return keeping.build(record)


@pytest.mark.parametrize("name", FAMILIES)
def test_everything_below_a_new_last_layer_is_taken_over(name: str) -> None:
    source, target = _built(name, 3), _built(name, 5)
    before = {key: tensor.clone() for key, tensor in target.state_dict().items()}
    found = matching.match(source.state_dict(), target, "weights")
    matching.load(target, found)
    head = matching.head_names(target)
    for key, tensor in target.state_dict().items():
        wanted = before[key] if key in head else source.state_dict()[key]
        assert torch.equal(tensor, wanted), key
    assert set(found.new) == head
    assert found.how == "name"


@pytest.mark.parametrize("wrapper", ["", "module.", "_orig_mod.", "module.model."])
@pytest.mark.parametrize("inside", [None, "state_dict", "model", "model_state_dict"])
def test_files_of_the_usual_kinds_are_read(tmp_path: Path, wrapper: str, inside: str | None) -> None:
    network = _built("lenet5", 3)
    state: dict[str, object] = {wrapper + name: tensor for name, tensor in network.state_dict().items()}
    torch.save({inside: state, "epoch": 3, "lr": 0.1} if inside else OrderedDict(state), tmp_path / "state.pt")
    other = _built("lenet5", 3)
    matching.load(other, matching.match(matching.read(tmp_path / "state.pt"), other, "state.pt"))
    assert all(
        torch.equal(a, b) for a, b in zip(network.state_dict().values(), other.state_dict().values(), strict=True)
    )


def test_safetensors_are_read_whatever_their_ending(tmp_path: Path) -> None:
    network = _built("mlp", 2)
    weights.save(network.state_dict(), tmp_path / "weights.bin")
    assert matching.read(tmp_path / "weights.bin").keys() == network.state_dict().keys()


def test_other_names_are_matched_by_order_and_shape() -> None:
    source, target = _built("small_resnet", 4), _built("small_resnet", 7)
    renamed = {f"trunk.{place}": tensor for place, tensor in enumerate(source.state_dict().values())}
    found = matching.match(renamed, target, "weights")
    assert found.how == "order"
    matching.load(target, found)
    head = matching.head_names(target)
    assert all(
        torch.equal(tensor, source.state_dict()[name])
        for name, tensor in target.state_dict().items() if name not in head and not name.endswith("batches_tracked")
    )  # fmt: skip


class _Deeper(nn.Module):
    def __init__(self, layers: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(nn.Linear(6, 6) for _ in range(layers)))
        self.head = nn.Linear(6, 2)


def test_weights_of_a_deeper_network_are_not_taken_for_ours() -> None:
    with pytest.raises(NetworkError, match=re.escape("layers.2.weight")):
        matching.match(_Deeper(3).state_dict(), _Deeper(2), "state.pt")


def test_weights_of_a_shallower_network_do_not_fill_ours() -> None:
    with pytest.raises(NetworkError, match=re.escape("no weights for layers.2.weight")):
        matching.match(_Deeper(2).state_dict(), _Deeper(3), "state.pt")


def test_another_network_stops_with_what_both_are() -> None:
    with pytest.raises(NetworkError, match="weights of another network"):
        matching.match(_built("mlp", 2).state_dict(), _built("lenet5", 2), "state.pt")


def test_another_width_names_the_tensor_and_both_shapes() -> None:
    with pytest.raises(NetworkError, match="128×8") as caught:
        matching.match(_built("mlp", 2, width=64).state_dict(), _built("mlp", 2), "state.pt")
    assert "64×8" in str(caught.value)


class _Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.touch, (Path("touched-by-a-pickle"),))  # type: ignore[return-value]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK\x03\x04 not a zip",
        b"\x80\x04 not a pickle",
        b"hello",
        b"\x08\0\0\0\0\0\0\0{broken}",
        pickle.dumps(_Evil()),
    ],
)
def test_files_that_are_no_weights_stop_and_run_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "state.pt").write_bytes(content)
    with pytest.raises(NetwrightError) as caught:
        matching.read(tmp_path / "state.pt")
    assert str(tmp_path / "state.pt") in str(caught.value)
    assert not Path("touched-by-a-pickle").exists()


def test_a_pickled_network_is_refused_with_the_way_out(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2), tmp_path / "whole.pt")
    with pytest.raises(NetworkError, match="only code can build") as caught:
        matching.read(tmp_path / "whole.pt")
    assert "state_dict" in str(caught.value)


@pytest.mark.parametrize("value", [{}, {"epoch": 1}, [torch.zeros(2)], {"model": {"a": 1}}])
def test_checkpoints_without_weights_say_what_they_hold(value: object) -> None:
    with pytest.raises(NetworkError, match="names with tensors"):
        matching.tensors(value, "state.pt")
