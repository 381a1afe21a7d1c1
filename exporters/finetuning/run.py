"""Fine-tuning, the five steps from labelled pictures to a checked .onnx, in one folder that can be gone on from."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import inspector
from exporters.finetuning import cache as caching
from exporters.finetuning import checkpoint
from exporters.finetuning.features import fill, read_activations, row_name, wanted_rows, weights_digest
from exporters.finetuning.finish import FinishedModel, finish_model
from exporters.finetuning.metrics import measure
from exporters.finetuning.network import TrainableNetwork, build_network, relative_sizes
from exporters.finetuning.norms import followed
from exporters.finetuning.train import HEAD, JOINT, Phase, Trainer, TrainingState
from exporters.needs import torch
from exporters.planning.augment import distinct_versions
from exporters.planning.boundary import Boundary, place_boundary
from exporters.planning.dataset import SPLITS, Dataset, read_dataset
from exporters.planning.head import ClassifierHead, find_classifier_head, write_with_head
from exporters.planning.options import CACHE_LIMIT, FineTuneOptions
from exporters.planning.plan import FineTunePlan, make_plan
from exporters.sources.weights import file_record
from inspector.ascent.network import choose_device
from inspector.compare import Agreement
from inspector.errors import InspectorError, OutputError, UsageError, listing
from inspector.files import output_folder, write_text
from inspector.model import Model, open_model
from inspector.runtime import choose_providers

CONFIG, RESULT, BASE, MODEL = "config.json", "result.json", "base.onnx", "model.onnx"

Note = Callable[[str], None]
Advance = Callable[[str, int, int], None]
Opener = Callable[[Path], Model]


@dataclass(frozen=True)
class FineTuneResult:
    """A finished run.

    run: the folder. plan: what was planned. best: the best epoch on the validation pictures: `phase`, `epoch`,
    `accuracy`, `balanced_accuracy`, `loss`, `recall`. test: figures of model.onnx on the test pictures, where there are
    any, of scores averaged over the plan's `poses`. frozen_unchanged: everything that was frozen is bit for bit what
    it was. frozen: its SHA-256 `before` and `after`, in the `file` and in the network that each phase trained (with the
    statistics of the base's norms; of several processes one that differs, if any does). model: the .onnx; sha256: its
    digest.
    seconds: of each phase, and of the cache. parity: torch against onnxruntime.
    """

    run: Path
    plan: FineTunePlan
    best: Mapping[str, Any]
    test: Mapping[str, Any] | None
    frozen_unchanged: bool
    model: Path
    sha256: str
    seconds: Mapping[str, float]
    parity: tuple[Agreement, ...]
    notes: tuple[str, ...]
    frozen: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def finetune(
    data: str | os.PathLike[str],
    base: str | os.PathLike[str],
    run: str | os.PathLike[str],
    *,
    weights: str | None = None,
    pretrained: bool = False,
    resume: bool = False,
    cache: str | os.PathLike[str] | None = None,
    cache_limit: float = CACHE_LIMIT,
    tensorboard: bool = False,
    provider: str = "auto",
    threads: int | None = None,
    note: Note = lambda line: None,
    progress: Advance = lambda what, done, total: None,
    **settings: Any,
) -> FineTuneResult:
    """Fine-tune `base` on `data` into the folder `run`.

    data: a folder of class folders, with or without train/val/test above them, or a CSV of path,label[,split][,weight].
    base: any .onnx classifier, or a SOURCE of :func:`exporters.load_source`; weights, pretrained: its, as there.
    resume: go on with a run that was stopped. cache: folder of stored activations. provider, threads: what computes, of
    onnxruntime and of torch, see :func:`inspector.open_model`; no part of the run, so that it may be gone on with on
    another machine. settings: fields of :class:`exporters.planning.options.FineTuneOptions`.
    note: called with remarks. progress: called with (what, done, all).

    Raises UsageError (options, a run folder that is taken, a resume with other arguments), DataError, SourceError,
    ModelError, NotComputable, LayerNotFound, TrainingError, OutputError, MissingExtra.
    """
    options = _options(settings)
    if not (math.isfinite(cache_limit) and cache_limit > 0):
        raise UsageError(
            f"the cache limit {cache_limit:g} is not a number above 0",
            f"gigabytes, {CACHE_LIMIT:g} by default",
        )
    folder = Path(run)
    resume = _check_folder(folder, resume)
    dataset = None
    if resume:
        asked = _config(options, str(base), _weights_record(weights), pretrained)
        _check_same(folder, asked)  # before the pictures are read, which takes longer
        dataset = _read(data, options, progress)
        _check_same(folder, {**asked, "data": dataset.digest})
        if (finished := _finished(folder, note)) is not None:
            return finished
    device = choose_device(provider)
    choose_providers(provider)  # what is not there is said before anything is written
    _check_extras(options, device, tensorboard)
    opener = partial(open_model, provider=provider, threads=threads)
    resumed = folder if resume else None
    with (
        _torch_threads(threads),
        _prepared(data, base, options, weights, pretrained, resumed, opener, note, progress, dataset) as made,
    ):
        if not resume:
            made = made.moved(folder, opener)
            _write_start(folder, made)
        return _trained(made, folder, resume, device, cache, cache_limit, tensorboard, note, progress)


def plan_finetune(
    data: str | os.PathLike[str],
    base: str | os.PathLike[str],
    *,
    weights: str | None = None,
    pretrained: bool = False,
    note: Note = lambda line: None,
    progress: Advance = lambda what, done, total: None,
    **settings: Any,
) -> tuple[FineTunePlan, Dataset]:
    """What :func:`finetune` would do with these arguments, and the pictures as they would be split; trains nothing."""
    options = _options(settings)
    with _prepared(data, base, options, weights, pretrained, None, open_model, note, progress) as made:
        return made.plan, made.dataset


def _options(settings: Mapping[str, Any]) -> FineTuneOptions:
    options = FineTuneOptions.from_json(settings)
    return replace(options, versions=distinct_versions(options.augment, options.versions))


def _check_extras(options: FineTuneOptions, device: str, tensorboard: bool) -> None:
    """Raises MissingExtra for what would be missed only at the end, UsageError for devices that are not there."""
    checkpoint.safetensors_torch()
    if tensorboard:
        from exporters.finetuning.report import summary_writer

        summary_writer()
    if options.devices > 1:
        from exporters.finetuning.devices import check_devices

        check_devices(options.devices, device)


def _read(data: str | os.PathLike[str], options: FineTuneOptions, progress: Advance) -> Dataset:
    return read_dataset(
        data,
        val=options.val,
        test=options.test,
        seed=options.seed,
        progress=lambda done, total: progress("reading pictures", done, total),
    )


@contextmanager
def _torch_threads(count: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


# --- before the training ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Prepared:
    """Everything that is known before the first step. model: the base with its new head. weights: digest of a file."""

    base: str
    model: Model
    dataset: Dataset
    head: ClassifierHead
    boundary: Boundary | None
    plan: FineTunePlan
    options: FineTuneOptions
    weights: str | None
    pretrained: bool

    def moved(self, folder: Path, opener: Opener) -> Prepared:
        """With the base copied into the run folder."""
        output_folder(folder)
        target = folder / BASE
        with _written(target) as temporary:
            temporary.write_bytes(self.model.path.read_bytes())
        return replace(self, model=opener(target))


@contextmanager
def _written(target: Path) -> Iterator[Path]:
    from inspector.files import atomic_path

    with atomic_path(target) as temporary:
        yield temporary


@contextmanager
def _prepared(
    data: str | os.PathLike[str],
    base: str | os.PathLike[str],
    options: FineTuneOptions,
    weights: str | None,
    pretrained: bool,
    resumed: Path | None,
    opener: Opener,
    note: Note,
    progress: Advance,
    dataset: Dataset | None = None,
) -> Iterator[Prepared]:
    spec = str(base)
    with tempfile.TemporaryDirectory() as temporary:
        original = (
            None if resumed is not None else _open_base(spec, Path(temporary), weights, pretrained, options, note)
        )
        if original is not None:
            find_classifier_head(original)  # before the pictures are read, which takes longer
        dataset = dataset or _read(data, options, progress)
        for line in dataset.notes:
            note(line)
        if original is None:
            assert resumed is not None
            path = resumed / BASE
        else:
            path = Path(temporary) / BASE
            write_with_head(original, path, dataset.classes, options.seed, options.size)
        model = opener(path)
        if model.classes != len(dataset.classes):
            raise UsageError(
                f"the run was made for {model.classes} classes and the data now has {len(dataset.classes)}",
                "give the data it was started with",
            )
        head = find_classifier_head(model)
        boundary = (
            place_boundary(model, head, options.unfreeze_from, options.unfreeze_last) if options.joint_epochs else None
        )
        plan = make_plan(spec, model, head, boundary, dataset, options)
        yield Prepared(spec, model, dataset, head, boundary, plan, options, _weights_record(weights), pretrained)


def _open_base(
    spec: str, temporary: Path, weights: str | None, pretrained: bool, options: FineTuneOptions, note: Note
) -> Model:
    if spec.lower().endswith(".onnx") or Path(spec).is_file():
        if weights is not None or pretrained:
            raise UsageError("an .onnx has its weights inside", "leave out --weights and --pretrained")
        model = open_model(spec)
        if model.assumed:
            note(f"{spec} does not say everything; assumed: {'; '.join(model.assumed)}")
        return model
    from exporters.exporting.export import export_onnx
    from exporters.sources import load_source

    source = load_source(spec, weights=weights, pretrained=pretrained, size=options.size)
    for line in source.notes:
        note(line)
    return open_model(export_onnx(source, temporary / "exported.onnx").path)


_FIRST = frozenset({BASE, "classes.txt", "plan.txt", "plan.json", "skipped.json", "splits.csv"})
"""What is written before the mark that makes a folder a run."""


def _check_folder(folder: Path, resume: bool) -> bool:
    """Whether there is a run to go on with. Raises UsageError, OutputError."""
    held = {f.name for f in folder.iterdir() if not f.name.endswith(f".part{f.suffix}")} if folder.is_dir() else set()
    started = CONFIG in held
    # Killed before the mark was written: nothing was trained, so that it is begun again.
    hardly = bool(held) and held <= _FIRST
    if resume and not started and not hardly:
        raise UsageError(f"there is no run in {folder} to resume", "leave out --resume to start one")
    if not resume and (held or folder.is_file()):
        what = "holds a run already" if started or hardly else "is not empty" if held else "is a file"
        raise OutputError(f"{folder} {what}", "--resume goes on with it" if started or hardly else "give a new folder")
    return resume and started


def _write_start(folder: Path, made: Prepared) -> None:
    dataset = made.dataset
    write_text(folder / "classes.txt", "\n".join(dataset.classes) + "\n")
    write_text(folder / "plan.txt", made.plan.text() + "\n")
    _write_json(folder / "plan.json", made.plan.to_json())
    _write_json(folder / "skipped.json", [{"name": s.name, "reason": s.reason} for s in dataset.skipped])
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["path", "label", "split", "weight"])
    writer.writerows(
        (s.name, dataset.classes[s.label], split, f"{s.weight:g}") for split in SPLITS for s in getattr(dataset, split)
    )
    write_text(folder / "splits.csv", table.getvalue())
    # Last, since it marks the folder as a run that can be gone on with.
    config = _config(made.options, made.base, made.weights, made.pretrained)
    _write_json(folder / CONFIG, {**config, "data": dataset.digest, **_versions(made)})


def _versions(made: Prepared) -> dict[str, Any]:
    return {
        "start": made.model.sha256,
        "versions": {"inspector": inspector.__version__, "torch": torch.__version__, "numpy": np.__version__},
        "threads": torch.get_num_threads(),
    }


def _config(options: FineTuneOptions, base: str, weights: str | None, pretrained: bool) -> dict[str, Any]:
    return {"schema": 1, "base": base, "weights": weights, "pretrained": pretrained, "options": options.to_json()}


def _weights_record(weights: str | None) -> str | None:
    """What a file of weights is known by: its digest."""
    return file_record(weights)["sha256"] if weights is not None and Path(weights).is_file() else weights


def _check_same(folder: Path, now: Mapping[str, Any]) -> None:
    """Raises UsageError where a run is resumed with other arguments or, if `now` has `data`, other pictures."""
    path = folder / CONFIG
    try:
        before = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read: {error}", "start the run again in a new folder") from None
    if (
        not isinstance(before, dict)
        or not isinstance(before.get("options"), dict)
        or not {"base", "data"} <= set(before)
    ):
        raise UsageError(f"{path} is damaged: it does not say what was run", "start the run again in a new folder")
    now = json.loads(json.dumps(now))
    # An option that an earlier version did not have was at its default.
    old, new = json.loads(json.dumps(FineTuneOptions().to_json())) | before["options"], now["options"]
    changed = [f"{k} {new.get(k)} instead of {old.get(k)}" for k in {**old, **new} if new.get(k) != old.get(k)]
    if before["base"] != now["base"]:
        changed.append(f"base {now['base']} instead of {before['base']}")
    if before.get("weights", now["weights"]) != now["weights"]:
        changed.append("other --weights")
    if before.get("pretrained", now["pretrained"]) != now["pretrained"]:
        changed.append(f"{'without' if before['pretrained'] else 'with'} --pretrained")
    if before["data"] != now.get("data", before["data"]):
        changed.append("other pictures, labels or splits")
    if changed:
        raise UsageError(
            f"{folder} was started with other arguments: {listing(changed)}",
            "give the same ones to resume, or another folder for a new run",
        )


# --- the training -----------------------------------------------------------------------------------------------------


def _trained(
    made: Prepared,
    folder: Path,
    resume: bool,
    device: str,
    cache: str | os.PathLike[str] | None,
    cache_limit: float,
    tensorboard: bool,
    note: Note,
    progress: Advance,
) -> FineTuneResult:
    started = time.perf_counter()
    root = Path(cache) if cache else caching.default_folder()
    with _fill_cache(made, root, cache_limit, note, progress) as (entry, sample):
        return _on_cache(made, folder, resume, device, entry, sample, started, tensorboard, note, progress)


def _on_cache(
    made: Prepared,
    folder: Path,
    resume: bool,
    device: str,
    entry: caching.CacheEntry,
    sample: tuple[int, ...],
    started: float,
    tensorboard: bool,
    note: Note,
    progress: Advance,
) -> FineTuneResult:
    """The training on stored activations, and everything after it. started: when the storing began."""
    options, dataset = made.options, made.dataset
    stored_in = time.perf_counter() - started
    phases = make_phases(made, entry, sample)
    for phase in phases:
        if phase.network.norms is not None:
            note(f"{phase.network.norms.on} norms behind unfrozen convolutions in the joint phase")
    before = [phase.network.frozen_digest() for phase in phases]
    from exporters.finetuning.report import Reporter

    reporter = Reporter(folder, options, dataset, tensorboard, note)

    def on_epoch(state: TrainingState) -> None:
        reporter.epoch(state.history)
        progress(
            f"{state.history[-1]['phase']} {options.select} {state.history[-1][options.select]:.3f}",
            state.epoch,
            phases[state.phase].epochs,
        )

    trainer = Trainer(
        phases, len(dataset.classes), options, output_folder(folder / "checkpoints"), on_epoch, device=device
    )
    if options.devices == 1:
        state = trainer.run(resume)
        found = [[phase.network.cpu().frozen_digest() for phase in phases]]
    else:
        from exporters.finetuning.devices import train_on_devices

        found = train_on_devices(replace(made, model=None), entry, sample, folder, resume, device)  # type: ignore[arg-type]
        state = trainer.run(resume=True)
    reporter.epoch(state.history)
    shipped = finish_model(made.model, phases, trainer, state, dataset, made.plan, made.base, folder / MODEL, note)
    frozen = {"file": dict(zip(("before", "after"), shipped.frozen, strict=True)), **compared(phases, before, found)}
    judged = dataset.test or dataset.val
    if options.poses and not dataset.test:
        note("poses are for test pictures, and there are none: --test holds some out")
    scores = shipped.scores(judged, options.poses if dataset.test else (), progress)
    figures = measure(scores, np.array([s.label for s in judged]))
    test = figures if dataset.test else None
    reporter.finish(shipped.model, state, judged, scores, figures)
    best = {k: state.best[k] for k in state.best if k not in ("best", "seconds")} if state.best else {}
    result = FineTuneResult(
        folder,
        made.plan,
        best,
        test.to_json() if test is not None else None,
        all(digests["before"] == digests["after"] for digests in frozen.values()),
        folder / MODEL,
        shipped.model.sha256,
        {"cache": round(stored_in, 2), **{k: round(v, 2) for k, v in state.seconds.items()},
         "all": round(time.perf_counter() - started, 2)},
        shipped.parity,
        (*dataset.notes, *shipped.notes),
        frozen,
    )  # fmt: skip
    _write_json(folder / RESULT, _result_json(result))
    return result


@contextmanager
def _fill_cache(
    made: Prepared, root: Path, limit: float, note: Note, progress: Advance
) -> Iterator[tuple[caching.CacheEntry, tuple[int, ...]]]:
    """The cache with every row this run needs, kept until the end, and the shape of the network's input."""
    model, dataset, options = made.model, made.dataset, made.options
    tensors = list(dict.fromkeys((*(made.boundary.tensors if made.boundary else ()), made.head.features)))
    from inspector.image import open_image

    probe = model.preprocess.tensor(open_image(dataset.train[0].path))
    values = model.run(probe, tensors)
    key = {
        "weights": weights_digest(model.graph, tensors),
        "preprocess": model.preprocess.to_json(),
        "augment": list(options.augment),
        "seed": options.augment_seed,
        "schema": 1,
    }
    names = [row_name(s, v) for s, v in wanted_rows(dataset.train, dataset.val, options.versions)]
    rows = len(names)
    kinds = dict.fromkeys(tensors, options.cache_dtype) | {made.head.features: "float32"}
    for _ in range(2):
        columns = [caching.Column(t, tuple(values[t].shape[1:]), kinds[t]) for t in tensors]
        with caching.open_entry(root, key, columns, names, limit, note) as entry:
            try:
                fill(
                    entry, model, dataset.train, dataset.val, options.versions, options,
                    lambda done, total: progress("computing what is frozen", done, total),
                )  # fmt: skip
            except OverflowError as error:
                note(f"{error} goes beyond what float16 holds: stored as float32")
                kinds = dict.fromkeys(tensors, "float32")
                continue
            entry.filled()
            note(
                f"{rows} rows of {caching.needed_gigabytes(columns, 1) * 1e6:.0f} kB "
                f"({caching.needed_gigabytes(columns, rows):.2f} GB); {entry.computed} computed, "
                f"{rows - entry.computed} were there"
            )
            yield entry, tuple(probe.shape)
            return
    raise InspectorError("the activations cannot be stored")


def compared(
    phases: Sequence[Phase], before: Sequence[str], found: Sequence[Sequence[str]]
) -> dict[str, dict[str, str]]:
    """Digests of what is frozen in each phase's network. before: one of each phase. found: those of each process."""
    return {
        phase.name: {"before": first, "after": next((d[k] for d in found if d[k] != first), first)}
        for k, (phase, first) in enumerate(zip(phases, before, strict=True))
    }


_MEASURED = 1024
"""Training pictures that norms are measured on before they begin."""


def make_phases(made: Prepared, entry: caching.CacheEntry, shape: tuple[int, ...]) -> list[Phase]:
    options, dataset, head = made.options, made.dataset, made.head

    def phase(name: str, epochs: int, rate: float, boundary: Boundary | None, tensors: Sequence[str]) -> Phase:
        network: TrainableNetwork = build_network(
            made.model.graph, head, boundary, shape, options.dropout, options.norms
        )
        train = read_activations(entry, tensors, dataset.train, options.versions)
        network.begin_norms(train.some(_MEASURED, options.batch))
        shares = made.plan.rates()
        sizes = {}
        if boundary is not None:
            sizes = {n: s * shares.get(followed(n), 1.0) for n, s in relative_sizes(network).items()}
        return Phase(
            name,
            epochs,
            rate,
            options.patience or max(5, epochs // 2),
            network,
            train,
            read_activations(entry, tensors, dataset.val, 1),
            sizes,
        )

    phases = [phase(HEAD, options.head_epochs, options.head_rate, None, [head.features])]
    if made.boundary is not None:
        phases.append(phase(JOINT, options.joint_epochs, options.joint_rate, made.boundary, made.boundary.tensors))
    return phases


# --- the result -------------------------------------------------------------------------------------------------------


def _result_json(result: FineTuneResult) -> dict[str, Any]:
    return {
        "schema": 1,
        "best": dict(result.best),
        "test": result.test,
        "frozen_unchanged": result.frozen_unchanged,
        "frozen": {name: dict(digests) for name, digests in result.frozen.items()},
        "model": result.model.name,
        "sha256": result.sha256,
        "seconds": dict(result.seconds),
        "parity": [[row.layer, row.max_abs, row.scale] for row in result.parity],
        "notes": list(result.notes),
    }


def _finished(folder: Path, note: Note) -> FineTuneResult | None:
    """The result of a run that is finished and whole, None where something is left to do."""
    if not (folder / RESULT).exists():
        return None
    result = load_result(folder)
    if result.model.is_file():
        with result.model.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() == result.sha256:
                return result
    note(f"{result.model} is not what the run wrote: it is written again from the checkpoints")
    return None


def load_result(folder: str | os.PathLike[str]) -> FineTuneResult:
    """The result of a finished run from its folder. Raises UsageError where there is none, or a damaged one."""
    run = Path(folder)
    try:
        document = json.loads((run / RESULT).read_text("utf-8"))
        planned = json.loads((run / "plan.json").read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{run} holds no finished run: {error}", "finish it with --resume") from None
    from exporters.planning.plan import PlannedLayer

    try:
        planned["layers"] = tuple(PlannedLayer(**{**x, "weights": tuple(x["weights"])}) for x in planned["layers"])
        planned["classes"], planned["kept"] = tuple(planned["classes"]), tuple(planned["kept"])
        plan = FineTunePlan(**planned)
    except (KeyError, TypeError) as error:
        raise _damaged(run / "plan.json", error, "start the run again in a new folder") from None
    try:
        return FineTuneResult(
            run,
            plan,
            {**document["best"]},
            document["test"],
            document["frozen_unchanged"],
            run / document["model"],
            document["sha256"],
            {**document["seconds"]},
            tuple(Agreement(str(a), float(b), float(c), True) for a, b, c in document["parity"]),
            tuple(document["notes"]),
            {**document.get("frozen", {})},
        )
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(run / RESULT, error, "remove it, and --resume writes it again") from None


def _damaged(path: Path, error: Exception, hint: str) -> UsageError:
    what = f"it has no {error}" if isinstance(error, KeyError) else str(error)
    return UsageError(f"{path} is damaged: {what}", hint)


def _write_json(path: Path, document: Any) -> None:
    write_text(path, json.dumps(document, indent=1, ensure_ascii=False) + "\n")


__all__ = ["FineTuneResult", "FinishedModel", "finetune", "load_result", "plan_finetune"]
