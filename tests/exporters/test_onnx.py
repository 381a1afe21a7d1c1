"""export_onnx on small networks: what is exposed, what is refused, and that a failed export leaves nothing behind."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch

from exporters.exporting import checks
from exporters.exporting import export as onnx_module
from exporters.exporting import request as request_module
from exporters.exporting.checks import ExportError
from exporters.exporting.export import export_onnx
from exporters.exporting.parity import ParityError
from exporters.exporting.photograph import PHOTOGRAPH
from exporters.sources import Source
from inspector.errors import LayerNotFound, OutputError, UsageError
from inspector.graph import read_graph
from inspector.image import Preprocess
from inspector.layers import find_layer
from tests.exporters import nets
from tests.exporters.conftest import PHOTO, ROOT

UNIT = Preprocess.named("unit", (64, 64))


def outputs(path) -> list[str]:
    return [value.name for value in onnx.load(path).graph.output]


def test_features_are_all_maps_larger_than_one_pixel(tiny):
    assert outputs(tiny.path) == [
        "logits",
        "stem.0",
        "stem.2",
        "stem.3",
        "block.conv1",
        "block.act",
        "block.conv2",
        "block.add",
        "block.act_1",
        "relu",
        "relu_1",
        "concat",
    ]
    assert [layer.name for layer in tiny.exported.layers if not layer.exposed] == ["avgpool"]
    assert find_layer(tiny.exported.layers, "head").tensor == "logits"
    assert find_layer(tiny.exported.layers, "stem.1").name == "stem.0"
    assert find_layer(tiny.exported.layers, "block").name == "block.act_1"


def test_all_layers_or_only_those_named_are_exposed(tmp_path):
    net = nets.tiny()
    export_onnx(net, tmp_path / "all.onnx", expose="all", preprocess=UNIT)
    assert "avgpool" in outputs(tmp_path / "all.onnx")
    export_onnx(net, tmp_path / "two.onnx", expose=["block.add", "stem.1", "head"], preprocess=UNIT)
    assert outputs(tmp_path / "two.onnx") == ["logits", "stem.0", "block.add"]


def test_an_unknown_layer_gets_the_nearest(tmp_path):
    with pytest.raises(LayerNotFound, match=r"there is no layer 'blok.ad'; nearest: block.add, "):
        export_onnx(nets.tiny(), tmp_path / "x.onnx", expose="stem.0, blok.ad", preprocess=UNIT)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UsageError, match="no layer was named"):
        onnx_module.choose_exposed([], " , ")


def test_renamed_layers_keep_their_module_path_as_alias(tmp_path):
    def rename(path: str) -> str:
        return path.replace("stem", "trunk").replace("conv2", "conv1")

    made = export_onnx(nets.tiny(), tmp_path / "x.onnx", preprocess=UNIT, rename=rename)
    assert find_layer(made.layers, "stem.0").name == "trunk.0"
    assert "trunk.0" in outputs(made.path)
    weights = {t.name for t in onnx.load(made.path).graph.initializer}
    # Two layers that would get one name: the later keeps its own, and so do its weights.
    assert {"block.conv1", "block.conv2"} <= {layer.name for layer in made.layers}
    assert {"trunk.0.weight", "block.conv1.weight", "block.conv2.weight"} <= weights


def test_the_network_is_left_as_it_was(tmp_path):
    net = nets.tiny().train()
    net.block.eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    export_onnx(net, tmp_path / "x.onnx", preprocess=UNIT)
    assert net.training
    assert not net.block.training
    assert net.stem[1].training
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert not any(part._forward_hooks for part in net.modules())


def test_what_was_trained_in_training_mode_is_exported_in_evaluation_mode(tiny, tmp_path):
    net = tiny.source.module.train()
    made = export_onnx(tiny.source, tmp_path / "x.onnx")
    net.eval()
    assert "Dropout" not in {node.op_type for node in onnx.load(made.path).graph.node}
    assert [row.scale for row in made.parity] == [row.scale for row in tiny.exported.parity]


@pytest.mark.parametrize(
    ("net", "message"),
    [
        (nets.Stubborn, r"1 modules stay in training mode after eval\(\): stem.1;"),
        (nets.restless, r"two runs on one picture in evaluation mode give different scores \(it has drop\);"),
        (nets.barely_restless, "draws random numbers in evaluation mode: rand_like"),
        (nets.batch_bound, "depend on the other pictures of its batch; stem.1 keep no running statistics;"),
        (lambda: nets.Tiny(scores=lambda x: x.sum()), "depend on the other pictures"),
        (lambda: nets.Tiny(scores=lambda x: "cat"), "forward returns no tensor but str"),
        (lambda: nets.Tiny(channels=1), r"Tiny fails on a picture of shape \(2, 3, 64, 64\): RuntimeError"),
        (lambda: nets.Tiny().half(), "are not float32; call .float"),
        (lambda: nets.Tiny(scores=lambda x: x * x[0, 0]), "depend on the other pictures"),
        (lambda: nets.Tiny(scores=lambda x: 2 * x if x.isfinite().all() else x), "torch cannot export Tiny"),
    ],
)
def test_what_cannot_be_right_is_refused(net, message, tmp_path):
    module = net()
    with pytest.raises(ExportError, match=message) as caught:
        export_onnx(module, tmp_path / "x.onnx", preprocess=UNIT)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_norm_that_looks_at_one_picture_is_let_pass(make):
    made = make("tests.exporters.nets:grouped")
    norm = find_layer(made.exported.layers, "stem.1")
    # Five nodes in opset 20, one layer, and its value is the module's.
    assert norm.kind == "norm"
    assert norm.exposed
    pictures = made.pictures()
    with torch.no_grad():
        expected = made.source.module.stem[:2](torch.from_numpy(pictures)).numpy()
    np.testing.assert_allclose(made.run(pictures)["stem.1"], expected, atol=1e-4)


def test_options_that_do_not_fit(tmp_path):
    with pytest.raises(UsageError, match="a bare module does not say how pictures are prepared"):
        export_onnx(nets.tiny(), tmp_path / "x.onnx")
    with pytest.raises(UsageError, match="opset 9 cannot be written; choose 18 to 23"):
        export_onnx(nets.tiny(), tmp_path / "x.onnx", preprocess=UNIT, opset=9)
    with pytest.raises(UsageError, match="needs the size of the input"):
        export_onnx(nets.tiny(), tmp_path / "x.onnx", preprocess=Preprocess())
    with pytest.raises(UsageError, match="gives 5 scores and there are 2 labels"):
        export_onnx(nets.tiny(), tmp_path / "x.onnx", preprocess=UNIT, labels=["a", "b"])
    with pytest.raises(OutputError, match="its folder does not exist"):
        export_onnx(nets.tiny(), tmp_path / "no" / "x.onnx", preprocess=UNIT)


@pytest.mark.parametrize("opset", [18, 23])
def test_other_opsets(opset, tmp_path):
    made = export_onnx(nets.tiny(), tmp_path / "x.onnx", preprocess=UNIT, opset=opset)
    assert read_graph(made.path).opset == opset
    assert made.metadata.versions["opset"] == str(opset)


def test_weights_beyond_two_gigabytes_are_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(request_module, "MAX_BYTES", 1000)
    with pytest.raises(ExportError, match=r"one .onnx file ends at 2 GB"):
        export_onnx(nets.tiny(), tmp_path / "x.onnx", preprocess=UNIT)


def test_a_softmax_at_the_end_stays_but_the_scores_are_before_it(make):
    made = make("tests.exporters.nets:softmax")
    assert outputs(made.path)[:2] == ["logits", "probabilities"]
    values = made.run(made.pictures())
    np.testing.assert_allclose(torch.from_numpy(values["logits"]).softmax(1), values["probabilities"], atol=1e-6)
    assert made.exported.metadata.activation == "softmax"
    assert {"head", "softmax"} <= {row.layer for row in made.exported.parity}


def test_a_single_score_goes_with_a_sigmoid(make):
    made = make("tests.exporters.nets:one_score")
    assert made.exported.metadata.activation == "sigmoid"
    assert outputs(made.path)[:2] == ["logits", "probabilities"]


def test_many_labels_go_with_a_sigmoid(make):
    made = make("tests.exporters.nets:many_labels")
    assert made.exported.metadata.activation == "sigmoid"
    picture = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    from inspector import open_model

    model = open_model(made.path)
    given = model.run(model.tensor(picture), ["probabilities"])["probabilities"][0]
    found = {p.index: p.probability for p in model.predict(picture, top=4)}
    np.testing.assert_allclose([found[i] for i in range(4)], given, atol=1e-6)


@pytest.mark.parametrize(
    ("net", "note"),
    [
        ("in_a_dict", "forward returns 2 tensors; 'logits' is taken as the scores"),
        ("in_a_tuple", "forward returns 2 tensors; number 2 is taken as the scores"),
    ],
)
def test_the_scores_are_found_among_several_tensors(net, note, make):
    made = make(f"tests.exporters.nets:{net}")
    assert note in made.exported.notes
    pictures = made.pictures()
    with torch.no_grad():
        answer = made.source.module.eval()(torch.from_numpy(pictures))
    scores = answer["logits"] if isinstance(answer, dict) else answer[1]
    np.testing.assert_allclose(made.run(pictures)["logits"], scores, atol=1e-5)
    assert "Exp" not in {node.op_type for node in onnx.load(made.path).graph.node}


def test_one_channel(make):
    made = make("tests.exporters.nets:grey")
    assert made.exported.metadata.preprocess.colour == "L"
    assert onnx.load(made.path).graph.input[0].type.tensor_type.shape.dim[1].dim_value == 1


def test_metadata_that_the_caller_knows(tmp_path):
    source = Source(nets.tiny(), "mine", UNIT, tuple("abcde"), {"spec": "mine"}, {"block.add": ("sum",)}, "CC0-1.0")
    made = export_onnx(source, tmp_path / "x.onnx", activation="sigmoid", training={"epochs": 3})
    assert made.metadata.labels == tuple("abcde")
    assert made.metadata.training == {"epochs": 3}
    assert made.metadata.licence == "CC0-1.0"
    assert made.metadata.activation == "sigmoid"
    assert made.metadata.cam_layer == "concat"
    assert find_layer(made.layers, "sum").name == "block.add"
    assert made.sha256 == read_graph(made.path).sha256
    assert made.size == made.path.stat().st_size


def test_the_same_network_gives_the_same_bytes(tiny, tmp_path):
    again = export_onnx(tiny.source, tmp_path / "again.onnx", image=PHOTO)
    assert again.sha256 == tiny.exported.sha256


def test_nothing_is_printed_and_no_warning_given(tmp_path, capfd, recwarn):
    net = nets.Tiny(scores=lambda x: print("noise") or x)
    export_onnx(net, tmp_path / "x.onnx", preprocess=UNIT)
    assert capfd.readouterr().out == ""
    assert not recwarn.list


def test_no_path_of_this_machine(tiny):
    data = tiny.path.read_bytes()
    for trace in (str(ROOT), "tests/exporters", "site-packages", "nets.py", "stack_trace"):
        assert trace.encode() not in data


def test_the_photograph_of_the_comparison_comes_with_the_package(tmp_path):
    made = export_onnx(nets.tiny(), tmp_path / "x.onnx", preprocess=UNIT)
    assert made.picture == "chelsea.jpg"
    assert made.notes == ()
    assert PHOTOGRAPH.is_relative_to(ROOT / "exporters")
    assert PHOTOGRAPH.read_bytes() == PHOTO.read_bytes()


def test_a_layer_that_differs_fails_the_export_and_is_named(monkeypatch, tmp_path):
    """A weight changes between torch's program and the file, as a bug in an exporter would have it."""
    target = tmp_path / "x.onnx"
    target.write_bytes(b"what was there")
    finish = onnx_module.finish_graph

    def spoil(model, *rest):
        finish(model, *rest)
        weight = model.graph.initializers["block.conv2.weight"]
        weight.const_value = onnx_module.ir.tensor(weight.const_value.numpy() * 1.01, name=weight.name)

    monkeypatch.setattr(onnx_module, "finish_graph", spoil)
    with pytest.raises(
        ParityError, match=r"layer 'block.conv2' differs between torch and onnxruntime by 0\.\d"
    ) as caught:
        export_onnx(nets.tiny(), target, preprocess=UNIT)
    assert target.read_bytes() == b"what was there"
    assert list(tmp_path.iterdir()) == [target]
    bad = [row.layer for row in caught.value.parity if not row.ok]
    assert bad[0] == "block.conv2"
    assert "stem.0" not in bad
    assert "block.conv1" not in bad


def test_weights_that_are_not_finite_are_named(tmp_path):
    net = nets.tiny()
    net.block.conv1.weight.data[0] = float("nan")
    with pytest.raises(ParityError, match=r"layer 'block.conv1' has values that are not finite in torch"):
        export_onnx(net, tmp_path / "x.onnx", preprocess=UNIT)


def test_a_program_that_is_not_the_network_is_noticed(monkeypatch, tmp_path):
    check = onnx_module.check_answers

    def other(module, pictures):
        answer = check(module, pictures)
        return checks.Answer(answer.index, answer.value + 0.1, "")

    monkeypatch.setattr(onnx_module, "check_answers", other)
    with pytest.raises(ExportError, match="does not give the network's own scores"):
        export_onnx(nets.tiny(), tmp_path / "x.onnx", preprocess=UNIT)
