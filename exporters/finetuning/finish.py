"""The best weights back in the .onnx, and the proof that the file is the network that was trained."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporters.exporting.parity import ParityError
from exporters.finetuning import checkpoint
from exporters.finetuning.context import Note, PreparedRun, TrainingProgress
from exporters.finetuning.network import digest_file
from exporters.finetuning.norms import fold_state
from exporters.finetuning.train import HEAD, Trainer, TrainingPhase
from exporters.planning.dataset import Dataset, Sample
from exporters.planning.head import replace_weights
from exporters.sources.needs import torch
from inspector.agreement import HALF_TOLERANCE, TOLERANCE, Agreement, compare_layer
from inspector.files import atomic_path
from inspector.graph import Graph
from inspector.guard import check_outputs
from inspector.image import open_image
from inspector.metadata import KEY
from inspector.model import Model, open_model
from inspector.model.probabilities import ClassRows
from inspector.twin import build_twin, verify_twin
from inspector.version import __version__

SHIPPED_TOLERANCE = 2e-2
"""Largest difference of a score between training on float16 activations and the file, as a share of the largest."""


@dataclass(frozen=True)
class FinishedModel:
    """The .onnx of a run.

    Attributes:
        model: The file, opened.
        parity: Torch against onnxruntime, for each output on one picture.
        trained: Names of the initializers that learned.
        frozen: SHA-256 of the initializers that the plan says are frozen, in the base and in the file.
        agreement: Largest difference of a validation score between the training and the file, as a share of the
            largest.
        notes: What was decided, a sentence each.
    """

    model: Model
    parity: tuple[Agreement, ...]
    trained: tuple[str, ...]
    frozen: tuple[str, str]
    agreement: float
    notes: tuple[str, ...]

    def scores(
        self,
        samples: Sequence[Sample],
        poses: Sequence[str] = (),
        progress: TrainingProgress = lambda what, done, total: None,
    ) -> ClassRows:
        """Compute what the file itself says of pictures from their files.

        Args:
            samples: N pictures.
            poses: Flips and turns that each picture's scores are averaged over.
            progress: Gets (what, done, all).

        Returns:
            Of N pictures; over poses the scores alone.
        """
        found: list[ClassRows] = []
        step = 1 if poses else 16
        for start in range(0, len(samples), step):
            piece = [s.path for s in samples[start : start + step]]
            if poses:
                found.append(ClassRows(self.model.mean_scores(piece[0], poses)[None]))
            else:
                found.append(self.model.run_classes(np.concatenate([self.model.tensor(p) for p in piece])))
            progress("running model.onnx", start + len(piece), len(samples))
        own = [one.probabilities for one in found if one.probabilities is not None]
        return ClassRows(
            np.concatenate([one.scores for one in found]), np.concatenate(own) if len(own) == len(found) else None
        )


def finish_model(
    prepared: PreparedRun, phases: Sequence[TrainingPhase], trainer: Trainer, target: Path, note: Note
) -> FinishedModel:
    """Write the weights of the best epoch into the base's graph, and compare the file with the network.

    Args:
        prepared: What the run began with.
        phases: The trainings, as they ended.
        trainer: Who ran them, with the checkpoint of the best epoch.
        target: The file to write.
        note: Gets remarks.

    Raises:
        ParityError: The file differs from the network; nothing is written then.
        TwinMismatch: An output differs between torch and onnxruntime; nothing is written then.
    """
    start, dataset = prepared.model, prepared.dataset
    weights, document = checkpoint.load_checkpoint(trainer.best)
    phase = next(p for p in phases if p.name == document["phase"])
    phase.network.fold()
    phase.network.load(weights)
    arrays = phase.network.arrays()
    notes = []
    if document["phase"] == HEAD and len(phases) > 1:
        notes.append("the joint phase did not beat the head alone: the head's model is the result")
    with atomic_path(target) as temporary:
        _write(prepared, temporary, arrays, document)
        model = open_model(temporary)
        parity = check_parity(model.graph, start, dataset)
        agreement = _check_agreement(model, phase, trainer, dataset)
        # By the plan and not by what was written: what was written and should not have been is what is looked for.
        learned = prepared.plan.trained(document["phase"])
        frozen = [[n for n in g.initializers if n not in learned] for g in (start.graph, model.graph)]
        digests = digest_file(start.graph, frozen[0]), digest_file(model.graph, frozen[1])
    for line in notes:
        note(line)
    return FinishedModel(open_model(target), parity, tuple(arrays), digests, agreement, tuple(notes))


def _write(prepared: PreparedRun, target: Path, arrays: dict[str, NDArray[Any]], best: dict[str, Any]) -> None:
    start, dataset, base = prepared.model, prepared.dataset, prepared.base.spec
    # A path says where somebody's files lie; its last part, or a spec, does not. A spec has a colon.
    is_file = prepared.base.is_file or ":" not in base
    training = {
        "base": Path(base).name if is_file else base,
        "best": {key: best[key] for key in ("phase", "epoch", "accuracy", "balanced_accuracy", "loss")},
        "classes": dict(zip(dataset.classes, dataset.counts()["train"], strict=True)),
        "data": dataset.digest,
        "options": prepared.plan.options,
    }
    document = start.metadata.with_(
        training=training,
        versions={**start.metadata.versions, "inspector": __version__, "torch": str(torch.__version__)},
    )
    replace_weights(start.graph, target, arrays, {KEY: document.dumps()})


def check_parity(graph: Graph, model: Model, dataset: Dataset) -> tuple[Agreement, ...]:
    """Compare every output of the file on one validation picture, torch against onnxruntime.

    Raises:
        TwinMismatch: An output differs.
    """
    names = {layer.tensor: layer.name for layer in model.layers}
    outputs = [name for name in graph.outputs if name in graph.producer_of]
    tensor = model.preprocess.tensor(open_image(dataset.val[0].path))
    batch = model.input.batch or 1
    found = verify_twin(
        build_twin(graph, outputs, shapes={model.input.name: tensor.shape}),
        graph,
        {model.input.name: np.repeat(tensor, batch, axis=0)},
        tolerance=HALF_TOLERANCE if graph.half_precision else TOLERANCE,
    )
    return tuple(replace(row, layer=names.get(row.layer, row.layer)) for row in found)


def _check_agreement(model: Model, phase: TrainingPhase, trainer: Trainer, dataset: Dataset) -> float:
    """Between the scores of the training, on stored activations, and of the file, on pictures from their files."""
    samples = dataset.val[:32]
    tensors = [model.preprocess.tensor(open_image(s.path)) for s in samples]
    theirs = np.concatenate([model.scores(t) for t in tensors])
    ours = trainer.scores(phase.network.to(trainer.device), phase.val)[: len(samples)]
    tolerance = HALF_TOLERANCE if model.graph.half_precision else SHIPPED_TOLERANCE
    found = compare_layer("scores", ours, theirs, tolerance=tolerance)
    if not found.ok:
        raise ParityError(
            f"the scores of the written file differ from those of the training by {found.relative:.1%} of the largest",
            "this should not happen: please report it with the base",
        )
    return found.relative


def export_run(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> Model:
    """Write the .onnx of a run folder (its best epoch), or of one checkpoint in it, to `target`, and open it.

    Raises:
        CheckpointError: There is no whole checkpoint of a run.
        OutputError: The file cannot be written.
    """
    given = Path(source)
    path = given / "checkpoints" / "best.safetensors" if given.is_dir() else given
    if given.is_dir() and not path.is_file():
        raise checkpoint.CheckpointError(
            f"there is no checkpoint in {given}", "give the folder that `inspector finetune` wrote"
        )
    folder = path.resolve().parent.parent
    tensors, document = checkpoint.load_checkpoint(path)
    if not (folder / "base.onnx").is_file():
        raise checkpoint.CheckpointError(
            f"{path} does not lie in the checkpoints of a run", "give the run folder, which holds base.onnx"
        )
    prefix = "weights." if "history" in document else ""
    start = open_model(folder / "base.onnx")
    check_outputs({"-o": target}, {"a file of the run": [path, *start.graph.files, folder / "model.onnx"]})
    weights = fold_state({k.removeprefix(prefix): value for k, value in tensors.items() if k.startswith(prefix)})
    arrays = {name: value.numpy().astype(start.graph.weight(name).dtype) for name, value in weights.items()}
    done = folder / "model.onnx"
    metadata = open_model(done).metadata if done.is_file() and not prefix else start.metadata
    with atomic_path(target) as temporary:
        replace_weights(start.graph, temporary, arrays, {KEY: metadata.dumps()})
    return open_model(target)
