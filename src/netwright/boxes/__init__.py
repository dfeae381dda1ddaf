"""Boxes of objects in pictures: formats, overlap, suppression, average precision. NumPy alone; tensors are converted.

from netwright import boxes
boxes.iou(found, true)                      # (N, M)
boxes.nms(found, scores, 0.5)               # indices that stay
boxes.evaluate(truth, detections)           # COCO's twelve figures; method="voc" for Pascal VOC's
"""

from __future__ import annotations

from netwright.boxes.evaluating import evaluate
from netwright.boxes.formats import area, convert, ordered
from netwright.boxes.overlap import ciou, diou, giou, iou
from netwright.boxes.suppression import nms, soft_nms

__all__ = ["area", "ciou", "convert", "diou", "evaluate", "giou", "iou", "nms", "ordered", "soft_nms"]
