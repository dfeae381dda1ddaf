"""The graph as a value: it survives JSON, and knows parents and children."""

from netwright.graph.structure import ChannelMember, Coupling, Graph, Operation, ParameterInfo, TensorInfo


def diamond() -> Graph:
    """x → conv → (conv, identity) → add."""
    tensors = {
        name: TensorInfo(name=name, shape=(1, 4, 8, 8), dtype="float32", producer=producer)
        for name, producer in (("x", ""), ("a", "first"), ("b", "second"), ("y", "sum"))
    }
    return Graph(
        inputs=("x",),
        outputs=("y",),
        tensors=tensors,
        operations=(
            Operation(name="first", kind="conv2d", inputs=("x",), outputs=("a",), parameters=("first.weight",)),
            Operation(name="second", kind="conv2d", inputs=("a",), outputs=("b",), attributes={"stride": [1, 1]}),
            Operation(name="sum", kind="add", inputs=("a", "b"), outputs=("y",), followed=False),
        ),
        parameters=(ParameterInfo(name="first.weight", shape=(4, 4, 3, 3), dtype="float32", trainable=True),),
        couplings=(
            Coupling(
                channels=4, fixed="output",
                members=(ChannelMember(parameter="first.weight", axis=0, role="out", count=4),),
            ),
        ),
    )  # fmt: skip


def test_a_graph_survives_json() -> None:
    assert Graph.from_json(diamond().to_json()) == diamond()


def test_parents_and_children() -> None:
    graph = diamond()
    assert [operation.name for operation in graph.children(graph.operation("first"))] == ["second", "sum"]
    assert [operation.name for operation in graph.parents(graph.operation("sum"))] == ["first", "second"]
    assert graph.parents(graph.operation("first")) == ()
    assert [operation.name for operation in graph.unfollowed()] == ["sum"]


def test_entries_of_a_channel_lie_where_the_member_says() -> None:
    """Flattened maps of 4 pixels behind 3 others of that size; every second channel of a shuffle."""
    flat = ChannelMember(parameter="fc.weight", axis=1, role="in", start=12, count=20, repeat=4)
    assert [*flat.entries(0), *flat.entries(1)] == list(range(12, 20))
    shuffled = ChannelMember(parameter="conv.weight", axis=0, role="out", start=1, count=3, step=2)
    assert [entry for channel in range(3) for entry in shuffled.entries(channel)] == [1, 3, 5]
