"""Checks a certificate again: the same files, the same proof, the same answers."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from exporters.slimming.certificate import check_digest, find_source, read_certificate
from exporters.slimming.measure import Difference, iterate_shown, measure_differences
from exporters.slimming.result import SlimError
from exporters.slimming.slim import check_differences, list_kept
from inspector.model import Model, open_model
from inspector.slimming import SlimPlan, find_model_plan


@dataclass(frozen=True)
class CheckedCertificate:
    """What a certificate says, found again.

    Attributes:
        path: The slimmed file.
        sha256: Its digest.
        source: The file that it was made from.
        source_sha256: Its digest.
        source_digest: Its digest together with external data.
        channels: How many channels were cut, each of them proven again.
        differences: How far each output is apart.
        pictures: How many pictures were compared, made-up ones and those of the certificate that are still there.
        without_proof: How many channels were cut without proof, because they never changed on some pictures.
    """

    path: Path
    sha256: str
    source: Path
    source_sha256: str
    source_digest: str
    channels: int
    differences: tuple[Difference, ...]
    pictures: int
    without_proof: int

    @property
    def max_abs(self) -> float:
        """Largest absolute difference of any output."""
        return max((each.max_abs for each in self.differences), default=0.0)


def check_certificate(
    path: str | os.PathLike[str],
    certificate: str | os.PathLike[str],
    source: str | os.PathLike[str] | Model | None = None,
    **options: Any,
) -> CheckedCertificate:
    """Check that a slimmed file is the one of a certificate, and that what this says is so.

    Args:
        path: The slimmed file.
        certificate: Its certificate.
        source: The model that it was made from; None takes it from where the certificate says it is.
        **options: For :func:`inspector.open_model`.

    Returns:
        What was found.

    Raises:
        UsageError: It is no certificate.
        ModelError: A file is missing or cannot be opened.
        SlimError: A file is another one, a cut cannot be proven, or an output is further apart than is allowed.
    """
    document = read_certificate(certificate)
    slimmed = open_model(path, **options)
    check_digest("slimmed file", slimmed.path, slimmed.sha256, document["file"]["sha256"])
    if isinstance(source, Model):
        given = source
    else:
        given = open_model(find_source(document, certificate) if source is None else source, **options)
    check_digest("source", given.path, given.sha256, document["source"]["sha256"])
    assumed = document["without_proof"]
    smallest = document.get("smallest") is True
    plan = find_model_plan(given, smallest=smallest)
    if assumed:
        plan = find_model_plan(given, _read_values(assumed, plan), smallest)
    _check_cuts(given, document, plan)
    here = [Path(name) for name in document["pictures"] if isinstance(name, str) and Path(name).is_file()]
    shown = list(iterate_shown(given, here, made=not assumed))
    if not shown:
        raise SlimError(
            "the pictures of the certificate are not there any more, and some of its cuts rest on them",
            "run it in the folder where it was made",
        )
    found = measure_differences(given, slimmed, shown, list_kept(plan))
    check_differences(given, found)
    return CheckedCertificate(
        slimmed.path, slimmed.sha256, given.path, given.sha256, given.digest, plan.total, found, len(shown),
        sum(len(each["channels"]) for each in assumed),
    )  # fmt: skip


def _read_values(assumed: Any, plan: SlimPlan) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for each in assumed:
        channels = plan.found.channels.get(each["tensor"])
        if channels is None or any(not 0 <= k < len(channels) for k in each["channels"]):
            raise SlimError(f"the certificate names channels of {each['tensor']!r} that are not there")
        line = values.setdefault(each["tensor"], np.full(len(channels), np.nan))
        line[list(each["channels"])] = each["values"]
    return values


def _check_cuts(source: Model, document: Any, plan: SlimPlan) -> None:
    """Raise SlimError for a cut that is not proven here."""
    names = {layer.tensor: layer.name for layer in source.layers}
    proven = {(names.get(each.tensor, each.tensor), k) for each in plan.cut for k in each.channels}
    for each in document["cut"]:
        for channel in each["channels"]:
            if (each["layer"], channel) not in proven:
                raise SlimError(
                    f"that channel {channel} of {each['layer']} can be cut is not proven here",
                    "the certificate was written by another version, or by hand",
                )
