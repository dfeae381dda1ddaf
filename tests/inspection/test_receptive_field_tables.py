"""Receptive fields against published tables and against the reference's own pixel sets, network by network."""

import csv
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from netwright.graph.structure import Graph
from netwright.graph.tracing import trace
from netwright.inspection.receptive_field import pixels_read, receptive_fields
from netwright.nn.zoo import PUBLISHED
from reference import shared_folder


def reference(name: str) -> Path:
    file = shared_folder() / "reference" / name
    if not file.exists():
        pytest.skip(f"no {file} (NETWRIGHT_SHARED names another place)")
    return file


def zoo(name: str, *, size: int = 0, **arguments: Any) -> Graph:
    """The traced network on its published input, or on ``size`` × ``size``."""
    published = PUBLISHED[name]
    shape = (published.input_shape[0], size, size) if size else published.input_shape
    with torch.device("meta"):
        network = published.build(shape, published.outputs, **arguments)
    return trace(network, shape)


# ---- every row of the reference's own oracle

NAMES: dict[str, tuple[tuple[str, str], ...]] = {  # the reference's names of layers → ours, by replacement in order
    "bvlc_alexnet": ((r"^", "features."),),
    "caffe_lenet": ((r"^", "features."),),
    "zf5": ((r"^", "features."),),
    "zfnet_paper": ((r"^", "features."),),
    "lenet5_32": ((r"^C1", "c1"), (r"^C3", "c3.concat_1"), (r"^S", "s"), (r"^a", "squash")),
    "patchgan": ((r"^a", "features.relu"), (r"^b", "features.bn"), (r"^c", "features.conv"),
                 (r"^out", "features.out")),
    "cifar_resnet20": (
        (r"^stage", "layer"), (r"c([12])\.0$", r"conv\1"), (r"c([12])\.1$", r"bn\1"), (r"c([12])\.2$", r"relu\1"),
        (r"^conv1\.0", "conv1"), (r"^conv1\.1", "bn1"), (r"^conv1\.2", "relu"), (r"\.sc\.", ".downsample."),
    ),
    "mobilenet_v1": ((r"\.0$", ".conv"),),
    "mobilenet_v2": (
        (r"(\d+)\.0$", r"\1.conv"), (r"^(features\.1\.conv)\.1$", r"\1.1.conv"),
        (r"^(features\.1\.conv)\.2$", r"\1.1.bn"),
        (r"(\.conv)\.2$", r"\1.2.conv"), (r"(\.conv)\.3$", r"\1.2.bn"),
    ),
    "shufflenet_v2_x1_0": (
        (r"branch1\.0$", "branch1.0.conv"), (r"branch1\.1$", "branch1.0.bn"), (r"branch1\.2$", "branch1.1.conv"),
        (r"branch1\.3$", "branch1.1.bn"), (r"branch1\.4$", "branch1.1.relu"), (r"branch2\.0$", "branch2.0.conv"),
        (r"branch2\.1$", "branch2.0.bn"), (r"branch2\.2$", "branch2.0.relu"), (r"branch2\.3$", "branch2.1.conv"),
        (r"branch2\.4$", "branch2.1.bn"), (r"branch2\.5$", "branch2.2.conv"), (r"branch2\.6$", "branch2.2.bn"),
        (r"branch2\.7$", "branch2.2.relu"), (r"^(conv[15])\.0$", r"\1.conv"), (r"^(conv[15])\.1$", r"\1.bn"),
        (r"^(conv[15])\.2$", r"\1.relu"), (r"^", "features."),
    ),
    "squeezenet": ((r"\.(expand\dx\d)", r".expand.\1"),),
    "tv_googlenet": ((r"^maxpool", "pool"), (r"^", "features.")),
    "tv_inception_v3": (
        (r"_([12345])\.conv", lambda m: f".{int(m[1]) - 1}.conv"), (r"_([23])a\.", lambda m: f".{int(m[1]) - 1}.row."),
        (r"_([23])b\.", lambda m: f".{int(m[1]) - 1}.column."), (r"branch_pool\.conv", "branch_pool.1.conv"),
        (r"branch3x3\.conv", "branch3x3.conv"), (r"^", "features."),
    ),
    "vgg16_cifar": ((r"^0\.", "features."),),
    "erfnet": (
        (r"^enc\.down1", "encoder.0"), (r"^enc\.down2", "encoder.1"), (r"^enc\.down3", "encoder.7"),
        (r"^enc\.nb2_(\d)", lambda m: f"encoder.{int(m[1]) + 2}"),
        (r"^enc\.nb3_(\d)_(\d+)", lambda m: f"encoder.{8 + 4 * int(m[1]) + int(m[2]).bit_length() - 2}"),
        (r"^dec\.up1\.conv", "decoder.0"), (r"^dec\.up2\.conv", "decoder.5"), (r"^dec\.out", "decoder.10"),
        (r"^dec\.nbu1([ab])", lambda m: f"decoder.{3 + (m[1] == 'b')}"),
        (r"^dec\.nbu2([ab])", lambda m: f"decoder.{8 + (m[1] == 'b')}"),
        (r"\.([abcd])$", lambda m: f".body.conv{'abcd'.index(m[1]) + 1}"),
    ),
}  # fmt: skip
KINDS = {"cat": "concat", "add": "add", "pad": "pad", "avg_pool2d": "avg_pool2d", "max_pool2d": "max_pool2d"}


