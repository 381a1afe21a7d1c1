"""From the network's input back to the picture: boxes, keypoints, masks, and the class of each pixel."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inspector.image import MapsBack, Preprocess
from inspector.tasks.answers import Corners, Detections, Segmentation
from inspector.tasks.candidates import Candidates
from inspector.tasks.decoder import MapDecoder


def take_back(found: Candidates, preprocess: Preprocess, size: tuple[int, int]) -> Detections:
    """Take objects back to the picture, and clip them to it.

    Args:
        found: Objects in pixels of the network's input.
        preprocess: How the picture became the input.
        size: (width, height) of the picture.

    Returns:
        The objects in pixels of the picture, without those that lie wholly beyond it.
    """
    made = []
    for at, one in enumerate(found.detections()):
        box = _clip(preprocess.to_picture(np.reshape(one.box, (2, 2)), size), size)
        if box[2] <= box[0] or box[3] <= box[1]:
            continue
        moved = replace(one, box=box)
        if one.corners is not None:
            moved = replace(moved, corners=preprocess.to_picture(one.corners, size).astype(np.float32))
        if one.keypoints is not None:
            places = preprocess.to_picture(one.keypoints[:, :2], size)
            moved = replace(moved, keypoints=np.concatenate([places, one.keypoints[:, 2:]], axis=1).astype(np.float32))
        if found.masks is not None:
            plane = found.masks(np.array([at]))[0]
            moved = replace(moved, mask=_mask(plane, box, preprocess, size))
        made.append(moved)
    return Detections(tuple(made), size)


def _clip(points: NDArray[np.float64], size: tuple[int, int]) -> Corners:
    (x1, y1), (x2, y2) = np.clip(points, 0, size)
    return float(x1), float(y1), float(x2), float(y2)


def _mask(plane: NDArray[np.float32], box: Corners, preprocess: Preprocess, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Where a map over the input is above 0, inside the box: bool (H, W) of the picture."""
    back = MapsBack(preprocess, size, (plane.shape[0], plane.shape[1]))
    width, height = size
    x, y = np.arange(width) + 0.5, np.arange(height) + 0.5
    rows = (y >= box[1]) & (y <= box[3]) & back.seen[0]
    columns = (x >= box[0]) & (x <= box[2]) & back.seen[1]
    mask = np.zeros((height, width), np.bool_)
    inside = back.part(plane, rows, columns) > 0
    mask[np.ix_(rows, columns)] = inside
    return mask


def segment_picture(
    decoder: MapDecoder, maps: NDArray[np.float32], preprocess: Preprocess, size: tuple[int, int]
) -> Segmentation:
    """Find the class of every pixel of a picture.

    Args:
        decoder: What the maps mean.
        maps: float32 (K, h, w), as :meth:`MapDecoder.maps` gives them.
        preprocess: How the picture became the input.
        size: (width, height) of the picture.
    """
    back = MapsBack(preprocess, size, (maps.shape[1], maps.shape[2]))
    unseen = ~(back.seen[0][:, None] & back.seen[1][None])
    if decoder.activation == "indices":
        whole = np.nan_to_num(np.rint(maps[0]), nan=-1).clip(-1, 2**31 - 128)  # the largest float32 that is an int32
        classes = back.nearest(whole.astype(np.int32))
        count = decoder.classes or int(classes.max(initial=0)) + 1
        classes[unseen] = -1
        return Segmentation(classes, None, count)
    width, height = size
    classes, confidence = np.empty((height, width), np.int32), np.empty((height, width), np.float32)
    for start, strip in back.strips(maps):
        part = slice(start, start + strip.shape[1])
        classes[part], confidence[part] = _judge(strip, decoder.activation)
    classes[unseen], confidence[unseen] = -1, 0
    return Segmentation(classes, confidence, max(2, len(maps)))


def _judge(strip: NDArray[np.float32], activation: str) -> tuple[NDArray[Any], NDArray[Any]]:
    """(class, probability of it) of each pixel: (K, h, w) -> (h, w) each. A NaN counts as no evidence."""
    values = np.nan_to_num(strip, nan=-np.inf if activation != "none" else 0.0)
    if len(values) == 1:
        with np.errstate(over="ignore"):
            share = 1 / (1 + np.exp(-values[0])) if activation == "sigmoid" else values[0]
        front = share >= 0.5
        return front, np.where(front, share, 1 - share)
    best = values.argmax(axis=0)
    top = np.take_along_axis(values, best[None], axis=0)[0]
    if activation == "none":
        return best, top
    with np.errstate(invalid="ignore"):
        share = 1 / np.exp(values - top).sum(axis=0)
    return best, np.nan_to_num(share)
