"""What detectors and segmenters add: grids, regions, suppression."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from inspector.twin.table import Node, NotSupported, Run, operator

_GRID_MODES = {
    "linear": "bilinear",
    "bilinear": "bilinear",
    "nearest": "nearest",
    "cubic": "bicubic",
    "bicubic": "bicubic",
}


@operator("GridSample", since=16)
@operator("GridSample", domain="com.microsoft")
def _grid_sample(node: Node) -> Run:
    mode = _GRID_MODES.get(node.get("mode", "linear"))
    if mode is None:
        raise NotSupported(f"the grid sample mode {node.get('mode')!r}")
    outside, corners = node.get("padding_mode", "zeros"), bool(node.get("align_corners", 0))
    return lambda x, grid: F.grid_sample(x, grid, mode, outside, corners)


@operator("AffineGrid", since=20, settings=(1,))
def _affine_grid(node: Node) -> Run:
    corners = bool(node.get("align_corners", 0))
    return lambda theta, size: F.affine_grid(theta, size.tolist(), align_corners=corners)


@operator("RoiAlign", since=10)
def _roi_align(node: Node) -> Run:
    height, width = node.get("output_height", 1), node.get("output_width", 1)
    ratio, scale = node.get("sampling_ratio", 0), node.get("spatial_scale", 1.0)
    largest = node.get("mode", "avg") == "max"
    half = node.opset >= 16 and node.get("coordinate_transformation_mode", "half_pixel") == "half_pixel"
    shift = 0.5 if half else 0.0

    def steps(start: Tensor, length: Tensor, count: int, each: int) -> Tensor:
        """The sampled coordinates along one axis: (count * each,)."""
        cell = torch.arange(count, device=start.device, dtype=start.dtype).repeat_interleave(each)
        part = (torch.arange(each, device=start.device, dtype=start.dtype) + 0.5).repeat(count) / each
        return start + (cell + part) * (length / count)

    def corners(place: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Both neighbours of each coordinate and their weights, zero more than one pixel outside."""
        inside = ((place >= -1) & (place <= size)).to(place.dtype)
        place = place.clamp(0, size - 1)
        low = place.floor()
        high_weight = place - low
        first = low.long()
        return first, (first + 1).clamp(max=size - 1), (1 - high_weight) * inside, high_weight * inside

    def run(x: Tensor, rois: Tensor, batch: Tensor) -> Tensor:
        regions = []
        for box, image in zip(rois * scale - shift, batch.tolist(), strict=True):
            x0, y0, x1, y1 = box
            w, h = x1 - x0, y1 - y0
            if not half:
                w, h = w.clamp(min=1.0), h.clamp(min=1.0)
            each_y = ratio if ratio > 0 else max(math.ceil(float(h) / height), 1)
            each_x = ratio if ratio > 0 else max(math.ceil(float(w) / width), 1)
            top, bottom, wt, wb = corners(steps(y0, h, height, each_y), x.shape[2])
            left, right, wl, wr = corners(steps(x0, w, width, each_x), x.shape[3])
            plane = x[image]
            taps = [
                plane[:, rows][:, :, columns] * (a[:, None] * b)
                for rows, a in ((top, wt), (bottom, wb))
                for columns, b in ((left, wl), (right, wr))
            ]
            shape = (x.shape[1], height, each_y, width, each_x)
            if largest:
                # The largest of the weighted corners, not of their sums: so the operator is defined.
                regions.append(torch.stack(taps).amax(0).reshape(shape).amax((2, 4)))
            else:
                regions.append((taps[0] + taps[1] + taps[2] + taps[3]).reshape(shape).mean((2, 4)))
        return torch.stack(regions) if regions else x.new_zeros(0, x.shape[1], height, width)

    return run


@operator("NonMaxSuppression", since=10, settings=(2, 3, 4))
def _non_max_suppression(node: Node) -> Run:
    centred = bool(node.get("center_point_box", 0))

    def scalar(value: Tensor | None, default: float) -> float:
        return default if value is None or value.numel() == 0 else float(value.reshape(-1)[0].item())

    def run(
        boxes: Tensor,
        scores: Tensor,
        count: Tensor | None = None,
        overlap: Tensor | None = None,
        least: Tensor | None = None,
    ) -> Tensor:
        limit, iou_limit, score_limit = scalar(count, 0), scalar(overlap, 0.0), scalar(least, -math.inf)
        boxes, scores = boxes.detach(), scores.detach()
        if centred:
            half = boxes[..., 2:] / 2
            low, high = boxes[..., :2] - half, boxes[..., :2] + half
        else:
            low = torch.minimum(boxes[..., :2], boxes[..., 2:])
            high = torch.maximum(boxes[..., :2], boxes[..., 2:])
        area = (high - low).prod(-1)
        chosen = []
        for n in range(scores.shape[0]):
            for c in range(scores.shape[1]):
                order = scores[n, c].argsort(descending=True, stable=True)
                order = order[scores[n, c][order] > score_limit]
                kept = 0
                while order.numel() and kept < limit:
                    best, order = order[0], order[1:]
                    chosen.append([n, c, int(best)])
                    kept += 1
                    side = torch.minimum(high[n, best], high[n, order]) - torch.maximum(low[n, best], low[n, order])
                    both = side.clamp(min=0).prod(-1)
                    iou = both / (area[n, best] + area[n, order] - both)
                    order = order[~(iou > iou_limit)]
        return torch.tensor(chosen, dtype=torch.int64, device=boxes.device).reshape(-1, 3)

    return run
