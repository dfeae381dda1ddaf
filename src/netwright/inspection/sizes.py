"""Output sizes of every kind of layer, and a table of layers given as a text, without a network.

All sizes are of one axis, in positions. Sources: PyTorch 2.13 ``Pool.h``, ``AdaptivePooling.h`` and ``UpSample.h``;
Caffe ``pooling_layer.cpp``; TensorFlow ``common_shape_fns.cc`` (SAME); Dumoulin and Visin 2016, "A guide to convolution
arithmetic for deep learning". No torch.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from fractions import Fraction

from netwright.errors import UsageError, nearest
from netwright.inspection import pixel_sets
from netwright.inspection.fields import Digit, Field, Term, constant
from netwright.inspection.pixel_sets import IDENTITY, Periodic, Reads, Window
from netwright.inspection.receptive_field import AxisField, summary
from netwright.records import Record

Pair = tuple[int, int]  # before, after


def spread(kernel: int, dilation: int = 1) -> int:
    """The extent of a dilated kernel, d (k - 1) + 1."""
    return dilation * (kernel - 1) + 1


def conv_size(size: int, kernel: int, stride: int = 1, padding: Pair = (0, 0), dilation: int = 1) -> int:
    """floor((n + before + after - d (k - 1) - 1) / s) + 1; 0 or less where the kernel does not fit."""
    return (size + sum(padding) - spread(kernel, dilation)) // stride + 1


def pool_size(
    size: int, kernel: int, stride: int, padding: Pair = (0, 0), dilation: int = 1, *, ceil: bool = False,
    caffe: bool = False,
) -> int:  # fmt: skip
    """Pooling: floor as a convolution, or ``ceil``, or as ``caffe`` does, which always ceils.

    The last window of a ceiled size must start within the input or the padding before it. PyTorch always sees to that
    (``Pool.h``), Caffe only where there is padding (``pooling_layer.cpp``): without, a window may lie outside of all.
    """
    if not (ceil or caffe):
        return conv_size(size, kernel, stride, padding, dilation)
    found = -(-(size + sum(padding) - spread(kernel, dilation)) // stride) + 1
    if (any(padding) or not caffe) and (found - 1) * stride >= size + padding[0]:
        found -= 1
    return found


def transposed_size(
    size: int, kernel: int, stride: int = 1, padding: Pair = (0, 0), output_padding: int = 0, dilation: int = 1
) -> int:
    """(n - 1) s - before - after + d (k - 1) + 1 + output padding, which adds at the far side only."""
    return (size - 1) * stride - sum(padding) + spread(kernel, dilation) + output_padding


def same_padding(size: int, kernel: int, stride: int = 1, dilation: int = 1) -> Pair:
    """TensorFlow's SAME: as much as ceil(n / s) outputs need, so it depends on the size; the odd pixel goes after.

    At stride 1 it is PyTorch's ``padding="same"``.
    """
    total = max((-(-size // stride) - 1) * stride + spread(kernel, dilation) - size, 0)
    return total // 2, total - total // 2


def torch_same_padding(kernel: int, dilation: int = 1) -> Pair:
    """PyTorch's ``padding="same"`` (stride 1 only): the odd pixel goes after."""
    total = dilation * (kernel - 1)
    return total // 2, total - total // 2


