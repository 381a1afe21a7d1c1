"""What came of an attachment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from exporters.attaching.workbench import AttachedOutput
from inspector.agreement import Agreement


@dataclass(frozen=True)
class AttachedModel:
    """A file with attached outputs, measured against what the library computes itself.

    Attributes:
        path: The file.
        sha256: Its hex digest.
        outputs: The outputs that were added, in order, behind those of the network.
        parity: How near each is to what `inspector` computes on pictures, and that the network's own did not change.
        figures: What was measured on the way: `calibration`, `unknown`; absent where it was not asked for.
        notes: What is noteworthy but not wrong.
    """

    path: Path
    sha256: str
    outputs: tuple[AttachedOutput, ...]
    parity: tuple[Agreement, ...]
    figures: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The keys of the JSON document, without the file."""
        return {
            "outputs": [{"name": o.name, "shape": list(o.shape), "meaning": o.meaning} for o in self.outputs],
            "parity": [row.to_json() for row in self.parity],
            **{name: dict(found) for name, found in self.figures.items()},
        }
