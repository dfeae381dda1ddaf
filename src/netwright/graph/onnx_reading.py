"""An ONNX file as the same graph that tracing makes of a PyTorch network. No torch, and nothing in the file is run.

``read_onnx`` walks the nodes once. Each gets the shapes of its outputs from ONNX's own shape inference of its operator,
given the shapes and small constants that come in; what depends on constants alone (Shape → Gather → Concat → Reshape)
is computed on the way and is no operation. The kinds and attributes are those of ``graph/operations.py``.

Conventions:

- Tensors, operations and parameters have the file's names; a node without one is called ``kind_n``.
- Initializers are parameters, named as in the file, under whatever name a node reads them (Identity, Transpose, Cast,
  Reshape and DequantizeLinear of weights are looked through). ONNX does not say what was learned: running statistics,
  initial states, scales and zero points, integer tables and single numbers in arithmetic are buffers, the rest
  parameters; floating ones count as trainable. Constants that only decide a shape are left out.
- Memory is that of ONNX runtimes: reshapes and identities show their input's, transposes and slices are copies.
- QuantizeLinear and DequantizeLinear of activations are of kind ``cast`` (``how``: quantize or dequantize); quantised
  operators (QLinearConv, MatMulInteger, …) are of the kind that they quantise, with ``quantized`` set.
- An operator that is not known is kept by its name with ``followed`` False. Where the file does not say the shape that
  it makes, that and everything computed from it has the shape (0,) and is not followed either.

Cost: some 100 µs a node beside reading the file. Weights are never copied, and those in external files not read.
"""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from netwright.errors import DataError, MissingExtraError, NetworkError, NetwrightError, UsageError, unknown_name
from netwright.graph import onnx_operators as operators
from netwright.graph.onnx_file import dtype_name, graphs, inner_graphs, load_model, times
from netwright.graph.onnx_operators import KNOWN_VALUES, Attributes, Call, Described, Misfit, Shape
from netwright.graph.structure import Graph, Operation, ParameterInfo, TensorInfo

UNKNOWN: Shape = (0,)
Sizes = dict[str, tuple[int, Shape | None]]  # of outputs: ONNX's number of the type, and the shape where it is known
_BATCH_NAME = re.compile(r"(^|[^a-z])(batch|bs|n|b)([^a-z]|$)|batch", re.IGNORECASE)


def read_onnx(path: str | Path, input_shapes: Mapping[str, Sequence[int]] | None = None, batch: int = 1) -> Graph:
    """The graph of the ONNX file at ``path``.

    ``input_shapes`` maps names of inputs to shapes, without the batch or with as many axes as the file declares; the
    name ``""`` is the only input. ``batch`` takes the place of an open first axis (of axes named like a batch, where
    there are such); a batch that the file fixes stays, unless a shape with all axes is given.

    Raises ``DataError`` for what is no ONNX file, is damaged, or names weights outside its folder, ``NetworkError``
    that names the node for a network that does not fit together or has open axes, ``UsageError`` for wrong arguments
    and ``MissingExtraError`` without ``netwright[onnx]``.
    """
    path = Path(path)
    try:
        import onnx
    except ImportError as error:
        raise MissingExtraError(f"reading {path.name}", extra="onnx") from error
    if batch < 1:
        raise UsageError("batch", str(batch), "at least 1")
    model = load_model(onnx, path)
    try:
        return _Reader(onnx, path.name, model, dict(input_shapes or {}), batch).graph()
    except RecursionError as error:
        raise DataError(path.name, "graphs nested too deeply", "an ONNX network") from error


@dataclass(frozen=True)
class _Constant:
    """What is known before the network runs: its shape, its value if that is small, and the initializers behind it.

    ``sources`` are weights or tables, ``scales`` what dequantises them; both empty for constants without storage.
    """

    shape: Shape
    element: int
    value: np.ndarray | None = None
    sources: tuple[str, ...] = ()
    scales: tuple[str, ...] = ()


