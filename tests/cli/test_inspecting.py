"""``netwright inspect``: every form of the answer, every way to name a network, gates, and wrong requests."""

import csv
import io
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import warm

Says = Callable[..., Any]
ALEXNET = (
    "conv 11 s4 x96, pool 3 s2, conv 5 p2 x256 g2, pool 3 s2, conv 3 p1 x384, conv 3 p1 x384 g2, conv 3 p1 x256 g2"
)


@pytest.fixture
def own(tmp_path: Path) -> str:
    path = tmp_path / "own.py"
    path.write_text(
        "import torch\nfrom torch import nn\n"
        "class Net(nn.Module):\n"
        "    def __init__(self, width: int = 4) -> None:\n"
        "        super().__init__()\n"
        "        print('built')\n"
        "        self.conv = nn.Conv2d(3, width, 3)\n"
        "        self.head = nn.Linear(width, 2)\n"
        "    def forward(self, x):\n"
        "        return self.head(self.conv(x).mean((2, 3)))\n"
    )
    return f"{path}:Net"


def test_totals_and_layers_of_a_published_network(says: Says) -> None:
    found = says("inspect", "resnet18", "--json").document
    assert found["totals"]["parameters"] == 11_689_512
    assert found["totals"]["macs"] == 1_814_073_344
    assert found["totals"]["flops"] == 2 * found["totals"]["macs"]
    assert found["totals"]["activation_bytes"] > 0
    layers = {layer["name"]: layer for layer in found["layers"]}
    last = layers["layer4.1.conv2"]
    assert (last["kind"], last["output_shape"], last["parameters"]) == ("conv2d", [1, 512, 7, 7], 9 * 512 * 512)
    assert last["receptive_field"]["size"] == [435, 435]
    assert last["receptive_field"]["stride"] == [32, 32]
    assert sum(layer["macs"] for layer in found["layers"]) == found["totals"]["macs"]
    assert sum(layer["parameters"] for layer in found["layers"]) == found["totals"]["parameters"]


def test_the_table_names_layers_totals_and_advice(says: Says) -> None:
    said = says("inspect", "vgg16")
    assert said.code == 0
    for words in ("features.0", "138 357 544", "15 470 264 320", "dense-head", "1×512×7×7"):
        assert words in said.out.replace("\u202f", " ").replace("\xa0", " "), words


def test_csv_and_markdown_have_a_line_a_layer(says: Says) -> None:
    rows = list(csv.DictReader(io.StringIO(says("inspect", "lenet5", "--csv").out)))
    document = says("inspect", "lenet5", "--json").document
    assert sum(int(row["macs"]) for row in rows) == document["totals"]["macs"]
    assert rows[0]["output_shape"].startswith("1x6x")
    text = says("inspect", "lenet5", "--markdown").out
    assert text.count("\n| ") == 1 + 1 + len(rows) - 0
    everything = list(csv.DictReader(io.StringIO(says("inspect", "lenet5", "--csv", "--all").out)))
    assert len(everything) == len(document["layers"]) > len(rows)


def test_depth_sums_up_modules(says: Says) -> None:
    full = list(csv.DictReader(io.StringIO(says("inspect", "resnet20_cifar", "--csv").out)))
    short = list(csv.DictReader(io.StringIO(says("inspect", "resnet20_cifar", "--csv", "--depth", "1").out)))
    assert "layer1" in [row["name"] for row in short]
    assert sum(int(row["macs"]) for row in short) == sum(int(row["macs"]) for row in full)


def test_arguments_outputs_batch_and_another_input(says: Says) -> None:
    wide = says(
        "inspect", "resnet20_cifar", "--set", "width=2", "--outputs", "7", "--input", "1x16x16", "--json"
    ).document
    assert wide["outputs"] == {"fc": [1, 7]}
    assert wide["layers"][0]["output_shape"] == [1, 32, 16, 16]
    one, eight = (says("inspect", "lenet5", "--batch", n, "--json").document["totals"] for n in ("1", "8"))
    assert eight["macs"] == 8 * one["macs"]
    assert eight["parameters"] == one["parameters"]
    assert eight["macs_per_example"] == one["macs"]


