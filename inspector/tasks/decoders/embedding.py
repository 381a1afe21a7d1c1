"""Embeddings: a vector, near for pictures that are alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from inspector.tasks.decoder import Arrays, VectorDecoder
from inspector.tasks.seen import Output, Seen


@dataclass(frozen=True, eq=False)
class Embedding(VectorDecoder):
    """D numbers, often of unit length."""

    family: ClassVar[str] = "embeddings"
    looks: ClassVar[str] = "(1, D)"
    order: ClassVar[int] = 95

    @classmethod
    def match(cls, seen: Seen) -> Self | None:
        """A vector whose length the graph makes one; any vector where somebody says so."""
        for output in seen.outputs:
            if _is_vector(output) and (seen.said or seen.values(output).unit):
                length = "a vector" if seen.said else "a vector of unit length"
                return cls((output.name,), "embed", None, f"{output}: {length}")
        return None

    def vector(self, values: Arrays) -> NDArray[np.float32]:
        """The first picture's."""
        (name,) = self.outputs
        return np.asarray(values[name][0], np.float32).reshape(-1)


def _is_vector(output: Output) -> bool:
    if not output.is_float or output.axes < 2 or output.shape is None:
        return False
    return sum(size != 1 for size in output.shape[1:]) == 1


DECODER = Embedding
