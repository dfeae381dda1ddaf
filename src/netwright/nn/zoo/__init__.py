"""Networks by name, one family a file. ``NETWORKS`` is the visible list of what there is."""

from collections.abc import Callable

from torch import nn

from netwright.nn.zoo.lenet import LeNet5
from netwright.nn.zoo.mlp import MLP
from netwright.nn.zoo.resnet import SmallResNet
from netwright.nn.zoo.vgg import SmallVGG

# Each is called with (input_shape, outputs) and those of width, depth, dropout that it takes.
NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "mlp": MLP,
    "lenet5": LeNet5,
    "small_vgg": SmallVGG,
    "small_resnet": SmallResNet,
}
