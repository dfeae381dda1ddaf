"""Published networks: parameters to the unit, the shape of every map, and one law over all of them.

Numbers stand here as well as in the reference tables, so that most of it holds without those. Networks are built and
run on meta tensors: shapes only, no memory.
"""

import csv
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch import nn

from netwright.errors import NetworkError
from netwright.nn.zoo import NETWORKS, PUBLISHED
from netwright.nn.zoo.blocks import sides

Shape = tuple[int, ...]
TYPES: dict[str, Any] = {
    "Conv2d": nn.Conv2d, "ConvTranspose2d": nn.ConvTranspose2d, "Linear": nn.Linear, "MaxPool2d": nn.MaxPool2d,
    "AvgPool2d": (nn.AvgPool2d, nn.AdaptiveAvgPool2d), "AdaptiveAvgPool2d": nn.AdaptiveAvgPool2d,
    "LRN": nn.LocalResponseNorm, "Flatten": nn.Flatten, "LayerNorm": nn.LayerNorm, "GELU": nn.GELU,
}  # fmt: skip

# Where the output is a map: its shape at the published input.
MAPS = {"zf5": (256, 15, 15), "erfnet": (20, 512, 1024), "unet": (2, 388, 388), "patchgan": (1, 30, 30)}

# name, arguments, (input shape, outputs) where they are not the published ones, parameters, source
TOTALS: list[tuple[str, dict[str, Any], tuple[Shape, int] | None, int]] = [
    *((name, {}, None, network.parameters) for name, network in PUBLISHED.items()),
    ("bvlc_alexnet", {"groups": 1}, None, 62_378_344),
    ("bvlc_alexnet", {}, ((3, 224, 224), 1000), 60_965_224),
    ("vgg11", {"batch_norm": True}, None, 132_868_840),
    ("vgg13", {"batch_norm": True}, None, 133_053_736),
    ("vgg16", {"batch_norm": True}, None, 138_365_992),
    ("vgg19", {"batch_norm": True}, None, 143_678_248),
    ("googlenet", {"auxiliary": True}, None, 13_378_280),
    ("googlenet_bn", {"auxiliary": True}, None, 13_004_888),
    ("inception_v3", {"auxiliary": True}, None, 27_161_264),
    ("resnet18", {"width": 0.5}, None, 3_055_880),  # half of every layer's channels pruned: a quarter, about, is left
    ("resnet20_cifar", {"shortcut": "B"}, None, 272_474),
    ("resnet56_cifar", {"shortcut": "B"}, None, 855_770),
    ("resnet110_cifar", {"shortcut": "B"}, None, 1_730_714),
    ("resnet20_cifar", {"shortcut": "B"}, ((3, 32, 32), 100), 278_324),
    ("mobilenet_v1", {"width": 0.25}, None, 470_072),
    ("mobilenet_v1", {"width": 0.5}, None, 1_331_592),
    ("mobilenet_v1", {"width": 0.75}, None, 2_585_560),
    ("shufflenet_v1", {"groups": 1}, None, 1_531_936),
    ("shufflenet_v1", {"groups": 2}, None, 1_733_848),
    ("shufflenet_v1", {"groups": 4}, None, 1_968_344),
    ("shufflenet_v1", {"groups": 8}, None, 2_434_768),
    ("shufflenet_v1", {"width": 0.25}, None, 305_902),
    ("shufflenet_v1", {"width": 0.5}, None, 718_324),
    ("shufflenet_v1", {"width": 0.75}, None, 1_238_266),
    ("shufflenet_v2", {"width": 0.5}, None, 1_366_792),
    ("shufflenet_v2", {"width": 1.5}, None, 3_503_624),
    ("shufflenet_v2", {"width": 2.0}, None, 7_393_996),
    ("erfnet", {"encoder_head": False}, None, 2_066_836 - 128 * 20 - 20),
    ("unet", {"same": True}, ((1, 512, 512), 1), 31_030_593),
    ("vit_b_16", {}, ((3, 384, 384), 1000), 86_859_496),
    ("vit_b_16", {"patch": 32}, None, 88_224_232),
]


@contextmanager
def only_shapes() -> Iterator[None]:
    """Networks made here have no values; drawing those, and norms, would be most of the time on meta tensors."""
    draws = dict.fromkeys(
        ("normal_", "uniform_", "kaiming_uniform_", "trunc_normal_", "zeros_", "ones_"), lambda tensor, *_, **__: tensor
    )
    with torch.device("meta"), patch.multiple(nn.init, **draws), patch.multiple(
        nn.BatchNorm2d, forward=lambda _, x: x
    ), torch.no_grad():  # fmt: skip
        yield


