"""An ONNX file, read with care: files come from strangers.

``load_model`` parses and checks; it runs nothing and reads no weights that lie in other files.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from netwright.errors import DataError

NODES_AT_MOST = 1_000_000  # after functions are put in place, so that nested ones cannot grow without end
FILE_AT_MOST = 2**31  # a protobuf message


def load_model(onnx: Any, path: Path) -> Any:
    """The parsed file, functions put in place, every tensor's declared size checked against what is there."""
    from google.protobuf.message import DecodeError

    try:
        if not path.is_file():
            got = "a folder" if path.is_dir() else "no regular file" if path.exists() else "no such file"
            raise DataError(str(path), got, "an ONNX file", "the path of the .onnx file")
        if path.stat().st_size >= FILE_AT_MOST:
            raise DataError(
                path.name, f"{path.stat().st_size:,} bytes", "at most 2 GiB, the limit of a protobuf message",
                "onnx.save(..., save_as_external_data=True)",
            )  # fmt: skip
        content = path.read_bytes()
    except OSError as error:
        raise DataError(
            str(path), error.strerror or str(error), "a file that can be read", "its permissions"
        ) from error
    try:
        model = onnx.ModelProto.FromString(content)
    except DecodeError as error:
        raise DataError(
            path.name, _what_it_is(content), "an ONNX model", "export it again, or copy the file once more"
        ) from error
    if not model.HasField("graph") or not (model.graph.node or model.graph.output):
        raise DataError(path.name, _what_it_is(content), "an ONNX model with a graph", "export it again")
    if not model.opset_import and model.ir_version >= 3:
        raise DataError(path.name, "no operator set, as in a truncated file", "an opset_import", "export it again")
    if not all(isinstance(name, str) for name in _every_name(model)):  # protobuf hands over bytes then
        raise DataError(
            path.name, "a name that is no text, as in a damaged file", "names in UTF-8", "copy the file again"
        )
    for tensor in _every_tensor(model):
        _check_tensor(onnx, path, tensor)
    if model.functions:
        _check_functions(path, model)
        from onnx import inliner

        model = inliner.inline_local_functions(model)
    return model


def _what_it_is(content: bytes) -> str:
    if not content:
        return "an empty file"
    known = {
        b"PK": "a ZIP archive, such as a PyTorch checkpoint", b"\x80": "a Python pickle", b"\x89HDF": "an HDF5 file",
        b"GGUF": "a GGUF file", b"version https://git-lfs": "a Git LFS pointer: the file itself is not there",
    }  # fmt: skip
    for start, name in known.items():
        if content.startswith(start):
            return name
    return "a TensorFlow Lite file" if content[4:8] == b"TFL3" else "a file that is damaged, truncated or no ONNX model"


def graphs(graph: Any) -> Iterator[Any]:
    """A graph and all graphs inside its nodes."""
    yield graph
    yield from inner_graphs(graph.node)


def inner_graphs(nodes: Any) -> Iterator[Any]:
    for node in nodes:
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs) if attribute.HasField("g") else attribute.graphs:
                yield from graphs(inner)


def _everything(model: Any) -> tuple[list[Any], list[Any]]:
    """All graphs and all nodes, also those in functions and inside nodes."""
    found = list(graphs(model.graph))
    nodes = [node for graph in found for node in graph.node]
    for function in model.functions:
        nodes += function.node
        for graph in inner_graphs(function.node):
            found.append(graph)
            nodes += graph.node
    return found, nodes


def _every_name(model: Any) -> Iterator[Any]:
    found, nodes = _everything(model)
    yield from (opset.domain for opset in model.opset_import)
    for function in model.functions:
        yield from (function.name, function.domain, *function.input, *function.output, *function.attribute)
    for graph in found:
        for value in (*graph.input, *graph.output, *graph.value_info):
            yield from (value.name, *(dim.dim_param for dim in value.type.tensor_type.shape.dim))
    for node in nodes:
        yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
        yield from (attribute.name for attribute in node.attribute)
    for tensor in _every_tensor(model):
        yield tensor.name
        for entry in tensor.external_data:
            yield from (entry.key, entry.value)


def _every_tensor(model: Any) -> Iterator[Any]:
    found, nodes = _everything(model)
    for graph in found:
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield from (sparse.values, sparse.indices)
    for node in nodes:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors


