"""Export end to end: small trained networks, real inputs, the real runtimes, and what must not happen."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from torch import nn

import netwright
from netwright import benching, exporting, workbench
from netwright.errors import DataError, GateError, MissingExtraError, NetworkError, RunError, UsageError
from netwright.export import package as packages
from netwright.export import targets
from netwright.export.target import package_folder
from netwright.export.targets import wanted
from netwright.nn.zoo import NETWORKS
from netwright.preprocess import ImagePreprocess, apply
from netwright.recipe import from_dict
from netwright.records import ExportResult

pytest.importorskip("onnxruntime")
pytest.importorskip("ncnn")
HERE = ("onnx", "ncnn", "torchscript")
litert = pytest.mark.skipif(
    importlib.util.find_spec("litert_torch") is None,
    reason='the LiteRT converter is not installed: pip install "netwright[litert-convert]"',
)

ROWS = """
import torch
from torch import nn


class Rows(nn.Module):
    def __init__(self):
        super().__init__()
        self.gru, self.head = nn.GRU(8, 12, batch_first=True), nn.Linear(12, 10)

    def forward(self, x):
        return self.head(self.gru(x[:, 0])[0][:, -1])
"""


def trained(folder: Path, network: str = "lenet5", **keys: Any) -> workbench.Run:
    recipe = from_dict(
        {}, {"network.name": network, "train.epochs": 2, "watch.enabled": False, "data.limit": 400, **keys}
    )
    return workbench.train(recipe, folder=folder)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> workbench.Run:
    return trained(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def gru(tmp_path_factory: pytest.TempPathFactory) -> workbench.Run:
    folder = tmp_path_factory.mktemp("gru")
    (folder / "rows.py").write_text(ROWS)
    return trained(folder, f"{folder}/rows.py:Rows")


def contents(folder: Path) -> dict[str, bytes]:
    """Everything in a run but its exports and its lock."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "exports" not in path.parts and path.name != "lock"
    }


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("target", [*HERE, pytest.param("litert", marks=litert)])
def test_a_float_file_gives_pytorchs_outputs_on_the_runs_validation_data(
    run: workbench.Run, target: str, inside: bool
) -> None:
    before = contents(run.directory)
    result = netwright.export(run, target, inside=inside)
    assert result.agrees
    assert result.labels_equal == 1.0
    assert result.right is not None
    assert result.right[0] == result.right[1] == pytest.approx(run.metrics["validation"]["accuracy"])
    assert contents(run.directory) == before  # the run itself is as it was
    folder = Path(result.path).parent
    assert ExportResult.from_json((folder / "export.json").read_bytes()).weights_sha256 == result.weights_sha256
    assert (folder / "preprocess.json").read_bytes() == (
        run.directory / "preprocess.json"
    ).read_bytes().rstrip() + b"\n"
    assert not [path for path in folder.parent.iterdir() if path.name.startswith(".")]  # nothing half-written


@pytest.mark.parametrize("target", ["onnx", "ncnn"])
def test_a_gru_classifier_agrees_in_every_runtime(gru: workbench.Run, target: str) -> None:
    assert netwright.export(gru, target).agrees


def test_a_file_with_its_preprocessing_inside_takes_bytes_and_gives_probabilities(run: workbench.Run) -> None:
    """By another way: NumPy's preprocessing, PyTorch's network, a softmax by hand; and ONNX Runtime by itself."""
    import onnxruntime

    path = netwright.export(run, "onnx", inside=True).path
    raw = exporting.real_examples(run, count=12).raws[0]
    session = onnxruntime.InferenceSession(path)
    assert session.get_inputs()[0].type == "tensor(uint8)"
    got = session.run(None, {session.get_inputs()[0].name: raw.transpose(0, 2, 3, 1)})[0]
    record = run.inputs.inputs[0]
    assert isinstance(record, ImagePreprocess)
    with torch.no_grad():
        logits = run.network(torch.from_numpy(apply(record, raw))).double().numpy()
    powers = np.exp(logits - logits.max(1, keepdims=True))
    np.testing.assert_allclose(got, powers / powers.sum(1, keepdims=True), atol=1e-6)


