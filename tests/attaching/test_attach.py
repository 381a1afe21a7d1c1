"""Files with attached maps: what they say, what stays as it was, and what else reads them."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from PIL import Image
from typer.testing import CliRunner

import inspector
from exporters.attaching import AttachedOutput, attach_outputs
from exporters.attaching.agree import check_rows
from exporters.attaching.maps import check_plain
from inspector.agreement import Agreement
from inspector.auditing import audit_model
from inspector.cam import class_activation_maps
from inspector.cli.app import app
from inspector.errors import ImageError, NotComputable, UsageError
from inspector.layers import Layer
from inspector.layers.arrangement import Arrangement
from inspector.metadata import AttachedEntry
from inspector.model import Model, open_model
from inspector.model.annotate import annotate_model
from tests.audit.policies import policy
from tests.conftest import require
from tests.foreign import Net
from tests.pages.live.test_maps import build_quantized

METHODS = ("gradcam", "gradcam++", "hirescam", "xgradcam", "layercam")


def pooled(net: Net, x: str) -> str:
    """Convolutions, average pool, one linear layer."""
    y = net("Relu", net.conv(x, 3, 12, 3, pads=1))
    y = net("Flatten", net("GlobalAveragePool", y))
    return net("Gemm", y, net.weight((7, 12)), net.weight((7,)), transB=1)


def flattened(net: Net, x: str) -> str:
    """Convolutions, max pool, two linear layers with a ReLU between, as VGG has them."""
    y = net("MaxPool", net("Relu", net.conv(x, 3, 6, 3, pads=1)), kernel_shape=[2, 2], strides=[2, 2])
    y = net("Relu", net("Gemm", net("Flatten", y), net.weight((10, 96)), transB=1))
    return net("Softmax", net("Gemm", y, net.weight((7, 10)), net.weight((7,)), transB=1))


def gated(net: Net, x: str) -> str:
    """A head as MobileNetV3 has it: a gate beside the maps, and an activation between two linear layers."""
    y = net("HardSwish", net.conv(x, 3, 8, 3, pads=1, stride=2))
    gate = net("HardSigmoid", net.conv(net("GlobalAveragePool", y), 8, 8, 1))
    y = net("HardSwish", net.conv(net("Mul", y, gate), 8, 12, 1))
    y = net("Flatten", net("ReduceMean", y, axes=[2, 3], keepdims=1))
    y = net("HardSwish", net("MatMul", y, net.weight((12, 9))))
    return net("MatMul", y, net.weight((9, 7)))


def pooled_last(net: Net, x: str) -> str:
    """A head as SqueezeNet has it: a convolution gives a map for each class, whose mean over what is above 0 counts."""
    y = net("MaxPool", net("Relu", net.conv(x, 3, 12, 3, pads=1)), kernel_shape=[2, 2], strides=[2, 2])
    return net("Flatten", net("GlobalAveragePool", net("Relu", net.conv(y, 12, 7, 1))))


def pooled_and_rounded(net: Net, x: str) -> str:
    """The same in bytes that end at 1: behind them the top score has no gradient."""
    scale, zero = net.const(np.float32(1 / 255)), net.const(np.array(0, np.uint8))
    return net("DequantizeLinear", net("QuantizeLinear", pooled_last(net, x), scale, zero), scale, zero)


def background_apart(net: Net, x: str) -> str:
    """Eight scores, of which the first is no class."""
    y = net(
        "Gemm",
        net("Flatten", net("GlobalAveragePool", net("Relu", net.conv(x, 3, 12, 3)))),
        net.weight((8, 12)),
        transB=1,
    )
    return net("Slice", y, net.const([1]), net.const([8]), net.const([1]))


def channels_last(net: Net, x: str) -> str:
    """(N, H, W, C), as TensorFlow's files are."""
    y = net("Transpose", net("Relu", net.conv(net("Transpose", x, perm=[0, 3, 1, 2]), 3, 6, 3)), perm=[0, 2, 3, 1])
    y = net("Clip", y, net.const(0.0), net.const(6.0))
    return net("MatMul", net("ReduceMean", y, axes=[1, 2], keepdims=0), net.weight((6, 7)))


