"""Networks whose outputs are what a test gives, and decoders written a second time in plain loops."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from tests.foreign import Net

Arrays = dict[str, NDArray[Any]]
STRIDES = (8, 16, 32)


def make_head(outputs: Mapping[str, Any], size: tuple[int, int] = (64, 64), raw: bool = False) -> onnx.ModelProto:
    """A network that gives these arrays for every picture: constants to which zero times its mean is added.

    raw: the arrays (1, A, C) come straight from a convolution, which looks them up.
    """
    net = Net(opset=17)
    x = net.input("images", (1, 3, *size))
    nothing = net("Mul", net("ReduceMean", net.conv(x, 3, 2), keepdims=0), net.const(np.float32(0)))
    infos = []
    for name, value in outputs.items():
        array = np.asarray(value)
        if raw:
            codes = net("Add", net.const(np.eye(array.shape[1], dtype=np.float32)[None, :, None]), nothing)
            table = net("Conv", codes, net.const(np.ascontiguousarray(array[0].T[:, :, None, None], np.float32)))
            net("Transpose", net("Squeeze", table, net.const(np.array([2]))), perm=[0, 2, 1], out=name)
        elif array.dtype.kind == "f":
            net("Add", net.const(array.astype(np.float32)), nothing, out=name)
        else:
            whole = net("Add", net.const(array.astype(np.float32)), nothing)
            net("Cast", whole, to=onnx.helper.np_dtype_to_tensor_dtype(array.dtype), out=name)
        kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype("float32") if array.dtype.kind == "f" else array.dtype)
        infos.append(onnx.helper.make_tensor_value_info(name, kind, array.shape))
    model = net.model(*outputs)
    model.graph.ClearField("output")
    model.graph.output.extend(infos)
    return model


@dataclass
class Found:
    """One candidate of a reference: x1, y1, x2, y2, score, class, and the number that is its class score."""

    box: tuple[float, ...]
    score: float
    index: int
    element: tuple[Any, ...] | None = None
    keypoints: list[tuple[float, float, float]] = field(default_factory=list)


def centred(cx: float, cy: float, w: float, h: float) -> tuple[float, ...]:
    return (cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2)


def grid(size: tuple[int, int], strides: tuple[int, ...] = STRIDES) -> list[tuple[int, int, int]]:
    """(column, row, stride) of every place."""
    found = []
    for stride in strides:
        for row in range(math.ceil(size[0] / stride)):
            for column in range(math.ceil(size[1] / stride)):
                found.append((column, row, stride))
    return found


PLACES = len(grid((64, 64)))


@dataclass
class Case:
    """A head: what its outputs are, and what they mean in plain loops."""

    head: str
    make: Callable[[np.random.Generator], Arrays]
    read: Callable[[Arrays], list[Found]]
    labels: int | None = None
    raw: bool = False


def _boxes(rng: np.random.Generator, n: int) -> NDArray[np.float32]:
    """cx, cy, w, h in pixels of 64 x 64."""
    return np.concatenate([rng.uniform(10, 54, (n, 2)), rng.uniform(4, 20, (n, 2))], axis=1).astype(np.float32)


def _corners(rng: np.random.Generator, n: int) -> NDArray[np.float32]:
    boxes = _boxes(rng, n)
    return np.array([centred(*box) for box in boxes], np.float32)


def _yolov8(rng: np.random.Generator) -> Arrays:
    return {"output0": np.concatenate([_boxes(rng, PLACES), rng.random((PLACES, 6))], 1).T[None].astype(np.float32)}


def _read_yolov8(outputs: Arrays) -> list[Found]:
    value, found = outputs["output0"], []
    for a in range(value.shape[2]):
        k = max(range(6), key=lambda i: value[0, 4 + i, a])
        found.append(Found(centred(*value[0, :4, a]), value[0, 4 + k, a], k, ("output0", (0, 4 + k, a))))
    return found


def _pose(rng: np.random.Generator) -> Arrays:
    points = rng.uniform(0, 64, (PLACES, 51))
    return {"output0": np.concatenate([_boxes(rng, PLACES), rng.random((PLACES, 1)), points], 1).T[None]}


def _read_pose(outputs: Arrays) -> list[Found]:
    value, found = outputs["output0"], []
    for a in range(value.shape[2]):
        points = [tuple(value[0, 5 + 3 * p : 8 + 3 * p, a]) for p in range(17)]
        found.append(Found(centred(*value[0, :4, a]), value[0, 4, a], 0, ("output0", (0, 4, a)), points))
    return found


def _obb(rng: np.random.Generator) -> Arrays:
    angle = rng.uniform(-1.5, 1.5, (PLACES, 1))
    return {"output0": np.concatenate([_boxes(rng, PLACES), rng.random((PLACES, 3)), angle], 1).T[None]}


def _read_obb(outputs: Arrays) -> list[Found]:
    value, found = outputs["output0"], []
    for a in range(value.shape[2]):
        cx, cy, w, h = value[0, :4, a]
        k = max(range(3), key=lambda i: value[0, 4 + i, a])
        turn = float(value[0, 7, a])
        xs, ys = [], []
        for dx, dy in ((-w / 2, -h / 2), (w / 2, -h / 2), (w / 2, h / 2), (-w / 2, h / 2)):
            xs.append(cx + dx * math.cos(turn) - dy * math.sin(turn))
            ys.append(cy + dx * math.sin(turn) + dy * math.cos(turn))
        box = (min(xs), min(ys), max(xs), max(ys))
        found.append(Found(box, value[0, 4 + k, a], k, ("output0", (0, 4 + k, a))))
    return found


def _yolov5(rng: np.random.Generator) -> Arrays:
    return {"output": np.concatenate([_boxes(rng, 3 * PLACES), rng.random((3 * PLACES, 5))], 1)[None]}


def _read_yolov5(outputs: Arrays) -> list[Found]:
    found = []
    for a, row in enumerate(outputs["output"][0]):
        k = max(range(4), key=lambda i: row[5 + i])
        found.append(Found(centred(*row[:4]), row[4] * row[5 + k], k, ("output", (0, a, 5 + k))))
    return found


def _yolox(rng: np.random.Generator) -> Arrays:
    return {"output": np.concatenate([rng.normal(0, 1, (PLACES, 4)), rng.random((PLACES, 3))], 1)[None]}


def _read_yolox(outputs: Arrays) -> list[Found]:
    found = []
    for a, ((column, row, stride), v) in enumerate(zip(grid((64, 64)), outputs["output"][0], strict=True)):
        box = centred((v[0] + column) * stride, (v[1] + row) * stride, math.exp(v[2]) * stride, math.exp(v[3]) * stride)
        k = max(range(2), key=lambda i: v[5 + i])
        found.append(Found(box, v[4] * v[5 + k], k, ("output", (0, a, 5 + k))))
    return found


_PLUS = len(grid((64, 64), (8, 16, 32, 64)))


def _nanodet(rng: np.random.Generator) -> Arrays:
    return {"output": np.concatenate([rng.random((_PLUS, 3)), rng.normal(0, 2, (_PLUS, 32))], 1)[None]}


def _read_nanodet(outputs: Arrays) -> list[Found]:
    found = []
    for a, ((column, row, stride), v) in enumerate(
        zip(grid((64, 64), (8, 16, 32, 64)), outputs["output"][0], strict=True)
    ):
        sides = []
        for side in range(4):
            weights = [math.exp(x) for x in v[3 + 8 * side : 11 + 8 * side]]
            sides.append(stride * sum(i * w for i, w in enumerate(weights)) / sum(weights))
        x, y = column * stride, row * stride
        k = max(range(3), key=lambda i: v[i])
        found.append(Found((x - sides[0], y - sides[1], x + sides[2], y + sides[3]), v[k], k, ("output", (0, a, k))))
    return found


def _end_to_end(rng: np.random.Generator) -> Arrays:
    rows = np.concatenate([_corners(rng, 300), rng.random((300, 1)), rng.integers(0, 9, (300, 1))], 1)
    rows[250:, 4] = 0
    return {"output0": rows[None].astype(np.float32)}


def _read_end_to_end(outputs: Arrays) -> list[Found]:
    rows = outputs["output0"][0]
    return [Found(tuple(r[:4]), r[4], int(r[5]), ("output0", (0, i, 4))) for i, r in enumerate(rows) if r[4] > 0]


def _rtdetr(rng: np.random.Generator) -> Arrays:
    return {"output0": np.concatenate([_boxes(rng, 300) / 64, rng.random((300, 5))], 1)[None].astype(np.float32)}


def _read_rtdetr(outputs: Arrays) -> list[Found]:
    found = []
    for a, row in enumerate(outputs["output0"][0]):
        k = max(range(5), key=lambda i: row[4 + i])
        found.append(Found(centred(*(64 * row[:4])), row[4 + k], k, ("output0", (0, a, 4 + k))))
    return found


def _detr(rng: np.random.Generator) -> Arrays:
    return {"logits": rng.normal(0, 2, (1, 100, 5)).astype(np.float32), "pred_boxes": _boxes(rng, 100)[None] / 64}


def _read_detr(outputs: Arrays) -> list[Found]:
    found = []
    for a, (logits, box) in enumerate(zip(outputs["logits"][0], outputs["pred_boxes"][0], strict=True)):
        shares = [math.exp(x) for x in logits]
        k = max(range(4), key=lambda i: shares[i])
        found.append(Found(centred(*(64 * box)), shares[k] / sum(shares), k, ("logits", (0, a, k))))
    return found


def _rfdetr(rng: np.random.Generator) -> Arrays:
    return {"dets": _boxes(rng, 50)[None] / 64, "labels": rng.normal(0, 2, (1, 50, 5)).astype(np.float32)}


def _read_rfdetr(outputs: Arrays) -> list[Found]:
    found = []
    for a, (logits, box) in enumerate(zip(outputs["labels"][0], outputs["dets"][0], strict=True)):
        k = max(range(5), key=lambda i: logits[i])
        found.append(Found(centred(*(64 * box)), 1 / (1 + math.exp(-logits[k])), k, ("labels", (0, a, k))))
    return found


def _torchvision(rng: np.random.Generator) -> Arrays:
    return {
        "boxes": _corners(rng, 7), "labels": rng.integers(1, 9, 7), "scores": rng.random(7).astype(np.float32),
    }  # fmt: skip


def _read_torchvision(outputs: Arrays) -> list[Found]:
    return [
        Found(tuple(outputs["boxes"][i]), outputs["scores"][i], int(outputs["labels"][i]), ("scores", (i,)))
        for i in range(7)
    ]


def _tensorflow(rng: np.random.Generator) -> Arrays:
    return {
        "detection_boxes": _corners(rng, 9)[None][:, :, [1, 0, 3, 2]] / 64,
        "detection_scores": rng.random((1, 9)).astype(np.float32),
        "detection_classes": rng.integers(1, 9, (1, 9)).astype(np.float32),
        "num_detections": np.array([9], np.float32),
    }


def _read_tensorflow(outputs: Arrays) -> list[Found]:
    found = []
    for i, (y1, x1, y2, x2) in enumerate(outputs["detection_boxes"][0] * 64):
        index = int(outputs["detection_classes"][0, i])
        score = outputs["detection_scores"][0, i]
        found.append(Found((x1, y1, x2, y2), score, index, ("detection_scores", (0, i))))
    return found


def _paddle(rng: np.random.Generator) -> Arrays:
    rows = np.concatenate([rng.integers(0, 4, (8, 1)), rng.random((8, 1)), _corners(rng, 8)], 1)
    rows[6, 0] = -1
    return {"multiclass_nms3_0.tmp_0": rows.astype(np.float32)}


def _read_paddle(outputs: Arrays) -> list[Found]:
    (name, rows), *_ = outputs.items()
    return [Found(tuple(r[2:]), r[1], int(r[0]), (name, (i, 1))) for i, r in enumerate(rows) if r[0] >= 0]


def _yolonas(rng: np.random.Generator) -> Arrays:
    return {"a": _corners(rng, PLACES)[None], "b": rng.random((1, PLACES, 3)).astype(np.float32)}


def _read_yolonas(outputs: Arrays) -> list[Found]:
    found = []
    for i, (box, shares) in enumerate(zip(outputs["a"][0], outputs["b"][0], strict=True)):
        k = max(range(3), key=lambda j: shares[j])
        found.append(Found(tuple(box), shares[k], k, ("b", (0, i, k))))
    return found


def _ssd(rng: np.random.Generator) -> Arrays:
    return {"scores": rng.random((1, 50, 2)).astype(np.float32), "boxes": _corners(rng, 50)[None] / 64}


def _read_ssd(outputs: Arrays) -> list[Found]:
    return [
        Found(tuple(64 * outputs["boxes"][0, i]), outputs["scores"][0, i, 1], 1, ("scores", (0, i, 1)))
        for i in range(50)
    ]


def _centerface(rng: np.random.Generator) -> Arrays:
    shape = (16, 16)
    parts = {"537": (1, 1, *shape), "538": (1, 2, *shape), "539": (1, 2, *shape), "540": (1, 10, *shape)}
    made = {name: rng.normal(0, 1, size).astype(np.float32) for name, size in parts.items()}
    return {**made, "537": rng.uniform(0.02, 1, parts["537"]).astype(np.float32)}


def _read_centerface(outputs: Arrays) -> list[Found]:
    heat, sizes, offsets, marks = outputs.values()
    found = []
    for y in range(16):
        for x in range(16):
            h, w = (4 * math.exp(sizes[0, i, y, x]) for i in range(2))
            cy, cx = 4 * (y + offsets[0, 0, y, x] + 0.5), 4 * (x + offsets[0, 1, y, x] + 0.5)
            box = centred(cx, cy, w, h)
            points = [
                (box[0] + w * marks[0, 2 * p + 1, y, x], box[1] + h * marks[0, 2 * p, y, x], 1.0) for p in range(5)
            ]
            found.append(Found(box, heat[0, 0, y, x], 0, ("537", (0, 0, y, x)), points))
    return found


def _centernet(rng: np.random.Generator) -> Arrays:
    return {
        "hm": rng.normal(0, 2, (1, 3, 16, 16)).astype(np.float32),
        "wh": rng.uniform(1, 6, (1, 2, 16, 16)).astype(np.float32),
        "reg": rng.random((1, 2, 16, 16)).astype(np.float32),
    }


def _read_centernet(outputs: Arrays) -> list[Found]:
    heat, sizes, offsets = (value[0] for value in outputs.values())
    found = []
    for k in range(3):
        for y in range(16):
            for x in range(16):
                near = heat[k, max(0, y - 1) : y + 2, max(0, x - 1) : x + 2]
                score = 1 / (1 + math.exp(-heat[k, y, x]))
                if heat[k, y, x] < near.max() or score < 0.01:
                    continue
                cx, cy = 4 * (x + offsets[0, y, x]), 4 * (y + offsets[1, y, x])
                box = centred(cx, cy, 4 * sizes[0, y, x], 4 * sizes[1, y, x])
                found.append(Found(box, score, k, ("hm", (0, k, y, x))))
    return found


def _yunet(rng: np.random.Generator) -> Arrays:
    made: Arrays = {}
    for part, numbers in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10)):
        for stride in STRIDES:
            many = (64 // stride) ** 2
            shape = (1, many, numbers)
            made[f"{part}_{stride}"] = (rng.random(shape) if numbers == 1 else rng.normal(0, 1, shape)).astype(
                np.float32
            )
    return made


def _read_yunet(outputs: Arrays) -> list[Found]:
    found = []
    for stride in STRIDES:
        for a, (column, row, _) in enumerate(grid((64, 64), (stride,))):
            b, k = outputs[f"bbox_{stride}"][0, a], outputs[f"kps_{stride}"][0, a]
            box = centred(
                (b[0] + column) * stride, (b[1] + row) * stride, math.exp(b[2]) * stride, math.exp(b[3]) * stride
            )
            points = [((k[2 * p] + column) * stride, (k[2 * p + 1] + row) * stride, 1.0) for p in range(5)]
            score = math.sqrt(outputs[f"cls_{stride}"][0, a, 0] * outputs[f"obj_{stride}"][0, a, 0])
            found.append(Found(box, score, 0, (f"cls_{stride}", (0, a, 0)), points))
    return found


CASES = [
    Case("yolov8", _yolov8, _read_yolov8),
    Case("yolov8_pose", _pose, _read_pose),
    Case("yolov8_obb", _obb, _read_obb, labels=3),
    Case("yolov5", _yolov5, _read_yolov5),
    Case("yolox", _yolox, _read_yolox, raw=True),
    Case("nanodet", _nanodet, _read_nanodet, labels=3),
    Case("yolo_end_to_end", _end_to_end, _read_end_to_end),
    Case("rtdetr", _rtdetr, _read_rtdetr, labels=5),
    Case("detr", _detr, _read_detr),
    Case("detr_sigmoid", _rfdetr, _read_rfdetr, labels=5),
    Case("torchvision", _torchvision, _read_torchvision),
    Case("tensorflow", _tensorflow, _read_tensorflow),
    Case("paddle", _paddle, _read_paddle),
    Case("yolonas", _yolonas, _read_yolonas),
    Case("ssd", _ssd, _read_ssd),
    Case("centerface", _centerface, _read_centerface),
    Case("centernet", _centernet, _read_centernet),
    Case("yunet", _yunet, _read_yunet),
]
