"""Writing a dream: the picture, and how it came about. No torch."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inspector.errors import UsageError
from inspector.files import output_folder, write_bytes
from inspector.guard import check_outputs
from inspector.image import ImageSource, digest_image, read_if_open
from inspector.model import Model
from inspector.provenance import Provenance

if TYPE_CHECKING:
    from inspector.ascent.dreaming import Dream, LayerWeights

_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
_FRAMES = {".gif": "GIF", ".webp": "WEBP"}
_MILLISECONDS, _LAST = 90, 1500


@dataclass(frozen=True)
class DreamFiles:
    """A dream and its files: the picture, and how it came about where that was asked for."""

    dream: Dream
    path: Path
    frames: Path | None


def draw_dream(
    model: Model,
    image: ImageSource,
    layers: LayerWeights,
    path: str | os.PathLike[str],
    *,
    frames: str | os.PathLike[str] | None = None,
    seed: int = 0,
    caricature: bool = False,
    **options: Any,
) -> DreamFiles:
    """Dream and write the picture. Needs torch.

    Args:
        model: The model.
        image: What `open_image` takes.
        layers: Layers or their names, or (layer or name, weight).
        path: Where to; PNG, JPEG or WebP by its ending.
        frames: Where to write how it came about, as .gif or .webp; None writes none.
        seed: Of the random moves.
        caricature: Follow the photograph's own activation instead of its square.
        options: Further arguments of `inspector.ascent.dream`.

    Raises:
        UsageError: An ending says nothing about the format, or a value is out of range.
        MissingExtra: torch is not installed.
        OutputError: A file cannot be written. And whatever `inspector.ascent.dream` raises.
    """
    from inspector.ascent import dream

    target = Path(path)
    check_target(target, frames)
    image = read_if_open(image)
    every = 2 if frames else 0
    made = dream(model, image, layers, seed=seed, caricature=caricature, frames_every=every, **options)
    if made.stuck:
        names = ", ".join(gain.layer for gain in made.layers)
        model.warn(f"stuck: no step changed {names}, which is dead on this picture; the dream is the picture as it was")
    save_dream(made, target, model, image, seed, caricature)
    return DreamFiles(made, target, save_frames(made, Path(frames)) if frames else None)


def check_target(path: Path, frames: str | os.PathLike[str] | None) -> None:
    """Raise UsageError before any work where a file's ending says nothing about its format."""
    if path.suffix.lower() not in _FORMATS:
        raise UsageError(f"{path} is not a picture's name", f"known endings: {', '.join(_FORMATS)}")
    if frames is not None and Path(frames).suffix.lower() not in _FRAMES:
        raise UsageError(f"{frames} is not a name for frames", f"known endings: {', '.join(_FRAMES)}")
    check_outputs({"the dream": path, "its frames": frames}, {})


def save_dream(made: Dream, path: Path, model: Model, source: ImageSource, seed: int, caricature: bool) -> Path:
    """Write the picture, with what made it: text chunks in PNG, a comment in JPEG, EXIF in WebP."""
    from inspector.render.png import save_png

    pictures = [source] if isinstance(source, str | os.PathLike) else []
    check_outputs({"-o": path}, {"the model itself": model.graph.files, "the picture itself": pictures})
    made_by = Provenance(
        model.digest,
        digest_image(source),
        layer=", ".join(f"{x.layer}:{x.weight:g}" for x in made.layers),
        method="caricature" if caricature else "DeepDream",
        seed=seed,
        settings={"octaves": ", ".join(f"{w}x{h}" for w, h in made.octaves), "precision": made.precision},
    )
    text = made_by.png_info()
    output_folder(path.parent)
    kind = _FORMATS[path.suffix.lower()]
    if kind == "PNG":
        return save_png(made.picture, path, text, level=6)
    comment = "\n".join(f"{key}: {value}" for key, value in text.items())
    # In memory: where a disk takes only a part of what Pillow writes to a file of its own, Pillow does not notice.
    encoded = io.BytesIO()
    if kind == "JPEG":
        made.picture.save(encoded, format=kind, quality=92, comment=comment.encode())
    else:
        exif = made.picture.getexif()
        exif[0x010E] = comment  # ImageDescription
        made.picture.save(encoded, format=kind, quality=92, exif=exif)
    return write_bytes(path, encoded.getvalue())


def save_frames(made: Dream, path: Path) -> Path:
    """Write the frames as GIF or WebP, the last one shown longest."""
    output_folder(path.parent)
    first, *others = made.frames
    durations = [_MILLISECONDS] * len(others) + [_LAST]
    encoded, kind = io.BytesIO(), _FRAMES[path.suffix.lower()]
    first.save(encoded, format=kind, save_all=True, append_images=others, duration=durations, loop=0)
    return write_bytes(path, encoded.getvalue())
