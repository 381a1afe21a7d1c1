"""What is assumed of a file that does not say it: the operators that the picture meets first."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from inspector import open_model
from inspector.errors import ModelError
from inspector.image import Preprocess
from inspector.image.preprocess import Resize
from inspector.metadata import KEY, Metadata
from tests.conftest import MakeModel
from tests.foreign import Net


@pytest.mark.parametrize("op", ["Identity", "Floor", "Abs", "Sign"])
def test_the_layout_behind_any_elementwise_operator(op: str, make_model: MakeModel) -> None:
    """A graph that begins by moving the last axis to the front takes (N, H, W, C), whatever it does to elements."""

    def build(n: Net, x: str) -> str:
        x = n("Transpose", n(op, x), perm=[0, 3, 1, 2])
        return n("GlobalAveragePool", n.conv(x, 3, 4))

    assert open_model(make_model(build, shape=("n", "h", "w", "c"))).input.layout == "NHWC"


@pytest.mark.parametrize(("op", "number"), [("Add", -127.5), ("Sub", 127.5), ("Mul", 1 / 255), ("Div", 255)])
def test_a_picture_that_the_graph_normalises_itself(op: str, number: float, make_model: MakeModel) -> None:
    """Also between integers of a quantized file."""

    def build(n: Net, x: str) -> str:
        scale, zero = n.const(np.float32(1)), n.const(np.uint8(0))
        x = n("DequantizeLinear", n("QuantizeLinear", x, scale, zero), scale, zero)
        x = n(op, x, n.const(np.full((3, 1, 1), number)))
        return n("GlobalAveragePool", n.conv(x, 3, 4))

    assert any("preprocess raw" in line for line in open_model(make_model(build)).assumed)


# --- the values that a network wants -----------------------------------------------------------------

MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def constant(n: Net, value: Any, last: bool) -> str:
    value = np.asarray(value, np.float32)
    return n.const(value if last or value.ndim == 0 else value.reshape(-1, 1, 1))


def rescaling(n: Net, x: str, last: bool) -> str:
    """Keras MobileNet: Rescaling(1 / 127.5, offset=-1)."""
    return n("Add", n("Mul", x, constant(n, 1 / 127.5, last)), constant(n, -1.0, last))


def rescaled_and_normalised(n: Net, x: str, last: bool) -> str:
    """Keras EfficientNet: Rescaling(1 / 255) and Normalization."""
    y = n("Mul", x, constant(n, 1 / 255, last))
    return n("Div", n("Sub", y, constant(n, MEAN, last)), constant(n, STD, last))


def normalised_bytes(n: Net, x: str, last: bool) -> str:
    return n("Div", n("Sub", x, constant(n, MEAN * 255, last)), constant(n, STD * 255, last))


def caffe_mean(n: Net, x: str, last: bool) -> str:
    return n("Sub", x, constant(n, [103.939, 116.779, 123.68], last))


def normalised_unit(n: Net, x: str, last: bool) -> str:
    """Sub mean, Div std: numbers from 0 to 1 go in."""
    return n("Div", n("Sub", x, constant(n, MEAN, last)), constant(n, STD, last))


def halves_and_quarters(n: Net, x: str, last: bool) -> str:
    """(x - 0.5) / 0.25: the constants tell of numbers from 0 to 1, though -2 to 2 is no usual range."""
    return n("Div", n("Sub", x, constant(n, 0.5, last)), constant(n, 0.25, last))


def halves_of_bytes(n: Net, x: str, last: bool) -> str:
    return n("Div", n("Sub", x, constant(n, 127.5, last)), constant(n, 64.0, last))


def doubled_and_shifted(n: Net, x: str, last: bool) -> str:
    return n("Sub", n("Mul", x, constant(n, 2.0, last)), constant(n, 1.0, last))


def first_norm(mean: Any, std: Any) -> Callable[[Net, str, bool], str]:
    """A batch norm right behind the input, that has learned these statistics of its pictures."""

    def build(n: Net, x: str, last: bool) -> str:
        values = (np.ones(3), np.zeros(3), np.broadcast_to(mean, 3), np.broadcast_to(np.square(std), 3))
        return n("BatchNormalization", x, *(n.const(v.astype(np.float32)) for v in values))

    return build


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize(
    ("build", "name"),
    [
        (rescaling, "raw"),
        (rescaled_and_normalised, "raw"),
        (normalised_bytes, "raw"),
        (caffe_mean, "raw"),
        (normalised_unit, "unit"),
        (doubled_and_shifted, "unit"),
        (halves_and_quarters, "unit"),
        (halves_of_bytes, "raw"),
        (first_norm([118, 114, 104], 62), "raw"),
        (first_norm(MEAN, STD), "unit"),
        (first_norm(0, 0.5), "signed"),
        (first_norm(0, 1), "imagenet"),
        (lambda n, x, last: x, "imagenet"),
    ],
)
def test_the_first_nodes_tell_what_values_go_in(
    build: Callable[[Net, str, bool], str], name: str, last: bool, make_model: MakeModel
) -> None:
    norm = "first_norm" in getattr(build, "__qualname__", "")

    def network(n: Net, x: str) -> str:
        if last:
            y = n("Transpose", x, perm=[0, 3, 1, 2]) if norm else build(n, x, True)
            y = build(n, y, False) if norm else n("Transpose", y, perm=[0, 3, 1, 2])
        else:
            y = build(n, x, False)
        return n("GlobalAveragePool", n("Relu", n.conv(y, 3, 4)))

    model = open_model(make_model(network, shape=(1, 8, 8, 3) if last else (1, 3, 8, 8)))
    wanted = Preprocess.named(name, (8, 8), layout="NHWC" if last else "NCHW")
    if build is caffe_mean:  # 103.939 is the mean of blue
        wanted = replace(wanted, colour="BGR")
    assert model.preprocess == wanted
    assert any(line.startswith(f"preprocess {name} (") for line in model.assumed)


def test_what_the_line_says(make_model: MakeModel) -> None:
    def network(n: Net, x: str) -> str:
        return n("GlobalAveragePool", n("Relu", n.conv(normalised_unit(n, x, False), 3, 4)))

    [line] = [line for line in open_model(make_model(network)).assumed if line.startswith("preprocess")]
    assert line == (
        "preprocess unit (values 0 to 1: the graph normalises them itself, to -2.12 to 2.64 by Sub, Div; the picture "
        "stretched to 8x8)"
    )


def test_weights_that_signal_are_no_warning(make_model: MakeModel) -> None:
    """The bits of a NaN that signals raise the processor's flag when it becomes a double."""
    weights = np.full((4, 3, 1, 1), 0x7FA00000, np.uint32).view(np.float32)
    assert open_model(make_model(lambda n, x: n("Relu", n("Conv", x, n.const(weights)))).resolve()).input.channels == 3


