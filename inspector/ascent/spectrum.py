"""What photographs look like in color and frequency: a matrix and a table, no torch.

Both describe the logit of pixel values, so that a sigmoid brings noise with these statistics into [0, 1].
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

COLOR = np.array([[0.26, 0.09, 0.02], [0.27, 0.00, -0.05], [0.27, -0.09, 0.03]])
"""Square root of the covariance of RGB over photographs: lightness, red-blue, green-purple. The numbers are lucid's
(Olah et al., "Feature Visualization", Distill 2017, Apache-2.0), measured on ImageNet."""

DECORRELATED = COLOR / np.linalg.norm(COLOR, axis=0).max()
"""float64 (3, 3): independent components -> RGB; the largest has length 1."""

FREQUENCIES = np.geomspace(1 / 256, 0.7072, 13)
"""Edges of the table's columns, in cycles per pixel."""

_MAGNITUDE = """
107 72.5 53.9 24.2 15.1 8.94 4.96 3.31 1.84 .998 .572 .313
| 101 68.1 39.9 19.2 12.7 8.14 4.76 2.80 1.56 .920 .527 .330
| 96.3 59.1 42.8 20.8 14.7 9.59 5.55 2.66 1.51 .889 .492 .237
| 121 53.4 41.1 27.1 16.1 10.3 5.51 3.31 1.88 1.10 .549 .316
/
312 166 66.8 35.7 18.8 9.73 5.54 3.34 1.98 1.12 .627 .410
| 240 111 49.1 26.8 16.6 8.97 5.64 2.97 1.65 .956 .556 .350
| 216 83.9 48.2 28.5 20.5 12.1 6.44 3.13 1.68 1.02 .548 .319
| 181 116 78.1 38.3 18.0 13.0 7.80 4.38 2.12 1.22 .609 .396
/
221 114 51.1 30.0 10.8 5.79 4.28 3.13 1.90 1.16 .736 .496
| 180 76.5 39.6 21.9 12.2 8.02 4.95 3.19 1.71 1.11 .680 .458
| 157 68.0 39.8 26.9 19.4 11.7 6.32 3.22 1.87 1.16 .708 .442
| 145 103 63.2 36.6 17.9 11.7 6.58 3.93 2.21 1.32 .754 .496
"""
"""Mean magnitude of the Fourier coefficients of seven photographs (scikit-image's coffee, astronaut, rocket, chelsea,
motorcycle; scikit-learn's china, flower; shorter side 256) over the square root of the number of pixels: three
color components, four directions from horizontal to vertical, twelve frequencies. It falls as f ** -1.25."""

_TABLE = np.array([[[float(v) for v in row.split()] for row in color.split("|")] for color in _MAGNITUDE.split("/")])


def compute_frequencies(height: int, width: int) -> NDArray[np.float64]:
    """Frequency in cycles per pixel of each coefficient of a real transform: float64 (H, W // 2 + 1)."""
    found: NDArray[np.float64] = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    return found


def compute_natural_magnitude(height: int, width: int, channels: int = 3) -> NDArray[np.float64]:
    """Magnitude of each Fourier coefficient in a typical photograph: float64 (channels, H, W // 2 + 1).

    For the orthonormal transform (``norm="ortho"``) of the decorrelated components of the logit; 0 at frequency
    zero, so that pictures are grey on average.

    Args:
        height: Of the picture, in pixels.
        width: Of the picture, in pixels.
        channels: 3, or 1 for lightness alone.
    """
    y, x = np.abs(np.fft.fftfreq(height))[:, None], np.abs(np.fft.rfftfreq(width))[None]
    frequency = np.maximum(np.hypot(y, x), FREQUENCIES[0] / 4)
    centres = np.log(np.sqrt(FREQUENCIES[1:] * FREQUENCIES[:-1]))
    place = np.clip((np.log(frequency) - centres[0]) / (centres[1] - centres[0]), 0, 11)
    angle = np.arctan2(y, x) / (np.pi / 2) * 3
    low, left = np.minimum(place.astype(int), 10), np.minimum(angle.astype(int), 2)
    f, a = place - low, angle - left
    log = np.log(_TABLE[:channels])
    found = (
        log[:, left, low] * (1 - a) * (1 - f)
        + log[:, left, low + 1] * (1 - a) * f
        + log[:, left + 1, low] * a * (1 - f)
        + log[:, left + 1, low + 1] * a * f
    )
    magnitude: NDArray[np.float64] = np.exp(found)
    magnitude[:, 0, 0] = 0
    return magnitude
