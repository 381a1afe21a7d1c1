"""Step 1: the base with a new head, as a graph. The base's own weights, names and layers stay what they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ValueInfoProto, numpy_helper

from inspector.errors import NotComputable, UsageError
from inspector.files import atomic_path
from inspector.graph import (
    Graph,
    Operator,
    attributes,
    infer_types,
    is_standard,
    operator_of,
    read_shape,
    restore_interface,
)
from inspector.image import Preprocess
from inspector.metadata import KEY, LayerEntry
from inspector.model import Model, open_model
from inspector.model.inputs import list_given


@dataclass(frozen=True)
class ClassifierHead:
    """The last linear layer of a classifier.

    Attributes:
        node: Its index in the graph.
        features: The tensor it reads, (N, F) or (N, F, H, W).
        weight: Its initializer.
        bias: (index of the node that reads it, position among that node's inputs), None where there is none.
        scores: The tensor that the classes are read from.
        inputs: F.
        classes: K, as many as its weights have rows for.
    """

    node: int
    features: str
    weight: str
    bias: tuple[int, int] | None
    scores: str
    inputs: int
    classes: int


def find_classifier_head(model: Model) -> ClassifierHead:
    """The linear layer or 1x1 convolution that makes the class scores.

    Raises:
        NotComputable: The model is no classifier or its scores are made in another way.
    """
    if model.classifier is None:
        raise NotComputable(
            f"{model.path} has no classification output, so there is no head to replace",
            "give a classifier, or name the scores with `inspector annotate`",
        )
    graph = model.graph
    tensor, bias = model.classifier.scores, None
    for _ in range(16):
        index = graph.producer_of.get(tensor)
        if index is None:
            break
        node = graph.nodes[index]
        operator = operator_of(node)
        constants = [name in graph.initializers for name in node.input]
        if _is_replaceable(operator):
            if not constants[1] or constants[0]:
                break
            shape = tuple(graph.initializers[node.input[1]].dims)
            rows_first = operator.rows_axis(node) == 0
            if attributes(node).get("transA", 0) or attributes(node).get("group", 1) != 1 or len(shape) < 2:
                break
            if operator.bias is not None and len(node.input) > operator.bias and node.input[operator.bias]:
                bias = (index, operator.bias)
            inputs, classes = (shape[1], shape[0]) if rows_first else (shape[0], shape[-1])
            return ClassifierHead(index, node.input[0], node.input[1], bias, model.classifier.scores, inputs, classes)
        data = [name for name, constant in zip(node.input, constants, strict=True) if not constant and name]
        is_bias = node.op_type == "Add"
        if len(data) != 1 or not operator.standard or not (is_bias or _passes_scores(operator)):
            break
        if is_bias:
            bias = (index, constants.index(True))
        tensor = data[0]
    if any(operator_of(node).integer for node in graph.nodes):
        raise NotComputable(
            f"{model.path} is quantized: its scores are made with integers, which cannot be trained",
            "give the float model that it was made of, and quantize the result",
        )
    made = graph.nodes[graph.producer_of[tensor]].op_type if tensor in graph.producer_of else "an input"
    raise NotComputable(
        f"the scores of {model.path} come from {made}, not from a linear layer with its weights in the file",
        "a classifier that ends in Gemm, MatMul or a convolution has a head to replace",
    )


def _is_replaceable(operator: Operator) -> bool:
    """Whether it is a linear layer or convolution of floats: (data, weights) or (data, weights, bias)."""
    plain = operator.standard and not operator.transposed and not operator.integer
    return plain and operator.weight == 1 and operator.bias in (None, 2)


def _passes_scores(operator: Operator) -> bool:
    """Whether scores stay scores behind it, class by class; what quantizes them has no head to replace."""
    return (
        (operator.passes and not operator.requantizes)
        or operator.kind == "pool"
        or (operator.kind == "activation" and operator.unary)
    )


# Long: a good part is the description of its parameters.
def write_with_head(
    model: Model, target: Path, classes: Sequence[str], seed: int, size: tuple[int, int] | None = None
) -> Graph:
    """Write `model` with a head for `classes` to `target`, one file with everything inside, and read it.

    The head's weights are uniform within 1/sqrt(F), its bias is zero. Every stack of maps becomes an output, the
    metadata keep the base's layers and get the labels, and the values that inputs beside the picture were given; where
    a constant shape behind the head holds the old number of classes, it gets the new one.

    Args:
        model: The base.
        target: The file that is written.
        classes: Names, in the order of the outputs.
        seed: Of the random start of the head.
        size: (H, W) of the input, where the graph allows another.

    Raises:
        NotComputable: The head cannot be replaced in this graph.
        UsageError: The classes do not make a head.
    """
    head, graph = find_classifier_head(model), model.graph
    proto = _whole(graph)
    count = len(classes)
    _replace_weights(proto, graph, head, count, seed)
    _declare_weights(proto)
    _replace_shapes(proto, graph, head, count)
    _end_in_softmax(proto, model)
    preprocess = model.preprocess
    if size is not None:
        _resize(proto, model, size)
        preprocess = preprocess.with_size(size)
    after = _downstream(graph, head.node)
    declared = {v.name: ValueInfoProto.FromString(v.SerializeToString()) for v in proto.graph.output if v.name in after}
    for value in proto.graph.output:
        if value.name in after or size is not None:
            value.type.tensor_type.ClearField("shape")
    stale = after | graph.initializers.keys()  # some exporters note the shapes of weights too
    kept = [v for v in proto.graph.value_info if v.name not in stale and size is None]
    del proto.graph.value_info[:]
    proto.graph.value_info.extend(kept)
    types = {v.name: v for v in infer_types(proto)}
    for value in proto.graph.output:
        if value.name in types:
            value.CopyFrom(types[value.name])
        if value.name in declared:
            _declare_classes(value, declared[value.name], head.classes, count)
    present = {v.name for v in proto.graph.output}
    for layer in model.layers:
        found = types.get(layer.tensor)
        if found is not None and layer.tensor not in present and _is_maps(found):
            proto.graph.output.append(found)
    restore_interface(proto, graph)
    document = model.metadata.with_(
        inputs=list_given(graph),
        preprocess=preprocess,
        labels=tuple(classes),
        layers=tuple(LayerEntry(x.name, x.tensor, x.kind, x.aliases) for x in model.layers),
        output=model.metadata.output or (head.scores if head.scores in graph.outputs else None),
        activation="softmax",
    )
    properties = {p.key: p.value for p in proto.metadata_props} | {KEY: document.dumps()}
    onnx.helper.set_model_props(proto, properties)
    with atomic_path(target) as temporary:
        temporary.write_bytes(proto.SerializeToString())
    written = open_model(target).graph
    _check_scores(written, head, count, preprocess)
    return written


def _declare_weights(proto: onnx.ModelProto) -> None:
    """Older files list their initializers among the inputs, with the shapes that they had."""
    shapes = {tensor.name: tensor.dims for tensor in proto.graph.initializer}
    for value in proto.graph.input:
        if value.name in shapes:
            shape = value.type.tensor_type.shape
            del shape.dim[:]
            for size in shapes[value.name]:
                shape.dim.add().dim_value = size


def _declare_classes(value: ValueInfoProto, before: ValueInfoProto, old: int, count: int) -> None:
    """Declare an output as the base did, with the new number of classes, where inference does not find that number."""
    inferred = [d.dim_value for d in value.type.tensor_type.shape.dim]
    dims = before.type.tensor_type.shape.dim
    places = [i for i, d in enumerate(dims) if d.dim_value == old and (i or len(dims) == 1)]
    if count in inferred or len(places) != 1:
        return
    value.type.tensor_type.shape.CopyFrom(before.type.tensor_type.shape)
    value.type.tensor_type.shape.dim[places[0]].dim_value = count


def replace_weights(graph: Graph, target: Path, weights: dict[str, NDArray[Any]], properties: dict[str, str]) -> None:
    """Write `graph` to `target` with these initializers and metadata entries, all else as it is.

    Args:
        graph: The graph whose file is read.
        target: The file that is written.
        weights: Initializer name -> array of the dtype and shape that the file has.
        properties: Metadata properties of the new file.
    """
    proto = _whole(graph)
    for tensor in proto.graph.initializer:
        if tensor.name in weights:
            array = weights[tensor.name]
            assert tuple(tensor.dims) == array.shape, (tensor.name, tuple(tensor.dims), array.shape)
            tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(array), tensor.name))
    restore_interface(proto, graph)
    onnx.helper.set_model_props(proto, {p.key: p.value for p in proto.metadata_props} | properties)
    target.write_bytes(proto.SerializeToString())


def _whole(graph: Graph) -> onnx.ModelProto:
    """The structure of `graph` with the weights in it instead of references."""
    proto = onnx.ModelProto()
    proto.CopyFrom(graph.proto)
    stack = [proto.graph]
    if sum(int(np.prod(t.dims, dtype=np.int64)) for t in proto.graph.initializer) * 4 > 2**31 - 2**24:
        raise UsageError(f"{graph.path} is larger than the 2 GB of one .onnx file", "choose a smaller base")
    for part in stack:
        for tensor in part.initializer:
            if tensor.data_location == onnx.TensorProto.EXTERNAL:
                tensor.CopyFrom(numpy_helper.from_array(np.array(graph.tensor_array(tensor)), tensor.name))
        for node in part.node:
            for attribute in node.attribute:
                if attribute.type == onnx.AttributeProto.TENSOR:
                    tensor = attribute.t
                    if tensor.data_location == onnx.TensorProto.EXTERNAL:
                        tensor.CopyFrom(numpy_helper.from_array(np.array(graph.tensor_array(tensor)), tensor.name))
                stack += [attribute.g] if attribute.type == onnx.AttributeProto.GRAPH else attribute.graphs
    return proto


def _replace_weights(proto: onnx.ModelProto, graph: Graph, head: ClassifierHead, count: int, seed: int) -> None:
    node = proto.graph.node[head.node]
    old = graph.initializers[head.weight]
    rows_first = operator_of(node).rows_axis(node) == 0
    shape = (count, *old.dims[1:]) if rows_first else (*old.dims[:-1], count)
    dtype = onnx.helper.tensor_dtype_to_np_dtype(old.data_type)
    bound = 1 / np.sqrt(head.inputs)
    weight = np.random.default_rng([seed, 1]).uniform(-bound, bound, shape).astype(dtype)
    node.input[1] = _put(proto, graph, head.weight, weight)
    if head.bias is not None:
        reader, position = head.bias
        zero = np.zeros(count, dtype)
        proto.graph.node[reader].input[position] = _put(proto, graph, proto.graph.node[reader].input[position], zero)
    elif operator_of(node).bias is not None:
        del node.input[2:]
        name = f"{head.weight}_bias"
        while name in graph.initializers or name in graph.producer_of:
            name += "_"
        proto.graph.initializer.append(numpy_helper.from_array(np.zeros(count, dtype), name))
        node.input.append(name)


def _replace_shapes(proto: onnx.ModelProto, graph: Graph, head: ClassifierHead, count: int) -> None:
    """Exporters write the number of classes into the Reshape that flattens what a convolution makes of them."""
    node = graph.nodes[head.node]
    old = head.classes
    after = _downstream(graph, head.node)
    names: dict[str, str] = {}
    for index, node in enumerate(graph.nodes):
        if node.op_type != "Reshape" or not is_standard(node) or node.input[0] not in after:
            continue
        name = node.input[1]
        if name not in graph.initializers:
            continue
        shape = np.array(graph.tensor_array(graph.initializers[name]))
        # The first of several is the batch, whatever it is.
        places = [k for k in range(min(1, len(shape) - 1), len(shape)) if shape[k] == old]
        if len(places) != 1:
            continue
        if name not in names:
            shape[places] = count
            names[name] = _put(proto, graph, name, shape)
        proto.graph.node[index].input[1] = names[name]


def _put(proto: onnx.ModelProto, graph: Graph, name: str, value: NDArray[Any]) -> str:
    """Puts `value` in the place of an initializer, or beside it where others read it too; returns its name."""
    shared = len(graph.consumers_of.get(name, [])) > 1
    new = name
    while shared and (new in graph.initializers or new in graph.producer_of):
        new += "_head"
    tensor = numpy_helper.from_array(value, new)
    if shared:
        proto.graph.initializer.append(tensor)
    else:
        next(t for t in proto.graph.initializer if t.name == name).CopyFrom(tensor)
    return new


def _end_in_softmax(proto: onnx.ModelProto, model: Model) -> None:
    """Classes exclude each other here, so a sigmoid at the end becomes a softmax."""
    assert model.classifier is not None
    if model.classifier.in_graph and model.classifier.activation == "sigmoid":
        node = next(n for n in reversed(proto.graph.node) if n.op_type == "Sigmoid")
        node.op_type = "Softmax"
        node.attribute.append(onnx.helper.make_attribute("axis", 1))


def _resize(proto: onnx.ModelProto, model: Model, size: tuple[int, int]) -> None:
    given = next(v for v in proto.graph.input if v.name == model.input.name)
    dims = given.type.tensor_type.shape.dim
    first = 1 if model.input.layout == "NHWC" else 2
    for k, side in enumerate(size):
        dims[first + k].Clear()
        dims[first + k].dim_value = side


def _downstream(graph: Graph, node: int) -> set[str]:
    """The tensors that depend on a node."""
    found = set(graph.nodes[node].output)
    for later in graph.nodes[node + 1 :]:
        if any(name in found for name in later.input):
            found.update(later.output)
    return found


def _is_maps(value: onnx.ValueInfoProto) -> bool:
    shape = read_shape(value)
    return shape is not None and len(shape) == 4 and any(side != 1 for side in shape[2:])


def _check_scores(graph: Graph, head: ClassifierHead, count: int, preprocess: Preprocess) -> None:
    """Raises NotComputable where what follows the head has its old number of classes built in."""
    from inspector.errors import ModelError
    from inspector.runtime import Sessions

    given = graph.inputs[0]
    plain = replace(preprocess, size=preprocess.size or (224, 224))
    height, width = plain.size or (224, 224)
    pixels = np.full((height, width) if plain.colour == "L" else (height, width, 3), 128, np.uint8)
    tensor = plain.normalise(pixels)
    batch = given.shape[0] if given.shape and isinstance(given.shape[0], int) else 1
    try:
        scores = Sessions(graph, "cpu").run({given.name: np.repeat(tensor, batch, axis=0)}, [head.scores])[head.scores]
    except ModelError as error:
        raise NotComputable(
            f"the base does not run with a head of {count} classes: {error.message.replace(str(graph.path), 'it')}",
            "what follows its last linear layer has the old number of classes, or the size of the picture, built in",
        ) from None
    if scores.size != batch * count:
        raise NotComputable(
            f"with a head of {count} classes the base gives scores of shape {scores.shape}",
            "what follows its last linear layer has the old number of classes built in",
        )
