"""MACE: an ONNX file of opset 11 that its converter accepts, and its deployment file. MACE itself is not run here.

MACE has no wheel, and its converter (last changed in 2022) reads ONNX up to opset 11 and always rounds the size of a
pooled map down, whatever the file says. So operators outside its list and pooling with ``ceil_mode`` are refused by
layer, and the ONNX file, which is what MACE gets, is run in ONNX Runtime and compared.
Source: github.com/XiaoMi/mace, tools/python/transform/onnx_converter.py (``_op_converters``, ``convert_pooling``).
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from netwright.errors import NetworkError
from netwright.export import onnx as onnx_target
from netwright.export.target import Lack, Target, unknown
from netwright.graph.structure import Graph

if TYPE_CHECKING:
    import onnx

    from netwright.export.package import Package

OPSET = 11
NOT_RUN = "MACE itself was not run: its runtime has no package; what was run and compared is the ONNX file that it gets"
OPERATORS = frozenset(
    """Abs Add Affine ArgMax ArgMin AveragePool BatchNormalization Cast Clip Concat Constant Conv ConvTranspose
    DepthToSpace Div Dropout Elu Equal Flatten Gather Gemm GlobalAveragePool GlobalMaxPool HardSigmoid Identity
    InstanceNormalization LeakyRelu LogSoftmax Max MaxPool MatMul Min Mul Neg Pad Pow PRelu Relu Reshape Reciprocal
    ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum Shape Sigmoid Slice Softmax SpaceToDepth Split Sqrt Squeeze
    Sub Sum Tanh Transpose Unsqueeze Upsample Resize Where""".split()  # noqa: SIM905
)
# Kinds of the graph whose ONNX operators are not in that list.
MISSING = dict.fromkeys(
    """gru lstm rnn_tanh rnn_relu gru_cell lstm_cell exp log erf gelu selu celu mish floor ceil sin cos einsum topk
    cumsum gt ge lt le local_response_norm avg_pool1d max_pool1d avg_pool3d max_pool3d conv1d conv3d one_hot
    grid_sampler scaled_dot_product_attention attention softplus embedding_bag sign""".split(),  # noqa: SIM905
    "MACE's converter does not know it",
)


def lacking(graph: Graph) -> list[Lack]:
    found = unknown(graph, MISSING)
    for each in graph.operations:
        if "pool" in each.kind and each.attributes.get("ceil"):
            found.append(Lack(each.name, each.kind, "MACE rounds the size of a pooled map down; this one rounds it up"))
    return found


def write(package: Package, folder: Path) -> Path:
    if len(package.inputs) > 1 or package.inputs[0].ndim not in (2, 4) or package.inputs[0].dtype.kind != "f":
        shapes = ", ".join(f"{each.dtype} {each.shape[1:]}" for each in package.inputs)
        raise NetworkError("mace", f"inputs {shapes}", "one input of float pictures (C, H, W) or features")
    import onnx

    path = folder / "model.onnx"
    onnx_target.convert(package, path, opset=OPSET, batch=1)
    model = onnx.load(str(path))
    _require_known(model)
    (folder / "model.yml").write_text(_deployment(package, model, path), encoding="utf-8")
    return path


def _require_known(model: onnx.ModelProto) -> None:
    """What the graph does not tell: operators that the exporter made of a layer."""
    version = model.opset_import[0].version
    if version > OPSET:
        raise NetworkError("mace", f"an ONNX file of opset {version}", f"opset {OPSET} or less")
    for node in model.graph.node:
        where = node.name.strip("/").rpartition("/")[0].replace("/", ".") or node.name
        if node.op_type not in OPERATORS:
            raise NetworkError(
                where,
                f"the operator {node.op_type}",
                "operators of MACE's converter",
            )
        for attribute in node.attribute:
            if attribute.name == "ceil_mode" and attribute.i:
                raise NetworkError(where, "pooling with ceil_mode", "sizes that are rounded down", "ceil_mode=False")


def _deployment(package: Package, model: onnx.ModelProto, path: Path) -> str:
    """MACE's deployment file; https://mace.readthedocs.io, "Advanced usage"."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    array = package.inputs[0]
    shape = ",".join(map(str, (1, *array.shape[1:])))
    sizes = [axis.dim_value for axis in model.graph.output[0].type.tensor_type.shape.dim]
    output = ",".join(map(str, sizes))
    low, high = float(array.min()), float(array.max())
    layout = "NCHW" if array.ndim == 4 else "NONE"
    return f"""# Deployment file of MACE: python tools/converter.py convert --config=model.yml
# {NOT_RUN}.
library_name: model
target_abis: [arm64-v8a]
model_graph_format: file
model_data_format: file
models:
  model:
    platform: onnx
    model_file_path: model.onnx
    model_sha256_checksum: {digest}
    subgraphs:
      - input_tensors: [{package.names[0]}]
        input_shapes: ["{shape}"]
        input_ranges: ["{low:.6g},{high:.6g}"]
        input_data_formats: [{layout}]
        output_tensors: [{onnx_target.OUTPUT}]
        output_shapes: ["{output}"]
        output_data_formats: [{"NCHW" if len(sizes) == 4 else "NONE"}]
        backend: pytorch
    runtime: cpu
    limit_opencl_kernel_time: 0
    nnlib_graph_mode: 0
    obfuscate: 0
    winograd: 0
"""


def library_bytes() -> int:
    return 0  # not here


def snippet(package: Package, file_name: str) -> tuple[str, str]:
    from netwright.export.snippets import mace_cpp

    return "load.cpp", mace_cpp(package, file_name)


TARGET = Target(
    name="mace", runtime="onnxruntime", extra="onnx", modules=("onnx", "onnxruntime"), precisions=("float32",),
    pixels="float NCHW", lacking=lacking, write=write, open=onnx_target.Runtime, library_bytes=library_bytes,
    snippet=snippet,
)  # fmt: skip
