"""Whether an accelerator really computes: a convolution of one channel, run on it."""

from __future__ import annotations

import numpy as np

from inspector import onnx
from inspector.errors import one_line
from inspector.extras import catch_stderr
from inspector.runtime.providers import load_accelerator, load_runtime, set_options
from inspector.runtime.sessions import explain_loading, explain_run_failure


def try_provider(provider: str) -> str:
    """Run a small graph on an accelerator.

    Args:
        provider: onnxruntime's own name of it.

    Returns:
        Why it cannot be used, in one line; "" where it computes.
    """
    runtime = load_runtime(again=True)
    node = onnx.helper.make_node("Conv", ["x", "w"], ["y"])
    ends = [onnx.helper.make_tensor_value_info(name, 1, [1, 1, 8, 8]) for name in "xy"]
    weight = onnx.numpy_helper.from_array(np.full((1, 1, 1, 1), 3, np.float32), "w")
    graph = onnx.helper.make_graph([node], "trial", ends[:1], ends[1:], [weight])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8)
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    load_accelerator(runtime, provider)
    try:
        with catch_stderr() as said:
            session = runtime.InferenceSession(
                model.SerializeToString(), options, providers=set_options([provider]), enable_fallback=0
            )
        if provider not in session.get_providers():
            return explain_loading(said[0])
        [found] = session.run(None, {"x": np.ones((1, 1, 8, 8), np.float32)})
    except Exception as error:  # of onnxruntime's own kinds
        return one_line(explain_run_failure(error), 200)
    return "" if np.allclose(found, 3) else "a convolution gives wrong numbers on it"
