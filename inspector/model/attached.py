"""Outputs that were attached to a network, and their values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from inspector.graph import Graph
from inspector.metadata import AttachedEntry, Attachment
from inspector.model.batches import run_in_batches
from inspector.runtime import Sessions


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
