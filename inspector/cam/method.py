"""What a class activation map's method is: a formula, and what it needs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, cast

from inspector.cam.context import FloatArray, MethodContext
from inspector.records import record

Needs = Literal["gradient", "activation", "runs", "detections"]


@record
class Method:
    """One way to weigh a layer's maps.

    Args:
        name: What it is called in commands.
        title: What its authors call it.
        paper: Where it was published.
        year: When it was first published.
        needs: The layer's "gradient"; its "activation" alone, which gives the same map for every class; further "runs"
            of the network; or the "detections" of runs, for the boxes of a detector.
        formula: What makes the map. For "gradient" it is called with activation and gradient, float32 (C, h, w) each,
            for "activation" with the activation; both give float32 (h, w). For "runs" it is called with a
            `MethodContext` and gives one float32 (h, w) for each target; for "detections" with a `CoverContext`.
        aliases: Further spellings of the name.
        linear_head: Whether it is only defined where the scores are an affine function of the layer.
        whole_network: Whether the runs are of the whole network, not of the part behind the layer.
    """

    name: str
    title: str
    paper: str
    year: int
    needs: Needs
    formula: Callable[..., object]
    aliases: tuple[str, ...] = ()
    linear_head: bool = False
    whole_network: bool = False

    @property
    def class_independent(self) -> bool:
        """Whether it makes one map whatever the class."""
        return self.needs == "activation"

    def maps(self, context: MethodContext) -> Sequence[FloatArray]:
        """The raw maps, float32 (h, w), one for each of the context's targets."""
        if self.needs == "activation":
            one = cast(FloatArray, self.formula(context.activation))
            return [one] * len(context.targets)
        if self.needs == "gradient":
            return [cast(FloatArray, self.formula(context.activation, context.gradient(t))) for t in context.targets]
        return cast("Sequence[FloatArray]", self.formula(context))
