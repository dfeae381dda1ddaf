"""What an untrained network does with one batch, on a copy: scales over depth, weights, who gets a gradient. No torch."""

from __future__ import annotations

from typing import Literal

from netwright.records import Record

Role = Literal["weighted", "recurrent", "embedding", "activation", "norm", "affine", "other"]


class WeightStart(Record, frozen=True, kw_only=True):
    """One weight matrix (units × inputs of a unit) before the first step, beside PyTorch's own initialisation of it.

    ``gain``: deviation × √fan-in, 1 where a linear layer keeps the scale of its input (LeCun 1998). ``highest_gain`` of
    PyTorch's default and Glorot's and He's rules, ``lowest_gain`` the least of them: what is usual for this shape.
    ``equal_rows``: all units have the same weights. ``equal_gradients``: they also get the same gradient, so that no
    step of any optimiser tells them apart. ``fresh``: the values look drawn at random, not learned; None: too few to say.
    """

    fan_in: int
    fan_out: int
    mean: float
    deviation: float
    gain: float
    lowest_gain: float
    highest_gain: float
    equal_rows: bool = False
    equal_gradients: bool | None = None
    constant: bool = False
    fresh: bool | None = None


class LayerStart(Record, frozen=True, kw_only=True):
    """One leaf module, in the order of its first call.

    ``reads``: the leaf whose output it takes, as it was or reshaped; "" where something else came between.
    ``output_scale``: root of the mean square of the output; ``varied``: the share of it that differs between examples
    (1: all of it, 0: the output does not depend on the input). ``gradient_scale``: root of the mean square of the loss'
    derivative by the output. ``slope``: root of the mean square of an activation's own derivative. ``dead``: share of
    units that are zero, with a zero derivative, for every example. ``units``: how many there are.
    """

    name: str
    kind: str
    role: Role
    reads: str = ""
    units: int = 0
    positions: int = 1  # of one example: pixels of a map, steps of a sequence
    output_scale: float | None = None
    varied: float | None = None
    gradient_scale: float | None = None
    slope: float | None = None
    dead: float | None = None
    finite: bool = True
    weight: WeightStart | None = None


class ParameterStart(Record, frozen=True, kw_only=True):
    """One parameter: the norm of its gradient (None: it got none) and whether changing it changes the loss."""

    name: str
    size: int
    trainable: bool
    gradient: float | None = None
    moves_loss: bool | None = None
    called: bool = True  # its module, or one around it, took part in the forward pass
    fresh: bool | None = None


class InitialState(Record, frozen=True, kw_only=True):
    """``affine``: the whole network, up to an activation at its end, is an affine function of its input."""

    layers: tuple[LayerStart, ...] = ()
    parameters: tuple[ParameterStart, ...] = ()
    examples: int = 0
    affine: bool | None = None
    loss: float | None = None
    gradient: float | None = None  # norm over all parameters
    seconds: float = 0.0
