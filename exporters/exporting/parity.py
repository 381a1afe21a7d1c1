"""Layer by layer, torch against onnxruntime: the proof that an exported file computes what the network computes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from exporters.sources.needs import quiet, torch
from inspector.agreement import TOLERANCE, Agreement, compare_layer, find_worst
from inspector.errors import InspectorError, listing
from inspector.runtime import load_runtime


class ParityError(InspectorError):
    """The exported graph does not compute what the network computes, or nothing could be compared.

    Args:
        parity: The whole table, in topological order; empty when nothing was compared.
    """

    kind = "parity"

    def __init__(self, message: str, hint: str = "", parity: Sequence[Agreement] = ()) -> None:
        super().__init__(message, hint)
        self.parity = tuple(parity)


def compare_values(
    reference: Mapping[str, NDArray[Any]],
    exported: Mapping[str, NDArray[Any]],
    operands: Mapping[str, float] | None = None,
) -> tuple[Agreement, ...]:
    """The table for the layers of `reference`, in its order.

    Args:
        reference: Values that count as right, by layer.
        exported: Values that are judged, by layer.
        operands: The scale at which a layer's values are rounded, where it is known.

    Raises ParityError when a layer is off by more than the tolerance, is missing from `exported`, or when there is
    nothing to compare.
    """
    if not reference:
        raise ParityError("no layer was compared, so nothing is known about the exported graph", "expose some layers")
    if missing := [name for name in reference if name not in exported]:
        raise ParityError(f"the exported graph does not give {listing(missing)}, so they cannot be compared")
    scales = operands or {}
    table = tuple(
        compare_layer(name, value, exported[name], finite=True, operands=scales.get(name, 0.0))
        for name, value in reference.items()
    )
    if bad := [row for row in table if not row.ok]:
        worst = find_worst(bad)
        first = bad[0]
        if not np.isfinite(reference[first.layer]).all():
            reason = f"layer {first.layer!r} has values that are not finite in torch"
        else:
            reason = (
                f"layer {first.layer!r} differs between torch and onnxruntime by {first.max_abs:.3g} "
                f"at a scale of {first.scale:.3g}"
            )
        raise ParityError(
            f"{reason}; {len(bad)} of {len(table)} layers are off by more than {TOLERANCE:g} of their scale, "
            f"most of all {worst.layer!r}",
            "nothing was written; another --opset or torch version may export this network correctly",
            table,
        )
    return table


def compute_torch_values(
    program: torch.export.ExportedProgram, tensor: torch.Tensor, wanted: Iterable[str]
) -> dict[str, NDArray[Any]]:
    """The values of an exported program's nodes on one input, by node name; one pass, each freed when last used.

    Every value that an ONNX tensor can stand for is here, also those that no module returns: a residual add, a
    functional ReLU, the second call of a shared module.
    """
    signature = program.graph_signature
    held: list[Any] = []
    for spec in signature.input_specs:
        if spec.kind == torch.export.graph_signature.InputKind.USER_INPUT:
            held.append(tensor)
            continue
        target = cast(str, spec.target)
        held.append(program.state_dict[target] if target in program.state_dict else program.constants[target])
    recorder = _Recorder(program.graph_module, set(wanted))
    with torch.no_grad(), quiet():
        recorder.run(*held)
    return recorder.values


class _Recorder(torch.fx.Interpreter):
    """Runs a graph node by node and keeps the values of the nodes asked for."""

    def __init__(self, module: torch.fx.GraphModule, wanted: set[str]) -> None:
        super().__init__(module)
        self.wanted = wanted
        self.values: dict[str, NDArray[Any]] = {}

    def run_node(self, n: torch.fx.Node) -> Any:
        value = super().run_node(n)
        if n.name in self.wanted and isinstance(value, torch.Tensor):
            self.values[n.name] = value.detach().numpy()
        return value


def compute_onnx_values(path: Path, tensor: NDArray[Any], wanted: Sequence[str]) -> dict[str, NDArray[Any]]:
    """The outputs `wanted` of an .onnx file on one input, by name; one pass, as the file stands.

    Raises:
        MissingExtra: Without onnxruntime.
        ParityError: onnxruntime cannot run the file.
    """
    ort = load_runtime()
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"], enable_fallback=0)
        values = session.run(list(wanted), {session.get_inputs()[0].name: tensor})
    except Exception as error:  # onnxruntime has a dozen error types without a common base of its own
        raise ParityError(f"onnxruntime cannot run the exported graph: {error}", "try another --opset") from None
    return dict(zip(wanted, values, strict=True))
