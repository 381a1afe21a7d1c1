"""What a file says itself beside the maps that are made here: outputs that `inspector attach` added."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from inspector.cam.boxes import BoxEngine
from inspector.cam.engine import CamEngine, Classes
from inspector.cam.method import Method
from inspector.cam.result import CamResult
from inspector.image import ImageSource, open_image
from inspector.layers import Layer
from inspector.metadata import AttachedEntry, Attachment
from inspector.model import Model
from inspector.model.attached import Attached, name_answers, read_answers

Array = NDArray[Any]
_OTHER_BOX = 1e-2
"""A map of a box that differs by more is one of another box, whose score is the same number once it is rounded."""


@dataclass
class FileEngine:
    """A method on a file that says something itself: heatmaps, and probabilities of the classes.

    The map before scaling is still computed here.

    Attributes:
        inner: What computes the same maps.
        attached: What the file has.
        entries: The outputs with heatmaps that are taken, by what they say: ``cam``, ``cam_classes``.
    """

    inner: CamEngine | BoxEngine
    attached: Attached = field(repr=False)
    entries: Mapping[Attachment, AttachedEntry]

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
        """The layer looked at; empty where each box has its own."""
        return self.inner.layers

    @property
    def reason(self) -> str:
        """Why this layer."""
        return self.inner.reason

    def list_used(self, named: bool) -> list[str]:
        """The names of the outputs that are taken from the file, where classes are `named` or not."""
        answers = name_answers(self.attached) if _asks_classes(self.inner) else []
        maps = [entry.name for meaning, entry in self.entries.items() if not (named and meaning == "cam")]
        return [*maps, *answers]

    def maps(
        self, image: ImageSource | Array, classes: Classes | None = None, top: int | None = None
    ) -> list[CamResult]:
        """The maps of one picture, as the file gives them where it does, with its probabilities."""
        source = image if isinstance(image, np.ndarray) and image.ndim == 4 else open_image(image, warn=self.model.warn)
        results = self.inner.maps(source, classes, top)
        if not results:
            return results
        tensor = source if isinstance(source, np.ndarray) else self.model.preprocess.tensor(source)
        chosen = self._choose(results, named=classes is not None)
        answers = name_answers(self.attached) if _asks_classes(self.inner) else []
        names = [*answers, *(entry.name for entry in chosen if entry is not None)]
        if not names:
            return results
        values = self.attached.run(self.model.input.name, tensor, names, self.model.input.batch)
        made = [self._take_map(one, entry, values) for one, entry in zip(results, chosen, strict=True)]
        if not answers:
            return made
        row, said = read_answers(self.attached, values, self.model.labels)
        abouts = [
            one.target if row is None else replace(one.target, probability=float(row[one.target.index])) for one in made
        ]
        return [replace(one, target=about, said=said) for one, about in zip(made, abouts, strict=True)]

    def _choose(self, results: Sequence[CamResult], named: bool) -> list[AttachedEntry | None]:
        """For each map the output of the file that holds its heatmap, or None: an empty one stays as it is."""
        first, every = self.entries.get("cam"), self.entries.get("cam_classes")
        chosen = [None if one.empty else every for one in results]
        best = not named and (results[0].number in (None, 0))
        if best and first is not None and not results[0].empty:
            chosen[0] = first
        return chosen

    def _take_map(self, result: CamResult, entry: AttachedEntry | None, values: Mapping[str, Array]) -> CamResult:
        """A map with the heatmap of the file."""
        if entry is None:
            return result
        said = np.asarray(values[entry.name][0], np.float32)
        said = said[result.target.index] if entry.meaning == "cam_classes" else said
        if result.number is not None and np.abs(said - result.heatmap).max() > _OTHER_BOX:
            return result
        reason = f"the map is the file's own output {entry.name!r}; {self.inner.reason}"
        return replace(result, heatmap=said, attached=entry.name, reason=reason)


def _asks_classes(engine: CamEngine | BoxEngine) -> bool:
    """Whether classes are explained, and not boxes, areas or elements of an output."""
    return isinstance(engine, CamEngine) and engine.explained.classifier


def find_file_engine(engine: CamEngine | BoxEngine, maps: bool = True) -> CamEngine | BoxEngine | FileEngine:
    """The engine, or where its file says something itself of what it explains, one that takes that from there.

    Args:
        engine: What computes maps.
        maps: Take heatmaps from the file where it holds the very maps that the engine makes.
    """
    attached = engine.model.attached
    if attached is None:
        return engine
    wanted: list[AttachedEntry | None] = []
    if maps and isinstance(engine, BoxEngine) and not engine.layers and engine.element is None:
        plain = engine.choice.side is None and engine.choice.boxes in (None, "all", (0,))
        wanted = [attached.find("cam")] if plain else []
    elif maps and _asks_classes(engine) and len(engine.layers) == 1:
        wanted = [
            entry
            for entry in (attached.find("cam"), attached.find("cam_classes"))
            if entry is not None and entry.settings.get("layer") == engine.layers[0].name
        ]
    entries = {
        entry.meaning: entry
        for entry in wanted
        if entry is not None and entry.settings.get("method") == engine.method.name
    }
    answers = _asks_classes(engine) and bool(name_answers(attached))
    return FileEngine(engine, attached, entries) if entries or answers else engine
