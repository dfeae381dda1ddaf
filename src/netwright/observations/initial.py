"""What an untrained network does with one batch, on a copy: scales over depth, weights, gradients. No torch."""

from __future__ import annotations

from netwright.records import Record


class WeightStart(Record, frozen=True, kw_only=True):
    """One weight matrix (units × inputs of a unit) before the first step, beside PyTorch's own initialisation of it.

    ``gain``: deviation × √fan-in, 1 where a linear layer keeps the scale of its input (LeCun 1998). ``highest_gain`` of
    PyTorch's default and Glorot's and He's rules, ``lowest_gain`` the least of them: what is usual for this shape.
    ``equal_rows``: all units have the same weights. ``equal_gradients``: they also get the same gradient, so that no
    step of any optimiser tells them apart. ``fresh``: they look drawn at random, not learned; None: too few to say.
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
    """One leaf module that was called, in the order of its first call, by the names of `LayerFacts`.

    ``output_scale``: root mean square of the output. ``varied``: the share of it that differs between examples (1: all,
    0: the output does not depend on the input; what is below 1e-6 is rounding). ``gradient_norm``: of the loss'
    derivative by one example's output, root mean square over examples. ``dead``: share of units that are zero for
    every example.
    """

    name: str
    kind: str
    units: int = 0
    output_scale: float | None = None
    varied: float | None = None
    gradient_norm: float | None = None
    dead: float | None = None
    finite: bool = True
    weight: WeightStart | None = None


class ParameterStart(Record, frozen=True, kw_only=True):
    """One parameter: the norm of its gradient (None: it got none, or it was not finite), whether changing it changes
    the loss."""

    name: str
    size: int
    trainable: bool
    gradient: float | None = None
    finite: bool = True
    moves_loss: bool | None = None
    called: bool = True  # its module, or one around it, took part in the forward pass
    fresh: bool | None = None


class RecurrentStart(Record, frozen=True, kw_only=True):
    """A recurrence of ``steps`` steps: the norm of the loss' gradient at the ``first`` of them ÷ at the strongest."""

    name: str
    steps: int
    first: float


class InitialState(Record, frozen=True, kw_only=True):
    """``affine``: the whole network, up to an activation at its end, is an affine function of its input."""

    layers: tuple[LayerStart, ...] = ()
    parameters: tuple[ParameterStart, ...] = ()
    examples: int = 0
    affine: bool | None = None
    loss: float | None = None
    gradient: float | None = None  # norm over all parameters
    recurrent: tuple[RecurrentStart, ...] = ()
    seconds: float = 0.0
