"""From raw input to the network's input, as one record with twin executions that a test holds equal.

*Raw* is what a source hands over, in its small type: ``uint8`` images (N, C, H, W), ``int16`` sound (N, C, L), a
``float32`` matrix of table cells (N, columns; categories as codes) or plain arrays (N, ...). Training, prediction,
calibration, export and parity all go through these records. Importing this package does not import torch: the twin
for tensors is ``netwright.preprocess.with_torch``.
"""

from netwright.preprocess.records import (
    CHANNELS,
    ArrayPreprocess,
    Column,
    ImagePreprocess,
    InputFile,
    Preprocess,
    SeriesPreprocess,
    TablePreprocess,
    TextInput,
    WindowInput,
    channel_count,
    input_shape,
    parse_channels,
    raw_shape,
)
from netwright.preprocess.with_numpy import apply, measure

__all__ = [
    "CHANNELS",
    "ArrayPreprocess",
    "Column",
    "ImagePreprocess",
    "InputFile",
    "Preprocess",
    "SeriesPreprocess",
    "TablePreprocess",
    "TextInput",
    "WindowInput",
    "apply",
    "channel_count",
    "input_shape",
    "measure",
    "parse_channels",
    "raw_shape",
]
