"""A torch network as one .onnx file: layers exposed under their module paths, metadata inside, every layer checked."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from exporters.exporting.checks import check_answers, check_deterministic, pause_training
from exporters.exporting.document import finish_graph, make_metadata
from exporters.exporting.layers import choose_cam_layer, choose_exposed, name_layers
from exporters.exporting.photograph import open_photograph
from exporters.exporting.proof import prove
from exporters.exporting.request import DEFAULT_OPSET, check_labels, check_request
from exporters.exporting.trace import choose_activation, keep_output, list_outputs, trace_network
from exporters.sources import Source, make_source
from exporters.sources.needs import nn, torch
from inspector.agreement import Agreement
from inspector.files import atomic_path
from inspector.graph import read_graph
from inspector.guard import check_outputs
from inspector.image import ImageSource, Preprocess
from inspector.layers import Layer, find_layers
from inspector.metadata import Activation, Metadata


@dataclass(frozen=True)
class Exported:
    """A file that was written, and the proof that it is right.

    Attributes:
        path: The file.
        sha256: Its digest.
        size: Its size in bytes.
        layers: All layers, in topological order; `exposed` marks the graph outputs.
        parity: Torch against onnxruntime, one row for each graph output.
        metadata: What is written in the file.
        picture: What the layers were compared on.
        notes: What had to be assumed or decided, a sentence each.
    """

    path: Path
    sha256: str
    size: int
    layers: tuple[Layer, ...]
    parity: tuple[Agreement, ...]
    metadata: Metadata
    picture: str
    notes: tuple[str, ...] = ()


# Wide: the keyword-only parameters are the choices of an export; each has a default that stands alone.
# Long: a third is the description of its parameters.
def export_onnx(
    source: Source | nn.Module,
    path: str | os.PathLike[str],
    *,
    expose: str | Sequence[str] = "features",
    opset: int | None = None,
    image: ImageSource | None = None,
    preprocess: Preprocess | None = None,
    labels: Sequence[str] | None = None,
    activation: Activation | None = None,
    licence: str | None = None,
    training: Mapping[str, Any] | None = None,
    rename: Callable[[str], str] | None = None,
) -> Exported:
    """Write `source` to `path` as one self-contained .onnx file, or write nothing.

    Input ``input`` (N, C, H, W), first output ``logits`` (N, K); every exposed layer is a further output under its
    layer name, the torch module path. N is symbolic. A convolution with its folded norm is one tensor.

    Args:
        source: From :func:`exporters.sources.load_source`, or a module, which then needs `preprocess`.
        path: The file to write.
        expose: ``features`` (every stack of maps larger than 1x1), ``all``, or layer names, as a list or with commas.
        opset: Version of the operator set, 18 to 23; None for 20.
        image: Picture for the comparison, anything `open_image` takes; None for the package's own photograph.
        preprocess: Instead of the source's.
        labels: Instead of the source's.
        activation: What makes probabilities of the scores; None for softmax for K > 1, sigmoid for one score.
        licence: Of the weights, for the metadata; None for the source's.
        training: What is known of the training, for the metadata.
        rename: Turns a module path into a layer name; the path stays as an alias.

    Raises:
        UsageError: The operator set, the size, the activation or the labels are wrong.
        ExportError: The network cannot be exported as it is.
        LayerNotFound: `expose` names no layer.
        ParityError: A layer's values differ between torch and onnxruntime.
        OutputError: The file cannot be written.
    """
    origin = make_source(source, preprocess, labels)
    opset = DEFAULT_OPSET if opset is None else opset
    check_request(origin.module, opset, origin.preprocess, activation)
    if isinstance(image, str | os.PathLike):
        check_outputs({"-o": path}, {"the picture of the comparison": [image]})
    picture, photograph = open_photograph(image)
    one = origin.preprocess.tensor(picture)
    with atomic_path(path) as temporary, pause_training(origin.module):
        # Two different pictures: torch takes a batch of one for a constant.
        batch = torch.from_numpy(np.concatenate([one, np.flip(one, axis=(2, 3))]))
        answer = check_answers(origin.module, batch)
        check_labels(origin.labels, answer.value)
        model, program = trace_network(origin.module, batch, opset)
        check_deterministic(program)
        finals, end = keep_output(model, list_outputs(program)[answer.index])
        ir.save(model, temporary, format="protobuf")
        written = read_graph(temporary)
        traced = name_layers(written, program, finals, rename, origin.aliases)
        chosen = activation or end or choose_activation(answer.value)
        cam_layer = choose_cam_layer(written, traced, next(iter(finals)))
        metadata = make_metadata(origin, [x.layer for x in traced], opset, chosen, licence, training, cam_layer)
        tensors = {x.before: x.layer.tensor for x in traced} | finals
        finish_graph(model, traced, tensors, [x.tensor for x in choose_exposed(traced, expose)], metadata, rename)
        ir.save(model, temporary, format="protobuf")
        graph = read_graph(temporary)
        layers = find_layers(graph, metadata.layers)
        parity = prove(graph, layers, tensors, program, one, {list(finals)[-1]: answer.value})
    notes = tuple(note for note in (*origin.notes, answer.note) if note)
    return Exported(Path(path), graph.sha256, graph.size, layers, parity, metadata, photograph, notes)
