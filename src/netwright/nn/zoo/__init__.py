"""Networks by name, one family a file. ``NETWORKS`` is the visible list of what there is."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from netwright.nn.zoo.alexnet import AlexNet, BVLCAlexNet
from netwright.nn.zoo.densenet import densenet121
from netwright.nn.zoo.erfnet import ERFNet
from netwright.nn.zoo.googlenet import googlenet, googlenet_bn
from netwright.nn.zoo.igcnet import IGCV1
from netwright.nn.zoo.inception import InceptionV3
from netwright.nn.zoo.lenet import CaffeLeNet, LeNet5, LeNet300100, OriginalLeNet5
from netwright.nn.zoo.mlp import MLP
from netwright.nn.zoo.mobilenet import MobileNetV1, MobileNetV2
from netwright.nn.zoo.patchgan import PatchGAN
from netwright.nn.zoo.resnet import (
    SmallResNet,
    resnet18,
    resnet20_cifar,
    resnet34,
    resnet50,
    resnet56_cifar,
    resnet101,
    resnet110_cifar,
    resnet152,
    resnext50_32x4d,
)
from netwright.nn.zoo.sequence import Transformer, gru, lstm, rnn
from netwright.nn.zoo.series import SmallResNet1d
from netwright.nn.zoo.shufflenet import ShuffleNetV1, ShuffleNetV2
from netwright.nn.zoo.squeezenet import squeezenet1_0, squeezenet1_1
from netwright.nn.zoo.stack import Stack
from netwright.nn.zoo.unet import UNet
from netwright.nn.zoo.vgg import SmallVGG, vgg11, vgg13, vgg16, vgg16_cifar, vgg19, vgg19_cifar
from netwright.nn.zoo.vit import ViT
from netwright.nn.zoo.xception import Xception
from netwright.nn.zoo.zfnet import ZF5, ZFNet

Build = Callable[..., nn.Module]


@dataclass(frozen=True)
class Published:
    """A network of a paper: how to build it, and the input (C, H, W), the outputs and the parameters it has there."""

    build: Build
    input_shape: tuple[int, ...]
    outputs: int
    parameters: int
    paper: str


SMALL: dict[str, Build] = {
    "mlp": MLP, "lenet5": LeNet5, "small_vgg": SmallVGG, "small_resnet": SmallResNet, "small_resnet1d": SmallResNet1d,
    "stack": Stack,
    "rnn": rnn, "lstm": lstm, "gru": gru, "transformer": Transformer,
}  # fmt: skip

PUBLISHED: dict[str, Published] = {
    "lenet5_1998": Published(OriginalLeNet5, (1, 32, 32), 10, 60_000, "LeCun et al. 1998"),
    "lenet_300_100": Published(LeNet300100, (1, 28, 28), 10, 266_610, "LeCun et al. 1998"),
    "caffe_lenet": Published(CaffeLeNet, (1, 28, 28), 10, 431_080, "Jia et al. 2014"),
    "alexnet": Published(AlexNet, (3, 224, 224), 1000, 61_100_840, "Krizhevsky 2014"),
    "bvlc_alexnet": Published(BVLCAlexNet, (3, 227, 227), 1000, 60_965_224, "Krizhevsky et al. 2012"),
    "zfnet": Published(ZFNet, (3, 224, 224), 1000, 62_357_608, "Zeiler and Fergus 2014"),
    "zf5": Published(ZF5, (3, 224, 224), 256, 3_726_464, "Zeiler and Fergus 2014; He et al. 2014"),
    "vgg11": Published(vgg11, (3, 224, 224), 1000, 132_863_336, "Simonyan and Zisserman 2015"),
    "vgg13": Published(vgg13, (3, 224, 224), 1000, 133_047_848, "Simonyan and Zisserman 2015"),
    "vgg16": Published(vgg16, (3, 224, 224), 1000, 138_357_544, "Simonyan and Zisserman 2015"),
    "vgg19": Published(vgg19, (3, 224, 224), 1000, 143_667_240, "Simonyan and Zisserman 2015"),
    "vgg16_cifar": Published(vgg16_cifar, (3, 32, 32), 10, 14_724_042, "Li et al. 2017"),
    "vgg19_cifar": Published(vgg19_cifar, (3, 32, 32), 10, 20_035_018, "Liu et al. 2017"),
    "googlenet": Published(googlenet, (3, 224, 224), 1000, 6_998_552, "Szegedy et al. 2015"),
    "googlenet_bn": Published(googlenet_bn, (3, 224, 224), 1000, 6_624_904, "Szegedy et al. 2015"),
    "inception_v3": Published(InceptionV3, (3, 299, 299), 1000, 23_834_568, "Szegedy et al. 2016"),
    "resnet18": Published(resnet18, (3, 224, 224), 1000, 11_689_512, "He et al. 2016"),
    "resnet34": Published(resnet34, (3, 224, 224), 1000, 21_797_672, "He et al. 2016"),
    "resnet50": Published(resnet50, (3, 224, 224), 1000, 25_557_032, "He et al. 2016"),
    "resnet101": Published(resnet101, (3, 224, 224), 1000, 44_549_160, "He et al. 2016"),
    "resnet152": Published(resnet152, (3, 224, 224), 1000, 60_192_808, "He et al. 2016"),
    "resnext50_32x4d": Published(resnext50_32x4d, (3, 224, 224), 1000, 25_028_904, "Xie et al. 2017"),
    "resnet20_cifar": Published(resnet20_cifar, (3, 32, 32), 10, 269_722, "He et al. 2016"),
    "resnet56_cifar": Published(resnet56_cifar, (3, 32, 32), 10, 853_018, "He et al. 2016"),
    "resnet110_cifar": Published(resnet110_cifar, (3, 32, 32), 10, 1_727_962, "He et al. 2016"),
    "densenet121": Published(densenet121, (3, 224, 224), 1000, 7_978_856, "Huang et al. 2017"),
    "mobilenet_v1": Published(MobileNetV1, (3, 224, 224), 1000, 4_231_976, "Howard et al. 2017"),
    "mobilenet_v2": Published(MobileNetV2, (3, 224, 224), 1000, 3_504_872, "Sandler et al. 2018"),
    "xception": Published(Xception, (3, 299, 299), 1000, 22_855_952, "Chollet 2017"),
    "shufflenet_v1": Published(ShuffleNetV1, (3, 224, 224), 1000, 1_865_728, "Zhang et al. 2018"),
    "shufflenet_v2": Published(ShuffleNetV2, (3, 224, 224), 1000, 2_278_604, "Ma et al. 2018"),
    "squeezenet1_0": Published(squeezenet1_0, (3, 224, 224), 1000, 1_248_424, "Iandola et al. 2016"),
    "squeezenet1_1": Published(squeezenet1_1, (3, 224, 224), 1000, 1_235_496, "Iandola et al. 2016"),
    "igcv1": Published(IGCV1, (3, 32, 32), 10, 155_962, "Zhang et al. 2017"),
    "vit_b_16": Published(ViT, (3, 224, 224), 1000, 86_567_656, "Dosovitskiy et al. 2021"),
    "erfnet": Published(ERFNet, (3, 512, 1024), 20, 2_066_836, "Romera et al. 2018"),
    "unet": Published(UNet, (1, 572, 572), 2, 31_030_658, "Ronneberger et al. 2015"),
    "patchgan": Published(PatchGAN, (6, 256, 256), 1, 2_768_705, "Isola et al. 2017"),
}

# Each is called with (input_shape, outputs) and those of width, depth, dropout that it takes. For a published network
# width is a multiplier of its channels.
NETWORKS: dict[str, Build] = SMALL | {name: network.build for name, network in PUBLISHED.items()}