def _check_tensor(onnx: Any, path: Path, tensor: Any) -> None:
    """What a tensor declares is what it holds; what lies in another file lies in this file's folder."""
    where = f"{path.name}: tensor {tensor.name!r}"
    if any(size < 0 for size in tensor.dims):
        raise DataError(where, f"the shape {times(tensor.dims)}", "sizes of at least 0")
    if tensor.data_type not in onnx.TensorProto.DataType.values() or not tensor.data_type:
        raise DataError(where, f"the type {tensor.data_type}", "one of ONNX's data types")
    count = math.prod(tensor.dims)
    if tensor.data_type == onnx.TensorProto.STRING:
        return
    need = (count * _bits(dtype_name(onnx, tensor.data_type)) + 7) // 8
    declared = f"{times(tensor.dims) or 'one'} values of {dtype_name(onnx, tensor.data_type)}, {need:,} bytes"
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        held = _external_bytes(path, where, {entry.key: entry.value for entry in tensor.external_data}, need)
        if held is not None and held < need:
            raise DataError(where, f"{held:,} bytes in its external file", declared, "copy the file of weights again")
    elif tensor.HasField("raw_data"):
        if len(tensor.raw_data) != need:
            raise DataError(where, f"{len(tensor.raw_data):,} bytes", declared, "export it again")
    else:
        typed = (
            tensor.float_data, tensor.int32_data, tensor.int64_data, tensor.double_data, tensor.uint64_data,
        )  # fmt: skip
        held = max(map(len, typed))  # several 4-bit values, and half a complex one, share an entry
        if held not in {count, 2 * count, (count + 1) // 2, (count + 3) // 4}:
            raise DataError(where, f"{held:,} values", declared, "export it again")


def _external_bytes(path: Path, where: str, entries: dict[str, str], need: int) -> int | None:
    """The bytes that an external tensor can have; None where the file of weights is absent, for none are read."""
    location = entries.get("location", "")
    inside = path.parent.resolve()
    plain = "\0" not in location and location not in ("", ".")
    outside = PurePosixPath(location).is_absolute() or PureWindowsPath(location).drive or location.startswith("\\")
    if plain and not outside and ".." not in re.split(r"[/\\]", location):
        target = (inside / location).resolve()  # a link may lead out of the folder
        try:
            if target.is_relative_to(inside):
                offset, length = int(entries.get("offset", 0)), int(entries.get("length", need))
                if min(offset, length) < 0:
                    raise ValueError(f"offset {offset}, length {length}")
                return min(length, max(target.stat().st_size - offset, 0)) if target.is_file() else None
        except ValueError as error:
            raise DataError(where, str(error), "offset and length as whole numbers of at least 0") from error
        except OSError:
            return None
    raise DataError(
        where, f"weights in {location!r}", "a file in the folder of the network, by a relative path",
        "put the weights beside the .onnx file, if you trust it",
    )  # fmt: skip


def _check_functions(path: Path, model: Any) -> None:
    """Functions neither call themselves nor multiply to more nodes than ``NODES_AT_MOST``."""
    bodies = {(function.domain, function.name): function for function in model.functions}
    sizes: dict[tuple[str, str], int] = {}

    def size(key: tuple[str, str], above: tuple[tuple[str, str], ...]) -> int:
        if key in above:
            raise DataError(f"{path.name}: function {key[1]!r}", "a function that calls itself", "functions without")
        if key not in sizes:
            sizes[key] = _called(bodies[key].node, (*above, key))
        return sizes[key]

    def _called(nodes: Any, above: tuple[tuple[str, str], ...]) -> int:
        found = 0
        for node in nodes:
            key = (node.domain, node.op_type)
            found += size(key, above) if key in bodies else 1
            for attribute in node.attribute:
                for inner in (*([attribute.g] if attribute.HasField("g") else ()), *attribute.graphs):
                    found += _called(inner.node, above)
        return found

    if (found := _called(model.graph.node, ())) > NODES_AT_MOST:
        raise DataError(path.name, f"functions that become {found:,} nodes", f"at most {NODES_AT_MOST:,}")


DTYPES = {"float": "float32", "double": "float64", "float8e4m3fn": "float8_e4m3fn", "float8e5m2": "float8_e5m2"}


def dtype_name(onnx: Any, number: int) -> str:
    """ONNX's data type under PyTorch's name."""
    if number not in onnx.TensorProto.DataType.values():
        return "undefined"
    name = str(onnx.TensorProto.DataType.Name(number)).lower()
    return DTYPES.get(name, name)


def _bits(dtype: str) -> int:
    found = re.search(r"\d+", dtype)
    return int(found.group()) if found else 8


def times(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))