def ours(model: str, layer: str, graph: Graph, counts: dict[str, int]) -> str:
    """Our tensor for a layer of the reference. A function (``module:cat_3``) is the next of its kind in its module."""
    if layer == "x":
        return graph.inputs[0]
    path, colon, function = layer.partition(":")
    for pattern, replacement in NAMES.get(model, NAMES.get(re.sub(r"(_B|\d(_\d)?)$", "", model), ())):
        path = re.sub(pattern, replacement, path)
    if not colon:
        return path
    kind = KINDS[re.sub(r"_\d+$", "", function)]
    inside = [op.name for op in graph.operations if op.kind == kind and f"{op.name}.".startswith(f"{path}.")]
    counts[path + kind] = counts.get(path + kind, -1) + 1
    return inside[counts[path + kind]]


ZOO = {
    "bvlc_alexnet": ("bvlc_alexnet", {}), "caffe_lenet": ("caffe_lenet", {}), "zf5": ("zf5", {}),
    "zfnet_paper": ("zfnet", {}), "lenet5_32": ("lenet5_1998", {}), "patchgan1": ("patchgan", {"depth": 1}),
    "patchgan3": ("patchgan", {}), "patchgan5": ("patchgan", {"depth": 5}), "cifar_resnet20": ("resnet20_cifar", {}),
    "cifar_resnet20_B": ("resnet20_cifar", {"shortcut": "B"}), "mobilenet_v1": ("mobilenet_v1", {}),
    "mobilenet_v2": ("mobilenet_v2", {}), "resnet18": ("resnet18", {}), "resnet34": ("resnet34", {}),
    "resnet50": ("resnet50", {}), "resnet101": ("resnet101", {}), "resnext50_32x4d": ("resnext50_32x4d", {}),
    "shufflenet_v2_x1_0": ("shufflenet_v2", {}), "squeezenet1_0": ("squeezenet1_0", {}),
    "squeezenet1_1": ("squeezenet1_1", {}), "tv_alexnet": ("alexnet", {"size": 801}),
    "tv_googlenet": ("googlenet_bn", {}), "tv_inception_v3": ("inception_v3", {}),
    "vgg16": ("vgg16", {"size": 801}), "vgg16_cifar": ("vgg16_cifar", {}), "erfnet": ("erfnet", {}),
}  # fmt: skip


def oracle_rows() -> dict[str, dict[str, dict[str, float]]]:
    found: dict[str, dict[str, dict[str, float]]] = {}
    for row in csv.DictReader(reference("receptive_field.csv").open()):
        if row["variant"] == "PyTorch padding":
            found.setdefault(row["model"], {}).setdefault(row["layer"], {})[row["quantity"]] = float(row["value"])
    return found


