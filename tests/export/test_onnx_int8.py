"""Int8 files: rounded the way whose outputs are nearest to the float file's on real examples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from netwright.export import onnx as onnx_target
from netwright.export import package as packages

pytest.importorskip("onnxruntime")
from netwright.export import onnx_int8


def tailed(count: int, seed: int) -> np.ndarray:
    """Most values near 1, one of some thousands a hundred times larger: a range over all leaves a few steps to most."""
    drawn = np.random.default_rng(seed)
    values = drawn.normal(size=(count, 3, 12, 12))
    values[drawn.random(values.shape) < 2e-4] *= 100
    return values.astype(np.float32)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 64, 3), nn.ReLU(), nn.Conv2d(64, 64, 3), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10),
    )  # fmt: skip


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[packages.Package, Path, Path, str]:
    folder = tmp_path_factory.mktemp("int8")
    made = packages.package(network(), [tailed(64, 0)], precision="int8", calibration=[tailed(128, 1)])
    onnx_target.convert(made, folder / "float.onnx")
    said = onnx_int8.quantize(folder / "float.onnx", folder / "ours.onnx", made)
    return made, folder / "float.onnx", folder / "ours.onnx", said


def error(made: packages.Package, plain: Path, path: Path) -> float:
    """Of examples that nothing was chosen on."""
    expected, got = (onnx_target.Runtime(each).run(*made.inputs) for each in (plain, path))
    return float(np.square(expected - got).mean() / expected.var())


def usual(made: packages.Package, plain: Path, path: Path) -> None:
    """Ranges from the least to the largest value, as ONNX Runtime does it by itself."""
    from onnxruntime import quantization

    batches = iter([{"input": made.calibration[0]}])

    class Reader(quantization.CalibrationDataReader):
        def get_next(self) -> Any:
            return next(batches, None)

    quantization.quantize_static(
        str(plain), str(path), Reader(), quant_format=quantization.QuantFormat.QDQ, per_channel=True,
        activation_type=quantization.QuantType.QUInt8, weight_type=quantization.QuantType.QInt8,
    )  # fmt: skip


def test_rare_large_values_do_not_take_the_steps_of_all_others(
    written: tuple[packages.Package, Path, Path, str], tmp_path: Path
) -> None:
    made, plain, path, said = written
    usual(made, plain, tmp_path / "usual.onnx")
    assert error(made, plain, path) < 0.5 * error(made, plain, tmp_path / "usual.onnx"), said
    assert "ranges by minmax" not in said


def test_weights_have_a_scale_a_channel_and_the_small_ends_stay_float(
    written: tuple[packages.Package, Path, Path, str],
) -> None:
    import onnx

    model = onnx.load(str(written[2]))
    held = {each.name: each for each in model.graph.initializer}
    eight = [each for each in held.values() if each.data_type == onnx.TensorProto.INT8 and len(each.dims) == 4]
    assert {each.dims[0] for each in eight} == {64}
    assert len(eight) == 2
    scale = {node.input[0]: node.input[1] for node in model.graph.node if node.op_type == "DequantizeLinear"}
    for each in eight:
        assert list(held[scale[each.name]].dims) == [64]
    floats = [each for each in held.values() if each.data_type == onnx.TensorProto.FLOAT and len(each.dims) > 1]
    assert sorted(tuple(each.dims) for each in floats) == [(10, 64), (16, 3, 3, 3)]


def test_a_layer_with_most_of_the_weights_is_rounded_wherever_it_stands(tmp_path: Path) -> None:
    """An end that stays float must not cost the file its size."""
    import onnx

    wide = nn.Sequential(nn.Linear(200, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    rows = np.random.default_rng(0).normal(size=(64, 200)).astype(np.float32)
    made = packages.package(wide, [rows], precision="int8", calibration=[rows])
    onnx_target.convert(made, tmp_path / "float.onnx")
    left = onnx_int8.ends(onnx.load(str(tmp_path / "float.onnx")))
    assert len(left) == 1  # the last, of 640 weights; not the first, of 12,800
    onnx_int8.quantize(tmp_path / "float.onnx", tmp_path / "ours.onnx", made)
    sizes = [(tmp_path / name).stat().st_size for name in ("ours.onnx", "float.onnx")]
    assert sizes[0] < 0.4 * sizes[1]


def test_a_file_of_one_batch_size_is_rounded_too(tmp_path: Path) -> None:
    made = packages.package(network(), [tailed(8, 0)], precision="int8", calibration=[tailed(20, 1)])
    onnx_target.convert(made, tmp_path / "float.onnx", batch=1)
    onnx_int8.quantize(tmp_path / "float.onnx", tmp_path / "ours.onnx", made)
    assert error(made, tmp_path / "float.onnx", tmp_path / "ours.onnx") < 0.05


def test_what_is_left_out_of_the_graph_changes_no_bit_and_no_layers_name(
    written: tuple[packages.Package, Path, Path, str], tmp_path: Path
) -> None:
    import onnx

    made, plain, _, _ = written
    usual(made, plain, tmp_path / "usual.onnx")
    whole = onnx.load(str(tmp_path / "usual.onnx"))
    onnx.save(onnx_int8.compacted(onnx.load(str(tmp_path / "usual.onnx"))), str(tmp_path / "compacted.onnx"))
    smaller = onnx.load(str(tmp_path / "compacted.onnx"))
    onnx.checker.check_model(smaller, full_check=True)
    outputs = [onnx_target.Runtime(tmp_path / f"{name}.onnx").run(*made.inputs) for name in ("usual", "compacted")]
    assert np.array_equal(*outputs)
    rounding = ("QuantizeLinear", "DequantizeLinear")
    layers = [[node.name for node in model.graph.node if node.op_type not in rounding] for model in (whole, smaller)]
    assert layers[0] == layers[1]
    assert smaller.ByteSize() < whole.ByteSize() - 2000
