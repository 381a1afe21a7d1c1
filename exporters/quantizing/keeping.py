"""Which layers stay in float, so that the answers stay what they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from exporters.quantizing.finish import finish_file
from exporters.quantizing.pictures import CalibrationPictures
from exporters.quantizing.plan import IntegerPlan
from exporters.quantizing.qdq import write_integers
from exporters.quantizing.quantizable import Array, QuantizableGraph, QuantizeError
from inspector.agreement import signal_to_noise
from inspector.errors import ModelError, listing
from inspector.graph import operator_of
from inspector.model import Model, open_model
from inspector.model.agreement import PictureAnswer, compare_answers, find_kind, read_answer_values

Note = Callable[[str], None]
_SENSITIVITY_PICTURES = 8
"""Pictures on which the harm of each layer is measured."""


@dataclass
class Trial:
    """Open and judge networks that are being tried, through one file.

    Attributes:
        source: The float model.
        network: Its network.
        inputs: The calibration pictures.
        expected: The source's answer to each picture; None where it has none that can be compared.
        path: The file that the networks are written to, one after the other.
    """

    source: Model
    network: QuantizableGraph
    inputs: CalibrationPictures
    expected: list[PictureAnswer] | None
    path: Path

    def open(self, proto: onnx.ModelProto) -> Model:
        """Open a network as a model of its own, which computes with what its source computes with."""
        self.path.unlink(missing_ok=True)
        self.path.write_bytes(proto.SerializeToString())
        return open_model(self.path, provider=self.source.provider, threads=self.source.threads)

    def measure_agreement(self, proto: onnx.ModelProto) -> float:
        """Measure the share of the answers that are the source's, in [0, 1]."""
        assert self.expected is not None
        answers = self.inputs.answer(self.open(finish_file(self.source, proto, "int8", "none", (), 0)))
        assert answers is not None
        return compare_answers(self.expected, answers).share


@contextmanager
def blame_copy(source: Model, path: Path) -> Iterator[None]:
    """Say of what onnxruntime cannot do with the copy at `path` that it is a copy, and of which file."""
    try:
        yield
    except ModelError as error:
        if str(path) not in error.message:
            raise
        why = error.message.replace(str(path), "it")
        raise QuantizeError(
            f"a copy of {source.path} in this format does not work: {why}", "try --to the other"
        ) from None


def choose_kept(trial: Trial, plan: IntegerPlan, kept: tuple[str, ...], target: float, say: Note) -> tuple[str, ...]:
    """Choose the fewest layers, worst first, that bring the agreement to the target when they stay in float.

    Args:
        trial: What judges a network.
        plan: What becomes integers.
        kept: Layers that stay in float in any case.
        target: The agreement of the answers to reach, in (0, 1].
        say: Gets a line on each try.

    Raises:
        QuantizeError: The model neither classifies nor detects nor segments, or the target is not reached with every
            layer in float.
    """
    if trial.expected is None:
        raise QuantizeError(
            f"{trial.source.path} neither classifies nor detects nor segments, so there is no agreement to reach"
        )
    found = trial.measure_agreement(_keep(plan, kept))
    kind, many = find_kind(trial.expected), f"{len(trial.expected)} pictures"
    say(f"plain int8: {found:.1%} of {many if kind == 'top class' else f'the {kind} on {many}'} agree")
    if found >= target:
        return kept
    weighted = [name for name in _sort_by_harm(trial, plan, kept) if name not in kept]
    # What adds, joins and pools comes last: it has no weights whose rounding does harm.
    rest = [name for name in dict.fromkeys(plan.layer_of.values()) if name not in (*weighted, *kept)]
    order = [*weighted, *rest]
    low, high = 0, min(1, len(order))
    while True:
        found = trial.measure_agreement(_keep(plan, (*kept, *order[:high])))
        say(f"{high} layers in float: {found:.1%}")
        if found >= target:
            break
        if high == len(order):
            raise QuantizeError(
                f"the agreement reaches {found:.1%} and not {target:.1%}, even with every layer in float",
                "give a lower --target",
            )
        if high == len(weighted):
            say(f"every layer with weights is in float; still integers are {listing(rest, 5)}, which are kept too")
        low = high
        beyond = high - len(weighted)
        high = min(2 * high, len(weighted)) if beyond < 0 else min(high + max(1, beyond), len(order))
    while high - low > 1:
        middle = (low + high) // 2
        found = trial.measure_agreement(_keep(plan, (*kept, *order[:middle])))
        say(f"{middle} layers in float: {found:.1%}")
        low, high = (low, middle) if found >= target else (middle, high)
    if high == len(order):
        say("every layer is in float: nothing is left to compute with integers; --to fp16 makes a smaller file")
    return (*kept, *order[:high])


def find_kept(source: Model, network: QuantizableGraph, name: str) -> str:
    """Find what --keep names: a layer, or a node that makes none, such as the sum of two branches, by its name.

    Raises:
        LayerNotFound: There is no such layer or node.
    """
    nodes = {text for node in network.nodes for text in (node.name, node.output[0]) if text}
    known = {layer.name for layer in source.layers}
    return name if name in nodes and name not in known else source.layer(name).name


def _keep(plan: IntegerPlan, layers: tuple[str, ...]) -> onnx.ModelProto:
    return write_integers(plan, plan.nodes_of(layers))


def _sort_by_harm(trial: Trial, plan: IntegerPlan, kept: tuple[str, ...]) -> list[str]:
    """Layers with weights, first the one whose return to float brings the answers nearest to the source's."""
    tensors = list(trial.inputs.read(_SENSITIVITY_PICTURES))
    expected = [read_answer_values(trial.source, tensor) for tensor in tensors]
    gain: dict[str, float] = {}
    for i, name in plan.layer_of.items():
        if operator_of(plan.network.nodes[i]).integer_form != "weights" or name in kept or name in gain:
            continue
        proto = _keep(plan, (*kept, name))
        model = trial.open(finish_file(trial.source, proto, "int8", "none", (), 0))
        gain[name] = _measure_nearness(expected, [read_answer_values(model, tensor) for tensor in tensors])
    return sorted(gain, key=lambda name: -gain[name])


def _measure_nearness(expected: list[list[Array]], found: list[list[Array]]) -> float:
    """How near the numbers of the answers are, in dB: the mean over channels, each over all pictures.

    What has another size on a picture, such as a list of boxes, is left out there.
    """
    decibels = []
    for output in range(len(expected[0])):
        pairs = [(a[output], b[output]) for a, b in zip(expected, found, strict=True)]
        pairs = [(a, b) for a, b in pairs if a.shape == b.shape and len(a) == len(pairs[0][0])]
        if pairs:
            before, after = (np.concatenate([pair[side] for pair in pairs], axis=1) for side in (0, 1))
            decibels += [signal_to_noise(a, b) for a, b in zip(before, after, strict=True)]
    return float(np.mean(decibels)) if decibels else 0.0