@cache
def _built(name: str, input_shape: Shape, outputs: int, arguments: tuple[tuple[str, Any], ...]) -> nn.Module:
    with only_shapes():
        return NETWORKS[name](input_shape, outputs, **dict(arguments)).eval()


def built(name: str, input_shape: Shape | None = None, outputs: int | None = None, **arguments: Any) -> nn.Module:
    """The network on meta tensors, in evaluation mode; at its published input unless one is named."""
    if name in PUBLISHED:
        input_shape, outputs = input_shape or PUBLISHED[name].input_shape, outputs or PUBLISHED[name].outputs
    assert input_shape is not None
    assert outputs is not None
    return _built(name, input_shape, outputs, tuple(sorted(arguments.items())))


@cache
def made(network: nn.Module, input_shape: Shape) -> list[tuple[str, nn.Module, Shape]]:
    """Name, module and shape (without the batch) of what every module gives, in the order in which they finish."""
    seen: list[tuple[str, nn.Module, Shape]] = []
    handles = [
        module.register_forward_hook(
            lambda module, _, out, name=name: seen.append((name, module, tuple(out.shape[1:])))
        )
        for name, module in network.named_modules()
    ]  # fmt: skip
    try:
        with only_shapes():
            network(torch.empty(2, *input_shape))
    finally:
        for handle in handles:
            handle.remove()
    return seen


def leaves(network: nn.Module) -> list[str]:
    return [name for name, module in network.named_modules() if not list(module.children())]


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


# -- without reference tables ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "arguments", "at", "count"), TOTALS, ids=lambda value: str(value))
def test_parameters_to_the_unit(name: str, arguments: dict[str, Any], at: tuple[Shape, int] | None, count: int) -> None:
    assert parameters(built(name, *(at or (None, None)), **arguments)) == count


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_network_is_what_its_entry_says(name: str) -> None:
    network = built(name)
    seen = made(network, PUBLISHED[name].input_shape)
    assert seen[-1][2] == MAPS.get(name, (PUBLISHED[name].outputs,))
    # Modules are registered in the order in which they run: no summary of it shows another network than the one run.
    ran = [name for name, module, _ in seen if not list(module.children())]
    unread = {"encoder_head"} if name == "erfnet" else set()
    assert ran == [leaf for leaf in leaves(network) if leaf not in unread and "auxiliary" not in leaf]
    assert NETWORKS[name] is PUBLISHED[name].build
    assert "→" in (PUBLISHED[name].build.__doc__ or "").splitlines()[0]


DEEPER = {"vgg13", "vgg19", "resnet34", "resnet101", "resnet152", "resnet56_cifar", "resnet110_cifar"}  # than others


