"""The gradient of the top score with respect to the picture, as an output: the derivative of the whole network.

Plain (Simonyan, Vedaldi, Zisserman 2014, arXiv:1312.6034); the mean over noisy copies of the picture (SmoothGrad:
Smilkov et al. 2017, arXiv:1706.03825, noise of 15 % of the picture's range); or integrated along the way from an input
of zeros, times the picture (Sundararajan, Taly, Yan 2017, arXiv:1703.01365, midpoints of equal steps). The copies go
through the network as one batch, by a second set of its nodes that shares its weights.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from exporters.attaching.derivative import check_covered, emit_gradient
from exporters.attaching.seeds import emit_top_seed
from exporters.attaching.workbench import Workbench
from inspector.cam.saliency import COPY_PREFIX, NOISE_SHARE
from inspector.cam.target import find_output
from inspector.errors import NotComputable, UsageError
from inspector.graph import Graph
from inspector.model import Model
from inspector.reverse import find_head

Array = NDArray[Any]
STEPS = 8
"""Copies of the picture where no number is given."""
_MOST = 256
_TOLERANCE = 1e-4


def parse_saliency(text: str) -> tuple[str, int]:
    """(kind, steps) of ``gradient``, ``smoothgrad[:STEPS]`` or ``integrated[:STEPS]``.

    Raises:
        UsageError: It is something else.
    """
    match = re.fullmatch(r"(gradient|smoothgrad|integrated)(?::(\d{1,4}))?", text.strip())
    steps = int(match[2] or STEPS) if match else 0
    if match is None or not 1 <= steps <= _MOST or (match[1] == "gradient" and match[2]):
        raise UsageError(
            f"there is no saliency {text!r}", "known: gradient, smoothgrad[:STEPS], integrated[:STEPS], up to 256"
        )
    return match[1], 1 if match[1] == "gradient" else steps


def attach_saliency(bench: Workbench, text: str) -> None:
    """Add the gradient of the top score with respect to the input.

    Args:
        bench: The network that is added to.
        text: As :func:`parse_saliency` takes it.

    Raises:
        UsageError: There is no such kind.
        NotComputable: The network is no classifier, or an operator of it has no derivative as nodes.
    """
    kind, steps = parse_saliency(text)
    model, write = bench.model, bench.write
    if model.classifier is None:
        raise NotComputable(f"{model.path} is no classifier", "--saliency is the gradient of the top score of classes")
    name, scores = model.input.name, find_output(model, None).tensor
    if model.input.dtype != "float32":
        raise NotComputable(f"the input of {model.path} holds {model.input.dtype}, which has no gradient", "")
    head = find_head(bench.graph, name, scores)
    sizes = bench.measure(head)
    hint = "--cam METHOD needs the gradient of what lies behind a layer alone"
    check_covered(write, sizes, head, "the gradient with respect to the picture", hint)
    seed, _ = emit_top_seed(bench, scores, sizes)
    graph, noise = bench.graph, None
    if kind != "gradient":
        if model.input.batch:
            raise NotComputable(
                f"{model.path} takes {model.input.batch} picture(s) at a time, and {kind} needs {steps} copies of each",
                "take --saliency gradient, or export the model with an open batch",
            )
        noise = _make_noise(model, steps) if kind == "smoothgrad" else None
        copies = _emit_copies(bench, kind, steps, noise)
        graph = copy_network(bench, copies, scores)
        head = find_head(graph, copies, COPY_PREFIX + scores)
        sizes = bench.measure(head, graph=graph, prefix=COPY_PREFIX)
        seed = write.reshape(
            _repeat(bench, seed, steps, len(sizes.sample(head.output))), -1, *sizes.sample(head.output)[1:]
        )
    found = emit_gradient(write, sizes, {head.output: seed}, head)
    if found is None:
        raise NotComputable("the scores do not depend on the picture", "")
    sides = tuple(int(n) for n in sizes.sample(head.layer)[1:])
    if kind != "gradient":
        found = write.reduce("ReduceMean", write.reshape(found, -1, steps, *sides), [1], keep=False)
    if kind == "integrated":
        found = write.emit("Mul", found, name)
    bench.add_output(
        found,
        "saliency",
        f"{_WORDS[kind]} of the top score with respect to the input" + (f", {steps} steps" if steps > 1 else ""),
        (bench.batch, *_declared(model)),
        {"kind": kind, "steps": steps},
        tolerance=_TOLERANCE,
        pictures=1,
    )


_WORDS = {
    "gradient": "gradient",
    "smoothgrad": "mean gradient over noisy copies",
    "integrated": "integrated gradient",
}


def _declared(model: Model) -> tuple[int | str, ...]:
    shape = (*model.input.shape,)[1:] if model.input.shape else (None, None, None)
    return tuple(
        size if isinstance(size, int | str) and size else word for size, word in zip(shape, "CHW", strict=False)
    )


def _make_noise(model: Model, steps: int) -> Array:
    """Noise of mean 0 and deviation 1, the same every time: float16 (1, steps, ...)."""
    if model.preprocess.size is None or (model.input.size is None and None in _declared(model)[1:]):
        raise NotComputable(f"{model.path} leaves the size of its input open, and the noise has one", "take integrated")
    height, width = model.preprocess.size
    channels = model.input.channels
    sides = (height, width, channels) if model.input.layout == "NHWC" else (channels, height, width)
    noise = np.random.default_rng(0).standard_normal((1, steps, *sides))
    return np.asarray(noise - noise.mean(axis=1, keepdims=True), np.float16)


def _emit_copies(bench: Workbench, kind: str, steps: int, noise: Array | None) -> str:
    """Write the copies of each picture, one behind the other: (N * steps, C, H, W)."""
    write, name = bench.write, bench.model.input.name
    each = write.emit("Unsqueeze", name, write.ints(1))
    if kind == "integrated":
        shares = ((np.arange(steps) + 0.5) / steps).astype(np.float32).reshape(1, steps, 1, 1, 1)
        many = write.emit("Mul", each, write.constant(shares))
    else:
        assert noise is not None
        axes = [2, 3, 4]
        span = write.emit("Sub", write.reduce("ReduceMax", each, axes), write.reduce("ReduceMin", each, axes))
        deviation = write.emit("Mul", span, write.number(NOISE_SHARE))
        many = write.emit("Add", each, write.emit("Mul", write.to_float(write.constant(noise)), deviation))
    lengths = write.emit("Slice", write.emit("Shape", name), write.ints(1), write.ints(4), write.ints(0))
    return write.emit("Reshape", many, write.emit("Concat", write.ints(-1), lengths, axis=0))


def _repeat(bench: Workbench, seed: str, steps: int, rank: int) -> str:
    """(N, ...) -> (N, steps, ...), each row as often."""
    write = bench.write
    ones = write.ints(1, steps, *[1] * (rank - 1))
    return write.emit("Expand", write.emit("Unsqueeze", seed, write.ints(1)), ones)


def copy_network(bench: Workbench, picture: str, output: str) -> Graph:
    """Write the nodes of the network a second time, from another input.

    Args:
        bench: The network; its nodes are written behind what is there.
        picture: The tensor that takes the place of the picture.
        output: The tensor that is wanted.

    Returns:
        The graph of the copy, whose tensors have the names of the originals behind a prefix; weights are shared.
    """
    graph = bench.graph
    chosen, _ = graph.needed([output])
    renamed = {name: COPY_PREFIX + name for i in chosen for name in graph.nodes[i].output if name}
    renamed[bench.model.input.name] = picture
    proto = onnx.ModelProto()
    proto.CopyFrom(graph.proto)
    proto.graph.ClearField("value_info")
    del proto.graph.node[:], proto.graph.output[:]
    for i in sorted(chosen):
        if any(attribute.type in (5, 10) for attribute in graph.nodes[i].attribute):
            raise NotComputable(
                f"{graph.nodes[i].op_type} holds a graph of its own, which is not copied", "take gradient"
            )
        node = onnx.NodeProto()
        node.CopyFrom(graph.nodes[i])
        node.name = COPY_PREFIX + (node.name or str(i))
        for names in (node.input, node.output):
            for k, name in enumerate(names):
                names[k] = renamed.get(name, name)
        proto.graph.node.append(node)
    for value in proto.graph.input:
        if value.name == bench.model.input.name:
            value.name = picture
    proto.graph.output.append(onnx.ValueInfoProto(name=renamed[output]))
    bench.write.nodes.extend(proto.graph.node)
    inputs = tuple(replace(i, name=picture) if i.name == bench.model.input.name else i for i in graph.inputs)
    return replace(graph, proto=proto, inputs=inputs, outputs=(renamed[output],))
