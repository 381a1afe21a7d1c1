"""Very many pictures: what a network has learned from a whole data set."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from inspector.api.arguments import ModelSource, Warn, check_arguments
from inspector.api.model import to_model
from inspector.errors import UsageError, check_whole, wrong_type

if TYPE_CHECKING:
    from inspector.layers import Layer
    from inspector.pages.scan import Patterns
    from inspector.scanning import Scan
    from inspector.scanning.drift import ScanDrift

Paths = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


# Wide: the options of `inspector scan`.
# Long: each of them is explained.
@check_arguments
def scan(
    model: ModelSource,
    data: Paths,
    out: str | os.PathLike[str],
    *,
    engine: str = "local",
    shard: tuple[int, int] | None = None,
    top: int = 9,
    layers: Sequence[str | Layer] | None = None,
    embed: str | None = None,
    resume: bool = False,
    workers: int | None = None,
    shard_size: int = 256,
    patterns: str | os.PathLike[str] | None = None,
    provider: str = "auto",
    warn: Warn | None = None,
    on_progress: Callable[..., None] | None = None,
) -> Scan:
    """Look at very many pictures: the best patches and statistics of each channel, and the answer for each picture.

    The same pictures give the same bytes whatever the engine, the number of workers or shards, and however often the
    scan was stopped and resumed.

    Args:
        model: The path of an .onnx file, or a model that is open.
        data: Folders (the folder below is the class), CSV and Parquet lists of paths and labels, tar files as
            WebDataset writes them, zip files, and addresses of fsspec; one or several.
        out: The folder to write.
        engine: ``local`` takes the cores of this machine, ``ray`` a Ray cluster, ``plain`` this process.
        shard: (I, N) looks at each N-th shard from the I-th on; :func:`merge_scans` makes one scan of all N.
        top: Pictures that are kept for each channel, 1 to 100.
        layers: The layers to look at; None takes the last of each resolution.
        embed: The layer whose mean over its positions is a picture's embedding; None takes the last with maps.
        resume: Go on with what is in the folder.
        workers: Processes or actors; None takes one for each core.
        shard_size: Pictures of a shard, 1 to 65536.
        patterns: A folder that `inspector filters` wrote: the page shows its patterns beside the patches.
        provider: Where a path is given: auto, cpu, cuda, ...
        warn: Gets a line where something is noteworthy but not wrong.
        on_progress: Called with how much is done, how much there is, and what is done.

    Returns:
        Where the scan lies, how many pictures were used, and those that were not, with the reason.

    Raises:
        InspectorError: The model cannot be opened, an argument is wrong, another scan is in the folder, or no picture
            could be used.

    Example:
        >>> import inspector
        >>> first = {"layers": ["conv_stem"], "embed": "conv_stem", "engine": "plain"}
        >>> done = inspector.scan(model, "docs/chelsea.jpg", folder / "scan", **first)
        >>> done.pictures, done.skipped
        (1, ())
    """
    from inspector.scanning import ScanOptions, scan_pictures

    check_whole("top", top, 1, 100)
    opened = to_model(model, provider, None, warn)
    options = ScanOptions(engine, shard, top, layers, embed, resume, workers, shard_size)
    if patterns is not None and shard is not None:
        raise UsageError("a part has no page that could show patterns", "give them to the merge of all parts")
    drawn = _find_patterns(patterns, opened.digest)
    made = scan_pictures(opened, _as_list("data", data), Path(out), options, on_progress or _ignore)
    return _write_page(made, drawn, warn)


@check_arguments
def merge_scans(
    scans: Paths,
    out: str | os.PathLike[str],
    *,
    patterns: str | os.PathLike[str] | None = None,
    warn: Warn | None = None,
    on_progress: Callable[..., None] | None = None,
) -> Scan:
    """Merge the parts of a scan, in any order.

    Args:
        scans: The folders that :func:`scan` wrote with `shard`.
        out: The folder to write; one of them, or a new one.
        patterns: A folder that `inspector filters` wrote: the page shows its patterns beside the patches.
        warn: Gets a line where something is noteworthy but not wrong.
        on_progress: Called with how much is done, how much there is, and what is done.

    Returns:
        The whole scan; its files have the bytes of a scan in one piece.

    Raises:
        InspectorError: They are parts of different scans, or a shard is in none of them.

    Example:
        >>> import inspector
        >>> first = {"layers": ["conv_stem"], "embed": "conv_stem", "engine": "plain"}
        >>> parts = [
        ...     inspector.scan(model, "docs/chelsea.jpg", folder / f"part-{k}", shard=(k, 2), **first).folder
        ...     for k in (1, 2)
        ... ]
        >>> inspector.merge_scans(parts, folder / "whole").pictures
        1
    """
    from inspector.scanning import merge_parts
    from inspector.scanning.plan import load_plan

    parts = _as_list("scans", scans)
    drawn = _find_patterns(patterns, load_plan(Path(parts[0])).model.digest) if patterns is not None else {}
    return _write_page(merge_parts(parts, Path(out), on_progress or _ignore), drawn, warn)


@check_arguments
def compare_scans(a: str | os.PathLike[str], b: str | os.PathLike[str], *, level: float = 0.01) -> ScanDrift:
    """Say what has moved from one scan to another: channels, answers, embeddings.

    Args:
        a: The folder of a scan, from which drift is measured.
        b: The folder of another scan of the same layers.
        level: Of each of the three tests: how often a change is found where there is none, above 0 and below 1.

    Returns:
        Population stability and the probability by chance of each channel, of the predictions and of the embeddings.

    Raises:
        InspectorError: A scan is not finished, they are of different layers, or the level is out of range.

    Example:
        >>> import inspector
        >>> first = {"layers": ["conv_stem"], "embed": "conv_stem", "engine": "plain"}
        >>> made = inspector.scan(model, "docs/chelsea.jpg", folder / "first", **first).folder
        >>> inspector.compare_scans(made, made).moved
        False
    """
    from inspector.scanning.drift import measure_drift

    return measure_drift(Path(a), Path(b), level)


def _find_patterns(folder: str | os.PathLike[str] | None, digest: str) -> Patterns:
    """The patterns of a folder, looked for before hours are spent."""
    if folder is None:
        return {}
    from inspector.pages.scan import find_drawn_patterns

    return find_drawn_patterns(Path(folder), digest)


def _write_page(made: Scan, patterns: Patterns, warn: Warn | None) -> Scan:
    """``report.html`` of a scan that is finished."""
    if made.finished:
        from inspector.pages.scan import write_scan_page

        if patterns and not {layer for layer, _ in patterns} & {layer.name for layer in made.plan.layers} and warn:
            names = ", ".join(layer.name for layer in made.plan.layers)
            warn(f"the patterns are of none of the layers that were looked at ({names}), and are not shown")
        write_scan_page(made.folder, patterns)
    return made


def _as_list(name: str, given: Paths) -> list[str | os.PathLike[str]]:
    if isinstance(given, str | os.PathLike):
        return [given]
    found = list(given) if isinstance(given, Sequence) else []
    if not found or not all(isinstance(one, str | os.PathLike) for one in found):
        raise wrong_type(name, given, "give a path or an address, or a list of them")
    return found


def _ignore(done: int, total: int, about: str = "") -> None:
    """Nobody watches."""
