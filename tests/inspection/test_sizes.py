"""Sizes: the numeric traps, PyTorch itself over random settings, the classic tables, and texts that are wrong."""

import contextlib
import csv
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from netwright.errors import UsageError
from netwright.inspection.sizes import (
    adaptive_windows,
    conv_size,
    layer_table,
    pool_size,
    same_padding,
    torch_same_padding,
    transposed_size,
    upsampled_size,
)
from reference import shared_folder

ALEXNET = """conv 11 s4 x96, pool 3 s2, conv 5 p2 g2 x256, pool 3 s2, conv 3 p1 x384, conv 3 p1 g2 x384,
conv 3 p1 g2 x256, pool5: pool 3 s2"""
ZF5 = "conv 7 s2 p3, pool 3 s2 p1, conv 5 s2 p2, pool 3 s2 p1, conv 3 p1 *3"
VGG16 = """conv 3 p1 x64 *2, pool 2, conv 3 p1 x128 *2, pool 2, conv 3 p1 x256 *3, pool 2, conv 3 p1 x512 *3, pool 2,
conv 3 p1 x512 *3, pool 2"""


def reference(name: str) -> Path:
    file = shared_folder() / "reference" / name
    if not file.exists():
        pytest.skip(f"no {file} (NETWRIGHT_SHARED names another place)")
    return file


def published() -> list[dict[str, str]]:
    return list(csv.DictReader(reference("receptive_field.csv").open()))


def cases(kind: str) -> list[dict[str, Any]]:
    return [case for case in json.loads(reference("semantics_cases.json").read_text()) if case["kind"] == kind]


# ---- the numeric traps of the reference


def test_conv_pool_and_transposed_sizes_of_the_reference() -> None:
    for case in cases("shape"):
        p, n = case["params"], case["input"]
        pads = (p.get("p", 0), p.get("p", 0))
        if case["op"] == "conv":
            found = conv_size(n, p["k"], p["s"], pads)
        elif case["op"] == "convT":
            found = transposed_size(n, p["k"], p["s"], pads, p.get("outpad", 0), p.get("d", 1))
        else:
            found = pool_size(n, p["k"], p["s"], pads, p.get("d", 1), ceil=p.get("ceil", False))
        assert found == case["expect"], case
        assert found != case["naive_wrong"], case


def test_padding_of_the_reference() -> None:
    for case in cases("tf_same_pad"):
        before, after = same_padding(case["input"], case["k"], case["s"], case["d"])
        assert (before, after) == (case["pad_before"], case["pad_after"]), case
        assert conv_size(case["input"], case["k"], case["s"], (before, after), case["d"]) == case["expect_out"], case
    for case in cases("torch_same_pad"):
        assert torch_same_padding(case["k"], case["d"]) == (case["left"], case["right"]), case


def test_adaptive_windows_of_the_reference() -> None:
    for case in cases("adaptive_pool_windows"):
        assert [list(window) for window in adaptive_windows(case["input"], case["output"])] == case["windows"], case


# ---- PyTorch over random settings


@given(
    n=st.integers(1, 40), k=st.integers(1, 6), s=st.integers(1, 5), p=st.integers(0, 3), d=st.integers(1, 3),
    ceil=st.booleans(),
)  # fmt: skip
@settings(max_examples=400, deadline=None)
def test_pytorch_has_these_sizes(n: int, k: int, s: int, p: int, d: int, ceil: bool) -> None:
    assume(n + 2 * p >= d * (k - 1) + 1)
    x = torch.empty(1, 1, n, device="meta")
    assert conv_size(n, k, s, (p, p), d) == F.conv1d(x, torch.empty(1, 1, k, device="meta"), None, s, p, d).shape[2]
    if p <= k // 2:
        assert pool_size(n, k, s, (p, p), d, ceil=ceil) == F.max_pool1d(x, k, s, p, d, ceil).shape[2]
    size = transposed_size(n, k, s, (p, p), min(p, max(s, d) - 1), d)
    assume(size > 0)
    made = F.conv_transpose1d(x, torch.empty(1, 1, k, device="meta"), None, s, p, min(p, max(s, d) - 1), 1, d)
    assert size == made.shape[2]


