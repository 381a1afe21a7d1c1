"""Before the training: the base with its new head, the pictures, the boundary and the plan."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from exporters.finetuning.context import BASE, BaseNetwork, PreparedRun, RunContext, TrainingProgress
from exporters.planning.boundary import place_boundary
from exporters.planning.dataset import Dataset, read_dataset
from exporters.planning.head import find_classifier_head, write_with_head
from exporters.planning.options import FineTuneOptions
from exporters.planning.plan import make_plan
from exporters.planning.trunk import TRUNKS, write_trunk
from inspector.errors import UsageError
from inspector.files import temporary_folder
from inspector.model import Model, open_model


def read_pictures(data: str | os.PathLike[str], options: FineTuneOptions, progress: TrainingProgress) -> Dataset:
    """Read the pictures of a run and split them as its options say."""
    return read_dataset(
        data,
        val=options.val,
        test=options.test,
        seed=options.seed,
        progress=lambda done, total: progress("reading pictures", done, total),
    )


@contextmanager
def prepare_run(
    data: str | os.PathLike[str],
    base: BaseNetwork,
    options: FineTuneOptions,
    context: RunContext,
    *,
    resume: bool = False,
    dataset: Dataset | None = None,
) -> Iterator[PreparedRun]:
    """Prepare a run; the base with its new head is in a temporary folder unless the run is resumed.

    Args:
        data: A folder of class folders, or a CSV.
        base: The pretrained network.
        options: The choices of the run.
        context: How it is carried out.
        resume: Whether the base is taken from the run folder.
        dataset: The pictures, where they have been read already.
    """
    with temporary_folder() as temporary:
        original = None if resume else _open_base(base, temporary, options, context)
        if original is not None:
            find_classifier_head(original)  # before the pictures are read, which takes longer
        dataset = dataset or read_pictures(data, options, context.progress)
        for line in dataset.notes:
            context.note(line)
        path = (context.folder if original is None else temporary) / BASE
        if original is not None:
            write_with_head(original, path, dataset.classes, options.seed, options.size)
        model = context.open(path)
        if model.classes != len(dataset.classes):
            raise UsageError(
                f"the run was made for {model.classes} classes and the data now has {len(dataset.classes)}",
                "give the data it was started with",
            )
        head = find_classifier_head(model)
        boundary = (
            place_boundary(model, head, options.unfreeze_from, options.unfreeze_last) if options.joint_epochs else None
        )
        plan = make_plan(base.spec, model, head, boundary, dataset, options)
        yield PreparedRun(base, model, dataset, head, boundary, plan, options)


def _open_base(base: BaseNetwork, temporary: Path, options: FineTuneOptions, context: RunContext) -> Model:
    if base.is_file:
        if base.weights is not None or base.pretrained:
            raise UsageError("an .onnx has its weights inside", "leave out --weights and --pretrained")
        model = open_model(base.spec, allow_links=base.allow_links, inputs=base.inputs, warn=context.note)
        if model.assumed:
            context.note(f"{base.spec} does not say everything; assumed: {'; '.join(model.assumed)}")
        return _take_trunk(model, temporary, context) if model.task in TRUNKS else model
    from exporters.exporting import export_onnx
    from exporters.sources import load_source

    source = load_source(base.spec, weights=base.weights, pretrained=base.pretrained, size=options.size)
    for line in source.notes:
        context.note(line)
    return open_model(export_onnx(source, temporary / "exported.onnx").path)


def _take_trunk(model: Model, temporary: Path, context: RunContext) -> Model:
    """The backbone of a detector or segmenter as a classifier."""
    layer = write_trunk(model, temporary / "trunk.onnx")
    context.note(
        f"{model.path} {TRUNKS[model.task or '']}: its layers up to {layer.name} become the features of a classifier, "
        "and what stands behind them is left out"
    )
    return open_model(temporary / "trunk.onnx", warn=context.note)
