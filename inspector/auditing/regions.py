"""Where the objects are, by the policy: masks, boxes, or one box for all."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from inspector.auditing.policy import MAX_BYTES, Box, Policy, PolicyError, Regions
from inspector.image import SUFFIXES

if TYPE_CHECKING:
    from inspector.cam.faithfulness import Region

Make = Callable[[tuple[int, int]], "Region"]
"""From a picture's size (width, height) to the region in it."""


def check_paths(policy: Policy, reference: bool = True) -> None:
    """Raise PolicyError where the masks, the boxes or the reference that the policy names are not there.

    Found out later, a misspelt folder would look like one without masks.

    Args:
        policy: The policy.
        reference: False where another one was given.
    """
    hint = "paths are relative to the policy's own file"
    masks = policy.regions.masks
    if masks is not None and not masks.is_dir():
        what = "is not a folder" if masks.exists() else "does not exist"
        raise PolicyError(f"the masks' folder {masks} (regions.masks) {what}", hint)
    if policy.regions.boxes is not None:
        _read_boxes(policy.regions.boxes)
    if reference and policy.reference is not None and not policy.reference.is_file():
        what = "is not a file" if policy.reference.exists() else "does not exist"
        raise PolicyError(f"the reference {policy.reference} (reference) {what}", hint)


def find_region(regions: Regions, key: str) -> Make | None:
    """Where the object is in the picture `key` (its path below the data folder); None where nothing says.

    Raises:
        PolicyError: For a file of boxes that cannot be read.
    """
    if regions.masks is not None and (mask := _find_mask(regions.masks, key)) is not None:
        return lambda size: _parse_mask(mask)
    if regions.boxes is not None:
        boxes = _read_boxes(regions.boxes).get(key)
        if boxes:
            return lambda size: _unite_boxes(boxes, size)
    if regions.box is not None:
        box = regions.box
        return lambda size: make_box_region(box, size)
    return None


def make_box_region(box: Box, size: tuple[int, int]) -> Region:
    """The region of a box in shares of a picture of `size` (width, height)."""
    from inspector.cam.faithfulness import Region

    width, height = size
    left, top, right, bottom = box[0] * width, box[1] * height, box[2] * width, box[3] * height
    return Region(box=(left, top, right - left, bottom - top))


def _parse_mask(mask: Path) -> Region:
    from inspector.cam.faithfulness import parse_region

    region = parse_region(mask=mask)
    assert region is not None
    return region


def _find_mask(folder: Path, key: str) -> Path | None:
    exact = folder / key
    candidates = [exact, *(exact.with_suffix(suffix) for suffix in sorted(SUFFIXES))]
    return next((path for path in candidates if path.is_file()), None)


def _unite_boxes(boxes: Sequence[Sequence[float]], size: tuple[int, int]) -> Region:
    from inspector.cam.faithfulness import Region

    mask = np.zeros((size[1], size[0]), np.bool_)
    for left, top, right, bottom in boxes:
        mask[max(0, round(top)) : max(0, round(bottom)), max(0, round(left)) : max(0, round(right))] = True
    return Region(mask=mask)


@lru_cache(maxsize=4)
def _read_boxes(file: Path) -> dict[str, list[list[float]]]:
    try:
        if file.stat().st_size > 64 * MAX_BYTES:
            raise PolicyError(f"{file} is larger than 64 MB")
        document: Any = json.loads(file.read_text("utf-8"))
    except OSError as error:
        raise PolicyError(f"the boxes {file} cannot be read: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:
        raise PolicyError(f"the boxes {file} are not JSON: {error}") from None
    good = isinstance(document, dict) and all(
        isinstance(boxes, list) and all(_is_box(box) for box in boxes) for boxes in document.values()
    )
    if not good:
        raise PolicyError(
            f"the boxes {file} are malformed", 'as in {"cat/1.jpg": [[left, top, right, bottom]]}, in pixels'
        )
    return dict(document)


def _is_box(box: Any) -> bool:
    numbers = (
        isinstance(box, list)
        and len(box) == 4
        and all(isinstance(v, int | float) and not isinstance(v, bool) for v in box)
    )
    return numbers and box[0] < box[2] and box[1] < box[3]
