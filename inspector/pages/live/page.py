"""One HTML file with a network and what runs it: `inspector report --live`."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inspector.errors import ImageError, NotComputable, UsageError, listing
from inspector.guard import check_outputs
from inspector.image import ImageSource, digest_image, open_image, read_if_open, read_picture
from inspector.layers import LayerNames
from inspector.model import Model
from inspector.model.attached import predict_attached
from inspector.pages.html import write_page
from inspector.pages.live.describe import Description, describe_live
from inspector.pages.live.network import Pieces, take_apart
from inspector.pages.live.vendor import read_runtime
from inspector.pages.report import PicturePart, Report
from inspector.pages.report.card import describe_card, encode_color_tables
from inspector.pages.report.collect import name_picture
from inspector.pages.report.parts import read_parts
from inspector.pages.report.sprites import SPRITE_LEVELS
from inspector.provenance import Provenance
from inspector.text import to_script

if TYPE_CHECKING:
    from PIL.Image import Image

MOST_GIVEN = 8
"""Pictures that the page shows side by side, and so may hold."""

SIDES = (56, 28)
"""Longest side of a channel as it is drawn: in layers of up to 64 channels, and in others."""

_LARGEST_FILE = 400_000
"""Bytes of a picture's file that is put into the page as it is."""
_REDUCED_SIDE = 1024
_BROWSER_FORMATS = (b"\xff\xd8\xff", b"\x89PNG", b"RIFF", b"BM")


@dataclass(frozen=True)
class _Given:
    """A picture that the page begins with."""

    name: str
    digest: str
    data: bytes
    top: tuple[dict[str, Any], ...]


# Wide: the options of `inspector report --live`, all but the first three by name.
# Long: half of it says what they are.
def write_live_page(
    model: Model,
    pictures: Iterable[ImageSource | tuple[str, ImageSource]],
    path: str | os.PathLike[str],
    *,
    layers: LayerNames | None = None,
    methods: Sequence[str] | None = None,
    top: int = 3,
    audit: str | os.PathLike[str] | None = None,
    filters: str | os.PathLike[str] | None = None,
    run: str | os.PathLike[str] | None = None,
    original: Model | None = None,
    variant: str = "",
    on_picture: Callable[[], None] = lambda: None,
    on_unreadable: Callable[[int, ImageError], None] | None = None,
) -> Report:
    """Write one self-contained page with the network itself in it.

    Args:
        model: The model.
        pictures: What the page begins with, none or a few: what `open_image` takes, or (name, what it takes) each. One
            that is large, or that browsers do not open, is put in as a smaller JPEG.
        path: Where to.
        layers: Layers, or their names or unique endings; None takes all.
        methods: Of class activation maps; None takes all that the page can make.
        top: Number of the most likely classes of each picture.
        audit: File with what ``inspector audit --json`` said of this model.
        filters: File with what ``inspector filters --json`` said of this model.
        run: Folder of the ``inspector finetune`` that made this model.
        original: The model that `model` was made from, which the files of other commands are about; None where it is
            that itself.
        variant: What was done to the network before it was put in, for the footer.
        on_picture: Called after each picture.
        on_unreadable: Called with the place in `pictures` of one that cannot be opened, and why; it is then left out.
            Without it, that is the error.

    Raises:
        ImageError: A picture cannot be opened.
        LayerNotFound: There is no such layer.
        UsageError: The network is too large for a page, an option does not go with it, or a file of another command
            is not about this model.
        ModelError: The model cannot be run.
        OutputError: The page cannot be written.
    """
    parts = read_parts(original or model, audit, filters, run)
    if top < 1:
        raise UsageError(f"top {top} is less than 1")
    named = [name_picture(x) for x in pictures]
    if len(named) > MOST_GIVEN:
        raise UsageError(f"a live page begins with at most {MOST_GIVEN} pictures", "others can be dropped on it")
    sources = [source for _, source in named if isinstance(source, str | os.PathLike)]
    side = [file for file in (audit, filters) if file is not None]
    check_outputs(
        {"-o": path},
        {"the model itself": (original or model).graph.files, "one of the pictures": sources, "read": side},
    )
    about = describe_live(model, model.choose_layers(layers), (original or model).attached)
    chosen = _choose_methods(about, methods)
    pieces = take_apart(model.graph if model.attached is None else model.attached.graph)
    given: list[_Given] = []
    for place, (name, source) in enumerate(named):
        try:
            given.append(_take_picture(model, name, read_if_open(source), top))
        except ImageError as error:
            if on_unreadable is None or len(named) == 1:
                raise
            on_unreadable(place, error)
            continue
        on_picture()
    if named and not given:
        raise ImageError(f"none of {len(named)} pictures can be read", "give other ones, or none")
    _write(Path(path), model, about, pieces, given, {"methods": chosen, "top": top, "parts": parts}, variant)
    shown = tuple(PicturePart(x.name, x.top, {}, (), "") for x in given)
    return Report(Path(path), Path(path).stat().st_size, shown)


