"""What is given as --preprocess and as --labels, read in one way by every command and function."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from inspector.errors import MetadataError
from inspector.image import NAMED, Preprocess
from inspector.metadata import parse_labels

MAX_FILE_BYTES = 16 * 1024 * 1024
"""Largest file of a preprocess or of labels that is read."""


def read_preprocess(given: str | os.PathLike[str] | Preprocess, base: Preprocess) -> Preprocess:
    """The preprocess that is meant by a name, a JSON file or a Preprocess.

    A file holds the keys of a preprocess, or a document with them under ``preprocess``: what
    ``inspector annotate --json`` prints, or the metadata document of a model.

    Args:
        given: A name (imagenet, unit, signed, caffe, raw), the path of a file, or a Preprocess, which is returned.
        base: Where the size, the layout and the type come from when a file or a name does not say them.

    Raises:
        MetadataError: There is no such name or file, or the file does not hold a preprocess.
    """
    if isinstance(given, Preprocess):
        return given
    if given in NAMED:
        return Preprocess.named(str(given), base.size, base.channels, base.layout).with_dtype(base.dtype)
    if not Path(given).exists():
        raise MetadataError(f"there is no preprocess {str(given)!r}", f"known: {', '.join(NAMED)}, or a JSON file")
    try:
        document = json.loads(_read(given))
    except (ValueError, RecursionError) as error:
        raise MetadataError(f"{given} is not JSON: {error}") from None
    inner = document.get("preprocess", document) if isinstance(document, dict) else document
    if not isinstance(inner, dict):
        return Preprocess.from_json(inner)
    return Preprocess.from_json({"layout": base.layout, "dtype": base.dtype, "size": base.size, **inner})


def read_labels(given: str | os.PathLike[str] | Sequence[str]) -> tuple[str, ...]:
    """The class names that are given as a file or as they are.

    Args:
        given: The path of a file that :func:`inspector.metadata.parse_labels` reads, or the names themselves.

    Raises:
        MetadataError: The file cannot be read, or holds no class names.
    """
    if isinstance(given, str | os.PathLike):
        return parse_labels(_read(given))
    return tuple(map(str, given))


def _read(path: str | os.PathLike[str]) -> str:
    file = Path(path)
    try:
        if file.stat().st_size > MAX_FILE_BYTES:
            raise MetadataError(f"{file} is larger than 16 MB")
        return file.read_text("utf-8")
    except OSError as error:
        raise MetadataError(f"{file} cannot be read: {error.strerror}") from None
    except ValueError:
        raise MetadataError(f"{file} is not UTF-8 text") from None