def test_a_file_of_ones_own_and_what_it_prints(says: Says, own: str) -> None:
    said = says("inspect", own, "--input", "3x8x8", "--set", "width=5", "--json")
    assert said.document["totals"]["parameters"] == 5 * 28 + 12
    assert "built" in said.err
    missing = says("inspect", own)
    assert missing.code == 2
    assert "--input 3x224x224" in missing.err
    wrong = says("inspect", own, "--input", "1x8x8")
    assert wrong.code == 2
    for words in ("conv (Conv2d)", "1x1x8x8", "3 channels", "own.py"):
        assert words in wrong.err, words


def test_whatever_a_network_writes_stdout_is_the_answer_alone(tmp_path: Path) -> None:
    path = tmp_path / "loud.py"
    path.write_text(
        "import os, subprocess\n"
        "from torch import nn\n"
        "class Net(nn.Linear):\n"
        "    def __init__(self):\n"
        "        super().__init__(4, 4)\n"
        "        os.write(1, b'raw\\n')\n"
        "    def forward(self, x):\n"
        "        print('printed')\n"
        "        subprocess.run(['echo', 'child'])\n"
        "        return super().forward(x)\n"
    )
    command = ["-m", "netwright", "inspect", f"{path}:Net", "--input", "4", "--json"]
    done = warm.python(command, tmp_path, timeout=120)
    assert done.returncode == 0
    assert json.loads(done.stdout)["totals"]["parameters"] == 20
    assert set(done.stderr.splitlines()) == {"raw", "printed", "child"}


def test_inputs_of_a_mapping(says: Says, tmp_path: Path) -> None:
    path = tmp_path / "keyed.py"
    path.write_text(
        "from torch import nn\n"
        "class Net(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.conv = nn.Conv2d(3, 4, 3)\n"
        "    def forward(self, batch):\n"
        "        return self.conv(batch['name']).mean((2, 3)) + batch['other'].sum(1, keepdim=True)\n"
    )
    parts = ("--input", "name=3x32x32", "--input", "other=10")
    said = says("inspect", f"{path}:Net", *parts, "--json")
    assert said.document["totals"]["macs"] == 4 * 27 * 30 * 30
    assert sorted(said.document["inputs"].values()) == [[1, 3, 32, 32], [1, 10]]
    checked = says("check", f"{path}:Net", "--gradients", *parts, "--entries", "2", "--json")
    assert checked.code == 0
    assert [row["name"] for row in checked.document["rows"]][:2] == ["input.name", "input.other"]
    wrong = says("inspect", f"{path}:Net", "--input", "batch=10")
    assert wrong.code == 2
    assert "--input batch.name=SHAPE" in wrong.err
    assert "Warning" not in wrong.err


def test_a_run_knows_its_input(says: Says, runs_folder: Path) -> None:
    found = says("inspect", "digits-0001", "--out", runs_folder, "--json").document
    assert list(found["inputs"].values()) == [[1, 1, 8, 8]]
    assert says("inspect", "digits-0001", "--out", runs_folder, "--outputs", "3").code == 2


def test_weights_of_a_run(says: Says, runs_folder: Path) -> None:
    found = says("inspect", "digits-0001", "--out", runs_folder, "--weights", "--json").document["weights"][
        "parameters"
    ]
    assert all(one["l2"] > 0 and one["nan"] == 0 for one in found if len(one["shape"]) > 1)
    assert "spectral" in says("inspect", "digits-0001", "--out", runs_folder, "--weights").out


def test_memory_of_training_is_added_for_an_optimizer(says: Says) -> None:
    found = says("inspect", "lenet5", "--optimizer", "adam", "--batch", "16", "--json").document["training"]
    assert found["optimizer_state"] >= 2 * found["weights"]
    assert found["peak"] > found["weights"] + found["optimizer_state"]


@pytest.mark.parametrize("network", ["lenet5", "resnet20_cifar"])
def test_the_parts_of_training_that_are_printed_add_up_to_its_peak(says: Says, network: str) -> None:
    words = ("inspect", network, "--optimizer", "adam", "--batch", "16")
    (line,) = [line for line in says(*words).out.splitlines() if line.startswith("training")]
    units = {"B": 1, "kB": 1e3, "MB": 1e6}
    peak, *parts = (float(number) * units[unit] for number, unit in re.findall(r"(\d+(?:\.\d+)?) (B|kB|MB)\b", line))
    assert sum(parts) == pytest.approx(peak, rel=0.05)  # of two digits each
    assert "temporaries" in line or "activations" in line