@given(n=st.integers(1, 30), factor=st.sampled_from([0.5, 1.5, 2.0, 2.7, 3.0]))
@settings(max_examples=60, deadline=None)
def test_upsampled_sizes_are_pytorchs(n: int, factor: float) -> None:
    assume(upsampled_size(n, factor) > 0)
    assert upsampled_size(n, factor) == F.interpolate(torch.zeros(1, 1, n), scale_factor=factor).shape[2]


@given(n=st.integers(1, 60), k=st.integers(1, 6), s=st.integers(1, 5), p=st.integers(0, 2))
def test_caffe_differs_from_pytorch_only_where_a_window_lies_outside(n: int, k: int, s: int, p: int) -> None:
    """Caffe's correction needs padding: without it, a last window that starts beyond the input stays."""
    assume(n + 2 * p >= k)
    caffe, ceiled = pool_size(n, k, s, (p, p), caffe=True), pool_size(n, k, s, (p, p), ceil=True)
    outside = p == 0 and (caffe - 1) * s >= n
    assert caffe == ceiled + outside
    assert not outside or k < s


def test_alexnet_separates_the_rules_at_341_and_not_at_227() -> None:
    """convnet-burden prints 9×9 where Caffe has 10×10."""
    table = "conv 11 s4, pool 3 s2, conv 5 p2, pool 3 s2, conv 3 p1 *3, pool 3 s2"
    for size, floor, caffe in ((227, 6, 6), (341, 9, 10)):
        assert layer_table(table, size)[-1].size == (floor, floor)
        assert layer_table(table, size, caffe=True)[-1].size == (caffe, caffe)


# ---- the classic tables


def test_classic_tables() -> None:
    """Every row of the script that is copied since 2015; fc6 and fc7 as the convolutions that they are."""
    rows = [row for row in published() if row["variant"] == "classic script"]
    texts = {
        "alexnet": (f"{ALEXNET}, fc6: conv 6", 227), "zf-5": (ZF5, 224), "vgg16": (f"{VGG16}, fc6: conv 7", 224),
    }  # fmt: skip
    names = {}
    for model, (text, size) in texts.items():
        table = layer_table(text, size)
        stage, number = 1, 0
        for row in table:
            if model == "vgg16" and row.kind in ("conv", "pool") and row.name != "fc6":
                number += 1
                name = f"conv{stage}_{number}" if row.kind == "conv" else f"pool{stage}"
                stage, number = (stage + 1, 0) if row.kind == "pool" else (stage, number)
            else:
                name = row.name
            names[model, name] = row
    assert len(rows) == 27
    for row in rows:
        found = names[row["model"], row["layer"].split(" as ")[0]]
        assert found.receptive_field == (int(row["value"]),) * 2, row


def test_tables_of_the_oracle_for_plain_networks() -> None:
    """Size, stride and padding of AlexNet, ZF-5 and Caffe's LeNet against the reference's own pixel sets."""
    lenet = "conv 5 x20, pool 2, conv 5 x50, pool 2"
    found = {}
    for row in published():
        if row["variant"] == "PyTorch padding" and row["model"] in ("bvlc_alexnet", "zf5", "caffe_lenet"):
            found[row["model"], row["layer"], row["quantity"]] = float(row["value"])
    checked = 0
    for model, text, size in (("bvlc_alexnet", ALEXNET, 227), ("zf5", ZF5, 224), ("caffe_lenet", lenet, 28)):
        for row in layer_table(text, size):
            assert found[model, row.name, "rf_size"] == row.receptive_field[0]
            assert found[model, row.name, "effective_stride"] == row.stride[1]
            assert found[model, row.name, "effective_padding"] == row.padding[0]
            checked += 3
    assert checked == len(found)


def test_parameters_and_macs_of_the_papers() -> None:
    """BVLC AlexNet 60,965,224 and 724,406,816; VGG-16 138,357,544 and 15,470,264,320 (reference, key integers)."""
    head = ", fc 4096, fc 4096, fc 1000"
    alexnet, vgg = layer_table(ALEXNET + head, (3, 227, 227)), layer_table(VGG16 + head, (3, 224, 224))
    assert sum(row.parameters or 0 for row in alexnet) == 60_965_224
    assert sum(row.macs or 0 for row in alexnet) == 724_406_816
    assert sum(row.parameters or 0 for row in vgg) == 138_357_544
    assert sum(row.macs or 0 for row in vgg) == 15_470_264_320
    assert [row.size for row in alexnet][:5] == [(n, n) for n in (55, 27, 27, 13, 13)]