@pytest.mark.parametrize("name", [name for name in PUBLISHED if name not in {"lenet_300_100", *DEEPER}])
def test_the_smallest_input_is_named_and_true(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    network = PUBLISHED[name]
    channels = network.input_shape[0]
    with only_shapes(), pytest.raises(NetworkError, match="input of shape") as said:
        network.build((channels, 0, 0), network.outputs)
    if name == "lenet5_1998":
        return
    found = re.search(r"height ≥ (\d+)", str(said.value))
    assert found
    smallest = int(found[1])
    with only_shapes():
        out = network.build((channels, smallest, smallest), network.outputs).eval()(
            torch.empty(2, channels, smallest, smallest)
        )
        assert out.shape[:2] == (2, network.outputs)
        assert out.numel()
        if smallest == 1:
            return
        # Without the check one pixel less does not run; that is what the check is for.
        monkeypatch.setattr(sys.modules[network.build.__module__], "fit", lambda name, shape, *_: shape[0])
        less = (channels, smallest - 1, smallest - 1)
        with pytest.raises((RuntimeError, NetworkError, ZeroDivisionError)):
            network.build(less, network.outputs).eval()(torch.empty(2, *less))


TRAINED = [
    ("lenet5_1998", (1, 32, 32), {}), ("alexnet", (3, 64, 64), {"width": 0.125}),
    ("bvlc_alexnet", (3, 64, 64), {"width": 0.125}), ("vgg11", (3, 32, 32), {"width": 0.125, "batch_norm": True}),
    ("googlenet", (3, 64, 64), {"width": 0.125}), ("resnet18", (3, 32, 32), {"width": 0.125, "stem": "small"}),
    ("resnet50", (3, 32, 32), {"width": 0.125}), ("resnet20_cifar", (3, 16, 16), {}),
    ("densenet121", (1, 32, 32), {"width": 0.25, "stem": "small"}),
    ("mobilenet_v2", (3, 32, 32), {"width": 0.25, "stem": "small"}), ("xception", (3, 32, 32), {"width": 0.125}),
    ("shufflenet_v1", (3, 32, 32), {"width": 0.25, "stem": "small"}), ("shufflenet_v2", (3, 32, 32), {"width": 0.5}),
    ("squeezenet1_1", (3, 32, 32), {"width": 0.25}), ("igcv1", (3, 16, 16), {"depth": 2}),
    ("vit_b_16", (3, 32, 32), {"width": 1 / 12, "depth": 2, "patch": 8}),
    ("unet", (1, 32, 32), {"width": 0.125, "same": True}),
    ("erfnet", (3, 32, 32), {"encoder_head": False}), ("patchgan", (6, 32, 32), {"width": 0.125}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "input_shape", "arguments"), TRAINED, ids=[name for name, *_ in TRAINED])
def test_small_variants_learn(name: str, input_shape: Shape, arguments: dict[str, Any]) -> None:
    torch.manual_seed(0)
    network = NETWORKS[name](input_shape, 5, **arguments)
    x = torch.randn(4, *input_shape)
    out = network(x)
    assert out.shape[:2] == (4, 5)
    assert out.isfinite().all()
    torch.nn.functional.cross_entropy(out, torch.randint(5, (4, *out.shape[2:]))).backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in network.parameters())


@pytest.mark.parametrize(("name", "heads"), [("googlenet", 3), ("googlenet_bn", 3), ("inception_v3", 2)])
def test_auxiliary_outputs_are_there_in_training_only(name: str, heads: int) -> None:
    shape = PUBLISHED[name].input_shape
    with only_shapes():
        network = NETWORKS[name](shape, 7, auxiliary=True)
        x = torch.empty(2, *shape)
        assert [tuple(out.shape) for out in network.train()(x)] == heads * [(2, 7)]
        assert network.eval()(x).shape == (2, 7)
    with only_shapes(), pytest.raises(NetworkError, match="auxiliary"):
        NETWORKS[name]((3, 80, 75) if name == "inception_v3" else (3, 40, 40), 7, auxiliary=True)


def test_the_encoder_of_erfnet_is_trained_by_its_own_head() -> None:
    network: Any = built("erfnet", (3, 64, 32), 20)
    assert network.encode(torch.empty(2, 3, 64, 32, device="meta")).shape == (2, 20, 8, 4)
    with pytest.raises(NetworkError, match="encoder_head=True"):
        built("erfnet", encoder_head=False).encode(torch.empty(2, 3, 64, 32, device="meta"))  # type: ignore[operator]


