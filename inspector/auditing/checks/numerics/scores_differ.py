"""Whether pictures get scores of their own, and classes too."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from inspector.auditing.graph_queries import is_quantized
from inspector.auditing.limits import Limits
from inspector.auditing.registry import check
from inspector.auditing.result import MAX_FINDINGS, Finding, NotChecked, Verdict
from inspector.auditing.subject import Subject
from inspector.errors import listing

_LEVELS = {"dark": (0, 40), "middling": (108, 148), "bright": (215, 256)}
"""Between which levels noise lies: from and below."""

_SAMPLE = 8
"""Pictures of the data that are looked at beside the noise."""


@check(
    title="Pictures and classes have scores of their own",
    needs=("classification",),
    remedy="Look at the last layers: a row of weights that repeats another or is zero, or a clip, a floor or a gate of "
    "the scores that holds them still.",
)
def scores_differ(subject: Subject, limits: Limits) -> Verdict:
    """Two pictures of noise, dark ones and bright ones too, never get the very same scores; nor do two classes.

    Looked for are numbers that are equal to the last bit: of two pictures, of two classes on every picture, of one
    class on every picture, and of the best classes of several pictures, which a ceiling makes alike. Scores so small
    that float32 holds them with few digits are a finding too. A network of integers has few numbers, so of it only one
    answer to all pictures is one.
    """
    model, whole = subject.model, is_quantized(subject.graph)
    findings: list[Finding] = []
    rows: list[NDArray[np.float32]] = []
    for name, tensor in _make_tensors(subject):
        rows.append(model.scores(tensor)[0])
        if not whole and name.endswith(", again") and np.array_equal(rows[-1], rows[-2], equal_nan=True):
            kind = name.removesuffix(", again")
            findings.append(Finding(f"two pictures of {kind} noise get the very same scores", key=kind))
    scores = np.stack(rows)
    if not np.isfinite(scores).all():
        raise NotChecked("the scores are not finite, see finite-on-plain")
    span = float(scores.max()) - float(scores.min())
    if 0 < span < np.finfo(np.float32).tiny:
        text = f"all scores of {len(scores)} pictures lie within {span:.1g}, where float32 has few digits left"
        findings.append(Finding(text, span, key="span"))
    if (scores == scores[0]).all():
        findings.append(Finding(f"all of {len(scores)} pictures get the very same scores", key="all"))
    elif not whole:
        findings += [Finding(text, key=key) for key, text in _compare_classes(subject, scores)]
    if not findings:
        return Verdict(f"{len(scores)} pictures have {scores.shape[1]} scores of their own", 0, 0)
    message = listing([finding.message for finding in findings], 2)
    return Verdict(message, len(findings), 0, findings=tuple(findings[:MAX_FINDINGS]))


def _make_tensors(subject: Subject) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """(name, input tensor): two pictures of noise of each brightness, and what there is of data."""
    random, size = subject.random(12), subject.picture_size()
    for name, (low, high) in _LEVELS.items():
        for again in ("", ", again"):
            picture = random.integers(low, high, (*size, 3), dtype=np.uint8)
            yield name + again, subject.model.tensor(picture)
    yield from subject.tensors(_SAMPLE)


def _compare_classes(subject: Subject, scores: NDArray[np.float32]) -> Iterator[tuple[str, str]]:
    """(key, sentence) for classes that are alike on all pictures, or that never move, and for a ceiling."""
    model, pictures = subject.model, len(scores)
    if scores.shape[1] < 2:
        return
    still = (scores == scores[0]).all(axis=0)
    # Where a ReLU makes the scores, classes may well be zero on a dozen pictures.
    for k in np.flatnonzero(still & (scores[0] != scores.min())):
        yield model.label(int(k)), f"{model.label(int(k))} has the same score on {pictures} pictures"
    first: dict[bytes, int] = {}
    for k in np.flatnonzero(~still):
        other = first.setdefault(np.ascontiguousarray(scores[:, k]).tobytes(), int(k))
        if other != k:
            names = f"{model.label(other)} and {model.label(int(k))}"
            yield names, f"{names} have the same score on {pictures} pictures"
    best = scores.max(axis=1)
    ties = (scores == best[:, None]).sum(axis=1) > 1
    # A sigmoid that is 1 in float32 is no ceiling of the graph's own.
    values, counts = np.unique(best[ties & (best != 1)], return_counts=True)
    for value, count in zip(values, counts, strict=True):
        if count > 1:
            yield f"{value:g}", f"several classes share the largest score {value:g} on {count} of {pictures} pictures"
