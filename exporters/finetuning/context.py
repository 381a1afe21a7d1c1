"""What the parts of a run hand to each other: which base, how it is carried out, and what was prepared."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from exporters.planning.boundary import Boundary
from exporters.planning.dataset import Dataset
from exporters.planning.head import ClassifierHead
from exporters.planning.options import CACHE_LIMIT, FineTuneOptions
from exporters.planning.plan import FineTunePlan
from exporters.sources.weights import record_file
from inspector.files import atomic_path, output_folder
from inspector.model import Model, open_model

CONFIG, RESULT, BASE, MODEL = "config.json", "result.json", "base.onnx", "model.onnx"
"""Names of files in a run folder."""

Note = Callable[[str], None]
TrainingProgress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class BaseNetwork:
    """The pretrained network that a run starts from.

    Attributes:
        spec: An .onnx file, or a SOURCE of :func:`exporters.sources.load_source`.
        weights: A file of weights for a SOURCE.
        pretrained: Whether a SOURCE comes with its library's own weights.
        allow_links: Folders that links to the external data of an .onnx file may lead into.
        inputs: Values of the inputs of an .onnx file that are no picture, by name.
    """

    spec: str
    weights: str | None = None
    pretrained: bool = False
    allow_links: tuple[str | os.PathLike[str], ...] = ()
    inputs: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_file(self) -> bool:
        """Whether it is an .onnx file."""
        return self.spec.lower().endswith(".onnx") or Path(self.spec).is_file()

    def digest_weights(self) -> str | None:
        """Return what the weights are known by: the SHA-256 of their file."""
        given = self.weights
        return record_file(given)["sha256"] if given is not None and Path(given).is_file() else given


@dataclass(frozen=True)
class RunContext:
    """How a run is carried out: no part of what it computes, so that it may go on in another way.

    Attributes:
        folder: The run folder.
        device: What torch computes with: ``cpu`` or ``cuda``.
        provider: What onnxruntime computes with.
        threads: How many threads both use; None for their own choice.
        cache: Folder of the stored activations.
        cache_limit: Gigabytes that all of them may take together.
        tensorboard: Whether event files are written.
        note: Gets remarks.
        progress: Gets (what, done, all).
    """

    folder: Path
    device: str = "cpu"
    provider: str = "auto"
    threads: int | None = None
    cache: Path = Path()
    cache_limit: float = CACHE_LIMIT
    tensorboard: bool = False
    note: Note = lambda line: None
    progress: TrainingProgress = lambda what, done, total: None

    def open(self, path: Path) -> Model:
        """Open a model to compute with as this run does."""
        return open_model(path, provider=self.provider, threads=self.threads)


@dataclass(frozen=True)
class PreparedRun:
    """Everything that is known before the first step.

    Attributes:
        base: The pretrained network.
        model: It with its new head.
        dataset: The pictures by split.
        head: The new head.
        boundary: Where the joint training begins; None for none.
        plan: What will be done.
        options: The choices.
    """

    base: BaseNetwork
    model: Model
    dataset: Dataset
    head: ClassifierHead
    boundary: Boundary | None
    plan: FineTunePlan
    options: FineTuneOptions

    def copy_to(self, context: RunContext) -> PreparedRun:
        """Copy the base into the run folder, and go on with the copy."""
        target = output_folder(context.folder) / BASE
        with atomic_path(target) as temporary:
            temporary.write_bytes(self.model.path.read_bytes())
        return replace(self, model=context.open(target))