def test_googlenet_of_the_readme() -> None:
    """The longest branch, 1×1 then 5×5, stands for a module; published as 907 behind the last 7×7 pooling."""
    rows = {
        row["layer"]: int(row["value"])
        for row in published()
        if row["model"] == "googlenet" and row["variant"].startswith("paper")
    }
    table = layer_table(
        "conv 7 s2 p3, pool 3 s2 ceil, conv 3 p1, pool 3 s2 ceil, conv 5 p2 *2, pool 3 s2 ceil, conv 5 p2 *5, "
        "pool 3 s2 ceil, conv 5 p2 *2, avgpool 7 s1",
        224,
    )
    assert [row.receptive_field[0] for row in table] == list(rows.values())
    assert table[-1].size == (1, 1)


def _google() -> dict[str, str]:
    """TF-Slim's networks as texts. Where a module has branches, its longest one stands for it (the hull)."""
    mobilenet = "Conv2d_0: conv 3 s2 same" + "".join(
        f", conv 3 s{stride} same, Conv2d_{number}_pointwise: conv 1"
        for number, stride in enumerate((1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1), 1)
    )
    two, down = "conv 3 same, {}: conv 3 same", "conv 3 same, {}: conv 3 s2 same"
    inception = "Conv2d_1a_7x7: conv 7 s2 same, MaxPool_2a_3x3: pool 3 s2 same, Conv2d_2b_1x1: conv 1, "
    inception += "Conv2d_2c_3x3: conv 3 same, MaxPool_3a_3x3: pool 3 s2 same, "
    inception += ", ".join(
        (down if name in ("Mixed_4a", "Mixed_5a") else two).format(name)
        for name in (f"Mixed_{part}" for part in ("3b", "3c", "4a", "4b", "4c", "4d", "4e", "5a", "5b", "5c"))
    )
    residual = (
        "Conv2d_1a_3x3: conv 3 s2 {v}, Conv2d_2a_3x3: conv 3 {v}, Conv2d_2b_3x3: conv 3 same, "
        "MaxPool_3a_3x3: pool 3 s2 {v}, Conv2d_3b_1x1: conv 1, Conv2d_4a_3x3: conv 3 {v}, "
        "MaxPool_5a_3x3: pool 3 s2 {v}, conv 3 same, Mixed_5b: conv 3 same, conv 3 same *20, conv 3 same, "
        "Mixed_6a: conv 3 s2 {v}, conv 7 same *19, PreAuxLogits: conv 7 same, conv 3 same, Mixed_7a: conv 3 s2 {v}, "
        "conv 3 same *10, Conv2d_7b_1x1: conv 1"
    )
    vgg = {"vgg_a": (1, 1, 2, 2, 2), "vgg_16": (2, 2, 3, 3, 3)}
    texts = {
        name: ", ".join(
            f"conv{stage}_{layer}: conv 3 same" if layer <= repeat else f"pool{stage}: pool 2"
            for stage, repeat in enumerate(stages, 1)
            for layer in range(1, repeat + 2)
        )
        for name, stages in vgg.items()
    }
    return texts | {
        "alexnet_v2": "conv 11 s4, pool 3 s2, conv 5 same, pool 3 s2, conv 3 same *3, pool5: pool 3 s2",
        "mobilenet_v1": mobilenet, "mobilenet_v1_075": mobilenet, "inception_v2": inception,
        "inception_v2-no-separable-conv": inception, "inception_resnet_v2": residual.format(v="valid"),
        "inception_resnet_v2-same": residual.format(v="same"),
    }  # fmt: skip


def test_the_google_table() -> None:
    """Every row of google-research/receptive_field but the ResNets and Inception-v3, which are graphs elsewhere.

    At an unknown size their table has no padding where SAME depends on it: there, ours differ at 224 and 321.
    """
    texts, checked = _google(), 0
    tables = {
        (model, size): {row.name: row for row in layer_table(text, size)}
        for model, text in texts.items()
        for size in (224, 321)
    }
    for row in published():
        if not row["variant"].startswith("TF-Slim") or row["model"] not in texts:
            continue
        last = row["layer"].startswith("last")  # in Distill's table
        name = next(reversed(tables[row["model"], 224])) if last else row["layer"].split("/")[-1]
        for size in (224, 321) if row["input"] == "None" else (int(row["input"]),):
            found = tables[row["model"], size][name]
            by_name = {
                "rf_size": found.receptive_field, "effective_stride": found.stride, "effective_padding": found.padding
            }  # fmt: skip
            if row["value"] == "None":
                assert tables[row["model"], 224][name].padding != tables[row["model"], 321][name].padding, row
            else:
                assert by_name[row["quantity"]] == (float(row["value"]),) * 2, row
        checked += 1
    assert checked == 3 * (21 + 39 + 39 + 42 + 42 + 45 + 45 + 36 + 36) + 6 * 3


