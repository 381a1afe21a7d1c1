"""Pictures in, tensors out: the one `open_image` and the one `Preprocess` of the project.

Training, inspection and audit all go through here, so a picture is never prepared in two ways.
"""

from __future__ import annotations

import hashlib
import io
import logging
import math
import os
import re
import stat
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from inspector.errors import ImageError, check_whole, say_no_path, wrong_type
from inspector.extras import hush_stderr
from inspector.files import Readable, read_pipe, read_to_limit
from inspector.guard import walk_pictures

if TYPE_CHECKING:
    from PIL.Image import Image


ImageSource: TypeAlias = (
    "str | os.PathLike[str] | bytes | bytearray | memoryview | Readable | Image | NDArray[np.uint8]"
)
"""Whatever :func:`open_image` opens: a path, the bytes of a file, an open file, a PIL image, a uint8 array."""

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")
MAX_PIXELS = 100_000_000
"""Largest picture that is decoded (300 MB as RGB); a phone's 50 megapixels are well below."""
MAX_FILE_BYTES = 512 * 1024 * 1024
Box = tuple[float, float, float, float]


def open_image(source: ImageSource, max_pixels: int = MAX_PIXELS, warn: Callable[[str], None] | None = None) -> Image:
    """A picture as a PIL image of mode RGB, upright.

    JPEG, PNG, WebP, BMP and TIFF are read; grey, palette, alpha (on white), 16-bit (scaled to 8) and CMYK become RGB.
    EXIF orientation is applied. Of several frames the first is taken. The size is read from the header before anything
    is decoded.

    Args:
        source: A path, the bytes of a file, a file open for reading bytes (where it can be, it is set back to where it
            stood), a PIL image, or a uint8 array of shape (H, W, 3), (H, W, 4), (H, W, 1) or (H, W).
        max_pixels: Largest number of pixels that is decoded.
        warn: Gets a line where the picture has 16 bits and fills so few of them that it is nearly black.

    Returns:
        The picture, 8 bits for each of red, green and blue.

    Raises:
        ImageError: The file is missing, empty, truncated, not a picture, or has more than `max_pixels` pixels; or
            `source` is something else altogether.
        UsageError: `max_pixels` is no whole number of 1 or more, or `warn` no function.
    """
    from PIL import Image as images

    check_whole("max_pixels", max_pixels, 1)
    if warn is not None and not callable(warn):
        raise wrong_type("warn", warn, "give a function")
    if isinstance(source, np.ndarray):
        return _from_array(source)
    if isinstance(source, images.Image):
        try:
            return _upright(source, "the picture", warn)
        except OSError as error:  # it is decoded only now
            raise ImageError(f"the picture is truncated or damaged: {error}") from None
    data, name = _read(source)
    if not data:
        raise ImageError(f"{name} is empty (0 bytes)")
    if len(data) > MAX_FILE_BYTES:
        raise _too_long(name)
    return _decode(data, name, max_pixels, warn)


def _decode(data: bytes, name: str, max_pixels: int, warn: Callable[[str], None] | None) -> Image:
    from PIL import Image as images
    from PIL import UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            # Pillow warns about size and about odd but harmless tags; the size is judged below, by our own limit.
            warnings.simplefilter("ignore")
            with _read_header(data) as image:
                width, height = image.size
                if width * height > max_pixels:
                    raise _too_large(name, f"{width} x {height} pixels", max_pixels)
                with _quiet_libtiff(image.format):
                    image.load()
                upright = _upright(image, name, warn)
                if warn is not None and image.mode == "RGB" and data[:4] == b"\x89PNG" and data[24] == 16:
                    # Of three channels of 16 bits Pillow keeps the upper eight each.
                    highest = int(np.asarray(upright).max())
                    _say_dark(highest << 8 | 255 if highest else 0, name, warn)
                return upright
    except ImageError:
        raise
    except images.DecompressionBombError as error:  # Pillow's own limit, before anyone is told the size
        count = re.search(r"\d+", str(error))
        raise _too_large(
            name, f"{int(count[0]) / 1e6:.0f} megapixels" if count else "more pixels", max_pixels
        ) from None
    except UnidentifiedImageError:
        raise ImageError(f"{name} is not a picture that can be read", f"known formats: {', '.join(FORMATS)}") from None
    except MemoryError:
        raise ImageError(f"{name} does not fit into memory") from None
    except Exception as error:  # decoders raise OSError, SyntaxError, struct.error and more on damaged data
        raise ImageError(f"{name} is truncated or damaged: {error}") from None


