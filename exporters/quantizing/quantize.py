"""Smaller variants of an .onnx file: int8 by calibration on pictures, or fp16. Needs no torch.

    >>> from exporters.quantizing.quantize import quantise_model
    >>> made = quantise_model("model.onnx", "model.int8.onnx", "photographs")
    >>> made.bytes_before / made.bytes_after, made.agreement
    (3.7, 0.985)

int8 is static and in ONNX's QDQ form, which any runtime reads: weights int8, symmetric, one scale per output channel;
activations uint8 with a zero point, one scale per tensor, by calibration; biases int32; scores float. The arithmetic
is that of Jacob et al. 2018 (arXiv:1712.05877), the ranges fit the values seen on the calibration pictures, and
the shift of the mean that rounding the weights causes is taken from the biases (Nagel et al. 2019, arXiv:1906.04721,
section 4.2).

Names are what onnxruntime's own tool does not keep: it removes activations and renames what it touches. Here a tensor
keeps its name (it is then the dequantised value), so that layers, class activation maps and audits work as before.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto

from exporters.quantizing.qdq import (
    WEIGHTED,
    Network,
    Plan,
    QuantiseError,
    answer_of,
    assembled,
    plan_integers,
    read_network,
    typed_output,
)
from inspector import __version__
from inspector.compare import SignalToNoise, signal_to_noise
from inspector.errors import ImageError, UsageError, listing
from inspector.files import atomic_path
from inspector.graph import infer_types, node_inputs
from inspector.image import find_images, open_image
from inspector.layers import Layer
from inspector.metadata import KEY, LayerEntry
from inspector.model import Model, open_model

Array = NDArray[Any]
To = Literal["int8", "fp16"]
Expose = Literal["free", "all", "none"]
Note = Callable[[str], None]

PICTURES = 200
"""Calibration pictures used at most, evenly spread over the folder."""

DRIFT_PICTURES = 24
"""Pictures on which every layer is compared."""

_SENSITIVITY_PICTURES = 8


@dataclass(frozen=True)
class LayerDrift:
    """What one layer lost. sqnr_db: 10 log10(sum a^2 / sum (a - b)^2), a float and b quantised, in [-100, 100].
    worst_channel, worst_channel_db: of the channels with at least 1 % of the layer's mean power."""

    layer: str
    sqnr_db: float
    worst_channel: int
    worst_channel_db: float


@dataclass(frozen=True)
class Quantised:
    """A file that was written, and what it cost.

    drift: by layer, in topological order. agreement: share of the calibration pictures whose top class is that of the
    source; None for a model without a classification output. flipped: the others. kept: layers left in float.
    latency_ratio: median time of a prediction over that of the source, run in turn. exposed: layers that are outputs.
    notes: what did not come out as it was asked for, a sentence each.
    """

    path: Path
    sha256: str
    to: str
    bytes_before: int
    bytes_after: int
    drift: tuple[LayerDrift, ...]
    agreement: float | None
    flipped: tuple[str, ...]
    kept: tuple[str, ...]
    pictures: int
    latency_ratio: float
    exposed: int
    notes: tuple[str, ...] = ()


