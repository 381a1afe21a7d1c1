"""Which kind of labels a path holds."""

from __future__ import annotations

from pathlib import Path

from inspector.datasets.coco import find_coco, read_coco
from inspector.datasets.labelled import LabelError, LabelledData, Split
from inspector.datasets.masks import read_masks
from inspector.datasets.voc import is_voc, read_voc
from inspector.datasets.yolo import find_yaml, is_yolo, read_yolo
from inspector.text import relative


def read_box_labels(source: Path, split: Split = "auto") -> LabelledData | None:
    """Pictures with labelled boxes, whatever kind of labels they have.

    Args:
        source: A data.yaml (YOLO), a JSON (COCO), or a folder in which one of these stands, or XML files (Pascal VOC),
            or folders `images` and `labels` (YOLO).
        split: Which part of the data; "auto" takes the first that is there of val, test, train.

    Returns:
        The pictures; None for a folder without labels.

    Raises:
        LabelError: A file is malformed, with the line or entry and the reason.
    """
    if source.is_file():
        if source.suffix.lower() in (".yaml", ".yml"):
            return read_yolo(source, split)
        if source.suffix.lower() == ".json":
            return read_coco(source)
        raise LabelError(
            f"{relative(source)} is no file of labels that is known",
            "give a data.yaml (YOLO), a JSON (COCO), or a folder",
        )
    if find_yaml(source) is not None:
        return read_yolo(source, split)
    if (found := find_coco(source, split)) is not None:
        return read_coco(*found)
    if is_voc(source):
        return read_voc(source, split)
    return read_yolo(source, split) if is_yolo(source) else None


def read_mask_labels(source: Path, split: Split = "auto") -> LabelledData | None:
    """Pictures with masks, see :func:`inspector.datasets.masks.read_masks`; None for a folder without masks.

    Raises:
        LabelError: A mask has not the size of its picture, or `source` is a file.
    """
    if source.is_file():
        raise LabelError(f"{relative(source)} is a file", "give the folder of pictures and masks")
    return read_masks(source, split)
