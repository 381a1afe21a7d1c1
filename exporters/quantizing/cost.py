"""What a smaller file costs: the drift of every layer, classes that change, time."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from exporters.quantizing.pictures import CalibrationPictures
from exporters.quantizing.quantizable import Array, QuantizeError
from inspector.agreement import LayerDrift, SignalToNoise
from inspector.errors import listing
from inspector.layers import move_channels_first
from inspector.model import Model
from inspector.model.agreement import AnswerKind, PictureAnswer, compare_answers
from inspector.model.tensors import list_answers

DRIFT_PICTURES = 24
"""Pictures on which every layer is compared."""


@dataclass(frozen=True)
class QuantizedModel:
    """A file that was written, and what it cost.

    Attributes:
        path: The file.
        sha256: Its digest.
        to: ``int8`` or ``fp16``.
        bytes_before: The size of the source's file.
        bytes_after: The size of this file.
        drift: What each layer lost, in topological order; without layers that were empty on all pictures.
        agreement: Share of the calibration pictures whose top class is that of the source, in [0, 1]; of a detector,
            of the boxes that both find, matched one to one by class at IoU 0.5; of a segmenter, of the pixels with the
            source's class, at 64 places each way. None for any other network.
        flipped: Paths of the pictures whose top class is another one; of a detector, with a box that is lost or new; of
            a segmenter, with less than 95 % of the pixels as they were.
        kept: Layers that stay in float.
        pictures: How many pictures it was calibrated and measured on.
        latency_ratio: Median time of a prediction over that of the source, run in turn.
        exposed: How many layers are outputs.
        notes: What did not come out as it was asked for, a sentence each.
        compared: What `agreement` compares: ``top class``, ``boxes`` or ``pixels``; None where it is None.
        score_shift: Mean absolute difference of score of the boxes that both find; None without boxes.
    """

    path: Path
    sha256: str
    to: str
    bytes_before: int
    bytes_after: int
    drift: tuple[LayerDrift, ...]
    agreement: float | None
    flipped: tuple[str, ...]
    kept: tuple[str, ...]
    pictures: int
    latency_ratio: float
    exposed: int
    notes: tuple[str, ...] = ()
    compared: AnswerKind | None = None
    score_shift: float | None = None

    @property
    def counted(self) -> str:
        """What `agreement` is a share of: pictures, boxes or pixels."""
        return "pictures" if self.compared == "top class" else self.compared or "pictures"


def measure_cost(
    source: Model,
    quantized: Model,
    inputs: CalibrationPictures,
    expected: list[PictureAnswer] | None,
    to: str,
    kept: tuple[str, ...],
) -> QuantizedModel:
    """Measure a quantized model against its source.

    Args:
        source: The float model.
        quantized: The model that was made of it.
        inputs: The calibration pictures.
        expected: The source's answer to each picture; None where it has none that can be compared.
        to: ``int8`` or ``fp16``.
        kept: Layers that stay in float.

    Raises:
        QuantizeError: Layers of the source are lost.
    """
    there = {layer.name: layer for layer in quantized.layers}
    # What leads to no output is no part of the copy, as nobody misses it.
    alive, _ = source.graph.needed(source.graph.outputs)
    layers = [layer for layer in source.layers if source.graph.producer_of.get(layer.tensor) in alive]
    if lost := [layer.name for layer in layers if layer.name not in there]:
        raise QuantizeError(
            f"{len(lost)} layers are lost: {listing(lost)}", "this is a bug; give --to fp16 or report it"
        )
    sums = {layer.name: SignalToNoise() for layer in layers}
    for tensor in inputs.read(DRIFT_PICTURES):
        before, _ = source.layer_values(tensor)
        values = quantized.run(tensor, [there[name].tensor for name in sums])
        # As the source's are: where the copy declares no sizes, which axis holds its channels would be a guess.
        after = {x.name: move_channels_first(values[there[x.name].tensor], x, len(tensor)) for x in layers}
        for name, found in sums.items():
            if not before[name].size or before[name].shape != after[name].shape:
                continue  # empty, or another number of boxes: nothing to hold one against the other
            found.add(
                before[name][0].reshape(before[name].shape[1], -1), after[name][0].reshape(after[name].shape[1], -1)
            )
    answers = inputs.answer(quantized)
    same = None if expected is None or answers is None else compare_answers(expected, answers)
    drift = tuple(found.to_drift(name) for name, found in sums.items() if found.signal.size)
    return QuantizedModel(
        path=quantized.path,
        sha256=quantized.sha256,
        to=to,
        bytes_before=source.graph.size,
        bytes_after=quantized.graph.size,
        drift=drift,
        agreement=None if same is None else same.share,
        flipped=() if same is None else tuple(str(inputs.paths[at]) for at in same.changed),
        kept=kept,
        pictures=len(inputs.paths),
        latency_ratio=_measure_latency(source, quantized, next(inputs.read(1))),
        exposed=sum(layer.exposed for layer in quantized.layers),
        compared=None if same is None else same.kind,
        score_shift=None if same is None else same.score_shift,
    )


def _measure_latency(source: Model, quantized: Model, tensor: Array, rounds: int = 15) -> float:
    """Return the median over rounds of the quantized time over the source's, each round one run of both."""
    wanted = [list_answers(m) for m in (source, quantized)]

    def clock(model: Model, names: list[str]) -> float:
        begin = time.perf_counter()
        model.run(tensor, names)
        return time.perf_counter() - begin

    ratios = [clock(quantized, wanted[1]) / clock(source, wanted[0]) for _ in range(rounds + 3)]
    return float(np.median(ratios[3:]))
