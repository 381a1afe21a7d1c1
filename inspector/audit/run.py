"""One audit: the checks that the policy asks for, the pictures walked past once, one result."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from inspector.audit.pictures import Entry, PictureSet, find_entries
from inspector.audit.policy import Counts, Policy, Rule, find_policy
from inspector.audit.probes import Probe
from inspector.audit.probes.predictions import Labelled, Predictions
from inspector.audit.probes.recorder import Recorder
from inspector.audit.regions import check_paths
from inspector.audit.result import Audit, CheckResult, NotChecked, Status, Verdict, Where, conclude
from inspector.audit.snapshot import Snapshot, is_snapshot, load_snapshot, save_snapshot
from inspector.audit.subject import LayerSight, Sight, Subject, relative
from inspector.audit.table import Check, known_checks
from inspector.errors import ImageError, InspectorError, ModelError, UsageError, one_line
from inspector.image import open_image
from inspector.model import Model, open_model
from inspector.runtime import choose_providers

Advance = Callable[[int, int], None]
"""Called with (pictures done, pictures in all)."""


def audit_model(
    model: str | os.PathLike[str] | Model,
    policy: Policy | None = None,
    *,
    data: str | os.PathLike[str] | None = None,
    against: str | os.PathLike[str] | Model | Snapshot | None = None,
    save: str | os.PathLike[str] | None = None,
    seed: int | None = None,
    provider: str = "auto",
    threads: int | None = None,
    advance: Advance | None = None,
    warn: Callable[[str], None] | None = None,
) -> Audit:
    """Audit a model by a policy.

    policy: default: that of the current folder's pyproject.toml, else the built-in one. data: folder of pictures,
    instead of the policy's. against: a model or a snapshot, instead of the policy's reference. save: where to write a
    snapshot. seed: instead of the policy's.
    A model that is there but cannot be opened is a finding, not an error.
    Raises ModelError (no such file), PolicyError, ImageError (no pictures where there should be), SnapshotError,
    UsageError, OutputError.
    """
    begin = time.perf_counter()
    policy = policy or find_policy()
    policy = policy if seed is None else replace(policy, seed=seed)
    choose_providers(provider)
    check_paths(policy, reference=against is None)
    try:
        opened = model if isinstance(model, Model) else open_model(model, provider=provider, threads=threads, warn=warn)
    except InspectorError as error:
        if isinstance(error, UsageError) or not isinstance(model, str | os.PathLike) or not _is_onnx(Path(model)):
            raise
        return _unopened(Path(model), error, policy, time.perf_counter() - begin)
    pictures = PictureSet()
    folder = Path(data) if data is not None else policy.images.data
    if folder is not None:
        pictures = find_entries(opened, folder, policy.images.labelled, policy.images.max)
    elif policy.images.labelled == "yes":
        raise UsageError("the policy wants labelled pictures and names no folder", "give --data DIR")
    reference, snapshot = _reference(against if against is not None else policy.reference, provider, threads, warn)
    subject = Subject(
        opened, policy, pictures, reference, snapshot, policy.seed,
        digests=snapshot is not None or save is not None,
    )  # fmt: skip
    run = _Run(subject, saving=save is not None)
    checks = run.results(advance)
    if save is not None:
        save_snapshot(run.snapshot(), save)
    passed, verdict = conclude(checks, policy.fail_on)
    return Audit(
        path=opened.path, sha256=opened.sha256, checks=checks, passed=passed, verdict=verdict, policy=policy.source,
        pictures=len(pictures), seed=policy.seed, seconds=time.perf_counter() - begin, notes=opened.assumed,
    )  # fmt: skip


def _is_onnx(path: Path) -> bool:
    """Whether a file that could not be opened is an ONNX model all the same, so that refusing it is a finding."""
    import onnx

    try:
        if not path.is_file() or path.stat().st_size > 2**31 - 1:
            return False
        proto = onnx.load_model(str(path), load_external_data=False)
    except Exception:  # protobuf's and onnx's own error types
        return False
    return bool(proto.graph.node)


def _unopened(path: Path, error: InspectorError, policy: Policy, seconds: float) -> Audit:
    """The result for a model that is refused: one finding, and all other checks not run."""
    checks = []
    for check in known_checks().values():
        rule = policy.rules[check.id]
        if not rule.on:
            continue
        if check.id == "opens":
            result = _result(check, rule, policy, Verdict(error.message), 0.0)
            result = replace(result, status="fail", counts="fail", message=str(error))
        else:
            result = _not_run(check, rule, policy, "the model cannot be opened")
        checks.append(result)
    # Whatever the policy turned off: a model that is refused is not fit to ship.
    verdict = f"not fit to ship: {error}"
    return Audit(path, _digest(path), tuple(checks), False, verdict, policy.source, 0, policy.seed, seconds)


def _digest(path: Path) -> str:
    import hashlib

    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _reference(
    given: Any, provider: str, threads: int | None, warn: Callable[[str], None] | None
) -> tuple[Model | None, Snapshot | None]:
    if given is None or isinstance(given, Snapshot):
        return None, given
    if isinstance(given, Model):
        return given, None
    if is_snapshot(given):
        return None, load_snapshot(given)
    try:
        return open_model(given, provider=provider, threads=threads, warn=warn), None
    except ModelError as error:
        raise ModelError(f"the reference: {error.message}", "give an .onnx file, or a snapshot") from None


class _Run:
    """The state of one audit while it runs."""

    def __init__(self, subject: Subject, saving: bool) -> None:
        self.subject = subject
        self.saving = saving
        self.probes: dict[type[Probe], Probe] = {}
        self.missing: dict[type[Probe], NotChecked] = {}
        self.broken: dict[type[Probe], Exception] = {}
        self.recorder: Recorder | None = None

    def results(self, advance: Advance | None) -> tuple[CheckResult, ...]:
        checks = [check for check in known_checks().values() if self.subject.policy.rules[check.id].on]
        wanted = list(dict.fromkeys(probe for check in checks for probe in check.probes))
        if self.saving:
            wanted += [p for p in (Predictions, Labelled) if p not in wanted]
            self.recorder = self._make(Recorder)  # type: ignore[assignment]
            if self.recorder is None:
                raise UsageError(f"no snapshot can be saved: {self.missing[Recorder].reason}", "give --data DIR")
        for kind in wanted:
            self._make(kind)
        self._walk(advance)
        return tuple(self._judge(check) for check in checks)

    def snapshot(self) -> Snapshot:
        """What --save-snapshot writes."""
        assert self.recorder is not None
        if not self.recorder.digests:
            raise UsageError("no snapshot can be saved: none of the pictures could be run", "see the audit's findings")
        said = self.probes.get(Labelled) or self.probes.get(Predictions)
        return self.recorder.snapshot(said if isinstance(said, Predictions) else None)

    def _make(self, kind: type[Probe]) -> Probe | None:
        if kind not in self.probes and kind not in self.missing:
            try:
                self.probes[kind] = kind(self.subject)
            except NotChecked as reason:
                self.missing[kind] = reason
            except Exception as error:  # a project's own probe may raise anything
                self.broken[kind] = error
        return self.probes.get(kind)

    # --- the pictures ---------------------------------------------------------------------------------------------

    def _walk(self, advance: Advance | None) -> None:
        entries = self.subject.pictures.entries
        if not self.probes or not entries:
            return
        model = self.subject.model
        scores = model.classifier is not None
        for done, (index, entry, picture) in enumerate(_opened(entries, model.threads != 1)):
            active = [(kind, probe) for kind, probe in self.probes.items() if kind not in self.broken]
            if not active:
                return
            layers = model.layers if any(probe.needs_layers(index) for _, probe in active) else ()
            try:
                if isinstance(picture, ImageError):
                    raise picture
                tensor = model.preprocess.tensor(picture)
                values, found = model.layer_values(tensor, layers, scores) if layers or scores else ({}, None)
            except ImageError as error:
                self.subject.unreadable[entry.shown] = error.message
                continue
            except Exception as error:  # onnxruntime's, or memory: the same would come for every picture
                self.broken.update(dict.fromkeys(self.probes, error))
                return
            sight = Sight(
                index, entry, picture, tensor, None if found is None else found[0],
                {layer.name: LayerSight(layer, values[layer.name][0]) for layer in layers},
            )  # fmt: skip
            for kind, probe in active:
                try:
                    probe.look(sight)
                except Exception as error:  # one check's trouble is not the others'
                    self.broken[kind] = error
            if advance is not None:
                advance(done + 1, len(entries))

    # --- the verdicts ---------------------------------------------------------------------------------------------

    def _judge(self, check: Check) -> CheckResult:
        subject, policy = self.subject, self.subject.policy
        rule = policy.rules[check.id]
        begin = time.perf_counter()
        try:
            for kind in check.probes:
                if kind in self.broken:
                    raise self.broken[kind]
                if kind in self.missing:
                    raise self.missing[kind]
            if check.probes and len(subject.unreadable) == len(subject.pictures) and check.id != "pictures-readable":
                raise NotChecked("none of the pictures could be read")
            verdict = check.run(subject, rule.limits, *(self.probes[kind] for kind in check.probes))
            return _result(check, rule, policy, verdict, time.perf_counter() - begin)
        except NotChecked as reason:
            asked = _asked(subject, check.id, reason.applies)
            return _not_run(check, rule, policy, reason.reason, reason.applies, time.perf_counter() - begin, asked)
        except Exception as error:
            if os.environ.get("INSPECTOR_DEBUG"):
                raise
            return _broke(check, rule, policy, error, time.perf_counter() - begin)


def _opened(entries: Sequence[Entry], ahead: bool) -> Iterator[tuple[int, Entry, Any]]:
    """(index, entry, picture or ImageError); ahead: the next ones are decoded while the current one is looked at."""

    def load(entry: Entry) -> Any:
        try:
            return open_image(entry.path)
        except ImageError as error:
            return error

    if not ahead:
        yield from ((index, entry, load(entry)) for index, entry in enumerate(entries))
        return
    with ThreadPoolExecutor(1) as pool:
        waiting: list[Future[Any]] = []
        for index, entry in enumerate(entries):
            while len(waiting) < 2 and index + len(waiting) < len(entries):
                waiting.append(pool.submit(load, entries[index + len(waiting)]))
            yield index, entry, waiting.pop(0).result()


def _asked(subject: Subject, id: str, applies: bool) -> bool:
    """Whether somebody asked for this check by giving what it alone needs: then it may not be left out silently."""
    if id in ("drift-layers", "drift-agreement"):
        return applies and (subject.reference is not None or subject.snapshot is not None)
    if id in ("cam-energy-inside", "cam-pointing-game"):
        return subject.policy.regions.objects
    return id == "cam-energy-avoided" and subject.policy.regions.avoid is not None


_COUNTS: Mapping[Counts, Status] = {"skip": "skipped", "warn": "warn", "fail": "fail"}


def _result(check: Check, rule: Rule, policy: Policy, verdict: Verdict, seconds: float) -> CheckResult:
    status: Status = "pass" if not verdict.findings else ("fail" if rule.severity == "error" else "warn")
    message = verdict.message
    if not verdict.judged:
        status, message = "skipped", f"measured: {message}; the policy sets no limit"
    counts: Status = "fail" if rule.required and not verdict.judged else status
    findings = tuple(
        replace(f, value=_number(f.value), limit=_number(f.limit), where=_where(f.where)) for f in verdict.findings
    )
    return CheckResult(
        id=check.id, family=check.family, title=check.title, status=status, severity=rule.severity, counts=counts,
        message=one_line(message, 1000), value=_number(verdict.value), limit=_number(verdict.limit), unit=verdict.unit,
        where=_where(verdict.where), findings=findings if verdict.judged else (), details=_plain(verdict.details),
        seconds=seconds,
    )  # fmt: skip


def _number(value: float | None) -> float | None:
    """A number that every report can write: a project's own check may give numpy's."""
    return value if value is None or type(value) in (int, float) else float(value)


def _plain(value: Any) -> Any:
    """The same without numpy's arrays and numbers."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, Mapping):
        return {key: _plain(of) for key, of in value.items()}
    return type(value)(map(_plain, value)) if type(value) in (list, tuple) else value


def _where(where: Where) -> Where:
    return where if where.channel is None else replace(where, channel=int(where.channel))


def _not_run(
    check: Check, rule: Rule, policy: Policy, reason: str, applies: bool = True, seconds: float = 0.0,
    asked: bool = False,
) -> CheckResult:  # fmt: skip
    counts: Counts = policy.could_not_run if applies else "skip"
    # What was asked for by name and did not happen is never silently left out.
    counts = "fail" if rule.required or asked else counts
    return CheckResult(
        id=check.id, family=check.family, title=check.title, status="skipped", severity=rule.severity,
        counts=_COUNTS[counts], message=f"not run: {reason}", seconds=seconds,
    )  # fmt: skip


def _broke(check: Check, rule: Rule, policy: Policy, error: Exception, seconds: float) -> CheckResult:
    text = error.message if isinstance(error, InspectorError) else f"{type(error).__name__}: {error}"
    counts: Counts = "fail" if rule.required else policy.broken
    return CheckResult(
        id=check.id, family=check.family, title=check.title, status="error", severity=rule.severity,
        counts=_COUNTS[counts], message=one_line(f"broke: {text}", 600), seconds=seconds,
    )  # fmt: skip


__all__ = ["audit_model", "relative"]
