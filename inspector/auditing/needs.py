"""What a check may need besides the model, in the words of the reference page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

Need = Literal[
    "pictures", "answers", "labels", "classification", "detection", "segmentation", "boxes", "masks", "batches",
    "object", "avoid", "reference", "snapshot", "torch", "linux",
]  # fmt: skip
"""What can be lacking: then a check is not run, for that reason."""

NEEDS: Mapping[Need, str] = {
    "pictures": "pictures (`--data`)",
    "labels": "folders of pictures that are named after classes",
    "classification": "a model that classifies",
    "answers": "a model that classifies, detects or segments",
    "detection": "a model that detects objects",
    "segmentation": "a model that gives a class to every pixel",
    "boxes": "pictures with labelled boxes (YOLO, COCO or Pascal VOC)",
    "masks": "pictures with masks (indexed PNGs)",
    "batches": "a graph that takes several pictures at once",
    "object": "a policy that says where the object is (`regions`: masks, boxes or box)",
    "avoid": "a policy that names a region to avoid (`regions.avoid`)",
    "reference": "a model or a snapshot to compare with (`--against`)",
    "snapshot": "a snapshot to compare with (`--against FILE.npz`)",
    "torch": "torch",
    "linux": "Linux",
}