def run_file(path: Path, tensor: Any) -> dict[str, Any]:
    """Every output, by onnxruntime alone."""
    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    names = [o.name for o in session.get_outputs()]
    return dict(zip(names, session.run(None, {session.get_inputs()[0].name: tensor}), strict=True))


def check_maps(source: Model, path: Path, tensor: Any, method: str, layer: str | None = None) -> dict[str, Any]:
    """Compare a file's map with the library's, picture by picture."""
    values = run_file(path, tensor)
    graph = onnx.load(path, load_external_data=False).graph
    read = {name for node in graph.node for name in node.input} | {value.name for value in graph.output}
    assert all(read.intersection(node.output) for node in graph.node if node.name.startswith("attached/"))
    for number in range(len(tensor)):
        [result] = class_activation_maps(source, tensor[number : number + 1], method=method, layer=layer)
        assert np.abs(values["cam"][number] - result.heatmap).max() < 1e-5, method
    return values


@pytest.mark.parametrize(
    ("build", "opset", "methods"),
    [
        (flattened, 13, ("gradcam++", "xgradcam", "layercam")),
        (pooled, 13, ("hirescam",)),
        (pooled_last, 13, METHODS),
        (pooled_and_rounded, 13, ("gradcam",)),
        (background_apart, 13, ("gradcam",)),
        (gated, 17, ("gradcam",)),
        (channels_last, 17, ("layercam",)),
        *(pytest.param(*pair, METHODS, marks=pytest.mark.slow)
          for pair in ((flattened, 13), (pooled, 13), (gated, 17), (channels_last, 17))),
    ],
)  # fmt: skip
def test_maps_equal_those_of_the_library(
    build: Any, opset: int, methods: tuple[str, ...], make_model: Any, tmp_path: Path
) -> None:
    shape = ("N", 9, 9, 3) if build is channels_last else ("N", 3, 8, 8)
    source = open_model(make_model(build, shape=shape, opset=opset), provider="cpu")
    tensor = np.random.default_rng(3).random((3, *shape[1:]), np.float32)
    linear = build in (pooled, channels_last, background_apart)
    for method in methods:
        made = attach_outputs(source, tmp_path / "made.onnx", cam=method)
        values = check_maps(source, made.path, tensor, method)
        product = linear and method != "gradcam++"
        assert [o.name for o in made.outputs] == ["cam", *(["cam_classes"] if product else [])]
        onnx.checker.check_model(str(made.path), full_check=True)
        before = run_file(source.path, tensor)
        assert [*values][: len(before)] == [*before]
        assert all(np.allclose(values[name], before[name], atol=1e-6) for name in before)
        if product:
            for number in range(7):
                [result] = class_activation_maps(source, tensor[:1], classes=number, method=method)
                assert np.abs(values["cam_classes"][0, number] - result.heatmap).max() < 1e-5


