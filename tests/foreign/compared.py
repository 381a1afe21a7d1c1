"""What the tool says of a file held against onnxruntime alone: the values of its layers, and its probabilities."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from numpy.typing import NDArray

if TYPE_CHECKING:
    from tests.foreign.commands import Outcome, Place


def run_alone(model: onnx.ModelProto, folder: Path, feeds: dict[str, Any], names: list[str]) -> list[NDArray[Any]]:
    """The tensors `names` of the whole graph, by onnxruntime and nothing of ours."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    found: list[NDArray[Any]] = session.run(names, feeds)
    return found


def _read(place: Place) -> tuple[Any, onnx.ModelProto, dict[str, Any]]:
    """The opened model, the file as onnx reads it, and what its inputs are given."""
    from inspector import open_model

    model = open_model(place.model, threads=1)
    proto = onnx.load(place.model)
    tensor = model.tensor(place.photo)
    feeds = {model.input.name: np.repeat(tensor, model.input.batch or 1, axis=0)}
    weights = {t.name for t in proto.graph.initializer}
    for value in proto.graph.input:  # sizes and factors of a second input: one, as the tool says that it fills them
        if value.name not in feeds and value.name not in weights:
            dims = [d.dim_value or 1 for d in value.type.tensor_type.shape.dim]
            feeds[value.name] = np.ones(dims, onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type))
    return model, proto, feeds


def _unread(name: str, error: Exception) -> Outcome:
    """What the file cannot be compared in: refused by the tool, or by onnxruntime."""
    from inspector import InspectorError
    from tests.foreign.commands import FAULT, SKIPPED, Outcome, describe_crash

    if isinstance(error, InspectorError):
        return Outcome(name, SKIPPED, error.message)
    if "onnxruntime" in type(error).__module__:
        return Outcome(name, SKIPPED, "onnxruntime does not run the whole graph with these outputs")
    return Outcome(name, FAULT, describe_crash(error))


def compare_values(place: Place) -> Outcome:
    """All layers: the same numbers as those of the tensors that they are, in whatever order their axes are shown."""
    from tests.foreign.commands import FAULT, OK, Outcome

    name = "values"
    try:
        model, proto, feeds = _read(place)
        tensors = list(dict.fromkeys(x.tensor for x in model.layers))
        outputs = {o.name for o in proto.graph.output}
        proto.graph.output.extend(onnx.ValueInfoProto(name=t) for t in tensors if t not in outputs)
        real = dict(zip(tensors, run_alone(proto, Path(place.model).parent, feeds, tensors), strict=True))
        found = model.layer_values(next(iter(feeds.values())))[0]
    except Exception as error:
        return _unread(name, error)
    integers = any(
        "Quantize" in n.op_type or "Integer" in n.op_type or "QLinear" in n.op_type for n in proto.graph.node
    )
    blocks = any("nchwc" in n.domain for n in proto.graph.node)
    worst, at = 0.0, ""
    for layer in model.layers:
        have, want = np.asarray(found[layer.name], np.float64), np.asarray(real[layer.tensor])
        half = want.dtype == np.float16
        want = want.astype(np.float64)
        if blocks and want.size > have.size:
            # onnxruntime fills the last block of channels up with zeros, which the tool leaves out.
            filling = np.flatnonzero(want.ravel() == 0)[: want.size - have.size]
            want = np.delete(want.ravel(), filling)
        if have.size != want.size:
            return Outcome(name, FAULT, f"{layer.name}: {have.shape} instead of {want.shape}")
        if not want.size:
            continue
        scale = max(float(np.abs(want).max()), 1e-6)
        error = float(np.abs(np.sort(have.ravel()) - np.sort(want.ravel())).max()) / scale
        error /= 50 if integers else 20 if half else 1
        if not error <= worst:
            worst, at = error, layer.name
    return Outcome(name, OK if worst < 1e-3 else FAULT, "equal" if worst < 1e-3 else f"{at} is off by {worst:.2g}")


def compare_probabilities(place: Place) -> Outcome:
    """Where the tool names classes: its probabilities are an output of the file, or softmax or sigmoid of one.

    If an output is a distribution already, that one and nothing else.
    """
    from tests.foreign.commands import FAULT, OK, SKIPPED, Outcome

    name = "probabilities"
    try:
        model, proto, feeds = _read(place)
        if not model.classes:
            return Outcome(name, SKIPPED, "no classes")
        outputs = [o.name for o in proto.graph.output]
        real = dict(zip(outputs, run_alone(proto, Path(place.model).parent, feeds, outputs), strict=True))
        top = model.predict(place.photo, top=model.classes)
    except Exception as error:
        return _unread(name, error)
    have = np.zeros(model.classes)
    for one in top:
        have[one.index] = one.probability
    fitting = [np.asarray(v, np.float64).ravel() for v in real.values() if np.asarray(v).size == model.classes]
    half = any(t.data_type == onnx.TensorProto.FLOAT16 for t in proto.graph.initializer)
    rounded = any(n.op_type == "DequantizeLinear" and set(n.output) & set(outputs) for n in proto.graph.node)
    own = [
        v for v in fitting if v.min() >= 0 and v.max() <= 1 and abs(v.sum() - 1) < (v.size / 255 if rounded else 1e-3)
    ]
    if own:
        off = min(float(np.abs(v - have).max()) for v in own)
        return Outcome(name, OK if off < 1e-6 else FAULT, "the file's own" if off < 1e-6 else f"off by {off}")
    forms = {}
    for v in fitting:
        raised = np.exp(v - v.max())
        forms["softmax of its scores"] = raised / raised.sum()
        forms["sigmoid of its scores"] = 1 / (1 + np.exp(-v))
        forms["its scores as they are"] = v
    for said, value in forms.items():
        if float(np.abs(value - have).max()) < (2e-3 if half else 1e-5):
            return Outcome(name, OK, said)
    if not fitting:
        return Outcome(name, SKIPPED, "no output has one number for each class")
    return Outcome(name, FAULT, f"neither of {', '.join(forms)}")


COMPARISONS: dict[str, Callable[[Place], Outcome]] = {"values": compare_values, "probabilities": compare_probabilities}