def test_the_words_of_the_totals(says: Says, tmp_path: Path) -> None:
    assert "(9 620 values in buffers)" in says("inspect", "resnet18").out.replace("\u202f", " ").replace("\xa0", " ")
    path = tmp_path / "same.py"
    path.write_text("from torch import nn\nSame = nn.Identity()\n")
    (line,) = [line for line in says("inspect", f"{path}:Same", "--input", "4").out.splitlines() if "at once" in line]
    assert line.rstrip().endswith("at most at once")  # no operation makes anything


def test_a_text_of_layers(says: Says) -> None:
    rows = says("inspect", "--layers", ALEXNET, "--input", "3x227x227", "--json").document["layers"]
    assert [row["size"][0] for row in rows] == [55, 27, 27, 13, 13, 13, 13]
    assert [row["receptive_field"][0] for row in rows] == [11, 19, 51, 67, 99, 131, 163]
    assert rows[0]["parameters"] == 11 * 11 * 3 * 96 + 96
    assert "163×163" in says("inspect", "--layers", ALEXNET, "--input", "227").out
    for words in (("--input", "0"), (), ("--input", "227", "lenet5")):
        assert says("inspect", "--layers", ALEXNET, *words).code == 2


def test_one_layer_worked_out(says: Says) -> None:
    said = says("inspect", "lenet5", "--explain", "conv1")
    assert said.code == 0 or "conv" in said.err
    names = [layer["name"] for layer in says("inspect", "lenet5", "--json").document["layers"]]
    first = says("inspect", "lenet5", "--explain", names[0], "--json").document
    assert first["steps"]
    wrong = says("inspect", "lenet5", "--explain", names[0][:-1] + "z")
    assert wrong.code == 2
    assert names[0] in wrong.err


def test_two_networks_side_by_side(says: Says) -> None:
    found = says("inspect", "resnet18", "resnet34", "--diff", "--json").document
    assert found["totals"]["parameters"] == [11_689_512, 21_797_672]
    assert "layer1.2.conv1" in found["only_second"]
    assert found["only_first"] == []
    assert "1.865" in says("inspect", "resnet18", "resnet34", "--diff").out
    assert says("inspect", "resnet18", "resnet34").code == 2
    assert says("inspect", "resnet18", "--diff").code == 2


@pytest.mark.parametrize(
    ("gate", "below", "above"),
    [("--max-params", "61.7K", "61.8K"), ("--max-macs", "0.4M", "1M"), ("--max-memory", "100KB", "1MB")],
)
def test_gates(says: Says, gate: str, below: str, above: str) -> None:
    assert says("inspect", "lenet5", gate, above).code == 0
    failed = says("inspect", "lenet5", gate, below)
    assert failed.code == 3
    assert gate in failed.err


def test_every_gate_that_is_missed_is_named(says: Says) -> None:
    said = says("inspect", "lenet5", "--max-params", "1K", "--max-macs", "1K", "--max-memory", "1GB")
    assert said.code == 3
    assert "--max-params, --max-macs" in said.err
    assert "--max-memory" not in said.err


def test_a_gate_holds_beside_a_closer_look(says: Says) -> None:
    assert says("inspect", "lenet5", "--weights", "--max-params", "1K").code == 3
    assert says("inspect", "lenet5", "--weights", "--max-params", "1M").code == 0


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_another_user_needs_trust(says: Says, own: str) -> None:
    os.chown(own.partition(":")[0], 12345, -1)
    said = says("inspect", own, "--input", "3x8x8")
    assert said.code == 2
    assert "--trust" in said.err
    assert says("inspect", own, "--input", "3x8x8", "--trust").code == 0


def test_a_network_that_exits_passes_no_gate(says: Says, tmp_path: Path) -> None:
    path = tmp_path / "exits.py"
    path.write_text(
        "from torch import nn\n"
        "class Net(nn.Module):\n"
        "    def forward(self, x):\n"
        "        raise SystemExit(0)\n"
        "class Lazy(nn.Sequential):\n"
        "    def __init__(self):\n"
        "        super().__init__(nn.LazyConv2d(4, 3), nn.Flatten(), nn.LazyLinear(2))\n"
    )
    said = says("inspect", f"{path}:Net", "--input", "4", "--max-params", "1", "--json")
    assert said.code == 2
    assert "SystemExit" in said.err
    found = says("inspect", f"{path}:Lazy", "--input", "3x9x9", "--json").document
    assert found["totals"]["parameters"] == 4 * 28 + 2 * (4 * 49 + 1)