def test_the_first_weight_tells_the_channels(make_model: MakeModel) -> None:
    """(1, 11, 60, 1) into a convolution of 11 channels is no grey picture of 11 x 60."""

    def signals(n: Net, x: str) -> str:
        return n("GlobalAveragePool", n("Relu", n.conv(x, 11, 4)))

    with pytest.raises(ModelError, match=r"input 'x' of shape \(1, 11, 60, 1\) has 11 channels, not 1 or 3"):
        open_model(make_model(signals, shape=(1, 11, 60, 1)))
    narrow = open_model(make_model(lambda n, x: n("Relu", n.conv(x, 3, 4, 1)), shape=(1, 3, 8, 3)))
    assert (narrow.input.layout, narrow.input.size) == ("NCHW", (8, 3))
    wide = open_model(
        make_model(lambda n, x: n("Relu", n.conv(n("Transpose", x, perm=[0, 3, 1, 2]), 3, 4, 1)), shape=(1, 3, 8, 3))
    )
    assert (wide.input.layout, wide.input.size) == ("NHWC", (3, 8))


# --- the metadata of others -----------------------------------------------------------------

ULTRALYTICS = {
    "description": "Ultralytics YOLO11n-cls model", "author": "Ultralytics", "version": "8.3.1", "stride": "1",
    "task": "classify", "batch": "1", "imgsz": "[8, 8]", "names": "{0: 'tench', 1: \"cat's\", 3: 'shark'}",
}  # fmt: skip


