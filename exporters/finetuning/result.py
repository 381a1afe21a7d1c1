"""A finished run, and its way into a file and back."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from exporters.finetuning.context import RESULT, Note
from exporters.finetuning.folder import write_json
from exporters.planning.plan import FineTunePlan, PlannedLayer
from inspector.agreement import Agreement
from inspector.errors import UsageError


@dataclass(frozen=True)
class FineTuneResult:
    """A finished run.

    Attributes:
        run: The folder.
        plan: What was planned.
        best: The best epoch on the validation pictures: `phase`, `epoch`, `accuracy`, `balanced_accuracy`, `loss`,
            `recall`.
        test: Figures of model.onnx on the test pictures, of scores averaged over the plan's `poses`; None where there
            are no such pictures.
        frozen_unchanged: Whether everything that was frozen is bit for bit what it was.
        model: The .onnx file.
        sha256: Its digest.
        seconds: Of each phase, of the cache and of all.
        parity: Torch against onnxruntime, for each output.
        notes: What had to be assumed or decided, a sentence each.
        frozen: SHA-256 `before` and `after` of what was frozen, in the `file` and in the network that each phase
            trained, with the statistics of the base's norms. Of several processes one that differs, if any does.
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


def write_result(result: FineTuneResult) -> None:
    """Write result.json into the run folder."""
    document = {
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
    write_json(result.run / RESULT, document)


def find_result(folder: Path, note: Note) -> FineTuneResult | None:
    """Return the result of a run that is finished and whole, None where something is left to do."""
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
    """Read the result of a finished run from its folder.

    Raises:
        UsageError: There is no finished run, or a damaged one.
    """
    run = Path(folder)
    try:
        document = json.loads((run / RESULT).read_text("utf-8"))
        planned = json.loads((run / "plan.json").read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{run} holds no finished run: {error}", "finish it with --resume") from None
    try:
        planned["layers"] = tuple(PlannedLayer(**{**x, "weights": tuple(x["weights"])}) for x in planned["layers"])
        planned["classes"], planned["kept"] = tuple(planned["classes"]), tuple(planned["kept"])
        plan = FineTunePlan(**planned)
    except (KeyError, TypeError) as error:
        raise _damage(run / "plan.json", error, "start the run again in a new folder") from None
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
        raise _damage(run / RESULT, error, "remove it, and --resume writes it again") from None


def _damage(path: Path, error: Exception, hint: str) -> UsageError:
    what = f"it has no {error}" if isinstance(error, KeyError) else str(error)
    return UsageError(f"{path} is damaged: {what}", hint)