def adaptive_windows(size: int, length: int) -> tuple[Pair, ...]:
    """The windows [floor(j n / m), ceil((j + 1) n / m)) of adaptive pooling; they overlap where m does not divide n."""
    return tuple((at * size // length, -(-(at + 1) * size // length)) for at in range(length))


def upsampled_size(size: int, factor: float) -> int:
    """floor(n · factor)."""
    return math.floor(size * factor)


# --------------------------------------------------------------------------------------------------------------
# Layers as a text


class LayerSize(Record, frozen=True, kw_only=True):
    """One layer of a text: sizes in positions per axis, receptive field in pixels of the input per axis.

    ``receptive_field`` is the largest where it depends on the phase of the position (behind ``up`` and ``deconv``).
    ``stride`` None: the layer reads all positions. ``offset``: the first pixel that position 0 reads, negative in the
    padding. ``padding``: (size - 1) / 2 - centre of position 0, None where the field does not move evenly.
    ``channels``, ``parameters`` (with bias) and ``macs`` (without) are None where the channels are not known.
    """

    name: str
    kind: str
    text: str
    size: tuple[int, ...]
    receptive_field: tuple[int, ...]
    stride: tuple[float | None, ...]
    offset: tuple[int, ...]
    padding: tuple[float | None, ...]
    channels: int | None = None
    parameters: int | None = None
    macs: int | None = None


GRAMMAR = """conv K [sS] [pP | pBEFORE:AFTER | same | valid] [dD] [gGROUPS | depthwise] [xCHANNELS] [nobias],
pool K [sS] [pP] [ceil | floor], avgpool K …, deconv K [sS] [pP] [oOUTPUTPADDING] [dD] [gGROUPS] [xCHANNELS],
up FACTOR [nearest | linear | cubic], adaptive N, global, fc N, pad P; K, S, P, D may be HxW; *N repeats; NAME: names"""
_OPTIONS = {  # kind → what may follow
    "conv": ("s", "p", "same", "valid", "d", "g", "depthwise", "x", "nobias"),
    "deconv": ("s", "p", "o", "d", "g", "depthwise", "x", "nobias"),
    "pool": ("s", "p", "same", "valid", "d", "ceil", "floor"),
    "avgpool": ("s", "p", "same", "valid", "ceil", "floor"),
    "up": ("nearest", "linear", "cubic"),
    "adaptive": (),
    "global": (),
    "fc": ("nobias",),
    "pad": (),
}
_MEANING = {
    "s": "sSTRIDE", "p": "pPADDING", "d": "dDILATION", "g": "gGROUPS", "x": "xCHANNELS", "o": "oOUTPUTPADDING",
}  # fmt: skip
_ALIASES = {
    "convolution": "conv", "conv2d": "conv", "maxpool": "pool", "max": "pool", "avg": "avgpool", "dense": "fc",
    "linear": "fc", "upsample": "up", "gap": "global", "transposed": "deconv", "bilinear": "linear",
    "bicubic": "cubic",
}  # fmt: skip
MOST_LAYERS = 10_000
LARGEST = 1 << 20  # positions of a map, and any other number but units and channels


class _Item:
    """One layer as written."""

    def __init__(self, where: str, kind: str, name: str, text: str, values: dict[str, tuple[int, ...]]) -> None:
        self.where, self.kind, self.name, self.text, self.values = where, kind, name, text, values
        self.words: set[str] = set()
        self.pads: Pair | None = None
        self.factor = Fraction(1)


class _Map:
    """What a table has come to: the map's size and channels, and what its positions read, per axis."""

    def __init__(self, size: tuple[int, ...], channels: int | None) -> None:
        self.input, self.size, self.channels = size, size, channels
        self.read: list[Periodic | pixel_sets.Table] = [IDENTITY] * len(size)
        self.whole = False

    def through(self, axis: int, reads: Reads) -> None:
        source = self.read[axis]
        law = reads.law(source) if isinstance(source, Periodic) else None
        if law is None:
            table = source.table(reads.source) if isinstance(source, Periodic) else source
            self.read[axis] = reads.table(table, 0)
        else:
            self.read[axis] = law

    def row(self, item: _Item, name: str, parameters: int | None, macs: int | None) -> LayerSize:
        fields = [self._field(axis) for axis in range(len(self.input))]
        return LayerSize(
            name=name, kind=item.kind, text=item.text, size=self.size, channels=self.channels, parameters=parameters,
            macs=macs, receptive_field=tuple(field.size or 0 for field in fields),
            stride=tuple(field.stride for field in fields), offset=tuple(field.offset or 0 for field in fields),
            padding=tuple(field.padding for field in fields),
        )  # fmt: skip

    def _field(self, axis: int) -> AxisField:
        if self.whole:
            return summary(Field((constant(Window(0, (1 << self.input[axis]) - 1)),), whole=True))
        return summary(Field((Term((Digit(0, 1, self.size[axis]),), self.read[axis]),)))


def layer_table(
    text: str, input_size: int | Sequence[int], *, channels: int | None = None, caffe: bool = False
) -> tuple[LayerSize, ...]:
    """Sizes, receptive fields and, where channels are known, parameters and MACs of layers that follow each other.

    ``text`` is a list such as ``conv 11 s4 x96, pool 3 s2, conv 5 p2 x256, …``; see ``GRAMMAR``. ``input_size``: 227 is
    227×227; (C, H, W) has its channels first; (H, W), and with ``channels`` every sequence, are the axes alone.
    ``caffe`` lets pooling ceil as Caffe does.

    Raises ``UsageError`` that names the item, what was written there, what may be, and the nearest word.
    """
    size, known = _input(input_size, channels)
    state, rows, counts = _Map(size, known), [], Counter[str]()
    for item in _parsed(text):
        parameters, macs = _applied(item, state, caffe)
        rows.append(state.row(item, item.name or _named(item.kind, counts), parameters, macs))
    return tuple(rows)


def _named(kind: str, counts: Counter[str]) -> str:
    """conv1, pool1, conv2, … : a pooling has the number of the convolution before it, as in the papers."""
    counts[kind] += 1
    if kind in ("pool", "avgpool"):
        at = counts["conv"]
        counts[f"{kind} {at}"] += 1
        again = counts[f"{kind} {at}"]
        return f"{kind}{at}" + ("" if again == 1 else "abcdefghijklmnopqrstuvwxyz"[(again - 1) % 26])
    return f"{kind}{counts[kind]}" if kind != "global" else kind


def _input(given: int | Sequence[int], channels: int | None) -> tuple[tuple[int, ...], int | None]:
    values = (given, given) if isinstance(given, int) else tuple(given)
    if channels is None and not isinstance(given, int) and len(values) == 3:
        channels, values = values[0], values[1:]
    if not 1 <= len(values) <= 3 or min(values) < 1 or max(values) > LARGEST or (channels is not None and channels < 1):
        got = "x".join(map(str, (given,) if isinstance(given, int) else given))
        raise UsageError("--input", got, f"one to three sizes from 1 to {LARGEST}, such as 227 or 3x227x227")
    return values, channels


def _parsed(text: str) -> list[_Item]:
    items: list[_Item] = []
    written = [part.strip() for part in re.split(r"[,;\n]", text)]
    for number, part in enumerate((part for part in written if part), 1):
        where = f"--layers, item {number} ({part!r})"
        times = re.search(r"\*\s*(\d+)\s*$", part)
        count = int(times[1]) if times else 1
        body = part[: times.start()].strip() if times else part
        if not 1 <= count <= MOST_LAYERS or len(items) + count > MOST_LAYERS:
            raise UsageError(where, f"*{count}", f"1 to {MOST_LAYERS} layers in all")
        items += [_item(where, body)] * count
    if not items:
        raise UsageError("--layers", repr(text), "layers separated by commas", '"conv 11 s4, pool 3 s2"')
    return items


def _item(where: str, text: str) -> _Item:
    name, colon, rest = text.partition(":")
    named = bool(colon) and bool(re.fullmatch(r"[A-Za-z_][\w.]*", name.strip())) and not re.search(r"\s", name.strip())
    words = (rest if named else text).split()
    if not words:
        raise UsageError(where, "no layer", f"one of {', '.join(_OPTIONS)}")
    kind = _ALIASES.get(words[0].lower(), words[0].lower())
    if kind not in _OPTIONS:
        near = nearest(kind, [*_OPTIONS, *_ALIASES])
        raise UsageError(where, f"the layer {words[0]!r}", f"one of {', '.join(_OPTIONS)}", near or GRAMMAR)
    item = _Item(where, kind, name.strip() if named else "", " ".join(words), {})
    arguments = words[1:]
    if kind != "global":
        if not arguments:
            raise UsageError(where, f"{kind} alone", f"a number behind {kind}", f"{kind} 3")
        _main_number(item, arguments.pop(0))
    for word in arguments:
        _option(item, word)
    paddings = [word for word in ("same", "valid") if word in item.words] + ["p"] * ("p" in item.values)
    if len(paddings) > 1:
        raise UsageError(where, " and ".join(sorted(paddings)), "one of them")
    return item


def _main_number(item: _Item, word: str) -> None:
    if item.kind == "up":
        try:
            item.factor = Fraction(word)
        except (ValueError, ZeroDivisionError):
            item.factor = Fraction(0)
        if item.factor <= 0:
            raise UsageError(item.where, repr(word), "a factor above 0 behind up", "up 2")
        return
    if item.kind == "pad":
        _padding(item, word)
        return
    values = _numbers(word)
    if values is None or min(values) < 1 or (item.kind == "fc" and len(values) > 1):
        what = "a number of units" if item.kind == "fc" else "a size such as 3 or 3x1"
        raise UsageError(item.where, repr(word), f"{what} behind {item.kind}", f"{item.kind} 3")
    item.values["k"] = values


def _option(item: _Item, word: str) -> None:
    allowed = _OPTIONS[item.kind]
    plain = _ALIASES.get(word.lower(), word.lower())
    if plain in allowed and len(plain) > 1:
        item.words.add(plain)
        return
    key, rest = plain[:1], plain[1:]
    if key in allowed and len(key) == 1:
        if key == "p":
            _padding(item, rest)
            return
        values = _numbers(rest)
        least = 0 if key == "o" else 1
        if values is not None and min(values) >= least and (key not in "gx" or len(values) == 1):
            if key in item.values:
                raise UsageError(item.where, f"{key} twice", f"{_MEANING[key]} once")
            item.values[key] = values
            return
        raise UsageError(item.where, repr(word), f"{_MEANING[key]} with a number of at least {least}", f"{key}2")
    may = [_MEANING.get(option, option) for option in allowed]
    near = nearest(plain, [option for option in allowed if len(option) > 1])
    raise UsageError(item.where, repr(word), f"{', '.join(may) or 'nothing more'} behind {item.kind}", near or "")


def _padding(item: _Item, word: str) -> None:
    sides = re.fullmatch(r"(\d+):(\d+)", word)
    if sides:
        item.pads = int(sides[1]), int(sides[2])
        item.values["p"] = ()
        return
    values = _numbers(word)
    if values is None:
        raise UsageError(item.where, repr(word), "a padding such as p1, p1x0 or p1:2 (before:after)", "p1")
    item.values["p"] = values


def _numbers(word: str) -> tuple[int, ...] | None:
    values = tuple(map(int, word.split("x"))) if re.fullmatch(r"\d{1,9}(x\d{1,9}){0,2}", word) else None
    return values if values is not None and max(values) <= LARGEST else None


# ---- what a layer does to a map


def _applied(item: _Item, state: _Map, caffe: bool) -> tuple[int | None, int | None]:
    """Changes ``state``; the layer's parameters and MACs."""
    if state.whole and item.kind != "fc":
        raise UsageError(item.where, f"{item.kind} behind {'a dense layer' if not state.size else 'global'}",
                         "dense layers only")  # fmt: skip
    before = state.size
    for values in item.values.values():
        if len(values) not in (0, 1, len(before)) and item.kind != "fc":
            raise UsageError(item.where, "x".join(map(str, values)), f"one number, or {len(before)}: one an axis")
    if item.kind == "fc":
        return _dense(item, state)
    if item.kind == "global":
        state.size, state.whole = (1,) * len(before), True
        return _nothing(state)
    rank = len(before)
    rules: dict[str, Callable[[_Item, int, int, bool], tuple[int, Reads]]] = {
        "conv": _slid, "pool": _slid, "avgpool": _slid, "deconv": _spread_out, "up": _resized, "adaptive": _adaptive,
        "pad": _padded,
    }  # fmt: skip
    sizes = []
    for axis in range(rank):
        size, reads = rules[item.kind](item, axis, before[axis], caffe)
        if size < 1:
            expected = f"a kernel that fits: {item.text} needs more than {'x'.join(map(str, before))} positions"
            raise UsageError(item.where, f"a map of {'x'.join(map(str, before))}", expected, "another --input, or p1")
        if size > LARGEST:
            raise UsageError(item.where, f"a map of {size} positions", f"at most {LARGEST}")
        state.through(axis, reads)
        sizes.append(size)
    state.size = tuple(sizes)
    return _weights(item, state, before) if item.kind in ("conv", "deconv") else _nothing(state)


def _nothing(state: _Map) -> tuple[int | None, int | None]:
    return (0, 0) if state.channels is not None else (None, None)


def _at(item: _Item, key: str, axis: int, default: int) -> int:
    values = item.values.get(key, (default,))
    return values[axis if len(values) > 1 else 0]


def _pads(item: _Item, axis: int, size: int, kernel: int, stride: int, dilation: int) -> Pair:
    if "same" in item.words:
        return same_padding(size, kernel, stride, dilation)
    if item.pads is not None:
        return item.pads
    side = _at(item, "p", axis, 0)
    return side, side


def _slid(item: _Item, axis: int, size: int, caffe: bool) -> tuple[int, Reads]:
    kernel, dilation = _at(item, "k", axis, 1), _at(item, "d", axis, 1)
    stride = _at(item, "s", axis, 1 if item.kind == "conv" else kernel)
    pads = _pads(item, axis, size, kernel, stride, dilation)
    if item.kind == "conv" or "same" in item.words:
        length = conv_size(size, kernel, stride, pads, dilation)
    else:
        if max(pads) > kernel // 2 and not caffe:
            raise UsageError(item.where, f"p{max(pads)}", f"at most half of the window, {kernel // 2}")
        as_caffe = caffe and not item.words & {"ceil", "floor"}
        length = pool_size(size, kernel, stride, pads, dilation, ceil="ceil" in item.words, caffe=as_caffe)
    return length, pixel_sets.sliding(size, max(length, 0), kernel, stride, pads[0], dilation)


def _spread_out(item: _Item, axis: int, size: int, caffe: bool) -> tuple[int, Reads]:
    kernel, stride, dilation = _at(item, "k", axis, 1), _at(item, "s", axis, 1), _at(item, "d", axis, 1)
    pads, more = _pads(item, axis, size, kernel, stride, dilation), _at(item, "o", axis, 0)
    if more and more >= max(stride, dilation):
        raise UsageError(item.where, f"o{more}", f"less than the stride or the dilation, {max(stride, dilation)}")
    length = transposed_size(size, kernel, stride, pads, more, dilation)
    return length, pixel_sets.transposed(size, max(length, 0), kernel, stride, pads[0], dilation)


def _resized(item: _Item, axis: int, size: int, caffe: bool) -> tuple[int, Reads]:
    mode = next(iter(item.words), "nearest")
    length = math.floor(size * item.factor)
    if length < 1:
        return 0, pixel_sets.sliced(size, 0, 0)
    return length, pixel_sets.resized(size, length, mode, scale=float(item.factor))


def _adaptive(item: _Item, axis: int, size: int, caffe: bool) -> tuple[int, Reads]:
    length = _at(item, "k", axis, 1)
    return length, pixel_sets.adaptive(size, length)


def _padded(item: _Item, axis: int, size: int, caffe: bool) -> tuple[int, Reads]:
    before, after = _pads(item, axis, size, 1, 1, 1)
    return size + before + after, pixel_sets.padded(size, size + before + after, before, "constant")


def _weights(item: _Item, state: _Map, before: tuple[int, ...]) -> tuple[int | None, int | None]:
    """Parameters with bias; MACs: outputs times weights an output reads, of a transposed one inputs times those."""
    inputs = state.channels
    depthwise = "depthwise" in item.words
    outputs = item.values["x"][0] if "x" in item.values else (inputs if depthwise else None)
    if inputs is None or outputs is None:
        state.channels = outputs
        return None, None
    groups = inputs if depthwise else item.values.get("g", (1,))[0]
    if inputs % groups or outputs % groups:
        raise UsageError(item.where, f"{groups} groups of {inputs} → {outputs} channels", "a divisor of both")
    kernel = math.prod(_at(item, "k", axis, 1) for axis in range(len(before)))
    weights = inputs // groups * outputs * kernel
    state.channels = outputs
    positions = math.prod(before if item.kind == "deconv" else state.size)
    return weights + (0 if "nobias" in item.words else outputs), weights * positions


def _dense(item: _Item, state: _Map) -> tuple[int | None, int | None]:
    units, inputs = item.values["k"][0], state.channels
    if inputs is not None:
        inputs *= math.prod(state.size)
    state.size, state.channels, state.whole = (), units, True
    if inputs is None:
        return None, None
    return inputs * units + (0 if "nobias" in item.words else units), inputs * units