def test_ultralytics(make_model: MakeModel) -> None:
    def network(n: Net, x: str) -> str:
        y = n("Flatten", n("GlobalAveragePool", n("Relu", n.conv(x, 3, 4))))
        return n("Softmax", n("Gemm", y, n.weight((4, 4)), transB=1), axis=1)

    model = open_model(make_model(network, metadata=ULTRALYTICS))
    assert model.labels == ("tench", "cat's", "class 2", "shark")
    assert model.preprocess == Preprocess(size=(8, 8), resize="shortest")
    assert model.assumed == ()
    # The middle of the picture, its values divided by 255: worked out by hand for a picture of 8 x 16.
    pixels = np.random.default_rng(0).integers(0, 256, (8, 16, 3), np.uint8)
    expected = pixels[:, 4:12].transpose(2, 0, 1)[None] / 255
    np.testing.assert_allclose(model.tensor(pixels), expected, atol=1e-6)


@pytest.mark.parametrize(
    "broken",
    [
        {"names": "{0: open('x')}"}, {"names": "{"}, {"names": "{0: 1}"}, {"names": "[]"}, {"names": "{9999999: 'a'}"},
        {"imgsz": "big"}, {"imgsz": "[-1, 4]"}, {"names": "(" * 5000},
    ],
)  # fmt: skip
def test_metadata_of_others_that_cannot_be_read_counts_as_absent(broken: dict[str, str], make_model: MakeModel) -> None:
    path = make_model(lambda n, x: n("Relu", n.conv(x, 3, 4)), metadata=ULTRALYTICS | broken)
    model = open_model(path)
    assert model.preprocess.size == (8, 8)
    assert model.activations(np.zeros((8, 8, 3), np.uint8))


@pytest.mark.parametrize(
    ("order", "values", "expected"),
    [
        ("Rgb8", "Normalized_0_1", Preprocess.named("unit", (8, 8))),
        ("Bgr8", "NominalRange_0_255", replace(Preprocess.named("raw", (8, 8)), colour="BGR")),
        ("Rgb8", "Normalized_1_1", Preprocess.named("signed", (8, 8))),
        ("Rgb8", "NominalRange_16_235", Preprocess(size=(8, 8), scale=219 / 255, mean=(-16.0,) * 3)),
    ],
)
def test_image_metadata_of_onnx_itself(order: str, values: str, expected: Preprocess, make_model: MakeModel) -> None:
    entries = {"Image.BitmapPixelFormat": order, "Image.NominalPixelRange": values}
    model = open_model(make_model(lambda n, x: n("Relu", n.conv(x, 3, 4)), metadata=entries))
    assert model.preprocess == expected


