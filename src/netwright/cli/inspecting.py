"""``netwright inspect``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Group

from netwright.cli import printing
from netwright.cli.options import OUTPUT, Json, Out, Trust, option
from netwright.errors import GateError, UsageError, unknown_name
from netwright.recipe import parse_assignments
from netwright.runs import DEFAULT_FOLDER

if TYPE_CHECKING:
    from netwright.inspecting import Subject
    from netwright.records import Section, Sheet

NETWORK = Group("Network", sort_key=1)
CLOSER = Group("A closer look, which needs values", sort_key=2)
GATES = Group("Gates", sort_key=4)
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_BYTES = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


def inspect(
    subject: Annotated[str | None, option("a network's name, file.py:Name, a run, or an .onnx file")] = None,
    other: Annotated[str | None, option("with --diff: the network to set beside it")] = None,
    /,
    *,
    input: Annotated[
        list[str] | None,
        option(
            "shape of one input without the batch: 3x224x224, ids=16:int64; once for each input",
            name="--input",
            metavar="SHAPE",
            group=NETWORK,
        ),
    ] = None,
    set: Annotated[
        list[str] | None,
        option(
            "an argument of the network, such as width=0.5; may be repeated",
            name="--set",
            metavar="KEY=VALUE",
            group=NETWORK,
        ),
    ] = None,
    outputs: Annotated[int | None, option("classes of a network by name", metavar="N", group=NETWORK)] = None,
    batch: Annotated[int, option("examples at a time; 1 if left out", metavar="N", group=NETWORK)] = 1,
    training: Annotated[bool, option("follow the network as it is trained", group=NETWORK)] = False,
    optimizer: Annotated[
        str | None, option("add the memory of a training step with it (adam, sgd, …)", metavar="NAME", group=NETWORK)
    ] = None,
    object_size: Annotated[
        int, option("pixels of what must be seen as a whole; the input's size if left out", metavar="N", group=NETWORK)
    ] = 0,
    layers: Annotated[
        str | None,
        option('no network but a text: "conv 11 s4 x96, pool 3 s2, …"; --input is its size', metavar="TEXT"),
    ] = None,
    caffe: Annotated[bool, option("with --layers: pooling rounds up as Caffe does")] = False,
    explain: Annotated[
        str | None, option("work out one layer: formulas with its numbers put in", metavar="LAYER")
    ] = None,
    diff: Annotated[bool, option("what differs between two networks")] = False,
    weights: Annotated[bool, option("norms, spectra, ranks and first filters of the weights", group=CLOSER)] = False,
    activations: Annotated[
        bool, option("what each layer makes of an example, as pictures (--html)", group=CLOSER)
    ] = False,
    effective_field: Annotated[
        bool, option("how far the last map really looks, by gradients; of another one with --layer", group=CLOSER)
    ] = False,
    layer: Annotated[str | None, option("the layer of --effective-field", metavar="NAME", group=CLOSER)] = None,
    equivariance: Annotated[
        bool, option("how far shifts of the input are followed, layer by layer", group=CLOSER)
    ] = False,
    examples: Annotated[
        list[Path] | None,
        option(
            "files to look with; a run's validation part if left out, noise without a run",
            name="--examples",
            metavar="FILE",
            group=CLOSER,
        ),
    ] = None,
    everything: Annotated[bool, option("every operation, reshapes and copies too", name="--all", group=OUTPUT)] = False,
    depth: Annotated[int, option("sum up modules so many levels down", metavar="N", group=OUTPUT)] = 0,
    html: Annotated[Path | None, option("write a page with the drawing", metavar="FILE", group=OUTPUT)] = None,
    markdown: Annotated[bool, option("print Markdown", group=OUTPUT)] = False,
    csv: Annotated[bool, option("print CSV", name="--csv", group=OUTPUT)] = False,
    json: Json = False,
    max_params: Annotated[
        str | None, option("exit with 3 above so many parameters (5M)", metavar="N", group=GATES)
    ] = None,
    max_macs: Annotated[str | None, option("exit with 3 above so many MACs (1.5G)", metavar="N", group=GATES)] = None,
    max_memory: Annotated[
        str | None,
        option("exit with 3 above so many bytes of weights and activations (20MB)", metavar="N", group=GATES),
    ] = None,
    trust: Trust = False,
    out: Out = Path(DEFAULT_FOLDER),
) -> int:
    """Show all that can be known of a network before it is trained.

    Shapes, parameters, multiply-adds, memory and receptive fields of every layer, the totals, and what could be built
    otherwise, with figures. Nothing is trained and the weights of a network by name are not even allocated.
    """
    formats = [name for name, given in (("--json", json), ("--csv", csv), ("--markdown", markdown)) if given]
    if len(formats) > 1:
        raise UsageError(formats[0], f"together with {formats[1]}", "one of them")
    limits = _limits(max_params, max_macs, max_memory)
    if depth < 0:
        raise UsageError("--depth", str(depth), "levels of modules, at least 1")
    closer = {"--weights": weights, "--activations": activations, "--effective-field": effective_field,
              "--equivariance": equivariance}  # fmt: skip
    modes = {
        "--layers": layers is not None,
        "--explain": explain is not None,
        "--diff": diff,
        "a closer look": any(closer.values()),
    }
    chosen = next((mode for mode, asked in modes.items() if asked), "a table")
    given = {
        "--input": input, "--set": set, "--outputs": outputs, "--batch": batch != 1, "--training": training,
        "--optimizer": optimizer, "--object-size": object_size, "--layers": layers is not None, "--caffe": caffe,
        "--explain": explain, "--diff": diff, **closer, "--layer": layer, "--examples": examples, "--all": everything,
        "--depth": depth, "--html": html, "--markdown": markdown, "--csv": csv, "--json": json,
        "--max-params": max_params, "--max-macs": max_macs, "--max-memory": max_memory, "--trust": trust,
    }  # fmt: skip
    _refuse_idle(chosen, {name for name, value in given.items() if value})
    if layers is not None:
        return _layers(subject, layers, input, caffe, formats)
    if subject is None:
        raise UsageError(
            "netwright inspect", "no network", "a name, file.py:Name, a run or an .onnx file", "netwright list networks"
        )
    if diff != (other is not None):
        count = 1 + (other is not None)
        hint = f"netwright inspect {subject} {other} --diff" if other is not None else ""
        raise UsageError("--diff", f"{count} network{'s' * (count > 1)}", "two with --diff, one without", hint)
    from netwright import inspecting

    example = inspecting.parse_inputs(input or [])
    options: dict[str, Any] = {"arguments": _arguments(set), "outputs": outputs, "folder": out, "trust": trust}
    more: dict[str, Any] = {
        "batch": batch, "training": training, "optimizer": optimizer or "", "object_size": object_size,
    }  # fmt: skip
    found = inspecting.find(subject, example, **options, weights=any(closer.values()))
    if explain is not None:
        return _explain(found, batch, training, explain, json)
    sheet = inspecting.sheet_of(found, **more)
    if other is not None:
        return _compare(sheet, inspecting.inspect(other, example, **more, **options), json)
    sections: tuple[Section, ...] = ()
    if any(closer.values()):
        from netwright import looking

        sections = looking.sections(
            found, weights=weights, effective=(layer or "") if effective_field else None, shifts=equivariance,
            activations=activations, files=examples or [],
        )  # fmt: skip
    if html is not None:
        _page(html, sheet, sections)
    if sections:
        _show(sheet, sections, json)
    else:
        _print(sheet, formats, everything, depth)
    _hold(sheet, limits)
    return 0


_NETWORK = {"--input", "--set", "--outputs", "--trust", "--json"}
_SHEET = _NETWORK | {"--batch", "--training", "--optimizer", "--object-size"}
_GATED = {"--max-params", "--max-macs", "--max-memory", "--html"}
_CLOSER = {"--weights", "--activations", "--effective-field", "--equivariance", "--layer", "--examples"}
# What is asked for → the options that have an effect on it.
_TAKES = {
    "a table": _SHEET | _GATED | {"--all", "--depth", "--csv", "--markdown"},
    "a closer look": _SHEET | _GATED | _CLOSER,
    "--layers": {"--layers", "--caffe", "--input", "--json", "--csv", "--markdown"},
    "--explain": _NETWORK | {"--explain", "--batch", "--training"},
    "--diff": _SHEET | {"--diff"},
}


def _refuse_idle(chosen: str, given: set[str]) -> None:
    """An option that would do nothing stops."""
    needs = {
        "--layer": ("--effective-field",), "--caffe": ("--layers",),
        "--examples": ("--activations", "--effective-field", "--equivariance"),
    }  # fmt: skip
    for name, others in needs.items():
        if name in given and not given.intersection(others):
            raise UsageError(name, f"without {' or '.join(others)}", "an option that it has an effect on")
    idle = sorted(given - _TAKES[chosen])
    if chosen == "a table" and "--json" in given:
        idle += sorted(given & {"--all", "--depth"})  # the document has every operation
    if idle:
        raise UsageError(
            idle[0],
            f"together with {chosen if chosen != 'a table' else '--json'}",
            "options that have an effect",
            "leave one out",
        )


def _compare(first: Sheet, second: Sheet, json: bool) -> int:
    from netwright.reporting import sheets

    found = sheets.difference(first, second)
    printing.document(found) if json else printing.show(sheets.difference_tables(found))
    return 0


def _print(sheet: Sheet, formats: list[str], everything: bool, depth: int) -> None:
    from netwright.reporting import sheets

    if "--json" in formats:
        printing.document(sheet)
    elif "--csv" in formats:
        printing.line(sheets.as_csv(sheet, everything=everything, depth=depth), end="")
    elif "--markdown" in formats:
        printing.line(sheets.markdown(sheet, everything=everything, depth=depth), end="")
    else:
        printing.show(sheets.table(sheet, everything=everything, depth=depth))
        printing.line()
        printing.show(sheets.summary(sheet))


def _page(path: Path, sheet: Sheet, closer: tuple[Section, ...]) -> None:
    from netwright import files
    from netwright.reporting import drawing

    files.replace_file(path, drawing.page(sheet, closer), "--html in a folder that can be written")
    printing.note(f"written: {path}")


def _arguments(assignments: list[str] | None) -> dict[str, Any]:
    """``width=0.5`` as the network's argument; ``network.arguments.width=0.5`` means the same."""
    found = {}
    for key, value in parse_assignments([
        text if text.startswith("network.") else f"network.arguments.{text}" for text in assignments or []
    ]).items():  # fmt: skip
        found[key.removeprefix("network.").removeprefix("arguments.")] = value
    return found


