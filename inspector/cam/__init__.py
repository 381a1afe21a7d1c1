"""Class activation maps: which parts of a picture speak for a class.

>>> from inspector import open_model
>>> model = open_model("models/efficientnet-lite0.onnx")
>>> [best] = class_activation_maps(model, "docs/chelsea.jpg")
>>> best.target.label, best.layer, best.backend, best.shape
('Egyptian cat', 'swish_1', 'onnx', (7, 7))

Gradients come from numpy where the way from the layer to the scores is made of operators whose derivative is known here
(:mod:`inspector.reverse.rules`), and from the torch twin elsewhere.
"""

from __future__ import annotations

from inspector.cam.areas import labels_pixels
from inspector.cam.boxes import BoxChoice
from inspector.cam.engine import CamEngine, prepare
from inspector.cam.engines import MapEngine, class_activation_maps, finds_boxes, prepare_maps, prepare_once
from inspector.cam.method import Method
from inspector.cam.methods import METHODS, find_method
from inspector.cam.result import CamResult
from inspector.cam.target import CamClass

__all__ = [
    "METHODS",
    "BoxChoice",
    "CamClass",
    "CamEngine",
    "CamResult",
    "MapEngine",
    "Method",
    "class_activation_maps",
    "find_method",
    "finds_boxes",
    "labels_pixels",
    "prepare",
    "prepare_maps",
    "prepare_once",
]