@pytest.mark.parametrize("model", ZOO)
def test_rows_of_the_oracle(model: str) -> None:
    """Every layer of every network of the zoo that the reference computed, by names.

    Conversions: ``rf_size`` is the largest over phases; ``effective_stride`` and ``effective_padding`` are blank where
    centres move unevenly, but for four rows of ERFNet's decoder: the reference compares the positions of the largest
    field alone there, one a period, and has the mean stride. The reference ran torchvision's AlexNet and VGG on 801
    pixels, where their adaptive poolings read 4 of 24 and 5 of 25 positions; so do we. Its CIFAR VGG ends with a 2×2
    mean pooling; ours averages all that is there, 2×2 at 32 pixels, and says whole: the row is 196 + 16 pixels.
    """
    rows = oracle_rows()
    assert set(rows) == set(ZOO)
    name, arguments = ZOO[model]
    graph = zoo(name, **arguments)
    fields = receptive_fields(graph)
    counts: dict[str, int] = {}
    assert not [tensor for tensor, field in fields.items() if field.unknown]
    for layer, expected in rows[model].items():
        if (model, layer) == ("vgg16_cifar", "1"):
            last = fields["features.42"]
            assert (last.size[0] + 16, last.padding[0]) == (expected["rf_size"], expected["effective_padding"])
            assert all(fields["avgpool"].whole)
            continue
        field = fields[ours(model, layer, graph, counts)].axis(0)
        assert field.size == expected["rf_size"], layer
        if "effective_stride" in expected:
            assert field.stride == expected["effective_stride"], layer
            assert len(field.steps) == 1 or (model == "erfnet" and len(field.phases) > 1), layer
        else:
            assert len(field.steps) > 1, layer
        if "effective_padding" in expected:
            assert field.padding == expected["effective_padding"], layer


# ---- published values


def test_published_values_of_the_zoo() -> None:
    """PatchGAN's 16, 70 and 286; GoogLeNet's modules; U-Net {188, 204} and ERFNet {1231, 1239} by phase."""
    rows = list(csv.DictReader(reference("receptive_field.csv").open()))
    for row in rows:
        if row["model"] == "patchgan":
            depth = int(re.search(r"\d", row["variant"])[0])  # type: ignore[index]
            graph = zoo("patchgan", depth=depth)
            assert receptive_fields(graph)[graph.outputs[0]].size == (int(row["value"]),) * 2
    fields = receptive_fields(zoo("googlenet"))
    for row in rows:
        if row["model"] == "googlenet" and re.fullmatch(r"\d[a-e]", row["layer"]):
            assert fields[f"features.inception{row['layer']}.concat_1"].size == (int(row["value"]),) * 2
    for name, phases, stride in (("unet", (188, 204), 1), ("erfnet", (1231, 1239), 1)):
        graph = zoo(name)
        field = receptive_fields(graph)[graph.outputs[0]]
        assert (field.phases, field.stride) == ((phases,) * 2, (stride,) * 2)
    unet = receptive_fields(zoo("unet"))
    assert unet["bottom.relu2"].size == (140, 140)
    assert unet["out"].aligned


def test_a_phase_of_unet_is_188_pixels_and_another_204() -> None:
    """The sizes are read off single outputs: all positions of a row in the middle of the 388."""
    graph = zoo("unet", width=0.02)
    sizes = []
    for position in (180, 184, 187, 188, 191, 195):
        rows, _ = pixels_read(graph, "out", (0, 0, position, 200))  # type: ignore[misc]
        sizes.append(len(rows))
        assert rows == tuple(range(rows[0], rows[-1] + 1))
    assert set(sizes) == {188, 204}


