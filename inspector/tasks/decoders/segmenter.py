"""Semantic segmenters: a class for every pixel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from inspector.tasks.decoder import Arrays, MapDecoder
from inspector.tasks.seen import Output, Seen

_MOST_CLASSES = 512
_COARSEST = 8
_WORDS = ("logits", "seg", "mask", "class", "label", "argmax")


@dataclass(frozen=True, eq=False)
class Segmenter(MapDecoder):
    """Maps of K classes, of one foreground, or the classes themselves."""

    family: ClassVar[str] = "semantic segmenters (DeepLab, SegFormer, U-Net, ...)"
    looks: ClassVar[str] = "(1, K, H, W) logits or probabilities, (1, H, W) class indices, (1, 1, H, W) a foreground"
    order: ClassVar[int] = 80

    @property
    def names(self) -> tuple[str, ...]:
        """Of one foreground, what it is and is not."""
        return ("background", "foreground") if self.foreground else ()

    @classmethod
    def match(cls, seen: Seen) -> Self | None:
        """The output that has as many maps as there are labels; else the finest one that cannot be a picture."""
        for output in sorted(seen.outputs, key=lambda one: _rank(one, seen)):
            found = cls._match_output(seen, output)
            if found is not None:
                return found
        return None

    @classmethod
    def _match_output(cls, seen: Seen, output: Output) -> Self | None:
        if output.dtype.startswith(("int", "uint")):
            whole = output.axes == 3 or (output.axes == 4 and 1 in (output.size(1), output.size(3)))
            if whole and (seen.said or _is_fine(seen, output, (-2, -1) if output.size(-1) != 1 else (1, 2))):
                return cls((output.name,), "segment", seen.labels, f"{output}: whole numbers for pixels", "indices")
            return None
        if output.axes != 4 or not output.is_float:
            return None
        last = _is_channels_last(seen, output)
        count = output.size(3 if last else 1)
        if count is None or not 1 <= count <= _MOST_CLASSES:
            return None
        if not seen.said and not (
            _is_fine(seen, output, (1, 2) if last else (2, 3)) and _is_of_classes(seen, output, count)
        ):
            return None
        shares = seen.values(output).are_shares
        if count == 1:
            why = f"{output}: one map of a foreground"
            return cls((output.name,), "segment", 2, why, "none" if shares else "sigmoid", last, True)
        why = f"{output}: {count} maps of classes"
        return cls((output.name,), "segment", count, why, "none" if shares else "softmax", last)

    def maps(self, values: Arrays) -> NDArray[np.float32]:
        """Classes first, whatever order the graph has."""
        (name,) = self.outputs
        value = np.asarray(values[name][0], np.float32)
        if value.ndim == 2:
            return value[None]
        if self.activation == "indices":
            return value[None, 0] if value.shape[0] == 1 else value[None, :, :, 0]
        return self.fit(values, name, 4).transpose(2, 0, 1) if self.channels_last else self.fit(values, name, 4)


def _rank(output: Output, seen: Seen) -> tuple[bool, bool, int]:
    count = output.size(3 if _is_channels_last(seen, output) else 1)
    return (seen.labels is None or count != seen.labels, not _is_named(output), -(output.size(2) or 0))


def _is_channels_last(seen: Seen, output: Output) -> bool:
    """Whether the classes are the last axis: the other two then are as the input's."""
    if output.axes != 4:
        return False
    first, last = output.size(1), output.size(3)
    if seen.size is not None and output.size(1) == seen.size[0] and output.size(2) == seen.size[1]:
        return last is not None and (output.size(2), last) != seen.size
    return first is None and last is not None


def _is_fine(seen: Seen, output: Output, axes: tuple[int, int]) -> bool:
    """Whether it has at least a place for every 8 x 8 pixels; what is open may be as fine."""
    sides = [output.size(axis) for axis in axes]
    if seen.size is None or None in sides:
        return True
    return all(side is not None and side * _COARSEST >= whole for side, whole in zip(sides, seen.size, strict=True))


def _is_of_classes(seen: Seen, output: Output, count: int) -> bool:
    """Whether its maps are of classes: no picture of one or three channels, and no maps of features."""
    values = seen.values(output)
    if seen.labels is not None and seen.labels in (count, 2 if count == 1 else count):
        return True
    if seen.hints.task == "segment" or _is_named(output):
        return True
    if count == 1:
        return values.are_shares
    # Logits have both signs: what a Relu leaves are maps of features.
    alone = all(one.axes == 4 and one.shape == output.shape for one in seen.outputs)
    return values.add_up_to_one or (count != 3 and alone and values.low < 0)


def _is_named(output: Output) -> bool:
    return any(word in output.name.lower() for word in _WORDS)


DECODER = Segmenter
