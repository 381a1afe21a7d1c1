"""What is audited: the model, the pictures, the policy, and what it is compared with."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from inspector.audit.pictures import Entry, PictureSet
from inspector.audit.policy import Policy
from inspector.audit.result import NotChecked
from inspector.audit.table import Limits
from inspector.graph import Graph, attributes
from inspector.layers import Layer
from inspector.model import Model
from inspector.runtime import available_cores

if TYPE_CHECKING:
    from onnx import NodeProto
    from PIL.Image import Image

    from inspector.audit.snapshot import Snapshot

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Subject:
    """Everything a check may ask about. seed: of everything random in it.

    reference: another model, for drift and cost. snapshot: a saved one, for drift.
    digests: whether the pictures' digests are wanted. unreadable: pictures that could not be opened, and why.
    """

    model: Model
    policy: Policy
    pictures: PictureSet = field(default_factory=PictureSet)
    reference: Model | None = None
    snapshot: Snapshot | None = None
    seed: int = 0
    digests: bool = False
    unreadable: dict[str, str] = field(default_factory=dict)

    @property
    def graph(self) -> Graph:
        """The model's graph."""
        return self.model.graph

    def limits(self, id: str) -> Limits:
        """The settings of a check, for a probe that shares them."""
        return self.policy.rules[id].limits

    def random(self, *stream: int) -> np.random.Generator:
        """A generator that depends on the seed and on `stream` alone."""
        return np.random.default_rng([self.seed, *stream])

    def spread(self, function: Callable[[T], R], items: Sequence[T], sizes: Sequence[int]) -> list[R]:
        """The function of every item, in threads, for arithmetic that numpy does without the interpreter's lock.

        sizes: what each item costs. One share a thread, since handing over each of a hundred layers costs more than
        looking at most of them.
        """
        threads = min(self.model.threads or available_cores(), len(items))
        if threads < 2:
            return [function(item) for item in items]
        shares: list[list[int]] = [[] for _ in range(threads)]
        loads = [0] * threads
        for place in sorted(range(len(items)), key=lambda k: -sizes[k]):
            least = loads.index(min(loads))
            shares[least].append(place)
            loads[least] += sizes[place]
        found: dict[int, R] = {}

        def work(share: Sequence[int]) -> None:
            for place in share:
                found[place] = function(items[place])

        others = [self._pool.submit(work, share) for share in shares[1:]]
        work(shares[0])
        for other in others:
            other.result()
        return [found[place] for place in range(len(items))]

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self.model.threads or available_cores())

    def picture_size(self) -> tuple[int, int]:
        """(H, W) of a generated picture: what the network sees."""
        return self.model.preprocess.size or (224, 224)

    def plain_pictures(self) -> dict[str, NDArray[np.uint8]]:
        """Pictures that every network must bear: black, white and noise, uint8 (H, W, 3)."""
        shape = (*self.picture_size(), 3)
        return {
            "black": np.zeros(shape, np.uint8),
            "white": np.full(shape, 255, np.uint8),
            "noise": self.random(1).integers(0, 256, shape, dtype=np.uint8),
        }

    def tensors(self, count: int) -> Iterator[tuple[str, NDArray[Any]]]:
        """(name, input tensor) of `count` pictures, evenly spread; generated ones where none were given."""
        from inspector.errors import ImageError
        from inspector.image import open_image

        found = 0
        for index in self.pictures.sample(count) if self.pictures.entries else ():
            entry = self.pictures.entries[index]
            try:
                tensor = self.model.preprocess.tensor(open_image(entry.path))
            except ImageError:
                continue  # reported by its own check
            found += 1
            yield entry.shown, tensor
        for name, picture in list(self.plain_pictures().items())[::-1] if not found else ():
            yield name, self.model.tensor(picture)

    def need_classifier(self) -> None:
        """Raises NotChecked for a model without a classification output."""
        if self.model.classifier is None:
            raise NotChecked("the model has no classification output", applies=False)

    def need_labels(self) -> None:
        """Raises NotChecked where the pictures have no classes."""
        self.need_classifier()
        if not self.pictures.labelled:
            raise NotChecked(self.pictures.unlabelled)

    def need_pictures(self, count: int = 1) -> None:
        """Raises NotChecked where there are fewer pictures than `count`, those left out that could not be read."""
        if not self.pictures.entries:
            raise NotChecked(PictureSet().unlabelled)
        readable = len(self.pictures) - len(self.unreadable)
        if readable < count:
            raise NotChecked(f"{readable} pictures are too few; the policy asks for {count}")


