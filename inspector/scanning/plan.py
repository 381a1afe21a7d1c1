"""What a scan is going to do: one document, from which every worker does the same, wherever it runs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from inspector.documents import DoesNotFitError, build_value
from inspector.errors import NotComputable, UsageError
from inspector.files import write_text
from inspector.image import Preprocess
from inspector.layers import Layer
from inspector.layers.statistics import take_first
from inspector.model import Model, find_folder_class
from inspector.model.open import open_again
from inspector.receptive import compute_receptive_fields, find_block_layers
from inspector.receptive.fields import ReceptiveField
from inspector.scanning.listing import ListSummary, ScanError
from inspector.text import to_json

SCHEMA = 1
PLAN_NAME = "plan.json"
MOST_CLASSES = 65_536
"""Labels and classes of the network together; a label for each picture is none."""


@dataclass(frozen=True)
class ModelReference:
    """Which model, and how it was opened.

    Attributes:
        path: The file, as it was given.
        resolved: Where it lies.
        sha256: Of the file, hex.
        digest: Of the file and of its weights beside it, hex.
        options: What it was opened with.
    """

    path: str
    resolved: str
    sha256: str
    digest: str
    options: Mapping[str, Any]


@dataclass(frozen=True)
class ScanLayer:
    """One layer that is looked at.

    Attributes:
        name: Its name.
        kind: Its kind.
        channels: How many channels.
        field: Its receptive field, as the fields of :class:`ReceptiveField`.
    """

    name: str
    kind: str
    channels: int
    field: ReceptiveField


@dataclass(frozen=True)
class ScanPlan:
    """What a scan is going to do.

    Attributes:
        model: The model.
        task: What its outputs mean; None where that is not known.
        preprocess: How a picture becomes its input.
        layers: The layers that are looked at, in the order of the network.
        embed: The layer whose mean over its positions is the picture's embedding.
        width: How many numbers an embedding has.
        top: Pictures that are kept for each channel.
        classifies: Whether the network names classes.
        known: How many classes of `classes` are the network's own; they come first.
        classes: Names of the classes: the network's, then labels of the data that are none of them.
        labels: Label of the data -> its class in `classes`.
        labelled: How many pictures have a label.
        total: How many pictures.
        pictures: Digest of their names and labels, hex.
        data: What was given as DATA.
        shard_size: Pictures of a shard.
        schema: Of this document.
    """

    model: ModelReference
    task: str | None
    preprocess: Mapping[str, Any]
    layers: tuple[ScanLayer, ...]
    embed: str
    width: int
    top: int
    classifies: bool
    known: int
    classes: tuple[str, ...] = field(repr=False)
    labels: Mapping[str, int] = field(repr=False)
    labelled: int
    total: int
    pictures: str
    data: tuple[str, ...]
    shard_size: int
    schema: int = SCHEMA

    @property
    def shards(self) -> int:
        """How many shards."""
        return -(-self.total // self.shard_size)

    @property
    def digest(self) -> str:
        """What the scan *is*: hex SHA-256 of all that its answer depends on; not of paths, nor of the shards' size."""
        document = asdict(self)
        for name in ("shard_size", "data"):
            del document[name]
        document["model"] = self.model.digest
        document["opened"] = {name: self.model.options.get(name) for name in ("inputs", "provider")}
        return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()

    def find_range(self, shard: int) -> tuple[int, int]:
        """(first, end) of the numbers of a shard's pictures."""
        first = shard * self.shard_size
        return first, min(first + self.shard_size, self.total)

    def open_model(self) -> Model:
        """The model, with one thread: what it computes is then the same in every engine.

        Raises:
            ModelError: It is gone or has changed.
        """
        options = {**self.model.options, "threads": 1}
        return open_again(Model, Path(self.model.path), Path(self.model.resolved), self.model.digest, options)

    def make_preprocess(self) -> Preprocess:
        """How a picture becomes the network's input."""
        return Preprocess.from_json(self.preprocess)


