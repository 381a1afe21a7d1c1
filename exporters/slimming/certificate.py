"""The certificate of a slimmed file: what was cut and why, what was measured, and both checked again."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exporters.slimming.measure import LIMIT, Difference
from exporters.slimming.result import LayerChannels, SlimError, SlimmedModel
from inspector.errors import ModelError, UsageError
from inspector.text import to_json
from inspector.version import __version__

if TYPE_CHECKING:
    from inspector.model import Model

SCHEMA = 1
KIND = "inspector slim certificate"


def make_certificate(source: Model, made: SlimmedModel, pictures: Sequence[str]) -> str:
    """Make the text of the certificate of a file that was made.

    Args:
        source: What it was made from.
        made: What was cut; `certificate` is where it will be written to.
        pictures: The names of the pictures that both were compared on.
    """
    assert made.certificate is not None
    folder = Path(os.path.abspath(made.certificate)).parent  # noqa: PTH100  a link is followed by nobody
    known = source.metadata.preprocess
    document = {
        "schema": SCHEMA,
        "kind": KIND,
        "version": __version__,
        "source": {**_describe(source.path, folder), "sha256": source.sha256, "digest": source.digest,
                   "bytes": made.bytes_before},
        "file": {**_describe(made.path, folder), "sha256": made.sha256, "bytes": made.bytes_after},
        "smallest": made.smallest,
        "input": None if known is None else known.to_json(),
        "cut": [document_channels(each) for each in made.cut],
        "kept": [document_channels(each) for each in made.kept],
        "without_proof": [
            {"layer": x.layer, "tensor": x.tensor, "channels": list(x.channels), "values": list(x.values)}
            for x in (made.unseen if made.unseen_cut else ())
        ],
        "limit": LIMIT,
        "differences": [document_difference(each) for each in made.differences],
        "pictures": list(pictures),
    }  # fmt: skip
    return to_json(document) + "\n"


def _describe(path: Path, folder: Path) -> dict[str, str]:
    return {"path": Path(os.path.relpath(os.path.abspath(path), folder)).as_posix()}  # noqa: PTH100


def document_channels(each: LayerChannels) -> dict[str, Any]:
    """Channels of a layer, as JSON holds them."""
    found = {"layer": each.layer, "channels": list(each.channels), "why": each.why}
    return {**found, "bounds": list(each.bounds)} if each.bounds else found


def document_difference(each: Difference) -> dict[str, Any]:
    """How far an output is apart, as JSON holds it."""
    return {
        "output": each.output, "max_abs": each.max_abs, "scale": each.scale, "relative": each.relative,
        "picture": each.picture,
    }  # fmt: skip


def read_certificate(path: str | os.PathLike[str]) -> Mapping[str, Any]:
    """Read a certificate.

    Raises:
        UsageError: There is no such file, or it is no certificate.
    """
    try:
        document = json.loads(Path(path).read_text("utf-8"))
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", "give the file of --certificate") from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is no JSON document: {error}", "give the file of --certificate") from None
    if not isinstance(document, dict) or document.get("kind") != KIND or document.get("schema") != SCHEMA:
        raise UsageError(f"{path} is not a certificate of `inspector slim`", "give the file of --certificate")
    try:
        for part in ("source", "file"):
            str(document[part]["path"]), str(document[part]["sha256"])
        str(document["source"]["digest"])
        for each in document["cut"]:
            str(each["layer"]), [int(k) for k in each["channels"]]
        for each in document["without_proof"]:
            str(each["tensor"]), [int(k) for k in each["channels"]], [float(v) for v in each["values"]]
        list(document["pictures"])
    except (KeyError, TypeError, ValueError):
        raise UsageError(f"{path} is a damaged certificate", "write it again with --certificate") from None
    return document


def find_source(document: Mapping[str, Any], certificate: str | os.PathLike[str]) -> Path:
    """Find the big file where the certificate says that it is.

    Raises:
        ModelError: It is not there any more.
    """
    path = Path(certificate).parent / str(document["source"]["path"])
    if not path.is_file():
        raise ModelError(
            f"the model that it was made from is not at {path} any more", "give it: inspector slim MODEL --check ..."
        )
    return path


def check_digest(what: str, path: Path, found: str, said: str) -> None:
    """Raise SlimError for a file that is not the one that a certificate is about."""
    if found != said:
        raise SlimError(
            f"{path} is not the {what} of the certificate: its SHA-256 is {found[:12]}..., not {said[:12]}...",
            "it was changed or exchanged since",
        )