def _layers(subject: str | None, text: str, inputs: list[str] | None, caffe: bool, formats: list[str]) -> int:
    from netwright.inspection.sizes import layer_table

    if subject is not None:
        raise UsageError("--layers", f"together with {subject}", "a network or a text of layers")
    if not inputs or len(inputs) > 1:
        raise UsageError("--layers", f"{len(inputs or [])} inputs", "the size of one", "--input 227, --input 3x227x227")
    sizes = [int(part) if part.isdigit() else 0 for part in re.split("[x×,]", inputs[0])]
    if not all(sizes):
        raise UsageError(f"--input {inputs[0]}", "no size", "pixels, or channels and pixels", "227, 3x227x227")
    rows = layer_table(text, sizes[0] if len(sizes) == 1 else sizes, caffe=caffe)
    if "--json" in formats:
        printing.document({"layers": rows})
        return 0
    columns = ("layer", "output", "channels", "field", "stride", "offset", "parameters", "MACs")
    from netwright.reporting import formatting, sheets

    lines = [
        (
            row.name, "×".join(map(str, row.size)), "" if row.channels is None else str(row.channels),
            "×".join(map(str, row.receptive_field)), "×".join("" if s is None else f"{s:g}" for s in row.stride),
            "×".join(map(str, row.offset)), "" if row.parameters is None else formatting.count(row.parameters),
            "" if row.macs is None else formatting.count(row.macs),
        )
        for row in rows
    ]  # fmt: skip
    if "--csv" in formats:
        printing.line(sheets.plain_csv(columns, lines), end="")
    elif "--markdown" in formats:
        printing.line("\n".join(sheets.plain_markdown(columns, lines)))
    else:
        table = printing.table(*columns, right=columns[1:])
        for line in lines:
            table.add_row(*map(printing.cell, line))
        printing.show(table)
    return 0


