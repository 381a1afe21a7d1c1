"""Further runs of a network or of its head, in batches of bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inspector import onnx
from inspector.cam.context import Blocks
from inspector.cam.quantized import find_quantization
from inspector.cam.target import Target
from inspector.errors import ModelError
from inspector.layers import Layer, find_token_grid, move_channels_back, move_channels_first
from inspector.model import Model
from inspector.reverse.head import Head

Array = NDArray[Any]
Scores = NDArray[np.float64]

BATCH_BYTES = 256 * 1024 * 1024
"""What the inputs and activations of one batch may take."""

MOST_PICTURES, MOST_HEADS = 8, 64
"""Larger batches are no faster: of whole networks, and of heads."""


@dataclass
class Reruns:
    """Runs one model on blocks of replacements and reads targets off the results."""

    model: Model
    _one_by_one: set[tuple[str, ...]] = field(default_factory=set, repr=False)

    def head_scores(
        self, layer: Layer, head: Head, targets: Sequence[Target], values: Mapping[str, Array], blocks: Blocks
    ) -> Scores:
        """float64 (total, T): the scores with blocks (B, C, h, w) in the layer's place; nothing before it is run."""
        own, name = values[head.layer], self.model.input.name
        stored = find_quantization(self.model.graph, head.layer)
        grid = find_token_grid(self.model.layers, layer)
        picture = values[name]
        first = move_channels_first(stored.to_real(own), layer, len(picture))
        asked = (name,) if head.reads_shape and name not in head.siblings else ()

        def run(block: Array) -> Array:
            moved = block
            if grid is not None:
                tokens = grid.to_tokens(block, first.reshape(*first.shape[:2], -1))
                moved = tokens.reshape(len(block), *first.shape[1:])
            moved = move_channels_back(moved, layer)
            feeds = {head.layer: stored.to_stored(moved, own.dtype)}
            for sibling in head.siblings:
                value = values[sibling]
                feeds[sibling] = np.repeat(value, len(block), axis=0) if value.ndim and len(value) == 1 else value
            # Only the shape of the picture is read there.
            feeds.update((n, np.zeros((len(block), *picture.shape[1:]), picture.dtype)) for n in asked)
            _declare(self.model, feeds)
            return self.model.sessions.run_from(feeds, [head.output])[head.output]

        order = self.model.graph.producer_of
        behind = [x for x in self.model.layers if order.get(x.tensor, -1) >= order.get(head.layer, -1)]
        return self._run_batches(
            (head.layer, head.output), run, blocks, _limit(behind, own.size, MOST_HEADS), _reader(targets)
        )

    def masked_scores(self, output: str, targets: Sequence[Target], picture: Array, blocks: Blocks) -> Scores:
        """float64 (total, T): the scores of the whole network for the picture times masks (B, H, W)."""
        last = self.model.input.layout == "NHWC"

        def run(block: Array) -> Array:
            masked = picture * (block[..., None] if last else block[:, None])
            if picture.dtype == np.uint8:
                masked = np.rint(masked)
            return self.model.sessions.run({self.model.input.name: masked.astype(picture.dtype, copy=False)}, [output])[
                output
            ]

        return self._run_batches(
            (output,), run, blocks, _limit(self.model.layers, picture.size, MOST_PICTURES), _reader(targets)
        )

    def input_values(self, output: str, inputs: Blocks, read: Callable[[Array], Scores]) -> Scores:
        """What `read` takes off the output (B, ...) for blocks of inputs (B, ...): float64 (total, ...)."""

        def run(block: Array) -> Array:
            return self.model.sessions.run({self.model.input.name: block}, [output])[output]

        return self._run_batches((output,), run, inputs, _limit(self.model.layers, 1, MOST_PICTURES), read)

    def _run_batches(
        self,
        key: tuple[str, ...],
        run: Callable[[Array], Array],
        blocks: Blocks,
        limit: int,
        read: Callable[[Array], Scores],
    ) -> Scores:
        """A graph whose batch is fixed, or turns out to be, is fed that many at a time."""
        fixed = self.model.input.batch
        size = fixed or limit
        found: list[Scores] = []
        for block in blocks(size):
            for piece in _pieces(block, 1 if key in self._one_by_one else size):
                if fixed and len(piece) < fixed:
                    output = run(np.concatenate([piece, np.repeat(piece[-1:], fixed - len(piece), axis=0)]))
                elif fixed or len(piece) == 1:
                    output = run(piece)
                else:
                    output = self._run_free(key, run, piece)
                found.append(read(output[: len(piece)]))
        return np.concatenate(found)

    def _run_free(self, key: tuple[str, ...], run: Callable[[Array], Array], piece: Array) -> Array:
        """Several at once, or one by one where a size is written into the graph."""
        try:
            output = run(piece)
            if output.ndim and len(output) == len(piece):
                return output
        except ModelError:
            pass
        self._one_by_one.add(key)
        return np.concatenate([run(one) for one in _pieces(piece, 1)])


def _declare(model: Model, feeds: Mapping[str, Array]) -> None:
    """Gives a type to inner tensors of which the file says nothing: onnxruntime wants one where a graph is cut."""
    for name, value in feeds.items():
        if name not in model.graph.value_infos:
            kind = onnx.helper.np_dtype_to_tensor_dtype(value.dtype)
            model.graph.value_infos[name] = onnx.helper.make_tensor_value_info(name, kind, None)


def _reader(targets: Sequence[Target]) -> Callable[[Array], Scores]:
    """Output (B, ...) -> float64 (B, T)."""
    return lambda output: np.stack([target.score(output) for target in targets], axis=1)


def _limit(layers: Sequence[Layer], least: int, most: int) -> int:
    """The largest batch whose activations stay below BATCH_BYTES, counting the largest of these layers three times.

    least: elements of one replacement, a lower bound. Where no size is known 64 of it stand for the largest layer.
    """
    known = [
        int(np.prod([int(s or 0) for s in layer.shape[1:]]))
        for layer in layers
        if layer.shape and all(isinstance(s, int) for s in layer.shape[1:])
    ]
    largest = max([*known, least]) if known else 64 * least
    return int(np.clip(BATCH_BYTES // (3 * 4 * largest), 1, most))


def _pieces(block: Array, size: int) -> Iterator[Array]:
    for start in range(0, len(block), size):
        yield block[start : start + size]
