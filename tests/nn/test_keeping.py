"""How networks are kept: by name, by file, by instance; and who is trusted."""

from pathlib import Path

import msgspec
import pytest
import torch
from torch import nn

from netwright.errors import NetworkError, RunError
from netwright.nn import keeping, weights

SOURCE = """import torch
def make(width=3):
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, width))
Number = int
count = 3
class Base(torch.nn.Module):
    def __init__(self, width):
        super().__init__()
        self.layer = torch.nn.Linear(4, width)
class Broken(Base):
    def __init__(self):
        super().__init__("wide")
class Leaves(torch.nn.Module):
    def __init__(self):
        raise SystemExit(0)
class Other:
    pass
"""


def describe(name: str, **arguments: object):  # type: ignore[no-untyped-def]
    return keeping.describe(name, (1, 2, 2), 3, width="auto", depth="auto", dropout="auto", arguments=arguments)


def test_a_file_is_imported_with_its_arguments(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(SOURCE)
    record = describe(f"{tmp_path / 'mine.py'}:make", width=5)
    assert keeping.build(record)(torch.zeros(1, 1, 2, 2)).shape == (1, 5)


def test_a_file_that_changed_since_the_run_needs_trust(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(SOURCE)
    record = describe(f"{tmp_path / 'mine.py'}:make")
    (tmp_path / "mine.py").write_text(SOURCE + "\n# changed\n")
    with pytest.raises(NetworkError, match="changed since the run"):
        keeping.build(record)
    with pytest.raises(NetworkError, match="changed since the run"):  # whoever wrote the record left the hash out
        keeping.build(msgspec.structs.replace(record, source_sha256=""))
    assert keeping.build(record, trust=True) is not None


def test_a_module_of_a_package() -> None:
    record = keeping.describe(
        "torch.nn:Linear", (4,), 2, width="auto", depth="auto", dropout="auto",
        arguments={"in_features": 4, "out_features": 2},
    )  # fmt: skip
    assert isinstance(keeping.build(record), nn.Linear)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("mine.py:mak", "Try: make"),
        ("mine.py:Number", "torch.nn.Module"),
        ("mine.py:count", "got int count in mine.py.*Try: Base, Broken, Leaves$"),
        ("mine.py", "got a file without.*expected mine.py:Base, mine.py:Broken, mine.py:Leaves. Try: mine.py:Leaves"),
        ("absent.py", "no such file"),
        ("mine.py:Base", r"missing a required argument: 'width'.*\(width\).*arguments.width=VALUE"),
        ("mine.py:Broken", r"TypeError.*; at .*mine.py:9: self.layer = torch.nn.Linear\(4, width\)"),
        ("mine.py:Leaves", r"SystemExit: 0; at .*mine.py:15: raise SystemExit\(0\)"),
        ("none.py:make", "no file"),
        ("no_such_module_here:make", "no module"),
        ("mine.py:1x", "file.py:Name"),
        ("broken.py:make", "SyntaxError"),
        ("lenet6", "Try: lenet5"),
    ],
)
def test_wrong_names_are_errors_with_a_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(SOURCE)
    Path("broken.py").write_text("def make(:\n")
    with pytest.raises(NetworkError, match=says):
        keeping.build(describe(name))


def test_an_argument_that_a_network_does_not_take() -> None:
    with pytest.raises(NetworkError, match="width"):
        describe("mlp", widht=3)
    with pytest.raises(NetworkError, match="colour"):
        keeping.build(describe(f"{__file__}:Tied", colour=1))
    with pytest.raises(NetworkError, match=r"resnet18: arguments.*TypeError"):
        keeping.build(describe("resnet18", width="wide"))


class Lazy(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.LazyConv2d(3, 1), nn.LazyBatchNorm2d(), nn.Flatten(), nn.LazyLinear(2))


def test_lazy_layers_get_their_shapes_and_keep_their_mode() -> None:
    network = keeping.build(describe(f"{__file__}:Lazy"))
    assert network.get_parameter("3.weight").shape == (2, 12)
    assert all(module.training for module in network.modules())
    record = keeping.describe(f"{__file__}:Lazy", (5,), 3, width="auto", depth="auto", dropout="auto", arguments={})
    with pytest.raises(NetworkError, match="lazy"):
        keeping.build(record)


class Tied(nn.Module):
    """Two names for one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 3)
        self.second.weight = self.first.weight


def test_shared_weights_come_back_shared(tmp_path: Path) -> None:
    network, again = Tied(), Tied()
    weights.save(network.state_dict(), tmp_path / "w.safetensors")
    weights.load(again, weights.read(tmp_path / "w.safetensors"), "test")
    assert again.first.weight is again.second.weight
    assert torch.equal(again.second.weight, network.first.weight)
    assert (tmp_path / "w.safetensors").stat().st_size < 2 * network.first.weight.numel() * 4 + 600


@pytest.mark.parametrize("content", [b"", b"not safetensors at all", b"\xff" * 64])
def test_damaged_weights_are_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "w.safetensors").write_bytes(content)
    with pytest.raises(RunError, match="damaged"):
        weights.read(tmp_path / "w.safetensors")


def test_weights_of_another_network_are_refused() -> None:
    state = nn.Linear(3, 2).state_dict()
    for other, says in (
        (nn.Linear(3, 4), "shape"),
        (nn.Linear(3, 2, bias=False), "does not have"),
        (Tied(), "no weights"),
    ):
        with pytest.raises(NetworkError, match=says):
            weights.load(other, state, "test")