def _choose_methods(about: Description, methods: Sequence[str] | None) -> list[str]:
    if methods is None:
        return list(about.methods)
    if missing := [name for name in methods if name not in about.methods]:
        raise UsageError(
            f"a page without gradients cannot make {listing(missing)} of this network",
            f"it makes: {', '.join(about.methods) or 'none'}",
        )
    return list(dict.fromkeys(methods))


def _take_picture(model: Model, name: str, source: ImageSource, top: int) -> _Given:
    """A picture as the page holds it, and what the model says of that."""
    digest = digest_image(source)
    data = bytes(source) if isinstance(source, bytes | bytearray | memoryview) else b""
    if isinstance(source, str | os.PathLike):
        data = read_picture(source)
    if not data.startswith(_BROWSER_FORMATS) or len(data) > _LARGEST_FILE:
        data = _reduce(open_image(source, warn=model.warn))
    best: tuple[dict[str, Any], ...] = ()
    if model.classifier is not None:
        try:
            found = model.predict(data, top)
            if model.attached is not None:
                found, _ = predict_attached(model, model.tensor(data), top)
            best = tuple(vars(one) for one in found)
        except NotComputable as error:
            model.warn(f"no predictions: {error.message}")
    else:
        open_image(data)
    return _Given(name, digest, data, best)


def _reduce(picture: Image) -> bytes:
    """A JPEG of at most _REDUCED_SIDE pixels a side."""
    from inspector.render.figure import fit_size, resize_picture

    small = picture
    if max(picture.size) > _REDUCED_SIDE:
        small = resize_picture(picture, fit_size(picture.size, _REDUCED_SIDE))
    plain = small.convert("RGB")
    plain.info = {}
    out = io.BytesIO()
    plain.save(out, format="JPEG", quality=92)
    return out.getvalue()


# Wide: what was found out, part by part.
def _write(
    path: Path,
    model: Model,
    about: Description,
    pieces: Pieces,
    given: Sequence[_Given],
    chosen: Mapping[str, Any],
    variant: str,
) -> None:
    runtime = read_runtime()
    digests = [one.digest for one in given]
    made_by = Provenance(
        model.digest,
        digests[0] if len(digests) == 1 else "",
        method=", ".join(chosen["methods"]),
        settings={"top": chosen["top"], "live": runtime.version} | ({"images": digests} if len(digests) > 1 else {}),
    )
    card = describe_card(model)
    labels = list(model.labels or ())
    document = {
        "version": made_by.version,
        "model": card,
        "layers": [
            {"name": layer.name, "kind": layer.kind, "shape": list(shape)}
            for layer, shape in zip(about.layers, about.shapes, strict=True)
        ],
        "images": [],
        "levels": SPRITE_LEVELS,
        "notes": list(about.notes),
        **chosen,
        "given": [{"name": one.name, "sha256": one.digest} for one in given],
        "live": {**about.document, "network": pieces.document, "labels": labels, "sides": list(SIDES)},
    }
    parts = [_pack_runtime(name, data, runtime.digests[name]) for name, data in runtime.files.items()]
    parts += [_pack(name, data) for name, data in (("structure", pieces.structure), ("weights", pieces.weights))]
    write_page(
        path,
        "live",
        made_by,
        document=document,
        data=to_script({**document, "colormaps": encode_color_tables()}),
        given=[base64.b64encode(one.data).decode() for one in given],
        parts=parts,
        live={"runtime": runtime.version, "licence": runtime.licence, "variant": variant},
    )


def _pack(name: str, data: bytes) -> dict[str, Any]:
    """A part of the page: base64 of gzip, which browsers unpack."""
    packed = gzip.compress(data, 6, mtime=0)
    return {
        "name": name,
        "sha256": hashlib.sha256(data).hexdigest(),
        "bytes": len(data),
        "text": base64.b64encode(packed).decode(),
    }


def _pack_runtime(name: str, packed: bytes, digest: str) -> dict[str, Any]:
    size = int.from_bytes(packed[-4:], "little")  # as gzip ends
    return {"name": name, "sha256": digest, "bytes": size, "text": base64.b64encode(packed).decode()}
