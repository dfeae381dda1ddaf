"""LeNet-5 of 1998, its modern forms, and LeNet-300-100."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn

from netwright.errors import NetworkError
from netwright.nn.zoo.blocks import fan_in, fit, he, named, scaled, sides

# The maps of S2 that each map of C3 reads: Table I of LeCun et al. 1998, column by column.
READS = (
    (0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (0, 4, 5), (0, 1, 5),
    (0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (0, 3, 4, 5), (0, 1, 4, 5), (0, 1, 2, 5),
    (0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5), (0, 1, 2, 3, 4, 5),
)  # fmt: skip


class LeNet5(nn.Module):
    """(N, C, H, W) → (N, outputs): LeCun et al. 1998 as it is built today (ReLU, max pooling, full connections).

    Two 5×5 convolutions with pooling and three dense layers; ``width`` multiplies the channels (6, 16) and units
    (120, 84) in sixths. A 1×28×28 input is padded by 2, so that 10 outputs make the well-known 61,706 parameters.
    Inputs smaller than 28 keep their size in the first convolution, and below 12 there is only one pooling.
    """

    def __init__(self, input_shape: Sequence[int], outputs: int, width: int = 6, dropout: float = 0.0) -> None:
        super().__init__()
        if len(input_shape) != 3 or min(input_shape[1:]) < 6:
            raise NetworkError(
                "lenet5", f"an input of shape {tuple(input_shape)}", "(channels, height ≥ 6, width ≥ 6)", "mlp"
            )
        channels, height, wide = input_shape
        padding = 2 if min(height, wide) <= 28 else 0
        pools = 2 if min(height, wide) >= 12 else 1
        second = max(1, round(16 * width / 6))
        small = pools == 1
        self.features = nn.Sequential(
            nn.Conv2d(channels, width, 5, padding=padding), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(width, second, 5, padding=2 if small else 0), nn.ReLU(), *([] if small else [nn.MaxPool2d(2)]),
        )  # fmt: skip
        sizes = []
        for size in (height, wide):
            size = (size + 2 * padding - 4) // 2
            sizes.append(size if small else (size - 4) // 2)
        hidden = [max(1, round(units * width / 6)) for units in (120, 84)]
        self.head = nn.Sequential(
            nn.Flatten(), nn.Linear(second * sizes[0] * sizes[1], hidden[0]), nn.ReLU(), nn.Dropout(dropout),
            nn.Linear(hidden[0], hidden[1]), nn.ReLU(), nn.Linear(hidden[1], outputs),
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(x))  # type: ignore[no-any-return]


class Squash(nn.Module):
    """1.7159 · tanh(2 x / 3): LeCun et al. 1998, eq. 6 and appendix A."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 1.7159 * torch.tanh(2 / 3 * x)


