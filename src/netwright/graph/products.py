"""Multiply-accumulates of operations, by netwright's conventions. No torch.

The products that convolutions, dense layers, matrix products, attention (both products) and recurrent layers sum up. No
bias, norm, pooling or activation. A transposed convolution spreads every *input* position, so its MACs follow the
input's size. A causal mask saves nothing, as in dense kernels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from netwright.graph.structure import Graph, Operation


def total_macs(graph: Graph) -> int:
    """Of the whole network, for the traced batch."""
    return sum(macs(graph, operation) for operation in graph.operations)


def macs(graph: Graph, operation: Operation) -> int:
    """Multiply-accumulates of one operation for the traced batch; 0 for what sums no products."""
    count = PRODUCTS.get(operation.kind)
    return count(graph, operation) if count is not None and operation.followed else 0


def _output(graph: Graph, operation: Operation) -> int:
    return math.prod(graph.tensors[operation.outputs[0]].shape)


def _convolution(graph: Graph, operation: Operation) -> int:
    """Every output sums its window over the channels of its group."""
    facts = operation.attributes
    return _output(graph, operation) * int(facts["channels_in"] // facts["groups"] * math.prod(facts["kernel"]))


def _convolution_transpose(graph: Graph, operation: Operation) -> int:
    """Every *input* is multiplied with the whole kernel of its group; the input's size follows from the output's."""
    facts, shape = operation.attributes, graph.tensors[operation.outputs[0]].shape
    rank = len(facts["kernel"])
    examples = math.prod(shape[: -rank - 1])
    positions = 1
    for axis in range(rank):
        spread = facts["dilation"][axis] * (facts["kernel"][axis] - 1) + 1 + facts["output_padding"][axis]
        positions *= (shape[axis - rank] + sum(facts["padding"][axis]) - spread) // facts["stride"][axis] + 1
    each = facts["channels_out"] // facts["groups"] * math.prod(facts["kernel"])
    return examples * positions * int(facts["channels_in"] * each)


def _linear(graph: Graph, operation: Operation) -> int:
    return _output(graph, operation) * int(operation.attributes["channels_in"])


def _bilinear(graph: Graph, operation: Operation) -> int:
    """x₁ᵀ (W x₂): for each output a matrix times x₂, and its product with x₁."""
    first = graph.tensors[operation.inputs[0]].shape[-1]
    return _output(graph, operation) * first * int(operation.attributes["channels_in"] + 1)


def _matmul(graph: Graph, operation: Operation) -> int:
    return _output(graph, operation) * int(operation.attributes["inner"])


def _tensordot(graph: Graph, operation: Operation) -> int:
    """a · b · out = (free axes of both · summed axes)², whichever axes are summed."""
    names = (*operation.inputs, *operation.parameters)
    if len(names) == 1:  # a tensor with itself
        names *= 2
    return math.isqrt(math.prod(_shape_product(graph, name) for name in names) * _output(graph, operation))


def _shape_product(graph: Graph, name: str) -> int:
    if name in graph.tensors:
        return math.prod(graph.tensors[name].shape)
    return next(math.prod(info.shape) for info in graph.parameters if info.name == name)


def _einsum(graph: Graph, operation: Operation) -> int:
    facts = operation.attributes
    return einsum_macs(facts["equation"], facts["shapes"])


def einsum_macs(equation: str, shapes: Sequence[Sequence[int]]) -> int:
    """MACs of ``torch.einsum``: operands are contracted two by two from the left, as it does without opt_einsum.

    An index that one operand alone has and that is not kept is summed before, which multiplies nothing.
    """
    left, _, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(shapes):
        return 0
    sizes: dict[str, int] = {}
    spelt: list[list[str]] = []
    for term, shape in zip(terms, shapes, strict=True):
        dots = len(shape) - len(term.replace("...", ""))
        before, found, after = term.partition("...")
        hidden = [f"...{dots - place}" for place in range(dots)] if found else []
        labels = [*before, *hidden, *after]
        for label, size in zip(labels, shape, strict=False):
            sizes[label] = max(sizes.get(label, 1), int(size))
        spelt.append(labels)
    everywhere = [label for labels in spelt for label in labels]
    if "->" in equation:
        before, found, after = right.partition("...")
        kept = {*before, *after} | ({label for label in everywhere if label.startswith("...")} if found else set())
    else:
        kept = {label for label in everywhere if everywhere.count(label) == 1 or label.startswith("...")}
    count, running = 0, set(spelt[0])
    for place, labels in enumerate(spelt[1:], start=1):
        later = kept.union(*map(set, spelt[place + 1 :])) if place + 1 < len(spelt) else kept
        other = set(labels)
        first = {label for label in running if label in other or label in later}
        second = {label for label in other if label in running or label in later}
        count += math.prod(sizes[label] for label in first | second)
        running = {label for label in first | second if label in later}
    return count


def _attention(graph: Graph, operation: Operation) -> int:
    """Q Kᵀ and the weights times V; ``heads`` has the batch in it."""
    facts = operation.attributes
    return int(facts["heads"] * facts["queries"] * facts["keys"] * (facts["width"] + facts["value_width"]))


def _recurrent(graph: Graph, operation: Operation) -> int:
    """Every step multiplies every matrix once, of all layers and directions (a projection's too)."""
    shape = graph.tensors[operation.inputs[0]].shape
    return math.prod(shape[:-1]) * int(sum(math.prod(weight) for weight in operation.attributes["weights"]))


def _cell(graph: Graph, operation: Operation) -> int:
    weights = operation.attributes["weights"]
    return _output(graph, operation) // int(weights[1][1]) * int(sum(math.prod(weight) for weight in weights))


PRODUCTS: dict[str, Callable[[Graph, Operation], int]] = {
    **{f"conv{axes}d": _convolution for axes in "123"},
    **{f"conv_transpose{axes}d": _convolution_transpose for axes in "123"},
    "linear": _linear, "bilinear": _bilinear, "matmul": _matmul, "tensordot": _tensordot, "einsum": _einsum,
    "attention": _attention, "lstm": _recurrent, "gru": _recurrent, "rnn": _recurrent,
    **dict.fromkeys(("lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell"), _cell),
}  # fmt: skip
