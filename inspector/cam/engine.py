"""One prepared method on one model: sessions, weights and the twin are made once, and maps are cheap after that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from inspector.cam.areas import USUAL_AREAS, AreaExplained, choose_areas, find_areas, labels_pixels
from inspector.cam.assemble import MapMaker, make_result
from inspector.cam.choose import choose_cam_layers, names_of
from inspector.cam.context import MethodContext
from inspector.cam.faithfulness import Region
from inspector.cam.gradients import GradientSource, NumpyGradient, TwinGradient
from inspector.cam.method import Method
from inspector.cam.methods import METHODS, find_method
from inspector.cam.noise import change_last_bits, measure_noise
from inspector.cam.quantized import Quantization, find_quantization
from inspector.cam.rerun import Reruns
from inspector.cam.result import CamResult, fuse_maps
from inspector.cam.target import Explained, Target, choose_targets, find_output
from inspector.errors import MissingExtra, NotComputable, UsageError, listing
from inspector.extras import install_command
from inspector.image import Box, ImageSource, open_image
from inspector.layers import Layer, LayerNames, TokenGrid, find_token_grid, move_channels_first
from inspector.model import Model
from inspector.reverse.head import Head

Array = NDArray[Any]
Backend = Literal["auto", "onnx", "twin"]
Classes = str | int | Sequence[str | int]


def prepare(
    model: Model,
    method: str = "gradcam",
    layer: LayerNames | None = None,
    backend: str = "auto",
    output: str | None = None,
    region: Region | None = None,
) -> CamEngine:
    """A method made ready for the classes, or for one output; see `class_activation_maps` for the arguments.

    Example:
        >>> engine = prepare(model, "gradcam")
        >>> for path in ["docs/chelsea.jpg"]:
        ...     [best] = engine.maps(path)
        >>> best.target.label
        'Egyptian cat'
    """
    chosen = find_method(method)
    if chosen.needs == "detections":
        raise NotComputable(f"{chosen.name} explains the boxes of a detector", "gradcam explains classes")
    if backend not in ("auto", "onnx", "twin"):
        raise UsageError(f"there is no backend {backend!r}", "known: auto, onnx, twin")
    areas = output is None and labels_pixels(model)
    explained = find_areas(model, region) if areas else find_output(model, output)
    layers, heads, reason = choose_cam_layers(
        model, explained.tensor, None if layer is None else names_of(model, layer)
    )
    sources, used, how = _sources(model, chosen, layers, heads, backend)
    return CamEngine(model, chosen, explained, layers, heads, sources, used, f"{reason}; {how}" if how else reason)


def _sources(
    model: Model, method: Method, layers: Sequence[Layer], heads: Sequence[Head], backend: str
) -> tuple[tuple[GradientSource | None, ...], Literal["onnx", "twin"], str]:
    """(a gradient for each layer or None where none is needed, the backend they make, where they come from)."""
    if method.linear_head and not all(head.linear for head in heads):
        bad = next(head for head in heads if not head.linear)
        raise NotComputable(
            f"{method.name} needs a head that is linear after the layer; after {_name_of(bad, layers, heads)!r} comes "
            f"{listing(list(dict.fromkeys(bad.operators)), 6)}",
            "gradcam and hirescam work with any head",
        )
    if method.needs == "activation":
        return (None,) * len(heads), "onnx", "no gradient needed"
    if method.needs == "runs":
        # A gradient is only used where the head is linear, instead of runs.
        if method.whole_network:
            return (None,) * len(heads), "onnx", "runs of the masked input"
        how = "closed form: the head is linear" if all(head.linear for head in heads) else "runs of the head"
        return tuple(NumpyGradient(head) if head.linear else None for head in heads), "onnx", how
    unknown = list(dict.fromkeys(op for head in heads for op in head.unknown))
    if backend == "onnx" and unknown:
        raise NotComputable(
            f"{method.name} at {_join_names(layers)} needs the gradient of {listing(unknown)}, which only the twin has",
            "use backend auto or twin (extra torch), or without it " + _without_torch(model, method, layers),
        )
    if backend == "onnx" or (backend == "auto" and not unknown):
        how = "gradient in closed form: the head is linear" if all(h.linear for h in heads) else "gradient in numpy"
        if any(head.straight for head in heads):
            how = "gradient in numpy, straight through the quantisation"
        return tuple(NumpyGradient(head) for head in heads), "onnx", how
    try:
        sources = tuple(TwinGradient(head, model.input.name, model.provider) for head in heads)
        return sources, "twin", "gradient by the torch twin"
    except MissingExtra:
        why = f"the gradient of {listing(unknown)}" if unknown else "torch, since backend twin was asked for"
        other = (
            _without_torch(model, method, layers) if unknown else f"backend auto computes {method.name} here in numpy"
        )
        raise MissingExtra(
            f"{method.name} at {_join_names(layers)} needs {why}, and torch is not installed",
            f"{install_command('torch')}; without it {other}",
        ) from None


def _join_names(layers: Sequence[Layer]) -> str:
    return " + ".join(layer.name for layer in layers)


def _name_of(head: Head, layers: Sequence[Layer], heads: Sequence[Head]) -> str:
    return next(layer.name for layer, h in zip(layers, heads, strict=True) if h is head)


def _without_torch(model: Model, method: Method, layers: Sequence[Layer]) -> str:
    """What works on this model without torch, as the end of a sentence."""
    same = [m.name for m in METHODS.values() if m.needs in ("activation", "runs")]
    text = f"{', '.join(same)} work at this layer"
    if model.classifier is not None:
        try:
            found, heads, _ = choose_cam_layers(model, model.classifier.scores, None)
        except NotComputable:
            return text
        if heads[0].differentiable and found[0] not in layers:
            text += f", and {method.name} at {found[0].name}"
    return text


@dataclass
class CamEngine:
    """A method made ready by :func:`prepare`; not for several threads at once.

    Attributes:
        layers: The layers looked at.
        backend: ``onnx`` or ``twin``.
        reason: Why these layers, and whence the gradients.
    """

    model: Model
    method: Method
    explained: Explained = field(repr=False)
    layers: tuple[Layer, ...]
    heads: tuple[Head, ...] = field(repr=False)
    sources: tuple[GradientSource | None, ...] = field(repr=False)
    backend: Literal["onnx", "twin"]
    reason: str
    _fetch: tuple[str, ...] = field(init=False, repr=False)
    _reruns: Reruns = field(init=False, repr=False)
    _weights_read: bool = field(init=False, repr=False, default=False)

    def __post_init__(self) -> None:
        names: dict[str, None] = {head.layer: None for head in self.heads}
        for head, source in zip(self.heads, self.sources, strict=True):
            names.update(dict.fromkeys(source.needed if source is not None else ()))
            if self.method.needs == "runs" and source is None and not self.method.whole_network:
                names.update(dict.fromkeys(head.siblings))
        names[self.explained.tensor] = None
        if self._own is not None:
            names[self._own] = None
        names.pop(self.model.input.name, None)
        self._fetch = tuple(names)
        self._reruns = Reruns(self.model)

    @property
    def _own(self) -> str | None:
        """The tensor with the file's own probabilities of the classes that are explained."""
        classifier = self.model.classifier
        return classifier.probabilities if classifier is not None and self.explained.classifier else None

    def maps(
        self, image: ImageSource | Array, classes: Classes | None = None, top: int | None = None
    ) -> list[CamResult]:
        """The maps of one picture; see :func:`class_activation_maps`. One run of the network serves them all."""
        # A broken network may hold NaN and infinities: its map is then empty, which is said once and in order.
        usual = USUAL_AREAS if isinstance(self.explained, AreaExplained) else 1
        with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
            targets, contexts, box, size = self._contexts(image, classes, usual if top is None else top)
            raws = [self.method.maps(context) for context in contexts]
            noises = [measure_noise(self.method, *pair) for pair in zip(contexts, raws, strict=True)]
        maker = MapMaker(self.method.name, tuple(layer.name for layer in self.layers), self.backend, self.reason)
        fused = [fuse_maps([m[t] for m in raws], [noise[t] for noise in noises]) for t in range(len(targets))]
        return [make_result(t.about, maker, one, box, size) for t, one in zip(targets, fused, strict=True)]

    def relevance(
        self, image: ImageSource | Array, classes: Classes | None = None, top: int = 1
    ) -> list[NDArray[np.float32]]:
        """What every channel of the first layer adds to the score of each class: float32 (C,) for each.

        The gradient times the activation, summed over the map; where the head is linear these add up to the score but
        for its constant part.

        Raises:
            NotComputable: For a method that was prepared without gradients.
        """
        if self.sources[0] is None:
            raise NotComputable(f"{self.method.name} works without gradients", "prepare gradcam or hirescam")
        with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
            targets, (context, *_), _, _ = self._contexts(image, classes, top)
            found = [
                (context.gradient(target) * context.activation).sum(axis=(1, 2), dtype=np.float64) for target in targets
            ]
        return [values.astype(np.float32) for values in found]

    def _contexts(
        self, image: ImageSource | Array, classes: Classes | None, top: int
    ) -> tuple[list[Target], list[MethodContext], Box, tuple[int, int]]:
        """(what is explained, the context of each layer, the part of the picture that is seen, the picture's size)."""
        if top < 1:
            raise UsageError(f"top {top} is less than 1")
        wanted = [classes] if isinstance(classes, str | int) else list(classes) if classes is not None else []
        tensor, size, box = self._tensor(image)
        # A graph that was traced with several pictures has their number in its constants: its values stay as many.
        tensor = _first(tensor, self.model)
        values = self.model.run(tensor, self._fetch)
        values[self.model.input.name] = tensor
        self._read_weights(tensor)
        output = values[self.explained.tensor]
        output = output[:1] if self.model.input.batch else output
        if isinstance(self.explained, AreaExplained):
            targets = choose_areas(self.model, self.explained, output, wanted, top, box, size)
        else:
            own = values[self._own] if self._own is not None else None
            if own is not None and (own.ndim > 1 or self.model.input.batch != 1):  # (K,) are those of one picture
                own = own[:1]
            targets = choose_targets(self.model, self.explained, output, wanted, top, own)
        contexts = [
            self._context(layer, head, source, targets, values)
            for layer, head, source in zip(self.layers, self.heads, self.sources, strict=True)
        ]
        return targets, contexts, box, size

    def _tensor(self, image: ImageSource | Array) -> tuple[Array, tuple[int, int], Box]:
        """(input tensor, (width, height) of the picture, the part of it that the tensor covers)."""
        if isinstance(image, np.ndarray) and image.ndim == 4:
            if len(image) != 1:
                raise UsageError(
                    f"an input tensor of shape {image.shape} holds {len(image)} pictures", "give one at a time"
                )
            height, width = self._sides(image)
            return image, (width, height), (0.0, 0.0, float(width), float(height))
        picture = open_image(image, warn=self.model.warn)
        return self.model.preprocess.tensor(picture), picture.size, self.model.preprocess.box(picture.size)

    def _sides(self, tensor: Array) -> tuple[int, int]:
        """(H, W) of an input tensor."""
        sides = tensor.shape[1:3] if self.model.input.layout == "NHWC" else tensor.shape[2:4]
        return (int(sides[0]), int(sides[1]))

    def _read_weights(self, tensor: Array) -> None:
        """The constants of the heads: mapped from the file, or worked out once where the graph computes them."""
        if self._weights_read:
            return
        graph = self.model.graph
        for head, source in zip(self.heads, self.sources, strict=True):
            if isinstance(source, NumpyGradient):
                made = [name for name in head.weights if name not in graph.initializers]
                computed = self.model.sessions.run({self.model.input.name: tensor}, made) if made else {}
                for name in head.weights:
                    value = computed[name] if name in computed else graph.weight(name)
                    rounded = (value.dtype.kind == "f" and value.dtype.itemsize == 2) or value.dtype.name == "bfloat16"
                    source.constants[name] = value.astype(np.float32) if rounded else value
        self._weights_read = True

    def _context(
        self,
        layer: Layer,
        head: Head,
        source: GradientSource | None,
        targets: Sequence[Target],
        values: dict[str, Array],
        rng: np.random.Generator | None = None,
    ) -> MethodContext:
        """What the method may ask about one layer; with a generator, as other roundings would have it."""
        own = values[head.layer]
        if not own.size:
            raise _no_maps(layer, own.shape)
        stored = find_quantization(self.model.graph, head.layer) if own.dtype.kind in "iu" else Quantization()
        pictures = len(values[self.model.input.name])
        grid = find_token_grid(self.model.layers, layer)
        activation = _first_maps(move_channels_first(stored.to_real(own), layer, pictures), grid)
        if activation.ndim != 3 or activation.shape[1] * activation.shape[2] < 2:
            raise _no_maps(layer, activation.shape)
        opened = source.open(values, rng) if source is not None else None
        kept: dict[int, Array] = {}

        def gradient(target: Target) -> Array:
            if opened is None:
                raise AssertionError(f"{self.method.name} was prepared without gradients")
            if id(target) in kept:
                return kept[id(target)]
            found = _first_maps(move_channels_first(opened(target), layer, pictures), grid)
            found = found if stored.scale == 1 else found / np.float32(stored.scale)
            if len(targets) == 1:  # its rounding is going to be looked at; of many targets none is kept
                kept[id(target)] = found
            return found

        output = values[self.explained.tensor]
        return MethodContext(
            activation=activation,
            targets=tuple(targets),
            scores=np.array([t.score(output)[0] for t in targets]),
            size=self._sides(values[self.model.input.name]),
            linear=head.linear,
            gradient=gradient,
            head_scores=lambda blocks: self._reruns.head_scores(layer, head, targets, values, blocks),
            masked_scores=lambda blocks: self._reruns.masked_scores(
                self.explained.tensor, targets, values[self.model.input.name], blocks
            ),
            reach=float(np.abs(output.astype(np.float64)).max(initial=0)),
            repeat=lambda rng: self._context(layer, head, source, targets, change_last_bits(values, rng), rng),
        )


def _no_maps(layer: Layer, shape: tuple[int, ...]) -> NotComputable:
    return NotComputable(
        f"layer {layer.name!r} has no maps on this picture: its shape is {shape}", "choose a layer before it"
    )


def _first(tensor: Array, model: Model) -> Array:
    """The tensor with as many copies as a fixed batch wants."""
    return tensor if not model.input.batch else np.repeat(tensor[:1], model.input.batch, axis=0)


def _first_maps(values: Array, grid: TokenGrid | None) -> Array:
    """(N, C, ...) -> those of the first picture, (C, h, w) where it has maps or tokens."""
    return values[0] if grid is None else grid.to_maps(values[0].reshape(len(values[0]), -1))
