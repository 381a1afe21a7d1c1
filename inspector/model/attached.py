"""Outputs that were attached to a network, and their values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from inspector.graph import Graph
from inspector.metadata import AttachedEntry, Attachment
from inspector.model.batches import run_in_batches
from inspector.model.probabilities import Predictions
from inspector.runtime import Sessions

if TYPE_CHECKING:
    from inspector.model.model import Model


@dataclass(frozen=True, eq=False)
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


def predict_attached(model: Model, tensor: NDArray[Any], top: int) -> tuple[Predictions, dict[str, Any]]:
    """The most likely classes of one picture with what the file itself says of them, in one run.

    Args:
        model: A classifier with attached outputs.
        tensor: The input of one picture.
        top: How many classes.

    Returns:
        The classes, with the probabilities of the file where it gives some; and what was taken from it: under
        ``probability`` the name of the output, under ``unknown`` its name, value, threshold and whether that is passed.
    """
    attached, classifier = model.attached, model.classifier
    assert attached is not None
    assert classifier is not None
    probability, unknown = attached.find("probability"), attached.find("unknown")
    names = [classifier.scores, *(entry.name for entry in (probability, unknown) if entry is not None)]
    values = attached.run(model.input.name, tensor, names, model.input.batch)
    found = model.top(values[classifier.scores][:1].reshape(-1), top)
    said: dict[str, Any] = {}
    if probability is not None and values[probability.name].size // len(tensor) > 1:
        row = values[probability.name][0]
        found = Predictions(replace(one, probability=float(row[one.index])) for one in found)
        said["probability"] = probability.name
    if unknown is not None:
        value, threshold = float(values[unknown.name].reshape(-1)[0]), float(unknown.settings["threshold"])
        said["unknown"] = {
            "output": unknown.name, "value": value, "threshold": threshold, "alarm": value > threshold
        }  # fmt: skip
    return found, said
