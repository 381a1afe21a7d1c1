"""Fine-tuning, the five steps from labelled pictures to a checked .onnx, in one folder that can be gone on from."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from exporters.finetuning import cache as caching
from exporters.finetuning import checkpoint
from exporters.finetuning.cache import CacheEntry
from exporters.finetuning.context import MODEL, BaseNetwork, Note, PreparedRun, RunContext, TrainingProgress
from exporters.finetuning.devices import check_devices, train_on_devices
from exporters.finetuning.finish import FinishedModel, finish_model
from exporters.finetuning.folder import check_run_folder, check_same, make_config, write_start
from exporters.finetuning.metrics import Metrics, measure
from exporters.finetuning.phases import compare_digests, make_phases
from exporters.finetuning.prepare import prepare_run, read_pictures
from exporters.finetuning.report import Reporter, import_summary_writer
from exporters.finetuning.result import FineTuneResult, find_result, write_result
from exporters.finetuning.storing import fill_cache
from exporters.finetuning.train import Trainer, TrainingState
from exporters.planning.augment import count_distinct_versions
from exporters.planning.dataset import Dataset
from exporters.planning.options import CACHE_LIMIT, FineTuneOptions
from exporters.planning.plan import FineTunePlan
from exporters.sources.needs import torch
from inspector.errors import UsageError
from inspector.files import output_folder
from inspector.runtime import choose_providers
from inspector.twin.devices import choose_device


# Wide: the keyword-only parameters are the options of `inspector finetune`.
# Long: half of it is the description of its parameters.
def finetune(
    data: str | os.PathLike[str],
    base: str | os.PathLike[str],
    run: str | os.PathLike[str],
    *,
    weights: str | None = None,
    pretrained: bool = False,
    allow_links: Sequence[str | os.PathLike[str]] = (),
    inputs: Mapping[str, Any] | None = None,
    resume: bool = False,
    cache: str | os.PathLike[str] | None = None,
    cache_limit: float = CACHE_LIMIT,
    tensorboard: bool = False,
    provider: str = "auto",
    threads: int | None = None,
    note: Note = lambda line: None,
    progress: TrainingProgress = lambda what, done, total: None,
    **settings: Any,
) -> FineTuneResult:
    """Fine-tune `base` on `data` into the folder `run`.

    Args:
        data: A folder of class folders, with or without train/val/test above them, or a CSV of
            path,label[,split][,weight][,group].
        base: Any .onnx classifier; a detector or segmenter, whose backbone is taken; or a SOURCE of
            :func:`exporters.sources.load_source`.
        run: The folder to write.
        weights: A file of weights for a SOURCE.
        pretrained: Whether a SOURCE comes with its library's own weights.
        allow_links: Folders that links to the external data of an .onnx file may lead into.
        inputs: Values of the inputs of an .onnx file that are no picture, by name.
        resume: Whether to go on with a run that was stopped.
        cache: Folder of stored activations; None for the user's cache folder.
        cache_limit: Gigabytes that the stored activations of all runs may take together.
        tensorboard: Whether event files are written too.
        provider: What onnxruntime and torch compute with, see :func:`inspector.open_model`. Like `threads` no part of
            the run, so that it may be gone on with on another machine.
        threads: How many threads they use; None for their own choice.
        note: Called with remarks.
        progress: Called with (what, done, all).
        **settings: Fields of :class:`exporters.planning.options.FineTuneOptions`.

    Raises:
        UsageError: Options are wrong, or a run is resumed with other arguments.
        DataError: The pictures or labels cannot be used.
        SourceError: The SOURCE cannot be made.
        ModelError: The base cannot be read or run.
        NotComputable: The base has no head to replace, or cannot be cut.
        LayerNotFound: `unfreeze_from` names no layer.
        TrainingError: The loss is no number any more.
        OutputError: The folder is taken, or cannot be written.
        MissingExtra: A package is missing.
    """
    options = _read_options(settings)
    if not (math.isfinite(cache_limit) and cache_limit > 0):
        raise UsageError(
            f"the cache limit {cache_limit:g} is not a number above 0", f"gigabytes, {CACHE_LIMIT:g} by default"
        )
    folder = Path(run)
    resume = check_run_folder(folder, resume, (data, base, weights))
    network = BaseNetwork(str(base), weights, pretrained, tuple(allow_links), inputs or {})
    dataset = None
    if resume:
        asked = make_config(options, network)
        check_same(folder, asked)  # before the pictures are read, which takes longer
        dataset = read_pictures(data, options, progress)
        check_same(folder, {**asked, "data": dataset.digest})
        if (finished := find_result(folder, note)) is not None:
            return finished
    device = choose_device(provider)
    choose_providers(provider)  # what is not there is said before anything is written
    _check_extras(options, device, tensorboard)
    store = Path(cache) if cache else caching.find_default_folder()
    context = RunContext(folder, device, provider, threads, store, cache_limit, tensorboard, note, progress)
    with (
        _use_threads(threads),
        prepare_run(data, network, options, context, resume=resume, dataset=dataset) as prepared,
    ):
        if not resume:
            prepared = prepared.copy_to(context)
            write_start(folder, prepared)
        started = time.perf_counter()
        with fill_cache(prepared, context) as (entry, shape):
            return _train_run(_Training(prepared, context, entry, shape, resume, started))


# Wide: the keyword-only parameters are those of `finetune`.
def plan_finetune(
    data: str | os.PathLike[str],
    base: str | os.PathLike[str],
    *,
    weights: str | None = None,
    pretrained: bool = False,
    allow_links: Sequence[str | os.PathLike[str]] = (),
    inputs: Mapping[str, Any] | None = None,
    note: Note = lambda line: None,
    progress: TrainingProgress = lambda what, done, total: None,
    **settings: Any,
) -> tuple[FineTunePlan, Dataset]:
    """Return what :func:`finetune` would do with these arguments, and the pictures as they would be split.

    Nothing is trained and nothing written. The parameters and errors are those of :func:`finetune`.
    """
    network = BaseNetwork(str(base), weights, pretrained, tuple(allow_links), inputs or {})
    context = RunContext(Path(), note=note, progress=progress)
    with prepare_run(data, network, _read_options(settings), context) as prepared:
        return prepared.plan, prepared.dataset


def _read_options(settings: Mapping[str, Any]) -> FineTuneOptions:
    options = FineTuneOptions.from_json(settings)
    return replace(options, versions=count_distinct_versions(options.augment, options.versions))


def _check_extras(options: FineTuneOptions, device: str, tensorboard: bool) -> None:
    """Raises MissingExtra for what would be missed only at the end, UsageError for devices that are not there."""
    checkpoint.import_safetensors()
    if tensorboard:
        import_summary_writer()
    if options.devices > 1:
        check_devices(options.devices, device)


@contextmanager
def _use_threads(count: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@dataclass(frozen=True)
class _Training:
    """What the training goes on. started: when the storing of activations began. shape: of the network's input."""

    prepared: PreparedRun
    context: RunContext
    entry: CacheEntry
    shape: tuple[int, ...]
    resume: bool
    started: float