def test_maps_of_all_classes_that_take_much_of_a_run_are_left_out_unasked(make_model: Any, tmp_path: Path) -> None:
    def many(net: Net, x: str) -> str:
        y = net("Flatten", net("GlobalAveragePool", net("Relu", net.conv(x, 3, 12, 3, pads=1))))
        return net("Gemm", y, net.weight((4000, 12)), transB=1)

    source = open_model(make_model(many, shape=("N", 3, 8, 8)), provider="cpu")
    tensor = np.random.default_rng(3).random((2, 3, 8, 8), np.float32)
    written = {}
    for asked, names in ((None, ["cam"]), (False, ["cam"]), (True, ["cam", "cam_classes"])):
        made = attach_outputs(source, tmp_path / "made.onnx", cam="gradcam", all_classes=asked)
        assert [o.name for o in made.outputs] == names
        written[asked] = check_maps(source, made.path, tensor, "gradcam")
        # Of each class 12 weights at 64 places, of the network 27 x 12 at 64 places and 12 x 4000, and 4000 scores.
        share = (12 + 60) * 4000 * 64 / (27 * 12 * 64 + 12 * 4000 + 21 * 4000)
        said = f"they would make a run about {100 * share:.0f} % longer (--all-classes adds them)"
        assert [said in note for note in made.notes] == ([True] if asked is None else [])
    tops = written[True][source.graph.outputs[0]].argmax(1)
    assert np.array_equal(written[True]["cam"], written[True]["cam_classes"][np.arange(2), tops])
    run = CliRunner().invoke(app, ["attach", str(source.path), "-o", str(tmp_path / "more.onnx"), "--cam", "cam"])
    assert run.exit_code == 0
    assert "--all-classes adds them" in run.stderr


def test_scores_without_a_batch_axis(make_model: Any, tmp_path: Path) -> None:
    """(K,) of one picture, behind a Squeeze: what gives them is a row of K as elsewhere."""
    for ends in (False, True):

        def squeezed(net: Net, x: str, ends: bool = ends) -> str:
            y = net("Squeeze", pooled(net, x), net.const([0]))
            return net("Softmax", y) if ends else y

        source = open_model(make_model(squeezed, name=f"{ends}.onnx"), provider="cpu")
        tensor = np.random.default_rng(3).random((1, 3, 8, 8), np.float32)
        made = attach_outputs(source, tmp_path / "made.onnx", cam="gradcam")
        values = check_maps(source, made.path, tensor, "gradcam")
        scores = values[source.graph.outputs[0]]
        assert scores.shape == (7,)
        assert np.array_equal(values["cam"][0], values["cam_classes"][0, scores.argmax()])


@pytest.mark.parametrize("shape", [("N", 3, "H", "W"), (2, 3, 8, 8)])
def test_open_sizes_and_fixed_batches(shape: Any, make_model: Any, tmp_path: Path) -> None:
    source = open_model(make_model(pooled, shape=shape), provider="cpu")
    made = attach_outputs(source, tmp_path / "made.onnx", cam="cam", all_classes=True)
    sides = (11, 13) if shape[2] == "H" else (8, 8)
    batch = shape[0] if isinstance(shape[0], int) else 3
    tensor = np.random.default_rng(3).random((batch, 3, *sides), np.float32)
    values = run_file(made.path, tensor)
    assert values["cam"].shape == (batch, *sides)
    assert values["cam_classes"].shape == (batch, 7, *sides)
    [result] = class_activation_maps(source, tensor[:1], method="cam")
    assert np.abs(values["cam"][0] - result.heatmap).max() < 1e-5
    if shape[2] == "H":  # its sums over fifty thousand places are not those of one addition after the other
        made = attach_outputs(source, tmp_path / "wide.onnx", cam="gradcam++")
        tensor = np.random.default_rng(3).random((1, 3, 224, 224), np.float32)
        check_maps(source, made.path, tensor, "gradcam++")


def test_the_weights_of_the_last_layer_are_not_written_twice(make_model: Any, tmp_path: Path) -> None:
    source = open_model(make_model(pooled, shape=("N", 3, 8, 8)), provider="cpu")
    made = attach_outputs(source, tmp_path / "made.onnx", cam="cam")
    proto = onnx.load(made.path)
    assert [tuple(t.dims) for t in proto.graph.initializer].count((7, 12)) == 1


def test_old_operator_sets_are_raised(make_model: Any, tmp_path: Path) -> None:
    source = open_model(make_model(pooled, shape=("N", 3, 8, 8), opset=11), provider="cpu")
    made = attach_outputs(source, tmp_path / "made.onnx", cam="gradcam")
    assert onnx.load(made.path).opset_import[0].version == 13
    check_maps(source, made.path, np.random.default_rng(3).random((2, 3, 8, 8), np.float32), "gradcam")


