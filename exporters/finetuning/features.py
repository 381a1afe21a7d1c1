"""The frozen part of the network, run once over every stored version of every picture, in onnxruntime."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from exporters.finetuning.cache import CacheEntry
from exporters.planning.augment import augment_image
from exporters.planning.dataset import Sample
from exporters.planning.options import FineTuneOptions
from exporters.sources.needs import torch
from inspector.graph import Graph
from inspector.image import open_image
from inspector.model import Model
from inspector.runtime import count_cores

_BATCH = 16
_CHUNK = 8  # batches between two writes


def digest_weights(graph: Graph, tensors: Sequence[str]) -> str:
    """SHA-256 of the part of the graph that makes `tensors`: its nodes and its weights, value by value."""
    cut = graph.cut(tensors)
    digest = hashlib.sha256()
    for node in cut.proto.graph.node:
        digest.update(node.SerializeToString(deterministic=True))
    for tensor in sorted(cut.proto.graph.initializer, key=lambda t: t.name):
        digest.update(f"{tensor.name} {tensor.data_type} {list(tensor.dims)}".encode())
        digest.update(np.ascontiguousarray(graph.tensor_array(tensor)).tobytes())
    return digest.hexdigest()


def name_row(sample: Sample, version: int) -> str:
    """The name of a row of the cache."""
    return f"{sample.digest}:{version}"


def list_rows(train: Sequence[Sample], held_out: Sequence[Sample], versions: int) -> list[tuple[Sample, int]]:
    """What a run stores: `versions` of each training picture, the plain one of each other."""
    return [(s, v) for s in train for v in range(versions)] + [(s, 0) for s in held_out]


def fill(
    entry: CacheEntry,
    model: Model,
    train: Sequence[Sample],
    held_out: Sequence[Sample],
    versions: int,
    options: FineTuneOptions,
    progress: Callable[[int, int], None],
) -> None:
    """Adds those of :func:`list_rows` that `entry` lacks.

    Raises:
        OverflowError: float16 cannot hold an activation.
    """
    wanted = list_rows(train, held_out, versions)
    missing = set(entry.missing([name_row(s, v) for s, v in wanted]))
    todo = [(s, v) for s, v in wanted if name_row(s, v) in missing]
    tensors = [c.tensor for c in entry.columns]
    done = len(wanted) - len(todo)
    names: list[str] = []
    values: list[dict[str, NDArray[np.float32]]] = []
    for piece, batch in _batches(model, todo, options):
        values.append(model.run(batch, tensors))
        names += [name_row(s, v) for s, v in piece]
        if len(values) == _CHUNK:
            entry.append(names, {t: np.concatenate([v[t] for v in values]) for t in tensors})
            done += len(names)
            progress(done, len(wanted))
            names, values = [], []
    if names:
        entry.append(names, {t: np.concatenate([v[t] for v in values]) for t in tensors})
        progress(done + len(names), len(wanted))


def _batches(
    model: Model, todo: Sequence[tuple[Sample, int]], options: FineTuneOptions
) -> Iterator[tuple[list[tuple[Sample, int]], NDArray[np.float32]]]:
    """The pictures prepared in threads, a few batches ahead of the network."""
    with ThreadPoolExecutor(count_cores()) as pool:
        pieces = (list(todo[k : k + _BATCH]) for k in range(0, len(todo), _BATCH))
        ahead = [(p, pool.submit(_prepared, model, p, options)) for p in islice(pieces, 3)]
        while ahead:
            piece, work = ahead.pop(0)
            for following in islice(pieces, 1):
                ahead.append((following, pool.submit(_prepared, model, following, options)))
            yield piece, work.result()


def _prepared(model: Model, piece: Sequence[tuple[Sample, int]], options: FineTuneOptions) -> NDArray[np.float32]:
    tensors = []
    for sample, version in piece:
        image = augment_image(open_image(sample.path), sample.digest, version, options.augment, options.augment_seed)
        tensors.append(model.preprocess.tensor(image))
    return np.concatenate(tensors)


@dataclass(frozen=True)
class StoredActivations:
    """Activations of some pictures, read from the cache batch by batch.

    Attributes:
        maps: One array (rows, *shape) for each tensor that the network goes on from.
        rows: int (pictures, versions).
        labels: int64 (pictures,).
        weights: float32 (pictures,), in the loss.
    """

    maps: tuple[NDArray[np.float32], ...]
    rows: NDArray[np.int64]
    labels: torch.Tensor
    weights: torch.Tensor

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def versions(self) -> int:
        """How many versions of each picture there are."""
        return int(self.rows.shape[1])

    def batch(self, index: NDArray[np.int64], version: NDArray[np.int64]) -> tuple[torch.Tensor, ...]:
        """float32 tensors (len(index), *shape): version[k] of picture index[k]."""
        rows = self.rows[index, version]
        return tuple(torch.from_numpy(np.asarray(m[rows], np.float32)) for m in self.maps)

    def some(self, count: int, batch: int) -> Iterator[tuple[torch.Tensor, ...]]:
        """Batches of the plain version of `count` pictures from all over, or of all where there are fewer.

        Of `batch` pictures as in training, but at most 64: nothing is gained by more.
        """
        batch = min(batch, 64)
        index = np.unique(np.linspace(0, len(self) - 1, min(count, len(self))).round().astype(np.int64))
        for start in range(0, len(index), batch):
            piece = index[start : start + batch]
            yield self.batch(piece, np.zeros_like(piece))


def read_activations(
    entry: CacheEntry, tensors: Sequence[str], samples: Sequence[Sample], versions: int
) -> StoredActivations:
    """What the cache holds of `samples`."""
    rows = [[entry.rows[name_row(s, v)] for v in range(versions)] for s in samples]
    return StoredActivations(
        tuple(entry.map(t) for t in tensors),
        np.array(rows, np.int64).reshape(len(samples), versions),
        torch.tensor([s.label for s in samples], dtype=torch.int64),
        torch.tensor([s.weight for s in samples], dtype=torch.float32),
    )
