"""Everything that draws: numpy and Pillow only, and nothing here knows a model."""

from __future__ import annotations

from inspector.render.cam import CamMap, draw_cam, draw_cam_sheet, draw_overlay
from inspector.render.channel import draw_channel
from inspector.render.chart import DepthPoint, describe_trend, draw_depth_chart
from inspector.render.colormap import COLORMAPS
from inspector.render.grid import draw_grid
from inspector.render.png import save_png
from inspector.render.scale import SCALES
from inspector.render.sheet import draw_sheet

__all__ = [
    "COLORMAPS",
    "SCALES",
    "CamMap",
    "DepthPoint",
    "describe_trend",
    "draw_cam",
    "draw_cam_sheet",
    "draw_channel",
    "draw_depth_chart",
    "draw_grid",
    "draw_overlay",
    "draw_sheet",
    "save_png",
]
