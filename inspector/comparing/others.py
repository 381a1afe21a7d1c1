"""Runtimes beside onnxruntime: onnx's reference evaluator, the twin, OpenVINO, and onnxruntime-web under node."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from inspector.comparing.web import make_web
from inspector.errors import MissingExtra, ModelError, one_line
from inspector.extras import need
from inspector.graph import Cut, Graph

Feeds = Mapping[str, NDArray[Any]]
Compute = Callable[[Feeds], list[Any]]
Builder = Callable[[Graph, Cut, Feeds], Compute]
_KEPT_SHAPES = 2
"""Networks that are kept of each part, one for each of the last shapes of its inputs."""


def embed_weights(graph: Graph, cut: Cut) -> onnx.ModelProto:
    """A part of a graph with its weights in it, and the types that are known."""
    proto = onnx.ModelProto()
    proto.CopyFrom(cut.proto)
    for tensor in proto.graph.initializer:
        if tensor.external_data:
            tensor.CopyFrom(onnx.numpy_helper.from_array(np.array(graph.tensor_array(tensor)), tensor.name))
    for value in proto.graph.output:
        value.ClearField("type")
    return proto


def type_inputs(proto: onnx.ModelProto, feeds: Feeds) -> onnx.ModelProto:
    """The same, with types and shapes of the inputs as they are fed, and of the outputs as they follow."""
    for value in proto.graph.input:
        if value.name in feeds:
            array = feeds[value.name]
            kind = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
            value.CopyFrom(onnx.helper.make_tensor_value_info(value.name, kind, list(array.shape)))
    return proto


@dataclass
class PartEngine:
    """An engine that builds something for each part of a graph, and keeps it for the last shapes of what goes in.

    Attributes:
        graph: The graph.
        build: Builds it.
        name: What the runtime is called.
    """

    graph: Graph
    build: Builder
    name: str
    _kept: dict[Hashable, OrderedDict[Hashable, Compute]] = field(default_factory=dict, repr=False)

    def run(self, feeds: Mapping[str, NDArray[Any]], tensors: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Compute `tensors` from the tensors that are given, which cut the graph."""
        names = tuple(dict.fromkeys(tensors))
        kept = self._kept.setdefault((names, tuple(feeds)), OrderedDict())
        shapes = tuple(x.shape for x in feeds.values())
        try:
            if shapes not in kept:
                kept[shapes] = self.build(self.graph, self.graph.cut(names, tuple(feeds)), feeds)
            kept.move_to_end(shapes)
            while len(kept) > _KEPT_SHAPES:
                kept.popitem(last=False)
            # The logarithm of a negative number is for the network's author to judge, not for numpy.
            with np.errstate(all="ignore"):
                arrays = kept[shapes](feeds)
        except (MissingExtra, ModelError, MemoryError):
            raise
        except Exception as error:  # each runtime has error types of its own
            raise ModelError(
                f"runtime {self.name!r} cannot run {self.graph.path}: {one_line(str(error), 300)}"
            ) from None
        return {name: np.asarray(array) for name, array in zip(names, arrays, strict=True)}


def _make_reference() -> Builder:
    def build(graph: Graph, cut: Cut, feeds: Feeds) -> Compute:
        from onnx.reference import ReferenceEvaluator

        evaluator = ReferenceEvaluator(type_inputs(embed_weights(graph, cut), feeds))
        return lambda given: list(evaluator.run(None, {name: given[name] for name in cut.inputs}))

    return build


def _make_twin() -> Builder:
    from inspector.twin.part import make_forward

    def build(graph: Graph, cut: Cut, feeds: Feeds) -> Compute:
        forward = make_forward(graph, cut.outputs, cut.inputs)
        return lambda given: forward([given[name] for name in cut.inputs])

    return build


def _make_openvino() -> Builder:
    openvino = need("openvino", "peers", "the runtime openvino needs the package openvino")
    core = openvino.Core()

    def build(graph: Graph, cut: Cut, feeds: Feeds) -> Compute:
        proto = type_inputs(embed_weights(graph, cut), feeds)
        # Unless it is told otherwise, it computes in half precision where the processor is quicker so.
        compiled = core.compile_model(
            core.read_model(proto.SerializeToString()), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
        )
        request = compiled.create_infer_request()

        def run(given: Feeds) -> list[Any]:
            request.infer({k: np.ascontiguousarray(given[name]) for k, name in enumerate(cut.inputs)})
            return [np.array(request.get_output_tensor(k).data) for k in range(len(cut.outputs))]

        return run

    return build


def _make_web() -> Builder:
    start = make_web()

    def build(graph: Graph, cut: Cut, feeds: Feeds) -> Compute:
        proto = type_inputs(embed_weights(graph, cut), feeds)
        return start(proto.SerializeToString(), cut.inputs, [value.name for value in proto.graph.output])

    return build


OTHERS: dict[str, Callable[[], Builder]] = {
    "reference": _make_reference,
    "twin": _make_twin,
    "openvino": _make_openvino,
    "web": _make_web,
}
"""Name of a runtime -> what makes what builds its parts."""
