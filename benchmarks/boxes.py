"""Boxes: pairs a second, suppression and COCO's evaluation, beside pycocotools and torchvision.

``overlap``: IoU of every pair of 1,000 x 1,000, 8,732 x 20 and 100 x 20 boxes, and its generalised forms, in
processor seconds of one core; pycocotools' compiled loop beside it, in turns.
``suppression``: 2,000 and 20,000 boxes around 100 and 1,000 objects, beside the usual loop in NumPy and torchvision.
``evaluation``: the twelve figures of made-up truth and detections of so many images, beside pycocotools, which must
give the same twelve numbers; its reading of files is left out, and its printing too.

Peers are no dependency of netwright; one that cannot be imported is skipped with the reason.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import io
import time
from collections.abc import Callable
from typing import Any

import common
import numpy as np

from netwright import boxes
from netwright.boxes import coco, gathering

PAIRS_TARGET = 1e7  # a second, one core


def some_boxes(count: int, seed: int = 0) -> np.ndarray:
    """xyxy in 640 x 480, sides from 4 to 200."""
    generator = np.random.default_rng(seed)
    start = generator.uniform((0, 0), (640, 480), (count, 2))
    return np.concatenate([start, start + generator.uniform(4, 200, (count, 2))], 1)


def seconds(call: Callable[[], Any], least: float = 0.05) -> Callable[[], float]:
    """Processor seconds of one call, over so many that they take ``least``."""

    def measure() -> float:
        count, started = 0, time.process_time()
        while not count or time.process_time() - started < least:
            call()
            count += 1
        return (time.process_time() - started) / count

    return measure


def peer(name: str) -> Any:
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError as error:
        print(f"skipped {name}: {error}")
        return None


# ------------------------------------------------------------------------------------------------ overlap


def overlap(pairs: int) -> None:
    rows, kept = [], {}
    masks = peer("pycocotools.mask")
    for name, n, m in (("1,000 x 1,000", 1000, 1000), ("8,732 x 20", 8732, 20), ("100 x 20", 100, 20)):
        first, second = some_boxes(n), some_boxes(m, 1)
        sides = {"netwright": seconds(lambda a=first, b=second: boxes.iou(a, b))}
        if masks:
            wide = [boxes.convert(side, "xyxy", "xywh") for side in (first, second)]
            assert np.allclose(masks.iou(*wide, [0] * m), boxes.iou(first, second), atol=1e-12)
            sides["pycocotools"] = seconds(lambda a=wide[0], b=wide[1], c=[0] * m: masks.iou(a, b, c))
        seen = common.rounds(sides, pairs)
        speed = common.interval([n * m / value for value in seen["netwright"]])
        entry: dict[str, Any] = {"pairs_a_second": speed, "target": PAIRS_TARGET}
        if masks:
            entry["ratio"] = common.ratio(seen["pycocotools"], seen["netwright"])
        kept[name] = entry
        rows.append((f"iou {name}", f"{speed['median']:.3g}", common.ratio_text(entry["ratio"]) if masks else ""))
    first, second = some_boxes(1000), some_boxes(1000, 1)
    for kind in (boxes.giou, boxes.diou, boxes.ciou):
        seen = common.rounds({kind.__name__: seconds(lambda kind=kind: kind(first, second))}, pairs)
        speed = common.interval([1e6 / value for value in seen[kind.__name__]])
        kept[kind.__name__] = {"pairs_a_second": speed, "target": PAIRS_TARGET}
        rows.append((f"{kind.__name__} 1,000 x 1,000", f"{speed['median']:.3g}", ""))
    common.table(("overlap", f"pairs/s (target {PAIRS_TARGET:.0e})", "speed ÷ pycocotools"), rows)
    common.write_result("boxes", "overlap", kept)


# ------------------------------------------------------------------------------------------------ suppression


def plain_nms(given: np.ndarray, scores: np.ndarray, threshold: float) -> list[int]:
    """The usual few lines: the best, then the rows that it leaves."""
    left, top, right, bottom = given.T
    area = (right - left) * (bottom - top)
    order, kept = np.argsort(-scores, kind="stable"), []
    while order.size:
        best, rest = order[0], order[1:]
        kept.append(int(best))
        width = np.maximum(0, np.minimum(right[best], right[rest]) - np.maximum(left[best], left[rest]))
        height = np.maximum(0, np.minimum(bottom[best], bottom[rest]) - np.maximum(top[best], top[rest]))
        shared = width * height
        order = rest[shared / (area[best] + area[rest] - shared) <= threshold]
    return kept


def suppression(pairs: int) -> None:
    rows, kept = [], {}
    vision = peer("torchvision")
    for count in (2_000, 20_000):
        generator = np.random.default_rng(2)
        given = some_boxes(count // 20)[generator.integers(0, count // 20, count)] + generator.normal(0, 3, (count, 4))
        given = boxes.ordered(given)
        scores = generator.permutation(count) / count
        assert boxes.nms(given, scores, 0.5).tolist() == plain_nms(given, scores, 0.5)
        sides = {
            "netwright": seconds(lambda a=given, b=scores: boxes.nms(a, b, 0.5)),
            "plain": seconds(lambda a=given, b=scores: plain_nms(a, b, 0.5)),
        }
        if vision:
            import torch

            tensors = torch.tensor(given), torch.tensor(scores)
            sides["torchvision"] = seconds(lambda t=tensors: vision.ops.nms(*t, 0.5))
        seen = common.rounds(sides, pairs)
        ratios = {name: common.ratio(seen[name], seen["netwright"]) for name in sides if name != "netwright"}
        kept[str(count)] = {"seconds": common.interval(seen["netwright"]), "ratios": ratios}
        text = ", ".join(f"{name} {common.ratio_text(value)}" for name, value in ratios.items())
        rows.append((f"{count:,} boxes", f"{1000 * kept[str(count)]['seconds']['median']:.1f}", text))
    common.table(("suppression", "ms", "speed ÷"), rows)
    common.write_result("boxes", "suppression", kept)


# ------------------------------------------------------------------------------------------------ evaluation


def made_up(images: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]], dict[str, Any]]:
    """COCO's proportions: 80 classes, some seven truths an image, a hundred detections."""
    generator = np.random.default_rng(3)
    truths, found = [], []
    for image in range(images):
        classes = generator.integers(0, 80, 3)
        count = int(generator.integers(1, 15))
        rows, labels = boxes.convert(some_boxes(count, image), "xyxy", "xywh"), generator.choice(classes, count)
        crowd = generator.random(count) < 0.01
        which = generator.integers(0, count, 100)
        near = rows[which] + generator.normal(0, 5, (100, 4))
        near[:, 2:] = np.abs(near[:, 2:]) + 1
        guessed = np.where(generator.random(100) < 0.6, labels[which], generator.integers(0, 80, 100))
        for row, label, flag in zip(rows.tolist(), labels.tolist(), crowd.tolist(), strict=True):
            truths.append({
                "id": len(truths) + 1, "image_id": image, "category_id": label, "bbox": row, "area": row[2] * row[3],
                "iscrowd": int(flag),
            })  # fmt: skip
        for row, label, score in zip(near.tolist(), guessed.tolist(), generator.random(100).tolist(), strict=True):
            found.append({"image_id": image, "category_id": label, "bbox": row, "score": score})
    document = {
        "images": [{"id": image} for image in range(images)], "categories": [{"id": k} for k in range(80)],
        "annotations": truths,
    }  # fmt: skip
    return truths, found, document