def test_a_constructor_that_fails_says_where(says: Says, tmp_path: Path) -> None:
    path = tmp_path / "fails.py"
    path.write_text(
        "from torch import nn\n"
        "class Net(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.sizes = {}['missing']\n"
        "class Right(nn.Linear):\n"
        "    def __init__(self):\n"
        "        super().__init__(4, 4)\n"
    )
    for words in (("inspect",), ("check", "--gradients")):
        said = says(*words, f"{path}:Net", "--input", "4")
        assert (said.code, said.out) == (2, "")
        assert "Traceback" not in said.err
        for expected in ("KeyError", f"{path}:5:", "self.sizes"):
            assert expected in said.err
        nameless = says(*words, path, "--input", "4")
        assert nameless.code == 2
        assert f"{path}:Right" in nameless.err


def test_the_page_is_whole_and_needs_nothing(says: Says, tmp_path: Path) -> None:
    page = tmp_path / "sheet.html"
    assert says("inspect", "squeezenet1_1", "--html", page).code == 0
    text = page.read_text()
    assert text.startswith("<!doctype html>")
    assert text.endswith("</html>")
    assert "<svg" in text
    for word in ("http://", "https://", "<script", "src="):
        assert word not in text.replace("http://www.w3.org/2000/svg", ""), word
    assert len(text) < 1_500_000


@pytest.mark.skipif(os.geteuid() == 0 and not Path("/proc").exists(), reason="nowhere that cannot be written")
def test_a_page_that_cannot_be_written_is_a_clear_error(says: Says, tmp_path: Path) -> None:
    said = says("inspect", "lenet5", "--html", tmp_path / "no" / "folder" / "page.html")
    assert said.code in (1, 2)
    assert "Traceback" not in said.err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["lenet6"], "lenet5"),
        (["lenet5", "--input", "abc"], "3x224x224"),
        (["lenet5", "--input", "1x28x28:flot32"], "float32"),
        (["lenet5", "--input", "a=1x28x28", "--input", "1x28x28"], "for none"),
        (["lenet5", "--input", "1x28x28", "--input", "1x28x28"], "one input"),
        (["lenet5", "--input", "1x2x2"], "lenet5"),
        (["lenet5", "--json", "--csv"], "one of them"),
        (["lenet5", "--max-params", "many"], "500000"),
        (["lenet5", "--max-params", "-5"], "a number below 0"),
        (["vgg16", "--input", "3x20x20"], "--input 3x224x224"),
        (["lenet5", "--input", "7"], "--input 1x28x28"),
        (["small_resnet1d", "--input", "3x32x32"], "--input 1x1024"),
        (["resnet18", "--input", "3x64x64:int64"], "conv1"),
        (["lenet5", "--optimizer", "adamm"], "adam"),
        (["lenet5", "--set", "colour=red"], "colour"),
        (["lenet5", "--caffe"], "--layers"),
        (["--layers", "conv 3", "--input", "8", "--max-params", "1"], "--max-params"),
        (["--layers", "conv 3", "--input", "8", "--weights"], "--weights"),
        (["lenet5", "--depth", "-1"], "--depth"),
        (["lenet5", "--json", "--depth", "1"], "--depth"),
        (["lenet5", "--layer", "features.0"], "--effective-field"),
        (["lenet5", "--examples", "a.png", "--weights"], "--activations"),
        (["lenet5", "--explain", "features.0", "--max-params", "1"], "--max-params"),
        (["lenet5", "resnet18", "--diff", "--max-params", "1"], "--max-params"),
        (["lenet5", "resnet18", "--diff", "--csv"], "--csv"),
        (["lenet5", "--weights", "--csv"], "--csv"),
        (["lenet5", "--outputs", "0"], "at least 1"),
        (["resnet18", "resnet34"], "--diff"),
        (["nothing.onnx"], "no such file"),
        ([], "netwright list networks"),
    ],
)
def test_wrong_requests(says: Says, words: list[str], expected: str) -> None:
    said = says("inspect", *words)
    assert said.code == 2, said.err
    assert expected in said.err
    assert "Traceback" not in said.err


def test_an_error_is_a_document_under_json(says: Says) -> None:
    said = says("inspect", "lenet6", "--json")
    assert said.code == 2
    assert "lenet5" in json.dumps(said.document)
