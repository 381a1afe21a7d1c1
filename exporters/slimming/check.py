"""Checks a certificate again: the same files, the same proof, the same answers."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from exporters.slimming.certificate import check_digest, find_source, read_certificate
from exporters.slimming.finish import trace_channels
from exporters.slimming.measure import Difference, iterate_shown, measure_differences
from exporters.slimming.result import SlimError
from exporters.slimming.slim import check_differences, list_kept
from inspector.model import Model, open_model
from inspector.slimming import SlimPlan, find_model_plan, read_channel_map
from inspector.slimming.mapping import write_numbers
from inspector.slimming.sizes import choose_sizes


@dataclass(frozen=True)
class CheckedCertificate:
    """What a certificate says, found again.

    Attributes:
        path: The slimmed file.
        sha256: Its digest.
        source: The file that it was made from.
        source_sha256: Its digest.
        source_digest: Its digest together with external data.
        channels: How many channels the certificate cuts, each of them proven again.
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
        SlimError: A file is another one, a cut cannot be proven or was not made, or an output is further apart than
            is allowed.
    """
    document = read_certificate(certificate)
    slimmed = open_model(path, **options)
    check_digest("slimmed file", slimmed.path, slimmed.sha256, document["file"]["sha256"])
    if isinstance(source, Model):
        given = source
    else:
        given = open_model(find_source(document, certificate) if source is None else source, **options)
    check_digest("source", given.path, given.sha256, document["source"]["sha256"])
    check_digest("source with its weights", given.path, given.digest, document["source"]["digest"])
    assumed = document["without_proof"]
    smallest = document.get("smallest") is True
    plan = find_model_plan(given, smallest=smallest)
    if assumed:
        plan = find_model_plan(given, _read_values(assumed, plan), smallest)
    count = _check_cuts(given, document, plan)
    _check_channels(given, slimmed, plan)
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
        slimmed.path, slimmed.sha256, given.path, given.sha256, given.digest, count, found, len(shown),
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


def _check_cuts(source: Model, document: Any, plan: SlimPlan) -> int:
    """Raise SlimError for a cut that is not proven here, and for one that is missing; the number of cuts."""
    names = {layer.tensor: layer.name for layer in source.layers}
    proven = {(names.get(each.tensor, each.tensor), k) for each in plan.cut for k in each.channels}
    said = {(str(each["layer"]), int(channel)) for each in document["cut"] for channel in each["channels"]}
    hint = "the certificate was written by another version, or by hand"
    for layer, channel in sorted(said - proven):
        raise SlimError(f"that channel {channel} of {layer} can be cut is not proven here", hint)
    for layer, channel in sorted(proven - said):
        raise SlimError(f"the certificate does not cut channel {channel} of {layer}, as `inspector slim` does", hint)
    return len(said)


def _check_channels(source: Model, slimmed: Model, plan: SlimPlan) -> None:
    """Raise SlimError where the channels of the slimmed file are not those that the plan leaves."""
    made = {name for node in slimmed.graph.nodes for name in node.output}
    said = {name: write_numbers(kept) for name, kept in read_channel_map(slimmed.metadata).items()}
    wanted = trace_channels(source, plan, made)
    for name in [name for name in {**wanted, **said} if wanted.get(name) != said.get(name)]:
        raise SlimError(f"the channels of {name} that {slimmed.path} says it keeps are not those of the certificate")
    sizes = choose_sizes(slimmed.graph, slimmed.preprocess.size)
    for name, channels in plan.found.channels.items():
        size = sizes.get(name) if name in made else None
        keep = plan.keep_of(name)
        count = len(channels) if keep is None else len(keep)
        if size is not None and len(size) == channels.rank and size[channels.axis] != count:
            raise SlimError(f"{name} has {size[channels.axis]} channels in {slimmed.path}, where {count} are left")