class SlimResNet(nn.Module):
    """TF-Slim's ResNets: explicit padding where there is a stride, in the last unit of a block; SAME at the pooling."""

    def __init__(self, units: Sequence[int]) -> None:
        super().__init__()
        self.units = units
        self.blocks = nn.ModuleList(nn.Identity() for _ in units)

    def forward(self, x: Tensor) -> Tensor:
        x = F.conv2d(x, torch.ones(1, 1, 7, 7), None, 2, 3)
        total = max((-(-x.shape[2] // 2) - 1) * 2 + 3 - x.shape[2], 0)
        x = F.max_pool2d(F.pad(x, (total // 2, total - total // 2) * 2), 3, 2)
        for number, (block, units) in enumerate(zip(self.blocks, self.units, strict=True)):
            for unit in range(units):
                stride = 2 if unit == units - 1 and number < 3 else 1
                x = F.max_pool2d(x, 1, stride) + F.conv2d(x, torch.ones(1, 1, 3, 3), None, stride, 1)
            x = block(x * 1)
        return x


def test_resnets_of_the_google_table() -> None:
    """All blocks of ResNet v1 and v2, 50 to 200 layers, at 224, at 321 and at an unknown size.

    Their table has no padding where the size is unknown, for SAME depends on it: 239 at 224 and 241 at 321.
    """
    depths = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3), 200: (3, 24, 36, 3)}
    rows = [
        row for row in csv.DictReader(reference("receptive_field.csv").open())
        if row["model"].startswith("resnet_v") and row["kind"] == "published"
    ]  # fmt: skip
    assert len(rows) == 8 * 3 * 12 + 4 * 3  # and what Distill printed of the last maps of v1
    found = {}
    for depth, units in depths.items():
        for size in (224, 321):
            graph = trace(SlimResNet(units), (1, size, size))
            made = receptive_fields(graph)
            ends = [name for name in made if graph.tensors[name].producer and ".mul" in f".{name}"]
            for block, name in enumerate(ends, 1):
                found[depth, size, block] = made[name].axis(0)
    for row in rows:
        depth, block = int(row["model"].split("_")[2]), int(row["layer"][-1]) if "block" in row["layer"] else 4
        sizes = (224, 321) if row["input"] == "None" else (int(row["input"]),)
        for size in sizes:
            field = found[depth, size, block]
            assert field.aligned
            quantity = {
                "rf_size": field.size, "effective_stride": field.stride, "effective_padding": field.padding
            }[row["quantity"]]  # fmt: skip
            if row["value"] == "None":
                assert found[depth, 224, block].padding != found[depth, 321, block].padding
            else:
                assert quantity == float(row["value"]), row


def test_inception_v3_of_the_google_table() -> None:
    """TF-Slim's has the same paddings as torchvision's, whatever the size."""
    rows = [row for row in csv.DictReader(reference("receptive_field.csv").open())
            if row["model"] == "inception_v3" and row["variant"].startswith("TF-Slim")]  # fmt: skip
    assert len(rows) == 3 * 54 + 3  # and Distill's row of the last map
    for size in (224, 321):
        graph = zoo("inception_v3", size=size)
        fields = receptive_fields(graph)
        for row in rows:
            if row["input"] not in ("None", str(size)):
                continue
            last = row["layer"].startswith("last")
            layer = "Mixed_7c" if last else row["layer"].replace("MaxPool_3a_3x3", "maxpool1")
            layer = layer.replace("MaxPool_5a_3x3", "maxpool2")
            suffix = ".concat_1" if "Mixed" in layer else "" if "maxpool" in layer else ".conv"
            field = fields[f"features.{layer}{suffix}"].axis(0)
            found = {"rf_size": field.size, "effective_stride": field.stride, "effective_padding": field.padding}
            assert found[row["quantity"]] == float(row["value"]), row


# ---- the rest of the zoo

DEEPER = {"resnet152", "resnet110_cifar"}  # more of the same blocks


@pytest.mark.parametrize("name", sorted(set(PUBLISHED) - {name for name, _ in ZOO.values()} - DEEPER))
def test_no_other_network_of_the_zoo_has_anything_unknown(name: str) -> None:
    graph = zoo(name)
    fields = receptive_fields(graph)
    assert not [tensor for tensor, field in fields.items() if field.unknown]
    missing = {output for operation in graph.operations for output in operation.outputs} - set(fields)
    assert all("class_token" in str(graph.operation(tensor).parameters) for tensor in missing)
