"""The pictures of an audit by the task of the model: in folders named after classes, with boxes, or with masks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from inspector.auditing.pictures import PictureEntry, PictureSet, find_entries
from inspector.auditing.policy import Images
from inspector.auditing.scanned import find_scan_entries
from inspector.datasets import LabelError, LabelledData, read_box_labels, read_mask_labels
from inspector.errors import ImageError, listing
from inspector.image import choose_evenly
from inspector.metrics import TrueBoxes
from inspector.model import Model, find_folder_class
from inspector.scanning.kept import is_scan
from inspector.text import relative

_KINDS = {"detect": "boxes", "pose": "boxes", "segment": "masks"}
_LAYOUTS = {
    "boxes": "labels of objects (YOLO, COCO or Pascal VOC)",
    "masks": "masks (PNGs named as the pictures, in a folder masks)",
}


def find_labelled_pictures(model: Model, source: Path, images: Images) -> PictureSet:
    """Find the pictures of an audit, with what is known of them.

    Args:
        model: What is audited: its task says which labels are read.
        source: A folder, or that of a scan; of a detector also a data.yaml (YOLO) or a JSON (COCO).
        images: What the policy says of pictures.

    Raises:
        ImageError: There are no pictures, or no labels where the policy wants some.
        LabelError: A file of labels is malformed, or none of its classes is one of the model.
    """
    if is_scan(source):
        return find_scan_entries(model, source, images.max)
    kind = _KINDS.get(model.task or "")
    if kind is None:
        return find_entries(model, source, images.labelled, images.max)
    if not source.exists():
        raise ImageError(f"the pictures {source} do not exist", "give --data a folder of pictures, or a file of labels")
    data = None
    if images.labelled != "no":
        data = (read_box_labels if kind == "boxes" else read_mask_labels)(source, images.split)
    if data is None:
        missing = f"{relative(source)} holds no {_LAYOUTS[kind]}"
        if images.labelled == "yes":
            raise ImageError(missing, 'give labelled pictures, or set labelled = "auto" under [images]')
        plain = find_entries(model, source, "no", images.max)
        return PictureSet(plain.entries, source, plain.unlabelled if images.labelled == "no" else missing)
    pictures = [data.pictures[at] for at in choose_evenly(len(data.pictures), images.max)]
    notes = [f"the labels are {data.describe()}"] if data.split and images.split == "auto" else []
    if kind == "masks":
        entries = [PictureEntry(one.path, relative(one.path), one.key, None, mask=one.mask) for one in pictures]
        missing = "" if any(entry.mask for entry in entries) else "none of the pictures has a mask"
        return PictureSet(tuple(entries), source, missing, tuple(notes))
    classes, why = match_classes(model, data)
    notes += why
    entries = [
        PictureEntry(one.path, relative(one.path), one.key, None, boxes=_translate(one.boxes, classes))
        for one in pictures
        if one.boxes is not None
    ]
    return PictureSet(tuple(entries), source, "", tuple(notes))


def match_classes(model: Model, data: LabelledData) -> tuple[list[int | None], list[str]]:
    """The class of the model that each class of the data is, and what had to be assumed.

    By name where both have names; else by number, which in COCO's files is the category's id where the model has as
    many classes as that takes, and its rank among the ids where it has not.

    Args:
        model: Whose classes they become.
        data: The labelled pictures.

    Returns:
        By class of the data: the class of the model, None where it has no such class; and clauses.

    Raises:
        LabelError: No class of the data is one of the model.
    """
    known = model.decoder.classes if model.decoder is not None else None
    if data.names is not None and model.labels:
        found = [find_folder_class(model, name) for name in data.names]
        lost = [k for k, index in enumerate(found) if index is None]
        if len(lost) == len(found):
            raise LabelError(
                f"none of the classes of {relative(data.source)} ({listing(list(data.names))}) is one of the model "
                f"({listing(list(model.labels))})",
                "name them alike; `inspector annotate --labels` names the model's",
            )
        return found, _tell_lost(data, lost)
    count = max([len(data.names or ()), 1 + max((_largest(one.boxes) for one in data.pictures), default=-1)])
    if data.layout == "voc" and count > 1:
        raise LabelError(
            f"the labels of {relative(data.source)} name classes, and the model has no names",
            "write its names into the file with `inspector annotate --labels`",
        )
    if data.ids is not None and known is not None and known > max(data.ids, default=0) and known != len(data.ids):
        return list(data.ids), ["the classes of the labels are the model's by the ids of their categories"]
    if known is not None and count > known:
        raise LabelError(f"the labels of {relative(data.source)} have {count} classes, and the model has {known}")
    return list(range(count)), ["the classes of the labels are the model's by their number"]


def _tell_lost(data: LabelledData, lost: Sequence[int]) -> list[str]:
    """The clause about objects that the model cannot find; none where there are none."""
    if not lost:
        return []
    assert data.names is not None
    objects = sum(int(np.isin(one.boxes.classes, lost).sum()) for one in data.pictures if one.boxes is not None)
    names = listing([repr(data.names[k]) for k in lost])
    return [f"{objects} labelled objects are left out, of classes that the model does not know: {names}"]


def _largest(boxes: TrueBoxes | None) -> int:
    return int(boxes.classes.max(initial=-1)) if boxes is not None else -1


def _translate(boxes: TrueBoxes, classes: Sequence[int | None]) -> TrueBoxes:
    """The objects with the model's classes, without those that it does not know."""
    table = np.array([-1 if index is None else index for index in classes], np.int64)
    own = table[boxes.classes] if len(boxes) else boxes.classes
    kept = own >= 0
    return boxes.pick(kept, own)
