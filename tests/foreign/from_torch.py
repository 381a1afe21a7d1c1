"""Files as torch's two exporters write them, and what people then do to them."""

from __future__ import annotations

import warnings
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import onnx

from tests.foreign.networks import make_network

NAMES = {"ultralytics": {0: "cat", 1: "dog", 2: "bird", 3: "fish", 4: "horse"}}


def export(name: str, path: Path, *, dynamo: bool, opset: int | None = None, external: bool = False) -> None:
    """Write one network, as `torch.onnx.export` of the installed torch does it.

    external: the weights go beside the file first, which is the default of the newer exporter, and onnx.load and
    onnx.save make one file of the two.
    """
    import torch

    net, x = make_network(name)
    options: dict[str, Any] = {"opset_version": opset} if opset else {}
    with warnings.catch_warnings(), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        warnings.simplefilter("ignore")
        if dynamo:
            torch.onnx.export(net, (x,), path, dynamo=True, external_data=external, verbose=False, **options)
        else:
            axes = (
                {"images": {0: "batch"}} if x.ndim == 4 and not name.startswith(("timm-vit", "torchvision-sw")) else {}
            )
            torch.onnx.export(net, (x,), path, dynamo=False, input_names=["images"], dynamic_axes=axes, **options)
    if external:
        model = onnx.load(path)
        path.with_name(f"{path.name}.data").unlink(missing_ok=True)
        onnx.save(model, path)


def add_ultralytics(path: Path, task: str, classes: int, **more: Any) -> None:
    """The metadata that Ultralytics writes, in its own way of writing things down."""
    model = onnx.load(path)
    size = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim][2:]
    names = {k: NAMES["ultralytics"][k] for k in range(classes)}
    said = {"description": "Ultralytics YOLO model", "author": "Ultralytics", "version": "8.4.0", "task": task,
            "stride": 16, "batch": 1, "imgsz": size, "names": names, "channels": 3,
            "args": {"batch": 1, "half": False, "dynamic": False, "simplify": True, "nms": False}, **more}  # fmt: skip
    onnx.helper.set_model_props(model, {key: str(value) for key, value in said.items()})
    onnx.save(model, path)
