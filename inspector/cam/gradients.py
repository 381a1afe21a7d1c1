"""Where gradients come from: numpy, or the torch twin."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from inspector.agreement import HALF_TOLERANCE, TOLERANCE, compare_layer
from inspector.cam.noise import change_rounding
from inspector.cam.target import Target
from inspector.errors import listing
from inspector.reverse.head import Head

if TYPE_CHECKING:
    from inspector.twin.part import TwinPart

Array = NDArray[Any]
LayerArrays = Mapping[str, Array]
_KEPT = 8
"""Gradients that are kept of a head whose gradient is a constant."""


class GradientSource(Protocol):
    """Gives the gradient of targets with respect to the layer of one head."""

    needed: tuple[str, ...]
    """Tensors of a run that it reads, besides the layer's and the output's."""

    def open(self, values: LayerArrays, rng: np.random.Generator | None = None) -> Callable[[Target], Array]:
        """For the values of one run: target -> float32 in the shape of the layer's tensor.

        Args:
            values: Tensors by name.
            rng: Moves what is computed by up to one rounding, where that can be done, to see what rounding makes.
        """


class NumpyGradient:
    """The head's gradient by :mod:`inspector.reverse.rules`; with a linear head a constant of the weights.

    constants: name -> value, filled by the engine before the first run.
    """

    def __init__(self, head: Head) -> None:
        self.head = head
        self.needed = head.needed
        self.constants: dict[str, Array] = {}
        self._linear: dict[tuple[Any, ...], Array] = {}

    def open(self, values: LayerArrays, rng: np.random.Generator | None = None) -> Callable[[Target], Array]:
        """See :class:`GradientSource`."""
        known = {**self.constants, **values}
        shape = values[self.head.output].shape

        def gradient(target: Target) -> Array:
            if rng is not None:
                return self.head.gradient(target.seed(shape), known, lambda part: change_rounding(part, rng))
            if not self.head.linear or self.head.needed or target.weights is not None:
                return self.head.gradient(target.seed(shape), known)
            # It is the same for every picture of a size: worth keeping for those who look at a film.
            key = (target.cells, target.sign, shape, values[self.head.layer].shape)
            if key not in self._linear:
                if len(self._linear) >= _KEPT:
                    self._linear.clear()
                self._linear[key] = self.head.gradient(target.seed(shape), known)
            return self._linear[key]

        return gradient


class TwinGradient:
    """The head's gradient by torch. Only the part behind the layer is a twin: onnxruntime runs what comes before.

    Args:
        picture: Name of the graph's input.
        provider: What the model is run on.

    Raises:
        MissingExtra: torch is missing.
        TwinUnsupported: When the first picture comes: the twin does not have an operator.
        TwinMismatch: The same: it disagrees with onnxruntime.
    """

    def __init__(self, head: Head, picture: str, provider: str = "cpu") -> None:
        import inspector.twin  # noqa: F401  (says at once when torch is missing)

        self.head = head
        self.needed = tuple(name for name in head.siblings if name != picture)
        self._picture, self._provider = picture, provider
        self._part: TwinPart | None = None
        self._built_for: tuple[int, ...] = ()

    def _build(self, values: LayerArrays, given: Sequence[Array]) -> TwinPart:
        from inspector.twin import TwinMismatch
        from inspector.twin.part import TwinPart

        head = self.head
        shapes = {self._picture: values[self._picture].shape}
        part = TwinPart(head.graph, head.output, [head.layer, *head.siblings], shapes, self._provider)
        tolerance = HALF_TOLERANCE if head.graph.half_precision else TOLERANCE
        theirs = np.asarray(values[head.output], np.float32)
        reach = max(float(np.abs(array).max(initial=0)) for array in given)
        found = compare_layer(head.output, theirs, part.compute(given), tolerance=tolerance, operands=reach)
        if not found.ok:
            raise TwinMismatch(
                f"the twin of the part after {head.layer!r} differs from onnxruntime at {head.output!r} by "
                f"{found.max_abs:.3g}, where {tolerance * found.scale:.3g} is allowed",
                f"methods without gradients do not need it: {listing(['eigencam', 'ablationcam', 'reciprocam'])}",
                [found],
            )
        return part

    def open(self, values: LayerArrays, rng: np.random.Generator | None = None) -> Callable[[Target], Array]:
        """See :class:`GradientSource`."""
        head = self.head
        given = [values[name] for name in (head.layer, *head.siblings)]
        size = values[self._picture].shape
        if self._part is None or (head.reads_shape and size != self._built_for):
            self._part, self._built_for = self._build(values, given), size
        gradient = self._part.open_gradient(given, rng)

        def of_target(target: Target) -> Array:
            weight = target.sign if target.weights is None else target.sign * target.weights
            return gradient(slice(target.cells.start, target.cells.stop), weight)

        return of_target
