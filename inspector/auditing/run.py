"""One audit: the checks that the policy asks for, the pictures walked past once, one result."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnx

from inspector.auditing.catalogue import find_checks
from inspector.auditing.judge import conclude_check, judge, skip_check
from inspector.auditing.labelled import find_labelled_pictures
from inspector.auditing.pictures import PictureSet
from inspector.auditing.policy import Policy
from inspector.auditing.policy_reader import find_policy
from inspector.auditing.probes.answers import KeptAnswers
from inspector.auditing.probes.predictions import LabelledPredictions, TopPredictions
from inspector.auditing.probes.ranges import Ranges
from inspector.auditing.probes.recorder import Recorder
from inspector.auditing.regions import check_paths
from inspector.auditing.registry import Check
from inspector.auditing.result import Audit, CheckResult, NotChecked, Verdict, conclude
from inspector.auditing.snapshot import Snapshot, is_snapshot, load_snapshot, save_snapshot
from inspector.auditing.subject import Subject
from inspector.auditing.traits import collect_traits
from inspector.auditing.walk import Advance, AuditWalk
from inspector.errors import InspectorError, ModelError, NoPictureError, UsageError, wrong_type
from inspector.guard import add_inputs, check_outputs
from inspector.model import Model, drop_false_classes, open_model
from inspector.runtime import choose_providers

PathLike = str | os.PathLike[str]
OPENS = "opens"
"""The check that a model which is refused fails."""


@dataclass(frozen=True)
class Request:
    """What one audit was asked to do, with the defaults filled in.

    Attributes:
        model: An open model, or the path of one.
        policy: The demands, with the seed that holds.
        data: The folder of pictures, None for none.
        against: What to compare with, None for nothing.
        save: Where the snapshot goes, None for none.
        provider: Of onnxruntime.
        threads: Of onnxruntime; None for its own choice.
        allow_links: Folders that links to external data may lead into.
        inputs: Values of inputs that are no picture, by name.
        advance: Told of every picture that is done.
        warn: Told what had to be assumed.
    """

    model: PathLike | Model
    policy: Policy
    data: Path | None
    against: PathLike | Model | Snapshot | None
    save: PathLike | None
    provider: str
    threads: int | None
    allow_links: Sequence[PathLike]
    inputs: Mapping[str, Any]
    advance: Advance | None
    warn: Callable[[str], None] | None

    def open(self, model: PathLike | Model) -> Model:
        """A model with this request's provider and threads; one that is open already stays as it is."""
        if isinstance(model, Model):
            return model
        return open_model(
            model, provider=self.provider, threads=self.threads, allow_links=self.allow_links, inputs=self.inputs,
            warn=self.warn,
        )  # fmt: skip


