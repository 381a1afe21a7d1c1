"""The one JSON document that travels inside the .onnx, under ``metadata_props["inspector"]``."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from typing import Any, Literal, get_args

from inspector.documents import OPEN, DoesNotFitError, build_value, find_misfits
from inspector.errors import MetadataError
from inspector.image import Preprocess
from inspector.records import record

KEY = "inspector"
SCHEMA = 1
MAX_BYTES = 16 * 1024 * 1024
Activation = Literal["softmax", "sigmoid", "none"]
ACTIVATIONS: tuple[Activation, ...] = ("softmax", "sigmoid", "none")
Task = Literal["classify", "detect", "segment", "pose", "embed", "picture"]
"""What the outputs of a network mean. Oriented boxes and masks of single objects are ``detect`` too."""
TASKS: tuple[Task, ...] = get_args(Task)
_SYNSET = re.compile(r"n\d{8}[\s:,]+(?=\S)")
_MOST_FAULTS = 6
_AGAIN = "write it again with `inspector annotate`"


@record
class LayerEntry:
    """A layer as the exporter named it."""

    __pydantic_config__ = OPEN

    name: str
    """The layer's name: unique, the module path of torch where it is known."""
    tensor: str
    """The layer's tensor in the graph."""
    kind: str
    """conv, norm, activation, pool, add, gate, concat, linear, resize, softmax or picture."""
    aliases: tuple[str, ...] = ()
    """Other names that it answers to, such as module paths."""


Attachment = Literal["cam", "cam_classes", "probability", "unknown", "saliency"]
"""What an attached output says."""


@record
class AttachedEntry:
    """An output that `inspector attach` added."""

    __pydantic_config__ = OPEN

    name: str
    """The output's name in the graph."""
    meaning: Attachment
    """cam, cam_classes, probability, unknown or saliency."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """How it was made: any keys."""


@record
class Metadata:
    """Everything the graph itself cannot say. Every part may be absent."""

    __pydantic_config__ = OPEN

    preprocess: Preprocess | None = None
    """How a picture becomes the network's input."""
    labels: tuple[str, ...] | None = None
    """The names of the K classes, in the order of the scores."""
    layers: tuple[LayerEntry, ...] = ()
    """The layers, in topological order."""
    cam_layer: str | None = None
    """Name of the layer that class activation maps look at."""
    output: str | None = None
    """The tensor with the scores (N, K)."""
    activation: Activation | None = None
    """What turns scores into probabilities."""
    task: Task | None = None
    """What the outputs mean."""
    head: str | None = None
    """The head that the outputs are those of, by the name of what decodes them, such as yolov8."""
    inputs: Mapping[str, Any] = field(default_factory=dict)
    """Values of the inputs that are no picture, by name: numbers, or lists of them."""
    attached: tuple[AttachedEntry, ...] = ()
    """Outputs that `inspector attach` added, which are no answers of the network itself."""
    source: Mapping[str, Any] = field(default_factory=dict)
    """Where the network comes from: any keys."""
    training: Mapping[str, Any] = field(default_factory=dict)
    """How the network was trained: any keys."""
    licence: str | None = None
    """The licence of the weights."""
    versions: Mapping[str, Any] = field(default_factory=dict)
    """Versions of the packages that made the file."""

    def dumps(self) -> str:
        """The document as compact JSON with sorted keys, the same bytes for the same content."""
        document: dict[str, Any] = {"schema": SCHEMA}
        if self.preprocess is not None:
            document["preprocess"] = self.preprocess.to_json()
        if self.labels is not None:
            document["labels"] = list(self.labels)
        if self.layers:
            document["layers"] = [
                {
                    "name": e.name,
                    "tensor": e.tensor,
                    "kind": e.kind,
                    **({"aliases": list(e.aliases)} if e.aliases else {}),
                }
                for e in self.layers
            ]
        for key in ("cam_layer", "output", "activation", "task", "head", "licence"):
            if (value := getattr(self, key)) is not None:
                document[key] = value
        if self.attached:
            document["attached"] = [
                {"name": e.name, "meaning": e.meaning, "settings": dict(e.settings)} for e in self.attached
            ]
        for key in ("inputs", "source", "training", "versions"):
            if value := getattr(self, key):
                document[key] = dict(value)
        return json.dumps(document, ensure_ascii=False, sort_keys=True, separators=(",", ":"))

    def with_(self, **changes: Any) -> Metadata:
        """A copy with these fields replaced."""
        return replace(self, **changes)