class Subsampling(nn.Module):
    """(N, C, H, W) → (N, C, H / 2, W / 2): the sum of each 2×2 window times a map's weight plus its bias."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 4 * nn.functional.avg_pool2d(x, 2) * self.weight + self.bias


class PartialConv(nn.Module):
    """(N, C, H, W) → (N, len(reads), H - 4, W - 4): 5×5 convolutions, each of the maps that its row names."""

    def __init__(self, reads: Sequence[Sequence[int]]) -> None:
        super().__init__()
        self.reads = [list(maps) for maps in reads]
        self.maps = nn.ModuleList(nn.Conv2d(len(maps), 1, 5) for maps in reads)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([conv(x[:, maps]) for conv, maps in zip(self.maps, self.reads)], 1)


class RadialOutput(nn.Module):
    """(N, D) → (N, outputs): minus the squared distance to each class's fixed code of ±1 (LeCun et al. 1998, eq. 7).

    The paper draws the codes of its characters by hand as 7×12 pictures and says that they could be random as well;
    these are random, the same ones always.
    """

    def __init__(self, size: int, outputs: int) -> None:
        super().__init__()
        drawn = torch.randint(2, (outputs, size), generator=torch.Generator().manual_seed(1998), device="cpu")
        self.codes: torch.Tensor
        self.register_buffer("codes", (2.0 * drawn - 1).to(torch.empty(0).device))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return -(x.unsqueeze(1) - self.codes).square().sum(2)


class OriginalLeNet5(nn.Module):
    """(N, 1, 32, 32) → (N, outputs): LeNet-5 as it was published in 1998, with 60,000 trainable parameters.

    LeCun, Bottou, Bengio and Haffner, "Gradient-based learning applied to document recognition", Proc. IEEE 86(11),
    II.B: partly connected third layer, trainable subsampling, scaled tanh, distances to fixed codes. An output is minus
    a distance, so that the largest is the class. Pictures of 28×28 are padded by 2.
    """

    def __init__(self, input_shape: Sequence[int], outputs: int) -> None:
        super().__init__()
        if tuple(input_shape[1:]) not in ((28, 28), (32, 32)):
            raise NetworkError(
                "lenet5_1998", f"an input of shape {tuple(input_shape)}", "(channels, 32, 32) or 28×28", "lenet5"
            )
        self.c1 = nn.Conv2d(input_shape[0], 6, 5, padding=2 if input_shape[1] == 28 else 0)
        self.squash1 = Squash()
        self.s2 = Subsampling(6)
        self.squash2 = Squash()
        self.c3 = PartialConv(READS)
        self.squash3 = Squash()
        self.s4 = Subsampling(16)
        self.squash4 = Squash()
        self.c5 = nn.Conv2d(16, 120, 5)
        self.squash5 = Squash()
        self.flatten = nn.Flatten()
        self.f6 = nn.Linear(120, 84)
        self.squash6 = Squash()
        self.output = RadialOutput(84, outputs)
        for module in self.modules():  # uniform in ±2.4 / fan-in: the paper's appendix A
            bound = 2.4 / fan_in(module) if isinstance(module, nn.Conv2d | nn.Linear) else 2.4 / 4
            if isinstance(module, nn.Conv2d | nn.Linear | Subsampling):
                nn.init.uniform_(module.weight, -bound, bound)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.squash2(self.s2(self.squash1(self.c1(x))))
        x = self.squash4(self.s4(self.squash3(self.c3(x))))
        x = self.flatten(self.squash5(self.c5(x)))
        return self.output(self.squash6(self.f6(x)))  # type: ignore[no-any-return]


class CaffeLeNet(nn.Module):
    """(N, C, H, W) → (N, outputs): the LeNet of Caffe's MNIST example, which pruning papers call LeNet-5.

    Jia et al. 2014, "Caffe: convolutional architecture for fast feature embedding": 20 and 50 channels, no nonlinearity
    behind a convolution but the pooling's, 500 units. The dense layer takes what the second pooling leaves.
    """

    def __init__(self, input_shape: Sequence[int], outputs: int, width: float = 1.0) -> None:
        super().__init__()
        inputs = fit("caffe_lenet", input_shape, 13, width)
        first, second, units = (scaled(channels, width, 1) for channels in (20, 50, 500))
        self.features = named(
            ("conv1", nn.Conv2d(inputs, first, 5)), ("pool1", nn.MaxPool2d(2, ceil_mode=True)),
            ("conv2", nn.Conv2d(first, second, 5)), ("pool2", nn.MaxPool2d(2, ceil_mode=True)),
        )  # fmt: skip
        size = second * math.prod(sides(self.features, input_shape))
        self.classifier = named(
            ("flatten", nn.Flatten()), ("ip1", nn.Linear(size, units)), ("relu1", nn.ReLU()),
            ("ip2", nn.Linear(units, outputs)),
        )  # fmt: skip
        he(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.features(x))  # type: ignore[no-any-return]


class LeNet300100(nn.Module):
    """(N, ...) → (N, outputs): two hidden layers of 300 and 100 units; LeCun et al. 1998, III.C.

    With ReLU, as Han et al. 2015 ("Learning both weights and connections") have it.
    """

    def __init__(self, input_shape: Sequence[int], outputs: int, width: float = 1.0) -> None:
        super().__init__()
        first, second = scaled(300, width, 1), scaled(100, width, 1)
        self.flatten = nn.Flatten()
        self.fc1 = nn.Linear(math.prod(input_shape), first)
        self.relu1 = nn.ReLU()
        self.fc2 = nn.Linear(first, second)
        self.relu2 = nn.ReLU()
        self.fc3 = nn.Linear(second, outputs)
        he(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.relu2(self.fc2(self.relu1(self.fc1(self.flatten(x)))))
        return self.fc3(x)  # type: ignore[no-any-return]
