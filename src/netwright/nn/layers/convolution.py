"""Convolutions that PyTorch lacks: separable, factorised, locally connected, tiled."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from netwright.errors import NetworkError


class Separable2d(nn.Sequential):
    """(N, I, H, W) → (N, O, H', W'): one kernel a channel (``depthwise``), then 1×1 (``pointwise``); Chollet 2017.

    I k² + I O weights instead of I O k². ``bias`` is that of the 1×1 convolution.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1, dilation: int = 1, bias: bool = True
    ) -> None:
        super().__init__()
        padding = dilation * (kernel - 1) // 2
        self.depthwise = nn.Conv2d(inputs, inputs, kernel, stride, padding, dilation, groups=inputs, bias=False)
        self.pointwise = nn.Conv2d(inputs, outputs, 1, bias=bias)


class Factorized2d(nn.Sequential):
    """(N, I, H, W) → (N, O, H', W'): a 1×k convolution, then a k×1 one; Szegedy et al. 2016, section 3.2."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1, bias: bool = True) -> None:
        super().__init__()
        side = kernel // 2
        self.across = nn.Conv2d(inputs, outputs, (1, kernel), (1, stride), (0, side), bias=False)
        self.down = nn.Conv2d(outputs, outputs, (kernel, 1), (stride, 1), (side, 0), bias=bias)


class LocallyConnected2d(nn.Module):
    """(N, I, H, W) → (N, O, H', W'): a convolution whose kernel is another one at every place.

    ``weight`` (places, I k², O), ``bias`` (O, H', W'): LeCun 1989; Taigman et al. 2014. The size of the maps is part
    of the layer. Cost: that of the convolution in operations; k² times the maps in memory, which are unfolded.
    """

    def __init__(
        self, inputs: int, outputs: int, size: tuple[int, int], kernel: int = 3, stride: int = 1,
        padding: int | None = None, bias: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        self.kernel, self.stride, self.size = kernel, stride, tuple(size)
        self.padding = kernel // 2 if padding is None else padding
        self.places = tuple((side + 2 * self.padding - kernel) // stride + 1 for side in size)
        if min(self.places) < 1:
            raise NetworkError("local", f"maps of {size[0]}×{size[1]}", f"at least {kernel}×{kernel}", "kernel=1")
        fan_in = inputs * kernel * kernel
        self.weight = nn.Parameter(torch.empty(math.prod(self.places), fan_in, outputs))
        self.bias = nn.Parameter(torch.zeros(outputs, *self.places)) if bias else None
        nn.init.uniform_(self.weight, -(1 / math.sqrt(fan_in)), 1 / math.sqrt(fan_in))

    def forward(self, x: Tensor) -> Tensor:
        patches = functional.unfold(x, self.kernel, padding=self.padding, stride=self.stride)  # (N, I k², places)
        made = torch.bmm(patches.permute(2, 0, 1), self.weight)  # (places, N, O)
        maps: Tensor = made.permute(1, 2, 0).unflatten(2, self.places)
        return maps if self.bias is None else maps + self.bias

    def extra_repr(self) -> str:
        return (
            f"{self.weight.shape[1] // self.kernel**2}, {self.weight.shape[2]}, kernel={self.kernel}, size={self.size}"
        )


class Tiled2d(nn.Module):
    """(N, I, H, W) → (N, O, H, W): ``tile``² kernels that take turns along both axes; Ngiam et al. 2010.

    ``weight`` (tile, tile, O, I, k, k): the output at (y, x) is made by the kernel at (y mod tile, x mod tile).
    ``tile`` 1 is a convolution, ``tile`` as large as the map a locally connected layer. As many operations as one
    convolution: each kernel runs at its own places only.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, tile: int = 2, bias: bool = True) -> None:
        super().__init__()
        self.tile, self.padding = tile, kernel // 2
        bound = 1 / math.sqrt(inputs * kernel * kernel)
        self.weight = nn.Parameter(torch.empty(tile, tile, outputs, inputs, kernel, kernel).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        x = functional.pad(x, [self.padding] * 4)
        made = x.new_empty(x.shape[0], self.weight.shape[2], height, width)
        for row in range(min(self.tile, height)):
            for column in range(min(self.tile, width)):
                here = functional.conv2d(x[:, :, row:, column:], self.weight[row, column], self.bias, self.tile)
                rows, columns = -(-(height - row) // self.tile), -(-(width - column) // self.tile)
                made[:, :, row :: self.tile, column :: self.tile] = here[:, :, :rows, :columns]
        return made

    def extra_repr(self) -> str:
        return f"{self.weight.shape[3]}, {self.weight.shape[2]}, kernel={self.weight.shape[4]}, tile={self.tile}"
