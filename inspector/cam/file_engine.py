"""Maps that the file gives itself: those of an output that `inspector attach` added."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from inspector.cam.engine import CamEngine, Classes
from inspector.cam.method import Method
from inspector.cam.result import CamResult
from inspector.image import ImageSource, open_image
from inspector.layers import Layer
from inspector.metadata import AttachedEntry
from inspector.model import Model

Array = NDArray[Any]


@dataclass
class FileEngine:
    """A method whose heatmaps the file itself holds; the map before scaling is still computed here.

    Attributes:
        inner: What computes the same maps.
        entry: The output with the map of the top class.
    """

    inner: CamEngine
    entry: AttachedEntry

    @property
    def model(self) -> Model:
        """The model."""
        return self.inner.model

    @property
    def method(self) -> Method:
        """The method."""
        return self.inner.method

    @property
    def backend(self) -> Literal["onnx", "twin"]:
        """Where gradients of the map before scaling come from."""
        return self.inner.backend

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layer looked at."""
        return self.inner.layers

    @property
    def reason(self) -> str:
        """Why this layer, and that the file gives the map."""
        return f"the map of the top class is the file's own output {self.entry.name!r}; {self.inner.reason}"

    def maps(
        self, image: ImageSource | Array, classes: Classes | None = None, top: int | None = None
    ) -> list[CamResult]:
        """The maps of one picture; that of the top class as the file gives it."""
        source = image if isinstance(image, np.ndarray) and image.ndim == 4 else open_image(image, warn=self.model.warn)
        results = self.inner.maps(source, classes, top)
        attached = self.model.attached
        if classes is not None or attached is None or not results or results[0].empty:
            return results
        tensor = source if isinstance(source, np.ndarray) else self.model.preprocess.tensor(source)
        name = self.entry.name
        said = attached.run(self.model.input.name, tensor, [name], self.model.input.batch)[name][0]
        first = replace(results[0], heatmap=np.asarray(said, np.float32), attached=name, reason=self.reason)
        return [first, *results[1:]]


def find_file_engine(engine: CamEngine) -> CamEngine | FileEngine:
    """The engine, or where its file holds the very maps that it makes, one that takes them from there."""
    attached = engine.model.attached
    entry = attached.find("cam") if attached is not None else None
    if entry is None or len(engine.layers) != 1 or not engine.explained.classifier:
        return engine
    same = entry.settings.get("method") == engine.method.name and entry.settings.get("layer") == engine.layers[0].name
    return FileEngine(engine, entry) if same else engine
