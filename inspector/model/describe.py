"""What a file is, as the `model` part of every JSON document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from inspector.graph import find_training_nodes
from inspector.model.model import Model


def describe_model(model: Model) -> Mapping[str, Any]:
    """The `model` part of every JSON document, in full: what the file is."""
    return {
        "path": str(model.path),
        "sha256": model.sha256,
        "digest": model.digest,
        "training_mode": bool(find_training_nodes(model.graph)),
        "opset": model.graph.opset,
        "producer": " ".join(filter(None, (model.graph.proto.producer_name, model.graph.proto.producer_version))),
        "input": {
            "name": model.input.name,
            "shape": list(model.input.shape),
            "layout": model.input.layout,
            "dtype": model.input.dtype,
        },
        "classes": model.classes,
        "head": model.decoder.head if model.decoder is not None else None,
        "labelled": model.labels is not None,
        "parameters": model.graph.parameters,
        "bytes": model.graph.size,
        "inputs": {name: value.tolist() for name, value in model.graph.given.items()},
        "preprocess": model.preprocess.to_json(),
        "assumed": list(model.assumed),
    }
