"""Text in pictures: what can be drawn, how wide it is, and how it is made to fit."""

from __future__ import annotations

import itertools
import math
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

# Pillow's built-in face has ASCII and these; whatever else a label holds is spelled out or borrowed.
_BUILT_IN = {chr(code) for code in range(32, 127)} | set("©«°±´·»‘’“”…‹›⁄™")
_SPELLED = str.maketrans(
    {"×": "x", "–": "-", "—": "-", "−": "-", "‐": "-", "→": "->", "≤": "<=", "≥": ">=", "µ": "u", "ß": "ss"}
    | {"æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "đ": "d", "ı": "i"}
)
_LONGEST = 1000
# Faces that are often installed and know other scripts; found by Pillow in the system's font folders.
_SYSTEM_FACES = (
    "NotoSansCJK-Regular.ttc",
    "wqy-zenhei.ttc",
    "msyh.ttc",
    "PingFang.ttc",
    "Arial Unicode.ttf",
    "NotoSans-Regular.ttf",
    "DejaVuSans.ttf",
    "arial.ttf",
)


@lru_cache(maxsize=64)
def _font(name: str, size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont | None:
    """The built-in face for an empty name, else the installed face of that file name if there is one."""
    if not name:
        return ImageFont.load_default(size)
    try:
        return ImageFont.truetype(name, size)
    except OSError:
        return None


@lru_cache(maxsize=4096)
def _has_glyph(name: str, char: str) -> bool:
    face = _font(name, 16)
    # A missing character is drawn as the same box as one that cannot exist.
    return face is not None and (char.isspace() or bytes(face.getmask(char)) != bytes(face.getmask("\U0010ffff")))


@lru_cache(maxsize=1024)
def _face_for(text: str) -> tuple[str, str]:
    """The name of a face for text of :func:`make_drawable`, and the text as that face can draw it."""
    if _BUILT_IN.issuperset(text):
        return "", text
    foreign = [char for char in dict.fromkeys(text) if char not in _BUILT_IN]
    for name in _SYSTEM_FACES:
        if all(_has_glyph(name, char) for char in foreign):
            return name, text
    return "", "".join(char if char in _BUILT_IN else "?" for char in text)


def measure_line(size: int) -> int:
    """Distance between lines of text of `size`, in pixels."""
    return round(size * 1.4)


@lru_cache(maxsize=32)
def _metrics(size: int) -> tuple[int, int]:
    face = _font("", size)
    ascent, descent = face.getmetrics() if isinstance(face, ImageFont.FreeTypeFont) else (size, size // 4)
    return math.ceil(ascent), math.ceil(descent)


@lru_cache(maxsize=4096)
def _cell(char: str, size: int, bold: bool = False) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    """One character of the built-in face: its coverage (height, advance), and what reaches beyond, or None.

    FreeType takes half a millisecond for a line of text, which a sheet per layer cannot afford: characters are drawn
    once and set side by side.
    """
    face = _font("", size)
    assert face is not None
    ascent, descent = _metrics(size)
    advance = max(1, round(face.getlength(char)))
    full = np.zeros((ascent + descent, advance + 2 * size), np.uint8)
    if isinstance(face, ImageFont.FreeTypeFont):
        # As ImageDraw.text does it, in half the time. The built-in face has one weight; a stroke of a fraction of a
        # pixel makes another.
        width = size / 48 if bold else 0
        mask, (x, y) = face.getmask2(char, "L", stroke_width=width, anchor="la", start=(0, 0), stroke_filled=True)
        ink = np.frombuffer(bytes(mask), np.uint8).reshape(mask.size[1], mask.size[0])
        top, left = max(0, y), max(0, size + x)
        ink = ink[top - y :, left - size - x :][: len(full) - top, : full.shape[1] - left]
        full[top : top + ink.shape[0], left : left + ink.shape[1]] = ink
    else:  # a Pillow without FreeType
        tile = Image.new("L", (full.shape[1], full.shape[0]))
        ImageDraw.Draw(tile).text((size, 0), char, fill=255, font=face)
        full[:] = np.asarray(tile)
    cell = full[:, size : size + advance].copy()
    full[:, size : size + advance] = 0
    return cell, full if full.any() else None


@lru_cache(maxsize=1024)
def measure_text(text: str, size: int) -> int:
    """Width of `text` in pixels."""
    name, text = _face_for(make_drawable(text))
    if name:
        face = _font(name, size)
        assert face is not None
        return math.ceil(face.getlength(text))
    widths: dict[str, int] = _widths(size)
    return sum(map(widths.__getitem__, text))


class _Widths(dict[str, int]):
    """The width in pixels of each character of the built-in face that was asked for."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self._size = size

    def __missing__(self, char: str) -> int:
        width: int = _cell(char, self._size)[0].shape[1]
        self[char] = width
        return width


_widths = lru_cache(maxsize=64)(_Widths)


@lru_cache(maxsize=1024)
def draw_text_mask(text: str, size: int, bold: bool = False) -> NDArray[np.uint8]:
    """One line of `text` as coverage 0..255: uint8 (height, width), read-only, the same height for every text."""
    name, text = _face_for(make_drawable(text))
    ascent, descent = _metrics(size)
    if name:
        face = _font(name, size)
        assert face is not None
        tile = Image.new("L", (max(1, math.ceil(face.getlength(text))), ascent + descent))
        ImageDraw.Draw(tile).text((0, ascent), text, fill=255, font=face, anchor="ls")
        mask = np.array(tile)
    elif not text:
        mask = np.zeros((ascent + descent, 1), np.uint8)
    else:
        drawn = {char: _cell(char, size, bold) for char in set(text)}
        cells = [drawn[char] for char in text]
        mask = np.concatenate([cell for cell, _ in cells], axis=1)
        x = 0
        for cell, beyond in cells:
            if beyond is not None:
                left, right = max(0, x - size), min(mask.shape[1], x + beyond.shape[1] - size)
                part = beyond[:, left - x + size : right - x + size]
                np.maximum(mask[:, left:right], part, out=mask[:, left:right])
            x += cell.shape[1]
    mask.setflags(write=False)
    return mask


def make_drawable(text: str) -> str:
    """`text` on one line, without control characters; what the built-in face lacks is spelled in ASCII if it can be.

    Letters of other scripts stay as they are, for a face that has them. No figure has room for more than a thousand
    characters, and a label from a file may be of any length, so the rest is cut off.
    """
    return _drawable(text if len(text) <= _LONGEST else text[:_LONGEST] + "…")


@lru_cache(maxsize=1024)
def _drawable(text: str) -> str:
    flat = " ".join("".join(c if c.isprintable() else " " for c in text).split()).translate(_SPELLED)
    if _BUILT_IN.issuperset(flat):
        return flat
    out = []
    for char in flat:
        if char in _BUILT_IN:
            out.append(char)
            continue
        stripped = "".join(c for c in unicodedata.normalize("NFKD", char) if not unicodedata.combining(c))
        out.append(stripped if stripped and _BUILT_IN.issuperset(stripped) else char)
    return "".join(out)


def shorten(text: str, size: int, limit: int, middle: bool = False) -> str:
    """`text`, or as much of it as fits `limit` pixels with an ellipsis at the end, or in the `middle`.

    The middle is for names and paths, whose ends say most.
    """
    text = make_drawable(text)
    if measure_text(text, size) <= limit:
        return text
    low, high = 0, len(text)
    while low < high:
        keep = (low + high + 1) // 2
        if measure_text(_cut(text, keep, middle), size) <= limit:
            low = keep
        else:
            high = keep - 1
    return _cut(text, low, middle)


def _cut(text: str, keep: int, middle: bool) -> str:
    head = (keep + 1) // 2 if middle else keep
    tail = keep - head
    return text[:head].rstrip() + "…" + (text[len(text) - tail :].lstrip() if tail else "")


def wrap(text: str, size: int, limit: int, lines: int = 2) -> list[str]:
    """`text` in at most `lines` lines no wider than `limit` pixels; what does not fit ends in an ellipsis."""
    rest = make_drawable(text)
    out: list[str] = []
    while rest:
        if measure_text(rest, size) <= limit:
            return [*out, rest]
        if len(out) == lines - 1:
            return [*out, shorten(rest, size, limit)]
        fit = _fitting(rest, size, limit)
        # Broken at a space if there is one, else where the line ends, so that nothing is lost.
        space = rest.rfind(" ", 0, fit + 1)
        end = space if space > 0 else max(1, fit)
        out.append(rest[:end])
        rest = rest[end:].lstrip()
    return out


def _fitting(text: str, size: int, limit: int) -> int:
    """How many of the first characters of `text` fit `limit` pixels."""
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if measure_text(text[:middle], size) <= limit:
            low = middle
        else:
            high = middle - 1
    return low


class GreyCanvas:
    """White paper of one byte a pixel that takes text and upright lines, to be read as an array.

    It is for what stands above the tiles of a sheet: an image of Pillow would be copied three times on its way there.
    The greys are those that Pillow would give; where two texts overlap, the darker one stays.

    Args:
        width: In pixels.
        height: In pixels.
        greys: The byte that stands for each grey, black to white: 256 bytes, none greater than the one before it.

    Attributes:
        pixels: uint8 (height, width), such bytes.
    """

    def __init__(self, width: int, height: int, greys: bytes) -> None:
        self._greys = greys
        self.pixels = np.full((height, width), greys[255], np.uint8)

    def draw_mask(self, left: int, top: int, mask: NDArray[np.uint8], fill: int) -> None:
        """Lay the grey `fill` over the pixels from (left, top) as far as `mask`, coverage uint8 (h, w), says."""
        marks = mask.tobytes().translate(_shade(fill, self._greys))
        shaded: NDArray[np.uint8] = np.frombuffer(marks, np.uint8).reshape(mask.shape)
        shaded = shaded[max(0, -top) :, max(0, -left) :]
        height, width = shaded.shape
        target = self.pixels[max(0, top) :, max(0, left) :]
        target = target[:height, :width]
        # The greater byte is the darker grey.
        height, width = target.shape
        np.maximum(target, shaded[:height, :width], out=target)

    def line(self, ends: tuple[float, float, float, float], fill: int | tuple[int, int, int]) -> None:
        """Draw an upright line of the grey `fill` from ends[:2] down to ends[2:], both included."""
        assert isinstance(fill, int)
        left, top, right, bottom = (round(end) for end in ends)
        assert left == right
        self.pixels[max(0, top) : bottom + 1, max(0, left) : left + 1] = self._greys[fill]


@lru_cache(maxsize=16)
def _shade(fill: int, greys: bytes) -> bytes:
    """What white paper becomes by `fill` at each coverage 0..255: 256 bytes out of `greys`."""
    strip = Image.new("L", (256, 1), 255)
    ImageDraw.Draw(strip).bitmap((0, 0), Image.fromarray(np.arange(256, dtype=np.uint8)[None]), fill=fill)
    return strip.tobytes().translate(greys)


def draw_text(
    draw: ImageDraw.ImageDraw | GreyCanvas,
    xy: tuple[float, float],
    text: str,
    size: int,
    fill: int | tuple[int, int, int],
    align: str = "left",
    bold: bool = False,
) -> None:
    """Draw one line of `text` with its top at xy[1], and its left, middle or right at xy[0] as `align` says."""
    mask = draw_text_mask(text, size, bold)
    width = mask.shape[1]
    left = round(xy[0] - {"left": 0.0, "middle": width / 2, "right": float(width)}[align])
    if isinstance(draw, GreyCanvas):
        assert isinstance(fill, int)
        draw.draw_mask(left, round(xy[1]), mask, fill)
    else:
        draw.bitmap((left, round(xy[1])), Image.fromarray(mask), fill=fill)


def draw_text_up(
    draw: ImageDraw.ImageDraw, xy: tuple[float, float], text: str, size: int, fill: int | tuple[int, int, int]
) -> None:
    """Draw one line of `text` that reads upwards, centred on xy[0], its last letter at the top, xy[1]."""
    mask = np.rot90(draw_text_mask(text, size))
    draw.bitmap((round(xy[0] - mask.shape[1] / 2), round(xy[1])), Image.fromarray(mask.copy()), fill=fill)


@lru_cache(maxsize=64)
def draw_digits(size: int) -> NDArray[np.uint8]:
    """The digits 0 to 9 as coverage 0..255: uint8 (10, height, advance), cut to the height of the digits."""
    cells = [_cell(digit, size)[0] for digit in "0123456789"]
    advance = max(cell.shape[1] for cell in cells)
    out = np.stack([np.pad(cell, ((0, 0), (0, advance - cell.shape[1]))) for cell in cells])
    inked = np.flatnonzero(out.any(axis=(0, 2)))
    out = out[:, inked[0] : inked[-1] + 1]
    out.setflags(write=False)
    return out


def format_value(value: float, digits: int = 3) -> str:
    """`value` with about `digits` significant digits, short enough for a label: 0.123, 12.3, 1.2e+06."""
    value = float(value)
    if not math.isfinite(value):
        return str(value)
    if value == 0:
        return "0"
    if 1e-3 <= abs(value) < 1e5:
        decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
        text = f"{value:.{decimals}f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    return f"{value:.{digits}g}"


def format_percent(fraction: float) -> str:
    """`fraction` of 1 as a percentage; only an exact 0 or 1 is called 0 % or 100 %."""
    value = 100 * fraction
    if value in (0, 100):
        return f"{value:.0f} %"
    if value < 0.05:
        return "< 0.1 %"
    return "> 99.9 %" if value >= 99.95 else f"{value:.1f} %"


def choose_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round values in [low, high], about `count` of them, zero among them if it is in the range."""
    if not (math.isfinite(low) and math.isfinite(high)) or high <= low:
        return [low]
    span = high / 2 - low / 2
    raw = span / max(count, 1) * 2
    if not math.isfinite(raw) or raw < 1e-300:
        return [low, high]
    power = 10.0 ** math.floor(math.log10(raw))
    step = next((factor * power for factor in (1, 2, 2.5, 5) if factor * power >= raw * 0.999), 10 * power)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [n * step for n in range(first, last + 1)]


def format_ticks(values: Sequence[float]) -> list[str]:
    """Labels for the ticks of :func:`choose_ticks`, all with as many decimals as tell them apart."""
    largest = max((abs(v) for v in values), default=0.0)
    if largest and not 1e-3 <= largest < 1e5:
        return ["0" if v == 0 else f"{v:.3g}" for v in values]
    gaps = [b - a for a, b in itertools.pairwise(values) if b > a]
    for decimals in range(7):
        texts = [f"{v:.{decimals}f}" for v in values]
        if all(abs(float(t) - v) < 1e-3 * min(gaps, default=1) for t, v in zip(texts, values, strict=True)):
            return [t.replace("-0", "0") if float(t) == 0 else t for t in texts]
    return [format_value(v) for v in values]
