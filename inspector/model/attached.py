"""Outputs that were attached to a network, and their values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from inspector.graph import Graph
from inspector.metadata import AttachedEntry, Attachment
from inspector.model.batches import run_in_batches
from inspector.model.probabilities import Predictions, run_rounded
from inspector.records import record
from inspector.runtime import Sessions

if TYPE_CHECKING:
    from inspector.model.model import Model


_SETTINGS: Mapping[Attachment, Mapping[str, type | tuple[type, ...]]] = {
    "cam": {"method": str},
    "cam_classes": {"method": str, "layer": str},
    "probability": {"temperature": (int, float)},
    "unknown": {"method": str, "threshold": (int, float)},
    "saliency": {"kind": str, "steps": int},
}
"""What the settings of an output have to say."""


def choose_sound(entries: Sequence[AttachedEntry], graph: Graph) -> tuple[tuple[AttachedEntry, ...], list[str]]:
    """The attached outputs that can be used, and a line on each of the others.

    Args:
        entries: As the metadata has them.
        graph: The graph of the whole file.
    """
    sound, notes = [], []
    for entry in entries:
        wanted = _SETTINGS[entry.meaning]
        missing = [name for name, kind in wanted.items() if not isinstance(entry.settings.get(name), kind)]
        if entry.name not in graph.outputs:
            notes.append(f"the metadata tells of an attached output {entry.name!r}, which the file does not have")
        elif missing:
            notes.append(f"the attached output {entry.name!r} is left out: its metadata lacks {', '.join(missing)}")
        else:
            sound.append(entry)
    return tuple(sound), notes


@record(eq=False)
class Attached:
    """What `inspector attach` added to a file.

    Attributes:
        entries: The outputs, in the order of the file.
        graph: The graph of the whole file, the attached nodes included.
        sessions: Its sessions.
    """

    entries: tuple[AttachedEntry, ...]
    graph: Graph = field(repr=False)
    sessions: Sessions = field(repr=False)

    def find(self, meaning: Attachment) -> AttachedEntry | None:
        """The output with a meaning; None where none was attached."""
        return next((entry for entry in self.entries if entry.meaning == meaning), None)

    def run(
        self, input_name: str, tensor: NDArray[Any], names: Sequence[str], batch: int | None = None
    ) -> dict[str, NDArray[Any]]:
        """Compute outputs of the file, attached ones among them.

        Args:
            input_name: The input that takes pictures.
            tensor: An input tensor with any number of pictures.
            names: Names of outputs.
            batch: The number of pictures that the file fixes, if it does.

        Returns:
            Output name -> array.
        """
        return run_in_batches(self.sessions, input_name, tensor, list(dict.fromkeys(names)), batch, ())


def name_answers(attached: Attached) -> list[str]:
    """The names of the outputs that say something about a classifier's answer: probabilities, and how unlike it is."""
    return [entry.name for entry in attached.entries if entry.meaning in ("probability", "unknown")]


def read_answers(
    attached: Attached, values: Mapping[str, NDArray[Any]], labels: Sequence[str] | None
) -> tuple[NDArray[np.float64] | None, dict[str, Any]]:
    """What a file itself says about the answer for one picture.

    Args:
        attached: The attached outputs.
        values: Their values, by name, of one picture (1, ...) or of as many copies as the file fixes.
        labels: The names of the classes, if they are known.

    Returns:
        Float64 (K,), the probability of each class, of one score those of both classes, None where the file gives
        none; and what was taken: under ``probability`` the name of the output, under ``unknown`` its name, value,
        threshold and whether that is passed.
    """
    probability, unknown = attached.find("probability"), attached.find("unknown")
    row, said = None, dict[str, Any]()
    if probability is not None:
        row = np.asarray(values[probability.name][0], np.float64).reshape(-1)
        if row.size == 1 and not (labels and len(labels) == 1):
            row = np.array([1 - row[0], row[0]])
        said["probability"] = probability.name
    if unknown is not None:
        value, threshold = float(values[unknown.name].reshape(-1)[0]), float(unknown.settings["threshold"])
        said["unknown"] = {
            "output": unknown.name, "value": value, "threshold": threshold, "alarm": value > threshold
        }  # fmt: skip
    return row, said


def predict_attached(model: Model, tensor: NDArray[Any], top: int) -> tuple[Predictions, dict[str, Any]]:
    """The most likely classes of one picture with what the file itself says of them, in one run.

    Args:
        model: A classifier with attached outputs.
        tensor: The input of one picture.
        top: How many classes.

    Returns:
        The classes, with the probabilities of the file where it gives some; and what was taken from it, see
        :func:`read_answers`.
    """
    attached, classifier = model.attached, model.classifier
    assert attached is not None
    assert classifier is not None
    names = [*classifier.tensors, *name_answers(attached)]
    values = run_rounded(
        classifier, names, lambda asked: attached.run(model.input.name, tensor, asked, model.input.batch)
    )  # fmt: skip
    found = model.top(model.read_classes(values, len(tensor)), top)
    row, said = read_answers(attached, values, model.labels)
    if row is not None:
        found = Predictions(replace(one, probability=float(row[one.index])) for one in found)
    return found, said
