"""The one JSON document that travels inside the .onnx, under ``metadata_props["inspector"]``."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, cast

from inspector.errors import MetadataError
from inspector.image import Preprocess

KEY = "inspector"
SCHEMA = 1
MAX_BYTES = 16 * 1024 * 1024
Activation = Literal["softmax", "sigmoid", "none"]
ACTIVATIONS: tuple[Activation, ...] = ("softmax", "sigmoid", "none")
_SYNSET = re.compile(r"n\d{8}[\s:,]+(?=\S)")
_AGAIN = "write it again with `inspector annotate`"


@dataclass(frozen=True)
class LayerEntry:
    """A layer as the exporter named it. aliases: other names it answers to (module paths, the lecture's names)."""

    name: str
    tensor: str
    kind: str
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True)
class Metadata:
    """Everything the graph itself cannot say. Every part may be absent.

    labels: K class names. output: tensor with the scores (N, K). activation: what turns scores into probabilities.
    cam_layer: name of the layer that class activation maps look at. source, training, versions: free JSON objects.
    """

    preprocess: Preprocess | None = None
    labels: tuple[str, ...] | None = None
    layers: tuple[LayerEntry, ...] = ()
    cam_layer: str | None = None
    output: str | None = None
    activation: Activation | None = None
    source: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    licence: str | None = None
    versions: Mapping[str, str] = field(default_factory=dict)

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
        for key in ("cam_layer", "output", "activation", "licence"):
            if (value := getattr(self, key)) is not None:
                document[key] = value
        for key in ("source", "training", "versions"):
            if value := getattr(self, key):
                document[key] = dict(value)
        return json.dumps(document, ensure_ascii=False, sort_keys=True, separators=(",", ":"))

    def with_(self, **changes: Any) -> Metadata:
        """A copy with these fields replaced."""
        return replace(self, **changes)


def read_metadata(properties: Mapping[str, str]) -> Metadata:
    """The document of a model's metadata entries; an empty Metadata where there is none.

    Raises MetadataError when it is there but malformed, or of a later schema.
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
    return Metadata(
        preprocess=Preprocess.from_json(document["preprocess"]) if document.get("preprocess") is not None else None,
        labels=_labels(document.get("labels")),
        layers=tuple(_entry(e) for e in _list(document, "layers")),
        cam_layer=_text(document, "cam_layer"),
        output=_text(document, "output"),
        activation=_activation(document.get("activation")),
        source=_object(document, "source"),
        training=_object(document, "training"),
        licence=_text(document, "licence"),
        versions=_object(document, "versions"),
    )


def parse_labels(text: str) -> tuple[str, ...]:
    """Class names from a file's text: a JSON list, a JSON object index -> name, or one name a line.

    Where a WordNet id begins every entry (``n02123045 tabby, tabby cat``), it is left out.

    Raises MetadataError when there is none.
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
    labels = _labels(document)
    if not labels:
        raise MetadataError("the labels are empty", "give one class name a line, or a JSON list")
    plain = [_SYNSET.sub("", label) for label in labels]
    return tuple(plain) if all(map(_SYNSET.match, labels)) else labels


def _labels(value: Any) -> tuple[str, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(v, str | int | float) for v in value):
        raise MetadataError("labels must be a list of names", _AGAIN)
    # Labels go to terminals and titles: no control characters.
    return tuple("".join(c if c.isprintable() else " " for c in str(v)) for v in value)


def _entry(value: Any) -> LayerEntry:
    if not isinstance(value, dict) or not all(isinstance(value.get(k), str) for k in ("name", "tensor", "kind")):
        raise MetadataError("a layer in the metadata lacks its name, tensor or kind", _AGAIN)
    aliases = value.get("aliases", [])
    if not isinstance(aliases, list) or not all(isinstance(a, str) for a in aliases):
        raise MetadataError(f"the aliases of layer {value['name']!r} must be a list of names", _AGAIN)
    return LayerEntry(value["name"], value["tensor"], value["kind"], tuple(aliases))


def _list(document: Mapping[str, Any], key: str) -> Sequence[Any]:
    value = document.get(key) or []
    if not isinstance(value, list):
        raise MetadataError(f"{key} in the metadata must be a list", _AGAIN)
    return value


def _object(document: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = document.get(key) or {}
    if not isinstance(value, dict):
        raise MetadataError(f"{key} in the metadata must be an object", _AGAIN)
    return value


def _text(document: Mapping[str, Any], key: str) -> str | None:
    value = document.get(key)
    if value is not None and not isinstance(value, str):
        raise MetadataError(f"{key} in the metadata must be text", _AGAIN)
    return value


def _activation(value: Any) -> Activation | None:
    if value is not None and value not in ("softmax", "sigmoid", "none"):
        raise MetadataError(f"activation {value!r} in the metadata is none of softmax, sigmoid, none", _AGAIN)
    return cast("Activation | None", value)
