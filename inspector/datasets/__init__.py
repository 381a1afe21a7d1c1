"""Reads labelled data for detectors and segmenters, in the files that people have: YOLO, COCO, Pascal VOC, masks."""

from inspector.datasets.find import read_box_labels, read_mask_labels
from inspector.datasets.labelled import LabelError, LabelledData, LabelledPicture, Split
from inspector.datasets.masks import read_mask

__all__ = ["LabelError", "LabelledData", "LabelledPicture", "Split", "read_box_labels", "read_mask", "read_mask_labels"]
