"""A torch network as one .onnx file: layers exposed under their module paths, metadata inside, every layer checked."""

from __future__ import annotations

import ast
import importlib.metadata
import io
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

import inspector
from exporters.exporting.checks import ExportError, check_answers, check_deterministic, evaluating
from exporters.exporting.parity import ParityError, compare, onnx_values, torch_values
from exporters.needs import nn, quiet, torch
from exporters.sources import Source, source_of
from inspector.compare import Agreement
from inspector.errors import UsageError, listing, one_line
from inspector.files import atomic_path
from inspector.graph import Graph, find_operator, read_graph
from inspector.guard import check_outputs
from inspector.image import ImageSource, Preprocess, open_image
from inspector.layers import Layer, find_layer, find_layers
from inspector.metadata import KEY, Activation, LayerEntry, Metadata

OPSETS = range(18, 24)
"""Operator sets that torch's exporter writes itself; below 18 it would have to convert back, and mostly cannot."""

DEFAULT_OPSET = 20
MAX_BYTES = 2**31 - 2**24
"""A protobuf message ends at 2 GiB; some room is left for the structure."""

INPUT, LOGITS, BATCH = "input", "logits", "N"
_SCOPES = "pkg.torch.onnx.name_scopes"
_PHOTO = Path(__file__).parents[2] / "docs" / "chelsea.jpg"


@dataclass(frozen=True)
class Exported:
    """A file that was written, and the proof that it is right.

    layers: all layers, in topological order; `exposed` marks the graph outputs. parity: one row per graph output.
    picture: what the layers were compared on. notes: what had to be assumed or decided, a sentence each.
    """

    path: Path
    sha256: str
    size: int
    layers: tuple[Layer, ...]
    parity: tuple[Agreement, ...]
    metadata: Metadata
    picture: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Planned:
    """A layer, and the name its tensor had when torch's exporter was done, which is the name of an fx node."""

    layer: Layer
    before: str


