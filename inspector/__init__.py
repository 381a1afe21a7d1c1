"""See what a convolutional network has learned, and check that it is fit to ship, from its .onnx file.

    >>> from inspector import open_model
    >>> model = open_model("models/efficientnet-lite0.onnx")
    >>> model.predict("docs/chelsea.jpg")[0].label
    'Egyptian cat'

Nothing heavy is imported before it is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

_HOME = {
    "open_model": "inspector.api.model",
    "Model": "inspector.api.model",
    "Prediction": "inspector.model",
    "Layer": "inspector.layers",
    "LayerStatistics": "inspector.layers.statistics",
    "statistics": "inspector.layers.statistics",
    "Preprocess": "inspector.image",
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

if TYPE_CHECKING:
    from inspector.api.model import Model, open_model
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
    "Prediction",
    "Preprocess",
    "UsageError",
    "__version__",
    "open_image",
    "open_model",
    "statistics",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'inspector' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