@pytest.mark.parametrize("target", ["onnx-int8", "ncnn-fp16", pytest.param("litert-int8", marks=litert)])
def test_a_file_of_lower_precision_is_smaller_and_keeps_its_labels(run: workbench.Run, target: str) -> None:
    name, _, precision = target.partition("-")
    whole = netwright.export(run, name).file_bytes
    result = netwright.export(run, target, max_drop=2.0)
    assert result.file_bytes < whole * (0.62 if precision == "fp16" else 0.42)
    assert result.tolerance is None  # its numbers are meant to differ
    assert result.largest_difference is not None
    assert result.largest_difference > 0


def test_int8_ranges_come_from_real_examples_of_the_training_part(run: workbench.Run) -> None:
    import onnx

    real = exporting.real_examples(run)
    assert len(real.calibration[0]) == exporting.CALIBRATION
    held = {row.tobytes() for row in real.raws[0]}
    assert not any(row.tobytes() in held for row in real.calibration[0])  # what is compared on calibrates nothing
    model = onnx.load(netwright.export(run, "onnx-int8", max_drop=2.0).path)
    assert {"QuantizeLinear", "DequantizeLinear"} <= {node.op_type for node in model.graph.node}
    weights = [
        each for each in model.graph.initializer if each.data_type == onnx.TensorProto.INT8 and len(each.dims) == 4
    ]
    scales = {each.name: each for each in model.graph.initializer}
    for each in weights:  # one scale a channel
        assert scales[each.name.replace("_quantized", "_scale")].dims[0] == each.dims[0]


def test_a_network_that_answers_every_example_alike_is_told_of(tmp_path: Path) -> None:
    """Planted: a last ReLU that is dead. Its file agrees to the last bit, which proves nothing."""
    made = trained(tmp_path, "mlp", **{"train.epochs": 1})
    assert exporting.SAME not in exporting.export(made, "onnx", examples=20).notes
    with torch.no_grad():
        for parameter in made.network.parameters():
            parameter.zero_()
    assert exporting.SAME in exporting.export(made, "onnx", examples=20).notes


def test_a_lost_point_of_accuracy_is_a_gate(run: workbench.Run) -> None:
    with pytest.raises(GateError, match="labels instead of"):
        netwright.export(run, "ncnn-fp16", max_drop=-1.0)


# ---------------------------------------------------------------------------------- planted faults