def plan_scan(
    model: Model,
    listed: ListSummary,
    layers: Sequence[str | Layer] | None,
    embed: str | None,
    top: int,
    data: Sequence[str],
    shard_size: int,
) -> ScanPlan:
    """Decide what a scan is going to do; the network is run once on a black picture.

    Args:
        model: The model.
        listed: What its pictures amount to.
        layers: The layers to look at; None takes the last of each resolution.
        embed: The layer of the embedding; None takes the last with maps.
        top: Pictures that are kept for each channel, 1 to 100.
        data: What was given as DATA.
        shard_size: Pictures of a shard.

    Raises:
        UsageError: `top` or `shard_size` is out of range, or there are more labels than classes can be.
        LayerNotFound: No layer, or more than one, goes by a name.
        ModelError: The network cannot be run.
    """
    if not 1 <= top <= 100:
        raise UsageError(f"--top {top} is out of range", "give a whole number from 1 to 100")
    if not 1 <= shard_size <= 65_536:
        raise UsageError(f"{shard_size} pictures in a shard are out of range", "give a number from 1 to 65536")
    chosen = find_block_layers(model) if layers is None else model.choose_layers(layers)
    vector = model.layer(embed) if embed is not None else _find_embedding(model)
    values, scores = model.layer_values(model.tensor(np.zeros((32, 32, 3), np.uint8)), [*chosen, vector], scores=True)
    counts = {name: len(take_first(value)) for name, value in values.items()}
    fields = compute_receptive_fields(model.graph, [x.tensor for x in chosen], model.input.layout)
    known = 0 if scores is None else max(2, scores.shape[1]) if _is_binary(model, scores.shape[1]) else scores.shape[1]
    names = _name_classes(model, known)
    own, labels = _match_labels(model, names, listed.labels)
    if len(own) > MOST_CLASSES:
        raise UsageError(f"{len(listed.labels)} different labels are no classes", "leave the column of labels out")
    return ScanPlan(
        model=_refer(model),
        task=model.task,
        preprocess=model.preprocess.to_json(),
        layers=tuple(ScanLayer(x.name, x.kind, counts[x.name], fields[x.tensor]) for x in chosen),
        embed=vector.name,
        width=counts[vector.name],
        top=top,
        classifies=scores is not None,
        known=known,
        classes=tuple(own),
        labels=labels,
        labelled=sum(listed.labels.values()),
        total=listed.total,
        pictures=listed.digest,
        data=tuple(data),
        shard_size=shard_size,
    )


def _is_binary(model: Model, columns: int) -> bool:
    """Whether one score stands for two classes."""
    return columns == 1 and model.classifier is not None and model.classifier.activation != "softmax"


def _name_classes(model: Model, known: int) -> list[str]:
    return [model.label(index) for index in range(known)]


def _find_embedding(model: Model) -> Layer:
    """The last layer with maps: its mean over the positions is what most networks give to their head."""
    skipped = {"softmax", "resize", "picture"}
    spatial = [x for x in model.layers if x.spatial and x.places and x.kind not in skipped]
    if spatial:
        return spatial[-1]
    if not model.layers:
        raise NotComputable(f"{model.path} has no layers to look at")
    return model.layers[-1]


def _match_labels(model: Model, names: Sequence[str], labels: Mapping[str, int]) -> tuple[list[str], dict[str, int]]:
    """(the names of all classes, label -> class): a label that is no class of the network becomes one of its own."""
    every, found = list(names), dict[str, int]()
    for label in labels:
        index = find_folder_class(model, label) if names else None
        if index is None or index >= len(names):
            index = len(every)
            every.append(label)
        found[label] = index
    return every, found


def _refer(model: Model) -> ModelReference:
    _, (_, path, resolved, digest, options) = model.__reduce__()
    kept = {
        **options,
        "allow_links": [str(folder) for folder in options.get("allow_links", ())],
        "inputs": {name: np.asarray(value).tolist() for name, value in options.get("inputs", {}).items()},
    }
    return ModelReference(str(path), str(resolved), model.sha256, digest, kept)


def save_plan(plan: ScanPlan, folder: Path) -> Path:
    """Write ``plan.json``, whole or not at all.

    Raises:
        OutputError: It cannot be written.
    """
    return write_text(folder / PLAN_NAME, to_json(asdict(plan), indent=1) + "\n")


def load_plan(folder: Path) -> ScanPlan:
    """The plan of the scan in a folder.

    Raises:
        ScanError: There is none, or it is of another version.
    """
    path = folder / PLAN_NAME
    try:
        document = json.loads(path.read_text("utf-8"))
        if document.get("schema") != SCHEMA:
            raise ScanError(f"{path} has schema {document.get('schema')!r}; this version reads {SCHEMA}", "scan again")
        plan: ScanPlan = build_value(ScanPlan, document)
        return plan
    except FileNotFoundError:
        raise ScanError(f"{folder} holds no scan: there is no {PLAN_NAME} in it", "give the folder of a scan") from None
    except ScanError:
        raise
    except (OSError, ValueError, AttributeError, DoesNotFitError) as error:
        raise ScanError(f"{path} cannot be read: {error}", "scan again") from None
