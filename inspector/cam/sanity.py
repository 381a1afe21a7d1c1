"""Does a map depend on what the network has learned? One that survives random weights shows only the picture."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from inspector.cam.engine import CamEngine, prepare
from inspector.cam.faithfulness import correlate_ranks
from inspector.cam.gradients import NumpyGradient
from inspector.cam.result import CamResult
from inspector.errors import UsageError
from inspector.files import temporary_folder
from inspector.graph import Graph
from inspector.image import ImageSource
from inspector.model import Model, open_model

Part = Literal["head", "all"]


@dataclass(frozen=True)
class Randomised:
    """A map before and after the weights were shuffled.

    A map that depends on the weights is unlike its copy: a similarity near 0.

    Attributes:
        similarity: Spearman's correlation of the raw maps, in [-1, 1].
    """

    before: CamResult
    after: CamResult
    similarity: float


def randomise(
    engine: CamEngine,
    image: ImageSource | NDArray[Any],
    *,
    classes: Sequence[str | int] | None = None,
    part: Part = "head",
    seed: int = 0,
) -> list[Randomised]:
    """The model-randomisation check: the same maps, for the same classes, from a network with shuffled weights.

    Adebayo et al.: Sanity Checks for Saliency Maps, 2018 (arXiv:1810.03292), section 3.1.

    With a linear head its weights are shuffled in memory; else a shuffled copy of the file is written to a
    temporary folder and removed again.

    Args:
        engine: A prepared engine.
        image: A picture, as for `class_activation_maps`.
        classes: Indices or labels; by default the most likely one.
        part: ``head``, the weights behind the layer alone; ``all``, every weight. Each tensor's numbers are
            permuted, so their distribution stays.
        seed: Of the shuffling.
    """
    before = engine.maps(image, classes)
    explained = engine.explained
    chosen = [found.target.index for found in before] if explained.element is None else None
    in_memory = engine.method.needs == "gradient" and all(isinstance(s, NumpyGradient) for s in engine.sources)
    if part == "head" and in_memory and all(head.linear for head in engine.heads):
        after = _shuffle_head(engine, seed).maps(image, chosen)
    else:
        names = None if part == "all" else sorted({n for head in engine.heads for n in head.constants})
        with shuffle_model(engine.model, names, seed) as model:
            backend = engine.backend if engine.method.needs == "gradient" else "auto"
            output = None if explained.classifier else explained.tensor
            if explained.element is not None:
                output = f"{explained.tensor}:{','.join(map(str, explained.element))}"
            other = prepare(model, engine.method.name, [x.name for x in engine.layers], backend, output)
            after = other.maps(image, chosen)
    return [Randomised(b, a, correlate_ranks(b.raw, a.raw)) for b, a in zip(before, after, strict=True)]


def _shuffle_head(engine: CamEngine, seed: int) -> CamEngine:
    """A copy of the engine that sees shuffled head weights; activations and scores stay those of the network."""
    rng = np.random.default_rng(seed)
    copied = copy.copy(engine)
    sources = []
    for source in engine.sources:
        assert isinstance(source, NumpyGradient)
        shuffled = NumpyGradient(source.head)
        shuffled.constants = {name: _shuffle(value, rng) for name, value in source.constants.items()}
        sources.append(shuffled)
    copied.sources = tuple(sources)
    return copied


def _shuffle(value: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    """The same numbers in another order; vectors (biases, norms) and integers (shapes, axes) as they are."""
    if value.dtype.kind != "f" or value.ndim < 2:
        return value
    return rng.permutation(value.reshape(-1)).reshape(value.shape)


@contextmanager
def shuffle_model(model: Model, names: Sequence[str] | None = None, seed: int = 0) -> Iterator[Model]:
    """The model opened from a temporary copy whose weights (named ones, or all) are permuted, each within its tensor.

    Only floating-point initializers of two or more dimensions are permuted; biases and norms stay.
    """
    if names is not None and not names:
        raise UsageError("there are no weights behind this layer to shuffle", "use part='all'")
    with temporary_folder() as folder:
        path = folder / model.path.name
        _write_shuffle(model.graph, path, set(names) if names is not None else None, seed)
        yield open_model(path, provider=model.provider, threads=model.threads)


def _write_shuffle(graph: Graph, path: Path, names: set[str] | None, seed: int) -> None:
    import onnx
    from onnx import numpy_helper

    rng = np.random.default_rng(seed)
    proto = onnx.ModelProto()
    proto.CopyFrom(graph.proto)
    for tensor in proto.graph.initializer:
        value = graph.weight(tensor.name)
        if names is None or tensor.name in names:
            value = _shuffle(value, rng)
        tensor.CopyFrom(numpy_helper.from_array(np.asarray(value), tensor.name))
    for node in proto.graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t") and attribute.t.external_data:
                attribute.t.CopyFrom(
                    numpy_helper.from_array(np.asarray(graph.tensor_array(attribute.t)), attribute.t.name)
                )
    onnx.save(proto, path)