def _explain(found: Subject, batch: int, training: bool, layer: str, json: bool) -> int:
    from netwright.cli.explain import show
    from netwright.inspection.explaining import explain_operation
    from netwright.inspection.sheet import fields_of

    graph = found.trace(batch=batch, training=training)
    names = [operation.name for operation in graph.operations]
    if layer not in names:
        raise unknown_name("--explain", layer, names)
    operation = graph.operation(layer)
    fields = fields_of(graph)
    made = explain_operation(
        operation, graph,
        input_field=fields.get(operation.inputs[0]) if operation.inputs else None,
        output_field=fields.get(operation.outputs[0]),
    )  # fmt: skip
    printing.document(made) if json else show(made)
    return 0


def _show(sheet: Sheet, closer: tuple[Section, ...], json: bool) -> None:
    if json:
        printing.document({"network": sheet.network, **{one.name: one.data for one in closer if one.data}})
        return
    for number, section in enumerate(closer):
        if not (section.lines or section.rows):
            continue
        if number:
            printing.line()
        for line in section.lines:
            printing.line(line)
        if section.rows:
            table = printing.table(*section.columns, right=section.columns[2:])
            for row in section.rows:
                table.add_row(*map(printing.cell, row))
            printing.show(table)
    if any(section.pictures for section in closer):
        printing.note("the pictures are on the page: --html FILE")


