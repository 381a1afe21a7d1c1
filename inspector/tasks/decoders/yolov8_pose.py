"""YOLOv8, 11 with keypoints for each object."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Self

from inspector.tasks.candidates import Candidates
from inspector.tasks.decoder import Arrays, BoxDecoder
from inspector.tasks.decoders._yolo import decode_classes, find_channels_first, place_anchors, to_keypoints
from inspector.tasks.layout import HeadLayout, OutputTable, Points, number_box
from inspector.tasks.seen import Seen

_PEOPLE = 17
"""Keypoints of a person in COCO."""


@dataclass(frozen=True, eq=False)
class YoloV8Pose(BoxDecoder):
    """As yolov8, and P keypoints of x, y and visibility in pixels.

    Attributes:
        width: Numbers of the keypoints of a place, 3 P, or 2 P without visibility.
        numbers: Numbers of one keypoint, 3 or 2.
    """

    width: int = 3 * _PEOPLE
    numbers: int = 3

    family: ClassVar[str] = "YOLOv8, 11 with keypoints"
    looks: ClassVar[str] = "(1, 4+K+3P, A)"
    order: ClassVar[int] = 47

    @classmethod
    def match(cls, seen: Seen) -> Self | None:
        """A head as yolov8's, with more numbers than box and classes need, or as many as people have keypoints."""
        found = find_channels_first(seen)
        told = seen.said or seen.hints.task == "pose"
        if found is None or not (told or seen.hints.task is None):
            return None
        output, channels, _ = found
        count = seen.labels if seen.labels is not None and seen.labels + 4 < channels else 1
        width = channels - 4 - count
        if not told and not (width == 3 * _PEOPLE if seen.labels is None else width >= 6 and width % 3 == 0):
            return None
        points = seen.hints.keypoints
        numbers = width // points if points and width in (2 * points, 3 * points) else 3 if width % 3 == 0 else 2
        why = f"{output}: a box, {count} classes and {width // numbers} keypoints at every place"
        return cls((output.name,), "pose", count, why, width, numbers)

    @property
    def layout(self) -> HeadLayout:
        """The same as data."""
        points = Points((0, 4 + (self.classes or 0), self.width), self.numbers)
        tables = (OutputTable(self.outputs, first=True),)
        return HeadLayout(tables=tables, box=number_box(0), scores=(0, 4, self.classes), points=points)

    def decode(self, values: Arrays, size: tuple[int, int]) -> Candidates:
        """As yolov8, with keypoints."""
        (name,) = self.outputs
        rows = self.fit(values, name, 3).T
        end = rows.shape[1] - self.width
        found = decode_classes(rows[:, :4], rows[:, 4:end], name, lambda classes: place_anchors(classes, 4, False))
        return replace(found, keypoints=to_keypoints(rows[:, end:], self.numbers))


DECODER = YoloV8Pose
