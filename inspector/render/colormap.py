"""The one color map table: names to 256 colors.

viridis, magma and inferno are by Nathaniel J. Smith, Stefan van der Walt and Eric Firing for matplotlib, released
under CC0. turbo is by Anton Mikhailov, Google LLC, Apache-2.0. grey is linear in sRGB. diverging runs from blue over
near-white to red along straight lines in the Oklab space (Ottosson 2020), so that both halves look equally strong.
"""

from __future__ import annotations

import base64
import zlib
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from inspector.errors import UsageError, listing

# 256 x RGB as differences along the table, channel by channel: that is what makes them short.
_PACKED = {
    "viridis": (
        "c-"
        "n<hi4lY#3{0@KE8+St<xsL4Sjp&Rzu+jyOg`opECkc)X`Q6qnhK3HNo_OG;RhV>kb4UegZDb1pdhW1hA(9608i7%o<`5u+O6"
        "#W6MI|R-q~_nLKyo3Fq1@l=e3($blyl0DjP1z=#&|HsQxfvb9OjPgHv1mpkyG8q{bp%?-(;)vb7T{kBAB"
    ),
    "magma": (
        "c-nnZ0TRO?2ov1@zwB-SL$G!b1Lv7mfnj3+W>_$1*l-"
        "6$vculB^q1sG_f&LnT*IwwB;bXl<Uh79*?xVvf`0)m>K0|9YP!<*pnj$WHo~<BT6(W=N!o!IuJjWh_vy5m1SCzK_+2Be79*q"
        "0Xg#o_&`SykB*7c7NQn@fO{<x$$z{pxF?9O+h+oRdEx7"
    ),
    "inferno": (
        "c-"
        "nnYff9uv2!rhX{~u?`HW6PJ%pqLTG0e>d{DJHs!U>Qs;e$R4<q|F;;(*eOB!nkOv@Yrca*^RRewRH^w6*urP6u^geWN|pynv"
        "!x9d(YM%G6!t7O)v|#%cbNLw)LdoUU&gNobki>0F5>sw(}<pOS}zaOtF1yLP_vOejQK(?U6N(<p5Kb`Gcg5T42nM;>jU"
    ),
    "turbo": (
        "c-mc(TNcA02t@Ijes?AP@BVjXw88+=3?t_>G4=v}a*850CxSK6LRzee*jiZo7kj@Ye33Fo;n=DiRhFt$dA8r>V-"
        "L0oCpnyiX(5zK(GH#vLN{CDmc<&f#=DrZ=UgIHL<=FD0k<%$5N}*C=SN=+KN-"
        "K5;Pj3j=&giMgjeyWd1J#vcHpu>P3;ux`?^HEU%mD1)>_@hn6xE23yeU4^$vvAn(@#O$MMj%V;}DV(n1?la`8^0)2uV<>Fx4"
        "jre6Y5<4`x9zaYQZ=?AISX^{"
    ),
}

# Ends and middle of the diverging map as Oklab (lightness, green-red, blue-yellow).
_DIVERGING = ((0.42, -0.02, -0.17), (0.96, 0.0, 0.0), (0.42, 0.15, 0.08))

COLORMAPS = ("viridis", "magma", "inferno", "turbo", "grey", "diverging")


@lru_cache(maxsize=32)
def make_color_table(name: str = "viridis", count: int = 256) -> NDArray[np.uint8]:
    """The colors of map `name`: uint8 (count, 3), RGB, from the lowest value to the highest; read-only.

    Raises:
        UsageError: For a name not in COLORMAPS.
    """
    if name not in COLORMAPS:
        raise UsageError(f"no color map is called {name!r}", f"there are {listing(COLORMAPS, len(COLORMAPS))}")
    if name == "grey":
        full = np.repeat(np.arange(256, dtype=np.float64)[:, None], 3, axis=1)
    elif name == "diverging":
        full = _diverging()
    else:
        steps = np.frombuffer(zlib.decompress(base64.b85decode(_PACKED[name])), np.uint8)
        full = np.cumsum(steps.reshape(3, 256), axis=1, dtype=np.uint8).T.astype(np.float64)
    at = np.linspace(0, 255, count)
    table = np.stack([np.interp(at, np.arange(256), full[:, c]) for c in range(3)], axis=1)
    result = np.rint(table).astype(np.uint8)
    result.setflags(write=False)
    return result


def is_diverging(name: str) -> bool:
    """Whether the middle color of the map stands for zero, so that its range must be symmetric."""
    return name == "diverging"


def _diverging() -> NDArray[np.float64]:
    lab = np.stack([np.interp(np.linspace(0, 2, 256), [0, 1, 2], c) for c in zip(*_DIVERGING, strict=True)])
    light, a, b = lab
    cone = np.stack(
        [
            light + 0.3963377774 * a + 0.2158037573 * b,
            light - 0.1055613458 * a - 0.0638541728 * b,
            light - 0.0894841775 * a - 1.2914855480 * b,
        ]
    )
    to_linear = np.array(
        [
            [4.0767416621, -3.3077115913, 0.2309699292],
            [-1.2684380046, 2.6097574011, -0.3413193965],
            [-0.0041960863, -0.7034186147, 1.7076147010],
        ]
    )
    linear = np.clip(to_linear @ cone**3, 0, 1)
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.asarray(srgb.T * 255, dtype=np.float64)