def quantise_model(
    model: str | os.PathLike[str] | Model,
    path: str | os.PathLike[str],
    calibrate: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    to: To | str = "int8",
    keep: Sequence[str] = (),
    auto: bool = False,
    target: float = 0.95,
    expose: Expose | str = "free",
    reduce_range: bool = False,
    pictures: int = PICTURES,
    provider: str = "auto",
    threads: int | None = None,
    note: Note | None = None,
) -> Quantised:
    """Write a quantised copy of a model, measured against it, or write nothing.

    calibrate: a folder of pictures, or their paths; fp16 only measures on them. keep: layers that stay in float.
    auto: keep more of them, those that hurt most first, until the agreement of the top class reaches `target`.
    expose: which of the layers that the source exposes the copy exposes: ``free``, those that cost no speed (not what
    lies between a convolution and its activation), ``all``, ``none``. Every layer can be looked at in any case.
    reduce_range: 7 bits for weights, for x86 machines without VNNI, whose int8 sums saturate.
    note: gets a line on what is being done.

    Raises UsageError, LayerNotFound, ImageError (no pictures), ModelError, OutputError, QuantiseError (nothing to
    quantise, an operator set that cannot be raised to 13, a target that was not reached).
    """
    say = note or (lambda line: None)
    if to not in ("int8", "fp16"):
        raise UsageError(f"there is no format {to!r}", "known: int8, fp16")
    if expose not in ("free", "all", "none"):
        raise UsageError(f"there is no way {expose!r} to expose layers", "known: free, all, none")
    if auto and to != "int8":
        raise UsageError("--auto chooses layers of an int8 network", "leave it out for fp16")
    if keep and to != "int8":
        raise UsageError("--keep chooses layers of an int8 network", "leave it out for fp16")
    if not 0 < target <= 1:
        raise UsageError(f"target {target} is not above 0 and at most 1")
    source = model if isinstance(model, Model) else open_model(model, provider=provider, threads=threads)
    if Path(path).resolve() == source.path.resolve():
        raise UsageError(f"{path} is the model itself", "give another file to -o")
    paths, skipped = _readable(_paths(calibrate, pictures))
    inputs = _Pictures(source, paths)
    kept = tuple(source.layer(name).name for name in keep)
    network = read_network(source)
    expected = inputs.answers(source)
    with tempfile.TemporaryDirectory() as folder:
        trial = _Trial(source, network, inputs, expected, Path(folder) / "trial.onnx", expose, provider, threads)
        if to == "fp16":
            proto = _half(network)
        else:
            plan = plan_integers(source, network, inputs.tensors(), len(inputs.paths), reduce_range)
            if auto:
                kept = _choose_kept(trial, plan, kept, target, say)
            proto = plan.build(plan.nodes_of(kept))
        finished = _finished(source, proto, to, expose, kept, len(inputs.paths))
        quantised = trial.opened(finished)
        result = _measured(source, quantised, inputs, expected, to, kept)
        with atomic_path(path) as temporary:
            temporary.write_bytes(finished.SerializeToString())
    notes = skipped
    if auto and result.agreement is not None and result.agreement < target:
        # The trials expose no layers, and what a file exposes changes how the runtime fuses and rounds.
        notes += (
            f"the written file agrees on {result.agreement:.1%} of the pictures, less than the {target:.1%} that its "
            "trial without exposed layers reached; give --expose none, or a higher --target",
        )
    return replace(result, path=Path(path), notes=notes)


# --- pictures ---------------------------------------------------------------------------------------------------------


def _paths(given: str | os.PathLike[str] | Sequence[str | os.PathLike[str]], limit: int) -> list[Path]:
    from inspector.audit.pictures import spread

    if limit < 1:
        raise UsageError(f"{limit} pictures are too few")
    if isinstance(given, str | os.PathLike):
        folder = Path(given)
        if not folder.is_dir():
            what = "is not a folder" if folder.exists() else "does not exist"
            raise ImageError(f"the calibration folder {folder} {what}", "give --calibrate a folder of pictures")
        found = find_images(folder)
        if not found:
            raise ImageError(f"the folder {folder} holds no pictures", "known: JPEG, PNG, WebP, BMP, TIFF")
    else:
        found = [Path(path) for path in given]
        if not found:
            raise ImageError("no calibration pictures were given")
    return [found[i] for i in spread(len(found), limit)]


def _readable(paths: Sequence[Path]) -> tuple[list[Path], tuple[str, ...]]:
    """The pictures that can be opened, and a sentence on each of the others. Raises ImageError when none can."""
    good: list[Path] = []
    bad: list[ImageError] = []
    for path in paths:
        try:
            open_image(path)
        except ImageError as error:
            bad.append(error)
        else:
            good.append(path)
    if not good:
        raise bad[0] if len(bad) == 1 else ImageError(f"none of {len(bad)} pictures could be read; the first: {bad[0]}")
    return good, tuple(f"skipped: {error.message}" for error in bad)


class _Pictures:
    """The calibration pictures, read again for every walk, so that memory does not grow with their number."""

    def __init__(self, model: Model, paths: list[Path]) -> None:
        self.model = model
        self.paths = paths

    def tensors(self, count: int = 0) -> Iterator[Array]:
        """Input tensors (1, ...) of `count` pictures, evenly spread; of all for 0."""
        from inspector.audit.pictures import spread

        for i in spread(len(self.paths), count):
            yield self.model.preprocess.tensor(open_image(self.paths[i]))

    def answers(self, model: Model) -> list[int] | None:
        """The top class of each picture; None without a classification output."""
        if model.classifier is None:
            return None
        return [model.top(model.scores(tensor)[0], 1)[0].index for tensor in self.tensors()]


# --- int8: what to keep -----------------------------------------------------------------------------------------------