def test_everything_else_sees_the_network_alone(make_model: Any, tmp_path: Path) -> None:
    source = open_model(make_model(flattened, shape=("N", 3, 8, 8)), provider="cpu")
    made = open_model(attach_outputs(source, tmp_path / "made.onnx", cam="gradcam").path, provider="cpu")
    assert [x.name for x in made.layers] == [x.name for x in source.layers]
    assert made.graph.outputs == source.graph.outputs
    assert made.task == source.task == "classify"
    assert made.attached is not None
    assert [entry.name for entry in made.attached.entries] == ["cam"]
    named = annotate_model(made, tmp_path / "named.onnx", labels=[f"c{i}" for i in range(7)])
    assert named.attached is not None
    assert named.attached.entries == made.attached.entries
    assert [x.name for x in named.layers] == [x.name for x in source.layers]
    # Without its metadata, too, the file is told from one whose outputs are answers.
    bare = onnx.load(made.path)
    del bare.metadata_props[:]
    onnx.save(bare, tmp_path / "bare.onnx")
    assert open_model(tmp_path / "bare.onnx", provider="cpu").graph.outputs == source.graph.outputs
    again = attach_outputs(made, tmp_path / "again.onnx", cam="layercam")
    assert "attached outputs already (cam)" in again.notes[0]
    assert [o.name for o in again.outputs] == ["cam"]


def test_what_cannot_be_attached_is_said(make_model: Any, tmp_path: Path) -> None:
    source = open_model(make_model(flattened, shape=("N", 3, 8, 8)), provider="cpu")
    out = tmp_path / "made.onnx"
    with pytest.raises(UsageError, match="nothing was asked for"):
        attach_outputs(source, out)
    vector = make_model(lambda net, x: net("Flatten", net.conv(x, 3, 2)), name="vector.onnx", outputs=None)
    for option, text in (("cam", "gradcam"), ("saliency", "gradient")):
        with pytest.raises(NotComputable, match=r"finds neither classes nor boxes|is no classifier"):
            inspector.attach(replace(open_model(vector, provider="cpu"), classifier=None), out, **{option: text})  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="--layer does nothing without --cam"):
        attach_outputs(source, out, saliency="gradient", layer="relu4")
    with pytest.raises(UsageError, match="--false-alarms does nothing without --unknown"):
        attach_outputs(source, out, cam="gradcam", false_alarms=0.05)
    with pytest.raises(NotComputable, match=r"eigencam needs more than the gradient of the head.*nodes") as caught:
        attach_outputs(source, out, cam="eigencam")
    assert "gradcam" in caught.value.hint
    with pytest.raises(NotComputable, match="cam needs a head that weighs every place"):
        attach_outputs(source, out, cam="cam")
    with pytest.raises(
        NotComputable, match="of all classes are one product only behind a linear head; after"
    ) as caught:
        attach_outputs(source, out, cam="gradcam", all_classes=True)
    assert caught.value.hint == "leave --all-classes out"

    def scattered(net: Net, x: str) -> str:
        y = net("ThresholdedRelu", net("GlobalAveragePool", net.conv(x, 3, 6, 3)), alpha=0.1)
        return net("Gemm", net("Flatten", y), net.weight((7, 6)), transB=1)

    with pytest.raises(NotComputable, match="needs the gradient of ThresholdedRelu"):
        attach_outputs(make_model(scattered, name="other.onnx"), out, cam="gradcam")

    def moved(net: Net, x: str) -> str:
        y = net("GlobalAveragePool", net("Slice", net.conv(x, 3, 6, 3), *map(net.const, ([0, 0, 0, 0], [1, 6, 6, 6]))))
        places = net("Cast", net("ReduceMax", net("Mul", y, net.const(np.float32(0))), axes=[1, 2, 3]), to=7)
        y = net("Slice", net("Flatten", y), net("Reshape", places, net.const([1])), net.const([6]), net.const([1]))
        return net("Gemm", net("Reshape", y, net.const([1, 6])), net.weight((7, 6)), transB=1)

    with pytest.raises(NotComputable, match=r"Slice in the form that '[^']+' has"):
        attach_outputs(make_model(moved, name="form.onnx"), out, cam="hirescam", layer="conv3")
    windows = Layer("attn", "t", "linear", ("N", 8, 16, 16), False, arrangement=Arrangement(channel=2, parts=16))
    bench: Any = SimpleNamespace(model=source)
    sizes: Any = SimpleNamespace(sample=lambda name: (16, 16, 8))
    with pytest.raises(NotComputable, match="layer 'attn' holds the places of a picture in 16 windows"):
        check_plain(bench, windows, sizes)
    assert not out.exists()


