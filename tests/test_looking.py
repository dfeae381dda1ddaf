"""The closer look: sections of a run on its own examples, of an untrained network on noise, and what is refused."""

from pathlib import Path

import pytest
import torch
from torch import nn

from netwright import inspecting, looking
from netwright.errors import UsageError
from netwright.inspection.effective_field import effective_field
from netwright.recipe import Recipe, override
from netwright.workbench import train


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    recipe = override(Recipe(), {
        "data.source": "digits", "data.limit": 120, "train.epochs": 1, "network.name": "small_resnet",
        "network.width": 4, "train.threads": 1, "watch.confirm": 0,
    })  # fmt: skip
    return train(recipe, folder=tmp_path_factory.mktemp("runs")).directory


def test_a_run_is_looked_at_through_its_own_examples(run: Path) -> None:
    found = inspecting.find(run, weights=True)
    inputs, what = looking.examples(found)
    assert inputs.shape[1:] == (1, 8, 8)
    assert "digits" in what
    sections = looking.sections(found, weights=True, effective="", shifts=True, activations=True)
    names = [section.name for section in sections]
    assert names == ["weights", "filters", "activations", "effective_field", "equivariance"]
    by_name = dict(zip(names, sections, strict=True))
    assert len(by_name["weights"].rows) == sum(1 for _ in found.network.parameters())  # type: ignore[union-attr]
    assert len(by_name["activations"].pictures) > 5
    assert by_name["effective_field"].data["theoretical"]
    assert any("stride" in line for line in by_name["equivariance"].lines)
    for section in sections:
        for _, png in section.pictures:
            assert png.startswith("iVBORw0KGgo")  # the signature of a PNG


def test_examples_from_files_are_prepared_as_the_run_does(run: Path, tmp_path: Path) -> None:
    import numpy as np
    from PIL import Image
    from sklearn.datasets import load_digits

    pixels = (load_digits().images[0] * 255 / 16).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "zero.png")
    inputs, what = looking.examples(inspecting.find(run), [tmp_path / "zero.png"])
    assert inputs.shape == (1, 1, 8, 8)
    assert what == "zero.png"
    with pytest.raises(UsageError, match="a run"):
        looking.examples(inspecting.find("lenet5"), [tmp_path / "zero.png"])


def test_an_untrained_network_is_looked_at_through_noise_and_left_as_found() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(4 * 49, 2)).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    found = inspecting.find(network, (3, 16, 16))
    inputs, what = looking.examples(found)
    assert (inputs.shape, what) == ((looking.EXAMPLES, 3, 16, 16), "noise")
    assert len(looking.sections(found, weights=True, effective="0", shifts=True)) == 4
    assert network.training
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())


def test_the_effective_field_takes_no_pass_more_than_it_needs() -> None:
    """Its theoretical size is that of the layer that it finds, which is looked up and not run for."""
    passes: list[torch.Size] = []

    class Counted(nn.Sequential):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if not x.is_meta:
                passes.append(x.shape)
            return super().forward(x)  # type: ignore[no-any-return]

    network = Counted(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3))
    found = inspecting.find(network, (3, 16, 16))
    (section,) = looking.sections(found, effective="")
    made, passes[:] = list(passes), []
    effective_field(network, looking.examples(found)[0])
    assert made == passes
    assert (section.data["layer"], section.data["theoretical"]) == ("3", [8, 8])
    assert "of the theoretical 8×8" in section.lines[0]
