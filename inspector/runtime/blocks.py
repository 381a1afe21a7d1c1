"""How many channels onnxruntime lays in one block on this machine."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from inspector import onnx
from inspector.graph.operators.contributed import BLOCKED
from inspector.runtime.providers import load_runtime

_CHANNELS = 64


@lru_cache(maxsize=1)
def measure_block() -> int | None:
    """Measure the size of the blocks that a file of onnxruntime's optimiser means here: 4, 8 or 16 channels.

    The size is the processor's, and no file says it. A tensor of two places a channel is put into blocks: behind the
    first place of so many channels comes the second place of the first.

    Returns:
        None where this onnxruntime has no such layout.
    """
    runtime = load_runtime()
    node = onnx.helper.make_node("ReorderInput", ["x"], ["y"], domain=BLOCKED, channels_last=0)
    shape = [1, _CHANNELS, 1, 2]
    ends = [onnx.helper.make_tensor_value_info(name, 1, shape if name == "x" else None) for name in "xy"]
    graph = onnx.helper.make_graph([node], "blocks", ends[:1], ends[1:])
    opsets = [onnx.helper.make_opsetid("", 13), onnx.helper.make_opsetid(BLOCKED, 1)]
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8)
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    try:
        session = runtime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        [found] = session.run(None, {"x": np.arange(2 * _CHANNELS, dtype=np.float32).reshape(shape)})
    except Exception:  # of onnxruntime's own kinds
        return None
    at = np.flatnonzero(np.asarray(found).ravel() == 1)
    return int(at[0]) if len(at) == 1 and at[0] > 1 else None
