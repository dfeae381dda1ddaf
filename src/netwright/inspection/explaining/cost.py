"""Parameters, multiply-adds and activation memory of layers."""

from __future__ import annotations

from netwright.inspection.explaining.structure import Explanation, Step, grouped, product


def convolution_parameters(channels_in: int, channels_out: int, kernel: int, groups: int = 1) -> int:
    """Of a k×k convolution with bias."""
    return channels_out * (channels_in // groups) * kernel**2 + channels_out


def convolution_macs(channels_in: int, channels_out: int, kernel: int, size: int, groups: int = 1) -> int:
    """For one example, ``size`` × ``size`` outputs; biases are no multiplications."""
    return size**2 * channels_out * (channels_in // groups) * kernel**2


def explanation() -> Explanation:
    plain, macs = convolution_parameters(64, 128, 3), convolution_macs(64, 128, 3, 56)
    depthwise = convolution_macs(64, 64, 3, 56, 64)
    pointwise = convolution_macs(64, 128, 1, 56)
    dense = 25088 * 4096
    return Explanation(
        subject="cost",
        summary="Parameters, MACs (multiply-adds, one example) and activation memory, from the sizes alone.",
        steps=(
            Step(
                title="parameters of a convolution, 3×3, 64 → 128 channels",
                formula="out·(in / groups)·k·k + out",
                substituted="128·64·3·3 + 128",
                result=grouped(plain),
            ),
            Step(
                title="its MACs on a 56×56 output",
                formula="H'·W'·out·(in / groups)·k·k",
                substituted="56·56·128·64·3·3",
                result=f"{grouped(macs)}, that is {grouped(2 * macs)} FLOPs",
            ),
            Step(
                title="its activation memory, float32, for a batch of 32",
                formula="N·out·H'·W'·4 bytes",
                substituted="32·128·56·56·4",
                result=f"{grouped(32 * 128 * 56 * 56 * 4)} bytes",
            ),
            Step(
                title="depthwise-separable instead: 3×3 a channel, then 1×1",
                formula="H'·W'·in·k·k + H'·W'·in·out, a share of 1/out + 1/k²",
                substituted=f"{grouped(depthwise)} + {grouped(pointwise)}",
                result=f"{grouped(depthwise + pointwise)}, {(depthwise + pointwise) / macs:.3f} = 1/128 + 1/9 of it",
            ),
            Step(
                title="a dense layer, 25,088 → 4,096 (VGG-16's first)",
                formula="parameters in·out + out, MACs in·out",
                substituted=product((25088, 4096)),
                result=f"{grouped(dense + 4096)} parameters, {grouped(dense)} MACs",
            ),
        ),
        source="Howard et al. 2017, MobileNets, section 3.1; Simonyan and Zisserman 2015, table 2; MACs count "
        "convolutions, dense layers and attention's products, no biases and no norms; FLOPs = 2·MACs",
        numbers={"parameters": plain, "macs": macs, "separable_macs": depthwise + pointwise, "dense_macs": dense},
    )