HALVES: dict[str, Any] = {"size": (8, 8), "mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 0.4)}
HALF_TEXTS = ("[0.5, 0.4, 0.3]", "[0.2, 0.3, 0.4]")
HUGGING = (
    '{"do_rescale": true, "rescale_factor": 0.00392156862745098, "do_normalize": true, "image_mean": [0.5, 0.4, 0.3], '
    '"image_std": [0.2, 0.3, 0.4], "do_center_crop": true, "size": {"shortest_edge": 9}, '
    '"crop_size": {"height": 8, "width": 8}}'
)
TIMM = (
    '{"pretrained_cfg": {"input_size": [3, 8, 8], "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4], "crop_pct": 0.8, '
    '"label_names": ["a", "b", "c", "d"]}}'
)


@pytest.mark.parametrize(
    ("entries", "labels", "expected"),
    [
        (  # the plugin Deepness of QGIS
            {"class_names": '{"0": "a", "1": "b", "2": "c", "3": "d"}', "standardization_mean": HALF_TEXTS[0],
             "standardization_std": HALF_TEXTS[1]}, "abcd", Preprocess(**HALVES),
        ),
        ({"preprocessor_config": HUGGING, "id2label": "{'0': 'a', '3': 'd'}"}, ("a", "class 1", "class 2", "d"),
         Preprocess(**HALVES, resize="shortest", resize_size=9)),
        ({"config": TIMM}, "abcd", Preprocess(**HALVES, resize="shortest", resize_size=10)),
        ({"mean": "[123.675, 116.28, 103.53]", "std": "[58.395, 57.12, 57.375]", "color_order": "bgr"}, None,
         Preprocess(size=(8, 8), scale=1.0, mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375), colour="BGR")),
        ({"labels": "a\nb\nc\nd\n"}, "abcd", None),
        ({"classes": "4", "mean": "0.5", "std": "[0.2, 0.3, 0.4]", "names": "none"}, None, None),
        ({"mean": "[0.5, 0.5, 0.5]", "std": "[0, 0, 0]"}, None, None),
        (  # a classifier of YOLOv5, which says no task
            {"stride": "1", "names": "['a', 'b', 'c', 'd']"}, "abcd",
            replace(Preprocess.named("imagenet", (8, 8)), resize="shortest"),
        ),
    ],
)  # fmt: skip
def test_entries_that_many_write(
    entries: dict[str, str], labels: Any, expected: Preprocess | None, make_model: MakeModel
) -> None:
    def network(n: Net, x: str) -> str:
        y = n("Flatten", n("GlobalAveragePool", n("Relu", n.conv(x, 3, 4))))
        return n("Softmax", n("Gemm", y, n.weight((4, 4)), transB=1), axis=1, out="scores")

    model = open_model(make_model(network, metadata=entries, outputs={"scores": (1, 4)}))
    assert model.labels == (tuple(labels) if labels else None)
    assert model.preprocess == (expected or Preprocess.named("imagenet", (8, 8)))


def test_entries_for_colours_on_a_grey_input(make_model: MakeModel) -> None:
    """Ultralytics trains grey networks too."""
    path = make_model(lambda n, x: n("Relu", n.conv(x, 1, 4)), shape=(1, 1, 8, 8), metadata=ULTRALYTICS)
    assert open_model(path).preprocess == Preprocess(
        size=(8, 8), resize="shortest", colour="L", mean=(0.0,), std=(1.0,)
    )
    entries = {"mean": HALF_TEXTS[0], "std": HALF_TEXTS[1]}
    path = make_model(lambda n, x: n("Relu", n.conv(x, 1, 4)), shape=(1, 1, 8, 8), metadata=entries)
    assert open_model(path).preprocess == Preprocess.named("unit", (8, 8), 1)


def test_our_own_document_comes_first(make_model: MakeModel) -> None:
    ours = Metadata(preprocess=Preprocess.named("caffe", (8, 8)), labels=tuple("abcd"))
    path = make_model(lambda n, x: n("Relu", n.conv(x, 3, 4)), metadata={**ULTRALYTICS, KEY: ours.dumps()})
    assert open_model(path).preprocess == ours.preprocess
    bare = open_model(path, metadata=False)
    assert bare.preprocess == Preprocess.named("imagenet", (8, 8))


# --- entries that say more, or something odd -----------------------------------------------------------------

PAIR = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4]}
CUT = {"resize": "shortest"}