# Long: the docstring of a call with ten options.
# Wide: they are given by keyword alone and become a Request at once.
def audit_model(
    model: PathLike | Model,
    policy: PathLike | Policy | None = None,
    *,
    data: PathLike | None = None,
    against: PathLike | Model | Snapshot | None = None,
    save: PathLike | None = None,
    seed: int | None = None,
    provider: str = "auto",
    threads: int | None = None,
    allow_links: Sequence[PathLike] = (),
    inputs: Mapping[str, Any] | None = None,
    advance: Advance | None = None,
    warn: Callable[[str], None] | None = None,
) -> Audit:
    """Audit a model by a policy.

    A model that is there but cannot be opened is a finding, not an error.

    Args:
        model: The model, or the path of an .onnx file.
        policy: The policy, or the path of a TOML file; by default ``[tool.inspector.audit]`` of the current folder's
            pyproject.toml, and where there is none, the built-in policy.
        data: Folder of pictures, or of a scan, instead of the policy's; folders in it that are named after classes make
            them labelled. For a detector or segmenter also a data.yaml (YOLO), a JSON (COCO), or a folder with labels.
        against: A model or a snapshot to compare with, open or as a path, instead of the policy's reference.
        save: Where to write a snapshot.
        seed: Of noise and random masks, instead of the policy's; 0 or more.
        provider: Of onnxruntime: auto, cpu, cuda, ...
        threads: Of onnxruntime; by default as many as there are cores.
        allow_links: Folders that links to external data of either model may lead into.
        inputs: Values of the inputs of either that are no picture, by name.
        advance: Called with (pictures done, pictures in all).
        warn: Called with what had to be assumed about a model.

    Returns:
        The result, with ``passed``, ``verdict`` and the results of all checks.

    Raises:
        ModelError: There is no such file, or it is no ONNX model at all.
        PolicyError: The policy is malformed.
        ImageError: There are no pictures where there should be some.
        SnapshotError: The snapshot is damaged.
        UsageError: An argument is of the wrong kind, or two do not fit together.
        OutputError: The snapshot cannot be written.

    Example:
        >>> from inspector.auditing import audit_model
        >>> audit = audit_model("models/efficientnet-lite0.onnx")
        >>> audit.passed, audit.check("weights-finite").message
        (True, 'all 4,631,002 weights are finite')
    """
    begin = time.perf_counter()
    _check_arguments(model, policy, data, against, save, seed)
    demands = policy if isinstance(policy, Policy) else find_policy(policy)
    demands = demands if seed is None else replace(demands, seed=seed)
    folder = Path(data) if data is not None else demands.images.data
    given = against if against is not None else demands.reference
    choose_providers(provider)
    check_paths(demands, reference=against is None)
    read = [x for x in (model, given) if isinstance(x, str | os.PathLike)]
    read += [file for x in (model, given) if isinstance(x, Model) for file in x.graph.files]
    pictures = [] if folder is None else [folder]
    check_outputs(
        {"--save-snapshot": save}, {"a model or snapshot that is read": read, "one of the pictures": pictures}
    )
    add_inputs("a model or snapshot that is read", read)
    add_inputs("one of the pictures", pictures)
    request = Request(
        model, demands, folder, given, save, provider, threads, tuple(allow_links), inputs or {}, advance, warn
    )
    return replace(_audit(request), seconds=time.perf_counter() - begin)


def _check_arguments(model: object, policy: object, data: object, against: object, save: object, seed: object) -> None:
    """Raises UsageError for an argument of the wrong kind, with what was given and what is taken."""
    path: tuple[type, ...] = (str, os.PathLike)
    nothing = type(None)
    for name, value, kinds, words in (
        ("model", model, (*path, Model), "a Model or the path of an .onnx file"),
        ("policy", policy, (*path, Policy, nothing), "a Policy, the path of a TOML file, or None"),
        ("data", data, (*path, nothing), "the path of a folder of pictures, or None"),
        ("against", against, (*path, Model, Snapshot, nothing), "a Model, a Snapshot, the path of one, or None"),
        ("save", save, (*path, nothing), "the path of a file to write, or None"),
    ):
        if not isinstance(value, kinds):
            raise wrong_type(name, value, f"give {words}")
    if seed is not None and (not isinstance(seed, int) or isinstance(seed, bool) or seed < 0):
        raise wrong_type("seed", seed, "give a whole number from 0 up, or None")


def _audit(request: Request) -> Audit:
    """The audit, without the time it took."""
    policy = request.policy
    try:
        model = request.open(request.model)
    except InspectorError as error:
        if isinstance(error, UsageError | NoPictureError) or isinstance(request.model, Model):
            raise
        if not _is_onnx(Path(request.model)):
            raise
        return _refuse(Path(request.model), error, policy)
    model = drop_false_classes(model)
    pictures = PictureSet()
    if request.data is not None:
        pictures = find_labelled_pictures(model, request.data, policy.images)
        # A file of labels may name pictures anywhere, and what is read must not be written onto.
        add_inputs("one of the pictures", pictures.folders())
    elif policy.images.labelled == "yes":
        raise UsageError("the policy wants labelled pictures and names no folder", "give --data DIR")
    reference, snapshot = _open_reference(request)
    digests = snapshot is not None or request.save is not None
    subject = Subject(model, policy, pictures, reference, snapshot, policy.seed, digests=digests)
    try:
        checks = _run_checks(subject, request)
    finally:
        subject.reader.close()
    passed, verdict = conclude(checks, policy.fail_on)
    return Audit(
        path=model.path, sha256=model.sha256, checks=checks, passed=passed, verdict=verdict, policy=policy.source,
        pictures=len(pictures), seed=policy.seed, seconds=0.0, notes=(*model.assumed, *pictures.notes),
        digest=model.digest,
    )  # fmt: skip