@pytest.mark.parametrize(
    ("name", "input_shape", "arguments", "says"),
    [
        ("resnet18", (3, 32, 32), {"width": 32}, "multiplier"),
        ("resnet18", (3, 32, 32), {"stem": "tiny"}, "small"),
        ("resnet20_cifar", (3, 32, 32), {"shortcut": "C"}, "padded"),
        ("shufflenet_v1", (3, 32, 32), {"groups": 5}, "1, 2, 3, 4, 8"),
        ("shufflenet_v1", (3, 32, 32), {"width": 0.33}, "groups"),
        ("shufflenet_v2", (3, 32, 32), {"width": 0.75}, "0.5, 1, 1.5 or 2"),
        ("igcv1", (3, 32, 32), {"primary": 0}, "whole numbers"),
        ("vit_b_16", (3, 40, 32), {}, "sides of 16"),
        ("erfnet", (3, 36, 32), {}, "multiples of 8"),
        ("unet", (1, 570, 572), {}, "556×572"),
        ("lenet5_1998", (1, 30, 30), {}, "lenet5"),
        ("vgg16", (3, 31, 64), {}, "height ≥ 32"),
        ("alexnet", (12,), {}, "height ≥ 63"),
    ],
)
def test_what_cannot_be_built_is_said(name: str, input_shape: Shape, arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(NetworkError, match=re.escape(says)):
        NETWORKS[name](input_shape, 10, **arguments)


def test_small_stems_keep_the_size_of_the_first_stage() -> None:
    for name, stage, side in (
        ("resnet18", "layer1", 32), ("densenet121", "features.denseblock1", 32), ("mobilenet_v1", "features.1", 32),
        ("mobilenet_v2", "features.2", 32), ("shufflenet_v1", "features.conv1", 32),
        ("shufflenet_v2", "features.conv1", 32),
    ):  # fmt: skip
        maps = {name: shape for name, _, shape in made(built(name, (3, 32, 32), 10, stem="small"), (3, 32, 32))}
        assert maps[stage][1:] == (side, side), name


def test_original_lenet5_counts_as_its_paper_does() -> None:
    """LeCun et al. 1998, II.B, layer by layer; C3 alone has 60 kernels of 25 weights and 16 biases."""
    counts = [parameters(module) for module in built("lenet5_1998").children() if parameters(module)]
    assert counts == [156, 12, 1_516, 32, 48_120, 10_164]


def test_original_lenet5_prefers_the_nearest_code() -> None:
    torch.manual_seed(0)
    network: Any = NETWORKS["lenet5_1998"]((1, 28, 28), 10)
    assert network.output(network.output.codes).argmax(1).tolist() == list(range(10))
    assert network.output(network.output.codes).diagonal().abs().max() == 0
    assert torch.equal(network.output.codes, NETWORKS["lenet5_1998"]((1, 28, 28), 10).output.codes)  # type: ignore[union-attr]


def test_interleaved_groups_have_the_papers_count_and_reach_every_channel() -> None:
    """Zhang et al. 2017, eq. 7: a block has 9 · L · M² + M · L² weights; with a norm's 2 · L · M."""

    def block(primary: int, before: int, after: int) -> int:
        return 9 * primary * before * after + after * primary**2 + 2 * primary * after

    blocks = sum(
        block(24, m if number else max(2, m // 2), m) for m in (2, 4, 8) for number in range(6)
    )  # fmt: skip
    assert parameters(built("igcv1")) == 27 * 48 + 2 * 48 + blocks + 192 * 10 + 10
    network: Any = NETWORKS["igcv1"]((3, 8, 8), 10, 4, 3, 1)
    x = torch.ones(1, 12, 8, 8, requires_grad=True)
    pair = network.stages[0][0][:4]
    pair(x)[0, 0].sum().backward()
    assert x.grad is not None
    assert (x.grad.abs().sum((0, 2, 3)) > 0).all()


@pytest.mark.parametrize(
    "name", ["bvlc_alexnet", "zfnet", "caffe_lenet", "zf5", "googlenet", "googlenet_bn", "inception_v3"]
)
def test_sizes_by_arithmetic_are_those_of_a_run(name: str) -> None:
    features = built(name).get_submodule("features")
    for height, width in ((75, 90), (98, 121), (227, 100)):
        shape = (PUBLISHED[name].input_shape[0], height, width)
        assert sides(features, shape) == made(features, shape)[-1][2][1:]


def test_the_initial_loss_is_that_of_a_guess() -> None:
    torch.manual_seed(0)
    for name in ("resnet18", "vgg16_cifar", "squeezenet1_1", "googlenet_bn"):
        network = NETWORKS[name]((3, 64, 64), 10, width=0.25)
        loss = torch.nn.functional.cross_entropy(network(torch.randn(8, 3, 64, 64)), torch.arange(8) % 10)
        assert abs(loss.item() - 2.303) < 0.2, name


# -- with reference tables ---------------------------------------------------------------------------------------------


@pytest.fixture
def reference(shared: Path) -> Path:
    folder = shared.parent / "reference"
    if not folder.is_dir():
        pytest.skip(f"no reference tables in {folder} (NETWRIGHT_SHARED names another place)")
    return folder


def rows(file: Path, **columns: str) -> Iterator[dict[str, str]]:
    with file.open(encoding="utf-8") as lines:
        for row in csv.DictReader(lines):
            if all(re.fullmatch(pattern, row[column]) for column, pattern in columns.items()):
                yield row


def shape_of(text: str) -> Shape | None:
    return tuple(int(size) for size in text.split("x")) if re.fullmatch(r"\d+(x\d+)*", text) else None


Case = tuple[str, dict[str, Any]]
BATCH_NORM = {"batch_norm": True}

# model and variant of the tables' own counts and shapes → name and arguments here
COMPUTED: dict[tuple[str, str], Case] = {
    ("bvlc_alexnet", "groups=2"): ("bvlc_alexnet", {}), ("bvlc_alexnet", "groups=1"): ("bvlc_alexnet", {"groups": 1}),
    ("alexnet", "torchvision"): ("alexnet", {}), ("zfnet", "paper Fig.3"): ("zfnet", {}),
    ("zf5", "conv1-5 (SPP/Faster R-CNN)"): ("zf5", {}), ("zf5", "conv1-5"): ("zf5", {}),
    ("vgg16", "torchvision"): ("vgg16", {}), ("vgg16_bn", "torchvision"): ("vgg16", BATCH_NORM),
    ("lenet", "caffe examples/mnist"): ("caffe_lenet", {}), ("lenet", "caffe"): ("caffe_lenet", {}),
    ("lenet5", "modern 32x32"): ("lenet5", {}), ("lenet5", "modern 28x28 pad2"): ("lenet5", {}),
    ("lenet_300_100", "784-300-100-10"): ("lenet_300_100", {}),
    ("googlenet", "bvlc no aux"): ("googlenet", {}),
    ("googlenet", "torchvision aux_logits=False"): ("googlenet_bn", {}),
    ("inception_v3", "torchvision aux_logits=True, eval"): ("inception_v3", {"auxiliary": True}),
    ("inception_v3", "torchvision aux_logits=False"): ("inception_v3", {}),
    ("resnet18", "torchvision"): ("resnet18", {}), ("resnet34", "torchvision"): ("resnet34", {}),
    ("resnet50", "torchvision v1.5"): ("resnet50", {}), ("resnext50_32x4d", "torchvision"): ("resnext50_32x4d", {}),
    ("mobilenet_v1", "1.0"): ("mobilenet_v1", {}), ("mobilenet_v2", "torchvision"): ("mobilenet_v2", {}),
    ("shufflenet_v2", "x1.0 torchvision"): ("shufflenet_v2", {}),
    ("squeezenet", "1_0 torchvision"): ("squeezenet1_0", {}), ("squeezenet", "1_1 torchvision"): ("squeezenet1_1", {}),
    ("erfnet", "20 classes"): ("erfnet", {}), ("unet", "paper 572 valid, 1->2"): ("unet", {}),
    ("unet", "paper valid 1->2"): ("unet", {}), ("unet", "same padding 1->1"): ("unet", {"same": True}),
    ("resnet20_cifar", "option A"): ("resnet20_cifar", {}),
    ("resnet20_cifar", "option B"): ("resnet20_cifar", {"shortcut": "B"}),
    ("resnet110_cifar", "option A"): ("resnet110_cifar", {}),
    ("vgg16_cifar", "slim/L1 layout 512-10"): ("vgg16_cifar", {}), ("vgg19_cifar", "slim layout"): ("vgg19_cifar", {}),
    ("patchgan", "70x70 cin=6"): ("patchgan", {}), ("vit_b_16", "torchvision"): ("vit_b_16", {}),
}  # fmt: skip
OUTPUTS = {"same padding 1->1": 1, "modern 32x32": 10, "modern 28x28 pad2": 10}

# torchvision's own names, where they are not ours
TORCHVISION: dict[str, Case] = {
    **{name: (name, {}) for name in PUBLISHED},
    **{f"vgg{layers}_bn": (f"vgg{layers}", BATCH_NORM) for layers in (11, 13, 16, 19)},
    "googlenet": ("googlenet_bn", {}), "inception_v3": ("inception_v3", {"auxiliary": True}),
    "shufflenet_v2_x0_5": ("shufflenet_v2", {"width": 0.5}), "shufflenet_v2_x1_0": ("shufflenet_v2", {}),
    "shufflenet_v2_x1_5": ("shufflenet_v2", {"width": 1.5}), "shufflenet_v2_x2_0": ("shufflenet_v2", {"width": 2.0}),
    "vit_b_32": ("vit_b_16", {"patch": 32}),
}  # fmt: skip

# The osmr/imgclsmob table. Not here: its ResNet-18, MobileNetV2 and ShuffleNetV2 of other widths, which it scales by
# rules of its own (no multiples of 8, other channels than the papers'), and its x1.0 of MobileNetV2 (+88).
OSMR: dict[str, Case] = {
    "AlexNet": ("bvlc_alexnet", {"groups": 1}), "AlexNet-b": ("alexnet", {}), "ZFNet": ("zfnet", {}),
    **{f"VGG-{layers}": (f"vgg{layers}", {}) for layers in (11, 13, 16, 19)},
    **{f"BN-VGG-{layers}": (f"vgg{layers}", BATCH_NORM) for layers in (11, 13, 16, 19)},
    **{f"BN-VGG-{layers}b": (f"vgg{layers}", BATCH_NORM) for layers in (11, 13, 16, 19)},
    **{f"ResNet-{layers}": (f"resnet{layers}", {}) for layers in (18, 34, 50, 101, 152)},
    **{f"ResNet-{layers}b": (f"resnet{layers}", {}) for layers in (50, 101, 152)},
    **{f"ResNet-{layers}": (f"resnet{layers}_cifar", {"shortcut": "B"}) for layers in (20, 56, 110)},
    "ResNeXt-50 (32x4d)": ("resnext50_32x4d", {}), "IBN-DenseNet-121": ("densenet121", {}),
    "SqueezeNet v1.0": ("squeezenet1_0", {}), "SqueezeNet v1.1": ("squeezenet1_1", {}),
    **{
        f"ShuffleNet x{width} (g={groups})": ("shufflenet_v1", {"groups": groups, "width": width})
        for width, groups in (
            (0.25, 1), (0.25, 3), (0.5, 1), (0.5, 3), (0.75, 1), (0.75, 3), (1.0, 1), (1.0, 2), (1.0, 3), (1.0, 4),
            (1.0, 8),
        )
    },
    "ShuffleNetV2 x0.5": ("shufflenet_v2", {"width": 0.5}), "ShuffleNetV2 x1.0": ("shufflenet_v2", {}),
    **{f"MobileNet x{width}": ("mobilenet_v1", {"width": width}) for width in (0.25, 0.5, 0.75, 1.0)},
    "MobileNetV2b x1.0": ("mobilenet_v2", {}), "Xception": ("xception", {}), "InceptionV3": ("inception_v3", {}),
}  # fmt: skip
KERAS: dict[str, Case] = {
    "Xception": ("xception", {}), "VGG16": ("vgg16", {}), "VGG19": ("vgg19", {}), "InceptionV3": ("inception_v3", {}),
    "MobileNet": ("mobilenet_v1", {}), "MobileNetV2": ("mobilenet_v2", {}),
    "ResNet50": ("resnet50", {}), "ResNet101": ("resnet101", {}), "ResNet152": ("resnet152", {}),
}  # fmt: skip


def running(network: nn.Module) -> int:
    """Means and variances that batch norms follow, which are buffers here."""
    return sum(2 * module.num_features for module in network.modules() if isinstance(module, nn.BatchNorm2d))


def convolution_biases(network: nn.Module) -> int:
    return sum(
        module.out_channels for module in network.modules() if isinstance(module, nn.Conv2d) and module.bias is not None
    )


def test_computed_counts(reference: Path) -> None:
    """Totals, running statistics and every layer of the tables' own networks."""
    layers: dict[tuple[str, str], list[int]] = {}
    totals = 0
    for row in rows(reference / "params.csv", kind="computed"):
        key = row["model"], row["variant"]
        if key not in COMPUTED:
            assert row["model"] == "VGG-16-pruned-A"  # a network that pruning made
            continue
        name, arguments = COMPUTED[key]
        network = built(name, shape_of(row["input"]), OUTPUTS.get(row["variant"]), **arguments)
        if row["quantity"] == "params_trainable":
            assert parameters(network) == int(row["value"]), key
            totals += 1
        elif row["quantity"] == "BN_running_stats":
            assert running(network) == int(row["value"]), key
            totals += 1
        else:
            layers.setdefault(key, []).append(int(row["value"]))
    for key, counts in layers.items():
        name, arguments = COMPUTED[key]
        network = built(name, *(((1, 32, 32), 10) if name == "lenet5" else ()), **arguments)
        own = [parameters(network.get_submodule(leaf)) for leaf in leaves(network)]
        assert [count for count in own if count] == counts, key
    assert totals == 68
    assert sum(map(len, layers.values())) == 80


def test_torchvision_counts(reference: Path) -> None:
    found = 0
    for row in rows(reference / "params.csv", quantity="params_total", variant="torchvision .*"):
        if row["model"] in TORCHVISION:
            name, arguments = TORCHVISION[row["model"]]
            network = built(name, shape_of(row["input"]), **arguments)
            assert parameters(network) == int(row["value"]), (row["model"], row["variant"])
            found += 1
    assert found == 34


def test_osmr_counts(reference: Path) -> None:
    found = set()
    for row in rows(
        reference / "params.csv", quantity="params_trainable", variant="osmr (ImageNet-1K|CIFAR-10|CIFAR-100)"
    ):
        if row["model"] not in OSMR:
            continue
        name, arguments = OSMR[row["model"]]
        if name.endswith("_cifar") == row["variant"].endswith("ImageNet-1K"):
            continue
        network = built(name, outputs=100 if row["variant"].endswith("100") else None, **arguments)
        count = parameters(network)
        if row["model"].startswith("BN-VGG") and not row["model"].endswith("b"):
            count -= convolution_biases(network)  # its plain BN-VGG has no bias before a norm
        if row["model"] == "MobileNetV2b x1.0":
            count -= 1000  # a classifier without bias
        assert count == int(row["value"]), row["model"]
        found.add(row["model"])
    assert found == set(OSMR)


def test_keras_counts(reference: Path) -> None:
    """Keras totals hold the running statistics; its ResNets keep biases before norms, its Inception norms no scale."""
    found = set()
    for row in rows(reference / "params.csv", quantity="params_total_incl_BN_running_stats"):
        if row["model"] in KERAS:
            name, arguments = KERAS[row["model"]]
            network = built(name, **arguments)
            count = parameters(network) + running(network)
            if row["model"].startswith("ResNet"):
                count += running(network) // 2
            if row["model"] == "InceptionV3":
                count -= running(network) // 2
            assert count == int(row["value"]), row["model"]
            found.add(row["model"])
    assert found == set(KERAS)


def test_counts_of_papers_and_authors(reference: Path) -> None:
    """Rounded as they print them. Not met: MobileNetV2 (3.4 and 6.9 M; the published channels make 3.50 and 6.11),
    and Inception-v3 in the Xception paper (23,626,728, of an implementation that Keras no longer has)."""
    shuffle1, shuffle2, mobile = r"ShuffleNetV1 (.*)x g(\d)", r"ShuffleNetV2 (.*)x", r"MobileNetV1 (.*)-224"
    found = 0
    for row in rows(reference / "params.csv", variant="paper/authors"):
        for pattern, name in ((shuffle1, "shufflenet_v1"), (shuffle2, "shufflenet_v2"), (mobile, "mobilenet_v1")):
            match = re.fullmatch(pattern, row["model"])
            if match:
                arguments: dict[str, Any] = {"width": float(match[1])}
                if name == "shufflenet_v1":
                    arguments["groups"] = int(match[2])
                assert abs(parameters(built(name, **arguments)) / 1e6 - float(row["value"])) < 0.1, row["model"]
                found += 1
    assert found == 16
    (row,) = rows(reference / "params.csv", variant="paper", model="Xception")
    assert int(row["value"]) == PUBLISHED["xception"].parameters
    original = [
        int(row["value"]) for row in rows(reference / "params.csv", model="lenet5", variant="LeCun.*", layer="[CSF].")
    ]
    network = built("lenet5_1998")
    assert [parameters(module) for module in network.children() if parameters(module)] == original


def test_every_map_has_the_computed_shape(reference: Path) -> None:
    """Each row is met, in order, by a module of its kind and shape; convolutions and dense layers are all listed."""
    cases: dict[tuple[str, str, str], list[tuple[str, Shape]]] = {}
    for row in rows(reference / "feature_maps.csv", kind="computed"):
        shape = shape_of(row["value"])
        assert shape
        cases.setdefault((row["model"], row["variant"], row["input"]), []).append((row["quantity"].split()[1], shape))
    for (model, variant, at), expected in cases.items():
        name, arguments = COMPUTED[model, variant]
        input_shape = shape_of(at)
        assert input_shape
        seen = made(built(name, input_shape, OUTPUTS.get(variant), **arguments), input_shape)
        if name == "lenet5":  # there with mean pooling and C5 as a convolution of 5×5 maps, which is the same sum
            expected = [("Linear", (120,)) if shape == (120, 1, 1) else (kind, shape) for kind, shape in expected]
            expected = [("MaxPool2d" if kind == "AvgPool2d" else kind, shape) for kind, shape in expected]
            expected = [(kind, shape) for kind, shape in expected if kind != "Flatten"]
        rest = iter(seen)
        for kind, shape in expected:
            assert any(
                shape == own and isinstance(module, TYPES.get(kind, nn.Module)) for _, module, own in rest
            ), (model, variant, kind, shape)  # fmt: skip
        for kind in ("Conv2d", "ConvTranspose2d", "Linear"):
            if name != "vit_b_16" or kind != "Linear":  # the table does not see the projections of attention
                own = [shape for _, module, shape in seen if type(module) is TYPES[kind]]
                assert own == [shape for other, shape in expected if other == kind], (model, variant, kind)
    assert len(cases) == 34


# Layers of the papers' tables of sizes.
PAPERS: dict[tuple[str, str], tuple[str, dict[str, str]]] = {
    ("alexnet", "caffe"): ("bvlc_alexnet", {}),
    ("zfnet", "paper Fig.3"): ("zfnet", {}),
    ("lenet", "caffe"): ("caffe_lenet", {}),
    ("lenet5", "1998"): ("lenet5_1998", {layer.upper(): layer for layer in ("c1", "s2", "c3", "s4", "c5")}),
    ("googlenet", "paper Table 1"): ("googlenet", {
        "conv2": "features.conv3", "3a": "features.inception3a", "3b": "features.inception3b",
        "4a-4e": "features.inception4e", "5a-5b": "features.inception5b", "avgpool": "avgpool",
    }),
    ("inception_v3", "paper Table 1"): ("inception_v3", {
        "conv 3x3/2": "features.Conv2d_1a_3x3", "conv 3x3": "features.Conv2d_2a_3x3",
        "conv padded": "features.Conv2d_2b_3x3", "pool": "features.maxpool1",
        "conv 3x3 (torchvision/Keras: 71)": "features.Conv2d_4a_3x3", "pool (35)": "features.maxpool2",
        "3x inception": "features.Mixed_5d", "5x inception": "features.Mixed_6e", "2x inception": "features.Mixed_7c",
    }),
    ("squeezenet1_0", "paper Table 1"): ("squeezenet1_0", {
        "conv1 (pad 0, 224 input: 109; paper prints 111 = 227 input or pad 1-2)": "features.0",
        "maxpool1": "features.2", "maxpool4": "features.6", "maxpool8": "features.11", "conv10": "classifier.1",
    }),
    ("unet", "paper Fig.1"): ("unet", {}),
}  # fmt: skip


def test_maps_have_the_sizes_of_the_papers(reference: Path) -> None:
    found = 0
    for row in rows(reference / "feature_maps.csv", kind="published.*"):
        if row["variant"] == "matconvnet":
            continue
        name, layers = PAPERS[row["model"], row["variant"]]
        input_shape = shape_of(row["input"])
        assert input_shape
        maps = {layer: shape for layer, _, shape in made(built(name), input_shape)}
        layer = layers.get(row["layer"], row["layer"] if name == "unet" else f"features.{row['layer']}")
        if row["quantity"] == "output_shape":
            assert maps[layer] == shape_of(row["value"])
        elif name == "unet" and not layer.startswith("pool"):  # "up-sampled -> first, second", or the last two
            up, _, pair = row["value"].rpartition(" -> ")
            assert [maps[f"{layer}.conv1"][1], maps[f"{layer}.conv2"][1]] == [int(size) for size in pair.split(",")]
            assert not up or maps[layer.replace("up", "upconv")][1] == int(up)
        else:
            assert str(maps[layer][1]) in row["value"].split("|"), row
        found += 1
    assert found == 60


def test_maps_at_other_sizes(reference: Path) -> None:
    """MatConvNet's sizes, but for its AlexNet, whose poolings round down where Caffe's round up, and its VGG, whose
    poolings round up where the paper's frameworks round down."""
    layers = {
        "alexnet": ("bvlc_alexnet", "pool5"), "googlenet": ("googlenet", "inception5b"),
        "squeezenet1-0": ("squeezenet1_0", "12"), "resnet18": ("resnet18", "layer4"), "vgg-vd-16": ("vgg16", "30"),
    }  # fmt: skip
    caffe = {114: 3, 341: 10, 568: 17, 681: 21}
    found = 0
    for row in rows(reference / "feature_maps.csv", variant="matconvnet"):
        name, layer = layers[row["model"]]
        input_shape = shape_of(row["input"])
        assert input_shape
        network = built(name)
        network = network if name == "resnet18" else network.get_submodule("features")
        maps = {layer: shape for layer, _, shape in made(network, input_shape)}
        expected = int(row["value"])
        if name == "bvlc_alexnet":
            expected = caffe.get(input_shape[1], expected)
        if name == "vgg16":
            expected = input_shape[1] // 32
        assert maps[layer][1] == expected, row
        found += 1
    assert found == 30