@pytest.mark.parametrize(
    ("more", "expected", "named"),
    [
        ({"do_normalize": False}, {"mean": (0.0,) * 3, "std": (1.0,) * 3}, ""),
        ({"do_normalize": False, "do_rescale": False}, {"scale": 1.0, "mean": (0.0,) * 3, "std": (1.0,) * 3}, ""),
        ({"do_rescale": False}, {"scale": 1.0}, "do_rescale is false"),
        ({"do_rescale": True, "rescale_factor": 1}, {"scale": 1.0}, ""),
        ({"rescale_factor": 1 / 127.5}, {"scale": 1 / 127.5}, ""),
        ({"rescale_factor": "much", "do_rescale": "so"}, {}, "do_rescale 'so', rescale_factor 'much'"),
        ({"rescale_offset": True, "rescale_factor": 1 / 127.5}, {"scale": 1 / 127.5}, "rescale_offset True"),
        ({"input_size": [3, 8, 8], "crop_pct": 1}, {**CUT, "resize_size": 8}, ""),
        ({"crop_pct": 0.8}, {**CUT, "resize_size": 10}, ""),  # of the size that the graph has
        ({"crop_pct": 1, "crop_mode": "squash", "interpolation": "bicubic"}, {"filter": "bicubic"}, ""),
        ({"crop_pct": 1.0, "crop_mode": "border"}, {"resize": "pad", "fill": (128, 102, 76)}, ""),
        ({"crop_pct": 0.9, "crop_mode": "squash"}, {}, "crop_pct 0.9, crop_mode 'squash'"),
        ({"crop_pct": 7, "interpolation": "random"}, {}, "interpolation 'random', crop_pct 7"),
        ({"size": {"height": 8, "width": 8}, "resample": 3}, {"filter": "bicubic"}, ""),
        ({"resample": 9}, {}, "resample 9"),
        # ConvNeXT of Hugging Face, smaller and larger than what it cuts; the graph makes 8 of it.
        ({"size": {"shortest_edge": 224}, "crop_pct": 0.875}, {**CUT, "resize_size": 9}, "size 8x8 as the graph"),
        ({"size": {"shortest_edge": 384}, "crop_pct": 0.875}, {}, "size 8x8 as the graph"),
        ({"size": {"shortest_edge": -5}, "do_center_crop": True}, {}, "do_center_crop True"),
        ({"size": {"shortest_edge": 8}}, {}, "size {'shortest_edge': 8}"),
        ({"size": [99999, 4]}, {}, "size [99999, 4]"),
        ({"size": [16384, 16384]}, {}, "size [16384, 16384]"),
        ({"size": {"height": 9, "width": 9}, "do_center_crop": True, "crop_size": 8}, {}, "do_center_crop True"),
        ({"size": 9, "do_center_crop": True, "crop_size": 8}, {**CUT, "resize_size": 9}, ""),
        ({"do_resize": False, "do_pad": True}, {}, "do_pad True, do_resize False"),
        ({"color_order": "rgba?"}, {}, "color_order 'rgba?'"),
        ({"color_order": "RGB", "color_mode": "bgr"}, {}, "color_mode 'bgr'"),
        ({"image_format": "png", "do_flip_channel_order": True}, {"colour": "BGR"}, ""),
        ({"std": [0.2, 0, 0.4]}, {"mean": MEAN, "std": STD}, "std [0.2, 0, 0.4]"),
        ({"mean": [0.1]}, {"mean": MEAN, "std": STD}, "mean [0.1]"),
    ],
)  # fmt: skip
def test_documents_of_others_key_by_key(
    more: dict[str, Any], expected: dict[str, Any], named: str, make_model: MakeModel
) -> None:
    """Each key is followed, or named in a line of what was assumed."""
    entries = {"preprocessor_config": json.dumps({**PAIR, **more})}
    model = open_model(make_model(lambda n, x: n("Relu", n.conv(x, 3, 4)), metadata=entries))
    values: dict[str, Any] = {
        key: tuple(value) if isinstance(value, np.ndarray) else value for key, value in expected.items()
    }
    assert model.preprocess == replace(Preprocess(**HALVES), **values)
    said = " | ".join(line for line in model.assumed if "metadata" in line or line.startswith("size"))
    assert named in said if named else not said