@dataclass
class _Trial:
    """Opens networks that are being tried, through one file."""

    source: Model
    network: Network
    inputs: _Pictures
    expected: list[int] | None
    path: Path
    expose: str
    provider: str
    threads: int | None

    def opened(self, proto: onnx.ModelProto) -> Model:
        """The network as a model of its own."""
        self.path.unlink(missing_ok=True)
        self.path.write_bytes(proto.SerializeToString())
        return open_model(self.path, provider=self.provider, threads=self.threads)

    def agreement(self, proto: onnx.ModelProto) -> float:
        """Share of the pictures with the source's top class."""
        assert self.expected is not None
        answers = self.inputs.answers(self.opened(_finished(self.source, proto, "int8", "none", (), 0)))
        assert answers is not None
        return float(np.mean([a == b for a, b in zip(answers, self.expected, strict=True)]))


def _choose_kept(trial: _Trial, plan: Plan, kept: tuple[str, ...], target: float, say: Note) -> tuple[str, ...]:
    """The fewest layers, worst first, that bring the agreement to the target."""
    if trial.expected is None:
        raise QuantiseError(f"{trial.source.path} has no classification output, so there is no agreement to reach")
    found = trial.agreement(plan.build(plan.nodes_of(kept)))
    say(f"plain int8: {found:.1%} of {len(trial.expected)} pictures agree")
    if found >= target:
        return kept
    order = [name for name in _by_harm(trial, plan, kept) if name not in kept]
    low, high, reached = 0, 1, False
    while not reached:
        high = min(high, len(order))
        found = trial.agreement(plan.build(plan.nodes_of((*kept, *order[:high]))))
        say(f"{high} layers in float: {found:.1%}")
        reached = found >= target
        if not reached and high == len(order):
            raise QuantiseError(
                f"the agreement reaches {found:.1%} and not {target:.1%}, even with every layer in float",
                "give a lower --target",
            )
        if not reached:
            low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        found = trial.agreement(plan.build(plan.nodes_of((*kept, *order[:middle]))))
        say(f"{middle} layers in float: {found:.1%}")
        low, high = (low, middle) if found >= target else (middle, high)
    return (*kept, *order[:high])


def _by_harm(trial: _Trial, plan: Plan, kept: tuple[str, ...]) -> list[str]:
    """Layers with weights, first the one whose return to float brings the scores nearest to the source's."""
    tensors = list(trial.inputs.tensors(_SENSITIVITY_PICTURES))
    expected = np.concatenate([trial.source.scores(tensor) for tensor in tensors])
    gain: dict[str, float] = {}
    for i, name in plan.layer_of.items():
        if plan.network.nodes[i].op_type not in WEIGHTED or name in kept or name in gain:
            continue
        proto = plan.build(plan.nodes_of((*kept, name)))
        model = trial.opened(_finished(trial.source, proto, "int8", "none", (), 0))
        gain[name] = signal_to_noise(expected, np.concatenate([model.scores(tensor) for tensor in tensors]))
    return sorted(gain, key=lambda name: -gain[name])


# --- fp16 -------------------------------------------------------------------------------------------------------------


