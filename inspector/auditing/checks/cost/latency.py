"""How long a prediction takes, beside another network on the same machine in the same minute."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import numpy as np
import onnx
from numpy.typing import NDArray

from inspector.auditing.limits import Limit, Limits
from inspector.auditing.registry import check
from inspector.auditing.result import Finding, Verdict
from inspector.auditing.subject import Subject
from inspector.model.tensors import list_answers
from inspector.runtime import count_cores, load_runtime

_ATTEMPTS = 3


@check(
    title="A prediction is as quick as it should be",
    limits={
        "max_p50": Limit(1.5, "largest ratio to the reference's median time", low=0),
        "max_p95": Limit(2.0, "largest ratio to the reference's 95th percentile", low=0),
        "max_yardstick": Limit(
            None, "without a reference: largest ratio to a yardstick of 231 million multiply-adds", low=0
        ),
        "rounds": Limit(20, "runs of each, in turn", kind="whole", low=1, high=10_000),
    },
    remedy="Compare the graphs: look for a layer that the runtime no longer fuses, a larger input, or a new operator.",
)
def latency(subject: Subject, limits: Limits) -> Verdict:
    """Median and 95th percentile of one picture's time, as ratios to a reference model run in turn with this one.

    Without a reference the other network is a yardstick, four 3x3 convolutions, which any machine can repeat.
    What exceeds a limit is measured up to three times, and the smallest ratio counts.
    """
    model = subject.model
    _, tensor = next(subject.tensors(1))
    answers = list_answers(model)
    reference = subject.reference
    if reference is not None:
        theirs = reference.tensor(subject.plain_pictures()["noise"])
        their_answers = list_answers(reference)
        other: Callable[[], object] = partial(reference.run, theirs, their_answers)
    else:
        other = build_yardstick(model.threads or count_cores())
    rounds = max(5, int(limits["rounds"] or 20))
    name = reference.path.name if reference is not None else "the yardstick"
    bounds = (
        {"p50": limits["max_p50"], "p95": limits["max_p95"]}
        if reference is not None
        else {"p50": limits["max_yardstick"], "p95": None}
    )
    found, ratios = np.zeros((2, 2)), {"p50": np.inf, "p95": np.inf}
    # Other work on the machine slows now one, now the other; a network that is slower is so each time.
    for _ in range(_ATTEMPTS):
        times = np.array([[_clock(lambda: model.run(tensor, answers)), _clock(other)] for _ in range(rounds + 3)])[3:]
        percentiles = np.percentile(times, [50, 95], axis=0)
        p50_ratio, p95_ratio = (percentiles[:, 0] / percentiles[:, 1]).tolist()
        if p50_ratio + p95_ratio < sum(ratios.values()):
            found, ratios = percentiles, {"p50": p50_ratio, "p95": p95_ratio}
        if all(bound is None or ratios[key] <= bound for key, bound in bounds.items()):
            break
    (p50, other50), (p95, other95) = found.tolist()
    message = (
        f"p50 {p50 * 1e3:.1f} ms, p95 {p95 * 1e3:.1f} ms: {ratios['p50']:.2f} and {ratios['p95']:.2f} times {name}"
    )
    findings = tuple(
        Finding(f"{key} is {ratios[key]:.2f} times that of {name}, more than {bound:g}", ratios[key], bound, key=key)
        for key, bound in bounds.items()
        if bound is not None and ratios[key] > bound
    )
    details = {
        "p50_ms": p50 * 1e3, "p95_ms": p95 * 1e3, "reference_p50_ms": other50 * 1e3, "reference_p95_ms": other95 * 1e3,
        "reference": name, "ratio_p50": ratios["p50"], "ratio_p95": ratios["p95"],
    }  # fmt: skip
    judged = any(bound is not None for bound in bounds.values())
    lacking = "" if reference is not None else _name_unjudged(limits, subject)
    return Verdict(
        message, ratios["p50"], bounds["p50"], findings=findings, details=details, judged=judged,
        unjudged="" if judged else lacking,
    )  # fmt: skip


def _name_unjudged(limits: Limits, subject: Subject) -> str:
    """Why limits that need another model on the same machine are not judged; empty where none is set."""
    names = [name for name in ("max_p50", "max_p95") if limits[name] is not None]
    what = (
        "there is nothing to compare with (--against)"
        if subject.snapshot is None
        else ("times are compared with a model on the same machine, and a snapshot is none")
    )
    verb = "is" if len(names) == 1 else "are"
    return f"{' and '.join(names)} {verb} not judged: {what}; max_yardstick needs no reference" if names else ""


def _clock(call: Callable[[], object]) -> float:
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def build_yardstick(threads: int) -> Callable[[], object]:
    """A call that runs four 3x3 convolutions with 64 channels on (1, 64, 40, 40) and as many threads."""
    weights: NDArray[np.float32] = np.full((64, 64, 3, 3), 1e-3, np.float32)
    nodes = [onnx.helper.make_node("Conv", [f"x{i}", "w"], [f"x{i + 1}"], pads=[1, 1, 1, 1]) for i in range(4)]
    value = onnx.helper.make_tensor_value_info
    shape = [1, 64, 40, 40]
    graph = onnx.helper.make_graph(
        nodes,
        "yardstick",
        [value("x0", 1, shape)],
        [value("x4", 1, shape)],
        [onnx.numpy_helper.from_array(weights, "w")],
    )
    proto = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8)
    runtime = load_runtime()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = runtime.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"], enable_fallback=0
    )
    feeds = {"x0": np.zeros(shape, np.float32)}
    return lambda: session.run(None, feeds)