def test_what_is_wrong_with_the_options_is_said_before_a_model_is_opened(tmp_path: Path) -> None:
    missing, out = tmp_path / "missing.onnx", tmp_path / "made.onnx"
    for options, error in (
        ({"cam": "gradcamm"}, UsageError),
        ({"saliency": "grad"}, UsageError),
        ({"unknown": tmp_path, "false_alarms": 2.0}, UsageError),
        ({"calibrate": tmp_path / "nowhere"}, ImageError),
        ({"cam": "gradcam", "outliers": tmp_path}, UsageError),
        ({"saliency": "gradient", "all_classes": True}, UsageError),
    ):
        for call in (attach_outputs, inspector.attach):
            with pytest.raises(error):
                call(missing, out, **options)
        flags = [part for name, value in options.items() for part in (f"--{name.replace('_', '-')}", str(value))][
            : 3 if "all_classes" in options else None
        ]
        run = CliRunner().invoke(app, ["attach", str(missing), "-o", str(out), *flags])
        assert isinstance(run.exception, error)


def test_gradcampp_is_refused_with_its_reason_where_rounding_decides_it(make_model: Any) -> None:
    def bent(net: Net, x: str) -> str:
        y = net("Tanh", net("Sub", net("Abs", net.conv(x, 3, 6)), net.const(np.float32(9))))
        return net("Gemm", net("Flatten", net("GlobalAveragePool", y)), net.weight((7, 6)), transB=1)

    rows = [Agreement("cam", 1e-3, 1.0, False)]
    for build, reason in ((bent, "passes through 0 where a channel has a negative sum"), (pooled, "")):
        source = open_model(make_model(build, name=f"{build.__name__}.onnx"), provider="cpu")
        at = next(layer.name for layer in source.layers if layer.kind == "activation")
        output = AttachedOutput("cam", (), "", AttachedEntry("cam", "cam", {"method": "gradcam++", "layer": at}))
        with pytest.raises(NotComputable) as caught:
            check_rows(rows, source, [output])
        assert caught.value.message.startswith("the attached file differs at 'cam' by 0.001 of 1")
        assert (reason in caught.value.message) if reason else ("passes" not in caught.value.message)


def test_the_public_call(make_model: Any, tmp_path: Path) -> None:
    made = inspector.attach(make_model(pooled), tmp_path / "made.onnx", cam="gradcam")
    meaning = "Grad-CAM of the top class at layer relu4: 0 no evidence, 1 the most"
    assert made.to_json()["outputs"][0] == {"name": "cam", "shape": [1, 8, 8], "meaning": meaning}
    assert all(row.ok for row in made.parity)