def export_onnx(
    source: Source | nn.Module,
    path: str | os.PathLike[str],
    *,
    expose: str | Sequence[str] = "features",
    opset: int = DEFAULT_OPSET,
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

    source: from :func:`exporters.load_source`, or a module, which then needs `preprocess`.
    expose: ``features`` (every stack of maps larger than 1x1), ``all``, or layer names, as a list or with commas.
    image: picture for the comparison, anything `open_image` takes; default: the project's own photograph.
    preprocess, labels: instead of the source's. activation: what makes probabilities of the scores; default: softmax
    for K > 1, sigmoid for one score.
    training: what is known of the training, for the metadata.
    rename: module path -> layer name; the path stays as an alias.

    Raises UsageError (opset, size, labels), ExportError (not exportable as it is), LayerNotFound (expose), ParityError
    (a layer's values differ between torch and onnxruntime), OutputError (cannot be written).
    """
    origin = source_of(source, preprocess, labels)
    _check_request(origin.module, opset, origin.preprocess)
    if isinstance(image, str | os.PathLike):
        check_outputs({"-o": path}, {"the picture of the comparison": [image]})
    picture, photo, notes = _photograph(image)
    one = origin.preprocess.tensor(picture)
    with atomic_path(path) as temporary, evaluating(origin.module):
        # Two different pictures: torch takes a batch of one for a constant.
        batch = torch.from_numpy(np.concatenate([one, np.flip(one, axis=(2, 3))]))
        answer = check_answers(origin.module, batch)
        _check_labels(origin.labels, answer.value)
        model, program = _traced(origin.module, batch, opset)
        check_deterministic(program)
        finals, end = _keep_output(model, _output_names(program)[answer.index])
        ir.save(model, temporary, format="protobuf")
        planned = _plan(read_graph(temporary), program, finals, rename, origin.aliases)
        metadata = _metadata(
            origin, [p.layer for p in planned], opset, activation or end or _activation(answer.value), licence, training
        )
        tensors = {p.before: p.layer.tensor for p in planned} | finals
        _finish(model, planned, tensors, [x.tensor for x in _chosen(planned, expose)], metadata, rename)
        ir.save(model, temporary, format="protobuf")
        graph = read_graph(temporary)
        layers = find_layers(graph, metadata.layers)
        parity = _prove(graph, layers, tensors, program, one, {list(finals)[-1]: answer.value})
    said = tuple(note for note in (*origin.notes, answer.note, *notes) if note)
    return Exported(Path(path), graph.sha256, graph.size, layers, parity, metadata, photo, said)


def _check_request(module: nn.Module, opset: int, preprocess: Preprocess) -> None:
    if opset not in OPSETS:
        raise UsageError(f"opset {opset} cannot be written", f"choose {OPSETS[0]} to {OPSETS[-1]}")
    if preprocess.size is None:
        raise UsageError("the export needs the size of the input", "give --size, or a preprocess with a size")
    tensors = dict(module.named_parameters()) | dict(module.named_buffers())
    if elsewhere := [name for name, value in tensors.items() if value.device.type != "cpu"]:
        raise ExportError(f"{listing(elsewhere)} are not on the CPU", "call .cpu() on the network first")
    if odd := [n for n, v in tensors.items() if v.is_floating_point() and v.dtype != torch.float32]:
        raise ExportError(
            f"{listing(odd)} are not float32", "call .float() first; `inspector quantize` makes float16 and int8 files"
        )
    size = sum(value.nbytes for value in tensors.values())
    if size > MAX_BYTES:
        raise ExportError(
            f"the weights have {size / 1e9:.1f} GB, and one .onnx file ends at 2 GB", "export a smaller network"
        )


def _check_labels(labels: Sequence[str] | None, scores: torch.Tensor) -> None:
    classes = scores.shape[1] if scores.ndim == 2 else None
    if labels is not None and classes != len(labels):
        raise UsageError(
            f"the network gives {classes or tuple(scores.shape[1:])} scores and there are {len(labels)} labels",
            "give one label for each score",
        )


def _photograph(image: ImageSource | None) -> tuple[Any, str, tuple[str, ...]]:
    """(picture, what it is called, notes)."""
    if image is not None:
        name = Path(image).name if isinstance(image, str | os.PathLike) else "the picture given"
        return open_image(image), name, ()
    if _PHOTO.is_file():
        return open_image(_PHOTO), _PHOTO.name, ()
    note = "no photograph was given or installed: the layers were compared on a synthetic picture"
    return open_image(synthetic_picture()), "synthetic", (note,)


def synthetic_picture(size: int = 512, seed: int = 0) -> NDArray[np.uint8]:
    """uint8 (size, size, 3) with the power spectrum of photographs, 1/f in amplitude, and correlated colours."""
    rng = np.random.default_rng(seed)
    fy, fx = np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None, :]
    fall = 1 / np.maximum(np.hypot(fy, fx), 1 / size)
    planes = [np.fft.irfft2(fall * np.fft.rfft2(rng.standard_normal((size, size))), s=(size, size)) for _ in range(4)]
    color = np.stack([planes[0] + 0.3 * plane for plane in planes[1:]], axis=-1)
    color = (color - color.mean()) / color.std()
    pixels: NDArray[np.uint8] = np.rint(128 + 52 * color).clip(0, 255).astype(np.uint8)
    return pixels


def _traced(module: nn.Module, batch: torch.Tensor, opset: int) -> tuple[ir.Model, torch.export.ExportedProgram]:
    """The network as an ONNX graph, and the torch program that this graph was written from."""
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


def _output_names(program: torch.export.ExportedProgram) -> list[str | None]:
    """The fx node of each leaf of what forward returns, in the order of the tree; None where it is no tensor."""
    return [
        getattr(spec.arg, "name", None)
        for spec in program.graph_signature.output_specs
        if spec.kind == torch.export.graph_signature.OutputKind.USER_OUTPUT
    ]


def _keep_output(model: ir.Model, name: str | None) -> tuple[dict[str, str], Activation | None]:
    """Makes the scores the first graph output and removes all others: (output -> the name it will have, what follows).

    A softmax or sigmoid at the end stays, as the second output; the scores are what goes into it.
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


def _activation(scores: torch.Tensor) -> Activation:
    if scores.ndim != 2:
        return "none"
    return "sigmoid" if scores.shape[1] == 1 else "softmax"


# --- layers -----------------------------------------------------------------------------------------------------------


def _plan(
    graph: Graph,
    program: torch.export.ExportedProgram,
    finals: Mapping[str, str],
    rename: Callable[[str], str] | None,
    aliases: Mapping[str, Sequence[str]],
) -> list[_Planned]:
    """The layers of the graph as torch wrote it, each with a value in torch, under the names they will have."""
    found = _matched(graph, program)
    taken = {INPUT, *finals.values()}
    names = _renamed([layer.name for layer in found], rename)
    planned: list[_Planned] = []
    claimed = set(names)  # a name that another layer has belongs to that layer alone, an alias to the last
    for layer, name in reversed(list(zip(found, names, strict=True))):
        tensor = finals.get(layer.tensor) or (name if name not in taken else f"{name}.tensor")
        others = (layer.name, *layer.aliases, *aliases.get(layer.name, ()), *aliases.get(name, ()))
        if rename is not None:
            others = (*others, *(rename(alias) for alias in layer.aliases))
        kept = tuple(alias for alias in dict.fromkeys(others) if alias not in claimed)
        claimed.update(kept)
        planned.append(_Planned(replace(layer, name=name, tensor=tensor, aliases=kept), layer.tensor))
    return planned[::-1]


def _matched(graph: Graph, program: torch.export.ExportedProgram) -> list[Layer]:
    """The layers whose tensor is the value of an fx node.

    Some operators of torch become several nodes of ONNX (a group norm: reshape, instance norm, multiply, add). What is
    found inside one is moved to the operator's result, or left out when the result is a layer already.
    """
    nodes = {node.name: node for node in program.graph.nodes}
    layers = find_layers(graph)
    taken = {layer.tensor for layer in layers}
    matched: list[Layer] = []
    for layer in layers:
        if layer.tensor in nodes:
            matched.append(layer)
            continue
        operator = _fx_name(graph, layer.tensor)
        if operator not in nodes:
            raise ExportError(f"layer {layer.name!r} of the exported graph has no counterpart in torch")
        if operator in taken or operator not in graph.producer_of:
            continue
        taken.add(operator)
        shape = tuple(n if isinstance(n, int) else BATCH for n in nodes[operator].meta["val"].shape)
        matched.append(replace(layer, tensor=operator, shape=shape))
    return sorted(matched, key=lambda layer: graph.producer_of[layer.tensor])


def _fx_name(graph: Graph, tensor: str) -> str:
    """The fx node that the ONNX node making `tensor` was written for; empty when it does not say."""
    node = graph.nodes[graph.producer_of[tensor]]
    for entry in node.metadata_props:
        if entry.key == _SCOPES:
            scopes = ast.literal_eval(entry.value)
            return str(scopes[-1]) if scopes else ""
    return ""


def _renamed(names: Sequence[str], rename: Callable[[str], str] | None) -> list[str]:
    """New names, as unique as the old; where two would meet, the later keeps its own."""
    if rename is None:
        return list(names)
    taken: set[str] = set()
    result = []
    for name in names:
        new = rename(name)
        new = name if new in taken else new
        taken.add(new)
        result.append(new)
    if len(taken) != len(names):
        raise ExportError("the new layer names are not unique")
    return result


def _is_maps(layer: Layer) -> bool:
    """Whether it is (N, C, H, W) of a picture; the attention of tokens to tokens only looks like it."""
    return layer.kind != "softmax" and layer.shape is not None and len(layer.shape) == 4 and layer.spatial


def _chosen(planned: Sequence[_Planned], expose: str | Sequence[str]) -> list[Layer]:
    """The layers to expose, in topological order."""
    layers = [p.layer for p in planned]
    if expose == "all":
        return list(layers)
    if expose == "features":
        features = [layer for layer in layers if _is_maps(layer)]
        if not features:
            raise ExportError(
                f"none of the {len(layers)} layers holds maps larger than 1x1", "use --expose all, or name layers"
            )
        return features
    names = expose.split(",") if isinstance(expose, str) else expose
    wanted = {find_layer(layers, name).name for name in names if name.strip()}
    if not wanted:
        raise UsageError("no layer was named to be exposed", "use --expose features, all, or NAME,NAME")
    return [layer for layer in layers if layer.name in wanted]


# --- the file ---------------------------------------------------------------------------------------------------------


def _finish(
    model: ir.Model,
    planned: Sequence[_Planned],
    tensors: Mapping[str, str],
    exposed: Iterable[str],
    metadata: Metadata,
    rename: Callable[[str], str] | None,
) -> None:
    """Renames, exposes, strips and annotates the model in place. tensors: name as it is -> name to be."""
    graph = model.graph
    values = {v.name: v for v in _values(model)}
    wanted = {values[before]: after for before, after in tensors.items()}
    new_names = set(wanted.values())
    for value in values.values():
        if value not in wanted and value.name in new_names:
            value.name = f"{value.name}.value"
    for value in wanted:
        value.name = f"\0{value.name}"  # out of the way first, since old and new names overlap
    for value, name in wanted.items():
        value.name = name
    for p in planned:
        node = values[p.before].producer()
        assert node is not None
        node.name = p.layer.name
    if rename is not None:
        for value in list(graph.initializers.values()):
            assert value.name is not None
            name = rename(value.name)
            if name not in graph.initializers and name not in new_names:
                value.name = name
    by_name = {value.name: value for value in wanted}
    present = set(graph.outputs)
    graph.outputs.extend(by_name[name] for name in exposed if by_name[name] not in present)
    _strip(model)
    model.metadata_props[KEY] = metadata.dumps()


def _values(model: ir.Model) -> Iterable[ir.Value]:
    yield from model.graph.inputs
    yield from model.graph.initializers.values()
    for node in model.graph.all_nodes():
        yield from node.outputs


def _strip(model: ir.Model) -> None:
    """Nothing of the exporting machine stays: torch notes paths and source lines on nodes, values and graphs."""
    model.metadata_props.clear()
    model.doc_string = None
    for graph in model.graphs():
        graph.metadata_props.clear()
        graph.doc_string = None
        for value in (*graph.inputs, *graph.initializers.values(), *graph.outputs):
            _strip_value(value)
        for node in graph:
            node.metadata_props.clear()
            node.doc_string = None
            for value in node.outputs:
                _strip_value(value)


def _strip_value(value: ir.Value) -> None:
    value.metadata_props.clear()
    value.doc_string = None
    if value.const_value is not None:
        value.const_value.metadata_props.clear()
        value.const_value.doc_string = None


def _metadata(
    origin: Source,
    layers: Sequence[Layer],
    opset: int,
    activation: Activation,
    licence: str | None,
    training: Mapping[str, Any] | None,
) -> Metadata:
    versions = {"inspector": inspector.__version__, "opset": str(opset), "torch": torch.__version__}
    library = origin.provenance.get("library")
    for package in ("onnxscript", *([library] if isinstance(library, str) else [])):
        with suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return Metadata(
        preprocess=origin.preprocess,
        labels=origin.labels,
        layers=tuple(LayerEntry(x.name, x.tensor, x.kind, x.aliases) for x in layers),
        cam_layer=next((x.name for x in reversed(layers) if _is_maps(x) and x.kind != "pool"), None),
        output=LOGITS,
        activation=activation,
        source=dict(origin.provenance),
        training=dict(training or {}),
        licence=licence or origin.licence,
        versions=versions,
    )


# --- the proof --------------------------------------------------------------------------------------------------------


def _prove(
    graph: Graph,
    layers: Sequence[Layer],
    tensors: Mapping[str, str],
    program: torch.export.ExportedProgram,
    picture: NDArray[Any],
    own: Mapping[str, torch.Tensor],
) -> tuple[Agreement, ...]:
    """Every output of the written file against torch on one picture, in topological order.

    tensors: fx node -> tensor of the file. own: fx node -> what the network itself gives there for the picture.
    """
    node_of = {after: before for before, after in tensors.items()}
    name_of = {x.tensor: x.name for x in layers}
    ours = torch_values(program, torch.from_numpy(picture), [node_of[name] for name in graph.outputs])
    if unmatched := [name_of.get(name, name) for name in graph.outputs if node_of[name] not in ours]:
        raise ParityError(f"there is no value in torch to compare with for {listing(unmatched)}")
    for node, value in own.items():
        _check_interpreter(ours[node], value)
    theirs = onnx_values(graph.path, picture, graph.outputs)
    ordered = sorted(graph.outputs, key=graph.producer_of.__getitem__)
    return compare(
        {name_of.get(name, name): ours[node_of[name]] for name in ordered},
        {name_of.get(name, name): theirs[name] for name in ordered},
    )


def _check_interpreter(scores: NDArray[Any], eager: torch.Tensor) -> None:
    """The exported program must be the network before it can stand for it."""
    expected = eager.numpy()
    limit = 1e-4 * float(np.abs(np.nan_to_num(expected)).max()) + 1e-12
    if scores.shape != expected.shape or not np.allclose(scores, expected, rtol=0, atol=limit, equal_nan=True):
        raise ExportError(
            "the program that torch exports does not give the network's own scores",
            "forward may depend on values or on state that torch.export does not see",
        )
