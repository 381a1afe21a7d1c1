"""See what a convolutional network has learned, and check that it is fit to ship, from its .onnx file.

    >>> import inspector
    >>> model = inspector.open_model("models/efficientnet-lite0.onnx")
    >>> model.predict("docs/chelsea.jpg")[0].label
    'Egyptian cat'

There is one function for each command: `predict`, `list_layers`, `draw_activations`, `draw_maps`, `filters`, `dream`,
`export`, `finetune`, `quantize`, `slim`, `attach`, `annotate`, `audit`, `compare`, `report`, `live`, `scan`,
`merge_scans` and `compare_scans`, `doctor`. An opened model answers for single pictures: `model.predict`,
`model.activations`, `model.cam`. Nothing heavy is imported before it is used.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from inspector.version import __version__

# From 1.32 on onnxruntime keeps a database of events under the user's cache, starts a thread for it and looks up a host
# from its import on, whoever imports it, also in a process that was started from here. Nothing leaves the machine,
# unless the user has said otherwise.
if not os.environ.get("ORT_DISABLE_TELEMETRY"):
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"

_HOME = {
    "open_model": "inspector.api.model",
    "Model": "inspector.api.model",
    "predict": "inspector.api.look",
    "list_layers": "inspector.api.look",
    "report": "inspector.api.pages",
    "live": "inspector.api.live",
    "draw_activations": "inspector.api.draw",
    "draw_maps": "inspector.api.draw",
    "filters": "inspector.api.ascend",
    "dream": "inspector.api.ascend",
    "export": "inspector.api.make",
    "finetune": "inspector.api.make",
    "plan_finetune": "inspector.api.make",
    "quantize": "inspector.api.make",
    "annotate": "inspector.api.make",
    "attach": "inspector.api.attaching",
    "slim": "inspector.api.slimming",
    "check_slim": "inspector.api.slimming",
    "audit": "inspector.api.judge",
    "compare": "inspector.api.contrast",
    "doctor": "inspector.api.judge",
    "Picture": "inspector.api.pictures",
    "find_pictures": "inspector.api.pictures",
    "Prediction": "inspector.model",
    "Layer": "inspector.layers",
    "LayerStatistics": "inspector.layers.statistics",
    "statistics": "inspector.layers.statistics",
    "Preprocess": "inspector.image",
    "scan": "inspector.api.many",
    "merge_scans": "inspector.api.many",
    "compare_scans": "inspector.api.many",
    "open_image": "inspector.image",
    "ImageSource": "inspector.image",
    "Metadata": "inspector.metadata",
    "InspectorError": "inspector.errors",
    "ModelError": "inspector.errors",
    "ImageError": "inspector.errors",
    "LayerNotFound": "inspector.errors",
    "ClassNotFound": "inspector.errors",
    "UsageError": "inspector.errors",
    "MetadataError": "inspector.errors",
    "MissingExtra": "inspector.errors",
    "OutputError": "inspector.errors",
    "NotComputable": "inspector.errors",
}
"""Where each public name stands. No module or package in this folder has one of these names: importing it would take
the name's place."""

if TYPE_CHECKING:
    from inspector.api.ascend import dream, filters
    from inspector.api.attaching import attach
    from inspector.api.contrast import compare
    from inspector.api.draw import draw_activations, draw_maps
    from inspector.api.judge import audit, doctor
    from inspector.api.live import live
    from inspector.api.look import list_layers, predict
    from inspector.api.make import annotate, export, finetune, plan_finetune, quantize
    from inspector.api.many import compare_scans, merge_scans, scan
    from inspector.api.model import Model, open_model
    from inspector.api.pages import report
    from inspector.api.pictures import Picture, find_pictures
    from inspector.api.slimming import check_slim, slim
    from inspector.errors import (
        ClassNotFound,
        ImageError,
        InspectorError,
        LayerNotFound,
        MetadataError,
        MissingExtra,
        ModelError,
        NotComputable,
        OutputError,
        UsageError,
    )
    from inspector.image import ImageSource, Preprocess, open_image
    from inspector.layers import Layer
    from inspector.layers.statistics import LayerStatistics, statistics
    from inspector.metadata import Metadata
    from inspector.model import Prediction


__all__ = [
    "ClassNotFound",
    "ImageError",
    "ImageSource",
    "InspectorError",
    "Layer",
    "LayerNotFound",
    "LayerStatistics",
    "Metadata",
    "MetadataError",
    "MissingExtra",
    "Model",
    "ModelError",
    "NotComputable",
    "OutputError",
    "Picture",
    "Prediction",
    "Preprocess",
    "UsageError",
    "__version__",
    "annotate",
    "attach",
    "audit",
    "check_slim",
    "compare",
    "compare_scans",
    "doctor",
    "draw_activations",
    "draw_maps",
    "dream",
    "export",
    "filters",
    "find_pictures",
    "finetune",
    "list_layers",
    "live",
    "merge_scans",
    "open_image",
    "open_model",
    "plan_finetune",
    "predict",
    "quantize",
    "report",
    "scan",
    "slim",
    "statistics",
]


if not TYPE_CHECKING:  # or a type checker would take every name for a public one

    def __getattr__(name: str) -> Any:
        if name not in _HOME:
            raise AttributeError(f"module 'inspector' has no attribute {name!r}")
        value = getattr(import_module(_HOME[name]), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return __all__
