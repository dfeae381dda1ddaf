"""Every published network is followed to its end, and by shapes alone."""

import pytest
import torch

from netwright.graph.tracing import trace
from netwright.nn.zoo import PUBLISHED


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_nothing_is_left_unfollowed(name: str) -> None:
    known = PUBLISHED[name]
    with torch.device("meta"):
        network = known.build(known.input_shape, known.outputs)
    graph = trace(network, known.input_shape)
    assert graph.unfollowed() == ()
    assert graph.executed == "shapes"
    owned = sum(torch.Size(info.shape).numel() for info in graph.parameters if info.kind == "parameter")
    assert owned == known.parameters
    assert graph.tensors[graph.outputs[0]].shape[:2] == (1, known.outputs)
    made = {output for operation in graph.operations for output in operation.outputs}
    for operation in graph.operations:  # every tensor that is read was made before, or came in, or is a constant
        for tensor in operation.inputs:
            assert tensor in made or graph.tensors[tensor].producer == ""
    named = [operation.name for operation in graph.operations]
    layers = [path for path, module in network.named_modules() if path and not list(module.children())]
    called = [path for path in layers if path in named]
    assert sorted(called, key=named.index) == called, "layers are registered in the order in which they run"
    silent = {path for path in layers if path not in named}
    kinds = {type(network.get_submodule(path)).__name__ for path in silent}
    assert kinds <= {"Identity", "ModuleDict"} or name in (
        "erfnet",
        "vit_b_16",
    )  # an encoder's head; parts of attention