def digest_image(source: ImageSource) -> str:
    """SHA-256 hex digest of a picture's file bytes; for PIL images and arrays of their pixels and size."""
    from PIL import Image as images

    if not isinstance(source, np.ndarray | images.Image):
        return hashlib.sha256(_read(source)[0]).hexdigest()
    array = np.ascontiguousarray(np.asarray(source))
    return hashlib.sha256(repr(array.shape).encode() + array.tobytes()).hexdigest()


def read_if_open(source: ImageSource) -> ImageSource:
    """The bytes of a picture that is given as an open file, for who needs it twice; anything else as it is."""
    if isinstance(source, str | os.PathLike) or not hasattr(source, "read"):
        return source
    return _read_stream(source)


def find_images(folder: Path) -> list[Path]:
    """Every file below `folder` with a picture's suffix, sorted; hidden files and folders are left out."""
    return sorted(walk_pictures(folder))


def choose_evenly(total: int, count: int) -> tuple[int, ...]:
    """Choose `count` of the indices 0 to total - 1, evenly spread; all of them when count is 0 or too large."""
    if count <= 0 or count >= total:
        return tuple(range(total))
    return tuple((2 * i + 1) * total // (2 * count) for i in range(count))


def _read(source: object) -> tuple[bytes, str]:
    """(the bytes of a picture's file, what to call it in a message). Raises ImageError for what holds no bytes."""
    if isinstance(source, bytes | bytearray | memoryview):
        return bytes(source), "the picture"
    if isinstance(source, str | os.PathLike):
        return read_picture(source), str(source)
    if callable(getattr(source, "read", None)):
        return _read_stream(source), "the picture"  # type: ignore[arg-type]
    given = " ".join(repr(source).split())
    raise ImageError(
        f"{given if len(given) <= 60 else given[:59] + '…'} ({type(source).__name__}) is not a picture",
        "give a path, the bytes of a file, an open file, a PIL image or a uint8 array of shape (H, W, 3)",
    )


def read_picture(source: str | os.PathLike[str]) -> bytes:
    """The bytes of a picture's file, MAX_FILE_BYTES at most.

    Raises:
        ImageError: It cannot be read.
    """
    path = Path(source)
    try:
        status = path.stat()
        if status.st_size > MAX_FILE_BYTES:
            raise _too_long(path)
        if stat.S_ISFIFO(status.st_mode):
            data = read_pipe(path, MAX_FILE_BYTES + 1)
        else:
            with path.open("rb") as stream:
                data = read_limited(stream)
    except FileNotFoundError:
        raise ImageError(f"there is no file {path}", "give the path of a picture or a folder") from None
    except IsADirectoryError:
        raise ImageError(f"{path} is a folder, not a picture") from None
    except TimeoutError:
        raise ImageError(f"{path} is a pipe that nobody writes to", "start what writes to it first") from None
    except OSError as error:
        raise ImageError(f"{path} cannot be read: {error.strerror or error}") from None
    except ValueError as error:
        raise ImageError(say_no_path(path, error)) from None
    if len(data) > MAX_FILE_BYTES:
        raise _too_long(path)
    return data


def _read_stream(stream: Readable) -> bytes:
    """What is in an open file from where it stands; afterwards it stands there again, so that it may be given twice."""
    if isinstance(stream, io.TextIOBase):
        raise ImageError("the open file gives text, not bytes", 'open it with open(path, "rb")')
    file: Any = stream
    try:
        start = file.tell() if hasattr(file, "seekable") and file.seekable() else None
        data = read_limited(stream)
        if start is not None:
            file.seek(start)
    except (OSError, ValueError, TypeError) as error:  # ValueError: it is closed; TypeError: read() is another one
        raise ImageError(f"the open file cannot be read: {error}") from None
    return data


def read_limited(stream: Readable) -> bytes:
    """What is in `stream`, up to MAX_FILE_BYTES + 1 bytes: devices and pipes tell no size, and some have no end."""
    return read_to_limit(stream, MAX_FILE_BYTES + 1)


def _too_long(name: object) -> ImageError:
    return ImageError(f"{name} has more than {MAX_FILE_BYTES / 1e6:.0f} MB, the limit for a picture's file")


def _too_large(name: str, size: str, limit: int) -> ImageError:
    return ImageError(f"{name} has {size}; the limit is {limit / 1e6:g} megapixels", "scale it down first")


def _read_header(data: bytes) -> Image:
    from PIL import Image as images

    # Pillow's TIFF reader reports damage to its log besides raising it; nobody configured, the log is stderr.
    # Once: a handler for each picture would be kept by the logger for ever.
    logger = logging.getLogger("PIL")
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
    with _quiet_libtiff("TIFF" if data[:2] in (b"II", b"MM") else None):
        return images.open(io.BytesIO(data), formats=FORMATS)


@contextmanager
def _quiet_libtiff(form: str | None) -> Iterator[None]:
    """Without what libtiff prints on the process's stderr; what is wrong is raised besides."""
    with hush_stderr() if form == "TIFF" else nullcontext():
        yield


def _upright(image: Image, name: str, warn: Callable[[str], None] | None = None) -> Image:
    """Mode RGB, 8 bits, turned as EXIF says, transparency laid on white."""
    from PIL import ImageOps

    if min(image.size) < 1:
        raise ImageError(f"{name} has no pixels ({image.width} x {image.height})")
    try:
        turned = ImageOps.exif_transpose(image)
    except Exception:  # whatever the parsers of a damaged EXIF block raise; the picture itself may be fine
        turned = image.copy()
    return _to_rgb(turned, name, warn)


def _to_rgb(image: Image, name: str, warn: Callable[[str], None] | None = None) -> Image:
    from PIL import Image as images

    if image.mode.startswith("I") or image.mode == "F":
        array = np.asarray(image)
        if warn is not None and array.dtype.kind != "f":
            _say_dark(int(array.max()), name, warn)
        return images.fromarray(_eight_bits(array, name)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = images.new("RGBA", image.size, (255, 255, 255, 255))
        return images.alpha_composite(white, image).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _say_dark(high: int, name: str, warn: Callable[[str], None]) -> None:
    """Say it where the values of a picture of 16 bits end far below what 16 bits hold."""
    bits = next((bits for bits in _FEWER_BITS if high < 2**bits), None)
    if bits is not None and high > 0:
        warn(
            f"{name} has 16 bits and no value above {high}, as a camera of {bits} bits writes them: it is taken as "
            f"nearly black; multiply its values by {2 ** (16 - bits)}"
        )


_FEWER_BITS = (8, 10, 12)
"""Bits of cameras whose pictures are nearly black where they are taken for 16."""


def _eight_bits(array: NDArray[Any], name: str) -> NDArray[np.uint8]:
    """16-bit integers scaled to 8 and rounded; floats as [0, 1] or [0, 255]."""
    low, high = float(array.min()), float(array.max())
    limit = 255 if array.dtype.kind == "f" else 65535
    if not (math.isfinite(low) and math.isfinite(high)) or low < 0 or high > limit:
        raise ImageError(f"{name} has pixel values from {low:g} to {high:g}", "convert it to 8 or 16 bits")
    if array.dtype.kind == "f":
        return np.rint(array * np.float32(255 if high <= 1 else 1)).astype(np.uint8)
    return ((array.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)


def _from_array(array: NDArray[Any]) -> Image:
    from PIL import Image as images

    ok = array.dtype == np.uint8 and (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (1, 3, 4)))
    if not ok or array.size == 0:
        raise ImageError(
            f"an array of shape {array.shape} and type {array.dtype} is not a picture",
            "give a uint8 array of shape (H, W, 3) with values 0 to 255",
        )
    squeezed = array[:, :, 0] if array.ndim == 3 and array.shape[2] == 1 else array
    return _to_rgb(images.fromarray(np.ascontiguousarray(squeezed)), "the array")