def test_a_wrong_weight_in_the_file_is_found_and_its_layer_named(
    run: workbench.Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A planted fault: the weights of one channel, in the written file only."""
    import onnx
    from onnx import numpy_helper

    original, layers = targets.TARGETS["onnx"], ("features.0", "features.3", "head.1", "head.6")
    known = dict(run.network.named_modules())
    layers = tuple(name for name in layers if hasattr(known.get(name), "weight"))
    assert len(layers) >= 2
    netwright.export(run, "onnx")
    for layer in layers:

        def write(package: Any, folder: Path, layer: str = layer) -> Path:
            path = original.write(package, folder)
            model = onnx.load(str(path))
            weight = known[layer].weight.detach().numpy()
            same = next(each for each in model.graph.initializer if _same(numpy_helper.to_array(each), weight))
            array = numpy_helper.to_array(same).copy()
            array[0] += 1.0
            same.CopyFrom(numpy_helper.from_array(array, same.name))
            onnx.save(model, str(path))
            return path

        monkeypatch.setitem(targets.TARGETS, "onnx", dataclasses.replace(original, write=write))
        before = (run.directory / "exports" / "onnx" / "export.json").read_bytes()
        with pytest.raises(GateError) as caught:
            netwright.export(run, "onnx")
        assert caught.value.where.startswith(f"export onnx: {layer} "), caught.value.where
        assert (run.directory / "exports" / "onnx" / "export.json").read_bytes() == before  # the file of before stays


def _same(array: np.ndarray, weight: np.ndarray) -> bool:
    return (
        array.shape in (weight.shape, weight.T.shape)
        and np.isclose(np.sort(array.ravel()), np.sort(weight.ravel())).all()
    )


def test_an_operator_that_the_target_lacks_is_named_with_its_layer_before_anything_is_written(tmp_path: Path) -> None:
    class Sums(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.cumsum(1)

    network = nn.Sequential(nn.Linear(4, 6), Sums(), nn.Linear(6, 3))
    x, y = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32), np.arange(40) % 3
    run = netwright.fit(network, (x, y), epochs=1, folder=tmp_path, quiet=True, settings={"watch.enabled": False})
    with pytest.raises(NetworkError, match=r"\b1\b.*cumsum.*ncnn has no such layer"):
        netwright.export(run, "ncnn", inputs=x)
    assert not (run.directory / "exports").exists()
    with pytest.raises(DataError, match="data came from Python"):  # random numbers are no examples
        netwright.export(run, "onnx")
    assert netwright.export(run, "onnx", inputs=x).agrees  # and ONNX has it


class Calls(nn.Module):
    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function, self.layer = function, nn.Linear(6, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(self.layer(x))


@pytest.mark.parametrize("name", ["cumsum", "multinomial", "masked", "erf", "ceil"])
@pytest.mark.parametrize("target", list(targets.TARGETS))
def test_what_a_refusal_tells_to_try_does_not_refuse_as_well(name: str, target: str) -> None:
    networks: dict[str, Any] = {
        "cumsum": lambda x: x.cumsum(1), "erf": torch.erf, "masked": lambda x: torch.masked_select(x, x > 0),
        "multinomial": lambda x: torch.multinomial(x.softmax(1), 2), "ceil": lambda x: nn.functional.max_pool2d(
            x[:, None, None], (1, 4), ceil_mode=True),
    }  # fmt: skip
    from netwright.graph.tracing import trace

    graph, asked = trace(Calls(networks[name]), (6,)), targets.wanted(target)
    if not asked.target.lacking(graph):
        exporting.refuse(asked, graph)  # says nothing
        return
    with pytest.raises(NetworkError) as caught:
        exporting.refuse(asked, graph)
    said = caught.value.suggestion
    named = [each for each in targets.TARGETS if each in said.removeprefix("another target: ").split(", ")]
    assert target not in named
    assert bool(named) == said.startswith("another target")
    assert not any(targets.TARGETS[each].lacking(graph) for each in named)


@pytest.mark.parametrize(
    ("function", "hint"),
    [
        (lambda x: x + torch.randn_like(x), "random numbers"), (lambda x: x - x.mean(0), "the others of its batch"),
        (lambda x: x if x.sum() > 0 else -x, "torch.where"), (lambda x: x, "another target"),
    ],
)  # fmt: skip
def test_what_no_file_can_agree_with_is_said_instead_of_another_target(function: Any, hint: str) -> None:
    """Planted: the worst example is one on which a trace of the first goes another way."""
    torch.manual_seed(0)
    network = Calls(function)
    with torch.no_grad():
        rows = torch.randn(40, 6)
        signs = network.layer(rows).sum(1) > 0
    taken = torch.cat([rows[signs][:1], rows[~signs][:1], rows[~signs][1:4]]).numpy()
    made = exporting.packages.package(network, [taken])
    expected = exporting.outputs(made.network, [taken if hint.startswith("the") else taken[1:2]])
    worst = expected[1] if hint.startswith("the") else expected[0]
    assert hint in exporting._way_out(targets.wanted("onnx"), made, [taken[1:2]], worst)


def test_mace_refuses_ceil_mode_and_what_its_converter_does_not_know(run: workbench.Run, tmp_path: Path) -> None:
    import hashlib

    import yaml

    result = netwright.export(run, "mace")
    folder = Path(result.path).parent
    about = yaml.safe_load((folder / "model.yml").read_text())["models"]["model"]
    assert about["model_sha256_checksum"] == hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest()
    assert about["subgraphs"][0]["input_shapes"] == ["1,1,8,8"]
    assert any("not run" in note for note in result.notes)
    import onnx

    model = onnx.load(str(folder / "model.onnx"))
    assert model.opset_import[0].version == 11
    from netwright.export.mace import TARGET
    from netwright.graph.tracing import trace

    odd = nn.Sequential(nn.Conv2d(1, 4, 3), nn.MaxPool2d(2, ceil_mode=True), nn.GELU(), nn.MaxPool2d(2))
    assert [(each.layer, each.kind) for each in TARGET.lacking(trace(odd, (1, 9, 9)))] == [
        ("2", "gelu"), ("1", "max_pool2d"),
    ]  # fmt: skip


def test_a_missing_extra_names_its_command(run: workbench.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == "pnnx" else find(name, *more))
    with pytest.raises(MissingExtraError, match=r"netwright\[ncnn\]") as caught:
        netwright.export(run, "ncnn")
    assert caught.value.exit_code == 4


def test_a_place_that_cannot_be_written_is_said_first(run: workbench.Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="is a file") as caught:
        netwright.export(run, "onnx", to=tmp_path / "file" / "exports")
    assert caught.value.suggestion == "--to FOLDER"  # --out is where runs are
    with pytest.raises(UsageError, match="onnx-int8"):
        netwright.export(run, "onnx-fp16")


def test_nothing_but_an_export_of_before_is_replaced(run: workbench.Run, tmp_path: Path) -> None:
    mine = tmp_path / "torchscript" / "thesis.txt"
    mine.parent.mkdir()
    mine.write_text("precious")
    with pytest.raises(UsageError, match=r"thesis\.txt"):
        netwright.export(run, "torchscript", to=tmp_path)
    mine.unlink()
    for _ in range(2):
        netwright.export(run, "torchscript", to=tmp_path, examples=20)
    mine.write_text("precious")
    with pytest.raises(UsageError, match=r"thesis\.txt"):
        netwright.export(run, "torchscript", to=tmp_path, examples=20)
    assert mine.read_text() == "precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["torchscript"]


def test_seconds_are_more_than_zero(run: workbench.Run) -> None:
    with pytest.raises(UsageError, match="-5"):
        netwright.export(run, "torchscript", seconds=-5)


def test_a_file_of_other_weights_is_not_measured(tmp_path: Path) -> None:
    run = trained(tmp_path, "mlp", **{"data.limit": 100, "train.epochs": 1})
    path = Path(netwright.export(run, "onnx").path)
    about = ExportResult.from_json((path.parent / "export.json").read_bytes())
    (path.parent / "export.json").write_text(msgspec.structs.replace(about, weights_sha256="0" * 64).to_json())
    with pytest.raises(UsageError, match="other weights"):
        benching.bench(run, ["onnx"], batches=(1,), seconds=0.1)


# ---------------------------------------------------------------------------------- latency


def test_bench_measures_every_runtime_on_the_same_inputs_and_draws_them(run: workbench.Run) -> None:
    found = netwright.bench(run, ["onnx", "ncnn"], batches=(1, 4), seconds=0.2, operators=True)
    assert [(row.name, row.latency.batch) for row in found.rows] == [
        (name, batch) for batch in (1, 4) for name in ("torch", "onnx", "ncnn")
    ]
    for row in found.rows:
        assert 0 < row.latency.low_ms <= row.latency.median_ms <= row.latency.high_ms
        assert row.latency.threads == 1
        assert row.faster[1] <= row.faster[0] <= row.faster[2]
        assert row.name == "torch" or row.peak_bytes is None or row.peak_bytes > 0
    assert any("Conv" in name for name in next(row for row in found.rows if row.name == "onnx").operators)
    picture = Path(found.picture).read_text()
    assert all(name in picture for name in ("torch", "onnx", "ncnn", "batch 4"))
    json.dumps(found.to_dict(), allow_nan=False)


def test_several_networks_are_measured_in_turns_in_one_runtime() -> None:
    x = np.zeros((4, 1, 16, 16), np.float32)
    networks = {name: nn.Sequential(nn.Conv2d(1, width, 3), nn.ReLU()) for name, width in (("a", 2), ("b", 8))}
    found = exporting.latencies(networks, "onnxruntime", [x], rounds=5)
    assert list(found) == ["a", "b"]
    assert {each.runtime for each in found.values()} == {"onnxruntime"}


# ---------------------------------------------------------------------------------- the program beside the file


def test_the_program_beside_an_onnx_file_is_compiled_and_prints_its_outputs(run: workbench.Run, tmp_path: Path) -> None:
    import os
    import shutil
    import subprocess

    header = next(
        (
            folder for folder in (os.environ.get("ONNXRUNTIME_INCLUDE", ""), "/usr/include/onnxruntime",
                                  "/usr/local/include/onnxruntime", "/usr/include", "/usr/local/include")
            if folder and (Path(folder) / "onnxruntime_cxx_api.h").exists()
        ),
        None,
    )  # fmt: skip
    library = next(iter((package_folder("onnxruntime") / "capi").glob("libonnxruntime.so.*")), None)
    if header is None or library is None or shutil.which("g++") is None:
        pytest.skip("no header of ONNX Runtime (its wheel has none; ONNXRUNTIME_INCLUDE names its folder) or no g++")
    folder = Path(netwright.export(run, "onnx", to=tmp_path).path).parent
    (tmp_path / "libonnxruntime.so.1").symlink_to(library)  # the name that it has in itself; the wheel leaves it out
    linked = [str(library), f"-Wl,-rpath,{tmp_path}"]
    command = ["g++", "-std=c++17", "load.cpp", "-I", header, *linked, "-o", "load"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    example = exporting.packages.prepared(run.inputs.inputs, exporting.real_examples(run, count=1).raws)[0]
    example.tofile(folder / "example.bin")
    printed = subprocess.run(["./load", "example.bin"], cwd=folder, check=True, capture_output=True, text=True).stdout
    with torch.no_grad():
        expected = run.network(torch.from_numpy(example))[0].numpy()
    np.testing.assert_allclose([float(line) for line in printed.split()], expected, rtol=1e-4, atol=1e-4)


# ---------------------------------------------------------------------------------- the command line


def test_the_verb_prints_one_document_and_its_exit_codes_are_the_familys(
    run: workbench.Run, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from netwright.cli.main import main

    def said(*words: str) -> tuple[int, str]:
        capfd.readouterr()
        code = main(list(words))
        return code, capfd.readouterr().out

    code, out = said("export", str(run.directory), "onnx", "--examples", "20", "--json")
    assert code == 0
    (made,) = json.loads(out)["exports"]
    assert made["inputs"] == 20
    assert made["agrees"]
    assert said("export", str(run.directory), "onx")[0] == 2
    assert said("export", str(run.directory))[0] == 2
    assert said("bench", str(run.directory), "--batches", "1,two")[0] == 2
    for wrong in (["--batch", "0"], ["--threads", "0"], ["--seconds", "-1"], ["--seconds", "nan"], ["--runtime", "x"]):
        code, out = said("bench", str(run.directory), *wrong, "--json")
        assert code == 2
        assert json.loads(out)["error"]["where"]
    code, out = said(
        "bench", str(run.directory), "--runtime", "onnxruntime", "--batch", "1", "--seconds", "0.1", "--json"
    )
    assert [row["name"] for row in json.loads(out)["rows"]] == ["torch", "onnx"]
    written = exporting.export

    def stopped(run: Any, target: str, **options: Any) -> Any:
        if target == "ncnn":
            raise KeyboardInterrupt
        return written(run, target, **options)

    monkeypatch.setattr(exporting, "export", stopped)
    code, out = said("export", str(run.directory), "torchscript", "ncnn", "onnx", "--examples", "9", "--json")
    assert code == 130
    error = json.loads(out)["error"]
    assert error["try"] == f"netwright export {run.directory} ncnn onnx"  # goes on with what is left
    assert "torchscript/model.pt" in error["got"]
    monkeypatch.undo()
    assert said("export", str(run.directory), "ncnn-fp16", "--max-drop", "-1")[0] == 3
    code, out = said(
        "export", str(run.directory), "ncnn-fp16", "onnx", "--max-drop", "-1", "--examples", "9", "--json"
    )  # fmt: skip
    told = json.loads(out)  # the second is written though the first was refused
    assert (code, [each["target"] for each in told["exports"]]) == (3, ["onnx"])
    assert [each["target"] for each in told["refused"]] == ["ncnn-fp16"]
    assert "points" in told["refused"][0]["expected"]
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == "pnnx" else find(name, *more))
    assert said("export", str(run.directory), "onnx", "ncnn")[0] == 4


@pytest.mark.parametrize("more", [{"read": "unroll"}, {"bidirectional": True}])
def test_what_packs_texts_is_told_the_network_that_does_not(more: dict[str, Any]) -> None:
    texts = np.array([[3, 2, 0], [1, 0, 0]])
    made = packages.package(NETWORKS["gru"]((3,), 4, width=4, vocabulary=5, padded=True, **more).eval(), [texts])
    with pytest.raises(NetworkError, match="in one direction and unrolls nothing"):
        exporting.refuse(wanted("onnx"), made.graph)
    plain = packages.package(NETWORKS["gru"]((3,), 4, width=4, vocabulary=5, padded=True).eval(), [texts])
    exporting.refuse(wanted("onnx"), plain.graph)  # what the hint says is so