class _Reader:
    """Walks the nodes in their order and writes operations."""

    def __init__(self, onnx: Any, where: str, model: Any, shapes: dict[str, Sequence[int]], batch: int) -> None:
        self.onnx, self.where, self.model, self.batch = onnx, where, model, batch
        self.opsets = {opset.domain or "ai.onnx": int(opset.version) for opset in model.opset_import}
        self.opset = self.opsets.get("ai.onnx", 1 if model.ir_version < 3 else onnx.defs.onnx_opset_version())
        self.tensors: dict[str, TensorInfo] = {}
        self.elements: dict[str, int] = {}  # ONNX's number of the type
        self.unknown: set[str] = set()  # tensors whose shape is not known
        self.constants: dict[str, _Constant] = {}
        self.stored: dict[str, tuple[Shape, str]] = {}  # what a parameter can be: shape and type by name
        self.infos: dict[str, ParameterInfo] = {}
        self.aliases: dict[str, list[str]] = {}
        self.renamed: dict[str, str] = {}  # outputs of an If → those of the branch that is taken
        self.operations: list[Operation] = []
        self.used: set[str] = set()  # names of operations
        self.counts: Counter[str] = Counter()
        self.serial = itertools.count(1)
        self.sizes: dict[str, int] = {}  # of symbolic axes
        self.inline: set[str] = set()  # of Constant nodes: weights only where something weighs with them
        self.stale = False  # another input than the file was made for: the shapes in it do not hold
        self._initializers(model.graph)
        self.inputs = self._inputs(model.graph, shapes)
        self.declared = {value.name: value for value in (*model.graph.value_info, *model.graph.output)}

    # ---- what comes in

    def _initializers(self, graph: Any) -> None:
        for tensor in graph.initializer:
            self._store(tensor.name, tensor, stored=True)
        for sparse in graph.sparse_initializer:
            shape, element = tuple(map(int, sparse.dims)), sparse.values.data_type
            self.stored[sparse.values.name] = (shape, self._dtype(element))
            self.constants[sparse.values.name] = _Constant(shape, element, None, (sparse.values.name,))

    def _store(self, name: str, tensor: Any, *, stored: bool) -> None:
        """A constant of the file; ``stored`` ones are parameters if something computes with them."""
        shape, value = tuple(map(int, tensor.dims)), None
        external = tensor.data_location == self.onnx.TensorProto.EXTERNAL
        if math.prod(shape) <= KNOWN_VALUES and not external:
            try:
                value = self.onnx.numpy_helper.to_array(tensor)
            except (ValueError, TypeError, KeyError, IndexError) as error:
                raise DataError(f"{self.where}: tensor {name!r}", str(error), "values of its type") from error
        self._keep(name, shape, tensor.data_type, value, stored=stored)

    def _keep(self, name: str, shape: Shape, element: int, value: np.ndarray | None, *, stored: bool) -> None:
        if stored:
            self.stored[name] = (shape, self._dtype(element))
        self.constants[name] = _Constant(shape, element, value, (name,) if stored else ())

    def _dtype(self, element: int) -> str:
        return dtype_name(self.onnx, element)

    def _inputs(self, graph: Any, shapes: dict[str, Sequence[int]]) -> list[str]:
        """The inputs' shapes: as declared, with the batch and what was given put in."""
        values = [value for value in graph.input if value.name not in self.constants]
        names = [value.name for value in values]
        if "" in shapes and len(names) == 1:
            shapes = {names[0] if name == "" else name: shape for name, shape in shapes.items()}
        for name in shapes:
            if name not in names:
                raise unknown_name(f"{self.where}: --input", name, names)
        symbols = {dim.dim_param for value in values for dim in self._dims(value) or () if dim.HasField("dim_param")}
        batches = {symbol for symbol in symbols if _BATCH_NAME.search(symbol)}
        if not batches:
            batches = {dims[0].dim_param for dims in map(self._dims, values) if dims and dims[0].HasField("dim_param")}
        found: dict[str, list[int | None]] = {}
        for value in values:
            found[value.name] = self._sized(value, shapes.get(value.name), batches)
        for value in values:
            self._open(value, found[value.name])
            shape = tuple(size or 0 for size in found[value.name])
            self.tensors[value.name] = TensorInfo(
                name=value.name, shape=shape, dtype=self._dtype(value.type.tensor_type.elem_type)
            )
            self.elements[value.name] = value.type.tensor_type.elem_type
        return names

    def _dims(self, value: Any) -> list[Any] | None:
        """The declared axes of an input; None where even their number is open."""
        kind = value.type.WhichOneof("value")
        if kind != "tensor_type":
            raise NetworkError(
                f"{self.where}: input {value.name!r}", kind or "no type", "a tensor", "export with tensors as inputs"
            )
        inner = value.type.tensor_type
        return list(inner.shape.dim) if inner.HasField("shape") else None

    def _sized(self, value: Any, given: Sequence[int] | None, batches: set[str]) -> list[int | None]:
        where = f"{self.where}: input {value.name!r}"
        dims = self._dims(value)
        if given is not None and any(size < 1 for size in given):
            raise UsageError(where, times(given), "sizes of at least 1")
        if dims is None:
            return [] if given is None else [self.batch, *given]
        declared: list[int | None] = [dim.dim_value if dim.HasField("dim_value") else None for dim in dims]
        if any(size is not None and size < 0 for size in declared):
            declared = [None if size is not None and size < 0 else size for size in declared]  # -1 for open
        first_open = bool(declared) and declared[0] is None
        if given is None:
            found = list(declared)
        elif len(given) == len(declared):
            found = list(given)
        elif len(given) == len(declared) - 1:
            found = [declared[0], *given]
        else:
            raise UsageError(
                where, f"the shape {times(given)}", f"{len(declared)} axes, or {len(declared) - 1} without the batch",
                f"--input {value.name}={self._example(dims, declared)}",
            )  # fmt: skip
        for place, dim in enumerate(dims):
            if found[place] is None and (dim.dim_param in batches or (place == 0 and not dim.dim_param)):
                found[place] = self.batch
            if dim.dim_param and found[place] is not None:
                self.sizes.setdefault(dim.dim_param, found[place] or 0)
            self.stale |= declared[place] is not None and declared[place] != found[place]
        if not first_open and given is None and declared and self.batch not in (1, declared[0]):
            raise UsageError(
                f"{where}: batch", str(self.batch), f"{declared[0]}, which the file fixes",
                f"--input {value.name}={times([self.batch, *(size or 1 for size in declared[1:])])}, "
                "or an export with a dynamic batch",
            )  # fmt: skip
        return found

    def _open(self, value: Any, found: list[int | None]) -> None:
        dims = self._dims(value)
        if dims is not None:
            for place, dim in enumerate(dims):
                if found[place] is None and dim.dim_param in self.sizes:
                    found[place] = self.sizes[dim.dim_param]
        missing = [place for place, size in enumerate(found) if size is None]
        if dims is not None and not missing:
            return
        if dims is None and found:
            return
        shown = "x".join(dim.dim_param or str(dim.dim_value or "?") for dim in dims) if dims else "no shape"
        raise NetworkError(
            f"{self.where}: input {value.name!r}", f"the shape {shown}" if dims else shown, "a size for every axis",
            f"--input {value.name}={self._example(dims or [], found)}, with your sizes",
        )  # fmt: skip

    @staticmethod
    def _example(dims: Sequence[Any], found: Sequence[int | None]) -> str:
        """A shape without the batch, 224 or 128 where the file says nothing."""
        usual = 224 if len(dims) == 4 else 128
        return times([size or (3 if len(dims) == 4 and place == 0 else usual) for place, size in enumerate(found[1:])])

    # ---- the walk

    def graph(self) -> Graph:
        nodes = self.model.graph.node
        self.needed = self._needed(nodes)
        for node in nodes:
            self._node(node)
        outputs = []
        for value in self.model.graph.output:
            name = self._resolved(value.name)
            if name not in self.tensors:
                self._data(name, f"{self.where}: output {value.name!r}")
            outputs.append(name)
        read = {name for graph in graphs(self.model.graph) for node in graph.node for name in node.input}
        for tensor in self.model.graph.initializer:
            if tensor.name not in read and tensor.name not in outputs:
                self._parameter(tensor.name, "")
        first = next((self.tensors[name].shape for name in self.inputs if self.tensors[name].shape), ())
        for name, others in self.aliases.items():
            if name in self.infos:
                self.infos[name] = msgspec.structs.replace(self.infos[name], aliases=tuple(others))
        return Graph(
            inputs=tuple(self.inputs),
            outputs=tuple(dict.fromkeys(outputs)),
            tensors=self.tensors,
            operations=tuple(self.operations),
            parameters=tuple(self.infos.values()),
            batch=next(iter(self._batch_sizes()), first[0] if first else 1),
        )

    def _batch_sizes(self) -> Iterator[int]:
        """The size of the axis that is named like a batch, if one is."""
        return (size for symbol, size in self.sizes.items() if _BATCH_NAME.search(symbol))

    def _needed(self, nodes: Any) -> set[str]:
        """Names whose values decide shapes: settings, and all that they are computed from."""
        found: set[str] = set()
        for node in reversed(nodes):
            if found.intersection(node.output) and node.op_type not in ("Shape", "Size"):
                found.update(node.input)
            found.update(
                node.input[place] for place in operators.SETTINGS.get(node.op_type, ()) if place < len(node.input)
            )
        return found

    def _resolved(self, name: str) -> str:
        while name in self.renamed:
            name = self.renamed[name]
        return name

    def _data(self, name: str, where: str) -> None:
        """A constant as a tensor of the graph."""
        if name not in self.constants:
            raise NetworkError(
                where, f"{name!r}, which nothing makes", "a tensor, an input or an initializer", "export it again"
            )
        constant = self.constants[name]
        self.tensors[name] = TensorInfo(name=name, shape=constant.shape, dtype=self._dtype(constant.element))
        self.elements[name] = constant.element

    def _node(self, node: Any) -> None:
        if any(name in self.renamed for name in node.input):
            copied = self.onnx.NodeProto()
            copied.CopyFrom(node)
            copied.input[:] = [self._resolved(name) for name in node.input]
            node = copied
        where = f"{self.where}: {node.op_type} {node.name!r}" if node.name else f"{self.where}: {node.op_type}"
        for name in node.input:
            if name and name not in self.tensors and name not in self.constants:
                raise NetworkError(
                    where, f"the input {name!r}, which no node before it makes",
                    "nodes in the order of their execution", "export it again, or sort the graph",
                )  # fmt: skip
        for name in filter(None, node.output):
            if name in self.tensors or name in self.constants or name in self.renamed:
                raise NetworkError(where, f"the output {name!r} a second time", "every tensor made once")
        try:
            self._read(node, where)
        except NetwrightError:
            raise
        except Misfit as misfit:
            raise NetworkError(where, misfit.args[0], misfit.args[1], "another --input, or export it again") from None
        except (KeyError, IndexError, ValueError, TypeError, AttributeError, OverflowError, ZeroDivisionError) as error:
            raise NetworkError(
                where, f"attributes or inputs that are not the operator's ({error})", "as the operator sets define it"
            ) from error

    def _read(self, node: Any, where: str) -> None:
        standard = node.domain in ("", "ai.onnx")
        facts = {attribute.name: self._attribute(attribute) for attribute in node.attribute}
        if standard and node.op_type == "Constant":
            self._constant(node, facts)
            return
        if standard and node.op_type == "If" and self._taken(node, facts):
            return
        node, facts, extra, scales = self._standard_form(node, facts)
        known = self._outputs(node, facts, where, extra)
        if self._shape_of(node, facts) or (not extra and self._folded(node, facts, known)):
            return
        self._write(node, facts, extra, scales, known)

    def _attribute(self, attribute: Any) -> Any:
        value = self.onnx.helper.get_attribute_value(attribute)
        if isinstance(value, bytes):
            return value.decode(errors="replace")
        return list(value) if hasattr(value, "__len__") and not isinstance(value, str) else value

    def _constant(self, node: Any, facts: Attributes) -> None:
        """Single numbers are Python's, others may be weights."""
        name, types = node.output[0], self.onnx.TensorProto
        self.inline.add(name)
        if "value" in facts:
            self._store(name, facts["value"], stored=math.prod(facts["value"].dims) > 1)
            return
        if "sparse_value" in facts:
            sparse = facts["sparse_value"]
            self._keep(name, tuple(map(int, sparse.dims)), sparse.values.data_type, None, stored=True)
            return
        for key, kind, element in (
            ("value_float", np.float32, types.FLOAT), ("value_floats", np.float32, types.FLOAT),
            ("value_int", np.int64, types.INT64), ("value_ints", np.int64, types.INT64),
            ("value_string", object, types.STRING), ("value_strings", object, types.STRING),
        ):  # fmt: skip
            if key in facts:
                value = np.array(facts[key], kind)
                self._keep(name, value.shape, element, value, stored=value.size > 1)
                return
        raise Misfit("no value", "one")

    def _taken(self, node: Any, facts: Attributes) -> bool:
        """An If whose condition is known is the branch that it takes."""
        condition = self.constants.get(node.input[0])
        if condition is None or condition.value is None:
            return False
        branch = facts["then_branch" if bool(condition.value.ravel()[0]) else "else_branch"]
        self._initializers(branch)
        self.needed |= self._needed(branch.node)
        for inner in branch.node:
            self._node(inner)
        for outer, value in zip(node.output, branch.output, strict=True):
            self.renamed[outer] = self._resolved(value.name)
        return True

    def _standard_form(self, node: Any, facts: Attributes) -> tuple[Any, Attributes, Attributes, list[str]]:
        """Quantised and fused operators as the operator that they are; their scales go beside."""
        if node.op_type == "Split" and not all(node.output):
            copied = self.onnx.NodeProto()
            copied.CopyFrom(node)
            copied.output[:] = [name or f"{node.name or 'split'}:{next(self.serial)}" for name in node.output]
            node = copied
        if node.op_type == "QLinearConcat":
            op, places = "Concat", tuple(range(2, len(node.input), 3))
        elif node.op_type in operators.REWRITTEN and not facts.get("channels_last"):
            op, places = operators.REWRITTEN[node.op_type]
        else:
            return node, facts, {}, []
        own = [node.input[place] for place in places if place < len(node.input) and node.input[place]]
        allowed = self.onnx.defs.get_schema(op, self.opset, "").attributes
        copied = self.onnx.helper.make_node(op, own, list(filter(None, node.output)), name=node.name)
        copied.attribute.extend(attribute for attribute in node.attribute if attribute.name in allowed)
        kept = {key: value for key, value in facts.items() if key in allowed}
        quantised = node.op_type.startswith("Q") or node.op_type.endswith("Integer")
        extra = {"quantized": node.op_type} if quantised else {"fused": node.op_type}
        return copied, kept, extra, [name for name in node.input if name and name not in own]

    # ---- shapes

    def _type(self, name: str) -> Any:
        make = self.onnx.helper.make_tensor_type_proto
        if name in self.constants:
            return make(self.constants[name].element, self.constants[name].shape)
        return make(self.elements[name], None if name in self.unknown else self.tensors[name].shape)

    def _outputs(self, node: Any, facts: Attributes, where: str, extra: Attributes) -> Sizes:
        """ONNX's type and the shape of every output, None where it is not known."""
        onnx, found = self.onnx, Sizes()
        domain = "" if node.domain == "ai.onnx" or extra else node.domain
        names = [name for name in node.input if name]
        try:
            schema = onnx.defs.get_schema(node.op_type, self.opsets.get(domain or "ai.onnx", self.opset), domain)
        except onnx.defs.SchemaError:
            schema = None
        if schema is not None and schema.deprecated:  # in that set only: its shapes are not inferred
            schema = None
        nested = any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute)
        if schema is not None and not nested and all(self.elements.get(name, 1) for name in names):
            types = {name: self._type(name) for name in names}
            if extra:  # the operator itself is defined for floating point
                for inner in types.values():
                    inner.tensor_type.elem_type = onnx.TensorProto.FLOAT
            data = {
                name: onnx.numpy_helper.from_array(constant.value, name)
                for name in names
                if (constant := self.constants.get(name)) is not None
                and constant.value is not None
                and constant.value.size <= KNOWN_VALUES
                and constant.value.dtype != object
            }
            opsets = [onnx.helper.make_opsetid("", self.opset)]
            try:
                inferred = onnx.shape_inference.infer_node_outputs(
                    schema, node, types, data, opset_imports=opsets, ir_version=max(self.model.ir_version, 3)
                )
            except (onnx.shape_inference.InferenceError, onnx.checker.ValidationError, RuntimeError) as error:
                if any(name in self.unknown for name in names):
                    inferred = {}
                else:
                    raise NetworkError(
                        where, f"inputs of {self._came(names)} ({_first_line(error)})", "inputs that fit the operator",
                        "another --input, or export it again",
                    ) from error  # fmt: skip
            for name, kind in inferred.items():
                found[name] = (kind.tensor_type.elem_type, self._size(kind))
        whole = self._windowed(node, facts) if not any(name in self.unknown for name in names) else None
        for name in filter(None, node.output):
            element, shape = found.get(name, (0, None))
            if shape is None and node.op_type in operators.SAME_SHAPE and names and names[0] not in self.unknown:
                element, shape = element or self._element(names[0]), self._shape(names[0])
            if shape is None and not self.stale and name in self.declared:
                value = self.declared[name]
                element, shape = element or value.type.tensor_type.elem_type, self._size(value.type)
            if extra and names:
                element = onnx.TensorProto.INT32 if "Integer" in str(extra) else self._element(names[0])
            if whole is not None:
                shape = whole
            found[name] = (element, shape)
        return found

    def _windowed(self, node: Any, facts: Attributes) -> Shape | None:
        """The output of a convolution or pooling: ONNX's inference errs in rounding up and in given output shapes."""
        if node.op_type not in operators.WINDOWED or node.domain not in ("", "ai.onnx"):
            return None
        call = self._call(node, facts, {})
        described = operators.describe(call)
        if described is None:
            return None
        shape = operators.slid(described[1], call.shape)
        if shape is None:
            raise Misfit(f"inputs of {self._came([name for name in node.input if name])}", "room for the window")
        return shape

    def _came(self, names: Sequence[str]) -> str:
        return ", ".join(times(self._shape(name)) or "a number" for name in names) or "none"

    def _shape(self, name: str) -> Shape:
        return self.constants[name].shape if name in self.constants else self.tensors[name].shape

    def _element(self, name: str) -> int:
        return self.constants[name].element if name in self.constants else self.elements[name]

    def _size(self, kind: Any) -> Shape | None:
        inner = kind.tensor_type
        if not inner.HasField("shape"):
            return None
        sizes = [
            dim.dim_value if dim.HasField("dim_value") else self.sizes.get(dim.dim_param) for dim in inner.shape.dim
        ]
        return None if any(size is None or size < 0 for size in sizes) else tuple(int(size or 0) for size in sizes)

    # ---- constants

    def _shape_of(self, node: Any, facts: Attributes) -> bool:
        """Shape and Size of a tensor whose shape is known."""
        if node.op_type not in ("Shape", "Size") or node.domain not in ("", "ai.onnx"):
            return False
        if node.input[0] in self.unknown:
            return False
        shape = self._shape(node.input[0])
        value = shape[slice(facts.get("start", 0), facts.get("end"))] if node.op_type == "Shape" else math.prod(shape)
        array = np.array(value, np.int64)
        self._keep(node.output[0], array.shape, self.onnx.TensorProto.INT64, array, stored=False)
        return True

    def _folded(self, node: Any, facts: Attributes, known: Sizes) -> bool:
        """Makes the outputs constants, where all inputs are."""
        names = [name for name in node.input if name]
        op = node.op_type
        if any(name not in self.constants for name in names) or node.domain not in ("", "ai.onnx"):
            return False
        if not names or not all(node.output):
            return False
        given = [self.constants[name] for name in names]
        element, shape = known[node.output[0]]
        settings = operators.SETTINGS.get(op, ())
        data = [self.constants[name] for place, name in enumerate(node.input) if name and place not in settings]
        sources = tuple(dict.fromkeys(source for constant in data for source in constant.sources))
        scales = tuple(dict.fromkeys(source for constant in given for source in constant.scales))
        inline = self.inline.issuperset(sources)
        wanted = inline or op in operators.LOOKED_THROUGH or self.needed.intersection(node.output)
        if not wanted and np.issubdtype(self._numpy(element), np.floating):
            return False  # weights among themselves: an operation
        stored = bool(sources) and op not in operators.LOOKED_THROUGH
        values = self._computed(node, facts, known)
        if values is not None:
            for name, value in zip(node.output, values, strict=True):
                self._keep(name, value.shape, known[name][0] or element, value, stored=stored)
                self.inline |= {name} if inline else set()
        elif shape is None or stored:
            return False
        else:
            for name in node.output:
                kind, size = known[name]
                self.constants[name] = _Constant(size or (), kind)
        if op in operators.LOOKED_THROUGH:
            if "QuantizeLinear" in op or "DequantizeLinear" in op:
                scales = tuple(dict.fromkeys([*scales, *(name for other in given[1:] for name in other.sources)]))
            made = self.constants[node.output[0]]
            self.constants[node.output[0]] = replace(made, sources=given[0].sources, scales=scales)
            if op == "Identity" and len(sources) == 1 and not scales:
                self.aliases.setdefault(sources[0], []).append(node.output[0])
        return True

    def _numpy(self, element: int) -> Any:
        try:
            return self.onnx.helper.tensor_dtype_to_np_dtype(element)
        except (KeyError, ValueError):
            return np.dtype(object)

    def _computed(self, node: Any, facts: Attributes, known: Sizes) -> list[np.ndarray] | None:
        """The outputs' values in their types, where all inputs have values and the outputs are small."""
        given = [self.constants[name].value if name else None for name in node.input]
        if any(
            name and (value is None or value.dtype == object) for name, value in zip(node.input, given, strict=True)
        ):
            return None
        if node.op_type == "ConstantOfShape":
            fill = facts.get("value")
            facts = {"fill": 0.0 if fill is None else self.onnx.numpy_helper.to_array(fill).ravel()[0]}
        found = operators.evaluate(node.op_type, given, facts, [known[name][1] for name in node.output])
        if found is None:
            return None
        kinds = [self._numpy(known[name][0]) for name in node.output]
        return [np.asarray(value).astype(kind) for value, kind in zip(found, kinds, strict=True)]

    # ---- operations

    def _parameter(self, name: str, role: str, weight: bool = False) -> None:
        """Enters a stored constant among the parameters or buffers."""
        shape, dtype = self.stored[name]
        floating = "float" in dtype or "complex" in dtype
        learned = role not in operators.BUFFERS and (
            weight or (math.prod(shape) > 1 and floating and name not in self.inline)
        )
        if name in self.infos and (self.infos[name].kind == "parameter" or not learned):
            return
        self.infos[name] = ParameterInfo(
            name=name, shape=shape, dtype=dtype, trainable=learned and floating,
            kind="parameter" if learned else "buffer",
        )  # fmt: skip

    def _write(self, node: Any, facts: Attributes, extra: Attributes, scales: list[str], known: Sizes) -> None:
        op = node.op_type
        lost = any(name in self.unknown for name in node.input) or any(shape is None for _, shape in known.values())
        inputs = [name for name in node.input if name and name not in self.constants]
        inputs += [name for name in scales if name not in self.constants]
        for name in self._captured(node):
            if name not in inputs:
                inputs.append(name)
        standard = node.domain in ("", "ai.onnx")
        described: Described = None
        if standard and not lost:
            described = operators.describe(self._call(node, facts, known))
        kind, attributes = described or self._named(node)
        attributes = {**attributes, **extra}
        if op == "Gemm" and kind == "matmul" and len(node.input) == 3 and node.input[2] in inputs:
            inputs = [node.input[2], *(name for name in node.input[:2] if name in inputs)]
        if kind == "concat":
            inputs = [self._operand(name, node.name) for name in node.input if name]
        parameters = self._parameters(node, kind, attributes) if kind != "concat" else []
        for name in scales:
            for source in self.constants[name].sources if name in self.constants else ():
                self._parameter(source, "scale")
                parameters.append(source)
        name = self._operation_name(node, kind)
        storage = ""
        if described and inputs and (kind in operators.SHARING or (kind == "dropout" and not attributes["active"])):
            storage = self.tensors[inputs[0]].storage or inputs[0]
        for output in filter(None, node.output):
            element, shape = known[output]
            if lost or shape is None:
                shape = UNKNOWN if shape is None else shape
            if known[output][1] is None:
                self.unknown.add(output)
            self.elements[output] = element
            self.tensors[output] = TensorInfo(
                name=output, shape=shape, dtype=self._dtype(element), producer=name, storage=storage
            )
        self.operations.append(
            Operation(
                name=name, kind=kind, inputs=tuple(inputs), outputs=tuple(filter(None, node.output)),
                parameters=tuple(dict.fromkeys(parameters)), attributes=attributes, followed=described is not None,
            )
        )  # fmt: skip

    def _operand(self, name: str, reader: str) -> str:
        """A tensor of the graph: constants become one, for their place among the operands matters."""
        if name in self.tensors:
            return name
        self._data(name, self.where)
        constant = self.constants[name]
        if constant.sources:
            for source in constant.sources:
                self._parameter(source, "")
            for source in constant.scales:
                self._parameter(source, "scale")
            made = self._unique(f"{reader}.{name}" if reader else name)
            self.tensors[name] = msgspec.structs.replace(self.tensors[name], producer=made, storage=constant.sources[0])
            self.operations.append(
                Operation(
                    name=made, kind="alias", inputs=(), outputs=(name,),
                    parameters=(*constant.sources, *constant.scales),
                )
            )  # fmt: skip
        return name

    def _named(self, node: Any) -> tuple[str, Attributes]:
        """What is not followed keeps the operator's name: as PyTorch would spell it, with its domain if it has one."""
        name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", node.op_type).lower()
        return (name if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}"), {"operator": node.op_type}

    def _captured(self, node: Any) -> Iterator[str]:
        """Tensors that the graphs inside a node read from outside."""
        for graph in inner_graphs([node]):
            for inner in graph.node:
                for name in map(self._resolved, inner.input):
                    if name in self.tensors and name not in self.constants:
                        yield name

    def _call(self, node: Any, facts: Attributes, known: Sizes) -> Call:
        constants = [self.constants.get(name) for name in node.input]
        return Call(
            op=node.op_type,
            facts=facts,
            names=list(node.input),
            shapes=[self._shape(name) if name else None for name in node.input],
            values=[constant.value if constant is not None else None for constant in constants],
            constant=[constant is not None for constant in constants],
            outputs=[known[name][1] or () for name in node.output if name in known],
            opset=self.opset,
        )

    def _parameters(self, node: Any, kind: str, attributes: Attributes) -> list[str]:
        roles, settings = operators.ROLES.get(node.op_type, {}), operators.SETTINGS.get(node.op_type, ())
        found = []
        for place, name in enumerate(node.input):
            role = roles.get(place, "")
            constant = self.constants.get(name)
            if constant is None:
                if role in ("weight", "bias") and kind not in ("matmul", "index", "slice") and name:
                    attributes[role] = name
                continue
            if place in settings:
                continue
            for source in constant.sources:
                self._parameter(source, role, weight=role in ("weight", "bias", "w", "r", "b", "p"))
                found.append(source)
            for source in constant.scales:
                self._parameter(source, "scale")
                found.append(source)
            if role in ("weight", "bias", "running_mean", "running_var") and constant.sources and kind != "matmul":
                attributes[role] = constant.sources[0]
        return found

    def _operation_name(self, node: Any, kind: str) -> str:
        name = node.name
        if not name:
            self.counts[kind] += 1
            name = f"{kind}_{self.counts[kind]}"
        return self._unique(name)

    def _unique(self, name: str) -> str:
        while name in self.used:
            name += "'"
        self.used.add(name)
        return str(name)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
