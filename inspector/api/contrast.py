"""Where two files, two runtimes or two releases part."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inspector.api.arguments import ModelSource, Progress, Warn, check_arguments
from inspector.api.model import to_model
from inspector.api.pictures import Picture, Pictures, Skipped, find_pictures, make_none_error
from inspector.errors import ImageError, UsageError

if TYPE_CHECKING:
    from inspector.comparing import AnswerDifference, LayerDifference, ModelDifference, TuningChange
    from inspector.model import Model as AnyModel


@dataclass(frozen=True)
class ComparedModels:
    """What `compare` found.

    Attributes:
        runs: One comparison, or one for each runtime after the first.
        skipped: The pictures that could not be used.
        path: The page that was written; None without one.
        changes: What a fine-tuning changed; None where no run was given.
    """

    runs: tuple[ModelDifference, ...]
    skipped: tuple[Skipped, ...] = field(default=(), repr=False)
    path: Path | None = None
    changes: TuningChange | None = None

    @property
    def widest(self) -> ModelDifference:
        """The comparison with the layer that is furthest off."""
        return min(self.runs, key=_rank)

    @property
    def parted(self) -> LayerDifference | None:
        """The first layer whose own error is more than rounding explains; None without one."""
        return next((run.parted for run in (self.widest, *self.runs) if run.parted is not None), None)

    @property
    def layers(self) -> tuple[LayerDifference, ...]:
        """The pairs of layers of the widest comparison."""
        return self.widest.layers

    @property
    def answers(self) -> AnswerDifference:
        """How far the answers of the widest comparison agree."""
        return self.widest.answers

    def is_below(self, limit: float) -> bool:
        """Whether a layer of any comparison is below `limit` dB."""
        return any(run.is_below(limit) for run in self.runs)

    def to_json(self) -> dict[str, Any]:
        """The keys of the JSON document: those of the widest comparison, and all of them under ``runs``."""
        document = self.widest.to_json()
        if self.changes is not None:
            document["changes"] = self.changes.to_json()
        if len(self.runs) > 1:
            document["runs"] = [run.to_json() for run in self.runs]
        return document

    def _repr_html_(self) -> str:
        from inspector.notebook import show_table

        rows = [(x.layer, f"{x.sqnr_db:.1f} dB", "parted" if x.parted else "") for x in self.layers]
        parted = "nowhere" if self.parted is None else self.parted.layer
        return show_table(("layer", "SQNR", ""), rows, f"parted: {parted}")


# Wide: the options of `inspector compare`.
# Long: a third says what they are.
@check_arguments
def compare(
    a: ModelSource,
    b: ModelSource | None = None,
    images: Pictures | None = None,
    *,
    runtimes: str | Iterable[str] | None = None,
    run: str | os.PathLike[str] | None = None,
    out: str | os.PathLike[str] | None = None,
    provider: str = "auto",
    threads: int | None = None,
    warn: Warn | None = None,
    on_progress: Progress | None = None,
) -> ComparedModels:
    """Find where two files, or one file on two runtimes, part: layer by layer, and in their answers.

    Layers are matched by name, then by their weights and their order, then by their values. Each layer of B is also
    computed from A's values: that is its own error, which tells where a difference began.

    Args:
        a: The one that counts as right: the path of an .onnx file, or a model that is open.
        b: The one that is judged; None compares runtimes of `a`.
        images: A picture or a folder of pictures, or several of either; None generates three of soft colored
            noise.
        runtimes: Names of runtimes, the first of which counts as right: a provider, ``basic``, ``extended``,
            ``disabled``, ``threads:N``, ``reference``, ``twin``, ``openvino``, ``web``. With `b`, one for both, or one
            for each.
        run: The folder of the ``inspector finetune`` that made `b` from `a`: what it changed is told, too.
        out: A page to write, of the widest comparison: both networks side by side.
        provider: Where a path is given: auto, cpu, cuda, ...
        threads: Where a path is given: threads of onnxruntime; None takes all cores.
        warn: Gets a line where something is noteworthy but not wrong.
        on_progress: Called after each picture with how many are done, and how many there are.

    Returns:
        The layers with their differences, where they part, and how far the answers agree.

    Raises:
        InspectorError: A model cannot be opened, an argument is wrong, or no picture could be used.

    Example:
        >>> import inspector
        >>> found = inspector.compare("models/efficientnet-lite0.onnx", images="docs/chelsea.jpg", runtimes="basic")
        >>> found.parted is None, found.answers.agreement
        (True, 1.0)
    """
    from inspector.comparing import (
        ComparedSides,
        Side,
        check_run,
        compare_sides,
        make_pictures,
        match_input,
        measure_change,
    )
    from inspector.guard import check_outputs

    if run is not None and b is None:
        raise UsageError("a run is told of two files", "compare BASE RUN/model.onnx IMAGE... --run RUN")
    pictures, skipped = _gather(images)
    names = [runtimes] if isinstance(runtimes, str) else list(runtimes or ())
    opened: AnyModel = to_model(a, provider, threads, warn)
    other: AnyModel = opened if b is None else to_model(b, provider, threads, warn)
    if run is not None:
        folder, opened = check_run(run, other), match_input(opened, other)
    held_against_a = b is None and len(names) == 1  # which runs as it was opened
    if names and not held_against_a and opened.provider != "auto":
        raise UsageError(
            f"with these runtimes nothing runs on provider {opened.provider!r}", f"name it: --runtime {opened.provider}"
        )
    pairs = _pair_runtimes(names, b is not None)
    sources = [(x.path, x.source) for x in pictures] or list(make_pictures(opened))
    files = [*opened.graph.files, *other.graph.files]
    read = [x for _, x in sources if isinstance(x, str | os.PathLike)]
    check_outputs({"-o": out}, {"a model that is compared": files, "one of the pictures": read})
    done, total, runs, widest = 0, len(sources) * len(pairs), [], None
    broken: dict[str, Skipped] = {}
    for first, second in pairs:

        def advance() -> None:
            nonlocal done
            done += 1
            if on_progress is not None:
                on_progress(done, total)

        both = ComparedSides(
            Side(opened, first[1], _name(opened, first[0])), Side(other, second[1], _name(other, second[0]))
        )
        found = compare_sides(
            both, sources, on_picture=advance, on_unreadable=lambda n, e: broken.setdefault(n, Skipped(n, e))
        )
        if widest is None or _rank(found) < _rank(widest[1]):
            widest = both, found
        runs.append(found)
    assert widest is not None
    kept = [x for x in sources if x[0] not in broken]
    changes = None if run is None else measure_change(*widest, kept, folder)
    path = None
    if out is not None:
        from inspector.pages.comparison import write_comparison

        path = write_comparison(*widest, kept, Path(out), changes)
    return ComparedModels(tuple(runs), (*skipped, *broken.values()), path, changes)


def _rank(run: ModelDifference) -> float:
    """How near the layer is that is furthest off."""
    return -100.0 if run.lowest is None else run.lowest.sqnr_db


def _pair_runtimes(names: Sequence[str], two: bool) -> list[tuple[tuple[str, Any], tuple[str, Any]]]:
    """((name, maker) of A's runtime, the same of B's) of each comparison."""
    from inspector.comparing import choose_runtime, use_model

    plain = ("", use_model)
    chosen = [(name, choose_runtime(name)) for name in names]
    if not two:
        if not chosen:
            raise UsageError("there is nothing to compare with", "give a second .onnx file, or --runtime NAME")
        first = plain if len(chosen) == 1 else chosen.pop(0)
        return [(first, other) for other in chosen]
    if len(chosen) > 2:
        raise UsageError(f"{len(chosen)} runtimes for two files", "give one for both, or one for each")
    return [(chosen[0], chosen[-1])] if chosen else [(plain, plain)]


def _name(model: AnyModel, runtime: str) -> str:
    return f"{model.path.name} on {runtime}" if runtime else model.path.name


def _gather(images: Pictures | None) -> tuple[list[Picture], list[Skipped]]:
    """The pictures, and what is none. Raises where some were asked for and there are none."""
    if images is None or (isinstance(images, list | tuple) and not images):
        return [], []
    found = list(find_pictures(images))
    skipped = [Skipped("", x) for x in found if isinstance(x, ImageError)]
    pictures = [x for x in found if isinstance(x, Picture)]
    if not pictures:
        raise make_none_error(skipped)
    return pictures, skipped


def split_files(files: Sequence[str]) -> tuple[str | None, list[str]]:
    """The second file, where the first argument names one, and the pictures.

    Raises:
        UsageError: For a third .onnx file.
    """
    models = [x for x in files if Path(x).suffix.lower() in (".onnx", ".ort")]
    if len(models) > 1 or (models and files[0] != models[0]):
        raise UsageError(f"{models[-1]} stands where a picture is expected", "inspector compare A.onnx B.onnx IMAGE...")
    return (models[0], list(files[1:])) if models else (None, list(files))
