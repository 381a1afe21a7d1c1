"""The run folder: whether a run may begin or go on in it, and what is written there before the training."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from exporters.finetuning.context import BASE, CONFIG, MODEL, RESULT, BaseNetwork, PreparedRun
from exporters.planning.entries import SPLITS
from exporters.planning.options import FineTuneOptions
from exporters.sources.needs import torch
from inspector.errors import OutputError, UsageError, listing, say_no_path
from inspector.files import write_text
from inspector.guard import check_folder
from inspector.version import __version__

_FIRST = frozenset({BASE, "classes.txt", "plan.txt", "plan.json", "skipped.json", "splits.csv"})
"""What is written before the mark that makes a folder a run."""
_PAGES = {"metrics.jsonl", "mistakes.json", "confusion.png", "worst.png", "curves.png"}
_WRITTEN = _FIRST | _PAGES | {CONFIG, RESULT, MODEL}
"""Files of a run whose names a user may give as inputs of another."""


def check_run_folder(folder: Path, resume: bool, inputs: Iterable[object] = ()) -> bool:
    """Return whether there is a run to go on with.

    Args:
        folder: The run folder.
        resume: Whether a run is to be gone on with.
        inputs: What is read: none of it may be one of the files that are going to be written.

    Raises:
        UsageError: A run is to be resumed, and there is none; or an input would be written onto.
        OutputError: A run is to be started, and the folder is not empty, or cannot be made.
    """
    if "\0" in str(folder):
        raise OutputError(say_no_path(folder, ValueError()), "give a new folder")
    above = next((parent for parent in folder.absolute().parents if parent.exists()), None)
    if above is not None and not above.is_dir():
        raise OutputError(f"cannot write {folder}: {above} is a file", "give a new folder")
    check_folder(folder, re.compile("|".join(map(re.escape, sorted(_WRITTEN)))), inputs)
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


def write_start(folder: Path, prepared: PreparedRun) -> None:
    """Write what is known before the training; the file that marks the folder as a run comes last."""
    dataset = prepared.dataset
    write_text(folder / "classes.txt", "\n".join(dataset.classes) + "\n")
    write_text(folder / "plan.txt", prepared.plan.text() + "\n")
    write_json(folder / "plan.json", prepared.plan.to_json())
    write_json(folder / "skipped.json", [{"name": s.name, "reason": s.reason} for s in dataset.skipped])
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["path", "label", "split", "weight"])
    writer.writerows(
        (s.name, dataset.classes[s.label], split, f"{s.weight:g}") for split in SPLITS for s in getattr(dataset, split)
    )
    write_text(folder / "splits.csv", table.getvalue())
    config = make_config(prepared.options, prepared.base)
    write_json(folder / CONFIG, {**config, "data": dataset.digest, **describe_versions(prepared)})


def describe_versions(prepared: PreparedRun) -> dict[str, Any]:
    """Describe what a run began with, for its config.json."""
    return {
        "start": prepared.model.sha256,
        "versions": {"inspector": __version__, "torch": torch.__version__, "numpy": np.__version__},
        "threads": torch.get_num_threads(),
    }


def make_config(options: FineTuneOptions, base: BaseNetwork) -> dict[str, Any]:
    """Make the part of config.json that a run which is resumed has to share."""
    return {
        "schema": 1,
        "base": base.spec,
        "weights": base.digest_weights(),
        "pretrained": base.pretrained,
        "options": options.to_json(),
    }


def check_same(folder: Path, now: Mapping[str, Any]) -> None:
    """Check that a run is resumed with the arguments that it was started with.

    Args:
        folder: The run folder.
        now: The present config; with ``data``, the digest of the pictures, these are compared too.

    Raises:
        UsageError: Something differs, or the folder's config.json is damaged.
    """
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
    if changed := _list_changes(before, json.loads(json.dumps(now))):
        raise UsageError(
            f"{folder} was started with other arguments: {listing(changed)}",
            "give the same ones to resume, or another folder for a new run",
        )


def _list_changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
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
    return changed


def write_json(path: Path, document: Any) -> None:
    """Write a document whole or not at all."""
    write_text(path, json.dumps(document, indent=1, ensure_ascii=False) + "\n")
