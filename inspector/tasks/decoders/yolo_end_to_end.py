"""YOLOv10, YOLO26, YOLOv7 end to end, and whatever was exported with its suppression: rows of a box, score, class."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from inspector.errors import NotComputable
from inspector.tasks.candidates import Candidates, enclose, find_corners
from inspector.tasks.decoder import Arrays, BoxDecoder
from inspector.tasks.decoders._yolo import find_prototypes, find_pyramid, prepare_masks, to_keypoints
from inspector.tasks.decoders.paddle import is_of_paddle
from inspector.tasks.layout import HeadLayout, Masks, OutputTable, Points, number_box
from inspector.tasks.seen import Output, Seen

_MOST_ROWS = 1000


@dataclass(frozen=True, eq=False)
class YoloEndToEnd(BoxDecoder):
    """x1, y1, x2, y2, score, class; rows of score 0 are padding.

    Attributes:
        more: What stands behind the class: nothing, coefficients of masks, keypoints, an angle.
        numbers: Numbers of one keypoint.
    """

    more: str = ""
    numbers: int = 3

    family: ClassVar[str] = "YOLOv10, YOLO26, and heads exported with suppression"
    looks: ClassVar[str] = "(1, 300, 6) or (n, 6), with 32 coefficients and prototypes, keypoints or an angle; (n, 7)"
    order: ClassVar[int] = 42
    iou: ClassVar[float | None] = None

    @classmethod
    def match(cls, seen: Seen) -> Self | None:
        """Few rows of six numbers, or a number of rows that depends on the picture."""
        for output in (*seen.of_axes(3), *seen.of_axes(2)):
            found = cls._match_output(seen, output)
            if found is not None:
                return found
        return None

    @classmethod
    def _match_output(cls, seen: Seen, output: Output) -> Self | None:
        rows, width = output.size(-2), output.size(-1)
        told = seen.said or seen.hints.end_to_end is True
        if not output.is_float or width is None or width < 6 or is_of_paddle(seen, output):
            return None
        few = rows is not None and rows <= _MOST_ROWS and not find_pyramid(seen, rows) and output.axes == 3
        if not (told or ((few or (rows is None and seen.counts(output))) and width in (6, 7, 38, 57))):
            return None
        classes = seen.labels
        prototypes = find_prototypes(seen)
        if prototypes is not None and width == 6 + (prototypes.size(1) or 0):
            why = f"{output} and {prototypes}: boxes, score, class and coefficients of masks"
            return cls((output.name, prototypes.name), "detect", classes, why, "masks")
        if width == 7 and output.axes == 2 and not seen.hints.oriented:
            return cls((output.name,), "detect", classes, f"{output}: picture, box, class and score", "numbered")
        if width == 7 and (seen.hints.oriented or told):
            return cls((output.name,), "detect", classes, f"{output}: box, score, class and angle", "angle")
        points = seen.hints.keypoints
        numbers = 2 if points and width == 6 + 2 * points else 3
        if width > 6 and (width - 6) % numbers == 0 and (told or width == 57):
            why = f"{output}: box, score, class and {(width - 6) // numbers} keypoints"
            return cls((output.name,), "pose", classes, why, "keypoints", numbers)
        if width != 6:
            return None
        return cls((output.name,), "detect", classes, f"{output}: box, score and class")

    @property
    def layout(self) -> HeadLayout:
        """The same as data."""
        tables = (OutputTable(self.outputs[:1]),)
        if self.more == "numbered":
            only = ((0, 0), 0.0, 0.0)
            return HeadLayout(
                tables=tables, box=number_box(0, 1), corners=True, scores=(0, 6, 1), label=(0, 5), within=only
            )
        return HeadLayout(
            tables=tables,
            box=number_box(0),
            corners=self.more != "angle",
            scores=(0, 4, 1),
            label=(0, 5),
            angle=(0, 6) if self.more == "angle" else None,
            points=Points((0, 6, None), self.numbers) if self.more == "keypoints" else None,
            masks=Masks(self.outputs[1], (0, 6, None)) if self.more == "masks" else None,
        )

    def decode(self, values: Arrays, size: tuple[int, int]) -> Candidates:
        """Leave out what is padding."""
        name = self.outputs[0]
        value = np.asarray(values[name])
        rows = self._rows(value)
        at = np.arange(len(rows))
        if self.more == "numbered":
            kept = rows[:, 0] == 0
            scores, order = rows[kept, 6], rows[kept, 5]
            boxes, at, column = rows[kept, 1:5], at[kept], 6
        else:
            kept = (rows[:, 4] > 0) | np.isnan(rows[:, 4])
            scores, order = rows[kept, 4], rows[kept, 5]
            boxes, at, column = rows[kept, :4], at[kept], 4
        places = [at, np.full(len(at), column)]
        if value.ndim == 3:
            places.insert(0, np.zeros(len(at), np.int64))
        classes = np.rint(np.nan_to_num(order)).astype(np.int64)
        found = Candidates(boxes, scores, np.maximum(classes, 0), name, np.stack(places, axis=1).astype(np.int64))
        return self._with_more(found, rows[kept, 6:], values)

    def _with_more(self, found: Candidates, rest: NDArray[np.float32], values: Arrays) -> Candidates:
        if self.more == "masks":
            prototypes = self.fit(values, self.outputs[1], 4)
            return replace(found, masks=prepare_masks(np.ascontiguousarray(rest), prototypes))
        if self.more == "keypoints":
            return replace(found, keypoints=to_keypoints(rest, self.numbers))
        if self.more == "angle":  # then the box is given by its centre and sides
            rotated = np.concatenate([found.boxes, rest[:, :1]], axis=1)
            return replace(found, rotated=rotated, boxes=enclose(find_corners(rotated)))
        return found

    def _rows(self, value: NDArray[np.float32]) -> NDArray[np.float32]:
        if value.ndim not in (2, 3):
            raise NotComputable(f"output {self.outputs[0]!r} has the shape {value.shape}, not (n, 6) or (1, n, 6)")
        return np.asarray(value[0] if value.ndim == 3 else value, np.float32)


DECODER = YoloEndToEnd