def evaluation(images: int, pairs: int) -> None:
    truths, found, document = made_up(images)
    flat = as_arrays(truths, found, images)
    figures: dict[str, list[float]] = {}

    def ours() -> float:
        started = time.process_time()
        figures["netwright"] = list(coco.evaluate(*flat).figures().values())
        return time.process_time() - started

    sides = {"netwright": ours}
    module = peer("pycocotools.cocoeval")
    if module:
        from pycocotools.coco import COCO

        with contextlib.redirect_stdout(io.StringIO()):
            true = COCO()
            true.dataset = copy.deepcopy(document)
            true.createIndex()
            guesses = true.loadRes(copy.deepcopy(found))

        def theirs() -> float:
            with contextlib.redirect_stdout(io.StringIO()):
                started = time.process_time()
                run = module.COCOeval(true, guesses, "bbox")
                run.evaluate()
                run.accumulate()
                spent = time.process_time() - started
                run.summarize()
            figures["pycocotools"] = run.stats.tolist()
            return spent

        sides["pycocotools"] = theirs
    seen = common.rounds(sides, pairs)
    entry: dict[str, Any] = {"images": images, "seconds": common.interval(seen["netwright"])}
    if module:
        assert figures["netwright"] == figures["pycocotools"], figures
        entry["ratio"] = common.ratio(seen["pycocotools"], seen["netwright"])
    text = f"{entry['seconds']['median']:.2f}", common.ratio_text(entry["ratio"]) if module else ""
    common.table(("evaluation", "s", "speed ÷ pycocotools"), [(f"{images:,} images", *text)])
    common.write_result("boxes", "evaluation", entry)


def as_arrays(
    truths: list[dict[str, Any]], found: list[dict[str, Any]], images: int
) -> tuple[gathering.Truth, gathering.Detections]:  # fmt: skip
    columns = []
    for rows in (truths, found):
        given = np.array([row["bbox"] for row in rows])
        columns.append({
            "image": np.array([row["image_id"] for row in rows]),
            "label": np.array([row["category_id"] for row in rows]),
            "corners": boxes.convert(given, "xywh", "xyxy"), "areas": boxes.area(given, "xywh"),
        })  # fmt: skip
    crowd = np.array([row["iscrowd"] for row in truths], bool)
    true = gathering.Truth(
        images=tuple(map(str, range(images))), labels=tuple(map(str, range(80))), sizes=columns[0]["areas"],
        crowd=crowd, difficult=np.zeros(len(crowd), bool), **columns[0],
    )  # fmt: skip
    return true, gathering.Detections(scores=np.array([row["score"] for row in found]), **columns[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=["overlap", "suppression", "evaluation"])
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--images", type=int, default=1000)
    options = parser.parse_args()
    for part in options.parts:
        if part == "overlap":
            overlap(options.pairs)
        elif part == "suppression":
            suppression(max(3, options.pairs // 3))
        elif part == "evaluation":
            evaluation(options.images, max(3, options.pairs // 5))
        else:
            parser.error(f"{part}: overlap, suppression or evaluation")


if __name__ == "__main__":
    main()