@dataclass
class LayerSight:
    """One layer on one picture. values: float32 (C, H, W), (C, ...) or (C,)."""

    layer: Layer
    values: NDArray[np.float32]
    known_low: NDArray[np.float32] | None = field(default=None, repr=False)
    known_high: NDArray[np.float32] | None = field(default=None, repr=False)

    # No cached_property: until Python 3.12 one lock of its lets a single thread at a time compute, for all layers.

    @property
    def maps(self) -> NDArray[np.float32]:
        """float32 (C, H*W)."""
        return self.values.reshape(len(self.values), -1)

    @property
    def low(self) -> NDArray[np.float32]:
        """Minimum of each channel (C,); NaN where there is one. Computed once, then in `known_low`."""
        if self.known_low is None:
            self.known_low = np.asarray(self.maps.min(axis=1))
        return self.known_low

    @property
    def high(self) -> NDArray[np.float32]:
        """Maximum of each channel (C,); NaN where there is one. Computed once, then in `known_high`."""
        if self.known_high is None:
            self.known_high = np.asarray(self.maps.max(axis=1))
        return self.known_high


@dataclass
class Sight:
    """One picture as it passes the probes.

    index: its place in the set. picture: upright, RGB. tensor: the input (1, ...). scores: float32 (K,), None without
    a classification output. layers: by name; empty when no probe asked for them. memo: for probes that share something
    costly about this picture.
    """

    index: int
    entry: Entry
    picture: Image
    tensor: NDArray[Any]
    scores: NDArray[np.float32] | None
    layers: dict[str, LayerSight]
    memo: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the picture's file."""
        from inspector.image import image_digest

        return image_digest(self.entry.path)


def layer_after(subject: Subject, node: int) -> str | None:
    """The name of the first layer that is made from what node `node` makes; None when there is none near."""
    graph = subject.graph
    by_tensor = {layer.tensor: layer.name for layer in subject.model.layers}
    for _ in range(8):
        outputs = [name for name in graph.nodes[node].output if name]
        for name in outputs:
            if name in by_tensor:
                return by_tensor[name]
        readers = [i for name in outputs for i in graph.consumers_of.get(name, [])]
        if not readers:
            return None
        node = readers[0]
    return None


def layer_of_weight(subject: Subject, name: str) -> str | None:
    """The name of the layer that an initializer belongs to."""
    readers = subject.graph.consumers_of.get(name, [])
    return layer_after(subject, readers[0]) if readers else None


def filters(subject: Subject) -> Iterator[tuple[str, NDArray[Any]]]:
    """(layer name, weights (C, n)) of every convolution and linear layer with constant weights, a row per channel."""
    graph = subject.graph
    for i, node in enumerate(graph.nodes):
        if node.op_type not in ("Conv", "Gemm", "MatMul") or len(node.input) < 2:
            continue
        name = node.input[1]
        producer = graph.producer_of.get(name)
        if producer is not None and graph.nodes[producer].op_type in ("DequantizeLinear", "Cast"):
            name = graph.nodes[producer].input[0]
        layer = layer_after(subject, i)
        if name not in graph.initializers or layer is None or len(graph.initializers[name].dims) < 2:
            continue
        weights = graph.weight(name)
        if node.op_type == "MatMul" or (node.op_type == "Gemm" and not attributes(node).get("transB", 0)):
            weights = np.moveaxis(weights, -1, 0)
        yield layer, weights.reshape(len(weights), -1)


def origin(graph: Graph, tensor: str) -> NodeProto | None:
    """The node that makes a tensor, behind quantisation, casts and identities; None for an input."""
    for _ in range(16):
        index = graph.producer_of.get(tensor)
        if index is None:
            return None
        node = graph.nodes[index]
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear", "Cast", "Identity"):
            return node
        tensor = node.input[0]
    return None


def quantised(graph: Graph) -> bool:
    """Whether the graph computes with integers: it has quantising nodes."""
    return any(
        node.op_type in ("QuantizeLinear", "DynamicQuantizeLinear") or node.op_type.startswith("QLinear")
        for node in graph.nodes
    )


def half(graph: Graph) -> bool:
    """Whether the graph computes in half precision: it has weights of 16 bits."""
    return any(tensor.data_type in (10, 16) for tensor in graph.initializers.values())


def relative(path: str | os.PathLike[str]) -> str:
    """A path relative to the current folder, with forward slashes."""
    return os.path.relpath(path).replace(os.sep, "/")
