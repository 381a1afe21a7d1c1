"""What is known of each picture: the table ``pictures.parquet``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from inspector.scanning.columns import Columns
from inspector.scanning.listing import walk_list
from inspector.scanning.plan import ScanPlan

PICTURE_COLUMNS = {
    "picture": "number of the picture in the list, from 0; those that were skipped are left out",
    "path": "what it is called: its path as it was given, in an archive behind the archive's",
    "label": "what the data says it shows; null where it says nothing",
    "predicted": "the most likely class; null for a network without classes",
    "predicted_index": "number of that class in the network, from 0; -1 without classes",
    "confidence": "its probability, in [0, 1]",
    "label_probability": "the probability of the label's class; null without one, or where the network lacks it",
    "entropy": "of all probabilities, in nats",
    "width": "in pixels, as the picture is seen",
    "height": "in pixels, as the picture is seen",
    "sha256": "first 32 hex digits of its file's SHA-256",
    "suspect": "whether its label is probably wrong, by confident learning (Northcutt et al. 2021); suspects with the "
    "smallest label_probability come first",
    "suggested": "the class that a suspect confidently belongs to; null for the others",
    "copy_of": "number of the first picture of its group of copies; -1 without copies",
    "copies": "how many pictures its group has; 1 without copies",
    "outlier": "mean distance to its 10 nearest pictures in 32 principal components of the embedding, over the median",
    "class_distance": "distance to the mean of its class (label, else prediction) there, over the class's own",
    "cluster": "its cluster by k-means there, 0 being the largest",
    "x": "where it lies on the map: first principal component of the embedding, or UMAP where that is installed "
    "(`map` of scan.json says which)",
    "y": "the same: second principal component, or UMAP",
    "channels": "numbers of the embedding (channels of its layer) that lie furthest above their mean, in deviations",
    "embedding": "mean of the embedding layer over its positions, float32",
}
"""Columns of pictures.parquet."""


def make_picture_pieces(
    folder: Path, plan: ScanPlan, columns: Columns, more: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    """The rows of pictures.parquet, some thousand at a time.

    Args:
        folder: The folder of the scan.
        plan: Its plan.
        columns: What is known of each picture.
        more: Column -> its values for all pictures, what the analysis found.
    """
    names = walk_list(folder, plan.shards)
    at = -1
    classes = plan.classes
    predicted, confidence = columns.predicted, columns.confidence
    for start, embedding in columns.walk("embedding"):
        own = slice(start, start + len(embedding))
        paths, labels = [], []
        for number in columns.number[own].tolist():
            while at < number:
                picture = next(names)
                at += 1
            paths.append(picture.name)
            labels.append(picture.label)
        yield {
            "picture": columns.number[own],
            "path": paths,
            "label": labels,
            "predicted": [None if k < 0 else classes[k] for k in predicted[own].tolist()],
            "predicted_index": predicted[own],
            "confidence": confidence[own],
            "label_probability": columns.label_probability[own],
            "entropy": columns.entropy[own],
            "width": columns.size[own, 0],
            "height": columns.size[own, 1],
            "sha256": [row.tobytes().hex() for row in columns.digest[own]],
            **{name: np.asarray(values[own]) for name, values in more.items()},
            "suggested": [None if k < 0 else classes[k] for k in more["suggested"][own].tolist()],
            "channels": more["channels"][own].tolist(),
            "embedding": embedding.astype(np.float32),
        }