def read_metadata(properties: Mapping[str, str]) -> Metadata:
    """Read the document out of a model's metadata entries.

    Args:
        properties: Key -> text, as ``metadata_props`` has them.

    Returns:
        The document; an empty one where there is none.

    Raises:
        MetadataError: It is there but malformed, or of a later schema.
    """
    text = properties.get(KEY)
    if text is None:
        return Metadata()
    if len(text) > MAX_BYTES:
        raise MetadataError(f"the metadata document has {len(text)} characters", _AGAIN)
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise MetadataError(f"the metadata document is not JSON: {error}", _AGAIN) from None
    if not isinstance(document, dict):
        raise MetadataError("the metadata document is not a JSON object", _AGAIN)
    schema = document.get("schema")
    if schema != SCHEMA:
        raise MetadataError(f"the metadata document has schema {schema!r}; this version reads {SCHEMA}", _AGAIN)
    return _build(document)


def _build(document: Mapping[str, Any]) -> Metadata:
    """The document as it is read: null means absent, unknown keys are left out. Raises MetadataError, all at once."""
    given = {key: value for key, value in document.items() if value is not None}
    faults: list[str] = []
    preprocess = None
    if "preprocess" in given:
        try:
            preprocess = Preprocess.from_json(given.pop("preprocess"))
        except MetadataError as error:
            faults.append(error.message)
    if isinstance(given.get("labels"), list):
        given["labels"] = [str(label) if isinstance(label, int | float) else label for label in given["labels"]]
    try:
        read: Metadata = build_value(Metadata, given)
    except DoesNotFitError:
        found = [_describe(mistake.place, given) for mistake in find_misfits(Metadata, given)]
        faults += dict.fromkeys(found or ["the metadata document is malformed"])
    if faults:
        shown = "; ".join(faults[:_MOST_FAULTS])
        more = f"; and {len(faults) - _MOST_FAULTS} more" if len(faults) > _MOST_FAULTS else ""
        raise MetadataError(shown + more, _AGAIN)
    labels = tuple(map(_printable, read.labels)) if read.labels is not None else None
    return replace(read, preprocess=preprocess, labels=labels)


def _describe(place: Sequence[str | int], document: Mapping[str, Any]) -> str:
    """What is wrong at one place of the document."""
    key = place[0] if place else "the document"
    if key == "labels":
        return "labels must be a list of names"
    if key == "layers" and len(place) > 1:
        layer = document["layers"][place[1]]
        if "aliases" in place:
            return f"the aliases of layer {layer.get('name')!r} must be a list of names"
        return "a layer in the metadata lacks its name, tensor or kind"
    if key == "layers":
        return "layers in the metadata must be a list"
    if key == "attached":
        return "attached in the metadata must be a list of outputs with name and meaning"
    if key == "activation":
        return f"activation {document[key]!r} in the metadata is none of {', '.join(ACTIVATIONS)}"
    if key == "task":
        return f"task {document[key]!r} in the metadata is none of {', '.join(TASKS)}"
    kind = "text" if key in ("cam_layer", "output", "head", "licence") else "an object"
    return f"{key} in the metadata must be {kind}"


def _printable(label: str) -> str:
    """Without control characters: labels go to terminals and titles."""
    return label if label.isprintable() else "".join(c if c.isprintable() else " " for c in label)


def parse_labels(text: str) -> tuple[str, ...]:
    """Read class names from the text of a file.

    Args:
        text: A JSON list, a JSON object index -> name, or one name a line. Where a WordNet id begins every entry
            (``n02123045 tabby, tabby cat``), it is left out.

    Returns:
        The names, in the order of the classes.

    Raises:
        MetadataError: There are none, or they are malformed.

    Example:
        >>> parse_labels('["cat", "dog"]')
        ('cat', 'dog')
    """
    stripped = text.lstrip("\ufeff").strip()
    if stripped[:1] in ("[", "{"):
        try:
            document = json.loads(stripped)
        except (ValueError, RecursionError) as error:
            raise MetadataError(f"the labels are not JSON: {error}") from None
        if isinstance(document, dict):
            if not all(key.isascii() and key.isdigit() and len(key) < 10 for key in document):
                raise MetadataError("a JSON object of labels needs class indices as keys", 'as in {"0": "cat"}')
            size = max((int(key) for key in document), default=-1) + 1
            if size != len({int(key) for key in document}) or size != len(document):
                raise MetadataError(f"the labels have {len(document)} entries but indices up to {size - 1}")
            document = [document[key] for key in sorted(document, key=int)]
        # Keras' class index: {"0": ["n01440764", "tench"], ...}
        document = [entry[-1] if isinstance(entry, list) and entry else entry for entry in document]
    else:
        document = [line.strip() for line in stripped.splitlines() if line.strip()]
    if not all(isinstance(label, str | int | float) for label in document):
        raise MetadataError("labels must be a list of names", _AGAIN)
    labels = tuple(_printable(str(label)) for label in document)
    if not labels:
        raise MetadataError("the labels are empty", "give one class name a line, or a JSON list")
    plain = [_SYNSET.sub("", label) for label in labels]
    return tuple(plain) if all(map(_SYNSET.match, labels)) else labels
