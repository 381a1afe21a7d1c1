"""The trunk of a detector or segmenter as the base of a classifier: its maps, their mean, and a linear layer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from inspector.errors import NotComputable
from inspector.files import atomic_path
from inspector.graph import node_inputs, operator_of, restore_interface
from inspector.layers import Layer
from inspector.metadata import KEY, LayerEntry
from inspector.model import Model
from inspector.model.inputs import list_given

COARSEST = 40
"""Pixels of the input for each place of the maps at most: backbones end at 32, and coarser ones find large boxes."""

TRUNKS = {"detect": "detects objects", "pose": "finds keypoints", "segment": "gives a class to every pixel"}
"""Tasks whose networks have a backbone that features can be taken from, and what these do, as a clause."""

_CLASSES = 2
"""Classes of the head that is written only to be replaced."""


def find_trunk(model: Model) -> Layer:
    """The layer in which the backbone of a detector or segmenter ends.

    It is the last of those with the coarsest maps before anything is enlarged, where necks and decoders begin. Layers
    with less than a quarter of the channels of the widest of these are left out: necks squeeze what they take.

    Raises:
        NotComputable: There is no layer with maps.
    """
    height, width = model.preprocess.size or (224, 224)
    values = model.activations(np.zeros((height, width, 3), np.uint8))
    found: list[tuple[int, int, Layer]] = []  # (places, channels, layer)
    for layer in model.layers:
        node = model.graph.nodes[model.graph.producer_of[layer.tensor]]
        if layer.kind == "resize" or operator_of(node).transposed:
            break
        shape = values[layer.name].shape[1:]
        if layer.arrangement is not None:
            continue  # tokens, windows and channels in blocks are no maps as they stand
        if len(shape) != 3 or min(shape[1:]) < 2 or shape[1] * COARSEST < height or shape[2] * COARSEST < width:
            continue
        found.append((shape[1] * shape[2], shape[0], layer))
    if not found:
        raise NotComputable(f"{model.path} has no layer whose maps could be features", "give a classifier as the base")
    fewest = min(places for places, _, _ in found)
    coarsest = [(channels, layer) for places, channels, layer in found if places == fewest]
    widest = max(channels for channels, _ in coarsest)
    return [layer for channels, layer in coarsest if 4 * channels >= widest][-1]


def write_trunk(model: Model, target: Path) -> Layer:
    """Write the backbone of a model as a classifier, with a head that is still to be replaced.

    Args:
        model: A detector or segmenter.
        target: The file that is written, with all weights inside.

    Returns:
        The layer in which it ends. Behind it stand the mean over its places, and a linear layer.

    Raises:
        NotComputable: There is no layer with maps.
    """
    layer, graph = find_trunk(model), model.graph
    proto = onnx.ModelProto()
    proto.CopyFrom(graph.cut([layer.tensor]).proto)
    for entry in proto.graph.initializer:
        array = np.asarray(graph.tensor_array(graph.initializers[entry.name]), order="C")
        entry.CopyFrom(numpy_helper.from_array(array, entry.name))
    maps, mean, features, scores, weight, bias = (
        _free_name(model, f"classifier_{name}") for name in ("maps", "mean", "features", "scores", "weight", "bias")
    )
    if layer.channels_last:
        proto.graph.node.append(helper.make_node("Transpose", [layer.tensor], [maps], perm=[0, 3, 1, 2]))
    values = model.run(model.tensor(np.zeros((8, 8, 3), np.uint8)), [layer.tensor])[layer.tensor]
    channels = values.shape[-1 if layer.channels_last else 1]
    kind = values.dtype if values.dtype == np.float16 else np.dtype(np.float32)  # a head in what the maps come in
    proto.graph.node.extend(
        [
            helper.make_node("GlobalAveragePool", [maps if layer.channels_last else layer.tensor], [mean]),
            helper.make_node("Flatten", [mean], [features], axis=1),
            helper.make_node("Gemm", [features, weight, bias], [scores], transB=1),
        ]
    )
    for name, shape in ((weight, (_CLASSES, channels)), (bias, (_CLASSES,))):
        proto.graph.initializer.append(numpy_helper.from_array(np.zeros(shape, kind), name))
    del proto.graph.output[:]
    proto.graph.output.append(
        helper.make_tensor_value_info(scores, helper.np_dtype_to_tensor_dtype(kind), (None, _CLASSES))
    )
    restore_interface(proto, graph)
    read = {name for node in proto.graph.node for name in node_inputs(node)}
    inputs = [value for value in proto.graph.input if value.name in read]  # others were for what is left out
    proto.graph.ClearField("input")
    proto.graph.input.extend(inputs)
    made = {name for node in proto.graph.node for name in node.output}
    document = model.metadata.with_(
        inputs={name: value for name, value in list_given(graph).items() if name in read},
        preprocess=model.preprocess, labels=None, task="classify", head=None, output=scores, activation="softmax",
        cam_layer=None, layers=tuple(LayerEntry(x.name, x.tensor, x.kind, x.aliases) for x in model.layers
                                     if x.tensor in made),
    )  # fmt: skip
    helper.set_model_props(proto, {KEY: document.dumps()})
    with atomic_path(target) as temporary:
        temporary.write_bytes(proto.SerializeToString())
    return layer


def _free_name(model: Model, name: str) -> str:
    while name in model.graph.producer_of or name in model.graph.initializers:
        name += "_"
    return name
