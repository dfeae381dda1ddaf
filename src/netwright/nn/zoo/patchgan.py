"""The discriminator of pix2pix (Isola et al. 2017)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from netwright.nn.zoo.blocks import fit, named, scaled


class PatchGAN(nn.Module):
    """(N, C, H, W) → (N, outputs, H', W'): one verdict a patch, real or made up; Isola et al. 2017.

    "Image-to-image translation with conditional adversarial networks", CVPR 2017, appendix 6.1.2. ``depth`` is the
    number of layers that halve the map: 3 sees 70×70 patches, 1 sees 16×16, 5 sees 286×286. The input is the pair of
    pictures one behind the other (6 channels). Weights begin as N(0, 0.02), as the paper has it.
    """

    def __init__(self, input_shape: Sequence[int], outputs: int = 1, width: float = 1.0, depth: int = 3) -> None:
        super().__init__()
        channels = fit("patchgan", input_shape, 3 * 2**depth, width)
        layers: list[tuple[str, nn.Module]] = []
        for number in range(depth + 1):
            wide, stride = scaled(64 * 2 ** min(number, 3), width), 2 if number < depth else 1
            layers.append((f"conv{number}", nn.Conv2d(channels, wide, 4, stride, 1, bias=number == 0)))
            if number:
                layers.append((f"bn{number}", nn.BatchNorm2d(wide)))
            layers.append((f"relu{number}", nn.LeakyReLU(0.2)))
            channels = wide
        layers.append(("out", nn.Conv2d(channels, outputs, 4, 1, 1)))
        self.features = named(*layers)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=0.02)
            if isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.weight, 1.0, 0.02)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.features(x)  # type: ignore[no-any-return]
