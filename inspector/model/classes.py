"""Finding a class by what a person calls it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from inspector.errors import ClassNotFound, listing, nearest

if TYPE_CHECKING:
    from inspector.model.model import Model


def find_class(name: str | int, labels: Sequence[str], classes: int | None) -> int:
    """Find a class by its label in any case, by one of several names in its label, or by its index.

    Args:
        name: What the class is called.
        labels: The labels in the order of the classes; may be empty.
        classes: Number of classes, where it is known.

    Returns:
        The index of the class.

    Raises:
        ClassNotFound: No class, or more than one, goes by that name; the nearest labels are told.
    """
    text = str(name).strip()
    index = name if isinstance(name, int) else None
    hits: list[int] = []
    if index is None:
        hits = _find_labels(text, labels)
        if not hits and (number := re.fullmatch(r"(?:class )?(-?[0-9]{1,12})", text)):
            index = int(number[1])
    if index is not None:
        count = classes or len(labels) or None
        if index < 0 or (count is not None and index >= count):
            known = f"0 to {count - 1}" if count else "0 or more"
            raise ClassNotFound(f"there is no class {index}", f"the indices are {known}")
        return index
    hits = hits or _find_parts(text, labels)
    if len(hits) == 1:
        return hits[0]
    if hits:
        raise ClassNotFound(
            f"{len(hits)} classes are called {text!r}", f"give one index: {listing(list(map(str, hits)), 9)}"
        )
    if not labels:
        raise ClassNotFound(
            f"there is no class {text!r}: the model has no labels",
            "give an index, or write labels into the file with `inspector annotate --labels`",
        )
    raise ClassNotFound(f"there is no class {text!r}; nearest: {', '.join(nearest(text, labels))}")


def _find_labels(text: str, labels: Sequence[str]) -> list[int]:
    """The classes with this label; where there is none, those with it in another case."""
    exact = [i for i, label in enumerate(labels) if label == text]
    return exact or [i for i, label in enumerate(labels) if label.lower() == text.lower()]


def _find_parts(text: str, labels: Sequence[str]) -> list[int]:
    """The classes with this among the names of their label: "tabby" for "tabby, tabby cat", as ImageNet has."""
    wanted = text.lower()
    return [i for i, label in enumerate(labels) if wanted in (part.strip().lower() for part in label.split(","))]


def find_folder_class(model: Model, name: str) -> int | None:
    """The class that a folder is named after: by label (blanks as _ or -, any case) or index; None if there is none."""
    for text in dict.fromkeys((name, name.replace("_", " "), name.replace("-", " "))):
        try:
            return model.find_class(text)
        except ClassNotFound:
            continue
    squeezed = squeeze_name(name)
    hits = [i for i, label in enumerate(model.labels or ()) if squeeze_name(label) == squeezed]
    return hits[0] if len(hits) == 1 else None


def squeeze_name(name: str) -> str:
    """The letters and digits of a name in lower case, by which folders and labels are compared."""
    return "".join(c for c in name.lower() if c.isalnum())
