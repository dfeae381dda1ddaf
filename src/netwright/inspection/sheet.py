"""A graph → the sheet of a network: one row an operation, totals, advice. No torch."""

from __future__ import annotations

from netwright.errors import UsageError
from netwright.graph.structure import Graph
from netwright.inspection.advice import advise
from netwright.inspection.cost import costs, totals
from netwright.inspection.receptive_field import ReceptiveField, receptive_fields
from netwright.records import LayerRow, Sheet, to_builtin


def sheet(graph: Graph, network: str, *, fields: bool = True, advice: bool = True, object_size: int = 0) -> Sheet:
    """The sheet of ``graph``; ``network`` is what it is called.

    ``fields``: receptive fields too, which take most of the time in large networks. ``object_size``: pixels of what
    must be seen as a whole, for the advice; the input's size if 0.
    """
    by_operation = costs(graph)
    summed = totals(graph, by_operation)
    seen = fields_of(graph) if fields else {}
    rows = []
    for operation in graph.operations:
        cost = by_operation[operation.name]
        output = operation.outputs[0]
        field = seen.get(output)
        rows.append(
            LayerRow(
                name=operation.name,
                kind=operation.kind,
                module=operation.module,
                inputs=tuple(dict.fromkeys(graph.tensors[name].producer or name for name in operation.inputs)),
                output_shape=graph.tensors[output].shape,
                parameters=cost.parameters,
                trainable=cost.trainable,
                macs=cost.macs,
                flops=cost.flops,
                elementwise=cost.elementwise,
                weight_bytes=cost.weight_bytes,
                output_bytes=cost.output_bytes,
                bytes_moved=cost.bytes_moved,
                intensity=cost.intensity,
                share_macs=cost.share_macs,
                share_parameters=cost.share_parameters,
                share_memory=cost.share_memory,
                receptive_field=to_builtin(field) if field is not None else None,
                attributes=operation.attributes,
                followed=operation.followed,
            )
        )
    return Sheet(
        network=network,
        inputs={name: graph.tensors[name].shape for name in graph.inputs},
        outputs={name: graph.tensors[name].shape for name in graph.outputs},
        batch=graph.batch,
        totals=summed.to_dict(),
        layers=tuple(rows),
        advice=advise(graph, by_operation, seen, object_size) if advice else (),
        executed=graph.executed,
        unfollowed=tuple(operation.name for operation in graph.unfollowed()),
    )


def fields_of(graph: Graph) -> dict[str, ReceptiveField]:
    """Receptive fields by tensor; none for a network without an input that has places."""
    try:
        return receptive_fields(graph)
    except UsageError:
        return {}
