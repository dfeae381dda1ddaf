"""The preprocessing records. No torch, no NumPy: they travel with a network to wherever it runs."""

from __future__ import annotations

from typing import Literal

from netwright.errors import RecipeError, unknown_name
from netwright.records import SCHEMA_VERSION, Record

# How many planes each colour space has. `binary` is grey above one half.
CHANNELS = {"binary": 1, "grey": 1, "rgb": 3, "yuv": 3, "hsv": 3, "hsl": 3}


class ImagePreprocess(Record, frozen=True, kw_only=True, tag="image"):
    """``uint8`` (N, 1 or 3, H, W) → planes of the colour spaces in ``channels``, in 0…1, → ``(x - mean) / std``."""

    channels: tuple[str, ...]
    size: tuple[int, int]  # height, width
    fit: Literal["squash", "crop", "pad"] = "squash"  # how a picture of another shape gets there
    mean: tuple[float, ...] = ()  # one a plane; empty: not normalised
    std: tuple[float, ...] = ()


class ArrayPreprocess(Record, frozen=True, kw_only=True, tag="array"):
    """Any array (N, *shape) → ``(x * scale - mean) / std`` with one mean and deviation a channel (first axis)."""

    shape: tuple[int, ...]
    dtype: str = "float32"  # of the raw array; integer inputs (token ids) with scale None stay integers
    scale: float | None = 1.0
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()


class SeriesPreprocess(Record, frozen=True, kw_only=True, tag="series"):
    """``int16`` sound (N, C, samples) at ``sample_rate`` Hz → ``(x / 32768 - mean) / std``."""

    sample_rate: int
    samples: int
    sounds: int = 1  # channels
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()


class Column(Record, frozen=True, kw_only=True):
    """One input column of a table. Numbers: ``(x - mean) / std``; categories: one unit each, unseen ones all zero."""

    name: str
    kind: Literal["number", "category", "date"]
    categories: tuple[str, ...] = ()
    mean: float = 0.0
    std: float = 1.0


class TablePreprocess(Record, frozen=True, kw_only=True, tag="table"):
    """Cells (N, columns) ``float32``, categories as codes (−1 unseen), → (N, features)."""

    columns: tuple[Column, ...]


Preprocess = ImagePreprocess | ArrayPreprocess | SeriesPreprocess | TablePreprocess


class TextInput(Record, frozen=True, kw_only=True):
    """How a text becomes ids: its units, the unit of every id, and the id of units that are not known (None: they are
    left out). ``length``: units of an example, with 0 behind shorter ones; 0: a running text. ``columns``: those of a
    table that hold the texts, one under the other; none: texts are files."""

    unit: Literal["character", "word"]
    vocabulary: tuple[str, ...]
    unknown: int | None = None
    length: int = 0
    columns: tuple[str, ...] = ()


class WindowInput(Record, frozen=True, kw_only=True):
    """Series: the last ``window`` steps of ``columns`` tell the next ``horizon`` steps of ``targets``, which are some
    of them."""

    columns: tuple[str, ...]
    targets: tuple[str, ...]
    window: int
    horizon: int


class InputFile(Record, frozen=True, kw_only=True):
    """``preprocess.json``: everything between the user's example and the network, and back from its output."""

    version: int = SCHEMA_VERSION
    inputs: tuple[Preprocess, ...]
    input_names: tuple[str, ...] = ()  # keyword names, where the network takes its inputs by name
    task: Literal["classification", "multi-label", "regression"]
    classes: tuple[str, ...] = ()  # names of the classes or labels
    targets: tuple[str, ...] = ()  # names of the target values (regression)
    target_mean: tuple[float, ...] = ()  # regression trains on (y - mean) / std; prediction undoes it
    target_std: tuple[float, ...] = ()
    text: TextInput | None = None  # where the input is text, in ids
    window: WindowInput | None = None  # where the input is the past of series


def parse_channels(text: str) -> tuple[str, ...]:
    """``"rgb+hsv"`` as its parts, in order."""
    parts = tuple(part.strip().lower().replace("gray", "grey") for part in text.split("+"))
    for part in parts:
        if part not in CHANNELS:
            raise unknown_name("data.channels", part, CHANNELS, RecipeError)
    return parts


def channel_count(channels: tuple[str, ...]) -> int:
    return sum(CHANNELS[name] for name in channels)


def raw_shape(record: Preprocess) -> tuple[int, ...]:
    """Shape of one raw example."""
    match record:
        case ImagePreprocess():
            return (1 if set(record.channels) <= {"binary", "grey"} else 3, *record.size)
        case ArrayPreprocess():
            return record.shape
        case SeriesPreprocess():
            return (record.sounds, record.samples)
        case TablePreprocess():
            return (len(record.columns),)


def input_shape(record: Preprocess) -> tuple[int, ...]:
    """Shape of one example as the network sees it."""
    match record:
        case ImagePreprocess():
            return (channel_count(record.channels), *record.size)
        case ArrayPreprocess():
            return record.shape
        case SeriesPreprocess():
            return (record.sounds, record.samples)
        case TablePreprocess():
            return (sum(len(column.categories) if column.kind == "category" else 1 for column in record.columns),)
