"""What other commands found, made ready for the report: audit verdicts, filter patterns and patches, training."""

from __future__ import annotations

import base64
import io
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inspector.errors import ImageError, UsageError, one_line
from inspector.image import open_image

if TYPE_CHECKING:
    from PIL.Image import Image

    from inspector.model import Model

PATTERN_SIDE = 160
PATCH_SIDE = 96
PATCHES = 3
"""Patches of a channel that the page shows."""


def read_parts(
    model: Model,
    audit: str | os.PathLike[str] | None = None,
    filters: str | os.PathLike[str] | None = None,
    run: str | os.PathLike[str] | None = None,
) -> dict[str, Any]:
    """The parts of the page that other commands made, by their name; those that are None are not there.

    Args:
        model: What the page is about.
        audit: File for `audit_part`.
        filters: File for `draw_filters_part`.
        run: Folder for `draw_confusion_part`.

    Raises:
        UsageError: One of them is not what it should be, or about another model.
    """
    parts: dict[str, Any] = {}
    if audit:
        parts["audit"] = audit_part(audit, model.digest)
    if filters:
        parts["filters"] = draw_filters_part(filters, model.digest)
    if run:
        parts["confusion"] = draw_confusion_part(run)
    return parts


def audit_part(path: str | os.PathLike[str], digest: str) -> dict[str, Any]:
    """The verdict and its reasons, from a file with what ``inspector audit --json`` said.

    Args:
        path: Of the JSON document of `inspector audit`.
        digest: Of the model that the page is about.

    Raises:
        UsageError: No such document, or one of another model.
    """
    with _document(path, "audit", digest) as document:
        return _audit(document)


def _audit(document: Mapping[str, Any]) -> dict[str, Any]:
    checks = document["checks"]
    bad = [c for c in checks if c.get("status") in ("fail", "error", "warn")]
    counts = {status: sum(c.get("status") == status for c in checks) for status in ("pass", "warn", "fail", "error")}
    told = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
    return {
        "verdict": "pass" if document.get("passed") else "fail",
        "summary": f"{len(checks)} checks: {told}" if checks else "nothing was checked",
        "findings": [f"{c['status']}: {c.get('message') or c['id']}" for c in bad[:20]],
    }


def draw_filters_part(path: str | os.PathLike[str], digest: str) -> dict[str, dict[str, list[dict[str, str]]]]:
    """Layer name -> channel -> pictures, from a file with what ``inspector filters --json`` said.

    Args:
        path: Of the JSON document of `inspector filters`.
        digest: Of the model that the page is about. The pictures that the file names must be where they were; they
            are relative to the current folder, as the command wrote them. Stuck channels have none.

    Raises:
        UsageError: No such document, one of another model, or a picture that cannot be opened.
    """
    with _document(path, "filters", digest) as document:
        return _filters(document)


def _filters(document: Mapping[str, Any]) -> dict[str, dict[str, list[dict[str, str]]]]:
    out: dict[str, dict[str, list[dict[str, str]]]] = {}
    for entry in document.get("layers") or [document]:
        shown: dict[str, list[dict[str, str]]] = {}
        for channel in entry["channels"]:
            pictures = []
            if channel.get("image") and not channel.get("stuck"):
                title = f"pattern, recipe {entry.get('recipe', '?')}, seed {entry.get('seed', '?')}"
                pictures.append({"picture": _thumbnail(channel["image"], PATTERN_SIDE), "title": title})
            for patch in (channel.get("patches") or [])[:PATCHES]:
                address = _thumbnail(patch["image"], PATCH_SIDE, patch.get("box"))
                pictures.append({"picture": address, "title": f"{Path(patch['image']).name}: {patch['value']:.3g}"})
            if pictures:
                shown[str(channel["channel"])] = pictures
        out[entry["layer"]] = shown
    return out


def draw_confusion_part(path: str | os.PathLike[str]) -> str:
    """The confusion matrix that ``inspector finetune`` drew in its run folder, as a data address.

    Raises:
        UsageError: The folder holds no finished run.
    """
    picture = Path(path) / "confusion.png"
    if not picture.is_file():
        raise UsageError(f"{os.fspath(path)} holds no confusion.png", "give the folder that `inspector finetune` wrote")
    return "data:image/png;base64," + base64.b64encode(picture.read_bytes()).decode()


def _thumbnail(path: str, side: int, box: Any = None) -> str:
    try:
        picture = open_image(Path(path))
    except ImageError as error:
        raise UsageError(f"the document names {path}, which cannot be opened: {error.message}") from None
    if box:
        picture = picture.crop(tuple(round(v) for v in box))
    return encode_jpeg(picture, side, 82)


def encode_jpeg(picture: Image, side: int, quality: int) -> str:
    """The picture as a data address, at most `side` pixels a side, without its profile and EXIF data."""
    from inspector.render.figure import fit_size, resize_picture

    small = resize_picture(picture, fit_size(picture.size, side)) if max(picture.size) > side else picture
    plain = small.convert("RGB")
    plain.info = {}
    out = io.BytesIO()
    plain.save(out, format="JPEG", quality=quality)
    return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode()


@contextmanager
def _document(path: str | os.PathLike[str], command: str, digest: str) -> Iterator[Mapping[str, Any]]:
    """The JSON document of a command about the model of that digest.

    Raises UsageError for any other document, and for what in it is not as that command writes it.
    """
    name, hint = os.fspath(path), f"give a file with what `inspector {command} MODEL --json` said"
    try:
        document = json.loads(Path(path).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{name} cannot be read as JSON: {one_line(str(error))}", hint) from None
    if not isinstance(document, dict) or document.get("command") != command or "error" in document:
        raise UsageError(f"{name} is not a document of inspector {command} --json", hint)
    try:
        # Earlier versions told the file's own alone.
        of = document["model"].get("digest") or document["model"]["sha256"]
        if of != digest:
            raise UsageError(
                f"{name} is about another model, SHA-256 {of[:16]}…; this one is {digest[:16]}…",
                f"run `inspector {command}` on this model",
            )
        yield document
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UsageError(
            f"{name} is not as inspector {command} --json writes it: {type(error).__name__} {one_line(str(error))}",
            hint,
        ) from None