def read_by_layers(net: Net, x: str, last: bool = False, shared: bool = False) -> str:
    """A head as VGG has it: pools that overlap, a linear layer for each place, channels first or last."""
    y = net("Relu", net.conv(x, 3, 6, 3, pads=1))
    beside = y
    y = net("MaxPool", y, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    y = net("AveragePool", net("Dropout", y), kernel_shape=[1, 1])
    if last:
        y = net("Transpose", y, perm=[0, 2, 3, 1])
    y = net("Reshape", y, net.const(np.array([0, -1], np.int64)))
    y = net("MatMul", y, net.weight((96, 10))) if last else net("Gemm", y, net.weight((10, 96)), transB=1)
    y = net("Relu", y)
    if shared:
        y = net("Concat", y, net("Flatten", net("GlobalAveragePool", beside)), axis=1)
    return net("Gemm", y, net.weight((7, 16 if shared else 10)), transB=1)


@pytest.mark.parametrize(("last", "shared"), [(False, False), (True, False), (False, True)])
def test_large_linear_layers_are_not_read_twice(
    last: bool, shared: bool, make_model: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr("exporters.attaching.sums.LARGE", 500)
    source = open_model(
        make_model(lambda n, x: read_by_layers(n, x, last, shared), shape=("N", 3, 8, 8)), provider="cpu"
    )
    made = attach_outputs(source, tmp_path / "made.onnx", cam="gradcam", layer="relu4")
    check_maps(source, made.path, np.random.default_rng(3).random((3, 3, 8, 8), np.float32), "gradcam")
    graph = onnx.load(made.path).graph
    sums = [t for t in graph.initializer if t.name.startswith("attached/") and tuple(t.dims) == (10, 6)]
    big = next(t.name for t in graph.initializer if t.dims and int(np.prod(t.dims)) == 960)
    assert len(sums) == (0 if shared else 1)
    assert sum(big in node.input for node in graph.node) == (2 if shared else 1)


@pytest.mark.parametrize("pool", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_tokens_are_places_without_the_class_token(pool: bool, tmp_path: Path) -> None:
    require("torch")
    from tests.cam.test_tokens import make

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _, source = make(tmp_path / "m.onnx", 1, pool)
    tensor = np.random.default_rng(0).standard_normal((1, 3, 48, 64)).astype(np.float32)
    for method in ("gradcam", "hirescam"):
        made = attach_outputs(source, tmp_path / "made.onnx", cam=method, layer="norm")
        assert made.outputs[0].shape[1:] == (6, 8)
        check_maps(source, made.path, tensor, method, "norm")


@pytest.mark.parametrize(("to", "near"), [("int8", 1e-5), ("fp16", 5e-3)])
def test_files_of_fewer_bits(to: str, near: float, make_model: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).save(tmp_path / "a.png")
    plain = make_model(gated, shape=("N", 3, 8, 8), opset=17)
    source = open_model(
        inspector.quantize(plain, tmp_path / "less.onnx", [tmp_path / "a.png"], to=to).path, provider="cpu"
    )
    made = attach_outputs(source, tmp_path / "made.onnx", cam="layercam", saliency="gradient")
    onnx.checker.check_model(str(made.path), full_check=True)
    tensor = rng.standard_normal((2, 3, 8, 8)).astype(source.input.dtype)
    values = run_file(made.path, tensor)
    for number in range(2):
        [result] = class_activation_maps(source, tensor[number : number + 1], method="layercam")
        assert np.abs(values["cam"][number] - result.heatmap).max() < near
    assert audit_model(made.path, policy("attached-outputs"), provider="cpu").check("attached-outputs").status == "pass"


def test_maps_of_a_layer_of_integers(tmp_path: Path) -> None:
    onnx.save(build_quantized(), tmp_path / "net.onnx")
    source = open_model(tmp_path / "net.onnx", provider="cpu")
    tensor = np.random.default_rng(0).standard_normal((1, 3, 24, 24)).astype(np.float32)
    for method in ("gradcam", "gradcam++", "hirescam"):
        made = attach_outputs(source, tmp_path / "made.onnx", cam=method)
        check_maps(source, made.path, tensor, method)
