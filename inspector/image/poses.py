"""Flips and quarter turns of a picture, for training and for answers that are averaged over them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from inspector.errors import UsageError, wrong_type

if TYPE_CHECKING:
    from PIL.Image import Image

POSES = ("hflip", "vflip", "rotate")
"""``hflip``, ``vflip``: mirrored left-right, up-down. ``rotate``: by quarter turns."""

Pose = tuple[int, bool]
"""(quarter turns counter-clockwise, then mirrored left-right)."""


def list_poses(kinds: Sequence[str]) -> list[Pose]:
    """List the different poses that some flips and turns make together.

    Args:
        kinds: Of ``hflip``, ``vflip``, ``rotate``. Other names count for nothing.

    Returns:
        The poses, the plain one first: one flip makes two, both make four, turns and a flip make eight.
    """
    found: list[Pose] = [(0, False)]
    if "hflip" in kinds:
        found.append((0, True))
    if "vflip" in kinds:
        found += [((turns + 2) % 4, not mirrored) for turns, mirrored in found]
    if "rotate" in kinds:
        found += [((turns + more) % 4, mirrored) for more in (1, 2, 3) for turns, mirrored in found]
    return list(dict.fromkeys(found))


def turn_picture(image: Image, pose: Pose) -> Image:
    """Turn and mirror a picture.

    Args:
        image: Any PIL image.
        pose: Quarter turns counter-clockwise, and whether it is mirrored left-right after them.

    Returns:
        The picture in that pose; the same object in the plain one.
    """
    from PIL.Image import Transpose

    turns, mirrored = pose
    if turns:
        image = image.transpose((Transpose.ROTATE_90, Transpose.ROTATE_180, Transpose.ROTATE_270)[turns - 1])
    return image.transpose(Transpose.FLIP_LEFT_RIGHT) if mirrored else image


def describe_mean(kinds: Sequence[str]) -> str:
    """What is said after figures that are means over poses: ", mean over 4 poses"; nothing without poses."""
    return f", mean over {len(list_poses(kinds))} poses" if kinds else ""


def split_kinds(text: str) -> tuple[str, ...]:
    """Split "hflip, vflip" at its commas; "none" gives nothing. The names are not checked."""
    return tuple(kind.strip() for kind in text.split(",") if kind.strip() not in ("", "none"))


def read_poses(text: str) -> tuple[str, ...]:
    """Read the poses that a text names.

    Args:
        text: Names with commas between them, as in "hflip, rotate", or "none".

    Returns:
        The names.

    Raises:
        UsageError: One of them is no pose.
    """
    kinds = split_kinds(text)
    check_poses(kinds)
    return kinds


def check_poses(kinds: Sequence[str]) -> None:
    """Refuse names that are no poses.

    Raises:
        UsageError: One of them is no pose, or `kinds` is a single text.
    """
    if not isinstance(kinds, Iterable):
        raise wrong_type("poses", kinds, "give a list of names")
    if isinstance(kinds, str):
        raise UsageError(
            f"poses are a sequence of names, not the text {kinds!r}",
            f"give ({kinds!r},)" if kinds else "give () for the picture as it is",
        )
    if unknown := [kind for kind in kinds if kind not in POSES]:
        raise UsageError(f"there is no pose {unknown[0]!r}", f"known: {', '.join(POSES)}")
