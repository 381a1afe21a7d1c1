"""Networks that make a picture: super-resolution, style, depth, matting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from inspector.tasks.decoder import Arrays, PictureDecoder
from inspector.tasks.seen import Output, Seen

_COARSEST = 8


@dataclass(frozen=True, eq=False)
class PictureTask(PictureDecoder):
    """One or three planes.

    Attributes:
        channels_last: The planes are the last axis.
    """

    channels_last: bool = False

    family: ClassVar[str] = "image to image, depth, matting, super-resolution"
    looks: ClassVar[str] = "(1, 1 or 3, h, w), (1, h, w)"
    order: ClassVar[int] = 90

    @classmethod
    def match(cls, seen: Seen) -> Self | None:
        """The one output with the axes of a picture."""
        found = [one for one in seen.outputs if one.is_float and one.axes in (3, 4)]
        if len(found) != 1 or (len(seen.outputs) != 1 and not seen.said):
            return None
        output = found[0]
        if output.axes == 3:
            fine = _is_fine(seen, output, (1, 2))
            return cls((output.name,), "picture", None, f"{output}: a plane") if seen.said or fine else None
        for axis, sides in ((1, (2, 3)), (3, (1, 2))):
            if output.size(axis) in (1, 3) and (seen.said or _is_fine(seen, output, sides)):
                why = f"{output}: a picture of {output.size(axis)} planes"
                return cls((output.name,), "picture", None, why, axis == 3)
        return None

    def planes(self, values: Arrays) -> NDArray[np.float32]:
        """Planes first."""
        (name,) = self.outputs
        value = np.asarray(values[name][0], np.float32)
        if value.ndim == 2:
            return value[None]
        return np.asarray(value.transpose(2, 0, 1)) if self.channels_last else value


def _is_fine(seen: Seen, output: Output, axes: tuple[int, int]) -> bool:
    """Whether its sides are known to be a picture's: the input's, or those of its larger or smaller copy."""
    sides = [output.size(axis) for axis in axes]
    if seen.size is None or None in sides:
        return output.axes == 4
    whole = [side / size for side, size in zip(sides, seen.size, strict=True) if side is not None]
    return min(whole) * _COARSEST >= 1 and abs(whole[0] - whole[1]) < 0.1 * max(whole)


DECODER = PictureTask