def _run_checks(subject: Subject, request: Request) -> tuple[CheckResult, ...]:
    """The results of all checks that the policy turns on; writes the snapshot where one is asked for."""
    checks = [check for check in find_checks().values() if subject.policy.rules[check.id].on]
    probes = list(dict.fromkeys(probe for check in checks for probe in check.probes))
    walk = AuditWalk(subject)
    if request.save is not None:
        probes += [probe for probe in (TopPredictions, LabelledPredictions, KeptAnswers) if probe not in probes]
        if walk.add(Recorder) is None:
            raise UsageError(f"no snapshot can be saved: {walk.missing[Recorder].reason}", "give --data DIR")
    for probe in probes:
        walk.add(probe)
    walk.pass_pictures(request.advance)
    ranges = walk.probes.get(Ranges)
    if isinstance(ranges, Ranges) and subject.pictures.scan is not None:
        ranges.add_scan(subject.pictures.scan)
    results = tuple(judge(check, walk) for check in checks)
    if request.save is not None:
        save_snapshot(_make_snapshot(walk), request.save)
    return results


def _make_snapshot(walk: AuditWalk) -> Snapshot:
    recorder = walk.probes[Recorder]
    assert isinstance(recorder, Recorder)
    if not recorder.digests:
        raise UsageError("no snapshot can be saved: none of the pictures could be run", "see the audit's findings")
    top, labelled = walk.probes.get(TopPredictions), walk.probes.get(LabelledPredictions)
    snapshot = recorder.snapshot(
        top if isinstance(top, TopPredictions) else None,
        labelled if isinstance(labelled, LabelledPredictions) else None,
    )
    if isinstance(answers := walk.probes.get(KeptAnswers), KeptAnswers):
        snapshot = replace(snapshot, objects=answers.objects, masks=answers.masks)
    return replace(snapshot, **collect_traits(walk.subject))


def _open_reference(request: Request) -> tuple[Model | None, Snapshot | None]:
    """(model, snapshot) to compare with, at most one of them."""
    given = request.against
    if given is None or isinstance(given, Snapshot):
        return None, given
    if isinstance(given, Model):
        return given, None
    if is_snapshot(given):
        return None, load_snapshot(given)
    try:
        return request.open(given), None
    except ModelError as error:
        raise ModelError(f"the reference: {error.message}", "give an .onnx file, or a snapshot") from None


def _is_onnx(path: Path) -> bool:
    """Whether a file that could not be opened is an ONNX model all the same, so that refusing it is a finding."""
    try:
        if not path.is_file() or path.stat().st_size > 2**31 - 1:
            return False
        proto = onnx.load_model(str(path), load_external_data=False)
    except Exception:  # protobuf's and onnx's own error types
        return False
    return bool(proto.graph.node)


def _refuse(path: Path, error: InspectorError, policy: Policy) -> Audit:
    """The result for a model that is refused: one finding, and all other checks not run."""
    checks = tuple(_refuse_check(check, error, policy) for check in find_checks().values() if policy.rules[check.id].on)
    # Whatever the policy turned off: a model that is refused is not fit to ship.
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    verdict = f"not fit to ship: {error}"
    return Audit(path, digest, checks, False, verdict, policy.source, 0, policy.seed, 0.0)


def _refuse_check(check: Check, error: InspectorError, policy: Policy) -> CheckResult:
    if check.id != OPENS:
        return skip_check(check, policy, NotChecked("the model cannot be opened"))
    result = conclude_check(check, policy, Verdict(error.message), 0.0)
    return replace(result, status="fail", counts="fail", message=str(error))