@pytest.mark.parametrize("open_sides", [False, True])
def test_entries_do_not_normalise_what_the_graph_normalises(open_sides: bool, make_model: MakeModel) -> None:
    def network(n: Net, x: str) -> str:
        return n("GlobalAveragePool", n("Relu", n.conv(normalised_unit(n, x, False), 3, 4)))

    entries = {"mean": json.dumps(MEAN.tolist()), "std": json.dumps(STD.tolist()), "interpolation": "bicubic"}
    shape = (1, 3, "h", "w") if open_sides else (1, 3, 8, 8)
    model = open_model(make_model(network, shape=shape, metadata=entries))
    size = (224, 224) if open_sides else (8, 8)
    assert model.preprocess == replace(Preprocess.named("unit", size), filter="bicubic")
    assert any(
        line.startswith("mean and std by entries of the metadata left out, values 0 to 1: ") for line in model.assumed
    )
    assert ("input size 224x224" in model.assumed) == open_sides


def test_entries_before_a_norm_or_a_turn_of_ranges_stay(make_model: MakeModel) -> None:
    """A first norm that learned of normalised pictures, as torchvision's files have it, is no second normalisation."""

    def network(n: Net, x: str) -> str:
        return n("GlobalAveragePool", n("Relu", n.conv(first_norm(0, 1.1)(n, x, False), 3, 4)))

    entries = {"mean": HALF_TEXTS[0], "std": "[0.5, 0.5, 0.5]"}
    model = open_model(make_model(network, metadata=entries))
    assert model.preprocess.mean == HALVES["mean"]
    assert not any("left out" in line for line in model.assumed)


def test_bytes_are_not_normalised_by_entries(make_model: MakeModel) -> None:
    pair = {"mean": HALF_TEXTS[0], "std": HALF_TEXTS[1]}
    cases: list[tuple[dict[str, str], Resize]] = [(pair, "stretch"), (ULTRALYTICS, "shortest")]
    for entries, resize in cases:
        path = make_model(lambda n, x: n("Relu", n.conv(n("Cast", x, to=1), 3, 4)), dtype=2, metadata=entries)
        expected = replace(Preprocess.named("raw", (8, 8)), dtype="uint8", resize=resize)
        assert open_model(path).preprocess == expected


def test_labels_of_another_number_than_a_detector_has(make_model: MakeModel) -> None:
    def network(n: Net, x: str) -> str:
        shape = n.const(np.array([1, 7, -1]))
        rows = [n("Reshape", n.conv(x, 3, 7, k, stride=k, pads=0), shape) for k in (8, 16, 32)]
        return n("Sigmoid", n("Concat", *rows, axis=2), out="output0")

    for labels, kept in (("abc", True), ("abcd", False), ("a", False)):
        path = make_model(
            network,
            shape=(1, 3, 64, 64),
            metadata={"labels": json.dumps(list(labels))},
            outputs={"output0": (1, 7, 84)},
        )
        model = open_model(path)
        assert model.task == "detect"
        assert model.labels == (tuple(labels) if kept else None)
        assert (f"labels ignored: {len(labels)} of them for 3 classes" in model.assumed) == (not kept)


def test_only_entries_of_known_names_are_read_and_once(make_model: MakeModel, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    plain = ast.literal_eval

    def listen(text: str) -> Any:
        read.append(text)
        return plain(text)

    monkeypatch.setattr(ast, "literal_eval", listen)
    labels, mean = r"['a\d', 'b', 'c', 'd']", "(0.5, 0.5, 0.5)"
    entries = {"note": "['x']", "labels": labels, "mean": mean, "std": mean, "config": "[" + "1," * 20_000 + "]"}
    model = open_model(make_model(lambda n, x: n("Relu", n.conv(x, 3, 4)), metadata=entries))
    assert sorted(read) == sorted([labels, mean, mean])
    assert (model.labels, model.preprocess.mean) == ((r"a\d", "b", "c", "d"), (0.5,) * 3)