# ---- the grammar


def test_words() -> None:
    first, second = layer_table("stem: conv 7x3 s2x1 p3x1 x8, deconv 4 s2 p1 x4", (3, 32, 16))
    assert (first.name, first.size, first.channels) == ("stem", (16, 16), 8)
    assert first.parameters == 3 * 8 * 21 + 8
    assert second.size == (32, 32)
    assert second.macs == 8 * 4 * 16 * 16 * 16
    assert layer_table("conv 3 same s2", 224)[0].padding == (0, 0)
    assert layer_table("conv 3 p0:1 s2", 224)[0].size == (112, 112)
    assert layer_table("conv 3 depthwise p1, conv 1 x8", (4, 8, 8))[1].parameters == 40
    assert layer_table("conv 2 d4 *3", (64,), channels=1)[-1].receptive_field == (13,)
    assert layer_table("global, fc 10 nobias", (5, 9, 9))[1].parameters == 50
    assert [row.name for row in layer_table("conv 3, pool 2, pool 2, conv 3, up 2", 64)] == [
        "conv1", "pool1", "pool1b", "conv2", "up1",
    ]  # fmt: skip


def test_adaptive_and_upsampling_in_a_table() -> None:
    adaptive = layer_table("adaptive 3", (7,), channels=1)[0]
    assert (adaptive.size, adaptive.receptive_field) == ((3,), (3,))
    up = layer_table("conv 3 s2 p1, up 2 bilinear", 32)[1]
    assert (up.size, up.receptive_field, up.stride) == ((32, 32), (5, 5), (1, 1))


@pytest.mark.parametrize(
    ("text", "size", "parts"),
    [
        ("conv 3, cnv 3", 32, ("item 2 ('cnv 3')", "'cnv'", "Try: conv")),
        ("conv", 32, ("a number behind conv",)),
        ("conv 3 q1", 32, ("'q1'", "sSTRIDE")),
        ("pool 3 cel", 32, ("'cel'", "Try: ceil")),
        ("conv 3 s0", 32, ("'s0'", "sSTRIDE")),
        ("conv 3 s1 s2", 32, ("s twice",)),
        ("conv 3 p1 same", 32, ("p and same",)),
        ("pool 2, conv 40", 64, ("item 2 ('conv 40')", "a map of 32x32")),
        ("fc 10, conv 3", 32, ("behind a dense layer",)),
        ("", 32, ("layers separated by commas",)),
        ("conv 3 *0", 32, ("*0",)),
        ("conv 3 *99999999", 32, ("*99999999",)),
        ("up 0", 32, ("a factor above 0",)),
        ("up 9999999999", 32, ("positions",)),
        ("conv 3x3x3", 32, ("3x3x3", "one an axis")),
        ("conv 3 x7 g2", (4, 8, 8), ("2 groups of 4 → 7",)),
        ("deconv 3 s2 o2", 8, ("o2",)),
        ("pool 2 p2", 8, ("p2", "half of the window")),
        ("conv 3", 0, ("--input",)),
        ("conv 3", (1, 2, 3, 4), ("--input",)),
    ],
)
def test_a_wrong_text_names_the_item_and_what_may_be_there(text: str, size: Any, parts: tuple[str, ...]) -> None:
    with pytest.raises(UsageError) as caught:
        layer_table(text, size)
    for part in parts:
        assert part in str(caught.value)


@given(st.text(alphabet="convpolupfcsdxg0123456789 ,:*.-same", max_size=40))
@settings(max_examples=400, deadline=None)
def test_no_text_does_anything_but_a_table_or_a_usage_error(text: str) -> None:
    with contextlib.suppress(UsageError):
        assert all(math.prod(row.size) >= 1 for row in layer_table(text, (3, 20, 20)))