def _train_run(run: _Training) -> FineTuneResult:
    """The training on stored activations, and everything after it."""
    prepared, context = run.prepared, run.context
    options, dataset, note = prepared.options, prepared.dataset, context.note
    stored_in = time.perf_counter() - run.started
    phases = make_phases(prepared, run.entry, run.shape)
    for phase in phases:
        if phase.network.norms is not None:
            note(f"{phase.network.norms.on} norms behind unfrozen convolutions in the joint phase")
    before = [phase.network.frozen_digest() for phase in phases]
    reporter = Reporter(context.folder, options, dataset, context.tensorboard, note)

    def on_epoch(state: TrainingState) -> None:
        reporter.epoch(state.history)
        last = state.history[-1]
        figure = f"{last['phase']} {options.select} {last[options.select]:.3f}"
        context.progress(figure, state.epoch, phases[state.phase].epochs)

    checkpoints = output_folder(context.folder / "checkpoints")
    trainer = Trainer(phases, len(dataset.classes), options, checkpoints, on_epoch, device=context.device)
    if options.devices == 1:
        state = trainer.run(run.resume)
        after = [[phase.network.cpu().frozen_digest() for phase in phases]]
    else:
        after = train_on_devices(prepared, run.entry, run.shape, context.folder, run.resume, context.device)
        state = trainer.run(resume=True)
    reporter.epoch(state.history)
    made = finish_model(prepared, phases, trainer, context.folder / MODEL, note)
    frozen = {
        "file": dict(zip(("before", "after"), made.frozen, strict=True)),
        **compare_digests(phases, before, after),
    }
    figures = _judge_model(run, made, state, reporter)
    result = FineTuneResult(
        run=context.folder,
        plan=prepared.plan,
        best={k: state.best[k] for k in state.best if k not in ("best", "seconds")} if state.best else {},
        test=figures.to_json() if dataset.test else None,
        frozen_unchanged=all(digests["before"] == digests["after"] for digests in frozen.values()),
        model=context.folder / MODEL,
        sha256=made.model.sha256,
        seconds={
            "cache": round(stored_in, 2),
            **{k: round(v, 2) for k, v in state.seconds.items()},
            "all": round(time.perf_counter() - run.started, 2),
        },
        parity=made.parity,
        notes=(*dataset.notes, *made.notes),
        frozen=frozen,
    )
    write_result(result)
    return result


def _judge_model(run: _Training, made: FinishedModel, state: TrainingState, reporter: Reporter) -> Metrics:
    """The figures of the file on the test pictures, or on those of the validation where there are none."""
    options, dataset, context = run.prepared.options, run.prepared.dataset, run.context
    judged = dataset.test or dataset.val
    if options.poses and not dataset.test:
        context.note("poses are for test pictures, and there are none: --test holds some out")
    scores = made.scores(judged, options.poses if dataset.test else (), context.progress)
    figures = measure(scores.scores, np.array([s.label for s in judged]))
    reporter.finish(made.model, state, judged, scores, figures)
    return figures