def _half(network: Network) -> onnx.ModelProto:
    """The network in half precision, its input and scores in single; onnxruntime's own converter."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    proto = assembled(network, network.nodes, network.weights)
    named = {value.name for value in (*proto.graph.input, *proto.graph.output)}
    del proto.graph.value_info[:]
    proto.graph.value_info.extend({v.name: v for v in infer_types(proto) if v.name not in named}.values())
    converted: onnx.ModelProto = convert_float_to_float16(proto, keep_io_types=True, disable_shape_infer=True)
    del converted.graph.value_info[:]
    _sort(converted)
    return converted


def _sort(proto: onnx.ModelProto) -> None:
    """Brings each node behind what it reads, and leaves them as they are otherwise; the converter appends its casts."""
    nodes = list(proto.graph.node)
    maker = {name: i for i, node in enumerate(nodes) for name in node.output if name}
    readings = sum(len(node.input) for node in nodes)
    done: dict[int, None] = {}
    for start in range(len(nodes)):
        stack = [start]
        while stack:
            waiting = [maker[n] for n in node_inputs(nodes[stack[-1]]) if n in maker and maker[n] not in done]
            if waiting:
                stack += waiting
            else:
                done[stack.pop()] = None
            if len(stack) > readings + 1:
                raise QuantiseError("the converter made a graph with a circle in it", "use --to int8")
    copies = [NodeProto.FromString(nodes[i].SerializeToString()) for i in done]
    del proto.graph.node[:]
    proto.graph.node.extend(copies)


# --- the finished file ------------------------------------------------------------------------------------------------


def _finished(
    source: Model, proto: onnx.ModelProto, to: str, expose: str, kept: tuple[str, ...], pictures: int
) -> onnx.ModelProto:
    """The network with its exposed layers and its metadata."""
    final = onnx.ModelProto()
    final.CopyFrom(proto)
    made = {name: node for node in final.graph.node for name in node.output}
    layers = [layer for layer in source.layers if layer.tensor in made]
    if to == "fp16":
        _expose(final, source, [x for x in layers if x.exposed and expose != "none"], TensorProto.FLOAT16)
    else:
        inner = {node.input[0] for node in final.graph.node if node.op_type in ("Relu", "Clip")}
        chosen = [x for x in layers if x.exposed and (expose == "all" or (expose == "free" and x.tensor not in inner))]
        _expose(final, source, chosen)
    document = source.metadata.with_(
        layers=tuple(LayerEntry(x.name, x.tensor, x.kind, x.aliases) for x in layers),
        output=source.metadata.output or answer_of(source),
        activation=source.metadata.activation or (source.classifier.activation if source.classifier else None),
        source={
            **source.metadata.source,
            "quantised": {"to": to, "from": source.sha256, "float_layers": list(kept), "pictures": pictures},
        },
        versions={**source.metadata.versions, "inspector": __version__, "onnx": onnx.__version__},
    )
    del final.metadata_props[:]
    for key, value in {**source.graph.metadata, KEY: document.dumps()}.items():
        final.metadata_props.add(key=key, value=value)
    return final


def _expose(final: onnx.ModelProto, source: Model, layers: Sequence[Layer], dtype: int = TensorProto.FLOAT) -> None:
    there = {value.name for value in final.graph.output}
    for layer in layers:
        if layer.tensor not in there:
            output = typed_output(source, layer.tensor)
            output.type.tensor_type.elem_type = dtype
            final.graph.output.append(output)


# --- what it cost -----------------------------------------------------------------------------------------------------


def _measured(
    source: Model, quantised: Model, inputs: _Pictures, expected: list[int] | None, to: str, kept: tuple[str, ...]
) -> Quantised:
    there = {layer.name: layer for layer in quantised.layers}
    if lost := [layer.name for layer in source.layers if layer.name not in there]:
        raise QuantiseError(
            f"{len(lost)} layers are lost: {listing(lost)}", "this is a bug; give --to fp16 or report it"
        )
    sums = {layer.name: SignalToNoise() for layer in source.layers}
    for tensor in inputs.tensors(DRIFT_PICTURES):
        before, _ = source.layer_values(tensor)
        after, _ = quantised.layer_values(tensor)
        for name, found in sums.items():
            found.add(
                before[name][0].reshape(before[name].shape[1], -1), after[name][0].reshape(after[name].shape[1], -1)
            )
    answers = inputs.answers(quantised)
    pairs = list(zip(inputs.paths, expected or (), answers or (), strict=False))
    flipped = tuple(str(path) for path, a, b in pairs if a != b)
    drift = tuple(LayerDrift(name, found.layer_db, *found.worst_channel()) for name, found in sums.items())
    return Quantised(
        path=quantised.path,
        sha256=quantised.sha256,
        to=to,
        bytes_before=source.graph.size,
        bytes_after=quantised.graph.size,
        drift=drift,
        agreement=1 - len(flipped) / len(pairs) if pairs else None,
        flipped=flipped,
        kept=kept,
        pictures=len(inputs.paths),
        latency_ratio=_latency_ratio(source, quantised, next(inputs.tensors(1))),
        exposed=sum(layer.exposed for layer in quantised.layers),
    )


def _latency_ratio(source: Model, quantised: Model, tensor: Array, rounds: int = 15) -> float:
    """Median over rounds of the quantised time over the source's, each round one run of both."""
    wanted = [[m.classifier.scores if m.classifier else m.graph.outputs[0]] for m in (source, quantised)]

    def clock(model: Model, names: list[str]) -> float:
        begin = time.perf_counter()
        model.run(tensor, names)
        return time.perf_counter() - begin

    ratios = [clock(quantised, wanted[1]) / clock(source, wanted[0]) for _ in range(rounds + 3)]
    return float(np.median(ratios[3:]))
