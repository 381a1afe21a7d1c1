"""A model's answers saved in a small file, so that a later model can be held against them without the first one.

The file is an .npz with one JSON document and arrays. There is no picture in it: of each layer, means and deviations
per channel, and the values at two random places of each of a few pictures; of each picture its digest and top class.
"""

from __future__ import annotations

import io
import json
import os
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inspector.auditing.interface import Interface
from inspector.errors import InspectorError

SCHEMA = 1
PICTURES = 16
"""Pictures whose activations are sampled."""

PLACES = 2
"""Places sampled in every map of such a picture."""

LEAST_KEPT = 0.05
"""Score from which the boxes of a detector are kept."""

MAX_BYTES = 256 * 1024 * 1024


class SnapshotError(InspectorError):
    """The file is no snapshot of ours, or a damaged one."""

    kind = "snapshot"


@dataclass(frozen=True)
class LayerRecord:
    """What a snapshot keeps of one layer.

    Attributes:
        mean: float32 (C,) over the sampled pictures.
        std: float32 (C,) over the sampled pictures.
        samples: float32 (n, C), PLACES rows for each sampled picture in their order.
    """

    mean: NDArray[np.float32] = field(repr=False)
    std: NDArray[np.float32] = field(repr=False)
    samples: NDArray[np.float32] = field(repr=False)


@dataclass(frozen=True)
class ObjectRecord:
    """The objects that a detector found on one picture, the best score first.

    Attributes:
        boxes: float32 (n, 4): x1, y1, x2, y2 in pixels of the picture.
        scores: float32 (n,).
        classes: int64 (n,).
    """

    boxes: NDArray[np.float32] = field(repr=False)
    scores: NDArray[np.float32] = field(repr=False)
    classes: NDArray[np.int64] = field(repr=False)

    def keep_sure(self, confidence: float) -> ObjectRecord:
        """Those with a score of at least `confidence`."""
        kept = self.scores >= confidence
        return ObjectRecord(self.boxes[kept], self.scores[kept], self.classes[kept])


@dataclass(frozen=True)
class Snapshot:
    """What was saved of a model.

    Attributes:
        model: File name, sha256 and digest (of graph and weights) of the model.
        labels: The names of its classes.
        preprocess: As in the metadata.
        integers: Whether it computes with integers.
        layers: By name.
        sampled: Digests of the pictures whose activations were sampled, in order.
        predictions: (top class, probability) by picture digest.
        metrics: `accuracy` and `balanced_accuracy`, where known.
        costs: `multiply_adds`, `parameters`, `bytes` of the files and `peak_mb` of memory, as far as they are known.
        interface: Inputs and outputs.
        operators: Nodes by operator.
        plain: Probabilities (K,) on the pictures without content, by the picture's name.
        objects: What a detector found, by picture digest.
        masks: The classes of a segmenter at 64 places each way, int32 (64, 64), by picture digest.
    """

    model: Mapping[str, str]
    labels: tuple[str, ...] | None
    preprocess: Mapping[str, Any]
    integers: bool
    layers: Mapping[str, LayerRecord]
    sampled: tuple[str, ...]
    predictions: Mapping[str, tuple[int, float]]
    metrics: Mapping[str, float]
    costs: Mapping[str, float] = field(default_factory=dict)
    interface: Interface | None = None
    operators: Mapping[str, int] | None = None
    plain: Mapping[str, NDArray[Any]] = field(default_factory=dict, repr=False)
    objects: Mapping[str, ObjectRecord] = field(default_factory=dict, repr=False)
    masks: Mapping[str, NDArray[np.int32]] = field(default_factory=dict, repr=False)


def choose_places(layer: str, digest: str, size: int) -> NDArray[np.int64]:
    """The PLACES indices into a map of `size` elements that are sampled: by layer and picture alone."""
    seed = zlib.crc32(f"{layer}\n{digest}".encode())
    return np.random.default_rng(seed).integers(0, size, PLACES)


def save_snapshot(snapshot: Snapshot, path: str | os.PathLike[str]) -> Path:
    """Write a snapshot, whole or not at all. The same snapshot gives the same bytes.

    Raises:
        OutputError: It cannot be written.
    """
    from inspector.files import write_bytes

    document = {
        "schema": SCHEMA,
        "kind": "inspector snapshot",
        "model": dict(snapshot.model),
        "labels": list(snapshot.labels) if snapshot.labels is not None else None,
        "preprocess": dict(snapshot.preprocess),
        "integers": snapshot.integers,
        "layers": list(snapshot.layers),
        "sampled": list(snapshot.sampled),
        "metrics": dict(snapshot.metrics),
        "costs": dict(snapshot.costs),
        "interface": snapshot.interface.to_json() if snapshot.interface is not None else None,
        "operators": dict(snapshot.operators) if snapshot.operators is not None else None,
        "plain": list(snapshot.plain),
        "objects": {digest: len(one.scores) for digest, one in sorted(snapshot.objects.items())},
        "masks": sorted(snapshot.masks),
    }
    records = snapshot.layers.values()
    scales = [float(np.nan_to_num(np.abs(record.samples)).max(initial=0.0)) or 1.0 for record in records]
    digests = sorted(snapshot.predictions)
    arrays: dict[str, NDArray[Any]] = {
        "document": np.frombuffer(json.dumps(document, sort_keys=True).encode(), np.uint8),
        "channels": np.array([len(record.mean) for record in records], np.int32),
        "scales": np.array(scales, np.float32),
        "mean": _concatenate([record.mean for record in records]),
        "std": _concatenate([record.std for record in records]),
        # Half precision of the layer's own range: its rounding lies 70 dB below the signal.
        "samples": np.concatenate(
            [(record.samples / scale).astype(np.float16) for record, scale in zip(records, scales, strict=True)], axis=1
        )
        if snapshot.layers
        else np.zeros((0, 0), np.float16),
        "digests": np.frombuffer(bytes.fromhex("".join(digests)), np.uint8).reshape(-1, 32),
        "classes": np.array([snapshot.predictions[d][0] for d in digests], np.int32),
        "plain": np.array(list(snapshot.plain.values()), np.float32),
        "probabilities": np.array([snapshot.predictions[d][1] for d in digests], np.float32),
        **_pack_answers(snapshot),
    }
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            entry = io.BytesIO()
            np.save(entry, np.ascontiguousarray(array), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), entry.getvalue(), zipfile.ZIP_DEFLATED)
    return write_bytes(path, stream.getvalue())