# ------------------------------------------------------------------------------------------------ gates


def _limits(params: str | None, macs: str | None, memory: str | None) -> dict[str, tuple[str, float]]:
    """Option → the total that it limits and the limit."""
    given = (
        ("--max-params", "parameters", params), ("--max-macs", "macs", macs),
        ("--max-memory", "inference_bytes", memory),
    )  # fmt: skip
    return {flag: (key, _number(flag, text)) for flag, key, text in given if text is not None}


def _number(flag: str, text: str) -> float:
    if re.fullmatch(r"-\s*\d.*", text.strip()):
        raise UsageError(f"{flag} {text}", "a number below 0", "at least 0", f"{flag} {text.strip(' -')}")
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)", text.strip())
    units = _BYTES | _UNITS if flag == "--max-memory" else _UNITS
    unit = match[2].upper() if match else "?"
    if match is None or unit not in units:
        raise UsageError(f"{flag} {text}", "no number", "a number such as 500000, 1.5M or 20MB")
    return float(match[1]) * units[unit]


def _hold(sheet: Sheet, limits: dict[str, tuple[str, float]]) -> None:
    """Every gate that is not met, in one error."""
    missed = [(flag, key, limit) for flag, (key, limit) in limits.items() if sheet.totals[key] > limit]
    if missed:
        key = missed[0][1]
        heaviest = max(sheet.layers, key=lambda row: row.macs if key == "macs" else row.parameters)
        raise GateError(
            ", ".join(flag for flag, _, _ in missed),
            ", ".join(f"{sheet.totals[key]:,} {key.replace('_', ' ')}" for _, key, _ in missed),
            ", ".join(f"at most {limit:,.0f}" for _, _, limit in missed),
            f"{heaviest.name} first",
        )
