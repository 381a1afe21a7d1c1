"""One look at one frame: what is asked of it, computed in one run of the network."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from inspector.cam import CamResult, MapEngine, finds_boxes, labels_pixels, prepare_maps
from inspector.cam.target import CamClass
from inspector.errors import InspectorError, NotComputable
from inspector.layers.statistics import take_first
from inspector.model import Model
from inspector.serving.answers import FrameAnswer, answer_frame, choose_best
from inspector.serving.attached import FileMap, choose_entries, read_map, read_saliency
from inspector.serving.frames import Frame
from inspector.serving.messages import fit_side
from inspector.serving.one_run import SharedSessions
from inspector.serving.views import BEST, SALIENCY, Wanted

FrameMap = CamResult | FileMap
"""A map that was computed here, or that the file gives."""


@dataclass(frozen=True, eq=False)
class FrameFindings:
    """What was found on one frame.

    Attributes:
        frame: The frame.
        picture: It as a PIL image.
        answer: What the network answers.
        maps: For each target that was wanted its map, or why there is none.
        layers: For each layer that was wanted float32 (C, ...), as it is shown.
        values: For each layer that was asked for besides float32 (C, ...), as the network computes it.
        seconds: What the network took, all that is asked about the frame included.
        processor: The same in seconds of the processor, of this thread.
    """

    frame: Frame
    picture: Image.Image = field(repr=False)
    answer: FrameAnswer
    maps: dict[int | str, FrameMap | InspectorError]
    layers: dict[str, NDArray[np.float32]] = field(repr=False)
    values: dict[str, NDArray[np.float32]] = field(repr=False)
    seconds: float = 0.0
    processor: float = 0.0


class Looker:
    """Looks at frames with one network; not for several threads at once.

    Args:
        model: The network. It is opened once more with sessions of its own.
        method: Of the maps; None takes the file's own where it has some, else gradcam, or layercam for boxes, and
            eigencam where no gradient is known.

    Attributes:
        attached: The attached outputs that are used, by what they say.
    """

    def __init__(self, model: Model, method: str | None = None) -> None:
        # The whole file has every tensor of the network, and the attached ones: one run serves both.
        whole = model.attached.graph if model.attached is not None else model.graph
        self.sessions = SharedSessions(whole, model.provider, model.threads, model.warn)
        own = replace(model.attached, sessions=self.sessions) if model.attached is not None else None
        self.model = replace(model, sessions=self.sessions, attached=own)
        self.attached = choose_entries(model, method)
        self._method = method
        self._engine: MapEngine | InspectorError | None = None
        self.maps_made = 0

    def look(self, frame: Frame, wanted: Wanted, more: tuple[str, ...] = (), shown: bool = True) -> FrameFindings:
        """Look at one frame.

        Args:
            frame: The frame.
            wanted: What those who watch want of it.
            more: Names of further layers whose values are wanted.
            shown: Those who watch are shown this frame: else no map and no layer is made ready for them. The network
                is run as for the others, since another cut of it would be another session.

        Raises:
            ModelError: The network cannot be run on it.
            ImageError: The frame does not fit the preprocess.
        """
        picture = Image.fromarray(frame.pixels)
        began, spent = time.perf_counter(), time.thread_time()
        tensor = self.model.preprocess.tensor(picture)
        layers = [self.model.layer(name) for name in dict.fromkeys((*wanted.layers, *more))]
        known = [layer.tensor for layer in layers]
        if self.model.classifier is not None:
            known += self.model.classifier.fetched
        elif self.model.decoder is not None:
            known += self.model.decoder.outputs
        self.sessions.begin({self.model.input.name: tensor}, known, wanted, more)
        try:
            values, classes, _ = self.model.run_layers(tensor, layers, True)
            answer = answer_frame(self.model, tensor, classes, picture.size, fit_side(picture.size))
            maps = self._make_maps(tensor, answer, wanted.targets if shown else ())
        finally:
            self.sessions.end()
        chosen = [layer for layer in layers if shown and layer.name in wanted.layers]
        watched = {layer.name: take_first(layer.to_maps(values[layer.name])) for layer in chosen}
        rest = {name: take_first(values[name]) for name in more}
        return FrameFindings(
            frame, picture, answer, maps, watched, rest, time.perf_counter() - began, time.thread_time() - spent
        )

    def _make_maps(
        self, tensor: NDArray[Any], answer: FrameAnswer, targets: tuple[int | str, ...]
    ) -> dict[int | str, FrameMap | InspectorError]:
        made: dict[int, FrameMap] = {}
        found: dict[int | str, FrameMap | InspectorError] = {}
        for target in targets:
            try:
                words = target in (BEST, SALIENCY)
                index = choose_best(self.model, answer) if words else int(target)
                if target == SALIENCY:
                    found[target] = self._read_saliency(tensor, answer, index)
                    continue
                if index not in made:
                    made[index] = self._read_map(tensor, answer, index) or self._make_map(tensor, index)
                found[target] = made[index]
            except InspectorError as error:
                found[target] = error
        return found

    def _read_map(self, tensor: NDArray[Any], answer: FrameAnswer, index: int) -> FileMap | None:
        """As the file gives it: a detector's is that of its best box."""
        if not self.attached:
            return None
        return read_map(self.model, self.attached, tensor, self._tell_class(answer, index), index == answer.best)

    def _read_saliency(self, tensor: NDArray[Any], answer: FrameAnswer, index: int) -> FileMap:
        found = read_saliency(self.model, self.attached, tensor, self._tell_class(answer, index))
        if found is None:
            raise NotComputable("the file has no gradient of the top score")
        return found

    def _tell_class(self, answer: FrameAnswer, index: int) -> CamClass:
        probability = next(
            (one.get("probability") for one in answer.about.get("top", ()) if one["index"] == index), None
        )
        return CamClass(index, self.model.label(index), probability, float("nan"))

    def _make_map(self, tensor: NDArray[Any], index: int) -> CamResult:
        engine = self._prepare()
        # A detector's map is that of the best box of the class.
        results = engine.maps(tensor, classes=[index], top=1)
        if not results:
            raise NotComputable(f"no {self.model.label(index)} was found on this frame")
        self.maps_made += 1
        return results[0]

    def _prepare(self) -> MapEngine:
        """The method, made ready when the first map is wanted. Why there is none is told at each."""
        if self._engine is None:
            try:
                self._engine = self._choose()
            except InspectorError as error:
                self._engine = error
        if isinstance(self._engine, InspectorError):
            raise self._engine
        return self._engine

    def _choose(self) -> MapEngine:
        if self._method is not None:
            return prepare_maps(self.model, self._method, backend="onnx")
        if self.model.classifier is None and not finds_boxes(self.model) and not labels_pixels(self.model):
            raise NotComputable("there are no maps, since the model has no classes")
        try:
            return prepare_maps(self.model, backend="onnx")
        except NotComputable:
            return prepare_maps(self.model, "eigencam", backend="onnx")
