"""A scan from its pictures to its tables: planned, looked at shard by shard, merged, written."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from inspector.errors import UsageError
from inspector.extras import need
from inspector.files import atomic_path, output_folder
from inspector.layers import Layer
from inspector.model import Model, drop_false_classes
from inspector.scanning.engines import check_engine, run_shards
from inspector.scanning.folder import STATES, find_missing, lock_scan, read_aside, state_path
from inspector.scanning.listing import SHARD_SIZE, ScanError, sort_list, write_list
from inspector.scanning.plan import PLAN_NAME, ScanPlan, load_plan, plan_scan, save_plan
from inspector.scanning.sources import list_pictures
from inspector.scanning.sources.opening import is_address
from inspector.scanning.state_file import load_scan_state
from inspector.text import count

OnProgress = Callable[..., None]


@dataclass(frozen=True)
class ScanOptions:
    """How a scan is done.

    Attributes:
        engine: ``local``, ``ray`` or ``plain``.
        shard: (I, N): only each N-th shard, beginning with the I-th, counted from 1; the tables are left to a merge.
        top: Pictures that are kept for each channel.
        layers: The layers to look at; None takes the last of each resolution.
        embed: The layer of the embedding; None takes the last with maps.
        resume: Go on with what is in the folder.
        workers: Processes or actors; None takes one for each core.
        shard_size: Pictures of a shard.
    """

    engine: str = "local"
    shard: tuple[int, int] | None = None
    top: int = 9
    layers: Sequence[str | Layer] | None = None
    embed: str | None = None
    resume: bool = False
    workers: int | None = None
    shard_size: int = SHARD_SIZE


@dataclass(frozen=True)
class Scan:
    """A scan that was made.

    Attributes:
        folder: Where it lies.
        pictures: How many pictures were used.
        skipped: (name, reason) of each picture that could not be used.
        shards: How many shards it has, or this part of it.
        seconds: How long this call took.
        finished: Whether the tables are written; a part that is to be merged has none.
        plan: What it did.
    """

    folder: Path
    pictures: int
    skipped: tuple[tuple[str, str], ...] = field(repr=False)
    shards: int
    seconds: float
    finished: bool
    plan: ScanPlan = field(repr=False)


def scan_pictures(
    model: Model,
    data: Sequence[str | os.PathLike[str]],
    folder: Path,
    options: ScanOptions,
    on_progress: OnProgress = lambda done, total, about="": None,
) -> Scan:
    """Look at many pictures, and write what the network makes of them.

    Args:
        model: The model.
        data: Folders, lists, archives, addresses.
        folder: Where to.
        options: How.
        on_progress: Called with how much is done, how much there is, and what is done.

    Raises:
        ScanError: There are no pictures, the folder holds another scan, or another scan writes into it.
        UsageError: An option is out of range.
        MissingExtra: pyarrow is not installed.
        ImageError: None of the pictures could be used.
        OutputError: A file cannot be written.
    """
    began = time.monotonic()
    _check_shard(options.shard)
    check_engine(options.engine)
    need("pyarrow.parquet", "scan", "the tables of a scan need pyarrow")
    _check_apart(folder, data)
    with lock_scan(folder):
        plan = _settle(drop_false_classes(model), data, folder, options)
        every = range(plan.shards)
        own = list(every if options.shard is None else every[options.shard[0] - 1 :: options.shard[1]])
        output_folder(folder / STATES)
        missing = find_missing(folder, plan, own)
        done = len(own) - len(missing)

        def advance(shard: int) -> None:
            nonlocal done
            done += 1
            on_progress(done, len(own), "shards")

        on_progress(done, len(own), "shards")
        run_shards(options.engine, folder, plan, missing, options.workers, advance)
        if options.shard is not None:
            return _describe_part(folder, plan, own, began)
        return _finish(folder, plan, began, on_progress)


def _check_shard(shard: tuple[int, int] | None) -> None:
    if shard is not None and not 1 <= shard[0] <= shard[1]:
        raise UsageError(f"--shard {shard[0]}/{shard[1]} is out of range", "give for example 1/8, 2/8, ... 8/8")


def _check_apart(folder: Path, data: Sequence[str | os.PathLike[str]]) -> None:
    """Raise UsageError where the patches of a scan would become pictures of the next one, or the other way round."""
    out = folder.resolve()
    for given in data:
        path = Path(given)
        if not is_address(os.fspath(given)) and path.is_dir():
            held = path.resolve()
            if held == out or held in out.parents or out in held.parents:
                how = "is" if held == out else "lies in" if held in out.parents else "holds"
                raise UsageError(
                    f"-o {folder} {how} the folder of the pictures, {path}: patches would become pictures of the next "
                    "scan", "give -o a folder beside it",
                )  # fmt: skip


def _settle(
    model: Model, data: Sequence[str | os.PathLike[str]], folder: Path, options: ScanOptions
) -> ScanPlan:  # fmt: skip
    """The plan, written into the folder; where it is to be resumed, the one that is there."""
    there = (folder / PLAN_NAME).exists()
    if there and not options.resume:
        raise ScanError(f"{folder} holds a scan already", "go on with --resume, or choose another folder")
    size = load_plan(folder).shard_size if there else options.shard_size
    shown = [os.fspath(x) for x in data]
    with sort_list(list_pictures(data)) as (pictures, listed):
        plan = plan_scan(model, listed, options.layers, options.embed, options.top, shown, size)
        if there and load_plan(folder).digest != plan.digest:
            raise ScanError(
                f"the scan in {folder} is another one: the model, the layers, the pictures or --top differ, or --input "
                "or --provider",
                "choose another folder, or give what it was begun with",
            )
        if not there:
            write_list(folder, pictures, plan.shard_size)
            # Last, as the mark that the folder holds a scan.
            save_plan(plan, folder)
    return plan


def _describe_part(folder: Path, plan: ScanPlan, shards: Sequence[int], began: float) -> Scan:
    from inspector.scanning.folder import make_empty_state
    from inspector.scanning.listing import read_shard

    pictures, skipped = 0, []
    for shard in shards:
        reason = read_aside(folder, shard)
        state = (
            make_empty_state(plan, shard, reason) if reason else load_scan_state(state_path(folder, shard), rows=False)
        )
        names = read_shard(folder, shard) if state.skipped else []
        first = plan.find_range(shard)[0]
        skipped += [(names[number - first].name, why) for number, why in state.skipped]
        pictures += state.pictures
    return Scan(folder, pictures, tuple(skipped), len(shards), time.monotonic() - began, False, plan)


def _finish(folder: Path, plan: ScanPlan, began: float, on_progress: OnProgress) -> Scan:
    from inspector.scanning.finish import finish_scan

    pictures, skipped = finish_scan(folder, plan, on_progress)
    return Scan(folder, pictures, skipped, plan.shards, time.monotonic() - began, True, plan)


def merge_parts(
    parts: Sequence[str | os.PathLike[str]],
    folder: Path,
    on_progress: OnProgress = lambda done, total, about="": None,
) -> Scan:
    """Merge the parts of one scan, in any order: what comes out has the bytes of a scan in one piece.

    Args:
        parts: Folders that `scan --shard I/N` wrote.
        folder: Where to; one of them, or a new one.
        on_progress: As for :func:`scan_pictures`.

    Raises:
        ScanError: They are of different scans, a shard is in none of them, or the folder holds another scan.
        OutputError: A file cannot be written.
    """
    began = time.monotonic()
    need("pyarrow.parquet", "scan", "the tables of a scan need pyarrow")
    if not parts:
        raise UsageError("there are no scans to merge", "give the folders that `inspector scan --shard` wrote")
    folders = [Path(part) for part in parts]
    plans = [load_plan(one) for one in folders]
    for one, plan in zip(folders, plans, strict=True):
        if plan.digest != plans[0].digest:
            raise ScanError(
                f"{one} and {folders[0]} are parts of different scans: the model, the layers, the pictures or the "
                "options differ", "merge only what the same command made with another --shard",
            )  # fmt: skip
        if plan.shard_size != plans[0].shard_size:
            raise ScanError(f"{one} and {folders[0]} were cut into shards of different sizes", "use one --shard-size")
    plan = plans[0]
    with lock_scan(folder):
        there = load_plan(folder) if (folder / PLAN_NAME).exists() else plan
        if there.digest != plan.digest:
            raise ScanError(f"{folder} holds another scan", "choose another folder")
        if there.shard_size != plan.shard_size:
            raise ScanError(
                f"{folder} holds a scan with {there.shard_size} pictures in a shard, and the parts have "
                f"{plan.shard_size}", "choose another folder",
            )  # fmt: skip
        _check_complete([*folders, folder], plan)
        output_folder(folder / STATES)
        for one in folders:
            _take_states(one, folder, plan)
        _copy_list(folders[0], folder, plan)
        return _finish(folder, plan, began, on_progress)


def _check_complete(folders: Sequence[Path], plan: ScanPlan) -> None:
    """Raise ScanError where a shard is in none of the parts, before anything is written."""
    held = {path.stem for one in folders for path in (one / STATES).glob("*") if path.suffix in (".state", ".aside")}
    missing = [shard for shard in range(plan.shards) if state_path(folders[0], shard).stem not in held]
    if missing:
        told = ", ".join(str(shard + 1) for shard in missing[:5]) + (", ..." if len(missing) > 5 else "")
        verb = "is" if len(missing) == 1 else "are"
        raise ScanError(
            f"{count(len(missing), 'shard')} of {plan.shards} {verb} in none of the parts: {told}",
            "give all parts; one that was stopped goes on with --resume",
        )


def _take_states(part: Path, folder: Path, plan: ScanPlan) -> None:
    """Copy the states of a part; of two of one shard, any will do: they are the same."""
    if part.resolve() == folder.resolve():
        return
    for source in sorted((part / STATES).glob("*.state")) + sorted((part / STATES).glob("*.aside")):
        target = folder / STATES / source.name
        state = target.with_suffix(".state")
        if target.exists() or state.exists():
            continue
        with atomic_path(target) as path:
            shutil.copyfile(source, path)
        if target == state:
            target.with_suffix(".aside").unlink(missing_ok=True)


def _copy_list(part: Path, folder: Path, plan: ScanPlan) -> None:
    if part.resolve() == folder.resolve():
        return
    for source in part.glob("pictures*.*"):
        if source.suffix in (".jsonl", ".npy"):
            with atomic_path(folder / source.name) as path:
                shutil.copyfile(source, path)
    save_plan(plan, folder)
