"""A torch network as an ONNX graph, as torch's exporter writes it, with the scores as its first output."""

from __future__ import annotations

import io
from contextlib import redirect_stderr, redirect_stdout

import onnx_ir as ir

from exporters.exporting.checks import ExportError
from exporters.sources.needs import nn, quiet, torch
from inspector.errors import one_line
from inspector.graph import find_operator
from inspector.metadata import Activation

INPUT, LOGITS, BATCH = "input", "logits", "N"
"""What the file calls its input, its scores and the number of pictures."""


def trace_network(module: nn.Module, batch: torch.Tensor, opset: int) -> tuple[ir.Model, torch.export.ExportedProgram]:
    """Trace a network.

    Args:
        module: The network, in evaluation mode.
        batch: Pictures, float32 (N, C, H, W), N >= 2.
        opset: Version of the operator set.

    Returns:
        The network as an ONNX graph, and the torch program that this graph was written from.

    Raises:
        ExportError: Torch cannot export it, or not with this operator set.
    """
    said = io.StringIO()  # half a page about each way that torch tries in vain
    try:
        with quiet(), redirect_stdout(said), redirect_stderr(said):
            program = torch.onnx.export(
                module,
                (batch,),
                dynamo=True,
                optimize=True,
                external_data=False,
                opset_version=opset,
                input_names=[INPUT],
                dynamic_shapes=({0: BATCH},),
                verbose=False,
            )
    except Exception as error:  # the exporter wraps what any of its stages and the network's forward may raise
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        raise ExportError(
            f"torch cannot export {type(module).__name__}: {type(cause).__name__}: {one_line(str(cause), 300)}",
            "forward must take one batch (N, C, H, W) of any N and not branch on values",
        ) from error
    assert program is not None
    assert program.exported_program is not None
    written = program.model.opset_imports.get("")
    if written != opset:
        raise ExportError(f"torch wrote opset {written} where {opset} was asked for", f"ask for --opset {written}")
    return program.model, program.exported_program


def list_outputs(program: torch.export.ExportedProgram) -> list[str | None]:
    """Find the fx node of each leaf of what forward returns, in the order of the tree; None where it is no tensor."""
    return [
        getattr(spec.arg, "name", None)
        for spec in program.graph_signature.output_specs
        if spec.kind == torch.export.graph_signature.OutputKind.USER_OUTPUT
    ]


def keep_output(model: ir.Model, name: str | None) -> tuple[dict[str, str], Activation | None]:
    """Make the scores the first graph output and remove all others.

    A softmax or sigmoid at the end stays, as the second output; the scores are what goes into it.

    Args:
        model: The traced graph, which is changed.
        name: The output that holds what forward returns as its scores.

    Returns:
        The name that each kept output will have, and the activation at the end; None for none.

    Raises:
        ExportError: The scores are not an output.
    """
    graph = model.graph
    value = next((v for v in graph.outputs if v is not None and v.name == name), None)
    if value is None or name is None:
        raise ExportError("the scores are not an output of the exported graph", "return a tensor that forward computes")
    finals = {name: LOGITS}
    kept = [value]
    activation: Activation | None = None
    node = value.producer()
    ending = find_operator(node.op_type, node.domain).ending if node is not None else ""
    if node is not None and ending and value.shape is not None and len(value.shape) == 2:
        scores = node.inputs[0]
        if scores is not None and scores.name is not None and scores.producer() is not None:
            finals = {scores.name: LOGITS, name: "log_probabilities" if ending == "log-softmax" else "probabilities"}
            kept = [scores, value]
            activation = "sigmoid" if ending == "sigmoid" else "softmax"
    graph.outputs[:] = kept
    from onnx_ir.passes.common import RemoveUnusedNodesPass

    RemoveUnusedNodesPass()(model)
    return finals, activation


def choose_activation(scores: torch.Tensor) -> Activation:
    """Choose what makes probabilities of scores (N, K), where the network does not say it."""
    if scores.ndim != 2:
        return "none"
    return "sigmoid" if scores.shape[1] == 1 else "softmax"