def _pack_answers(snapshot: Snapshot) -> dict[str, NDArray[Any]]:
    """The arrays of detectors and segmenters, in the order of the digests."""
    objects = [one for _, one in sorted(snapshot.objects.items())]
    rows = [np.column_stack([one.boxes, one.scores, one.classes]).astype(np.float32) for one in objects]
    masks = [mask.astype(np.int32) for _, mask in sorted(snapshot.masks.items())]
    return {
        **({"objects": np.concatenate(rows)} if rows else {}),
        **({"masks": np.stack(masks)} if masks else {}),
    }


def _unpack_objects(counts: Mapping[str, int], rows: NDArray[Any]) -> dict[str, ObjectRecord]:
    ends = np.cumsum(list(counts.values())).tolist()
    parts = [rows[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True)]
    return {
        str(digest): ObjectRecord(part[:, :4], part[:, 4], part[:, 5].astype(np.int64))
        for digest, part in zip(counts, parts, strict=True)
    }


def _concatenate(parts: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    return np.concatenate(parts) if parts else np.zeros(0, np.float32)


def is_snapshot(path: str | os.PathLike[str]) -> bool:
    """Whether a file begins as a snapshot does; what else is wrong with it, load_snapshot says."""
    try:
        with Path(path).open("rb") as file:
            return file.read(4) == b"PK\x03\x04"
    except OSError:
        return False


def load_snapshot(path: str | os.PathLike[str]) -> Snapshot:
    """Read a snapshot. Nothing in it is executed and its size is checked first.

    Raises:
        SnapshotError: It cannot be read, or is no snapshot.
    """
    file = Path(path)
    try:
        with zipfile.ZipFile(file) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > MAX_BYTES:
                raise SnapshotError(f"{file} would unpack to more than 256 MB", "it is no snapshot of ours")
        with np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        document = json.loads(arrays["document"].tobytes())
        if document.get("kind") != "inspector snapshot":
            raise SnapshotError(f"{file} is no snapshot", "`inspector audit --save-snapshot FILE` writes one")
        if document.get("schema") != SCHEMA:
            raise SnapshotError(
                f"{file} has schema {document.get('schema')!r}; this version reads {SCHEMA}", "save it again"
            )
        return _build_snapshot(document, arrays)
    except FileNotFoundError:
        raise SnapshotError(f"there is no file {file}") from None
    except OSError as error:
        raise SnapshotError(f"{file} cannot be read: {error.strerror or error}") from None
    except SnapshotError:
        raise
    except Exception as error:  # zip, numpy and JSON each have errors of their own for damaged data
        raise SnapshotError(f"{file} is no snapshot, or is damaged: {type(error).__name__}", "save it again") from None


def _build_snapshot(document: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Snapshot:
    ends = np.cumsum(arrays["channels"])
    if len(ends) != len(document["layers"]) or len(arrays["mean"]) != (ends[-1] if len(ends) else 0):
        raise ValueError("the arrays do not fit the document")
    layers = {}
    for name, start, end, scale in zip(document["layers"], [0, *ends][:-1], ends, arrays["scales"], strict=True):
        layers[str(name)] = LayerRecord(
            mean=arrays["mean"][start:end],
            std=arrays["std"][start:end],
            samples=arrays["samples"][:, start:end].astype(np.float32) * scale,
        )
    digests = [bytes(row).hex() for row in arrays["digests"]]
    top = zip(arrays["classes"].tolist(), arrays["probabilities"].tolist(), strict=True)
    labels = document["labels"]
    interface, operators = document.get("interface"), document.get("operators")
    plain = document.get("plain", [])
    return Snapshot(
        model={str(k): str(v) for k, v in document["model"].items()},
        labels=tuple(map(str, labels)) if labels is not None else None,
        preprocess=document["preprocess"],
        integers=bool(document["integers"]),
        layers=layers,
        sampled=tuple(map(str, document["sampled"])),
        predictions={digest: (int(k), float(p)) for digest, (k, p) in zip(digests, top, strict=True)},
        metrics={str(k): float(v) for k, v in document["metrics"].items()},
        # What later versions added is lacking in older files.
        costs={str(k): float(v) for k, v in document.get("costs", {}).items()},
        interface=Interface.from_json(interface) if interface is not None else None,
        operators={str(k): int(v) for k, v in operators.items()} if operators is not None else None,
        plain=dict(zip(map(str, plain), arrays["plain"], strict=True)) if plain else {},
        objects=_unpack_objects(document["objects"], arrays["objects"]) if document.get("objects") else {},
        masks=dict(zip(document["masks"], arrays["masks"], strict=True)) if document.get("masks") else {},
    )
